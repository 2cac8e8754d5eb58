//! Which ticks of a job are due: a pure function of its schedule, its watermark and the time.

use chrono::{DateTime, TimeDelta, Utc};

use super::{JobSpec, Schedule};

/// Ticks handed out at once at most; the rest is due next time.
const MAX_TICKS: usize = 1_000;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// The last tick that is too old to be run.
    pub skipped: Option<DateTime<Utc>>,
    /// The ticks to run, in order.
    pub ticks: Vec<DateTime<Utc>>,
}

/// The ticks of a job after its watermark, up to `now`. A job that never ran begins with its latest tick; one without a
/// window runs once for all it missed.
#[must_use]
pub fn of(spec: &JobSpec, watermark: Option<DateTime<Utc>>, now: DateTime<Utc>, catch_up: TimeDelta) -> Due {
    let latest = spec.schedule.last_at(now);
    let Some(watermark) = watermark else {
        return Due { skipped: None, ticks: latest.into_iter().collect() };
    };
    let Some(latest) = latest.filter(|latest| *latest > watermark) else { return Due::default() };
    if spec.window.is_none() {
        return Due { skipped: None, ticks: vec![latest] };
    }
    let oldest = now - catch_up;
    let skipped = (watermark < oldest).then(|| last_before(&spec.schedule, oldest, watermark)).flatten();
    let ticks = spec.schedule.between(skipped.unwrap_or(watermark), now, MAX_TICKS);
    Due { skipped, ticks }
}

/// The last tick before `oldest` that is after the watermark.
fn last_before(schedule: &Schedule, oldest: DateTime<Utc>, watermark: DateTime<Utc>) -> Option<DateTime<Utc>> {
    schedule.last_at(oldest - TimeDelta::microseconds(1)).filter(|tick| *tick > watermark)
}
