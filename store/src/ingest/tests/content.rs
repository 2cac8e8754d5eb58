//! No raw content at rest.

use super::*;
use crate::sqlite::tests::Home;
use serde_json::Value;
use std::path::Path;

/// Every byte of every file of a home.
fn bytes_of(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => bytes_of(&entry.path(), found),
            false => found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap())),
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// A captured request's events.
pub(super) fn captured(file: &str) -> Option<Vec<Vec<WireEvent>>> {
    let path = format!("{}/../../shared/vectors/dunetrace/{file}", env!("CARGO_MANIFEST_DIR"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {path} is not here");
        return None;
    };
    let requests: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ingested = requests.iter().filter(|request| request["path"] == "/v1/ingest");
    Some(ingested.map(|request| serde_json::from_value(request["body"]["events"].clone()).unwrap()).collect())
}

/// When the captured requests were sent.
fn captured_at() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_219_200, 0).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_of_the_store_holds_what_people_and_models_wrote() {
    let home = Home::new();
    let store = home.serve();
    let planted = [
        "What is the capital of France?",
        "You are helpful.",
        "capital of France",
        "ZeroDivisionError",
        "Ignore all previous instructions",
        "a-planted-secret-of-the-user",
    ];
    let Some(batches) = captured("wire_0.5.7.json") else { return };
    for events in batches {
        let count = events.len();
        let receipt = store.store().events.accept(&scope(), captured_at(), events).await.unwrap();
        assert_eq!((receipt.accepted, receipt.rejected.len()), (count, 0));
    }
    // Wherever a sender may put it.
    let planted_at = |key: &str, inner: bool| {
        let value = Value::from(planted[5]);
        let payload = if inner { serde_json::json!({"meta": {key: value}}) } else { serde_json::json!({key: value}) };
        WireEvent {
            event_type: "external.signal".to_owned(),
            payload: payload.as_object().cloned().unwrap(),
            ..event(None, key, i64::from(inner))
        }
    };
    let keys = ["input_text", "prompt", "args", "output", "query", "content", "error", "value", "output_hash", "text"];
    let events = keys.iter().flat_map(|key| [planted_at(key, true), planted_at(key, false)]).collect();
    assert_eq!(accept(&store.store(), events).await.accepted, 2 * keys.len());

    let looks_clean = |when: &str| {
        let mut files = Vec::new();
        bytes_of(home.path().parent().unwrap(), &mut files);
        assert!(files.iter().any(|(path, _)| path.ends_with("tripline.db-wal") || path.ends_with(".parquet")));
        for (path, bytes) in &files {
            for text in planted {
                assert!(!holds(bytes, text), "{when}: {path} holds '{text}'");
            }
        }
    };
    looks_clean("in the log");
    // Compressed, a text would not be found by its bytes: it is looked for in what the table shows, too.
    let shown: Vec<String> = everything(&store).await.into_iter().map(|event| event.payload).collect();
    store.maintain_events(captured_at(), &at_once(100)).await.unwrap();
    assert_eq!(counts(&store).await[0], 0);
    looks_clean("sealed");
    let sealed: Vec<String> = everything(&store).await.into_iter().map(|event| event.payload).collect();
    assert_eq!(shown, sealed);
    for payload in &shown {
        assert!(planted.iter().all(|text| !payload.contains(text)), "{payload}");
    }
    assert!(shown.iter().any(|payload| payload.contains("115049a298532be2")), "the hash of the input is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_generations_of_the_sdk_send_is_taken_unchanged() {
    for file in ["wire_0.3.9.json", "wire_0.5.7.json"] {
        let home = Home::new();
        let store = home.serve();
        let Some(batches) = captured(file) else { return };
        let mut sent = 0;
        for events in batches {
            sent += events.len();
            let receipt = store.store().events.accept(&scope(), captured_at(), events.clone()).await.unwrap();
            assert_eq!((receipt.accepted, receipt.duplicates, receipt.rejected.len()), (events.len(), 0, 0), "{file}");
            let again = store.store().events.accept(&scope(), captured_at(), events.clone()).await.unwrap();
            assert_eq!((again.accepted, again.duplicates), (0, events.len()), "{file}");
        }
        assert_eq!(everything(&store).await.len(), sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_asks_for_content_gets_it_and_no_other() {
    let home = Home::new();
    let store = home.serve();
    let other = other_scope(&store.store()).await;
    let keep_content = [other.project_id().clone()].into_iter().collect();
    store.set_ingest_policy(crate::ingest::IngestPolicy { keep_content, ..Default::default() });
    let payload = serde_json::json!({"args": "what Alice asked"}).as_object().cloned().unwrap();
    for scope in [&scope(), &other] {
        let events = vec![WireEvent { payload: payload.clone(), ..event(None, "run", 1) }];
        store.store().events.accept(scope, arrival(), events).await.unwrap();
        let kept = kept_of(&store.store(), scope, EventFilter::default()).await;
        assert_eq!(kept[0].payload.contains("Alice"), scope == &other);
        assert!(kept[0].payload.contains("args_hash"));
    }
}
