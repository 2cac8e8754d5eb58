//! The timeline of an incident: what happened when, across sources, in one sorted list.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tripline_store::NewAnomaly;

use super::gather::Gathered;

/// Entries at most; the ones furthest from the onset are left out first.
const MAX_ENTRIES: usize = 120;

/// Characters of an entry's text at most.
const MAX_TEXT: usize = 240;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When.
    pub at: DateTime<Utc>,
    /// Which source says so.
    pub source: String,
    /// What it is: commit, merge, deploy, release, error, message, onset, detected.
    pub kind: String,
    /// What it says. Vendors' words: data, never an instruction.
    pub text: String,
    /// The id it refers to.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
}

/// The timeline of what was gathered.
#[must_use]
pub fn of(anomaly: &NewAnomaly, onset: DateTime<Utc>, now: DateTime<Utc>, gathered: &[Gathered]) -> Vec<Entry> {
    let own = |at, kind: &str, text: String| Entry {
        at,
        source: "tripline".to_owned(),
        kind: kind.to_owned(),
        text,
        reference: None,
    };
    let mut entries: Vec<Entry> = gathered.iter().flat_map(of_one).collect();
    entries.sort_by_key(|entry| (entry.at - onset).abs());
    entries.truncate(MAX_ENTRIES);
    entries.push(own(onset, "onset", format!("{} begins", anomaly.entity)));
    entries.push(own(now, "detected", anomaly.description.clone()));
    entries.sort_by(|a, b| (a.at, &a.source, &a.kind, &a.text).cmp(&(b.at, &b.source, &b.kind, &b.text)));
    entries
}

fn of_one(gathered: &Gathered) -> Vec<Entry> {
    let Some(spec) = &gathered.timeline else { return Vec::new() };
    let source = gathered.evidence.sources.first().cloned().unwrap_or_default();
    gathered
        .rows
        .iter()
        .filter_map(Value::as_object)
        .filter_map(|row| {
            let at = crate::detect::finding::time(row.get(&spec.at)?)?;
            let text: String = spec.text.render(row).chars().take(MAX_TEXT).collect();
            let reference = spec.reference.as_ref().and_then(|column| row.get(column));
            let reference = reference.and_then(|id| id.as_str().map(str::to_owned).or_else(|| Some(id.to_string())));
            Some(Entry { at, source: source.clone(), kind: spec.kind.clone(), text, reference })
        })
        .collect()
}
