//! The endpoints, and the whole way from an incident to an action.

use std::time::Duration;

use chrono::TimeDelta;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use tripline_agent::actions::probe;
use tripline_agent::govern::settings::GovernanceSettings;
use tripline_store::{ActionStatus, ApprovalStatus, PageRequest};

use super::site::{APPROVER, Plan, Site, agent_loop, cost_spike};
use crate::WebOptions;

async fn actions(site: &Site, action_type: &str) -> Vec<tripline_store::Action> {
    let filter = tripline_store::ActionFilter { action_type: Some(action_type.to_owned()), ..Default::default() };
    site.store.actions.list(&site.scope, &filter, &PageRequest::first(500)).await.unwrap().items
}

#[tokio::test]
async fn a_hundred_clicks_from_slack_and_the_api_at_once_execute_once() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    site.drain().await;
    let approval = site.approval().await;
    let path = format!("/api/v1/approvals/{}/approve", approval.id);
    let by_api =
        futures::future::join_all((0..50).map(|_| async {
            site.post("operate", &path, &json!({"payload_sha256": approval.payload_sha256})).await.0
        }));
    let by_slack = futures::future::join_all((0..50).map(|_| site.click("tripline_approve", APPROVER)));
    let (by_api, by_slack) = tokio::join!(by_api, by_slack);
    assert!(by_slack.iter().all(|status| *status == 200), "{by_slack:?}");
    assert!(by_api.iter().all(|status| [200, 409].contains(status)), "{by_api:?}");
    let winners = by_api.iter().filter(|status| **status == 200).count();
    assert!(winners <= 1);
    site.drain().await;
    assert_eq!(actions(&site, "open_github_issue").await.len(), 1);
    assert_eq!(site.writes("/repos/acme/shop/issues").await.len(), 1);
    let approval = site.approval().await;
    assert_eq!(approval.status, ApprovalStatus::Approved);
    let winner = approval.resolved_by.unwrap();
    assert_eq!(winner == "operator", winners == 1, "{winner}");
}

#[tokio::test]
async fn a_click_in_slack_opens_the_issue_and_replaces_the_message() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    site.drain().await;
    assert_eq!(site.click("tripline_approve", APPROVER).await, 200);
    site.drain().await;
    let issue = site.writes("/repos/acme/shop/issues").await.remove(0);
    assert!(issue["body"]["body"].as_str().unwrap().contains("## Likely cause"), "{issue}");
    let replaced = site.writes("/response/").await.remove(0);
    assert_eq!(replaced["body"]["replace_original"], true);
    assert!(replaced["body"]["text"].as_str().unwrap().contains("✅ Approved by <@U0APPROVER1>"), "{replaced}");
    // The address of the answer is a credential, and is nowhere to be read.
    let whole = format!("{}{}", site.get("/api/v1/actions?limit=500").await, site.get("/api/v1/audit?limit=500").await);
    assert!(!whole.contains("/slack/response/"));
}

#[tokio::test]
async fn a_forged_or_unsigned_click_gets_403_and_is_on_the_record() {
    let site = Site::new().await;
    let url = site.url("/api/slack/actions");
    let now = chrono::Utc::now().timestamp();
    let forged = site
        .client
        .post(&url)
        .body("payload=%7B%7D")
        .header("x-slack-request-timestamp", now)
        .header("x-slack-signature", format!("v0={}", "0".repeat(64)));
    assert_eq!(forged.send().await.unwrap().status(), 403);
    let stale = site
        .client
        .post(&url)
        .body("payload=%7B%7D")
        .header("x-slack-request-timestamp", now - 301)
        .header("x-slack-signature", format!("v0={}", "0".repeat(64)));
    assert_eq!(stale.send().await.unwrap().status(), 403);
    assert_eq!(site.client.post(&url).body("payload=%7B%7D").send().await.unwrap().status(), 403);
    let record = site.get("/api/v1/audit?event=webhook.refused").await;
    let reasons: Vec<&Value> = record["items"].as_array().unwrap().iter().map(|row| &row["detail"]["reason"]).collect();
    assert_eq!(reasons, ["unsigned", "stale", "forged"]);
}

#[tokio::test]
async fn a_decision_over_the_api_says_what_it_came_to() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let approval = site.approval().await;
    let path = |verb: &str| format!("/api/v1/approvals/{}/{verb}", approval.id);

    let (status, body) = site.post("stranger", &path("approve"), &json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (403, &json!("not_an_approver")));
    let (status, body) = site.post("operate", &path("approve"), &json!({"payload_sha256": "0".repeat(64)})).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("payload_mismatch")));
    let (status, body) = site.post("operate", &path("approve"), &json!({"payload_sha": "x"})).await;
    assert_eq!((status, &body["error"]["code"]), (422, &json!("invalid")));
    let (status, body) = site.post("operate", &path("reject"), &json!({"reason": "known issue"})).await;
    assert_eq!((status, &body["status"], &body["resolved_by"]), (200, &json!("rejected"), &json!("operator")));
    assert_eq!((&body["reason"], &body["action_id"]), (&json!("known issue"), &Value::Null));
    let (status, body) = site.post("operate", &path("approve"), &json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("already_resolved")));
    assert!(body["error"]["message"].as_str().unwrap().contains("rejected by operator"));
    let (status, _) = site.post("operate", "/api/v1/approvals/nothing/approve", &json!({})).await;
    assert_eq!(status, 404);
    site.drain().await;
    assert!(site.writes("/issues").await.is_empty());
}

#[tokio::test]
async fn a_decision_after_the_last_second_is_gone() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let approval = site.approval().await;
    let shown = site.get(&format!("/api/v1/approvals/{}", approval.id)).await;
    assert_eq!(shown["expires_in_seconds"], 14_400);
    site.advance(TimeDelta::hours(4));
    let path = format!("/api/v1/approvals/{}/approve", approval.id);
    let (status, body) = site.post("operate", &path, &json!({})).await;
    assert_eq!((status, &body["error"]["code"]), (410, &json!("expired")));
    assert_eq!(site.get("/api/v1/approvals/stats").await["expired"], 1);
}

#[tokio::test]
async fn a_kill_is_requested_until_the_agent_says_that_it_stopped() {
    let site = Site::new().await;
    let incident = site.open(agent_loop(15)).await;
    site.drain().await;
    let control = format!("/v1/runs/{}/control", incident.entity);
    let dashed = "/v1/runs/0AF76519-16CD-43DD-8448-EB211C80319C/control";
    let state = |value: Value| value["state"].as_str().unwrap().to_owned();
    assert_eq!(state(site.get(&control).await), "running");
    assert_eq!(site.click("tripline_kill_loop", APPROVER).await, 200);
    site.drain().await;
    for path in [control.as_str(), dashed] {
        let answer = site.request("ingest", Method::GET, path).send().await.unwrap().json::<Value>().await.unwrap();
        assert_eq!(
            (&answer["state"], &answer["requested_by"]),
            (&json!("kill_requested"), &json!(APPROVER)),
            "{answer}"
        );
    }
    assert_eq!(actions(&site, "kill_loop").await[0].status, ActionStatus::Requested);

    let (status, body) = site.post("ingest", dashed, &json!({"state": "paused"})).await;
    assert_eq!((status, &body["error"]["code"]), (422, &json!("invalid")));
    for _ in 0..2 {
        let (status, body) = site.post("ingest", dashed, &json!({"state": "stopped"})).await;
        assert_eq!((status, &body["state"]), (200, &json!("stopped")));
    }
    assert_eq!(actions(&site, "kill_loop").await[0].status, ActionStatus::Done);
    site.drain().await;
    let updated = site.writes("chat.update").await.pop().unwrap();
    assert!(updated.to_string().contains("The agent says it has stopped"), "{updated}");
    assert_eq!(site.post("ingest", "/v1/runs/another/control", &json!({"state": "stopped"})).await.0, 404);
}

#[tokio::test]
async fn an_incident_is_shown_with_everything_about_it() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    site.drain().await;
    let listed = site.get("/api/v1/incidents?status=open&type=cost_spike").await;
    assert_eq!(listed["items"][0]["entity"], "summarise_ticket");
    let one = site.get(&format!("/api/v1/incidents/{}", incident.id)).await;
    assert_eq!(one["narrative_parts"]["likely_cause"], "A commit.");
    assert_eq!((one["anomalies"].as_array().unwrap().len(), one["approvals"].as_array().unwrap().len()), (1, 1));
    assert_eq!(one["actions"][0]["type"], "slack_post_message");
    assert_eq!(site.get("/api/v1/incidents?type=agent_loop").await["items"], json!([]));
}

#[tokio::test]
async fn a_listing_is_walked_page_by_page() {
    let site = Site::new().await;
    for n in 0..5 {
        let mut found = cost_spike();
        found.fingerprint = format!("f{n}");
        site.open(found).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = site.get(&format!("/api/v1/incidents?limit=2{cursor}")).await;
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn a_filter_that_is_none_is_refused_with_its_reason() {
    let site = Site::new().await;
    for (path, status) in [
        ("/api/v1/incidents?stauts=open", 400),
        ("/api/v1/incidents?status=closed", 422),
        ("/api/v1/incidents?limit=0", 422),
        ("/api/v1/incidents?limit=many", 400),
        ("/api/v1/incidents?cursor=yesterday", 422),
        ("/api/v1/incidents?since=tuesday", 400),
        ("/api/v1/incidents/%00", 400),
        ("/api/v1/incidents/%ff", 400),
        ("/api/v1/incidents/..%2f..%2fetc%2fpasswd", 404),
        ("/api/v1/incidents/'%20OR%201=1", 404),
        ("/api/v1/nothing", 404),
    ] {
        let response = site.request("read", Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let body: Value = response.json().await.unwrap();
        assert!(body["error"]["code"].is_string() && body["error"]["message"].is_string(), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_wrong_method_or_body_gets_an_error_of_the_one_form() {
    let site = Site::new().await;
    let delete = site.request("admin", Method::DELETE, "/api/v1/incidents").send().await.unwrap();
    assert_eq!(delete.status(), 405);
    assert_eq!(delete.json::<Value>().await.unwrap()["error"]["code"], "method_not_allowed");
    let post = || site.request("read", Method::POST, "/api/v1/sql");
    let text = post().header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(text.status(), 415);
    assert_eq!(text.json::<Value>().await.unwrap()["error"]["code"], "unsupported_media_type");
    let broken = post().header("content-type", "application/json").body("{\"sql\":").send().await.unwrap();
    assert_eq!(broken.status(), 400);
    assert_eq!(broken.json::<Value>().await.unwrap()["error"]["code"], "malformed_json");
}

#[tokio::test]
async fn an_unknown_action_is_settled_by_a_person_and_only_once() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    site.drain().await;
    let path = format!("/api/v1/approvals/{}/approve", site.approval().await.id);
    site.post("operate", &path, &json!({})).await;
    // The process dies while sending, and GitHub does not let us look.
    let request = tripline_store::LeaseRequest {
        holder: "killed".to_owned(),
        lease_for: Duration::from_secs(30),
        kinds: vec![tripline_store::ActionKind::Remediation],
        types: tripline_store::LeaseTypes::Any,
        in_order: false,
    };
    let now = tripline_engine::Clock::now(&*site.clock);
    site.store.actions.lease_next(&site.scope, request, now).await.unwrap().unwrap();
    let fault = json!({"source": "github", "path": "/issues", "fault": "status:404", "times": 1});
    let url = format!("{}/_fault", site.simulator.base_url());
    assert!(site.client.post(url).json(&fault).send().await.unwrap().status().is_success());
    site.advance(TimeDelta::seconds(31));
    site.drain().await;
    let action = actions(&site, "open_github_issue").await.remove(0);
    assert_eq!(action.status, ActionStatus::Unknown, "{:?}", action.error);

    let path = format!("/api/v1/actions/{}/settle", action.id);
    assert_eq!(site.post("read", &path, &json!({"status": "done"})).await.0, 403);
    assert_eq!(site.post("operate", &path, &json!({"status": "maybe"})).await.0, 422);
    let (status, body) = site.post("operate", &path, &json!({"status": "done", "note": "issue 7"})).await;
    assert_eq!((status, &body["status"], &body["result"]["settled_by"]), (200, &json!("done"), &json!("operator")));
    assert_eq!(site.post("operate", &path, &json!({"status": "failed"})).await.0, 409);
    assert!(site.writes("/repos/acme/shop/issues").await.is_empty());
}

#[tokio::test]
async fn jobs_are_listed_and_run() {
    let site = Site::new().await;
    assert_eq!(site.get("/api/v1/jobs").await["items"][0]["name"], "cost_spike");
    assert_eq!(site.get("/api/v1/jobs/cost_spike/runs").await["items"], json!([]));
    let of_none = site.request("read", Method::GET, "/api/v1/jobs/none/runs").send().await.unwrap();
    assert_eq!(of_none.status(), 404, "no runs of no job");
    let (status, body) = site.post("operate", "/api/v1/jobs/cost_spike/run", &json!({"dry_run": true})).await;
    assert_eq!((status, &body["dry_run"], &body["detail"]["by"]), (200, &json!(true), &json!("operator")));
    assert_eq!(site.post("operate", "/api/v1/jobs/none/run", &json!({})).await.0, 404);
}

#[tokio::test]
async fn the_record_is_shown_and_verified() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let verdict = site.get("/api/v1/audit/verify").await;
    assert_eq!(verdict["verdict"], "intact");
    let head = &verdict["head"];
    let anchored = format!("/api/v1/audit/verify?seq={}&hash={}", head["seq"], head["hash"].as_str().unwrap());
    assert_eq!(site.get(&anchored).await["verdict"], "intact");
    let wrong = format!("/api/v1/audit/verify?seq={}&hash={}", head["seq"], "0".repeat(64));
    assert_eq!(site.get(&wrong).await["verdict"], "broken");
    let page = site.get("/api/v1/audit?limit=2").await;
    let next = page["next_before_seq"].as_i64().unwrap();
    let second = site.get(&format!("/api/v1/audit?limit=2&before_seq={next}")).await;
    assert_eq!(second["items"][0]["seq"], next - 1);
}

#[tokio::test]
async fn settings_sources_and_detectors_are_shown_without_a_secret() {
    let site = Site::new().await;
    let settings = site.get("/api/v1/settings").await;
    assert_eq!(settings["settings"]["governance"]["max_auto_actions_per_hour"], 3);
    let sources = site.get("/api/v1/sources").await;
    assert!(sources["destinations"].as_array().unwrap().len() >= 6);
    let detectors = site.get("/api/v1/detectors").await;
    assert_eq!(detectors["items"].as_array().unwrap().len(), 5 + 15, "those of windows and those of runs");
    for name in ["cost_spike", "tool_loop"] {
        let found = detectors["items"].as_array().unwrap().iter().find(|detector| detector["name"] == name);
        assert_eq!(found.unwrap()["mode"], "live", "{name}");
    }
    let shown = format!("{settings}{sources}");
    for secret in ["ghp_token", "xoxb-token", super::site::SECRET] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn every_open_tab_hears_of_a_change() {
    let options = WebOptions { stream_poll: Duration::from_millis(10), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let mut tabs = Vec::new();
    for _ in 0..3 {
        let response = site.request("read", Method::GET, "/api/v1/stream").send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = response.bytes_stream();
        let first = events.next().await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&first).contains("event: change"), "{first:?}");
        tabs.push(events);
    }
    site.open(cost_spike()).await;
    for tab in &mut tabs {
        let heard = async {
            // The health of sources may change meanwhile, which tabs hear of too.
            while !String::from_utf8_lossy(&tab.next().await.unwrap().unwrap()).contains("event: change") {}
        };
        tokio::time::timeout(Duration::from_secs(10), heard).await.unwrap();
    }
}

#[tokio::test]
async fn at_an_unknown_address_a_browser_gets_the_page_and_a_program_the_error() {
    let site = Site::new().await;
    let ask = async |path: &str, accept: &str| {
        let answer = site.client.get(site.url(path)).header("accept", accept).send().await.unwrap();
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap().to_owned())
    };
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    assert_eq!(ask("/nowhere", browser).await, (404, "text/html; charset=utf-8".to_owned()));
    for (path, accept) in [("/nowhere", "*/*"), ("/api/v1/nowhere", browser), ("/v1/nowhere", browser)] {
        assert_eq!(ask(path, accept).await, (404, "application/json".to_owned()), "{path} {accept}");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let options = WebOptions { stream_poll: Duration::from_millis(10), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let made = site.post("admin", "/api/v1/keys", &json!({"name": "passing", "scopes": ["read"]})).await.1;
    let key = made["secret"].as_str().unwrap().to_owned();
    let stream = site.client.get(site.url("/api/v1/stream")).bearer_auth(&key).send().await.unwrap();
    let mut events = stream.bytes_stream();
    assert!(events.next().await.is_some(), "it is open");
    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    assert!(site.request("admin", Method::DELETE, &path).send().await.unwrap().status().is_success());
    let ends = async { while events.next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), ends).await.expect("it ends within a look or two");
}

#[tokio::test]
async fn the_server_says_whether_it_can_work() {
    let site = Site::new().await;
    for path in ["/healthz", "/health", "/api/health"] {
        let health: Value = site.client.get(site.url(path)).send().await.unwrap().json().await.unwrap();
        let well = json!({"status": "ok", "db": "ok", "store": true, "writer": true, "failing_detectors": []});
        assert_eq!(health, well);
    }
}

#[tokio::test]
async fn the_page_takes_nothing_from_elsewhere_and_shows_text_as_text() {
    let site = Site::new().await;
    let mut whole = String::new();
    for path in ["/", "/page/app.js", "/page/view.js", "/page/app.css"] {
        let response = site.client.get(site.url(path)).send().await.unwrap();
        let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        whole.push_str(&response.text().await.unwrap());
    }
    for forbidden in [
        "http://",
        "https://",
        "//cdn",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "<style",
        "style=",
        "onclick=\"",
        "localStorage",
    ] {
        assert!(!whole.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn the_doctor_asks_the_vendors_and_the_webhook_and_writes_nothing() {
    let site = Site::new().await;
    let settings = GovernanceSettings { public_url: Some(site.url("")), ..GovernanceSettings::default() };
    let found = probe(&site.governance.destinations, &settings).await;
    let names: Vec<&str> = found.iter().map(|check| check.name).collect();
    assert_eq!(names, ["Slack scopes", "Slack channel", "Slack Request URL", "GitHub repository"]);
    assert!(found.iter().all(|check| check.ok), "{found:?}");

    let elsewhere = GovernanceSettings {
        public_url: Some(site.simulator.base_url()),
        slack_channel: "#nowhere".to_owned(),
        ..GovernanceSettings::default()
    };
    let found = probe(&site.governance.destinations, &elsewhere).await;
    let failed: Vec<&str> = found.iter().filter(|check| !check.ok).map(|check| check.name).collect();
    assert_eq!(failed, ["Slack channel", "Slack Request URL"], "{found:?}");
    assert!(site.writes("").await.is_empty());
}
