//! Roll-ups by hour and totals of agents, kept with the verdicts they are made of.
//!
//! Must hold: after any sequence of verdicts, a run that stalled and ended later included, each row is what counting
//! `judged_runs` and `anomalies` anew would give.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};

use super::super::connection::DbResult;
use super::super::values::{all, micros, one, run};
use crate::model::{NewSignal, RunFacts, Scope};

/// Microseconds of an hour.
pub(super) const HOUR: i64 = 3_600_000_000;

#[derive(Default)]
struct Hour {
    runs: i64,
    failing: i64,
    signals: i64,
    with_tool: i64,
    tool_steps: i64,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
}

/// A verdict, as far as roll-ups go.
struct Counted {
    agent: String,
    version: String,
    hour: i64,
    live: i64,
    first_tool_step: Option<i64>,
    input: Option<String>,
    types: Vec<String>,
    started_at: i64,
    ended_at: i64,
}

/// What verdicts of one transaction add.
#[derive(Default)]
pub(super) struct Rollup {
    /// By agent, hour and version.
    hours: BTreeMap<(String, i64, String), Hour>,
    /// Hours from which a verdict was taken away: their first and last time are looked up again.
    shrunk: BTreeSet<(String, i64, String)>,
    steps: BTreeMap<(String, i64), i64>,
    inputs: BTreeMap<(String, String), i64>,
    input_types: BTreeMap<(String, String, String), i64>,
    /// By agent, hour, type and version.
    signals: BTreeMap<(String, i64, String, String), Found>,
}

/// Live signals of an hour: how many, first and last.
#[derive(Clone, Copy)]
struct Found {
    signals: i64,
    first: i64,
    last: i64,
}

impl Rollup {
    /// A verdict that was kept: `live` are the types of all its live signals.
    pub(super) fn add(&mut self, facts: &RunFacts, live: Vec<String>, now: DateTime<Utc>) {
        self.count(
            Counted {
                agent: facts.agent_id.clone(),
                version: facts.agent_version.clone(),
                hour: micros(now).div_euclid(HOUR),
                live: i64::try_from(live.len()).unwrap_or(i64::MAX),
                first_tool_step: facts.first_tool_step,
                input: facts.input_hash.clone(),
                types: live,
                started_at: micros(facts.started_at),
                ended_at: micros(facts.ended_at),
            },
            1,
        );
    }

    /// A live signal that is new.
    pub(super) fn add_signal(&mut self, facts: &RunFacts, signal: &NewSignal, now: DateTime<Utc>) {
        let at = micros(now);
        let key =
            (facts.agent_id.clone(), at.div_euclid(HOUR), signal.failure_type.clone(), facts.agent_version.clone());
        let found = self.signals.entry(key).or_insert(Found { signals: 0, first: at, last: at });
        *found = Found { signals: found.signals + 1, first: found.first.min(at), last: found.last.max(at) };
    }

    /// Takes the verdict of a run away, as it is kept: another takes its place. Returns the types of its live signals.
    pub(super) fn remove(&mut self, connection: &Connection, scope: &Scope, run_id: &str) -> DbResult<Vec<String>> {
        let types: Vec<String> = all(
            connection,
            "SELECT type FROM anomalies WHERE project_id = ?1 AND run_id = ?2 AND run_id <> '' AND shadow = 0",
            params![scope.project_id(), run_id],
            |row| row.get(0),
        )?;
        let kept = one(
            connection,
            "SELECT agent_id, agent_version, judged_at, live_count, first_tool_step, input_hash, started_at, ended_at
             FROM judged_runs WHERE project_id = ?1 AND run_id = ?2",
            params![scope.project_id(), run_id],
            |row| {
                Ok(Counted {
                    agent: row.get(0)?,
                    version: row.get(1)?,
                    hour: row.get::<_, i64>(2)?.div_euclid(HOUR),
                    live: row.get(3)?,
                    first_tool_step: row.get(4)?,
                    input: row.get(5)?,
                    types: types.clone(),
                    started_at: row.get(6)?,
                    ended_at: row.get(7)?,
                })
            },
        )?;
        if let Some(kept) = kept {
            self.shrunk.insert((kept.agent.clone(), kept.hour, kept.version.clone()));
            self.count(kept, -1);
        }
        Ok(types)
    }

    fn count(&mut self, run: Counted, sign: i64) {
        let hour = self.hours.entry((run.agent.clone(), run.hour, run.version)).or_default();
        hour.runs += sign;
        hour.failing += sign * i64::from(run.live > 0);
        hour.signals += sign * run.live;
        if sign > 0 {
            hour.first_seen = hour.first_seen.into_iter().chain([run.started_at]).min();
            hour.last_seen = hour.last_seen.into_iter().chain([run.ended_at]).max();
        }
        if let Some(step) = run.first_tool_step {
            hour.with_tool += sign;
            hour.tool_steps += sign * step;
            *self.steps.entry((run.agent.clone(), step)).or_default() += sign;
        }
        if let Some(input) = run.input {
            for kind in run.types {
                *self.input_types.entry((run.agent.clone(), input.clone(), kind)).or_default() += sign;
            }
            *self.inputs.entry((run.agent, input)).or_default() += sign;
        }
    }

    /// Adds runs and days to the agents, which have their rows already.
    fn write_agents(&self, connection: &Connection, scope: &Scope) -> DbResult<()> {
        let mut runs: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for ((agent, ..), added) in &self.hours {
            let of_agent = runs.entry(agent).or_default();
            *of_agent = (of_agent.0 + added.runs, of_agent.1 + added.failing);
        }
        for (agent, (runs, failing)) in runs {
            run(
                connection,
                "UPDATE run_agents SET runs = runs + ?3, failing = failing + ?4 WHERE project_id = ?1 AND agent_id = ?2",
                params![scope.project_id(), agent, runs, failing],
            )?;
        }
        let mut days: BTreeMap<(&str, i64), i64> = BTreeMap::new();
        for ((agent, hour, ..), found) in &self.signals {
            *days.entry((agent, hour.div_euclid(24))).or_default() += found.signals;
        }
        for ((agent, day), signals) in days {
            run(
                connection,
                "INSERT INTO run_agent_days (project_id, agent_id, day, signals) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (project_id, agent_id, day) DO UPDATE SET signals = signals + excluded.signals",
                params![scope.project_id(), agent, day, signals],
            )?;
        }
        Ok(())
    }

    /// Writes it all; after the verdicts and the rows of their agents.
    pub(super) fn write(self, connection: &Connection, scope: &Scope) -> DbResult<()> {
        let project = scope.project_id();
        self.write_agents(connection, scope)?;
        for ((agent, hour, version), added) in &self.hours {
            run(
                connection,
                "INSERT INTO run_hours (project_id, agent_id, hour, agent_version, runs, failing, signals, with_tool, tool_steps,
                     first_seen_at, last_seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT (project_id, agent_id, hour, agent_version) DO UPDATE SET
                     runs = runs + excluded.runs, failing = failing + excluded.failing, signals = signals + excluded.signals,
                     with_tool = with_tool + excluded.with_tool, tool_steps = tool_steps + excluded.tool_steps,
                     first_seen_at = min(first_seen_at, excluded.first_seen_at),
                     last_seen_at = max(last_seen_at, excluded.last_seen_at)",
                params![
                    project,
                    agent,
                    hour,
                    version,
                    added.runs,
                    added.failing,
                    added.signals,
                    added.with_tool,
                    added.tool_steps,
                    added.first_seen.unwrap_or(i64::MAX),
                    added.last_seen.unwrap_or(i64::MIN)
                ],
            )?;
        }
        for (agent, hour, version) in &self.shrunk {
            run(
                connection,
                "DELETE FROM run_hours WHERE project_id = ?1 AND agent_id = ?2 AND hour = ?3 AND agent_version = ?4 AND runs <= 0",
                params![project, agent, hour, version],
            )?;
            run(
                connection,
                "UPDATE run_hours SET (first_seen_at, last_seen_at) = (
                     SELECT min(started_at), max(ended_at) FROM judged_runs
                     WHERE project_id = ?1 AND agent_id = ?2 AND judged_at >= ?3 * 3600000000
                         AND judged_at < (?3 + 1) * 3600000000 AND agent_version = ?4)
                 WHERE project_id = ?1 AND agent_id = ?2 AND hour = ?3 AND agent_version = ?4",
                params![project, agent, hour, version],
            )?;
        }
        for ((agent, step), runs) in self.steps {
            run(
                connection,
                "INSERT INTO run_tool_steps (project_id, agent_id, step, runs) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (project_id, agent_id, step) DO UPDATE SET runs = runs + excluded.runs",
                params![project, agent, step, runs],
            )?;
        }
        for ((agent, input), runs) in self.inputs {
            run(
                connection,
                "INSERT INTO run_inputs (project_id, agent_id, input_hash, runs) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (project_id, agent_id, input_hash) DO UPDATE SET runs = runs + excluded.runs",
                params![project, agent, input, runs],
            )?;
        }
        for ((agent, input, kind), runs) in self.input_types {
            run(
                connection,
                "INSERT INTO run_input_types (project_id, agent_id, input_hash, type, runs) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, agent_id, input_hash, type) DO UPDATE SET runs = runs + excluded.runs",
                params![project, agent, input, kind, runs],
            )?;
        }
        for ((agent, hour, kind, version), found) in self.signals {
            run(
                connection,
                "INSERT INTO signal_hours
                     (project_id, agent_id, hour, type, agent_version, signals, first_seen_at, last_seen_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (project_id, agent_id, hour, type, agent_version) DO UPDATE SET
                     signals = signals + excluded.signals, first_seen_at = min(first_seen_at, excluded.first_seen_at),
                     last_seen_at = max(last_seen_at, excluded.last_seen_at)",
                params![project, agent, hour, kind, version, found.signals, found.first, found.last],
            )?;
        }
        Ok(())
    }
}
