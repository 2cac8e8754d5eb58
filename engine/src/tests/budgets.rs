//! What a query may cost, and what is said of an answer that is not whole.

use std::sync::Arc;
use std::time::Duration;

use super::toy::{Toy, engine, now};
use crate::{
    Engine, EngineError, EngineOptions, ManualClock, QueryOptions, QueryResult, ScanErrorKind, SourceEntry, json_rows,
};

fn partial() -> QueryOptions {
    QueryOptions { partial: true, ..QueryOptions::default() }
}

fn rows(result: &QueryResult) -> usize {
    result.batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn a_partial_answer_comes_only_when_asked_for_and_says_what_is_missing() {
    let toy = || Arc::new(Toy::new("t", 5).failing_at(3));
    let error = engine(&[toy()]).collect("SELECT id FROM toy.t", QueryOptions::default()).await.unwrap_err();
    assert_eq!(error.scan_error().map(|e| e.kind), Some(ScanErrorKind::Unavailable));

    let result = engine(&[toy()]).collect("SELECT id FROM toy.t", partial()).await.unwrap();
    assert_eq!(rows(&result), 300);
    assert!(!result.report.complete && !result.report.scans[0].finished);
    assert!(result.report.warnings[0].starts_with("toy.t: ") && result.report.warnings[0].contains("boom"));
}

#[tokio::test]
async fn a_join_with_a_failing_side_says_so_whichever_side_it_is() {
    for sql in [
        "SELECT a.id FROM toy.a JOIN toy.b ON a.id = b.id",
        "SELECT a.id FROM toy.b JOIN toy.a ON a.id = b.id",
        "SELECT id FROM toy.a UNION ALL SELECT id FROM toy.b",
        "SELECT count(*) FROM toy.a WHERE id NOT IN (SELECT id FROM toy.b)",
    ] {
        let tables = [Arc::new(Toy::new("a", 3)), Arc::new(Toy::new("b", 3).failing_at(0))];
        assert!(engine(&tables).collect(sql, QueryOptions::default()).await.is_err(), "{sql}");
        let result = engine(&tables).collect(sql, partial()).await.unwrap();
        assert!(!result.report.complete && result.report.warnings[0].contains("toy.b"), "{sql}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_partial_answer_with_what_came_until_then() {
    let toy = Arc::new(Toy::new("t", 100).delayed(Duration::from_secs(1)));
    let options = QueryOptions { timeout: Duration::from_millis(4500), ..partial() };
    let result = engine(&[toy]).collect("SELECT id FROM toy.t ORDER BY id", options).await.unwrap();
    assert_eq!(rows(&result), 400);
    assert!(result.report.warnings[0].contains("deadline"), "{:?}", result.report.warnings);
}

#[tokio::test]
async fn a_spent_budget_is_an_error_or_a_stated_gap() {
    let toy = || Arc::new(Toy::new("t", 50));
    let few = |options: QueryOptions| QueryOptions { max_requests: 5, ..options };
    let error = engine(&[toy()]).collect("SELECT id FROM toy.t", few(QueryOptions::default())).await.unwrap_err();
    assert_eq!(error.scan_error().map(|e| e.kind), Some(ScanErrorKind::Budget));
    let result = engine(&[toy()]).collect("SELECT id FROM toy.t", few(partial())).await.unwrap();
    assert_eq!((rows(&result), result.report.complete), (500, false));
}

#[tokio::test]
async fn a_cancelled_query_is_never_a_partial_answer() {
    let toy = Arc::new(Toy::new("t", 5));
    let stream = engine(&[toy]).query("SELECT id FROM toy.t", partial()).await.unwrap();
    stream.cancellation().cancel();
    assert!(matches!(stream.collect().await, Err(EngineError::Cancelled)));
}

fn with_memory(bytes: usize, toy: Arc<Toy>) -> Engine {
    let source = SourceEntry {
        name: "toy".into(),
        description: String::new(),
        status: String::new(),
        base_url: String::new(),
        tables: vec![toy],
    };
    let options = EngineOptions { memory_per_query: bytes, ..EngineOptions::default() };
    Engine::new(ManualClock::at(now()), options, &[source], Vec::new()).unwrap()
}

#[tokio::test]
async fn a_sort_larger_than_its_memory_spills_and_a_join_says_that_it_needs_more() {
    let toy = Arc::new(Toy::new("t", 1000));
    let sql = "SELECT id, status, owner FROM toy.t ORDER BY owner, status, id";
    let result = with_memory(3 << 20, Arc::clone(&toy)).collect(sql, QueryOptions::default()).await.unwrap();
    assert_eq!(rows(&result), 100_000);
    let analyzed = with_memory(3 << 20, Arc::clone(&toy));
    let analyzed = analyzed.collect(&format!("EXPLAIN ANALYZE {sql}"), QueryOptions::default()).await.unwrap();
    let text = format!("{:?}", json_rows(&analyzed.schema, &analyzed.batches).unwrap());
    assert!(text.contains("spill_count=") && !text.contains("spill_count=0"), "{text}");
    let small = with_memory(1 << 20, toy);
    let sql = "SELECT count(*) FROM toy.t a JOIN toy.t b ON a.id = b.id";
    assert!(matches!(small.collect(sql, QueryOptions::default()).await, Err(EngineError::Memory(_))));
}

#[tokio::test]
async fn explain_analyze_says_what_was_sent() {
    let toy = Arc::new(Toy::new("t", 7));
    let result = engine(&[toy]).collect("EXPLAIN ANALYZE SELECT id FROM toy.t", QueryOptions::default()).await.unwrap();
    let text = format!("{:?}", json_rows(&result.schema, &result.batches).unwrap());
    for figure in ["requests_sent=7", "requests_saved=0", "retries=0", "waited_ms=0", "pages=7", "rows_fetched=700"] {
        assert!(text.contains(figure), "{figure}: {text}");
    }
}

#[tokio::test]
async fn explain_says_what_each_scan_would_send_and_sends_nothing() {
    let (a, b) = (Arc::new(Toy::new("a", 7)), Arc::new(Toy::new("b", 9)));
    let sql = "EXPLAIN SELECT a.id FROM toy.a JOIN toy.b ON a.id = b.id";
    let result = engine(&[Arc::clone(&a), Arc::clone(&b)]).collect(sql, QueryOptions::default()).await.unwrap();
    let text = format!("{:?}", json_rows(&result.schema, &result.batches).unwrap());
    assert!(text.contains("requests=[7]") && text.contains("requests=[9]"), "{text}");
    assert_eq!((a.pages_fetched(), b.pages_fetched()), (0, 0));
}
