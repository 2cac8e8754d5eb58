//! What the SQLite implementation promises beyond the conformance suite, and the suite run against it.

mod conformance;
mod durability;
mod opening;
mod sessions;
mod state_machines;
mod tampering;
mod writing;

use super::{OpenMode, OpenOptions, SqliteStore};
use crate::model::Store;
use std::path::PathBuf;
use tempfile::TempDir;

/// A state folder of its own, removed when dropped.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("state").join("tripline.db")
    }

    pub(crate) fn open(&self, mode: OpenMode) -> SqliteStore {
        SqliteStore::open(self.path(), OpenOptions::new(mode)).unwrap()
    }

    pub(crate) fn serve(&self) -> SqliteStore {
        self.open(OpenMode::Serve)
    }

    pub(crate) fn store(&self) -> Store {
        self.serve().store()
    }

    /// A connection that can do what the store never would.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection
    }
}
