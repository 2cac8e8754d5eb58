//! The rows that are sent: sessions and their events.

use super::{SessionEventId, SessionId};
use crate::model::text_enum;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

text_enum! {
    /// Whether a session is still going on.
    pub enum SessionStatus ("status") {
        /// Events may come.
        Active = "active",
        /// It was ended; only events from before its end may still come.
        Ended = "ended",
    }
}

text_enum! {
    /// Who or what made an event. `tool` and `ci` are read as `system`.
    pub enum SourceType ("source_type") {
        /// A person.
        Human = "human",
        /// An agent; its name is the event's `source_name`.
        Agent = "agent",
        /// A tool, a build, a continuous integration.
        System = "system",
    }
}

text_enum! {
    /// What an event is.
    pub enum SessionEventType ("event_type") {
        /// An agent did something.
        AgentAction = "agent_action",
        /// A person did something.
        HumanAction = "human_action",
        /// A file was edited.
        FileEdit = "file_edit",
        /// A file was saved.
        FileSave = "file_save",
        /// A command was run.
        Command = "command",
        /// Tests were run; `payload.status` says how they ended.
        TestRun = "test_run",
        /// Something was built; `payload.status` says how it ended.
        Build = "build",
        /// A commit was made.
        GitCommit = "git_commit",
        /// An error was seen.
        Error = "error",
        /// A line of a log or terminal.
        Log = "log",
        /// Anything else.
        Custom = "custom",
    }
}

/// A session to begin. Made by [`super::validate::start`].
#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    /// The sender's own id for it, if it has one.
    pub id: Option<SessionId>,
    /// The sender's key for it: beginning again with it gives the same session.
    pub external_session_key: Option<String>,
    /// Whose session it is.
    pub user_id: String,
    /// In which workspace.
    pub workspace_id: String,
    /// When it began, by the sender's clock.
    pub start_time: DateTime<Utc>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// How the agent or editor was configured, without secrets.
    pub config_snapshot: Map<String, Value>,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The sender's key for it.
    pub external_session_key: Option<String>,
    /// Whose session it is.
    pub user_id: String,
    /// In which workspace.
    pub workspace_id: String,
    /// When it began, by the sender's clock.
    pub start_time: DateTime<Utc>,
    /// When it ended, by the sender's clock.
    pub end_time: Option<DateTime<Utc>>,
    /// Whether it still goes on.
    pub status: SessionStatus,
    /// Events that are kept of it.
    pub event_count: i64,
    /// Events of agents.
    pub agent_activity_score: f64,
    /// Events of people.
    pub human_activity_score: f64,
    /// Errors per 100 events.
    pub error_density: f64,
    /// Reserved: always an empty object.
    pub milestone_breakdown: Map<String, Value>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// How the agent or editor was configured, without secrets.
    pub config_snapshot: Map<String, Value>,
    /// Whether events came since clusters, correlations and summary were derived (the seed's `needs_processing`).
    pub requires_processing: bool,
    /// When they were derived last.
    pub last_processed_at: Option<DateTime<Utc>>,
    /// Whether it has ended, is processed, and waits for its deep analysis.
    pub ready_for_deep: bool,
    /// When it was analysed deeply.
    pub deep_processed_at: Option<DateTime<Utc>>,
    /// What the deep analysis found, in short.
    pub session_report: Option<Value>,
    /// When it was made here.
    pub created_at: DateTime<Utc>,
    /// When anything of it changed last.
    pub updated_at: DateTime<Utc>,
    /// How many batches and ends it has seen; what is derived says from which of these states.
    #[serde(skip_serializing, default)]
    pub revision: i64,
    /// The state that clusters, correlations and summary are of.
    #[serde(skip_serializing, default)]
    pub processed_revision: i64,
}

/// An event to keep. Made by [`super::validate::event`]: checked, without secrets and raw content, hashed.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSessionEvent {
    /// The sender's own id for it, if it has one.
    pub id: Option<SessionEventId>,
    /// The session it belongs to.
    pub session_id: SessionId,
    /// What it is.
    pub event_type: SessionEventType,
    /// Who or what made it.
    pub source_type: SourceType,
    /// Their name; of an agent its id.
    pub source_name: Option<String>,
    /// The file it is about.
    pub file_path: Option<String>,
    /// The folder that paths are relative to.
    pub project_root: Option<String>,
    /// The language of the file.
    pub language: Option<String>,
    /// All the rest, without raw content.
    pub payload: Map<String, Value>,
    /// The text of an error, without secrets.
    pub raw_message: Option<String>,
    /// Who says who made it.
    pub attribution_source: Option<String>,
    /// How sure they are, 0 to 1.
    pub attribution_confidence: Option<f64>,
    /// When it happened, by the sender's clock.
    pub client_timestamp: DateTime<Utc>,
    /// What else the sender knows of it.
    pub metadata: Map<String, Value>,
    /// [`super::hash::event_hash`] of it.
    pub event_hash: String,
}

/// A kept event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Its id.
    pub id: SessionEventId,
    /// The session it belongs to.
    pub session_id: SessionId,
    /// What it is.
    pub event_type: SessionEventType,
    /// Who or what made it.
    pub source_type: SourceType,
    /// Their name; of an agent its id.
    pub source_name: Option<String>,
    /// The file it is about.
    pub file_path: Option<String>,
    /// The folder that paths are relative to.
    pub project_root: Option<String>,
    /// The language of the file.
    pub language: Option<String>,
    /// All the rest, without raw content.
    pub payload: Map<String, Value>,
    /// The text of an error, without secrets.
    pub raw_message: Option<String>,
    /// Who says who made it.
    pub attribution_source: Option<String>,
    /// How sure they are, 0 to 1.
    pub attribution_confidence: Option<f64>,
    /// When it happened, by the sender's clock.
    pub client_timestamp: DateTime<Utc>,
    /// When it arrived.
    pub server_timestamp: DateTime<Utc>,
    /// SHA-256 of what tells it from other events, timestamps left out.
    pub event_hash: String,
    /// What else the sender knows of it.
    pub metadata: Map<String, Value>,
    /// When it was stored: the same as `server_timestamp`.
    pub created_at: DateTime<Utc>,
}

/// Longest error text that is looked at, in bytes: the beginning and the end of a longer one, because an exception's own words are
/// its first line or its last.
pub const ERROR_TEXT: usize = 2048;

/// What the analyses look at: an event without what they do not need.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFact {
    /// Number in the order of arrival.
    pub seq: i64,
    /// Its id.
    pub id: SessionEventId,
    /// What it is.
    pub event_type: SessionEventType,
    /// Who or what made it.
    pub source_type: SourceType,
    /// Their name; of an agent its id.
    pub source_name: Option<String>,
    /// The file it is about.
    pub file_path: Option<String>,
    /// The folder that paths are relative to.
    pub project_root: Option<String>,
    /// `payload.status` of test runs and builds.
    pub status: Option<String>,
    /// The text of an error event, at most [`ERROR_TEXT`] bytes; `None` for an event that is no error.
    pub error_text: Option<String>,
    /// When it happened, by the sender's clock.
    pub client_timestamp: DateTime<Utc>,
    /// When it arrived.
    pub server_timestamp: DateTime<Utc>,
}

impl EventFact {
    /// Whether it is an error: an `error`, or a test run or build whose `payload.status` is `failed` or `error`.
    pub fn is_error(&self) -> bool {
        self.error_text.is_some()
    }

    /// Whether it is something that an agent did.
    pub fn is_agent_action(&self) -> bool {
        self.event_type == SessionEventType::AgentAction && self.source_type == SourceType::Agent
    }
}

/// `payload.status` of an event whose kind has one.
pub fn status_of(event_type: SessionEventType, payload: &Map<String, Value>) -> Option<&str> {
    match event_type {
        SessionEventType::TestRun | SessionEventType::Build => payload.get("status")?.as_str(),
        _ => None,
    }
}

/// Whether an event is an error: an `error`, or a test run or build whose `payload.status` is `failed` or `error`.
pub(super) fn is_error(event_type: SessionEventType, payload: &Map<String, Value>) -> bool {
    let failed = |status: &str| ["failed", "error"].contains(&status);
    event_type == SessionEventType::Error || status_of(event_type, payload).is_some_and(failed)
}

/// What the payload of an error, as it was sent, says: `message`, else `error` (or its `message`).
pub(super) fn said_in_payload(event_type: SessionEventType, payload: &Map<String, Value>) -> Option<&str> {
    let field = |key: &str| match payload.get(key)? {
        Value::String(text) => Some(text.as_str()),
        Value::Object(fields) => fields.get("message")?.as_str(),
        _ => None,
    };
    let said = |text: &&str| !text.trim().is_empty();
    let text = field("message").filter(said).or_else(|| field("error").filter(said));
    text.filter(|_| is_error(event_type, payload))
}

/// The text of an error, if a kept event is one: its `raw_message` (which is `payload.message` or `payload.error` as it was sent,
/// where there was none), else its kind and status.
pub fn error_text(
    event_type: SessionEventType,
    payload: &Map<String, Value>,
    raw_message: Option<&str>,
) -> Option<String> {
    if !is_error(event_type, payload) {
        return None;
    }
    Some(match (raw_message.filter(|text| !text.trim().is_empty()), status_of(event_type, payload)) {
        (Some(text), _) => shortened(text, ERROR_TEXT),
        (None, Some(status)) => format!("{event_type}:{status}"),
        (None, None) => event_type.to_string(),
    })
}

/// A text of at most `most` bytes: a longer one without its middle.
fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut head = most / 2;
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    let mut tail = text.len() - (most / 2 - 1);
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    format!("{}\n{}", &text[..head], &text[tail..])
}
