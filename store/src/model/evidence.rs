//! Evidence: rows gathered for an incident, with the SQL that fetched them.

use super::{IncidentId, Scope, text_enum};
use crate::Result;
use crate::canonical::{canonical_json, sha256_hex};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

text_enum! {
    /// What is known from one evidence query.
    pub enum EvidenceStatus ("status") {
        /// It returned rows.
        Ok = "ok",
        /// It was answered, and there is nothing.
        Empty = "empty",
        /// It could not be answered. Never to be read as "nothing".
        Unknown = "unknown",
    }
}

/// The answer of one evidence query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Name of the query; unique within the incident.
    pub name: String,
    /// The sources it asks.
    pub sources: Vec<String>,
    /// The SQL, as it ran.
    pub sql: String,
    /// The bound parameters, an object.
    pub params: Value,
    /// What is known.
    pub status: EvidenceStatus,
    /// Why it is unknown.
    pub error: Option<String>,
    /// The rows, an array of objects. The caller caps them.
    pub rows: Value,
    /// How many rows the query returned, also when fewer are kept.
    pub row_count: i64,
    /// Whether rows are missing here or were never fetched.
    pub truncated: bool,
    /// When it was fetched.
    pub fetched_at: DateTime<Utc>,
}

/// SHA-256 (lower-case hex) of a set of evidence, whatever its order.
///
/// Taken over the canonical JSON of an array, sorted by name, of all fields but `fetched_at`: the same
/// answers fetched again have the same digest.
pub fn evidence_digest(evidence: &[Evidence]) -> String {
    let mut sorted: Vec<_> = evidence.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let items: Vec<_> = sorted
        .into_iter()
        .map(|item| {
            json!({
                "name": item.name,
                "sources": item.sources,
                "sql": item.sql,
                "params": item.params,
                "status": item.status,
                "error": item.error,
                "rows": item.rows,
                "row_count": item.row_count,
                "truncated": item.truncated,
            })
        })
        .collect();
    sha256_hex(canonical_json(&Value::Array(items)))
}

/// The evidence of incidents.
#[async_trait]
pub trait EvidenceSets: Send + Sync {
    /// Replaces the whole evidence of an incident; returns its [`evidence_digest`].
    ///
    /// # Errors
    /// `NotFound` when there is no such incident, `Invalid` when two items have one name.
    async fn replace(&self, scope: &Scope, incident_id: &IncidentId, evidence: Vec<Evidence>) -> Result<String>;

    /// The evidence of an incident, by name.
    async fn list(&self, scope: &Scope, incident_id: &IncidentId) -> Result<Vec<Evidence>>;
}
