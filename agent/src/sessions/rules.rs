//! The figures that the analyses go by, out of the settings.

use std::time::Duration;

use chrono::TimeDelta;
use tripline_store::sessions::dedupe::DedupeWindow;

use crate::settings::Settings;

/// How the figures of performance are made; part of their identity.
pub const METRICS_VERSION: &str = "mvp-1";

/// Who finds insights where no model does: the provenance of each.
pub const PROVIDER: &str = "heuristic";
/// The version of these heuristics.
pub const MODEL: &str = "rules-v1";

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionRules {
    /// How far apart in time an event and its repetition may be.
    pub dedupe: DedupeWindow,
    /// How long an active session rests between two runs of the worker.
    pub rest: Duration,
    /// How long after an action an error may be related to it.
    pub correlation_window: TimeDelta,
    /// How long after an action an edit overrides it.
    pub override_window: TimeDelta,
    /// How many of the newest events the light mode looks at.
    pub recent_events: usize,
    /// Errors per 100 events above which they are dense.
    pub dense: f64,
    /// Errors per 100 events above which that is of high severity.
    pub very_dense: f64,
    /// Events without which density is not judged.
    pub dense_min_events: usize,
    /// Breaks after an agent's action from which on it is a cycle.
    pub break_fix_cycles: usize,
    /// Success rate below which an agent is flagged.
    pub low_success_rate: f64,
}

impl SessionRules {
    /// As the settings have them.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let count = |n: i64| usize::try_from(n).unwrap_or(0);
        Self {
            dedupe: DedupeWindow::of_millis(settings.session_dedupe_window_ms),
            rest: Duration::from_secs(settings.session_rest_seconds.unsigned_abs()),
            correlation_window: TimeDelta::milliseconds(settings.session_correlation_window_ms),
            override_window: TimeDelta::seconds(settings.session_override_window_seconds),
            recent_events: count(settings.session_recent_events),
            dense: settings.session_error_density_threshold,
            very_dense: settings.session_error_density_high,
            dense_min_events: count(settings.session_error_density_min_events),
            break_fix_cycles: count(settings.session_break_fix_cycles),
            low_success_rate: settings.session_low_success_rate,
        }
    }
}

impl Default for SessionRules {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}
