//! Projects: the installation's, to see and to make. Keys in them: `keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tripline_store::{Project, ProjectId};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::JsonBody;
use crate::state::WebState;

/// All projects.
#[derive(Debug, Serialize)]
pub(crate) struct Projects {
    items: Vec<Project>,
}

/// A project to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProjectBody {
    /// 1 to 64 characters of `a-z 0-9 - _`.
    id: String,
    /// What people call it; the id when left out.
    name: Option<String>,
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Projects>, ApiError> {
    caller.of_installation(&state)?;
    Ok(Json(Projects { items: state.context().store.projects.list().await? }))
}

pub(crate) async fn create(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<ProjectBody>,
) -> Result<(StatusCode, Json<Project>), ApiError> {
    caller.of_installation(&state)?;
    let name = body.name.unwrap_or_else(|| body.id.clone());
    let (store, now) = (&state.context().store, state.context().clock.now());
    let made = store.projects.create_by(&ProjectId::new(body.id), &name, &caller.person, now).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
