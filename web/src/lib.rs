//! The HTTP server: the API, the Slack webhook, the doors for events, run control for agents, the command centre for people.
//!
//! **Owns** routes and who may use them, the shape of requests and answers, limits on size, time and concurrency, and
//! the pages (`web/ui`, built by Node and put into the binary). **Does not own** decisions (agent), state (store), queries (engine), or how the pieces are put together
//! (cli): what it needs from there it gets through [`WebParts`] and the traits of [`ports`].
//!
//! **Must hold**
//! - an endpoint that is not listed as public answers nobody without a key, except on this very machine in dev mode;
//! - a key sees its project only, in SQL too;
//! - a secret is in no answer, log or address; an error says what to do;
//! - nothing here waits without a limit.

mod api;
mod auth;
mod error;
mod extract;
mod ingest;
mod layers;
mod local;
mod metrics;
mod openapi;
pub mod otlp;
mod page;
pub mod ports;
mod routes;
mod runs;
mod serve;
mod sessions;
mod state;
mod threads;

pub use auth::{AuthMode, Caller};
pub use error::ApiError;
pub use routes::{Access, RouteInfo, route_table, router};
pub use serve::{ServeError, serve};
pub use state::{WebOptions, WebParts, WebState};
pub use threads::QueryThreads;

#[cfg(test)]
mod tests;
