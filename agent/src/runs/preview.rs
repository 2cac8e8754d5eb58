//! What run detectors would find among the newest judged runs, with the thresholds in force and with others.
//!
//! Must hold: nothing is written, and no verdict changes; both sides judge the same runs, compared with the same predecessors; a
//! detector that fails is told with its reason, never as one that finds nothing.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use tripline_store::ingest::runs::{LogEvents, RunEvents};
use tripline_store::{AgentVersion, Scope};

use super::baseline::Predecessors;
use super::detect::{RunBatch, detect_all};
use super::{JudgeError, RunDetectorSpec};
use crate::AgentContext;
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
