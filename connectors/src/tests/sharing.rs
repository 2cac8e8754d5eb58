//! The same page is not fetched twice: within a query, at the same time, or when the vendor can say it did not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tripline_engine::{EngineError, QueryOptions, QueryResult, ScanErrorKind, json_rows};

use super::vendor::{Manners, SPEC, answer, toy};
use crate::testing::{Reply, Toy, World};

const LATENCY: Duration = Duration::from_millis(50);

fn hundred_pages() -> World {
    World::spec(toy(Manners { rows: 10_000, latency: LATENCY, ..Manners::default() }), SPEC)
}

fn count(result: &QueryResult) -> i64 {
    json_rows(&result.schema, &result.batches).unwrap()[0]["n"].as_i64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_table_joined_with_itself_is_fetched_once() {
    for sql in [
        "SELECT count(*) AS n FROM toy.numbered a JOIN toy.numbered b ON a.id = b.id",
        "SELECT count(*) AS n FROM toy.numbered WHERE id IN (SELECT id FROM toy.numbered)",
        "SELECT count(*) AS n FROM toy.cursored a JOIN toy.cursored b ON a.id = b.id",
    ] {
        let world = hundred_pages();
        let result = world.sql(sql).await.unwrap();
        assert_eq!((count(&result), world.toy.count()), (10_000, 100), "{sql}");
        let hits: u64 = result.report.scans.iter().map(|scan| scan.cache_hits).sum();
        assert_eq!((result.report.requests, hits), (100, 100), "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn ten_identical_queries_at_the_same_time_are_one_fetch() {
    let world = hundred_pages();
    let engine = world.engine();
    let queries = (0..10).map(|_| engine.collect("SELECT count(*) AS n FROM toy.numbered", QueryOptions::default()));
    let results = futures::future::try_join_all(queries).await.unwrap();
    assert!(results.iter().all(|result| count(result) == 10_000));
    assert_eq!(world.toy.count(), 100);
}

#[tokio::test]
async fn a_query_that_begins_later_asks_again() {
    let world = World::spec(toy(Manners::default()), SPEC);
    for requests in [10, 20] {
        world.sql("SELECT count(*) AS n FROM toy.numbered").await.unwrap();
        assert_eq!(world.toy.count(), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_that_gives_up_takes_no_other_one_down() {
    let world = hundred_pages();
    world.toy.misbehave([Reply::Hang]);
    let engine = world.engine();
    let hasty = QueryOptions { timeout: Duration::from_secs(1), ..QueryOptions::default() };
    let sql = "SELECT count(*) AS n FROM toy.numbered";
    let (hasty, patient) = futures::join!(engine.collect(sql, hasty), engine.collect(sql, QueryOptions::default()));
    assert_eq!(hasty.unwrap_err().scan_error().map(|error| error.kind), Some(ScanErrorKind::Deadline));
    assert_eq!(count(&patient.unwrap()), 10_000);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_came_after_a_retry_is_shared_too() {
    let world = hundred_pages();
    world.toy.misbehave([Reply::status(503), Reply::CutShort(json!({"data": [1, 2]}))]);
    let sql = "SELECT count(*) AS n FROM toy.numbered a JOIN toy.numbered b ON a.id = b.id";
    let result = world.sql(sql).await.unwrap();
    assert_eq!((count(&result), world.toy.count()), (10_000, 102));
}

/// A vendor with entity tags; `version` changes every page.
fn tagged(version: Arc<AtomicUsize>) -> Arc<Toy> {
    Toy::new(move |asked| {
        let now = version.load(Ordering::SeqCst);
        let Reply::Json(page) = answer(Manners { rows: 300 + now, ..Manners::default() }, asked) else { panic!() };
        let tag = format!("\"{}-{now}\"", asked.param("page").unwrap_or("1"));
        let headers = vec![("etag", tag.clone()), ("cache-control", "private, max-age=60".to_owned())];
        if asked.headers.get("if-none-match").is_some_and(|known| known.to_str().unwrap() == tag) {
            return Reply::With(304, headers, String::new());
        }
        Reply::With(200, headers, page.to_string())
    })
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again_and_a_changed_one_is() {
    let version = Arc::new(AtomicUsize::new(0));
    let world = World::spec(tagged(Arc::clone(&version)), SPEC);
    let sql = "SELECT count(*) AS n FROM toy.numbered";
    let first = world.sql(sql).await.unwrap();
    let again = world.sql(sql).await.unwrap();
    assert_eq!((count(&first), count(&again)), (300, 300));
    let scan = |result: &QueryResult| result.report.scans[0].clone();
    assert_eq!((scan(&first).requests, scan(&first).revalidated), (3, 0));
    assert!(scan(&first).bytes > 0);
    assert_eq!((scan(&again).requests, scan(&again).revalidated, scan(&again).bytes), (3, 3, 0));

    version.store(7, Ordering::SeqCst);
    let changed = world.sql(sql).await.unwrap();
    assert_eq!((count(&changed), scan(&changed).revalidated), (307, 0));
}

#[tokio::test]
async fn other_credentials_share_nothing() {
    let version = Arc::new(AtomicUsize::new(0));
    let mut world = World::spec(tagged(version), SPEC);
    world.sql("SELECT count(*) AS n FROM toy.numbered").await.unwrap();
    world.restart();
    world.sql("SELECT count(*) AS n FROM toy.numbered").await.unwrap();
    assert!(world.toy.log().iter().all(|asked| asked.headers.get("if-none-match").is_none()));
}

#[tokio::test]
async fn an_answer_that_could_not_be_read_is_never_kept() {
    let version = Arc::new(AtomicUsize::new(0));
    let world = World::spec(tagged(version), SPEC);
    let bad = json!({"data": [{"id": "x"}], "meta": {"pages": 1}}).to_string();
    world.toy.misbehave([Reply::With(200, vec![("etag", "\"1-0\"".to_owned())], bad)]);
    let error = world.sql("SELECT id FROM toy.numbered").await.unwrap_err();
    assert!(matches!(error, EngineError::Source(error) if error.kind == ScanErrorKind::Malformed));
    let result = world.sql("SELECT count(*) AS n FROM toy.numbered").await.unwrap();
    assert_eq!((count(&result), result.report.scans[0].revalidated), (300, 0));
}

#[tokio::test]
async fn a_source_test_always_asks() {
    let world = World::spec(
        Toy::new(|_| Reply::With(200, vec![("cache-control", "max-age=60".to_owned())], "{}".to_owned())),
        SPEC,
    );
    for requests in 1..=2 {
        world.connectors.source("toy").unwrap().test().await.unwrap();
        assert_eq!(world.toy.count(), requests);
    }
}
