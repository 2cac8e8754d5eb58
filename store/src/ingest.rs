//! What agents and developers send: kept safely, and shown as the SQL tables `ingest.*`.
//!
//! Owns: what is derived of run events ([`runs`]).

pub mod runs;
pub mod steps;
