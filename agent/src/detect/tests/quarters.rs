//! What is found within an hour, and what an hour is compared with.

use chrono::TimeDelta;
use serde_json::json;

use super::{healthy, judge, judged_at, only};
use crate::testing::{World, at, minutes};

#[tokio::test]
async fn dearer_calls_of_ten_minutes_are_a_spike_of_price_and_not_of_volume() {
    let mut world = World::default();
    for hour in 1..190 {
        world.spike("steady", judged_at() - TimeDelta::hours(hour), 60, 300, 0.05);
    }
    for row in world.rows.get_mut("langfuse.observations").unwrap() {
        let started: chrono::DateTime<chrono::Utc> = row["start_time"].as_str().unwrap().parse().unwrap();
        if started >= judged_at() - minutes(16) {
            row.insert("total_cost".to_owned(), json!(0.6));
        }
    }
    let finding = only(&world, "cost_spike").await;
    let number = |column: &str| finding.evidence[column].as_f64().unwrap();
    assert!(number("price_ratio") > 2.0 && number("volume_ratio") < 1.5, "{finding:?}");
    assert!((finding.onset.unwrap() - (judged_at() - minutes(15))).abs() < minutes(2), "{finding:?}");
}

#[tokio::test]
async fn a_rise_of_seven_minutes_is_found_at_the_first_look() {
    let mut world = World::default();
    for hour in 1..190 {
        world.spike("steady", judged_at() - TimeDelta::hours(hour), 60, 60, 0.05);
    }
    world.spike("steady", judged_at() - minutes(7), 7, 12, 0.05);
    let finding = only(&world, "cost_spike").await;
    assert_eq!(finding.evidence["minutes"], 15);
    assert!(finding.evidence["current_cost_usd"].as_f64().unwrap() < 3.0, "less than a usual hour: {finding:?}");
}

#[tokio::test]
async fn a_feature_that_bursts_in_every_hour_is_none_in_the_quarter_of_its_burst() {
    let mut world = World::default();
    for hour in 1..190 {
        world.spike("bursts", judged_at() - TimeDelta::hours(hour) + minutes(50), 10, 12, 0.05);
    }
    for quarter in 0..4 {
        assert_eq!(judge(&world, "cost_spike", judged_at() - minutes(15 * quarter)).await.len(), 0, "{quarter}");
    }
}

#[tokio::test]
async fn a_quiet_night_is_compared_with_nights() {
    let night = at("2026-11-20T04:00:00Z");
    let mut world = World::default();
    for hour in 1..200 {
        let from = night - TimeDelta::hours(hour);
        let by_night = (from.time() < chrono::NaiveTime::MIN + TimeDelta::hours(6)) || hour > 198;
        world.spike("seasonal", from, 60, if by_night { 1800 } else { 180 }, 0.05);
    }
    assert_eq!(judge(&world, "cost_spike", night).await.len(), 0);
    // As much as an hour of the day, and ten times an hour of the night.
    world.spike("seasonal", night - minutes(40), 40, 120, 0.05);
    assert_eq!(judge(&world, "cost_spike", night).await.len(), 1);
}

#[tokio::test]
async fn a_cascade_of_a_cheap_feature_is_measured_by_its_own_hour() {
    let mut world = healthy();
    world.cascade("answer", "RateLimitError", judged_at() - minutes(30), 30, 0.012);
    let finding = only(&world, "error_cascade").await;
    assert_eq!(finding.entity, "answer");
    assert!(finding.cost_usd.unwrap() < 1.0, "{finding:?}");
}

#[tokio::test]
async fn a_burst_belongs_to_the_feature_that_rises_with_it_and_not_to_one_that_was_busy_before() {
    let mut world = healthy();
    world.spike("write", judged_at() - minutes(60), 60, 30, 0.09);
    world.cascade("assist", "RateLimitError", judged_at() - minutes(30), 30, 0.11);
    assert_eq!(only(&world, "error_cascade").await.entity, "assist");
}

#[tokio::test]
async fn scores_that_fell_within_the_hour_are_found_though_the_day_was_good() {
    let mut world = World::default();
    for hour in 0..192 {
        let at = judged_at() - TimeDelta::hours(hour + 1) - minutes(20);
        let trace = world.generation("reply", at, 0.01, &json!("words"));
        let noise = if hour % 2 == 0 { 0.02 } else { -0.02 };
        world.score(&trace, "helpful", 0.9 + noise, at + minutes(1));
    }
    for n in 0..10 {
        let at = judged_at() - minutes(50) + minutes(4 * n);
        let trace = world.generation("reply", at, 0.01, &json!("words"));
        world.score(&trace, "helpful", 0.6, at + minutes(1));
    }
    let finding = only(&world, "prompt_drift").await;
    assert_eq!(
        (&finding.evidence["drift_type"], &finding.evidence["judged"]),
        (&json!("score_regression"), &json!(20))
    );
    assert_eq!(finding.onset, Some(judged_at() - minutes(50)));
}
