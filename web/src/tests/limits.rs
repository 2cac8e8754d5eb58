//! Limits on size, time and concurrency, and what surrounds every answer.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::middleware::from_fn;
use axum::routing::get;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use super::site::{Plan, Site};
use crate::WebOptions;

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let site = Site::new().await;
    let big = "x".repeat(10 << 20);
    for path in ["/api/v1/sql", "/api/slack/actions"] {
        let sent =
            site.request("read", Method::POST, path).header("content-type", "application/json").body(big.clone());
        // The server may answer and hang up before it was sent everything.
        match sent.send().await {
            Ok(response) => assert_eq!(response.status(), 413, "{path}"),
            Err(error) => assert!(error.is_request() || error.is_body(), "{path}: {error}"),
        }
    }
    assert_eq!(site.get("/api/v1/session").await["person"], "reader");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_headers_is_hung_up_on() {
    let options = WebOptions { header_timeout: Duration::from_millis(100), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let mut slow = TcpStream::connect(site.addr).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "the connection stayed open");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_body_gets_an_answer() {
    let options = WebOptions { request_timeout: Duration::from_millis(100), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let mut slow = TcpStream::connect(site.addr).await.unwrap();
    let head = "POST /api/slack/actions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\npayload=";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 512];
    let read = tokio::time::timeout(Duration::from_secs(10), slow.read(&mut answer)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&answer[..read]).starts_with("HTTP/1.1 504"));
}

#[tokio::test]
async fn only_so_many_connections_are_held() {
    let options =
        WebOptions { max_connections: 2, header_timeout: Duration::from_millis(200), ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(TcpStream::connect(site.addr).await.unwrap());
    }
    // A third waits until one of the two was hung up on, and is served then.
    let health = site.client.get(site.url("/healthz")).send();
    let served = tokio::time::timeout(Duration::from_secs(10), health).await.unwrap().unwrap();
    assert_eq!(served.status(), 200);
}

#[tokio::test]
async fn a_stream_too_many_is_told_to_come_back() {
    let options = WebOptions { max_streams: 1, ..WebOptions::default() };
    let site = Site::with(Plan { options, ..Plan::default() }).await;
    let first = site.request("read", Method::GET, "/api/v1/stream").send().await.unwrap();
    let second = site.request("read", Method::GET, "/api/v1/stream").send().await.unwrap();
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 429));
    assert_eq!(second.headers()["retry-after"], "5");
}

#[tokio::test]
async fn at_shutdown_streams_end_and_the_server_stops() {
    let site = Site::new().await;
    let stream = site.request("read", Method::GET, "/api/v1/stream").send().await.unwrap();
    site.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), stream.bytes()).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(10), site.server).await.unwrap().unwrap();
    assert!(TcpStream::connect(site.addr).await.is_err());
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_not_kept() {
    let site = Site::new().await;
    let mut ids = std::collections::BTreeSet::new();
    for path in ["/api/v1/session", "/api/v1/nothing", "/healthz"] {
        let response = site.request("read", Method::GET, path).send().await.unwrap();
        assert_eq!(response.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(response.headers()["x-frame-options"], "DENY", "{path}");
        ids.insert(response.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn a_panic_is_an_answer_and_not_the_end() {
    async fn panics() {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
    let router: Router = Router::new().route("/", get(panics)).layer(from_fn(crate::layers::catch_panics));
    let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], json!("internal"));
}
