//! Ordinary days: traffic with a daily rhythm, and a batch job at night.
//!
//! Must hold: counts follow the rhythm closely (no Poisson noise), so that no healthy hour of any
//! feature reaches twice its weekly mean.

use rand::Rng;
use rand::rngs::SmallRng;

use super::company::{self, Feature};
use super::effects::FeatureChange;
use super::emit::{Generation, Request, Span, request};
use super::plan::{LENGTH, Plan};
use super::random::{self, around, hex, pick};
use crate::item::quote;
use crate::time::{DAY, HOUR, MINUTE, Micros, SECOND};

const SLOT: Micros = 15 * MINUTE;
/// Local time at the end of the history: its last ten hours are a working day.
const LOCAL_HOUR_AT_ANCHOR: i64 = 17;
const BATCH_HOURS: [i64; 2] = [2, 3];

/// The local hour of a time.
pub(crate) fn local_hour(plan: &Plan, at: Micros) -> i64 {
    let back = (plan.anchor - at + HOUR - 1).div_euclid(HOUR);
    (LOCAL_HOUR_AT_ANCHOR - back).rem_euclid(24)
}

/// Whether a time is at the weekend: the fourth and fifth day before the last.
pub(crate) fn is_weekend(plan: &Plan, at: Micros) -> bool {
    let midnight = plan.anchor - LOCAL_HOUR_AT_ANCHOR * HOUR;
    let days_back = (midnight - at + DAY - 1).div_euclid(DAY);
    matches!(days_back, 4 | 5)
}

/// How busy a time is, about 1 on average.
fn season(plan: &Plan, at: Micros) -> f64 {
    let of_day = match local_hour(plan, at) {
        0..=4 => 0.72,
        5..=6 => 0.85,
        7..=8 => 0.95,
        9..=11 => 1.15,
        12..=13 => 1.08,
        14..=17 => 1.18,
        18..=21 => 1.1,
        _ => 0.9,
    };
    if is_weekend(plan, at) { of_day * 0.88 } else { of_day }
}

/// Requests of a feature per hour at a time.
fn rate(plan: &Plan, feature: &Feature, at: Micros) -> f64 {
    if let Some(FeatureChange::Retried { requests, .. }) = plan.effects.of(feature.name, at) {
        return requests;
    }
    // The nightly batch digests the day's reviews.
    if feature.name == company::DIGEST && BATCH_HOURS.contains(&local_hour(plan, at)) {
        return feature.requests * 1.8;
    }
    feature.requests * season(plan, at)
}

/// Writes nine days of traffic.
pub(crate) fn plan(plan: &mut Plan) {
    for feature in &company::FEATURES {
        let mut due = 0.5;
        for slot in 0..LENGTH / SLOT {
            let from = plan.start() + slot * SLOT;
            let mut rng = random::part(plan.seed, &format!("{} {slot}", feature.name));
            due += rate(plan, feature, from) * (SLOT as f64 / HOUR as f64) * around(&mut rng, 1.0, 0.08);
            let count = due.floor();
            due -= count;
            let count = count as usize;
            for index in 0..count {
                let share = (index as f64 + rng.random_range(0.15..0.85)) / count as f64;
                let at = from + (share * SLOT as f64) as Micros;
                // Whole milliseconds: Langfuse's precision.
                one(plan, feature, at - at.rem_euclid(1000), &mut rng);
            }
        }
    }
}

/// One request of a feature, with its tools and generations.
pub(crate) fn one(plan: &mut Plan, feature: &'static Feature, at: Micros, rng: &mut SmallRng) {
    let change = plan.effects.of(feature.name, at);
    let mut clock = at + 20_000;
    let mut spans = Vec::new();
    for (tool, chance) in feature.tools {
        let used = rng.random_bool(*chance);
        let output = tool.output(rng);
        let input = tool.input(rng);
        let length = rng.random_range(80..420) * 1000;
        if !used || !plan.effects.runs(*tool, clock) {
            continue;
        }
        let output = if plan.effects.is_broken(*tool, clock) { broken_output(&hex(rng, 1)) } else { output };
        spans.push(Span { id: hex(rng, 16), name: tool.name(), start: clock, end: clock + length, input, output });
        clock += length + 30_000;
    }
    let count = match change {
        Some(FeatureChange::Retried { generations, .. }) => generations,
        _ => feature.generations,
    };
    let mut generations = Vec::new();
    for _ in 0..count {
        let (input_tokens, mut output_tokens) = feature.tokens(rng);
        let mut output = feature.output(rng);
        let mut max_tokens = feature.max_tokens;
        let mut prompt = feature.prompt;
        match change {
            Some(FeatureChange::Longer { factor, max_tokens: raised }) => {
                output_tokens = (output_tokens as f64 * factor) as u64;
                max_tokens = raised;
                let product = pick(rng, &company::PRODUCTS).unwrap_or(&"Lamp");
                output = quote(&company::copy(rng, product, 24));
            }
            Some(FeatureChange::Reshaped { prompt_version }) => {
                prompt = prompt.map(|(name, _)| (name, prompt_version));
                output = format!(r#"{{"answer":"We will look into it.","score":{:.2}}}"#, rng.random_range(0.5..0.99));
            }
            Some(FeatureChange::Retried { .. }) | None => {}
        }
        let length = (output_tokens as f64 / around(rng, 75.0, 0.2) * SECOND as f64) as Micros + 400_000;
        let length = length - length.rem_euclid(1000);
        let warned = rng.random_bool(1.0 / 70.0);
        generations.push(Generation {
            id: hex(rng, 16),
            start: clock,
            end: clock + length,
            input: feature.input(rng),
            output,
            input_tokens,
            output_tokens,
            max_tokens,
            prompt,
            warning: warned.then_some("provider answered 503 once; second attempt succeeded"),
        });
        clock += length + rng.random_range(50..400) * 1000;
    }
    // A reshaped answer cannot be scored by an evaluator that expects the old keys.
    let scored = rng.random_bool(0.16) && !matches!(change, Some(FeatureChange::Reshaped { .. }));
    let score = scored.then(|| around(rng, 0.86, 0.06));
    let user = rng.random_range(0..48);
    let trace_id = hex(rng, 32);
    request(plan, &Request { feature, trace_id, at, user, spans, generations, score, noted: rng.random_bool(0.05) });
}

/// What a tool that fails silently returns: hardly anything, and never an error.
fn broken_output(chance: &str) -> String {
    match chance {
        "0" | "1" | "2" | "3" => r#""""#.to_owned(),
        "4" | "5" => r#""[]""#.to_owned(),
        _ => r#""no data.""#.to_owned(),
    }
}
