//! Slack, under `/slack` and `/slack/api`: the Web API methods and `response_url`.
//!
//! Owns: routing, credentials and scopes, argument forms, error shapes.
//! Must hold: an error is HTTP 200 with `ok:false`; only "too fast" is a 429; every method answers
//! with `X-OAuth-Scopes` (facts: vendors, Slack).

mod blocks;
mod chat;
mod conversations;
mod store;

pub(crate) use blocks::find_action;
pub(crate) use chat::RESPONSE_TIME;
pub(crate) use store::{Handle, Store};

use std::sync::{PoisonError, RwLock};

use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Params, Reply};
use crate::time::Micros;

/// The scopes of a token that may do everything Tripline does.
pub const DEFAULT_SCOPES: [&str; 8] = [
    "channels:history",
    "channels:read",
    "chat:write",
    "chat:write.public",
    "groups:history",
    "groups:read",
    "users:read",
    "metadata.message:read",
];

/// The workspace and app that the simulator is.
pub(crate) const TEAM: &str = "T0SIMULATE";
pub(crate) const TEAM_DOMAIN: &str = "simulated";
pub(crate) const APP: &str = "A0TRIPLINE";
pub(crate) const BOT: &str = "B0TRIPLINE";
pub(crate) const BOT_USER: &str = "U0TRIPLINE";

/// The Slack stand-in.
#[derive(Debug, Default)]
pub(crate) struct Slack {
    pub store: RwLock<Store>,
    pub scopes: Vec<String>,
}

/// One call's arguments and time.
struct Args {
    params: Params,
    horizon: Option<Micros>,
    now: Micros,
}

type Answer = Result<Value, Refusal>;

/// Why a method refuses.
#[derive(Debug)]
struct Refusal(Value);

impl Refusal {
    fn new(error: &str) -> Self {
        Self(json!({"ok": false, "error": error}))
    }
}

impl Slack {
    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let now = clock.now();
        match segments.as_slice() {
            ["response", id] if call.method == "POST" => {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                chat::respond(&mut store, call, id, now)
            }
            ["api", method] | [method] => {
                let args = Args { params: arguments(call), horizon: clock.horizon(), now };
                self.method(method, &args, call, auth)
            }
            _ => Reply::value(404, &json!({"ok": false, "error": "not_found"})),
        }
    }

    fn method(&self, method: &str, args: &Args, call: &Call, auth: &Auth) -> Reply {
        let answer =
            check_token(call, args, auth).and_then(|()| self.check_scope(method)).and_then(|()| self.run(method, args));
        let is_write = matches!(method, "chat.postMessage" | "chat.update");
        let reply = match answer {
            Ok(body) if is_write => Reply::value(200, &body).wrote(call),
            Ok(body) => Reply::value(200, &body),
            Err(Refusal(body)) => Reply::value(200, &body),
        };
        let needed = needed_scope(method).unwrap_or("identify");
        reply
            .header("x-oauth-scopes", self.scopes.join(","))
            .header("x-accepted-oauth-scopes", needed)
            .header("x-slack-req-id", "simulated")
    }

    fn run(&self, method: &str, args: &Args) -> Answer {
        if matches!(method, "chat.postMessage" | "chat.update") {
            let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
            return match method {
                "chat.postMessage" => chat::post(&mut store, args),
                _ => chat::update(&mut store, args),
            };
        }
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        match method {
            "auth.test" => Ok(json!({
                "ok": true, "url": format!("https://{TEAM_DOMAIN}.slack.com/"), "team": "Simulated",
                "user": "tripline", "team_id": TEAM, "user_id": BOT_USER, "bot_id": BOT,
                "is_enterprise_install": false,
            })),
            "api.test" => Ok(json!({"ok": true})),
            "conversations.list" => conversations::list(&store, args),
            "conversations.info" => conversations::info(&store, args),
            "conversations.history" => conversations::history(&store, args),
            "conversations.replies" => conversations::replies(&store, args),
            "users.list" => conversations::users(&store, args),
            "users.info" => conversations::user(&store, args),
            "chat.getPermalink" => chat::permalink(&store, args),
            _ => Err(Refusal::new("unknown_method")),
        }
    }

    fn check_scope(&self, method: &str) -> Result<(), Refusal> {
        let Some(needed) = needed_scope(method) else {
            return Ok(());
        };
        // Private channels have scopes of their own that open the same methods.
        let private = needed.replace("channels:", "groups:");
        if self.scopes.iter().any(|have| have == needed || *have == private) {
            return Ok(());
        }
        Err(Refusal(json!({
            "ok": false, "error": "missing_scope", "needed": needed, "provided": self.scopes.join(","),
        })))
    }
}

fn needed_scope(method: &str) -> Option<&'static str> {
    Some(match method {
        "conversations.list" | "conversations.info" => "channels:read",
        "conversations.history" | "conversations.replies" => "channels:history",
        "users.list" | "users.info" => "users:read",
        "chat.postMessage" | "chat.update" => "chat:write",
        _ => return None,
    })
}

/// Arguments come in the query, a form or a JSON body.
fn arguments(call: &Call) -> Params {
    let kind = call.header("content-type").unwrap_or_default();
    let mut params = if kind.starts_with("application/json") {
        call.json().and_then(|body| Params::from_object(&body)).unwrap_or_default()
    } else {
        Params::parse(&String::from_utf8_lossy(&call.body))
    };
    params.extend(call.query.clone());
    params
}

fn check_token(call: &Call, args: &Args, auth: &Auth) -> Result<(), Refusal> {
    if auth.is_off() {
        return Ok(());
    }
    match call.credential("bearer").or_else(|| args.params.filled("token")) {
        None => Err(Refusal::new("not_authed")),
        Some(token) if auth.accepts_slack(token) => Ok(()),
        Some(_) => Err(Refusal::new("invalid_auth")),
    }
}

/// Slack's 429.
pub(crate) fn throttled() -> Reply {
    Reply::value(429, &json!({"ok": false, "error": "ratelimited"})).header("retry-after", "1")
}

/// An error of any status in Slack's shape.
pub(crate) fn failed(status: u16) -> Reply {
    Reply::value(status, &json!({"ok": false, "error": "internal_error"}))
}
