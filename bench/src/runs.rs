//! Judging runs: 100,000 finished runs of 20 events, by all fifteen detectors, from the event log to the kept verdicts.
//!
//! The goal is 20 s on 2 cores in release; the reference worker judges about 50 runs a second there. The time of an
//! explanation is measured beside it; its goal is 50 µs.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use tripline_agent::AgentContext;
use tripline_agent::queries::QueryLibrary;
use tripline_agent::runs::Judge;
use tripline_agent::runs::explain::{Subject, explain};
use tripline_agent::settings::{Settings, SettingsHandle};
use tripline_engine::{Engine, EngineOptions, SystemClock};
use tripline_store::ingest::WireEvent;
use tripline_store::ingest::runs::LogEvents;
use tripline_store::{MaintenancePolicy, OpenMode, Scope, Severity, SqliteStore};

use crate::say;

const RUNS: usize = 100_000;
const RUNS_PER_REQUEST: usize = 25;

fn event(run: usize, at: f64, step: i64, kind: &str, payload: Value) -> WireEvent {
    let payload = match payload {
        Value::Object(payload) => payload,
        _ => Map::new(),
    };
    WireEvent {
        event_type: kind.to_owned(),
        run_id: format!("{:08x}-bench-{run:012}", run.wrapping_mul(2_654_435_761) & 0xffff_ffff),
        agent_id: format!("agent-{}", run % 20),
        agent_version: "88e66bb2".to_owned(),
        step_index: step,
        timestamp: Some(at),
        payload,
        ..WireEvent::default()
    }
}

/// 20 events: in one run of ten something goes wrong, in turn one of several things.
fn run_of(run: usize, start: f64) -> Vec<WireEvent> {
    let wrong = if run.is_multiple_of(10) { (run / 10) % 5 } else { 9 };
    let (mut step, mut at) = (0, start);
    let mut events = vec![event(
        run,
        at,
        0,
        "run.started",
        json!({"input_hash": format!("{:016x}", run % 1_000), "model": "gpt-4o", "tools": ["search", "db", "mail"]}),
    )];
    let tools = ["search", "db", "mail", "calc", "fetch"];
    for round in 0..9_i64 {
        step += 1;
        at += 0.4;
        if round % 2 == 0 {
            let tokens = if wrong == 1 { 900 * (round + 1) } else { 500 + 20 * round };
            events.push(event(run, at, step, "llm.called", json!({"model": "gpt-4o", "prompt_tokens": tokens})));
            at += if wrong == 2 && round == 4 { 45.0 } else { 0.8 };
            let finish = if wrong == 3 { "length" } else { "stop" };
            events.push(event(
                run,
                at,
                step,
                "llm.responded",
                json!({"completion_tokens": 80, "latency_ms": 800, "finish_reason": finish, "output_length": 240}),
            ));
        } else {
            let tool = if wrong == 0 { "search" } else { tools[usize::try_from(round).unwrap_or(0) / 2 % 5] };
            events.push(event(
                run,
                at,
                step,
                "tool.called",
                json!({"tool_name": tool, "args_hash": format!("{round:016x}")}),
            ));
            at += 0.3;
            let success = wrong != 4;
            events.push(event(
                run,
                at,
                step,
                "tool.responded",
                json!({"tool_name": tool, "success": success, "output_length": 100, "latency_ms": 300}),
            ));
        }
    }
    events.push(event(
        run,
        at + 0.1,
        step,
        "run.completed",
        json!({"total_steps": step, "exit_reason": "final_answer"}),
    ));
    events
}

pub(crate) async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let home = tempfile::tempdir()?;
    judged(home.path(), RUNS, 0).await?;
    explained();
    Ok(())
}

/// A home with `runs` runs that were judged, begun at even distances during `days` days.
pub(crate) async fn judged(home: &Path, runs: usize, days: i64) -> Result<(), Box<dyn std::error::Error>> {
    let sqlite = SqliteStore::open(home.join("state/tripline.db"), OpenMode::Serve)?;
    let (store, scope) = (sqlite.store(), Scope::default_project());
    let now: DateTime<Utc> = Utc::now();
    let newest = (now - TimeDelta::minutes(10)).timestamp_micros() as f64 / 1e6;
    let apart = days as f64 * 86_400.0 / runs as f64;
    let policy = MaintenancePolicy::default();
    let started = Instant::now();
    let mut events = 0;
    for (request, first) in (0..runs).step_by(RUNS_PER_REQUEST).enumerate() {
        let all = first..(first + RUNS_PER_REQUEST).min(runs);
        let batch: Vec<WireEvent> = all.flat_map(|run| run_of(run, newest - apart * (runs - run) as f64)).collect();
        events += batch.len();
        store.events.accept(&scope, now - TimeDelta::seconds(30), batch).await?;
        if request % 256 == 255 {
            sqlite.maintain_events(now, &policy).await?;
        }
    }
    say(&format!("runs: {runs} runs, {events} events, taken in {:.1} s (one client)", started.elapsed().as_secs_f64()));

    let context = AgentContext {
        engine: Arc::new(Engine::new(Arc::new(SystemClock), EngineOptions::default(), &[], Vec::new())?),
        store: store.clone(),
        scope: scope.clone(),
        clock: Arc::new(SystemClock),
        settings: SettingsHandle::new(Settings::default()),
    };
    let events = Arc::new(LogEvents::new(Arc::clone(&store.events)));
    let judge = Judge::new(context, QueryLibrary::open(None)?, events);
    let started = Instant::now();
    let judged = judge.judge_due(now).await?;
    let seconds = started.elapsed().as_secs_f64();
    say(&format!(
        "runs: {} judged by fifteen detectors in {seconds:.1} s ({:.0} runs/s; goal for 100000 is 20 s; reference worker about 50 runs/s), {} signals",
        judged.runs,
        judged.runs as f64 / seconds,
        judged.signals
    ));
    Ok(())
}

fn explained() {
    let evidence = json!({"tool": "search", "count": 7, "window": 5, "first_step": 1, "last_step": 9, "args_identical": false,
        "args_similar": true, "success_rate": 0.25, "wasted_tokens": 912});
    let evidence = evidence.as_object().cloned().unwrap_or_default();
    let subject = Subject {
        failure_type: "TOOL_LOOP",
        severity: Severity::High,
        run_id: "run",
        agent_id: "agent",
        agent_version: "v1",
        confidence: 0.95,
        step_index: 9,
        detected_at: 0.0,
        evidence: &evidence,
    };
    let started = Instant::now();
    let mut length = 0;
    for _ in 0..10_000 {
        length += std::hint::black_box(explain(std::hint::black_box(&subject), None)).what.len();
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / 10_000.0;
    say(&format!("explanation: {each:.1} µs each (goal 50 µs; {length} characters)"));
}
