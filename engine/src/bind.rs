//! The bind join: a join that fetches only the keys the other side brings.
//!
//! Owns: [`BindJoin`] (the rule that makes one) and [`BindJoinExec`]. A table that can only be read for given keys
//! (`github.commit_files` needs a sha), or that can be asked for keys while the other side is known to be small, is not
//! scanned: the other side's rows are read in chunks, their distinct non-null keys go into the scan, and DataFusion's
//! own `HashJoinExec` joins each chunk with the rows fetched so far, so that all join semantics stay DataFusion's and
//! equality is checked again.
//!
//! Must hold: no key is fetched twice; an empty outer side fetches nothing; a scan that is merely *allowed* to bind
//! falls back to a plain join when the other side turns out to have more keys than are worth asking for.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result, ScalarValue, internal_datafusion_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{Distribution, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::SchedulingType;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, Partitioning, PlanProperties,
    ReplaceChildrenOptions, collect,
};
use futures::{StreamExt, TryStreamExt};

use crate::constraint::ColumnConstraint;
use crate::contract::{Operator, RemoteTable};
use crate::plans::{OnceExec, downcast, memory, origin, replace_scan};
use crate::scan::RemoteScanExec;

/// Distinct keys up to which a scan that need not bind is bound all the same, and how many requests they may cost.
const OPTIONAL_KEYS: usize = 200;
const OPTIONAL_REQUESTS: usize = 50;
/// Distinct keys gathered before they are fetched; fewer at first when a LIMIT may be satisfied early.
const CHUNK_KEYS: usize = 500;

/// Turns hash joins on required or cheap keys into bind joins.
#[derive(Debug)]
pub struct BindJoin;

impl PhysicalOptimizerRule for BindJoin {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(join) = downcast::<HashJoinExec>(&node).filter(|join| !join.null_aware) else {
                return Ok(Transformed::no(node));
            };
            // What must be given keys comes first; then whichever side leaves the other to bring fewer keys. The side that is
            // named first brings them where nothing tells the two apart.
            let as_is = |required| try_bind(join, required);
            let swapped = |required| bind_swapped(join, required);
            let brings_fewer = narrowness(join.right()) > narrowness(join.left());
            let (first, second): (&dyn Fn(bool) -> Bound, &dyn Fn(bool) -> Bound) =
                if brings_fewer { (&as_is, &swapped) } else { (&swapped, &as_is) };
            for (bind, required) in [(first, true), (second, true), (first, false), (second, false)] {
                if let Some(bound) = bind(required)? {
                    return Ok(Transformed::yes(bound));
                }
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "TriplineBindJoin"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan that binds, if one does.
type Bound = Result<Option<Arc<dyn ExecutionPlan>>>;

/// The other way round: DataFusion restores the column order with a projection.
fn bind_swapped(join: &HashJoinExec, required: bool) -> Bound {
    if !binds_when_left(join.join_type().swap()) {
        return Ok(None);
    }
    let swapped = join.swap_inputs(*join.partition_mode())?;
    let mut done = false;
    let rewritten = swapped.transform_down(|inner| match downcast::<HashJoinExec>(&inner) {
        Some(join) if !done => {
            done = true;
            Ok(match try_bind(join, required)? {
                Some(bound) => Transformed::new(bound, true, TreeNodeRecursion::Stop),
                None => Transformed::new(inner, false, TreeNodeRecursion::Stop),
            })
        }
        _ => Ok(Transformed::no(inner)),
    })?;
    Ok(rewritten.transformed.then_some(rewritten.data))
}

/// Join types whose result can be made chunk by chunk of the right side, the left side being fetched by key.
fn binds_when_left(join_type: JoinType) -> bool {
    use JoinType::{Inner, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    matches!(join_type, Inner | Right | RightSemi | RightAnti | RightMark | LeftSemi)
}

/// Binds the left side to keys of the right one: a scan that cannot run without them (`required`), or one that may be given
/// them.
fn try_bind(join: &HashJoinExec, required: bool) -> Bound {
    if !binds_when_left(*join.join_type()) {
        return Ok(None);
    }
    // Join keys of the left side that are plain columns of a scan, by scan.
    let mut by_scan: HashMap<usize, (RemoteScanExec, Vec<KeyBinding>)> = HashMap::new();
    for (position, (left, _)) in join.on().iter().enumerate() {
        if let Some((scan, column)) = origin(join.left(), left) {
            let entry = by_scan.entry(scan.id()).or_insert_with(|| (scan.clone(), Vec::new()));
            entry.1.push(KeyBinding { on: position, column });
        }
    }
    let mut scans: Vec<_> = by_scan.into_values().collect();
    scans.sort_by_key(|(scan, _)| scan.id());
    for (scan, mut keys) in scans {
        if required == scan.missing_keys().is_empty() {
            continue;
        }
        if !required {
            keys.retain(|key| accepts_keys(&scan, &key.column));
            if keys.is_empty() {
                continue;
            }
        }
        let most = keys.iter().map(|key| optional_keys(&scan, &key.column)).min().unwrap_or(0);
        let bound = scan.bound_to(keys.iter().map(|key| key.column.clone()).collect())?;
        if !bound.missing_keys().is_empty() {
            continue;
        }
        let inner = replace_scan(Arc::clone(join.left()), scan.id(), &|_| Ok(Arc::new(bound.clone())))?;
        let asked = Asked { scan: scan.id(), table: Arc::clone(scan.table()), keys, most: (!required).then_some(most) };
        let template = join
            .builder()
            .with_partition_mode(PartitionMode::CollectLeft)
            .with_new_children(vec![inner, Arc::clone(join.right())])?
            .build()?;
        return Ok(Some(Arc::new(BindJoinExec::new(Arc::new(template), asked))));
    }
    Ok(None)
}

/// Whether the vendor can be asked for several values of this column.
fn accepts_keys(scan: &RemoteScanExec, column: &str) -> bool {
    scan.request().constraints.values(column).is_none()
        && scan
            .table()
            .capabilities()
            .filters
            .iter()
            .any(|filter| filter.column == column && filter.exact && matches!(filter.operator, Operator::In))
}

/// Distinct keys up to which asking for them is taken to cost less than reading the table.
fn optional_keys(scan: &RemoteScanExec, column: &str) -> usize {
    let per_request = scan.table().capabilities().values_per_request.get(column).copied().unwrap_or(1);
    OPTIONAL_REQUESTS.saturating_mul(per_request).min(OPTIONAL_KEYS)
}

/// How much is known to keep the keys of a side few: local rows or a limit most, then values, then a range, then nothing.
fn narrowness(plan: &Arc<dyn ExecutionPlan>) -> u8 {
    let limit = downcast::<GlobalLimitExec>(plan)
        .and_then(GlobalLimitExec::fetch)
        .or_else(|| downcast::<LocalLimitExec>(plan).map(LocalLimitExec::fetch))
        .or_else(|| plan.fetch());
    if limit.is_some_and(|rows| rows <= OPTIONAL_KEYS) {
        return 3;
    }
    if let Some(scan) = downcast::<RemoteScanExec>(plan) {
        let asked = &scan.request().constraints;
        let ranges = |c: &ColumnConstraint| c.lower.is_some() || c.upper.is_some();
        // Required keys say where to look, not how much there is.
        let keys: Vec<&String> =
            scan.table().capabilities().required.iter().flat_map(|k| &k.any_of).flatten().collect();
        return if asked.iter().any(|(name, c)| c.values.is_some() && !keys.iter().any(|key| *key == name)) {
            2
        } else {
            u8::from(asked.iter().any(|(_, c)| ranges(c)))
        };
    }
    plan.children().into_iter().map(narrowness).min().unwrap_or(3)
}

/// Which join key feeds which column of the scan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyBinding {
    /// Position among the join's `on` pairs.
    on: usize,
    /// Column of the scan.
    column: String,
}

/// What is asked for keys.
#[derive(Debug, Clone)]
struct Asked {
    scan: usize,
    table: Arc<dyn RemoteTable>,
    keys: Vec<KeyBinding>,
    /// The most keys it is worth to ask for where the scan need not bind; `None` where it must.
    most: Option<usize>,
}

/// See the module's documentation. Children: the inner side (fetched by key), then the outer side.
#[derive(Debug, Clone)]
pub struct BindJoinExec {
    /// The join as DataFusion would run it: left = inner, right = outer.
    template: Arc<HashJoinExec>,
    asked: Asked,
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl BindJoinExec {
    fn new(template: Arc<HashJoinExec>, asked: Asked) -> Self {
        let properties = PlanProperties::clone(template.properties())
            .with_partitioning(Partitioning::UnknownPartitioning(1))
            .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { template, asked, fetch: None, properties: Arc::new(properties), metrics }
    }

    /// The inner rows of these keys. Keys of several columns are grouped by all but the one with the most values, so
    /// that nothing outside the wanted combinations is asked for and the lists are as long as they can be.
    async fn fetch_keys(&self, keys: Vec<Key>, context: &Arc<TaskContext>) -> Result<Vec<RecordBatch>> {
        let values_of = |column: usize| keys.iter().filter_map(|key| key.get(column)).collect::<HashSet<_>>().len();
        let Some(listed) = (0..self.asked.keys.len()).max_by_key(|column| values_of(*column)) else {
            return Ok(Vec::new());
        };
        let mut groups: Vec<(Key, Vec<ScalarValue>)> = Vec::new();
        let mut position: HashMap<Key, usize> = HashMap::new();
        for mut key in keys {
            let value = key.remove(listed);
            let index = *position.entry(key.clone()).or_insert_with(|| {
                groups.push((key, Vec::new()));
                groups.len() - 1
            });
            if let Some((_, values)) = groups.get_mut(index) {
                values.push(value);
            }
        }
        let fetches = groups.into_iter().map(|(rest, values)| {
            let mut pins: Vec<Vec<ScalarValue>> = rest.into_iter().map(|value| vec![value]).collect();
            pins.insert(listed, values);
            let columns = self.asked.keys.iter().map(|binding| binding.column.clone());
            self.fetch_group(columns.zip(pins).collect(), Arc::clone(context))
        });
        let batches: Vec<Vec<RecordBatch>> = futures::stream::iter(fetches).buffered(8).try_collect().await?;
        Ok(batches.into_iter().flatten().collect())
    }

    async fn fetch_group(
        &self,
        pins: Vec<(String, Vec<ScalarValue>)>,
        context: Arc<TaskContext>,
    ) -> Result<Vec<RecordBatch>> {
        let inner = replace_scan(Arc::clone(self.template.left()), self.asked.scan, &|scan| {
            Ok(match scan.for_keys(&pins)? {
                Some(scan) => Arc::new(scan),
                None => Arc::new(EmptyExec::new(scan.schema())),
            })
        })?;
        collect(inner, context).await
    }
}

impl DisplayAs for BindJoinExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<String> = self.template.on().iter().map(|(l, r)| format!("{l} = {r}")).collect();
        let keys: Vec<&str> = self.asked.keys.iter().map(|key| key.column.as_str()).collect();
        write!(
            f,
            "BindJoinExec: join_type={}, on=[{}], keys=[{}], {}",
            self.template.join_type(),
            on.join(", "),
            keys.join(", "),
            self.asked.most.map_or_else(|| "required".to_owned(), |most| format!("up to {most} keys"))
        )?;
        if let Some(fetch) = self.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for BindJoinExec {
    fn name(&self) -> &'static str {
        "BindJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![self.template.left(), self.template.right()]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition, Distribution::SinglePartition])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.template.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let template = Arc::new(self.template.builder().with_new_children(children)?.build()?);
        let mut replaced = Self::new(template, self.asked.clone());
        replaced.fetch = self.fetch;
        Ok(Arc::new(replaced))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let mut limited = Self::new(Arc::clone(&self.template), self.asked.clone());
        limited.fetch = limit;
        Some(Arc::new(limited))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a bind join has one partition, {partition} was asked");
        }
        let running = Running {
            outer: Some(self.template.right().execute(0, Arc::clone(&context))?),
            reservation: MemoryConsumer::new("BindJoinExec").register(context.memory_pool()),
            chunk_keys: match (self.asked.most, self.fetch) {
                (Some(most), _) => most + 1,
                (None, Some(rows)) => rows.clamp(1, CHUNK_KEYS),
                (None, None) => CHUNK_KEYS,
            },
            seen: HashSet::new(),
            inner: Vec::new(),
            current: None,
            left: self.fetch,
            metrics: BaselineMetrics::new(&self.metrics, partition),
            join: Arc::new(self.clone()),
            context,
        };
        let stream = futures::stream::try_unfold(running, Running::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream.boxed())))
    }
}

type Key = Vec<ScalarValue>;

/// A bind join while it runs.
struct Running {
    join: Arc<BindJoinExec>,
    context: Arc<TaskContext>,
    /// `None` once it has ended.
    outer: Option<SendableRecordBatchStream>,
    seen: HashSet<Key>,
    inner: Vec<RecordBatch>,
    reservation: MemoryReservation,
    current: Option<SendableRecordBatchStream>,
    chunk_keys: usize,
    left: Option<usize>,
    metrics: BaselineMetrics,
}

impl Running {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if self.left == Some(0) {
                return Ok(None);
            }
            if let Some(current) = &mut self.current {
                match current.try_next().await? {
                    Some(mut batch) => {
                        if let Some(left) = self.left {
                            batch = batch.slice(0, batch.num_rows().min(left));
                            self.left = Some(left - batch.num_rows());
                        }
                        if batch.num_rows() > 0 {
                            self.metrics.record_output(batch.num_rows());
                            return Ok(Some((batch, self)));
                        }
                    }
                    None => self.current = None,
                }
                continue;
            }
            if self.outer.is_none() {
                return Ok(None);
            }
            self.current = self.start_chunk().await?;
            if self.join.asked.most.is_none() {
                self.chunk_keys = (self.chunk_keys * 2).min(CHUNK_KEYS);
            }
        }
    }

    /// Reads a chunk of the outer side, fetches its new keys, and starts joining it.
    async fn start_chunk(&mut self) -> Result<Option<SendableRecordBatchStream>> {
        let (chunk, keys) = self.read_chunk().await?;
        if chunk.is_empty() {
            return Ok(None);
        }
        if self.join.asked.most.is_some_and(|most| keys.len() > most)
            && let Some(rest) = self.outer.take()
        {
            return self.plain_join(chunk, rest).map(Some);
        }
        let fetched = self.join.fetch_keys(keys, &self.context).await?;
        for batch in &fetched {
            self.reservation.try_grow(batch.get_array_memory_size())?;
        }
        // A left semi join emits inner rows: each belongs to the one chunk that brought its key.
        let inner = if *self.join.template.join_type() == JoinType::LeftSemi {
            fetched
        } else {
            self.inner.extend(fetched);
            self.inner.clone()
        };
        let left = memory(inner, self.join.template.left().schema())?;
        let right = memory(chunk, self.join.template.right().schema())?;
        let join = self.join.template.builder().with_new_children(vec![left, right])?.build_exec()?;
        join.execute(0, Arc::clone(&self.context)).map(make_cooperative).map(Some)
    }

    async fn read_chunk(&mut self) -> Result<(Vec<RecordBatch>, Vec<Key>)> {
        let (mut chunk, mut keys) = (Vec::new(), Vec::new());
        while let Some(outer) = &mut self.outer {
            let Some(batch) = outer.try_next().await? else {
                self.outer = None;
                break;
            };
            if batch.num_rows() == 0 {
                continue;
            }
            self.new_keys(&batch, &mut keys)?;
            chunk.push(batch);
            if keys.len() >= self.chunk_keys {
                break;
            }
        }
        Ok((chunk, keys))
    }

    /// A NULL key matches nothing, nor does one that no row of the table can have.
    fn may_match(&self, key: &Key) -> bool {
        let table = &self.join.asked.table;
        key.iter().zip(&self.join.asked.keys).all(|(value, at)| !value.is_null() && table.can_have(&at.column, value))
    }

    /// Appends the keys of `batch` that were not fetched yet, and that may match.
    fn new_keys(&mut self, batch: &RecordBatch, keys: &mut Vec<Key>) -> Result<()> {
        let on = self.join.template.on();
        let columns = self
            .join
            .asked
            .keys
            .iter()
            .map(|key| {
                let (_, outer) =
                    on.get(key.on).ok_or_else(|| internal_datafusion_err!("join key {} is gone", key.on))?;
                outer.evaluate(batch)?.into_array(batch.num_rows())
            })
            .collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            let key = columns.iter().map(|c| ScalarValue::try_from_array(c, row)).collect::<Result<Key>>()?;
            if self.may_match(&key) && self.seen.insert(key.clone()) {
                keys.push(key);
            }
        }
        Ok(())
    }

    /// Too many keys: the inner side is scanned once and joined with everything the outer side brings.
    fn plain_join(
        &self,
        chunk: Vec<RecordBatch>,
        rest: SendableRecordBatchStream,
    ) -> Result<SendableRecordBatchStream> {
        let inner = replace_scan(Arc::clone(self.join.template.left()), self.join.asked.scan, &|scan| {
            Ok(Arc::new(scan.bound_to(Vec::new())?))
        })?;
        let schema = self.join.template.right().schema();
        let stream = futures::stream::iter(chunk.into_iter().map(Ok)).chain(rest).boxed();
        let outer = Arc::new(OnceExec::new(Box::pin(RecordBatchStreamAdapter::new(schema, stream))));
        let join = self.join.template.builder().with_new_children(vec![inner, outer])?.build_exec()?;
        join.execute(0, Arc::clone(&self.context)).map(make_cooperative)
    }
}
