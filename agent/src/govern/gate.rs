//! The gate between detection and effects: an incident comes in, an approval, an action or a record comes out.
//!
//! Owns how policy's verdict is carried out, the limit on acting without asking, and which messages follow. Does not
//! own the verdict ([`super::policy`]), decisions ([`super::Desk`]) or effects.
//!
//! Must hold
//! - one approval per opening of an incident: what was decided once is not asked again until the incident was resolved
//!   and came back, and a person's "no" is not overruled by policy;
//! - above the hourly limit policy asks instead of acting;
//! - every call may be repeated.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_engine::SharedClock;
use tripline_store::{
    ActionKind, Approval, ApprovalFilter, ApprovalStatus, AuditFilter, Evidence, ExactJson, Incident, Kill, NewAction,
    NewAnomaly, NewApproval, NewAuditEntry, PageRequest, Scope, Store, Via, evidence_digest,
};

use super::desk::Desk;
use super::policy::{self, PolicyDecision, Verdict};
use super::refusals::RefusalLog;
use super::{GovernError, Governor};
use crate::actions::{self, Destinations, KillLoop, Notices, OpenIssue, RecordOnly, Remediation, RequestChanges};
use crate::loops::Reach;
use crate::messages::text::{cut, one_line};
use crate::messages::{Ended, Links, Note, incident_issue};
use crate::settings::SettingsHandle;

/// How often a remediation is tried before it is given up: over some forty minutes.
const MAX_ATTEMPTS: u32 = 10;
const SUMMARY: usize = 500;
/// What the audit log calls it when policy would have acted once too often.
const LIMIT_REACHED: &str = "policy.limit_reached";
/// Labels of the issues that are opened.
const LABELS: [&str; 2] = ["incident", "tripline"];

/// What the gate is made of.
pub struct GateParts {
    /// Where approvals and actions are.
    pub store: Store,
    /// The product's clock.
    pub clock: SharedClock,
    /// Policy.
    pub settings: SettingsHandle,
    /// Where issues go.
    pub destinations: Arc<Destinations>,
    /// Decides, for policy too.
    pub desk: Desk,
    /// Tells.
    pub notices: Notices,
    /// Flushed now and then.
    pub refusals: Arc<RefusalLog>,
}

/// The gate.
pub struct Gate {
    parts: GateParts,
    /// Held while the limit on acting is looked at and used.
    acting: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// An opening of an incident: it is asked about once.
struct Opening<'a> {
    incident: &'a Incident,
    finding: &'a NewAnomaly,
    evidence: &'a [Evidence],
}

impl Opening<'_> {
    /// The incident, as the audit log names it.
    fn subject(&self) -> (&str, &str) {
        ("incident", self.incident.id.as_str())
    }

    /// Names one remediation of this opening.
    fn key(&self, action: Remediation) -> String {
        format!("incident:{}:{action}:{}", self.incident.id, self.incident.reopened_count)
    }

    /// Whether an approval is about this opening.
    fn covers(&self, approval: &Approval) -> bool {
        let value = approval.request.payload.value().unwrap_or(Value::Null);
        let suffix = format!(":{}", self.incident.reopened_count);
        value.get("key").and_then(Value::as_str).is_some_and(|key| key.ends_with(&suffix))
    }
}

impl Gate {
    /// A gate.
    #[must_use]
    pub fn new(parts: GateParts) -> Self {
        Self { parts, acting: tokio::sync::Mutex::new(()) }
    }

    /// Tells that an agent said it stopped.
    ///
    /// # Errors
    /// Of the store.
    pub async fn kill_acknowledged(&self, scope: &Scope, kill: &Kill) -> Result<(), GovernError> {
        let Some(id) = &kill.action_id else { return Ok(()) };
        let Some(action) = self.parts.store.actions.get(scope, id).await? else { return Ok(()) };
        self.parts.notices.action_ended(scope, &action, self.parts.clock.now()).await
    }

    /// Carries policy's verdict out. Returns whether somebody is asked or something was done.
    async fn route(&self, scope: &Scope, opening: &Opening<'_>, now: DateTime<Utc>) -> Result<bool, GovernError> {
        let settings = self.parts.settings.get();
        let verdict = policy::decide(&settings.governance.policy, opening.incident.severity, opening.finding);
        if verdict.action == Remediation::OpenGithubIssue && opening.incident.github_issue_url.is_some() {
            // It has its issue: that one is opened again instead of asking for another.
            return self.reopen_issue(scope, opening, now).await;
        }
        if verdict.decision == PolicyDecision::Record {
            self.record(scope, opening, &verdict, now).await?;
            return Ok(false);
        }
        let Some(approval) = self.approval(scope, opening, &verdict, now).await? else { return Ok(false) };
        if verdict.decision == PolicyDecision::Act && approval.status == ApprovalStatus::Pending {
            self.act(scope, &approval, now).await?;
        }
        Ok(true)
    }

    /// Opens the incident's issue again, if it came back after it was closed. Returns whether something was done.
    async fn reopen_issue(
        &self,
        scope: &Scope,
        opening: &Opening<'_>,
        now: DateTime<Utc>,
    ) -> Result<bool, GovernError> {
        let incident = opening.incident;
        if incident.reopened_count == 0 || !self.parts.settings.get().governance.close_issues {
            return Ok(false);
        }
        let comment = "This came back: the incident is open again.";
        self.parts.notices.issue_state(scope, incident, true, comment, now).await
    }

    async fn record(
        &self,
        scope: &Scope,
        opening: &Opening<'_>,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let key = opening.key(Remediation::Record);
        let new = NewAction {
            kind: ActionKind::Remediation,
            action_type: Remediation::Record.as_str().to_owned(),
            target: None,
            incident_id: Some(opening.incident.id.clone()),
            approval_id: None,
            payload: actions::exact(&RecordOnly { key: key.clone() })?,
            idempotency_key: key,
            max_attempts: MAX_ATTEMPTS,
            not_before: None,
            depends_on: None,
        };
        if self.parts.store.actions.enqueue(scope, new, now).await?.created {
            self.put_on_record(scope, opening.subject(), "policy.decided", &verdict_detail(verdict), now).await?;
            self.parts.notices.waker().wake();
        }
        Ok(())
    }

    /// The approval of this opening: the one there is, or a new one. `None` when this opening was asked about another
    /// action before, or was decided.
    async fn approval(
        &self,
        scope: &Scope,
        opening: &Opening<'_>,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<Option<Approval>, GovernError> {
        let store = &self.parts.store;
        let filter = ApprovalFilter { incident_id: Some(opening.incident.id.clone()), ..Default::default() };
        let known = store.approvals.list(scope, &filter, &PageRequest::first(100)).await?;
        if let Some(approval) = known.items.into_iter().find(|approval| opening.covers(approval)) {
            let same = approval.request.action_type == verdict.action.as_str();
            let alive = approval.status == ApprovalStatus::Pending && approval.request.expires_at > now;
            return Ok((same && alive).then_some(approval));
        }
        let requested = store.approvals.request(scope, self.new_approval(opening, verdict, now)?, now).await?;
        if requested.created {
            self.put_on_record(scope, opening.subject(), "policy.decided", &verdict_detail(verdict), now).await?;
        }
        Ok(Some(requested.approval))
    }

    fn new_approval(
        &self,
        opening: &Opening<'_>,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<NewApproval, GovernError> {
        let incident = opening.incident;
        let key = opening.key(verdict.action);
        let (payload, target, summary) = match verdict.action {
            Remediation::OpenGithubIssue => {
                let issue = self.issue(opening, key);
                let payload = actions::exact(&issue)?;
                let nowhere = match &issue.repository {
                    Some(_) => "",
                    None => " No repository is configured, so this would fail.",
                };
                let summary = format!("Opens the issue “{}”.{nowhere}", issue.title);
                (payload, issue.repository, summary)
            }
            Remediation::KillLoop => {
                // Policy matches a kill only where there is a trace.
                let trace_id = policy::attributed_trace(opening.finding).unwrap_or_default().to_owned();
                let reach = Reach::of(&opening.finding.evidence);
                let summary = reach.request(&trace_id);
                let runs = reach.runs().to_vec();
                let payload = actions::exact(&KillLoop { key, trace_id: trace_id.clone(), runs })?;
                (payload, Some(trace_id), summary)
            }
            Remediation::RequestChanges => {
                // Policy matches a review only where there is a pull request.
                let (repository, number, body) = policy::pull_request(opening.finding).unwrap_or_default();
                let head = opening.finding.evidence.get("head_sha").and_then(Value::as_str);
                let review = RequestChanges {
                    body: format!("{body}\n\n{}\n", actions::marker(&key)),
                    key,
                    repository: repository.to_owned(),
                    number,
                    commit_id: head.map(str::to_owned),
                };
                let target = format!("{repository}#{number}");
                let summary = format!("Requests changes on pull request {target}.");
                (actions::exact(&review)?, Some(target), summary)
            }
            Remediation::Record => (actions::exact(&RecordOnly { key })?, None, "Records that it was seen.".to_owned()),
        };
        let settings = self.parts.settings.get();
        let seconds = i64::from(settings.governance.approval_expires_after_seconds);
        let digest = incident.evidence_sha256.clone();
        Ok(NewApproval {
            incident_id: incident.id.clone(),
            incident_type: incident.kind.clone(),
            severity: incident.severity,
            action_type: verdict.action.as_str().to_owned(),
            target,
            payload,
            evidence_sha256: Some(digest.unwrap_or_else(|| evidence_digest(opening.evidence))),
            summary: cut(&format!("{summary} {}", one_line(&incident.description)), SUMMARY),
            expires_at: now + TimeDelta::seconds(seconds),
            max_attempts: MAX_ATTEMPTS,
        })
    }

    fn issue(&self, opening: &Opening<'_>, key: String) -> OpenIssue {
        let destinations = &self.parts.destinations;
        let base = self.parts.settings.get().governance.public_base();
        let incident = opening.incident;
        let links = Links {
            page: base.map(|base| actions::incident_page(&base, &incident.id)),
            commit: incident.culprit_sha.as_deref().and_then(|sha| destinations.commit_page(sha)),
        };
        let issue = incident_issue(incident, opening.evidence, &links, &actions::marker(&key));
        OpenIssue {
            key,
            repository: destinations.issue_repository().map(ToString::to_string),
            title: issue.title,
            body: issue.body,
            labels: LABELS.map(str::to_owned).to_vec(),
        }
    }

    /// Approves by policy, within the limit. What the limit once turned into a question stays one: people were asked.
    async fn act(&self, scope: &Scope, approval: &Approval, now: DateTime<Utc>) -> Result<(), GovernError> {
        let _one_at_a_time = self.acting.lock().await;
        let (store, limit) = (&self.parts.store, self.parts.settings.get().governance.max_auto_actions_per_hour);
        let left_to_people = AuditFilter {
            subject_type: Some("approval".to_owned()),
            subject_id: Some(approval.id.to_string()),
            event: Some(LIMIT_REACHED.to_owned()),
            before_seq: None,
        };
        if !store.audit.list(scope, &left_to_people, 1).await?.is_empty() {
            return Ok(());
        }
        let filter = ApprovalFilter {
            resolved_via: Some(Via::Policy),
            // An approval may be acted upon until it expires, so also older ones count.
            since: Some(now - TimeDelta::days(8)),
            ..Default::default()
        };
        let acted = store.approvals.list(scope, &filter, &PageRequest::first(1_000)).await?;
        let lately = |approval: &&Approval| approval.resolved_at.is_some_and(|at| at > now - TimeDelta::hours(1));
        let used = acted.items.iter().filter(lately).count();
        if used >= usize::try_from(limit).unwrap_or(usize::MAX) {
            tracing::warn!(approval = %approval.id, limit, "policy has acted often enough within the hour; it asks");
            let subject = ("approval", approval.id.as_str());
            let detail = json!({"limit_per_hour": limit, "acted_within_the_hour": used});
            return self.put_on_record(scope, subject, LIMIT_REACHED, &detail, now).await;
        }
        self.parts.desk.act(scope, &approval.id, &approval.payload_sha256, now).await?;
        Ok(())
    }

    /// Posts the incident's message if it is worth one, or brings it up to date.
    async fn show(
        &self,
        scope: &Scope,
        incident: &Incident,
        asks: bool,
        cause: &str,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let (settings, notices) = (self.parts.settings.get(), &self.parts.notices);
        if notices.has_message(scope, &incident.id).await? {
            return notices.update(scope, &incident.id, cause, now).await;
        }
        if asks || incident.severity >= settings.governance.min_slack_severity {
            return notices.post(scope, incident, &settings.governance.slack_channel, now).await;
        }
        Ok(())
    }

    async fn put_on_record(
        &self,
        scope: &Scope,
        subject: (&str, &str),
        event: &str,
        detail: &Value,
        now: DateTime<Utc>,
    ) -> Result<(), GovernError> {
        let entry = NewAuditEntry {
            actor: "policy".to_owned(),
            event: event.to_owned(),
            subject_type: subject.0.to_owned(),
            subject_id: subject.1.to_owned(),
            detail: ExactJson::new(detail),
        };
        self.parts.store.audit.append(scope, entry, now).await?;
        Ok(())
    }
}

fn verdict_detail(verdict: &Verdict) -> Value {
    json!({"decision": verdict.decision, "action": verdict.action, "rule": verdict.rule})
}

#[async_trait]
impl Governor for Gate {
    async fn incident_opened(
        &self,
        scope: &Scope,
        incident: &Incident,
        anomaly: &NewAnomaly,
        evidence: &[Evidence],
    ) -> Result<(), GovernError> {
        let now = self.parts.clock.now();
        let asks = self.route(scope, &Opening { incident, finding: anomaly, evidence }, now).await?;
        let again = format!("reopened:{}", incident.reopened_count);
        if incident.reopened_count > 0 {
            self.parts.notices.reply(scope, &incident.id, &again, &Note::Reopened, now).await?;
        }
        self.show(scope, incident, asks, &again, now).await
    }

    async fn incident_updated(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError> {
        let now = self.parts.clock.now();
        let newest = self.parts.notices.newest_finding(scope, &incident.id).await?;
        let asks = match newest {
            Some(finding) => {
                let evidence = self.parts.store.evidence.list(scope, &incident.id).await?;
                self.route(scope, &Opening { incident, finding: &finding, evidence: &evidence }, now).await?
            }
            None => false,
        };
        let cause = format!("state:{}", incident.updated_at.timestamp_micros());
        self.show(scope, incident, asks, &cause, now).await
    }

    async fn incident_resolved(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError> {
        let (notices, now) = (&self.parts.notices, self.parts.clock.now());
        let cause = format!("resolved:{}", incident.reopened_count);
        let newest = notices.newest_finding(scope, &incident.id).await?;
        let ended = Ended::of(incident, newest.as_ref(), now);
        notices.reply(scope, &incident.id, &cause, &Note::Resolved(ended), now).await?;
        if self.parts.settings.get().governance.close_issues
            && notices.issue_state(scope, incident, false, &ended.markdown(), now).await?
        {
            let subject = ("incident", incident.id.as_str());
            self.put_on_record(scope, subject, "policy.issue_closed", &json!({"rule": "governance.close_issues"}), now)
                .await?;
        }
        notices.update(scope, &incident.id, &cause, now).await
    }

    async fn expire_due(&self, scope: &Scope) -> Result<usize, GovernError> {
        let (parts, now) = (&self.parts, self.parts.clock.now());
        let expired = parts.store.approvals.expire_due(scope, now).await?;
        for approval in &expired {
            parts.notices.decided(scope, approval, None, now).await?;
        }
        actions::repair(&parts.store, &parts.notices, scope, now).await?;
        parts.refusals.flush("slack.actions", now).await?;
        Ok(expired.len())
    }
}

#[cfg(test)]
mod tests;
