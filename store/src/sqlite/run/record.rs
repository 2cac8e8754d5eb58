//! Keeping verdicts: runs, signals, incidents and clean runs as one transaction.
//!
//! The incidents of the agents concerned are held in memory while the runs are gone through in order, and written once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, params};
use serde_json::json;

use super::super::connection::DbResult;
use super::super::incident::existing;
use super::super::values::{RowExt, all, micros, micros_opt, one, run, to_json};
use super::super::writer::Tx;
use super::rollup::Rollup;
use super::{failing, watch};
use crate::model::{
    AnomalyId, IncidentId, IncidentStatus, JudgedRun, NewSignal, RecordedRuns, RunEnd, RunFacts, Scope, Severity,
    Window,
};

/// Who the audit log names for what follows from a verdict.
const ACTOR: &str = "detector";

/// An incident about runs, while runs are gone through.
struct Condition {
    id: IncidentId,
    fingerprint: String,
    status: IncidentStatus,
    severity: Severity,
    window: Window,
    occurrences: i64,
    reopened: i64,
    clean_runs: i64,
    resolved_at: Option<DateTime<Utc>>,
    last_seen_at: DateTime<Utc>,
    description: String,
    changed: bool,
}

/// The incidents of the agents concerned, the latest of each fingerprint.
#[derive(Default)]
struct Conditions {
    of_agent: HashMap<String, BTreeMap<String, Condition>>,
}

impl Conditions {
    fn load(connection: &Connection, scope: &Scope, agents: &BTreeSet<&str>) -> DbResult<Self> {
        let mut conditions = Self::default();
        for agent in agents {
            let known = all(
                connection,
                "SELECT * FROM incidents WHERE project_id = ?1 AND agent_id = ?2 ORDER BY opened_at, id",
                params![scope.project_id(), agent],
                |row| {
                    Ok(Condition {
                        id: row.get("id")?,
                        fingerprint: row.get("fingerprint")?,
                        status: row.get("status")?,
                        severity: row.get("severity")?,
                        window: Window { start: row.time("window_start")?, end: row.time("window_end")? },
                        occurrences: row.get("occurrences")?,
                        reopened: row.get("reopened_count")?,
                        clean_runs: row.get("clean_windows")?,
                        resolved_at: row.time_opt("resolved_at")?,
                        last_seen_at: row.time("last_seen_at")?,
                        description: row.get("description")?,
                        changed: false,
                    })
                },
            )?;
            let known = known.into_iter().map(|condition| (condition.fingerprint.clone(), condition)).collect();
            conditions.of_agent.insert((*agent).to_owned(), known);
        }
        Ok(conditions)
    }

    fn write(&self, connection: &Connection, scope: &Scope, now: DateTime<Utc>) -> DbResult<()> {
        for condition in self.of_agent.values().flat_map(BTreeMap::values).filter(|condition| condition.changed) {
            run(
                connection,
                "UPDATE incidents SET status = ?3, severity = ?4, window_start = ?5, window_end = ?6, occurrences = ?7,
                     reopened_count = ?8, clean_windows = ?9, resolved_at = ?10, last_seen_at = ?11, description = ?12,
                     updated_at = ?13
                 WHERE project_id = ?1 AND id = ?2",
                params![
                    scope.project_id(),
                    condition.id,
                    condition.status,
                    condition.severity,
                    micros(condition.window.start),
                    micros(condition.window.end),
                    condition.occurrences,
                    condition.reopened,
                    condition.clean_runs,
                    micros_opt(condition.resolved_at),
                    micros(condition.last_seen_at),
                    condition.description,
                    micros(now)
                ],
            )?;
        }
        Ok(())
    }
}

/// What is added to the totals of agents.
#[derive(Default)]
struct Totals {
    /// Time of the last event.
    agents: BTreeMap<String, i64>,
    /// Live signals by agent, type and severity.
    types: BTreeMap<(String, String, Severity), i64>,
}

impl Totals {
    fn run(&mut self, facts: &RunFacts) {
        let last_seen = self.agents.entry(facts.agent_id.clone()).or_insert(i64::MIN);
        *last_seen = (*last_seen).max(micros(facts.ended_at));
    }

    fn signal(&mut self, facts: &RunFacts, signal: &NewSignal) {
        let key = (facts.agent_id.clone(), signal.failure_type.clone(), signal.severity);
        *self.types.entry(key).or_default() += 1;
    }

    fn write(self, connection: &Connection, scope: &Scope) -> DbResult<()> {
        for (agent, last_seen) in self.agents {
            // Its runs are added with the roll-ups.
            run(
                connection,
                "INSERT INTO run_agents (project_id, agent_id, last_seen_at, runs) VALUES (?1, ?2, ?3, 0)
                 ON CONFLICT (project_id, agent_id) DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at)",
                params![scope.project_id(), agent, last_seen],
            )?;
        }
        for ((agent, kind, severity), signals) in self.types {
            run(
                connection,
                "INSERT INTO run_agent_types (project_id, agent_id, type, severity, signals) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (project_id, agent_id, type, severity) DO UPDATE SET signals = signals + excluded.signals",
                params![scope.project_id(), agent, kind, severity, signals],
            )?;
        }
        Ok(())
    }
}

/// What is known of a run before its verdict is kept.
enum Known {
    /// Nothing.
    Nothing,
    /// It was judged, and more of it arrived since; the failure types found then.
    Before(HashSet<String>),
    /// It was judged, and nothing arrived since.
    Judged,
}

pub(super) fn record(
    tx: &mut Tx<'_>,
    scope: &Scope,
    runs: Vec<JudgedRun>,
    enough: u32,
    now: DateTime<Utc>,
) -> DbResult<RecordedRuns> {
    let agents: BTreeSet<&str> = runs.iter().map(|run| run.facts.agent_id.as_str()).collect();
    let mut conditions = Conditions::load(tx.connection, scope, &agents)?;
    let mut recorded = RecordedRuns::default();
    let mut next_signal = next(tx.connection, "SELECT coalesce(max(signal_id), 0) + 1 FROM anomalies")?;
    let (mut opened, mut resolved) = (BTreeSet::new(), BTreeSet::new());
    let mut totals = Totals::default();
    let mut rollup = Rollup::default();
    let unheard = failing::live(tx.connection, scope)?;
    for judged in &runs {
        let known = known(tx.connection, scope, &judged.facts)?;
        if matches!(known, Known::Judged) {
            continue;
        }
        let found_before = match &known {
            Known::Before(types) => types.clone(),
            _ => HashSet::new(),
        };
        let mut live_types = match &known {
            Known::Before(_) => rollup.remove(tx.connection, scope, &judged.facts.run_id)?,
            _ => Vec::new(),
        };
        let window = window(&judged.facts);
        let mut types = found_before.clone();
        let mut fired = BTreeSet::new();
        let mut live = 0_i64;
        let of_agent = conditions.of_agent.entry(judged.facts.agent_id.clone()).or_default();
        for signal in &judged.signals {
            if !signal.shadow {
                fired.insert(signal.fingerprint.as_str());
            }
            if !types.insert(signal.failure_type.clone()) {
                continue;
            }
            let incident = if signal.shadow {
                None
            } else {
                live += 1;
                live_types.push(signal.failure_type.clone());
                rollup.add_signal(&judged.facts, signal, now);
                totals.signal(&judged.facts, signal);
                let (id, is_news) = seen(tx, scope, of_agent, &judged.facts, signal, window, now)?;
                if is_news {
                    opened.insert(id.clone());
                    resolved.remove(&id);
                }
                Some(id)
            };
            insert_signal(tx, scope, &judged.facts, signal, window, incident.as_ref(), next_signal, now)?;
            next_signal += 1;
            recorded.signals += 1;
        }
        totals.run(&judged.facts);
        if matches!(known, Known::Nothing) {
            for condition in of_agent.values_mut() {
                if condition.status != IncidentStatus::Open || fired.contains(condition.fingerprint.as_str()) {
                    continue;
                }
                // Without its detector the run is not known to be clean.
                if unheard.iter().any(|one| one.finds(&condition.fingerprint, &judged.facts.agent_id)) {
                    continue;
                }
                condition.clean_runs += 1;
                condition.changed = true;
                if condition.clean_runs >= i64::from(enough) {
                    condition.status = IncidentStatus::Resolved;
                    condition.resolved_at = Some(now);
                    let detail = json!({"clean_runs": condition.clean_runs});
                    tx.audit(scope, now, ACTOR, "incident.resolved", ("incident", condition.id.as_str()), &detail)?;
                    resolved.insert(condition.id.clone());
                    opened.remove(&condition.id);
                }
            }
        }
        keep_verdict(tx.connection, scope, &judged.facts, types.len(), live, now)?;
        rollup.add(&judged.facts, live_types, now);
        recorded.judged += 1;
    }
    failing::not_judged(tx.connection, scope, &unheard, &runs, now)?;
    conditions.write(tx.connection, scope, now)?;
    totals.write(tx.connection, scope)?;
    rollup.write(tx.connection, scope)?;
    let ids: Vec<String> = runs.into_iter().map(|run| run.facts.run_id).collect();
    watch::forget(tx.connection, scope, &ids)?;
    for id in opened {
        recorded.opened.push(existing(tx.connection, scope, &id)?);
    }
    for id in resolved {
        recorded.resolved.push(existing(tx.connection, scope, &id)?);
    }
    Ok(recorded)
}

fn next(connection: &Connection, sql: &str) -> DbResult<i64> {
    Ok(one(connection, sql, [], |row| row.get(0))?.unwrap_or(1))
}

fn known(connection: &Connection, scope: &Scope, facts: &RunFacts) -> DbResult<Known> {
    let sql = "SELECT reason, EXISTS (SELECT 1 FROM run_watch WHERE project_id = ?1 AND run_id = ?2)
               FROM judged_runs WHERE project_id = ?1 AND run_id = ?2";
    let before: Option<(RunEnd, bool)> =
        one(connection, sql, params![scope.project_id(), facts.run_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match before {
        None => Known::Nothing,
        Some((before, more)) if more || (before == RunEnd::Stalled && facts.reason != RunEnd::Stalled) => {
            let sql = "SELECT type FROM anomalies WHERE project_id = ?1 AND run_id = ?2";
            let types = all(connection, sql, params![scope.project_id(), facts.run_id], |row| row.get(0))?;
            Known::Before(types.into_iter().collect())
        }
        Some(_) => Known::Judged,
    })
}

fn window(facts: &RunFacts) -> Window {
    let start = facts.started_at;
    Window { start, end: facts.ended_at.max(start + TimeDelta::microseconds(1)) }
}

/// The condition was seen in a run: its incident, and whether that was opened or reopened by it.
fn seen(
    tx: &mut Tx<'_>,
    scope: &Scope,
    of_agent: &mut BTreeMap<String, Condition>,
    facts: &RunFacts,
    signal: &NewSignal,
    window: Window,
    now: DateTime<Utc>,
) -> DbResult<(IncidentId, bool)> {
    let Some(condition) = of_agent.get_mut(&signal.fingerprint) else {
        let condition = open(tx, scope, facts, signal, window, now)?;
        let id = condition.id.clone();
        of_agent.insert(signal.fingerprint.clone(), condition);
        return Ok((id, true));
    };
    let reopens = condition.status == IncidentStatus::Resolved;
    condition.status = IncidentStatus::Open;
    condition.resolved_at = None;
    condition.reopened += i64::from(reopens);
    condition.occurrences += 1;
    condition.clean_runs = 0;
    condition.severity = condition.severity.max(signal.severity);
    condition.window = condition.window.union(&window);
    condition.last_seen_at = condition.last_seen_at.max(now);
    condition.description.clone_from(&signal.description);
    condition.changed = true;
    if reopens {
        tx.audit(scope, now, ACTOR, "incident.reopened", ("incident", condition.id.as_str()), &json!({}))?;
    }
    Ok((condition.id.clone(), reopens))
}

fn open(
    tx: &mut Tx<'_>,
    scope: &Scope,
    facts: &RunFacts,
    signal: &NewSignal,
    window: Window,
    now: DateTime<Utc>,
) -> DbResult<Condition> {
    let id: IncidentId = tx.ids.next(now);
    let issue = next(tx.connection, "SELECT coalesce(max(issue_id), 0) + 1 FROM incidents")?;
    let entity = entity(facts, signal);
    run(
        tx.connection,
        "INSERT INTO incidents
             (project_id, id, detector, type, severity, entity, fingerprint, description, status, opened_at, window_start,
              window_end, last_seen_at, occurrences, reopened_count, clean_windows, updated_at, agent_id, issue_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open', ?9, ?10, ?11, ?9, 1, 0, 0, ?9, ?12, ?13)",
        params![
            scope.project_id(),
            id,
            signal.detector,
            signal.failure_type,
            signal.severity,
            entity,
            signal.fingerprint,
            signal.description,
            micros(now),
            micros(window.start),
            micros(window.end),
            facts.agent_id,
            issue
        ],
    )?;
    let detail = json!({"type": signal.failure_type, "severity": signal.severity, "entity": entity});
    tx.audit(scope, now, ACTOR, "incident.opened", ("incident", id.as_str()), &detail)?;
    Ok(Condition {
        id,
        fingerprint: signal.fingerprint.clone(),
        status: IncidentStatus::Open,
        severity: signal.severity,
        window,
        occurrences: 1,
        reopened: 0,
        clean_runs: 0,
        resolved_at: None,
        last_seen_at: now,
        description: signal.description.clone(),
        changed: false,
    })
}

/// What an incident about runs is about: the agent and the failure type.
fn entity(facts: &RunFacts, signal: &NewSignal) -> String {
    format!("{} / {}", facts.agent_id, signal.failure_type)
}

#[allow(clippy::too_many_arguments, reason = "a row has as many parts")]
fn insert_signal(
    tx: &mut Tx<'_>,
    scope: &Scope,
    facts: &RunFacts,
    signal: &NewSignal,
    window: Window,
    incident: Option<&IncidentId>,
    signal_id: i64,
    now: DateTime<Utc>,
) -> DbResult<()> {
    let id: AnomalyId = tx.ids.next(now);
    run(
        tx.connection,
        "INSERT INTO anomalies
             (project_id, id, incident_id, detector, type, severity, entity, fingerprint, window_start, window_end,
              detected_at, description, evidence, run_id, signal_id, agent_id, agent_version, step_index, confidence,
              co_signals, shadow)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        params![
            scope.project_id(),
            id,
            incident,
            signal.detector,
            signal.failure_type,
            signal.severity,
            entity(facts, signal),
            signal.fingerprint,
            micros(window.start),
            micros(window.end),
            micros(now),
            signal.description,
            to_json(&signal.evidence)?,
            facts.run_id,
            signal_id,
            facts.agent_id,
            facts.agent_version,
            signal.step_index,
            signal.confidence,
            signal.co_signals,
            signal.shadow
        ],
    )?;
    Ok(())
}

fn keep_verdict(
    connection: &Connection,
    scope: &Scope,
    facts: &RunFacts,
    signals: usize,
    live: i64,
    now: DateTime<Utc>,
) -> DbResult<()> {
    run(
        connection,
        "INSERT INTO judged_runs
             (project_id, run_id, agent_id, agent_version, reason, exit_reason, judged_at, started_at, ended_at, step_count,
              llm_calls, tool_calls, first_tool_step, input_hash, token_growth, tool_gaps_ms, llm_gaps_ms, signal_count,
              live_count, received_at, first_seq)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
              (SELECT last_received_at FROM run_watch WHERE project_id = ?1 AND run_id = ?2),
              (SELECT first_seq FROM run_watch WHERE project_id = ?1 AND run_id = ?2))
         ON CONFLICT (project_id, run_id) DO UPDATE SET
             agent_id = excluded.agent_id, agent_version = excluded.agent_version,
             reason = excluded.reason, exit_reason = excluded.exit_reason, judged_at = excluded.judged_at,
             started_at = excluded.started_at, ended_at = excluded.ended_at, step_count = excluded.step_count,
             llm_calls = excluded.llm_calls, tool_calls = excluded.tool_calls,
             first_tool_step = excluded.first_tool_step, input_hash = excluded.input_hash,
             token_growth = excluded.token_growth, tool_gaps_ms = excluded.tool_gaps_ms,
             llm_gaps_ms = excluded.llm_gaps_ms, signal_count = excluded.signal_count,
             live_count = live_count + excluded.live_count, received_at = excluded.received_at,
             first_seq = coalesce(excluded.first_seq, first_seq)",
        params![
            scope.project_id(),
            facts.run_id,
            facts.agent_id,
            facts.agent_version,
            facts.reason,
            facts.exit_reason,
            micros(now),
            micros(facts.started_at),
            micros(facts.ended_at),
            facts.step_count,
            facts.llm_calls,
            facts.tool_calls,
            facts.first_tool_step,
            facts.input_hash,
            facts.token_growth,
            to_json(&facts.tool_gaps_ms)?,
            to_json(&facts.llm_gaps_ms)?,
            i64::try_from(signals).unwrap_or(i64::MAX),
            live
        ],
    )?;
    Ok(())
}
