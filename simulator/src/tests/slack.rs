//! Slack: lists and windows, posting and updating, response URLs, clicks.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::SimulatorOptions;
use crate::click::sign;

const API: &str = "/slack/api";

fn files() -> [(&'static str, Value); 3] {
    let messages = (0..250)
        .map(|n| json!({"type": "message", "user": "U1", "text": format!("m{n}"), "ts": format!("{}.000100", 1_700_000_000 + n), "_channel": "C1"}))
        .collect();
    [
        (
            "slack/channels",
            json!([
                {"id": "C1", "name": "incidents", "created": 1, "is_member": true},
                {"id": "C2", "name": "quiet", "created": 1, "is_member": false, "is_private": true},
                {"id": "C3", "name": "secret", "created": 1, "is_private": true, "is_member": true},
            ]),
        ),
        ("slack/users", json!([{"id": "U1", "name": "mira"}, {"id": "U2", "name": "jonas"}])),
        ("slack/messages", messages),
    ]
}

fn blocks() -> Value {
    json!([
        {"type": "section", "text": {"type": "mrkdwn", "text": "*Approve?*"}},
        {"type": "actions", "elements": [
            {"type": "button", "action_id": "approve", "value": "42", "style": "primary", "text": {"type": "plain_text", "text": "Approve"}},
            {"type": "button", "action_id": "reject", "value": "42", "style": "danger", "text": {"type": "plain_text", "text": "Reject"}}]},
    ])
}

#[tokio::test]
async fn history_walks_every_message_once_newest_first_and_ends_with_an_empty_cursor() {
    let sim = Sim::data(&files()).await;
    let mut cursor = String::new();
    let mut seen = Vec::new();
    loop {
        let page = sim
            .form(&format!("{API}/conversations.history"), &[("channel", "C1"), ("limit", "100"), ("cursor", &cursor)])
            .await;
        assert_eq!(page["ok"], true, "{page}");
        seen.extend(texts(&page["messages"], "ts").iter().map(|ts| (*ts).to_owned()));
        cursor = page["response_metadata"]["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(page["has_more"].as_bool().unwrap(), !cursor.is_empty());
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 250);
    let mut sorted: Vec<_> = seen.clone();
    sorted.sort_by_key(|ts| std::cmp::Reverse(crate::time::from_epoch_seconds(ts)));
    sorted.dedup();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn the_edges_of_a_window_belong_to_it_only_when_inclusive() {
    let sim = Sim::data(&files()).await;
    let count = async |extra: &[(&str, &str)]| {
        let mut fields = vec![("channel", "C1"), ("oldest", "1700000010.000100"), ("latest", "1700000020.000100")];
        fields.extend(extra);
        let page = sim.form(&format!("{API}/conversations.history"), &fields).await;
        page["messages"].as_array().unwrap().len()
    };
    assert_eq!(count(&[]).await, 9);
    assert_eq!(count(&[("inclusive", "true")]).await, 11);
}

#[tokio::test]
async fn errors_are_answers_with_status_200_and_scopes_are_always_named() {
    let sim = Sim::data_with(
        &files(),
        SimulatorOptions {
            slack_scopes: vec!["channels:history".into(), "chat:write".into()],
            ..SimulatorOptions::default()
        },
    )
    .await;
    let error = async |path: &str| {
        let answer = sim.get(&format!("{API}/{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("x-oauth-scopes"), "channels:history,chat:write");
        answer.json()["error"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(error("conversations.history?channel=C9").await, "channel_not_found");
    assert_eq!(error("conversations.history?channel=incidents").await, "channel_not_found");
    assert_eq!(error("conversations.history?channel=C2").await, "not_in_channel");
    assert_eq!(error("conversations.history?channel=C1&oldest=soon").await, "invalid_ts_oldest");
    assert_eq!(error("conversations.history?channel=C1&cursor=x").await, "invalid_cursor");
    assert_eq!(error("conversations.list").await, "missing_scope");
    assert_eq!(error("nonsense.method").await, "unknown_method");
    assert_eq!(error("auth.test").await, "none");
    let url = format!("{}{API}/auth.test", sim.handle.base_url());
    let none = sim.send(sim.client.get(&url)).await.json();
    assert_eq!(none["error"], "not_authed");
    let bad = sim.send(sim.client.get(&url).bearer_auth("xoxb-invalid")).await.json();
    assert_eq!(bad["error"], "invalid_auth");
}

#[tokio::test]
async fn channels_are_listed_by_type_and_users_by_page() {
    let sim = Sim::data(&files()).await;
    let ids = async |path: &str, key: &str| -> Vec<String> {
        let answer = sim.read(&format!("{API}/{path}")).await;
        texts(&answer[key], "id").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(ids("conversations.list", "channels").await, ["C1"]);
    assert_eq!(ids("conversations.list?types=public_channel,private_channel", "channels").await, ["C1", "C2", "C3"]);
    let first = sim.read(&format!("{API}/users.list?limit=1")).await;
    let cursor = first["response_metadata"]["next_cursor"].as_str().unwrap();
    assert_eq!(ids(&format!("users.list?limit=1&cursor={cursor}"), "members").await, ["U2"]);
}

#[tokio::test]
async fn a_posted_message_is_in_the_history_and_can_be_updated_by_channel_id() {
    let sim = Sim::data(&files()).await;
    sim.set_clock("2026-01-01T00:00:00Z").await;
    let metadata = json!({"event_type": "tripline", "event_payload": {"key": "k1"}}).to_string();
    let posted = sim
        .form(
            &format!("{API}/chat.postMessage"),
            &[("channel", "#incidents"), ("text", "hello"), ("blocks", &blocks().to_string()), ("metadata", &metadata)],
        )
        .await;
    assert_eq!((&posted["ok"], &posted["channel"]), (&json!(true), &json!("C1")));
    let ts = posted["ts"].as_str().unwrap();
    let again = sim
        .post(&format!("{API}/chat.postMessage"), &json!({"channel": "C1", "text": "two", "blocks": blocks()}))
        .await
        .json();
    assert_ne!(again["ts"], posted["ts"], "timestamps are unique, also at one moment");

    let plain = sim.read(&format!("{API}/conversations.history?channel=C1&limit=2")).await;
    assert_eq!(texts(&plain["messages"], "text"), ["two", "hello"]);
    assert!(plain["messages"][1].get("metadata").is_none());
    let with = sim.read(&format!("{API}/conversations.history?channel=C1&limit=2&include_all_metadata=true")).await;
    assert_eq!(with["messages"][1]["metadata"]["event_payload"]["key"], "k1");

    let update = async |channel: &str, ts: &str| {
        sim.form(&format!("{API}/chat.update"), &[("channel", channel), ("ts", ts), ("text", "done"), ("blocks", "[]")])
            .await
    };
    assert_eq!(update("incidents", ts).await["error"], "channel_not_found", "a name is no id");
    assert_eq!(update("C1", "1.000000").await["error"], "message_not_found");
    assert_eq!(update("C1", "1700000010.000100").await["error"], "cant_update_message");
    let updated = update("C1", ts).await;
    assert_eq!((&updated["ok"], &updated["text"]), (&json!(true), &json!("done")));
    let message = &sim
        .read(&format!("{API}/conversations.history?channel=C1&latest={ts}&inclusive=true&limit=1"))
        .await["messages"][0];
    assert_eq!((&message["text"], &message["blocks"]), (&json!("done"), &json!([])));
    assert!(message["edited"]["ts"].is_string());
    let link = sim.read(&format!("{API}/chat.getPermalink?channel=C1&message_ts={ts}")).await;
    assert!(link["permalink"].as_str().unwrap().contains("/archives/C1/p"));
}

#[tokio::test]
async fn messages_slack_would_refuse_are_refused() {
    let sim = Sim::data(&files()).await;
    let error = async |fields: &[(&str, &str)]| {
        sim.form(&format!("{API}/chat.postMessage"), fields).await["error"].as_str().unwrap_or("none").to_owned()
    };
    assert_eq!(error(&[("channel", "C1")]).await, "no_text");
    assert_eq!(error(&[("channel", "#nowhere"), ("text", "x")]).await, "channel_not_found");
    assert_eq!(error(&[("channel", "C2"), ("text", "x")]).await, "not_in_channel");
    assert_eq!(error(&[("channel", "C1"), ("blocks", "nonsense")]).await, "invalid_blocks_format");
    assert_eq!(error(&[("channel", "C1"), ("text", "x"), ("thread_ts", "1.000000")]).await, "thread_not_found");
    assert_eq!(error(&[("channel", "C1"), ("text", &"x".repeat(40_001))]).await, "msg_too_long");
    let long = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "x".repeat(3001)}}]).to_string();
    assert_eq!(error(&[("channel", "C1"), ("blocks", &long)]).await, "invalid_blocks");
    let empty = json!([{"type": "section", "text": {"type": "mrkdwn", "text": ""}}]).to_string();
    assert_eq!(error(&[("channel", "C1"), ("blocks", &empty)]).await, "invalid_blocks");
    assert_eq!(sim.read("/_writes").await, json!([]));
}

#[tokio::test]
async fn replies_are_in_their_thread_and_counted_on_its_first_message() {
    let sim = Sim::data(&files()).await;
    let first = sim.form(&format!("{API}/chat.postMessage"), &[("channel", "C1"), ("text", "first")]).await;
    let ts = first["ts"].as_str().unwrap();
    for text in ["a", "b"] {
        sim.form(&format!("{API}/chat.postMessage"), &[("channel", "C1"), ("text", text), ("thread_ts", ts)]).await;
    }
    let history = sim.read(&format!("{API}/conversations.history?channel=C1&limit=1")).await;
    assert_eq!(history["messages"][0]["text"], "first", "replies are not in the history");
    assert_eq!(history["messages"][0]["reply_count"], 2);
    let thread = sim.read(&format!("{API}/conversations.replies?channel=C1&ts={ts}")).await;
    assert_eq!(texts(&thread["messages"], "text"), ["first", "a", "b"]);
}

/// What a receiver of clicks got.
type Received = Arc<Mutex<Vec<(HeaderMap, String)>>>;

async fn receive(State(received): State<Received>, headers: HeaderMap, body: String) -> &'static str {
    received.lock().unwrap().push((headers, body));
    ""
}

async fn receiver() -> (String, Received) {
    let received = Received::default();
    let app = Router::new().route("/api/slack/actions", post(receive)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/slack/actions", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

#[tokio::test]
async fn a_click_is_signed_over_its_raw_body_and_its_response_url_replaces_the_message() {
    let sim = Sim::data(&files()).await;
    let (url, received) = receiver().await;
    let posted = sim
        .form(
            &format!("{API}/chat.postMessage"),
            &[("channel", "C1"), ("text", "fallback"), ("blocks", &blocks().to_string())],
        )
        .await;
    let ts = posted["ts"].as_str().unwrap();
    let click = json!({"request_url": url, "signing_secret": "hush", "user": "U2", "channel": "C1", "ts": ts, "action_id": "approve"});
    let answer = sim.post("/_click", &click).await;
    assert_eq!((answer.status, &answer.json()["status"]), (200, &json!(200)), "{}", answer.text);

    let (headers, body) = received.lock().unwrap()[0].clone();
    let timestamp = headers["x-slack-request-timestamp"].to_str().unwrap();
    assert_eq!(headers["x-slack-signature"].to_str().unwrap(), sign("hush", timestamp, &body).unwrap());
    let age = chrono::Utc::now().timestamp() - timestamp.parse::<i64>().unwrap();
    assert!((0..60).contains(&age), "the system's time: {age}");
    let form: std::collections::HashMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let payload: Value = serde_json::from_str(&form["payload"]).unwrap();
    assert_eq!(payload["type"], "block_actions");
    assert_eq!((&payload["user"]["id"], &payload["user"]["username"]), (&json!("U2"), &json!("jonas")));
    assert_eq!((&payload["channel"]["id"], &payload["container"]["message_ts"]), (&json!("C1"), &json!(ts)));
    assert_eq!(
        (&payload["actions"][0]["action_id"], &payload["actions"][0]["value"]),
        (&json!("approve"), &json!("42"))
    );
    assert_eq!(payload["message"]["ts"], ts);

    let response_url = payload["response_url"].as_str().unwrap();
    assert!(response_url.starts_with(&sim.handle.base_url()));
    let respond = async |body: Value| sim.send(sim.client.post(response_url).json(&body)).await.status;
    assert_eq!(respond(json!({"replace_original": true, "text": "✅ Approved"})).await, 200);
    let message = &sim.read(&format!("{API}/conversations.history?channel=C1&limit=1")).await["messages"][0];
    assert_eq!(message["text"], "✅ Approved");
    assert!(message.get("blocks").is_none(), "the buttons are gone");
    for _ in 0..4 {
        assert_eq!(respond(json!({"text": "seen by one"})).await, 200);
    }
    assert_eq!(respond(json!({"text": "too often"})).await, 404, "five times at most");
    assert_eq!(
        sim.send(sim.request(Method::POST, "/slack/response/none").json(&json!({"text": "x"}))).await.status,
        404
    );
}

#[tokio::test]
async fn a_response_url_ends_after_thirty_minutes_and_can_delete() {
    let sim = Sim::data(&files()).await;
    sim.set_clock("2026-01-01T00:00:00Z").await;
    let (url, received) = receiver().await;
    let posted = sim
        .form(
            &format!("{API}/chat.postMessage"),
            &[("channel", "C1"), ("text", "x"), ("blocks", &blocks().to_string())],
        )
        .await;
    let click = json!({"request_url": url, "signing_secret": "hush", "user": "U2", "channel": "C1", "ts": posted["ts"], "action_id": "reject"});
    let mut urls = Vec::new();
    for _ in 0..2 {
        assert_eq!(sim.post("/_click", &click).await.status, 200);
        let (_, body) = received.lock().unwrap().last().unwrap().clone();
        let (_, payload) = url::form_urlencoded::parse(body.as_bytes()).next().unwrap();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        urls.push(payload["response_url"].as_str().unwrap().to_owned());
    }
    let delete = json!({"delete_original": true});
    assert_eq!(sim.send(sim.client.post(&urls[0]).json(&delete)).await.status, 200);
    let history = sim.read(&format!("{API}/conversations.history?channel=C1&limit=1")).await;
    assert_ne!(history["messages"][0]["ts"], posted["ts"]);
    sim.set_clock("2026-01-01T00:31:00Z").await;
    assert_eq!(sim.send(sim.client.post(&urls[1]).json(&delete)).await.status, 404);
}

#[tokio::test]
async fn a_click_on_nothing_is_told_so() {
    let sim = Sim::data(&files()).await;
    let click = json!({"request_url": "http://127.0.0.1:9/", "signing_secret": "s", "user": "U2", "channel": "C1", "ts": "1700000010.000100", "action_id": "approve"});
    assert_eq!(sim.post("/_click", &click).await.status, 404);
    assert_eq!(sim.post("/_click", &json!({})).await.status, 400);
}
