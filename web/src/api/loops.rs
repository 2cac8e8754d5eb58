//! Agents that go round in circles: the incidents of type `agent_loop`, as loops. Reading changes nothing.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tripline_agent::forensics::fingerprint::Fingerprint;
use tripline_store::{ActionStatus, Incident, IncidentFilter, IncidentStatus, LoopDetail, Via};

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

fn view(incident: Incident, detail: Option<LoopDetail>) -> LoopView {
    let kill = detail.as_ref().and_then(|detail| detail.kill_status);
    let status = match (kill, incident.status) {
        (Some(ActionStatus::Done), _) => "killed",
        (_, IncidentStatus::Resolved) => "ended",
        (Some(ActionStatus::Requested), _) => "kill_requested",
        _ => "active",
    };
    let via = detail.as_ref().and_then(|detail| detail.resolved_via);
    let kill_method = kill.and(via).map(|via| match via {
        Via::Policy => "auto",
        Via::Slack => "slack_approval",
        _ => "api_approval",
    });
    let evidence = detail.and_then(|detail| detail.evidence).unwrap_or_default();
    LoopView {
        id: incident.id.to_string(),
        trace_id: incident.entity.clone(),
        detected_at: incident.opened_at,
        loop_count: evidence.get("generations").and_then(Value::as_i64),
        cost_burned: incident.cost_usd,
        tool_pattern: evidence.get("histogram").cloned(),
        status,
        kill_method,
        slack_ts: incident.slack_ts,
    }
}

async fn listed(
    state: &WebState,
    caller: &Caller,
    query: &Query,
    status: Option<IncidentStatus>,
) -> Result<Json<Listing<LoopView>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = IncidentFilter { status, kind: Some("agent_loop".to_owned()), ..IncidentFilter::default() };
    let incidents = &state.context().store.incidents;
    let page = incidents.list(&caller.scope, &filter, &page).await?;
    let ids: Vec<_> = page.items.iter().map(|incident| incident.id.clone()).collect();
    let details = incidents.loop_details(&caller.scope, &ids).await?;
    let mut details: BTreeMap<_, _> = details.into_iter().map(|detail| (detail.incident_id.clone(), detail)).collect();
    let mut known = |incident: &Incident| details.remove(&incident.id);
    Ok(Json(Listing::of(page, |incident| {
        let detail = known(&incident);
        view(incident, detail)
    })))
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
