//! Approvals, and deciding them: by the same claim as a click in Slack.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_agent::govern::{Decided, Request};
use tripline_store::{
    Approval, ApprovalFilter, ApprovalId, ApprovalStats, ApprovalStatus, ClaimOutcome, Decision, Via,
};

use super::{Listing, page_request, word};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, OptionalJson, Params};
use crate::state::WebState;

const MAX_REASON: usize = 1_000;

/// An approval, as it stands.
#[derive(Debug, Serialize)]
pub(crate) struct ApprovalView {
    #[serde(flatten)]
    approval: Approval,
    /// Seconds until nobody can decide any more; `None` when it is decided or expired.
    expires_in_seconds: Option<i64>,
}

impl ApprovalView {
    pub(crate) fn new(approval: Approval, now: DateTime<Utc>) -> Self {
        let left = (approval.request.expires_at - now).num_seconds();
        let pending = approval.status == ApprovalStatus::Pending;
        Self { expires_in_seconds: (pending && approval.request.expires_at > now).then_some(left), approval }
    }
}

/// Filters of the listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    status: Option<String>,
    incident_id: Option<String>,
    action_type: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A decision.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DecisionBody {
    /// Why.
    reason: Option<String>,
    /// SHA-256 of the payload that the approver saw. A different one decides nothing. Without it the payload is the one
    /// of that id, which never changes.
    payload_sha256: Option<String>,
}

/// What a decision came to.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionAnswer {
    #[serde(flatten)]
    approval: ApprovalView,
    /// The action that is in the outbox now; `None` for a rejection.
    action_id: Option<String>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<ApprovalView>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = ApprovalFilter {
        status: word(query.status.as_deref())?,
        incident_id: query.incident_id.map(Into::into),
        action_type: query.action_type,
        resolved_via: None,
        since: query.since,
    };
    let page = state.context().store.approvals.list(&caller.scope, &filter, &page).await?;
    let now = state.context().clock.now();
    Ok(Json(Listing::of(page, |approval| ApprovalView::new(approval, now))))
}

pub(crate) async fn stats(State(state): State<WebState>, caller: Caller) -> Result<Json<ApprovalStats>, ApiError> {
    Ok(Json(state.context().store.approvals.stats(&caller.scope).await?))
}

pub(crate) async fn one(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<ApprovalView>, ApiError> {
    let approval = existing(&state, &caller, &id).await?;
    Ok(Json(ApprovalView::new(approval, state.context().clock.now())))
}

async fn existing(state: &WebState, caller: &Caller, id: &str) -> Result<Approval, ApiError> {
    let found = state.context().store.approvals.get(&caller.scope, &ApprovalId::new(id)).await?;
    found.ok_or_else(|| ApiError::not_found("approval", id))
}

pub(crate) async fn approve(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    OptionalJson(body): OptionalJson<DecisionBody>,
) -> Result<Json<DecisionAnswer>, ApiError> {
    decide(&state, caller, &id, Decision::Approve, body).await
}

pub(crate) async fn reject(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    OptionalJson(body): OptionalJson<DecisionBody>,
) -> Result<Json<DecisionAnswer>, ApiError> {
    decide(&state, caller, &id, Decision::Reject, body).await
}

async fn decide(
    state: &WebState,
    caller: Caller,
    id: &str,
    decision: Decision,
    body: DecisionBody,
) -> Result<Json<DecisionAnswer>, ApiError> {
    let reason = body.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON) {
        return Err(ApiError::unprocessable(format!("reason: at most {MAX_REASON} characters")));
    }
    let payload_sha256 = match body.payload_sha256 {
        Some(hash) => hash.to_ascii_lowercase(),
        None => existing(state, &caller, id).await?.payload_sha256,
    };
    let request = Request {
        approval_id: ApprovalId::new(id),
        decision,
        by: caller.person,
        also_known_as: Some(caller.name),
        via: Via::Api,
        reason,
        payload_sha256,
    };
    let now = state.context().clock.now();
    let outcome = match state.parts().governance.desk.decide(&caller.scope, request, None, now).await? {
        Decided::Claim(outcome) => outcome,
        Decided::NotAllowed => {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "not_an_approver",
                "you are not on the list of approvers",
            )
            .hint("governance.approvers in the settings lists names of keys and persons; empty means nobody"));
        }
    };
    match outcome {
        ClaimOutcome::Claimed { approval, action_id } => Ok(Json(DecisionAnswer {
            approval: ApprovalView::new(approval, now),
            action_id: action_id.map(|id| id.to_string()),
        })),
        ClaimOutcome::AlreadyResolved { approval } => {
            let by = approval.resolved_by.unwrap_or_else(|| "somebody".to_owned());
            let message = format!("this approval was already {} by {by}", approval.status);
            let answer = ApiError::new(StatusCode::CONFLICT, "already_resolved", message);
            Err(match approval.resolved_at {
                Some(at) => answer.detail(format!("decided at {}", at.to_rfc3339())),
                None => answer,
            })
        }
        ClaimOutcome::Expired { approval } => {
            let detail = format!("it expired at {}", approval.request.expires_at.to_rfc3339());
            Err(ApiError::new(StatusCode::GONE, "expired", "this approval has expired; no action was taken")
                .detail(detail))
        }
        ClaimOutcome::PayloadMismatch { .. } => {
            Err(ApiError::new(StatusCode::CONFLICT, "payload_mismatch", "what you saw is not what would run")
                .hint("read the approval again, and send its payload_sha256"))
        }
        ClaimOutcome::NotFound => Err(ApiError::not_found("approval", id)),
    }
}
