//! Independent scans of one query run at the same time; nothing runs after the caller has gone.

use std::sync::Arc;
use std::time::Duration;

use super::toy::{Toy, engine};
use crate::{EngineError, QueryOptions, ScanErrorKind};

const PAGE_TIME: Duration = Duration::from_millis(20);

fn slow(name: &str, pages: usize) -> Arc<Toy> {
    Arc::new(Toy::new(name, pages).delayed(PAGE_TIME))
}

async fn virtual_time(tables: &[Arc<Toy>], sql: &str) -> Duration {
    let engine = engine(tables);
    let started = tokio::time::Instant::now();
    engine.collect(sql, QueryOptions::default()).await.unwrap();
    started.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_join_of_two_sources_costs_the_slower_one_not_the_sum() {
    let sql = "SELECT count(*) FROM toy.a JOIN toy.b ON a.id = b.id";
    let took = virtual_time(&[slow("a", 10), slow("b", 10)], sql).await;
    assert!(took < PAGE_TIME * 11, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn three_way_joins_outer_joins_and_subqueries_overlap_too() {
    let cases = [
        "SELECT count(*) FROM toy.a JOIN toy.b ON a.id = b.id JOIN toy.c ON b.id = c.id",
        "SELECT count(*) FROM toy.a LEFT JOIN toy.b ON a.id = b.id LEFT JOIN toy.c ON a.id = c.id",
        "SELECT count(*) FROM toy.a WHERE id IN (SELECT id FROM toy.b) AND id IN (SELECT id FROM toy.c)",
        "SELECT count(*) FROM toy.a JOIN toy.b ON b.at >= a.at AND b.at < a.at + INTERVAL '1 minute', toy.c WHERE c.id = 1 AND a.id < 50 AND b.id < 50",
        "SELECT count(*) FROM (SELECT id FROM toy.a UNION ALL SELECT id FROM toy.b UNION ALL SELECT id FROM toy.c)",
        "SELECT (SELECT count(*) FROM toy.a) + (SELECT count(*) FROM toy.b) + (SELECT count(*) FROM toy.c)",
        "SELECT a.id FROM toy.a JOIN toy.b ON a.id = b.id JOIN toy.c ON b.id = c.id ORDER BY a.id LIMIT 3",
        "WITH x AS (SELECT id, count(*) n FROM toy.a GROUP BY id), y AS (SELECT id, count(*) n FROM toy.b GROUP BY id) SELECT sum(x.n + y.n) FROM x JOIN y ON x.id = y.id JOIN toy.c ON c.id = x.id",
    ];
    for sql in cases {
        let took = virtual_time(&[slow("a", 10), slow("b", 10), slow("c", 10)], sql).await;
        assert!(took < PAGE_TIME * 12, "{took:?}: {sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hanging_source_is_an_error_at_the_deadline_that_names_it() {
    let toy = Arc::new(Toy::new("t", 2).delayed(Duration::from_secs(3600)));
    let options = QueryOptions { timeout: Duration::from_secs(5), ..QueryOptions::default() };
    let started = tokio::time::Instant::now();
    let error = engine(&[toy]).collect("SELECT * FROM toy.t", options).await.unwrap_err();
    assert_eq!(error.scan_error().map(|e| (e.kind, e.table.as_str())), Some((ScanErrorKind::Deadline, "t")));
    assert!(started.elapsed() < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_result_stops_the_requests() {
    let (a, b) = (slow("a", 100), slow("b", 100));
    let engine = engine(&[Arc::clone(&a), Arc::clone(&b)]);
    let sql = "SELECT a.id, b.id FROM toy.a JOIN toy.b ON a.id = b.id";
    let mut stream = engine.query(sql, QueryOptions::default()).await.unwrap();
    let _ = tokio::time::timeout(PAGE_TIME * 5, stream.next()).await;
    drop(stream);
    let after_drop = (a.pages_fetched(), b.pages_fetched());
    assert!(after_drop.0 > 1 && after_drop.0 < 10);
    tokio::time::sleep(PAGE_TIME * 50).await;
    assert_eq!((a.pages_fetched(), b.pages_fetched()), after_drop);
}

#[tokio::test(start_paused = true)]
async fn cancelling_from_elsewhere_stops_the_query() {
    let toy = slow("t", 100);
    let engine = engine(&[Arc::clone(&toy)]);
    let stream = engine.query("SELECT sum(id) FROM toy.t", QueryOptions::default()).await.unwrap();
    let token = stream.cancellation();
    let running = tokio::spawn(stream.collect());
    tokio::time::sleep(PAGE_TIME * 3).await;
    token.cancel();
    assert!(matches!(running.await.unwrap(), Err(EngineError::Cancelled)));
    let fetched = toy.pages_fetched();
    tokio::time::sleep(PAGE_TIME * 20).await;
    assert_eq!(toy.pages_fetched(), fetched);
}

#[tokio::test]
async fn the_probe_side_of_a_join_under_a_limit_is_not_read_ahead() {
    let (a, b) = (Arc::new(Toy::new("a", 3)), Arc::new(Toy::new("b", 100)));
    let sql = "SELECT a.id FROM toy.a JOIN toy.b ON a.id = b.id LIMIT 5";
    engine(&[Arc::clone(&a), Arc::clone(&b)]).collect(sql, QueryOptions::default()).await.unwrap();
    assert!(b.pages_fetched() <= 2, "{}", b.pages_fetched());
}
