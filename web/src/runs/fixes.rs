//! Fixes that are applied from here: `POST /v1/signals/{id}/apply-fix` (seed 000).
//!
//! Owns: the request's form and the answers. Does not own: what is published and who says so (agent, `govern::fixes`).

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tripline_agent::govern::{FixError, FixOutcome, FixRequest};
use tripline_store::KeyScope;

use super::signals::{MAX_FIX, find};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
use crate::state::WebState;

/// A fix to apply.
#[derive(Debug, Deserialize)]
pub(crate) struct ApplyBody {
    /// What to add to the prompt.
    fix_content: String,
    /// The prompt.
    langfuse_prompt_name: String,
    /// Where it is applied: `langfuse`.
    applied_via: Option<String>,
    /// Labels of the new version; none unless they are named.
    #[serde(default)]
    labels: Vec<String>,
}

pub(crate) async fn apply(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<ApplyBody>,
) -> Result<Response, ApiError> {
    let fixes = &state.parts().governance.fixes;
    fixes.ready(&caller.scope).map_err(refused)?;
    if body.fix_content.trim().is_empty() || body.fix_content.chars().count() > MAX_FIX {
        return Err(ApiError::unprocessable(format!("fix_content must have between 1 and {MAX_FIX} characters")));
    }
    if let Some(other) = body.applied_via.filter(|via| via != "langfuse") {
        return Err(ApiError::unprocessable(format!(
            "applied_via is '{other}'; only 'langfuse' can be applied from here"
        ))
        .hint("for a fix that was copied, call record-copy"));
    }
    let signal = find(&state, &caller, &id).await?;
    let signal_id = signal.id;
    let request = FixRequest {
        signal,
        prompt_name: body.langfuse_prompt_name,
        fix_content: body.fix_content,
        labels: body.labels,
        may_operate: caller.may(&[KeyScope::Operate]),
        by: caller.person,
        also_known_as: caller.name,
    };
    Ok(match fixes.apply(&caller.scope, request).await.map_err(refused)? {
        FixOutcome::Published { fix_id, version, url, fix } => Json(json!({
            "fix_id": fix_id, "signal_id": signal_id, "new_version": version, "prompt_url": url,
            "old_text": fix.old_text, "new_text": fix.new_text,
        }))
        .into_response(),
        FixOutcome::Waiting { approval, fix } => {
            let answer = json!({
                "approval_id": approval.id, "status": approval.status, "signal_id": signal_id,
                "expires_at": approval.request.expires_at, "old_text": fix.old_text, "new_text": fix.new_text,
            });
            (StatusCode::ACCEPTED, Json(answer)).into_response()
        }
    })
}

fn refused(error: FixError) -> ApiError {
    let message = error.to_string();
    let answer = |status, code| ApiError::new(status, code, message.clone());
    match error {
        FixError::NotConfigured => answer(StatusCode::SERVICE_UNAVAILABLE, "not_configured")
            .hint("set LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY; only the installation's own project has Langfuse"),
        FixError::Blocked => answer(StatusCode::FORBIDDEN, "blocked")
            .hint("look at the run's input; change the prompt by hand where that is what it takes"),
        FixError::NoPrompt => answer(StatusCode::NOT_FOUND, "not_found")
            .hint("langfuse.prompts lists the names; explain with the id of a trace names the one it used"),
        FixError::Invalid(_) => answer(StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        FixError::Remote(_) => answer(StatusCode::BAD_GATEWAY, "langfuse_failed"),
        FixError::Conflict { hint, approval_id, .. } => {
            let answer = answer(StatusCode::CONFLICT, "conflict").hint(hint);
            match approval_id {
                Some(id) => answer.detail(format!("approval {id}")),
                None => answer,
            }
        }
        FixError::Govern(error) => error.into(),
    }
}
