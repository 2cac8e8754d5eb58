//! How agents fared in a week: the second section of the Monday post.
//!
//! Owns: the words. Does not own: the figures (the store's, of all judged runs; signals in shadow are left out), nor when it is
//! told (`digest`). Must hold: names that agents gave themselves are inert.

use std::fmt::Write as _;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tripline_store::{HealthDigest, Project, Scope, Store, Window};

use crate::digest::HealthSection;
use crate::messages::Content;
use crate::messages::text::slack_inline;

/// From here on a failure is systemic for an agent.
const SYSTEMIC: f64 = 0.10;
/// Systemic failures that are named at most.
const NAMED: usize = 10;
/// Further projects whose agents are told of in the post at most; the webhook is told of all.
const PROJECTS: usize = 4;
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
        let mut told = Vec::new();
        for (project, health) in self.of_projects(week).await? {
            let of_home = project.id == *scope.project_id();
            told.push((!of_home, std::cmp::Reverse(health.runs), project, health));
        }
        // Ours first, then those with the most runs.
        told.sort_by(|a, b| (a.0, a.1, &a.2.id).cmp(&(b.0, b.1, &b.2.id)));
        let mut blocks = Vec::new();
        let mut text = String::new();
        for (is_further, _, project, health) in told.iter().take(1 + PROJECTS) {
            let section_of = content(health);
            if *is_further {
                blocks.push(section(&format!("*Project {}*", slack_inline(&project.name, NAME))));
            }
            if text.is_empty() {
                text.clone_from(&section_of.text);
            }
            match section_of.blocks {
                Some(Value::Array(own)) => blocks.extend(own),
                _ => blocks.push(section(&section_of.text)),
            }
        }
        if told.len() > 1 + PROJECTS {
            blocks.push(section(&format!("… and {} more projects", told.len() - 1 - PROJECTS)));
        }
        Ok((!told.is_empty()).then_some(Content { text, blocks: Some(Value::Array(blocks)) }))
    }

    async fn reports(&self, week: Window) -> Result<Vec<(String, Map<String, Value>)>, String> {
        let told = self.of_projects(week).await?;
        Ok(told.into_iter().map(|(project, health)| (project.id.to_string(), report(&project, &health))).collect())
    }
}

impl AgentHealth {
    /// The projects with judged runs in a week.
    async fn of_projects(&self, week: Window) -> Result<Vec<(Project, HealthDigest)>, String> {
        let mut told = Vec::new();
        for project in self.store.projects.list().await.map_err(|error| error.to_string())? {
            let scope = Scope::project(project.id.clone());
            let health = self.store.reports.health_digest(&scope, week).await.map_err(|error| error.to_string())?;
            if health.runs > 0 {
                told.push((project, health));
            }
        }
        Ok(told)
    }
}

/// What the webhook is told of a project.
fn report(project: &Project, health: &HealthDigest) -> Map<String, Value> {
    let rate = |affected: i64, runs: i64| {
        let share = share(affected, runs);
        format!("{share:.3}").parse::<f64>().unwrap_or(share)
    };
    let failures = health.top_failures.iter().map(|failure| {
        let of = failure.rate;
        json!({"failure_type": failure.failure_type, "affected_runs": of.affected_runs, "total_runs": of.total_runs,
            "rate": rate(of.affected_runs, of.total_runs)})
    });
    let agents = health.top_agents.iter().map(|(agent, signals, runs, most)| {
        json!({"agent_id": agent, "signal_count": signals, "run_count": runs, "dominant_failure": most})
    });
    let systemic = health.rates.iter().filter_map(|(agent, of_type)| {
        let of = of_type.rate;
        (share(of.affected_runs, of.total_runs) >= SYSTEMIC).then(|| {
            json!({"agent_id": agent, "failure_type": of_type.failure_type, "affected_runs": of.affected_runs,
                "total_runs": of.total_runs, "rate": rate(of.affected_runs, of.total_runs)})
        })
    });
    let whole = json!({
        "project_name": project.name, "total_runs": health.runs, "total_agents": health.agents,
        "total_signals": health.signals, "top_failures": failures.collect::<Vec<_>>(),
        "top_agents": agents.collect::<Vec<_>>(), "systemic_patterns": systemic.take(NAMED).collect::<Vec<_>>(),
        "issues_opened": health.issues_opened, "issues_resolved": health.issues_resolved,
    });
    match whole {
        Value::Object(whole) => whole,
        _ => Map::new(),
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
