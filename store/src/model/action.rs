//! Actions and the outbox: one side effect outside, executed at most once.
//!
//! ```text
//! pending ── lease_next ──▶ sending ── complete ──▶ done
//!    ▲                        │  │ ├── fail ──────▶ failed
//!    └────── retry_later ─────┘  │ ├── mark_unknown ▶ unknown ── settle ──▶ done | failed
//!                                │ └── mark_requested ▶ requested ── kill acknowledged ──▶ done
//!                                └── lease expired: lease_next again, `resumed`
//! ```
//! An action in *sending* whose lease ran out may or may not have happened (a crash): the executor looks for
//! its key at the vendor before it sends again ("Settled questions, exactly once, honestly").

use super::{ActionId, ApprovalId, IncidentId, Page, PageRequest, Scope, text_enum};
use crate::{ExactJson, Result};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

text_enum! {
    /// What an action is for.
    pub enum ActionKind ("kind") {
        /// It changes something (opens an issue, stops a run); needs an approval or a policy.
        Remediation = "remediation",
        /// It tells somebody (a Slack message or its update).
        Notification = "notification",
    }
}

text_enum! {
    /// Where an action stands.
    pub enum ActionStatus ("status") {
        /// To be done, now or at `next_attempt_at`.
        Pending = "pending",
        /// Leased: being done, or interrupted in the doing.
        Sending = "sending",
        /// Done; `result` says what came of it.
        Done = "done",
        /// Given up; `error` says why.
        Failed = "failed",
        /// It may have happened, and the vendor cannot tell. Shown, never resent by itself.
        Unknown = "unknown",
        /// Asked of a running agent (a kill), which has not acknowledged it yet.
        Requested = "requested",
    }
}

/// An action to put in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAction {
    /// What it is for.
    pub kind: ActionKind,
    /// What is done: `open_github_issue`, `kill_loop`, `record`, `slack_post_message`, …
    pub action_type: String,
    /// What it is done to, for people.
    pub target: Option<String>,
    /// The incident it belongs to.
    pub incident_id: Option<IncidentId>,
    /// The approval that allowed it.
    pub approval_id: Option<ApprovalId>,
    /// The exact input.
    pub payload: ExactJson,
    /// Two actions with one key are one action.
    pub idempotency_key: String,
    /// How often it may be tried, at least 1.
    pub max_attempts: u32,
    /// Not before.
    pub not_before: Option<DateTime<Utc>>,
    /// Waits until that action is done (a reply waits for the first post). Fails when that one fails.
    pub depends_on: Option<ActionId>,
}

/// An action in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Action {
    /// Its id.
    pub id: ActionId,
    /// What it is for.
    pub kind: ActionKind,
    /// What is done.
    #[serde(rename = "type")]
    pub action_type: String,
    /// What it is done to.
    pub target: Option<String>,
    /// The incident it belongs to.
    pub incident_id: Option<IncidentId>,
    /// The approval that allowed it.
    pub approval_id: Option<ApprovalId>,
    /// The exact input.
    pub payload: ExactJson,
    /// SHA-256 of the input's exact text.
    pub payload_sha256: String,
    /// Two actions with one key are one action.
    pub idempotency_key: String,
    /// Where it stands.
    pub status: ActionStatus,
    /// How often it was leased.
    pub attempts: i64,
    /// How often it may be tried.
    pub max_attempts: i64,
    /// When it is due.
    pub next_attempt_at: DateTime<Utc>,
    /// Who is doing it.
    pub lease_holder: Option<String>,
    /// Until when.
    pub lease_until: Option<DateTime<Utc>>,
    /// What came of it.
    pub result: Option<Value>,
    /// Why the last attempt did not work.
    pub error: Option<String>,
    /// The action it waits for.
    pub depends_on: Option<ActionId>,
    /// When it was put here.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When it became done or failed.
    pub completed_at: Option<DateTime<Utc>>,
}

/// What [`Actions::enqueue`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct EnqueuedAction {
    /// The action of that key.
    pub action: Action,
    /// Whether this call made it; `false` when the key was there already (its payload stays what it was).
    pub created: bool,
}

/// The right to finish one attempt of one action. Its attempt number fences off whoever held it before, also
/// under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionLease {
    /// The action.
    pub action_id: ActionId,
    /// Who holds it.
    pub holder: String,
    /// Which attempt it is, from 1.
    pub attempt: i64,
}

/// An action that the caller is to do now.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedAction {
    /// The action, in *sending*.
    pub action: Action,
    /// To be passed to the transition that ends the attempt.
    pub lease: ActionLease,
    /// An earlier attempt was interrupted: look for the key at the vendor before sending anything.
    pub resumed: bool,
}

/// Who wants an action to do.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaseRequest {
    /// Name of the executor.
    pub holder: String,
    /// How long the attempt may take before somebody else looks after it.
    pub lease_for: Duration,
    /// Which kinds it does; empty means any.
    pub kinds: Vec<ActionKind>,
    /// Which types it does.
    pub types: LeaseTypes,
    /// Whether a notification with a target waits for older ones of its type to the same target, however often these are
    /// tried: what was said last stays.
    pub in_order: bool,
}

/// Which types of action an executor takes: those of one destination, say, so that a slow one holds up no other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LeaseTypes {
    /// Every type.
    #[default]
    Any,
    /// Only these.
    Only(Vec<String>),
    /// Every type but these.
    Except(Vec<String>),
}

/// What [`Actions::retry_later`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// It is pending again.
    Scheduled(Action),
    /// That was the last attempt: it has failed.
    Exhausted(Action),
}

/// How an *unknown* action turned out, as a person found.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// It had happened.
    Done {
        /// What came of it.
        result: Value,
    },
    /// It had not, and it is not to be tried again.
    Failed {
        /// What is known.
        error: String,
    },
}

/// Which actions a listing or a count covers. An empty filter covers all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ActionFilter {
    /// Only with this status.
    pub status: Option<ActionStatus>,
    /// Only of this kind.
    pub kind: Option<ActionKind>,
    /// Only of this type.
    pub action_type: Option<String>,
    /// Only of this incident.
    pub incident_id: Option<IncidentId>,
    /// Only of this approval.
    pub approval_id: Option<ApprovalId>,
    /// Only those created at or after.
    pub since: Option<DateTime<Utc>>,
}

/// The outbox. Every transition is guarded by status and lease, and appends to the audit log.
#[async_trait]
pub trait Actions: Send + Sync {
    /// Puts an action in the outbox, once per idempotency key.
    ///
    /// # Errors
    /// `NotFound` when the incident, the approval or the action it depends on does not exist, `Invalid` when it
    /// may not be tried at all.
    async fn enqueue(&self, scope: &Scope, new: NewAction, now: DateTime<Utc>) -> Result<EnqueuedAction>;

    /// Takes the next action to do, oldest due first: one that is due and whose dependency is done, or one whose
    /// lease ran out (flagged [`resumed`](LeasedAction::resumed)). No two callers get the same.
    async fn lease_next(
        &self,
        scope: &Scope,
        request: LeaseRequest,
        now: DateTime<Utc>,
    ) -> Result<Option<LeasedAction>>;

    /// Keeps a lease for longer. The audit log does not mention it.
    ///
    /// # Errors
    /// `LeaseLost`.
    async fn renew(&self, scope: &Scope, lease: &ActionLease, lease_for: Duration, now: DateTime<Utc>) -> Result<()>;

    /// It happened.
    ///
    /// # Errors
    /// `LeaseLost` when somebody else has taken it, or it is not in *sending*.
    async fn complete(&self, scope: &Scope, lease: &ActionLease, result: Value, now: DateTime<Utc>) -> Result<Action>;

    /// It did not happen and is worth another try at `at`; the last allowed attempt fails it instead.
    ///
    /// # Errors
    /// `LeaseLost`.
    async fn retry_later(
        &self,
        scope: &Scope,
        lease: &ActionLease,
        error: &str,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Retry>;

    /// It did not happen and never will; what depends on it fails too.
    ///
    /// # Errors
    /// `LeaseLost`.
    async fn fail(&self, scope: &Scope, lease: &ActionLease, error: &str, now: DateTime<Utc>) -> Result<Action>;

    /// It may have happened and the vendor cannot tell.
    ///
    /// # Errors
    /// `LeaseLost`.
    async fn mark_unknown(&self, scope: &Scope, lease: &ActionLease, error: &str, now: DateTime<Utc>)
    -> Result<Action>;

    /// It was asked of a running agent; [`Kills::acknowledge`](super::Kills::acknowledge) makes it done.
    ///
    /// # Errors
    /// `LeaseLost`.
    async fn mark_requested(
        &self,
        scope: &Scope,
        lease: &ActionLease,
        result: Value,
        now: DateTime<Utc>,
    ) -> Result<Action>;

    /// A person found out how an *unknown* action turned out.
    ///
    /// # Errors
    /// `NotFound`, `WrongState` when it is not unknown.
    async fn settle(
        &self,
        scope: &Scope,
        id: &ActionId,
        settlement: Settlement,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<Action>;

    /// One action.
    async fn get(&self, scope: &Scope, id: &ActionId) -> Result<Option<Action>>;

    /// The action of a key.
    async fn get_by_key(&self, scope: &Scope, idempotency_key: &str) -> Result<Option<Action>>;

    /// Actions, newest `created_at` first.
    async fn list(&self, scope: &Scope, filter: &ActionFilter, page: &PageRequest) -> Result<Page<Action>>;

    /// How many the filter covers.
    async fn count(&self, scope: &Scope, filter: &ActionFilter) -> Result<i64>;
}
