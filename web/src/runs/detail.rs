//! One run, with its events and signals.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tripline_engine::{Param, QueryOptions, json_rows};
use tripline_store::{Scope, SignalFilter};

use super::views::{RunView, SignalView};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

/// Events shown of one run at once at most; that there are more is said in `events_truncated`.
const MAX_EVENTS: usize = 10_000;

const EVENTS: &str = "SELECT event_type, step_index, CAST(occurred_at AS BIGINT) AS micros, payload, parent_run_id
    FROM ingest.events WHERE run_id = $run_id ORDER BY step_index, occurred_at, seq";

#[derive(Debug, Serialize)]
struct EventView {
    event_type: Value,
    step_index: Value,
    timestamp: f64,
    payload: Value,
    parent_run_id: Value,
}

impl EventView {
    fn new(mut row: Map<String, Value>) -> Self {
        let mut take = |column: &str| row.remove(column).unwrap_or_default();
        let payload = take("payload");
        let payload = payload.as_str().and_then(|text| serde_json::from_str(text).ok());
        Self {
            event_type: take("event_type"),
            step_index: take("step_index"),
            timestamp: take("micros").as_i64().unwrap_or_default() as f64 / 1e6,
            payload: payload.unwrap_or_default(),
            parent_run_id: take("parent_run_id"),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RunDetail {
    #[serde(flatten)]
    run: RunView,
    events: Vec<EventView>,
    events_truncated: bool,
    signals: Vec<SignalView>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RunEvents {
    run_id: String,
    events: Vec<EventView>,
    events_truncated: bool,
}

async fn judged(state: &WebState, scope: &Scope, run_id: &str) -> Result<RunView, ApiError> {
    let run = state.context().store.reports.judged_run(scope, run_id).await?;
    let missing = || {
        ApiError::not_found("judged run", run_id).hint("a run is shown once it ended, or fell silent for 90 seconds")
    };
    run.map(RunView::from).ok_or_else(missing)
}

/// Which part of a run's events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsQuery {
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn events_of(
    state: &WebState,
    scope: &Scope,
    run_id: &str,
    limit: usize,
    offset: usize,
) -> Result<(Vec<EventView>, bool), ApiError> {
    let engine = state.parts().engines.engine(scope).await?;
    let params = tripline_engine::Params::from([("run_id".to_owned(), Param::from(run_id))]);
    let options = QueryOptions { params, max_rows: Some(limit), ..QueryOptions::default() };
    // A number: there is nothing in it to be bound.
    let result = engine.collect(&format!("{EVENTS} OFFSET {offset}"), options).await?;
    let rows = json_rows(&result.schema, &result.batches).map_err(|error| {
        tracing::error!(%error, "events have no JSON form");
        ApiError::internal()
    })?;
    Ok((rows.into_iter().map(EventView::new).collect(), result.report.truncated))
}

pub(crate) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    Id(run_id): Id,
) -> Result<Json<RunDetail>, ApiError> {
    let run = judged(&state, &caller.scope, &run_id).await?;
    let (events, events_truncated) = events_of(&state, &caller.scope, &run_id, MAX_EVENTS, 0).await?;
    let filter = SignalFilter { run_id: Some(run_id), include_shadow: true, ..SignalFilter::default() };
    let (signals, _) = state.context().store.runs.signals(&caller.scope, &filter, 500, 0).await?;
    let signals = signals.into_iter().map(SignalView::from).collect();
    Ok(Json(RunDetail { run, events, events_truncated, signals }))
}

pub(crate) async fn events(
    State(state): State<WebState>,
    caller: Caller,
    Id(run_id): Id,
    Params(query): Params<EventsQuery>,
) -> Result<Json<RunEvents>, ApiError> {
    let limit = query.limit.unwrap_or(MAX_EVENTS);
    if !(1..=MAX_EVENTS).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_EVENTS}")));
    }
    judged(&state, &caller.scope, &run_id).await?;
    let (events, events_truncated) =
        events_of(&state, &caller.scope, &run_id, limit, query.offset.unwrap_or(0)).await?;
    Ok(Json(RunEvents { run_id, events, events_truncated }))
}
