//! Handing the windows of a time-window join to the vendor of the other side.
//!
//! Owns: [`WindowPushExec`], which reads one side (the driver), works out which times of the other one can match, merges them
//! into few ranges, and scans only those; then the interval join does the joining. Does not own: that join (`exec`).
//!
//! Must hold: every row that can match lies in a range; ranges do not overlap; an empty driver fetches nothing; a driver
//! that is itself remote and turns out to be long ([`WHILE_FEW`]) stops holding the other side back, which is then
//! scanned as if nothing were known. The restricted side is never the one whose unmatched rows are kept.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{JoinSide, JoinType, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, collect,
};
use futures::{StreamExt, TryStreamExt};

use super::exec::{IntervalJoinExec, whole};
use super::ranges::merged;
use super::window::{Window, linear};
use crate::contract::Operator;
use crate::plans::{OnceExec, contains_remote_scan, downcast, memory, origin, replace_scan};
use crate::rules::PREFETCH_BYTES;
use crate::scan::RemoteScanExec;

/// Rows of a remote driver up to which the other side waits for it.
const WHILE_FEW: usize = 1000;
/// Most ranges that are asked for; beyond, the narrowest gaps are read along.
const MOST_RANGES: usize = 32;
/// Ranges fetched at a time; the source's own limit applies beside it.
const CONCURRENCY: usize = 8;

/// A side of the join that can be restricted.
#[derive(Debug, Clone)]
struct Target {
    /// Its place among the join's children.
    child: usize,
    scan: usize,
    column: String,
    /// Whether the vendor takes both ends of a range, so that several are worth asking for.
    several: bool,
    /// What lies between the column and the window's low and high end (or the point, twice).
    shift: (i64, i64),
}

/// Wraps `join` so that the windows of one side are handed to the vendor of the other, if that is possible.
pub(super) fn push(join: Arc<IntervalJoinExec>) -> Result<Arc<dyn ExecutionPlan>> {
    let one_partition = |plan: &&Arc<dyn ExecutionPlan>| plan.output_partitioning().partition_count() == 1;
    if !join.children().iter().all(one_partition) {
        return Ok(join);
    }
    let window = join.window();
    let (point_child, window_child) = (1 - join.probe_child(), join.probe_child());
    let children = join.children();
    let mut candidates: Vec<(u8, Target, RemoteScanExec)> = Vec::new();
    if let Some((target, scan)) = target(children[point_child], point_child, (window.point, window.point)) {
        candidates.push((promise(children[window_child]), target, scan));
    }
    // Rows of the streamed side that match nothing may be wanted.
    let drops_unmatched = matches!(join.join_type(), JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi);
    let ends = (window.low.column, window.high.column);
    if drops_unmatched && let Some((mut target, scan)) = target(children[window_child], window_child, ends) {
        // Ranges are fetched oldest first, which may not be the order that was promised.
        target.several &= join.properties().output_ordering().is_none();
        candidates.push((promise(children[point_child]), target, scan));
    }
    // The first of equals: the points are looked up for the windows.
    let Some((_, target, scan)) = candidates.into_iter().rev().max_by_key(|(promise, ..)| *promise) else {
        return Ok(join);
    };
    let mut children: Vec<Arc<dyn ExecutionPlan>> = children.into_iter().cloned().collect();
    children[target.child] = replace_scan(Arc::clone(&children[target.child]), target.scan, &|_| {
        Ok(Arc::new(scan.windowed(&target.column)?))
    })?;
    let join = join.with_children(children)?;
    Ok(Arc::new(WindowPushExec { join: Arc::new(join), target, metrics: ExecutionPlanMetricsSet::new() }))
}

/// The scan whose column `ends` of `plan` are, up to constants, if its vendor can be asked for a range of it.
fn target(plan: &Arc<dyn ExecutionPlan>, child: usize, ends: (usize, usize)) -> Option<(Target, RemoteScanExec)> {
    let (scan, column, low) = source(plan, ends.0)?;
    let (other, other_column, high) = source(plan, ends.1)?;
    if scan.id() != other.id() || column != other_column {
        return None;
    }
    if scan.is_fed() || !scan.missing_keys().is_empty() {
        return None;
    }
    let filters = &scan.table().capabilities().filters;
    let takes =
        |operators: [Operator; 2]| filters.iter().any(|f| f.column == column && operators.contains(&f.operator));
    let lower = takes([Operator::Greater, Operator::GreaterEqual]);
    let upper = takes([Operator::Less, Operator::LessEqual]);
    // A listing in the column's order ends where the range does.
    let useful = lower || upper || scan.ordered_by() == Some(column.as_str());
    useful.then(|| (Target { child, scan: scan.id(), column, several: lower && upper, shift: (low, high) }, scan))
}

/// The scan and column that column `index` of `plan` is, and the constant added to it: planning computes `at + interval`
/// below the join.
fn source(plan: &Arc<dyn ExecutionPlan>, index: usize) -> Option<(RemoteScanExec, String, i64)> {
    if let Some(projection) = downcast::<ProjectionExec>(plan) {
        let computed = linear(&projection.expr().get(index)?.expr, &projection.input().schema())?;
        let (scan, column, offset) = source(projection.input(), computed.column)?;
        return Some((scan, column, offset.checked_add(computed.offset)?));
    }
    let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(plan.schema().field(index).name(), index));
    origin(plan, &expr).map(|(scan, column)| (scan, column, 0))
}

/// How likely a driver is short: local rows are at hand; a limit or a predicate makes a remote side shorter.
fn promise(driver: &Arc<dyn ExecutionPlan>) -> u8 {
    if !contains_remote_scan(driver) {
        return 3;
    }
    let limited = |plan: &Arc<dyn ExecutionPlan>| plan.fetch().is_some_and(|rows| rows <= WHILE_FEW);
    fn any(plan: &Arc<dyn ExecutionPlan>, is: &dyn Fn(&Arc<dyn ExecutionPlan>) -> bool) -> bool {
        is(plan) || plan.children().into_iter().any(|child| any(child, is))
    }
    let constrained = |plan: &Arc<dyn ExecutionPlan>| {
        downcast::<RemoteScanExec>(plan).is_some_and(|scan| !scan.request().constraints.is_empty())
    };
    if any(driver, &limited) { 2 } else { u8::from(any(driver, &constrained)) }
}

/// See the module's documentation. Children: those of the interval join.
#[derive(Debug, Clone)]
pub struct WindowPushExec {
    join: Arc<IntervalJoinExec>,
    target: Target,
    metrics: ExecutionPlanMetricsSet,
}

impl WindowPushExec {
    fn driver(&self) -> usize {
        1 - self.target.child
    }

    /// Reads the driver and starts the join over what it says.
    async fn start(self: Arc<Self>, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let children = self.join.children();
        let driver = children[self.driver()];
        let is_local = !contains_remote_scan(driver);
        let reservation = MemoryConsumer::new("WindowPushExec").register(context.memory_pool());
        let mut rows = driver.execute(0, Arc::clone(&context))?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        let mut count = 0;
        while let Some(batch) = rows.try_next().await? {
            reservation.try_grow(batch.get_array_memory_size())?;
            count += batch.num_rows();
            batches.push(batch);
            if !is_local && count > WHILE_FEW {
                return self.without_windows(batches, rows, &context);
            }
        }
        let ranges = self.ranges(&batches)?;
        let schema = driver.schema();
        let target = self.restricted(&ranges, &context)?;
        let joined = self.joined(memory(batches, schema)?, target)?.execute(0, context)?;
        Ok(with_reservation(joined, reservation))
    }

    fn joined(&self, driver: Arc<dyn ExecutionPlan>, target: Arc<dyn ExecutionPlan>) -> Result<IntervalJoinExec> {
        let children = if self.target.child == 0 { vec![target, driver] } else { vec![driver, target] };
        self.join.with_children(children)
    }

    /// Too long a driver: both sides are read as they are, at the same time.
    fn without_windows(
        &self,
        read: Vec<RecordBatch>,
        rest: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = rest.schema();
        let all = futures::stream::iter(read.into_iter().map(Ok)).chain(rest).boxed();
        let mut driver: Arc<dyn ExecutionPlan> =
            Arc::new(OnceExec::new(Box::pin(RecordBatchStreamAdapter::new(schema, all))));
        let mut target = Arc::clone(self.join.children()[self.target.child]);
        let probe = if self.join.probe_child() == self.target.child { &mut target } else { &mut driver };
        *probe = Arc::new(BufferExec::new(Arc::clone(probe), PREFETCH_BYTES));
        self.joined(driver, target)?.execute(0, Arc::clone(context))
    }

    /// The times of the target that can match a row of the driver, in the column's own units, ends excluded.
    fn ranges(&self, driver: &[RecordBatch]) -> Result<Vec<(i64, i64)>> {
        let Window { point, low, high, .. } = self.join.window();
        let finds_points = self.target.child != self.join.probe_child();
        let mut ranges = Vec::new();
        for batch in driver {
            if finds_points {
                let (lows, highs) = (whole(batch.column(low.column))?, whole(batch.column(high.column))?);
                let rows = (0..batch.num_rows()).filter(|row| lows.is_valid(*row) && highs.is_valid(*row));
                let (to_low, to_high) =
                    (low.offset.saturating_sub(self.target.shift.0), high.offset.saturating_sub(self.target.shift.1));
                ranges.extend(
                    rows.map(|row| (lows.value(row).saturating_add(to_low), highs.value(row).saturating_add(to_high))),
                );
            } else {
                // c + low <= p < c + high means p - high < c <= p - low.
                let points = whole(batch.column(*point))?;
                let (low, high) =
                    (low.offset.saturating_add(self.target.shift.0), high.offset.saturating_add(self.target.shift.1));
                ranges.extend(
                    points
                        .iter()
                        .flatten()
                        .map(|p| (p.saturating_sub(high).saturating_add(1), p.saturating_sub(low).saturating_add(1))),
                );
            }
        }
        Ok(merged(ranges, if self.target.several { MOST_RANGES } else { 1 }))
    }

    /// The target's rows within `ranges`.
    fn restricted(&self, ranges: &[(i64, i64)], context: &Arc<TaskContext>) -> Result<Arc<dyn ExecutionPlan>> {
        let children = self.join.children();
        let target = children[self.target.child];
        let Target { scan, column, .. } = &self.target;
        let mut plans = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            plans.push(replace_scan(Arc::clone(target), *scan, &|scan| {
                Ok(match scan.for_range(column, *low, *high)? {
                    Some(scan) => Arc::new(scan),
                    None => Arc::new(EmptyExec::new(scan.schema())),
                })
            })?);
        }
        let schema = target.schema();
        if plans.len() <= 1 {
            return Ok(plans.pop().unwrap_or_else(|| Arc::new(EmptyExec::new(schema))));
        }
        let context = Arc::clone(context);
        let fetched = futures::stream::iter(plans)
            .map(move |plan| collect(plan, Arc::clone(&context)))
            .buffered(CONCURRENCY)
            .map_ok(|batches| futures::stream::iter(batches.into_iter().map(Ok)))
            .try_flatten();
        Ok(Arc::new(OnceExec::new(Box::pin(RecordBatchStreamAdapter::new(schema, fetched.boxed())))))
    }
}

/// `stream`, which holds `reservation` until it ends.
fn with_reservation(stream: SendableRecordBatchStream, reservation: MemoryReservation) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let stream = stream.inspect(move |_| {
        let _held = &reservation;
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream.boxed()))
}

impl DisplayAs for WindowPushExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.target.several {
            format!("one request per merged window, at most {MOST_RANGES}")
        } else {
            "one range over all windows".to_owned()
        };
        let side = if self.target.child == 0 { JoinSide::Left } else { JoinSide::Right };
        write!(f, "WindowPushExec: to={side}, column={}, {how}", self.target.column)
    }
}

impl ExecutionPlan for WindowPushExec {
    fn name(&self) -> &'static str {
        "WindowPushExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.join.children()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition, Distribution::SinglePartition])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.join.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.join.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let join = Arc::new(self.join.with_children(children)?);
        Ok(Arc::new(Self { join, target: self.target.clone(), metrics: ExecutionPlanMetricsSet::new() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a join with handed-over windows has one partition, {partition} was asked");
        }
        let stream = futures::stream::once(Arc::new(self.clone()).start(context)).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.boxed())))
    }
}
