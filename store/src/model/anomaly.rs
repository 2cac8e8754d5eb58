//! Anomalies: one finding of one detector in one window.

use super::{AnomalyId, IncidentId, Page, PageRequest, Scope, Severity, Window};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A finding, as a detector returns it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAnomaly {
    /// Name of the detector.
    pub detector: String,
    /// The incident type it belongs to.
    #[serde(rename = "type")]
    pub kind: String,
    /// How bad this finding is.
    pub severity: Severity,
    /// What it is about: the feature, trace or tool ("Settled questions, entity of an incident").
    pub entity: String,
    /// What makes two findings the same condition. The agent computes it from detector and entity.
    pub fingerprint: String,
    /// The window that was judged.
    pub window: Window,
    /// When it was found.
    pub detected_at: DateTime<Utc>,
    /// One sentence for people.
    pub description: String,
    /// The detector's row.
    pub evidence: Value,
    /// What it cost, in US dollars, where the detector can tell.
    pub cost_usd: Option<f64>,
    /// When the condition began inside the window, where the detector can tell.
    pub onset: Option<DateTime<Utc>>,
}

/// The key of the evidence that says when the condition was last at work inside the window, where its detector tells.
pub const LAST_SIGN: &str = "last_sign";

impl NewAnomaly {
    /// When the condition was last at work: as its detector tells, else until the end of the window.
    #[must_use]
    pub fn last_sign(&self) -> DateTime<Utc> {
        let told = self.evidence.get(LAST_SIGN).and_then(|at| at.as_str()?.parse().ok());
        told.map_or(self.window.end, |at: DateTime<Utc>| at.clamp(self.window.start, self.window.end))
    }
}

/// A finding that was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// Its id.
    pub id: AnomalyId,
    /// The incident it is an occurrence of, if it was made part of one.
    pub incident_id: Option<IncidentId>,
    /// The finding itself.
    #[serde(flatten)]
    pub finding: NewAnomaly,
}

/// What [`Anomalies::record`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedAnomaly {
    /// The row.
    pub anomaly: Anomaly,
    /// Whether this call made it; `false` when the same finding was there already.
    pub created: bool,
}

/// Which anomalies a listing shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AnomalyFilter {
    /// Only of this detector.
    pub detector: Option<String>,
    /// Only of this incident type.
    pub kind: Option<String>,
    /// Only occurrences of this incident.
    pub incident_id: Option<IncidentId>,
    /// Only those detected at or after.
    pub since: Option<DateTime<Utc>>,
}

/// The findings. Each `(detector, fingerprint, window)` is kept once.
#[async_trait]
pub trait Anomalies: Send + Sync {
    /// Keeps a finding without making it part of an incident (policy "record"). Doing it again changes nothing.
    ///
    /// For a finding that is to open or join an incident use
    /// [`Incidents::upsert_by_fingerprint`](super::Incidents::upsert_by_fingerprint), which records it in the
    /// same transaction.
    async fn record(&self, scope: &Scope, anomaly: NewAnomaly) -> Result<RecordedAnomaly>;

    /// One anomaly.
    async fn get(&self, scope: &Scope, id: &AnomalyId) -> Result<Option<Anomaly>>;

    /// Anomalies, newest `detected_at` first.
    async fn list(&self, scope: &Scope, filter: &AnomalyFilter, page: &PageRequest) -> Result<Page<Anomaly>>;
}
