//! Explanations of signals: what happened, why it matters, what to do.
//!
//! Owns: one text per failure type (`tools`, `model`, `run`), written from the evidence alone. Does not own: what is
//! found (detectors), who is told (alerts). Must hold: the same signal gives the same text, in far less than a
//! millisecond, without any model; every number comes from the evidence; evidence that lacks a field, and a type that
//! nobody wrote a text for, gives the general text, never an error.

mod evidence;
mod model;
mod run;
mod tools;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::{Map, Value};
use tripline_store::{RunSignal, Severity};

use evidence::Evidence;

/// The failure types whose detectors are bundled.
pub const BUNDLED: [&str; 15] = [
    "TOOL_LOOP",
    "TOOL_THRASHING",
    "TOOL_AVOIDANCE",
    "GOAL_ABANDONMENT",
    "PROMPT_INJECTION_SIGNAL",
    "RAG_EMPTY_RETRIEVAL",
    "LLM_TRUNCATION_LOOP",
    "CONTEXT_BLOAT",
    "SLOW_STEP",
    "RETRY_STORM",
    "EMPTY_LLM_RESPONSE",
    "STEP_COUNT_INFLATION",
    "CASCADING_TOOL_FAILURE",
    "FIRST_STEP_FAILURE",
    "REASONING_STALL",
];

/// A signal, as far as an explanation needs it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The failure type.
    pub failure_type: &'a str,
    /// How bad it is.
    pub severity: Severity,
    /// The run.
    pub run_id: &'a str,
    /// Its agent.
    pub agent_id: &'a str,
    /// The agent's version.
    pub agent_version: &'a str,
    /// 0 to 1.
    pub confidence: f64,
    /// The step it is about.
    pub step_index: i64,
    /// When it was found, seconds since 1970.
    pub detected_at: f64,
    /// What the detector saw.
    pub evidence: &'a Map<String, Value>,
}

/// Something to do about a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What it is for.
    pub description: String,
    /// `python`, `yaml` or `text`.
    pub language: &'static str,
    /// What to write where.
    pub code: String,
}

/// How often the failure was seen among the agent's runs of a week.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateContext {
    /// All judged runs of the agent.
    pub total_runs: i64,
    /// Those with the failure.
    pub affected_runs: i64,
    /// Their share, three digits.
    pub rate: f64,
    /// Whether it is one in ten or more.
    pub is_systemic: bool,
}

/// The share of runs from which on a failure is systemic.
const SYSTEMIC: f64 = 0.10;

impl RateContext {
    /// The context of some counts; `None` when no run was judged.
    #[must_use]
    pub fn new(total_runs: i64, affected_runs: i64) -> Option<Self> {
        if total_runs <= 0 {
            return None;
        }
        let share = affected_runs as f64 / total_runs as f64;
        let rate = format!("{share:.3}").parse().unwrap_or(share);
        Some(Self { total_runs, affected_runs, rate, is_systemic: rate >= SYSTEMIC })
    }

    /// One line about it, with `percent` of all runs.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { total_runs, affected_runs, .. } = self;
        let percent = format!("{:.0}%", self.rate * 100.0);
        if self.is_systemic {
            let runs = format!("{affected_runs}/{total_runs} runs affected");
            return format!("Systemic pattern — {runs} ({percent} of runs in the last 7 days)");
        }
        if *affected_runs == 1 {
            return "First occurrence of this pattern in the last 7 days".to_owned();
        }
        format!("{affected_runs}/{total_runs} runs affected ({percent}) in the last 7 days")
    }
}

/// What is said about a signal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The failure type.
    pub failure_type: String,
    /// How bad it is, in capitals.
    pub severity: String,
    /// The run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// 0 to 1.
    pub confidence: f64,
    /// One line.
    pub title: String,
    /// What happened.
    pub what: String,
    /// Why it matters.
    pub why_it_matters: String,
    /// What was seen, with the confidence at its end.
    pub evidence_summary: String,
    /// What to do, best first.
    pub suggested_fixes: Vec<Fix>,
    /// The step it is about.
    pub step_index: i64,
    /// When it was found, seconds since 1970.
    pub detected_at: f64,
    /// What the detector saw.
    pub evidence: Map<String, Value>,
    /// How often it was seen in the last week, where that is known.
    pub rate_context: Option<RateContext>,
}

/// What the texts of a failure type say.
struct Words {
    title: String,
    what: String,
    why: String,
    seen: String,
    fixes: Vec<Fix>,
}

fn fix(language: &'static str, description: impl Into<String>, code: impl Into<String>) -> Fix {
    Fix { description: description.into(), language, code: code.into() }
}

/// A confidence as people read it: whole percent, never rounded up. The tiny addition keeps 0.29 from being 28 %.
#[must_use]
pub fn percent(confidence: f64) -> String {
    format!("{}%", (confidence * 100.0 + 1e-9).floor() as i64)
}

/// `TOOL_LOOP` as the capitals of the original.
#[must_use]
pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

/// Explains a signal.
#[must_use]
pub fn explain(subject: &Subject<'_>, rate_context: Option<RateContext>) -> Explanation {
    let words = words(subject).unwrap_or_else(|| general(subject));
    Explanation {
        failure_type: subject.failure_type.to_owned(),
        severity: severity_name(subject.severity).to_owned(),
        run_id: subject.run_id.to_owned(),
        agent_id: subject.agent_id.to_owned(),
        agent_version: subject.agent_version.to_owned(),
        confidence: subject.confidence,
        title: words.title,
        what: words.what,
        why_it_matters: words.why,
        evidence_summary: format!("{} Confidence {}", words.seen, percent(subject.confidence)),
        suggested_fixes: words.fixes,
        step_index: subject.step_index,
        detected_at: subject.detected_at,
        evidence: subject.evidence.clone(),
        rate_context,
    }
}

/// The text of a failure type; `None` when there is none, or the evidence lacks what it tells.
fn words(subject: &Subject<'_>) -> Option<Words> {
    let evidence = Evidence(subject.evidence);
    match subject.failure_type {
        "TOOL_LOOP" => tools::tool_loop(&evidence),
        "TOOL_THRASHING" => tools::tool_thrashing(&evidence),
        "TOOL_AVOIDANCE" => tools::tool_avoidance(&evidence),
        "RETRY_STORM" => tools::retry_storm(&evidence),
        "CASCADING_TOOL_FAILURE" => tools::cascading(&evidence),
        "RAG_EMPTY_RETRIEVAL" => tools::empty_retrieval(&evidence),
        "LLM_TRUNCATION_LOOP" => model::truncation(&evidence),
        "CONTEXT_BLOAT" => model::context_bloat(&evidence),
        "EMPTY_LLM_RESPONSE" => model::empty_response(&evidence),
        "REASONING_STALL" => model::reasoning_stall(&evidence),
        "PROMPT_INJECTION_SIGNAL" => model::injection(&evidence),
        "GOAL_ABANDONMENT" => run::goal_abandonment(&evidence),
        "SLOW_STEP" => run::slow_step(&evidence),
        "STEP_COUNT_INFLATION" => run::step_inflation(&evidence),
        "FIRST_STEP_FAILURE" => run::first_step(&evidence),
        _ => None,
    }
}

/// `MY_RULE` as "My Rule".
fn title_case(kind: &str) -> String {
    let words = kind.split('_').filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        letters.next().map_or_else(String::new, |first| {
            first.to_uppercase().chain(letters.flat_map(char::to_lowercase)).collect()
        })
    });
    words.collect::<Vec<String>>().join(" ")
}

fn general(subject: &Subject<'_>) -> Words {
    let evidence: Vec<String> =
        subject.evidence.iter().map(|(key, value)| format!("{key} = {}", evidence::text(value))).collect();
    let seen =
        if evidence.is_empty() { "No further evidence.".to_owned() } else { format!("{}.", evidence.join(", ")) };
    let name = title_case(subject.failure_type);
    Words {
        title: format!("{name} detected"),
        what: format!(
            "The run of agent {} matched the detector for {name} at step {}.",
            subject.agent_id, subject.step_index
        ),
        why: "A run that matches this rule is one that the people who wrote the rule want to see.".to_owned(),
        seen,
        fixes: vec![fix(
            "text",
            "Look at the run's events",
            format!("Open run {} and read its events around step {}.", subject.run_id, subject.step_index),
        )],
    }
}

/// Explains a kept signal.
#[must_use]
pub fn explain_signal(signal: &RunSignal, rate_context: Option<RateContext>) -> Explanation {
    let empty = Map::new();
    let subject = Subject {
        failure_type: &signal.failure_type,
        severity: signal.severity,
        run_id: &signal.run_id,
        agent_id: &signal.agent_id,
        agent_version: &signal.agent_version,
        confidence: signal.confidence,
        step_index: signal.step_index,
        detected_at: signal.detected_at.timestamp_micros() as f64 / 1e6,
        evidence: signal.evidence.as_object().unwrap_or(&empty),
    };
    explain(&subject, rate_context)
}
