//! Opening an issue, and finding one that was opened before.
//!
//! Owns GitHub's requests for writing and what its answers mean. Does not own what the issue says.
//!
//! Must hold: an answer that is not plainly "created" or plainly "refused" is unclear; a search for a marker covers every
//! page or says that it cannot tell.
//!
//! What an answer means (`docs/governance.md` has the table): 201 with a number is done; 403 or 429 with a rate limit's
//! marks was not carried out and is tried later; any other 4xx and any redirect is a refusal; 5xx may have been carried
//! out (GitHub documents nothing to the contrary), so the marker is looked for first.

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::destinations::{GithubDestination, Repository, expose};
use super::http::{Answer, Http, NoAnswer, words};
use super::kinds::OpenIssue;
use super::outcome::{Look, Sent};
use super::schedule;

/// The version of the REST API the requests are written for.
pub(super) const API_VERSION: &str = "2022-11-28";
const A_MINUTE: std::time::Duration = std::time::Duration::from_secs(60);
const PER_PAGE: usize = 100;
/// More than ten thousand issues within some hours are not ours to search through.
const MAX_PAGES: usize = 100;

/// What must be there before anything is sent.
struct Ready<'a> {
    api: &'a Url,
    token: &'a secrecy::SecretString,
    repository: Repository,
}

fn ready<'a>(github: &'a GithubDestination, issue: &OpenIssue) -> Result<Ready<'a>, String> {
    let api = github.api.as_ref().map_err(Clone::clone)?;
    let token = github.token.as_ref().ok_or("GITHUB_TOKEN is not set: no issue can be opened")?;
    let repository = issue.repository.as_deref().ok_or(
        "no repository was configured when this was asked for: set GITHUB_TARGET_REPO, or GITHUB_OWNER and GITHUB_REPO",
    )?;
    Ok(Ready { api, token, repository: repository.parse()? })
}

fn request(http: &Http, ready: &Ready<'_>, method: Method) -> Result<RequestBuilder, String> {
    let mut url = ready.api.clone();
    url.path_segments_mut().map_err(|()| "GITHUB_API_URL has no path")?.pop_if_empty().extend([
        "repos",
        ready.repository.owner(),
        ready.repository.name(),
        "issues",
    ]);
    Ok(http
        .client()
        .request(method, url)
        .header(ACCEPT, "application/vnd.github+json")
        .header("X-GitHub-Api-Version", API_VERSION)
        .header(AUTHORIZATION, bearer(ready.token)?))
}

pub(super) fn bearer(token: &secrecy::SecretString) -> Result<reqwest::header::HeaderValue, String> {
    let mut value = reqwest::header::HeaderValue::from_str(&format!("Bearer {}", expose(token)))
        .map_err(|_| "GITHUB_TOKEN holds characters that no header may")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether issues can be opened in the repository, as far as can be told without opening one.
///
/// # Errors
/// Why not.
pub(crate) async fn check_repository(http: &Http, github: &GithubDestination) -> Result<String, String> {
    let api = github.api.as_ref().map_err(Clone::clone)?;
    let token = github.token.as_ref().ok_or("GITHUB_TOKEN is not set")?;
    let repository = github.issues.clone()?;
    let mut url = api.clone();
    url.path_segments_mut().map_err(|()| "GITHUB_API_URL has no path")?.pop_if_empty().extend([
        "repos",
        repository.owner(),
        repository.name(),
    ]);
    let built = http
        .client()
        .get(url)
        .header(ACCEPT, "application/vnd.github+json")
        .header("X-GitHub-Api-Version", API_VERSION)
        .header(AUTHORIZATION, bearer(token)?);
    let answer = http.send(built).await.map_err(|error| match error {
        NoAnswer::NotSent(why) | NoAnswer::Unclear { why, .. } => why,
    })?;
    let status = answer.status;
    let body = answer.json().filter(|_| status.is_success());
    let body = body.ok_or_else(|| format!("GitHub answered HTTP {status}{}{}", message(&answer), hint(status)))?;
    if body.get("has_issues") == Some(&Value::Bool(false)) {
        return Err(format!("issues are disabled for {repository}"));
    }
    Ok(repository.to_string())
}

/// Opens the issue.
pub(crate) async fn open_issue(http: &Http, github: &GithubDestination, issue: &OpenIssue) -> Sent {
    let built = ready(github, issue).and_then(|ready| request(http, &ready, Method::POST));
    let built = match built {
        Ok(built) => built.json(&json!({"title": issue.title, "body": issue.body, "labels": issue.labels})),
        Err(why) => return Sent::Never(why),
    };
    match http.send(built).await {
        Ok(answer) => judge(&answer),
        Err(NoAnswer::NotSent(why)) => Sent::NotNow { why: format!("GitHub: {why}"), retry_after: None },
        Err(NoAnswer::Unclear { why, answered }) => {
            Sent::Unclear { why: format!("GitHub: {why}"), in_flight: answered.is_none() }
        }
    }
}

fn judge(answer: &Answer) -> Sent {
    let status = answer.status;
    let said = message(answer);
    if status == StatusCode::CREATED {
        return match answer.json().as_ref().and_then(issue_result) {
            Some(result) => Sent::Done(result),
            None => Sent::Unclear { why: "GitHub said 201 without naming the issue".to_owned(), in_flight: false },
        };
    }
    if let Some(retry_after) = rate_limited(answer) {
        return Sent::NotNow { why: format!("GitHub is rate limiting (HTTP {status}){said}"), retry_after };
    }
    if status.is_client_error() {
        return Sent::Never(format!("GitHub refused (HTTP {status}){said}{}", hint(status)));
    }
    if status.is_redirection() {
        return Sent::Never(format!(
            "GitHub redirects elsewhere (HTTP {status}): check the repository's name and GITHUB_API_URL"
        ));
    }
    // A gateway that gave up says nothing about the server behind it.
    let in_flight = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
    Sent::Unclear { why: format!("GitHub answered HTTP {status}{said}"), in_flight }
}

pub(super) fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": check GITHUB_TOKEN",
        StatusCode::FORBIDDEN => ": the token needs write access to the repository's issues",
        StatusCode::NOT_FOUND => ": the repository does not exist, or the token may not see it",
        StatusCode::GONE => ": issues are disabled for the repository",
        _ => "",
    }
}

pub(super) fn message(answer: &Answer) -> String {
    let json = answer.json();
    match json.as_ref().and_then(|body| body.get("message")).and_then(Value::as_str) {
        Some(text) if !text.is_empty() => format!(": {}", words(text)),
        _ => String::new(),
    }
}

/// Whether this is a rate limit (primary or secondary), and how long GitHub asks to wait. Outer `None`: it is not.
pub(super) fn rate_limited(answer: &Answer) -> Option<Option<std::time::Duration>> {
    if !matches!(answer.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let after = schedule::retry_after(answer.header("retry-after"), answer.header("date"));
    let spent = answer.header("x-ratelimit-remaining") == Some("0");
    let says_so = message(answer).to_ascii_lowercase().contains("rate limit");
    if !(answer.status == StatusCode::TOO_MANY_REQUESTS || after.is_some() || spent || says_so) {
        return None;
    }
    // GitHub asks for a minute where it names no time (its documentation on secondary limits).
    Some(after.or_else(|| if spent { until_reset(answer) } else { Some(A_MINUTE) }))
}

/// The time until the primary limit's reset, by the vendor's own clock.
fn until_reset(answer: &Answer) -> Option<std::time::Duration> {
    let reset: u64 = answer.header("x-ratelimit-reset")?.parse().ok()?;
    let now = httpdate::parse_http_date(answer.header("date")?).ok()?;
    let reset = std::time::UNIX_EPOCH + std::time::Duration::from_secs(reset);
    Some(reset.duration_since(now).unwrap_or_default())
}

fn issue_result(issue: &Value) -> Option<Value> {
    let number = issue.get("number")?.as_u64()?;
    let url = issue.get("html_url")?.as_str()?;
    Some(json!({"number": number, "url": url}))
}

/// The hidden marker by which an issue is found again.
pub(crate) fn marker(key: &str) -> String {
    format!("<!-- tripline:key={key} -->")
}

/// Looks for the issue among those changed since `since`, in every state, on every page.
pub(crate) async fn find_issue(
    http: &Http,
    github: &GithubDestination,
    issue: &OpenIssue,
    since: DateTime<Utc>,
) -> Look {
    let ready = match ready(github, issue) {
        Ok(ready) => ready,
        Err(why) => return Look::CannotTell(why),
    };
    let marker = marker(&issue.key);
    for page in 1..=MAX_PAGES {
        let built = match request(http, &ready, Method::GET) {
            Ok(built) => built.query(&[
                ("state", "all"),
                ("sort", "created"),
                ("direction", "desc"),
                ("since", &since.to_rfc3339_opts(SecondsFormat::Secs, true)),
                ("per_page", &PER_PAGE.to_string()),
                ("page", &page.to_string()),
            ]),
            Err(why) => return Look::CannotTell(why),
        };
        let answer = match http.send(built).await {
            Ok(answer) => answer,
            Err(NoAnswer::NotSent(why) | NoAnswer::Unclear { why, .. }) => {
                return Look::NotNow(format!("GitHub: {why}"));
            }
        };
        let status = answer.status;
        if status.is_server_error() || rate_limited(&answer).is_some() {
            return Look::NotNow(format!("GitHub answered HTTP {status}{}", message(&answer)));
        }
        let Some(Value::Array(issues)) = answer.json().filter(|_| status.is_success()) else {
            return Look::CannotTell(format!(
                "GitHub does not list the repository's issues (HTTP {status}){}",
                message(&answer)
            ));
        };
        let ours = issues.iter().find(|found| {
            let body = found.get("body").and_then(Value::as_str).unwrap_or_default();
            // On a line of its own: our texts never leave vendor text there, so a quotation is not taken for it.
            found.get("pull_request").is_none() && body.lines().any(|line| line.trim() == marker)
        });
        if let Some(ours) = ours {
            return match issue_result(ours) {
                Some(mut result) => {
                    result["found"] = json!(true);
                    Look::Found(result)
                }
                None => Look::CannotTell("GitHub lists the issue without its number".to_owned()),
            };
        }
        let more = issues.len() >= PER_PAGE || answer.header("link").is_some_and(|link| link.contains("rel=\"next\""));
        if !more {
            return Look::Absent;
        }
    }
    Look::CannotTell(format!("the issue is not among the last {}", MAX_PAGES * PER_PAGE))
}
