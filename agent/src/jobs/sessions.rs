//! When the jobs of sessions are called: as soon as a session changes.
//!
//! Owns: the task that calls them. Does not own: which of them is due ([`super::due`]), nor how long an active session rests.
//! Must hold: processing goes before monitoring; a session that ended is analysed within about a second; an idle server asks
//! the store twice in ten seconds, no more.

use std::time::Duration;

use tokio::sync::watch;

use super::Jobs;

/// Without a change: other processes write to the same store, and their changes do not ring here.
const IDLE: Duration = Duration::from_secs(5);
/// While something is not analysed yet: a tick is a second, and what came after it is due with the next.
const BUSY: Duration = Duration::from_secs(1);

/// Calls the jobs of sessions until they are told to stop.
pub(super) async fn run(jobs: Jobs) {
    let ctx = jobs.detectors.context();
    let mut changes = ctx.store.sessions.changes();
    while !jobs.stop.is_cancelled() {
        // What changes from here on is looked at again.
        changes.mark_unchanged();
        let now = ctx.clock.now();
        let unfinished = match jobs.run_sessions_due(now).await {
            Ok(_) => jobs.has_unfinished_sessions().await.map_err(Into::into),
            Err(error) => Err(error),
        };
        let unfinished = unfinished.unwrap_or_else(|error: super::JobError| {
            tracing::error!(%error, "sessions could not be analysed; they stay due");
            false
        });
        tokio::select! {
            biased;
            () = jobs.stop.cancelled() => break,
            () = wake(&mut changes, unfinished) => {}
        }
    }
}

/// Waits until it is to be looked again.
async fn wake(changes: &mut watch::Receiver<u64>, unfinished: bool) {
    if unfinished {
        // At most once a second, however many batches arrive.
        tokio::time::sleep(BUSY).await;
        return;
    }
    // Of a store that is gone nothing will be heard: then the pause alone counts.
    if let Ok(Err(_)) = tokio::time::timeout(IDLE, changes.changed()).await {
        tokio::time::sleep(IDLE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    async fn waited(changes: &mut watch::Receiver<u64>, unfinished: bool) -> Duration {
        let began = Instant::now();
        wake(changes, unfinished).await;
        // The timer rounds up to milliseconds.
        Duration::from_secs(began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_wakes_at_once_unfinished_work_after_a_second_and_nothing_after_five() {
        let (sender, mut changes) = watch::channel(0);
        assert_eq!(waited(&mut changes, false).await, IDLE);
        assert_eq!(waited(&mut changes, true).await, BUSY);
        sender.send_modify(|count| *count += 1);
        assert_eq!(waited(&mut changes, false).await, Duration::ZERO);
        assert_eq!(waited(&mut changes, false).await, IDLE);
        drop(sender);
        assert_eq!(waited(&mut changes, false).await, IDLE);
    }
}
