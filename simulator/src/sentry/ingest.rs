//! Sentry's writes: events through a DSN (`store`, `envelope`), releases and deploys.
//!
//! Owns: the DSN's key, reading both wire forms, grouping events into issues.
//! Must hold: what is accepted is listed at once; a wrong key is a 403 and changes nothing.

use serde_json::{Value, json};

use super::store::{Arrival, Deploy, Release, Store};
use super::{bad_request, not_found};
use crate::http::{Call, Reply};
use crate::item::Item;
use crate::time::{self, Micros};

/// The public key in a project's DSN.
pub(crate) fn public_key(project_id: &str) -> String {
    format!("{:0>32}", hex::encode(project_id))
}

/// `POST /api/{project}/store/` and `/envelope/`.
pub(crate) fn receive(store: &mut Store, call: &Call, project: &str, kind: &str, now: Micros) -> Reply {
    let Some(found) = store.project(project) else {
        return refused("bad sentry DSN: unknown project");
    };
    let slug = found.slug.to_string();
    let project_id = found.id.to_string();
    if key_of(call).as_deref() != Some(public_key(&project_id).as_str()) {
        return refused("bad sentry DSN public key");
    }
    let text = String::from_utf8_lossy(&call.body);
    let events = match kind {
        "store" => serde_json::from_str(&text).map(|event| vec![event]).ok(),
        _ => envelope(&text),
    };
    let Some(events) = events else {
        return bad_request("malformed event payload");
    };
    let mut last_id = String::new();
    for event in &events {
        let (arrival, id) = take_apart(event, &slug, &project_id, now, store.events.all().len());
        store.put_event(arrival);
        last_id = id;
    }
    Reply::value(200, &json!({ "id": last_id })).wrote(call)
}

fn refused(detail: &str) -> Reply {
    Reply::value(403, &json!({"detail": detail, "causes": []}))
}

/// The key from `X-Sentry-Auth`, `Authorization: Sentry …` or the query.
fn key_of(call: &Call) -> Option<String> {
    if let Some(key) = call.query.filled("sentry_key") {
        return Some(key.to_owned());
    }
    let header = call.header("x-sentry-auth").or(call.header("authorization"))?;
    header
        .trim_start_matches("Sentry")
        .split(',')
        .find_map(|pair| pair.trim().strip_prefix("sentry_key="))
        .map(str::to_owned)
}

/// The events of an envelope: header line, then pairs of item header and payload.
fn envelope(text: &str) -> Option<Vec<Value>> {
    let mut lines = text.lines();
    serde_json::from_str::<Value>(lines.next()?).ok()?;
    let mut events = Vec::new();
    while let Some(header) = lines.next() {
        if header.trim().is_empty() {
            continue;
        }
        let header: Value = serde_json::from_str(header).ok()?;
        let payload = lines.next()?;
        if header.get("type").and_then(Value::as_str) == Some("event") {
            events.push(serde_json::from_str(payload).ok()?);
        }
    }
    Some(events)
}

fn take_apart(event: &Value, slug: &str, project_id: &str, now: Micros, count: usize) -> (Arrival, String) {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    let exception = event
        .pointer("/exception/values")
        .or_else(|| event.get("exception"))
        .and_then(Value::as_array)
        .and_then(|values| values.last());
    let of_exception = |key: &str| exception.and_then(|e| e.get(key)).and_then(Value::as_str);
    let message = event
        .pointer("/logentry/formatted")
        .or_else(|| event.pointer("/logentry/message"))
        .or_else(|| event.get("message"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let title = match (of_exception("type"), of_exception("value")) {
        (Some(kind), Some(value)) => format!("{kind}: {value}"),
        (Some(kind), None) => kind.to_owned(),
        _ if message.is_empty() => "<unlabeled event>".to_owned(),
        _ => message.to_owned(),
    };
    let frame = exception
        .and_then(|e| e.pointer("/stacktrace/frames"))
        .and_then(Value::as_array)
        .and_then(|frames| frames.last());
    let filename = frame.and_then(|f| f.get("filename")).and_then(Value::as_str);
    let function = frame.and_then(|f| f.get("function")).and_then(Value::as_str);
    let culprit = text("transaction")
        .map(str::to_owned)
        .or_else(|| Some(format!("{} in {}", filename?, function?)))
        .unwrap_or_default();
    let at = match event.get("timestamp") {
        Some(Value::String(text)) => time::parse(text),
        Some(Value::Number(number)) => time::from_epoch_seconds(&number.to_string()),
        _ => None,
    }
    .unwrap_or(now);
    let id = text("event_id").map_or_else(|| format!("{:032x}", 0xe0_0000 + count), |id| id.replace('-', ""));
    let level = text("level").unwrap_or("error");
    let platform = text("platform").unwrap_or("other");
    let grouping = match event.get("fingerprint") {
        Some(Value::Array(parts)) if !parts.contains(&json!("{{ default }}")) => {
            format!("{slug}|{}", Value::Array(parts.clone()))
        }
        // Numbers differ between events of the same trouble ("attempt 7").
        _ => format!("{slug}|{}", title.chars().filter(|c| !c.is_ascii_digit()).collect::<String>()),
    };
    let metadata = match exception {
        Some(_) => json!({"type": of_exception("type"), "value": of_exception("value"),
                          "filename": filename, "function": function}),
        None => json!({ "title": title }),
    };
    let mut tags: Vec<Value> = match event.get("tags") {
        Some(Value::Object(map)) => map
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value.as_str().map_or_else(|| value.to_string(), str::to_owned)}))
            .collect(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .filter_map(|pair| Some(json!({"key": pair.get(0)?, "value": pair.get(1)?})))
            .collect(),
        _ => Vec::new(),
    };
    for key in ["environment", "release", "transaction"] {
        if let Some(value) = text(key) {
            tags.push(json!({"key": key, "value": value}));
        }
    }
    tags.push(json!({"key": "level", "value": level}));
    let kind = if exception.is_some() { "error" } else { "default" };
    let issue = Item::new()
        .with_raw("shareId", "null")
        .with_text("title", &title)
        .with_text("culprit", &culprit)
        .with_text("permalink", &format!("https://sentry.io/organizations/simulated/issues/?project={project_id}"))
        .with_raw("logger", "null")
        .with_text("level", level)
        .with_text("status", "unresolved")
        .with_raw("statusDetails", "{}")
        .with_text("substatus", "new")
        .with_raw("isPublic", "false")
        .with_text("platform", platform)
        .with_text("priority", "high")
        .with_raw("priorityLockedAt", "null")
        .with_raw("seerFixabilityScore", "null")
        .with_raw("seerAutofixLastTriggered", "null")
        .with_raw("seerExplorerAutofixLastTriggered", "null")
        .with("project", &json!({"id": project_id, "name": slug, "slug": slug, "platform": platform}))
        .with_text("type", kind)
        .with_text("issueType", "error")
        .with_text("issueCategory", "error")
        .with("metadata", &metadata)
        .with_raw("numComments", "0")
        .with_raw("assignedTo", "null")
        .with_raw("isBookmarked", "false")
        .with_raw("isSubscribed", "false")
        .with_raw("subscriptionDetails", "null")
        .with_raw("hasSeen", "false")
        .with_raw("annotations", "[]")
        .with_raw("isUnhandled", "false");
    let entries = json!([{"type": "exception", "data": event.get("exception").cloned().unwrap_or_default()}]);
    let shown = Item::new()
        .with_text("id", &id)
        .with_text("event.type", kind)
        .with_text("eventID", &id)
        .with_text("projectID", project_id)
        .with_text("message", message)
        .with_text("title", &title)
        .with_opt("location", filename)
        .with_text("culprit", &culprit)
        .with("user", event.get("user").unwrap_or(&Value::Null))
        .with("tags", &Value::Array(tags))
        .with_text("platform", platform)
        .with_text("dateCreated", &time::micros_z(at))
        .with_raw("crashFile", "null")
        .with("metadata", &metadata);
    let arrival = Arrival { project: slug.to_owned(), grouping, at, issue, event: shown, entries };
    (arrival, id)
}

/// `POST /api/0/organizations/{org}/releases/`.
pub(crate) fn release(store: &mut Store, call: &Call, now: Micros) -> Reply {
    let body = call.json().unwrap_or_default();
    let Some(version) = body.get("version").and_then(Value::as_str).filter(|v| !v.is_empty()) else {
        return Reply::value(400, &json!({"version": ["This field is required."]}));
    };
    let slugs: Vec<&str> = body
        .get("projects")
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    if slugs.is_empty() {
        return Reply::value(400, &json!({"projects": ["This field is required."]}));
    }
    let projects: Vec<Value> = slugs
        .iter()
        .filter_map(|slug| store.project(slug))
        .map(|p| {
            json!({"id": p.id.parse::<u64>().unwrap_or_default(), "slug": &*p.slug, "name": &*p.item.key("name"),
                   "platform": p.item.value("platform"), "platforms": [], "hasHealthData": false, "newGroups": 0})
        })
        .collect();
    let at = body.get("dateReleased").and_then(Value::as_str).and_then(time::parse);
    let released = at.map_or(Value::Null, |at| json!(time::micros_z(at)));
    let commit = body
        .pointer("/refs/0/commit")
        .or_else(|| body.pointer("/commits/0/id"))
        .or_else(|| body.get("ref"))
        .cloned()
        .unwrap_or_default();
    let item = Item::new()
        .with_num("id", 7_000_000 + store.releases.all().len())
        .with_text("version", version)
        .with_text("shortVersion", version)
        .with_text("status", "open")
        .with("ref", &commit)
        .with("url", body.get("url").unwrap_or(&Value::Null))
        .with("dateReleased", &released)
        .with_text("dateCreated", &time::micros_z(at.unwrap_or(now)))
        .with(
            "versionInfo",
            &json!({"description": version, "package": null, "version": {"raw": version}, "buildHash": null}),
        )
        .with_raw("data", "{}")
        .with_raw("newGroups", "0")
        .with_raw("commitCount", if commit.is_null() { "0" } else { "1" })
        .with("lastCommit", &if commit.is_null() { Value::Null } else { json!({ "id": commit }) })
        .with_raw("deployCount", "0")
        .with_raw("lastDeploy", "null")
        .with_raw("authors", "[]")
        .with("projects", &Value::Array(projects))
        .with_raw("firstEvent", "null")
        .with_raw("lastEvent", "null");
    let answer = Reply::json(item.json()).with_status(201).wrote(call);
    let known = store.releases.all().iter().find(|r| &*r.version == version).cloned();
    match known {
        Some(known) => Reply::json(known.item.json()).with_status(208),
        None => {
            store.releases.insert(std::sync::Arc::new(Release::new(item)));
            answer
        }
    }
}

/// `POST /api/0/organizations/{org}/releases/{version}/deploys/`.
pub(crate) fn deploy(store: &mut Store, call: &Call, version: &str, now: Micros) -> Reply {
    if !store.releases.all().iter().any(|r| &*r.version == version) {
        return not_found();
    }
    let body = call.json().unwrap_or_default();
    let Some(environment) = body.get("environment").and_then(Value::as_str) else {
        return Reply::value(400, &json!({"environment": ["This field is required."]}));
    };
    let time_of = |key: &str| body.get(key).and_then(Value::as_str).and_then(time::parse);
    let finished = time_of("dateFinished").unwrap_or(now);
    let started = time_of("dateStarted").map_or(Value::Null, |at| json!(time::micros_z(at)));
    let item = Item::new()
        .with_text("id", &(8_000_000 + store.deploys.all().len()).to_string())
        .with_text("environment", environment)
        .with("dateStarted", &started)
        .with_text("dateFinished", &time::micros_z(finished))
        .with("name", body.get("name").unwrap_or(&Value::Null))
        .with("url", body.get("url").unwrap_or(&Value::Null));
    let answer = Reply::json(item.json()).with_status(201).wrote(call);
    store.deploys.insert(std::sync::Arc::new(Deploy::new(item.with_text("_version", version))));
    answer
}
