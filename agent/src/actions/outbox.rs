//! The worker of the outbox: leases what is due, does it, and writes down what came of it.
//!
//! Owns the reading of outcomes into transitions, what is told of them, and the worker's life. Does not own which actions are
//! done side by side ([`super::lanes`]), an attempt ([`super::perform`]), the transitions themselves (store), or texts.
//!
//! Must hold
//! - a lease outlives every attempt made under it, so nobody else takes an action that is being sent;
//! - what is done about one message or comment is done one after the other, in order, so that it never goes back to an older
//!   state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use tripline_engine::SharedClock;
use tripline_store::{
    Action, ActionKind, AppliedVia, IncidentStatus, LeaseRequest, LeaseTypes, LeasedAction, NewFix, Retry, Scope,
    Store, StoreError,
};

use super::destinations::Destinations;
use super::http::Http;
use super::kinds::{ActionType, PublishPrompt, Remediation, read};
use super::lanes::{LANES, Lane};
use super::notices::Notices;
use super::perform::Verdict;
use super::{repair, schedule};
use crate::govern::GovernError;

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

/// The worker. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) parts: OutboxParts,
    pub(super) http: Http,
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
        while let Some(leased) = self.inner.lease(LeaseTypes::Any, now).await? {
            let counter = match self.inner.carry_out(leased, now).await? {
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

    /// The Langfuse prompt that is in use: labelled `production`, else the newest version.
    ///
    /// # Errors
    /// [`NoPrompt`](super::NoPrompt).
    pub async fn prompt(&self, name: &str) -> Result<super::PromptVersion, super::NoPrompt> {
        super::langfuse::read_prompt(&self.inner.http, &self.inner.parts.destinations.langfuse, name).await
    }

    /// One trace of Langfuse, whole, with its observations; `None` when there is none.
    ///
    /// # Errors
    /// In a phrase, without an address, when Langfuse does not answer or refuses.
    pub async fn trace(&self, id: &str) -> Result<Option<Value>, String> {
        super::langfuse::read_trace(&self.inner.http, &self.inner.parts.destinations.langfuse, id).await
    }

    /// Puts in the outbox what a crash left untold.
    ///
    /// # Errors
    /// Of the store.
    pub async fn repair(&self, now: DateTime<Utc>) -> Result<(), GovernError> {
        let parts = &self.inner.parts;
        repair::run(&parts.store, &parts.notices, &parts.scope, now).await
    }

    /// Works until told to stop: every lane beside the others, so that a destination which hangs or is down holds up nobody
    /// else. What is under way at the end is finished; the attempt's deadline bounds that.
    pub async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.repair(self.inner.parts.clock.now()).await {
            tracing::warn!(%error, "what a crash left untold could not be caught up on");
        }
        join_all(LANES.iter().map(|lane| self.inner.work(lane, &stop))).await;
    }
}

impl Inner {
    async fn work(&self, lane: &Lane, stop: &CancellationToken) {
        let mut woken = self.parts.notices.waker().subscribe();
        let mut under_way = FuturesUnordered::new();
        loop {
            let is_stopping = stop.is_cancelled();
            while !is_stopping && under_way.len() < lane.at_once {
                let now = self.parts.clock.now();
                match self.lease(lane.lease_types(), now).await {
                    Ok(Some(leased)) => under_way.push(self.carry_out(leased, now)),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::error!(%error, lane = lane.name, "the outbox could not be read");
                        break;
                    }
                }
            }
            if is_stopping && under_way.is_empty() {
                return;
            }
            let takes_more = !is_stopping && under_way.len() < lane.at_once;
            tokio::select! {
                () = stop.cancelled(), if !is_stopping => {}
                Some(ended) = under_way.next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, lane = lane.name, "an action of the outbox could not be worked on");
                    }
                }
                _ = woken.changed(), if takes_more => {}
                () = tokio::time::sleep(self.parts.options.poll), if takes_more => {}
            }
        }
    }

    /// Takes the next due action, if there is one.
    async fn lease(&self, types: LeaseTypes, now: DateTime<Utc>) -> Result<Option<LeasedAction>, GovernError> {
        let options = &self.parts.options;
        let request = LeaseRequest {
            holder: options.holder.clone(),
            lease_for: options.lease,
            kinds: Vec::new(),
            types,
            in_order: true,
        };
        Ok(self.parts.store.actions.lease_next(&self.parts.scope, request, now).await?)
    }

    /// Does an action.
    async fn carry_out(&self, leased: LeasedAction, now: DateTime<Utc>) -> Result<Ended, GovernError> {
        let options = &self.parts.options;
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
        Ok(ended)
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
                let result = self.keep_result(action, result, now).await?;
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

    /// Keeps where the message or the issue is, or which fix it became, before the action is done: what waits for it needs that.
    async fn keep_result(&self, action: &Action, mut result: Value, now: DateTime<Utc>) -> Result<Value, GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let Some(id) = &action.incident_id else { return Ok(result) };
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
                    let incident = store.incidents.set_github_issue(scope, id, url, now).await?;
                    // Approved after the incident had ended: there is nothing left to leave the issue open for.
                    if incident.status == IncidentStatus::Resolved && self.parts.settings.get().governance.close_issues
                    {
                        let newest = self.parts.notices.newest_finding(scope, id).await?;
                        let comment = crate::messages::Ended::of(&incident, newest.as_ref(), now).markdown();
                        self.parts.notices.issue_state(scope, &incident, false, &comment, now).await?;
                    }
                }
            }
            Ok(ActionType::PublishPrompt) => {
                if let Some(fix_id) = self.keep_fix(action, &result, now).await? {
                    result["fix_id"] = fix_id.into();
                }
            }
            _ => {}
        }
        Ok(result)
    }

    /// Keeps a published fix, once per version; its number. `None` when its signal is not there any more.
    async fn keep_fix(&self, action: &Action, result: &Value, now: DateTime<Utc>) -> Result<Option<i64>, GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let Ok(fix) = read::<PublishPrompt>(&action.payload) else { return Ok(None) };
        let by = match &action.approval_id {
            Some(id) => store.approvals.get(scope, id).await?.and_then(|approval| approval.resolved_by),
            None => None,
        };
        let new = NewFix {
            signal_id: fix.signal_id,
            applied_via: AppliedVia::Langfuse,
            prompt_name: Some(fix.name),
            prompt_version: result.get("version").and_then(Value::as_i64),
            fix_content: fix.fix_content,
            applied_by: by.unwrap_or_else(|| "somebody".to_owned()),
        };
        match store.reports.record_fix(scope, new, now).await {
            Ok(fix_id) => Ok(Some(fix_id)),
            Err(StoreError::NotFound { .. }) => {
                tracing::warn!(action = %action.id, "a fix was published for a signal that is not there any more");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
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
