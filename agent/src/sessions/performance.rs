//! What each agent did in a session, in figures.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use tripline_store::sessions::{
    AgentPerformance, CorrelationType, EventCorrelation, EventFact, SessionEventType, SessionId, SourceType, derived_id,
};

use super::paths::files_of;
use super::rules::{METRICS_VERSION, SessionRules};

#[derive(Default)]
struct Tally<'a> {
    actions: i64,
    induced: HashSet<&'a str>,
    overridden: HashSet<&'a str>,
    last_arrival: Option<DateTime<Utc>>,
}

/// The figures of every agent that is the source of an event, by name. `events` are in the order of `(client_timestamp, seq)`.
#[must_use]
pub fn performance_of_session(
    session: &SessionId,
    events: &[EventFact],
    correlations: &[EventCorrelation],
    rules: &SessionRules,
) -> Vec<AgentPerformance> {
    let mut tallies: BTreeMap<&str, Tally<'_>> = BTreeMap::new();
    let mut author_of: HashMap<&str, &str> = HashMap::new();
    // The last action of an agent on each file.
    let mut touched: HashMap<String, &EventFact> = HashMap::new();
    for event in events {
        if event.source_type == SourceType::Agent {
            let Some(agent) = event.source_name.as_deref() else { continue };
            let tally = tallies.entry(agent).or_default();
            tally.last_arrival = tally.last_arrival.max(Some(event.server_timestamp));
            if event.is_agent_action() {
                tally.actions += 1;
                author_of.insert(event.id.as_str(), agent);
                for file in files_of(event) {
                    touched.insert(file, event);
                }
            }
        } else if event.source_type == SourceType::Human && event.event_type == SessionEventType::FileEdit {
            for action in files_of(event).iter().filter_map(|file| touched.get(file)) {
                let in_time = event.client_timestamp - action.client_timestamp <= rules.override_window;
                if let Some(agent) = author_of.get(action.id.as_str()).filter(|_| in_time) {
                    tallies.entry(agent).or_default().overridden.insert(action.id.as_str());
                }
            }
        }
    }
    for correlation in correlations {
        if correlation.correlation_type == CorrelationType::AgentActionError
            && let Some(agent) = author_of.get(correlation.cause_event_id.as_str())
        {
            tallies.entry(agent).or_default().induced.insert(correlation.effect_event_id.as_str());
        }
    }
    tallies.into_iter().filter_map(|(agent, tally)| figures(session, agent, &tally, rules)).collect()
}

fn figures(session: &SessionId, agent: &str, tally: &Tally<'_>, rules: &SessionRules) -> Option<AgentPerformance> {
    let count = |set: &HashSet<&str>| i64::try_from(set.len()).unwrap_or(i64::MAX);
    let (total, induced, overridden) = (tally.actions, count(&tally.induced), count(&tally.overridden));
    let rate = |part: i64| (total > 0).then(|| part as f64 / total as f64);
    let success_rate = rate(total - induced).map(|rate| rate.clamp(0.0, 1.0));
    let is_low = success_rate.is_some_and(|rate| rate < rules.low_success_rate);
    Some(AgentPerformance {
        id: derived_id("agent_performance", &[session.as_str(), agent, METRICS_VERSION]),
        agent_id: agent.to_owned(),
        session_id: session.clone(),
        total_actions: total,
        successful_actions: (total - induced).max(0),
        induced_error_count: induced,
        override_count: overridden,
        success_rate,
        induced_error_rate: rate(induced),
        override_rate: rate(overridden),
        metrics_version: METRICS_VERSION.to_owned(),
        regression_flags: is_low.then(|| "low_success_rate".to_owned()).into_iter().collect(),
        created_at: tally.last_arrival?,
    })
}
