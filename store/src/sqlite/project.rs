//! Projects on SQLite.

use super::SqliteStore;
use super::values::{RowExt, all, micros, run, whole_micros};
use crate::model::{Project, ProjectId, Projects, Scope};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::params;
use serde_json::json;

/// Characters of a project's name at most.
const MAX_NAME: usize = 200;

#[async_trait]
impl Projects for SqliteStore {
    async fn create_by(&self, id: &ProjectId, name: &str, by: &str, now: DateTime<Utc>) -> Result<Project> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if id.as_str().is_empty() || id.as_str().len() > 64 || !id.as_str().bytes().all(allowed) {
            return Err(StoreError::invalid("project", "an id has 1 to 64 characters of a-z 0-9 - _"));
        }
        let length = name.chars().count();
        if name.trim().is_empty() || length > MAX_NAME || name.chars().any(char::is_control) {
            let reason = format!("a project's name has 1 to {MAX_NAME} printable characters, not {length}");
            return Err(StoreError::invalid("name", reason));
        }
        let by = by.to_owned();
        let project = Project { id: id.clone(), name: name.to_owned(), created_at: Some(whole_micros(now)) };
        self.write("making a project", move |tx| {
            let made = run(
                tx.connection,
                "INSERT INTO projects (id, name, created_at) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                params![project.id, project.name, micros(now)],
            )?;
            if made == 0 {
                return Err(StoreError::Conflict { what: "project", id: project.id.to_string() }.into());
            }
            let scope = Scope::project(project.id.clone());
            let detail = json!({"name": project.name});
            tx.audit(&scope, now, &by, "project.created", ("project", project.id.as_str()), &detail)?;
            Ok(project)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Project>> {
        self.read("listing projects", |connection| {
            all(connection, "SELECT * FROM projects ORDER BY id", [], |row| {
                Ok(Project { id: row.get("id")?, name: row.get("name")?, created_at: row.time_opt("created_at")? })
            })
        })
        .await
    }
}
