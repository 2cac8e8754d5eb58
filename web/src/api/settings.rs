//! The settings in force, and changing them. Secrets are in the environment, never among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tripline_agent::runs::check;
use tripline_agent::settings::{Change, ChangeError, Changed, Settings, SettingsStatus};
use tripline_store::{ExactJson, NewAuditEntry};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::JsonBody;
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

/// Settings after a change, and what is different.
#[derive(Debug, Serialize)]
pub(crate) struct ChangedView {
    settings: Arc<Settings>,
    reload: SettingsStatus,
    /// What changed, from what to what.
    changes: Vec<Change>,
    /// Keys that the environment says otherwise about: the file has them, they are not in force.
    overridden_by_environment: Vec<String>,
}

/// Merges the keys that are given into the settings; the others stay. `null` gives a key its default back.
pub(crate) async fn change(
    State(state): State<WebState>,
    caller: Caller,
    JsonBody(patch): JsonBody<Map<String, Value>>,
) -> Result<Json<ChangedView>, ApiError> {
    caller.of_installation(&state)?;
    names_run_detectors(&state, &patch)?;
    names_jobs(&state, &caller, &patch).await?;
    can_go_live(&state, &patch).await?;
    let changed = changed(&state, &caller, patch).await?;
    let ctx = state.context();
    Ok(Json(ChangedView {
        settings: ctx.settings.get(),
        reload: ctx.settings.status(),
        changes: changed.changes,
        overridden_by_environment: changed.overridden_by_environment,
    }))
}

/// What is to go live or into shadow must be there: a misspelt name would change nothing, in silence.
fn names_run_detectors(state: &WebState, patch: &Map<String, Value>) -> Result<(), ApiError> {
    let queries = state.parts().queries.current();
    let Some(runs) = patch.get("runs") else { return Ok(()) };
    for key in ["live", "shadow"] {
        let mut names = runs.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        if let Some(name) = names.find(|name| !queries.runs.contains_key(*name)) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            let known: Vec<&str> = queries.runs.keys().map(String::as_str).collect();
            return Err(ApiError::unprocessable(format!("runs.{key}: there is no run detector '{shown}'"))
                .detail(format!("there are {}", known.join(", ")))
                .hint("nothing was changed; a detector of your own is a file below queries/runs, see docs/detectors"));
        }
    }
    Ok(())
}

/// What is to have another schedule must be there, likewise.
async fn names_jobs(state: &WebState, caller: &Caller, patch: &Map<String, Value>) -> Result<(), ApiError> {
    let Some(schedules) = patch.get("schedules").and_then(Value::as_object) else { return Ok(()) };
    let in_force = state.context().settings.get();
    let jobs = state.parts().jobs.jobs(&caller.scope).await?;
    let known: BTreeSet<&str> =
        jobs.iter().map(|job| job.name.as_str()).chain(in_force.schedules.keys().map(String::as_str)).collect();
    let Some(name) = schedules.keys().find(|name| !known.contains(name.as_str())) else { return Ok(()) };
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let known: Vec<&str> = known.into_iter().collect();
    Err(ApiError::unprocessable(format!("schedules: there is no job '{shown}'"))
        .detail(format!("there are {}", known.join(", ")))
        .hint("nothing was changed; GET /api/v1/jobs lists them"))
}

/// A detector of one's own whose query cannot be run must not go live: it would judge nothing.
async fn can_go_live(state: &WebState, patch: &Map<String, Value>) -> Result<(), ApiError> {
    let context = state.context();
    let (queries, settings) = (state.parts().queries.current(), context.settings.get());
    let named = patch.get("runs").and_then(|runs| runs.get("live")).and_then(Value::as_array);
    for name in named.into_iter().flatten().filter_map(Value::as_str) {
        let Some(spec) = queries.runs.get(name).filter(|spec| spec.is_file()) else { continue };
        if !settings.runs.is_shadow(name, spec.is_own()) {
            continue;
        }
        if let Err(error) = check(&context.engine, spec, &settings, context.clock.now()).await {
            let file = format!("queries/runs/{name}.sql, line {}", error.line);
            return Err(ApiError::unprocessable(format!("runs.live: '{name}' cannot be run: {}", error.message))
                .detail(file)
                .hint("nothing was changed; mend the file, `tripline doctor` checks it"));
        }
    }
    Ok(())
}

/// Changes settings and puts that on the record.
pub(super) async fn changed(state: &WebState, caller: &Caller, patch: Map<String, Value>) -> Result<Changed, ApiError> {
    let ctx = state.context();
    let (settings, now) = (ctx.settings.clone(), ctx.clock.now());
    // Files are written on a thread for it.
    let changed = tokio::task::spawn_blocking(move || settings.change(&patch, now)).await;
    let changed = changed.map_err(|_| ApiError::internal())?.map_err(refused)?;
    if !changed.changes.is_empty() {
        let entry = NewAuditEntry {
            actor: caller.person.clone(),
            event: "settings.changed".to_owned(),
            subject_type: "settings".to_owned(),
            subject_id: "settings.json".to_owned(),
            detail: ExactJson::new(&json!({"key": caller.name, "changes": changed.changes})),
        };
        ctx.store.audit.append(&ctx.scope, entry, now).await?;
    }
    Ok(changed)
}

fn refused(error: ChangeError) -> ApiError {
    match error {
        ChangeError::Refused(error) => ApiError::unprocessable(error.to_string())
            .hint("docs/settings.md has every key with its range; nothing was changed"),
        ChangeError::NoFile => ApiError::new(StatusCode::CONFLICT, "not_kept", error.to_string()),
        ChangeError::File { .. } => {
            tracing::error!(%error, "the settings could not be written");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "not_written", "the settings file could not be written")
                .hint("check the permissions of TRIPLINE_HOME; nothing was changed")
        }
    }
}
