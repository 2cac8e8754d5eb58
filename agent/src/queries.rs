//! The library of SQL files: detectors, evidence, baselines, templates and digests.
//!
//! Owns: the format of a file's header ([`header`]), its typed forms ([`spec`]), and where files come from: compiled in,
//! overridden by name from `$TRIPLINE_HOME/queries`, read anew when they change ([`library`]). Does not own: running
//! them (detect, investigate) nor what a cron expression means ([`crate::jobs::Schedule`]).
//!
//! Must hold: a file that is wrong is refused with its name and line, and never takes a good one's place unnoticed: the
//! last good version stays in force and the error is listed.

pub mod header;
pub mod library;
pub mod spec;
pub mod steps;

#[cfg(test)]
mod tests;

pub use header::HeaderError;
pub use library::{QueryLibrary, QuerySet, QueryStatus};
pub use spec::{
    BaselineSpec, DetectorSpec, EvidenceSpec, InputUse, Keep, ListParam, ParamSpec, SeverityRule, Span, TemplateSpec,
    TextTemplate, TimelineSpec,
};

/// What a file is for; also the folder it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryKind {
    /// Returns anomalies of a window.
    Detector,
    /// Returns rows for an investigation.
    Evidence,
    /// Returns what a detector compares with.
    Baseline,
    /// Run by name by people.
    Template,
    /// Part of the weekly digest.
    Digest,
    /// Returns what went wrong in runs.
    Run,
}

impl QueryKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Detector, Self::Evidence, Self::Baseline, Self::Template, Self::Digest, Self::Run];

    /// Name of its folder below `queries/`.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Detector => "detectors",
            Self::Evidence => "evidence",
            Self::Baseline => "baselines",
            Self::Template => "templates",
            Self::Digest => "digest",
            Self::Run => "runs",
        }
    }
}
