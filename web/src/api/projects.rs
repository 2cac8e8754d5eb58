//! Projects, and keys in them.
//!
//! Must hold: projects are the installation's, to see and to make; a key is made by an administrator of its project, or of the
//! installation; its secret is in the one answer and nowhere else.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_store::{ApiKey, KeyScope, NewApiKey, Project, ProjectId};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
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

/// A key to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyBody {
    /// Its name.
    name: String,
    /// The person behind it; its name when left out.
    person: Option<String>,
    /// What it allows; `read` when left out.
    scopes: Option<Vec<KeyScope>>,
}

/// All keys of a project.
#[derive(Debug, Serialize)]
pub(crate) struct Keys {
    items: Vec<ApiKey>,
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

/// The project of that id, if the caller administers it: another one is not there for them.
async fn administered(state: &WebState, caller: &Caller, id: &str) -> Result<ProjectId, ApiError> {
    let project = ProjectId::new(id);
    let theirs = caller.scope == state.context().scope || *caller.scope.project_id() == project;
    let known = state.context().store.projects.list().await?.into_iter().any(|one| one.id == project);
    if theirs && known { Ok(project) } else { Err(ApiError::not_found("project", id)) }
}

pub(crate) async fn keys(State(state): State<WebState>, caller: Caller, Id(id): Id) -> Result<Json<Keys>, ApiError> {
    let project = administered(&state, &caller, &id).await?;
    let mut items = state.context().store.keys.list().await?;
    items.retain(|key| key.project_id == project);
    Ok(Json(Keys { items }))
}

pub(crate) async fn create_key(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
    JsonBody(body): JsonBody<KeyBody>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let project = administered(&state, &caller, &id).await?;
    let scopes: BTreeSet<KeyScope> = body.scopes.unwrap_or_else(|| vec![KeyScope::Read]).into_iter().collect();
    let person = body.person.unwrap_or_else(|| body.name.clone());
    let new = NewApiKey { name: body.name, person, scopes, project: Some(project) };
    let (store, now) = (&state.context().store, state.context().clock.now());
    let created = store.keys.create_by(new, &caller.person, now).await?;
    let answer = json!({"key": created.key, "secret": created.secret.expose_secret()});
    Ok((StatusCode::CREATED, Json(answer)))
}
