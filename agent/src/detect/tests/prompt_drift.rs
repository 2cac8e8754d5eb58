//! Prompt drift (seed 003).

use chrono::TimeDelta;
use serde_json::{Value, json};
use tripline_connectors::ContentShape;

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

/// A week of replies that are due at times, with a note that is now a date and now a word; then ten that are due `due`.
fn due(due: &str, note: &str) -> World {
    let with = |due: &str, note: &str| json!({"response": "r", "due": due, "note": note});
    let mut world = World::default();
    for hour in 1..170 {
        let note = if hour % 2 == 0 { "2026-11-20" } else { "soon" };
        let before = judged_at() - TimeDelta::hours(hour);
        world.generation("reply", before, 0.01, &with("2026-11-20T12:00:00Z", note));
    }
    world.outputs("reply", judged_at() - minutes(30), 10, &with(due, note));
    world
}

/// The rows from a time on, as a copy tells them that was made before shapes had formats.
fn without_formats(mut world: World, from: TimeDelta) -> World {
    for row in world.rows.get_mut("langfuse.observations").unwrap() {
        let start = row["start_time"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        if start >= judged_at() - from {
            let mut shape = ContentShape::of(row["output"].as_str().unwrap());
            shape.formats.clear();
            row.insert("output".to_owned(), Value::Null);
            row.insert("output_shape".to_owned(), Value::from(shape.to_json()));
        }
    }
    world
}

#[tokio::test]
async fn a_text_that_loses_the_format_it_always_had_breaks_the_schema() {
    let finding = only(&due("next Friday", "soon"), "prompt_drift").await;
    assert_eq!((&finding.evidence["failed"], &finding.evidence["judged"]), (&json!(10), &json!(20)));
    assert_eq!(finding.evidence["missing_keys"], json!([]));
    // Which key, and how: never what it says.
    assert_eq!(
        finding.evidence["broken_keys"],
        json!([{"key": "due", "problem": "format", "expected": "date-time", "found": "text", "outputs": 10}])
    );
    assert_eq!(only(&due("1764244800", "soon"), "prompt_drift").await.entity, "reply");
    none(&due("2027-01-01T00:00:00+01:00", "whenever"), "prompt_drift").await;
}

#[tokio::test]
async fn a_format_that_few_texts_agreed_on_is_none() {
    let mut world = World::default();
    for hour in 1..170 {
        let due = if hour % 10 == 0 { json!("2026-11-20") } else { Value::Null };
        let output = json!({"response": "r", "due": due});
        world.generation("reply", judged_at() - TimeDelta::hours(hour), 0.01, &output);
    }
    world.outputs("reply", judged_at() - minutes(30), 10, &json!({"response": "r", "due": "soon"}));
    none(&world, "prompt_drift").await;
}

#[tokio::test]
async fn numbers_in_texts_may_be_whole_or_not() {
    let priced = |price: &str| json!({"response": "r", "price": price});
    let judge = |price: &str| {
        let mut world = World::default();
        for hour in 1..170 {
            let before = if hour % 3 == 0 { "4" } else { "3.50" };
            world.generation("reply", judged_at() - TimeDelta::hours(hour), 0.01, &priced(before));
        }
        world.outputs("reply", judged_at() - minutes(30), 10, &priced(price));
        world
    };
    none(&judge("12"), "prompt_drift").await;
    none(&judge("0.99"), "prompt_drift").await;
    assert_eq!(only(&judge("3.50 EUR"), "prompt_drift").await.evidence["failed"], 10);
}

#[tokio::test]
async fn a_copy_whose_shapes_tell_no_formats_is_no_evidence() {
    // Neither of what was healthy, nor of what is judged.
    none(&without_formats(due("next Friday", "soon"), TimeDelta::days(30)), "prompt_drift").await;
    none(&without_formats(due("next Friday", "soon"), TimeDelta::hours(24)), "prompt_drift").await;
    let healthy_only = without_formats(good(&json!({"due": "2026-11-20"})), TimeDelta::days(30));
    let mut then_told = healthy_only;
    then_told.outputs("reply", judged_at() - minutes(30), 10, &json!({"due": "soon"}));
    none(&then_told, "prompt_drift").await;
}

#[tokio::test]
async fn the_format_of_a_key_is_kept_in_its_schema() {
    let scene = due("2026-11-21T12:00:00Z", "soon").scene(judged_at());
    scene.detectors.run_once("prompt_drift", judged_at(), Persist::Baselines).await.unwrap();
    let versions = scene.ctx.store.schemas.list(&scene.ctx.scope, Some("reply")).await.unwrap();
    let keys = &versions[0].snapshot.schema["keys"];
    assert_eq!(keys["due"], json!({"required": true, "types": ["string"], "format": "date-time"}));
    assert_eq!(keys["note"], json!({"required": true, "types": ["string"]}));
}
