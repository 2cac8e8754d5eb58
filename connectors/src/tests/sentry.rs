use std::sync::Arc;

use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};

use crate::testing::{Asked, Reply, Toy, World, constrain, i64s, request, texts};

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn time(seconds_before_noon: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some((1_795_176_000 - seconds_before_noon) * 1_000_000), Some("UTC".into()))
}

/// A page of a listing of `count` rows, with Sentry's Link header.
fn page(asked: &Asked, size: &str, count: usize, row: impl Fn(usize) -> Value) -> Reply {
    let limit = asked.number(size).unwrap_or(100);
    let from: usize = asked.param("cursor").map_or(0, |c| c.split(':').nth(1).unwrap().parse().unwrap());
    let rows: Vec<Value> = (from..count.min(from + limit)).map(row).collect();
    let more = from + limit < count;
    let link = |rel: &str, at: usize, results: bool| {
        format!(
            r#"<http://toy{}?{size}={limit}&cursor=0:{at}:0>; rel="{rel}"; results="{results}"; cursor="0:{at}:0""#,
            asked.path
        )
    };
    let header = format!("{}, {}", link("previous", 0, false), link("next", from + limit, more));
    Reply::With(200, vec![("link", header)], Value::Array(rows).to_string())
}

fn at(seconds: usize) -> String {
    chrono::DateTime::from_timestamp(1_795_176_000 - seconds as i64, 0).unwrap().to_rfc3339()
}

fn sentry() -> Arc<Toy> {
    Toy::new(|asked| match asked.path.trim_start_matches("/sentry/api/0/organizations/acme/") {
        "issues/" => page(asked, "limit", 350, |n| {
            json!({"id": n.to_string(), "title": "Boom", "count": (n * 3).to_string(), "userCount": 2,
                   "firstSeen": at(n * 60 + 7200), "lastSeen": at(n * 60), "project": {"slug": "web", "id": "1"}})
        }),
        "releases/" => page(asked, "per_page", 150, |n| {
            json!({"version": format!("v{n}"), "dateCreated": at(n * 3600), "dateReleased": null,
                   "deployCount": n % 3, "lastDeploy": {"dateFinished": at(n * 3600)}, "projects": [{"slug": "web"}]})
        }),
        "projects/" => page(asked, "per_page", 1, |_| json!({"slug": "web"})),
        path if path.ends_with("/deploys/") => {
            let release: usize = path.trim_start_matches("releases/v").split('/').next().unwrap().parse().unwrap();
            page(asked, "per_page", release % 3, |n| json!({"id": n.to_string(), "dateFinished": at(release * 3600)}))
        }
        path if path.ends_with("/events/") => page(
            asked,
            "per_page",
            120,
            |n| json!({"eventID": format!("e{n}"), "event.type": "error", "dateCreated": at(n * 60)}),
        ),
        _ => Reply::status(404),
    })
}

#[tokio::test]
async fn resolved_issues_are_not_hidden_and_all_pages_are_read_to_the_last() {
    let world = World::bundled(sentry());
    let ask = world.select("sentry.issues", &["id", "count", "user_count", "project"]);
    let (rows, report) = world.run("sentry.issues", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (350, 4));
    assert_eq!(i64s(&rows, "count")[2], Some(6), "Sentry counts in text");
    assert_eq!(texts(&rows, "project")[0].as_deref(), Some("web"));
    let asked = &world.toy.log()[0];
    assert_eq!(asked.path, "/sentry/api/0/organizations/acme/issues/");
    assert_eq!((asked.param("query"), asked.param("sort")), (Some(""), Some("date")));
    assert_eq!((asked.param("start"), asked.param("statsPeriod")), (None, None));
}

#[tokio::test]
async fn a_bound_on_first_seen_is_searched_for_and_ends_the_listing_by_last_seen() {
    let world = World::bundled(sentry());
    let ask = request(world.select("sentry.issues", &["id", "first_seen"]), |r| {
        r.constraints = constrain(&[("first_seen", ">=", time(7200 + 50 * 60)), ("status", "=", text("resolved"))]);
    });
    let (_, report) = world.run("sentry.issues", ask).await.unwrap();
    let query = world.toy.log()[0].param("query").unwrap().to_owned();
    let mut words: Vec<&str> = query.split(' ').collect();
    words.sort_unstable();
    assert_eq!(words, ["firstSeen:>=2026-11-20T09:10:00Z", "is:resolved", "lastSeen:>=2026-11-20T09:10:00Z"]);
    assert_eq!(report.requests, 2, "the toy ignores the search; the order alone ends the listing");
}

#[tokio::test]
async fn a_hostile_value_never_becomes_part_of_a_search() {
    let world = World::bundled(sentry());
    let ask = request(world.select("sentry.issues", &["id"]), |r| {
        r.constraints =
            constrain(&[("status", "=", text("resolved OR is:ignored")), ("project", "=", text("web&project=x"))]);
        r.limit = Some(1);
    });
    let _ = world.run("sentry.issues", ask).await;
    let asked = &world.toy.log()[0];
    assert_eq!(asked.param("query"), Some(""));
    assert_eq!(asked.param("project"), Some("web&project=x"));
}

#[tokio::test]
async fn events_take_their_window_only_when_it_has_both_ends() {
    let world = World::bundled(sentry());
    let ask = |constraints| {
        request(world.select("sentry.issue_events", &["event_id", "timestamp"]), |r| r.constraints = constraints)
    };
    let both = constrain(&[("issue_id", "=", text("7")), ("timestamp", ">=", time(3600)), ("timestamp", "<", time(0))]);
    world.run("sentry.issue_events", ask(both)).await.unwrap();
    let asked = world.toy.log()[0].clone();
    assert_eq!(asked.path, "/sentry/api/0/organizations/acme/issues/7/events/");
    assert_eq!(
        (asked.param("start"), asked.param("end")),
        (Some("2026-11-20T10:59:59Z"), Some("2026-11-20T12:00:00Z"))
    );

    let one = constrain(&[("issue_id", "=", text("7")), ("timestamp", ">", time(600))]);
    let (rows, report) = world.run("sentry.issue_events", ask(one)).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (10, 1));
    assert_eq!(world.toy.log().last().unwrap().param("start"), None);
}

#[tokio::test]
async fn deploys_ask_only_for_releases_that_were_deployed_in_time() {
    let world = World::bundled(sentry());
    let all = world.select("sentry.deploys", &["version", "id", "project"]);
    let (rows, report) = world.run("sentry.deploys", all).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (150, 2 + 100));
    assert_eq!(texts(&rows, "project")[0].as_deref(), Some("web"));

    let recent = request(world.select("sentry.deploys", &["version", "date_finished"]), |r| {
        r.constraints = constrain(&[("date_finished", ">=", time(5 * 3600))]);
    });
    let (rows, report) = world.run("sentry.deploys", recent).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (6, 2 + 4), "releases 1, 2, 4 and 5 were");
}

#[tokio::test]
async fn the_source_is_tested_against_its_organisation() {
    let world = World::bundled(sentry());
    world.connectors.source("sentry").unwrap().test().await.unwrap();
    assert_eq!(world.toy.log()[0].path, "/sentry/api/0/organizations/acme/projects/");
}
