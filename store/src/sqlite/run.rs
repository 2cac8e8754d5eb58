//! Verdicts about runs on SQLite.
//!
//! Owns reading verdicts and signals, feedback, and the trait; what waits is in [`watch`], keeping verdicts in
//! [`record`], detectors that fail in [`failing`], reading about runs in [`report`] and [`insights`], roll-ups in [`rollup`].

mod failing;
mod insights;
mod record;
mod report;
mod rollup;
mod watch;

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, all, micros, one, run};
use crate::model::{
    AgentVersion, DetectorFailure, DetectorPrecision, DueRun, FailedDetector, FailureRate, IncidentId, JudgedRun,
    RecordedRuns, RunActivity, RunFacts, RunSignal, Runs, Scope, Severity, SignalFilter,
};
use crate::{Result, StoreError};

fn read_signal(row: &Row<'_>) -> rusqlite::Result<RunSignal> {
    Ok(RunSignal {
        id: row.get("signal_id")?,
        anomaly_id: row.get("id")?,
        incident_id: row.get("incident_id")?,
        run_id: row.get("run_id")?,
        agent_id: row.get("agent_id")?,
        agent_version: row.get("agent_version")?,
        detector: row.get("detector")?,
        failure_type: row.get("type")?,
        severity: row.get("severity")?,
        step_index: row.get("step_index")?,
        confidence: row.get("confidence")?,
        co_signals: row.get("co_signals")?,
        detected_at: row.time("detected_at")?,
        shadow: row.get("shadow")?,
        alerted_at: row.time_opt("alerted_at")?,
        evidence: row.json("evidence")?,
    })
}

fn read_facts(row: &Row<'_>) -> rusqlite::Result<RunFacts> {
    Ok(RunFacts {
        run_id: row.get("run_id")?,
        agent_id: row.get("agent_id")?,
        agent_version: row.get("agent_version")?,
        reason: row.get("reason")?,
        exit_reason: row.get("exit_reason")?,
        started_at: row.time("started_at")?,
        ended_at: row.time("ended_at")?,
        step_count: row.get("step_count")?,
        llm_calls: row.get("llm_calls")?,
        tool_calls: row.get("tool_calls")?,
        first_tool_step: row.get("first_tool_step")?,
        input_hash: row.get("input_hash")?,
        token_growth: row.get("token_growth")?,
        tool_gaps_ms: row.json("tool_gaps_ms")?,
        llm_gaps_ms: row.json("llm_gaps_ms")?,
    })
}

fn completed(
    connection: &Connection,
    scope: &Scope,
    of: Vec<AgentVersion>,
    limit: u32,
) -> DbResult<HashMap<AgentVersion, Vec<RunFacts>>> {
    let mut found = HashMap::with_capacity(of.len());
    for (agent, version) in of {
        let mut runs = all(
            connection,
            "SELECT * FROM judged_runs
             WHERE project_id = ?1 AND agent_id = ?2 AND agent_version = ?3 AND reason = 'completed'
             ORDER BY id DESC LIMIT ?4",
            params![scope.project_id(), agent, version, limit],
            read_facts,
        )?;
        runs.reverse();
        found.insert((agent, version), runs);
    }
    Ok(found)
}

/// A filter as a condition: what is not asked for is not in it, so that an index answers what is.
fn wanted(scope: &Scope, filter: &SignalFilter) -> Filter {
    let SignalFilter { agent_id, run_id, failure_type, severity, include_shadow } = filter;
    Filter::scoped(scope)
        .and("run_id <> ''")
        .equal("agent_id", agent_id.as_deref())
        .equal("run_id", run_id.as_deref())
        .equal("type", failure_type.as_deref())
        .equal("severity", severity.map(Severity::as_str))
        .and(if *include_shadow { "TRUE" } else { "shadow = 0" })
}

fn signals(
    connection: &Connection,
    scope: &Scope,
    filter: &SignalFilter,
    limit: u32,
    offset: u32,
) -> DbResult<(Vec<RunSignal>, i64)> {
    let order = "detected_at DESC, signal_id DESC";
    let page = wanted(scope, filter).newest(connection, "anomalies", order, limit, offset, read_signal)?;
    Ok((page, how_many(connection, scope, filter)?))
}

/// Signals that a filter lets through. Live ones of an agent are kept as totals; others are counted.
fn how_many(connection: &Connection, scope: &Scope, filter: &SignalFilter) -> DbResult<i64> {
    let SignalFilter { agent_id: Some(agent), run_id: None, failure_type, severity, include_shadow: false } = filter
    else {
        return wanted(scope, filter).count(connection, "anomalies");
    };
    Filter::scoped(scope)
        .equal("agent_id", Some(agent))
        .equal("type", failure_type.as_deref())
        .equal("severity", severity.map(Severity::as_str))
        .number(connection, "coalesce(sum(signals), 0)", "run_agent_types")
}

fn newest_of_incidents(
    connection: &Connection,
    scope: &Scope,
    incidents: Vec<IncidentId>,
) -> DbResult<HashMap<IncidentId, RunSignal>> {
    // In the order in which they were kept, which the index of incidents is in too.
    let sql = "SELECT * FROM anomalies WHERE project_id = ?1 AND incident_id = ?2 AND run_id <> '' ORDER BY rowid DESC LIMIT 1";
    let mut newest = HashMap::with_capacity(incidents.len());
    for incident in incidents {
        if let Some(signal) = one(connection, sql, params![scope.project_id(), incident], read_signal)? {
            newest.insert(incident, signal);
        }
    }
    Ok(newest)
}

fn find(connection: &Connection, scope: &Scope, id: i64) -> DbResult<Option<RunSignal>> {
    let sql = "SELECT * FROM anomalies WHERE project_id = ?1 AND signal_id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_signal)
}

#[async_trait]
impl Runs for SqliteStore {
    async fn run_watermark(&self, scope: &Scope) -> Result<i64> {
        let scope = scope.clone();
        self.read("reading how far runs were observed", move |connection| watch::watermark(connection, &scope)).await
    }

    async fn observe_runs(&self, scope: &Scope, activity: Vec<RunActivity>, seq: i64) -> Result<()> {
        let scope = scope.clone();
        self.write("noting which runs wait", move |tx| watch::observe(tx.connection, &scope, &activity, seq)).await
    }

    async fn due_runs(
        &self,
        scope: &Scope,
        settled: DateTime<Utc>,
        silent_since: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<DueRun>> {
        let scope = scope.clone();
        let job = move |connection: &Connection| watch::due(connection, &scope, settled, silent_since, limit);
        self.read("finding runs that are due", job).await
    }

    async fn record_judged(
        &self,
        scope: &Scope,
        runs: Vec<JudgedRun>,
        clean_runs_to_resolve: u32,
        now: DateTime<Utc>,
    ) -> Result<RecordedRuns> {
        let scope = scope.clone();
        self.write("keeping verdicts about runs", move |tx| {
            record::record(tx, &scope, runs, clean_runs_to_resolve, now)
        })
        .await
    }

    async fn forget_runs(&self, scope: &Scope, run_ids: Vec<String>) -> Result<()> {
        let scope = scope.clone();
        self.write("forgetting runs without events", move |tx| watch::forget(tx.connection, &scope, &run_ids)).await
    }

    async fn completed_runs(
        &self,
        scope: &Scope,
        of: Vec<AgentVersion>,
        limit: u32,
    ) -> Result<HashMap<AgentVersion, Vec<RunFacts>>> {
        let scope = scope.clone();
        self.read("reading what runs are compared with", move |connection| completed(connection, &scope, of, limit))
            .await
    }

    async fn newest_signals(
        &self,
        scope: &Scope,
        incidents: Vec<IncidentId>,
    ) -> Result<HashMap<IncidentId, RunSignal>> {
        let scope = scope.clone();
        let job = move |connection: &Connection| newest_of_incidents(connection, &scope, incidents);
        self.read("reading the newest signals of incidents", job).await
    }

    async fn signals(
        &self,
        scope: &Scope,
        filter: &SignalFilter,
        limit: u32,
        offset: u32,
    ) -> Result<(Vec<RunSignal>, i64)> {
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read("listing signals", move |connection| signals(connection, &scope, &filter, limit, offset)).await
    }

    async fn signal(&self, scope: &Scope, id: i64) -> Result<Option<RunSignal>> {
        let scope = scope.clone();
        self.read("reading a signal", move |connection| find(connection, &scope, id)).await
    }

    async fn unalerted_signals(&self, scope: &Scope, limit: u32) -> Result<Vec<RunSignal>> {
        let scope = scope.clone();
        self.read("finding signals to be told", move |connection| {
            let sql = "SELECT * FROM anomalies
                       WHERE project_id = ?1 AND run_id <> '' AND shadow = 0 AND alerted_at IS NULL
                       ORDER BY signal_id LIMIT ?2";
            all(connection, sql, params![scope.project_id(), limit], read_signal)
        })
        .await
    }

    async fn mark_alerted(&self, scope: &Scope, ids: Vec<i64>, now: DateTime<Utc>) -> Result<()> {
        let scope = scope.clone();
        self.write("noting which signals were told", move |tx| {
            for id in ids {
                let sql = "UPDATE anomalies SET alerted_at = ?3
                           WHERE project_id = ?1 AND signal_id = ?2 AND alerted_at IS NULL";
                run(tx.connection, sql, params![scope.project_id(), id, micros(now)])?;
            }
            Ok(())
        })
        .await
    }

    async fn failure_rate(
        &self,
        scope: &Scope,
        agent_id: &str,
        failure_type: &str,
        since: DateTime<Utc>,
    ) -> Result<FailureRate> {
        let (scope, agent, kind) = (scope.clone(), agent_id.to_owned(), failure_type.to_owned());
        self.read("counting runs", move |connection| {
            let project = scope.project_id();
            // Every judged run counts, not only those in which something was found.
            let total = one(
                connection,
                "SELECT count(*) FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3",
                params![project, agent, micros(since)],
                |row| row.get(0),
            )?;
            let affected = one(
                connection,
                "SELECT count(*) FROM anomalies a JOIN judged_runs r ON r.project_id = a.project_id AND r.run_id = a.run_id
                 WHERE a.project_id = ?1 AND a.agent_id = ?2 AND a.type = ?4 AND a.run_id <> '' AND a.shadow = 0
                     AND r.judged_at >= ?3",
                params![project, agent, micros(since), kind],
                |row| row.get(0),
            )?;
            Ok(FailureRate { total_runs: total.unwrap_or(0), affected_runs: affected.unwrap_or(0) })
        })
        .await
    }

    async fn give_feedback(
        &self,
        scope: &Scope,
        signal: i64,
        correct: bool,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let (scope, by) = (scope.clone(), by.to_owned());
        self.write("keeping feedback", move |tx| {
            if find(tx.connection, &scope, signal)?.is_none() {
                return Err(StoreError::not_found("signal", signal.to_string()).into());
            }
            let sql = "INSERT INTO signal_feedback (project_id, signal_id, correct, given_by, given_at)
                       VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT (project_id, signal_id)
                       DO UPDATE SET correct = excluded.correct, given_by = excluded.given_by, given_at = excluded.given_at";
            run(tx.connection, sql, params![scope.project_id(), signal, correct, by, micros(now)])?;
            Ok(())
        })
        .await
    }

    async fn precision(&self, scope: &Scope) -> Result<Vec<DetectorPrecision>> {
        let scope = scope.clone();
        self.read("counting feedback", move |connection| {
            let sql = "SELECT a.detector, count(*) AS signals, count(*) FILTER (WHERE f.correct = 1) AS correct,
                           count(*) FILTER (WHERE f.correct = 0) AS wrong
                       FROM anomalies a
                       LEFT JOIN signal_feedback f ON f.project_id = a.project_id AND f.signal_id = a.signal_id
                       WHERE a.project_id = ?1 AND a.run_id <> ''
                       GROUP BY a.detector ORDER BY a.detector";
            all(connection, sql, params![scope.project_id()], |row| {
                Ok(DetectorPrecision {
                    detector: row.get(0)?,
                    signals: row.get(1)?,
                    correct: row.get(2)?,
                    wrong: row.get(3)?,
                })
            })
        })
        .await
    }

    async fn detector_failures(&self, scope: &Scope) -> Result<Vec<DetectorFailure>> {
        let scope = scope.clone();
        self.read("reading which detectors fail", move |connection| failing::list(connection, &scope)).await
    }

    async fn detector_failed(&self, scope: &Scope, failed: FailedDetector, now: DateTime<Utc>) -> Result<()> {
        let scope = scope.clone();
        self.write("noting that a detector fails", move |tx| failing::failed(tx.connection, &scope, &failed, now)).await
    }

    async fn detector_worked(&self, scope: &Scope, detector: &str) -> Result<()> {
        let (scope, detector) = (scope.clone(), detector.to_owned());
        self.write("noting that a detector did not fail", move |tx| failing::worked(tx.connection, &scope, &detector))
            .await
    }

    async fn end_detector_failure(
        &self,
        scope: &Scope,
        detector: &str,
        judge_again: bool,
        now: DateTime<Utc>,
    ) -> Result<usize> {
        let (scope, detector) = (scope.clone(), detector.to_owned());
        self.write("ending a detector's failure", move |tx| {
            failing::end(tx.connection, &scope, &detector, judge_again, now)
        })
        .await
    }
}
