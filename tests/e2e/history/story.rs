//! What happens: eight days of traffic, errors, commits and talk, with one failure at the end.

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::vendors::{self, Call, Change, Failure, Happened, Step};
use super::{History, Vocabulary};
use crate::harness::{Account, at};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    CostSpike,
    ErrorCascade,
    PromptDrift,
    AgentLoop,
    SilentToolFailure,
}

impl Class {
    /// Its name as a detector and incident type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CostSpike => "cost_spike",
            Self::ErrorCascade => "error_cascade",
            Self::PromptDrift => "prompt_drift",
            Self::AgentLoop => "agent_loop",
            Self::SilentToolFailure => "silent_tool_failure",
        }
    }
}

/// How a company tells what went live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rollout {
    /// GitHub deployments.
    Deployments,
    /// GitHub releases.
    Releases,
    /// Merged pull requests, nothing more.
    Pulls,
    /// Commits, nothing more.
    Commits,
}

/// One company and its failure, in structure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Story {
    pub(crate) class: Class,
    pub(crate) seed: u64,
    /// The end of the history.
    pub(crate) end: &'static str,
    /// Calls of the failing feature or tool per hour, on average.
    pub(crate) per_hour: f64,
    /// How much traffic swings over the day, 0 to 1.
    pub(crate) season: f64,
    /// Share of the traffic that weekends keep.
    pub(crate) weekend: f64,
    /// Minutes from the onset to the end.
    pub(crate) lasts: i64,
    /// US dollars of an ordinary call.
    pub(crate) cost_usd: f64,
    pub(crate) rollout: Rollout,
}

const DAYS: i64 = 8;
/// The feature that fails; there are others before it.
const VICTIM: usize = 2;
/// The tool that fails.
const TOOL: usize = 1;

struct Teller<'v> {
    story: Story,
    words: &'v Vocabulary,
    chance: StdRng,
    start: DateTime<Utc>,
    onset: DateTime<Utc>,
    end: DateTime<Utc>,
    happened: Happened,
}

/// Tells a story in these words.
pub(crate) fn tell(story: Story, words: &Vocabulary) -> History {
    let end = at(story.end);
    let mut teller = Teller {
        story,
        words,
        chance: StdRng::seed_from_u64(story.seed),
        start: end - TimeDelta::days(DAYS),
        onset: end - TimeDelta::minutes(story.lasts),
        end,
        happened: Happened::default(),
    };
    teller.traffic();
    teller.errors();
    let culprit = teller.changes();
    teller.talk();
    let entity = match story.class {
        Class::AgentLoop => teller.runaway(),
        Class::SilentToolFailure => words.name("tool", TOOL),
        Class::CostSpike | Class::PromptDrift => words.name("feature", VICTIM),
        Class::ErrorCascade => {
            teller.retries(&culprit);
            words.name("feature", VICTIM)
        }
    };
    let account =
        Account { owner: words.plain("owner", 0), repo: words.plain("repo", 0), sentry_org: words.plain("org", 0) };
    let collections = vendors::collections(&account, words, story.rollout, &teller.happened);
    History { class: story.class, account, end, entity, culprit, collections }
}

impl Teller<'_> {
    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from_digit(self.chance.random_range(0..16), 16).unwrap()).collect()
    }

    /// How many of something that happens so often on average.
    fn so_many(&mut self, average: f64) -> usize {
        let (limit, mut product, mut count) = ((-average).exp(), 1.0, 0);
        loop {
            product *= self.chance.random::<f64>();
            if product < limit {
                return count;
            }
            count += 1;
        }
    }

    fn within(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        from + TimeDelta::milliseconds(self.chance.random_range(0..(until - from).num_milliseconds()))
    }

    fn load(&self, hour: DateTime<Utc>) -> f64 {
        let phase = (f64::from(hour.hour()) - 9.0) / 24.0 * std::f64::consts::TAU;
        let weekend = matches!(hour.weekday(), Weekday::Sat | Weekday::Sun);
        (1.0 + self.story.season * phase.sin()) * if weekend { self.story.weekend } else { 1.0 }
    }

    fn traffic(&mut self) {
        let (per_hour, cost_usd) = (self.story.per_hour, self.story.cost_usd);
        // Calls per hour, US dollars per call, and whether the answers are JSON.
        let features = [(3.0, 0.004, false), (6.0, 0.015, true), (per_hour, cost_usd, true), (2.0, 0.05, false)];
        let tools = [4.0, per_hour, 2.0];
        let mut hour = self.start;
        while hour < self.end {
            let next = (hour + TimeDelta::hours(1)).min(self.end);
            let share = (next - hour).num_minutes() as f64 / 60.0 * self.load(hour);
            for (number, (per_hour, cost_usd, json)) in features.into_iter().enumerate() {
                for _ in 0..self.so_many(per_hour * share) {
                    let (started, trace) = (self.within(hour, next), self.hex(32));
                    self.call(number, started, &trace, cost_usd, json);
                }
            }
            for (number, per_hour) in tools.into_iter().enumerate() {
                for _ in 0..self.so_many(per_hour * share) {
                    let started = self.within(hour, next);
                    self.use_tool(number, started);
                }
            }
            hour = next;
        }
    }

    fn call(&mut self, number: usize, started: DateTime<Utc>, trace: &str, cost_usd: f64, json: bool) {
        let fails = number == VICTIM && started >= self.onset;
        let dearer = if fails && self.story.class == Class::CostSpike { 8.0 } else { 1.0 };
        let broken = fails && self.story.class == Class::PromptDrift && self.chance.random_bool(0.85);
        let cost_usd = cost_usd * self.chance.random_range(0.6..1.5) * dearer;
        let answer = self.chance.random_range(0..1000);
        let output = if json {
            self.answer(number, answer, broken)
        } else {
            Value::String(self.words.sentence("answer", answer, 12))
        };
        let id = self.hex(16);
        let ended = started + TimeDelta::milliseconds(self.chance.random_range(400..6000));
        let (name, model) = (self.words.name("feature", number), self.words.name("model", number));
        let call = Call { id, trace: trace.to_owned(), name, model, started, ended, cost_usd, output };
        self.happened.steps.push(Step::Call(call));
    }

    /// An answer in JSON, as text or as an object. A broken one has other keys.
    fn answer(&mut self, feature: usize, number: usize, broken: bool) -> Value {
        let key = |index: usize| self.words.name("key", feature * 10 + index);
        let text = self.words.sentence("value", number, 4);
        let value = if broken {
            json!({self.words.name("other", 0): text, self.words.name("other", 1): number})
        } else {
            json!({key(0): text, key(1): number, key(2): number.is_multiple_of(2), key(3): [1, 2, 3]})
        };
        if self.chance.random_bool(0.5) { value } else { Value::String(value.to_string()) }
    }

    fn use_tool(&mut self, number: usize, started: DateTime<Utc>) {
        let fails = number == TOOL && started >= self.onset && self.story.class == Class::SilentToolFailure;
        let rows = self.chance.random_range(4..9);
        let output = if fails && self.chance.random_bool(0.9) {
            let nothing = ["", "null", "[]", "not available"];
            nothing[self.chance.random_range(0..nothing.len())].to_owned()
        } else {
            let (list, field) = (self.words.name("list", number), self.words.name("field", number));
            let rows: Vec<Value> = (0..rows).map(|row| json!({&field: self.words.sentence("row", row, 3)})).collect();
            json!({list: rows}).to_string()
        };
        let (id, trace) = (self.hex(16), self.hex(32));
        self.happened.steps.push(Step::Tool { id, trace, name: self.words.name("tool", number), started, output });
    }

    /// Errors that are always there.
    fn errors(&mut self) {
        for number in 0..5 {
            let first = self.within(self.start, self.start + TimeDelta::days(2));
            let mut times = vec![first];
            for _ in 0..self.chance.random_range(4..20) {
                times.push(self.within(first, self.end));
            }
            self.fail(number, times, None);
        }
    }

    fn fail(&mut self, number: usize, mut times: Vec<DateTime<Utc>>, file: Option<usize>) {
        times.sort();
        let id = self.chance.random_range(1_000_000..999_999_999_u64).to_string();
        let events = times.into_iter().map(|time| (self.hex(32), time)).collect();
        let title = self.words.sentence("error", number, 5);
        self.happened.failures.push(Failure { id, title, number, events, file });
    }

    /// Retries without end: one new issue with many events, and a feature that calls far more often.
    fn retries(&mut self, culprit: &str) {
        let file = self.happened.changes.iter().find(|change| change.sha == culprit).map(|change| change.files[0]);
        let begun = self.onset + TimeDelta::seconds(20);
        let times = (0..60).map(|_| self.within(begun, self.end)).collect();
        self.fail(99, times, file);
        // Enough to be seen, and too little to be a cost spike as well.
        let per_hour = (self.story.per_hour * 1.2).max(18.0);
        for _ in 0..(per_hour * self.story.lasts as f64 / 60.0) as usize {
            let (started, trace) = (self.within(begun, self.end - TimeDelta::seconds(10)), self.hex(32));
            self.call(VICTIM, started, &trace, self.story.cost_usd, true);
        }
    }

    /// One trace that calls again and again.
    fn runaway(&mut self) -> String {
        let trace = self.hex(32);
        let mut started = self.onset;
        for _ in 0..self.chance.random_range(22..30) {
            self.call(VICTIM, started, &trace, self.story.cost_usd / 10.0, true);
            started += TimeDelta::seconds(self.chance.random_range(5..25));
        }
        trace
    }

    /// Commits over the days, the culprit some minutes before the onset, and others around it. Returns the culprit.
    fn changes(&mut self) -> String {
        let mut time = self.start + TimeDelta::hours(2);
        while time < self.onset - TimeDelta::hours(2) {
            let files = (0..self.chance.random_range(1..4)).map(|_| self.chance.random_range(0..30)).collect();
            self.change(time, files);
            time += TimeDelta::minutes(self.chance.random_range(60..420));
        }
        let (minutes, file) = (self.chance.random_range(8..18), self.chance.random_range(30..40));
        let culprit = self.change(self.onset - TimeDelta::minutes(minutes), vec![file]);
        // Between cause and effect somebody writes documentation; after it somebody looks busy.
        self.change(self.onset - TimeDelta::minutes(4), Vec::new());
        let unrelated = self.chance.random_range(0..30);
        self.change(self.onset + TimeDelta::minutes(12), vec![unrelated]);
        culprit
    }

    /// A commit to these files; to a page of documentation when there are none.
    fn change(&mut self, committed_at: DateTime<Utc>, files: Vec<usize>) -> String {
        let sha = self.hex(40);
        let live_at = committed_at + TimeDelta::seconds(self.chance.random_range(90..200));
        let (number, author) = (self.happened.changes.len(), self.chance.random_range(0..5));
        self.happened.changes.push(Change { sha: sha.clone(), committed_at, live_at, files, number, author });
        sha
    }

    fn talk(&mut self) {
        for number in 0..60 {
            let (time, channel) = (self.within(self.start, self.end), self.chance.random_range(0..4));
            self.happened.talk.push((time, number, channel));
        }
    }
}
