//! Beginning and ending sessions, and their events.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use tripline_agent::sessions::SessionRules;
use tripline_store::StoreError;
use tripline_store::sessions::validate::{self, Refusal, StartBody};
use tripline_store::sessions::{EventOutcome, Rejection, Session, SessionId, SessionRef};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{JsonBody, json_error, unsupported};
use crate::ingest::{body, decode};
use crate::local;
use crate::state::WebState;

/// Events of one batch at most.
const MAX_EVENTS: usize = 1000;
/// Bytes of the body of a batch.
pub(crate) const MAX_BATCH_BODY: usize = 8 << 20;

/// What beginning or ending a session answers: the session, and its id under the name that senders know.
#[derive(Debug, Serialize)]
pub(crate) struct SessionAnswer {
    session_id: SessionId,
    #[serde(flatten)]
    session: Session,
}

impl SessionAnswer {
    fn new(session: Session) -> Json<Self> {
        Json(Self { session_id: session.id.clone(), session })
    }
}

/// Which session ends, and when.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndBody {
    session_id: Option<String>,
    external_session_key: Option<String>,
    end_time: Option<String>,
}

/// Events. Without a session of the batch each event names its own.
#[derive(Debug, Deserialize)]
struct BatchBody {
    session_id: Option<String>,
    external_session_key: Option<String>,
    #[serde(deserialize_with = "some_events")]
    events: Vec<Item>,
}

/// One event as it was sent, or why it is no JSON.
type Item = Result<Box<RawValue>, String>;

impl BatchBody {
    /// Reads a batch. When something in it is no JSON, it is perhaps one event only: the others are kept.
    fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        let whole = Json::<Self>::from_bytes(bytes);
        let error = match whole {
            Ok(Json(body)) => return Ok(body),
            Err(error) => error,
        };
        let apart = match &error {
            JsonRejection::JsonSyntaxError(_) => Self::piecewise(bytes),
            _ => None,
        };
        apart.unwrap_or_else(|| Err(json_error(&error)))
    }

    /// `None` when the envelope itself cannot be read.
    fn piecewise(bytes: &[u8]) -> Option<Result<Self, ApiError>> {
        let mut body = Self { session_id: None, external_session_key: None, events: Vec::new() };
        for (key, text) in decode::fields(bytes)? {
            match key.as_deref() {
                Some("session_id") => body.session_id = serde_json::from_slice(text).ok()?,
                Some("external_session_key") => body.external_session_key = serde_json::from_slice(text).ok()?,
                Some("events") => match decode::items(text, MAX_EVENTS)? {
                    decode::Items::List(items) => body.events = items.into_iter().map(item).collect(),
                    decode::Items::TooMany => return Some(Err(ApiError::unprocessable(too_many()))),
                    decode::Items::NoList => return None,
                },
                _ => {}
            }
        }
        Some(Ok(body))
    }
}

fn item(text: &[u8]) -> Item {
    serde_json::from_slice(text).map_err(|error| decode::why_no_json(text, &error))
}

fn too_many() -> String {
    format!("events: more than {MAX_EVENTS}; send them in several batches")
}

/// Reads the items without looking into them, so that a bad one spoils no other, and no more of them than a batch may have.
fn some_events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Item>, D::Error> {
    struct Events;

    impl<'de> Visitor<'de> for Events {
        type Value = Vec<Item>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of 1 to {MAX_EVENTS} events")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut events = Vec::new();
            while let Some(event) = items.next_element()? {
                if events.len() == MAX_EVENTS {
                    return Err(A::Error::custom(too_many()));
                }
                events.push(Ok(event));
            }
            Ok(events)
        }
    }
    deserializer.deserialize_seq(Events)
}

/// What became of a batch.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Receipt {
    /// Events that were sent.
    received: usize,
    /// Of these, those that are kept now.
    ingested: usize,
    /// Those that were kept already.
    deduped: usize,
    /// Those that cannot be kept, and why.
    rejected: Vec<Rejection>,
}

/// Why something was not stored. Whatever it is that the store cannot write (a full disk, say), the sender is told to come again:
/// nothing of the request was kept, and sending it again doubles nothing.
fn not_stored(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound { .. }
        | StoreError::Conflict { .. }
        | StoreError::WrongState { .. }
        | StoreError::Invalid { .. }
        | StoreError::Busy { .. } => error.into(),
        other => {
            tracing::error!(error = %other.report(), "a session could not be written");
            let message = "the store cannot write now; nothing of this request was kept";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
                .hint("send it again later: what is sent twice is kept once")
                .retry_after(5)
        }
    }
}

pub(crate) async fn start(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<Response, ApiError> {
    let now = state.context().clock.now();
    let new = validate::start(body, now)?;
    let started = state.context().store.sessions.start(&caller.scope, new, now).await.map_err(not_stored)?;
    let status = if started.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, SessionAnswer::new(started.session)).into_response())
}

pub(crate) async fn end(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<EndBody>,
) -> Result<Json<SessionAnswer>, ApiError> {
    let session = SessionRef::new(body.session_id.as_deref(), body.external_session_key.as_deref())?;
    let now = state.context().clock.now();
    let ended = state.context().store.sessions.end(&caller.scope, &session, body.end_time.as_deref(), now).await;
    Ok(SessionAnswer::new(ended.map_err(not_stored)?))
}

pub(crate) async fn batch(
    State(state): State<WebState>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if !local::is_json(&parts.headers) {
        return Err(unsupported());
    }
    let content = body::read(state.door(), &parts.headers, body, MAX_BATCH_BODY).await?;
    let body = BatchBody::read(decode::without_bom(&content.bytes))?;
    if body.events.is_empty() {
        return Err(ApiError::unprocessable("events: a batch has at least one event"));
    }
    let session = match (&body.session_id, &body.external_session_key) {
        (None, None) => None,
        (id, key) => {
            let named = SessionRef::new(id.as_deref(), key.as_deref())?;
            Some(super::session(&state, &caller, &named).await?.id)
        }
    };
    let now = state.context().clock.now();
    let received = body.events.len();
    // Reading, redacting and hashing some megabytes is no work for a thread that serves others.
    let checked = tokio::task::spawn_blocking(move || {
        let check = |item: Item| match item {
            Ok(raw) => validate::event(&raw, session.as_ref(), now),
            Err(reason) => Err(Refusal { field: "event".to_owned(), reason }),
        };
        body.events.into_iter().map(check).collect::<Vec<_>>()
    });
    let mut receipt = Receipt { received, ..Receipt::default() };
    let (mut places, mut events) = (Vec::new(), Vec::new());
    for (index, event) in checked.await.map_err(|_| ApiError::internal())?.into_iter().enumerate() {
        match event {
            Ok(event) => {
                places.push(index);
                events.push(event);
            }
            Err(refusal) => receipt.rejected.push(refusal.at(index)),
        }
    }
    let mut after_the_end = 0;
    if !events.is_empty() {
        let window = SessionRules::of(&state.context().settings.get()).dedupe;
        let outcomes = state.context().store.sessions.append(&caller.scope, events, window, now).await;
        for (index, outcome) in places.into_iter().zip(outcomes.map_err(not_stored)?) {
            match outcome {
                EventOutcome::Ingested => receipt.ingested += 1,
                EventOutcome::Duplicate => receipt.deduped += 1,
                EventOutcome::Refused(refusal) => receipt.rejected.push(refusal.at(index)),
                EventOutcome::Ended(refusal) => {
                    after_the_end += 1;
                    receipt.rejected.push(refusal.at(index));
                }
            }
        }
        receipt.rejected.sort_by_key(|rejection| rejection.index);
    }
    state.metrics().session_events(receipt.ingested, receipt.deduped, receipt.rejected.len());
    tracing::info!(
        received,
        ingested = receipt.ingested,
        deduped = receipt.deduped,
        rejected = receipt.rejected.len(),
        "events of sessions"
    );
    Ok(answer(&receipt, after_the_end))
}

/// 202 when anything of a batch was acceptable; else an error that has the reasons with it.
fn answer(receipt: &Receipt, after_the_end: usize) -> Response {
    if receipt.ingested + receipt.deduped > 0 {
        return (StatusCode::ACCEPTED, Json(receipt)).into_response();
    }
    let (status, code, message) = if after_the_end == receipt.received {
        (StatusCode::CONFLICT, "session_ended", "the session has ended before these events")
    } else {
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "no event of the batch can be kept")
    };
    let body = json!({
        "error": {"code": code, "message": message, "hint": "`rejected` says of each event which field is wrong"},
        "received": receipt.received,
        "ingested": 0,
        "deduped": 0,
        "rejected": receipt.rejected,
    });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_write_is_told_as_a_reason_to_come_again() {
        let full = StoreError::Database { doing: "x", message: "database or disk is full".to_owned() };
        for error in [full, StoreError::Closed, StoreError::Busy { doing: "x" }] {
            let answer = not_stored(error);
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.retry_after_seconds.is_some() && !answer.message.contains("disk"), "{answer:?}");
        }
        let missing = not_stored(StoreError::NotFound { what: "session", id: "x".to_owned() });
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
}
