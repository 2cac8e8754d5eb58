//! Linear, under `/linear`: its GraphQL endpoint.
//!
//! Owns: the key, rate-limit and complexity headers, error shapes, which lists there are.
//! Must hold: throttling is a 400 with the code RATELIMITED and a reset in milliseconds; archived rows and disabled
//! users are listed only when asked for; a query beyond 10,000 points is refused (facts: vendors, Linear).

mod filter;
mod query;

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::dataset::{Collection, Dataset};
use crate::http::{Call, Reply};
use crate::shelf::{Object, Shelf};
use crate::time::Micros;

/// Requests per hour that the headers speak of. They inform; only a fault throttles.
const LIMIT: u64 = 2500;
/// Most points of one query.
const COMPLEXITY: f64 = 10_000.0;

/// What Linear holds, by the name of the list.
#[derive(Debug, Default)]
pub(crate) struct Store {
    lists: Vec<(&'static str, Shelf)>,
}

impl Store {
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        let lists = [
            ("issues", Collection::LinearIssues),
            ("comments", Collection::LinearComments),
            ("teams", Collection::LinearTeams),
            ("projects", Collection::LinearProjects),
            ("users", Collection::LinearUsers),
            ("cycles", Collection::LinearCycles),
        ];
        Self { lists: lists.map(|(name, collection)| (name, Shelf::take(dataset, collection, "/createdAt"))).into() }
    }

    /// The objects of a list as they are at the clock's time; `None` when there is no such list.
    fn list(&self, name: &str, horizon: Option<Micros>) -> Option<Vec<Value>> {
        let (_, shelf) = self.lists.iter().find(|(list, _)| *list == name)?;
        Some(shelf.visible(horizon).map(|object| as_of(object, horizon)).collect())
    }
}

/// An issue that is completed later is not completed; nothing was changed later.
fn as_of(object: &Object, horizon: Option<Micros>) -> Value {
    let mut value = object.value.clone();
    let Some(now) = horizon else { return value };
    let later = |pointer: &str| object.time(pointer).is_some_and(|at| at > now);
    if later("/updatedAt") {
        value["updatedAt"] = object.value["createdAt"].clone();
    }
    if later("/completedAt") {
        value["completedAt"] = Value::Null;
        if value["state"]["type"] == "completed" {
            value["state"] = json!({"id": "state-started", "name": "In Progress", "type": "started"});
        }
    }
    value
}

/// The Linear stand-in.
#[derive(Debug, Default)]
pub(crate) struct Linear {
    store: Store,
    used: AtomicU64,
}

impl Linear {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, used: AtomicU64::new(0) }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let (reply, cost) = match self.answer(call, auth, clock) {
            Ok((data, cost)) => (Reply::value(200, &json!({ "data": data })), cost),
            Err(refusal) => (*refusal, 0.0),
        };
        let used = self.used.fetch_add(1, Ordering::Relaxed) % (LIMIT / 2);
        reply
            .header("x-ratelimit-requests-limit", LIMIT.to_string())
            .header("x-ratelimit-requests-remaining", (LIMIT - 1 - used).to_string())
            .header("x-ratelimit-requests-reset", (Utc::now().timestamp_millis() + 3_600_000).to_string())
            .header("x-complexity", cost.round().to_string())
    }

    fn answer(&self, call: &Call, auth: &Auth, clock: &Clock) -> Result<(Value, f64), Box<Reply>> {
        if (call.method.as_str(), call.segments.as_slice()) != ("POST", &["graphql".to_owned()]) {
            return Err(Box::new(Reply::value(404, &json!({"error": "Not found"}))));
        }
        let key = call.header("authorization").unwrap_or_default();
        // A personal key goes bare; only OAuth tokens come with Bearer.
        if key.starts_with("Bearer lin_api_") {
            let why = "It looks like you're trying to use an API key as a Bearer token. Remove the Bearer prefix from the Authorization header.";
            return Err(refused(400, "INPUT_ERROR", why));
        }
        if !auth.is_off() && !auth.accepts_linear(key.strip_prefix("Bearer ").unwrap_or(key)) {
            return Err(refused(401, "AUTHENTICATION_ERROR", "Authentication required, not authenticated"));
        }
        let body = call.json().unwrap_or_default();
        let text = body["query"].as_str().unwrap_or_default();
        let wrong = |why: String| refused(400, "GRAPHQL_VALIDATION_FAILED", &why);
        let query = query::Query::parse(text, &body["variables"]).map_err(wrong)?;
        let cost = query.cost();
        if cost > COMPLEXITY {
            return Err(refused(400, "INVALID_INPUT", &format!("Query too complex ({cost:.0} points; at most 10000)")));
        }
        let data = query.run(|name| self.store.list(name, clock.horizon())).map_err(wrong)?;
        Ok((data, cost))
    }
}

fn refused(status: u16, code: &str, why: &str) -> Box<Reply> {
    Box::new(Reply::value(status, &json!({"errors": [{"message": why, "extensions": {"code": code}}]})))
}

/// Linear's "too fast".
pub(crate) fn throttled() -> Reply {
    refused(400, "RATELIMITED", "Rate limit exceeded")
        .header("x-ratelimit-requests-limit", LIMIT.to_string())
        .header("x-ratelimit-requests-remaining", "0")
        .header("x-ratelimit-requests-reset", (Utc::now().timestamp_millis() + 1_000).to_string())
}

/// An answer with errors beside its data: half of the rows of each list are there.
pub(crate) fn part_of(reply: &Reply) -> Option<Reply> {
    let mut body: Value = serde_json::from_str(&reply.body).ok()?;
    for list in body.get_mut("data")?.as_object_mut()?.values_mut() {
        if let Some(nodes) = list.get_mut("nodes").and_then(Value::as_array_mut) {
            nodes.truncate(nodes.len() / 2);
        }
    }
    let message = "A part of the data could not be read";
    body["errors"] = json!([{"message": message, "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]);
    let mut part = reply.clone();
    part.body = body.to_string();
    Some(part)
}

/// An error of any status in Linear's shape.
pub(crate) fn failed(status: u16) -> Reply {
    *refused(status, "INTERNAL_SERVER_ERROR", "Internal server error")
}
