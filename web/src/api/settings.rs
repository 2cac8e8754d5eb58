//! The settings in force. Secrets are in the environment, never among them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tripline_agent::settings::{Settings, SettingsStatus};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::state::WebState;

/// Settings, and whether they are the newest that were written.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    settings: Arc<Settings>,
    reload: SettingsStatus,
}

pub(crate) async fn show(State(state): State<WebState>, caller: Caller) -> Result<Json<Shown>, ApiError> {
    caller.of_installation(&state)?;
    let settings = &state.context().settings;
    Ok(Json(Shown { settings: settings.get(), reload: settings.status() }))
}
