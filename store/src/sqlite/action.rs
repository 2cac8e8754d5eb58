//! The outbox on SQLite: each transition is one conditional update, fenced by the lease.

use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, all, later, micros, one, run, to_json};
use super::writer::Tx;
use super::{SqliteStore, approval, incident, kill};
use crate::model::{
    Action, ActionFilter, ActionId, ActionKind, ActionLease, ActionStatus, Actions, EnqueuedAction, LeaseRequest,
    LeaseTypes, LeasedAction, NewAction, Page, PageRequest, Retry, Scope, Settlement,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};
use std::time::Duration;

/// What a transition leaves in the row.
struct Change<'a> {
    status: ActionStatus,
    result: Option<&'a Value>,
    error: Option<&'a str>,
    /// When it is due again; `None` leaves it.
    next_attempt_at: Option<DateTime<Utc>>,
}

impl Change<'_> {
    fn to(status: ActionStatus) -> Self {
        Self { status, result: None, error: None, next_attempt_at: None }
    }
}

/// Puts an action in the outbox unless its key is there.
pub(super) fn enqueue(
    tx: &mut Tx<'_>,
    scope: &Scope,
    new: NewAction,
    by: &str,
    now: DateTime<Utc>,
) -> DbResult<EnqueuedAction> {
    if let Some(action) = find_by_key(tx.connection, scope, &new.idempotency_key)? {
        return Ok(EnqueuedAction { action, created: false });
    }
    if new.max_attempts == 0 {
        return Err(StoreError::invalid("max_attempts", "must be at least 1").into());
    }
    if new.idempotency_key.is_empty() {
        return Err(StoreError::invalid("idempotency_key", "must not be empty").into());
    }
    if let Some(id) = &new.incident_id {
        incident::existing(tx.connection, scope, id)?;
    }
    if let Some(id) = &new.approval_id {
        approval::existing(tx.connection, scope, id)?;
    }
    if let Some(id) = &new.depends_on
        && existing(tx.connection, scope, id)?.status == ActionStatus::Failed
    {
        return Err(StoreError::invalid("depends_on", format!("action '{id}' has failed")).into());
    }
    let id: ActionId = tx.ids.next(now);
    let payload_sha256 = new.payload.sha256();
    run(
        tx.connection,
        "INSERT INTO actions
             (project_id, id, kind, type, target, incident_id, approval_id, payload, payload_sha256, idempotency_key,
              status, attempts, max_attempts, next_attempt_at, depends_on, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'pending', 0, ?11, ?12, ?13, ?14, ?14)",
        params![
            scope.project_id(),
            id,
            new.kind,
            new.action_type,
            new.target,
            new.incident_id,
            new.approval_id,
            new.payload.text(),
            payload_sha256,
            new.idempotency_key,
            new.max_attempts,
            micros(new.not_before.unwrap_or(now)),
            new.depends_on,
            micros(now)
        ],
    )?;
    let detail = json!({
        "type": new.action_type,
        "idempotency_key": new.idempotency_key,
        "payload_sha256": payload_sha256,
        "approval_id": new.approval_id,
        "incident_id": new.incident_id,
    });
    tx.audit(scope, now, by, "action.enqueued", ("action", id.as_str()), &detail)?;
    Ok(EnqueuedAction { action: existing(tx.connection, scope, &id)?, created: true })
}

fn lease_next(
    tx: &Tx<'_>,
    scope: &Scope,
    request: &LeaseRequest,
    now: DateTime<Utc>,
) -> DbResult<Option<LeasedAction>> {
    if request.holder.is_empty() {
        return Err(StoreError::invalid("holder", "must not be empty").into());
    }
    let lease_until = later(now, request.lease_for)?;
    let kinds = if request.kinds.is_empty() { ActionKind::ALL } else { request.kinds.as_slice() };
    let (only, except) = match &request.types {
        LeaseTypes::Any => (None, None),
        LeaseTypes::Only(types) => (Some(to_json(types)?), None),
        LeaseTypes::Except(types) => (None, Some(to_json(types)?)),
    };
    // The writer's transaction excludes every other writer, of this process or another, from here to the commit.
    let next: Option<(ActionId, ActionStatus)> = one(
        tx.connection,
        "SELECT id, status FROM actions AS due
         WHERE project_id = ?1
           AND kind IN (SELECT value FROM json_each(?3))
           AND (?4 IS NULL OR type IN (SELECT value FROM json_each(?4)))
           AND (?5 IS NULL OR type NOT IN (SELECT value FROM json_each(?5)))
           AND ((status = 'pending' AND next_attempt_at <= ?2) OR (status = 'sending' AND lease_until <= ?2))
           AND (depends_on IS NULL OR EXISTS (
                   SELECT 1 FROM actions AS first
                   WHERE first.project_id = due.project_id AND first.id = due.depends_on
                     AND first.status = 'done'))
           AND (NOT ?6 OR kind <> 'notification' OR target IS NULL OR NOT EXISTS (
                   SELECT 1 FROM actions AS older
                   WHERE older.project_id = due.project_id AND older.status IN ('pending', 'sending')
                     AND older.type = due.type AND older.target = due.target AND older.id < due.id))
         ORDER BY next_attempt_at, id
         LIMIT 1",
        params![scope.project_id(), micros(now), to_json(&kinds)?, only, except, request.in_order],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some((id, before)) = next else { return Ok(None) };
    run(
        tx.connection,
        "UPDATE actions SET status = 'sending', attempts = attempts + 1, lease_holder = ?3, lease_until = ?4,
             updated_at = ?5
         WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), id, request.holder, micros(lease_until), micros(now)],
    )?;
    let action = existing(tx.connection, scope, &id)?;
    let resumed = before == ActionStatus::Sending;
    let detail = json!({"attempt": action.attempts, "resumed": resumed});
    tx.audit(scope, now, &request.holder, "action.sending", ("action", id.as_str()), &detail)?;
    let lease = ActionLease { action_id: id, holder: request.holder.clone(), attempt: action.attempts };
    Ok(Some(LeasedAction { action, lease, resumed }))
}

/// Ends an attempt: only while it is in *sending* under this very lease.
fn end_attempt(
    tx: &Tx<'_>,
    scope: &Scope,
    lease: &ActionLease,
    change: Change<'_>,
    now: DateTime<Utc>,
) -> DbResult<Action> {
    let final_at = matches!(change.status, ActionStatus::Done | ActionStatus::Failed).then(|| micros(now));
    let changed = run(
        tx.connection,
        "UPDATE actions SET status = ?5, result = coalesce(?6, result), error = ?7,
             next_attempt_at = coalesce(?8, next_attempt_at), lease_holder = NULL, lease_until = NULL,
             updated_at = ?9, completed_at = ?10
         WHERE project_id = ?1 AND id = ?2 AND status = 'sending' AND lease_holder = ?3 AND attempts = ?4",
        params![
            scope.project_id(),
            lease.action_id,
            lease.holder,
            lease.attempt,
            change.status,
            change.result.map(to_json).transpose()?,
            change.error,
            change.next_attempt_at.map(micros),
            micros(now),
            final_at
        ],
    )?;
    if changed == 0 {
        existing(tx.connection, scope, &lease.action_id)?;
        return Err(StoreError::LeaseLost { what: "action", id: lease.action_id.to_string() }.into());
    }
    let event = match change.status {
        ActionStatus::Pending => "action.retry_scheduled".to_owned(),
        status => format!("action.{status}"),
    };
    let detail = json!({
        "attempt": lease.attempt,
        "result": change.result,
        "error": change.error,
        "next_attempt_at": change.next_attempt_at,
    });
    tx.audit(scope, now, &lease.holder, &event, ("action", lease.action_id.as_str()), &detail)?;
    match change.status {
        ActionStatus::Failed => fail_dependents(tx, scope, &lease.action_id, now)?,
        // The agent may have been faster than the outbox: it has stopped already.
        ActionStatus::Requested if kill::has_stopped(tx.connection, scope, &lease.action_id)? => {
            acknowledge(tx, scope, &lease.action_id, now)?;
        }
        _ => {}
    }
    existing(tx.connection, scope, &lease.action_id)
}

/// What waits for a failed action would wait for ever.
fn fail_dependents(tx: &Tx<'_>, scope: &Scope, failed: &ActionId, now: DateTime<Utc>) -> DbResult<()> {
    let mut queue = vec![failed.clone()];
    while let Some(failed) = queue.pop() {
        let dependents: Vec<ActionId> = all(
            tx.connection,
            "UPDATE actions SET status = 'failed', error = ?3, updated_at = ?4, completed_at = ?4
             WHERE project_id = ?1 AND depends_on = ?2 AND status = 'pending' RETURNING id",
            params![scope.project_id(), failed, format!("it waited for action {failed}, which failed"), micros(now)],
            |row| row.get(0),
        )?;
        for id in &dependents {
            let detail = json!({"depends_on": failed});
            tx.audit(scope, now, "outbox", "action.failed", ("action", id.as_str()), &detail)?;
        }
        queue.extend(dependents);
    }
    Ok(())
}

fn retry_later(
    tx: &Tx<'_>,
    scope: &Scope,
    lease: &ActionLease,
    error: &str,
    at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DbResult<Retry> {
    let max_attempts = existing(tx.connection, scope, &lease.action_id)?.max_attempts;
    if lease.attempt >= max_attempts {
        let change = Change { error: Some(error), ..Change::to(ActionStatus::Failed) };
        return end_attempt(tx, scope, lease, change, now).map(Retry::Exhausted);
    }
    let change = Change { error: Some(error), next_attempt_at: Some(at), ..Change::to(ActionStatus::Pending) };
    end_attempt(tx, scope, lease, change, now).map(Retry::Scheduled)
}

fn settle(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &ActionId,
    settlement: &Settlement,
    by: &str,
    now: DateTime<Utc>,
) -> DbResult<Action> {
    let (status, result, error) = match settlement {
        Settlement::Done { result } => (ActionStatus::Done, Some(to_json(result)?), None),
        Settlement::Failed { error } => (ActionStatus::Failed, None, Some(error.as_str())),
    };
    let changed = run(
        tx.connection,
        "UPDATE actions SET status = ?3, result = coalesce(?4, result), error = coalesce(?5, error), updated_at = ?6,
             completed_at = ?6
         WHERE project_id = ?1 AND id = ?2 AND status = 'unknown'",
        params![scope.project_id(), id, status, result, error, micros(now)],
    )?;
    let action = existing(tx.connection, scope, id)?;
    if changed == 0 {
        let status = action.status.to_string();
        return Err(StoreError::WrongState { what: "action", id: id.to_string(), status }.into());
    }
    let detail = json!({"status": status, "error": error});
    tx.audit(scope, now, by, "action.settled", ("action", id.as_str()), &detail)?;
    if status == ActionStatus::Failed {
        fail_dependents(tx, scope, id, now)?;
    }
    Ok(action)
}

/// The agent acknowledged: *requested* becomes done. Anything else stays as it is.
pub(super) fn acknowledge(tx: &Tx<'_>, scope: &Scope, id: &ActionId, now: DateTime<Utc>) -> DbResult<()> {
    let changed = run(
        tx.connection,
        "UPDATE actions SET status = 'done', updated_at = ?3, completed_at = ?3
         WHERE project_id = ?1 AND id = ?2 AND status = 'requested'",
        params![scope.project_id(), id, micros(now)],
    )?;
    if changed == 1 {
        tx.audit(scope, now, "agent", "action.done", ("action", id.as_str()), &json!({"acknowledged": true}))?;
    }
    Ok(())
}

fn find(connection: &Connection, scope: &Scope, id: &ActionId) -> DbResult<Option<Action>> {
    let sql = "SELECT * FROM actions WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_action)
}

fn find_by_key(connection: &Connection, scope: &Scope, key: &str) -> DbResult<Option<Action>> {
    let sql = "SELECT * FROM actions WHERE project_id = ?1 AND idempotency_key = ?2";
    one(connection, sql, params![scope.project_id(), key], read_action)
}

/// The action, or `NotFound`.
pub(super) fn existing(connection: &Connection, scope: &Scope, id: &ActionId) -> DbResult<Action> {
    find(connection, scope, id)?.ok_or_else(|| StoreError::not_found("action", id).into())
}

fn read_action(row: &Row<'_>) -> rusqlite::Result<Action> {
    Ok(Action {
        id: row.get("id")?,
        kind: row.get("kind")?,
        action_type: row.get("type")?,
        target: row.get("target")?,
        incident_id: row.get("incident_id")?,
        approval_id: row.get("approval_id")?,
        payload: row.exact("payload")?,
        payload_sha256: row.get("payload_sha256")?,
        idempotency_key: row.get("idempotency_key")?,
        status: row.get("status")?,
        attempts: row.get("attempts")?,
        max_attempts: row.get("max_attempts")?,
        next_attempt_at: row.time("next_attempt_at")?,
        lease_holder: row.get("lease_holder")?,
        lease_until: row.time_opt("lease_until")?,
        result: row.json_opt("result")?,
        error: row.get("error")?,
        depends_on: row.get("depends_on")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        completed_at: row.time_opt("completed_at")?,
    })
}

fn filtered(scope: &Scope, filter: ActionFilter) -> Filter {
    Filter::scoped(scope)
        .equal("status", filter.status)
        .equal("kind", filter.kind)
        .equal("type", filter.action_type)
        .equal("incident_id", filter.incident_id)
        .equal("approval_id", filter.approval_id)
        .since("created_at", filter.since)
}

#[async_trait]
impl Actions for SqliteStore {
    async fn enqueue(&self, scope: &Scope, new: NewAction, now: DateTime<Utc>) -> Result<EnqueuedAction> {
        let scope = scope.clone();
        self.write("putting an action in the outbox", move |tx| enqueue(tx, &scope, new, "agent", now)).await
    }

    async fn lease_next(
        &self,
        scope: &Scope,
        request: LeaseRequest,
        now: DateTime<Utc>,
    ) -> Result<Option<LeasedAction>> {
        let scope = scope.clone();
        self.write("leasing an action", move |tx| lease_next(tx, &scope, &request, now)).await
    }

    async fn renew(&self, scope: &Scope, lease: &ActionLease, lease_for: Duration, now: DateTime<Utc>) -> Result<()> {
        let (scope, lease) = (scope.clone(), lease.clone());
        let until = later(now, lease_for)?;
        self.write("renewing the lease on an action", move |tx| {
            let changed = run(
                tx.connection,
                "UPDATE actions SET lease_until = max(lease_until, ?5), updated_at = ?6
                 WHERE project_id = ?1 AND id = ?2 AND status = 'sending' AND lease_holder = ?3 AND attempts = ?4",
                params![scope.project_id(), lease.action_id, lease.holder, lease.attempt, micros(until), micros(now)],
            )?;
            if changed == 0 {
                return Err(StoreError::LeaseLost { what: "action", id: lease.action_id.to_string() }.into());
            }
            Ok(())
        })
        .await
    }

    async fn complete(&self, scope: &Scope, lease: &ActionLease, result: Value, now: DateTime<Utc>) -> Result<Action> {
        let (scope, lease) = (scope.clone(), lease.clone());
        self.write("completing an action", move |tx| {
            let change = Change { result: Some(&result), ..Change::to(ActionStatus::Done) };
            end_attempt(tx, &scope, &lease, change, now)
        })
        .await
    }

    async fn retry_later(
        &self,
        scope: &Scope,
        lease: &ActionLease,
        error: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Retry> {
        let (scope, lease, error) = (scope.clone(), lease.clone(), error.to_owned());
        self.write("rescheduling an action", move |tx| retry_later(tx, &scope, &lease, &error, at, now)).await
    }

    async fn fail(&self, scope: &Scope, lease: &ActionLease, error: &str, now: DateTime<Utc>) -> Result<Action> {
        let (scope, lease, error) = (scope.clone(), lease.clone(), error.to_owned());
        self.write("failing an action", move |tx| {
            let change = Change { error: Some(&error), ..Change::to(ActionStatus::Failed) };
            end_attempt(tx, &scope, &lease, change, now)
        })
        .await
    }

    async fn mark_unknown(
        &self,
        scope: &Scope,
        lease: &ActionLease,
        error: &str,
        now: DateTime<Utc>,
    ) -> Result<Action> {
        let (scope, lease, error) = (scope.clone(), lease.clone(), error.to_owned());
        self.write("marking an action unknown", move |tx| {
            let change = Change { error: Some(&error), ..Change::to(ActionStatus::Unknown) };
            end_attempt(tx, &scope, &lease, change, now)
        })
        .await
    }

    async fn mark_requested(
        &self,
        scope: &Scope,
        lease: &ActionLease,
        result: Value,
        now: DateTime<Utc>,
    ) -> Result<Action> {
        let (scope, lease) = (scope.clone(), lease.clone());
        self.write("marking an action requested", move |tx| {
            let change = Change { result: Some(&result), ..Change::to(ActionStatus::Requested) };
            end_attempt(tx, &scope, &lease, change, now)
        })
        .await
    }

    async fn settle(
        &self,
        scope: &Scope,
        id: &ActionId,
        settlement: Settlement,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Action> {
        let (scope, id, by) = (scope.clone(), id.clone(), by.to_owned());
        self.write("settling an action", move |tx| settle(tx, &scope, &id, &settlement, &by, now)).await
    }

    async fn get(&self, scope: &Scope, id: &ActionId) -> Result<Option<Action>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading an action", move |connection| find(connection, &scope, &id)).await
    }

    async fn get_by_key(&self, scope: &Scope, idempotency_key: &str) -> Result<Option<Action>> {
        let (scope, key) = (scope.clone(), idempotency_key.to_owned());
        self.read("reading an action", move |connection| find_by_key(connection, &scope, &key)).await
    }

    async fn list(&self, scope: &Scope, filter: &ActionFilter, page: &PageRequest) -> Result<Page<Action>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing actions", move |connection| {
            filtered(&scope, filter).page(connection, "actions", "created_at", &page, read_action)
        })
        .await
    }

    async fn count(&self, scope: &Scope, filter: &ActionFilter) -> Result<i64> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read("counting actions", move |connection| filtered(&scope, filter).count(connection, "actions")).await
    }
}
