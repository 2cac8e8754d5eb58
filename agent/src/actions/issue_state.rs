//! Closing an issue that Tripline opened, and opening it again: a comment that says why, then the state.
//!
//! Owns GitHub's requests for both. Must hold: the comment is made once: it carries the action's marker, and is looked for
//! before it is made; setting the state may be repeated.

use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::destinations::{GithubDestination, Repository};
use super::github;
use super::http::{Answer, Http, NoAnswer};
use super::kinds::SetIssueState;
use super::outcome::{Look, Sent};

const PER_PAGE: usize = 100;
/// Comments beyond the thousandth are not looked through.
const MAX_PAGES: usize = 10;

struct Target<'a> {
    http: &'a Http,
    github: &'a GithubDestination,
    repository: Repository,
    number: u64,
}

impl Target<'_> {
    fn request(&self, method: Method, rest: &[&str]) -> Result<RequestBuilder, String> {
        let mut url = self.github.api.as_ref().map_err(Clone::clone)?.clone();
        let token = self.github.token.as_ref().ok_or("GITHUB_TOKEN is not set: the issue cannot be changed")?;
        let number = self.number.to_string();
        url.path_segments_mut()
            .map_err(|()| "GITHUB_API_URL has no path")?
            .pop_if_empty()
            .extend(["repos", self.repository.owner(), self.repository.name(), "issues", &number])
            .extend(rest);
        Ok(self
            .http
            .client()
            .request(method, url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", github::API_VERSION)
            .header(AUTHORIZATION, github::bearer(token)?))
    }
}

fn target<'a>(
    http: &'a Http,
    github: &'a GithubDestination,
    change: &SetIssueState,
    number: u64,
) -> Result<Target<'a>, String> {
    Ok(Target { http, github, repository: change.repository.parse()?, number })
}

/// Comments, unless that was done, and sets the state.
pub(crate) async fn set(http: &Http, github: &GithubDestination, change: &SetIssueState, number: u64) -> Sent {
    let target = match target(http, github, change, number) {
        Ok(target) => target,
        Err(why) => return Sent::Never(why),
    };
    match find_comment(&target, &change.key).await {
        Look::Found(_) => {}
        Look::Absent => {
            let built = match target.request(Method::POST, &["comments"]) {
                Ok(built) => built.json(&json!({"body": change.comment})),
                Err(why) => return Sent::Never(why),
            };
            if let Err(sent) = judged(http.send(built).await) {
                return sent;
            }
        }
        Look::NotNow(why) => return Sent::NotNow { why, retry_after: None },
        Look::CannotTell(why) => return Sent::Never(why),
    }
    let body = if change.open {
        json!({"state": "open", "state_reason": "reopened"})
    } else {
        json!({"state": "closed", "state_reason": "completed"})
    };
    let built = match target.request(Method::PATCH, &[]) {
        Ok(built) => built.json(&body),
        Err(why) => return Sent::Never(why),
    };
    match judged(http.send(built).await) {
        Ok(answer) => {
            let url = answer.json().and_then(|issue| Some(issue.get("html_url")?.as_str()?.to_owned()));
            Sent::Done(json!({"number": number, "state": if change.open { "open" } else { "closed" }, "url": url}))
        }
        // The comment is found when it is tried again, so an unclear answer is one to try again after.
        Err(Sent::Unclear { why, .. }) => Sent::NotNow { why, retry_after: None },
        Err(sent) => sent,
    }
}

/// Looks for the comment of this change.
pub(crate) async fn find(http: &Http, github: &GithubDestination, change: &SetIssueState, number: u64) -> Look {
    match target(http, github, change, number) {
        // Whether the state was set too does not matter: setting it again does no harm, so it is sent again.
        Ok(target) => match find_comment(&target, &change.key).await {
            Look::Found(_) | Look::Absent => Look::Absent,
            other => other,
        },
        Err(why) => Look::CannotTell(why),
    }
}

async fn find_comment(target: &Target<'_>, key: &str) -> Look {
    let marker = github::marker(key);
    for page in 1..=MAX_PAGES {
        let built = match target.request(Method::GET, &["comments"]) {
            Ok(built) => built.query(&[("per_page", PER_PAGE.to_string()), ("page", page.to_string())]),
            Err(why) => return Look::CannotTell(why),
        };
        let answer = match judged(target.http.send(built).await) {
            Ok(answer) => answer,
            Err(Sent::NotNow { why, .. } | Sent::Unclear { why, .. }) => return Look::NotNow(why),
            Err(Sent::Never(why)) => return Look::CannotTell(why),
            Err(Sent::Done(_) | Sent::Requested(_)) => {
                return Look::CannotTell("GitHub's answer was not understood".to_owned());
            }
        };
        let Some(Value::Array(comments)) = answer.json() else {
            return Look::CannotTell("GitHub does not list the issue's comments".to_owned());
        };
        let ours = |comment: &&Value| {
            let body = comment.get("body").and_then(Value::as_str).unwrap_or_default();
            body.lines().any(|line| line.trim() == marker)
        };
        if comments.iter().find(ours).is_some() {
            return Look::Found(Value::Null);
        }
        if comments.len() < PER_PAGE {
            return Look::Absent;
        }
    }
    Look::Absent
}

/// An answer that says it was done, or what else it means.
fn judged(sent: Result<Answer, NoAnswer>) -> Result<Answer, Sent> {
    let answer = match sent {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why)) => return Err(Sent::NotNow { why: format!("GitHub: {why}"), retry_after: None }),
        Err(NoAnswer::Unclear { why, answered }) => {
            return Err(Sent::Unclear { why: format!("GitHub: {why}"), in_flight: answered.is_none() });
        }
    };
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let said = github::message(&answer);
    if let Some(retry_after) = github::rate_limited(&answer) {
        return Err(Sent::NotNow { why: format!("GitHub is rate limiting (HTTP {status}){said}"), retry_after });
    }
    if status.is_server_error() {
        let in_flight = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        return Err(Sent::Unclear { why: format!("GitHub answered HTTP {status}{said}"), in_flight });
    }
    Err(Sent::Never(format!("GitHub refused (HTTP {status}){said}{}", github::hint(status))))
}
