//! Steps of runs whose events carry times instead.
//!
//! The SDKs count the steps of a run as it goes: each call is the next step, its answer has the same one. OpenTelemetry
//! spans have no such counter, arrive in any order and in several requests, and are mapped one by one; so the step of
//! their events is the time the span began, in µs since 1970 (docs/ingest-otlp.md). That order is right, but detectors
//! and people want 1, 2, 3 …, which only the whole run can give.
//!
//! Owns telling the two apart and counting. Must hold: counted steps stay as they are; the result depends on the set of
//! events, not on their order.

/// Steps from here on are times, in µs since 1970: this is November 2004, and no run takes 2^40 steps.
pub const FIRST_TIME: i64 = 1 << 40;

/// A step of an event of the run, and whether the event is a call (`llm.called`, `tool.called`, `retrieval.called`).
pub type Step = (i64, bool);

/// Replaces the times among the steps of one run by counts: each call is the next step after the counted ones, in the
/// order of their times; any other event has the step of the last call that began before it or with it.
pub fn renumber(steps: &mut [Step]) {
    if steps.iter().all(|(step, _)| *step < FIRST_TIME) {
        return;
    }
    let counted = steps.iter().map(|(step, _)| *step).filter(|step| *step < FIRST_TIME).max().unwrap_or(0);
    let mut calls: Vec<i64> =
        steps.iter().filter(|(step, is_call)| *is_call && *step >= FIRST_TIME).map(|(step, _)| *step).collect();
    calls.sort_unstable();
    calls.dedup();
    for (step, _) in steps.iter_mut().filter(|(step, _)| *step >= FIRST_TIME) {
        let calls_by_then = calls.partition_point(|call| call <= step);
        *step = counted.saturating_add(i64::try_from(calls_by_then).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: i64 = 1_795_219_185_389_074;

    #[test]
    fn counted_steps_stay_as_they_are() {
        let mut steps = [(0, false), (1, true), (1, false), (7, true)];
        let before = steps;
        renumber(&mut steps);
        assert_eq!(steps, before);
    }

    #[test]
    fn calls_are_numbered_by_time_and_answers_share_their_number() {
        // started, two calls at once, an answer to each, a signal between, a third call, the end.
        let mut steps =
            [(0, false), (T, true), (T, false), (T, true), (T + 4, false), (T + 9, true), (T + 9, false), (T + 50, false)];
        renumber(&mut steps);
        let numbers: Vec<i64> = steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(numbers, [0, 1, 1, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn times_come_after_what_was_counted() {
        let mut steps = [(0, false), (3, true), (T, false), (T + 1, true)];
        renumber(&mut steps);
        assert_eq!(steps.map(|(step, _)| step), [0, 3, 3, 4]);
    }

    proptest! {
        #[test]
        fn the_order_of_events_does_not_matter(
            steps in proptest::collection::vec((prop_oneof![0_i64..5, T..T + 9], any::<bool>()), 0..30),
            seed in any::<u64>(),
        ) {
            let mut places: Vec<usize> = (0..steps.len()).collect();
            places.sort_by_key(|place| (*place as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut shuffled: Vec<Step> = places.iter().map(|place| steps[*place]).collect();
            let mut straight = steps.clone();
            renumber(&mut straight);
            renumber(&mut shuffled);
            for (now, place) in places.into_iter().enumerate() {
                prop_assert_eq!(shuffled[now], straight[place]);
            }
        }
    }
}
