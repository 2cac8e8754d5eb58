//! Langfuse's legacy listings: traces, observations, scores, sessions by page number.
//!
//! Owns: `page`/`limit` paging with totals, the plain filters, `orderBy`, and single objects.
//! Does not own: whether these endpoints exist in this generation (see `mod`).

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::columns;
use super::filter::{self, Condition};
use super::objects::{Observation, Score, Trace};
use super::store::Store;
use super::{bad_request, not_found, zod_error};
use crate::http::{Params, Reply};
use crate::item::{self, Item};
use crate::time::{self, Micros};
use crate::timeline::{Timed, newest_page};

const MAX_LIMIT: usize = 100;
const DEFAULT_LIMIT: usize = 50;

type Refusal = Box<Reply>;

/// A page by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    page: usize,
    limit: usize,
}

impl Page {
    pub(crate) fn parse(query: &Params) -> Result<Self, Refusal> {
        let number = |name: &str, default: usize| match query.filled(name).map(str::parse::<usize>) {
            None => Ok(default),
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => {
                Err(Box::new(zod_error(name, "invalid_type", "Invalid input: expected number, received NaN")))
            }
        };
        let page = number("page", 1)?;
        let limit = number("limit", DEFAULT_LIMIT)?;
        if page < 1 {
            return Err(Box::new(zod_error("page", "too_small", "Too small: expected number to be >0")));
        }
        if limit > MAX_LIMIT {
            return Err(Box::new(zod_error("limit", "too_big", "Too big: expected number to be <=100")));
        }
        Ok(Self { page, limit })
    }

    pub(crate) fn skip(self) -> usize {
        (self.page - 1).saturating_mul(self.limit)
    }

    pub(crate) fn limit(self) -> usize {
        self.limit
    }

    /// `{"data":[…],"meta":{page, limit, totalItems, totalPages}}`.
    pub(crate) fn answer<'a>(self, items: impl IntoIterator<Item = Cow<'a, Item>>, total: usize) -> Reply {
        let mut body = String::from(r#"{"data":"#);
        item::write_array(&mut body, items);
        let pages = if self.limit == 0 { 0 } else { total.div_ceil(self.limit) };
        body.push_str(&format!(
            r#","meta":{{"page":{},"limit":{},"totalItems":{total},"totalPages":{pages}}}}}"#,
            self.page, self.limit
        ));
        Reply::json(body)
    }
}

/// Adds `column = value` conditions for the parameters that are given.
fn plain(query: &Params, columns: &[&'static str]) -> Vec<Condition> {
    let mut conditions: Vec<Condition> =
        columns.iter().filter_map(|column| Some(Condition::equals(column, query.filled(column)?))).collect();
    let environments: Vec<String> =
        query.all("environment").filter(|value| !value.is_empty()).map(str::to_owned).collect();
    if !environments.is_empty() {
        conditions.push(Condition::any_of("environment", environments));
    }
    conditions
}

fn time_conditions(query: &Params, column: &'static str, from: &str, to: &str) -> Result<Vec<Condition>, Refusal> {
    let mut conditions = Vec::new();
    for (parameter, operator) in [(from, ">="), (to, "<")] {
        if let Some(text) = query.filled(parameter) {
            let at = time::parse(text)
                .ok_or_else(|| Box::new(zod_error(parameter, "invalid_format", "Invalid ISO datetime")))?;
            conditions.push(Condition::time(column, operator, at));
        }
    }
    Ok(conditions)
}

/// `GET /api/public/observations`.
pub(crate) fn observations(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, Refusal> {
    let page = Page::parse(query)?;
    let conditions = match query.filled("filter") {
        Some(text) => filter::parse(text, false).map_err(|m| Box::new(bad_request(&m)))?,
        None => {
            let mut conditions =
                plain(query, &["name", "userId", "type", "traceId", "level", "parentObservationId", "version"]);
            conditions.extend(time_conditions(query, "startTime", "fromStartTime", "toStartTime")?);
            conditions
        }
    };
    let window = filter::time_window(&conditions, "startTime");
    let items = store.observations.between(window.from, window.to, horizon);
    let (found, total) = newest_page(items, page.skip(), page.limit(), |o: &Observation| {
        columns::accepts_observation(store, o, &conditions, horizon)
    });
    Ok(page.answer(found.iter().map(|o| o.seen_at(horizon)), total))
}

/// `GET /api/public/observations/{id}`.
pub(crate) fn observation(store: &Store, id: &str, horizon: Option<Micros>) -> Reply {
    match store.observation(id) {
        Some(found) if found.is_here(horizon) => Reply::json(found.seen_at(horizon).json()),
        _ => not_found("Observation not found within authorized project"),
    }
}

/// Which groups of a trace were asked for.
#[derive(Debug, Clone, Copy)]
struct TraceGroups {
    io: bool,
    scores: bool,
    observations: bool,
    metrics: bool,
}

impl TraceGroups {
    fn parse(query: &Params) -> Self {
        let fields = query.filled("fields");
        let has = |name: &str| fields.is_none_or(|f| f.split(',').any(|part| part.trim() == name));
        Self { io: has("io"), scores: has("scores"), observations: has("observations"), metrics: has("metrics") }
    }

    fn apply(self, mut item: Cow<'_, Item>) -> Cow<'_, Item> {
        if !self.io {
            for key in ["input", "output", "metadata"] {
                item.to_mut().remove(key);
            }
        }
        for (wanted, key, excluded) in [
            (self.scores, "scores", "[]"),
            (self.observations, "observations", "[]"),
            (self.metrics, "totalCost", "-1"),
            (self.metrics, "latency", "-1"),
        ] {
            if !wanted {
                item.to_mut().set_raw(key, excluded);
            }
        }
        item
    }
}

/// `GET /api/public/traces`.
pub(crate) fn traces(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, Refusal> {
    let page = Page::parse(query)?;
    let conditions = match query.filled("filter") {
        Some(text) => filter::parse_trace(text).map_err(|m| Box::new(bad_request(&m)))?,
        None => {
            let mut conditions = plain(query, &["userId", "name", "sessionId", "version", "release"]);
            conditions.extend(time_conditions(query, "timestamp", "fromTimestamp", "toTimestamp")?);
            let tags: Vec<String> = query.all("tags").map(str::to_owned).collect();
            if !tags.is_empty() {
                conditions.push(Condition::all_of("tags", tags));
            }
            conditions
        }
    };
    let order = Order::parse(query)?;
    let groups = TraceGroups::parse(query);
    let window = filter::time_window(&conditions, "timestamp");
    let items = store.traces.between(window.from, window.to, horizon);
    let accepts = |t: &Trace| columns::accepts_trace(store, t, &conditions, horizon);
    let (found, total) = if order.is_natural() {
        newest_page(items, page.skip(), page.limit(), accepts)
    } else {
        let mut all: Vec<Arc<Trace>> = items.iter().filter(|t| accepts(t)).cloned().collect();
        order.sort(&mut all);
        let total = all.len();
        let found = all.into_iter().skip(page.skip()).take(page.limit()).collect();
        (found, total)
    };
    Ok(page.answer(found.iter().map(|trace| groups.apply(store.trace_at(trace, horizon))), total))
}

/// `orderBy=<field>.<asc|desc>`.
struct Order {
    field: String,
    descending: bool,
}

impl Order {
    const FIELDS: [&str; 9] =
        ["id", "timestamp", "name", "userId", "release", "version", "public", "bookmarked", "sessionId"];

    fn parse(query: &Params) -> Result<Self, Refusal> {
        let text = query.filled("orderBy").unwrap_or("timestamp.desc");
        let refused = || Box::new(zod_error("orderBy", "custom", "Invalid orderBy: expected [field].[asc/desc]"));
        let (field, direction) = text.split_once('.').ok_or_else(refused)?;
        let descending = match direction.to_lowercase().as_str() {
            "asc" => false,
            "desc" => true,
            _ => return Err(refused()),
        };
        if !Self::FIELDS.contains(&field) {
            return Err(refused());
        }
        Ok(Self { field: field.to_owned(), descending })
    }

    fn is_natural(&self) -> bool {
        self.field == "timestamp" && self.descending
    }

    fn sort(&self, traces: &mut [Arc<Trace>]) {
        if self.field == "timestamp" {
            traces.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
        } else {
            traces.sort_by_cached_key(|trace| (trace.item.key(&self.field), trace.id.clone()));
        }
        if self.descending {
            traces.reverse();
        }
    }
}

/// `GET /api/public/traces/{id}`: the trace with whole observations and scores.
pub(crate) fn trace(store: &Store, id: &str, query: &Params, horizon: Option<Micros>) -> Reply {
    let Some(trace) = store.trace_by_id.get(id).filter(|trace| trace.is_here(horizon)) else {
        return not_found("Trace not found within authorized project");
    };
    let mut whole = store.trace_at(trace, horizon).into_owned();
    let observations = store.of_trace(id, horizon);
    let scores = store.scores_of_trace(id, horizon);
    let mut text = String::new();
    item::write_array(&mut text, observations.iter().map(|o| o.seen_at(horizon)));
    whole.set_raw("observations", text);
    let mut text = String::new();
    item::write_array(&mut text, scores.iter().map(|s| s.seen_at(horizon)));
    whole.set_raw("scores", text);
    Reply::json(TraceGroups::parse(query).apply(Cow::Owned(whole)).json())
}

/// `GET /api/public/v2/scores` and the older `GET /api/public/scores`.
pub(crate) fn scores(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, Refusal> {
    let page = Page::parse(query)?;
    let equal: Vec<(&str, &str)> =
        ["name", "source", "configId", "sessionId", "datasetRunId", "traceId", "queueId", "dataType"]
            .into_iter()
            .filter_map(|key| Some((key, query.filled(key)?)))
            .collect();
    let lists: Vec<(&str, Vec<&str>)> = [("scoreIds", "id"), ("observationId", "observationId")]
        .into_iter()
        .filter_map(|(parameter, key)| Some((key, query.filled(parameter)?.split(',').collect())))
        .collect();
    let environments: Vec<&str> = query.all("environment").collect();
    let tags: Vec<&str> = query.all("traceTags").collect();
    let user = query.filled("userId");
    let value = query.filled("value").and_then(|v| v.parse::<f64>().ok());
    let operator = query.filled("operator").unwrap_or("=");
    let from = time_bound(query, "fromTimestamp")?;
    let to = time_bound(query, "toTimestamp")?;

    let accepts = |score: &Score| {
        let item = &score.item;
        let trace = store.trace_by_id.get(&score.trace_id);
        score.is_here(horizon)
            && equal.iter().all(|(key, value)| *item.key(key) == **value)
            && lists.iter().all(|(key, values)| values.contains(&&*item.key(key)))
            && (environments.is_empty() || environments.contains(&&*item.key("environment")))
            && user.is_none_or(|user| trace.is_some_and(|t| &*t.user_id == user))
            && tags.iter().all(|tag| trace.is_some_and(|t| t.tags.iter().any(|have| have == tag)))
            && value.is_none_or(|wanted| {
                item.number("value").is_some_and(|found| match operator {
                    "<" => found < wanted,
                    "<=" => found <= wanted,
                    ">" => found > wanted,
                    ">=" => found >= wanted,
                    "!=" => found != wanted,
                    _ => found == wanted,
                })
            })
    };
    let items = store.scores.between(from, to, horizon);
    let (found, total) = newest_page(items, page.skip(), page.limit(), accepts);
    Ok(page.answer(found.iter().map(|s| s.seen_at(horizon)), total))
}

fn time_bound(query: &Params, name: &str) -> Result<Option<Micros>, Refusal> {
    query
        .filled(name)
        .map(|text| {
            time::parse(text).ok_or_else(|| Box::new(zod_error(name, "invalid_format", "Invalid ISO datetime")))
        })
        .transpose()
}

/// `GET /api/public/v2/scores/{id}`.
pub(crate) fn score(store: &Store, id: &str, horizon: Option<Micros>) -> Reply {
    store.scores.visible(horizon).iter().find(|score| &*score.id == id && score.is_here(horizon)).map_or_else(
        || not_found("Score not found within authorized project"),
        |score| Reply::json(score.seen_at(horizon).json()),
    )
}

/// `GET /api/public/sessions`.
pub(crate) fn sessions(store: &Store, query: &Params, horizon: Option<Micros>) -> Result<Reply, Refusal> {
    let page = Page::parse(query)?;
    let environments: Vec<&str> = query.all("environment").collect();
    let from = time_bound(query, "fromTimestamp")?;
    let to = time_bound(query, "toTimestamp")?;
    let items = store.sessions.between(from, to, horizon);
    let (found, total) = newest_page(items, page.skip(), page.limit(), |session| {
        environments.is_empty() || environments.contains(&&*session.item.key("environment"))
    });
    Ok(page.answer(found.iter().map(|s| Cow::Borrowed(&s.item)), total))
}

/// `GET /api/public/sessions/{id}`: the session with its traces.
pub(crate) fn session(store: &Store, id: &str, horizon: Option<Micros>) -> Reply {
    let Some(session) = store.sessions.visible(horizon).iter().find(|session| &*session.id == id) else {
        return not_found("Session not found within authorized project");
    };
    let traces =
        store.traces.visible(horizon).iter().filter(|trace| &*trace.session_id == id && trace.is_here(horizon));
    let mut whole = session.item.clone();
    let mut text = String::new();
    item::write_array(&mut text, traces.map(|trace| store.trace_at(trace, horizon)));
    whole.set_raw("traces", text);
    Reply::json(whole.json())
}

/// The name of a JSON value's kind, for messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
