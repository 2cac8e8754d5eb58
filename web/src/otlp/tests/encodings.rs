//! Both encodings, and what is no request in either.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Kind};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan, Status, span::Event};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

use super::{Plain, T0, TRACE, otlp_span, pairs, request, weather};
use crate::otlp::decoded::{Decoded, Span};
use crate::otlp::{decode_json_logs, decode_json_spans, proto};

/// A request in OTLP's JSON as protobuf, made apart from the code under test.
fn to_protobuf(request: &Value) -> Vec<u8> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let hex = |value: &Value| hex::decode(value.as_str().unwrap_or_default()).unwrap();
    let number = |value: &Value| value.as_str().map_or(0, |text| text.parse().unwrap());
    let resource_spans = list(&request["resourceSpans"]).into_iter().map(|group| ResourceSpans {
        resource: Some(Resource { attributes: attributes(&group["resource"]["attributes"]), ..Resource::default() }),
        scope_spans: list(&group["scopeSpans"])
            .iter()
            .map(|scope| ScopeSpans {
                spans: list(&scope["spans"])
                    .iter()
                    .map(|span| ProtoSpan {
                        trace_id: hex(&span["traceId"]),
                        span_id: hex(&span["spanId"]),
                        parent_span_id: hex(&span["parentSpanId"]),
                        name: span["name"].as_str().unwrap().to_owned(),
                        start_time_unix_nano: number(&span["startTimeUnixNano"]),
                        end_time_unix_nano: number(&span["endTimeUnixNano"]),
                        attributes: attributes(&span["attributes"]),
                        flags: span["flags"].as_u64().unwrap_or(0) as u32,
                        events: list(&span["events"])
                            .iter()
                            .map(|event| Event {
                                time_unix_nano: number(&event["timeUnixNano"]),
                                name: event["name"].as_str().unwrap().to_owned(),
                                attributes: attributes(&event["attributes"]),
                                ..Event::default()
                            })
                            .collect(),
                        status: Some(Status {
                            code: span["status"]["code"].as_i64().unwrap_or(0) as i32,
                            message: span["status"]["message"].as_str().unwrap_or_default().to_owned(),
                        }),
                        ..ProtoSpan::default()
                    })
                    .collect(),
                ..ScopeSpans::default()
            })
            .collect(),
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}

fn attributes(list: &Value) -> Vec<KeyValue> {
    let list = list.as_array().cloned().unwrap_or_default();
    let pairs = list.iter().map(|pair| KeyValue {
        key: pair["key"].as_str().unwrap().to_owned(),
        value: Some(any_value(&pair["value"])),
        ..KeyValue::default()
    });
    pairs.collect()
}

fn any_value(value: &Value) -> AnyValue {
    let (kind, value) = value.as_object().unwrap().iter().next().unwrap();
    let kind = match kind.as_str() {
        "stringValue" => Kind::StringValue(value.as_str().unwrap().to_owned()),
        "boolValue" => Kind::BoolValue(value.as_bool().unwrap()),
        "intValue" => Kind::IntValue(value.as_str().unwrap().parse().unwrap()),
        "doubleValue" => Kind::DoubleValue(value.as_f64().unwrap()),
        "arrayValue" => {
            Kind::ArrayValue(ArrayValue { values: value["values"].as_array().unwrap().iter().map(any_value).collect() })
        }
        _ => Kind::KvlistValue(KeyValueList { values: attributes(&value["values"]) }),
    };
    AnyValue { value: Some(kind) }
}

fn everything() -> Value {
    let mut spans: Vec<Value> = weather().iter().map(otlp_span).collect();
    spans.push(otlp_span(&Plain(
        9,
        8,
        "x",
        1,
        2,
        json!({"_status": {"code": 2, "message": "boom"}, "_flags": 0x301, "deep": {"a": [1, {"b": -2.5}, true]},
               "_events": [{"at": 1, "name": "exception", "attributes": {"exception.type": "E"}}]}),
    )));
    request(&spans)
}

fn flaws(decoded: &Decoded<Span>) -> Vec<(usize, &str)> {
    decoded.flaws.iter().map(|flaw| (flaw.index, flaw.field.as_str())).collect()
}

#[test]
fn both_encodings_say_the_same() {
    let request = everything();
    let json = decode_json_spans(request.to_string().as_bytes()).unwrap();
    let protobuf = proto::spans(&to_protobuf(&request)).unwrap();
    assert_eq!(json, protobuf);
    assert_eq!((json.items.len(), json.flawed), (6, 0));
    assert!(json.items[5].remote_parent && json.items[5].failed);
}

#[test]
fn json_is_read_as_tolerantly_as_the_specification_asks() {
    let span = json!({
        "traceId": TRACE.to_uppercase(), "spanId": "00000000000000aB", "parentSpanId": "", "name": null, "unknown": [1],
        "startTimeUnixNano": T0, "endTimeUnixNano": (T0 + 5).to_string(), "kind": 3, "events": null,
        "attributes": [
            {"key": "number", "value": {"intValue": 7}}, {"key": "text", "value": {"intValue": "7"}},
            {"key": "none", "value": {"doubleValue": "NaN"}}, {"key": "empty", "value": {"arrayValue": {}}},
            {"key": "nothing", "value": {}}, {"key": "bytes", "value": {"bytesValue": "aGk="}}, {"odd": 1},
        ],
    });
    let request =
        json!({"resourceSpans": [{"resource": null, "scopeSpans": null}, {"scopeSpans": [{"spans": [span]}]}]});
    let decoded = decode_json_spans(request.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.flaws, []);
    let span = &decoded.items[0];
    assert_eq!((span.trace_hex().as_str(), span.span_id[7], span.parent), (TRACE, 0xab, None));
    let names: Vec<&str> = span.attributes.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["empty", "number", "text"]);
    assert_eq!(span.attributes.count(&["text"]), span.attributes.count(&["number"]));
    for empty in ["{}", r#"{"resourceSpans": null}"#, r#"{"resourceSpans": []}"#] {
        assert_eq!(decode_json_spans(empty.as_bytes()).unwrap().total(), 0);
        assert_eq!(decode_json_logs(empty.as_bytes()).unwrap().total(), 0);
    }
}

#[test]
fn a_bad_span_costs_itself_and_says_why() {
    let good = otlp_span(&weather()[1]);
    let with = |field: &str, value: Value| {
        let mut span = good.clone();
        span[field] = value;
        span
    };
    let spans = [
        good.clone(),
        with("traceId", json!("00000000000000000000000000000000")),
        with("traceId", json!("0af7")),
        with("spanId", json!("not hexadecimal")),
        with("spanId", json!(7)),
        with("startTimeUnixNano", json!("yesterday")),
        with("startTimeUnixNano", json!(-1)),
        with("startTimeUnixNano", json!("0")),
        with("parentSpanId", json!("12")),
        with("status", json!({"code": "STATUS_CODE_ERROR"})),
        json!("no object"),
        good.clone(),
    ];
    let decoded = decode_json_spans(request(&spans).to_string().as_bytes()).unwrap();
    assert_eq!(decoded.items.iter().map(|span| span.index).collect::<Vec<_>>(), [0, 11]);
    assert_eq!(
        flaws(&decoded),
        [
            (1, "traceId"),
            (2, "traceId"),
            (3, "spanId"),
            (4, "spanId"),
            (5, "startTimeUnixNano"),
            (6, "startTimeUnixNano"),
            (7, "startTimeUnixNano"),
            (8, "parentSpanId"),
            (9, "status.code"),
            (10, "span"),
        ]
    );
}

#[test]
fn a_bad_span_in_protobuf_costs_itself_too() {
    let good = request(&[otlp_span(&weather()[1])]);
    let mut bytes = to_protobuf(&good);
    // A second group with a scope of three spans: one of nothing, one that is none, and one of too many attributes.
    let many: Vec<u8> = [0x4a, 0x00].repeat(60_000);
    let mut spans = vec![0x12, 0x00, 0x12, 0x02, 0xff, 0xff];
    spans.push(0x12);
    prost::encode_length_delimiter(many.len(), &mut spans).unwrap();
    spans.extend(many);
    let mut scope = vec![0x12];
    prost::encode_length_delimiter(spans.len(), &mut scope).unwrap();
    scope.extend(spans);
    bytes.push(0x0a);
    prost::encode_length_delimiter(scope.len(), &mut bytes).unwrap();
    bytes.extend(scope);
    let decoded = proto::spans(&bytes).unwrap();
    assert_eq!(decoded.items.len(), 1);
    assert_eq!(flaws(&decoded), [(1, "startTimeUnixNano"), (2, "item"), (3, "attributes")]);
}

#[test]
fn a_million_empty_spans_are_counted_and_not_built() {
    let mut scope = Vec::new();
    let spans: Vec<u8> = [0x12, 0x00].repeat(1_000_000);
    scope.push(0x12);
    prost::encode_length_delimiter(spans.len(), &mut scope).unwrap();
    scope.extend(spans);
    let mut bytes = vec![0x0a];
    prost::encode_length_delimiter(scope.len(), &mut bytes).unwrap();
    bytes.extend(scope);
    let decoded = proto::spans(&bytes).unwrap();
    assert_eq!((decoded.items.len(), decoded.flawed), (0, 1_000_000));
    assert!(decoded.flaws.len() <= 20);
}

#[test]
fn what_is_nested_without_end_is_refused() {
    let mut value = vec![];
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        prost::encode_length_delimiter(value.len(), &mut outer).unwrap();
        outer.extend(value);
        value = vec![0x2a];
        prost::encode_length_delimiter(outer.len(), &mut value).unwrap();
        value.extend(outer);
    }
    let mut bytes = value;
    for tag in [0x12, 0x4a, 0x12, 0x12, 0x0a] {
        let mut outer = vec![tag];
        prost::encode_length_delimiter(bytes.len(), &mut outer).unwrap();
        outer.extend(bytes);
        bytes = outer;
    }
    assert_eq!(flaws(&proto::spans(&bytes).unwrap()), [(0, "attributes")]);

    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let span = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":{deep}}}]}}]}}]}}"#);
    assert_eq!(flaws(&decode_json_spans(span.as_bytes()).unwrap()), [(0, "span")]);
}

#[test]
fn what_is_no_request_is_said_to_be_none() {
    for (body, said) in [
        (&b""[..], "the body is no JSON: line 1"),
        (b"[", "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (br#"{"resourceSpans": "secret"}"#, "the body has no resourceSpans of OTLP: line 1, column 2"),
    ] {
        let error = decode_json_spans(body).unwrap_err().to_string();
        assert!(error.starts_with(said) && !error.contains("secret"), "{error}");
    }
    for body in [&b"\x0a"[..], b"\x0a\x05\x12", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"{}"] {
        assert!(proto::spans(body).is_err(), "{body:?}");
        assert!(proto::logs(body).is_err(), "{body:?}");
    }
    assert_eq!(proto::spans(b"").unwrap().total(), 0, "a request of nothing is one");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_break_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = proto::spans(&bytes);
        let _ = proto::logs(&bytes);
        let _ = decode_json_spans(&bytes);
        let _ = decode_json_logs(&bytes);
    }

    #[test]
    fn no_change_to_a_request_breaks_decoder_or_mapping(
        place in 0_usize..4096, byte in any::<u8>(), cut in 0_usize..4096, as_json in any::<bool>(),
    ) {
        let request = everything();
        let mut bytes = if as_json { request.to_string().into_bytes() } else { to_protobuf(&request) };
        let length = bytes.len();
        bytes[place % length] = byte;
        if cut % 4 == 0 {
            bytes.truncate(cut % length);
        }
        let decoded = if as_json { decode_json_spans(&bytes) } else { proto::spans(&bytes) };
        if let Ok(decoded) = decoded {
            let _ = crate::otlp::map_spans(&decoded.items);
        }
    }
}

#[test]
fn resources_are_those_of_their_own_group() {
    let group = |service: &str, number: u64| {
        json!({"resource": {"attributes": pairs(json!({"service.name": service}).as_object().unwrap())},
               "scopeSpans": [{"spans": [otlp_span(&Plain(number, 0, "chat", 0, 1, json!({"gen_ai.operation.name": "chat"})))]}]})
    };
    let request = json!({"resourceSpans": [group("one", 1), group("two", 2)]});
    let decoded = decode_json_spans(request.to_string().as_bytes()).unwrap();
    assert_eq!(decoded, proto::spans(&to_protobuf(&request)).unwrap());
    let names: Vec<_> = decoded.items.iter().map(|span| span.resource.text(&["service.name"]).unwrap()).collect();
    assert_eq!(names, ["one", "two"]);
}
