//! Events: immutable ingested records.

use super::Scope;
use crate::Result;
use crate::canonical::{canonical_json, sha256_hex};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An event to keep. The caller has validated it and taken raw content out of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// The sender's id of it, if it has one.
    pub event_id: Option<String>,
    /// The run it belongs to.
    pub run_id: Option<String>,
    /// The agent that ran.
    pub agent_id: Option<String>,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// What happened.
    pub event_type: String,
    /// When it happened, by the sender's clock.
    pub at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// All the rest.
    pub payload: Value,
}

impl NewEvent {
    /// SHA-256 (lower-case hex) of the canonical form: everything but `received_at`.
    pub fn sha256(&self) -> String {
        sha256_hex(canonical_json(&json!({
            "event_id": self.event_id,
            "run_id": self.run_id,
            "agent_id": self.agent_id,
            "session_id": self.session_id,
            "event_type": self.event_type,
            "at": self.at.timestamp_micros(),
            "payload": self.payload,
        })))
    }
}

/// A kept event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// 1, 2, 3 … in the order of arrival, over all projects.
    pub seq: i64,
    /// The event.
    #[serde(flatten)]
    pub event: NewEvent,
    /// Its [`NewEvent::sha256`].
    pub sha256: String,
}

/// What became of one event of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Appended {
    /// It is kept now.
    Stored,
    /// One with its event id, or its very content, is kept already.
    Duplicate,
}

/// The ingested events: inserted once, never changed, never removed.
#[async_trait]
pub trait Events: Send + Sync {
    /// Keeps a batch, in one transaction: all of it is on disk when this returns. One answer per event, in order.
    ///
    /// Two events are the same when their event ids are; without ids, when their [`NewEvent::sha256`] is.
    async fn append_events(&self, scope: &Scope, events: Vec<NewEvent>) -> Result<Vec<Appended>>;

    /// The events of a run, by time.
    async fn of_run(&self, scope: &Scope, run_id: &str) -> Result<Vec<Event>>;
}
