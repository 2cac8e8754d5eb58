//! Projects: whose rows are whose.

use super::ProjectId;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One project. A fresh installation has one, called `default`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// What people call it.
    pub name: String,
    /// When it was made; `None` for the one every database begins with.
    pub created_at: Option<DateTime<Utc>>,
}

/// The projects of an installation.
#[async_trait]
pub trait Projects: Send + Sync {
    /// Makes a project, as the administrator of this machine.
    ///
    /// # Errors
    /// As [`create_by`](Self::create_by).
    async fn create(&self, id: &ProjectId, name: &str, now: DateTime<Utc>) -> Result<Project> {
        self.create_by(id, name, "admin", now).await
    }

    /// Makes a project, and puts on the record, in the same transaction and in the project's own log, who did.
    ///
    /// # Errors
    /// `Conflict` when the id is taken, `Invalid` when it is not 1–64 characters of `a-z 0-9 - _`, or the name not 1–200
    /// printable characters.
    async fn create_by(&self, id: &ProjectId, name: &str, by: &str, now: DateTime<Utc>) -> Result<Project>;

    /// All projects, by id.
    async fn list(&self) -> Result<Vec<Project>>;
}
