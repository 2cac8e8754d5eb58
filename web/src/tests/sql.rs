//! SQL over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{SendableRecordBatchStream, streaming::PartitionStream};
use reqwest::Method;
use serde_json::{Value, json};
use tripline_engine::LocalTable;

use super::site::{Plan, Site, cost_spike};
use crate::WebOptions;

async fn sql(site: &Site, body: Value) -> (u16, Value) {
    site.post("read", "/api/v1/sql", &body).await
}

#[tokio::test]
async fn rows_come_with_columns_and_the_completeness_report() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let (status, body) = sql(
        &site,
        json!({
            "sql": "SELECT type, cost_usd, resolved_at FROM agent.incidents WHERE type = $type",
            "params": {"type": "cost_spike"},
        }),
    )
    .await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["rows"], json!([{"type": "cost_spike", "cost_usd": 12.5, "resolved_at": null}]));
    assert_eq!(body["columns"][1], json!({"name": "cost_usd", "type": "Float64"}));
    assert_eq!((&body["report"]["complete"], &body["report"]["rows"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn an_answer_that_was_cut_says_so() {
    let site = Site::new().await;
    let (status, body) = sql(&site, json!({"sql": "SELECT * FROM generate_series(1, 50)", "max_rows": 10})).await;
    assert_eq!((status, body["rows"].as_array().unwrap().len()), (200, 10), "{body}");
    assert_eq!((&body["report"]["complete"], &body["report"]["truncated"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn a_query_that_is_wrong_says_what_and_a_writing_one_is_forbidden() {
    let site = Site::new().await;
    for (statement, status, code) in [
        ("SELECT nothing FROM agent.incidents", 400, "query"),
        ("SELECT * FROM agent.incident", 400, "query"),
        ("SELEC 1", 400, "query"),
        ("", 400, "query"),
        ("SELECT 1; SELECT 2", 400, "query"),
        ("DROP TABLE agent.incidents", 403, "read_only"),
        ("DELETE FROM agent.incidents", 403, "read_only"),
        ("COPY (SELECT 1) TO '/tmp/x.csv'", 403, "read_only"),
        ("SET datafusion.execution.batch_size = 1", 403, "read_only"),
        ("SELECT * FROM agent.incidents WHERE id = $id", 400, "query"),
    ] {
        let (found, body) = sql(&site, json!({ "sql": statement })).await;
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{statement}: {body}");
        assert!(!body["error"]["message"].as_str().unwrap().is_empty());
    }
    let (_, body) = sql(&site, json!({"sql": "SELECT * FROM agent.incident"})).await;
    assert!(body["error"]["hint"].as_str().unwrap().contains("agent.incidents"), "{body}");
}

#[tokio::test]
async fn limits_out_of_range_and_odd_parameters_are_refused() {
    let site = Site::new().await;
    for body in [
        json!({"sql": "SELECT 1", "max_rows": 10_001}),
        json!({"sql": "SELECT 1", "max_rows": 0}),
        json!({"sql": "SELECT 1", "timeout_ms": 60_001}),
        json!({"sql": "SELECT 1", "format": "xml"}),
        json!({"sql": "SELECT $a", "params": {"a": {"b": 1}}}),
        json!({"sql": "SELECT 1", "rows": 5}),
        json!({"query": "SELECT 1"}),
    ] {
        assert_eq!(sql(&site, body.clone()).await.0, 422, "{body}");
    }
}

#[tokio::test]
async fn a_value_is_never_spliced_into_the_query() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let (status, body) = sql(
        &site,
        json!({
            "sql": "SELECT count(*) AS n FROM agent.incidents WHERE entity = $entity",
            "params": {"entity": "x' OR '1'='1"},
        }),
    )
    .await;
    assert_eq!((status, &body["rows"][0]["n"]), (200, &json!(0)), "{body}");
}

#[tokio::test]
async fn the_other_formats_say_in_headers_whether_they_are_whole() {
    let site = Site::new().await;
    for (format, kind, expected) in [
        ("csv", "text/csv; charset=utf-8", "value\n1\n2\n"),
        ("ndjson", "application/x-ndjson", "{\"value\":1}\n{\"value\":2}\n"),
    ] {
        let body =
            json!({"sql": "SELECT * FROM generate_series(1, 3) ORDER BY value", "format": format, "max_rows": 2});
        let response = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], kind);
        assert_eq!(response.headers()["x-tripline-complete"], "false");
        assert_eq!(response.headers()["x-tripline-rows"], "2");
        let warnings: Vec<_> = response.headers().get_all("x-tripline-warning").iter().collect();
        assert_eq!(response.headers()["x-tripline-warnings"], warnings.len().to_string());
        assert!(warnings[0].to_str().unwrap().contains("first 2 rows"), "{warnings:?}");
        assert_eq!(response.text().await.unwrap(), expected);
    }
}

/// A table that never comes to an end, and knows how many are reading it.
#[derive(Debug)]
struct Endless {
    schema: SchemaRef,
    readers: Arc<AtomicUsize>,
}

/// Counts one reader for as long as it lives.
struct Reading(Arc<AtomicUsize>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl PartitionStream for Endless {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        self.readers.fetch_add(1, Ordering::SeqCst);
        let reading = Reading(Arc::clone(&self.readers));
        let schema = Arc::clone(&self.schema);
        let rows = async_stream::stream! {
            let _reading = reading;
            let values = Arc::new(Int64Array::from(vec![1]));
            yield Ok(RecordBatch::try_new(schema, vec![values]).unwrap());
            std::future::pending::<()>().await;
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}

async fn with_endless(options: WebOptions) -> (Site, Arc<AtomicUsize>) {
    let readers = Arc::new(AtomicUsize::new(0));
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let endless = Endless { schema: Arc::clone(&schema), readers: Arc::clone(&readers) };
    let table = LocalTable {
        schema: "test".to_owned(),
        name: "endless".to_owned(),
        provider: Arc::new(StreamingTable::try_new(schema, vec![Arc::new(endless)]).unwrap()),
    };
    (Site::with(Plan { options, tables: vec![table], ..Plan::default() }).await, readers)
}

async fn until(readers: &AtomicUsize, wanted: usize) {
    let reached = async {
        while readers.load(Ordering::SeqCst) != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.unwrap();
}

const ENDLESS: &str = "SELECT sum(n) AS n FROM test.endless";

#[tokio::test]
async fn a_query_that_takes_too_long_is_stopped() {
    let (site, readers) = with_endless(WebOptions::default()).await;
    let (status, body) = sql(&site, json!({"sql": ENDLESS, "timeout_ms": 200})).await;
    assert_eq!((status, &body["error"]["code"]), (504, &json!("deadline")), "{body}");
    until(&readers, 0).await;
}

#[tokio::test]
async fn a_query_stops_when_its_client_goes_away() {
    let (site, readers) = with_endless(WebOptions::default()).await;
    let asked = site.request("read", Method::POST, "/api/v1/sql").json(&json!({ "sql": ENDLESS })).send();
    let asked = tokio::spawn(asked);
    until(&readers, 1).await;
    asked.abort();
    until(&readers, 0).await;
}

#[tokio::test]
async fn more_queries_than_there_are_places_wait_and_are_then_told_to_come_back() {
    let options = WebOptions { max_queries: 1, query_patience: Duration::from_millis(20), ..WebOptions::default() };
    let (site, readers) = with_endless(options).await;
    let first = site.request("read", Method::POST, "/api/v1/sql").json(&json!({ "sql": ENDLESS })).send();
    let first = tokio::spawn(first);
    until(&readers, 1).await;
    let (status, body) = sql(&site, json!({"sql": "SELECT 1"})).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("too_many_queries")), "{body}");
    first.abort();
    until(&readers, 0).await;
    assert_eq!(sql(&site, json!({"sql": "SELECT 1"})).await.0, 200);
}

#[tokio::test]
async fn identical_queries_at_the_same_time_are_one_and_none_is_refused() {
    let options = WebOptions { max_queries: 2, query_patience: Duration::from_millis(20), ..WebOptions::default() };
    let (site, readers) = with_endless(options).await;
    let body = json!({ "sql": ENDLESS, "timeout_ms": 3000 });
    let ask = |body: &Value| {
        let asked = site.request("read", Method::POST, "/api/v1/sql").json(body).send();
        tokio::spawn(async move { asked.await.unwrap().status().as_u16() })
    };
    let asked: Vec<_> = (0..10).map(|_| ask(&body)).collect();
    until(&readers, 1).await;
    // Another question takes the second place; then nobody new finds one.
    let other = ask(&json!({ "sql": "SELECT min(n) AS n FROM test.endless", "timeout_ms": 3000 }));
    until(&readers, 2).await;
    let late = ask(&body);
    let another = sql(&site, json!({"sql": "SELECT 1"})).await.0;
    assert_eq!(another, 429, "the places are taken");
    for one in asked.into_iter().chain([late, other]) {
        // The query ends at its deadline for all of them.
        assert_eq!(one.await.unwrap(), 504);
    }
    until(&readers, 0).await;
}

#[tokio::test]
async fn parquet_comes_with_its_headers() {
    let site = Site::new().await;
    let body = json!({"sql": "SELECT * FROM generate_series(1, 3)", "format": "parquet", "max_rows": 2});
    let response = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/vnd.apache.parquet");
    assert_eq!(response.headers()["x-tripline-complete"], "false");
    let bytes = response.bytes().await.unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), "{} bytes", bytes.len());
}

#[tokio::test]
async fn a_query_that_makes_rows_without_end_holds_up_nobody_and_is_stopped() {
    let options = WebOptions { max_queries: 1, query_patience: Duration::from_secs(30), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let endless = "SELECT sum(a.value * b.value) AS n FROM generate_series(1, 200000) a, generate_series(1, 200000) b";
    for format in ["json", "stream"] {
        let asked = json!({"sql": endless, "timeout_ms": 500, "format": format});
        let query = site.client.post(site.url("/api/v1/sql")).bearer_auth(&site.keys["read"]).json(&asked);
        let answer = async { query.send().await.unwrap().text().await.unwrap() };
        let (answer, health) = tokio::join!(answer, site.client.get(site.url("/healthz")).send());
        assert_eq!(health.unwrap().status(), 200);
        assert!(answer.contains("\"deadline\""), "{format}: {answer}");
        // Its place is free again.
        let (status, body) = sql(&site, json!({"sql": "SELECT 1 AS one"})).await;
        assert_eq!((status, &body["rows"][0]["one"]), (200, &json!(1)), "{body}");
    }
}
