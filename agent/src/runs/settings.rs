//! Settings of run detectors that are no single threshold.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tripline_store::Severity;

use crate::settings::{Settings, SettingsError};

/// Where a detector's confidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// A constant of the detector (seed 000).
    #[default]
    Static,
    /// From how far the run exceeds the limit; limits follow from earlier runs where they are known.
    Dynamic,
}

/// How runs are judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// Where confidence comes from.
    pub confidence: Confidence,
    /// With dynamic confidence: whether several signals in one run raise each other's.
    pub co_signals: bool,
    /// Detectors on trial, by name.
    pub shadow: BTreeSet<String>,
    /// Detectors of the installation's own that are no longer on trial, by name.
    pub live: BTreeSet<String>,
    /// Severity from which on Slack is told of an incident; webhooks are told everything.
    pub slack_min_severity: Severity,
    /// Thresholds of single agents, by agent.
    pub agents: BTreeMap<String, BTreeMap<String, Value>>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            confidence: Confidence::Static,
            co_signals: true,
            shadow: BTreeSet::new(),
            live: BTreeSet::new(),
            slack_min_severity: Severity::High,
            agents: BTreeMap::new(),
        }
    }
}

/// What the thresholds of run detectors begin with.
const DETECTORS: [&str; 13] = [
    "tool_loop_",
    "tool_thrashing_",
    "tool_avoidance_",
    "goal_abandonment_",
    "rag_empty_retrieval_",
    "llm_truncation_loop_",
    "context_bloat_",
    "slow_step_",
    "retry_storm_",
    "step_count_inflation_",
    "cascading_tool_failure_",
    "first_step_failure_",
    "reasoning_stall_",
];

impl RunSettings {
    /// Whether what a detector finds is kept and told to nobody.
    #[must_use]
    pub fn is_shadow(&self, detector: &str, is_own: bool) -> bool {
        self.shadow.contains(detector) || (is_own && !self.live.contains(detector))
    }

    /// Refuses thresholds of agents that do not exist, are no run detector's, or are out of range.
    pub(crate) fn check(&self, origin: &str) -> Result<(), SettingsError> {
        for (agent, thresholds) in &self.agents {
            for (key, value) in thresholds {
                let refuse = |allowed: String| SettingsError::Value {
                    origin: origin.to_owned(),
                    key: format!("runs.agents.{agent}.{key}"),
                    value: value.to_string(),
                    allowed,
                };
                let rule = Settings::THRESHOLDS.iter().find(|rule| rule.key == key);
                let Some(rule) = rule.filter(|rule| DETECTORS.iter().any(|prefix| rule.key.starts_with(prefix))) else {
                    let known = Settings::THRESHOLDS.iter().map(|rule| rule.key);
                    let known = known.filter(|key| DETECTORS.iter().any(|prefix| key.starts_with(prefix)));
                    return Err(refuse(format!("a threshold of a run detector: {}", known.collect::<Vec<_>>().join(", "))));
                };
                rule.check(value, origin).map_err(|_| refuse(rule.allowed()))?;
            }
        }
        Ok(())
    }
}

impl Settings {
    /// These settings as they hold for one agent.
    #[must_use]
    pub fn for_agent(&self, agent: &str) -> Settings {
        let Some(own) = self.runs.agents.get(agent).filter(|own| !own.is_empty()) else { return self.clone() };
        let Ok(Value::Object(mut whole)) = serde_json::to_value(self) else { return self.clone() };
        whole.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        // What was checked when it was read fits again.
        serde_json::from_value(Value::Object(whole)).unwrap_or_else(|_| self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_s_threshold_acts_for_that_agent_and_no_other() {
        let text = r#"{"runs": {"agents": {"a": {"tool_loop_threshold": 7, "rag_empty_retrieval_min_score": 0.5}}}}"#;
        let settings = Settings::from_json(text, "x").unwrap();
        let (a, b) = (settings.for_agent("a"), settings.for_agent("b"));
        assert_eq!((a.tool_loop_threshold, a.rag_empty_retrieval_min_score, a.tool_loop_window), (7, 0.5, 5));
        assert_eq!((b.tool_loop_threshold, b.rag_empty_retrieval_min_score), (3, 0.3));
    }

    #[test]
    fn a_threshold_that_is_none_of_a_run_detector_is_refused_with_its_place() {
        let refused = |text: &str| Settings::from_json(text, "settings.json").unwrap_err().to_string();
        let error = refused(r#"{"runs": {"agents": {"a": {"tool_lop_threshold": 7}}}}"#);
        assert!(error.contains("runs.agents.a.tool_lop_threshold") && error.contains("tool_loop_threshold"), "{error}");
        let error = refused(r#"{"runs": {"agents": {"a": {"cost_spike_multiplier": 7}}}}"#);
        assert!(error.contains("a threshold of a run detector"), "{error}");
        let error = refused(r#"{"runs": {"agents": {"a": {"tool_loop_threshold": 0}}}}"#);
        assert!(error.contains("runs.agents.a.tool_loop_threshold is 0") && error.contains("from 2 to 1000"), "{error}");
    }

    #[test]
    fn a_detector_of_one_s_own_is_on_trial_until_it_is_called_live() {
        let settings = Settings::from_json(r#"{"runs": {"live": ["mine"], "shadow": ["tool_loop"]}}"#, "x").unwrap();
        let runs = settings.runs;
        assert!(runs.is_shadow("other", true) && !runs.is_shadow("mine", true));
        assert!(runs.is_shadow("tool_loop", false) && !runs.is_shadow("slow_step", false));
    }
}
