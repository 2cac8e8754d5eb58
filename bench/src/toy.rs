//! The toy vendor (as two sources, `toy` and `other`): listings by number and by cursor, 50 ms per request, every request
//! counted; and a long and a wide listing without delay or count, for what rows cost here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tripline_connectors::{ConnectorOptions, Connectors};
use tripline_engine::{Engine, EngineOptions, Environment, SourceEntry, SystemClock};

pub(crate) const PAGES: usize = 100;
pub(crate) const ROWS: usize = 100;
pub(crate) const LATENCY: Duration = Duration::from_millis(50);
pub(crate) const CONCURRENCY: usize = 8;

/// The thread of a vendor apart.
pub(crate) const VENDOR: &str = "vendor";
/// Columns of the wide table.
pub(crate) const WIDE: usize = 400;
/// Pages of the wide table and of the long one, and rows of each of them.
pub(crate) const WIDE_PAGES: usize = 20;
pub(crate) const LONG_PAGES: usize = 1000;
const LONG_ROWS: usize = 1000;
/// Rows of the table that brings time windows.
pub(crate) const MOMENTS: usize = 12;

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
    columns: &columns
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
        sorts:
          - { column: id, direction: desc, params: { sort: id } }
        filters:
          at: { lower: from, upper: to, format: iso_ms }
  feed:
    description: The same rows, by cursor only.
    guide: A toy.
    primary_key: [id]
    columns: *columns
    endpoints:
      - name: feed
        path: /feed
        rows: data
        pagination: { type: cursor, param: cursor, next: meta.next }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: desc }
        filters:
          at: { lower: from, upper: to, format: iso_ms }
  moments:
    description: Twelve times, far apart.
    guide: A toy.
    primary_key: [id]
    columns: *columns
    endpoints:
      - { name: moments, path: /moments, rows: data }
  items:
    description: Items of a key.
    guide: A toy.
    primary_key: [key, id]
    required: [key]
    columns:
      key: { type: text, from: key, about: Key }
      id: { type: int, about: Id }
    endpoints:
      - { name: items, path: '/keys/{{key}}/items', rows: data }
  silence:
    description: Nobody answers.
    guide: A toy.
    primary_key: [id]
    columns: *columns
    endpoints:
      - { name: silence, path: /silence, rows: data }
  long:
    description: A million rows.
    guide: A toy.
    primary_key: [id]
    columns: *columns
    endpoints:
      - name: long
        path: /long
        rows: data
        pagination: { type: page, param: page, start: 1, total_pages: meta.totalPages }
        page_size: { param: limit, max: 1000 }
  wide:
    description: Many columns.
    guide: A toy.
    primary_key: [id]
    columns:
      id: { type: int, about: Row number }
COLUMNS    endpoints:
      - name: wide
        path: /wide
        rows: data
        pagination: { type: page, param: page, start: 1, total_pages: meta.totalPages }
";

fn spec(name: &str) -> String {
    let columns: String = (1..WIDE).map(|i| format!("      c{i}: {{ type: text, about: Column }}\n")).collect();
    SPEC.replace("NAME", name).replace("COLUMNS", &columns)
}

/// A running toy.
pub(crate) struct Toy {
    pub(crate) url: String,
    requests: Arc<Counters>,
}

#[derive(Default)]
struct Counters {
    requests: AtomicUsize,
    /// Whether requests fail now and then.
    faulty: AtomicBool,
}

#[derive(Default, serde::Deserialize)]
struct Ask {
    page: Option<usize>,
    limit: Option<usize>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<usize>,
    sort: Option<String>,
}

impl Toy {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let (toy, (listener, app)) = Self::new().await?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(toy)
    }

    /// The same on a thread of its own, named [`VENDOR`], so that its work can be told from ours.
    pub(crate) async fn apart() -> std::io::Result<Self> {
        let (toy, (listener, app)) = Self::new().await?;
        let listener = listener.into_std()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(VENDOR.to_owned()).spawn(move || {
            runtime.block_on(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await })
        })?;
        Ok(toy)
    }

    async fn new() -> std::io::Result<(Self, (tokio::net::TcpListener, Router))> {
        let requests = Arc::new(Counters::default());
        let wide = Bytes::from(wide_page().to_string());
        let app = Router::new()
            .route("/rows", get(listing))
            .route("/feed", get(listing))
            .route("/moments", get(moments))
            .route("/keys/{key}/items", get(items))
            .route("/silence", get(std::future::pending::<()>))
            .route("/long", get(long))
            .route("/wide", get(move || std::future::ready(wide.clone())))
            .with_state(Arc::clone(&requests));
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok((Self { url, requests }, (listener, app)))
    }

    /// Requests since the last call.
    pub(crate) fn take_requests(&self) -> usize {
        self.requests.requests.swap(0, Ordering::SeqCst)
    }

    /// From now on every tenth request is throttled, one gets a 503 and one no answer; or none.
    pub(crate) fn misbehave(&self, faulty: bool) {
        self.requests.faulty.store(faulty, Ordering::SeqCst);
    }

    /// A new engine with nothing cached.
    pub(crate) fn engine(&self) -> Result<Engine, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        for name in ["toy", "other"] {
            std::fs::write(folder.path().join(format!("{name}.yaml")), spec(name))?;
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

/// When a row happened.
fn at(row: usize) -> chrono::DateTime<chrono::Utc> {
    let newest = chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000);
    newest - chrono::TimeDelta::minutes(i64::try_from(row).unwrap_or(0))
}

fn row(row: usize) -> Value {
    json!({"id": row, "key": format!("k{}", row % 50), "at": at(row).to_rfc3339(), "text": "some text of a row"})
}

/// Counts a request, takes the vendor's time, and fails where it should.
async fn arrive(counters: &Counters) -> Option<Response> {
    let number = counters.requests.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(LATENCY).await;
    if !counters.faulty.load(Ordering::SeqCst) {
        return None;
    }
    match number {
        5 => Some(StatusCode::SERVICE_UNAVAILABLE.into_response()),
        17 => {
            let broken = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
            Some(Body::from_stream(broken).into_response())
        }
        n if n % 10 == 9 => Some((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response()),
        _ => None,
    }
}

/// Both listings: by page number, and by cursor.
async fn listing(State(counters): State<Arc<Counters>>, uri: Uri, Query(ask): Query<Ask>) -> Response {
    if let Some(failure) = arrive(&counters).await {
        return failure;
    }
    let limit = ask.limit.unwrap_or(30).clamp(1, ROWS);
    let time = |text: Option<String>| text.and_then(|t| t.parse::<chrono::DateTime<chrono::Utc>>().ok());
    let (from, to) = (time(ask.from), time(ask.to));
    let inside = |row: &usize| from.is_none_or(|from| at(*row) >= from) && to.is_none_or(|to| at(*row) < to);
    let mut rows: Vec<usize> = (0..PAGES * ROWS).filter(inside).collect();
    if ask.sort.is_some() {
        rows.reverse();
    }
    let by_cursor = uri.path() == "/feed";
    let skipped = if by_cursor { ask.cursor.unwrap_or(0) } else { (ask.page.unwrap_or(1).max(1) - 1) * limit };
    let data: Vec<Value> = rows.iter().skip(skipped).take(limit).map(|n| row(*n)).collect();
    let next = (skipped + limit < rows.len()).then(|| (skipped + limit).to_string());
    let meta = if by_cursor { json!({ "next": next }) } else { json!({"totalPages": rows.len().div_ceil(limit)}) };
    Json(json!({"data": data, "meta": meta})).into_response()
}

async fn moments(State(counters): State<Arc<Counters>>) -> Response {
    arrive(&counters).await;
    let data: Vec<Value> = (0..MOMENTS).map(|i| row(100 + i * 800)).collect();
    Json(json!({ "data": data })).into_response()
}

async fn items(State(counters): State<Arc<Counters>>, Path(key): Path<String>) -> Response {
    arrive(&counters).await;
    // The hostile key has rows of its own, so that whoever asks can tell that it arrived whole.
    let data = if key == "../_stats" { json!([{"id": 77}]) } else { json!([{"id": 1}, {"id": 2}]) };
    Json(json!({ "data": data })).into_response()
}

async fn long(Query(ask): Query<Ask>) -> Json<Value> {
    let first = (ask.page.unwrap_or(1).max(1) - 1) * LONG_ROWS;
    let data: Vec<Value> = (first..first + LONG_ROWS).map(row).collect();
    Json(json!({"data": data, "meta": {"totalPages": LONG_PAGES}}))
}

fn wide_page() -> Value {
    let columns = |n: usize| {
        let values = (1..WIDE).map(|i| (format!("c{i}"), Value::from(format!("value {i} of row {n}"))));
        std::iter::once(("id".to_owned(), Value::from(n))).chain(values).collect::<serde_json::Map<_, _>>()
    };
    let data: Vec<Value> = (0..ROWS).map(|n| Value::Object(columns(n))).collect();
    json!({"data": data, "meta": {"totalPages": WIDE_PAGES}})
}
