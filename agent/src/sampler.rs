//! The sampler: which traces are worth looking at.
//!
//! Owns: the scores, the policy ([`policy`]), the decision about a window of traces ([`judge`], a pure function) and making it
//! about what there is ([`live`]). Must hold: a trace is novel by tools that no other trace used before, whichever run sees it,
//! so judging a window again decides the same; the average it is compared with is of traces of its own feature, not of hours
//! (D11 of the reference); a trace whose cost nobody knows is no cheap one, and weighs in no average.

pub mod live;
pub mod policy;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use tripline_store::{SampledTrace, SeenPattern};

pub use live::{Sampled, Sampler};
pub use policy::SamplingPolicy;

/// What a trace is scored by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceFacts {
    /// The trace.
    pub trace_id: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// Its generations.
    pub generation_count: i64,
    /// When its newest observation began.
    pub last_at: DateTime<Utc>,
    /// What its calls cost that say so, US dollars; `None` when none does.
    pub cost_usd: Option<f64>,
    /// Names of its generations, and how many there are of each.
    pub features: BTreeMap<String, i64>,
    /// An observation has level ERROR or WARNING.
    pub has_error: bool,
    /// An output fits its feature's schema no longer.
    pub schema_failed: bool,
    /// Names of the tools it used.
    pub tools: BTreeSet<String>,
}

impl TraceFacts {
    /// What most of its generations are named; of several the first by name.
    #[must_use]
    pub fn feature(&self) -> Option<&str> {
        let most = self.features.iter().max_by(|(a, n), (b, m)| n.cmp(m).then_with(|| b.cmp(a)));
        most.map(|(feature, _)| feature.as_str())
    }
}

/// What a detector found: traces that it is about are worth looking at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concern {
    /// A trace, or else what generations or tools are named.
    pub entity: String,
    /// From when.
    pub from: DateTime<Utc>,
    /// Until when.
    pub until: DateTime<Utc>,
}

impl Concern {
    fn is_about(&self, trace: &TraceFacts) -> bool {
        self.entity == trace.trace_id
            || (trace.features.contains_key(&self.entity) || trace.tools.contains(&self.entity))
                && trace.last_at >= self.from
                && trace.started_at <= self.until
    }
}

/// More than so many times the average is a spike.
const SPIKE: f64 = 2.0;
/// More generations than this are many.
const MANY_GENERATIONS: i64 = 5;
/// Traces of a feature without which it has no average of its own.
const OWN_AVERAGE_FROM: usize = 10;

/// What became of a window's traces.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// All of them.
    pub total: usize,
    /// Those worth looking at, with why, the best score first.
    pub kept: Vec<SampledTrace>,
    /// How many were kept for each reason; a trace may have several.
    pub keep_reasons: BTreeMap<String, i64>,
    /// Sets of tools that its traces used, each with the trace it was first seen in.
    pub patterns: Vec<SeenPattern>,
}

impl Sample {
    /// Share of the traces that was dropped, 0 to 1; of none, 0.
    #[must_use]
    pub fn share_dropped(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.total - self.kept.len()) as f64 / self.total as f64 }
    }
}

/// The averages that costs are compared with.
struct Averages<'a> {
    all: Option<f64>,
    by_feature: BTreeMap<&'a str, f64>,
}

impl<'a> Averages<'a> {
    fn of(traces: &'a [TraceFacts]) -> Self {
        let mut by_feature: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut all = Vec::new();
        for trace in traces {
            let Some(cost) = trace.cost_usd else { continue };
            all.push(cost);
            by_feature.entry(trace.feature().unwrap_or_default()).or_default().push(cost);
        }
        let mean = |costs: &[f64]| costs.iter().sum::<f64>() / costs.len() as f64;
        let own = by_feature.into_iter().filter(|(_, costs)| costs.len() >= OWN_AVERAGE_FROM);
        Self {
            all: (!all.is_empty()).then(|| mean(&all)),
            by_feature: own.map(|(feature, costs)| (feature, mean(&costs))).collect(),
        }
    }

    fn is_spike(&self, trace: &TraceFacts) -> bool {
        let own = self.by_feature.get(trace.feature().unwrap_or_default()).copied();
        let average = own.or(self.all).filter(|average| *average > 0.0);
        matches!((trace.cost_usd, average), (Some(cost), Some(average)) if cost > average * SPIKE)
    }
}

/// The set of tools of a trace, as text.
fn pattern(trace: &TraceFacts) -> String {
    serde_json::Value::from_iter(trace.tools.iter().map(String::as_str)).to_string()
}

/// Decides about the traces of a window. `seen` has every set of tools that is known, with the trace it was first seen in;
/// `concerns` are what detectors found.
#[must_use]
pub fn judge(
    traces: &[TraceFacts],
    policy: &SamplingPolicy,
    seen: &BTreeMap<String, String>,
    concerns: &[Concern],
) -> Sample {
    let averages = Averages::of(traces);
    let mut in_order: Vec<&TraceFacts> = traces.iter().collect();
    in_order.sort_by(|a, b| a.started_at.cmp(&b.started_at).then_with(|| a.trace_id.cmp(&b.trace_id)));
    let mut used: BTreeMap<String, SeenPattern> = BTreeMap::new();
    let mut sample = Sample { total: traces.len(), ..Sample::default() };
    for trace in in_order {
        let mut is_novel = false;
        if !trace.tools.is_empty() {
            let pattern = pattern(trace);
            let first = used.entry(pattern.clone()).or_insert_with(|| SeenPattern {
                trace_id: seen.get(&pattern).unwrap_or(&trace.trace_id).clone(),
                pattern,
                seen_at: trace.started_at,
                feature: trace.feature().unwrap_or_default().to_owned(),
                last_seen_at: trace.last_at,
            });
            first.last_seen_at = first.last_seen_at.max(trace.last_at);
            is_novel = first.trace_id == trace.trace_id;
        }
        let rules = [
            ("has_error", trace.has_error, policy.has_error_score),
            ("cost_spike", averages.is_spike(trace), policy.cost_spike_score),
            ("schema_failed", trace.schema_failed, policy.schema_failed_score),
            ("novel_pattern", is_novel, policy.novel_pattern_score),
            ("high_gen", trace.generation_count > MANY_GENERATIONS, policy.high_gen_score),
            ("incident", concerns.iter().any(|concern| concern.is_about(trace)), policy.incident_score),
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
            feature: trace.feature().map(str::to_owned),
        });
    }
    sample.patterns = used.into_values().collect();
    sample.kept.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.trace_id.cmp(&b.trace_id)));
    sample
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn trace(id: &str) -> TraceFacts {
        TraceFacts { trace_id: id.to_owned(), generation_count: 1, cost_usd: Some(1.0), ..TraceFacts::default() }
    }

    fn named(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn kept(traces: &[TraceFacts], concerns: &[Concern]) -> Vec<(String, i64)> {
        let sample = judge(traces, &SamplingPolicy::default(), &BTreeMap::new(), concerns);
        sample.kept.into_iter().map(|kept| (kept.trace_id, kept.score)).collect()
    }

    #[test]
    fn of_four_traces_three_are_kept_each_for_its_reason() {
        let traces = [
            TraceFacts { has_error: true, ..trace("error") },
            TraceFacts { cost_usd: Some(9.0), ..trace("dear") },
            TraceFacts { generation_count: 6, ..trace("long") },
            trace("routine"),
        ];
        let sample = judge(&traces, &SamplingPolicy::default(), &BTreeMap::new(), &[]);
        let kept: Vec<(&str, i64)> = sample.kept.iter().map(|kept| (kept.trace_id.as_str(), kept.score)).collect();
        assert_eq!(kept, [("error", 100), ("dear", 80), ("long", 40)]);
        assert!((sample.share_dropped() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_set_of_tools_is_new_once_also_when_judged_again() {
        let traces = [
            TraceFacts { tools: named(&["b", "a"]), ..trace("1") },
            TraceFacts { tools: named(&["a", "b", "a"]), ..trace("2") },
        ];
        let sample = judge(&traces, &SamplingPolicy::default(), &BTreeMap::new(), &[]);
        assert_eq!((sample.kept.len(), sample.patterns.len()), (1, 1));
        let seen = sample.patterns.iter().map(|seen| (seen.pattern.clone(), seen.trace_id.clone())).collect();
        let again = judge(&traces, &SamplingPolicy::default(), &seen, &[]);
        assert_eq!((&again.kept, &again.patterns), (&sample.kept, &sample.patterns));
    }

    #[test]
    fn more_than_twice_means_more_than_twice() {
        let traces =
            [TraceFacts { cost_usd: Some(2.0), ..trace("a") }, TraceFacts { cost_usd: Some(0.0), ..trace("b") }];
        assert!(kept(&traces, &[]).is_empty());
    }

    #[test]
    fn an_unknown_cost_is_not_nothing() {
        // Were it nothing, the average were 0.6 and the others spikes.
        let traces = [
            trace("a"),
            TraceFacts { cost_usd: Some(1.4), ..trace("b") },
            TraceFacts { cost_usd: None, ..trace("c") },
            TraceFacts { cost_usd: None, ..trace("d") },
        ];
        assert!(kept(&traces, &[]).is_empty());
    }

    #[test]
    fn a_dear_feature_is_compared_with_itself() {
        let of = |feature: &str, n: usize, cost: f64| TraceFacts {
            features: BTreeMap::from([(feature.to_owned(), 1)]),
            cost_usd: Some(cost),
            ..trace(&format!("{feature}-{n}"))
        };
        let mut traces: Vec<TraceFacts> = (0..90).map(|n| of("cheap", n, 0.01)).collect();
        traces.extend((0..10).map(|n| of("dear", n, 1.0)));
        assert!(kept(&traces, &[]).is_empty());
        traces.push(of("cheap", 90, 0.05));
        assert_eq!(kept(&traces, &[]), [("cheap-90".to_owned(), 80)]);
    }

    #[test]
    fn what_a_finding_is_about_is_kept_at_its_time() {
        let at = |minute: i64| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::minutes(minute);
        let of = |id: &str, minute: i64| TraceFacts {
            features: BTreeMap::from([("answer".to_owned(), 1)]),
            tools: named(&[]),
            started_at: at(minute),
            last_at: at(minute + 1),
            ..trace(id)
        };
        let traces = [of("before", 0), of("during", 10), of("after", 20)];
        let concern = |entity: &str| Concern { entity: entity.to_owned(), from: at(5), until: at(15) };
        assert_eq!(kept(&traces, &[concern("answer")]), [("during".to_owned(), 100)]);
        assert_eq!(kept(&traces, &[concern("after")]), [("after".to_owned(), 100)]);
        assert!(kept(&traces, &[concern("other")]).is_empty());
    }
}
