//! Posting, updating and answering in Slack, and finding a message that was posted before.
//!
//! Owns Slack's requests for writing and what its answers mean. Does not own what a message says.
//!
//! Must hold: `ok: false` with HTTP 200 is an error; a search for a key covers every page of the time in question or says
//! that it cannot tell; no response address is in any text.
//!
//! What an answer means (`docs/governance.md` has the table): `ok: true` is done; 429 and `ratelimited` were not carried
//! out and are tried later; `internal_error`, `fatal_error` and 5xx may have been carried out (Slack's documentation says
//! so of `fatal_error`); every other error is a refusal.

use chrono::{DateTime, Utc};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::destinations::{SlackDestination, expose};
use super::http::{Answer, Http, NoAnswer, words};
use super::outcome::{Look, Sent};
use super::schedule;
use crate::messages::Content;

/// Type of the metadata on our messages.
pub(crate) const METADATA_EVENT: &str = "tripline_action";
/// The field of that metadata that holds the idempotency key.
pub(crate) const METADATA_KEY: &str = "tripline_key";

const PAGE: usize = 200;
const MAX_PAGES: usize = 50;

/// The scopes the app needs; `docs/slack.md` has them in its manifest.
pub(crate) const SCOPES: [&str; 8] = [
    "chat:write",
    "chat:write.public",
    "channels:read",
    "channels:history",
    "groups:read",
    "groups:history",
    "metadata.message:read",
    "users:read",
];

/// A call of a Web API method.
struct Call<'a> {
    name: &'a str,
    verb: Method,
}

fn call(http: &Http, slack: &SlackDestination, method: &Call<'_>) -> Result<RequestBuilder, String> {
    let api = slack.api.as_ref().map_err(Clone::clone)?;
    let token = slack.token.as_ref().ok_or("SLACK_BOT_TOKEN is not set: nothing can be posted to Slack")?;
    let mut url: Url = api.clone();
    url.path_segments_mut().map_err(|()| "SLACK_API_URL has no path")?.pop_if_empty().push(method.name);
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", expose(token)))
        .map_err(|_| "SLACK_BOT_TOKEN holds characters that no header may")?;
    bearer.set_sensitive(true);
    Ok(http.client().request(method.verb.clone(), url).header(AUTHORIZATION, bearer))
}

async fn write(http: &Http, slack: &SlackDestination, method: &str, body: &Value) -> Sent {
    let built = match call(http, slack, &Call { name: method, verb: Method::POST }) {
        Ok(built) => built,
        Err(why) => return Sent::Never(why),
    };
    let built = built.header("content-type", "application/json; charset=utf-8").body(body.to_string());
    match http.send(built).await {
        Ok(answer) => judge(method, &answer),
        Err(NoAnswer::NotSent(why)) => Sent::NotNow { why: format!("Slack: {why}"), retry_after: None },
        Err(NoAnswer::Unclear { why, answered }) => {
            Sent::Unclear { why: format!("Slack: {why}"), in_flight: answered.is_none() }
        }
    }
}

fn judge(method: &str, answer: &Answer) -> Sent {
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS {
        return throttled(answer);
    }
    if status.is_server_error() {
        let in_flight = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        return Sent::Unclear { why: format!("Slack answered HTTP {status}"), in_flight };
    }
    if !status.is_success() {
        return Sent::Never(format!("Slack refused (HTTP {status})"));
    }
    let Some(body) = answer.json() else {
        return Sent::Unclear { why: "Slack's answer is no JSON".to_owned(), in_flight: false };
    };
    if body.get("ok") == Some(&Value::Bool(true)) {
        return match (text(&body, "channel"), text(&body, "ts")) {
            (Some(channel), Some(ts)) => Sent::Done(json!({"channel": channel, "ts": ts})),
            _ => Sent::Unclear { why: "Slack said ok without naming the message".to_owned(), in_flight: false },
        };
    }
    let error = words(text(&body, "error").unwrap_or("an error without a name"));
    match error.as_str() {
        "ratelimited" | "rate_limited" | "message_limit_exceeded" => throttled(answer),
        "internal_error" | "fatal_error" | "service_unavailable" => {
            Sent::Unclear { why: format!("Slack said {error} to {method}"), in_flight: false }
        }
        _ => Sent::Never(format!("Slack said {error} to {method}{}", hint(&error, &body))),
    }
}

fn throttled(answer: &Answer) -> Sent {
    let retry_after = schedule::retry_after(answer.header("retry-after"), answer.header("date"));
    Sent::NotNow { why: "Slack is rate limiting".to_owned(), retry_after }
}

fn hint(error: &str, body: &Value) -> String {
    match error {
        "channel_not_found" | "not_in_channel" => {
            ": check governance.slack_channel, and invite the app to the channel".to_owned()
        }
        "invalid_auth" | "not_authed" | "token_revoked" | "account_inactive" => ": check SLACK_BOT_TOKEN".to_owned(),
        "missing_scope" => match text(body, "needed") {
            Some(needed) => format!(": the app needs the scope {}", words(needed)),
            None => ": docs/slack.md has the scopes the app needs".to_owned(),
        },
        _ => String::new(),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The parts every message has. Nothing in it is expanded or linked by Slack on its own.
fn message_body(content: &Content) -> Value {
    let mut body = json!({
        "text": content.text, "parse": "none", "unfurl_links": false, "unfurl_media": false, "link_names": false,
    });
    if let Some(blocks) = &content.blocks {
        body["blocks"] = blocks.clone();
    }
    body
}

/// Where a message is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub channel: &'a str,
    pub ts: &'a str,
}

/// Posts a message, into a thread when `thread` is given. `key` travels in its metadata.
pub(crate) async fn post(
    http: &Http,
    slack: &SlackDestination,
    channel: &str,
    thread: Option<&str>,
    content: &Content,
    key: &str,
) -> Sent {
    let mut body = message_body(content);
    body["channel"] = json!(channel);
    body["metadata"] = json!({"event_type": METADATA_EVENT, "event_payload": {METADATA_KEY: key}});
    if let Some(thread) = thread {
        body["thread_ts"] = json!(thread);
    }
    write(http, slack, "chat.postMessage", &body).await
}

/// Updates a message. Repeating it does no harm, so what is unclear is tried again.
pub(crate) async fn update(http: &Http, slack: &SlackDestination, place: Place<'_>, content: &Content) -> Sent {
    let mut body = message_body(content);
    body["channel"] = json!(place.channel);
    body["ts"] = json!(place.ts);
    repeatable(write(http, slack, "chat.update", &body).await)
}

/// What may be done twice is simply tried again when its outcome is unclear.
fn repeatable(sent: Sent) -> Sent {
    match sent {
        Sent::Unclear { why, .. } => Sent::NotNow { why, retry_after: None },
        other => other,
    }
}

/// Answers through a response address. The caller has checked that it is Slack's.
pub(crate) async fn respond(http: &Http, response_url: &str, body: &Value, may_repeat: bool) -> Sent {
    let built = http.client().post(response_url).header("content-type", "application/json").body(body.to_string());
    let sent = match http.send(built).await {
        Ok(answer) if answer.status == StatusCode::TOO_MANY_REQUESTS => throttled(&answer),
        Ok(answer) if answer.status.is_success() => {
            // Slack answers "ok" as plain text; an error may come with 200 as JSON.
            match answer.json().as_ref().and_then(|body| body.get("ok")).and_then(Value::as_bool) {
                Some(false) => Sent::Never("Slack did not take the answer to the click".to_owned()),
                _ => Sent::Done(json!({"answered": true})),
            }
        }
        Ok(answer) if answer.status.is_server_error() => Sent::Unclear {
            why: format!("Slack answered HTTP {} to the answer to a click", answer.status),
            in_flight: false,
        },
        Ok(answer) => {
            Sent::Never(format!("Slack refused the answer to the click (HTTP {}): it may be too late", answer.status))
        }
        Err(NoAnswer::NotSent(why)) => Sent::NotNow { why: format!("Slack: {why}"), retry_after: None },
        Err(NoAnswer::Unclear { why, .. }) => Sent::Unclear { why: format!("Slack: {why}"), in_flight: true },
    };
    if may_repeat { repeatable(sent) } else { sent }
}

/// Where to look for a posted message.
pub(crate) struct Search<'a> {
    /// Name or id of the channel.
    pub channel: &'a str,
    /// The thread, for a reply.
    pub thread: Option<&'a str>,
    /// Not earlier.
    pub since: DateTime<Utc>,
    /// The idempotency key in the metadata.
    pub key: &'a str,
}

/// Looks for the message with a key in its metadata.
pub(crate) async fn find(http: &Http, slack: &SlackDestination, search: Search<'_>) -> Look {
    let channel = match channel_id(http, slack, search.channel).await {
        Ok(channel) => channel,
        Err(look) => return look,
    };
    let method = if search.thread.is_some() { "conversations.replies" } else { "conversations.history" };
    let oldest = format!("{}.000000", search.since.timestamp());
    let mut query = vec![
        ("channel", channel.clone()),
        ("oldest", oldest),
        ("include_all_metadata", "true".to_owned()),
        ("limit", PAGE.to_string()),
    ];
    query.extend(search.thread.map(|ts| ("ts", ts.to_owned())));
    let found = pages(http, slack, method, &query, |page| {
        let message = page.get("messages")?.as_array()?.iter().find(|message| {
            let key = message.pointer(&format!("/metadata/event_payload/{METADATA_KEY}"));
            key.and_then(Value::as_str) == Some(search.key)
        })?;
        text(message, "ts").map(str::to_owned)
    });
    match found.await {
        Ok(Some(ts)) => Look::Found(json!({"channel": channel, "ts": ts, "found": true})),
        Ok(None) => Look::Absent,
        Err(look) => look,
    }
}

/// Which of the scopes the app needs its token does not have.
///
/// # Errors
/// Why that cannot be told.
pub(crate) async fn missing_scopes(http: &Http, slack: &SlackDestination) -> Result<Vec<&'static str>, String> {
    let built = call(http, slack, &Call { name: "auth.test", verb: Method::POST })?;
    let answer = http.send(built).await.map_err(|error| match error {
        NoAnswer::NotSent(why) | NoAnswer::Unclear { why, .. } => why,
    })?;
    let have: Vec<String> = answer.header("x-oauth-scopes").unwrap_or_default().split(',').map(one_scope).collect();
    match read("auth.test", Ok(answer)) {
        Ok(_) => Ok(SCOPES.into_iter().filter(|scope| !have.iter().any(|one| one == scope)).collect()),
        Err(Look::NotNow(why) | Look::CannotTell(why)) => Err(why),
        Err(Look::Found(_) | Look::Absent) => Err("Slack's answer was not understood".to_owned()),
    }
}

fn one_scope(text: &str) -> String {
    text.trim().to_owned()
}

/// Whether Slack lists a channel.
///
/// # Errors
/// Why it does not, or why that cannot be told.
pub(crate) async fn check_channel(http: &Http, slack: &SlackDestination, channel: &str) -> Result<String, String> {
    match channel_id(http, slack, channel).await {
        Ok(id) => Ok(id),
        Err(Look::NotNow(why) | Look::CannotTell(why)) => Err(why),
        Err(Look::Found(_) | Look::Absent) => Err("Slack's answer was not understood".to_owned()),
    }
}

/// Whether a channel is given by its id, as the answers of Slack name it.
pub(crate) fn is_channel_id(channel: &str) -> bool {
    channel.len() >= 9
        && channel.starts_with(['C', 'G', 'D'])
        && channel.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

async fn channel_id(http: &Http, slack: &SlackDestination, channel: &str) -> Result<String, Look> {
    if is_channel_id(channel) {
        return Ok(channel.to_owned());
    }
    let name = channel.trim_start_matches('#');
    let query = vec![("types", "public_channel,private_channel".to_owned()), ("limit", "1000".to_owned())];
    let found = pages(http, slack, "conversations.list", &query, |page| {
        let channels = page.get("channels")?.as_array()?;
        let ours = channels.iter().find(|channel| text(channel, "name") == Some(name))?;
        text(ours, "id").map(str::to_owned)
    });
    match found.await? {
        Some(id) => Ok(id),
        None => Err(Look::CannotTell(format!("Slack lists no channel called #{}", words(name)))),
    }
}

/// Walks a cursor listing until `pick` finds something. `Ok(None)` only after the last page.
async fn pages(
    http: &Http,
    slack: &SlackDestination,
    method: &str,
    query: &[(&str, String)],
    pick: impl Fn(&Value) -> Option<String>,
) -> Result<Option<String>, Look> {
    let mut cursor = String::new();
    for _ in 0..MAX_PAGES {
        let mut built =
            call(http, slack, &Call { name: method, verb: Method::GET }).map_err(Look::CannotTell)?.query(query);
        if !cursor.is_empty() {
            built = built.query(&[("cursor", &cursor)]);
        }
        let page = read(method, http.send(built).await)?;
        if let Some(found) = pick(&page) {
            return Ok(Some(found));
        }
        match page.pointer("/response_metadata/next_cursor").and_then(Value::as_str).filter(|next| !next.is_empty()) {
            Some(next) => next.clone_into(&mut cursor),
            None => return Ok(None),
        }
    }
    Err(Look::CannotTell(format!("{method} has more than {MAX_PAGES} pages")))
}

fn read(method: &str, answer: Result<Answer, NoAnswer>) -> Result<Value, Look> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why) | NoAnswer::Unclear { why, .. }) => {
            return Err(Look::NotNow(format!("Slack: {why}")));
        }
    };
    let status = answer.status;
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(Look::NotNow(format!("Slack answered HTTP {status} to {method}")));
    }
    let body = answer.json().filter(|_| status.is_success());
    let body = body.ok_or_else(|| Look::CannotTell(format!("Slack answered HTTP {status} to {method}")))?;
    if body.get("ok") == Some(&Value::Bool(true)) {
        return Ok(body);
    }
    let error = words(text(&body, "error").unwrap_or("an error without a name"));
    match error.as_str() {
        "ratelimited" | "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
            Err(Look::NotNow(format!("Slack said {error} to {method}")))
        }
        _ => Err(Look::CannotTell(format!("Slack said {error} to {method}{}", hint(&error, &body)))),
    }
}
