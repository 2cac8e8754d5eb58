//! Policy: what is recorded, asked, or done without asking.
//!
//! Owns the rules and the pure decision over one finding. Does not own the rate limit on acting, approvals or any
//! effect ([`super::Gate`]).
//!
//! Must hold: a rule that kills never matches a finding without an attributed trace ("Settled questions, exactly once,
//! honestly"); a condition over a figure that the finding does not have is false, so that missing data asks rather
//! than acts; no rule means record.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;
use tripline_store::{NewAnomaly, Severity};

use crate::actions::Remediation;
use crate::loops::Reach;

/// What policy says of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyDecision {
    /// Write it down; nobody is asked.
    Record,
    /// Ask an approver.
    Ask,
    /// Do it and say so.
    Act,
}

/// One rule. It matches when type, severity and condition all do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// The incident type; every type when absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub incident_type: Option<String>,
    /// The least severity; every severity when absent.
    #[serde(default = "any_severity")]
    pub min_severity: Severity,
    /// A condition over a figure of the finding, such as `generations > 20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// What would be done.
    pub action: Remediation,
    /// Whether it is recorded, asked or done.
    pub decision: PolicyDecision,
}

fn any_severity() -> Severity {
    Severity::Info
}

/// A comparison of one figure of a finding with a number.
///
/// Figures are the numeric columns of the detector's row, and `cost_usd`. `generations` is also found as
/// `generation_count` and `gen_count`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    figure: String,
    comparison: Comparison,
    value: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

impl Comparison {
    /// Longer signs first, so that `>=` is not read as `>`.
    const ALL: [(&'static str, Self); 5] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), (">", Self::Above), ("<", Self::Below), ("=", Self::Equal)];

    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Above => left > right,
            Self::AtLeast => left >= right,
            Self::Below => left < right,
            Self::AtMost => left <= right,
            #[allow(clippy::float_cmp, reason = "a person wrote '=', and counts are whole")]
            Self::Equal => left == right,
        }
    }
}

impl Condition {
    /// Whether it holds for a finding. A figure that is missing or no number: it does not.
    #[must_use]
    pub fn holds(&self, finding: &NewAnomaly) -> bool {
        figure(finding, &self.figure).is_some_and(|value| self.comparison.holds(value, self.value))
    }
}

/// A figure of a finding by name.
fn figure(finding: &NewAnomaly, name: &str) -> Option<f64> {
    let column = |name: &str| finding.evidence.get(name).and_then(Value::as_f64);
    match name {
        "generations" => ["generations", "generation_count", "gen_count"].into_iter().find_map(column),
        "cost_usd" => finding.cost_usd.or_else(|| column(name)),
        _ => column(name),
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || {
            format!(
                "'{text}' is no condition; write a figure, one of > >= < <= = and a number, as in 'generations > 20'"
            )
        };
        let (sign, comparison) = Comparison::ALL.into_iter().find(|(sign, _)| text.contains(sign)).ok_or_else(shape)?;
        let (name, value) = text.split_once(sign).ok_or_else(shape)?;
        let name = name.trim();
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let value: f64 = value.trim().parse().map_err(|_| shape())?;
        if !is_name || !value.is_finite() {
            return Err(shape());
        }
        Ok(Self { figure: name.to_owned(), comparison, value })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = Comparison::ALL.iter().find(|(_, c)| *c == self.comparison).map_or("", |(sign, _)| *sign);
        write!(f, "{} {sign} {}", self.figure, self.value)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The rules of a fresh installation (`docs/governance.md`).
#[must_use]
pub fn default_policy() -> Vec<PolicyRule> {
    let rule = |kind: &str, when: Option<Condition>, action, decision| PolicyRule {
        incident_type: Some(kind.to_owned()),
        min_severity: Severity::Medium,
        when,
        action,
        decision,
    };
    let many = Condition { figure: "generations".to_owned(), comparison: Comparison::Above, value: 20.0 };
    let mut rules = vec![
        rule("agent_loop", Some(many), Remediation::KillLoop, PolicyDecision::Act),
        rule("agent_loop", None, Remediation::KillLoop, PolicyDecision::Ask),
    ];
    // The last one of these is for a loop whose trace is not known: there is nothing to stop, somebody must look.
    for kind in ["cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure", "agent_loop"] {
        rules.push(rule(kind, None, Remediation::OpenGithubIssue, PolicyDecision::Ask));
    }
    rules.push(rule("pr_risk", None, Remediation::RequestChanges, PolicyDecision::Ask));
    rules.push(PolicyRule {
        incident_type: None,
        min_severity: Severity::Info,
        when: None,
        action: Remediation::Record,
        decision: PolicyDecision::Record,
    });
    rules
}

/// What policy says of one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Record, ask or act.
    pub decision: PolicyDecision,
    /// What.
    pub action: Remediation,
    /// The index of the rule that said so; `None` when no rule matched.
    pub rule: Option<usize>,
}

/// Decides about a finding of a given severity (the incident's, which only rises).
#[must_use]
pub fn decide(rules: &[PolicyRule], severity: Severity, finding: &NewAnomaly) -> Verdict {
    let matches = |rule: &PolicyRule| {
        rule.incident_type.as_deref().is_none_or(|kind| kind == finding.kind)
            && severity >= rule.min_severity
            && rule.when.as_ref().is_none_or(|condition| condition.holds(finding))
            && (rule.action != Remediation::KillLoop || attributed_trace(finding).is_some())
            && (rule.action != Remediation::RequestChanges || pull_request(finding).is_some())
    };
    match rules.iter().enumerate().find(|(_, rule)| matches(rule)) {
        Some((index, rule)) => Verdict { decision: rule.decision, action: rule.action, rule: Some(index) },
        None => Verdict { decision: PolicyDecision::Record, action: Remediation::Record, rule: None },
    }
}

/// The pull request a finding is about, where it is about one: repository, number, and what a review would say.
#[must_use]
pub fn pull_request(finding: &NewAnomaly) -> Option<(&str, u64, &str)> {
    let text = |name: &str| finding.evidence.get(name).and_then(Value::as_str);
    Some((text("repository")?, finding.evidence.get("pull_number")?.as_u64()?, text("review_body")?))
}

/// The trace a finding is about, where it is about one that may still run: the detector's `trace_id`, or the entity of a loop.
/// `None` where its runs are known here and have all ended: nobody is left to stop.
#[must_use]
pub fn attributed_trace(finding: &NewAnomaly) -> Option<&str> {
    if Reach::of(&finding.evidence) == Reach::Ended {
        return None;
    }
    let column = finding.evidence.get("trace_id").and_then(Value::as_str);
    let entity = (finding.kind == "agent_loop").then_some(finding.entity.as_str());
    column.or(entity).map(str::trim).filter(|id| tripline_store::KillTarget::new(id).is_ok())
}

#[cfg(test)]
mod tests;
