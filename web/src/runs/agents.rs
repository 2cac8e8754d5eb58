//! Agents, and what there is of one: its runs, signals and issues.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tripline_store::{Issue, IssueStatus, SignalFilter};

use super::views::{RunView, SignalView, seconds};
use super::{PageView, Slice};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paging {
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Agents {
    agents: Vec<AgentView>,
    page: PageView,
}

#[derive(Debug, Serialize)]
struct AgentView {
    agent_id: String,
    last_seen: f64,
    run_count: i64,
    signal_count: i64,
    critical_count: i64,
    high_count: i64,
    /// Live signals of the last seven days in UTC, today last; empty when there was none.
    sparkline: Vec<i64>,
    failure_types: BTreeMap<String, i64>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Paging>,
) -> Result<Json<Agents>, ApiError> {
    let slice = Slice::new(query.limit, query.offset)?;
    let context = state.context();
    let reports = &context.store.reports;
    let (agents, total) = reports.agents(&caller.scope, context.clock.now(), slice.limit, slice.offset).await?;
    let agents = agents.into_iter().map(|agent| AgentView {
        last_seen: seconds(agent.last_seen_at),
        run_count: agent.runs,
        signal_count: agent.signals,
        critical_count: agent.critical,
        high_count: agent.high,
        sparkline: agent.sparkline,
        failure_types: agent.failure_types,
        agent_id: agent.agent_id,
    });
    Ok(Json(Agents { agents: agents.collect(), page: slice.page(total) }))
}

/// Refuses an agent that `/v1/agents` would not list for this caller: nothing of it has been judged, or it is
/// another customer's. Asked where an answer would be empty, so that a typing error does not read as "all is well".
pub(super) async fn require_known(state: &WebState, caller: &Caller, agent: &str) -> Result<(), ApiError> {
    let (judged, _) = state.context().store.reports.agent_runs(&caller.scope, agent, None, 1, 0).await?;
    if judged.is_empty() {
        return Err(ApiError::not_found("agent", agent)
            .hint("GET /v1/agents lists the agents with a judged run; a run is judged when it has ended or stalled"));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunQuery {
    has_signals: Option<bool>,
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Runs {
    runs: Vec<RunView>,
    page: PageView,
}

pub(crate) async fn runs(
    State(state): State<WebState>,
    caller: Caller,
    Id(agent): Id,
    Params(query): Params<RunQuery>,
) -> Result<Json<Runs>, ApiError> {
    let slice = Slice::new(query.limit, query.offset)?;
    let reports = &state.context().store.reports;
    let page = reports.agent_runs(&caller.scope, &agent, query.has_signals, slice.limit, slice.offset);
    let (runs, total) = page.await?;
    if total == 0 {
        require_known(&state, &caller, &agent).await?;
    }
    Ok(Json(Runs { runs: runs.into_iter().map(RunView::from).collect(), page: slice.page(total) }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignalQuery {
    severity: Option<String>,
    failure_type: Option<String>,
    include_shadow: Option<bool>,
    limit: Option<i64>,
    offset: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Signals {
    signals: Vec<SignalView>,
    page: PageView,
}

pub(crate) async fn signals(
    State(state): State<WebState>,
    caller: Caller,
    Id(agent): Id,
    Params(query): Params<SignalQuery>,
) -> Result<Json<Signals>, ApiError> {
    let slice = Slice::new(query.limit, query.offset)?;
    let severity = match query.severity.map(|severity| severity.to_ascii_lowercase()) {
        None => None,
        Some(low) if low == "low" => Some(tripline_store::Severity::Info),
        Some(other) => Some(other.parse()?),
    };
    let failure_type = query.failure_type.map(|kind| failure_type(&state, &kind)).transpose()?;
    let filter = SignalFilter {
        agent_id: Some(agent.clone()),
        run_id: None,
        failure_type,
        severity,
        include_shadow: query.include_shadow.unwrap_or(false),
    };
    let runs = &state.context().store.runs;
    let (signals, total) = runs.signals(&caller.scope, &filter, slice.limit, slice.offset).await?;
    if total == 0 {
        require_known(&state, &caller, &agent).await?;
    }
    Ok(Json(Signals { signals: signals.into_iter().map(SignalView::from).collect(), page: slice.page(total) }))
}

/// A failure type as it is written, whatever the case it was asked for in.
fn failure_type(state: &WebState, wanted: &str) -> Result<String, ApiError> {
    let known = state.parts().detectors.failure_types();
    known.iter().find(|kind| kind.eq_ignore_ascii_case(wanted)).cloned().ok_or_else(|| {
        ApiError::unprocessable(format!("there is no failure type '{wanted}'"))
            .hint(format!("there are {}", known.join(", ")))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueQuery {
    status: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Issues {
    issues: Vec<IssueView>,
    total: usize,
}

#[derive(Debug, Serialize)]
struct IssueView {
    id: i64,
    agent_id: String,
    failure_type: String,
    status: IssueStatus,
    first_seen: f64,
    last_seen: f64,
    resolved_at: Option<f64>,
    affected_runs: i64,
    clean_runs_since: i64,
}

impl From<Issue> for IssueView {
    fn from(issue: Issue) -> Self {
        Self {
            id: issue.id,
            agent_id: issue.agent_id,
            failure_type: issue.failure_type,
            status: issue.status,
            first_seen: seconds(issue.first_seen_at),
            last_seen: seconds(issue.last_seen_at),
            resolved_at: issue.resolved_at.map(seconds),
            affected_runs: issue.affected_runs,
            clean_runs_since: issue.clean_runs_since,
        }
    }
}

pub(crate) async fn issues(
    State(state): State<WebState>,
    caller: Caller,
    Id(agent): Id,
    Params(query): Params<IssueQuery>,
) -> Result<Json<Issues>, ApiError> {
    let status = query.status.as_deref().map(|status| status.to_ascii_lowercase().parse()).transpose()?;
    let issues = state.context().store.reports.issues(&caller.scope, &agent, status).await?;
    if issues.is_empty() {
        require_known(&state, &caller, &agent).await?;
    }
    Ok(Json(Issues { total: issues.len(), issues: issues.into_iter().map(IssueView::from).collect() }))
}
