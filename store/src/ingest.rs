//! The event log: what agents send, kept for good, and read as one table while it is sealed into files.
//!
//! **Owns** the shape of an event on arrival ([`wire`]), its validation, the removal of raw content ([`crate::content`]), its
//! canonical hash, de-duplication, the durable log, sealing into Parquet files, their compaction, retention, and the table
//! `ingest.events`. **Does not own** any wire protocol (web), nor what events mean (runs, sessions).
//!
//! **Must hold**
//! - an event is acknowledged after the transaction that holds it is on disk; what cannot be stored is an error that says
//!   when to come again, never silence;
//! - an event that arrives again within 24 hours is kept once, whether or not it was sealed meanwhile;
//! - no raw content is in any file of the store, unless the project asked for that ([`IngestPolicy::keep_content`]);
//! - a reader sees every event once, at every moment of sealing and compaction: the manifest (`ingest_segments`) and the
//!   rows of the log change in one transaction, and a scan reads both in one snapshot;
//! - a file is on disk before the manifest names it, and goes only when nobody begins to read it any more.

mod append;
mod check;
mod codec;
mod filter;
mod injection;
mod keys;
mod log;
pub mod runs;
mod scan;
mod schema;
mod seal;
mod segment;
pub mod shelf;
pub mod steps;
mod table;
pub mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::execution::SendableRecordBatchStream;

use crate::StoreError;
use crate::model::{ProjectId, Scope};

pub use injection::injection_patterns;
pub use schema::events_schema;
pub use seal::{Maintained, MaintenancePolicy};
pub use shelf::Shelf;
pub use wire::{EVENT_TYPES, Receipt, Rejection, WireEvent};

pub(crate) use log::Log;
pub(crate) use table::events_table;

/// Why a batch was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IngestError {
    /// More is arriving than the store writes, or another process holds it: nothing of the batch is acknowledged.
    #[error("the store is busy")]
    Busy {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk, or the room for events that are not sealed yet, is full: nothing of the batch is acknowledged.
    #[error("the store cannot take more events: {reason}")]
    Full {
        /// What is full.
        reason: String,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// No event of the batch can be kept, whenever it is sent.
    #[error("no event of the batch can be kept")]
    Nothing {
        /// Why, event by event.
        rejected: Vec<Rejection>,
    },
    /// The store failed; nothing of the batch is acknowledged.
    #[error(transparent)]
    Store(StoreError),
}

/// A half-open stretch of time `[from, until)`; an end that is not given is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// First instant inside.
    pub from: Option<DateTime<Utc>>,
    /// First instant after.
    pub until: Option<DateTime<Utc>>,
}

/// Which events are wanted. Everything that is given must hold; nothing given is everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Of these runs.
    pub run_ids: Option<BTreeSet<String>>,
    /// Of these agents.
    pub agent_ids: Option<BTreeSet<String>>,
    /// Of these types.
    pub event_types: Option<BTreeSet<String>>,
    /// That happened then.
    pub occurred: TimeRange,
    /// That arrived then.
    pub received: TimeRange,
    /// With a sequence number above this one.
    pub seq_after: Option<i64>,
    /// Indexes of the columns that are wanted, of [`events_schema`], in this order; all when not given.
    pub columns: Option<Vec<usize>>,
}

/// The event log of an installation.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Takes a batch: validates each event, takes raw content out, drops what was kept within the last 24 hours, and
    /// answers when the rest is on disk.
    ///
    /// Events of one batch are numbered in their order. A batch may mix runs and agents.
    ///
    /// # Errors
    /// [`IngestError`]. On every one of them nothing was acknowledged, and the same batch may be sent again: what was kept
    /// all the same is then a duplicate.
    async fn accept(
        &self,
        scope: &Scope,
        received_at: DateTime<Utc>,
        events: Vec<WireEvent>,
    ) -> Result<Receipt, IngestError>;

    /// The events that a filter wants, as batches of [`events_schema`] (projected on [`EventFilter::columns`]), each
    /// event once whether sealed or not, in no particular order.
    ///
    /// # Errors
    /// When the store cannot be read. Errors later on are in the stream.
    async fn scan(&self, scope: &Scope, filter: EventFilter) -> Result<SendableRecordBatchStream, StoreError>;

    /// The sequence number of the newest event that is on disk, over all projects; 0 before the first.
    async fn newest_seq(&self) -> Result<i64, StoreError>;
}

/// What may be changed while the log is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestPolicy {
    /// The projects whose events keep their raw content, beside its hash.
    pub keep_content: BTreeSet<ProjectId>,
    /// Bytes of events (unpacked) that may wait to be written; more are told to come again.
    pub most_waiting: usize,
    /// Bytes of events (packed) that may wait to be sealed; beyond, the log is full.
    pub most_unsealed: u64,
}

impl Default for IngestPolicy {
    fn default() -> Self {
        Self { keep_content: BTreeSet::new(), most_waiting: 64 << 20, most_unsealed: 8 << 30 }
    }
}
