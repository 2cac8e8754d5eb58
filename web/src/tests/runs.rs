//! What clients of the Dunetrace API rely on.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tripline_store::{JudgedRun, NewSignal, RunEnd, RunFacts, Severity};

use super::site::Site;

async fn get(site: &Site, key: &str, path: &str) -> (u16, Value) {
    let answer = site.request(key, Method::GET, path).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn post(site: &Site, key: &str, path: &str, body: Value) -> (u16, Value) {
    let answer = site.request(key, Method::POST, path).json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A server with twenty judged runs, five of which loop.
pub(super) async fn site() -> Site {
    let site = Site::new().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    let mut runs: Vec<_> = (0..15).map(|n| judged(&format!("c{n}"), now, &[])).collect();
    runs.extend((0..5).map(|n| judged(&format!("r{n}"), now, &["TOOL_LOOP"])));
    site.store.runs.record_judged(&site.scope, runs, 50, now).await.unwrap();
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_runs_and_signals_are_listed_page_by_page() {
    let site = site().await;
    let (status, agents) = get(&site, "read", "/v1/agents").await;
    assert_eq!(status, 200, "{agents}");
    let agent = &agents["agents"][0];
    assert_eq!(
        (&agent["agent_id"], &agent["run_count"], &agent["signal_count"]),
        (&json!("agent"), &json!(20), &json!(5))
    );
    assert_eq!(agent["failure_types"], json!({"TOOL_LOOP": 5}));
    assert_eq!(agents["page"], json!({"total": 1, "offset": 0, "limit": 50, "has_more": false}));

    let (_, runs) = get(&site, "read", "/v1/agents/agent/runs?has_signals=true&limit=2&offset=1").await;
    assert_eq!(runs["page"], json!({"total": 5, "offset": 1, "limit": 2, "has_more": true}));
    assert_eq!((runs["runs"].as_array().unwrap().len(), &runs["runs"][0]["exit_reason"]), (2, &json!("completed")));

    let (_, signals) =
        get(&site, "read", "/v1/agents/agent/signals?failure_type=tool_loop&severity=high&limit=1").await;
    assert_eq!(signals["page"]["total"], 5);
    let signal = &signals["signals"][0];
    assert_eq!(
        (&signal["failure_type"], &signal["severity"], &signal["alerted"]),
        (&json!("TOOL_LOOP"), &json!("HIGH"), &json!(false))
    );
    assert!(signal["suggested_fixes"][0]["code"].is_string() && signal["title"].is_string(), "{signal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_with_a_reason() {
    let site = site().await;
    for (path, status) in [
        ("/v1/agents?limit=0", 422),
        ("/v1/agents?limit=501", 422),
        ("/v1/agents?limit=x", 422),
        ("/v1/agents/agent/signals?limit=x", 422),
        ("/v1/runs/r0/events?limit=0", 422),
        ("/v1/runs/r0/events?limit=10001", 422),
        ("/v1/runs/r0/events?page=2", 400),
        ("/v1/agents?offset=-1", 422),
        ("/v1/agents/agent/signals?severity=awful", 422),
        ("/v1/agents/agent/signals?failure_type=NOTHING", 422),
        ("/v1/agents/agent/issues?status=gone", 422),
        ("/v1/agents/agent/runs?has_signal=true", 400),
        ("/v1/runs/unknown", 404),
        ("/v1/signals/999/fix-status", 404),
        ("/v1/signals/x/fix-status", 404),
    ] {
        let (found, body) = get(&site, "read", path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body["error"]["message"].is_string(), "{path}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_of_a_long_run_can_be_read_part_by_part() {
    let site = site().await;
    let events: Vec<Value> = (0..5)
        .map(|n| json!({"event_type": "llm.called", "run_id": "r0", "agent_id": "agent", "agent_version": "v", "step_index": n}))
        .collect();
    assert_eq!(post(&site, "ingest", "/v1/ingest", json!({"agent_id": "agent", "events": events})).await.0, 202);
    for (query, steps, more) in [
        ("", vec![0, 1, 2, 3, 4], false),
        ("?limit=2", vec![0, 1], true),
        ("?limit=2&offset=3", vec![3, 4], false),
        ("?offset=9", vec![], false),
    ] {
        let (status, part) = get(&site, "read", &format!("/v1/runs/r0/events{query}")).await;
        let shown: Vec<i64> =
            part["events"].as_array().unwrap().iter().filter_map(|e| e["step_index"].as_i64()).collect();
        assert_eq!((status, shown, &part["events_truncated"]), (200, steps, &json!(more)), "{query}: {part}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_another_customer_s_agents() {
    let site = site().await;
    let (_, agents) = get(&site, "other", "/v1/agents").await;
    assert_eq!(agents["page"]["total"], 0);
    assert_eq!(get(&site, "other", "/v1/runs/r0").await.0, 404);
    assert_eq!(get(&site, "other", "/v1/signals/1/fix-status").await.0, 404);
    for part in ["runs", "signals", "insights", "issues"] {
        let theirs = get(&site, "other", &format!("/v1/agents/agent/{part}")).await;
        let nobodys = get(&site, "read", &format!("/v1/agents/nobody/{part}")).await;
        assert_eq!((theirs.0, nobodys.0), (404, 404), "{part} of an agent the key cannot see");
    }
    let (status, none) = get(&site, "read", "/v1/agents/agent/signals?severity=low").await;
    assert_eq!((status, &none["page"]["total"]), (200, &json!(0)), "a filter may leave nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_and_issues_are_of_all_runs() {
    let site = site().await;
    let (status, insights) = get(&site, "read", "/v1/agents/agent/insights").await;
    assert_eq!(status, 200, "{insights}");
    let systemic = &insights["systemic_patterns"][0];
    assert_eq!(
        (&systemic["total_runs"], &systemic["affected_runs"], &systemic["rate"]),
        (&json!(20), &json!(5), &json!(0.25))
    );
    assert_eq!(insights["versions"][0]["signal_rate"], 0.25);
    assert_eq!(insights["time_to_tool"]["p50"], 1.0);
    assert_eq!(insights["input_patterns"][0]["rate"], 0.25);
    let (_, issues) = get(&site, "read", "/v1/agents/agent/issues?status=OPEN").await;
    assert_eq!((&issues["total"], &issues["issues"][0]["affected_runs"]), (&json!(1), &json!(5)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_explained_without_any_model_and_a_copied_fix_is_followed_up() {
    let site = site().await;
    let (status, explained) = post(&site, "read", "/v1/signals/1/explain", json!({})).await;
    assert_eq!(status, 200, "{explained}");
    assert_eq!((&explained["source"], &explained["fix_type"]), (&json!("signal_only"), &json!("prompt_addition")));
    assert_eq!(explained["rate_context"]["is_systemic"], true);
    assert_eq!(get(&site, "read", "/v1/signals/1/fix-status").await.1, json!({"fix_applied": false}));
    assert_eq!(post(&site, "read", "/v1/signals/1/record-copy", json!({"fix_content": "x"})).await.0, 403);
    assert_eq!(post(&site, "operate", "/v1/signals/1/record-copy", json!({"fix_content": " "})).await.0, 422);
    let (status, copied) = post(&site, "operate", "/v1/signals/1/record-copy", json!({"fix_content": "Stop."})).await;
    assert_eq!((status, &copied["signal_id"]), (200, &json!(1)), "{copied}");
    let (_, followed) = get(&site, "read", "/v1/signals/1/fix-status").await;
    assert_eq!((&followed["applied_via"], &followed["verdict"]), (&json!("clipboard"), &json!("insufficient_data")));
    let (status, feedback) = post(&site, "operate", "/v1/signals/1/feedback", json!({"correct": true})).await;
    assert_eq!((status, &feedback["detector"]["correct"]), (200, &json!(1)), "{feedback}");
    assert_eq!(feedback["precision"], 1.0, "{feedback}");
}

#[tokio::test(flavor = "multi_thread")]
async fn detectors_are_listed_with_what_they_judge_and_how_often_people_said_they_are_right() {
    let site = site().await;
    for (signal, correct) in [(1, true), (2, true), (3, false)] {
        let path = format!("/v1/signals/{signal}/feedback");
        assert_eq!(post(&site, "operate", &path, json!({"correct": correct})).await.0, 200);
    }
    let (_, listed) = get(&site, "read", "/api/v1/detectors").await;
    let items = listed["items"].as_array().unwrap();
    let of = |scope: &str| items.iter().filter(|item| item["scope"] == scope).count();
    assert_eq!((of("window"), of("run")), (5, 15));
    let tool_loop = items.iter().find(|item| item["name"] == "tool_loop").unwrap();
    assert_eq!(
        (
            &tool_loop["type"],
            &tool_loop["mode"],
            &tool_loop["found"],
            &tool_loop["marked_right"],
            &tool_loop["marked_wrong"]
        ),
        (&json!("TOOL_LOOP"), &json!("live"), &json!(5), &json!(2), &json!(1))
    );
    assert!((tool_loop["precision"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let (_, theirs) = get(&site, "other", "/api/v1/detectors").await;
    let theirs = theirs["items"].as_array().unwrap().iter().find(|item| item["name"] == "tool_loop").unwrap().clone();
    assert_eq!((&theirs["found"], &theirs["precision"]), (&json!(0), &Value::Null), "another project's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_that_fails_is_shown_as_failing_and_its_error_to_those_with_a_key_only() {
    let site = site().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    let failed = tripline_store::FailedDetector {
        // The bundled ones are what this server lists.
        detector: "tool_loop".to_owned(),
        failure_type: "TOOL_LOOP".to_owned(),
        error: "tool_loop.sql: cannot cast 'ann@example.org' to Int64".to_owned(),
        file_sha256: "ab".to_owned(),
        live: true,
    };
    site.store.runs.detector_failed(&site.scope, failed, now).await.unwrap();
    site.store.runs.record_judged(&site.scope, vec![judged("unseen", now, &[])], 50, now).await.unwrap();
    let (_, listed) = get(&site, "read", "/api/v1/detectors").await;
    let of = |name: &str| listed["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    let failure = &of("tool_loop")["failure"];
    assert_eq!((&failure["failing"], &failure["runs_not_judged"]), (&json!(true), &json!(1)), "{failure}");
    assert!(failure["error"].as_str().unwrap().contains("cannot cast"), "{failure}");
    assert_eq!(of("slow_step")["failure"], Value::Null);
    let health = site.client.get(site.url("/healthz")).send().await.unwrap();
    assert_eq!(health.status(), 200, "it works, without one detector");
    let health = health.text().await.unwrap();
    assert!(health.contains(r#""name":"tool_loop""#) && health.contains(r#""runs_not_judged":1"#), "{health}");
    assert!(!health.contains("ann@"), "it answers everybody: {health}");
    let metrics = site.request("read", Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let line = r#"tripline_run_detector_failing{project="default",detector="tool_loop",mode="live"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    let (_, theirs) = get(&site, "other", "/api/v1/detectors").await;
    let theirs = theirs["items"].as_array().unwrap().iter().find(|item| item["name"] == "tool_loop").unwrap().clone();
    assert_eq!(theirs["failure"], Value::Null, "another project's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_never_fails_for_want_of_a_model_or_a_trace() {
    let model =
        tripline_engine::Environment::of([("OPENAI_API_KEY", "sk-test"), ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]);
    let site = Site::with(super::site::Plan { model, ..Default::default() }).await;
    let now = tripline_engine::Clock::now(&*site.clock);
    site.store.runs.record_judged(&site.scope, vec![judged("r", now, &["TOOL_LOOP"])], 50, now).await.unwrap();
    let (status, explained) =
        post(&site, "read", "/v1/signals/1/explain", json!({"langfuse_trace_id": "0af7651916cd43dd8448eb211c80319c"}))
            .await;
    assert_eq!((status, &explained["source"]), (200, &json!("signal_only")), "{explained}");
    assert!(explained["narrator"].as_str().unwrap().starts_with("template (model unavailable"), "{explained}");
    assert!(explained["root_cause"].as_str().unwrap().contains("search"), "{explained}");
    let long = json!({"langfuse_trace_id": "x".repeat(300)});
    assert_eq!(post(&site, "read", "/v1/signals/1/explain", long).await.0, 422);
}

const FIX: &str = "Never call one tool three times in a row.";

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_is_asked_for_approved_published_and_followed_up() {
    let site = site().await;
    site.publish_prompt(&json!({
        "name": "support/triage", "type": "text", "prompt": "You triage tickets.", "labels": ["production"],
        "config": {"model": "gpt-4o"}, "tags": ["support"],
    }))
    .await;
    let body = json!({"fix_content": FIX, "langfuse_prompt_name": "support/triage", "applied_via": "langfuse"});
    let path = "/v1/signals/1/apply-fix";
    let (status, asked) = post(&site, "read", path, body.clone()).await;
    assert_eq!((status, &asked["status"]), (202, &json!("pending")), "{asked}");
    assert_eq!(asked["old_text"], "You triage tickets.");
    assert_eq!(asked["new_text"], format!("You triage tickets.\n\n{FIX}"));
    let (_, again) = post(&site, "stranger", path, body.clone()).await;
    assert_eq!(again["approval_id"], asked["approval_id"], "who operates and is no approver asks too");
    assert_eq!(get(&site, "read", "/v1/signals/1/fix-status").await.1, json!({"fix_applied": false}));

    let id = asked["approval_id"].as_str().unwrap().to_owned();
    let (status, decided) = post(&site, "operate", &format!("/api/v1/approvals/{id}/approve"), json!({})).await;
    assert_eq!(status, 200, "{decided}");
    site.drain().await;
    let (status, published) = post(&site, "read", path, body).await;
    assert_eq!(
        (status, &published["new_version"], &published["signal_id"]),
        (200, &json!(2), &json!(1)),
        "{published}"
    );
    assert!(published["prompt_url"].as_str().unwrap().ends_with("/langfuse/prompts/support%2Ftriage"));
    assert_eq!(published["fix_id"], 1);
    let writes = site.writes("/api/public/v2/prompts").await;
    assert_eq!(writes.len(), 2, "the person's and ours: {writes:?}");
    let (_, followed) = get(&site, "read", "/v1/signals/1/fix-status").await;
    assert_eq!(
        (
            &followed["applied_via"],
            &followed["langfuse_prompt_name"],
            &followed["langfuse_version"],
            &followed["verdict"]
        ),
        (&json!("langfuse"), &json!("support/triage"), &json!(2), &json!("insufficient_data")),
        "{followed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approver_s_fix_is_published_at_once() {
    let site = site().await;
    let prompt = json!({"name": "triage", "type": "text", "prompt": "You triage.", "labels": []});
    site.publish_prompt(&prompt).await;
    let worker = tokio::spawn(site.governance.outbox.clone().run(site.stop.clone()));
    let body = json!({"fix_content": FIX, "langfuse_prompt_name": "triage", "labels": ["production"]});
    let (status, published) = post(&site, "operate", "/v1/signals/1/apply-fix", body).await;
    assert_eq!(status, 200, "{published}");
    let keys: Vec<&String> = published.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["fix_id", "new_text", "new_version", "old_text", "prompt_url", "signal_id"]);
    assert_eq!(published["new_version"], 2, "made of the newest one, since none is in production");
    site.stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_that_cannot_be_applied_says_why() {
    let site = site().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    let injected = judged("injected", now, &["PROMPT_INJECTION_SIGNAL"]);
    let bloated = judged("bloated", now, &["CONTEXT_BLOAT"]);
    site.store.runs.record_judged(&site.scope, vec![injected, bloated], 50, now).await.unwrap();
    for (id, blocked) in [(1, false), (6, true), (7, true)] {
        let (_, explained) = post(&site, "read", &format!("/v1/signals/{id}/explain"), json!({})).await;
        assert_eq!(explained["apply_blocked"], blocked, "{explained}");
    }
    let good = json!({"fix_content": FIX, "langfuse_prompt_name": "triage"});
    for (key, id, body, status, code) in [
        ("read", "6", good.clone(), 403, "blocked"),
        // A change of code is advised; a person may add words to the prompt all the same.
        ("read", "7", good.clone(), 404, "not_found"),
        ("read", "999", good.clone(), 404, "not_found"),
        ("read", "1", good.clone(), 404, "not_found"),
        ("other", "1", good.clone(), 503, "not_configured"),
        ("ingest", "1", good, 403, "forbidden"),
        ("read", "1", json!({"fix_content": " ", "langfuse_prompt_name": "triage"}), 422, "invalid"),
        ("read", "1", json!({"fix_content": "x", "langfuse_prompt_name": ""}), 422, "invalid"),
        ("read", "1", json!({"fix_content": "x", "langfuse_prompt_name": "t", "applied_via": "email"}), 422, "invalid"),
    ] {
        let (found, answer) = post(&site, key, &format!("/v1/signals/{id}/apply-fix"), body).await;
        assert_eq!((found, &answer["error"]["code"]), (status, &json!(code)), "{key} {id}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_detector_on_trial_found_is_explained_and_marked_and_its_fix_is_copied_but_nothing_is_approved_about_it()
{
    let site = site().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    let mut run = judged("on-trial", now, &["MINE", "RETRY_STORM"]);
    run.signals.iter_mut().for_each(|signal| signal.shadow = true);
    site.store.runs.record_judged(&site.scope, vec![run], 50, now).await.unwrap();
    let listed = async |query: &str| {
        let (_, found) = get(&site, "read", &format!("/v1/agents/agent/signals{query}")).await;
        let shadows = found["signals"].as_array().unwrap().iter().filter(|signal| signal["shadow"] == true);
        shadows.map(|signal| (signal["failure_type"].clone(), signal["id"].clone())).collect::<Vec<_>>()
    };
    assert!(listed("").await.is_empty(), "not unless they are asked for");
    let found = listed("?include_shadow=true").await;
    assert_eq!(found.len(), 2, "{found:?}");
    let good = json!({"fix_content": FIX, "langfuse_prompt_name": "triage"});
    for (kind, id) in found {
        let (status, explained) = post(&site, "read", &format!("/v1/signals/{id}/explain"), json!({})).await;
        assert_eq!((status, &explained["signal_id"]), (200, &id), "{explained}");
        assert!(!explained["root_cause"].as_str().unwrap().is_empty(), "{explained}");
        let (status, marked) =
            post(&site, "operate", &format!("/v1/signals/{id}/feedback"), json!({"correct": false})).await;
        assert_eq!((status, &marked["precision"]), (200, &json!(0.0)), "{marked}");

        let (status, refused) = post(&site, "operate", &format!("/v1/signals/{id}/apply-fix"), good.clone()).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "{refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("'{}'", kind.as_str().unwrap().to_lowercase())), "{message}");
        let hint = refused["error"]["hint"].as_str().unwrap();
        // One of the installation's own is live once it is named; of the bundled ones this one is live by now.
        let way = if kind == "MINE" { "runs.live" } else { "its trial is over" };
        assert!(hint.contains(way) && hint.contains("record-copy"), "{hint}");

        let path = format!("/v1/signals/{id}/record-copy");
        assert_eq!(post(&site, "operate", &path, json!({"fix_content": FIX})).await.0, 200);
        let (_, followed) = get(&site, "read", &format!("/v1/signals/{id}/fix-status")).await;
        assert_eq!((&followed["fix_applied"], &followed["applied_via"]), (&json!(true), &json!("clipboard")));
    }
    let (_, insights) = get(&site, "read", "/v1/agents/agent/insights").await;
    assert!(!insights.to_string().contains("MINE"), "no rate counts what is on trial: {insights}");
}

/// A run of `agent`, judged just now, with live signals of these types.
pub(super) fn judged(run: &str, now: DateTime<Utc>, types: &[&str]) -> JudgedRun {
    JudgedRun {
        facts: RunFacts {
            run_id: run.to_owned(),
            agent_id: "agent".to_owned(),
            agent_version: "v1".to_owned(),
            reason: RunEnd::Completed,
            exit_reason: Some("final_answer".to_owned()),
            started_at: now - TimeDelta::seconds(9),
            ended_at: now - TimeDelta::seconds(4),
            step_count: 3,
            llm_calls: 2,
            tool_calls: 1,
            first_tool_step: Some(1),
            input_hash: Some("ab".to_owned()),
            token_growth: None,
            tool_gaps_ms: vec![5],
            llm_gaps_ms: Vec::new(),
        },
        signals: types
            .iter()
            .map(|kind| NewSignal {
                detector: kind.to_lowercase(),
                failure_type: (*kind).to_owned(),
                severity: Severity::High,
                fingerprint: format!("run:{kind}:agent"),
                step_index: 2,
                confidence: 0.95,
                co_signals: None,
                shadow: false,
                description: format!("{kind} in a run"),
                evidence: json!({"tool": "search", "count": 7, "window": 5, "first_step": 1, "last_step": 9}),
            })
            .collect(),
    }
}
