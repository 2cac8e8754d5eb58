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
    let kept = finding.to_anomaly(at("2026-11-20T12:00:00Z"));
    assert_eq!(kept.last_sign(), at("2026-11-20T10:14:00Z"), "what the header names, not the window's end");
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
    assert_eq!(finding.evidence["unpriced_calls"], 15);
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

/// What the template says of the impact.
fn template_impact(finding: &Finding) -> String {
    let anomaly = finding.to_anomaly(at("2026-11-20T11:30:00Z"));
    let findings = crate::investigate::Findings {
        evidence: Vec::new(),
        onset: at("2026-11-20T10:30:00Z"),
        suspects: Vec::new(),
        culprit: None,
        timeline: Vec::new(),
        gaps: Vec::new(),
        requests: 0,
    };
    crate::narrate::template::parts(crate::narrate::Story { anomaly: &anomaly, findings: &findings }).impact
}

/// The end of a run, as its agent sent it.
fn ended(world: &mut World, run: &str, provisional: bool) {
    world.push(
        "ingest.events",
        json!({"seq": 900, "run_id": run, "agent_id": "planner", "event_type": "run.completed",
            "occurred_at": at("2026-11-20T11:20:00Z"), "payload": json!({"provisional": provisional}).to_string()}),
    );
}

#[tokio::test]
async fn a_loop_lists_the_runs_that_can_be_stopped_whoever_tells_of_it() {
    use crate::govern::policy::attributed_trace;
    use crate::loops::Reach;
    let found = async |world: &World| judge(&world.scene(at("2026-11-20T12:00:00Z"))).await.remove(0);
    let reach = |finding: &Finding| Reach::of(&json!(finding.evidence));

    // A trace of a vendor alone: nothing here can be asked by its own id, and that is known.
    let vendors = found(&looped(15)).await;
    assert_eq!(reach(&vendors), Reach::TraceOnly);
    assert_eq!((vendors.evidence["runs"].clone(), vendors.evidence["ended_runs"].clone()), (json!([]), json!(0)));

    // A run of the trace, told by Langfuse because it knows more calls; and a run with a name that has to be escaped.
    for (in_langfuse, run) in [(15, "run-1"), (0, "run \"1\"\\")] {
        let mut world = looped(in_langfuse);
        sent(&mut world, run, Some("trace-loop"), 12);
        assert_eq!(reach(&found(&world).await), Reach::Runs(vec![run.to_owned()]), "{in_langfuse}");
    }

    // Of several runs the busiest comes first; one that has ended is not asked, one whose end is provisional is.
    let mut world = World::default();
    for (run, calls) in [("run-a", 3), ("run-b", 12), ("run-c", 5), ("run-d", 4)] {
        sent(&mut world, run, Some("trace-loop"), calls);
    }
    ended(&mut world, "run-c", false);
    ended(&mut world, "run-d", true);
    let several = found(&world).await;
    assert_eq!(reach(&several), Reach::Runs(["run-b", "run-d", "run-a"].map(str::to_owned).to_vec()));
    assert_eq!(several.evidence["ended_runs"], 1);

    // When all have ended nobody is left to stop, and policy does not ask for it.
    let mut world = World::default();
    sent(&mut world, "run-a", Some("trace-loop"), 15);
    let alive = found(&world).await.to_anomaly(at("2026-11-20T11:30:00Z"));
    assert_eq!(attributed_trace(&alive), Some("trace-loop"));
    ended(&mut world, "run-a", false);
    let over = found(&world).await;
    assert_eq!(reach(&over), Reach::Ended);
    assert_eq!(attributed_trace(&over.to_anomaly(at("2026-11-20T11:30:00Z"))), None);
}

#[tokio::test]
async fn local_calls_cost_what_the_settings_say_and_nothing_is_said_of_a_model_without_a_price() {
    let mut world = World::default();
    sent(&mut world, "run-1", None, 15);
    let judged = async |world: &World, prices: serde_json::Value| {
        let scene = world.scene(at("2026-11-20T12:00:00Z"));
        let settings = json!({"model_prices": prices}).to_string();
        scene.ctx.settings.set(crate::settings::Settings::from_json(&settings, "test").unwrap());
        judge(&scene).await.remove(0)
    };
    // 15 calls of 100 tokens and 20 of the answer. The longest pattern that fits counts, whatever the case of letters.
    let prices = json!({"*": {"input": 900, "output": 900}, "M-LARGE*": {"input": 10, "output": 50}, "m_large": {"input": 1, "output": 1}});
    let priced = judged(&world, prices).await;
    let expected = 15.0 * (100.0 * 10.0 + 20.0 * 50.0) / 1e6;
    assert!((priced.cost_usd.unwrap() - expected).abs() < 1e-9, "{priced:?}");
    assert!((priced.evidence["cost_velocity_per_min"].as_f64().unwrap() - expected / 14.0).abs() < 1e-9);
    assert_eq!(priced.evidence["unpriced_calls"], 0);
    assert!(priced.description.contains("cost $0.03"), "{}", priced.description);

    // A price of nothing is a price.
    assert_eq!(judged(&world, json!({"m-large": {"input": 0, "output": 0}})).await.cost_usd, Some(0.0));
    // A model that no pattern names.
    let unknown = judged(&world, json!({"m-small*": {"input": 10, "output": 50}})).await;
    assert_eq!((unknown.cost_usd, unknown.evidence["cost_velocity_per_min"].as_f64()), (None, None));
    assert!(unknown.description.contains("cost unknown"), "{}", unknown.description);
    // Of a call that did not say its tokens the cost is not known: it is at least that of the others.
    world.push(
        "ingest.events",
        json!({"seq": 99, "run_id": "run-1", "agent_id": "planner", "event_type": "llm.called", "step_index": 99,
            "occurred_at": at("2026-11-20T11:00:00Z"), "payload": json!({"model": "m-large"}).to_string()}),
    );
    let partly = judged(&world, json!({"m-large": {"input": 10, "output": 50}})).await;
    assert!((partly.cost_usd.unwrap() - expected).abs() < 1e-9, "{partly:?}");
    assert_eq!(partly.evidence["unpriced_calls"], 1);
    let told = template_impact(&partly);
    assert!(told.starts_with("At least $0.0300 burned so far (1 of its calls has no known price), "), "{told}");
    assert!(
        template_impact(&unknown).starts_with("An unknown amount burned so far, "),
        "{}",
        template_impact(&unknown)
    );
    assert!(template_impact(&priced).starts_with("$0.0300 burned so far, "));

    // The same of Langfuse: a call without a price is not one that cost nothing.
    let mut vendors = looped(15);
    vendors.rows.get_mut("langfuse.observations").unwrap().iter_mut().for_each(|row| drop(row.remove("total_cost")));
    let found = judge(&vendors.scene(at("2026-11-20T12:00:00Z"))).await.remove(0);
    assert_eq!((found.cost_usd, found.evidence["unpriced_calls"].as_i64()), (None, Some(15)));
}
