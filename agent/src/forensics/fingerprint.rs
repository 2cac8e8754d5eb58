//! The fingerprint of a loop: what repeats, how often, how fast it costs (seed 003, agent loops).

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Forensics, ForensicsError, at, is_unpriced, known, text};

/// Minutes that a trace is taken to last at least.
const LEAST_MINUTES: f64 = 0.1;

/// What a trace repeats.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Fingerprint {
    /// The trace.
    pub trace_id: String,
    /// Its observations, of every type.
    pub gen_count: usize,
    /// How often each name occurs.
    pub name_histogram: BTreeMap<String, usize>,
    /// The name that occurs most; the first by name of several.
    pub most_repeated_name: Option<String>,
    /// How often that is.
    pub repeat_count: usize,
    /// What those cost that have a price, US dollars; `None` when there are model calls and none has.
    pub total_cost: Option<f64>,
    /// Model calls without a price: then it cost at least `total_cost`.
    pub unpriced: usize,
    /// US dollars per minute, of `total_cost`.
    pub cost_velocity_per_min: Option<f64>,
    /// `name xN`.
    pub pattern: Option<String>,
}

/// Name, start and cost of an observation, US dollars.
pub type Observation = (String, Option<DateTime<Utc>>, Option<f64>);

/// The fingerprint of observations. `unpriced` of them are model calls without a price.
#[must_use]
pub fn of(trace_id: &str, observations: &[Observation], unpriced: usize) -> Fingerprint {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for (name, ..) in observations {
        *names.entry(name.clone()).or_default() += 1;
    }
    let times = || observations.iter().filter_map(|(_, at, _)| *at);
    let minutes =
        times().min().zip(times().max()).map_or(0.0, |(from, to)| (to - from).num_milliseconds() as f64 / 60_000.0);
    let priced: Vec<f64> = observations.iter().filter_map(|(_, _, cost)| *cost).collect();
    let total_cost = (unpriced == 0 || !priced.is_empty()).then(|| priced.iter().fold(0.0, |sum, cost| sum + cost));
    let most = names.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
    Fingerprint {
        trace_id: trace_id.to_owned(),
        gen_count: observations.len(),
        most_repeated_name: most.map(|(name, _)| name.clone()),
        repeat_count: most.map_or(0, |(_, count)| *count),
        pattern: most.map(|(name, count)| format!("{name} x{count}")),
        total_cost,
        unpriced,
        cost_velocity_per_min: total_cost.map(|cost| (cost / minutes.max(LEAST_MINUTES) * 1e6).round() / 1e6),
        name_histogram: names,
    }
}

impl Forensics {
    /// The fingerprint of a trace; of none, zero counts. Reads only.
    ///
    /// # Errors
    /// When Langfuse does not answer.
    pub async fn fingerprint(&self, trace_id: &str) -> Result<Fingerprint, ForensicsError> {
        let rows = match self.observations(trace_id).await {
            Ok(rows) => rows,
            Err(ForensicsError::NoTrace(_)) => Vec::new(),
            Err(error) => return Err(error),
        };
        let observations: Vec<_> =
            rows.iter().map(|row| (text(row, "name"), at(row, "started_at"), known(row, "cost_usd"))).collect();
        Ok(of(trace_id, &observations, rows.iter().filter(|row| is_unpriced(row)).count()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_most_is_named_with_its_speed() {
        let at = |seconds: i64| DateTime::from_timestamp(1_700_000_000 + seconds, 0);
        let rows: Vec<_> = (0..14)
            .map(|n| ("retry-search".to_owned(), at(n * 12), Some(0.02)))
            .chain([("plan".to_owned(), at(168), Some(0.02))])
            .collect();
        let print = of("t", &rows, 0);
        assert_eq!((print.gen_count, print.repeat_count), (15, 14));
        assert_eq!(print.pattern.as_deref(), Some("retry-search x14"));
        assert!((print.cost_velocity_per_min.unwrap() - 0.3 / 2.8).abs() < 1e-6);
        let nothing = of("t", &[], 0);
        assert_eq!((nothing.gen_count, nothing.total_cost), (0, Some(0.0)));
        assert!(nothing.total_cost.unwrap().is_sign_positive(), "and it is written 0, not -0");
    }

    #[test]
    fn a_cost_that_nobody_knows_is_not_nothing() {
        let call = |cost: Option<f64>| ("plan".to_owned(), DateTime::from_timestamp(1_700_000_000, 0), cost);
        let unknown = of("t", &[call(None), call(None)], 2);
        assert_eq!((unknown.total_cost, unknown.cost_velocity_per_min, unknown.unpriced), (None, None, 2));
        let partly = of("t", &[call(Some(0.5)), call(None)], 1);
        assert_eq!((partly.total_cost, partly.unpriced), (Some(0.5), 1));
    }
}
