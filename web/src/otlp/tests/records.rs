//! Log records.

use serde_json::{Value, json};

use super::{T0, TRACE, any, pairs};
use crate::otlp::{decode_json_logs, map_logs};

fn mapped(records: Value) -> (super::super::Mapped, Vec<super::super::Flaw>) {
    let resource = json!({"attributes": pairs(json!({"service.name": "shop"}).as_object().unwrap())});
    let request = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
    let decoded = decode_json_logs(request.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.flaws, []);
    map_logs(&decoded.items)
}

fn attributes(plain: Value) -> Value {
    json!(pairs(plain.as_object().unwrap()))
}

#[test]
fn an_event_of_the_wire_is_taken_from_a_record_as_text_or_structured() {
    let event = json!({
        "ts": "2026-11-21T00:01:55.531703Z", "level": "info", "logger": "dunetrace", "event_type": "llm.called",
        "agent_id": "a", "run_id": "r", "agent_version": "v", "step_index": 1, "payload": {"model": "m"},
    });
    let (text, flaws) = mapped(json!([{"timeUnixNano": T0.to_string(), "body": {"stringValue": event.to_string()}}]));
    let (structured, _) = mapped(json!([{"timeUnixNano": T0.to_string(), "body": any(&event)}]));
    assert_eq!(flaws, []);
    assert_eq!(text, structured);
    let event = &text.events[0];
    assert_eq!((event.event_type.as_str(), event.run_id.as_str(), event.step_index), ("llm.called", "r", 1));
    assert!((event.timestamp.unwrap() - 1_795_219_315.531_703).abs() < 1e-6);
}

#[test]
fn a_record_that_is_meant_to_be_an_event_and_is_none_says_why() {
    let body = json!({"event_type": "llm.called", "run_id": "r", "step_index": "one"}).to_string();
    let (mapped, flaws) = mapped(json!([{"body": {"stringValue": "plain"}}, {"body": {"stringValue": body}}]));
    assert!(mapped.events.is_empty());
    assert_eq!((flaws[0].index, flaws[0].field.as_str()), (1, "step_index"));
}

#[test]
fn ordinary_records_say_nothing_of_a_run() {
    let (mapped, flaws) = mapped(json!([
        {"timeUnixNano": T0.to_string(), "severityNumber": 17, "body": {"stringValue": "{not json"}},
        {"timeUnixNano": T0.to_string(), "body": {"stringValue": "[1]"}, "eventName": "exception", "traceId": TRACE},
        {},
    ]));
    assert_eq!((mapped.events, flaws), (vec![], vec![]));
}

#[test]
fn evaluations_and_signals_become_external_signals_of_the_trace() {
    let evaluation = attributes(json!({
        "gen_ai.evaluation.name": "Relevance", "gen_ai.evaluation.score.value": 0.4,
        "gen_ai.evaluation.score.label": "fail", "gen_ai.evaluation.explanation": "secret",
    }));
    let signal = |more: Value| {
        let mut signal = json!({"dunetrace.signal_name": "rate_limit", "dunetrace.meta.status": 429});
        signal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attributes(signal)
    };
    let (mapped, flaws) = mapped(json!([
        {"timeUnixNano": T0.to_string(), "eventName": "gen_ai.evaluation.result", "traceId": TRACE,
         "spanId": "00000000000000ab", "attributes": evaluation},
        {"timeUnixNano": "0", "observedTimeUnixNano": T0.to_string(), "traceId": TRACE, "attributes": signal(json!({}))},
        {"timeUnixNano": (T0 + 1).to_string(), "traceId": TRACE, "attributes": signal(json!({"dunetrace.agent_id": "sdk"}))},
    ]));
    assert_eq!(flaws, []);
    let events = &mapped.events;
    assert_eq!((events[0].run_id.as_str(), events[0].agent_id.as_str()), (TRACE, "shop"));
    assert_eq!(
        Value::Object(events[0].payload.clone()),
        json!({"signal_name": "gen_ai.evaluation.result", "source": "Relevance", "meta": {"label": "fail", "score": 0.4}})
    );
    assert_eq!(events[1].run_id, TRACE, "the run that the trace's spans are of");
    // The SDK's runs have its trace's id with dashes.
    assert_eq!(
        (events[2].run_id.as_str(), events[2].agent_id.as_str()),
        ("0af76519-16cd-43dd-8448-eb211c80319c", "sdk")
    );
    assert_eq!(Value::Object(events[1].payload.clone()), json!({"signal_name": "rate_limit", "meta": {"status": 429}}));
    assert_ne!(events[0].event_id, events[1].event_id);
}

#[test]
fn a_call_without_a_span_is_taken_from_its_record_and_with_one_is_not() {
    let details = attributes(json!({
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 12,
        "gen_ai.response.finish_reasons": ["stop"], "gen_ai.response.id": "resp-1",
        "gen_ai.output.messages": [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}],
    }));
    let record = |span: &str| {
        json!({"timeUnixNano": T0.to_string(), "eventName": "gen_ai.client.inference.operation.details",
               "traceId": TRACE, "spanId": span, "attributes": details})
    };
    let (alone, flaws) = mapped(json!([record("")]));
    assert_eq!(flaws, []);
    let payloads: Vec<Value> = alone.events.iter().map(|event| Value::Object(event.payload.clone())).collect();
    assert_eq!(
        payloads,
        [json!({"model": "m", "prompt_tokens": 12}), json!({"finish_reason": "stop", "output": "hi"})]
    );
    assert_eq!(mapped(json!([record("00000000000000ab")])).0.events, []);
    // Nothing says whose it is.
    let mut lost = record("");
    lost["traceId"] = json!("");
    let (_, flaws) = mapped(json!([lost]));
    assert_eq!(flaws[0].field, "traceId");
}
