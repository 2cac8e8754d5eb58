use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use url::Url;

use crate::http::{RawAnswer, Transport, TransportError};

/// A request the toy got.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// As it was on the wire, escapes included.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    /// What was posted; null for a GET.
    pub(crate) body: Value,
}

impl Asked {
    /// The parameter `name`.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The parameter `name` as a number.
    pub(crate) fn number(&self, name: &str) -> Option<usize> {
        self.param(name).and_then(|text| text.parse().ok())
    }
}

/// What the toy answers.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Json(Value),
    With(u16, Vec<(&'static str, String)>, String),
    /// 200 with a body that may be anything.
    Bytes(Vec<u8>),
    /// The connection breaks.
    Drop,
    /// Nothing, for ever.
    Hang,
    /// More than anyone takes.
    TooLarge,
    /// The first half of the body, then the connection breaks.
    CutShort(Value),
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self::With(status, Vec::new(), r#"{"message":"no"}"#.to_owned())
    }
}

type Handler = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The toy vendor.
pub(crate) struct Toy {
    handler: Box<Handler>,
    latency: Duration,
    log: Mutex<Vec<Asked>>,
    faults: Mutex<Vec<Reply>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl std::fmt::Debug for Toy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Toy")
    }
}

impl Toy {
    pub(crate) fn new(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Self::slow(Duration::ZERO, handler)
    }

    /// A toy that takes `latency` for every answer.
    pub(crate) fn slow(latency: Duration, handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            handler: Box::new(handler),
            latency,
            log: Mutex::default(),
            faults: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        })
    }

    /// The next requests are answered so instead.
    pub(crate) fn misbehave(&self, faults: impl IntoIterator<Item = Reply>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// What the toy would answer, without counting.
    pub(crate) fn answer(&self, asked: &Asked) -> Reply {
        (self.handler)(asked)
    }

    /// What was asked so far.
    pub(crate) fn log(&self) -> Vec<Asked> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests came.
    pub(crate) fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The most requests that were under way at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    fn reply(&self, asked: Asked) -> Reply {
        self.log.lock().unwrap().push(asked.clone());
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            if faults.is_empty() { None } else { Some(faults.remove(0)) }
        };
        fault.unwrap_or_else(|| (self.handler)(&asked))
    }

    /// Serves over a real socket; the base URL.
    pub(crate) async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let toy = Arc::clone(self);
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let toy = Arc::clone(&toy);
            async move {
                let url = Url::parse(&format!("http://toy{}", request.uri())).unwrap();
                let headers = request.headers().clone();
                let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
                let asked = Asked {
                    path: url.path().to_owned(),
                    query: url.query_pairs().into_owned().collect(),
                    headers,
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                tokio::time::sleep(toy.latency).await;
                response(toy.reply(asked)).await
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        format!("http://{address}")
    }
}

async fn response(reply: Reply) -> Response {
    let build = |status: u16, headers: Vec<(&'static str, String)>, body: Body| {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().append(HeaderName::from_static(name), value.parse().unwrap());
        }
        response
    };
    match reply {
        Reply::Json(value) => build(200, Vec::new(), Body::from(value.to_string())),
        Reply::With(status, headers, body) => build(status, headers, Body::from(body)),
        Reply::Bytes(body) => build(200, Vec::new(), Body::from(body)),
        Reply::Hang => futures::future::pending().await,
        Reply::TooLarge => build(200, Vec::new(), Body::from(" ".repeat(65 * 1024 * 1024))),
        Reply::Drop => build(200, Vec::new(), Body::from_stream(futures::stream::iter([Err::<Bytes, _>("gone")]))),
        Reply::CutShort(value) => {
            let text = value.to_string();
            let half = Bytes::from(text[..text.len() / 2].to_owned());
            let parts = futures::stream::iter([Ok(half)]).chain(futures::stream::iter([Err("gone")]));
            build(200, vec![("content-length", text.len().to_string())], Body::from_stream(parts))
        }
    }
}

/// Counts a request as under way until it is answered or dropped.
struct UnderWay(Arc<Toy>);

impl UnderWay {
    fn new(toy: &Arc<Toy>) -> Self {
        let now = toy.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        toy.most_under_way.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(toy))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The toy in process.
#[derive(Debug)]
pub(crate) struct InProcess(pub(crate) Arc<Toy>);

impl Transport for InProcess {
    fn get(&self, url: Url, headers: HeaderMap) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        self.ask(url, headers, Value::Null)
    }

    fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        self.ask(url, headers, serde_json::from_slice(&body).unwrap())
    }
}

impl InProcess {
    fn ask(&self, url: Url, headers: HeaderMap, body: Value) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        let toy = Arc::clone(&self.0);
        Box::pin(async move {
            let _under_way = UnderWay::new(&toy);
            let query = url.query_pairs().into_owned().collect();
            let asked = Asked { path: url.path().to_owned(), query, headers, body };
            let reply = toy.reply(asked);
            tokio::time::sleep(toy.latency).await;
            let answer = |status: u16, pairs: Vec<(&'static str, String)>, body: String| {
                let mut headers = HeaderMap::new();
                for (name, value) in pairs {
                    headers.append(HeaderName::from_static(name), value.parse().unwrap());
                }
                Ok(RawAnswer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from(body) })
            };
            match reply {
                Reply::Json(value) => answer(200, Vec::new(), value.to_string()),
                Reply::With(status, headers, body) => answer(status, headers, body),
                Reply::Bytes(body) => {
                    let headers = HeaderMap::new();
                    Ok(RawAnswer { status: StatusCode::OK, headers, body: Bytes::from(body) })
                }
                Reply::Drop => Err(TransportError::Connection("connection reset".to_owned())),
                Reply::Hang => futures::future::pending().await,
                Reply::TooLarge => Err(TransportError::TooLarge),
                Reply::CutShort(value) => {
                    let text = value.to_string();
                    answer(200, Vec::new(), text[..text.len() / 2].to_owned())
                }
            }
        })
    }
}
