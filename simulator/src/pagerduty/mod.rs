//! PagerDuty, under `/pagerduty`: the REST API's lists.
//!
//! Owns: routing, the token, paging, rate-limit headers, error shapes.
//! Must hold: incidents show one month unless a range or `date_range=all` is given, and no range beyond six months;
//! `offset + limit` is at most 10,000; `total` is null unless asked for (facts: vendors, PagerDuty).

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::dataset::{Collection, Dataset};
use crate::http::{Call, Reply};
use crate::shelf::{Object, Shelf, part};
use crate::time::{DAY, Micros};

/// Requests per minute that the headers speak of. They inform; only a fault throttles.
const LIMIT: u64 = 960;
const MAX: usize = 100;
const DEFAULT: usize = 25;
const END: usize = 10_000;

/// What PagerDuty holds.
#[derive(Debug, Default)]
pub(crate) struct Store {
    incidents: Shelf,
    log_entries: Shelf,
    alerts: Shelf,
    services: Shelf,
    oncalls: Shelf,
    users: Shelf,
    schedules: Shelf,
}

impl Store {
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        Self {
            incidents: Shelf::take(dataset, Collection::PagerdutyIncidents, "/created_at"),
            log_entries: Shelf::take(dataset, Collection::PagerdutyLogEntries, "/created_at"),
            alerts: Shelf::take(dataset, Collection::PagerdutyAlerts, "/created_at"),
            services: Shelf::take(dataset, Collection::PagerdutyServices, "/created_at"),
            // Shifts that lie ahead are known.
            oncalls: Shelf::take(dataset, Collection::PagerdutyOncalls, "/no time"),
            users: Shelf::take(dataset, Collection::PagerdutyUsers, "/created_at"),
            schedules: Shelf::take(dataset, Collection::PagerdutySchedules, "/created_at"),
        }
    }
}

/// The PagerDuty stand-in.
#[derive(Debug, Default)]
pub(crate) struct Pagerduty {
    store: Store,
    used: AtomicU64,
}

impl Pagerduty {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, used: AtomicU64::new(0) }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let reply = match check(call, auth) {
            Err(reply) => *reply,
            Ok(()) => View { store: &self.store, call, horizon: clock.horizon(), now: clock.now() }
                .answer()
                .unwrap_or_else(|refusal| refusal),
        };
        let used = self.used.fetch_add(1, Ordering::Relaxed) % (LIMIT / 2);
        reply
            .header("ratelimit-limit", LIMIT.to_string())
            .header("ratelimit-remaining", (LIMIT - 1 - used).to_string())
            .header("ratelimit-reset", "30")
    }
}

struct View<'a> {
    store: &'a Store,
    call: &'a Call,
    horizon: Option<Micros>,
    now: Micros,
}

impl View<'_> {
    fn answer(&self) -> Result<Reply, Reply> {
        if self.call.method != "GET" {
            return Err(refused(405, 2000, "Method Not Allowed"));
        }
        let segments: Vec<&str> = self.call.segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["abilities"] => Ok(Reply::value(200, &json!({"abilities": ["teams", "urgencies"]}))),
            ["incidents"] => self.incidents(),
            ["incidents", id] => self.one("incident", &self.store.incidents, id),
            ["incidents", id, "alerts"] => self.alerts(id),
            ["incidents", id, "log_entries"] => self.log_entries(Some(id)),
            ["log_entries"] => self.log_entries(None),
            ["services"] => self.named("services", &self.store.services),
            ["services", id] => self.one("service", &self.store.services, id),
            ["oncalls"] => self.oncalls(),
            ["users"] => self.named("users", &self.store.users),
            ["users", id] => self.one("user", &self.store.users, id),
            ["schedules"] => self.named("schedules", &self.store.schedules),
            _ => Err(refused(404, 2100, "Not Found")),
        }
    }

    fn number(&self, name: &str, default: usize) -> Result<usize, Reply> {
        match self.call.query.filled(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| refused(400, 2001, &format!("{name} must be a number"))),
        }
    }

    fn time(&self, name: &str) -> Result<Option<Micros>, Reply> {
        match self.call.query.filled(name) {
            None => Ok(None),
            Some(_) => match self.call.query.time(name) {
                Some(at) => Ok(Some(at)),
                None => Err(refused(400, 2001, &format!("{name} is no ISO 8601 time"))),
            },
        }
    }

    /// A page of `all`.
    fn page(&self, name: &str, all: &[Value]) -> Result<Reply, Reply> {
        let limit = self.number("limit", DEFAULT)?.clamp(1, MAX);
        let offset = self.number("offset", 0)?;
        if offset.saturating_add(limit) > END {
            return Err(refused(400, 2001, "Offset and limit must not exceed 10000"));
        }
        let rows = part(all, offset, limit);
        let total = if self.call.query.flag("total") { json!(all.len()) } else { Value::Null };
        let more = offset.saturating_add(rows.len()) < all.len();
        Ok(Reply::value(200, &json!({name: rows, "limit": limit, "offset": offset, "total": total, "more": more})))
    }

    fn one(&self, name: &str, shelf: &Shelf, id: &str) -> Result<Reply, Reply> {
        let found = shelf.visible(self.horizon).find(|object| object.text("/id").as_deref() == Some(id));
        found
            .map(|object| Reply::value(200, &json!({name: self.as_of(object)})))
            .ok_or_else(|| refused(404, 2100, "Not Found"))
    }

    /// Whether a list parameter, if there, has the text at `pointer`.
    fn listed(&self, name: &str, object: &Object, pointer: &str) -> bool {
        let mut wanted = self.call.query.all(name).peekable();
        wanted.peek().is_none() || object.text(pointer).is_some_and(|found| wanted.any(|one| one == found))
    }

    /// An incident or alert as it was at the clock's time: what was resolved later is open.
    fn as_of(&self, object: &Object) -> Value {
        let mut value = object.value.clone();
        let Some(now) = self.horizon else { return value };
        if object.time("/resolved_at").is_some_and(|at| at > now) {
            let acknowledged =
                object.keys.get("_acknowledged_at").and_then(crate::shelf::moment).filter(|at| *at <= now);
            value["status"] = json!(if acknowledged.is_some() { "acknowledged" } else { "triggered" });
            value["resolved_at"] = Value::Null;
            let changed = acknowledged.or(object.at).map_or(Value::Null, |at| json!(crate::time::seconds_z(at)));
            value["last_status_change_at"] = changed.clone();
            value["updated_at"] = changed;
            if let Some(all) = value.pointer("/alert_counts/all").cloned() {
                value["alert_counts"] = json!({"all": all, "triggered": all, "resolved": 0});
            }
        }
        value
    }

    fn incidents(&self) -> Result<Reply, Reply> {
        let (since, until) = (self.time("since")?, self.time("until")?);
        let everything = self.call.query.get("date_range") == Some("all");
        let to = until.unwrap_or(self.now);
        let from = since.unwrap_or(to.saturating_sub(30 * DAY));
        if !everything && to.saturating_sub(from) > 184 * DAY {
            return Err(refused(400, 2001, "The date range must not exceed 6 months"));
        }
        let within = |object: &&Object| everything || object.at.is_some_and(|at| from <= at && at < to);
        let mut all: Vec<Value> = self
            .store
            .incidents
            .visible(self.horizon)
            .filter(within)
            .filter(|object| self.listed("urgencies", object, "/urgency"))
            .filter(|object| self.listed("service_ids", object, "/service/id"))
            .filter(|object| {
                self.call.query.filled("incident_key").is_none_or(|key| object.value["incident_key"] == key)
            })
            .map(|object| self.as_of(object))
            .filter(|value| {
                let mut wanted = self.call.query.all("statuses").peekable();
                wanted.peek().is_none() || wanted.any(|status| value["status"] == status)
            })
            .collect();
        match self.call.query.filled("sort_by") {
            None | Some("created_at" | "created_at:asc" | "incident_number" | "incident_number:asc") => {}
            Some("created_at:desc" | "incident_number:desc") => all.reverse(),
            Some(_) => return Err(refused(400, 2001, "sort_by is not supported")),
        }
        self.page("incidents", &all)
    }

    fn alerts(&self, id: &str) -> Result<Reply, Reply> {
        let known = self.store.incidents.visible(self.horizon).any(|object| object.text("/id").as_deref() == Some(id));
        if !known {
            return Err(refused(404, 2100, "Not Found"));
        }
        let all: Vec<Value> = self
            .store
            .alerts
            .visible(self.horizon)
            .filter(|object| object.text("/incident/id").as_deref() == Some(id))
            .filter(|object| self.call.query.filled("alert_key").is_none_or(|key| object.value["alert_key"] == key))
            .map(|object| self.as_of(object))
            .filter(|value| {
                let mut wanted = self.call.query.all("statuses").peekable();
                wanted.peek().is_none() || wanted.any(|status| value["status"] == status)
            })
            .collect();
        self.page("alerts", &all)
    }

    fn log_entries(&self, incident: Option<&str>) -> Result<Reply, Reply> {
        let (since, until) = (self.time("since")?, self.time("until")?);
        let all: Vec<Value> = self
            .store
            .log_entries
            .visible(self.horizon)
            .rev()
            .filter(|object| incident.is_none_or(|id| object.text("/incident/id").as_deref() == Some(id)))
            .filter(|object| since.is_none_or(|since| object.at.is_some_and(|at| at >= since)))
            .filter(|object| until.is_none_or(|until| object.at.is_some_and(|at| at < until)))
            .map(|object| object.value.clone())
            .collect();
        self.page("log_entries", &all)
    }

    fn oncalls(&self) -> Result<Reply, Reply> {
        let since = self.time("since")?.unwrap_or(self.now);
        let until = self.time("until")?.unwrap_or(self.now);
        if until < since {
            return Err(refused(400, 2001, "until must be later than since"));
        }
        let all: Vec<Value> = self
            .store
            .oncalls
            .visible(None)
            .filter(|object| object.time("/start").is_none_or(|start| start <= until))
            .filter(|object| object.time("/end").is_none_or(|end| end > since))
            .filter(|object| self.listed("user_ids", object, "/user/id"))
            .filter(|object| self.listed("schedule_ids", object, "/schedule/id"))
            .filter(|object| self.listed("escalation_policy_ids", object, "/escalation_policy/id"))
            .map(|object| object.value.clone())
            .collect();
        self.page("oncalls", &all)
    }

    /// A list that can be searched by name.
    fn named(&self, name: &str, shelf: &Shelf) -> Result<Reply, Reply> {
        let query = self.call.query.filled("query").map(str::to_lowercase);
        let is_wanted = |object: &&Object| {
            query.as_ref().is_none_or(|query| {
                ["/name", "/email"]
                    .iter()
                    .filter_map(|p| object.text(p))
                    .any(|text| text.to_lowercase().contains(query.as_str()))
            })
        };
        let all: Vec<Value> =
            shelf.visible(self.horizon).filter(is_wanted).map(|object| object.value.clone()).collect();
        self.page(name, &all)
    }
}

fn check(call: &Call, auth: &Auth) -> Result<(), Box<Reply>> {
    let token = call.credential("token").and_then(|rest| rest.strip_prefix("token="));
    match token {
        _ if auth.is_off() => Ok(()),
        Some(token) if auth.accepts_pagerduty(token) => Ok(()),
        _ => Err(Box::new(refused(401, 2006, "Unauthorized"))),
    }
}

fn refused(status: u16, code: u16, why: &str) -> Reply {
    Reply::value(status, &json!({"error": {"code": code, "message": why, "errors": [why]}}))
}

/// PagerDuty's 429.
pub(crate) fn throttled() -> Reply {
    refused(429, 2020, "Rate Limit Exceeded")
        .header("ratelimit-limit", LIMIT.to_string())
        .header("ratelimit-remaining", "0")
        .header("ratelimit-reset", "1")
}

/// An error of any status in PagerDuty's shape.
pub(crate) fn failed(status: u16) -> Reply {
    refused(status, 2000, "Internal Server Error")
}
