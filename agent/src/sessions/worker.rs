//! The processing worker: looks for sessions whose events have changed, derives clusters, correlations and figures of each, and
//! keeps them.
//!
//! Must hold: a session that cannot be processed holds up no other; each is kept in one transaction of the store, so a worker
//! that is stopped anywhere leaves whole sessions behind; two workers at once give the same rows.

use std::collections::HashSet;
use std::time::Duration;

use tripline_engine::SharedClock;
use tripline_store::sessions::{Kept, SessionAnalytics, SessionId, SessionSnapshot, Waiting};
use tripline_store::{Scope, Store, StoreError};

use super::clusters::cluster_errors_for_session;
use super::correlate::correlate_events_for_session;
use super::rules::SessionRules;
use super::summary::compute_session_summary;
use crate::context::AgentContext;
use crate::settings::SettingsHandle;

/// Sessions that are asked for at once.
const AT_ONCE: u32 = 20;

/// What a run over all sessions did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Sessions that were looked at.
    pub sessions: usize,
    /// Of these, those of which rows were written.
    pub changed: usize,
    /// What went wrong, with the session.
    pub failures: Vec<String>,
}

impl Done {
    pub(super) fn count(&mut self, id: &SessionId, outcome: Result<Kept, StoreError>) {
        self.sessions += 1;
        match outcome {
            Ok(Kept::Changed) => self.changed += 1,
            Ok(Kept::Unchanged | Kept::Outdated) => {}
            Err(error) => {
                tracing::warn!(session = %id, error = %error.report(), "a session could not be analysed; it stays due");
                self.failures.push(format!("session {id}: {error}"));
            }
        }
    }
}

/// The worker. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ProcessingWorker {
    store: Store,
    settings: SettingsHandle,
    clock: SharedClock,
}

impl ProcessingWorker {
    /// A worker over this store.
    #[must_use]
    pub fn new(context: &AgentContext) -> Self {
        Self { store: context.store.clone(), settings: context.settings.clone(), clock: context.clock.clone() }
    }

    fn rules(&self) -> SessionRules {
        SessionRules::of(&self.settings.get())
    }

    fn waiting(&self) -> Waiting {
        Waiting::Processing { rest: self.rules().rest }
    }

    /// Whether any session of any project waits.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_work(&self) -> Result<bool, StoreError> {
        any_waits(&self.store, &[self.waiting()], &self.clock).await
    }

    /// Whether any session of any project has something that is not processed or not judged yet, be it that it rests.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_unfinished(&self) -> Result<bool, StoreError> {
        let all = [Waiting::Processing { rest: Duration::ZERO }, Waiting::Deep, Waiting::Light];
        any_waits(&self.store, &all, &self.clock).await
    }

    /// Processes what waits, in every project, the longest unchanged first.
    ///
    /// # Errors
    /// When the store fails. A session that cannot be processed is among the failures.
    pub async fn process_due(&self) -> Result<Done, StoreError> {
        let mut done = Done::default();
        for project in self.store.projects.list().await? {
            let scope = Scope::project(project.id);
            let mut seen = HashSet::new();
            loop {
                let ids = self.store.sessions.waiting(&scope, self.waiting(), self.clock.now(), AT_ONCE).await?;
                // Those that came back (more events, or a failure) wait for the next run.
                let fresh: Vec<SessionId> = ids.into_iter().filter(|id| seen.insert(id.clone())).collect();
                if fresh.is_empty() {
                    break;
                }
                for id in fresh {
                    let outcome = self.process_session(&scope, &id).await;
                    done.count(&id, outcome);
                }
            }
        }
        if done.sessions > 0 {
            tracing::info!(
                sessions = done.sessions,
                changed = done.changed,
                failed = done.failures.len(),
                "sessions processed"
            );
        }
        Ok(done)
    }

    /// Derives clusters, correlations and figures of one session, and keeps them.
    ///
    /// # Errors
    /// `NotFound`, or when the store fails.
    pub async fn process_session(&self, scope: &Scope, id: &SessionId) -> Result<Kept, StoreError> {
        let snapshot = self.store.sessions.snapshot(scope, id).await?.ok_or_else(|| not_found(id))?;
        let rules = self.rules();
        let derived = tokio::task::spawn_blocking(move || {
            let analytics = analytics_of(&snapshot, &rules);
            (snapshot.session, analytics)
        });
        let doing = "deriving the analytics of a session";
        let (session, analytics) = derived.await.map_err(|_| StoreError::Internal { doing })?;
        self.store.sessions.keep_analytics(scope, &session, analytics, self.clock.now()).await
    }
}

/// All that the worker derives: a pure function of the events.
#[must_use]
pub fn analytics_of(snapshot: &SessionSnapshot, rules: &SessionRules) -> SessionAnalytics {
    let (id, events) = (&snapshot.session.id, &snapshot.events);
    SessionAnalytics {
        clusters: cluster_errors_for_session(id, events),
        correlations: correlate_events_for_session(id, events, rules.correlation_window),
        summary: compute_session_summary(events),
    }
}

/// Whether a session of any project waits for one of these.
pub(super) async fn any_waits(store: &Store, whats: &[Waiting], clock: &SharedClock) -> Result<bool, StoreError> {
    for project in store.projects.list().await? {
        let scope = Scope::project(project.id);
        for what in whats {
            if !store.sessions.waiting(&scope, *what, clock.now(), 1).await?.is_empty() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub(super) fn not_found(id: &SessionId) -> StoreError {
    StoreError::NotFound { what: "session", id: id.to_string() }
}
