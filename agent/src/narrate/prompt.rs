//! The prompt of the model narrator: the evidence as fenced data.
//!
//! Owns: what a model is shown ([`Exhibits`]). Must hold: secrets and personal data are cut out, in keys too, and counted;
//! vendors' words are inside the fence, and cannot close it; the whole is bounded.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tripline_store::redact::{Cut, for_sending};

use super::Story;

/// Rows of one evidence shown at most.
const MAX_ROWS: usize = 12;

/// Characters of one text shown at most.
const MAX_TEXT: usize = 200;

/// Characters of all evidence shown at most.
const MAX_CHARACTERS: usize = 24_000;

/// The evidence as a model sees it, and as its claims are checked: rows by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Exhibits {
    /// `finding` and `suspects`, then each evidence by its name.
    pub rows: BTreeMap<String, Vec<Map<String, Value>>>,
    /// The first-ranked suspect, if it counts as the culprit.
    pub culprit: Option<String>,
    /// Sources that are unknown.
    pub unknown: Vec<String>,
    /// What was cut out before anything is shown, by kind.
    pub redactions: Cut,
}

impl Exhibits {
    /// The exhibits of a story.
    #[must_use]
    pub fn of(story: Story<'_>) -> Self {
        let anomaly = story.anomaly;
        let mut finding = anomaly.evidence.as_object().cloned().unwrap_or_default();
        finding.insert("type".to_owned(), json!(anomaly.kind));
        finding.insert("severity".to_owned(), json!(anomaly.severity));
        finding.insert("entity".to_owned(), json!(anomaly.entity));
        finding.insert("window_start".to_owned(), json!(anomaly.window.start));
        finding.insert("window_end".to_owned(), json!(anomaly.window.end));
        finding.insert("onset".to_owned(), json!(story.findings.onset));
        finding.insert("cost_usd".to_owned(), json!(anomaly.cost_usd));
        let suspects = story.findings.suspects.iter().map(|suspect| {
            json!({"kind": suspect.kind, "id": suspect.id, "sha": suspect.sha, "message": suspect.message, "author": suspect.author, "live_at": suspect.live_at,
                "live_by": suspect.live_by, "score": suspect.score, "files": suspect.files.join(", "),
                "pull_request": suspect.pull_request,
                "reasons": suspect.parts.iter().map(|p| p.reason.as_str()).collect::<Vec<_>>().join("; ")})
        });
        let mut rows = BTreeMap::from([
            ("finding".to_owned(), vec![finding]),
            ("suspects".to_owned(), suspects.filter_map(|s| s.as_object().cloned()).collect()),
        ]);
        for evidence in &story.findings.evidence {
            let listed = evidence.rows.as_array().into_iter().flatten();
            rows.entry(evidence.name.clone())
                .or_insert_with(|| listed.filter_map(|r| r.as_object().cloned()).collect());
        }
        let culprit = story.findings.culprit.as_ref().and_then(|suspect| suspect.sha.clone());
        let unknown = story.findings.gaps.iter().map(|gap| gap.source.clone()).collect();
        Self::new(rows, culprit, unknown)
    }

    /// Exhibits of these rows: redacted, shortened, and no more than may be shown.
    #[must_use]
    pub fn new(rows: BTreeMap<String, Vec<Map<String, Value>>>, culprit: Option<String>, unknown: Vec<String>) -> Self {
        Self::with_texts(rows, culprit, unknown, MAX_TEXT)
    }

    /// The same, with texts of up to `max_text` characters.
    #[must_use]
    pub fn with_texts(
        mut rows: BTreeMap<String, Vec<Map<String, Value>>>,
        culprit: Option<String>,
        unknown: Vec<String>,
        max_text: usize,
    ) -> Self {
        let mut redactions = Cut::new();
        let mut left = MAX_CHARACTERS;
        // What the text is about comes first: it is never left out for the sake of what surrounds it.
        let mut names: Vec<String> = rows.keys().cloned().collect();
        names.sort_by_key(|name| !matches!(name.as_str(), "finding" | "suspects"));
        for name in names {
            let Some(listed) = rows.get_mut(&name) else { continue };
            listed.truncate(MAX_ROWS);
            for row in listed.iter_mut() {
                *row = shown_fields(std::mem::take(row), max_text, &mut redactions);
            }
            listed.retain(|row| {
                let length = Value::Object(row.clone()).to_string().len();
                let fits = length <= left;
                left -= if fits { length } else { 0 };
                fits
            });
        }
        Self { rows, culprit, unknown, redactions }
    }
}

fn shown_text(text: &str, max: usize, cut: &mut Cut) -> String {
    let clean = for_sending(text, cut);
    if clean.chars().count() > max { clean.chars().take(max).collect() } else { clean }
}

fn shown_fields(fields: Map<String, Value>, max: usize, cut: &mut Cut) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (shown_text(&name, max, cut), shown(value, max, cut))).collect()
}

/// A value as it is shown: without secrets and personal data, shortened.
fn shown(value: Value, max: usize, cut: &mut Cut) -> Value {
    match value {
        Value::String(text) => Value::String(shown_text(&text, max, cut)),
        Value::Array(items) => items.into_iter().map(|item| shown(item, max, cut)).collect(),
        Value::Object(fields) => Value::Object(shown_fields(fields, max, cut)),
        other => other,
    }
}

/// The user's message.
#[must_use]
pub fn user_message(exhibits: &Exhibits) -> String {
    let data = json!({"culprit": exhibits.culprit, "unknown_sources": exhibits.unknown, "evidence": exhibits.rows});
    // No text inside can close the fence: its angle brackets are written as JSON escapes.
    let fenced = data.to_string().replace('<', "\\u003c").replace('>', "\\u003e");
    format!("<evidence>\n{fenced}\n</evidence>")
}
