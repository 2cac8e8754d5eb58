//! Reading the body of a request: bounded, as it came or unpacked from gzip.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;
use futures::StreamExt;

/// Bytes of a body as it is sent.
pub(super) const BODY_LIMIT: usize = 8 << 20;
/// Bytes of a body when it is unpacked.
const UNPACKED_LIMIT: usize = 32 << 20;
/// Bytes that are decoded at once, between two other requests.
const LARGE: usize = 64 << 10;

/// The encoding of a request, and so of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// Why a body is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Neither protobuf nor JSON.
    MediaType,
    /// Packed in a way that is not known here.
    Packing,
    /// More bytes than a request may have.
    TooLarge,
    /// It ended early, or is not what its headers say.
    Broken,
}

/// The encoding that the content type says.
pub(super) fn encoding(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/x-protobuf" | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(Refused::MediaType),
    }
}

/// A body as it came.
pub(super) struct Raw {
    bytes: Vec<u8>,
    packed: bool,
}

impl Raw {
    /// Whether reading it takes long enough to be done on a thread of its own.
    pub(super) fn is_large(&self) -> bool {
        self.bytes.len() >= if self.packed { LARGE / 8 } else { LARGE }
    }

    /// What is in it.
    pub(super) fn unpacked(self) -> Result<Vec<u8>, Refused> {
        if self.packed { unpack(&self.bytes) } else { Ok(self.bytes) }
    }
}

/// Reads the body.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Raw, Refused> {
    let packed = is_packed(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > BODY_LIMIT) {
        return Err(Refused::TooLarge);
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or_default());
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Refused::Broken)?;
        if bytes.len() + part.len() > BODY_LIMIT {
            return Err(Refused::TooLarge);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Raw { bytes, packed })
}

fn is_packed(headers: &HeaderMap) -> Result<bool, Refused> {
    let Some(packing) = headers.get(header::CONTENT_ENCODING) else { return Ok(false) };
    match packing.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(false),
        "gzip" | "x-gzip" => Ok(true),
        _ => Err(Refused::Packing),
    }
}

/// Unpacks gzip, and stops as soon as more comes out than may.
fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut unpacked = Vec::new();
    let limit = u64::try_from(UNPACKED_LIMIT).unwrap_or(u64::MAX);
    let read = MultiGzDecoder::new(bytes).take(limit + 1).read_to_end(&mut unpacked);
    match read {
        Ok(_) if unpacked.len() > UNPACKED_LIMIT => Err(Refused::TooLarge),
        Ok(_) => Ok(unpacked),
        Err(_) => Err(Refused::Broken),
    }
}
