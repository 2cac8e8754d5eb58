use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use tripline_engine::{ScanErrorKind, SortKey};

use crate::testing::{Asked, Reply, Toy, World, constrain, i64s, request, texts};

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn time(hours_before_noon: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some((1_795_176_000 - 3600 * hours_before_noon) * 1_000_000), Some("UTC".into()))
}

fn at(hours: usize) -> String {
    let time = chrono::DateTime::from_timestamp(1_795_176_000 - 3600 * hours as i64, 0).unwrap();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A page with GitHub's Link header.
fn page(asked: &Asked, count: usize, row: impl Fn(usize) -> Value) -> Reply {
    let limit = asked.number("per_page").unwrap_or(30);
    let number = asked.number("page").unwrap_or(1);
    let rows: Vec<Value> = (limit * (number - 1)..count.min(limit * number)).map(row).collect();
    let last = count.div_ceil(limit);
    let link = |rel: &str, n: usize| {
        format!(r#"<http://toy/github/repositories/1{}?per_page={limit}&page={n}>; rel="{rel}""#, asked.path)
    };
    let mut headers = Vec::new();
    if number < last {
        headers.push(("link", format!("{}, {}", link("next", number + 1), link("last", last))));
    }
    Reply::With(200, headers, Value::Array(rows).to_string())
}

fn github(runs: usize) -> Arc<Toy> {
    Toy::new(move |asked| match asked.path.trim_start_matches("/github/repos/acme/shop/") {
        "commits" => page(
            asked,
            250,
            |n| json!({"sha": format!("{n:040}"), "commit": {"message": "fix", "author": {"date": at(n)}, "committer": {"date": at(n)}}, "author": null}),
        ),
        "pulls" => page(
            asked,
            1000,
            |n| json!({"number": n, "state": "closed", "updated_at": at(n), "created_at": at(n + 5), "merged_at": if n % 2 == 0 { json!(at(n)) } else { Value::Null }}),
        ),
        "issues" => page(asked, 10, |n| {
            let mut issue = json!({"number": n, "updated_at": at(n)});
            if n == 3 {
                issue["pull_request"] = json!({"url": "x"});
            }
            issue
        }),
        "actions/runs" => {
            let Reply::With(_, _, rows) = page(asked, runs.min(1000), |n| json!({"id": n, "created_at": at(n)})) else {
                panic!()
            };
            Reply::Json(json!({"total_count": runs, "workflow_runs": serde_json::from_str::<Value>(&rows).unwrap()}))
        }
        path if path.starts_with("commits/") => {
            // Files beyond 300 are paged.
            let number = asked.number("page").unwrap_or(1);
            let files: Vec<Value> = (0..if number == 1 { 300 } else { 20 })
                .map(|n| json!({"filename": format!("f{number}-{n}"), "status": "modified"}))
                .collect();
            let headers = if number == 1 {
                vec![("link", format!(r#"<http://toy{}?page=2>; rel="next""#, asked.path))]
            } else {
                Vec::new()
            };
            Reply::With(200, headers, json!({"sha": "s", "files": files}).to_string())
        }
        path if path.starts_with("pulls/") => Reply::Json(json!({"additions": 10, "deletions": 1, "changed_files": 2})),
        _ => Reply::status(404),
    })
}

fn repo(more: &[(&str, &str, ScalarValue)]) -> tripline_engine::Constraints {
    let mut all = vec![("owner", "=", text("acme")), ("repo", "=", text("shop"))];
    all.extend(more.iter().cloned());
    constrain(&all)
}

#[tokio::test]
async fn commits_are_read_in_parallel_with_the_version_header() {
    let world = World::bundled(github(0));
    let ask =
        request(world.select("github.commits", &["owner", "sha", "commit__author__date", "author__login"]), |r| {
            r.constraints = repo(&[])
        });
    let (rows, report) = world.run("github.commits", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (250, 3));
    assert_eq!(
        (texts(&rows, "owner")[0].as_deref(), texts(&rows, "author__login")[0].as_deref()),
        (Some("acme"), None)
    );
    assert_eq!(world.toy.log()[0].headers["x-github-api-version"], "2022-11-28");
}

#[tokio::test]
async fn a_lower_bound_on_the_author_date_becomes_since_and_an_upper_one_becomes_nothing() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.commits", &["sha"]), |r| {
        r.constraints = repo(&[("commit__author__date", ">=", time(48)), ("commit__author__date", "<", time(24))]);
    });
    let _ = world.run("github.commits", ask).await;
    let asked = &world.toy.log()[0];
    assert_eq!((asked.param("since"), asked.param("until")), (Some("2026-11-18T11:59:59Z"), None));
}

#[tokio::test]
async fn a_branch_and_a_file_can_be_pinned_and_are_in_the_rows() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.commits", &["sha", "branch", "path"]), |r| {
        r.constraints = repo(&[("branch", "=", text("release/1")), ("path", "=", text("src/a b.rs"))]);
        r.limit = Some(1);
    });
    let (rows, _) = world.run("github.commits", ask).await.unwrap();
    let asked = &world.toy.log()[0];
    assert_eq!(
        (asked.param("sha"), asked.param("path"), asked.param("per_page")),
        (Some("release/1"), Some("src/a b.rs"), Some("1"))
    );
    assert_eq!(texts(&rows, "branch")[0].as_deref(), Some("release/1"));
}

#[tokio::test]
async fn pulls_merged_lately_cost_the_pages_updated_lately() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.pulls", &["number", "merged_at"]), |r| {
        r.constraints = repo(&[("merged_at", ">=", time(120))]);
    });
    let (rows, report) = world.run("github.pulls", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (61, 2));
    let asked = &world.toy.log()[0];
    assert_eq!(
        (asked.param("state"), asked.param("sort"), asked.param("direction")),
        (Some("all"), Some("updated"), Some("desc"))
    );
}

#[tokio::test]
async fn pulls_can_be_sorted_by_the_vendor() {
    let world = World::bundled(github(0));
    let table = world.connectors.source("github").unwrap().table("pulls").unwrap();
    let shape = table.shape(&repo(&[]));
    assert_eq!(shape.order, Some(SortKey { column: "updated_at".to_owned(), descending: true }));
    let by_created = SortKey { column: "created_at".to_owned(), descending: true };
    assert!(shape.sorts.contains(&by_created));
    let ask = request(world.select("github.pulls", &["number"]), |r| {
        r.constraints = repo(&[("state", "=", text("open"))]);
        r.sort = Some(by_created);
        r.limit = Some(10);
    });
    let _ = world.run("github.pulls", ask).await;
    let asked = &world.toy.log()[0];
    assert_eq!(
        (asked.param("sort"), asked.param("direction"), asked.param("per_page")),
        (Some("created"), Some("desc"), Some("10"))
    );
    let states: Vec<_> = asked.query.iter().filter(|(name, _)| name == "state").collect();
    assert_eq!(states.len(), 1);
    assert_eq!(states[0].1, "open");
}

#[tokio::test]
async fn lines_changed_are_fetched_per_pull_request_that_may_match() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.pulls", &["number", "merged_at", "additions"]), |r| {
        r.constraints = repo(&[("merged_at", ">=", time(10))]);
    });
    let (rows, report) = world.run("github.pulls", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (6, 1 + 6));
    assert_eq!(i64s(&rows, "additions")[0], Some(10));
}

#[tokio::test]
async fn files_of_several_commits_are_fetched_beyond_the_first_page_of_each() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.commit_files", &["sha", "filename"]), |r| {
        r.constraints = repo(&[("sha", "in", text("aaa,bbb"))]);
    });
    let (rows, report) = world.run("github.commit_files", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (640, 4));
}

#[tokio::test]
async fn pull_requests_among_the_issues_are_marked() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.issues", &["number", "is_pull_request"]), |r| {
        r.constraints = repo(&[("is_pull_request", "=", ScalarValue::Boolean(Some(true)))]);
    });
    let (rows, _) = world.run("github.issues", ask).await.unwrap();
    assert_eq!(i64s(&rows, "number"), [Some(3)]);
}

#[tokio::test]
async fn runs_of_a_window_are_asked_for_as_a_range_and_the_vendors_cap_is_never_silent() {
    let window = [("created_at", ">=", time(2000)), ("created_at", "<", time(0))];
    let world = World::bundled(github(900));
    let ask = |world: &World| {
        request(world.select("github.workflow_runs", &["id", "created_at"]), |r| r.constraints = repo(&window))
    };
    let (rows, report) = world.run("github.workflow_runs", ask(&world)).await.unwrap();
    assert_eq!(world.toy.log()[0].param("created"), Some("2026-08-29T04:00:00Z..2026-11-20T12:00:00Z"));
    assert_eq!((rows.num_rows(), report.requests, report.gap), (899, 9, None));

    let world = World::bundled(github(1500));
    let error = world.run("github.workflow_runs", ask(&world)).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Incomplete);
    assert!(error.hint.unwrap().contains("narrow the created_at window"));
}

#[tokio::test]
async fn a_limit_on_pulls_is_one_request_whatever_the_order() {
    let world = World::bundled(github(0));
    let ask = request(world.select("github.pulls", &["number"]), |r| {
        r.constraints = repo(&[]);
        r.limit = Some(10);
    });
    world.run("github.pulls", ask).await.unwrap();
    assert_eq!((world.toy.count(), world.toy.log()[0].param("per_page")), (1, Some("10")));
}
