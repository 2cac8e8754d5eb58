//! `GET /search/issues`: the qualifiers a reader needs to find an issue by its text.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::page::Page;
use super::reads::has_labels;
use super::records::created_window;
use super::store::{Numbered, Place, Store};
use super::{invalid, not_found};
use crate::http::{Call, Reply};
use crate::item;
use crate::time::Micros;

/// Searches end here.
const MAX_RESULTS: usize = 1000;

/// Answers a search: `repo:`, `is:`, `state:`, `label:`, `author:`, `created:`, words and "phrases".
pub(crate) fn issues(store: &Store, call: &Call, horizon: Option<Micros>) -> Reply {
    if call.method != "GET" {
        return not_found();
    }
    let Some(query) = call.query.filled("q") else {
        return invalid("Search", "q", "missing");
    };
    let mut repositories: Vec<Place> = Vec::new();
    let mut labels = Vec::new();
    let mut words = Vec::new();
    let mut state = None;
    let mut wants_pulls = None;
    let mut author = None;
    let mut created = (None, None);
    for token in split(query) {
        match token.split_once(':') {
            Some(("repo", name)) => match name.split_once('/') {
                Some((owner, repo)) => repositories.push(Place::new(owner, repo)),
                None => return invalid("Search", "q", "invalid"),
            },
            Some(("is" | "state", value @ ("open" | "closed"))) => state = Some(value.to_owned()),
            Some(("is" | "type", "issue")) => wants_pulls = Some(false),
            Some(("is" | "type", "pr" | "pull-request")) => wants_pulls = Some(true),
            Some(("label", name)) => labels.push(name.trim_matches('"').to_owned()),
            Some(("author", name)) => author = Some(name.to_owned()),
            Some(("created", range)) => match created_window(range) {
                Some(window) => created = window,
                None => return invalid("Search", "q", "invalid"),
            },
            Some(("in", _)) => {}
            _ => words.push(token.trim_matches('"').to_lowercase()),
        }
    }
    if repositories.iter().any(|place| !store.knows(place)) {
        return invalid("Search", "q", "invalid");
    }
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let found: Vec<&Arc<Numbered>> = store
        .issues
        .between(created.0, created.1, horizon)
        .iter()
        .rev()
        .filter(|issue| {
            let here = repositories.is_empty() || repositories.iter().any(|place| issue.place.fits(place));
            let is_pull = issue.item.present("pull_request").is_some();
            here && state.as_deref().is_none_or(|state| issue.state_at(horizon) == state)
                && wants_pulls.is_none_or(|wanted| wanted == is_pull)
                && (labels.is_empty() || has_labels(issue, &labels))
                && author
                    .as_deref()
                    .is_none_or(|author| issue.item.value("user").get("login").and_then(Value::as_str) == Some(author))
                && words.iter().all(|word| says(store, issue, word, horizon))
        })
        .take(MAX_RESULTS)
        .collect();
    let page = Page::parse(&call.query);
    let mut body =
        format!(r#"{{"total_count":{},"incomplete_results":false,"search_type":"lexical","items":"#, found.len());
    item::write_array(
        &mut body,
        page.slice(&found).iter().map(|issue| {
            let mut item = issue.seen_at(horizon).into_owned();
            item.set_raw("score", "1.0");
            Cow::Owned(item)
        }),
    );
    body.push('}');
    let base = format!("{}/github/search/issues", call.origin);
    page.link(Reply::json(body), &base, &call.query, found.len())
}

/// Whether an issue's title, body or one of its comments has a word.
fn says(store: &Store, issue: &Numbered, word: &str, horizon: Option<Micros>) -> bool {
    let has = |text: Option<Cow<'_, str>>| text.is_some_and(|text| text.to_lowercase().contains(word));
    has(issue.item.text("title"))
        || has(issue.item.text("body"))
        || store.comments.iter().any(|comment| {
            comment.number == issue.number
                && comment.place == issue.place
                && horizon.is_none_or(|now| comment.at <= now)
                && has(comment.item.text("body"))
        })
}

/// Splits at spaces outside quotes.
fn split(query: &str) -> Vec<String> {
    let mut tokens = vec![String::new()];
    let mut quoted = false;
    for c in query.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                if let Some(token) = tokens.last_mut() {
                    token.push(c);
                }
            }
            c if c.is_whitespace() && !quoted => tokens.push(String::new()),
            c => {
                if let Some(token) = tokens.last_mut() {
                    token.push(c);
                }
            }
        }
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}
