//! Ingested events on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::values::{RowExt, all, micros, run, to_json};
use crate::Result;
use crate::model::{Appended, Event, Events, NewEvent, Scope};
use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

fn append(connection: &Connection, scope: &Scope, event: &NewEvent) -> DbResult<Appended> {
    // Without a target the clause covers both unique indexes: the event id and the hash.
    let stored = run(
        connection,
        "INSERT INTO events (project_id, event_id, run_id, agent_id, session_id, event_type, occurred_at, received_at,
             payload, sha256)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO NOTHING",
        params![
            scope.project_id(),
            event.event_id,
            event.run_id,
            event.agent_id,
            event.session_id,
            event.event_type,
            micros(event.at),
            micros(event.received_at),
            to_json(&event.payload)?,
            event.sha256()
        ],
    )?;
    Ok(if stored == 1 { Appended::Stored } else { Appended::Duplicate })
}

fn read_event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        seq: row.get("seq")?,
        event: NewEvent {
            event_id: row.get("event_id")?,
            run_id: row.get("run_id")?,
            agent_id: row.get("agent_id")?,
            session_id: row.get("session_id")?,
            event_type: row.get("event_type")?,
            at: row.time("occurred_at")?,
            received_at: row.time("received_at")?,
            payload: row.json("payload")?,
        },
        sha256: row.get("sha256")?,
    })
}

#[async_trait]
impl Events for SqliteStore {
    async fn append_events(&self, scope: &Scope, events: Vec<NewEvent>) -> Result<Vec<Appended>> {
        let scope = scope.clone();
        self.write("appending events", move |tx| {
            events.iter().map(|event| append(tx.connection, &scope, event)).collect()
        })
        .await
    }

    async fn of_run(&self, scope: &Scope, run_id: &str) -> Result<Vec<Event>> {
        let (scope, run_id) = (scope.clone(), run_id.to_owned());
        self.read("reading the events of a run", move |connection| {
            let sql = "SELECT * FROM events WHERE project_id = ?1 AND run_id = ?2 ORDER BY occurred_at, seq";
            all(connection, sql, params![scope.project_id(), run_id], read_event)
        })
        .await
    }
}
