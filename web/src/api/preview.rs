//! What a change of thresholds would do, before it is made: the newest runs and windows judged again, with the settings in force and
//! with the proposed ones.
//!
//! Must hold: nothing is written; what it costs is bounded (runs, events, windows, requests, time), and an answer that was cut short
//! says so; a source that could not be asked makes a window unknown, not quiet.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tripline_agent::AgentContext;
use tripline_agent::detect::{DetectError, Detectors as Judge, Persist};
use tripline_agent::queries::{DetectorSpec, QuerySet};
use tripline_agent::runs::{JudgeError, RunsPreview, newest_runs, preview};
use tripline_agent::settings::{Settings, SettingsHandle};
use tripline_store::{Gap, Window};

use super::detectors::wrong_header;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::state::WebState;

/// Changes that are looked at at once: each judges thousands of events.
pub(super) static PLACES: Semaphore = Semaphore::const_new(2);
pub(super) const DEFAULT_RUNS: usize = 200;
pub(super) const MAX_RUNS: usize = 500;
/// Steps that the runs may have together: what is read and judged is about so many events.
pub(super) const MAX_STEPS: i64 = 100_000;
const DEFAULT_WINDOWS: usize = 12;
const MAX_WINDOWS: usize = 96;
/// Requests to vendors after which no further window is judged.
const MAX_REQUESTS: u64 = 300;
/// Time after which no further window is judged.
const WITHIN: Duration = Duration::from_secs(20);

/// A change to look at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proposal {
    /// The settings that are different, as they would be sent to `PATCH /api/v1/settings`.
    #[serde(default)]
    settings: Map<String, Value>,
    /// Only this detector; else those that are bound to one of the settings, or all detectors of runs where none is given.
    detector: Option<String>,
    /// Newest judged runs to judge again, 1 to 500; default 200.
    runs: Option<usize>,
    /// Newest windows of a detector to judge again, 1 to 96; default 12.
    windows: Option<usize>,
}

/// What it would do.
#[derive(Debug, Serialize)]
pub(crate) struct Preview {
    /// Detectors of runs.
    runs: RunsPreview,
    /// Detectors of windows.
    windows: Vec<WindowsPreview>,
}

/// What one detector makes of its newest windows.
#[derive(Debug, Serialize)]
struct WindowsPreview {
    detector: String,
    title: String,
    /// The thresholds it is bound to, its baselines' included.
    settings: Vec<String>,
    /// Windows that were due.
    due: usize,
    /// Windows that were judged with both.
    judged: usize,
    /// Windows in which something is found with the thresholds in force.
    fires_now: usize,
    /// Windows in which something would be found.
    would_fire: usize,
    /// Windows in which a source could not be asked.
    unknown: usize,
    /// Requests that were sent to vendors.
    requests: u64,
    /// Whether it was ended before all windows were judged, by its budget of requests or time.
    cut: bool,
    gaps: Vec<Gap>,
}

pub(crate) async fn show(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<Proposal>,
) -> Result<Json<Preview>, ApiError> {
    caller.of_installation(&state)?;
    let within = |name: &str, value: Option<usize>, default: usize, most: usize| match value {
        None => Ok(default),
        Some(value) if (1..=most).contains(&value) => Ok(value),
        Some(_) => Err(ApiError::unprocessable(format!("{name} must be between 1 and {most}"))),
    };
    let most_runs = within("runs", body.runs, DEFAULT_RUNS, MAX_RUNS)?;
    let most_windows = within("windows", body.windows, DEFAULT_WINDOWS, MAX_WINDOWS)?;
    let proposed = state.context().settings.get().with_change(&body.settings);
    let proposed = proposed.map_err(|error| {
        ApiError::unprocessable(error.to_string()).hint("docs/settings.md has every key with its range")
    })?;
    let set = state.parts().queries.current();
    if let Some(name) = &body.detector
        && !set.runs.contains_key(name)
        && !set.detectors.contains_key(name)
    {
        return Err(ApiError::not_found("detector", name));
    }
    let place = tokio::time::timeout(state.options().query_patience, PLACES.acquire()).await;
    let place = place.map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "other thresholds are being looked at").retry_after(2)
    })?;
    let work = judged(state.clone(), caller, body, proposed, (most_runs, most_windows), place);
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    running.await.map_err(|_| ApiError::internal())?.map(Json)
}

/// Judges runs and windows both ways. The place is taken until all of it has ended.
async fn judged(
    state: WebState,
    caller: Caller,
    body: Proposal,
    proposed: Settings,
    (most_runs, most_windows): (usize, usize),
    _place: Result<SemaphorePermit<'static>, AcquireError>,
) -> Result<Preview, ApiError> {
    let set = state.parts().queries.current();
    let context = AgentContext {
        engine: state.parts().engines.engine(&caller.scope).await?,
        scope: caller.scope.clone(),
        ..state.context().clone()
    };
    let everything = body.settings.is_empty() && body.detector.is_none();
    let concerned = |name: &str, bound: &BTreeSet<String>| match &body.detector {
        Some(only) => only == name,
        None => bound.iter().any(|key| body.settings.contains_key(key)),
    };
    let ids = newest_runs(&context, u32::try_from(most_runs).unwrap_or(u32::MAX), MAX_STEPS).await?;
    let runs = preview(&context, &state.parts().queries, &caller.scope, &ids, &proposed, |spec| {
        let bound = spec.bindings.params.iter().map(|param| param.setting.clone()).collect();
        let all = everything || (body.detector.is_none() && body.settings.contains_key("runs"));
        all || concerned(&spec.name, &bound)
    });
    let runs = runs.await.map_err(failed)?;

    let proposed = AgentContext { settings: SettingsHandle::new(proposed), ..context.clone() };
    let judges = [context, proposed].map(|context| Judge::new(context, state.parts().queries.clone()));
    let mut windows = Vec::new();
    let started = tokio::time::Instant::now();
    let mut requests = 0;
    for spec in set.detectors.values() {
        let bound = bound_to(spec, &set);
        if everything || !concerned(&spec.name, &bound) {
            continue;
        }
        let mut answer = WindowsPreview {
            detector: spec.name.clone(),
            title: spec.title.clone(),
            settings: bound.into_iter().collect(),
            due: 0,
            judged: 0,
            fires_now: 0,
            would_fire: 0,
            unknown: 0,
            requests: 0,
            cut: false,
            gaps: Vec::new(),
        };
        let mut due = due(spec, judges[0].context().clock.now(), most_windows);
        answer.due = due.len();
        while let Some(end) = due.pop() {
            if requests >= MAX_REQUESTS || started.elapsed() >= WITHIN {
                answer.cut = true;
                break;
            }
            let sent = window(&judges, spec, end, &mut answer).await?;
            requests += sent;
        }
        windows.push(answer);
    }
    Ok(Preview { runs, windows })
}

pub(super) fn failed(error: JudgeError) -> ApiError {
    match error {
        JudgeError::Store(error) => error.into(),
        JudgeError::Engine(error) => error.into(),
        JudgeError::Detect(DetectError::Header(error)) => wrong_header(&error),
        JudgeError::Detect(error) => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_detector", error.to_string())
        }
    }
}

/// The thresholds that a detector or one of its inputs is bound to.
fn bound_to(spec: &DetectorSpec, set: &QuerySet) -> BTreeSet<String> {
    let inputs = spec.bindings.inputs.iter().filter_map(|input| set.baselines.get(&input.name));
    let params = spec.bindings.params.iter().chain(inputs.flat_map(|baseline| &baseline.bindings.params));
    params.map(|param| param.setting.clone()).collect()
}

/// The ends of the newest windows, the newest last.
fn due(spec: &DetectorSpec, now: chrono::DateTime<chrono::Utc>, most: usize) -> Vec<chrono::DateTime<chrono::Utc>> {
    let mut ends = Vec::new();
    let mut at = now;
    while ends.len() < most
        && let Some(end) = spec.schedule.last_at(at)
    {
        ends.push(end);
        at = end - chrono::TimeDelta::microseconds(1);
    }
    ends.reverse();
    ends
}

/// Judges one window with both; the requests that were sent.
async fn window(
    judges: &[Judge; 2],
    spec: &DetectorSpec,
    end: chrono::DateTime<chrono::Utc>,
    answer: &mut WindowsPreview,
) -> Result<u64, ApiError> {
    let window = Window::new(end - spec.window, end)?;
    let [now, then] = judges;
    let judged = async {
        Ok([now.judge(spec, window, Persist::Nothing).await?, then.judge(spec, window, Persist::Nothing).await?])
    };
    let [now, then] = judged.await.map_err(|error: tripline_agent::detect::DetectError| {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_detector", error.to_string())
    })?;
    let sent = now.requests + then.requests;
    answer.judged += 1;
    answer.requests += sent;
    answer.fires_now += usize::from(!now.findings.is_empty());
    answer.would_fire += usize::from(!then.findings.is_empty());
    answer.unknown += usize::from(!now.is_complete() || !then.is_complete());
    for gap in now.gaps.into_iter().chain(then.gaps) {
        if !answer.gaps.contains(&gap) {
            answer.gaps.push(gap);
        }
    }
    Ok(sent)
}
