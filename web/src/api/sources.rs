//! Sources and their health.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tripline_agent::actions::DestinationCheck;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::ports::SourceStatus;
use crate::state::WebState;

/// All sources, and where actions go.
#[derive(Debug, Serialize)]
pub(crate) struct Sources {
    items: Vec<SourceStatus>,
    /// What actions need, and whether it is there.
    destinations: Vec<DestinationCheck>,
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Sources>, ApiError> {
    caller.of_installation(&state)?;
    let parts = state.parts();
    Ok(Json(Sources { items: parts.sources.sources(), destinations: parts.governance.destinations.checks() }))
}
