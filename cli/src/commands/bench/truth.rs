//! The labels of a history: `truth.json`.
//!
//! Must hold: a label that is wrong is refused with its place, never measured against.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;

use crate::failure::Failure;

/// The classes that labels may name.
pub(super) const CLASSES: [&str; 5] =
    ["cost_spike", "error_cascade", "prompt_drift", "agent_loop", "silent_tool_failure"];
/// How often detectors are due.
pub(super) const PERIOD: TimeDelta = TimeDelta::minutes(15);

/// The shape of `truth.json`; times are RFC 3339.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Truth {
    pub(super) owner: String,
    pub(super) repo: String,
    #[serde(default)]
    pub(super) sentry_project: Option<String>,
    /// The Sentry organisation; any name does where the data names none.
    #[serde(default)]
    pub(super) sentry_org: Option<String>,
    pub(super) clock_start: DateTime<Utc>,
    pub(super) clock_end: DateTime<Utc>,
    pub(super) incidents: Vec<Label>,
    #[serde(default)]
    pub(super) outages: Vec<Outage>,
}

/// One labelled incident.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    pub(super) class: String,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
    pub(super) entity: String,
    #[serde(default)]
    pub(super) culprit_sha: Option<String>,
    /// The change that caused it where that is no commit: `prompt:NAME@VERSION`, `model:NAME` or `flag:NAME=VALUE`.
    #[serde(default)]
    pub(super) culprit: Option<String>,
    /// The feature whose traffic it is in, where that is not the entity.
    #[serde(default)]
    pub(super) feature: Option<String>,
}

/// A time in which a vendor answers nothing but errors.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Outage {
    pub(super) source: String,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) ends_at: DateTime<Utc>,
}

impl Truth {
    /// Reads and checks `DIR/truth.json`.
    pub(super) fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("truth.json");
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::file(&path, &error).also_hint("a folder to measure on has a truth.json (docs/accuracy.md)")
        })?;
        let refused = |what: String| {
            Failure::new(format!("{}: {what}", path.display())).hint("docs/accuracy.md shows what it looks like")
        };
        let truth: Self =
            serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| refused(error.to_string()))?;
        truth.check().map_err(refused)?;
        Ok(truth)
    }

    fn check(&self) -> Result<(), String> {
        if self.owner.trim().is_empty() || self.repo.trim().is_empty() {
            return Err("owner and repo must not be empty".to_owned());
        }
        if self.sentry_project.as_deref().is_some_and(|project| project.trim().is_empty()) {
            return Err("sentry_project must not be empty".to_owned());
        }
        if self.clock_start >= self.clock_end {
            return Err(format!("clock_start {} is not before clock_end {}", self.clock_start, self.clock_end));
        }
        for (number, label) in self.incidents.iter().enumerate() {
            let place = format!("incidents[{number}]");
            if !CLASSES.contains(&label.class.as_str()) {
                return Err(format!("{place}.class '{}' is none of {}", label.class, CLASSES.join(", ")));
            }
            if label.entity.is_empty() {
                return Err(format!("{place}.entity is empty"));
            }
            if label.starts_at > label.ends_at {
                return Err(format!("{place}: starts_at {} is after ends_at {}", label.starts_at, label.ends_at));
            }
            if label.ends_at < self.clock_start || label.starts_at > self.clock_end {
                return Err(format!("{place} lies outside of the replay from clock_start to clock_end"));
            }
            if label.culprit_sha.as_deref().is_some_and(|sha| sha.len() < 7) {
                return Err(format!("{place}.culprit_sha is no commit"));
            }
            if let Some(culprit) = &label.culprit {
                if label.culprit_sha.is_some() {
                    return Err(format!("{place} has culprit_sha and culprit: one of them caused it"));
                }
                let named = |kind: &str| culprit.strip_prefix(kind).is_some_and(|name| !name.is_empty());
                if !["prompt:", "model:", "flag:"].into_iter().any(named) {
                    let allowed = "prompt:NAME@VERSION, model:NAME or flag:NAME=VALUE";
                    return Err(format!("{place}.culprit '{culprit}' is none of {allowed}; a commit is a culprit_sha"));
                }
            }
        }
        for (number, outage) in self.outages.iter().enumerate() {
            const SOURCES: [&str; 4] = ["langfuse", "sentry", "github", "slack"];
            if !SOURCES.contains(&outage.source.as_str()) {
                return Err(format!("outages[{number}].source '{}' is none of {}", outage.source, SOURCES.join(", ")));
            }
            if outage.starts_at >= outage.ends_at {
                return Err(format!("outages[{number}]: starts_at is not before ends_at"));
            }
        }
        Ok(())
    }

    /// The sources that are down at `now`.
    pub(super) fn down(&self, now: DateTime<Utc>) -> Vec<&str> {
        let down = self.outages.iter().filter(|outage| outage.starts_at <= now && now < outage.ends_at);
        down.map(|outage| outage.source.as_str()).collect()
    }

    /// Weeks of the replay in which no labelled incident is under way.
    pub(super) fn quiet_weeks(&self) -> f64 {
        let mut quiet = 0.0;
        let mut at = self.clock_start;
        while at < self.clock_end {
            if !self.incidents.iter().any(|label| label.starts_at < at + PERIOD && at < label.ends_at + PERIOD) {
                quiet += 1.0;
            }
            at += PERIOD;
        }
        quiet * 15.0 / (7.0 * 24.0 * 60.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails should stop at once")]
mod tests {
    use super::*;

    fn refused(incidents: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"owner": "o", "repo": "r", "sentry_project": "p", "clock_start": "2026-01-10T00:00:00Z",
                "clock_end": "2026-01-12T00:00:00Z", "incidents": [{incidents}]}}"#
        );
        std::fs::write(folder.path().join("truth.json"), text).unwrap();
        Truth::load(folder.path()).map_or_else(|failure| failure.to_string(), |_| "accepted".to_owned())
    }

    #[test]
    fn a_label_that_is_wrong_is_refused_with_its_place() {
        let times = r#""starts_at": "2026-01-10T01:00:00Z", "ends_at": "2026-01-10T02:00:00Z""#;
        assert_eq!(refused(&format!(r#"{{"class": "cost_spike", "entity": "f", {times}}}"#)), "accepted");
        let said = refused(&format!(r#"{{"class": "cost", "entity": "f", {times}}}"#));
        assert!(said.contains("incidents[0].class 'cost'"), "{said}");
        let said = refused(r#"{"class": "cost_spike", "entity": "f", "starts_at": "2026-01-10T01:00:00Z"}"#);
        assert!(said.contains("ends_at") && said.contains("line"), "{said}");
        let said = refused(&format!(r#"{{"class": "cost_spike", "entity": "f", "culprit": "x", {times}}}"#));
        assert!(said.contains("incidents[0].culprit 'x'"), "{said}");
        let with = |culprit: &str| refused(&format!(r#"{{"class": "cost_spike", "entity": "f", {culprit}, {times}}}"#));
        assert_eq!(with(r#""culprit": "prompt:writer@8""#), "accepted");
        let said = with(r#""culprit": "model:a", "culprit_sha": "abcdef0""#);
        assert!(said.contains("one of them"), "{said}");
    }
}
