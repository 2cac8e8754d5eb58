//! The audit log: append-only, each row hashed together with the hash of the row before it.
//!
//! A row's hash is the SHA-256 of eleven fields, each written as a netstring (`LENGTH:BYTES,`, the length in
//! bytes, decimal): `tripline-audit-v1`, project id, seq, at (microseconds since 1970, decimal), actor, event,
//! subject type, subject id, detail (the stored text, byte for byte), previous hash (lower-case hex), and an empty
//! string that is kept for later. The first row's previous hash is 64 zeros. `docs/audit.md` shows how to verify a
//! log without Tripline.

use super::{ProjectId, Scope};
use crate::Result;
use crate::canonical::{ExactJson, sha256_hex};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The previous hash of the first row of a log.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Something to put on the record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAuditEntry {
    /// Who did it: a person, `policy`, `executor:NAME`, `slack:USER`.
    pub actor: String,
    /// What was done, in dotted words: `approval.approved`, `webhook.refused`.
    pub event: String,
    /// What it was done to: `approval`, `action`, `incident`, `webhook`, …
    pub subject_type: String,
    /// Its id.
    pub subject_id: String,
    /// More, an object. No secret and no raw content.
    pub detail: ExactJson,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// 1, 2, 3 … without a gap, per project.
    pub seq: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    #[serde(flatten)]
    pub entry: NewAuditEntry,
    /// Hash of the row before.
    pub prev_hash: String,
    /// Hash of this row.
    pub hash: String,
}

impl AuditEntry {
    /// What the hash of this row must be.
    pub fn expected_hash(&self, project_id: &ProjectId) -> String {
        audit_hash(project_id, self.seq, self.at, &self.entry, &self.prev_hash)
    }
}

/// The hash of a row, as the module's text defines it.
pub fn audit_hash(
    project_id: &ProjectId,
    seq: i64,
    at: DateTime<Utc>,
    entry: &NewAuditEntry,
    prev_hash: &str,
) -> String {
    let seq = seq.to_string();
    let at = at.timestamp_micros().to_string();
    let fields = [
        "tripline-audit-v1",
        project_id.as_str(),
        &seq,
        &at,
        &entry.actor,
        &entry.event,
        &entry.subject_type,
        &entry.subject_id,
        entry.detail.text(),
        prev_hash,
        "",
    ];
    let mut bytes = String::new();
    for field in fields {
        bytes.push_str(&format!("{}:{field},", field.len()));
    }
    sha256_hex(bytes)
}

/// The end of a log at some time. Written down elsewhere, it later proves that nothing up to it was changed or cut off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Sequence number of the last row; 0 for an empty log.
    pub seq: i64,
    /// Its hash; [`GENESIS_HASH`] for an empty log.
    pub hash: String,
}

/// What [`AuditLog::verify`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum AuditVerdict {
    /// Every row is as it was written, none is missing.
    Intact {
        /// How many rows.
        rows: i64,
        /// The end of the log.
        head: AuditHead,
    },
    /// The log was changed.
    Broken {
        /// The first sequence number that is wrong.
        seq: i64,
        /// What is wrong there.
        reason: String,
    },
}

/// Which rows a listing shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AuditFilter {
    /// Only about this type of subject.
    pub subject_type: Option<String>,
    /// Only about this subject.
    pub subject_id: Option<String>,
    /// Only this event.
    pub event: Option<String>,
    /// Only rows before this sequence number (for paging).
    pub before_seq: Option<i64>,
}

/// The audit log of a project.
///
/// Operations of other aggregates append their own rows inside their own transactions; `append` is for what has
/// no other row (a refused webhook, a denied key).
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Appends a row.
    async fn append(&self, scope: &Scope, entry: NewAuditEntry, now: DateTime<Utc>) -> Result<AuditEntry>;

    /// Reads the whole log and says whether it is as it was written: edited, deleted, inserted and reordered rows
    /// are found by the chain, rows cut off the end by the head kept beside it.
    ///
    /// With `anchor`, a head that was written down elsewhere, also a log that was recomputed from some row on is
    /// found, or cut off together with its head. Without one, somebody who can write the file and recomputes every hash
    /// after the change, and the head, cannot be told from the truth.
    async fn verify(&self, scope: &Scope, anchor: Option<&AuditHead>) -> Result<AuditVerdict>;

    /// The end of the log.
    async fn head(&self, scope: &Scope) -> Result<AuditHead>;

    /// Rows, newest first, at most `limit`.
    async fn list(&self, scope: &Scope, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEntry>>;
}
