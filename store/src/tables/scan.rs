//! The scan: one SELECT with bound values on a reader, streamed in batches.

use super::predicate::Predicate;
use super::spec::{ColumnKind, ColumnSpec, TableSpec};
use crate::StoreError;
use crate::model::Scope;
use crate::sqlite::{Reader, Readers, read_error};
use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream, SortOrderPushdownResult,
};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc::Sender;

/// A batch is handed on once it holds this much text, however few rows that is: evidence can be large.
const BATCH_BYTES: usize = 4 << 20;
/// Batches that may wait for the reader of the stream.
const BATCHES_AHEAD: usize = 2;
/// SQLite looks whether the query was dropped each time it has done this many of its own steps.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// One key of an order that SQLite is to sort by.
#[derive(Debug, Clone)]
struct OrderKey {
    /// Index into the table's columns.
    column: usize,
    descending: bool,
    nulls_first: bool,
}

#[derive(Clone)]
pub(super) struct SqliteScanExec {
    spec: &'static TableSpec,
    readers: Readers,
    scope: Scope,
    /// Indexes into the table's columns, in the order of the output.
    columns: Vec<usize>,
    predicates: Vec<Predicate>,
    order: Vec<OrderKey>,
    fetch: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl SqliteScanExec {
    pub(super) fn new(
        spec: &'static TableSpec,
        readers: Readers,
        scope: Scope,
        columns: Vec<usize>,
        predicates: Vec<Predicate>,
        fetch: Option<usize>,
    ) -> Result<Self> {
        let schema = Arc::new(spec.arrow_schema().project(&columns)?);
        let properties = properties(EquivalenceProperties::new(schema.clone()));
        Ok(Self { spec, readers, scope, columns, predicates, order: Vec::new(), fetch, schema, properties })
    }

    /// The statement, with `?` for each of [`values`](Self::values).
    fn sql(&self) -> String {
        let outputs: Vec<_> = self.columns.iter().map(|index| self.spec.columns[*index].expression).collect();
        // A query that needs no column (`count(*)`) still needs the rows.
        let outputs = if outputs.is_empty() { "1".to_owned() } else { outputs.join(", ") };
        let mut sql = format!("SELECT {outputs} FROM {} WHERE project_id = ?", self.spec.from);
        for predicate in &self.predicates {
            sql.push_str(&format!(" AND ({})", predicate.sql));
        }
        for (position, key) in self.order.iter().enumerate() {
            sql.push_str(if position == 0 { " ORDER BY " } else { ", " });
            let direction = if key.descending { "DESC" } else { "ASC" };
            let nulls = if key.nulls_first { "FIRST" } else { "LAST" };
            sql.push_str(&format!("{} {direction} NULLS {nulls}", self.spec.columns[key.column].expression));
        }
        if self.fetch.is_some() {
            sql.push_str(" LIMIT ?");
        }
        sql
    }

    fn values(&self) -> Vec<Value> {
        let mut values = vec![Value::from(self.scope.project_id().as_str().to_owned())];
        values.extend(self.predicates.iter().flat_map(|predicate| predicate.values.iter().cloned()));
        values.extend(self.fetch.map(|fetch| Value::from(i64::try_from(fetch).unwrap_or(i64::MAX))));
        values
    }

    /// The key of a sort expression that SQLite orders just as Arrow does.
    fn order_key(&self, sort: &PhysicalSortExpr) -> Option<OrderKey> {
        let output = sort.expr.downcast_ref::<Column>()?.index();
        let column = *self.columns.get(output)?;
        // Floats: see the predicate module.
        (self.spec.columns[column].kind != ColumnKind::Float).then_some(OrderKey {
            column,
            descending: sort.options.descending,
            nulls_first: sort.options.nulls_first,
        })
    }
}

fn properties(equivalence: EquivalenceProperties) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

impl fmt::Debug for SqliteScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteScanExec").field("sql", &self.sql()).finish_non_exhaustive()
    }
}

impl DisplayAs for SqliteScanExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => write!(f, "table={}.{}", self.spec.schema, self.spec.name),
            _ => write!(f, "SqliteScanExec: table={}.{}, sql=[{}]", self.spec.schema, self.spec.name, self.sql()),
        }
    }
}

impl ExecutionPlan for SqliteScanExec {
    fn name(&self) -> &str {
        "SqliteScanExec"
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

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(Self { fetch: limit, ..self.clone() }))
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        // Sorting what was cut off is not cutting off what was sorted.
        let keys = order.iter().map(|sort| self.order_key(sort)).collect::<Option<Vec<_>>>();
        let Some(keys) = keys.filter(|_| self.fetch.is_none()) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let equivalence = EquivalenceProperties::new_with_orderings(self.schema.clone(), [order.to_vec()]);
        let sorted = Self { order: keys, properties: properties(equivalence), ..self.clone() };
        Ok(SortOrderPushdownResult::Exact { inner: Arc::new(sorted) })
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStream::builder(self.schema.clone(), BATCHES_AHEAD);
        let (scan, output) = (self.clone(), builder.tx());
        let batch_rows = context.session_config().batch_size();
        builder.spawn_blocking(move || {
            let reader = scan.readers.connection().map_err(external)?;
            match stream_rows(&scan, &reader, batch_rows, &output) {
                // Whoever wanted the rows is gone: nobody is left to tell.
                Err(_) if output.is_closed() => Ok(()),
                other => other,
            }
        });
        Ok(builder.build())
    }
}

fn external(error: StoreError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Reads the rows and hands them on, until there are no more or nobody wants them.
fn stream_rows(
    scan: &SqliteScanExec,
    reader: &Reader,
    batch_rows: usize,
    output: &Sender<Result<RecordBatch>>,
) -> Result<()> {
    let failed = |error| external(read_error("reading a table of the store")(error));
    let connection = reader.raw().map_err(external)?;
    let _watch = StopWhenDropped::new(connection, output.clone()).map_err(failed)?;
    let mut statement = connection.prepare_cached(&scan.sql()).map_err(failed)?;
    let mut rows = statement.query(params_from_iter(scan.values())).map_err(failed)?;
    let mut batch = BatchBuilder::new(scan);
    while let Some(row) = rows.next().map_err(failed)? {
        batch.push(row).map_err(failed)?;
        if batch.rows >= batch_rows || batch.bytes >= BATCH_BYTES {
            let full = std::mem::replace(&mut batch, BatchBuilder::new(scan));
            if output.blocking_send(full.finish()).is_err() {
                return Ok(());
            }
        }
    }
    if batch.rows > 0 {
        // An error here means that nobody wants the rows any more.
        let _ = output.blocking_send(batch.finish());
    }
    Ok(())
}

/// Interrupts a statement that finds nothing for long, once its query was dropped.
struct StopWhenDropped<'a> {
    connection: &'a Connection,
}

impl<'a> StopWhenDropped<'a> {
    fn new(connection: &'a Connection, output: Sender<Result<RecordBatch>>) -> rusqlite::Result<Self> {
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || output.is_closed()))?;
        Ok(Self { connection })
    }
}

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        // The connection goes back to the pool. Removing a handler does not fail on a connection that this thread owns.
        let _ = self.connection.progress_handler(0, None::<fn() -> bool>);
    }
}

/// The rows of one batch, column by column.
struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

enum ColumnBuilder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl BatchBuilder {
    fn new(scan: &SqliteScanExec) -> Self {
        let columns = scan.columns.iter().map(|index| ColumnBuilder::new(&scan.spec.columns[*index])).collect();
        Self { schema: scan.schema.clone(), columns, rows: 0, bytes: 0 }
    }

    fn push(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            self.bytes += column.push(row.get_ref(index)?)?;
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(self) -> Result<RecordBatch> {
        let arrays = self.columns.into_iter().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        Ok(RecordBatch::try_new_with_options(self.schema, arrays, &options)?)
    }
}

impl ColumnBuilder {
    fn new(column: &ColumnSpec) -> Self {
        match column.kind {
            ColumnKind::Text => Self::Text(StringBuilder::new()),
            ColumnKind::Integer => Self::Integer(Int64Builder::new()),
            ColumnKind::Float => Self::Float(Float64Builder::new()),
            ColumnKind::Boolean => Self::Boolean(BooleanBuilder::new()),
            ColumnKind::Time => Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
        }
    }

    /// Adds a value; how many bytes it takes.
    fn push(&mut self, value: ValueRef<'_>) -> rusqlite::Result<usize> {
        if let (Self::Text(builder), ValueRef::Text(_)) = (&mut *self, value) {
            let text = value.as_str()?;
            builder.append_value(text);
            return Ok(text.len());
        }
        match self {
            Self::Text(builder) => builder.append_option(value.as_str_or_null()?),
            Self::Integer(builder) => builder.append_option(value.as_i64_or_null()?),
            Self::Float(builder) => builder.append_option(value.as_f64_or_null()?),
            Self::Boolean(builder) => builder.append_option(value.as_i64_or_null()?.map(|flag| flag != 0)),
            Self::Time(builder) => builder.append_option(value.as_i64_or_null()?),
        }
        Ok(size_of::<i64>())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Integer(mut builder) => Arc::new(builder.finish()),
            Self::Float(mut builder) => Arc::new(builder.finish()),
            Self::Boolean(mut builder) => Arc::new(builder.finish()),
            Self::Time(mut builder) => Arc::new(builder.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ErrorCode;
    use tokio::sync::mpsc::channel;

    #[test]
    fn a_statement_that_finds_nothing_stops_once_its_query_was_dropped() {
        let connection = Connection::open_in_memory().unwrap();
        let count_to = |limit: i64| {
            let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                       SELECT count(*) FROM n";
            connection.query_row(sql, [limit], |row| row.get::<_, i64>(0))
        };
        let (output, wanted) = channel(1);
        {
            let _watch = StopWhenDropped::new(&connection, output).unwrap();
            assert_eq!(count_to(100_000).unwrap(), 100_000, "somebody still wants the rows");
            drop(wanted);
            let stopped = count_to(1_000_000_000).unwrap_err();
            assert_eq!(stopped.sqlite_error_code(), Some(ErrorCode::OperationInterrupted));
        }
        assert_eq!(count_to(100_000).unwrap(), 100_000, "the connection is fit for the next query");
    }
}
