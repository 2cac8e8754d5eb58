//! The bundled SQL templates, run by name.

use serde_json::{Value, json};
use tempfile::TempDir;
use tripline_simulator::LangfuseGeneration;

use crate::harness::{Account, Site, Vendors, at};

const NOW: &str = "2026-05-20T12:00:00Z";

fn write(folder: &TempDir, path: &str, rows: &Value) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, rows.to_string()).unwrap();
}

/// One commit ten hours ago; after it three new errors, four generations of a dollar each in one trace, and a message.
async fn shop() -> (Site, Vendors, TempDir) {
    let folder = TempDir::new().unwrap();
    let commit = json!({"_owner": "o", "_repo": "r", "sha": "a".repeat(40), "parents": [],
        "commit": {"message": "Change", "author": {"name": "Ann", "date": "2026-05-20T02:00:00Z"},
            "committer": {"name": "Ann", "date": "2026-05-20T02:00:00Z"}}});
    write(&folder, "github/commits.json", &json!([commit]));
    let issue = |n: usize| {
        json!({"id": n.to_string(), "_project": "web", "title": format!("Error {n}"), "count": "5", "status": "unresolved",
            "firstSeen": format!("2026-05-20T0{}:00:00Z", n + 2), "lastSeen": "2026-05-20T11:59:00Z"})
    };
    write(&folder, "sentry/projects.json", &json!([{"id": "1", "slug": "web", "name": "web"}]));
    write(&folder, "sentry/issues.json", &json!([issue(1), issue(2), issue(3)]));
    let call = |n: usize| {
        json!({"id": format!("c{n}"), "traceId": "t1", "type": "GENERATION", "name": "answer", "model": "m",
            "level": "DEFAULT", "calculatedTotalCost": 1.0, "startTime": format!("2026-05-20T11:3{n}:00Z"),
            "endTime": format!("2026-05-20T11:3{n}:05Z")})
    };
    write(&folder, "langfuse/observations.json", &json!([call(1), call(2), call(3), call(4)]));
    let channel = |id: &str, name: &str| json!({"id": id, "name": name, "is_channel": true, "is_member": true, "is_archived": false});
    write(&folder, "slack/channels.json", &json!([channel("C1", "incidents"), channel("C2", "random")]));
    // 11:40 of the day.
    let said = at("2026-05-20T11:40:00Z").timestamp();
    let message = |channel: &str, text: &str| json!({"_channel": channel, "type": "message", "user": "U1", "text": text, "ts": format!("{said}.000100")});
    write(&folder, "slack/messages.json", &json!([message("C1", "it burns"), message("C2", "lunch?")]));
    let account = Account { owner: "o".to_owned(), repo: "r".to_owned(), sentry_org: "s".to_owned() };
    let vendors = Vendors::of_folder(folder.path(), account, Some(at(NOW)), LangfuseGeneration::V4).await;
    (Site::over(&vendors), vendors, folder)
}

async fn run(site: &Site, name: &str, params: &[&str]) -> Value {
    let mut args = vec!["sql", "--format", "json", "--now", NOW, "--file", name];
    for param in params {
        args.extend(["--param", param]);
    }
    site.run(&args).await.json()
}

#[tokio::test]
async fn what_follows_a_commit_is_counted_once_on_either_side() {
    let (site, _vendors, _folder) = shop().await;
    let blamed = run(&site, "commit_to_cost_blame", &["owner=o", "repo=r"]).await;
    assert_eq!((&blamed[0]["cost_after_commit"], &blamed[0]["errors_after_commit"]), (&json!(4.0), &json!(3)));
    assert_eq!(blamed[0]["author"], "Ann");
    let history = run(&site, "pr_risk_historical", &["owner=o", "repo=r"]).await;
    assert_eq!((&history[0]["cost_after"], &history[0]["errors_after"]), (&json!(4.0), &json!(3)));
}

#[tokio::test]
async fn costs_errors_and_loops_are_shown() {
    let (site, _vendors, _folder) = shop().await;
    let hours = run(&site, "cost_spike_detection", &[]).await;
    assert_eq!((&hours[0]["hour"], &hours[0]["hourly_cost"]), (&json!("2026-05-20T11:00:00Z"), &json!(4.0)));
    assert_eq!(run(&site, "cost_spike_detection", &["hours=0"]).await, json!([]));
    let errors = run(&site, "error_cascade_detection", &[]).await;
    assert_eq!(errors.as_array().unwrap().len(), 3);
    assert_eq!((&errors[0]["associated_cost"], &errors[0]["retry_generations"]), (&json!(4.0), &json!(4)));
    assert_eq!(run(&site, "agent_loop_detection", &[]).await, json!([]), "four are no loop");
    let loops = run(&site, "loop_detection_q16", &["threshold=3"]).await;
    assert_eq!((&loops[0]["trace_id"], &loops[0]["unique_names"]), (&json!("t1"), &json!(1)));
    let steps = run(&site, "loop_fingerprint_q17", &["trace_id=t1"]).await;
    assert_eq!(steps.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_was_said_and_what_was_shipped_are_found() {
    let (site, _vendors, _folder) = shop().await;
    let between = ["start=2026-05-20T11:00:00Z", "end=2026-05-20T12:00:00Z"];
    let said = run(&site, "slack_incident_context", &between).await;
    assert_eq!(said.as_array().unwrap().len(), 1);
    assert_eq!((&said[0]["text"], &said[0]["channel_name"]), (&json!("it burns"), &json!("incidents")));
    assert_eq!(run(&site, "weekly_digest_shipped", &["owner=o", "repo=r"]).await, json!([]));
    let unbound = site.run(&["sql", "--file", "loop_fingerprint_q17"]).await;
    assert!(unbound.code() != 0 && unbound.stderr.contains("--param trace_id="), "{unbound:?}");
}
