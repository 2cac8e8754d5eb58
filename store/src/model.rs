//! The data model: one file per aggregate, each with its types and the trait of its operations.
//!
//! Owns the words and shapes everything above the store is written against. Does not own how they are
//! kept ([`crate::SqliteStore`] does). Every trait is object safe; [`Store`] bundles them.

mod action;
mod anomaly;
mod api_key;
mod approval;
mod audit;
mod baseline;
mod common;
mod digest;
mod evidence;
mod feedback;
mod id;
mod incident;
mod job;
mod kill;
mod narration;
mod project;
mod replay;
mod risk;
mod run;
mod run_report;
mod sampling;
mod schema_snapshot;
mod store;

pub use action::*;
pub use anomaly::*;
pub use api_key::*;
pub use approval::*;
pub use audit::*;
pub use baseline::*;
pub use common::*;
pub use digest::*;
pub use evidence::*;
pub use feedback::*;
pub use id::*;
pub use incident::*;
pub use job::*;
pub use kill::*;
pub use narration::*;
pub use project::*;
pub use replay::*;
pub use risk::*;
pub use run::*;
pub use run_report::*;
pub use sampling::*;
pub use schema_snapshot::*;
pub use store::*;
