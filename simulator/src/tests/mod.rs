//! Promises of the server, over real HTTP.

mod clock;
mod data;
mod faults;
mod github;
mod langfuse;
mod oncall;
mod schemas;
mod sentry;
mod slack;
mod support;
