//! The plan node of a remote scan, and the table provider that makes it.
//!
//! Owns: [`RemoteTableProvider`] (planning) and [`RemoteScanExec`] (execution). Decisions, all measured on
//! DataFusion 55: every filter is declared `Exact` and evaluated here, after decoding and before projection, so that
//! no `FilterExec` stands between a LIMIT, a sort or a TopK and the pages; the request is built in `execute`, when
//! fetch and sort are known; `scan` sends nothing and never fails for a missing key; the node emits at most `fetch`
//! rows, because the limit node above it is removed.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_datafusion_err, internal_err};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::equivalence::ConstExpr;
use datafusion::physical_expr::expressions::{Column, binary, col, in_list, lit};
use datafusion::physical_expr::{AcrossPartitions, EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, conjunction};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Metric, MetricValue, MetricsSet,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
    SortOrderPushdownResult,
};
use futures::{StreamExt, TryStreamExt};
use tracing::Instrument as _;

use crate::constraint::{Bound, Constraints, Predicate};
use crate::context::QueryContext;
use crate::contract::{MissingKey, PageStream, RemoteTable, RequestPlan, ScanRequest, ScanRun, ScanShape, SortKey};
use crate::error::{ScanError, ScanErrorKind};
use crate::extract;
use crate::report::ScanStats;

/// A remote table as DataFusion sees it.
#[derive(Debug)]
pub struct RemoteTableProvider {
    table: Arc<dyn RemoteTable>,
}

impl RemoteTableProvider {
    /// Serves `table` to SQL.
    #[must_use]
    pub fn new(table: Arc<dyn RemoteTable>) -> Self {
        Self { table }
    }
}

#[async_trait]
impl TableProvider for RemoteTableProvider {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.table.schema();
        let output: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let constraints = extract::constraints(filters, &schema);
        if constraints.is_contradiction() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&output)?))));
        }

        let mut decode = output.clone();
        for column in filters.iter().flat_map(Expr::column_refs) {
            decode.push(schema.index_of(&column.name)?);
        }
        decode.sort_unstable();
        decode.dedup();

        let decode_schema = Arc::new(schema.project(&decode)?);
        let df_schema = DFSchema::try_from(Arc::clone(&decode_schema))?;
        let predicate = if filters.is_empty() {
            None
        } else {
            let parts = filters
                .iter()
                .map(|filter| state.create_physical_expr(filter.clone(), &df_schema))
                .collect::<Result<Vec<_>>>()?;
            Some(conjunction(parts))
        };
        let output = output
            .iter()
            .map(|index| {
                decode.binary_search(index).map_err(|_| internal_datafusion_err!("column {index} not decoded"))
            })
            .collect::<Result<Vec<usize>>>()?;

        static NEXT_ID: AtomicUsize = AtomicUsize::new(0);
        let parts = ScanParts {
            table: Arc::clone(&self.table),
            request: ScanRequest { projection: decode, constraints, sort: None, limit },
            decode_schema,
            predicate,
            output,
            nulls_first: None,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            bound: Vec::new(),
            window: None,
            stats: Arc::default(),
        };
        Ok(Arc::new(RemoteScanExec::try_new(parts)?))
    }
}

/// One scan of one remote table.
#[derive(Debug, Clone)]
pub struct RemoteScanExec {
    parts: ScanParts,
    shape: ScanShape,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What a scan is made of; everything else about it follows.
#[derive(Debug, Clone)]
struct ScanParts {
    table: Arc<dyn RemoteTable>,
    request: ScanRequest,
    decode_schema: SchemaRef,
    /// Over the decoded columns.
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// Positions of the output columns among the decoded ones.
    output: Vec<usize>,
    /// Where the declared order puts NULLs. Order columns hold none in practice, so the scan agrees to either.
    nulls_first: Option<bool>,
    /// Finds this scan again after plans around it were rewritten.
    id: usize,
    /// Columns whose values a join will supply while the query runs.
    bound: Vec<String>,
    /// The column whose ranges a join will supply while the query runs.
    window: Option<String>,
    /// What this scan did. Shared by the scans that a join makes of it, one per set of keys or per range: they are one
    /// line in the report.
    stats: Arc<OnceLock<Arc<ScanStats>>>,
}

impl RemoteScanExec {
    fn try_new(parts: ScanParts) -> Result<Self> {
        let schema = Arc::new(parts.decode_schema.project(&parts.output)?);
        let shape = Self::shape_of(&parts)?;
        let order = parts.request.sort.clone().or_else(|| shape.order.clone()).map(|key| {
            // The default placement of `ORDER BY`.
            let nulls_first = parts.nulls_first.unwrap_or(key.descending);
            (key, nulls_first)
        });
        let properties = Arc::new(Self::properties_for(schema, order, &parts.request.constraints)?);
        Ok(Self { parts, shape, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    /// Keys that a join will supply count as pinned; which values they will have, and so any order, is not known yet.
    fn shape_of(parts: &ScanParts) -> Result<ScanShape> {
        if parts.bound.is_empty() {
            return Ok(parts.table.shape(&parts.request.constraints));
        }
        let mut constraints = parts.request.constraints.clone();
        for column in &parts.bound {
            if constraints.values(column).is_none() {
                let any = ScalarValue::new_default(parts.decode_schema.field_with_name(column)?.data_type())?;
                constraints.add(column, Predicate::In(vec![any]));
            }
        }
        let shape = parts.table.shape(&constraints);
        Ok(ScanShape { order: None, sorts: Vec::new(), missing: shape.missing })
    }

    /// The order of the rows and the columns pinned to one value.
    fn properties_for(
        schema: SchemaRef,
        order: Option<(SortKey, bool)>,
        constraints: &Constraints,
    ) -> Result<PlanProperties> {
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        let mut constants = Vec::new();
        for (name, constraint) in constraints.iter() {
            if let (Some([value]), Ok(index)) = (constraint.values.as_deref(), schema.index_of(name)) {
                let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(name, index));
                constants.push(ConstExpr::new(column, AcrossPartitions::Uniform(Some(value.clone()))));
            }
        }
        equivalence.add_constants(constants)?;
        if let Some((key, nulls_first)) = order
            && let Ok(index) = schema.index_of(&key.column)
        {
            equivalence.add_ordering([PhysicalSortExpr {
                expr: Arc::new(Column::new(&key.column, index)),
                options: arrow::compute::SortOptions { descending: key.descending, nulls_first },
            }]);
        }
        Ok(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative))
    }

    fn rebuilt(&self, change: impl FnOnce(&mut ScanParts)) -> Result<Self> {
        let mut parts = self.parts.clone();
        change(&mut parts);
        Self::try_new(parts)
    }

    /// The table that is scanned.
    #[must_use]
    pub fn table(&self) -> &Arc<dyn RemoteTable> {
        &self.parts.table
    }

    /// What will be asked of it.
    #[must_use]
    pub fn request(&self) -> &ScanRequest {
        &self.parts.request
    }

    /// Identifies this scan within its plan.
    #[must_use]
    pub fn id(&self) -> usize {
        self.parts.id
    }

    /// This scan, to be given values of `columns` by a join while the query runs.
    pub(crate) fn bound_to(&self, columns: Vec<String>) -> Result<Self> {
        self.rebuilt(|parts| parts.bound = columns)
    }

    /// This scan for these values of its bound columns; `None` when they contradict the query's own predicates. The
    /// values become a predicate on the rows as well, so that a vendor that disobeys changes nothing.
    pub(crate) fn for_keys(&self, keys: &[(String, Vec<ScalarValue>)]) -> Result<Option<Self>> {
        let typed = keys.iter().map(|(column, values)| {
            let wanted = self.parts.decode_schema.field_with_name(column)?.data_type();
            let values = values.iter().map(|value| value.cast_to(wanted)).collect::<Result<Vec<_>>>()?;
            Ok((column, values))
        });
        let keys = typed.collect::<Result<Vec<_>>>()?;
        let scan = self.rebuilt(|parts| {
            parts.bound.clear();
            for (column, values) in &keys {
                parts.request.constraints.add(column, Predicate::In(values.clone()));
            }
        })?;
        if scan.parts.request.constraints.is_contradiction() {
            return Ok(None);
        }
        let schema = &self.parts.decode_schema;
        let mut predicates: Vec<Arc<dyn PhysicalExpr>> = scan.parts.predicate.iter().cloned().collect();
        for (column, values) in keys {
            let list = values.into_iter().map(lit).collect();
            predicates.push(in_list(col(column, schema)?, list, &false, schema)?);
        }
        scan.rebuilt(|parts| parts.predicate = Some(conjunction(predicates))).map(Some)
    }

    /// This scan, to be given ranges of `column` by a join while the query runs.
    pub(crate) fn windowed(&self, column: &str) -> Result<Self> {
        self.rebuilt(|parts| parts.window = Some(column.to_owned()))
    }

    /// This scan for `low <= column < high`, in units of the column's type; `None` when that contradicts the query's own
    /// predicates. The range becomes a predicate on the rows as well: ranges side by side never repeat a row.
    pub(crate) fn for_range(&self, column: &str, low: i64, high: i64) -> Result<Option<Self>> {
        let schema = &self.parts.decode_schema;
        let data_type = schema.field_with_name(column)?.data_type();
        let (low, high) = (instant(low, data_type)?, instant(high, data_type)?);
        let at: Arc<dyn PhysicalExpr> = col(column, schema)?;
        let after = binary(Arc::clone(&at), Operator::GtEq, lit(low.clone()), schema)?;
        let before = binary(at, Operator::Lt, lit(high.clone()), schema)?;
        let scan = self.rebuilt(|parts| {
            parts.window = None;
            parts.request.constraints.add(column, Predicate::Lower(Bound { value: low, inclusive: true }));
            parts.request.constraints.add(column, Predicate::Upper(Bound { value: high, inclusive: false }));
            parts.predicate = Some(conjunction(parts.predicate.iter().cloned().chain([after, before])));
        })?;
        Ok((!scan.parts.request.constraints.is_contradiction()).then_some(scan))
    }

    /// What it would send. A scan that must be given keys by a join is described with one: names stand for their values, and
    /// how many there are is known only when the query runs.
    fn described(&self) -> RequestPlan {
        let ScanParts { table, request, decode_schema, bound, .. } = &self.parts;
        let plan = table.describe(request);
        if bound.is_empty() || table.shape(&request.constraints).missing.is_empty() {
            return plan;
        }
        let mut one = request.clone();
        let mut named = true;
        for column in bound.iter().filter(|column| request.constraints.values(column).is_none()) {
            let data_type = decode_schema.field_with_name(column).map_or(&DataType::Null, |field| field.data_type());
            let name = match data_type {
                DataType::Utf8 => ScalarValue::Utf8(Some(column.to_ascii_uppercase())),
                DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(column.to_ascii_uppercase())),
                DataType::Utf8View => ScalarValue::Utf8View(Some(column.to_ascii_uppercase())),
                other => {
                    named = false;
                    ScalarValue::new_one(other).unwrap_or(ScalarValue::Null)
                }
            };
            one.constraints.add(column, Predicate::In(vec![name]));
        }
        let plan = table.describe(&one);
        let per = table.capabilities().values_per_request.iter().filter(|(column, _)| bound.contains(column));
        let keys = match per.map(|(_, values)| *values).max() {
            Some(values) if values > 1 => format!("each {values} keys"),
            _ => "each key".to_owned(),
        };
        RequestPlan {
            requests: format!("{} for {keys} of the join", plan.requests),
            request: if named { plan.request } else { String::new() },
            ..plan
        }
    }

    /// Whether keys or ranges of it are already supplied by a join.
    pub(crate) fn is_fed(&self) -> bool {
        !self.parts.bound.is_empty() || self.parts.window.is_some()
    }

    /// The column its rows come ordered by, whichever way.
    pub(crate) fn ordered_by(&self) -> Option<&str> {
        let order = self.parts.request.sort.as_ref().or(self.shape.order.as_ref());
        order.map(|key| key.column.as_str())
    }

    /// Required keys that nothing supplies.
    #[must_use]
    pub fn missing_keys(&self) -> &[MissingKey] {
        &self.shape.missing
    }
}

/// A point in a column's own units as a constant of its type.
fn instant(value: i64, data_type: &DataType) -> Result<ScalarValue> {
    Ok(match data_type {
        DataType::Int64 => ScalarValue::Int64(Some(value)),
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => ScalarValue::TimestampSecond(Some(value), zone.clone()),
            TimeUnit::Millisecond => ScalarValue::TimestampMillisecond(Some(value), zone.clone()),
            TimeUnit::Microsecond => ScalarValue::TimestampMicrosecond(Some(value), zone.clone()),
            TimeUnit::Nanosecond => ScalarValue::TimestampNanosecond(Some(value), zone.clone()),
        },
        other => return internal_err!("a column of type {other} has no ranges"),
    })
}

impl DisplayAs for RemoteScanExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ScanParts { table, request, decode_schema, output, bound, window, .. } = &self.parts;
        let columns: Vec<&str> = output.iter().map(|i| decode_schema.field(*i).name().as_str()).collect();
        let plan = self.described();
        if matches!(t, DisplayFormatType::TreeRender) {
            return write!(f, "{}.{}\n{}", table.source(), table.name(), plan.request);
        }
        write!(f, "RemoteScanExec: {}.{}, columns=[{}]", table.source(), table.name(), columns.join(", "))?;
        if !bound.is_empty() {
            write!(f, ", keys=[{} from the join]", bound.join(", "))?;
        }
        if let Some(column) = window {
            write!(f, ", ranges=[{column} from the join]")?;
        }
        if !request.constraints.is_empty() || request.constraints.residual() {
            write!(f, ", where=[{}]", request.constraints)?;
        }
        if !plan.pushed.is_empty() {
            write!(f, ", pushed=[{}]", plan.pushed.join(", "))?;
        }
        if let Some(sort) = &request.sort {
            write!(f, ", sort=[{sort}]")?;
        } else if let Some(order) = &self.shape.order {
            write!(f, ", order=[{order}]")?;
        }
        if let Some(fetch) = request.limit {
            write!(f, ", fetch={fetch}")?;
        }
        write!(f, ", requests=[{}], send=[{}]", plan.requests, plan.request)
    }
}

impl ExecutionPlan for RemoteScanExec {
    fn name(&self) -> &'static str {
        "RemoteScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        match &self.parts.predicate {
            Some(predicate) => f(predicate),
            None => Ok(TreeNodeRecursion::Continue),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.rebuilt(|parts| parts.request.limit = limit).ok()?))
    }

    fn fetch(&self) -> Option<usize> {
        self.parts.request.limit
    }

    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let Some(first) = order.first() else { return Ok(SortOrderPushdownResult::Unsupported) };
        let Some(column) = (&*first.expr as &dyn Any).downcast_ref::<Column>() else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let wanted = SortKey { column: column.name().to_owned(), descending: first.options.descending };
        // The natural order costs nothing; a vendor sort is asked for.
        let sort = if self.shape.order.as_ref() == Some(&wanted) {
            None
        } else if self.shape.sorts.contains(&wanted) {
            Some(wanted)
        } else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let inner: Arc<dyn ExecutionPlan> = Arc::new(self.rebuilt(|parts| {
            parts.request.sort = sort;
            parts.nulls_first = Some(first.options.nulls_first);
        })?);
        Ok(if order.len() == 1 {
            SortOrderPushdownResult::Exact { inner }
        } else {
            SortOrderPushdownResult::Inexact { inner }
        })
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        // EXPLAIN ANALYZE: what was sent, saved, retried, waited.
        for (name, figure) in self.parts.stats.get().map(|stats| stats.figures()).unwrap_or_default() {
            let count = Count::new();
            count.add(usize::try_from(figure).unwrap_or(usize::MAX));
            metrics.push(Arc::new(Metric::new(MetricValue::Count { name: name.into(), count }, None)));
        }
        Some(metrics)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let query = context
            .session_config()
            .get_extension::<QueryContext>()
            .ok_or_else(|| internal_datafusion_err!("a remote scan ran outside a Tripline query"))?;
        let ScanParts { table, request, predicate, output, .. } = &self.parts;
        let stats = Arc::clone(self.parts.stats.get_or_init(|| query.report.scan(table.source(), table.name())));
        let run = ScanRun { query, stats, memory: Arc::clone(context.memory_pool()) };
        let span = tracing::info_span!("scan", source = table.source(), table = table.name());
        let rows = Rows {
            pages: Arc::clone(table).scan(request.clone(), run.clone()),
            run,
            source: table.source().to_owned(),
            table: table.name().to_owned(),
            predicate: predicate.clone(),
            output: output.clone(),
            left: request.limit,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        };
        let stream = futures::stream::try_unfold(rows, move |rows| rows.next().instrument(span.clone()));
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(self.schema(), stream.boxed()))))
    }
}

/// The running state of a scan.
struct Rows {
    pages: PageStream,
    run: ScanRun,
    source: String,
    table: String,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    output: Vec<usize>,
    /// Rows still wanted, when there is a limit.
    left: Option<usize>,
    metrics: BaselineMetrics,
}

impl Rows {
    /// The next non-empty batch of rows that satisfy the query.
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if self.left == Some(0) {
                self.run.stats.finish();
                return Ok(None);
            }
            let waiting_for = "the next page";
            let guarded =
                self.run.query.guard_around(&self.source, &self.table, waiting_for, self.pages.try_next()).await;
            let page = match guarded.and_then(|page: Result<Option<RecordBatch>, ScanError>| page) {
                Ok(Some(page)) => page,
                Ok(None) => {
                    self.run.stats.finish();
                    return Ok(None);
                }
                // The caller takes what there is, and is told what there is not.
                Err(error)
                    if self.run.query.partial
                        && !matches!(error.kind, ScanErrorKind::Cancelled | ScanErrorKind::Memory) =>
                {
                    self.run.stats.set_gap(error.to_string());
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            };
            let timer = self.metrics.elapsed_compute().timer();
            // Columns that only the predicate needs are not worth filtering.
            let output = page.project(&self.output)?;
            let mut kept = match &self.predicate {
                Some(predicate) => {
                    let mask = predicate.evaluate(&page)?.into_array(page.num_rows())?;
                    filter_record_batch(&output, as_boolean_array(&mask)?)?
                }
                None => output,
            };
            if let Some(left) = self.left {
                kept = kept.slice(0, kept.num_rows().min(left));
                self.left = Some(left - kept.num_rows());
            }
            timer.done();
            if kept.num_rows() == 0 {
                continue;
            }
            self.metrics.record_output(kept.num_rows());
            return Ok(Some((kept, self)));
        }
    }
}
