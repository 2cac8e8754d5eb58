//! What people read about runs: agents, verdicts, issues, insights, and the fixes they applied.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use super::{FailureRate, Scope, Window, text_enum};
use crate::Result;

/// An agent, by its judged runs. Signals in shadow are not counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSummary {
    /// The agent.
    pub agent_id: String,
    /// Time of its last event.
    pub last_seen_at: DateTime<Utc>,
    /// Its judged runs.
    pub runs: i64,
    /// Its signals.
    pub signals: i64,
    /// Those that are critical.
    pub critical: i64,
    /// Those that are high.
    pub high: i64,
    /// Signals of the last seven days in UTC, today last; empty when there was none.
    pub sparkline: Vec<i64>,
    /// Signals by failure type.
    pub failure_types: BTreeMap<String, i64>,
}

/// A verdict, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JudgedRunView {
    /// The run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// Time of its first event.
    pub started_at: DateTime<Utc>,
    /// Time of its last event.
    pub ended_at: DateTime<Utc>,
    /// Why it was judged: `completed`, `errored`, `stalled`.
    pub reason: String,
    /// What it said at its end.
    pub exit_reason: Option<String>,
    /// The largest step index.
    pub step_count: i64,
    /// Live signals found in it.
    pub signals: i64,
}

text_enum! {
    /// How an issue stands.
    pub enum IssueStatus ("status") {
        /// Seen, and not gone since.
        Open = "open",
        /// Gone, and seen again.
        Reopened = "reopened",
        /// Gone.
        Resolved = "resolved",
    }
}

/// An incident about runs, as clients of the Dunetrace API know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Issue {
    /// Its number.
    pub id: i64,
    /// The agent.
    pub agent_id: String,
    /// The failure type.
    pub failure_type: String,
    /// How it stands.
    pub status: IssueStatus,
    /// When it was seen first.
    pub first_seen_at: DateTime<Utc>,
    /// When it was seen last.
    pub last_seen_at: DateTime<Utc>,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Runs it was seen in.
    pub affected_runs: i64,
    /// Runs of the agent without it since.
    pub clean_runs_since: i64,
}

/// An input that fails again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputPattern {
    /// Hash of the input.
    pub input_hash: String,
    /// The failure type.
    pub failure_type: String,
    /// Runs with that input and that failure.
    pub triggered: i64,
    /// Runs with that input.
    pub runs: i64,
}

/// Signals of a type and version on one day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignalTrend {
    /// The failure type.
    pub failure_type: String,
    /// The agent's version.
    pub agent_version: String,
    /// The day, UTC.
    pub day: NaiveDate,
    /// Signals.
    pub count: i64,
}

/// A version of an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VersionSummary {
    /// The version.
    pub agent_version: String,
    /// Judged runs.
    pub runs: i64,
    /// Those with a live signal.
    pub runs_with_signals: i64,
    /// Live signals.
    pub signals: i64,
    /// Time of its first event.
    pub first_seen_at: DateTime<Utc>,
    /// Time of its last event.
    pub last_seen_at: DateTime<Utc>,
}

/// Runs of one day, or of one hour of the day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunCount {
    /// The day as a date, or the hour as a number.
    pub at: String,
    /// Judged runs.
    pub runs: i64,
    /// Those of them that are counted beside it (with a live signal, with a tool call).
    pub of_them: i64,
    /// Mean step of the first tool call.
    pub first_tool_step: Option<f64>,
}

/// How often a failure type was seen on a day, or in a week.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TypeRate {
    /// The failure type.
    pub failure_type: String,
    /// The day; `None` for the whole time.
    pub day: Option<NaiveDate>,
    /// How often.
    pub rate: FailureRate,
    /// First and last time.
    pub seen: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

/// What can be learnt of an agent's runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentInsights {
    /// Inputs that were seen twice or more and failed, worst first.
    pub input_patterns: Vec<InputPattern>,
    /// Signals by day, 30 days.
    pub signal_trends: Vec<SignalTrend>,
    /// Versions, newest first.
    pub versions: Vec<VersionSummary>,
    /// Steps of the first tool calls, sorted, with how many runs have theirs there.
    pub first_tool_steps: Vec<(i64, i64)>,
    /// Runs with and without a tool call by day, 14 days.
    pub tool_days: Vec<RunCount>,
    /// Judged runs in all.
    pub runs: i64,
    /// Runs by hour of the day, UTC, 30 days.
    pub hours: Vec<RunCount>,
    /// How often each failure was seen, by day, 30 days: among all judged runs of the day.
    pub failure_rates: Vec<TypeRate>,
    /// How often each failure was seen in 7 days: among all judged runs.
    pub week_rates: Vec<TypeRate>,
}

text_enum! {
    /// How a fix was applied.
    pub enum AppliedVia ("applied_via") {
        /// As a new version of a Langfuse prompt.
        Langfuse = "langfuse",
        /// By hand, from a copied text.
        Clipboard = "clipboard",
    }
}

/// A fix to be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewFix {
    /// The signal it is for.
    pub signal_id: i64,
    /// How it was applied.
    pub applied_via: AppliedVia,
    /// The prompt that got a new version.
    pub prompt_name: Option<String>,
    /// That version.
    pub prompt_version: Option<i64>,
    /// What was added.
    pub fix_content: String,
    /// Who did it.
    pub applied_by: String,
}

/// The newest fix for a signal, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FixStatus {
    /// Its number.
    pub id: i64,
    /// The fix.
    pub fix: NewFix,
    /// When it was applied.
    pub applied_at: DateTime<Utc>,
    /// Judged runs of the agent of which events arrived after it.
    pub runs_after: i64,
    /// Live signals of the same type in those runs.
    pub recurrences: i64,
}

/// A week of all agents.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthDigest {
    /// Judged runs.
    pub runs: i64,
    /// Agents with judged runs.
    pub agents: i64,
    /// Live signals.
    pub signals: i64,
    /// Failure types by affected runs, with all runs.
    pub top_failures: Vec<TypeRate>,
    /// Agent, signals, runs, and its most frequent failure type.
    pub top_agents: Vec<(String, i64, i64, String)>,
    /// Agent and how often a type was seen among its runs.
    pub rates: Vec<(String, TypeRate)>,
    /// Issues that began.
    pub issues_opened: i64,
    /// Issues that ended.
    pub issues_resolved: i64,
}

/// Reading about runs. Rates are always of all judged runs, not only of those in which something was found.
#[async_trait]
pub trait RunReports: Send + Sync {
    /// Agents, last seen first, and how many there are.
    async fn agents(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<AgentSummary>, i64)>;

    /// Judged runs of an agent, last judged first, and how many there are.
    async fn agent_runs(
        &self,
        scope: &Scope,
        agent_id: &str,
        has_signals: Option<bool>,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<JudgedRunView>, i64)>;

    /// One judged run.
    async fn judged_run(&self, scope: &Scope, run_id: &str) -> Result<Option<JudgedRunView>>;

    /// Issues of an agent: open, reopened, resolved, each last seen first.
    async fn issues(&self, scope: &Scope, agent_id: &str, status: Option<IssueStatus>) -> Result<Vec<Issue>>;

    /// What can be learnt of an agent's runs.
    async fn insights(&self, scope: &Scope, agent_id: &str, now: DateTime<Utc>) -> Result<AgentInsights>;

    /// Keeps a fix; its number. A version of a prompt that was published for a signal is one fix, however often it is kept.
    ///
    /// # Errors
    /// `NotFound` when there is no such signal.
    async fn record_fix(&self, scope: &Scope, fix: NewFix, now: DateTime<Utc>) -> Result<i64>;

    /// The newest fix for a signal, and what came of it.
    async fn fix_status(&self, scope: &Scope, signal_id: i64) -> Result<Option<FixStatus>>;

    /// How all agents fared in a week. Weeks with a change of the clock are an hour shorter or longer.
    async fn health_digest(&self, scope: &Scope, week: Window) -> Result<HealthDigest>;
}
