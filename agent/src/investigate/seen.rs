//! Suspects that are no commits: prompt versions, models and flags that the calls of the feature show to be new.
//!
//! Owns: reading them from the evidence and their score, in the same parts as a commit's. Must hold: nothing is read of
//! names but whether the prompt's is the feature's; a change that a commit brought along ranks behind that commit.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use super::gather::Gathered;
use super::radius::{Shown, likeness};
use super::suspects::{Kind, LiveBy, Part, Suspect, closeness, good_calls, rounded, span};
use super::{rows, text, time};

/// What the score of a change is computed from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    kind: Kind,
    name: String,
    value: String,
    shown: String,
    first_used: DateTime<Utc>,
    /// Calls that use it before the onset, and since; and all calls since.
    calls_before: i64,
    calls_since: i64,
    all_calls_since: i64,
    /// Dollars a call: of those that use it, of all before the onset and of all since.
    cost: Option<f64>,
    cost_before: Option<f64>,
    cost_since: Option<f64>,
    /// Shares of calls that went otherwise than calls before the onset: the same three.
    odd: Option<f64>,
    odd_before: Option<f64>,
    odd_since: Option<f64>,
}

/// Reads the changes that were gathered. What came into use long after the onset has not caused it.
pub(super) fn read(
    gathered: &[Gathered],
    onset: DateTime<Utc>,
    lookback: TimeDelta,
    tolerance: TimeDelta,
) -> Vec<Seen> {
    let of = |row: &Value| {
        let count = |column: &str| row.get(column).and_then(Value::as_i64).unwrap_or_default();
        let figure = |column: &str| row.get(column).and_then(Value::as_f64);
        Some(Seen {
            kind: match text(row, "what")? {
                "model" => Kind::Model,
                "prompt" => Kind::Prompt,
                "flag" => Kind::Flag,
                _ => return None,
            },
            name: text(row, "name").unwrap_or_default().to_owned(),
            value: text(row, "value").unwrap_or_default().to_owned(),
            shown: text(row, "shown")?.to_owned(),
            first_used: time(row, "first_used")?,
            calls_before: count("calls_before"),
            calls_since: count("calls_since"),
            all_calls_since: count("all_calls_since"),
            cost: figure("cost_per_call_usd"),
            cost_before: figure("cost_per_call_before_usd"),
            cost_since: figure("cost_per_call_since_usd"),
            odd: figure("odd_share"),
            odd_before: figure("odd_share_before"),
            odd_since: figure("odd_share_since"),
        })
    };
    let found = rows(gathered, "changes").iter().filter_map(of);
    found.filter(|seen| seen.first_used >= onset - lookback && seen.first_used <= onset + tolerance).collect()
}

/// The changes as suspects; `commits` are those ranked already, and `names` what broke.
pub(super) fn suspects(seen: &[Seen], onset: DateTime<Utc>, names: &[String], commits: &[Suspect]) -> Vec<Suspect> {
    seen.iter().map(|seen| suspect(seen, onset, names, commits)).collect()
}

fn suspect(seen: &Seen, onset: DateTime<Utc>, names: &[String], commits: &[Suspect]) -> Suspect {
    let mut parts = vec![timing(seen, onset), exposure(seen), reach(seen)];
    parts.extend(difference(seen));
    parts.extend(named(seen, names));
    let weight: f64 = parts.iter().map(|part| part.weight).sum();
    let sum: f64 = parts.iter().map(|part| part.weight * part.value).sum();
    let brought = commits.iter().find(|commit| brings(commit, seen));
    let own = sum / weight;
    // Behind the commit that brought it along, which is then the change to take back.
    let factor = brought.map_or(1.0, |commit| rounded((0.95 * commit.score / own.max(0.001)).min(0.95)));
    let id = match seen.kind {
        Kind::Prompt => format!("prompt:{}@{}", seen.name, seen.value),
        Kind::Flag => format!("flag:{}={}", seen.name, seen.value),
        Kind::Model | Kind::Commit => format!("model:{}", seen.value),
    };
    let by = brought.map_or_else(String::new, |commit| format!(", after {} went live", commit.short()));
    Suspect {
        kind: seen.kind,
        id,
        sha: None,
        message: format!("{} {} is used since{by}", seen.kind.word(), seen.shown),
        author: None,
        committed_at: None,
        live_at: seen.first_used,
        live_by: LiveBy::Seen,
        score: rounded(own * factor),
        parts,
        factor,
        files: Vec::new(),
        pull_request: None,
        url: None,
    }
}

fn timing(seen: &Seen, onset: DateTime<Utc>) -> Part {
    let before = onset - seen.first_used;
    let side = if before < TimeDelta::zero() { "after" } else { "before" };
    let reason = format!("first used {} {side} the onset", span(before.abs()));
    Part { name: "timing", value: closeness(before, 30.0), weight: 0.35, reason }
}

/// Calls that used it and went well speak against it.
fn exposure(seen: &Seen) -> Part {
    let reason = format!("{} calls with it before the onset", seen.calls_before);
    Part { name: "exposure", value: good_calls(seen.calls_before), weight: 0.2, reason }
}

/// How many of the calls since the onset it can have reached.
fn reach(seen: &Seen) -> Part {
    let share = seen.calls_since as f64 / seen.all_calls_since.max(1) as f64;
    let reason = format!("{} of the {} calls since the onset use it", seen.calls_since, seen.all_calls_since);
    Part { name: "reach", value: rounded(share.clamp(0.0, 1.0)), weight: 0.2, reason }
}

/// How much of what changed with the onset the calls that use it show: where calls became dearer their cost, else where they go
/// otherwise (errors, outputs that look as none did before) how often they do.
fn difference(seen: &Seen) -> Option<Part> {
    dearer(seen).or_else(|| odder(seen))
}

/// Shares that differ by less are alike.
const ODDER: f64 = 0.1;

fn odder(seen: &Seen) -> Option<Part> {
    let (own, before, since) = (seen.odd?, seen.odd_before?, seen.odd_since?);
    if since - before < ODDER {
        return None;
    }
    let value = rounded(((own - before) / (since - before)).clamp(0.0, 1.0));
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let reason = format!(
        "{} of the calls with it fail or look as none did before, of all before the onset {}",
        percent(own),
        percent(before)
    );
    Some(Part { name: "difference", value, weight: 0.25, reason })
}

fn dearer(seen: &Seen) -> Option<Part> {
    let before = seen.cost_before.filter(|cost| *cost > 0.0)?;
    let (own, since) = (seen.cost? / before, seen.cost_since? / before);
    if since < 1.5 || own <= 0.0 {
        return None;
    }
    let value = rounded((own.ln() / since.ln()).clamp(0.0, 1.0));
    let reason = format!("a call with it costs {own:.1} times as much as calls before the onset");
    Some(Part { name: "difference", value, weight: 0.25, reason })
}

/// A prompt of the feature's name is the feature's own.
fn named(seen: &Seen, names: &[String]) -> Option<Part> {
    if seen.kind != Kind::Prompt {
        return None;
    }
    let path = [(seen.name.clone(), 1)];
    let alike = likeness(names, &[Shown { files: Some(&path), message: "" }])?.pop()?;
    let reason = format!("the prompt {} is named like it", seen.name);
    Some(Part { name: "names", value: rounded(alike.value), weight: 0.25, reason })
}

/// Whether a commit went live within the half hour before the first use, and changes what is named like it.
fn brings(commit: &Suspect, seen: &Seen) -> bool {
    let before = seen.first_used - commit.live_at;
    let is_named = commit.parts.iter().any(|part| part.name == "names" && part.value > 0.6);
    is_named && commit.factor >= 0.9 && (TimeDelta::zero()..=TimeDelta::minutes(30)).contains(&before)
}
