//! The doors: read, decode, map, keep, answer.
//!
//! Must hold: 200 comes after what was mapped is on disk; few bodies are in memory at once; decoding a large one does
//! not hold up other requests.

use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::Semaphore;
use tripline_store::ingest::IngestError;

use super::answer::{Signal, refused, taken};
use super::body::{Encoding, Raw, Refused, encoding, read};
use super::decoded::{DecodeError, Flaw};
use super::spans::Mapped;
use super::{json, map_logs, map_spans, proto};
use crate::auth::Caller;
use crate::state::WebState;

/// Requests whose bodies are in memory at once; others wait for a moment, and are then told to come back.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

static PLACES: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

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
    let encoding = match encoding(&parts.headers) {
        Ok(encoding) => encoding,
        Err(why) => return unread(Encoding::Json, why),
    };
    let Ok(Ok(_place)) = tokio::time::timeout(PATIENCE, PLACES.acquire()).await else {
        return refused(encoding, StatusCode::SERVICE_UNAVAILABLE, "too many requests at once", Some(1));
    };
    let raw = match read(&parts.headers, body).await {
        Ok(raw) => raw,
        Err(why) => return unread(encoding, why),
    };
    let work = if raw.is_large() {
        match tokio::task::spawn_blocking(move || prepare(signal, encoding, raw)).await {
            Ok(work) => work,
            Err(error) => {
                tracing::error!(%error, "decoding a request of OTLP failed");
                return refused(encoding, StatusCode::INTERNAL_SERVER_ERROR, "something went wrong inside Tripline", None);
            }
        }
    } else {
        prepare(signal, encoding, raw)
    };
    match work {
        Ok(work) => keep(state, caller, signal, encoding, work).await,
        Err(Unusable::Body(why)) => unread(encoding, why),
        Err(Unusable::Request(error)) => refused(encoding, StatusCode::BAD_REQUEST, &error.to_string(), None),
    }
}

fn unread(encoding: Encoding, why: Refused) -> Response {
    let (status, message) = match why {
        Refused::MediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send OTLP as `Content-Type: application/x-protobuf` or `application/json`",
        ),
        Refused::Packing => {
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as it is, or with `Content-Encoding: gzip`")
        }
        Refused::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large: send fewer items at a time"),
        Refused::Broken => (StatusCode::BAD_REQUEST, "the body ended early, or is not packed as its headers say"),
    };
    refused(encoding, status, message, None)
}

/// Why there is no work in a body.
enum Unusable {
    Body(Refused),
    Request(DecodeError),
}

impl From<DecodeError> for Unusable {
    fn from(error: DecodeError) -> Self {
        Self::Request(error)
    }
}

fn prepare(signal: Signal, encoding: Encoding, raw: Raw) -> Result<Work, Unusable> {
    let bytes = &raw.unpacked().map_err(Unusable::Body)?;
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
    if !mapped.events.is_empty() {
        let now = state.context().clock.now();
        let rejected = match state.context().store.events.accept(&caller.scope, now, mapped.events).await {
            Ok(receipt) => receipt.rejected,
            Err(IngestError::Nothing { rejected }) => rejected,
            Err(error) => return not_kept(encoding, error),
        };
        // A span that lost one of its events was not kept whole.
        let mut spans = std::collections::BTreeSet::new();
        for rejection in rejected {
            let Some(index) = mapped.sources.get(rejection.index).copied() else { continue };
            if spans.insert(index) {
                flaws.push(Flaw { index, field: rejection.field, reason: rejection.reason });
            }
        }
        flawed += spans.len();
    }
    flaws.sort_by_key(|flaw| flaw.index);
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
