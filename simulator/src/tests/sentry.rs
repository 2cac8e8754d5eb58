//! Sentry: lists and their Link header, the default query, events, ingest.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::{Scenario, SimulatorOptions};

const ISSUES: &str = "/sentry/api/0/organizations/acme/issues/";

fn issues(count: usize) -> Value {
    (0..count)
        .map(|n| {
            json!({"id": n.to_string(), "shortId": format!("API-{n}"), "title": format!("Error {n}"), "count": (n * 2).to_string(),
                   "userCount": 1, "status": if n % 5 == 0 { "resolved" } else { "unresolved" }, "level": "error",
                   "firstSeen": format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60),
                   "lastSeen": format!("2026-01-02T{:02}:{:02}:00Z", n / 60, n % 60),
                   "project": {"id": if n % 2 == 0 { "1" } else { "2" }, "slug": if n % 2 == 0 { "api" } else { "web" }}})
        })
        .collect()
}

#[tokio::test]
async fn the_next_link_walks_every_issue_once_and_is_there_on_the_last_page_too() {
    let sim = Sim::data(&[("sentry/issues", issues(130))]).await;
    let mut next = Some(format!("{ISSUES}?query=&limit=50"));
    let mut ids = BTreeSet::new();
    let mut pages = 0;
    while let Some(path) = next {
        let answer = sim.get(&path).await;
        pages += 1;
        for id in texts(&answer.json(), "id") {
            assert!(ids.insert(id.to_owned()), "{id} twice");
        }
        assert!(answer.link("previous").is_some() && answer.link("next").is_some());
        let more = answer.header("link").contains(r#"rel="next"; results="true""#);
        next = answer.link("next").filter(|_| more);
    }
    assert_eq!((ids.len(), pages), (130, 3));
}

#[tokio::test]
async fn without_a_query_only_unresolved_issues_are_listed() {
    let sim = Sim::data(&[("sentry/issues", issues(20))]).await;
    let default = sim.read(ISSUES).await;
    assert_eq!(default.as_array().unwrap().len(), 16);
    assert!(texts(&default, "status").iter().all(|status| *status == "unresolved"));
    assert_eq!(sim.read(&format!("{ISSUES}?query=")).await.as_array().unwrap().len(), 20);
    let resolved = sim.read(&format!("{ISSUES}?query=is:resolved")).await;
    assert_eq!(resolved.as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn issues_are_filtered_by_project_window_and_search_and_sorted() {
    let sim = Sim::data(&[("sentry/issues", issues(20))]).await;
    let ids = async |query: &str| -> Vec<String> {
        let found = sim.read(&format!("{ISSUES}?{query}")).await;
        texts(&found, "id").into_iter().map(str::to_owned).collect()
    };
    assert_eq!(ids("query=&project=api").await.len(), 10);
    assert_eq!(ids("query=&project=2").await.len(), 10);
    assert_eq!(ids("query=&project=-1").await.len(), 20);
    assert_eq!(ids("query=&project=api&project=web").await.len(), 20);
    assert_eq!(ids("query=&limit=1").await, ["19"], "last seen first");
    assert_eq!(ids("query=&limit=1&sort=freq").await, ["19"]);
    assert_eq!(ids("query=&sort=new&start=2026-01-02T00:18:30").await, ["19"]);
    assert_eq!(ids("query=firstSeen:%3C2026-01-01T00:02:00Z").await, ["1", "0"]);
    assert_eq!(ids("query=timesSeen:%3E36").await, ["19"]);
    assert_eq!(ids("query=%22Error+7%22").await, ["7"]);
    for bad in
        ["query=is:nonsense", "limit=101", "limit=x", "sort=nonsense", "statsPeriod=soon", "start=soon", "cursor=x"]
    {
        assert_eq!(sim.get(&format!("{ISSUES}?{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn the_scenarios_issues_have_texts_for_counts_and_events_with_frames() {
    let sim = Sim::scenario(Scenario::ErrorCascade).await;
    let truth = sim.handle.truth().unwrap().clone();
    let sha = truth.incidents[0].culprit_sha.clone().unwrap();
    let base = "/sentry/api/0/organizations/acme-shop";
    let found = sim.read(&format!("{base}/issues/?query=RateLimitError")).await;
    let issue = &found[0];
    let id = issue["id"].as_str().unwrap();
    let count: usize = issue["count"].as_str().unwrap().parse().unwrap();
    assert!(issue["userCount"].is_u64());
    let events = sim.read(&format!("{base}/issues/{id}/events/?full=true")).await;
    assert_eq!(events.as_array().unwrap().len(), count);
    let frames = &events[0]["entries"][0]["data"]["values"][0]["stacktrace"]["frames"];
    assert_eq!(frames[1]["filename"], "services/checkout/retry.py");
    let slim = sim.read(&format!("/sentry/api/0/issues/{id}/events/")).await;
    assert!(slim[0].get("entries").is_none() && slim[0].get("_full").is_none());
    let release = slim[0]["tags"].as_array().unwrap().iter().find(|tag| tag["key"] == "release").unwrap();
    let version = release["value"].as_str().unwrap();
    let detail = sim.read(&format!("{base}/releases/{}/", version.replace('@', "%40"))).await;
    assert_eq!(detail["lastCommit"]["id"], sha.as_str());
    let deploys = sim.read(&format!("{base}/releases/{}/deploys/", version.replace('@', "%40"))).await;
    assert_eq!(deploys[0]["environment"], "production");
    let by_tag = sim.read(&format!("{base}/issues/?query=release:{}", version.replace('@', "%40"))).await;
    assert_eq!(by_tag.as_array().unwrap().len(), 2);
    assert_eq!(sim.read(&format!("{base}/projects/")).await.as_array().unwrap().len(), 3);
    let of_project = sim.read("/sentry/api/0/projects/acme-shop/shopfront-api/issues/?query=").await;
    assert!(texts(&of_project, "title").iter().any(|title| title.starts_with("RateLimit")));
}

#[tokio::test]
async fn credentials_and_unknown_things_are_answered_as_sentry_does() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let url = format!("{}{ISSUES}", sim.handle.base_url());
    let none = sim.send(sim.client.get(&url)).await;
    assert_eq!(
        (none.status, none.json()["detail"].as_str().unwrap()),
        (401, "Authentication credentials were not provided.")
    );
    let bad = sim.send(sim.client.get(&url).bearer_auth("an-invalid-token")).await;
    assert_eq!(bad.status, 401);
    for missing in [
        "organizations/other/issues/",
        "organizations/acme-shop/issues/1/",
        "organizations/acme-shop/releases/none/deploys/",
        "nonsense/",
    ] {
        let answer = sim.get(&format!("/sentry/api/0/{missing}")).await;
        assert_eq!(answer.status, 404, "{missing}");
        assert!(answer.json()["detail"].is_string());
    }
    let fine = sim.get("/sentry/api/0/organizations/acme-shop/projects/").await;
    for header in ["limit", "remaining", "reset", "concurrentlimit", "concurrentremaining"] {
        let value = fine.header(&format!("x-sentry-rate-limit-{header}"));
        assert!(value.parse::<u64>().is_ok(), "{header}: {value:?}");
    }
}

#[tokio::test]
async fn events_sent_with_the_projects_dsn_become_one_issue() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let keys = sim.read("/sentry/api/0/projects/acme-shop/shopfront-api/keys/").await;
    let dsn = reqwest::Url::parse(keys[0]["dsn"]["public"].as_str().unwrap()).unwrap();
    let (prefix, project) = dsn.path().trim_matches('/').rsplit_once('/').unwrap();
    let key = dsn.username();
    let event = |n: u32| {
        json!({"event_id": format!("{n:032x}"), "timestamp": "2026-11-20T17:00:00Z", "level": "error", "platform": "python",
               "tags": {"seeded_by": "test"}, "release": "r1",
               "exception": {"values": [{"type": "RateLimitError", "value": format!("Too many requests (attempt {n})"),
                             "stacktrace": {"frames": [{"filename": "a.py", "function": "call"}]}}]}})
    };
    let auth = format!("Sentry sentry_version=7, sentry_key={key}");
    let store = format!("/{prefix}/api/{project}/store/");
    let answer = sim.send(sim.request(Method::POST, &store).header("x-sentry-auth", &auth).json(&event(1))).await;
    assert_eq!((answer.status, answer.json()["id"].as_str().unwrap()), (200, format!("{:032x}", 1).as_str()));
    let envelope = format!("{}\n{}\n{}\n", json!({"event_id": "x"}), json!({"type": "event"}), event(2));
    let path = format!("/{prefix}/api/{project}/envelope/?sentry_key={key}");
    assert_eq!(sim.send(sim.client.post(format!("{}{path}", sim.handle.base_url())).body(envelope)).await.status, 200);
    let forged = sim.request(Method::POST, &store).header("x-sentry-auth", "Sentry sentry_key=nope").json(&event(3));
    assert_eq!(sim.send(forged).await.status, 403);

    let found = sim.read("/sentry/api/0/organizations/acme-shop/issues/?query=RateLimitError").await;
    assert_eq!(found.as_array().unwrap().len(), 1, "attempts are one trouble");
    assert_eq!(found[0]["count"], "2");
    let id = found[0]["id"].as_str().unwrap();
    let events = sim.read(&format!("/sentry/api/0/organizations/acme-shop/issues/{id}/events/")).await;
    assert_eq!(events.as_array().unwrap().len(), 2);
    assert_eq!(sim.read("/_writes").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn releases_and_deploys_can_be_written() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let base = "/sentry/api/0/organizations/acme-shop/releases/";
    let body =
        json!({"version": "shop@9", "projects": ["shopfront-api"], "refs": [{"repository": "r", "commit": "abc"}]});
    assert_eq!(sim.post(base, &body).await.status, 201);
    let deploy = json!({"environment": "production", "dateFinished": "2026-11-20T17:00:00Z"});
    assert_eq!(sim.post(&format!("{base}shop%409/deploys/"), &deploy).await.status, 201);
    assert_eq!(sim.post(&format!("{base}none/deploys/"), &deploy).await.status, 404);
    assert_eq!(sim.post(base, &json!({"version": "x"})).await.status, 400);
    let deploys = sim.read(&format!("{base}shop%409/deploys/")).await;
    assert_eq!(deploys[0]["dateFinished"], "2026-11-20T17:00:00.000000Z");
    assert_eq!(sim.read(&format!("{base}?query=shop@9")).await[0]["lastCommit"]["id"], "abc");
}

#[tokio::test]
async fn any_organisation_is_known_when_items_name_none() {
    let sim = Sim::data_with(&[("sentry/issues", issues(2))], SimulatorOptions::default()).await;
    for org in ["a", "b"] {
        assert_eq!(sim.get(&format!("/sentry/api/0/organizations/{org}/issues/")).await.status, 200);
    }
}
