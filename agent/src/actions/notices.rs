//! Putting notifications in the outbox, each once.
//!
//! Owns their keys, and that one incident has one message: what follows it waits for it, and is left out when it was
//! never posted ("Settled questions, one voice"). Does not own what they say or how they are sent.
//!
//! Must hold: every call may be repeated; a key names the cause, so that the same cause tells once.

use tokio::sync::watch;
use tripline_store::{
    Action, ActionFilter, ActionId, ActionKind, ActionStatus, AnomalyFilter, Approval, ApprovalStatus, Incident,
    IncidentId, NewAction, NewAnomaly, PageRequest, Scope, Store, StoreError,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::kinds::{
    ActionType, CheckRun, PostDigest, PostMessage, PullComment, Remediation, Respond, Response, SetIssueState,
    SignalWebhook, ThreadReply, UpdateMessage, exact,
};
use crate::govern::GovernError;
use crate::messages::{Content, Note};

/// Slack may be down for the better part of an hour before a notification is given up.
const MAX_ATTEMPTS: u32 = 10;
/// A webhook's receiver may be down for a week: three attempts within half a minute, and from then on ever more rarely, at last every
/// ten minutes.
const MAX_WEBHOOK_ATTEMPTS: u32 = 1_000;
/// A response address lives for half an hour.
const MAX_RESPONSE_ATTEMPTS: u32 = 4;

/// Wakes the outbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waker(watch::Sender<u64>);

impl Default for Waker {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Waker {
    /// Something is in the outbox.
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Is told of every wake from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Puts notifications in the outbox. Cheap to clone.
#[derive(Clone)]
pub struct Notices {
    store: Store,
    waker: Waker,
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// Whether an incident has a message to follow up on.
enum Anchor {
    /// It has none, and will not have one.
    None,
    /// It has one, or will have once that action is done.
    After(Option<ActionId>),
}

/// Key of the action that posts an incident's message.
pub(crate) fn message_key(id: &IncidentId) -> String {
    format!("incident:{id}:message")
}

/// Key of the action that shows a decision in the message, whichever way it was made.
pub(crate) fn outcome_key(approval: &Approval) -> String {
    format!("approval:{}:outcome", approval.id)
}

impl Notices {
    /// Notices into a store's outbox.
    #[must_use]
    pub fn new(store: Store, waker: Waker) -> Self {
        Self { store, waker }
    }

    /// What wakes the outbox.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// What was found of an incident last.
    ///
    /// # Errors
    /// Of the store.
    pub(crate) async fn newest_finding(
        &self,
        scope: &Scope,
        incident: &IncidentId,
    ) -> Result<Option<NewAnomaly>, StoreError> {
        let filter = AnomalyFilter { incident_id: Some(incident.clone()), ..AnomalyFilter::default() };
        let newest = self.store.anomalies.list(scope, &filter, &PageRequest::first(1)).await?;
        Ok(newest.items.into_iter().next().map(|anomaly| anomaly.finding))
    }

    /// Posts the incident's one message. Again is nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn post(
        &self,
        scope: &Scope,
        incident: &Incident,
        channel: &str,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let payload = PostMessage { incident_id: incident.id.clone(), channel: channel.to_owned() };
        let new = Notification {
            action_type: ActionType::SlackPostMessage,
            key: message_key(&incident.id),
            incident_id: Some(&incident.id),
            depends_on: None,
            max_attempts: MAX_ATTEMPTS,
        };
        self.enqueue(scope, new, &payload, now).await
    }

    /// Whether the incident's message was put in the outbox before.
    ///
    /// # Errors
    /// Of the store.
    pub async fn has_message(&self, scope: &Scope, id: &IncidentId) -> Result<bool, StoreError> {
        Ok(self.store.actions.get_by_key(scope, &message_key(id)).await?.is_some())
    }

    /// Brings the message up to date, once per cause. Left out when there is no message.
    ///
    /// # Errors
    /// Of the store.
    pub async fn update(
        &self,
        scope: &Scope,
        id: &IncidentId,
        cause: &str,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        self.update_keyed(scope, id, format!("{}:{cause}", message_key(id)), cause, now).await
    }

    async fn update_keyed(
        &self,
        scope: &Scope,
        id: &IncidentId,
        key: String,
        cause: &str,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let Anchor::After(depends_on) = self.anchor(scope, id).await? else { return Ok(()) };
        let new = Notification {
            action_type: ActionType::SlackUpdateMessage,
            key,
            incident_id: Some(id),
            depends_on,
            max_attempts: MAX_ATTEMPTS,
        };
        let payload = UpdateMessage { incident_id: id.clone(), cause: cause.to_owned() };
        self.enqueue(scope, new, &payload, now).await
    }

    /// Tells something in the message's thread, once per cause. Left out when there is no message.
    ///
    /// # Errors
    /// Of the store.
    pub async fn reply(
        &self,
        scope: &Scope,
        id: &IncidentId,
        cause: &str,
        note: &Note<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let Anchor::After(depends_on) = self.anchor(scope, id).await? else { return Ok(()) };
        let new = Notification {
            action_type: ActionType::SlackThreadReply,
            key: format!("incident:{id}:reply:{cause}"),
            incident_id: Some(id),
            depends_on,
            max_attempts: MAX_ATTEMPTS,
        };
        self.enqueue(scope, new, &ThreadReply { incident_id: id.clone(), text: note.text() }, now).await
    }

    /// Tells the webhook something, once per key: a finding about a run, unless `event` names something else.
    ///
    /// # Errors
    /// Of the store.
    pub async fn webhook(
        &self,
        scope: &Scope,
        key: String,
        event: Option<&str>,
        body: String,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let new = Notification {
            action_type: ActionType::SignalWebhook,
            key,
            incident_id: None,
            depends_on: None,
            max_attempts: MAX_WEBHOOK_ATTEMPTS,
        };
        self.enqueue(scope, new, &SignalWebhook { body, event: event.map(str::to_owned) }, now).await
    }

    /// Posts the digest of a week, once.
    ///
    /// # Errors
    /// Of the store.
    pub async fn digest(
        &self,
        scope: &Scope,
        digest_id: &str,
        channel: &str,
        content: Content,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let new = Notification {
            action_type: ActionType::SlackPostDigest,
            key: format!("digest:{digest_id}"),
            incident_id: None,
            depends_on: None,
            max_attempts: MAX_ATTEMPTS,
        };
        let payload = PostDigest {
            digest_id: digest_id.to_owned(),
            channel: channel.to_owned(),
            text: content.text,
            blocks: content.blocks.unwrap_or_default(),
        };
        self.enqueue(scope, new, &payload, now).await
    }

    /// Writes the one comment on a pull request, or brings it up to date; nothing when the last one says the same. Returns
    /// whether this is new.
    ///
    /// # Errors
    /// Of the store.
    pub async fn pull_comment(
        &self,
        scope: &Scope,
        pull: &str,
        comment: PullComment,
        now: DateTime<Utc>,
    ) -> Result<bool, GovernError> {
        let payload = exact(&comment)?;
        let last =
            self.last_about(scope, ActionType::GithubPullComment, |action| action.target.as_deref() == Some(pull));
        let last = last.await?;
        let alive = |action: &Action| !matches!(action.status, ActionStatus::Failed | ActionStatus::Unknown);
        if last.as_ref().is_some_and(|last| alive(last) && last.payload.text() == payload.text()) {
            return Ok(false);
        }
        // The one before names this one: going back to an earlier text is a change too.
        let after = last.map_or_else(|| "first".to_owned(), |last| last.id.to_string());
        let key = format!("{}:comment:{after}", comment.key);
        self.put(scope, ActionType::GithubPullComment, pull, payload, key, now).await
    }

    /// Writes a check, once; not where GitHub refused the last one within `refused_for`. Inner: why not.
    ///
    /// # Errors
    /// Of the store.
    pub async fn check_run(
        &self,
        scope: &Scope,
        pull: &str,
        check: CheckRun,
        refused_for: chrono::TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<Result<bool, String>, GovernError> {
        let last = self.last_about(scope, ActionType::GithubCheckRun, |_| true).await?;
        let refused = last.filter(|last| last.status == ActionStatus::Failed && last.updated_at > now - refused_for);
        if let Some(why) = refused.and_then(|last| last.error).filter(|why| why.contains("HTTP 403")) {
            return Ok(Err(why));
        }
        let (key, payload) = (check.key.clone(), exact(&check)?);
        self.put(scope, ActionType::GithubCheckRun, pull, payload, key, now).await.map(Ok)
    }

    /// The newest action of a type that is about something.
    async fn last_about(
        &self,
        scope: &Scope,
        action_type: ActionType,
        is_it: impl Fn(&Action) -> bool,
    ) -> Result<Option<Action>, StoreError> {
        let filter = ActionFilter { action_type: Some(action_type.as_str().to_owned()), ..ActionFilter::default() };
        let listed = self.store.actions.list(scope, &filter, &PageRequest::first(500)).await?.items;
        Ok(listed.into_iter().find(|action| is_it(action)))
    }

    async fn put(
        &self,
        scope: &Scope,
        action_type: ActionType,
        target: &str,
        payload: tripline_store::ExactJson,
        idempotency_key: String,
        now: DateTime<Utc>,
    ) -> Result<bool, GovernError> {
        let new = NewAction {
            kind: ActionKind::Notification,
            action_type: action_type.as_str().to_owned(),
            target: Some(target.to_owned()),
            incident_id: None,
            approval_id: None,
            payload,
            idempotency_key,
            max_attempts: MAX_ATTEMPTS,
            not_before: None,
            depends_on: None,
        };
        let enqueued = self.store.actions.enqueue(scope, new, now).await?;
        if enqueued.created {
            self.waker.wake();
        }
        Ok(enqueued.created)
    }

    /// Closes the issue that was opened for an incident, or opens it again; once per opening of the incident. Left out when
    /// none was opened. Returns whether this is new.
    ///
    /// # Errors
    /// Of the store.
    pub async fn issue_state(
        &self,
        scope: &Scope,
        incident: &Incident,
        open: bool,
        comment: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, GovernError> {
        let filter = ActionFilter {
            action_type: Some(Remediation::OpenGithubIssue.as_str().to_owned()),
            incident_id: Some(incident.id.clone()),
            ..ActionFilter::default()
        };
        let opened = self.store.actions.list(scope, &filter, &PageRequest::first(20)).await?.items;
        let opened = opened
            .into_iter()
            .find(|action| matches!(action.status, ActionStatus::Done | ActionStatus::Pending | ActionStatus::Sending));
        let Some((opened, repository)) = opened.and_then(|action| Some((action.clone(), action.target?))) else {
            return Ok(false);
        };
        let verb = if open { "reopen" } else { "close" };
        let key = format!("incident:{}:{verb}_issue:{}", incident.id, incident.reopened_count);
        if self.store.actions.get_by_key(scope, &key).await?.is_some() {
            return Ok(false);
        }
        let new = Notification {
            action_type: ActionType::GithubIssueState,
            key: key.clone(),
            incident_id: Some(&incident.id),
            depends_on: (opened.status != ActionStatus::Done).then(|| opened.id.clone()),
            max_attempts: MAX_ATTEMPTS,
        };
        let comment = format!("{comment}\n\n{}\n", super::marker(&key));
        let payload = SetIssueState { key, repository, opened_by: opened.id, open, comment };
        self.enqueue(scope, new, &payload, now).await?;
        Ok(true)
    }

    /// Answers a click. `key` names the click. The caller has checked the address.
    ///
    /// # Errors
    /// Of the store.
    pub async fn respond(
        &self,
        scope: &Scope,
        key: String,
        response_url: &str,
        response: Response,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let incident_id = match &response {
            Response::Replace { incident_id } => Some(incident_id.clone()),
            Response::Ephemeral { .. } => None,
        };
        let new = Notification {
            action_type: ActionType::SlackRespond,
            key,
            incident_id: incident_id.as_ref(),
            depends_on: None,
            max_attempts: MAX_RESPONSE_ATTEMPTS,
        };
        self.enqueue(scope, new, &Respond { response_url: response_url.to_owned(), response }, now).await
    }

    /// Shows a decision (or its expiry) in the message: through the click's response address when there is one, else
    /// by updating it. Once per approval.
    ///
    /// # Errors
    /// Of the store.
    pub async fn decided(
        &self,
        scope: &Scope,
        approval: &Approval,
        response_url: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        if approval.status == ApprovalStatus::Pending {
            return Ok(());
        }
        let (incident_id, key) = (&approval.request.incident_id, outcome_key(approval));
        match response_url {
            Some(url) => {
                let response = Response::Replace { incident_id: incident_id.clone() };
                self.respond(scope, key, url, response, now).await?;
            }
            None => self.update_keyed(scope, incident_id, key, "decided", now).await?,
        }
        if approval.reason.as_deref().is_some_and(|reason| reason != crate::messages::KILL_REASON) {
            let cause = format!("decided:{}", approval.id);
            self.reply(scope, incident_id, &cause, &Note::Decided(approval), now).await?;
        }
        Ok(())
    }

    /// Tells how a remediation stands, once per action and status. Nothing for one that is under way or only recorded.
    ///
    /// # Errors
    /// Of the store.
    pub async fn action_ended(&self, scope: &Scope, action: &Action, now: DateTime<Utc>) -> Result<(), GovernError> {
        let is = |remediation: Remediation| action.action_type == remediation.as_str();
        let Some(incident_id) = action.incident_id.as_ref().filter(|_| action.kind == ActionKind::Remediation) else {
            return Ok(());
        };
        let why = action.error.as_deref().unwrap_or("no reason was kept");
        let result = |name: &str| action.result.as_ref().and_then(|result| result.get(name)?.as_str());
        let action_type = action.action_type.as_str();
        let note = match action.status {
            ActionStatus::Done if is(Remediation::OpenGithubIssue) => {
                Note::IssueOpened { url: result("url").unwrap_or("its address is not known") }
            }
            ActionStatus::Done if is(Remediation::KillLoop) => {
                Note::KillAcknowledged { at: action.completed_at.unwrap_or(now) }
            }
            ActionStatus::Done if is(Remediation::RequestChanges) => {
                Note::ChangesRequested { url: result("url").unwrap_or("its address is not known") }
            }
            ActionStatus::Done if action_type == ActionType::PublishPrompt.as_str() => Note::PromptPublished {
                name: result("name").unwrap_or("the prompt"),
                version: action.result.as_ref().and_then(|result| result.get("version")?.as_i64()),
                url: result("url"),
            },
            ActionStatus::Requested => {
                let runs = action.result.as_ref().and_then(|result| result.get("runs")?.as_array());
                let runs = runs.map(|runs| runs.iter().filter_map(Value::as_str).map(str::to_owned).collect());
                Note::KillRequested { trace_id: result("trace_id").unwrap_or("the trace"), runs }
            }
            ActionStatus::Failed => Note::ActionFailed { action_type, why },
            ActionStatus::Unknown => Note::ActionUnknown { action_type, why },
            ActionStatus::Done | ActionStatus::Pending | ActionStatus::Sending => return Ok(()),
        };
        let cause = ended_cause(action);
        self.reply(scope, incident_id, &cause, &note, now).await?;
        self.update(scope, incident_id, &cause, now).await
    }

    async fn anchor(&self, scope: &Scope, id: &IncidentId) -> Result<Anchor, StoreError> {
        let Some(post) = self.store.actions.get_by_key(scope, &message_key(id)).await? else {
            return Ok(Anchor::None);
        };
        Ok(match post.status {
            ActionStatus::Done => Anchor::After(None),
            ActionStatus::Pending | ActionStatus::Sending | ActionStatus::Requested => Anchor::After(Some(post.id)),
            // A click on it may have told where it is.
            ActionStatus::Failed | ActionStatus::Unknown => {
                let incident = self.store.incidents.get(scope, id).await?;
                match incident.and_then(|incident| incident.slack_ts) {
                    Some(_) => Anchor::After(None),
                    None => Anchor::None,
                }
            }
        })
    }

    async fn enqueue<P: Serialize>(
        &self,
        scope: &Scope,
        new: Notification<'_>,
        payload: &P,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let new = NewAction {
            kind: ActionKind::Notification,
            action_type: new.action_type.as_str().to_owned(),
            target: None,
            incident_id: new.incident_id.cloned(),
            approval_id: None,
            payload: exact(payload)?,
            idempotency_key: new.key,
            max_attempts: new.max_attempts,
            not_before: None,
            depends_on: new.depends_on,
        };
        match self.store.actions.enqueue(scope, new, now).await {
            Ok(enqueued) => {
                if enqueued.created {
                    self.waker.wake();
                }
                Ok(())
            }
            // The message it would have followed has just failed: there is nothing to follow up on.
            Err(StoreError::Invalid { field: "depends_on", .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The cause of what is told about an action's end.
pub(crate) fn ended_cause(action: &Action) -> String {
    format!("action:{}:{}", action.id, action.status)
}

struct Notification<'a> {
    action_type: ActionType,
    key: String,
    incident_id: Option<&'a IncidentId>,
    depends_on: Option<ActionId>,
    max_attempts: u32,
}
