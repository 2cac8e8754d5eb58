//! Langfuse's prompts: the list of names, one version by name, and creating versions.
//!
//! Owns: versions, labels (`latest` is the newest version's, a label belongs to one version).
//! A prompt that was loaded only as the list endpoint has it has no content: asking for it by name
//! is a 404 that says so.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::legacy::Page;
use super::objects::Prompt;
use super::store::Store;
use super::{bad_request, not_found, zod_error};
use crate::http::{Call, Params, Reply};
use crate::item::Item;
use crate::time::{self, Micros};

fn visible(prompt: &Prompt, horizon: Option<Micros>) -> bool {
    horizon.is_none_or(|now| prompt.at <= now)
}

fn labels(item: &Item, key: &str) -> Vec<String> {
    item.value(key).as_array().into_iter().flatten().filter_map(|label| label.as_str().map(str::to_owned)).collect()
}

/// The labels of each visible version of a name: a label moves to the newest version that took it.
fn versions<'a>(store: &'a Store, name: &str, horizon: Option<Micros>) -> Vec<(u64, &'a Prompt, Vec<String>)> {
    let mut found: Vec<(u64, &Prompt)> = store
        .prompts
        .iter()
        .filter(|p| &*p.name == name && visible(p, horizon))
        .filter_map(|p| Some((p.version?, p)))
        .collect();
    found.sort_by_key(|(version, _)| *version);
    let newest = found.last().map(|(version, _)| *version);
    let mut owner: BTreeMap<String, u64> = BTreeMap::new();
    for (version, prompt) in &found {
        for label in labels(&prompt.item, "labels") {
            if label != "latest" {
                owner.insert(label, *version);
            }
        }
    }
    found
        .into_iter()
        .map(|(version, prompt)| {
            let mut own: Vec<String> =
                owner.iter().filter(|(_, holder)| **holder == version).map(|(label, _)| label.clone()).collect();
            if newest == Some(version) {
                own.push("latest".to_owned());
            }
            (version, prompt, own)
        })
        .collect()
}

/// `GET /api/public/v2/prompts`.
pub(crate) fn list(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, Box<Reply>> {
    let page = Page::parse(query)?;
    let mut entries: BTreeMap<Box<str>, (Micros, Item)> = BTreeMap::new();
    for prompt in store.prompts.iter().filter(|p| visible(p, horizon)) {
        if prompt.version.is_none() {
            entries.insert(prompt.name.clone(), (prompt.at, prompt.item.clone()));
        } else if !entries.contains_key(&prompt.name)
            && let Some(entry) = summary(store, &prompt.name, horizon)
        {
            entries.insert(prompt.name.clone(), entry);
        }
    }
    let from = query.time("fromUpdatedAt");
    let to = query.time("toUpdatedAt");
    let has = |item: &Item, key: &str, parameter: &str| {
        query.filled(parameter).is_none_or(|wanted| labels(item, key).iter().any(|label| label == wanted))
    };
    let found: Vec<Item> = entries
        .into_iter()
        .filter(|(name, (at, item))| {
            query.filled("name").is_none_or(|wanted| wanted == &**name)
                && has(item, "labels", "label")
                && has(item, "tags", "tag")
                && from.is_none_or(|from| *at >= from)
                && to.is_none_or(|to| *at < to)
        })
        .map(|(_, (_, item))| item)
        .collect();
    let total = found.len();
    let shown = found.iter().skip(page.skip()).take(page.limit());
    Ok(page.answer(shown.map(Cow::Borrowed), total))
}

fn summary(store: &Store, name: &str, horizon: Option<Micros>) -> Option<(Micros, Item)> {
    let versions = versions(store, name, horizon);
    let (_, newest, _) = versions.last()?;
    let at = versions.iter().map(|(_, prompt, _)| prompt.at).max()?;
    let numbers: Vec<u64> = versions.iter().map(|(version, ..)| *version).collect();
    let all_labels: Vec<&String> = versions.iter().flat_map(|(.., labels)| labels).collect();
    let item = Item::new()
        .with_text("name", name)
        .with_raw("type", newest.item.present("type").unwrap_or(r#""text""#))
        .with("versions", &json!(numbers))
        .with("labels", &json!(all_labels))
        .with("tags", &json!(labels(&newest.item, "tags")))
        .with_text("lastUpdatedAt", &time::millis_z(at))
        .with_raw("lastConfig", newest.item.present("config").unwrap_or("{}"));
    Some((at, item))
}

/// `GET /api/public/v2/prompts/{name}`: by version, else by label, else `production`.
pub(crate) fn get(store: &Store, name: &str, query: &Params, horizon: Option<Micros>) -> Reply {
    let versions = versions(store, name, horizon);
    let wanted_version = query.filled("version").and_then(|v| v.parse::<u64>().ok());
    if query.filled("version").is_some() && wanted_version.is_none() {
        return zod_error("version", "invalid_type", "Invalid input: expected number, received NaN");
    }
    if wanted_version.is_some() && query.filled("label").is_some() {
        return bad_request("Cannot specify both version and label");
    }
    let label = query.filled("label").unwrap_or("production");
    let found = versions.iter().find(|(version, _, labels)| match wanted_version {
        Some(wanted) => *version == wanted,
        None => labels.iter().any(|have| have == label),
    });
    match found {
        Some((_, prompt, labels)) => {
            let mut item = prompt.item.clone();
            item.set_value("labels", &json!(labels));
            Reply::json(item.json())
        }
        None => {
            let which = match wanted_version {
                Some(version) => format!("version {version}"),
                None => format!("label '{label}'"),
            };
            not_found(&format!("Prompt not found: '{name}' with {which}"))
        }
    }
}

/// `POST /api/public/v2/prompts`: a new version of a name.
pub(crate) fn create(store: &mut Store, call: &Call, now: Micros) -> Reply {
    let body = call.json().unwrap_or_default();
    let Some(name) = body.get("name").and_then(Value::as_str).filter(|n| !n.is_empty()) else {
        return zod_error("name", "invalid_type", "Invalid input: expected string, received undefined");
    };
    let kind = body.get("type").and_then(Value::as_str).unwrap_or("text");
    let prompt = body.get("prompt").unwrap_or(&Value::Null);
    let fits = match kind {
        "text" => prompt.is_string(),
        "chat" => prompt.is_array(),
        _ => {
            return zod_error("type", "invalid_value", "Invalid option: expected one of \"chat\"|\"text\"");
        }
    };
    if !fits {
        return zod_error("prompt", "invalid_type", "Invalid input");
    }
    let version = store
        .prompts
        .iter()
        .filter(|p| &*p.name == name)
        .filter_map(|p| {
            let listed = p.item.value("versions");
            let listed = listed.as_array().and_then(|v| v.iter().filter_map(Value::as_u64).max());
            p.version.or(listed)
        })
        .max()
        .unwrap_or(0)
        .saturating_add(1);
    // A name known only as a listing becomes a name with versions; its listing is then derived.
    store.prompts.retain(|p| &*p.name != name || p.version.is_some());
    let stamp = time::millis_z(now);
    let or = |key: &str, default: Value| body.get(key).filter(|v| !v.is_null()).cloned().unwrap_or(default);
    let item = Item::new()
        .with_text("id", &format!("prompt-{name}-{version}"))
        .with_text("createdAt", &stamp)
        .with_text("updatedAt", &stamp)
        .with_text("projectId", &store.project_id())
        .with_text("createdBy", "API")
        .with("prompt", prompt)
        .with_text("name", name)
        .with_num("version", version)
        .with_text("type", kind)
        .with("config", &or("config", json!({})))
        .with("tags", &or("tags", json!([])))
        .with("labels", &or("labels", json!([])))
        .with("commitMessage", &or("commitMessage", Value::Null));
    store.prompts.push(Prompt::new(item));
    let created =
        versions(store, name, None).into_iter().find(|(number, ..)| *number == version).map(|(_, prompt, labels)| {
            let mut item = prompt.item.clone();
            item.set_value("labels", &json!(labels));
            item.json()
        });
    Reply::json(created.unwrap_or_default()).with_status(201).wrote(call)
}
