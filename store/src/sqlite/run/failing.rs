//! Run detectors that fail, and the runs that live ones did not judge.
//!
//! Must hold: a run that a live detector did not judge is remembered with its verdict, in one transaction, until the detector
//! works again; what is remembered is bounded, by time and by number.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::super::connection::DbResult;
use super::super::values::{RowExt, all, micros, run};
use super::watch::LATE;
use crate::model::{DetectorFailure, FailedDetector, JudgedRun, Scope};

/// Runs that are remembered of one detector.
const MOST: i64 = 100_000;

/// A live detector that does not judge at present.
pub(super) struct Unheard {
    detector: String,
    failure_type: String,
    remembered: i64,
}

impl Unheard {
    /// Whether it would find what this condition of the agent is about.
    pub(super) fn finds(&self, fingerprint: &str, agent: &str) -> bool {
        let parts = fingerprint.strip_prefix("run:").and_then(|rest| rest.strip_prefix(self.failure_type.as_str()));
        parts.and_then(|rest| rest.strip_prefix(':')) == Some(agent)
    }
}

pub(super) fn list(connection: &Connection, scope: &Scope) -> DbResult<Vec<DetectorFailure>> {
    let sql = "SELECT * FROM run_detector_failures WHERE project_id = ?1 ORDER BY detector";
    all(connection, sql, params![scope.project_id()], |row| {
        Ok(DetectorFailure {
            detector: row.get("detector")?,
            error: row.get("error")?,
            file_sha256: row.get("file_sha256")?,
            live: row.get("live")?,
            failing: row.get("failing")?,
            failed_since: row.time("failed_since")?,
            last_failed_at: row.time("last_failed_at")?,
            runs_not_judged: row.get("runs")?,
        })
    })
}

pub(super) fn failed(
    connection: &Connection,
    scope: &Scope,
    failed: &FailedDetector,
    now: DateTime<Utc>,
) -> DbResult<()> {
    run(
        connection,
        "INSERT INTO run_detector_failures
             (project_id, detector, failure_type, error, file_sha256, live, failing, failed_since, last_failed_at, runs)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1, ?7, ?7, 0)
         ON CONFLICT (project_id, detector) DO UPDATE SET
             failure_type = excluded.failure_type, error = excluded.error, file_sha256 = excluded.file_sha256,
             live = excluded.live, failing = 1, last_failed_at = excluded.last_failed_at",
        params![
            scope.project_id(),
            failed.detector,
            failed.failure_type,
            failed.error,
            failed.file_sha256,
            failed.live,
            micros(now)
        ],
    )?;
    Ok(())
}

pub(super) fn worked(connection: &Connection, scope: &Scope, detector: &str) -> DbResult<()> {
    let sql = "UPDATE run_detector_failures SET failing = 0 WHERE project_id = ?1 AND detector = ?2";
    run(connection, sql, params![scope.project_id(), detector])?;
    Ok(())
}

pub(super) fn end(
    connection: &Connection,
    scope: &Scope,
    detector: &str,
    judge_again: bool,
    now: DateTime<Utc>,
) -> DbResult<usize> {
    let mut due = 0;
    if judge_again {
        // Each is judged like one of which more arrived: what was found stays. One that had stalled waits until it goes on.
        due = run(
            connection,
            "INSERT INTO run_watch (project_id, run_id, started, last_received_at, ended_at, first_seq)
             SELECT u.project_id, u.run_id, 1, coalesce(r.received_at, r.judged_at), coalesce(r.received_at, r.judged_at),
                 coalesce(r.first_seq, 0)
             FROM run_unjudged u JOIN judged_runs r ON r.project_id = u.project_id AND r.run_id = u.run_id
             WHERE u.project_id = ?1 AND u.detector = ?2 AND u.judged_at >= ?3 AND r.reason <> 'stalled'
             ON CONFLICT (project_id, run_id) DO NOTHING",
            params![scope.project_id(), detector, micros(now - LATE)],
        )?;
    }
    for table in ["run_unjudged", "run_detector_failures"] {
        let sql = format!("DELETE FROM {table} WHERE project_id = ?1 AND detector = ?2");
        run(connection, &sql, params![scope.project_id(), detector])?;
    }
    Ok(due)
}

/// The live detectors that do not judge at present.
pub(super) fn live(connection: &Connection, scope: &Scope) -> DbResult<Vec<Unheard>> {
    let sql = "SELECT detector, failure_type,
                   (SELECT count(*) FROM run_unjudged u WHERE u.project_id = f.project_id AND u.detector = f.detector)
               FROM run_detector_failures f WHERE project_id = ?1 AND live = 1 AND failing = 1";
    all(connection, sql, params![scope.project_id()], |row| {
        Ok(Unheard { detector: row.get(0)?, failure_type: row.get(1)?, remembered: row.get(2)? })
    })
}

/// Remembers that these detectors did not judge these runs.
pub(super) fn not_judged(
    connection: &Connection,
    scope: &Scope,
    unheard: &[Unheard],
    runs: &[JudgedRun],
    now: DateTime<Utc>,
) -> DbResult<()> {
    if unheard.is_empty() {
        return Ok(());
    }
    let sql = "DELETE FROM run_unjudged WHERE project_id = ?1 AND judged_at < ?2";
    run(connection, sql, params![scope.project_id(), micros(now - LATE)])?;
    for one in unheard {
        let sql = "UPDATE run_detector_failures SET runs = runs + ?3 WHERE project_id = ?1 AND detector = ?2";
        let count = i64::try_from(runs.len()).unwrap_or(i64::MAX);
        run(connection, sql, params![scope.project_id(), one.detector, count])?;
        let room = usize::try_from(MOST - one.remembered).unwrap_or(0);
        for judged in runs.iter().take(room) {
            let sql = "INSERT INTO run_unjudged (project_id, detector, run_id, judged_at) VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (project_id, detector, run_id) DO UPDATE SET judged_at = excluded.judged_at";
            run(connection, sql, params![scope.project_id(), one.detector, judged.facts.run_id, micros(now)])?;
        }
    }
    Ok(())
}
