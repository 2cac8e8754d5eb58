//! GitHub's writes: issues, comments on them, reviews of pull requests.
//!
//! Must hold: what is written is listed at once, with the text exactly as it was sent.

use std::sync::Arc;

use serde_json::{Value, json};

use super::shapes::account;
use super::store::{Numbered, Remark, Store};
use super::{Scope, error, invalid, not_found, number_of, text_of};
use crate::http::{Call, Reply};
use crate::item::Item;
use crate::time;

/// GitHub's longest body.
const MAX_BODY: usize = 65_536;

/// The account that the token belongs to.
pub(crate) fn bot() -> Value {
    account("tripline-bot", 4_242_424, "User")
}

/// Answers a write below `/repos/{owner}/{repo}`.
pub(crate) fn answer(store: &mut Store, scope: &Scope, rest: &[&str], call: &Call) -> Reply {
    let Some(body) = call.json().filter(Value::is_object) else {
        return error(400, "Problems parsing JSON");
    };
    if text_of(&body, "body").is_some_and(|text| text.chars().count() > MAX_BODY) {
        return invalid("Issue", "body", "too_long");
    }
    let reply = match (call.method.as_str(), rest) {
        ("POST", ["issues"]) => create_issue(store, scope, call, &body),
        ("PATCH", ["issues", number]) if *number != "comments" => update_issue(store, scope, number, &body),
        ("POST", ["issues", number, "comments"]) => create_comment(store, scope, call, number, &body),
        ("PATCH", ["issues", "comments", id]) => update_comment(store, scope, id, &body),
        ("POST", ["check-runs"]) => create_check(store, scope, call, &body),
        ("POST", ["pulls", number, "reviews"]) => create_review(store, scope, call, number, &body),
        _ => not_found(),
    };
    if reply.status < 300 { reply.wrote(call) } else { reply }
}

fn labels(scope: &Scope, call: &Call, body: &Value) -> Value {
    body.get("labels")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|label| label.as_str().or_else(|| label.get("name")?.as_str()))
        .enumerate()
        .map(|(index, name)| {
            json!({"id": 900 + index, "node_id": format!("LA_{index}"), "name": name, "color": "ededed", "default": false,
                   "description": Value::Null, "url": format!("{}/labels/{name}", scope.api(call))})
        })
        .collect()
}

fn people(names: Option<&Value>) -> Value {
    names
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|login| account(login, 4_242_425, "User"))
        .collect()
}

fn create_issue(store: &mut Store, scope: &Scope, call: &Call, body: &Value) -> Reply {
    let Some(title) = text_of(body, "title").filter(|title| !title.trim().is_empty()) else {
        return invalid("Issue", "title", "missing_field");
    };
    let number = store.next_number(&scope.place);
    let api = format!("{}/issues/{number}", scope.api(call));
    let html = format!("{}/issues/{number}", scope.html());
    let stamp = time::seconds_z(scope.now);
    let assignees = people(body.get("assignees"));
    let item = Item::new()
        .with_num("id", 3_000_000_000_u64.saturating_add(number))
        .with_text("node_id", &format!("I_{number}"))
        .with_text("url", &api)
        .with_text("repository_url", &scope.api(call))
        .with_text("labels_url", &format!("{api}/labels{{/name}}"))
        .with_text("comments_url", &format!("{api}/comments"))
        .with_text("events_url", &format!("{api}/events"))
        .with_text("html_url", &html)
        .with_num("number", number)
        .with_text("state", "open")
        .with_raw("state_reason", "null")
        .with_text("title", title)
        .with("body", body.get("body").unwrap_or(&Value::Null))
        .with("user", &bot())
        .with("labels", &labels(scope, call, body))
        .with("assignee", assignees.get(0).unwrap_or(&Value::Null))
        .with("assignees", &assignees)
        .with_raw("milestone", "null")
        .with_raw("locked", "false")
        .with_raw("active_lock_reason", "null")
        .with_raw("comments", "0")
        .with_raw("closed_at", "null")
        .with_raw("closed_by", "null")
        .with_text("created_at", &stamp)
        .with_text("updated_at", &stamp)
        .with_text("author_association", "MEMBER");
    let reply = Reply::json(item.json()).with_status(201).header("location", api);
    store.issues.insert(Arc::new(placed(item, scope)));
    reply
}

/// A numbered item of this repository.
fn placed(item: Item, scope: &Scope) -> Numbered {
    Numbered::new(item.with_text("_owner", &scope.owner).with_text("_repo", &scope.repo))
}

fn update_issue(store: &mut Store, scope: &Scope, number: &str, body: &Value) -> Reply {
    let Some(old) = number_of(number).and_then(|n| store.issue(&scope.place, n, scope.horizon).cloned()) else {
        return not_found();
    };
    let mut item = old.item.clone();
    for key in ["title", "body"] {
        if let Some(value) = body.get(key) {
            item.set_value(key, value);
        }
    }
    if let Some(Value::Array(names)) = body.get("labels") {
        let labels: Vec<Value> = names
            .iter()
            .filter_map(|name| name.as_str().or_else(|| name.get("name")?.as_str()))
            .map(|name| json!({"id": 900, "node_id": "LA_0", "name": name, "color": "ededed", "default": false, "description": null, "url": ""}))
            .collect();
        item.set_value("labels", &Value::Array(labels));
    }
    let stamp = time::seconds_z(scope.now);
    match text_of(body, "state") {
        None => {}
        Some("closed") => {
            item.set_text("state", "closed");
            item.set_text("state_reason", text_of(body, "state_reason").unwrap_or("completed"));
            item.set_text("closed_at", &stamp);
            item.set_value("closed_by", &bot());
        }
        Some("open") => {
            item.set_text("state", "open");
            item.set_text("state_reason", "reopened");
            item.set_raw("closed_at", "null");
            item.set_raw("closed_by", "null");
        }
        Some(_) => return invalid("Issue", "state", "invalid"),
    }
    item.set_text("updated_at", &stamp);
    let reply = Reply::json(item.json());
    store.issues.replace(&old, Arc::new(placed(item, scope)));
    reply
}

fn remark_fields(scope: &Scope, id: u64, body: &Value) -> Item {
    Item::new()
        .with_num("id", id)
        .with_text("node_id", &format!("IC_{id}"))
        .with("body", body.get("body").unwrap_or(&Value::Null))
        .with("user", &bot())
        .with_text("html_url", &format!("{}/issues#{id}", scope.html()))
        .with_text("author_association", "MEMBER")
}

fn create_comment(store: &mut Store, scope: &Scope, call: &Call, number: &str, body: &Value) -> Reply {
    let Some(number) = number_of(number) else {
        return not_found();
    };
    let issue = store.issue(&scope.place, number, scope.horizon).cloned();
    if issue.is_none() && store.pull(&scope.place, number, scope.horizon).is_none() {
        return not_found();
    }
    if text_of(body, "body").is_none_or(|text| text.trim().is_empty()) {
        return invalid("IssueComment", "body", "missing_field");
    }
    let id = 5_000_000_000 + store.comments.len() as u64;
    let stamp = time::seconds_z(scope.now);
    let item = remark_fields(scope, id, body)
        .with_text("url", &format!("{}/issues/comments/{id}", scope.api(call)))
        .with_text("issue_url", &format!("{}/issues/{number}", scope.api(call)))
        .with_text("created_at", &stamp)
        .with_text("updated_at", &stamp);
    if let Some(old) = issue {
        let mut counted = old.item.clone();
        let comments = counted.number("comments").map_or(0, |n| n as u64);
        let comments = comments.saturating_add(1);
        counted.set_raw("comments", comments.to_string());
        counted.set_text("updated_at", &stamp);
        store.issues.replace(&old, Arc::new(placed(counted, scope)));
    }
    let reply = Reply::json(item.json()).with_status(201);
    store.comments.push(Remark { item, place: scope.place.clone(), number, id, at: scope.now });
    reply
}

fn update_comment(store: &mut Store, scope: &Scope, id: &str, body: &Value) -> Reply {
    let id = number_of(id);
    let Some(comment) = store.comments.iter_mut().find(|c| Some(c.id) == id && c.place.fits(&scope.place)) else {
        return not_found();
    };
    let Some(text) = text_of(body, "body") else {
        return invalid("IssueComment", "body", "missing_field");
    };
    comment.item.set_text("body", text);
    comment.item.set_text("updated_at", &time::seconds_z(scope.now));
    Reply::json(comment.item.json())
}

/// A check of a commit. Only answered, not kept: nothing here lists checks.
fn create_check(store: &Store, scope: &Scope, call: &Call, body: &Value) -> Reply {
    let (Some(name), Some(head)) = (text_of(body, "name"), text_of(body, "head_sha")) else {
        return invalid("CheckRun", "name", "missing_field");
    };
    let status = text_of(body, "status").unwrap_or("queued");
    let conclusion = text_of(body, "conclusion");
    let known = ["success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required"];
    if status == "completed" && conclusion.is_none_or(|conclusion| !known.contains(&conclusion)) {
        return invalid("CheckRun", "conclusion", "invalid");
    }
    let id = 7_000_000_000 + store.comments.len() as u64;
    let item = Item::new()
        .with_num("id", id)
        .with_text("name", name)
        .with_text("head_sha", head)
        .with_text("status", status)
        .with("conclusion", body.get("conclusion").unwrap_or(&Value::Null))
        .with("external_id", body.get("external_id").unwrap_or(&Value::Null))
        .with("output", body.get("output").unwrap_or(&Value::Null))
        .with_text("url", &format!("{}/check-runs/{id}", scope.api(call)))
        .with_text("html_url", &format!("{}/runs/{id}", scope.html()));
    Reply::json(item.json()).with_status(201)
}

fn create_review(store: &mut Store, scope: &Scope, call: &Call, number: &str, body: &Value) -> Reply {
    let Some(pull) = number_of(number).and_then(|n| store.pull(&scope.place, n, scope.horizon).cloned()) else {
        return not_found();
    };
    let state = match text_of(body, "event") {
        None => "PENDING",
        Some("APPROVE") => "APPROVED",
        Some("REQUEST_CHANGES") => "CHANGES_REQUESTED",
        Some("COMMENT") => "COMMENTED",
        Some(_) => return invalid("PullRequestReview", "event", "invalid"),
    };
    let needs_text = ["CHANGES_REQUESTED", "COMMENTED"].contains(&state);
    if needs_text && text_of(body, "body").is_none_or(|text| text.trim().is_empty()) {
        return invalid("PullRequestReview", "body", "missing_field");
    }
    let id = 6_000_000_000 + store.reviews.len() as u64;
    let url = format!("{}/pulls/{}", scope.api(call), pull.number);
    let head = pull.item.value("head");
    let item = remark_fields(scope, id, &json!({"body": text_of(body, "body").unwrap_or_default()}))
        .with_text("state", state)
        .with_text("pull_request_url", &url)
        .with_text("submitted_at", &time::seconds_z(scope.now))
        .with("commit_id", body.get("commit_id").or(head.get("sha")).unwrap_or(&Value::Null))
        .with(
            "_links",
            &json!({"html": {"href": format!("{}/pull/{}", scope.html(), pull.number)}, "pull_request": {"href": url}}),
        );
    let reply = Reply::json(item.json());
    store.reviews.push(Remark { item, place: scope.place.clone(), number: pull.number, id, at: scope.now });
    reply
}
