//! Spans and log records as the mapping sees them, from either encoding.

use std::fmt;
use std::sync::Arc;

use super::attributes::Attributes;

/// An item of a request that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The item's place in the request, from 0.
    pub index: usize,
    /// The field, as OTLP's JSON names it.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What was in a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<T> {
    /// The items that can be used.
    pub items: Vec<T>,
    /// The others, the first few of them.
    pub flaws: Vec<Flaw>,
    /// How many others there are.
    pub flawed: usize,
}

/// Flaws that are kept to be shown.
const SHOWN: usize = 20;

impl<T> Decoded<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), flaws: Vec::new(), flawed: 0 }
    }

    /// Puts in the next item of the request.
    pub(super) fn add(&mut self, item: Result<T, (String, String)>) {
        match item {
            Ok(item) => self.items.push(item),
            Err((field, reason)) => {
                let index = self.total();
                self.flawed += 1;
                if self.flaws.len() < SHOWN {
                    self.flaws.push(Flaw { index, field, reason });
                }
            }
        }
    }

    /// Items of the request.
    #[must_use]
    pub fn total(&self) -> usize {
        self.items.len() + self.flawed
    }
}

/// Why a body is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(pub(super) String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecodeError {}

/// A span. Times are nanoseconds since 1970; an end of 0 is a span that has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Place in the request.
    pub index: usize,
    /// The trace, never all zeros.
    pub trace_id: [u8; 16],
    /// The span, never all zeros.
    pub span_id: [u8; 8],
    /// The span it is a part of.
    pub parent: Option<[u8; 8]>,
    /// Whether that one is known to be another process's.
    pub remote_parent: bool,
    /// Its name.
    pub name: String,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// Its attributes.
    pub attributes: Attributes,
    /// Those of the process that made it.
    pub resource: Arc<Attributes>,
    /// What happened during it.
    pub events: Vec<SpanEvent>,
    /// Whether its status is an error.
    pub failed: bool,
    /// The message of its status.
    pub status_message: String,
}

impl Span {
    /// The trace in hexadecimal digits.
    #[must_use]
    pub fn trace_hex(&self) -> String {
        hex::encode(self.trace_id)
    }
}

/// An event of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// When, nanoseconds since 1970.
    pub at: u64,
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A log record.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// Place in the request.
    pub index: usize,
    /// When it happened, or else was seen; nanoseconds since 1970, 0 when neither is known.
    pub at: u64,
    /// What kind of event it is, if it is one.
    pub event_name: String,
    /// What it says.
    pub body: serde_json::Value,
    /// Its attributes.
    pub attributes: Attributes,
    /// Those of the process that made it.
    pub resource: Arc<Attributes>,
    /// The trace it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The span it belongs to.
    pub span_id: Option<[u8; 8]>,
}

/// An id of N bytes that is not all zeros.
pub(super) fn id<const N: usize>(field: &str, bytes: &[u8]) -> Result<[u8; N], (String, String)> {
    let id = <[u8; N]>::try_from(bytes).ok().filter(|id| id.iter().any(|byte| *byte != 0));
    id.ok_or_else(|| (field.to_owned(), format!("it must be {} hexadecimal digits, not all of them 0", 2 * N)))
}

/// An id that may be left out: empty or all zeros.
pub(super) fn optional_id<const N: usize>(field: &str, bytes: &[u8]) -> Result<Option<[u8; N]>, (String, String)> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(None) } else { id(field, bytes).map(Some) }
}
