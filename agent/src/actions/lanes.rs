//! Which actions are done side by side: a lane per destination.
//!
//! Owns which type goes down which lane and how many of a lane are under way at once. Must hold: every type is in exactly one
//! lane, what this version does not know included; a destination that hangs holds up its own lane only; what must stay in
//! order has a lane that does one at a time.

use tripline_store::LeaseTypes;

use super::kinds::{ActionType, Remediation};

/// Actions of one destination.
#[derive(Debug)]
pub(super) struct Lane {
    /// For logs.
    pub(super) name: &'static str,
    /// What goes down it; empty: what no other lane takes.
    types: &'static [ActionType],
    /// How many are under way at once.
    pub(super) at_once: usize,
}

/// All lanes.
pub(super) const LANES: [Lane; 6] = [
    // Decided by people or policy: not behind the comments on pull requests.
    Lane {
        name: "github",
        types: &[
            ActionType::Remediate(Remediation::OpenGithubIssue),
            ActionType::Remediate(Remediation::RequestChanges),
            ActionType::GithubIssueState,
        ],
        at_once: 1,
    },
    Lane { name: "github_notes", types: &[ActionType::GithubPullComment, ActionType::GithubCheckRun], at_once: 1 },
    Lane { name: "langfuse", types: &[ActionType::PublishPrompt], at_once: 1 },
    Lane {
        name: "slack",
        types: &[
            ActionType::SlackPostMessage,
            ActionType::SlackUpdateMessage,
            ActionType::SlackThreadReply,
            ActionType::SlackRespond,
            ActionType::SlackPostDigest,
        ],
        at_once: 1,
    },
    // Each signal stands for itself, and its receiver may need the whole deadline for one.
    Lane { name: "webhook", types: &[ActionType::SignalWebhook], at_once: 8 },
    // What needs nobody outside: a request to an agent, a record, and the refusal of what is not known.
    Lane { name: "here", types: &[], at_once: 1 },
];

impl Lane {
    /// What is leased for it.
    pub(super) fn lease_types(&self) -> LeaseTypes {
        let names = |types: &[ActionType]| types.iter().map(|one| one.as_str().to_owned()).collect::<Vec<_>>();
        if self.types.is_empty() {
            return LeaseTypes::Except(LANES.iter().flat_map(|lane| names(lane.types)).collect());
        }
        LeaseTypes::Only(names(self.types))
    }
}

#[cfg(test)]
mod tests;
