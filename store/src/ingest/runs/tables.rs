//! The derived tables over an event log: found by a query's filters, built when it runs.
//!
//! Owns: which runs a query can be about ([`RunFilter`]), and one provider for all tables. Must hold: a run is built
//! from all of its events or not at all, whatever the query asks for; nothing is read while planning; memory is
//! bounded by [`RUNS_AT_ONCE`] runs and the ids of those that match.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::{StreamExt, TryStreamExt, stream};
use tripline_engine::{ColumnConstraint, extract};

use super::build::RunTables;
use super::schema::{RunTable, STALLED_AFTER};
use super::source::{RunEvents, RunFilter};
use crate::Result;
use crate::model::Scope;
use crate::tables::SqlTable;

/// Runs that are built at a time.
const RUNS_AT_ONCE: usize = 2_000;

/// The derived tables of one project, over a log.
#[must_use]
pub fn run_tables(events: &Arc<dyn RunEvents>, scope: &Scope) -> Vec<SqlTable> {
    RunTable::ALL
        .into_iter()
        .map(|table| SqlTable {
            schema: "ingest",
            name: table.name(),
            guide: table.guide(),
            provider: Arc::new(Provider { table, events: Arc::clone(events), scope: scope.clone() }),
        })
        .collect()
}

#[derive(Debug)]
struct Provider {
    table: RunTable,
    events: Arc<dyn RunEvents>,
    scope: Scope,
}

/// The columns that hold the time of an event of the run.
const EVENT_TIMES: [&str; 5] = ["started_at", "ended_at", "last_event_at", "called_at", "responded_at"];

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        // They only narrow which runs are built; the rows are filtered above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let filter = filter(filters, &self.schema());
        let now = state.execution_props().query_execution_start_time;
        let runs = Runs {
            table: self.table,
            schema: self.schema(),
            events: Arc::clone(&self.events),
            scope: self.scope.clone(),
            filter,
            // A session without a clock has no "silent for so long": nothing has stalled.
            now: now.unwrap_or(DateTime::<Utc>::MIN_UTC + TimeDelta::days(1)),
        };
        // Filters are applied above: a limit of rows is theirs.
        let limit = if filters.is_empty() { limit } else { None };
        let plan = StreamingTableExec::try_new(self.schema(), vec![Arc::new(runs)], projection, None, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// What the filters say about which runs there can be rows of; `None` for none at all.
fn filter(filters: &[Expr], schema: &SchemaRef) -> Option<RunFilter> {
    let constraints = extract::constraints(filters, schema);
    if constraints.is_contradiction() {
        return None;
    }
    let ids = |column: &str| {
        let values = constraints.column(column)?.values.as_ref()?;
        Some(values.iter().filter_map(|value| value.try_as_str().flatten()).map(str::to_owned).collect())
    };
    // The range of one column only: those of two columns may be about two events.
    let range = EVENT_TIMES.iter().find_map(|column| constraints.column(column).map(range)).unwrap_or_default();
    Some(RunFilter { run_ids: ids("run_id"), agent_ids: ids("agent_id"), from: range.0, until: range.1 })
}

fn range(constraint: &ColumnConstraint) -> (Option<i64>, Option<i64>) {
    let micros = |value: &ScalarValue| match value {
        ScalarValue::TimestampMicrosecond(micros, _) => *micros,
        _ => None,
    };
    if let Some(values) = &constraint.values {
        return (values.iter().filter_map(micros).min(), values.iter().filter_map(micros).max());
    }
    let of = |bound: &Option<tripline_engine::Bound>| bound.as_ref().and_then(|bound| micros(&bound.value));
    (of(&constraint.lower), of(&constraint.upper))
}

/// The rows of one query.
#[derive(Debug)]
struct Runs {
    table: RunTable,
    schema: SchemaRef,
    events: Arc<dyn RunEvents>,
    scope: Scope,
    filter: Option<RunFilter>,
    now: DateTime<Utc>,
}

impl PartitionStream for Runs {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let Some(filter) = self.filter.clone() else {
            return Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::empty()));
        };
        let (events, scope, table, now) = (Arc::clone(&self.events), self.scope.clone(), self.table, self.now);
        let rows = stream::once(async move {
            let mut ids = events.run_ids(&scope, &filter).await?;
            ids.sort_unstable();
            let chunks: Vec<Vec<String>> = ids.chunks(RUNS_AT_ONCE).map(<[String]>::to_vec).collect();
            Ok::<_, crate::StoreError>(stream::iter(chunks).then(move |ids| {
                let (events, scope) = (Arc::clone(&events), scope.clone());
                async move {
                    let batches = events.of_runs(&scope, &ids, -1).await?;
                    let built = RunTables::build(&batches, now, STALLED_AFTER)?;
                    Ok::<_, crate::StoreError>(stream::iter(built.batches(table).to_vec().into_iter().map(Ok::<_, crate::StoreError>)))
                }
            }))
        });
        let rows = rows.try_flatten().try_flatten().map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
