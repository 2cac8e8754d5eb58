//! Quality: whether the outputs of features keep the schema they always had, output by output.
//!
//! Owns: judging one output against a kept schema ([`shape`]), every output of a day ([`Inspector::sweep`], the drift
//! patrol), and the outputs of one feature ([`Inspector::feature`]). Does not own: when drift is an incident (the detector
//! `prompt_drift`), nor capturing schemas (detect).
//!
//! Must hold: outputs are judged by their shapes, and their texts neither asked for nor told; what a source did not answer is an error or a
//! gap, never "all passed"; a feature without a schema is not judged and said to be so.

pub mod shape;

#[cfg(test)]
mod tests;

#[cfg(test)]
mod rule_tests;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tripline_connectors::ContentShape;
use tripline_engine::{EngineError, Param, Params, QueryOptions, ScanErrorKind, json_rows};
use tripline_store::{Gap, StoreError, Window};

use crate::AgentContext;
use crate::detect::gaps_of;
use crate::detect::run::FRESHNESS;
use crate::investigate::NOT_CONFIGURED;
use shape::Shape;

/// Failures of a feature that are named.
const NAMED_FAILURES: usize = 10;

/// Outputs of one feature that are looked at when it is asked for by name: the newest.
const NEWEST: usize = 1_000;

/// How far back.
const DAY: TimeDelta = TimeDelta::hours(24);

/// Every output of a window. What a call said is judged as `queries/detectors/prompt_drift.sql` does; a call that failed aloud is
/// no drift.
const OUTPUTS: &str = "
SELECT
    id,
    trace_id,
    CASE WHEN trim(coalesce(name, '')) = '' THEN '(unnamed)' ELSE name END AS feature,
    start_time,
    output_shape
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND start_time >= $from
  AND start_time < $to
  AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
  AND coalesce(level, 'DEFAULT') <> 'ERROR'";

/// The same of one feature, newest first.
const OUTPUTS_OF: &str = "
SELECT id, trace_id, name AS feature, start_time, output_shape
FROM langfuse.observations
WHERE type = 'GENERATION'
  AND name = $feature
  AND start_time >= $from
  AND start_time < $to
  AND (output_shape IS NOT NULL OR end_time IS NOT NULL)
  AND coalesce(level, 'DEFAULT') <> 'ERROR'
ORDER BY start_time DESC";

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// The source of outputs is missing or failed.
    #[error("{reason}")]
    Unknown {
        /// The source.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The query failed for a reason of its own, or its rows are none.
    #[error("{0}")]
    Query(String),
}

/// An output that breaks its feature's schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The observation.
    pub observation_id: String,
    /// Its trace.
    pub trace_id: Option<String>,
    /// When it began.
    pub start_time: Option<DateTime<Utc>>,
    /// What is wrong with it. Names of keys and types, never a value.
    pub mismatch: String,
}

/// How the outputs of a feature fare against its schema.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Validation {
    /// The feature.
    pub feature: String,
    /// Version of the schema that they were judged by; `None` when there is none yet: then nothing is judged.
    pub schema_version: Option<i64>,
    /// Outputs that were looked at.
    pub total: u64,
    /// Those that keep the schema.
    pub passed: u64,
    /// Those that break it.
    pub failed: u64,
    /// Share of broken ones, 0 to 1, to four digits; 0 without any output.
    pub fail_rate: f64,
    /// Begin of the first output that breaks it.
    pub first_failed_at: Option<DateTime<Utc>>,
    /// The newest that break it, at most ten.
    pub failures: Vec<Mismatch>,
    /// Whether there are more outputs than were looked at.
    pub truncated: bool,
    /// From when to when.
    pub window: Window,
}

/// What a sweep over every feature saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// From when to when.
    pub window: Window,
    /// Each feature with outputs, by name.
    pub features: Vec<Validation>,
    /// HTTP requests sent.
    pub requests: u64,
    /// What is unknown.
    pub gaps: Vec<Gap>,
}

/// Judges outputs. Cheap to clone.
#[derive(Clone)]
pub struct Inspector {
    ctx: AgentContext,
}

impl std::fmt::Debug for Inspector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inspector").finish_non_exhaustive()
    }
}

/// The newest kept schema of each feature.
pub(crate) struct Kept {
    version: i64,
    pub(crate) shape: Shape,
}

/// The judgement of one feature in the making.
#[derive(Default)]
struct Tally {
    total: u64,
    failed: u64,
    first_failed_at: Option<DateTime<Utc>>,
    failures: Vec<Mismatch>,
}

impl Tally {
    fn take(&mut self, row: &Map<String, Value>, kept: Option<&Kept>) -> Result<(), QualityError> {
        self.total += 1;
        let Some(kept) = kept else { return Ok(()) };
        let text = |column: &str| row.get(column).and_then(Value::as_str);
        let Err(mismatch) = kept.shape.judge(&shape_of(row)?) else { return Ok(()) };
        self.failed += 1;
        let start_time = row.get("start_time").and_then(crate::detect::finding::time);
        self.first_failed_at = self.first_failed_at.into_iter().chain(start_time).min();
        self.failures.push(Mismatch {
            observation_id: text("id").unwrap_or_default().to_owned(),
            trace_id: text("trace_id").map(str::to_owned),
            start_time,
            mismatch,
        });
        if self.failures.len() > 4 * NAMED_FAILURES {
            self.shorten();
        }
        Ok(())
    }

    fn shorten(&mut self) {
        self.failures
            .sort_by(|a, b| b.start_time.cmp(&a.start_time).then_with(|| a.observation_id.cmp(&b.observation_id)));
        self.failures.truncate(NAMED_FAILURES);
    }

    fn validation(mut self, feature: String, kept: Option<&Kept>, window: Window, truncated: bool) -> Validation {
        self.shorten();
        #[allow(clippy::cast_precision_loss, reason = "counts of outputs are far below 2^52")]
        let share = if self.total == 0 { 0.0 } else { self.failed as f64 / self.total as f64 };
        Validation {
            feature,
            schema_version: kept.map(|kept| kept.version),
            total: self.total,
            passed: self.total - self.failed,
            failed: self.failed,
            fail_rate: (share * 10_000.0).round() / 10_000.0,
            first_failed_at: self.first_failed_at,
            failures: self.failures,
            truncated,
            window,
        }
    }
}

impl Inspector {
    /// Judges outputs of an installation.
    #[must_use]
    pub fn new(ctx: AgentContext) -> Self {
        Self { ctx }
    }

    /// Judges the outputs of one feature of the last 24 hours, the newest thousand at most. `None` when it has none.
    ///
    /// # Errors
    /// [`QualityError`]; a source that is missing is no feature without outputs.
    pub async fn feature(&self, feature: &str) -> Result<Option<Validation>, QualityError> {
        let now = self.ctx.clock.now();
        let window = Window::new(now - DAY, now)?;
        let kept = self.kept(Some(feature)).await?.remove(feature);
        let mut params = bounds(window);
        params.insert("feature".to_owned(), Param::Text(feature.to_owned()));
        let options = QueryOptions { params, now: Some(now), max_rows: Some(NEWEST), ..QueryOptions::default() };
        let result = self.ctx.engine.collect(OUTPUTS_OF, options).await.map_err(failed)?;
        if let Some(gap) = gaps_of(&result).into_iter().next() {
            return Err(QualityError::Unknown { source_name: gap.source, reason: gap.reason });
        }
        let rows =
            json_rows(&result.schema, &result.batches).map_err(|error| QualityError::Query(error.to_string()))?;
        let mut tally = Tally::default();
        for row in &rows {
            tally.take(row, kept.as_ref())?;
        }
        let truncated = result.report.truncated;
        Ok((tally.total > 0).then(|| tally.validation(feature.to_owned(), kept.as_ref(), window, truncated)))
    }

    /// Judges every output of the 24 hours before `until`, feature by feature.
    ///
    /// # Errors
    /// Of the store, or of the query itself. A source that is missing is a gap of the sweep.
    pub async fn sweep(&self, until: DateTime<Utc>) -> Result<Sweep, QualityError> {
        let window = Window::new(until - DAY, until)?;
        let kept = self.kept(None).await?;
        let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
        let mut sweep = Sweep { window, features: Vec::new(), requests: 0, gaps: Vec::new() };
        match self.walk(window, &kept, &mut tallies, &mut sweep).await {
            Ok(()) => {}
            Err(QualityError::Unknown { source_name, reason }) => sweep.gaps.push(Gap { source: source_name, reason }),
            Err(other) => return Err(other),
        }
        sweep.features = tallies
            .into_iter()
            .map(|(feature, tally)| {
                let kept = kept.get(&feature);
                tally.validation(feature, kept, window, false)
            })
            .collect();
        Ok(sweep)
    }

    async fn walk(
        &self,
        window: Window,
        kept: &BTreeMap<String, Kept>,
        tallies: &mut BTreeMap<String, Tally>,
        sweep: &mut Sweep,
    ) -> Result<(), QualityError> {
        let options = QueryOptions {
            params: bounds(window),
            now: Some(window.end),
            freshness: FRESHNESS,
            timeout: std::time::Duration::from_secs(600),
            ..QueryOptions::default()
        };
        let mut stream = self.ctx.engine.query(OUTPUTS, options).await.map_err(failed)?;
        let schema = stream.schema();
        while let Some(batch) = stream.next().await.map_err(failed)? {
            let rows = json_rows(&schema, &[batch]).map_err(|error| QualityError::Query(error.to_string()))?;
            for row in rows {
                let feature = row.get("feature").and_then(Value::as_str).unwrap_or("(unnamed)").to_owned();
                let schema = kept.get(&feature);
                tallies.entry(feature).or_default().take(&row, schema)?;
            }
        }
        let report = stream.report();
        sweep.requests = report.requests;
        for scan in &report.scans {
            if let Some(reason) = &scan.gap {
                let reason = format!("{}.{}: {reason}", scan.source, scan.table);
                sweep.gaps.push(Gap { source: scan.source.clone(), reason });
            }
        }
        Ok(())
    }

    /// The newest kept schema of one feature, or of each.
    pub(crate) async fn kept(&self, feature: Option<&str>) -> Result<BTreeMap<String, Kept>, QualityError> {
        let mut kept = BTreeMap::new();
        // By feature, newest version first.
        for version in self.ctx.store.schemas.list(&self.ctx.scope, feature).await? {
            let feature = version.snapshot.feature.clone();
            if kept.contains_key(&feature) {
                continue;
            }
            let shape: Shape = serde_json::from_value(version.snapshot.schema).map_err(|error| {
                QualityError::Query(format!("the kept schema of '{feature}' is not understood: {error}"))
            })?;
            kept.insert(feature, Kept { version: version.version, shape });
        }
        Ok(kept)
    }
}

/// The shape of a row's output; of one without, that of an empty one.
pub(crate) fn shape_of(row: &Map<String, Value>) -> Result<ContentShape, QualityError> {
    let Some(text) = row.get("output_shape").and_then(Value::as_str) else { return Ok(ContentShape::blank()) };
    ContentShape::parse(text).map_err(|error| {
        let id = row.get("id").or_else(|| row.get("trace_id")).and_then(Value::as_str).unwrap_or_default();
        QualityError::Query(format!("output_shape of {id} in langfuse.observations is not understood: {error}"))
    })
}

fn bounds(window: Window) -> Params {
    Params::from([("from".to_owned(), Param::Timestamp(window.start)), ("to".to_owned(), Param::Timestamp(window.end))])
}

pub(crate) fn failed(error: EngineError) -> QualityError {
    match error {
        EngineError::Source(scan) if scan.kind == ScanErrorKind::NotConfigured => {
            QualityError::Unknown { source_name: scan.source.clone(), reason: format!("{NOT_CONFIGURED}: {scan}") }
        }
        EngineError::Source(scan) => {
            QualityError::Unknown { source_name: scan.source.clone(), reason: scan.to_string() }
        }
        EngineError::Deadline(_) | EngineError::Cancelled => {
            QualityError::Unknown { source_name: "langfuse".to_owned(), reason: error.to_string() }
        }
        other => QualityError::Query(other.to_string()),
    }
}
