//! A healthy company gives no findings.

use chrono::TimeDelta;

use crate::detect::Persist;
use crate::testing::{Healthy, at};

async fn findings(seed: u64, hours: i64, step: i64) -> Vec<String> {
    let until = at("2026-11-20T00:00:00Z") + TimeDelta::hours(hours);
    let world = Healthy::new(seed, at("2026-11-11T00:00:00Z"), until).world();
    let scene = world.scene(until);
    let mut found = Vec::new();
    let mut tick = at("2026-11-20T00:00:00Z");
    while tick < until {
        tick += TimeDelta::minutes(step);
        for detector in ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"] {
            let judged = scene.detectors.run_once(detector, tick, Persist::Baselines).await.unwrap();
            assert!(judged.is_complete());
            found.extend(judged.findings.iter().map(|f| format!("{seed} {tick} {} {}", f.kind, f.description)));
        }
    }
    found
}

#[tokio::test]
async fn nothing_fires_in_a_healthy_day() {
    for seed in [1, 2] {
        assert_eq!(findings(seed, 24, 240).await, Vec::<String>::new());
    }
}

/// Hours of chance; run by hand when a rule changes.
#[tokio::test]
#[ignore = "minutes long"]
async fn nothing_fires_in_many_healthy_weeks() {
    let mut all = Vec::new();
    for seed in 100..std::env::var("SEEDS").map_or(104, |n| 100 + n.parse::<u64>().unwrap()) {
        all.extend(findings(seed, 72, 60).await);
    }
    assert_eq!(all, Vec::<String>::new());
}
