//! What the server needs from the rest of the product, as small traits. The command line wires them up.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use tripline_agent::queries::catalog::DetectorEntry;
use tripline_engine::{Engine, EngineError};
use tripline_store::{DetectorFailure, JobRun, Scope};

/// Engines whose local tables show one project's rows only.
#[async_trait]
pub trait EngineProvider: Send + Sync {
    /// The engine for a scope. Asked for with every query, so it should be kept.
    ///
    /// # Errors
    /// When it cannot be built.
    async fn engine(&self, scope: &Scope) -> Result<Arc<Engine>, EngineError>;
}

/// Why a port could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    /// What kind of failure it is.
    pub kind: PortErrorKind,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// The kinds of failure of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// There is no such thing.
    NotFound,
    /// It is being done already.
    Busy,
    /// It cannot be done as asked.
    Invalid,
    /// It failed.
    Failed,
}

/// A job, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobInfo {
    /// Its name.
    pub name: String,
    /// What it does, one line.
    pub description: String,
    /// Its cron expression; `None` when it only runs on demand.
    pub schedule: Option<String>,
    /// When it is due next.
    pub next_due_at: Option<DateTime<Utc>>,
    /// How far it has come: everything before is judged.
    pub judged_until: Option<DateTime<Utc>>,
    /// Its newest run.
    pub last_run: Option<JobRun>,
}

/// What running a job came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobAnswer {
    /// The run on record; `None` for a dry run.
    pub run: Option<JobRun>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// What it found or did.
    pub detail: Value,
}

/// The jobs and their runner.
#[async_trait]
pub trait JobControl: Send + Sync {
    /// All jobs, by name.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn jobs(&self, scope: &Scope) -> Result<Vec<JobInfo>, PortError>;

    /// Runs a job now and waits for it. A dry run writes nothing.
    ///
    /// # Errors
    /// [`PortErrorKind::NotFound`], [`PortErrorKind::Busy`] when it is running already.
    async fn run(&self, scope: &Scope, name: &str, dry_run: bool, by: &str) -> Result<JobAnswer, PortError>;
}

/// How much a source still allows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceLimits {
    /// Requests per period, as the vendor says.
    pub limit: Option<u64>,
    /// What is left of them.
    pub remaining: Option<u64>,
    /// When the period ends.
    pub resets_at: Option<DateTime<Utc>>,
}

/// A source, as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceStatus {
    /// Its SQL schema.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Where it is read from, without secrets.
    pub base_url: String,
    /// `configured`, or what is missing.
    pub status: String,
    /// Its tables.
    pub tables: Vec<String>,
    /// When it last answered.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it last failed.
    pub last_failure_at: Option<DateTime<Utc>>,
    /// How it last failed, without secrets.
    pub last_failure: Option<String>,
    /// Milliseconds that its last answer took.
    pub latency_ms: Option<u64>,
    /// Seconds for which nothing is sent to it, because it asked for a pause.
    pub paused_seconds: Option<u64>,
    /// How much it still allows.
    pub limits: Option<SourceLimits>,
}

/// What one cheap request to a source came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceTest {
    /// The source.
    pub source: String,
    /// Whether address and credentials are right.
    pub ok: bool,
    /// Milliseconds until it answered.
    pub latency_ms: Option<u64>,
    /// Why not, without secrets.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The sources and their health.
#[async_trait]
pub trait SourceStatuses: Send + Sync {
    /// All sources, by name.
    fn sources(&self) -> Vec<SourceStatus>;

    /// Sends a source one cheap request. That it fails is an answer.
    ///
    /// # Errors
    /// [`PortErrorKind::NotFound`].
    async fn test(&self, name: &str) -> Result<SourceTest, PortError>;
}

/// A detector: what its file and the settings say, and how often people said that it was right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DetectorInfo {
    /// What file and settings say.
    #[serde(flatten)]
    pub entry: DetectorEntry,
    /// What it found: incidents of a detector of windows, signals of a detector of runs, those on trial too.
    pub found: i64,
    /// Those that people said are right.
    pub marked_right: i64,
    /// Those that people said are wrong.
    pub marked_wrong: i64,
    /// The share of right ones among those that were judged, 0 to 1; `None` while none was.
    pub precision: Option<f64>,
    /// That it fails, and why; of a detector of runs that comes from a file.
    pub failure: Option<DetectorFailure>,
}

impl From<DetectorEntry> for DetectorInfo {
    fn from(entry: DetectorEntry) -> Self {
        Self { entry, found: 0, marked_right: 0, marked_wrong: 0, precision: None, failure: None }
    }
}

/// The detectors there are.
pub trait DetectorCatalog: Send + Sync {
    /// All detectors, those of runs too.
    fn detectors(&self) -> Vec<DetectorEntry>;

    /// The failure types that detectors of runs find.
    fn failure_types(&self) -> Vec<String> {
        tripline_agent::runs::explain::BUNDLED.map(str::to_owned).to_vec()
    }
}
