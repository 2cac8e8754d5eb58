//! A session from the command line to its insights, with a server that is killed in the middle.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Outcome, Serve, Site, at, text, until};

fn now() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

/// So many events of a session: an agent changes a file, its test fails, a person mends it; again and again.
fn events(count: usize) -> Vec<Value> {
    let event = |n: usize| {
        let second = i64::try_from(n).unwrap() * 3;
        let mut event = match n % 4 {
            0 => {
                json!({"event_type": "agent_action", "source_type": "agent", "source_name": "coder", "file_path": "src/pay.py"})
            }
            1 => {
                json!({"event_type": "test_run", "source_type": "ci", "file_path": "src/pay.py", "payload": {"status": "failed"},
                "raw_message": format!("AssertionError: expected {n} got 4 at src/pay.py:{n} with token=planted-{n}-secret")})
            }
            2 => {
                json!({"event_type": "file_edit", "source_type": "human", "source_name": "ann", "file_path": "src/pay.py"})
            }
            _ => {
                json!({"event_type": "test_run", "source_type": "ci", "payload": {"status": "passed", "output": "planted"}})
            }
        };
        event["client_timestamp"] = text(now() - TimeDelta::minutes(30) + TimeDelta::seconds(second)).into();
        event
    };
    (0..count).map(event).collect()
}

/// Writes events to a file of the home, one per line, and returns its path.
fn file(site: &Site, name: &str, events: &[Value]) -> String {
    let lines: Vec<String> = events.iter().map(Value::to_string).collect();
    let path = site.path(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn session(site: &Site, serve: &Serve, args: &[&str]) -> Outcome {
    let mut all = vec!["session"];
    all.extend_from_slice(args);
    all.extend_from_slice(&["--url", &serve.url]);
    site.run(&all).await
}

#[tokio::test]
async fn forty_events_make_the_round_trip_through_the_command_line_and_a_server_that_is_killed_in_the_middle() {
    let site = Site::alone();
    let serve = site.serve(now()).await;
    let begun = text(now() - TimeDelta::minutes(31));
    let start = ["start", "--user", "ann", "--workspace", "shop", "--key", "shop-17", "--tag", "e2e", "--at", &begun];
    let started = session(&site, &serve, &start).await;
    assert_eq!(started.code(), 0, "{started:?}");
    let id = started.stdout.trim().to_owned();
    let sent = events(40);
    let (half, all) = (file(&site, "half.ndjson", &sent[..25]), file(&site, "all.ndjson", &sent));
    let first = session(&site, &serve, &["send", &half, "--key", "shop-17", "--batch", "10"]).await.json();
    assert_eq!((&first["received"], &first["ingested"]), (&json!(25), &json!(25)));

    // What was answered is there after the crash, and sending everything doubles nothing.
    serve.kill().await;
    let serve = site.serve(now() + TimeDelta::minutes(1)).await;
    assert_eq!(session(&site, &serve, &start).await.stdout.trim(), id);
    let second = session(&site, &serve, &["send", &all, "--session", &id]).await.json();
    assert_eq!((&second["ingested"], &second["deduped"], &second["rejected"]), (&json!(15), &json!(25), &json!([])));
    assert_eq!(session(&site, &serve, &["end", "--session", &id]).await.json()["status"], "ended");

    // The jobs find what went wrong by themselves.
    let summary = until("the deep analysis", async || {
        let summary = session(&site, &serve, &["show", &id]).await.json();
        summary["session"]["deep_processed_at"].is_string().then_some(summary)
    })
    .await;
    assert_eq!(summary["session"]["event_count"], 40);
    assert_eq!((&summary["cluster_count"], &summary["top_clusters"][0]["occurrence_count"]), (&json!(1), &json!(10)));
    assert!(summary["correlation_count"].as_i64().unwrap() >= 10, "{summary}");
    assert_eq!(summary["agent_performance"][0]["total_actions"], 10);
    let read = session(&site, &serve, &["show", &id, "--part", "events"]).await.json();
    assert_eq!(read.as_array().unwrap().len(), 40);
    let insights = session(&site, &serve, &["show", &id, "--part", "insights"]).await.json();
    let mut found: Vec<&str> = insights.as_array().unwrap().iter().map(|i| i["category"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["agent_induced_error", "break_fix_loop"]);

    // Again, by hand and after another crash: not a byte differs.
    serve.kill().await;
    let serve = site.serve(now() + TimeDelta::hours(1)).await;
    let again = session(&site, &serve, &["analyze", &id, "--mode", "deep"]).await.json();
    assert_eq!(again["changed"], false);
    assert_eq!(session(&site, &serve, &["show", &id]).await.json(), summary);
    let rows = site.sql("SELECT raw_message, payload FROM ingest.session_events").await;
    assert!(rows.len() == 40 && !json!(rows).to_string().contains("planted"), "{rows:?}");
    assert!(serve.terminate().await.success());
    // Neither secrets nor content are anywhere in the state.
    for entry in std::fs::read_dir(site.path("state")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(7).any(|part| part == b"planted"), "{}", path.display());
    }
}

#[tokio::test]
async fn the_command_line_says_which_event_was_refused_and_why() {
    let site = Site::alone();
    let serve = site.serve(now()).await;
    let begun = text(now() - TimeDelta::minutes(31));
    session(&site, &serve, &["start", "--user", "ann", "--workspace", "shop", "--key", "k", "--at", &begun]).await;
    let mut sent = events(5);
    sent[3]["event_type"] = "party".into();
    let path = file(&site, "events.ndjson", &sent);
    let refused = session(&site, &serve, &["send", &path, "--key", "k", "--batch", "2"]).await;
    assert_eq!(refused.code(), 1, "{refused:?}");
    let answer: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((&answer["ingested"], &answer["rejected"][0]["index"]), (&json!(4), &json!(3)), "{answer}");
    assert!(refused.stderr.contains("1 of 5 events were not kept"), "{refused:?}");

    let nobody = site.run(&["session", "show", "x", "--url", "http://127.0.0.1:1"]).await;
    assert!(nobody.code() == 1 && nobody.stderr.contains("tripline serve"), "{nobody:?}");
    let unknown = session(&site, &serve, &["show", "0199aaaa-0000-7000-8000-00000000dead"]).await;
    assert!(unknown.code() == 1 && unknown.stderr.contains("there is no session"), "{unknown:?}");
}
