//! The rules of seed 003 as they are written, for comparison: what a reader would build from them in an afternoon.
//!
//! Rules: `facts/sentinel.md` §3, with the seed's thresholds. Where a rule names no feature, it is given the benefit of the
//! doubt: the feature that cost most. The blamed commit is the seed's: the newest one before the finding.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::score::Episode;
use super::truth::{PERIOD, Truth};
use crate::failure::Failure;

struct Call {
    feature: String,
    trace: String,
    at: DateTime<Utc>,
    cost_usd: f64,
    output: String,
}

struct Issue {
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    count: f64,
}

struct Rows {
    calls: Vec<Call>,
    tools: Vec<Call>,
    issues: Vec<Issue>,
    commits: Vec<(DateTime<Utc>, String)>,
}

/// What the seed's rules find in the history.
pub(super) fn episodes(folder: &Path, truth: &Truth) -> Result<Vec<Episode>, Failure> {
    let rows = Rows::load(folder)?;
    let mut snapshots = HashMap::new();
    let mut hourly = Vec::new();
    let mut open: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut episodes: Vec<Episode> = Vec::new();
    let mut now = truth.clock_start;
    while now <= truth.clock_end {
        for (class, entity) in rows.findings(now, &mut snapshots, &mut hourly) {
            let key = (class.to_owned(), entity.clone());
            // The same condition: the seed tells it again each time, which is not held against it here.
            let same = open
                .get(&key)
                .copied()
                .filter(|index| episodes.get(*index).is_some_and(|episode| now - episode.last <= PERIOD * 3));
            if let Some(episode) = same.and_then(|index| episodes.get_mut(index)) {
                episode.last = now;
                continue;
            }
            let newest_first = rows.commits.iter().rev().filter(|(at, _)| *at <= now).take(5);
            let suspects: Vec<String> = newest_first.map(|(_, sha)| sha.clone()).collect();
            open.insert(key, episodes.len());
            episodes.push(Episode {
                id: episodes.len().to_string(),
                class: class.to_owned(),
                entity,
                opened: now,
                first: now,
                last: now,
                culprit: suspects.first().cloned(),
                suspects,
            });
        }
        now += PERIOD;
    }
    Ok(episodes)
}

impl Rows {
    fn load(folder: &Path) -> Result<Self, Failure> {
        let mut rows = Self { calls: Vec::new(), tools: Vec::new(), issues: Vec::new(), commits: Vec::new() };
        for item in read(folder, "langfuse/observations")? {
            let Some(at) = time(&item, "/startTime") else { continue };
            let output = match item.get("output") {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let cost_usd = item.get("calculatedTotalCost").and_then(Value::as_f64).unwrap_or_default();
            let call = Call { feature: text(&item, "/name"), trace: text(&item, "/traceId"), at, cost_usd, output };
            match item.get("type").and_then(Value::as_str) {
                Some("GENERATION") => rows.calls.push(call),
                Some("SPAN" | "TOOL") => rows.tools.push(call),
                _ => {}
            }
        }
        for item in read(folder, "sentry/issues")? {
            let (Some(first), Some(last)) = (time(&item, "/firstSeen"), time(&item, "/lastSeen")) else { continue };
            let count = text(&item, "/count").parse().unwrap_or(1.0);
            rows.issues.push(Issue { first, last, count });
        }
        for item in read(folder, "github/commits")? {
            let Some(at) = time(&item, "/commit/author/date") else { continue };
            rows.commits.push((at, text(&item, "/sha")));
        }
        rows.calls.sort_by_key(|call| call.at);
        rows.tools.sort_by_key(|call| call.at);
        rows.commits.sort();
        Ok(rows)
    }

    fn findings(
        &self,
        now: DateTime<Utc>,
        snapshots: &mut HashMap<String, BTreeSet<String>>,
        hourly: &mut Vec<f64>,
    ) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        found.extend(self.worst_loop(now).map(|entity| ("agent_loop", entity)));
        found.extend(self.drift(now, snapshots).map(|entity| ("prompt_drift", entity)));
        found.extend(self.tool(now).map(|entity| ("silent_tool_failure", entity)));
        found.extend(self.spike(now, hourly).map(|entity| ("cost_spike", entity)));
        found.extend(self.cascade(now).map(|entity| ("error_cascade", entity)));
        found
    }

    /// Query 16: more than ten generations in two hours, the worst trace.
    fn worst_loop(&self, now: DateTime<Utc>) -> Option<String> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for call in between(&self.calls, now - TimeDelta::hours(2), now) {
            *counts.entry(&call.trace).or_default() += 1;
        }
        let worst = counts.into_iter().max_by_key(|(trace, count)| (*count, *trace))?;
        (worst.1 > 10).then(|| worst.0.to_owned())
    }

    /// §3.2: the newest 20 outputs against the union of the keys first seen; from 15 % on the first feature drifts.
    fn drift(&self, now: DateTime<Utc>, snapshots: &mut HashMap<String, BTreeSet<String>>) -> Option<String> {
        let mut newest: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for call in between(&self.calls, now - TimeDelta::hours(24), now).iter().rev() {
            let outputs = newest.entry(&call.feature).or_default();
            if outputs.len() < 20 {
                outputs.push(&call.output);
            }
        }
        let mut first = None;
        for (feature, outputs) in newest {
            let keys = |output: &str| match serde_json::from_str(output) {
                Ok(Value::Object(object)) => Some(object.keys().cloned().collect::<BTreeSet<String>>()),
                _ => None,
            };
            let Some(snapshot) = snapshots.get(feature) else {
                let union = outputs.iter().filter_map(|output| keys(output)).flatten().collect();
                snapshots.insert(feature.to_owned(), union);
                continue;
            };
            if snapshot.is_empty() {
                continue;
            }
            let failed = outputs.iter().filter(|o| keys(o).is_none_or(|keys| !keys.is_superset(snapshot))).count();
            if failed as f64 >= 0.15 * outputs.len() as f64 && first.is_none() {
                first = Some(feature.to_owned());
            }
        }
        first
    }

    /// Strategies A and C over six hours: text among the outputs of what is now a JSON tool; a fifth of the average.
    fn tool(&self, now: DateTime<Utc>) -> Option<String> {
        let mut outputs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for call in between(&self.tools, now - TimeDelta::hours(6), now).iter().rev().take(200) {
            outputs.entry(&call.feature).or_default().push(&call.output);
        }
        for (tool, outputs) in outputs {
            let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            let json_tool = outputs.first().is_some_and(|newest| is_json(newest));
            let average = outputs.iter().map(|output| output.len() as f64).sum::<f64>() / outputs.len() as f64;
            let wrong = outputs.iter().any(|output| {
                (json_tool && !output.is_empty() && !is_json(output))
                    || (average > 50.0 && (output.len() as f64) < 0.2 * average)
            });
            if wrong {
                return Some(tool.to_owned());
            }
        }
        None
    }

    /// The latest hour against 2.5 times the mean of the last 168 rows, which every run appends 24 of.
    fn spike(&self, now: DateTime<Utc>, hourly: &mut Vec<f64>) -> Option<String> {
        let hour = |at: DateTime<Utc>| at.timestamp().div_euclid(3600);
        let mut hours: BTreeMap<i64, f64> = BTreeMap::new();
        let mut features: HashMap<&str, f64> = HashMap::new();
        for call in between(&self.calls, now - TimeDelta::hours(24), now) {
            *hours.entry(hour(call.at)).or_default() += call.cost_usd;
        }
        let (latest, cost_usd) = hours.last_key_value().map(|(hour, cost)| (*hour, *cost))?;
        for call in between(&self.calls, now - TimeDelta::hours(24), now).iter().filter(|c| hour(c.at) == latest) {
            *features.entry(&call.feature).or_default() += call.cost_usd;
        }
        let last = hourly.iter().rev().take(168);
        let baseline = last.clone().sum::<f64>() / last.count().max(1) as f64;
        hourly.extend(hours.into_values());
        if baseline <= 0.0 || cost_usd <= 2.5 * baseline {
            return None;
        }
        features.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(feature, _)| feature.to_owned())
    }

    /// Query 3: issues first seen within 48 h joined with the generations while they lasted; cost above $1, errors × cost
    /// above 10.
    fn cascade(&self, now: DateTime<Utc>) -> Option<String> {
        let recent = self.issues.iter().filter(|issue| issue.first <= now && issue.first > now - TimeDelta::hours(48));
        let mut worst: Option<(f64, String)> = None;
        for issue in recent {
            let mut features: HashMap<&str, f64> = HashMap::new();
            for call in between(&self.calls, issue.first, issue.last.min(now)) {
                *features.entry(&call.feature).or_default() += call.cost_usd;
            }
            let cost_usd: f64 = features.values().sum();
            let Some((feature, _)) = features.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            if cost_usd > 1.0
                && issue.count * cost_usd > 10.0
                && worst.as_ref().is_none_or(|(most, _)| cost_usd > *most)
            {
                worst = Some((cost_usd, feature.to_owned()));
            }
        }
        worst.map(|(_, feature)| feature)
    }
}

/// The part of `calls`, which are in order, in `[from, until)`.
fn between(calls: &[Call], from: DateTime<Utc>, until: DateTime<Utc>) -> &[Call] {
    let start = calls.partition_point(|call| call.at < from);
    let end = calls.partition_point(|call| call.at < until);
    calls.get(start..end).unwrap_or_default()
}

fn read(folder: &Path, name: &str) -> Result<Vec<Value>, Failure> {
    let path = folder.join(format!("{name}.json"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Failure::file(&path, &error)),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

fn time(item: &Value, pointer: &str) -> Option<DateTime<Utc>> {
    item.pointer(pointer)?.as_str()?.parse().ok()
}

fn text(item: &Value, pointer: &str) -> String {
    match item.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}
