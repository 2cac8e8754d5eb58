//! What the sampler made of a replayed history: the share of traces it dropped, and which of those that matter it kept.
//!
//! Must hold: what matters is what the labels say, not what was found: every trace of a labelled incident's entity from its
//! start to its end counts, whether or not a detector saw it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use tripline_agent::AgentContext;
use tripline_engine::{Param, Params, QueryOptions, json_rows};
use tripline_store::SamplingStats;

use super::truth::Truth;
use crate::failure::Failure;

const KEPT: &str = "SELECT trace_id FROM agent.sampled_traces";
const ACTIONABLE: &str = "
SELECT DISTINCT trace_id
FROM langfuse.observations
WHERE (name = $entity OR trace_id = $entity)
  AND start_time >= $starts_at
  AND start_time < $ends_at
  AND trace_id IS NOT NULL";

/// Figures of the sampler.
#[derive(Debug, Default, Serialize)]
pub(super) struct Sampled {
    /// Traces that were judged, each day's once.
    traces: i64,
    dropped: i64,
    /// 0 to 1; `None` when there were none.
    share_dropped: Option<f64>,
    /// Traces of labelled incidents.
    actionable: usize,
    actionable_kept: usize,
    /// Those that were not kept.
    actionable_dropped: Vec<DroppedTrace>,
}

/// A trace of a labelled incident that the sampler dropped.
#[derive(Debug, Serialize)]
struct DroppedTrace {
    class: String,
    entity: String,
    trace_id: String,
}

impl Sampled {
    pub(super) fn text(&self) -> String {
        let share = self.share_dropped.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        format!(
            "  sampler: {} of {} traces dropped ({share}; goal: 80 %), {} of {} actionable ones kept (must be all)",
            self.dropped, self.traces, self.actionable_kept, self.actionable
        )
    }

    /// Sums up what the sampler of this installation did over a history.
    pub(super) async fn of(context: &AgentContext, truth: &Truth) -> Result<Self, Failure> {
        let mut sampled = Self::default();
        let mut until = None;
        // Newest first; each window is of a day, so that every 96th follows the one before.
        for run in all_runs(context).await? {
            if until.is_none_or(|until| run.window_end <= until) {
                until = Some(run.window_start);
                sampled.traces += run.total_traces;
                sampled.dropped += run.dropped_traces;
            }
        }
        sampled.share_dropped = (sampled.traces > 0).then(|| sampled.dropped as f64 / sampled.traces as f64);
        let kept = traces(context, KEPT, Params::new()).await?;
        let mut actionable = BTreeSet::new();
        for label in &truth.incidents {
            let params = Params::from([
                ("entity".to_owned(), Param::Text(label.entity.clone())),
                ("starts_at".to_owned(), Param::Timestamp(label.starts_at)),
                ("ends_at".to_owned(), Param::Timestamp(label.ends_at.min(truth.clock_end))),
            ]);
            let traces = traces(context, ACTIONABLE, params).await?;
            sampled.actionable_dropped.extend(traces.difference(&kept).map(|trace| DroppedTrace {
                class: label.class.clone(),
                entity: label.entity.clone(),
                trace_id: trace.clone(),
            }));
            actionable.extend(traces);
        }
        sampled.actionable_kept = actionable.intersection(&kept).count();
        sampled.actionable = actionable.len();
        Ok(sampled)
    }
}

async fn all_runs(context: &AgentContext) -> Result<Vec<SamplingStats>, Failure> {
    // A fortnight and more of runs every quarter of an hour; the store gives a thousand at a time.
    let sql = "SELECT window_start, window_end, total_traces, sampled_traces, dropped_traces FROM agent.sampling_stats
               ORDER BY window_end DESC";
    let rows = rows(context, sql, Params::new()).await?;
    rows.into_iter()
        .map(|mut row| {
            row.insert("recorded_at".to_owned(), row.get("window_end").cloned().unwrap_or_default());
            row.insert("keep_reasons".to_owned(), serde_json::json!({}));
            serde_json::from_value(serde_json::Value::Object(row)).map_err(Failure::display)
        })
        .collect()
}

async fn rows(
    context: &AgentContext,
    sql: &str,
    params: Params,
) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, Failure> {
    let options = QueryOptions { params, timeout: Duration::from_secs(300), ..QueryOptions::default() };
    let result = context.engine.collect(sql, options).await.map_err(Failure::display)?;
    json_rows(&result.schema, &result.batches).map_err(Failure::display)
}

async fn traces(context: &AgentContext, sql: &str, params: Params) -> Result<BTreeSet<String>, Failure> {
    let rows = rows(context, sql, params).await?;
    Ok(rows.into_iter().filter_map(|row| row.get("trace_id")?.as_str().map(str::to_owned)).collect())
}
