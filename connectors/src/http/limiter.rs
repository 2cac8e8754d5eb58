//! One limiter per source, shared by all queries.
//!
//! Owns: how many requests are under way, the optional pace, and pauses the vendor asked for. Does not own: reading the
//! vendor's headers (`quota`), nor what is retried (`retry`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// A pause would end after the caller's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLate {
    /// How long the pause still is.
    pub(crate) wait: Duration,
}

/// Admits requests.
#[derive(Debug)]
pub(crate) struct Limiter {
    permits: Arc<Semaphore>,
    state: Mutex<State>,
    /// Time between two requests at the configured pace.
    interval: Option<Duration>,
    /// How far ahead of the pace a burst may be.
    burst: Duration,
}

#[derive(Debug, Default)]
struct State {
    paused_until: Option<Instant>,
    /// When the next request would be due at an even pace.
    due: Option<Instant>,
}

impl Limiter {
    pub(crate) fn new(concurrency: usize, requests_per_minute: Option<usize>) -> Self {
        let interval =
            requests_per_minute.and_then(|n| u32::try_from(n).ok()).map(|n| Duration::from_secs(60) / n.max(1));
        let ahead = u32::try_from(concurrency.saturating_sub(1)).unwrap_or(u32::MAX);
        Self {
            permits: Arc::new(Semaphore::new(concurrency.max(1))),
            state: Mutex::default(),
            interval,
            burst: interval.unwrap_or_default().saturating_mul(ahead),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody sends anything for `wait` from now.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state();
        state.paused_until = Some(state.paused_until.map_or(until, |known| known.max(until)));
    }

    /// How long nobody sends anything, from now.
    pub(crate) fn paused_for(&self) -> Option<Duration> {
        self.state()
            .paused_until
            .and_then(|until| until.checked_duration_since(Instant::now()))
            .filter(|d| !d.is_zero())
    }

    /// Waits for a turn; the turn lasts until the permit is dropped.
    ///
    /// # Errors
    /// [`TooLate`], at once, when a pause lasts longer than until `deadline`.
    pub(crate) async fn turn(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, TooLate> {
        let too_late = |until: Instant| TooLate { wait: until.saturating_duration_since(Instant::now()) };
        loop {
            if let Some(until) = self.state().paused_until.filter(|until| *until > deadline) {
                return Err(too_late(until));
            }
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // The semaphore is never closed.
                return Err(TooLate { wait: Duration::ZERO });
            };
            // The pause may have begun while waiting for the permit.
            let paused = self.state().paused_until.filter(|until| *until > Instant::now());
            if let Some(until) = paused {
                drop(permit);
                if until > deadline {
                    return Err(too_late(until));
                }
                tokio::time::sleep_until(until).await;
                continue;
            }
            if let Some(at) = self.reserve() {
                if at > deadline {
                    return Err(too_late(at));
                }
                tokio::time::sleep_until(at).await;
            }
            return Ok(permit);
        }
    }

    /// Takes the next place at the configured pace; the moment to wait for, if it is not now.
    fn reserve(&self) -> Option<Instant> {
        let interval = self.interval?;
        let now = Instant::now();
        let mut state = self.state();
        let due = state.due.map_or(now, |due| due.max(now));
        state.due = Some(due + interval);
        // Up to `burst` ahead of the even pace is fine.
        due.checked_sub(self.burst).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(seconds: u64) -> Instant {
        Instant::now() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_requests_run_at_once_than_the_limit() {
        let limiter = Limiter::new(2, None);
        let first = limiter.turn(later(60)).await.unwrap();
        let _second = limiter.turn(later(60)).await.unwrap();
        let third = tokio::time::timeout(Duration::from_secs(1), limiter.turn(later(60))).await;
        assert!(third.is_err());
        drop(first);
        assert!(limiter.turn(later(60)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everyone_back_until_it_ends() {
        let limiter = Limiter::new(8, None);
        let start = Instant::now();
        limiter.pause(Duration::from_secs(20));
        drop(limiter.turn(later(60)).await.unwrap());
        assert_eq!(start.elapsed(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_past_the_deadline_is_said_at_once() {
        let limiter = Limiter::new(8, None);
        let start = Instant::now();
        limiter.pause(Duration::from_secs(90));
        assert_eq!(limiter.turn(later(60)).await.unwrap_err(), TooLate { wait: Duration::from_secs(90) });
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn the_configured_pace_is_kept_after_a_burst() {
        let limiter = Limiter::new(3, Some(60));
        let start = Instant::now();
        for _ in 0..10 {
            drop(limiter.turn(later(60)).await.unwrap());
        }
        // Three at once, then one a second.
        assert_eq!(start.elapsed().as_secs(), 7);
    }
}
