//! Feedback: what responders say about incidents, and the precision of detectors that follows from it.

use super::{IncidentId, Scope, text_enum};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

text_enum! {
    /// The way a verdict came in.
    pub enum FeedbackVia ("via") {
        /// A button in Slack.
        Slack = "slack",
        /// The API.
        Api = "api",
    }
}

/// Somebody's verdict about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFeedback {
    /// The incident.
    pub incident_id: IncidentId,
    /// Whether it is right: there was something, and it was this.
    pub correct: bool,
    /// Who says so: a Slack user id, or the person of an API key.
    pub given_by: String,
    /// The way it came in.
    pub via: FeedbackVia,
    /// Why, in their words; at most 1,000 characters.
    pub comment: Option<String>,
}

/// A kept verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// What was said.
    #[serde(flatten)]
    pub feedback: NewFeedback,
    /// When.
    pub given_at: DateTime<Utc>,
}

/// How often a detector was right, as people say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentPrecision {
    /// The detector.
    pub detector: String,
    /// Its incidents.
    pub incidents: i64,
    /// Those whose newest verdict is right.
    pub marked_right: i64,
    /// Those whose newest verdict is wrong.
    pub marked_wrong: i64,
    /// Share of right ones among those with a verdict, 0 to 1; `None` without any.
    pub precision: Option<f64>,
}

/// Feedback about incidents.
#[async_trait]
pub trait IncidentFeedback: Send + Sync {
    /// Keeps a verdict, in place of an earlier one of the same person, and puts it on the record. The same verdict again
    /// changes nothing.
    ///
    /// # Errors
    /// `NotFound` for an incident that is not there; `Invalid` for a comment that is too long.
    async fn give(&self, scope: &Scope, new: NewFeedback, now: DateTime<Utc>) -> Result<Feedback>;

    /// The verdicts about an incident, newest first.
    async fn list(&self, scope: &Scope, incident_id: &IncidentId) -> Result<Vec<Feedback>>;

    /// The precision of each detector that has incidents, by name.
    async fn precision(&self, scope: &Scope) -> Result<Vec<IncidentPrecision>>;
}
