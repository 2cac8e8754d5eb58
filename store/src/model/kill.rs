//! Kill records: requests that a run stop, served to the agent that runs it.

use super::{ActionId, IncidentId, Scope, text_enum};
use crate::{Result, StoreError};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

text_enum! {
    /// Whether the agent stopped.
    pub enum KillState ("state") {
        /// Asked for; the agent has not said that it stopped.
        Requested = "requested",
        /// The agent said that it stopped.
        Stopped = "stopped",
    }
}

/// A run or trace id in the one form it is looked up by.
///
/// An id of 32 hex digits, with or without dashes and in either case (a UUID, an OpenTelemetry trace id), becomes 32
/// lower-case digits. Any other id is taken as it is: dropping dashes there could stop another run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KillTarget(String);

impl KillTarget {
    /// Brings an id into its form.
    ///
    /// # Errors
    /// `Invalid` when it is empty or longer than 512 bytes.
    pub fn new(id: &str) -> Result<Self> {
        let id = id.trim();
        if id.is_empty() || id.len() > 512 {
            return Err(StoreError::invalid("id", "a run or trace id has 1 to 512 bytes"));
        }
        let digits: String = id.chars().filter(|c| *c != '-').collect();
        let is_128_bit = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        Ok(Self(if is_128_bit { digits.to_ascii_lowercase() } else { id.to_owned() }))
    }

    /// The form it is looked up by.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request that a run stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKill {
    /// The run or trace id, in whatever form the caller has it.
    pub id: String,
    /// The incident behind it.
    pub incident_id: Option<IncidentId>,
    /// The action that asks; it becomes done when the agent acknowledges.
    pub action_id: Option<ActionId>,
    /// Who asked.
    pub requested_by: String,
}

/// A kill that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// The id in its normal form ([`KillTarget`]).
    pub target: String,
    /// The id as it was given.
    pub original_id: String,
    /// The incident behind it.
    pub incident_id: Option<IncidentId>,
    /// The action that asked.
    pub action_id: Option<ActionId>,
    /// Who asked.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// Whether the agent stopped.
    pub state: KillState,
    /// When it said so.
    pub acknowledged_at: Option<DateTime<Utc>>,
}

/// The kill records.
#[async_trait]
pub trait Kills: Send + Sync {
    /// Asks that a run stop. Asking again changes nothing and returns the first record.
    ///
    /// # Errors
    /// `Invalid` for an id that is none, `NotFound` when the incident or action does not exist.
    async fn request(&self, scope: &Scope, kill: NewKill, now: DateTime<Utc>) -> Result<Kill>;

    /// The record of a run, by its id with or without dashes.
    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Kill>>;

    /// The agent says in which state it is. `Stopped` is final and completes the action (*requested* → *done*), if it is the
    /// action's target that stopped or the last of the runs that it asked; saying it again changes nothing. `None` when no kill was asked for that run.
    async fn acknowledge(&self, scope: &Scope, id: &str, state: KillState, now: DateTime<Utc>) -> Result<Option<Kill>>;

    /// All records, newest first, at most `limit`.
    async fn list(&self, scope: &Scope, limit: u32) -> Result<Vec<Kill>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_or_trace_id_is_found_in_every_spelling() {
        let plain = KillTarget::new("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(KillTarget::new(" 0AF76519-16CD-43DD-8448-EB211C80319C ").unwrap(), plain);
    }

    #[test]
    fn ids_of_other_shapes_are_never_confused() {
        assert_ne!(KillTarget::new("1-11").unwrap(), KillTarget::new("11-1").unwrap());
        assert_ne!(KillTarget::new("Run-a").unwrap(), KillTarget::new("run-a").unwrap());
        assert!(KillTarget::new("  ").is_err());
    }
}
