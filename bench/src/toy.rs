//! The toy vendor (as two sources, `toy` and `other`): numbered listings with a total, 50 ms per request, every request counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tripline_connectors::{ConnectorOptions, Connectors};
use tripline_engine::{Engine, EngineOptions, Environment, SourceEntry, SystemClock};

pub(crate) const PAGES: usize = 100;
pub(crate) const ROWS: usize = 100;
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
pub(crate) const CONCURRENCY: usize = 8;

/// The spec of the toy, as a user would write it in `sources.d/`.
const SPEC: &str = r"
source: NAME
description: A toy vendor.
base_url: { env: [TOY_URL] }
auth: { type: none }
limits: { concurrency: 8 }
test: /rows
tables:
  rows:
    description: Rows, newest first.
    guide: A toy.
    primary_key: [id]
    columns:
      id: { type: int, about: Row number }
      key: { type: text, about: Key }
      at: { type: timestamp, about: When }
      text: { type: text, about: Text }
    endpoints:
      - name: rows
        path: /rows
        rows: data
        pagination: { type: page, param: page, start: 1, total_pages: meta.totalPages }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: desc }
        filters:
          at: { lower: from, upper: to, format: iso_ms }
";

/// A running toy.
pub(crate) struct Toy {
    pub(crate) url: String,
    requests: Arc<AtomicUsize>,
}

#[derive(serde::Deserialize)]
struct Ask {
    page: Option<usize>,
    limit: Option<usize>,
    from: Option<String>,
    to: Option<String>,
}

impl Toy {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let requests = Arc::new(AtomicUsize::new(0));
        let app = Router::new().route("/rows", get(listing)).with_state(Arc::clone(&requests));
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { url, requests })
    }

    /// Requests since the last call.
    pub(crate) fn take_requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }

    /// A new engine with nothing cached.
    pub(crate) fn engine(&self) -> Result<Engine, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        for name in ["toy", "other"] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), SPEC.replace("NAME", name))?;
        }
        let clock = Arc::new(SystemClock);
        let connectors = Connectors::load(&ConnectorOptions {
            environment: &Environment::of([("TOY_URL", self.url.as_str())]),
            sources_dir: Some(folder.path().to_owned()),
            cache_dir: None,
            clock: Arc::clone(&clock) as _,
            retry_seed: 1,
        });
        if let Some(problem) = connectors.problems().first() {
            return Err(problem.to_string().into());
        }
        let entry = |name: &str| -> Option<SourceEntry> {
            Some(SourceEntry {
                name: name.to_owned(),
                description: String::new(),
                status: "configured".to_owned(),
                base_url: self.url.clone(),
                tables: connectors.source(name)?.tables(),
            })
        };
        let entries = [entry("toy").ok_or("no toy")?, entry("other").ok_or("no other")?];
        Ok(Engine::new(clock, EngineOptions::default(), &entries, Vec::new())?)
    }
}

async fn listing(State(requests): State<Arc<AtomicUsize>>, Query(ask): Query<Ask>) -> Json<Value> {
    requests.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(LATENCY).await;
    let limit = ask.limit.unwrap_or(30).clamp(1, ROWS);
    let page = ask.page.unwrap_or(1).max(1);
    let time = |text: Option<String>| text.and_then(|t| t.parse::<chrono::DateTime<chrono::Utc>>().ok());
    let (from, to) = (time(ask.from), time(ask.to));
    let newest = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    let at = |row: usize| newest - chrono::TimeDelta::minutes(i64::try_from(row).unwrap_or(0));
    let inside = |row: &usize| from.is_none_or(|from| at(*row) >= from) && to.is_none_or(|to| at(*row) < to);
    let rows: Vec<usize> = (0..PAGES * ROWS).filter(inside).collect();
    let data: Vec<Value> = rows
        .iter()
        .skip((page - 1) * limit)
        .take(limit)
        .map(|row| json!({"id": row, "key": format!("k{}", row % 50), "at": at(*row).to_rfc3339(), "text": "some text of a row"}))
        .collect();
    Json(
        json!({"data": data, "meta": {"page": page, "totalPages": rows.len().div_ceil(limit), "totalItems": rows.len()}}),
    )
}
