//! From a story to the vendors' own forms, as their list endpoints return them.

mod github;
mod langfuse;
mod sentry;
mod slack;

pub(crate) use github::emit as github;
pub(crate) use langfuse::{Generation, Request, Span, foundations, prompt, request};
pub(crate) use sentry::emit as sentry;
pub(crate) use slack::emit as slack;
