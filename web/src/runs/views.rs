//! What is shown of verdicts and signals.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tripline_agent::runs::explain::severity_name;
use tripline_agent::runs::{Fix, explain_signal};
use tripline_store::{JudgedRunView, RunSignal};

/// Seconds since 1970.
pub(super) fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_micros() as f64 / 1e6
}

/// A ratio with so many digits.
pub(super) fn ratio(part: i64, of: i64, digits: usize) -> f64 {
    if of <= 0 {
        return 0.0;
    }
    let share = part as f64 / of as f64;
    format!("{share:.digits$}").parse().unwrap_or(share)
}

/// A judged run, as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct RunView {
    pub(super) run_id: String,
    pub(super) agent_id: String,
    pub(super) agent_version: String,
    pub(super) started_at: f64,
    /// Time of the last event.
    pub(super) completed_at: f64,
    /// `completed`, `errored` or `stalled`.
    pub(super) exit_reason: String,
    pub(super) step_count: i64,
    pub(super) signal_count: i64,
    pub(super) has_signals: bool,
}

impl From<JudgedRunView> for RunView {
    fn from(run: JudgedRunView) -> Self {
        Self {
            started_at: seconds(run.started_at),
            completed_at: seconds(run.ended_at),
            exit_reason: run.reason,
            step_count: run.step_count,
            signal_count: run.signals,
            has_signals: run.signals > 0,
            run_id: run.run_id,
            agent_id: run.agent_id,
            agent_version: run.agent_version,
        }
    }
}

/// A signal with its explanation.
#[derive(Debug, Serialize)]
pub(super) struct SignalView {
    id: i64,
    failure_type: String,
    severity: &'static str,
    step_index: i64,
    confidence: f64,
    co_signal_count: i64,
    detected_at: f64,
    evidence: Value,
    title: String,
    what: String,
    why_it_matters: String,
    evidence_summary: String,
    suggested_fixes: Vec<Fix>,
    run_id: String,
    agent_id: String,
    agent_version: String,
    alerted: bool,
    shadow: bool,
}

impl From<RunSignal> for SignalView {
    fn from(signal: RunSignal) -> Self {
        let explanation = explain_signal(&signal, None);
        Self {
            id: signal.id,
            severity: severity_name(signal.severity),
            step_index: signal.step_index,
            confidence: signal.confidence,
            co_signal_count: signal.co_signals.unwrap_or(0),
            detected_at: seconds(signal.detected_at),
            title: explanation.title,
            what: explanation.what,
            why_it_matters: explanation.why_it_matters,
            evidence_summary: explanation.evidence_summary,
            suggested_fixes: explanation.suggested_fixes,
            alerted: signal.alerted_at.is_some(),
            shadow: signal.shadow,
            failure_type: signal.failure_type,
            run_id: signal.run_id,
            agent_id: signal.agent_id,
            agent_version: signal.agent_version,
            evidence: signal.evidence,
        }
    }
}
