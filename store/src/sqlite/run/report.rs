//! Reading about runs on SQLite: every rate is of all judged runs.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

use super::super::SqliteStore;
use super::super::connection::DbResult;
use super::super::values::{RowExt, all, micros, one, run};
use super::insights::insights;
use super::rollup::HOUR;
use crate::model::{
    AgentInsights, AgentSummary, AppliedVia, FailureRate, FixStatus, HealthDigest, Issue, IssueStatus, JudgedRunView,
    NewFix, RunReports, Scope, TypeRate, Window,
};
use crate::{Result, StoreError};

/// Microseconds of a day.
const DAY: i64 = 24 * HOUR;

/// Live signals of runs.
const LIVE: &str = "a.run_id <> '' AND a.shadow = 0";

fn count(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> DbResult<i64> {
    Ok(one(connection, sql, params, |row| row.get(0))?.unwrap_or(0))
}

fn agents(
    connection: &Connection,
    scope: &Scope,
    now: DateTime<Utc>,
    limit: u32,
    offset: u32,
) -> DbResult<(Vec<AgentSummary>, i64)> {
    let project = scope.project_id();
    let total = "SELECT count(*) FROM run_agents WHERE project_id = ?1 AND runs > 0";
    let total = count(connection, total, params![project])?;
    let mut agents = all(
        connection,
        "SELECT agent_id, last_seen_at, runs FROM run_agents WHERE project_id = ?1 AND runs > 0
         ORDER BY last_seen_at DESC, agent_id LIMIT ?2 OFFSET ?3",
        params![project, limit, offset],
        |row| {
            Ok(AgentSummary {
                agent_id: row.get(0)?,
                last_seen_at: row.time("last_seen_at")?,
                runs: row.get(2)?,
                signals: 0,
                critical: 0,
                high: 0,
                sparkline: Vec::new(),
                failure_types: Default::default(),
            })
        },
    )?;
    let today = micros(now).div_euclid(DAY);
    for agent in &mut agents {
        let of_agent = params![project, agent.agent_id];
        let types = "SELECT type, severity, signals FROM run_agent_types WHERE project_id = ?1 AND agent_id = ?2";
        let types: Vec<(String, String, i64)> =
            all(connection, types, of_agent, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        for (kind, severity, signals) in types {
            agent.signals += signals;
            match severity.as_str() {
                "critical" => agent.critical += signals,
                "high" => agent.high += signals,
                _ => {}
            }
            *agent.failure_types.entry(kind).or_default() += signals;
        }
        let days: Vec<(i64, i64)> = all(
            connection,
            "SELECT day, signals FROM run_agent_days WHERE project_id = ?1 AND agent_id = ?2 AND day > ?3 - 7 AND day <= ?3",
            params![project, agent.agent_id, today],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if !days.is_empty() {
            let of_day = |day: i64| days.iter().find(|(known, _)| *known == day).map_or(0, |(_, signals)| *signals);
            agent.sparkline = (today - 6..=today).map(of_day).collect();
        }
    }
    Ok((agents, total))
}

fn read_view(row: &Row<'_>) -> rusqlite::Result<JudgedRunView> {
    Ok(JudgedRunView {
        run_id: row.get("run_id")?,
        agent_id: row.get("agent_id")?,
        agent_version: row.get("agent_version")?,
        started_at: row.time("started_at")?,
        ended_at: row.time("ended_at")?,
        reason: row.get("reason")?,
        exit_reason: row.get("exit_reason")?,
        step_count: row.get("step_count")?,
        signals: row.get("live_count")?,
    })
}

/// Verdicts of an agent, newest first, and how many there are: with, without, or with and without a live signal.
fn agent_runs(
    connection: &Connection,
    scope: &Scope,
    agent: &str,
    has_signals: Option<bool>,
    limit: u32,
    offset: u32,
) -> DbResult<(Vec<JudgedRunView>, i64)> {
    // An index has the runs with a live signal alone: the condition stands as it is written there.
    let (condition, counted) = match has_signals {
        None => ("", "runs"),
        Some(true) => (" AND live_count > 0", "failing"),
        Some(false) => (" AND live_count = 0", "runs - failing"),
    };
    let project = scope.project_id();
    let page = format!(
        "SELECT * FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2{condition}
         ORDER BY judged_at DESC, id DESC LIMIT ?3 OFFSET ?4"
    );
    let page = all(connection, &page, params![project, agent, limit, offset], read_view)?;
    let total = format!("SELECT {counted} FROM run_agents WHERE project_id = ?1 AND agent_id = ?2");
    Ok((page, count(connection, &total, params![project, agent])?))
}

fn issues(connection: &Connection, scope: &Scope, agent: &str, status: Option<IssueStatus>) -> DbResult<Vec<Issue>> {
    let mut issues = all(
        connection,
        "SELECT * FROM incidents WHERE project_id = ?1 AND agent_id = ?2 ORDER BY last_seen_at DESC, id",
        params![scope.project_id(), agent],
        |row| {
            let (stored, reopened): (String, i64) = (row.get("status")?, row.get("reopened_count")?);
            Ok(Issue {
                id: row.get("issue_id")?,
                agent_id: row.get("agent_id")?,
                failure_type: row.get("type")?,
                status: match (stored.as_str(), reopened) {
                    ("resolved", _) => IssueStatus::Resolved,
                    (_, 0) => IssueStatus::Open,
                    _ => IssueStatus::Reopened,
                },
                first_seen_at: row.time("opened_at")?,
                last_seen_at: row.time("last_seen_at")?,
                resolved_at: row.time_opt("resolved_at")?,
                affected_runs: row.get("occurrences")?,
                clean_runs_since: row.get("clean_windows")?,
            })
        },
    )?;
    issues.retain(|issue| status.is_none_or(|status| issue.status == status));
    issues.sort_by_key(|issue| issue.status);
    Ok(issues)
}

fn digest(connection: &Connection, scope: &Scope, week: Window) -> DbResult<HealthDigest> {
    let project = scope.project_id();
    let (since, until) = (micros(week.start), micros(week.end));
    let runs = count(
        connection,
        "SELECT count(*) FROM judged_runs WHERE project_id = ?1 AND judged_at >= ?2 AND judged_at < ?3",
        params![project, since, until],
    )?;
    let agents = count(
        connection,
        "SELECT count(DISTINCT agent_id) FROM judged_runs WHERE project_id = ?1 AND judged_at >= ?2 AND judged_at < ?3",
        params![project, since, until],
    )?;
    let signals = format!(
        "SELECT count(*) FROM anomalies a WHERE a.project_id = ?1 AND a.detected_at >= ?2 AND a.detected_at < ?3 AND {LIVE}"
    );
    let signals = count(connection, &signals, params![project, since, until])?;
    let rate = |total: i64, row: &Row<'_>, kind: usize, affected: usize| {
        let rate = FailureRate { total_runs: total, affected_runs: row.get(affected)? };
        Ok::<_, rusqlite::Error>(TypeRate { failure_type: row.get(kind)?, day: None, rate, seen: None })
    };
    let top_failures = all(
        connection,
        &format!(
            "SELECT a.type, count(*) FROM anomalies a WHERE a.project_id = ?1 AND a.detected_at >= ?2 AND a.detected_at < ?3 AND {LIVE}
             GROUP BY a.type ORDER BY count(*) DESC, a.type LIMIT 5"
        ),
        params![project, since, until],
        |row| rate(runs, row, 0, 1),
    )?;
    let rates: Vec<(String, TypeRate)> = all(
        connection,
        &format!(
            "WITH agents AS (SELECT agent_id, count(*) AS runs FROM judged_runs
                 WHERE project_id = ?1 AND judged_at >= ?2 AND judged_at < ?3 GROUP BY agent_id)
             SELECT a.agent_id, a.type, count(*), g.runs FROM anomalies a JOIN agents g ON g.agent_id = a.agent_id
             WHERE a.project_id = ?1 AND a.detected_at >= ?2 AND a.detected_at < ?3 AND {LIVE}
             GROUP BY a.agent_id, a.type ORDER BY count(*) * 1.0 / g.runs DESC, count(*) DESC, a.agent_id, a.type"
        ),
        params![project, since, until],
        |row| Ok((row.get(0)?, rate(row.get(3)?, row, 1, 2)?)),
    )?;
    let mut by_agent: Vec<(String, i64, i64, String)> = Vec::new();
    let mut most: std::collections::HashMap<String, (i64, i64, i64, String)> = Default::default();
    for (agent, of_type) in &rates {
        let known = most.entry(agent.clone()).or_insert((0, of_type.rate.total_runs, 0, String::new()));
        known.0 += of_type.rate.affected_runs;
        if of_type.rate.affected_runs > known.2 {
            (known.2, known.3) = (of_type.rate.affected_runs, of_type.failure_type.clone());
        }
    }
    by_agent.extend(most.into_iter().map(|(agent, (signals, runs, _, kind))| (agent, signals, runs, kind)));
    by_agent.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    by_agent.truncate(5);
    let opened = "SELECT count(*) FROM incidents WHERE project_id = ?1 AND agent_id IS NOT NULL AND opened_at >= ?2 AND opened_at < ?3";
    let resolved = "SELECT count(*) FROM incidents WHERE project_id = ?1 AND agent_id IS NOT NULL AND resolved_at >= ?2 AND resolved_at < ?3";
    Ok(HealthDigest {
        runs,
        agents,
        signals,
        top_failures,
        top_agents: by_agent,
        rates,
        issues_opened: count(connection, opened, params![project, since, until])?,
        issues_resolved: count(connection, resolved, params![project, since, until])?,
    })
}

fn fix_status(connection: &Connection, scope: &Scope, signal_id: i64) -> DbResult<Option<FixStatus>> {
    let project = scope.project_id();
    let fix = one(
        connection,
        "SELECT * FROM fixes WHERE project_id = ?1 AND signal_id = ?2 ORDER BY id DESC LIMIT 1",
        params![project, signal_id],
        |row| {
            let via: AppliedVia = row.get("applied_via")?;
            Ok((
                row.get::<_, i64>("id")?,
                NewFix {
                    signal_id,
                    applied_via: via,
                    prompt_name: row.get("prompt_name")?,
                    prompt_version: row.get("prompt_version")?,
                    fix_content: row.get("fix_content")?,
                    applied_by: row.get("applied_by")?,
                },
                row.time("applied_at")?,
            ))
        },
    )?;
    let Some((id, fix, applied_at)) = fix else { return Ok(None) };
    let signal: Option<(String, String, bool)> = one(
        connection,
        "SELECT agent_id, type, shadow FROM anomalies WHERE project_id = ?1 AND signal_id = ?2",
        params![project, signal_id],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let (agent, kind, shadow) = signal.unwrap_or_default();
    // A failure that is found on trial comes back on trial.
    let counted = if shadow { "a.run_id <> ''" } else { LIVE };
    let at = micros(applied_at);
    // A run that ended before the fix and was judged after it says nothing about it.
    let later = "coalesce(r.received_at, r.judged_at) > ?3";
    let runs_after = count(
        connection,
        &format!("SELECT count(*) FROM judged_runs r WHERE r.project_id = ?1 AND r.agent_id = ?2 AND {later}"),
        params![project, agent, at],
    )?;
    let recurrences = count(
        connection,
        &format!(
            "SELECT count(*) FROM anomalies a JOIN judged_runs r ON r.project_id = a.project_id AND r.run_id = a.run_id
             WHERE a.project_id = ?1 AND a.agent_id = ?2 AND a.type = ?4 AND a.detected_at > ?3 AND {counted} AND {later}"
        ),
        params![project, agent, at, kind],
    )?;
    Ok(Some(FixStatus { id, fix, applied_at, runs_after, recurrences }))
}

#[async_trait]
impl RunReports for SqliteStore {
    async fn agents(
        &self,
        scope: &Scope,
        now: DateTime<Utc>,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<AgentSummary>, i64)> {
        let scope = scope.clone();
        self.read("listing agents", move |connection| agents(connection, &scope, now, limit, offset)).await
    }

    async fn agent_runs(
        &self,
        scope: &Scope,
        agent_id: &str,
        has_signals: Option<bool>,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<JudgedRunView>, i64)> {
        let (scope, agent) = (scope.clone(), agent_id.to_owned());
        self.read("listing runs", move |connection| agent_runs(connection, &scope, &agent, has_signals, limit, offset))
            .await
    }

    async fn judged_run(&self, scope: &Scope, run_id: &str) -> Result<Option<JudgedRunView>> {
        let (scope, run_id) = (scope.clone(), run_id.to_owned());
        self.read("reading a verdict", move |connection| {
            let sql = "SELECT * FROM judged_runs WHERE project_id = ?1 AND run_id = ?2";
            one(connection, sql, params![scope.project_id(), run_id], read_view)
        })
        .await
    }

    async fn issues(&self, scope: &Scope, agent_id: &str, status: Option<IssueStatus>) -> Result<Vec<Issue>> {
        let (scope, agent) = (scope.clone(), agent_id.to_owned());
        self.read("listing issues", move |connection| issues(connection, &scope, &agent, status)).await
    }

    async fn insights(&self, scope: &Scope, agent_id: &str, now: DateTime<Utc>) -> Result<AgentInsights> {
        let (scope, agent) = (scope.clone(), agent_id.to_owned());
        self.read("reading about an agent", move |connection| insights(connection, &scope, &agent, now)).await
    }

    async fn record_fix(&self, scope: &Scope, fix: NewFix, now: DateTime<Utc>) -> Result<i64> {
        let scope = scope.clone();
        self.write("keeping a fix", move |tx| {
            if super::find(tx.connection, &scope, fix.signal_id)?.is_none() {
                return Err(StoreError::not_found("signal", fix.signal_id).into());
            }
            if fix.applied_via == AppliedVia::Langfuse {
                let known = one(
                    tx.connection,
                    "SELECT id FROM fixes WHERE project_id = ?1 AND signal_id = ?2 AND applied_via = ?3
                         AND prompt_name IS ?4 AND prompt_version IS ?5",
                    params![scope.project_id(), fix.signal_id, fix.applied_via, fix.prompt_name, fix.prompt_version],
                    |row| row.get(0),
                )?;
                if let Some(id) = known {
                    return Ok(id);
                }
            }
            run(
                tx.connection,
                "INSERT INTO fixes (project_id, signal_id, applied_via, prompt_name, prompt_version, fix_content, applied_at,
                     applied_by)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    scope.project_id(),
                    fix.signal_id,
                    fix.applied_via,
                    fix.prompt_name,
                    fix.prompt_version,
                    fix.fix_content,
                    micros(now),
                    fix.applied_by
                ],
            )?;
            Ok(tx.connection.last_insert_rowid())
        })
        .await
    }

    async fn fix_status(&self, scope: &Scope, signal_id: i64) -> Result<Option<FixStatus>> {
        let scope = scope.clone();
        self.read("reading a fix", move |connection| fix_status(connection, &scope, signal_id)).await
    }

    async fn health_digest(&self, scope: &Scope, week: Window) -> Result<HealthDigest> {
        let scope = scope.clone();
        self.read("reading about a week", move |connection| digest(connection, &scope, week)).await
    }
}
