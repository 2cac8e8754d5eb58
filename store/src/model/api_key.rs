//! API keys: who may do what. The secret is shown once and kept as a hash only.

use super::{ApiKeyId, ProjectId, Scope, text_enum};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

text_enum! {
    /// What a key allows.
    pub enum KeyScope ("scope") {
        /// Read everything of its project, SQL included.
        Read = "read",
        /// Send events.
        Ingest = "ingest",
        /// Decide, acknowledge, run jobs.
        Operate = "operate",
        /// Manage keys and settings.
        Admin = "admin",
    }
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewApiKey {
    /// Its name; unique among the keys of the project that are not revoked (approvers are listed by it).
    pub name: String,
    /// The person behind it, used as `resolved_by`.
    pub person: String,
    /// What it allows; at least one.
    pub scopes: BTreeSet<KeyScope>,
    /// The project (customer) whose rows it sees and makes; `None` is the default project.
    pub project: Option<ProjectId>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The project whose rows it sees and makes.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// The person behind it.
    pub person: String,
    /// What it allows.
    pub scopes: BTreeSet<KeyScope>,
    /// The first characters of the secret, to tell keys apart.
    pub prefix: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last used, to within some minutes.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// The scope that answers to this key are limited to.
    pub fn scope(&self) -> Scope {
        Scope::project(self.project_id.clone())
    }

    /// Whether it allows something. `admin` allows everything.
    pub fn allows(&self, scope: KeyScope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&KeyScope::Admin)
    }
}

/// A key that was just made.
#[derive(Debug)]
pub struct CreatedApiKey {
    /// The key.
    pub key: ApiKey,
    /// Its secret, `tl_` and 43 characters (256 random bits). Never to be had again.
    pub secret: SecretString,
}

/// A browser that signed in.
#[derive(Debug)]
pub struct SignedIn {
    /// The key it acts with; once that is revoked, the session is none.
    pub key: ApiKey,
    /// What the browser sends from now on, `tls_` and 43 characters. Kept as a hash only.
    pub session: SecretString,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

/// The API keys of an installation.
#[async_trait]
pub trait ApiKeys: Send + Sync {
    /// Makes a key, as the administrator of this machine.
    ///
    /// # Errors
    /// As [`create_by`](Self::create_by).
    async fn create(&self, new: NewApiKey, now: DateTime<Utc>) -> Result<CreatedApiKey> {
        self.create_by(new, "admin", now).await
    }

    /// Makes a key; the audit log says who did.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `Invalid` when name, person or scopes are empty or a text is longer than 200
    /// characters, `NotFound` when there is no such project.
    async fn create_by(&self, new: NewApiKey, by: &str, now: DateTime<Utc>) -> Result<CreatedApiKey>;

    /// The live key with this secret; `None` for anything else. The secret is looked up by its SHA-256, so the time it takes
    /// says nothing about how much of a guess was right.
    async fn verify(&self, secret: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>>;

    /// All keys, revoked ones too, newest first.
    async fn list(&self) -> Result<Vec<ApiKey>>;

    /// Revokes a key, by id; from the next [`verify`](Self::verify) on it is none. Doing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    async fn revoke(&self, id: &ApiKeyId, by: &str, now: DateTime<Utc>) -> Result<ApiKey>;

    /// A secret, `tll_` and 43 characters, with which a browser signs in as this key: once, within `valid_for`.
    ///
    /// # Errors
    /// `NotFound` when there is no such key, `Conflict` when it is revoked.
    async fn make_link(
        &self,
        id: &ApiKeyId,
        by: &str,
        valid_for: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<SecretString>;

    /// Begins a session with the secret of a live key, or with that of a link, which is used up; `None` for anything else.
    async fn sign_in(&self, secret: &str, lasts: TimeDelta, now: DateTime<Utc>) -> Result<Option<SignedIn>>;

    /// The live key behind a session that has not ended; `None` for anything else.
    async fn session(&self, session: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>>;

    /// Ends a session. One that is none is none afterwards.
    async fn sign_out(&self, session: &str) -> Result<()>;
}
