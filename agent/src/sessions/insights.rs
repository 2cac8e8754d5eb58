//! What somebody should know of a session: dense errors, agents that errors follow, cycles of breaking and mending.
//!
//! Must hold: each insight has its evidence in its payload, its key tells it from the others of the session, and its time is the
//! arrival of the newest event it rests on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use tripline_store::sessions::{
    AnalysisMode, CorrelationType, EventCorrelation, EventFact, Insight, InsightCategory, InsightSeverity, SessionId,
    derived_id,
};

use super::paths::files_of;
use super::rules::{MODEL, PROVIDER, SessionRules};
use super::summary::error_density;

/// Pieces of evidence that a payload lists at most.
const LISTED: usize = 20;
/// Files with a cycle of their own that are told at most.
const MAX_FILES: usize = 10;

/// What is looked at: events in the order of `(client_timestamp, seq)`, and the correlations of a session.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// How thoroughly.
    pub mode: AnalysisMode,
    /// The events: the newest of a light look, all of a deep one.
    pub events: &'a [EventFact],
    /// The correlations of the session.
    pub correlations: &'a [EventCorrelation],
    /// The figures to go by.
    pub rules: &'a SessionRules,
}

/// All insights of a context, by key.
#[must_use]
pub fn detect_insights(context: &Context<'_>) -> Vec<Insight> {
    let mut insights: Vec<Insight> = high_error_density(context).into_iter().collect();
    insights.extend(agent_induced_errors(context));
    insights.extend(break_fix_loops(context));
    insights.sort_by(|a, b| a.insight_key.cmp(&b.insight_key));
    insights
}

/// What differs from insight to insight.
struct Draft {
    category: InsightCategory,
    discriminator: Option<String>,
    agent_id: Option<String>,
    severity: InsightSeverity,
    title: &'static str,
    message: String,
    evidence: Value,
    created_at: DateTime<Utc>,
}

impl Draft {
    fn insight(self, context: &Context<'_>) -> Insight {
        let parts = [Some(self.category.as_str()), self.discriminator.as_deref()];
        let insight_key = parts.into_iter().flatten().collect::<Vec<_>>().join(":");
        let mut payload = match self.evidence {
            Value::Object(fields) => fields,
            other => Map::from_iter([("evidence".to_owned(), other)]),
        };
        payload.insert("provider".to_owned(), PROVIDER.into());
        payload.insert("model".to_owned(), MODEL.into());
        payload.insert("mode".to_owned(), context.mode.as_str().into());
        Insight {
            id: derived_id("insights", &[context.session.as_str(), &insight_key]),
            session_id: context.session.clone(),
            agent_id: self.agent_id,
            severity: self.severity,
            category: self.category,
            title: self.title.to_owned(),
            message: self.message,
            payload: Value::Object(payload),
            insight_key,
            created_at: self.created_at,
        }
    }
}

/// A figure as it is shown and stored: four decimals read back as they were written.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}

fn high_error_density(context: &Context<'_>) -> Option<Insight> {
    let (events, rules) = (context.events, context.rules);
    let density = error_density(events);
    if events.len() < rules.dense_min_events || density <= rules.dense {
        return None;
    }
    let errors: Vec<&EventFact> = events.iter().filter(|event| event.is_error()).collect();
    let draft = Draft {
        category: InsightCategory::HighErrorDensity,
        discriminator: None,
        agent_id: None,
        severity: if density > rules.very_dense { InsightSeverity::High } else { InsightSeverity::Medium },
        title: "High error density",
        message: format!(
            "{} of {} events are errors: {:.1} per 100, above {}.",
            errors.len(),
            events.len(),
            density,
            rules.dense
        ),
        evidence: json!({
            "error_density": rounded(density),
            "threshold": rules.dense,
            "errors": errors.len(),
            "events": events.len(),
            "event_ids": errors.iter().rev().take(LISTED).map(|event| event.id.as_str()).collect::<Vec<_>>(),
        }),
        created_at: errors.iter().map(|event| event.server_timestamp).max()?,
    };
    Some(draft.insight(context))
}

fn agent_induced_errors(context: &Context<'_>) -> Vec<Insight> {
    let events: HashMap<&str, &EventFact> = context.events.iter().map(|event| (event.id.as_str(), event)).collect();
    let mut by_agent: BTreeMap<&str, Vec<(&EventCorrelation, &EventFact)>> = BTreeMap::new();
    let of_agents =
        context.correlations.iter().filter(|found| found.correlation_type == CorrelationType::AgentActionError);
    for correlation in of_agents {
        // Of a light look the cause may be older than the events that are looked at.
        let agent = correlation.metadata["source_name"].as_str();
        if let (Some(agent), Some(effect)) = (agent, events.get(correlation.effect_event_id.as_str())) {
            by_agent.entry(agent).or_default().push((correlation, effect));
        }
    }
    by_agent.into_iter().filter_map(|(agent, pairs)| agent_induced_error(context, agent, pairs)).collect()
}

fn agent_induced_error(
    context: &Context<'_>,
    agent: &str,
    mut pairs: Vec<(&EventCorrelation, &EventFact)>,
) -> Option<Insight> {
    pairs.sort_by_key(|(_, effect)| std::cmp::Reverse((effect.client_timestamp, effect.seq)));
    let surest = pairs.iter().map(|(pair, _)| pair.confidence).fold(0.0, f64::max);
    let (newest, effect) = pairs.first()?;
    let file = newest.metadata["file"].as_str();
    let place = file.map(|file| format!(" in {file}")).unwrap_or_default();
    let shown = pairs.iter().take(LISTED).map(|(pair, _)| {
        json!({
            "cause_event_id": pair.cause_event_id,
            "effect_event_id": pair.effect_event_id,
            "confidence": pair.confidence,
            "time_delta_ms": pair.time_delta_ms,
            "file": pair.metadata["file"],
        })
    });
    let draft = Draft {
        category: InsightCategory::AgentInducedError,
        discriminator: Some(agent.to_owned()),
        agent_id: Some(agent.to_owned()),
        severity: if surest >= 0.7 { InsightSeverity::Medium } else { InsightSeverity::Low },
        title: "Agent likely caused recent error",
        message: format!(
            "{} followed an action of {agent}; the newest{place} after {} ms.",
            counted(pairs.len(), "error"),
            newest.time_delta_ms
        ),
        evidence: json!({
            "agent": agent,
            "errors": pairs.len(),
            "max_confidence": surest,
            "cause_event_id": newest.cause_event_id,
            "effect_event_id": effect.id,
            "file": file,
            "pairs": shown.collect::<Vec<_>>(),
        }),
        created_at: pairs.iter().map(|(pair, _)| pair.created_at).max()?,
    };
    Some(draft.insight(context))
}

/// Actions of agents and the failure after each, on one file or in the whole session.
#[derive(Default)]
struct Cycle<'a> {
    /// The newest action that no failure has followed yet.
    action: Option<&'a EventFact>,
    breaks: Vec<(&'a EventFact, &'a EventFact)>,
}

impl<'a> Cycle<'a> {
    fn fail(&mut self, failure: &'a EventFact) {
        if let Some(action) = self.action.take() {
            self.breaks.push((action, failure));
        }
    }
}

fn break_fix_loops(context: &Context<'_>) -> Vec<Insight> {
    let mut whole = Cycle::default();
    let mut on_file: BTreeMap<String, Cycle<'_>> = BTreeMap::new();
    for event in context.events {
        if event.is_agent_action() {
            whole.action = Some(event);
            for file in files_of(event) {
                on_file.entry(file).or_default().action = Some(event);
            }
        } else if event.is_error() {
            whole.fail(event);
            for file in files_of(event) {
                if let Some(cycle) = on_file.get_mut(&file) {
                    cycle.fail(event);
                }
            }
        }
    }
    let enough = |cycle: &Cycle<'_>| cycle.breaks.len() >= context.rules.break_fix_cycles;
    let mut found: Vec<(String, Cycle<'_>)> = on_file.into_iter().filter(|(_, cycle)| enough(cycle)).collect();
    found.sort_by(|a, b| b.1.breaks.len().cmp(&a.1.breaks.len()).then_with(|| a.0.cmp(&b.0)));
    found.truncate(MAX_FILES);
    if found.is_empty() {
        // No single file: the cycle is the session's.
        let of_session = Some(whole).filter(|cycle| enough(cycle));
        return of_session.and_then(|cycle| break_fix_loop(context, None, &cycle)).into_iter().collect();
    }
    found.iter().filter_map(|(file, cycle)| break_fix_loop(context, Some(file), cycle)).collect()
}

fn break_fix_loop(context: &Context<'_>, file: Option<&str>, cycle: &Cycle<'_>) -> Option<Insight> {
    let agents: BTreeSet<&str> = cycle.breaks.iter().filter_map(|(action, _)| action.source_name.as_deref()).collect();
    let only = Some(&agents).filter(|agents| agents.len() == 1).and_then(|agents| agents.first());
    let place = file.map_or_else(|| "in the session".to_owned(), |file| format!("on {file}"));
    let shown = cycle.breaks.iter().rev().take(LISTED);
    let draft = Draft {
        category: InsightCategory::BreakFixLoop,
        discriminator: Some(file.map_or_else(|| "session".to_owned(), |file| format!("file:{file}"))),
        agent_id: only.map(|agent| (*agent).to_owned()),
        severity: InsightSeverity::High,
        title: "Repeated break-fix cycle detected",
        message: format!("{} times a failure followed an action of an agent {place}.", cycle.breaks.len()),
        evidence: json!({
            "file": file,
            "cycles": cycle.breaks.len(),
            "agents": agents,
            "breaks": shown.map(|(action, failure)| json!({"action": action.id, "failure": failure.id})).collect::<Vec<_>>(),
        }),
        created_at: cycle.breaks.iter().map(|(a, f)| a.server_timestamp.max(f.server_timestamp)).max()?,
    };
    Some(draft.insight(context))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
