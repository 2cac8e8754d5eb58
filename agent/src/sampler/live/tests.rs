//! Promises of the sampler on live traces.

use serde_json::json;
use tripline_store::{IncidentPolicy, JudgedWindow, NewAnomaly, NewSchemaSnapshot, SampledTrace, Severity};

use super::*;
use crate::testing::{Scene, World, at, minutes};

fn now() -> DateTime<Utc> {
    at("2026-11-20T12:00:40Z")
}

/// Fifty routine traces over the last twelve hours.
fn routine() -> World {
    let mut world = World::default();
    for n in 0..50 {
        let trace = world.generation("answer", now() - minutes(14 * n + 5), 0.01, &json!({"reply": "x"}));
        world.tool(&trace, "search", now() - minutes(14 * n + 4), &json!([1]));
    }
    world
}

async fn kept(scene: &Scene) -> Vec<SampledTrace> {
    let (from, to) = (now() - TimeDelta::days(9), now() + TimeDelta::days(9));
    scene.ctx.store.sampling.sampled(&scene.ctx.scope, from, to, 1000).await.unwrap()
}

async fn run(scene: &Scene, until: DateTime<Utc>) -> Sampled {
    Sampler::new(scene.ctx.clone()).run(until, true).await.unwrap()
}

fn reasons(kept: &[SampledTrace], trace: &str) -> Vec<String> {
    kept.iter().find(|one| one.trace_id == trace).map_or_else(Vec::new, |one| one.reasons.clone())
}

#[tokio::test]
async fn each_reason_is_found_in_live_traces_and_routine_is_dropped() {
    let mut world = routine();
    let error = world.generation("answer", now() - minutes(30), 0.01, &json!({"reply": "x"}));
    world.push(
        "langfuse.observations",
        json!({"id": "e1", "trace_id": error, "type": "SPAN", "name": "search", "level": "ERROR",
            "start_time": now() - minutes(30)}),
    );
    let dear = world.generation("answer", now() - minutes(31), 9.0, &json!({"reply": "x"}));
    let broken = world.generation("answer", now() - minutes(32), 0.01, &json!({"answer": "x"}));
    let novel = world.generation("answer", now() - minutes(33), 0.01, &json!({"reply": "x"}));
    world.tool(&novel, "delete_everything", now() - minutes(33), &json!("gone"));
    let long = world.generation("answer", now() - minutes(50), 0.001, &json!({"reply": "x"}));
    for n in 0..6 {
        // Over two quarters of an hour.
        world.generation_in(&long, "answer", now() - minutes(49 - 4 * n), 0.001, &json!({"reply": "x"}));
    }
    let scene = world.scene(now());
    let schema = NewSchemaSnapshot {
        feature: "answer".to_owned(),
        schema: json!({"kind": "object", "fail_share": 0.0, "keys": {"reply": {"required": true, "types": ["string"]}}}),
        sample_count: 50,
        window: Window::new(now() - TimeDelta::days(7), now() - TimeDelta::days(1)).unwrap(),
    };
    scene.ctx.store.schemas.put(&scene.ctx.scope, schema, now()).await.unwrap();
    let sampled = run(&scene, now()).await;
    let kept = kept(&scene).await;
    for (trace, reason) in [
        (&error, "has_error"),
        (&dear, "cost_spike"),
        (&broken, "schema_failed"),
        (&novel, "novel_pattern"),
        (&long, "high_gen"),
    ] {
        assert!(reasons(&kept, trace).contains(&reason.to_owned()), "{reason}: {kept:?}");
    }
    let long = kept.iter().find(|one| one.trace_id == long).unwrap();
    assert_eq!((long.generation_count, long.feature.as_deref()), (7, Some("answer")));
    // The first trace that searched is new as well.
    assert_eq!((sampled.stats.total_traces, sampled.stats.sampled_traces), (55, 6));
    assert!(sampled.share_dropped > 0.8, "{sampled:?}");
}

#[tokio::test]
async fn a_second_run_reads_what_is_new_and_running_again_changes_nothing() {
    let world = routine();
    let scene = world.scene(now());
    let first = run(&scene, now()).await;
    assert_eq!(first.observations, 100);
    let before = kept(&scene).await;
    // The same run again, and the next one by another process.
    let again = run(&scene, now()).await;
    assert_eq!((again.stats.total_traces, again.stats.clone()), (50, first.stats.clone()));
    assert_eq!(kept(&scene).await, before);
    let next = run(&scene.over(world.engine(&scene.clock, &[])), now() + minutes(15)).await;
    assert!(next.read_from >= now() - minutes(90) && next.observations < 20, "{next:?}");
    assert_eq!(next.stats.total_traces, 50);
    let page = scene.ctx.store.sampling.sampling_stats(&scene.ctx.scope, 10).await.unwrap();
    assert_eq!(page.len(), 2);
}

#[tokio::test]
async fn tools_seen_before_a_restart_are_not_new_after_it() {
    let mut world = routine();
    let scene = world.scene(now());
    run(&scene, now()).await;
    let later = now() + minutes(15);
    let trace = world.generation("answer", later - minutes(1), 0.01, &json!({"reply": "x"}));
    world.tool(&trace, "search", later - minutes(1), &json!([1]));
    let other = world.generation("answer", later - minutes(2), 0.01, &json!({"reply": "x"}));
    world.tool(&other, "book", later - minutes(2), &json!([1]));
    run(&scene.over(world.engine(&scene.clock, &[])), later).await;
    let kept = kept(&scene).await;
    assert!(reasons(&kept, &trace).is_empty());
    assert_eq!(reasons(&kept, &other), ["novel_pattern"]);
}

#[tokio::test]
async fn a_row_that_comes_late_counts_once() {
    let mut world = routine();
    let scene = world.scene(now());
    run(&scene, now()).await;
    let late = world.generation("answer", now() - minutes(20), 5.0, &json!({"reply": "x"}));
    for n in 1..=3 {
        run(&scene.over(world.engine(&scene.clock, &[])), now() + minutes(5 * n)).await;
    }
    let kept = kept(&scene).await;
    let found = kept.iter().find(|one| one.trace_id == late).unwrap();
    assert_eq!((found.generation_count, found.cost_usd), (1, Some(5.0)));
}

#[tokio::test]
async fn after_a_pause_every_trace_was_judged() {
    let mut world = routine();
    let scene = world.scene(now());
    run(&scene, now()).await;
    let missed = world.generation("answer", now() + TimeDelta::hours(3), 5.0, &json!({"reply": "x"}));
    world.tool(&missed, "book", now() + TimeDelta::hours(3), &json!([1]));
    let back = now() + TimeDelta::days(3);
    let sampled = run(&scene.over(world.engine(&scene.clock, &[])), back).await;
    assert_eq!(sampled.stats.window_start, now());
    assert_eq!(reasons(&kept(&scene).await, &missed), ["novel_pattern"]);
}

#[tokio::test]
async fn a_source_that_is_down_is_a_gap_and_nothing_is_decided() {
    let world = routine();
    let scene = world.scene(now());
    run(&scene, now()).await;
    let before = kept(&scene).await;
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let sampled = run(&down, now() + minutes(15)).await;
    assert_eq!(sampled.gaps.len(), 1);
    assert_eq!(kept(&scene).await, before);
    assert_eq!(scene.ctx.store.sampling.sampling_stats(&scene.ctx.scope, 10).await.unwrap().len(), 1);
    // What was missed is read when it is back.
    let sampled = run(&scene, now() + minutes(30)).await;
    assert!(sampled.gaps.is_empty() && sampled.read_from <= now() - minutes(30));
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let scene = routine().scene(now());
    let sampled = Sampler::new(scene.ctx.clone()).run(now(), false).await.unwrap();
    assert_eq!(sampled.stats.total_traces, 50);
    assert!(kept(&scene).await.is_empty());
    assert!(scene.ctx.store.sampling.sampling_stats(&scene.ctx.scope, 10).await.unwrap().is_empty());
    assert!(scene.ctx.store.jobs.watermark(&scene.ctx.scope, READ_UNTIL).await.unwrap().is_none());
}

#[tokio::test]
async fn the_policy_is_a_setting_and_a_trace_of_a_finding_is_kept() {
    let mut world = routine();
    let dear = world.generation("answer", now() - minutes(31), 9.0, &json!({"reply": "x"}));
    let scene = world.scene(now());
    let mut settings = (*scene.ctx.settings.get()).clone();
    settings.sampling.cost_spike_score = 0;
    settings.sampling.novel_pattern_score = 0;
    scene.ctx.settings.set(settings);
    run(&scene, now()).await;
    assert!(kept(&scene).await.is_empty());
    let finding = NewAnomaly {
        detector: "cost_spike".to_owned(),
        kind: "cost_spike".to_owned(),
        severity: Severity::High,
        entity: "answer".to_owned(),
        fingerprint: "f".to_owned(),
        window: Window::new(now() - minutes(60), now()).unwrap(),
        detected_at: now(),
        description: "x".to_owned(),
        evidence: json!({}),
        cost_usd: None,
        onset: Some(now() - minutes(31)),
    };
    scene.ctx.store.anomalies.record(&scene.ctx.scope, finding).await.unwrap();
    run(&scene, now()).await;
    let kept = kept(&scene).await;
    assert_eq!(reasons(&kept, &dear), ["cost_spike", "incident"]);
    // Those of the hour and a half before, and no others.
    assert!((2..10).contains(&kept.len()), "{}", kept.len());
}

#[tokio::test]
async fn traces_are_kept_until_the_incident_is_resolved_and_blanks_belong_to_a_name() {
    let mut world = routine();
    // Long after the last window in which it was found.
    let mut at_minute = |ago: i64| world.generation("pay ", now() - minutes(ago), 0.01, &json!({"reply": "x"}));
    let (found_in, later, after) = (at_minute(120), at_minute(50), at_minute(10));
    let scene = world.scene(now());
    let (store, scope) = (&scene.ctx.store, &scene.ctx.scope);
    let finding = NewAnomaly {
        detector: "cost_spike".to_owned(),
        kind: "cost_spike".to_owned(),
        severity: Severity::High,
        entity: "pay ".to_owned(),
        fingerprint: "f".to_owned(),
        window: Window::new(now() - minutes(150), now() - minutes(90)).unwrap(),
        detected_at: now() - minutes(90),
        description: "x".to_owned(),
        evidence: json!({}),
        cost_usd: None,
        onset: None,
    };
    let policy = IncidentPolicy { clean_windows_to_resolve: 1, ..IncidentPolicy::default() };
    store.incidents.upsert_by_fingerprint(scope, finding, &policy, now() - minutes(90)).await.unwrap();
    run(&scene, now()).await;
    let open = kept(&scene).await;
    assert!([&found_in, &later, &after].iter().all(|trace| reasons(&open, trace).contains(&"incident".to_owned())));
    let clean = JudgedWindow {
        detector: "cost_spike".to_owned(),
        window: Window::new(now() - minutes(90), now() - minutes(30)).unwrap(),
        fingerprints_seen: Vec::new(),
    };
    let resolved = store.incidents.record_clean_window(scope, clean, &policy, now() - minutes(30)).await.unwrap();
    assert_eq!(resolved.len(), 1);
    run(&scene, now()).await;
    let ended = kept(&scene).await;
    let of_incident = |trace: &str| reasons(&ended, trace).contains(&"incident".to_owned());
    assert_eq!((of_incident(&found_in), of_incident(&later), of_incident(&after)), (true, true, false));
}
