//! Langfuse's objects: legacy ones, with the keys that listings filter by.
//!
//! Owns: reading an object's keys and times, and what it looks like while its later state has not
//! happened yet.
//! Must hold: at a horizon, an observation that ends later has no end, output, usage or cost.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::item::Item;
use crate::time::{self, Micros};
use crate::timeline::{TIMELESS, Timed, arrival};

/// The field groups of v2 observations whose text is worth keeping: long and independent of traces.
pub(crate) const CACHED_GROUPS: usize = 2;

/// An observation with its keys.
#[derive(Debug)]
pub(crate) struct Observation {
    pub item: Item,
    pub id: Box<str>,
    pub trace_id: Box<str>,
    pub kind: Box<str>,
    pub name: Box<str>,
    pub level: Box<str>,
    pub parent: Box<str>,
    pub environment: Box<str>,
    pub version: Box<str>,
    pub user_id: Box<str>,
    pub session_id: Box<str>,
    pub start: Micros,
    /// The latest moment the object speaks of.
    pub(super) latest: Micros,
    arrives: Micros,
    pub cache: [OnceLock<Box<str>>; CACHED_GROUPS],
}

impl Observation {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let start = item.time("startTime").unwrap_or(TIMELESS);
        let latest = ["endTime", "completionStartTime", "createdAt", "updatedAt"]
            .iter()
            .filter_map(|key| item.time(key))
            .fold(start, Micros::max);
        Self {
            id: item.key("id"),
            trace_id: item.key("traceId"),
            kind: item.key("type"),
            name: item.key("name"),
            level: item.key("level"),
            parent: item.key("parentObservationId"),
            environment: item.key("environment"),
            version: item.key("version"),
            user_id: item.key("userId"),
            session_id: item.key("sessionId"),
            start,
            latest,
            arrives: arrival(&parents, start),
            cache: Default::default(),
            item,
        }
    }

    /// Whether something the object says has not happened at the horizon.
    pub(crate) fn is_cut(&self, horizon: Option<Micros>) -> bool {
        horizon.is_some_and(|now| self.latest > now)
    }

    /// The object as the API would have it at the horizon.
    pub(crate) fn seen_at(&self, horizon: Option<Micros>) -> Cow<'_, Item> {
        match horizon {
            Some(now) if self.latest > now => Cow::Owned(cut_observation(self.item.clone(), now)),
            _ => Cow::Borrowed(&self.item),
        }
    }

    /// The cost the API would have at the horizon.
    pub(crate) fn cost_at(&self, horizon: Option<Micros>) -> f64 {
        total_cost(&self.seen_at(horizon)).unwrap_or(0.0)
    }
}

/// The total cost of a legacy observation, in USD.
pub(crate) fn total_cost(item: &Item) -> Option<f64> {
    item.number("calculatedTotalCost")
        .or_else(|| item.number("totalCost"))
        .or_else(|| item.value("costDetails").get("total")?.as_f64())
}

fn cut_observation(mut item: Item, now: Micros) -> Item {
    if item.time("endTime").is_some_and(|end| end > now) {
        for key in [
            "endTime",
            "output",
            "statusMessage",
            "calculatedInputCost",
            "calculatedOutputCost",
            "calculatedTotalCost",
            "totalCost",
            "latency",
        ] {
            item.nullify(key);
        }
        for key in ["promptTokens", "completionTokens", "totalTokens"] {
            if item.raw(key).is_some() {
                item.set_raw(key, "0");
            }
        }
        for key in ["usageDetails", "costDetails"] {
            if item.raw(key).is_some() {
                item.set_raw(key, "{}");
            }
        }
        if item.present("usage").is_some() {
            let unit = item.value("usage").get("unit").cloned().unwrap_or_default();
            item.set_raw("usage", format!(r#"{{"input":0,"output":0,"total":0,"unit":{unit}}}"#));
        }
        // An error is only known when the call is over.
        if item.raw("level").is_some() {
            item.set_raw("level", r#""DEFAULT""#);
        }
    }
    if item.time("completionStartTime").is_some_and(|at| at > now) {
        item.nullify("completionStartTime");
        item.nullify("timeToFirstToken");
    }
    clamp(&mut item, &["createdAt", "updatedAt"], now);
    item
}

/// Moves bookkeeping times that lie ahead back to now.
pub(super) fn clamp(item: &mut Item, keys: &[&str], now: Micros) {
    for key in keys {
        if item.time(key).is_some_and(|at| at > now) {
            item.set_text(key, &time::millis_z(now));
        }
    }
}

impl Timed for Observation {
    fn order(&self) -> (Micros, &str, &str) {
        (self.start, &self.trace_id, &self.id)
    }

    fn arrival(&self) -> Micros {
        self.arrives
    }
}

/// A trace with its keys.
#[derive(Debug)]
pub(crate) struct Trace {
    pub item: Item,
    pub id: Box<str>,
    pub at: Micros,
    pub user_id: Box<str>,
    pub session_id: Box<str>,
    pub tags: Vec<String>,
    pub(super) latest: Micros,
    arrives: Micros,
}

impl Trace {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let at = item.time("timestamp").unwrap_or(TIMELESS);
        let latest = ["createdAt", "updatedAt"].iter().filter_map(|key| item.time(key)).fold(at, Micros::max);
        let tags = item
            .value("tags")
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tag| tag.as_str().map(str::to_owned))
            .collect();
        Self {
            id: item.key("id"),
            user_id: item.key("userId"),
            session_id: item.key("sessionId"),
            at,
            tags,
            latest,
            arrives: arrival(&parents, at),
            item,
        }
    }
}

impl Timed for Trace {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }

    fn arrival(&self) -> Micros {
        self.arrives
    }
}

/// A score with its keys.
#[derive(Debug)]
pub(crate) struct Score {
    pub item: Item,
    pub id: Box<str>,
    pub trace_id: Box<str>,
    pub at: Micros,
    arrives: Micros,
}

impl Score {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let at = item.time("timestamp").or_else(|| item.time("createdAt")).unwrap_or(TIMELESS);
        Self { id: item.key("id"), trace_id: item.key("traceId"), at, arrives: arrival(&parents, at), item }
    }

    /// The object as the API would have it at the horizon.
    pub(crate) fn seen_at(&self, horizon: Option<Micros>) -> Cow<'_, Item> {
        let later = |now| ["createdAt", "updatedAt"].iter().any(|key| self.item.time(key).is_some_and(|at| at > now));
        match horizon {
            Some(now) if later(now) => {
                let mut item = self.item.clone();
                clamp(&mut item, &["createdAt", "updatedAt"], now);
                Cow::Owned(item)
            }
            _ => Cow::Borrowed(&self.item),
        }
    }
}

impl Timed for Score {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }

    fn arrival(&self) -> Micros {
        self.arrives
    }
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub item: Item,
    pub id: Box<str>,
    pub at: Micros,
}

impl Session {
    pub(crate) fn new(item: Item) -> Self {
        Self { id: item.key("id"), at: item.time("createdAt").unwrap_or(TIMELESS), item }
    }
}

impl Timed for Session {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }
}

/// A prompt: as the list endpoint has it (`version` is `None`), or one version of it.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub item: Item,
    pub name: Box<str>,
    pub version: Option<u64>,
    pub at: Micros,
}

impl Prompt {
    pub(crate) fn new(item: Item) -> Self {
        let at = ["createdAt", "lastUpdatedAt", "updatedAt"].iter().find_map(|key| item.time(key)).unwrap_or(TIMELESS);
        let version = item.present("prompt").and_then(|_| item.raw("version")?.parse().ok());
        Self { name: item.key("name"), version, at, item }
    }
}
