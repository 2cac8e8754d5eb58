//! Saved queries: files in `queries/saved/` of the installation's home.
//!
//! Must hold: a name is no path; a file is whole or not there; who saved or removed one is on the record.

use std::io;
use std::path::{Path, PathBuf};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tripline_store::{ExactJson, NewAuditEntry};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::{Id, JsonBody};
use crate::state::WebState;

/// Bytes that a query may have.
pub(super) const MAX_TEXT: usize = 100_000;
const MAX_FILES: usize = 1_000;
const MAX_NAME: usize = 64;

/// All saved queries, by name.
#[derive(Debug, Serialize)]
pub(crate) struct Saved {
    items: Vec<SavedQuery>,
}

/// A saved query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct SavedQuery {
    /// Its name, and that of its file.
    name: String,
    sql: String,
    saved_at: DateTime<Utc>,
}

/// A query to save.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SaveBody {
    sql: String,
}

/// A name is a word: it becomes the name of a file.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let first = name.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if first && rest && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(ApiError::unprocessable(format!("'{name}' is no name for a file"))
        .hint("use a-z, 0-9 and _, at most 64 characters, beginning with a letter: costly_traces"))
}

/// The folder of the installation's own query files.
pub(super) fn own_folder(state: &WebState) -> Result<PathBuf, ApiError> {
    state.parts().queries.folder().map(Path::to_owned).ok_or_else(|| {
        ApiError::new(StatusCode::CONFLICT, "no_home", "this server has no folder for files of its own")
            .hint("start it with TRIPLINE_HOME set")
    })
}

/// What a file that cannot be read or written means. The path is the server's own business, and in the log.
fn failed(doing: &'static str, error: &io::Error) -> ApiError {
    tracing::warn!(%error, doing, "a query file");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "files_failed", format!("{doing} failed: {}", error.kind()))
        .hint("look whether the server may write to queries/ in its home, and whether the disk is full")
}

/// Puts a whole file in place, or none.
pub(super) async fn write_file(folder: PathBuf, name: &str, text: String) -> Result<(), ApiError> {
    let (name, draft) = (format!("{name}.sql"), format!(".{name}.{}", uuid::Uuid::now_v7()));
    let write = move || {
        std::fs::create_dir_all(&folder)?;
        let draft = folder.join(draft);
        std::fs::write(&draft, text)?;
        std::fs::rename(&draft, folder.join(name)).inspect_err(|_| drop(std::fs::remove_file(&draft)))
    };
    let written = tokio::task::spawn_blocking(write).await.map_err(|_| ApiError::internal())?;
    written.map_err(|error| failed("writing the file", &error))
}

/// Puts on the record who changed a file.
pub(super) async fn record(
    state: &WebState,
    caller: &Caller,
    event: &str,
    (kind, name): (&str, &str),
    detail: Value,
) -> Result<(), ApiError> {
    let entry = NewAuditEntry {
        actor: caller.person.clone(),
        event: event.to_owned(),
        subject_type: kind.to_owned(),
        subject_id: name.to_owned(),
        detail: ExactJson::new(&detail),
    };
    let context = state.context();
    context.store.audit.append(&caller.scope, entry, context.clock.now()).await?;
    Ok(())
}

fn read(folder: &Path) -> io::Result<Vec<SavedQuery>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.take(MAX_FILES) {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).filter(|name| check_name(name).is_ok());
        let (Some(name), Some("sql")) = (name, path.extension().and_then(|extension| extension.to_str())) else {
            continue;
        };
        let metadata = std::fs::metadata(&path)?;
        if metadata.len() > MAX_TEXT as u64 {
            continue;
        }
        found.push(SavedQuery {
            name: name.to_owned(),
            sql: std::fs::read_to_string(&path)?,
            saved_at: metadata.modified()?.into(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

async fn saved(state: &WebState) -> Result<Vec<SavedQuery>, ApiError> {
    let folder = own_folder(state)?.join("saved");
    let found = tokio::task::spawn_blocking(move || read(&folder)).await.map_err(|_| ApiError::internal())?;
    found.map_err(|error| failed("reading the saved queries", &error))
}

pub(crate) async fn list(State(state): State<WebState>, caller: Caller) -> Result<Json<Saved>, ApiError> {
    caller.of_installation(&state)?;
    Ok(Json(Saved { items: saved(&state).await? }))
}

pub(crate) async fn save(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
    JsonBody(body): JsonBody<SaveBody>,
) -> Result<Json<SavedQuery>, ApiError> {
    caller.of_installation(&state)?;
    check_name(&name)?;
    if body.sql.trim().is_empty() || body.sql.len() > MAX_TEXT {
        return Err(ApiError::unprocessable(format!("sql: 1 to {MAX_TEXT} bytes")));
    }
    write_file(own_folder(&state)?.join("saved"), &name, body.sql).await?;
    record(&state, &caller, "query.saved", ("query", &name), json!({})).await?;
    let found = saved(&state).await?.into_iter().find(|query| query.name == name);
    found.map(Json).ok_or_else(|| ApiError::not_found("saved query", &name))
}

pub(crate) async fn remove(
    State(state): State<WebState>,
    caller: Caller,
    Id(name): Id,
) -> Result<StatusCode, ApiError> {
    caller.of_installation(&state)?;
    check_name(&name)?;
    let file = own_folder(&state)?.join("saved").join(format!("{name}.sql"));
    let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
    match removed.map_err(|_| ApiError::internal())? {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ApiError::not_found("saved query", &name)),
        Err(error) => return Err(failed("removing the file", &error)),
    }
    record(&state, &caller, "query.removed", ("query", &name), json!({})).await?;
    Ok(StatusCode::NO_CONTENT)
}
