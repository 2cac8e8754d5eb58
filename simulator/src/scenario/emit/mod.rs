//! From a story to the vendors' own forms, as their list endpoints return them.

mod datadog;
mod github;
mod langfuse;
mod linear;
mod pagerduty;
mod sentry;
mod slack;

pub(crate) use datadog::emit as datadog;
pub(crate) use github::emit as github;
pub(crate) use langfuse::{Generation, Request, Span, foundations, prompt, request};
pub(crate) use linear::emit as linear;
pub(crate) use pagerduty::emit as pagerduty;
pub(crate) use sentry::emit as sentry;
pub(crate) use slack::emit as slack;
