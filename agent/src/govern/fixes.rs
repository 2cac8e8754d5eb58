//! Fixes of prompts: from a text that somebody wants to add, by an approval, to a new version of a Langfuse prompt.
//!
//! Owns what may be asked for, the exact version that would be published, and waiting for its outcome where an approver asks.
//! Does not own the decision ([`super::Desk`]), Langfuse's requests ([`crate::actions`]), or what advice says ([`crate::runs`]).
//!
//! Must hold
//! - whatever is published was approved by somebody on the list, as exactly the texts that they saw;
//! - the same addition for the same signal and prompt is asked for once and published once, however often it is sent;
//! - what follows from a prompt injection is never published;
//! - Langfuse is the installation's: only its own project reaches it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tripline_engine::SharedClock;
use tripline_store::ingest::injection_patterns;
use tripline_store::{
    Action, ActionFilter, ActionId, ActionStatus, Approval, ApprovalFilter, ApprovalStatus, ClaimOutcome, Decision,
    ExactJson, IncidentId, NewApproval, NewAuditEntry, PageRequest, RunSignal, Scope, Store, StoreError, Via,
};

use super::GovernError;
use super::desk::{Decided, Desk, Request};
use crate::actions::{
    ActionType, Destinations, NoPrompt, Notices, Outbox, PromptKind, PromptVersion, PublishPrompt, exact,
    prompt_marker, read,
};
use crate::messages::text::{cut, one_line};
use crate::runs::FixType;
use crate::runs::RunSettings;
use crate::runs::advice::amended;
use crate::runs::explain::BUNDLED;
use crate::settings::SettingsHandle;

/// How often publishing is tried before it is given up: over some forty minutes.
const MAX_ATTEMPTS: u32 = 10;
const SUMMARY: usize = 500;
/// Characters of a prompt's text that may be published.
const MAX_TEXT: usize = 200_000;
/// How long an approver who asks is kept waiting for the outcome.
const WAIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Somebody wants to add a text to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct FixRequest {
    /// The signal it is for.
    pub signal: RunSignal,
    /// The prompt's name in Langfuse, folders included.
    pub prompt_name: String,
    /// What to add.
    pub fix_content: String,
    /// Labels that the new version gets, `production` say; none: it is only `latest`.
    pub labels: Vec<String>,
    /// Who asks: the person of an API key, and the key's name.
    pub by: String,
    /// The other name they may be listed under as an approver.
    pub also_known_as: String,
    /// Whether they may operate; one who also is on the list of approvers approves by asking.
    pub may_operate: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and read at once")]
pub enum FixOutcome {
    /// An approver is to decide, or has decided and it is on its way: see the approval's status.
    Waiting {
        /// The approval.
        approval: Approval,
        /// Exactly what would be, or will be, published.
        fix: PublishPrompt,
    },
    /// It was published.
    Published {
        /// Number of the fix.
        fix_id: i64,
        /// The new version.
        version: i64,
        /// The prompt's page.
        url: Option<String>,
        /// What was published.
        fix: PublishPrompt,
    },
}

/// Why nothing was asked for or published.
#[derive(Debug, thiserror::Error)]
pub enum FixError {
    /// There is no Langfuse for this project.
    #[error("Langfuse is not configured for this project")]
    NotConfigured,
    /// The signal is a prompt injection.
    #[error("what follows from a prompt injection is never applied by itself")]
    Blocked,
    /// There is no such prompt.
    #[error("Langfuse has no prompt of that name with a version that is 'production' or 'latest'")]
    NoPrompt,
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// Langfuse failed or refused.
    #[error("{0}")]
    Remote(String),
    /// Something else is in the way.
    #[error("{message}")]
    Conflict {
        /// What.
        message: String,
        /// What to do.
        hint: &'static str,
        /// The approval that is in the way, if one is.
        approval_id: Option<String>,
    },
    /// Of governance or its store.
    #[error(transparent)]
    Govern(#[from] GovernError),
}

impl From<StoreError> for FixError {
    fn from(error: StoreError) -> Self {
        Self::Govern(error.into())
    }
}

/// What [`Fixes`] is made of.
pub struct FixesParts {
    /// Where approvals, actions and fixes are.
    pub store: Store,
    /// The installation's own project.
    pub scope: Scope,
    /// The product's clock.
    pub clock: SharedClock,
    /// Expiry, and where messages go.
    pub settings: SettingsHandle,
    /// Where Langfuse is.
    pub destinations: Arc<Destinations>,
    /// Decides.
    pub desk: Desk,
    /// Tells.
    pub notices: Notices,
    /// Reads prompts, publishes them.
    pub outbox: Outbox,
}

/// Takes fixes of prompts. Cheap to clone.
#[derive(Clone)]
pub struct Fixes {
    parts: Arc<FixesParts>,
}

impl std::fmt::Debug for Fixes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixes").finish_non_exhaustive()
    }
}

impl Fixes {
    /// Takes fixes with these.
    #[must_use]
    pub fn new(parts: FixesParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Whether there is a Langfuse for this project.
    ///
    /// # Errors
    /// [`FixError::NotConfigured`].
    pub fn ready(&self, scope: &Scope) -> Result<(), FixError> {
        let ours = *scope == self.parts.scope && self.parts.destinations.has_langfuse();
        if ours { Ok(()) } else { Err(FixError::NotConfigured) }
    }

    /// Asks for an approval, or publishes at once where an approver who may operate asks.
    ///
    /// # Errors
    /// [`FixError`]; nothing is published then, unless it says otherwise.
    pub async fn apply(&self, scope: &Scope, request: FixRequest) -> Result<FixOutcome, FixError> {
        self.ready(scope)?;
        if FixType::of(&request.signal.failure_type) == FixType::NoAutoApply {
            return Err(FixError::Blocked);
        }
        check(&request)?;
        let Some(incident_id) = request.signal.incident_id.clone() else {
            return Err(on_trial(&request.signal.detector, &self.parts.settings.get().runs));
        };
        let now = self.parts.clock.now();
        let key = key(&request);
        let approves =
            request.may_operate && self.parts.desk.may_decide(&[request.by.as_str(), request.also_known_as.as_str()]);
        let (approval, fix) = match self.before(scope, &incident_id, &key, now).await? {
            Some(asked) => asked,
            None => self.ask(scope, &request, incident_id, key, approves, now).await?,
        };
        if approval.status == ApprovalStatus::Pending && !approves {
            return Ok(FixOutcome::Waiting { approval, fix });
        }
        let approval = match approval.status {
            ApprovalStatus::Pending => self.approve(scope, &request, &approval, now).await?,
            _ => approval,
        };
        self.outcome(scope, approval, fix, if approves { WAIT } else { Duration::ZERO }).await
    }

    /// The approval of the very same fix, if it is pending, or approved and not failed.
    async fn before(
        &self,
        scope: &Scope,
        incident_id: &IncidentId,
        key: &str,
        now: DateTime<Utc>,
    ) -> Result<Option<(Approval, PublishPrompt)>, FixError> {
        let filter = ApprovalFilter {
            incident_id: Some(incident_id.clone()),
            action_type: Some(ActionType::PublishPrompt.as_str().to_owned()),
            ..ApprovalFilter::default()
        };
        let store = &self.parts.store;
        let mut in_the_way = None;
        for approval in store.approvals.list(scope, &filter, &PageRequest::first(200)).await?.items {
            let pending = approval.status == ApprovalStatus::Pending && approval.request.expires_at > now;
            let Ok(fix) = read::<PublishPrompt>(&approval.request.payload) else { continue };
            if fix.key != key {
                if pending {
                    in_the_way = Some(approval.id.to_string());
                }
                continue;
            }
            let counts = match approval.status {
                ApprovalStatus::Approved => {
                    self.action_of(scope, &approval).await?.is_some_and(|action| action.status != ActionStatus::Failed)
                }
                ApprovalStatus::Pending => pending,
                ApprovalStatus::Rejected | ApprovalStatus::Expired => false,
            };
            if counts {
                return Ok(Some((approval, fix)));
            }
        }
        match in_the_way {
            Some(id) => Err(another(id)),
            None => Ok(None),
        }
    }

    async fn action_of(&self, scope: &Scope, approval: &Approval) -> Result<Option<Action>, StoreError> {
        let filter = ActionFilter { approval_id: Some(approval.id.clone()), ..ActionFilter::default() };
        let listed = self.parts.store.actions.list(scope, &filter, &PageRequest::first(1)).await?;
        Ok(listed.items.into_iter().next())
    }

    /// Reads the prompt and asks for an approval of exactly what would become of it.
    async fn ask(
        &self,
        scope: &Scope,
        request: &FixRequest,
        incident_id: IncidentId,
        key: String,
        approves: bool,
        now: DateTime<Utc>,
    ) -> Result<(Approval, PublishPrompt), FixError> {
        let parts = &self.parts;
        let prompt = parts.outbox.prompt(&request.prompt_name).await.map_err(|no| match no {
            NoPrompt::Missing => FixError::NoPrompt,
            NoPrompt::Failed(why) => FixError::Remote(why),
        })?;
        let fix = published(request, prompt, key)?;
        let incident = parts.store.incidents.get(scope, &incident_id).await?;
        let incident =
            incident.ok_or_else(|| StoreError::NotFound { what: "incident", id: incident_id.to_string() })?;
        let settings = parts.settings.get();
        let seconds = i64::from(settings.governance.approval_expires_after_seconds);
        let new = NewApproval {
            incident_id,
            incident_type: incident.kind.clone(),
            severity: incident.severity,
            action_type: ActionType::PublishPrompt.as_str().to_owned(),
            target: Some(fix.name.clone()),
            payload: exact(&fix)?,
            evidence_sha256: incident.evidence_sha256.clone(),
            summary: summary(request, &fix),
            expires_at: now + TimeDelta::seconds(seconds),
            max_attempts: MAX_ATTEMPTS,
        };
        let requested = parts.store.approvals.request(scope, new, now).await?;
        if !requested.created {
            // Somebody was faster by a moment; with the same fix or another.
            return match read::<PublishPrompt>(&requested.approval.request.payload) {
                Ok(theirs) if theirs.key == fix.key => Ok((requested.approval, theirs)),
                _ => Err(another(requested.approval.id.to_string())),
            };
        }
        let approval = requested.approval;
        let entry = NewAuditEntry {
            actor: request.by.clone(),
            event: "fix.requested".to_owned(),
            subject_type: "approval".to_owned(),
            subject_id: approval.id.to_string(),
            detail: ExactJson::new(&json!({
                "signal_id": fix.signal_id, "prompt": fix.name, "base_version": fix.base_version, "labels": fix.labels,
            })),
        };
        parts.store.audit.append(scope, entry, now).await?;
        if !approves {
            let cause = format!("asks:{}", approval.id);
            if parts.notices.has_message(scope, &incident.id).await? {
                parts.notices.update(scope, &incident.id, &cause, now).await?;
            } else if parts.destinations.has_slack() {
                parts.notices.post(scope, &incident, &settings.governance.slack_channel, now).await?;
            }
        }
        Ok((approval, fix))
    }

    async fn approve(
        &self,
        scope: &Scope,
        request: &FixRequest,
        approval: &Approval,
        now: DateTime<Utc>,
    ) -> Result<Approval, FixError> {
        let decision = Request {
            approval_id: approval.id.clone(),
            decision: Decision::Approve,
            by: request.by.clone(),
            also_known_as: Some(request.also_known_as.clone()),
            via: Via::Api,
            reason: None,
            payload_sha256: approval.payload_sha256.clone(),
        };
        let conflict = |message: &str| FixError::Conflict {
            message: message.to_owned(),
            hint: "send the request again to ask anew",
            approval_id: Some(approval.id.to_string()),
        };
        match self.parts.desk.decide(scope, decision, None, now).await? {
            Decided::Claim(ClaimOutcome::Claimed { approval, .. }) => Ok(approval),
            Decided::Claim(ClaimOutcome::AlreadyResolved { approval }) => match approval.status {
                ApprovalStatus::Approved => Ok(approval),
                _ => Err(conflict("somebody rejected this fix a moment ago")),
            },
            Decided::Claim(ClaimOutcome::Expired { .. }) => Err(conflict("the approval has just expired")),
            Decided::Claim(ClaimOutcome::PayloadMismatch { .. } | ClaimOutcome::NotFound) => {
                Err(conflict("the approval is not the one that was asked for"))
            }
            // The list of approvers changed a moment ago: it stays a question.
            Decided::NotAllowed => Ok(approval.clone()),
        }
    }

    /// What became of an approved fix, waiting for it for a while.
    async fn outcome(
        &self,
        scope: &Scope,
        approval: Approval,
        fix: PublishPrompt,
        wait: Duration,
    ) -> Result<FixOutcome, FixError> {
        let Some(action) = self.action_of(scope, &approval).await? else {
            return Ok(FixOutcome::Waiting { approval, fix });
        };
        let action = self.settled(scope, action.id, wait).await?;
        match action.status {
            ActionStatus::Done => {
                let number = |name: &str| action.result.as_ref().and_then(|result| result.get(name)?.as_i64());
                let (Some(fix_id), Some(version)) = (number("fix_id"), number("version")) else {
                    return Err(FixError::Conflict {
                        message: "it was settled by hand, and which version it became is not known".to_owned(),
                        hint: "look at the prompt in Langfuse",
                        approval_id: Some(approval.id.to_string()),
                    });
                };
                let url = action.result.as_ref().and_then(|result| result.get("url")?.as_str().map(str::to_owned));
                Ok(FixOutcome::Published { fix_id, version, url, fix })
            }
            ActionStatus::Failed => Err(FixError::Remote(
                action.error.unwrap_or_else(|| "it was not published, and no reason was kept".to_owned()),
            )),
            ActionStatus::Unknown => Err(FixError::Remote(format!(
                "it is not known whether it was published: {}. It is not sent again by itself; settle action {}",
                action.error.unwrap_or_default(),
                action.id
            ))),
            ActionStatus::Pending | ActionStatus::Sending | ActionStatus::Requested => {
                Ok(FixOutcome::Waiting { approval, fix })
            }
        }
    }

    /// The action once it has ended, or as it stands after `wait`; also when it is to be tried again later.
    async fn settled(&self, scope: &Scope, id: ActionId, wait: Duration) -> Result<Action, FixError> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            let action = self.parts.store.actions.get(scope, &id).await?;
            let action = action.ok_or_else(|| StoreError::NotFound { what: "action", id: id.to_string() })?;
            let under_way = match action.status {
                ActionStatus::Sending => true,
                ActionStatus::Pending => action.error.is_none(),
                _ => false,
            };
            if !under_way || tokio::time::Instant::now() >= until {
                return Ok(action);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Why nothing can be approved about what a detector found on trial, and how its findings come to be approved about.
fn on_trial(detector: &str, runs: &RunSettings) -> FixError {
    let is_own = !BUNDLED.contains(&detector.to_uppercase().as_str());
    let hint = if runs.shadow.contains(detector) {
        "take its name out of runs.shadow (docs/settings.md): what it finds from then on can be fixed from here. Until then apply the \
         fix by hand and say so with POST /v1/signals/{id}/record-copy"
    } else if runs.is_shadow(detector, is_own) {
        "add its name to runs.live (docs/settings.md) once POST /v1/signals/{id}/feedback shows that it is right often enough: what \
         it finds from then on can be fixed from here. Until then apply the fix by hand and say so with POST \
         /v1/signals/{id}/record-copy"
    } else {
        "its trial is over: what it has found since can be fixed from here; about this one, apply the fix by hand and say so with POST \
         /v1/signals/{id}/record-copy"
    };
    FixError::Conflict {
        message: format!(
            "this signal was found while the detector '{detector}' was on trial (shadow): it belongs to no incident, and a fix \
             is approved about an incident"
        ),
        hint,
        approval_id: None,
    }
}

/// One at a time: there is one pending approval of an incident and action.
fn another(approval_id: String) -> FixError {
    FixError::Conflict {
        message: "another fix for this agent and failure waits for a decision".to_owned(),
        hint: "decide that one first (POST /api/v1/approvals/{id}/approve or reject)",
        approval_id: Some(approval_id),
    }
}

/// What cannot be asked for, whatever Langfuse says.
fn check(request: &FixRequest) -> Result<(), FixError> {
    let invalid = |text: &str| Err(FixError::Invalid(text.to_owned()));
    let name = request.prompt_name.as_str();
    if name.trim().is_empty() || name.chars().count() > 500 || name.chars().any(char::is_control) {
        return invalid(
            "langfuse_prompt_name must have between 1 and 500 characters, none of them a control character",
        );
    }
    if name.split('/').any(|part| matches!(part, "." | "..")) {
        return invalid("langfuse_prompt_name: '.' and '..' are no names");
    }
    if request.labels.len() > 20 {
        return invalid("labels: at most 20");
    }
    for (index, label) in request.labels.iter().enumerate() {
        let fits = (1..=36).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(&b));
        if !fits || label == "latest" {
            return Err(FixError::Invalid(format!(
                "labels[{index}] must have 1 to 36 of a-z, 0-9, '_', '-' and '.', and Langfuse gives 'latest' by itself"
            )));
        }
    }
    Ok(())
}

/// Names a fix: the same addition for the same signal and prompt is the same fix.
fn key(request: &FixRequest) -> String {
    let mut hash = Sha256::new();
    for part in [request.prompt_name.as_str(), request.fix_content.as_str()] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    for label in &request.labels {
        hash.update(label.len().to_be_bytes());
        hash.update(label);
    }
    let digest: String = hex::encode(hash.finalize()).chars().take(24).collect();
    format!("signal:{}:fix:{digest}", request.signal.id)
}

/// The version that is made of a prompt and an addition.
fn published(request: &FixRequest, base: PromptVersion, key: String) -> Result<PublishPrompt, FixError> {
    let (old_text, place) = match base.kind {
        PromptKind::Text => (base.prompt.as_str().map(str::to_owned), None),
        PromptKind::Chat => system_message(&base.prompt),
    };
    let Some(old_text) = old_text else {
        return Err(FixError::Remote(
            "the prompt's system message is no text: it can only be changed by hand".to_owned(),
        ));
    };
    if old_text.trim_end().ends_with(request.fix_content.trim()) {
        return Err(FixError::Conflict {
            message: format!("version {} of the prompt ends with this text already", base.version),
            hint: "GET /v1/signals/{id}/fix-status says what came of an earlier fix",
            approval_id: None,
        });
    }
    let new_text =
        if old_text.trim().is_empty() { request.fix_content.clone() } else { amended(&old_text, &request.fix_content) };
    if new_text.chars().count() > MAX_TEXT {
        return Err(FixError::Invalid(format!("the prompt would have more than {MAX_TEXT} characters")));
    }
    let prompt = match base.kind {
        PromptKind::Text => Value::String(new_text.clone()),
        PromptKind::Chat => with_system_message(base.prompt, place, &new_text),
    };
    let commit_message = format!(
        "Tripline: fix for {} of {} (signal {}) {}",
        one_line(&request.signal.failure_type),
        cut(&one_line(&request.signal.agent_id), 100),
        request.signal.id,
        prompt_marker(&key)
    );
    Ok(PublishPrompt {
        key,
        signal_id: request.signal.id,
        name: base.name,
        kind: base.kind,
        base_version: base.version,
        base_label: base.label.to_owned(),
        newest_version: base.newest,
        prompt,
        config: base.config,
        tags: base.tags,
        labels: request.labels.clone(),
        commit_message,
        fix_content: request.fix_content.clone(),
        old_text,
        new_text,
    })
}

/// The text of the first system message and where it is; an empty text when there is none. Outer `None`: it is no text.
fn system_message(messages: &Value) -> (Option<String>, Option<usize>) {
    let listed = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let place = listed.iter().position(|message| message.get("role").and_then(Value::as_str) == Some("system"));
    match place.and_then(|place| listed.get(place)) {
        None => (Some(String::new()), None),
        Some(message) => (message.get("content").and_then(Value::as_str).map(str::to_owned), place),
    }
}

fn with_system_message(messages: Value, place: Option<usize>, text: &str) -> Value {
    let Value::Array(mut listed) = messages else { return messages };
    match place.and_then(|place| listed.get_mut(place)) {
        Some(message) => message["content"] = json!(text),
        None => listed.insert(0, json!({"role": "system", "content": text})),
    }
    Value::Array(listed)
}

/// One paragraph for the approver: all of it by others is cleaned where it is shown.
fn summary(request: &FixRequest, fix: &PublishPrompt) -> String {
    let labels = match fix.labels.as_slice() {
        [] => "It gets no label: agents that ask for 'production' keep the version they have.".to_owned(),
        labels => format!("It gets the labels {}.", labels.join(", ")),
    };
    let suspicious = match injection_patterns(&fix.fix_content).as_slice() {
        [] => String::new(),
        found => format!(" The addition itself matches patterns of prompt injection: {}.", found.join(", ")),
    };
    let summary = format!(
        "Publishes a new version of prompt “{}” on top of version {} ({}), asked for by {}, for signal {} ({}). {labels}{suspicious}",
        one_line(&fix.name),
        fix.base_version,
        fix.base_label,
        one_line(&request.by),
        fix.signal_id,
        one_line(&request.signal.failure_type),
    );
    cut(&summary, SUMMARY)
}

#[cfg(test)]
mod tests;
