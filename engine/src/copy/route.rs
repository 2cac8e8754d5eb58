//! From what a copy has and what a query wants to what must be fetched. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::{CopyState, TimeSpan};

/// What a query wants of a copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The stretch of time it is about.
    pub span: TimeSpan,
    /// What `now()` is in the query: in one about a window of the past, the end of that.
    pub now: DateTime<Utc>,
    /// The clock when it is asked.
    pub asked_at: DateTime<Utc>,
    /// How old the answer may be.
    pub freshness: TimeDelta,
    /// Whether it may need only a few of the rows.
    pub limited: bool,
    /// When this process last brought the copy up to date. Readings of one clock are needed to say that a copy is as new as
    /// the query: another process may have had a clock that stood still or was set back since.
    pub refreshed: Option<DateTime<Utc>>,
}

/// How the copy is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub window: TimeDelta,
    pub overlap: TimeDelta,
    /// Whether the source can be asked for rows that changed since a moment.
    pub changes: bool,
}

/// Ranges to fetch before the copy can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    /// From here on, up to now: the copy is started or brought up to date.
    pub newer: Option<DateTime<Utc>>,
    /// Before what the copy covers.
    pub older: Option<TimeSpan>,
}

/// Where a query is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// At the source, because of this.
    Source(&'static str),
    /// From the copy, once this was fetched.
    Copy(Missing),
}

/// Decides. Extending a copy may cost at most about twice what asking the source would.
pub(super) fn route(state: &CopyState, kept: Kept, wanted: Wanted) -> Route {
    let oldest = wanted.asked_at - kept.window;
    if wanted.span.from < oldest {
        return Route::Source("the query goes back further than the copy's window");
    }
    let until = wanted.span.until.min(wanted.asked_at).max(wanted.span.from);
    let asked = until - wanted.span.from;
    let missing = match state.covered.filter(|covered| covered.until > oldest) {
        None => Missing { newer: Some(wanted.span.from), older: None },
        Some(covered) => {
            let settled = covered.until - kept.overlap;
            let recent = state.refreshed_at.is_some_and(|at| {
                let own = wanted.refreshed == Some(at);
                let known = wanted.freshness > TimeDelta::zero() || own;
                // What this process fetched for a query of a little later is newer than this one accepts.
                let newest = if own { wanted.asked_at + wanted.freshness } else { wanted.asked_at };
                known && wanted.now - wanted.freshness <= at && at <= newest
            });
            let fresh = recent || (until <= settled && !kept.changes);
            let older =
                (wanted.span.from < covered.from).then_some(TimeSpan { from: wanted.span.from, until: covered.from });
            Missing { newer: (!fresh).then_some(settled.max(oldest)), older }
        }
    };
    let newer = missing.newer.map_or(TimeDelta::zero(), |from| wanted.asked_at - from);
    let older = missing.older.map_or(TimeDelta::zero(), TimeSpan::length);
    if missing.newer.is_none() && missing.older.is_none() {
        return Route::Copy(missing);
    }
    if wanted.limited {
        return Route::Source("a LIMIT needs less than the copy lacks");
    }
    if newer + older > asked * 2 + kept.overlap * 2 {
        return Route::Source("the copy lacks more than the query needs");
    }
    Route::Copy(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        "2026-11-20T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
    }

    const KEPT: Kept = Kept { window: TimeDelta::days(7), overlap: TimeDelta::minutes(10), changes: false };

    fn wanted(from: i64, until: i64, now: i64) -> Wanted {
        let span = TimeSpan { from: at(from), until: at(until) };
        Wanted { span, now: at(now), asked_at: at(now), freshness: TimeDelta::zero(), limited: false, refreshed: None }
    }

    fn covering(from: i64, until: i64) -> CopyState {
        let covered = Some(TimeSpan { from: at(from), until: at(until) });
        CopyState { covered, refreshed_at: Some(at(until)), ..CopyState::default() }
    }

    #[test]
    fn a_first_question_starts_the_copy_where_it_begins() {
        let missing = Missing { newer: Some(at(0)), older: None };
        assert_eq!(route(&CopyState::default(), KEPT, wanted(0, 24, 24)), Route::Copy(missing));
    }

    #[test]
    fn the_next_cycle_fetches_what_is_new_and_the_overlap() {
        let missing = Missing { newer: Some(at(24) - KEPT.overlap), older: None };
        assert_eq!(route(&covering(0, 24), KEPT, wanted(1, 25, 25)), Route::Copy(missing));
    }

    #[test]
    fn what_is_settled_costs_nothing() {
        let nothing = Missing { newer: None, older: None };
        assert_eq!(route(&covering(0, 24), KEPT, wanted(2, 20, 30)), Route::Copy(nothing));
        let changes = Kept { changes: true, ..KEPT };
        let missing = Missing { newer: Some(at(24) - KEPT.overlap), older: None };
        assert_eq!(route(&covering(0, 24), changes, wanted(2, 20, 30)), Route::Copy(missing));
    }

    #[test]
    fn an_accepted_age_costs_nothing() {
        let stale = Wanted { freshness: TimeDelta::hours(1), ..wanted(1, 25, 25) };
        assert_eq!(route(&covering(0, 24), KEPT, stale), Route::Copy(Missing { newer: None, older: None }));
        // A query of a minute before is answered by what this process fetched for a later one.
        let minute = TimeDelta::minutes(1);
        let earlier = at(25) - minute;
        let before = Wanted { freshness: minute, now: earlier, asked_at: earlier, ..wanted(1, 25, 25) };
        let fetched = covering(0, 25);
        let own = Wanted { refreshed: fetched.refreshed_at, ..before };
        assert_eq!(route(&fetched, KEPT, own), Route::Copy(Missing { newer: None, older: None }));
        assert_ne!(route(&fetched, KEPT, before), Route::Copy(Missing { newer: None, older: None }));
        let impatient = Wanted { freshness: TimeDelta::minutes(59), ..wanted(1, 25, 25) };
        assert!(matches!(route(&covering(0, 24), KEPT, impatient), Route::Copy(Missing { newer: Some(_), .. })));
    }

    #[test]
    fn a_window_of_the_past_is_answered_by_what_was_fetched_since() {
        let (fetched, changes) = (covering(0, 100), Kept { changes: true, ..KEPT });
        let judged = Wanted { now: at(99), freshness: TimeDelta::minutes(1), ..wanted(98, 99, 101) };
        assert_eq!(route(&fetched, changes, judged), Route::Copy(Missing { newer: None, older: None }));
        // Fetched before the window had ended.
        let missing = Missing { newer: Some(at(100) - KEPT.overlap), older: None };
        assert_eq!(route(&fetched, changes, Wanted { now: at(101), ..judged }), Route::Copy(missing));
        // What one of them fetches reaches up to the present, so that the next one finds it there.
        let stale = Wanted { now: at(98), freshness: TimeDelta::minutes(1), ..wanted(96, 98, 101) };
        let missing = Missing { newer: Some(at(97) - KEPT.overlap), older: None };
        assert_eq!(route(&covering(0, 97), KEPT, stale), Route::Copy(missing));
    }

    #[test]
    fn an_age_that_only_a_clock_says_is_none_when_no_age_is_accepted() {
        let missing = Route::Copy(Missing { newer: Some(at(24) - KEPT.overlap), older: None });
        // The same reading as when it was refreshed: by another process, with the clock held.
        assert_eq!(route(&covering(0, 24), KEPT, wanted(1, 25, 24)), missing);
        // A clock that was set back.
        let changes = Kept { changes: true, ..KEPT };
        assert!(matches!(
            route(&covering(0, 24), changes, wanted(1, 25, 23)),
            Route::Copy(Missing { newer: Some(_), older: None })
        ));
        let set_back = Wanted { freshness: TimeDelta::minutes(10), ..wanted(1, 25, 23) };
        assert!(matches!(route(&covering(0, 24), changes, set_back), Route::Copy(Missing { newer: Some(_), .. })));
        // The same reading, and it was this process.
        let same = Wanted { refreshed: Some(at(24)), ..wanted(1, 25, 24) };
        assert_eq!(route(&covering(0, 24), KEPT, same), Route::Copy(Missing { newer: None, older: None }));
    }

    #[test]
    fn an_earlier_beginning_is_added_in_front() {
        let older = Some(TimeSpan { from: at(-10), until: at(0) });
        let missing = Missing { newer: None, older };
        assert_eq!(route(&covering(0, 24), KEPT, wanted(-10, 20, 24)), Route::Copy(missing));
    }

    #[test]
    fn a_question_that_needs_little_goes_to_the_source() {
        let long_ago = wanted(-100, -98, 24);
        assert!(matches!(route(&covering(0, 24), KEPT, long_ago), Route::Source(_)));
        assert!(matches!(route(&CopyState::default(), KEPT, long_ago), Route::Source(_)));
        let few = Wanted { limited: true, ..wanted(1, 25, 25) };
        assert!(matches!(route(&covering(0, 24), KEPT, few), Route::Source(_)));
        assert!(matches!(route(&covering(0, 24), KEPT, wanted(-200, 20, 24)), Route::Source(_)));
    }

    #[test]
    fn a_copy_from_before_the_window_is_started_anew() {
        let missing = Missing { newer: Some(at(500)), older: None };
        assert_eq!(route(&covering(0, 24), KEPT, wanted(500, 524, 524)), Route::Copy(missing));
    }
}
