//! The replay guard on SQLite.

use super::SqliteStore;
use super::values::{all, later, micros, run};
use crate::Result;
use crate::canonical::sha256_hex;
use crate::model::{ReplayGuard, Scope};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::params;
use std::time::Duration;

#[async_trait]
impl ReplayGuard for SqliteStore {
    async fn remember_signature(
        &self,
        scope: &Scope,
        signature: &str,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let (scope, hash) = (scope.clone(), sha256_hex(signature));
        let expires_at = later(now, ttl)?;
        self.write("remembering a signature", move |tx| {
            run(tx.connection, "DELETE FROM accepted_signatures WHERE expires_at <= ?1", params![micros(now)])?;
            let first = run(
                tx.connection,
                "INSERT INTO accepted_signatures (project_id, signature_sha256, expires_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (project_id, signature_sha256) DO NOTHING",
                params![scope.project_id(), hash, micros(expires_at)],
            )?;
            Ok(first == 1)
        })
        .await
    }

    async fn is_remembered(&self, scope: &Scope, signature: &str, now: DateTime<Utc>) -> Result<bool> {
        let (scope, hash) = (scope.clone(), sha256_hex(signature));
        self.read("looking for a signature", move |connection| {
            let found = all(
                connection,
                "SELECT 1 FROM accepted_signatures WHERE project_id = ?1 AND signature_sha256 = ?2 AND expires_at > ?3",
                params![scope.project_id(), hash, micros(now)],
                |_| Ok(()),
            )?;
            Ok(!found.is_empty())
        })
        .await
    }
}
