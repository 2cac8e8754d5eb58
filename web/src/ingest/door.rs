//! `POST /v1/ingest`

use std::collections::HashSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use tripline_store::{IngestError, KeyScope, Rejection, WireEvent};
use uuid::Uuid;

use super::{body, decode, kills, senders};
use crate::error::ApiError;
use crate::state::WebState;

/// What a key needs to send.
pub(crate) const SEND: &[KeyScope] = &[KeyScope::Ingest];

/// What only the SDKs send (facts/dunetrace.md §1.5), and how many events they hold back at most (§7).
const SDK_HEADER: &str = "x-dunetrace-agent";
const SDK_RING: usize = 10_000;

/// What a sender is told.
#[derive(Debug, Serialize)]
struct Accepted {
    /// Events of the batch that are kept now, duplicates included.
    accepted: usize,
    /// Events of it that were kept before.
    duplicates: usize,
    batch_id: String,
    /// Seconds since 1970.
    queued_at: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rejected: Vec<Rejection>,
    /// Runs of the batch that are to stop.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kill_requested: Vec<String>,
}

/// Why a batch is not taken.
pub(crate) enum Refusal {
    Api(ApiError),
    /// Nothing of it can be kept: the body as a whole, or every event.
    Unfit {
        field: String,
        reason: String,
        rejected: Vec<Rejection>,
    },
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl IntoResponse for Refusal {
    /// `detail` is what clients of this wire read, `error` what those of our API do.
    fn into_response(self) -> Response {
        match self {
            Self::Api(error) => in_both_forms(error),
            Self::Unfit { field, reason, rejected } => {
                let at = |index: Option<usize>, field: &str| {
                    let mut place = vec![json!("body")];
                    if let Some(index) = index {
                        place.extend([json!("events"), json!(index)]);
                    }
                    place.extend(field.split('.').filter(|part| !part.is_empty()).map(|part| json!(part)));
                    place
                };
                let entry =
                    |place: Vec<Value>, reason: &str| json!({"loc": place, "msg": reason, "type": "value_error"});
                let detail: Vec<Value> = if rejected.is_empty() {
                    vec![entry(at(None, &field), &reason)]
                } else {
                    rejected.iter().map(|one| entry(at(Some(one.index), &one.field), &one.reason)).collect()
                };
                let message = if field.is_empty() { reason } else { format!("{field}: {reason}") };
                let error =
                    json!({"code": "invalid", "message": message, "hint": "docs/ingest.md shows what is taken"});
                let body = json!({"detail": detail, "error": error, "rejected": rejected});
                (StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response()
            }
        }
    }
}

/// An error of the API with the `detail` of this wire beside it.
pub(crate) fn in_both_forms(error: ApiError) -> Response {
    let words = error.message.clone();
    let inner = json!({"code": error.code, "message": error.message, "detail": error.detail, "hint": error.hint});
    let mut response = (error.status, Json(json!({"detail": words, "error": inner}))).into_response();
    if let Some(seconds) = error.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

impl From<IngestError> for Refusal {
    fn from(error: IngestError) -> Self {
        let busy = |words: String, retry_after: Duration| {
            let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(60).max(1);
            Self::Api(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", words).retry_after(seconds))
        };
        match error {
            IngestError::Busy { retry_after } => busy("the store is busy; nothing was taken".to_owned(), retry_after),
            IngestError::Full { reason, retry_after } => {
                busy(format!("the store cannot take more: {reason}; nothing was taken"), retry_after)
            }
            IngestError::Nothing { rejected } => {
                let reason = "no event of the batch can be kept".to_owned();
                Self::Unfit { field: String::new(), reason, rejected }
            }
            IngestError::Store(error) => Self::Api(error.into()),
        }
    }
}

pub(crate) async fn ingest(State(state): State<WebState>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let settings = state.context().settings.get();
    let limits = &settings.ingest;
    let sender = senders::by_headers(&state, &parts, SEND).await?;
    let content = body::read(state.door(), &parts.headers, body, limits.max_body_bytes).await?;
    // The SDKs send what is left in their ring in one batch when they stop, and drop a batch that is refused.
    let of_sdk = parts.headers.contains_key(SDK_HEADER);
    let most = if of_sdk { limits.max_batch_events.max(SDK_RING) } else { limits.max_batch_events };
    let batch = decode::batch(&content.bytes, most).map_err(|no| Refusal::Unfit {
        field: no.field.to_owned(),
        reason: no.reason,
        rejected: Vec::new(),
    })?;
    drop(content);
    let caller = senders::resolve(&state, sender, &batch.api_key, SEND).await?;
    state
        .door()
        .rates
        .count(&format!("{}/{}", caller.scope.project_id(), caller.name), limits.rate_limit_per_minute)?;

    let (events, places, mut rejected) = sort(batch.events);
    let run_ids: HashSet<String> = events.iter().map(|event| event.run_id.clone()).collect();
    let now = state.context().clock.now();
    let mut taken = (0, 0);
    if !events.is_empty() {
        let in_batch = |rejections: Vec<Rejection>| {
            rejections
                .into_iter()
                .map(|one| Rejection { index: places.get(one.index).copied().unwrap_or(one.index), ..one })
        };
        match state.context().store.events.accept(&caller.scope, now, events).await {
            Ok(receipt) => {
                rejected.extend(in_batch(receipt.rejected));
                taken = (receipt.accepted, receipt.duplicates);
            }
            Err(IngestError::Nothing { rejected: more }) => rejected.extend(in_batch(more)),
            Err(error) => return Err(error.into()),
        }
    }
    rejected.sort_by_key(|one| one.index);
    state.metrics().ingested(taken.0, taken.1, rejected.len());
    if taken == (0, 0) {
        return Err(IngestError::Nothing { rejected }.into());
    }
    let kill_requested = match kills::requested(&state, &caller.scope, run_ids).await {
        Ok(runs) => runs,
        Err(error) => {
            // The events are on disk: that is what is answered. The next request tells of the kill.
            tracing::warn!(error = %error.message, "it could not be looked up which runs are to stop");
            Vec::new()
        }
    };
    let answer = Accepted {
        accepted: taken.0 + taken.1,
        duplicates: taken.1,
        batch_id: Uuid::new_v4().to_string(),
        queued_at: now.timestamp_micros() as f64 / 1e6,
        rejected,
        kill_requested,
    };
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// The events that can be read, with their places in the batch, and those that cannot.
fn sort(items: Vec<decode::Item>) -> (Vec<WireEvent>, Vec<usize>, Vec<Rejection>) {
    let mut events = Vec::with_capacity(items.len());
    let mut places = Vec::with_capacity(items.len());
    let mut rejected = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Ok(event) => {
                events.push(event);
                places.push(index);
            }
            Err((field, reason)) => rejected.push(Rejection { index, field: field.to_owned(), reason }),
        }
    }
    (events, places, rejected)
}
