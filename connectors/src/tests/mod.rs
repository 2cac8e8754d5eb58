//! What a user can rely on, tested against a toy vendor.

mod catalog;
pub(crate) mod descriptions;
mod faults;
mod github;
mod hostile;
mod json;
mod keys;
mod langfuse;
mod merge;
mod numbers;
mod pages;
mod paging;
mod pains;
mod secrets;
mod sentry;
mod sharing;
mod shop;
mod slack;
mod split;
mod user_sources;
mod vendor;
mod vendors;
mod wire;
