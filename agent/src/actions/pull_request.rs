//! Writing to a pull request: the one comment, a review that requests changes, a check.
//!
//! Owns GitHub's requests for them and what its answers mean. Must hold: the comment is looked for before it is made, so there
//! is one; a review carries the action's marker, so that it is found after an answer was lost.

use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::destinations::{GithubDestination, Repository};
use super::github;
use super::http::{Answer, Http, NoAnswer};
use super::kinds::{CheckRun, PullComment, RequestChanges};
use super::outcome::{Look, Sent};

const PER_PAGE: usize = 100;
/// Comments and reviews beyond the three-thousandth are not looked through.
const MAX_PAGES: usize = 30;

struct Api<'a> {
    http: &'a Http,
    github: &'a GithubDestination,
    repository: Repository,
}

impl<'a> Api<'a> {
    fn new(http: &'a Http, github: &'a GithubDestination, repository: &str) -> Result<Self, String> {
        Ok(Self { http, github, repository: repository.parse()? })
    }

    fn request(&self, method: Method, rest: &[&str]) -> Result<RequestBuilder, String> {
        let mut url = self.github.api.as_ref().map_err(Clone::clone)?.clone();
        let token = self.github.token.as_ref().ok_or("GITHUB_TOKEN is not set: nothing can be written to GitHub")?;
        url.path_segments_mut()
            .map_err(|()| "GITHUB_API_URL has no path")?
            .pop_if_empty()
            .extend(["repos", self.repository.owner(), self.repository.name()])
            .extend(rest);
        Ok(self
            .http
            .client()
            .request(method, url)
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", github::API_VERSION)
            .header(AUTHORIZATION, github::bearer(token)?))
    }

    async fn write(&self, method: Method, rest: &[&str], body: &Value, hint: fn(StatusCode) -> &'static str) -> Sent {
        let built = match self.request(method, rest) {
            Ok(built) => built.json(body),
            Err(why) => return Sent::Never(why),
        };
        match judged(self.http.send(built).await, hint) {
            Ok(answer) => {
                let body = answer.json().unwrap_or_default();
                Sent::Done(json!({"id": body.get("id"), "url": body.get("html_url")}))
            }
            Err(sent) => sent,
        }
    }

    /// Everything below `rest` whose body has the marker on a line of its own, oldest first.
    async fn marked(&self, rest: &[&str], key: &str) -> Result<Vec<Value>, Look> {
        let marker = github::marker(key);
        let mut found = Vec::new();
        for page in 1..=MAX_PAGES {
            let built = self.request(Method::GET, rest).map_err(Look::CannotTell)?;
            let built = built.query(&[("per_page", PER_PAGE.to_string()), ("page", page.to_string())]);
            let answer = match judged(self.http.send(built).await, |_| "") {
                Ok(answer) => answer,
                Err(Sent::NotNow { why, .. } | Sent::Unclear { why, .. }) => return Err(Look::NotNow(why)),
                Err(Sent::Never(why)) => return Err(Look::CannotTell(why)),
                Err(Sent::Done(_) | Sent::Requested(_)) => {
                    return Err(Look::CannotTell("GitHub's answer was not understood".to_owned()));
                }
            };
            let Some(Value::Array(listed)) = answer.json() else {
                return Err(Look::CannotTell("GitHub does not list what was written to the pull request".to_owned()));
            };
            let count = listed.len();
            found.extend(listed.into_iter().filter(|one| {
                let body = one.get("body").and_then(Value::as_str).unwrap_or_default();
                body.lines().any(|line| line.trim() == marker)
            }));
            if count < PER_PAGE {
                return Ok(found);
            }
        }
        Err(Look::CannotTell(format!("it is not among the first {}", MAX_PAGES * PER_PAGE)))
    }
}

/// Writes the comment, or changes the one there is.
pub(crate) async fn comment(http: &Http, github: &GithubDestination, comment: &PullComment) -> Sent {
    let api = match Api::new(http, github, &comment.repository) {
        Ok(api) => api,
        Err(why) => return Sent::Never(why),
    };
    let number = comment.number.to_string();
    let ours = match api.marked(&["issues", &number, "comments"], &comment.key).await {
        Ok(ours) => ours,
        Err(Look::NotNow(why)) => return Sent::NotNow { why, retry_after: None },
        Err(Look::CannotTell(why)) => return Sent::Never(why),
        Err(Look::Found(_) | Look::Absent) => return Sent::Never("GitHub's answer was not understood".to_owned()),
    };
    let body = json!({"body": comment.body});
    for id in ours.iter().filter_map(|one| one.get("id")?.as_u64()) {
        match api.write(Method::PATCH, &["issues", "comments", &id.to_string()], &body, comment_hint).await {
            // Somebody else wrote our marker: theirs is theirs.
            Sent::Never(why) => tracing::warn!(why, "a comment with the marker cannot be changed; another is written"),
            sent => return sent,
        }
    }
    api.write(Method::POST, &["issues", &number, "comments"], &body, comment_hint).await
}

/// Requests changes.
pub(crate) async fn request_changes(http: &Http, github: &GithubDestination, review: &RequestChanges) -> Sent {
    let api = match Api::new(http, github, &review.repository) {
        Ok(api) => api,
        Err(why) => return Sent::Never(why),
    };
    let mut body = json!({"event": "REQUEST_CHANGES", "body": review.body});
    if let Some(sha) = &review.commit_id {
        body["commit_id"] = json!(sha);
    }
    api.write(Method::POST, &["pulls", &review.number.to_string(), "reviews"], &body, review_hint).await
}

/// Looks for the review.
pub(crate) async fn find_review(http: &Http, github: &GithubDestination, review: &RequestChanges) -> Look {
    let api = match Api::new(http, github, &review.repository) {
        Ok(api) => api,
        Err(why) => return Look::CannotTell(why),
    };
    match api.marked(&["pulls", &review.number.to_string(), "reviews"], &review.key).await {
        Ok(found) => match found.first() {
            Some(found) => Look::Found(json!({"id": found.get("id"), "url": found.get("html_url"), "found": true})),
            None => Look::Absent,
        },
        Err(look) => look,
    }
}

/// Writes the check.
pub(crate) async fn check(http: &Http, github: &GithubDestination, check: &CheckRun) -> Sent {
    let api = match Api::new(http, github, &check.repository) {
        Ok(api) => api,
        Err(why) => return Sent::Never(why),
    };
    let body = json!({
        "name": "Tripline risk", "head_sha": check.head_sha, "external_id": check.key, "status": "completed",
        "conclusion": check.conclusion, "output": {"title": check.title, "summary": check.summary},
    });
    api.write(Method::POST, &["check-runs"], &body, check_hint).await
}

fn comment_hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": check GITHUB_TOKEN",
        StatusCode::FORBIDDEN => ": the token needs to write to pull requests (pull requests: read and write)",
        StatusCode::NOT_FOUND => ": the pull request does not exist, or the token may not see it",
        _ => "",
    }
}

fn review_hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNPROCESSABLE_ENTITY => {
            ": GitHub takes no review by the one who opened the pull request, nor of a commit that is not in it"
        }
        other => comment_hint(other),
    }
}

fn check_hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            ": only the token of a GitHub App (checks: write) may write checks"
        }
        other => comment_hint(other),
    }
}

/// An answer that says it was done, or what else it means.
fn judged(sent: Result<Answer, NoAnswer>, hint: fn(StatusCode) -> &'static str) -> Result<Answer, Sent> {
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
    Err(Sent::Never(format!("GitHub refused (HTTP {}){said}{}", status.as_u16(), hint(status))))
}
