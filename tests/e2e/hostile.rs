//! Hostile text in every field that a vendor lets people write: it is shown, and does nothing.

mod modes;
mod poison;

use chrono::TimeDelta;
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::{Value, json};
use tempfile::TempDir;
use tripline_simulator::LangfuseGeneration;

use crate::harness::{APPROVER, Request, Serve, Site, Vendors, Write};
use crate::history::{Class, History, Rollout, Story, Vocabulary, tell};

struct Scene {
    vendors: Vendors,
    serve: Serve,
    site: Site,
    history: History,
    _folder: TempDir,
}

async fn scene(class: Class) -> Scene {
    scene_with(class, |_, _| {}).await
}

/// A scene whose installation is set up further, with the address of the vendors.
async fn scene_with(class: Class, set_up: impl FnOnce(&mut Site, &str)) -> Scene {
    let story = Story {
        class,
        seed: 67,
        end: "2026-09-10T14:00:00Z",
        per_hour: 20.0,
        season: 0.0,
        weekend: 1.0,
        lasts: 75,
        cost_usd: 0.09,
        rollout: Rollout::Pulls,
    };
    let mut history = tell(story, &Vocabulary::new(0));
    ask_for_changes(&mut history);
    for (name, rows) in &mut history.collections {
        for row in rows.iter_mut() {
            poison::item(name, row);
        }
        // The newest: those that everything looks at.
        rows.iter_mut().rev().take(3).for_each(poison::huge);
    }
    if class != Class::AgentLoop {
        history.entity = poison::text(&history.entity);
    }
    let folder = TempDir::new().unwrap();
    history.write(folder.path());
    let vendors =
        Vendors::of_folder(folder.path(), history.account.clone(), Some(history.end), LangfuseGeneration::V4).await;
    let mut site = Site::over(&vendors);
    site.set("TRIPLINE_PUBLIC_URL", "https://tripline.example");
    set_up(&mut site, vendors.base());
    let serve = site.serve(history.end + TimeDelta::seconds(50)).await;
    Scene { vendors, serve, site, history, _folder: folder }
}

/// A pull request that is open and changes what the culprit changed.
fn ask_for_changes(history: &mut History) {
    let of_culprit = |row: &&Value| row["sha"] == history.culprit.as_str();
    let culprit = history.rows("github/commits").iter().find(of_culprit).unwrap();
    let file = culprit["_files"][0]["filename"].clone();
    let (owner, repo) = (history.account.owner.clone(), history.account.repo.clone());
    let Some(mut pull) = history.rows("github/pulls").first().cloned() else { return };
    for (key, value) in [
        ("id", json!(999_999)),
        ("number", json!(999)),
        ("state", json!("open")),
        ("merged_at", Value::Null),
        ("closed_at", Value::Null),
        ("merge_commit_sha", Value::Null),
        ("head", json!({"ref": "topic", "sha": "f".repeat(40)})),
    ] {
        pull[key] = value;
    }
    let files = json!({"_owner": owner, "_repo": repo, "_number": 999, "filename": file, "status": "modified",
        "additions": 1, "deletions": 1, "changes": 2});
    for (name, rows) in &mut history.collections {
        if *name == "github/pulls" {
            rows.push(pull.clone());
        }
    }
    history.collections.push(("github/pull_files", vec![files]));
}

/// Nothing that nobody can see.
fn assert_visible(text: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(hidden), "hidden characters in {text:?}");
}

/// What Slack would make a link, a mention or a date of: only what is ours.
fn assert_inert_mrkdwn(text: &str, owner: &str) {
    assert_visible(text);
    for part in text.split('<').skip(1) {
        let inside = part.split('>').next().unwrap_or_default();
        let ours = inside == format!("@{APPROVER}")
            || inside.starts_with("!date^")
            || inside.starts_with("https://tripline.example/")
            || inside.starts_with(&format!("https://github.com/{owner}/"));
        assert!(ours, "Slack would act on <{inside}>");
        assert!(!inside.contains("evil"), "{inside}");
    }
}

fn assert_inert_slack(value: &Value, owner: &str) {
    match value {
        Value::Object(object) => {
            let text = object.get("text").and_then(Value::as_str);
            match (object.get("type").and_then(Value::as_str), text) {
                (Some("mrkdwn"), Some(text)) => assert_inert_mrkdwn(text, owner),
                (Some("plain_text"), Some(text)) => {
                    assert_visible(text);
                    assert!(!text.contains(['<', '>']), "{text}");
                    assert!(text.chars().count() <= 3000, "longer than Slack takes: {}", text.len());
                }
                (_, Some(text)) => assert_inert_mrkdwn(text, owner),
                _ => {}
            }
            object.values().for_each(|value| assert_inert_slack(value, owner));
        }
        Value::Array(items) => items.iter().for_each(|value| assert_inert_slack(value, owner)),
        _ => {}
    }
}

/// What GitHub would make of a body: text, code and headings of ours; the one comment is our marker.
fn assert_inert_markdown(body: &str, owner: &str) {
    assert_inert_text(body, owner, false);
}

/// The same; tables of ours may be there.
fn assert_inert_text(body: &str, owner: &str, has_tables: bool) {
    assert!(!body.contains('\u{0}') && !body.contains('\u{202e}'), "hidden characters");
    let mut code = 0;
    for event in Parser::new_ext(body, Options::all()) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => code += 1,
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => code -= 1,
            Event::Start(Tag::Link { dest_url, .. }) => {
                let ours = dest_url.starts_with("https://tripline.example/")
                    || dest_url.starts_with(&format!("https://github.com/{owner}/"));
                assert!(ours, "a link to {dest_url}");
            }
            Event::Start(Tag::Table(_)) if has_tables => {}
            Event::Start(tag @ (Tag::Image { .. } | Tag::Table(_) | Tag::FootnoteDefinition(_))) => panic!("{tag:?}"),
            Event::Html(html) | Event::InlineHtml(html) => {
                let html = html.trim();
                assert!(html.is_empty() || html.starts_with("<!-- tripline:key="), "HTML: {html}");
                assert_eq!(html.matches("<!--").count(), usize::from(!html.is_empty()));
            }
            Event::Text(text) if code == 0 => {
                for active in ["@channel", "@everyone", "http://evil", "www.evil"] {
                    assert!(!text.contains(active), "GitHub would act on {active:?} in {text:?}");
                }
            }
            _ => {}
        }
    }
}

async fn inert_everywhere(class: Class) {
    let Scene { vendors, serve, site, history, _folder } = scene(class).await;
    let kind = class.name();
    let owner = history.account.owner.as_str();
    for run in serve.judged().await {
        assert_eq!(run["status"], "ok", "{run}");
    }

    // The API tells it as it is, as JSON.
    let incidents = serve.items("/api/v1/incidents").await;
    assert_eq!(incidents.len(), 1, "{:#?}", incidents.iter().map(|i| (&i["type"], &i["entity"])).collect::<Vec<_>>());
    assert_eq!(incidents[0]["type"], kind);
    assert_eq!(incidents[0]["entity"], history.entity.as_str());
    assert_eq!(incidents[0]["culprit_sha"], history.culprit.as_str(), "no text leads astray");
    let answer = serve.client.get(format!("{}/api/v1/incidents", serve.url)).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("application/json"));
    assert_eq!(header("x-content-type-options"), "nosniff");

    // Nobody is persuaded: a person decides, and one issue is opened where the configuration says.
    let approval = serve.pending(kind).await;
    assert_eq!(serve.remediations().await, Vec::<Value>::new());
    assert_eq!(vendors.click(&serve, APPROVER, &approval, "tripline_approve").await, 200);
    serve.remediation("done").await;
    let issues = vendors.issues().await;
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].path, format!("/repos/{owner}/{}/issues", history.account.repo));
    let text = |key: &str| issues[0].body[key].as_str().unwrap().to_owned();
    assert!(text("body").contains("evil"), "the test is about text that is there");
    assert_inert_markdown(&text("body"), owner);
    assert_visible(&text("title"));
    assert!(text("title").chars().count() <= 256, "{}", text("title"));

    let writes: Vec<Write> = vendors.writes().await;
    let slack: Vec<&Write> = writes.iter().filter(|write| write.source == "slack").collect();
    assert!(slack.iter().any(|write| write.body.to_string().contains("evil")), "the test is about text that is there");
    slack.iter().for_each(|write| assert_inert_slack(&write.body, owner));

    // Bound values are values.
    let named = |row: &&Value| row["name"] == history.entity.as_str();
    let expected = history.rows("langfuse/observations").iter().filter(named).count();
    let query = "SELECT count(*) AS calls FROM langfuse.observations WHERE name = $name";
    let counted = serve.post("/api/v1/sql", &json!({"sql": query, "params": {"name": history.entity}})).await;
    assert_eq!(counted.body["rows"], json!([{"calls": expected}]), "{counted:?}");
    assert!(expected > 0);
    let sha = "../../../orgs/evil/repos?x=1#";
    let query = "SELECT filename FROM github.commit_files WHERE owner = $owner AND repo = $repo AND sha = $sha";
    let params = json!({"owner": owner, "repo": history.account.repo, "sha": sha});
    serve.post("/api/v1/sql", &json!({"sql": query, "params": params})).await;
    let requests = vendors.requests().await;
    let commit = format!("/repos/{owner}/{}/commits/", history.account.repo);
    let encoded = percent_encoding::utf8_percent_encode(sha, percent_encoding::NON_ALPHANUMERIC).to_string();
    let plain = |path: &str| path.replace("%2E", ".").replace("%3D", "=");
    let asked_for = |request: &&Request| request.path.strip_prefix(&commit).map(plain) == Some(plain(&encoded));
    assert!(requests.iter().any(|request| asked_for(&request)), "one part of the path: {:?}", requests.last());
    for request in requests.iter().filter(|request| request.source == "github") {
        let home = format!("/repos/{owner}/{}/", history.account.repo);
        assert!(request.path.starts_with(&home) && !request.path.contains("/../"), "{}", request.path);
    }
    let kept = site.sql("SELECT count(*) AS n FROM agent.incidents").await;
    assert_eq!(kept, [json!({"n": 1})]);
    assert!(site.run(&["audit", "verify"]).await.status.success());
    assert!(serve.terminate().await.success());
}

#[tokio::test]
async fn hostile_text_around_an_error_cascade_is_inert_everywhere() {
    inert_everywhere(Class::ErrorCascade).await;
}

#[tokio::test]
async fn hostile_text_around_a_prompt_drift_is_inert_everywhere() {
    inert_everywhere(Class::PromptDrift).await;
}

#[tokio::test]
async fn hostile_text_around_a_silent_tool_failure_is_inert_everywhere() {
    inert_everywhere(Class::SilentToolFailure).await;
}
