//! Datadog, under `/datadog`: monitors, events, logs, incidents, metrics, error tracking.
//!
//! Owns: routing, both keys, rate-limit headers, error shapes.
//! Must hold: a last page of a search has a cursor too, which leads to an empty page without `meta`; monitors come all
//! at once unless a page is asked for; a 429 has no Retry-After (facts: vendors, Datadog).

mod reads;
mod search;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::auth::Auth;
use crate::clock::Clock;
use crate::dataset::{Collection, Dataset};
use crate::http::{Call, Reply};
use crate::shelf::Shelf;

/// Requests per period that the headers speak of. They inform; only a fault throttles.
const LIMIT: u64 = 1000;
const PERIOD: u64 = 3600;

/// What Datadog holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub monitors: Shelf,
    pub events: Shelf,
    pub logs: Shelf,
    pub incidents: Shelf,
    pub metrics: Shelf,
    pub issues: Shelf,
}

impl Store {
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        Self {
            monitors: Shelf::take(dataset, Collection::DatadogMonitors, "/created"),
            events: Shelf::take(dataset, Collection::DatadogEvents, "/attributes/timestamp"),
            logs: Shelf::take(dataset, Collection::DatadogLogs, "/attributes/timestamp"),
            incidents: Shelf::take(dataset, Collection::DatadogIncidents, "/attributes/created"),
            metrics: Shelf::take(dataset, Collection::DatadogMetrics, "/attributes/created_at"),
            issues: Shelf::take(dataset, Collection::DatadogErrorTrackingIssues, "/attributes/first_seen"),
        }
    }
}

/// The Datadog stand-in.
#[derive(Debug, Default)]
pub(crate) struct Datadog {
    pub store: Store,
    used: AtomicU64,
}

impl Datadog {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, used: AtomicU64::new(0) }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let reply = match check(call, auth) {
            Err(reply) => *reply,
            Ok(()) => self.answer(call, clock).unwrap_or_else(|refusal| refusal),
        };
        let used = self.used.fetch_add(1, Ordering::Relaxed) % (LIMIT / 2);
        reply
            .header("x-ratelimit-limit", LIMIT.to_string())
            .header("x-ratelimit-period", PERIOD.to_string())
            .header("x-ratelimit-remaining", (LIMIT - 1 - used).to_string())
            .header("x-ratelimit-reset", "60")
            .header("x-ratelimit-name", "simulated")
    }

    fn answer(&self, call: &Call, clock: &Clock) -> Result<Reply, Reply> {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let view = reads::View { store: &self.store, call, horizon: clock.horizon(), now: clock.now() };
        match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["api", "v1", "validate"]) => Ok(Reply::value(200, &json!({"valid": true}))),
            ("GET", ["api", "v1", "monitor"]) => view.monitors(),
            ("GET", ["api", "v1", "monitor", id]) => view.monitor(id),
            ("GET", ["api", "v2", "events"]) => view.search(&self.store.events),
            ("GET", ["api", "v2", "logs", "events"]) => view.search(&self.store.logs),
            ("GET", ["api", "v2", "incidents"]) => view.incidents(),
            ("GET", ["api", "v2", "metrics"]) => view.metrics(),
            ("POST", ["api", "v2", "error-tracking", "issues", "search"]) => view.error_tracking(),
            ("GET" | "POST", _) => Err(refused(404, "Not found")),
            _ => Err(refused(405, "Method not allowed")),
        }
    }
}

fn check(call: &Call, auth: &Auth) -> Result<(), Box<Reply>> {
    if auth.is_off() {
        return Ok(());
    }
    let key = |name: &str| call.header(name).filter(|key| !key.is_empty());
    match (key("dd-api-key"), key("dd-application-key")) {
        (None, _) => Err(Box::new(refused(401, "Unauthorized"))),
        (Some(api), Some(app)) if auth.accepts_datadog(api, app) => Ok(()),
        // Keys that are wrong, or lack a scope, are forbidden.
        _ => Err(Box::new(refused(403, "Forbidden"))),
    }
}

fn refused(status: u16, why: &str) -> Reply {
    Reply::value(status, &json!({ "errors": [why] }))
}

/// Datadog's 429.
pub(crate) fn throttled() -> Reply {
    refused(429, "Too many requests")
        .header("x-ratelimit-limit", LIMIT.to_string())
        .header("x-ratelimit-period", PERIOD.to_string())
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", "1")
        .header("x-ratelimit-name", "simulated")
}

/// What a search has found when it is given up: half of the rows, and a status that says so.
pub(crate) fn part_of(reply: &Reply) -> Option<Reply> {
    let mut body: serde_json::Value = serde_json::from_str(&reply.body).ok()?;
    let rows = body.get_mut("data")?.as_array_mut()?;
    rows.truncate(rows.len() / 2);
    body["meta"] = json!({"elapsed": 30_000, "request_id": "simulated", "status": "timeout"});
    let mut part = reply.clone();
    part.body = body.to_string();
    Some(part)
}

/// An error of any status in Datadog's shape.
pub(crate) fn failed(status: u16) -> Reply {
    refused(status, "Internal error")
}
