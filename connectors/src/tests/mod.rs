//! What a user can rely on, tested against a toy vendor.

mod catalog;
pub(crate) mod descriptions;
mod faults;
mod github;
mod keys;
mod langfuse;
mod pages;
mod paging;
mod sentry;
mod slack;
mod vendor;
mod vendors;
mod wire;
