//! Sources: declarative specs of vendors' APIs, and the HTTP runtime that serves them as tables.
//!
//! Owns: the spec format (`spec`), the bundled specs (`sources/*.yaml`), and everything between a scan of a remote table
//! and the vendor's API. Does not own: SQL (the engine), local copies (the store), or anything that changes a vendor's
//! data (the agent's actions): nothing is sent but GET, and POST of searches and GraphQL queries.
//!
//! Must hold: an answer is complete, an error, or has a stated gap; a disobedient vendor costs time, never correctness;
//! secrets appear in requests and nowhere else; nothing is sent to any other host than the configured one.
//!
//! ```text
//! spec ──▶ plan (pure) ──▶ scan ──▶ http ──▶ vendor
//!                           └─────▶ decode ──▶ batches
//! ```

mod catalog;
mod content;
mod decode;
mod describe;
mod draft;
mod filter;
mod generations;
mod http;
mod plan;
mod scan;
pub mod spec;
mod table;

pub use catalog::{ConnectorOptions, Connectors, Source, SourceStatus, bundled, lint};
pub use content::ContentShape;
pub use draft::{Draft, draft};
pub use http::Health;
pub use spec::json_schema;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
