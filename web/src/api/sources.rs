//! Sources and their health, and asking one whether it answers.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::json;
use tripline_agent::actions::DestinationCheck;

use super::queries::record;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Id;
use crate::ports::{SourceStatus, SourceTest};
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

/// Sends one cheap request, as `tripline doctor` does. A source that does not answer is the answer, and no error. It takes from the
/// vendor's quota, so who asked is on the record.
pub(crate) async fn test(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
) -> Result<Json<SourceTest>, ApiError> {
    caller.of_installation(&state)?;
    let tested = state.parts().sources.test(&name).await?;
    let detail = json!({"ok": tested.ok, "latency_ms": tested.latency_ms, "error": tested.error});
    record(&state, &caller, "source.tested", ("source", &name), detail).await?;
    Ok(Json(tested))
}
