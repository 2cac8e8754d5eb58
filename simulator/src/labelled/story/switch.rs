//! Changes without a commit: a prompt that gets another version, a model that is replaced. Most do no harm.
//!
//! Must hold: a harmless one comes neither while something goes wrong in its feature nor shortly before.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;

use super::{Story, minutes};

/// What changes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Switch {
    /// The next version of the feature's prompt.
    Prompt,
    /// Another model.
    Model(String),
}

impl Story {
    /// The prompt that a feature has: half of them are named like it.
    pub(super) fn prompt_of(&mut self, name: &str, number: usize) -> Option<(String, u32)> {
        let has = self.rng.random_bool(0.6);
        let alike = self.rng.random_bool(0.5);
        let other = self.words.name(&mut self.rng, number);
        let version = self.rng.random_range(1..30);
        has.then(|| (if alike { format!("{name} {}", self.words.word(&mut self.rng)) } else { other }, version))
    }

    /// What a feature's calls use at a time.
    pub(super) fn in_use(&self, number: usize, at: DateTime<Utc>) -> (String, Option<(String, u32)>) {
        let feature = &self.features[number];
        let past = self.switches.iter().filter(|(which, since, _)| *which == number && *since <= at);
        let models = past.clone().filter_map(|(_, since, switch)| match switch {
            Switch::Model(model) => Some((since, model)),
            Switch::Prompt => None,
        });
        let model = models.max_by_key(|(since, _)| **since).map_or(&feature.model, |(_, model)| model).clone();
        let later = u32::try_from(past.filter(|(.., switch)| *switch == Switch::Prompt).count()).unwrap_or_default();
        let prompt = feature.prompt.as_ref().map(|(name, version)| (name.clone(), version + later));
        (model, prompt)
    }

    /// A prompt or model that changes just before `onset`, and back at `end`. Says which, as labels do.
    pub(super) fn bad_switch(&mut self, victim: usize, onset: DateTime<Utc>, end: DateTime<Utc>) -> String {
        let at = onset - TimeDelta::seconds(self.rng.random_range(5..150));
        let (model, prompt) = self.in_use(victim, at);
        let of_prompt = prompt.is_some() && self.rng.random_bool(0.6);
        let (switch, back) = if of_prompt {
            (Switch::Prompt, Switch::Prompt)
        } else {
            (Switch::Model(self.words.name(&mut self.rng, 900 + victim)), Switch::Model(model))
        };
        self.switches.push((victim, at, switch));
        self.switches.push((victim, end, back));
        match self.in_use(victim, at) {
            (_, Some((name, version))) if of_prompt => format!("prompt:{name}@{version}"),
            (model, _) => format!("model:{model}"),
        }
    }

    /// Changes that do no harm, told before those that do: what goes wrong keeps away from them.
    pub(super) fn good_switches(&mut self) {
        for number in 0..self.features.len() {
            for _ in 0..self.rng.random_range(0..4) {
                let at = self.within(self.start + TimeDelta::hours(6), self.end);
                let switch = if self.features[number].prompt.is_some() && self.rng.random_bool(0.8) {
                    Switch::Prompt
                } else {
                    Switch::Model(self.words.name(&mut self.rng, 800 + number))
                };
                self.switches.push((number, at, switch));
            }
        }
    }

    /// Forgets the harmless changes of a feature from some hours before something goes wrong in it.
    pub(super) fn steady(&mut self, victim: usize, onset: DateTime<Utc>, end: DateTime<Utc>) {
        self.switches.retain(|(which, at, _)| *which != victim || *at < onset - minutes(240) || end < *at);
    }

    /// Whether an incident has such a cause; what a tool does has none in prompts.
    pub(super) fn without_commit(&mut self, class: &str) -> bool {
        self.rng.random_bool(0.25) && class != "silent_tool_failure"
    }
}
