//! Silent tool failures (seed 003).

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{healthy, judged_at, none, only};
use crate::testing::{World, minutes};

fn rows() -> Value {
    json!({"rows": [{"id": 1, "title": "a title of some length"}, {"id": 2, "title": "another title of some length"}]})
}

/// A week of good calls, then these as the newest.
fn then(output: &Value, calls: i64) -> World {
    let mut world = World::default();
    for half in 24..336 {
        let trace = world.next_id("trace");
        world.tool(&trace, "search", judged_at() - minutes(30 * half), &rows());
    }
    world.tool_calls("search", judged_at() - minutes(4 * 40), 40 - calls, &rows());
    world.tool_calls("search", judged_at() - minutes(4 * calls), calls, output);
    world
}

#[tokio::test]
async fn a_json_tool_that_returns_text_or_nothing_fails() {
    for output in [
        json!("Service temporarily unavailable, please retry in a few minutes and report"),
        json!(""),
        Value::Null,
        json!("null"),
    ] {
        let finding = only(&then(&output, 5), "silent_tool_failure").await;
        assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("silent_tool_failure", "search"));
        assert_eq!(finding.severity.as_str(), "high");
        assert!(finding.evidence["strategies"].as_array().unwrap().contains(&json!("schema_failure")), "{output}");
        assert_eq!((&finding.evidence["failed"], &finding.evidence["judged"]), (&json!(5), &json!(20)));
        assert_eq!(finding.onset, Some(judged_at() - minutes(20)));
    }
}

#[tokio::test]
async fn outputs_that_shrink_are_an_anomaly() {
    let finding = only(&then(&json!({"rows": []}), 8), "silent_tool_failure").await;
    assert_eq!(finding.evidence["strategies"], json!(["output_anomaly"]));
    assert_eq!(finding.onset, Some(judged_at() - minutes(32)));
}

#[tokio::test]
async fn three_of_the_newest_five_are_a_failure_and_three_among_twenty_are_none() {
    none(&then(&json!("text"), 2), "silent_tool_failure").await;
    let finding = only(&then(&json!("text"), 3), "silent_tool_failure").await;
    assert_eq!((&finding.evidence["failed"], &finding.evidence["judged"]), (&json!(3), &json!(20)));
    let mut healed = then(&json!("text"), 3);
    for second in 1..6 {
        healed.tool("later", "search", judged_at() - TimeDelta::seconds(10 * second), &rows());
    }
    none(&healed, "silent_tool_failure").await;
    only(&then(&json!("text"), 4), "silent_tool_failure").await;
}

#[tokio::test]
async fn old_text_of_a_tool_that_returns_json_now_is_none() {
    let mut world = then(&rows(), 20);
    for half in 300..336 {
        let trace = world.next_id("trace");
        world.tool(&trace, "search", judged_at() - minutes(30 * half + 3), &json!("text"));
    }
    none(&world, "silent_tool_failure").await;
}

#[tokio::test]
async fn calls_that_fail_aloud_are_not_silent() {
    let mut world = then(&json!("boom"), 5);
    for row in world.rows.get_mut("langfuse.observations").unwrap().iter_mut().filter(|row| row["output"] == "boom") {
        row.insert("level".to_owned(), json!("ERROR"));
    }
    none(&world, "silent_tool_failure").await;
}

#[tokio::test]
async fn a_tool_that_is_short_now_and_then_is_measured_against_itself() {
    let mut world = World::default();
    for half in 0..336 {
        let trace = world.next_id("trace");
        let output = if half % 5 == 0 { json!({"rows": []}) } else { rows() };
        world.tool(&trace, "search", judged_at() - minutes(30 * half + 5), &output);
    }
    none(&world, "silent_tool_failure").await;
}

/// Good outputs, and errors that follow calls by half a minute, each with its trace.
fn with_errors(title: &str, every: i64, tagged: bool) -> World {
    let mut world = then(&rows(), 20);
    let calls: Vec<(String, chrono::DateTime<chrono::Utc>)> = world.rows["langfuse.observations"]
        .iter()
        .filter(|row| row["name"] == "search")
        .map(|row| (row["trace_id"].as_str().unwrap().to_owned(), row["start_time"].as_str().unwrap().parse().unwrap()))
        .filter(|(_, at)| *at > judged_at() - minutes(60))
        .collect();
    let id = world.issue(title, "app/parse in load", &[], &json!([]));
    let mut times = Vec::new();
    for (trace, at) in calls.iter().step_by(usize::try_from(every).unwrap()) {
        let event = world.next_id("event");
        let at = *at + TimeDelta::seconds(30);
        times.push(at);
        let tags = if tagged { json!([{"key": "trace_id", "value": trace}]) } else { json!([]) };
        world.push(
            "sentry.issue_events",
            json!({"issue_id": id, "event_id": event, "timestamp": at, "title": title, "tags": tags.to_string()}),
        );
    }
    for row in world.rows.get_mut("sentry.issues").unwrap().iter_mut().filter(|row| row["id"] == id.as_str()) {
        row.insert("count".to_owned(), json!(times.len()));
        row.insert("first_seen".to_owned(), json!(times.iter().min()));
        row.insert("last_seen".to_owned(), json!(times.iter().max()));
    }
    world
}

#[tokio::test]
async fn an_issue_whose_events_carry_the_calls_traces_is_correlated() {
    let finding = only(&with_errors("JSONDecodeError", 4, true), "silent_tool_failure").await;
    assert_eq!(finding.evidence["strategies"], json!(["sentry_correlation"]));
    assert_eq!(finding.evidence["sentry_issue_title"], "JSONDecodeError");
}

#[tokio::test]
async fn an_issue_that_names_the_tool_is_correlated() {
    let finding = only(&with_errors("ValueError in search: bad value", 4, false), "silent_tool_failure").await;
    assert_eq!(finding.evidence["strategies"], json!(["sentry_correlation"]));
}

#[tokio::test]
async fn errors_beside_a_busy_tool_are_coincidence() {
    // The tool is called every four minutes: any error at all follows a call.
    none(&with_errors("JSONDecodeError", 1, false), "silent_tool_failure").await;
}

#[tokio::test]
async fn errors_that_always_follow_a_rare_call_are_no_coincidence() {
    let mut world = World::default();
    for n in 0..60 {
        let trace = world.next_id("trace");
        world.tool(&trace, "export", judged_at() - TimeDelta::minutes(160 * n + 30), &rows());
    }
    let mut times = Vec::new();
    for n in 0..6 {
        let (trace, at) = (world.next_id("trace"), judged_at() - minutes(45 * n + 20));
        world.tool(&trace, "export", at, &rows());
        times.push(at + minutes(1));
    }
    world.issue("JSONDecodeError", "x", &times, &json!([]));
    assert_eq!(only(&world, "silent_tool_failure").await.entity, "export");
}

#[tokio::test]
async fn healthy_tools_are_none() {
    none(&healthy(), "silent_tool_failure").await;
}
