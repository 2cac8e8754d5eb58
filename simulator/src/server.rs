//! The HTTP server: from a socket to a vendor's handler and back.
//!
//! Owns: routing by source, the request log, latency, carrying out faults, sending answers.
//! Does not own: what a vendor answers, or the simulator's own endpoints (`control`).

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::stream;
use tokio_util::sync::CancellationToken;

use crate::auth::Auth;
use crate::clock::Clock;
use crate::control;
use crate::datadog::{self, Datadog};
use crate::faults::{Fault, Faults, Source};
use crate::github::{self, Github};
use crate::http::{Call, Params, Reply};
use crate::langfuse::{self, Langfuse};
use crate::linear::{self, Linear};
use crate::llm::{self, Llm};
use crate::log::Log;
use crate::pagerduty::{self, Pagerduty};
use crate::scenario::Truth;
use crate::sentry::{self, Sentry};
use crate::slack::{self, Slack};
use crate::wire::Cutter;

/// Bodies beyond this are refused: a batch of a whole scenario is a few megabytes.
const MAX_BODY: usize = 64 << 20;

/// Everything the server shares between requests.
#[derive(Debug)]
pub(crate) struct Shared {
    pub clock: Clock,
    pub log: Log,
    pub faults: Faults,
    pub auth: Auth,
    pub latency: std::time::Duration,
    pub langfuse: Langfuse,
    pub sentry: Sentry,
    pub github: Github,
    pub slack: Slack,
    pub datadog: Datadog,
    pub pagerduty: Pagerduty,
    pub linear: Linear,
    pub llm: Llm,
    pub truth: Option<Truth>,
    /// Cancelled when the server stops, so that hung requests do not keep it.
    pub stop: CancellationToken,
}

/// The server's routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(entry).with_state(shared)
}

async fn entry(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cutter): ConnectInfo<Cutter>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    let source = path.strip_prefix('/').and_then(|rest| rest.split('/').next()).and_then(Source::from_name);
    match source {
        Some(source) => vendor(&shared, &cutter, source, request).await,
        None => send(own(&shared, request).await),
    }
}

/// Answers one of the simulator's own endpoints.
async fn own(shared: &Shared, request: Request) -> Reply {
    match read_call(request, "").await {
        Ok(call) => control::answer(shared, &call).await,
        Err(reply) => reply,
    }
}

async fn vendor(shared: &Shared, cutter: &Cutter, source: Source, request: Request) -> Response {
    let prefix = format!("/{source}");
    let path = request.uri().path().strip_prefix(&prefix).unwrap_or_default().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let method = request.method().as_str().to_owned();
    let ticket = shared.log.request(source, &method, &path, &query);
    let fault = shared.faults.strike(source, &path);

    if !shared.latency.is_zero() {
        tokio::time::sleep(shared.latency).await;
    }
    match fault {
        Some(Fault::Drop) => {
            cutter.cut_now();
            return Response::default();
        }
        Some(Fault::Hang) => {
            shared.stop.cancelled().await;
            cutter.cut_now();
            return Response::default();
        }
        Some(Fault::Status(_) | Fault::Throttle | Fault::ThrottlePrimary) => {
            let reply = refuse(source, fault);
            shared.log.answered(ticket, reply.status);
            return send(reply);
        }
        None | Some(Fault::DropAnswer | Fault::Truncate | Fault::Partial) => {}
    }

    let mut reply = match read_call(request, &prefix).await {
        Ok(call) => dispatch(shared, source, &call),
        Err(reply) => reply,
    };
    if let Some(body) = reply.wrote.take() {
        shared.log.write(source, &method, &path, body);
    }
    match fault {
        Some(Fault::DropAnswer) => {
            cutter.cut_now();
            Response::default()
        }
        Some(Fault::Truncate | Fault::Partial) => {
            shared.log.answered(ticket, reply.status);
            match part_of(source, &reply).filter(|_| fault == Some(Fault::Partial)) {
                Some(part) => send(part),
                None => send_half(reply, cutter.clone()),
            }
        }
        _ => {
            shared.log.answered(ticket, reply.status);
            send(reply)
        }
    }
}

fn dispatch(shared: &Shared, source: Source, call: &Call) -> Reply {
    let (auth, clock) = (&shared.auth, &shared.clock);
    match source {
        Source::Langfuse => shared.langfuse.handle(call, auth, clock),
        Source::Sentry => shared.sentry.handle(call, auth, clock),
        Source::Github => shared.github.handle(call, auth, clock),
        Source::Slack => shared.slack.handle(call, auth, clock),
        Source::Datadog => shared.datadog.handle(call, auth, clock),
        Source::Pagerduty => shared.pagerduty.handle(call, auth, clock),
        Source::Linear => shared.linear.handle(call, auth, clock),
        Source::Llm => shared.llm.handle(call, auth, clock),
    }
}

/// The answer to a request that a fault refuses.
fn refuse(source: Source, fault: Option<Fault>) -> Reply {
    match (fault, source) {
        (Some(Fault::Status(status)), Source::Langfuse) => langfuse::failed(status),
        (Some(Fault::Status(status)), Source::Sentry) => sentry::failed(status),
        (Some(Fault::Status(status)), Source::Github) => github::failed(status),
        (Some(Fault::Status(status)), Source::Slack) => slack::failed(status),
        (Some(Fault::Status(status)), Source::Datadog) => datadog::failed(status),
        (Some(Fault::Status(status)), Source::Pagerduty) => pagerduty::failed(status),
        (Some(Fault::Status(status)), Source::Linear) => linear::failed(status),
        (Some(Fault::Status(status)), Source::Llm) => llm::failed(status),
        (_, Source::Langfuse) => langfuse::throttled(),
        (_, Source::Sentry) => sentry::throttled(),
        (fault, Source::Github) => github::throttled(fault == Some(Fault::ThrottlePrimary)),
        (_, Source::Slack) => slack::throttled(),
        (_, Source::Datadog) => datadog::throttled(),
        (_, Source::Pagerduty) => pagerduty::throttled(),
        (_, Source::Linear) => linear::throttled(),
        (_, Source::Llm) => llm::throttled(),
    }
}

/// A part of an answer, as a vendor gives it that answers a part with 200; `None` where none does.
fn part_of(source: Source, reply: &Reply) -> Option<Reply> {
    match source {
        Source::Datadog => datadog::part_of(reply),
        Source::Linear => linear::part_of(reply),
        _ => None,
    }
}

async fn read_call(request: Request, prefix: &str) -> Result<Call, Reply> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| Reply::json(r#"{"message":"request body too large or cut off"}"#.to_owned()).with_status(413))?;
    let path = parts.uri.path().strip_prefix(prefix).unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect();
    let host = headers.iter().find(|(name, _)| name == "host").map_or("127.0.0.1", |(_, value)| value.as_str());
    Ok(Call {
        method: parts.method.as_str().to_owned(),
        segments: Call::split(&path),
        query: Params::parse(parts.uri.query().unwrap_or_default()),
        origin: format!("http://{host}"),
        path,
        headers,
        body: body.to_vec(),
    })
}

fn build(reply: &Reply, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    for (name, value) in &reply.headers {
        // A value that is no header (an odd cursor, say) is left out rather than sent broken.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(*name, value);
        }
    }
    response
}

fn send(reply: Reply) -> Response {
    let body = Bytes::from(reply.body.clone());
    build(&reply, Body::from(body))
}

/// Promises the whole body and sends half of it.
fn send_half(reply: Reply, cutter: Cutter) -> Response {
    let length = reply.body.len();
    let bytes = Bytes::from(reply.body.clone());
    let half = bytes.slice(..length / 2);
    let mut sent = false;
    let halves = stream::poll_fn(move |_| {
        if sent {
            // Never the second half: the connection closes once the first has left.
            cutter.cut_after_flush();
            return std::task::Poll::Pending;
        }
        sent = true;
        std::task::Poll::Ready(Some(Ok::<_, Infallible>(half.clone())))
    });
    let mut response = build(&reply, Body::from_stream(halves));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
