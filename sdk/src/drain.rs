//! The sending thread: takes events from the ring, a batch at a time, and gives them to each output.
//!
//! Must hold: a batch that cannot be sent is tried again a few times and then given up, so that newer events get their
//! turn; at the end there is one attempt for each batch, and none after the first that fails.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::Shared;
use crate::event::{Batch, Event, loki_line};
use crate::http::{Outcome, Sender, pause};
use crate::options::Options;
use crate::otel::Spans;

/// Events of a batch at most.
const BATCH: usize = 100;
/// Spans of an export at most.
const EXPORT: usize = 256;

pub(crate) struct Drain {
    shared: Arc<Shared>,
    server: Option<Sender>,
    ndjson: Option<Box<dyn Write + Send>>,
    spans: Option<(Sender, Spans)>,
    rest: Duration,
    retries: u32,
    retry_pause: Duration,
    /// Set when, at the end, a server turned out to be gone: nothing more is sent there.
    server_gone: bool,
    receiver_gone: bool,
}

/// Whether an output took what it was given.
#[derive(Clone, Copy, PartialEq)]
enum Sent {
    Yes,
    No,
}

impl Drain {
    pub(crate) fn new(shared: Arc<Shared>, server: Option<Sender>, spans: Option<Sender>, options: Options) -> Self {
        Self {
            shared,
            server,
            ndjson: options.ndjson,
            spans: spans.map(|sender| (sender, Spans::new(&options.service_name))),
            rest: options.flush_interval,
            retries: options.retries,
            retry_pause: options.retry_pause,
            server_gone: false,
            receiver_gone: false,
        }
    }

    pub(crate) fn run(mut self) {
        // Should an output of the caller's panic, whoever waits for this thread must not wait in vain.
        struct Ended(Arc<Shared>);
        impl Drop for Ended {
            fn drop(&mut self) {
                self.0.signal.progress(true);
            }
        }
        let _ended = Ended(Arc::clone(&self.shared));
        loop {
            let batch = self.shared.ring.take(BATCH);
            if !batch.is_empty() {
                self.deliver(&batch);
                continue;
            }
            self.shared.signal.progress(false);
            if self.shared.signal.rest(self.rest).is_some() && self.shared.ring.stats().waiting() == 0 {
                return;
            }
            if self.late() {
                return;
            }
        }
    }

    /// Whether the time to end has passed.
    fn late(&self) -> bool {
        self.shared.signal.end_by().is_some_and(|by| Instant::now() >= by)
    }

    fn deliver(&mut self, batch: &[Box<Event>]) {
        if self.late() {
            self.shared.ring.handled(0, batch.len());
            return;
        }
        let written = self.write_lines(batch);
        let exported = self.export(batch);
        let posted = self.post(batch);
        if [written, exported, posted].contains(&Sent::No) {
            self.shared.ring.handled(0, batch.len());
        } else {
            self.shared.ring.handled(batch.len(), 0);
        }
        self.shared.signal.progress(false);
    }

    fn write_lines(&mut self, batch: &[Box<Event>]) -> Sent {
        let Some(out) = &mut self.ndjson else { return Sent::Yes };
        let mut text = String::new();
        for event in batch {
            match loki_line(event) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(_) => return Sent::No,
            }
        }
        // Whole lines in one write: they do not mix with those of others.
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Sent::Yes,
            Err(_) => Sent::No,
        }
    }

    fn export(&mut self, batch: &[Box<Event>]) -> Sent {
        let Some((sender, spans)) = &mut self.spans else { return Sent::Yes };
        for event in batch {
            spans.take(event);
        }
        let sender = sender.clone();
        let mut bodies = Vec::new();
        while let Some(body) = spans.export(EXPORT) {
            bodies.push(body);
        }
        let mut sent = Sent::Yes;
        for body in bodies {
            let gone = self.receiver_gone;
            let (one, gone) = self.send(&sender, "/v1/traces", &body.to_string(), &[], gone);
            self.receiver_gone = gone;
            if one == Sent::No {
                sent = Sent::No;
            }
        }
        sent
    }

    fn post(&mut self, batch: &[Box<Event>]) -> Sent {
        let (Some(sender), Some(first)) = (self.server.clone(), batch.first()) else { return Sent::Yes };
        let agent_id = first.run.agent_id.as_str();
        let Ok(body) = serde_json::to_string(&Batch { agent_id, events: batch }) else { return Sent::No };
        // A header can hold less than an id may.
        let plain = agent_id.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let headers = [("x-dunetrace-agent", agent_id)];
        let headers = if plain { &headers[..] } else { &[] };
        let (sent, gone) = self.send(&sender, "/v1/ingest", &body, headers, self.server_gone);
        self.server_gone = gone;
        sent
    }

    /// Sends, again and again if need be. Also says whether the server is gone for good: at the end, after one failure.
    fn send(&self, sender: &Sender, path: &str, body: &str, headers: &[(&str, &str)], gone: bool) -> (Sent, bool) {
        if gone {
            return (Sent::No, true);
        }
        for attempt in 1..=self.retries.saturating_add(1) {
            let ending = self.shared.signal.end_by();
            let left = ending.map(|by| by.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return (Sent::No, true);
            }
            match sender.post(path, body.as_bytes(), headers, left) {
                Outcome::Done(answer) => {
                    let runs = answer["kill_requested"].as_array().into_iter().flatten();
                    let runs: Vec<&str> = runs.filter_map(|run| run.as_str()).collect();
                    if !runs.is_empty() {
                        self.shared.control.heard(&runs);
                    }
                    return (Sent::Yes, false);
                }
                Outcome::Refused(_) => return (Sent::No, false),
                Outcome::Again(_) if ending.is_some() => return (Sent::No, true),
                Outcome::Again(_) if attempt > self.retries => return (Sent::No, false),
                Outcome::Again(asked) => self.wait(asked.unwrap_or_else(|| pause(self.retry_pause, attempt))),
            }
        }
        (Sent::No, false)
    }

    /// Waits before another attempt. Somebody in a hurry does not shorten that; the end does.
    fn wait(&self, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.signal.rest(left).is_some() {
                return;
            }
        }
    }
}
