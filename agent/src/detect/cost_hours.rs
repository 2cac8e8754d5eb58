//! The hours a cost is compared with: kept in the store, one row per hour and feature, fetched once.
//!
//! Owns: filling missing hours (7 days back on a first run) and the two tables detectors see: `input.<name>` (feature,
//! hour_start, cost_usd, generations, peak_usd, peak_generations) and `input.covered_hours` (hour_start). Must hold: an hour that was fetched
//! completely is never fetched again; an hour nobody looked at is not taken for one without cost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tripline_engine::{InputTable, json_rows};
use tripline_store::{CostHour, FeatureCost};

use super::finding::time;
use super::inputs::{Loaded, Loader};
use super::{DetectError, Failure, Persist};
use crate::queries::BaselineSpec;
use crate::settings::{Settings, SyncSettings};

/// When an hour is taken as whole: once no row of it is expected any more, by how far local copies are read again.
fn settled_after(settings: &Settings) -> TimeDelta {
    let copied = settings.sync.values().map(SyncSettings::overlap);
    copied.chain([SyncSettings::default().overlap()]).max().unwrap_or_default()
}

/// Loads the hours in `[from, to)`, which are on the hour.
pub(super) async fn load(
    loader: &Loader<'_>,
    spec: &BaselineSpec,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Loaded, Failure> {
    let (store, scope) = (&loader.ctx.store.baselines, &loader.ctx.scope);
    let settled_after = settled_after(loader.settings);
    let kept = store.range(scope, None, from, to).await?;
    let mut hours: BTreeMap<DateTime<Utc>, Vec<FeatureCost>> = BTreeMap::new();
    for hour in kept.covered.iter().filter(|hour| hour.complete) {
        hours.insert(hour.hour_start, Vec::new());
    }
    for row in kept.rows {
        if let Some(hour) = hours.get_mut(&row.hour_start) {
            hour.push(FeatureCost {
                feature: row.feature,
                cost_usd: row.cost_usd,
                generations: row.generations,
                peak_usd: row.peak_usd,
                peak_generations: row.peak_generations,
            });
        }
    }

    let wanted: Vec<DateTime<Utc>> =
        std::iter::successors(Some(from), |hour| Some(*hour + TimeDelta::hours(1))).take_while(|h| *h < to).collect();
    let missing: Vec<_> = wanted.iter().filter(|hour| !hours.contains_key(hour)).copied().collect();
    let mut loaded = Loaded::default();
    if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
        let (fetched, complete) = loader.fetch(spec, *first, *last + TimeDelta::hours(1), &[]).await?;
        loaded.requests = fetched.requests;
        loaded.gaps = fetched.gaps;
        let mut new = by_hour(spec, &fetched.tables)?;
        let missing: BTreeSet<_> = missing.into_iter().collect();
        let new: BTreeMap<_, _> = missing.iter().map(|hour| (*hour, new.remove(hour).unwrap_or_default())).collect();
        if loader.persist != Persist::Nothing && complete {
            let observed = new.iter().map(|(hour, features)| CostHour {
                hour_start: *hour,
                complete: *hour + TimeDelta::hours(1) + settled_after <= loader.window.end,
                features: features.clone(),
            });
            store.upsert_many(scope, observed.collect(), loader.ctx.clock.now()).await?;
        }
        hours.extend(new);
    }
    loaded.tables = tables(&spec.name, &hours).map_err(|message| wrong(spec, message))?;
    Ok(loaded)
}

fn wrong(spec: &BaselineSpec, message: impl ToString) -> DetectError {
    DetectError::Result { origin: spec.header.origin.clone(), message: message.to_string() }
}

fn by_hour(
    spec: &BaselineSpec,
    tables: &[InputTable],
) -> Result<BTreeMap<DateTime<Utc>, Vec<FeatureCost>>, DetectError> {
    let mut hours: BTreeMap<DateTime<Utc>, Vec<FeatureCost>> = BTreeMap::new();
    for table in tables {
        for row in json_rows(&table.schema, &table.batches).map_err(|error| wrong(spec, error))? {
            let (hour, cost) = read(&row)
                .ok_or_else(|| wrong(spec, "a row lacks one of feature, hour_start, cost_usd, generations"))?;
            hours.entry(hour).or_default().push(cost);
        }
    }
    Ok(hours)
}

fn read(row: &Map<String, Value>) -> Option<(DateTime<Utc>, FeatureCost)> {
    let cost = FeatureCost {
        feature: row.get("feature")?.as_str()?.to_owned(),
        // A negative cost is a correction of the vendor's; as an hour's cost it means none.
        cost_usd: row.get("cost_usd")?.as_f64()?.max(0.0),
        generations: row.get("generations")?.as_i64()?,
        peak_usd: row.get("peak_usd").and_then(Value::as_f64).map(|usd| usd.max(0.0)),
        peak_generations: row.get("peak_generations").and_then(Value::as_i64),
    };
    Some((time(row.get("hour_start")?)?, cost))
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn tables(
    name: &str,
    hours: &BTreeMap<DateTime<Utc>, Vec<FeatureCost>>,
) -> Result<Vec<InputTable>, arrow::error::ArrowError> {
    let rows: Vec<(i64, &FeatureCost)> = hours
        .iter()
        .flat_map(|(hour, features)| features.iter().map(|feature| (hour.timestamp_micros(), feature)))
        .collect();
    let costs = Arc::new(Schema::new(vec![
        Field::new("feature", DataType::Utf8, false),
        Field::new("hour_start", timestamp(), false),
        Field::new("cost_usd", DataType::Float64, false),
        Field::new("generations", DataType::Int64, false),
        Field::new("peak_usd", DataType::Float64, true),
        Field::new("peak_generations", DataType::Int64, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&costs),
        vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, f)| f.feature.as_str()))),
            Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(h, _)| *h)).with_timezone("UTC")),
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|(_, f)| f.cost_usd))),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, f)| f.generations))),
            Arc::new(rows.iter().map(|(_, f)| f.peak_usd).collect::<Float64Array>()),
            Arc::new(rows.iter().map(|(_, f)| f.peak_generations).collect::<Int64Array>()),
        ],
    )?;
    let covered = Arc::new(Schema::new(vec![Field::new("hour_start", timestamp(), false)]));
    let starts = hours.keys().map(DateTime::timestamp_micros);
    let covered_batch = RecordBatch::try_new(
        Arc::clone(&covered),
        vec![Arc::new(TimestampMicrosecondArray::from_iter_values(starts).with_timezone("UTC"))],
    )?;
    Ok(vec![
        InputTable { name: name.to_owned(), schema: costs, batches: vec![batch] },
        InputTable { name: "covered_hours".to_owned(), schema: covered, batches: vec![covered_batch] },
    ])
}
