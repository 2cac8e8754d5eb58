//! The Dunetrace SDK's own spans are the same run as its events, where its reference vectors lie beside the repository.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};
use tripline_store::ingest::WireEvent;

use super::{outline, pairs, run};
use crate::otlp::{decode_json_spans, dunetrace, map_spans};

fn vector(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/dunetrace").join(name);
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        eprintln!("skipped: there is no shared/vectors/dunetrace/{name} beside the repository");
    }
    text
}

/// Reads the lines that the SDK wrote for Loki, by run.
fn lines() -> Option<BTreeMap<String, Vec<WireEvent>>> {
    let mut runs: BTreeMap<String, Vec<WireEvent>> = BTreeMap::new();
    for line in vector("loki_0.3.9.ndjson")?.lines() {
        let fields: Map<String, Value> = serde_json::from_str(line).unwrap();
        let event = dunetrace::event(&fields).unwrap();
        runs.entry(event.run_id.clone()).or_default().push(event);
    }
    Some(runs)
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64 * 1000
}

/// The spans of the vector as OTLP. The vector has no times: they are those of the events.
fn spans(runs: &BTreeMap<String, Vec<WireEvent>>) -> Option<Vec<Value>> {
    let spans: Vec<Value> = serde_json::from_str(&vector("otel_spans_0.3.9.json")?).unwrap();
    let hex = |value: &Value| value.as_str().unwrap().trim_start_matches("0x").to_owned();
    let made = spans.iter().map(|span| {
        let trace = hex(&span["context"]["trace_id"]);
        let events = runs.iter().find(|(id, _)| id.replace('-', "") == trace).unwrap().1;
        let step = span["attributes"]["dunetrace.step_index"].as_i64();
        let of_step: Vec<&WireEvent> = match step {
            Some(step) => events
                .iter()
                .filter(|event| event.step_index == step && !event.event_type.starts_with("run."))
                .collect(),
            None => events.iter().collect(),
        };
        let (start, end) = (of_step[0].timestamp.unwrap(), of_step[of_step.len() - 1].timestamp.unwrap());
        let failed = span["status"]["status_code"] == "ERROR";
        let events = span["events"].as_array().unwrap().iter().map(|event| {
            let at = chrono::DateTime::parse_from_rfc3339(event["timestamp"].as_str().unwrap()).unwrap();
            json!({"name": event["name"], "timeUnixNano": at.timestamp_nanos_opt().unwrap().to_string(),
                   "attributes": pairs(event["attributes"].as_object().unwrap())})
        });
        json!({
            "traceId": trace, "spanId": hex(&span["context"]["span_id"]), "parentSpanId": hex(&span["parent_id"]),
            "name": span["name"], "kind": 1, "startTimeUnixNano": nanos(start).to_string(),
            "endTimeUnixNano": nanos(end).to_string(), "attributes": pairs(span["attributes"].as_object().unwrap()),
            "events": events.collect::<Vec<_>>(),
            "status": {"code": if failed { 2 } else { 0 }, "message": span["status"]["description"]},
        })
    });
    Some(made.collect())
}

fn mapped(spans: &[Value]) -> Vec<WireEvent> {
    let request = json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]});
    let decoded = decode_json_spans(request.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.flaws, []);
    map_spans(&decoded.items).events
}

#[test]
fn spans_of_the_sdk_are_the_same_run_as_its_events() {
    let Some(lines) = lines() else { return };
    let Some(spans) = spans(&lines) else { return };
    let events = mapped(&spans);
    let mut compared = 0;
    for (id, wire) in &lines {
        let ours = run(events.iter().filter(|event| event.run_id == *id).cloned().collect());
        assert_eq!(outline(&ours), outline(wire), "run {id}");
        for (ours, wire) in ours.iter().zip(wire) {
            assert_eq!((&ours.agent_id, &ours.agent_version), (&wire.agent_id, &wire.agent_version));
            assert!((ours.timestamp.unwrap() - wire.timestamp.unwrap()).abs() < 1e-6, "{ours:?} {wire:?}");
            let mut expected = wire.payload.clone();
            if wire.event_type == "run.errored" {
                // The one thing that the SDK's exporter leaves out.
                expected.remove("error_hash");
            }
            assert_eq!(ours.payload, expected, "{} at step {}", wire.event_type, wire.step_index);
            compared += 1;
        }
    }
    assert_eq!(compared, lines.values().map(Vec::len).sum::<usize>());
}

#[test]
fn spans_of_the_sdk_one_by_one_are_still_that_run() {
    let Some(lines) = lines() else { return };
    let Some(spans) = spans(&lines) else { return };
    let events: Vec<WireEvent> = spans.iter().rev().flat_map(|span| mapped(std::slice::from_ref(span))).collect();
    for (id, wire) in &lines {
        let ours = run(events.iter().filter(|event| event.run_id == *id).cloned().collect());
        assert_eq!(outline(&ours), outline(wire), "run {id}");
        // Who it was, its first event says.
        assert_eq!((&ours[0].agent_id, &ours[0].agent_version), (&wire[0].agent_id, &wire[0].agent_version));
    }
}
