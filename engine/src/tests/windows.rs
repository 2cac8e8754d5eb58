//! The windows of a time-window join reach the vendor of the other side.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};

use super::toy::{Toy, engine, now};
use crate::{InputTable, QueryOptions, QueryResult, json_rows};

/// `input.moments`: times that many minutes before now.
fn moments(minutes: &[i64]) -> QueryOptions {
    let at = TimestampMicrosecondArray::from_iter_values(
        minutes.iter().map(|minutes| now().timestamp_micros() - minutes * 60_000_000),
    );
    let id = Int64Array::from_iter_values(minutes.iter().copied());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as _, true),
        ("at", Arc::new(at.with_timezone("UTC")) as _, true),
    ])
    .unwrap();
    let table = InputTable { name: "moments".into(), schema: batch.schema(), batches: vec![batch] };
    QueryOptions { input: vec![table], ..QueryOptions::default() }
}

fn rows(result: &QueryResult) -> Vec<(i64, Option<i64>)> {
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    let mut rows: Vec<_> = rows.iter().map(|row| (row["x"].as_i64().unwrap(), row["y"].as_i64())).collect();
    rows.sort_unstable();
    rows
}

/// A toy of 100 pages that takes ranges, what the query cost of it, and its rows.
async fn ask(toy: Toy, sql: &str, options: QueryOptions) -> (usize, QueryResult) {
    let toy = Arc::new(toy);
    let result = engine(&[Arc::clone(&toy)]).collect(sql, options).await.unwrap();
    (toy.pages_fetched(), result)
}

/// The plan, as text.
async fn plan(sql: &str, minutes: &[i64]) -> String {
    let (_, result) = ask(hundred(), &format!("EXPLAIN {sql}"), moments(minutes)).await;
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    rows.last().and_then(|row| row["plan"].as_str()).unwrap().to_owned()
}

fn hundred() -> Toy {
    Toy::new("t", 100).newest_first().ranged()
}

const AFTER: &str = "t.at >= m.at AND t.at < m.at + INTERVAL '5 minutes'";

#[tokio::test]
async fn sparse_windows_are_a_request_each_whatever_kind_of_join_it_is() {
    let twelve: Vec<i64> = (0..12).map(|i| 100 + i * 800).collect();
    let near = |m: i64| (m - 4..=m).rev();
    let inner: Vec<(i64, Option<i64>)> = twelve.iter().flat_map(|m| near(*m).map(|t| (*m, Some(t)))).collect();
    let sorted = |mut rows: Vec<(i64, Option<i64>)>| {
        rows.sort_unstable();
        rows
    };
    for (sql, expected) in [
        (format!("SELECT m.id AS x, t.id AS y FROM input.moments m JOIN toy.t ON {AFTER}"), sorted(inner.clone())),
        (format!("SELECT m.id AS x, t.id AS y FROM toy.t JOIN input.moments m ON {AFTER}"), sorted(inner.clone())),
        (format!("SELECT m.id AS x, t.id AS y FROM input.moments m LEFT JOIN toy.t ON {AFTER}"), sorted(inner.clone())),
        (
            format!("SELECT m.id AS x, t.id AS y FROM input.moments m JOIN (SELECT * FROM toy.t WHERE status = 'ok') t ON {AFTER}"),
            sorted(inner.iter().copied().filter(|(_, t)| t.unwrap() % 3 != 2).collect()),
        ),
        (
            format!("SELECT m.id AS x, m.id AS y FROM input.moments m WHERE EXISTS (SELECT 1 FROM toy.t WHERE {AFTER})"),
            twelve.iter().map(|m| (*m, Some(*m))).collect(),
        ),
        (
            "SELECT m.id AS x, t.id AS y FROM input.moments m JOIN toy.t ON m.at BETWEEN t.at - INTERVAL '2 minutes' AND t.at".to_owned(),
            sorted(twelve.iter().flat_map(|m| (m - 2..=*m).map(|t| (*m, Some(t)))).collect()),
        ),
        // The remote side brings the window, the local one the point.
        (
            "SELECT m.id AS x, t.id AS y FROM toy.t JOIN input.moments m ON m.at >= t.at AND m.at < t.at + INTERVAL '3 minutes'".to_owned(),
            sorted(twelve.iter().flat_map(|m| (*m..m + 3).map(|t| (*m, Some(t)))).collect()),
        ),
    ] {
        let (requests, result) = ask(hundred(), &sql, moments(&twelve)).await;
        assert_eq!(rows(&result), expected, "{sql}");
        assert_eq!(requests, 12, "{sql}: {}", plan(&sql, &twelve).await);
        assert_eq!(result.report.scans.len(), 1, "a scan in twelve parts is one line of the report");
        assert!(result.report.complete && result.report.scans[0].finished);
    }
}

#[tokio::test]
async fn dense_windows_are_one_range() {
    let dense: Vec<i64> = (0..60).map(|i| 1000 + i * 4).collect();
    let sql = format!("SELECT count(*) AS x, count(*) AS y FROM input.moments m JOIN toy.t ON {AFTER}");
    let (requests, result) = ask(hundred(), &sql, moments(&dense)).await;
    assert_eq!((rows(&result), requests), (vec![(300, Some(300))], 3));
}

#[tokio::test]
async fn no_window_is_no_request_and_an_anti_join_still_gives_its_rows() {
    let sql = format!("SELECT m.id AS x, t.id AS y FROM input.moments m LEFT JOIN toy.t ON {AFTER}");
    let (requests, result) = ask(hundred(), &sql, moments(&[])).await;
    assert_eq!((rows(&result), requests), (vec![], 0));

    let sql = format!(
        "SELECT m.id AS x, m.id AS y FROM input.moments m WHERE NOT EXISTS (SELECT 1 FROM toy.t WHERE {AFTER})"
    );
    let (requests, result) = ask(hundred(), &sql, moments(&[50, 90_000])).await;
    assert_eq!((rows(&result), requests), (vec![(90_000, Some(90_000))], 2));
}

#[tokio::test]
async fn a_side_whose_unmatched_rows_are_wanted_is_read_whole() {
    let sql = "SELECT t.id AS x, m.id AS y FROM toy.t LEFT JOIN input.moments m ON m.at >= t.at AND m.at < t.at + INTERVAL '3 minutes'";
    let (requests, result) = ask(hundred(), sql, moments(&[50])).await;
    assert_eq!((rows(&result).len(), requests), (10_000, 100));
}

#[tokio::test]
async fn a_limit_below_the_join_is_not_narrowed() {
    let sql =
        format!("SELECT m.id AS x, t.id AS y FROM input.moments m JOIN (SELECT * FROM toy.t LIMIT 50) t ON {AFTER}");
    let (requests, result) = ask(hundred(), &sql, moments(&[20, 5000])).await;
    assert_eq!(rows(&result).len(), 5, "only the first fifty rows may match");
    assert_eq!(requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_remote_side_that_is_short_drives_and_one_that_is_long_holds_nothing_back() {
    let latency = Duration::from_millis(20);
    let slow = |name: &str, pages| Arc::new(Toy::new(name, pages).newest_first().ranged().delayed(latency));
    let sql =
        "SELECT d.id AS x, t.id AS y FROM toy.d JOIN toy.t ON t.at >= d.at AND t.at < d.at + INTERVAL '5 minutes'";
    let (short, long) = (slow("d", 100), slow("t", 100));
    let engine_of = engine(&[Arc::clone(&short), Arc::clone(&long)]);
    let few = format!("{sql} WHERE d.id % 800 = 100 AND d.at >= '2026-11-20T10:00:00Z'");
    let result = engine_of.collect(&few, QueryOptions::default()).await.unwrap();
    assert_eq!((rows(&result).len(), short.pages_fetched(), long.pages_fetched()), (5, 2, 1));

    let (a, b) = (slow("d", 100), slow("t", 100));
    let engine_of = engine(&[Arc::clone(&a), Arc::clone(&b)]);
    let started = tokio::time::Instant::now();
    let result = engine_of.collect(sql, QueryOptions::default()).await.unwrap();
    assert_eq!((a.pages_fetched(), b.pages_fetched()), (100, 100));
    assert_eq!(rows(&result).len(), 10_000 * 5 - (1 + 2 + 3 + 4));
    assert!(started.elapsed() < latency * 120, "{:?}", started.elapsed());
}

#[tokio::test]
async fn explain_says_that_ranges_come_from_the_join() {
    let sql = format!("EXPLAIN SELECT t.id FROM input.moments m JOIN toy.t ON {AFTER}");
    let (requests, result) = ask(hundred(), &sql, moments(&[1])).await;
    let text = format!("{:?}", json_rows(&result.schema, &result.batches).unwrap());
    assert!(text.contains("WindowPushExec") && text.contains("ranges=[at from the join]"), "{text}");
    assert_eq!(requests, 0);
}
