//! Responding: what happens to a judged window's findings.
//!
//! Owns: the order anomaly → incident → investigation → narrative → governance ([`Responder`]), and [`Governor`], the
//! interface to governance. Does not own: how a window is judged (detect), what evidence is gathered (investigate), or
//! what may be done about an incident (govern).
//!
//! Must hold: a window with a gap is never clean; handling a judgement again (after a crash, or when a source is back) adds
//! what is missing and repeats nothing; a condition that lasts is one incident.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tripline_store::{
    AnomalyFilter, Evidence, Gap, Incident, IncidentFilter, IncidentPolicy, IncidentStatus, IncidentUpsert,
    Investigation, JudgedWindow, NewAnomaly, PageRequest, Scope, StoreError,
};

use crate::AgentContext;
use crate::detect::{Finding, Judgement};
use crate::investigate::{Findings, Investigator, NOT_CONFIGURED};
use crate::narrate::{Narrator, Story};

/// Why governance could not take an incident.
///
/// Nothing is lost by it: the window stays due and the incident is handed over again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GovernError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Policy or message could not be made from the incident.
    #[error("{message}{}", hint.as_deref().map(|h| format!(". Hint: {h}")).unwrap_or_default())]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// What governance offers to the pipeline. Every call may be repeated for the same state: it must change nothing then.
#[async_trait]
pub trait Governor: Send + Sync {
    /// After an incident was opened or reopened and investigated: decide by policy, create the approval or the action,
    /// enqueue the message.
    async fn incident_opened(
        &self,
        scope: &Scope,
        incident: &Incident,
        anomaly: &NewAnomaly,
        evidence: &[Evidence],
    ) -> Result<(), GovernError>;

    /// The condition lasts or its investigation/severity changed: the existing message is updated; no second approval.
    async fn incident_updated(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError>;

    /// The condition ended.
    async fn incident_resolved(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError>;

    /// Expires due approvals and replaces their messages; returns how many.
    async fn expire_due(&self, scope: &Scope) -> Result<usize, GovernError>;
}

/// Why a judgement could not be handled to its end. Its window stays due and it is handled again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RespondError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Governance refused.
    #[error(transparent)]
    Govern(#[from] GovernError),
    /// What was found cannot be kept.
    #[error("what was found cannot be kept: {0}")]
    Json(String),
}

/// What became of a judgement's findings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Response {
    /// Incidents opened, or opened again, by id.
    pub opened: Vec<String>,
    /// Incidents that last.
    pub updated: Vec<String>,
    /// Incidents that ended.
    pub resolved: Vec<String>,
    /// HTTP requests of investigations.
    pub requests: u64,
}

/// Handles judgements. Cheap to clone.
#[derive(Clone)]
pub struct Responder {
    ctx: AgentContext,
    investigator: Investigator,
    narrator: Arc<dyn Narrator>,
    governor: Arc<dyn Governor>,
    /// Incidents, by id, that lack a source and were investigated in vain.
    vain: Arc<Mutex<HashMap<String, Vain>>>,
}

/// Until when an incident is not investigated again, and how long a wait that is.
#[derive(Debug, Clone, Copy)]
struct Vain {
    until: DateTime<Utc>,
    wait: TimeDelta,
}

/// An incident that was investigated in vain while a source was missing waits before it is again: a source that is down for
/// a day must not have the others asked for the same hundred times.
const VAIN_FIRST: TimeDelta = TimeDelta::minutes(30);
const VAIN_MOST: TimeDelta = TimeDelta::hours(1);

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("investigator", &self.investigator).finish_non_exhaustive()
    }
}

impl Responder {
    /// Handles judgements with these.
    #[must_use]
    pub fn new(
        ctx: AgentContext,
        investigator: Investigator,
        narrator: Arc<dyn Narrator>,
        governor: Arc<dyn Governor>,
    ) -> Self {
        Self { ctx, investigator, narrator, governor, vain: Arc::default() }
    }

    /// Governance, for the jobs that are its own.
    #[must_use]
    pub fn governor(&self) -> &Arc<dyn Governor> {
        &self.governor
    }

    /// Handles a judgement.
    ///
    /// # Errors
    /// [`RespondError`]; what was done so far stays done, and handling it again goes on from there.
    pub async fn respond(&self, judgement: &Judgement) -> Result<Response, RespondError> {
        let mut response = Response::default();
        for finding in &judgement.findings {
            self.finding(finding, judgement, &mut response).await?;
        }
        self.fill_gaps(judgement, &mut response).await?;
        if judgement.is_complete() {
            let judged = JudgedWindow {
                detector: judgement.detector.clone(),
                window: judgement.window,
                fingerprints_seen: judgement.findings.iter().map(|f| f.fingerprint.clone()).collect(),
            };
            let now = self.ctx.clock.now();
            let incidents = &self.ctx.store.incidents;
            let resolved = incidents.record_clean_window(&self.ctx.scope, judged, &self.policy(), now).await?;
            for incident in resolved {
                self.governor.incident_resolved(&self.ctx.scope, &incident).await?;
                response.resolved.push(incident.id.to_string());
            }
        }
        Ok(response)
    }

    fn policy(&self) -> IncidentPolicy {
        let settings = self.ctx.settings.get();
        let days = u64::try_from(settings.incident_reopen_days).unwrap_or_default();
        IncidentPolicy {
            reopen_within: Duration::from_secs(days * 24 * 3600),
            clean_windows_to_resolve: u32::try_from(settings.incident_clean_windows).unwrap_or(3),
        }
    }

    async fn finding(
        &self,
        finding: &Finding,
        judgement: &Judgement,
        response: &mut Response,
    ) -> Result<(), RespondError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let now = self.ctx.clock.now();
        let anomaly = finding.to_anomaly(now);
        let before = store.incidents.latest_by_fingerprint(scope, &finding.fingerprint).await?;
        let upsert = store.incidents.upsert_by_fingerprint(scope, anomaly.clone(), &self.policy(), now).await?;
        let incident = upsert.incident().clone();
        let is_new = matches!(upsert, IncidentUpsert::Opened(_) | IncidentUpsert::Reopened(_));
        if incident.status == IncidentStatus::Resolved {
            // A late window of the past: counted, and of no consequence now.
            return Ok(());
        }
        // An earlier attempt may have broken off between opening and investigating.
        if is_new || incident.investigated_at.is_none() {
            let (incident, findings) = self.investigate(&incident, &anomaly, &judgement.gaps, response).await?;
            self.governor.incident_opened(scope, &incident, &anomaly, &findings.evidence).await?;
            response.opened.push(incident.id.to_string());
            return Ok(());
        }
        if matches!(upsert, IncidentUpsert::Unchanged(_)) && incident.occurrences == 1 {
            // Or between investigating and governance, for which this is no news if it knows.
            let evidence = store.evidence.list(scope, &incident.id).await?;
            self.governor.incident_opened(scope, &incident, &anomaly, &evidence).await?;
            response.opened.push(incident.id.to_string());
            return Ok(());
        }
        let worse = before.is_some_and(|before| before.severity < incident.severity);
        let incident = if worse {
            let anomaly = self.since_the_beginning(&incident, anomaly).await?;
            self.investigate(&incident, &anomaly, &judgement.gaps, response).await?.0
        } else {
            incident
        };
        self.governor.incident_updated(scope, &incident).await?;
        response.updated.push(incident.id.to_string());
        Ok(())
    }

    /// Investigates again what was investigated while a source was missing; kept if now fewer are.
    async fn fill_gaps(&self, judgement: &Judgement, response: &mut Response) -> Result<(), RespondError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let filter = IncidentFilter {
            status: Some(IncidentStatus::Open),
            detector: Some(judgement.detector.clone()),
            ..IncidentFilter::default()
        };
        let open = store.incidents.list(scope, &filter, &PageRequest::first(200)).await?;
        for incident in open.items {
            let may_return = |gap: &Gap| !gap.reason.starts_with(NOT_CONFIGURED);
            let id = incident.id.to_string();
            if !incident.gaps.iter().any(may_return) || response.opened.contains(&id) || self.waits(&id) {
                continue;
            }
            let of_incident = AnomalyFilter { incident_id: Some(incident.id.clone()), ..AnomalyFilter::default() };
            let newest = store.anomalies.list(scope, &of_incident, &PageRequest::first(1)).await?;
            let Some(newest) = newest.items.into_iter().next() else { continue };
            let anomaly = self.since_the_beginning(&incident, newest.finding).await?;
            let findings = self.investigator.investigate(&anomaly, &judgement.gaps).await;
            response.requests += findings.requests;
            if findings.gaps.len() < incident.gaps.len() {
                let incident = self.keep(&incident, &anomaly, &findings).await?;
                self.governor.incident_updated(scope, &incident).await?;
                self.vain.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if !response.updated.contains(&id) {
                    response.updated.push(id);
                }
            } else {
                self.was_vain(id);
            }
        }
        Ok(())
    }

    fn waits(&self, id: &str) -> bool {
        let vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        vain.get(id).is_some_and(|vain| self.ctx.clock.now() < vain.until)
    }

    fn was_vain(&self, id: String) {
        let now = self.ctx.clock.now();
        let mut vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        // Incidents that ended are forgotten with time.
        vain.retain(|_, vain| now < vain.until + TimeDelta::days(1));
        let wait = vain.get(&id).map_or(VAIN_FIRST, |before| (before.wait * 2).min(VAIN_MOST));
        vain.insert(id, Vain { until: now + wait, wait });
    }

    /// The anomaly with the earliest onset that windows of the last day told: a later window sees less of the beginning.
    async fn since_the_beginning(
        &self,
        incident: &Incident,
        mut anomaly: NewAnomaly,
    ) -> Result<NewAnomaly, StoreError> {
        let filter = AnomalyFilter { incident_id: Some(incident.id.clone()), ..AnomalyFilter::default() };
        let page = PageRequest::first(200);
        let known = self.ctx.store.anomalies.list(&self.ctx.scope, &filter, &page).await?;
        let since = anomaly.window.end - TimeDelta::hours(24);
        let recent = known.items.into_iter().filter(|a| a.finding.window.end >= since);
        let earliest = recent.filter_map(|a| a.finding.onset).min();
        anomaly.onset = earliest.into_iter().chain(anomaly.onset).min();
        Ok(anomaly)
    }

    async fn investigate(
        &self,
        incident: &Incident,
        anomaly: &NewAnomaly,
        judging: &[Gap],
        response: &mut Response,
    ) -> Result<(Incident, Findings), RespondError> {
        let findings = self.investigator.investigate(anomaly, judging).await;
        response.requests += findings.requests;
        let incident = self.keep(incident, anomaly, &findings).await?;
        Ok((incident, findings))
    }

    /// Narrates what was found, and keeps it with its evidence.
    async fn keep(
        &self,
        incident: &Incident,
        anomaly: &NewAnomaly,
        findings: &Findings,
    ) -> Result<Incident, RespondError> {
        let (scope, store) = (&self.ctx.scope, &self.ctx.store);
        let mut narrative = self.narrator.narrate(Story { anomaly, findings }).await;
        if let Some(mut report) = narrative.report.take() {
            report.subject_id = incident.id.to_string();
            store.narrations.append(scope, report, self.ctx.clock.now()).await?;
        }
        let digest = store.evidence.replace(scope, &incident.id, findings.evidence.clone()).await?;
        let json = |error: serde_json::Error| RespondError::Json(error.to_string());
        let investigation = Investigation {
            culprit_sha: findings.culprit.as_ref().and_then(|suspect| suspect.sha.clone()),
            // Each class states its cost per window; the largest is the incident's (docs/detectors/README.md).
            cost_usd: None,
            narrative: narrative.text(),
            narrative_parts: narrative.parts.clone(),
            narrator: narrative.narrator,
            suspects: serde_json::to_value(&findings.suspects).map_err(json)?,
            timeline: serde_json::to_value(&findings.timeline).map_err(json)?,
            gaps: findings.gaps.clone(),
            evidence_sha256: digest,
        };
        Ok(store.incidents.set_investigation(scope, &incident.id, investigation, self.ctx.clock.now()).await?)
    }
}
