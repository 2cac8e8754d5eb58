//! Sessions: the working session of an agent or a developer, its events, and what was derived from them (seed 002).
//!
//! **Owns** the data model ([`model`]), what an event or session must look like ([`validate`]), what of it is kept
//! ([`crate::content`]), the canonical hash ([`hash`]), the rule that tells a repetition from an event ([`dedupe`]), and the trait
//! of all operations ([`Sessions`]).
//!
//! **Does not own** what the events mean: clusters, correlations, summaries and insights are the agent's (`agent::sessions`).
//!
//! **Must hold**
//! - an event is inserted once and never changed or removed;
//! - the hash is taken over what is kept, so that anyone can take it again;
//! - a secret is cut out before anything is hashed or stored; of raw content only `raw_message` is kept;
//! - derived rows follow from the events alone: deriving them again gives the same bytes.

pub mod dedupe;
pub mod derived;
pub mod hash;
pub mod ids;
pub mod model;
mod operations;
pub mod validate;

#[cfg(test)]
mod tests;

pub use derived::*;
pub use ids::{SessionEventId, SessionId, derived_id};
pub use model::*;
pub use operations::*;
pub use validate::{Rejection, SessionRef};
