//! The figures of a session.

use tripline_store::sessions::{EventFact, SessionSummary, SourceType};

/// Errors per 100 events; 0 without events.
#[must_use]
pub fn error_density(events: &[EventFact]) -> f64 {
    if events.is_empty() {
        return 0.0;
    }
    let errors = events.iter().filter(|event| event.is_error()).count();
    100.0 * errors as f64 / events.len() as f64
}

/// Counts the events of a session (facts, Achilles, section 6.3).
#[must_use]
pub fn compute_session_summary(events: &[EventFact]) -> SessionSummary {
    let of = |source| events.iter().filter(|event| event.source_type == source).count() as f64;
    SessionSummary {
        event_count: i64::try_from(events.len()).unwrap_or(i64::MAX),
        agent_activity_score: of(SourceType::Agent),
        human_activity_score: of(SourceType::Human),
        error_density: error_density(events),
    }
}
