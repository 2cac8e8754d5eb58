//! `POST /v1/deploy` and what the SDKs look up: policies and the detectors' configuration.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tripline_store::content::{Content, strip};
use tripline_store::{ExactJson, KeyScope, NewAuditEntry, StoreError};

use super::door::{Refusal, SEND};
use super::{body, senders};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::WebState;

/// Bytes that a deploy may have.
const MOST: usize = 64 * 1024;
/// Bytes of its `meta` that are kept.
const MOST_META: usize = 4 * 1024;
const LONGEST: usize = 256;
/// Seconds after which an SDK asks again.
const GOOD_FOR: u32 = 60;
const LOOK_UP: &[KeyScope] = &[KeyScope::Read, KeyScope::Ingest];

#[derive(Deserialize)]
struct Deploy {
    #[serde(default)]
    api_key: Option<String>,
    agent_id: String,
    version: String,
    #[serde(default)]
    meta: Option<Map<String, Value>>,
}

fn unfit(field: &str, reason: impl Into<String>) -> Refusal {
    Refusal::Unfit { field: field.to_owned(), reason: reason.into(), rejected: Vec::new() }
}

/// Whatever it is that the store cannot write (a full disk, say), the sender is told to come again.
fn not_recorded(error: StoreError) -> Refusal {
    if matches!(error, StoreError::Invalid { .. } | StoreError::NotFound { .. }) {
        return Refusal::Api(error.into());
    }
    tracing::error!(error = %error.report(), "a deploy could not be recorded");
    let message = "the store cannot write now; the deploy was not recorded";
    Refusal::Api(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(5))
}

/// An agent was deployed: it goes on the record, where `agent.audit_log` shows it.
pub(crate) async fn deploy(State(state): State<WebState>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let sender = senders::by_headers(&state, &parts, SEND).await?;
    let content = body::read(state.door(), &parts.headers, body, MOST).await?;
    let deploy: Deploy = serde_json::from_slice(&content.bytes)
        .map_err(|error| unfit("", format!("the body has another form: {error}")))?;
    let caller = senders::resolve(&state, sender, deploy.api_key.as_deref().unwrap_or_default(), SEND).await?;
    let rate = state.context().settings.get().ingest.rate_limit_per_minute;
    state.door().rates.count(&format!("{}/{}", caller.scope.project_id(), caller.name), rate)?;
    for (field, text) in [("agent_id", &deploy.agent_id), ("version", &deploy.version)] {
        if text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(unfit(field, format!("it must have 1 to {LONGEST} bytes and no control characters")));
        }
    }
    // The record is for ever: what somebody wrote does not go into it, whatever the project keeps of its events.
    let mut meta = deploy.meta.unwrap_or_default();
    strip(&mut meta, Content::Goes);
    let meta = ExactJson::new(&Value::Object(meta));
    if meta.text().len() > MOST_META {
        return Err(unfit("meta", format!("it has {} bytes; {MOST_META} are allowed", meta.text().len())));
    }
    let entry = NewAuditEntry {
        actor: caller.name,
        event: "agent.deployed".to_owned(),
        subject_type: "agent".to_owned(),
        subject_id: deploy.agent_id.clone(),
        detail: json!({"version": deploy.version, "meta": meta}).into(),
    };
    let now = state.context().clock.now();
    state.context().store.audit.append(&caller.scope, entry, now).await.map_err(not_recorded)?;
    let answer = json!({"agent_id": deploy.agent_id, "version": deploy.version, "marked_at": now.timestamp_micros() as f64 / 1e6});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

#[derive(Deserialize)]
pub(crate) struct LookUp {
    agent_id: String,
    #[serde(default)]
    agent_version: Option<String>,
    /// SDKs before 0.4 put it into the address. It is read there, and logged nowhere.
    #[serde(default)]
    api_key: Option<String>,
}

async fn asker(state: &WebState, parts: &Parts, asked: &LookUp) -> Result<Caller, Refusal> {
    let sender = senders::by_headers(state, parts, LOOK_UP).await?;
    Ok(senders::resolve(state, sender, asked.api_key.as_deref().unwrap_or_default(), LOOK_UP).await?)
}

/// The policies that an SDK enforces by itself. There are none: what is to stop is decided here, and told by run control
/// and by the answers to `/v1/ingest`.
pub(crate) async fn policies(
    State(state): State<WebState>,
    Params(asked): Params<LookUp>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    asker(&state, &parts, &asked).await?;
    Ok(Json(json!({ "policies": [] })).into_response())
}

/// The configuration of the detectors that run inside an SDK: its own defaults.
pub(crate) async fn detector_config(
    State(state): State<WebState>,
    Params(asked): Params<LookUp>,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    asker(&state, &parts, &asked).await?;
    let answer = json!({
        "schema_version": 1,
        "agent_id": asked.agent_id,
        "agent_version": asked.agent_version,
        "generated_at": state.context().clock.now().timestamp_micros() as f64 / 1e6,
        "ttl_s": GOOD_FOR,
        "detectors": {},
        "packs": [],
        "baselines": null,
    });
    Ok(Json(answer).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_that_the_disk_has_no_room_for_is_to_be_sent_again() {
        let full = StoreError::Database { doing: "x", message: "database or disk is full".to_owned() };
        for error in [full, StoreError::Full { doing: "x" }, StoreError::Busy { doing: "x" }] {
            let answer = not_recorded(error).into_response();
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(answer.headers().contains_key("retry-after"));
        }
    }
}
