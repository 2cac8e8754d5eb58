//! The rule of schemas stands in three places: what outputs have in common (`queries/baselines/output_shapes.sql`), what breaks
//! it for the detector (`queries/detectors/prompt_drift.sql`), and for the patrol ([`super::shape`]). These tests hold them together,
//! over outputs made by chance.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};
use tripline_connectors::ContentShape;

use super::*;
use crate::detect::Persist;
use crate::testing::{Scene, World, at, minutes};

const FEATURES: usize = 160;
const HISTORY: usize = 30;
/// What texts at a key may be: one format, or several.
const TEXTS: [&[&str]; 12] = [
    &["uuid"],
    &["date-time"],
    &["date"],
    &["email"],
    &["uri"],
    &["integer"],
    &["number"],
    &["text"],
    &["integer", "number"],
    &["number", "integer", "text"],
    &["date", "date-time"],
    &["integer", "uuid"],
];

fn judged_at() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

/// A text of a format.
fn text(rng: &mut StdRng, format: &str) -> String {
    let n = rng.random_range(1..28);
    match format {
        "uuid" => format!("0af76519-16cd-43dd-8448-eb211c8031{n:02}"),
        "date-time" => format!("2026-11-{n:02}T10:{n:02}:00Z"),
        "date" => format!("2026-02-{n:02}"),
        "email" => format!("a{n}@example.com"),
        "uri" => format!("https://example.com/{n}"),
        "integer" => format!("{n}"),
        "number" => format!("{n}.5"),
        _ => format!("some words, {n}"),
    }
}

/// What a key of a feature holds.
#[derive(Debug, Clone)]
struct Slot {
    kind: &'static str,
    texts: &'static [&'static str],
    /// How often it is there.
    share: f64,
}

fn value(rng: &mut StdRng, kind: &str, format: &str) -> Value {
    match kind {
        "string" => json!(text(rng, format)),
        "number" => {
            if rng.random() {
                json!(7)
            } else {
                json!(7.25)
            }
        }
        "boolean" => json!(rng.random::<bool>()),
        "object" => json!({"a": 1}),
        "array" => json!([1]),
        _ => Value::Null,
    }
}

fn slots(rng: &mut StdRng) -> BTreeMap<String, Slot> {
    let count = rng.random_range(1..5);
    let names = ["due", "price", "ok", "who|am \"I\"", "nested\\", "Zoë"];
    let slot = |rng: &mut StdRng| Slot {
        kind: ["string", "string", "string", "number", "boolean", "object"].choose(rng).unwrap(),
        texts: TEXTS.choose(rng).unwrap(),
        share: *[1.0, 1.0, 0.6].choose(rng).unwrap(),
    };
    (0..count).map(|n| (names[(n + rng.random_range(0..2)) % names.len()].to_owned(), slot(rng))).collect()
}

fn healthy(rng: &mut StdRng, slots: &BTreeMap<String, Slot>) -> Value {
    let mut fields = Map::new();
    for (name, slot) in slots {
        if rng.random::<f64>() < slot.share {
            let format = slot.texts.choose(rng).unwrap();
            fields.insert(name.clone(), value(rng, slot.kind, format));
        } else if rng.random() {
            fields.insert(name.clone(), Value::Null);
        }
    }
    Value::Object(fields)
}

/// One that may break the schema, in any of the ways there are.
fn candidate(rng: &mut StdRng, slots: &BTreeMap<String, Slot>) -> Value {
    match rng.random_range(0..20) {
        0 => return json!(""),
        1 => return json!("Sorry, I cannot."),
        2 => return json!([1, 2]),
        3 => return json!({"role": "assistant", "content": healthy(rng, slots).to_string()}),
        _ => {}
    }
    let Value::Object(mut fields) = healthy(rng, slots) else { return Value::Null };
    for (name, slot) in slots {
        let format = *["uuid", "date-time", "date", "email", "uri", "integer", "number", "text"].choose(rng).unwrap();
        match rng.random_range(0..12) {
            0 => drop(fields.remove(name)),
            1 => drop(fields.insert(name.clone(), Value::Null)),
            2 => {
                let kind = *["string", "number", "boolean", "object", "array"].choose(rng).unwrap();
                fields.insert(name.clone(), value(rng, kind, format));
            }
            3 | 4 => drop(fields.insert(name.clone(), value(rng, slot.kind, format))),
            _ => {}
        }
    }
    if rng.random_range(0..6) == 0 {
        fields.insert("extra".to_owned(), json!(1));
    }
    Value::Object(fields)
}

/// Histories and one candidate each, judged by both; the kept schemas are in the store then.
struct Judged {
    scene: Scene,
    histories: BTreeMap<String, Vec<Value>>,
    candidates: BTreeMap<String, Value>,
    findings: Vec<crate::detect::Finding>,
}

async fn judged(seed: u64) -> Judged {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::default();
    let (mut histories, mut candidates) = (BTreeMap::new(), BTreeMap::new());
    for n in 0..FEATURES {
        let (feature, slots) = (format!("feature {n}"), slots(&mut rng));
        let outputs: Vec<Value> = (0..HISTORY).map(|_| healthy(&mut rng, &slots)).collect();
        for (hour, output) in (30_i64..).zip(&outputs) {
            world.generation(&feature, judged_at() - TimeDelta::hours(hour), 0.01, output);
        }
        let output = candidate(&mut rng, &slots);
        world.generation(&feature, judged_at() - minutes(20), 0.01, &output);
        histories.insert(feature.clone(), outputs);
        candidates.insert(feature, output);
    }
    let scene = world.scene(judged_at());
    // A single output that breaks its schema is enough here.
    let lenient = json!({"drift_fail_rate_threshold": 0, "drift_min_outputs": 1, "drift_min_failures": 1,
        "drift_noise_sigmas": 0});
    scene.ctx.settings.set(crate::settings::Settings::from_json(&lenient.to_string(), "test").unwrap());
    let judgement = scene.detectors.run_once("prompt_drift", judged_at(), Persist::Baselines).await.unwrap();
    assert!(judgement.is_complete(), "{:?}", judgement.gaps);
    Judged { scene, histories, candidates, findings: judgement.findings }
}

#[tokio::test]
async fn the_detector_and_the_patrol_judge_every_output_alike_and_name_the_same_keys() {
    let judged = judged(4).await;
    let sweep = Inspector::new(judged.scene.ctx.clone()).sweep(judged_at()).await.unwrap();
    let by_patrol: BTreeMap<&str, &Validation> =
        sweep.features.iter().filter(|one| one.failed > 0).map(|one| (one.feature.as_str(), one)).collect();
    let by_detector: BTreeSet<&str> = judged.findings.iter().map(|finding| finding.entity.as_str()).collect();
    let told =
        |feature: &str| format!("{feature}: {} after {:?}", judged.candidates[feature], judged.histories[feature][0]);
    for feature in judged.candidates.keys() {
        let (patrol, detector) = (by_patrol.contains_key(feature.as_str()), by_detector.contains(feature.as_str()));
        assert_eq!(detector, patrol, "detector {detector}, patrol {patrol}: {}", told(feature));
    }
    assert!((FEATURES / 5..FEATURES * 9 / 10).contains(&by_detector.len()), "{} tell little", by_detector.len());

    let mut problems: BTreeMap<String, usize> = BTreeMap::new();
    for finding in &judged.findings {
        let mismatch = &by_patrol[finding.entity.as_str()].failures[0].mismatch;
        for broken in finding.evidence["broken_keys"].as_array().unwrap_or_else(|| panic!("{:?}", finding.evidence)) {
            let field = |name: &str| broken[name].as_str().unwrap();
            let (key, problem) = (field("key"), field("problem"));
            let expected = match problem {
                "missing" => key.to_owned(),
                "type" => format!("{key} is {}", field("found")),
                _ => format!("{key} is no {}", field("expected")),
            };
            assert!(mismatch.contains(&expected), "{expected} is not in {mismatch}: {}", told(&finding.entity));
            *problems.entry(problem.to_owned()).or_default() += 1;
        }
        let named = mismatch.contains("keys: [") || mismatch.contains("types: [") || mismatch.contains("formats: [");
        let listed = finding.evidence["broken_keys"].as_array().is_some_and(|keys| !keys.is_empty());
        assert_eq!(listed, named && !mismatch.starts_with("extra"), "{mismatch}: {}", told(&finding.entity));
    }
    assert!(
        ["missing", "type", "format"].iter().all(|problem| problems.get(*problem).is_some_and(|n| *n > 3)),
        "{problems:?}"
    );
}

#[tokio::test]
async fn what_a_schema_is_made_of_keeps_it_and_its_formats_are_those_that_all_texts_had() {
    let judged = judged(9).await;
    let kept = Inspector::new(judged.scene.ctx.clone()).kept(None).await.unwrap();
    assert_eq!(kept.len(), FEATURES);
    let mut with_format = 0;
    for (feature, outputs) in &judged.histories {
        let shape = &kept[feature].shape;
        let shapes: Vec<ContentShape> = outputs.iter().map(|output| ContentShape::of(&output.to_string())).collect();
        for (output, seen) in outputs.iter().zip(&shapes) {
            assert_eq!(shape.judge(seen), Ok(()), "{feature}: {output} breaks {shape:?}");
        }
        for (name, key) in &shape.keys {
            let found: Vec<&str> = shapes.iter().filter_map(|seen| Some(&**seen.formats.get(name)?)).collect();
            let names: BTreeSet<&str> = found.iter().copied().collect();
            let names: Vec<&str> = names.into_iter().collect();
            let common = match names.as_slice() {
                _ if found.len() < 20 => None,
                ["text"] | [] => None,
                [one] => Some(*one),
                ["integer", "number"] => Some("number"),
                _ => None,
            };
            assert_eq!(key.format.as_deref(), common, "{feature}.{name}: {found:?}");
            with_format += usize::from(common.is_some());
        }
    }
    assert!(with_format > FEATURES / 4, "{with_format} tell little");
}
