//! Events from files: into the store of a home, and through a running server.

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::harness::{Site, text};
use crate::seeded;

/// A file of everything that is understood, and of two lines that are not. Returns its path.
fn file(site: &Site) -> String {
    let at = Utc::now() - TimeDelta::minutes(5);
    let event = |kind: &str, step: u64| {
        json!({"event_type": kind, "run_id": "run-1", "agent_id": "agent", "agent_version": "v1", "step_index": step,
               "timestamp": at.timestamp_micros() as f64 / 1e6, "payload": {"args": "the secret of the file"}})
    };
    let mut loki = event("tool.responded", 1);
    loki["ts"] = json!(text(at));
    loki.as_object_mut().unwrap().remove("timestamp");
    let nanos = |later: i64| (at.timestamp_nanos_opt().unwrap() + later).to_string();
    let span = json!({
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "00000000000000aa", "name": "chat",
        "startTimeUnixNano": nanos(0), "endTimeUnixNano": nanos(1_000_000),
        "attributes": [{"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}}],
    });
    let lines = [
        event("run.started", 0).to_string(),
        json!({"agent_id": "agent", "events": [event("tool.called", 1), event("tool.exploded", 1)]}).to_string(),
        "{\"cut off".to_owned(),
        loki.to_string(),
        json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string(),
    ];
    let path = site.path("events.ndjson");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

const COUNT: &str = "SELECT run_id, count(*) AS n FROM ingest.events GROUP BY run_id ORDER BY run_id";

fn counted() -> Vec<Value> {
    vec![json!({"run_id": "0af7651916cd43dd8448eb211c80319c", "n": 4}), json!({"run_id": "run-1", "n": 3})]
}

#[tokio::test]
async fn files_are_kept_in_the_home_once_and_refusals_name_their_line() {
    let scene = seeded::cascade().await;
    let path = file(&scene.site);
    let first = scene.site.run(&["ingest", &path]).await;
    assert_eq!(first.code(), 3, "{first:?}");
    assert_eq!(first.stdout.trim(), "accepted 7, duplicates 0, rejected 2");
    assert!(first.stderr.contains(&format!("{path}:2, item 1: event_type: ")), "{first:?}");
    assert!(first.stderr.contains(&format!("{path}:3: it is no JSON")), "{first:?}");
    assert_eq!(scene.site.sql(COUNT).await, counted());
    let again = scene.site.run(&["ingest", "--json", &path]).await;
    let report: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&report["accepted"], &report["duplicates"], &report["rejected"]), (&json!(0), &json!(7), &json!(2)));
    assert_eq!(scene.site.sql(COUNT).await, counted());
    let payloads = scene.site.sql("SELECT payload FROM ingest.events").await;
    assert!(!json!(payloads).to_string().contains("secret of the file"));

    let missing = scene.site.run(&["ingest", "no-such-file"]).await;
    assert_eq!(missing.code(), 1, "{missing:?}");
    assert!(missing.stderr.contains("no-such-file"), "{missing:?}");
}

#[tokio::test]
async fn a_running_server_takes_files_and_spans() {
    let scene = seeded::cascade().await;
    let path = file(&scene.site);
    let serve = scene.site.serve(Utc::now()).await;
    // The home is the server's.
    let beside = scene.site.run(&["ingest", &path]).await;
    assert_eq!(beside.code(), 1, "{beside:?}");
    assert!(beside.stderr.contains("--url"), "{beside:?}");
    let sent = scene.site.run(&["ingest", "--url", &serve.url, &path]).await;
    assert_eq!(sent.code(), 3, "{sent:?}");
    assert_eq!(sent.stdout.trim(), "accepted 7, duplicates 0, rejected 2", "{sent:?}");
    assert_eq!(scene.site.sql(COUNT).await, counted());
    let lines = std::fs::read_to_string(&path).unwrap();
    let spans: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let answer = serve.post("/v1/traces", &spans).await;
    assert_eq!((answer.status, answer.body), (200, json!({})));
    assert_eq!(scene.site.sql(COUNT).await, counted(), "what a file said, a span does not say again");
    assert!(serve.terminate().await.success());
}

/// Runs the instrumented agent with the Python of the caller; none where its packages are not installed.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
async fn instrumented(arguments: &[&str]) -> Option<std::process::Output> {
    let modules = "import langfuse, opentelemetry.exporter.otlp.proto.http";
    let there = tokio::process::Command::new("python3").args(["-c", modules]).output().await;
    if !there.is_ok_and(|there| there.status.success()) {
        eprintln!("skipped: python3 with opentelemetry-exporter-otlp-proto-http and langfuse is not there");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/ingest/instrumented.py");
    let run = tokio::process::Command::new("python3").arg(script).args(arguments).kill_on_drop(true).output();
    Some(tokio::time::timeout(crate::harness::PATIENCE, run).await.unwrap().unwrap())
}

#[tokio::test]
async fn agents_instrumented_with_opentelemetry_or_langfuse_are_runs() {
    let scene = seeded::cascade().await;
    let key = scene.site.run(&["keys", "create", "agents", "--scope", "ingest"]).await.stdout;
    let serve = scene.site.serve(Utc::now()).await;
    let Some(output) = instrumented(&[&serve.url, key.trim(), "agents"]).await else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sql = "SELECT agent_id, event_type, payload FROM ingest.events ORDER BY agent_id, step_index, occurred_at, seq";
    let rows = scene.site.sql(sql).await;
    assert!(!json!(rows).to_string().contains("a secret"));
    for agent in ["instrumented", "observed"] {
        let types: Vec<&str> =
            rows.iter().filter(|row| row["agent_id"] == agent).map(|row| row["event_type"].as_str().unwrap()).collect();
        let expected = ["run.started", "llm.called", "llm.responded", "tool.called", "tool.responded", "run.completed"];
        assert_eq!(types, expected, "{agent} in {rows:#?}");
    }
    assert!(serve.terminate().await.success());
}

#[tokio::test]
async fn a_batch_of_a_session_goes_to_its_session() {
    let scene = seeded::cascade().await;
    let serve = scene.site.serve(Utc::now()).await;
    let begin = ["session", "start", "--user", "u", "--workspace", "w", "--key", "k", "--url", &serve.url];
    assert_eq!(scene.site.run(&begin).await.code(), 0);
    let event = |source: &str| {
        json!({"event_type": "agent_action", "source_type": source, "source_name": "coder", "payload": {"n": 1},
               "client_timestamp": text(Utc::now())})
    };
    let batch = json!({"external_session_key": "k", "events": [event("agent"), event("nobody")]});
    let other = json!({"external_session_key": "never-begun", "events": [event("agent")]});
    let path = scene.site.path("session.ndjson");
    std::fs::write(&path, format!("{batch}\n{other}\n")).unwrap();
    let path = path.display().to_string();
    let sent = scene.site.run(&["ingest", "--url", &serve.url, &path]).await;
    assert_eq!((sent.code(), sent.stdout.trim()), (3, "accepted 1, duplicates 0, rejected 2"), "{sent:?}");
    assert!(sent.stderr.contains(&format!("{path}:1, item 1: source_type: ")), "{sent:?}");
    assert!(sent.stderr.contains(&format!("{path}:2, item 0: session_id: there is no session")), "{sent:?}");
    assert!(serve.terminate().await.success());
    let kept = scene.site.run(&["ingest", &path]).await;
    assert_eq!((kept.code(), kept.stdout.trim()), (3, "accepted 0, duplicates 1, rejected 2"), "{kept:?}");
    assert!(
        kept.stderr.contains(&format!("{path}:2, item 0: session_id: there is no session never-begun")),
        "{kept:?}"
    );
    let rows = scene.site.sql("SELECT count(*) AS n FROM ingest.session_events").await;
    assert_eq!(rows, [json!({"n": 1})]);

    // One event per line, each naming its session.
    let sessions = scene.site.sql("SELECT id FROM ingest.sessions").await;
    let single = |source: &str, n: u64| {
        let mut event = event(source);
        event["session_id"] = sessions[0]["id"].clone();
        event["payload"] = json!({"n": n});
        event
    };
    let lone = scene.site.path("lone.ndjson");
    std::fs::write(&lone, format!("{}\n\n{}\n{}\n", single("agent", 2), single("nobody", 3), single("agent", 4)))
        .unwrap();
    let lone = lone.display().to_string();
    let kept = scene.site.run(&["ingest", &lone]).await;
    assert_eq!((kept.code(), kept.stdout.trim()), (3, "accepted 2, duplicates 0, rejected 1"), "{kept:?}");
    assert!(kept.stderr.contains(&format!("{lone}:3: source_type: ")), "{kept:?}");
}
