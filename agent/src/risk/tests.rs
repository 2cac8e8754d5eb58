//! PR risk over the simulator, by HTTP: history, score, comment, question.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_connectors::{ConnectorOptions, Connectors};
use tripline_engine::{Engine, EngineOptions, Environment, ManualClock, SourceEntry};
use tripline_simulator::{Content, SimulatorHandle, SimulatorOptions};
use tripline_store::{ActionFilter, ApprovalFilter, IncidentFilter, PageRequest};

use super::{Risk, RiskParts};
use crate::actions::{Destinations, OutboxOptions};
use crate::govern::Governance;
use crate::narrate::TemplateNarrator;
use crate::testing::{Home, Scene};

const HOSTILE: &str = "src/`x` | @everyone <script>.rs";

fn now() -> DateTime<Utc> {
    "2026-03-20T12:00:00Z".parse().unwrap()
}

fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

struct Yard {
    simulator: SimulatorHandle,
    scene: Scene,
    governance: Governance,
    risk: Risk,
    _data: tempfile::TempDir,
}

/// Two commits: the first, of `src/old.rs`, was followed by three new issues and $2; the second by less than before. A pull
/// request renames the file.
fn write(data: &std::path::Path) {
    let commit = |sha: &str, at: DateTime<Utc>, files: Value| {
        json!({"sha": sha.repeat(40), "_owner": "acme", "_repo": "shop", "html_url": "https://github.com/acme/shop",
            "commit": {"message": "change", "author": {"name": "D", "email": "d@x", "date": stamp(at)},
                "committer": {"name": "D", "email": "d@x", "date": stamp(at)}}, "parents": [], "files": files})
    };
    let file =
        |path: &str| json!([{"filename": path, "status": "modified", "additions": 1, "deletions": 1, "changes": 2}]);
    let (first, second) = (now() - TimeDelta::days(20), now() - TimeDelta::days(10));
    let generation = |id: usize, at: DateTime<Utc>, cost: f64| {
        json!({"id": format!("g{id}"), "traceId": format!("t{id}"), "type": "GENERATION", "name": "chat", "level": "DEFAULT",
            "startTime": stamp(at), "endTime": stamp(at), "totalCost": cost, "calculatedTotalCost": cost,
            "costDetails": {"total": cost}})
    };
    let issue = |id: usize, at: DateTime<Utc>| {
        json!({"id": id.to_string(), "shortId": format!("WEB-{id}"), "title": "Broken", "culprit": "c", "level": "error",
            "status": "unresolved", "count": "4", "firstSeen": stamp(at), "lastSeen": stamp(at),
            "project": {"id": "1", "slug": "web", "name": "web"}})
    };
    let hour = TimeDelta::hours(1);
    let files = [
        ("github/commits", json!([commit("a", first, file("src/old.rs")), commit("b", second, file("src/old.rs"))])),
        (
            "github/pulls",
            json!([{"_owner": "acme", "_repo": "shop", "number": 7, "id": 7, "state": "open", "title": "Move @all [x](http://evil)",
                "user": {"login": "dev"}, "created_at": stamp(now() - hour), "updated_at": stamp(now() - hour),
                "head": {"ref": "b", "sha": "f".repeat(40)}, "base": {"ref": "main", "sha": "e".repeat(40)},
                "html_url": "https://github.com/acme/shop/pull/7"}]),
        ),
        (
            "github/pull_files",
            json!([{"_owner": "acme", "_repo": "shop", "_number": 7, "filename": HOSTILE, "previous_filename": "src/old.rs",
                "status": "renamed", "additions": 1, "deletions": 1, "changes": 2}]),
        ),
        (
            "langfuse/observations",
            json!([
                generation(1, first - hour, 1.0),
                generation(2, first + hour, 3.0),
                generation(3, second - hour, 5.0),
                generation(4, second + hour, 0.5)
            ]),
        ),
        (
            "sentry/issues",
            json!([
                issue(1, first - hour),
                issue(2, first + hour),
                issue(3, first + hour * 2),
                issue(4, first + hour * 3),
                issue(5, first + hour * 23)
            ]),
        ),
    ];
    for (name, rows) in files {
        let path = data.join(format!("{name}.json"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, rows.to_string()).unwrap();
    }
}

impl Yard {
    async fn new(threshold: i64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let data = tempfile::tempdir().unwrap();
        write(data.path());
        let content = Content::DataDir(data.path().to_path_buf());
        let options = SimulatorOptions { content, clock: Some(now()), ..SimulatorOptions::default() };
        let simulator = tripline_simulator::start(options).await.unwrap();
        let base = simulator.base_url();
        let environment = Environment::of([
            ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-test".to_owned()),
            ("LANGFUSE_SECRET_KEY", "sk-lf-test".to_owned()),
            ("SENTRY_BASE_URL", format!("{base}/sentry")),
            ("SENTRY_TOKEN", "sntrys_test".to_owned()),
            ("SENTRY_ORG", "acme".to_owned()),
            ("GITHUB_API_URL", format!("{base}/github")),
            ("GITHUB_TOKEN", "ghp_test".to_owned()),
            ("GITHUB_OWNER", "acme".to_owned()),
            ("GITHUB_REPO", "shop".to_owned()),
        ]);
        let clock = ManualClock::at(now());
        let home = Home::new();
        let connectors = Connectors::load(&ConnectorOptions {
            environment: &environment,
            sources_dir: None,
            cache_dir: Some(home.path().join("cache")),
            clock: clock.clone(),
            retry_seed: 1,
        });
        let entries: Vec<_> = connectors
            .sources()
            .iter()
            .map(|source| SourceEntry {
                name: source.name().to_owned(),
                description: source.description().to_owned(),
                status: format!("{:?}", source.status()),
                base_url: source.base_url(),
                tables: source.tables(),
            })
            .collect();
        let engine = Engine::new(Arc::clone(&clock) as _, EngineOptions::default(), &entries, Vec::new()).unwrap();
        let scene = Scene::new(engine, clock.clone(), home);
        let mut settings = scene.ctx.settings.get().as_ref().clone();
        settings.pr_risk_threshold = threshold;
        scene.ctx.settings.set(settings);
        let options = OutboxOptions { settle_pause: std::time::Duration::ZERO, ..OutboxOptions::default() };
        let destinations = Destinations::from_environment(&environment);
        let governance = Governance::new(&scene.ctx, clock.clone(), destinations, options).unwrap();
        let risk = Risk::new(RiskParts {
            ctx: scene.ctx.clone(),
            queries: scene.detectors.queries().clone(),
            narrator: Arc::new(TemplateNarrator),
            governor: governance.gate.clone(),
            notices: governance.notices.clone(),
            destinations: Arc::clone(&governance.destinations),
            system_clock: clock,
        });
        Self { simulator, scene, governance, risk, _data: data }
    }

    async fn comments(&self) -> Vec<String> {
        let url = format!("{}/github/repos/acme/shop/issues/7/comments", self.simulator.base_url());
        let answer = reqwest::Client::new().get(url).bearer_auth("ghp_test").send().await.unwrap();
        let listed: Value = answer.json().await.unwrap();
        listed.as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap().to_owned()).collect()
    }

    async fn drain(&self) {
        self.governance.outbox.drain(now()).await.unwrap();
    }
}

#[tokio::test]
async fn one_pull_request_scored_ten_times_has_one_score_and_one_comment() {
    let yard = Yard::new(70).await;
    let target = yard.risk.repository().unwrap().clone();
    for round in 0..10 {
        let scored = yard.risk.score(&target, 7, true).await.unwrap();
        let points = scored.report.points;
        assert!(scored.report.coverage.is_complete(), "{:?}", scored.report.coverage);
        // 4 − 1 new issues × 4 + ($3 − $1) × 10; the commit after which it was less adds and takes nothing.
        assert_eq!((points.errors, points.score), (3.0, 32), "round {round}: {points:?}");
        assert_eq!(scored.report.commit_count, 2);
        let published = yard.risk.publish(&scored).await.unwrap();
        assert_eq!(published.comment, round == 0);
        yard.drain().await;
        // Once measured, a round costs the pull request, its files, and a listing of commits.
        assert!(round == 0 || scored.requests <= 3, "round {round}: {} requests", scored.requests);
    }
    assert_eq!(yard.comments().await.len(), 1);
    let history = yard.scene.ctx.store.risk.history(&yard.scene.ctx.scope, None, None, 100).await.unwrap();
    assert_eq!(history.len(), 2);
}

#[tokio::test]
async fn a_comment_says_nothing_that_its_author_slipped_in() {
    let yard = Yard::new(70).await;
    let target = yard.risk.repository().unwrap().clone();
    let scored = yard.risk.score(&target, 7, true).await.unwrap();
    yard.risk.publish(&scored).await.unwrap();
    yard.drain().await;
    let comment = yard.comments().await.remove(0);
    assert!(comment.contains("## Tripline Risk Score: 32/100"), "{comment}");
    let outside_code: String = comment.lines().filter(|line| !line.starts_with("- ")).collect();
    assert!(!outside_code.contains("<script>"), "{comment}");
    assert!(comment.contains("``src/`x` | @everyone <script>.rs``"), "{comment}");
    assert_eq!(comment.lines().filter(|line| line.contains("tripline:key=")).count(), 1);
}

#[tokio::test]
async fn above_the_threshold_somebody_is_asked_and_the_approved_review_requests_changes() {
    let yard = Yard::new(30).await;
    let (ctx, target) = (&yard.scene.ctx, yard.risk.repository().unwrap().clone());
    for _ in 0..2 {
        let scored = yard.risk.score(&target, 7, true).await.unwrap();
        assert!(yard.risk.publish(&scored).await.unwrap().incident.is_some());
        yard.drain().await;
    }
    let page = PageRequest::first(10);
    let approvals = ctx.store.approvals.list(&ctx.scope, &ApprovalFilter::default(), &page).await.unwrap().items;
    assert_eq!(approvals.len(), 1);
    assert_eq!(approvals[0].request.action_type, "request_changes");
    let reviews = async || {
        let url = format!("{}/github/repos/acme/shop/pulls/7/reviews", yard.simulator.base_url());
        let answer = reqwest::Client::new().get(url).bearer_auth("ghp_test").send().await.unwrap();
        answer.json::<Value>().await.unwrap().as_array().unwrap().clone()
    };
    assert!(reviews().await.is_empty(), "nothing is requested before it was approved");
    let claim = tripline_store::Claim {
        id: approvals[0].id.clone(),
        decision: tripline_store::Decision::Approve,
        by: "alice".to_owned(),
        via: tripline_store::Via::Slack,
        reason: None,
        expected_payload_sha256: approvals[0].payload_sha256.clone(),
    };
    ctx.store.approvals.claim(&ctx.scope, claim, now()).await.unwrap();
    yard.drain().await;
    let reviews = reviews().await;
    assert_eq!((reviews.len(), &reviews[0]["state"]), (1, &json!("CHANGES_REQUESTED")));
    // It ends with the pull request.
    yard.risk.settle("acme/shop", 7).await.unwrap();
    let incidents = ctx.store.incidents.list(&ctx.scope, &IncidentFilter::default(), &page).await.unwrap().items;
    assert_eq!((incidents.len(), incidents[0].status), (1, tripline_store::IncidentStatus::Resolved));
}

#[tokio::test]
async fn a_source_that_is_down_makes_the_score_incomplete_and_measures_nothing() {
    let yard = Yard::new(70).await;
    let target = yard.risk.repository().unwrap().clone();
    let client = reqwest::Client::new();
    let control = format!("{}/_fault", yard.simulator.base_url());
    let fault = json!({"source": "sentry", "path": "/", "fault": "status:500", "times": 1000});
    assert!(client.post(&control).json(&fault).send().await.unwrap().status().is_success());
    let scored = yard.risk.score(&target, 7, true).await.unwrap();
    assert!(!scored.report.coverage.is_complete());
    assert_eq!(scored.report.coverage.gaps[0].source, "sentry");
    assert!(scored.text.recommendation.contains("not known whole"));
    let log = client.get(format!("{}/_requests", yard.simulator.base_url())).send().await.unwrap();
    let asked: Vec<Value> = log.json().await.unwrap();
    let of_commits = asked.iter().filter(|request| request["path"].as_str().unwrap().contains("/commits/"));
    assert_eq!(of_commits.count(), 0, "no request per commit that cannot be measured");
    let healed = json!({"source": "sentry", "path": "/", "fault": "none"});
    assert!(client.post(&control).json(&healed).send().await.unwrap().status().is_success());
    let scored = yard.risk.score(&target, 7, true).await.unwrap();
    assert_eq!((scored.report.points.score, scored.report.coverage.is_complete()), (32, true));
}

#[tokio::test]
async fn a_check_that_github_refuses_is_said_and_the_comment_is_there() {
    let yard = Yard::new(70).await;
    let (ctx, target) = (&yard.scene.ctx, yard.risk.repository().unwrap().clone());
    let client = reqwest::Client::new();
    let control = format!("{}/_fault", yard.simulator.base_url());
    let fault = json!({"source": "github", "path": "/repos/acme/shop/check-runs", "fault": "status:403", "times": 10});
    assert!(client.post(&control).json(&fault).send().await.unwrap().status().is_success());
    let scored = yard.risk.score(&target, 7, true).await.unwrap();
    assert!(yard.risk.publish(&scored).await.unwrap().check);
    yard.drain().await;
    let filter = ActionFilter { action_type: Some("github_check_run".to_owned()), ..ActionFilter::default() };
    let check = ctx.store.actions.list(&ctx.scope, &filter, &PageRequest::first(1)).await.unwrap().items.remove(0);
    assert!(check.error.unwrap().contains("HTTP 403"));
    assert_eq!(yard.comments().await.len(), 1);
    assert!(yard.risk.publish(&scored).await.unwrap().notes[0].contains("no check is written"));
}
