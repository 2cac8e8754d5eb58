//! What incidents do to ordinary traffic.
//!
//! Owns: overrides of a feature's or tool's behaviour within a window.
//! Must hold: outside its windows an incident leaves no trace in the traffic.

use super::company::Tool;
use crate::time::Micros;

/// A window `[from, to)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub from: Micros,
    pub to: Micros,
}

impl Window {
    pub(crate) fn holds(&self, at: Micros) -> bool {
        (self.from..self.to).contains(&at)
    }
}

/// How a feature behaves differently for a while.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FeatureChange {
    /// Each answer is this many times as long, under a new limit.
    Longer { factor: f64, max_tokens: u32 },
    /// So many requests per hour whatever the time of day, each generated so often.
    Retried { requests: f64, generations: usize },
    /// JSON answers with other keys, under a new prompt version.
    Reshaped { prompt_version: u32 },
}

/// All overrides of a history.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub features: Vec<(&'static str, Window, FeatureChange)>,
    pub broken_tools: Vec<(Tool, Window)>,
    /// Windows without any tool call but those of one tool: nothing else that a new Sentry issue
    /// could be connected with.
    pub quiet_tools: Vec<(Window, Option<Tool>)>,
}

impl Effects {
    /// The change of a feature at a time.
    pub(crate) fn of(&self, feature: &str, at: Micros) -> Option<FeatureChange> {
        self.features.iter().find(|(name, window, _)| *name == feature && window.holds(at)).map(|(.., change)| *change)
    }

    /// Whether a tool is broken at a time.
    pub(crate) fn is_broken(&self, tool: Tool, at: Micros) -> bool {
        self.broken_tools.iter().any(|(broken, window)| *broken == tool && window.holds(at))
    }

    /// Whether a tool is called at a time.
    pub(crate) fn runs(&self, tool: Tool, at: Micros) -> bool {
        !self.quiet_tools.iter().any(|(window, spared)| window.holds(at) && *spared != Some(tool))
    }
}
