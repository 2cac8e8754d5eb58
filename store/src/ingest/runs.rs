//! Runs, built from their events: `ingest.runs`, `ingest.llm_calls`, `ingest.tool_calls`, `ingest.retrievals`,
//! `ingest.steps`.
//!
//! Owns: the run builder ([`RunTables::build`], a pure function of event batches and the time) and the SQL tables over
//! an event log ([`run_tables`]). Does not own: how events are kept (the log), or what is wrong with a run (the
//! detectors in `queries/runs`).
//!
//! Must hold: rows depend on the events alone, not on the order in which batches hand them over; a payload that lacks
//! a field, or has it in another type, costs that field and nothing else; what an event does not say is NULL.
//!
//! The rules are those of the Dunetrace run builder (seed 000; `facts/dunetrace.md` §2) without its defects: a step's
//! duration is the first gap at it, not the last; a response belongs to the latest unanswered call of its step (and
//! tool), then of its tool; signals from outside and error hashes are kept.

mod build;
mod events;
mod payload;
mod rows;
mod schema;
mod source;
mod tables;

#[cfg(test)]
mod tests;

pub use build::{CallGaps, RunTables};
pub use schema::{RunTable, STALLED_AFTER};
pub use source::{LogEvents, MemoryEvents, RunEvents, RunFilter};
pub use tables::run_tables;
