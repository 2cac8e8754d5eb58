//! What several signals in one run mean. Acts with dynamic confidence only (`facts/dunetrace.md` §3.2).
//!
//! Eight calls of one tool of which nine in ten have the same arguments make every signal of the run critical; else five
//! failing tool calls at the end make them high. Then two signals raise each other's confidence by 15 %, three by 30 %, four
//! and more by 40 %, to 1 at most. Signals of detectors on trial neither raise nor are raised.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, AsArray};
use tripline_store::Severity;
use tripline_store::ingest::runs::{RunTable, RunTables};

use super::Found;

/// Calls of one tool from which on repeating the same arguments is beyond doubt.
const SAME_CALLS: usize = 8;
/// Failing calls at the end from which on a run is beyond doubt in trouble.
const FAILED_CALLS: usize = 5;

/// What the tool calls of a run say by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Override {
    Critical,
    High,
}

#[derive(Default)]
struct ToolCalls<'a> {
    /// Calls of each tool, and by arguments those whose arguments are known.
    by_tool: BTreeMap<&'a str, (usize, BTreeMap<&'a str, usize>)>,
    /// Failing calls since the last that did not fail; calls come in order.
    failing: usize,
}

impl ToolCalls<'_> {
    fn verdict(&self) -> Option<Override> {
        let repeats = self.by_tool.values().any(|(calls, args)| {
            let most = args.values().max().copied().unwrap_or_default();
            *calls >= SAME_CALLS && most * 10 >= calls * 9
        });
        match (repeats, self.failing >= FAILED_CALLS) {
            (true, _) => Some(Override::Critical),
            (false, true) => Some(Override::High),
            (false, false) => None,
        }
    }
}

/// Applies the rules to the live signals of each run.
pub fn apply(found: &mut [Found], tables: &RunTables, is_shadow: impl Fn(&str) -> bool) {
    let mut of_run: HashMap<String, Vec<usize>> = HashMap::new();
    for (index, signal) in found.iter().enumerate().filter(|(_, signal)| !is_shadow(&signal.detector)) {
        of_run.entry(signal.run_id.clone()).or_default().push(index);
    }
    let overrides = overrides(tables, &of_run.keys().map(String::as_str).collect());
    for (run, signals) in of_run {
        let factor = match signals.len() {
            0 | 1 => None,
            2 => Some(1.15),
            3 => Some(1.30),
            _ => Some(1.40),
        };
        for index in &signals {
            let Some(signal) = found.get_mut(*index) else { continue };
            match overrides.get(run.as_str()) {
                Some(Override::Critical) => (signal.severity, signal.confidence) = (Severity::Critical, 0.98),
                Some(Override::High) => (signal.severity, signal.confidence) = (Severity::High, 0.95),
                None => {}
            }
            if let Some(factor) = factor {
                let raised = (signal.confidence * factor).min(1.0);
                signal.confidence = format!("{raised:.4}").parse().unwrap_or(raised);
                signal.co_signals = i64::try_from(signals.len()).ok();
            }
        }
    }
}

fn overrides<'a>(tables: &'a RunTables, runs: &HashSet<&str>) -> HashMap<&'a str, Override> {
    let mut calls: HashMap<&str, ToolCalls<'_>> = HashMap::new();
    for batch in tables.batches(RunTable::ToolCalls) {
        let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        let success = batch.column_by_name("success").and_then(|column| column.as_boolean_opt());
        let (Some(ids), Some(tools), Some(args), Some(success)) =
            (text("run_id"), text("tool_name"), text("args_hash"), success)
        else {
            continue;
        };
        for row in (0..batch.num_rows()).filter(|row| runs.contains(ids.value(*row))) {
            let of_run = calls.entry(ids.value(row)).or_default();
            let (all, by_args) = of_run.by_tool.entry(tools.value(row)).or_default();
            *all += 1;
            if args.is_valid(row) {
                *by_args.entry(args.value(row)).or_default() += 1;
            }
            let failed = success.is_valid(row) && !success.value(row);
            of_run.failing = if failed { of_run.failing + 1 } else { 0 };
        }
    }
    calls.into_iter().filter_map(|(run, calls)| Some((run, calls.verdict()?))).collect()
}
