//! Sessions: what went wrong in the working session of an agent or developer (seed 002, facts on Achilles).
//!
//! **Owns** the processing worker ([`worker`]: error clusters, correlations, summary), the monitoring agent ([`monitor`]: insights
//! and agent performance, light while a session goes on, deep when it has ended), and both together on demand
//! ([`SessionAnalyst`]). **Does not own** events and sessions themselves (store), nor the door they come in by (web).
//!
//! **Must hold**
//! - everything derived is a pure function of the events and the settings: ids, times and figures; doing it again changes
//!   nothing;
//! - raw events are read and never written; the worker writes clusters, correlations and figures, the monitoring agent insights
//!   and performance, neither anything of the other;
//! - neither listens to a network nor calls the API: they meet the door in the store.

pub mod analyst;
pub mod clusters;
pub mod correlate;
pub mod insights;
pub mod monitor;
pub mod normalise;
pub mod paths;
pub mod performance;
pub mod rules;
pub mod summary;
pub mod worker;

#[cfg(test)]
mod tests;

pub use analyst::{Analysis, SessionAnalyst};
pub use monitor::MonitoringAgent;
pub use rules::SessionRules;
pub use worker::{Done, ProcessingWorker};
