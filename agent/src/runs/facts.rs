//! What a verdict keeps of a run, read out of the derived tables.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use tripline_store::ingest::runs::{RunTable, RunTables};
use tripline_store::{RunEnd, RunFacts, StoreError};

fn column<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a dyn Array, StoreError> {
    let column = batch.column_by_name(name).map(AsRef::as_ref);
    column.ok_or_else(|| StoreError::Corrupt { what: "derived table", reason: format!("it has no column {name}") })
}

fn texts<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a StringArray, StoreError> {
    let array = column(batch, name)?.as_string_opt::<i32>();
    array.ok_or_else(|| StoreError::Corrupt { what: "derived table", reason: format!("{name} is no text") })
}

fn wholes<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int64Array, StoreError> {
    let array = column(batch, name)?.as_primitive_opt::<Int64Type>();
    array.ok_or_else(|| StoreError::Corrupt { what: "derived table", reason: format!("{name} is no whole number") })
}

fn times<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a TimestampMicrosecondArray, StoreError> {
    let array = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>();
    array.ok_or_else(|| StoreError::Corrupt { what: "derived table", reason: format!("{name} is no time") })
}

fn text(array: &StringArray, row: usize) -> Option<String> {
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn whole(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

fn time(array: &TimestampMicrosecondArray, row: usize) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(array.value(row)).unwrap_or_default()
}

/// What the model calls of a run say about the growth of its prompt.
#[derive(Default)]
struct Prompts {
    calls: u32,
    least: i64,
    most: i64,
}

impl Prompts {
    fn add(&mut self, tokens: i64) {
        self.least = if self.calls == 0 { tokens } else { self.least.min(tokens) };
        self.most = self.most.max(tokens);
        self.calls += 1;
    }

    /// Three calls, ten tokens in the smallest and two thousand in the largest (`facts/dunetrace.md` §3.1).
    fn growth(&self) -> Option<f64> {
        let tells = self.calls >= 3 && self.least >= 10 && self.most >= 2_000;
        tells.then(|| self.most as f64 / self.least as f64)
    }
}

/// The facts of all runs in these tables.
///
/// # Errors
/// When a table is not what the run builder makes.
pub fn facts(tables: &RunTables) -> Result<Vec<RunFacts>, StoreError> {
    let mut prompts: HashMap<&str, Prompts> = HashMap::new();
    for batch in tables.batches(RunTable::LlmCalls) {
        let (ids, tokens) = (texts(batch, "run_id")?, wholes(batch, "prompt_tokens")?);
        for row in (0..batch.num_rows()).filter(|row| tokens.is_valid(*row) && tokens.value(*row) > 0) {
            prompts.entry(ids.value(row)).or_default().add(tokens.value(row));
        }
    }
    let mut facts = Vec::new();
    for batch in tables.batches(RunTable::Runs) {
        let (ids, agents, versions) =
            (texts(batch, "run_id")?, texts(batch, "agent_id")?, texts(batch, "agent_version")?);
        let (status, exits, inputs) =
            (texts(batch, "status")?, texts(batch, "exit_reason")?, texts(batch, "input_hash")?);
        let (started, last) = (times(batch, "started_at")?, times(batch, "last_event_at")?);
        let (steps, llms, tools) =
            (wholes(batch, "step_count")?, wholes(batch, "llm_calls")?, wholes(batch, "tool_calls")?);
        let first_tools = wholes(batch, "first_tool_step")?;
        for row in 0..batch.num_rows() {
            let run_id = ids.value(row);
            let gaps = tables.gaps(run_id).cloned().unwrap_or_default();
            facts.push(RunFacts {
                run_id: run_id.to_owned(),
                agent_id: agents.value(row).to_owned(),
                agent_version: versions.value(row).to_owned(),
                reason: match status.value(row) {
                    "completed" => RunEnd::Completed,
                    "errored" => RunEnd::Errored,
                    _ => RunEnd::Stalled,
                },
                exit_reason: text(exits, row),
                started_at: time(started, row),
                ended_at: time(last, row),
                step_count: steps.value(row),
                llm_calls: llms.value(row),
                tool_calls: tools.value(row),
                first_tool_step: whole(first_tools, row),
                input_hash: text(inputs, row),
                token_growth: prompts.get(run_id).and_then(Prompts::growth),
                tool_gaps_ms: gaps.tools,
                llm_gaps_ms: gaps.llms,
            });
        }
    }
    Ok(facts)
}
