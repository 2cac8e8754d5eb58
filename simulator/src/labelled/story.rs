//! What happens: eight days of history, two days that are replayed, and in these one incident of each class.
//!
//! The effects are a multiple of what the feature's own traffic is, so that they can be seen in it, and begin some minutes
//! after a commit among many went live ([`wrong`]).

mod late;
mod switch;
mod wrong;

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc, Weekday};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use self::switch::Switch;
use super::words::Words;
use super::{LabelledOptions, LabelledOutage, LabelledTruth};

/// Days before the replay.
const HISTORY: i64 = 8;
/// Hours of the replay.
const REPLAY: i64 = 48;
/// Hours between the beginnings of incidents.
const APART: i64 = 9;

pub(super) struct Call {
    pub(super) id: String,
    pub(super) trace: String,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) prompt: Option<(String, u32)>,
    pub(super) started: DateTime<Utc>,
    pub(super) seconds: f64,
    pub(super) cost_usd: f64,
    pub(super) user: usize,
    pub(super) output: Value,
}

pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) trace: String,
    pub(super) name: String,
    pub(super) started: DateTime<Utc>,
    pub(super) output: String,
}

pub(super) struct Score {
    pub(super) id: String,
    pub(super) trace: String,
    pub(super) call: String,
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) given: DateTime<Utc>,
}

pub(super) struct Trouble {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) file: String,
    pub(super) release: Option<String>,
    pub(super) seen: Vec<(String, DateTime<Utc>)>,
}

pub(super) struct Change {
    pub(super) sha: String,
    pub(super) committed_at: DateTime<Utc>,
    /// When it was deployed; `None` for what needs no deploy.
    pub(super) live_at: Option<DateTime<Utc>>,
    pub(super) files: Vec<String>,
    pub(super) message: String,
    pub(super) author: String,
}

#[derive(Default)]
pub(super) struct Happened {
    pub(super) calls: Vec<Call>,
    pub(super) tools: Vec<ToolCall>,
    pub(super) scores: Vec<Score>,
    pub(super) troubles: Vec<Trouble>,
    pub(super) changes: Vec<Change>,
    /// When, what, which channel.
    pub(super) talk: Vec<(DateTime<Utc>, String, usize)>,
    pub(super) channels: Vec<String>,
    pub(super) project: String,
    /// When calls, uses of tools and errors were known to the vendor, by id; what is not here was known at once.
    pub(super) late: BTreeMap<String, DateTime<Utc>>,
}

struct Feature {
    name: String,
    model: String,
    /// Name and first version of its prompt, where its calls say it.
    prompt: Option<(String, u32)>,
    per_hour: f64,
    cost_usd: f64,
    /// Keys of its JSON answers; none: text.
    keys: Vec<String>,
    /// The hour of the day in which it runs, for a nightly batch.
    batch: Option<u32>,
    /// From when on it exists.
    since: DateTime<Utc>,
    season: f64,
    weekend: f64,
    growth: f64,
    file: String,
    /// Whether its file is named like it.
    named: bool,
    /// What its answers are judged by, on average from 0 to 1; some are.
    score: Option<(String, f64)>,
}

struct Tool {
    name: String,
    per_hour: f64,
    rows: usize,
    field: String,
    file: String,
    named: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// Calls cost so many times as much.
    Dearer(f64),
    /// There are so many times as many traces.
    More(f64),
    /// Such a share of answers is broken, in one of three ways.
    Drift(f64, usize),
    /// Answers are as they were, and judged so much worse.
    Worse(f64),
    /// Every call is tried so many times, within its trace or in traces of their own.
    Retries(f64, bool),
    Broken(f64),
}

struct Story {
    rng: StdRng,
    words: Words,
    start: DateTime<Utc>,
    clock_start: DateTime<Utc>,
    end: DateTime<Utc>,
    features: Vec<Feature>,
    tools: Vec<Tool>,
    authors: Vec<String>,
    other_keys: Vec<String>,
    /// What goes wrong: which feature or tool, from, to.
    effects: Vec<(Effect, usize, DateTime<Utc>, DateTime<Utc>)>,
    /// What changed without a commit: in which feature, when.
    switches: Vec<(usize, DateTime<Utc>, Switch)>,
    happened: Happened,
}

/// Tells a history in rows of our own.
pub(super) fn tell(options: &LabelledOptions) -> (LabelledTruth, Happened) {
    let mut rng = StdRng::seed_from_u64(options.seed);
    let words = Words::new(&mut rng);
    let words = options.rename.map_or(words, |seed| words.renamed(seed));
    let base = DateTime::from_timestamp(1_788_220_800, 0).unwrap_or_default();
    let clock_start = base + TimeDelta::hours(rng.random_range(0..24 * 28));
    let end = clock_start + TimeDelta::hours(REPLAY);
    // A source that is down first is so while nothing goes wrong; what goes wrong comes when it is back.
    let down = options.outage.map_or(TimeDelta::zero(), |down| TimeDelta::hours(i64::from(down.hours)));
    let mut story = Story {
        words,
        start: clock_start - down - TimeDelta::days(HISTORY),
        clock_start,
        end,
        features: Vec::new(),
        tools: Vec::new(),
        authors: (0..6).map(|number| words.plain(&mut rng, number)).collect(),
        other_keys: (0..3).map(|number| words.name(&mut rng, number)).collect(),
        effects: Vec::new(),
        switches: Vec::new(),
        happened: Happened::default(),
        rng,
    };
    story.happened.channels = (0..4).map(|number| words.plain(&mut story.rng, number)).collect();
    story.happened.project = words.plain(&mut story.rng, 0);
    let features = options.features.unwrap_or_else(|| story.rng.random_range(3..13)).clamp(3, 30);
    let calls = options.calls_per_hour.unwrap_or_else(|| 10_f64.powf(story.rng.random_range(1.5..3.0)));
    story.company(features, calls.clamp(20.0, 5000.0));
    let mut truth = LabelledTruth {
        owner: words.plain(&mut story.rng, 0),
        repo: words.plain(&mut story.rng, 1),
        sentry_project: story.happened.project.clone(),
        sentry_org: words.plain(&mut story.rng, 2),
        clock_start: clock_start - down,
        clock_end: end,
        incidents: Vec::new(),
        outages: Vec::new(),
    };
    story.ordinary_changes();
    story.good_switches();
    if !options.quiet {
        story.incidents(&mut truth.incidents);
    }
    story.traffic();
    story.ordinary_troubles();
    story.talk();
    truth.outages = story.outages(options.quiet);
    if let Some(down) = options.outage {
        truth.outages.push(LabelledOutage { source: down.source, starts_at: truth.clock_start, ends_at: clock_start });
    }
    story.delays(&truth.incidents);
    story.happened.calls.sort_by_key(|call| call.started);
    story.happened.changes.sort_by_key(|change| change.committed_at);
    (truth, story.happened)
}

fn minutes(count: i64) -> TimeDelta {
    TimeDelta::minutes(count)
}

impl Story {
    fn hex(&mut self, digits: usize) -> String {
        (0..digits).filter_map(|_| char::from_digit(self.rng.random_range(0..16), 16)).collect()
    }

    /// How many of something that happens so often on average.
    fn so_many(&mut self, average: f64) -> usize {
        if average > 30.0 {
            // Sum of uniforms: close enough to normal.
            let noise: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
            return (average + noise * average.sqrt()).round().max(0.0) as usize;
        }
        let (limit, mut product, mut count) = ((-average).exp(), 1.0, 0);
        loop {
            product *= self.rng.random::<f64>();
            if product < limit {
                return count;
            }
            count += 1;
        }
    }

    fn within(&mut self, from: DateTime<Utc>, until: DateTime<Utc>) -> DateTime<Utc> {
        from + TimeDelta::milliseconds(self.rng.random_range(0..(until - from).num_milliseconds().max(1)))
    }

    fn file(&mut self, number: usize) -> String {
        format!("{}/{}{number}.py", self.words.word(&mut self.rng), self.words.word(&mut self.rng))
    }

    /// The file in which a feature or tool lives: mostly named like it, in one spelling or another.
    fn home_of(&mut self, name: &str, number: usize) -> (String, bool) {
        if !self.rng.random_bool(0.7) {
            return (self.file(number), false);
        }
        let parted = name.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
        let joined = parted.collect::<Vec<_>>().join(["_", "-", ""][self.rng.random_range(0..3)]);
        let ending = ["py", "ts", "j2", "yaml"][self.rng.random_range(0..4)];
        (format!("{}/{joined}.{ending}", self.words.word(&mut self.rng)), true)
    }

    fn company(&mut self, features: usize, calls: f64) {
        let weights: Vec<f64> = (0..features).map(|rank| 1.0 / (rank as f64 + 1.5)).collect();
        let sum: f64 = weights.iter().sum();
        let models: Vec<String> = (0..3).map(|number| self.words.name(&mut self.rng, number)).collect();
        let growth = self.rng.random_range(0.0..0.02);
        let season = self.rng.random_range(0.1..0.8);
        let weekend = self.rng.random_range(0.3..1.0);
        for (number, weight) in weights.into_iter().enumerate() {
            // The first two are never batches or launches, so that every incident finds a place.
            let batch = (number > 2 && self.rng.random_bool(0.2)).then(|| self.rng.random_range(0..6));
            let launched = number > 2 && batch.is_none() && self.rng.random_bool(0.15);
            let since = if launched { self.within(self.clock_start, self.end) } else { self.start };
            let json = number < 2 || self.rng.random_bool(0.6);
            let keys = if json { self.rng.random_range(2..6) } else { 0 };
            let name = self.words.name(&mut self.rng, number);
            let (file, named) = self.home_of(&name, number);
            let prompt = self.prompt_of(&name, number);
            let score =
                self.rng.random_bool(0.5).then(|| (self.words.word(&mut self.rng), self.rng.random_range(0.6..0.95)));
            let per_hour = calls * weight / sum;
            // What goes wrong in the first two is worth more than cents.
            let least = if number < 2 { 0.15 / per_hour } else { 0.0 };
            let feature = Feature {
                model: models[self.rng.random_range(0..models.len())].clone(),
                prompt,
                per_hour,
                cost_usd: 10_f64.powf(self.rng.random_range(-2.4..-1.2)).max(least),
                keys: (0..keys).map(|key| self.words.name(&mut self.rng, key)).collect(),
                batch,
                since,
                season,
                weekend,
                growth,
                file,
                named,
                score,
                name,
            };
            self.features.push(feature);
        }
        for number in 0..self.rng.random_range(2..6) {
            let name = self.words.name(&mut self.rng, number);
            let (file, named) = self.home_of(&name, 100 + number);
            let tool = Tool {
                name,
                per_hour: (calls * self.rng.random_range(0.1..0.4)).max(6.0),
                rows: self.rng.random_range(3..10),
                field: self.words.plain(&mut self.rng, number),
                file,
                named,
            };
            self.tools.push(tool);
        }
    }

    fn commit(
        &mut self,
        committed_at: DateTime<Utc>,
        live_at: Option<DateTime<Utc>>,
        files: Vec<String>,
        message: String,
    ) -> String {
        let sha = self.hex(40);
        let author = self.authors[self.rng.random_range(0..self.authors.len())].clone();
        self.happened.changes.push(Change { sha: sha.clone(), committed_at, live_at, files, message, author });
        sha
    }

    /// Deploys that change nothing, and documents.
    fn ordinary_changes(&mut self) {
        let mut time = self.start + minutes(60);
        while time < self.end {
            let documents = self.rng.random_bool(0.25);
            let files = (0..self.rng.random_range(1..4))
                .map(|number| {
                    let file = self.file(200 + number);
                    if documents { file.replace(".py", ".md") } else { file }
                })
                .collect();
            let live = (!documents).then(|| time + minutes(self.rng.random_range(4..12)));
            let message = self.words.sentence(&mut self.rng, 6);
            self.commit(time, live, files, message);
            time += minutes(self.rng.random_range(60..400));
        }
    }

    fn load(&self, feature: &Feature, hour: DateTime<Utc>) -> f64 {
        if hour < feature.since {
            return 0.0;
        }
        if let Some(batch) = feature.batch {
            return if hour.hour() == batch { 20.0 } else { 0.0 };
        }
        let phase = (f64::from(hour.hour()) - 9.0) / 24.0 * TAU;
        let weekend = matches!(hour.weekday(), Weekday::Sat | Weekday::Sun);
        let days = (hour - self.start).num_hours() as f64 / 24.0;
        (1.0 + feature.season * phase.sin())
            * if weekend { feature.weekend } else { 1.0 }
            * (1.0 + feature.growth * days)
    }

    fn traffic(&mut self) {
        let mut bin = self.start;
        while bin < self.end {
            let next = bin + minutes(15);
            for number in 0..self.features.len() {
                for (from, to) in self.parts(number, bin, next) {
                    self.calls(number, from, to);
                }
            }
            for number in 0..self.tools.len() {
                let load = self.load(&self.features[0], bin) * self.tools[number].per_hour / 4.0;
                for _ in 0..self.so_many(load) {
                    let time = self.within(bin, next);
                    self.use_tool(number, time);
                }
            }
            bin = next;
        }
    }

    /// A time, cut where something begins or ends to go wrong in a feature.
    fn parts(&self, number: usize, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
        let own = self.effects.iter().filter(|(_, which, ..)| *which == number);
        let mut cuts: Vec<DateTime<Utc>> = own.flat_map(|(.., begin, end)| [*begin, *end]).collect();
        cuts.retain(|cut| from < *cut && *cut < to);
        cuts.extend([from, to]);
        cuts.sort();
        cuts.windows(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// The calls of a feature in a part of a quarter of an hour.
    fn calls(&mut self, number: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let hours = (to - from).num_milliseconds() as f64 / 3_600_000.0;
        let load = self.load(&self.features[number], from) * self.features[number].per_hour * hours;
        let (average, tries) = self.under_effect(number, from, load, hours);
        let mut left = self.so_many(average);
        while left > 0 {
            let (time, trace) = (self.within(from, to), self.hex(32));
            let steps = if self.rng.random_bool(0.15) { self.rng.random_range(2..8).min(left) } else { 1 };
            // A trace that is tried again stays shorter than what is called a loop.
            let tries = if steps > 2 { 1 } else { self.so_often(tries) };
            for step in 0..steps * tries {
                self.call(number, time + TimeDelta::seconds(7 * step as i64), &trace, 1.0);
            }
            left -= steps;
        }
    }

    /// How many calls there are in so many hours, and how often each is tried within its trace.
    fn under_effect(&self, number: usize, at: DateTime<Utc>, load: f64, hours: f64) -> (f64, f64) {
        let (mut average, mut tries) = (load, 1.0);
        for (effect, which, from, to) in &self.effects {
            if *which != number || at < *from || *to <= at {
                continue;
            }
            match effect {
                Effect::More(factor) => average *= factor,
                Effect::Retries(factor, true) => tries = *factor,
                // Retries are of calls that fail: in a quiet hour they are at least a few.
                Effect::Retries(factor, false) => average = (average * factor).max(average + 24.0 * hours),
                _ => {}
            }
        }
        (average, tries)
    }

    /// A whole number around an average.
    fn so_often(&mut self, average: f64) -> usize {
        let whole = average.floor();
        whole as usize + usize::from(self.rng.random_bool((average - whole).clamp(0.0, 1.0)))
    }

    fn effect(&self, number: usize, time: DateTime<Utc>, tool: bool) -> Option<Effect> {
        let mut effects = self.effects.iter().filter(|(effect, which, from, to)| {
            matches!(effect, Effect::Broken(_)) == tool && *which == number && *from <= time && time < *to
        });
        effects.next().map(|(effect, ..)| *effect)
    }

    fn call(&mut self, number: usize, started: DateTime<Utc>, trace: &str, share: f64) {
        let effect = self.effect(number, started, false);
        let dearer = if let Some(Effect::Dearer(factor)) = effect { factor } else { 1.0 };
        let broken = match effect {
            Some(Effect::Drift(rate, how)) if self.rng.random_bool(rate) => Some(how),
            _ => None,
        };
        let output = self.answer(number, broken);
        let feature = &self.features[number];
        let name = feature.name.clone();
        let cost_usd = feature.cost_usd * share * dearer * self.rng.random_range(0.5..1.6);
        let (id, seconds, user) = (self.hex(16), self.rng.random_range(0.4..6.0), self.rng.random_range(0..40));
        let (model, prompt) = self.in_use(number, started);
        let call = Call { id, trace: trace.to_owned(), name, model, prompt, started, seconds, cost_usd, user, output };
        if let Some((name, usual)) = self.features[number].score.clone()
            && self.rng.random_bool(0.6)
        {
            let fall = if let Some(Effect::Worse(fall)) = effect { fall } else { 0.0 };
            let value = (usual - fall + self.rng.random_range(-0.1..0.1_f64)).clamp(0.0, 1.0);
            let given = started + TimeDelta::seconds(self.rng.random_range(5..240));
            let (id, call, trace) = (self.hex(16), call.id.clone(), trace.to_owned());
            self.happened.scores.push(Score { id, trace, call, name, value, given });
        }
        self.happened.calls.push(call);
    }

    fn answer(&mut self, number: usize, broken: Option<usize>) -> Value {
        let keys = &self.features[number].keys;
        if keys.is_empty() || broken == Some(2) {
            return Value::String(self.words.sentence(&mut self.rng, 12));
        }
        let keys = if broken == Some(0) { self.other_keys.clone() } else { keys.clone() };
        let mut answer = serde_json::Map::new();
        for (place, key) in keys.into_iter().enumerate() {
            let value = match place % 4 {
                0 => json!(self.words.sentence(&mut self.rng, 4)),
                1 => json!(self.rng.random_range(0..1000)),
                2 => json!(self.rng.random_bool(0.5)),
                _ => json!([1, 2, 3]),
            };
            // A string where there was none, and the other way round.
            let value = if broken == Some(1) && !value.is_string() { json!(value.to_string()) } else { value };
            let optional = place > 2 && self.rng.random_bool(0.3);
            if !optional {
                answer.insert(key, value);
            }
        }
        Value::Object(answer)
    }

    fn use_tool(&mut self, number: usize, started: DateTime<Utc>) {
        let broken =
            matches!(self.effect(number, started, true), Some(Effect::Broken(rate)) if self.rng.random_bool(rate));
        let (rows, field) = (self.tools[number].rows, self.tools[number].field.clone());
        let output = if broken {
            let nothing = ["", "null", "[]", "{}", "-"];
            nothing[self.rng.random_range(0..nothing.len())].to_owned()
        } else {
            let rows: Vec<Value> = (0..self.rng.random_range(rows..rows + 4))
                .map(|_| json!({&field: self.words.sentence(&mut self.rng, 3)}))
                .collect();
            json!({ "rows": rows }).to_string()
        };
        let (id, trace, name) = (self.hex(16), self.hex(32), self.tools[number].name.clone());
        self.happened.tools.push(ToolCall { id, trace, name, started, output });
    }

    /// Errors that are always there, and new ones of no consequence.
    fn ordinary_troubles(&mut self) {
        for number in 0..8 {
            let first = self.within(self.start, self.start + TimeDelta::hours(20));
            let count = self.rng.random_range(5..200);
            let mut times: Vec<DateTime<Utc>> = (0..count).map(|_| self.within(first, self.end)).collect();
            times.push(first);
            let file = self.file(400 + number);
            self.trouble(times, file, None);
        }
        for number in 0..10 {
            let first = self.within(self.start, self.end - minutes(30));
            let count = self.rng.random_range(1..6);
            let times = (0..count).map(|_| self.within(first, first + minutes(30))).collect();
            let file = self.file(500 + number);
            self.trouble(times, file, None);
        }
    }

    fn talk(&mut self) {
        for _ in 0..self.rng.random_range(60..400) {
            let time = self.within(self.start, self.end);
            let (said, channel) = (self.words.sentence(&mut self.rng, 9), self.rng.random_range(0..4));
            self.happened.talk.push((time, said, channel));
        }
        self.happened.talk.sort_by_key(|(time, ..)| *time);
    }

    /// In a quiet history a vendor is down for some hours; in others it is Slack, which no verdict rests on.
    fn outages(&mut self, quiet: bool) -> Vec<LabelledOutage> {
        let sources: &[&'static str] = if quiet { &["sentry", "github", "slack"] } else { &["slack"] };
        let source = sources[self.rng.random_range(0..sources.len())];
        let starts_at = self.clock_start + TimeDelta::hours(self.rng.random_range(8..30));
        let ends_at = starts_at + TimeDelta::hours(self.rng.random_range(1..3));
        vec![LabelledOutage { source, starts_at, ends_at }]
    }
}
