//! The kill switch: looks up whether runs were asked to stop, and says when they did.
//!
//! Owns one thread, which is started by the first run that asks and ends with the client. Must hold: a run that asks
//! waits for no look-up; a server that is gone stops no run; *stopped* is said only of a run that was asked to stop, saw
//! it, and has ended.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Outcome, Sender};

/// How often it is tried to say that a run stopped.
const ATTEMPTS: u32 = 5;

/// Somebody asked the run to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// The run.
    pub run_id: String,
    /// Who asked, where that is known.
    pub requested_by: Option<String>,
}

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} was asked to stop", self.run_id)?;
        match &self.requested_by {
            Some(by) => write!(f, " by {by}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Killed {}

/// What is known of one run.
#[derive(Debug)]
pub(crate) struct Watch {
    run_id: String,
    watched: AtomicBool,
    killed: OnceLock<Option<String>>,
    /// Whether the run was told.
    told: AtomicBool,
}

impl Watch {
    pub(crate) fn new(run_id: &str) -> Self {
        Self {
            run_id: run_id.to_owned(),
            watched: AtomicBool::new(false),
            killed: OnceLock::new(),
            told: AtomicBool::new(false),
        }
    }

    /// Who asked the run to stop, if somebody did.
    pub(crate) fn killed(&self) -> Option<Option<String>> {
        let by = self.killed.get()?;
        self.told.store(true, Ordering::Release);
        Some(by.clone())
    }
}

/// All runs that ask.
#[derive(Debug)]
pub(crate) struct Control {
    sender: Option<Sender>,
    interval: Duration,
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    runs: Vec<Weak<Watch>>,
    /// Runs that stopped, and how often that could not be said.
    stopped: Vec<(String, u32)>,
    ending: bool,
}

impl Control {
    pub(crate) fn new(sender: Option<Sender>, interval: Duration) -> Self {
        Self { sender, interval, state: Arc::default(), thread: Mutex::new(None) }
    }

    /// Looks this run up from now on.
    pub(crate) fn watch(&self, watch: &Arc<Watch>) {
        let Some(sender) = &self.sender else { return };
        if watch.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let (state, changed) = &*self.state;
        lock(state).runs.push(Arc::downgrade(watch));
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let (shared, sender, interval) = (Arc::clone(&self.state), sender.clone(), self.interval);
            let started = std::thread::Builder::new().name("tripline-control".to_owned());
            // Without a thread no run is ever stopped from outside; the agent itself is not to suffer from that.
            *thread = started.spawn(move || look_up(&shared, &sender, interval)).ok();
        }
        changed.notify_all();
    }

    /// The server said in passing that these runs are to stop.
    pub(crate) fn heard(&self, run_ids: &[&str]) {
        for run in lock(&self.state.0).runs.iter().filter_map(Weak::upgrade) {
            if run_ids.contains(&run.run_id.as_str()) {
                let _ = run.killed.set(None);
            }
        }
    }

    /// The run has ended: if it was told to stop, the server learns that it did.
    pub(crate) fn ended(&self, watch: &Watch) {
        if !watch.told.load(Ordering::Acquire) {
            return;
        }
        let (state, changed) = &*self.state;
        lock(state).stopped.push((watch.run_id.clone(), 0));
        changed.notify_all();
    }

    /// Says what is still to be said, and ends the thread. Returns it, so that the caller can wait for it.
    pub(crate) fn end(&self) -> Option<JoinHandle<()>> {
        let (state, changed) = &*self.state;
        lock(state).ending = true;
        changed.notify_all();
        lock(&self.thread).take()
    }
}

/// A lock that a panic elsewhere does not break: what it guards is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_up(shared: &(Mutex<State>, Condvar), sender: &Sender, interval: Duration) {
    let (state, changed) = shared;
    loop {
        let (runs, stopped, ending) = {
            let mut state = lock(state);
            state.runs.retain(|run| run.strong_count() > 0);
            (state.runs.clone(), std::mem::take(&mut state.stopped), state.ending)
        };
        let unsaid: Vec<(String, u32)> =
            stopped.into_iter().filter_map(|(run, tries)| say_stopped(sender, run, tries)).collect();
        if ending {
            return;
        }
        for run in runs {
            if lock(state).ending {
                break;
            }
            if let Some(run) = run.upgrade().filter(|run| run.killed.get().is_none()) {
                look_up_one(sender, &run);
            }
        }
        let mut state = lock(state);
        state.stopped.extend(unsaid);
        let known = state.runs.len();
        let quiet = |state: &mut State| {
            !state.ending && state.stopped.iter().all(|(_, tries)| *tries > 0) && state.runs.len() <= known
        };
        drop(changed.wait_timeout_while(state, interval, |state| quiet(state)));
    }
}

fn look_up_one(sender: &Sender, run: &Watch) {
    // Anything but a clear word that the run is to stop lets it go on.
    if let Outcome::Done(record) = sender.get(&path(&run.run_id))
        && record["state"] == "kill_requested"
    {
        let by = record["requested_by"].as_str().map(str::to_owned);
        let _ = run.killed.set(by);
    }
}

/// Returns the run when it is to be tried again.
fn say_stopped(sender: &Sender, run: String, tries: u32) -> Option<(String, u32)> {
    let body: Value = json!({"state": "stopped"});
    match sender.post(&path(&run), body.to_string().as_bytes(), &[], None) {
        Outcome::Again(_) if tries + 1 < ATTEMPTS => Some((run, tries + 1)),
        _ => None,
    }
}

fn path(run_id: &str) -> String {
    let mut path = String::from("/v1/runs/");
    for byte in run_id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path.push_str("/control");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_part_of_the_address() {
        assert_eq!(path("a/../b?c"), "/v1/runs/a%2F..%2Fb%3Fc/control");
        assert_eq!(path("é"), "/v1/runs/%C3%A9/control");
    }
}
