//! Sources: declarative specs of vendors' APIs, and the HTTP runtime that serves them as tables.
pub mod spec;
