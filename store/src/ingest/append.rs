//! The job that turns all waiting batches into rows of the log, within a transaction of the writer.
//!
//! Must hold: a batch is answered after the commit; a key is known only if its event is on disk, or goes to disk in the
//! very transaction that a duplicate of it waits for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::codec;
use super::keys::{KEY, Key, Keys, horizon, hour};
use super::log::Log;
use crate::StoreError;
use crate::model::Scope;
use crate::sqlite::{DbResult, Job, Tx};

const DOING: &str = "appending events";
/// Encoded events from which on a piece keeps its own chunk; smaller ones of one row share one.
const OWN_CHUNK: usize = 8 * 1024;

/// A piece of a batch, encoded.
pub(super) struct Pending {
    pub scope: Scope,
    pub received_at: i64,
    /// The encoded events.
    pub events: Vec<u8>,
    /// The same as a chunk.
    pub chunk: Vec<u8>,
    /// Where each event ends, its key, and when it happened.
    pub entries: Vec<(usize, Key, i64)>,
    pub reply: oneshot::Sender<Result<Taken, StoreError>>,
}

/// What became of a piece.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub stored: usize,
    pub duplicates: usize,
}

/// The job.
pub(super) struct Append {
    log: Arc<Log>,
    taken: Vec<(Pending, Taken)>,
    /// What is to be taken back if the transaction fails.
    added: Vec<Key>,
    seen_before: Option<i64>,
    bytes: u64,
    failure: Option<StoreError>,
    ran: bool,
}

impl Append {
    pub(super) fn new(log: Arc<Log>) -> Self {
        Self { log, taken: Vec::new(), added: Vec::new(), seen_before: None, bytes: 0, failure: None, ran: false }
    }

    fn append(&mut self, connection: &Connection) -> DbResult<()> {
        self.taken = self.log.take().into_iter().map(|pending| (pending, Taken::default())).collect();
        let log = Arc::clone(&self.log);
        let mut keys = log.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((first, _)) = self.taken.first() else { return Ok(()) };
        let mut next = catch_up(connection, &mut keys, first.received_at)? + 1;
        self.seen_before = Some(keys.seen);
        let mut rows: Vec<Row> = Vec::new();
        for (pending, taken) in &mut self.taken {
            let scope = &pending.scope;
            let row = match rows.iter().position(|row| row.scope == *scope) {
                Some(position) => position,
                None => {
                    rows.push(Row::new(scope.clone()));
                    rows.len() - 1
                }
            };
            if let Some(row) = rows.get_mut(row) {
                *taken = row.add(pending, &mut keys, &mut self.added);
            }
        }
        for row in rows {
            let count = (row.keys.len() / KEY) as i64;
            if count == 0 {
                continue;
            }
            self.bytes += row.insert(connection, next, count)?;
            next += count;
        }
        if next - 1 > keys.seen {
            connection.prepare_cached("UPDATE ingest_head SET next_seq = ?1")?.execute([next])?;
            keys.seen = next - 1;
        }
        Ok(())
    }

    /// Forgets what this job added.
    fn take_back(&mut self) {
        let mut keys = self.log.keys.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.added.drain(..) {
            keys.remove(&key);
        }
        if let Some(seen) = self.seen_before.take() {
            keys.seen = keys.seen.min(seen);
        }
    }
}

impl Job for Append {
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        self.ran = true;
        let outcome = match catch_unwind(AssertUnwindSafe(|| self.append(tx.connection))) {
            Ok(outcome) => outcome.map_err(|error| error.during(DOING)),
            Err(_) => Err(StoreError::Internal { doing: DOING }),
        };
        match outcome {
            Ok(()) => true,
            Err(error) => {
                self.failure = Some(error);
                self.take_back();
                false
            }
        }
    }

    fn spoil(&mut self, error: StoreError) {
        self.take_back();
        if self.failure.is_none() {
            self.failure = Some(error);
        }
        if !self.ran {
            // What it was to take still waits: what waits for it is told.
            self.taken = self.log.take().into_iter().map(|pending| (pending, Taken::default())).collect();
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(error) = &self.failure {
            tracing::error!(error = error.report(), batches = self.taken.len(), "events were not stored");
        } else {
            self.log.unsealed.fetch_add(self.bytes, Ordering::Relaxed);
        }
        for (pending, taken) in self.taken {
            let outcome = self.failure.clone().map_or(Ok(taken), Err);
            // The sender may have gone away; its events stand all the same.
            let _ = pending.reply.send(outcome);
        }
    }
}

/// Takes in the keys of events that are on disk and not known here: all of the last day after a start, and those that
/// another process appended. The newest number there is.
pub(super) fn catch_up(connection: &Connection, keys: &mut Keys, now: i64) -> DbResult<i64> {
    let sql = "SELECT next_seq - 1 FROM ingest_head";
    let newest: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    if keys.seen >= newest {
        return Ok(newest);
    }
    let sql = "SELECT received_at, keys FROM ingest_keys WHERE first_seq > ?1 AND received_at >= ?2 ORDER BY first_seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([keys.seen, horizon(now)])?;
    while let Some(row) = rows.next()? {
        let hour = hour(row.get(0)?);
        let (stored, _) = row.get_ref(1)?.as_blob().map_err(|_| corrupt())?.as_chunks::<KEY>();
        for key in stored {
            keys.add(key, hour);
        }
    }
    keys.seen = newest;
    Ok(newest)
}

fn corrupt() -> StoreError {
    StoreError::Corrupt { what: "key of an event", reason: "it is no blob".to_owned() }
}

/// A row of the log in the making.
struct Row {
    scope: Scope,
    chunks: Vec<Vec<u8>>,
    /// Encoded events of small pieces.
    small: Vec<u8>,
    keys: Vec<u8>,
    received_at: i64,
    min_occurred_at: i64,
    max_occurred_at: i64,
}

impl Row {
    fn new(scope: Scope) -> Self {
        Self {
            scope,
            chunks: Vec::new(),
            small: Vec::new(),
            keys: Vec::new(),
            received_at: i64::MIN,
            min_occurred_at: i64::MAX,
            max_occurred_at: i64::MIN,
        }
    }

    fn add(&mut self, pending: &mut Pending, keys: &mut Keys, added: &mut Vec<Key>) -> Taken {
        let hour = hour(pending.received_at);
        let mut fresh = Vec::new();
        let mut taken = Taken::default();
        let mut start = 0;
        for (end, key, occurred_at) in &pending.entries {
            if keys.add(key, hour) {
                added.push(*key);
                self.keys.extend_from_slice(key);
                self.min_occurred_at = self.min_occurred_at.min(*occurred_at);
                self.max_occurred_at = self.max_occurred_at.max(*occurred_at);
                fresh.push(start..*end);
                taken.stored += 1;
            } else {
                taken.duplicates += 1;
            }
            start = *end;
        }
        if taken.stored > 0 {
            self.received_at = self.received_at.max(pending.received_at);
        }
        if taken.duplicates == 0 && pending.events.len() >= OWN_CHUNK {
            self.chunks.push(std::mem::take(&mut pending.chunk));
            return taken;
        }
        for range in fresh {
            self.small.extend_from_slice(pending.events.get(range).unwrap_or_default());
        }
        if self.small.len() >= codec::LARGEST_CHUNK / 4 {
            self.close();
        }
        taken
    }

    fn close(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push(codec::chunk(&self.small));
            self.small.clear();
        }
    }

    /// Writes the row; how many bytes it has.
    fn insert(mut self, connection: &Connection, first_seq: i64, count: i64) -> DbResult<u64> {
        self.close();
        let row = codec::row(self.chunks.iter().map(Vec::as_slice));
        let project = self.scope.project_id();
        connection
            .prepare_cached(
                "INSERT INTO ingest_log (project_id, first_seq, last_seq, received_at, min_occurred_at,
                     max_occurred_at, bytes, events)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                project,
                first_seq,
                first_seq + count - 1,
                self.received_at,
                self.min_occurred_at,
                self.max_occurred_at,
                row.len() as i64,
                row
            ])?;
        connection
            .prepare_cached(
                "INSERT INTO ingest_keys (project_id, first_seq, received_at, keys) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![project, first_seq, self.received_at, self.keys])?;
        Ok(row.len() as u64)
    }
}
