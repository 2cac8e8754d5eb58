//! When an event is a repetition: the same hash in the same session, within the window, compared with what is kept.

use chrono::{DateTime, TimeDelta, Utc};

/// How far the sender's times of an event and of its repetition may lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupeWindow {
    micros: i64,
}

impl DedupeWindow {
    /// A window of so many milliseconds on either side; 0 means the very same time. Negative counts as 0.
    pub fn of_millis(millis: i64) -> Self {
        Self { micros: millis.max(0).saturating_mul(1_000) }
    }

    /// The times within which a kept event makes one at `at` a repetition, both inclusive, in microseconds since 1970.
    pub fn around(self, at: DateTime<Utc>) -> (i64, i64) {
        let at = at.timestamp_micros();
        (at.saturating_sub(self.micros), at.saturating_add(self.micros))
    }

    /// Whether two events of one hash, `kept` and `new`, are one.
    pub fn covers(self, kept: DateTime<Utc>, new: DateTime<Utc>) -> bool {
        let (from, to) = self.around(new);
        (from..=to).contains(&kept.timestamp_micros())
    }
}

impl Default for DedupeWindow {
    /// Two seconds (facts, Achilles, section 4).
    fn default() -> Self {
        Self { micros: TimeDelta::seconds(2).num_microseconds().unwrap_or_default() }
    }
}
