//! Promises about what was observed: cost baselines, schemas, events.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

pub async fn one_hour_is_one_row_however_often_it_is_observed(store: Store) {
    for observed in 0..7 {
        let hours = (0..24).map(|index| cost_hour(index, true, &[("chat", f64::from(observed))])).collect();
        store.baselines.upsert_many(&scope(), hours, minute(i64::from(observed) * 15)).await.unwrap();
    }
    let range = store.baselines.range(&scope(), None, hour(0), hour(24)).await.unwrap();
    assert_eq!((range.rows.len(), range.covered.len()), (24, 24));
    assert!(range.rows.iter().all(|row| row.cost_usd == 6.0 && row.observed_at == minute(90)));
    let part = store.baselines.range(&scope(), Some("chat"), hour(3), hour(5)).await.unwrap();
    let hours: Vec<_> = part.rows.iter().map(|row| row.hour_start).collect();
    assert_eq!(hours, [hour(3), hour(4)], "the end is not part of the range");
    let other = other_scope(&store).await;
    assert!(store.baselines.range(&other, None, hour(0), hour(24)).await.unwrap().covered.is_empty());
}

pub async fn a_part_of_an_hour_never_replaces_the_whole(store: Store) {
    let put = |hours| store.baselines.upsert_many(&SCOPE, hours, start());
    put(vec![cost_hour(0, false, &[("chat", 1.0), ("gone", 9.0)])]).await.unwrap();
    put(vec![cost_hour(0, true, &[("chat", 4.0)])]).await.unwrap();
    put(vec![cost_hour(0, false, &[("chat", 2.0)])]).await.unwrap();
    let range = store.baselines.range(&scope(), None, hour(0), hour(1)).await.unwrap();
    assert_eq!(range.rows.len(), 1, "a feature that is no longer in the hour is gone");
    assert_eq!((range.rows[0].cost_usd, range.rows[0].complete), (4.0, true));
    assert_eq!(range.covered, [CoveredHour { hour_start: hour(0), complete: true }]);
}

pub async fn an_hour_without_cost_is_told_from_an_unknown_hour(store: Store) {
    let hours = vec![cost_hour(0, true, &[]), cost_hour(2, true, &[("chat", 1.0)])];
    store.baselines.upsert_many(&scope(), hours, start()).await.unwrap();
    let range = store.baselines.range(&scope(), Some("chat"), hour(0), hour(3)).await.unwrap();
    assert_eq!(range.rows.len(), 1);
    let covered: Vec<_> = range.covered.iter().map(|covered| covered.hour_start).collect();
    assert_eq!(covered, [hour(0), hour(2)]);
}

pub async fn senseless_hours_are_refused(store: Store) {
    let mut crooked = cost_hour(0, true, &[]);
    crooked.hour_start += microsecond();
    for bad in [
        crooked,
        cost_hour(0, true, &[("a", 1.0), ("a", 2.0)]),
        cost_hour(0, true, &[("a", f64::NAN)]),
        cost_hour(0, true, &[("a", -0.5)]),
    ] {
        let good = cost_hour(5, true, &[("a", 1.0)]);
        let refused = store.baselines.upsert_many(&scope(), vec![good, bad], start()).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })));
    }
    assert!(store.baselines.range(&scope(), None, hour(0), hour(9)).await.unwrap().covered.is_empty());
}

pub async fn a_schema_gets_a_version_only_when_it_changes(store: Store) {
    assert_eq!(store.schemas.latest(&scope(), "chat").await.unwrap(), None);
    let one = json!({"type": "object", "required": ["a", "b"]});
    let same_in_other_order: serde_json::Value =
        serde_json::from_str(r#"{"required": ["a", "b"], "type": "object"}"#).unwrap();
    let two = json!({"type": "object", "required": ["a"]});
    let mut outcomes = Vec::new();
    for schema in [&one, &same_in_other_order, &two, &two, &one] {
        let put = store.schemas.put(&scope(), snapshot("chat", schema), start()).await.unwrap();
        outcomes.push((put.snapshot.version, put.changed));
    }
    assert_eq!(outcomes, [(1, true), (1, false), (2, true), (2, false), (3, true)]);
    let latest = store.schemas.latest(&scope(), "chat").await.unwrap().unwrap();
    assert_eq!((latest.version, &latest.snapshot.schema), (3, &one));
    assert!(store.schemas.put(&scope(), snapshot("search", &one), start()).await.unwrap().changed);
    let versions: Vec<_> =
        store.schemas.list(&scope(), Some("chat")).await.unwrap().into_iter().map(|kept| kept.version).collect();
    assert_eq!(versions, [3, 2, 1]);
    assert_eq!(store.schemas.list(&scope(), None).await.unwrap().len(), 4);
}

static SCOPE: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(scope);

fn hour(index: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_763_600_400 + index * 3600, 0).unwrap()
}

fn cost_hour(index: i64, complete: bool, features: &[(&str, f64)]) -> CostHour {
    let features = features.iter().map(|(feature, cost_usd)| FeatureCost {
        feature: (*feature).to_owned(),
        cost_usd: *cost_usd,
        generations: 3,
        peak_usd: Some(*cost_usd / 2.0),
        peak_generations: Some(2),
    });
    CostHour { hour_start: hour(index), complete, features: features.collect() }
}

fn snapshot(feature: &str, schema: &serde_json::Value) -> NewSchemaSnapshot {
    let window = Window::new(start() - TimeDelta::days(7), start()).unwrap();
    NewSchemaSnapshot { feature: feature.to_owned(), schema: schema.clone(), sample_count: 30, window }
}
