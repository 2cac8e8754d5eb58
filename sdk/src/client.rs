//! The client: one ring, one sending thread.
//!
//! Must hold: whoever reports an event never waits; dropping the client takes no longer than its farewell.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::buffer::{Ring, Stats};
use crate::control::{Control, lock};
use crate::drain::Drain;
use crate::http::Sender;
use crate::options::{Clock, Options, StartError, base_url};
use crate::run::{Run, RunOptions};

/// What runs and the sending thread share.
pub(crate) struct Shared {
    pub(crate) ring: Ring,
    pub(crate) control: Control,
    clock: Clock,
    pub(crate) signal: Signal,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("stats", &self.ring.stats()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn now(&self) -> f64 {
        (self.clock)()
    }
}

/// How the sending thread is woken and says what it did.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default)]
struct SignalState {
    /// Somebody waits for everything to be sent.
    hurry: bool,
    /// By when the thread is to have ended.
    end_by: Option<Instant>,
    /// The thread has ended.
    ended: bool,
}

impl Signal {
    /// Rests, but not while somebody is in a hurry; says by when the thread is to end.
    pub(crate) fn rest(&self, pause: Duration) -> Option<Instant> {
        let state = lock(&self.state);
        let resting = |state: &mut SignalState| !state.hurry && state.end_by.is_none();
        let woken = self.changed.wait_timeout_while(state, pause, resting);
        let (mut state, _) = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
        state.hurry = false;
        state.end_by
    }

    /// By when the thread is to end.
    pub(crate) fn end_by(&self) -> Option<Instant> {
        lock(&self.state).end_by
    }

    /// Says that something was sent, or that the thread ended.
    pub(crate) fn progress(&self, ended: bool) {
        lock(&self.state).ended |= ended;
        self.changed.notify_all();
    }

    fn end(&self, by: Instant) {
        lock(&self.state).end_by.get_or_insert(by);
        self.changed.notify_all();
    }

    /// Hurries the thread until `done`; false when that is not so in time.
    fn wait(&self, timeout: Duration, done: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            if done() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return false;
            }
            state.hurry = true;
            self.changed.notify_all();
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

/// Reports runs to Tripline. Share it by reference or `Arc`; one is enough for a process.
pub struct Client {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    farewell: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Client {
    /// Starts the sending thread. Nothing is sent yet, so a server that is not there is no error.
    ///
    /// # Errors
    /// An address that is none, or no thread to be had.
    pub fn new(options: Options) -> Result<Self, StartError> {
        let timeout = options.request_timeout;
        let server = options.endpoint.as_deref().map(|endpoint| base_url("endpoint", endpoint)).transpose()?;
        let key = options.api_key.as_deref().filter(|key| !key.is_empty());
        let bearer: Vec<(String, String)> =
            key.map(|key| ("authorization".to_owned(), format!("Bearer {key}"))).into_iter().collect();
        let server = server.map(|base| Sender::new(base, bearer, timeout));
        let spans = options.otel_endpoint.as_deref().map(|base| base_url("otel_endpoint", base)).transpose()?;
        let spans = spans.map(|base| Sender::new(base, options.otel_headers.clone(), timeout));

        let shared = Arc::new(Shared {
            ring: Ring::new(options.buffer_size),
            control: Control::new(server.clone(), options.control_interval),
            clock: Arc::clone(&options.clock),
            signal: Signal::default(),
        });
        let farewell = options.farewell;
        let drain = Drain::new(Arc::clone(&shared), server, spans, options);
        let thread = std::thread::Builder::new().name("tripline-sdk".to_owned()).spawn(move || drain.run());
        Ok(Self { shared, thread: Some(thread.map_err(StartError::Thread)?), farewell })
    }

    /// Begins a run of an agent.
    #[must_use = "a run that is dropped at once is over at once"]
    pub fn run(&self, agent_id: &str, options: &RunOptions<'_>) -> Run {
        Run::start(Arc::clone(&self.shared), agent_id, options)
    }

    /// Runs `work` as a run: it ends well with `Ok`, else with the type of the error and the hash of its text.
    ///
    /// # Errors
    /// Those of `work`, as they are.
    pub fn observe<T, E: fmt::Display>(
        &self,
        agent_id: &str,
        options: &RunOptions<'_>,
        work: impl FnOnce(&Run) -> Result<T, E>,
    ) -> Result<T, E> {
        let run = self.run(agent_id, options);
        let result = work(&run);
        match &result {
            Ok(_) => run.complete(),
            Err(error) => run.fail(short_type_name::<E>(), error),
        }
        result
    }

    /// What became of the events so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.ring.stats()
    }

    /// Waits until everything that was reported before has been sent, given up, or made room; false when that takes
    /// longer.
    pub fn flush(&self, timeout: Duration) -> bool {
        let until = self.stats().enqueued;
        self.shared.signal.wait(timeout, || {
            let stats = self.stats();
            stats.overwritten + stats.delivered + stats.lost >= until
        })
    }

    /// Sends what is left, in batches, for no longer than this, and ends. True when nothing was left behind.
    pub fn shutdown(mut self, timeout: Duration) -> bool {
        let lost = self.stats().lost;
        self.end(timeout);
        let stats = self.stats();
        stats.waiting() == 0 && stats.lost == lost
    }

    fn end(&mut self, timeout: Duration) {
        let Some(thread) = self.thread.take() else { return };
        let deadline = Instant::now() + timeout;
        self.shared.signal.end(deadline);
        let control = self.shared.control.end();
        self.shared.signal.wait(timeout, || false);
        // A thread that has not ended by now is in a request that has a limit of its own, and ends after it.
        if thread.is_finished() || lock(&self.shared.signal.state).ended {
            let _ = thread.join();
        }
        if let Some(control) = control {
            while !control.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end(self.farewell);
    }
}

/// `ValueError` of `app::errors::ValueError<'_, T>`.
fn short_type_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split_once('<').map_or(name, |(name, _)| name);
    name.rsplit_once("::").map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_an_error_is_its_last_name() {
        assert_eq!(short_type_name::<std::num::ParseIntError>(), "ParseIntError");
        assert_eq!(short_type_name::<Box<dyn std::error::Error>>(), "Box");
        assert_eq!(short_type_name::<String>(), "String");
    }
}
