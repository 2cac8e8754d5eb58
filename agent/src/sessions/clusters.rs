//! Errors of a session that say the same.

use std::collections::BTreeMap;

use serde_json::json;
use tripline_store::sessions::{ErrorCluster, ErrorType, EventFact, SessionId, derived_id};

use super::normalise::{error_type, normalised};

/// Events that a cluster lists at most.
const LISTED: usize = 100;

/// The clusters of a session, the earliest first. `events` are in the order of `(client_timestamp, seq)`.
#[must_use]
pub fn cluster_errors_for_session(session: &SessionId, events: &[EventFact]) -> Vec<ErrorCluster> {
    let mut groups: BTreeMap<(ErrorType, String), Vec<&EventFact>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.is_error()) {
        let text = normalised(event.error_text.as_deref().unwrap_or_default());
        groups.entry((error_type(event), text)).or_default().push(event);
    }
    let mut clusters: Vec<ErrorCluster> =
        groups.into_iter().filter_map(|((kind, text), events)| cluster(session, kind, text, &events)).collect();
    clusters.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    clusters
}

fn cluster(session: &SessionId, kind: ErrorType, text: String, events: &[&EventFact]) -> Option<ErrorCluster> {
    let (first, last) = (events.first()?, events.last()?);
    let listed: Vec<&str> = events.iter().take(LISTED).map(|event| event.id.as_str()).collect();
    Some(ErrorCluster {
        id: derived_id("error_clusters", &[session.as_str(), kind.as_str(), &text]),
        session_id: session.clone(),
        normalized_error: text,
        error_type: kind,
        representative_event_id: first.id.clone(),
        occurrence_count: i64::try_from(events.len()).unwrap_or(i64::MAX),
        last_seen_at: last.client_timestamp,
        metadata: json!({"first_seen_at": first.client_timestamp, "event_ids": listed}),
        created_at: events.iter().map(|event| event.server_timestamp).min()?,
        updated_at: events.iter().map(|event| event.server_timestamp).max()?,
    })
}
