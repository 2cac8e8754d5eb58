//! What questions cost, in requests and in round trips.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;
use tripline_engine::{EngineError, QueryOptions, QueryResult, ScanErrorKind, json_rows};

use super::shop::{LATENCY, asked_for, disobedient, shop};
use crate::testing::{Reply, Toy, World};

fn rows(result: &QueryResult) -> Vec<Map<String, Value>> {
    json_rows(&result.schema, &result.batches).unwrap()
}

fn n(result: &QueryResult) -> i64 {
    rows(result)[0]["n"].as_i64().unwrap()
}

#[tokio::test(start_paused = true)]
async fn questions_cost_the_requests_they_need_and_no_more() {
    for (sql, requests, expected) in [
        ("SELECT * FROM shop.orders LIMIT 10", 1..=1, 10),
        ("SELECT * FROM shop.orders LIMIT 250", 3..=3, 250),
        ("SELECT * FROM shop.orders WHERE length(note) > 3 LIMIT 10", 1..=2, 10),
        ("SELECT * FROM shop.orders ORDER BY at DESC LIMIT 10", 1..=1, 10),
        ("SELECT id FROM shop.orders", 100..=100, 10_000),
        ("SELECT id FROM shop.orders WHERE at >= '2026-11-20T09:00:00Z' AND at < '2026-11-20T12:00:00Z'", 2..=2, 180),
        ("SELECT box, id FROM shop.items WHERE box IN ('a', 'b', 'c')", 3..=3, 60),
        (
            "SELECT i.id FROM (SELECT DISTINCT note FROM shop.orders ORDER BY note LIMIT 20) o JOIN shop.items i ON i.box = o.note",
            120..=120,
            400,
        ),
        (
            "SELECT i.id FROM (SELECT note FROM shop.orders LIMIT 20) o JOIN shop.items i ON i.box = o.note",
            21..=21,
            400,
        ),
        (
            "SELECT o.id FROM (SELECT at FROM shop.orders WHERE at >= '2026-11-20T11:45:00Z' LIMIT 12) w \
             JOIN shop.orders o ON o.at >= w.at - INTERVAL '3000 minutes' AND o.at < w.at - INTERVAL '2999 minutes'",
            2..=13,
            12,
        ),
        ("SELECT count(*) AS n FROM shop.orders a JOIN shop.orders b ON a.id = b.id", 100..=100, 1),
        ("SELECT * FROM shop.orders WHERE kind = 'k1' AND kind = 'k2'", 0..=0, 0),
        ("SELECT * FROM shop.orders WHERE at > '2026-11-20T09:00:00Z' AND at < '2026-11-20T08:00:00Z'", 0..=0, 0),
        ("SELECT * FROM shop.orders LIMIT 0", 0..=0, 0),
    ] {
        let world = shop();
        let result = world.sql(sql).await.unwrap();
        assert_eq!(rows(&result).len(), expected, "{sql}");
        assert!(requests.contains(&world.toy.count()), "{sql}: {}", world.toy.count());
        assert_eq!(result.report.requests as usize, world.toy.count(), "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn twelve_sparse_windows_are_at_most_thirteen_requests() {
    let world = shop();
    let sql = "SELECT count(*) AS n FROM shop.moments m JOIN shop.orders o ON o.at >= m.at AND o.at < m.at + INTERVAL '2 minutes'";
    let started = Instant::now();
    assert_eq!(n(&world.sql(sql).await.unwrap()), 24);
    assert!(world.toy.count() <= 13, "{}", world.toy.count());
    assert!(started.elapsed() <= LATENCY * 4, "in parallel: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_in_parallel_and_pages_too() {
    for (sql, round_trips) in [
        ("SELECT box, id FROM shop.items WHERE box IN ('a', 'b', 'c')", 1),
        ("SELECT i.id FROM (SELECT note FROM shop.orders LIMIT 20) o JOIN shop.items i ON i.box = o.note", 1 + 3),
        ("SELECT count(*) AS n FROM shop.orders", 1 + 13),
    ] {
        let world = shop();
        let started = Instant::now();
        world.sql(sql).await.unwrap();
        assert!(started.elapsed() <= LATENCY * (round_trips + 1), "{sql}: {:?}", started.elapsed());
        assert!(world.toy.most_under_way() <= 8);
    }
}

#[tokio::test(start_paused = true)]
async fn predicates_become_parameters_however_they_are_written() {
    for (predicate, asked) in [
        ("kind = 'k1'", "/orders kind=k1"),
        ("'k1' = kind", "/orders kind=k1"),
        ("kind IN ('k1', 'k3')", "/orders kind=k1,k3"),
        ("kind = 'k1' OR kind = 'k3'", "/orders kind=k1,k3"),
        ("kind IN ('k0', 'k1', 'k2', 'k3')", "/orders kind=k0,k1,k2,k3"),
        ("CAST(kind AS VARCHAR) = 'k1'", "/orders kind=k1"),
        ("open", "/orders open=true"),
        ("NOT open", "/orders open=false"),
        ("open = true", "/orders open=true"),
        ("open IS FALSE", "/orders open=false"),
        ("at >= '2026-11-20T11:00:00Z'", "/orders since=2026-11-20T11:00:00Z"),
        ("'2026-11-20T11:00:00Z' <= at", "/orders since=2026-11-20T11:00:00Z"),
        ("at < TIMESTAMP '2026-11-14T11:00:00Z'", "/orders until=2026-11-14T11:00:00Z"),
        // Beyond a bound that the vendor includes (or excludes) lies the row at the bound itself: judged here.
        ("at > '2026-11-20T11:00:00Z'", "/orders since=2026-11-20T11:00:00Z"),
        ("at <= '2026-11-14T11:00:00Z'", "/orders until=2026-11-14T11:00:01Z"),
        (
            "at BETWEEN '2026-11-20T10:00:00Z' AND '2026-11-20T11:00:00Z'",
            "/orders since=2026-11-20T10:00:00Z&until=2026-11-20T11:00:01Z",
        ),
        ("at = '2026-11-20T11:00:00Z'", "/orders since=2026-11-20T11:00:00Z&until=2026-11-20T11:00:01Z"),
        ("CAST(at AS DATE) = '2026-11-19'", "/orders since=2026-11-19T00:00:00Z&until=2026-11-20T00:00:00Z"),
        ("at::DATE >= DATE '2026-11-20'", "/orders since=2026-11-20T00:00:00Z"),
        (
            "date_trunc('hour', at) = '2026-11-20T11:00:00Z'",
            "/orders since=2026-11-20T11:00:00Z&until=2026-11-20T12:00:00Z",
        ),
        ("date_trunc('day', at) > '2026-11-18T15:00:00Z'", "/orders since=2026-11-19T00:00:00Z"),
        ("kind <> 'k1'", "/orders kind_not=k1"),
        ("kind NOT IN ('k1', 'k2')", "/orders kind_not=k1,k2"),
        ("kind NOT IN ('k1', 'k2', 'k3', 'k4')", "/orders kind_not=k1,k2,k3,k4"),
        ("NOT (kind = 'k1')", "/orders kind_not=k1"),
        ("kind IN ('k1', 'k2') AND kind <> 'k2'", "/orders kind=k1"),
        ("note LIKE '%te 7%'", "/orders note_has=te 7"),
        ("note LIKE 'note 7%'", "/orders note_begins=note 7"),
        ("contains(note, 'te 7')", "/orders note_has=te 7"),
        ("note ILIKE '%TE 7%'", "/orders search=TE 7"),
        // The vendor has no word for the whole pattern: it is asked for the longest part, the rows are judged here.
        ("note LIKE '%7'", "/orders note_has=7"),
        ("note LIKE 'note%77_'", "/orders note_begins=note"),
        // What ignores case must not be asked for with a search that minds it.
        ("note ILIKE 'NOTE 7%'", "/orders search=NOTE 7"),
        // No vendor parameter says these; the rows are judged here.
        ("note NOT LIKE '%7%'", "/orders"),
        ("id <> 4", "/orders"),
        ("at >= now() - INTERVAL '1 hour' AND kind = 'k1'", "/orders since=2026-11-20T11:00:00Z&kind=k1"),
    ] {
        let sql = format!("SELECT count(*) AS n FROM shop.orders WHERE {predicate}");
        let (world, deaf) = (shop(), disobedient());
        let obeyed = n(&world.sql(&sql).await.unwrap());
        let ignored = n(&deaf.sql(&sql).await.unwrap());
        assert_eq!(obeyed, ignored, "{predicate}: the answer is the same when the vendor does not obey");
        assert!(obeyed > 0 && obeyed < 10_000, "{predicate}: {obeyed}");
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split([' ', '&']).map(str::to_owned).collect();
            parts.sort();
            parts
        };
        let log = asked_for(&world.toy);
        assert_eq!(log.iter().map(|line| sorted(line)).collect::<Vec<_>>(), [sorted(asked)], "{predicate}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_of_several_keys_suffices_and_none_is_an_error_that_names_them() {
    for (predicate, asked) in [("code = 'x'", "/parcels code=x"), ("label = 'y'", "/parcels label=y")] {
        let world = shop();
        let result = world.sql(&format!("SELECT * FROM shop.parcels WHERE {predicate}")).await.unwrap();
        assert_eq!((rows(&result).len(), asked_for(&world.toy)), (1, vec![asked.to_owned()]));
    }
    let world = shop();
    let error = world.sql("SELECT * FROM shop.parcels").await.unwrap_err();
    assert!(matches!(&error, EngineError::Source(e) if e.kind == ScanErrorKind::MissingKey), "{error}");
    assert!(error.to_string().contains("code or label") && world.toy.count() == 0, "{error}");
}

#[tokio::test]
async fn what_is_handed_over_is_a_table_by_column_and_operator_with_its_exactness() {
    let world = shop();
    let sql = "SELECT column_name || ' ' || operator || ' ' || parameter || CASE WHEN exact THEN '' ELSE ' ~' END AS line \
               FROM tripline.filters WHERE source = 'shop' AND table_name = 'orders'";
    let result = world.sql(sql).await.unwrap();
    let lines: Vec<String> = rows(&result).iter().map(|row| row["line"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "at >= since",
            "at > since ~",
            "at <= until ~",
            "at < until",
            "open = open",
            "kind = kind",
            "kind IN kind",
            "kind <> kind_not",
            "note LIKE note_has",
            "note LIKE note_begins",
            "note ILIKE search",
        ]
    );
    assert_eq!(world.toy.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_large_as_allowed_and_no_larger_than_needed() {
    for (sql, limit) in [
        ("SELECT id FROM shop.orders LIMIT 10", "10"),
        ("SELECT id FROM shop.orders WHERE kind = 'k1' LIMIT 7", "7"),
        ("SELECT id FROM shop.orders WHERE length(note) > 1 LIMIT 7", "100"),
        ("SELECT id FROM shop.orders WHERE kind <> 'k1' LIMIT 7", "7"),
        ("SELECT id FROM shop.orders WHERE note LIKE 'note 1%' LIMIT 7", "7"),
        ("SELECT id FROM shop.orders WHERE note LIKE '%7' LIMIT 7", "100"),
        ("SELECT count(*) AS n FROM shop.orders", "100"),
        ("SELECT id FROM shop.orders ORDER BY at DESC LIMIT 3", "3"),
    ] {
        let world = shop();
        world.sql(sql).await.unwrap();
        assert_eq!(world.toy.log()[0].param("limit"), Some(limit), "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hostile_key_is_percent_encoded() {
    let world = shop();
    world.sql("SELECT * FROM shop.items WHERE box = '../_stats'").await.unwrap();
    assert_eq!(world.toy.log()[0].path, "/boxes/..%2F_stats/items");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_vendor_is_an_error_at_the_deadline_that_names_it() {
    let world =
        World::with(Toy::new(|_| Reply::Hang), &[("shop.yaml", super::shop::SPEC)], &crate::testing::environment());
    let options = QueryOptions { timeout: Duration::from_secs(7), ..QueryOptions::default() };
    let started = Instant::now();
    let error = world.engine().collect("SELECT * FROM shop.orders", options).await.unwrap_err();
    assert!(error.to_string().contains("shop.orders") && error.to_string().contains("/orders?"), "{error}");
    assert_eq!(started.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn throttling_every_tenth_request_one_503_and_one_dropped_connection_lose_nothing_and_wait_together() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let toy = Toy::slow(LATENCY, move |asked| match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        5 => Reply::status(503),
        17 => Reply::Drop,
        i if i % 10 == 9 => {
            Reply::With(429, vec![("retry-after", "1".to_owned())], r#"{"message":"slow down"}"#.to_owned())
        }
        _ => super::shop::answer(asked),
    });
    let world = World::with(toy, &[("shop.yaml", super::shop::SPEC)], &crate::testing::environment());
    let started = Instant::now();
    let result = world.sql("SELECT id, count(*) AS n FROM shop.orders GROUP BY id ORDER BY id").await.unwrap();
    let found = rows(&result);
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().enumerate().all(|(i, row)| row["id"] == i as i64 && row["n"] == 1));
    let scan = &result.report.scans[0];
    assert_eq!((scan.requests, scan.pages), (100 + scan.retries, 100));
    // Eleven or more waits of a second each.
    assert!(scan.retries >= 13, "{}", scan.retries);
    assert!(started.elapsed() < Duration::from_millis(4500), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn explain_counts_requests_before_anything_is_sent_and_analyze_after() {
    let world = shop();
    let text = |result: &QueryResult| format!("{:?}", rows(result));
    for (sql, says) in [
        ("SELECT id FROM shop.orders LIMIT 250", "requests=[3]"),
        ("SELECT id FROM shop.orders", "requests=[1 per page of 100]"),
        ("SELECT box, id FROM shop.items WHERE box IN ('a', 'b', 'c')", "for each of 3 keys"),
        ("SELECT id FROM shop.orders WHERE kind = 'a' AND kind = 'b'", "EmptyExec"),
    ] {
        let plan = text(&world.sql(&format!("EXPLAIN {sql}")).await.unwrap());
        assert!(plan.contains(says), "{sql}: {plan}");
    }
    assert_eq!(world.toy.count(), 0);
    world.toy.misbehave([Reply::status(503)]);
    let sql = "EXPLAIN ANALYZE SELECT a.id FROM shop.orders a JOIN shop.orders b ON a.id = b.id";
    let plan = text(&world.sql(sql).await.unwrap());
    assert!(plan.contains("requests_sent=101") && plan.contains("retries=1"), "{plan}");
    assert!(plan.contains("requests_saved=100"), "{plan}");
}
