//! Insights of an agent, from roll-ups by hour ([`super::rollup`]).
//!
//! A window of days begins within an hour. The verdicts and signals of that hour are read one by one, all later hours as they are
//! rolled up, so the answer is the one that going through all verdicts would give.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use rusqlite::{Connection, Row, params};

use super::super::connection::DbResult;
use super::super::values::{RowExt, all, micros, one};
use super::rollup::HOUR;
use crate::model::{AgentInsights, FailureRate, InputPattern, RunCount, Scope, SignalTrend, TypeRate, VersionSummary};

/// Verdicts since ?3 by hour and version: whole hours from ?4 on, and one by one before.
const RUNS: &str = "
    SELECT hour, agent_version, runs, failing, with_tool, tool_steps FROM run_hours
    WHERE project_id = ?1 AND agent_id = ?2 AND hour >= ?4
    UNION ALL
    SELECT judged_at / 3600000000, agent_version, 1, live_count > 0, first_tool_step IS NOT NULL, coalesce(first_tool_step, 0)
    FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3 AND judged_at < ?4 * 3600000000";

/// Live signals since ?3, likewise.
const SIGNALS: &str = "
    SELECT hour, type, agent_version, signals, first_seen_at, last_seen_at FROM signal_hours
    WHERE project_id = ?1 AND agent_id = ?2 AND hour >= ?4
    UNION ALL
    SELECT detected_at / 3600000000, type, agent_version, 1, detected_at, detected_at
    FROM anomalies WHERE project_id = ?1 AND agent_id = ?2 AND detected_at >= ?3 AND detected_at < ?4 * 3600000000
        AND run_id <> '' AND shadow = 0";

/// The day of an hour.
const DAY: &str = "date(hour * 3600, 'unixepoch')";

/// A begin, and the first whole hour from it on.
struct Since {
    at: i64,
    hour: i64,
}

impl Since {
    fn days(now: DateTime<Utc>, days: i64) -> Self {
        let at = micros(now - TimeDelta::days(days));
        Self { at, hour: at.div_euclid(HOUR) + i64::from(at.rem_euclid(HOUR) > 0) }
    }
}

fn day(row: &Row<'_>) -> rusqlite::Result<NaiveDate> {
    let text: String = row.get("day")?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

fn count(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> DbResult<i64> {
    Ok(one(connection, sql, params, |row| row.get(0))?.unwrap_or(0))
}

pub(super) fn insights(
    connection: &Connection,
    scope: &Scope,
    agent: &str,
    now: DateTime<Utc>,
) -> DbResult<AgentInsights> {
    let project = scope.project_id();
    let (month, fortnight, week) = (Since::days(now, 30), Since::days(now, 14), Since::days(now, 7));
    let input_patterns = all(
        connection,
        "SELECT t.input_hash, t.type, t.runs, i.runs FROM run_input_types t
         JOIN run_inputs i ON i.project_id = t.project_id AND i.agent_id = t.agent_id AND i.input_hash = t.input_hash
         WHERE t.project_id = ?1 AND t.agent_id = ?2 AND t.runs > 0 AND i.runs >= 2
         ORDER BY t.runs * 1.0 / i.runs DESC, i.runs DESC, t.input_hash, t.type LIMIT 20",
        params![project, agent],
        |row| {
            Ok(InputPattern {
                input_hash: row.get(0)?,
                failure_type: row.get(1)?,
                triggered: row.get(2)?,
                runs: row.get(3)?,
            })
        },
    )?;
    let signal_trends = all(
        connection,
        &format!(
            "SELECT type, agent_version, {DAY} AS day, sum(signals) AS n FROM ({SIGNALS})
             GROUP BY type, agent_version, day ORDER BY day DESC, n DESC, type, agent_version LIMIT 300"
        ),
        params![project, agent, month.at, month.hour],
        |row| {
            Ok(SignalTrend {
                failure_type: row.get(0)?,
                agent_version: row.get(1)?,
                day: day(row)?,
                count: row.get("n")?,
            })
        },
    )?;
    let versions = all(
        connection,
        "SELECT agent_version, sum(runs) AS runs, sum(failing) AS failing, sum(signals) AS signals,
             min(first_seen_at) AS first_seen, max(last_seen_at) AS last_seen
         FROM run_hours WHERE project_id = ?1 AND agent_id = ?2
         GROUP BY agent_version ORDER BY last_seen DESC, agent_version LIMIT 10",
        params![project, agent],
        |row| {
            Ok(VersionSummary {
                agent_version: row.get(0)?,
                runs: row.get(1)?,
                runs_with_signals: row.get(2)?,
                signals: row.get(3)?,
                first_seen_at: row.time("first_seen")?,
                last_seen_at: row.time("last_seen")?,
            })
        },
    )?;
    let first_tool_steps = all(
        connection,
        "SELECT step, runs FROM run_tool_steps WHERE project_id = ?1 AND agent_id = ?2 AND runs > 0 ORDER BY step",
        params![project, agent],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let counts = |row: &Row<'_>| {
        Ok(RunCount { at: row.get(0)?, runs: row.get(1)?, of_them: row.get(2)?, first_tool_step: row.get(3)? })
    };
    let tool_days = all(
        connection,
        &format!(
            "SELECT {DAY} AS day, sum(runs), sum(with_tool), sum(tool_steps) * 1.0 / nullif(sum(with_tool), 0) FROM ({RUNS})
             GROUP BY day ORDER BY day"
        ),
        params![project, agent, fortnight.at, fortnight.hour],
        counts,
    )?;
    let hours = all(
        connection,
        &format!(
            "SELECT CAST(hour % 24 AS TEXT) AS of_day, sum(runs), sum(failing), NULL FROM ({RUNS})
             GROUP BY of_day ORDER BY CAST(of_day AS INTEGER)"
        ),
        params![project, agent, month.at, month.hour],
        counts,
    )?;
    let failure_rates = all(
        connection,
        &format!(
            "WITH days AS (SELECT {DAY} AS day, sum(runs) AS runs FROM ({RUNS}) GROUP BY day),
                  found AS (SELECT type, {DAY} AS day, sum(signals) AS affected FROM ({SIGNALS}) GROUP BY type, day)
             SELECT f.type, d.day AS day, d.runs, f.affected FROM days d JOIN found f ON f.day = d.day
             ORDER BY d.day DESC, f.affected DESC, f.type LIMIT 300"
        ),
        params![project, agent, month.at, month.hour],
        |row| {
            Ok(TypeRate {
                failure_type: row.get(0)?,
                day: Some(day(row)?),
                rate: FailureRate { total_runs: row.get(2)?, affected_runs: row.get(3)? },
                seen: None,
            })
        },
    )?;
    let of_week = format!("SELECT coalesce(sum(runs), 0) FROM ({RUNS})");
    let of_week = count(connection, &of_week, params![project, agent, week.at, week.hour])?;
    let runs = "SELECT coalesce(sum(runs), 0) FROM run_hours WHERE project_id = ?1 AND agent_id = ?2";
    let runs = count(connection, runs, params![project, agent])?;
    let week_rates = all(
        connection,
        &format!(
            "SELECT type, sum(signals) AS n, min(first_seen_at) AS first_seen, max(last_seen_at) AS last_seen FROM ({SIGNALS})
             GROUP BY type ORDER BY n DESC, type"
        ),
        params![project, agent, week.at, week.hour],
        |row| {
            Ok(TypeRate {
                failure_type: row.get(0)?,
                day: None,
                rate: FailureRate { total_runs: of_week, affected_runs: row.get(1)? },
                seen: Some((row.time("first_seen")?, row.time("last_seen")?)),
            })
        },
    )?;
    Ok(AgentInsights {
        input_patterns,
        signal_trends,
        versions,
        first_tool_steps,
        tool_days,
        runs,
        hours,
        failure_rates,
        week_rates,
    })
}

#[cfg(test)]
mod tests;
