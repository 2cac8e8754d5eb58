//! How many pages a query costs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::toy::{Toy, engine};
use crate::{EngineError, QueryOptions, QueryResult, ScanErrorKind, json_rows};

const PAGES: usize = 100;

async fn run(toy: Toy, sql: &str) -> (Arc<Toy>, QueryResult) {
    let toy = Arc::new(toy);
    let result = engine(&[Arc::clone(&toy)]).collect(sql, QueryOptions::default()).await.unwrap();
    (toy, result)
}

fn rows(result: &QueryResult) -> usize {
    result.batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn queries_cost_the_pages_they_need_and_no_more() {
    // (query, natural order declared, vendor sorts, pages, rows)
    let cases = [
        ("SELECT * FROM toy.t LIMIT 10", false, false, 1, 10),
        ("SELECT * FROM toy.t LIMIT 250", false, false, 3, 250),
        ("SELECT id FROM toy.t WHERE status = 'error' LIMIT 10", false, false, 1, 10),
        ("SELECT id FROM toy.t WHERE length(status) = 5 LIMIT 10", false, false, 1, 10),
        ("SELECT id FROM toy.t WHERE status = 'error' LIMIT 40", false, false, 2, 40),
        ("SELECT id FROM toy.t LIMIT 5 OFFSET 120", false, false, 2, 5),
        ("SELECT id FROM toy.t ORDER BY at DESC LIMIT 10", true, false, 1, 10),
        ("SELECT id FROM toy.t ORDER BY at DESC NULLS LAST LIMIT 10", true, false, 1, 10),
        ("SELECT id FROM toy.t WHERE status = 'error' ORDER BY at DESC LIMIT 10", true, false, 1, 10),
        ("SELECT id FROM toy.t WHERE status = 'error' ORDER BY status, at DESC LIMIT 10", true, false, 1, 10),
        ("SELECT id, at FROM toy.t ORDER BY at DESC, id LIMIT 10", true, false, 1, 10),
        ("SELECT id FROM toy.t ORDER BY at DESC LIMIT 10", false, true, 1, 10),
        ("SELECT id FROM toy.t ORDER BY id DESC LIMIT 10", false, true, 1, 10),
        ("SELECT id FROM toy.t ORDER BY id DESC LIMIT 10", true, true, 1, 10),
        ("SELECT id FROM toy.t ORDER BY at DESC LIMIT 10", false, false, PAGES, 10),
        ("SELECT id FROM toy.t ORDER BY at ASC LIMIT 10", true, true, PAGES, 10),
        ("SELECT id FROM toy.t WHERE random() < 2 LIMIT 10", false, false, 1, 10),
        ("SELECT DISTINCT status FROM toy.t LIMIT 2", false, false, 1, 2),
        ("SELECT count(*) FROM toy.t", false, false, PAGES, 1),
        ("SELECT * FROM toy.t WHERE id = 1 AND id = 2", false, false, 0, 0),
        ("SELECT * FROM toy.t WHERE id > 5 AND id < 3", false, false, 0, 0),
        ("SELECT * FROM toy.t WHERE status = NULL", false, false, 0, 0),
        ("SELECT * FROM toy.t LIMIT 0", false, false, 0, 0),
    ];
    for (sql, natural, sorts, pages, expected) in cases {
        let mut toy = Toy::new("t", PAGES);
        if natural {
            toy = toy.newest_first();
        }
        if sorts {
            toy = toy.sortable();
        }
        let (toy, result) = run(toy, sql).await;
        assert_eq!((toy.pages_fetched(), rows(&result)), (pages, expected), "{sql} (natural={natural}, sorts={sorts})");
    }
}

#[tokio::test]
async fn a_union_of_two_tables_with_a_limit_reads_a_page_of_each() {
    let (a, b) = (Arc::new(Toy::new("a", PAGES).newest_first()), Arc::new(Toy::new("b", PAGES).newest_first()));
    let sql = "SELECT * FROM (SELECT id, at FROM toy.a UNION ALL SELECT id, at FROM toy.b) ORDER BY at DESC LIMIT 10";
    engine(&[Arc::clone(&a), Arc::clone(&b)]).collect(sql, QueryOptions::default()).await.unwrap();
    assert_eq!((a.pages_fetched(), b.pages_fetched()), (1, 1));
}

#[tokio::test]
async fn only_selected_and_filtered_columns_are_decoded() {
    let (toy, _) = run(Toy::new("t", 2), "SELECT id FROM toy.t WHERE status = 'ok'").await;
    assert_eq!(toy.columns.load(Ordering::SeqCst), 2);
    let (toy, result) = run(Toy::new("t", 2), "SELECT count(*) AS n FROM toy.t").await;
    assert_eq!(toy.columns.load(Ordering::SeqCst), 0);
    assert_eq!(json_rows(&result.schema, &result.batches).unwrap()[0]["n"], 200);
}

#[tokio::test]
async fn a_vendor_sort_gets_the_limit() {
    let (toy, _) = run(Toy::new("t", PAGES).sortable(), "SELECT * FROM toy.t ORDER BY id DESC LIMIT 7").await;
    assert!(toy.sorted.load(Ordering::SeqCst));
    assert_eq!(toy.limit.load(Ordering::SeqCst), 7);
}

#[tokio::test]
async fn a_predicate_the_vendor_ignores_is_applied_to_the_rows() {
    let (_, result) = run(Toy::new("t", 3), "SELECT status FROM toy.t WHERE status = 'error'").await;
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    assert_eq!(rows.len(), 100);
    assert!(rows.iter().all(|row| row["status"] == "error"));
}

#[tokio::test]
async fn a_missing_required_key_is_an_error_that_says_which_and_how() {
    for prefix in ["", "EXPLAIN "] {
        let toy = Arc::new(Toy::new("t", 1).requiring("owner"));
        let engine = engine(&[Arc::clone(&toy)]);
        let error = engine.collect(&format!("{prefix}SELECT * FROM toy.t"), QueryOptions::default()).await.unwrap_err();
        let EngineError::Source(scan) = error else { panic!("{error}") };
        assert_eq!(scan.kind, ScanErrorKind::MissingKey);
        assert!(scan.to_string().contains("owner") && scan.to_string().contains("WHERE owner = 'me'"), "{scan}");
        assert_eq!(toy.pages_fetched(), 0);
    }
    let toy = Arc::new(Toy::new("t", 1).requiring("owner"));
    let sql = "SELECT * FROM toy.t WHERE owner = 'me'";
    assert!(engine(&[toy]).collect(sql, QueryOptions::default()).await.is_ok());
}

#[tokio::test]
async fn a_failing_page_fails_the_query_and_names_the_table() {
    let toy = Arc::new(Toy::new("t", 5).failing_at(3));
    let error = engine(&[toy]).collect("SELECT sum(id) FROM toy.t", QueryOptions::default()).await.unwrap_err();
    let EngineError::Source(scan) = error else { panic!("{error}") };
    assert_eq!((scan.source.as_str(), scan.table.as_str(), scan.status), ("toy", "t", Some(503)));
}

#[tokio::test]
async fn the_request_budget_of_a_query_is_enforced() {
    let toy = Arc::new(Toy::new("t", 50));
    let options = QueryOptions { max_requests: 5, ..QueryOptions::default() };
    let error = engine(&[Arc::clone(&toy)]).collect("SELECT sum(id) FROM toy.t", options).await.unwrap_err();
    assert_eq!(error.scan_error().map(|e| e.kind), Some(ScanErrorKind::Budget));
    assert_eq!(toy.pages_fetched(), 5);
}

#[tokio::test]
async fn a_row_cap_is_stated_as_truncation() {
    let toy = Arc::new(Toy::new("t", 5));
    let options = QueryOptions { max_rows: Some(150), ..QueryOptions::default() };
    let result = engine(&[toy]).collect("SELECT id FROM toy.t", options).await.unwrap();
    assert_eq!(rows(&result), 150);
    assert!(result.report.truncated && !result.report.complete);

    let toy = Arc::new(Toy::new("t", 1));
    let options = QueryOptions { max_rows: Some(100), ..QueryOptions::default() };
    let result = engine(&[toy]).collect("SELECT id FROM toy.t", options).await.unwrap();
    assert!(result.report.complete, "exactly as many rows as the cap is no truncation");
}

#[tokio::test]
async fn the_report_counts_requests_pages_and_rows() {
    let (_, result) = run(Toy::new("t", 3), "SELECT id FROM toy.t").await;
    let scan = &result.report.scans[0];
    assert_eq!((scan.requests, scan.pages, scan.rows, scan.finished), (3, 3, 300, true));
    assert!(result.report.complete);
}
