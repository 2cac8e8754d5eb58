//! Labelled histories by chance: what accuracy is measured on.
//!
//! Owns: the story of a company over some days ([`story`]) with incidents whose truth is known, its rows in the vendors'
//! formats ([`rows`]), and writing both as a data directory with a `truth.json`. Does not own: how verdicts are matched
//! with the truth (that is the bench's).
//! Must hold: the same options give the same bytes; names come from syllables by chance; nothing in the rows tells
//! which of them belong to an incident.

mod rows;
mod story;
mod words;

use std::fs;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::dataset::DataError;

/// What kind of company a labelled history tells of. What is `None` is drawn by the seed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LabelledOptions {
    /// The chance in it.
    pub seed: u64,
    /// How many features, 3 to 30.
    pub features: Option<usize>,
    /// Model calls of all features per hour, on average, 20 to 5000.
    pub calls_per_hour: Option<f64>,
    /// Whether nothing goes wrong in it.
    pub quiet: bool,
    /// The same history under other names, drawn by this seed: labels too.
    pub rename: Option<u64>,
    /// A source that is down for a time before everything else in the replay, which becomes so much longer.
    pub outage: Option<LabelledDown>,
}

/// A source that does not answer for so long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelledDown {
    /// One of [`LabelledDown::SOURCES`].
    pub source: &'static str,
    /// For how many hours.
    pub hours: u32,
}

impl LabelledDown {
    /// The sources that can be down.
    pub const SOURCES: [&'static str; 4] = ["langfuse", "sentry", "github", "slack"];
}

/// One labelled incident.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelledIncident {
    /// The failure class, as detectors name it.
    pub class: &'static str,
    /// When its effect began.
    pub starts_at: DateTime<Utc>,
    /// When it was over.
    pub ends_at: DateTime<Utc>,
    /// Feature, tool or trace.
    pub entity: String,
    /// The commit that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit_sha: Option<String>,
    /// The change that caused it where that is no commit: `prompt:NAME@VERSION` or `model:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// The feature whose traffic it is in, where that is not the entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
}

/// A time in which a vendor answered nothing but errors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelledOutage {
    /// The vendor.
    pub source: &'static str,
    /// From when.
    pub starts_at: DateTime<Utc>,
    /// Until when.
    pub ends_at: DateTime<Utc>,
}

/// What `truth.json` says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelledTruth {
    /// Owner of the repository.
    pub owner: String,
    /// The repository.
    pub repo: String,
    /// Slug of the Sentry project.
    pub sentry_project: String,
    /// Slug of the Sentry organisation.
    pub sentry_org: String,
    /// Where the replay begins; before it is history.
    pub clock_start: DateTime<Utc>,
    /// Where it ends.
    pub clock_end: DateTime<Utc>,
    /// What went wrong.
    pub incidents: Vec<LabelledIncident>,
    /// Who did not answer when.
    pub outages: Vec<LabelledOutage>,
}

/// A history and what is true in it.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// The labels.
    pub truth: LabelledTruth,
    collections: Vec<(&'static str, Vec<Value>)>,
}

impl Labelled {
    /// Tells a history.
    #[must_use]
    pub fn tell(options: &LabelledOptions) -> Self {
        let (truth, happened) = story::tell(options);
        let collections = rows::collections(&truth, &happened);
        Self { truth, collections }
    }

    /// Writes the data directory and its `truth.json`.
    ///
    /// # Errors
    /// When a folder or file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), DataError> {
        for (name, rows) in &self.collections {
            write(&folder.join(format!("{name}.json")), rows)?;
        }
        write(&folder.join("truth.json"), &self.truth)
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<(), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(seed: u64) -> LabelledOptions {
        LabelledOptions { seed, features: Some(4), calls_per_hour: Some(30.0), ..LabelledOptions::default() }
    }

    #[test]
    fn the_same_seed_tells_the_same_history_and_another_one_another() {
        let (one, again, other) =
            (Labelled::tell(&options(1)), Labelled::tell(&options(1)), Labelled::tell(&options(2)));
        assert_eq!(one.truth, again.truth);
        assert_eq!(one.collections, again.collections);
        assert_ne!(one.truth, other.truth);
    }

    #[test]
    fn every_class_happens_within_the_replay_and_has_its_culprit_among_the_commits() {
        let history = Labelled::tell(&options(3));
        let mut classes: Vec<&str> = history.truth.incidents.iter().map(|incident| incident.class).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"]);
        let commits = &history.collections.iter().find(|(name, _)| *name == "github/commits").unwrap().1;
        for incident in &history.truth.incidents {
            assert!(history.truth.clock_start <= incident.starts_at && incident.ends_at < history.truth.clock_end);
            let by_commit = commits.iter().any(|commit| commit["sha"].as_str() == incident.culprit_sha.as_deref());
            assert!(by_commit != incident.culprit.is_some(), "{incident:?}");
        }
    }

    #[test]
    fn what_no_commit_caused_is_in_the_calls_from_just_before_the_onset_on() {
        let mut seen = 0;
        for seed in 10..13 {
            let history = Labelled::tell(&options(seed));
            let calls = &history.collections.iter().find(|(name, _)| *name == "langfuse/observations").unwrap().1;
            for incident in &history.truth.incidents {
                let Some(culprit) = &incident.culprit else { continue };
                let feature = incident.feature.as_ref().unwrap_or(&incident.entity);
                let uses = |call: &&Value| {
                    let prompt =
                        format!("prompt:{}@{}", call["promptName"].as_str().unwrap_or(""), call["promptVersion"]);
                    call["name"] == json!(feature)
                        && (prompt == *culprit || call["model"] == json!(culprit.trim_start_matches("model:")))
                };
                let starts =
                    calls.iter().filter(uses).map(|call| call["startTime"].as_str().unwrap().parse::<DateTime<Utc>>());
                let first = starts.map(Result::unwrap).min().unwrap();
                assert!((-5..150).contains(&(first - incident.starts_at).num_minutes()), "{first} {incident:?}");
                seen += 1;
            }
        }
        assert!(seen > 0, "{seen}");
    }

    #[test]
    fn in_every_history_calls_and_errors_come_minutes_to_an_hour_late() {
        for (seed, quiet) in [(5, false), (6, true)] {
            let history = Labelled::tell(&LabelledOptions { quiet, ..options(seed) });
            for (name, time) in [("langfuse/observations", "startTime"), ("sentry/issue_events", "dateCreated")] {
                let rows = &history.collections.iter().find(|(collection, _)| *collection == name).unwrap().1;
                let read = |row: &Value, key: &str| row[key].as_str()?.parse::<DateTime<Utc>>().ok();
                let delays: Vec<i64> = rows
                    .iter()
                    .filter_map(|row| Some((read(row, "_arrives_at")? - read(row, time)?).num_seconds()))
                    .collect();
                assert!(
                    !delays.is_empty() && delays.len() * 10 < rows.len(),
                    "{} of {} {name}",
                    delays.len(),
                    rows.len()
                );
                assert!(delays.iter().all(|delay| (20..=3600).contains(delay)), "{delays:?}");
                assert!(delays.iter().any(|delay| *delay > 600), "{delays:?}");
            }
        }
    }

    #[test]
    fn under_other_names_the_same_happens_and_no_name_is_left() {
        let plain = Labelled::tell(&options(3));
        let renamed = Labelled::tell(&LabelledOptions { rename: Some(5), ..options(3) });
        assert_eq!(renamed.truth, Labelled::tell(&LabelledOptions { rename: Some(5), ..options(3) }).truth);
        assert_ne!(renamed.truth, Labelled::tell(&LabelledOptions { rename: Some(6), ..options(3) }).truth);
        let ids = |history: &Labelled| {
            let of = |incident: &LabelledIncident| (incident.class, incident.starts_at, incident.culprit_sha.clone());
            history.truth.incidents.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(ids(&plain), ids(&renamed));
        for (one, other) in plain.truth.incidents.iter().zip(&renamed.truth.incidents) {
            assert!(one.class == "agent_loop" || one.entity != other.entity, "{one:?} {other:?}");
        }
        for ((name, one), (_, other)) in plain.collections.iter().zip(&renamed.collections) {
            assert_eq!(one.len(), other.len(), "{name}");
        }
        // What is a name in one is none in the other.
        let texts =
            serde_json::to_string(&renamed.collections.iter().map(|(_, rows)| rows).collect::<Vec<_>>()).unwrap();
        for incident in &plain.truth.incidents {
            assert!(incident.class == "agent_loop" || !texts.contains(&incident.entity), "{}", incident.entity);
        }
        assert!(!texts.contains(&plain.truth.owner) && !texts.contains(&plain.truth.sentry_project));
        assert!(texts.contains(&renamed.truth.owner) && texts.contains(&renamed.truth.sentry_project));
    }

    #[test]
    fn a_source_that_is_down_is_back_before_anything_goes_wrong() {
        let outage = Some(LabelledDown { source: "langfuse", hours: 24 });
        let (plain, history) = (Labelled::tell(&options(3)), Labelled::tell(&LabelledOptions { outage, ..options(3) }));
        assert_eq!(history.truth.clock_end, plain.truth.clock_end);
        assert_eq!(history.truth.clock_start, plain.truth.clock_start - chrono::TimeDelta::hours(24));
        let down = history.truth.outages.iter().find(|outage| outage.source == "langfuse").unwrap();
        assert_eq!((down.starts_at, down.ends_at), (history.truth.clock_start, plain.truth.clock_start));
        assert!(history.truth.incidents.iter().all(|incident| incident.starts_at > down.ends_at));
    }

    #[test]
    fn nothing_goes_wrong_in_a_quiet_history() {
        assert!(Labelled::tell(&LabelledOptions { quiet: true, ..options(4) }).truth.incidents.is_empty());
    }
}
