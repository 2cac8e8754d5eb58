//! What goes wrong: one incident of each class, among changes that do no harm.
//!
//! Must hold: who looks at the data can know the culprit. Where the culprit's file is named like what broke, or errors
//! name it, harmless deploys may come between it and the onset; where nothing but the time tells, none does.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;

use super::{APART, Effect, Story, Trouble, minutes};
use crate::labelled::LabelledIncident;

impl Story {
    pub(super) fn incidents(&mut self, told: &mut Vec<LabelledIncident>) {
        let mut order = ["cost_spike", "error_cascade", "prompt_drift", "agent_loop", "silent_tool_failure"];
        for index in (1..order.len()).rev() {
            order.swap(index, self.rng.random_range(0..=index));
        }
        let mut victim = self.rng.random_range(0..2);
        // The one before, unless two overlap already: two things at once in one feature could not be told apart.
        let mut before: Option<DateTime<Utc>> = None;
        for (number, class) in (0_i64..).zip(order) {
            // Now and then while the one before it lasts, in the other feature.
            let overlapped = before.filter(|_| self.rng.random_bool(0.4));
            let onset = match overlapped {
                Some(before) => before + minutes(self.rng.random_range(25..70)),
                None => self.clock_start + TimeDelta::hours(3 + APART * number) + minutes(self.rng.random_range(0..60)),
            };
            victim = 1 - victim;
            before = overlapped.is_none().then_some(onset);
            let incident = self.incident(class, victim, onset);
            told.push(incident);
        }
        told.sort_by_key(|incident| incident.starts_at);
    }

    fn incident(&mut self, class: &'static str, victim: usize, onset: DateTime<Utc>) -> LabelledIncident {
        let end = onset + minutes(self.rng.random_range(75..150));
        let tool = self.rng.random_range(0..self.tools.len());
        let (name, file, named) = if class == "silent_tool_failure" {
            (self.tools[tool].name.clone(), self.tools[tool].file.clone(), self.tools[tool].named)
        } else {
            (self.features[victim].name.clone(), self.features[victim].file.clone(), self.features[victim].named)
        };
        let can_be_told = named || class == "error_cascade";
        let live = onset - minutes(self.rng.random_range(2..9));
        let committed = live - minutes(self.rng.random_range(3..12));
        // Deploys may not fall between the cause and its effect where nobody could tell them apart, nor into the effect.
        self.happened.changes.retain(|change| {
            change.live_at.is_none_or(|at| at < live || at > onset + minutes(20) || (can_be_told && at < onset))
        });
        self.steady(victim, onset, end);
        if self.without_commit(class) {
            return self.without(class, victim, (onset, end), live);
        }
        self.neighbours(onset, if can_be_told { onset } else { live });
        let telling = self.rng.random_bool(0.3);
        let message = if telling {
            format!("{name} {}", self.words.sentence(&mut self.rng, 3))
        } else {
            self.words.sentence(&mut self.rng, 6)
        };
        let sha = self.commit(committed, Some(live), vec![file.clone()], message.clone());
        if self.rng.random_bool(0.5) {
            // Documents merged in between.
            let page = self.file(300).replace(".py", ".md");
            let words = self.words.sentence(&mut self.rng, 5);
            self.commit(onset - minutes(1), None, vec![page], words);
        }
        if self.rng.random_bool(0.5) {
            let message = format!("Revert \"{message}\"");
            self.commit(end - minutes(8), Some(end), vec![file.clone()], message);
        }
        let mut incident = LabelledIncident {
            class,
            starts_at: onset,
            ends_at: end,
            entity: name,
            culprit_sha: Some(sha.clone()),
            culprit: None,
            feature: None,
        };
        if class == "silent_tool_failure" {
            self.effects.push((Effect::Broken(self.rng.random_range(0.7..1.0)), tool, onset, end));
        } else {
            self.effect_of(&mut incident, victim, &file, Some(&sha));
        }
        incident
    }

    /// An incident that a prompt version or a model caused, among commits that did nothing.
    fn without(
        &mut self,
        class: &'static str,
        victim: usize,
        (onset, end): (DateTime<Utc>, DateTime<Utc>),
        live: DateTime<Utc>,
    ) -> LabelledIncident {
        self.neighbours(onset, live);
        let culprit = self.bad_switch(victim, onset, end);
        let file = self.features[victim].file.clone();
        let entity = self.features[victim].name.clone();
        let mut incident = LabelledIncident {
            class,
            starts_at: onset,
            ends_at: end,
            entity,
            culprit_sha: None,
            culprit: Some(culprit),
            feature: None,
        };
        self.effect_of(&mut incident, victim, &file, None);
        incident
    }

    /// What a feature's calls show of an incident.
    fn effect_of(&mut self, incident: &mut LabelledIncident, victim: usize, file: &str, sha: Option<&str>) {
        let (onset, end) = (incident.starts_at, incident.ends_at);
        match incident.class {
            "cost_spike" => {
                let effect = if self.rng.random_bool(0.6) {
                    Effect::Dearer(self.rng.random_range(6.0..12.0))
                } else {
                    Effect::More(self.rng.random_range(5.0..8.0))
                };
                self.effects.push((effect, victim, onset, end));
            }
            "prompt_drift" => {
                let effect = if self.features[victim].score.is_some() && self.rng.random_bool(0.3) {
                    Effect::Worse(self.rng.random_range(0.3..0.5))
                } else {
                    Effect::Drift(self.rng.random_range(0.6..1.0), self.rng.random_range(0..3))
                };
                self.effects.push((effect, victim, onset, end));
            }
            "error_cascade" => self.cascade(victim, onset, end, file, sha),
            _ => {
                let trace = self.runaway(victim, onset);
                incident.feature = Some(std::mem::replace(&mut incident.entity, trace));
                incident.ends_at = onset + minutes(15);
            }
        }
    }

    /// Changes of the hour before that do no harm: a few, now and then a dozen; all but documents are live by `until`.
    fn neighbours(&mut self, onset: DateTime<Utc>, until: DateTime<Utc>) {
        let count = if self.rng.random_bool(0.25) { self.rng.random_range(9..14) } else { self.rng.random_range(0..4) };
        for number in 0..count {
            let committed = onset - minutes(self.rng.random_range(12..75));
            let documents = self.rng.random_bool(0.25);
            let files = (0..self.rng.random_range(1..4))
                .map(|file| {
                    let file = self.file(600 + 10 * number + file);
                    if documents { file.replace(".py", ".md") } else { file }
                })
                .collect();
            let live = committed + minutes(self.rng.random_range(3..10));
            let live = (!documents && live < until).then_some(live);
            let message = self.words.sentence(&mut self.rng, 6);
            self.commit(committed, live, files, message);
        }
    }

    fn cascade(&mut self, victim: usize, onset: DateTime<Utc>, end: DateTime<Utc>, file: &str, sha: Option<&str>) {
        let within_traces = self.rng.random_bool(0.5);
        self.effects.push((Effect::Retries(self.rng.random_range(2.5..4.0), within_traces), victim, onset, end));
        let count = self.rng.random_range(50..140);
        let mut times: Vec<DateTime<Utc>> = (0..count).map(|_| self.within(onset, end)).collect();
        times.push(onset + TimeDelta::seconds(20));
        let release = self.rng.random_bool(0.5).then(|| sha.map(str::to_owned)).flatten();
        self.trouble(times, file.to_owned(), release);
    }

    pub(super) fn trouble(&mut self, mut times: Vec<DateTime<Utc>>, file: String, release: Option<String>) {
        times.sort();
        let seen = times.into_iter().map(|time| (self.hex(32), time)).collect();
        let id = self.rng.random_range(1_000_000..999_999_999_u64).to_string();
        let title = self.words.sentence(&mut self.rng, 5);
        self.happened.troubles.push(Trouble { id, title, file, release, seen });
    }

    fn runaway(&mut self, victim: usize, onset: DateTime<Utc>) -> String {
        let trace = self.hex(32);
        let mut time = onset;
        for _ in 0..self.rng.random_range(15..34) {
            self.call(victim, time, &trace, 0.1);
            time += TimeDelta::seconds(self.rng.random_range(5..25));
        }
        trace
    }
}
