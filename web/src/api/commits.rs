//! Commits by id, of the installation's repository only.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tripline_engine::{Engine, EngineError, Param, QueryOptions, json_rows};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::extract::Params;
use crate::state::WebState;

const MOST: usize = 50;
const WITHIN: Duration = Duration::from_secs(20);
const SQL: &str = "SELECT sha, split_part(commit__message, chr(10), 1) AS message, \
                   coalesce(author__login, commit__author__name) AS author, html_url AS url FROM github.commits \
                   WHERE owner = $owner AND repo = $repo AND branch = $sha LIMIT 1";

/// Which commits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Ids, separated by commas, at most 50.
    shas: String,
    owner: Option<String>,
    repo: Option<String>,
}

/// A commit.
#[derive(Debug, Serialize)]
pub(crate) struct Commit {
    sha: String,
    /// First line of its message; `null` when it is not known.
    message: Option<String>,
    author: Option<String>,
    url: Option<String>,
    /// Why nothing is known of it; absent when something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The commits, in the order they were asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Commits {
    items: Vec<Commit>,
}

pub(crate) async fn list(
    State(state): State<WebState>,
    caller: Caller,
    Params(query): Params<Query>,
) -> Result<Json<Commits>, ApiError> {
    caller.of_installation(&state)?;
    super::risk::only_ours(&state, query.owner.as_deref(), query.repo.as_deref())?;
    let mut shas: Vec<String> = Vec::new();
    for sha in query.shas.split(',').map(str::trim).filter(|sha| !sha.is_empty()) {
        let is_sha = (7..=64).contains(&sha.len()) && sha.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_sha {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "bad_parameter", "shas: one of them is no commit id")
                .hint("commit ids are 7 to 64 hexadecimal digits, separated by commas"));
        }
        if !shas.iter().any(|known| known == sha) {
            shas.push(sha.to_ascii_lowercase());
        }
    }
    if shas.is_empty() || shas.len() > MOST {
        return Err(ApiError::unprocessable(format!("shas: 1 to {MOST} commit ids")));
    }
    let target = state.parts().risk.repository().map_err(|error| super::risk::failed(&error))?;
    let engine = state.parts().engines.engine(&caller.scope).await?;
    let (owner, repo) = (target.owner().to_owned(), target.name().to_owned());
    let found = join_all(shas.iter().map(|sha| one(&engine, &owner, &repo, sha))).await;
    let items = shas.into_iter().zip(found).map(|(sha, found)| match found {
        Ok(Some(commit)) => commit,
        Ok(None) => unknown(sha, "there is no such commit"),
        Err(error) => unknown(sha, &error.to_string()),
    });
    Ok(Json(Commits { items: items.collect() }))
}

fn unknown(sha: String, why: &str) -> Commit {
    Commit { sha, message: None, author: None, url: None, error: Some(why.to_owned()) }
}

async fn one(engine: &Engine, owner: &str, repo: &str, sha: &str) -> Result<Option<Commit>, EngineError> {
    let text = |value: &str| Param::Text(value.to_owned());
    let params = [("owner", text(owner)), ("repo", text(repo)), ("sha", text(sha))];
    let options = QueryOptions {
        params: params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        timeout: WITHIN,
        max_requests: 5,
        ..QueryOptions::default()
    };
    let result = engine.collect(SQL, options).await?;
    let rows = json_rows(&result.schema, &result.batches).map_err(|error| EngineError::Execution(error.to_string()))?;
    Ok(rows.into_iter().next().and_then(|row| {
        let text = |name: &str| row.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
        // The listing begins with the commit that was named.
        let found = text("sha").filter(|found| found.starts_with(sha))?;
        Some(Commit { sha: found, message: text("message"), author: text("author"), url: text("url"), error: None })
    }))
}
