//! Approvals on SQLite: a decision is one conditional update, and what follows from it is in the same transaction.

use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, all, micros, one, run};
use super::writer::Tx;
use super::{SqliteStore, action, incident};
use crate::model::{
    ActionId, ActionKind, Approval, ApprovalFilter, ApprovalId, ApprovalStats, ApprovalStatus, Approvals, Claim,
    ClaimOutcome, Decision, NewAction, NewApproval, Page, PageRequest, RequestedApproval, Scope, Via,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::json;

/// Who the audit log names when time decided.
const CLOCK: &str = "clock";

fn request(tx: &mut Tx<'_>, scope: &Scope, new: NewApproval, now: DateTime<Utc>) -> DbResult<RequestedApproval> {
    if micros(new.expires_at) <= micros(now) {
        return Err(StoreError::invalid("expires_at", "the approval would expire at once").into());
    }
    if new.max_attempts == 0 {
        return Err(StoreError::invalid("max_attempts", "must be at least 1").into());
    }
    incident::existing(tx.connection, scope, &new.incident_id)?;
    let pending = one(
        tx.connection,
        "SELECT * FROM approvals
         WHERE project_id = ?1 AND incident_id = ?2 AND action_type = ?3 AND status = 'pending'",
        params![scope.project_id(), new.incident_id, new.action_type],
        read_approval,
    )?;
    if let Some(approval) = pending {
        if micros(approval.request.expires_at) > micros(now) {
            return Ok(RequestedApproval { approval, created: false });
        }
        // The expiry job has not come by yet; nobody can claim it any more.
        expire(tx, scope, &approval.id, now)?;
    }
    let id: ApprovalId = tx.ids.next(now);
    let payload_sha256 = new.payload.sha256();
    run(
        tx.connection,
        "INSERT INTO approvals
             (project_id, id, incident_id, incident_type, severity, action_type, target, status, payload,
              payload_sha256, evidence_sha256, summary, max_attempts, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'pending', ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        params![
            scope.project_id(),
            id,
            new.incident_id,
            new.incident_type,
            new.severity,
            new.action_type,
            new.target,
            new.payload.text(),
            payload_sha256,
            new.evidence_sha256,
            new.summary,
            new.max_attempts,
            micros(now),
            micros(new.expires_at)
        ],
    )?;
    let detail = json!({
        "incident_id": new.incident_id,
        "action_type": new.action_type,
        "payload_sha256": payload_sha256,
        "evidence_sha256": new.evidence_sha256,
        "expires_at": new.expires_at,
    });
    tx.audit(scope, now, "policy", "approval.requested", ("approval", id.as_str()), &detail)?;
    Ok(RequestedApproval { approval: existing(tx.connection, scope, &id)?, created: true })
}

fn claim(tx: &mut Tx<'_>, scope: &Scope, claim: &Claim, now: DateTime<Utc>) -> DbResult<ClaimOutcome> {
    let status = match claim.decision {
        Decision::Approve => ApprovalStatus::Approved,
        Decision::Reject => ApprovalStatus::Rejected,
    };
    // The one statement that decides. Everything below only tells what it did.
    let claimed = run(
        tx.connection,
        "UPDATE approvals SET status = ?3, resolved_at = ?4, resolved_by = ?5, resolved_via = ?6, reason = ?7
         WHERE project_id = ?1 AND id = ?2 AND status = 'pending' AND expires_at > ?4 AND payload_sha256 = ?8",
        params![
            scope.project_id(),
            claim.id,
            status,
            micros(now),
            claim.by,
            claim.via,
            claim.reason,
            claim.expected_payload_sha256
        ],
    )?;
    let Some(approval) = find(tx.connection, scope, &claim.id)? else {
        return Ok(ClaimOutcome::NotFound);
    };
    if claimed == 1 {
        let action_id = match claim.decision {
            Decision::Approve => Some(enqueue_approved(tx, scope, &approval, &claim.by, now)?),
            Decision::Reject => None,
        };
        let detail = json!({
            "via": claim.via,
            "reason": claim.reason,
            "payload_sha256": approval.payload_sha256,
            "evidence_sha256": approval.request.evidence_sha256,
            "action_id": action_id,
        });
        let event = format!("approval.{status}");
        tx.audit(scope, now, &claim.by, &event, ("approval", claim.id.as_str()), &detail)?;
        return Ok(ClaimOutcome::Claimed { approval, action_id });
    }
    let (why, outcome) = refused(tx, scope, approval, now)?;
    let detail = json!({"decision": claim.decision, "via": claim.via, "why": why});
    tx.audit(scope, now, &claim.by, "approval.claim_refused", ("approval", claim.id.as_str()), &detail)?;
    Ok(outcome)
}

/// Why the conditional update found nothing to change.
fn refused(
    tx: &Tx<'_>,
    scope: &Scope,
    approval: Approval,
    now: DateTime<Utc>,
) -> DbResult<(&'static str, ClaimOutcome)> {
    Ok(match approval.status {
        ApprovalStatus::Approved | ApprovalStatus::Rejected => {
            ("already_resolved", ClaimOutcome::AlreadyResolved { approval })
        }
        ApprovalStatus::Expired => ("expired", ClaimOutcome::Expired { approval }),
        ApprovalStatus::Pending if micros(approval.request.expires_at) <= micros(now) => {
            expire(tx, scope, &approval.id, now)?;
            ("expired", ClaimOutcome::Expired { approval: existing(tx.connection, scope, &approval.id)? })
        }
        ApprovalStatus::Pending => ("payload_mismatch", ClaimOutcome::PayloadMismatch { approval }),
    })
}

/// Puts the very payload that was approved in the outbox. Its key makes a second one impossible.
fn enqueue_approved(
    tx: &mut Tx<'_>,
    scope: &Scope,
    approval: &Approval,
    by: &str,
    now: DateTime<Utc>,
) -> DbResult<ActionId> {
    let request = &approval.request;
    let new = NewAction {
        kind: ActionKind::Remediation,
        action_type: request.action_type.clone(),
        target: request.target.clone(),
        incident_id: Some(request.incident_id.clone()),
        approval_id: Some(approval.id.clone()),
        payload: request.payload.clone(),
        idempotency_key: format!("approval:{}", approval.id),
        max_attempts: request.max_attempts,
        not_before: None,
        depends_on: None,
    };
    Ok(action::enqueue(tx, scope, new, by, now)?.action.id)
}

/// Marks a pending approval as expired; conditional, so it never overwrites a decision.
fn expire(tx: &Tx<'_>, scope: &Scope, id: &ApprovalId, now: DateTime<Utc>) -> DbResult<()> {
    let expired = run(
        tx.connection,
        "UPDATE approvals SET status = 'expired', resolved_at = ?3
         WHERE project_id = ?1 AND id = ?2 AND status = 'pending' AND expires_at <= ?3",
        params![scope.project_id(), id, micros(now)],
    )?;
    if expired == 1 {
        tx.audit(scope, now, CLOCK, "approval.expired", ("approval", id.as_str()), &json!({}))?;
    }
    Ok(())
}

fn expire_due(tx: &Tx<'_>, scope: &Scope, now: DateTime<Utc>) -> DbResult<Vec<Approval>> {
    let due: Vec<ApprovalId> = all(
        tx.connection,
        "SELECT id FROM approvals WHERE project_id = ?1 AND status = 'pending' AND expires_at <= ?2
         ORDER BY expires_at, id",
        params![scope.project_id(), micros(now)],
        |row| row.get(0),
    )?;
    due.iter()
        .map(|id| {
            expire(tx, scope, id, now)?;
            existing(tx.connection, scope, id)
        })
        .collect()
}

fn stats(connection: &Connection, scope: &Scope) -> DbResult<ApprovalStats> {
    let sql = "SELECT count(*) FILTER (WHERE status = 'pending'),
                      count(*) FILTER (WHERE status = 'approved'),
                      count(*) FILTER (WHERE status = 'rejected'),
                      count(*) FILTER (WHERE status = 'expired'),
                      avg(resolved_at - created_at)
                          FILTER (WHERE status IN ('approved', 'rejected') AND resolved_via <> ?2) / 6e7
               FROM approvals WHERE project_id = ?1";
    let stats = one(connection, sql, params![scope.project_id(), Via::Policy], |row| {
        Ok(ApprovalStats {
            pending: row.get(0)?,
            approved: row.get(1)?,
            rejected: row.get(2)?,
            expired: row.get(3)?,
            avg_resolution_minutes: row.get(4)?,
        })
    })?;
    Ok(stats.unwrap_or_default())
}

fn find(connection: &Connection, scope: &Scope, id: &ApprovalId) -> DbResult<Option<Approval>> {
    let sql = "SELECT * FROM approvals WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_approval)
}

/// The approval, or `NotFound`.
pub(super) fn existing(connection: &Connection, scope: &Scope, id: &ApprovalId) -> DbResult<Approval> {
    find(connection, scope, id)?.ok_or_else(|| StoreError::not_found("approval", id).into())
}

fn read_approval(row: &Row<'_>) -> rusqlite::Result<Approval> {
    Ok(Approval {
        id: row.get("id")?,
        request: NewApproval {
            incident_id: row.get("incident_id")?,
            incident_type: row.get("incident_type")?,
            severity: row.get("severity")?,
            action_type: row.get("action_type")?,
            target: row.get("target")?,
            payload: row.exact("payload")?,
            evidence_sha256: row.get("evidence_sha256")?,
            summary: row.get("summary")?,
            expires_at: row.time("expires_at")?,
            max_attempts: row.get("max_attempts")?,
        },
        payload_sha256: row.get("payload_sha256")?,
        status: row.get("status")?,
        created_at: row.time("created_at")?,
        resolved_at: row.time_opt("resolved_at")?,
        resolved_by: row.get("resolved_by")?,
        resolved_via: row.get("resolved_via")?,
        reason: row.get("reason")?,
        slack_channel: row.get("slack_channel")?,
        slack_ts: row.get("slack_ts")?,
    })
}

fn filtered(scope: &Scope, filter: ApprovalFilter) -> Filter {
    Filter::scoped(scope)
        .equal("status", filter.status)
        .equal("incident_id", filter.incident_id)
        .equal("action_type", filter.action_type)
        .equal("resolved_via", filter.resolved_via)
        .since("created_at", filter.since)
}

#[async_trait]
impl Approvals for SqliteStore {
    async fn request(&self, scope: &Scope, new: NewApproval, now: DateTime<Utc>) -> Result<RequestedApproval> {
        let scope = scope.clone();
        self.write("asking for an approval", move |tx| request(tx, &scope, new, now)).await
    }

    async fn claim(&self, scope: &Scope, attempt: Claim, now: DateTime<Utc>) -> Result<ClaimOutcome> {
        let scope = scope.clone();
        self.write("claiming an approval", move |tx| claim(tx, &scope, &attempt, now)).await
    }

    async fn expire_due(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Vec<Approval>> {
        let scope = scope.clone();
        self.write("expiring approvals", move |tx| expire_due(tx, &scope, now)).await
    }

    async fn set_message(
        &self,
        scope: &Scope,
        id: &ApprovalId,
        slack_channel: &str,
        slack_ts: &str,
    ) -> Result<Approval> {
        let (scope, id) = (scope.clone(), id.clone());
        let (channel, ts) = (slack_channel.to_owned(), slack_ts.to_owned());
        self.write("keeping an approval's message", move |tx| {
            let sql = "UPDATE approvals SET slack_channel = ?3, slack_ts = ?4 WHERE project_id = ?1 AND id = ?2";
            run(tx.connection, sql, params![scope.project_id(), id, channel, ts])?;
            existing(tx.connection, &scope, &id)
        })
        .await
    }

    async fn get(&self, scope: &Scope, id: &ApprovalId) -> Result<Option<Approval>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading an approval", move |connection| find(connection, &scope, &id)).await
    }

    async fn list(&self, scope: &Scope, filter: &ApprovalFilter, page: &PageRequest) -> Result<Page<Approval>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing approvals", move |connection| {
            filtered(&scope, filter).page(connection, "approvals", "created_at", &page, read_approval)
        })
        .await
    }

    async fn count(&self, scope: &Scope, filter: &ApprovalFilter) -> Result<i64> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read("counting approvals", move |connection| filtered(&scope, filter).count(connection, "approvals")).await
    }

    async fn stats(&self, scope: &Scope) -> Result<ApprovalStats> {
        let scope = scope.clone();
        self.read("counting approvals", move |connection| stats(connection, &scope)).await
    }
}
