//! Writing to a pull request: the one comment, a review that requests changes, a check.
//!
//! Owns GitHub's requests for them and what its answers mean. Must hold: the comment is looked for before it is made, so there
//! is one; a review carries the action's marker, so that it is found after an answer was lost.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::destinations::GithubDestination;
use super::github_api::Api;
use super::http::Http;
use super::kinds::{CheckRun, PullComment, RequestChanges};
use super::outcome::{Look, Sent};

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
