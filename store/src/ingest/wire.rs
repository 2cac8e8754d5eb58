//! One event as it arrives, decoded from whatever wire, and what the door answers.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Every event type that is taken: those of the Dunetrace SDKs up to 0.5.7 (facts/dunetrace.md §1.2).
///
/// Types that the run builder does not know are kept and skipped there.
pub const EVENT_TYPES: &[&str] = &[
    "run.started",
    "run.completed",
    "run.errored",
    "llm.called",
    "llm.responded",
    "tool.called",
    "tool.responded",
    "retrieval.called",
    "retrieval.responded",
    "external.signal",
    "policy.triggered",
    "policy.evaluated",
    "transcription.received",
    "tts.generated",
    "voice_activity.detected",
    "turn_taking.changed",
    "recording.available",
    "approval.requested",
    "approval.granted",
    "approval.denied",
    "approval.timeout",
    "memory.written",
    "memory.read",
    "memory.cleared",
];

/// One event as it arrives.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WireEvent {
    /// What happened, one of [`EVENT_TYPES`].
    pub event_type: String,
    /// The run it belongs to; not empty.
    pub run_id: String,
    /// The agent that ran; not empty.
    pub agent_id: String,
    /// The version of the agent; not empty.
    pub agent_version: String,
    /// The step of the run, 0 or more. A call and its response share one.
    pub step_index: i64,
    /// When it happened, seconds since 1970 by the sender's clock; `None`: when it arrived.
    pub timestamp: Option<f64>,
    /// All the rest. Raw content in it is replaced by hashes before anything is stored.
    pub payload: Map<String, Value>,
    /// The run that started this one.
    pub parent_run_id: Option<String>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// The conversation it belongs to.
    pub conversation_id: Option<String>,
    /// The sender's id of the event: two events with one id are one event.
    pub event_id: Option<String>,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Events of it that are kept now, on disk.
    pub accepted: usize,
    /// Events of it that were kept already.
    pub duplicates: usize,
    /// Events of it that cannot be kept, in order.
    pub rejected: Vec<Rejection>,
}

/// Why one event of a batch cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The field that is wrong (`payload.tools` for one inside); empty when it is the event as a whole.
    pub field: String,
    /// What is wrong with it. Never repeats a value of the payload.
    pub reason: String,
}
