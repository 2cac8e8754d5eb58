//! What the detectors promise.

mod agent_loop;
mod cost_spike;
mod error_cascade;
mod invariance;
mod prompt_drift;
mod quarters;
mod quiet;
mod silent_tool_failure;

use chrono::{DateTime, TimeDelta, Utc};

use crate::detect::{Finding, Persist};
use crate::testing::{Healthy, World, at};

/// The instant the tests judge at.
fn judged_at() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

/// A healthy company of nine days until then.
fn healthy() -> World {
    let mut healthy = Healthy::new(7, judged_at() - TimeDelta::days(9), judged_at());
    healthy.bursts = false;
    healthy.world()
}

async fn judge(world: &World, detector: &str, at: DateTime<Utc>) -> Vec<Finding> {
    let judgement = world.scene(at).detectors.run_once(detector, at, Persist::Nothing).await.unwrap();
    assert!(judgement.is_complete());
    judgement.findings
}

/// The one finding.
async fn only(world: &World, detector: &str) -> Finding {
    let found = judge(world, detector, judged_at()).await;
    let [finding] = found.as_slice() else { panic!("{} findings: {found:#?}", found.len()) };
    finding.clone()
}

async fn none(world: &World, detector: &str) {
    let found = judge(world, detector, judged_at()).await;
    assert!(found.is_empty(), "{found:#?}");
}
