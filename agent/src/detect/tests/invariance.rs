//! What must not change a verdict: names, the order of rows, how many rows a join meets, the scale of traffic.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::judged_at;
use crate::detect::Persist;
use crate::testing::{Healthy, World, minutes};

const DETECTORS: [&str; 5] = ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"];

/// One incident of each class among healthy traffic.
fn incidents(scale: f64) -> World {
    let mut healthy = Healthy::new(11, judged_at() - TimeDelta::days(9), judged_at());
    healthy.scale = 0.4 * scale;
    healthy.bursts = false;
    let mut world = healthy.world();
    world.spike("write", judged_at() - minutes(40), 40, (80.0 / scale) as i64, 0.8);
    world.cascade("assist", "RateLimitError", judged_at() - minutes(30), 30, 0.11);
    world.silence("answer", judged_at() - minutes(60));
    world.outputs("answer", judged_at() - minutes(60), 20, &json!({"text": "r"}));
    world.repeat("the-loop", "plan", judged_at() - minutes(70), 15);
    world.silence("lookup", judged_at() - minutes(80));
    world.tool_calls("lookup", judged_at() - minutes(80), 20, &json!("no"));
    world
}

async fn verdicts(world: &World) -> BTreeSet<(String, String, &'static str)> {
    let scene = world.scene(judged_at());
    let mut verdicts = BTreeSet::new();
    for detector in DETECTORS {
        let judged = scene.detectors.run_once(detector, judged_at(), Persist::Nothing).await.unwrap();
        verdicts.extend(judged.findings.into_iter().map(|f| (f.kind, f.entity, f.severity.as_str())));
    }
    verdicts
}

fn renamed(name: &str, salt: u64) -> String {
    format!("{:x}", name.bytes().fold(salt ^ 0xcbf2_9ce4, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn each_class_is_found_once_among_the_others() {
    let found = verdicts(&incidents(1.0)).await;
    let of = |kind: &str| found.iter().filter(|(k, ..)| k == kind).map(|(_, e, _)| e.as_str()).collect::<Vec<_>>();
    assert_eq!(of("agent_loop"), ["the-loop"]);
    assert!(of("cost_spike").contains(&"write"));
    assert_eq!(of("error_cascade"), ["assist"]);
    assert_eq!(of("prompt_drift"), ["answer"]);
    assert_eq!(of("silent_tool_failure"), ["lookup"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn renaming_everything_changes_no_verdict(salt in any::<u64>()) {
        let world = incidents(1.0);
        let mut other = world.clone();
        for rows in other.rows.values_mut() {
            for row in rows {
                for column in ["name", "title", "culprit", "trace_id", "model"] {
                    if let Some(Value::String(text)) = row.get(column) {
                        let text = renamed(text, salt);
                        row.insert(column.to_owned(), Value::from(text));
                    }
                }
            }
        }
        let expected: BTreeSet<_> =
            block_on(verdicts(&world)).into_iter().map(|(k, e, s)| (k, renamed(&e, salt), s)).collect();
        prop_assert_eq!(block_on(verdicts(&other)), expected);
    }

    #[test]
    fn the_order_of_rows_changes_no_verdict(seed in any::<u64>()) {
        let world = incidents(1.0);
        let mut other = world.clone();
        for rows in other.rows.values_mut() {
            rows.shuffle(&mut StdRng::seed_from_u64(seed));
        }
        prop_assert_eq!(block_on(verdicts(&other)), block_on(verdicts(&world)));
    }
}

#[tokio::test]
async fn twice_the_traffic_keeps_the_verdicts_of_its_classes() {
    let kinds = |found: BTreeSet<(String, String, &'static str)>| -> BTreeSet<String> {
        found.into_iter().map(|(kind, ..)| kind).filter(|kind| kind != "error_cascade").collect()
    };
    assert_eq!(kinds(verdicts(&incidents(2.0)).await), kinds(verdicts(&incidents(1.0)).await));
}
