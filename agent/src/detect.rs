//! Detection: a detector's SQL file over one window gives findings.
//!
//! Owns: judging a window ([`Detectors::judge`]), the tables a detector compares with ([`inputs`]), and turning rows into
//! findings ([`finding`]). Does not own: rules (they are in `queries/detectors/*.sql`), when windows are due (jobs), or what
//! follows from a finding (respond).
//!
//! Must hold: a detector is a pure function of its window, the sources' data and what earlier windows left in the store;
//! `now()` in its SQL is the end of the window; a source that fails is a gap, never an empty table; with
//! `Persist::Nothing` nothing is written.

pub mod finding;
pub mod inputs;

mod cost_hours;
pub(crate) mod run;
mod schemas;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tripline_engine::{EngineError, Param, QueryResult, ScanErrorKind};
use tripline_store::{Gap, IncidentFilter, IncidentStatus, PageRequest, StoreError, Window};

use crate::AgentContext;
use crate::queries::{DetectorSpec, HeaderError, QueryLibrary};

pub use finding::Finding;
use inputs::{Cache, Loader};
use run::Run;

/// Whether judging a window leaves baselines and snapshots in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persist {
    /// Baselines are kept for the next window.
    Baselines,
    /// Hours of cost are kept. Schemas are not: the windows before this one are not judged yet, and what drifted in them would
    /// become the contract.
    CostHours,
    /// Nothing is written.
    Nothing,
}

/// What judging a window gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judgement {
    /// The detector.
    pub detector: String,
    /// The window.
    pub window: Window,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Sources that were missing. With any, the window is not judged completely: it is never clean.
    pub gaps: Vec<Gap>,
    /// Whether the rule was run all the same, over what the other sources say.
    pub partial: bool,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// HTTP requests sent.
    pub requests: u64,
}

impl Judgement {
    /// Whether every source answered completely.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty()
    }
}

/// Why a window could not be judged at all. A source that is missing is no error but a gap.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DetectError {
    /// The query file is wrong, or there is none of that name.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The SQL failed for a reason that is no source's.
    #[error("{origin}: {error}")]
    Query {
        /// The file.
        origin: String,
        /// What the engine says.
        error: EngineError,
    },
    /// The query returned something that is no finding or no baseline.
    #[error("{origin}: {message}")]
    Result {
        /// The file.
        origin: String,
        /// What is wrong.
        message: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A failed query: a missing source, or an error of its own.
pub(crate) enum Failure {
    Gap { gap: Gap, not_configured: bool },
    Error(DetectError),
}

impl<E: Into<DetectError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// Judges windows. Cheap to clone; clones share what is kept in memory.
#[derive(Clone)]
pub struct Detectors {
    ctx: AgentContext,
    queries: QueryLibrary,
    cache: Arc<Mutex<Cache>>,
}

impl std::fmt::Debug for Detectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detectors").finish_non_exhaustive()
    }
}

impl Detectors {
    /// Detectors of this library over this engine and store.
    #[must_use]
    pub fn new(ctx: AgentContext, queries: QueryLibrary) -> Self {
        Self { ctx, queries, cache: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// The query files.
    #[must_use]
    pub fn queries(&self) -> &QueryLibrary {
        &self.queries
    }

    /// What everything works with.
    #[must_use]
    pub fn context(&self) -> &AgentContext {
        &self.ctx
    }

    /// Judges the window of detector `name` that ends at `at`.
    ///
    /// # Errors
    /// [`DetectError`]; a missing source is a gap of the judgement instead.
    pub async fn run_once(&self, name: &str, at: DateTime<Utc>, persist: Persist) -> Result<Judgement, DetectError> {
        let spec = self.queries.detector(name)?;
        let window = Window::new(at - spec.window, at)?;
        self.judge(&spec, window, persist).await
    }

    /// Judges a window.
    ///
    /// # Errors
    /// [`DetectError`]; a missing source is a gap of the judgement instead.
    pub async fn judge(&self, spec: &DetectorSpec, window: Window, persist: Persist) -> Result<Judgement, DetectError> {
        let mut judgement = Judgement {
            detector: spec.name.clone(),
            window,
            findings: Vec::new(),
            gaps: Vec::new(),
            partial: false,
            notes: Vec::new(),
            requests: 0,
        };
        match self.findings(spec, window, persist, &mut judgement).await {
            Ok(findings) => {
                judgement.findings = findings;
                judgement.partial = !judgement.gaps.is_empty();
            }
            Err(Failure::Gap { gap, .. }) => judgement.gaps.push(gap),
            Err(Failure::Error(error)) => return Err(error),
        }
        Ok(judgement)
    }

    async fn findings(
        &self,
        spec: &DetectorSpec,
        window: Window,
        persist: Persist,
        judgement: &mut Judgement,
    ) -> Result<Vec<Finding>, Failure> {
        let settings = self.ctx.settings.get();
        let set = self.queries.current();
        let loader = Loader {
            ctx: &self.ctx,
            set: &set,
            cache: &self.cache,
            settings: &settings,
            window,
            healthy_until: self.healthy_until(spec, window).await?,
            persist,
        };
        let loaded = loader.load(&spec.bindings, &spec.header.origin).await?;
        judgement.gaps.extend(loaded.gaps);
        judgement.notes.extend(loaded.notes);
        judgement.requests += loaded.requests;

        let mut params = spec.bindings.values(&settings);
        params.extend(loaded.lists);
        params.insert("window_start".to_owned(), Param::Timestamp(window.start));
        params.insert("window_end".to_owned(), Param::Timestamp(window.end));
        let run = Run {
            engine: &self.ctx.engine,
            header: &spec.header,
            params,
            input: loaded.tables,
            now: window.end,
            stop_when_empty: spec.stop_when_empty.as_deref(),
        };
        let answer = run.answer().await.map_err(|error| failure(error, &spec.header.origin, &spec.sources))?;
        judgement.requests += answer.requests;
        judgement.gaps.extend(answer.gaps);
        Ok(match &answer.result {
            Some(result) => finding::read(spec, window, result)?,
            None => Vec::new(),
        })
    }

    /// Until when the history before a window counts as healthy: while an incident of the detector lasts, what came since
    /// it began is no baseline for it. An incident older than a week is what is normal now.
    async fn healthy_until(&self, spec: &DetectorSpec, window: Window) -> Result<DateTime<Utc>, StoreError> {
        let filter = IncidentFilter {
            status: Some(IncidentStatus::Open),
            detector: Some(spec.name.clone()),
            ..IncidentFilter::default()
        };
        let open = self.ctx.store.incidents.list(&self.ctx.scope, &filter, &PageRequest::first(200)).await?;
        let oldest = open
            .items
            .iter()
            .map(|incident| incident.window.start)
            .filter(|start| *start < window.start && window.start - *start <= TimeDelta::days(7))
            .min();
        Ok(oldest.unwrap_or(window.start))
    }
}

/// Judges the window of detector `name` that ends at `at`, as [`Detectors::run_once`] does.
///
/// # Errors
/// As there.
pub async fn run_once(
    ctx: &AgentContext,
    queries: &QueryLibrary,
    name: &str,
    at: DateTime<Utc>,
    persist: Persist,
) -> Result<Judgement, DetectError> {
    Detectors::new(ctx.clone(), queries.clone()).run_once(name, at, persist).await
}

/// What the failure of a query means: a source that could not be asked is a gap.
pub(crate) fn failure(error: EngineError, origin: &str, sources: &[String]) -> Failure {
    match &error {
        EngineError::Source(scan) if scan.kind == ScanErrorKind::MissingKey => {
            Failure::Error(DetectError::Query { origin: origin.to_owned(), error })
        }
        EngineError::Source(scan) => Failure::Gap {
            gap: Gap { source: scan.source.clone(), reason: scan.to_string() },
            not_configured: scan.kind == ScanErrorKind::NotConfigured,
        },
        EngineError::Deadline(_) | EngineError::Cancelled => {
            Failure::Gap { gap: Gap { source: sources.join(", "), reason: error.to_string() }, not_configured: false }
        }
        _ => Failure::Error(DetectError::Query { origin: origin.to_owned(), error }),
    }
}

/// The gaps that a finished query states.
pub(crate) fn gaps_of(result: &QueryResult) -> Vec<Gap> {
    let of_scans = result.report.scans.iter();
    of_scans
        .filter_map(|scan| {
            let reason = scan.gap.as_ref()?;
            Some(Gap { source: scan.source.clone(), reason: format!("{}.{}: {reason}", scan.source, scan.table) })
        })
        .collect()
}
