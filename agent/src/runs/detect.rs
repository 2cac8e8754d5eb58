//! Running the detectors over a batch of runs: one query per detector.
//!
//! Owns: the tables that a detector sees (the due runs in place of `ingest.*`, and `input.baselines`), agents with
//! thresholds of their own, and reading rows into findings. Must hold: a detector sees no run that is not in the
//! batch; numbers are rounded as the header says, half to even on the exact value.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value};
use tripline_engine::{Engine, EngineError, InputTable, QueryResult};
use tripline_store::ingest::events_schema;
use tripline_store::ingest::runs::{RunTable, RunTables};
use tripline_store::{RunFacts, Severity};

use super::baseline::{self, Baseline};
use super::spec::{BASELINES, RunDetectorSpec};
use super::{Confidence, facts};
use crate::detect::finding::rows;
use crate::detect::run::{Answer, Run};
use crate::detect::{DetectError, failure};
use crate::queries::SeverityRule;
use crate::settings::Settings;

/// Detectors that are run at once.
const AT_ONCE: usize = 2;
/// How long a detector of one's own may take over a batch: what a slip in it costs all others.
const OWN_WITHIN: Duration = Duration::from_secs(10);

/// Runs to be judged: their events and all that is derived of them.
#[derive(Debug, Clone)]
pub struct RunBatch {
    /// Their events, with the columns of `ingest.events`.
    pub events: Vec<RecordBatch>,
    /// The derived tables.
    pub tables: RunTables,
    /// What a verdict keeps of each.
    pub facts: Vec<RunFacts>,
    /// What each is compared with, by run.
    pub baselines: HashMap<String, Baseline>,
}

impl RunBatch {
    /// Builds the tables of all runs in these events; without baselines.
    ///
    /// # Errors
    /// When the events lack a column of `ingest.events`.
    pub fn new(
        events: Vec<RecordBatch>,
        now: DateTime<Utc>,
        stalled_after: TimeDelta,
    ) -> Result<Self, tripline_store::StoreError> {
        let tables = RunTables::build(&events, now, stalled_after)?;
        let facts = facts::facts(&tables)?;
        Ok(Self { events, tables, facts, baselines: HashMap::new() })
    }

    /// The part about some runs, or all of it.
    fn input(&self, of: Option<&HashSet<&str>>) -> Result<Vec<InputTable>, DetectError> {
        let wrong = |error: arrow::error::ArrowError| DetectError::Result {
            origin: "runs".to_owned(),
            message: error.to_string(),
        };
        let part = |batches: &[RecordBatch]| -> Result<Vec<RecordBatch>, DetectError> {
            let Some(of) = of else { return Ok(batches.to_vec()) };
            let mut kept = Vec::with_capacity(batches.len());
            for batch in batches {
                let Some(ids) = batch.column_by_name("run_id").and_then(|ids| ids.as_string_opt::<i32>()) else {
                    continue;
                };
                let mask: BooleanArray = ids.iter().map(|id| Some(id.is_some_and(|id| of.contains(id)))).collect();
                kept.push(filter_record_batch(batch, &mask).map_err(wrong)?);
            }
            Ok(kept)
        };
        let mut input = vec![InputTable {
            name: "ingest.events".to_owned(),
            schema: events_schema(),
            batches: part(&self.events)?,
        }];
        for table in RunTable::ALL {
            input.push(InputTable {
                name: format!("ingest.{}", table.name()),
                schema: table.schema(),
                batches: part(self.tables.batches(table))?,
            });
        }
        let wanted = |run: &&RunFacts| of.is_none_or(|of| of.contains(run.run_id.as_str()));
        let rows = self
            .facts
            .iter()
            .filter(wanted)
            .map(|run| (run.run_id.as_str(), self.baselines.get(&run.run_id).copied().unwrap_or_default()));
        let batch = baseline::table(rows).map_err(wrong)?;
        input.push(InputTable { name: BASELINES.to_owned(), schema: baseline::schema(), batches: vec![batch] });
        Ok(input)
    }
}

/// What a detector found in a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The run.
    pub run_id: String,
    /// The detector.
    pub detector: String,
    /// The failure type.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// The step it is about.
    pub step_index: i64,
    /// 0 to 1.
    pub confidence: f64,
    /// How many signals the run has, where that raised the confidence.
    pub co_signals: Option<i64>,
    /// What the detector saw.
    pub evidence: Map<String, Value>,
}

/// Runs one detector over a batch. Agents with thresholds of their own are judged by a query of their own.
///
/// # Errors
/// [`DetectError`] when the query fails, or returns something that is no finding.
pub async fn detect(
    engine: &Arc<Engine>,
    spec: &RunDetectorSpec,
    batch: &RunBatch,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Result<Vec<Found>, DetectError> {
    detect_all(engine, std::slice::from_ref(&spec), batch, settings, now)
        .await
        .pop()
        .map_or(Ok(Vec::new()), |(_, found)| found)
}

/// Runs several detectors over a batch; each answers for itself, in the order given.
pub async fn detect_all<'s>(
    engine: &Arc<Engine>,
    specs: &[&'s RunDetectorSpec],
    batch: &RunBatch,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Vec<(&'s RunDetectorSpec, Result<Vec<Found>, DetectError>)> {
    let parts = match parts(batch, settings) {
        Ok(parts) => parts,
        Err(error) => return specs.iter().map(|spec| (*spec, Err(error.clone()))).collect(),
    };
    let judged: Vec<_> = specs.iter().map(|spec| judged(engine, spec, &parts, now).boxed()).collect();
    stream::iter(judged).buffered(AT_ONCE).collect().await
}

async fn judged<'s>(
    engine: &Arc<Engine>,
    spec: &'s RunDetectorSpec,
    parts: &[Part],
    now: DateTime<Utc>,
) -> (&'s RunDetectorSpec, Result<Vec<Found>, DetectError>) {
    let judging = async {
        let mut all = Vec::new();
        for part in parts {
            all.extend(query(engine, spec, part, now).await?);
        }
        Ok(all)
    };
    (spec, if spec.is_file() { within(OWN_WITHIN, spec, judging).await } else { judging.await })
}

/// What a detector of one's own finds, unless it does not end in time: then it has failed, and is broken off.
async fn within(
    limit: Duration,
    spec: &RunDetectorSpec,
    judging: impl Future<Output = Result<Vec<Found>, DetectError>>,
) -> Result<Vec<Found>, DetectError> {
    tokio::time::timeout(limit, judging).await.unwrap_or_else(|_| {
        let message = format!("it did not end within {} seconds over one batch of runs", limit.as_secs());
        Err(DetectError::Result { origin: spec.header.origin.clone(), message })
    })
}

/// Runs that are judged by the same thresholds.
struct Part {
    settings: Settings,
    input: Vec<InputTable>,
}

fn parts(batch: &RunBatch, settings: &Settings) -> Result<Vec<Part>, DetectError> {
    let own = |agent: &str| settings.runs.agents.get(agent).filter(|own| !own.is_empty());
    let mut groups: BTreeMap<String, (&str, HashSet<&str>)> = BTreeMap::new();
    let mut others = HashSet::new();
    for run in &batch.facts {
        match own(&run.agent_id) {
            None => {
                others.insert(run.run_id.as_str());
            }
            Some(own) => {
                // Agents with the same thresholds share a query.
                let key = serde_json::to_string(own).unwrap_or_else(|_| run.agent_id.clone());
                groups.entry(key).or_insert_with(|| (&run.agent_id, HashSet::new())).1.insert(&run.run_id);
            }
        }
    }
    if groups.is_empty() {
        return Ok(vec![Part { settings: settings.clone(), input: batch.input(None)? }]);
    }
    let mut parts = Vec::with_capacity(groups.len() + 1);
    if !others.is_empty() {
        parts.push(Part { settings: settings.clone(), input: batch.input(Some(&others))? });
    }
    for (agent, runs) in groups.into_values() {
        parts.push(Part { settings: settings.for_agent(agent), input: batch.input(Some(&runs))? });
    }
    Ok(parts)
}

async fn answer(
    engine: &Engine,
    spec: &RunDetectorSpec,
    part: &Part,
    now: DateTime<Utc>,
) -> Result<Answer, EngineError> {
    let dynamic = part.settings.runs.confidence == Confidence::Dynamic;
    let (header, params) = (spec.header.as_ref(), spec.params(&part.settings, dynamic));
    Run { engine, header, params, input: part.input.clone(), now, stop_when_empty: None }.answer().await
}

/// What a detector answers about no run at all.
pub(super) async fn answer_to_nothing(
    engine: &Engine,
    spec: &RunDetectorSpec,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Result<Option<QueryResult>, EngineError> {
    let failed = |why: String| EngineError::Execution(why);
    let nothing = RunBatch::new(Vec::new(), now, TimeDelta::zero()).map_err(|error| failed(error.to_string()))?;
    let input = nothing.input(None).map_err(|error| failed(error.to_string()))?;
    Ok(answer(engine, spec, &Part { settings: settings.clone(), input }, now).await?.result)
}

async fn query(
    engine: &Arc<Engine>,
    spec: &RunDetectorSpec,
    part: &Part,
    now: DateTime<Utc>,
) -> Result<Vec<Found>, DetectError> {
    let dynamic = part.settings.runs.confidence == Confidence::Dynamic;
    let origin = &spec.header.origin;
    let answer = answer(engine, spec, part, now).await.map_err(|error| match failure(error, origin, &[]) {
        crate::detect::Failure::Error(error) => error,
        crate::detect::Failure::Gap { gap, .. } => {
            DetectError::Result { origin: origin.clone(), message: format!("{}: {}", gap.source, gap.reason) }
        }
    })?;
    let Some(result) = answer.result else { return Ok(Vec::new()) };
    has_columns(spec, &result)?;
    let known: HashSet<&str> = part
        .input
        .iter()
        .filter(|table| table.name == "ingest.runs")
        .flat_map(|table| &table.batches)
        .filter_map(|batch| batch.column_by_name("run_id")?.as_string_opt::<i32>())
        .flat_map(|ids: &StringArray| ids.iter().flatten())
        .collect();
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    for row in rows(origin, &result)? {
        let one = read(spec, row, dynamic)?;
        if !known.contains(one.run_id.as_str()) {
            let message = format!("it names the run '{}', which is none of those it was asked about", one.run_id);
            return Err(DetectError::Result { origin: origin.clone(), message });
        }
        // One finding per run: the first row counts.
        if seen.insert(one.run_id.clone()) {
            found.push(one);
        }
    }
    Ok(found)
}

/// Refuses a result that cannot be findings, whatever its rows.
pub(super) fn has_columns(spec: &RunDetectorSpec, result: &QueryResult) -> Result<(), DetectError> {
    let wrong = |message: String| DetectError::Result { origin: spec.header.origin.clone(), message };
    if result.schema.field_with_name("run_id").is_err() {
        return Err(wrong("a finding has no run_id; select it from ingest.runs".to_owned()));
    }
    match &spec.severity {
        SeverityRule::Column(column) if result.schema.field_with_name(column).is_err() => {
            Err(wrong(format!("a finding has no column '{column}', which is to say its severity")))
        }
        _ => Ok(()),
    }
}

fn read(spec: &RunDetectorSpec, mut row: Map<String, Value>, dynamic: bool) -> Result<Found, DetectError> {
    let wrong = |message: String| DetectError::Result { origin: spec.header.origin.clone(), message };
    let Some(Value::String(run_id)) = row.remove("run_id") else {
        return Err(wrong("a finding has no run_id; select it from ingest.runs".to_owned()));
    };
    let step_index = row.remove("at_step").and_then(|step| step.as_i64()).unwrap_or(0);
    let confidence = match row.remove("confidence") {
        None | Some(Value::Null) => spec.confidence,
        Some(value) => {
            let confidence = value.as_f64().filter(|confidence| (0.0..=1.0).contains(confidence));
            confidence.ok_or_else(|| wrong(format!("the confidence {value} is no number from 0 to 1")))?
        }
    };
    let severity = match &spec.severity {
        SeverityRule::Fixed(severity) => *severity,
        SeverityRule::Column(column) => {
            let text = row.remove(column);
            let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
            text.parse().map_err(|error| wrong(format!("a finding's severity is wrong: {error}")))?
        }
    };
    let mut evidence = Map::new();
    for (column, value) in row {
        if spec.dynamic_only.contains(&column) && !dynamic {
            continue;
        }
        if value.is_null() {
            if spec.always.contains(&column) {
                evidence.insert(column, value);
            }
            continue;
        }
        let value = match (spec.round.get(&column), value.as_f64(), value.as_str()) {
            (Some(digits), Some(number), _) => rounded(number, *digits),
            (_, _, Some(text)) if spec.json.contains(&column) => {
                serde_json::from_str(text).map_err(|error| wrong(format!("{column} holds no JSON: {error}")))?
            }
            _ => value,
        };
        evidence.insert(column, value);
    }
    Ok(Found {
        run_id,
        detector: spec.name.clone(),
        kind: spec.kind.clone(),
        severity,
        step_index,
        confidence,
        co_signals: None,
        evidence,
    })
}

/// Rounded half to even on the exact value, as the decimal text of a float is.
fn rounded(number: f64, digits: usize) -> Value {
    let text = format!("{number:.digits$}");
    text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::QueryLibrary;

    #[tokio::test]
    async fn a_detector_that_does_not_end_has_failed_and_says_so() {
        let set = QueryLibrary::open(None).unwrap().current();
        let spec = set.runs.values().next().unwrap();
        let error = within(Duration::ZERO, spec, std::future::pending()).await.unwrap_err();
        assert!(error.to_string().contains("did not end within 0 seconds"), "{error}");
        assert_eq!(within(Duration::ZERO, spec, std::future::ready(Ok(Vec::new()))).await.unwrap(), []);
    }
}
