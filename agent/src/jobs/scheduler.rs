//! The wall clock that calls the jobs.
//!
//! Owns: one cron scheduler whose ticks say that something may be due, and the task that then asks what is. Does not own:
//! which windows are due ([`super::due`]), which follows from the injected clock: with a clock set elsewhere
//! (`serve --now`) the two differ, and nothing is lost by it. The jobs of sessions have a task of their own (`sessions`), and so
//! have those that somebody waits for: no detector that judges the windows of a night holds them up. Must hold: shutting down
//! waits for what is running.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;
use tripline_store::JobRun;

use super::{JobError, Jobs, sessions};

/// How often it is looked whether something is due, at least: an injected clock has ticks of its own.
const SWEEP: &str = "*/15 * * * * *";

/// Looks that may be under way at once: of one job one run is alive all the same.
const LOOKS: usize = 3;

/// Runs jobs until it is told to stop.
#[derive(Debug)]
pub struct JobsHandle {
    stop: CancellationToken,
    task: JoinHandle<()>,
    waited_for: JoinHandle<()>,
    sessions: JoinHandle<()>,
}

impl JobsHandle {
    /// Stops calling, breaks off what is running (its windows stay due), and waits until that is recorded.
    pub async fn shutdown(self) {
        self.stop.cancel();
        // A task that panicked has nothing left to wait for.
        let _ = self.task.await;
        let _ = self.waited_for.await;
        let _ = self.sessions.await;
    }
}

/// Starts to call the jobs by the wall clock; once at once, for what was missed.
///
/// # Errors
/// When the scheduler cannot be made.
pub async fn start(jobs: Jobs) -> Result<JobsHandle, JobSchedulerError> {
    let ticks: [Arc<Notify>; 2] = Default::default();
    let mut scheduler = JobScheduler::new().await?;
    let rings = ticks.clone();
    scheduler
        .add(Job::new_async(SWEEP, move |_, _| {
            let rings = rings.clone();
            Box::pin(async move { rings.iter().for_each(|ring| ring.notify_one()) })
        })?)
        .await?;
    scheduler.start().await?;
    ticks.iter().for_each(|tick| tick.notify_one());
    let [tick, of_waited_for] = ticks;

    let stop = jobs.stop.clone();
    let stopped = stop.clone();
    let of_sessions = tokio::spawn(sessions::run(jobs.clone()));
    let waited_for = tokio::spawn({
        let (jobs, stopped) = (jobs.clone(), stop.clone());
        async move {
            while rung(&stopped, &of_waited_for).await {
                told(jobs.run_waited_for_due(jobs.detectors.context().clock.now()).await);
            }
        }
    });
    let task = tokio::spawn(async move {
        let mut looks = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                goes_on = rung(&stopped, &tick) => {
                    if !goes_on {
                        break;
                    }
                    // A job that hangs on its source is alive; the others are due all the same.
                    if looks.len() < LOOKS {
                        looks.push(jobs.run_windows_due(jobs.detectors.context().clock.now()));
                    }
                }
                Some(ran) = looks.next() => told(ran),
            }
        }
        while let Some(ran) = looks.next().await {
            told(ran);
        }
        if let Err(error) = scheduler.shutdown().await {
            tracing::warn!(%error, "the scheduler did not stop cleanly");
        }
    });
    Ok(JobsHandle { stop, task, waited_for, sessions: of_sessions })
}

/// Waits for a tick; `false` when it is time to stop.
async fn rung(stopped: &CancellationToken, tick: &Notify) -> bool {
    tokio::select! {
        biased;
        () = stopped.cancelled() => false,
        () = tick.notified() => true,
    }
}

fn told(ran: Result<Vec<JobRun>, JobError>) {
    if let Err(error) = ran {
        tracing::error!(%error, "jobs could not be run; they stay due");
    }
}
