//! The door of sessions and what is read behind it, as senders and readers see them.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use serde_json::{Value, json};
use tripline_engine::Clock;

use super::site::Site;

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339()
}

pub(super) async fn begin(site: &Site, key: &str) -> String {
    let body = json!({"user_id": "ann", "workspace_id": "shop", "external_session_key": key,
        "start_time": text(site.clock.now() - TimeDelta::minutes(10))});
    let (status, answer) = site.post("ingest", "/v1/sessions/start", &body).await;
    assert_eq!(status, 201, "{answer}");
    answer["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_misspelt_field_of_a_session_is_refused_and_named() {
    let site = Site::new().await;
    let body = json!({"user_id": "ann", "workspace_id": "shop", "external_sesion_key": "k"});
    let (status, refused) = site.post("ingest", "/v1/sessions/start", &body).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("external_sesion_key"), "{refused}");
    let id = begin(&site, "k").await;
    let (status, refused) = site.post("ingest", "/v1/sessions/end", &json!({"session_id": id, "end_tme": "x"})).await;
    assert_eq!(status, 422, "{refused}");
    assert!(refused.to_string().contains("end_tme"), "{refused}");
    let (status, ended) = site.post("ingest", "/v1/sessions/end", &json!({"session_id": id})).await;
    assert_eq!((status, &ended["status"]), (200, &json!("ended")), "{ended}");
}

/// An event so many seconds after ten minutes ago, with these fields.
fn event(site: &Site, second: i64, fields: Value) -> Value {
    let at = site.clock.now() - TimeDelta::minutes(10) + TimeDelta::seconds(second);
    let mut event = json!({"event_type": "log", "source_type": "system", "client_timestamp": text(at)});
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

/// An agent refactors, a test fails, a person mends it.
pub(super) fn acceptance(site: &Site) -> Vec<Value> {
    let agent = json!({"event_type": "agent_action", "source_type": "agent", "source_name": "coder", "file_path": "src/pay.py"});
    let test = json!({"event_type": "test_run", "source_type": "ci", "file_path": "src/pay.py",
        "payload": {"status": "failed"}, "raw_message": "AssertionError: expected 3 got 4"});
    let human =
        json!({"event_type": "file_edit", "source_type": "human", "source_name": "ann", "file_path": "src/pay.py"});
    vec![event(site, 0, agent), event(site, 4, test), event(site, 30, human)]
}

pub(super) async fn batch(site: &Site, session: &str, events: &[Value]) -> (u16, Value) {
    site.post("ingest", "/v1/events/batch", &json!({"session_id": session, "events": events})).await
}

async fn end(site: &Site, session: &str) -> Value {
    let (status, answer) = site.post("ingest", "/v1/sessions/end", &json!({"session_id": session})).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_session_goes_in_is_analysed_and_comes_out_with_cause_agent_and_insight() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    let (status, answer) = batch(&site, &id, &acceptance(&site)).await;
    assert_eq!(
        (status, &answer["received"], &answer["ingested"], &answer["deduped"]),
        (202, &json!(3), &json!(3), &json!(0))
    );
    assert_eq!(end(&site, &id).await["status"], "ended");
    let (status, analysis) = site.post("ingest", &format!("/api/v1/sessions/{id}/analyze?mode=deep"), &json!({})).await;
    assert_eq!((status, &analysis["mode"], &analysis["changed"]), (200, &json!("deep"), &json!(true)), "{analysis}");
    let again = site.post("operate", &format!("/api/v1/sessions/{id}/analyze?mode=deep"), &json!({})).await.1;
    assert_eq!(again["changed"], false);

    let session = site.get(&format!("/v1/sessions/{id}")).await;
    assert_eq!((&session["event_count"], &session["requires_processing"]), (&json!(3), &json!(false)));
    let events = site.get(&format!("/v1/sessions/{id}/events")).await;
    assert_eq!(events["items"][1]["raw_message"], "AssertionError: expected 3 got 4");
    let errors = site.get(&format!("/v1/sessions/{id}/errors")).await;
    assert_eq!(errors["items"][0]["error_type"], "test_failure");
    let pairs = site.get(&format!("/v1/sessions/{id}/correlations")).await;
    assert_eq!((&pairs["items"][0]["confidence"], &pairs["items"][0]["file_match"]), (&json!(0.7), &json!(true)));
    let agents = site.get(&format!("/v1/sessions/{id}/agent-performance")).await;
    assert_eq!((&agents["items"][0]["agent_id"], &agents["items"][0]["success_rate"]), (&json!("coder"), &json!(0.0)));
    let insights = site.get(&format!("/v1/insights/recent?session_id={id}&limit=5")).await;
    assert_eq!(insights["items"][0]["title"], "Agent likely caused recent error");
    let summary = site.get(&format!("/v1/sessions/{id}/summary")).await;
    assert_eq!((&summary["cluster_count"], &summary["correlation_count"]), (&json!(1), &json!(1)));
    assert_eq!(summary["insights_count_by_severity"]["medium"], 1);
    let sql =
        json!({"sql": "SELECT count(*) AS n FROM ingest.insights i JOIN ingest.sessions s ON s.id = i.session_id"});
    assert_eq!(site.post("read", "/api/v1/sql", &sql).await.1["rows"][0]["n"], 1);
}

#[tokio::test]
async fn a_key_begins_one_session_and_names_it_in_batches_and_at_the_end() {
    let site = Site::new().await;
    let id = begin(&site, "my-key").await;
    let body = json!({"user_id": "ann", "workspace_id": "shop", "external_session_key": "my-key"});
    let (status, again) = site.post("ingest", "/v1/sessions/start", &body).await;
    assert_eq!((status, again["session_id"].as_str()), (200, Some(id.as_str())));
    let other = json!({"user_id": "bob", "workspace_id": "shop", "external_session_key": "my-key"});
    assert_eq!(site.post("ingest", "/v1/sessions/start", &other).await.0, 409);
    let events = json!({"external_session_key": "my-key", "events": [event(&site, 1, json!({}))]});
    assert_eq!(site.post("ingest", "/v1/events/batch", &events).await.0, 202);
    let end = json!({"external_session_key": "my-key"});
    assert_eq!(site.post("ingest", "/v1/sessions/end", &end).await.0, 200);
    assert_eq!(site.post("ingest", "/v1/sessions/end", &end).await.0, 200, "ending again changes nothing");
    let other = json!({"external_session_key": "my-key", "end_time": text(site.clock.now() - TimeDelta::minutes(1))});
    assert_eq!(site.post("ingest", "/v1/sessions/end", &other).await.0, 409);
}

#[tokio::test]
async fn the_good_events_of_a_batch_are_kept_and_each_other_one_has_its_reason() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    let events = [
        event(&site, 0, json!({})),
        event(&site, 1, json!({"event_type": "party"})),
        event(&site, 1, json!({})),
        json!("no event"),
        event(&site, 9, json!({"client_timestamp": "yesterday"})),
        event(&site, 9, json!({"session_id": "0199aaaa-0000-7000-8000-00000000dead"})),
    ];
    let (status, answer) = batch(&site, &id, &events).await;
    assert_eq!((status, &answer["ingested"], &answer["deduped"]), (202, &json!(1), &json!(1)), "{answer}");
    let rejected: Vec<_> =
        answer["rejected"].as_array().unwrap().iter().map(|r| (r["index"].clone(), r["field"].clone())).collect();
    let expected = [(1, "event_type"), (3, "event"), (4, "client_timestamp"), (5, "session_id")];
    assert_eq!(rejected, expected.map(|(index, field)| (json!(index), json!(field))));
    let (status, answer) = batch(&site, &id, &events[3..5]).await;
    assert_eq!((status, answer["rejected"].as_array().unwrap().len()), (422, 2), "{answer}");
    assert_eq!(answer["error"]["code"], "invalid");
}

#[tokio::test]
async fn after_the_end_what_happened_before_it_is_kept_and_the_rest_is_refused() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    let at = text(site.clock.now() - TimeDelta::minutes(5));
    let ended = json!({"session_id": id, "end_time": at});
    assert_eq!(site.post("ingest", "/v1/sessions/end", &ended).await.0, 200);
    let (early, late) = (event(&site, 10, json!({})), event(&site, 590, json!({})));
    let (status, answer) = batch(&site, &id, &[late.clone(), early]).await;
    assert_eq!((status, &answer["ingested"], &answer["rejected"][0]["index"]), (202, &json!(1), &json!(0)));
    let (status, answer) = batch(&site, &id, &[late]).await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("session_ended")), "{answer}");
}

#[tokio::test]
async fn twenty_equal_batches_at_once_keep_each_event_once() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    let events: Vec<Value> = (0..40).map(|n| event(&site, n, json!({"payload": {"n": n}}))).collect();
    let answers = futures::future::join_all((0..20).map(|_| batch(&site, &id, &events))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202));
    let count = |key: &str| answers.iter().map(|(_, answer)| answer[key].as_u64().unwrap()).sum::<u64>();
    assert_eq!((count("ingested"), count("deduped")), (40, 19 * 40));
    assert_eq!(site.get(&format!("/v1/sessions/{id}")).await["event_count"], 40);
    let mut seen = 0;
    let mut path = format!("/v1/sessions/{id}/events?limit=7");
    loop {
        let page = site.get(&path).await;
        seen += page["items"].as_array().unwrap().len();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/sessions/{id}/events?limit=7&cursor={cursor}");
    }
    assert_eq!(seen, 40);
}

#[tokio::test]
async fn hostile_batches_are_refused_item_by_item_or_as_a_whole_and_the_server_lives() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    let good = event(&site, 1, json!({})).to_string();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let send = async |items: String| {
        let body = format!(r#"{{"session_id":"{id}","events":[{items}]}}"#);
        let request = site.request("ingest", Method::POST, "/v1/events/batch");
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    for hostile in [
        deep.as_str(),
        r#"{"event_type":"log","payload":{"n":1e999}}"#,
        r#"{"event_type":"log","raw_message":"\ud800"}"#,
        r#"{"event_type":"log","event_type":"log"}"#,
        &format!(r#"{{"raw_message":"{}"}}"#, "x".repeat(300_000)),
    ] {
        let (status, answer) = send(format!("{hostile},{good}")).await;
        let shown: String = hostile.chars().take(60).collect();
        assert_eq!((status, answer["rejected"].as_array().unwrap().len()), (202, 1), "{shown}: {answer}");
    }
    let many = vec!["0"; 1_000_000].join(",");
    for (items, expected) in [(many.as_str(), 422), ("", 422), ("{", 400), (r#"{"payload":NaN}"#, 422)] {
        let (status, answer) = send(items.to_owned()).await;
        assert_eq!(status, expected, "{answer}");
    }
    let door = || site.request("ingest", Method::POST, "/v1/events/batch").header("content-type", "application/json");
    let bad = [r#"{"event_type":"log","payload":{"n":NaN}}"#.as_bytes(), b"{\"event_type\":\"\xff\"}"];
    for (bad, why) in bad.into_iter().zip(["NaN", "UTF-8"]) {
        // Another one each: else the second is a repetition of the first.
        let good = event(&site, 1, json!({"payload": {"n": why}})).to_string();
        let body =
            [format!(r#"{{"session_id":"{id}","events":["#).as_bytes(), bad, b",", good.as_bytes(), b"]}"].concat();
        let packed = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut encoder, &body).unwrap();
            encoder.finish().unwrap()
        };
        for (request, kept) in
            [(door().body(body), "ingested"), (door().header("content-encoding", "gzip").body(packed), "deduped")]
        {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(
                (status, &answer[kept], &answer["rejected"][0]["index"]),
                (202, &json!(1), &json!(0)),
                "{answer}"
            );
            assert!(answer["rejected"][0]["reason"].as_str().unwrap().contains(why), "{answer}");
        }
    }
    let latin = door();
    assert_eq!(latin.body(b"{\"events\":[\"\xff\"]}".to_vec()).send().await.unwrap().status().as_u16() / 100, 4);
    for (path, expected) in [
        (format!("/v1/sessions/{id}/events?limit=0"), 422),
        (format!("/v1/sessions/{id}/events?limit=1001"), 422),
        (format!("/v1/sessions/{id}/events?cursor=x"), 422),
        (format!("/v1/sessions/{id}/events?page=2"), 400),
        ("/v1/sessions/not-a-uuid".to_owned(), 422),
        ("/v1/sessions/0199aaaa-0000-7000-8000-00000000dead/summary".to_owned(), 404),
    ] {
        assert_eq!(site.request("read", Method::GET, &path).send().await.unwrap().status(), expected, "{path}");
    }
    let wrong = format!("/api/v1/sessions/{id}/analyze?mode=thorough");
    assert_eq!(site.post("ingest", &wrong, &json!({})).await.0, 422);
    // The good one of the first batch, and of each of the two whose other item no JSON reader could take.
    assert_eq!(site.get(&format!("/v1/sessions/{id}")).await["event_count"], 3);
}

#[tokio::test]
async fn a_key_of_another_project_sees_no_session_and_adds_nothing_to_it() {
    let site = Site::new().await;
    let id = begin(&site, "k").await;
    batch(&site, &id, &acceptance(&site)).await;
    site.post("ingest", &format!("/api/v1/sessions/{id}/analyze"), &json!({})).await;
    for part in ["", "/events", "/errors", "/correlations", "/agent-performance", "/summary"] {
        let path = format!("/v1/sessions/{id}{part}");
        assert_eq!(site.request("other", Method::GET, &path).send().await.unwrap().status(), 404, "{path}");
    }
    let events = json!({"session_id": id, "events": [event(&site, 100, json!({}))]});
    assert_eq!(site.post("other", "/v1/events/batch", &events).await.0, 404);
    assert_eq!(site.post("other", "/v1/sessions/end", &json!({"session_id": id})).await.0, 404);
    assert_eq!(site.post("other", &format!("/api/v1/sessions/{id}/analyze"), &json!({})).await.0, 404);
    let theirs: Value =
        site.request("other", Method::GET, "/v1/insights/recent").send().await.unwrap().json().await.unwrap();
    assert_eq!(theirs["items"], json!([]));
    let sql = json!({"sql": "SELECT count(*) AS n FROM ingest.session_events"});
    assert_eq!(site.post("other", "/api/v1/sql", &sql).await.1["rows"][0]["n"], 0);
    assert_eq!(site.post("read", "/api/v1/sql", &sql).await.1["rows"][0]["n"], 3);
}
