//! Whether the server can do its work: the store answers, and its writer commits.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;

use crate::state::WebState;

/// Nobody who asks more often makes the store do more.
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_WITHIN: Duration = Duration::from_secs(2);

/// The newest probe.
#[derive(Debug, Default)]
pub(crate) struct LastProbe {
    newest: Option<(Instant, Health)>,
}

/// Minimal: this endpoint answers everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    status: &'static str,
    /// The same in the word of the Dunetrace services.
    db: &'static str,
    /// Whether the store can be read.
    store: bool,
    /// Whether a write is committed.
    writer: bool,
}

pub(crate) async fn health(State(state): State<WebState>) -> Response {
    // One probe at a time; everybody else waits for it and takes its answer.
    let mut last = state.health().lock().await;
    let health = match last.newest {
        Some((at, health)) if at.elapsed() < PROBE_EVERY => health,
        _ => {
            let health = probe(&state).await;
            last.newest = Some((Instant::now(), health));
            health
        }
    };
    drop(last);
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health)).into_response()
}

async fn probe(state: &WebState) -> Health {
    let context = state.context();
    let now = context.clock.now();
    let read = tokio::time::timeout(PROBE_WITHIN, context.store.audit.head(&context.scope)).await;
    // A real write, committed to disk, that leaves one short-lived row: a full disk is seen.
    let remembered = context.store.replay.remember_signature(&context.scope, "health", Duration::from_millis(1), now);
    let written = tokio::time::timeout(PROBE_WITHIN, remembered).await;
    let (store, writer) = (matches!(read, Ok(Ok(_))), matches!(written, Ok(Ok(_))));
    let status = if store && writer { "ok" } else { "failing" };
    Health { status, db: status, store, writer }
}
