//! Content is found wherever it stands, and what is none stays readable.

use super::*;
use serde_json::json;

fn stripped(payload: Value) -> Value {
    let Value::Object(mut payload) = payload else { panic!("an object") };
    strip(&mut payload, Content::Goes);
    let once = payload.clone();
    strip(&mut payload, Content::Goes);
    assert_eq!(once, payload, "doing it twice changes nothing");
    Value::Object(payload)
}

#[test]
fn what_0_5_7_sends_becomes_what_0_3_9_sends() {
    let sent = json!({"tool_name": "calculator", "success": false, "output_length": 0, "latency_ms": 1,
                      "output": "", "error": "ZeroDivisionError: division by zero"});
    assert_eq!(
        stripped(sent),
        json!({"tool_name": "calculator", "success": false, "output_length": 0, "latency_ms": 1, "output_hash": "",
               "error_hash": "b51373d22f5130e4", "error_length": 35})
    );
    let started = stripped(json!({"input_text": "What is the capital of France?", "model": "gpt-4o"}));
    assert_eq!(started, json!({"input_hash": "115049a298532be2", "input_length": 30, "model": "gpt-4o"}));
}

#[test]
fn the_senders_own_length_stands() {
    let sent = json!({"output": "cut off", "output_length": 5_000});
    assert_eq!(stripped(sent)["output_length"], 5_000);
}

#[test]
fn content_is_found_at_every_depth_and_in_every_shape() {
    let secret = "the patient's name is Alice";
    for payload in [
        json!({"meta": {"prompt": secret}}),
        json!({"meta": [{"Content": [{"type": "text", "text": secret}]}]}),
        json!({"messages": [{"role": "user", "content": secret}]}),
        json!({"args": {"name": secret}}),
        json!({"output_hash": secret}),
        json!({"output_hash": "Alice-and-her-secret"}),
        json!({"whatever": format!("{secret} {}", "x".repeat(LONGEST_NAME))}),
        json!({"many": [format!("{secret} {}", "x".repeat(LONGEST_NAME))]}),
        json!({"value": secret}),
    ] {
        let kept = stripped(payload.clone()).to_string();
        assert!(!kept.contains("Alice"), "{payload} became {kept}");
    }
}

#[test]
fn names_and_figures_are_no_content() {
    let sent = json!({"tools": ["web_search"], "model": "gpt-4o", "tool_name": "db", "value": 7, "trigger": "cost",
                      "error_type": "ValueError", "output": null, "args_hash": "09404b797168f2c2"});
    assert_eq!(stripped(sent.clone()), sent);
}

#[test]
fn the_kind_of_an_error_is_a_name_and_a_sentence_in_its_place_is_content() {
    for name in
        ["ValueError", "botocore.exceptions.ClientError", "std::io::Error", "ERR_TIMEOUT", "Foo$Bar", "http/503", ""]
    {
        let sent = json!({"error_type": name, "error_code": 5});
        assert_eq!(stripped(sent.clone()), sent);
    }
    let sentence = "Alice Miller has no account";
    assert_eq!(
        stripped(json!({"error_type": sentence})),
        json!({"error_type_hash": hash_content(sentence), "error_type_length": 27})
    );
    let long = "x".repeat(LONGEST_ERROR_TYPE + 1);
    for payload in [
        json!({"error_type": "Alice\u{a0}Miller"}),
        json!({"error_type": "Alice,Miller"}),
        json!({"error_type": format!("Alice{long}")}),
        json!({"error_type": ["Alice"]}),
        json!({"error_type": {"name": "Alice"}}),
        json!({"meta": [{"errorType": "Alice Miller"}]}),
        json!({"error.type": "Alice Miller"}),
        json!({"exception.type": "Alice Miller"}),
    ] {
        let kept = stripped(payload.clone()).to_string();
        assert!(!kept.contains("Alice") && kept.contains("error_type_hash"), "{payload} became {kept}");
    }
}

#[test]
fn a_project_that_asks_for_content_keeps_it_beside_its_hash() {
    let Value::Object(mut payload) = json!({"output": "hi"}) else { panic!("an object") };
    strip(&mut payload, Content::Stays);
    assert_eq!(Value::Object(payload), json!({"output": "hi", "output_hash": "8f434346648f6b96", "output_length": 2}));
}

#[test]
fn a_text_under_the_name_of_a_length_or_a_hash_is_content_unless_it_is_one() {
    let secret = "the patient's name is Alice";
    for key in
        ["prompt_length", "output_length", "value_length", "args_original_length", "prompt_hash", "error_type_length"]
    {
        let kept = stripped(json!({key: secret, "prompt_hash": "00ff"})).to_string();
        assert!(!kept.contains("Alice"), "{key}: {kept}");
    }
    let sent = json!({"prompt_length": 12, "output_length": "12", "prompt_hash": "sha256:00ff", "args_hash": ""});
    assert_eq!(stripped(sent.clone()), sent);
}

#[test]
fn free_text_under_a_key_that_tells_nothing_is_content_and_an_identifier_is_not() {
    for text in [
        "the patient is Alice",
        "Alice\u{a0}Miller",
        "Alice\nMiller",
        r#"{"content":"Alice"}"#,
        "['Alice']",
        "患者の名前はAliceで、明日の午後に病院へ行きます。お願いします",
        "data:text/plain,Alice",
        &format!("Alice{}", "x".repeat(LONGEST_IDENTIFIER)),
    ] {
        let kept = stripped(json!({"zz": text, "list": [text, [text]], "deep": {"a": [{"b": text}]}})).to_string();
        assert!(!kept.contains("Alice"), "{text}: {kept}");
        assert!(kept.contains("zz_hash") && kept.contains(&hash_content(text)), "{kept}");
    }
    let sent = json!({
        "zz": "gpt-4o", "id": "0199c1f0-7a2b-7000-8000-0123456789ab", "at": "2026-11-28 16:00:00+00:00", "path": "src/a.rs",
        "list": ["web_search", "größe"], "arn": "arn:aws:s3:::bucket/key", "commit": "9f3c2ab", "flag": true, "n": 1.5,
        "tool_name": "Search the web", "tools": ["Search the web"], "model": "GPT 4o", "source": "my service",
    });
    assert_eq!(stripped(sent.clone()), sent);
}

#[test]
fn a_text_that_stands_as_a_key_is_content() {
    let kept = stripped(json!({"what Alice asked": 1, "meta": {"Alice said so": {"n": "x"}}, "Alice's prompt": "hm"}));
    assert!(!kept.to_string().contains("Alice"), "{kept}");
    assert_eq!(kept[hash_content("what Alice asked")], 1);
    assert_eq!(kept["meta"][hash_content("Alice said so")], json!({"n": "x"}));
}

#[test]
fn an_address_loses_what_may_be_a_credential_and_other_secrets_are_cut_out() {
    let kept = stripped(json!({
        "url": "https://bucket.s3.amazonaws.com/calls/7.wav?X-Amz-Credential=AKIA&X-Amz-Signature=c0ffee#t=1",
        "endpoint": "/v1/files?token=abc", "dsn": "postgres://app:s3cr3t@db:5432/x", "list": ["https://h/x?sig=1"],
        "api_key": "planted", "password": 12345, "time_to_first_token": 120, "header": "sk-ant-0123456789",
    }));
    assert_eq!(
        kept,
        json!({
            "url": "https://bucket.s3.amazonaws.com/calls/7.wav", "endpoint": "/v1/files", "dsn": "postgres://db:5432/x",
            "list": ["https://h/x"], "api_key": "[secret]", "password": "[secret]", "time_to_first_token": 120,
            "header": "[secret]",
        })
    );
}

#[test]
fn what_the_newest_sdk_sends_about_approvals_policies_and_recordings_has_no_words_of_people() {
    let note = stripped(json!({"approval_id": 7, "tool_name": "pay", "note": "Alice said no", "decided_by": "u_1"}));
    assert_eq!(
        note,
        json!({"approval_id": 7, "tool_name": "pay", "note_hash": hash_content("Alice said no"), "note_length": 13,
               "decided_by": "u_1"})
    );
    let condition = |actual: Value, expected: Value| {
        json!({"field_path": "args.q", "operator": "contains", "expected": expected, "actual": actual, "result": true,
               "present": true})
    };
    let kept = stripped(json!({"conditions": [condition("Alice".into(), "ali".into()), condition(7.into(), 5.into())],
                               "reason": "contains matched Alice"}));
    assert!(!kept.to_string().to_lowercase().contains("ali\"") && !kept.to_string().contains("Alice"), "{kept}");
    assert_eq!(kept["conditions"][1], condition(7.into(), 5.into()));
    assert_eq!(
        (&kept["conditions"][0]["result"], &kept["conditions"][0]["operator"]),
        (&json!(true), &json!("contains"))
    );
}

#[test]
fn the_payloads_of_the_published_vectors_stay_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/dunetrace/wire_0.3.9.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not here");
        return;
    };
    let requests: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    for event in requests.iter().filter_map(|request| request["body"]["events"].as_array()).flatten() {
        assert_eq!(stripped(event["payload"].clone()), event["payload"], "{}", event["event_type"]);
        count += 1;
    }
    assert!(count > 5, "{count} events");
}
