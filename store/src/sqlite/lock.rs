//! One server per home: a file lock that the operating system takes back when its holder dies, however it dies.
//!
//! Two lock files lie beside the database. `NAME.lock` is held by the server for as long as it lives, with its process id
//! inside. `NAME.opening` is held for the milliseconds of opening and migrating, so that two processes
//! that open at once do not both migrate, nor mistake each other for a server.

use super::connection::open_private;
use crate::{Result, StoreError};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Held by a server until dropped.
pub(super) struct ServeLock {
    file: File,
}

impl Drop for ServeLock {
    fn drop(&mut self) {
        // Closing would release it too; a child process that inherited the handle would not.
        let _ = self.file.unlock();
    }
}

pub(super) enum TryServe {
    Held(ServeLock),
    Taken { pid: Option<u32> },
}

/// Waits for its turn to open the database.
pub(super) fn hold_opening(database: &Path) -> Result<File> {
    let path = beside(database, "opening");
    let file = open_private(&path)?;
    file.lock().map_err(|error| StoreError::File { path, message: error.to_string() })?;
    Ok(file)
}

/// Takes the server's lock if nobody has it.
pub(super) fn try_serve(database: &Path) -> Result<TryServe> {
    let path = beside(database, "lock");
    let file_error = |error: std::io::Error| StoreError::File { path: path.clone(), message: error.to_string() };
    let mut file = open_private(&path)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(file_error)?;
            file.rewind().map_err(file_error)?;
            writeln!(file, "{}", std::process::id()).map_err(file_error)?;
            Ok(TryServe::Held(ServeLock { file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Ok(TryServe::Taken { pid })
        }
        Err(TryLockError::Error(error)) => Err(file_error(error)),
    }
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    database.with_file_name(name)
}
