//! What belongs to the incidents of a listing of loops: one statement for all of them.

use super::connection::DbResult;
use super::values::{RowExt, all, to_json};
use crate::model::{IncidentId, LoopDetail, Scope};
use rusqlite::{Connection, params};

pub(super) fn details(connection: &Connection, scope: &Scope, ids: &[IncidentId]) -> DbResult<Vec<LoopDetail>> {
    all(
        connection,
        "SELECT
             wanted.value AS incident_id,
             (SELECT evidence FROM anomalies
              WHERE project_id = ?1 AND incident_id = wanted.value AND shadow = 0
              ORDER BY detected_at DESC, id DESC LIMIT 1) AS evidence,
             (SELECT status FROM actions
              WHERE project_id = ?1 AND incident_id = wanted.value AND type = 'kill_loop'
              ORDER BY created_at DESC, id DESC LIMIT 1) AS kill_status,
             (SELECT resolved_via FROM approvals
              WHERE project_id = ?1 AND incident_id = wanted.value
              ORDER BY created_at DESC, id DESC LIMIT 1) AS resolved_via
         FROM json_each(?2) AS wanted
         ORDER BY wanted.key",
        params![scope.project_id(), to_json(&ids)?],
        |row| {
            Ok(LoopDetail {
                incident_id: row.get("incident_id")?,
                evidence: row.json_opt("evidence")?,
                kill_status: row.get("kill_status")?,
                resolved_via: row.get("resolved_via")?,
            })
        },
    )
}
