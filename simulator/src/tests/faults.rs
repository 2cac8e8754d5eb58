//! Faults, logs, latency, scripts, shutdown.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::SimulatorOptions;

const PROJECTS: &str = "/langfuse/api/public/projects";

async fn with_fault(spec: &str) -> Sim {
    Sim::start(SimulatorOptions { faults: vec![spec.parse().unwrap()], ..SimulatorOptions::default() }).await
}

#[tokio::test]
async fn a_status_fault_answers_in_each_vendors_shape() {
    let sim = with_fault("*=status:503").await;
    for (path, key) in [
        (PROJECTS, "message"),
        ("/sentry/api/0/organizations/a/issues/", "detail"),
        ("/github/repos/a/b/commits", "message"),
        ("/slack/api/auth.test", "error"),
    ] {
        let answer = sim.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(answer.json()[key].is_string(), "{path}");
    }
    let llm = sim.post("/llm/v1/chat/completions", &json!({})).await;
    assert_eq!(llm.status, 503);
    assert!(llm.json()["error"]["message"].is_string());
}

#[tokio::test]
async fn throttling_is_said_in_each_vendors_way() {
    let sim = with_fault("*=throttle").await;
    let langfuse = sim.get(PROJECTS).await;
    assert_eq!((langfuse.status, langfuse.header("retry-after")), (429, "1"));
    assert!(langfuse.header("x-ratelimit-reset").contains("GMT+0000"), "a JavaScript date");
    let sentry = sim.get("/sentry/api/0/organizations/a/issues/").await;
    assert_eq!((sentry.status, sentry.header("x-sentry-rate-limit-remaining")), (429, "0"));
    let github = sim.get("/github/repos/a/b/commits").await;
    assert_eq!((github.status, github.header("retry-after")), (403, "1"));
    assert!(github.json()["message"].as_str().unwrap().contains("secondary rate limit"));
    let slack = sim.get("/slack/api/auth.test").await;
    assert_eq!((slack.status, slack.header("retry-after")), (429, "1"));
    let primary = with_fault("github=throttle-primary").await;
    let github = primary.get("/github/repos/a/b/commits").await;
    assert_eq!((github.status, github.header("x-ratelimit-remaining")), (403, "0"));
    assert!(github.header("retry-after").is_empty());
    assert!(github.header("x-ratelimit-reset").parse::<i64>().unwrap() >= chrono::Utc::now().timestamp());
}

#[tokio::test]
async fn a_dropped_request_gets_no_answer_and_changes_nothing() {
    let sim = with_fault("github:/issues=drop*1").await;
    let create = || sim.request(Method::POST, "/github/repos/a/b/issues").json(&json!({"title": "x"}));
    let error = create().send().await.unwrap_err();
    assert!(error.is_request(), "{error:?}");
    assert_eq!(sim.read("/_writes").await, json!([]));
    assert_eq!(sim.send(create()).await.status, 201);
    let requests = sim.read("/_requests").await;
    assert_eq!((&requests[0]["status"], &requests[1]["status"]), (&Value::Null, &json!(201)));
}

#[tokio::test]
async fn a_lost_answer_was_carried_out_all_the_same() {
    let sim = with_fault("github:/issues=drop-answer*1").await;
    let create = sim.request(Method::POST, "/github/repos/a/b/issues").json(&json!({"title": "x"}));
    assert!(create.send().await.is_err());
    assert_eq!(sim.read("/_writes").await.as_array().unwrap().len(), 1);
    assert_eq!(texts(&sim.read("/github/repos/a/b/issues").await, "title"), ["x"]);
}

#[tokio::test]
async fn a_truncated_answer_promises_its_whole_length() {
    let sim = with_fault("langfuse=truncate*1").await;
    let response = sim.request(Method::GET, PROJECTS).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let promised = response.content_length().unwrap();
    assert!(promised > 2);
    let error = response.text().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");
    assert_eq!(sim.get(PROJECTS).await.status, 200);
}

#[tokio::test]
async fn a_hung_request_never_answers_and_does_not_keep_the_server_from_stopping() {
    let sim = with_fault("langfuse=hang").await;
    let waiting = sim.request(Method::GET, PROJECTS).timeout(Duration::from_millis(200)).send().await;
    assert!(waiting.unwrap_err().is_timeout());
    let hung = tokio::spawn(sim.request(Method::GET, PROJECTS).send());
    while sim.read("/_requests").await.as_array().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    sim.handle.shutdown().await;
    assert!(hung.await.unwrap().is_err());
}

#[tokio::test]
async fn faults_are_set_counted_and_cleared_while_running() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    let fault = json!({"source": "sentry", "path": "/issues/", "fault": "status:500", "times": 2});
    assert_eq!(sim.post("/_fault", &fault).await.status, 200);
    let issues = "/sentry/api/0/organizations/a/issues/";
    assert_eq!(sim.get("/sentry/api/0/organizations/a/projects/").await.status, 200);
    assert_eq!(
        [sim.get(issues).await.status, sim.get(issues).await.status, sim.get(issues).await.status],
        [500, 500, 200]
    );
    assert_eq!(sim.post("/_fault", &json!({"fault": "status:500"})).await.status, 200);
    assert_eq!(sim.post("/_reset", &json!({})).await.status, 200);
    assert_eq!(sim.get(issues).await.status, 500, "a reset of the logs leaves faults alone");
    assert_eq!(sim.post("/_fault", &json!({"fault": "none"})).await.status, 200);
    assert_eq!(sim.get(issues).await.status, 200);
    for bad in [
        json!({}),
        json!({"fault": "explode"}),
        json!({"source": "nobody", "fault": "drop"}),
        json!({"fault": "drop", "times": 0}),
    ] {
        assert_eq!(sim.post("/_fault", &bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn every_request_is_logged_with_the_vendors_path_until_the_reset() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    sim.get("/langfuse/api/public/v2/observations?limit=5&name=a%20b").await;
    sim.get("/nonsense").await;
    let requests = sim.read("/_requests").await;
    let [request] = requests.as_array().unwrap().as_slice() else { panic!("one vendor request expected: {requests}") };
    assert_eq!(request["source"], "langfuse");
    assert_eq!(request["method"], "GET");
    assert_eq!(request["path"], "/api/public/v2/observations");
    assert_eq!(request["query"], "limit=5&name=a%20b");
    assert_eq!(request["status"], 200);
    assert!(request["at"].is_string());
    sim.post("/_reset", &json!({})).await;
    assert_eq!(sim.read("/_requests").await, json!([]));
}

#[tokio::test]
async fn latency_delays_vendors_and_not_the_simulators_own_endpoints() {
    let sim = Sim::start(SimulatorOptions { latency: Duration::from_millis(60), ..SimulatorOptions::default() }).await;
    let begun = std::time::Instant::now();
    sim.get(PROJECTS).await;
    assert!(begun.elapsed() >= Duration::from_millis(60));
    let parallel = std::time::Instant::now();
    futures::future::join_all((0..8).map(|_| sim.get(PROJECTS))).await;
    assert!(parallel.elapsed() < Duration::from_millis(8 * 60), "requests wait side by side");
}

#[tokio::test]
async fn the_model_says_what_was_scripted_and_nothing_else() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    let ask = json!({"model": "llama-3.3-70b-versatile", "messages": [{"role": "user", "content": "why?"}]});
    let content = async || {
        let answer = sim.post("/llm/v1/chat/completions", &ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(content().await, "{}");
    sim.post("/_llm", &json!({"content": {"claim": 1}, "times": 1})).await;
    sim.post("/_llm", &json!({"content": "prose"})).await;
    assert_eq!(content().await, r#"{"claim":1}"#);
    assert_eq!([content().await, content().await], ["prose", "prose"]);
    assert_eq!(sim.read("/_writes").await[0]["body"]["messages"][0]["content"], "why?");
    assert_eq!(sim.post("/llm/v1/chat/completions", &json!({"model": "m"})).await.status, 400);
    let url = format!("{}/llm/v1/chat/completions", sim.handle.base_url());
    assert_eq!(sim.send(sim.client.post(url).json(&ask)).await.status, 401);
}

#[tokio::test]
async fn a_stopped_simulator_frees_its_port() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    let addr = sim.handle.addr();
    sim.get(PROJECTS).await;
    sim.handle.shutdown().await;
    let again = Sim::start(SimulatorOptions { listen: addr, ..SimulatorOptions::default() }).await;
    let taken = crate::start(SimulatorOptions { listen: addr, ..SimulatorOptions::default() }).await;
    let error = taken.unwrap_err().to_string();
    assert!(error.contains("another port"), "{error}");
    again.handle.shutdown().await;
}

#[tokio::test]
async fn no_path_query_or_body_makes_a_handler_fail() {
    let sim = Sim::scenario(crate::Scenario::Quiet).await;
    let odd = [
        "",
        "%00",
        "..%2f..%2f",
        "%ff%fe",
        "-1",
        "99999999999999999999",
        "'; DROP TABLE x;--",
        "\u{1F600}",
        "{}",
        "[]",
    ];
    for base in [
        "/langfuse/api/public/v2/observations",
        "/langfuse/api/public/v3/scores",
        "/langfuse/api/public/v2/prompts",
        "/sentry/api/0/organizations/acme-shop/issues",
        "/sentry/api/0/organizations/acme-shop/releases",
        "/github/repos/acme-shop/shopfront/commits",
        "/github/repos/acme-shop/shopfront/pulls",
        "/github/repos/acme-shop/shopfront/issues",
        "/github/repos/acme-shop/shopfront/actions/runs",
        "/github/search/issues",
        "/slack/api/conversations.history",
        "/slack/response",
        "/llm/v1/chat",
        "/_clock",
        "/_click",
        "/_llm",
    ] {
        for text in odd {
            for path in [
                format!("{base}/{text}"),
                format!(
                    "{base}?limit={text}&cursor={text}&page={text}&per_page={text}&filter={text}&query={text}&q={text}&channel={text}&oldest={text}&since={text}&created={text}&start={text}"
                ),
            ] {
                let Ok(request) = sim.request(Method::GET, &path).build() else {
                    continue;
                };
                let status = sim.client.execute(request).await.unwrap().status().as_u16();
                assert!(status < 500, "{path}: {status}");
                let request = sim.request(Method::POST, &path).body(text.to_owned());
                let status = request.send().await.unwrap().status().as_u16();
                assert!(status < 500, "POST {path}: {status}");
            }
        }
    }
}
