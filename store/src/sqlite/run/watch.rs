//! Which runs wait for their verdict.

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, params};

use super::super::connection::DbResult;
use super::super::values::{all, micros, micros_opt, one, run, to_json};
use crate::model::{DueRun, RunActivity, Scope};

/// How long after its verdict a run that has ended is judged again when more of it arrives. Later its events may be gone.
pub(super) const LATE: TimeDelta = TimeDelta::hours(24);

pub(super) fn watermark(connection: &Connection, scope: &Scope) -> DbResult<i64> {
    let sql = "SELECT seq FROM run_watermarks WHERE project_id = ?1";
    Ok(one(connection, sql, params![scope.project_id()], |row| row.get(0))?.unwrap_or(0))
}

pub(super) fn observe(connection: &Connection, scope: &Scope, activity: &[RunActivity], seq: i64) -> DbResult<()> {
    // One statement for all: each one that may write several rows has a journal of its own, which costs more than the rows.
    let seen: Vec<_> = activity
        .iter()
        .map(|seen| {
            let (last, ended) = (micros(seen.last_received_at), micros_opt(seen.ended_at));
            (&seen.run_id, i64::from(seen.started), last, ended, seen.first_seq)
        })
        .collect();
    // The first terminal event counts: what it waits for is that the events before it arrive. A run that was judged before began
    // earlier than what is seen now: where, its verdict says. What comes late of one that has ended (its end may be told by another process than the
    // rest) settles in its turn; one that had stalled and goes on waits for its end, or until it is silent again.
    run(
        connection,
        "INSERT INTO run_watch (project_id, run_id, started, last_received_at, ended_at, first_seq)
         SELECT ?1, value ->> 0, CASE WHEN judged.run_id IS NULL THEN value ->> 1 ELSE 1 END, value ->> 2,
             CASE WHEN judged.reason <> 'stalled' THEN coalesce(value ->> 3, value ->> 2) ELSE value ->> 3 END,
             CASE WHEN judged.run_id IS NULL THEN value ->> 4 ELSE min(coalesce(judged.first_seq, 0), value ->> 4) END
         FROM json_each(?2) LEFT JOIN judged_runs judged ON judged.project_id = ?1 AND judged.run_id = value ->> 0
         WHERE judged.run_id IS NULL
            OR value ->> 2 <= judged.judged_at + ?3
            OR (judged.reason = 'stalled' AND value ->> 3 IS NOT NULL)
         ON CONFLICT (project_id, run_id) DO UPDATE SET
             first_seq = min(first_seq, excluded.first_seq),
             started = max(started, excluded.started),
             last_received_at = max(last_received_at, excluded.last_received_at),
             ended_at = coalesce(ended_at, excluded.ended_at)",
        params![scope.project_id(), to_json(&seen)?, LATE.num_microseconds()],
    )?;
    run(
        connection,
        "INSERT INTO run_watermarks (project_id, seq) VALUES (?1, ?2)
         ON CONFLICT (project_id) DO UPDATE SET seq = max(seq, excluded.seq)",
        params![scope.project_id(), seq],
    )?;
    Ok(())
}

pub(super) fn due(
    connection: &Connection,
    scope: &Scope,
    settled: DateTime<Utc>,
    silent_since: DateTime<Utc>,
    limit: u32,
) -> DbResult<Vec<DueRun>> {
    let mut due = all(
        connection,
        "SELECT run_id, first_seq FROM run_watch WHERE project_id = ?1 AND ended_at <= ?2 AND ended_at IS NOT NULL
         ORDER BY ended_at, run_id LIMIT ?3",
        params![scope.project_id(), micros(settled), limit],
        |row| Ok(DueRun { run_id: row.get(0)?, first_seq: row.get(1)?, ended: true }),
    )?;
    let left = limit.saturating_sub(u32::try_from(due.len()).unwrap_or(u32::MAX));
    due.extend(all(
        connection,
        "SELECT run_id, first_seq FROM run_watch
         WHERE project_id = ?1 AND ended_at IS NULL AND started = 1 AND last_received_at <= ?2
         ORDER BY last_received_at, run_id LIMIT ?3",
        params![scope.project_id(), micros(silent_since), left],
        |row| Ok(DueRun { run_id: row.get(0)?, first_seq: row.get(1)?, ended: false }),
    )?);
    Ok(due)
}

pub(super) fn forget(connection: &Connection, scope: &Scope, run_ids: &[String]) -> DbResult<()> {
    for run_id in run_ids {
        let sql = "DELETE FROM run_watch WHERE project_id = ?1 AND run_id = ?2";
        run(connection, sql, params![scope.project_id(), run_id])?;
    }
    Ok(())
}
