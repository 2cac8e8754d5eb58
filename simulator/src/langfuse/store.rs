//! Langfuse's data, indexed: by time, by id, by trace.
//!
//! Owns: the collections and their indexes, and traces as sums of their parts.
//! Must hold: every index knows every object, also those that were written.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::objects::{Observation, Prompt, Score, Session, Trace, clamp};
use crate::dataset::{Collection, Dataset};
use crate::item::{self, Item};
use crate::time::{self, Micros};
use crate::timeline::{Timed, Timeline};

/// Everything Langfuse has.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub projects: Vec<Item>,
    pub observations: Timeline<Observation>,
    pub traces: Timeline<Trace>,
    pub scores: Timeline<Score>,
    pub sessions: Timeline<Session>,
    pub prompts: Vec<Prompt>,
    pub trace_by_id: HashMap<Box<str>, Arc<Trace>>,
    observation_by_id: HashMap<Box<str>, Arc<Observation>>,
    observations_of: HashMap<Box<str>, Vec<Arc<Observation>>>,
    scores_of: HashMap<Box<str>, Vec<Arc<Score>>>,
}

impl Store {
    /// Takes the Langfuse collections out of a dataset.
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        let mut take = |collection| dataset.take(collection).into_iter();
        let without_parents = |mut item: Item| {
            item.split_parents();
            item
        };
        let mut store = Self {
            projects: take(Collection::LangfuseProjects).map(without_parents).collect(),
            prompts: take(Collection::LangfusePrompts).map(without_parents).map(Prompt::new).collect(),
            traces: Timeline::new(take(Collection::LangfuseTraces).map(Trace::new)),
            observations: Timeline::new(take(Collection::LangfuseObservations).map(Observation::new)),
            scores: Timeline::new(take(Collection::LangfuseScores).map(Score::new)),
            sessions: Timeline::new(take(Collection::LangfuseSessions).map(without_parents).map(Session::new)),
            ..Self::default()
        };
        for trace in store.traces.all() {
            store.trace_by_id.insert(trace.id.clone(), Arc::clone(trace));
        }
        for observation in store.observations.all() {
            store.observation_by_id.insert(observation.id.clone(), Arc::clone(observation));
            store.observations_of.entry(observation.trace_id.clone()).or_default().push(Arc::clone(observation));
        }
        for score in store.scores.all() {
            store.scores_of.entry(score.trace_id.clone()).or_default().push(Arc::clone(score));
        }
        store
    }

    /// The project that objects without one belong to.
    pub(crate) fn project_id(&self) -> Box<str> {
        self.projects
            .first()
            .map(|project| project.key("id"))
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| "simulated-project".into())
    }

    /// An observation by its id.
    pub(crate) fn observation(&self, id: &str) -> Option<&Arc<Observation>> {
        self.observation_by_id.get(id)
    }

    /// The visible observations of a trace, oldest first.
    pub(crate) fn of_trace(&self, trace_id: &str, horizon: Option<Micros>) -> Vec<Arc<Observation>> {
        let mut found: Vec<_> =
            self.observations_of.get(trace_id).into_iter().flatten().filter(|o| o.is_here(horizon)).cloned().collect();
        found.sort_by(|a, b| a.order().cmp(&b.order()));
        found
    }

    /// The visible scores of a trace.
    pub(crate) fn scores_of_trace(&self, trace_id: &str, horizon: Option<Micros>) -> Vec<Arc<Score>> {
        self.scores_of.get(trace_id).into_iter().flatten().filter(|s| s.is_here(horizon)).cloned().collect()
    }

    /// The user of an observation: its own, else its trace's.
    pub(crate) fn user_of<'a>(&'a self, observation: &'a Observation) -> &'a str {
        self.inherited(observation, &observation.user_id, |trace| &trace.user_id)
    }

    /// The session of an observation: its own, else its trace's.
    pub(crate) fn session_of<'a>(&'a self, observation: &'a Observation) -> &'a str {
        self.inherited(observation, &observation.session_id, |trace| &trace.session_id)
    }

    fn inherited<'a>(
        &'a self,
        observation: &Observation,
        own: &'a str,
        of_trace: impl Fn(&'a Trace) -> &'a str,
    ) -> &'a str {
        if !own.is_empty() {
            return own;
        }
        self.trace_by_id.get(&observation.trace_id).map_or("", |trace| of_trace(trace))
    }

    /// A legacy trace as the list endpoint has it at the horizon.
    pub(crate) fn trace_at<'a>(&self, trace: &'a Trace, horizon: Option<Micros>) -> Cow<'a, Item> {
        let Some(now) = horizon else {
            return Cow::Borrowed(&trace.item);
        };
        let observations = self.of_trace(&trace.id, None);
        let scores = self.scores_of_trace(&trace.id, None);
        let later = trace.latest > now
            || observations.iter().any(|o| o.latest > now || !o.is_here(horizon))
            || scores.iter().any(|s| !s.is_here(horizon));
        if !later {
            return Cow::Borrowed(&trace.item);
        }
        let mut item = trace.item.clone();
        clamp(&mut item, &["createdAt", "updatedAt"], now);
        let seen: Vec<_> = observations.iter().filter(|o| o.is_here(horizon)).collect();
        if !observations.is_empty() {
            if item.raw("totalCost").is_some() {
                let cost: f64 = seen.iter().map(|o| o.cost_at(horizon)).sum();
                item.set_raw("totalCost", number(cost));
            }
            let end = seen.iter().filter_map(|o| o.seen_at(horizon).time("endTime")).max();
            if item.raw("latency").is_some() {
                let latency = end.map_or(0, |end| (end - trace.at).max(0));
                item.set_raw("latency", number(latency as f64 / time::SECOND as f64));
            }
            if seen.len() < observations.len() || seen.iter().any(|o| o.is_cut(horizon)) {
                item.nullify("output");
            }
        }
        if item.present("observations").is_some_and(|raw| raw.starts_with("[\"")) {
            item.set_raw("observations", id_list(seen.iter().map(|o| &*o.id)));
        }
        if item.present("scores").is_some_and(|raw| raw.starts_with("[\"")) {
            let seen = scores.iter().filter(|s| s.is_here(horizon));
            item.set_raw("scores", id_list(seen.map(|s| &*s.id)));
        }
        Cow::Owned(item)
    }

    /// Adds or replaces an observation.
    pub(crate) fn put_observation(&mut self, item: Item) {
        let new = Arc::new(Observation::new(item));
        if let Some(old) = self.observation_by_id.insert(new.id.clone(), Arc::clone(&new)) {
            self.observations.replace(&old, Arc::clone(&new));
            if let Some(siblings) = self.observations_of.get_mut(&old.trace_id) {
                siblings.retain(|other| !Arc::ptr_eq(other, &old));
            }
        } else {
            self.observations.insert(Arc::clone(&new));
        }
        self.observations_of.entry(new.trace_id.clone()).or_default().push(new);
    }

    /// Adds or replaces a trace, and its session when that is new.
    pub(crate) fn put_trace(&mut self, item: Item) {
        let new = Arc::new(Trace::new(item));
        if !new.session_id.is_empty() && !self.sessions.all().iter().any(|s| s.id == new.session_id) {
            let session = Item::new()
                .with_text("id", &new.session_id)
                .with_text("createdAt", &time::millis_z(new.at))
                .with_text("projectId", &self.project_id())
                .with_text("environment", &new.item.key("environment"));
            self.sessions.insert(Arc::new(Session::new(session)));
        }
        match self.trace_by_id.insert(new.id.clone(), Arc::clone(&new)) {
            Some(old) => self.traces.replace(&old, new),
            None => self.traces.insert(new),
        }
    }

    /// Adds or replaces a score.
    pub(crate) fn put_score(&mut self, item: Item) {
        let new = Arc::new(Score::new(item));
        let old = self.scores.all().iter().find(|s| s.id == new.id).cloned();
        match old {
            Some(old) => {
                self.scores.replace(&old, Arc::clone(&new));
                if let Some(siblings) = self.scores_of.get_mut(&old.trace_id) {
                    siblings.retain(|other| !Arc::ptr_eq(other, &old));
                }
            }
            None => self.scores.insert(Arc::clone(&new)),
        }
        self.scores_of.entry(new.trace_id.clone()).or_default().push(new);
    }
}

fn id_list<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<_> = ids.map(item::quote).collect();
    format!("[{}]", quoted.join(","))
}

/// A float as JSON, without the noise of binary fractions beyond 12 digits.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 1e12).round() / 1e12;
    serde_json::Number::from_f64(rounded).map_or_else(|| "0".to_owned(), |n| n.to_string())
}
