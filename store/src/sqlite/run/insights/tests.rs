//! Insights from roll-ups are those that counting all verdicts anew gives.

use chrono::TimeZone;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use super::*;
use crate::model::{JudgedRun, NewSignal, RunEnd, RunFacts, Severity, SignalFilter};
use crate::sqlite::{OpenMode, SqliteStore};

const LIVE: &str = "a.run_id <> '' AND a.shadow = 0";

fn day_in(row: &Row<'_>, column: &str) -> rusqlite::Result<NaiveDate> {
    let text: String = row.get(column)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))
}

/// The day of a time in microseconds.
macro_rules! day_of {
    ($column:literal) => {
        concat!("date(", $column, " / 1000000, 'unixepoch')")
    };
}

fn counted_anew(connection: &Connection, scope: &Scope, agent: &str, now: DateTime<Utc>) -> DbResult<AgentInsights> {
    let project = scope.project_id();
    let since = |days: i64| micros(now - TimeDelta::days(days));
    let input_patterns = all(
        connection,
        "WITH inputs AS (
             SELECT input_hash, count(*) AS runs FROM judged_runs
             WHERE project_id = ?1 AND agent_id = ?2 AND input_hash IS NOT NULL GROUP BY input_hash HAVING count(*) >= 2)
         SELECT i.input_hash, a.type, count(*) AS triggered, i.runs FROM inputs i
         JOIN judged_runs r ON r.project_id = ?1 AND r.agent_id = ?2 AND r.input_hash = i.input_hash
         JOIN anomalies a ON a.project_id = ?1 AND a.run_id = r.run_id AND a.run_id <> '' AND a.shadow = 0
         GROUP BY i.input_hash, a.type ORDER BY count(*) * 1.0 / i.runs DESC, i.runs DESC, i.input_hash, a.type LIMIT 20",
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
        concat!(
            "SELECT a.type, a.agent_version, ",
            day_of!("a.detected_at"),
            " AS day, count(*) AS n FROM anomalies a
             WHERE a.project_id = ?1 AND a.agent_id = ?2 AND a.detected_at >= ?3 AND a.run_id <> '' AND a.shadow = 0
             GROUP BY a.type, a.agent_version, day ORDER BY day DESC, n DESC, a.type, a.agent_version LIMIT 300"
        ),
        params![project, agent, since(30)],
        |row| {
            Ok(SignalTrend {
                failure_type: row.get(0)?,
                agent_version: row.get(1)?,
                day: day_in(row, "day")?,
                count: row.get("n")?,
            })
        },
    )?;
    let versions = all(
        connection,
        "SELECT agent_version, count(*) AS runs, count(*) FILTER (WHERE live_count > 0) AS failing,
             sum(live_count) AS signals, min(started_at) AS first_seen, max(ended_at) AS last_seen
         FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2
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
        "SELECT first_tool_step, count(*) FROM judged_runs
         WHERE project_id = ?1 AND agent_id = ?2 AND first_tool_step IS NOT NULL GROUP BY first_tool_step ORDER BY 1",
        params![project, agent],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let counts = |row: &Row<'_>| {
        Ok(RunCount { at: row.get(0)?, runs: row.get(1)?, of_them: row.get(2)?, first_tool_step: row.get(3)? })
    };
    let tool_days = all(
        connection,
        concat!(
            "SELECT ",
            day_of!("judged_at"),
            " AS day, count(*), count(first_tool_step), avg(first_tool_step) FROM judged_runs
             WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3 GROUP BY day ORDER BY day"
        ),
        params![project, agent, since(14)],
        counts,
    )?;
    let hours = all(
        connection,
        "SELECT CAST((judged_at / 3600000000) % 24 AS TEXT) AS hour, count(*), count(*) FILTER (WHERE live_count > 0), NULL
         FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3
         GROUP BY hour ORDER BY CAST(hour AS INTEGER)",
        params![project, agent, since(30)],
        counts,
    )?;
    let failure_rates = all(
        connection,
        concat!(
            "WITH days AS (SELECT ",
            day_of!("judged_at"),
            " AS day, count(*) AS runs FROM judged_runs
                 WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3 GROUP BY day)
             SELECT a.type, d.day, d.runs, count(*) AS affected FROM days d
             JOIN anomalies a ON a.project_id = ?1 AND a.agent_id = ?2 AND ",
            day_of!("a.detected_at"),
            " = d.day AND a.run_id <> '' AND a.shadow = 0 AND a.detected_at >= ?3
             GROUP BY a.type, d.day ORDER BY d.day DESC, affected DESC, a.type LIMIT 300"
        ),
        params![project, agent, since(30)],
        |row| {
            Ok(TypeRate {
                failure_type: row.get(0)?,
                day: Some(day_in(row, "day")?),
                rate: FailureRate { total_runs: row.get(2)?, affected_runs: row.get(3)? },
                seen: None,
            })
        },
    )?;
    let week = count(
        connection,
        "SELECT count(*) FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3",
        params![project, agent, since(7)],
    )?;
    let runs = "SELECT count(*) FROM judged_runs WHERE project_id = ?1 AND agent_id = ?2";
    let runs = count(connection, runs, params![project, agent])?;
    let week_rates = all(
        connection,
        &format!(
            "SELECT a.type, count(*), min(a.detected_at) AS first_seen, max(a.detected_at) AS last_seen FROM anomalies a
             WHERE a.project_id = ?1 AND a.agent_id = ?2 AND a.detected_at >= ?3 AND {LIVE}
             GROUP BY a.type ORDER BY count(*) DESC, a.type"
        ),
        params![project, agent, since(7)],
        |row| {
            Ok(TypeRate {
                failure_type: row.get(0)?,
                day: None,
                rate: FailureRate { total_runs: week, affected_runs: row.get(1)? },
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

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 0, 30, 0).unwrap()
}

fn judged(run: u32, reason: RunEnd, random: &mut StdRng, at: DateTime<Utc>) -> JudgedRun {
    let agent = if run.is_multiple_of(7) { "other" } else { "agent" };
    let kinds = ["TOOL_LOOP", "SLOW_STEP", "MINE"].into_iter().filter(|_| random.random_bool(0.25));
    let signals = kinds.map(|kind| NewSignal {
        detector: kind.to_lowercase(),
        failure_type: kind.to_owned(),
        severity: Severity::High,
        fingerprint: format!("run:{kind}:{agent}"),
        step_index: 2,
        confidence: 0.95,
        co_signals: None,
        shadow: kind == "MINE",
        description: String::new(),
        evidence: json!({}),
    });
    let signals = signals.collect();
    JudgedRun {
        facts: RunFacts {
            run_id: format!("r{run}"),
            agent_id: agent.to_owned(),
            agent_version: format!("v{}", random.random_range(0..3)),
            reason,
            exit_reason: None,
            started_at: at - TimeDelta::seconds(random.random_range(10..50_000)),
            ended_at: at - TimeDelta::seconds(random.random_range(0..10)),
            step_count: 3,
            llm_calls: 2,
            tool_calls: 1,
            first_tool_step: random.random_bool(0.7).then(|| random.random_range(1..9)),
            input_hash: random.random_bool(0.9).then(|| format!("i{}", random.random_range(0..12))),
            token_growth: None,
            tool_gaps_ms: Vec::new(),
            llm_gaps_ms: Vec::new(),
        },
        signals,
    }
}

#[tokio::test]
async fn they_are_what_counting_all_verdicts_anew_gives_also_when_stalled_runs_end_late() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("state.db"), OpenMode::Scratch).unwrap();
    let scope = Scope::default_project();
    let runs = store.store().runs;
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stalled: Vec<u32> = Vec::new();
        let (mut now, mut next) =
            (start() + TimeDelta::days(60 * i64::try_from(seed).unwrap()), 1000 * u32::try_from(seed).unwrap());
        for _ in 0..90 {
            now += TimeDelta::minutes(random.random_range(1..1_200));
            let mut batch = Vec::new();
            for _ in 0..random.random_range(1..6) {
                let stalls = random.random_bool(0.4);
                if stalls {
                    stalled.push(next);
                }
                let reason = if stalls { RunEnd::Stalled } else { RunEnd::Completed };
                batch.push(judged(next, reason, &mut random, now));
                next += 1;
            }
            // Some that had stalled end: another version, other times, other findings than before.
            while random.random_bool(0.5) && !stalled.is_empty() {
                let run = stalled.swap_remove(random.random_range(0..stalled.len()));
                batch.push(judged(run, RunEnd::Completed, &mut random, now));
            }
            runs.record_judged(&scope, batch, 5, now).await.unwrap();
        }
        for agent in ["agent", "other", "nobody"] {
            let scope = scope.clone();
            let (rolled, anew) = store
                .read("comparing", move |connection| {
                    Ok((insights(connection, &scope, agent, now)?, counted_anew(connection, &scope, agent, now)?))
                })
                .await
                .unwrap();
            assert_eq!(rolled, anew, "seed {seed}, {agent}");
            assert_eq!(agent == "nobody", rolled.runs == 0);
            lists_say_how_many_there_are(&store, agent, now).await;
        }
    }
}

/// Totals that lists of an agent give, and its line in the list of agents, are those of counting its rows.
async fn lists_say_how_many_there_are(store: &SqliteStore, agent: &'static str, now: DateTime<Utc>) {
    let (scope, reports, runs) = (Scope::default_project(), store.store().reports, store.store().runs);
    let counted = |table: &'static str, condition: String| {
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE project_id = 'default' AND agent_id = '{agent}' AND {condition}"
        );
        store.read("counting", move |connection| count(connection, &sql, []))
    };
    for (has_signals, condition) in [(None, "TRUE"), (Some(true), "live_count > 0"), (Some(false), "live_count = 0")] {
        let (page, total) = reports.agent_runs(&scope, agent, has_signals, 5, 0).await.unwrap();
        assert_eq!(total, counted("judged_runs", condition.to_owned()).await.unwrap(), "{agent}, {condition}");
        assert!(page.iter().all(|run| has_signals.is_none_or(|wanted| wanted == (run.signals > 0))));
        assert_eq!(page.len(), usize::try_from(total.min(5)).unwrap());
    }
    for (failure_type, severity) in [(None, None), (Some("SLOW_STEP"), None), (None, Some(Severity::Info))] {
        for include_shadow in [false, true] {
            let filter = SignalFilter {
                agent_id: Some(agent.to_owned()),
                failure_type: failure_type.map(str::to_owned),
                severity,
                include_shadow,
                ..SignalFilter::default()
            };
            let mut condition = "run_id <> ''".to_owned();
            condition.extend(failure_type.map(|kind| format!(" AND type = '{kind}'")));
            condition.extend(severity.map(|severity| format!(" AND severity = '{}'", severity.as_str())));
            condition.extend((!include_shadow).then_some(" AND shadow = 0"));
            let (page, total) = runs.signals(&scope, &filter, 7, 0).await.unwrap();
            assert_eq!(total, counted("anomalies", condition.clone()).await.unwrap(), "{agent}, {condition}");
            assert_eq!(page.len(), usize::try_from(total.min(7)).unwrap());
        }
    }
    let (agents, _) = reports.agents(&scope, now, 10, 0).await.unwrap();
    let Some(line) = agents.iter().find(|line| line.agent_id == agent) else {
        assert_eq!(agent, "nobody");
        return;
    };
    assert_eq!(line.runs, counted("judged_runs", "TRUE".to_owned()).await.unwrap());
    assert_eq!(line.signals, counted("anomalies", LIVE.replace("a.", "")).await.unwrap());
    let today = micros(now).div_euclid(24 * HOUR);
    let mut days = Vec::new();
    for day in today - 6..=today {
        let condition = format!("detected_at / {} = {day} AND {}", 24 * HOUR, LIVE.replace("a.", ""));
        days.push(counted("anomalies", condition).await.unwrap());
    }
    assert_eq!(line.sparkline, if days.iter().all(|signals| *signals == 0) { Vec::new() } else { days });
}

#[tokio::test]
async fn what_was_judged_before_the_roll_ups_is_rolled_up_by_the_migration() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("state.db"), OpenMode::Scratch).unwrap();
    let scope = Scope::default_project();
    let mut random = StdRng::seed_from_u64(7);
    let now = start();
    let batch = (1..200).map(|run| judged(run, RunEnd::Completed, &mut random, now)).collect();
    store.store().runs.record_judged(&scope, batch, 5, now).await.unwrap();
    let dump = |connection: &Connection| -> DbResult<Vec<String>> {
        let mut rows = Vec::new();
        for (table, columns) in [
            (
                "run_hours",
                "agent_id || hour || agent_version || runs || failing || signals || with_tool || tool_steps || first_seen_at || last_seen_at",
            ),
            ("run_tool_steps", "agent_id || step || runs"),
            ("run_inputs", "agent_id || input_hash || runs"),
            ("run_input_types", "agent_id || input_hash || type || runs"),
            ("signal_hours", "agent_id || hour || type || agent_version || signals || first_seen_at || last_seen_at"),
            ("run_agents", "agent_id || runs || failing"),
            ("run_agent_days", "agent_id || day || signals"),
        ] {
            rows.extend(all(
                connection,
                &format!("SELECT '{table}' || {columns} FROM {table} ORDER BY 1"),
                [],
                |row| row.get::<_, String>(0),
            )?);
        }
        Ok(rows)
    };
    let (kept, migrated) = store
        .write("rolling up anew", move |tx| {
            let kept = dump(tx.connection)?;
            for table in
                ["run_hours", "run_tool_steps", "run_inputs", "run_input_types", "signal_hours", "run_agent_days"]
            {
                tx.connection.execute(&format!("DROP TABLE {table}"), [])?;
            }
            tx.connection
                .execute_batch("ALTER TABLE run_agents DROP COLUMN failing; DROP INDEX judged_runs_failing;")?;
            tx.connection.execute_batch(include_str!("../../../../migrations/0009_rollups.sql"))?;
            tx.connection.execute_batch(include_str!("../../../../migrations/0017_agents_at_a_glance.sql"))?;
            Ok((kept, dump(tx.connection)?))
        })
        .await
        .unwrap();
    assert!(!kept.is_empty());
    assert_eq!(kept, migrated);
}
