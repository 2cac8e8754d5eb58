//! The log on SQLite: what its parts share, and taking a batch.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::execution::SendableRecordBatchStream;
use tokio::sync::oneshot;

use super::append::{Append, Pending, Taken};
use super::check::check;
use super::codec;
use super::keys::{Keys, Salt};
use super::scan;
use super::shelf::Shelf;
use super::{EventFilter, EventLog, IngestError, IngestPolicy, Receipt, Rejection, WireEvent};
use crate::StoreError;
use crate::model::Scope;
use crate::sqlite::SqliteStore;

/// Keys in memory at most: some 400 MB.
const MOST_KEYS: usize = 20_000_000;
/// Encoded events that are written as one piece; a batch of more is several.
const PIECE: usize = 4 << 20;
/// Events after which a long batch lets others run.
const BREATH: usize = 256;
const BUSY_FOR: Duration = Duration::from_secs(1);
const FULL_FOR: Duration = Duration::from_secs(10);

/// What the parts of the log share.
pub(crate) struct Log {
    pub(super) queue: Mutex<Queue>,
    /// Used by the writer's thread only.
    pub(super) keys: Mutex<Keys>,
    /// Packed bytes of events that are not sealed.
    pub(super) unsealed: AtomicU64,
    pub(super) shelf: Shelf,
    /// One maintenance at a time.
    pub(super) maintenance: tokio::sync::Mutex<()>,
    policy: RwLock<Arc<IngestPolicy>>,
}

/// What waits to be written.
#[derive(Default)]
pub(super) struct Queue {
    pub waiting: VecDeque<Pending>,
    pub bytes: usize,
    /// Whether a job that will take all of it is with the writer.
    pub is_scheduled: bool,
}

impl Log {
    pub(crate) fn new(shelf: Shelf, unsealed: u64, seed: u64) -> Self {
        Self {
            queue: Mutex::default(),
            keys: Mutex::new(Keys::new(MOST_KEYS, seed)),
            unsealed: AtomicU64::new(unsealed),
            shelf,
            maintenance: tokio::sync::Mutex::new(()),
            policy: RwLock::default(),
        }
    }

    pub(super) fn policy(&self) -> Arc<IngestPolicy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_policy(&self, policy: IngestPolicy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Takes all that waits.
    pub(super) fn take(&self) -> Vec<Pending> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.is_scheduled = false;
        queue.bytes = 0;
        queue.waiting.drain(..).collect()
    }

    /// Puts a piece in the queue; whether a job must be handed to the writer for it.
    fn put(&self, pending: Pending, policy: &IngestPolicy) -> Result<bool, IngestError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // One piece always has room, or nothing large could ever be taken.
        if queue.bytes > 0 && queue.bytes + pending.events.len() > policy.most_waiting {
            return Err(IngestError::Busy { retry_after: BUSY_FOR });
        }
        queue.bytes += pending.events.len();
        queue.waiting.push_back(pending);
        Ok(!std::mem::replace(&mut queue.is_scheduled, true))
    }
}

/// What the store says, for whoever sends events.
impl From<StoreError> for IngestError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy { .. } | StoreError::Closed => Self::Busy { retry_after: BUSY_FOR },
            StoreError::Full { .. } => Self::Full { reason: "the disk is full".to_owned(), retry_after: FULL_FOR },
            // A commit that failed, an I/O error: nothing was stored, and it may well be possible later.
            StoreError::Database { .. } | StoreError::Internal { .. } => {
                Self::Full { reason: "the disk does not take it".to_owned(), retry_after: FULL_FOR }
            }
            other => Self::Store(other),
        }
    }
}

/// A batch, encoded, in pieces.
struct Pieces {
    scope: Scope,
    salt: Salt,
    received_at: i64,
    done: Vec<(Pending, oneshot::Receiver<Result<Taken, StoreError>>)>,
    events: Vec<u8>,
    ends: Vec<(usize, [u8; 16], i64)>,
}

impl Pieces {
    fn close(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let events = std::mem::take(&mut self.events);
        let pending = Pending {
            scope: self.scope.clone(),
            received_at: self.received_at,
            chunk: codec::chunk(&events),
            events,
            entries: std::mem::take(&mut self.ends),
            reply,
        };
        self.done.push((pending, answer));
    }
}

#[async_trait]
impl EventLog for SqliteStore {
    async fn accept(
        &self,
        scope: &Scope,
        received_at: DateTime<Utc>,
        events: Vec<WireEvent>,
    ) -> Result<Receipt, IngestError> {
        let log = self.log();
        let policy = log.policy();
        if log.unsealed.load(Ordering::Relaxed) > policy.most_unsealed {
            let reason = "too many events wait to be sealed; the log says why sealing does not get on".to_owned();
            return Err(IngestError::Full { reason, retry_after: FULL_FOR });
        }
        let received_at = received_at.timestamp_micros();
        let keep_content = policy.keep_content.contains(scope.project_id());
        let mut pieces = Pieces {
            scope: scope.clone(),
            salt: Salt::of(scope),
            received_at,
            done: Vec::new(),
            events: Vec::with_capacity(events.len().min(1_000) * 320),
            ends: Vec::with_capacity(events.len().min(10_000)),
        };
        let mut rejected = Vec::new();
        for (index, event) in events.into_iter().enumerate() {
            if index % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            match check(event, received_at, keep_content) {
                Ok(checked) => {
                    codec::encode(&checked, received_at, &mut pieces.events);
                    pieces.ends.push((pieces.events.len(), pieces.salt.key(&checked), checked.occurred_at));
                    if pieces.events.len() >= PIECE {
                        pieces.close();
                    }
                }
                Err((field, reason)) => rejected.push(Rejection { index, field, reason }),
            }
        }
        pieces.close();
        if pieces.done.is_empty() && !rejected.is_empty() {
            return Err(IngestError::Nothing { rejected });
        }
        let mut receipt = Receipt { rejected, ..Receipt::default() };
        let mut answers = Vec::with_capacity(pieces.done.len());
        for (pending, answer) in pieces.done {
            if log.put(pending, &policy)? && !self.write_job(Box::new(Append::new(Arc::clone(log)))) {
                // The writer takes no more: whoever waits is told so.
                for pending in log.take() {
                    let _ = pending.reply.send(Err(StoreError::Busy { doing: "appending events" }));
                }
            }
            answers.push(answer);
        }
        for answer in answers {
            let taken = answer.await.unwrap_or(Err(StoreError::Closed))?;
            receipt.accepted += taken.stored;
            receipt.duplicates += taken.duplicates;
        }
        Ok(receipt)
    }

    async fn scan(&self, scope: &Scope, filter: EventFilter) -> Result<SendableRecordBatchStream, StoreError> {
        scan::stream(self, scope, filter)
    }

    async fn newest_seq(&self) -> Result<i64, StoreError> {
        self.read("reading the head of the event log", |connection| {
            let sql = "SELECT next_seq - 1 FROM ingest_head";
            Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
        })
        .await
    }
}
