//! The promises of the bundled histories, checked with each class's rule in its plainest form
//! (seed 003; thresholds of its settings), on the vendor-native items themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::incidents::LOOP_GENERATIONS;
use super::*;
use crate::dataset::Collection;
use crate::time::{DAY, HOUR, MINUTE, Micros, from_epoch_seconds, parse};

/// The parts of a history that the rules look at.
struct History {
    anchor: Micros,
    truth: Truth,
    observations: Vec<Observation>,
    /// The times of each issue's events.
    issues: Vec<Vec<Micros>>,
    /// What a week before the last two days says of each feature's keys and each tool's length.
    contracts: BTreeMap<String, BTreeSet<String>>,
    lengths: BTreeMap<String, (f64, bool)>,
}

struct Observation {
    kind: String,
    name: String,
    trace: String,
    at: Micros,
    cost: f64,
    /// Top-level keys, when the output is an object.
    keys: Option<BTreeSet<String>>,
    /// Bytes of the output.
    length: f64,
}

fn time_of(value: &Value, key: &str) -> Micros {
    parse(value[key].as_str().unwrap()).unwrap()
}

impl History {
    fn of(scenarios: &[Scenario]) -> Self {
        Self::at(scenarios, default_anchor())
    }

    fn at(scenarios: &[Scenario], anchor: DateTime<Utc>) -> Self {
        let (dataset, truth) = Scenario::generate(scenarios, anchor, DEFAULT_SEED);
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let mut observations: Vec<Observation> = dataset
            .items(Collection::LangfuseObservations)
            .map(|o| Observation {
                kind: text(&o, "type"),
                name: text(&o, "name"),
                trace: text(&o, "traceId"),
                at: time_of(&o, "startTime"),
                cost: o["calculatedTotalCost"].as_f64().unwrap_or(0.0),
                keys: keys_of(&o["output"]),
                length: length_of(&o["output"]),
            })
            .collect();
        observations.sort_by_key(|o| o.at);
        let mut by_issue: HashMap<String, Vec<Micros>> = HashMap::new();
        for event in dataset.items(Collection::SentryIssueEvents) {
            by_issue.entry(text(&event, "_issue_id")).or_default().push(time_of(&event, "dateCreated"));
        }
        let mut issues: Vec<Vec<Micros>> = by_issue.into_values().collect();
        for seen in &mut issues {
            seen.sort_unstable();
        }
        let mut history = Self {
            anchor: anchor.timestamp_micros(),
            truth,
            observations,
            issues,
            contracts: BTreeMap::new(),
            lengths: BTreeMap::new(),
        };
        history.learn();
        history
    }

    fn learn(&mut self) {
        let end = self.anchor - 2 * DAY;
        let mut contracts: BTreeMap<String, Option<BTreeSet<String>>> = BTreeMap::new();
        for g in self.generations(end - 7 * DAY, end) {
            let known = contracts.entry(g.name.clone()).or_insert_with(|| g.keys.clone());
            *known = match (known.take(), &g.keys) {
                (Some(a), Some(b)) => Some(&a & b),
                _ => None,
            };
        }
        let mut sums: BTreeMap<String, (f64, f64, bool)> = BTreeMap::new();
        for span in self.spans(end - 7 * DAY, end) {
            let (sum, count, json) = sums.entry(span.name.clone()).or_insert((0.0, 0.0, true));
            *sum += span.length;
            *count += 1.0;
            *json &= span.keys.is_some();
        }
        self.contracts = contracts
            .into_iter()
            .filter_map(|(name, keys)| Some((name, keys.filter(|keys| !keys.is_empty())?)))
            .collect();
        self.lengths = sums.into_iter().map(|(name, (sum, count, json))| (name, (sum / count, json))).collect();
    }

    fn between(&self, from: Micros, to: Micros) -> &[Observation] {
        let start = self.observations.partition_point(|o| o.at < from);
        let end = self.observations.partition_point(|o| o.at < to);
        &self.observations[start..end]
    }

    fn generations(&self, from: Micros, to: Micros) -> impl Iterator<Item = &Observation> {
        self.between(from, to).iter().filter(|o| o.kind == "GENERATION")
    }

    fn spans(&self, from: Micros, to: Micros) -> impl Iterator<Item = &Observation> {
        self.between(from, to).iter().filter(|o| o.kind == "SPAN")
    }

    /// Cost and count of each feature.
    fn by_feature(&self, from: Micros, to: Micros) -> BTreeMap<&str, (f64, f64)> {
        let mut sums = BTreeMap::new();
        for generation in self.generations(from, to) {
            let (cost, count) = sums.entry(generation.name.as_str()).or_insert((0.0, 0.0));
            *cost += generation.cost;
            *count += 1.0;
        }
        sums
    }

    /// Half hours at which a scheduled detector could look, over the last day and a half.
    fn moments(&self) -> impl Iterator<Item = Micros> {
        let anchor = self.anchor;
        (0..2 * 36).map(move |step| anchor - step * 30 * MINUTE)
    }

    /// What each plain rule finds, with the moments at which it does.
    fn findings(&self) -> BTreeMap<(&'static str, String), BTreeSet<Micros>> {
        let mut findings: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for now in self.moments() {
            let found = self
                .cost_spikes(now)
                .into_iter()
                .map(|entity| ("cost_spike", entity))
                .chain(self.cascades(now).map(|entity| ("error_cascade", entity)))
                .chain(self.drifts(now).into_iter().map(|entity| ("prompt_drift", entity)))
                .chain(self.loops(now).into_iter().map(|entity| ("agent_loop", entity)))
                .chain(self.tool_failures(now).into_iter().map(|entity| ("silent_tool_failure", entity)));
            for finding in found {
                findings.entry(finding).or_default().insert(now);
            }
        }
        findings
    }

    /// An hour above 2.5 times the mean hour of the seven days before it, per feature.
    fn cost_spikes(&self, now: Micros) -> Vec<String> {
        let mean = self.by_feature(now - HOUR - 7 * DAY, now - HOUR);
        self.by_feature(now - HOUR, now)
            .into_iter()
            .filter(|(name, (cost, _))| *cost > 2.5 * mean[name].0 / 168.0)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Errors of an hour times the cost of its generations above 10, the cost above a dollar,
    /// generations above their mean: of the whole shop, which is cruder than any real rule.
    fn cascades(&self, now: Micros) -> Option<String> {
        let errors = self.issues.iter().flatten().filter(|at| (now - HOUR..now).contains(*at)).count() as f64;
        let hour = self.by_feature(now - HOUR, now);
        let mean = self.by_feature(now - HOUR - 7 * DAY, now - HOUR);
        let cost: f64 = hour.values().map(|(cost, _)| cost).sum();
        let count: f64 = hour.values().map(|(_, count)| count).sum();
        let usual: f64 = mean.values().map(|(_, count)| count / 168.0).sum();
        let fires = errors * cost > 10.0 && cost > 1.0 && count > usual;
        let excess = |name: &str| hour[name].1 - mean[name].1 / 168.0;
        fires.then(|| hour.keys().max_by(|a, b| excess(a).total_cmp(&excess(b))).unwrap().to_string())
    }

    /// More than 15 % of the newest twenty answers lack a key that all of the week before had.
    fn drifts(&self, now: Micros) -> Vec<String> {
        self.contracts
            .iter()
            .filter(|(name, keys)| {
                let newest: Vec<_> = self.generations(now - DAY, now).filter(|g| g.name == **name).collect();
                let newest = &newest[newest.len().saturating_sub(20)..];
                let fails = |g: &Observation| g.keys.as_ref().is_none_or(|have| !keys.is_subset(have));
                let failed = newest.iter().filter(|g| fails(g)).count();
                failed as f64 > 0.15 * newest.len() as f64
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// More than ten generations of one trace within two hours.
    fn loops(&self, now: Micros) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for generation in self.generations(now - 2 * HOUR, now) {
            *counts.entry(&generation.trace).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 10).map(|(trace, _)| trace.to_owned()).collect()
    }

    /// The three strategies over six hours.
    fn tool_failures(&self, now: Micros) -> Vec<String> {
        let mut found = BTreeSet::new();
        let window = now - 6 * HOUR;
        for span in self.spans(window, now) {
            let (mean, json) = self.lengths[&span.name];
            let reshaped = json && span.keys.is_none();
            let shrunk = mean > 50.0 && span.length < 0.2 * mean;
            let followed = self.issues.iter().any(|seen| {
                let known = seen.iter().filter(|at| **at < now).count();
                known > 2 && (span.at..=span.at + 5 * MINUTE).contains(&seen[0])
            });
            if reshaped || shrunk || followed {
                found.insert(span.name.clone());
            }
        }
        found.into_iter().collect()
    }
}

/// The top-level keys of an object, given as such or as JSON text.
fn keys_of(output: &Value) -> Option<BTreeSet<String>> {
    let parsed = match output {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    Some(parsed.as_object()?.keys().cloned().collect())
}

fn length_of(output: &Value) -> f64 {
    match output {
        Value::String(text) => text.len() as f64,
        other => other.to_string().len() as f64,
    }
}

fn incident(truth: &Truth) -> &Incident {
    let [incident] = truth.incidents.as_slice() else {
        panic!("one incident expected, found {}", truth.incidents.len());
    };
    incident
}

#[test]
fn each_incident_is_found_by_its_own_rule_and_by_no_other() {
    for scenario in Scenario::ALL {
        let history = History::of(&[scenario]);
        let incident = incident(&history.truth);
        let findings = history.findings();
        let expected = (scenario.name(), incident.entity.clone());
        let found: Vec<_> = findings.keys().collect();
        assert_eq!(found, [&expected], "{scenario}");
        for moment in &findings[&expected] {
            assert!(*moment > incident.starts_at.timestamp_micros(), "{scenario} is found before it began");
        }
    }
}

#[test]
fn all_five_in_one_history_are_found_and_nothing_else() {
    let history = History::of(&Scenario::ALL);
    let found: BTreeSet<(&str, String)> = history.findings().into_keys().collect();
    let expected: BTreeSet<(&str, String)> = Scenario::ALL
        .iter()
        .zip(&history.truth.incidents)
        .map(|(scenario, incident)| (scenario.name(), incident.entity.clone()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_quiet_week_fires_nothing() {
    let history = History::of(&[Scenario::Quiet]);
    assert_eq!(history.findings(), BTreeMap::new());
    assert!(history.truth.incidents.is_empty());
}

#[test]
fn incidents_do_not_overlap_and_lie_in_the_last_eleven_hours() {
    let (_, truth) = Scenario::generate(&Scenario::ALL, default_anchor(), DEFAULT_SEED);
    for pair in truth.incidents.windows(2) {
        assert!(pair[0].ends_at < pair[1].starts_at, "{pair:?}");
    }
    let first = &truth.incidents[0];
    assert!(truth.anchor - first.starts_at < chrono::TimeDelta::hours(11));
    assert!(truth.incidents.last().unwrap().ends_at < truth.anchor);
}

#[test]
fn the_cost_spike_is_about_six_times_the_mean_and_shows_in_the_total() {
    let history = History::of(&[Scenario::CostSpike]);
    let incident = incident(&history.truth);
    let start = incident.starts_at.timestamp_micros();
    let mean = history.by_feature(start - 7 * DAY, start);
    // Any full hour within it, also one of the clock's.
    for offset in [0, 30, 60, 75] {
        let from = start + offset * MINUTE;
        let hour = history.by_feature(from, from + HOUR);
        let ratio = hour[incident.entity.as_str()].0 * 168.0 / mean[incident.entity.as_str()].0;
        assert!((5.2..7.5).contains(&ratio), "{ratio}");
        let total = |sums: &BTreeMap<&str, (f64, f64)>| sums.values().map(|v| v.0).sum::<f64>();
        assert!(total(&hour) > 2.6 * total(&mean) / 168.0);
        assert!(hour[incident.entity.as_str()].0 < 10.0, "below automatic action");
    }
    assert!(incident.ends_at - incident.starts_at >= chrono::TimeDelta::minutes(121));
}

#[test]
fn the_cascade_doubles_generations_without_becoming_a_spike() {
    let history = History::of(&[Scenario::ErrorCascade]);
    let incident = incident(&history.truth);
    let start = incident.starts_at.timestamp_micros();
    let entity = incident.entity.as_str();
    let mean = history.by_feature(start - 7 * DAY, start)[entity];
    let hour = history.by_feature(start, start + HOUR)[entity];
    let (cost_ratio, count_ratio) = (hour.0 * 168.0 / mean.0, hour.1 * 168.0 / mean.1);
    assert!((1.7..2.3).contains(&count_ratio), "{count_ratio}");
    assert!((1.6..2.4).contains(&cost_ratio), "{cost_ratio}");
    assert!(hour.0 > 1.2, "the feature alone costs more than a dollar: {}", hour.0);
    let errors = history.issues.iter().flatten().filter(|at| (start..start + HOUR).contains(*at)).count();
    assert!(errors >= 40, "{errors}");
}

#[test]
fn the_loop_has_more_than_twenty_generations_of_one_name() {
    let history = History::of(&[Scenario::AgentLoop]);
    let incident = incident(&history.truth);
    let of_trace: Vec<_> =
        history.observations.iter().filter(|o| o.trace == incident.entity && o.kind == "GENERATION").collect();
    assert_eq!(of_trace.len(), LOOP_GENERATIONS);
    assert!(of_trace.iter().all(|o| o.name == of_trace[0].name));
    assert!(of_trace.last().unwrap().at - of_trace[0].at < 10 * MINUTE);
}

#[test]
fn drift_takes_most_of_the_newest_twenty_answers() {
    let history = History::of(&[Scenario::PromptDrift]);
    let incident = incident(&history.truth);
    let end = incident.ends_at.timestamp_micros();
    let newest: Vec<_> = history.generations(end - DAY, end).filter(|g| g.name == incident.entity).collect();
    let failed = newest[newest.len() - 20..].iter().filter(|g| !g.keys.as_ref().unwrap().contains("response")).count();
    assert!(failed > 10, "{failed} of 20");
}

#[test]
fn silent_failures_are_short_and_carry_no_error() {
    let (dataset, truth) = Scenario::generate(&[Scenario::SilentToolFailure], default_anchor(), DEFAULT_SEED);
    let incident = incident(&truth);
    let during: Vec<Value> = dataset
        .items(Collection::LangfuseObservations)
        .filter(|o| o["name"] == incident.entity.as_str())
        .filter(|o| {
            let at = time_of(o, "startTime");
            (incident.starts_at.timestamp_micros()..incident.ends_at.timestamp_micros()).contains(&at)
        })
        .collect();
    assert!(during.len() >= 5, "{}", during.len());
    for call in during {
        assert_eq!(call["level"], "DEFAULT");
        assert!(call["output"].as_str().unwrap().len() <= 8, "{}", call["output"]);
    }
}

/// When a commit landed.
fn landed(commit: &Value) -> Micros {
    parse(commit["commit"]["committer"]["date"].as_str().unwrap()).unwrap()
}

#[test]
fn a_culprit_is_the_last_deploy_before_its_incident_and_its_files_can_be_read() {
    let (dataset, truth) = Scenario::generate(&Scenario::ALL, default_anchor(), DEFAULT_SEED);
    for incident in &truth.incidents {
        let sha = incident.culprit_sha.as_deref().unwrap();
        let commit = dataset.items(Collection::GithubCommits).find(|commit| commit["sha"] == sha).unwrap();
        let deployed = incident.deployed_at.unwrap().timestamp_micros();
        let start = incident.starts_at.timestamp_micros();
        let class = incident.class;
        assert!(landed(&commit) < deployed && deployed < start, "{class:?}");
        assert!(start - landed(&commit) < 30 * MINUTE, "{class:?}");
        let last_deploy = dataset
            .items(Collection::GithubDeployments)
            .filter(|deploy| time_of(deploy, "created_at") < start)
            .max_by_key(|deploy| time_of(deploy, "created_at"))
            .unwrap();
        assert_eq!(last_deploy["sha"], sha, "{class:?}");
        let pull = dataset.items(Collection::GithubPulls).find(|pull| pull["merge_commit_sha"] == sha).unwrap();
        let files = dataset.items(Collection::GithubPullFiles).filter(|file| file["_number"] == pull["number"]).count();
        assert!(files > 0, "{class:?}");
    }
}

#[test]
fn every_incident_has_decoys_before_and_after_its_cause() {
    const WORDS: [&str; 4] = ["prompt", "template", "system", "model"];
    let (dataset, truth) = Scenario::generate(&Scenario::ALL, default_anchor(), DEFAULT_SEED);
    // Other incidents' commits are no decoys of this one: they are there only in this history.
    let quiet = Scenario::generate(&[Scenario::Quiet], default_anchor(), DEFAULT_SEED).0;
    let ordinary: BTreeSet<String> =
        quiet.items(Collection::GithubCommits).map(|commit| commit["sha"].as_str().unwrap().to_owned()).collect();
    for incident in &truth.incidents {
        let start = incident.starts_at.timestamp_micros();
        let (mut before, mut after, mut worded) = (0, 0, 0);
        for commit in dataset.items(Collection::GithubCommits) {
            let at = landed(&commit);
            if (at - start).abs() > 2 * DAY || !ordinary.contains(commit["sha"].as_str().unwrap()) {
                continue;
            }
            let message = commit["commit"]["message"].as_str().unwrap().to_lowercase();
            before += usize::from(at < start);
            after += usize::from(at > start);
            worded += usize::from(WORDS.iter().any(|word| message.contains(word)));
        }
        let found = (before, after, worded);
        assert!(before >= 3 && after >= 1 && worded >= 2, "{found:?}");
    }
}

#[test]
fn the_worded_variant_says_prompt_and_the_plain_one_does_not() {
    let message = |scenario| {
        let (dataset, truth) = Scenario::generate(&[scenario], default_anchor(), DEFAULT_SEED);
        let sha = incident(&truth).culprit_sha.clone().unwrap();
        let commit = dataset.items(Collection::GithubCommits).find(|commit| commit["sha"] == sha.as_str()).unwrap();
        commit["commit"]["message"].as_str().unwrap().to_lowercase()
    };
    let words = ["prompt", "system", "template", "llm", "model"];
    let has_word = |text: &str| words.iter().any(|word| text.contains(word));
    assert!(!has_word(&message(Scenario::PromptDrift)));
    assert!(has_word(&message(Scenario::PromptDriftWorded)));
}

#[test]
fn the_same_options_give_the_same_bytes_and_another_anchor_the_same_story() {
    let anchor = default_anchor();
    let (once, truth) = Scenario::generate(&Scenario::ALL, anchor, 7);
    let (again, _) = Scenario::generate(&Scenario::ALL, anchor, 7);
    for collection in Collection::ALL {
        assert!(once.raw(collection) == again.raw(collection), "{}", collection.path());
    }
    let later = anchor + chrono::TimeDelta::minutes(4567);
    let (_, moved) = Scenario::generate(&Scenario::ALL, later, 7);
    for (a, b) in truth.incidents.iter().zip(&moved.incidents) {
        assert_eq!((&a.entity, &a.culprit_sha), (&b.entity, &b.culprit_sha));
        assert_eq!(b.starts_at - a.starts_at, later - anchor);
    }
}

#[test]
fn an_odd_anchor_changes_no_finding() {
    let anchor = default_anchor() + chrono::TimeDelta::seconds(3 * 86_400 + 7 * 3600 + 37 * 60 + 11);
    let history = History::at(&Scenario::ALL, anchor);
    let classes: Vec<&str> = history.findings().into_keys().map(|(class, _)| class).collect();
    assert_eq!(classes, ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"]);
}

#[test]
fn a_history_is_small_enough_for_a_demonstration() {
    let (dataset, _) = Scenario::generate(&Scenario::ALL, default_anchor(), DEFAULT_SEED);
    let count = dataset.count(Collection::LangfuseObservations);
    assert!((10_000..=15_000).contains(&count), "{count}");
    for collection in Collection::ALL {
        assert!(dataset.count(collection) > 0, "{}", collection.path());
    }
}

#[test]
fn slack_timestamps_are_unique_and_nothing_lies_after_the_anchor() {
    let (dataset, truth) = Scenario::generate(&Scenario::ALL, default_anchor(), DEFAULT_SEED);
    let mut seen = BTreeSet::new();
    for message in dataset.items(Collection::SlackMessages) {
        let ts = message["ts"].as_str().unwrap().to_owned();
        assert!(from_epoch_seconds(&ts).unwrap() <= truth.anchor.timestamp_micros() + HOUR);
        assert!(seen.insert(ts));
    }
}

#[test]
fn a_scenario_is_found_by_its_name_and_another_name_is_refused() {
    assert_eq!(Scenario::set("all").unwrap(), Scenario::ALL);
    assert_eq!(Scenario::set("quiet").unwrap(), [Scenario::Quiet]);
    let error = Scenario::set("loud").unwrap_err().to_string();
    assert!(error.contains("cost_spike"), "{error}");
}
