use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use tripline_engine::{Environment, ScanErrorKind};

use super::vendor::{Manners, SPEC, answer, toy};
use crate::SourceStatus;
use crate::testing::{Reply, Toy, World, i64s, request};

fn ids(rows: &arrow::array::RecordBatch) -> Vec<i64> {
    i64s(rows, "id").into_iter().flatten().collect()
}

fn world() -> World {
    World::spec(toy(Manners::default()), SPEC)
}

/// Asks for ten rows.
async fn ten(world: &World) -> Result<tripline_engine::ScanReport, tripline_engine::ScanError> {
    let ask = request(world.select("toy.numbered", &["id"]), |r| r.limit = Some(10));
    let (rows, report) = world.run("toy.numbered", ask).await?;
    assert_eq!(ids(&rows), (0..10).collect::<Vec<i64>>());
    Ok(report)
}

fn throttle(status: u16, headers: &[(&'static str, &str)], message: &str) -> Reply {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Reply::With(status, headers, json!({ "message": message }).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pages_come_complete_and_in_order_whatever_goes_wrong_on_the_way() {
    let manners = Manners { rows: 10_000, latency: Duration::from_millis(50), ..Manners::default() };
    // Every page fails once or twice before it comes.
    let asked_for = std::sync::Mutex::new(std::collections::HashMap::<String, usize>::new());
    let faulty = Toy::slow(manners.latency, move |asked| {
        let place = asked.param("page").or(asked.param("cursor")).unwrap_or("first").to_owned();
        let fault = place.len() + place.bytes().map(usize::from).sum::<usize>();
        let mut asked_for = asked_for.lock().unwrap();
        let tries = asked_for.entry(place).or_default();
        *tries += 1;
        if *tries > 1 + fault % 2 {
            return answer(manners, asked);
        }
        match (fault % 4, answer(manners, asked)) {
            (0, _) => Reply::Drop,
            (1, _) => Reply::status(503),
            (2, Reply::Json(page)) => Reply::CutShort(page),
            _ => throttle(429, &[("retry-after", "1")], "slow down"),
        }
    });
    for table in ["toy.numbered", "toy.cursored"] {
        let mut world = World::spec(std::sync::Arc::clone(&faulty), SPEC);
        world.timeout = Duration::from_secs(600);
        let (rows, report) = world.run(table, world.select(table, &["id"])).await.unwrap();
        assert_eq!(ids(&rows), (0..10_000).collect::<Vec<i64>>(), "{table}");
        assert_eq!((report.pages, report.requests), (100, 100 + report.retries), "{table}");
        assert!(report.retries >= 100 && report.waited_ms > 1000 && report.finished);
    }
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_is_tried_again_and_counted() {
    for fault in [
        Reply::Drop,
        Reply::status(500),
        Reply::status(502),
        Reply::status(504),
        Reply::CutShort(json!({"data": [1, 2, 3]})),
    ] {
        let world = world();
        world.toy.misbehave([fault.clone(), fault]);
        let report = ten(&world).await.unwrap();
        assert_eq!((report.requests, report.retries), (3, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn four_tries_are_the_most() {
    let world = world();
    world.toy.misbehave(vec![Reply::status(503); 10]);
    let error = ten(&world).await.unwrap_err();
    assert_eq!((error.kind, error.status), (ScanErrorKind::Unavailable, Some(503)));
    assert_eq!(world.toy.count(), 4);
    assert!(error.hint.unwrap().contains("4 tries failed"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_keeps_a_query_waiting_to_its_end_is_seen_to_fail() {
    let mut world = world();
    let health = |world: &World| world.connectors.source("toy").unwrap().health().last_failure;
    // A query of few seconds says little about the source.
    for (seconds, is_told) in [(2, false), (20, true)] {
        world.timeout = Duration::from_secs(seconds);
        world.toy.misbehave([Reply::Hang]);
        assert_eq!(ten(&world).await.unwrap_err().kind, ScanErrorKind::Deadline);
        assert_eq!(health(&world).is_some(), is_told, "{seconds} s");
    }
    world.toy.misbehave([Reply::status(503)]);
    assert!(ten(&world).await.unwrap_err().hint.unwrap().contains("tried once"));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_tried_once_until_it_answers_or_a_minute_passed() {
    let world = world();
    world.toy.misbehave(vec![Reply::status(503); 5]);
    ten(&world).await.unwrap_err();
    let start = Instant::now();
    let error = ten(&world).await.unwrap_err();
    assert_eq!((world.toy.count(), start.elapsed()), (5, Duration::ZERO));
    assert!(error.hint.unwrap().contains("tried once"));

    // It answers once more: the next fault is a passing one again.
    ten(&world).await.unwrap();
    world.toy.misbehave([Reply::Drop, Reply::status(502)]);
    assert_eq!(ten(&world).await.unwrap().retries, 2);

    world.toy.misbehave(vec![Reply::status(503); 5]);
    ten(&world).await.unwrap_err();
    tokio::time::advance(Duration::from_secs(61)).await;
    assert_eq!(ten(&world).await.unwrap().retries, 1, "that it was down is long ago");
}

#[tokio::test(start_paused = true)]
async fn what_can_never_work_is_tried_once() {
    for (status, kind) in [
        (400, ScanErrorKind::BadRequest),
        (401, ScanErrorKind::Unauthorized),
        (403, ScanErrorKind::Unauthorized),
        (404, ScanErrorKind::NotFound),
        (422, ScanErrorKind::BadRequest),
        (501, ScanErrorKind::Unavailable),
    ] {
        let world = world();
        world.toy.misbehave([Reply::status(status)]);
        let error = ten(&world).await.unwrap_err();
        assert_eq!((error.kind, error.status, world.toy.count()), (kind, Some(status), 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_vendor_says_how_long_to_wait_and_is_obeyed() {
    for (fault, at_least) in [
        (throttle(429, &[("retry-after", "7")], ""), 7),
        (throttle(429, &[("x-remaining", "0"), ("x-reset", "20")], ""), 20),
        (throttle(403, &[("retry-after", "5")], "You have exceeded a secondary rate limit"), 5),
        (throttle(403, &[("x-remaining", "0"), ("x-reset", "30")], "API rate limit exceeded"), 30),
    ] {
        let world = world();
        world.toy.misbehave([fault]);
        let start = Instant::now();
        let report = ten(&world).await.unwrap();
        let waited = start.elapsed().as_secs_f64();
        let at_least = f64::from(at_least);
        assert!(waited >= at_least && waited < at_least * 1.1 + 0.5, "{waited} for {at_least}");
        assert_eq!((report.requests, report.retries), (2, 1));
        assert!(report.waited_ms >= 1000 * at_least as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_holds_back_the_next_query_until_it_is_renewed() {
    let world = world();
    let Reply::Json(page) = answer(Manners { rows: 10, ..Manners::default() }, &asked("/numbered")) else { panic!() };
    world.toy.misbehave([Reply::With(
        200,
        vec![("x-remaining", "0".to_owned()), ("x-reset", "30".to_owned())],
        page.to_string(),
    )]);
    let start = Instant::now();
    ten(&world).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO, "the answer itself is good");
    let health = world.connectors.source("toy").unwrap().health();
    assert_eq!((health.remaining, health.paused_for), (Some(0), Some(Duration::from_secs(30))));
    ten(&world).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(30));
}

fn asked(path: &str) -> crate::testing::Asked {
    let headers = reqwest::header::HeaderMap::new();
    crate::testing::Asked { path: path.to_owned(), query: Vec::new(), headers, body: serde_json::Value::Null }
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_an_error_at_once_that_says_until_when() {
    let mut world = world();
    world.timeout = Duration::from_secs(20);
    world.toy.misbehave([throttle(429, &[("retry-after", "90")], "slow down")]);
    let start = Instant::now();
    let error = ten(&world).await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(error.kind, ScanErrorKind::RateLimited);
    assert!(error.hint.clone().unwrap().contains("after the query's deadline"), "{error}");
    // The next query learns it without asking.
    let mut world = self::world();
    world.timeout = Duration::from_secs(20);
    let Reply::Json(page) = answer(Manners { rows: 10, ..Manners::default() }, &asked("/numbered")) else { panic!() };
    world.toy.misbehave([Reply::With(
        200,
        vec![("x-remaining", "0".to_owned()), ("x-reset", "90".to_owned())],
        page.to_string(),
    )]);
    ten(&world).await.unwrap();
    let error = ten(&world).await.unwrap_err();
    assert_eq!((error.kind, world.toy.count()), (ScanErrorKind::RateLimited, 1));
    assert!(error.detail.contains("until 12:01:30Z"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_hangs_ends_at_the_deadline() {
    let mut world = world();
    world.timeout = Duration::from_secs(10);
    world.toy.misbehave([Reply::Hang]);
    let start = Instant::now();
    let error = ten(&world).await.unwrap_err();
    assert_eq!((error.kind, start.elapsed()), (ScanErrorKind::Deadline, Duration::from_secs(10)));
    assert!(error.request.unwrap().starts_with("GET http://toy/numbered?"));
}

#[tokio::test]
async fn the_request_budget_of_a_query_is_kept() {
    let mut world = world();
    world.budget = 3;
    let error = world.run("toy.cursored", world.select("toy.cursored", &["id"])).await.unwrap_err();
    assert_eq!((error.kind, world.toy.count()), (ScanErrorKind::Budget, 3));
}

#[tokio::test]
async fn an_answer_that_is_not_what_the_spec_says_names_table_page_and_place() {
    let page = |data: Value| Reply::Json(json!({"data": data, "meta": {"pages": 1}}));
    for (reply, says) in [
        (
            Reply::With(200, Vec::new(), "<html>login</html>".to_owned()),
            "page 1: the body is not JSON (line 1, column 1); it begins `<html>login</html>`",
        ),
        (Reply::Json(json!({"meta": {}})), "page 1: there is nothing at $.data, where the rows should be"),
        (Reply::Json(json!({"data": null})), "page 1: there is nothing at $.data, where the rows should be"),
        (Reply::Json(json!({"data": {"id": "x"}})), "page 1: $.data is an object, where the list of rows should be"),
        (
            page(json!([{"id": 1}, {"id": {"a": 1}}])),
            "page 1: `{\"a\":1}` at $.data[1].id is not an integer, as the column `id` needs",
        ),
        (page(json!([{"id": 1}, 7])), "page 1: $.data[1] is not an object, as a row must be"),
        (
            page(json!([{"id": 1, "at": "yesterday"}])),
            "page 1: `\"yesterday\"` at $.data[0].at is not a time, as the column `at` needs",
        ),
    ] {
        let world = world();
        world.toy.misbehave([reply]);
        let error = world.run("toy.numbered", world.select("toy.numbered", &["id", "at"])).await.unwrap_err();
        assert_eq!(
            (error.kind, error.source.as_str(), error.table.as_str()),
            (ScanErrorKind::Malformed, "toy", "numbered")
        );
        assert_eq!(error.detail, says);
    }
}

#[tokio::test]
async fn values_of_columns_nobody_asked_for_are_not_judged() {
    let world = world();
    world.toy.misbehave([Reply::Json(
        json!({"data": [{"id": 1, "at": "yesterday", "size": "huge"}], "meta": {"pages": 1}}),
    )]);
    let (rows, _) = world.run("toy.numbered", world.select("toy.numbered", &["id"])).await.unwrap();
    assert_eq!(ids(&rows), [1]);
}

#[tokio::test(start_paused = true)]
async fn no_error_shows_a_secret() {
    let echo =
        |status: u16| Reply::With(status, Vec::new(), json!({"message": "bad token toy-hunter2-secret"}).to_string());
    for reply in [
        echo(400),
        echo(401),
        echo(403),
        echo(404),
        echo(500),
        echo(429),
        Reply::Drop,
        Reply::With(200, Vec::new(), "toy-hunter2-secret is no JSON".to_owned()),
    ] {
        let world = world();
        world.toy.misbehave(vec![reply; 4]);
        let error = ten(&world).await.unwrap_err();
        let source = world.connectors.source("toy").unwrap();
        for shown in [
            error.to_string(),
            format!("{error:?}"),
            format!("{source:?}"),
            format!("{:?}", source.health()),
            format!("{:?}", world.connectors),
        ] {
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        assert_eq!(world.toy.log()[0].headers["authorization"], "Bearer toy-hunter2-secret");
    }
}

#[tokio::test]
async fn credentials_in_the_base_url_are_not_shown() {
    let mut environment = crate::testing::environment();
    environment.set("TOY_URL", "http://user:hunter2@toy/");
    let world = World::with(toy(Manners::default()), &[("toy.yaml", SPEC)], &environment);
    world.toy.misbehave([Reply::status(404)]);
    let error = ten(&world).await.unwrap_err();
    assert!(!format!("{error:?}{:?}", world.connectors).contains("hunter2"), "{error:?}");
    assert!(error.request.unwrap().contains("http://***@toy/numbered"));
}

#[tokio::test]
async fn an_unconfigured_source_has_its_tables_and_says_what_to_set() {
    let environment = Environment::of([("TOY_URL", "http://toy")]);
    let world = World::with(toy(Manners::default()), &[("toy.yaml", SPEC)], &environment);
    let source = world.connectors.source("toy").unwrap();
    assert_eq!(
        source.status(),
        SourceStatus::Missing { variables: vec!["TOY_TOKEN".to_owned()], detail: "a variable is not set".to_owned() }
    );
    assert!(!source.tables().is_empty());
    let error = ten(&world).await.unwrap_err();
    assert_eq!(
        (error.kind, error.hint.as_deref(), world.toy.count()),
        (ScanErrorKind::NotConfigured, Some("set TOY_TOKEN"), 0)
    );
    assert_eq!(source.test().await.unwrap_err().kind, ScanErrorKind::NotConfigured);
}

#[tokio::test]
async fn an_alias_is_as_good_as_the_name() {
    let environment = Environment::of([("TOY_URL", "http://toy"), ("TOY_ALIAS", "toy-hunter2-secret")]);
    let world = World::with(toy(Manners::default()), &[("toy.yaml", SPEC)], &environment);
    ten(&world).await.unwrap();
    assert_eq!(world.toy.log()[0].headers["authorization"], "Bearer toy-hunter2-secret");
}

#[tokio::test]
async fn a_source_can_be_tested_with_one_request() {
    let world = world();
    let source = world.connectors.source("toy").unwrap();
    source.test().await.unwrap();
    assert_eq!((world.toy.count(), world.toy.log()[0].path.as_str()), (1, "/ping"));
    assert!(source.health().last_success_at.is_some());
    world.toy.misbehave([Reply::status(401)]);
    let error = source.test().await.unwrap_err();
    assert!(error.hint.unwrap().contains("check TOY_TOKEN or TOY_ALIAS"));
    assert!(source.health().last_failure.unwrap().1.contains("HTTP 401"));
}

#[tokio::test]
async fn a_web_page_is_no_sign_that_a_source_is_well() {
    let world = world();
    let page = "\n<!DOCTYPE html><html>Sign in</html>".to_owned();
    world.toy.misbehave([Reply::With(200, Vec::new(), page)]);
    let error = world.connectors.source("toy").unwrap().test().await.unwrap_err();
    assert!(
        error.detail.contains("is a web page") && error.hint.clone().unwrap().contains("check that TOY_URL"),
        "{error}"
    );
}
