//! API keys: the list, making one, revoking one. For whoever may administer the installation.
//!
//! Must hold: a secret is in one answer only, the one to whoever made the key, and that is never kept by anybody on the way
//! (`Cache-Control: no-store`); who made or revoked a key is on the record.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::TimeDelta;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tripline_store::{ApiKey, ApiKeyId, KeyScope, NewApiKey, ProjectId, StoreError};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
use crate::state::WebState;

/// Bytes that a name, a person or a project may have.
const MAX_TEXT: usize = 200;
/// Days that a key may last, where an end is given: ten years.
const MAX_DAYS: i64 = 3650;

/// All keys, revoked and expired ones too, newest first; and the projects they may be for.
#[derive(Debug, Serialize)]
pub(crate) struct Keys {
    items: Vec<ApiKey>,
    projects: Vec<String>,
}

/// A key to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    name: String,
    /// The person behind it; default: the name.
    person: Option<String>,
    scopes: BTreeSet<KeyScope>,
    /// Default: the installation's own.
    project: Option<String>,
    /// Days until it ends by itself, 1 to 3650; left out, it works until it is revoked.
    expires_in_days: Option<i64>,
}

/// A key that was just made.
#[derive(Debug, Serialize)]
pub(crate) struct MadeKey {
    #[serde(flatten)]
    key: ApiKey,
    /// Never to be had again.
    secret: String,
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Keys>, ApiError> {
    caller.of_installation(&state)?;
    let store = &state.context().store;
    let projects = store.projects.list().await?.into_iter().map(|project| project.id.to_string()).collect();
    Ok(Json(Keys { items: store.keys.list().await?, projects }))
}

pub(crate) async fn create(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(body): JsonBody<NewKey>,
) -> Result<(StatusCode, Json<MadeKey>), ApiError> {
    caller.of_installation(&state)?;
    let name = body.name.trim().to_owned();
    let person = body.person.as_deref().map(str::trim).filter(|person| !person.is_empty()).unwrap_or(&name).to_owned();
    for (field, text) in [("name", &name), ("person", &person)] {
        if text.is_empty() || text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            return Err(ApiError::unprocessable(format!("{field}: 1 to {MAX_TEXT} bytes without control characters")));
        }
    }
    if body.scopes.is_empty() {
        return Err(ApiError::unprocessable("scopes: at least one of read, ingest, operate, admin"));
    }
    if body.expires_in_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
        return Err(ApiError::unprocessable(format!("expires_in_days must be between 1 and {MAX_DAYS}")));
    }
    let context = state.context();
    let now = context.clock.now();
    let expires_at = body.expires_in_days.map(|days| now + TimeDelta::days(days));
    let project = body.project.map(ProjectId::new);
    let new = NewApiKey { name, person, scopes: body.scopes, project };
    let made = context.store.keys.create_until(new, expires_at, &caller.person, now).await.map_err(refused)?;
    let secret = made.secret.expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(MadeKey { key: made.key, secret })))
}

fn refused(error: StoreError) -> ApiError {
    let hint = match &error {
        StoreError::Conflict { .. } => {
            "a live key of the project has this name: choose another, or revoke that one first"
        }
        StoreError::NotFound { .. } => "`tripline projects create ID` makes a project",
        _ => return error.into(),
    };
    ApiError::from(error).hint(hint)
}

pub(crate) async fn revoke(
    State(state): State<WebState>,
    caller: Caller,
    Id(id): Id,
) -> Result<Json<ApiKey>, ApiError> {
    caller.of_installation(&state)?;
    let context = state.context();
    Ok(Json(context.store.keys.revoke(&ApiKeyId::new(id), &caller.person, context.clock.now()).await?))
}
