//! The operator of the interval join.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{cast, concat_batches, filter, take};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use datafusion::common::cast::{as_boolean_array, as_int64_array};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinSide, JoinType, NullEquality, Result, internal_datafusion_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter, build_join_schema};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::index::Index;
use super::window::Window;

/// Rows per output batch.
const OUTPUT_ROWS: usize = 8192;

type Expr = Arc<dyn PhysicalExpr>;
type On = Vec<(Expr, Expr)>;

/// A join as the planner made it.
#[derive(Debug, Clone)]
pub(super) struct JoinParts {
    pub(super) left: Arc<dyn ExecutionPlan>,
    pub(super) right: Arc<dyn ExecutionPlan>,
    pub(super) on: On,
    pub(super) filter: JoinFilter,
    pub(super) join_type: JoinType,
    pub(super) projection: Option<Vec<usize>>,
    pub(super) null_equality: NullEquality,
    /// Both sides are hash-partitioned alike (else the build side is one partition).
    pub(super) partitioned: bool,
}

/// See the module documentation of [`crate::interval`].
#[derive(Debug)]
pub struct IntervalJoinExec {
    parts: JoinParts,
    build: JoinSide,
    window: Window,
    /// Output columns and where they come from.
    columns: Vec<ColumnIndex>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    /// The collected side, shared by the probe partitions unless each has its own.
    built: Arc<OnceCell<Arc<Built>>>,
    metrics: ExecutionPlanMetricsSet,
}

impl IntervalJoinExec {
    pub(super) fn try_new(
        parts: JoinParts,
        build: JoinSide,
        window: Window,
        properties: Option<Arc<PlanProperties>>,
    ) -> Result<Self> {
        let (schema, columns) = build_join_schema(&parts.left.schema(), &parts.right.schema(), &parts.join_type);
        let (schema, columns) = match &parts.projection {
            None => (schema, columns),
            Some(wanted) => {
                let missing = || internal_datafusion_err!("a projected column is not in the join");
                let picked = wanted.iter().map(|i| columns.get(*i).cloned().ok_or_else(missing));
                (schema.project(wanted)?, picked.collect::<Result<Vec<_>>>()?)
            }
        };
        let schema = Arc::new(schema);
        let probe = if build == JoinSide::Left { &parts.right } else { &parts.left };
        let partitions = probe.output_partitioning().partition_count();
        let properties = properties.unwrap_or_else(|| {
            Arc::new(PlanProperties::new(
                EquivalenceProperties::new(Arc::clone(&schema)),
                Partitioning::UnknownPartitioning(partitions),
                EmissionType::Incremental,
                Boundedness::Bounded,
            ))
        });
        let properties = PlanProperties::clone(&properties).with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self {
            parts,
            build,
            window,
            columns,
            schema,
            properties: Arc::new(properties),
            built: Arc::default(),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Position of the child that streams.
    pub(crate) fn probe_child(&self) -> usize {
        usize::from(self.build == JoinSide::Left)
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn join_type(&self) -> JoinType {
        self.parts.join_type
    }

    /// This join of other children of the same schemas.
    pub(super) fn with_children(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Self> {
        let [left, right]: [Arc<dyn ExecutionPlan>; 2] =
            children.try_into().map_err(|_| internal_datafusion_err!("an interval join has two children"))?;
        let parts = JoinParts { left, right, ..self.parts.clone() };
        Self::try_new(parts, self.build, self.window.clone(), Some(Arc::clone(&self.properties)))
    }

    fn sides(&self) -> (&Arc<dyn ExecutionPlan>, &Arc<dyn ExecutionPlan>) {
        match self.build {
            JoinSide::Left => (&self.parts.left, &self.parts.right),
            _ => (&self.parts.right, &self.parts.left),
        }
    }

    /// The key expressions of the build side and of the probe side.
    fn keys(&self) -> (Vec<Expr>, Vec<Expr>) {
        let (left, right): (Vec<_>, Vec<_>) = self.parts.on.iter().cloned().unzip();
        if self.build == JoinSide::Left { (left, right) } else { (right, left) }
    }
}

impl DisplayAs for IntervalJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntervalJoinExec: join_type={}", self.parts.join_type)?;
        if !self.parts.on.is_empty() {
            let on: Vec<String> = self.parts.on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
            write!(f, ", on=[{}]", on.join(", "))?;
        }
        let (build, probe) = self.sides();
        let name = |plan: &Arc<dyn ExecutionPlan>, column: usize| plan.schema().field(column).name().clone();
        let bound = |b: super::window::Bound| match b.offset {
            0 => name(probe, b.column),
            n if n < 0 => format!("{} - {}", name(probe, b.column), n.unsigned_abs()),
            n => format!("{} + {n}", name(probe, b.column)),
        };
        let (low, high) = (bound(self.window.low), bound(self.window.high));
        write!(f, ", window=[{low} <= {} < {high}]", name(build, self.window.point))?;
        if let Some(residual) = &self.window.residual {
            write!(f, ", filter={residual}")?;
        }
        write!(f, ", build={}", if self.build == JoinSide::Left { "left" } else { "right" })
    }
}

impl ExecutionPlan for IntervalJoinExec {
    fn name(&self) -> &'static str {
        "IntervalJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.parts.left, &self.parts.right]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        if self.parts.partitioned {
            let (left, right) = self.parts.on.iter().cloned().unzip();
            return InputDistributionRequirements::co_partitioned(vec![
                Distribution::KeyPartitioned(left),
                Distribution::KeyPartitioned(right),
            ]);
        }
        let one = Distribution::SinglePartition;
        let any = Distribution::UnspecifiedDistribution;
        InputDistributionRequirements::new(if self.build == JoinSide::Left { vec![one, any] } else { vec![any, one] })
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![self.build == JoinSide::Right, self.build == JoinSide::Left]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for (left, right) in &self.parts.on {
            for expr in [left, right] {
                if f(expr)? == TreeNodeRecursion::Stop {
                    return Ok(TreeNodeRecursion::Stop);
                }
            }
        }
        f(self.parts.filter.expression())
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(self.with_children(children)?))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (build, probe) = self.sides();
        let (build_keys, probe_keys) = self.keys();
        let (cell, build_partition) =
            if self.parts.partitioned { (Arc::default(), partition) } else { (Arc::clone(&self.built), 0) };
        let start = Start {
            cell,
            build: Arc::clone(build),
            build_partition,
            build_keys,
            point: self.window.point,
            null_equality: self.parts.null_equality,
            context: Arc::clone(&context),
        };
        let work = Work {
            probe_schema: probe.schema(),
            probe_keys,
            window: self.window.clone(),
            columns: self.columns.clone(),
            schema: Arc::clone(&self.schema),
            join_type: self.parts.join_type,
            build_side: self.build,
            null_equality: self.parts.null_equality,
        };
        let input = probe.execute(partition, context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let state = Probing { start: Some(start), built: None, work: Arc::new(work), input, batch: None, metrics };
        let stream = futures::stream::try_unfold(state, Probing::next);
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream.boxed()))))
    }
}

/// The collected side.
#[derive(Debug)]
struct Built {
    batch: RecordBatch,
    index: Index,
    _reservation: MemoryReservation,
}

/// Everything needed to collect the build side.
struct Start {
    cell: Arc<OnceCell<Arc<Built>>>,
    build: Arc<dyn ExecutionPlan>,
    build_partition: usize,
    build_keys: Vec<Arc<dyn PhysicalExpr>>,
    point: usize,
    null_equality: NullEquality,
    context: Arc<TaskContext>,
}

impl Start {
    async fn built(self) -> Result<Arc<Built>> {
        let cell = Arc::clone(&self.cell);
        cell.get_or_try_init(|| self.collect()).await.map(Arc::clone)
    }

    async fn collect(self) -> Result<Arc<Built>> {
        let reservation = MemoryConsumer::new("IntervalJoinExec").register(self.context.memory_pool());
        let mut stream = self.build.execute(self.build_partition, Arc::clone(&self.context))?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            reservation.try_grow(batch.get_array_memory_size())?;
            batches.push(batch);
        }
        let batch = concat_batches(&self.build.schema(), &batches)?;
        if u32::try_from(batch.num_rows()).is_err() {
            return Err(internal_datafusion_err!("the collected side of a time-window join has too many rows"));
        }
        let points = whole(batch.column(self.point))?;
        let index = if self.build_keys.is_empty() {
            Index::of_points(points.iter())
        } else {
            let keys = evaluate(&self.build_keys, &batch)?;
            let valid = valid_rows(&keys, self.null_equality);
            let converter = converter(&keys)?;
            let rows = converter.convert_columns(&keys)?;
            let keys =
                (0..batch.num_rows()).map(|row| (valid.as_ref().is_none_or(|v| v.value(row))).then(|| rows.row(row)));
            Index::of_keys(keys.zip(points.iter()))
        };
        reservation.try_grow(index.size())?;
        Ok(Arc::new(Built { batch, index, _reservation: reservation }))
    }
}

/// Equal types give equal encodings, so both sides may have a converter of their own.
fn converter(keys: &[ArrayRef]) -> Result<RowConverter> {
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?)
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// Which rows have a key that can equal anything; `None` when all do.
fn valid_rows(keys: &[ArrayRef], null_equality: NullEquality) -> Option<BooleanArray> {
    if null_equality == NullEquality::NullEqualsNull || keys.iter().all(|key| key.null_count() == 0) {
        return None;
    }
    let rows = keys.first().map_or(0, |key| key.len());
    Some((0..rows).map(|row| Some(keys.iter().all(|key| key.is_valid(row)))).collect())
}

/// Timestamps as the integers they are.
pub(super) fn whole(column: &ArrayRef) -> Result<Int64Array> {
    Ok(as_int64_array(&cast(column, &DataType::Int64)?)?.clone())
}

/// What to do with each probe batch.
struct Work {
    probe_schema: SchemaRef,
    probe_keys: Vec<Arc<dyn PhysicalExpr>>,
    window: Window,
    columns: Vec<ColumnIndex>,
    schema: SchemaRef,
    join_type: JoinType,
    build_side: JoinSide,
    null_equality: NullEquality,
}

/// A probe batch being worked on.
struct ProbeBatch {
    batch: RecordBatch,
    low: Int64Array,
    high: Int64Array,
    /// The group each row may match in, `None` where it cannot match.
    groups: Vec<Option<usize>>,
    row: usize,
    /// Matches of `row` already emitted.
    done: usize,
    /// Whether any match of `row` passed so far.
    matched: bool,
}

struct Probing {
    start: Option<Start>,
    built: Option<Arc<Built>>,
    work: Arc<Work>,
    input: SendableRecordBatchStream,
    batch: Option<ProbeBatch>,
    metrics: BaselineMetrics,
}

impl Probing {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            let built = match (&self.built, self.start.take()) {
                (Some(built), _) => Arc::clone(built),
                (None, Some(start)) => {
                    let built = start.built().await?;
                    self.built = Some(Arc::clone(&built));
                    built
                }
                (None, None) => return Ok(None),
            };
            if self.batch.is_none() {
                let Some(batch) = self.input.try_next().await? else { return Ok(None) };
                self.batch = Some(self.work.prepare(batch, &built)?);
            }
            let Some(probe) = &mut self.batch else { continue };
            let timer = self.metrics.elapsed_compute().timer();
            let output = self.work.step(probe, &built)?;
            timer.done();
            if probe.row >= probe.batch.num_rows() {
                self.batch = None;
            }
            if let Some(batch) = output.filter(|batch| batch.num_rows() > 0) {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some((batch, self)));
            }
        }
    }
}

impl Work {
    fn prepare(&self, batch: RecordBatch, built: &Built) -> Result<ProbeBatch> {
        let low = whole(batch.column(self.window.low.column))?;
        let high = whole(batch.column(self.window.high.column))?;
        let groups = if self.probe_keys.is_empty() {
            vec![Some(0); batch.num_rows()]
        } else {
            let keys = evaluate(&self.probe_keys, &batch)?;
            let valid = valid_rows(&keys, self.null_equality);
            let rows = converter(&keys)?.convert_columns(&keys)?;
            (0..batch.num_rows())
                .map(|row| {
                    let ok = valid.as_ref().is_none_or(|v| v.value(row));
                    ok.then(|| built.index.group(&rows.row(row).owned())).flatten()
                })
                .collect()
        };
        Ok(ProbeBatch { batch, low, high, groups, row: 0, done: 0, matched: false })
    }

    /// Whether unmatched probe rows are output, with NULLs for the other side.
    fn keeps_unmatched(&self) -> bool {
        matches!(self.join_type, JoinType::Left | JoinType::Right)
    }

    /// Whether only probe rows are output, those with a match (`Some(true)`) or without one (`Some(false)`).
    fn existence(&self) -> Option<bool> {
        match self.join_type {
            JoinType::LeftSemi | JoinType::RightSemi => Some(true),
            JoinType::LeftAnti | JoinType::RightAnti => Some(false),
            _ => None,
        }
    }

    /// Works on the batch until an output batch is full or the batch is done.
    fn step(&self, probe: &mut ProbeBatch, built: &Built) -> Result<Option<RecordBatch>> {
        let mut probe_rows: Vec<u32> = Vec::with_capacity(OUTPUT_ROWS);
        let mut build_rows: Vec<u32> = Vec::with_capacity(OUTPUT_ROWS);
        // Rows whose last matches are in this output.
        let first_row = probe.row;
        let mut finished_rows = 0;
        let simple_existence = self.existence().is_some() && self.window.residual.is_none();
        let mut exists: Vec<bool> = Vec::new();
        while probe.row < probe.batch.num_rows() {
            let matches = self.matches(probe, built);
            if simple_existence {
                exists.push(!matches.is_empty());
            } else {
                let left = matches.get(probe.done..).unwrap_or(&[]);
                let room = OUTPUT_ROWS - probe_rows.len();
                let taken = left.len().min(room);
                let row = u32::try_from(probe.row).unwrap_or(u32::MAX);
                probe_rows.extend(std::iter::repeat_n(row, taken));
                build_rows.extend_from_slice(left.get(..taken).unwrap_or(&[]));
                if taken < left.len() {
                    probe.done += taken;
                    break;
                }
            }
            probe.done = 0;
            probe.row += 1;
            finished_rows += 1;
            if probe_rows.len() == OUTPUT_ROWS {
                break;
            }
        }
        if simple_existence {
            let wanted = self.existence();
            let mask: BooleanArray = exists.into_iter().map(|found| Some(Some(found) == wanted)).collect();
            let slice = probe.batch.slice(first_row, finished_rows);
            return self.probe_only(&arrow::compute::filter_record_batch(&slice, &mask)?).map(Some);
        }
        let (mut build_rows, mut probe_rows) = (UInt32Array::from(build_rows), UInt32Array::from(probe_rows));
        if let Some(residual) = &self.window.residual {
            let mask = self.residual(residual, probe, built, &build_rows, &probe_rows)?;
            build_rows = filtered(&build_rows, &mask)?;
            probe_rows = filtered(&probe_rows, &mask)?;
        }
        if !self.keeps_unmatched() && self.existence().is_none() {
            return self.output(&probe.batch, Some(&built.batch), &probe_rows, &build_rows).map(Some);
        }

        // Which of the rows of this step found a match, `matched` carrying over a row split between two steps.
        let last_row = first_row + finished_rows + usize::from(probe.done > 0);
        let mut found = vec![false; last_row - first_row];
        if let Some(first) = found.first_mut() {
            *first = probe.matched;
        }
        for row in probe_rows.values() {
            if let Some(found) = found.get_mut(*row as usize - first_row) {
                *found = true;
            }
        }
        probe.matched = probe.done > 0 && found.last().copied().unwrap_or(false);
        let rows = |wanted: bool| -> UInt32Array {
            found
                .iter()
                .take(finished_rows)
                .enumerate()
                .filter(|(_, found)| **found == wanted)
                .filter_map(|(offset, _)| u32::try_from(first_row + offset).ok())
                .collect::<Vec<u32>>()
                .into()
        };
        if let Some(wanted) = self.existence() {
            let rows = rows(wanted);
            let columns = probe.batch.columns().iter().map(|c| take(c, &rows, None)).collect::<Result<Vec<_>, _>>()?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&self.probe_schema), columns, &options)?;
            return self.probe_only(&batch).map(Some);
        }
        let matched = self.output(&probe.batch, Some(&built.batch), &probe_rows, &build_rows)?;
        let unmatched = rows(false);
        if unmatched.is_empty() {
            return Ok(Some(matched));
        }
        let nulls = self.output(&probe.batch, None, &unmatched, &UInt32Array::new_null(unmatched.len()))?;
        Ok(Some(concat_batches(&self.schema, [&matched, &nulls])?))
    }

    fn matches<'a>(&self, probe: &ProbeBatch, built: &'a Built) -> &'a [u32] {
        let row = probe.row;
        let Some(Some(group)) = probe.groups.get(row) else { return &[] };
        if probe.low.is_null(row) || probe.high.is_null(row) {
            return &[];
        }
        let low = probe.low.value(row).saturating_add(self.window.low.offset);
        let high = probe.high.value(row).saturating_add(self.window.high.offset);
        built.index.matches(*group, low, high)
    }

    fn residual(
        &self,
        residual: &JoinFilter,
        probe: &ProbeBatch,
        built: &Built,
        build_rows: &UInt32Array,
        probe_rows: &UInt32Array,
    ) -> Result<BooleanArray> {
        let columns = residual
            .column_indices()
            .iter()
            .map(|at| {
                if at.side == self.build_side {
                    take(built.batch.column(at.index), build_rows, None)
                } else {
                    take(probe.batch.column(at.index), probe_rows, None)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(build_rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(residual.schema()), columns, &options)?;
        let mask = residual.expression().evaluate(&batch)?.into_array(batch.num_rows())?;
        Ok(as_boolean_array(&mask)?.clone())
    }

    /// Output rows from pairs of rows; without a build batch, its columns are NULL.
    fn output(
        &self,
        probe: &RecordBatch,
        build: Option<&RecordBatch>,
        probe_rows: &UInt32Array,
        build_rows: &UInt32Array,
    ) -> Result<RecordBatch> {
        let columns = self
            .columns
            .iter()
            .zip(self.schema.fields())
            .map(|(at, field)| match (at.side == self.build_side, build) {
                (true, Some(build)) => take(build.column(at.index), build_rows, None),
                (true, None) => Ok(new_null_array(field.data_type(), probe_rows.len())),
                (false, _) => take(probe.column(at.index), probe_rows, None),
            })
            .collect::<Result<Vec<_>, _>>()?;
        batch(&self.schema, columns, probe_rows.len())
    }

    /// Output rows that are rows of the probe side.
    fn probe_only(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|at| Arc::clone(rows.column(at.index))).collect();
        batch(&self.schema, columns, rows.num_rows())
    }
}

fn batch(schema: &Arc<Schema>, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn filtered(rows: &UInt32Array, mask: &BooleanArray) -> Result<UInt32Array> {
    let kept = filter(rows, mask)?;
    kept.as_any()
        .downcast_ref::<UInt32Array>()
        .cloned()
        .ok_or_else(|| internal_datafusion_err!("filtering row numbers changed their type"))
}
