//! The data format: foreign items are served as they are, however odd.

use serde_json::{Value, json};

use super::support::Sim;
use crate::dataset::Collection;
use crate::{Dataset, LangfuseGeneration, Scenario, SimulatorOptions, default_anchor};

const V2: &str = "/langfuse/api/public/v2/observations";

#[tokio::test]
async fn odd_items_are_served_and_none_is_dropped() {
    let odd = json!([{}, {"id": null}, {"id": 7, "startTime": "whenever", "extra": {"a": [1.50, null]}}, {"startTime": 12, "usage": "many", "metadata": [1]}]);
    let files: Vec<(&str, Value)> = Collection::ALL.iter().map(|c| (c.path(), odd.clone())).collect();
    let v4 = Sim::data(&files).await;
    let v3 = Sim::data_with(&files, SimulatorOptions { langfuse: LangfuseGeneration::V3, ..Default::default() }).await;
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(
        count(
            &v4.read(&format!("{V2}?fields=core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"))
                .await["data"]
        ),
        4
    );
    assert_eq!(count(&v4.read("/langfuse/api/public/v3/scores?fields=details,subject,annotation").await["data"]), 4);
    for path in ["observations", "traces", "v2/scores", "sessions"] {
        assert_eq!(count(&v3.read(&format!("/langfuse/api/public/{path}")).await["data"]), 4, "{path}");
    }
    for path in ["projects/", "issues/?query=", "releases/"] {
        assert_eq!(count(&v4.read(&format!("/sentry/api/0/organizations/x/{path}")).await), 4, "{path}");
    }
    for path in ["commits", "pulls?state=all", "issues?state=all", "releases", "deployments"] {
        assert_eq!(count(&v4.read(&format!("/github/repos/any/thing/{path}")).await), 4, "{path}");
    }
    assert_eq!(v4.read("/github/repos/any/thing/actions/runs").await["total_count"], 4);
    assert_eq!(count(&v4.read("/slack/api/users.list").await["members"]), 4);
    assert_eq!(count(&v4.read("/slack/api/conversations.list").await["channels"]), 4);
    // At a time before anything that can be dated, items without a time are still there.
    v4.set_clock("2020-01-01T00:00:00Z").await;
    assert_eq!(count(&v4.read(V2).await["data"]), 4);
    assert_eq!(count(&v4.read("/github/repos/any/thing/pulls?state=all").await), 4);
}

#[tokio::test]
async fn extreme_figures_break_nothing() {
    let most = u64::MAX;
    let files = [
        (
            "github/commits",
            json!([{"sha": "abcdef0", "files": [{"additions": most}, {"additions": most, "deletions": most}], "commit": {"committer": {"date": "+262142-01-01T00:00:00"}}}]),
        ),
        (
            "github/issues",
            json!([{"number": most, "comments": most, "state": "open", "created_at": "9999-12-31T23:59:59Z"}]),
        ),
        (
            "github/pulls",
            json!([{"number": 1e300, "merge_commit_sha": "abcdef0", "created_at": "0001-01-01T00:00:00Z"}]),
        ),
        (
            "sentry/issues",
            json!([{"id": "1", "count": "1e300", "userCount": -5, "firstSeen": "0001-01-01T00:00:00Z", "lastSeen": "9999-12-31T23:59:59Z"}]),
        ),
        ("langfuse/prompts", json!([{"name": "p", "versions": [most]}])),
        (
            "langfuse/observations",
            json!([{"id": "o", "startTime": "0001-01-01T00:00:00Z", "endTime": "9999-12-31T23:59:59Z", "calculatedTotalCost": 1e300, "inputPrice": 1e-300}]),
        ),
        ("slack/channels", json!([{"id": "C1", "name": "c", "created": 1e300}])),
        ("slack/messages", json!([{"ts": "9223372036854.775807", "_channel": "C1"}])),
    ];
    let sim = Sim::data(&files).await;
    for path in [
        "/github/repos/a/b/commits/abcdef0",
        "/github/repos/a/b/issues",
        "/github/repos/a/b/pulls",
        "/sentry/api/0/organizations/a/issues/?query=firstSeen:--9223372036854s",
        "/sentry/api/0/organizations/a/issues/?query=&statsPeriod=9223372036854s",
        "/langfuse/api/public/v2/observations?fields=model,usage,metrics,basic",
        "/slack/api/conversations.history?channel=C1&latest=9223372036854.775807",
        "/slack/api/conversations.history?channel=C1&oldest=-9223372036854775808",
        "/slack/api/conversations.history?channel=C1&cursor=bmV4dF90czo5MjIzMzcyMDM2ODU0Nzc1ODA3",
    ] {
        assert_eq!(sim.get(path).await.status, 200, "{path}");
    }
    sim.set_clock("9999-12-31T23:59:59Z").await;
    assert_eq!(sim.read("/langfuse/api/public/v2/observations").await["data"][0]["id"], "o");
    let comment = json!({"body": "x"});
    assert_eq!(sim.post(&format!("/github/repos/a/b/issues/{most}/comments"), &comment).await.status, 201);
    assert_eq!(sim.post("/github/repos/a/b/issues", &json!({"title": "x"})).await.status, 201);
    let prompt = json!({"name": "p", "prompt": "x"});
    assert_eq!(sim.post("/langfuse/api/public/v2/prompts", &prompt).await.status, 201);
    let batch = json!({"batch": [{"id": "e", "type": "generation-create", "timestamp": "2026-01-01T00:00:00Z",
        "body": {"startTime": "0001-01-01T00:00:00Z", "endTime": "9999-12-31T23:59:59Z", "usage": {"input": most, "output": most}}}]});
    assert_eq!(sim.post("/langfuse/api/public/ingestion", &batch).await.status, 207);
}

#[tokio::test]
async fn an_item_keeps_its_fields_and_digits_without_its_parent_keys() {
    let text = r#"[{"sha":"abc","weight":1.10,"tiny":1e-7,"_owner":"Acme","_repo":"Shop","url":"u"}]"#;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("github")).unwrap();
    std::fs::write(dir.path().join("github/commits.json"), text).unwrap();
    let sim = Sim::start(SimulatorOptions {
        content: crate::Content::DataDir(dir.path().to_owned()),
        ..SimulatorOptions::default()
    })
    .await;
    let answer = sim.get("/github/repos/acme/shop/commits").await;
    assert_eq!(answer.text, r#"[{"sha":"abc","weight":1.10,"tiny":1e-7,"url":"u"}]"#);
    assert_eq!(sim.get("/github/repos/acme/elsewhere/commits").await.status, 404);
}

#[tokio::test]
async fn a_malformed_file_stops_the_start_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("slack")).unwrap();
    std::fs::write(dir.path().join("slack/users.json"), "[{},\n{]").unwrap();
    let options = |dir: &std::path::Path| SimulatorOptions {
        content: crate::Content::DataDir(dir.to_owned()),
        ..SimulatorOptions::default()
    };
    let error = crate::start(options(dir.path())).await.unwrap_err().to_string();
    assert!(error.contains("users.json:2:2"), "{error}");
    let missing = dir.path().join("nowhere");
    let error = crate::start(options(&missing)).await.unwrap_err().to_string();
    assert!(error.contains("no data directory"), "{error}");
}

#[tokio::test]
async fn a_scenario_written_as_data_gives_the_same_answers() {
    let (dataset, _) = Scenario::generate(&[Scenario::PromptDrift], default_anchor(), crate::DEFAULT_SEED);
    let from_data: Dataset = dataset;
    let a = Sim::scenario(Scenario::PromptDrift).await;
    let b = Sim::dataset(&from_data, SimulatorOptions::default()).await;
    for path in [
        "/langfuse/api/public/v2/observations?limit=100&fields=core,basic,io,usage,model",
        "/langfuse/api/public/v3/scores?fields=subject",
        "/langfuse/api/public/v2/prompts",
        "/sentry/api/0/organizations/acme-shop/issues/?query=",
        "/sentry/api/0/organizations/acme-shop/releases/",
        "/github/repos/acme-shop/shopfront/commits?per_page=100",
        "/github/repos/acme-shop/shopfront/pulls?state=all",
        "/slack/api/conversations.history?channel=C0INCIDENT",
    ] {
        assert_eq!(a.read(path).await, b.read(path).await, "{path}");
    }
}

#[tokio::test]
async fn messages_find_their_channel_by_id_or_name() {
    let files = [
        ("slack/channels", json!([{"id": "C1", "name": "ops"}])),
        (
            "slack/messages",
            json!([
                {"ts": "1700000000.000100", "text": "by id", "_channel": "C1"},
                {"ts": "1700000001.000100", "text": "by name", "_channel": "ops"},
                {"ts": "1700000002.000100", "text": "anywhere"},
            ]),
        ),
    ];
    let sim = Sim::data(&files).await;
    let history = sim.read("/slack/api/conversations.history?channel=C1").await;
    assert_eq!(super::support::texts(&history["messages"], "text"), ["anywhere", "by name", "by id"]);
}

#[tokio::test]
async fn the_truth_is_served_for_scenarios_only() {
    let sim = Sim::scenario(Scenario::AgentLoop).await;
    let truth = sim.read("/_truth").await;
    assert_eq!(truth["incidents"][0]["class"], "agent_loop");
    assert_eq!(truth["owner"], "acme-shop");
    let empty = Sim::start(SimulatorOptions::default()).await;
    assert_eq!(empty.read("/_truth").await, Value::Null);
}
