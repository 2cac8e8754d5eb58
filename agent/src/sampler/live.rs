//! The sampler on live traces: reading what is new, remembering it, deciding, and keeping what was decided.
//!
//! Owns: the one reading of a run (observations since the run before, and what may have come late again), the parts of
//! traces that make up what is known, which findings of detectors traces belong to. Must hold: reading a time again replaces
//! what was known of it, so nothing counts twice; a source that did not answer is a gap, and then nothing is written; a dry
//! run writes nothing; outputs are judged by their shapes, so that a local copy that detectors brought up to date answers.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tripline_engine::{Param, Params, QueryOptions, json_rows};
use tripline_store::{
    AnomalyFilter, Gap, IncidentFilter, IncidentStatus, PageRequest, SamplingStats, TracePart, Window,
};

use super::{Concern, Sample, TraceFacts, judge};
use crate::AgentContext;
use crate::detect::finding::time;
use crate::detect::run::FRESHNESS;
use crate::quality::{Inspector, Kept, QualityError, failed, shape_of};

/// What a run looks at (seed 003: the on-call brain samples 24 hours).
pub const WINDOW: TimeDelta = TimeDelta::hours(24);
/// What is replaced as a whole.
const PART: TimeDelta = TimeDelta::minutes(15);
/// Read again, for what came late or was not over yet.
const OVERLAP: TimeDelta = TimeDelta::minutes(75);
/// How long before its onset a finding is taken to have begun: a detector sees a condition after it is one.
const BEFORE_ONSET: TimeDelta = TimeDelta::hours(1);
/// How long after its last window: a condition that ends within a quarter of an hour is not seen in that quarter any more.
const AFTER_LAST: TimeDelta = TimeDelta::minutes(15);
/// Incidents that were opened so long before the window and have ended are not looked at.
const LONGEST: TimeDelta = TimeDelta::days(30);
/// Until when everything was read, among the watermarks of jobs.
const READ_UNTIL: &str = "sampler:parts";

/// What one run needs of each observation.
const OBSERVATIONS: &str = "
SELECT trace_id, type, name, start_time, end_time, level, total_cost, output_shape
FROM langfuse.observations
WHERE start_time >= $from
  AND start_time < $to
  AND trace_id IS NOT NULL";

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampled {
    /// Its figures.
    pub stats: SamplingStats,
    /// Share of the traces that was dropped, 0 to 1; of none, 0.
    pub share_dropped: f64,
    /// From when on observations were read; what was before was known.
    pub read_from: DateTime<Utc>,
    /// Observations read.
    pub observations: u64,
    /// HTTP requests sent.
    pub requests: u64,
    /// What is unknown: then nothing was decided.
    pub gaps: Vec<Gap>,
}

/// Samples the traces of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Sampler {
    ctx: AgentContext,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampler").finish_non_exhaustive()
    }
}

/// What was read.
#[derive(Default)]
struct Read {
    parts: BTreeMap<(String, DateTime<Utc>), TracePart>,
    observations: u64,
    requests: u64,
    gaps: Vec<Gap>,
}

impl Sampler {
    /// Samples with this context.
    #[must_use]
    pub fn new(ctx: AgentContext) -> Self {
        Self { ctx }
    }

    /// Judges the traces of the 24 hours before `until`; after a pause, of all the time since the run before, as far as
    /// `catch_up_days` goes. With `persist`, the decision is kept.
    ///
    /// # Errors
    /// Of the store, or of the query itself. A source that is missing is a gap; then nothing is kept.
    pub async fn run(&self, until: DateTime<Utc>, persist: bool) -> Result<Sampled, QualityError> {
        let (ctx, settings) = (&self.ctx, self.ctx.settings.get());
        let (store, scope) = (&ctx.store, &ctx.scope);
        let read_until = store.jobs.watermark(scope, READ_UNTIL).await?;
        let oldest = until - TimeDelta::days(settings.catch_up_days).max(WINDOW);
        let window_start = read_until.map_or(until - WINDOW, |at| at.clamp(oldest, until).min(until - WINDOW));
        // What is behind the last reading is known; a clock that was set back reads its window anew.
        let known_until = read_until.filter(|at| *at <= until).unwrap_or(window_start);
        let from = quarter((known_until - OVERLAP).max(window_start));
        let read = self.read(from, until).await?;
        let mut sampled = Sampled {
            stats: SamplingStats {
                window_start,
                window_end: until,
                recorded_at: ctx.clock.now(),
                total_traces: 0,
                sampled_traces: 0,
                dropped_traces: 0,
                keep_reasons: BTreeMap::new(),
            },
            share_dropped: 0.0,
            read_from: from,
            observations: read.observations,
            requests: read.requests,
            gaps: read.gaps,
        };
        if !sampled.gaps.is_empty() {
            if persist && read_until.is_none() {
                // A first reading that fails: what it would have read is due all the same when the source is back.
                store.jobs.advance(scope, READ_UNTIL, window_start).await?;
            }
            return Ok(sampled);
        }
        // A trace that began before the window is known whole all the same.
        let horizon = quarter(window_start - WINDOW);
        let mut parts = store.sampling.parts(scope, horizon, from).await?;
        let read: Vec<TracePart> = read.parts.into_values().collect();
        parts.extend(read.iter().cloned());
        let concerns = self.concerns(Window::new(window_start, until)?).await?;
        let traces = facts(parts, window_start);
        let seen = store.sampling.patterns(scope).await?;
        let sample = judge(&traces, &settings.sampling, &seen, &concerns);
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        sampled.share_dropped = (sample.share_dropped() * 10_000.0).round() / 10_000.0;
        sampled.stats.total_traces = count(sample.total);
        sampled.stats.sampled_traces = count(sample.kept.len());
        sampled.stats.dropped_traces = count(sample.total - sample.kept.len());
        let Sample { kept, keep_reasons, patterns, .. } = sample;
        sampled.stats.keep_reasons = keep_reasons;
        if persist {
            let to = quarter(until) + PART;
            store.sampling.keep_parts(scope, from, to, read, horizon - PART).await?;
            store.jobs.advance(scope, READ_UNTIL, until).await?;
            store.sampling.keep_sample(scope, sampled.stats.clone(), kept, patterns).await?;
        }
        Ok(sampled)
    }

    async fn read(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Result<Read, QualityError> {
        let schemas = Inspector::new(self.ctx.clone()).kept(None).await?;
        let mut read = Read::default();
        match self.walk(from, until, &schemas, &mut read).await {
            Ok(()) => {}
            Err(QualityError::Unknown { source_name, reason }) => read.gaps.push(Gap { source: source_name, reason }),
            Err(other) => return Err(other),
        }
        Ok(read)
    }

    async fn walk(
        &self,
        from: DateTime<Utc>,
        until: DateTime<Utc>,
        schemas: &BTreeMap<String, Kept>,
        read: &mut Read,
    ) -> Result<(), QualityError> {
        let options = QueryOptions {
            params: Params::from([
                ("from".to_owned(), Param::Timestamp(from)),
                ("to".to_owned(), Param::Timestamp(until)),
            ]),
            now: Some(until),
            freshness: FRESHNESS,
            timeout: Duration::from_secs(240),
            ..QueryOptions::default()
        };
        let mut stream = self.ctx.engine.query(OBSERVATIONS, options).await.map_err(failed)?;
        let schema = stream.schema();
        while let Some(batch) = stream.next().await.map_err(failed)? {
            for row in json_rows(&schema, &[batch]).map_err(|error| QualityError::Query(error.to_string()))? {
                read.observations += 1;
                add(&mut read.parts, &row, schemas)?;
            }
        }
        let report = stream.report();
        read.requests = report.requests;
        for scan in &report.scans {
            if let Some(reason) = &scan.gap {
                let reason = format!("{}.{}: {reason}", scan.source, scan.table);
                read.gaps.push(Gap { source: scan.source.clone(), reason });
            }
        }
        Ok(())
    }

    /// What detectors found in the window, one entry per detector and entity: until its incident ended, or until now.
    async fn concerns(&self, window: Window) -> Result<Vec<Concern>, QualityError> {
        let (store, scope) = (&self.ctx.store, &self.ctx.scope);
        let filter = AnomalyFilter { since: Some(window.start), ..AnomalyFilter::default() };
        let mut page = PageRequest::first(500);
        let mut found: BTreeMap<(String, String), Concern> = BTreeMap::new();
        loop {
            let listed = store.anomalies.list(scope, &filter, &page).await?;
            for anomaly in listed.items {
                let finding = anomaly.finding;
                let from = finding.onset.unwrap_or(finding.window.start) - BEFORE_ONSET;
                let until = finding.window.end + AFTER_LAST;
                let concern = found.entry((finding.detector, finding.entity.clone())).or_insert(Concern {
                    entity: finding.entity,
                    from,
                    until,
                });
                concern.from = concern.from.min(from);
                concern.until = concern.until.max(until);
            }
            match listed.next {
                Some(next) => page.cursor = Some(next),
                None => break,
            }
        }
        // A condition that was not seen for a window or two was not over before its incident was.
        let open = IncidentFilter { status: Some(IncidentStatus::Open), ..IncidentFilter::default() };
        let ended = IncidentFilter {
            status: Some(IncidentStatus::Resolved),
            since: Some(window.start - LONGEST),
            ..IncidentFilter::default()
        };
        for filter in [open, ended] {
            let mut page = PageRequest::first(500);
            loop {
                let listed = store.incidents.list(scope, &filter, &page).await?;
                for incident in listed.items {
                    let until = incident.resolved_at.unwrap_or(window.end);
                    if let Some(concern) = found.get_mut(&(incident.detector, incident.entity)) {
                        concern.until = concern.until.max(until);
                    }
                }
                match listed.next {
                    Some(next) => page.cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(found.into_values().collect())
    }
}

/// The quarter of an hour that an instant lies in.
fn quarter(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(PART).unwrap_or(at)
}

/// Takes one observation in.
fn add(
    parts: &mut BTreeMap<(String, DateTime<Utc>), TracePart>,
    row: &Map<String, Value>,
    schemas: &BTreeMap<String, Kept>,
) -> Result<(), QualityError> {
    let text = |column: &str| row.get(column).and_then(Value::as_str);
    let (Some(trace_id), Some(start)) = (text("trace_id"), row.get("start_time").and_then(time)) else {
        return Ok(());
    };
    let part_start = quarter(start);
    let part = parts.entry((trace_id.to_owned(), part_start)).or_insert_with(|| TracePart {
        trace_id: trace_id.to_owned(),
        part_start,
        started_at: start,
        last_at: start,
        ..TracePart::default()
    });
    part.started_at = part.started_at.min(start);
    part.last_at = part.last_at.max(start);
    // A negative cost is a correction of the vendor's; a trace's cost is never below nothing.
    if let Some(cost) = row.get("total_cost").and_then(Value::as_f64).filter(|cost| cost.is_finite()) {
        part.cost_usd = Some(part.cost_usd.unwrap_or_default() + cost.max(0.0));
    }
    let level = text("level").unwrap_or("DEFAULT");
    part.has_error |= matches!(level, "ERROR" | "WARNING");
    // As the detectors' queries name it: blanks around a name belong to it.
    let name = text("name").filter(|name| !name.trim().is_empty()).unwrap_or("(unnamed)");
    match text("type") {
        Some("GENERATION") => {
            part.generation_count += 1;
            *part.features.entry(name.to_owned()).or_default() += 1;
            let is_over = text("output_shape").is_some() || row.get("end_time").is_some_and(|end| !end.is_null());
            // A call that failed aloud is no drift.
            if let Some(kept) = schemas.get(name).filter(|_| is_over && level != "ERROR") {
                part.schema_failed |= kept.shape.judge(&shape_of(row)?).is_err();
            }
        }
        Some("SPAN" | "TOOL") => {
            part.tools.insert(name.to_owned());
        }
        _ => {}
    }
    Ok(())
}

/// What is known of each trace that did something at or after `since`, from its parts.
fn facts(parts: Vec<TracePart>, since: DateTime<Utc>) -> Vec<TraceFacts> {
    let mut traces: BTreeMap<String, TraceFacts> = BTreeMap::new();
    for part in parts {
        let trace = traces.entry(part.trace_id.clone()).or_insert_with(|| TraceFacts {
            trace_id: part.trace_id,
            started_at: part.started_at,
            last_at: part.last_at,
            ..TraceFacts::default()
        });
        trace.started_at = trace.started_at.min(part.started_at);
        trace.last_at = trace.last_at.max(part.last_at);
        trace.generation_count += part.generation_count;
        trace.cost_usd = match (trace.cost_usd, part.cost_usd) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        trace.has_error |= part.has_error;
        trace.schema_failed |= part.schema_failed;
        for (feature, calls) in part.features {
            *trace.features.entry(feature).or_default() += calls;
        }
        trace.tools.extend(part.tools);
    }
    traces.into_values().filter(|trace| trace.last_at >= since).collect()
}

#[cfg(test)]
mod tests;
