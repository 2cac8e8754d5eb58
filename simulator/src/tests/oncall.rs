//! Datadog, PagerDuty and Linear: paging, credentials, errors, the clock.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::Scenario;

fn events(count: usize) -> Value {
    (0..count)
        .map(|n| {
            json!({"id": format!("e{n}"), "type": "event", "attributes": {
                "timestamp": format!("2026-11-20T{:02}:{:02}:00Z", n / 60, n % 60), "message": format!("event {n}"),
                "tags": [format!("service:s{}", n % 2)], "attributes": {}}})
        })
        .collect()
}

#[tokio::test]
async fn a_datadog_search_ends_with_an_empty_page_after_a_last_one_that_has_a_cursor() {
    let sim = Sim::data(&[("datadog/events", events(25))]).await;
    let base =
        "/datadog/api/v2/events?filter[from]=2026-11-20T00:00:00Z&filter[to]=2026-11-21T00:00:00Z&page[limit]=20";
    let first = sim.read(base).await;
    assert_eq!(first["data"][0]["id"], "e24", "newest first");
    let next = |answer: &Value| format!("{base}&page[cursor]={}", answer["meta"]["page"]["after"].as_str().unwrap());
    let second = sim.read(&next(&first)).await;
    assert_eq!(second["data"].as_array().unwrap().len(), 5);
    assert_eq!(sim.read(&next(&second)).await, json!({"data": []}));
    let filtered = sim.read(&format!("{base}&filter[query]=service:%22s1%22&sort=timestamp")).await;
    assert_eq!((filtered["data"].as_array().unwrap().len(), &filtered["data"][0]["id"]), (12, &json!("e1")));
    for bad in ["page[limit]=1001", "page[cursor]=x", "sort=name", "filter[query]=a+OR+b", "filter[from]=soon"] {
        assert_eq!(sim.get(&format!("/datadog/api/v2/events?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn datadog_lists_all_monitors_at_once_unless_a_page_is_asked_for() {
    let monitors: Value = (0..7).map(|n| json!({"id": n, "name": format!("m{n}"), "overall_state": "OK"})).collect();
    let sim = Sim::data(&[("datadog/monitors", monitors)]).await;
    assert_eq!(sim.read("/datadog/api/v1/monitor?page_size=2").await.as_array().unwrap().len(), 7);
    let page = sim.read("/datadog/api/v1/monitor?page=3&page_size=2").await;
    assert_eq!(texts(&page, "name"), ["m6"]);
}

#[tokio::test]
async fn each_of_them_refuses_what_is_no_credential_in_its_own_way() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let base = sim.handle.base_url();
    let get = async |path: &str, headers: &[(&'static str, &'static str)]| {
        let request = headers.iter().fold(sim.client.get(format!("{base}{path}")), |r, (n, v)| r.header(*n, *v));
        sim.send(request).await
    };
    let none = get("/datadog/api/v1/validate", &[]).await;
    assert_eq!((none.status, none.json()), (401, json!({"errors": ["Unauthorized"]})));
    let wrong = get("/datadog/api/v1/validate", &[("dd-api-key", "k"), ("dd-application-key", "invalid")]).await;
    assert_eq!((wrong.status, wrong.header("x-ratelimit-limit")), (403, "1000"));
    assert_eq!(get("/pagerduty/users", &[("authorization", "Bearer x")]).await.status, 401);
    assert_eq!(get("/pagerduty/users", &[("authorization", "Token token=x")]).await.status, 200);
    let request = sim.client.post(format!("{base}/linear/graphql")).json(&json!({"query": "{ viewer { id } }"}));
    let refused = sim.send(request).await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["extensions"]["code"]),
        (401, &json!("AUTHENTICATION_ERROR"))
    );
}

#[tokio::test]
async fn each_of_them_says_too_fast_in_its_own_way() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    sim.post("/_fault", &json!({"source": "*", "fault": "throttle"})).await;
    let datadog = sim.get("/datadog/api/v1/monitor").await;
    assert_eq!((datadog.status, datadog.header("x-ratelimit-reset"), datadog.header("retry-after")), (429, "1", ""));
    let pagerduty = sim.get("/pagerduty/users").await;
    assert_eq!((pagerduty.status, pagerduty.header("ratelimit-reset")), (429, "1"));
    let linear = sim.post("/linear/graphql", &json!({"query": "{ viewer { id } }"})).await;
    assert_eq!((linear.status, &linear.json()["errors"][0]["extensions"]["code"]), (400, &json!("RATELIMITED")));
    assert!(linear.header("x-ratelimit-requests-reset").len() >= 13, "milliseconds");
}

#[tokio::test]
async fn a_part_of_an_answer_comes_with_200_and_says_that_it_is_one() {
    let issues: Value = (0..4).map(|n| json!({"id": format!("i{n}"), "createdAt": "2026-11-20T01:00:00Z"})).collect();
    let sim = Sim::data(&[("datadog/events", events(4)), ("linear/issues", issues)]).await;
    sim.post("/_fault", &json!({"source": "*", "fault": "partial"})).await;
    let linear = sim.post("/linear/graphql", &json!({"query": "{ issues { nodes { id } } }"})).await;
    assert_eq!((linear.status, texts(&linear.json()["data"]["issues"]["nodes"], "id").len()), (200, 2));
    assert!(linear.json()["errors"][0]["message"].is_string());
    let datadog =
        sim.get("/datadog/api/v2/events?filter[from]=2026-11-20T00:00:00Z&filter[to]=2026-11-21T00:00:00Z").await;
    assert_eq!((datadog.status, datadog.json()["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!(datadog.json()["meta"]["status"], "timeout");
    let request = sim.request(Method::GET, "/pagerduty/users");
    assert!(request.send().await.unwrap().text().await.is_err(), "others break off");
}

#[tokio::test]
async fn linear_wants_a_personal_key_without_bearer() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let ask = async |key: &str| {
        let url = format!("{}/linear/graphql", sim.handle.base_url());
        let body = json!({"query": "{ viewer { id } }"});
        sim.send(sim.client.post(url).header("authorization", key).json(&body)).await.status
    };
    assert_eq!(
        [ask("lin_api_x").await, ask("Bearer lin_oauth_x").await, ask("Bearer lin_api_x").await],
        [200, 200, 400]
    );
}

#[tokio::test]
async fn pagerduty_shows_a_month_unless_asked_for_more_and_never_past_ten_thousand() {
    let incident =
        |id: &str, at: &str| json!({"id": id, "status": "resolved", "created_at": at, "service": {"id": "S"}});
    let rows = json!([incident("old", "2026-01-05T00:00:00Z"), incident("new", "2026-11-19T00:00:00Z")]);
    let sim = Sim::data(&[("pagerduty/incidents", rows)]).await;
    sim.set_clock("2026-11-20T00:00:00Z").await;
    let ids = async |query: &str| -> Vec<String> {
        let answer = sim.read(&format!("/pagerduty/incidents?{query}")).await;
        texts(&answer["incidents"], "id").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(ids("").await, ["new"]);
    assert_eq!(ids("date_range=all&sort_by=created_at:desc").await, ["new", "old"]);
    assert_eq!(ids("since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z").await, ["old"]);
    assert_eq!(ids("date_range=all&statuses[]=triggered&statuses[]=acknowledged").await, [""; 0]);
    let page = sim.read("/pagerduty/incidents?date_range=all&limit=1").await;
    assert_eq!((&page["more"], &page["total"]), (&json!(true), &Value::Null));
    assert_eq!(sim.read("/pagerduty/incidents?date_range=all&total=true").await["total"], 2);
    for bad in ["since=2026-01-01T00:00:00Z", "offset=9950&limit=100", "limit=x", "since=soon"] {
        assert_eq!(sim.get(&format!("/pagerduty/incidents?{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(sim.get("/pagerduty/incidents/none/alerts").await.status, 404);
}

async fn ask(sim: &Sim, query: &str, variables: Value) -> super::support::Answer {
    sim.send(sim.request(Method::POST, "/linear/graphql").json(&json!({"query": query, "variables": variables}))).await
}

#[tokio::test]
async fn linear_answers_the_fields_that_are_asked_for_page_by_page() {
    let issues: Value = (0..5)
        .map(|n| {
            json!({"id": format!("i{n}"), "title": format!("Issue {n}"), "team": {"key": "ENG", "name": "Eng"},
                   "createdAt": format!("2026-11-20T0{n}:00:00Z"), "updatedAt": format!("2026-11-20T0{n}:30:00Z"),
                   "archivedAt": if n == 0 { json!("2026-11-20T09:00:00Z") } else { Value::Null }})
        })
        .collect();
    let sim = Sim::data(&[("linear/issues", issues)]).await;
    let query = "query ($after: String, $filter: IssueFilter, $all: Boolean) {
        issues(first: 2, after: $after, filter: $filter, includeArchived: $all) {
            nodes { id team { key } } pageInfo { hasNextPage endCursor } } }";
    let first = ask(&sim, query, json!({})).await.json();
    assert_eq!(first["data"]["issues"]["nodes"][0], json!({"id": "i4", "team": {"key": "ENG"}}));
    let after = &first["data"]["issues"]["pageInfo"]["endCursor"];
    let second = ask(&sim, query, json!({ "after": after })).await.json();
    assert_eq!(texts(&second["data"]["issues"]["nodes"], "id"), ["i2", "i1"]);
    assert_eq!(second["data"]["issues"]["pageInfo"]["hasNextPage"], false, "archived rows only when asked for");
    let filter = json!({"createdAt": {"lt": "2026-11-20T01:00:00Z"}});
    let archived = ask(&sim, query, json!({"filter": filter, "all": true})).await.json();
    assert_eq!(texts(&archived["data"]["issues"]["nodes"], "id"), ["i0"]);
    for (wrong, what) in [
        ("{ issues { nodes { id }", "Parse"),
        ("{ nothing { id } }", "Cannot query field"),
        ("{ issues { nodes { team } } }", "selection of subfields"),
        ("mutation { issueDelete { id } }", "only queries"),
    ] {
        let answer = ask(&sim, wrong, json!({})).await;
        let message = answer.json()["errors"][0]["message"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, 400, "{wrong}: {message}");
        assert!(message.to_lowercase().contains(&what.to_lowercase()), "{wrong}: {message}");
    }
    let deep = "{ issues(first: 250) { nodes { labels(first: 100) { nodes { id name color } } } } }";
    assert!(ask(&sim, deep, json!({})).await.text.contains("too complex"));
}

#[tokio::test]
async fn a_cascade_alerts_pages_someone_and_recovers_while_a_quiet_week_stays_quiet() {
    let sim = Sim::scenario(Scenario::ErrorCascade).await;
    let state = async || {
        let monitors = sim.read("/datadog/api/v1/monitor?name=Checkout").await;
        let incidents = sim.read("/pagerduty/incidents?date_range=all").await;
        let status = incidents["incidents"][0]["status"].as_str().unwrap_or("none").to_owned();
        (monitors[0]["overall_state"].as_str().unwrap().to_owned(), status)
    };
    let expected = |monitor: &str, incident: &str| (monitor.to_owned(), incident.to_owned());
    sim.set_clock("2026-11-20T16:00:00Z").await;
    assert_eq!(state().await, expected("OK", "none"));
    sim.set_clock("2026-11-20T16:36:00Z").await;
    assert_eq!(state().await, expected("Alert", "triggered"));
    sim.set_clock("2026-11-20T17:00:00Z").await;
    assert_eq!(state().await, expected("Alert", "acknowledged"));
    sim.set_clock("2026-11-20T17:59:00Z").await;
    assert_eq!(state().await, expected("OK", "resolved"));

    let quiet = Sim::scenario(Scenario::Quiet).await;
    let monitors = quiet.read("/datadog/api/v1/monitor").await;
    assert!(texts(&monitors, "overall_state").iter().all(|state| *state == "OK"));
    assert_eq!(quiet.read("/pagerduty/incidents?date_range=all").await["incidents"], json!([]));
    assert_eq!(quiet.read("/datadog/api/v2/incidents").await["data"], json!([]));
    let oncalls = quiet.read("/pagerduty/oncalls?since=2026-11-20T12:00:00Z&until=2026-11-20T12:00:01Z").await;
    assert_eq!(oncalls["oncalls"].as_array().unwrap().len(), 2, "a shift, and someone who always is");
}
