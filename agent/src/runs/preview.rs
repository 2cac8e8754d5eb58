//! What run detectors would find among the newest judged runs: with the thresholds in force and with others, or with a detector that
//! is no file yet.
//!
//! Must hold: nothing is written, and no verdict changes; both sides judge the same runs, compared with the same predecessors; a
//! detector that fails is told with its reason, never as one that finds nothing.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tripline_engine::{EngineError, Params, QueryOptions, json_rows};
use tripline_store::ingest::runs::{LogEvents, RunEvents};
use tripline_store::{AgentVersion, Scope, Severity};

use super::baseline::Predecessors;
use super::detect::{RunBatch, detect, detect_all};
use super::failing::check;
use super::judge::signal;
use super::{JudgeError, RunDetectorSpec};
use crate::AgentContext;
use crate::detect::DetectError;
use crate::queries::QueryLibrary;
use crate::settings::Settings;

/// What one run detector makes of the runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunPreview {
    /// The detector.
    pub detector: String,
    /// Its name for people.
    pub title: String,
    /// The thresholds it is bound to.
    pub settings: Vec<String>,
    /// Whether it is on trial: what it finds is told to nobody.
    pub shadow: bool,
    /// Runs it fires for with the thresholds in force; `None` when it failed.
    pub fires_now: Option<usize>,
    /// Runs it would fire for with the proposed ones; `None` when it failed.
    pub would_fire: Option<usize>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What all of them make of the runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunsPreview {
    /// Runs that were judged again.
    pub runs: usize,
    /// Runs that were asked for and whose events are kept no longer.
    pub gone: usize,
    /// The detectors, by name.
    pub detectors: Vec<RunPreview>,
}

/// A run that a detector would flag.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flagged {
    /// The run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// The failure type.
    pub failure_type: String,
    /// How bad it is.
    pub severity: Severity,
    /// The step it is about.
    pub step_index: i64,
    /// 0 to 1.
    pub confidence: f64,
    /// One sentence for people.
    pub description: String,
    /// What the detector saw.
    pub evidence: Value,
}

/// What a detector makes of runs that were judged without it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TriedOut {
    /// Runs it judged.
    pub runs: usize,
    /// Runs whose events are kept no longer.
    pub gone: usize,
    /// The runs it would flag, newest first.
    pub flagged: Vec<Flagged>,
}

const NEWEST: &str = "SELECT run_id, step_count FROM agent.judged_runs ORDER BY ended_at DESC, run_id LIMIT $most";

/// Ids of the newest judged runs, at most `most` and with at most `most_steps` steps together: what is read of them is about so many
/// events.
///
/// # Errors
/// [`EngineError`] when they cannot be listed.
pub async fn newest_runs(ctx: &AgentContext, most: u32, most_steps: i64) -> Result<Vec<String>, EngineError> {
    let params = Params::from([("most".to_owned(), tripline_engine::Param::Int(i64::from(most)))]);
    let result = ctx.engine.collect(NEWEST, QueryOptions { params, ..QueryOptions::default() }).await?;
    let rows = json_rows(&result.schema, &result.batches)
        .map_err(|error| EngineError::Execution(format!("runs have no JSON form: {error}")))?;
    let mut steps = 0;
    let within = |row: &Map<String, Value>| {
        steps += row.get("step_count").and_then(Value::as_i64).unwrap_or_default().max(1);
        steps <= most_steps
    };
    let rows = rows.into_iter().take_while(within);
    Ok(rows.filter_map(|row| row.get("run_id").and_then(Value::as_str).map(str::to_owned)).collect())
}

/// Judges the runs `run_ids` of the context's project by a detector that is no file yet. Writes nothing.
///
/// # Errors
/// [`JudgeError::Detect`] with the line when its query is wrong, or when it fails at these runs; else when events or history cannot be
/// read.
pub async fn try_out(ctx: &AgentContext, spec: &RunDetectorSpec, run_ids: &[String]) -> Result<TriedOut, JudgeError> {
    let (now, settings, scope) = (ctx.clock.now(), ctx.settings.get(), &ctx.scope);
    check(&ctx.engine, spec, &settings, now).await.map_err(DetectError::from)?;
    if run_ids.is_empty() {
        return Ok(TriedOut { runs: 0, gone: 0, flagged: Vec::new() });
    }
    let log = LogEvents::new(std::sync::Arc::clone(&ctx.store.events));
    let events = log.of_runs(scope, run_ids, 0).await?;
    let stalled_after = chrono::TimeDelta::seconds(settings.run_stalled_after_seconds);
    let mut batch = RunBatch::new(events, now, stalled_after)?;
    batch.facts.sort_by_key(|run| run.ended_at);
    let here: HashSet<String> = batch.facts.iter().map(|run| run.run_id.clone()).collect();
    compare(ctx, scope, &mut batch, &here, &settings).await?;
    let found = detect(&ctx.engine, spec, &batch, &settings, now).await?;
    let mut of_run: BTreeMap<String, _> = found.into_iter().map(|one| (one.run_id.clone(), one)).collect();
    let flagged = batch.facts.iter().rev().filter_map(|facts| {
        let signal = signal(facts, of_run.remove(&facts.run_id)?, Some(spec), &settings);
        Some(Flagged {
            run_id: facts.run_id.clone(),
            agent_id: facts.agent_id.clone(),
            agent_version: facts.agent_version.clone(),
            ended_at: facts.ended_at,
            failure_type: signal.failure_type,
            severity: signal.severity,
            step_index: signal.step_index,
            confidence: signal.confidence,
            description: signal.description,
            evidence: signal.evidence,
        })
    });
    let flagged = flagged.collect();
    Ok(TriedOut { runs: here.len(), gone: run_ids.len().saturating_sub(here.len()), flagged })
}

/// Judges the runs `run_ids` of `scope` again, with the settings in force and with `proposed`, by the detectors that `wanted` lets
/// through.
///
/// # Errors
/// [`JudgeError`] when the events or the history cannot be read.
pub async fn preview(
    ctx: &AgentContext,
    queries: &QueryLibrary,
    scope: &Scope,
    run_ids: &[String],
    proposed: &Settings,
    wanted: impl Fn(&RunDetectorSpec) -> bool,
) -> Result<RunsPreview, JudgeError> {
    let now = ctx.clock.now();
    let current = ctx.settings.get();
    let set = queries.current();
    let specs: Vec<&RunDetectorSpec> = set.runs.values().map(AsRef::as_ref).filter(|spec| wanted(spec)).collect();
    if specs.is_empty() || run_ids.is_empty() {
        let detectors = specs.iter().map(|spec| row(spec, &current, Ok(0), Ok(0))).collect();
        return Ok(RunsPreview { runs: 0, gone: 0, detectors });
    }
    let log = LogEvents::new(std::sync::Arc::clone(&ctx.store.events));
    let events = log.of_runs(scope, run_ids, 0).await?;
    let stalled_after = chrono::TimeDelta::seconds(current.run_stalled_after_seconds);
    let mut batch = RunBatch::new(events, now, stalled_after)?;
    batch.facts.sort_by_key(|run| run.ended_at);
    let here: HashSet<String> = batch.facts.iter().map(|run| run.run_id.clone()).collect();
    let mut counts = Vec::with_capacity(2);
    for settings in [&*current, proposed] {
        compare(ctx, scope, &mut batch, &here, settings).await?;
        let judged = detect_all(&ctx.engine, &specs, &batch, settings, now).await;
        let fired: BTreeMap<&str, Result<usize, String>> = judged
            .into_iter()
            .map(|(spec, found)| {
                (spec.name.as_str(), found.map(|found| found.len()).map_err(|error| error.to_string()))
            })
            .collect();
        counts.push(fired);
    }
    let of = |side: usize, name: &str| {
        let known = counts.get(side).and_then(|fired| fired.get(name)).cloned();
        known.unwrap_or_else(|| Err("it was not run".to_owned()))
    };
    let detectors = specs.iter().map(|spec| row(spec, &current, of(0, &spec.name), of(1, &spec.name))).collect();
    Ok(RunsPreview { runs: here.len(), gone: run_ids.len().saturating_sub(here.len()), detectors })
}

fn row(
    spec: &RunDetectorSpec,
    settings: &Settings,
    now: Result<usize, String>,
    then: Result<usize, String>,
) -> RunPreview {
    RunPreview {
        detector: spec.name.clone(),
        title: spec.title.clone(),
        settings: spec.bindings.params.iter().map(|param| param.setting.clone()).collect(),
        shadow: settings.runs.is_shadow(&spec.name, spec.is_own()),
        error: now.as_ref().err().or(then.as_ref().err()).cloned(),
        fires_now: now.ok(),
        would_fire: then.ok(),
    }
}

/// Finds out what each run is compared with: what came before it, the runs of the batch included.
async fn compare(
    ctx: &AgentContext,
    scope: &Scope,
    batch: &mut RunBatch,
    here: &HashSet<String>,
    settings: &Settings,
) -> Result<(), JudgeError> {
    let keep = usize::try_from(settings.run_baseline_runs).unwrap_or(50);
    let versions: HashSet<AgentVersion> =
        batch.facts.iter().map(|run| (run.agent_id.clone(), run.agent_version.clone())).collect();
    // The newest of the history are the batch itself.
    let limit = u32::try_from(keep + here.len()).unwrap_or(u32::MAX);
    let mut known = ctx.store.runs.completed_runs(scope, versions.into_iter().collect(), limit).await?;
    for runs in known.values_mut() {
        runs.retain(|run| !here.contains(&run.run_id));
    }
    let mut predecessors = Predecessors::new(known, keep, settings.runs.confidence);
    batch.baselines = batch.facts.iter().map(|run| (run.run_id.clone(), predecessors.take(run))).collect();
    Ok(())
}
