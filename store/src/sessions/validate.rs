//! From what was sent to what can be kept: each field is checked once, and a refusal names it.
//!
//! Owns the rules of sessions and events (facts, Achilles, section 4) and their limits. Must hold: nothing here panics,
//! whatever was sent; a refusal says which field and what is allowed, and repeats nothing of a value but a known word.

use super::hash::{Hashed, event_hash};
use super::model::{is_error, said_in_payload};
use super::{NewSession, NewSessionEvent, SessionEventId, SessionEventType, SessionId, SourceType};
use crate::content::{self, Content};
use crate::{Result, StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Bytes of one event as it is sent.
const MAX_EVENT: usize = 256 * 1024;
/// Bytes of an error text.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Bytes of a payload, a metadata, a configuration.
pub const MAX_OBJECT: usize = 64 * 1024;
/// How deep a payload may be nested.
const MAX_DEPTH: usize = 32;
const MAX_PATH: usize = 4096;
const MAX_NAME: usize = 256;
const MAX_LANGUAGE: usize = 64;
const MAX_TAGS: usize = 100;

/// How far a sender's clock may be ahead.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// No session is older than this: a smaller time is a mistaken unit.
const EARLIEST: i64 = 946_684_800;

/// What is wrong with one item of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The field.
    pub field: String,
    /// What is wrong with it, and what is allowed.
    pub reason: String,
}

/// Why one item is refused: the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }

    /// As the rejection of an item of a batch.
    pub fn at(self, index: usize) -> Rejection {
        Rejection { index, field: self.field, reason: self.reason }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid { field, reason } => Self::new(field, reason),
            other => Self::new("event", other.to_string()),
        }
    }
}

/// How a session is named: by its id or by the sender's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionRef {
    /// By id.
    Id(SessionId),
    /// By the sender's key.
    Key(String),
}

impl SessionRef {
    /// Reads the two fields that may name a session; the id counts when both are there.
    ///
    /// # Errors
    /// `Invalid` when neither is there, or the id is no UUID.
    pub fn new(session_id: Option<&str>, external_session_key: Option<&str>) -> Result<Self> {
        match (session_id, external_session_key.map(str::trim).filter(|key| !key.is_empty())) {
            (Some(id), _) => Ok(Self::Id(id.parse()?)),
            (None, Some(key)) => Ok(Self::Key(key.to_owned())),
            (None, None) => Err(StoreError::invalid("session_id", "is missing; external_session_key would do as well")),
        }
    }
}

impl std::fmt::Display for SessionRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Key(key) => key.fmt(f),
        }
    }
}

/// A session as it is sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartBody {
    /// The sender's own id for it, a UUID.
    #[serde(alias = "id")]
    pub session_id: Option<String>,
    /// The sender's key for it.
    pub external_session_key: Option<String>,
    /// Whose it is.
    pub user_id: String,
    /// In which workspace.
    pub workspace_id: String,
    /// When it began; now, when it is missing.
    pub start_time: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// How the agent or editor is configured.
    pub config_snapshot: Option<Map<String, Value>>,
}

/// Checks a session (the seed's `validate_session`).
///
/// # Errors
/// `Invalid` naming the field.
pub fn start(body: StartBody, now: DateTime<Utc>) -> Result<NewSession> {
    let id = body.session_id.as_deref().map(str::parse).transpose()?;
    let key = body.external_session_key.filter(|key| !key.trim().is_empty());
    for (field, text) in [
        ("user_id", Some(&body.user_id)),
        ("workspace_id", Some(&body.workspace_id)),
        ("external_session_key", key.as_ref()),
    ] {
        let Some(text) = text else { continue };
        if text.trim().is_empty() {
            return Err(StoreError::invalid(field, "must not be empty"));
        }
        check_text(text, MAX_NAME).map_err(|reason| StoreError::invalid(field, reason))?;
    }
    let start_time = match body.start_time.as_deref() {
        Some(text) => time(text, now).map_err(|reason| StoreError::invalid("start_time", reason))?,
        None => now,
    };
    if body.tags.len() > MAX_TAGS {
        return Err(StoreError::invalid("tags", format!("there are {} of at most {MAX_TAGS}", body.tags.len())));
    }
    for tag in &body.tags {
        check_text(tag, MAX_NAME).map_err(|reason| StoreError::invalid("tags", reason))?;
    }
    let mut config_snapshot = body.config_snapshot.unwrap_or_default();
    check_object(&config_snapshot).map_err(|reason| StoreError::invalid("config_snapshot", reason))?;
    content::strip(&mut config_snapshot, Content::Goes);
    Ok(NewSession {
        id,
        external_session_key: key,
        user_id: body.user_id,
        workspace_id: body.workspace_id,
        start_time,
        tags: body.tags,
        config_snapshot,
    })
}

/// Checks the end of a session that began at `start`; `None` ends it now.
///
/// # Errors
/// `Invalid` for a time that cannot be read, is ahead of now, or is before the start.
pub fn end(end_time: Option<&str>, start: DateTime<Utc>, now: DateTime<Utc>) -> Result<DateTime<Utc>> {
    let Some(text) = end_time else { return Ok(now.max(start)) };
    let at = time(text, now).map_err(|reason| StoreError::invalid("end_time", reason))?;
    if at < start {
        return Err(StoreError::invalid("end_time", format!("is before the start of the session, {start}")));
    }
    Ok(at)
}

/// An event as it is sent. What the server makes itself (`server_timestamp`, `event_hash`, `created_at`) may be there and is not
/// looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EventBody {
    id: Option<Value>,
    session_id: Option<Value>,
    event_type: Option<Value>,
    source_type: Option<Value>,
    source_name: Option<Value>,
    file_path: Option<Value>,
    project_root: Option<Value>,
    language: Option<Value>,
    payload: Option<Value>,
    raw_message: Option<Value>,
    attribution_source: Option<Value>,
    attribution_confidence: Option<Value>,
    #[serde(alias = "timestamp")]
    client_timestamp: Option<Value>,
    metadata: Option<Value>,
    #[serde(rename = "server_timestamp")]
    _server_timestamp: serde::de::IgnoredAny,
    #[serde(rename = "event_hash")]
    _event_hash: serde::de::IgnoredAny,
    #[serde(rename = "created_at")]
    _created_at: serde::de::IgnoredAny,
}

/// Checks one event of a batch (the seed's `validate_event`), takes secrets and raw content out, and hashes it.
///
/// `session` is the batch's own; without it each event names its session.
///
/// # Errors
/// A [`Refusal`] naming the first field that is wrong.
pub fn event(raw: &RawValue, session: Option<&SessionId>, now: DateTime<Utc>) -> Result<NewSessionEvent, Refusal> {
    if raw.get().len() > MAX_EVENT {
        return Err(Refusal::new("event", format!("is larger than {MAX_EVENT} bytes")));
    }
    if !raw.get().starts_with('{') {
        return Err(Refusal::new("event", "is no object"));
    }
    let body: EventBody = serde_json::from_str(raw.get()).map_err(|error| unreadable(&error))?;
    let session_id = session_of(body.session_id, session)?;
    let event_type: SessionEventType = word("event_type", body.event_type)?.parse().map_err(Refusal::from)?;
    let source_type = source_type(&word("source_type", body.source_type)?)?;
    let source_name = text("source_name", body.source_name, MAX_NAME)?;
    if source_type == SourceType::Agent && source_name.is_none() {
        return Err(Refusal::new("source_name", "is missing; an event of an agent names the agent"));
    }
    let client_timestamp = match body.client_timestamp {
        Some(Value::String(text)) => time(&text, now).map_err(|reason| Refusal::new("client_timestamp", reason))?,
        Some(Value::Null) | None => return Err(Refusal::new("client_timestamp", "is missing")),
        Some(_) => return Err(Refusal::new("client_timestamp", NO_TIME)),
    };
    let id = match text("id", body.id, MAX_NAME)? {
        Some(id) => Some(id.parse::<SessionEventId>()?),
        None => None,
    };
    let mut payload = object("payload", body.payload)?;
    check_status(event_type, &mut payload)?;
    let mut metadata = object("metadata", body.metadata)?;
    let raw_message = match body.raw_message {
        Some(Value::String(text)) if text.len() > MAX_MESSAGE => {
            return Err(Refusal::new("raw_message", format!("is longer than {MAX_MESSAGE} bytes")));
        }
        Some(Value::String(text)) => Some(text),
        Some(Value::Null) | None => None,
        Some(_) => return Err(Refusal::new("raw_message", "is no text")),
    };
    // An error's words are kept in one place, wherever the sender put them. What is no error has its words hashed like any other.
    let raw_message = raw_message.or_else(|| said_in_payload(event_type, &payload).map(str::to_owned));
    let raw_message = match raw_message {
        Some(text) if is_error(event_type, &payload) => Some(crate::redact::without_secrets(&text)),
        Some(text) if !text.trim().is_empty() => {
            payload.insert("raw_message".to_owned(), Value::from(text));
            None
        }
        _ => None,
    };
    content::strip(&mut payload, Content::Goes);
    content::strip(&mut metadata, Content::Goes);
    let attribution_confidence = confidence(body.attribution_confidence)?;
    let file_path = text("file_path", body.file_path, MAX_PATH)?;
    let event_hash = event_hash(&Hashed {
        session_id: &session_id,
        event_type,
        source_type,
        source_name: source_name.as_deref(),
        file_path: file_path.as_deref(),
        payload: &payload,
        raw_message: raw_message.as_deref(),
    });
    Ok(NewSessionEvent {
        id,
        session_id,
        event_type,
        source_type,
        source_name,
        file_path,
        project_root: text("project_root", body.project_root, MAX_PATH)?,
        language: text("language", body.language, MAX_LANGUAGE)?,
        payload,
        raw_message,
        attribution_source: text("attribution_source", body.attribution_source, MAX_NAME)?,
        attribution_confidence,
        client_timestamp,
        metadata,
        event_hash,
    })
}

/// What serde says, with the field where it names one.
fn unreadable(error: &serde_json::Error) -> Refusal {
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(what, _)| what);
    let unknown = said.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    if let Some((field, _)) = unknown {
        let field: String = field.chars().filter(|c| !c.is_control()).take(64).collect();
        return Refusal::new(&field, "there is no such field; put what is your own into payload or metadata");
    }
    let duplicate = said.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`'));
    if let Some((field, _)) = duplicate {
        return Refusal::new(field, "occurs twice");
    }
    Refusal::new("event", format!("cannot be read: {said}"))
}

fn session_of(own: Option<Value>, batch: Option<&SessionId>) -> Result<SessionId, Refusal> {
    let own = match own {
        Some(Value::String(text)) => Some(text.parse::<SessionId>()?),
        Some(Value::Null) | None => None,
        Some(_) => return Err(Refusal::new("session_id", "is no UUID")),
    };
    match (own, batch) {
        (Some(own), Some(batch)) if own != *batch => {
            Err(Refusal::new("session_id", "is another session than the batch's"))
        }
        (Some(own), _) => Ok(own),
        (None, Some(batch)) => Ok(batch.clone()),
        (None, None) => Err(Refusal::new("session_id", "is missing, in the event and in the batch")),
    }
}

fn word(field: &'static str, value: Option<Value>) -> Result<String, Refusal> {
    match value {
        Some(Value::String(word)) if word.len() <= MAX_NAME => Ok(word),
        Some(Value::Null) | None => Err(Refusal::new(field, "is missing")),
        Some(_) => Err(Refusal::new(field, "is none of the known words")),
    }
}

/// How a test run or a build ended is one of three words, in capitals or not; any other would be no error in silence.
fn check_status(event_type: SessionEventType, payload: &mut Map<String, Value>) -> Result<(), Refusal> {
    if !matches!(event_type, SessionEventType::TestRun | SessionEventType::Build) {
        return Ok(());
    }
    let status = match payload.get_mut("status") {
        Some(Value::String(status)) => status,
        Some(Value::Null) | None => return Ok(()),
        Some(_) => return Err(Refusal::new("payload.status", "is no text; it is `passed`, `failed` or `error`")),
    };
    let word = status.trim().to_ascii_lowercase();
    if !["passed", "failed", "error"].contains(&word.as_str()) {
        return Err(Refusal::new("payload.status", "is none of `passed`, `failed` and `error`"));
    }
    *status = word;
    Ok(())
}

fn source_type(word: &str) -> Result<SourceType, Refusal> {
    match word {
        "tool" | "ci" => Ok(SourceType::System),
        word => Ok(word.parse()?),
    }
}

/// An optional text; an empty one is none. Control characters are refused: these are names, not content.
fn text(field: &'static str, value: Option<Value>, most: usize) -> Result<Option<String>, Refusal> {
    let text = match value {
        Some(Value::String(text)) => text,
        Some(Value::Null) | None => return Ok(None),
        Some(_) => return Err(Refusal::new(field, "is no text")),
    };
    check_text(&text, most).map_err(|reason| Refusal::new(field, reason))?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

fn check_text(text: &str, most: usize) -> Result<(), String> {
    if text.len() > most {
        return Err(format!("is longer than {most} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("has control characters".to_owned());
    }
    Ok(())
}

fn object(field: &'static str, value: Option<Value>) -> Result<Map<String, Value>, Refusal> {
    let fields = match value {
        Some(Value::Object(fields)) => fields,
        Some(Value::Null) | None => return Ok(Map::new()),
        Some(_) => return Err(Refusal::new(field, "is no object")),
    };
    check_object(&fields).map_err(|reason| Refusal::new(field, reason))?;
    Ok(fields)
}

fn check_object(fields: &Map<String, Value>) -> Result<(), String> {
    if fields.values().any(|value| !is_shallow(value, MAX_DEPTH - 1)) {
        return Err(format!("is nested deeper than {MAX_DEPTH}"));
    }
    match serde_json::to_string(fields) {
        Ok(text) if text.len() <= MAX_OBJECT => Ok(()),
        Ok(_) => Err(format!("is larger than {MAX_OBJECT} bytes")),
        Err(_) => Err("cannot be written as JSON".to_owned()),
    }
}

fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| is_shallow(item, left - 1)),
        Value::Object(fields) => left > 0 && fields.values().all(|field| is_shallow(field, left - 1)),
        _ => true,
    }
}

fn confidence(value: Option<Value>) -> Result<Option<f64>, Refusal> {
    let field = "attribution_confidence";
    let number = match value {
        Some(Value::Null) | None => return Ok(None),
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    match number {
        Some(number) if (0.0..=1.0).contains(&number) => Ok(Some(number)),
        _ => Err(Refusal::new(field, "is no number from 0 to 1")),
    }
}

const NO_TIME: &str = "is no time with a zone, such as 2026-01-31T12:00:00Z";

/// A sender's time: RFC 3339 with a zone, not before the year 2000, at most five minutes ahead; to the microsecond.
fn time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let at = DateTime::parse_from_rfc3339(text.trim()).map_err(|_| NO_TIME.to_owned())?.to_utc();
    if at.timestamp() < EARLIEST {
        return Err("is before the year 2000".to_owned());
    }
    if at > now + AHEAD {
        return Err("is more than five minutes ahead of the server's clock".to_owned());
    }
    DateTime::from_timestamp_micros(at.timestamp_micros()).ok_or_else(|| NO_TIME.to_owned())
}
