//! Job runs and watermarks: what ran when, what is running, how far each job has come.

use super::{JobRunId, Page, PageRequest, Scope, Window, text_enum};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

text_enum! {
    /// How a run stands or went.
    pub enum JobStatus ("status") {
        /// In progress, while its lease lives.
        Running = "running",
        /// Done.
        Ok = "ok",
        /// Broke off with an error; its window stays due.
        Failed = "failed",
        /// A source was missing; its window stays due and advances nothing.
        Gap = "gap",
        /// Took too long; its window stays due.
        TimedOut = "timed_out",
        /// Deliberately not run (too far behind).
        Skipped = "skipped",
        /// Its process vanished; its window stays due.
        Abandoned = "abandoned",
    }
}

/// A run that wants to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJobRun {
    /// Name of the job.
    pub job: String,
    /// The window it is about, for jobs that have one.
    pub window: Option<Window>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// Who runs it.
    pub holder: String,
    /// How long it may go without a heartbeat.
    pub lease_for: Duration,
}

/// One run of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobRun {
    /// Its id.
    pub id: JobRunId,
    /// Name of the job.
    pub job: String,
    /// The window it is about.
    pub window: Option<Window>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How it stands or went.
    pub status: JobStatus,
    /// Which attempt at this window it is, from 1 (for jobs without a window: always 1).
    pub attempt: i64,
    /// Who runs it.
    pub holder: String,
    /// When its holder last said that it lives.
    pub heartbeat_at: DateTime<Utc>,
    /// Until when it counts as alive.
    pub lease_until: DateTime<Utc>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it did.
    pub detail: Option<Value>,
}

/// What [`JobRuns::begin`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// It is yours to run.
    Started(JobRun),
    /// Another run of the job is alive: this one must not run.
    Busy(JobRun),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct JobOutcome {
    /// Any status but `Running`.
    pub status: JobStatus,
    /// What went wrong.
    pub error: Option<String>,
    /// What it did.
    pub detail: Option<Value>,
    /// How far the job has come now; only with `Ok` or `Skipped`.
    pub advance_to: Option<DateTime<Utc>>,
}

/// Which runs a listing shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobRunFilter {
    /// Only of this job.
    pub job: Option<String>,
    /// Only with this status.
    pub status: Option<JobStatus>,
    /// Only those started at or after.
    pub since: Option<DateTime<Utc>>,
}

/// The runs of jobs. At most one run of a job is alive at a time, whoever starts it.
#[async_trait]
pub trait JobRuns: Send + Sync {
    /// Begins a run unless another of the same job is alive. A run whose lease ran out is marked abandoned first.
    async fn begin(&self, scope: &Scope, new: NewJobRun, now: DateTime<Utc>) -> Result<Begun>;

    /// Says that the run lives, and for how long that is to be believed.
    ///
    /// # Errors
    /// `LeaseLost` when it is no longer running under this holder.
    async fn heartbeat(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        lease_for: Duration,
        now: DateTime<Utc>,
    ) -> Result<()>;

    /// Ends a run and, in the same transaction, advances the job's watermark.
    ///
    /// # Errors
    /// `LeaseLost` when it is no longer running under this holder; `Invalid` when the status is `Running`, or when
    /// a run that did not judge its window would advance the watermark.
    async fn finish(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        outcome: JobOutcome,
        now: DateTime<Utc>,
    ) -> Result<JobRun>;

    /// Ends a run that found nothing to do as if it had not been: no row of it stays, and the watermark advances.
    ///
    /// # Errors
    /// `LeaseLost` when it is no longer running under this holder.
    async fn discard(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        advance_to: Option<DateTime<Utc>>,
    ) -> Result<()>;

    /// Lets go of runs that ended before `before`, and of all but the newest `per_job` of each job; how many. The newest run of
    /// each job stays, and one that is alive.
    async fn prune(&self, scope: &Scope, before: DateTime<Utc>, per_job: u32) -> Result<u64>;

    /// Marks runs whose lease ran out as abandoned; returns those.
    async fn abandon_stale(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Vec<JobRun>>;

    /// How far a job has come: everything before is judged. `None` when it never ran.
    async fn watermark(&self, scope: &Scope, job: &str) -> Result<Option<DateTime<Utc>>>;

    /// Advances a watermark; a time that is not later leaves it. Returns where it stands.
    async fn advance(&self, scope: &Scope, job: &str, to: DateTime<Utc>) -> Result<DateTime<Utc>>;

    /// One run.
    async fn get(&self, scope: &Scope, id: &JobRunId) -> Result<Option<JobRun>>;

    /// Runs, newest `started_at` first.
    async fn list(&self, scope: &Scope, filter: &JobRunFilter, page: &PageRequest) -> Result<Page<JobRun>>;
}
