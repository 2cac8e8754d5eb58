//! The time-window join: `b.ts >= a.ts AND b.ts < a.ts + interval`, with or without equalities.
//!
//! Owns: [`IntervalJoin`] (the rule) and, in its modules, the reading of such conditions (`window`), the sorted index of
//! one side (`index`), the operator ([`IntervalJoinExec`]), and the handing over of windows to the vendor of one side
//! ([`WindowPushExec`], `ranges`). DataFusion 55 runs these joins as a nested loop or as a
//! hash join with a filter over every pair of equal keys; this runs in O(n log n + matches).
//!
//! The side that is the *point* of the window is collected and sorted by (equality keys, point); the other side, which
//! brings the two ends, streams, finds its matches by position, and keeps its order. Conditions beyond one lower and
//! one upper bound are evaluated on the matches.

mod exec;
mod index;
mod push;
mod ranges;
mod window;

use std::any::Any;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

pub use exec::IntervalJoinExec;
use exec::JoinParts;
pub use push::WindowPushExec;

/// Turns hash joins and nested loop joins over a time window into interval joins.
#[derive(Debug)]
pub struct IntervalJoin;

impl PhysicalOptimizerRule for IntervalJoin {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(match rewrite(&node)? {
                Some(join) => Transformed::yes(join),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "TriplineIntervalJoin"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn rewrite(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let any = node.as_ref() as &dyn Any;
    let parts = if let Some(join) = any.downcast_ref::<HashJoinExec>() {
        if join.null_aware || join.fetch().is_some() {
            return Ok(None);
        }
        let partitioned = *join.partition_mode() == PartitionMode::Partitioned;
        join.filter().map(|filter| JoinParts {
            left: Arc::clone(join.left()),
            right: Arc::clone(join.right()),
            on: join.on().to_vec(),
            filter: filter.clone(),
            join_type: *join.join_type(),
            projection: join.projection.as_deref().map(<[usize]>::to_vec),
            null_equality: join.null_equality(),
            partitioned,
        })
    } else if let Some(join) = any.downcast_ref::<NestedLoopJoinExec>() {
        join.filter().map(|filter| JoinParts {
            left: Arc::clone(join.left()),
            right: Arc::clone(join.right()),
            on: Vec::new(),
            filter: filter.clone(),
            join_type: *join.join_type(),
            projection: join.projection().as_deref().map(<[usize]>::to_vec),
            null_equality: datafusion::common::NullEquality::NullEqualsNothing,
            partitioned: false,
        })
    } else {
        None
    };
    let Some(mut parts) = parts else { return Ok(None) };
    for build in [JoinSide::Left, JoinSide::Right] {
        if !streams_probe(parts.join_type, build) {
            continue;
        }
        let Some(window) = window::window(&parts.filter, build)? else { continue };
        if build == JoinSide::Right {
            // The probe side is now the left one, whose order and partitions nothing above was promised.
            if node.output_ordering().is_some() {
                continue;
            }
            if !parts.partitioned && parts.right.output_partitioning().partition_count() > 1 {
                parts.right = Arc::new(CoalescePartitionsExec::new(Arc::clone(&parts.right)));
            }
        }
        let properties = (build == JoinSide::Left).then(|| Arc::clone(node.properties()));
        return push::push(Arc::new(IntervalJoinExec::try_new(parts, build, window, properties)?)).map(Some);
    }
    Ok(None)
}

/// Whether the join's rows can be made from one pass over the side that is not built.
fn streams_probe(join_type: JoinType, build: JoinSide) -> bool {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    match build {
        JoinSide::Left => matches!(join_type, Inner | Right | RightSemi | RightAnti),
        _ => matches!(join_type, Inner | Left | LeftSemi | LeftAnti),
    }
}
