//! Reports the runs of an agent to Tripline, without ever holding the agent up.
//!
//! **Owns** counting steps, hashing content in this process, a ring of events whose oldest make room for new ones, one
//! thread that sends them in batches, and the kill switch. Outputs, in any combination: Tripline's `POST /v1/ingest`,
//! lines for Loki, OpenTelemetry spans (OTLP/HTTP, JSON). **Does not own** judging runs: the server does.
//!
//! **Must hold**
//! - reporting an event takes about a microsecond, waits for nobody, and never fails or panics, whether there is a
//!   server or not;
//! - no content leaves the process: inputs, arguments and errors are hashed, outputs are hashed by the caller;
//! - what was sent twice is kept once: every event has an id.
//!
#![doc = include_str!("../README.md")]

mod buffer;
mod client;
mod control;
mod drain;
mod event;
mod hash;
mod http;
mod injection;
mod options;
mod otel;
mod run;

pub use buffer::Stats;
pub use client::Client;
pub use control::Killed;
pub use hash::{agent_version, hash_args, hash_content};
pub use injection::{InjectionSignal, find_injection};
pub use options::{Clock, OnRejected, Options, Rejected, StartError};
pub use run::{LlmResponse, RetrievalResponse, Run, RunOptions, ToolResponse};
