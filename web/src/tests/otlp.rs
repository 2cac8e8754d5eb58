//! The doors of OpenTelemetry, over real HTTP, down to the rows and files of the store.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Kind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Map, Value, json};
use tripline_engine::Clock;
use tripline_sdk::{Client, LlmResponse, Options, RunOptions, ToolResponse};
use tripline_store::NewKill;

use super::site::Site;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SECRET: &str = "the patient is called Alice";
const PROTOBUF: &str = "application/x-protobuf";

fn now(site: &Site) -> u64 {
    u64::try_from(site.clock.now().timestamp_nanos_opt().unwrap()).unwrap()
}

fn attributes(plain: Value) -> Vec<Value> {
    let plain = plain.as_object().unwrap();
    plain.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// A span of a call of a model, with content wherever a convention has some.
fn span(site: &Site, number: u64, attributes: Vec<Value>) -> Value {
    json!({
        "traceId": TRACE, "spanId": format!("{number:016x}"), "name": "chat", "attributes": attributes,
        "startTimeUnixNano": (now(site) - 2_000_000_000).to_string(),
        "endTimeUnixNano": (now(site) - 1_000_000_000).to_string(),
    })
}

fn chat(site: &Site, number: u64) -> Value {
    span(
        site,
        number,
        attributes(json!({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.agent.name": "agent",
            "gen_ai.output.messages": json!([{"role": "assistant", "content": SECRET}]).to_string(),
            "gen_ai.input.messages": json!([{"role": "user", "content": format!("{SECRET}. jailbreak")}]).to_string(),
            "gen_ai.system_instructions": SECRET, "input.value": SECRET, "output.value": SECRET,
            "langfuse.observation.input": SECRET, "traceloop.entity.input": SECRET, "custom": SECRET,
        })),
    )
}

fn request(spans: &[Value]) -> Value {
    json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]})
}

/// One span in protobuf.
fn protobuf(site: &Site, id: &[u8]) -> Vec<u8> {
    let text = |text: &str| Some(AnyValue { value: Some(Kind::StringValue(text.to_owned())) });
    let span = Span {
        trace_id: hex::decode(TRACE).unwrap(),
        span_id: id.to_vec(),
        start_time_unix_nano: now(site),
        end_time_unix_nano: now(site),
        attributes: vec![KeyValue {
            key: "gen_ai.operation.name".to_owned(),
            value: text("chat"),
            ..KeyValue::default()
        }],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn post(site: &Site, path: &str, kind: &str, body: Vec<u8>) -> RequestBuilder {
    site.request("ingest", Method::POST, path).header("content-type", kind).body(body)
}

async fn status_and_json(response: Response) -> (u16, Value) {
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn rows(site: &Site, sql: &str) -> Vec<Value> {
    let (status, answer) = site.post("read", "/api/v1/sql", &json!({"sql": sql})).await;
    assert_eq!(status, 200, "{answer}");
    answer["rows"].as_array().unwrap().clone()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_trace_becomes_a_run_that_is_kept_once_and_without_its_content() {
    let site = Site::new().await;
    let body = request(&[chat(&site, 1)]).to_string().into_bytes();
    for _ in 0..2 {
        let answer = post(&site, "/v1/traces", "application/json", body.clone()).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(status_and_json(answer).await, (200, json!({})));
    }
    let sql =
        "SELECT run_id, agent_id, event_type, trace_id, payload FROM ingest.events ORDER BY step_index, occurred_at";
    let rows = rows(&site, sql).await;
    let types: Vec<&str> = rows.iter().map(|row| row["event_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["run.started", "llm.called", "llm.responded", "run.completed"]);
    assert!(rows.iter().all(|row| row["run_id"] == TRACE && row["trace_id"] == TRACE && row["agent_id"] == "agent"));
    let started: Value = serde_json::from_str(rows[0]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(started["injection_signal"]["matched_patterns"], json!(["jailbreak"]));
    let answered: Value = serde_json::from_str(rows[2]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(answered["output_hash"], tripline_sdk::hash_content(SECRET));
    assert_eq!(answered["output_length"], SECRET.len());
    let mut files = 0;
    for file in walk(site.home()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(5).any(|window| window == b"Alice"), "{} has content", file.display());
        files += 1;
    }
    assert!(files > 1);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn protobuf_is_answered_in_protobuf_and_packed_bodies_are_unpacked() {
    let site = Site::new().await;
    let good = protobuf(&site, &[7; 8]);
    let answer =
        post(&site, "/v1/traces", PROTOBUF, gzip(&good)).header("content-encoding", "gzip").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, PROTOBUF));
    assert!(answer.bytes().await.unwrap().is_empty(), "a full success has no fields");
    assert_eq!(rows(&site, "SELECT count(*) AS n FROM ingest.events").await[0]["n"], 4);

    let bad = post(&site, "/v1/traces", PROTOBUF, protobuf(&site, &[7; 3])).send().await.unwrap();
    assert_eq!(bad.status(), 200);
    let answer = ExportTraceServiceResponse::decode(bad.bytes().await.unwrap()).unwrap().partial_success.unwrap();
    assert_eq!(answer.rejected_spans, 1);
    assert!(answer.error_message.contains("number 0 (from 0), spanId: it must be 16"), "{}", answer.error_message);

    let broken = post(&site, "/v1/traces", PROTOBUF, b"\x0a\xff".to_vec()).send().await.unwrap();
    assert_eq!((broken.status().as_u16(), broken.headers()["content-type"].to_str().unwrap()), (400, PROTOBUF));
    let status = broken.bytes().await.unwrap();
    assert!(String::from_utf8_lossy(&status).contains("no protobuf message of OTLP"));
}

#[tokio::test]
async fn the_good_spans_of_a_request_are_kept_and_the_bad_are_named() {
    let site = Site::new().await;
    let mut late = chat(&site, 3);
    late["startTimeUnixNano"] = json!((now(&site) + 7_200_000_000_000).to_string());
    late["endTimeUnixNano"] = late["startTimeUnixNano"].clone();
    let mut bad = chat(&site, 2);
    bad["spanId"] = json!("x");
    let body = request(&[chat(&site, 1), bad, late, span(&site, 4, Vec::new())]).to_string().into_bytes();
    let (status, answer) =
        status_and_json(post(&site, "/v1/traces", "application/json", body).send().await.unwrap()).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &json!("2")), "{answer}");
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("2 of 4 spans were not kept: number 1 (from 0), spanId: "), "{message}");
    assert!(message.contains("number 2 (from 0), timestamp: it is 2.0 h ahead"), "{message}");
    let kept = rows(&site, "SELECT DISTINCT event_id FROM ingest.events WHERE event_type = 'llm.called'").await;
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn a_span_of_which_a_part_is_refused_is_no_span_that_was_refused() {
    let site = Site::new().await;
    let mut half = chat(&site, 1);
    half["events"] = json!([{"name": "sig", "timeUnixNano": "1",
                             "attributes": attributes(json!({"dunetrace.signal_name": "sig"}))}]);
    let body = request(&[half]).to_string().into_bytes();
    let (status, answer) =
        status_and_json(post(&site, "/v1/traces", "application/json", body).send().await.unwrap()).await;
    assert_eq!((status, &answer["partialSuccess"]["rejectedSpans"]), (200, &json!("0")), "{answer}");
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("number 0 (from 0), timestamp: ") && message.contains("only this part"), "{message}");
    let kept = rows(&site, "SELECT event_type FROM ingest.events WHERE event_type = 'llm.called'").await;
    assert_eq!(kept.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_cheaply() {
    let site = Site::new().await;
    let bomb = gzip(&vec![b' '; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let json = "application/json";
    for (kind, packing, body, expected) in [
        (json, "gzip", bomb, 413),
        (json, "gzip", b"not gzip".to_vec(), 400),
        (json, "br", b"{}".to_vec(), 415),
        ("text/plain", "identity", b"{}".to_vec(), 415),
        (json, "identity", b"[".to_vec(), 400),
        (json, "identity", vec![b' '; 9 << 20], 413),
        (json, "identity", b"{}".to_vec(), 200),
    ] {
        for path in ["/v1/traces", "/v1/logs"] {
            let sent = post(&site, path, kind, body.clone()).header("content-encoding", packing).send().await;
            // A server that has read enough may close before all is sent.
            let Ok(answer) = sent else { continue };
            assert_eq!(answer.status().as_u16(), expected, "{path} {kind} {packing}");
        }
    }
    assert_eq!(rows(&site, "SELECT count(*) AS n FROM ingest.events").await[0]["n"], 0);
}

#[tokio::test]
async fn log_records_are_taken_too() {
    let site = Site::new().await;
    let event = json!({"event_type": "tool.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": 1,
                       "payload": {"tool_name": "t", "args": SECRET}});
    let records = [json!({"body": {"stringValue": event.to_string()}}), json!({"body": {"stringValue": "hello"}})];
    let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]});
    let answer = post(&site, "/v1/logs", "application/json", body.to_string().into_bytes()).send().await.unwrap();
    assert_eq!(status_and_json(answer).await, (200, json!({})));
    let rows = rows(&site, "SELECT run_id, payload FROM ingest.events").await;
    assert_eq!((rows.len(), &rows[0]["run_id"]), (1, &json!("r")));
    assert!(!rows[0]["payload"].as_str().unwrap().contains("Alice"));
}

#[tokio::test]
async fn a_langfuse_sdk_sends_its_key_as_a_password_under_the_keys_name() {
    let site = Site::new().await;
    let send = |path: &str, user: &str, key: &str| {
        let body = request(&[chat(&site, 1)]).to_string();
        site.client
            .post(site.url(path))
            .basic_auth(user, Some(key))
            .header("content-type", "application/json")
            .header("x-langfuse-ingestion-version", "4")
            .body(body)
            .send()
    };
    let (path, key) = ("/api/public/otel/v1/traces", site.keys["ingest"].clone());
    assert_eq!(send(path, "key-ingest", &key).await.unwrap().status(), 200);
    let id = site.store.keys.list().await.unwrap().into_iter().find(|key| key.name == "key-ingest").unwrap().id;
    assert_eq!(send(path, id.as_str(), &key).await.unwrap().status(), 200);
    assert_eq!(send(path, "key-read", &key).await.unwrap().status(), 401);
    assert_eq!(send(path, "key-ingest", "tl_wrong").await.unwrap().status(), 401);
    assert_eq!(send(path, "key-read", &site.keys["read"]).await.unwrap().status(), 403);
    assert_eq!(send("/v1/traces", "key-ingest", &key).await.unwrap().status(), 401, "here alone");
    let other = send(path, "key-other", &site.keys["other"]).await.unwrap();
    assert_eq!(other.status(), 200);
    assert_eq!(rows(&site, "SELECT count(*) AS n FROM ingest.events").await[0]["n"], 4, "theirs are theirs");
}

/// What agents write, with the one SDK that is ours, in each of its outputs.
fn report(client: &Client, agent: &str) -> String {
    let run = client.run(agent, &RunOptions { user_input: SECRET, model: "m", tools: &["t"], ..RunOptions::default() });
    run.llm_called("m", 10);
    run.llm_responded(&LlmResponse { finish_reason: "tool_calls", completion_tokens: 3, ..LlmResponse::default() });
    run.tool_called("t", &json!({"name": SECRET}));
    run.external_signal("rate_limit", "openai", Map::new());
    run.tool_responded("t", &ToolResponse { success: false, error: Some(SECRET), latency_ms: 4, ..Default::default() });
    run.final_answer();
    let id = run.id().to_owned();
    run.complete();
    id
}

#[tokio::test]
async fn the_sdk_and_its_spans_are_the_same_run_here() {
    let site = Site::new().await;
    let key = site.keys["ingest"].clone();
    let options = Options {
        endpoint: None,
        otel_endpoint: Some(format!("http://{}", site.addr)),
        otel_headers: vec![("authorization".to_owned(), format!("Bearer {key}"))],
        ..Options::default()
    };
    let lines = Lines::default();
    let options = Options { ndjson: Some(Box::new(lines.clone())), ..options };
    let (id, sent) = tokio::task::spawn_blocking(move || {
        let client = Client::new(options).unwrap();
        let id = report(&client, "agent");
        (id, client.shutdown(Duration::from_secs(60)))
    })
    .await
    .unwrap();
    assert!(sent);
    let sql = format!(
        "SELECT event_type, step_index, agent_id, agent_version, payload FROM ingest.events WHERE run_id = '{id}' \
         ORDER BY step_index, occurred_at, seq"
    );
    let kept = rows(&site, &sql).await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let written: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.len(), written.len(), "{kept:#?}");
    for (kept, written) in kept.iter().zip(&written) {
        for field in ["event_type", "step_index", "agent_id", "agent_version"] {
            assert_eq!(kept[field], written[field], "{field}");
        }
        let payload: Value = serde_json::from_str(kept["payload"].as_str().unwrap()).unwrap();
        assert_eq!(payload, written["payload"]);
    }
    let ids: BTreeSet<&str> = written.iter().map(|line| line["run_id"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from([id.as_str()]));
}

#[tokio::test]
async fn the_sdk_learns_that_its_run_is_to_stop_and_says_that_it_did() {
    let site = Site::new().await;
    let options = Options {
        endpoint: Some(format!("http://{}", site.addr)),
        api_key: Some(site.keys["ingest"].clone()),
        control_interval: Duration::from_millis(5),
        ..Options::default()
    };
    let client = Client::new(options).unwrap();
    let run = client.run("agent", &RunOptions { run_id: Some(TRACE), ..RunOptions::default() });
    assert!(run.check().is_ok());
    let now = site.clock.now();
    let kill = NewKill { id: TRACE.to_owned(), incident_id: None, action_id: None, requested_by: "alice".to_owned() };
    site.store.kills.request(&site.scope, kill, now).await.unwrap();
    let killed = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Err(killed) = run.check() {
                return killed;
            }
            tokio::task::yield_now().await;
        }
    });
    let killed = killed.await.unwrap();
    // Heard of in an answer to its own events, which names the run alone, or by asking, which names who asked for it.
    assert!(killed.requested_by.as_deref().is_none_or(|by| by == "alice"), "{killed:?}");
    tokio::task::spawn_blocking(move || {
        run.fail("Killed", &killed);
        client.shutdown(Duration::from_secs(60))
    })
    .await
    .unwrap();
    let kill = site.store.kills.get(&site.scope, TRACE).await.unwrap().unwrap();
    assert_eq!(kill.state, tripline_store::KillState::Stopped);
}

#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
