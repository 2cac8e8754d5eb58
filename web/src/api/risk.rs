//! PR risk: the history of files, the score of a pull request, GitHub's webhook. Reading changes nothing.
//!
//! Must hold: only the installation's own repository is read, whatever is asked for (D25 of the reference).

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tripline_agent::govern::signature::Refusal;
use tripline_agent::risk::webhook::{Delivery, Received};
use tripline_agent::risk::{Report, RiskError};
use tripline_store::FileRisk;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params, body_error};
use crate::state::WebState;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;
/// How long a score is waited for.
const WITHIN: Duration = Duration::from_secs(20);

/// Which rows of the history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HistoryQuery {
    file: Option<String>,
    limit: Option<u32>,
}

/// Rows of the history, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    items: Vec<FileRisk>,
}

/// A score as it stands: from what is measured, without measuring.
#[derive(Debug, Serialize)]
pub(crate) struct Current {
    pr_number: u64,
    risk_score: i64,
    files_changed: Vec<String>,
    file_count: usize,
    /// Whether all of the history is known.
    complete: bool,
    #[serde(flatten)]
    report: Report,
}

/// The score's repository, where somebody names it: it must be the installation's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Named {
    owner: Option<String>,
    repo: Option<String>,
}

/// Refuses another repository than the installation's.
pub(crate) fn only_ours(state: &WebState, owner: Option<&str>, repo: Option<&str>) -> Result<(), ApiError> {
    let ours = state.parts().risk.repository().map_err(|error| failed(&error))?;
    let same = |named: Option<&str>, own: &str| named.is_none_or(|named| named.eq_ignore_ascii_case(own));
    if same(owner, ours.owner()) && same(repo, ours.name()) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::FORBIDDEN,
        "other_repository",
        "only the installation's repository can be asked about",
    )
    .hint(format!("leave owner and repo out, or name {ours}")))
}

pub(crate) fn failed(error: &RiskError) -> ApiError {
    match error {
        RiskError::NotConfigured => {
            ApiError::new(StatusCode::CONFLICT, "not_configured", "no repository is configured")
                .hint("set GITHUB_OWNER and GITHUB_REPO")
        }
        RiskError::NoPull { number, .. } => ApiError::not_found("pull request", &number.to_string()),
        RiskError::Source { .. } | RiskError::Rows(_) => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "source",
            "the score is unknown: a source did not give a whole answer",
        )
        .detail(error.to_string()),
        RiskError::Engine(error) => error.clone().into(),
        RiskError::Store(error) => error.clone().into(),
        RiskError::Govern(error) => error.clone().into(),
        RiskError::Query(_) => {
            tracing::error!(%error, "a query file is wrong");
            ApiError::internal()
        }
    }
}

pub(crate) async fn history(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<History>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    let risk = &state.context().store.risk;
    Ok(Json(History { items: risk.history(&caller.scope, None, query.file.as_deref(), limit).await? }))
}

pub(crate) async fn current(
    State(state): State<WebState>,
    caller: Caller,
    Id(number): Id,
    Params(named): Params<Named>,
) -> Result<Json<Current>, ApiError> {
    caller.of_installation(&state)?;
    only_ours(&state, named.owner.as_deref(), named.repo.as_deref())?;
    let number: u64 = number
        .parse()
        .ok()
        .filter(|number| (1..=u64::from(u32::MAX)).contains(number))
        .ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "bad_id", "a pull request has a number"))?;
    let risk = &state.parts().risk;
    let target = risk.repository().map_err(|error| failed(&error))?;
    // No budget: what is not measured yet is said to be missing, and nothing is written.
    let report = tokio::time::timeout(WITHIN, risk.report(target, number, 0, false)).await;
    let report = report.map_err(|_| {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the score is unknown: GitHub did not answer in time")
    })?;
    let (report, _) = report.map_err(|error| failed(&error))?;
    Ok(Json(Current {
        pr_number: number,
        risk_score: report.points.score,
        files_changed: report.pull.files.iter().map(|file| file.path.clone()).collect(),
        file_count: report.pull.files.len(),
        complete: report.coverage.is_complete(),
        report,
    }))
}

pub(crate) async fn webhook(
    State(state): State<WebState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => return body_error(&error).into_response(),
    };
    let values = |name: &str| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    let delivery = Delivery {
        signatures: values("x-hub-signature-256"),
        events: values("x-github-event"),
        ids: values("x-github-delivery"),
        body: &body,
    };
    match state.parts().risk.receive(&delivery).await {
        Ok(Ok(received @ Received::AlreadyReceived)) => (StatusCode::OK, Json(received)).into_response(),
        Ok(Ok(received)) => (StatusCode::ACCEPTED, Json(received)).into_response(),
        Ok(Err(Refusal::MalformedBody)) => {
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", "this is not what GitHub sends").into_response()
        }
        // Which check failed is for the log and the record, not for whoever sent it.
        Ok(Err(_)) => ApiError::new(StatusCode::FORBIDDEN, "signature", "the delivery was not accepted")
            .hint("docs/pr-risk.md says how deliveries are verified; the audit log says why this one was refused")
            .into_response(),
        Err(error) => failed(&error).into_response(),
    }
}
