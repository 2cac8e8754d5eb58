//! Physical optimizer rules for plans with remote scans.
//!
//! Owns: the rule list ([`physical_rules`]) and four rules of our own; the joins of our own have their modules.
//! - [`BindJoin`] before `join_selection`, while joins are still bare;
//! - a second `LimitPushdown` after `PushdownSort`: a vendor sort that replaced a `SortExec` must still get the fetch;
//! - [`PrefetchProbe`]: DataFusion polls a join's probe side only after its build side is complete, which would make a
//!   join of two vendors cost the sum of both. Buffering remote probe sides overlaps them;
//! - [`YieldingJoins`]: a join can make very many rows of few, long after its inputs are read; without this it would neither let
//!   others run nor notice that it was cancelled;
//! - [`RequiredKeys`]: a scan that still lacks a required key is a planning error that says which.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::limit_pushdown::LimitPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

use crate::bind::BindJoin;
use crate::error::{ScanError, ScanErrorKind};
use crate::interval::{IntervalJoin, IntervalJoinExec};
use crate::plans::{contains_remote_scan, downcast};
use crate::scan::RemoteScanExec;

/// Bytes of rows a remote probe side may run ahead of its join.
pub(crate) const PREFETCH_BYTES: usize = 64 << 20;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rules with ours in their places.
#[must_use]
pub fn physical_rules() -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        let name = rule.name().to_owned();
        if name == "join_selection" {
            rules.push(Arc::new(BindJoin));
        }
        if name == "SanityCheckPlan" {
            rules.push(Arc::new(IntervalJoin));
            rules.push(Arc::new(RequiredKeys));
            rules.push(Arc::new(PrefetchProbe));
            rules.push(Arc::new(YieldingJoins));
        }
        rules.push(rule);
        if name == "PushdownSort" {
            rules.push(Arc::new(LimitPushdown::new()));
        }
    }
    rules
}

/// Lets remote probe sides of joins start together with their build sides.
#[derive(Debug)]
pub struct PrefetchProbe;

impl PhysicalOptimizerRule for PrefetchProbe {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        prefetch(plan, false)
    }

    fn name(&self) -> &'static str {
        "TriplinePrefetchProbe"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Under a limit nothing is prefetched: the join may be satisfied by a fraction of the probe side.
fn prefetch(plan: Arc<dyn ExecutionPlan>, limited: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let limited = !is_blocking(&plan) && (limited || plan.fetch().is_some() || is_limit(&plan));
    let probe = probe_child(&plan);
    let mut changed = false;
    let mut children = Vec::with_capacity(plan.children().len());
    for (index, child) in plan.children().into_iter().enumerate() {
        let rewritten = prefetch(Arc::clone(child), limited)?;
        let wanted = probe == Some(index) && !limited && contains_remote_scan(&rewritten);
        let rewritten: Arc<dyn ExecutionPlan> = if wanted && downcast::<BufferExec>(&rewritten).is_none() {
            Arc::new(BufferExec::new(rewritten, PREFETCH_BYTES))
        } else {
            rewritten
        };
        changed |= !Arc::ptr_eq(&rewritten, child);
        children.push(rewritten);
    }
    if changed {
        plan.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    } else {
        Ok(plan)
    }
}

/// Operators that read all their input before the limit above them can be satisfied.
fn is_blocking(plan: &Arc<dyn ExecutionPlan>) -> bool {
    downcast::<SortExec>(plan).is_some()
        || downcast::<AggregateExec>(plan).is_some()
        || downcast::<WindowAggExec>(plan).is_some()
}

fn is_limit(plan: &Arc<dyn ExecutionPlan>) -> bool {
    downcast::<GlobalLimitExec>(plan).is_some() || downcast::<LocalLimitExec>(plan).is_some()
}

/// Position of the child that a join polls only after it has collected the other one.
fn probe_child(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(join) = downcast::<IntervalJoinExec>(plan) {
        return Some(join.probe_child());
    }
    collects_left(plan).then_some(1)
}

/// DataFusion's joins that read their left side whole before the other.
fn collects_left(plan: &Arc<dyn ExecutionPlan>) -> bool {
    downcast::<HashJoinExec>(plan).is_some()
        || downcast::<NestedLoopJoinExec>(plan).is_some()
        || downcast::<CrossJoinExec>(plan).is_some()
}

/// Makes joins hand their thread back between batches.
#[derive(Debug)]
pub struct YieldingJoins;

impl PhysicalOptimizerRule for YieldingJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            Ok(if collects_left(&node) {
                Transformed::yes(Arc::new(CooperativeExec::new(node)))
            } else {
                Transformed::no(node)
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "TriplineYieldingJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Refuses plans with a scan whose required keys nothing supplies.
#[derive(Debug)]
pub struct RequiredKeys;

impl PhysicalOptimizerRule for RequiredKeys {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|node| {
            if let Some(scan) = downcast::<RemoteScanExec>(&node)
                && let Some(first) = scan.missing_keys().first()
            {
                let missing: Vec<String> = scan
                    .missing_keys()
                    .iter()
                    .map(|key| key.any_of.iter().map(|set| set.join(" and ")).collect::<Vec<_>>().join(" or "))
                    .collect();
                return Err(ScanError::new(
                    scan.table().source(),
                    scan.table().name(),
                    ScanErrorKind::MissingKey,
                    format!("this table can only be read for given values of {}", missing.join(" and ")),
                )
                .hint(format!("for example: {}", first.example))
                .into());
            }
            Ok(Transformed::no(node))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "TriplineRequiredKeys"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
