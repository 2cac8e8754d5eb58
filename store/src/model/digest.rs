//! Weekly digests: what was told of a week, with the queries behind every figure.

use super::{Gap, Page, PageRequest, Scope};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The digest of one week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// `weekly-2026-11-23`: the local date of the week's end. Making it again replaces it.
    pub id: String,
    /// Begin of the week, inclusive.
    pub week_start: DateTime<Utc>,
    /// End of the week, exclusive.
    pub week_end: DateTime<Utc>,
    /// IANA name of the time zone whose week it is.
    pub time_zone: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Who wrote it: `template`, `model:NAME`, or `template (why no model)`.
    pub narrator: String,
    /// The whole text, Markdown: What Shipped, What Broke, What to Watch.
    pub report: String,
    /// Its bullets by section: `{what_shipped: [text], what_broke: [text], what_to_watch: [text]}`.
    pub sections: Value,
    /// Its figures by name: `{value, query, row, field}`; `row` is null where the figure is the query's count of rows.
    pub figures: Value,
    /// The queries behind it: `[{name, title, sources, sql, params, status, error, rows, row_count, truncated}]`.
    pub queries: Value,
    /// Sources that are unknown.
    pub gaps: Vec<Gap>,
    /// What model calls cost in the week, in US dollars; `None` when unknown.
    pub cost_usd: Option<f64>,
}

/// The digests.
#[async_trait]
pub trait Digests: Send + Sync {
    /// Keeps a digest, in place of an earlier one of the same week.
    async fn put(&self, scope: &Scope, digest: Digest) -> Result<()>;

    /// One digest.
    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Digest>>;

    /// Digests, newest week first.
    async fn list(&self, scope: &Scope, page: &PageRequest) -> Result<Page<Digest>>;
}
