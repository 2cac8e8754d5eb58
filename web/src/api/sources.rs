//! Sources and their health.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tripline_agent::actions::DestinationCheck;

use crate::ports::SourceStatus;
use crate::state::WebState;

/// All sources, and where actions go.
#[derive(Debug, Serialize)]
pub(crate) struct Sources {
    items: Vec<SourceStatus>,
    /// What actions need, and whether it is there.
    destinations: Vec<DestinationCheck>,
}

pub(crate) async fn list(State(state): State<WebState>) -> Json<Sources> {
    let parts = state.parts();
    Json(Sources { items: parts.sources.sources(), destinations: parts.governance.destinations.checks() })
}
