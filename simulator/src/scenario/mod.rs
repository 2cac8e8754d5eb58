//! The bundled histories: nine days of an invented shop, healthy or with incidents in its last ten
//! hours.
//!
//! Owns: which scenarios there are, their truth, and putting one history together.
//! Does not own: serving it. What it makes is an ordinary dataset, as `--data` loads it.
//! Must hold: the same scenarios, anchor and seed give the same bytes; every time is relative to
//! the anchor; an incident is visible to its own detector and to no other (seed 003's five classes).

mod background;
mod company;
mod effects;
mod emit;
mod incidents;
mod noise;
mod plan;
mod random;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error;

use crate::dataset::Dataset;
use crate::time;

use plan::Plan;

/// The seed of the history that the documentation speaks of.
pub const DEFAULT_SEED: u64 = 20_261_120;

/// The end of a history unless options say otherwise: 2026-11-20T18:00:00Z.
pub fn default_anchor() -> DateTime<Utc> {
    time::parse("2026-11-20T18:00:00Z").map_or_else(DateTime::<Utc>::default, time::to_datetime)
}

/// A bundled history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scenario {
    /// A feature's output limit is raised ninefold: its hourly cost is about six times its mean.
    CostSpike,
    /// A retry without backoff: errors and retried generations rise together.
    ErrorCascade,
    /// A feature's JSON answers lose the keys their readers expect; the culprit's message has no
    /// prompt-like word.
    PromptDrift,
    /// The same, with a culprit whose message says "prompt" and "template".
    PromptDriftWorded,
    /// One trace of 24 generations within minutes.
    AgentLoop,
    /// A tool that always returned JSON returns next to nothing, without any error.
    SilentToolFailure,
    /// A healthy week: seasonality, harmless deploys, ordinary noise, a batch job.
    Quiet,
}

impl Scenario {
    /// The five incidents that "all" stands for, in the order they happen.
    pub const ALL: [Scenario; 5] = [
        Scenario::SilentToolFailure,
        Scenario::PromptDrift,
        Scenario::AgentLoop,
        Scenario::CostSpike,
        Scenario::ErrorCascade,
    ];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::CostSpike => "cost_spike",
            Scenario::ErrorCascade => "error_cascade",
            Scenario::PromptDrift => "prompt_drift",
            Scenario::PromptDriftWorded => "prompt_drift_worded",
            Scenario::AgentLoop => "agent_loop",
            Scenario::SilentToolFailure => "silent_tool_failure",
            Scenario::Quiet => "quiet",
        }
    }

    /// The scenarios a name stands for: one, or all five for `all`.
    ///
    /// # Errors
    /// When there is no such name.
    pub fn set(name: &str) -> Result<Vec<Scenario>, UnknownScenario> {
        if name == "all" {
            return Ok(Scenario::ALL.to_vec());
        }
        name.parse().map(|scenario| vec![scenario])
    }

    /// Makes one history that holds all of `scenarios`, and says what is true in it.
    pub fn generate(scenarios: &[Scenario], anchor: DateTime<Utc>, seed: u64) -> (Dataset, Truth) {
        let mut plan = Plan::new(anchor.timestamp_micros(), seed);
        incidents::plan(&mut plan, scenarios);
        noise::plan(&mut plan);
        background::plan(&mut plan);
        incidents::close(&mut plan);
        plan.finish()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no scenario has.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "unknown scenario {name:?}; hint: cost_spike, error_cascade, prompt_drift, prompt_drift_worded, agent_loop, \
     silent_tool_failure, quiet, or all"
)]
pub struct UnknownScenario {
    name: String,
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [
            Scenario::CostSpike,
            Scenario::ErrorCascade,
            Scenario::PromptDrift,
            Scenario::PromptDriftWorded,
            Scenario::AgentLoop,
            Scenario::SilentToolFailure,
            Scenario::Quiet,
        ];
        all.into_iter()
            .find(|scenario| scenario.name() == text)
            .ok_or_else(|| UnknownScenario { name: text.to_owned() })
    }
}

/// A class of failure (seed 003, "the problem space").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Hourly cost above its mean.
    CostSpike,
    /// Errors and generations rising together.
    ErrorCascade,
    /// Outputs that no longer have the expected shape.
    PromptDrift,
    /// Many generations of one trace.
    AgentLoop,
    /// A tool that fails without an error.
    SilentToolFailure,
}

/// What really happened in one incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// Its class.
    pub class: FailureClass,
    /// The feature, trace id or tool it is about.
    pub entity: String,
    /// When it began.
    pub starts_at: DateTime<Utc>,
    /// When it ended.
    pub ends_at: DateTime<Utc>,
    /// The commit that caused it.
    pub culprit_sha: Option<String>,
    /// When that commit was deployed.
    pub deployed_at: Option<DateTime<Utc>>,
}

/// What is true in a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// When the history begins.
    pub starts_at: DateTime<Utc>,
    /// When it ends.
    pub anchor: DateTime<Utc>,
    /// GitHub owner of the repository.
    pub owner: String,
    /// GitHub repository.
    pub repo: String,
    /// Sentry organisation.
    pub sentry_org: String,
    /// Sentry projects.
    pub sentry_projects: Vec<String>,
    /// Slack channels that people talk about incidents in, by name.
    pub slack_channels: Vec<String>,
    /// Slack ids of people on call, who may approve.
    pub approvers: Vec<String>,
    /// The incidents, in the order they began.
    pub incidents: Vec<Incident>,
}
