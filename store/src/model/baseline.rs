//! Cost baselines: what each feature cost in each hour, once per hour.
//!
//! One hour is one row per feature, however often it is observed (D3 of the reference: the same 24 hours were stored
//! again by each run), and an hour without cost is told from an hour nobody looked at.

use super::Scope;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What one feature cost in an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureCost {
    /// The feature.
    pub feature: String,
    /// In US dollars.
    pub cost_usd: f64,
    /// How many generations.
    pub generations: i64,
    /// The most that a quarter of the hour cost (from 0, 15, 30 or 45 minutes past), in US dollars; `None` when unknown.
    pub peak_usd: Option<f64>,
    /// The most generations of such a quarter; `None` when unknown.
    pub peak_generations: Option<i64>,
}

/// All that was observed about an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostHour {
    /// Start of the hour, on the hour, UTC.
    pub hour_start: DateTime<Utc>,
    /// Whether the hour was over and fully fetched when it was observed.
    pub complete: bool,
    /// The features with cost or generations in it; the others had none.
    pub features: Vec<FeatureCost>,
}

/// One kept row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostBaseline {
    /// The feature.
    pub feature: String,
    /// Start of the hour.
    pub hour_start: DateTime<Utc>,
    /// In US dollars.
    pub cost_usd: f64,
    /// How many generations.
    pub generations: i64,
    /// As in [`FeatureCost::peak_usd`].
    pub peak_usd: Option<f64>,
    /// As in [`FeatureCost::peak_generations`].
    pub peak_generations: Option<i64>,
    /// When it was observed last.
    pub observed_at: DateTime<Utc>,
    /// Whether the hour was over and fully fetched then.
    pub complete: bool,
}

/// An hour that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredHour {
    /// Start of the hour.
    pub hour_start: DateTime<Utc>,
    /// Whether it was over and fully fetched when it was observed.
    pub complete: bool,
}

/// What is known of a range of hours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CostRange {
    /// Rows, by hour and feature.
    pub rows: Vec<CostBaseline>,
    /// The hours that were looked at, in order. A covered hour without a row of a feature cost that feature nothing; an
    /// hour that is not here is unknown.
    pub covered: Vec<CoveredHour>,
}

/// The cost baselines.
#[async_trait]
pub trait CostBaselines: Send + Sync {
    /// Keeps hours. Each replaces what was known of that hour as a whole, except that an incomplete observation
    /// never replaces a complete one.
    ///
    /// # Errors
    /// `Invalid` when a start is not on the hour, a feature occurs twice in an hour, or a figure is negative or no number.
    async fn upsert_many(&self, scope: &Scope, hours: Vec<CostHour>, now: DateTime<Utc>) -> Result<()>;

    /// What is known of `[from, to)`, of one feature or of all.
    async fn range(
        &self,
        scope: &Scope,
        feature: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<CostRange>;
}
