//! Detectors: those there are, trying one that is not saved yet, and saving it.
//!
//! Must hold: trying writes nothing; a source that could not be asked makes a window unknown, not quiet.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tripline_agent::detect::{Detectors as Judge, Finding, Persist};
use tripline_agent::queries::catalog::{DetectorEntry, DetectorScope, catalog};
use tripline_agent::queries::{DetectorSpec, HeaderError, QueryLibrary};
use tripline_agent::runs::{Flagged, RunDetectorSpec, check, newest_runs};
use tripline_store::{Gap, Window};

use super::preview::{DEFAULT_RUNS, MAX_RUNS, MAX_STEPS, PLACES, failed};
use super::queries::{MAX_TEXT, check_name, own_folder, record, write_file};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
use crate::ports::DetectorInfo;
use crate::state::WebState;

/// All detectors.
#[derive(Debug, Serialize)]
pub(crate) struct Detectors {
    items: Vec<DetectorInfo>,
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Detectors>, ApiError> {
    let store = &state.context().store;
    let (incidents, signals) =
        (store.feedback.precision(&caller.scope).await?, store.runs.precision(&caller.scope).await?);
    let failures = store.runs.detector_failures(&caller.scope).await?;
    let items = state.parts().detectors.detectors().into_iter().map(|entry| {
        let mut info = DetectorInfo::from(entry);
        match info.entry.scope {
            DetectorScope::Window => {
                if let Some(known) = incidents.iter().find(|one| one.detector == info.entry.name) {
                    (info.found, info.marked_right, info.marked_wrong) =
                        (known.incidents, known.marked_right, known.marked_wrong);
                    info.precision = known.precision;
                }
            }
            DetectorScope::Run => {
                if let Some(known) = signals.iter().find(|one| one.detector == info.entry.name) {
                    (info.found, info.marked_right, info.marked_wrong) = (known.signals, known.correct, known.wrong);
                    info.precision = known.precision();
                }
                info.failure = failures.iter().find(|failure| failure.detector == info.entry.name).cloned();
            }
        }
        info
    });
    Ok(Json(Detectors { items: items.collect() }))
}

/// A detector that is not saved yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    name: String,
    /// Header and query, as in a file.
    text: String,
    /// Days to look back, 1 to 30; default 3. Of a detector of windows.
    days: Option<i64>,
    /// Newest judged runs, 1 to 500; default 200. Of a detector of runs.
    runs: Option<usize>,
}

/// What it would have found.
#[derive(Debug, Serialize)]
pub(crate) struct DryRun {
    /// Whether it judges windows or runs.
    scope: DetectorScope,
    /// Windows that were due, or the newest runs.
    due: usize,
    /// Windows that were judged, the newest 200 at most; or runs.
    judged: usize,
    /// Windows in which something was found, or runs it would flag.
    fired: usize,
    /// Windows in which a source could not be asked, or runs whose events are kept no longer.
    unknown: usize,
    /// Requests that were sent to vendors.
    requests: u64,
    /// Of windows: newest first, at most 200.
    findings: Vec<Finding>,
    /// Of runs: newest first, at most 200.
    flagged: Vec<Flagged>,
    gaps: Vec<Gap>,
}

impl DryRun {
    fn of(scope: DetectorScope) -> Self {
        let (findings, flagged, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Self { scope, due: 0, judged: 0, fired: 0, unknown: 0, requests: 0, findings, flagged, gaps }
    }
}

const MAX_WINDOWS: usize = 200;
const MAX_FINDINGS: usize = 200;

pub(super) fn wrong_header(error: &HeaderError) -> ApiError {
    let answer = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_detector", error.message.clone())
        .detail(format!("{}, line {}", error.origin, error.line));
    match &error.hint {
        Some(hint) => answer.hint(hint.clone()),
        None => answer,
    }
}

/// A detector that is no file yet.
enum Drafted {
    Window(Box<DetectorSpec>),
    Run(Box<RunDetectorSpec>),
}

fn draft(name: &str, text: &str) -> Result<Drafted, ApiError> {
    check_name(name)?;
    if text.len() > MAX_TEXT {
        return Err(ApiError::unprocessable(format!("text: at most {MAX_TEXT} bytes")));
    }
    let drafted = if QueryLibrary::is_run_draft(text) {
        let origin = format!("runs/{name}.sql");
        QueryLibrary::draft_run_detector(name, &origin, text).map(|spec| Drafted::Run(Box::new(spec)))
    } else {
        QueryLibrary::draft_detector(name, text).map(|spec| Drafted::Window(Box::new(spec)))
    };
    drafted.map_err(|error| wrong_header(&error))
}

pub(crate) async fn dry_run(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<Draft>,
) -> Result<Json<DryRun>, ApiError> {
    caller.of_installation(&state)?;
    let days = body.days.unwrap_or(3);
    if !(1..=30).contains(&days) {
        return Err(ApiError::unprocessable("days must be between 1 and 30"));
    }
    let runs = body.runs.unwrap_or(DEFAULT_RUNS);
    if !(1..=MAX_RUNS).contains(&runs) {
        return Err(ApiError::unprocessable(format!("runs must be between 1 and {MAX_RUNS}")));
    }
    let drafted = draft(&body.name, &body.text)?;
    let trying = state.clone();
    let work = async move {
        match drafted {
            Drafted::Window(spec) => try_out(trying, *spec, days).await,
            Drafted::Run(spec) => try_runs(&trying, &spec, runs).await,
        }
    };
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    running.await.map_err(|_| ApiError::internal())?.map(Json)
}

/// Judges the newest runs, and writes nothing.
async fn try_runs(state: &WebState, spec: &RunDetectorSpec, runs: usize) -> Result<DryRun, ApiError> {
    let place = tokio::time::timeout(state.options().query_patience, PLACES.acquire()).await;
    let _place = place.map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "other detectors are being tried").retry_after(2)
    })?;
    let context = state.context();
    let most = u32::try_from(runs).unwrap_or(u32::MAX);
    let ids = newest_runs(context, most, MAX_STEPS).await?;
    let tried = tripline_agent::runs::try_out(context, spec, &ids).await.map_err(failed)?;
    let mut answer = DryRun::of(DetectorScope::Run);
    (answer.due, answer.judged, answer.unknown) = (ids.len(), tried.runs, tried.gone);
    answer.fired = tried.flagged.len();
    answer.flagged = tried.flagged.into_iter().take(MAX_FINDINGS).collect();
    Ok(answer)
}

/// Judges the windows of `days` days that were due, and writes nothing.
async fn try_out(state: WebState, spec: DetectorSpec, days: i64) -> Result<DryRun, ApiError> {
    let now = state.context().clock.now();
    let mut due: Vec<_> = Vec::new();
    let mut at = now - TimeDelta::days(days);
    while let Some(next) = spec.schedule.next_after(at).filter(|next| *next <= now) {
        due.push(next);
        at = next;
    }
    let judge = Judge::new(state.context().clone(), state.parts().queries.clone());
    let mut answer = DryRun { due: due.len(), ..DryRun::of(DetectorScope::Window) };
    for end in due.into_iter().rev().take(MAX_WINDOWS) {
        let window = Window::new(end - spec.window, end)?;
        let judgement = judge
            .judge(&spec, window, Persist::Nothing)
            .await
            .map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_detector", error.to_string()))?;
        answer.judged += 1;
        answer.requests += judgement.requests;
        answer.fired += usize::from(!judgement.findings.is_empty());
        answer.unknown += usize::from(!judgement.gaps.is_empty());
        for gap in judgement.gaps {
            if !answer.gaps.contains(&gap) {
                answer.gaps.push(gap);
            }
        }
        let room = MAX_FINDINGS.saturating_sub(answer.findings.len());
        answer.findings.extend(judgement.findings.into_iter().take(room));
    }
    Ok(answer)
}

/// The text of a detector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileBody {
    text: String,
}

pub(crate) async fn save(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
    JsonBody(body): JsonBody<FileBody>,
) -> Result<Json<DetectorInfo>, ApiError> {
    caller.of_installation(&state)?;
    let drafted = draft(&name, &body.text)?;
    let set = state.parts().queries.current();
    let (windows, runs) = (set.detectors.get(&name), set.runs.get(&name));
    let origins = windows.map(|spec| &spec.header.origin).into_iter().chain(runs.map(|spec| &spec.header.origin));
    if origins.into_iter().any(|origin| origin.starts_with("queries/")) {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "name_taken",
            format!("'{name}' is a detector that comes with Tripline"),
        )
        .hint("give yours another name"));
    }
    let (kind, schedule) = match &drafted {
        Drafted::Window(spec) => ("detectors", Some(spec.schedule.to_string())),
        Drafted::Run(spec) => {
            let context = state.context();
            let checked = check(&context.engine, spec, &context.settings.get(), context.clock.now()).await;
            checked.map_err(|error| wrong_header(&error))?;
            ("runs", None)
        }
    };
    write_file(own_folder(&state)?.join(kind), &name, body.text).await?;
    let detail = json!({"schedule": schedule, "file": format!("queries/{kind}/{name}.sql")});
    record(&state, &caller, "detector.saved", ("detector", &name), detail).await?;
    let scope = if kind == "runs" { DetectorScope::Run } else { DetectorScope::Window };
    let listed = catalog(&state.parts().queries.current(), &state.context().settings.get());
    let saved = listed.into_iter().find(|entry| entry.name == name && entry.scope == scope);
    let saved = saved.ok_or_else(ApiError::internal)?;
    Ok(Json(DetectorInfo::from(DetectorEntry { file: format!("queries/{kind}/{name}.sql"), ..saved })))
}
