//! Closing an issue that Tripline opened, and opening it again: a comment that says why, then the state.
//!
//! Owns GitHub's requests for both. Must hold: the comment is made once: it carries the action's marker, and is looked for
//! before it is made; setting the state may be repeated.

use reqwest::Method;
use serde_json::{Value, json};

use super::destinations::GithubDestination;
use super::github;
use super::github_api::{Api, judged};
use super::http::Http;
use super::kinds::SetIssueState;
use super::outcome::{Look, Sent};

/// Comments, unless that was done, and sets the state.
pub(crate) async fn set(http: &Http, github: &GithubDestination, change: &SetIssueState, number: u64) -> Sent {
    let api = match Api::new(http, github, &change.repository) {
        Ok(api) => api,
        Err(why) => return Sent::Never(why),
    };
    let issue = number.to_string();
    match find_comment(&api, &issue, &change.key).await {
        Look::Found(_) => {}
        Look::Absent => {
            let body = json!({"body": change.comment});
            match api.write(Method::POST, &["issues", &issue, "comments"], &body, github::hint).await {
                Sent::Done(_) => {}
                sent => return sent,
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
    let built = match api.request(Method::PATCH, &["issues", &issue]) {
        Ok(built) => built.json(&body),
        Err(why) => return Sent::Never(why),
    };
    match judged(http.send(built).await, github::hint) {
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
    match Api::new(http, github, &change.repository) {
        // Whether the state was set too does not matter: setting it again does no harm, so it is sent again.
        Ok(api) => match find_comment(&api, &number.to_string(), &change.key).await {
            Look::Found(_) | Look::Absent => Look::Absent,
            other => other,
        },
        Err(why) => Look::CannotTell(why),
    }
}

async fn find_comment(api: &Api<'_>, issue: &str, key: &str) -> Look {
    match api.marked(&["issues", issue, "comments"], key).await {
        Ok(found) if found.is_empty() => Look::Absent,
        Ok(_) => Look::Found(Value::Null),
        Err(look) => look,
    }
}
