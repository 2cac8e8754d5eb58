//! What the sampler keeps: statistics per run, the traces it kept, the sets of tools it has seen.

use super::Scope;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Figures of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SamplingStats {
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window, exclusive.
    pub window_end: DateTime<Utc>,
    /// When it ran.
    pub recorded_at: DateTime<Utc>,
    /// Traces of the window.
    pub total_traces: i64,
    /// Those that were kept.
    pub sampled_traces: i64,
    /// Those that were not.
    pub dropped_traces: i64,
    /// How many were kept for which reason; a trace may have several.
    pub keep_reasons: BTreeMap<String, i64>,
}

/// A trace that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampledTrace {
    /// The trace.
    pub trace_id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Its score.
    pub score: i64,
    /// What it was kept for.
    pub reasons: Vec<String>,
    /// Its generations.
    pub generation_count: i64,
    /// What it cost, US dollars.
    pub cost_usd: f64,
}

/// A set of tools and the trace that was first seen to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPattern {
    /// The names, sorted, as a JSON array.
    pub pattern: String,
    /// The trace.
    pub trace_id: String,
    /// When that trace began.
    pub seen_at: DateTime<Utc>,
}

/// What the sampler keeps.
#[async_trait]
pub trait Sampling: Send + Sync {
    /// Every pattern that was seen, with the trace it was first seen in.
    async fn patterns(&self, scope: &Scope) -> Result<BTreeMap<String, String>>;

    /// Keeps a run, all of it or nothing. The same window again replaces its figures; a trace again replaces its score; a
    /// pattern keeps the trace it was first seen in.
    ///
    /// # Errors
    /// `Invalid` when the figures do not add up.
    async fn keep_sample(
        &self,
        scope: &Scope,
        stats: SamplingStats,
        kept: Vec<SampledTrace>,
        patterns: Vec<SeenPattern>,
    ) -> Result<()>;

    /// The newest runs, latest first, at most `limit`.
    async fn sampling_stats(&self, scope: &Scope, limit: u32) -> Result<Vec<SamplingStats>>;

    /// Traces kept that began in `[from, to)`, best score first, at most `limit`.
    async fn sampled(
        &self,
        scope: &Scope,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<SampledTrace>>;
}
