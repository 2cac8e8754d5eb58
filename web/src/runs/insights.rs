//! What can be learnt of an agent's runs.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::{Value, json};
use tripline_store::AgentInsights;

use super::agents::require_known;
use super::views::{ratio, seconds};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Id;
use crate::state::WebState;

/// The share of runs from which on a failure is systemic.
const SYSTEMIC: f64 = 0.10;

#[derive(Debug, Serialize)]
pub(crate) struct Insights {
    input_patterns: Vec<Value>,
    signal_trends: Vec<Value>,
    versions: Vec<Value>,
    time_to_tool: Value,
    hourly_pattern: Vec<Value>,
    failure_rates: Vec<Value>,
    systemic_patterns: Vec<Value>,
}

pub(crate) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    Id(agent): Id,
) -> Result<Json<Insights>, ApiError> {
    require_known(&state, &caller, &agent).await?;
    let context = state.context();
    let known = context.store.reports.insights(&caller.scope, &agent, context.clock.now()).await?;
    Ok(Json(view(&known)))
}

fn view(known: &AgentInsights) -> Insights {
    let patterns = known.input_patterns.iter().map(|pattern| {
        json!({"input_hash": pattern.input_hash, "failure_type": pattern.failure_type, "triggered_count": pattern.triggered,
            "total_runs": pattern.runs, "rate": ratio(pattern.triggered, pattern.runs, 2)})
    });
    let trends = known.signal_trends.iter().map(|trend| {
        json!({"failure_type": trend.failure_type, "agent_version": trend.agent_version, "day": trend.day, "count": trend.count})
    });
    let versions = known.versions.iter().map(|version| {
        json!({"agent_version": version.agent_version, "run_count": version.runs, "runs_with_signals": version.runs_with_signals,
            "signal_count": version.signals, "signal_rate": ratio(version.runs_with_signals, version.runs, 3),
            "first_seen": seconds(version.first_seen_at), "last_seen": seconds(version.last_seen_at)})
    });
    let hours = known.hours.iter().map(|hour| {
        json!({"hour_of_day": hour.at.parse::<i64>().unwrap_or_default(), "run_count": hour.runs, "signal_count": hour.of_them,
            "signal_rate": ratio(hour.of_them, hour.runs, 3)})
    });
    let rates = known.failure_rates.iter().map(|of_type| {
        json!({"failure_type": of_type.failure_type, "day": of_type.day, "total_runs": of_type.rate.total_runs,
            "affected_runs": of_type.rate.affected_runs, "rate": ratio(of_type.rate.affected_runs, of_type.rate.total_runs, 3)})
    });
    let systemic = known.week_rates.iter().filter_map(|of_type| {
        let rate = ratio(of_type.rate.affected_runs, of_type.rate.total_runs, 3);
        let (first, last) = of_type.seen?;
        (rate >= SYSTEMIC).then(|| {
            json!({"failure_type": of_type.failure_type, "total_runs": of_type.rate.total_runs,
                "affected_runs": of_type.rate.affected_runs, "rate": rate, "first_seen": seconds(first), "last_seen": seconds(last),
                "is_systemic": true})
        })
    });
    Insights {
        input_patterns: patterns.collect(),
        signal_trends: trends.collect(),
        versions: versions.collect(),
        time_to_tool: time_to_tool(known),
        hourly_pattern: hours.collect(),
        failure_rates: rates.collect(),
        systemic_patterns: systemic.collect(),
    }
}

/// Quantiles of the step of the first tool call, over all runs that have one.
fn time_to_tool(known: &AgentInsights) -> Value {
    let steps = &known.first_tool_steps;
    let count: i64 = steps.iter().map(|(_, runs)| runs).sum();
    // The step of the run at a place in their order.
    let at = |place: i64| {
        let mut before = 0;
        steps.iter().find(|(_, runs)| {
            before += runs;
            place < before
        })
    };
    let quantile = |share: f64| {
        let position = share * (count > 0).then_some(count - 1)? as f64;
        let (low, high) = (at(position.floor() as i64)?.0, at(position.ceil() as i64)?.0);
        Some(low as f64 + (high - low) as f64 * position.fract())
    };
    let sum: i64 = steps.iter().map(|(step, runs)| step * runs).sum();
    let average = (count > 0).then(|| sum as f64 / count as f64);
    let one_digit = |number: f64| format!("{number:.1}").parse::<f64>().unwrap_or(number);
    let days: Vec<Value> = known
        .tool_days
        .iter()
        .map(|day| {
            json!({"day": day.at, "run_count": day.runs, "runs_with_tool": day.of_them,
                "avg_first_tool_step": day.first_tool_step.map(one_digit)})
        })
        .collect();
    json!({"p25": quantile(0.25), "p50": quantile(0.5), "p75": quantile(0.75), "avg_steps": average.map(one_digit),
        "runs_with_tool": count, "total_runs": known.runs, "daily_trend": days})
}
