//! The sampler: which traces are worth looking at.
//!
//! Owns: the scores, the policy, and the decision about a window of traces ([`judge`], a pure function). Must hold: a trace is
//! novel by tools that no other trace used before, whichever run sees it, so judging a window again decides the same; the
//! average it is compared with is of traces, not of hours (D11 of the reference).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{SampledTrace, SeenPattern};

/// What a trace is scored by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceFacts {
    /// The trace.
    pub trace_id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Its generations.
    pub generation_count: i64,
    /// What they cost, US dollars.
    pub cost_usd: f64,
    /// An observation has level ERROR or WARNING.
    pub has_error: bool,
    /// An output fits its feature's schema no longer.
    pub schema_failed: bool,
    /// Names of the tools it used, in any order.
    pub tools: Vec<String>,
}

/// The scores, and from which sum on a trace is kept. Each 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingPolicy {
    /// An observation has level ERROR or WARNING.
    pub has_error_score: i64,
    /// It cost more than twice the average trace.
    pub cost_spike_score: i64,
    /// An output fits its schema no longer.
    pub schema_failed_score: i64,
    /// It used tools that no earlier trace used together.
    pub novel_pattern_score: i64,
    /// It has more than 5 generations.
    pub high_gen_score: i64,
    /// Kept from this sum on.
    pub keep_threshold: i64,
}

impl Default for SamplingPolicy {
    fn default() -> Self {
        Self {
            has_error_score: 100,
            cost_spike_score: 80,
            schema_failed_score: 70,
            novel_pattern_score: 60,
            high_gen_score: 40,
            keep_threshold: 40,
        }
    }
}

/// More than so many times the average is a spike.
const SPIKE: f64 = 2.0;
/// More generations than this are many.
const MANY_GENERATIONS: i64 = 5;

/// What became of a window's traces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// All of them.
    pub total: usize,
    /// Those worth looking at, with why, the best score first.
    pub kept: Vec<SampledTrace>,
    /// How many were kept for each reason; a trace may have several.
    pub keep_reasons: BTreeMap<String, i64>,
    /// Sets of tools that were not known before.
    pub new_patterns: Vec<SeenPattern>,
}

impl Sample {
    /// Share of the traces that was dropped, 0 to 1; of none, 0.
    #[must_use]
    pub fn share_dropped(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.total - self.kept.len()) as f64 / self.total as f64 }
    }
}

/// The set of tools of a trace, as text.
fn pattern(trace: &TraceFacts) -> String {
    let mut tools = trace.tools.clone();
    tools.sort();
    tools.dedup();
    serde_json::Value::from(tools).to_string()
}

/// Decides about the traces of a window. `seen` has every set of tools that is known, with the trace it was first seen in.
#[must_use]
pub fn judge(traces: &[TraceFacts], policy: &SamplingPolicy, seen: &BTreeMap<String, String>) -> Sample {
    let average = match traces.len() {
        0 => 0.0,
        count => traces.iter().map(|trace| trace.cost_usd).sum::<f64>() / count as f64,
    };
    let mut in_order: Vec<&TraceFacts> = traces.iter().collect();
    in_order.sort_by(|a, b| a.started_at.cmp(&b.started_at).then_with(|| a.trace_id.cmp(&b.trace_id)));
    let mut seen = seen.clone();
    let mut sample = Sample { total: traces.len(), ..Sample::default() };
    for trace in in_order {
        let mut is_novel = false;
        if !trace.tools.is_empty() {
            let pattern = pattern(trace);
            let first = seen.entry(pattern.clone()).or_insert_with(|| {
                let (trace_id, seen_at) = (trace.trace_id.clone(), trace.started_at);
                sample.new_patterns.push(SeenPattern { pattern, trace_id: trace_id.clone(), seen_at });
                trace_id
            });
            is_novel = *first == trace.trace_id;
        }
        let rules = [
            ("has_error", trace.has_error, policy.has_error_score),
            ("cost_spike", average > 0.0 && trace.cost_usd > average * SPIKE, policy.cost_spike_score),
            ("schema_failed", trace.schema_failed, policy.schema_failed_score),
            ("novel_pattern", is_novel, policy.novel_pattern_score),
            ("high_gen", trace.generation_count > MANY_GENERATIONS, policy.high_gen_score),
        ];
        let score: i64 = rules.iter().filter(|(_, holds, _)| *holds).map(|(.., score)| score).sum();
        if score < policy.keep_threshold {
            continue;
        }
        let reasons: Vec<String> =
            rules.iter().filter(|(_, holds, _)| *holds).map(|(reason, ..)| (*reason).to_owned()).collect();
        for reason in &reasons {
            *sample.keep_reasons.entry(reason.clone()).or_default() += 1;
        }
        sample.kept.push(SampledTrace {
            trace_id: trace.trace_id.clone(),
            started_at: trace.started_at,
            score,
            reasons,
            generation_count: trace.generation_count,
            cost_usd: trace.cost_usd,
        });
    }
    sample.kept.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.trace_id.cmp(&b.trace_id)));
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(id: &str) -> TraceFacts {
        TraceFacts { trace_id: id.to_owned(), generation_count: 1, cost_usd: 1.0, ..TraceFacts::default() }
    }

    #[test]
    fn of_four_traces_three_are_kept_each_for_its_reason() {
        let traces = [
            TraceFacts { has_error: true, ..trace("error") },
            TraceFacts { cost_usd: 9.0, ..trace("dear") },
            TraceFacts { generation_count: 6, ..trace("long") },
            trace("routine"),
        ];
        let sample = judge(&traces, &SamplingPolicy::default(), &BTreeMap::new());
        let kept: Vec<(&str, i64)> = sample.kept.iter().map(|kept| (kept.trace_id.as_str(), kept.score)).collect();
        assert_eq!(kept, [("error", 100), ("dear", 80), ("long", 40)]);
        assert!((sample.share_dropped() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_set_of_tools_is_new_once_also_when_judged_again() {
        let tools = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let traces = [
            TraceFacts { tools: tools(&["b", "a"]), ..trace("1") },
            TraceFacts { tools: tools(&["a", "b", "a"]), ..trace("2") },
        ];
        let sample = judge(&traces, &SamplingPolicy::default(), &BTreeMap::new());
        assert_eq!((sample.kept.len(), sample.new_patterns.len()), (1, 1));
        let seen = sample.new_patterns.iter().map(|seen| (seen.pattern.clone(), seen.trace_id.clone())).collect();
        let again = judge(&traces, &SamplingPolicy::default(), &seen);
        assert_eq!((&again.kept, again.new_patterns.len()), (&sample.kept, 0));
    }

    #[test]
    fn more_than_twice_means_more_than_twice() {
        let traces = [TraceFacts { cost_usd: 2.0, ..trace("a") }, TraceFacts { cost_usd: 0.0, ..trace("b") }];
        assert!(judge(&traces, &SamplingPolicy::default(), &BTreeMap::new()).kept.is_empty());
    }
}
