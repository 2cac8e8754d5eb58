//! Job runs and watermarks on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, all, later, micros, micros_opt, one, run, to_json};
use super::writer::Tx;
use crate::model::{
    Begun, JobOutcome, JobRun, JobRunFilter, JobRunId, JobRuns, JobStatus, NewJobRun, Page, PageRequest, Scope, Window,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use std::time::Duration;

fn begin(tx: &mut Tx<'_>, scope: &Scope, new: &NewJobRun, now: DateTime<Utc>) -> DbResult<Begun> {
    let lease_until = later(now, new.lease_for)?;
    abandon(tx, scope, Some(&new.job), now)?;
    let alive = one(
        tx.connection,
        "SELECT * FROM job_runs WHERE project_id = ?1 AND job = ?2 AND status = 'running'",
        params![scope.project_id(), new.job],
        read_run,
    )?;
    if let Some(run) = alive {
        return Ok(Begun::Busy(run));
    }
    let id: JobRunId = tx.ids.next(now);
    // A run without a window has no earlier attempts: NULL equals nothing.
    run(
        tx.connection,
        "INSERT INTO job_runs (project_id, id, job, window_start, window_end, due_at, started_at, status, attempt,
             holder, heartbeat_at, lease_until)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, 'running', count(*) + 1, ?8, ?7, ?9
         FROM job_runs WHERE project_id = ?1 AND job = ?3 AND window_start = ?4 AND window_end = ?5",
        params![
            scope.project_id(),
            id,
            new.job,
            micros_opt(new.window.map(|window| window.start)),
            micros_opt(new.window.map(|window| window.end)),
            micros(new.due_at),
            micros(now),
            new.holder,
            micros(lease_until)
        ],
    )?;
    Ok(Begun::Started(existing(tx.connection, scope, &id)?))
}

/// Marks runs whose lease ran out, of one job or of all.
fn abandon(tx: &Tx<'_>, scope: &Scope, job: Option<&str>, now: DateTime<Utc>) -> DbResult<Vec<JobRun>> {
    all(
        tx.connection,
        "UPDATE job_runs SET status = 'abandoned', finished_at = ?2, error = 'its process stopped without a word'
         WHERE project_id = ?1 AND status = 'running' AND lease_until <= ?2 AND (?3 IS NULL OR job = ?3)
         RETURNING *",
        params![scope.project_id(), micros(now), job],
        read_run,
    )
}

fn finish(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &JobRunId,
    holder: &str,
    outcome: &JobOutcome,
    now: DateTime<Utc>,
) -> DbResult<JobRun> {
    if outcome.status == JobStatus::Running {
        return Err(StoreError::invalid("status", "a finished run is not running").into());
    }
    if outcome.advance_to.is_some() && !matches!(outcome.status, JobStatus::Ok | JobStatus::Skipped) {
        let reason = format!("a run that is {} leaves its window due", outcome.status);
        return Err(StoreError::invalid("advance_to", reason).into());
    }
    let changed = run(
        tx.connection,
        "UPDATE job_runs SET status = ?4, finished_at = ?5, error = ?6, detail = ?7
         WHERE project_id = ?1 AND id = ?2 AND holder = ?3 AND status = 'running'",
        params![
            scope.project_id(),
            id,
            holder,
            outcome.status,
            micros(now),
            outcome.error,
            outcome.detail.as_ref().map(to_json).transpose()?
        ],
    )?;
    let finished = existing(tx.connection, scope, id)?;
    if changed == 0 {
        return Err(lease_lost(id).into());
    }
    if let Some(to) = outcome.advance_to {
        advance(tx, scope, &finished.job, to)?;
    }
    Ok(finished)
}

fn advance(tx: &Tx<'_>, scope: &Scope, job: &str, to: DateTime<Utc>) -> DbResult<DateTime<Utc>> {
    run(
        tx.connection,
        "INSERT INTO job_watermarks (project_id, job, watermark) VALUES (?1, ?2, ?3)
         ON CONFLICT (project_id, job) DO UPDATE SET watermark = max(watermark, excluded.watermark)",
        params![scope.project_id(), job, micros(to)],
    )?;
    watermark(tx.connection, scope, job)?.ok_or_else(|| StoreError::not_found("watermark", job).into())
}

fn watermark(connection: &Connection, scope: &Scope, job: &str) -> DbResult<Option<DateTime<Utc>>> {
    let sql = "SELECT watermark FROM job_watermarks WHERE project_id = ?1 AND job = ?2";
    one(connection, sql, params![scope.project_id(), job], |row| row.time("watermark"))
}

fn lease_lost(id: &JobRunId) -> StoreError {
    StoreError::LeaseLost { what: "job run", id: id.to_string() }
}

fn find(connection: &Connection, scope: &Scope, id: &JobRunId) -> DbResult<Option<JobRun>> {
    let sql = "SELECT * FROM job_runs WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_run)
}

fn existing(connection: &Connection, scope: &Scope, id: &JobRunId) -> DbResult<JobRun> {
    find(connection, scope, id)?.ok_or_else(|| StoreError::not_found("job run", id).into())
}

fn read_run(row: &Row<'_>) -> rusqlite::Result<JobRun> {
    let bounds = row.time_opt("window_start")?.zip(row.time_opt("window_end")?);
    Ok(JobRun {
        id: row.get("id")?,
        job: row.get("job")?,
        window: bounds.map(|(start, end)| Window { start, end }),
        due_at: row.time("due_at")?,
        started_at: row.time("started_at")?,
        finished_at: row.time_opt("finished_at")?,
        status: row.get("status")?,
        attempt: row.get("attempt")?,
        holder: row.get("holder")?,
        heartbeat_at: row.time("heartbeat_at")?,
        lease_until: row.time("lease_until")?,
        error: row.get("error")?,
        detail: row.json_opt("detail")?,
    })
}

#[async_trait]
impl JobRuns for SqliteStore {
    async fn begin(&self, scope: &Scope, new: NewJobRun, now: DateTime<Utc>) -> Result<Begun> {
        let scope = scope.clone();
        self.write("beginning a job run", move |tx| begin(tx, &scope, &new, now)).await
    }

    async fn heartbeat(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        lease_for: Duration,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (scope, id, holder) = (scope.clone(), id.clone(), holder.to_owned());
        let until = later(now, lease_for)?;
        self.write("keeping a job run alive", move |tx| {
            let changed = run(
                tx.connection,
                "UPDATE job_runs SET heartbeat_at = max(heartbeat_at, ?4), lease_until = max(lease_until, ?5)
                 WHERE project_id = ?1 AND id = ?2 AND holder = ?3 AND status = 'running'",
                params![scope.project_id(), id, holder, micros(now), micros(until)],
            )?;
            if changed == 0 { Err(lease_lost(&id).into()) } else { Ok(()) }
        })
        .await
    }

    async fn finish(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        outcome: JobOutcome,
        now: DateTime<Utc>,
    ) -> Result<JobRun> {
        let (scope, id, holder) = (scope.clone(), id.clone(), holder.to_owned());
        self.write("finishing a job run", move |tx| finish(tx, &scope, &id, &holder, &outcome, now)).await
    }

    async fn discard(
        &self,
        scope: &Scope,
        id: &JobRunId,
        holder: &str,
        advance_to: Option<DateTime<Utc>>,
    ) -> Result<()> {
        let (scope, id, holder) = (scope.clone(), id.clone(), holder.to_owned());
        self.write("discarding a job run", move |tx| {
            let job: Option<String> = one(
                tx.connection,
                "DELETE FROM job_runs WHERE project_id = ?1 AND id = ?2 AND holder = ?3 AND status = 'running' RETURNING job",
                params![scope.project_id(), id, holder],
                |row| row.get(0),
            )?;
            let Some(job) = job else { return Err(lease_lost(&id).into()) };
            if let Some(to) = advance_to {
                advance(tx, &scope, &job, to)?;
            }
            Ok(())
        })
        .await
    }

    async fn prune(&self, scope: &Scope, before: DateTime<Utc>, per_job: u32) -> Result<u64> {
        let scope = scope.clone();
        self.write("letting go of old job runs", move |tx| {
            let gone = run(
                tx.connection,
                "DELETE FROM job_runs WHERE project_id = ?1 AND id IN (
                     SELECT id FROM (
                         SELECT id, status, finished_at,
                                row_number() OVER (PARTITION BY job ORDER BY started_at DESC, id DESC) AS place
                         FROM job_runs WHERE project_id = ?1)
                     WHERE place > 1 AND status <> 'running' AND (finished_at < ?2 OR place > ?3)
                     LIMIT 50000)",
                params![scope.project_id(), micros(before), per_job],
            )?;
            Ok(u64::try_from(gone).unwrap_or_default())
        })
        .await
    }

    async fn abandon_stale(&self, scope: &Scope, now: DateTime<Utc>) -> Result<Vec<JobRun>> {
        let scope = scope.clone();
        self.write("abandoning stale job runs", move |tx| abandon(tx, &scope, None, now)).await
    }

    async fn watermark(&self, scope: &Scope, job: &str) -> Result<Option<DateTime<Utc>>> {
        let (scope, job) = (scope.clone(), job.to_owned());
        self.read("reading a watermark", move |connection| watermark(connection, &scope, &job)).await
    }

    async fn advance(&self, scope: &Scope, job: &str, to: DateTime<Utc>) -> Result<DateTime<Utc>> {
        let (scope, job) = (scope.clone(), job.to_owned());
        self.write("advancing a watermark", move |tx| advance(tx, &scope, &job, to)).await
    }

    async fn get(&self, scope: &Scope, id: &JobRunId) -> Result<Option<JobRun>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading a job run", move |connection| find(connection, &scope, &id)).await
    }

    async fn list(&self, scope: &Scope, filter: &JobRunFilter, page: &PageRequest) -> Result<Page<JobRun>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing job runs", move |connection| {
            Filter::scoped(&scope)
                .equal("job", filter.job)
                .equal("status", filter.status)
                .since("started_at", filter.since)
                .page(connection, "job_runs", "started_at", &page, read_run)
        })
        .await
    }
}
