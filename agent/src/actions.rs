//! Actions: every effect outside Tripline, done at most once, from the outbox.
//!
//! Owns the types of action and their payloads, where they go ([`Destinations`]), how each is sent and looked up at its
//! vendor, and the worker that does them ([`Outbox`]). Does not own whether something is done (`govern`), what a
//! message says (`messages`), or how the outbox is kept (store).
//!
//! Must hold
//! - an action runs its stored payload and nothing else;
//! - an attempt whose outcome is not known is never repeated before the vendor was asked whether it happened; where the
//!   vendor cannot tell, a remediation is *unknown* and a person settles it, and a message is told again, three times at most;
//! - no token and no response address reaches a log, an error or a result.

pub mod destinations;
mod github;
mod github_api;
mod http;
mod issue_state;
mod kinds;
mod lanes;
mod langfuse;
mod notices;
mod outbox;
mod outcome;
mod perform;
mod probe;
mod pull_request;
mod repair;
mod schedule;
mod slack;
mod webhook;

pub use destinations::{DestinationCheck, Destinations, Repository};
pub(crate) use github::marker;
pub use kinds::{
    ActionType, CheckRun, KillLoop, OpenIssue, PostDigest, PostMessage, PromptKind, PublishPrompt, PullComment,
    RecordOnly, Remediation, RequestChanges, Respond, Response, SetIssueState, SignalWebhook, ThreadReply,
    UpdateMessage,
};
pub(crate) use kinds::{exact, read};
pub(crate) use langfuse::marker as prompt_marker;
pub use langfuse::{NoPrompt, PromptVersion};
pub(crate) use notices::message_key;

pub use notices::{Notices, Waker};
pub use outbox::{Counts, Drained, Outbox, OutboxOptions, OutboxParts};
pub use probe::probe;

/// Puts in the outbox what a crash left untold.
pub(crate) use repair::run as repair;

/// The page of an incident, below the public address.
pub(crate) fn incident_page(base: &str, id: &tripline_store::IncidentId) -> String {
    format!("{base}/#incident={id}")
}

/// One trace of Langfuse, whole.
#[cfg(test)]
pub(crate) async fn trace(destinations: &Destinations, id: &str) -> Result<Option<serde_json::Value>, String> {
    let http = http::Http::new().map_err(|error| error.to_string())?;
    langfuse::read_trace(&http, &destinations.langfuse, id).await
}

#[cfg(test)]
mod tests;
