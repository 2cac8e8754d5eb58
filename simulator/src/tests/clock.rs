//! The clock: nothing later than now is visible anywhere, and later state is undone.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use serde_json::{Value, json};

use super::support::Sim;
use crate::time::{self, DAY, Micros, SECOND};
use crate::{Content, LangfuseGeneration, Scenario, SimulatorOptions, default_anchor};

/// Every time a vendor object says about itself that lies after `now`.
fn later_times(value: &Value, now: Micros, place: &str, found: &mut Vec<String>) {
    /// What people and programs wrote; a date in there is their business.
    const CONTENT: [&str; 10] =
        ["input", "output", "metadata", "body", "text", "message", "patch", "prompt", "blocks", "_deprecation"];
    match value {
        Value::Array(items) => items.iter().for_each(|item| later_times(item, now, place, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if !CONTENT.contains(&key.as_str()) {
                    later_times(value, now, key, found);
                }
            }
        }
        Value::String(text) => {
            let is_ts = matches!(place, "ts" | "thread_ts" | "latest_reply");
            let at = if is_ts {
                time::from_epoch_seconds(text)
            } else if text.len() >= 19 {
                time::parse(text)
            } else {
                None
            };
            if at.is_some_and(|at| at > now) {
                found.push(format!("{place}: {text}"));
            }
        }
        _ => {}
    }
}

const PATHS_V4: [&str; 3] = [
    "/langfuse/api/public/v2/observations?limit=300&fields=core,basic,time,usage,model,metrics,io",
    "/langfuse/api/public/v3/scores?limit=100&fields=details,subject",
    "/langfuse/api/public/v2/prompts",
];
const PATHS_V3: [&str; 4] = [
    "/langfuse/api/public/traces?limit=100",
    "/langfuse/api/public/observations?limit=100",
    "/langfuse/api/public/v2/scores?limit=100",
    "/langfuse/api/public/sessions?limit=100",
];
const OTHERS: [&str; 14] = [
    "/sentry/api/0/organizations/acme-shop/projects/",
    "/sentry/api/0/organizations/acme-shop/issues/?query=",
    "/sentry/api/0/projects/acme-shop/shopfront-api/events/?full=true",
    "/sentry/api/0/organizations/acme-shop/releases/",
    "/github/repos/acme-shop/shopfront/commits?per_page=100",
    "/github/repos/acme-shop/shopfront/pulls?state=all&per_page=100",
    "/github/repos/acme-shop/shopfront/issues?state=all&per_page=100",
    "/github/repos/acme-shop/shopfront/releases?per_page=100",
    "/github/repos/acme-shop/shopfront/deployments?per_page=100",
    "/github/repos/acme-shop/shopfront/actions/runs?per_page=100",
    "/slack/api/conversations.history?channel=C0INCIDENT&limit=999",
    "/slack/api/conversations.history?channel=C0BACKEND1&limit=999",
    "/slack/api/conversations.list",
    "/slack/api/users.list",
];

#[test]
fn nothing_later_than_the_clock_is_visible_anywhere() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let start = |langfuse| {
        let options = SimulatorOptions {
            content: Content::Scenarios(Scenario::ALL.to_vec()),
            langfuse,
            ..SimulatorOptions::default()
        };
        Arc::new(runtime.block_on(Sim::start(options)))
    };
    let (v4, v3) = (start(LangfuseGeneration::V4), start(LangfuseGeneration::V3));
    let anchor = default_anchor().timestamp_micros();
    // Most cases in the last half day, where state changes most; some anywhere.
    let moment = prop_oneof![3 => anchor - DAY / 2..anchor, 1 => anchor - 9 * DAY..anchor];
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let config = Config { cases: cases.unwrap_or(12), failure_persistence: None, ..Config::default() };
    // The same moments in every run; PROPTEST_CASES looks at more of them.
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let result = runner.run(&moment, |now| {
        let mut found = Vec::new();
        for (sim, paths) in [(&v4, PATHS_V4.as_slice()), (&v3, PATHS_V3.as_slice()), (&v4, OTHERS.as_slice())] {
            sim.handle.set_clock(Some(time::to_datetime(now)));
            for path in paths {
                let answer = runtime.block_on(sim.read(path));
                let before = found.len();
                later_times(&answer, now, "", &mut found);
                for entry in &mut found[before..] {
                    *entry = format!("{path} {entry}");
                }
            }
        }
        prop_assert!(found.is_empty(), "at {}: {:?}", time::micros_z(now), &found[..found.len().min(5)]);
        Ok(())
    });
    result.unwrap();
}

#[tokio::test]
async fn an_observation_that_goes_on_has_no_end_output_usage_or_cost() {
    let observation = json!([{"id": "o", "traceId": "t", "type": "GENERATION", "startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:10:00Z",
        "output": "done", "level": "ERROR", "calculatedTotalCost": 1.5, "usage": {"input": 1, "output": 2, "total": 3, "unit": "TOKENS"}, "latency": 600}]);
    let trace = json!([{"id": "t", "timestamp": "2026-01-01T00:00:00Z", "totalCost": 1.5, "latency": 600, "observations": ["o"], "output": "done"}]);
    let files = [("langfuse/observations", observation), ("langfuse/traces", trace)];
    let v4 = Sim::data(&files).await;
    let path = "/langfuse/api/public/v2/observations?fields=core,basic,io,usage,metrics";
    v4.set_clock("2026-01-01T00:05:00Z").await;
    let open = v4.read(path).await["data"][0].clone();
    assert_eq!((&open["endTime"], &open["output"], &open["totalCost"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!((&open["level"], &open["usageDetails"]["total"]), (&json!("DEFAULT"), &json!(0)));
    v4.set_clock("2026-01-01T00:10:00Z").await;
    let closed = v4.read(path).await["data"][0].clone();
    assert_eq!(
        (&closed["output"], &closed["totalCost"], &closed["level"]),
        (&json!("done"), &json!(1.5), &json!("ERROR"))
    );
    v4.set_clock("2025-12-31T23:59:59Z").await;
    assert_eq!(v4.read(path).await["data"], json!([]));

    let v3 = Sim::data_with(&files, SimulatorOptions { langfuse: LangfuseGeneration::V3, ..Default::default() }).await;
    v3.set_clock("2026-01-01T00:05:00Z").await;
    let trace = v3.read("/langfuse/api/public/traces").await["data"][0].clone();
    assert_eq!((&trace["totalCost"], &trace["output"]), (&json!(0.0), &Value::Null));
}

#[tokio::test]
async fn a_pull_request_merged_later_is_open_and_an_issue_closed_later_too() {
    let pull = json!([{"number": 1, "state": "closed", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-03T00:00:00Z",
        "closed_at": "2026-01-02T00:00:00Z", "merged_at": "2026-01-02T00:00:00Z", "merge_commit_sha": "abc"}]);
    let issue = json!([{"number": 2, "state": "closed", "state_reason": "completed", "created_at": "2026-01-01T00:00:00Z", "closed_at": "2026-01-02T00:00:00Z"}]);
    let run = json!([{"id": 3, "status": "completed", "conclusion": "success", "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}]);
    let sim = Sim::data(&[("github/pulls", pull), ("github/issues", issue), ("github/workflow_runs", run)]).await;
    sim.set_clock("2026-01-01T12:00:00Z").await;
    let open = sim.read("/github/repos/a/b/pulls").await[0].clone();
    assert_eq!(
        (&open["state"], &open["merged_at"], &open["merge_commit_sha"]),
        (&json!("open"), &Value::Null, &Value::Null)
    );
    assert_eq!(open["updated_at"], "2026-01-01T12:00:00Z");
    assert_eq!(sim.read("/github/repos/a/b/pulls/1").await["merged"], false);
    assert_eq!(sim.read("/github/repos/a/b/issues").await[0]["state"], "open");
    let run = sim.read("/github/repos/a/b/actions/runs").await["workflow_runs"][0].clone();
    assert_eq!((&run["status"], &run["conclusion"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(sim.read("/github/repos/a/b/actions/runs?status=success").await["total_count"], 0);
    sim.set_clock("2026-01-02T12:00:00Z").await;
    assert_eq!(sim.read("/github/repos/a/b/pulls").await, json!([]));
    assert_eq!(sim.read("/github/repos/a/b/pulls/1").await["merged"], true);
}

#[tokio::test]
async fn an_issue_is_last_seen_no_later_than_now_and_counts_its_visible_events() {
    let issue = json!([{"id": "1", "status": "resolved", "count": "3", "userCount": 3, "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T02:00:00Z"},
                       {"id": "2", "status": "unresolved", "count": "9", "firstSeen": "2026-01-01T00:00:00Z", "lastSeen": "2026-01-01T02:00:00Z"}]);
    let events: Value = (0..3)
        .map(
            |n| json!({"eventID": format!("e{n}"), "_issue_id": "1", "dateCreated": format!("2026-01-01T0{n}:00:00Z")}),
        )
        .collect();
    let sim = Sim::data(&[("sentry/issues", issue), ("sentry/issue_events", events)]).await;
    sim.set_clock("2026-01-01T01:30:00Z").await;
    let found = sim.read("/sentry/api/0/organizations/a/issues/?query=&sort=freq").await;
    assert_eq!((&found[1]["id"], &found[1]["count"], &found[1]["userCount"]), (&json!("1"), &json!("2"), &json!(2)));
    assert_eq!(found[1]["lastSeen"], "2026-01-01T01:00:00.000000Z", "its last visible event");
    assert_eq!(found[1]["status"], "unresolved", "it cannot have been resolved before its last event");
    assert_eq!(found[0]["count"], "9", "without events there is nothing to count by");
    assert_eq!(found[0]["lastSeen"], "2026-01-01T01:30:00.000000Z");
    let events = sim.read("/sentry/api/0/organizations/a/issues/1/events/").await;
    assert_eq!(events.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_thread_is_summed_up_by_the_replies_made_so_far() {
    let ts = |n: i64| format!("{}.000100", 1_767_225_600 + n);
    let files = [
        ("slack/channels", json!([{"id": "C1", "name": "ops"}])),
        (
            "slack/messages",
            json!([
                {"ts": ts(0), "thread_ts": ts(0), "text": "first", "reply_count": 2, "reply_users_count": 2, "latest_reply": ts(200), "_channel": "C1"},
                {"ts": ts(100), "thread_ts": ts(0), "user": "U1", "text": "a", "_channel": "C1"},
                {"ts": ts(200), "thread_ts": ts(0), "user": "U2", "text": "b", "_channel": "C1"},
            ]),
        ),
    ];
    let sim = Sim::data(&files).await;
    let first = async |seconds: i64| {
        let now = time::millis_z((1_767_225_600 + seconds) * SECOND);
        sim.set_clock(&now).await;
        sim.read("/slack/api/conversations.history?channel=C1").await["messages"][0].clone()
    };
    assert!(first(50).await.get("reply_count").is_none());
    let between = first(150).await;
    assert_eq!((&between["reply_count"], &between["latest_reply"]), (&json!(1), &json!(ts(100))));
    assert_eq!(first(250).await["reply_count"], 2);
}

#[tokio::test]
async fn what_is_written_carries_the_clocks_time_and_hides_when_it_goes_back() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    sim.set_clock("2026-01-01T10:00:00Z").await;
    let created = sim.post("/github/repos/a/b/issues", &json!({"title": "x"})).await.json();
    assert_eq!(created["created_at"], "2026-01-01T10:00:00Z");
    sim.set_clock("2026-01-01T09:00:00Z").await;
    assert_eq!(sim.read("/github/repos/a/b/issues").await, json!([]));
    sim.set_clock("2026-01-01T11:00:00Z").await;
    assert_eq!(sim.read("/github/repos/a/b/issues").await.as_array().unwrap().len(), 1);
    let clock = sim.read("/_clock").await;
    assert_eq!((&clock["now"], &clock["fixed"]), (&json!("2026-01-01T11:00:00.000000Z"), &json!(true)));
    for bad in [json!({}), json!({"now": "soon"}), json!({"now": 5})] {
        assert_eq!(sim.post("/_clock", &bad).await.status, 400, "{bad}");
    }
    assert_eq!(sim.post("/_clock", &json!({"now": null})).await.json()["fixed"], false);
}

#[tokio::test]
async fn what_comes_late_is_nowhere_before_it_arrives() {
    let call = |id: &str, start: &str, arrives: Option<&str>| {
        let mut call = json!({"id": id, "traceId": "t", "type": "GENERATION", "name": "f", "startTime": start,
            "endTime": start, "calculatedTotalCost": 1.5});
        if let Some(arrives) = arrives {
            call["_arrives_at"] = json!(arrives);
        }
        call
    };
    let (early, start) = ("2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
    let arrives = Some("2026-01-01T00:40:00Z");
    let trace = json!([{"id": "t", "timestamp": early, "totalCost": 3.0, "observations": ["a", "b"]}]);
    let score = json!([{"id": "s", "traceId": "t", "name": "n", "value": 1, "dataType": "NUMERIC", "timestamp": start, "_arrives_at": arrives}]);
    let event = |id: &str, issue: &str, at: &str, arrives: Option<&str>| {
        let mut event = json!({"eventID": id, "groupID": issue, "dateCreated": at, "tags": []});
        if let Some(arrives) = arrives {
            event["_arrives_at"] = json!(arrives);
        }
        event
    };
    let issue = |id: &str, first: &str| json!({"id": id, "count": "2", "firstSeen": first, "lastSeen": start, "status": "unresolved"});
    let files = [
        ("langfuse/observations", json!([call("a", early, None), call("b", start, arrives)])),
        ("langfuse/traces", trace),
        ("langfuse/scores", score),
        ("sentry/issues", json!([issue("1", early), issue("2", start)])),
        (
            "sentry/issue_events",
            json!([event("x", "1", early, None), event("y", "1", start, arrives), event("z", "2", start, arrives)]),
        ),
    ];
    let sim = Sim::data(&files).await;
    let paths = [
        ("/langfuse/api/public/v2/observations", "/data"),
        ("/langfuse/api/public/v3/scores", "/data"),
        ("/sentry/api/0/organizations/o/issues/?query=", ""),
        ("/sentry/api/0/organizations/o/issues/1/events/", ""),
    ];
    let seen = async |now: &str| {
        sim.set_clock(now).await;
        let mut counts = Vec::new();
        for (path, rows) in paths {
            let answer = sim.read(path).await;
            assert!(!answer.to_string().contains("_arrives_at"), "{path}: {answer}");
            counts.push(answer.pointer(rows).unwrap().as_array().unwrap().len());
        }
        let issues = sim.read("/sentry/api/0/organizations/o/issues/?query=").await;
        let first = issues.as_array().unwrap().iter().find(|issue| issue["id"] == "1").unwrap().clone();
        (counts, first["count"].clone(), first["lastSeen"].clone())
    };
    let (counts, count, last) = seen("2026-01-01T00:39:00Z").await;
    assert_eq!((counts, count, last), (vec![1, 0, 1, 1], json!("1"), json!("2026-01-01T00:00:00.000000Z")));
    let (counts, count, last) = seen("2026-01-01T00:40:00Z").await;
    assert_eq!((counts, count, last), (vec![2, 1, 2, 2], json!("2"), json!(start)));
}
