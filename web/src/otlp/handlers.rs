//! The doors: read, decode, map, keep, answer.
//!
//! Must hold: 200 comes after what was mapped is on disk; decoding a large body does not hold up other requests.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tripline_store::IngestError;

use super::answer::{Signal, refused, taken};
use super::body::{Encoding, encoding};
use super::decoded::{DecodeError, Flaw};
use super::spans::Mapped;
use super::{json, map_logs, map_spans, proto};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::ingest::body;
use crate::state::WebState;

/// Bodies from this size on are decoded on a thread of their own.
const LARGE: usize = 64 << 10;

/// `POST /v1/traces`, `POST /api/public/otel/v1/traces`.
pub(crate) async fn traces(State(state): State<WebState>, caller: Caller, request: Request) -> Response {
    take(&state, &caller, Signal::Traces, request).await
}

/// `POST /v1/logs`.
pub(crate) async fn logs(State(state): State<WebState>, caller: Caller, request: Request) -> Response {
    take(&state, &caller, Signal::Logs, request).await
}

/// What a request comes to.
struct Work {
    mapped: Mapped,
    total: usize,
    flawed: usize,
    flaws: Vec<Flaw>,
}

async fn take(state: &WebState, caller: &Caller, signal: Signal, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(encoding) = encoding(&parts.headers) else {
        let words = "send OTLP as `Content-Type: application/x-protobuf` or `application/json`";
        return refused(Encoding::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, words, None);
    };
    let settings = state.context().settings.get();
    let content = match body::read(state.door(), &parts.headers, body, settings.ingest.max_body_bytes).await {
        Ok(content) => content,
        Err(error) => return unread(encoding, &error),
    };
    let work = if content.bytes.len() < LARGE {
        prepare(signal, encoding, &content.bytes)
    } else {
        match tokio::task::spawn_blocking(move || prepare(signal, encoding, &content.bytes)).await {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "decoding a request of OTLP failed");
                return refused(
                    encoding,
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "something went wrong inside Tripline",
                    None,
                );
            }
        }
    };
    match work {
        Ok(work) => keep(state, caller, signal, encoding, work).await,
        Err(error) => refused(encoding, StatusCode::BAD_REQUEST, &error.to_string(), None),
    }
}

/// An error of reading the body, as OTLP has errors.
fn unread(encoding: Encoding, error: &ApiError) -> Response {
    let parts = [Some(error.message.as_str()), error.detail.as_deref(), error.hint.as_deref()];
    let words: Vec<&str> = parts.into_iter().flatten().collect();
    refused(encoding, error.status, &words.join("; "), error.retry_after_seconds.map(u64::from))
}

fn prepare(signal: Signal, encoding: Encoding, bytes: &[u8]) -> Result<Work, DecodeError> {
    match signal {
        Signal::Traces => {
            let decoded = match encoding {
                Encoding::Protobuf => proto::spans(bytes)?,
                Encoding::Json => json::spans(bytes)?,
            };
            let mapped = map_spans(&decoded.items);
            Ok(Work { mapped, total: decoded.total(), flawed: decoded.flawed, flaws: decoded.flaws })
        }
        Signal::Logs => {
            let decoded = match encoding {
                Encoding::Protobuf => proto::logs(bytes)?,
                Encoding::Json => json::logs(bytes)?,
            };
            let (mapped, mut flaws) = map_logs(&decoded.items);
            let flawed = decoded.flawed + flaws.len();
            let total = decoded.total();
            flaws.extend(decoded.flaws);
            Ok(Work { mapped, total, flawed, flaws })
        }
    }
}

async fn keep(state: &WebState, caller: &Caller, signal: Signal, encoding: Encoding, work: Work) -> Response {
    let Work { mapped, total, mut flawed, mut flaws } = work;
    let mut in_part = Vec::new();
    if !mapped.events.is_empty() {
        let now = state.context().clock.now();
        let rejected = match state.context().store.events.accept(&caller.scope, now, mapped.events).await {
            Ok(receipt) => receipt.rejected,
            Err(IngestError::Nothing { rejected }) => rejected,
            Err(error) => return not_kept(encoding, error),
        };
        let refused: BTreeSet<usize> = rejected.iter().map(|rejection| rejection.index).collect();
        let kept: BTreeSet<usize> = mapped
            .sources
            .iter()
            .enumerate()
            .filter_map(|(event, item)| (!refused.contains(&event)).then_some(*item))
            .collect();
        let mut told = BTreeSet::new();
        for rejection in rejected {
            let Some(index) = mapped.sources.get(rejection.index).copied() else { continue };
            if !told.insert(index) {
                continue;
            }
            // An item of which something is kept was not refused: what is missing of it is told all the same.
            if kept.contains(&index) {
                let reason = format!("{} (only this part of it was not kept)", rejection.reason);
                in_part.push(Flaw { index, field: rejection.field, reason });
            } else {
                flawed += 1;
                flaws.push(Flaw { index, field: rejection.field, reason: rejection.reason });
            }
        }
    }
    flaws.sort_by_key(|flaw| flaw.index);
    flaws.extend(in_part);
    taken(encoding, signal, total, flawed, &flaws)
}

fn not_kept(encoding: Encoding, error: IngestError) -> Response {
    let message = error.to_string();
    match error {
        IngestError::Busy { retry_after } | IngestError::Full { retry_after, .. } => {
            let seconds = retry_after.as_secs().max(1);
            refused(encoding, StatusCode::SERVICE_UNAVAILABLE, &message, Some(seconds))
        }
        IngestError::Store(error) => {
            tracing::error!(error = %error.report(), "the store failed");
            refused(encoding, StatusCode::INTERNAL_SERVER_ERROR, "something went wrong inside Tripline", None)
        }
        // Answered before.
        IngestError::Nothing { .. } => refused(encoding, StatusCode::BAD_REQUEST, &message, None),
    }
}
