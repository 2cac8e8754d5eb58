//! Graphs of incidents and traces, as the page draws them. Reading changes nothing.
//!
//! Must hold: what is not known is an error or a named gap, never an empty graph.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tripline_agent::AgentContext;
use tripline_agent::forensics::{Forensics, ForensicsError, Graph, WorstTrace};
use tripline_store::IncidentId;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

const DEFAULT_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;
/// What is drawn around an incident.
const AROUND: TimeDelta = TimeDelta::hours(2);

/// A window, or an incident whose window it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WindowQuery {
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
    incident_id: Option<String>,
}

/// How many.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    limit: Option<usize>,
}

/// Traces, the dearest first.
#[derive(Debug, Serialize)]
pub(crate) struct Worst {
    items: Vec<WorstTrace>,
}

/// Draws from what a caller may see.
pub(crate) async fn forensics(state: &WebState, caller: &Caller) -> Result<Forensics, ApiError> {
    let ctx = state.context();
    let engine = state.parts().engines.engine(&caller.scope).await?;
    let ctx = AgentContext { engine, scope: caller.scope.clone(), ..ctx.clone() };
    let repository = state.parts().governance.destinations.code_repository().cloned();
    Ok(Forensics::new(ctx, state.parts().queries.clone(), repository))
}

pub(crate) fn failed(error: ForensicsError) -> ApiError {
    match error {
        ForensicsError::Engine(error) => error.into(),
        ForensicsError::NoTrace(id) => ApiError::not_found("trace", &id),
        ForensicsError::Window => ApiError::unprocessable(error.to_string()),
        ForensicsError::Unknown(_) | ForensicsError::Rows(_) => {
            ApiError::new(StatusCode::BAD_GATEWAY, "source", "nothing is known: no source answered")
                .detail(error.to_string())
        }
        ForensicsError::Query(error) => {
            tracing::error!(%error, "a query file is wrong");
            ApiError::internal()
        }
    }
}

pub(crate) async fn trace(State(state): State<WebState>, caller: Caller, Id(id): Id) -> Result<Json<Graph>, ApiError> {
    caller.of_installation(&state)?;
    Ok(Json(forensics(&state, &caller).await?.trace(&id).await.map_err(failed)?))
}

pub(crate) async fn incident(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<WindowQuery>,
) -> Result<Json<Graph>, ApiError> {
    let (start, end) = match (query.start, query.end, query.incident_id) {
        (Some(start), Some(end), None) => (start, end),
        (None, None, Some(id)) => {
            let id = IncidentId::new(id);
            let incident = state.context().store.incidents.get(&caller.scope, &id).await?;
            let incident = incident.ok_or_else(|| ApiError::not_found("incident", id.as_str()))?;
            let end = incident.window.end + AROUND;
            // Of a condition that lasts, its latest days.
            ((incident.window.start - AROUND).max(end - tripline_agent::forensics::LONGEST), end)
        }
        _ => return Err(ApiError::unprocessable("name start and end, or incident_id")),
    };
    Ok(Json(forensics(&state, &caller).await?.incident(start, end).await.map_err(failed)?))
}

pub(crate) async fn worst(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Limit>,
) -> Result<Json<Worst>, ApiError> {
    caller.of_installation(&state)?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    Ok(Json(Worst { items: forensics(&state, &caller).await?.worst_traces(limit).await.map_err(failed)? }))
}
