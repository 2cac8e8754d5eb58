//! What is promised of single events: the hash, the window, what is refused and what is never kept.

use super::dedupe::DedupeWindow;
use super::hash::{Hashed, event_hash};
use super::validate::{self, StartBody};
use super::*;
use crate::content;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_763_600_000, 0).unwrap()
}

fn session() -> SessionId {
    "0199aaaa-0000-7000-8000-000000000001".parse().unwrap()
}

fn parse(text: &str) -> Result<NewSessionEvent, validate::Refusal> {
    let raw: &RawValue = serde_json::from_str(text).unwrap();
    validate::event(raw, Some(&session()), now())
}

/// A good event with these fields instead; a null removes one.
fn with(fields: Value) -> String {
    let mut event = json!({
        "event_type": "test_run", "source_type": "agent", "source_name": "coder", "file_path": "src/a.py",
        "payload": {"status": "failed"}, "client_timestamp": "2025-11-20T00:00:00Z",
    });
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    event.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    event.to_string()
}

fn refused(fields: Value) -> (String, String) {
    let refusal = parse(&with(fields)).unwrap_err();
    (refusal.field, refusal.reason)
}

#[test]
fn each_refusal_names_its_field() {
    let long = |bytes: usize| "x".repeat(bytes);
    let mut deep = json!(1);
    for _ in 0..40 {
        deep = json!({ "d": deep });
    }
    let cases = [
        ("event_type", json!({"event_type": "party"})),
        ("event_type", json!({"event_type": null})),
        ("event_type", json!({"event_type": 7})),
        ("source_type", json!({"source_type": "robot"})),
        ("source_name", json!({"source_name": null})),
        ("source_name", json!({"source_name": "  "})),
        ("source_name", json!({"source_name": long(257)})),
        ("source_name", json!({"source_name": "a\u{0}b"})),
        ("file_path", json!({"file_path": long(4097)})),
        ("file_path", json!({"file_path": ["a"]})),
        ("client_timestamp", json!({"client_timestamp": null})),
        ("client_timestamp", json!({"client_timestamp": 1_763_600_000})),
        ("client_timestamp", json!({"client_timestamp": "2025-11-20T00:00:00"})),
        ("client_timestamp", json!({"client_timestamp": "1999-12-31T23:59:59Z"})),
        ("client_timestamp", json!({"client_timestamp": (now() + TimeDelta::minutes(6)).to_rfc3339()})),
        ("client_timestamp", json!({"client_timestamp": "+262143-01-01T00:00:00Z"})),
        ("payload", json!({"payload": [1]})),
        ("payload", json!({"payload": deep})),
        ("payload", json!({"payload": {"x": long(65_537)}})),
        ("metadata", json!({"metadata": "x"})),
        ("raw_message", json!({"raw_message": long(65_537)})),
        ("raw_message", json!({"raw_message": {"a": 1}})),
        ("attribution_confidence", json!({"attribution_confidence": 1.01})),
        ("attribution_confidence", json!({"attribution_confidence": "NaN"})),
        ("id", json!({"id": "seven"})),
        ("session_id", json!({"session_id": "0199aaaa-0000-7000-8000-000000000002"})),
        ("flie_path", json!({"flie_path": "a"})),
    ];
    for (field, fields) in cases {
        let shown = fields.to_string().chars().take(80).collect::<String>();
        assert_eq!(refused(fields).0, field, "{shown}");
    }
}

#[test]
fn what_is_well_formed_is_taken_tolerantly() {
    let event = parse(&with(json!({
        "source_type": "ci", "source_name": "", "attribution_confidence": "0.5", "server_timestamp": 7,
        "event_hash": "theirs", "created_at": null, "file_path": "",
    })))
    .unwrap();
    assert_eq!((event.source_type, event.source_name, event.file_path), (SourceType::System, None, None));
    assert_eq!(event.attribution_confidence, Some(0.5));
    assert_eq!(event.event_hash.len(), 64);
    let alias = parse(&with(json!({"client_timestamp": null, "timestamp": "2025-11-20T01:00:00+01:00"}))).unwrap();
    assert_eq!(alias.client_timestamp.to_rfc3339(), "2025-11-20T00:00:00+00:00");
}

#[test]
fn hostile_items_are_refused_and_nothing_breaks() {
    let deep = format!(r#"{{"payload":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let fields: String = (0..10_000).map(|n| format!(r#""key{n}":{n},"#)).collect();
    let many = format!(r#"{{{fields}"event_type":"log"}}"#);
    let wide = with(json!({"payload": (0..10_000).map(|n| (format!("key{n}"), json!(n))).collect::<Map<_, _>>()}));
    let cases = [
        deep,
        many,
        wide,
        r#"{"event_type":"log","event_type":"error"}"#.to_owned(),
        r#"{"event_type":"log","payload":{"n":1e999}}"#.to_owned(),
        r#"{"event_type":"log","raw_message":"\ud800"}"#.to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "\"text\"".to_owned(),
        format!(r#"{{"raw_message":"{}"}}"#, "x".repeat(300_000)),
    ];
    for text in cases {
        let refusal = parse(&text).unwrap_err();
        assert!(!refusal.field.is_empty() && refusal.reason.len() < 200, "{refusal:?}");
    }
}

#[test]
fn no_secret_and_no_content_is_kept() {
    let long = "planted ".repeat(40);
    let event = parse(&with(json!({
        "raw_message": "401 for Bearer abcdefghijkl at react@18.2.0",
        "payload": {"status": "failed", "output": "the planted text", "note": "token=abcdef123", "deep": [{"prompt": "planted"}],
            "args": {"path": "planted"}, "stdout": null, "input": 7, "mine": long, "list": [long], "some_hash": "planted",
            "Message": "planted"},
        "metadata": {"api_key": "planted", "content": "planted", "error": {"message": "planted"}},
    })))
    .unwrap();
    let kept = format!("{event:?}");
    assert!(!kept.contains("planted") && !kept.contains("abcdef"), "{kept}");
    assert_eq!(event.raw_message.as_deref(), Some("401 for Bearer [secret] at react@18.2.0"));
    assert_eq!((&event.payload["output_length"], &event.payload["mine_length"]), (&json!(16), &json!(320)));
    assert_eq!(event.payload["output_hash"].as_str().unwrap().len(), 16);
    assert_eq!((&event.payload["input_length"], &event.payload["stdout"]), (&json!(1), &Value::Null));
    assert_eq!(event.payload["note_length"], 15);
    let mut again = event.payload.clone();
    content::strip(&mut again, content::Content::Goes);
    assert_eq!(again, event.payload, "doing it twice changes nothing");
}

#[test]
fn the_words_of_what_is_no_error_are_content() {
    let event = parse(&with(json!({"event_type": "log", "payload": {}, "raw_message": "what Alice wrote"}))).unwrap();
    assert_eq!(event.raw_message, None);
    assert_eq!(event.payload["raw_message_hash"], content::hash_content("what Alice wrote"));
    let other = parse(&with(json!({"event_type": "log", "payload": {}, "raw_message": "what Bob wrote"}))).unwrap();
    assert_ne!(event.event_hash, other.event_hash, "two messages are two events");
    let kept = parse(&with(json!({
        "event_type": "agent_action", "raw_message": "Alice",
        "payload": {"value": "Alice Miller", "error_type": "Alice Miller", "raw_output": "Alice"},
        "metadata": {"exception_type": "Alice Miller", "prompt_text": "Alice", "output_length": "Alice"},
    })));
    let kept = format!("{:?}", kept.unwrap());
    assert!(!kept.contains("Alice"), "{kept}");
}

#[test]
fn the_status_of_a_test_is_read_in_capitals_too_and_an_unknown_one_is_refused() {
    let failed =
        parse(&with(json!({"event_type": "test_run", "payload": {"status": "FAILED"}, "raw_message": "m"}))).unwrap();
    assert_eq!((&failed.payload["status"], failed.raw_message.as_deref()), (&json!("failed"), Some("m")));
    for status in [json!("weird"), json!("fail"), json!(1)] {
        let refusal = parse(&with(json!({"event_type": "build", "payload": {"status": status}}))).unwrap_err();
        assert_eq!(refusal.field, "payload.status");
    }
    assert!(parse(&with(json!({"event_type": "log", "payload": {"status": "weird"}}))).is_ok());
}

#[test]
fn the_words_of_an_error_are_kept_as_its_message_wherever_they_were_sent() {
    let raw = |fields: Value| parse(&with(fields)).unwrap().raw_message;
    let said = |text: &str| Some(text.to_owned());
    assert_eq!(raw(json!({"payload": {"status": "failed", "message": "m", "error": "e"}})), said("m"));
    assert_eq!(raw(json!({"payload": {"status": "error", "message": " ", "error": {"message": "e"}}})), said("e"));
    assert_eq!(
        raw(json!({"event_type": "error", "payload": {"error": "pw token=abcdef123"}})),
        said("pw token=[secret]")
    );
    assert_eq!(raw(json!({"payload": {"status": "passed", "message": "m"}})), None);
    assert_eq!(raw(json!({"event_type": "log", "payload": {"message": "m"}})), None);
}

#[test]
fn sessions_are_checked_and_their_configuration_is_without_secrets() {
    let body = |fields: Value| -> StartBody {
        let mut body = json!({"user_id": "ann", "workspace_id": "shop"});
        for (key, value) in fields.as_object().unwrap() {
            body[key] = value.clone();
        }
        serde_json::from_value(body).unwrap()
    };
    let refused = |fields: Value| validate::start(body(fields), now()).unwrap_err().to_string();
    assert!(refused(json!({"user_id": " "})).starts_with("user_id"));
    assert!(refused(json!({"workspace_id": ""})).starts_with("workspace_id"));
    assert!(refused(json!({"session_id": "x"})).starts_with("session_id"));
    assert!(refused(json!({"start_time": "soon"})).starts_with("start_time"));
    assert!(refused(json!({"tags": ["x".repeat(257)]})).starts_with("tags"));
    let config = json!({"config_snapshot": {"model": "m", "api_key": "planted", "system_prompt": "You are Alice's helper",
        "nested": {"content": "Alice", "temperature": 0.2}}});
    let new = validate::start(body(config), now()).unwrap();
    let kept = Value::from(new.config_snapshot);
    assert!(!kept.to_string().contains("Alice"), "{kept}");
    assert_eq!(
        (&kept["model"], &kept["api_key"], &kept["nested"]["temperature"]),
        (&json!("m"), &json!("[secret]"), &json!(0.2))
    );
    assert_eq!(new.start_time, now());
    assert_eq!(validate::end(None, now() + TimeDelta::minutes(1), now()).unwrap(), now() + TimeDelta::minutes(1));
}

#[test]
fn an_error_says_what_it_says_and_what_is_none_says_nothing() {
    let text = |kind, payload: Value, raw: Option<&str>| error_text(kind, payload.as_object().unwrap(), raw);
    let failed = json!({"status": "failed"});
    assert_eq!(text(SessionEventType::TestRun, failed.clone(), Some("boom")).as_deref(), Some("boom"));
    assert_eq!(text(SessionEventType::Build, failed.clone(), Some(" ")).as_deref(), Some("build:failed"));
    assert_eq!(text(SessionEventType::TestRun, json!({"status": "passed"}), Some("boom")), None);
    assert_eq!(text(SessionEventType::AgentAction, failed, Some("boom")), None);
    assert_eq!(text(SessionEventType::Error, json!({}), None).as_deref(), Some("error"));
    let long = format!("Traceback{}KeyError: 'é'", "é".repeat(5000));
    let short = text(SessionEventType::Error, json!({}), Some(&long)).unwrap();
    assert!(short.len() <= ERROR_TEXT && short.starts_with("Traceback") && short.ends_with("KeyError: 'é'"), "{short}");
}

/// JSON as it may be sent.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |n| serde_json::Number::from_f64(n).map(Value::Number)),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..4).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(".{0,8}", any_json(), 0..6).prop_map(Map::from_iter)
}

fn hash_of(payload: &Map<String, Value>, raw_message: Option<&str>) -> String {
    let session_id = session();
    event_hash(&Hashed {
        session_id: &session_id,
        event_type: SessionEventType::Log,
        source_type: SourceType::Human,
        source_name: None,
        file_path: None,
        payload,
        raw_message,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_hash_does_not_depend_on_the_order_of_keys(payload in any_object()) {
        let reversed: String = {
            let fields: Vec<String> =
                payload.iter().rev().map(|(key, value)| format!("{}:{value}", Value::from(key.as_str()))).collect();
            format!("{{ {} }}", fields.join(" , "))
        };
        // Numbers are compared as they are read: both texts pass through the reader.
        let once: Map<String, Value> = serde_json::from_str(&Value::from(payload).to_string()).unwrap();
        let again: Map<String, Value> = serde_json::from_str(&reversed).unwrap();
        prop_assert_eq!(hash_of(&once, None), hash_of(&again, None));
    }

    #[test]
    fn the_hash_changes_with_every_field_it_is_taken_over(payload in any_object(), text in ".{1,20}", other in ".{1,20}") {
        prop_assume!(text != other);
        let base = hash_of(&payload, Some(&text));
        prop_assert_ne!(&base, &hash_of(&payload, Some(&other)));
        prop_assert_ne!(&base, &hash_of(&payload, None));
        let mut more = payload.clone();
        more.insert("one_more_key".to_owned(), Value::Null);
        prop_assert_ne!(&base, &hash_of(&more, Some(&text)));
        let session_id = session();
        let hashed = Hashed { session_id: &session_id, event_type: SessionEventType::Log, source_type: SourceType::Human,
            source_name: None, file_path: None, payload: &payload, raw_message: Some(&text) };
        prop_assert_eq!(&base, &event_hash(&hashed));
        for changed in [
            Hashed { event_type: SessionEventType::Custom, ..hashed },
            Hashed { source_type: SourceType::System, ..hashed },
            Hashed { source_name: Some(&text), ..hashed },
            Hashed { file_path: Some(&text), ..hashed },
        ] {
            prop_assert_ne!(&base, &event_hash(&changed));
        }
    }

    #[test]
    fn times_metadata_and_attribution_do_not_change_the_hash(seconds in 0_i64..100_000, confidence in 0.0..=1.0_f64) {
        let base = parse(&with(json!({}))).unwrap();
        let at = (now() - TimeDelta::seconds(seconds)).to_rfc3339();
        let other = parse(&with(json!({
            "client_timestamp": at, "attribution_confidence": confidence, "metadata": {"n": seconds}, "language": "rust",
            "project_root": "/home/ann", "attribution_source": "git", "id": "0199aaaa-0000-7000-8000-00000000000a",
        }))).unwrap();
        prop_assert_eq!(base.event_hash, other.event_hash);
    }

    #[test]
    fn the_window_reaches_as_far_back_as_ahead(millis in 0_i64..100_000, delta in -200_000_000_i64..200_000_000) {
        let window = DedupeWindow::of_millis(millis);
        let (a, b) = (now(), now() + TimeDelta::microseconds(delta));
        prop_assert_eq!(window.covers(a, b), delta.abs() <= millis * 1000);
        prop_assert_eq!(window.covers(a, b), window.covers(b, a));
    }

    #[test]
    fn whatever_is_sent_is_taken_or_refused(value in any_json()) {
        let text = value.to_string();
        let raw: &RawValue = serde_json::from_str(&text).unwrap();
        let _ = validate::event(raw, None, now());
    }

    #[test]
    fn whatever_stands_in_a_field_is_taken_or_refused_and_what_is_taken_is_within_its_limits(
        field in prop::sample::select(vec!["id", "session_id", "event_type", "source_type", "source_name", "file_path",
            "project_root", "language", "payload", "raw_message", "attribution_source", "attribution_confidence",
            "client_timestamp", "metadata"]),
        value in any_json(),
    ) {
        if let Ok(event) = parse(&with(json!({ field: value }))) {
            prop_assert!(event.attribution_confidence.is_none_or(|c| (0.0..=1.0).contains(&c)));
            prop_assert!(event.file_path.is_none_or(|path| path.len() <= 4096));
            prop_assert_eq!(event.event_hash.len(), 64);
        }
    }
}
