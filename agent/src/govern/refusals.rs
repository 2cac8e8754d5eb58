//! The record of refused webhooks, bounded.
//!
//! Owns how many refusals are written one by one, and the counting of the rest. Does not own the audit log.
//!
//! Must hold: whoever sends forged requests as fast as they can adds at most [`PER_MINUTE`] rows and one counter row a
//! minute; no row holds anything they sent.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tripline_store::{ExactJson, NewAuditEntry, Scope, Store, StoreError};

/// How many refusals a minute are written as rows of their own.
pub(crate) const PER_MINUTE: u32 = 20;

/// Writes refusals to the audit log.
pub struct RefusalLog {
    store: Store,
    scope: Scope,
    current: Mutex<Minute>,
}

impl std::fmt::Debug for RefusalLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusalLog").finish_non_exhaustive()
    }
}

/// What happened within the minute that began at `since`.
#[derive(Debug, Default)]
struct Minute {
    since: Option<DateTime<Utc>>,
    written: u32,
    suppressed: BTreeMap<&'static str, u64>,
}

/// Refusals that were only counted.
#[derive(Debug, PartialEq, Eq)]
struct Suppressed {
    since: DateTime<Utc>,
    by_reason: BTreeMap<&'static str, u64>,
}

impl Minute {
    /// Ends the minute when it is over, or when told to. What was only counted is to be written as one row.
    fn roll(&mut self, now: DateTime<Utc>, even_if_running: bool) -> Option<Suppressed> {
        let since = self.since?;
        let running = now >= since && now - since < TimeDelta::minutes(1);
        if running && !even_if_running {
            return None;
        }
        let by_reason = std::mem::take(&mut self.suppressed);
        if running {
            // Keeps its quota: asking for a flush must not buy more rows.
            return (!by_reason.is_empty()).then_some(Suppressed { since, by_reason });
        }
        *self = Self::default();
        (!by_reason.is_empty()).then_some(Suppressed { since, by_reason })
    }

    /// Whether one more refusal is written; otherwise it is counted.
    fn admit(&mut self, reason: &'static str, now: DateTime<Utc>) -> bool {
        self.since.get_or_insert(now);
        if self.written < PER_MINUTE {
            self.written += 1;
            return true;
        }
        *self.suppressed.entry(reason).or_default() += 1;
        false
    }
}

impl RefusalLog {
    /// A log that writes into a scope's audit log.
    #[must_use]
    pub fn new(store: Store, scope: Scope) -> Self {
        Self { store, scope, current: Mutex::new(Minute::default()) }
    }

    /// Puts a refusal on the record: as a row, or as one more in the count of its minute.
    ///
    /// `actor` is who asked, as far as that is proven; `webhook` and `reason` are words of ours.
    ///
    /// # Errors
    /// Of the store.
    pub async fn refused(
        &self,
        actor: &str,
        webhook: &str,
        reason: &'static str,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let (suppressed, write) = {
            let mut minute = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            let suppressed = minute.roll(now, false);
            (suppressed, minute.admit(reason, now))
        };
        if let Some(suppressed) = suppressed {
            self.write_suppressed(webhook, suppressed, now).await?;
        }
        if write {
            self.append(actor, "webhook.refused", webhook, &json!({ "reason": reason }), now).await?;
        }
        Ok(())
    }

    /// Writes what was only counted so far.
    ///
    /// # Errors
    /// Of the store.
    pub async fn flush(&self, webhook: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        let suppressed = self.current.lock().unwrap_or_else(PoisonError::into_inner).roll(now, true);
        match suppressed {
            Some(suppressed) => self.write_suppressed(webhook, suppressed, now).await,
            None => Ok(()),
        }
    }

    async fn write_suppressed(
        &self,
        webhook: &str,
        suppressed: Suppressed,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let detail = json!({"since": suppressed.since, "count_by_reason": suppressed.by_reason});
        self.append("unknown", "webhook.refusals_counted", webhook, &detail, now).await
    }

    async fn append(
        &self,
        actor: &str,
        event: &str,
        webhook: &str,
        detail: &serde_json::Value,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let entry = NewAuditEntry {
            actor: actor.to_owned(),
            event: event.to_owned(),
            subject_type: "webhook".to_owned(),
            subject_id: webhook.to_owned(),
            detail: ExactJson::new(detail),
        };
        self.store.audit.append(&self.scope, entry, now).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
