//! What hostile senders get, at every door for events: the committed inputs of `tests/hostile` as they are and mutated,
//! and those that are too large to be committed.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Value, json};

use super::site::Site;

/// Mutations of each input.
const MUTATIONS: usize = 32;
const SESSION: &str = "0199aaaa-0000-7000-8000-000000000001";

/// Folder and path of each door.
const DOORS: [(&str, &str); 8] = [
    ("ingest", "/v1/ingest"),
    ("sessions", "/v1/events/batch"),
    ("traces", "/v1/traces"),
    ("logs", "/v1/logs"),
    ("langfuse", "/api/public/otel/v1/traces"),
    ("session-start", "/v1/sessions/start"),
    ("session-end", "/v1/sessions/end"),
    ("deploy", "/v1/deploy"),
];

/// The inputs of a folder, by name.
fn inputs(door: &str, fate: &str) -> Vec<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/hostile")).join(door).join(fate);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn content_type(file: &Path) -> &'static str {
    if file.extension().is_some_and(|extension| extension == "bin") {
        "application/x-protobuf"
    } else {
        "application/json"
    }
}

/// Status and body; of protobuf the text that is in it.
async fn send(site: &Site, path: &str, kind: &str, encoding: Option<&str>, body: Vec<u8>) -> (u16, Value) {
    let request = match path.starts_with("/api/public/") {
        // As the SDKs of Langfuse do.
        true => site.client.post(site.url(path)).basic_auth("key-ingest", Some(&site.keys["ingest"])),
        false => site.request("ingest", Method::POST, path),
    };
    let mut request = request.header("content-type", kind).body(body);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
}

async fn site() -> Site {
    let site = Site::new().await;
    let session =
        json!({"session_id": SESSION, "user_id": "u", "workspace_id": "w", "start_time": "2024-01-01T00:00:00Z"});
    let (status, said) = site.post("ingest", "/v1/sessions/start", &session).await;
    assert_eq!(status, 201, "{said}");
    site
}

async fn rows(site: &Site, sql: &str) -> i64 {
    let (status, answer) = site.post("read", "/api/v1/sql", &json!({ "sql": sql })).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"][0]["n"].as_i64().unwrap()
}

/// Whether an answer names what is wrong in words.
fn has_reason(said: &Value) -> bool {
    match said {
        Value::String(text) => !text.is_empty(),
        said => {
            ["/error/message", "/message", "/detail"].iter().any(|at| said.pointer(at).is_some_and(|at| !at.is_null()))
        }
    }
}

#[tokio::test]
async fn a_bad_item_is_named_with_its_field_and_the_good_ones_around_it_are_kept() {
    let site = site().await;
    for (door, count) in [("ingest", "ingest.events"), ("sessions", "ingest.session_events")] {
        let path = DOORS.iter().find(|(name, _)| *name == door).unwrap().1;
        let files = inputs(door, "kept");
        assert!(files.len() > 5, "the inputs of {door} are there");
        for (number, file) in files.iter().enumerate() {
            let (status, said) = send(&site, path, "application/json", None, std::fs::read(file).unwrap()).await;
            assert_eq!(status, 202, "{} {said}", file.display());
            // The first and the last are good, those between them are not; each stands on a line of its own.
            let bad = std::fs::read(file).unwrap().iter().filter(|byte| **byte == b'\n').count() - 4;
            let rejected = said["rejected"].as_array().cloned().unwrap_or_default();
            let places: Vec<u64> = rejected.iter().map(|one| one["index"].as_u64().unwrap()).collect();
            assert_eq!(places, (1..=bad as u64).collect::<Vec<_>>(), "{} {said}", file.display());
            for one in &rejected {
                assert!(
                    one["field"].is_string() && one["reason"].as_str().is_some_and(|text| !text.is_empty()),
                    "{one}"
                );
            }
            let kept = rows(&site, &format!("SELECT count(*) AS n FROM {count}")).await;
            assert_eq!(kept, 2 * (number as i64 + 1), "{}", file.display());
        }
    }
    let mut calls = 0;
    for door in ["traces", "logs", "langfuse"] {
        let path = DOORS.iter().find(|(name, _)| *name == door).unwrap().1;
        let files = inputs(door, "kept");
        assert!(files.len() > 4, "the inputs of {door} are there");
        for file in files {
            let (status, said) = send(&site, path, content_type(&file), None, std::fs::read(&file).unwrap()).await;
            assert_eq!(status, 200, "{} {said}", file.display());
            let said = said.to_string();
            let named = said.split_once("number 1 (from 0), ").unwrap_or_else(|| panic!("{} {said}", file.display())).1;
            assert!(named.split_once(": ").is_some_and(|(field, _)| !field.is_empty()), "{} {said}", file.display());
            let sql = "SELECT count(DISTINCT event_id) AS n FROM ingest.events WHERE event_type = 'llm.called'";
            let kept = rows(&site, sql).await - calls;
            assert_eq!(kept, 2, "{} {said}", file.display());
            calls += kept;
        }
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_a_reason() {
    let site = site().await;
    for (door, path) in DOORS {
        let files = inputs(door, "refused");
        assert!(files.len() > 2, "the inputs of {door} are there");
        for file in files {
            let (status, said) = send(&site, path, content_type(&file), None, std::fs::read(&file).unwrap()).await;
            assert!((400..500).contains(&status) && has_reason(&said), "{} {status} {said}", file.display());
        }
    }
    assert_eq!(rows(&site, "SELECT count(*) AS n FROM ingest.events").await, 0);
}

#[tokio::test]
async fn no_mutation_of_any_input_breaks_a_door() {
    let site = site().await;
    let mut runner = TestRunner::deterministic();
    let edits = prop::collection::vec((any::<Index>(), 0..4_u8, any::<u8>()), 1..6);
    for (door, path) in DOORS {
        let files: Vec<PathBuf> = ["kept", "refused", "mutated"].iter().flat_map(|fate| inputs(door, fate)).collect();
        for file in files {
            let whole = std::fs::read(&file).unwrap();
            for _ in 0..MUTATIONS {
                let edits = edits.new_tree(&mut runner).unwrap().current();
                let body = edits.iter().fold(whole.clone(), mutated);
                let (status, said) = send(&site, path, content_type(&file), None, body).await;
                // A panic is a 500.
                assert!(status < 500, "{} {edits:?} {said}", file.display());
                assert!(status < 400 || has_reason(&said), "{} {edits:?} {said}", file.display());
            }
        }
    }
}

/// One edit: a byte replaced, inserted, a part taken out or said twice.
fn mutated(mut body: Vec<u8>, (at, kind, byte): &(Index, u8, u8)) -> Vec<u8> {
    let at = at.index(body.len() + 1);
    let to = (at + usize::from(*byte)).min(body.len());
    match kind {
        0 if at < body.len() => body[at] = *byte,
        1 => body.insert(at, *byte),
        2 => drop(body.drain(at..to)),
        _ => {
            let part = body[at..to].to_vec();
            body.splice(at..at, part);
        }
    }
    body
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_duplicates_are_counted_once() {
    let site = site().await;
    let mut pack = GzEncoder::new(Vec::new(), Compression::best());
    pack.write_all(&vec![b' '; 64 << 20]).unwrap();
    let bomb = pack.finish().unwrap();
    for (door, path) in DOORS {
        let (status, said) = send(&site, path, "application/json", Some("gzip"), bomb.clone()).await;
        // Only the doors of events of runs take what is packed.
        let takes_packed = ["ingest", "traces", "logs", "langfuse"].contains(&door);
        let expected: &[u16] = if takes_packed { &[413] } else { &[400, 413, 415, 422] };
        assert!(expected.contains(&status), "{door} {status} {said}");
    }
    let fields: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("f{n}"), json!(n))).collect();
    let event = |step: u64, payload: Value| {
        json!({"event_type": "tool.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": step,
               "event_id": format!("e{step}"), "payload": payload})
    };
    let good = event(1, json!({"tool_name": "t"}));
    let batch = json!({"agent_id": "a", "events": [good, event(2, Value::Object(fields.clone())), good]});
    let (status, said) = site.post("ingest", "/v1/ingest", &batch).await;
    assert_eq!((status, &said["accepted"], &said["duplicates"]), (202, &json!(2), &json!(1)), "{said}");
    assert_eq!(
        (&said["rejected"][0]["index"], &said["rejected"][0]["field"]),
        (&json!(1), &json!("payload")),
        "{said}"
    );
    let event = |payload: Value| {
        json!({"session_id": SESSION, "event_type": "agent_action", "source_type": "agent", "source_name": "coder",
               "client_timestamp": "2024-01-01T00:00:10Z", "payload": payload})
    };
    let batch = json!({"events": [event(json!({})), event(Value::Object(fields)), event(json!({}))]});
    let (status, said) = site.post("ingest", "/v1/events/batch", &batch).await;
    assert_eq!((status, &said["ingested"], &said["deduped"]), (202, &json!(1), &json!(1)), "{said}");
    assert_eq!(
        (&said["rejected"][0]["index"], &said["rejected"][0]["field"]),
        (&json!(1), &json!("payload")),
        "{said}"
    );
}
