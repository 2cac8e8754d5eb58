//! Error cascades (seed 003).

use chrono::TimeDelta;
use serde_json::json;

use super::{healthy, judged_at, none, only};
use crate::testing::{World, minutes};

fn cascade() -> World {
    let mut world = healthy();
    world.cascade("assist", "RateLimitError", judged_at() - minutes(30), 30, 0.11);
    world
}

#[tokio::test]
async fn errors_that_rise_with_the_generations_of_a_feature_are_a_cascade() {
    let finding = only(&cascade(), "error_cascade").await;
    assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("error_cascade", "assist"));
    assert_eq!(finding.evidence["errors"], 60);
    assert_eq!(finding.onset, Some(judged_at() - minutes(30)));
    let cost = finding.cost_usd.unwrap();
    assert!(cost > 60.0 * 0.11 * 0.95 && cost < 12.0, "{cost}");
    assert!((finding.evidence["errors_times_cost"].as_f64().unwrap() - 60.0 * cost).abs() < 1e-6);
    assert_eq!(finding.severity.as_str(), "critical");
}

#[tokio::test]
async fn errors_without_more_generations_and_generations_without_errors_are_none() {
    let mut errors = healthy();
    let times: Vec<_> = (0..60).map(|n| judged_at() - minutes(30) + TimeDelta::seconds(30 * n)).collect();
    errors.issue("Loud", "x", &times, &json!([]));
    none(&errors, "error_cascade").await;

    let mut calls = healthy();
    calls.rows.remove("sentry.issues");
    calls.spike("assist", judged_at() - minutes(30), 30, 30, 0.11);
    none(&calls, "error_cascade").await;
}

#[tokio::test]
async fn several_issues_over_the_same_generations_do_not_multiply_their_cost() {
    let one = only(&cascade(), "error_cascade").await;
    let mut world = cascade();
    for copy in 0..3 {
        let times: Vec<_> = (0..10).map(|n| judged_at() - minutes(30) + minutes(3 * n)).collect();
        world.issue(&format!("Again {copy}"), "x", &times, &json!([]));
    }
    let several = only(&world, "error_cascade").await;
    assert_eq!(several.evidence["errors"], 90);
    assert!((several.cost_usd.unwrap() - one.cost_usd.unwrap()).abs() < 0.5, "{several:?}");
    assert_eq!(several.evidence["issues"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn an_old_issue_counts_its_events_of_the_window_and_not_its_whole_life() {
    let mut world = healthy();
    world.spike("assist", judged_at() - minutes(30), 30, 30, 0.11);
    // Thousands of events in its life, four of them in the window: no more than always.
    let times: Vec<_> = (0..4).map(|n| judged_at() - minutes(40) + minutes(10 * n)).collect();
    let id = world.issue("Old", "x", &times, &json!([]));
    for row in world.rows.get_mut("sentry.issues").unwrap().iter_mut().filter(|row| row["id"] == id.as_str()) {
        row.insert("count".to_owned(), json!(5_000));
        row.insert("first_seen".to_owned(), json!(judged_at() - TimeDelta::days(40)));
    }
    none(&world, "error_cascade").await;
}

#[tokio::test]
async fn the_lifetime_count_serves_for_an_issue_whose_events_cannot_be_listed() {
    let mut world = cascade();
    world.rows.remove("sentry.issue_events");
    let finding = only(&world, "error_cascade").await;
    assert_eq!((finding.entity.as_str(), &finding.evidence["errors"]), ("assist", &json!(60)));
}

#[tokio::test]
async fn cheap_cascades_are_none() {
    let mut world = healthy();
    world.cascade("answer", "RateLimitError", judged_at() - minutes(30), 30, 0.0001);
    none(&world, "error_cascade").await;
}
