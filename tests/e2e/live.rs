//! Living with a running server: its rows, its clock, its files, its end.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_simulator::{Content, DEFAULT_SEED, Scenario, SimulatorOptions, default_anchor};

use crate::harness::{Account, Serve, Site, Vendors, text, until};
use crate::seeded;

/// Every file below a folder with its bytes, but for caches of answers and SQLite's shared memory, which hold nothing.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found.retain(|path, bytes| {
        !(path.contains("/cache/") || path.ends_with("-shm") || (path.ends_with("-wal") && bytes.is_empty()))
    });
    found
}

#[tokio::test]
async fn sql_reads_the_rows_of_the_server_beside_it() {
    let scene = seeded::cascade().await;
    let (serve, approval) = scene.asked("error_cascade").await;
    let query = "SELECT i.id AS incident, a.id AS approval, a.status FROM agent.incidents AS i \
                 JOIN agent.approvals AS a ON a.incident_id = i.id";
    let expected =
        |status: &str| json!([{"incident": approval["incident_id"], "approval": approval["id"], "status": status}]);
    assert_eq!(json!(scene.site.sql(query).await), expected("pending"));
    let id = approval["id"].as_str().unwrap();
    let rejected = serve.post(&format!("/api/v1/approvals/{id}/reject"), &json!({"reason": "not now"})).await;
    assert_eq!(rejected.status, 200, "{rejected:?}");
    assert_eq!(json!(scene.site.sql(query).await), expected("rejected"));
    // Joined with a vendor: the commit that was blamed.
    let joined = "SELECT i.type, c.sha FROM agent.incidents AS i JOIN github.commits AS c ON c.sha = i.culprit_sha \
                  WHERE c.owner = $owner AND c.repo = $repo";
    let account = scene.vendors.account();
    let (owner, repo) = (format!("owner={}", account.owner), format!("repo={}", account.repo));
    let rows = scene.site.run(&["sql", "--format", "json", "--param", &owner, "--param", &repo, joined]).await.json();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:#?}");
    // Nothing is written by asking, and nothing can be.
    let refused = scene.site.run(&["sql", "DELETE FROM agent.approvals"]).await;
    assert_ne!(refused.code(), 0, "{refused:?}");
    assert_eq!(json!(scene.site.sql(query).await), expected("rejected"));
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_while_it_judges_ends_well_and_loses_nothing() {
    let scene = seeded::cascade().await;
    let serve = scene.site.serve(scene.now).await;
    // At once: its detectors have just begun.
    assert!(serve.terminate().await.success());
    let verified = scene.site.run(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
    let serve = scene.again(1).await;
    serve.pending("error_cascade").await;
    assert_eq!(serve.items("/api/v1/incidents").await.len(), 1);
    assert!(serve.terminate().await.success());
}

#[tokio::test]
async fn the_clock_starts_where_it_is_told_to() {
    let scene = seeded::cascade().await;
    let now = "2026-01-31T12:00:00Z";
    let rows = scene.site.run(&["sql", "--format", "json", "--now", now, "SELECT now() AS now"]).await.json();
    let read: DateTime<Utc> = rows[0]["now"].as_str().unwrap().parse().unwrap();
    let start: DateTime<Utc> = now.parse().unwrap();
    assert!((start..start + TimeDelta::minutes(2)).contains(&read), "{read}");

    let serve = scene.site.serve(scene.now).await;
    let answer = serve.post("/api/v1/sql", &json!({"sql": "SELECT now() AS now"})).await;
    let read: DateTime<Utc> = answer.body["rows"][0]["now"].as_str().unwrap().parse().unwrap();
    assert!((scene.now..scene.now + TimeDelta::minutes(5)).contains(&read), "{read}");
}

#[tokio::test]
async fn running_a_detector_by_hand_writes_nothing() {
    let scene = seeded::cascade().await;
    let (serve, _) = scene.asked("error_cascade").await;
    assert!(serve.terminate().await.success());
    let before = files(&scene.site.path(""));
    assert!(before.keys().any(|path| path.ends_with("tripline.db")), "{:?}", before.keys());
    let sent = scene.vendors.writes().await.len();
    for detector in ["error_cascade", "cost_spike", "prompt_drift", "agent_loop", "silent_tool_failure"] {
        let run = scene.site.run(&["detectors", "run", detector, "--at", &text(scene.now), "--json"]).await;
        assert_eq!(run.json().as_array().unwrap().len(), usize::from(detector == "error_cascade"), "{run:?}");
    }
    let after = files(&scene.site.path(""));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert!(before == after, "a file of the home changed");
    assert_eq!(scene.vendors.writes().await.len(), sent);
}

/// How many findings a dry run of the loop detector has.
async fn loops(serve: &Serve) -> usize {
    let answer = serve.post("/api/v1/jobs/agent_loop/run", &json!({"dry_run": true})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let found = &answer.body["detail"]["judgement"]["findings"];
    found.as_array().unwrap_or_else(|| panic!("{answer:?}")).len()
}

#[tokio::test]
async fn editing_one_comparison_of_a_detectors_file_changes_the_finding() {
    let scene = seeded::agent_loop().await;
    let at = text(scene.now);
    let run = ["detectors", "run", "agent_loop", "--at", &at, "--json"];
    assert_eq!(scene.site.run(&run).await.json().as_array().unwrap().len(), 1);

    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries/detectors/agent_loop.sql");
    let rule = std::fs::read_to_string(bundled).unwrap();
    let comparison = "WHERE generations > $threshold";
    assert_eq!(rule.matches(comparison).count(), 1);
    let folder = scene.site.path("queries/detectors");
    std::fs::create_dir_all(&folder).unwrap();
    let own = folder.join("agent_loop.sql");
    std::fs::write(&own, rule.replace(comparison, "WHERE generations > 10 * $threshold")).unwrap();
    assert_eq!(scene.site.run(&run).await.json(), json!([]));
    std::fs::write(&own, rule.replace(comparison, "WHERE generations <= $threshold")).unwrap();
    let found = scene.site.run(&run).await.json();
    let counts: Vec<i64> = found.as_array().unwrap().iter().map(|f| f["generations"].as_i64().unwrap()).collect();
    assert!(!counts.is_empty() && counts.iter().all(|count| *count <= 10), "{counts:?}");

    // A file that is wrong is said to be, and does not take the place of the right one.
    std::fs::write(&own, rule.replace("-- window: 2h", "-- window: soon")).unwrap();
    let outcome = scene.site.run(&run).await;
    assert!(outcome.stderr.contains("agent_loop.sql") && outcome.stderr.contains("window"), "{outcome:?}");
    assert_eq!(outcome.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn settings_are_taken_over_while_the_server_runs_and_wrong_ones_are_not() {
    let scene = seeded::agent_loop().await;
    let serve = scene.site.serve(scene.now).await;
    serve.judged().await;
    assert_eq!(loops(&serve).await, 1);

    scene.site.settings(&json!({"agent_loop_generation_threshold": 50}));
    let threshold = async || serve.get("/api/v1/settings").await["settings"]["agent_loop_generation_threshold"].clone();
    until("the new threshold", async || (threshold().await == 50).then_some(())).await;
    assert_eq!(loops(&serve).await, 0);

    scene.site.settings(&json!({"agent_loop_generation_threshold": -1}));
    let refused = until("the refusal", async || {
        let reload = serve.get("/api/v1/settings").await["reload"].to_string();
        reload.contains("agent_loop_generation_threshold").then_some(reload)
    })
    .await;
    assert!(refused.contains("-1"), "{refused}");
    assert_eq!(threshold().await, 50, "what was in force stays");

    scene.site.settings(&json!({"agent_loop_generation_threshold": 5}));
    until("the next right one", async || (threshold().await == 5).then_some(())).await;
    assert!(loops(&serve).await >= 1);
}

#[tokio::test]
async fn a_seeded_scenario_is_found_where_it_was_written() {
    let (_, quiet) = Scenario::generate(&[Scenario::Quiet], default_anchor(), DEFAULT_SEED);
    let account = Account { owner: quiet.owner, repo: quiet.repo, sentry_org: quiet.sentry_org };
    let options = SimulatorOptions { content: Content::Accounts, ..SimulatorOptions::default() };
    let vendors = Vendors::start(options, account).await;
    let mut site = Site::over(&vendors);
    let seeded = site.run(&["seed", "all"]).await;
    assert!(seeded.status.success(), "{seeded:?}");

    // The history ends when it was written.
    let begun = |class: &str| -> (String, DateTime<Utc>) {
        let line = seeded.stdout.lines().find(|line| line.starts_with(&format!("seeded {class} ")));
        let line = line.unwrap_or_else(|| panic!("{class}: {seeded:?}"));
        let (entity, time) = line.split_once(" of '").unwrap().1.split_once("' beginning ").unwrap();
        (
            entity.to_owned(),
            DateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f UTC").map_or_else(
                |_| time.trim_end_matches(" UTC").replace(' ', "T").parse::<chrono::NaiveDateTime>().unwrap().and_utc(),
                |time| time.to_utc(),
            ),
        )
    };
    for (class, detector, minutes) in [
        ("SilentToolFailure", "silent_tool_failure", 75),
        ("PromptDrift", "prompt_drift", 100),
        ("AgentLoop", "agent_loop", 20),
        ("CostSpike", "cost_spike", 75),
        ("ErrorCascade", "error_cascade", 70),
    ] {
        let (entity, begun) = begun(class);
        let found = site
            .run(&["detectors", "run", detector, "--at", &text(begun + TimeDelta::minutes(minutes)), "--json"])
            .await;
        let found = found.json();
        let entities: Vec<&str> = found.as_array().unwrap().iter().filter_map(|f| f["entity"].as_str()).collect();
        assert_eq!(entities, [entity.as_str()], "{class}: {found:#}");
    }

    // Nobody's real account by accident.
    site.set("SENTRY_BASE_URL", "https://sentry.example");
    vendors.forget().await;
    let refused = site.run(&["seed", "quiet"]).await;
    assert_eq!(refused.code(), 1, "{refused:?}");
    assert!(refused.stderr.contains("--yes") && refused.stderr.contains("sentry.example"), "{refused:?}");
    assert_eq!(vendors.writes().await.len(), 0, "nothing was written anywhere before it was refused");
}

#[tokio::test]
async fn a_key_that_only_reads_decides_nothing() {
    let mut scene = seeded::cascade().await;
    scene.site.unset("AUTH_MODE");
    let create = async |name: &str, scopes: &[&str]| -> String {
        let mut args = vec!["keys", "create", name];
        args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
        let outcome = scene.site.run(&args).await;
        assert!(outcome.status.success(), "{outcome:?}");
        let secret = outcome.stdout.split_whitespace().find(|word| word.starts_with("tl_")).map(str::to_owned);
        secret.unwrap_or_else(|| panic!("no secret in {outcome:?}"))
    };
    scene.site.settings(&json!({"governance": {"approvers": ["reader", "alice"]}}));
    let serve = scene.site.serve(scene.now).await;
    let (reader, alice, bob) = (
        create("reader", &["read"]).await,
        create("alice", &["read", "operate"]).await,
        create("bob", &["read", "operate"]).await,
    );
    let ask = async |key: &str, method: &str, path: &str| -> (u16, Value) {
        let url = format!("{}{path}", serve.url);
        let request = if method == "GET" { serve.client.get(url) } else { serve.client.post(url) };
        let request = if key.is_empty() { request } else { request.bearer_auth(key) };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    };
    assert_eq!(ask("", "GET", "/api/v1/approvals").await.0, 401);
    let id = until("the approval", async || {
        let (status, body) = ask(&reader, "GET", "/api/v1/approvals?status=pending").await;
        assert_eq!(status, 200, "{body}");
        body["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let approve = format!("/api/v1/approvals/{id}/approve");
    assert_eq!(ask("", "POST", &approve).await.0, 401);
    assert_eq!(ask("tl_invented", "POST", &approve).await.0, 401);
    assert_eq!(ask(&reader, "POST", &approve).await.0, 403, "on the list, but the key may only read");
    let (status, body) = ask(&bob, "POST", &approve).await;
    assert_eq!((status, body["error"]["code"].as_str()), (403, Some("not_an_approver")), "{body}");
    let (status, body) = ask(&alice, "POST", &approve).await;
    assert_eq!((status, body["resolved_by"].as_str()), (200, Some("alice")), "{body}");
    let (status, body) = ask(&alice, "POST", &approve).await;
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("already_resolved")), "{body}");
    // No secret is in what the server logged.
    let log = serve.log();
    for secret in [&reader, &alice, &bob, "tl_invented", "github-e2e", "xoxb-e2e", "sk-e2e"] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}
