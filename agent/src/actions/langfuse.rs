//! Publishing a new version of a Langfuse prompt, and finding one that was published before.
//!
//! Owns Langfuse's prompt requests (v2) and what its answers mean. Does not own what is added to a prompt, nor who says so
//! (`govern::fixes`).
//!
//! Must hold
//! - a prompt is read as it is stored (`resolve=false`): references to other prompts stay references in what is published;
//! - a version is published on top of the one that the approver saw, or not at all;
//! - every version that came since it was asked for is looked at for the marker in its commit message before anything is sent,
//!   so that no retry publishes twice; where that does not end it is not known.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::destinations::{LangfuseDestination, expose};
use super::http::{Answer, Http, NoAnswer, words};
use super::kinds::{PromptKind, PublishPrompt};
use super::outcome::{Look, Sent};
use super::schedule;

/// Versions made since a fix was asked for that are looked at before it is given up.
const MAX_VERSIONS: usize = 50;

/// Why nothing is published without the list of versions.
const UNLISTED: &str = "Langfuse has the prompt and does not list its versions (GET /api/public/v2/prompts?name=…): without them nobody \
                        can tell whether a version was published before";

/// A version of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptVersion {
    /// Its name, folders included.
    pub name: String,
    /// Its number.
    pub version: i64,
    /// The label it was found by.
    pub label: &'static str,
    /// Text or a list of messages.
    pub kind: PromptKind,
    /// What it says: a text, or an array of messages.
    pub prompt: Value,
    /// Its configuration (model, temperature …); any JSON.
    pub config: Value,
    /// Tags; the same for all versions.
    pub tags: Vec<String>,
    /// The newest version of the prompt; this one or a later one.
    pub newest: i64,
}

/// Why a prompt could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPrompt {
    /// There is none of that name with a version that is `production` or `latest`.
    Missing,
    /// Langfuse does not answer, refuses, or says what is not understood; in a phrase, without an address.
    Failed(String),
}

/// A trace with its observations in it, as Langfuse shows one trace (`GET /api/public/traces/{id}`). `None` when there is none.
///
/// # Errors
/// In a phrase, without an address: Langfuse does not answer, or refuses.
pub(crate) async fn read_trace(http: &Http, langfuse: &LangfuseDestination, id: &str) -> Result<Option<Value>, String> {
    let built = request_to(http, langfuse, Method::GET, ["traces", id].into_iter())?;
    match judged(http.send(built).await) {
        Ok(answer) => answer.json().map(Some).ok_or_else(|| "Langfuse's answer is no JSON".to_owned()),
        Err(End::Missing) => Ok(None),
        Err(End::NotNow { why, .. } | End::Never(why) | End::Unclear { why, .. }) => Err(why),
    }
}

/// The marker by which a published version is found again; the end of its commit message.
pub(crate) fn marker(key: &str) -> String {
    format!("[tripline:key={key}]")
}

/// The prompt that is in use: labelled `production`, else the newest version.
pub(crate) async fn read_prompt(
    http: &Http,
    langfuse: &LangfuseDestination,
    name: &str,
) -> Result<PromptVersion, NoPrompt> {
    let failed = |end: End| match end {
        End::Missing => NoPrompt::Missing,
        End::NotNow { why, .. } | End::Never(why) | End::Unclear { why, .. } => NoPrompt::Failed(why),
    };
    for label in ["production", "latest"] {
        let found = match version_by(http, langfuse, name, ("label", label)).await {
            Err(End::Missing) => continue,
            found => found.map_err(failed)?,
        };
        // It is there: what is missing then is the list of its versions.
        let newest = newest(&numbers(http, langfuse, name).await.map_err(|end| match end {
            End::Missing => NoPrompt::Failed(UNLISTED.to_owned()),
            end => failed(end),
        })?);
        return understood(&found, label, newest)
            .filter(|found| found.name == name)
            .ok_or_else(|| NoPrompt::Failed("Langfuse's prompt was not understood".to_owned()));
    }
    Err(NoPrompt::Missing)
}

fn understood(found: &Value, label: &'static str, newest: Option<i64>) -> Option<PromptVersion> {
    let text = |name: &str| found.get(name).and_then(Value::as_str);
    let prompt = found.get("prompt")?.clone();
    let kind = match text("type") {
        Some("chat") if prompt.is_array() => PromptKind::Chat,
        Some("text") | None if prompt.is_string() => PromptKind::Text,
        _ => return None,
    };
    let version = found.get("version")?.as_i64()?;
    Some(PromptVersion {
        name: text("name")?.to_owned(),
        version,
        label,
        kind,
        prompt,
        config: found.get("config").cloned().unwrap_or_default(),
        tags: texts(found.get("tags")),
        newest: newest.unwrap_or(version).max(version),
    })
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Publishes it, unless that was done before or the prompt is another one by now.
pub(crate) async fn publish(http: &Http, langfuse: &LangfuseDestination, fix: &PublishPrompt) -> Sent {
    match find(http, langfuse, fix).await {
        Look::Found(result) => return Sent::Done(result),
        Look::Absent => {}
        Look::NotNow(why) => return Sent::NotNow { why, retry_after: None },
        Look::CannotTell(why) => return Sent::Never(why),
    }
    let base = match version_by(http, langfuse, &fix.name, ("label", &fix.base_label)).await {
        Ok(base) => base.get("version").and_then(Value::as_i64),
        Err(End::Missing) => return Sent::Never("the prompt is not there any more".to_owned()),
        Err(End::NotNow { why, retry_after }) => return Sent::NotNow { why, retry_after },
        // Nothing was changed by reading.
        Err(End::Unclear { why, .. }) => return Sent::NotNow { why, retry_after: None },
        Err(End::Never(why)) => return Sent::Never(why),
    };
    if base != Some(fix.base_version) {
        return Sent::Never(format!(
            "the prompt has changed since: '{}' is version {} now, and what was approved is version {} with an addition; ask again",
            fix.base_label,
            base.map_or_else(|| "another".to_owned(), |version| version.to_string()),
            fix.base_version
        ));
    }
    let body = json!({
        "name": fix.name, "type": fix.kind, "prompt": fix.prompt, "config": fix.config, "tags": fix.tags,
        "labels": fix.labels, "commitMessage": fix.commit_message,
    });
    let built = match request(http, langfuse, Method::POST, None) {
        Ok(built) => built.json(&body),
        Err(why) => return Sent::Never(why),
    };
    match judged(http.send(built).await) {
        Ok(answer) => match answer.json().as_ref().and_then(|made| made.get("version")?.as_i64()) {
            Some(version) => Sent::Done(result(langfuse, fix, version)),
            None => Sent::Unclear { why: "Langfuse did not name the new version".to_owned(), in_flight: false },
        },
        Err(End::Missing) => Sent::Never("Langfuse has no prompts at that address: check LANGFUSE_BASE_URL".to_owned()),
        Err(End::Never(why)) => Sent::Never(why),
        Err(End::NotNow { why, retry_after }) => Sent::NotNow { why, retry_after },
        Err(End::Unclear { why, in_flight }) => Sent::Unclear { why, in_flight },
    }
}

fn result(langfuse: &LangfuseDestination, fix: &PublishPrompt, version: i64) -> Value {
    json!({"name": fix.name, "version": version, "url": langfuse.prompt_page(&fix.name)})
}

/// Looks for it among the versions that came since it was asked for.
pub(crate) async fn find(http: &Http, langfuse: &LangfuseDestination, fix: &PublishPrompt) -> Look {
    let numbers = match numbers(http, langfuse, &fix.name).await {
        Ok(numbers) => numbers,
        Err(End::Missing) => {
            // Deleted, or there and not listed: then nobody knows whether it was published before.
            return match version_by(http, langfuse, &fix.name, ("label", "latest")).await {
                Err(End::Missing) => Look::Absent,
                Ok(_) => Look::CannotTell(UNLISTED.to_owned()),
                Err(End::NotNow { why, .. } | End::Unclear { why, .. }) => Look::NotNow(why),
                Err(End::Never(why)) => Look::CannotTell(why),
            };
        }
        Err(End::NotNow { why, .. } | End::Unclear { why, .. }) => return Look::NotNow(why),
        Err(End::Never(why)) => return Look::CannotTell(why),
    };
    let mut since: Vec<i64> = numbers.into_iter().filter(|number| *number > fix.newest_version).collect();
    since.sort_unstable();
    let marker = marker(&fix.key);
    for (looked, number) in since.into_iter().enumerate() {
        if looked >= MAX_VERSIONS {
            return Look::CannotTell(format!(
                "it is not among the {MAX_VERSIONS} versions made after it was asked for"
            ));
        }
        let found = match version_by(http, langfuse, &fix.name, ("version", &number.to_string())).await {
            Ok(found) => found,
            // Deleted meanwhile.
            Err(End::Missing) => continue,
            Err(End::NotNow { why, .. } | End::Unclear { why, .. }) => return Look::NotNow(why),
            Err(End::Never(why)) => return Look::CannotTell(why),
        };
        let message = found.get("commitMessage").and_then(Value::as_str).unwrap_or_default();
        if message.trim_end().ends_with(&marker) {
            let mut result = result(langfuse, fix, number);
            result["found"] = json!(true);
            return Look::Found(result);
        }
    }
    Look::Absent
}

/// The numbers of a prompt's versions.
async fn numbers(http: &Http, langfuse: &LangfuseDestination, name: &str) -> Result<Vec<i64>, End> {
    let built = request(http, langfuse, Method::GET, None).map_err(End::Never)?;
    let answer = judged(http.send(built.query(&[("name", name), ("limit", "10")])).await)?;
    let listed = answer.json().and_then(|body| body.get("data")?.as_array().cloned());
    let listed = listed.ok_or_else(|| End::Never("Langfuse does not list the prompt's versions".to_owned()))?;
    let ours = listed.iter().find(|one| one.get("name").and_then(Value::as_str) == Some(name)).ok_or(End::Missing)?;
    let versions = ours.get("versions").and_then(Value::as_array).into_iter().flatten();
    Ok(versions.filter_map(Value::as_i64).collect())
}

fn newest(numbers: &[i64]) -> Option<i64> {
    numbers.iter().copied().max()
}

async fn version_by(http: &Http, langfuse: &LangfuseDestination, name: &str, by: (&str, &str)) -> Result<Value, End> {
    let built = request(http, langfuse, Method::GET, Some(name)).map_err(End::Never)?;
    let answer = judged(http.send(built.query(&[by, ("resolve", "false")])).await)?;
    answer.json().ok_or_else(|| End::Unclear { why: "Langfuse's answer is no JSON".to_owned(), in_flight: false })
}

fn request(
    http: &Http,
    langfuse: &LangfuseDestination,
    method: Method,
    name: Option<&str>,
) -> Result<RequestBuilder, String> {
    let path = ["v2", "prompts"].into_iter().chain(name);
    request_to(http, langfuse, method, path)
}

fn request_to<'a>(
    http: &Http,
    langfuse: &LangfuseDestination,
    method: Method,
    path: impl Iterator<Item = &'a str>,
) -> Result<RequestBuilder, String> {
    let mut url = langfuse.api.as_ref().map_err(Clone::clone)?.clone();
    let (public, secret) = langfuse
        .keys
        .as_ref()
        .ok_or("LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set: nothing can be read there")?;
    // A name with folders is one part of the path, its slashes encoded.
    url.path_segments_mut()
        .map_err(|()| "LANGFUSE_BASE_URL has no path")?
        .pop_if_empty()
        .extend(["api", "public"])
        .extend(path);
    Ok(http.client().request(method, url).basic_auth(public, Some(expose(secret))))
}

/// An answer that is not plainly what was asked for.
enum End {
    /// 404.
    Missing,
    /// It was not carried out and may be tried again.
    NotNow { why: String, retry_after: Option<std::time::Duration> },
    /// It was refused.
    Never(String),
    /// It may have been carried out.
    Unclear { why: String, in_flight: bool },
}

fn judged(sent: Result<Answer, NoAnswer>) -> Result<Answer, End> {
    let answer = match sent {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why)) => return Err(End::NotNow { why: format!("Langfuse: {why}"), retry_after: None }),
        Err(NoAnswer::Unclear { why, answered }) => {
            return Err(End::Unclear { why: format!("Langfuse: {why}"), in_flight: answered.is_none() });
        }
    };
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let said = message(&answer);
    if status == StatusCode::NOT_FOUND {
        return Err(End::Missing);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let retry_after = schedule::retry_after(answer.header("retry-after"), answer.header("date"));
        return Err(End::NotNow { why: format!("Langfuse is rate limiting{said}"), retry_after });
    }
    if status.is_server_error() {
        let in_flight = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        return Err(End::Unclear { why: format!("Langfuse answered HTTP {status}{said}"), in_flight });
    }
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ": check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY",
        _ => "",
    };
    Err(End::Never(format!("Langfuse refused (HTTP {}){said}{hint}", status.as_u16())))
}

fn message(answer: &Answer) -> String {
    let json = answer.json();
    match json.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!(": {}", words(text)),
        _ => String::new(),
    }
}
