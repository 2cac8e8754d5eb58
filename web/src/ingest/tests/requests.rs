//! The door over HTTP.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tripline_store::NewKill;

use crate::AuthMode;
use crate::tests::site::{Plan, Site};

fn event(run: &str, step: i64) -> Value {
    json!({"event_type": "tool.called", "run_id": run, "agent_id": "a", "agent_version": "v", "step_index": step,
           "payload": {"tool_name": "t", "args": format!("{{\"q\": {step}}}")}})
}

fn batch(events: &[Value]) -> Value {
    json!({"api_key": "", "agent_id": "a", "events": events})
}

async fn answer(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

async fn kept(site: &Site) -> i64 {
    let (status, answer) =
        site.post("read", "/api/v1/sql", &json!({"sql": "SELECT count(*) AS n FROM ingest.events"})).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"][0]["n"].as_i64().unwrap()
}

#[tokio::test]
async fn what_was_accepted_is_a_row_of_the_table_at_once() {
    let site = Site::new().await;
    let (status, said) = site.post("ingest", "/v1/ingest", &batch(&[event("r", 1), event("r", 2)])).await;
    assert_eq!((status, said["accepted"].as_i64(), said["duplicates"].as_i64()), (202, Some(2), Some(0)), "{said}");
    assert!(said["batch_id"].is_string() && said["queued_at"].as_f64().unwrap() > 1.7e9);
    assert_eq!(kept(&site).await, 2);
    let (status, said) = site.post("ingest", "/v1/ingest", &batch(&[event("r", 1), event("r", 3)])).await;
    assert_eq!((status, said["accepted"].as_i64(), said["duplicates"].as_i64()), (202, Some(2), Some(1)));
    assert_eq!(kept(&site).await, 3);
}

#[tokio::test]
async fn a_bad_event_is_named_and_its_neighbours_are_kept() {
    let site = Site::new().await;
    let mut events = vec![event("r", 1), event("r", -1), event("", 2), json!(7), event("r", 3)];
    events[4]["timestamp"] = json!(9e9);
    events.push(event("r", 4));
    let (status, said) = site.post("ingest", "/v1/ingest", &batch(&events)).await;
    assert_eq!((status, said["accepted"].as_i64()), (202, Some(2)));
    let rejected: Vec<_> = said["rejected"].as_array().unwrap().iter().map(|r| (&r["index"], &r["field"])).collect();
    let expected = [json!([1, "step_index"]), json!([2, "run_id"]), json!([3, "event"]), json!([4, "timestamp"])];
    assert_eq!(rejected, expected.iter().map(|e| (&e[0], &e[1])).collect::<Vec<_>>());
    let (status, said) = site.post("ingest", "/v1/ingest", &batch(&events[1..5])).await;
    assert_eq!(status, 422);
    assert_eq!(said["detail"][0]["loc"], json!(["body", "events", 0, "step_index"]));
    assert_eq!(said["rejected"].as_array().unwrap().len(), 4);
    assert_eq!(kept(&site).await, 2);
}

#[tokio::test]
async fn a_body_that_is_no_batch_is_refused_with_its_field() {
    let site = Site::new().await;
    for (body, field) in [
        ("nonsense".to_owned(), json!(["body"])),
        (json!({"agent_id": "a", "events": []}).to_string(), json!(["body", "events"])),
        (json!({"agent_id": "", "events": [event("r", 1)]}).to_string(), json!(["body", "agent_id"])),
        (batch(&vec![event("r", 1); 501]).to_string(), json!(["body", "events"])),
    ] {
        let sent =
            site.request("ingest", Method::POST, "/v1/ingest").header("content-type", "application/json").body(body);
        let (status, said) = answer(sent.send().await.unwrap()).await;
        assert_eq!((status, &said["detail"][0]["loc"]), (422, &field), "{said}");
        assert_eq!(said["error"]["code"], "invalid");
    }
}

#[tokio::test]
async fn a_key_is_taken_from_a_header_or_from_the_body_and_nothing_else() {
    let site = Site::new().await;
    let send = |key: Option<&str>, body: Value| {
        let mut request = site.client.post(site.url("/v1/ingest")).json(&body);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        async move { answer(request.send().await.unwrap()).await }
    };
    let with_key = |key: &str, step| json!({"api_key": key, "agent_id": "a", "events": [event("r", step)]});
    let keys = &site.keys;
    assert_eq!(send(None, with_key(&keys["ingest"], 1)).await.0, 202);
    assert_eq!(send(Some(&keys["ingest"]), with_key("", 2)).await.0, 202);
    assert_eq!(send(Some(&keys["ingest"]), with_key(&keys["ingest"], 3)).await.0, 202);
    for (header, body) in [(None, ""), (None, "tl_nobody"), (None, "dt_dev_x"), (Some("tl_nobody"), "")] {
        let (status, said) = send(header, with_key(body, 4)).await;
        assert_eq!((status, said["detail"].as_str()), (401, Some("Invalid or inactive API key")), "{header:?} {body}");
    }
    for (header, body) in [(None, keys["read"].as_str()), (Some(keys["read"].as_str()), "")] {
        assert_eq!(send(header, with_key(body, 5)).await.0, 403);
    }
    assert_eq!(kept(&site).await, 3);
}

#[tokio::test]
async fn events_go_to_the_project_of_the_key() {
    let site = Site::new().await;
    let (status, _) = site.post("other", "/v1/ingest", &batch(&[event("theirs", 1)])).await;
    assert_eq!((status, kept(&site).await), (202, 0));
}

#[tokio::test]
async fn on_this_machine_dev_mode_needs_no_key() {
    let site = Site::with(Plan { auth: AuthMode::Dev, ..Plan::default() }).await;
    for (step, key) in ["", "dt_dev_local"].into_iter().enumerate() {
        let body = json!({"api_key": key, "agent_id": "a", "events": [event("r", step as i64)]});
        let sent = site.client.post(site.url("/v1/ingest")).json(&body);
        assert_eq!(sent.send().await.unwrap().status(), 202, "{key}");
        let sent = site.client.post(site.url("/v1/ingest")).bearer_auth("dt_dev_local").json(&body);
        assert_eq!(sent.send().await.unwrap().status(), 202, "{key} with a header");
        let tunnelled = site.client.post(site.url("/v1/ingest")).header("x-forwarded-for", "192.0.2.1").json(&body);
        assert_eq!(tunnelled.send().await.unwrap().status(), 401, "{key} through a tunnel");
    }
    let wrong = json!({"api_key": "dt_live_x", "agent_id": "a", "events": [event("r", 9)]});
    assert_eq!(site.client.post(site.url("/v1/ingest")).json(&wrong).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_sender_learns_which_of_its_runs_are_to_stop() {
    let site = Site::new().await;
    let kill = NewKill {
        id: "0af76519-16cd-43dd-8448-eb211c80319c".to_owned(),
        incident_id: None,
        action_id: None,
        requested_by: "ann".to_owned(),
    };
    site.store.kills.request(&site.scope, kill, tripline_engine::Clock::now(&*site.clock)).await.unwrap();
    let events = [event("0af7651916cd43dd8448eb211c80319c", 1), event("another", 1)];
    let (status, said) = site.post("ingest", "/v1/ingest", &batch(&events)).await;
    assert_eq!((status, &said["kill_requested"]), (202, &json!(["0af7651916cd43dd8448eb211c80319c"])));
    let (_, said) = site.post("ingest", "/v1/ingest", &batch(&[event("another", 2)])).await;
    assert_eq!(said.get("kill_requested"), None);
    let (_, said) = site.post("other", "/v1/ingest", &batch(&events)).await;
    assert_eq!(said.get("kill_requested"), None, "another project's kills are none of its business");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn send_encoded(site: &Site, encoding: &str, body: Vec<u8>) -> (u16, Value) {
    let request = site.request("ingest", Method::POST, "/v1/ingest");
    let request = request.header("content-type", "application/json").header("content-encoding", encoding);
    answer(request.body(body).send().await.unwrap()).await
}

#[tokio::test]
async fn gzip_is_taken_and_a_bomb_is_not() {
    let site = Site::new().await;
    let good = gzip(batch(&[event("r", 1)]).to_string().as_bytes());
    assert_eq!(send_encoded(&site, "gzip", good.clone()).await.0, 202);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    assert_eq!(send_encoded(&site, "gzip", bomb).await.0, 413);
    assert_eq!(send_encoded(&site, "gzip", b"no gzip at all".to_vec()).await.0, 400);
    assert_eq!(send_encoded(&site, "gzip", good[..good.len() / 2].to_vec()).await.0, 400);
    assert_eq!(send_encoded(&site, "br", good).await.0, 415);
    assert_eq!(kept(&site).await, 1);
}

#[tokio::test]
async fn whoever_sends_too_large_a_body_learns_of_it() {
    let site = Site::new().await;
    for size in [9 << 20, 20 << 20] {
        // Read to its end, so that a client that only then looks for an answer finds one.
        let sent = site.request("ingest", Method::POST, "/v1/ingest").body("x".repeat(size)).send().await;
        assert_eq!(sent.unwrap().status(), 413);
    }
    assert_eq!(site.post("ingest", "/v1/ingest", &batch(&[event("r", 1)])).await.0, 202);
}

#[tokio::test]
async fn a_store_that_cannot_take_more_says_when_to_come_again() {
    let site = Site::new().await;
    let policy = tripline_store::IngestPolicy { most_unsealed: 0, ..Default::default() };
    assert_eq!(site.post("ingest", "/v1/ingest", &batch(&[event("r", 1)])).await.0, 202);
    site.sqlite.set_ingest_policy(policy);
    let refused =
        site.request("ingest", Method::POST, "/v1/ingest").json(&batch(&[event("r", 2)])).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(seconds > 0 && Duration::from_secs(seconds) < Duration::from_secs(3_600));
    assert!(refused.json::<Value>().await.unwrap()["detail"].as_str().unwrap().contains("nothing was taken"));
    assert_eq!(kept(&site).await, 1);
}

#[tokio::test]
async fn a_deploy_goes_on_the_record() {
    let site = Site::new().await;
    let deploy =
        json!({"api_key": site.keys["ingest"], "agent_id": "a", "version": "v1.4.2", "meta": {"commit": "abc1234"}});
    let sent = site.client.post(site.url("/v1/deploy")).json(&deploy).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    let audit = site.get("/api/v1/audit?event=agent.deployed").await;
    assert_eq!(audit["items"][0]["subject_id"], "a");
    assert_eq!(audit["items"][0]["detail"]["version"], "v1.4.2", "{audit}");
    for bad in [json!({"agent_id": "", "version": "1"}), json!({"agent_id": "a"}), json!([])] {
        assert_eq!(site.post("ingest", "/v1/deploy", &bad).await.0, 422, "{bad}");
    }
}

#[tokio::test]
async fn what_somebody_wrote_about_a_deploy_does_not_go_on_the_record() {
    let site = Site::new().await;
    let deploy = json!({"agent_id": "a", "version": "1", "meta": {"commit": "abc1234", "prompt": "Alice", "url": "https://h/x?sig=Alice",
        "message": "Alice wrote this", "deep": [{"system_prompt": "Alice", "why": "Alice wants it"}]}});
    assert_eq!(site.post("ingest", "/v1/deploy", &deploy).await.0, 202);
    let audit = site.get("/api/v1/audit?event=agent.deployed").await;
    let meta = &audit["items"][0]["detail"]["meta"];
    assert!(!audit.to_string().contains("Alice"), "{audit}");
    assert_eq!(
        (&meta["commit"], &meta["prompt_length"], &meta["url"]),
        (&json!("abc1234"), &json!(5), &json!("https://h/x"))
    );
}

#[tokio::test]
async fn the_last_batch_of_an_sdk_that_stops_is_taken_whatever_was_left_in_its_ring() {
    let site = Site::new().await;
    let events: Vec<Value> = (0..718)
        .map(|n| json!({"event_type": "llm.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": n}))
        .collect();
    let batch = json!({"agent_id": "a", "events": events});
    let send = || site.request("ingest", Method::POST, "/v1/ingest").json(&batch);
    assert_eq!(send().send().await.unwrap().status(), 422, "of anybody else 500 are taken");
    let taken = send().header("X-Dunetrace-Agent", "a").send().await.unwrap();
    assert_eq!(taken.status(), 202);
    assert_eq!(taken.json::<Value>().await.unwrap()["accepted"], 718);
}

#[tokio::test]
async fn an_sdk_finds_what_it_looks_up() {
    let site = Site::new().await;
    for path in ["/v1/policies?agent_id=a", "/v1/detector-config?agent_id=a&agent_version=v"] {
        let found = site.request("ingest", Method::GET, path).send().await.unwrap();
        assert_eq!(found.status(), 200, "{path}");
        let nobody = site.client.get(site.url(path)).send().await.unwrap();
        assert_eq!(nobody.status(), 401, "{path}");
        let in_address = site.url(&format!("{path}&api_key={}", site.keys["ingest"]));
        assert_eq!(site.client.get(in_address).send().await.unwrap().status(), 200, "as SDK 0.3.21 asks");
    }
    let policies: Value =
        site.request("ingest", Method::GET, "/v1/policies?agent_id=a").send().await.unwrap().json().await.unwrap();
    assert_eq!(policies, json!({"policies": []}));
}
