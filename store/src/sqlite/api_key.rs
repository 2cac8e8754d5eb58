//! API keys on SQLite.

use super::SqliteStore;
use super::values::{RowExt, all, micros, one, run, to_json};
use super::writer::Tx;
use crate::canonical::sha256_hex;
use crate::model::{ApiKey, ApiKeyId, ApiKeys, CreatedApiKey, DEFAULT_PROJECT, NewApiKey, ProjectId, Scope};
use crate::sqlite::connection::DbResult;
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use rand::TryRngCore;
use rand::rngs::OsRng;
use rusqlite::{Connection, Row, params};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What every secret begins with, so that scanners recognise a leaked one.
const PREFIX: &str = "tl_";
/// How many characters of a secret are kept to tell keys apart: 5 random ones of 43.
const SHOWN: usize = 8;
/// A use is written down at most this often per key, not with every request.
const USE_EVERY: TimeDelta = TimeDelta::minutes(5);

/// When the use of each key was last handed to the writer.
pub(crate) type LastUses = Mutex<HashMap<ApiKeyId, DateTime<Utc>>>;

fn create(tx: &mut Tx<'_>, new: &NewApiKey, secret: &SecretString, now: DateTime<Utc>) -> DbResult<ApiKey> {
    let project = new.project.clone().unwrap_or_else(|| ProjectId::new(DEFAULT_PROJECT));
    let known = one(tx.connection, "SELECT 1 FROM projects WHERE id = ?1", params![project], |_| Ok(()))?;
    if known.is_none() {
        return Err(StoreError::not_found("project", &project).into());
    }
    let id: ApiKeyId = tx.ids.next(now);
    let prefix: String = secret.expose_secret().chars().take(SHOWN).collect();
    let made = run(
        tx.connection,
        "INSERT INTO api_keys (project_id, id, name, person, scopes, prefix, secret_sha256, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (project_id, name) WHERE revoked_at IS NULL DO NOTHING",
        params![
            project,
            id,
            new.name,
            new.person,
            to_json(&new.scopes)?,
            prefix,
            sha256_hex(secret.expose_secret()),
            micros(now)
        ],
    )?;
    if made == 0 {
        return Err(StoreError::Conflict { what: "API key", id: new.name.clone() }.into());
    }
    let detail = json!({"name": new.name, "person": new.person, "scopes": new.scopes, "prefix": prefix});
    tx.audit(&Scope::project(project), now, "admin", "api_key.created", ("api_key", id.as_str()), &detail)?;
    existing(tx.connection, &id)
}

fn existing(connection: &Connection, id: &ApiKeyId) -> DbResult<ApiKey> {
    one(connection, "SELECT * FROM api_keys WHERE id = ?1", params![id], read_key)?
        .ok_or_else(|| StoreError::not_found("API key", id).into())
}

fn read_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.get("id")?,
        project_id: row.get("project_id")?,
        name: row.get("name")?,
        person: row.get("person")?,
        scopes: row.json("scopes")?,
        prefix: row.get("prefix")?,
        created_at: row.time("created_at")?,
        last_used_at: row.time_opt("last_used_at")?,
        revoked_at: row.time_opt("revoked_at")?,
    })
}

/// 256 bits from the operating system, in URL-safe base 64 without padding: 43 characters.
fn new_secret() -> Result<SecretString> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0_u8; 43];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Database {
        doing: "taking randomness from the operating system",
        message: error.to_string(),
    })?;
    // Six bits of each byte: 43 × 6 = 258 random bits, each character equally likely.
    let text: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    Ok(SecretString::from(format!("{PREFIX}{text}")))
}

impl SqliteStore {
    /// Hands the use of a key to the writer, unless that was done lately. Losing one in a crash is no loss.
    fn note_use(&self, key: &ApiKey, now: DateTime<Utc>) {
        let due = |last: Option<DateTime<Utc>>| last.is_none_or(|last| now - last >= USE_EVERY);
        if !due(key.last_used_at) {
            return;
        }
        let mut last_uses = self.last_uses().lock().unwrap_or_else(PoisonError::into_inner);
        if !due(last_uses.get(&key.id).copied()) {
            return;
        }
        let id = key.id.clone();
        let taken = self.write_later("noting the use of an API key", move |tx| {
            let sql = "UPDATE api_keys SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1";
            run(tx.connection, sql, params![id, micros(now)]).map(drop)
        });
        if taken {
            last_uses.insert(key.id.clone(), now);
        }
    }
}

#[async_trait]
impl ApiKeys for SqliteStore {
    async fn create(&self, new: NewApiKey, now: DateTime<Utc>) -> Result<CreatedApiKey> {
        for (field, value) in [("name", &new.name), ("person", &new.person)] {
            if value.trim().is_empty() {
                return Err(StoreError::invalid(field, "must not be empty"));
            }
        }
        if new.scopes.is_empty() {
            return Err(StoreError::invalid("scopes", "must not be empty"));
        }
        let secret = new_secret()?;
        let kept = secret.clone();
        let key = self.write("making an API key", move |tx| create(tx, &new, &kept, now)).await?;
        Ok(CreatedApiKey { key, secret })
    }

    async fn verify(&self, secret: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>> {
        if !secret.starts_with(PREFIX) {
            return Ok(None);
        }
        let hash = sha256_hex(secret);
        let key = self
            .read("verifying an API key", move |connection| {
                let sql = "SELECT * FROM api_keys WHERE secret_sha256 = ?1 AND revoked_at IS NULL";
                one(connection, sql, params![hash], read_key)
            })
            .await?;
        if let Some(key) = &key {
            self.note_use(key, now);
        }
        Ok(key)
    }

    async fn list(&self) -> Result<Vec<ApiKey>> {
        self.read("listing API keys", |connection| {
            all(connection, "SELECT * FROM api_keys ORDER BY created_at DESC, id DESC", [], read_key)
        })
        .await
    }

    async fn revoke(&self, id: &ApiKeyId, by: &str, now: DateTime<Utc>) -> Result<ApiKey> {
        let (id, by) = (id.clone(), by.to_owned());
        self.write("revoking an API key", move |tx| {
            let revoked = run(
                tx.connection,
                "UPDATE api_keys SET revoked_at = ?2, revoked_by = ?3 WHERE id = ?1 AND revoked_at IS NULL",
                params![id, micros(now), by],
            )?;
            let key = existing(tx.connection, &id)?;
            if revoked == 1 {
                let detail = json!({"name": key.name});
                tx.audit(&key.scope(), now, &by, "api_key.revoked", ("api_key", id.as_str()), &detail)?;
            }
            Ok(key)
        })
        .await
    }
}
