//! `GET /api/public/v2/observations` (Langfuse v4), derived from legacy observations.
//!
//! Owns: field groups, the wire names and the cursor of that endpoint (facts: vendors, Langfuse).
//! Must hold: fields of groups not asked for are absent, except the four price fields; prices are
//! strings; input and output are raw strings; texts that are not set are `""`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::columns;
use super::filter::{self, Condition};
use super::objects::{Observation, total_cost};
use super::store::{Store, number};
use super::{bad_request, zod_error};
use crate::http::{Params, Reply};
use crate::item::{Item, quote, quote_into};
use crate::time::{self, Micros};
use crate::timeline::Timed;

const MAX_LIMIT: usize = 1000;
const DEFAULT_LIMIT: usize = 50;
const METADATA_CUT: usize = 200;

/// Which field groups were asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Groups {
    basic: bool,
    time: bool,
    io: bool,
    metadata: bool,
    model: bool,
    usage: bool,
    prompt: bool,
    metrics: bool,
    trace_context: bool,
}

impl Groups {
    fn parse(fields: Option<&str>) -> Self {
        let mut groups = Self::default();
        let Some(fields) = fields else {
            groups.basic = true;
            return groups;
        };
        for name in fields.split(',').map(str::trim) {
            match name {
                "basic" => groups.basic = true,
                "time" => groups.time = true,
                "io" => groups.io = true,
                "metadata" => groups.metadata = true,
                "model" => groups.model = true,
                "usage" => groups.usage = true,
                "prompt" => groups.prompt = true,
                "metrics" => groups.metrics = true,
                "trace_context" => groups.trace_context = true,
                // `core` is always there; the real server drops names it does not know.
                _ => {}
            }
        }
        groups
    }
}

/// Answers the list.
pub(crate) fn list(store: &Store, query: &Params, horizon: Option<Micros>) -> Reply {
    if query.flag("parseIoAsJson") {
        return bad_request("parseIoAsJson is no longer supported; input and output are raw strings");
    }
    let limit = match query.filled("limit").map(str::parse::<i64>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if limit < 1 => {
            return zod_error("limit", "too_small", "Too small: expected number to be >=1");
        }
        Some(Ok(limit)) if limit > MAX_LIMIT as i64 => {
            return zod_error("limit", "too_big", "Too big: expected number to be <=1000");
        }
        Some(Ok(limit)) => usize::try_from(limit).unwrap_or(DEFAULT_LIMIT),
        Some(Err(_)) => {
            return zod_error("limit", "invalid_type", "Invalid input: expected number, received NaN");
        }
    };
    let conditions = match conditions(query) {
        Ok(conditions) => conditions,
        Err(reply) => return *reply,
    };
    let window = filter::time_window(&conditions, "startTime");
    let items = store.observations.between(window.from, window.to, horizon);
    let items = match query.filled("cursor") {
        None => items,
        Some(cursor) => match before_cursor(items, cursor) {
            Some(items) => items,
            None => return bad_request("Invalid cursor format"),
        },
    };

    // One more than asked tells whether there is a next page, as the real server does it.
    let mut page: Vec<&Arc<Observation>> = items
        .iter()
        .rev()
        .filter(|o| columns::accepts_observation(store, o, &conditions, horizon))
        .take(limit + 1)
        .collect();
    let more = page.len() > limit;
    page.truncate(limit);

    let groups = Groups::parse(query.filled("fields"));
    let expanded: Vec<&str> =
        query.filled("expandMetadata").map(|keys| keys.split(',').map(str::trim).collect()).unwrap_or_default();
    let mut body = String::with_capacity(page.len() * 512 + 64);
    body.push_str(r#"{"data":["#);
    for (index, observation) in page.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        write(&mut body, store, observation, groups, &expanded, horizon);
    }
    body.push_str(r#"],"meta":{"#);
    if let (true, Some(last)) = (more, page.last()) {
        body.push_str(r#""cursor":"#);
        quote_into(&mut body, &cursor_after(last));
    }
    body.push_str("}}");
    Reply::json(body)
}

/// The conditions of a request: the `filter` parameter alone when it is there, else the plain ones.
fn conditions(query: &Params) -> Result<Vec<Condition>, Box<Reply>> {
    if let Some(filter) = query.filled("filter") {
        return filter::parse(filter, true).map_err(|message| Box::new(bad_request(&message)));
    }
    let mut conditions = Vec::new();
    for (parameter, column) in [
        ("name", "name"),
        ("userId", "userId"),
        ("sessionId", "sessionId"),
        ("type", "type"),
        ("traceId", "traceId"),
        ("version", "version"),
    ] {
        if let Some(value) = query.filled(parameter) {
            conditions.push(Condition::equals(column, value));
        }
    }
    if let Some(level) = query.filled("level") {
        if !["DEBUG", "DEFAULT", "WARNING", "ERROR"].contains(&level) {
            return Err(Box::new(zod_error("level", "invalid_value", "Invalid option")));
        }
        conditions.push(Condition::equals("level", level));
    }
    // An empty value asks for observations without a parent.
    if let Some(parent) = query.get("parentObservationId") {
        conditions.push(Condition::equals("parentObservationId", parent));
    }
    if let Some(root) = query.filled("isRootObservation") {
        conditions.push(Condition::boolean("isRootObservation", root == "true" || root == "1"));
    }
    let environments: Vec<String> =
        query.all("environment").flat_map(|value| value.split(',')).map(str::to_owned).collect();
    if !environments.is_empty() {
        conditions.push(Condition::any_of("environment", environments));
    }
    for (parameter, operator) in [("fromStartTime", ">="), ("toStartTime", "<")] {
        if let Some(text) = query.filled(parameter) {
            match time::parse(text) {
                Some(at) => conditions.push(Condition::time("startTime", operator, at)),
                None => {
                    return Err(Box::new(zod_error(parameter, "invalid_format", "Invalid ISO datetime")));
                }
            }
        }
    }
    Ok(conditions)
}

fn cursor_after(last: &Observation) -> String {
    let cursor = json!({
        "lastStartTimeTo": time::micros_z(last.start),
        "lastTraceId": &*last.trace_id,
        "lastId": &*last.id,
    });
    STANDARD.encode(cursor.to_string())
}

/// The items before a cursor's position; `None` when the cursor is not one of ours.
fn before_cursor<'a>(items: &'a [Arc<Observation>], cursor: &str) -> Option<&'a [Arc<Observation>]> {
    let text = STANDARD.decode(cursor).ok()?;
    let cursor: Value = serde_json::from_slice(&text).ok()?;
    let at = time::parse(cursor.get("lastStartTimeTo")?.as_str()?)?;
    let trace_id = cursor.get("lastTraceId")?.as_str()?;
    let id = cursor.get("lastId")?.as_str()?;
    let end = items.partition_point(|o| o.order() < (at, trace_id, id));
    items.get(..end)
}

/// Writes one observation in its v2 form.
fn write(
    out: &mut String,
    store: &Store,
    observation: &Observation,
    groups: Groups,
    expanded: &[&str],
    horizon: Option<Micros>,
) {
    let cut = observation.is_cut(horizon);
    let seen = observation.seen_at(horizon);
    let item: &Item = &seen;
    let mut object = Object::open(out);

    object.text("id", &observation.id);
    object.nullable("traceId", item, "traceId");
    object.nullable("startTime", item, "startTime");
    object.nullable("endTime", item, "endTime");
    match item.present("projectId") {
        Some(raw) => object.raw("projectId", raw),
        None => object.text("projectId", &store.project_id()),
    }
    object.nullable("parentObservationId", item, "parentObservationId");
    object.unset_is_empty("type", item, "type");

    if groups.basic {
        object.unset_is_empty("name", item, "name");
        object.raw("level", item.present("level").unwrap_or(r#""DEFAULT""#));
        object.unset_is_empty("statusMessage", item, "statusMessage");
        object.unset_is_empty("version", item, "version");
        object.raw("environment", item.present("environment").unwrap_or(r#""default""#));
        object.raw("bookmarked", item.present("bookmarked").unwrap_or("false"));
        object.raw("public", item.present("public").unwrap_or("false"));
        object.text("userId", store.user_of(observation));
        object.text("sessionId", store.session_of(observation));
        object.raw("isRootObservation", if observation.parent.is_empty() { "true" } else { "false" });
    }
    if groups.time {
        object.nullable("completionStartTime", item, "completionStartTime");
        object.nullable("createdAt", item, "createdAt");
        object.nullable("updatedAt", item, "updatedAt");
    }
    if groups.io {
        if cut {
            object.joined(&io_text(item));
        } else if let Some(slot) = observation.cache.first() {
            object.joined(slot.get_or_init(|| io_text(item).into()));
        }
    }
    if groups.metadata {
        if cut || !expanded.is_empty() {
            object.joined(&metadata_text(item, expanded));
        } else if let Some(slot) = observation.cache.get(1) {
            object.joined(slot.get_or_init(|| metadata_text(item, &[]).into()));
        }
    }
    if groups.model {
        object.unset_is_empty("model", item, "model");
        object.unset_is_empty("internalModelId", item, "modelId");
        object.raw("modelParameters", item.present("modelParameters").unwrap_or("null"));
    }
    if groups.usage {
        object.raw("usageDetails", &usage_details(item));
        object.raw("costDetails", &cost_details(item));
        object.raw("totalCost", &total_cost(item).map_or_else(|| "null".to_owned(), number));
        object.nullable("usagePricingTierName", item, "usagePricingTierName");
    }
    if groups.prompt {
        object.unset_is_empty("promptId", item, "promptId");
        object.unset_is_empty("promptName", item, "promptName");
        object.nullable("promptVersion", item, "promptVersion");
    }
    if groups.metrics {
        object.nullable("latency", item, "latency");
        object.nullable("timeToFirstToken", item, "timeToFirstToken");
    }
    if groups.trace_context {
        let trace = store.trace_by_id.get(&observation.trace_id);
        let of_trace = |key| trace.and_then(|trace| trace.item.present(key));
        object.raw("tags", of_trace("tags").unwrap_or("[]"));
        object.raw("release", of_trace("release").unwrap_or(r#""""#));
        object.raw("traceName", of_trace("name").unwrap_or(r#""""#));
    }

    // Present whatever was asked for.
    let model = groups.model;
    object.raw("modelId", item.present("modelId").filter(|_| model).unwrap_or("null"));
    for key in ["inputPrice", "outputPrice", "totalPrice"] {
        let price = item.number(key).filter(|_| model).map(|price| quote(&decimal_text(price)));
        object.raw(key, price.as_deref().unwrap_or("null"));
    }
    object.close();
}

/// A price as the server's decimal type writes it: with an exponent below one millionth.
fn decimal_text(price: f64) -> String {
    if price != 0.0 && price.abs() < 1e-6 { format!("{price:e}") } else { price.to_string() }
}

/// `"input":…,"output":…` as raw strings: text as it is, anything else as its JSON.
fn io_text(item: &Item) -> String {
    let mut out = String::new();
    for (index, key) in ["input", "output"].into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        quote_into(&mut out, key);
        out.push(':');
        match item.present(key) {
            None => out.push_str("null"),
            Some(raw) if raw.starts_with('"') => out.push_str(raw),
            Some(raw) => quote_into(&mut out, raw),
        }
    }
    out
}

/// `"metadata":{…}` with every value cut at 200 characters unless its key is expanded.
fn metadata_text(item: &Item, expanded: &[&str]) -> String {
    let metadata = match item.value("metadata") {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| {
                let kept = expanded.contains(&key.as_str());
                let value = if kept { value } else { cut_value(value) };
                (key, value)
            })
            .collect(),
        Value::Null => Value::Object(serde_json::Map::new()),
        other => other,
    };
    format!(r#""metadata":{metadata}"#)
}

fn cut_value(value: Value) -> Value {
    let cut = |text: &str| -> Option<String> {
        let (end, _) = text.char_indices().nth(METADATA_CUT)?;
        text.get(..end).map(str::to_owned)
    };
    match value {
        Value::String(text) => Value::String(cut(&text).unwrap_or(text)),
        other => match cut(&other.to_string()) {
            Some(text) => Value::String(text),
            None => other,
        },
    }
}

fn usage_details(item: &Item) -> String {
    if let Some(raw) = item.present("usageDetails") {
        return raw.to_owned();
    }
    let usage = item.value("usage");
    let parts: serde_json::Map<String, Value> = ["input", "output", "total"]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), usage.get(key).filter(|v| v.is_number())?.clone())))
        .collect();
    Value::Object(parts).to_string()
}

fn cost_details(item: &Item) -> String {
    if let Some(raw) = item.present("costDetails") {
        return raw.to_owned();
    }
    let parts: Vec<String> =
        [("input", "calculatedInputCost"), ("output", "calculatedOutputCost"), ("total", "calculatedTotalCost")]
            .iter()
            .filter_map(|(name, key)| Some(format!(r#""{name}":{}"#, item.present(key)?)))
            .collect();
    format!("{{{}}}", parts.join(","))
}

/// A JSON object being written.
struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    fn joined(&mut self, pairs: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out.push_str(pairs);
    }

    fn raw(&mut self, key: &str, raw: &str) {
        self.joined("");
        quote_into(self.out, key);
        self.out.push(':');
        self.out.push_str(raw);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.joined("");
        quote_into(self.out, key);
        self.out.push(':');
        quote_into(self.out, text);
    }

    fn nullable(&mut self, key: &str, item: &Item, field: &str) {
        self.raw(key, item.raw(field).unwrap_or("null"));
    }

    fn unset_is_empty(&mut self, key: &str, item: &Item, field: &str) {
        self.raw(key, item.present(field).unwrap_or(r#""""#));
    }

    fn close(self) {
        self.out.push('}');
    }
}
