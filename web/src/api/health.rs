//! Whether the server can do its work: the store answers, and its writer commits; and which live run detectors do not judge.
//!
//! Must hold: it answers everybody, so that no word of a row or of an error is in it.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;
use tripline_store::{Scope, StoreError};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    status: &'static str,
    /// The same in the word of the Dunetrace services.
    db: &'static str,
    /// Whether the store can be read.
    store: bool,
    /// Whether a write is committed.
    writer: bool,
    /// Live run detectors of the installation's own that fail: runs are judged without them. Why is told to those with a key
    /// (`GET /api/v1/detectors`). `None` when it could not be read.
    failing_detectors: Option<Vec<FailingDetector>>,
}

/// A live run detector that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct FailingDetector {
    name: String,
    since: DateTime<Utc>,
    /// Runs that it did not judge since then.
    runs_not_judged: i64,
}

pub(crate) async fn health(State(state): State<WebState>) -> Response {
    // One probe at a time; everybody else waits for it and takes its answer.
    let mut last = state.health().lock().await;
    let health = match &last.newest {
        Some((at, health)) if at.elapsed() < PROBE_EVERY => health.clone(),
        _ => {
            let health = probe(&state).await;
            last.newest = Some((Instant::now(), health.clone()));
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
    let failing = tokio::time::timeout(PROBE_WITHIN, failing(&state.context().store)).await;
    let failing_detectors = failing.ok().and_then(Result::ok);
    Health { status, db: status, store, writer, failing_detectors }
}

/// The live run detectors that fail, in any project.
async fn failing(store: &tripline_store::Store) -> Result<Vec<FailingDetector>, StoreError> {
    let mut failing: Vec<FailingDetector> = Vec::new();
    for project in store.projects.list().await? {
        for failure in store.runs.detector_failures(&Scope::project(project.id)).await? {
            if !failure.live {
                continue;
            }
            match failing.iter_mut().find(|known| known.name == failure.detector) {
                Some(known) => {
                    known.since = known.since.min(failure.failed_since);
                    known.runs_not_judged += failure.runs_not_judged;
                }
                None => failing.push(FailingDetector {
                    name: failure.detector,
                    since: failure.failed_since,
                    runs_not_judged: failure.runs_not_judged,
                }),
            }
        }
    }
    Ok(failing)
}
