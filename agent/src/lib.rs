//! The agent: detect → investigate → narrate → govern → act, and the jobs that run it.
//!
//! Owns: detectors and their windows, evidence, suspects, narratives, policy, approvals, every effect outside, the
//! job runner. Does not own: SQL execution (engine), vendors for reading (connectors), persistence (store), HTTP
//! serving (web).
//!
//! Must hold: a source that fails is "unknown", never "clean"; every outside effect goes through the outbox with an
//! idempotency key; nothing here reads the system clock or the environment.

pub mod actions;
pub mod context;
pub mod detect;
pub mod digest;
pub mod forensics;
pub mod govern;
pub mod investigate;
pub mod jobs;
pub mod loops;
pub mod messages;
pub mod narrate;
pub mod people;
pub mod quality;
pub mod queries;
pub mod respond;
pub mod risk;
pub mod runs;
pub mod sampler;
pub mod sessions;
pub mod settings;

#[cfg(test)]
mod testing;

#[cfg(test)]
mod live_tests;

pub use context::AgentContext;
