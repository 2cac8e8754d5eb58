//! OpenTelemetry: OTLP/HTTP for traces and logs, as runs.
//!
//! **Owns** the doors `/v1/traces`, `/v1/logs` and Langfuse's `/api/public/otel/v1/traces`, both encodings of OTLP
//! (`proto`, `json`), and the mapping of spans and log records to the events of runs ([`map_spans`], [`map_logs`]).
//! **Does not own** validation, taking content out, de-duplication and keeping: the store does, for every door alike.
//!
//! **Must hold**
//! - the mapping is a pure function of a request; of spans that arrive in any order, in several requests, or twice, the
//!   same run comes out: ids of events are those of their spans, and steps are times (docs/ingest-otlp.md);
//! - what a span does not say is absent in the event, never zero or empty: a model that was not recorded is not one that
//!   said nothing;
//! - one bad span costs that span, not its request;
//! - memory is bounded by what a request may have, whatever it expands to.

mod answer;
mod attributes;
mod body;
mod classify;
mod content;
mod decoded;
pub mod dunetrace;
mod handlers;
mod json;
mod logs;
mod payloads;
mod proto;
mod spans;

pub use decoded::{DecodeError, Decoded, Flaw, LogRecord, Span, SpanEvent};
pub(crate) use handlers::{logs as post_logs, traces as post_traces};
pub use logs::map_logs;
pub use spans::{Mapped, map_spans};

/// Reads a request with spans in OTLP's JSON.
///
/// # Errors
/// What is not JSON, or not a request.
pub fn decode_json_spans(body: &[u8]) -> Result<Decoded<Span>, DecodeError> {
    json::spans(body)
}

/// Reads a request with log records in OTLP's JSON.
///
/// # Errors
/// What is not JSON, or not a request.
pub fn decode_json_logs(body: &[u8]) -> Result<Decoded<LogRecord>, DecodeError> {
    json::logs(body)
}

#[cfg(test)]
mod tests;
