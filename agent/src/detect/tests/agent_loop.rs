//! Agent loops (seed 003).

use serde_json::json;

use crate::detect::{Finding, Persist};
use crate::testing::{Home, Scene, World, at, minutes};

fn looped(generations: i64) -> World {
    let mut world = World::default();
    let start = at("2026-11-20T10:00:00Z");
    for n in 0..generations {
        world.generation_in(
            "trace-loop",
            if n % 5 == 4 { "plan" } else { "retry \"x\"" },
            start + minutes(n),
            0.02,
            &json!("same"),
        );
    }
    for n in 0..40 {
        world.generation("answer", start + minutes(n), 0.01, &json!("fine"));
    }
    world
}

async fn judge(scene: &Scene) -> Vec<Finding> {
    let judgement = scene.detectors.run_once("agent_loop", at("2026-11-20T11:30:00Z"), Persist::Nothing).await.unwrap();
    assert!(judgement.is_complete());
    judgement.findings
}

#[tokio::test]
async fn a_trace_with_more_generations_than_the_threshold_is_a_loop() {
    let scene = looped(15).scene(at("2026-11-20T12:00:00Z"));
    let found = judge(&scene).await;
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("agent_loop", "trace-loop"));
    assert_eq!(finding.severity.as_str(), "high");
    assert_eq!(finding.evidence["generations"], 15);
    assert_eq!(finding.evidence["most_repeated_name"], "retry \"x\"");
    assert_eq!(finding.evidence["repeat_count"], 12);
    assert_eq!(finding.evidence["histogram"], json!({"retry \"x\"": 12, "plan": 3}));
    assert!((finding.evidence["cost_velocity_per_min"].as_f64().unwrap() - 0.3 / 14.0).abs() < 1e-9);
    assert_eq!(finding.onset, Some(at("2026-11-20T10:00:00Z")));
    assert!(finding.description.contains("15 generations"), "{}", finding.description);
}

#[tokio::test]
async fn the_threshold_itself_is_no_loop_and_above_twenty_is_critical() {
    assert_eq!(judge(&looped(10).scene(at("2026-11-20T12:00:00Z"))).await.len(), 0);
    assert_eq!(judge(&looped(11).scene(at("2026-11-20T12:00:00Z"))).await.len(), 1);
    let severity = async |n| judge(&looped(n).scene(at("2026-11-20T12:00:00Z"))).await[0].severity.as_str();
    assert_eq!((severity(20).await, severity(21).await), ("high", "critical"));
}

#[tokio::test]
async fn every_loop_is_found_and_each_is_a_condition_of_its_own() {
    let mut world = looped(15);
    for n in 0..12 {
        world.generation_in("trace-second", "plan", at("2026-11-20T11:00:00Z") + minutes(n), 0.0, &json!("x"));
    }
    let found = judge(&world.scene(at("2026-11-20T12:00:00Z"))).await;
    assert_eq!(found.iter().map(|f| f.entity.as_str()).collect::<Vec<_>>(), ["trace-loop", "trace-second"]);
    assert_ne!(found[0].fingerprint, found[1].fingerprint);
}

#[tokio::test]
async fn generations_outside_of_the_window_do_not_count() {
    let scene = looped(15).scene(at("2026-11-20T14:00:00Z"));
    let late = at("2026-11-20T12:05:00Z");
    assert_eq!(scene.detectors.run_once("agent_loop", late, Persist::Nothing).await.unwrap().findings.len(), 0);
}

#[tokio::test]
async fn editing_one_comparison_in_the_file_changes_the_finding() {
    let sql = include_str!("../../../../queries/detectors/agent_loop.sql");
    let edited = sql.replace("WHERE generations > $threshold", "WHERE generations > 2 * $threshold");
    assert_ne!(sql, edited);
    let home = Home::new();
    home.write("queries/detectors/agent_loop.sql", &edited);
    let scene = looped(15).scene_in(home, at("2026-11-20T12:00:00Z"));
    assert_eq!(judge(&scene).await.len(), 0);
    // Taking it away brings the rule back, without a restart.
    std::fs::remove_file(scene.home.path().join("queries/detectors/agent_loop.sql")).unwrap();
    assert_eq!(judge(&scene).await.len(), 1);
}

#[tokio::test]
async fn a_setting_moves_the_threshold() {
    let scene = looped(15).scene(at("2026-11-20T12:00:00Z"));
    let mut settings = scene.ctx.settings.get().as_ref().clone();
    settings.agent_loop_generation_threshold = 15;
    scene.ctx.settings.set(settings);
    assert_eq!(judge(&scene).await.len(), 0);
}

/// Model calls of a run that an agent sent to Tripline.
fn sent(world: &mut World, run: &str, trace: Option<&str>, calls: i64) {
    for n in 0..calls {
        let start = at("2026-11-20T10:30:00Z") + minutes(n);
        for (kind, payload) in [
            ("llm.called", json!({"model": "m-large", "prompt_tokens": 100})),
            ("llm.responded", json!({"completion_tokens": 20})),
        ] {
            world.push(
                "ingest.events",
                json!({"seq": n, "run_id": run, "agent_id": "planner", "trace_id": trace, "event_type": kind,
                    "step_index": n + 1, "occurred_at": start, "payload": payload.to_string()}),
            );
        }
    }
}

#[tokio::test]
async fn a_run_that_an_agent_sent_loops_by_the_same_rule() {
    let mut world = World::default();
    sent(&mut world, "run-1", None, 15);
    sent(&mut world, "run-2", None, 10);
    let found = judge(&world.scene(at("2026-11-20T12:00:00Z"))).await;
    let [finding] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("agent_loop", "run-1"));
    assert_eq!((finding.evidence["generations"].as_i64(), finding.cost_usd), (Some(15), None));
    assert_eq!(finding.evidence["histogram"], json!({"m-large": 15}));
    assert_eq!(
        (finding.evidence["feature"].as_str(), finding.evidence["tokens"].as_i64()),
        (Some("planner"), Some(1800))
    );
    assert_eq!(finding.onset, Some(at("2026-11-20T10:30:00Z")));
}

#[tokio::test]
async fn a_trace_that_both_sources_tell_of_is_one_finding() {
    for (in_langfuse, sent_here, told_by) in [(15, 12, "langfuse"), (5, 14, "ingest"), (12, 12, "langfuse")] {
        let mut world = looped(in_langfuse);
        sent(&mut world, "run-1", Some("trace-loop"), sent_here);
        let found = judge(&world.scene(at("2026-11-20T12:00:00Z"))).await;
        let [finding] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((finding.entity.as_str(), finding.evidence["told_by"].as_str()), ("trace-loop", Some(told_by)));
    }
}

#[tokio::test]
async fn runs_are_judged_while_langfuse_is_down_and_that_is_a_gap() {
    let mut world = World::default();
    sent(&mut world, "run-1", None, 15);
    let scene = world.scene(at("2026-11-20T12:00:00Z"));
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let judged = down.detectors.run_once("agent_loop", at("2026-11-20T11:30:00Z"), Persist::Nothing).await.unwrap();
    assert_eq!(judged.findings.len(), 1);
    assert_eq!(judged.gaps.iter().map(|gap| gap.source.as_str()).collect::<Vec<_>>(), ["langfuse"]);
}
