//! Jobs: what runs when, once, and what is caught up.
//!
//! Owns: the jobs there are ([`spec`]), which windows are due ([`due`]), running them under a lease ([`Jobs`]) and the wall
//! clock that calls it ([`scheduler`]). Does not own: what a job does (detect, respond, govern).
//!
//! Must hold: of one job one run is alive at a time, in whatever process; a window is judged once completely or stays due;
//! windows are judged in order, but for the newest of a job that is far behind, which comes first; a window older than the
//! catch-up is recorded as skipped, never forgotten; which windows are due follows from the injected clock alone.

pub mod due;
mod modes;
pub mod schedule;
pub mod scheduler;
mod sessions;
pub mod spec;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{FutureExt, StreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use tripline_store::{Begun, JobOutcome, JobRun, JobRunFilter, JobStatus, NewJobRun, PageRequest, StoreError, Window};

use crate::detect::{DetectError, Detectors, Judgement, Persist};
use crate::digest::{DigestError, Digester, Made};
use crate::quality::{Inspector, QualityError, Sweep};
use crate::queries::HeaderError;
use crate::queries::library::QuerySet;
use crate::respond::Responder;
use crate::risk::Risk;
use crate::sessions::{Done, MonitoringAgent, ProcessingWorker};
use crate::settings::Settings;

pub use schedule::Schedule;
pub use scheduler::{JobsHandle, start};
pub use spec::{JobInfo, JobSpec, SAMPLER, Work};

/// Runs of one job that are kept at most, however young.
const RUNS_PER_JOB: u32 = 10_000;

/// How long a run may go without a sign of life.
const LEASE: Duration = Duration::from_secs(60);

/// Jobs that run at once.
const AT_ONCE: usize = 3;

/// A job with more windows due than this is far behind: the present comes first, then what was missed.
const FAR_BEHIND: usize = 4;

/// How long a job that is far behind judges what it missed before other jobs, and the present, have their turn.
const CATCH_UP_FOR: TimeDelta = TimeDelta::minutes(1);

/// After a run that broke off, how long its job waits before it is tried again: at first, and at most. A source that
/// comes back after a moment is asked again after a moment; one that is down for hours is not asked all the time.
const RETRY_FIRST: TimeDelta = TimeDelta::seconds(15);
const RETRY_MOST: TimeDelta = TimeDelta::minutes(5);
/// After so many the wait is the longest there is.
const MOST_DOUBLINGS: u32 = 8;

/// After a run over sessions that broke off: one session that cannot be analysed must not hold up the others for long, nor be
/// tried with every tick.
const RETRY_SESSIONS: TimeDelta = TimeDelta::seconds(5);

/// The wait after the attempt numbered `attempt` (from 1): twice as long each time.
fn retry_after(attempt: i64) -> TimeDelta {
    let doublings = u32::try_from(attempt.clamp(1, 16) - 1).unwrap_or_default();
    (RETRY_FIRST * 2_i32.pow(doublings)).min(RETRY_MOST)
}

/// Why a job could not be run.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JobError {
    /// There is no such job.
    #[error("there is no job '{name}'. Hint: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The jobs there are.
        known: String,
    },
    /// It is running already.
    #[error("the job '{name}' is running since {since}, held by {holder}. Hint: wait until it is done")]
    Busy {
        /// The job.
        name: String,
        /// Since when.
        since: DateTime<Utc>,
        /// By whom.
        holder: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A query file is wrong.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A window could not be judged.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// Outputs could not be judged.
    #[error("{0}")]
    Quality(String),
    /// History could not be read.
    #[error("{0}")]
    Risk(String),
    /// The week could not be told.
    #[error("{0}")]
    Digest(String),
}

impl From<QualityError> for JobError {
    fn from(error: QualityError) -> Self {
        Self::Quality(error.to_string())
    }
}

impl From<DigestError> for JobError {
    fn from(error: DigestError) -> Self {
        Self::Digest(error.to_string())
    }
}

/// What a run by hand did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum HandRun {
    /// It ran for real.
    Ran {
        /// The run.
        run: JobRun,
    },
    /// It would find this; nothing was written.
    Dry {
        /// What a detector finds; `None` for a job that is no detector's.
        judgement: Option<Judgement>,
        /// What any other job would do; `None` for a detector's.
        #[serde(skip_serializing_if = "Option::is_none")]
        would: Option<serde_json::Value>,
    },
}

/// The jobs that these query files and settings make.
#[must_use]
pub fn list(queries: &QuerySet, settings: &Settings, now: DateTime<Utc>) -> Vec<JobInfo> {
    spec::all(queries, settings).iter().map(|spec| spec.info(now)).collect()
}

/// Runs jobs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Jobs {
    detectors: Detectors,
    responder: Responder,
    digester: Option<Digester>,
    risk: Option<Risk>,
    /// Names this process in leases.
    holder: String,
    /// The newest window of each job that was judged ahead of those before it.
    ahead: Arc<Mutex<HashMap<String, DateTime<Utc>>>>,
    stop: CancellationToken,
}

/// Why a run runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Everything before it is done.
    Due,
    /// It is the newest, and comes before others that are due; it stays due.
    Ahead,
    /// Somebody wants it.
    ByHand,
}

/// How one run ended.
struct Ended {
    status: JobStatus,
    error: Option<String>,
    detail: serde_json::Value,
    /// Whether the rule ran although a source was missing.
    partial: bool,
}

impl Ended {
    /// Whether a job of sessions wrote nothing.
    fn did_nothing(&self) -> bool {
        self.status == JobStatus::Ok && self.detail.get("changed").and_then(serde_json::Value::as_u64) == Some(0)
    }

    fn failed(error: impl ToString) -> Self {
        Self { status: JobStatus::Failed, error: Some(error.to_string()), detail: json!({}), partial: false }
    }
}

impl Jobs {
    /// Jobs over these detectors; `holder` names this process in leases.
    #[must_use]
    pub fn new(detectors: Detectors, responder: Responder, holder: impl Into<String>) -> Self {
        Self {
            detectors,
            responder,
            digester: None,
            risk: None,
            holder: holder.into(),
            ahead: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// With what makes the weekly digest; without it that job has nothing to do.
    #[must_use]
    pub fn with_digester(mut self, digester: Digester) -> Self {
        self.digester = Some(digester);
        self
    }

    /// With what scores pull requests; without it those jobs have nothing to do.
    #[must_use]
    pub fn with_risk(mut self, risk: Risk) -> Self {
        self.risk = Some(risk);
        self
    }

    /// What makes the weekly digest.
    #[must_use]
    pub fn digester(&self) -> Option<&Digester> {
        self.digester.as_ref()
    }

    /// The jobs there are.
    #[must_use]
    pub fn list(&self) -> Vec<JobInfo> {
        let context = self.detectors.context();
        list(&self.detectors.queries().current(), &context.settings.get(), context.clock.now())
    }

    /// The last end of a week that the digest tells of, at or before `now`; `None` when it has no schedule.
    #[must_use]
    pub fn week_end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.specs().into_iter().find(|spec| spec.name == spec::DIGEST)?.schedule.last_at(now)
    }

    fn specs(&self) -> Vec<JobSpec> {
        spec::all(&self.detectors.queries().current(), &self.detectors.context().settings.get())
    }

    fn find(&self, name: &str) -> Result<JobSpec, JobError> {
        let specs = self.specs();
        let known = specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        specs.into_iter().find(|spec| spec.name == name).ok_or(JobError::Unknown { name: name.to_owned(), known })
    }

    /// Stops runs that are in progress: their windows stay due.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Runs everything that is due at `now`, each job's windows in order, and returns the runs that ended.
    ///
    /// # Errors
    /// When the store fails. What a job itself runs into is in its run.
    pub async fn run_due(&self, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        let lanes =
            tokio::try_join!(self.run_windows_due(now), self.run_waited_for_due(now), self.run_sessions_due(now))?;
        Ok([lanes.0, lanes.1, lanes.2].concat())
    }

    /// Runs what is due at `now` of the jobs that judge windows.
    async fn run_windows_due(&self, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        self.run_all(now, |spec| !spec.is_of_sessions() && !spec.is_waited_for()).await
    }

    /// Runs what is due at `now` of the jobs that somebody waits for: no window that was missed holds them up.
    async fn run_waited_for_due(&self, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        self.run_all(now, JobSpec::is_waited_for).await
    }

    async fn run_all(&self, now: DateTime<Utc>, wanted: fn(&JobSpec) -> bool) -> Result<Vec<JobRun>, JobError> {
        let specs = self.specs();
        let mut ran = Vec::new();
        // The on-call brain sums up what the others found: it comes when they are done.
        for last in [false, true] {
            let turn = specs.iter().filter(|spec| wanted(spec) && matches!(spec.work, Work::OnCall) == last);
            let jobs: Vec<_> = turn.map(|spec| self.run_job(spec, now).boxed()).collect();
            // One that hangs on its source keeps its own place and nobody else's.
            let runs: Vec<Result<Vec<JobRun>, JobError>> = stream::iter(jobs).buffer_unordered(AT_ONCE).collect().await;
            ran.extend(runs.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten());
        }
        Ok(ran)
    }

    /// Runs what is due at `now` of the jobs of sessions, one after the other: monitoring judges what processing derived.
    async fn run_sessions_due(&self, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        let mut runs = Vec::new();
        let mut specs = self.specs();
        specs.retain(JobSpec::is_of_sessions);
        specs.sort_by_key(|spec| matches!(spec.work, Work::MonitorSessions));
        for spec in &specs {
            runs.extend(self.run_job(spec, now).await?);
        }
        Ok(runs)
    }

    /// Whether a session has something that is not processed or not judged yet.
    async fn has_unfinished_sessions(&self) -> Result<bool, StoreError> {
        ProcessingWorker::new(self.detectors.context()).has_unfinished().await
    }

    /// Runs what is due of one job.
    ///
    /// # Errors
    /// When there is no such job, or the store fails.
    pub async fn run_due_of(&self, name: &str, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        self.run_job(&self.find(name)?, now).await
    }

    async fn run_job(&self, spec: &JobSpec, now: DateTime<Utc>) -> Result<Vec<JobRun>, JobError> {
        let ctx = self.detectors.context();
        if self.waits(spec, now).await? || !self.has_work(spec).await? {
            return Ok(Vec::new());
        }
        let watermark = ctx.store.jobs.watermark(&ctx.scope, &spec.name).await?;
        if watermark.is_none() && spec.begins_with_next {
            // What was before this installation is not told by it.
            if let Some(latest) = spec.schedule.last_at(now) {
                ctx.store.jobs.advance(&ctx.scope, &spec.name, latest).await?;
            }
            return Ok(Vec::new());
        }
        let catch_up = TimeDelta::days(ctx.settings.get().catch_up_days);
        let due = due::of(spec, watermark, now, catch_up);
        if let (None, Some(first)) = (watermark, due.ticks.first()) {
            // A first window that turns out to have a gap must be due all the same when the next tick comes.
            ctx.store.jobs.advance(&ctx.scope, &spec.name, *first - TimeDelta::microseconds(1)).await?;
        }
        let mut runs = Vec::new();
        if let Some(skipped) = due.skipped {
            runs.extend(self.skip(spec, skipped, now).await?);
        }
        let newest = due.ticks.last().copied();
        let far_behind = due.ticks.len() > FAR_BEHIND;
        if let Some(newest) = newest.filter(|newest| far_behind && !self.was_ahead(&spec.name, *newest)) {
            runs.extend(self.run_ahead(spec, newest).await?);
        }
        let began = ctx.clock.now();
        for tick in due.ticks {
            if self.stop.is_cancelled() || (far_behind && ctx.clock.now() - began >= CATCH_UP_FOR) {
                break;
            }
            let Some((run, partial)) = self.run(spec, tick, Turn::Due).await? else { break };
            let status = run.status;
            runs.push(run);
            if status != JobStatus::Ok {
                // What the other sources say about the present must not wait for the one that is missing.
                if let Some(newest) = newest.filter(|newest| partial && !far_behind && *newest > tick) {
                    runs.extend(self.run_ahead(spec, newest).await?);
                }
                break;
            }
        }
        Ok(runs)
    }

    /// Judges the newest window of a job before those that are due before it; it stays due.
    async fn run_ahead(&self, spec: &JobSpec, newest: DateTime<Utc>) -> Result<Option<JobRun>, JobError> {
        let Some((run, _)) = self.run(spec, newest, Turn::Ahead).await? else { return Ok(None) };
        if run.status == JobStatus::Ok {
            self.ahead.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.name.clone(), newest);
        }
        Ok(Some(run))
    }

    fn was_ahead(&self, job: &str, tick: DateTime<Utc>) -> bool {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).get(job) == Some(&tick)
    }

    /// How many windows of a job are due and not judged.
    async fn windows_due(&self, spec: &JobSpec, now: DateTime<Utc>) -> Result<usize, StoreError> {
        let ctx = self.detectors.context();
        let watermark = ctx.store.jobs.watermark(&ctx.scope, &spec.name).await?;
        Ok(due::of(spec, watermark, now, TimeDelta::days(ctx.settings.get().catch_up_days)).ticks.len())
    }

    /// Whether a job whose last run broke off is not to be tried again yet.
    async fn waits(&self, spec: &JobSpec, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let ctx = self.detectors.context();
        let filter = JobRunFilter { job: Some(spec.name.clone()), ..JobRunFilter::default() };
        let runs = ctx.store.jobs.list(&ctx.scope, &filter, &PageRequest::first(MOST_DOUBLINGS)).await?.items;
        let broke_off = |run: &JobRun| matches!(run.status, JobStatus::Gap | JobStatus::Failed | JobStatus::TimedOut);
        Ok(runs.first().is_some_and(|run| {
            let broke_off_before =
                runs.iter().take_while(|before| broke_off(before) && before.due_at == run.due_at).count();
            // Attempts are counted by window; a job without one is tried again for its tick.
            let attempt = match run.window {
                Some(_) => run.attempt,
                None => i64::try_from(broke_off_before).unwrap_or(i64::MAX),
            };
            let broke_off = broke_off(run);
            if broke_off && spec.is_of_sessions() {
                return run.finished_at.is_some_and(|at| now < at + RETRY_SESSIONS);
            }
            let waits = |at| {
                let next_tick = spec.schedule.next_after(at).is_some_and(|next| next <= now);
                !next_tick && now < at + retry_after(attempt)
            };
            broke_off && run.finished_at.is_some_and(waits)
        }))
    }

    /// Whether there is anything to do for a job that is called often: an idle server keeps no record of doing nothing.
    async fn has_work(&self, spec: &JobSpec) -> Result<bool, StoreError> {
        let ctx = self.detectors.context();
        match spec.work {
            Work::ProcessSessions => ProcessingWorker::new(ctx).has_work().await,
            Work::MonitorSessions => MonitoringAgent::new(ctx).has_work().await,
            Work::WeeklyDigest => Ok(self.digester.is_some()),
            Work::ScorePulls => match &self.risk {
                Some(risk) => risk.has_work().await,
                None => Ok(false),
            },
            Work::MeasureCommits => Ok(self.risk.as_ref().is_some_and(|risk| risk.repository().is_ok())),
            Work::Detect(_) | Work::ExpireApprovals | Work::OnCall | Work::DriftPatrol | Work::SampleTraces => Ok(true),
        }
    }

    /// Records windows that are too old to be judged.
    async fn skip(&self, spec: &JobSpec, until: DateTime<Utc>, now: DateTime<Utc>) -> Result<Option<JobRun>, JobError> {
        let ctx = self.detectors.context();
        let new = NewJobRun {
            job: spec.name.clone(),
            window: None,
            due_at: until,
            holder: self.holder.clone(),
            lease_for: LEASE,
        };
        let Begun::Started(run) = ctx.store.jobs.begin(&ctx.scope, new, now).await? else { return Ok(None) };
        let outcome = JobOutcome {
            status: JobStatus::Skipped,
            error: None,
            detail: Some(json!({"reason": "older than the catch-up", "skipped_until": until})),
            advance_to: Some(until),
        };
        Ok(Some(ctx.store.jobs.finish(&ctx.scope, &run.id, &self.holder, outcome, now).await?))
    }

    /// Runs one job for one tick, under a lease. `None` when another run of it is alive. When it was its turn, the watermark
    /// follows if it went well.
    async fn run(&self, spec: &JobSpec, tick: DateTime<Utc>, turn: Turn) -> Result<Option<(JobRun, bool)>, JobError> {
        let ctx = self.detectors.context();
        let window = match spec.window {
            Some(length) => Some(Window::new(tick - length, tick)?),
            None => None,
        };
        let new =
            NewJobRun { job: spec.name.clone(), window, due_at: tick, holder: self.holder.clone(), lease_for: LEASE };
        let run = match ctx.store.jobs.begin(&ctx.scope, new, ctx.clock.now()).await? {
            Begun::Started(run) => run,
            Begun::Busy(_) => return Ok(None),
        };
        let span = tracing::info_span!("job", name = %spec.name, due_at = %tick, status = tracing::field::Empty);
        let ended = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ended {
                status: JobStatus::Abandoned,
                error: Some("the process was told to stop; the window stays due".to_owned()),
                detail: json!({}),
                partial: false,
            },
            ended = tokio::time::timeout(spec.timeout, self.work(spec, window, tick, turn).instrument(span.clone())) => ended.unwrap_or_else(|_| Ended {
                status: JobStatus::TimedOut,
                error: Some(format!("it did not end within {} s", spec.timeout.as_secs())),
                detail: json!({}),
                partial: false,
            }),
            lost = self.keep_alive(&run) => Ended::failed(lost),
        };
        span.record("status", ended.status.to_string());
        let advance_to = (turn == Turn::Due && ended.status == JobStatus::Ok).then_some(tick);
        if turn == Turn::Due && spec.is_of_sessions() && ended.did_nothing() {
            ctx.store.jobs.discard(&ctx.scope, &run.id, &self.holder, advance_to).await?;
            return Ok(None);
        }
        let outcome = JobOutcome { status: ended.status, error: ended.error, detail: Some(ended.detail), advance_to };
        let finished = ctx.store.jobs.finish(&ctx.scope, &run.id, &self.holder, outcome, ctx.clock.now()).await?;
        Ok(Some((finished, ended.partial)))
    }

    /// Lets go of old runs of jobs.
    async fn prune_runs(&self) -> Result<u64, StoreError> {
        let ctx = self.detectors.context();
        let before = ctx.clock.now() - TimeDelta::days(ctx.settings.get().job_runs_keep_days);
        ctx.store.jobs.prune(&ctx.scope, before, RUNS_PER_JOB).await
    }

    /// Says that the run lives, until the store says that it no longer believes it.
    async fn keep_alive(&self, run: &JobRun) -> StoreError {
        let ctx = self.detectors.context();
        loop {
            tokio::time::sleep(LEASE / 3).await;
            let beat = ctx.store.jobs.heartbeat(&ctx.scope, &run.id, &self.holder, LEASE, ctx.clock.now()).await;
            match beat {
                Err(error @ StoreError::LeaseLost { .. }) => return error,
                // A store that is busy now may not be at the next beat.
                Err(error) => tracing::warn!(job = %run.job, %error, "a heartbeat was not kept"),
                Ok(()) => {}
            }
        }
    }

    async fn work(&self, spec: &JobSpec, window: Option<Window>, tick: DateTime<Utc>, turn: Turn) -> Ended {
        match (&spec.work, window) {
            (Work::Detect(detector), Some(window)) => {
                let persist = if turn == Turn::Ahead { Persist::CostHours } else { Persist::Baselines };
                let judgement = match self.detectors.judge(detector, window, persist).await {
                    Ok(judgement) => judgement,
                    Err(error) => return Ended::failed(error),
                };
                match self.responder.respond(&judgement).await {
                    Ok(response) => ended(&judgement, &response),
                    Err(error) => Ended::failed(error),
                }
            }
            (Work::Detect(_), None) => Ended::failed("a detector needs a window"),
            (Work::ExpireApprovals, _) => {
                match self.responder.governor().expire_due(&self.detectors.context().scope).await {
                    Ok(expired) => match self.prune_runs().await {
                        Ok(pruned) => Ended {
                            status: JobStatus::Ok,
                            error: None,
                            detail: json!({"expired": expired, "job_runs_pruned": pruned}),
                            partial: false,
                        },
                        Err(error) => Ended::failed(error),
                    },
                    Err(error) => Ended::failed(error),
                }
            }
            (Work::ProcessSessions, _) => {
                of_sessions(ProcessingWorker::new(self.detectors.context()).process_due().await)
            }
            (Work::MonitorSessions, _) => of_sessions(MonitoringAgent::new(self.detectors.context()).run_due().await),
            (Work::OnCall, _) => match modes::on_call(self, tick).await {
                Ok(ended) => ended,
                Err(error) => Ended::failed(error),
            },
            (Work::DriftPatrol, _) => match modes::patrol(self, tick).await {
                Ok(ended) => ended,
                Err(error) => Ended::failed(error),
            },
            (Work::WeeklyDigest, _) => match self.digest(tick, false).await {
                Ok(made) => modes::of_digest(&made),
                Err(error) => Ended::failed(error),
            },
            (Work::ScorePulls, _) => modes::score_pulls(self.risk.as_ref()).await,
            (Work::MeasureCommits, _) => modes::measure_commits(self.risk.as_ref()).await,
            (Work::SampleTraces, _) => modes::sample_traces(self, tick).await,
        }
    }

    async fn digest(&self, end: DateTime<Utc>, dry_run: bool) -> Result<Made, JobError> {
        let digester = self.digester.as_ref().ok_or_else(|| {
            JobError::Digest(
                "nothing makes digests here. Hint: run it from the server, or `tripline digest`".to_owned(),
            )
        })?;
        Ok(digester.make(end, dry_run).await?)
    }

    /// Runs a job now, whatever its schedule says: for the window that ends with its latest tick. Dry, it writes nothing
    /// and asks for the window that ends now.
    ///
    /// # Errors
    /// When there is no such job, it is running already, or (dry) its window cannot be judged.
    pub async fn run_by_hand(&self, name: &str, dry_run: bool) -> Result<HandRun, JobError> {
        let spec = self.find(name)?;
        let now = self.detectors.context().clock.now();
        if dry_run {
            return self.dry_run(&spec, now).await;
        }
        // A person who starts a sweep wants what there is now; a digest is of a whole week, and a window ends with its tick.
        let tick = match spec.work {
            Work::OnCall | Work::DriftPatrol | Work::SampleTraces => now,
            _ => spec.schedule.last_at(now).unwrap_or(now),
        };
        match self.run(&spec, tick, Turn::ByHand).await? {
            Some((run, _)) => Ok(HandRun::Ran { run }),
            None => {
                let ctx = self.detectors.context();
                let filter =
                    JobRunFilter { job: Some(spec.name.clone()), status: Some(JobStatus::Running), since: None };
                let running = ctx.store.jobs.list(&ctx.scope, &filter, &PageRequest::first(1)).await?;
                let (since, holder) = running
                    .items
                    .into_iter()
                    .next()
                    .map_or((now, "another process".to_owned()), |run| (run.started_at, run.holder));
                Err(JobError::Busy { name: spec.name, since, holder })
            }
        }
    }
}

/// How a sweep over outputs is kept in a run: figures per feature, without the outputs' ids.
fn swept(sweep: &Sweep) -> serde_json::Value {
    sweep
        .features
        .iter()
        .map(|one| {
            json!({"feature": one.feature, "schema_version": one.schema_version, "total": one.total, "failed": one.failed,
                "fail_rate": one.fail_rate, "first_failed_at": one.first_failed_at})
        })
        .collect()
}

/// How a run over sessions ended: one that cannot be analysed is told, and stays due.
fn of_sessions(done: Result<Done, StoreError>) -> Ended {
    let done = match done {
        Ok(done) => done,
        Err(error) => return Ended::failed(error),
    };
    let detail = json!({"sessions": done.sessions, "changed": done.changed, "failed": done.failures.len()});
    let error = done.failures.into_iter().next();
    let status = if error.is_some() { JobStatus::Failed } else { JobStatus::Ok };
    Ended { status, error, detail, partial: false }
}

fn ended(judgement: &Judgement, response: &crate::respond::Response) -> Ended {
    let detail = json!({
        "findings": judgement.findings.len(),
        "opened": response.opened,
        "updated": response.updated,
        "resolved": response.resolved,
        "requests": judgement.requests + response.requests,
        "gaps": judgement.gaps,
        "notes": judgement.notes,
    });
    if judgement.is_complete() {
        return Ended { status: JobStatus::Ok, error: None, detail, partial: false };
    }
    let reasons: Vec<&str> = judgement.gaps.iter().map(|gap| gap.reason.as_str()).collect();
    Ended { status: JobStatus::Gap, error: Some(reasons.join("; ")), detail, partial: judgement.partial }
}

/// What jobs are shared as.
pub type SharedJobs = Arc<Jobs>;
