//! The writer: one thread that turns queued jobs into transactions (group commit).
//!
//! Jobs that wait while a transaction is being written share the next one, and its one wait for the disk. Each runs in
//! a savepoint of its own, so a job that fails takes nothing with it but itself. A caller is answered only after the
//! `COMMIT` of its group returned.

use super::checkpoint::Checkpointer;
use super::connection::{DbResult, sqlite_error};
use super::ids::Ids;
use crate::{Result, StoreError};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Most jobs in one transaction: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;
/// Jobs that may wait; more callers wait to hand theirs over.
const QUEUE: usize = 4_096;

/// What a job sees: the connection, inside its savepoint, and the source of ids.
pub(crate) struct Tx<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) ids: &'a mut Ids,
}

/// What the writer has done since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterStats {
    /// Transactions committed.
    pub commits: u64,
    /// Jobs that were part of them.
    pub jobs: u64,
    /// Jobs that are waiting now.
    pub queued: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    jobs: AtomicU64,
}

pub(super) struct Writer {
    /// `None` once closing.
    sender: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Writer {
    /// With a checkpointer, SQLite makes no checkpoints in commits.
    pub(super) fn start(connection: Connection, ids: Ids, checkpointer: Option<Checkpointer>) -> Result<Self> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let counters = Arc::<Counters>::default();
        let thread = std::thread::Builder::new()
            .name("tripline-store-writer".to_owned())
            .spawn({
                let counters = counters.clone();
                move || write_groups(&connection, ids, queue, &counters, checkpointer.as_ref())
            })
            .map_err(|error| StoreError::Database {
                doing: "starting the writer thread",
                message: error.to_string(),
            })?;
        Ok(Self { sender: Some(sender), thread: Some(thread), counters })
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = TypedJob { doing, job: Some(job), outcome: None, reply };
        let sender = self.sender.as_ref().ok_or(StoreError::Closed)?;
        sender.send(Box::new(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    pub(super) fn submit_later(
        &self,
        doing: &'static str,
        job: impl FnOnce(&mut Tx<'_>) -> DbResult<()> + Send + 'static,
    ) -> bool {
        let (reply, _) = oneshot::channel();
        let job = TypedJob { doing, job: Some(job), outcome: None, reply };
        self.sender.as_ref().is_some_and(|sender| sender.try_send(Box::new(job)).is_ok())
    }

    /// Hands over a job of a kind of its own, without waiting; whether it was taken.
    pub(super) fn submit_job(&self, job: Box<dyn Job>) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.try_send(job).is_ok())
    }

    pub(super) fn stats(&self) -> WriterStats {
        let queued = self.sender.as_ref().map_or(0, |sender| sender.max_capacity() - sender.capacity());
        WriterStats {
            commits: self.counters.commits.load(Ordering::Relaxed),
            jobs: self.counters.jobs.load(Ordering::Relaxed),
            queued: queued as u64,
        }
    }
}

impl Drop for Writer {
    /// Lets the writer finish what is queued, and waits for it: what was handed over is on disk when the store is gone.
    fn drop(&mut self) {
        self.sender = None;
        let Some(thread) = self.thread.take() else { return };
        // A job that holds the last clone of the store drops it on the writer's own thread.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the writer thread of the store ended with a panic");
        }
    }
}

/// A job whose result type is forgotten, so that jobs of all kinds fit one queue.
pub(crate) trait Job: Send {
    /// Runs; whether its changes are to be kept. Must not panic.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Gives up its result: its changes will not be kept for this reason.
    fn spoil(&mut self, error: StoreError);
    /// Answers the caller.
    fn answer(self: Box<Self>);
}

struct TypedJob<T, F> {
    doing: &'static str,
    job: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> DbResult<T> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(job) = self.job.take() else { return false };
        // A bug in one job must not stop the writer for all others.
        let outcome = match catch_unwind(AssertUnwindSafe(|| job(tx))) {
            Ok(outcome) => outcome.map_err(|error| error.during(self.doing)),
            Err(_) => Err(StoreError::Internal { doing: self.doing }),
        };
        let keep = outcome.is_ok();
        self.outcome = Some(outcome);
        keep
    }

    fn spoil(&mut self, error: StoreError) {
        // A job that failed by itself keeps its own, better reason.
        if !matches!(self.outcome, Some(Err(_))) {
            self.outcome = Some(Err(error));
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(Err(error @ (StoreError::Internal { .. } | StoreError::Corrupt { .. }))) = &self.outcome {
            tracing::error!(error = error.report(), "a write to the store failed");
        }
        let outcome = self.outcome.unwrap_or(Err(StoreError::Closed));
        // The caller may have gone away; the write stands all the same.
        let _ = self.reply.send(outcome);
    }
}

/// Until every handle is gone: takes what is queued, writes it as one transaction, answers.
fn write_groups(
    connection: &Connection,
    mut ids: Ids,
    mut queue: mpsc::Receiver<Box<dyn Job>>,
    counters: &Counters,
    checkpointer: Option<&Checkpointer>,
) {
    if let Some(checkpointer) = checkpointer {
        checkpointer.take_over(connection);
    }
    while let Some(first) = queue.blocking_recv() {
        let mut group = Vec::new();
        let outcome = write_group(connection, &mut ids, first, &mut queue, &mut group);
        match outcome {
            Ok(()) => {
                counters.commits.fetch_add(1, Ordering::Relaxed);
                counters.jobs.fetch_add(group.len() as u64, Ordering::Relaxed);
            }
            Err(error) => {
                let error = sqlite_error("committing a group of writes", error);
                tracing::error!(error = error.report(), jobs = group.len(), "a group of writes was not stored");
                for job in &mut group {
                    job.spoil(error.clone());
                }
                if !connection.is_autocommit() {
                    // If even this fails the next BEGIN does, and says so to its callers.
                    let _ = connection.execute_batch("ROLLBACK");
                }
            }
        }
        for job in group {
            job.answer();
        }
        if let Some(checkpointer) = checkpointer {
            checkpointer.committed(connection);
        }
    }
    // No `PRAGMA optimize` here: statistics taken of a small file make SQLite scan the tables once they have grown;
    // without statistics it prefers the indexes at every size.
}

/// Runs jobs until none is waiting, and commits. The jobs are left in `group` to be answered.
fn write_group(
    connection: &Connection,
    ids: &mut Ids,
    first: Box<dyn Job>,
    queue: &mut mpsc::Receiver<Box<dyn Job>>,
    group: &mut Vec<Box<dyn Job>>,
) -> rusqlite::Result<()> {
    group.push(first);
    // IMMEDIATE: waits for another process here, where nothing is lost, and never fails half-way.
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut next = 0;
    while let Some(job) = group.get_mut(next) {
        run_in_savepoint(connection, ids, job.as_mut())?;
        next += 1;
        if group.len() < MAX_GROUP
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
    }
    connection.execute_batch("COMMIT")
}

fn run_in_savepoint(connection: &Connection, ids: &mut Ids, job: &mut dyn Job) -> rusqlite::Result<()> {
    connection.prepare_cached("SAVEPOINT job")?.execute([])?;
    let keep = job.run(&mut Tx { connection, ids });
    // A full disk or an I/O error makes SQLite roll back the whole transaction: then RELEASE fails here, and with it
    // the group.
    if !keep {
        connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
    }
    connection.prepare_cached("RELEASE job")?.execute([])?;
    Ok(())
}
