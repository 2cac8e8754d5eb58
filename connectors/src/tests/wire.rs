//! Over real sockets: what only a real connection can show.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tripline_engine::{ManualClock, QueryContext, ScanErrorKind, ScanRequest, ScanRun};

use super::vendor::{Manners, SPEC, answer};
use crate::testing::{Reply, Toy, environment, noon};
use crate::{ConnectorOptions, Connectors};

async fn connect(toy: &Arc<Toy>) -> (Connectors, tempfile::TempDir) {
    at(&toy.serve().await)
}

fn at(base: &str) -> (Connectors, tempfile::TempDir) {
    let mut environment = environment();
    environment.set("TOY_URL", base);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("toy.yaml"), SPEC.replace("concurrency: 8", "concurrency: 8, timeout_s: 1"))
        .unwrap();
    let options = ConnectorOptions {
        environment: &environment,
        sources_dir: Some(dir.path().to_owned()),
        cache_dir: None,
        clock: ManualClock::at(noon()),
        retry_seed: 1,
    };
    (Connectors::load(&options), dir)
}

async fn rows(connectors: &Connectors, table: &str) -> Result<usize, tripline_engine::ScanError> {
    use futures::TryStreamExt;
    let query = QueryContext::new(noon(), Duration::from_secs(30), 1000);
    let stats = query.report.scan("toy", table);
    let table = connectors.source("toy").unwrap().table(table).unwrap();
    let request = ScanRequest { projection: vec![0], ..ScanRequest::default() };
    let batches: Vec<_> = table.scan(request, ScanRun::alone(query, stats)).try_collect().await?;
    Ok(batches.iter().map(arrow::array::RecordBatch::num_rows).sum())
}

fn toy(rows: usize) -> Arc<Toy> {
    Toy::new(move |asked| answer(Manners { rows, ..Manners::default() }, asked))
}

#[tokio::test]
async fn a_scan_over_http_sends_what_the_spec_says() {
    let toy = toy(250);
    let (connectors, _dir) = connect(&toy).await;
    assert_eq!(rows(&connectors, "numbered").await.unwrap(), 250);
    let asked = &toy.log()[0];
    assert_eq!(asked.path, "/numbered");
    assert_eq!(asked.headers["authorization"], "Bearer toy-hunter2-secret");
    assert_eq!(asked.headers["accept"], "application/json");
    assert!(asked.headers["user-agent"].to_str().unwrap().starts_with("tripline/"));
    assert_eq!(asked.headers["accept-encoding"], "gzip");
    assert!(asked.headers.get("cookie").is_none());
}

#[tokio::test]
async fn a_body_that_breaks_off_and_a_connection_that_breaks_are_tried_again() {
    let toy = toy(50);
    let (connectors, _dir) = connect(&toy).await;
    toy.misbehave([Reply::Drop, Reply::CutShort(json!({"data": [{"id": 1}, {"id": 2}], "meta": {}}))]);
    assert_eq!(rows(&connectors, "numbered").await.unwrap(), 50);
    assert_eq!(toy.count(), 3);
}

#[tokio::test]
async fn a_request_that_hangs_is_given_up_and_tried_again() {
    let toy = toy(50);
    let (connectors, _dir) = connect(&toy).await;
    toy.misbehave([Reply::Hang]);
    assert_eq!(rows(&connectors, "numbered").await.unwrap(), 50);
    assert_eq!(toy.count(), 2);
}

#[tokio::test]
async fn nobody_listening_is_a_connection_error_that_names_the_variable() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (connectors, _dir) = at(&base);
    let error = rows(&connectors, "numbered").await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Connection);
    assert!(error.detail.contains("refused"), "{error}");
    assert!(error.hint.clone().unwrap().contains("TOY_URL"), "{error}");
}

fn redirect(to: &str) -> Reply {
    Reply::With(302, vec![("location", to.to_owned())], String::new())
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_host_only() {
    let toy = toy(50);
    let (connectors, _dir) = connect(&toy).await;
    toy.misbehave([redirect("/numbered?limit=100&page=1")]);
    assert_eq!(rows(&connectors, "numbered").await.unwrap(), 50);

    let elsewhere = self::toy(50);
    let other = elsewhere.serve().await;
    toy.misbehave([redirect(&format!("{other}/numbered"))]);
    let error = rows(&connectors, "numbered").await.unwrap_err();
    assert_eq!(
        (error.kind, error.detail.as_str()),
        (ScanErrorKind::BadRequest, "the source redirected to another host")
    );
    assert_eq!(elsewhere.count(), 0);

    toy.misbehave(vec![redirect("/numbered"); 10]);
    let error = rows(&connectors, "numbered").await.unwrap_err();
    assert_eq!(error.detail, "the source redirected too often");
}

#[tokio::test]
async fn a_body_without_end_is_cut_off_with_an_error() {
    let toy = Toy::new(|_| Reply::TooLarge);
    let (connectors, _dir) = connect(&toy).await;
    let error = rows(&connectors, "numbered").await.unwrap_err();
    assert_eq!((error.kind, error.detail.as_str()), (ScanErrorKind::Malformed, "the body is larger than 64 MiB"));
    assert_eq!(toy.count(), 1);
}
