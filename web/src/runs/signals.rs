//! A signal: its explanation, fixes that people applied, and whether it is right.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_agent::runs::advice::verdict;
use tripline_agent::runs::trace::{self, TraceRead};
use tripline_agent::runs::{Advice, Question, RateContext};
use tripline_store::{AppliedVia, NewFix, RunSignal};

use super::signal_id;
use super::views::seconds;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody, OptionalJson};
use crate::state::WebState;

/// Characters of a fix at most.
pub(super) const MAX_FIX: usize = 20_000;

/// Bytes of a trace's id at most.
const MAX_TRACE_ID: usize = 200;

/// How old a signal may be for its trace to be on its way to Langfuse still, in seconds.
const FRESH: i64 = 300;
/// How long one look at Langfuse may take.
const TRACE_WITHIN: Duration = Duration::from_secs(10);

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
    /// Who wrote cause and fix: `template`, `model:NAME`, or `template (why no model)`.
    narrator: String,
    /// Sources that were to be asked and did not answer.
    unknown: Vec<String>,
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
    let mut unknown = Vec::new();
    let mut found = None;
    if let Some(id) = body.langfuse_trace_id.filter(|id| !id.trim().is_empty()) {
        if id.len() > MAX_TRACE_ID {
            return Err(ApiError::unprocessable(format!("langfuse_trace_id has more than {MAX_TRACE_ID} characters")));
        }
        match trace_of(&state, &caller, &signal, &id).await? {
            TraceRead::Found(trace) => found = Some(*trace),
            TraceRead::Missing | TraceRead::NotConfigured => {}
            TraceRead::Failed(why) => {
                tracing::warn!(%why, "a trace could not be read");
                unknown.push("langfuse".to_owned());
            }
        }
    }
    let (name, version) =
        found.as_ref().map_or((None, None), |trace| (trace.prompt_name.clone(), trace.prompt_version));
    let source = if found.is_some() { "langfuse" } else { "signal_only" };
    let signal_id = signal.id;
    let question = Question { signal, rate, trace: found, unknown: unknown.clone(), asked_by: caller.name };
    let explained = state.parts().explainer.explain(&caller.scope, question).await;
    Ok(Json(ExplainView {
        signal_id,
        source,
        advice: explained.advice,
        langfuse_prompt_name: name,
        langfuse_prompt_version: version,
        rate_context: rate,
        narrator: explained.narrator,
        unknown,
    }))
}

/// The trace of a run. One that is not there yet is looked for again while the signal is fresh: Langfuse takes a while.
async fn trace_of(state: &WebState, caller: &Caller, signal: &RunSignal, id: &str) -> Result<TraceRead, ApiError> {
    // Langfuse is the installation's: a customer's key reads none of its traces.
    if caller.scope != state.context().scope {
        return Ok(TraceRead::NotConfigured);
    }
    let engine = state.parts().engines.engine(&caller.scope).await?;
    let focus = trace::focus(&signal.failure_type, &signal.evidence, signal.step_index);
    let mut pauses = state.options().trace_pauses.into_iter();
    loop {
        let outbox = &state.parts().governance.outbox;
        let whole = async |id: String| outbox.trace(&id).await;
        let read = trace::read(&engine, id, focus, TRACE_WITHIN, whole).await;
        let fresh = (state.context().clock.now() - signal.detected_at).num_seconds() < FRESH;
        match pauses.next() {
            Some(pause) if read == TraceRead::Missing && fresh => tokio::time::sleep(pause).await,
            _ => return Ok(read),
        }
    }
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
