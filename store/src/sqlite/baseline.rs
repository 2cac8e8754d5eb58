//! Cost baselines on SQLite: one hour is one row per feature, and one row that says it was looked at.

use super::SqliteStore;
use super::connection::DbResult;
use super::values::{RowExt, all, micros, run};
use super::writer::Tx;
use crate::model::{CostBaseline, CostBaselines, CostHour, CostRange, CoveredHour, Scope};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Row, params};
use std::collections::HashSet;

const HOUR_MICROS: i64 = 3_600_000_000;

fn check(hour: &CostHour) -> Result<()> {
    if micros(hour.hour_start).rem_euclid(HOUR_MICROS) != 0 || hour.hour_start.timestamp_subsec_nanos() != 0 {
        return Err(StoreError::invalid("hour_start", format!("{} is not on the hour", hour.hour_start)));
    }
    let mut features = HashSet::new();
    for cost in &hour.features {
        if !features.insert(cost.feature.as_str()) {
            return Err(StoreError::invalid("feature", format!("'{}' occurs twice in one hour", cost.feature)));
        }
        let costs = [cost.cost_usd, cost.peak_usd.unwrap_or_default()];
        if costs.iter().any(|usd| !usd.is_finite() || *usd < 0.0)
            || cost.generations < 0
            || cost.peak_generations.is_some_and(|peak| peak < 0)
        {
            let reason = format!("the figures of '{}' are negative or no number", cost.feature);
            return Err(StoreError::invalid("cost_usd", reason));
        }
    }
    Ok(())
}

fn upsert_hour(tx: &Tx<'_>, scope: &Scope, hour: &CostHour, now: DateTime<Utc>) -> DbResult<()> {
    let start = micros(hour.hour_start);
    // A complete hour is never replaced by a look at a part of it.
    let taken = run(
        tx.connection,
        "INSERT INTO cost_hours (project_id, hour_start, complete, observed_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (project_id, hour_start) DO UPDATE
             SET complete = excluded.complete, observed_at = excluded.observed_at
             WHERE excluded.complete >= complete",
        params![scope.project_id(), start, hour.complete, micros(now)],
    )?;
    if taken == 0 {
        return Ok(());
    }
    let replaced = params![scope.project_id(), start];
    run(tx.connection, "DELETE FROM cost_baselines WHERE project_id = ?1 AND hour_start = ?2", replaced)?;
    for cost in &hour.features {
        run(
            tx.connection,
            "INSERT INTO cost_baselines
                 (project_id, feature, hour_start, cost_usd, generations, observed_at, complete, peak_usd, peak_generations)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                scope.project_id(),
                cost.feature,
                start,
                cost.cost_usd,
                cost.generations,
                micros(now),
                hour.complete,
                cost.peak_usd,
                cost.peak_generations
            ],
        )?;
    }
    Ok(())
}

fn read_baseline(row: &Row<'_>) -> rusqlite::Result<CostBaseline> {
    Ok(CostBaseline {
        feature: row.get("feature")?,
        hour_start: row.time("hour_start")?,
        cost_usd: row.get("cost_usd")?,
        generations: row.get("generations")?,
        peak_usd: row.get("peak_usd")?,
        peak_generations: row.get("peak_generations")?,
        observed_at: row.time("observed_at")?,
        complete: row.get("complete")?,
    })
}

#[async_trait]
impl CostBaselines for SqliteStore {
    async fn upsert_many(&self, scope: &Scope, hours: Vec<CostHour>, now: DateTime<Utc>) -> Result<()> {
        hours.iter().try_for_each(check)?;
        let scope = scope.clone();
        self.write("keeping cost baselines", move |tx| {
            hours.iter().try_for_each(|hour| upsert_hour(tx, &scope, hour, now))
        })
        .await
    }

    async fn range(
        &self,
        scope: &Scope,
        feature: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<CostRange> {
        let (scope, feature) = (scope.clone(), feature.map(str::to_owned));
        self.read("reading cost baselines", move |connection| {
            let rows = all(
                connection,
                "SELECT * FROM cost_baselines
                 WHERE project_id = ?1 AND hour_start >= ?2 AND hour_start < ?3 AND (?4 IS NULL OR feature = ?4)
                 ORDER BY hour_start, feature",
                params![scope.project_id(), micros(from), micros(to), feature],
                read_baseline,
            )?;
            let covered = all(
                connection,
                "SELECT hour_start, complete FROM cost_hours
                 WHERE project_id = ?1 AND hour_start >= ?2 AND hour_start < ?3 ORDER BY hour_start",
                params![scope.project_id(), micros(from), micros(to)],
                |row| Ok(CoveredHour { hour_start: row.time("hour_start")?, complete: row.get("complete")? }),
            )?;
            Ok(CostRange { rows, covered })
        })
        .await
    }
}
