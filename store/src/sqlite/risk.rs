//! The memory of risk on SQLite.

use super::SqliteStore;
use super::values::{RowExt, all, micros, one, run, to_json};
use crate::model::{ChangedFile, FileRisk, MeasuredCommit, RiskMemory, RiskRequest, RiskScore, Scope};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Row, params};

/// Rows of one listing at most.
const MAX_ROWS: u32 = 500;

fn number(row: &Row<'_>) -> rusqlite::Result<u64> {
    let stored: i64 = row.get("number")?;
    u64::try_from(stored).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, stored))
}

fn stored_number(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|_| StoreError::invalid("number", format!("{number} is no pull request's number")))
}

fn read_commit(row: &Row<'_>) -> rusqlite::Result<MeasuredCommit> {
    Ok(MeasuredCommit {
        sha: row.get("sha")?,
        committed_at: row.time("committed_at")?,
        cost_before_usd: row.get("cost_before_usd")?,
        cost_after_usd: row.get("cost_after_usd")?,
        errors_before: row.get("errors_before")?,
        errors_after: row.get("errors_after")?,
        files: Vec::new(),
    })
}

fn read_history(row: &Row<'_>) -> rusqlite::Result<FileRisk> {
    Ok(FileRisk {
        file_path: row.get("file_path")?,
        commit_sha: row.get("commit_sha")?,
        change_date: row.time("change_date")?,
        cost_delta: row.get("cost_delta_usd")?,
        error_delta: row.get("error_delta")?,
        risk_score: row.get("risk_score")?,
    })
}

fn read_request(row: &Row<'_>) -> rusqlite::Result<RiskRequest> {
    Ok(RiskRequest {
        repository: row.get("repository")?,
        number: number(row)?,
        closed: row.get("closed")?,
        requested_at: row.time("requested_at")?,
        attempts: row.get("attempts")?,
        error: row.get("error")?,
    })
}

fn read_score(row: &Row<'_>) -> rusqlite::Result<RiskScore> {
    Ok(RiskScore {
        repository: row.get("repository")?,
        number: number(row)?,
        head_sha: row.get("head_sha")?,
        scored_at: row.time("scored_at")?,
        score: row.get("score")?,
        complete: row.get("complete")?,
        report: row.json("report")?,
    })
}

fn check(commit: &MeasuredCommit) -> Result<()> {
    let is_sum = |sum: f64| sum.is_finite() && sum >= 0.0;
    if !is_sum(commit.cost_before_usd) || !is_sum(commit.cost_after_usd) {
        return Err(StoreError::invalid("cost", format!("the cost around {} is negative or no number", commit.sha)));
    }
    if !is_sum(commit.errors_before) || !is_sum(commit.errors_after) {
        return Err(StoreError::invalid(
            "errors",
            format!("the errors around {} are negative or no number", commit.sha),
        ));
    }
    Ok(())
}

#[async_trait]
impl RiskMemory for SqliteStore {
    async fn keep_measured(
        &self,
        scope: &Scope,
        repository: &str,
        commits: Vec<MeasuredCommit>,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        commits.iter().try_for_each(check)?;
        let (scope, repository) = (scope.clone(), repository.to_owned());
        self.write("keeping measured commits", move |tx| {
            let mut new = 0;
            for commit in &commits {
                let inserted = run(
                    tx.connection,
                    "INSERT INTO risk_commits (project_id, repository, sha, committed_at, cost_before_usd,
                         cost_after_usd, errors_before, errors_after, measured_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                     ON CONFLICT (project_id, repository, sha) DO NOTHING",
                    params![
                        scope.project_id(),
                        repository,
                        commit.sha,
                        micros(commit.committed_at),
                        commit.cost_before_usd,
                        commit.cost_after_usd,
                        commit.errors_before,
                        commit.errors_after,
                        micros(now)
                    ],
                )?;
                if inserted == 0 {
                    continue;
                }
                new += 1;
                for file in &commit.files {
                    run(
                        tx.connection,
                        "INSERT INTO risk_files (project_id, repository, sha, path, previous_path)
                         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (project_id, repository, sha, path) DO NOTHING",
                        params![scope.project_id(), repository, commit.sha, file.path, file.previous_path],
                    )?;
                }
            }
            Ok(new)
        })
        .await
    }

    async fn measured(&self, scope: &Scope, repository: &str, since: DateTime<Utc>) -> Result<Vec<MeasuredCommit>> {
        let (scope, repository) = (scope.clone(), repository.to_owned());
        self.read("reading measured commits", move |connection| {
            let mut commits = all(
                connection,
                "SELECT * FROM risk_commits WHERE project_id = ?1 AND repository = ?2 AND committed_at >= ?3
                 ORDER BY committed_at, sha",
                params![scope.project_id(), repository, micros(since)],
                read_commit,
            )?;
            for commit in &mut commits {
                commit.files = all(
                    connection,
                    "SELECT path, previous_path FROM risk_files WHERE project_id = ?1 AND repository = ?2 AND sha = ?3
                     ORDER BY path",
                    params![scope.project_id(), repository, commit.sha],
                    |row| Ok(ChangedFile { path: row.get("path")?, previous_path: row.get("previous_path")? }),
                )?;
            }
            Ok(commits)
        })
        .await
    }

    async fn history(
        &self,
        scope: &Scope,
        repository: Option<&str>,
        file: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FileRisk>> {
        let scope = scope.clone();
        let (repository, file) = (repository.map(str::to_owned), file.map(str::to_owned));
        self.read("reading the history of files", move |connection| {
            all(
                connection,
                "SELECT * FROM file_risk_history
                 WHERE project_id = ?1 AND (?2 IS NULL OR repository = ?2) AND (?3 IS NULL OR file_path = ?3)
                 ORDER BY change_date DESC, commit_sha, file_path LIMIT ?4",
                params![scope.project_id(), repository, file, limit.clamp(1, MAX_ROWS)],
                read_history,
            )
        })
        .await
    }

    async fn request_score(
        &self,
        scope: &Scope,
        repository: &str,
        number: u64,
        closed: bool,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let number = stored_number(number)?;
        let (scope, repository) = (scope.clone(), repository.to_owned());
        self.write("asking for a score", move |tx| {
            run(
                tx.connection,
                "INSERT INTO risk_requests (project_id, repository, number, closed, requested_at, next_attempt_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT (project_id, repository, number) DO UPDATE SET closed = excluded.closed,
                     requested_at = excluded.requested_at, next_attempt_at = excluded.next_attempt_at, attempts = 0,
                     error = NULL",
                params![scope.project_id(), repository, number, closed, micros(now)],
            )?;
            Ok(())
        })
        .await
    }

    async fn due_scores(&self, scope: &Scope, now: DateTime<Utc>, limit: u32) -> Result<Vec<RiskRequest>> {
        let scope = scope.clone();
        self.read("reading requests for scores", move |connection| {
            all(
                connection,
                "SELECT * FROM risk_requests WHERE project_id = ?1 AND next_attempt_at <= ?2
                 ORDER BY requested_at, number LIMIT ?3",
                params![scope.project_id(), micros(now), limit.clamp(1, MAX_ROWS)],
                read_request,
            )
        })
        .await
    }

    async fn waiting_scores(&self, scope: &Scope) -> Result<Vec<RiskRequest>> {
        let scope = scope.clone();
        self.read("reading requests for scores", move |connection| {
            all(
                connection,
                "SELECT * FROM risk_requests WHERE project_id = ?1 ORDER BY requested_at, number LIMIT ?2",
                params![scope.project_id(), MAX_ROWS],
                read_request,
            )
        })
        .await
    }

    async fn score_done(&self, scope: &Scope, request: &RiskRequest) -> Result<()> {
        let (scope, request, number) = (scope.clone(), request.clone(), stored_number(request.number)?);
        self.write("ending a request for a score", move |tx| {
            run(
                tx.connection,
                "DELETE FROM risk_requests
                 WHERE project_id = ?1 AND repository = ?2 AND number = ?3 AND requested_at = ?4 AND closed = ?5",
                params![scope.project_id(), request.repository, number, micros(request.requested_at), request.closed],
            )?;
            Ok(())
        })
        .await
    }

    async fn score_failed(
        &self,
        scope: &Scope,
        request: &RiskRequest,
        error: &str,
        at: Option<DateTime<Utc>>,
    ) -> Result<()> {
        let Some(at) = at else { return self.score_done(scope, request).await };
        let (scope, request, number) = (scope.clone(), request.clone(), stored_number(request.number)?);
        let error = error.to_owned();
        self.write("putting off a request for a score", move |tx| {
            run(
                tx.connection,
                "UPDATE risk_requests SET attempts = attempts + 1, error = ?5, next_attempt_at = ?6
                 WHERE project_id = ?1 AND repository = ?2 AND number = ?3 AND requested_at = ?4",
                params![
                    scope.project_id(),
                    request.repository,
                    number,
                    micros(request.requested_at),
                    error,
                    micros(at)
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn keep_score(&self, scope: &Scope, score: RiskScore) -> Result<()> {
        let (scope, number) = (scope.clone(), stored_number(score.number)?);
        self.write("keeping a score", move |tx| {
            run(
                tx.connection,
                "INSERT OR REPLACE INTO risk_scores
                     (project_id, repository, number, head_sha, scored_at, score, complete, report)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    scope.project_id(),
                    score.repository,
                    number,
                    score.head_sha,
                    micros(score.scored_at),
                    score.score,
                    score.complete,
                    to_json(&score.report)?
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn score(&self, scope: &Scope, repository: &str, number: u64) -> Result<Option<RiskScore>> {
        let (scope, repository, number) = (scope.clone(), repository.to_owned(), stored_number(number)?);
        self.read("reading a score", move |connection| {
            one(
                connection,
                "SELECT * FROM risk_scores WHERE project_id = ?1 AND repository = ?2 AND number = ?3",
                params![scope.project_id(), repository, number],
                read_score,
            )
        })
        .await
    }

    async fn scores(&self, scope: &Scope, limit: u32) -> Result<Vec<RiskScore>> {
        let scope = scope.clone();
        self.read("reading scores", move |connection| {
            all(
                connection,
                "SELECT * FROM risk_scores WHERE project_id = ?1 ORDER BY scored_at DESC, number DESC LIMIT ?2",
                params![scope.project_id(), limit.clamp(1, MAX_ROWS)],
                read_score,
            )
        })
        .await
    }
}
