//! What surrounds every request: its id, time limit, log line, figures, security headers, and panics.
//!
//! Must hold: a log line has the route and never a value of its path, query or body; every answer has an id and the
//! security headers.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::api::sql::LONGEST_QUERY;
use crate::auth::CallerName;
use crate::error::ApiError;
use crate::state::WebState;

const INGEST: &str = "/v1/ingest";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of every answer. The pages need nothing but their own scripts, styles and pictures.
const SECURITY: [(HeaderName, HeaderValue); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), microphone=(), geolocation=()"),
    ),
];

/// How long a handler may take until it answers; what streams after that has limits of its own.
fn patience(state: &WebState, route: &str) -> Duration {
    let options = state.options();
    match route {
        "/api/v1/sql" => options.request_timeout + options.query_patience + LONGEST_QUERY,
        "/api/v1/detectors/dry-run"
        | "/api/v1/settings/preview"
        | "/api/v1/jobs/{name}/run"
        | "/api/v1/sessions/{id}/analyze" => options.job_timeout,
        // Langfuse may need a while until it has a trace; then a model is asked. An approver waits for Langfuse.
        "/v1/signals/{id}/explain" | "/v1/signals/{id}/apply-fix" => 2 * options.request_timeout,
        _ => options.request_timeout,
    }
}

/// Observes one request from outside.
pub(crate) async fn observe(State(state): State<WebState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = Uuid::now_v7().to_string();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("(none)", |path| path.as_str()).to_owned();
    let span = tracing::info_span!("request", request_id = %id, %method, %route);
    let limit = patience(&state, &route);

    let answered = async { tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| too_slow(limit)) };
    let mut response = answered.instrument(span.clone()).await;

    let took = started.elapsed();
    let caller = response.extensions().get::<CallerName>().map_or("-", |name| name.0.as_str()).to_owned();
    let status = response.status().as_u16();
    let _entered = span.enter();
    if route == INGEST && status == StatusCode::ACCEPTED {
        // Thousands a second: what was taken is in the figures, what was not is in the log.
        tracing::debug!(status, milliseconds = took.as_millis(), %caller, "answered");
    } else {
        tracing::info!(status, milliseconds = took.as_millis(), %caller, "answered");
    }
    state.metrics().answered(&method, &route, status, took);
    dress(&mut response, &id);
    response
}

fn dress(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.insert(name, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

fn too_slow(limit: Duration) -> Response {
    ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", format!("the request was not done within {limit:?}"))
        .into_response()
}

/// Turns a panic of a handler into an answer. It is a bug, and the log says where.
pub(crate) async fn catch_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!("a handler panicked");
            ApiError::internal().into_response()
        }
    }
}
