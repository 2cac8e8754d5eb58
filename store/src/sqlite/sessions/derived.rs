//! What the worker and the monitoring agent write: only rows that are new or different, and none of an older state of the
//! session than the one that is there.

use super::{find_by_id, not_found, rows};
use crate::model::Scope;
use crate::sessions::{
    AgentPerformance, AnalysisMode, ErrorCluster, EventCorrelation, Insight, Kept, Session, SessionAnalytics,
    SessionEvaluation, SessionId, SessionSummary,
};
use crate::sqlite::connection::DbResult;
use crate::sqlite::values::{all, micros, one, run, to_json};
use crate::sqlite::writer::Tx;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};
use std::collections::{HashMap, HashSet};

/// A row with an id.
trait Identified {
    fn id(&self) -> &str;
}

macro_rules! identified {
    ($($row:ty),+) => {$(
        impl Identified for $row {
            fn id(&self) -> &str {
                &self.id
            }
        }
    )+};
}
identified!(ErrorCluster, EventCorrelation, AgentPerformance, Insight);

/// How the rows that are there become those that are wanted.
struct Change<'a, T> {
    remove: Vec<String>,
    write: Vec<&'a T>,
}

impl<'a, T: Identified + PartialEq> Change<'a, T> {
    fn between(there: Vec<T>, wanted: &'a [T]) -> Self {
        let ids: HashSet<&str> = wanted.iter().map(Identified::id).collect();
        let remove = there.iter().map(Identified::id).filter(|id| !ids.contains(id)).map(str::to_owned).collect();
        let there: HashMap<&str, &T> = there.iter().map(|row| (row.id(), row)).collect();
        let write = wanted.iter().filter(|row| there.get(row.id()) != Some(row)).collect();
        Self { remove, write }
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.write.is_empty()
    }

    /// Removes and writes. `remove` and `write` are statements out of this file.
    fn apply(
        &self,
        connection: &Connection,
        scope: &Scope,
        remove: &'static str,
        write: impl Fn(&T) -> DbResult<usize>,
    ) -> DbResult<()> {
        for id in &self.remove {
            run(connection, remove, params![scope.project_id(), id])?;
        }
        self.write.iter().try_for_each(|row| write(row).map(drop))
    }
}

/// The revisions of a session as they are now.
struct Revisions {
    revision: i64,
    processed: i64,
    light: i64,
    deep: i64,
}

fn revisions(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Revisions> {
    let sql = "SELECT revision, processed_revision, light_revision, deep_revision FROM sessions
               WHERE project_id = ?1 AND id = ?2";
    let found = one(connection, sql, params![scope.project_id(), id], |row| {
        Ok(Revisions { revision: row.get(0)?, processed: row.get(1)?, light: row.get(2)?, deep: row.get(3)? })
    })?;
    found.ok_or_else(|| not_found(id).into())
}

pub(super) fn clusters(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Vec<ErrorCluster>> {
    let sql = "SELECT * FROM error_clusters WHERE project_id = ?1 AND session_id = ?2 ORDER BY created_at, id";
    all(connection, sql, params![scope.project_id(), id], rows::cluster)
}

pub(super) fn correlations(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Vec<EventCorrelation>> {
    let sql = "SELECT * FROM event_correlations WHERE project_id = ?1 AND session_id = ?2 ORDER BY created_at, id";
    all(connection, sql, params![scope.project_id(), id], rows::correlation)
}

pub(super) fn keep_analytics(
    tx: &mut Tx<'_>,
    scope: &Scope,
    snapshot: &Session,
    analytics: &SessionAnalytics,
    now: DateTime<Utc>,
) -> DbResult<Kept> {
    let (connection, id) = (tx.connection, &snapshot.id);
    let now_at = revisions(connection, scope, id)?;
    if snapshot.revision < now_at.processed {
        return Ok(Kept::Outdated);
    }
    let clusters = Change::between(clusters(connection, scope, id)?, &analytics.clusters);
    let correlations = Change::between(correlations(connection, scope, id)?, &analytics.correlations);
    let is_current = snapshot.revision == now_at.revision;
    let there = find_by_id(connection, scope, id)?.ok_or_else(|| not_found(id))?;
    let summary = SessionSummary {
        // While more events came, the count of the door is the newer one.
        event_count: if is_current { analytics.summary.event_count } else { there.event_count },
        ..analytics.summary
    };
    let same_summary = summary
        == SessionSummary {
            event_count: there.event_count,
            agent_activity_score: there.agent_activity_score,
            human_activity_score: there.human_activity_score,
            error_density: there.error_density,
        };
    let kept =
        if clusters.is_empty() && correlations.is_empty() && same_summary { Kept::Unchanged } else { Kept::Changed };
    if kept == Kept::Unchanged && snapshot.revision == now_at.processed {
        return Ok(kept);
    }
    clusters.apply(connection, scope, "DELETE FROM error_clusters WHERE project_id = ?1 AND id = ?2", |row| {
        write_cluster(connection, scope, row)
    })?;
    correlations.apply(
        connection,
        scope,
        "DELETE FROM event_correlations WHERE project_id = ?1 AND id = ?2",
        |row| write_correlation(connection, scope, row),
    )?;
    run(
        connection,
        "UPDATE sessions SET event_count = ?3, agent_activity_score = ?4, human_activity_score = ?5, error_density = ?6,
             processed_revision = ?7, last_processed_at = ?8, updated_at = max(updated_at, ?8)
         WHERE project_id = ?1 AND id = ?2",
        params![
            scope.project_id(),
            id,
            summary.event_count,
            summary.agent_activity_score,
            summary.human_activity_score,
            summary.error_density,
            snapshot.revision,
            micros(now)
        ],
    )?;
    Ok(kept)
}

pub(super) fn keep_evaluation(
    tx: &mut Tx<'_>,
    scope: &Scope,
    snapshot: &Session,
    evaluation: &SessionEvaluation,
    now: DateTime<Utc>,
) -> DbResult<Kept> {
    let now_at = revisions(tx.connection, scope, &snapshot.id)?;
    match evaluation.mode {
        AnalysisMode::Light => keep_light(tx.connection, scope, snapshot, evaluation, &now_at),
        AnalysisMode::Deep => keep_deep(tx.connection, scope, snapshot, evaluation, &now_at, now),
    }
}

fn insights(connection: &Connection, scope: &Scope, id: &SessionId) -> DbResult<Vec<Insight>> {
    let sql = "SELECT * FROM insights WHERE project_id = ?1 AND session_id = ?2 ORDER BY created_at, id";
    all(connection, sql, params![scope.project_id(), id], rows::insight)
}

const REMOVE_INSIGHT: &str = "DELETE FROM insights WHERE project_id = ?1 AND id = ?2";

/// Adds and renews: what was seen earlier in the session stays seen.
fn keep_light(
    connection: &Connection,
    scope: &Scope,
    snapshot: &Session,
    evaluation: &SessionEvaluation,
    now_at: &Revisions,
) -> DbResult<Kept> {
    let state = snapshot.processed_revision;
    if state <= now_at.deep || state < now_at.light {
        return Ok(Kept::Outdated);
    }
    let mut insights = Change::between(insights(connection, scope, &snapshot.id)?, &evaluation.insights);
    insights.remove.clear();
    let kept = if insights.is_empty() { Kept::Unchanged } else { Kept::Changed };
    if kept == Kept::Unchanged && state == now_at.light {
        return Ok(kept);
    }
    insights.apply(connection, scope, REMOVE_INSIGHT, |row| write_insight(connection, scope, row))?;
    run(
        connection,
        "UPDATE sessions SET light_revision = ?3 WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), snapshot.id, state],
    )?;
    Ok(kept)
}

/// Judges the session as a whole: takes the place of everything that was found before.
fn keep_deep(
    connection: &Connection,
    scope: &Scope,
    snapshot: &Session,
    evaluation: &SessionEvaluation,
    now_at: &Revisions,
    now: DateTime<Utc>,
) -> DbResult<Kept> {
    let (id, state) = (&snapshot.id, snapshot.processed_revision);
    if state < now_at.deep {
        return Ok(Kept::Outdated);
    }
    let insights = Change::between(insights(connection, scope, id)?, &evaluation.insights);
    let there = all(
        connection,
        "SELECT * FROM agent_performance WHERE project_id = ?1 AND session_id = ?2 ORDER BY created_at, id",
        params![scope.project_id(), id],
        rows::performance,
    )?;
    let performance = Change::between(there, &evaluation.performance);
    let session = find_by_id(connection, scope, id)?.ok_or_else(|| not_found(id))?;
    // Of a session without any batch the first deep analysis has the revision 0 of a session never analysed.
    let is_known = state == now_at.deep && session.deep_processed_at.is_some();
    let same_report = session.session_report == evaluation.report;
    if insights.is_empty() && performance.is_empty() && same_report && is_known {
        return Ok(Kept::Unchanged);
    }
    insights.apply(connection, scope, REMOVE_INSIGHT, |row| write_insight(connection, scope, row))?;
    performance.apply(connection, scope, "DELETE FROM agent_performance WHERE project_id = ?1 AND id = ?2", |row| {
        write_performance(connection, scope, row)
    })?;
    run(
        connection,
        "UPDATE sessions SET deep_revision = ?3, light_revision = max(light_revision, ?3), deep_processed_at = ?4,
             session_report = ?5, updated_at = max(updated_at, ?4)
         WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), id, state, micros(now), evaluation.report.as_ref().map(to_json).transpose()?],
    )?;
    Ok(Kept::Changed)
}

fn write_cluster(connection: &Connection, scope: &Scope, row: &ErrorCluster) -> DbResult<usize> {
    run(
        connection,
        "INSERT INTO error_clusters (project_id, id, session_id, normalized_error, error_type, representative_event_id,
             occurrence_count, last_seen_at, metadata, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (project_id, id) DO UPDATE SET representative_event_id = excluded.representative_event_id,
             occurrence_count = excluded.occurrence_count, last_seen_at = excluded.last_seen_at,
             metadata = excluded.metadata, created_at = excluded.created_at, updated_at = excluded.updated_at",
        params![
            scope.project_id(),
            row.id,
            row.session_id,
            row.normalized_error,
            row.error_type,
            row.representative_event_id,
            row.occurrence_count,
            micros(row.last_seen_at),
            to_json(&row.metadata)?,
            micros(row.created_at),
            micros(row.updated_at)
        ],
    )
}

fn write_correlation(connection: &Connection, scope: &Scope, row: &EventCorrelation) -> DbResult<usize> {
    run(
        connection,
        "INSERT INTO event_correlations (project_id, id, session_id, cause_event_id, effect_event_id, correlation_type,
             confidence, time_delta_ms, file_match, metadata, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (project_id, id) DO UPDATE SET confidence = excluded.confidence,
             time_delta_ms = excluded.time_delta_ms, file_match = excluded.file_match, metadata = excluded.metadata,
             created_at = excluded.created_at",
        params![
            scope.project_id(),
            row.id,
            row.session_id,
            row.cause_event_id,
            row.effect_event_id,
            row.correlation_type,
            row.confidence,
            row.time_delta_ms,
            row.file_match,
            to_json(&row.metadata)?,
            micros(row.created_at)
        ],
    )
}

fn write_performance(connection: &Connection, scope: &Scope, row: &AgentPerformance) -> DbResult<usize> {
    run(
        connection,
        "INSERT INTO agent_performance (project_id, id, agent_id, session_id, total_actions, successful_actions,
             induced_error_count, override_count, success_rate, induced_error_rate, override_rate, metrics_version,
             regression_flags, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (project_id, id) DO UPDATE SET total_actions = excluded.total_actions,
             successful_actions = excluded.successful_actions, induced_error_count = excluded.induced_error_count,
             override_count = excluded.override_count, success_rate = excluded.success_rate,
             induced_error_rate = excluded.induced_error_rate, override_rate = excluded.override_rate,
             regression_flags = excluded.regression_flags, created_at = excluded.created_at",
        params![
            scope.project_id(),
            row.id,
            row.agent_id,
            row.session_id,
            row.total_actions,
            row.successful_actions,
            row.induced_error_count,
            row.override_count,
            row.success_rate,
            row.induced_error_rate,
            row.override_rate,
            row.metrics_version,
            to_json(&row.regression_flags)?,
            micros(row.created_at)
        ],
    )
}

fn write_insight(connection: &Connection, scope: &Scope, row: &Insight) -> DbResult<usize> {
    run(
        connection,
        "INSERT INTO insights (project_id, id, session_id, agent_id, severity, category, title, message, payload,
             insight_key, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (project_id, id) DO UPDATE SET agent_id = excluded.agent_id, severity = excluded.severity,
             category = excluded.category, title = excluded.title, message = excluded.message,
             payload = excluded.payload, created_at = excluded.created_at",
        params![
            scope.project_id(),
            row.id,
            row.session_id,
            row.agent_id,
            row.severity,
            row.category,
            row.title,
            row.message,
            to_json(&row.payload)?,
            row.insight_key,
            micros(row.created_at)
        ],
    )
}
