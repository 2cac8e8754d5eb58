//! What came in: every vendor request, and every write that was carried out.
//!
//! Owns: the two logs behind `GET /_requests` and `GET /_writes`.
//! Must hold: a request is logged when it arrives, so that one that never gets an answer is there too.

use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use serde_json::{Value, json};

use crate::faults::Source;
use crate::time;

#[derive(Debug)]
struct Request {
    source: Source,
    method: String,
    path: String,
    query: String,
    status: Option<u16>,
    at: i64,
}

#[derive(Debug)]
struct Write {
    source: Source,
    method: String,
    path: String,
    body: Value,
    at: i64,
}

#[derive(Debug, Default)]
struct Entries {
    // Requests still under way when the log is emptied must not mark a later entry.
    epoch: u64,
    requests: Vec<Request>,
    writes: Vec<Write>,
}

/// A logged request, to be told its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    epoch: u64,
    index: usize,
}

/// Both logs. Times are the system's: they order traffic, they are no vendor data.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: Mutex<Entries>,
}

impl Log {
    /// Logs a request as it arrives.
    pub(crate) fn request(&self, source: Source, method: &str, path: &str, query: &str) -> Ticket {
        let mut entries = self.lock();
        entries.requests.push(Request {
            source,
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            status: None,
            at: Utc::now().timestamp_micros(),
        });
        Ticket { epoch: entries.epoch, index: entries.requests.len() - 1 }
    }

    /// Notes the status that a request was answered with.
    pub(crate) fn answered(&self, ticket: Ticket, status: u16) {
        let mut entries = self.lock();
        if entries.epoch == ticket.epoch
            && let Some(request) = entries.requests.get_mut(ticket.index)
        {
            request.status = Some(status);
        }
    }

    /// Logs a write that was carried out.
    pub(crate) fn write(&self, source: Source, method: &str, path: &str, body: Value) {
        self.lock().writes.push(Write {
            source,
            method: method.to_owned(),
            path: path.to_owned(),
            body,
            at: Utc::now().timestamp_micros(),
        });
    }

    /// Empties both logs.
    pub(crate) fn reset(&self) {
        let mut entries = self.lock();
        entries.epoch += 1;
        entries.requests.clear();
        entries.writes.clear();
    }

    /// `[{source, method, path, query, status, at}]`; `status` is null when no answer was sent.
    pub(crate) fn requests(&self) -> Value {
        self.lock()
            .requests
            .iter()
            .map(|r| {
                json!({"source": r.source.name(), "method": r.method, "path": r.path,
                       "query": r.query, "status": r.status, "at": time::micros_z(r.at)})
            })
            .collect()
    }

    /// `[{source, method, path, body, at}]`.
    pub(crate) fn writes(&self) -> Value {
        self.lock()
            .writes
            .iter()
            .map(|w| {
                json!({"source": w.source.name(), "method": w.method, "path": w.path,
                       "body": w.body, "at": time::micros_z(w.at)})
            })
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
