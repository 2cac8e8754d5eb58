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
//! ```no_run
//! use std::time::Duration;
//! use serde_json::json;
//! use tripline_sdk::{Client, LlmResponse, Options, RunOptions, ToolResponse};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Options { api_key: Some("tl_…".to_owned()), ..Options::default() })?;
//! let run = client.run(
//!     "support-agent",
//!     &RunOptions { user_input: "Where is my order?", model: "gpt-4o", tools: &["find_order"], ..Default::default() },
//! );
//! run.llm_called("gpt-4o", 150);
//! run.llm_responded(&LlmResponse { completion_tokens: 20, finish_reason: "tool_calls", ..Default::default() });
//! run.check()?; // Err: somebody asked this run to stop.
//! run.tool_called("find_order", &json!({"id": 42}));
//! run.tool_responded("find_order", &ToolResponse { output_length: 512, latency_ms: 88, ..Default::default() });
//! run.final_answer();
//! run.complete();
//! client.shutdown(Duration::from_secs(5));
//! # Ok(())
//! # }
//! ```

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
pub use options::{Clock, Options, StartError};
pub use run::{LlmResponse, RetrievalResponse, Run, RunOptions, ToolResponse};
