//! Anomalies on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, micros, micros_opt, one, run, to_json};
use super::writer::Tx;
use crate::model::{
    Anomalies, Anomaly, AnomalyFilter, AnomalyId, NewAnomaly, Page, PageRequest, RecordedAnomaly, Scope, Window,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use rusqlite::{Row, params};

/// Keeps a finding unless it is kept already.
pub(super) fn record(tx: &mut Tx<'_>, scope: &Scope, finding: NewAnomaly) -> DbResult<RecordedAnomaly> {
    if finding.window.start >= finding.window.end {
        return Err(StoreError::invalid("window", "its end is not after its start").into());
    }
    let id: AnomalyId = tx.ids.next(finding.detected_at);
    let inserted = run(
        tx.connection,
        "INSERT INTO anomalies
             (project_id, id, detector, type, severity, entity, fingerprint, window_start, window_end, detected_at,
              description, evidence, cost_usd, onset_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
         ON CONFLICT (project_id, detector, fingerprint, window_start, window_end, run_id) DO NOTHING",
        params![
            scope.project_id(),
            id,
            finding.detector,
            finding.kind,
            finding.severity,
            finding.entity,
            finding.fingerprint,
            micros(finding.window.start),
            micros(finding.window.end),
            micros(finding.detected_at),
            finding.description,
            to_json(&finding.evidence)?,
            finding.cost_usd,
            micros_opt(finding.onset)
        ],
    )?;
    let kept = one(
        tx.connection,
        "SELECT * FROM anomalies
         WHERE project_id = ?1 AND detector = ?2 AND fingerprint = ?3 AND window_start = ?4 AND window_end = ?5
             AND run_id = ''",
        params![
            scope.project_id(),
            finding.detector,
            finding.fingerprint,
            micros(finding.window.start),
            micros(finding.window.end)
        ],
        read_anomaly,
    )?;
    let anomaly = kept.ok_or_else(|| StoreError::not_found("anomaly", &id))?;
    Ok(RecordedAnomaly { anomaly, created: inserted == 1 })
}

pub(super) fn read_anomaly(row: &Row<'_>) -> rusqlite::Result<Anomaly> {
    Ok(Anomaly {
        id: row.get("id")?,
        incident_id: row.get("incident_id")?,
        finding: NewAnomaly {
            detector: row.get("detector")?,
            kind: row.get("type")?,
            severity: row.get("severity")?,
            entity: row.get("entity")?,
            fingerprint: row.get("fingerprint")?,
            window: Window { start: row.time("window_start")?, end: row.time("window_end")? },
            detected_at: row.time("detected_at")?,
            description: row.get("description")?,
            evidence: row.json("evidence")?,
            cost_usd: row.get("cost_usd")?,
            onset: row.time_opt("onset_at")?,
        },
    })
}

#[async_trait]
impl Anomalies for SqliteStore {
    async fn record(&self, scope: &Scope, anomaly: NewAnomaly) -> Result<RecordedAnomaly> {
        let scope = scope.clone();
        self.write("recording an anomaly", move |tx| record(tx, &scope, anomaly)).await
    }

    async fn get(&self, scope: &Scope, id: &AnomalyId) -> Result<Option<Anomaly>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading an anomaly", move |connection| {
            let sql = "SELECT * FROM anomalies WHERE project_id = ?1 AND id = ?2";
            one(connection, sql, params![scope.project_id(), id], read_anomaly)
        })
        .await
    }

    async fn list(&self, scope: &Scope, filter: &AnomalyFilter, page: &PageRequest) -> Result<Page<Anomaly>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing anomalies", move |connection| {
            Filter::scoped(&scope)
                .equal("detector", filter.detector)
                .equal("type", filter.kind)
                .equal("incident_id", filter.incident_id)
                .since("detected_at", filter.since)
                .page(connection, "anomalies", "detected_at", &page, read_anomaly)
        })
        .await
    }
}
