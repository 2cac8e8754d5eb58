//! Sentry's data: projects, issues, their events, releases and deploys.
//!
//! Owns: indexing, and what an issue or release looks like before its later events happened.
//! Must hold: at a horizon, an issue's `lastSeen` is not later, and its `count` is that of its
//! visible events when later ones are known; an event that comes late is not there before.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::dataset::{Collection, Dataset};
use crate::item::Item;
use crate::time::{self, Micros};
use crate::timeline::{TIMELESS, Timed, Timeline, arrival};

/// A project.
#[derive(Debug)]
pub(crate) struct Project {
    pub item: Item,
    pub id: Box<str>,
    pub slug: Box<str>,
    pub org: Box<str>,
    pub created: Micros,
}

/// An issue with its keys.
#[derive(Debug)]
pub(crate) struct Issue {
    pub item: Item,
    pub id: Box<str>,
    pub short_id: Box<str>,
    pub project_id: Box<str>,
    pub project: Box<str>,
    pub org: Box<str>,
    pub first: Micros,
    pub last: Micros,
    /// What new events of the same trouble are recognised by.
    pub grouping: Option<String>,
}

impl Issue {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let project = item.value("project");
        let of_project = |key: &str| -> Box<str> {
            match project.get(key) {
                Some(Value::String(text)) => text.as_str().into(),
                Some(Value::Number(number)) => number.to_string().into(),
                _ => "".into(),
            }
        };
        let slug = of_project("slug");
        let last = item.time("lastSeen");
        let first = item.time("firstSeen").or(last).unwrap_or(TIMELESS);
        Self {
            id: item.key("id"),
            short_id: item.key("shortId"),
            project_id: of_project("id"),
            project: if slug.is_empty() { parents.key("_project") } else { slug },
            org: parents.key("_org"),
            first,
            last: last.unwrap_or(first),
            grouping: None,
            item,
        }
    }
}

impl Timed for Issue {
    fn order(&self) -> (Micros, &str, &str) {
        (self.first, &self.id, "")
    }
}

/// An event of an issue.
#[derive(Debug)]
pub(crate) struct Event {
    pub item: Item,
    /// What only `full=true` shows (`entries` with stack traces, contexts).
    pub full: Item,
    pub id: Box<str>,
    pub issue_id: Box<str>,
    pub project: Box<str>,
    pub project_id: Box<str>,
    pub org: Box<str>,
    pub at: Micros,
    arrives: Micros,
}

impl Event {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let full = Item::from_value(&parents.value("_full")).unwrap_or_default();
        let at = item.time("dateCreated").or_else(|| item.time("dateReceived")).unwrap_or(TIMELESS);
        Self {
            id: item.first_key(&["eventID", "id"]).unwrap_or_default(),
            issue_id: parents
                .first_key(&["_issue_id", "_issue"])
                .or_else(|| item.first_key(&["groupID", "groupId"]))
                .unwrap_or_default(),
            project: parents.key("_project"),
            project_id: item.first_key(&["projectID", "projectId"]).unwrap_or_default(),
            org: parents.key("_org"),
            full,
            at,
            arrives: arrival(&parents, at),
            item,
        }
    }

    /// The value of a tag.
    pub(crate) fn tag(&self, key: &str) -> Option<String> {
        self.item.value("tags").as_array()?.iter().find_map(|tag| {
            let named = tag.get("key").and_then(Value::as_str) == Some(key);
            named.then(|| tag.get("value")?.as_str().map(str::to_owned)).flatten()
        })
    }

    /// The object, with its full parts when asked for.
    pub(crate) fn shown(&self, full: bool) -> Cow<'_, Item> {
        if !full || self.full.fields().next().is_none() {
            return Cow::Borrowed(&self.item);
        }
        let mut item = self.item.clone();
        for (key, raw) in self.full.fields() {
            item.set_raw(key, raw);
        }
        Cow::Owned(item)
    }
}

impl Timed for Event {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }

    fn arrival(&self) -> Micros {
        self.arrives
    }
}

/// A release.
#[derive(Debug)]
pub(crate) struct Release {
    pub item: Item,
    pub version: Box<str>,
    pub projects: Vec<String>,
    pub org: Box<str>,
    pub at: Micros,
}

impl Release {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let mut projects: Vec<String> = Vec::new();
        if let Value::Array(list) = item.value("projects") {
            for project in &list {
                for key in ["slug", "id"] {
                    match project.get(key) {
                        Some(Value::String(text)) => projects.push(text.clone()),
                        Some(Value::Number(number)) => projects.push(number.to_string()),
                        _ => {}
                    }
                }
            }
        }
        let parent = parents.key("_project");
        if !parent.is_empty() {
            projects.push(parent.into());
        }
        Self {
            version: item.key("version"),
            org: parents.key("_org"),
            at: item.time("dateCreated").or_else(|| item.time("dateReleased")).unwrap_or(TIMELESS),
            projects,
            item,
        }
    }
}

impl Timed for Release {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.version, "")
    }
}

/// A deploy of a release; it exists once it is finished.
#[derive(Debug)]
pub(crate) struct Deploy {
    pub item: Item,
    pub id: Box<str>,
    pub version: Option<Box<str>>,
    pub org: Box<str>,
    pub at: Micros,
}

impl Deploy {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        Self {
            id: item.key("id"),
            version: parents.first_key(&["_version", "_release"]),
            org: parents.key("_org"),
            at: item.time("dateFinished").or_else(|| item.time("dateStarted")).unwrap_or(TIMELESS),
            item,
        }
    }
}

impl Timed for Deploy {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }
}

/// Everything Sentry has.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub projects: Vec<Project>,
    pub issues: Timeline<Issue>,
    pub events: Timeline<Event>,
    pub releases: Timeline<Release>,
    pub deploys: Timeline<Deploy>,
    events_of: HashMap<Box<str>, Timeline<Event>>,
}

impl Store {
    /// Takes the Sentry collections out of a dataset.
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        let projects = dataset
            .take(Collection::SentryProjects)
            .into_iter()
            .map(|mut item| {
                let parents = item.split_parents();
                Project {
                    id: item.key("id"),
                    slug: item.key("slug"),
                    org: parents.key("_org"),
                    created: item.time("dateCreated").unwrap_or(TIMELESS),
                    item,
                }
            })
            .collect();
        let mut store = Self {
            projects,
            issues: Timeline::new(dataset.take(Collection::SentryIssues).into_iter().map(Issue::new)),
            events: Timeline::new(dataset.take(Collection::SentryIssueEvents).into_iter().map(Event::new)),
            releases: Timeline::new(dataset.take(Collection::SentryReleases).into_iter().map(Release::new)),
            deploys: Timeline::new(dataset.take(Collection::SentryDeploys).into_iter().map(Deploy::new)),
            events_of: HashMap::new(),
        };
        for event in store.events.all() {
            store.events_of.entry(event.issue_id.clone()).or_default().insert(Arc::clone(event));
        }
        store
    }

    /// All known events of an issue.
    pub(crate) fn events_of(&self, issue_id: &str) -> Option<&Timeline<Event>> {
        self.events_of.get(issue_id)
    }

    /// The events of an issue that are there at the horizon, oldest first.
    pub(crate) fn here(&self, issue_id: &str, horizon: Option<Micros>) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        let events = self.events_of(issue_id).map_or(&[][..], |events| events.visible(horizon));
        events.iter().filter(move |event| event.is_here(horizon))
    }

    /// Whether an issue is there at the horizon: not while its first event, and all others, are still on their way.
    pub(crate) fn is_known(&self, issue: &Issue, horizon: Option<Micros>) -> bool {
        let first = self.events_of(&issue.id).and_then(|events| events.all().first());
        first.is_none_or(|first| first.at > issue.first || first.is_here(horizon))
            || self.here(&issue.id, horizon).next().is_some()
    }

    /// The visible events of an issue, oldest first, with those of no issue in particular.
    pub(crate) fn visible_events_of(&self, issue_id: &str, horizon: Option<Micros>) -> Vec<Arc<Event>> {
        let mut found: Vec<_> = self.here(issue_id, horizon).cloned().collect();
        if !issue_id.is_empty() {
            found.extend(self.here("", horizon).cloned());
        }
        found.sort_by(|a, b| a.order().cmp(&b.order()));
        found
    }

    /// The last time an issue was seen, at the horizon.
    pub(crate) fn last_seen(&self, issue: &Issue, horizon: Option<Micros>) -> Micros {
        match horizon {
            Some(now) if issue.last > now || self.lacks_events(issue, horizon) => {
                self.here(&issue.id, horizon).next_back().map_or(issue.last.min(now), |event| event.at)
            }
            _ => issue.last,
        }
    }

    /// Whether events of an issue are known that are not there at the horizon.
    fn lacks_events(&self, issue: &Issue, horizon: Option<Micros>) -> bool {
        self.events_of(&issue.id).is_some_and(|events| !events.all().iter().all(|event| event.is_here(horizon)))
    }

    /// How many events an issue has, at the horizon.
    pub(crate) fn count(&self, issue: &Issue, horizon: Option<Micros>) -> u64 {
        let lifetime = issue.item.number("count").map_or(0, |count| count as u64);
        let Some(events) = horizon.and_then(|_| self.events_of(&issue.id)) else {
            return lifetime;
        };
        let seen = self.here(&issue.id, horizon).count();
        if seen < events.all().len() { seen as u64 } else { lifetime }
    }

    /// An issue as the API would have it at the horizon.
    pub(crate) fn issue_at<'a>(&self, issue: &'a Issue, horizon: Option<Micros>) -> Cow<'a, Item> {
        let Some(now) = horizon else {
            return Cow::Borrowed(&issue.item);
        };
        let later_events = self.lacks_events(issue, horizon);
        if issue.last <= now && !later_events {
            return Cow::Borrowed(&issue.item);
        }
        let mut item = issue.item.clone();
        item.set_text("lastSeen", &time::micros_z(self.last_seen(issue, horizon)));
        let first = self.events_of(&issue.id).and_then(|events| events.all().first());
        if first.is_some_and(|first| first.at <= issue.first && !first.is_here(horizon))
            && let Some(seen) = self.here(&issue.id, horizon).next()
        {
            item.set_text("firstSeen", &time::micros_z(seen.at));
        }
        let count = self.count(issue, horizon);
        if item.raw("count").is_some() {
            item.set_text("count", &count.to_string());
        }
        if item.number("userCount").is_some_and(|users| users > count as f64) {
            item.set_raw("userCount", count.to_string());
        }
        // It went on after now, so it cannot have been put away before.
        if item.present("status").is_some_and(|raw| raw != r#""unresolved""#) {
            item.set_text("status", "unresolved");
            item.set_raw("statusDetails", "{}");
            if item.raw("substatus").is_some() {
                item.set_text("substatus", "ongoing");
            }
        }
        Cow::Owned(item)
    }

    /// The visible deploys of a release, newest first.
    pub(crate) fn deploys_of(&self, version: &str, horizon: Option<Micros>) -> Vec<Arc<Deploy>> {
        self.deploys
            .visible(horizon)
            .iter()
            .rev()
            .filter(|deploy| deploy.version.as_deref().is_none_or(|v| v == version))
            .cloned()
            .collect()
    }

    /// A release as the API would have it at the horizon.
    pub(crate) fn release_at<'a>(&self, release: &'a Release, horizon: Option<Micros>) -> Cow<'a, Item> {
        let Some(now) = horizon else {
            return Cow::Borrowed(&release.item);
        };
        let mut item = Cow::Borrowed(&release.item);
        for key in ["dateReleased", "dateStarted", "firstEvent", "lastEvent"] {
            if item.time(key).is_some_and(|at| at > now) {
                let stamp = time::micros_z(now);
                match key {
                    "lastEvent" => item.to_mut().set_text(key, &stamp),
                    _ => item.to_mut().set_raw(key, "null"),
                }
            }
        }
        let finished = |deploy: &Value| deploy.get("dateFinished").and_then(Value::as_str).and_then(time::parse);
        if finished(&item.value("lastDeploy")).is_some_and(|at| at > now) {
            let deploys = self.deploys_of(&release.version, horizon);
            let last = deploys.first().map_or(Value::Null, |deploy| deploy.item.to_value());
            let item = item.to_mut();
            item.set_value("lastDeploy", &last);
            if item.raw("deployCount").is_some() {
                item.set_raw("deployCount", deploys.len().to_string());
            }
        }
        item
    }

    /// A project by slug or id.
    pub(crate) fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|project| &*project.slug == name || &*project.id == name)
    }

    /// Adds an event that came in, and its issue when the trouble is new. Returns the issue's id.
    pub(crate) fn put_event(&mut self, arrival: Arrival) -> String {
        let known =
            self.issues.all().iter().find(|issue| issue.grouping.as_deref() == Some(&arrival.grouping)).cloned();
        let stamp = time::micros_z(arrival.at);
        let issue = match &known {
            None => {
                let number = 9_000_000 + self.issues.all().len();
                let id = number.to_string();
                let item = arrival
                    .issue
                    .clone()
                    .with_text("id", &id)
                    .with_text("shortId", &format!("{}-{number}", arrival.project.to_uppercase()))
                    .with_text("count", "1")
                    .with_raw("userCount", "0")
                    .with_text("firstSeen", &stamp)
                    .with_text("lastSeen", &stamp);
                let mut issue = Issue::new(item);
                issue.grouping = Some(arrival.grouping.clone());
                issue
            }
            Some(known) => {
                let mut item = known.item.clone();
                let count = item.number("count").unwrap_or(0.0) as u64 + 1;
                item.set_text("count", &count.to_string());
                item.set_text("firstSeen", &time::micros_z(known.first.min(arrival.at)));
                item.set_text("lastSeen", &time::micros_z(known.last.max(arrival.at)));
                let mut issue = Issue::new(item);
                issue.grouping = known.grouping.clone();
                issue
            }
        };
        let issue = Arc::new(issue);
        let id = issue.id.to_string();
        match known {
            Some(old) => self.issues.replace(&old, issue),
            None => self.issues.insert(issue),
        }
        let event = Arc::new(Event::new(
            arrival
                .event
                .with_text("groupID", &id)
                .with_text("_project", &arrival.project)
                .with("_full", &json!({"entries": arrival.entries})),
        ));
        self.events_of.entry(event.issue_id.clone()).or_default().insert(Arc::clone(&event));
        self.events.insert(event);
        id
    }
}

/// An event that came in through the ingest endpoints, taken apart.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub project: String,
    pub grouping: String,
    pub at: Micros,
    pub issue: Item,
    pub event: Item,
    pub entries: Value,
}
