//! How agents fared in a week: the second section of the Monday post.
//!
//! Owns: the words. Does not own: the figures (the store's, of all judged runs; signals in shadow are left out), nor when it is
//! told (`digest`). Must hold: names that agents gave themselves are inert.

use std::fmt::Write as _;

use async_trait::async_trait;
use serde_json::{Value, json};
use tripline_store::{HealthDigest, Scope, Store, Window};

use crate::digest::HealthSection;
use crate::messages::Content;
use crate::messages::text::slack_inline;

/// From here on a failure is systemic for an agent.
const SYSTEMIC: f64 = 0.10;
/// Systemic failures that are named at most.
const NAMED: usize = 10;
/// Longest name.
const NAME: usize = 80;

/// The health of agents, from the store.
#[derive(Clone)]
pub struct AgentHealth {
    store: Store,
}

impl AgentHealth {
    /// Over the runs of `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

#[async_trait]
impl HealthSection for AgentHealth {
    async fn section(&self, scope: &Scope, week: Window) -> Result<Option<Content>, String> {
        let health = self.store.reports.health_digest(scope, week).await.map_err(|error| error.to_string())?;
        Ok((health.runs > 0).then(|| content(&health)))
    }
}

fn share(affected: i64, runs: i64) -> f64 {
    if runs > 0 { affected as f64 / runs as f64 } else { 0.0 }
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

/// The section, as Slack shows it.
#[must_use]
pub fn content(health: &HealthDigest) -> Content {
    let totals = format!(
        "*Agents' health* · {} runs of {} agents, {} signals · issues: {} opened, {} resolved",
        health.runs, health.agents, health.signals, health.issues_opened, health.issues_resolved
    );
    let mut blocks = vec![section(&totals)];
    let mut failures = String::new();
    for failure in &health.top_failures {
        let rate = failure.rate;
        let percent = 100.0 * share(rate.affected_runs, rate.total_runs);
        let name = slack_inline(&failure.failure_type, NAME);
        let _ = writeln!(failures, "• {name}: {} runs ({percent:.1} %)", rate.affected_runs);
    }
    if failures.is_empty() {
        failures.push_str("No failures detected this week.");
    }
    blocks.push(section(failures.trim_end()));
    let agents: Vec<String> = health
        .top_agents
        .iter()
        .map(|(agent, signals, runs, most)| {
            let (agent, most) = (slack_inline(agent, NAME), slack_inline(most, NAME));
            format!("• {agent}: {signals} signals in {runs} runs, mostly {most}")
        })
        .collect();
    if !agents.is_empty() {
        blocks.push(section(&format!("*Most signals*\n{}", agents.join("\n"))));
    }
    let systemic: Vec<String> = health
        .rates
        .iter()
        .filter(|(_, of_type)| share(of_type.rate.affected_runs, of_type.rate.total_runs) >= SYSTEMIC)
        .take(NAMED)
        .map(|(agent, of_type)| {
            let rate = of_type.rate;
            let percent = 100.0 * share(rate.affected_runs, rate.total_runs);
            let (agent, kind) = (slack_inline(agent, NAME), slack_inline(&of_type.failure_type, NAME));
            format!("• {agent}: {kind} in {percent:.0} % ({} of {} runs)", rate.affected_runs, rate.total_runs)
        })
        .collect();
    if !systemic.is_empty() {
        blocks.push(section(&format!("*Systemic* (in at least one run of ten)\n{}", systemic.join("\n"))));
    }
    Content { text: totals, blocks: Some(Value::Array(blocks)) }
}

#[cfg(test)]
mod tests {
    use tripline_store::{FailureRate, TypeRate};

    use super::*;

    fn of(kind: &str, affected_runs: i64, total_runs: i64) -> TypeRate {
        let rate = FailureRate { total_runs, affected_runs };
        TypeRate { failure_type: kind.to_owned(), day: None, rate, seen: None }
    }

    #[test]
    fn a_week_is_told_in_figures_and_names_stay_inert() {
        let health = HealthDigest {
            runs: 200,
            agents: 2,
            signals: 31,
            top_failures: vec![of("TOOL_LOOP", 30, 200), of("SLOW_STEP", 1, 200)],
            top_agents: vec![("<!channel> *bold*".to_owned(), 30, 100, "TOOL_LOOP".to_owned())],
            rates: vec![("a".to_owned(), of("TOOL_LOOP", 30, 100)), ("b".to_owned(), of("SLOW_STEP", 1, 100))],
            issues_opened: 3,
            issues_resolved: 2,
        };
        let text = content(&health).blocks.unwrap().to_string();
        for said in [
            "200 runs of 2 agents, 31 signals",
            "3 opened, 2 resolved",
            "TOOL_LOOP: 30 runs (15.0 %)",
            "a: TOOL_LOOP in 30 % (30 of 100 runs)",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
        assert!(!text.contains("b: SLOW_STEP in"), "one run in a hundred is not systemic: {text}");
        assert!(!text.contains("<!channel>"), "{text}");
    }

    #[test]
    fn a_week_without_failures_says_so() {
        let health = HealthDigest { runs: 5, agents: 1, ..HealthDigest::default() };
        assert!(content(&health).blocks.unwrap().to_string().contains("No failures detected this week."));
    }
}
