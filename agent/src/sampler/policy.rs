//! The sampler's policy, which is a setting: how much each reason weighs, and from which sum on a trace is kept.

use serde::{Deserialize, Serialize};

/// Largest score and largest threshold.
const MOST: i64 = 1_000;

/// The scores, and from which sum on a trace is kept. Each 0 to 1000; the threshold 1 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingPolicy {
    /// An observation has level ERROR or WARNING.
    pub has_error_score: i64,
    /// It cost more than twice the average trace of its feature.
    pub cost_spike_score: i64,
    /// An output fits its schema no longer.
    pub schema_failed_score: i64,
    /// It used tools that no earlier trace used together.
    pub novel_pattern_score: i64,
    /// It has more than 5 generations.
    pub high_gen_score: i64,
    /// A detector's finding is about it: its trace, its feature or its tool, at that time.
    pub incident_score: i64,
    /// Kept from this sum on.
    pub keep_threshold: i64,
}

impl Default for SamplingPolicy {
    fn default() -> Self {
        Self {
            has_error_score: 100,
            cost_spike_score: 80,
            schema_failed_score: 70,
            novel_pattern_score: 60,
            high_gen_score: 40,
            incident_score: 100,
            keep_threshold: 40,
        }
    }
}

impl SamplingPolicy {
    /// The first key that is out of its range, with its value and what is allowed.
    ///
    /// # Errors
    /// Key, value, what is allowed.
    pub fn check(&self) -> Result<(), (&'static str, i64, String)> {
        for (key, value, least) in [
            ("has_error_score", self.has_error_score, 0),
            ("cost_spike_score", self.cost_spike_score, 0),
            ("schema_failed_score", self.schema_failed_score, 0),
            ("novel_pattern_score", self.novel_pattern_score, 0),
            ("high_gen_score", self.high_gen_score, 0),
            ("incident_score", self.incident_score, 0),
            ("keep_threshold", self.keep_threshold, 1),
        ] {
            if !(least..=MOST).contains(&value) {
                return Err((key, value, format!("a whole number from {least} to {MOST}")));
            }
        }
        Ok(())
    }
}
