//! The worker of the outbox: leases what is due, does it, and writes down what came of it.
//!
//! Owns the order of looking and sending, the reading of outcomes into transitions, and the worker's life. Does not own
//! the transitions themselves (store), a vendor's requests, or texts.
//!
//! Must hold
//! - a lease outlives every attempt made under it, so nobody else takes an action that is being sent;
//! - what was interrupted, or ended without a plain answer, is looked for before it is sent again;
//! - notifications are sent one after the other, in order, so that a message never goes back to an older state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tripline_engine::SharedClock;
use tripline_store::{
    Action, ActionFilter, ActionKind, Approval, ApprovalFilter, IncidentId, KillState, LeaseRequest, LeasedAction,
    NewKill, PageRequest, Retry, Scope, Store, StoreError,
};

use super::destinations::Destinations;
use super::http::Http;
use super::kinds::{
    ActionType, KillLoop, OpenIssue, PostMessage, RecordOnly, Remediation, Respond, Response, ThreadReply,
    UpdateMessage, read,
};
use super::notices::Notices;
use super::outcome::{Look, Sent};
use super::{github, repair, schedule, slack};
use crate::govern::GovernError;
use crate::messages::{Content, IncidentView, Links, incident_message};
use crate::settings::SettingsHandle;

/// How the worker works.
#[derive(Debug, Clone)]
pub struct OutboxOptions {
    /// Its name in leases and the audit log.
    pub holder: String,
    /// How long an attempt may take, looking and sending together.
    pub attempt_deadline: Duration,
    /// How long a lease lasts; longer than the deadline. After a crash it is this long until the action is looked for.
    pub lease: Duration,
    /// How often it looks for what became due, when nobody wakes it.
    pub poll: Duration,
    /// The pause between an unclear answer and looking whether it happened.
    pub settle_pause: Duration,
    /// Seed of the jitter in pauses.
    pub seed: u64,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            holder: "executor".to_owned(),
            attempt_deadline: Duration::from_secs(20),
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            settle_pause: Duration::from_secs(2),
            seed: 0,
        }
    }
}

/// What a worker is made of.
pub struct OutboxParts {
    /// Where the outbox is.
    pub store: Store,
    /// Whose.
    pub scope: Scope,
    /// The product's clock.
    pub clock: SharedClock,
    /// The machine's clock, by which vendors stamp what they keep.
    pub system_clock: SharedClock,
    /// Settings, for links.
    pub settings: SettingsHandle,
    /// Where actions go.
    pub destinations: Arc<Destinations>,
    /// What tells of outcomes.
    pub notices: Notices,
    /// How it works.
    pub options: OutboxOptions,
}

/// What a drain did: how many attempts ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Happened.
    pub done: u64,
    /// Asked of a running agent.
    pub requested: u64,
    /// Did not happen; to be tried again later.
    pub retried: u64,
    /// Did not happen and never will.
    pub failed: u64,
    /// May have happened; the vendor cannot tell.
    pub unknown: u64,
    /// May have happened; to be looked for later.
    pub left: u64,
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Done,
    Requested,
    Retried,
    Failed,
    Unknown,
    Left,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Requested => "requested",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Left => "left",
        }
    }
}

/// How many attempts ended how, per type of action, since the process began.
pub type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// What an attempt came to.
enum Verdict {
    Done(Value),
    Requested(Value),
    Retry {
        why: String,
        retry_after: Option<Duration>,
    },
    Fail(String),
    /// Leave it in *sending*: whoever leases it next looks first.
    Leave(String),
    /// The vendor cannot tell.
    Unknown(String),
}

/// An action, read.
enum Plan {
    Issue(OpenIssue),
    Kill(KillLoop),
    Record,
    Post(PostMessage),
    Update(UpdateMessage),
    Reply(ThreadReply),
    Respond(Respond),
}

impl Plan {
    fn read(action: &Action) -> Result<Self, String> {
        let payload = &action.payload;
        Ok(match action.action_type.parse::<ActionType>()? {
            ActionType::Remediate(Remediation::OpenGithubIssue) => Self::Issue(read(payload)?),
            ActionType::Remediate(Remediation::KillLoop) => Self::Kill(read(payload)?),
            ActionType::Remediate(Remediation::Record) => {
                read::<RecordOnly>(payload)?;
                Self::Record
            }
            ActionType::SlackPostMessage => Self::Post(read(payload)?),
            ActionType::SlackUpdateMessage => Self::Update(read(payload)?),
            ActionType::SlackThreadReply => Self::Reply(read(payload)?),
            ActionType::SlackRespond => Self::Respond(read(payload)?),
        })
    }

    /// Whether doing it twice would be noticed outside.
    fn must_not_repeat(&self) -> bool {
        match self {
            Self::Issue(_) | Self::Post(_) | Self::Reply(_) => true,
            Self::Respond(respond) => matches!(respond.response, Response::Ephemeral { .. }),
            Self::Kill(_) | Self::Record | Self::Update(_) => false,
        }
    }
}

/// The worker. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    parts: OutboxParts,
    http: Http,
    counts: Mutex<Counts>,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("options", &self.inner.parts.options).finish_non_exhaustive()
    }
}

impl Outbox {
    /// A worker.
    ///
    /// # Errors
    /// When the HTTP client cannot be made (no root certificates, say).
    pub fn new(parts: OutboxParts) -> Result<Self, GovernError> {
        let http = Http::new().map_err(|error| GovernError::Refused {
            message: format!("the HTTP client for actions cannot be made: {}", error.without_url()),
            hint: Some("check the machine's root certificates".to_owned()),
        })?;
        Ok(Self { inner: Arc::new(Inner { parts, http, counts: Mutex::default() }) })
    }

    /// How many attempts ended how, for metrics.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does everything that is due at `now`, one after the other.
    ///
    /// # Errors
    /// Of the store.
    pub async fn drain(&self, now: DateTime<Utc>) -> Result<Drained, GovernError> {
        let mut drained = Drained::default();
        while let Some(ended) = self.inner.next(&[], now).await? {
            let counter = match ended {
                Ended::Done => &mut drained.done,
                Ended::Requested => &mut drained.requested,
                Ended::Retried => &mut drained.retried,
                Ended::Failed => &mut drained.failed,
                Ended::Unknown => &mut drained.unknown,
                Ended::Left => &mut drained.left,
            };
            *counter += 1;
        }
        Ok(drained)
    }

    /// Puts in the outbox what a crash left untold.
    ///
    /// # Errors
    /// Of the store.
    pub async fn repair(&self, now: DateTime<Utc>) -> Result<(), GovernError> {
        let parts = &self.inner.parts;
        repair::run(&parts.store, &parts.notices, &parts.scope, now).await
    }

    /// Works until told to stop: remediations and notifications side by side, each kind one after the other. What is
    /// under way at the end is finished; the attempt's deadline bounds that.
    pub async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.repair(self.inner.parts.clock.now()).await {
            tracing::warn!(%error, "what a crash left untold could not be caught up on");
        }
        tokio::join!(self.inner.lane(ActionKind::Remediation, &stop), self.inner.lane(ActionKind::Notification, &stop),);
    }
}

impl Inner {
    async fn lane(&self, kind: ActionKind, stop: &CancellationToken) {
        let mut woken = self.parts.notices.waker().subscribe();
        while !stop.is_cancelled() {
            match self.next(&[kind], self.parts.clock.now()).await {
                Ok(Some(_)) => continue,
                Ok(None) => {}
                Err(error) => tracing::error!(%error, %kind, "the outbox could not be worked on"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = woken.changed() => {}
                () = tokio::time::sleep(self.parts.options.poll) => {}
            }
        }
    }

    /// Does the next due action, if there is one.
    async fn next(&self, kinds: &[ActionKind], now: DateTime<Utc>) -> Result<Option<Ended>, GovernError> {
        let options = &self.parts.options;
        let request = LeaseRequest { holder: options.holder.clone(), lease_for: options.lease, kinds: kinds.to_vec() };
        let Some(leased) = self.parts.store.actions.lease_next(&self.parts.scope, request, now).await? else {
            return Ok(None);
        };
        let action_type = leased.action.action_type.parse::<ActionType>().map_or("other", ActionType::as_str);
        let span = tracing::info_span!("action", id = %leased.action.id, action_type, attempt = leased.lease.attempt);
        let attempt = tokio::time::timeout(options.attempt_deadline, self.attempt(&leased, now));
        let verdict = match attempt.instrument(span).await {
            Ok(verdict) => verdict?,
            Err(_) => Verdict::Leave(format!("no outcome within {:?}", options.attempt_deadline)),
        };
        // Under a clock that is set by hand (tests, replays) this is `now` still.
        let ended = self.write_down(&leased, verdict, now.max(self.parts.clock.now())).await?;
        tracing::info!(
            action = %leased.action.id, action_type, attempt = leased.lease.attempt, resumed = leased.resumed,
            ended = ended.word(), "action attempted"
        );
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((action_type, ended.word())).or_default() += 1;
        Ok(Some(ended))
    }

    /// Looks where it must, sends where it may.
    async fn attempt(&self, leased: &LeasedAction, now: DateTime<Utc>) -> Result<Verdict, GovernError> {
        let action = &leased.action;
        let plan = match Plan::read(action) {
            Ok(plan) => plan,
            Err(why) => return Ok(Verdict::Fail(why)),
        };
        let guarded = plan.must_not_repeat();
        if leased.resumed && guarded {
            match self.look(action, &plan).await? {
                Look::Found(result) => return Ok(Verdict::Done(result)),
                Look::Absent if leased.lease.attempt > action.max_attempts => {
                    return Ok(Verdict::Fail("given up: it did not happen in any attempt".to_owned()));
                }
                Look::Absent => {}
                Look::NotNow(why) => return Ok(Verdict::Leave(why)),
                Look::CannotTell(why) => return Ok(Verdict::Unknown(why)),
            }
        }
        let (why, in_flight) = match self.send(action, &plan, now).await? {
            Sent::Done(result) => return Ok(Verdict::Done(result)),
            Sent::Requested(result) => return Ok(Verdict::Requested(result)),
            Sent::NotNow { why, retry_after } => return Ok(Verdict::Retry { why, retry_after }),
            Sent::Never(why) => return Ok(Verdict::Fail(why)),
            Sent::Unclear { why, .. } if !guarded => return Ok(Verdict::Retry { why, retry_after: None }),
            Sent::Unclear { why, in_flight } => (why, in_flight),
        };
        tokio::time::sleep(self.parts.options.settle_pause).await;
        Ok(match self.look(action, &plan).await? {
            Look::Found(result) => Verdict::Done(result),
            // The vendor answered, so it is not at it any more.
            Look::Absent if !in_flight => Verdict::Retry { why, retry_after: None },
            Look::Absent => Verdict::Leave(why),
            Look::NotNow(look) => Verdict::Leave(format!("{why}; {look}")),
            Look::CannotTell(look) => Verdict::Unknown(format!("{why}; {look}")),
        })
    }

    async fn send(&self, action: &Action, plan: &Plan, now: DateTime<Utc>) -> Result<Sent, GovernError> {
        let (http, destinations) = (&self.http, &self.parts.destinations);
        Ok(match plan {
            Plan::Issue(issue) => github::open_issue(http, &destinations.github, issue).await,
            Plan::Kill(kill) => self.request_kill(action, kill, now).await?,
            Plan::Record => Sent::Done(json!({"recorded": true})),
            Plan::Post(post) => match self.render(&post.incident_id).await? {
                Some(content) => {
                    let key = &action.idempotency_key;
                    slack::post(http, &destinations.slack, &post.channel, None, &content, key).await
                }
                None => gone(),
            },
            Plan::Update(update) => self.update_message(&update.incident_id).await?,
            Plan::Reply(reply) => match self.message_place(&reply.incident_id).await? {
                Some((channel, ts)) => {
                    let content = Content { text: reply.text.clone(), blocks: None };
                    let key = &action.idempotency_key;
                    slack::post(http, &destinations.slack, &channel, Some(&ts), &content, key).await
                }
                None => gone(),
            },
            Plan::Respond(respond) => self.respond(respond).await?,
        })
    }

    async fn look(&self, action: &Action, plan: &Plan) -> Result<Look, GovernError> {
        let (http, destinations) = (&self.http, &self.parts.destinations);
        // A vendor stamps by its own clock. Ours may have been set to another time, so the earlier one is taken.
        let since = action.created_at.min(self.parts.system_clock.now()) - TimeDelta::hours(1);
        let key = action.idempotency_key.as_str();
        Ok(match plan {
            Plan::Issue(issue) => github::find_issue(http, &destinations.github, issue, since).await,
            Plan::Post(post) => {
                let search = slack::Search { channel: &post.channel, thread: None, since, key };
                slack::find(http, &destinations.slack, search).await
            }
            Plan::Reply(reply) => match self.message_place(&reply.incident_id).await? {
                Some((channel, ts)) => {
                    let search = slack::Search { channel: &channel, thread: Some(&ts), since, key };
                    slack::find(http, &destinations.slack, search).await
                }
                None => Look::Absent,
            },
            Plan::Respond(_) => Look::CannotTell("Slack cannot tell whether an answer to a click arrived".to_owned()),
            Plan::Kill(_) | Plan::Record | Plan::Update(_) => Look::Absent,
        })
    }

    async fn request_kill(&self, action: &Action, kill: &KillLoop, now: DateTime<Utc>) -> Result<Sent, GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let requested_by = match &action.approval_id {
            Some(id) => store.approvals.get(scope, id).await?.and_then(|approval| approval.resolved_by),
            None => None,
        };
        let new = NewKill {
            id: kill.trace_id.clone(),
            incident_id: action.incident_id.clone(),
            action_id: Some(action.id.clone()),
            requested_by: requested_by.unwrap_or_else(|| "policy".to_owned()),
        };
        let record = match store.kills.request(scope, new, now).await {
            Ok(record) => record,
            Err(StoreError::Invalid { reason, .. }) => {
                return Ok(Sent::Never(format!("the trace id is none: {reason}")));
            }
            Err(error) => return Err(error.into()),
        };
        let result = json!({"trace_id": kill.trace_id, "state": record.state});
        if record.action_id.as_ref() == Some(&action.id) && record.state == KillState::Requested {
            return Ok(Sent::Requested(result));
        }
        // It has stopped already, or an earlier action asked the same run: there is nothing to wait for.
        Ok(Sent::Done(json!({"trace_id": kill.trace_id, "state": record.state, "asked_by_action": record.action_id})))
    }

    async fn update_message(&self, id: &IncidentId) -> Result<Sent, GovernError> {
        let (Some((channel, ts)), Some(content)) = (self.message_place(id).await?, self.render(id).await?) else {
            return Ok(gone());
        };
        let place = slack::Place { channel: &channel, ts: &ts };
        Ok(slack::update(&self.http, &self.parts.destinations.slack, place, &content).await)
    }

    async fn respond(&self, respond: &Respond) -> Result<Sent, GovernError> {
        // Checked when it came in, and again: settings and rows may have changed since.
        if !self.parts.destinations.accepts_response_url(&respond.response_url) {
            return Ok(Sent::Never("the response address is not Slack's".to_owned()));
        }
        let (body, may_repeat) = match &respond.response {
            Response::Replace { incident_id } => {
                let Some(content) = self.render(incident_id).await? else { return Ok(gone()) };
                (json!({"replace_original": true, "text": content.text, "blocks": content.blocks}), true)
            }
            Response::Ephemeral { text } => {
                (json!({"response_type": "ephemeral", "replace_original": false, "text": text}), false)
            }
        };
        Ok(slack::respond(&self.http, &respond.response_url, &body, may_repeat).await)
    }

    /// Where an incident's message is.
    async fn message_place(&self, id: &IncidentId) -> Result<Option<(String, String)>, GovernError> {
        let incident = self.parts.store.incidents.get(&self.parts.scope, id).await?;
        Ok(incident.and_then(|incident| incident.slack_channel.zip(incident.slack_ts)))
    }

    /// The incident's message, as things stand.
    async fn render(&self, id: &IncidentId) -> Result<Option<Content>, GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let Some(incident) = store.incidents.get(scope, id).await? else { return Ok(None) };
        let approvals = self.approvals(id).await?;
        let filter = ActionFilter {
            kind: Some(ActionKind::Remediation),
            incident_id: Some(id.clone()),
            ..ActionFilter::default()
        };
        let actions = store.actions.list(scope, &filter, &PageRequest::first(10)).await?.items;
        let base = self.parts.settings.get().governance.public_base();
        let links = Links {
            page: base.map(|base| super::incident_page(&base, id)),
            commit: incident.culprit_sha.as_deref().and_then(|sha| self.parts.destinations.commit_page(sha)),
        };
        let view = IncidentView { incident: &incident, approvals: &approvals, actions: &actions, links: &links };
        Ok(Some(incident_message(&view)))
    }

    async fn approvals(&self, id: &IncidentId) -> Result<Vec<Approval>, StoreError> {
        let filter = ApprovalFilter { incident_id: Some(id.clone()), ..ApprovalFilter::default() };
        Ok(self.parts.store.approvals.list(&self.parts.scope, &filter, &PageRequest::first(10)).await?.items)
    }

    /// Turns a verdict into a transition, and tells of it.
    async fn write_down(
        &self,
        leased: &LeasedAction,
        verdict: Verdict,
        now: DateTime<Utc>,
    ) -> Result<Ended, GovernError> {
        let (actions, scope, lease) = (&self.parts.store.actions, &self.parts.scope, &leased.lease);
        let action = &leased.action;
        let pause = |after| schedule::pause(lease.attempt, after, self.parts.options.seed, lease.action_id.as_str());
        let written = match verdict {
            Verdict::Done(result) => {
                self.keep_result(action, &result, now).await?;
                actions.complete(scope, lease, result, now).await.map(|action| (Ended::Done, action))
            }
            Verdict::Requested(result) => {
                actions.mark_requested(scope, lease, result, now).await.map(|action| (Ended::Requested, action))
            }
            Verdict::Retry { why, retry_after } => {
                let at = now + TimeDelta::from_std(pause(retry_after)).unwrap_or(TimeDelta::hours(1));
                actions.retry_later(scope, lease, &why, at, now).await.map(|retry| match retry {
                    Retry::Scheduled(action) => (Ended::Retried, action),
                    Retry::Exhausted(action) => (Ended::Failed, action),
                })
            }
            Verdict::Fail(why) => actions.fail(scope, lease, &why, now).await.map(|action| (Ended::Failed, action)),
            Verdict::Leave(why) if lease.attempt < action.max_attempts => {
                tracing::warn!(action = %lease.action_id, %why, "it may have happened; it is looked for later");
                let until_look = pause(None).max(self.parts.options.lease);
                actions.renew(scope, lease, until_look, now).await.map(|()| (Ended::Left, action.clone()))
            }
            Verdict::Leave(why) | Verdict::Unknown(why) => {
                actions.mark_unknown(scope, lease, &why, now).await.map(|action| (Ended::Unknown, action))
            }
        };
        match written {
            Ok((ended, action)) => {
                self.tell(ended, &action, now).await?;
                Ok(ended)
            }
            // Only after a stall longer than the lease. Whoever has it now looks before sending.
            Err(StoreError::LeaseLost { .. }) => {
                tracing::warn!(action = %lease.action_id, "the lease ran out during the attempt");
                Ok(Ended::Left)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps where the message or the issue is, before the action is done: what waits for it needs that.
    async fn keep_result(&self, action: &Action, result: &Value, now: DateTime<Utc>) -> Result<(), GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let Some(id) = &action.incident_id else { return Ok(()) };
        let text = |name: &str| result.get(name).and_then(Value::as_str);
        match action.action_type.parse() {
            Ok(ActionType::SlackPostMessage) => {
                if let (Some(channel), Some(ts)) = (text("channel"), text("ts")) {
                    store.incidents.set_message(scope, id, channel, ts, now).await?;
                    for approval in self.approvals(id).await? {
                        store.approvals.set_message(scope, &approval.id, channel, ts).await?;
                    }
                }
            }
            Ok(ActionType::Remediate(Remediation::OpenGithubIssue)) => {
                if let Some(url) = text("url") {
                    store.incidents.set_github_issue(scope, id, url, now).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn tell(&self, ended: Ended, action: &Action, now: DateTime<Utc>) -> Result<(), GovernError> {
        let (notices, scope) = (&self.parts.notices, &self.parts.scope);
        match action.kind {
            ActionKind::Remediation => notices.action_ended(scope, action, now).await,
            ActionKind::Notification => {
                let is_response = action.action_type == ActionType::SlackRespond.as_str();
                match &action.incident_id {
                    // The response address did not work: the message is updated the other way.
                    Some(incident_id) if is_response && ended == Ended::Failed => {
                        notices.update(scope, incident_id, &format!("instead-of:{}", action.id), now).await
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// The incident, or its message, is not there (any more).
fn gone() -> Sent {
    Sent::Never("the incident's message is not known".to_owned())
}
