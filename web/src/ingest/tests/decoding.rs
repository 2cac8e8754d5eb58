//! What hostile bodies do to the decoder: nothing.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::ingest::decode::{Batch, NoBatch, batch};

const MOST: usize = 500;

fn event() -> Value {
    json!({"event_type": "tool.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": 1,
           "timestamp": 1_795_219_185.5, "payload": {"tool_name": "t"}, "parent_run_id": null, "whatever": [1]})
}

fn body(events: &[Value]) -> Vec<u8> {
    json!({"api_key": "", "agent_id": "a", "events": events}).to_string().into_bytes()
}

fn read(text: impl AsRef<[u8]>) -> Batch {
    batch(text.as_ref(), MOST).unwrap()
}

/// Index, field and reason of what is rejected.
fn rejected(batch: &Batch) -> Vec<(usize, &str, &str)> {
    batch
        .events
        .iter()
        .enumerate()
        .filter_map(|(index, item)| match item {
            Ok(_) => None,
            Err((field, reason)) => Some((index, *field, reason.as_str())),
        })
        .collect()
}

#[test]
fn an_event_is_read_with_all_its_fields_and_unknown_ones_are_dropped() {
    let batch = read(body(&[event()]));
    let event = batch.events[0].as_ref().unwrap();
    assert_eq!((event.run_id.as_str(), event.step_index, event.timestamp), ("r", 1, Some(1_795_219_185.5)));
    assert_eq!(event.payload["tool_name"], "t");
    assert_eq!(event.parent_run_id, None);
}

#[test]
fn a_lossless_coercion_is_no_error() {
    for (field, value) in [
        ("step_index", json!("1")),
        ("step_index", json!(1.0)),
        ("timestamp", json!("1795219185.5")),
        ("payload", Value::Null),
    ] {
        let mut sent = event();
        sent[field] = value;
        assert!(read(body(&[sent])).events[0].is_ok(), "{field}");
    }
}

#[test]
fn a_field_of_another_type_costs_its_event_only() {
    for (field, value) in [
        ("event_type", json!(7)),
        ("run_id", json!({"a": [1, {"b": 2}]})),
        ("agent_id", json!(true)),
        ("agent_version", Value::Null),
        ("step_index", json!("one")),
        ("step_index", json!(1.5)),
        ("step_index", json!(1e300)),
        ("step_index", json!([1, [2]])),
        ("timestamp", json!("NaN")),
        ("timestamp", json!(false)),
        ("payload", json!([1])),
        ("payload", json!("text")),
        ("event_id", json!(1)),
    ] {
        let mut wrong = event();
        wrong[field] = value;
        let batch = read(body(&[event(), wrong, event()]));
        let rejected = rejected(&batch);
        assert_eq!(rejected.len(), 1, "{field}");
        assert_eq!((rejected[0].0, rejected[0].1), (1, field));
    }
    let strange = [json!(1), json!("x"), json!([event()]), Value::Null, json!(true), json!({})];
    let batch = read(body(&strange));
    assert_eq!(rejected(&batch).len(), strange.len());
}

#[test]
fn bytes_that_are_no_json_cost_their_event_only() {
    let good = event().to_string();
    let deep = good.replace("\"t\"", &format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)));
    let mut bad_bytes = good.clone().into_bytes();
    let at = good.find("\"t\"").unwrap() + 1;
    bad_bytes[at] = 0xff;
    let cases: [(Vec<u8>, &str); 6] = [
        (good.replace("\"t\"", "NaN").into_bytes(), "NaN"),
        (good.replace("\"t\"", "-Infinity").into_bytes(), "Infinity"),
        (good.replace("\"t\"", "1e999").into_bytes(), "out of range"),
        (good.replace("\"t\"", "\"\\ud800\"").into_bytes(), "no JSON"),
        (deep.into_bytes(), "recursion"),
        (bad_bytes, "UTF-8"),
    ];
    for (bad, word) in cases {
        let text = [
            b"{\"agent_id\": \"a\", \"other\": [\"]}\\\"\", {}], \"events\": [".as_slice(),
            good.as_bytes(),
            b" , ",
            &bad,
            b",\n",
            good.as_bytes(),
            b"] }",
        ]
        .concat();
        let batch = read(&text);
        assert_eq!(batch.events.len(), 3, "{word}");
        let rejected = rejected(&batch);
        assert_eq!((rejected.len(), rejected[0].0), (1, 1), "{word}");
        assert!(rejected[0].2.contains(word), "{word}: {}", rejected[0].2);
        assert_eq!(rejected[0].1, "payload", "{word}: the field is named");
    }
}

#[test]
fn an_envelope_of_another_form_names_its_field() {
    let too_many = vec![event(); MOST + 1];
    for (text, field) in [
        (String::new(), ""),
        ("[]".to_owned(), ""),
        ("hello".to_owned(), ""),
        ("{\"agent_id\": \"a\", \"events\": [}".to_owned(), ""),
        ("{\"agent_id\": \"a\", \"events\": [1] } x".to_owned(), ""),
        (json!({"agent_id": "", "events": [event()]}).to_string(), "agent_id"),
        (json!({"events": [event()]}).to_string(), "agent_id"),
        (json!({"agent_id": 1, "events": [event()]}).to_string(), "agent_id"),
        (json!({"agent_id": "a"}).to_string(), "events"),
        (json!({"agent_id": "a", "events": []}).to_string(), "events"),
        (json!({"agent_id": "a", "events": {}}).to_string(), "events"),
        (json!({"agent_id": "a", "events": "x"}).to_string(), "events"),
        (json!({"agent_id": "a", "events": too_many}).to_string(), "events"),
        (json!({"agent_id": "a", "api_key": 1, "events": [event()]}).to_string(), "api_key"),
    ] {
        let NoBatch { field: found, .. } = batch(text.as_bytes(), MOST).unwrap_err();
        assert_eq!(found, field, "{}", text.chars().take(60).collect::<String>());
    }
    assert_eq!(read(body(&vec![event(); MOST])).events.len(), MOST);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_judged_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = batch(&bytes, MOST);
    }

    #[test]
    fn any_brackets_and_quotes_are_judged_without_a_panic(text in "[\\[\\]{}\",:\\\\a1 ]{0,200}") {
        let _ = batch(text.as_bytes(), MOST);
        let _ = batch(format!("{{\"agent_id\":\"a\",\"events\":[{text}]}}").as_bytes(), MOST);
    }

    #[test]
    fn what_is_wrong_with_one_event_never_touches_its_neighbours(
        at in 0..5_usize, from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>().prop_filter("no bracket or quote", |b| !b"[]{}\"\\".contains(b)), 0..20)
    ) {
        // Junk inside of a text of one event, however it is cut: brackets and quotes stay in balance.
        let mut sent: Vec<Vec<u8>> = (0..5).map(|_| event().to_string().into_bytes()).collect();
        let text = &mut sent[at];
        let inside = text.windows(4).position(|w| w == b"tool").unwrap();
        let (from, to) = (from.index(5), to.index(5));
        text.splice(inside + from.min(to)..inside + from.max(to), junk);
        let text = [b"{\"agent_id\":\"a\",\"events\":[".as_slice(), &sent.join(&b","[..]), b"]}"].concat();
        let batch = read(&text);
        prop_assert_eq!(batch.events.len(), 5);
        for (index, item) in batch.events.iter().enumerate() {
            prop_assert!(index == at || item.is_ok());
        }
    }
}
