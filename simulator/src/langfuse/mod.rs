//! Langfuse, under `/langfuse`: both generations of its public API.
//!
//! Owns: routing, credentials, which endpoints exist in which generation, error shapes.
//! Must hold: v3 has no v2/observations and no v3/scores (404); v4 refuses the deprecated reads as
//! Langfuse Cloud does for organisations made since 2026-09-16 (410).

mod columns;
mod filter;
mod ingest;
mod legacy;
mod objects;
mod prices;
mod prompts;
mod store;
mod v2;
mod v3;

pub(crate) use prices::price_of;
pub(crate) use store::Store;

use std::sync::{PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Reply};

/// Which generation of Langfuse to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LangfuseGeneration {
    /// A self-hosted v3: legacy reads only.
    V3,
    /// Langfuse Cloud since its cut-over: v2/observations and v3/scores only.
    #[default]
    V4,
}

impl std::str::FromStr for LangfuseGeneration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v3" => Ok(Self::V3),
            "v4" => Ok(Self::V4),
            other => Err(format!("unknown Langfuse generation {other:?}; hint: v3 or v4")),
        }
    }
}

/// The Langfuse stand-in.
#[derive(Debug)]
pub(crate) struct Langfuse {
    pub generation: LangfuseGeneration,
    pub store: RwLock<Store>,
}

impl Langfuse {
    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let ["api", "public", rest @ ..] = segments.as_slice() else {
            return no_such_page();
        };
        let method = call.method.as_str();
        if (method, rest) == ("GET", ["health"].as_slice()) {
            let version = match self.generation {
                LangfuseGeneration::V3 => "3.155.1",
                LangfuseGeneration::V4 => "4.35.0",
            };
            return Reply::value(200, &json!({"status": "OK", "version": version}));
        }
        if let Err(message) = check(call, auth) {
            return Reply::value(401, &json!({ "message": message }));
        }
        match method {
            "GET" => self.read(rest, call, clock),
            "POST" => self.write(rest, call, clock),
            _ => Reply::value(405, &json!({"message": "Method not allowed", "error": "MethodNotAllowedError"})),
        }
    }

    fn read(&self, rest: &[&str], call: &Call, clock: &Clock) -> Reply {
        let v4 = self.generation == LangfuseGeneration::V4;
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let horizon = clock.horizon();
        let query = &call.query;
        if v4 && let Some(replacement) = replacement(rest) {
            return gone(rest, replacement);
        }
        let answer = match rest {
            ["projects"] => Ok(projects(&store)),
            ["v2", "observations"] if v4 => Ok(v2::list(&store, query, horizon)),
            ["v2", "observations"] => Ok(not_found(
                "The observations v2 API is only available in a Langfuse v4 write mode. Learn more at: https://langfuse.com/docs/v4",
            )),
            ["v3", "scores"] if v4 => Ok(v3::list(&store, query, horizon)),
            ["v2", "prompts"] => prompts::list(&store, query, horizon),
            ["v2", "prompts", name @ ..] => Ok(prompts::get(&store, &name.join("/"), query, horizon)),
            ["observations"] => legacy::observations(&store, query, horizon),
            ["observations", id] => Ok(legacy::observation(&store, id, horizon)),
            ["traces"] => legacy::traces(&store, query, horizon),
            ["traces", id] => Ok(legacy::trace(&store, id, query, horizon)),
            ["scores"] | ["v2", "scores"] => legacy::scores(&store, query, horizon),
            ["scores", id] | ["v2", "scores", id] => Ok(legacy::score(&store, id, horizon)),
            ["sessions"] => legacy::sessions(&store, query, horizon),
            ["sessions", id] => Ok(legacy::session(&store, id, horizon)),
            _ => Ok(no_such_page()),
        };
        answer.unwrap_or_else(|refusal| *refusal)
    }

    fn write(&self, rest: &[&str], call: &Call, clock: &Clock) -> Reply {
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now();
        match rest {
            ["ingestion"] => ingest::batch(&mut store, call, now),
            ["scores"] => ingest::score(&mut store, call, now),
            ["v2", "prompts"] => prompts::create(&mut store, call, now),
            _ => no_such_page(),
        }
    }
}

/// Checks `Authorization: Basic base64(public:secret)`.
fn check(call: &Call, auth: &Auth) -> Result<(), String> {
    if auth.is_off() {
        return Ok(());
    }
    const HINT: &str = "Confirm that you've configured the correct host.";
    if call.header("authorization").is_none() {
        return Err("No authorization header".to_owned());
    }
    let pair = call
        .credential("basic")
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((public, secret)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
        return Err("Invalid authorization header".to_owned());
    };
    if public.is_empty() || secret.is_empty() || !auth.accepts_langfuse(public, secret) {
        return Err(format!("Invalid credentials. {HINT}"));
    }
    Ok(())
}

/// What replaces a deprecated read in v4.
fn replacement(rest: &[&str]) -> Option<&'static str> {
    match rest {
        ["traces" | "observations", ..] => {
            Some("GET /api/public/v2/observations?fromStartTime=<from>&toStartTime=<to>")
        }
        ["sessions", ..] => Some(
            "GET /api/public/v2/observations?filter=<urlencoded sessionId filter>&fromStartTime=<from>&toStartTime=<to>",
        ),
        ["scores", ..] | ["v2", "scores", ..] => Some("GET /api/public/v3/scores"),
        ["metrics", ..] => Some("GET /api/public/v2/metrics?query=<urlencoded json query>"),
        _ => None,
    }
}

fn gone(rest: &[&str], replacement: &str) -> Reply {
    let path = format!("/api/public/{}", rest.join("/"));
    let docs = "https://langfuse.com/self-hosting/upgrade/upgrade-guides/upgrade-v3-to-v4";
    Reply::value(
        410,
        &json!({
            "error": "LEGACY_API_UNAVAILABLE_FOR_NEW_ORGANIZATION",
            "message": format!("{path} is a legacy API that is not available to organizations created on or after September 16, 2026. Migrate this request to {replacement}. See the migration documentation at {docs}."),
            "requestedEndpoint": path,
            "replacementEndpoint": replacement,
            "documentationUrl": docs,
            "_deprecation": {
                "message": format!("Langfuse v3 is deprecated; this endpoint will be removed on November 16, 2026. Use {replacement} instead."),
                "replacement": replacement,
                "docsUrl": docs,
                "sunsetAt": "2026-11-16",
            },
        }),
    )
}

fn projects(store: &Store) -> Reply {
    let mut body = String::from(r#"{"data":"#);
    crate::item::write_array(&mut body, store.projects.iter().map(std::borrow::Cow::Borrowed));
    body.push('}');
    Reply::json(body)
}

/// Next.js' own page for a path without a route: HTML, as the real server answers.
fn no_such_page() -> Reply {
    let page = "<!DOCTYPE html><html><head><title>404: This page could not be found</title></head>\
                <body><h1>404</h1><h2>This page could not be found.</h2></body></html>";
    Reply::json(page.to_owned()).with_status(404).with_type("text/html; charset=utf-8")
}

/// 404 for an object that is not there.
fn not_found(message: &str) -> Reply {
    Reply::value(404, &json!({"message": message, "error": "LangfuseNotFoundError"}))
}

/// 400 for a request that makes no sense.
fn bad_request(message: &str) -> Reply {
    Reply::value(400, &json!({"message": message, "error": "InvalidRequestError"}))
}

/// 400 for one parameter, in the shape of the server's schema errors.
fn zod_error(parameter: &str, code: &str, message: &str) -> Reply {
    zod_errors(&[json!({"code": code, "path": [parameter], "message": message})])
}

fn zod_errors(issues: &[Value]) -> Reply {
    Reply::value(400, &json!({"message": "Invalid request data", "error": issues}))
}

/// Langfuse's 429: `Retry-After` in seconds, and a reset that is a JavaScript date text.
pub(crate) fn throttled() -> Reply {
    let reset =
        (Utc::now() + TimeDelta::seconds(1)).format("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)");
    Reply::value(429, &json!({"message": "Rate limit exceeded", "error": "Rate limit exceeded"}))
        .header("retry-after", "1")
        .header("x-ratelimit-limit", "30")
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", reset.to_string())
}

/// An error of any status in Langfuse's shape.
pub(crate) fn failed(status: u16) -> Reply {
    Reply::value(status, &json!({"message": "Internal Server Error", "error": "simulated fault"}))
}
