//! What a run is compared with: the third quartile of its predecessors.
//!
//! Predecessors are the last completed runs of the same agent and version (50, `run_baseline_runs`), those of the same
//! cycle included that were judged before it. With static confidence ten of them are enough, with dynamic twenty are
//! needed (seed 000; `facts/dunetrace.md` §3.1).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use tripline_store::{AgentVersion, RunEnd, RunFacts};

use super::Confidence;

/// Model calls without which a run says nothing about the ratio of thinking and acting.
const RATIO_CALLS: i64 = 5;

/// What one run is compared with; `None` where too few predecessors tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Baseline {
    /// Steps of a run.
    pub steps: Option<f64>,
    /// Milliseconds from a tool call to the next event.
    pub tool_latency_ms: Option<f64>,
    /// Milliseconds from a model call to the next event.
    pub llm_latency_ms: Option<f64>,
    /// Largest by smallest prompt.
    pub token_growth: Option<f64>,
    /// Model calls per tool call.
    pub llm_tool_ratio: Option<f64>,
}

/// The third quartile, interpolated between the two nearest values. `None` for no values.
#[must_use]
pub fn third_quartile(values: &mut [f64]) -> Option<f64> {
    let position = 0.75 * (values.len().checked_sub(1)?) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let (_, low, rest) = values.select_nth_unstable_by(below, f64::total_cmp);
    let low = *low;
    if share == 0.0 {
        return Some(low);
    }
    let high = rest.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    Some(low + (high - low) * share)
}

/// The predecessors of each agent and version, as runs are judged one after the other.
#[derive(Debug)]
pub struct Predecessors {
    of: HashMap<AgentVersion, VecDeque<RunFacts>>,
    keep: usize,
    confidence: Confidence,
}

impl Predecessors {
    /// Begins with what was judged in earlier cycles, oldest first.
    #[must_use]
    pub fn new(of: HashMap<AgentVersion, Vec<RunFacts>>, keep: usize, confidence: Confidence) -> Self {
        let of = of.into_iter().map(|(key, runs)| (key, VecDeque::from(runs))).collect();
        Self { of, keep, confidence }
    }

    /// What this run is compared with. It becomes a predecessor itself, if it completed.
    pub fn take(&mut self, run: &RunFacts) -> Baseline {
        let (keep, confidence) = (self.keep, self.confidence);
        let runs = self.of.entry((run.agent_id.clone(), run.agent_version.clone())).or_default();
        while runs.len() > keep {
            runs.pop_front();
        }
        let baseline = baseline(runs, &run.run_id, confidence);
        // A run that is judged again replaces what it was.
        if run.reason == RunEnd::Completed && runs.iter().all(|known| known.run_id != run.run_id) {
            runs.push_back(run.clone());
        }
        baseline
    }
}

fn baseline(runs: &VecDeque<RunFacts>, current: &str, confidence: Confidence) -> Baseline {
    let runs = || runs.iter().filter(|run| run.run_id != current);
    let enough = match confidence {
        Confidence::Static => 10,
        Confidence::Dynamic => 20,
    };
    let of_runs = |values: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<f64> = values.collect();
        (values.len() >= enough).then(|| third_quartile(&mut values)).flatten()
    };
    let steps = of_runs(&mut runs().map(|run| run.step_count as f64));
    if confidence == Confidence::Static {
        return Baseline { steps, ..Baseline::default() };
    }
    let latency = |gaps: fn(&RunFacts) -> &[i64]| {
        if runs().filter(|run| !gaps(run).is_empty()).count() < enough {
            return None;
        }
        let mut values: Vec<f64> = runs().flat_map(|run| gaps(run)).map(|gap| *gap as f64).collect();
        third_quartile(&mut values)
    };
    Baseline {
        steps,
        tool_latency_ms: latency(|run| &run.tool_gaps_ms),
        llm_latency_ms: latency(|run| &run.llm_gaps_ms),
        token_growth: of_runs(&mut runs().filter_map(|run| run.token_growth)),
        llm_tool_ratio: of_runs(
            &mut runs()
                .filter(|run| run.llm_calls >= RATIO_CALLS)
                .map(|run| run.llm_calls as f64 / run.tool_calls.max(1) as f64),
        ),
    }
}

/// Columns of `input.baselines`.
#[must_use]
pub fn schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("run_id", DataType::Utf8, false),
        number("steps"),
        number("tool_latency_ms"),
        number("llm_latency_ms"),
        number("token_growth"),
        number("llm_tool_ratio"),
    ]))
}

/// The baselines of some runs as a table.
///
/// # Errors
/// When Arrow cannot hold them.
pub fn table<'a>(rows: impl Iterator<Item = (&'a str, Baseline)> + Clone) -> Result<RecordBatch, ArrowError> {
    let column = |of: fn(&Baseline) -> Option<f64>| -> ArrayRef {
        Arc::new(rows.clone().map(|(_, baseline)| of(&baseline)).collect::<Float64Array>())
    };
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.clone().map(|(id, _)| id)));
    RecordBatch::try_new(
        schema(),
        vec![
            ids,
            column(|b| b.steps),
            column(|b| b.tool_latency_ms),
            column(|b| b.llm_latency_ms),
            column(|b| b.token_growth),
            column(|b| b.llm_tool_ratio),
        ],
    )
}
