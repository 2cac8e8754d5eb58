//! The hashes and labels of the Python SDK, where its reference vectors lie beside the repository.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic, reason = "a test that fails should stop at once")]

use std::path::Path;

use serde_json::Value;
use tripline_sdk::{agent_version, find_injection, hash_args, hash_content};

fn vectors(name: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/dunetrace").join(name);
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        eprintln!("skipped: there is no shared/vectors/dunetrace/{name} beside the repository");
    }
    text
}

#[test]
fn hashes_and_versions_are_those_of_the_python_sdk() {
    let Some(text) = vectors("hashes.json") else { return };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for case in &cases {
        let out = text(&case["out"]);
        match case["fn"].as_str().unwrap() {
            "hash_content" => assert_eq!(hash_content(&text(&case["input"])), out, "{case}"),
            "agent_version" => {
                let tools: Vec<String> = case["tools"].as_array().unwrap().iter().map(text).collect();
                let version = agent_version(&text(&case["system_prompt"]), &text(&case["model"]), &tools);
                assert_eq!(version, out, "{case}");
            }
            // Of what Python writes in its own way only the text is hashed alike.
            "tool_args_hash" => {
                assert_eq!(hash_content(&text(&case["python_repr"])), out, "{case}");
                assert_eq!(hash_args(&case["args"]) == out, case["args"] == serde_json::json!({}), "{case}");
            }
            other => panic!("what is {other}?"),
        }
    }
    assert!(cases.len() > 15);
}

#[test]
fn injections_are_labelled_as_the_python_sdk_labels_them() {
    let Some(text) = vectors("injection.jsonl") else { return };
    let mut count = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap();
        let found = find_injection(case["input"].as_str().unwrap());
        let found = found.map_or(Value::Null, |found| serde_json::to_value(found).unwrap());
        assert_eq!(found, case["evidence"], "{case}");
        count += 1;
    }
    assert!(count > 100, "{count}");
}
