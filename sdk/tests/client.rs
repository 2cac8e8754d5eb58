//! What the client promises, against a real socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that fails should stop at once")]

mod support;

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use support::{PATIENCE, Server, nobody};
use tripline_sdk::{Client, LlmResponse, Options, RetrievalResponse, Run, RunOptions, ToolResponse, hash_content};

/// A clock that goes on by a millisecond whenever it is looked at.
fn clock() -> Arc<dyn Fn() -> f64 + Send + Sync> {
    let ticks = AtomicU64::new(0);
    Arc::new(move || 1_795_219_315.0 + ticks.fetch_add(1, Ordering::SeqCst) as f64 / 1e3)
}

fn options(endpoint: Option<&str>) -> Options {
    Options {
        endpoint: endpoint.map(str::to_owned),
        retry_pause: Duration::from_millis(1),
        control_interval: Duration::from_millis(1),
        clock: clock(),
        ..Options::default()
    }
}

fn client(server: &Server) -> Client {
    Client::new(options(Some(&server.url))).unwrap()
}

/// Everything a run can report.
fn report(run: &Run) {
    run.llm_called("gpt-4o", 150);
    run.llm_responded(&LlmResponse {
        completion_tokens: 20,
        latency_ms: 300,
        finish_reason: "tool_calls",
        output_hash: &hash_content("hi"),
        output_length: 42,
        ..LlmResponse::default()
    });
    run.tool_called("search", &json!({"query": "the secret of the run"}));
    run.external_signal("rate_limit", "openai", Map::from_iter([("status".to_owned(), json!(429))]));
    run.tool_responded("search", &ToolResponse { success: false, error: Some("secret boom"), ..Default::default() });
    run.retrieval_called("docs", "");
    run.retrieval_responded("docs", &RetrievalResponse { result_count: 0, top_score: None, latency_ms: 3 });
}

fn types(events: &Value) -> Vec<&str> {
    events.as_array().unwrap().iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

#[test]
fn a_run_arrives_in_the_wire_form_and_without_content() {
    let server = Server::start();
    let client = Client::new(Options { api_key: Some("tl_key".to_owned()), ..options(Some(&server.url)) }).unwrap();
    let begin = RunOptions {
        user_input: "the secret of the run. jailbreak",
        system_prompt: "You are helpful.",
        model: "gpt-4o",
        tools: &["web_search", "calculator"],
        parent_run_id: Some("parent"),
        ..RunOptions::default()
    };
    let run = client.run("agent", &begin);
    let id = run.id().to_owned();
    report(&run);
    run.final_answer();
    run.complete();
    assert!(client.shutdown(PATIENCE));

    let request = server.next();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/ingest"));
    assert!(request.headers.contains("authorization: bearer tl_key"), "{}", request.headers);
    assert!(request.headers.contains("x-dunetrace-agent: agent"), "{}", request.headers);
    let events = &request.body["events"];
    assert_eq!(
        types(events),
        [
            "run.started",
            "llm.called",
            "llm.responded",
            "tool.called",
            "external.signal",
            "tool.responded",
            "retrieval.called",
            "retrieval.responded",
            "run.completed"
        ]
    );
    let steps: Vec<u64> = events.as_array().unwrap().iter().map(|e| e["step_index"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 1, 2, 2, 2, 3, 3, 3]);
    for event in events.as_array().unwrap() {
        assert_eq!((&event["run_id"], &event["agent_version"]), (&json!(id), &json!("88e66bb2")));
    }
    assert_eq!(
        events[0]["payload"],
        json!({"input_hash": hash_content(begin.user_input), "model": "gpt-4o", "tools": ["web_search", "calculator"],
               "injection_signal": {"matched_pattern_count": 1, "matched_patterns": ["jailbreak"], "input_length": 32}})
    );
    assert_eq!(events[0]["parent_run_id"], "parent");
    assert_eq!(events[4]["payload"], json!({"signal_name": "rate_limit", "source": "openai", "meta": {"status": 429}}));
    assert_eq!(events[5]["payload"]["error_hash"], hash_content("secret boom"));
    assert_eq!(events[8]["payload"], json!({"total_steps": 3, "exit_reason": "final_answer", "tool_call_count": 1}));
    assert!(events[8]["parent_run_id"].is_null());
    assert!(!request.body.to_string().contains("secret"));
    let ids: std::collections::BTreeSet<&str> =
        events.as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 9, "every event has an id of its own");
}

#[test]
fn a_run_ends_once_however_it_ends() {
    let server = Server::start();
    let client = client(&server);
    drop(client.run("dropped", &RunOptions::default()));
    let failed: Result<(), std::num::ParseIntError> = client.observe("failed", &RunOptions::default(), |run| {
        run.tool_called("parse", &json!({}));
        "x".parse::<i32>().map(drop)
    });
    assert!(failed.is_err());
    std::thread::scope(|scope| {
        let panicked = scope.spawn(|| {
            let _run = client.run("panicked", &RunOptions::default());
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
    });
    assert!(client.shutdown(PATIENCE));
    let mut events = Vec::new();
    while events.len() < 7 {
        events.extend(server.next().body["events"].as_array().unwrap().clone());
    }
    let of =
        |agent: &str| -> Vec<Value> { events.iter().filter(|event| event["agent_id"] == agent).cloned().collect() };
    assert_eq!(types(&json!(of("dropped"))), ["run.started", "run.completed"]);
    assert_eq!(of("dropped")[1]["payload"]["exit_reason"], "completed");
    let failed = of("failed");
    assert_eq!(types(&json!(failed)), ["run.started", "tool.called", "run.errored"]);
    assert_eq!(failed[2]["payload"]["error_type"], "ParseIntError");
    assert_eq!(failed[2]["payload"]["error_hash"], hash_content("invalid digit found in string"));
    assert_eq!(failed[2]["payload"]["step_index"], 1);
    assert_eq!(types(&json!(of("panicked"))), ["run.started", "run.errored"]);
}

#[test]
fn batches_have_a_hundred_events_also_at_the_end() {
    let server = Server::start();
    let client = client(&server);
    let run = client.run("agent", &RunOptions::default());
    for _ in 0..1_000 {
        run.llm_called("m", 1);
    }
    run.complete();
    assert!(client.shutdown(PATIENCE));
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 1_002 {
        sizes.push(server.next().body["events"].as_array().unwrap().len());
    }
    assert!(sizes.iter().all(|size| *size <= 100), "{sizes:?}");
    assert!(server.is_idle());
}

#[test]
fn a_busy_server_gets_the_same_batch_again_and_then_it_is_given_up() {
    let server = Server::start();
    server.answer(&[(503, "retry-after: 0\r\n"), (500, ""), (429, "")]);
    let client = client(&server);
    drop(client.run("agent", &RunOptions::default()));
    assert!(client.flush(PATIENCE));
    let first = server.next().body;
    // The first batch may have gone before the run ended; what is sent again is the same.
    for _ in 0..3 {
        assert_eq!(server.next().body, first);
    }
    assert!(client.flush(PATIENCE));
    let before = client.stats();
    assert_eq!((before.delivered, before.lost), (2, 0), "{before:?}");

    server.answer(&[(503, ""); 6]);
    drop(client.run("agent", &RunOptions::default()));
    assert!(client.flush(PATIENCE));
    assert!(client.stats().lost >= 1, "{:?}", client.stats());
    assert!(client.shutdown(PATIENCE));
}

#[test]
fn what_the_server_refuses_of_a_batch_is_told_and_not_counted_as_delivered() {
    let server = Server::start();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let on_rejected: tripline_sdk::OnRejected = Arc::new(move |event| {
        heard.lock().unwrap().push(event.clone());
        panic!("whoever is told may fail");
    });
    let client = Client::new(Options { on_rejected: Some(on_rejected), ..options(Some(&server.url)) }).unwrap();
    server.say(json!({"accepted": 2, "duplicates": 0, "rejected": [
        {"index": 0, "field": "payload.model", "reason": "has more than 500 characters"},
        {"index": 0, "field": "step_index", "reason": "is negative"},
        {"index": 99, "field": "x", "reason": "no event of this batch"},
    ]}));
    let run = client.run("agent", &RunOptions::default());
    let id = run.id().to_owned();
    run.tool_called("search", &json!({}));
    run.complete();
    assert!(client.flush(PATIENCE));
    // The first of each batch, of one to three batches.
    let (mut batches, mut events) = (0, 0);
    while events < 3 {
        events += server.next().body["events"].as_array().unwrap().len();
        batches += 1;
    }
    let stats = client.stats();
    assert_eq!((stats.enqueued, stats.delivered, stats.lost, stats.rejected), (3, 3 - batches, batches, batches));
    let events = told.lock().unwrap().clone();
    assert_eq!(events.len() as u64, batches, "{events:?}");
    let expected = ("run.started", 202, "payload.model", "has more than 500 characters");
    let event = &events[0];
    assert_eq!((event.event_type, event.status, event.field.as_str(), event.reason.as_str()), expected);
    assert_eq!(events[0].run_id, id);

    // A batch that is refused as a whole: every event of it, and sending goes on.
    server.say(json!({"detail": "Invalid or inactive API key"}));
    server.answer(&[(401, ""), (401, "")]);
    let second = client.run("agent", &RunOptions::default());
    second.complete();
    assert!(client.flush(PATIENCE));
    let stats = client.stats();
    assert_eq!((stats.delivered, stats.lost, stats.rejected), (3 - batches, batches + 2, batches + 2));
    assert!(told.lock().unwrap()[events.len()..].iter().all(|event| event.status == 401 && event.reason == "HTTP 401"));
}

#[test]
fn what_is_refused_is_not_sent_again() {
    let server = Server::start();
    server.answer(&[(422, ""), (422, "")]);
    let client = client(&server);
    drop(client.run("agent", &RunOptions::default()));
    assert!(client.flush(PATIENCE));
    assert!(client.stats().lost >= 1);
    let mut events = 0;
    while events < 2 {
        events += server.next().body["events"].as_array().unwrap().len();
    }
    assert!(server.is_idle());
}

#[test]
fn without_a_server_nothing_waits_and_the_newest_are_kept() {
    let address = format!("http://{}", nobody());
    let options = Options { buffer_size: 50, retry_pause: Duration::from_secs(600), ..options(Some(&address)) };
    let client = Client::new(options).unwrap();
    let began = Instant::now();
    let run = client.run("agent", &RunOptions::default());
    for _ in 0..100_000 {
        run.llm_called("m", 1);
    }
    run.complete();
    // A wait for the retry would take ten minutes.
    assert!(began.elapsed() < PATIENCE);
    let stats = client.stats();
    assert_eq!(stats.enqueued, 100_002);
    assert!(stats.overwritten >= 100_002 - 50 - 200, "{stats:?}");
    assert!(!client.shutdown(PATIENCE), "what was not sent is not said to have been");
    assert!(began.elapsed() < PATIENCE * 2, "the pause between attempts ends with the client");
}

#[test]
fn an_endpoint_of_none_sends_nothing_over_http() {
    let lines = Lines::default();
    let options = Options { ndjson: Some(Box::new(lines.clone())), ..options(None) };
    let client = Client::new(options).unwrap();
    let run = client.run("agent", &RunOptions { tools: &["t"], ..RunOptions::default() });
    assert!(run.check().is_ok());
    report(&run);
    run.complete();
    assert!(client.shutdown(PATIENCE));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert!(text.starts_with(r#"{"ts":"2026-11-21T00:01:55.000000Z","level":"info","logger":"dunetrace","event_type":"run.started","agent_id":"agent","run_id":""#), "{text}");
    assert!(!text.contains("secret"));
}

#[test]
fn an_output_that_fails_is_counted_and_harms_nobody() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let client = Client::new(Options { ndjson: Some(Box::new(Broken)), ..options(None) }).unwrap();
    drop(client.run("agent", &RunOptions::default()));
    assert!(client.flush(PATIENCE));
    assert_eq!(client.stats().lost, 2);
}

#[test]
fn a_run_that_is_asked_to_stop_learns_it_and_says_when_it_did() {
    let server = Server::start();
    let client = client(&server);
    let run = client.run("agent", &RunOptions { run_id: Some("run/1"), ..RunOptions::default() });
    assert!(run.check().is_ok());
    let asked = server.next_to("/v1/runs/");
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/v1/runs/run%2F1/control"));
    server.control(json!({"state": "kill_requested", "requested_by": "alice"}));
    let deadline = Instant::now() + PATIENCE;
    let killed = loop {
        if let Err(killed) = run.check() {
            break killed;
        }
        assert!(Instant::now() < deadline, "the run was not told");
        std::thread::yield_now();
    };
    assert_eq!(killed.to_string(), "run run/1 was asked to stop by alice");
    run.fail("Killed", &killed);
    let said = loop {
        let request = server.next_to("/v1/runs/");
        if request.method == "POST" {
            break request;
        }
    };
    assert_eq!((said.path.as_str(), said.body), ("/v1/runs/run%2F1/control", json!({"state": "stopped"})));
    assert!(client.shutdown(PATIENCE));
}

#[test]
fn a_run_also_learns_from_the_answer_to_its_events_that_it_is_to_stop() {
    let server = Server::start();
    let options = Options { control_interval: Duration::from_secs(3600), ..options(Some(&server.url)) };
    let client = Client::new(options).unwrap();
    let run = client.run("agent", &RunOptions { run_id: Some("r"), ..RunOptions::default() });
    assert!(run.check().is_ok());
    server.next_to("/v1/runs/r/control");
    server.say(json!({"accepted": 1, "kill_requested": ["another", "r"]}));
    run.llm_called("m", 1);
    assert!(client.flush(PATIENCE));
    assert_eq!(run.check().unwrap_err().requested_by, None);
}

#[test]
fn a_server_that_is_gone_stops_no_run() {
    let client = Client::new(options(Some(&format!("http://{}", nobody())))).unwrap();
    let run = client.run("agent", &RunOptions::default());
    for _ in 0..1_000 {
        assert!(run.check().is_ok());
    }
    run.complete();
    client.shutdown(PATIENCE);
}

#[test]
fn a_run_becomes_a_trace_in_the_names_of_the_python_sdk() {
    let server = Server::start();
    let options = Options { otel_endpoint: Some(server.url.clone()), ..options(None) };
    let client = Client::new(options).unwrap();
    let run = client.run("agent", &RunOptions { model: "gpt-4o", tools: &["search", "calc"], ..RunOptions::default() });
    let id = run.id().to_owned();
    report(&run);
    run.tool_called("calc", &json!({}));
    run.fail("ValueError", &"secret");
    assert!(client.shutdown(PATIENCE));
    let mut spans = Vec::new();
    while spans.len() < 5 {
        let request = server.next_to("/v1/traces");
        assert!(!request.body.to_string().contains("secret"));
        spans.extend(request.body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["llm_call", "tool_call", "retrieval", "tool_call", "agent_run"]);
    let trace = id.replace('-', "");
    let root = &spans[4];
    for span in &spans {
        assert_eq!(span["traceId"], trace);
        assert_eq!(span["kind"], 1);
        assert!(span["startTimeUnixNano"].is_string() && span["endTimeUnixNano"].is_string());
    }
    assert!(spans[..4].iter().all(|span| span["parentSpanId"] == root["spanId"]));
    assert_eq!(root["parentSpanId"], trace[16..]);
    let attribute = |span: &Value, key: &str| -> Value {
        let attributes = span["attributes"].as_array().unwrap();
        attributes.iter().find(|a| a["key"] == key).map_or(Value::Null, |a| a["value"].clone())
    };
    assert_eq!(attribute(root, "dunetrace.run_id"), json!({"stringValue": id}));
    assert_eq!(attribute(root, "dunetrace.tools"), json!({"stringValue": "search,calc"}));
    assert_eq!(attribute(root, "dunetrace.error_type"), json!({"stringValue": "ValueError"}));
    assert_eq!(root["status"], json!({"code": 2, "message": "ValueError"}));
    assert_eq!(attribute(&spans[0], "gen_ai.usage.input_tokens"), json!({"intValue": "150"}));
    assert_eq!(spans[1]["status"]["message"], "tool call failed");
    assert_eq!(spans[1]["events"][0]["name"], "rate_limit");
    assert_eq!(attribute(&spans[2], "dunetrace.result_count"), json!({"intValue": "0"}));
    assert_eq!(spans[3]["status"]["message"], "span ended without a response event");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
