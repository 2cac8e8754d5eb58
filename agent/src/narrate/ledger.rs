//! The budget of a model: how much may be asked, counted over what was kept of earlier requests.
//!
//! Must hold: a restart does not renew the budget; when it cannot be counted, nothing is sent.

use chrono::TimeDelta;
use tripline_engine::SharedClock;
use tripline_store::{Scope, Store};

use crate::AgentContext;
use crate::settings::NarratorSettings;

/// Counts what a model was asked. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    store: Store,
    scope: Scope,
    clock: SharedClock,
    /// Whose explanations have a limit of their own.
    key: Option<String>,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

impl Ledger {
    /// The ledger of an installation.
    #[must_use]
    pub fn new(ctx: &AgentContext) -> Self {
        Self { store: ctx.store.clone(), scope: ctx.scope.clone(), clock: ctx.clock.clone(), key: None }
    }

    /// The ledger of a project, for what one API key has explained: its own limit holds too.
    #[must_use]
    pub fn of_key(store: Store, scope: Scope, clock: SharedClock, key: &str) -> Self {
        Self { store, scope, clock, key: Some(key.to_owned()) }
    }

    /// Whether something may be sent now.
    ///
    /// # Errors
    /// Why not, in a phrase.
    pub async fn allows(&self, limits: &NarratorSettings) -> Result<(), String> {
        let now = self.clock.now();
        let used = |since| self.store.narrations.used_since(&self.scope, since);
        let unknown = |error: tripline_store::StoreError| format!("what was used cannot be counted ({error})");
        let hour = used(now - TimeDelta::hours(1)).await.map_err(unknown)?;
        if hour.requests >= i64::from(limits.max_requests_per_hour) {
            return Err(format!(
                "{} requests within the hour, of {} allowed (narrator.max_requests_per_hour)",
                hour.requests, limits.max_requests_per_hour
            ));
        }
        if let Some(key) = &self.key {
            let explained = self.store.narrations.explained_since(&self.scope, key, now - TimeDelta::hours(1));
            let explained = explained.await.map_err(unknown)?;
            if explained.requests >= i64::from(limits.max_requests_per_key_per_hour) {
                return Err(format!(
                    "{} requests within the hour for this key, of {} allowed (narrator.max_requests_per_key_per_hour)",
                    explained.requests, limits.max_requests_per_key_per_hour
                ));
            }
        }
        let day = used(now - TimeDelta::hours(24)).await.map_err(unknown)?;
        if day.tokens >= i64::try_from(limits.max_tokens_per_day).unwrap_or(i64::MAX) {
            return Err(format!(
                "{} tokens within 24 hours, of {} allowed (narrator.max_tokens_per_day)",
                day.tokens, limits.max_tokens_per_day
            ));
        }
        Ok(())
    }
}
