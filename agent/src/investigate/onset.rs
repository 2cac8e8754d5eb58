//! When a condition began: from the data, not from the time it was noticed.
//!
//! Owns: the change points. A loop begins with its trace, drift and tool failures with the first failing output (their
//! detectors tell), a cascade with the first event of its burst; a spike where the calls of its feature change most.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tripline_store::NewAnomaly;

use super::gather::Gathered;
use super::{rows, text, time};

/// The onset of an anomaly; `reported` is the detector's.
#[must_use]
pub fn of(anomaly: &NewAnomaly, reported: DateTime<Utc>, gathered: &[Gathered]) -> DateTime<Utc> {
    match anomaly.kind.as_str() {
        "cost_spike" => {
            let mut calls: Vec<(DateTime<Utc>, f64)> = rows(gathered, "calls")
                .iter()
                .filter_map(|row| Some((time(row, "start_time")?, row.get("cost_usd")?.as_f64()?)))
                .collect();
            calls.sort_by_key(|(at, _)| *at);
            spike(&calls, anomaly.window.end).unwrap_or(reported)
        }
        "agent_loop" => {
            let starts = rows(gathered, "trace").iter().filter(|row| text(row, "type") == Some("GENERATION"));
            starts.filter_map(|row| time(row, "start_time")).min().unwrap_or(reported)
        }
        "error_cascade" => burst(anomaly, reported, gathered),
        _ => reported,
    }
}

/// The first event of an issue that is all burst: younger than a day before the window, and the detector counts it.
fn burst(anomaly: &NewAnomaly, reported: DateTime<Utc>, gathered: &[Gathered]) -> DateTime<Utc> {
    let counted = anomaly.evidence.get("issues").and_then(Value::as_array);
    let is_counted = |id: &str| counted.is_some_and(|ids| ids.iter().any(|known| known.as_str() == Some(id)));
    rows(gathered, "issues")
        .iter()
        .filter(|row| text(row, "id").is_some_and(is_counted))
        .filter_map(|row| time(row, "first_seen"))
        .filter(|first| *first >= anomaly.window.start - TimeDelta::hours(24))
        .chain([reported])
        .min()
        .unwrap_or(reported)
}

/// Where the calls of a feature change most: in what a call costs, if calls became dearer, else in how often they come.
fn spike(calls: &[(DateTime<Utc>, f64)], end: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let logs: Vec<f64> = calls.iter().map(|(_, cost)| cost.max(1e-9).ln()).collect();
    if let Some(at) = mean_shift(&logs) {
        return calls.get(at).map(|(at, _)| *at);
    }
    rate_shift(calls, end)
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

/// The call from which on calls come more often: the split with the highest likelihood of two Poisson rates.
fn rate_shift(calls: &[(DateTime<Utc>, f64)], end: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let first = calls.first()?.0;
    let hours = |from: DateTime<Utc>, to: DateTime<Utc>| (to - from).as_seconds_f64() / 3600.0;
    let likelihood = |n: f64, time: f64| if n > 0.0 && time > 0.0 { n * (n / time).ln() } else { 0.0 };
    let count = calls.len() as f64;
    let mut best: Option<(f64, DateTime<Utc>)> = None;
    for (index, (at, _)) in calls.iter().enumerate().skip(1) {
        let (n_before, n_after) = (index as f64, count - index as f64);
        let (t_before, t_after) = (hours(first, *at), hours(*at, end));
        let faster = t_before > 0.0 && t_after > 0.0 && n_after / t_after > n_before / t_before;
        let value = likelihood(n_before, t_before) + likelihood(n_after, t_after);
        if faster && best.is_none_or(|(most, _)| value > most) {
            best = Some((value, *at));
        }
    }
    best.map(|(_, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, minutes};

    #[test]
    fn dearer_calls_begin_with_the_first_dear_one() {
        let start = at("2026-11-20T06:00:00Z");
        let calls: Vec<_> = (0..60)
            .map(|n| (start + minutes(7 * n), if n < 50 { 0.1 + 0.02 * f64::from(n as i32 % 5) } else { 0.7 }))
            .collect();
        assert_eq!(spike(&calls, start + minutes(420)), Some(start + minutes(350)));
    }

    #[test]
    fn more_calls_begin_where_they_come_faster() {
        let start = at("2026-11-20T06:00:00Z");
        let mut calls: Vec<_> = (0..36).map(|n| (start + minutes(10 * n), 0.1)).collect();
        calls.extend((0..40).map(|n| (start + minutes(365 + n), 0.1)));
        assert_eq!(spike(&calls, start + minutes(405)), Some(start + minutes(365)));
    }

    #[test]
    fn calls_that_do_not_change_have_no_onset_of_their_own() {
        assert_eq!(spike(&[], at("2026-11-20T06:00:00Z")), None);
    }
}
