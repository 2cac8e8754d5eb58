//! Approvals: one decision about one action.
//!
//! `pending → approved | rejected | expired`, and never back. The claim is one conditional update
//! (seed 003, human-in-the-loop; the reference's read-check-act race, D16, and its expiry, D17, must not recur).

use super::{ActionId, ApprovalId, IncidentId, Page, PageRequest, Scope, Severity, text_enum};
use crate::{ExactJson, Result};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

text_enum! {
    /// Where a decision stands.
    pub enum ApprovalStatus ("status") {
        /// Nobody decided yet.
        Pending = "pending",
        /// Somebody said yes; its action is in the outbox.
        Approved = "approved",
        /// Somebody said no.
        Rejected = "rejected",
        /// Nobody decided in time.
        Expired = "expired",
    }
}

text_enum! {
    /// What an approver says.
    pub enum Decision ("decision") {
        /// Do it.
        Approve = "approve",
        /// Do not.
        Reject = "reject",
    }
}

text_enum! {
    /// The way a decision came in.
    pub enum Via ("via") {
        /// A signed click in Slack.
        Slack = "slack",
        /// The API or the web page, with a key.
        Api = "api",
        /// The policy: acted without asking.
        Policy = "policy",
    }
}

/// A decision to ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewApproval {
    /// The incident it is about.
    pub incident_id: IncidentId,
    /// The incident's type.
    pub incident_type: String,
    /// The incident's severity.
    pub severity: Severity,
    /// What would be done (`open_github_issue`, `kill_loop`, `record`, …).
    pub action_type: String,
    /// What it would be done to (a trace, a repository), for people.
    pub target: Option<String>,
    /// The exact input of the action: what is approved is what runs.
    pub payload: ExactJson,
    /// Digest of the evidence the approver sees.
    pub evidence_sha256: Option<String>,
    /// One paragraph for people.
    pub summary: String,
    /// First instant at which a claim is too late.
    pub expires_at: DateTime<Utc>,
    /// How often the action may be tried once approved, at least 1.
    pub max_attempts: u32,
}

/// A decision, open or made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What was asked.
    #[serde(flatten)]
    pub request: NewApproval,
    /// SHA-256 of the payload's exact text; the button carries it.
    pub payload_sha256: String,
    /// Where it stands.
    pub status: ApprovalStatus,
    /// When it was asked.
    pub created_at: DateTime<Utc>,
    /// When it was decided, or found expired.
    pub resolved_at: Option<DateTime<Utc>>,
    /// Who decided: a Slack user id, the person of an API key, or `policy`.
    pub resolved_by: Option<String>,
    /// How the decision came in.
    pub resolved_via: Option<Via>,
    /// Why, where the approver said so.
    pub reason: Option<String>,
    /// Id of the Slack channel of its message.
    pub slack_channel: Option<String>,
    /// Slack's timestamp of that message.
    pub slack_ts: Option<String>,
}

/// What [`Approvals::request`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestedApproval {
    /// The pending approval.
    pub approval: Approval,
    /// Whether this call made it; `false` when one was pending for the same incident and action.
    pub created: bool,
}

/// An attempt to decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The approval.
    pub id: ApprovalId,
    /// Yes or no.
    pub decision: Decision,
    /// Who decides. The caller has checked that they may.
    pub by: String,
    /// The way it came in.
    pub via: Via,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// SHA-256 of the payload that the approver saw.
    pub expected_payload_sha256: String,
}

/// What came of a [`Claim`].
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimOutcome {
    /// The caller's decision stands, and nobody else's ever will.
    Claimed {
        /// The approval as decided.
        approval: Approval,
        /// The action now in the outbox; `None` for a rejection.
        action_id: Option<ActionId>,
    },
    /// Somebody else was first.
    AlreadyResolved {
        /// The approval as it was decided.
        approval: Approval,
    },
    /// Too late. It is marked expired.
    Expired {
        /// The expired approval.
        approval: Approval,
    },
    /// The approver saw another payload than the one that would run. The approval stays pending.
    PayloadMismatch {
        /// The pending approval.
        approval: Approval,
    },
    /// No such approval in this scope.
    NotFound,
}

/// Which approvals a listing or a count covers. An empty filter covers all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApprovalFilter {
    /// Only with this status.
    pub status: Option<ApprovalStatus>,
    /// Only of this incident.
    pub incident_id: Option<IncidentId>,
    /// Only for this action.
    pub action_type: Option<String>,
    /// Only those decided this way.
    pub resolved_via: Option<Via>,
    /// Only those created at or after.
    pub since: Option<DateTime<Utc>>,
}

/// How decisions went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ApprovalStats {
    /// Waiting.
    pub pending: i64,
    /// Said yes to.
    pub approved: i64,
    /// Said no to.
    pub rejected: i64,
    /// Not decided in time.
    pub expired: i64,
    /// Mean minutes from asking to a yes or no by a person (policy excluded); `None` when there is none yet.
    pub avg_resolution_minutes: Option<f64>,
}

/// The decisions.
#[async_trait]
pub trait Approvals: Send + Sync {
    /// Asks for a decision. While one is pending for the same incident and action, that one is returned and
    /// stays as it is; one that is past its time is marked expired first and a new one is made.
    ///
    /// # Errors
    /// `NotFound` when there is no such incident, `Invalid` when it would expire at once.
    async fn request(&self, scope: &Scope, new: NewApproval, now: DateTime<Utc>) -> Result<RequestedApproval>;

    /// Decides, by one conditional update: only if it is pending, not expired at `now` (to the microsecond) and about
    /// exactly the payload that the approver saw.
    ///
    /// In the same transaction a yes puts the action in the outbox (idempotency key `approval:ID`, the very
    /// payload), and every outcome but `NotFound` is appended to the audit log. Of any number of concurrent
    /// claims exactly one is [`ClaimOutcome::Claimed`].
    async fn claim(&self, scope: &Scope, claim: Claim, now: DateTime<Utc>) -> Result<ClaimOutcome>;

    /// Marks what is pending and past its time as expired; returns those. Never touches a decided one.
    async fn expire_due(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Vec<Approval>>;

    /// Keeps where its Slack message is: the channel's *id* and the message's timestamp.
    ///
    /// # Errors
    /// `NotFound`.
    async fn set_message(
        &self,
        scope: &Scope,
        id: &ApprovalId,
        slack_channel: &str,
        slack_ts: &str,
    ) -> Result<Approval>;

    /// One approval.
    async fn get(&self, scope: &Scope, id: &ApprovalId) -> Result<Option<Approval>>;

    /// Approvals, newest `created_at` first.
    async fn list(&self, scope: &Scope, filter: &ApprovalFilter, page: &PageRequest) -> Result<Page<Approval>>;

    /// How many the filter covers (what acted by policy within the last hour, say).
    async fn count(&self, scope: &Scope, filter: &ApprovalFilter) -> Result<i64>;

    /// How decisions went.
    async fn stats(&self, scope: &Scope) -> Result<ApprovalStats>;
}
