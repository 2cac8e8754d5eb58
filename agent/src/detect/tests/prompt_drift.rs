//! Prompt drift (seed 003).

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::{healthy, judged_at, none, only};
use crate::detect::Persist;
use crate::testing::{World, minutes};

/// A week of good outputs of one feature.
fn good(output: &Value) -> World {
    let mut world = World::default();
    for hour in 1..170 {
        world.generation("reply", judged_at() - TimeDelta::hours(hour), 0.01, output);
    }
    world
}

fn object() -> Value {
    json!({"response": "r", "confidence": 0.9, "category": "billing"})
}

/// Good outputs, then this one as the newest `bad` of `of` outputs.
fn then(output: &Value, bad: i64, of: i64) -> World {
    let mut world = good(&object());
    world.outputs("reply", judged_at() - minutes(3 * of), of - bad, &object());
    world.outputs("reply", judged_at() - minutes(3 * bad), bad, output);
    world
}

#[tokio::test]
async fn outputs_that_lose_their_keys_are_a_schema_break() {
    let finding = only(&then(&json!({"answer": "r", "score": 0.9}), 10, 20), "prompt_drift").await;
    assert_eq!((finding.kind.as_str(), finding.entity.as_str()), ("prompt_drift", "reply"));
    assert_eq!(finding.evidence["drift_type"], "schema_break");
    assert_eq!((&finding.evidence["failed"], &finding.evidence["judged"]), (&json!(10), &json!(20)));
    assert_eq!(finding.evidence["missing_keys"], json!(["category", "confidence", "response"]));
    assert_eq!(finding.evidence["examples"].as_array().unwrap().len(), 5);
    assert_eq!(finding.onset, Some(judged_at() - minutes(30)));
    // Exactly half is medium: high begins above it.
    assert_eq!(finding.severity.as_str(), "medium");
    let more = only(&then(&json!({"answer": "r"}), 11, 20), "prompt_drift").await;
    assert_eq!(more.severity.as_str(), "high");
}

#[tokio::test]
async fn fifteen_of_a_hundred_is_not_above_fifteen_of_a_hundred() {
    none(&then(&json!({"answer": "r"}), 3, 20), "prompt_drift").await;
    only(&then(&json!({"answer": "r"}), 4, 20), "prompt_drift").await;
}

#[tokio::test]
async fn text_blanks_and_other_types_break_a_schema_and_additional_keys_do_not() {
    let breaks = [
        json!("Sure! Here is your answer."),
        json!(""),
        Value::Null,
        json!(["r"]),
        json!({"response": {"text": "r"}, "confidence": 0.9, "category": "billing"}),
        json!({"response": "r", "confidence": "high", "category": "billing"}),
        json!({"response": null, "confidence": 0.9, "category": "billing"}),
    ];
    for output in breaks {
        let finding = only(&then(&output, 10, 20), "prompt_drift").await;
        assert_eq!(finding.evidence["failed"], 10, "{output}");
    }
    let keeps = [
        json!({"response": "r", "confidence": 1, "category": "billing"}),
        json!({"response": "r", "confidence": 0.9, "category": "billing", "new": [1]}),
    ];
    for output in keeps {
        none(&then(&output, 10, 20), "prompt_drift").await;
    }
}

#[tokio::test]
async fn a_key_that_was_optional_may_stay_away() {
    let mut world = good(&object());
    for hour in 1..60 {
        let mut with_hint = object();
        with_hint["hint"] = json!("h");
        world.generation("reply", judged_at() - TimeDelta::minutes(60 * hour + 10), 0.01, &with_hint);
    }
    world.outputs("reply", judged_at() - minutes(60), 20, &object());
    none(&world, "prompt_drift").await;
}

#[tokio::test]
async fn a_text_feature_drifts_only_by_being_blank_and_a_mixed_one_never() {
    let mut text = good(&json!("Some words."));
    text.outputs("reply", judged_at() - minutes(60), 20, &object());
    none(&text, "prompt_drift").await;
    text.outputs("reply", judged_at() - minutes(30), 10, &json!("  "));
    only(&text, "prompt_drift").await;

    let mut mixed = good(&json!("Some words."));
    for hour in 1..80 {
        mixed.generation("reply", judged_at() - TimeDelta::minutes(60 * hour + 10), 0.01, &object());
    }
    mixed.outputs("reply", judged_at() - minutes(60), 20, &json!(""));
    none(&mixed, "prompt_drift").await;
}

#[tokio::test]
async fn json_inside_of_strings_and_messages_is_judged_as_json() {
    let wrapped = |object: &Value| json!({"role": "assistant", "content": object.to_string()});
    let mut world = good(&wrapped(&object()));
    world.outputs("reply", judged_at() - minutes(30), 10, &wrapped(&json!({"answer": "r"})));
    assert_eq!(
        only(&world, "prompt_drift").await.evidence["missing_keys"],
        json!(["category", "confidence", "response"])
    );

    let quoted = |object: &Value| Value::from(Value::from(object.to_string()).to_string());
    let mut world = good(&quoted(&object()));
    world.outputs("reply", judged_at() - minutes(30), 10, &quoted(&json!({"answer": "r"})));
    only(&world, "prompt_drift").await;
}

#[tokio::test]
async fn a_feature_without_history_flags_nothing() {
    let mut world = World::default();
    world.outputs("reply", judged_at() - minutes(60), 10, &object());
    world.outputs("reply", judged_at() - minutes(30), 10, &json!("broken"));
    none(&world, "prompt_drift").await;
}

#[tokio::test]
async fn a_broken_prompt_does_not_become_the_contract() {
    let mut world = then(&json!({"answer": "r"}), 10, 20);
    // It stays broken for four days more.
    for hour in 1..96 {
        world.generation("reply", judged_at() + TimeDelta::hours(hour), 0.01, &json!({"answer": "r"}));
    }
    let scene = world.scene(judged_at());
    for day in 0..4 {
        let at = judged_at() + TimeDelta::days(day);
        let judged = scene.detectors.run_once("prompt_drift", at, Persist::Baselines).await.unwrap();
        assert_eq!(judged.findings.len(), 1, "day {day}");
        for finding in judged.findings {
            let policy = tripline_store::IncidentPolicy::default();
            let anomaly = finding.to_anomaly(at);
            scene.ctx.store.incidents.upsert_by_fingerprint(&scene.ctx.scope, anomaly, &policy, at).await.unwrap();
        }
    }
    let versions = scene.ctx.store.schemas.list(&scene.ctx.scope, Some("reply")).await.unwrap();
    assert_eq!(versions.len(), 1);
}

/// A week of scores around `before`, then a day around `after`, several generations in each trace.
fn scored(before: f64, after: f64, generations: i64) -> World {
    let mut world = World::default();
    for hour in 0..192 {
        let at = judged_at() - TimeDelta::hours(hour) - minutes(20);
        let trace = world.next_id("trace");
        for n in 0..generations {
            world.generation_in(&trace, "reply", at + TimeDelta::seconds(n), 0.01, &json!("words"));
        }
        let noise = if hour % 2 == 0 { 0.02 } else { -0.02 };
        world.score(&trace, "helpful", if hour < 24 { after } else { before } + noise, at + minutes(5));
    }
    world
}

#[tokio::test]
async fn an_average_score_that_falls_is_a_regression_and_each_score_counts_once() {
    for generations in [1, 4] {
        let finding = only(&scored(0.9, 0.7, generations), "prompt_drift").await;
        assert_eq!(finding.evidence["drift_type"], "score_regression");
        assert_eq!(finding.evidence["judged"], 24);
        assert!((finding.evidence["delta"].as_f64().unwrap() - 0.2).abs() < 0.01);
        assert_eq!(finding.severity.as_str(), "medium");
    }
    none(&scored(0.9, 0.81, 1), "prompt_drift").await;
    none(&scored(0.7, 0.9, 1), "prompt_drift").await;
}

#[tokio::test]
async fn a_feature_that_drifts_in_both_ways_is_one_finding() {
    let mut world = scored(0.9, 0.6, 1);
    for row in world.rows.get_mut("langfuse.observations").unwrap() {
        let healthy = row["start_time"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap()
            < judged_at() - TimeDelta::hours(12);
        row.insert("output".to_owned(), if healthy { json!(object().to_string()) } else { json!("broken") });
    }
    assert_eq!(only(&world, "prompt_drift").await.evidence["drift_type"], "schema_break");
}

#[tokio::test]
async fn healthy_outputs_are_none() {
    none(&healthy(), "prompt_drift").await;
}
