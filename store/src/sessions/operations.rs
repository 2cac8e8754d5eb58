//! What can be done with sessions, and what it answers.

use super::dedupe::DedupeWindow;
use super::validate::Refusal;
use super::{
    AgentPerformance, ErrorCluster, EventCorrelation, EventFact, Insight, NewSession, NewSessionEvent, Session,
    SessionAnalytics, SessionEvaluation, SessionEvent, SessionId, SessionRef,
};
use crate::Result;
use crate::model::{Cursor, Page, PageRequest, Scope};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::time::Duration;
use tokio::sync::watch;

/// Most events that are kept of one session; what comes after is refused, so that analysing a session stays bounded.
pub const MAX_SESSION_EVENTS: i64 = 200_000;

/// What beginning a session did.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedSession {
    /// The session.
    pub session: Session,
    /// Whether this call made it; `false` when the sender's key or id had one already.
    pub created: bool,
}

/// What became of one event of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventOutcome {
    /// It is kept now.
    Ingested,
    /// One that says the same, within the window, is kept already.
    Duplicate,
    /// It cannot be kept.
    Refused(Refusal),
    /// Its session has ended before it.
    Ended(Refusal),
}

/// Which analyses wait for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Clusters, correlations, summary. An active session waits until this long after it was processed last.
    Processing {
        /// How long.
        rest: Duration,
    },
    /// The newest events of one that goes on, once they are processed.
    Light,
    /// All of one that has ended, once it is processed.
    Deep,
}

/// A session, all its events, and what the processing worker derived of them, as they stood at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSnapshot {
    /// The session; its revision is what was derived says it was derived from.
    pub session: Session,
    /// Its events, by `(client_timestamp, seq)`.
    pub events: Vec<EventFact>,
    /// Its error clusters, the earliest first.
    pub clusters: Vec<ErrorCluster>,
    /// Its correlations, the earliest first.
    pub correlations: Vec<EventCorrelation>,
}

/// What keeping derived rows did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Rows were written.
    Changed,
    /// Everything that is told of the session was there already, to the byte. That newer events are looked at too is noted.
    Unchanged,
    /// The session is processed further than this already: nothing was written.
    Outdated,
}

/// Sessions, their events and what is derived of them.
///
/// Only this trait's `append` writes events, and it writes nothing else: raw events are never changed. The processing worker writes
/// through `keep_analytics`, the monitoring agent through `keep_evaluation`.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// A count that grows after each `start`, `append` and `end` that was committed through this handle. What other processes
    /// write does not show in it.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Begins a session. Beginning it again with the same key or id gives the one there is, as it stands.
    ///
    /// # Errors
    /// `Conflict` when the key or the id belongs to a session of another user or workspace.
    async fn start(&self, scope: &Scope, new: NewSession, now: DateTime<Utc>) -> Result<StartedSession>;

    /// Keeps events, in order, in one transaction: what is answered as ingested is on disk when this returns. One answer per
    /// event. Two batches at once are written one after the other, so each event is compared with all that is kept.
    async fn append(
        &self,
        scope: &Scope,
        events: Vec<NewSessionEvent>,
        window: DedupeWindow,
        now: DateTime<Utc>,
    ) -> Result<Vec<EventOutcome>>;

    /// Ends a session. Ending it again with the same time, or with none, changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `WrongState` when it has ended at another time; `Invalid` for an end before the start.
    async fn end(&self, scope: &Scope, session: &SessionRef, at: Option<&str>, now: DateTime<Utc>) -> Result<Session>;

    /// One session.
    async fn get(&self, scope: &Scope, id: &SessionId) -> Result<Option<Session>>;

    /// The session that a sender means.
    async fn find(&self, scope: &Scope, session: &SessionRef) -> Result<Option<Session>>;

    /// Its events, by `(client_timestamp, id)`.
    async fn events(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<SessionEvent>>;

    /// Its error clusters, the earliest first.
    async fn clusters(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<ErrorCluster>>;

    /// Its correlations, the earliest first.
    async fn correlations(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<EventCorrelation>>;

    /// Its agents in figures, the earliest first.
    async fn performance(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<AgentPerformance>>;

    /// Insights, newest first, of one session or of all.
    async fn insights(&self, scope: &Scope, id: Option<&SessionId>, page: &PageRequest) -> Result<Page<Insight>>;

    /// The clusters with the most occurrences.
    async fn top_clusters(&self, scope: &Scope, id: &SessionId, most: u32) -> Result<Vec<ErrorCluster>>;

    /// How many clusters, correlations and insights (by severity) a session has.
    async fn counts(&self, scope: &Scope, id: &SessionId) -> Result<SessionCounts>;

    /// The sessions that wait for an analysis, the longest unchanged first, at most `most`.
    async fn waiting(&self, scope: &Scope, what: Waiting, now: DateTime<Utc>, most: u32) -> Result<Vec<SessionId>>;

    /// A session with all its events and what was derived of them, at one moment.
    async fn snapshot(&self, scope: &Scope, id: &SessionId) -> Result<Option<SessionSnapshot>>;

    /// Puts what was derived from `snapshot` in the place of what was there, in one transaction. Rows that are the same are
    /// not touched. The session no longer waits for processing unless events came since the snapshot.
    async fn keep_analytics(
        &self,
        scope: &Scope,
        snapshot: &Session,
        analytics: SessionAnalytics,
        now: DateTime<Utc>,
    ) -> Result<Kept>;

    /// Keeps what the monitoring agent found in `snapshot`, which is about the state that was processed. Deep findings take the
    /// place of all there were; light ones are added or renewed, and change nothing once that state was analysed deeply.
    async fn keep_evaluation(
        &self,
        scope: &Scope,
        snapshot: &Session,
        evaluation: SessionEvaluation,
        now: DateTime<Utc>,
    ) -> Result<Kept>;
}

/// How many rows a session has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Error clusters.
    pub clusters: i64,
    /// Correlations.
    pub correlations: i64,
    /// Insights by severity, most serious first; those without any are left out.
    pub insights: Vec<(super::InsightSeverity, i64)>,
}

/// Where a page of a listing that is earliest first goes on.
pub(crate) fn after(page: &PageRequest) -> Option<(i64, &str)> {
    page.cursor.as_ref().map(|Cursor { at, id }| (*at, id.as_str()))
}
