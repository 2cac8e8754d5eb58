//! Agents that go round in circles: the incidents of type `agent_loop`, as loops. Reading changes nothing.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tripline_agent::forensics::fingerprint::Fingerprint;
use tripline_store::{
    ActionFilter, ActionStatus, Approval, ApprovalFilter, Incident, IncidentFilter, IncidentStatus, PageRequest, Via,
};

use super::{Listing, page_request};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

/// A loop.
#[derive(Debug, Serialize)]
pub(crate) struct LoopView {
    id: String,
    trace_id: String,
    detected_at: DateTime<Utc>,
    /// Generations when it was seen last.
    loop_count: Option<i64>,
    cost_burned: Option<f64>,
    /// What it repeats, as the detector saw it.
    tool_pattern: Option<Value>,
    /// `active`, `kill_requested`, `killed` (the agent said so), or `ended`.
    status: &'static str,
    /// `auto`, `slack_approval` or `api_approval`.
    kill_method: Option<&'static str>,
    slack_ts: Option<String>,
}

/// Pages of a listing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    limit: Option<u32>,
    cursor: Option<String>,
}

async fn view(state: &WebState, caller: &Caller, incident: Incident) -> Result<LoopView, ApiError> {
    let (store, scope) = (&state.context().store, &caller.scope);
    let one = PageRequest::first(1);
    let of_incident = || Some(incident.id.clone());
    let anomalies = tripline_store::AnomalyFilter { incident_id: of_incident(), ..Default::default() };
    let kills = ActionFilter {
        incident_id: of_incident(),
        action_type: Some("kill_loop".to_owned()),
        ..ActionFilter::default()
    };
    let approvals = ApprovalFilter { incident_id: of_incident(), ..ApprovalFilter::default() };
    let (anomalies, kills, approvals) = tokio::try_join!(
        store.anomalies.list(scope, &anomalies, &one),
        store.actions.list(scope, &kills, &one),
        store.approvals.list(scope, &approvals, &one),
    )?;
    let kill = kills.items.into_iter().next();
    let status = match (kill.as_ref().map(|kill| kill.status), incident.status) {
        (Some(ActionStatus::Done), _) => "killed",
        (_, IncidentStatus::Resolved) => "ended",
        (Some(ActionStatus::Requested), _) => "kill_requested",
        _ => "active",
    };
    let via = approvals.items.first().and_then(|approval: &Approval| approval.resolved_via);
    let kill_method = kill.and(via).map(|via| match via {
        Via::Policy => "auto",
        Via::Slack => "slack_approval",
        _ => "api_approval",
    });
    let evidence = anomalies.items.into_iter().next().map(|anomaly| anomaly.finding.evidence).unwrap_or_default();
    Ok(LoopView {
        id: incident.id.to_string(),
        trace_id: incident.entity.clone(),
        detected_at: incident.opened_at,
        loop_count: evidence.get("generations").and_then(Value::as_i64),
        cost_burned: incident.cost_usd,
        tool_pattern: evidence.get("histogram").cloned(),
        status,
        kill_method,
        slack_ts: incident.slack_ts,
    })
}

async fn listed(
    state: &WebState,
    caller: &Caller,
    query: &Query,
    status: Option<IncidentStatus>,
) -> Result<Json<Listing<LoopView>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = IncidentFilter { status, kind: Some("agent_loop".to_owned()), ..IncidentFilter::default() };
    let page = state.context().store.incidents.list(&caller.scope, &filter, &page).await?;
    let mut items = Vec::new();
    for incident in page.items {
        items.push(view(state, caller, incident).await?);
    }
    Ok(Json(Listing { items, next_cursor: page.next.map(|cursor| cursor.to_string()) }))
}

pub(crate) async fn active(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<LoopView>>, ApiError> {
    listed(&state, &caller, &query, Some(IncidentStatus::Open)).await
}

pub(crate) async fn history(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Listing<LoopView>>, ApiError> {
    listed(&state, &caller, &query, None).await
}

pub(crate) async fn fingerprint(
    State(state): State<WebState>,
    caller: Caller,
    Id(trace_id): Id,
) -> Result<Json<Fingerprint>, ApiError> {
    let forensics = super::forensics::forensics(&state, &caller).await?;
    Ok(Json(forensics.fingerprint(&trace_id).await.map_err(super::forensics::failed)?))
}
