//! Connections: flags, pragmas, file permissions, and how SQLite's errors become the store's.

use crate::{Result, StoreError};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the inside of a job returns: the store's own error, or SQLite's, to be named by what the job was doing.
pub(crate) type DbResult<T> = std::result::Result<T, DbError>;

#[derive(Debug)]
pub(crate) enum DbError {
    Store(StoreError),
    Sqlite(rusqlite::Error),
}

impl From<StoreError> for DbError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl DbError {
    pub(crate) fn during(self, doing: &'static str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sqlite(error) => sqlite_error(doing, error),
        }
    }
}

pub(crate) fn sqlite_error(doing: &'static str, error: rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) =>
        {
            StoreError::Busy { doing }
        }
        rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::DiskFull => StoreError::Full { doing },
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => StoreError::Corrupt { what: "row", reason: error.to_string() },
        // The statement's text is not repeated: only SQLite's own words, which hold no bound value.
        rusqlite::Error::SqlInputError { msg, .. } => StoreError::Database { doing, message: msg },
        other => StoreError::Database { doing, message: other.to_string() },
    }
}

fn file_error(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::File { path: path.to_path_buf(), message: error.to_string() }
}

/// Makes the folder (0700) and the file (0600), or tightens the file. SQLite gives its side files the same permissions.
pub(super) fn create_private(path: &Path) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|error| file_error(folder, &error))?;
    }
    open_private(path).map(drop)
}

/// Opens a file for reading and writing, making it if need be, for its owner only.
pub(super) fn open_private(path: &Path) -> Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path).map_err(|error| file_error(path, &error))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = file.metadata().map_err(|error| file_error(path, &error))?.permissions();
        if permissions.mode() & 0o777 != 0o600 {
            file.set_permissions(PermissionsExt::from_mode(0o600)).map_err(|error| file_error(path, &error))?;
        }
    }
    Ok(file)
}

/// The one connection that writes. A file that is thrown away needs not be `durable`.
pub(super) fn open_writer(path: &Path, durable: bool) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if !durable {
            // Before the journal changes, which is a write of its own.
            connection.pragma_update(None, "synchronous", "OFF")?;
        }
        connection.pragma_update(None, "journal_mode", "WAL")?;
        if durable {
            connection.pragma_update(None, "synchronous", "FULL")?;
        }
        connection.pragma_update(None, "foreign_keys", true)?;
        // Makes INSERT OR REPLACE fire the delete triggers, so that it cannot replace an event either.
        connection.pragma_update(None, "recursive_triggers", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // A checkpoint each 1000 pages (4 MB), and a log that grew under a long reader is cut back afterwards.
        connection.pragma_update(None, "wal_autocheckpoint", 1_000)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(connection)
    };
    open().map_err(|error| sqlite_error("opening the state database", error))
}

/// A connection that copies the write-ahead log into the file, and is used for nothing else.
pub(super) fn open_checkpointer(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    open().map_err(|error| sqlite_error("opening the state database for checkpoints", error))
}

/// A connection that cannot write.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| sqlite_error("opening the state database for reading", error))
}
