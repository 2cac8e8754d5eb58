//! The bundle of all aggregates, so that a caller holds one value and a test can swap one part.

use super::{
    Actions, Anomalies, ApiKeys, Approvals, AuditLog, CostBaselines, Digests, EvidenceSets, IncidentFeedback,
    Incidents, JobRuns, Kills, Narrations, Projects, ReplayGuard, RiskMemory, RunReports, Runs, Sampling,
    SchemaSnapshots,
};
use crate::ingest::EventLog;
use std::fmt;
use std::sync::Arc;

/// Every aggregate of the store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    /// Projects.
    pub projects: Arc<dyn Projects>,
    /// Findings of detectors.
    pub anomalies: Arc<dyn Anomalies>,
    /// Conditions, as long as they last.
    pub incidents: Arc<dyn Incidents>,
    /// What was gathered for them.
    pub evidence: Arc<dyn EvidenceSets>,
    /// Decisions.
    pub approvals: Arc<dyn Approvals>,
    /// The outbox.
    pub actions: Arc<dyn Actions>,
    /// Requests that a run stop.
    pub kills: Arc<dyn Kills>,
    /// The record.
    pub audit: Arc<dyn AuditLog>,
    /// Runs of jobs and their watermarks.
    pub jobs: Arc<dyn JobRuns>,
    /// Sessions of agents and developers, and what was derived of them.
    pub sessions: Arc<dyn crate::sessions::Sessions>,
    /// Hourly cost per feature.
    pub baselines: Arc<dyn CostBaselines>,
    /// Schemas of outputs.
    pub schemas: Arc<dyn SchemaSnapshots>,
    /// Who may do what.
    pub keys: Arc<dyn ApiKeys>,
    /// Accepted signatures.
    pub replay: Arc<dyn ReplayGuard>,
    /// The event log.
    pub events: Arc<dyn EventLog>,
    /// Verdicts about runs.
    pub runs: Arc<dyn Runs>,
    /// Reading about runs.
    pub reports: Arc<dyn RunReports>,
    /// Weekly digests.
    pub digests: Arc<dyn Digests>,
    /// What models were sent.
    pub narrations: Arc<dyn Narrations>,
    /// What people say about incidents.
    pub feedback: Arc<dyn IncidentFeedback>,
    /// What pull requests are judged by.
    pub risk: Arc<dyn RiskMemory>,
    /// What the sampler keeps.
    pub sampling: Arc<dyn Sampling>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// The bundle of one implementation of all of it.
    pub fn new<T>(all: Arc<T>) -> Self
    where
        T: Projects
            + Anomalies
            + Incidents
            + EvidenceSets
            + Approvals
            + Actions
            + Kills
            + AuditLog
            + JobRuns
            + crate::sessions::Sessions
            + CostBaselines
            + SchemaSnapshots
            + ApiKeys
            + ReplayGuard
            + EventLog
            + Runs
            + RunReports
            + Digests
            + Narrations
            + IncidentFeedback
            + RiskMemory
            + Sampling
            + 'static,
    {
        Self {
            projects: all.clone(),
            anomalies: all.clone(),
            incidents: all.clone(),
            evidence: all.clone(),
            approvals: all.clone(),
            actions: all.clone(),
            kills: all.clone(),
            audit: all.clone(),
            jobs: all.clone(),
            sessions: all.clone(),
            baselines: all.clone(),
            schemas: all.clone(),
            keys: all.clone(),
            replay: all.clone(),
            events: all.clone(),
            runs: all.clone(),
            reports: all.clone(),
            digests: all.clone(),
            narrations: all.clone(),
            feedback: all.clone(),
            risk: all.clone(),
            sampling: all,
        }
    }
}
