//! `ingest.events` as a table of DataFusion.
//!
//! Owns which filters the log decides by itself. Must hold: a filter is called exact only if the log decides it just as
//! DataFusion does; all partitions of one execution read one snapshot.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column as ColumnRef, Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

use super::filter::Wanted;
use super::scan::{AHEAD, Output, Scan, Snapshot, external};
use super::schema::{Column, events_schema};
use super::{EventFilter, TimeRange};
use crate::StoreError;
use crate::model::Scope;
use crate::sqlite::SqliteStore;

/// The table, as one project sees it.
pub(crate) fn events_table(store: &SqliteStore, scope: &Scope) -> Arc<dyn TableProvider> {
    Arc::new(Events { store: store.clone(), scope: scope.clone() })
}

struct Events {
    store: SqliteStore,
    scope: Scope,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("scope", &self.scope).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        events_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushdown = |filter: &&Expr| match narrow(&mut EventFilter::default(), filter) {
            Some(()) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(pushdown).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = EventFilter::default();
        for expr in filters {
            // DataFusion dropped the filters we called exact: losing one here would be a wrong answer.
            if narrow(&mut filter, expr).is_none() {
                return internal_err!("a filter on ingest.events was not announced");
            }
        }
        let indexes = projection.cloned().unwrap_or_else(|| (0..Column::ALL.len()).collect());
        let columns: Option<Vec<Column>> = indexes.iter().map(|index| Column::ALL.get(*index).copied()).collect();
        let Some(columns) = columns else { return internal_err!("ingest.events has no such column") };
        let scan = Scan {
            readers: self.store.readers().clone(),
            shelf: self.store.log().shelf.clone(),
            scope: self.scope.clone(),
            wanted: Arc::new(Wanted::new(&filter)),
            columns,
        };
        let partitions = state.config().target_partitions().max(1);
        Ok(Arc::new(EventsExec::new(scan, filter, events_schema().project(&indexes)?.into(), partitions)))
    }
}

/// Narrows a filter by a condition; `None` where the log would not decide it as DataFusion does.
fn narrow(filter: &mut EventFilter, expr: &Expr) -> Option<()> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            // Both or neither.
            let mut narrowed = filter.clone();
            narrow(&mut narrowed, left)?;
            narrow(&mut narrowed, right)?;
            *filter = narrowed;
            Some(())
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
            let (column, words) = alternatives(expr)?;
            narrow_words(filter, column, words)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(filter, column, *op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => compare(filter, column, op.swap()?, value),
            _ => None,
        },
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let word = |item: &Expr| match item {
                Expr::Literal(value, _) => text(value),
                _ => None,
            };
            let words = list.list.iter().map(word).collect::<Option<BTreeSet<String>>>()?;
            narrow_words(filter, Column::named(&column.name)?, words)
        }
        _ => None,
    }
}

/// The words of `a = 'x' OR a = 'y'`, into which the planner turns a short list.
fn alternatives(expr: &Expr) -> Option<(Column, BTreeSet<String>)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    match (op, left.as_ref(), right.as_ref()) {
        (Operator::Or, left, right) => {
            let ((column, mut words), (other, more)) = (alternatives(left)?, alternatives(right)?);
            words.extend(more);
            (column == other).then_some((column, words))
        }
        (Operator::Eq, Expr::Column(column), Expr::Literal(value, _))
        | (Operator::Eq, Expr::Literal(value, _), Expr::Column(column)) => {
            Some((Column::named(&column.name)?, BTreeSet::from([text(value)?])))
        }
        _ => None,
    }
}

fn narrow_words(filter: &mut EventFilter, column: Column, words: BTreeSet<String>) -> Option<()> {
    let known = match column {
        Column::RunId => &mut filter.run_ids,
        Column::AgentId => &mut filter.agent_ids,
        Column::EventType => &mut filter.event_types,
        _ => return None,
    };
    *known = Some(match known.take() {
        Some(known) => known.intersection(&words).cloned().collect(),
        None => words,
    });
    Some(())
}

fn compare(filter: &mut EventFilter, column: &ColumnRef, op: Operator, value: &ScalarValue) -> Option<()> {
    match Column::named(&column.name)? {
        Column::Seq => {
            let ScalarValue::Int64(Some(seq)) = value else { return None };
            let after = match op {
                Operator::Gt => *seq,
                Operator::GtEq => seq.checked_sub(1)?,
                _ => return None,
            };
            filter.seq_after = Some(filter.seq_after.map_or(after, |known| known.max(after)));
            Some(())
        }
        Column::OccurredAt => narrow_time(&mut filter.occurred, op, value),
        Column::ReceivedAt => narrow_time(&mut filter.received, op, value),
        column if op == Operator::Eq => narrow_words(filter, column, BTreeSet::from([text(value)?])),
        _ => None,
    }
}

fn narrow_time(range: &mut TimeRange, op: Operator, value: &ScalarValue) -> Option<()> {
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = value else { return None };
    let at = DateTime::<Utc>::from_timestamp_micros(*micros)?;
    let next = at.checked_add_signed(TimeDelta::microseconds(1))?;
    let (from, until) = match op {
        Operator::Eq => (Some(at), Some(next)),
        Operator::Gt => (Some(next), None),
        Operator::GtEq => (Some(at), None),
        Operator::Lt => (None, Some(at)),
        Operator::LtEq => (None, Some(next)),
        _ => return None,
    };
    if let Some(from) = from {
        range.from = Some(range.from.map_or(from, |known| known.max(from)));
    }
    if let Some(until) = until {
        range.until = Some(range.until.map_or(until, |known| known.min(until)));
    }
    Some(())
}

fn text(value: &ScalarValue) -> Option<String> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Some(text.clone())
        }
        _ => None,
    }
}

/// One execution: its snapshot, taken by whichever partition begins, and which partitions began.
struct Execution {
    snapshot: Arc<OnceLock<std::result::Result<Arc<Snapshot>, StoreError>>>,
    begun: Vec<bool>,
}

impl Execution {
    fn new(partitions: usize) -> Self {
        Self { snapshot: Arc::default(), begun: vec![false; partitions] }
    }
}

struct EventsExec {
    scan: Scan,
    filter: EventFilter,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    execution: Mutex<Execution>,
}

impl EventsExec {
    fn new(scan: Scan, filter: EventFilter, schema: SchemaRef, partitions: usize) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { scan, filter, schema, properties, execution: Mutex::new(Execution::new(partitions)) }
    }
}

impl fmt::Debug for EventsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventsExec").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl DisplayAs for EventsExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(format, DisplayFormatType::TreeRender) {
            return write!(f, "table=ingest.events");
        }
        let names: Vec<_> = self.scan.columns.iter().map(|column| column.name()).collect();
        write!(f, "EventsExec: columns=[{}]", names.join(", "))?;
        for (name, words) in [
            ("run_id", &self.filter.run_ids),
            ("agent_id", &self.filter.agent_ids),
            ("event_type", &self.filter.event_types),
        ] {
            if let Some(words) = words {
                write!(f, ", {name} in {} value(s)", words.len())?;
            }
        }
        for (name, range) in [("occurred_at", self.filter.occurred), ("received_at", self.filter.received)] {
            if let Some(from) = range.from {
                write!(f, ", {name} >= {from:?}")?;
            }
            if let Some(until) = range.until {
                write!(f, ", {name} < {until:?}")?;
            }
        }
        match self.filter.seq_after {
            Some(seq) => write!(f, ", seq > {seq}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for EventsExec {
    fn name(&self) -> &str {
        "EventsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let snapshot = {
            let mut execution = self.execution.lock().unwrap_or_else(PoisonError::into_inner);
            // A partition that begins a second time begins another execution, with a snapshot of its own.
            if execution.begun.get(partition).copied().unwrap_or(true) {
                *execution = Execution::new(execution.begun.len());
            }
            let Some(begun) = execution.begun.get_mut(partition) else {
                return internal_err!("ingest.events has no partition {partition}");
            };
            *begun = true;
            Arc::clone(&execution.snapshot)
        };
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), AHEAD);
        if self.scan.wanted.is_empty() {
            return Ok(builder.build());
        }
        let (scan, output) = (self.scan.clone(), Output(builder.tx()));
        let batch_rows = context.session_config().batch_size();
        builder.spawn_blocking(move || {
            let snapshot = snapshot.get_or_init(|| scan.snapshot().map(Arc::new)).clone().map_err(external)?;
            scan.read(&snapshot, batch_rows, &output).map_err(external)
        });
        Ok(builder.build())
    }
}
