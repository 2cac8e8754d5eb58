//! Checkpoints beside the writer: what was committed to the write-ahead log is copied into the file by a thread of its own.
//!
//! SQLite does it in the commit that fills the log, so that every thousandth page a whole group of writes waits for two more
//! syncs of the disk. Here the writer only wakes the thread. While writes never pause the log does not begin anew, since
//! that takes a moment without a page that is not copied; when it is long, the writer copies the rest itself.

use std::cell::Cell;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::connection::{open_checkpointer, sqlite_error};
use crate::{Result, StoreError};

/// Pages (of 4 KiB) in the log from which on they are copied.
const BEGIN: i32 = 1_000;
/// Pages at which the writer copies what is left: 128 MiB.
const LONG: i32 = 32_768;

thread_local! {
    /// Pages in the log after the newest commit of this thread's connection.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// The thread, ended when dropped.
pub(super) struct Checkpointer {
    /// `None` once closing.
    wake: Option<mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> Result<Self> {
        let connection = open_checkpointer(path)?;
        // One place: a wake-up while it copies is one more turn, and more of them are no more turns.
        let (wake, woken) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("tripline-store-checkpoint".to_owned())
            .spawn(move || {
                for () in woken {
                    copy(&connection);
                }
            })
            .map_err(|error| StoreError::Database {
                doing: "starting the checkpoint thread",
                message: error.to_string(),
            })?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Takes over from SQLite: called on the writer's thread, before its first commit.
    pub(super) fn take_over(&self, writer: &Connection) {
        writer.wal_hook(Some(|_, pages| {
            PAGES.set(pages);
            Ok(())
        }));
    }

    /// After a commit of the writer, on its thread.
    pub(super) fn committed(&self, writer: &Connection) {
        match PAGES.get() {
            pages if pages >= LONG => copy(writer),
            pages if pages >= BEGIN => {
                // It is copying already when this is refused.
                let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
            }
            _ => {}
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the checkpoint thread of the store ended with a panic");
        }
    }
}

/// Copies what nobody reads an older state of. That it fails (a full disk) loses nothing: the log keeps what it has.
fn copy(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        let error = sqlite_error("copying the write-ahead log into the database", error);
        tracing::warn!(error = error.report(), "a checkpoint failed; the next one is tried after the next commit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::connection::{create_private, open_writer};

    #[test]
    fn the_log_is_copied_beside_the_writer_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create_private(&path).unwrap();
        let writer = open_writer(&path, false).unwrap();
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        let checkpointer = Checkpointer::start(&path).unwrap();
        checkpointer.take_over(&writer);
        let insert = |bytes: i64| writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).unwrap();
        insert(8 * 1024 * 1024);
        let filled = PAGES.get();
        assert!(filled > BEGIN, "{filled} pages");
        checkpointer.committed(&writer);
        // Dropping it waits for what it does.
        drop(checkpointer);
        insert(1);
        assert!(PAGES.get() < 10, "the log goes on at its begin: {} pages", PAGES.get());
    }

    #[test]
    fn a_log_that_is_long_is_copied_by_the_writer_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        create_private(&path).unwrap();
        let writer = open_writer(&path, false).unwrap();
        writer.execute_batch("CREATE TABLE t (x BLOB)").unwrap();
        let mut checkpointer = Checkpointer::start(&path).unwrap();
        // Nobody else copies.
        checkpointer.wake = None;
        checkpointer.take_over(&writer);
        writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [i64::from(LONG) * 4096]).unwrap();
        checkpointer.committed(&writer);
        writer.execute("INSERT INTO t VALUES (zeroblob(1))", []).unwrap();
        assert!(PAGES.get() < 10, "{} pages", PAGES.get());
    }
}
