//! Analysing one session now.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tripline_agent::sessions::{Analysis, SessionAnalyst};
use tripline_store::sessions::AnalysisMode;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, Params};
use crate::state::WebState;

/// Analyses at once: each holds a session's events in memory.
static PLACES: Semaphore = Semaphore::const_new(2);

/// How thoroughly.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Query {
    /// `light` (the default) or `deep`.
    mode: Option<String>,
}

pub(crate) async fn analyse(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    Params(query): Params<Query>,
) -> Result<Json<Analysis>, ApiError> {
    let mode = query.mode.as_deref().map_or(Ok(AnalysisMode::Light), str::parse)?;
    let id = super::session_id(&id)?;
    let place = tokio::time::timeout(state.options().query_patience, PLACES.acquire()).await;
    let _place = place.map_err(|_| {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "other sessions are being analysed").retry_after(2)
    })?;
    Ok(Json(SessionAnalyst::new(state.context()).analyse(&caller.scope, &id, mode).await?))
}
