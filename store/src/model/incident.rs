//! Incidents: anomalies with one fingerprint, `open → resolved → reopened`.

use super::{ActionStatus, IncidentId, NewAnomaly, Page, PageRequest, Scope, Severity, Via, Window, text_enum};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

text_enum! {
    /// Whether the condition lasts.
    pub enum IncidentStatus ("status") {
        /// It lasts (also after it was reopened).
        Open = "open",
        /// Enough complete windows passed without it.
        Resolved = "resolved",
    }
}

/// The four parts every narrative has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NarrativeParts {
    /// What happened.
    pub what_happened: String,
    /// The likely cause.
    pub likely_cause: String,
    /// Who or what is affected, and how much.
    pub impact: String,
    /// What to do.
    pub recommended_action: String,
}

/// A source that could not be asked, and why. The incident says "unknown" for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Name of the source.
    pub source: String,
    /// Why nothing is known from it.
    pub reason: String,
}

/// What an investigation found; replaces what an earlier one found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Investigation {
    /// The commit that ranks first, if any.
    pub culprit_sha: Option<String>,
    /// What the incident cost, in US dollars. `None` keeps the figure of its anomalies.
    pub cost_usd: Option<f64>,
    /// The narrative as one text.
    pub narrative: String,
    /// Its four parts.
    pub narrative_parts: NarrativeParts,
    /// Who wrote it: `template`, or `model:NAME`.
    pub narrator: String,
    /// Suspects, best first, with the parts of their scores.
    pub suspects: Value,
    /// What happened when.
    pub timeline: Value,
    /// Sources that are unknown.
    pub gaps: Vec<Gap>,
    /// Digest of the evidence it rests on ([`evidence_digest`](super::evidence_digest)).
    pub evidence_sha256: String,
}

/// One condition, as long as it lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The detector that finds it.
    pub detector: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The worst severity so far: it only rises.
    pub severity: Severity,
    /// What it is about.
    pub entity: String,
    /// What makes two anomalies this condition.
    pub fingerprint: String,
    /// The description of its latest anomaly.
    pub description: String,
    /// Whether it lasts.
    pub status: IncidentStatus,
    /// When it was opened first.
    pub opened_at: DateTime<Utc>,
    /// From the start of the first window it was seen in to the end of the last.
    pub window: Window,
    /// When it was last seen (`now` of its latest occurrence).
    pub last_seen_at: DateTime<Utc>,
    /// In how many windows it was seen.
    pub occurrences: i64,
    /// How often it came back after it had been resolved.
    pub reopened_count: i64,
    /// Complete windows without it since it was last seen.
    pub clean_windows: i64,
    /// When it was resolved; `None` while open.
    pub resolved_at: Option<DateTime<Utc>>,
    /// The commit that ranks first.
    pub culprit_sha: Option<String>,
    /// What it cost, in US dollars: the investigation's figure, else that of its windows: of those that overlap, each adds what
    /// its new part cost, by its share of the window's figure.
    pub cost_usd: Option<f64>,
    /// The narrative; `None` until it was investigated.
    pub narrative: Option<String>,
    /// Its four parts.
    pub narrative_parts: Option<NarrativeParts>,
    /// Who wrote it.
    pub narrator: Option<String>,
    /// Suspects, best first. An empty array until investigated.
    pub suspects: Value,
    /// What happened when. An empty array until investigated.
    pub timeline: Value,
    /// Sources that are unknown.
    pub gaps: Vec<Gap>,
    /// Digest of the evidence behind the narrative.
    pub evidence_sha256: Option<String>,
    /// When it was last investigated.
    pub investigated_at: Option<DateTime<Utc>>,
    /// Id of the Slack channel of its one message (an id, never a name: updates need it).
    pub slack_channel: Option<String>,
    /// Slack's timestamp of that message.
    pub slack_ts: Option<String>,
    /// The GitHub issue that was opened for it.
    pub github_issue_url: Option<String>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
}

/// When an incident ends and when it comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IncidentPolicy {
    /// A resolved incident that is seen again within this time is reopened; later a new one is opened.
    pub reopen_within: Duration,
    /// After how many complete windows without it an incident is resolved.
    pub clean_windows_to_resolve: u32,
}

impl Default for IncidentPolicy {
    /// Reopens within 7 days, resolves after 3 windows ("Settled questions, one voice").
    fn default() -> Self {
        Self { reopen_within: Duration::from_secs(7 * 24 * 3600), clean_windows_to_resolve: 3 }
    }
}

/// What [`Incidents::upsert_by_fingerprint`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum IncidentUpsert {
    /// The first of its kind, or the first in a long while: a new incident.
    Opened(Incident),
    /// One more occurrence.
    ///
    /// Also for an old window that is judged late, after newer windows were clean: it is counted and changes
    /// neither status nor the count of clean windows.
    Occurred(Incident),
    /// It came back.
    Reopened(Incident),
    /// The same finding of the same window was recorded before: nothing changed.
    Unchanged(Incident),
}

impl IncidentUpsert {
    /// The incident as it is now.
    pub fn incident(&self) -> &Incident {
        match self {
            Self::Opened(incident)
            | Self::Occurred(incident)
            | Self::Reopened(incident)
            | Self::Unchanged(incident) => incident,
        }
    }
}

/// A window of a detector that was judged completely (no source was missing).
#[derive(Debug, Clone, PartialEq)]
pub struct JudgedWindow {
    /// The detector.
    pub detector: String,
    /// The window it judged.
    pub window: Window,
    /// The fingerprints it found there.
    pub fingerprints_seen: Vec<String>,
}

/// Which incidents a listing shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IncidentFilter {
    /// Only with this status.
    pub status: Option<IncidentStatus>,
    /// Only of this type.
    pub kind: Option<String>,
    /// Only of this detector.
    pub detector: Option<String>,
    /// Only those opened at or after.
    pub since: Option<DateTime<Utc>>,
}

/// What belongs to a loop's incident.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopDetail {
    /// The incident.
    pub incident_id: IncidentId,
    /// The detector's row of its newest finding.
    pub evidence: Option<Value>,
    /// What became of the newest kill that was asked for; `None` when none was.
    pub kill_status: Option<ActionStatus>,
    /// Where its newest approval was decided.
    pub resolved_via: Option<Via>,
}

/// The incidents. At most one is open per fingerprint.
#[async_trait]
pub trait Incidents: Send + Sync {
    /// Records an anomaly and makes it an occurrence of its condition, in one transaction.
    ///
    /// Opens, adds an occurrence, or reopens by [`IncidentPolicy`]. Severity only rises; the window grows.
    /// Doing it again with the same finding changes nothing, so a job that is repeated after a crash is harmless.
    async fn upsert_by_fingerprint(
        &self,
        scope: &Scope,
        anomaly: NewAnomaly,
        policy: &IncidentPolicy,
        now: DateTime<Utc>,
    ) -> Result<IncidentUpsert>;

    /// Counts a completely judged window for every open incident of the detector that was not seen in it, and
    /// resolves those that have had enough. Returns the resolved ones.
    ///
    /// A window judged with a source missing is no evidence of anything: do not pass it. A window that does not end after
    /// the last one counted, or after the incident's own, is not counted again.
    async fn record_clean_window(
        &self,
        scope: &Scope,
        judged: JudgedWindow,
        policy: &IncidentPolicy,
        now: DateTime<Utc>,
    ) -> Result<Vec<Incident>>;

    /// Keeps what an investigation found.
    ///
    /// # Errors
    /// `NotFound`.
    async fn set_investigation(
        &self,
        scope: &Scope,
        id: &IncidentId,
        investigation: Investigation,
        now: DateTime<Utc>,
    ) -> Result<Incident>;

    /// Keeps what investigations found, of several incidents as one transaction.
    ///
    /// # Errors
    /// `NotFound`; nothing is kept then.
    async fn set_investigations(
        &self,
        scope: &Scope,
        found: Vec<(IncidentId, Investigation)>,
        now: DateTime<Utc>,
    ) -> Result<()>;

    /// Keeps where its one Slack message is: the channel's *id* and the message's timestamp.
    ///
    /// # Errors
    /// `NotFound`.
    async fn set_message(
        &self,
        scope: &Scope,
        id: &IncidentId,
        slack_channel: &str,
        slack_ts: &str,
        now: DateTime<Utc>,
    ) -> Result<Incident>;

    /// Keeps the address of the GitHub issue opened for it.
    ///
    /// # Errors
    /// `NotFound`.
    async fn set_github_issue(&self, scope: &Scope, id: &IncidentId, url: &str, now: DateTime<Utc>)
    -> Result<Incident>;

    /// One incident.
    async fn get(&self, scope: &Scope, id: &IncidentId) -> Result<Option<Incident>>;

    /// The newest incident with a fingerprint, open or resolved.
    async fn latest_by_fingerprint(&self, scope: &Scope, fingerprint: &str) -> Result<Option<Incident>>;

    /// What belongs to these incidents, in their order: one statement for all.
    async fn loop_details(&self, scope: &Scope, ids: &[IncidentId]) -> Result<Vec<LoopDetail>>;

    /// Incidents, newest `opened_at` first. The filter applies before the limit.
    async fn list(&self, scope: &Scope, filter: &IncidentFilter, page: &PageRequest) -> Result<Page<Incident>>;
}
