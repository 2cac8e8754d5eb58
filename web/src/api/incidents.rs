//! Incidents, and one with everything about it.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{
    ActionFilter, Anomaly, AnomalyFilter, ApprovalFilter, Evidence, Incident, IncidentFilter, IncidentId, PageRequest,
};

use super::actions::ActionView;
use super::approvals::ApprovalView;
use super::{Listing, page_request, word};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
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
    let (anomalies, approvals, actions, evidence) = tokio::try_join!(
        store.anomalies.list(scope, &anomalies, &page),
        store.approvals.list(scope, &approvals, &page),
        store.actions.list(scope, &actions, &page),
        store.evidence.list(scope, &id),
    )?;
    let now = state.context().clock.now();
    Ok(Json(IncidentDetail {
        incident,
        anomalies: anomalies.items,
        approvals: approvals.items.into_iter().map(|approval| ApprovalView::new(approval, now)).collect(),
        actions: actions.items.into_iter().map(ActionView::new).collect(),
        evidence,
    }))
}
