//! Schema snapshots: what the output of a feature looked like, version by version (seed 003, prompt drift).

use super::{Scope, Window};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A schema to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSchemaSnapshot {
    /// The feature.
    pub feature: String,
    /// The schema.
    pub schema: Value,
    /// From how many outputs it was derived.
    pub sample_count: i64,
    /// From which window.
    pub window: Window,
}

/// A kept version of a feature's schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaSnapshot {
    /// 1, 2, 3 … per feature.
    pub version: i64,
    /// The schema.
    #[serde(flatten)]
    pub snapshot: NewSchemaSnapshot,
    /// When it was kept.
    pub captured_at: DateTime<Utc>,
}

/// What [`SchemaSnapshots::put`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct PutSnapshot {
    /// The latest version now.
    pub snapshot: SchemaSnapshot,
    /// Whether the schema differs from the version before (or is the first).
    pub changed: bool,
}

/// The schema snapshots.
#[async_trait]
pub trait SchemaSnapshots: Send + Sync {
    /// The latest version of a feature's schema.
    async fn latest(&self, scope: &Scope, feature: &str) -> Result<Option<SchemaSnapshot>>;

    /// Keeps a schema: a new version only if it differs from the latest.
    async fn put(&self, scope: &Scope, new: NewSchemaSnapshot, now: DateTime<Utc>) -> Result<PutSnapshot>;

    /// All versions of one feature or of all, by feature, newest version first.
    async fn list(&self, scope: &Scope, feature: Option<&str>) -> Result<Vec<SchemaSnapshot>>;
}
