//! Reading a body: its size, its encoding, and no bomb.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use tokio::sync::OwnedSemaphorePermit;

use super::Door;
use crate::error::ApiError;

/// Times its own size that a compressed body may have unpacked, in room that is set aside for it.
const UNPACKED: usize = 4;
/// Compressed bytes from which on unpacking is done on a thread for it.
const LONG: usize = 64 * 1024;
const COME_AGAIN: u32 = 1;
/// Times what is allowed that is read of a larger body before it is refused, and for how long.
const READ_ON: usize = 4;
const READ_ON_FOR: Duration = Duration::from_secs(5);

/// A body, unpacked, and the room it takes.
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads a body of at most `most` bytes, and of at most [`UNPACKED`] times as many once unpacked.
///
/// # Errors
/// 413, 415 for another encoding than gzip, 400 for a broken one, 503 when too many bodies are being read.
pub(crate) async fn read(door: &Door, headers: &HeaderMap, body: Body, most: usize) -> Result<Content, ApiError> {
    let is_gzip = encoding(headers)?;
    let said = match headers.get(header::CONTENT_LENGTH) {
        None => None,
        Some(value) => {
            let length = value.to_str().ok().and_then(|text| text.parse::<usize>().ok());
            Some(length.ok_or_else(|| broken("its Content-Length is no number"))?)
        }
    };
    if said.is_some_and(|length| length > most) {
        read_on(body.into_data_stream(), most).await;
        return Err(too_large(most));
    }
    let limit = if is_gzip { most.saturating_mul(UNPACKED) } else { most };
    let expected = if is_gzip { limit } else { said.unwrap_or(most) };
    let room = u32::try_from(expected / 1024 + 1).unwrap_or(u32::MAX);
    let Ok(room) = std::sync::Arc::clone(&door.bodies).try_acquire_many_owned(room) else {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are being read")
            .retry_after(COME_AGAIN));
    };
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(said.unwrap_or(0));
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| broken("it cannot be read to its end"))?;
        if bytes.len() + part.len() > most {
            drop((bytes, room));
            read_on(stream, most).await;
            return Err(too_large(most));
        }
        bytes.extend_from_slice(&part);
    }
    let bytes = bytes.freeze();
    let bytes = match is_gzip {
        false => bytes,
        true if bytes.len() < LONG => unpack(&bytes, limit)?,
        true => {
            tokio::task::spawn_blocking(move || unpack(&bytes, limit)).await.map_err(|_| ApiError::internal())??
        }
    };
    Ok(Content { bytes, _room: room })
}

/// Reads what is left of a body that is too large, and keeps none of it: a client that is still sending when the connection
/// ends does not see the answer, and sends the same again. Not for ever, and not any amount.
async fn read_on(mut rest: BodyDataStream, most: usize) {
    let mut left = most.saturating_mul(READ_ON);
    let all = async {
        while let Some(Ok(part)) = rest.next().await {
            left = left.saturating_sub(part.len());
            if left == 0 {
                return;
            }
        }
    };
    // Whoever takes longer gets the answer now.
    let _ = tokio::time::timeout(READ_ON_FOR, all).await;
}

fn encoding(headers: &HeaderMap) -> Result<bool, ApiError> {
    let unsupported = || {
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", "the body has an unknown encoding")
            .hint("send it as it is, or with `Content-Encoding: gzip`")
    };
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(false) };
    if values.next().is_some() {
        return Err(unsupported());
    }
    match value.to_str().unwrap_or("?").trim().to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => Ok(true),
        "identity" | "" => Ok(false),
        _ => Err(unsupported()),
    }
}

/// Unpacks gzip, at most `limit` bytes.
pub(crate) fn unpack(packed: &[u8], limit: usize) -> Result<Bytes, ApiError> {
    let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(3).min(limit));
    let mut decoder = MultiGzDecoder::new(packed).take(limit as u64 + 1);
    decoder.read_to_end(&mut unpacked).map_err(|_| broken("it is no gzip"))?;
    if unpacked.len() > limit {
        return Err(too_large(limit));
    }
    Ok(unpacked.into())
}

fn broken(why: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body cannot be read").detail(why)
}

fn too_large(most: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        format!("the body is too large; {most} bytes are allowed"),
    )
    .hint("send smaller batches, or raise ingest.max_body_bytes in settings.json")
}
