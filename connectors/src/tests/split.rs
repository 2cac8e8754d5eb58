//! Listings that can only be followed by cursor are read in parts of their time range at once, and nothing is lost by it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::testing::{Asked, Reply, Toy, World, constrain, i64s, request};

const LATENCY: Duration = Duration::from_millis(50);
const NOON: i64 = 1_795_176_000;

const SPEC: &str = r"
source: toy
description: A feed.
base_url: { env: [TOY_URL] }
auth: { type: none }
limits: { concurrency: 8 }
test: /ping
tables:
  feed: &feed
    description: Newest first, by cursor.
    guide: Ask.
    primary_key: [id]
    columns: &columns
      id: { type: int, about: Id }
      at: { type: timestamp, about: Time }
    endpoints:
      - name: feed
        path: /feed
        rows: data
        pagination: { type: cursor, param: cursor, next: cursor }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: desc }
        filters:
          at: { lower: since, upper: until, upper_inclusive: true, format: iso_s }
  rising:
    description: Oldest first, by cursor.
    guide: Ask.
    primary_key: [id]
    columns: *columns
    endpoints:
      - name: rising
        path: /rising
        rows: data
        pagination: { type: cursor, param: cursor, next: cursor }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: asc }
        filters:
          at: { lower: since, upper: until, format: iso_s }
";

/// When row `n` happened: seconds before noon.
type When = fn(i64) -> i64;

fn feed(rows: i64, largest: usize, ranged: bool, when: When) -> Arc<Toy> {
    Toy::slow(LATENCY, move |asked: &Asked| {
        let bound = |name: &str| {
            let text = asked.param(name).filter(|_| ranged)?;
            Some(DateTime::parse_from_rfc3339(text).unwrap().timestamp())
        };
        let (since, until) = (bound("since"), bound("until"));
        let falling = asked.path == "/feed";
        let at = |n: i64| if falling { NOON - when(n) } else { NOON - when(rows - 1 - n) };
        let inside = |n: &i64| {
            let at = at(*n);
            // The upper end is inside in one of them and outside in the other, as their specs say.
            since.is_none_or(|s| at >= s) && until.is_none_or(|u| if falling { at <= u } else { at < u })
        };
        let all: Vec<i64> = (0..rows).filter(inside).collect();
        let place: usize = asked.param("cursor").map_or(0, |c| c.parse().unwrap());
        let limit = asked.number("limit").unwrap_or(30).min(largest);
        let row = |n: &i64| {
            let at = DateTime::from_timestamp(at(*n), 0).unwrap();
            json!({"id": n, "at": at.to_rfc3339_opts(SecondsFormat::Secs, true)})
        };
        let data: Vec<Value> = all.iter().skip(place).take(limit).map(row).collect();
        let next = place + limit;
        Reply::Json(json!({"data": data, "cursor": (next < all.len()).then(|| next.to_string())}))
    })
}

fn time(seconds_before_noon: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some((NOON - seconds_before_noon) * 1_000_000), Some("UTC".into()))
}

/// Ids in the order they came, requests, and how long it took.
async fn read(toy: Arc<Toy>, table: &str, oldest: i64, newest: i64) -> (Vec<i64>, usize, Duration) {
    let world = World::spec(toy, SPEC);
    let ask = request(world.select(table, &["id", "at"]), |r| {
        r.constraints = constrain(&[("at", ">=", time(oldest)), ("at", "<=", time(newest))]);
    });
    let started = Instant::now();
    let (rows, report) = world.run(table, ask).await.unwrap();
    assert!(report.finished && report.gap.is_none());
    (i64s(&rows, "id").into_iter().flatten().collect(), world.toy.count(), started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pages_by_cursor_cost_few_requests_more_and_a_fraction_of_the_time() {
    for table in ["toy.feed", "toy.rising"] {
        let (ids, requests, took) = read(feed(10_000, 100, true, |n| n * 60), table, 60 * 10_000, 0).await;
        assert_eq!(ids, (0..10_000).collect::<Vec<_>>(), "{table}");
        assert!(requests <= 110, "{table}: {requests}");
        assert!(took <= LATENCY * 30, "{table}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_range_that_begins_long_before_the_rows_do_costs_few_requests_more() {
    // A week of rows, asked for since nine months ago, since before computers had clocks.
    for oldest in [24_000_000, 1_700_000_000] {
        for table in ["toy.feed", "toy.rising"] {
            let (ids, requests, took) = read(feed(10_000, 100, true, |n| n * 60), table, oldest, 0).await;
            assert_eq!(ids, (0..10_000).collect::<Vec<_>>(), "{table} {oldest}");
            assert!(requests <= 125, "{table} {oldest}: {requests}");
            assert!(took <= LATENCY * 35, "{table} {oldest}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_pages_cost_no_request_more() {
    for (rows, pages) in [(50, 1), (100, 1), (101, 2), (250, 3), (400, 4)] {
        let (ids, requests, _) = read(feed(rows, 100, true, |n| n * 60), "toy.feed", 60 * rows, 0).await;
        assert_eq!((ids.len() as i64, requests), (rows, pages));
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_crowd_into_one_part_or_one_instant_come_once_and_in_order() {
    let cases: [When; 4] = [
        // Ever sparser, ever denser, many rows in the same second, two crowds far apart.
        |n| n * n / 100,
        |n| 1_000_000 - (3000 - n) * (3000 - n) / 9,
        |n| n / 250,
        |n| if n < 1500 { n } else { 900_000 + n },
    ];
    for (number, when) in cases.into_iter().enumerate() {
        for (largest, ranged) in [(100, true), (30, true), (100, false)] {
            for table in ["toy.feed", "toy.rising"] {
                let (ids, ..) = read(feed(3000, largest, ranged, when), table, 2_000_000, 0).await;
                assert_eq!(ids, (0..3000).collect::<Vec<_>>(), "case {number}, {largest}, {ranged}, {table}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_ends_of_the_range_are_kept_exactly() {
    let (ids, ..) = read(feed(5000, 100, true, |n| n), "toy.feed", 4321, 17).await;
    assert_eq!(ids, (17..=4321).collect::<Vec<_>>());
    let (ids, ..) = read(feed(5000, 100, true, |n| n), "toy.rising", 4321, 17).await;
    assert_eq!(ids, (4999 - 4321..=4999 - 17).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn with_a_limit_pages_follow_each_other_and_none_is_asked_for_that_may_not_be_needed() {
    let world = World::spec(feed(10_000, 100, true, |n| n * 60), SPEC);
    let ask = request(world.select("toy.feed", &["id", "at"]), |r| {
        r.constraints = constrain(&[("at", ">=", time(600_000))]);
        r.limit = Some(250);
    });
    let (rows, _) = world.run("toy.feed", ask).await.unwrap();
    assert_eq!((rows.num_rows(), world.toy.count()), (250, 3));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_a_limit_surely_needs_is_fetched_while_the_one_before_is_consumed() {
    use futures::StreamExt;
    let world = World::spec(feed(10_000, 100, true, |n| n * 60), SPEC);
    let ask = request(world.select("toy.feed", &["id"]), |r| r.limit = Some(150));
    let (mut stream, _run) = world.scan("toy.feed", ask);
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(LATENCY * 3).await;
    assert_eq!(world.toy.count(), 2);
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(LATENCY * 3).await;
    assert_eq!(world.toy.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_fails_fails_the_scan_and_a_dropped_scan_stops_all_parts() {
    use futures::StreamExt;
    let world = World::spec(feed(10_000, 100, true, |n| n * 60), SPEC);
    let ask = request(world.select("toy.feed", &["id", "at"]), |r| {
        r.constraints = constrain(&[("at", ">=", time(600_000))]);
    });
    let (mut stream, _run) = world.scan("toy.feed", ask.clone());
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let after_drop = world.toy.count();
    tokio::time::sleep(LATENCY * 50).await;
    assert_eq!(world.toy.count(), after_drop);

    let mut faults: Vec<Reply> = vec![Reply::status(400)];
    world.toy.misbehave(faults.drain(..));
    assert!(world.run("toy.feed", ask).await.is_err());
}
