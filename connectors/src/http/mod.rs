//! Talking to a vendor: one client per source, shared by all queries.
//!
//! Owns: URLs and what of them may be shown, sending, the limiter, retries, what a status means, sharing answers. Does not own: which
//! requests a query needs (`plan`, `scan`) nor what the bodies hold (`decode`).
//!
//! Must hold: only questions are sent, as GET or as POST of a search or a GraphQL query; secrets are in requests and nowhere else; nothing waits past the query's deadline or its
//! cancellation; a request goes to the configured host or nowhere.

mod access;
mod client;
mod held;
mod limiter;
mod link;
mod quota;
mod retry;
mod share;
mod text;
mod transport;
mod url;

pub use client::Health;
pub(crate) use client::{Ask, Failure, SourceClient};
pub(crate) use held::Held;
pub(crate) use link::Links;
pub(crate) use transport::{HttpTransport, Transport};
#[cfg(test)]
pub(crate) use transport::{RawAnswer, TransportError};
pub(crate) use url::{NotAPathPart, SafeUrl, Target, path_part};
