//! Feedback about incidents on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::incident;
use super::values::{RowExt, all, micros, one, run};
use super::writer::Tx;
use crate::model::{Feedback, IncidentFeedback, IncidentId, IncidentPrecision, NewFeedback, Scope};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, params};
use serde_json::json;

/// Characters of a comment at most.
const MAX_COMMENT: usize = 1_000;

fn read_feedback(row: &Row<'_>) -> rusqlite::Result<Feedback> {
    Ok(Feedback {
        feedback: NewFeedback {
            incident_id: row.get("incident_id")?,
            correct: row.get("correct")?,
            given_by: row.get("given_by")?,
            via: row.get("via")?,
            comment: row.get("comment")?,
        },
        given_at: row.time("given_at")?,
    })
}

fn of_person(connection: &Connection, scope: &Scope, id: &IncidentId, person: &str) -> DbResult<Option<Feedback>> {
    let sql = "SELECT * FROM incident_feedback WHERE project_id = ?1 AND incident_id = ?2 AND given_by = ?3";
    one(connection, sql, params![scope.project_id(), id, person], read_feedback)
}

fn give(tx: &mut Tx<'_>, scope: &Scope, new: NewFeedback, now: DateTime<Utc>) -> DbResult<Feedback> {
    incident::existing(tx.connection, scope, &new.incident_id)?;
    if let Some(known) = of_person(tx.connection, scope, &new.incident_id, &new.given_by)?
        && known.feedback.correct == new.correct
        && known.feedback.comment == new.comment
    {
        return Ok(known);
    }
    run(
        tx.connection,
        "INSERT INTO incident_feedback (project_id, incident_id, given_by, correct, comment, via, given_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (project_id, incident_id, given_by) DO UPDATE SET
             correct = excluded.correct, comment = excluded.comment, via = excluded.via, given_at = excluded.given_at",
        params![scope.project_id(), new.incident_id, new.given_by, new.correct, new.comment, new.via, micros(now)],
    )?;
    let detail = json!({"correct": new.correct, "via": new.via, "comment": new.comment});
    tx.audit(scope, now, &new.given_by, "incident.feedback", ("incident", new.incident_id.as_str()), &detail)?;
    of_person(tx.connection, scope, &new.incident_id, &new.given_by)?
        .ok_or_else(|| StoreError::not_found("feedback", &new.given_by).into())
}

#[async_trait]
impl IncidentFeedback for SqliteStore {
    async fn give(&self, scope: &Scope, new: NewFeedback, now: DateTime<Utc>) -> Result<Feedback> {
        if new.comment.as_ref().is_some_and(|comment| comment.chars().count() > MAX_COMMENT) {
            return Err(StoreError::invalid("comment", format!("it has more than {MAX_COMMENT} characters")));
        }
        let scope = scope.clone();
        self.write("keeping feedback about an incident", move |tx| give(tx, &scope, new, now)).await
    }

    async fn list(&self, scope: &Scope, incident_id: &IncidentId) -> Result<Vec<Feedback>> {
        let (scope, id) = (scope.clone(), incident_id.clone());
        self.read("listing feedback about an incident", move |connection| {
            let sql = "SELECT * FROM incident_feedback WHERE project_id = ?1 AND incident_id = ?2
                       ORDER BY given_at DESC, given_by DESC";
            all(connection, sql, params![scope.project_id(), id], read_feedback)
        })
        .await
    }

    async fn precision(&self, scope: &Scope) -> Result<Vec<IncidentPrecision>> {
        let scope = scope.clone();
        self.read("counting what people say of detectors", move |connection| {
            let sql = "SELECT * FROM detector_precision WHERE project_id = ?1 ORDER BY detector";
            all(connection, sql, params![scope.project_id()], |row| {
                Ok(IncidentPrecision {
                    detector: row.get("detector")?,
                    incidents: row.get("incidents")?,
                    marked_right: row.get("marked_right")?,
                    marked_wrong: row.get("marked_wrong")?,
                    precision: row.get("precision")?,
                })
            })
        })
        .await
    }
}
