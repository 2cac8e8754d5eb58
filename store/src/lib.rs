//! The state of Tripline: what was found, what was decided, what was done, and the record of it.
//!
//! **Owns** the data model (one file per aggregate under [`model`], each with its trait), the embedded
//! implementation on SQLite ([`SqliteStore`]), the hash-chained audit log, the read-only SQL tables
//! `agent.*` and `ingest.*` ([`sql_tables`]), the event log with its sealed files ([`ingest`]), sessions ([`sessions`]), what a
//! secret looks like ([`redact`]), what of an event is content and does not rest ([`content`]), and the local copies of remote tables ([`ParquetCopies`]).
//!
//! **Does not own** any decision (what is an anomaly, who may approve, when to retry: the agent's), any
//! vendor, any clock (every function that needs the time takes `now`) and any environment variable (the
//! path of the database file is passed in).
//!
//! **Must hold**
//! - every row belongs to a project, and every function takes a [`Scope`]: a row of another project is as
//!   good as absent;
//! - a write is answered only after its transaction is on disk (`COMMIT` with `synchronous = FULL`);
//! - what must not happen twice (a claim, an action, an ingested event, a nonce) is decided by one
//!   conditional statement inside the database, never by reading first and writing later;
//! - audit rows and events are never changed or removed.

pub mod canonical;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod content;
pub mod copies;
pub mod error;
pub mod ingest;
pub mod model;
pub mod redact;
pub mod sessions;
pub mod sqlite;
pub mod tables;

pub use canonical::ExactJson;
pub use copies::ParquetCopies;
pub use error::{Result, StoreError};
pub use ingest::{
    EventFilter, EventLog, IngestError, IngestPolicy, Maintained, MaintenancePolicy, Receipt, Rejection, Shelf,
    TimeRange, WireEvent, events_schema,
};
pub use model::*;
pub use sqlite::{OpenMode, OpenOptions, SCHEMA_VERSION, SqliteStore, WriterStats};
pub use tables::{SqlTable, sql_tables};
