//! What judging outputs promises.

use serde_json::{Value, json};
use tripline_store::{NewSchemaSnapshot, Window};

use super::*;
use crate::testing::{Scene, World, at, minutes};

fn now() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

fn schema() -> Value {
    json!({"kind": "object", "fail_share": 0.0, "keys": {
        "response": {"required": true, "types": ["string"]},
        "confidence": {"required": true, "types": ["number"]},
        "note": {"required": false, "types": ["string"]},
        "due": {"required": false, "types": ["string"], "format": "date"},
        "price": {"required": false, "types": ["string"], "format": "number"},
    }})
}

async fn keep(scene: &Scene, feature: &str, schema: Value) {
    let window = Window::new(now() - TimeDelta::days(8), now() - TimeDelta::days(1)).unwrap();
    let new = NewSchemaSnapshot { feature: feature.to_owned(), schema, sample_count: 50, window };
    scene.ctx.store.schemas.put(&scene.ctx.scope, new, now()).await.unwrap();
}

fn world() -> World {
    let mut world = World::default();
    for n in 0..10 {
        world.generation("support-bot", now() - minutes(60 - n), 0.01, &json!({"response": "a", "confidence": 0.9}));
    }
    for n in 0..30 {
        world.generation("support-bot", now() - minutes(40 - n), 0.01, &json!({"answer": "a", "score": 1}));
    }
    world.generation("other", now() - minutes(5), 0.01, &json!("free text"));
    world
}

#[test]
fn an_output_is_judged_by_kind_required_keys_and_types() {
    let shape: Shape = serde_json::from_value(schema()).unwrap();
    let judge = |text: &str| shape.judge(&ContentShape::of(text));
    for good in [
        r#"{"response": "a", "confidence": 1}"#,
        r#"{"response": "a", "confidence": 1, "due": "2026-11-20", "price": "3.50"}"#,
        r#"{"response": "a", "confidence": 1, "due": null, "price": "3"}"#,
        r#"{"response": "a", "confidence": 0.5, "more": true, "note": null}"#,
        r#""{\"response\": \"a\", \"confidence\": 1}""#,
        r#"{"role": "assistant", "content": "{\"response\": \"a\", \"confidence\": 1}"}"#,
    ] {
        assert_eq!(judge(good), Ok(()), "{good}");
    }
    for (bad, why) in [
        ("", "blank"),
        ("Sorry, I cannot.", "not valid JSON"),
        ("[1]", "structure mismatch: array instead of object"),
        (r#"{"answer": "a", "score": 1}"#, "missing keys: [confidence, response]; extra keys: [answer, score]"),
        (r#"{"response": null, "confidence": 1}"#, "missing keys: [response]"),
        (r#"{"response": 7, "confidence": 1}"#, "other types: [response is number]"),
        (r#"{"response": "a", "confidence": 1, "due": "next week"}"#, "other formats: [due is no date]"),
        (
            r#"{"answer": "a", "confidence": 1, "due": "", "price": "2026-11-20"}"#,
            "missing keys: [response]; other formats: [due is no date, price is no number]; extra keys: [answer]",
        ),
    ] {
        assert_eq!(judge(bad).unwrap_err(), why, "{bad}");
    }
    // A shape that was made before formats tells none, and is not judged by them.
    let mut old = ContentShape::of(r#"{"response": "a", "confidence": 1, "due": "next week"}"#);
    old.formats.clear();
    assert_eq!(shape.judge(&old), Ok(()));
    let text = Shape { kind: "text".to_owned(), keys: BTreeMap::new() };
    assert!(text.judge(&ContentShape::of("anything")).is_ok() && text.judge(&ContentShape::of(" ")).is_err());
    let mixed = Shape { kind: "mixed".to_owned(), keys: BTreeMap::new() };
    assert!(mixed.judge(&ContentShape::blank()).is_ok());
}

#[tokio::test]
async fn every_output_of_the_day_is_judged_and_not_only_the_newest() {
    let scene = world().scene(now());
    keep(&scene, "support-bot", schema()).await;
    let sweep = Inspector::new(scene.ctx.clone()).sweep(now()).await.unwrap();
    let of = |name: &str| sweep.features.iter().find(|one| one.feature == name).unwrap();
    let drifted = of("support-bot");
    assert_eq!((drifted.total, drifted.passed, drifted.failed, drifted.fail_rate), (40, 10, 30, 0.75));
    assert_eq!((drifted.failures.len(), drifted.first_failed_at), (10, Some(now() - minutes(40))));
    assert!(drifted.failures[0].start_time > drifted.failures[9].start_time);
    let unjudged = of("other");
    assert_eq!((unjudged.schema_version, unjudged.total, unjudged.failed), (None, 1, 0));
    assert_eq!(sweep.gaps, []);
}

#[tokio::test]
async fn a_feature_is_judged_by_name_and_one_without_outputs_is_none() {
    let scene = world().scene(now());
    keep(&scene, "support-bot", schema()).await;
    let inspector = Inspector::new(scene.ctx.clone());
    let found = inspector.feature("support-bot").await.unwrap().unwrap();
    assert_eq!((found.total, found.failed, found.schema_version), (40, 30, Some(1)));
    assert!(found.failures.iter().all(|one| one.mismatch.starts_with("missing keys: [confidence, response]")));
    assert_eq!(inspector.feature("' OR 1=1 --").await.unwrap(), None);
}

#[tokio::test]
async fn a_source_that_is_down_is_unknown_and_never_all_passed() {
    let world = world();
    let scene = world.scene(now());
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let inspector = Inspector::new(down.ctx.clone());
    let sweep = inspector.sweep(now()).await.unwrap();
    assert_eq!((sweep.features.len(), sweep.gaps[0].source.as_str()), (0, "langfuse"));
    assert!(matches!(inspector.feature("support-bot").await, Err(QualityError::Unknown { .. })));
}
