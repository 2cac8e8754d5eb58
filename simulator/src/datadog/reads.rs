//! Datadog's lists and searches.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::search::Query;
use super::{Store, refused};
use crate::http::{Call, Reply};
use crate::shelf::{Object, Shelf, moment, part};
use crate::time::{self, DAY, HOUR, MINUTE, Micros, SECOND};

/// Largest page of a search and of monitors.
const MAX: usize = 1000;

/// One request's view of the data.
pub(super) struct View<'a> {
    pub store: &'a Store,
    pub call: &'a Call,
    pub horizon: Option<Micros>,
    pub now: Micros,
}

impl View<'_> {
    fn count(&self, name: &str, default: usize, max: usize) -> Result<usize, Reply> {
        match self.call.query.filled(name) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| *n <= max)
                .ok_or_else(|| refused(400, &format!("invalid {name}: must be a number up to {max}"))),
        }
    }

    pub(super) fn monitors(&self) -> Result<Reply, Reply> {
        let name = self.call.query.filled("name").map(str::to_lowercase);
        let wanted_tags: Vec<&str> =
            self.call.query.filled("monitor_tags").map(|tags| tags.split(',').collect()).unwrap_or_default();
        let is_wanted = |object: &&Object| {
            let named = name.as_ref().is_none_or(|name| {
                object.text("/name").is_some_and(|found| found.to_lowercase().contains(name.as_str()))
            });
            let tags = object.value["tags"].as_array();
            named && wanted_tags.iter().all(|tag| tags.is_some_and(|tags| tags.iter().any(|t| t == tag)))
        };
        let all: Vec<Value> = self
            .store
            .monitors
            .visible(self.horizon)
            .filter(is_wanted)
            .map(|object| self.monitor_now(object))
            .collect();
        let page = match self.call.query.filled("page") {
            // Whatever the page size says.
            None => all.as_slice(),
            Some(_) => {
                let size = self.count("page_size", 100, MAX)?;
                part(&all, self.count("page", 0, usize::MAX)?.saturating_mul(size), size)
            }
        };
        Ok(Reply::value(200, &json!(page)))
    }

    pub(super) fn monitor(&self, id: &str) -> Result<Reply, Reply> {
        let found = self.store.monitors.visible(self.horizon).find(|object| object.text("/id").as_deref() == Some(id));
        found
            .map(|object| Reply::value(200, &self.monitor_now(object)))
            .ok_or_else(|| refused(404, "Monitor not found"))
    }

    /// A monitor in the state it has at the clock's time: that of the last `_states` entry that is not later.
    fn monitor_now(&self, object: &Object) -> Value {
        let mut value = object.value.clone();
        let states = object.keys.get("_states").and_then(Value::as_array).into_iter().flatten();
        let seen =
            states.filter(|state| self.horizon.is_none_or(|now| moment(&state["at"]).is_none_or(|at| at <= now)));
        if let Some(state) = seen.max_by_key(|state| moment(&state["at"])) {
            value["overall_state"] = state["state"].clone();
        }
        value
    }

    /// A bound of a search: ISO 8601, milliseconds, or `now-15m`.
    fn bound(&self, name: &str, default: Micros) -> Result<Micros, Reply> {
        let Some(text) = self.call.query.filled(name) else { return Ok(default) };
        let relative = || {
            let back = text.strip_prefix("now")?;
            if back.is_empty() {
                return Some(self.now);
            }
            let (count, unit) = back.strip_prefix('-')?.split_at_checked(back.len().checked_sub(2)?)?;
            let unit = match unit {
                "s" => SECOND,
                "m" => MINUTE,
                "h" => HOUR,
                "d" => DAY,
                _ => return None,
            };
            Some(self.now.saturating_sub(count.parse::<i64>().ok()?.saturating_mul(unit)))
        };
        let millis = || text.parse::<i64>().ok()?.checked_mul(1_000);
        relative().or_else(millis).or_else(|| time::parse(text)).ok_or_else(|| refused(400, &format!("invalid {name}")))
    }

    pub(super) fn search(&self, shelf: &Shelf) -> Result<Reply, Reply> {
        let from = self.bound("filter[from]", self.now.saturating_sub(15 * MINUTE))?;
        let to = self.bound("filter[to]", self.now)?;
        let query = self.call.query.filled("filter[query]").unwrap_or("*");
        let query = Query::parse(query).map_err(|why| refused(400, &why))?;
        let limit = self.count("page[limit]", 10, MAX)?;
        let cursor = self.call.query.filled("page[cursor]");
        let offset = cursor.map_or(Some(0), offset_of).ok_or_else(|| refused(400, "invalid page[cursor]"))?;
        let within = |object: &&Object| object.at.is_some_and(|at| from <= at && at <= to);
        let mut found: Vec<&Object> =
            shelf.visible(self.horizon).filter(within).filter(|object| query.matches(object)).collect();
        match self.call.query.filled("sort") {
            None | Some("-timestamp") => found.reverse(),
            Some("timestamp") => {}
            Some(_) => return Err(refused(400, "invalid sort")),
        }
        let page: Vec<&Value> = part(&found, offset, limit).iter().map(|object| &object.value).collect();
        if page.is_empty() {
            return Ok(Reply::value(200, &json!({"data": []})));
        }
        let after = URL_SAFE_NO_PAD.encode(format!("at:{}", offset + page.len()));
        let next = format!(
            "{}/datadog{}?{}",
            self.call.origin,
            self.call.path,
            self.call.query.with(&[("page[cursor]", &after)])
        );
        Ok(Reply::value(
            200,
            &json!({"data": page, "links": {"next": next},
                    "meta": {"elapsed": 12, "page": {"after": after}, "request_id": "simulated", "status": "done"}}),
        ))
    }

    pub(super) fn incidents(&self) -> Result<Reply, Reply> {
        let size = self.count("page[size]", 10, 100)?;
        let offset = self.count("page[offset]", 0, usize::MAX)?;
        let all: Vec<Value> =
            self.store.incidents.visible(self.horizon).rev().map(|object| self.incident(object)).collect();
        let page = part(&all, offset, size);
        let next = offset.saturating_add(page.len());
        let mut pagination = json!({"offset": offset, "size": page.len()});
        if next < all.len() {
            pagination["next_offset"] = json!(next);
        }
        Ok(Reply::value(200, &json!({"data": page, "meta": {"pagination": pagination}})))
    }

    /// An incident as it was at the clock's time.
    fn incident(&self, object: &Object) -> Value {
        let mut value = object.value.clone();
        let resolved = object.time("/attributes/resolved");
        if self.horizon.zip(resolved).is_some_and(|(now, resolved)| resolved > now) {
            value["attributes"]["resolved"] = Value::Null;
            value["attributes"]["state"] = json!("active");
        }
        value
    }

    pub(super) fn metrics(&self) -> Result<Reply, Reply> {
        let kind = self.call.query.filled("filter[metric_type]");
        let all: Vec<&Value> = self
            .store
            .metrics
            .visible(self.horizon)
            .map(|object| &object.value)
            .filter(|metric| kind.is_none_or(|kind| metric["attributes"]["metric_type"] == kind))
            .collect();
        let Some(size) = self.call.query.filled("page[size]") else {
            return Ok(Reply::value(200, &json!({ "data": all })));
        };
        let size =
            size.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| refused(400, "invalid page[size]"))?;
        let cursor = self.call.query.filled("page[cursor]");
        let offset = cursor.map_or(Some(0), offset_of).ok_or_else(|| refused(400, "invalid page[cursor]"))?;
        let page = part(&all, offset, size);
        let next = offset.saturating_add(page.len());
        let next = (next < all.len()).then(|| URL_SAFE_NO_PAD.encode(format!("at:{next}")));
        let mut pagination = json!({"limit": size, "type": "cursor_limit"});
        if let Some(cursor) = cursor {
            pagination["cursor"] = json!(cursor);
        }
        if let Some(next) = next {
            pagination["next_cursor"] = json!(next);
        }
        Ok(Reply::value(200, &json!({"data": page, "meta": {"pagination": pagination}})))
    }

    pub(super) fn error_tracking(&self) -> Result<Reply, Reply> {
        let body = self.call.json().unwrap_or_default();
        let asked = &body["data"]["attributes"];
        let bad = |why: &str| refused(400, why);
        if body["data"]["type"] != "search_request" {
            return Err(bad("data.type must be search_request"));
        }
        let query = asked["query"].as_str().ok_or_else(|| bad("query is required"))?;
        let query = Query::parse(query).map_err(|why| bad(&why))?;
        let (from, to) =
            asked["from"].as_i64().zip(asked["to"].as_i64()).ok_or_else(|| bad("from and to are required"))?;
        let track = asked["track"].as_str();
        if track.is_none() && asked["persona"].as_str().is_none() {
            return Err(bad("either track or persona is required"));
        }
        let states = asked["states"].as_array();
        let includes = self.call.query.filled("include").is_some_and(|what| what.split(',').any(|one| one == "issue"));
        let mut found: Vec<&Object> = self
            .store
            .issues
            .visible(self.horizon)
            .filter(|issue| issue.time("/attributes/last_seen").is_some_and(|last| last >= from.saturating_mul(1_000)))
            .filter(|issue| issue.at.is_some_and(|first| first <= to.saturating_mul(1_000)))
            .filter(|issue| states.is_none_or(|states| states.contains(&issue.value["attributes"]["state"])))
            .filter(|issue| track.is_none_or(|track| issue.keys.get("_track").is_none_or(|of| of == track)))
            .filter(|issue| query.matches(issue))
            .collect();
        let number = |object: &Object, key: &str| object.keys.get(key).and_then(Value::as_i64).unwrap_or(0);
        found.sort_by_key(|object| std::cmp::Reverse(number(object, "_total_count")));
        found.truncate(100);
        let row = |object: &&Object| {
            json!({"id": object.value["id"], "type": "error_tracking_search_result",
                   "attributes": {"total_count": number(object, "_total_count"),
                                  "impacted_users": number(object, "_impacted_users"),
                                  "impacted_sessions": number(object, "_impacted_sessions")},
                   "relationships": {"issue": {"data": {"id": object.value["id"], "type": "issue"}}}})
        };
        let rows: Vec<Value> = found.iter().map(row).collect();
        let mut answer = json!({ "data": rows });
        if includes {
            answer["included"] = found.iter().map(|object| object.value.clone()).collect();
        }
        Ok(Reply::value(200, &answer))
    }
}

fn offset_of(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("at:")?.parse().ok()
}
