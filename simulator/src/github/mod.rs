//! GitHub, under `/github`: the REST API of repositories.
//!
//! Owns: routing, credentials, rate-limit headers, conditional requests, error shapes.
//! Must hold: an unknown repository is a 404, a bad token a 401, an unknown API version a 400; a page's Link stays on this host;
//! an unchanged answer to `If-None-Match` is a 304 that costs nothing of the limit.

mod page;
mod reads;
mod records;
mod search;
pub(crate) mod shapes;
mod store;
mod writes;

pub(crate) use store::Store;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use chrono::Utc;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Reply};
use crate::time::Micros;

use store::Place;

const LIMIT: u64 = 5000;
const ANONYMOUS_LIMIT: u64 = 60;
/// Versions of the API: the one that is served where none is named, and the one that leaves fields out.
const VERSION: &str = "2022-11-28";
const NEWER_VERSION: &str = "2026-03-10";
const DOCS: &str = "https://docs.github.com/rest";

/// The GitHub stand-in.
#[derive(Debug, Default)]
pub(crate) struct Github {
    pub store: RwLock<Store>,
    used: AtomicU64,
    /// Repositories by the id that Link headers name them with.
    names: Mutex<HashMap<u64, (String, String)>>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Anonymous,
    Known,
}

impl Github {
    pub(crate) fn new(store: Store) -> Self {
        Self { store: RwLock::new(store), ..Self::default() }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let version = match call.header("x-github-api-version") {
            None | Some(VERSION) => VERSION,
            Some(NEWER_VERSION) => NEWER_VERSION,
            Some(other) => {
                let message =
                    format!("{other} is not a valid API version. Supported versions: {VERSION}, {NEWER_VERSION}");
                return error(400, &message);
            }
        };
        let selected = |reply: Reply| reply.header("x-github-api-version-selected", version);
        let caller = match caller(call, auth) {
            Ok(caller) => caller,
            Err(reply) => return selected(self.with_limits(reply, Caller::Known, true)),
        };
        let mut reply = self.answer(call, caller, clock);
        let is_read = call.method == "GET" && reply.status == 200;
        if is_read && version == NEWER_VERSION {
            leave_out_old_fields(&mut reply);
        }
        let reply = if is_read { conditional(call, reply) } else { reply };
        let costs = reply.status != 304;
        selected(self.with_limits(reply, caller, costs))
    }

    fn answer(&self, call: &Call, caller: Caller, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let (owner, repo, rest) = match segments.as_slice() {
            ["repos", owner, repo, rest @ ..] => ((*owner).to_owned(), (*repo).to_owned(), rest),
            ["repositories", id, rest @ ..] => match self.named(id) {
                Some((owner, repo)) => (owner, repo, rest),
                None => return not_found(),
            },
            ["search", "issues"] => {
                let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
                return search::issues(&store, call, clock.horizon());
            }
            ["rate_limit"] => return rate_limit(self.used.load(Ordering::Relaxed)),
            ["user"] => return Reply::value(200, &writes::bot()),
            _ => return not_found(),
        };
        let scope = Scope {
            place: Place::new(&owner, &repo),
            id: self.remember(&owner, &repo),
            owner,
            repo,
            horizon: clock.horizon(),
            now: clock.now(),
        };
        if call.method == "GET" {
            let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
            if !store.knows(&scope.place) {
                return not_found();
            }
            return reads::answer(&store, &scope, rest, call);
        }
        if caller == Caller::Anonymous {
            return error(401, "Requires authentication");
        }
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        if !store.knows(&scope.place) {
            return not_found();
        }
        writes::answer(&mut store, &scope, rest, call)
    }

    fn remember(&self, owner: &str, repo: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (owner.to_lowercase(), repo.to_lowercase()).hash(&mut hasher);
        let id = hasher.finish() % 1_000_000_000;
        self.names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(id)
            .or_insert_with(|| (owner.to_owned(), repo.to_owned()));
        id
    }

    fn named(&self, id: &str) -> Option<(String, String)> {
        let id = id.parse().ok()?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    fn with_limits(&self, reply: Reply, caller: Caller, costs: bool) -> Reply {
        let limit = match caller {
            Caller::Known => LIMIT,
            Caller::Anonymous => ANONYMOUS_LIMIT,
        };
        let used = self.used.fetch_add(u64::from(costs), Ordering::Relaxed);
        // The figures inform; only a fault throttles, so they never run out.
        let used = used % (limit / 2);
        let reset = (Utc::now().timestamp() / 3600 + 1) * 3600;
        reply
            .header("x-ratelimit-limit", limit.to_string())
            .header("x-ratelimit-remaining", (limit - used).to_string())
            .header("x-ratelimit-used", used.to_string())
            .header("x-ratelimit-reset", reset.to_string())
            .header("x-ratelimit-resource", "core")
            .header("x-github-media-type", "github.v3; format=json")
    }
}

/// One request's repository and time.
struct Scope {
    place: Place,
    owner: String,
    repo: String,
    id: u64,
    horizon: Option<Micros>,
    now: Micros,
}

impl Scope {
    /// The repository's API address on this host.
    fn api(&self, call: &Call) -> String {
        format!("{}/github/repos/{}/{}", call.origin, self.owner, self.repo)
    }

    /// The repository's web address.
    fn html(&self) -> String {
        format!("https://github.com/{}/{}", self.owner, self.repo)
    }

    /// The address that Link headers name: the repository by id.
    fn link_base(&self, call: &Call, rest: &[&str]) -> String {
        let path: Vec<String> = rest
            .iter()
            .map(|part| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string())
            .collect();
        format!("{}/github/repositories/{}/{}", call.origin, self.id, path.join("/"))
    }
}

/// What the newer version of the API no longer has.
fn leave_out_old_fields(reply: &mut Reply) {
    fn without(value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(without),
            Value::Object(fields) => {
                for old in ["assignee", "merge_commit_sha", "rate"] {
                    fields.remove(old);
                }
                fields.get_mut("items").into_iter().for_each(without);
            }
            _ => {}
        }
    }
    if let Ok(mut body) = serde_json::from_str::<Value>(&reply.body) {
        without(&mut body);
        reply.body = body.to_string();
    }
}

fn caller(call: &Call, auth: &Auth) -> Result<Caller, Reply> {
    if auth.is_off() {
        return Ok(Caller::Known);
    }
    if call.header("authorization").is_none() {
        return Ok(Caller::Anonymous);
    }
    let token = call.credential("bearer").or_else(|| call.credential("token"));
    match token {
        Some(token) if auth.accepts_github(token) => Ok(Caller::Known),
        _ => Err(error(401, "Bad credentials")),
    }
}

fn conditional(call: &Call, reply: Reply) -> Reply {
    let mut hasher = DefaultHasher::new();
    reply.body.hash(&mut hasher);
    let etag = format!("W/\"{:016x}\"", hasher.finish());
    let matches = call.header("if-none-match").is_some_and(|sent| {
        sent.split(',').any(|one| {
            let one = one.trim();
            one == "*" || one.trim_start_matches("W/") == etag.trim_start_matches("W/")
        })
    });
    let mut reply = reply.header("etag", etag).header("cache-control", "private, max-age=60, s-maxage=60");
    if matches {
        reply.status = 304;
        reply.body.clear();
    }
    reply
}

fn error(status: u16, message: &str) -> Reply {
    Reply::value(status, &json!({"message": message, "documentation_url": DOCS, "status": status.to_string()}))
}

fn not_found() -> Reply {
    error(404, "Not Found")
}

/// 422 with GitHub's list of what is wrong.
fn invalid(resource: &str, field: &str, code: &str) -> Reply {
    Reply::value(
        422,
        &json!({"message": "Validation Failed",
                "errors": [{"resource": resource, "field": field, "code": code}],
                "documentation_url": DOCS, "status": "422"}),
    )
}

fn rate_limit(used: u64) -> Reply {
    let used = used % (LIMIT / 2);
    let reset = (Utc::now().timestamp() / 3600 + 1) * 3600;
    let core = json!({"limit": LIMIT, "used": used, "remaining": LIMIT - used, "reset": reset});
    let search = json!({"limit": 30, "used": 0, "remaining": 30, "reset": Utc::now().timestamp() + 60});
    Reply::value(200, &json!({"resources": {"core": core, "search": search}, "rate": core}))
}

/// GitHub's "too fast": the secondary limit, or the primary one with its reset.
pub(crate) fn throttled(primary: bool) -> Reply {
    let reset = Utc::now().timestamp() + 1;
    if primary {
        error(403, "API rate limit exceeded for user ID 1.")
            .header("x-ratelimit-limit", LIMIT.to_string())
            .header("x-ratelimit-remaining", "0")
            .header("x-ratelimit-used", LIMIT.to_string())
            .header("x-ratelimit-reset", reset.to_string())
            .header("x-ratelimit-resource", "core")
    } else {
        error(403, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
            .header("retry-after", "1")
            .header("x-ratelimit-limit", LIMIT.to_string())
            .header("x-ratelimit-remaining", (LIMIT - 100).to_string())
            .header("x-ratelimit-reset", (reset + 1800).to_string())
            .header("x-ratelimit-resource", "core")
    }
}

/// An error of any status in GitHub's shape.
pub(crate) fn failed(status: u16) -> Reply {
    error(status, "Server Error")
}

/// Reads an issue or pull request number.
fn number_of(text: &str) -> Option<u64> {
    text.parse().ok()
}

/// A field of a JSON body as text.
fn text_of<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    body.get(key).and_then(Value::as_str)
}
