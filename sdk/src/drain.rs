//! The sending thread: takes events from the ring, a batch at a time, and gives them to each output.
//!
//! Must hold: a batch that cannot be sent is tried again a few times and then given up, so that newer events get their
//! turn; at the end there is one attempt for each batch, and none after the first that fails; what the server refused of a batch
//! that it took is counted and told, never counted as delivered.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Shared;
use crate::event::{Batch, Event, loki_line};
use crate::http::{Outcome, Sender, pause};
use crate::options::{OnRejected, Options, Rejected};
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
    on_rejected: Option<OnRejected>,
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

/// What became of a request.
enum Reply {
    /// It was taken, or not, for good.
    Answered { sent: Sent, status: u16, body: Value },
    /// There was no answer.
    None,
}

/// An event of a batch that the server refused.
struct Refusal {
    index: usize,
    field: String,
    reason: String,
}

/// The events that an answer says are refused, each once. A refusal of the whole names none.
fn refusals(body: &Value, of: usize) -> Vec<Refusal> {
    let mut found: Vec<Refusal> = Vec::new();
    for one in body["rejected"].as_array().into_iter().flatten() {
        let index = one["index"].as_u64().and_then(|index| usize::try_from(index).ok()).filter(|index| *index < of);
        let Some(index) = index else { continue };
        if found.iter().all(|known| known.index != index) {
            let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            found.push(Refusal { index, field: text("field"), reason: text("reason") });
        }
    }
    found
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
            on_rejected: options.on_rejected,
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
        let (posted, refused) = self.post(batch);
        if [written, exported, posted].contains(&Sent::No) {
            self.shared.ring.handled(0, batch.len());
        } else {
            self.shared.ring.handled(batch.len() - refused, refused);
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
            let (reply, gone) = self.send(&sender, "/v1/traces", &body.to_string(), &[], gone);
            self.receiver_gone = gone;
            if !matches!(reply, Reply::Answered { sent: Sent::Yes, .. }) {
                sent = Sent::No;
            }
        }
        sent
    }

    /// Posts a batch; also how many of its events the server refused, when it took the others.
    fn post(&mut self, batch: &[Box<Event>]) -> (Sent, usize) {
        let (Some(sender), Some(first)) = (self.server.clone(), batch.first()) else { return (Sent::Yes, 0) };
        let agent_id = first.run.agent_id.as_str();
        let Ok(body) = serde_json::to_string(&Batch { agent_id, events: batch }) else { return (Sent::No, 0) };
        // A header can hold less than an id may.
        let plain = agent_id.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let headers = [("x-dunetrace-agent", agent_id)];
        let headers = if plain { &headers[..] } else { &[] };
        let (reply, gone) = self.send(&sender, "/v1/ingest", &body, headers, self.server_gone);
        self.server_gone = gone;
        let Reply::Answered { sent, status, body } = reply else { return (Sent::No, 0) };
        let runs = body["kill_requested"].as_array().into_iter().flatten();
        let runs: Vec<&str> = runs.filter_map(|run| run.as_str()).collect();
        if !runs.is_empty() {
            self.shared.control.heard(&runs);
        }
        let mut refused = refusals(&body, batch.len());
        if sent == Sent::No && refused.is_empty() {
            let whole = |index| Refusal { index, field: String::new(), reason: format!("HTTP {status}") };
            refused = (0..batch.len()).map(whole).collect();
        }
        self.shared.ring.rejected(refused.len());
        for refusal in &refused {
            self.tell(batch, refusal, status);
        }
        (sent, refused.len())
    }

    /// Tells whoever wants to know that an event was refused. Theirs is theirs: should it panic, sending goes on.
    fn tell(&self, batch: &[Box<Event>], refusal: &Refusal, status: u16) {
        let (Some(tell), Some(event)) = (&self.on_rejected, batch.get(refusal.index)) else { return };
        let rejected = Rejected {
            run_id: event.run.run_id.clone(),
            agent_id: event.run.agent_id.clone(),
            event_type: event.payload.event_type(),
            step_index: event.step,
            status,
            field: refusal.field.clone(),
            reason: refusal.reason.clone(),
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tell(&rejected)));
    }

    /// Sends, again and again if need be. Also says whether the server is gone for good: at the end, after one failure.
    fn send(&self, sender: &Sender, path: &str, body: &str, headers: &[(&str, &str)], gone: bool) -> (Reply, bool) {
        if gone {
            return (Reply::None, true);
        }
        for attempt in 1..=self.retries.saturating_add(1) {
            let ending = self.shared.signal.end_by();
            let left = ending.map(|by| by.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return (Reply::None, true);
            }
            match sender.post(path, body.as_bytes(), headers, left) {
                Outcome::Done(body) => return (Reply::Answered { sent: Sent::Yes, status: 202, body }, false),
                Outcome::Refused(status, body) => {
                    return (Reply::Answered { sent: Sent::No, status, body }, false);
                }
                Outcome::Again(_) if ending.is_some() => return (Reply::None, true),
                Outcome::Again(_) if attempt > self.retries => return (Reply::None, false),
                Outcome::Again(asked) => self.wait(asked.unwrap_or_else(|| pause(self.retry_pause, attempt))),
            }
        }
        (Reply::None, false)
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
