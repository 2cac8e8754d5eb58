//! Both analyses of one session, now: for whoever does not want to wait for the jobs.

use serde::Serialize;
use serde_json::Value;
use tripline_store::sessions::{AgentPerformance, AnalysisMode, Insight, Kept, Session, SessionId};
use tripline_store::{Scope, Store, StoreError};

use super::worker::not_found;
use super::{MonitoringAgent, ProcessingWorker};
use crate::context::AgentContext;

/// How often a session is processed anew because events came meanwhile; what is still newer waits for the job.
const ATTEMPTS: usize = 3;

/// What an analysis came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// The session afterwards.
    pub session: Session,
    /// How thoroughly it was looked at.
    pub mode: AnalysisMode,
    /// Whether anything was written; `false` when all of it was known.
    pub changed: bool,
    /// What was found.
    pub insights: Vec<Insight>,
    /// The agents in figures; only of a deep analysis.
    pub agent_performance: Vec<AgentPerformance>,
    /// The whole in short; only of a deep analysis.
    pub session_report: Option<Value>,
}

/// Analyses sessions on demand. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SessionAnalyst {
    store: Store,
    worker: ProcessingWorker,
    agent: MonitoringAgent,
}

impl SessionAnalyst {
    /// An analyst over this store.
    #[must_use]
    pub fn new(context: &AgentContext) -> Self {
        Self {
            store: context.store.clone(),
            worker: ProcessingWorker::new(context),
            agent: MonitoringAgent::new(context),
        }
    }

    /// Processes a session as it stands and judges it. Doing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`, or when the store fails.
    pub async fn analyse(&self, scope: &Scope, id: &SessionId, mode: AnalysisMode) -> Result<Analysis, StoreError> {
        let mut changed = false;
        for _ in 0..ATTEMPTS {
            changed |= self.worker.process_session(scope, id).await? == Kept::Changed;
            if !self.session(scope, id).await?.requires_processing {
                break;
            }
        }
        let (kept, evaluation) = self.agent.evaluate(scope, id, mode).await?;
        changed |= kept == Kept::Changed;
        Ok(Analysis {
            session: self.session(scope, id).await?,
            mode,
            changed,
            insights: evaluation.insights,
            agent_performance: evaluation.performance,
            session_report: evaluation.report,
        })
    }

    async fn session(&self, scope: &Scope, id: &SessionId) -> Result<Session, StoreError> {
        self.store.sessions.get(scope, id).await?.ok_or_else(|| not_found(id))
    }
}
