//! What variables of the environment do to a running server.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

use crate::harness::until;
use crate::seeded;

#[tokio::test]
async fn messages_go_to_the_channel_that_the_environment_names_with_links_to_where_people_open_tripline() {
    let mut scene = seeded::spike().await;
    scene.site.set("SLACK_INCIDENTS_CHANNEL", "#engineering");
    scene.site.set("FRONTEND_URL", "https://tripline.example.com");
    let (_serve, approval) = scene.asked("cost_spike").await;
    assert!(approval["slack_ts"].is_string(), "{approval}");
    let writes = scene.vendors.writes().await;
    let posted: Vec<_> = writes.iter().filter(|write| write.path.ends_with("chat.postMessage")).collect();
    assert!(!posted.is_empty());
    for message in posted {
        assert_eq!(message.body["channel"], "#engineering");
        assert!(message.body["blocks"].to_string().contains("https://tripline.example.com/#incident="));
    }
    let doctor = scene.site.run(&["doctor"]).await;
    assert!(!doctor.stdout.contains("set TRIPLINE_PUBLIC_URL"), "{doctor:?}");
}

/// Listens for spans over OTLP/HTTP; what came is in the list, body by body.
async fn collector() -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
    let kept = Arc::clone(&bodies);
    let take = move |body: Bytes| async move {
        kept.lock().unwrap().push(body);
        StatusCode::OK
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, bodies)
}

#[tokio::test]
async fn requests_scans_jobs_and_actions_are_exported_as_spans() {
    let mut scene = seeded::agent_loop().await;
    let (url, bodies) = collector().await;
    scene.site.set("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    let serve = scene.site.serve(scene.now).await;
    serve.incident("agent_loop").await;
    until("all kinds of spans", async || {
        let bodies = bodies.lock().unwrap();
        // Names are plain text within the protobuf: a length and the bytes.
        let named = |name: &[u8]| bodies.iter().any(|body| body.windows(name.len()).any(|bytes| bytes == name));
        [&b"\x07request"[..], b"\x04scan", b"\x03job", b"\x06action"].into_iter().all(named).then_some(())
    })
    .await;
    assert!(serve.terminate().await.success());
}

#[tokio::test]
async fn doctor_names_a_query_file_that_is_no_sql() {
    let scene = seeded::cascade().await;
    let folder = scene.site.path("queries/detectors");
    std::fs::create_dir_all(&folder).unwrap();
    let bundled = include_str!("../../queries/detectors/agent_loop.sql");
    std::fs::write(folder.join("agent_loop.sql"), bundled.replacen("\nFROM ", "\nFORM ", 1)).unwrap();
    let ill = scene.site.run(&["doctor"]).await;
    assert_ne!(ill.code(), 0, "{ill:?}");
    assert!(ill.stdout.lines().any(|line| line.contains("agent_loop.sql") && line.starts_with("problem")), "{ill:?}");
}
