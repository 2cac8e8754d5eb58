//! The embedded implementation: one SQLite file, one writer thread, a pool of readers.
//!
//! Owns opening, locking, migrating and closing the file, and the implementation of every aggregate's trait
//! (one file each below). Does not own the data model ([`crate::model`]) nor the SQL tables ([`crate::tables`]).
//!
//! Must hold: a write is answered after its `COMMIT` returned (WAL, `synchronous = FULL`); readers never write
//! (`SQLITE_OPEN_READ_ONLY`, `query_only`) and never block the writer; no bound value is ever spliced into SQL.

mod action;
mod anomaly;
mod api_key;
mod approval;
mod audit;
mod baseline;
mod checkpoint;
mod connection;
mod digest;
mod evidence;
mod feedback;
mod ids;
mod incident;
mod job;
mod kill;
mod listing;
mod lock;
mod loops;
mod migrations;
mod narration;
mod project;
mod readers;
mod replay;
mod risk;
mod run;
mod sampling;
mod schema_snapshot;
mod sessions;
mod values;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use migrations::SCHEMA_VERSION;
pub use writer::WriterStats;

use crate::ingest::{IngestPolicy, Log, Shelf};
use crate::model::Store;
use crate::{Result, StoreError};
use ids::Ids;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use writer::Writer;

pub(crate) use connection::DbResult;
pub(crate) use readers::{Reader, Readers, read_error};
pub(crate) use values::{micros, run};
pub(crate) use writer::{Job, Tx};

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// As the server of this home: creates and migrates the file, and keeps every other server out until closed.
    Serve,
    /// To write a little beside a server that may be running (`keys create`, `jobs run`): creates and migrates the
    /// file if no server is running.
    Beside,
    /// To read beside a server that may be running (`sql`, `detectors run`, `audit verify`): never changes the file.
    ReadOnly,
    /// As `Serve`, of a file that is thrown away when its store is closed: nothing is ever waited for to be on disk.
    Scratch,
}

/// How a store is opened, in detail.
#[derive(Debug, Clone, Copy)]
pub struct OpenOptions {
    /// In which role.
    pub mode: OpenMode,
    /// Seed of the ids it makes; `None` takes one from the operating system. Secrets never come from it.
    ///
    /// Two handles with one seed on one file make the same ids: for tests with one handle only.
    pub id_seed: Option<u64>,
}

impl OpenOptions {
    /// A mode, and ids from the operating system's randomness.
    pub fn new(mode: OpenMode) -> Self {
        Self { mode, id_seed: None }
    }
}

impl From<OpenMode> for OpenOptions {
    fn from(mode: OpenMode) -> Self {
        Self::new(mode)
    }
}

/// The store on one SQLite file. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

/// Fields are dropped in this order: readers before the writer, so that the writer's connection is the last and
/// folds the write-ahead log back into the file; the lock after both.
struct Inner {
    path: PathBuf,
    readers: Readers,
    writer: Option<Writer>,
    last_uses: api_key::LastUses,
    log: Arc<Log>,
    /// Counts what senders of sessions changed through this handle.
    session_changes: watch::Sender<u64>,
    _lock: Option<lock::ServeLock>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, creating folder and file (permissions 0700 and 0600) where the mode allows.
    ///
    /// Blocks for some milliseconds: call it at start.
    ///
    /// # Errors
    /// `Locked` when another server holds the file (mode `Serve`); `NoDatabase` (mode `ReadOnly`); `SchemaVersion` when the
    /// file's schema is newer, or older and may not be migrated now; `File` and `Database`.
    pub fn open(path: impl AsRef<Path>, options: impl Into<OpenOptions>) -> Result<Self> {
        let folder = path.as_ref().with_file_name("segments");
        Self::open_with_shelf(path, options, Shelf::local(folder))
    }

    /// The same, with the place that sealed events are kept in. [`open`](Self::open) keeps them in the folder
    /// `segments` beside the file.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_shelf(path: impl AsRef<Path>, options: impl Into<OpenOptions>, shelf: Shelf) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let options = options.into();
        let (writer, lock) = match options.mode {
            OpenMode::ReadOnly => {
                if !path.is_file() {
                    return Err(StoreError::NoDatabase { path });
                }
                migrations::require_current(&connection::open_reader(&path)?, &path)?;
                (None, None)
            }
            OpenMode::Serve | OpenMode::Beside | OpenMode::Scratch => {
                connection::create_private(&path)?;
                let opening = lock::hold_opening(&path)?;
                let serve_lock = lock::try_serve(&path)?;
                let (lock, others) = match (serve_lock, options.mode) {
                    (lock::TryServe::Held(_), OpenMode::Beside) => (None, false),
                    (lock::TryServe::Held(lock), _) => (Some(lock), false),
                    (lock::TryServe::Taken { .. }, OpenMode::Beside) => (None, true),
                    (lock::TryServe::Taken { pid }, _) => return Err(StoreError::Locked { path, pid }),
                };
                let durable = options.mode != OpenMode::Scratch;
                let mut connection = connection::open_writer(&path, durable)?;
                if others {
                    // A running server must not find another schema under its feet.
                    migrations::require_current(&connection, &path)?;
                } else {
                    migrations::migrate(&mut connection, &path)?;
                }
                drop(opening);
                // A command's few writes need no thread for it.
                let served = options.mode == OpenMode::Serve;
                let checkpointer = served.then(|| checkpoint::Checkpointer::start(&path)).transpose()?;
                (Some(Writer::start(connection, Ids::new(options.id_seed), checkpointer)?), lock)
            }
        };
        let readers = Readers::new(path.clone());
        let sql = "SELECT coalesce(sum(bytes), 0) FROM ingest_log";
        let unsealed: i64 = (readers.connection()?.raw()?.query_row(sql, [], |row| row.get(0)))
            .map_err(read_error("reading the size of the event log"))?;
        let seed =
            options.id_seed.unwrap_or_else(|| rand::TryRngCore::try_next_u64(&mut rand::rngs::OsRng).unwrap_or(0));
        let log = Arc::new(Log::new(shelf, u64::try_from(unsealed).unwrap_or(0), seed));
        let (last_uses, session_changes) = (Default::default(), watch::Sender::new(0));
        Ok(Self { inner: Arc::new(Inner { path, readers, writer, last_uses, log, session_changes, _lock: lock }) })
    }

    /// Every aggregate, as one bundle.
    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.clone()))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What the writer has done so far, for metrics; `None` when opened for reading only.
    pub fn writer_stats(&self) -> Option<WriterStats> {
        self.inner.writer.as_ref().map(Writer::stats)
    }

    /// Changes what the event log does, from now on.
    pub fn set_ingest_policy(&self, policy: IngestPolicy) {
        self.inner.log.set_policy(policy);
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.inner.log
    }

    /// Hands a job of a kind of its own to the writer, without waiting; whether it was taken.
    pub(crate) fn write_job(&self, job: Box<dyn Job>) -> bool {
        self.inner.writer.as_ref().is_some_and(|writer| writer.submit_job(job))
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.inner.readers
    }

    pub(crate) fn session_changes(&self) -> &watch::Sender<u64> {
        &self.inner.session_changes
    }

    pub(crate) fn last_uses(&self) -> &api_key::LastUses {
        &self.inner.last_uses
    }

    /// Runs a job in the writer's next transaction; answers after the commit. Dropping the future does not stop
    /// the job.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.writer.as_ref().ok_or(StoreError::ReadOnly)?.submit(doing, job).await
    }

    /// Hands a job to the writer without waiting; whether it was taken.
    pub(crate) fn write_later(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut Tx<'_>) -> DbResult<()> + Send + 'static,
    ) -> bool {
        self.inner.writer.as_ref().is_some_and(|writer| writer.submit_later(doing, job))
    }

    /// Runs a job on a reader, in one snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&rusqlite::Connection) -> DbResult<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.read(doing, job).await
    }
}
