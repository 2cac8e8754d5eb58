//! Run control: what an agent asks before it goes on, and how it says that it stopped.
//!
//! Must hold: a run that nobody asked to stop is *running*; *stopped* is only what the agent itself said.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{Kill, KillState, KillTarget};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
use crate::state::WebState;

/// Whether a run is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum RunState {
    /// Nobody asked it to stop.
    Running,
    /// It is to stop.
    KillRequested,
    /// It said that it stopped.
    Stopped,
}

/// The control record of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Control {
    /// The id in its normal form: 128-bit ids without dashes, in lower case.
    run_id: String,
    state: RunState,
    requested_at: Option<DateTime<Utc>>,
    requested_by: Option<String>,
    incident_id: Option<String>,
    acknowledged_at: Option<DateTime<Utc>>,
}

impl Control {
    fn new(target: &KillTarget, kill: Option<Kill>) -> Self {
        let state = match kill.as_ref().map(|kill| kill.state) {
            None => RunState::Running,
            Some(KillState::Requested) => RunState::KillRequested,
            Some(KillState::Stopped) => RunState::Stopped,
        };
        let kill = kill.as_ref();
        Self {
            run_id: target.as_str().to_owned(),
            state,
            requested_at: kill.map(|kill| kill.requested_at),
            requested_by: kill.map(|kill| kill.requested_by.clone()),
            incident_id: kill.and_then(|kill| kill.incident_id.as_ref()).map(ToString::to_string),
            acknowledged_at: kill.and_then(|kill| kill.acknowledged_at),
        }
    }
}

/// What an agent says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acknowledgement {
    state: Said,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Stopped,
}

pub(crate) async fn control(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<Control>, ApiError> {
    let target = KillTarget::new(&id)?;
    let kill = state.context().store.kills.get(&caller.scope, &id).await?;
    Ok(Json(Control::new(&target, kill)))
}

pub(crate) async fn acknowledge(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(said): JsonBody<Acknowledgement>,
) -> Result<Json<Control>, ApiError> {
    let Said::Stopped = said.state;
    let target = KillTarget::new(&id)?;
    let now = state.context().clock.now();
    let kill = state.context().store.kills.acknowledge(&caller.scope, &id, KillState::Stopped, now).await?;
    let Some(kill) = kill else {
        return Err(ApiError::not_found("request to stop the run", target.as_str())
            .hint("only a run that was asked to stop can say that it did"));
    };
    state.parts().governance.gate.kill_acknowledged(&caller.scope, &kill).await?;
    Ok(Json(Control::new(&target, Some(kill))))
}
