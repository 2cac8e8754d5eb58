//! The audit log on SQLite: rows are appended inside the transaction of what they tell about.

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, micros, one, run, whole_micros};
use super::writer::Tx;
use crate::model::{
    AuditEntry, AuditFilter, AuditHead, AuditLog, AuditVerdict, GENESIS_HASH, NewAuditEntry, Scope, audit_hash,
};
use crate::{ExactJson, Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::Value;

impl Tx<'_> {
    /// Appends a row to the log of the scope's project, as part of the running job.
    pub(super) fn audit(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
        actor: &str,
        event: &str,
        subject: (&str, &str),
        detail: &Value,
    ) -> DbResult<AuditEntry> {
        let entry = NewAuditEntry {
            actor: actor.to_owned(),
            event: event.to_owned(),
            subject_type: subject.0.to_owned(),
            subject_id: subject.1.to_owned(),
            detail: ExactJson::new(detail),
        };
        append(self.connection, scope, entry, now)
    }
}

fn append(connection: &Connection, scope: &Scope, entry: NewAuditEntry, now: DateTime<Utc>) -> DbResult<AuditEntry> {
    let project = scope.project_id();
    let head = read_head(connection, scope)?;
    let seq = head.seq + 1;
    let hash = audit_hash(project, seq, now, &entry, &head.hash);
    run(
        connection,
        "INSERT INTO audit_log
             (project_id, seq, recorded_at, actor, event, subject_type, subject_id, detail, prev_hash, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            project,
            seq,
            micros(now),
            entry.actor,
            entry.event,
            entry.subject_type,
            entry.subject_id,
            entry.detail.text(),
            head.hash,
            hash
        ],
    )?;
    run(
        connection,
        "INSERT INTO audit_head (project_id, seq, hash) VALUES (?1, ?2, ?3)
         ON CONFLICT (project_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        params![project, seq, hash],
    )?;
    Ok(AuditEntry { seq, at: whole_micros(now), entry, prev_hash: head.hash, hash })
}

fn read_head(connection: &Connection, scope: &Scope) -> DbResult<AuditHead> {
    let kept = one(
        connection,
        "SELECT seq, hash FROM audit_head WHERE project_id = ?1",
        params![scope.project_id()],
        |row| Ok(AuditHead { seq: row.get("seq")?, hash: row.get("hash")? }),
    )?;
    Ok(kept.unwrap_or_else(|| AuditHead { seq: 0, hash: GENESIS_HASH.to_owned() }))
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    Ok(AuditEntry {
        seq: row.get("seq")?,
        at: row.time("recorded_at")?,
        entry: NewAuditEntry {
            actor: row.get("actor")?,
            event: row.get("event")?,
            subject_type: row.get("subject_type")?,
            subject_id: row.get("subject_id")?,
            detail: row.exact("detail")?,
        },
        prev_hash: row.get("prev_hash")?,
        hash: row.get("hash")?,
    })
}

/// Walks the log from its first row, holding one row at a time.
fn verify(connection: &Connection, scope: &Scope, anchor: Option<&AuditHead>) -> DbResult<AuditVerdict> {
    let broken = |seq: i64, reason: &str| Ok(AuditVerdict::Broken { seq, reason: reason.to_owned() });
    let mut last = AuditHead { seq: 0, hash: GENESIS_HASH.to_owned() };
    let mut statement = connection.prepare("SELECT * FROM audit_log WHERE project_id = ?1 ORDER BY seq")?;
    let mut rows = statement.query(params![scope.project_id()])?;
    while let Some(row) = rows.next()? {
        let expected_seq = last.seq + 1;
        let Ok(entry) = read_entry(row) else {
            return broken(expected_seq, "the row cannot be read");
        };
        if entry.seq < expected_seq {
            return broken(entry.seq, "a row stands before the first");
        }
        if entry.seq > expected_seq {
            return broken(expected_seq, "the row is missing");
        }
        if entry.prev_hash != last.hash {
            return broken(expected_seq, "the row does not follow from the row before it");
        }
        if entry.expected_hash(scope.project_id()) != entry.hash {
            return broken(expected_seq, "the row is not as it was written");
        }
        last = AuditHead { seq: entry.seq, hash: entry.hash };
        if anchor.is_some_and(|anchor| anchor.seq == last.seq && anchor.hash != last.hash) {
            return broken(last.seq, "the log was written anew: the row is another than the anchor names");
        }
    }
    let head = read_head(connection, scope)?;
    if head.seq > last.seq {
        return broken(last.seq + 1, "rows are missing at the end");
    }
    if head != last {
        return broken(head.seq + 1, "rows were added without the log's head");
    }
    if anchor.is_some_and(|anchor| anchor.seq > last.seq) {
        return broken(last.seq + 1, "rows are missing at the end: the anchor names a later one");
    }
    Ok(AuditVerdict::Intact { rows: last.seq, head: last })
}

#[async_trait]
impl AuditLog for SqliteStore {
    async fn append(&self, scope: &Scope, entry: NewAuditEntry, now: DateTime<Utc>) -> Result<AuditEntry> {
        let scope = scope.clone();
        self.write("appending to the audit log", move |tx| {
            if !entry.detail.text().starts_with('{') {
                return Err(StoreError::invalid("detail", "must be a JSON object").into());
            }
            append(tx.connection, &scope, entry, now)
        })
        .await
    }

    async fn verify(&self, scope: &Scope, anchor: Option<&AuditHead>) -> Result<AuditVerdict> {
        let (scope, anchor) = (scope.clone(), anchor.cloned());
        self.read("verifying the audit log", move |connection| verify(connection, &scope, anchor.as_ref())).await
    }

    async fn head(&self, scope: &Scope) -> Result<AuditHead> {
        let scope = scope.clone();
        self.read("reading the head of the audit log", move |connection| read_head(connection, &scope)).await
    }

    async fn list(&self, scope: &Scope, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read("listing the audit log", move |connection| {
            Filter::scoped(&scope)
                .equal("subject_type", filter.subject_type)
                .equal("subject_id", filter.subject_id)
                .equal("event", filter.event)
                .below("seq", filter.before_seq)
                .newest(connection, "audit_log", "seq DESC", limit, 0, read_entry)
        })
        .await
    }
}
