//! Narrations: what was sent to a model, and what became of its answer.

use super::{Page, PageRequest, Scope, text_enum};
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

text_enum! {
    /// What a text is about.
    pub enum NarrationKind ("kind") {
        /// An incident.
        Incident = "incident",
        /// The risk of a pull request.
        PrRisk = "pr_risk",
        /// A week.
        Digest = "digest",
        /// A signal of a run. What was sent about it is not kept ([`NewExplanation`]).
        Signal = "signal",
    }
}

text_enum! {
    /// What became of a model's answer.
    pub enum NarrationOutcome ("outcome") {
        /// Used as it came: everything in it is in the evidence.
        Accepted = "accepted",
        /// Used after the model was told what was wrong with its first answer.
        Repaired = "repaired",
        /// Not used: something in it is not in the evidence.
        Rejected = "rejected",
        /// There was no answer.
        Unavailable = "unavailable",
        /// Nothing was sent: the budget was used up.
        OverBudget = "over_budget",
    }
}

/// A narration to keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewNarration {
    /// What the text is about.
    pub kind: NarrationKind,
    /// Which: the incident's id, the pull request as `owner/repo#7`, the digest's id.
    pub subject_id: String,
    /// The provider: `groq`, `openai`, `anthropic`.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The host that was asked. Never a key.
    pub host: String,
    /// What became of the answer.
    pub outcome: NarrationOutcome,
    /// Why it was not used as it came.
    pub reason: Option<String>,
    /// HTTP requests sent.
    pub requests: i64,
    /// Tokens sent, as the provider counts.
    pub prompt_tokens: i64,
    /// Tokens answered, as the provider counts.
    pub completion_tokens: i64,
    /// Exactly what left the machine last, after redaction: the messages, as JSON; empty when nothing did.
    pub sent: String,
    /// SHA-256 of `sent`, lower-case hex.
    pub sent_sha256: String,
    /// How often what was cut out before sending, by kind: `{"secret": 1, "e-mail": 2}`.
    pub redactions: Value,
    /// The last answer, redacted and shortened; `None` when there was none.
    pub answer: Option<String>,
}

/// A kept narration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Narration {
    /// Its id.
    pub id: String,
    /// When.
    pub told_at: DateTime<Utc>,
    /// What was asked and answered.
    #[serde(flatten)]
    pub narration: NewNarration,
}

/// Which narrations a listing shows. An empty filter shows all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NarrationFilter {
    /// Only of this kind.
    pub kind: Option<NarrationKind>,
    /// Only about this.
    pub subject_id: Option<String>,
}

/// That a model was asked to explain a signal, without what was sent and answered: that may hold the content of a trace, which
/// is never kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewExplanation {
    /// The signal.
    pub signal_id: i64,
    /// The name of the API key that asked.
    pub asked_by: String,
    /// The provider: `groq`, `openai`, `anthropic`.
    pub provider: String,
    /// The model.
    pub model: String,
    /// The host that was asked. Never a key.
    pub host: String,
    /// What became of the answer.
    pub outcome: NarrationOutcome,
    /// Why it was not used as it came.
    pub reason: Option<String>,
    /// HTTP requests sent.
    pub requests: i64,
    /// Tokens sent, as the provider counts.
    pub prompt_tokens: i64,
    /// Tokens answered, as the provider counts.
    pub completion_tokens: i64,
    /// SHA-256 of what left the machine last, lower-case hex.
    pub sent_sha256: String,
    /// How often what was cut out before sending, by kind.
    pub redactions: Value,
}

/// What models were asked within a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ModelUse {
    /// Requests sent.
    pub requests: i64,
    /// Tokens, sent and answered.
    pub tokens: i64,
}

/// The narrations.
#[async_trait]
pub trait Narrations: Send + Sync {
    /// Keeps one.
    async fn append(&self, scope: &Scope, new: NewNarration, now: DateTime<Utc>) -> Result<Narration>;

    /// Narrations, newest first.
    async fn list(&self, scope: &Scope, filter: &NarrationFilter, page: &PageRequest) -> Result<Page<Narration>>;

    /// Keeps that a signal was explained by a model.
    async fn append_explanation(&self, scope: &Scope, new: NewExplanation, now: DateTime<Utc>) -> Result<()>;

    /// What models were asked to explain for one API key since a time, inclusive.
    async fn explained_since(&self, scope: &Scope, asked_by: &str, since: DateTime<Utc>) -> Result<ModelUse>;

    /// What models were asked since a time, inclusive, explanations too.
    async fn used_since(&self, scope: &Scope, since: DateTime<Utc>) -> Result<ModelUse>;
}
