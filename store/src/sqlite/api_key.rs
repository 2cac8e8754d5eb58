//! API keys on SQLite.

use super::SqliteStore;
use super::values::{RowExt, all, micros, one, run, to_json};
use super::writer::Tx;
use crate::canonical::sha256_hex;
use crate::model::{ApiKey, ApiKeyId, ApiKeys, CreatedApiKey, DEFAULT_PROJECT, NewApiKey, ProjectId, Scope, SignedIn};
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

/// Characters of a key's name, and of its person's, at most.
const MAX_NAME: usize = 200;

/// What the secret of a link begins with, and that of a session.
const LINK: &str = "tll_";
const SESSION: &str = "tls_";

/// When the use of each key was last handed to the writer.
pub(crate) type LastUses = Mutex<HashMap<ApiKeyId, DateTime<Utc>>>;

fn create(
    tx: &mut Tx<'_>,
    (new, secret): (&NewApiKey, &SecretString),
    expires_at: Option<DateTime<Utc>>,
    by: &str,
    now: DateTime<Utc>,
) -> DbResult<ApiKey> {
    let project = new.project.clone().unwrap_or_else(|| ProjectId::new(DEFAULT_PROJECT));
    let known = one(tx.connection, "SELECT 1 FROM projects WHERE id = ?1", params![project], |_| Ok(()))?;
    if known.is_none() {
        return Err(StoreError::not_found("project", &project).into());
    }
    let id: ApiKeyId = tx.ids.next(now);
    let prefix: String = secret.expose_secret().chars().take(SHOWN).collect();
    let made = run(
        tx.connection,
        "INSERT INTO api_keys (project_id, id, name, person, scopes, prefix, secret_sha256, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (project_id, name) WHERE revoked_at IS NULL DO NOTHING",
        params![
            project,
            id,
            new.name,
            new.person,
            to_json(&new.scopes)?,
            prefix,
            sha256_hex(secret.expose_secret()),
            micros(now),
            expires_at.map(micros)
        ],
    )?;
    if made == 0 {
        return Err(StoreError::Conflict { what: "API key", id: new.name.clone() }.into());
    }
    let mut detail = json!({"name": new.name, "person": new.person, "scopes": new.scopes, "prefix": prefix});
    if let (Some(end), Some(fields)) = (expires_at, detail.as_object_mut()) {
        fields.insert("expires_at".to_owned(), json!(end));
    }
    tx.audit(&Scope::project(project), now, by, "api_key.created", ("api_key", id.as_str()), &detail)?;
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
        expires_at: row.time_opt("expires_at")?,
        revoked_at: row.time_opt("revoked_at")?,
    })
}

/// 256 bits from the operating system, in URL-safe base 64 without padding: 43 characters.
fn new_secret(prefix: &str) -> Result<SecretString> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = [0_u8; 43];
    OsRng.try_fill_bytes(&mut bytes).map_err(|error| StoreError::Database {
        doing: "taking randomness from the operating system",
        message: error.to_string(),
    })?;
    // Six bits of each byte: 43 × 6 = 258 random bits, each character equally likely.
    let text: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect();
    Ok(SecretString::from(format!("{prefix}{text}")))
}

/// Keeps the hash of a secret that stands for a key until it expires.
fn keep(
    tx: &mut Tx<'_>,
    key: &ApiKey,
    (kind, secret): (&str, &SecretString),
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DbResult<()> {
    run(tx.connection, "DELETE FROM sign_ins WHERE expires_at <= ?1", params![micros(now)])?;
    run(
        tx.connection,
        "INSERT INTO sign_ins (secret_sha256, kind, project_id, key_id, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![sha256_hex(secret.expose_secret()), kind, key.project_id, key.id, micros(now), micros(expires_at)],
    )
    .map(drop)
}

const LIVE_SIGN_IN: &str = "SELECT k.* FROM sign_ins s
    JOIN api_keys k ON k.project_id = s.project_id AND k.id = s.key_id
    WHERE s.secret_sha256 = ?1 AND s.kind = ?2 AND s.expires_at > ?3 AND k.revoked_at IS NULL
      AND (k.expires_at IS NULL OR k.expires_at > ?3)";

const LIVE_KEY: &str = "SELECT * FROM api_keys WHERE secret_sha256 = ?1 AND revoked_at IS NULL
      AND (expires_at IS NULL OR expires_at > ?2)";

fn make_link(
    tx: &mut Tx<'_>,
    id: &ApiKeyId,
    by: &str,
    secret: &SecretString,
    valid_for: TimeDelta,
    now: DateTime<Utc>,
) -> DbResult<()> {
    let key = existing(tx.connection, id)?;
    if !key.is_live(now) {
        return Err(StoreError::Conflict { what: "ended API key", id: id.to_string() }.into());
    }
    keep(tx, &key, ("link", secret), now + valid_for, now)?;
    let detail = json!({"name": key.name, "valid_seconds": valid_for.num_seconds()});
    tx.audit(&key.scope(), now, by, "api_key.link_made", ("api_key", id.as_str()), &detail).map(drop)
}

/// Begins a session: a link is used up by the same transaction, so it signs in once.
fn sign_in(
    tx: &mut Tx<'_>,
    secret: &SecretString,
    session: &SecretString,
    expires_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> DbResult<Option<ApiKey>> {
    let hash = sha256_hex(secret.expose_secret());
    let by_link = secret.expose_secret().starts_with(LINK);
    let key = if by_link {
        let key = one(tx.connection, LIVE_SIGN_IN, params![hash, "link", micros(now)], read_key)?;
        run(tx.connection, "DELETE FROM sign_ins WHERE secret_sha256 = ?1 AND kind = 'link'", params![hash])?;
        key
    } else {
        one(tx.connection, LIVE_KEY, params![hash, micros(now)], read_key)?
    };
    let Some(key) = key else { return Ok(None) };
    keep(tx, &key, ("session", session), expires_at, now)?;
    let detail = json!({"name": key.name, "by": if by_link { "link" } else { "key" }});
    tx.audit(&key.scope(), now, &key.person, "api_key.signed_in", ("api_key", key.id.as_str()), &detail)?;
    Ok(Some(key))
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
    async fn create_until(
        &self,
        new: NewApiKey,
        expires_at: Option<DateTime<Utc>>,
        by: &str,
        now: DateTime<Utc>,
    ) -> Result<CreatedApiKey> {
        for (field, value) in [("name", &new.name), ("person", &new.person)] {
            if value.trim().is_empty() {
                return Err(StoreError::invalid(field, "must not be empty"));
            }
            if value.chars().count() > MAX_NAME || value.chars().any(char::is_control) {
                return Err(StoreError::invalid(field, format!("must be at most {MAX_NAME} printable characters")));
            }
        }
        if new.scopes.is_empty() {
            return Err(StoreError::invalid("scopes", "must not be empty"));
        }
        if expires_at.is_some_and(|end| end <= now) {
            return Err(StoreError::invalid("expires_at", "must be in the future"));
        }
        let secret = new_secret(PREFIX)?;
        let (kept, by) = (secret.clone(), by.to_owned());
        let key = self.write("making an API key", move |tx| create(tx, (&new, &kept), expires_at, &by, now)).await?;
        Ok(CreatedApiKey { key, secret })
    }

    async fn verify(&self, secret: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>> {
        if !secret.starts_with(PREFIX) {
            return Ok(None);
        }
        let hash = sha256_hex(secret);
        let key = self
            .read("verifying an API key", move |connection| {
                one(connection, LIVE_KEY, params![hash, micros(now)], read_key)
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

    async fn make_link(
        &self,
        id: &ApiKeyId,
        by: &str,
        valid_for: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<SecretString> {
        let secret = new_secret(LINK)?;
        let (id, by, kept) = (id.clone(), by.to_owned(), secret.clone());
        self.write("making a link to sign in", move |tx| make_link(tx, &id, &by, &kept, valid_for, now)).await?;
        Ok(secret)
    }

    async fn sign_in(&self, secret: &str, lasts: TimeDelta, now: DateTime<Utc>) -> Result<Option<SignedIn>> {
        // A session is no secret to sign in with, and nothing else may reach the writer.
        if secret.starts_with(SESSION) || !(secret.starts_with(PREFIX) || secret.starts_with(LINK)) {
            return Ok(None);
        }
        let session = new_secret(SESSION)?;
        let (secret, kept, expires_at) = (SecretString::from(secret), session.clone(), now + lasts);
        let key = self.write("signing in", move |tx| sign_in(tx, &secret, &kept, expires_at, now)).await?;
        Ok(key.map(|key| SignedIn { key, session, expires_at }))
    }

    async fn session(&self, session: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>> {
        if !session.starts_with(SESSION) {
            return Ok(None);
        }
        let hash = sha256_hex(session);
        let key = self
            .read("looking a session up", move |connection| {
                one(connection, LIVE_SIGN_IN, params![hash, "session", micros(now)], read_key)
            })
            .await?;
        if let Some(key) = &key {
            self.note_use(key, now);
        }
        Ok(key)
    }

    async fn sign_out(&self, session: &str) -> Result<()> {
        let hash = sha256_hex(session);
        self.write("signing out", move |tx| {
            let sql = "DELETE FROM sign_ins WHERE secret_sha256 = ?1 AND kind = 'session'";
            run(tx.connection, sql, params![hash]).map(drop)
        })
        .await
    }
}
