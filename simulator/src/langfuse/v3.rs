//! `GET /api/public/v3/scores` (Langfuse v4), derived from legacy scores.
//!
//! Owns: the single typed value, the field groups, the cursor and the parameter rules of that
//! endpoint (facts: vendors, Langfuse).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::bad_request;
use super::objects::Score;
use super::store::Store;
use crate::http::{Params, Reply};
use crate::item::{Item, quote};
use crate::time::{self, Micros};
use crate::timeline::Timed;

const MAX_LIMIT: usize = 100;
const DEFAULT_LIMIT: usize = 50;
const GROUPS: [&str; 3] = ["details", "subject", "annotation"];

/// Answers the list.
pub(crate) fn list(store: &Store, query: &Params, horizon: Option<Micros>) -> Reply {
    match page(store, query, horizon) {
        Ok(reply) => reply,
        Err(message) => bad_request(&message),
    }
}

fn page(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, String> {
    let limit = match query.filled("limit").map(str::parse::<usize>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => return Err("limit must be between 1 and 100".to_owned()),
    };
    let groups: Vec<&str> =
        query.filled("fields").map(|fields| fields.split(',').map(str::trim).collect()).unwrap_or_default();
    if let Some(unknown) = groups.iter().find(|group| !GROUPS.contains(group)) {
        return Err(format!("Unknown field group: {unknown}. Allowed: details, subject, annotation"));
    }
    let filters = Filters::parse(query)?;
    let times = [bound(query, "fromTimestamp")?, bound(query, "toTimestamp")?];
    let [from, to] = times;

    let items = store.scores.between(from, to, horizon);
    let items = match query.filled("cursor") {
        None => items,
        Some(cursor) => before_cursor(items, cursor).ok_or("Invalid cursor")?,
    };
    let mut found: Vec<&Arc<Score>> =
        items.iter().rev().filter(|score| score.is_here(horizon) && filters.accept(score)).take(limit + 1).collect();
    let more = found.len() > limit;
    found.truncate(limit);

    let mut body = String::from(r#"{"data":["#);
    for (index, score) in found.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        convert(store, &score.seen_at(horizon), &groups).write(&mut body);
    }
    body.push_str(&format!(r#"],"meta":{{"limit":{limit}"#));
    if let (true, Some(last)) = (more, found.last()) {
        let cursor = json!({"v": 1, "lastTimestamp": time::micros_z(last.at), "lastId": &*last.id});
        let cursor = URL_SAFE_NO_PAD.encode(cursor.to_string());
        body.push_str(&format!(r#","cursor":{}"#, quote(&cursor)));
    }
    body.push_str("}}");
    Ok(Reply::json(body))
}

fn bound(query: &Params, name: &str) -> Result<Option<Micros>, String> {
    query.filled(name).map(|text| time::parse(text).ok_or_else(|| format!("{name}: Invalid ISO datetime"))).transpose()
}

fn before_cursor<'a>(items: &'a [Arc<Score>], cursor: &str) -> Option<&'a [Arc<Score>]> {
    let text = URL_SAFE_NO_PAD.decode(cursor.trim_end_matches('=')).ok()?;
    let cursor: Value = serde_json::from_slice(&text).ok()?;
    if cursor.get("v")?.as_u64()? != 1 {
        return None;
    }
    let at = time::parse(cursor.get("lastTimestamp")?.as_str()?)?;
    let id = cursor.get("lastId")?.as_str()?;
    let end = items.partition_point(|score| score.order() < (at, id, ""));
    items.get(..end)
}

/// The value of a score in its one typed form.
fn typed_value(item: &Item) -> String {
    let raw = |key| item.present(key).map(str::to_owned);
    let value = match &*item.key("dataType") {
        "BOOLEAN" => item.number("value").map(|value| (value == 1.0).to_string()),
        "CATEGORICAL" | "TEXT" => raw("stringValue").or_else(|| raw("value")),
        "CORRECTION" => raw("longStringValue").or_else(|| raw("stringValue")),
        _ => raw("value"),
    };
    value.or_else(|| raw("stringValue")).unwrap_or_else(|| "null".to_owned())
}

fn convert(store: &Store, item: &Item, groups: &[&str]) -> Item {
    let field = |key: &str| item.raw(key).unwrap_or("null").to_owned();
    let mut score = Item::new()
        .with_raw("id", field("id"))
        .with_raw("projectId", item.present("projectId").map_or_else(|| quote(&store.project_id()), str::to_owned))
        .with_raw("name", field("name"))
        .with_raw("dataType", item.present("dataType").unwrap_or(r#""NUMERIC""#))
        .with_raw("value", typed_value(item))
        .with_raw("source", field("source"))
        .with_raw("timestamp", field("timestamp"))
        .with_raw("environment", item.present("environment").unwrap_or(r#""default""#))
        .with_raw("createdAt", item.raw("createdAt").unwrap_or(item.raw("timestamp").unwrap_or("null")))
        .with_raw("updatedAt", item.raw("updatedAt").unwrap_or(item.raw("timestamp").unwrap_or("null")));
    if groups.contains(&"details") {
        let details = Item::new()
            .with_raw("comment", field("comment"))
            .with_raw("configId", field("configId"))
            .with_raw("metadata", item.present("metadata").unwrap_or("{}"));
        score = score.with_raw("details", details.json());
    }
    if groups.contains(&"subject") {
        score = score.with_raw("subject", subject(item).json());
    }
    if groups.contains(&"annotation") {
        let annotation =
            Item::new().with_raw("authorUserId", field("authorUserId")).with_raw("queueId", field("queueId"));
        score = score.with_raw("annotation", annotation.json());
    }
    score
}

fn subject(item: &Item) -> Item {
    let of = |kind: &str, key: &str| item.present(key).map(|id| Item::new().with_text("kind", kind).with_raw("id", id));
    if let Some(subject) = of("experiment", "datasetRunId") {
        return subject;
    }
    if let Some(subject) = of("observation", "observationId") {
        return match item.present("traceId") {
            Some(trace) => subject.with_raw("traceId", trace),
            None => subject,
        };
    }
    of("session", "sessionId")
        .or_else(|| of("trace", "traceId"))
        .unwrap_or_else(|| Item::new().with_text("kind", "trace").with_text("id", ""))
}

/// The list-valued filters: OR within one, AND across.
struct Filters {
    texts: Vec<(&'static str, Vec<String>)>,
    values: Option<Vec<String>>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Filters {
    fn parse(query: &Params) -> Result<Self, String> {
        let list = |name: &str| -> Option<Vec<String>> {
            query.filled(name).map(|text| text.split(',').map(|v| v.trim().to_owned()).collect())
        };
        let given = |name: &str| query.filled(name).is_some();
        let scopes = ["traceId", "sessionId", "experimentId"];
        if scopes.iter().filter(|name| given(name)).count() > 1 {
            return Err("traceId, sessionId and experimentId are mutually exclusive".to_owned());
        }
        if given("observationId") {
            if given("sessionId") || given("experimentId") {
                return Err("observationId cannot be combined with sessionId or experimentId".to_owned());
            }
            if !given("traceId") {
                return Err("observationId requires traceId".to_owned());
            }
        }
        let mut texts = Vec::new();
        for (parameter, field) in [
            ("id", "id"),
            ("name", "name"),
            ("environment", "environment"),
            ("configId", "configId"),
            ("queueId", "queueId"),
            ("authorUserId", "authorUserId"),
            ("traceId", "traceId"),
            ("sessionId", "sessionId"),
            ("observationId", "observationId"),
            ("experimentId", "datasetRunId"),
        ] {
            if let Some(values) = list(parameter) {
                texts.push((field, values));
            }
        }
        for field in ["source", "dataType"] {
            if let Some(values) = list(field) {
                texts.push((field, values.iter().map(|v| v.to_uppercase()).collect()));
            }
        }
        let kinds = list("dataType").unwrap_or_default();
        let kind = match kinds.as_slice() {
            [one] => Some(one.to_uppercase()),
            _ => None,
        };
        let number = |name: &str| -> Result<Option<f64>, String> {
            query
                .filled(name)
                .map(|text| {
                    text.parse::<f64>()
                        .ok()
                        .filter(|n| n.is_finite())
                        .ok_or_else(|| format!("{name} must be a finite number"))
                })
                .transpose()
        };
        let (min, max) = (number("valueMin")?, number("valueMax")?);
        if (min.is_some() || max.is_some()) && kind.as_deref() != Some("NUMERIC") {
            return Err("valueMin and valueMax require dataType=NUMERIC".to_owned());
        }
        let values = list("value");
        if let Some(values) = &values {
            let fits: fn(&String) -> bool = match kind.as_deref() {
                Some("NUMERIC") => |v| v.parse::<f64>().is_ok_and(f64::is_finite),
                Some("BOOLEAN") => |v| v == "true" || v == "false",
                Some("CATEGORICAL") => |_| true,
                _ => {
                    return Err("value requires a single dataType of NUMERIC, BOOLEAN or CATEGORICAL".to_owned());
                }
            };
            if !values.iter().all(fits) {
                return Err("value does not fit dataType".to_owned());
            }
        }
        Ok(Self { texts, values, min, max })
    }

    fn accept(&self, score: &Score) -> bool {
        let item = &score.item;
        let texts = self.texts.iter().all(|(field, values)| {
            let found = item.key(field);
            let found = match (*field, &*found) {
                ("environment", "") => "default",
                ("dataType", "") => "NUMERIC",
                (_, found) => found,
            };
            values.iter().any(|value| value == found)
        });
        let number = item.number("value");
        let in_range = self.min.is_none_or(|min| number.is_some_and(|n| n >= min))
            && self.max.is_none_or(|max| number.is_some_and(|n| n <= max));
        let exact = self.values.as_ref().is_none_or(|values| {
            let found = typed_value(item);
            values.iter().any(|value| {
                found == *value
                    || found == quote(value)
                    || value.parse::<f64>().is_ok_and(|v| Some(v) == found.parse().ok())
            })
        });
        texts && in_range && exact
    }
}
