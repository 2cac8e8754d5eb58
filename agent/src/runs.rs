//! Runs: which of them are due, what is wrong with them, and how that is said.
//!
//! Owns: the judge ([`judge`]), the detectors' files ([`spec`], [`rule`]), what runs are compared with ([`baseline`]),
//! what several signals in one run mean ([`co_signals`]), and explanations ([`mod@explain`]). Does not own: the rules
//! themselves (`queries/runs/*.sql`), how runs are built of events, or how verdicts are kept (both the store's).
//!
//! Must hold: a run is judged once, after its end has settled or when it fell silent, by every bundled detector or by none; a
//! file of one's own that fails is told, and what it did not judge is remembered; all due runs are judged by one query per detector, however many they are; a detector on trial (shadow) tells nobody.

pub mod advice;
pub mod alerts;
pub mod baseline;
pub mod co_signals;
pub mod detect;
pub mod explain;
pub mod explainer;
pub mod facts;
pub mod failing;
pub mod health;
pub mod judge;
pub mod preview;
pub mod rule;
pub mod settings;
pub mod spec;
pub mod trace;

#[cfg(test)]
mod tests;

pub use advice::{Advice, FixType, advice};
pub use alerts::Alerts;
pub use detect::{Found, RunBatch, detect};
pub use explain::{Explanation, Fix, RateContext, explain, explain_signal};
pub use explainer::{Explained, Explainer, Question};
pub use failing::check;
pub use health::AgentHealth;
pub use judge::{Judge, JudgeError, Judged, Judges};
pub use preview::{Flagged, RunPreview, RunsPreview, TriedOut, newest_runs, preview, try_out};
pub use settings::{Confidence, RunSettings};
pub use spec::RunDetectorSpec;
