//! What whoever administers an installation does from the settings page: keys, a source's test, thresholds looked at before they
//! are changed.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tripline_engine::Clock;

use super::runs::judged;
use super::site::Site;

async fn send(site: &Site, key: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = site.request(key, method, path);
    let answer = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = answer.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

async fn use_of(site: &Site, secret: &str) -> u16 {
    site.client.get(site.url("/api/v1/session")).bearer_auth(secret).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_key_is_made_shown_once_listed_without_its_secret_and_revoked() {
    let site = Site::new().await;
    let path = "/api/v1/keys";
    let new =
        json!({"name": "watcher", "person": "Ann", "scopes": ["read"], "project": "other", "expires_in_days": 30});
    for key in ["read", "operate", "ingest", "other"] {
        assert_eq!(send(&site, key, Method::POST, path, Some(new.clone())).await.0, 403, "{key}");
        assert_eq!(send(&site, key, Method::GET, path, None).await.0, 403, "{key}");
    }
    let answer = site.request("admin", Method::POST, path).json(&new).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (201, &"no-store".parse().unwrap()));
    let made: Value = answer.json().await.unwrap();
    let secret = made["secret"].as_str().unwrap();
    assert_eq!((&made["project_id"], &made["scopes"]), (&json!("other"), &json!(["read"])));
    assert_eq!(use_of(&site, secret).await, 200);

    let (_, listed) = send(&site, "admin", Method::GET, path, None).await;
    assert!(!listed.to_string().contains(secret), "the list has no secret");
    assert_eq!(listed["items"][0]["name"], "watcher");
    assert_eq!(listed["projects"], json!(["default", "other"]));
    let recorded = site.request("other", Method::GET, "/api/v1/audit?event=api_key.created").send().await.unwrap();
    let recorded: Value = recorded.json().await.unwrap();
    assert_eq!(recorded["items"][0]["actor"], "admin", "who made it is on the record of its project");
    assert!(!recorded.to_string().contains(secret));

    let (status, taken) = send(&site, "admin", Method::POST, path, Some(new)).await;
    assert_eq!(status, 409);
    assert!(taken["error"]["hint"].as_str().unwrap().contains("revoke"), "{taken}");
    let one = format!("{path}/{}", made["id"].as_str().unwrap());
    assert_eq!(send(&site, "operate", Method::DELETE, &one, None).await.0, 403);
    let (status, revoked) = send(&site, "admin", Method::DELETE, &one, None).await;
    assert!(status == 200 && revoked["revoked_at"].is_string(), "{revoked}");
    assert_eq!(use_of(&site, secret).await, 401);
    assert_eq!(send(&site, "admin", Method::DELETE, &format!("{path}/none"), None).await.0, 404);
}

#[tokio::test]
async fn a_key_with_an_end_ends_by_itself() {
    let site = Site::new().await;
    let new = json!({"name": "guest", "scopes": ["read"], "expires_in_days": 1});
    let (_, made) = send(&site, "admin", Method::POST, "/api/v1/keys", Some(new)).await;
    assert_eq!(made["person"], "guest", "a key without a person is its name's");
    let secret = made["secret"].as_str().unwrap();
    site.advance(TimeDelta::hours(23));
    assert_eq!(use_of(&site, secret).await, 200);
    site.advance(TimeDelta::hours(1));
    assert_eq!(use_of(&site, secret).await, 401);
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_refused_with_what_is_wrong() {
    let site = Site::new().await;
    for (body, status, word) in [
        (json!({"name": " ", "scopes": ["read"]}), 422, "name"),
        (json!({"name": "x\u{7}", "scopes": ["read"]}), 422, "name"),
        (json!({"name": "x".repeat(201), "scopes": ["read"]}), 422, "name"),
        (json!({"name": "x", "scopes": []}), 422, "scopes"),
        (json!({"name": "x", "scopes": ["everything"]}), 422, "everything"),
        (json!({"name": "x", "scopes": ["read"], "expires_in_days": 0}), 422, "expires_in_days"),
        (json!({"name": "x", "scopes": ["read"], "expires_in_days": 3651}), 422, "expires_in_days"),
        (json!({"name": "x", "scopes": ["read"], "project": "nowhere"}), 404, "nowhere"),
        (json!({"name": "x", "scopes": ["read"], "secret": "mine"}), 422, "secret"),
    ] {
        let (found, answer) = send(&site, "admin", Method::POST, "/api/v1/keys", Some(body.clone())).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.to_string().contains(word), "{body}: {answer}");
    }
}

#[tokio::test]
async fn a_source_is_tested_by_who_may_operate_and_that_is_on_the_record() {
    let site = Site::new().await;
    let path = "/api/v1/sources/langfuse/test";
    assert_eq!(send(&site, "read", Method::POST, path, None).await.0, 403);
    assert_eq!(
        send(&site, "other", Method::POST, path, Some(json!({}))).await.0,
        403,
        "sources are the installation's"
    );
    let (status, tested) = send(&site, "operate", Method::POST, path, Some(json!({}))).await;
    assert_eq!((status, &tested["ok"], &tested["latency_ms"]), (200, &json!(true), &json!(12)), "{tested}");
    assert_eq!(send(&site, "operate", Method::POST, "/api/v1/sources/none/test", Some(json!({}))).await.0, 404);
    let record = site.get("/api/v1/audit?event=source.tested").await;
    assert_eq!(
        (&record["items"][0]["actor"], &record["items"][0]["subject_id"]),
        (&json!("operator"), &json!("langfuse"))
    );
    assert_eq!(record["items"].as_array().unwrap().len(), 1);
}

/// Runs that call one tool so often, from one minute ago on; sent, and judged as clean.
async fn runs_of(site: &Site, calls: &[usize]) {
    let now: DateTime<Utc> = site.clock.now();
    let mut runs = Vec::new();
    for (number, calls) in calls.iter().enumerate() {
        let run = format!("run-{number}");
        let mut at = (now - TimeDelta::minutes(1)).timestamp_micros() as f64 / 1e6;
        let mut event = |kind: &str, step: usize, payload: Value| {
            at += 0.5;
            json!({"event_type": kind, "run_id": run, "agent_id": "agent", "agent_version": "v1", "step_index": step,
                "timestamp": at, "payload": payload})
        };
        let mut events = vec![event("run.started", 0, json!({"input_hash": "ab", "tools": ["search"]}))];
        for step in 1..=*calls {
            events.push(event("tool.called", step, json!({"tool_name": "search", "args_hash": "same"})));
            events.push(event("tool.responded", step, json!({"tool_name": "search", "success": true})));
        }
        events.push(event("run.completed", calls + 1, json!({"exit_reason": "final_answer"})));
        let (status, said) = site.post("ingest", "/v1/ingest", &json!({"agent_id": "agent", "events": events})).await;
        assert_eq!(status, 202, "{said}");
        runs.push(judged(&run, now, &[]));
    }
    site.store.runs.record_judged(&site.scope, runs, 50, now).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_says_how_many_of_the_last_runs_it_would_find_before_it_is_changed() {
    let site = Site::new().await;
    // A window of five calls, of which three of one tool are a loop.
    runs_of(&site, &[2, 5, 5, 6, 9]).await;
    let ask = async |body: Value| send(&site, "read", Method::POST, "/api/v1/settings/preview", Some(body)).await;
    let (status, seen) = ask(json!({"settings": {"tool_loop_window": 9, "tool_loop_threshold": 6}})).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!((&seen["runs"]["runs"], &seen["windows"]), (&json!(5), &json!([])), "{seen}");
    let found = seen["runs"]["detectors"].as_array().unwrap();
    assert_eq!(found.len(), 1, "only who is bound to them: {seen}");
    let (now, then) = (&found[0]["fires_now"], &found[0]["would_fire"]);
    assert_eq!((&found[0]["detector"], now, then), (&json!("tool_loop"), &json!(4), &json!(1)), "{seen}");
    assert_eq!(site.get("/api/v1/settings").await["settings"]["tool_loop_threshold"], 3, "nothing is changed");
    assert_eq!(site.get("/v1/agents/agent/signals").await["page"]["total"], 0, "and nothing is written");

    let (_, fewer) = ask(json!({"detector": "tool_loop", "runs": 2})).await;
    assert_eq!(fewer["runs"]["runs"], 2, "{fewer}");
    let (_, all) = ask(json!({})).await;
    assert!(all["runs"]["detectors"].as_array().unwrap().len() >= 15, "{all}");
    for (body, status, word) in [
        (json!({"settings": {"tool_loop_threshold": 0}}), 422, "from 2"),
        (json!({"settings": {"tool_lop": 3}}), 422, "tool_lop"),
        (json!({"detector": "nothing"}), 404, "nothing"),
        (json!({"runs": 501}), 422, "runs"),
    ] {
        let (found, answer) = ask(body.clone()).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.to_string().contains(word), "{body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_whose_source_is_not_there_has_unknown_windows_and_none_that_are_quiet() {
    let site = Site::new().await;
    let body = json!({"settings": {"agent_loop_generation_threshold": 5}, "windows": 3});
    let (status, seen) = send(&site, "read", Method::POST, "/api/v1/settings/preview", Some(body)).await;
    // The engine of this site has no vendor at all, so the query cannot even be planned.
    assert!(status == 422 || seen["windows"][0]["unknown"] == json!(3), "{status} {seen}");
}

#[tokio::test]
async fn a_detector_that_is_not_there_goes_neither_live_nor_into_shadow() {
    let site = Site::new().await;
    let patch = async |body: Value| send(&site, "admin", Method::PATCH, "/api/v1/settings", Some(body)).await;
    for key in ["live", "shadow"] {
        let (status, answer) = patch(json!({"runs": {key: ["tool_loop", "ghost"]}})).await;
        assert_eq!(status, 422, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("'ghost'"), "{answer}");
    }
    let (status, answer) = patch(json!({"runs": {"shadow": ["tool_loop"]}})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_schedule_is_for_a_job_that_is_there() {
    let site = Site::new().await;
    let patch = async |body: Value| send(&site, "admin", Method::PATCH, "/api/v1/settings", Some(body)).await;
    let (status, answer) = patch(json!({"schedules": {"weekly_digst": "0 0 9 * * MON"}})).await;
    assert_eq!(status, 422, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("'weekly_digst'"), "{answer}");
    let (status, answer) = patch(json!({"schedules": {"weekly_digest": "0 0 8 * * MON"}})).await;
    assert_eq!(status, 200, "{answer}");
}
