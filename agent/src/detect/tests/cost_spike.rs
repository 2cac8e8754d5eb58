//! Cost spikes (seed 003).

use chrono::TimeDelta;
use serde_json::json;

use super::{healthy, judge, judged_at, none, only};
use crate::detect::Persist;
use crate::testing::{Home, World, minutes};

#[tokio::test]
async fn a_feature_above_its_multiple_is_a_spike_and_says_when_it_began() {
    let mut world = healthy();
    let onset = judged_at() - minutes(40);
    world.spike("write", onset, 40, 60, 0.35);
    let finding = only(&world, "cost_spike").await;
    assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("cost_spike", "write"));
    let number = |column: &str| finding.evidence[column].as_f64().unwrap();
    assert!(number("ratio") > 5.0 && finding.severity.as_str() == "critical", "{finding:?}");
    assert!((number("current_cost_usd") - number("baseline_usd") - number("excess_usd")).abs() < 1e-9);
    assert!(number("generations") >= 40.0 && number("cost_per_call_usd") > 0.2);
    let began = finding.onset.unwrap();
    assert!((began - onset).abs() < minutes(3), "{began}");
}

#[tokio::test]
async fn a_healthy_hour_is_none_and_neither_is_the_nightly_batch() {
    let world = healthy();
    none(&world, "cost_spike").await;
    let night = judged_at() - TimeDelta::minutes(9 * 60 + 40);
    assert_eq!(judge(&world, "cost_spike", night).await.len(), 0);
}

#[tokio::test]
async fn a_spike_that_lasts_is_not_hidden_by_its_own_earlier_hours() {
    let mut world = healthy();
    world.spike("write", judged_at() - TimeDelta::hours(6), 6 * 60, 60, 0.35);
    assert_eq!(only(&world, "cost_spike").await.entity, "write");
}

#[tokio::test]
async fn a_new_feature_has_no_verdict_of_its_own_but_raises_the_total() {
    let mut world = healthy();
    world.spike("brand-new", judged_at() - TimeDelta::minutes(50), 50, 20, 0.2);
    let finding = only(&world, "cost_spike").await;
    assert_eq!(finding.entity, "brand-new");
    assert_eq!(finding.evidence["covered_hours"], 0);
    assert!(
        finding.evidence["all_cost_usd"].as_f64().unwrap() > finding.evidence["all_baseline_usd"].as_f64().unwrap()
    );
}

#[tokio::test]
async fn without_a_day_of_history_there_is_no_verdict() {
    let mut world = World::default();
    for hour in 1..20 {
        world.spike("write", judged_at() - TimeDelta::hours(hour + 1), 60, 300, 0.05);
    }
    world.spike("write", judged_at() - TimeDelta::hours(1), 60, 60, 0.5);
    none(&world, "cost_spike").await;
}

#[tokio::test]
async fn a_spike_of_cents_is_none() {
    let mut world = World::default();
    for hour in 1..170 {
        world.spike("tiny", judged_at() - TimeDelta::hours(hour + 1), 60, 120, 0.0001);
    }
    // Twenty times its baseline, and nine cents.
    world.spike("tiny", judged_at() - TimeDelta::hours(1), 60, 60, 0.0015);
    none(&world, "cost_spike").await;
    world.spike("tiny", judged_at() - TimeDelta::hours(1), 60, 60, 0.0005);
    assert_eq!(only(&world, "cost_spike").await.entity, "tiny");
}

#[tokio::test]
async fn hours_are_kept_once_each_and_by_hand_nothing_is_written() {
    let mut world = World::default();
    for hour in 1..190 {
        world.spike("steady", judged_at() - TimeDelta::hours(hour), 60, 600, 0.05);
    }
    let scene = world.scene(judged_at());
    let (from, to) = (judged_at() - TimeDelta::days(9), judged_at());
    let range = async || scene.ctx.store.baselines.range(&scene.ctx.scope, None, from, to).await.unwrap();

    scene.detectors.run_once("cost_spike", judged_at(), Persist::Nothing).await.unwrap();
    assert_eq!(range().await.covered.len(), 0);
    for tick in 0..5 {
        let at = judged_at() - minutes(60) + minutes(15 * tick);
        scene.detectors.run_once("cost_spike", at, Persist::Baselines).await.unwrap();
    }
    let kept = range().await;
    assert_eq!((kept.covered.len(), kept.rows.len()), (169, 169));
    // Of the hour that ended an hour ago rows may still come.
    let open: Vec<_> = kept.covered.iter().filter(|hour| !hour.complete).map(|hour| hour.hour_start).collect();
    assert_eq!(open, [judged_at() - TimeDelta::hours(2)]);
    assert!((kept.rows[0].cost_usd - 0.3).abs() < 1e-9);
}

#[tokio::test]
async fn a_call_that_arrives_an_hour_late_is_part_of_its_hour() {
    let mut world = World::default();
    for hour in 1..190 {
        world.spike("steady", judged_at() - TimeDelta::hours(hour), 60, 600, 0.05);
    }
    let scene = world.scene(judged_at());
    scene.detectors.run_once("cost_spike", judged_at(), Persist::Baselines).await.unwrap();
    let (hour, next) = (judged_at() - TimeDelta::hours(2), judged_at() + minutes(15));
    world.spike("steady", hour + minutes(59), 1, 60, 0.7);
    let later = scene.over(world.engine(&scene.clock, &[]));
    later.detectors.run_once("cost_spike", next, Persist::Baselines).await.unwrap();
    let kept = later.ctx.store.baselines.range(&later.ctx.scope, None, hour, next).await.unwrap();
    let row = kept.rows.iter().find(|row| row.hour_start == hour).unwrap();
    assert!((row.cost_usd - 1.0).abs() < 1e-9, "{row:?}");
    assert!(kept.covered.iter().any(|covered| covered.hour_start == hour && covered.complete));
}

#[tokio::test]
async fn editing_one_comparison_in_the_file_changes_the_finding() {
    let mut world = healthy();
    world.spike("write", judged_at() - minutes(40), 40, 60, 0.35);
    let sql = include_str!("../../../../queries/detectors/cost_spike.sql");
    let edited =
        sql.replace("measured.current_cost_usd > $multiplier * measured", "measured.current_cost_usd > 50 * measured");
    assert_ne!(sql, edited);
    let home = Home::new();
    home.write("queries/detectors/cost_spike.sql", &edited);
    let scene = world.scene_in(home, judged_at());
    let found = scene.detectors.run_once("cost_spike", judged_at(), Persist::Nothing).await.unwrap().findings;
    assert!(found.iter().all(|f| f.evidence["ratio"].as_f64() < Some(50.0)));
    assert_ne!(json!(found), json!([only(&world, "cost_spike").await]));
}
