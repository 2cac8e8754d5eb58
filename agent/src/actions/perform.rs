//! One attempt at one action: look where it must be looked, send where it may be sent.
//!
//! Owns reading a row as what its type says, which vendor is asked what, and what an outcome means for the next step.
//! Does not own leases and transitions ([`super::outbox`]) nor a vendor's requests.
//!
//! Must hold: what was interrupted, or ended without a plain answer, is looked for before it is sent again. Where nobody can look, a
//! remediation is not sent again; what only tells people something is, a few times: twice told is better than not at all.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_store::{
    Action, ActionFilter, ActionKind, Approval, ApprovalFilter, IncidentId, Kill, KillState, KillTarget, LeasedAction,
    NewKill, PageRequest, StoreError,
};

use super::kinds::{
    ActionType, CheckRun, KillLoop, OpenIssue, PostDigest, PostMessage, PublishPrompt, PullComment, RecordOnly,
    Remediation, RequestChanges, Respond, Response, SetIssueState, SignalWebhook, ThreadReply, UpdateMessage, read,
};
use super::outbox::Inner;
use super::outcome::{Look, Sent};
use super::{github, issue_state, langfuse, pull_request, slack, webhook};
use crate::govern::GovernError;
use crate::messages::{Content, IncidentView, Links, incident_message};
use crate::people::People;

/// What an attempt came to.
pub(super) enum Verdict {
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
    Webhook(SignalWebhook),
    Digest(PostDigest),
    IssueState(SetIssueState),
    Review(RequestChanges),
    Comment(PullComment),
    Check(CheckRun),
    Prompt(PublishPrompt),
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
            ActionType::Remediate(Remediation::RequestChanges) => Self::Review(read(payload)?),
            ActionType::SlackPostMessage => Self::Post(read(payload)?),
            ActionType::SlackUpdateMessage => Self::Update(read(payload)?),
            ActionType::SlackThreadReply => Self::Reply(read(payload)?),
            ActionType::SlackRespond => Self::Respond(read(payload)?),
            ActionType::SignalWebhook => Self::Webhook(read(payload)?),
            ActionType::SlackPostDigest => Self::Digest(read(payload)?),
            ActionType::GithubIssueState => Self::IssueState(read(payload)?),
            ActionType::GithubPullComment => Self::Comment(read(payload)?),
            ActionType::GithubCheckRun => Self::Check(read(payload)?),
            ActionType::PublishPrompt => Self::Prompt(read(payload)?),
        })
    }

    /// Whether it only tells people something.
    fn tells(&self) -> bool {
        matches!(self, Self::Post(_) | Self::Reply(_) | Self::Digest(_))
    }

    /// Whether doing it twice would be noticed outside.
    fn must_not_repeat(&self) -> bool {
        match self {
            Self::Issue(_)
            | Self::Post(_)
            | Self::Reply(_)
            | Self::Digest(_)
            | Self::IssueState(_)
            | Self::Review(_)
            | Self::Prompt(_) => true,
            Self::Respond(respond) => matches!(respond.response, Response::Ephemeral { .. }),
            // A receiver of the webhook tells repetitions by their key.
            Self::Kill(_) | Self::Record | Self::Update(_) | Self::Webhook(_) | Self::Comment(_) | Self::Check(_) => {
                false
            }
        }
    }
}

/// Attempts at telling something that may have been told each time, where that cannot be found out. Where Slack answered that it
/// failed, all attempts there are.
const BLIND_ATTEMPTS: i64 = 3;

impl Inner {
    /// Looks where it must, sends where it may.
    pub(super) async fn attempt(&self, leased: &LeasedAction, now: DateTime<Utc>) -> Result<Verdict, GovernError> {
        let action = &leased.action;
        let plan = match Plan::read(action) {
            Ok(plan) => plan,
            Err(why) => return Ok(Verdict::Fail(why)),
        };
        let guarded = plan.must_not_repeat();
        let may_tell_again = |most| plan.tells() && leased.lease.attempt < most;
        if leased.resumed && guarded {
            match self.look(action, &plan).await? {
                Look::Found(result) => return Ok(Verdict::Done(result)),
                Look::Absent if leased.lease.attempt > action.max_attempts => {
                    return Ok(Verdict::Fail("given up: it did not happen in any attempt".to_owned()));
                }
                Look::Absent => {}
                Look::NotNow(why) => return Ok(Verdict::Leave(why)),
                Look::CannotTell(_) if may_tell_again(BLIND_ATTEMPTS + 1) => {}
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
            // Slack said that it failed, and fails still: nobody waits for a lease to run out over a message.
            Look::NotNow(look) if !in_flight && may_tell_again(action.max_attempts) => {
                Verdict::Retry { why: format!("{why}; {look}"), retry_after: None }
            }
            Look::NotNow(look) => Verdict::Leave(format!("{why}; {look}")),
            Look::CannotTell(look) if may_tell_again(if in_flight { BLIND_ATTEMPTS } else { action.max_attempts }) => {
                Verdict::Retry { why: format!("{why}; {look}; it is told again"), retry_after: None }
            }
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
                    // A click on it came before its posting was known.
                    if let Some((channel, ts)) = self.message_place(&post.incident_id).await? {
                        return Ok(Sent::Done(json!({"channel": channel, "ts": ts, "found": true})));
                    }
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
            Plan::Webhook(signal) => webhook::send(http, &destinations.webhook, signal, &action.idempotency_key).await,
            Plan::Digest(post) => {
                let content = Content { text: post.text.clone(), blocks: Some(post.blocks.clone()) };
                slack::post(http, &destinations.slack, &post.channel, None, &content, &action.idempotency_key).await
            }
            Plan::IssueState(change) => match self.issue_number(change).await? {
                Some(number) => issue_state::set(http, &destinations.github, change, number).await,
                None => Sent::Never("the issue's number is not known".to_owned()),
            },
            Plan::Review(review) => pull_request::request_changes(http, &destinations.github, review).await,
            Plan::Comment(comment) => pull_request::comment(http, &destinations.github, comment).await,
            Plan::Check(check) => pull_request::check(http, &destinations.github, check).await,
            Plan::Prompt(fix) => langfuse::publish(http, &destinations.langfuse, fix).await,
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
            Plan::Digest(post) => {
                let search = slack::Search { channel: &post.channel, thread: None, since, key };
                slack::find(http, &destinations.slack, search).await
            }
            Plan::IssueState(change) => match self.issue_number(change).await? {
                Some(number) => issue_state::find(http, &destinations.github, change, number).await,
                None => Look::Absent,
            },
            Plan::Respond(_) => Look::CannotTell("Slack cannot tell whether an answer to a click arrived".to_owned()),
            Plan::Review(review) => pull_request::find_review(http, &destinations.github, review).await,
            Plan::Prompt(fix) => langfuse::find(http, &destinations.langfuse, fix).await,
            Plan::Kill(_) | Plan::Record | Plan::Update(_) | Plan::Webhook(_) | Plan::Comment(_) | Plan::Check(_) => {
                Look::Absent
            }
        })
    }

    async fn request_kill(&self, action: &Action, kill: &KillLoop, now: DateTime<Utc>) -> Result<Sent, GovernError> {
        let (store, scope) = (&self.parts.store, &self.parts.scope);
        let requested_by = match &action.approval_id {
            Some(id) => store.approvals.get(scope, id).await?.and_then(|approval| approval.resolved_by),
            None => None,
        };
        let requested_by = requested_by.unwrap_or_else(|| "policy".to_owned());
        // Runs ask by their own ids; whoever asks by that of the trace is told too, and so is a run that it starts later.
        let ids: BTreeSet<&str> = kill.runs.iter().chain([&kill.trace_id]).map(|id| id.trim()).collect();
        let mut records = Vec::new();
        for id in ids {
            let new = NewKill {
                id: id.to_owned(),
                incident_id: action.incident_id.clone(),
                action_id: Some(action.id.clone()),
                requested_by: requested_by.clone(),
            };
            match store.kills.request(scope, new, now).await {
                Ok(record) => records.push(record),
                Err(StoreError::Invalid { reason, .. }) => {
                    return Ok(Sent::Never(format!("the trace id is none: {reason}")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let runs: Vec<String> =
            kill.runs.iter().filter_map(|run| Some(KillTarget::new(run).ok()?.as_str().to_owned())).collect();
        let is_waited_for =
            |record: &&Kill| record.state == KillState::Requested && (runs.is_empty() || runs.contains(&record.target));
        let open: Vec<&Kill> = records.iter().filter(is_waited_for).collect();
        let state = if open.is_empty() { KillState::Stopped } else { KillState::Requested };
        let mut result = json!({"trace_id": kill.trace_id, "state": state, "runs": kill.runs});
        if open.iter().any(|record| record.action_id.as_ref() == Some(&action.id)) {
            return Ok(Sent::Requested(result));
        }
        // They have stopped already, or an earlier action asked the same runs: there is nothing to wait for.
        let asked_by = records.iter().filter_map(|record| record.action_id.as_ref()).find(|id| **id != action.id);
        if let Some(fields) = result.as_object_mut() {
            fields.insert("asked_by_action".to_owned(), json!(asked_by));
        }
        Ok(Sent::Done(result))
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

    /// The number of an issue that an earlier action opened.
    async fn issue_number(&self, change: &SetIssueState) -> Result<Option<u64>, GovernError> {
        let opened = self.parts.store.actions.get(&self.parts.scope, &change.opened_by).await?;
        Ok(opened.and_then(|action| action.result?.get("number")?.as_u64()))
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
        let evidence = store.evidence.list(scope, id).await?;
        let people = People::of(&incident, &evidence);
        let feedback = store.feedback.list(scope, id).await?;
        let view = IncidentView {
            incident: &incident,
            approvals: &approvals,
            actions: &actions,
            links: &links,
            people: &people,
            feedback: &feedback,
        };
        Ok(Some(incident_message(&view)))
    }

    pub(super) async fn approvals(&self, id: &IncidentId) -> Result<Vec<Approval>, StoreError> {
        let filter = ApprovalFilter { incident_id: Some(id.clone()), ..ApprovalFilter::default() };
        Ok(self.parts.store.approvals.list(&self.parts.scope, &filter, &PageRequest::first(10)).await?.items)
    }
}

/// The incident, or its message, is not there (any more).
fn gone() -> Sent {
    Sent::Never("the incident's message is not known".to_owned())
}
