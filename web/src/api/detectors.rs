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
use tripline_agent::queries::{DetectorSpec, HeaderError, QueryLibrary};
use tripline_store::{Gap, Window};

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

pub(crate) async fn list(State(state): State<WebState>) -> Json<Detectors> {
    Json(Detectors { items: state.parts().detectors.detectors() })
}

/// A detector that is not saved yet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    name: String,
    /// Header and query, as in a file.
    text: String,
    /// Days to look back, 1 to 30; default 3.
    days: Option<i64>,
}

/// What it would have found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DryRun {
    /// Windows that were due.
    due: usize,
    /// Windows that were judged: the newest 200 at most.
    judged: usize,
    /// Windows in which something was found.
    fired: usize,
    /// Windows in which a source could not be asked.
    unknown: usize,
    /// Requests that were sent to vendors.
    requests: u64,
    /// Newest first, at most 200.
    findings: Vec<Finding>,
    gaps: Vec<Gap>,
}

const MAX_WINDOWS: usize = 200;
const MAX_FINDINGS: usize = 200;

fn wrong_header(error: &HeaderError) -> ApiError {
    let answer = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_detector", error.message.clone())
        .detail(format!("{}, line {}", error.origin, error.line));
    match &error.hint {
        Some(hint) => answer.hint(hint.clone()),
        None => answer,
    }
}

fn draft(name: &str, text: &str) -> Result<DetectorSpec, ApiError> {
    check_name(name)?;
    if text.len() > MAX_TEXT {
        return Err(ApiError::unprocessable(format!("text: at most {MAX_TEXT} bytes")));
    }
    QueryLibrary::draft_detector(name, text).map_err(|error| wrong_header(&error))
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
    let spec = draft(&body.name, &body.text)?;
    let running = state.parts().threads.run(try_out(state.clone(), spec, days)).ok_or_else(ApiError::internal)?;
    running.await.map_err(|_| ApiError::internal())?.map(Json)
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
    let mut answer = DryRun { due: due.len(), ..DryRun::default() };
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
    let spec = draft(&name, &body.text)?;
    let known = state.parts().queries.current().detectors.get(&name).map(|spec| spec.header.origin.clone());
    if known.is_some_and(|origin| origin.starts_with("queries/")) {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "name_taken",
            format!("'{name}' is a detector that comes with Tripline"),
        )
        .hint("give yours another name"));
    }
    let folder = own_folder(&state)?.join("detectors");
    write_file(folder, &name, body.text).await?;
    record(&state, &caller, "detector.saved", ("detector", &name), json!({"schedule": spec.schedule.to_string()}))
        .await?;
    let saved = state.parts().queries.current().detectors.get(&name).cloned();
    let saved = saved.ok_or_else(ApiError::internal)?;
    Ok(Json(DetectorInfo {
        name: saved.name.clone(),
        title: saved.title.clone(),
        schedule: Some(saved.schedule.to_string()),
        window_seconds: saved.window.num_seconds(),
        sources: saved.sources.clone(),
        action: Some(saved.action.clone()),
        file: Some(format!("queries/detectors/{name}.sql")),
    }))
}
