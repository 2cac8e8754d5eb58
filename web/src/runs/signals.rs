//! A signal: its explanation, fixes that people applied, and whether it is right.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_agent::runs::advice::verdict;
use tripline_agent::runs::{Advice, RateContext, advice, explain_signal};
use tripline_engine::{Param, Params, QueryOptions, json_rows};
use tripline_store::{AppliedVia, NewFix, RunSignal};

use super::signal_id;
use super::views::seconds;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody, OptionalJson};
use crate::state::WebState;

/// Characters of a fix at most.
pub(super) const MAX_FIX: usize = 20_000;

/// Which prompt a trace used.
const PROMPT_OF_TRACE: &str = "SELECT prompt_name, prompt_version FROM langfuse.observations
    WHERE trace_id = $trace_id AND type = 'GENERATION' AND prompt_name IS NOT NULL ORDER BY start_time LIMIT 1";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExplainBody {
    /// The Langfuse trace of the run, if there is one.
    langfuse_trace_id: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ExplainView {
    signal_id: i64,
    /// `langfuse` when the trace was found, else `signal_only`.
    source: &'static str,
    #[serde(flatten)]
    advice: Advice,
    langfuse_prompt_name: Option<String>,
    langfuse_prompt_version: Option<i64>,
    rate_context: Option<RateContext>,
}

pub(super) async fn find(state: &WebState, caller: &Caller, id: &str) -> Result<RunSignal, ApiError> {
    let number = signal_id(id)?;
    let signal = state.context().store.runs.signal(&caller.scope, number).await?;
    signal.ok_or_else(|| ApiError::not_found("signal", id))
}

pub(crate) async fn explain(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    OptionalJson(body): OptionalJson<ExplainBody>,
) -> Result<Json<ExplainView>, ApiError> {
    let signal = find(&state, &caller, &id).await?;
    let context = state.context();
    let since = context.clock.now() - chrono::TimeDelta::days(7);
    let rate = context.store.runs.failure_rate(&caller.scope, &signal.agent_id, &signal.failure_type, since).await?;
    let rate = RateContext::new(rate.total_runs, rate.affected_runs);
    let explanation = explain_signal(&signal, rate);
    let prompt = match body.langfuse_trace_id.filter(|trace| !trace.trim().is_empty()) {
        None => None,
        Some(trace) => prompt_of(&state, &caller, &trace).await?,
    };
    let (name, version) = prompt.clone().map_or((None, None), |(name, version)| (name, version));
    Ok(Json(ExplainView {
        signal_id: signal.id,
        source: if prompt.is_some() { "langfuse" } else { "signal_only" },
        advice: advice(&explanation),
        langfuse_prompt_name: name,
        langfuse_prompt_version: version,
        rate_context: rate,
    }))
}

/// The prompt of a trace; `None` when Langfuse is not configured, or knows no such trace. A Langfuse that fails is an error.
async fn prompt_of(
    state: &WebState,
    caller: &Caller,
    trace: &str,
) -> Result<Option<(Option<String>, Option<i64>)>, ApiError> {
    // Langfuse is the installation's: a customer's key reads none of its traces.
    if caller.scope != state.context().scope {
        return Ok(None);
    }
    let engine = state.parts().engines.engine(&caller.scope).await?;
    if !engine.tables().contains_key("langfuse") {
        return Ok(None);
    }
    let params = Params::from([("trace_id".to_owned(), Param::from(trace.replace('-', "")))]);
    let options = QueryOptions {
        params,
        timeout: std::time::Duration::from_secs(15),
        max_requests: 20,
        ..QueryOptions::default()
    };
    let result = match engine.collect(PROMPT_OF_TRACE, options).await {
        Ok(result) => result,
        Err(tripline_engine::EngineError::Source(scan))
            if scan.kind == tripline_engine::ScanErrorKind::NotConfigured || scan.status == Some(404) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let rows = json_rows(&result.schema, &result.batches).unwrap_or_default();
    Ok(rows.into_iter().next().map(|row| {
        let name = row.get("prompt_name").and_then(Value::as_str).map(str::to_owned);
        (name, row.get("prompt_version").and_then(Value::as_i64))
    }))
}

/// A fix that somebody copied. Other fields that clients send are not needed.
#[derive(Debug, Deserialize)]
pub(crate) struct CopyBody {
    fix_content: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct FixRecorded {
    fix_id: i64,
    signal_id: i64,
}

pub(crate) async fn record_copy(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<CopyBody>,
) -> Result<Json<FixRecorded>, ApiError> {
    if body.fix_content.trim().is_empty() || body.fix_content.chars().count() > MAX_FIX {
        return Err(ApiError::unprocessable(format!("fix_content must have between 1 and {MAX_FIX} characters")));
    }
    let signal = find(&state, &caller, &id).await?;
    let context = state.context();
    let fix = NewFix {
        signal_id: signal.id,
        applied_via: AppliedVia::Clipboard,
        prompt_name: None,
        prompt_version: None,
        fix_content: body.fix_content,
        applied_by: caller.person,
    };
    let fix_id = context.store.reports.record_fix(&caller.scope, fix, context.clock.now()).await?;
    Ok(Json(FixRecorded { fix_id, signal_id: signal.id }))
}

pub(crate) async fn fix_status(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Value>, ApiError> {
    let signal = find(&state, &caller, &id).await?;
    let status = state.context().store.reports.fix_status(&caller.scope, signal.id).await?;
    Ok(Json(match status {
        None => json!({"fix_applied": false}),
        Some(status) => json!({
            "fix_applied": true,
            "applied_at": seconds(status.applied_at),
            "applied_via": status.fix.applied_via,
            "langfuse_prompt_name": status.fix.prompt_name,
            "langfuse_version": status.fix.prompt_version,
            "runs_after_fix": status.runs_after,
            "recurrences_after_fix": status.recurrences,
            "verdict": verdict(status.runs_after, status.recurrences),
        }),
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackBody {
    /// Whether the finding is right.
    correct: bool,
}

pub(crate) async fn feedback(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<FeedbackBody>,
) -> Result<Json<Value>, ApiError> {
    let signal = find(&state, &caller, &id).await?;
    let context = state.context();
    let now = context.clock.now();
    context.store.runs.give_feedback(&caller.scope, signal.id, body.correct, &caller.person, now).await?;
    let precision = context.store.runs.precision(&caller.scope).await?;
    let of = precision.into_iter().find(|one| one.detector == signal.detector);
    let share = of.as_ref().and_then(|one| one.precision());
    Ok(Json(json!({"signal_id": signal.id, "correct": body.correct, "detector": of, "precision": share})))
}
