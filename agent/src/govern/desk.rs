//! The desk: where every decision is made, from Slack, the API or policy.
//!
//! Owns who may decide, and what follows a decision (the executor is woken, the message is replaced). Does not own the
//! claim's atomicity (store).
//!
//! Must hold: nobody decides who is not on the list of the settings of that moment; of any number of attempts one
//! decides; what follows may be repeated.

use chrono::{DateTime, Utc};
use serde_json::json;
use tripline_store::{
    ApprovalId, Claim, ClaimOutcome, Decision, ExactJson, NewAuditEntry, Scope, Store, StoreError, Via,
};

use super::GovernError;
use crate::actions::Notices;
use crate::settings::SettingsHandle;

/// Somebody's attempt to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The approval.
    pub approval_id: ApprovalId,
    /// Yes or no.
    pub decision: Decision,
    /// Who: a Slack user id, or the person of an API key. Kept as `resolved_by`.
    pub by: String,
    /// The other name they may be listed under: the name of the API key.
    pub also_known_as: Option<String>,
    /// The way it came in; not [`Via::Policy`].
    pub via: Via,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// SHA-256 of the payload that they saw.
    pub payload_sha256: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and read at once")]
pub enum Decided {
    /// They may not decide. It is on the record.
    NotAllowed,
    /// The claim was made; what it says stands.
    Claim(ClaimOutcome),
}

/// Makes decisions. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    store: Store,
    settings: SettingsHandle,
    notices: Notices,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

impl Desk {
    /// A desk over a store.
    #[must_use]
    pub fn new(store: Store, settings: SettingsHandle, notices: Notices) -> Self {
        Self { store, settings, notices }
    }

    /// Whether somebody under these names may decide at all.
    #[must_use]
    pub fn may_decide(&self, names: &[&str]) -> bool {
        self.settings.get().governance.allows(names)
    }

    /// Decides, if they may.
    ///
    /// `response_url` is the address that came with a click in Slack, already checked.
    ///
    /// # Errors
    /// Of the store.
    pub async fn decide(
        &self,
        scope: &Scope,
        request: Request,
        response_url: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Decided, GovernError> {
        let names = [request.by.as_str(), request.also_known_as.as_deref().unwrap_or_default()];
        if !self.may_decide(&names) {
            self.put_denial_on_record(scope, &request, now).await?;
            return Ok(Decided::NotAllowed);
        }
        let claim = Claim {
            id: request.approval_id,
            decision: request.decision,
            by: request.by,
            via: request.via,
            reason: request.reason,
            expected_payload_sha256: request.payload_sha256,
        };
        self.claim(scope, claim, response_url, now).await.map(Decided::Claim)
    }

    /// Approves as policy, which is on no list: the caller has decided that it may.
    pub(super) async fn act(
        &self,
        scope: &Scope,
        approval_id: &ApprovalId,
        payload_sha256: &str,
        now: DateTime<Utc>,
    ) -> Result<ClaimOutcome, GovernError> {
        let claim = Claim {
            id: approval_id.clone(),
            decision: Decision::Approve,
            by: "policy".to_owned(),
            via: Via::Policy,
            reason: None,
            expected_payload_sha256: payload_sha256.to_owned(),
        };
        self.claim(scope, claim, None, now).await
    }

    async fn claim(
        &self,
        scope: &Scope,
        claim: Claim,
        response_url: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<ClaimOutcome, GovernError> {
        let outcome = self.store.approvals.claim(scope, claim, now).await?;
        match &outcome {
            ClaimOutcome::Claimed { approval, action_id } => {
                if action_id.is_some() {
                    self.notices.waker().wake();
                }
                self.notices.decided(scope, approval, response_url, now).await?;
            }
            ClaimOutcome::Expired { approval } => self.notices.decided(scope, approval, response_url, now).await?,
            ClaimOutcome::AlreadyResolved { .. } | ClaimOutcome::PayloadMismatch { .. } | ClaimOutcome::NotFound => {}
        }
        Ok(outcome)
    }

    async fn put_denial_on_record(
        &self,
        scope: &Scope,
        request: &Request,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let entry = NewAuditEntry {
            actor: request.by.clone(),
            event: "approval.denied".to_owned(),
            subject_type: "approval".to_owned(),
            subject_id: request.approval_id.to_string(),
            detail: ExactJson::new(&json!({
                "why": "not_an_approver", "decision": request.decision, "via": request.via,
            })),
        };
        self.store.audit.append(scope, entry, now).await.map(drop)
    }
}
