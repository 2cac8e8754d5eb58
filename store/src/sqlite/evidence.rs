//! Evidence on SQLite.

use super::SqliteStore;
use super::incident;
use super::values::{RowExt, all, micros, run, to_json};
use crate::model::{Evidence, EvidenceSets, IncidentId, Scope, evidence_digest};
use crate::{Result, StoreError};
use async_trait::async_trait;
use rusqlite::{Row, params};
use std::collections::HashSet;

fn read_evidence(row: &Row<'_>) -> rusqlite::Result<Evidence> {
    Ok(Evidence {
        name: row.get("name")?,
        sources: row.json("sources")?,
        sql: row.get("sql")?,
        params: row.json("params")?,
        status: row.get("status")?,
        error: row.get("error")?,
        rows: row.json("rows")?,
        row_count: row.get("row_count")?,
        truncated: row.get("truncated")?,
        fetched_at: row.time("fetched_at")?,
    })
}

#[async_trait]
impl EvidenceSets for SqliteStore {
    async fn replace(&self, scope: &Scope, incident_id: &IncidentId, evidence: Vec<Evidence>) -> Result<String> {
        let mut names = HashSet::new();
        if let Some(twice) = evidence.iter().find(|item| !names.insert(item.name.as_str())) {
            return Err(StoreError::invalid("evidence", format!("two items are named '{}'", twice.name)));
        }
        let digest = evidence_digest(&evidence);
        let (scope, incident_id) = (scope.clone(), incident_id.clone());
        self.write("replacing an incident's evidence", move |tx| {
            incident::existing(tx.connection, &scope, &incident_id)?;
            let key = params![scope.project_id(), incident_id];
            run(tx.connection, "DELETE FROM evidence WHERE project_id = ?1 AND incident_id = ?2", key)?;
            for item in evidence {
                run(
                    tx.connection,
                    "INSERT INTO evidence (project_id, incident_id, name, sources, sql, params, status, error, rows,
                         row_count, truncated, fetched_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                    params![
                        scope.project_id(),
                        incident_id,
                        item.name,
                        to_json(&item.sources)?,
                        item.sql,
                        to_json(&item.params)?,
                        item.status,
                        item.error,
                        to_json(&item.rows)?,
                        item.row_count,
                        item.truncated,
                        micros(item.fetched_at)
                    ],
                )?;
            }
            Ok(digest)
        })
        .await
    }

    async fn list(&self, scope: &Scope, incident_id: &IncidentId) -> Result<Vec<Evidence>> {
        let (scope, incident_id) = (scope.clone(), incident_id.clone());
        self.read("reading an incident's evidence", move |connection| {
            let sql = "SELECT * FROM evidence WHERE project_id = ?1 AND incident_id = ?2 ORDER BY name";
            all(connection, sql, params![scope.project_id(), incident_id], read_evidence)
        })
        .await
    }
}
