//! Events of the Dunetrace wire as JSON objects: single ones, and the lines that its SDKs write for Loki.

use chrono::DateTime;
use serde_json::{Map, Value};
use tripline_store::ingest::WireEvent;

/// Reads an event. Unknown fields are passed over; whether its values will do the store decides.
///
/// # Errors
/// A field that has another type than it must have, and which type that is.
pub fn event(fields: &Map<String, Value>) -> Result<WireEvent, (String, String)> {
    Ok(WireEvent {
        event_type: text(fields, "event_type")?.unwrap_or_default(),
        run_id: text(fields, "run_id")?.unwrap_or_default(),
        agent_id: text(fields, "agent_id")?.unwrap_or_default(),
        agent_version: text(fields, "agent_version")?.unwrap_or_default(),
        step_index: match fields.get("step_index") {
            Some(step) => step.as_i64().ok_or_else(|| flaw("step_index", "it must be a whole number"))?,
            None => return Err(flaw("step_index", "it is missing")),
        },
        timestamp: timestamp(fields)?,
        payload: match fields.get("payload") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(payload)) => payload.clone(),
            Some(_) => return Err(flaw("payload", "it must be an object")),
        },
        parent_run_id: text(fields, "parent_run_id")?,
        trace_id: text(fields, "trace_id")?,
        conversation_id: text(fields, "conversation_id")?,
        event_id: text(fields, "event_id")?,
    })
}

fn flaw(field: &str, reason: &str) -> (String, String) {
    (field.to_owned(), reason.to_owned())
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<Option<String>, (String, String)> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(flaw(field, "it must be a text")),
    }
}

/// Seconds in `timestamp`, or the time in `ts` of a line for Loki.
fn timestamp(fields: &Map<String, Value>) -> Result<Option<f64>, (String, String)> {
    match (fields.get("timestamp"), fields.get("ts")) {
        (Some(Value::Null) | None, Some(Value::String(ts))) => {
            let at = DateTime::parse_from_rfc3339(ts).map_err(|_| flaw("ts", "it must be a time as in RFC 3339"))?;
            Ok(Some(at.timestamp_micros() as f64 / 1e6))
        }
        (Some(Value::Null) | None, _) => Ok(None),
        (Some(seconds), _) => {
            seconds.as_f64().map(Some).ok_or_else(|| flaw("timestamp", "it must be a number: seconds since 1970"))
        }
    }
}
