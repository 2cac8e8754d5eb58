//! Batches of the session wire: events of one working session of an agent or developer, which has been begun already.

use chrono::{DateTime, Utc};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use tripline_agent::sessions::SessionRules;
use tripline_store::ingest::{Receipt, Rejection};
use tripline_store::sessions::{EventOutcome, SessionRef, validate};
use tripline_store::{Scope, SqliteStore, StoreError};

use crate::failure::Failure;

/// Events, and bytes of them, of one request to a server at most. The server takes 1,000 events and 8 MiB.
const MOST: usize = 1_000;
const MOST_BYTES: usize = 4 << 20;

/// Cuts a batch into requests of as many events and bytes as the server takes, with the place of each one's first event.
pub(super) fn requests(batch: &Map<String, Value>) -> Vec<(usize, Value)> {
    let events = batch.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut requests = Vec::new();
    let (mut first, mut bytes) = (0, 0);
    let mut cut = |first: usize, end: usize| {
        let mut request = batch.clone();
        let some = events.get(first..end).unwrap_or_default();
        request.insert("events".to_owned(), Value::Array(some.to_vec()));
        requests.push((first, Value::Object(request)));
    };
    for (index, event) in events.iter().enumerate() {
        let length = event.to_string().len() + 1;
        // One that is too large by itself goes alone: the server says so, and the others are kept.
        if index > first && (index - first >= MOST || bytes + length > MOST_BYTES) {
            cut(first, index);
            (first, bytes) = (index, 0);
        }
        bytes += length;
    }
    if first < events.len() {
        cut(first, events.len());
    }
    requests
}

/// Keeps a batch in the store of this home.
pub(super) async fn keep(
    store: &SqliteStore,
    rules: &SessionRules,
    batch: &Map<String, Value>,
    now: DateTime<Utc>,
) -> Result<Receipt, Failure> {
    let (store, scope) = (store.store(), Scope::default_project());
    let events = batch.get("events").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let refused = |field: &str, reason: String| {
        let all = (0..events.len()).map(|index| Rejection { index, field: field.to_owned(), reason: reason.clone() });
        Receipt { rejected: all.collect(), ..Receipt::default() }
    };
    let text = |name: &str| batch.get(name).and_then(Value::as_str);
    let session = match (text("session_id"), text("external_session_key")) {
        (None, None) => None,
        (id, key) => {
            let named = match SessionRef::new(id, key) {
                Ok(named) => named,
                Err(StoreError::Invalid { field, reason }) => return Ok(refused(field, reason)),
                Err(error) => return Err(error.into()),
            };
            match store.sessions.find(&scope, &named).await? {
                Some(session) => Some(session.id),
                None => {
                    let reason = format!("there is no session {named}: begin it with `tripline session start`");
                    return Ok(refused("session_id", reason));
                }
            }
        }
    };
    let mut receipt = Receipt::default();
    let refuse =
        |index: usize, refusal: validate::Refusal| Rejection { index, field: refusal.field, reason: refusal.reason };
    let (mut places, mut fit) = (Vec::new(), Vec::new());
    for (index, event) in events.iter().enumerate() {
        let raw = to_raw_value(event).map_err(Failure::display)?;
        match validate::event(&raw, session.as_ref(), now) {
            Ok(event) => {
                places.push(index);
                fit.push(event);
            }
            Err(refusal) => receipt.rejected.push(refuse(index, refusal)),
        }
    }
    let outcomes =
        if fit.is_empty() { Vec::new() } else { store.sessions.append(&scope, fit, rules.dedupe, now).await? };
    for (index, outcome) in places.into_iter().zip(outcomes) {
        match outcome {
            EventOutcome::Ingested => receipt.accepted += 1,
            EventOutcome::Duplicate => receipt.duplicates += 1,
            EventOutcome::Refused(refusal) | EventOutcome::Ended(refusal) => {
                receipt.rejected.push(refuse(index, refusal));
            }
        }
    }
    receipt.rejected.sort_by_key(|rejection| rejection.index);
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sizes(batch: Value) -> Vec<(usize, usize)> {
        let batch = batch.as_object().unwrap().clone();
        requests(&batch).iter().map(|(first, body)| (*first, body["events"].as_array().unwrap().len())).collect()
    }

    #[test]
    fn a_batch_is_cut_by_events_and_by_bytes_and_loses_none() {
        let small: Vec<Value> = (0..2_500).map(|n| json!({"n": n})).collect();
        assert_eq!(sizes(json!({"session_id": "s", "events": small})), [(0, 1_000), (1_000, 1_000), (2_000, 500)]);
        let large: Vec<Value> = (0..7).map(|_| json!({"text": "x".repeat(1 << 20)})).collect();
        assert_eq!(sizes(json!({"events": large})), [(0, 3), (3, 3), (6, 1)]);
        let huge = vec![json!(1), json!("x".repeat(5 << 20)), json!(2)];
        assert_eq!(sizes(json!({"events": huge})), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(sizes(json!({"events": []})), []);
    }
}
