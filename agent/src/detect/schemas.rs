//! What the outputs of each feature look like: schemas kept in the store, version by version.
//!
//! Owns: when schemas are captured, and the two tables detectors see: `input.<name>` (feature, kind, outputs, fail_share) and
//! `input.<name>_keys` (feature, key, required, kinds, format). Must hold: what is captured comes from before the window and not
//! from a time when the feature was drifting (D7: a broken prompt must not become the contract); only of a feature that
//! has no history the older outputs of the window stand in, never those that are judged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tripline_engine::{InputTable, Param, json_rows};
use tripline_store::{IncidentFilter, NewSchemaSnapshot, PageRequest, Window};

use super::inputs::{Loaded, Loader};
use super::{DetectError, Failure, Persist};
use crate::queries::BaselineSpec;

/// Schemas are captured anew after this long.
const CAPTURE_EVERY: TimeDelta = TimeDelta::hours(24);

/// The newest outputs of a feature, which are judged (queries/detectors/prompt_drift.sql).
const JUDGED: i64 = 20;

/// A feature's schema as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    /// `object`, `array`, `text` or `mixed`.
    kind: String,
    /// The share of healthy outputs that break it all the same.
    fail_share: f64,
    /// The keys of an object.
    #[serde(default)]
    keys: BTreeMap<String, Key>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Key {
    required: bool,
    /// JSON types seen there, sorted.
    types: BTreeSet<String>,
    /// The format that all texts there had, where they agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
}

#[derive(Debug, Clone)]
struct Sampled {
    shape: Shape,
    outputs: i64,
}

type Shapes = BTreeMap<String, Sampled>;

/// Loads the schemas that a window is judged by.
pub(super) async fn load(loader: &Loader<'_>, spec: &BaselineSpec, length: TimeDelta) -> Result<Loaded, Failure> {
    let ctx = loader.ctx;
    let mut shapes = kept(loader, spec).await?;
    let mut loaded = Loaded::default();
    let captures = format!("schemas:{}", spec.name);
    let captured = ctx.store.jobs.watermark(&ctx.scope, &captures).await?;
    let due = match loader.persist {
        // By hand, whatever the store lacks is derived.
        Persist::Nothing => true,
        Persist::CostHours => captured.is_none(),
        Persist::Baselines => captured.is_none_or(|at| loader.window.start - at >= CAPTURE_EVERY),
    };
    if due {
        let window = Window { start: loader.healthy_until - length, end: loader.healthy_until };
        let (fetched, complete) = loader.fetch(spec, window.start, window.end, &[]).await?;
        loaded.requests = fetched.requests;
        loaded.gaps = fetched.gaps;
        let derived = read(spec, &fetched.tables)?;
        let drifted = drifted_since(loader, window.start).await?;
        let persist = loader.persist == Persist::Baselines && complete;
        for (feature, sampled) in derived {
            let is_new = !shapes.contains_key(&feature);
            if persist && (is_new || !drifted.contains(&feature)) {
                keep(loader, spec, &feature, &sampled, window).await?;
            }
            // This window is judged by what was kept before it.
            shapes.entry(feature).or_insert(sampled);
        }
        // A feature younger than the window has no history before it: its own older outputs stand in.
        let newest = [("skip_newest", Param::Int(JUDGED))];
        let (fetched, complete) = loader.fetch(spec, loader.window.start, loader.window.end, &newest).await?;
        loaded.requests += fetched.requests;
        loaded.gaps.extend(fetched.gaps);
        for (feature, sampled) in read(spec, &fetched.tables)? {
            if shapes.contains_key(&feature) {
                continue;
            }
            if persist && complete {
                keep(loader, spec, &feature, &sampled, loader.window).await?;
            }
            shapes.insert(feature, sampled);
        }
        if persist {
            ctx.store.jobs.advance(&ctx.scope, &captures, loader.window.start).await?;
        }
    }
    loaded.tables = tables(&spec.name, &shapes).map_err(|error| wrong(spec, error))?;
    Ok(loaded)
}

/// Keeps a schema as a version of its feature's.
async fn keep(
    loader: &Loader<'_>,
    spec: &BaselineSpec,
    feature: &str,
    sampled: &Sampled,
    window: Window,
) -> Result<(), Failure> {
    let snapshot = NewSchemaSnapshot {
        feature: feature.to_owned(),
        schema: serde_json::to_value(&sampled.shape).map_err(|error| wrong(spec, error))?,
        sample_count: sampled.outputs,
        window,
    };
    loader.ctx.store.schemas.put(&loader.ctx.scope, snapshot, loader.ctx.clock.now()).await?;
    Ok(())
}

/// The newest kept schema of each feature.
async fn kept(loader: &Loader<'_>, spec: &BaselineSpec) -> Result<Shapes, Failure> {
    let mut shapes = Shapes::new();
    // By feature, newest version first.
    for version in loader.ctx.store.schemas.list(&loader.ctx.scope, None).await? {
        let snapshot = version.snapshot;
        if snapshot.window.end <= loader.window.end && !shapes.contains_key(&snapshot.feature) {
            let shape: Shape = serde_json::from_value(snapshot.schema).map_err(|error| {
                wrong(spec, format!("the kept schema of '{}' is not understood: {error}", snapshot.feature))
            })?;
            shapes.insert(snapshot.feature, Sampled { shape, outputs: snapshot.sample_count });
        }
    }
    Ok(shapes)
}

/// Features with a drift incident at any time since.
async fn drifted_since(loader: &Loader<'_>, since: DateTime<Utc>) -> Result<BTreeSet<String>, Failure> {
    let filter = IncidentFilter { kind: Some("prompt_drift".to_owned()), ..IncidentFilter::default() };
    let incidents = &loader.ctx.store.incidents;
    let mut drifted = BTreeSet::new();
    let mut page = PageRequest::first(500);
    loop {
        let listed = incidents.list(&loader.ctx.scope, &filter, &page).await?;
        drifted.extend(listed.items.into_iter().filter(|i| i.window.end > since).map(|i| i.entity));
        match listed.next {
            Some(next) => page = PageRequest::after(500, next),
            None => return Ok(drifted),
        }
    }
}

fn wrong(spec: &BaselineSpec, message: impl ToString) -> DetectError {
    DetectError::Result { origin: spec.header.origin.clone(), message: message.to_string() }
}

fn read(spec: &BaselineSpec, tables: &[InputTable]) -> Result<Shapes, DetectError> {
    let mut shapes = Shapes::new();
    let mut keys: Vec<(String, String, Key)> = Vec::new();
    for table in tables {
        for row in json_rows(&table.schema, &table.batches).map_err(|error| wrong(spec, error))? {
            let text = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
            let feature = text("feature").ok_or_else(|| wrong(spec, "a row lacks 'feature'"))?;
            match text("key") {
                Some(key) => keys.push((feature, key, read_key(&row))),
                None => {
                    let kind = text("kind").ok_or_else(|| wrong(spec, "a row lacks 'kind'"))?;
                    let outputs = row.get("outputs").and_then(Value::as_i64).unwrap_or_default();
                    let share = row.get("fail_share").and_then(Value::as_f64).unwrap_or_default();
                    // To the hundredth: chance in the last digit is no new version of a schema.
                    let fail_share = (share * 100.0).ceil() / 100.0;
                    shapes
                        .insert(feature, Sampled { shape: Shape { kind, fail_share, keys: BTreeMap::new() }, outputs });
                }
            }
        }
    }
    for (feature, key, what) in keys {
        if let Some(sampled) = shapes.get_mut(&feature) {
            sampled.shape.keys.insert(key, what);
        }
    }
    Ok(shapes)
}

fn read_key(row: &Map<String, Value>) -> Key {
    let kinds = row.get("kinds").and_then(Value::as_str).unwrap_or_default();
    Key {
        required: row.get("required").and_then(Value::as_bool).unwrap_or_default(),
        types: kinds.split('|').filter(|kind| !kind.is_empty()).map(str::to_owned).collect(),
        format: row.get("format").and_then(Value::as_str).map(str::to_owned),
    }
}

fn tables(name: &str, shapes: &Shapes) -> Result<Vec<InputTable>, arrow::error::ArrowError> {
    let features = Arc::new(Schema::new(vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("kind", DataType::Utf8, false),
        Field::new("outputs", DataType::Int64, false),
        Field::new("fail_share", DataType::Float64, false),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&features),
        vec![
            Arc::new(StringArray::from_iter_values(shapes.keys())),
            Arc::new(StringArray::from_iter_values(shapes.values().map(|s| s.shape.kind.as_str()))),
            Arc::new(Int64Array::from_iter_values(shapes.values().map(|s| s.outputs))),
            Arc::new(Float64Array::from_iter_values(shapes.values().map(|s| s.shape.fail_share))),
        ],
    )?;
    let keys: Vec<(&String, &String, &Key)> = shapes
        .iter()
        .flat_map(|(feature, sampled)| sampled.shape.keys.iter().map(move |(name, key)| (feature, name, key)))
        .collect();
    let keys_schema = Arc::new(Schema::new(vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, false),
        Field::new("required", DataType::Boolean, false),
        Field::new("kinds", DataType::Utf8, false),
        Field::new("format", DataType::Utf8, true),
    ]));
    let kinds = keys.iter().map(|(_, _, key)| {
        let types: Vec<&str> = key.types.iter().map(String::as_str).collect();
        format!("|{}|", types.join("|"))
    });
    let keys_batch = RecordBatch::try_new(
        Arc::clone(&keys_schema),
        vec![
            Arc::new(StringArray::from_iter_values(keys.iter().map(|(feature, ..)| feature))),
            Arc::new(StringArray::from_iter_values(keys.iter().map(|(_, name, _)| name))),
            Arc::new(BooleanArray::from_iter(keys.iter().map(|(.., key)| Some(key.required)))),
            Arc::new(StringArray::from_iter_values(kinds)),
            Arc::new(StringArray::from_iter(keys.iter().map(|(.., key)| key.format.as_deref()))),
        ],
    )?;
    Ok(vec![
        InputTable { name: name.to_owned(), schema: features, batches: vec![batch] },
        InputTable { name: format!("{name}_keys"), schema: keys_schema, batches: vec![keys_batch] },
    ])
}
