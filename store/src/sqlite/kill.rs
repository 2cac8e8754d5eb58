//! Kill records on SQLite.

use super::connection::DbResult;
use super::values::{RowExt, all, micros, one, run};
use super::writer::Tx;
use super::{SqliteStore, action, incident};
use crate::Result;
use crate::model::{ActionId, Kill, KillState, KillTarget, Kills, MAX_PAGE, NewKill, Scope};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::json;

fn request(tx: &Tx<'_>, scope: &Scope, kill: &NewKill, now: DateTime<Utc>) -> DbResult<Kill> {
    let target = KillTarget::new(&kill.id)?;
    if let Some(id) = &kill.incident_id {
        incident::existing(tx.connection, scope, id)?;
    }
    if let Some(id) = &kill.action_id {
        action::existing(tx.connection, scope, id)?;
    }
    let made = run(
        tx.connection,
        "INSERT INTO kills (project_id, target, original_id, incident_id, action_id, requested_by, requested_at, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'requested')
         ON CONFLICT (project_id, target) DO NOTHING",
        params![
            scope.project_id(),
            target.as_str(),
            kill.id.trim(),
            kill.incident_id,
            kill.action_id,
            kill.requested_by,
            micros(now)
        ],
    )?;
    if made == 1 {
        let detail = json!({"incident_id": kill.incident_id, "action_id": kill.action_id});
        tx.audit(scope, now, &kill.requested_by, "kill.requested", ("run", target.as_str()), &detail)?;
    }
    find(tx.connection, scope, &target)?.ok_or_else(|| crate::StoreError::not_found("kill", target.as_str()).into())
}

fn acknowledge(
    tx: &Tx<'_>,
    scope: &Scope,
    target: &KillTarget,
    state: KillState,
    now: DateTime<Utc>,
) -> DbResult<Option<Kill>> {
    let stopped = match state {
        // "I have seen it" changes nothing: the record says requested until the run has stopped.
        KillState::Requested => 0,
        KillState::Stopped => run(
            tx.connection,
            "UPDATE kills SET state = 'stopped', acknowledged_at = ?3
             WHERE project_id = ?1 AND target = ?2 AND state = 'requested'",
            params![scope.project_id(), target.as_str(), micros(now)],
        )?,
    };
    let kill = find(tx.connection, scope, target)?;
    if stopped == 1 {
        tx.audit(scope, now, "agent", "kill.stopped", ("run", target.as_str()), &json!({}))?;
    }
    if let Some(Kill { state: KillState::Stopped, action_id: Some(action_id), .. }) = &kill
        && has_stopped(tx.connection, scope, action_id)?
    {
        action::acknowledge(tx, scope, action_id, now)?;
    }
    Ok(kill)
}

/// Whether what an action asked to stop has said that it did: its target itself (a trace), or else all runs that it asked.
pub(super) fn has_stopped(connection: &Connection, scope: &Scope, action_id: &ActionId) -> DbResult<bool> {
    let action = action::existing(connection, scope, action_id)?;
    let own = action.target.as_deref().and_then(|target| KillTarget::new(target).ok());
    let sql = "SELECT * FROM kills WHERE project_id = ?1 AND action_id = ?2";
    let kills = all(connection, sql, params![scope.project_id(), action_id], read_kill)?;
    let is_own = |kill: &Kill| own.as_ref().is_some_and(|own| own.as_str() == kill.target);
    let (whole, runs): (Vec<Kill>, Vec<Kill>) = kills.into_iter().partition(is_own);
    let stopped = |kill: &Kill| kill.state == KillState::Stopped;
    Ok(whole.iter().any(stopped) || (!runs.is_empty() && runs.iter().all(stopped)))
}

fn find(connection: &Connection, scope: &Scope, target: &KillTarget) -> DbResult<Option<Kill>> {
    let sql = "SELECT * FROM kills WHERE project_id = ?1 AND target = ?2";
    one(connection, sql, params![scope.project_id(), target.as_str()], read_kill)
}

fn read_kill(row: &Row<'_>) -> rusqlite::Result<Kill> {
    Ok(Kill {
        target: row.get("target")?,
        original_id: row.get("original_id")?,
        incident_id: row.get("incident_id")?,
        action_id: row.get("action_id")?,
        requested_by: row.get("requested_by")?,
        requested_at: row.time("requested_at")?,
        state: row.get("state")?,
        acknowledged_at: row.time_opt("acknowledged_at")?,
    })
}

#[async_trait]
impl Kills for SqliteStore {
    async fn request(&self, scope: &Scope, kill: NewKill, now: DateTime<Utc>) -> Result<Kill> {
        let scope = scope.clone();
        self.write("requesting a kill", move |tx| request(tx, &scope, &kill, now)).await
    }

    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Kill>> {
        let (scope, target) = (scope.clone(), KillTarget::new(id)?);
        self.read("reading a kill record", move |connection| find(connection, &scope, &target)).await
    }

    async fn acknowledge(&self, scope: &Scope, id: &str, state: KillState, now: DateTime<Utc>) -> Result<Option<Kill>> {
        let (scope, target) = (scope.clone(), KillTarget::new(id)?);
        self.write("acknowledging a kill", move |tx| acknowledge(tx, &scope, &target, state, now)).await
    }

    async fn list(&self, scope: &Scope, limit: u32) -> Result<Vec<Kill>> {
        let scope = scope.clone();
        self.read("listing kills", move |connection| {
            let sql = "SELECT * FROM kills WHERE project_id = ?1 ORDER BY requested_at DESC, target LIMIT ?2";
            all(connection, sql, params![scope.project_id(), limit.min(MAX_PAGE)], read_kill)
        })
        .await
    }
}
