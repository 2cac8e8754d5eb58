//! The rows that are derived: clusters, correlations, performance, insights. Every time in them follows from the events, so
//! that deriving them again gives the same bytes.

use super::{SessionEventId, SessionId};
use crate::model::text_enum;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

text_enum! {
    /// What kind of error a text is about.
    pub enum ErrorType ("error_type") {
        /// A test failed.
        TestFailure = "test_failure",
        /// The code cannot be read or compiled.
        Compiler = "compiler",
        /// A value is of another type.
        TypeError = "type_error",
        /// A module is not there.
        Import = "import",
        /// Somebody else did not answer.
        Network = "network",
        /// It is not allowed.
        Permission = "permission",
        /// There is not enough memory.
        Memory = "memory",
        /// A linter complains.
        Lint = "lint",
        /// It does not build.
        Build = "build",
        /// It broke off while running.
        Runtime = "runtime",
        /// None of these.
        Unknown = "unknown",
    }
}

text_enum! {
    /// Which rule related two events.
    pub enum CorrelationType ("correlation_type") {
        /// An error after an action of an agent.
        AgentActionError = "agent_action_error",
        /// An error after an action of a person on the same file.
        HumanActionError = "human_action_error",
    }
}

text_enum! {
    /// How much an insight matters. Ordered: `Info < Low < Medium < High < Critical`.
    pub enum InsightSeverity ("severity") {
        /// Worth knowing.
        Info = "info",
        /// Perhaps.
        Low = "low",
        /// Look at it today.
        Medium = "medium",
        /// Look at it now.
        High = "high",
        /// Stop.
        Critical = "critical",
    }
}

text_enum! {
    /// What an insight is about.
    pub enum InsightCategory ("category") {
        /// Many of the events are errors.
        HighErrorDensity = "high_error_density",
        /// Errors follow the actions of an agent.
        AgentInducedError = "agent_induced_error",
        /// An agent breaks and mends again and again (the seed's "agent churn").
        BreakFixLoop = "break_fix_loop",
    }
}

text_enum! {
    /// How thoroughly a session is looked at.
    pub enum AnalysisMode ("mode") {
        /// The newest events, while it goes on.
        Light = "light",
        /// All of it.
        Deep = "deep",
    }
}

/// Errors of one session that say the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorCluster {
    /// Follows from session, type and text.
    pub id: String,
    /// The session.
    pub session_id: SessionId,
    /// The text without what differs from time to time.
    pub normalized_error: String,
    /// What kind of error it is.
    pub error_type: ErrorType,
    /// Its first event.
    pub representative_event_id: SessionEventId,
    /// How many events there are.
    pub occurrence_count: i64,
    /// When the last of them happened.
    pub last_seen_at: DateTime<Utc>,
    /// `first_seen_at`, `event_ids` (at most 100).
    pub metadata: Value,
    /// When the first of its events arrived.
    pub created_at: DateTime<Utc>,
    /// When the last of its events arrived.
    pub updated_at: DateTime<Utc>,
}

/// An error and the action before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventCorrelation {
    /// Follows from the two events and the type.
    pub id: String,
    /// The session.
    pub session_id: SessionId,
    /// The action.
    pub cause_event_id: SessionEventId,
    /// The error.
    pub effect_event_id: SessionEventId,
    /// The rule.
    pub correlation_type: CorrelationType,
    /// How likely the one caused the other, 0 to 1.
    pub confidence: f64,
    /// Milliseconds between them.
    pub time_delta_ms: i64,
    /// Whether both are about the same file.
    pub file_match: bool,
    /// The rule's window, the agent, the file, how many other actions came into question.
    pub metadata: Value,
    /// When the later of the two arrived.
    pub created_at: DateTime<Utc>,
}

/// What an agent did in a session, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentPerformance {
    /// Follows from session, agent and version of the figures.
    pub id: String,
    /// The agent.
    pub agent_id: String,
    /// The session.
    pub session_id: SessionId,
    /// What it did.
    pub total_actions: i64,
    /// Of these, those without an error: `max(0, total - induced)`.
    pub successful_actions: i64,
    /// Errors that followed its actions.
    pub induced_error_count: i64,
    /// Actions after which a person edited the same file.
    pub override_count: i64,
    /// `(total - induced) / total`, 0 to 1; `None` without actions.
    pub success_rate: Option<f64>,
    /// `induced / total`; `None` without actions.
    pub induced_error_rate: Option<f64>,
    /// `overrides / total`; `None` without actions.
    pub override_rate: Option<f64>,
    /// How the figures were made.
    pub metrics_version: String,
    /// `low_success_rate`, or nothing.
    pub regression_flags: Vec<String>,
    /// When the last of its events arrived.
    pub created_at: DateTime<Utc>,
}

/// What somebody should know of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Insight {
    /// Follows from session and key.
    pub id: String,
    /// The session.
    pub session_id: SessionId,
    /// The agent it is about, if it is about one.
    pub agent_id: Option<String>,
    /// How much it matters.
    pub severity: InsightSeverity,
    /// What it is about.
    pub category: InsightCategory,
    /// One line.
    pub title: String,
    /// One sentence with its figures.
    pub message: String,
    /// Evidence, and who found it: `provider`, `model`, `mode`.
    pub payload: Value,
    /// What makes two insights of a session the same.
    pub insight_key: String,
    /// When the last event it rests on arrived.
    pub created_at: DateTime<Utc>,
}

/// The figures of a session.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Events.
    pub event_count: i64,
    /// Events of agents.
    pub agent_activity_score: f64,
    /// Events of people.
    pub human_activity_score: f64,
    /// Errors per 100 events; 0 without events.
    pub error_density: f64,
}

/// All that the processing worker derives of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionAnalytics {
    /// Errors that say the same.
    pub clusters: Vec<ErrorCluster>,
    /// Errors and the actions before them.
    pub correlations: Vec<EventCorrelation>,
    /// The figures.
    pub summary: SessionSummary,
}

/// All that the monitoring agent derives of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionEvaluation {
    /// How thoroughly it was looked at.
    pub mode: AnalysisMode,
    /// What somebody should know.
    pub insights: Vec<Insight>,
    /// The agents in figures; only of a deep analysis.
    pub performance: Vec<AgentPerformance>,
    /// The whole in short; only of a deep analysis.
    pub report: Option<Value>,
}
