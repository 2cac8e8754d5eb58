//! Sources from the command line: bundled ones against their vendors, and a file of the user's own from its draft to SQL.

use serde_json::Value;

use crate::harness::{Outcome, Site, text};
use crate::seeded::{self, Scene};

/// The commits of the simulated GitHub once more, as somebody would describe them.
const MINE: &str = r"source: mine
description: A source of my own.
base_url: { env: [MINE_URL] }
inputs:
  token: { env: [MINE_TOKEN], required: true }
auth: { type: bearer, token: token }
test: /rate_limit
tables:
  commits:
    description: Commits of a repository.
    guide: owner and repo are required.
    primary_key: [owner, repo, sha]
    required: [owner, repo]
    columns:
      owner: { type: text, from: key, about: Owner }
      repo: { type: text, from: key, about: Repository }
      sha: { type: text, about: Commit id }
      author: { type: json, about: Author as the vendor has it }
      at: { type: timestamp, path: commit.committer.date, about: When }
    endpoints:
      - name: commits
        path: /repos/{{owner}}/{{repo}}/commits
        pagination: { type: page, param: page, link: true }
        page_size: { param: per_page, max: 100 }
";

fn write(site: &Site, name: &str, text: &str) -> String {
    let path = site.path("sources.d").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn said(outcome: &Outcome) -> String {
    format!("{}{}", outcome.stdout, outcome.stderr)
}

/// All seven vendors configured.
fn configured(scene: &mut Scene) {
    let base = scene.vendors.base().to_owned();
    for (name, value) in [
        ("DATADOG_API_URL", format!("{base}/datadog")),
        ("DD_API_KEY", "dd-api-e2e".to_owned()),
        ("DD_APP_KEY", "dd-app-e2e".to_owned()),
        ("PAGERDUTY_API_URL", format!("{base}/pagerduty")),
        ("PAGERDUTY_TOKEN", "pd-e2e".to_owned()),
        ("LINEAR_API_URL", format!("{base}/linear")),
        ("LINEAR_API_KEY", "lin_api_e2e".to_owned()),
    ] {
        scene.site.set(name, value);
    }
}

#[tokio::test]
async fn a_file_of_ones_own_is_checked_listed_described_tested_and_asked_like_any_other() {
    let mut scene = seeded::cascade().await;
    let file = write(&scene.site, "mine.yaml", MINE);
    let lint = scene.site.run(&["sources", "lint", &file]).await;
    assert_eq!((lint.code(), lint.stdout.trim()), (0, format!("{file}: ok, source mine").as_str()), "{lint:?}");

    let status = async |site: &Site| -> String {
        let listed = site.run(&["sources", "list", "--json"]).await.json();
        let mine = listed.as_array().unwrap().iter().find(|source| source["name"] == "mine").unwrap();
        mine["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(status(&scene.site).await, "set MINE_URL, MINE_TOKEN");
    let query =
        "SELECT sha, at, author->>'login' AS login FROM mine.commits WHERE owner = 'acme-shop' AND repo = 'shopfront'";
    let unset = scene.site.run(&["sql", query]).await;
    assert!(unset.code() != 0 && unset.stderr.contains("set MINE_URL, MINE_TOKEN"), "{unset:?}");

    scene.site.set("MINE_URL", format!("{}/github", scene.vendors.base()));
    scene.site.set("MINE_TOKEN", "mine-e2e");
    assert_eq!(status(&scene.site).await, "configured");
    let described = scene.site.run(&["sources", "describe", "mine.commits"]).await;
    assert!(described.code() == 0 && described.stdout.contains("Required keys"), "{described:?}");
    let tested = scene.site.run(&["sources", "test", "mine"]).await;
    assert!(tested.code() == 0 && tested.stdout.starts_with("mine: ok in "), "{tested:?}");
    let rows = scene.site.sql(query).await;
    assert!(rows.len() > 10 && rows[0]["login"].is_string() && rows[0]["at"].is_string(), "{rows:?}");
    let known = scene.site.sql("SELECT parameter FROM tripline.filters WHERE source = 'mine' AND operator = '='").await;
    assert_eq!(known.len(), 2);
}

#[tokio::test]
async fn a_broken_file_is_named_with_its_line_and_takes_no_other_source_down() {
    let scene = seeded::cascade().await;
    let broken = MINE.replace("{{repo}}/commits", "{repository}/commits").replace("type: json", "type: jsn");
    let file = write(&scene.site, "mine.yaml", &broken);
    let lint = scene.site.run(&["sources", "lint", &file]).await;
    assert_eq!(lint.code(), 1, "{lint:?}");
    for expected in [format!("{file}:18:"), format!("{file}:22:"), "`{repository}`".to_owned(), "`jsn`".to_owned()] {
        assert!(lint.stderr.contains(&expected), "{expected}: {lint:?}");
    }
    let list = scene.site.run(&["sources", "list"]).await;
    assert!(list.code() == 0 && list.stderr.contains(&format!("{file}:18:")), "{list:?}");
    assert!(list.stdout.contains("github") && !list.stdout.contains("mine"), "{list:?}");
    let rows = scene.site.sql("SELECT id FROM sentry.projects").await;
    assert!(!rows.is_empty());
    let unknown = scene.site.run(&["sources", "describe", "mine"]).await;
    assert!(unknown.code() == 1 && unknown.stderr.contains("known sources: "), "{unknown:?}");
}

const DESK: &str = r"
openapi: 3.0.3
info: { title: Desk }
servers: [{ url: 'https://desk.example.com' }]
components: { securitySchemes: { token: { type: http, scheme: bearer } } }
paths:
  /tickets:
    get:
      parameters: [{ name: page, in: query, schema: { type: integer, default: 1 } }]
      responses:
        '200': { content: { application/json: { schema: { type: array, items: { type: object, properties: { id: { type: integer } } } } } } }
";

#[tokio::test]
async fn a_source_is_drafted_from_a_document_once_and_lints_clean() {
    let scene = seeded::cascade().await;
    let document = scene.site.path("desk.openapi.yaml");
    std::fs::write(&document, DESK).unwrap();
    let document = document.to_str().unwrap();
    let drafted = scene.site.run(&["sources", "new", "--openapi", document]).await;
    assert!(drafted.code() == 0 && drafted.stdout.contains("desk.yaml: 1 tables"), "{drafted:?}");
    let file = scene.site.path("sources.d/desk.yaml");
    assert_eq!(scene.site.run(&["sources", "lint", file.to_str().unwrap()]).await.code(), 0);
    let described = scene.site.run(&["sources", "describe", "desk"]).await;
    assert!(described.stdout.contains("tickets") && described.stdout.contains("set DESK_TOKEN"), "{described:?}");
    let again = scene.site.run(&["sources", "new", "--openapi", document]).await;
    assert!(again.code() == 1 && again.stderr.contains("choose another file with --out"), "{again:?}");
    std::fs::write(document, "swagger: '2.0'").unwrap();
    let old = scene.site.run(&["sources", "new", "--openapi", document, "--name", "old"]).await;
    assert!(old.code() == 1 && old.stderr.contains("Swagger 2.0") && !old.stderr.contains("--name"), "{old:?}");
    let schema = scene.site.run(&["sources", "schema"]).await.json();
    assert_eq!(schema["title"], "A Tripline source");
}

/// Slack takes its token as a parameter as well.
const SECRET_PARAMETER: &str = r"source: mine
description: A source of my own.
base_url: { env: [MINE_URL] }
inputs: { k: { env: [MINE_TOKEN], required: true } }
auth: { type: query, param: token, value: k }
errors: { ok: ok, code: error, unauthorized: [invalid_auth] }
test: /users.list
tables:
  users:
    description: Users.
    guide: Ask.
    primary_key: [id]
    columns: { id: { type: text, about: Id } }
    endpoints: [{ name: users, path: /users.list, rows: members }]
";

#[tokio::test]
async fn a_secret_that_travels_as_a_parameter_is_in_no_output_of_any_command() {
    let mut scene = seeded::cascade().await;
    write(&scene.site, "mine.yaml", SECRET_PARAMETER);
    scene.site.set("MINE_URL", format!("{}/slack", scene.vendors.base()));
    scene.site.set("MINE_TOKEN", "good-hunter2-0123456789");
    scene.site.set("TRIPLINE_LOG", "trace");
    assert!(!scene.site.sql("SELECT id FROM mine.users").await.is_empty());
    // One that the vendor refuses.
    for token in ["good-hunter2-0123456789", "invalid-hunter2-0123456789"] {
        scene.site.set("MINE_TOKEN", token);
        for args in [
            vec!["sql", "--report", "json", "SELECT id FROM mine.users"],
            vec!["sql", "EXPLAIN SELECT id FROM mine.users"],
            vec!["sql", "SELECT * FROM tripline.sources"],
            vec!["sql", "SELECT * FROM tripline.filters WHERE source = 'mine'"],
            vec!["sources", "test", "mine"],
            vec!["sources", "list", "--json"],
            vec!["sources", "describe", "mine.users"],
            vec!["doctor"],
        ] {
            let outcome = scene.site.run(&args).await;
            assert!(!said(&outcome).contains("hunter2"), "{args:?}: {outcome:?}");
        }
    }
    let refused = scene.site.run(&["sql", "SELECT id FROM mine.users"]).await;
    assert!(refused.code() == 1 && refused.stderr.contains("check MINE_TOKEN"), "{refused:?}");
    let sent = scene.vendors.requests().await;
    assert!(sent.iter().any(|request| request.query.contains("token=invalid-hunter2")), "it does arrive");
}

/// A question for every bundled table, by source.
fn questions(owner: &str, repo: &str) -> Vec<(&'static str, String)> {
    let repository = format!("owner = '{owner}' AND repo = '{repo}'");
    let mut all: Vec<(&'static str, String)> = Vec::new();
    for table in ["projects", "traces", "observations", "scores", "sessions", "prompts"] {
        all.push(("langfuse", format!("SELECT * FROM langfuse.{table} LIMIT 5")));
    }
    for table in ["projects", "issues", "releases", "deploys"] {
        all.push(("sentry", format!("SELECT * FROM sentry.{table} LIMIT 5")));
    }
    let events = "SELECT e.* FROM (SELECT id FROM sentry.issues ORDER BY last_seen DESC LIMIT 2) i JOIN sentry.issue_events e ON e.issue_id = i.id";
    all.push(("sentry", events.to_owned()));
    for table in ["commits", "pulls", "issues", "releases", "deployments", "workflow_runs"] {
        all.push(("github", format!("SELECT * FROM github.{table} WHERE {repository} LIMIT 3")));
    }
    for (table, of, key, own) in
        [("commit_files", "commits", "sha", "sha"), ("pull_files", "pulls", "number", "number")]
    {
        let some = format!("SELECT owner, repo, {own} FROM github.{of} WHERE {repository} LIMIT 3");
        let on = format!("f.owner = c.owner AND f.repo = c.repo AND f.{key} = c.{own}");
        all.push(("github", format!("SELECT f.* FROM ({some}) c JOIN github.{table} f ON {on}")));
    }
    for table in ["channels", "messages", "users"] {
        all.push(("slack", format!("SELECT * FROM slack.{table} LIMIT 5")));
    }
    for (table, time) in [("events", "timestamp"), ("logs", "timestamp"), ("error_tracking_issues", "last_seen")] {
        all.push(("datadog", format!("SELECT * FROM datadog.{table} WHERE {time} >= now() - INTERVAL '7 days'")));
    }
    for table in ["monitors", "incidents", "metrics"] {
        all.push(("datadog", format!("SELECT * FROM datadog.{table}")));
    }
    for table in ["incidents", "services", "oncalls", "users", "schedules"] {
        all.push(("pagerduty", format!("SELECT * FROM pagerduty.{table}")));
    }
    let entries = "SELECT * FROM pagerduty.log_entries WHERE created_at >= now() - INTERVAL '7 days'";
    all.push(("pagerduty", entries.to_owned()));
    let alerts = "SELECT a.* FROM pagerduty.incidents i JOIN pagerduty.alerts a ON a.incident_id = i.id";
    all.push(("pagerduty", alerts.to_owned()));
    for table in ["issues", "comments", "teams", "projects", "users", "cycles"] {
        all.push(("linear", format!("SELECT * FROM linear.{table}")));
    }
    all
}

#[tokio::test]
async fn every_table_of_every_bundled_source_is_read_from_its_vendor() {
    let mut scene = seeded::cascade().await;
    configured(&mut scene);
    let now = text(scene.now);
    let account = scene.vendors.account().clone();
    let mut empty = Vec::new();
    let all = questions(&account.owner, &account.repo);
    let tables = scene.site.sql("SELECT count(*) AS n FROM tripline.tables").await;
    assert_eq!(tables[0]["n"].as_u64().unwrap() as usize, all.len(), "a question for each table");
    for (source, query) in all {
        let outcome = scene.site.run(&["sql", "--format", "json", "--now", &now, &query]).await;
        assert_eq!(outcome.code(), 0, "{source}: {query}: {outcome:?}");
        let rows: Value = outcome.json();
        if rows.as_array().unwrap().is_empty() {
            empty.push(query);
        }
    }
    assert!(empty.is_empty(), "nothing to see in {empty:#?}");
}

#[tokio::test]
async fn a_part_of_an_answer_is_never_taken_for_all_of_it() {
    let mut scene = seeded::cascade().await;
    configured(&mut scene);
    let now = text(scene.now);
    for (source, query, says) in [
        ("linear", "SELECT id FROM linear.issues", "INTERNAL_SERVER_ERROR"),
        ("datadog", "SELECT id FROM datadog.events WHERE timestamp >= now() - INTERVAL '7 days'", "timeout"),
    ] {
        scene.vendors.fault(source, "", "partial").await;
        let outcome = scene.site.run(&["sql", "--format", "json", "--now", &now, query]).await;
        assert_eq!(outcome.code(), 1, "{outcome:?}");
        assert!(outcome.stderr.contains(says) && outcome.stderr.contains(source), "{outcome:?}");
        scene.vendors.heal().await;
        let whole = scene.site.run(&["sql", "--format", "json", "--now", &now, query]).await;
        assert_eq!(whole.code(), 0, "{whole:?}");
    }
}
