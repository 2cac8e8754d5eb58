//! What Tripline says outside: Slack messages and GitHub issues, as pure functions of the incident.
//!
//! Owns wording, layout, escaping and length limits. Does not own sending ([`crate::actions`]) nor what was found
//! ([`crate::investigate`]).
//!
//! Must hold: text that comes from a vendor (an entity, a commit message, an error, a narrative made of them) is inert
//! wherever it is shown: it links nothing, mentions nobody, formats nothing and hides nothing ([`text`], [`markdown`]).

mod buttons;
mod issue;
pub mod markdown;
mod notes;
mod slack;
pub mod text;

pub use buttons::{Button, Pressed, Verdict};
pub use issue::{Issue, incident_issue};
pub use notes::{
    Ended, Note, already_decided, expired, incident_not_found, mismatch, not_allowed, not_found, not_understood, thanks,
};
pub(crate) use slack::KILL_REASON;
pub use slack::{Content, IncidentView, Links, incident_message};

#[cfg(test)]
mod tests;
