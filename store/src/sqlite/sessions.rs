//! Sessions on SQLite: reading them, and the one implementation of their trait. What writes is in the files below.

mod derived;
mod ingest;
mod rows;

use super::SqliteStore;
use super::connection::DbResult;
use super::values::{all, micros, one};
use crate::model::{Cursor, MAX_PAGE, Page, PageRequest, Scope};
use crate::sessions::dedupe::DedupeWindow;
use crate::sessions::{
    AgentPerformance, ErrorCluster, EventCorrelation, EventOutcome, Insight, InsightSeverity, Kept, NewSession,
    NewSessionEvent, Session, SessionAnalytics, SessionCounts, SessionEvaluation, SessionEvent, SessionId, SessionRef,
    SessionSnapshot, Sessions, StartedSession, Waiting, after,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use std::time::Duration;
use tokio::sync::watch;

/// A session by its id.
fn find_by_id(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Option<Session>> {
    let sql = "SELECT * FROM sessions WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], rows::session)
}

/// A session by whatever its sender calls it.
fn find(connection: &Connection, scope: &Scope, session: &SessionRef) -> DbResult<Option<Session>> {
    match session {
        SessionRef::Id(id) => find_by_id(connection, scope, id),
        SessionRef::Key(key) => {
            let sql = "SELECT * FROM sessions WHERE project_id = ?1 AND external_session_key = ?2";
            one(connection, sql, params![scope.project_id(), key], rows::session)
        }
    }
}

/// The order of a listing.
#[derive(Clone, Copy)]
enum Order {
    EarliestFirst,
    NewestFirst,
}

/// A page of the rows of one session, or of all, by `(time_column, id)`. Table and column are names out of this file.
fn page<T>(
    connection: &Connection,
    scope: &Scope,
    (table, time_column): (&'static str, &'static str),
    session: Option<&SessionId>,
    order: Order,
    wanted: &PageRequest,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
) -> DbResult<Page<T>> {
    let (beyond, direction) = match order {
        Order::EarliestFirst => (">", "ASC"),
        Order::NewestFirst => ("<", "DESC"),
    };
    let of_session = if session.is_some() { "AND session_id = ?2" } else { "AND ?2 IS NULL" };
    let from =
        if wanted.cursor.is_some() { format!("AND ({time_column}, id) {beyond} (?3, ?4)") } else { String::new() };
    let sql = format!(
        "SELECT * FROM {table} WHERE project_id = ?1 {of_session} {from}
         ORDER BY {time_column} {direction}, id {direction} LIMIT ?5"
    );
    let (at, id) = after(wanted).unzip();
    let limit = wanted.limit.clamp(1, MAX_PAGE) as usize;
    let mut statement = connection.prepare_cached(&sql)?;
    // One more than asked for tells whether there is a next page. Without a cursor ?3 and ?4 are not in the statement, and
    // SQLite takes values for the numbers below the highest all the same.
    let mut found = statement.query(params![scope.project_id(), session, at, id, limit as i64 + 1])?;
    let (mut items, mut last, mut next) = (Vec::new(), None, None);
    while let Some(row) = found.next()? {
        if items.len() == limit {
            next = last;
            break;
        }
        items.push(read(row)?);
        last = Some(Cursor { at: row.get(time_column)?, id: row.get("id")? });
    }
    Ok(Page { items, next })
}

fn waiting(
    connection: &Connection,
    scope: &Scope,
    what: Waiting,
    now: DateTime<Utc>,
    most: u32,
) -> DbResult<Vec<SessionId>> {
    let rested = |rest: Duration| {
        let rest = i64::try_from(rest.as_micros()).unwrap_or(i64::MAX);
        micros(now).saturating_sub(rest)
    };
    let (sql, before) = match what {
        Waiting::Processing { rest } => (
            "SELECT id FROM sessions WHERE project_id = ?1 AND revision > processed_revision
                 AND (status = 'ended' OR last_processed_at IS NULL OR last_processed_at <= ?2)
             ORDER BY updated_at, id LIMIT ?3",
            rested(rest),
        ),
        Waiting::Light => (
            "SELECT id FROM sessions WHERE project_id = ?1 AND status = 'active' AND processed_revision > light_revision
                 AND processed_revision > deep_revision AND ?2 IS NOT NULL
             ORDER BY updated_at, id LIMIT ?3",
            0,
        ),
        Waiting::Deep => (
            "SELECT id FROM sessions WHERE project_id = ?1 AND status = 'ended' AND revision > deep_revision
                 AND processed_revision = revision AND ?2 IS NOT NULL
             ORDER BY updated_at, id LIMIT ?3",
            0,
        ),
    };
    all(connection, sql, params![scope.project_id(), before, i64::from(most)], |row| row.get("id"))
}

fn counts(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<SessionCounts> {
    let count = |sql: &'static str| -> DbResult<i64> {
        Ok(one(connection, sql, params![scope.project_id(), id], |row| row.get(0))?.unwrap_or(0))
    };
    let clusters = count("SELECT count(*) FROM error_clusters WHERE project_id = ?1 AND session_id = ?2")?;
    let correlations = count("SELECT count(*) FROM event_correlations WHERE project_id = ?1 AND session_id = ?2")?;
    let mut insights: Vec<(InsightSeverity, i64)> = all(
        connection,
        "SELECT severity, count(*) FROM insights WHERE project_id = ?1 AND session_id = ?2 GROUP BY severity",
        params![scope.project_id(), id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    insights.sort_by_key(|(severity, _)| std::cmp::Reverse(*severity));
    Ok(SessionCounts { clusters, correlations, insights })
}

fn snapshot(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Option<SessionSnapshot>> {
    let Some(session) = find_by_id(connection, scope, id)? else { return Ok(None) };
    let events = all(
        connection,
        "SELECT seq, id, event_type, source_type, source_name, file_path, project_root, payload, raw_message,
             client_timestamp, server_timestamp
         FROM session_events WHERE project_id = ?1 AND session_id = ?2 ORDER BY client_timestamp, seq",
        params![scope.project_id(), id],
        rows::fact,
    )?;
    let clusters = derived::clusters(connection, scope, id)?;
    let correlations = derived::correlations(connection, scope, id)?;
    Ok(Some(SessionSnapshot { session, events, clusters, correlations }))
}

impl SqliteStore {
    /// Wakes whoever waits for changes of sessions: after the commit.
    fn session_changed(&self) {
        self.session_changes().send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A page of what is kept of one session.
    async fn page_of<T: Send + 'static>(
        &self,
        scope: &Scope,
        of: (&'static str, &'static str),
        session: Option<&SessionId>,
        order: Order,
        wanted: &PageRequest,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Page<T>> {
        let (scope, session, wanted) = (scope.clone(), session.cloned(), wanted.clone());
        self.read("listing what belongs to a session", move |connection| {
            page(connection, &scope, of, session.as_ref(), order, &wanted, read)
        })
        .await
    }
}

#[async_trait]
impl Sessions for SqliteStore {
    fn changes(&self) -> watch::Receiver<u64> {
        self.session_changes().subscribe()
    }

    async fn start(&self, scope: &Scope, new: NewSession, now: DateTime<Utc>) -> Result<StartedSession> {
        let scope = scope.clone();
        let started = self.write("beginning a session", move |tx| ingest::start(tx, &scope, &new, now)).await?;
        self.session_changed();
        Ok(started)
    }

    async fn append(
        &self,
        scope: &Scope,
        events: Vec<NewSessionEvent>,
        window: DedupeWindow,
        now: DateTime<Utc>,
    ) -> Result<Vec<EventOutcome>> {
        let scope = scope.clone();
        let doing = "keeping events of sessions";
        let outcomes = self.write(doing, move |tx| ingest::append(tx, &scope, &events, window, now)).await?;
        self.session_changed();
        Ok(outcomes)
    }

    async fn end(&self, scope: &Scope, session: &SessionRef, at: Option<&str>, now: DateTime<Utc>) -> Result<Session> {
        let (scope, session, at) = (scope.clone(), session.clone(), at.map(str::to_owned));
        let doing = "ending a session";
        let ended = self.write(doing, move |tx| ingest::end(tx, &scope, &session, at.as_deref(), now)).await?;
        self.session_changed();
        Ok(ended)
    }

    async fn get(&self, scope: &Scope, id: &SessionId) -> Result<Option<Session>> {
        self.find(scope, &SessionRef::Id(id.clone())).await
    }

    async fn find(&self, scope: &Scope, session: &SessionRef) -> Result<Option<Session>> {
        let (scope, session) = (scope.clone(), session.clone());
        self.read("reading a session", move |connection| find(connection, &scope, &session)).await
    }

    async fn events(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<SessionEvent>> {
        let of = ("session_events", "client_timestamp");
        self.page_of(scope, of, Some(id), Order::EarliestFirst, page, rows::event).await
    }

    async fn clusters(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<ErrorCluster>> {
        let of = ("error_clusters", "created_at");
        self.page_of(scope, of, Some(id), Order::EarliestFirst, page, rows::cluster).await
    }

    async fn correlations(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<EventCorrelation>> {
        let of = ("event_correlations", "created_at");
        self.page_of(scope, of, Some(id), Order::EarliestFirst, page, rows::correlation).await
    }

    async fn performance(&self, scope: &Scope, id: &SessionId, page: &PageRequest) -> Result<Page<AgentPerformance>> {
        let of = ("agent_performance", "created_at");
        self.page_of(scope, of, Some(id), Order::EarliestFirst, page, rows::performance).await
    }

    async fn insights(&self, scope: &Scope, id: Option<&SessionId>, page: &PageRequest) -> Result<Page<Insight>> {
        self.page_of(scope, ("insights", "created_at"), id, Order::NewestFirst, page, rows::insight).await
    }

    async fn top_clusters(&self, scope: &Scope, id: &SessionId, most: u32) -> Result<Vec<ErrorCluster>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading error clusters", move |connection| {
            let sql = "SELECT * FROM error_clusters WHERE project_id = ?1 AND session_id = ?2
                       ORDER BY occurrence_count DESC, created_at, id LIMIT ?3";
            all(connection, sql, params![scope.project_id(), id, i64::from(most)], rows::cluster)
        })
        .await
    }

    async fn counts(&self, scope: &Scope, id: &SessionId) -> Result<SessionCounts> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("counting what belongs to a session", move |connection| counts(connection, &scope, &id)).await
    }

    async fn waiting(&self, scope: &Scope, what: Waiting, now: DateTime<Utc>, most: u32) -> Result<Vec<SessionId>> {
        let scope = scope.clone();
        self.read("looking for sessions that wait", move |connection| waiting(connection, &scope, what, now, most))
            .await
    }

    async fn snapshot(&self, scope: &Scope, id: &SessionId) -> Result<Option<SessionSnapshot>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading a session with its events", move |connection| snapshot(connection, &scope, &id)).await
    }

    async fn keep_analytics(
        &self,
        scope: &Scope,
        snapshot: &Session,
        analytics: SessionAnalytics,
        now: DateTime<Utc>,
    ) -> Result<Kept> {
        let (scope, snapshot) = (scope.clone(), snapshot.clone());
        self.write("keeping the analytics of a session", move |tx| {
            derived::keep_analytics(tx, &scope, &snapshot, &analytics, now)
        })
        .await
    }

    async fn keep_evaluation(
        &self,
        scope: &Scope,
        snapshot: &Session,
        evaluation: SessionEvaluation,
        now: DateTime<Utc>,
    ) -> Result<Kept> {
        let (scope, snapshot) = (scope.clone(), snapshot.clone());
        self.write("keeping the evaluation of a session", move |tx| {
            derived::keep_evaluation(tx, &scope, &snapshot, &evaluation, now)
        })
        .await
    }
}

fn not_found(session: impl std::fmt::Display) -> StoreError {
    StoreError::not_found("session", session)
}
