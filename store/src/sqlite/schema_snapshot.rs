//! Schema snapshots on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::values::{RowExt, all, micros, one, run};
use super::writer::Tx;
use crate::canonical::canonical_json;
use crate::model::{NewSchemaSnapshot, PutSnapshot, SchemaSnapshot, SchemaSnapshots, Scope, Window};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};

fn put(tx: &Tx<'_>, scope: &Scope, new: NewSchemaSnapshot, now: DateTime<Utc>) -> DbResult<PutSnapshot> {
    // Compared as it is stored: canonical text.
    let schema = canonical_json(&new.schema);
    let inserted = run(
        tx.connection,
        "INSERT INTO schema_snapshots
             (project_id, feature, version, schema, sample_count, captured_at, window_start, window_end)
         SELECT ?1, ?2, coalesce(max(version), 0) + 1, ?3, ?4, ?5, ?6, ?7
         FROM schema_snapshots WHERE project_id = ?1 AND feature = ?2
         HAVING NOT EXISTS (
             SELECT 1 FROM (SELECT schema FROM schema_snapshots WHERE project_id = ?1 AND feature = ?2
                            ORDER BY version DESC LIMIT 1) AS latest
             WHERE latest.schema = ?3)",
        params![
            scope.project_id(),
            new.feature,
            schema,
            new.sample_count,
            micros(now),
            micros(new.window.start),
            micros(new.window.end)
        ],
    )?;
    let snapshot = latest(tx.connection, scope, &new.feature)?
        .ok_or_else(|| StoreError::not_found("schema snapshot", &new.feature))?;
    Ok(PutSnapshot { snapshot, changed: inserted == 1 })
}

fn latest(connection: &Connection, scope: &Scope, feature: &str) -> DbResult<Option<SchemaSnapshot>> {
    let sql = "SELECT * FROM schema_snapshots WHERE project_id = ?1 AND feature = ?2 ORDER BY version DESC LIMIT 1";
    one(connection, sql, params![scope.project_id(), feature], read_snapshot)
}

fn read_snapshot(row: &Row<'_>) -> rusqlite::Result<SchemaSnapshot> {
    Ok(SchemaSnapshot {
        version: row.get("version")?,
        snapshot: NewSchemaSnapshot {
            feature: row.get("feature")?,
            schema: row.json("schema")?,
            sample_count: row.get("sample_count")?,
            window: Window { start: row.time("window_start")?, end: row.time("window_end")? },
        },
        captured_at: row.time("captured_at")?,
    })
}

#[async_trait]
impl SchemaSnapshots for SqliteStore {
    async fn latest(&self, scope: &Scope, feature: &str) -> Result<Option<SchemaSnapshot>> {
        let (scope, feature) = (scope.clone(), feature.to_owned());
        self.read("reading a schema snapshot", move |connection| latest(connection, &scope, &feature)).await
    }

    async fn put(&self, scope: &Scope, new: NewSchemaSnapshot, now: DateTime<Utc>) -> Result<PutSnapshot> {
        let scope = scope.clone();
        self.write("keeping a schema snapshot", move |tx| put(tx, &scope, new, now)).await
    }

    async fn list(&self, scope: &Scope, feature: Option<&str>) -> Result<Vec<SchemaSnapshot>> {
        let (scope, feature) = (scope.clone(), feature.map(str::to_owned));
        self.read("listing schema snapshots", move |connection| {
            let sql = "SELECT * FROM schema_snapshots WHERE project_id = ?1 AND (?2 IS NULL OR feature = ?2)
                       ORDER BY feature, version DESC";
            all(connection, sql, params![scope.project_id(), feature], read_snapshot)
        })
        .await
    }
}
