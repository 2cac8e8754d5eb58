//! The monitoring agent: looks at sessions as the worker left them, lightly while they go on, deeply when they have ended.
//!
//! Two steps: load the context, detect. Must hold: it writes insights and performance and nothing else; heuristics alone decide,
//! so that it says the same each time.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use tripline_engine::SharedClock;
use tripline_store::sessions::{AnalysisMode, Kept, SessionEvaluation, SessionId, SessionSnapshot, Waiting};
use tripline_store::{Scope, Store, StoreError};

use super::insights::{Context, detect_insights, rounded};
use super::performance::performance_of_session;
use super::rules::{METRICS_VERSION, MODEL, PROVIDER, SessionRules};
use super::worker::{Done, any_waits, not_found};
use crate::context::AgentContext;
use crate::settings::SettingsHandle;

/// Sessions that are asked for at once.
const AT_ONCE: u32 = 20;
/// Clusters that a report names.
const TOP_CLUSTERS: usize = 5;

/// The monitoring agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MonitoringAgent {
    store: Store,
    settings: SettingsHandle,
    clock: SharedClock,
}

impl MonitoringAgent {
    /// A monitoring agent over this store.
    #[must_use]
    pub fn new(context: &AgentContext) -> Self {
        Self { store: context.store.clone(), settings: context.settings.clone(), clock: context.clock.clone() }
    }

    /// Whether any session of any project waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_work(&self) -> Result<bool, StoreError> {
        any_waits(&self.store, &[Waiting::Deep, Waiting::Light], &self.clock).await
    }

    /// Looks at what waits, in every project: ended sessions deeply, those that go on lightly.
    ///
    /// # Errors
    /// When the store fails. A session that cannot be judged is among the failures.
    pub async fn run_due(&self) -> Result<Done, StoreError> {
        let mut done = Done::default();
        for project in self.store.projects.list().await? {
            let scope = Scope::project(project.id);
            for (what, mode) in [(Waiting::Deep, AnalysisMode::Deep), (Waiting::Light, AnalysisMode::Light)] {
                let mut seen = HashSet::new();
                loop {
                    let ids = self.store.sessions.waiting(&scope, what, self.clock.now(), AT_ONCE).await?;
                    let fresh: Vec<SessionId> = ids.into_iter().filter(|id| seen.insert(id.clone())).collect();
                    if fresh.is_empty() {
                        break;
                    }
                    for id in fresh {
                        let outcome = self.evaluate(&scope, &id, mode).await.map(|(kept, _)| kept);
                        done.count(&id, outcome);
                    }
                }
            }
        }
        Ok(done)
    }

    /// Judges one session as it was processed last, and keeps what was found.
    ///
    /// # Errors
    /// `NotFound`, or when the store fails.
    pub async fn evaluate(
        &self,
        scope: &Scope,
        id: &SessionId,
        mode: AnalysisMode,
    ) -> Result<(Kept, SessionEvaluation), StoreError> {
        let snapshot = self.store.sessions.snapshot(scope, id).await?.ok_or_else(|| not_found(id))?;
        let rules = SessionRules::of(&self.settings.get());
        let judged = tokio::task::spawn_blocking(move || {
            let evaluation = evaluation_of(&snapshot, mode, &rules);
            (snapshot.session, evaluation)
        });
        let doing = "judging a session";
        let (session, evaluation) = judged.await.map_err(|_| StoreError::Internal { doing })?;
        let kept = self.store.sessions.keep_evaluation(scope, &session, evaluation.clone(), self.clock.now()).await?;
        tracing::info!(
            session = %id,
            %mode,
            provider = PROVIDER,
            model = MODEL,
            insights = evaluation.insights.len(),
            agents = evaluation.performance.len(),
            "monitoring agent ran"
        );
        Ok((kept, evaluation))
    }
}

/// All that the monitoring agent says of a session: a pure function of its events and of what was derived of them.
#[must_use]
pub fn evaluation_of(snapshot: &SessionSnapshot, mode: AnalysisMode, rules: &SessionRules) -> SessionEvaluation {
    let (session, all) = (&snapshot.session.id, snapshot.events.as_slice());
    let events = match mode {
        AnalysisMode::Light => &all[all.len().saturating_sub(rules.recent_events)..],
        AnalysisMode::Deep => all,
    };
    let insights = detect_insights(&Context { session, mode, events, correlations: &snapshot.correlations, rules });
    if mode == AnalysisMode::Light {
        return SessionEvaluation { mode, insights, performance: Vec::new(), report: None };
    }
    let performance = performance_of_session(session, all, &snapshot.correlations, rules);
    let mut evaluation = SessionEvaluation { mode, insights, performance, report: None };
    evaluation.report = Some(report(snapshot, &evaluation));
    evaluation
}

fn report(snapshot: &SessionSnapshot, evaluation: &SessionEvaluation) -> Value {
    let events = &snapshot.events;
    let mut clusters: Vec<_> = snapshot.clusters.iter().collect();
    clusters.sort_by(|a, b| b.occurrence_count.cmp(&a.occurrence_count).then_with(|| a.id.cmp(&b.id)));
    let top = clusters.iter().take(TOP_CLUSTERS).map(|cluster| {
        json!({
            "error_type": cluster.error_type,
            "normalized_error": cluster.normalized_error,
            "occurrence_count": cluster.occurrence_count,
        })
    });
    let agents = evaluation.performance.iter().map(|agent| {
        json!({
            "agent_id": agent.agent_id,
            "total_actions": agent.total_actions,
            "induced_error_count": agent.induced_error_count,
            "success_rate": agent.success_rate.map(rounded),
        })
    });
    let mut by_severity: BTreeMap<&str, usize> = BTreeMap::new();
    for insight in &evaluation.insights {
        *by_severity.entry(insight.severity.as_str()).or_default() += 1;
    }
    json!({
        "metrics_version": METRICS_VERSION,
        "event_count": events.len(),
        "error_count": events.iter().filter(|event| event.is_error()).count(),
        "error_density": rounded(super::summary::error_density(events)),
        "cluster_count": snapshot.clusters.len(),
        "top_clusters": top.collect::<Vec<_>>(),
        "correlation_count": snapshot.correlations.len(),
        "agents": agents.collect::<Vec<_>>(),
        "insights": by_severity,
    })
}
