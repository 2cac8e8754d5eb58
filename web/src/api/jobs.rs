//! Jobs, their runs, and running one now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{JobRun, JobRunFilter};

use super::{Listing, page_request, word};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, OptionalJson, Params};
use crate::ports::{JobAnswer, JobInfo};
use crate::state::WebState;

/// All jobs.
#[derive(Debug, Serialize)]
pub(crate) struct Jobs {
    items: Vec<JobInfo>,
}

/// Filters of the runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    status: Option<String>,
    since: Option<DateTime<Utc>>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// How to run it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RunBody {
    /// Whether nothing is to be written.
    dry_run: bool,
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Jobs>, ApiError> {
    caller.of_installation(&state)?;
    Ok(Json(Jobs { items: state.parts().jobs.jobs(&caller.scope).await? }))
}

pub(crate) async fn runs(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
    Params(query): Params<Query>,
) -> Result<Json<Listing<JobRun>>, ApiError> {
    let page = page_request(query.limit, query.cursor.as_deref())?;
    let filter = JobRunFilter { job: Some(name.clone()), status: word(query.status.as_deref())?, since: query.since };
    let page = state.context().store.jobs.list(&caller.scope, &filter, &page).await?;
    // A job that is no more may have runs; one that has none must be there.
    if page.items.is_empty() && !state.parts().jobs.jobs(&caller.scope).await?.iter().any(|job| job.name == name) {
        return Err(ApiError::not_found("job", &name).hint("GET /api/v1/jobs lists them"));
    }
    Ok(Json(Listing::of(page, |run| run)))
}

pub(crate) async fn run(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
    OptionalJson(body): OptionalJson<RunBody>,
) -> Result<Json<JobAnswer>, ApiError> {
    caller.of_installation(&state)?;
    let jobs = Arc::clone(&state.parts().jobs);
    let work = async move { jobs.run(&caller.scope, &name, body.dry_run, &caller.person).await };
    let running = state.parts().threads.run(work).ok_or_else(ApiError::internal)?;
    Ok(Json(running.await.map_err(|_| ApiError::internal())??))
}
