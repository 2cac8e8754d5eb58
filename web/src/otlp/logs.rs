//! Log records as the events of runs.
//!
//! Three kinds of record say something of a run: an event of the Dunetrace wire, as its SDKs write for Loki and a
//! collector passes on (in the body, as text or structured); an external signal; and an evaluation of the GenAI
//! conventions. What records say of a call of a model (`gen_ai.client.inference.operation.details` and its
//! predecessors) its span says as well; without a span it is taken from the record.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tripline_store::ingest::WireEvent;

use super::content::parsed;
use super::decoded::{Flaw, LogRecord, Span};
use super::payloads::{self, Payload};
use super::spans::{AGENT, Mapped, VERSION, dashed, own_id, time_step};

/// Maps the log records of a request to events; those that have nothing to do with agents give none. Also says which
/// are meant to be events and cannot be.
#[must_use]
pub fn map_logs(records: &[LogRecord]) -> (Mapped, Vec<Flaw>) {
    let mut mapped = Mapped::default();
    let mut flaws = Vec::new();
    for record in records {
        match map(record) {
            Ok(events) => events.into_iter().for_each(|event| mapped.push(record.index, event)),
            Err((field, reason)) => flaws.push(Flaw { index: record.index, field, reason }),
        }
    }
    (mapped, flaws)
}

fn map(record: &LogRecord) -> Result<Vec<WireEvent>, (String, String)> {
    let body = parsed(&record.body);
    if let Value::Object(fields) = &*body
        && fields.contains_key("event_type")
        && fields.contains_key("run_id")
    {
        return super::dunetrace::event(fields).map(|event| vec![event]);
    }
    if let Some(payload) = payloads::signal(&record.attributes) {
        return placed(record, "external.signal", "signal", payload).map(|event| vec![event]);
    }
    match event_name(record) {
        "gen_ai.evaluation.result" => {
            placed(record, "external.signal", "evaluation", evaluation(record)).map(|event| vec![event])
        }
        // The call's own span says it, with its duration.
        "gen_ai.client.inference.operation.details" if record.span_id.is_none() => inference(record),
        _ => Ok(Vec::new()),
    }
}

fn event_name(record: &LogRecord) -> &str {
    if record.event_name.is_empty() {
        record.attributes.text(&["event.name"]).unwrap_or_default()
    } else {
        &record.event_name
    }
}

/// An evaluator's verdict: its name, label and score. What it says about them is content, and is not taken.
fn evaluation(record: &LogRecord) -> Payload {
    let attributes = &record.attributes;
    let mut meta = Map::new();
    for (key, name) in [("label", "gen_ai.evaluation.score.label"), ("score", "gen_ai.evaluation.score.value")] {
        if let Some(found) = attributes.get(name) {
            meta.insert(key.to_owned(), found.clone());
        }
    }
    let mut payload = Payload::new();
    payload.insert("signal_name".to_owned(), "gen_ai.evaluation.result".into());
    if let Some(name) = attributes.text(&["gen_ai.evaluation.name"]) {
        payload.insert("source".to_owned(), name.into());
    }
    payload.insert("meta".to_owned(), Value::Object(meta));
    payload
}

/// A call of a model that no span tells of: it and its answer, at one time.
fn inference(record: &LogRecord) -> Result<Vec<WireEvent>, (String, String)> {
    let span = Span {
        index: record.index,
        trace_id: record.trace_id.unwrap_or_default(),
        span_id: [0; 8],
        parent: None,
        remote_parent: false,
        name: String::new(),
        start: record.at,
        end: record.at,
        attributes: record.attributes.clone(),
        resource: std::sync::Arc::clone(&record.resource),
        events: Vec::new(),
        failed: record.attributes.has("error.type"),
        status_message: String::new(),
    };
    let mut answer = payloads::llm_responded(&span);
    // A record tells no duration.
    answer.remove("latency_ms");
    Ok(vec![
        placed(record, "llm.called", "called", payloads::llm_called(&span))?,
        placed(record, "llm.responded", "responded", answer)?,
    ])
}

/// An event of the run that the record names, else of its trace's.
fn placed(record: &LogRecord, event_type: &str, part: &str, payload: Payload) -> Result<WireEvent, (String, String)> {
    let own = |names: &[&str]| own_id(&record.attributes, &record.resource, names);
    let trace = record.trace_id.map(hex::encode);
    let named = own(&["dunetrace.run_id", "tripline.run_id"]);
    // As with spans: the SDK's runs have its trace's id with dashes. The name of a signal alone may come from anybody.
    let of_sdk = ["dunetrace.step_index", "dunetrace.agent_id"].iter().any(|name| record.attributes.has(name));
    let of_trace = |trace: &String| if of_sdk { dashed(trace) } else { trace.clone() };
    let run_id = named.or_else(|| trace.as_ref().map(of_trace)).ok_or_else(|| {
        (
            "traceId".to_owned(),
            "nothing says to which run it belongs: neither it nor tripline.run_id is there".to_owned(),
        )
    })?;
    let service = |name: &str| own_id(&record.resource, &record.resource, &[name]);
    let span = record.span_id.map(hex::encode).unwrap_or_default();
    Ok(WireEvent {
        event_type: event_type.to_owned(),
        agent_id: own(&AGENT).or_else(|| service("service.name")).unwrap_or_else(|| "unknown".to_owned()),
        agent_version: own(&VERSION).or_else(|| service("service.version")).unwrap_or_else(|| "unknown".to_owned()),
        step_index: time_step(record.at),
        timestamp: (record.at != 0).then_some(record.at as f64 / 1e9),
        parent_run_id: None,
        conversation_id: own(&["gen_ai.conversation.id", "session.id"]),
        event_id: (record.at != 0).then(|| {
            // Two records of one span and time are told apart by what they say.
            let said = serde_json::json!([payload, own(&["gen_ai.response.id"])]).to_string();
            let said: String = hex::encode(Sha256::digest(said)).chars().take(16).collect();
            format!("otel-log:{}:{span}:{}:{part}:{said}", trace.as_deref().unwrap_or_default(), record.at)
        }),
        payload,
        trace_id: trace,
        run_id,
    })
}
