//! GitHub: lists and their links, details, conditional requests, writes.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::{Auth, Scenario, SimulatorOptions};

const REPO: &str = "/github/repos/acme/shop";

fn commits(count: usize) -> Value {
    (0..count)
        .map(|n| {
            let date = format!("2026-01-01T{:02}:{:02}:00Z", n / 60, n % 60);
            json!({"sha": format!("{n:040x}"), "_owner": "acme", "_repo": "shop",
                   "author": {"login": if n % 2 == 0 { "even" } else { "odd" }},
                   "commit": {"message": format!("c{n}"), "author": {"date": "2025-12-31T00:00:00Z", "email": "a@b"}, "committer": {"date": date}}})
        })
        .collect()
}

#[tokio::test]
async fn the_next_link_is_followed_by_id_on_this_host_and_walks_every_commit_once() {
    let sim = Sim::data(&[("github/commits", commits(130))]).await;
    let mut next = Some(format!("{REPO}/commits?per_page=50"));
    let mut shas = BTreeSet::new();
    let mut pages = 0;
    while let Some(path) = next {
        let answer = sim.get(&path).await;
        assert_eq!(answer.status, 200);
        pages += 1;
        shas.extend(texts(&answer.json(), "sha").iter().map(|sha| (*sha).to_owned()));
        next = answer.link("next");
        if let Some(next) = &next {
            assert!(next.starts_with(&format!("{}/github/repositories/", sim.handle.base_url())), "{next}");
            assert!(answer.link("last").unwrap().contains("page=3"));
        }
    }
    assert_eq!((shas.len(), pages), (130, 3));
}

#[tokio::test]
async fn commits_are_filtered_by_when_they_landed_by_author_path_and_start() {
    let files = [
        ("github/commits", commits(10)),
        (
            "github/pulls",
            json!([{"number": 7, "state": "closed", "created_at": "2026-01-01T00:00:00Z", "merged_at": "2026-01-01T00:04:00Z",
            "merge_commit_sha": format!("{:040x}", 4), "_owner": "acme", "_repo": "shop"}]),
        ),
        (
            "github/pull_files",
            json!([{"filename": "src/a.rs", "additions": 3, "deletions": 1, "_number": 7, "_owner": "acme", "_repo": "shop"}]),
        ),
    ];
    let sim = Sim::data(&files).await;
    let messages = async |query: &str| -> Vec<String> {
        let found = sim.read(&format!("{REPO}/commits?{query}")).await;
        found.as_array().unwrap().iter().map(|c| c["commit"]["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(messages("since=2026-01-01T00:07:00Z").await, ["c9", "c8", "c7"]);
    assert_eq!(messages("until=2026-01-01T00:01:00Z").await, ["c1", "c0"]);
    assert_eq!(messages("author=ODD&per_page=1").await, ["c9"]);
    assert_eq!(messages("path=src").await, ["c4"]);
    assert_eq!(messages(&format!("sha={:040x}&per_page=2", 5)).await, ["c5", "c4"]);

    let detail = sim.read(&format!("{REPO}/commits/{:040x}", 4)).await;
    assert_eq!(detail["files"][0]["filename"], "src/a.rs", "from the pull request it merged");
    assert_eq!(detail["stats"], json!({"total": 4, "additions": 3, "deletions": 1}));
    assert_eq!(sim.read(&format!("{REPO}/commits/main")).await["commit"]["message"], "c9");
    assert_eq!(sim.get(&format!("{REPO}/commits/feedfeedfeed")).await.status, 422);
    assert_eq!(sim.read(&format!("{REPO}/commits/{:040x}", 3)).await["files"], json!([]));
}

#[tokio::test]
async fn the_files_of_a_large_commit_come_in_pages_of_three_hundred() {
    let files: Vec<Value> =
        (0..301).map(|n| json!({"filename": format!("f{n}"), "additions": 1, "deletions": 0})).collect();
    let sim = Sim::data(&[(
        "github/commits",
        json!([{"sha": "abcdef0123", "files": files, "commit": {"committer": {"date": "2026-01-01T00:00:00Z"}}}]),
    )])
    .await;
    let first = sim.get(&format!("{REPO}/commits/abcdef0123")).await;
    assert_eq!(first.json()["files"].as_array().unwrap().len(), 300);
    let second = sim.get(&first.link("next").unwrap()).await;
    assert_eq!(second.json()["files"].as_array().unwrap().len(), 1);
    assert_eq!(second.json()["stats"]["additions"], 301);
}

#[tokio::test]
async fn pulls_and_issues_list_open_ones_by_default_and_issues_include_pulls() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let repo = "/github/repos/ACME-Shop/SHOPFRONT";
    let open = sim.read(&format!("{repo}/pulls")).await;
    assert!(texts(&open, "state").iter().all(|state| *state == "open"));
    let all = sim.read(&format!("{repo}/pulls?state=all&per_page=100")).await;
    assert!(all.as_array().unwrap().len() > 40);
    let numbers: Vec<u64> = all.as_array().unwrap().iter().map(|p| p["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] > pair[1]), "newest first");
    let oldest_change = sim.read(&format!("{repo}/pulls?state=closed&sort=updated&per_page=5")).await;
    let updated = texts(&oldest_change, "updated_at");
    assert!(updated.windows(2).all(|pair| pair[0] <= pair[1]), "another sort is ascending: {updated:?}");

    let issues = sim.read(&format!("{repo}/issues?state=all&per_page=100")).await;
    let pulls = issues.as_array().unwrap().iter().filter(|i| i.get("pull_request").is_some()).count();
    assert!(pulls > 40 && issues.as_array().unwrap().len() > pulls);
    assert!(texts(&sim.read(&format!("{repo}/issues")).await, "state").iter().all(|state| *state == "open"));
    let number = numbers[0];
    let detail = sim.read(&format!("{repo}/pulls/{number}")).await;
    assert!(detail["changed_files"].as_u64().unwrap() > 0 && detail["_links"]["self"].is_object());
    assert!(!sim.read(&format!("{repo}/pulls/{number}/files")).await.as_array().unwrap().is_empty());
    assert_eq!(sim.get(&format!("{repo}/pulls?state=nonsense")).await.status, 422);
}

#[tokio::test]
async fn workflow_runs_are_an_object_with_a_total_and_filters() {
    let sim = Sim::scenario(Scenario::Quiet).await;
    let path = "/github/repos/acme-shop/shopfront/actions/runs";
    let all = sim.read(&format!("{path}?per_page=1")).await;
    let total = all["total_count"].as_u64().unwrap();
    assert!(total > 50 && all["workflow_runs"].as_array().unwrap().len() == 1);
    let failed = sim.read(&format!("{path}?status=failure&per_page=100")).await;
    let count = failed["total_count"].as_u64().unwrap();
    assert!(count > 0 && count < total);
    assert!(texts(&failed["workflow_runs"], "conclusion").iter().all(|c| *c == "failure"));
    let recent = sim.read(&format!("{path}?created=%3E%3D2026-11-20")).await;
    assert!(recent["total_count"].as_u64().unwrap() < total);
    assert_eq!(sim.read(&format!("{path}?branch=other")).await["total_count"], 0);
    assert_eq!(sim.get(&format!("{path}?created=soon")).await.status, 422);
}

#[tokio::test]
async fn an_unchanged_answer_is_a_304_that_costs_nothing() {
    let sim = Sim::data(&[("github/commits", commits(3))]).await;
    let path = format!("{REPO}/commits");
    let first = sim.get(&path).await;
    let etag = first.header("etag").to_owned();
    let again = sim.send(sim.request(Method::GET, &path).header("if-none-match", &etag)).await;
    assert_eq!((again.status, again.text.as_str()), (304, ""));
    assert_eq!(again.header("x-ratelimit-used"), "1", "counted once before");
    let after = sim.get(&path).await;
    assert_eq!(after.header("x-ratelimit-used"), "1");
    sim.set_clock("2026-01-01T00:01:00Z").await;
    let changed = sim.send(sim.request(Method::GET, &path).header("if-none-match", &etag)).await;
    assert_eq!(changed.status, 200);
    assert_eq!(sim.read("/_requests").await[1]["status"], 304);
}

#[tokio::test]
async fn tokens_and_unknown_repositories_are_answered_as_github_does() {
    let sim = Sim::data(&[("github/commits", commits(1))]).await;
    let url = format!("{}{REPO}/commits", sim.handle.base_url());
    let bad = sim.send(sim.client.get(&url).bearer_auth("invalid")).await;
    assert_eq!((bad.status, bad.json()["message"].as_str().unwrap()), (401, "Bad credentials"));
    let anonymous = sim.send(sim.client.get(&url)).await;
    assert_eq!((anonymous.status, anonymous.header("x-ratelimit-limit")), (200, "60"));
    let other = sim.get("/github/repos/acme/other/commits").await;
    assert_eq!((other.status, other.json()["message"].as_str().unwrap()), (404, "Not Found"));
    let write = sim.client.post(format!("{}{REPO}/issues", sim.handle.base_url())).json(&json!({"title": "x"}));
    assert_eq!(sim.send(write).await.status, 401);
    let open =
        Sim::data_with(&[("github/commits", commits(1))], SimulatorOptions { auth: Auth::Off, ..Default::default() })
            .await;
    let url = format!("{}{REPO}/commits", open.handle.base_url());
    assert_eq!(open.send(open.client.get(&url)).await.header("x-ratelimit-limit"), "5000");
}

#[tokio::test]
async fn a_written_issue_its_comments_and_reviews_are_readable() {
    let files = [(
        "github/pulls",
        json!([{"number": 41, "state": "open", "created_at": "2026-01-01T00:00:00Z", "head": {"sha": "h"}, "_owner": "acme", "_repo": "shop"}]),
    )];
    let sim = Sim::data(&files).await;
    let marker = "<!-- tripline:key=abc123 -->";
    let body = format!("What happened\n\n{marker}");
    let created = sim
        .post(
            &format!("{REPO}/issues"),
            &json!({"title": "Cost spike", "body": body, "labels": ["incident", "tripline"]}),
        )
        .await;
    assert_eq!(created.status, 201);
    let number = created.json()["number"].as_u64().unwrap();
    assert_eq!(number, 42, "after the pull requests");
    let listed = sim.read(&format!("{REPO}/issues?labels=incident,tripline&state=all")).await;
    assert_eq!(listed[0]["body"], body.as_str(), "the text exactly as sent");
    let comment = sim.post(&format!("{REPO}/issues/{number}/comments"), &json!({"body": "more"})).await;
    assert_eq!(comment.status, 201);
    let id = comment.json()["id"].clone();
    assert_eq!(sim.patch(&format!("{REPO}/issues/comments/{id}"), &json!({"body": "edited"})).await.status, 200);
    let comments = sim.read(&format!("{REPO}/issues/{number}/comments")).await;
    assert_eq!(texts(&comments, "body"), ["edited"]);
    assert_eq!(sim.read(&format!("{REPO}/issues/{number}")).await["comments"], 1);
    assert_eq!(sim.patch(&format!("{REPO}/issues/{number}"), &json!({"state": "closed"})).await.status, 200);
    assert_eq!(sim.read(&format!("{REPO}/issues")).await, json!([]), "closed is not open");
    assert_eq!(sim.read(&format!("{REPO}/issues?state=closed")).await[0]["state_reason"], "completed");

    let review = json!({"event": "REQUEST_CHANGES", "body": "risky"});
    assert_eq!(sim.post(&format!("{REPO}/pulls/41/reviews"), &review).await.status, 200);
    assert_eq!(sim.read(&format!("{REPO}/pulls/41/reviews")).await[0]["state"], "CHANGES_REQUESTED");
    let found = sim.read("/github/search/issues?q=repo:acme/shop+is:issue+%22tripline:key%3Dabc123%22").await;
    assert_eq!((&found["total_count"], &found["items"][0]["number"]), (&json!(1), &json!(number)));
    for (path, body, status) in [
        ("issues", json!({"body": "no title"}), 422),
        ("issues/42/comments", json!({}), 422),
        ("issues/99/comments", json!({"body": "x"}), 404),
        ("pulls/41/reviews", json!({"event": "REQUEST_CHANGES"}), 422),
        ("pulls/99/reviews", review.clone(), 404),
    ] {
        assert_eq!(sim.post(&format!("{REPO}/{path}"), &body).await.status, status, "{path}");
    }
    let writes = sim.read("/_writes").await;
    let paths = texts(&writes, "path");
    assert_eq!(paths.len(), 5, "refused writes are not written: {paths:?}");
    assert_eq!(writes[0]["body"]["title"], "Cost spike");
}

#[tokio::test]
async fn the_version_of_the_api_is_chosen_by_a_header_and_the_newer_one_leaves_fields_out() {
    let pull = json!({"number": 1, "state": "closed", "merge_commit_sha": "abc", "assignee": null, "title": "x",
                      "created_at": "2026-11-20T10:00:00Z"});
    let sim = Sim::data(&[("github/pulls", json!([pull]))]).await;
    let ask = async |version: Option<&str>, path: &str| {
        let mut request = sim.request(Method::GET, &format!("/github{path}"));
        if let Some(version) = version {
            request = request.header("x-github-api-version", version);
        }
        sim.send(request).await
    };
    let pulls = "/repos/a/b/pulls?state=all";
    for version in [None, Some("2022-11-28")] {
        let answer = ask(version, pulls).await;
        assert_eq!(answer.header("x-github-api-version-selected"), "2022-11-28");
        assert_eq!(answer.json()[0]["merge_commit_sha"], "abc");
    }
    let newer = ask(Some("2026-03-10"), pulls).await;
    assert_eq!(newer.header("x-github-api-version-selected"), "2026-03-10");
    let fields = newer.json()[0].as_object().unwrap().clone();
    assert!(
        !fields.contains_key("merge_commit_sha") && !fields.contains_key("assignee") && fields.contains_key("title")
    );
    assert!(ask(None, "/rate_limit").await.json()["rate"].is_object());
    assert!(ask(Some("2026-03-10"), "/rate_limit").await.json()["rate"].is_null());
    let unknown = ask(Some("2019-01-01"), pulls).await;
    assert_eq!(unknown.status, 400, "{}", unknown.text);
    assert!(unknown.text.contains("2026-03-10"));
}
