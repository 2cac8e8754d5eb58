//! The judge: one cycle finds the runs that are due, judges them and keeps the verdicts.
//!
//! A run is due when its terminal event arrived `run_settle_seconds` ago (earlier events may come in a later request),
//! or when it began, has no end, and nothing of it arrived for `run_stalled_after_seconds`. What arrives of it within a day of its
//! verdict is judged with it, once settled: signals that were found stay, new ones are added. Which events were looked at is
//! kept in the store, so nothing is missed or judged twice across restarts. A file of the installation's own that fails keeps no
//! other detector from judging ([`failing`](super::failing)).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tripline_engine::{Engine, EngineError};
use tripline_store::ingest::runs::RunEvents;
use tripline_store::{
    AgentVersion, Incident, IncidentId, IncidentStatus, Investigation, JudgedRun, NarrativeParts, NewSignal,
    RecordedRuns, RunActivity, RunFacts, RunSignal, Scope, StoreError,
};

use super::baseline::Predecessors;
use super::detect::{Found, RunBatch, detect_all};
use super::explain::{Subject, explain, explain_signal};
use super::failing::Failures;
use super::{Alerts, Confidence, RunDetectorSpec, co_signals};
use crate::AgentContext;
use crate::detect::DetectError;
use crate::queries::QueryLibrary;
use crate::settings::Settings;

/// Runs whose activity is held in memory before it is noted.
const NOTED_AT_ONCE: usize = 20_000;
/// Runs that are judged in one go.
const RUNS_AT_ONCE: u32 = 25_000;
/// Runs that one transaction is about: events that arrive meanwhile wait for it.
const RUNS_PER_WRITE: usize = 250;
/// How often it is looked for runs that are due.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Why a cycle broke off. Runs that were not judged stay due.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JudgeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bundled detector failed; no run is clean because of it.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// There is no engine for the project.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a cycle did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Judged {
    /// Runs judged.
    pub runs: usize,
    /// Signals found that are new.
    pub signals: usize,
    /// Incidents opened or opened again.
    pub opened: Vec<String>,
    /// Incidents that ended.
    pub resolved: Vec<String>,
    /// Why detectors of the installation's own failed, and those on trial.
    pub failed: Vec<String>,
}

/// Judges runs. Cheap to clone.
#[derive(Clone)]
pub struct Judge {
    ctx: AgentContext,
    queries: QueryLibrary,
    events: Arc<dyn RunEvents>,
    failures: Failures,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Judge {
    /// A judge of the runs of this log.
    #[must_use]
    pub fn new(ctx: AgentContext, queries: QueryLibrary, events: Arc<dyn RunEvents>) -> Self {
        Self { ctx, queries, events, failures: Failures::default() }
    }

    /// Judges every run that is due at `now`.
    ///
    /// # Errors
    /// [`JudgeError`]; verdicts that were kept before stay kept.
    pub async fn judge_due(&self, now: DateTime<Utc>) -> Result<Judged, JudgeError> {
        self.observe().await?;
        self.failures.look(&self.ctx, &self.queries.current(), now).await?;
        let mut all = Judged::default();
        loop {
            let judged = self.judge_some(now).await?;
            let Some(judged) = judged else { return Ok(all) };
            all.runs += judged.runs;
            all.signals += judged.signals;
            all.opened.extend(judged.opened);
            all.resolved.extend(judged.resolved);
            all.failed = judged.failed;
        }
    }

    /// Notes which runs newly arrived events are about.
    async fn observe(&self) -> Result<(), JudgeError> {
        let (scope, runs) = (&self.ctx.scope, &self.ctx.store.runs);
        let seq = runs.run_watermark(scope).await?;
        let mut events = self.events.after(scope, seq).await?;
        let mut activity = Activity::default();
        while let Some(batch) = events.try_next().await? {
            activity.add(&batch)?;
            if activity.of_run.len() >= NOTED_AT_ONCE {
                self.note(std::mem::take(&mut activity.of_run).into_values(), seq).await?;
            }
        }
        if let Some(last) = activity.last.filter(|last| *last > seq) {
            self.note(activity.of_run.into_values(), seq).await?;
            runs.observe_runs(scope, Vec::new(), last).await?;
        }
        Ok(())
    }

    /// Notes activity without moving the mark: what is cut off here is noted again, which changes nothing.
    async fn note(&self, activity: impl Iterator<Item = RunActivity>, mark: i64) -> Result<(), JudgeError> {
        let activity: Vec<RunActivity> = activity.collect();
        for some in activity.chunks(RUNS_PER_WRITE) {
            self.ctx.store.runs.observe_runs(&self.ctx.scope, some.to_vec(), mark).await?;
        }
        Ok(())
    }

    /// Judges some of the runs that are due; `None` when none is.
    async fn judge_some(&self, now: DateTime<Utc>) -> Result<Option<Judged>, JudgeError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let settings = self.ctx.settings.get();
        let stalled_after = TimeDelta::seconds(settings.run_stalled_after_seconds);
        let settled = now - TimeDelta::seconds(settings.run_settle_seconds);
        let due = store.runs.due_runs(scope, settled, now - stalled_after, RUNS_AT_ONCE).await?;
        if due.is_empty() {
            return Ok(None);
        }
        let order: HashMap<&str, usize> =
            due.iter().enumerate().map(|(place, run)| (run.run_id.as_str(), place)).collect();
        let ids: Vec<String> = due.iter().map(|run| run.run_id.clone()).collect();
        let before = due.iter().map(|run| run.first_seq).min().unwrap_or_default() - 1;
        let events = self.events.of_runs(scope, &ids, before).await?;
        let mut batch = RunBatch::new(events, now, stalled_after)?;
        let there: HashSet<&str> = batch.facts.iter().map(|run| run.run_id.as_str()).collect();
        let gone: Vec<String> = ids.iter().filter(|id| !there.contains(id.as_str())).cloned().collect();
        if !gone.is_empty() {
            tracing::warn!(runs = gone.len(), "runs that were to be judged have no events any more");
            store.runs.forget_runs(scope, gone).await?;
        }
        if batch.facts.is_empty() {
            return Ok(Some(Judged::default()));
        }
        batch.facts.sort_by_key(|run| order.get(run.run_id.as_str()).copied());
        self.compare(&mut batch, &settings).await?;
        let (found, failed) = self.find(&batch, &settings, now).await?;
        let runs = self.verdicts(batch.facts, found, &settings);
        let mut judged = Judged { failed, ..Judged::default() };
        self.keep(runs, &settings, now, &mut judged).await?;
        Ok(Some(judged))
    }

    /// Finds out what each run is compared with.
    async fn compare(&self, batch: &mut RunBatch, settings: &Settings) -> Result<(), JudgeError> {
        let keep = usize::try_from(settings.run_baseline_runs).unwrap_or(50);
        let versions: HashSet<AgentVersion> =
            batch.facts.iter().map(|run| (run.agent_id.clone(), run.agent_version.clone())).collect();
        let limit = u32::try_from(keep).unwrap_or(50);
        let of = versions.into_iter().collect();
        let known = self.ctx.store.runs.completed_runs(&self.ctx.scope, of, limit).await?;
        let mut predecessors = Predecessors::new(known, keep, settings.runs.confidence);
        batch.baselines = batch.facts.iter().map(|run| (run.run_id.clone(), predecessors.take(run))).collect();
        Ok(())
    }

    /// Runs all detectors. A bundled one that is live and fails ends the cycle: without it no run is clean. Of the installation's
    /// own, and of those on trial, it is noted, and the others judge.
    async fn find(
        &self,
        batch: &RunBatch,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Found>, Vec<String>), JudgeError> {
        let set = self.queries.current();
        let specs: Vec<&RunDetectorSpec> = set.runs.values().map(Arc::as_ref).collect();
        let is_shadow = |spec: &RunDetectorSpec| settings.runs.is_shadow(&spec.name, spec.is_own());
        let (mut found, mut outcomes) = (Vec::new(), Vec::with_capacity(specs.len()));
        for (spec, result) in detect_all(&self.ctx.engine, &specs, batch, settings, now).await {
            match result {
                Ok(more) => {
                    found.extend(more);
                    outcomes.push((spec, None));
                }
                Err(error) if spec.is_file() || is_shadow(spec) => outcomes.push((spec, Some(error.to_string()))),
                Err(error) => return Err(error.into()),
            }
        }
        self.failures.ran(&self.ctx, &outcomes, now).await?;
        let failed = outcomes.into_iter().filter_map(|(_, error)| error).collect();
        if settings.runs.confidence == Confidence::Dynamic && settings.runs.co_signals {
            let shadow: HashSet<&str> =
                specs.iter().filter(|spec| is_shadow(spec)).map(|spec| spec.name.as_str()).collect();
            co_signals::apply(&mut found, &batch.tables, |detector| shadow.contains(detector));
        }
        Ok((found, failed))
    }

    /// Brings what was found to the runs it was found in.
    fn verdicts(&self, facts: Vec<RunFacts>, found: Vec<Found>, settings: &Settings) -> Vec<JudgedRun> {
        let set = self.queries.current();
        let mut of_run: HashMap<String, Vec<Found>> = HashMap::new();
        for one in found {
            of_run.entry(one.run_id.clone()).or_default().push(one);
        }
        facts
            .into_iter()
            .map(|facts| {
                let found = of_run.remove(&facts.run_id).unwrap_or_default();
                let signals = found.into_iter().map(|one| {
                    let spec = set.runs.get(&one.detector).map(Arc::as_ref);
                    signal(&facts, one, spec, settings)
                });
                let mut signals: Vec<NewSignal> = signals.collect();
                // A run has each type once: what a detector on trial found must not stand in the way of a live one.
                signals.sort_by_key(|signal| signal.shadow);
                JudgedRun { facts, signals }
            })
            .collect()
    }

    async fn keep(
        &self,
        runs: Vec<JudgedRun>,
        settings: &Settings,
        now: DateTime<Utc>,
        judged: &mut Judged,
    ) -> Result<(), JudgeError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let enough = u32::try_from(settings.run_clean_to_resolve).unwrap_or(5);
        let mut runs = runs.into_iter().peekable();
        while runs.peek().is_some() {
            let some: Vec<JudgedRun> = runs.by_ref().take(RUNS_PER_WRITE).collect();
            let RecordedRuns { judged: count, signals, opened, resolved } =
                store.runs.record_judged(scope, some, enough, now).await?;
            judged.runs += count;
            judged.signals += signals;
            self.narrate(&opened, now).await?;
            judged.opened.extend(opened.iter().map(|incident| incident.id.to_string()));
            judged.resolved.extend(resolved.iter().map(|incident| incident.id.to_string()));
        }
        Ok(())
    }

    /// Gives each incident the explanation of its newest signal as its narrative.
    async fn narrate(&self, opened: &[Incident], now: DateTime<Utc>) -> Result<(), JudgeError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let open = opened.iter().filter(|incident| incident.status == IncidentStatus::Open);
        let ids: Vec<IncidentId> = open.map(|incident| incident.id.clone()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let newest = store.runs.newest_signals(scope, ids).await?;
        let found = newest.into_iter().map(|(id, signal)| (id, told(&signal)));
        Ok(store.incidents.set_investigations(scope, found.collect(), now).await?)
    }
}

/// The explanation of a signal, as what an investigation found.
fn told(signal: &RunSignal) -> Investigation {
    let explanation = explain_signal(signal, None);
    let action = explanation.suggested_fixes.first().map(|fix| format!("{}.", fix.description)).unwrap_or_default();
    let parts = NarrativeParts {
        what_happened: explanation.what,
        likely_cause: explanation.why_it_matters,
        impact: explanation.evidence_summary,
        recommended_action: action,
    };
    let narrative = [&parts.what_happened, &parts.likely_cause, &parts.impact, &parts.recommended_action];
    Investigation {
        culprit_sha: None,
        cost_usd: None,
        narrative: narrative.map(String::as_str).join("\n\n"),
        narrative_parts: parts,
        narrator: "template".to_owned(),
        suspects: Value::Array(Vec::new()),
        timeline: Value::Array(Vec::new()),
        gaps: Vec::new(),
        evidence_sha256: tripline_store::evidence_digest(&[]),
    }
}

/// Gives the engine of a project.
pub type EngineOf = Arc<dyn Fn(&Scope) -> Result<Arc<Engine>, EngineError> + Send + Sync>;

/// Judges the runs of every project.
#[derive(Clone)]
pub struct Judges {
    judge: Judge,
    engines: EngineOf,
    alerts: Alerts,
}

impl std::fmt::Debug for Judges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judges").finish_non_exhaustive()
    }
}

impl Judges {
    /// Judges as `judge` does, in every project, and has told what was found.
    #[must_use]
    pub fn new(judge: Judge, engines: EngineOf, alerts: Alerts) -> Self {
        Self { judge, engines, alerts }
    }

    /// Judges what is due until it is told to stop. A cycle that fails is told and tried again.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.cycle() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// One cycle in every project; one that fails does not keep the others from theirs.
    async fn cycle(&self) {
        let projects = match self.judge.ctx.store.projects.list().await {
            Ok(projects) => projects,
            Err(error) => {
                tracing::error!(%error, "the projects could not be listed; runs stay due");
                return;
            }
        };
        for project in projects {
            let scope = Scope::project(project.id);
            match self.judge_project(&scope).await {
                Ok(judged) if judged.runs > 0 => {
                    let project = scope.project_id().as_str();
                    tracing::info!(project, runs = judged.runs, signals = judged.signals, "runs were judged");
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "runs could not be judged; they stay due"),
            }
        }
    }

    async fn judge_project(&self, scope: &Scope) -> Result<Judged, JudgeError> {
        let engine = (self.engines)(scope)?;
        let ctx = AgentContext { engine, scope: scope.clone(), ..self.judge.ctx.clone() };
        let now = ctx.clock.now();
        let judged = Judge { ctx: ctx.clone(), ..self.judge.clone() }.judge_due(now).await;
        // What was found before is told also when this cycle broke off.
        if let Err(error) = self.alerts.tell(&ctx, now).await {
            tracing::error!(%error, "signals could not be handed over; they are tried again");
        }
        judged
    }
}

pub(super) fn signal(facts: &RunFacts, found: Found, spec: Option<&RunDetectorSpec>, settings: &Settings) -> NewSignal {
    let description = match spec.and_then(|spec| spec.description.as_ref()) {
        Some(template) => template.render(&found.evidence),
        None => {
            explain(
                &Subject {
                    failure_type: &found.kind,
                    severity: found.severity,
                    run_id: &facts.run_id,
                    agent_id: &facts.agent_id,
                    agent_version: &facts.agent_version,
                    confidence: found.confidence,
                    step_index: found.step_index,
                    detected_at: 0.0,
                    evidence: &found.evidence,
                },
                None,
            )
            .title
        }
    };
    let is_own = spec.is_some_and(RunDetectorSpec::is_own);
    NewSignal {
        shadow: settings.runs.is_shadow(&found.detector, is_own),
        fingerprint: fingerprint(&facts.agent_id, &found.kind),
        detector: found.detector,
        failure_type: found.kind,
        severity: found.severity,
        step_index: found.step_index,
        confidence: found.confidence,
        co_signals: found.co_signals,
        description,
        evidence: Value::Object(found.evidence),
    }
}

/// What makes findings of several runs one condition.
#[must_use]
pub fn fingerprint(agent_id: &str, failure_type: &str) -> String {
    format!("run:{failure_type}:{agent_id}")
}

/// What events say about runs, and the number of the last of them.
#[derive(Default)]
struct Activity {
    of_run: BTreeMap<String, RunActivity>,
    last: Option<i64>,
}

impl Activity {
    fn add(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let missing =
            |name: &str| StoreError::Corrupt { what: "event batch", reason: format!("it has no column {name}") };
        let text = |name: &str| {
            batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(|| missing(name))
        };
        let (runs, kinds, payloads) = (text("run_id")?, text("event_type")?, text("payload")?);
        let seqs = batch.column_by_name("seq").and_then(|column| column.as_primitive_opt::<Int64Type>());
        let seqs = seqs.ok_or_else(|| missing("seq"))?;
        let received = batch
            .column_by_name("received_at")
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let received = received.ok_or_else(|| missing("received_at"))?;
        for row in 0..batch.num_rows() {
            self.last = self.last.max(Some(seqs.value(row)));
            if !runs.is_valid(row) {
                continue;
            }
            let at = DateTime::from_timestamp_micros(received.value(row)).unwrap_or_default();
            let seen = self.of_run.entry(runs.value(row).to_owned()).or_insert_with_key(|run_id| RunActivity {
                run_id: run_id.clone(),
                first_seq: seqs.value(row),
                started: false,
                last_received_at: at,
                ended_at: None,
            });
            seen.first_seq = seen.first_seq.min(seqs.value(row));
            seen.last_received_at = seen.last_received_at.max(at);
            let kind = kinds.value(row);
            seen.started |= kind == "run.started";
            if matches!(kind, "run.completed" | "run.errored") && !is_provisional(payloads.value(row)) {
                seen.ended_at = Some(seen.ended_at.map_or(at, |ended| ended.min(at)));
            }
        }
        Ok(())
    }
}

/// Whether an end may turn out to be that of a part of the run only: then its silence is waited for.
fn is_provisional(payload: &str) -> bool {
    payload.contains("provisional")
        && serde_json::from_str::<Value>(payload)
            .is_ok_and(|value| value.get("provisional") == Some(&Value::Bool(true)))
}
