//! People: whom an incident concerns.
//!
//! Owns: reading who is on call and who wrote the suspected commit out of an incident's evidence ([`People`]). Does not own
//! asking for it (queries/evidence/oncalls.sql) nor how a name is shown (messages).
//!
//! Must hold: somebody is named only if a source named them; a source that was not asked is said to be so.

use serde_json::Value;
use tripline_store::{Evidence, EvidenceStatus, Incident};

use crate::investigate::NOT_CONFIGURED;

/// The evidence that says who is on call.
const ON_CALL: &str = "oncalls";

/// Somebody on call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnCall {
    /// Their name.
    pub name: String,
    /// Level within the escalation policy; 1 is called first.
    pub level: i64,
    /// The escalation policy.
    pub policy: Option<String>,
}

/// Who is on call, as far as that is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Watch {
    /// Nobody was asked: the incident was not investigated yet.
    #[default]
    NotAsked,
    /// The source is not set up.
    NotConfigured,
    /// The source did not answer.
    Unknown,
    /// These; may be nobody.
    Known(Vec<OnCall>),
}

/// Whom an incident concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct People {
    /// Who is on call.
    pub watch: Watch,
    /// Who wrote the first-ranked suspect.
    pub author: Option<String>,
    /// Sources that were not asked because they are not set up.
    pub not_configured: Vec<String>,
}

impl People {
    /// The people of an incident.
    #[must_use]
    pub fn of(incident: &Incident, evidence: &[Evidence]) -> Self {
        let first = incident.suspects.as_array().and_then(|suspects| suspects.first());
        let author = first.and_then(|suspect| suspect.get("author")?.as_str()).filter(|name| !name.trim().is_empty());
        Self { watch: watch(evidence), author: author.map(str::to_owned), not_configured: not_configured(evidence) }
    }
}

/// Who is on call, by the evidence.
#[must_use]
pub fn watch(evidence: &[Evidence]) -> Watch {
    let Some(asked) = evidence.iter().find(|evidence| evidence.name == ON_CALL) else { return Watch::NotAsked };
    if asked.status == EvidenceStatus::Unknown {
        return if is_not_configured(asked) { Watch::NotConfigured } else { Watch::Unknown };
    }
    let mut known: Vec<OnCall> = Vec::new();
    for row in asked.rows.as_array().into_iter().flatten() {
        let text = |column: &str| row.get(column).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let Some(name) = text("name") else { continue };
        let level = row.get("level").and_then(Value::as_i64).unwrap_or(1);
        // One person may be on call for several policies: the first level counts.
        match known.iter_mut().find(|one| one.name == name) {
            Some(one) => one.level = one.level.min(level),
            None => known.push(OnCall { name: name.to_owned(), level, policy: text("policy").map(str::to_owned) }),
        }
    }
    known.sort_by(|a, b| (a.level, &a.name).cmp(&(b.level, &b.name)));
    Watch::Known(known)
}

/// Sources that were not asked because they are not set up, by name.
#[must_use]
pub fn not_configured(evidence: &[Evidence]) -> Vec<String> {
    let mut sources: Vec<String> =
        evidence.iter().filter(|item| is_not_configured(item)).flat_map(|item| item.sources.clone()).collect();
    sources.sort();
    sources.dedup();
    sources
}

fn is_not_configured(evidence: &Evidence) -> bool {
    evidence.status == EvidenceStatus::Unknown
        && evidence.error.as_deref().is_some_and(|why| why.starts_with(NOT_CONFIGURED))
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;

    use super::*;

    fn asked(status: EvidenceStatus, error: Option<&str>, rows: Value) -> Evidence {
        Evidence {
            name: ON_CALL.to_owned(),
            sources: vec!["pagerduty".to_owned()],
            sql: String::new(),
            params: json!({}),
            status,
            error: error.map(str::to_owned),
            rows,
            row_count: 0,
            truncated: false,
            fetched_at: Utc::now(),
        }
    }

    #[test]
    fn a_person_on_call_twice_is_named_once_at_their_first_level() {
        let rows = json!([
            {"name": "Bo", "level": 2, "policy": "web"}, {"name": "Ann", "level": 1, "policy": "web"},
            {"name": "Bo", "level": 1, "policy": "db"}, {"name": " ", "level": 1}, {"level": 1},
        ]);
        let Watch::Known(known) = watch(&[asked(EvidenceStatus::Ok, None, rows)]) else { panic!() };
        let named: Vec<_> = known.iter().map(|one| (one.name.as_str(), one.level)).collect();
        assert_eq!(named, [("Ann", 1), ("Bo", 1)]);
    }

    #[test]
    fn a_source_that_is_not_set_up_is_told_from_one_that_does_not_answer() {
        let missing = asked(EvidenceStatus::Unknown, Some("not configured: set PAGERDUTY_TOKEN"), json!([]));
        assert_eq!(watch(std::slice::from_ref(&missing)), Watch::NotConfigured);
        assert_eq!(not_configured(&[missing]), ["pagerduty"]);
        let down = asked(EvidenceStatus::Unknown, Some("pagerduty.oncalls: 503"), json!([]));
        assert_eq!(watch(std::slice::from_ref(&down)), Watch::Unknown);
        assert!(not_configured(&[down]).is_empty());
        assert_eq!(watch(&[]), Watch::NotAsked);
        assert_eq!(watch(&[asked(EvidenceStatus::Empty, None, json!([]))]), Watch::Known(Vec::new()));
    }
}
