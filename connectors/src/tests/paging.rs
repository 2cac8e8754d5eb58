use std::time::Duration;

use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use tripline_engine::ScanErrorKind;

use super::vendor::{Manners, SPEC, toy};
use crate::testing::{Reply, World, constrain, i64s, request, texts};

const LISTINGS: [&str; 6] =
    ["toy.numbered", "toy.uncounted", "toy.linked", "toy.skipped", "toy.cursored", "toy.followed"];

fn ids(rows: &arrow::array::RecordBatch) -> Vec<i64> {
    i64s(rows, "id").into_iter().flatten().collect()
}

fn minutes(n: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some((1_795_176_000 - 60 * n) * 1_000_000), Some("UTC".into()))
}

fn name(n: usize) -> ScalarValue {
    ScalarValue::Utf8(Some(format!("n{n}")))
}

#[tokio::test]
async fn every_way_of_paging_reads_all_rows_in_order_with_as_many_requests_as_pages() {
    for table in LISTINGS {
        let world = World::spec(toy(Manners { rows: 1050, ..Manners::default() }), SPEC);
        let (rows, report) = world.run(table, world.select(table, &["id"])).await.unwrap();
        assert_eq!(ids(&rows), (0..1050).collect::<Vec<i64>>(), "{table}");
        assert_eq!((report.requests, report.pages, report.rows), (11, 11, 1050), "{table}");
        assert!(report.finished && report.gap.is_none());
    }
}

#[tokio::test]
async fn a_limit_asks_for_no_more_than_it_needs() {
    for table in LISTINGS {
        for (limit, requests, first_page) in [(1, 1, "1"), (10, 1, "10"), (100, 1, "100"), (250, 3, "100")] {
            let world = World::spec(toy(Manners::default()), SPEC);
            let ask = request(world.select(table, &["id"]), |r| r.limit = Some(limit));
            let (rows, report) = world.run(table, ask).await.unwrap();
            assert_eq!(ids(&rows), (0..limit as i64).collect::<Vec<_>>(), "{table}");
            assert_eq!(world.toy.count(), requests, "{table} LIMIT {limit}");
            assert_eq!(world.toy.log()[0].param("limit"), Some(first_page), "{table}");
            assert!(report.finished, "{table}");
        }
    }
}

#[tokio::test]
async fn counting_rows_needs_no_column() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let (rows, _) = world.run("toy.numbered", world.select("toy.numbered", &[])).await.unwrap();
    assert_eq!((rows.num_rows(), rows.num_columns()), (1000, 0));
}

#[tokio::test]
async fn a_vendor_that_ignores_a_filter_costs_time_but_no_row() {
    let world = World::spec(toy(Manners { filters: false, ..Manners::default() }), SPEC);
    let ask = request(world.select("toy.numbered", &["id", "name"]), |r| {
        r.constraints = constrain(&[("name", "=", name(3))]);
        r.limit = Some(5);
    });
    let (rows, report) = world.run("toy.numbered", ask).await.unwrap();
    assert_eq!(ids(&rows), [3, 13, 23, 33, 43]);
    assert!(report.requests > 1);
}

#[tokio::test]
async fn an_inexact_predicate_asks_for_full_pages_and_stops_when_there_is_enough() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let ask = request(world.select("toy.numbered", &["id", "size"]), |r| {
        r.constraints = constrain(&[("size", ">=", ScalarValue::Float64(Some(60.0)))]);
        r.limit = Some(5);
    });
    let (rows, _) = world.run("toy.numbered", ask).await.unwrap();
    assert_eq!(ids(&rows), [120, 121, 122, 123, 124]);
    assert_eq!(world.toy.count(), 2);
    assert_eq!(world.toy.log()[0].param("limit"), Some("100"));
}

#[tokio::test]
async fn a_vendor_that_caps_its_pages_loses_no_row() {
    for table in ["toy.numbered", "toy.linked", "toy.skipped", "toy.cursored", "toy.followed"] {
        let world = World::spec(toy(Manners { rows: 205, largest: 20, ..Manners::default() }), SPEC);
        let (rows, _) = world.run(table, world.select(table, &["id"])).await.unwrap();
        assert_eq!(ids(&rows), (0..205).collect::<Vec<i64>>(), "{table}");
    }
}

#[tokio::test]
async fn rows_that_a_moving_listing_repeats_are_dropped() {
    for table in LISTINGS.into_iter().chain(["toy.ordered"]) {
        let world = World::spec(toy(Manners { rows: 500, overlap: 3, ..Manners::default() }), SPEC);
        let (rows, report) = world.run(table, world.select(table, &["name"])).await.unwrap();
        assert_eq!((rows.num_rows(), report.gap), (500, None), "{table}");
    }
}

#[tokio::test]
async fn an_order_that_passes_the_time_bound_ends_the_listing() {
    let world = World::spec(toy(Manners { rows: 10_000, ..Manners::default() }), SPEC);
    for (window, pages) in [(50, 1), (150, 2), (199, 2), (350, 4)] {
        let before = world.toy.count();
        let ask = request(world.select("toy.ordered", &["id", "at"]), |r| {
            r.constraints = constrain(&[("at", ">", minutes(window))]);
        });
        let (rows, report) = world.run("toy.ordered", ask).await.unwrap();
        assert_eq!(ids(&rows), (0..window).collect::<Vec<_>>());
        assert_eq!(world.toy.count() - before, pages, "a window of {window} rows");
        assert!(report.finished && report.gap.is_none());
    }
}

#[tokio::test]
async fn a_vendor_out_of_order_is_told_on_and_read_to_its_end() {
    let disobedient = crate::testing::Toy::new(|asked| {
        let page = asked.number("page").unwrap();
        let n = |i: usize| if page == 1 { 900 + i } else { i };
        let data: Vec<_> = (0..100).map(|i| super::vendor::row(n(i))).collect();
        Reply::Json(serde_json::json!({"data": data, "meta": {"pages": 2}}))
    });
    let world = World::spec(disobedient, SPEC);
    let ask = world.select("toy.ordered", &["id"]);
    let (rows, report) = world.run("toy.ordered", ask).await.unwrap();
    assert_eq!(rows.num_rows(), 200);
    assert!(report.gap.unwrap().contains("promised order (at)"));
    // Where no order matters, what was read to its end is whole.
    for (sql, whole) in [
        ("SELECT count(*) AS n, sum(id) AS ids FROM toy.ordered", true),
        ("SELECT id FROM toy.ordered WHERE id >= 0", true),
        ("SELECT id FROM toy.ordered ORDER BY at DESC LIMIT 150", false),
        ("SELECT at, count(*) AS n FROM toy.ordered GROUP BY at", false),
        ("SELECT array_agg(id ORDER BY at DESC) AS ids FROM toy.ordered", false),
    ] {
        let result = world.engine().collect(sql, tripline_engine::QueryOptions::default()).await.unwrap();
        assert_eq!(result.report.complete, whole, "{sql}: {:?}", result.report.warnings);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_counted_are_fetched_together() {
    let manners = Manners { rows: 10_000, latency: Duration::from_millis(50), ..Manners::default() };
    let world = World::spec(toy(manners), SPEC);
    let start = tokio::time::Instant::now();
    let (rows, _) = world.run("toy.numbered", world.select("toy.numbered", &["id"])).await.unwrap();
    assert_eq!(ids(&rows), (0..10_000).collect::<Vec<i64>>());
    assert_eq!((world.toy.count(), world.toy.most_under_way()), (100, 8));
    // A page alone, then 99 by eights: 14 times 50 ms, where a bare client at the same concurrency takes 13.
    assert_eq!(start.elapsed(), Duration::from_millis(14 * 50));
}

#[tokio::test(start_paused = true)]
async fn a_listing_by_cursor_fetches_the_next_page_while_one_is_consumed() {
    let manners = Manners { rows: 500, latency: Duration::from_millis(50), ..Manners::default() };
    let world = World::spec(toy(manners), SPEC);
    let (mut stream, _) = world.scan("toy.cursored", world.select("toy.cursored", &["id"]));
    let start = tokio::time::Instant::now();
    while let Some(page) = stream.next().await {
        page.unwrap();
        // The consumer takes as long as the vendor; the two overlap.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(start.elapsed(), Duration::from_millis(6 * 50));
}

#[tokio::test]
async fn nothing_is_sent_before_the_stream_is_polled_nor_after_it_is_dropped() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let (stream, _) = world.scan("toy.numbered", world.select("toy.numbered", &["id"]));
    tokio::task::yield_now().await;
    assert_eq!(world.toy.count(), 0);
    drop(stream);

    let (mut stream, _) = world.scan("toy.cursored", world.select("toy.cursored", &["id"]));
    stream.next().await.unwrap().unwrap();
    drop(stream);
    let sent = world.toy.count();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.toy.count(), sent);
    assert!(sent <= 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_query_stops_at_once_and_sends_nothing_more() {
    let manners = Manners { rows: 10_000, latency: Duration::from_millis(50), ..Manners::default() };
    let world = World::spec(toy(manners), SPEC);
    let (mut stream, run) = world.scan("toy.numbered", world.select("toy.numbered", &["id"]));
    stream.next().await.unwrap().unwrap();
    stream.next().await.unwrap().unwrap();
    run.query.cancel.cancel();
    let mut last = None;
    while let Some(batch) = stream.next().await {
        last = Some(batch);
    }
    assert_eq!(last.unwrap().unwrap_err().kind, ScanErrorKind::Cancelled);
    let sent = world.toy.count();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.toy.count(), sent);
    assert!(sent < 20, "{sent}");
}

#[tokio::test]
async fn a_contradiction_sends_nothing() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let ask = request(world.select("toy.numbered", &["id"]), |r| {
        r.constraints = constrain(&[("name", "=", name(1)), ("name", "=", name(2))]);
    });
    let (rows, report) = world.run("toy.numbered", ask).await.unwrap();
    assert_eq!((rows.num_rows(), world.toy.count()), (0, 0));
    assert!(report.finished);
}

#[tokio::test]
async fn more_rows_than_the_vendor_gives_is_an_error_unless_a_limit_is_reached_first() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let error = world.run("toy.capped", world.select("toy.capped", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Incomplete);
    assert_eq!(error.hint.as_deref(), Some("The toy gives at most 300 rows"));
    assert_eq!(world.toy.count(), 3);
    let ask = request(world.select("toy.capped", &["id"]), |r| r.limit = Some(300));
    assert_eq!(world.run("toy.capped", ask).await.unwrap().0.num_rows(), 300);
}

#[tokio::test]
async fn a_listing_that_leads_in_a_circle_is_an_error() {
    let circle = crate::testing::Toy::new(|asked| {
        let cursor = if asked.param("cursor") == Some("a") { "b" } else { "a" };
        Reply::Json(serde_json::json!({"data": [{"id": 1}], "meta": {"cursor": cursor}}))
    });
    let world = World::spec(circle, SPEC);
    let error = world.run("toy.cursored", world.select("toy.cursored", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Malformed);
    assert!(error.detail.contains("already read"), "{error}");
}

#[tokio::test]
async fn a_next_page_at_another_host_is_refused_and_gets_no_credentials() {
    let elsewhere = crate::testing::Toy::new(|_| {
        Reply::Json(serde_json::json!({"data": [{"id": 1}], "meta": {"next": "http://evil.example/x"}}))
    });
    let world = World::spec(elsewhere, SPEC);
    let error = world.run("toy.followed", world.select("toy.followed", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Malformed);
    assert!(error.detail.contains("another host (evil.example)"), "{error}");
    assert_eq!(world.toy.count(), 1);
}

#[tokio::test]
async fn an_in_list_fans_out_and_each_row_is_of_its_key() {
    let world = World::spec(toy(Manners::default()), SPEC);
    let ask = request(world.select("toy.numbered", &["id", "name"]), |r| {
        r.constraints = constrain(&[("name", "in", ScalarValue::Utf8(Some("n1,n2,n3".to_owned())))]);
    });
    let (rows, report) = world.run("toy.numbered", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (300, 3));
    for (id, name) in ids(&rows).iter().zip(texts(&rows, "name")) {
        assert_eq!(name.unwrap(), format!("n{}", id % 10));
    }
}

#[tokio::test]
async fn pages_too_large_to_take_are_asked_for_in_smaller_parts_where_a_cursor_allows_it() {
    let toy = crate::testing::Toy::new(|asked| {
        if asked.number("limit") > Some(30) {
            return Reply::TooLarge;
        }
        super::vendor::answer(Manners { rows: 200, ..Manners::default() }, asked)
    });
    let world = World::spec(std::sync::Arc::clone(&toy), SPEC);
    let (rows, _) = world.run("toy.cursored", world.select("toy.cursored", &["id"])).await.unwrap();
    assert_eq!(ids(&rows), (0..200).collect::<Vec<i64>>());
    let sizes: Vec<usize> = toy.log().iter().filter_map(|asked| asked.number("limit")).collect();
    assert_eq!(sizes, [100, 25, 25, 25, 25, 25, 25, 25, 25]);

    let error = world.run("toy.numbered", world.select("toy.numbered", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Malformed);
    assert!(error.hint.unwrap().contains("fewer columns"));
}
