//! Responding: what happens to a judged window's findings.
//!
//! Owns: the order anomaly → incident → investigation → narrative → governance, and [`Governor`], the interface to
//! governance. Does not own: how a window is judged (detect), what evidence is gathered (investigate), or what may be
//! done about an incident (govern).

use async_trait::async_trait;
use tripline_store::{Evidence, Incident, NewAnomaly, Scope, StoreError};

/// Why governance could not take an incident.
///
/// Nothing is lost by it: the window stays due and the incident is handed over again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GovernError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Policy or message could not be made from the incident.
    #[error("{message}{}", hint.as_deref().map(|h| format!(". Hint: {h}")).unwrap_or_default())]
    Refused {
        /// What is wrong.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// What governance offers to the pipeline. Every call may be repeated for the same state: it must change nothing then.
#[async_trait]
pub trait Governor: Send + Sync {
    /// After an incident was opened or reopened and investigated: decide by policy, create the approval or the action,
    /// enqueue the message.
    async fn incident_opened(
        &self,
        scope: &Scope,
        incident: &Incident,
        anomaly: &NewAnomaly,
        evidence: &[Evidence],
    ) -> Result<(), GovernError>;

    /// The condition lasts or its investigation/severity changed: the existing message is updated; no second approval.
    async fn incident_updated(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError>;

    /// The condition ended.
    async fn incident_resolved(&self, scope: &Scope, incident: &Incident) -> Result<(), GovernError>;

    /// Expires due approvals and replaces their messages; returns how many.
    async fn expire_due(&self, scope: &Scope) -> Result<usize, GovernError>;
}
