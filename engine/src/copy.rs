//! Local incremental copies of remote tables: a window of rows that was fetched once is not fetched again.
//!
//! Owns: when a scan is answered from a copy, what is fetched to bring the copy up to date ([`route`]), and the table
//! that does both ([`CopiedTable`]). Does not own: how a copy is kept ([`CopyStore`], implemented by the store), nor
//! which tables have one (settings).
//!
//! Must hold: a copy is only ever extended by whole ranges of complete scans, so a scan answered from it lacks nothing
//! that it covers; an answer is no older than the query accepts; content and costly columns are never kept; a copy that
//! cannot be used is said so in the report and the source is asked instead.

mod listing;
mod route;
mod table;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::BoxStream;

pub use listing::listing;
pub use table::{CopiedTable, CopyRefusal};

/// A stretch of time, `[from, until)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSpan {
    /// Its first moment.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub until: DateTime<Utc>,
}

impl TimeSpan {
    /// From `from` on, without an end.
    #[must_use]
    pub fn since(from: DateTime<Utc>) -> Self {
        Self { from, until: DateTime::<Utc>::MAX_UTC }
    }

    fn length(self) -> TimeDelta {
        self.until - self.from
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from.format("%F %T"), self.until.format("%F %T UTC"))
    }
}

/// Which rows a copy is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CopyId {
    /// Source, e.g. `langfuse`.
    pub source: String,
    /// Table within the source.
    pub table: String,
    /// Stands for base URL and account; rows of another account are other rows. Holds no secret.
    pub account: String,
    /// The table's required keys and the values they are pinned to, e.g. owner and repo.
    pub pinned: Vec<(String, String)>,
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.source, self.table)?;
        for (column, value) in &self.pinned {
            write!(f, " {column}={value}")?;
        }
        Ok(())
    }
}

/// The columns of a copy.
#[derive(Debug, Clone)]
pub struct CopyShape {
    /// All of them.
    pub schema: SchemaRef,
    /// The position of the column that windows are about; rows where it is NULL are not kept.
    pub time: usize,
    /// The positions of the columns that identify a row; a newer version of a row replaces the older.
    pub key: Vec<usize>,
}

/// How far a copy reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyState {
    /// The stretch of time of which it has every row.
    pub covered: Option<TimeSpan>,
    /// When it was last brought up to date.
    pub refreshed_at: Option<DateTime<Utc>>,
    /// Rows in it.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// Rows that a copy takes in, in one step.
#[derive(Debug)]
pub struct CopyChange {
    /// Rows of [`CopyShape::schema`]. Each replaces what the copy has under its key.
    pub rows: Vec<RecordBatch>,
    /// Everything that the copy had here is replaced by `rows`: what is not among them is gone at the source.
    pub replaces: Option<TimeSpan>,
    /// What the copy covers afterwards.
    pub covered: TimeSpan,
    /// When it was brought up to date, if this does that.
    pub refreshed_at: Option<DateTime<Utc>>,
}

/// A copy that cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the local copy of {copy} cannot be used: {reason}")]
pub struct CopyError {
    /// Which copy.
    pub copy: String,
    /// What went wrong.
    pub reason: String,
}

/// Rows of a copy.
pub type CopyRows = BoxStream<'static, Result<RecordBatch, CopyError>>;

/// Keeps copies.
#[async_trait]
pub trait CopyStore: fmt::Debug + Send + Sync {
    /// How far a copy reaches; a copy of other columns is as good as none.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn state(&self, id: &CopyId, shape: &CopyShape) -> Result<CopyState, CopyError>;

    /// Waits until nobody else changes this copy, in this process or another, and keeps it so while the guard lives.
    ///
    /// # Errors
    /// When the copy's folder cannot be made.
    async fn lock(&self, id: &CopyId) -> Result<Box<dyn Any + Send>, CopyError>;

    /// Takes rows in, all or none. Rows before [`CopyChange::covered`] are forgotten.
    ///
    /// # Errors
    /// When they cannot be written; the copy is then as it was.
    async fn apply(&self, id: &CopyId, shape: &CopyShape, change: CopyChange) -> Result<CopyState, CopyError>;

    /// The rows of `span`, with the columns `projection` (positions in the shape), in the order of the time column.
    ///
    /// # Errors
    /// When the copy cannot be opened; later failures are in the stream.
    async fn read(
        &self,
        id: &CopyId,
        shape: &CopyShape,
        span: TimeSpan,
        projection: Vec<usize>,
        descending: bool,
    ) -> Result<CopyRows, CopyError>;

    /// All copies there are.
    ///
    /// # Errors
    /// When the folder cannot be read.
    async fn list(&self) -> Result<Vec<(CopyId, CopyState)>, CopyError>;
}

/// Which table is copied, and how.
#[derive(Debug, Clone)]
pub struct CopyPolicy {
    /// How far back rows are kept.
    pub window: TimeDelta,
    /// How far behind its newest row the copy is read again each time, for rows that come late.
    pub overlap: TimeDelta,
    /// The column that windows are about; else the table's natural order or only time filter says.
    pub time: Option<String>,
}

/// A shared [`CopyStore`].
pub type SharedCopyStore = Arc<dyn CopyStore>;
