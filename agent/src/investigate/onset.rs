//! When a condition began: from the data, not from the time it was noticed.
//!
//! Owns: the change points. A loop begins with its trace, drift and tool failures with the first failing output (their
//! detectors tell), a cascade with the first event of its burst; a spike where the calls of its feature change most.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tripline_store::NewAnomaly;

use super::gather::Gathered;
use super::{rows, text, time};

/// The onset of an anomaly; `reported` is the detector's, and evidence about calls begins at `before`.
#[must_use]
pub fn of(
    anomaly: &NewAnomaly,
    reported: DateTime<Utc>,
    before: DateTime<Utc>,
    gathered: &[Gathered],
) -> DateTime<Utc> {
    match anomaly.kind.as_str() {
        "cost_spike" => {
            let mut calls: Vec<(DateTime<Utc>, f64)> = rows(gathered, "calls")
                .iter()
                .filter_map(|row| Some((time(row, "start_time")?, row.get("cost_usd")?.as_f64()?)))
                .collect();
            calls.sort_by_key(|(at, _)| *at);
            let cut = gathered.iter().any(|g| g.evidence.name == "calls" && g.evidence.truncated);
            // Nothing is known of the time before the oldest of the newest calls.
            let from = calls.first().filter(|_| cut).map_or(before, |(at, _)| *at);
            spike(&calls, from, anomaly.window.end, reported).unwrap_or(reported)
        }
        "agent_loop" => {
            let starts = rows(gathered, "trace").iter().filter(|row| text(row, "type") == Some("GENERATION"));
            starts.filter_map(|row| time(row, "start_time")).min().unwrap_or(reported)
        }
        "error_cascade" => burst(anomaly, reported, gathered),
        _ => reported,
    }
}

/// The first event of an issue whose life is all burst: younger than a day before the window, counted by the detector,
/// and as busy before `reported` as after. One stray event in the morning is not when the afternoon's burst began.
fn burst(anomaly: &NewAnomaly, reported: DateTime<Utc>, gathered: &[Gathered]) -> DateTime<Utc> {
    let counted = anomaly.evidence.get("issues").and_then(Value::as_array);
    let is_counted = |id: &str| counted.is_some_and(|ids| ids.iter().any(|known| known.as_str() == Some(id)));
    let errors = anomaly.evidence.get("errors").and_then(Value::as_f64).unwrap_or_default();
    let hours = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64() / 3600.0;
    let is_all_burst = |row: &&Value, first: DateTime<Utc>| {
        let earlier = row.get("count").and_then(Value::as_f64).unwrap_or_default() - errors;
        // Rates as products, so that no time at all is no rate at all.
        2.0 * earlier * hours(reported, anomaly.window.end) >= errors * hours(first, reported)
    };
    rows(gathered, "issues")
        .iter()
        .filter(|row| text(row, "id").is_some_and(is_counted))
        .filter_map(|row| Some((row, time(row, "first_seen")?)))
        .filter(|(_, first)| *first >= anomaly.window.start - TimeDelta::hours(24) && *first < reported)
        .filter(|(row, first)| is_all_burst(row, *first))
        .map(|(_, first)| first)
        .chain([reported])
        .min()
        .unwrap_or(reported)
}

/// Where the calls of a feature change most: in what a call costs, if calls became dearer, else in how often they come.
/// `from` is since when calls are known. `None` where neither change is clear.
fn spike(
    calls: &[(DateTime<Utc>, f64)],
    from: DateTime<Utc>,
    end: DateTime<Utc>,
    reported: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let logs: Vec<f64> = calls.iter().map(|(_, cost)| cost.max(1e-9).ln()).collect();
    if let Some(split) = mean_shift(&logs)
        && let Some((at, _)) = calls.get(split)
    {
        let known = calls.partition_point(|(start, _)| *start < reported);
        if *at <= reported || still_ordinary(&logs, known, split) {
            return Some(*at);
        }
    }
    rate_shift(calls, from, end)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Whether the calls from index `known` up to `split` cost what calls before cost, rather than what calls after cost: only
/// then did the spike begin later than its detector says. Without calls before there is nothing to call ordinary.
fn still_ordinary(logs: &[f64], known: usize, split: usize) -> bool {
    let (Some(before), Some(between), Some(after)) = (logs.get(..known), logs.get(known..split), logs.get(split..))
    else {
        return false;
    };
    if before.len() < 3 || between.is_empty() || after.is_empty() {
        return false;
    }
    (mean(between) - mean(before)).abs() < (mean(between) - mean(after)).abs()
}

/// The index at which splitting a series explains most of its spread, if the mean rises there by half or more.
fn mean_shift(logs: &[f64]) -> Option<usize> {
    let total: f64 = logs.iter().sum();
    let count = logs.len() as f64;
    let mut before = 0.0;
    let mut best: Option<(f64, usize)> = None;
    for (index, value) in logs.iter().enumerate() {
        let (left, right) = (index as f64, count - index as f64);
        if left >= 3.0 && right >= 2.0 {
            let (mean_before, mean_after) = (before / left, (total - before) / right);
            let explained = left * right / count * (mean_after - mean_before).powi(2);
            let dearer = mean_after - mean_before > 1.5_f64.ln();
            if dearer && best.is_none_or(|(most, _)| explained > most) {
                best = Some((explained, index));
            }
        }
        before += value;
    }
    best.map(|(_, index)| index)
}

/// By how much two rates must explain the calls better than one (natural logarithm of the ratio of likelihoods) before a
/// change is believed: chance alone does it once in some hundred times at most.
const CLEAR: f64 = 5.0;

/// The call from which on calls come more often: the split with the highest likelihood of two Poisson rates. The quiet
/// time before the first call counts, so that the first call may be the one.
fn rate_shift(calls: &[(DateTime<Utc>, f64)], from: DateTime<Utc>, end: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let hours = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64() / 3600.0;
    let likelihood = |n: f64, time: f64| if n > 0.0 && time > 0.0 { n * (n / time).ln() } else { 0.0 };
    let count = calls.len() as f64;
    let one_rate = likelihood(count, hours(from, end));
    let mut best: Option<(f64, DateTime<Utc>)> = None;
    for (index, (at, _)) in calls.iter().enumerate() {
        let (n_before, n_after) = (index as f64, count - index as f64);
        let (t_before, t_after) = (hours(from, *at), hours(*at, end));
        let faster = t_before > 0.0 && t_after > 0.0 && n_after / t_after > n_before / t_before;
        let gain = likelihood(n_before, t_before) + likelihood(n_after, t_after) - one_rate;
        if faster && gain >= CLEAR && best.is_none_or(|(most, _)| gain > most) {
            best = Some((gain, *at));
        }
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, minutes};

    fn six() -> DateTime<Utc> {
        at("2026-11-20T06:00:00Z")
    }

    #[test]
    fn dearer_calls_begin_with_the_first_dear_one() {
        let calls: Vec<_> = (0..60)
            .map(|n| (six() + minutes(7 * n), if n < 50 { 0.1 + 0.02 * f64::from(n as i32 % 5) } else { 0.7 }))
            .collect();
        let (end, first) = (six() + minutes(420), six() + minutes(350));
        // However the detector put it: a window later, or a little too early among ordinary calls.
        for reported in [first, first + minutes(40), first - minutes(20)] {
            assert_eq!(spike(&calls, six(), end, reported), Some(first));
        }
    }

    #[test]
    fn more_calls_begin_where_they_come_faster() {
        let mut calls: Vec<_> = (0..36).map(|n| (six() + minutes(10 * n), 0.1)).collect();
        calls.extend((0..40).map(|n| (six() + minutes(365 + n), 0.1)));
        let (end, first) = (six() + minutes(405), six() + minutes(365));
        assert_eq!(spike(&calls, six(), end, first), Some(first));
    }

    #[test]
    fn after_hours_of_silence_the_first_call_is_the_beginning() {
        let (first, end) = (six() + minutes(375), six() + minutes(420));
        let alike: Vec<_> = (0..20).map(|n| (first + minutes(2 * n), 0.4)).collect();
        assert_eq!(spike(&alike, six(), end, first), Some(first));
        // Calls that grow dearer all the time do not begin in their middle.
        let growing: Vec<_> = (0..20).map(|n| (first + minutes(2 * n), 0.2 + 0.02 * n as f64)).collect();
        assert_eq!(spike(&growing, six(), end, first), Some(first));
    }

    #[test]
    fn calls_that_do_not_change_have_no_onset_of_their_own() {
        assert_eq!(spike(&[], six(), six() + minutes(60), six()), None);
        let steady: Vec<_> = (0..60).map(|n| (six() + minutes(7 * n), 0.1)).collect();
        assert_eq!(spike(&steady, six(), six() + minutes(420), six() + minutes(360)), None);
    }
}
