//! The buttons of a message and what they carry.
//!
//! Owns action ids and values. Must hold: a button carries the approval's id and the hash of the exact payload, so that
//! a press approves what its message showed; a value that is not of this form is no button of ours.

use serde_json::{Value, json};
use tripline_store::{Approval, ApprovalId, IncidentId};

/// What a button says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// Do it.
    Approve,
    /// Do not.
    Reject,
    /// Do it, on a loop. The same decision as [`Approve`](Self::Approve), about the same approval.
    Kill,
}

impl Button {
    const ALL: [Self; 3] = [Self::Approve, Self::Reject, Self::Kill];

    /// Its `action_id`.
    #[must_use]
    pub fn action_id(self) -> &'static str {
        match self {
            Self::Approve => "tripline_approve",
            Self::Reject => "tripline_reject",
            Self::Kill => "tripline_kill_loop",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Approve => "Approve",
            Self::Reject => "Reject",
            Self::Kill => "Kill Loop",
        }
    }

    fn style(self) -> &'static str {
        match self {
            Self::Approve => "primary",
            Self::Reject | Self::Kill => "danger",
        }
    }

    /// The button about an approval.
    pub(super) fn block(self, approval: &Approval) -> Value {
        json!({
            "type": "button",
            "action_id": self.action_id(),
            "text": {"type": "plain_text", "text": self.label(), "emoji": false},
            "style": self.style(),
            "value": format!("{}:{}", approval.id, approval.payload_sha256),
        })
    }
}

/// A button that was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pressed {
    /// Which.
    pub button: Button,
    /// About which approval.
    pub approval_id: ApprovalId,
    /// The hash of the payload that its message showed.
    pub payload_sha256: String,
}

impl Pressed {
    /// Reads a press. `None` when it is no button of ours.
    #[must_use]
    pub fn read(action_id: &str, value: &str) -> Option<Self> {
        let button = Button::ALL.into_iter().find(|button| button.action_id() == action_id)?;
        let (id, hash) = value.rsplit_once(':')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (is_id(id) && is_hash).then(|| Self {
            button,
            approval_id: ApprovalId::new(id),
            payload_sha256: hash.to_owned(),
        })
    }
}

/// The buttons by which a responder says whether an incident is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There was something, and it was this.
    Right,
    /// It was nothing, or something else.
    Wrong,
}

impl Verdict {
    const ALL: [Self; 2] = [Self::Right, Self::Wrong];

    fn action_id(self) -> &'static str {
        match self {
            Self::Right => "tripline_incident_right",
            Self::Wrong => "tripline_incident_wrong",
        }
    }

    /// The button about an incident.
    pub(super) fn block(self, id: &IncidentId) -> Value {
        let label = match self {
            Self::Right => "This is right",
            Self::Wrong => "This is wrong",
        };
        json!({
            "type": "button",
            "action_id": self.action_id(),
            "text": {"type": "plain_text", "text": label, "emoji": false},
            "value": id,
        })
    }

    /// Reads a press. `None` when it is no button of these.
    #[must_use]
    pub fn read(action_id: &str, value: &str) -> Option<(Self, IncidentId)> {
        let verdict = Self::ALL.into_iter().find(|verdict| verdict.action_id() == action_id)?;
        is_id(value).then(|| (verdict, IncidentId::new(value)))
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_reads_back_and_anything_else_is_none() {
        assert_eq!(
            Verdict::read("tripline_incident_wrong", "0199-aa"),
            Some((Verdict::Wrong, IncidentId::new("0199-aa")))
        );
        for (id, value) in
            [("tripline_incident_wrong", ""), ("tripline_incident_wrong", "a b"), ("tripline_approve", "a")]
        {
            assert_eq!(Verdict::read(id, value), None);
        }
    }

    #[test]
    fn a_press_reads_back_and_anything_else_is_no_button() {
        let hash = "ab".repeat(32);
        let read = Pressed::read("tripline_reject", &format!("0199-aa:{hash}")).unwrap();
        assert_eq!(
            (read.button, read.approval_id.as_str(), read.payload_sha256),
            (Button::Reject, "0199-aa", hash.clone())
        );
        for (id, value) in [
            ("tripline_other", format!("a:{hash}")),
            ("tripline_approve", "a".to_owned()),
            ("tripline_approve", format!(":{hash}")),
            ("tripline_approve", format!("a'b:{hash}")),
            ("tripline_approve", format!("a:{}", hash.to_uppercase())),
        ] {
            assert_eq!(Pressed::read(id, &value), None, "{id} {value}");
        }
    }
}
