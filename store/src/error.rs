//! What can go wrong in the store: a primary line, a detail and a hint.
//!
//! Owns the error type of the crate. Must hold: no message carries a payload, a secret or a bound value.

use std::path::PathBuf;

/// The result of every operation of the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why an operation of the store failed.
///
/// [`Display`](std::fmt::Display) is the primary line; [`detail`](Self::detail) and [`hint`](Self::hint) are
/// the second and third line where there is something to add.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another `serve` holds the same database.
    #[error("another Tripline server is using {}", path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
        /// The process id the holder wrote into its lock file, if it could be read.
        pid: Option<u32>,
    },
    /// The database does not exist and was to be opened for reading only.
    #[error("there is no state database at {}", path.display())]
    NoDatabase {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The database was written by another version whose schema this one cannot use as it is.
    #[error("the schema of {} is version {found}, this program needs {wanted}", path.display())]
    SchemaVersion {
        /// The database file.
        path: PathBuf,
        /// The version found in the file.
        found: usize,
        /// The version this program writes.
        wanted: usize,
    },
    /// A write was asked of a store that was opened for reading only.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// Nothing with that id exists in the scope.
    #[error("no {what} with id '{id}'")]
    NotFound {
        /// The aggregate, in the words of the design ("incident", "approval").
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// A row that must be unique exists already.
    #[error("{what} '{id}' exists already")]
    Conflict {
        /// The aggregate.
        what: &'static str,
        /// The id or name that is taken.
        id: String,
    },
    /// The lease under which a transition was asked for is no longer the caller's.
    #[error("the lease on {what} '{id}' is no longer held")]
    LeaseLost {
        /// "action" or "job run".
        what: &'static str,
        /// The id of the row.
        id: String,
    },
    /// The row is not in a state from which the transition exists.
    #[error("{what} '{id}' is {status}, which does not allow this")]
    WrongState {
        /// The aggregate.
        what: &'static str,
        /// The id of the row.
        id: String,
        /// The state it is in.
        status: String,
    },
    /// A value from outside does not fit.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field or parameter.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A stored row cannot be read back: it was changed by something else.
    #[error("a stored {what} cannot be read")]
    Corrupt {
        /// The column or aggregate.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// The database stayed locked by another process for longer than the busy timeout.
    #[error("the state database is busy")]
    Busy {
        /// What the store was doing.
        doing: &'static str,
    },
    /// The disk is full.
    #[error("the disk of the state database is full")]
    Full {
        /// What the store was doing.
        doing: &'static str,
    },
    /// The writer has stopped; the store is closing.
    #[error("the store is closed")]
    Closed,
    /// SQLite refused.
    #[error("the state database failed while {doing}")]
    Database {
        /// What the store was doing.
        doing: &'static str,
        /// SQLite's own words. Never contains bound values.
        message: String,
    },
    /// The file system refused.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's words.
        message: String,
    },
    /// A write job of the store broke off; nothing of it was stored.
    #[error("a write broke off while {doing}; nothing of it was stored")]
    Internal {
        /// What the store was doing.
        doing: &'static str,
    },
}

impl StoreError {
    /// The second line: what exactly was found, where there is more to say than the primary line does.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Locked { pid: Some(pid), .. } => Some(format!("process {pid} holds it")),
            Self::Locked { pid: None, .. } => Some("its process id could not be read".to_owned()),
            Self::Corrupt { reason, .. } => Some(reason.clone()),
            Self::Busy { doing } | Self::Full { doing } => Some(format!("gave up while {doing}")),
            Self::Database { message, .. } | Self::File { message, .. } => Some(message.clone()),
            _ => None,
        }
    }

    /// The third line: what to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { pid: Some(pid), .. } => Some(format!(
                "stop process {pid}, or give this server a TRIPLINE_HOME of its own; reading commands may run beside it"
            )),
            Self::Locked { .. } => {
                Some("stop the other server, or give this one a TRIPLINE_HOME of its own".to_owned())
            }
            Self::NoDatabase { .. } => {
                Some("start `tripline serve` once, or check TRIPLINE_HOME".to_owned())
            }
            Self::SchemaVersion { found, wanted, .. } if found > wanted => {
                Some("a newer Tripline wrote this file: use that version or a later one".to_owned())
            }
            Self::SchemaVersion { .. } => Some(
                "start `tripline serve` of this version once to migrate it; if an older server is running, stop it first"
                    .to_owned(),
            ),
            Self::Busy { .. } => {
                Some("another process is writing for a long time; try again, or stop it".to_owned())
            }
            Self::Full { .. } => Some("make room on the disk that holds TRIPLINE_HOME; nothing needs a restart".to_owned()),
            Self::Corrupt { .. } => Some(
                "the file was changed by something other than Tripline; restore a backup, and run `tripline audit verify`"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The whole message, a line each: primary, detail, hint.
    pub fn report(&self) -> String {
        let mut lines = vec![self.to_string()];
        lines.extend(self.detail().map(|detail| format!("  detail: {detail}")));
        lines.extend(self.hint().map(|hint| format!("  hint: {hint}")));
        lines.join("\n")
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid { field, reason: reason.into() }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }
}
