//! Runs: which wait for their verdict, the verdicts, and what was found in them.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnomalyId, Incident, IncidentId, Scope, Severity, text_enum};
use crate::Result;

text_enum! {
    /// Why a run is judged.
    pub enum RunEnd ("reason") {
        /// It said that it completed.
        Completed = "completed",
        /// It said that it broke off.
        Errored = "errored",
        /// It fell silent.
        Stalled = "stalled",
    }
}

/// What newly arrived events say about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunActivity {
    /// The run.
    pub run_id: String,
    /// Number of the first of them.
    pub first_seq: i64,
    /// Whether its `run.started` is among them.
    pub started: bool,
    /// When the last of them arrived.
    pub last_received_at: DateTime<Utc>,
    /// When its first terminal event arrived, if one is among them.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A run whose verdict is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRun {
    /// The run.
    pub run_id: String,
    /// Whether it ended; otherwise it stalled.
    pub ended: bool,
    /// Number of its first event, or a smaller one.
    pub first_seq: i64,
}

/// What a verdict rests on and what later runs are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// Why it is judged.
    pub reason: RunEnd,
    /// What it said at its end; `error` when it broke off; `None` when it stalled.
    pub exit_reason: Option<String>,
    /// Time of its first event.
    pub started_at: DateTime<Utc>,
    /// Time of its last event.
    pub ended_at: DateTime<Utc>,
    /// The largest step index.
    pub step_count: i64,
    /// Answered model calls.
    pub llm_calls: i64,
    /// Tool calls.
    pub tool_calls: i64,
    /// Step of its first tool call.
    pub first_tool_step: Option<i64>,
    /// Hash of its input.
    pub input_hash: Option<String>,
    /// Largest by smallest prompt, where it tells something.
    pub token_growth: Option<f64>,
    /// Milliseconds from each tool call to the next event.
    pub tool_gaps_ms: Vec<i64>,
    /// Milliseconds from each model call to the next event.
    pub llm_gaps_ms: Vec<i64>,
}

/// What a run detector found in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewSignal {
    /// The detector.
    pub detector: String,
    /// The failure type, e.g. `TOOL_LOOP`.
    pub failure_type: String,
    /// How bad it is.
    pub severity: Severity,
    /// What makes findings of several runs one condition: the agent and the failure type.
    pub fingerprint: String,
    /// The step it is about.
    pub step_index: i64,
    /// 0 to 1.
    pub confidence: f64,
    /// How many signals the run has, where their co-occurrence raised the confidence.
    pub co_signals: Option<i64>,
    /// Found by a detector that is on trial: kept, told to nobody, part of no incident.
    pub shadow: bool,
    /// One sentence for people.
    pub description: String,
    /// What the detector saw.
    pub evidence: Value,
}

/// A judged run.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedRun {
    /// What the verdict rests on.
    pub facts: RunFacts,
    /// What was found, at most one of a failure type.
    pub signals: Vec<NewSignal>,
}

/// A kept signal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSignal {
    /// Its number.
    pub id: i64,
    /// Its id as an anomaly.
    pub anomaly_id: AnomalyId,
    /// The incident it belongs to; none for one in shadow.
    pub incident_id: Option<IncidentId>,
    /// The run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The detector.
    pub detector: String,
    /// The failure type.
    pub failure_type: String,
    /// How bad it is.
    pub severity: Severity,
    /// The step it is about.
    pub step_index: i64,
    /// 0 to 1.
    pub confidence: f64,
    /// How many signals the run has, where their co-occurrence raised the confidence.
    pub co_signals: Option<i64>,
    /// When it was found.
    pub detected_at: DateTime<Utc>,
    /// Whether its detector was on trial.
    pub shadow: bool,
    /// When it was handed over to be told.
    pub alerted_at: Option<DateTime<Utc>>,
    /// What the detector saw.
    pub evidence: Value,
}

/// What [`Runs::record_judged`] did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RecordedRuns {
    /// Runs whose verdict is new, or was "stalled" and is their end now.
    pub judged: usize,
    /// Signals that are new.
    pub signals: usize,
    /// Incidents that were opened or opened again.
    pub opened: Vec<Incident>,
    /// Incidents that ended.
    pub resolved: Vec<Incident>,
}

/// Agent and version.
pub type AgentVersion = (String, String);

/// What is wanted of the verdicts of runs. An empty filter wants all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SignalFilter {
    /// Only of this agent.
    pub agent_id: Option<String>,
    /// Only of this run.
    pub run_id: Option<String>,
    /// Only of this type.
    pub failure_type: Option<String>,
    /// Only of this severity.
    pub severity: Option<Severity>,
    /// Whether those in shadow are wanted too.
    pub include_shadow: bool,
}

/// How often a failure type was seen among an agent's runs of a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRate {
    /// All judged runs of the agent.
    pub total_runs: i64,
    /// Those with a live signal of the type.
    pub affected_runs: i64,
}

/// The precision of a detector, by what people said about its signals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectorPrecision {
    /// The detector.
    pub detector: String,
    /// Its signals, in shadow or not.
    pub signals: i64,
    /// Those that people said are right.
    pub correct: i64,
    /// Those that people said are wrong.
    pub wrong: i64,
}

impl DetectorPrecision {
    /// The share of the judged signals that are right, 0 to 1; `None` while nobody judged any.
    #[must_use]
    pub fn precision(&self) -> Option<f64> {
        let judged = self.correct + self.wrong;
        (judged > 0).then(|| self.correct as f64 / judged as f64)
    }
}

/// A run detector that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDetector {
    /// Its name.
    pub detector: String,
    /// The type of what it finds.
    pub failure_type: String,
    /// Why.
    pub error: String,
    /// SHA-256 of its file.
    pub file_sha256: String,
    /// Whether it is on trial no longer.
    pub live: bool,
}

/// A run detector that fails, or failed lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectorFailure {
    /// Its name.
    pub detector: String,
    /// Why it failed last.
    pub error: String,
    /// SHA-256 of the file that failed.
    #[serde(skip)]
    pub file_sha256: String,
    /// Whether it is on trial no longer.
    pub live: bool,
    /// Whether it failed when it was run last.
    pub failing: bool,
    /// Since when.
    pub failed_since: DateTime<Utc>,
    /// When it failed last.
    pub last_failed_at: DateTime<Utc>,
    /// Runs that it did not judge since then; none are counted while it is on trial.
    pub runs_not_judged: i64,
}

/// Verdicts about runs.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Up to which event of the log runs were observed; 0 when none was.
    async fn run_watermark(&self, scope: &Scope) -> Result<i64>;

    /// Notes what events up to `seq` say about runs, and moves the watermark, in one step. A run that was judged does not
    /// wait again, unless it was judged as stalled and has ended since.
    async fn observe_runs(&self, scope: &Scope, activity: Vec<RunActivity>, seq: i64) -> Result<()>;

    /// Runs whose verdict is due, at most `limit`: those whose terminal event arrived at or before `settled`, in that
    /// order, then those that were started, have no end and from which nothing arrived after `silent_since`.
    async fn due_runs(
        &self,
        scope: &Scope,
        settled: DateTime<Utc>,
        silent_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<DueRun>>;

    /// Keeps verdicts with their signals, incidents and clean runs, in one transaction, in the order given.
    ///
    /// A run counts once, and each failure type once per run. A live signal opens the incident of its fingerprint, is
    /// one more run of it, or reopens it; every other open incident of the agent has one more clean run, and ends at
    /// `clean_runs_to_resolve`. Doing it again changes nothing. A run that was judged as stalled and has ended since
    /// gets the signals that it did not have; it is not counted as clean again.
    async fn record_judged(
        &self,
        scope: &Scope,
        runs: Vec<JudgedRun>,
        clean_runs_to_resolve: u32,
        now: DateTime<Utc>,
    ) -> Result<RecordedRuns>;

    /// Gives up waiting for runs of which there are no events any more.
    async fn forget_runs(&self, scope: &Scope, run_ids: Vec<String>) -> Result<()>;

    /// The last `limit` completed runs of each agent and version, oldest first.
    async fn completed_runs(
        &self,
        scope: &Scope,
        of: Vec<AgentVersion>,
        limit: u32,
    ) -> Result<HashMap<AgentVersion, Vec<RunFacts>>>;

    /// The newest signal of each of these incidents about runs.
    async fn newest_signals(&self, scope: &Scope, incidents: Vec<IncidentId>)
    -> Result<HashMap<IncidentId, RunSignal>>;

    /// Signals, newest first, and how many there are in all.
    async fn signals(
        &self,
        scope: &Scope,
        filter: &SignalFilter,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<RunSignal>, i64)>;

    /// One signal.
    async fn signal(&self, scope: &Scope, id: i64) -> Result<Option<RunSignal>>;

    /// Live signals that nobody was told of, oldest first.
    async fn unalerted_signals(&self, scope: &Scope, limit: u32) -> Result<Vec<RunSignal>>;

    /// Notes that signals were handed over to be told.
    async fn mark_alerted(&self, scope: &Scope, ids: Vec<i64>, now: DateTime<Utc>) -> Result<()>;

    /// How often a failure type was seen among an agent's runs that were judged since.
    async fn failure_rate(
        &self,
        scope: &Scope,
        agent_id: &str,
        failure_type: &str,
        since: DateTime<Utc>,
    ) -> Result<FailureRate>;

    /// Keeps what a person says about a signal; a later word replaces an earlier one.
    ///
    /// # Errors
    /// `NotFound`.
    async fn give_feedback(
        &self,
        scope: &Scope,
        signal: i64,
        correct: bool,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<()>;

    /// The precision of each detector that found something.
    async fn precision(&self, scope: &Scope) -> Result<Vec<DetectorPrecision>>;

    /// Run detectors that fail or failed lately, by name.
    async fn detector_failures(&self, scope: &Scope) -> Result<Vec<DetectorFailure>>;

    /// Notes that a detector failed. While it does, a run that is kept by [`Runs::record_judged`] was not judged by it where it is
    /// live: that run is remembered, and is no clean run of an incident of its failure type.
    async fn detector_failed(&self, scope: &Scope, failed: FailedDetector, now: DateTime<Utc>) -> Result<()>;

    /// Notes that a detector which had failed judged what was due. What it did not judge before stays remembered.
    async fn detector_worked(&self, scope: &Scope, detector: &str) -> Result<()>;

    /// Forgets that a detector failed. With `judge_again` the runs that it did not judge in the last 24 hours are due once more, at
    /// most 100,000 and none that had stalled; how many.
    async fn end_detector_failure(
        &self,
        scope: &Scope,
        detector: &str,
        judge_again: bool,
        now: DateTime<Utc>,
    ) -> Result<usize>;
}
