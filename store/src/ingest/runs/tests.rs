//! Promises of the run builder and of its tables.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::util::pretty::pretty_format_batches;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::*;
use crate::ingest::events_schema;
use crate::model::Scope;

/// Microseconds since 1970 at which everything here begins.
const START: i64 = 1_700_000_000_000_000;

/// An event of a run: run, step, milliseconds after the start, type, payload.
type Row<'a> = (&'a str, i64, i64, &'a str, &'a str);

fn batch(rows: &[Row<'_>]) -> RecordBatch {
    numbered(&rows.iter().enumerate().map(|(index, row)| (index as i64 + 1, *row)).collect::<Vec<_>>())
}

fn numbered(rows: &[(i64, Row<'_>)]) -> RecordBatch {
    let text = |of: &dyn Fn(&Row<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|(_, row)| of(row)).collect::<StringArray>())
    };
    let none = || text(&|_| None);
    let at = |late: i64| -> ArrayRef {
        let times = rows.iter().map(|(_, row)| START + row.2 * 1_000 + late);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(seq, _)| *seq))),
        none(),
        text(&|row| Some(row.0.to_owned())),
        text(&|_| Some("agent".to_owned())),
        text(&|_| Some("v1".to_owned())),
        none(),
        none(),
        none(),
        none(),
        text(&|row| Some(row.3.to_owned())),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, row)| row.1))),
        at(0),
        at(1),
        text(&|row| Some(row.4.to_owned())),
        text(&|_| Some(String::new())),
    ];
    RecordBatch::try_new(events_schema(), columns).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(START).unwrap() + TimeDelta::seconds(seconds)
}

fn built(rows: &[Row<'_>]) -> RunTables {
    RunTables::build(&[batch(rows)], at(10), STALLED_AFTER).unwrap()
}

/// Some columns of a table, as text.
fn shown(tables: &RunTables, table: RunTable, columns: &[&str]) -> Vec<String> {
    let batches: Vec<RecordBatch> = tables
        .batches(table)
        .iter()
        .map(|batch| {
            let indices: Vec<usize> = columns.iter().map(|name| batch.schema().index_of(name).unwrap()).collect();
            batch.project(&indices).unwrap()
        })
        .collect();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_run_has_its_calls_in_order_and_its_counts() {
    let tables = built(&[
        ("r", 0, 0, "run.started", r#"{"input_hash": "ab", "model": "m", "tools": ["x", "y"]}"#),
        ("r", 1, 250, "llm.called", r#"{"model": "m1", "prompt_tokens": 100}"#),
        (
            "r",
            1,
            1_500,
            "llm.responded",
            r#"{"completion_tokens": 5, "finish_reason": "stop", "output_length": 9, "latency_ms": 50}"#,
        ),
        ("r", 2, 1_750, "tool.called", r#"{"tool_name": "x", "args_hash": "h"}"#),
        ("r", 2, 2_375, "tool.responded", r#"{"tool_name": "x", "success": false, "error_hash": "e"}"#),
        ("r", 3, 2_500, "retrieval.called", r#"{"index_name": "docs"}"#),
        ("r", 3, 2_625, "retrieval.responded", r#"{"result_count": 0, "top_score": null}"#),
        ("r", 3, 2_750, "run.completed", r#"{"exit_reason": "final_answer"}"#),
    ]);
    let columns = [
        "status",
        "exit_reason",
        "available_tools",
        "events",
        "step_count",
        "llm_calls",
        "tool_calls",
        "failed_tool_calls",
        "retrievals",
        "first_tool_step",
        "prompt_tokens",
        "completion_tokens",
        "duration_ms",
    ];
    assert_eq!(
        shown(&tables, RunTable::Runs, &columns),
        [r#"completed final_answer ["x","y"] 8 3 1 1 1 1 2 100 5 2750"#]
    );
    let columns = ["call_index", "step_index", "tool_name", "args_hash", "success", "error_hash"];
    assert_eq!(shown(&tables, RunTable::ToolCalls, &columns), ["1 2 x h false e"]);
    let columns = ["call_index", "model", "prompt_tokens", "completion_tokens", "finish_reason", "output_length"];
    assert_eq!(shown(&tables, RunTable::LlmCalls, &columns), ["1 m1 100 5 stop 9"]);
    let columns = ["index_name", "result_count", "top_score"];
    assert_eq!(shown(&tables, RunTable::Retrievals, &columns), ["docs 0 "]);
    let columns = ["step_index", "event_type", "duration_ms"];
    assert_eq!(
        shown(&tables, RunTable::Steps, &columns),
        ["0 run.started 250", "1 llm.called 1250", "2 tool.called 625", "3 retrieval.called 125"]
    );
}

#[test]
fn how_long_calls_took_is_told_of_every_call_whatever_step_it_shares() {
    let tables = built(&[
        ("r", 1, 0, "retrieval.called", "{}"),
        ("r", 1, 100, "tool.called", r#"{"tool_name": "a"}"#),
        ("r", 1, 300, "tool.called", r#"{"tool_name": "b"}"#),
        ("r", 1, 700, "external.signal", r#"{"signal_name": "s"}"#),
        ("r", 1, 900, "tool.responded", r#"{"tool_name": "a"}"#),
        ("r", 2, 1_000, "llm.called", "{}"),
        ("r", 2, 2_500, "llm.responded", "{}"),
        ("r", 3, 2_600, "tool.called", r#"{"tool_name": "last"}"#),
        ("other", 1, 0, "run.started", "{}"),
    ]);
    let gaps = tables.gaps("r").unwrap();
    assert_eq!((gaps.tools.as_slice(), gaps.llms.as_slice()), (&[200, 400][..], &[1_500][..]));
    assert_eq!(tables.gaps("other"), None);
}

#[test]
fn a_response_belongs_to_the_latest_open_call_of_its_step_and_tool_then_of_its_tool() {
    let tables = built(&[
        ("r", 1, 0, "tool.called", r#"{"tool_name": "a"}"#),
        ("r", 1, 1, "tool.called", r#"{"tool_name": "b"}"#),
        ("r", 1, 2, "tool.responded", r#"{"tool_name": "a", "success": true}"#),
        ("r", 2, 3, "tool.called", r#"{"tool_name": "c"}"#),
        ("r", 2, 4, "tool.responded", r#"{"success": false}"#),
        ("r", 3, 5, "tool.responded", r#"{"tool_name": "b", "success": false}"#),
        ("r", 4, 6, "tool.responded", r#"{"success": true}"#),
        ("r", 4, 7, "tool.responded", r#"{"tool_name": "z", "success": true}"#),
    ]);
    assert_eq!(shown(&tables, RunTable::ToolCalls, &["tool_name", "success"]), ["a true", "b false", "c false"]);
}

#[test]
fn a_model_call_without_an_answer_is_no_model_call() {
    let tables = built(&[
        ("r", 1, 0, "llm.called", r#"{"model": "m"}"#),
        ("r", 2, 1, "llm.called", r#"{"model": "m", "prompt_tokens": 3}"#),
        ("r", 2, 2, "llm.responded", r#"{"prompt_tokens": 0}"#),
        ("r", 3, 3, "llm.responded", r#"{"prompt_tokens": 8}"#),
    ]);
    let columns = ["call_index", "step_index", "model", "prompt_tokens"];
    assert_eq!(shown(&tables, RunTable::LlmCalls, &columns), ["1 2 m 3", "2 3 unknown 8"]);
}

#[test]
fn a_run_without_an_end_runs_until_it_was_silent_for_ninety_seconds() {
    let events = [batch(&[("r", 0, 0, "run.started", "{}"), ("r", 1, 5_000, "llm.called", "{}")])];
    let status = |seconds| {
        let tables = RunTables::build(&events, at(seconds), STALLED_AFTER).unwrap();
        shown(&tables, RunTable::Runs, &["status"])
    };
    assert_eq!(status(95), ["running"]);
    assert_eq!(status(96), ["stalled"]);
}

#[test]
fn what_is_wrong_with_a_payload_costs_no_event() {
    let tables = built(&[
        ("r", 0, 0, "run.started", "null"),
        ("r", 1, 1, "tool.called", "[]"),
        ("r", 1, 2, "tool.responded", r#"{"success": "perhaps"}"#),
        ("r", 1, 3, "memory.written", "{}"),
        ("r", 1, 4, "run.errored", "{"),
    ]);
    assert_eq!(
        shown(&tables, RunTable::Runs, &["status", "exit_reason", "tool_calls", "events"]),
        ["errored error 1 5"]
    );
    assert_eq!(shown(&tables, RunTable::ToolCalls, &["tool_name", "success"]), ["unknown "]);
}

#[test]
fn steps_that_are_times_become_numbers() {
    let time = |millis: i64| START + millis * 1_000;
    let tables = built(&[
        ("r", 0, 0, "run.started", "{}"),
        ("r", time(250), 250, "llm.called", "{}"),
        ("r", time(250), 1000, "llm.responded", "{}"),
        ("r", time(500), 500, "external.signal", r#"{"signal_name": "s"}"#),
        ("r", time(1250), 1250, "tool.called", r#"{"tool_name": "x"}"#),
        ("r", time(1250), 1500, "tool.responded", r#"{"success": true}"#),
        ("r", time(1750), 1750, "run.completed", "{}"),
    ]);
    assert_eq!(shown(&tables, RunTable::Runs, &["step_count", "llm_calls", "tool_calls"]), ["2 1 1"]);
    assert_eq!(
        shown(&tables, RunTable::Steps, &["step_index", "event_type", "duration_ms"]),
        ["0 run.started 250", "1 llm.called 250", "2 tool.called 250"]
    );
}

fn context(events: Vec<RecordBatch>) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(2).set_str("datafusion.execution.time_zone", "UTC");
    let context = SessionContext::new_with_config(config);
    let schema = Arc::new(MemorySchemaProvider::new());
    let events: Arc<dyn RunEvents> = Arc::new(MemoryEvents::new(events));
    for table in run_tables(&events, &Scope::default_project()) {
        schema.register_table(table.name.to_owned(), table.provider).unwrap();
    }
    context.catalog("datafusion").unwrap().register_schema("ingest", schema).unwrap();
    context
}

async fn answer(context: &SessionContext, sql: &str) -> Vec<String> {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let text = pretty_format_batches(&batches).unwrap().to_string();
    let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn a_query_sees_whole_runs_whatever_it_asks_for() {
    let context = context(vec![
        batch(&[("a", 0, 0, "run.started", "{}"), ("b", 0, 60_000, "run.started", "{}")]),
        numbered(&[
            (10, ("a", 1, 1_000, "tool.called", r#"{"tool_name": "x"}"#)),
            (11, ("a", 1, 90_000, "run.completed", "{}")),
            (12, ("b", 1, 61_000, "tool.called", r#"{"tool_name": "y"}"#)),
        ]),
    ]);
    let runs = "SELECT run_id, status, events, tool_calls FROM ingest.runs";
    assert_eq!(answer(&context, &format!("{runs} ORDER BY run_id")).await, ["a completed 3 1", "b stalled 2 1"]);
    assert_eq!(answer(&context, &format!("{runs} WHERE run_id = 'a'")).await, ["a completed 3 1"]);
    let later = "TIMESTAMP '2023-11-14T22:14:00Z'";
    assert_eq!(answer(&context, &format!("{runs} WHERE ended_at >= {later}")).await, ["a completed 3 1"]);
    assert_eq!(answer(&context, &format!("{runs} WHERE started_at >= {later}")).await, ["b stalled 2 1"]);
    assert_eq!(answer(&context, "SELECT count(*) FROM ingest.tool_calls WHERE agent_id = 'nobody'").await, ["0"]);
    assert_eq!(
        answer(
            &context,
            "SELECT t.tool_name FROM ingest.tool_calls t JOIN ingest.runs r USING (run_id) WHERE r.status = 'completed'"
        )
        .await,
        ["x"]
    );
    assert_eq!(answer(&context, "SELECT run_id FROM ingest.runs ORDER BY run_id LIMIT 1").await, ["a"]);
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_the_order_in_which_events_are_handed_over(seed in any::<u64>(), cut in 0_usize..9) {
        let rows: Vec<(i64, Row<'_>)> = [
            ("a", 0, 0, "run.started", r#"{"tools": ["x"]}"#),
            ("a", 1, 5, "tool.called", r#"{"tool_name": "x", "args_hash": "1"}"#),
            ("a", 1, 5, "tool.responded", r#"{"tool_name": "x", "success": true}"#),
            ("b", 0, 1, "run.started", "{}"),
            ("a", 2, 7, "llm.called", "{}"),
            ("b", 1, 2, "llm.called", r#"{"prompt_tokens": 4}"#),
            ("a", 2, 9, "llm.responded", r#"{"finish_reason": "stop", "output_length": 0}"#),
            ("b", 1, 3, "llm.responded", "{}"),
            ("a", 2, 10, "run.completed", "{}"),
        ]
        .into_iter()
        .enumerate()
        .map(|(index, row)| (index as i64, row))
        .collect();
        let mut shuffled = rows.clone();
        let mut state = seed | 1;
        for index in (1..shuffled.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            shuffled.swap(index, (state >> 33) as usize % (index + 1));
        }
        let (one, two) = shuffled.split_at(cut);
        let pieces = [numbered(one), numbered(two)];
        let sorted = |batches: &[RecordBatch]| {
            let tables = RunTables::build(batches, at(10), STALLED_AFTER).unwrap();
            let mut all: HashMap<&str, Vec<String>> = HashMap::new();
            for table in RunTable::ALL {
                let schema = table.schema();
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let mut rows = shown(&tables, table, &names);
                rows.sort();
                all.insert(table.name(), rows);
            }
            all
        };
        prop_assert_eq!(sorted(&[numbered(&rows)]), sorted(&pieces));
    }

    #[test]
    fn no_payload_breaks_the_builder(payload in ".*", kind in "(run|llm|tool|retrieval)\\.(started|called|responded|completed|errored)") {
        let tables = built(&[("r", 0, 0, &kind, &payload), ("r", 0, -5, "tool.called", &payload)]);
        prop_assert_eq!(shown(&tables, RunTable::Runs, &["events"]), ["2"]);
    }
}
