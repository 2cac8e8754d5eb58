//! What the sampler keeps: statistics per run, the traces it kept, the sets of tools it has seen.

use super::Scope;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How long kept traces and figures of runs are remembered.
pub const SAMPLES_KEPT_FOR: TimeDelta = TimeDelta::days(90);

/// Sets of tools that are remembered of one feature at most; those that were used last stay.
pub const PATTERNS_PER_FEATURE: u32 = 500;

/// Sets of tools that are remembered in all.
pub const PATTERNS_IN_ALL: u32 = 20_000;

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
    /// What it cost, US dollars; `None` when no call of it says.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// What most of its generations are named; `None` without a generation.
    #[serde(default)]
    pub feature: Option<String>,
}

/// What a trace did in a quarter of an hour.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TracePart {
    /// The trace.
    pub trace_id: String,
    /// The quarter's start.
    pub part_start: DateTime<Utc>,
    /// Start of its first and of its last observation there.
    pub started_at: DateTime<Utc>,
    /// See above.
    pub last_at: DateTime<Utc>,
    /// Generations.
    pub generation_count: i64,
    /// What the calls cost that say so, US dollars; `None` when none does.
    pub cost_usd: Option<f64>,
    /// An observation has level ERROR or WARNING.
    pub has_error: bool,
    /// An output broke its feature's schema.
    pub schema_failed: bool,
    /// Names of its generations, and how many there are of each.
    pub features: BTreeMap<String, i64>,
    /// Names of the tools it used.
    pub tools: BTreeSet<String>,
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
    /// What most generations of that trace are named; empty without a generation.
    pub feature: String,
    /// When it was used last.
    pub last_seen_at: DateTime<Utc>,
}

/// What the sampler keeps.
#[async_trait]
pub trait Sampling: Send + Sync {
    /// Every pattern that is remembered, with the trace it was first seen in.
    async fn patterns(&self, scope: &Scope) -> Result<BTreeMap<String, String>>;

    /// Keeps a run, all of it or nothing. The same window again replaces its figures, and of the traces that began in it
    /// those stay that are kept now; a pattern keeps the trace it was first seen in. What is older than
    /// [`SAMPLES_KEPT_FOR`], or not used for so long, is forgotten, and of patterns those beyond [`PATTERNS_PER_FEATURE`] and
    /// [`PATTERNS_IN_ALL`] that were used least recently: one that comes back then is new.
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

    /// Replaces what is known of the quarters of an hour in `[from, to)`, and forgets those before `forget_before`.
    ///
    /// # Errors
    /// `Invalid` when a part lies outside of that time.
    async fn keep_parts(
        &self,
        scope: &Scope,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        parts: Vec<TracePart>,
        forget_before: DateTime<Utc>,
    ) -> Result<()>;

    /// What is known of the quarters of an hour in `[from, to)`, by trace and time.
    async fn parts(&self, scope: &Scope, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<TracePart>>;

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
