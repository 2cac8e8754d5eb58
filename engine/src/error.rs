//! What can go wrong in a query, said so that the reader knows what to do next.
//!
//! Owns: [`EngineError`] (what a caller of the engine gets) and [`ScanError`] (what a remote table reports).
//! Every error has a primary line, and where there is something to do, a hint. Neither ever holds a secret:
//! URLs arrive here already redacted.

use std::fmt;

use datafusion::error::DataFusionError;
use serde::Serialize;

/// Why a scan of a remote table failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanErrorKind {
    /// The vendor refused the credentials (401, 403, `invalid_auth` …).
    Unauthorized,
    /// A credential or setting this source needs is not configured.
    NotConfigured,
    /// The source is not for whoever asks: nothing was sent.
    Forbidden,
    /// The vendor does not know the resource (404).
    NotFound,
    /// The vendor rejected the request as malformed (400, 422).
    BadRequest,
    /// The vendor kept throttling after every retry.
    RateLimited,
    /// The vendor answered with a server error after every retry.
    Unavailable,
    /// No answer: connection refused, reset, DNS, TLS.
    Connection,
    /// The query's deadline passed while waiting for the vendor.
    Deadline,
    /// The query's API-call budget was spent.
    Budget,
    /// The answer was not what the source's spec says (not JSON, rows path missing, a value of the wrong type).
    Malformed,
    /// More rows exist than the vendor lets anyone read (its own cap), so the answer would be incomplete.
    Incomplete,
    /// A key the table requires was not supplied.
    MissingKey,
    /// The scan would hold more than the query's memory.
    Memory,
    /// The query was cancelled.
    Cancelled,
}

impl ScanErrorKind {
    /// The kind in the words of an error message.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Unauthorized => "the source refused the credentials",
            Self::NotConfigured => "the source is not configured",
            Self::Forbidden => "the source belongs to the installation, not to a project",
            Self::NotFound => "the source does not know this resource",
            Self::BadRequest => "the source rejected the request",
            Self::RateLimited => "the source is rate limiting and did not relent",
            Self::Unavailable => "the source is failing",
            Self::Connection => "the source could not be reached",
            Self::Deadline => "the query's deadline passed",
            Self::Budget => "the query's API-call budget is spent",
            Self::Malformed => "the source's answer was not understood",
            Self::Incomplete => "the answer would be incomplete",
            Self::MissingKey => "a required key is missing",
            Self::Memory => "the query needs more memory than its limit",
            Self::Cancelled => "the query was cancelled",
        }
    }
}

/// A failed scan: which source and table, which request (secrets removed), what the vendor said, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanError {
    /// Source, e.g. `langfuse`.
    pub source: String,
    /// Table within the source, e.g. `observations`.
    pub table: String,
    /// What class of failure this is.
    pub kind: ScanErrorKind,
    /// `METHOD URL` of the request that failed, without credentials.
    pub request: Option<String>,
    /// HTTP status, when an answer came.
    pub status: Option<u16>,
    /// What happened, in the vendor's or the transport's words (shortened).
    pub detail: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl ScanError {
    /// A new error about `source.table`.
    #[must_use]
    pub fn new(source: &str, table: &str, kind: ScanErrorKind, detail: impl Into<String>) -> Self {
        Self {
            source: source.to_owned(),
            table: table.to_owned(),
            kind,
            request: None,
            status: None,
            detail: detail.into(),
            hint: None,
        }
    }

    /// Names the request; `request` must already be free of secrets.
    #[must_use]
    pub fn request(mut self, request: impl Into<String>) -> Self {
        self.request = Some(request.into());
        self
    }

    /// Records the HTTP status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}: {}", self.source, self.table, self.kind.describe())?;
        if let Some(status) = self.status {
            write!(f, " (HTTP {status})")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        if let Some(request) = &self.request {
            write!(f, " [{request}]")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, ". Hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ScanError {}

impl From<ScanError> for DataFusionError {
    fn from(error: ScanError) -> Self {
        DataFusionError::External(Box::new(error))
    }
}

/// What a query can end in instead of rows.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EngineError {
    /// The SQL text is wrong: syntax, unknown table or column, types, a missing parameter.
    #[error("{message}{}", hint_text(.hint.as_deref()))]
    Query {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The statement would change something; only reading is allowed.
    #[error("only read-only SQL is allowed: {0}")]
    ReadOnly(String),
    /// A source failed; there is no complete answer.
    #[error("{0}")]
    Source(ScanError),
    /// The deadline passed before the answer was complete.
    #[error("the query did not finish within {0:?}. Hint: narrow the time window, add a LIMIT, or raise the deadline")]
    Deadline(std::time::Duration),
    /// The caller went away or asked to stop.
    #[error("the query was cancelled")]
    Cancelled,
    /// The query needs more memory than it may have.
    #[error(
        "the query needs more memory than its limit: {0}. Hint: select fewer columns, narrow the window, or aggregate earlier"
    )]
    Memory(String),
    /// Anything else that failed while running.
    #[error("{0}")]
    Execution(String),
}

fn hint_text(hint: Option<&str>) -> String {
    hint.map(|h| format!(". Hint: {h}")).unwrap_or_default()
}

impl EngineError {
    /// A wrong query with a hint.
    #[must_use]
    pub fn query(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Query { message: message.into(), hint: Some(hint.into()) }
    }

    /// The failed source, when that is what this is.
    #[must_use]
    pub fn scan_error(&self) -> Option<&ScanError> {
        match self {
            Self::Source(scan) => Some(scan),
            _ => None,
        }
    }

    /// A short stable word for machines: `query`, `read_only`, `source`, `deadline`, `cancelled`, `memory`, `execution`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Query { .. } => "query",
            Self::ReadOnly(_) => "read_only",
            Self::Source(_) => "source",
            Self::Deadline(_) => "deadline",
            Self::Cancelled => "cancelled",
            Self::Memory(_) => "memory",
            Self::Execution(_) => "execution",
        }
    }
}

/// The [`ScanError`] inside a DataFusion error, however deeply wrapped.
fn find_scan_error(error: &DataFusionError) -> Option<ScanError> {
    let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = current {
        if let Some(scan) = e.downcast_ref::<ScanError>() {
            return Some(scan.clone());
        }
        current = match e.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(&**inner),
            Some(DataFusionError::Shared(inner)) => Some(&**inner),
            Some(DataFusionError::Context(_, inner)) => Some(&**inner),
            Some(DataFusionError::ArrowError(inner, _)) => Some(&**inner),
            _ => e.source(),
        };
        if let Some(arrow::error::ArrowError::ExternalError(inner)) =
            current.and_then(|c| c.downcast_ref::<arrow::error::ArrowError>())
        {
            current = Some(&**inner);
        }
    }
    None
}

impl From<DataFusionError> for EngineError {
    fn from(error: DataFusionError) -> Self {
        if let Some(scan) = find_scan_error(&error) {
            return match scan.kind {
                ScanErrorKind::Cancelled => Self::Cancelled,
                ScanErrorKind::Memory => Self::Memory(scan.detail),
                _ => Self::Source(scan),
            };
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(message) => Self::Memory(message.clone()),
            DataFusionError::SQL(parse, _) => Self::Query { message: format!("SQL syntax: {parse}"), hint: None },
            DataFusionError::Plan(message) => Self::Query { message: message.clone(), hint: None },
            DataFusionError::NotImplemented(message) => {
                Self::Query { message: format!("not supported: {message}"), hint: None }
            }
            DataFusionError::SchemaError(schema, _) => Self::Query { message: schema.to_string(), hint: None },
            root => Self::Execution(root.strip_backtrace()),
        }
    }
}
