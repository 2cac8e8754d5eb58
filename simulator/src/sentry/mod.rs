//! Sentry, under `/sentry`: the web API (`/api/0/…`) and the ingest endpoints of a DSN.
//!
//! Owns: routing, credentials, rate-limit headers, error shapes.
//! Must hold: every list answers with a Link header; counts are strings; without `query` only
//! unresolved issues are listed (facts: vendors, Sentry).

mod ingest;
mod page;
mod reads;
mod search;
mod store;

pub(crate) use store::Store;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use chrono::Utc;
use serde_json::json;

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Reply};

use reads::View;

/// Requests per second that the headers speak of. They inform; only a fault throttles.
const LIMIT: u64 = 40;
const CONCURRENT: u64 = 25;

/// The Sentry stand-in.
#[derive(Debug, Default)]
pub(crate) struct Sentry {
    pub store: RwLock<Store>,
    used: AtomicU64,
}

impl Sentry {
    pub(crate) fn new(store: Store) -> Self {
        Self { store: RwLock::new(store), used: AtomicU64::new(0) }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let reply = match (call.method.as_str(), segments.as_slice()) {
            ("POST", ["api", project, kind @ ("store" | "envelope")]) => {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::receive(&mut store, call, project, kind, clock.now());
            }
            (method, ["api", "0", rest @ ..]) => match check(call, auth) {
                Err(reply) => *reply,
                Ok(()) => self.api(method, rest, call, clock),
            },
            _ => not_found(),
        };
        self.with_limits(reply)
    }

    fn api(&self, method: &str, rest: &[&str], call: &Call, clock: &Clock) -> Reply {
        if method == "POST" {
            if let ["organizations", _, "releases", version, "deploys"] = rest {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::deploy(&mut store, call, version, clock.now());
            }
            if let ["organizations", _, "releases"] = rest {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::release(&mut store, call, clock.now());
            }
        }
        if method != "GET" {
            return Reply::value(405, &json!({"detail": format!("Method \"{method}\" not allowed.")}));
        }
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let view = View { store: &store, call, horizon: clock.horizon(), now: clock.now() };
        let answer = match rest {
            ["organizations", org, "projects"] => view.projects(org),
            ["organizations", org, "issues"] => view.issues(org, None),
            ["organizations", org, "issues", id] => view.issue(Some(org), id),
            ["issues", id] => view.issue(None, id),
            ["organizations", org, "issues", id, "events"] => view.issue_events(Some(org), id),
            ["issues", id, "events"] => view.issue_events(None, id),
            ["organizations", org, "issues", id, "events", event] => view.issue_event(Some(org), id, event),
            ["issues", id, "events", event] => view.issue_event(None, id, event),
            ["organizations", org, "releases"] => view.releases(org, None),
            ["organizations", org, "releases", version] => view.release(org, version),
            ["organizations", org, "releases", version, "deploys"] => view.deploys(org, version),
            ["projects", org, slug] => view.project(org, slug),
            ["projects", org, slug, "issues"] => view.issues(org, Some(slug)),
            ["projects", org, slug, "events"] => view.project_events(org, slug),
            ["projects", org, slug, "releases"] => view.releases(org, Some(slug)),
            ["projects", org, slug, "keys"] => view.keys(org, slug),
            _ => Err(not_found()),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn with_limits(&self, reply: Reply) -> Reply {
        let used = self.used.fetch_add(1, Ordering::Relaxed) % (LIMIT / 2);
        reply
            .header("x-sentry-rate-limit-limit", LIMIT.to_string())
            .header("x-sentry-rate-limit-remaining", (LIMIT - 1 - used).to_string())
            .header("x-sentry-rate-limit-reset", (Utc::now().timestamp() + 1).to_string())
            .header("x-sentry-rate-limit-concurrentlimit", CONCURRENT.to_string())
            .header("x-sentry-rate-limit-concurrentremaining", (CONCURRENT - 1).to_string())
    }
}

fn check(call: &Call, auth: &Auth) -> Result<(), Box<Reply>> {
    if auth.is_off() {
        return Ok(());
    }
    let refused = |detail: &str| {
        Box::new(Reply::value(401, &json!({ "detail": detail })).header("www-authenticate", r#"Bearer realm="api""#))
    };
    if call.header("authorization").is_none() {
        return Err(refused("Authentication credentials were not provided."));
    }
    match call.credential("bearer") {
        Some(token) if auth.accepts_sentry(token) => Ok(()),
        _ => Err(refused("Invalid token")),
    }
}

fn not_found() -> Reply {
    Reply::value(404, &json!({"detail": "The requested resource does not exist"}))
}

fn bad_request(detail: &str) -> Reply {
    Reply::value(400, &json!({ "detail": detail }))
}

/// Sentry's 429.
pub(crate) fn throttled() -> Reply {
    let reset = Utc::now().timestamp() + 1;
    Reply::value(
        429,
        &json!({"detail": "You are attempting to use this endpoint too frequently. Limit is 40 requests in 1 seconds"}),
    )
    .header("retry-after", "1")
    .header("x-sentry-rate-limit-limit", LIMIT.to_string())
    .header("x-sentry-rate-limit-remaining", "0")
    .header("x-sentry-rate-limit-reset", reset.to_string())
    .header("x-sentry-rate-limit-concurrentlimit", CONCURRENT.to_string())
    .header("x-sentry-rate-limit-concurrentremaining", CONCURRENT.to_string())
}

/// An error of any status in Sentry's shape.
pub(crate) fn failed(status: u16) -> Reply {
    Reply::value(status, &json!({"detail": "Internal Error", "errorId": "simulated-fault"}))
}
