//! Small things that our operators do with plans.
//!
//! Owns: finding the scan behind a column, putting another one in its place, rows and running streams as plans.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};

use crate::scan::RemoteScanExec;

/// The operator `plan` is, if it is a `T`.
pub(crate) fn downcast<T: 'static>(plan: &Arc<dyn ExecutionPlan>) -> Option<&T> {
    (plan.as_ref() as &dyn Any).downcast_ref::<T>()
}

/// Whether any row of `plan` comes from a vendor.
pub(crate) fn contains_remote_scan(plan: &Arc<dyn ExecutionPlan>) -> bool {
    downcast::<RemoteScanExec>(plan).is_some() || plan.children().into_iter().any(contains_remote_scan)
}

/// The scan and column that an expression over `plan`'s output comes from unchanged, such that restricting the column
/// in the scan is the same as restricting it here.
pub(crate) fn origin(plan: &Arc<dyn ExecutionPlan>, expr: &Arc<dyn PhysicalExpr>) -> Option<(RemoteScanExec, String)> {
    // Planning casts text to another form of text (views) to compare the two sides.
    if let Some(cast) = (expr.as_ref() as &dyn Any).downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(&plan.schema()).ok()?;
        return (is_text(&from) && is_text(cast.cast_type())).then(|| origin(plan, cast.expr())).flatten();
    }
    let index = (expr.as_ref() as &dyn Any).downcast_ref::<Column>()?.index();
    // What a limit lets through depends on what it is given.
    if plan.fetch().is_some() {
        return None;
    }
    if let Some(scan) = downcast::<RemoteScanExec>(plan) {
        return Some((scan.clone(), scan.schema().field(index).name().clone()));
    }
    if let Some(filter) = downcast::<FilterExec>(plan) {
        return match filter.projection() {
            None => origin(filter.input(), expr),
            Some(_) => None,
        };
    }
    if let Some(projection) = downcast::<ProjectionExec>(plan) {
        return origin(projection.input(), &projection.expr().get(index)?.expr);
    }
    if let Some(aggregate) = downcast::<AggregateExec>(plan) {
        if aggregate.limit_options().is_some() {
            return None;
        }
        let (key, _) = aggregate.group_expr().expr().get(index)?;
        return aggregate.group_expr().is_single().then(|| origin(aggregate.input(), key)).flatten();
    }
    None
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

/// `plan` with the scan `id` replaced.
pub(crate) fn replace_scan(
    plan: Arc<dyn ExecutionPlan>,
    id: usize,
    with: &dyn Fn(&RemoteScanExec) -> Result<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_down(|node| match downcast::<RemoteScanExec>(&node) {
        Some(scan) if scan.id() == id => Ok(Transformed::yes(with(scan)?)),
        _ => Ok(Transformed::no(node)),
    })
    .data()
}

/// Rows in memory, as a plan.
pub(crate) fn memory(batches: Vec<RecordBatch>, schema: SchemaRef) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(MemorySourceConfig::try_new_exec(&[batches], schema, None)?)
}

/// A stream that already runs, as a plan that can be executed once.
pub(crate) struct OnceExec {
    stream: Mutex<Option<SendableRecordBatchStream>>,
    properties: Arc<PlanProperties>,
}

impl OnceExec {
    pub(crate) fn new(stream: SendableRecordBatchStream) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(stream.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { stream: Mutex::new(Some(stream)), properties: Arc::new(properties) }
    }
}

impl fmt::Debug for OnceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceExec")
    }
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceExec")
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &'static str {
        "OnceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
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

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.stream
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .ok_or_else(|| internal_datafusion_err!("a running stream can be read once"))
    }
}
