//! What the sampler keeps, on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::values::{RowExt, all, micros, run, to_json};
use crate::model::{
    PATTERNS_IN_ALL, PATTERNS_PER_FEATURE, SAMPLES_KEPT_FOR, SampledTrace, Sampling, SamplingStats, Scope, SeenPattern,
    TracePart,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// Rows of one listing at most.
const MAX_ROWS: u32 = 1_000;

fn read_stats(row: &Row<'_>) -> rusqlite::Result<SamplingStats> {
    Ok(SamplingStats {
        window_start: row.time("window_start")?,
        window_end: row.time("window_end")?,
        recorded_at: row.time("recorded_at")?,
        total_traces: row.get("total_traces")?,
        sampled_traces: row.get("sampled_traces")?,
        dropped_traces: row.get("dropped_traces")?,
        keep_reasons: row.json("keep_reasons")?,
    })
}

fn read_trace(row: &Row<'_>) -> rusqlite::Result<SampledTrace> {
    Ok(SampledTrace {
        trace_id: row.get("trace_id")?,
        started_at: row.time("started_at")?,
        score: row.get("score")?,
        reasons: row.json("reasons")?,
        generation_count: row.get("generation_count")?,
        cost_usd: row.get("cost_usd")?,
        feature: row.get("feature")?,
    })
}

fn read_part(row: &Row<'_>) -> rusqlite::Result<TracePart> {
    Ok(TracePart {
        trace_id: row.get("trace_id")?,
        part_start: row.time("part_start")?,
        started_at: row.time("started_at")?,
        last_at: row.time("last_at")?,
        generation_count: row.get("generation_count")?,
        cost_usd: row.get("cost_usd")?,
        has_error: row.get("has_error")?,
        schema_failed: row.get("schema_failed")?,
        features: row.json("features")?,
        tools: row.json("tools")?,
    })
}

/// Forgets sets of tools that were not used since, and those beyond what is remembered, least recently used first.
fn forget_patterns(connection: &Connection, scope: &Scope, since: DateTime<Utc>) -> DbResult<()> {
    run(
        connection,
        "DELETE FROM sampled_patterns WHERE project_id = ?1 AND last_seen_at < ?2",
        params![scope.project_id(), micros(since)],
    )?;
    run(
        connection,
        "DELETE FROM sampled_patterns WHERE rowid IN (
             SELECT id FROM (
                 SELECT rowid AS id,
                     row_number() OVER (PARTITION BY feature ORDER BY last_seen_at DESC, pattern) AS of_feature,
                     row_number() OVER (ORDER BY last_seen_at DESC, pattern) AS of_all
                 FROM sampled_patterns WHERE project_id = ?1)
             WHERE of_feature > ?2 OR of_all > ?3)",
        params![scope.project_id(), PATTERNS_PER_FEATURE, PATTERNS_IN_ALL],
    )?;
    Ok(())
}

#[async_trait]
impl Sampling for SqliteStore {
    async fn patterns(&self, scope: &Scope) -> Result<BTreeMap<String, String>> {
        let scope = scope.clone();
        self.read("reading patterns of tools", move |connection| {
            let rows = all(
                connection,
                "SELECT pattern, first_trace_id FROM sampled_patterns WHERE project_id = ?1",
                params![scope.project_id()],
                |row| Ok((row.get("pattern")?, row.get("first_trace_id")?)),
            )?;
            Ok(rows.into_iter().collect())
        })
        .await
    }

    async fn keep_sample(
        &self,
        scope: &Scope,
        stats: SamplingStats,
        kept: Vec<SampledTrace>,
        patterns: Vec<SeenPattern>,
    ) -> Result<()> {
        let adds_up = stats.sampled_traces + stats.dropped_traces == stats.total_traces
            && usize::try_from(stats.sampled_traces).is_ok_and(|n| n == kept.len());
        if !adds_up {
            return Err(StoreError::invalid("sampled_traces", "kept and dropped traces are not all traces"));
        }
        let scope = scope.clone();
        self.write("keeping a sample", move |tx| {
            run(
                tx.connection,
                "INSERT OR REPLACE INTO sampling_stats (project_id, window_start, window_end, recorded_at, total_traces,
                     sampled_traces, dropped_traces, keep_reasons)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    scope.project_id(),
                    micros(stats.window_start),
                    micros(stats.window_end),
                    micros(stats.recorded_at),
                    stats.total_traces,
                    stats.sampled_traces,
                    stats.dropped_traces,
                    to_json(&stats.keep_reasons)?
                ],
            )?;
            // What this run does not keep any more, and what is too old.
            run(
                tx.connection,
                "DELETE FROM sampled_traces
                 WHERE project_id = ?1 AND (started_at >= ?2 AND started_at < ?3 OR started_at < ?4)",
                params![
                    scope.project_id(),
                    micros(stats.window_start),
                    micros(stats.window_end),
                    micros(stats.recorded_at - SAMPLES_KEPT_FOR)
                ],
            )?;
            run(
                tx.connection,
                "DELETE FROM sampling_stats WHERE project_id = ?1 AND window_end < ?2",
                params![scope.project_id(), micros(stats.recorded_at - SAMPLES_KEPT_FOR)],
            )?;
            for trace in &kept {
                run(
                    tx.connection,
                    "INSERT OR REPLACE INTO sampled_traces (project_id, trace_id, started_at, score, reasons,
                         generation_count, cost_usd, sampled_at, feature)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                    params![
                        scope.project_id(),
                        trace.trace_id,
                        micros(trace.started_at),
                        trace.score,
                        to_json(&trace.reasons)?,
                        trace.generation_count,
                        trace.cost_usd,
                        micros(stats.recorded_at),
                        trace.feature
                    ],
                )?;
            }
            for seen in &patterns {
                run(
                    tx.connection,
                    "INSERT INTO sampled_patterns (project_id, pattern, first_trace_id, first_seen_at, feature, last_seen_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (project_id, pattern) DO UPDATE
                     SET last_seen_at = max(last_seen_at, excluded.last_seen_at)",
                    params![
                        scope.project_id(),
                        seen.pattern,
                        seen.trace_id,
                        micros(seen.seen_at),
                        seen.feature,
                        micros(seen.last_seen_at)
                    ],
                )?;
            }
            forget_patterns(tx.connection, &scope, stats.recorded_at - SAMPLES_KEPT_FOR)
        })
        .await
    }

    async fn keep_parts(
        &self,
        scope: &Scope,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        parts: Vec<TracePart>,
        forget_before: DateTime<Utc>,
    ) -> Result<()> {
        if parts.iter().any(|part| part.part_start < from || part.part_start >= to) {
            return Err(StoreError::invalid("part_start", "a part lies outside of the time that is replaced"));
        }
        let scope = scope.clone();
        self.write("keeping what traces did", move |tx| {
            run(
                tx.connection,
                "DELETE FROM sampler_parts
                 WHERE project_id = ?1 AND (part_start >= ?2 AND part_start < ?3 OR part_start < ?4)",
                params![scope.project_id(), micros(from), micros(to), micros(forget_before)],
            )?;
            for part in &parts {
                run(
                    tx.connection,
                    "INSERT INTO sampler_parts (project_id, part_start, trace_id, started_at, last_at, generation_count,
                         cost_usd, has_error, schema_failed, features, tools)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                    params![
                        scope.project_id(),
                        micros(part.part_start),
                        part.trace_id,
                        micros(part.started_at),
                        micros(part.last_at),
                        part.generation_count,
                        part.cost_usd,
                        part.has_error,
                        part.schema_failed,
                        to_json(&part.features)?,
                        to_json(&part.tools)?
                    ],
                )?;
            }
            Ok(())
        })
        .await
    }

    async fn parts(&self, scope: &Scope, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<TracePart>> {
        let scope = scope.clone();
        self.read("reading what traces did", move |connection| {
            all(
                connection,
                "SELECT * FROM sampler_parts WHERE project_id = ?1 AND part_start >= ?2 AND part_start < ?3
                 ORDER BY trace_id, part_start",
                params![scope.project_id(), micros(from), micros(to)],
                read_part,
            )
        })
        .await
    }

    async fn sampling_stats(&self, scope: &Scope, limit: u32) -> Result<Vec<SamplingStats>> {
        let scope = scope.clone();
        self.read("reading figures of the sampler", move |connection| {
            all(
                connection,
                "SELECT * FROM sampling_stats WHERE project_id = ?1 ORDER BY window_end DESC LIMIT ?2",
                params![scope.project_id(), limit.clamp(1, MAX_ROWS)],
                read_stats,
            )
        })
        .await
    }

    async fn sampled(
        &self,
        scope: &Scope,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<SampledTrace>> {
        let scope = scope.clone();
        self.read("reading kept traces", move |connection| {
            all(
                connection,
                "SELECT * FROM sampled_traces WHERE project_id = ?1 AND started_at >= ?2 AND started_at < ?3
                 ORDER BY score DESC, cost_usd DESC, trace_id LIMIT ?4",
                params![scope.project_id(), micros(from), micros(to), limit.clamp(1, MAX_ROWS)],
                read_trace,
            )
        })
        .await
    }
}
