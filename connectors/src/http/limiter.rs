//! One limiter per source, shared by all queries.
//!
//! Owns: how many requests are under way, the optional pace, and pauses the vendor asked for. Does not own: reading the
//! vendor's headers (`quota`), nor what is retried (`retry`).
//!
//! A refusal holds everybody back, unless the vendor shows that it meant one request only: it accepted one that was sent
//! later than the refused one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
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
    /// Told when a refusal turned out to have meant one request only.
    lifted: Notify,
}

/// Leave to send one request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Requests in the order they were sent.
    pub(crate) number: u64,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct State {
    paused_until: Option<Instant>,
    /// Until when a refusal holds, and the last request that was refused.
    refused: Option<(Instant, u64)>,
    /// The last request that was accepted.
    accepted: u64,
    /// Turns given so far.
    turns: u64,
    /// When the next request would be due at an even pace.
    due: Option<Instant>,
}

impl State {
    /// Until when nobody sends anything, if that is to come.
    fn held_until(&self) -> Option<Instant> {
        self.paused_until.max(self.refused.map(|(until, _)| until)).filter(|until| *until > Instant::now())
    }
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
            lifted: Notify::new(),
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

    /// The vendor refused request `number` for `wait` from now. Nobody sends anything for so long, unless the vendor accepts
    /// a request that was sent after that one.
    pub(crate) fn refused(&self, number: u64, wait: Duration) {
        let mut state = self.state();
        if state.accepted > number {
            return;
        }
        let until = Instant::now() + wait;
        let (known, last) = state.refused.unwrap_or((until, number));
        state.refused = Some((known.max(until), last.max(number)));
    }

    /// The vendor accepted request `number`.
    pub(crate) fn accepted(&self, number: u64) {
        let mut state = self.state();
        state.accepted = state.accepted.max(number);
        if state.refused.is_some_and(|(_, refused)| refused < number) {
            state.refused = None;
            drop(state);
            self.lifted.notify_waiters();
        }
    }

    /// How long nobody sends anything, from now.
    pub(crate) fn paused_for(&self) -> Option<Duration> {
        self.state().held_until().map(|until| until.saturating_duration_since(Instant::now())).filter(|d| !d.is_zero())
    }

    /// Waits for a turn; the turn lasts until the permit is dropped.
    ///
    /// # Errors
    /// [`TooLate`], at once, when a pause lasts longer than until `deadline`.
    pub(crate) async fn turn(&self, deadline: Instant) -> Result<Turn, TooLate> {
        let too_late = |until: Instant| TooLate { wait: until.saturating_duration_since(Instant::now()) };
        loop {
            if let Some(until) = self.state().held_until().filter(|until| *until > deadline) {
                return Err(too_late(until));
            }
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
                // The semaphore is never closed.
                return Err(TooLate { wait: Duration::ZERO });
            };
            // The pause may have begun while waiting for the permit, and may be lifted from here on.
            let lifted = self.lifted.notified();
            let paused = self.state().held_until();
            if let Some(until) = paused {
                drop(permit);
                if until > deadline {
                    return Err(too_late(until));
                }
                // A lifted refusal may leave a pause behind it; so it is looked at again.
                let _ = tokio::time::timeout_at(until, lifted).await;
                continue;
            }
            if let Some(at) = self.reserve() {
                if at > deadline {
                    return Err(too_late(at));
                }
                tokio::time::sleep_until(at).await;
            }
            let mut state = self.state();
            state.turns += 1;
            return Ok(Turn { number: state.turns, _permit: permit });
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
    async fn a_refusal_holds_everyone_back_like_a_pause() {
        let limiter = Limiter::new(8, None);
        let start = Instant::now();
        let refused = limiter.turn(later(60)).await.unwrap();
        limiter.refused(refused.number, Duration::from_secs(3));
        assert_eq!(limiter.paused_for(), Some(Duration::from_secs(3)));
        drop(limiter.turn(later(60)).await.unwrap());
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_meant_one_request_only_holds_nobody_else() {
        let limiter = Limiter::new(8, None);
        let start = Instant::now();
        let [earlier, refused, later_one] =
            [(); 3].map(|()| futures::executor::block_on(limiter.turn(later(60))).unwrap().number);
        limiter.refused(refused, Duration::from_secs(3));
        // What the vendor took before says nothing; what it took after does.
        limiter.accepted(earlier);
        assert_eq!(limiter.paused_for(), Some(Duration::from_secs(3)));
        let (turn, ()) = tokio::join!(limiter.turn(later(60)), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            limiter.accepted(later_one);
        });
        drop(turn.unwrap());
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        // The answers may come in the other order.
        limiter.refused(refused, Duration::from_secs(3));
        assert_eq!(limiter.paused_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_outlasts_a_refusal_that_is_lifted() {
        let limiter = Limiter::new(8, None);
        let start = Instant::now();
        let refused = limiter.turn(later(60)).await.unwrap().number;
        let accepted = limiter.turn(later(60)).await.unwrap().number;
        limiter.pause(Duration::from_secs(2));
        limiter.refused(refused, Duration::from_secs(5));
        limiter.accepted(accepted);
        drop(limiter.turn(later(60)).await.unwrap());
        assert_eq!(start.elapsed(), Duration::from_secs(2));
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
