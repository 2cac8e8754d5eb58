//! Every mode over the same hostile text: what each sends to Slack, to GitHub and to a model, and what each answers, is inert.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Class, Scene, assert_inert_slack, assert_visible, scene_with};
use crate::harness::{Serve, Write, until};
use crate::hostile::poison::SECRET;
use crate::webhook;

const PULL: u64 = 999;

/// Comments and reviews: our own tables and folds, nobody else's HTML, links or mentions.
fn assert_inert_comment(body: &str, owner: &str) {
    assert!(!body.contains(['\u{0}', '\u{7}', '\u{202e}', '\u{200b}', '\u{2066}']), "hidden characters in {body:?}");
    let mut rest = body.to_owned();
    for ours in ["<details><summary>", "</summary>", "</details>"] {
        rest = rest.replace(ours, "");
    }
    super::assert_inert_text(&rest, owner, true);
}

/// A flowchart of ours: nodes, edges and classes, whose labels are labels.
fn assert_inert_mermaid(chart: &str) {
    assert_visible(chart);
    let mut lines = chart.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    let name = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric());
    for line in lines {
        let line = line.trim_start();
        if let Some(class) = line.strip_prefix("classDef ") {
            assert!(class.chars().all(|c| c.is_ascii_alphanumeric() || " ,:#-".contains(c)), "{line}");
            continue;
        }
        let (before, label, after) = match line.split('"').collect::<Vec<_>>()[..] {
            [before, label, after] => (before, label, after),
            _ => panic!("a label ends its quotation: {line}"),
        };
        let is_node = before.strip_suffix('[').is_some_and(name) && after.strip_prefix("]:::").is_some_and(name);
        let is_edge = before.strip_suffix(" -->|").is_some_and(name) && after.strip_prefix("| ").is_some_and(name);
        assert!(is_node || is_edge, "{line}");
        assert!(
            !label.contains(['<', '>', '`', '{', '}', '[', ']', '(', ')', '%', '|', '\\', ';']) || entities(label),
            "{line}"
        );
    }
}

/// Whether what is no plain character is written as an entity.
fn entities(label: &str) -> bool {
    let mut rest = label;
    while let Some(at) = rest.find('#') {
        let (digits, after) = rest[at + 1..].split_once(';').unwrap_or_default();
        if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
            return false;
        }
        if rest[..at].contains(['<', '>', '`', '{', '}', '[', ']', '(', ')', '%', '|', '\\', ';']) {
            return false;
        }
        rest = after;
    }
    !rest.contains(['<', '>', '`', '{', '}', '[', ']', '(', ')', '%', '|', '\\', ';'])
}

/// `GET`s a path: JSON that no browser takes for anything else, without raw control characters.
async fn told(serve: &Serve, path: &str) -> Value {
    let answer = serve.client.get(format!("{}{path}", serve.url)).send().await.unwrap();
    let status = answer.status();
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert!(header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{path}");
    assert_eq!(header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{path}: raw control characters");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Has a job run now, and waits for its end.
async fn run(serve: &Serve, job: &str) -> Value {
    let path = format!("/api/v1/jobs/{job}/run");
    until(&format!("{job} to be free"), async || {
        let answer = serve.post(&path, &json!({})).await;
        match answer.status {
            409 => None,
            200 => Some(answer.body["run"].clone()),
            _ => panic!("{job}: {answer:?}"),
        }
    })
    .await
}

async fn deliver(serve: &Serve, owner: &str, repo: &str) -> (u16, Value) {
    let body = json!({"action": "opened", "number": PULL, "repository": {"full_name": format!("{owner}/{repo}")}});
    webhook::deliver(serve, "11111111-2222-3333-4444-555555555555", &body).await
}

#[tokio::test]
async fn hostile_text_is_inert_in_every_mode() {
    let model = |site: &mut crate::harness::Site, base: &str| {
        site.set("OPENAI_BASE_URL", format!("{base}/llm/v1"));
        site.set("OPENAI_API_KEY", "model-e2e");
        site.set("GITHUB_WEBHOOK_SECRET", webhook::SECRET);
        site.settings(&json!({
            "narrator": {"provider": "openai"},
            // The week that ends with the history, which is on a Thursday.
            "schedules": {"weekly_digest": "0 0 14 * * THU"},
            "pr_risk_threshold": 0,
        }));
    };
    let Scene { vendors, serve, site, history, _folder } = scene_with(Class::ErrorCascade, model).await;
    let (owner, repo) = (history.account.owner.clone(), history.account.repo.clone());

    // The brain.
    serve.judged().await;
    let incident = serve.incident("error_cascade").await;
    assert_eq!(incident["culprit_sha"], history.culprit.as_str(), "no text leads astray");
    let cycle = run(&serve, "on_call_brain").await;
    assert_eq!(cycle["status"], "ok", "{cycle}");

    // The sampler.
    let sampled = run(&serve, "trace_sampler").await;
    assert_eq!(sampled["status"], "ok", "{sampled}");
    let stats = told(&serve, "/api/v1/sampling/stats").await;
    assert!(stats["total_traces"].as_i64().unwrap() > 0, "{stats}");
    let kept = site.sql("SELECT trace_id, feature, reasons FROM agent.sampled_traces").await;
    assert!(kept.iter().any(|row| row["feature"] == history.entity.as_str()), "{kept:?}");

    // The patrol, and the digest.
    let patrol = run(&serve, "drift_patrol").await;
    assert_eq!(patrol["status"], "ok", "{patrol}");
    let digest = run(&serve, "weekly_digest").await;
    assert_eq!(digest["status"], "ok", "{digest}");
    let digest = told(&serve, "/api/v1/digest/latest").await;
    super::assert_inert_text(digest["report"].as_str().unwrap(), &owner, false);

    // PR risk: asked for by GitHub, which may ask again.
    run(&serve, "risk_history").await;
    assert_eq!(deliver(&serve, &owner, &repo).await.0, 202);
    let again = deliver(&serve, &owner, &repo).await;
    assert_eq!((again.0, &again.1["status"]), (200, &json!("already_received")));
    let comments = |writes: Vec<Write>| {
        let of_pull = format!("/issues/{PULL}/comments");
        writes.into_iter().filter(|write| write.path.ends_with(&of_pull)).collect::<Vec<Write>>()
    };
    until("the comment on the pull request", async || {
        let found = comments(vendors.writes().await);
        (!found.is_empty()).then_some(())
    })
    .await;

    // The conversation: a responder's word.
    let id = incident["id"].as_str().unwrap();
    let feedback = serve
        .post(&format!("/api/v1/incidents/{id}/feedback"), &json!({"correct": true, "comment": "<!channel> right"}))
        .await;
    assert!(feedback.status < 300, "{feedback:?}");

    // Forensics: as JSON and as Mermaid.
    let trace = history
        .rows("langfuse/observations")
        .iter()
        .rev()
        .find(|row| row["name"] == history.entity.as_str())
        .and_then(|row| row["traceId"].as_str())
        .unwrap();
    let now = crate::harness::text(history.end);
    let start = crate::harness::text(history.end - chrono::TimeDelta::hours(6));
    for args in [
        vec!["forensics", "trace", trace, "--mermaid", "--now", &now],
        vec!["forensics", "incident", "--start", &start, "--end", &now, "--mermaid", "--now", &now],
    ] {
        let drawn = site.run(&args).await;
        assert_eq!(drawn.code(), 0, "{drawn:?}");
        assert!(drawn.stdout.contains("\"]:::"), "{}", drawn.stdout);
        assert_inert_mermaid(&drawn.stdout);
    }

    // Every answer is JSON.
    for path in [
        "/api/v1/incidents".to_owned(),
        format!("/api/v1/incidents/{id}"),
        "/api/v1/anomalies".to_owned(),
        "/api/v1/approvals".to_owned(),
        "/api/v1/actions".to_owned(),
        "/api/v1/loops/history".to_owned(),
        format!("/api/v1/loops/{trace}/fingerprint"),
        "/api/v1/quality/snapshots?all_versions=true".to_owned(),
        "/api/v1/quality/drift".to_owned(),
        "/api/v1/risk/history".to_owned(),
        format!("/api/v1/risk/current/{PULL}"),
        format!("/api/v1/forensics/trace/{trace}"),
        format!("/api/v1/forensics/incident?incident_id={id}"),
        "/api/v1/forensics/worst-traces".to_owned(),
        "/api/v1/digest/history".to_owned(),
        format!("/api/v1/commits?shas={}", history.culprit),
        "/api/v1/jobs".to_owned(),
        "/api/v1/sampling/policy".to_owned(),
        "/api/v1/audit".to_owned(),
    ] {
        told(&serve, &path).await;
    }

    // What left the machine for the model: fenced, and without a secret.
    let sent = site.sql("SELECT kind, sent FROM agent.narrations").await;
    let kinds: BTreeSet<&str> = sent.iter().filter_map(|row| row["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["incident", "pr_risk", "digest"]));
    for row in &sent {
        let prompt = row["sent"].as_str().unwrap();
        assert!(prompt.contains("evil"), "the test is about text that is there: {}", row["kind"]);
        assert!(!prompt.contains(SECRET), "a secret left the machine");
        assert!(!prompt.contains("<script>") && !prompt.contains("<!channel>"), "the fence can be closed");
        let messages: Vec<Value> = serde_json::from_str(prompt).unwrap();
        let told = messages.iter().filter(|message| message["role"] != "system");
        let told: String = told.filter_map(|message| message["content"].as_str()).collect();
        for end in ["<evidence>", "</evidence>"] {
            assert_eq!(told.matches(end).count(), 1, "{end} in {told}");
        }
        assert!(prompt.len() < 200_000, "{} bytes were sent", prompt.len());
    }

    // What was posted.
    let writes = vendors.writes().await;
    let slack: Vec<&Write> = writes.iter().filter(|write| write.source == "slack").collect();
    assert!(slack.len() >= 2, "an incident and a digest");
    slack.iter().for_each(|write| assert_inert_slack(&write.body, &owner));
    for write in writes.iter().filter(|write| write.source == "github") {
        if let Some(body) = write.body["body"].as_str() {
            assert_inert_comment(body, &owner);
        }
    }
    let log = serve.log();
    assert!(!log.contains(SECRET) && !log.contains('\u{202e}'), "the log");
    assert!(site.run(&["audit", "verify"]).await.status.success());
    assert!(serve.terminate().await.success());
}
