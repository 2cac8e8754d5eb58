//! What is sent: the events of a run, in the wire form of the Dunetrace SDKs.
//!
//! Must hold: no event holds content; hashes and lengths are made before an event is.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::injection::InjectionSignal;

/// What all events of a run have in common.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) run_id: String,
    pub(crate) agent_id: String,
    pub(crate) agent_version: String,
    pub(crate) parent_run_id: Option<String>,
    /// Tells the events of this run from those of any other that was given the same id.
    pub(crate) nonce: u64,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) run: Arc<Identity>,
    /// Steps so far: a call and its answer share one.
    pub(crate) step: u32,
    /// Number of the event within its run.
    pub(crate) number: u32,
    /// Unix seconds.
    pub(crate) at: f64,
    pub(crate) payload: Payload,
}

/// What happened. The order of the fields is that of the Python SDK's.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum Payload {
    Started {
        input_hash: String,
        model: String,
        tools: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        injection_signal: Option<InjectionSignal>,
    },
    Completed {
        total_steps: u32,
        exit_reason: &'static str,
        tool_call_count: u32,
    },
    Errored {
        error_type: String,
        error_hash: String,
        step_index: u32,
    },
    LlmCalled {
        model: String,
        prompt_tokens: u64,
    },
    LlmResponded {
        completion_tokens: u64,
        latency_ms: u64,
        finish_reason: String,
        output_hash: String,
        output_length: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_tokens: Option<u64>,
    },
    ToolCalled {
        tool_name: String,
        args_hash: String,
    },
    ToolResponded {
        tool_name: String,
        success: bool,
        output_length: u64,
        latency_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_hash: Option<String>,
    },
    RetrievalCalled {
        index_name: String,
        query_hash: String,
    },
    RetrievalResponded {
        index_name: String,
        result_count: u64,
        top_score: Option<f64>,
        latency_ms: u64,
    },
    Signal {
        signal_name: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        source: String,
        #[serde(skip_serializing_if = "Map::is_empty")]
        meta: Map<String, Value>,
    },
}

impl Payload {
    pub(crate) fn event_type(&self) -> &'static str {
        match self {
            Self::Started { .. } => "run.started",
            Self::Completed { .. } => "run.completed",
            Self::Errored { .. } => "run.errored",
            Self::LlmCalled { .. } => "llm.called",
            Self::LlmResponded { .. } => "llm.responded",
            Self::ToolCalled { .. } => "tool.called",
            Self::ToolResponded { .. } => "tool.responded",
            Self::RetrievalCalled { .. } => "retrieval.called",
            Self::RetrievalResponded { .. } => "retrieval.responded",
            Self::Signal { .. } => "external.signal",
        }
    }

    pub(crate) fn ends_run(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Errored { .. })
    }
}

impl Event {
    /// The parent run, which the last event of a run does not name.
    pub(crate) fn parent_run_id(&self) -> Option<&str> {
        if self.payload.ends_run() { None } else { self.run.parent_run_id.as_deref() }
    }
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Wire<'a> {
            event_type: &'static str,
            run_id: &'a str,
            agent_id: &'a str,
            agent_version: &'a str,
            step_index: u32,
            timestamp: f64,
            payload: &'a Payload,
            parent_run_id: Option<&'a str>,
            event_id: String,
        }
        Wire {
            event_type: self.payload.event_type(),
            run_id: &self.run.run_id,
            agent_id: &self.run.agent_id,
            agent_version: &self.run.agent_version,
            step_index: self.step,
            timestamp: self.at,
            payload: &self.payload,
            parent_run_id: self.parent_run_id(),
            event_id: format!("{:016x}-{}", self.run.nonce, self.number),
        }
        .serialize(serializer)
    }
}

/// A batch as `POST /v1/ingest` takes it. The key travels in a header.
#[derive(Serialize)]
pub(crate) struct Batch<'a> {
    pub(crate) agent_id: &'a str,
    pub(crate) events: &'a [Box<Event>],
}

/// A line for Loki: the form of the Python SDK's `emit_as_json`, and the event's id.
pub(crate) fn loki_line(event: &Event) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        ts: String,
        level: &'static str,
        logger: &'static str,
        event_type: &'static str,
        agent_id: &'a str,
        run_id: &'a str,
        agent_version: &'a str,
        step_index: u32,
        payload: &'a Payload,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent_run_id: Option<&'a str>,
    }
    serde_json::to_string(&Line {
        ts: rfc3339_micros(event.at),
        level: "info",
        logger: "dunetrace",
        event_type: event.payload.event_type(),
        agent_id: &event.run.agent_id,
        run_id: &event.run.run_id,
        agent_version: &event.run.agent_version,
        step_index: event.step,
        payload: &event.payload,
        parent_run_id: event.parent_run_id(),
    })
}

/// Unix seconds as `2026-01-31T12:00:00.123456Z`.
fn rfc3339_micros(at: f64) -> String {
    // Times before 1970 or past any calendar are clamped: a wrong clock shall not lose the event.
    let micros = (at * 1e6).round().clamp(0.0, 253_402_300_799e6) as u64;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The date of a day since 1970, by counting in eras of 400 years that begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_python_writes_it() {
        for (at, text) in [
            (0.0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400.5, "2000-02-29T00:00:00.500000Z"),
            (1_795_219_315.531_703, "2026-11-21T00:01:55.531703Z"),
            (4_107_542_399.0, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400.0, "2100-03-01T00:00:00.000000Z"),
            (-5.0, "1970-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(rfc3339_micros(at), text);
        }
    }

    #[test]
    fn the_last_event_names_no_parent_and_the_others_do() {
        let run = Arc::new(Identity {
            run_id: "r".to_owned(),
            agent_id: "a".to_owned(),
            agent_version: "v".to_owned(),
            parent_run_id: Some("p".to_owned()),
            nonce: 255,
        });
        let event = |payload| Event { run: Arc::clone(&run), step: 2, number: 7, at: 1.5, payload };
        let called = event(Payload::LlmCalled { model: "m".to_owned(), prompt_tokens: 3 });
        assert_eq!(
            serde_json::to_string(&called).unwrap(),
            r#"{"event_type":"llm.called","run_id":"r","agent_id":"a","agent_version":"v","step_index":2,"timestamp":1.5,"payload":{"model":"m","prompt_tokens":3},"parent_run_id":"p","event_id":"00000000000000ff-7"}"#
        );
        let ended = event(Payload::Completed { total_steps: 2, exit_reason: "completed", tool_call_count: 0 });
        assert!(serde_json::to_value(&ended).unwrap()["parent_run_id"].is_null());
        assert_eq!(
            loki_line(&ended).unwrap(),
            r#"{"ts":"1970-01-01T00:00:01.500000Z","level":"info","logger":"dunetrace","event_type":"run.completed","agent_id":"a","run_id":"r","agent_version":"v","step_index":2,"payload":{"total_steps":2,"exit_reason":"completed","tool_call_count":0}}"#
        );
    }
}
