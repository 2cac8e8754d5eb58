//! The replay guard: a signed message is accepted once, also across a restart.

use super::Scope;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// Remembers the signatures that were accepted.
#[async_trait]
pub trait ReplayGuard: Send + Sync {
    /// `true` when this signature was not seen within its time to live, and only once of any number of concurrent
    /// calls. It is on disk before the answer. What has run out is forgotten on the way.
    ///
    /// `ttl` must cover the whole span in which the sender's timestamp is accepted (±300 s for Slack: 600 s).
    /// What is kept is a SHA-256 of the text, never the signature itself.
    async fn remember_signature(
        &self,
        scope: &Scope,
        signature: &str,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> Result<bool>;

    /// Whether a signature is remembered at `now`. Remembers nothing.
    async fn is_remembered(&self, scope: &Scope, signature: &str, now: DateTime<Utc>) -> Result<bool>;
}
