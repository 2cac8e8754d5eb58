//! Events for tests: a small language for runs, and batches of them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_store::ingest::events_schema;

/// An event on its way into a batch.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) run_id: String,
    pub(super) agent_id: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) step: i64,
    pub(super) at: i64,
    pub(super) received_at: i64,
    pub(super) payload: Value,
}

/// A batch of events; the first has number `seq`.
pub(super) fn batch(events: &[Event], seq: i64) -> RecordBatch {
    let text = |of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
        Arc::new(events.iter().map(of).collect::<StringArray>())
    };
    let none = || text(&|_| None);
    let time = |of: fn(&Event) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(of)).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values((0_i64..).take(events.len()).map(|index| seq + index))),
        none(),
        text(&|e| Some(e.run_id.clone())),
        text(&|e| Some(e.agent_id.clone())),
        text(&|e| Some(e.version.clone())),
        none(),
        none(),
        none(),
        none(),
        text(&|e| Some(e.kind.clone())),
        Arc::new(Int64Array::from_iter_values(events.iter().map(|e| e.step))),
        time(|e| e.at),
        time(|e| e.received_at),
        text(&|e| Some(e.payload.to_string())),
        text(&|_| Some(String::new())),
    ];
    RecordBatch::try_new(events_schema(), columns).unwrap()
}

/// A run in the making: each call adds an event half a second after the one before.
#[derive(Debug, Clone)]
pub(super) struct Script {
    run_id: String,
    agent_id: String,
    version: String,
    at: DateTime<Utc>,
    step: i64,
    pub(super) events: Vec<Event>,
}

impl Script {
    pub(super) fn new(run_id: &str, at: DateTime<Utc>) -> Self {
        let script = Self {
            run_id: run_id.to_owned(),
            agent_id: "agent".to_owned(),
            version: "v1".to_owned(),
            at,
            step: 0,
            events: Vec::new(),
        };
        script.event("run.started", json!({"input_hash": "ab", "model": "m", "tools": ["search", "db"]}))
    }

    pub(super) fn of(mut self, agent: &str) -> Self {
        agent.clone_into(&mut self.agent_id);
        for event in &mut self.events {
            agent.clone_into(&mut event.agent_id);
        }
        self
    }

    pub(super) fn event(mut self, kind: &str, payload: Value) -> Self {
        if kind.ends_with(".called") {
            self.step += 1;
        }
        let at = self.at.timestamp_micros();
        self.events.push(Event {
            run_id: self.run_id.clone(),
            agent_id: self.agent_id.clone(),
            version: self.version.clone(),
            kind: kind.to_owned(),
            step: self.step,
            at,
            received_at: at,
            payload,
        });
        self.at += TimeDelta::milliseconds(500);
        self
    }

    pub(super) fn wait(mut self, time: TimeDelta) -> Self {
        self.at += time;
        self
    }

    pub(super) fn tool(self, name: &str, success: bool) -> Self {
        let called = json!({"tool_name": name, "args_hash": "same"});
        self.event("tool.called", called)
            .event("tool.responded", json!({"tool_name": name, "success": success, "error_hash": if success { Value::Null } else { json!("e") }}))
    }

    pub(super) fn think(self, prompt_tokens: i64) -> Self {
        self.event("llm.called", json!({"model": "m", "prompt_tokens": prompt_tokens}))
            .event("llm.responded", json!({"finish_reason": "stop", "output_length": 10, "completion_tokens": 3}))
    }

    pub(super) fn end(self, reason: &str) -> Vec<Event> {
        match reason {
            "error" => self.event("run.errored", json!({"error_type": "Boom", "error_hash": "b"})).events,
            _ => self.event("run.completed", json!({"exit_reason": reason})).events,
        }
    }
}
