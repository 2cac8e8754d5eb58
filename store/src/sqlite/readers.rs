//! The readers: connections that cannot write, used off the async threads.

use super::connection::{DbResult, open_reader, sqlite_error};
use crate::{Result, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Lookups at one time; more wait. A lookup takes micro- to milliseconds.
const LOOKUPS: usize = 8;
/// Connections that are kept open for the next use.
const IDLE: usize = 8;

/// A pool of read-only connections to one file.
#[derive(Clone)]
pub(crate) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    lookups: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        let shared = Shared { path, idle: Mutex::default(), lookups: Arc::new(Semaphore::new(LOOKUPS)) };
        Self { shared: Arc::new(shared) }
    }

    /// Runs a lookup on a blocking thread, in one snapshot of the database.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&Connection) -> DbResult<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.shared.lookups.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let lookup = move || {
            let _permit = permit;
            let reader = readers.connection()?;
            reader.snapshot(job).map_err(|error| error.during(doing))
        };
        tokio::task::spawn_blocking(lookup).await.unwrap_or(Err(StoreError::Internal { doing }))
    }

    /// How many connections wait for their next use.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A connection for a longer use (a scan). Never waits: scans of one query may need several at once, and waiting for
    /// each other would be a deadlock. It returns to the pool when dropped.
    pub(crate) fn connection(&self) -> Result<Reader> {
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| open_reader(&self.shared.path), Ok)?;
        Ok(Reader { connection: Some(connection), readers: self.clone() })
    }
}

/// A borrowed read-only connection.
pub(crate) struct Reader {
    connection: Option<Connection>,
    readers: Readers,
}

impl Reader {
    /// The connection itself, for a single statement (which is a snapshot of its own).
    pub(crate) fn raw(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or(StoreError::Closed)
    }

    /// Runs a job in one snapshot: all its statements see the same commit.
    pub(crate) fn snapshot<T>(&self, job: impl FnOnce(&Connection) -> DbResult<T>) -> DbResult<T> {
        let transaction = self.raw()?.unchecked_transaction()?;
        let outcome = job(&transaction);
        transaction.finish()?;
        outcome
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // A connection that is still inside a transaction would pin an old snapshot.
        if !connection.is_autocommit() {
            return;
        }
        let mut idle = self.readers.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
    }
}

/// Names what a lookup was doing, for callers outside a [`Reader::snapshot`].
pub(crate) fn read_error(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| sqlite_error(doing, error)
}
