//! The sampler: its newest figures, and its policy, which is a part of the settings.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tripline_agent::sampler::SamplingPolicy;

use super::settings::changed;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::state::WebState;

/// Figures of the newest run. Before the first they are none: `recorded_at` is null, and so are the counts.
#[derive(Debug, Serialize)]
pub(crate) struct StatsView {
    total_traces: Option<i64>,
    sampled_traces: Option<i64>,
    dropped_traces: Option<i64>,
    /// 0 to 1, to four digits; null when no trace was judged.
    share_dropped: Option<f64>,
    /// How many were kept for which reason; a trace may have several.
    keep_reasons: BTreeMap<String, i64>,
    window_start: Option<DateTime<Utc>>,
    window_end: Option<DateTime<Utc>>,
    recorded_at: Option<DateTime<Utc>>,
}

pub(crate) async fn stats(State(state): State<WebState>, caller: Caller) -> Result<Json<StatsView>, ApiError> {
    let newest = state.context().store.sampling.sampling_stats(&caller.scope, 1).await?.into_iter().next();
    let share = newest.as_ref().filter(|run| run.total_traces > 0).map(|run| {
        let share = run.dropped_traces as f64 / run.total_traces as f64;
        (share * 10_000.0).round() / 10_000.0
    });
    Ok(Json(StatsView {
        total_traces: newest.as_ref().map(|run| run.total_traces),
        sampled_traces: newest.as_ref().map(|run| run.sampled_traces),
        dropped_traces: newest.as_ref().map(|run| run.dropped_traces),
        share_dropped: share,
        window_start: newest.as_ref().map(|run| run.window_start),
        window_end: newest.as_ref().map(|run| run.window_end),
        recorded_at: newest.as_ref().map(|run| run.recorded_at),
        keep_reasons: newest.map(|run| run.keep_reasons).unwrap_or_default(),
    }))
}

pub(crate) async fn policy(State(state): State<WebState>, caller: Caller) -> Result<Json<SamplingPolicy>, ApiError> {
    caller.of_installation(&state)?;
    Ok(Json(state.context().settings.get().sampling))
}

/// Merges the keys that are given into the policy; the others stay. `null` gives a key its default back.
pub(crate) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(patch): JsonBody<Map<String, Value>>,
) -> Result<Json<SamplingPolicy>, ApiError> {
    caller.of_installation(&state)?;
    changed(&state, &caller, Map::from_iter([("sampling".to_owned(), Value::Object(patch))])).await?;
    Ok(Json(state.context().settings.get().sampling))
}
