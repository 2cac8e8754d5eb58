//! Incidents, and one with everything about it.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{
    ActionFilter, Anomaly, AnomalyFilter, ApprovalFilter, Evidence, Feedback, FeedbackVia, Incident, IncidentFilter,
    IncidentId, Narration, NarrationFilter, NarrationKind, NewFeedback, PageRequest,
};

use super::actions::ActionView;
use super::approvals::ApprovalView;
use super::{Listing, page_request, word};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody, Params};
use crate::state::WebState;

/// Filters of the listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    detector: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// An incident with everything about it.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentDetail {
    #[serde(flatten)]
    incident: Incident,
    /// Its occurrences, newest first, at most 100.
    anomalies: Vec<Anomaly>,
    /// What was asked about it, newest first.
    approvals: Vec<ApprovalView>,
    /// What was done about it, newest first, at most 100.
    actions: Vec<ActionView>,
    /// What its narrative rests on, by name.
    evidence: Vec<Evidence>,
    /// What was sent to a model for its text, after redaction, and what became of the answer; newest first, at most 5.
    narrations: Vec<Narration>,
    /// What responders say of it, newest first.
    feedback: Vec<Feedback>,
}

/// A verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackBody {
    /// Whether the incident is right.
    correct: bool,
    /// Why.
    #[serde(default)]
    comment: Option<String>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<Incident>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = IncidentFilter {
        status: word(query.status.as_deref())?,
        kind: query.kind,
        detector: query.detector,
        since: query.since,
    };
    let page = state.context().store.incidents.list(&caller.scope, &filter, &page).await?;
    Ok(Json(Listing::of(page, |incident| incident)))
}

pub(crate) async fn one(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<IncidentDetail>, ApiError> {
    let (store, scope) = (&state.context().store, &caller.scope);
    let id = IncidentId::new(id);
    let incident = store.incidents.get(scope, &id).await?;
    let incident = incident.ok_or_else(|| ApiError::not_found("incident", id.as_str()))?;
    let page = PageRequest::first(100);
    let of_incident = || Some(id.clone());
    let anomalies = AnomalyFilter { incident_id: of_incident(), ..Default::default() };
    let approvals = ApprovalFilter { incident_id: of_incident(), ..Default::default() };
    let actions = ActionFilter { incident_id: of_incident(), ..Default::default() };
    let narrations = NarrationFilter { kind: Some(NarrationKind::Incident), subject_id: Some(id.to_string()) };
    let five = PageRequest::first(5);
    let (anomalies, approvals, actions, evidence, narrations, feedback) = tokio::try_join!(
        store.anomalies.list(scope, &anomalies, &page),
        store.approvals.list(scope, &approvals, &page),
        store.actions.list(scope, &actions, &page),
        store.evidence.list(scope, &id),
        store.narrations.list(scope, &narrations, &five),
        store.feedback.list(scope, &id),
    )?;
    let now = state.context().clock.now();
    Ok(Json(IncidentDetail {
        incident,
        anomalies: anomalies.items,
        approvals: approvals.items.into_iter().map(|approval| ApprovalView::new(approval, now)).collect(),
        actions: actions.items.into_iter().map(ActionView::new).collect(),
        evidence,
        narrations: narrations.items,
        feedback,
    }))
}

/// Keeps what the caller says of an incident; saying something else later replaces it.
pub(crate) async fn feedback(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<FeedbackBody>,
) -> Result<Json<Feedback>, ApiError> {
    let (ctx, now) = (state.context(), state.context().clock.now());
    let id = IncidentId::new(id);
    let comment = body.comment.filter(|comment| !comment.trim().is_empty());
    let new = NewFeedback {
        incident_id: id.clone(),
        correct: body.correct,
        given_by: caller.person.clone(),
        via: FeedbackVia::Api,
        comment,
    };
    let kept = ctx.store.feedback.give(&caller.scope, new, now).await?;
    let cause = format!("feedback:{}:{}", kept.feedback.given_by, kept.given_at.timestamp_micros());
    state.parts().governance.notices.update(&caller.scope, &id, &cause, now).await?;
    Ok(Json(kept))
}
