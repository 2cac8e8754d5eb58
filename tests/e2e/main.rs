//! The product from outside: the real `tripline` binary against the simulated vendors, over HTTP.
//!
//! Owns: what was promised of the whole (the demo, foreign data, the approval gate, crashes, missing sources, hostile
//! text, request counts, the live store, the documentation of the command line). Does not own: what one crate promises
//! alone; its own tests say that. Must hold: a test uses nothing of the caller's environment, no fixed port and no folder
//! but its own; it waits for conditions, never for time; every process it starts ends with it.
//!
//! The binary is the one beside this test executable (`cargo build --bin tripline`), or what `TRIPLINE_BIN` names.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at once")]

mod clicks;
mod crashes;
mod demo;
mod digest;
mod documents;
mod environment;
mod events;
mod foreign;
mod harness;
mod history;
mod hostile;
mod ingest;
mod live;
mod missing;
mod requests;
mod seeded;
mod sessions;
mod sources;
mod templates;
mod webhook;
