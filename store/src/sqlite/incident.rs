//! Incidents on SQLite: an anomaly and what it does to its incident are one transaction.

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, all, micros, one, run, to_json};
use super::writer::Tx;
use super::{anomaly, loops, values::later};
use crate::model::{
    Incident, IncidentFilter, IncidentId, IncidentPolicy, IncidentStatus, IncidentUpsert, Incidents, Investigation,
    JudgedWindow, LoopDetail, NewAnomaly, Page, PageRequest, Scope, Window,
};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::json;

/// Who the audit log names for what follows from a detector's window.
const ACTOR: &str = "detector";

/// An incident with what only the store needs to know of it.
struct Kept {
    incident: Incident,
    /// From the start of the first to the end of the last clean window since it was last seen.
    clean: Option<Window>,
}

impl Kept {
    /// Whether a finding is older than what is known to be clean, so that it changes no verdict: its window ended
    /// before the last clean one did, and lies before the clean ones or belongs to an incident that they resolved.
    fn is_past(&self, finding: &NewAnomaly) -> bool {
        self.clean.is_some_and(|clean| {
            let resolved = self.incident.status == IncidentStatus::Resolved;
            finding.window.end <= clean.end && (resolved || finding.window.start < clean.start)
        })
    }
}

fn upsert(
    tx: &mut Tx<'_>,
    scope: &Scope,
    finding: NewAnomaly,
    policy: &IncidentPolicy,
    now: DateTime<Utc>,
) -> DbResult<IncidentUpsert> {
    let recorded = anomaly::record(tx, scope, finding.clone())?;
    if let Some(id) = &recorded.anomaly.incident_id {
        return Ok(IncidentUpsert::Unchanged(existing(tx.connection, scope, id)?));
    }
    let latest = latest_by_fingerprint(tx.connection, scope, &finding.fingerprint)?;
    let reopen = |kept: &Kept| -> Result<bool> {
        kept.incident.resolved_at.map_or(Ok(false), |resolved| Ok(now <= later(resolved, policy.reopen_within)?))
    };
    let (id, change): (IncidentId, fn(Incident) -> IncidentUpsert) = match latest {
        Some(kept) if kept.is_past(&finding) => {
            add_occurrence(tx, scope, &kept, &finding)?;
            (kept.incident.id, IncidentUpsert::Occurred)
        }
        Some(kept) if kept.incident.status == IncidentStatus::Open => {
            add_occurrence(tx, scope, &kept, &finding)?;
            mark_seen(tx, scope, &kept, now)?;
            (kept.incident.id, IncidentUpsert::Occurred)
        }
        Some(kept) if reopen(&kept)? => {
            add_occurrence(tx, scope, &kept, &finding)?;
            mark_seen(tx, scope, &kept, now)?;
            reopen_row(tx, scope, &kept.incident.id, now)?;
            (kept.incident.id, IncidentUpsert::Reopened)
        }
        _ => (open(tx, scope, &finding, now)?, IncidentUpsert::Opened),
    };
    run(
        tx.connection,
        "UPDATE anomalies SET incident_id = ?3 WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), recorded.anomaly.id, id],
    )?;
    Ok(change(existing(tx.connection, scope, &id)?))
}

fn open(tx: &mut Tx<'_>, scope: &Scope, finding: &NewAnomaly, now: DateTime<Utc>) -> DbResult<IncidentId> {
    let id: IncidentId = tx.ids.next(now);
    run(
        tx.connection,
        "INSERT INTO incidents
             (project_id, id, detector, type, severity, entity, fingerprint, description, status, opened_at,
              window_start, window_end, last_seen_at, occurrences, reopened_count, clean_windows, anomaly_cost_usd,
              updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'open', ?9, ?10, ?11, ?9, 1, 0, 0, ?12, ?9)",
        params![
            scope.project_id(),
            id,
            finding.detector,
            finding.kind,
            finding.severity,
            finding.entity,
            finding.fingerprint,
            finding.description,
            micros(now),
            micros(finding.window.start),
            micros(finding.window.end),
            finding.cost_usd
        ],
    )?;
    let detail = json!({"type": finding.kind, "severity": finding.severity, "entity": finding.entity});
    tx.audit(scope, now, ACTOR, "incident.opened", ("incident", id.as_str()), &detail)?;
    Ok(id)
}

/// The part of a finding's window that lies behind what was seen before and in which the condition was at work, 0 to 1.
fn share_that_is_new(kept: &Kept, finding: &NewAnomaly) -> f64 {
    let new = finding.last_sign() - kept.incident.window.end.max(finding.window.start);
    let whole = finding.window.end - finding.window.start;
    (new.as_seconds_f64() / whole.as_seconds_f64()).clamp(0.0, 1.0)
}

/// Adds what every occurrence adds, wherever it lies: count, window, the worst severity, the cost. Windows overlap: what the new part
/// of one costs is its share of the window's cost; and the whole is never less than the dearest window.
fn add_occurrence(tx: &Tx<'_>, scope: &Scope, kept: &Kept, finding: &NewAnomaly) -> DbResult<()> {
    let window = kept.incident.window.union(&finding.window);
    let newest = finding.window.end >= kept.incident.window.end;
    run(
        tx.connection,
        "UPDATE incidents SET
             occurrences = occurrences + 1,
             severity = ?3,
             window_start = ?4,
             window_end = ?5,
             description = CASE WHEN ?6 THEN ?7 ELSE description END,
             anomaly_cost_usd = max(coalesce(anomaly_cost_usd + ?9 * coalesce(?8, 0.0), ?8), coalesce(?8, anomaly_cost_usd))
         WHERE project_id = ?1 AND id = ?2",
        params![
            scope.project_id(),
            kept.incident.id,
            kept.incident.severity.max(finding.severity),
            micros(window.start),
            micros(window.end),
            newest,
            finding.description,
            finding.cost_usd,
            share_that_is_new(kept, finding)
        ],
    )?;
    Ok(())
}

/// It was seen just now: the count of clean windows begins again.
fn mark_seen(tx: &Tx<'_>, scope: &Scope, kept: &Kept, now: DateTime<Utc>) -> DbResult<()> {
    run(
        tx.connection,
        "UPDATE incidents SET clean_windows = 0, clean_from = NULL, clean_until = NULL,
             last_seen_at = max(last_seen_at, ?3), updated_at = ?3
         WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), kept.incident.id, micros(now)],
    )?;
    Ok(())
}

fn reopen_row(tx: &Tx<'_>, scope: &Scope, id: &IncidentId, now: DateTime<Utc>) -> DbResult<()> {
    run(
        tx.connection,
        "UPDATE incidents SET status = 'open', resolved_at = NULL, reopened_count = reopened_count + 1
         WHERE project_id = ?1 AND id = ?2",
        params![scope.project_id(), id],
    )?;
    tx.audit(scope, now, ACTOR, "incident.reopened", ("incident", id.as_str()), &json!({}))?;
    Ok(())
}

fn count_clean_window(
    tx: &Tx<'_>,
    scope: &Scope,
    judged: &JudgedWindow,
    policy: &IncidentPolicy,
    now: DateTime<Utc>,
) -> DbResult<Vec<Incident>> {
    // Only a window that ends later than all that is known of the incident says something new about it.
    let absent: Vec<(IncidentId, String, i64)> = all(
        tx.connection,
        "SELECT id, fingerprint, clean_windows FROM incidents
         WHERE project_id = ?1 AND detector = ?2 AND status = 'open'
           AND window_end < ?3 AND (clean_until IS NULL OR clean_until < ?3)
         ORDER BY opened_at, id",
        params![scope.project_id(), judged.detector, micros(judged.window.end)],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let mut resolved = Vec::new();
    for (id, fingerprint, clean_windows) in absent {
        if judged.fingerprints_seen.contains(&fingerprint) {
            continue;
        }
        let ends = clean_windows + 1 >= i64::from(policy.clean_windows_to_resolve);
        run(
            tx.connection,
            "UPDATE incidents SET
                 clean_windows = clean_windows + 1,
                 clean_from = coalesce(clean_from, ?3),
                 clean_until = ?4,
                 status = CASE WHEN ?5 THEN 'resolved' ELSE status END,
                 resolved_at = CASE WHEN ?5 THEN ?6 END,
                 updated_at = ?6
             WHERE project_id = ?1 AND id = ?2",
            params![scope.project_id(), id, micros(judged.window.start), micros(judged.window.end), ends, micros(now)],
        )?;
        if ends {
            let detail = json!({"clean_windows": clean_windows + 1});
            tx.audit(scope, now, ACTOR, "incident.resolved", ("incident", id.as_str()), &detail)?;
            resolved.push(existing(tx.connection, scope, &id)?);
        }
    }
    Ok(resolved)
}

fn set_investigation(
    tx: &Tx<'_>,
    scope: &Scope,
    id: &IncidentId,
    found: &Investigation,
    now: DateTime<Utc>,
) -> DbResult<Incident> {
    run(
        tx.connection,
        "UPDATE incidents SET culprit_sha = ?3, cost_usd = ?4, narrative = ?5, narrative_parts = ?6, narrator = ?7,
             suspects = ?8, timeline = ?9, gaps = ?10, evidence_sha256 = ?11, investigated_at = ?12, updated_at = ?12
         WHERE project_id = ?1 AND id = ?2",
        params![
            scope.project_id(),
            id,
            found.culprit_sha,
            found.cost_usd,
            found.narrative,
            to_json(&found.narrative_parts)?,
            found.narrator,
            to_json(&found.suspects)?,
            to_json(&found.timeline)?,
            to_json(&found.gaps)?,
            found.evidence_sha256,
            micros(now)
        ],
    )?;
    existing(tx.connection, scope, id)
}

fn latest_by_fingerprint(connection: &Connection, scope: &Scope, fingerprint: &str) -> DbResult<Option<Kept>> {
    one(
        connection,
        "SELECT * FROM incidents WHERE project_id = ?1 AND fingerprint = ?2 ORDER BY opened_at DESC, id DESC LIMIT 1",
        params![scope.project_id(), fingerprint],
        |row| {
            let (from, until) = (row.time_opt("clean_from")?, row.time_opt("clean_until")?);
            let clean = from.zip(until).map(|(start, end)| Window { start, end });
            Ok(Kept { incident: read_incident(row)?, clean })
        },
    )
}

fn find(connection: &Connection, scope: &Scope, id: &IncidentId) -> DbResult<Option<Incident>> {
    let sql = "SELECT * FROM incidents WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_incident)
}

/// The incident, or `NotFound`.
pub(super) fn existing(connection: &Connection, scope: &Scope, id: &IncidentId) -> DbResult<Incident> {
    find(connection, scope, id)?.ok_or_else(|| StoreError::not_found("incident", id).into())
}

fn read_incident(row: &Row<'_>) -> rusqlite::Result<Incident> {
    let investigated_cost: Option<f64> = row.get("cost_usd")?;
    Ok(Incident {
        id: row.get("id")?,
        detector: row.get("detector")?,
        kind: row.get("type")?,
        severity: row.get("severity")?,
        entity: row.get("entity")?,
        fingerprint: row.get("fingerprint")?,
        description: row.get("description")?,
        status: row.get("status")?,
        opened_at: row.time("opened_at")?,
        window: Window { start: row.time("window_start")?, end: row.time("window_end")? },
        last_seen_at: row.time("last_seen_at")?,
        occurrences: row.get("occurrences")?,
        reopened_count: row.get("reopened_count")?,
        clean_windows: row.get("clean_windows")?,
        resolved_at: row.time_opt("resolved_at")?,
        culprit_sha: row.get("culprit_sha")?,
        cost_usd: match investigated_cost {
            Some(cost) => Some(cost),
            None => row.get("anomaly_cost_usd")?,
        },
        narrative: row.get("narrative")?,
        narrative_parts: row.json_opt("narrative_parts")?,
        narrator: row.get("narrator")?,
        suspects: row.json("suspects")?,
        timeline: row.json("timeline")?,
        gaps: row.json("gaps")?,
        evidence_sha256: row.get("evidence_sha256")?,
        investigated_at: row.time_opt("investigated_at")?,
        slack_channel: row.get("slack_channel")?,
        slack_ts: row.get("slack_ts")?,
        github_issue_url: row.get("github_issue_url")?,
        updated_at: row.time("updated_at")?,
    })
}

#[async_trait]
impl Incidents for SqliteStore {
    async fn upsert_by_fingerprint(
        &self,
        scope: &Scope,
        anomaly: NewAnomaly,
        policy: &IncidentPolicy,
        now: DateTime<Utc>,
    ) -> Result<IncidentUpsert> {
        let (scope, policy) = (scope.clone(), *policy);
        self.write("adding an anomaly to its incident", move |tx| upsert(tx, &scope, anomaly, &policy, now)).await
    }

    async fn record_clean_window(
        &self,
        scope: &Scope,
        judged: JudgedWindow,
        policy: &IncidentPolicy,
        now: DateTime<Utc>,
    ) -> Result<Vec<Incident>> {
        let (scope, policy) = (scope.clone(), *policy);
        self.write("counting a clean window", move |tx| count_clean_window(tx, &scope, &judged, &policy, now)).await
    }

    async fn set_investigation(
        &self,
        scope: &Scope,
        id: &IncidentId,
        investigation: Investigation,
        now: DateTime<Utc>,
    ) -> Result<Incident> {
        let (scope, id) = (scope.clone(), id.clone());
        self.write("keeping an investigation", move |tx| set_investigation(tx, &scope, &id, &investigation, now)).await
    }

    async fn set_investigations(
        &self,
        scope: &Scope,
        found: Vec<(IncidentId, Investigation)>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let scope = scope.clone();
        self.write("keeping investigations", move |tx| {
            found.iter().try_for_each(|(id, found)| set_investigation(tx, &scope, id, found, now).map(|_| ()))
        })
        .await
    }

    async fn set_message(
        &self,
        scope: &Scope,
        id: &IncidentId,
        slack_channel: &str,
        slack_ts: &str,
        now: DateTime<Utc>,
    ) -> Result<Incident> {
        let (scope, id) = (scope.clone(), id.clone());
        let (channel, ts) = (slack_channel.to_owned(), slack_ts.to_owned());
        self.write("keeping an incident's message", move |tx| {
            let sql = "UPDATE incidents SET slack_channel = ?3, slack_ts = ?4, updated_at = ?5
                       WHERE project_id = ?1 AND id = ?2";
            run(tx.connection, sql, params![scope.project_id(), id, channel, ts, micros(now)])?;
            existing(tx.connection, &scope, &id)
        })
        .await
    }

    async fn set_github_issue(
        &self,
        scope: &Scope,
        id: &IncidentId,
        url: &str,
        now: DateTime<Utc>,
    ) -> Result<Incident> {
        let (scope, id, url) = (scope.clone(), id.clone(), url.to_owned());
        self.write("keeping an incident's issue", move |tx| {
            let sql = "UPDATE incidents SET github_issue_url = ?3, updated_at = ?4 WHERE project_id = ?1 AND id = ?2";
            run(tx.connection, sql, params![scope.project_id(), id, url, micros(now)])?;
            existing(tx.connection, &scope, &id)
        })
        .await
    }

    async fn get(&self, scope: &Scope, id: &IncidentId) -> Result<Option<Incident>> {
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading an incident", move |connection| find(connection, &scope, &id)).await
    }

    async fn latest_by_fingerprint(&self, scope: &Scope, fingerprint: &str) -> Result<Option<Incident>> {
        let (scope, fingerprint) = (scope.clone(), fingerprint.to_owned());
        self.read("reading an incident", move |connection| {
            Ok(latest_by_fingerprint(connection, &scope, &fingerprint)?.map(|kept| kept.incident))
        })
        .await
    }

    async fn loop_details(&self, scope: &Scope, ids: &[IncidentId]) -> Result<Vec<LoopDetail>> {
        let (scope, ids) = (scope.clone(), ids.to_vec());
        self.read("reading what belongs to loops", move |connection| loops::details(connection, &scope, &ids)).await
    }

    async fn list(&self, scope: &Scope, filter: &IncidentFilter, page: &PageRequest) -> Result<Page<Incident>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing incidents", move |connection| {
            Filter::scoped(&scope)
                .equal("status", filter.status)
                .equal("type", filter.kind)
                .equal("detector", filter.detector)
                .since("opened_at", filter.since)
                .page(connection, "incidents", "opened_at", &page, read_incident)
        })
        .await
    }
}
