//! The wall clock that calls the jobs.
//!
//! Owns: one cron scheduler whose ticks say that something may be due, and the task that then asks what is. Does not own:
//! which windows are due ([`super::due`]), which follows from the injected clock: with a clock set elsewhere
//! (`serve --now`) the two differ, and nothing is lost by it. The jobs of sessions have a task of their own (`sessions`): no
//! detector holds them up. Must hold: shutting down waits for what is running.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use super::{Jobs, sessions};

/// How often it is looked whether something is due, at least: an injected clock has ticks of its own.
const SWEEP: &str = "*/15 * * * * *";

/// Runs jobs until it is told to stop.
#[derive(Debug)]
pub struct JobsHandle {
    stop: CancellationToken,
    task: JoinHandle<()>,
    sessions: JoinHandle<()>,
}

impl JobsHandle {
    /// Stops calling, breaks off what is running (its windows stay due), and waits until that is recorded.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // A task that panicked has nothing left to wait for.
        let _ = self.task.await;
        let _ = self.sessions.await;
    }
}

/// Starts to call the jobs by the wall clock; once at once, for what was missed.
///
/// # Errors
/// When the scheduler cannot be made.
pub async fn start(jobs: Jobs) -> Result<JobsHandle, JobSchedulerError> {
    let tick = Arc::new(Notify::new());
    let mut scheduler = JobScheduler::new().await?;
    let ring = Arc::clone(&tick);
    scheduler
        .add(Job::new_async(SWEEP, move |_, _| {
            let ring = Arc::clone(&ring);
            Box::pin(async move { ring.notify_one() })
        })?)
        .await?;
    scheduler.start().await?;
    tick.notify_one();

    let stop = jobs.stop.clone();
    let stopped = stop.clone();
    let of_sessions = tokio::spawn(sessions::run(jobs.clone()));
    let task = tokio::spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = stopped.cancelled() => break,
                () = tick.notified() => {}
            }
            let now = jobs.detectors.context().clock.now();
            if let Err(error) = jobs.run_windows_due(now).await {
                tracing::error!(%error, "jobs could not be run; they stay due");
            }
        }
        if let Err(error) = scheduler.shutdown().await {
            tracing::warn!(%error, "the scheduler did not stop cleanly");
        }
    });
    Ok(JobsHandle { stop, task, sessions: of_sessions })
}
