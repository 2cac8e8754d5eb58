//! What the mapping promises, without a server.

mod conventions;
mod encodings;
mod records;
mod runs;
mod vectors;

use serde_json::{Map, Value, json};
use tripline_store::ingest::{WireEvent, steps};

use super::decoded::Span;
use super::{decode_json_spans, map_spans};

pub(super) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// Nanoseconds since 1970 of the moment 0 of these tests.
pub(super) const T0: u64 = 1_795_219_200_000_000_000;

/// A span as a test writes it: number, number of its parent (0: none), name, begin and end in ms, plain attributes.
pub(super) struct Plain(pub u64, pub u64, pub &'static str, pub u64, pub u64, pub Value);

/// A plain value as OTLP's JSON has it.
pub(super) fn any(value: &Value) -> Value {
    match value {
        Value::Null => json!({}),
        Value::Bool(flag) => json!({ "boolValue": flag }),
        Value::String(text) => json!({ "stringValue": text }),
        Value::Number(number) if number.is_i64() => json!({"intValue": number.to_string()}),
        Value::Number(number) => json!({ "doubleValue": number }),
        Value::Array(items) => json!({"arrayValue": {"values": items.iter().map(any).collect::<Vec<_>>()}}),
        Value::Object(members) => json!({"kvlistValue": {"values": pairs(members)}}),
    }
}

pub(super) fn pairs(members: &Map<String, Value>) -> Vec<Value> {
    members.iter().map(|(key, value)| json!({"key": key, "value": any(value)})).collect()
}

pub(super) fn otlp_span(plain: &Plain) -> Value {
    let Plain(number, parent, name, start, end, attributes) = plain;
    let mut span = json!({
        "traceId": TRACE, "spanId": format!("{number:016x}"), "name": name, "kind": 1,
        "startTimeUnixNano": (T0 + start * 1_000_000).to_string(),
        "endTimeUnixNano": (T0 + end * 1_000_000).to_string(),
    });
    let mut attributes = attributes.as_object().unwrap().clone();
    if *parent != 0 {
        span["parentSpanId"] = json!(format!("{parent:016x}"));
    }
    // What is no attribute: the status, events and flags.
    for (key, field) in [("_status", "status"), ("_flags", "flags")] {
        if let Some(value) = attributes.remove(key) {
            span[field] = value;
        }
    }
    if let Some(Value::Array(events)) = attributes.remove("_events") {
        let events = events.iter().map(|event| {
            let at = (T0 + event["at"].as_u64().unwrap() * 1_000_000).to_string();
            json!({"timeUnixNano": at, "name": event["name"], "attributes": pairs(event["attributes"].as_object().unwrap())})
        });
        span["events"] = events.collect();
    }
    span["attributes"] = json!(pairs(&attributes));
    span
}

pub(super) fn request(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{
        "resource": {"attributes": pairs(json!({"service.name": "shop", "service.version": "1.4"}).as_object().unwrap())},
        "scopeSpans": [{"scope": {"name": "tests"}, "spans": spans}],
    }]})
}

pub(super) fn decoded(spans: &[Plain]) -> Vec<Span> {
    let spans: Vec<Value> = spans.iter().map(otlp_span).collect();
    let decoded = decode_json_spans(request(&spans).to_string().as_bytes()).unwrap();
    assert_eq!(decoded.flaws, []);
    decoded.items
}

pub(super) fn events(spans: &[Plain]) -> Vec<WireEvent> {
    map_spans(&decoded(spans)).events
}

/// A run as a reader has it: its events with their counted steps, in order. Twins (one id) are one event.
pub(super) fn run(mut events: Vec<WireEvent>) -> Vec<WireEvent> {
    let mut seen = std::collections::BTreeSet::new();
    events.retain(|event| seen.insert(event.event_id.clone()));
    let mut numbers: Vec<(i64, bool)> =
        events.iter().map(|event| (event.step_index, event.event_type.ends_with(".called"))).collect();
    steps::renumber(&mut numbers);
    for (event, (step, _)) in events.iter_mut().zip(numbers) {
        event.step_index = step;
    }
    events.sort_by(|a, b| (a.step_index, a.timestamp).partial_cmp(&(b.step_index, b.timestamp)).unwrap());
    events
}

/// Types and steps of a run.
pub(super) fn outline(events: &[WireEvent]) -> Vec<(&str, i64)> {
    events.iter().map(|event| (event.event_type.as_str(), event.step_index)).collect()
}

pub(super) fn payload(event: &WireEvent) -> Value {
    Value::Object(event.payload.clone())
}

/// A conversation of an agent in the names of the GenAI conventions.
pub(super) fn weather() -> Vec<Plain> {
    vec![
        Plain(
            1,
            0,
            "invoke_agent weather",
            0,
            900,
            json!({
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "weather", "gen_ai.agent.version": "7",
                "gen_ai.conversation.id": "c1", "gen_ai.request.model": "gpt-4o",
                "gen_ai.system_instructions": [{"type": "text", "content": "You know the weather."}],
                "gen_ai.input.messages": r#"[{"role":"user","parts":[{"type":"text","content":"Rain in Paris?"}]}]"#,
                "gen_ai.tool.definitions": [{"type": "function", "name": "get_weather"}],
            }),
        ),
        Plain(
            2,
            1,
            "chat gpt-4o",
            10,
            300,
            json!({
                "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 150,
                "gen_ai.usage.output_tokens": 20, "gen_ai.response.finish_reasons": ["tool_calls"],
                "gen_ai.output.messages": [{"role": "assistant", "finish_reason": "tool_call", "parts": [
                    {"type": "tool_call", "id": "x", "name": "get_weather", "arguments": {"city": "Paris"}}]}],
            }),
        ),
        Plain(
            3,
            1,
            "execute_tool get_weather",
            310,
            390,
            json!({
                "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather",
                "gen_ai.tool.call.arguments": "{\"city\": \"Paris\"}", "gen_ai.tool.call.result": "rainy",
            }),
        ),
        Plain(
            4,
            1,
            "retrieval docs",
            400,
            450,
            json!({
                "gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "docs",
                "gen_ai.retrieval.query.text": "rain",
                "gen_ai.retrieval.documents": [{"id": "a", "score": 0.4}, {"id": "b", "score": 0.9}],
            }),
        ),
        Plain(
            5,
            1,
            "chat gpt-4o",
            500,
            880,
            json!({
                "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 220,
                "gen_ai.usage.output_tokens": 9, "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "Yes, rain."}]}],
            }),
        ),
    ]
}
