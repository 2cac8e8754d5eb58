//! Stand-ins for the vendors' APIs, over real HTTP, with replayable incidents.
//!
//! Owns: Langfuse (both generations), Sentry, GitHub, Slack, Datadog, PagerDuty, Linear and an OpenAI-compatible model as a
//! client sees them (paths, parameters, paging, credentials, rate-limit headers, writes), the
//! bundled scenarios, and misbehaviour on demand.
//! Does not own: anything of Tripline. It is somebody else's server and depends on no other crate
//! of the workspace.
//! Must hold: no input makes it panic; nothing later than its clock is visible; what is written is
//! readable; the same options give the same history.
//!
//! ```no_run
//! # async fn example() -> Result<(), tripline_simulator::SimulatorError> {
//! use tripline_simulator::{Content, Scenario, SimulatorOptions, start};
//!
//! let options = SimulatorOptions { content: Content::Scenarios(Scenario::ALL.to_vec()), ..Default::default() };
//! let simulator = start(options).await?;
//! println!("LANGFUSE_BASE_URL={}/langfuse", simulator.base_url());
//! simulator.shutdown().await;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails should stop at once"))]
// The vendors' objects are large literals.
#![recursion_limit = "256"]

mod auth;
mod click;
mod clock;
mod compare;
mod control;
mod datadog;
mod dataset;
mod faults;
mod github;
mod handle;
mod http;
mod item;
mod labelled;
mod langfuse;
mod linear;
mod llm;
mod log;
mod options;
mod pagerduty;
mod scenario;
mod sentry;
mod server;
mod shelf;
mod slack;
mod time;
mod timeline;
mod wire;

#[cfg(test)]
mod tests;

pub use auth::{Auth, Credentials};
pub use dataset::{Collection, DataError, Dataset};
pub use faults::{Fault, FaultError, FaultSpec, Source};
pub use handle::{SimulatorError, SimulatorHandle, start};
pub use labelled::{Labelled, LabelledDown, LabelledIncident, LabelledOptions, LabelledOutage, LabelledTruth};
pub use langfuse::LangfuseGeneration;
pub use llm::Behaviour;
pub use options::{Content, SimulatorOptions};
pub use scenario::{DEFAULT_SEED, FailureClass, Incident, Scenario, Truth, UnknownScenario, default_anchor};
pub use slack::DEFAULT_SCOPES as DEFAULT_SLACK_SCOPES;
