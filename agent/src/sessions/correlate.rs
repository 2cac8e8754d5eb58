//! Errors and the actions before them.
//!
//! The rule (facts, Achilles, section 6.2): within the window before an error, the nearest action of an agent, one on the same file
//! before others (0.7, else 0.4); and the nearest action of a person on the same file (0.5). One row per error and rule, so that one
//! error is not counted many times. Takes time linear in the events, however many there are at one moment.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tripline_store::sessions::{
    CorrelationType, EventCorrelation, EventFact, SessionEventType, SessionId, SourceType, derived_id,
};

use super::paths::files_of;

const AGENT_SAME_FILE: f64 = 0.7;
const AGENT: f64 = 0.4;
const HUMAN_SAME_FILE: f64 = 0.5;

/// Actions of one kind that were seen so far.
#[derive(Default)]
struct Seen<'a> {
    /// The last one.
    last: Option<&'a EventFact>,
    /// The last one on each file.
    on_file: HashMap<String, &'a EventFact>,
    /// The times of those within the window.
    recent: VecDeque<DateTime<Utc>>,
}

impl<'a> Seen<'a> {
    fn add(&mut self, event: &'a EventFact) {
        self.last = Some(event);
        for file in files_of(event) {
            self.on_file.insert(file, event);
        }
        self.recent.push_back(event.client_timestamp);
    }

    /// The last action on one of these files, if it is within the window.
    fn nearest_on(&self, files: &[String], since: DateTime<Utc>) -> Option<&'a EventFact> {
        let found = files.iter().filter_map(|file| self.on_file.get(file).copied());
        found.filter(|event| event.client_timestamp >= since).max_by_key(|event| (event.client_timestamp, event.seq))
    }

    fn nearest(&self, since: DateTime<Utc>) -> Option<&'a EventFact> {
        self.last.filter(|event| event.client_timestamp >= since)
    }

    /// How many actions are within the window.
    fn candidates(&mut self, since: DateTime<Utc>) -> usize {
        while self.recent.front().is_some_and(|at| *at < since) {
            self.recent.pop_front();
        }
        self.recent.len()
    }
}

fn is_human_action(event: &EventFact) -> bool {
    use SessionEventType::{Command, FileEdit, HumanAction};
    event.source_type == SourceType::Human && matches!(event.event_type, FileEdit | HumanAction | Command)
}

/// The correlations of a session, the earliest first. `events` are in the order of `(client_timestamp, seq)`, which decides what
/// is before what.
#[must_use]
pub fn correlate_events_for_session(
    session: &SessionId,
    events: &[EventFact],
    window: TimeDelta,
) -> Vec<EventCorrelation> {
    let (mut agents, mut people) = (Seen::default(), Seen::default());
    let mut correlations = Vec::new();
    for event in events {
        if event.is_error() {
            let since = event.client_timestamp - window;
            let files = files_of(event);
            let pair = Pair { session, effect: event, window, files: &files };
            let candidates = agents.candidates(since);
            let same_file = agents.nearest_on(&files, since).map(|cause| (cause, AGENT_SAME_FILE, true));
            let nearest = same_file.or_else(|| agents.nearest(since).map(|cause| (cause, AGENT, false)));
            correlations.extend(nearest.map(|(cause, confidence, file_match)| {
                pair.with(cause, CorrelationType::AgentActionError, confidence, file_match, candidates)
            }));
            let candidates = people.candidates(since);
            correlations.extend(
                people.nearest_on(&files, since).map(|cause| {
                    pair.with(cause, CorrelationType::HumanActionError, HUMAN_SAME_FILE, true, candidates)
                }),
            );
        }
        if event.is_agent_action() {
            agents.add(event);
        } else if is_human_action(event) {
            people.add(event);
        }
    }
    correlations.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    correlations
}

/// An error that an action is looked for.
struct Pair<'a> {
    session: &'a SessionId,
    effect: &'a EventFact,
    window: TimeDelta,
    files: &'a [String],
}

impl Pair<'_> {
    fn with(
        &self,
        cause: &EventFact,
        kind: CorrelationType,
        confidence: f64,
        file_match: bool,
        candidates: usize,
    ) -> EventCorrelation {
        let effect = self.effect;
        let shared = files_of(cause).into_iter().find(|file| self.files.contains(file));
        let key = [cause.id.as_str(), effect.id.as_str(), kind.as_str()];
        EventCorrelation {
            id: derived_id("event_correlations", &key),
            session_id: self.session.clone(),
            cause_event_id: cause.id.clone(),
            effect_event_id: effect.id.clone(),
            correlation_type: kind,
            confidence,
            time_delta_ms: (effect.client_timestamp - cause.client_timestamp).num_milliseconds(),
            file_match,
            metadata: json!({
                "window_ms": self.window.num_milliseconds(),
                "source_name": cause.source_name,
                "file": shared,
                "candidates": candidates,
            }),
            created_at: cause.server_timestamp.max(effect.server_timestamp),
        }
    }
}
