//! Requests below a GitHub repository, for what is written to issues and pull requests.
//!
//! Owns: how they are built, looking for what carries an action's marker, and what GitHub's answers mean. Must hold: what was
//! not looked through to its end is not said to be absent.

use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::destinations::{GithubDestination, Repository};
use super::github;
use super::http::{Answer, Http, NoAnswer};
use super::outcome::{Look, Sent};

const PER_PAGE: usize = 100;
/// What stands beyond the three-thousandth are not looked through.
const MAX_PAGES: usize = 30;

/// GitHub, as far as one repository goes.
pub(super) struct Api<'a> {
    http: &'a Http,
    github: &'a GithubDestination,
    repository: Repository,
}

impl<'a> Api<'a> {
    /// Of `repository`, as `owner/name`.
    pub(super) fn new(http: &'a Http, github: &'a GithubDestination, repository: &str) -> Result<Self, String> {
        Ok(Self { http, github, repository: repository.parse()? })
    }

    /// A request below the repository.
    pub(super) fn request(&self, method: Method, rest: &[&str]) -> Result<RequestBuilder, String> {
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

    /// Writes something and says what it became.
    pub(super) async fn write(
        &self,
        method: Method,
        rest: &[&str],
        body: &Value,
        hint: fn(StatusCode) -> &'static str,
    ) -> Sent {
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
    pub(super) async fn marked(&self, rest: &[&str], key: &str) -> Result<Vec<Value>, Look> {
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
                return Err(Look::CannotTell("GitHub does not list what was written there".to_owned()));
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

/// An answer that says it was done, or what else it means.
pub(super) fn judged(sent: Result<Answer, NoAnswer>, hint: fn(StatusCode) -> &'static str) -> Result<Answer, Sent> {
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
