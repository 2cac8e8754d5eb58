//! What pull requests are judged by: the measured effect of past commits on cost and errors, file by file.
//!
//! A commit is measured once, when the day after it is over; scoring reads and never writes here (D13 of the reference:
//! each score fed the next).

use super::Scope;
use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A file as a commit left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// Its path before, when the commit renamed it.
    pub previous_path: Option<String>,
}

/// What a commit was followed by, compared with what went before: 24 hours each. Both are its share: what happened when several
/// commits were younger than a day is divided among them, and the day before likewise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredCommit {
    /// The commit.
    pub sha: String,
    /// When it landed.
    pub committed_at: DateTime<Utc>,
    /// US dollars of generations in the 24 hours before.
    pub cost_before_usd: f64,
    /// The same of the 24 hours after.
    pub cost_after_usd: f64,
    /// Issues first seen in the 24 hours before.
    pub errors_before: f64,
    /// The same of the 24 hours after.
    pub errors_after: f64,
    /// The files it changed.
    pub files: Vec<ChangedFile>,
}

impl MeasuredCommit {
    /// Dollars more than before; negative when it became cheaper.
    #[must_use]
    pub fn cost_delta_usd(&self) -> f64 {
        self.cost_after_usd - self.cost_before_usd
    }

    /// New issues more than before; negative when there were fewer.
    #[must_use]
    pub fn error_delta(&self) -> f64 {
        self.errors_after - self.errors_before
    }
}

/// One file of one measured commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileRisk {
    /// The file.
    pub file_path: String,
    /// The commit.
    pub commit_sha: String,
    /// When it landed.
    pub change_date: DateTime<Utc>,
    /// Dollars in the 24 hours after minus those in the 24 hours before.
    pub cost_delta: f64,
    /// Issues first seen in the 24 hours after minus those in the 24 hours before.
    pub error_delta: f64,
    /// The seed's formula over this one commit, 0 to 100.
    pub risk_score: i64,
}

/// A pull request that waits for its score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RiskRequest {
    /// `owner/name`.
    pub repository: String,
    /// Its number.
    pub number: u64,
    /// It was closed: what was asked because of it is over.
    pub closed: bool,
    /// When it was asked for last.
    pub requested_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: i64,
    /// Why it did not work last time.
    pub error: Option<String>,
}

/// The newest score of a pull request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RiskScore {
    /// `owner/name`.
    pub repository: String,
    /// Its number.
    pub number: u64,
    /// The commit it was scored at.
    pub head_sha: Option<String>,
    /// When.
    pub scored_at: DateTime<Utc>,
    /// 0 to 100.
    pub score: i64,
    /// Whether all of the history was known.
    pub complete: bool,
    /// The parts of the score.
    pub report: Value,
}

/// The memory of risk.
#[async_trait]
pub trait RiskMemory: Send + Sync {
    /// Keeps measured commits. One that is kept already stays as it is; returns how many are new.
    ///
    /// # Errors
    /// `Invalid` when a figure is no number or negative.
    async fn keep_measured(
        &self,
        scope: &Scope,
        repository: &str,
        commits: Vec<MeasuredCommit>,
        now: DateTime<Utc>,
    ) -> Result<u64>;

    /// All measured commits of a repository that landed at or after `since`, oldest first, with their files.
    async fn measured(&self, scope: &Scope, repository: &str, since: DateTime<Utc>) -> Result<Vec<MeasuredCommit>>;

    /// The newest rows of the history, at most `limit` (1 to 500), of one file or of all.
    async fn history(
        &self,
        scope: &Scope,
        repository: Option<&str>,
        file: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FileRisk>>;

    /// Asks for a score. Asking again before it was made is one request.
    async fn request_score(
        &self,
        scope: &Scope,
        repository: &str,
        number: u64,
        closed: bool,
        now: DateTime<Utc>,
    ) -> Result<()>;

    /// Requests that are due, oldest first.
    async fn due_scores(&self, scope: &Scope, now: DateTime<Utc>, limit: u32) -> Result<Vec<RiskRequest>>;

    /// Requests that wait, due or not.
    async fn waiting_scores(&self, scope: &Scope) -> Result<Vec<RiskRequest>>;

    /// A request was carried out. One that was made anew meanwhile stays.
    async fn score_done(&self, scope: &Scope, request: &RiskRequest) -> Result<()>;

    /// A request did not work out: it is due again at `at`; with `None` it is given up.
    async fn score_failed(
        &self,
        scope: &Scope,
        request: &RiskRequest,
        error: &str,
        at: Option<DateTime<Utc>>,
    ) -> Result<()>;

    /// Keeps the newest score of a pull request.
    async fn keep_score(&self, scope: &Scope, score: RiskScore) -> Result<()>;

    /// The newest score of a pull request.
    async fn score(&self, scope: &Scope, repository: &str, number: u64) -> Result<Option<RiskScore>>;

    /// The newest scores, latest first, at most `limit`.
    async fn scores(&self, scope: &Scope, limit: u32) -> Result<Vec<RiskScore>>;
}
