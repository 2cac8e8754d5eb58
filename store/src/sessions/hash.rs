//! What an event is, as a hash: two events with one hash say the same.

use super::{SessionEventType, SessionId, SourceType};
use crate::canonical::{canonical_json, sha256_hex};
use serde_json::{Map, Value, json};

/// What the hash is taken over.
#[derive(Debug, Clone, Copy)]
pub struct Hashed<'a> {
    /// The session.
    pub session_id: &'a SessionId,
    /// What it is.
    pub event_type: SessionEventType,
    /// Who or what made it.
    pub source_type: SourceType,
    /// Their name.
    pub source_name: Option<&'a str>,
    /// The file.
    pub file_path: Option<&'a str>,
    /// The payload as it is kept.
    pub payload: &'a Map<String, Value>,
    /// The error text as it is kept.
    pub raw_message: Option<&'a str>,
}

/// SHA-256 (lower-case hex) of the canonical form ([`canonical_json`]) of an event: absent fields are null, the order of
/// keys does not matter.
///
/// Ids, times, metadata, project, language and attribution are left out (facts, Achilles, section 4): only then can a
/// repetition be one that was sent a moment later. It is taken over what is kept, after secrets and raw content were taken out,
/// so that it tells nothing about them and anyone can take it again from the row.
pub fn event_hash(event: &Hashed<'_>) -> String {
    sha256_hex(canonical_json(&json!({
        "session_id": event.session_id,
        "event_type": event.event_type,
        "source_type": event.source_type,
        "source_name": event.source_name,
        "file_path": event.file_path,
        "payload": event.payload,
        "raw_message": event.raw_message,
    })))
}
