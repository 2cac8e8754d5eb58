//! What users of such systems complained of, each as a promise that it does not happen here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use tripline_engine::{EngineError, QueryOptions, QueryResult, ScanErrorKind, json_rows};

use super::shop::{LATENCY, SPEC, answer, shop};
use crate::testing::{Reply, Toy, World, environment};

fn rows(result: &QueryResult) -> Vec<Map<String, Value>> {
    json_rows(&result.schema, &result.batches).unwrap()
}

fn world(toy: Arc<Toy>) -> World {
    World::with(toy, &[("shop.yaml", SPEC)], &environment())
}

#[tokio::test(start_paused = true)]
async fn pain_1_a_few_hundred_rows_never_cost_thousands_of_calls_and_a_secondary_limit_ends_no_query() {
    let world = shop();
    world.toy.misbehave([Reply::With(
        403,
        vec![("retry-after", "5".to_owned())],
        r#"{"message":"You have exceeded a secondary rate limit"}"#.to_owned(),
    )]);
    let result = world.sql("SELECT * FROM shop.orders LIMIT 250").await.unwrap();
    assert_eq!((rows(&result).len(), world.toy.count()), (250, 4));
}

#[tokio::test(start_paused = true)]
async fn pain_2_a_call_per_row_is_made_only_for_columns_that_were_selected() {
    for (columns, requests) in [("box, id", 1), ("count(*)", 1), ("*", 1), ("*, weight", 21), ("weight", 21)] {
        let world = shop();
        world.sql(&format!("SELECT {columns} FROM shop.items WHERE box = 'a'")).await.unwrap();
        assert_eq!(world.toy.count(), requests, "{columns}");
    }
}

#[tokio::test(start_paused = true)]
async fn pain_4_one_join_calls_each_api_once() {
    let world = shop();
    let sql = "SELECT count(*) AS n FROM (SELECT * FROM shop.orders LIMIT 100) a \
               JOIN shop.items i ON i.box = a.kind JOIN shop.items j ON j.box = a.kind AND j.id = i.id";
    let result = world.sql(sql).await.unwrap();
    assert_eq!(rows(&result)[0]["n"], 100 * 20);
    assert_eq!(world.toy.count(), 1 + 5, "a hundred rows, five keys, the same table twice");
}

#[tokio::test(start_paused = true)]
async fn pain_5_the_second_run_gives_the_same_rows_whatever_ran_before() {
    // A vendor with validators, so that answers are kept between queries.
    let toy = Toy::new(|asked| {
        let Reply::Json(page) = answer(asked) else { return answer(asked) };
        let body = page.to_string();
        let tag = format!("\"{}\"", body.len());
        if asked.headers.get("if-none-match").is_some_and(|known| known.to_str().unwrap() == tag) {
            return Reply::With(304, vec![("etag", tag)], String::new());
        }
        Reply::With(200, vec![("etag", tag)], body)
    });
    let world = world(toy);
    let questions = [
        "SELECT id FROM shop.orders LIMIT 10",
        "SELECT count(*) AS n FROM shop.orders",
        "SELECT id, kind FROM shop.orders WHERE kind = 'k1' ORDER BY id LIMIT 5",
        "SELECT count(*) AS n FROM shop.orders WHERE open",
        "SELECT note FROM shop.orders WHERE id = 4711",
        "SELECT id, note FROM shop.orders ORDER BY at DESC LIMIT 3",
    ];
    let mut first = Vec::new();
    for sql in questions {
        first.push(rows(&world.sql(sql).await.unwrap()));
    }
    assert_eq!(first[1][0]["n"], 10_000, "a count after a LIMIT is the whole count");
    for (sql, before) in questions.iter().zip(&first).rev() {
        assert_eq!(&rows(&world.sql(sql).await.unwrap()), before, "{sql}");
        // An answer that broke off leaves nothing behind.
        world.toy.misbehave([Reply::status(400)]);
        assert!(world.sql("SELECT count(*) AS n FROM shop.orders").await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn pain_6_a_required_key_from_another_table_arrives_whichever_way_the_join_is_written() {
    let few = "(SELECT * FROM shop.orders LIMIT 10)";
    for (sql, expected) in [
        (format!("SELECT i.box, i.id FROM {few} o JOIN shop.items i ON i.box = o.kind"), 200),
        (format!("SELECT i.box, i.id FROM shop.items i JOIN {few} o ON o.kind = i.box"), 200),
        (format!("SELECT i.box, i.id FROM {few} o LEFT JOIN shop.items i ON i.box = o.kind AND i.id < 3"), 30),
        (format!("SELECT i.box, i.id FROM shop.items i WHERE i.box IN (SELECT kind FROM {few} o)"), 100),
        (format!("SELECT i.box, i.id FROM {few} o, shop.items i WHERE o.kind = i.box AND i.id = 1"), 10),
    ] {
        let world = shop();
        let result = world.sql(&sql).await.unwrap();
        assert_eq!(rows(&result).len(), expected, "{sql}");
        assert_eq!(world.toy.count(), 1 + 5, "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn pain_8_no_default_serves_an_old_answer_for_a_new_one() {
    let now = Arc::new(AtomicUsize::new(1));
    let version = Arc::clone(&now);
    let world = world(Toy::new(move |_| {
        let id = version.load(Ordering::SeqCst);
        let body = format!(r#"{{"data":[{{"id":{id}}}],"pages":1}}"#);
        // The vendor lets anyone keep it for an hour, and can say whether it changed.
        Reply::With(200, vec![("etag", format!("\"{id}\"")), ("cache-control", "max-age=3600".to_owned())], body)
    }));
    for id in 1..5 {
        now.store(id, Ordering::SeqCst);
        let result = world.sql("SELECT id FROM shop.orders").await.unwrap();
        assert_eq!(rows(&result)[0]["id"], id);
        assert_eq!((result.report.requests, result.report.scans[0].cache_hits), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn pain_11_no_query_floods_a_vendor() {
    let world = shop();
    let engine = world.engine();
    let bounded = QueryOptions { max_requests: 20, ..QueryOptions::default() };
    let error = engine.collect("SELECT count(*) AS n FROM shop.orders", bounded).await.unwrap_err();
    assert_eq!(error.scan_error().map(|error| error.kind), Some(ScanErrorKind::Budget));
    assert!(world.toy.count() <= 20);

    let world = shop();
    let engine = world.engine();
    let different = (0..20).map(|i| {
        let engine = &engine;
        async move {
            engine
                .collect(&format!("SELECT count(*) AS n FROM shop.orders WHERE kind = 'k{i}'"), QueryOptions::default())
                .await
        }
    });
    assert!(futures::future::join_all(different).await.iter().all(Result::is_ok));
    assert!(world.toy.most_under_way() <= 8, "twenty queries share one limit");
}

#[tokio::test(start_paused = true)]
async fn pain_14_a_cut_answer_says_that_it_is_cut() {
    let world = shop();
    let options = QueryOptions { max_rows: Some(100), ..QueryOptions::default() };
    let result = world.engine().collect("SELECT * FROM shop.orders", options).await.unwrap();
    assert_eq!(rows(&result).len(), 100);
    assert!(result.report.truncated && !result.report.complete);
    assert!(result.report.warnings[0].contains("only the first 100 rows"), "{:?}", result.report.warnings);
}

/// No clock: one thread, and only what yields lets the other go.
#[tokio::test]
async fn pain_17_a_query_that_only_computes_stops_when_it_is_told_to() {
    let world = world(Toy::new(answer));
    let engine = world.engine();
    // Some 10^12 combinations, and nothing to wait for once the rows are here.
    let sql = "SELECT count(*) AS n FROM shop.orders a, shop.orders b, shop.orders c WHERE a.id + b.id + c.id = -1";
    let stream = engine.query(sql, QueryOptions { timeout: Duration::from_secs(3600), ..QueryOptions::default() });
    let stream = stream.await.unwrap();
    let token = stream.cancellation();
    let stop = async {
        while world.toy.count() < 100 {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        token.cancel();
    };
    let (outcome, ()) = futures::join!(stream.collect(), stop);
    assert!(matches!(outcome, Err(EngineError::Cancelled)));
}

#[tokio::test(start_paused = true)]
async fn pain_17_a_query_that_waits_stops_when_it_is_told_to_or_nobody_listens() {
    let world = shop();
    let engine = world.engine();
    let sql = "SELECT count(*) AS n FROM shop.orders";
    let stream = engine.query(sql, QueryOptions::default()).await.unwrap();
    let token = stream.cancellation();
    let stop = async {
        tokio::time::sleep(LATENCY * 2).await;
        token.cancel();
    };
    let (outcome, ()) = futures::join!(stream.collect(), stop);
    assert!(matches!(outcome, Err(EngineError::Cancelled)));
    let sent = world.toy.count();
    assert!(sent > 0 && sent < 40);

    let mut dropped = engine.query("SELECT * FROM shop.orders", QueryOptions::default()).await.unwrap();
    dropped.next().await.unwrap();
    drop(dropped);
    let sent = world.toy.count();
    tokio::time::sleep(LATENCY * 20).await;
    assert_eq!(world.toy.count(), sent);
}
