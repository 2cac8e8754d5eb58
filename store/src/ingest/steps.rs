//! Steps of events that have no step counter.
//!
//! An OpenTelemetry span knows no counter: its events carry the microsecond of its start as their step ([`FIRST_TIME`] and
//! above). When a run is built, such a step becomes a number: how many calls began until then.

/// The smallest step that is a time.
pub const FIRST_TIME: i64 = 1 << 40;

/// Replaces steps that are times by numbers, for the events of one run: the step of each and whether it is a call
/// (`*.called`). A time becomes the largest counted step of the run, or 0, plus the number of distinct times up to
/// it at which a call began. Counted steps stay as they are.
pub fn renumber(steps: &mut [(i64, bool)]) {
    let counted = steps.iter().map(|(step, _)| *step).filter(|step| *step < FIRST_TIME).max().unwrap_or(0).max(0);
    let mut calls: Vec<i64> =
        steps.iter().filter(|(step, is_call)| *is_call && *step >= FIRST_TIME).map(|(step, _)| *step).collect();
    calls.sort_unstable();
    calls.dedup();
    for (step, _) in steps.iter_mut().filter(|(step, _)| *step >= FIRST_TIME) {
        let begun = calls.partition_point(|call| *call <= *step);
        *step = counted.saturating_add(i64::try_from(begun).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_becomes_the_number_of_calls_until_then() {
        let at = |micros: i64| FIRST_TIME + micros;
        let mut steps = [(0, false), (at(10), true), (at(10), false), (at(30), true), (at(20), false), (at(99), false)];
        renumber(&mut steps);
        assert_eq!(steps.map(|(step, _)| step), [0, 1, 1, 2, 1, 2]);
        let mut counted = [(0, false), (3, true), (3, false), (at(5), true)];
        renumber(&mut counted);
        assert_eq!(counted.map(|(step, _)| step), [0, 3, 3, 4]);
    }
}
