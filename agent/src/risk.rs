//! PR risk: how much trouble followed when the files of a pull request were changed before.
//!
//! Owns: measuring past commits ([`measure`]), the score ([`score`]), its text and comment ([`text`]), what is put outside
//! ([`publish`]), and GitHub's webhook ([`webhook`]). Does not own: effects (actions), whether changes are requested
//! (govern), models (narrate).
//!
//! Must hold: scoring never changes what it scores by, so a pull request scored ten times has one score; a history that is not
//! known whole is said to be so; nobody's repository is read but the installation's, unless an operator names another.

pub mod measure;
pub mod publish;
pub mod score;
pub mod text;
pub mod webhook;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tripline_engine::{EngineError, Param, SharedClock};
use tripline_store::{Gap, RiskRequest, RiskScore, StoreError};

use crate::AgentContext;
use crate::actions::{Destinations, Notices, Repository};
use crate::govern::{GovernError, Governor, RefusalLog};
use crate::narrate::Narrator;
use crate::queries::{HeaderError, QueryLibrary};

pub use measure::History;
pub use publish::Published;
pub use score::{Coverage, Points, Pull, PullFile, Report};
pub use text::Text;

/// A repository whose pull requests are scored.
pub type Target = Repository;

/// Requests that measuring may take before a score is given.
pub const SCORE_BUDGET: u64 = 2_000;
/// Requests that one run of the job which fills the history may take.
pub const JOB_BUDGET: u64 = 500;
/// Requests handled in one run of the job.
const AT_ONCE: u32 = 20;
/// How often a request is tried before it is given up.
const MAX_ATTEMPTS: i64 = 12;
/// How long a request that did not work out waits: at first, and at most.
const RETRY_FIRST: TimeDelta = TimeDelta::minutes(1);
const RETRY_MOST: TimeDelta = TimeDelta::hours(1);

/// Why there is no score.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RiskError {
    /// No repository is named.
    #[error("no repository is configured. Hint: set GITHUB_OWNER and GITHUB_REPO, or pass --owner and --repo")]
    NotConfigured,
    /// There is no such pull request.
    #[error("there is no pull request {number} in {repository}, or the token may not see it")]
    NoPull {
        /// Where.
        repository: String,
        /// Which.
        number: u64,
    },
    /// A source did not give a whole answer: the score is unknown.
    #[error("{name}: {message}")]
    Source {
        /// Which.
        name: String,
        /// Why.
        message: String,
    },
    /// A query failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A query file is wrong.
    #[error(transparent)]
    Query(#[from] HeaderError),
    /// What a query returned cannot be read.
    #[error("{0}")]
    Rows(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Governance could not take it.
    #[error(transparent)]
    Govern(#[from] GovernError),
}

impl RiskError {
    /// The failure of a source as a gap; what is no source's failure stays an error.
    pub(crate) fn gap(self, source: &str) -> Result<Gap, Self> {
        match self {
            Self::Source { name, message } => Ok(Gap { source: name, reason: message }),
            Self::Engine(error @ EngineError::Query { .. } | error @ EngineError::ReadOnly(_)) => {
                Err(Self::Engine(error))
            }
            Self::Engine(error) => Ok(Gap { source: source.to_owned(), reason: error.to_string() }),
            other => Err(other),
        }
    }
}

/// What scoring works with.
pub struct RiskParts {
    /// Engine, store, clock, settings.
    pub ctx: AgentContext,
    /// The query files.
    pub queries: QueryLibrary,
    /// Writes the paragraph.
    pub narrator: Arc<dyn Narrator>,
    /// Takes the pull requests above the threshold.
    pub governor: Arc<dyn Governor>,
    /// Puts comments in the outbox.
    pub notices: Notices,
    /// The installation's repository, the token, the webhook's secret.
    pub destinations: Arc<Destinations>,
    /// The machine's clock, by which deliveries are remembered.
    pub system_clock: SharedClock,
}

struct Inner {
    refusals: RefusalLog,
}

/// Scores pull requests. Cheap to clone.
#[derive(Clone)]
pub struct Risk {
    pub(crate) parts: Arc<RiskParts>,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Risk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Risk").finish_non_exhaustive()
    }
}

/// A score, with its text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The score and its parts.
    pub report: Report,
    /// What it says.
    pub text: Text,
    /// HTTP requests sent for it.
    pub requests: u64,
}

/// What one run over the waiting requests came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Handled {
    /// Pull requests that were scored, with their scores.
    pub scored: Vec<Value>,
    /// Pull requests that were closed.
    pub closed: Vec<String>,
    /// What did not work out.
    pub failed: Vec<String>,
}

impl Risk {
    /// Scores with these parts.
    #[must_use]
    pub fn new(parts: RiskParts) -> Self {
        let refusals = RefusalLog::new(parts.ctx.store.clone(), parts.ctx.scope.clone());
        Self { parts: Arc::new(parts), inner: Arc::new(Inner { refusals }) }
    }

    pub(crate) fn refusals(&self) -> &RefusalLog {
        &self.inner.refusals
    }

    /// The installation's repository.
    ///
    /// # Errors
    /// When none is configured.
    pub fn repository(&self) -> Result<&Target, RiskError> {
        self.parts.destinations.code_repository().ok_or(RiskError::NotConfigured)
    }

    /// A pull request with all of its files.
    ///
    /// # Errors
    /// When there is none, or GitHub does not give a whole answer.
    pub async fn pull(&self, target: &Target, number: u64) -> Result<(Pull, u64), RiskError> {
        let mut params = target.params();
        params.insert("number".to_owned(), Param::Int(i64::try_from(number).unwrap_or(i64::MAX)));
        let (found, files) =
            tokio::join!(self.rows("risk_pull", params.clone()), self.rows("risk_pull_files", params.clone()));
        let (rows, mut requests) = found?;
        let repository = target.to_string();
        let Some(row) = rows.into_iter().next() else { return Err(RiskError::NoPull { repository, number }) };
        let (files, more) = files?;
        requests += more;
        let text = |row: &Map<String, Value>, column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
        let is_merged = row.get("merged_at").is_some_and(|at| !at.is_null());
        let files = files.iter().filter_map(|row| {
            Some(PullFile {
                path: text(row, "filename")?,
                previous_path: text(row, "previous_filename"),
                status: text(row, "status").unwrap_or_else(|| "modified".to_owned()),
            })
        });
        let pull = Pull {
            repository,
            number,
            title: text(&row, "title").unwrap_or_default(),
            author: text(&row, "author"),
            state: text(&row, "state").unwrap_or_else(|| "open".to_owned()),
            head_sha: text(&row, "head_sha"),
            // Before merging this is a test merge, which is nowhere in the history.
            merge_sha: text(&row, "merge_commit_sha").filter(|_| is_merged),
            url: text(&row, "html_url"),
            files: files.collect(),
        };
        Ok((pull, requests))
    }

    /// The report on a pull request from what is known, after measuring what is missing with about `budget` requests.
    ///
    /// # Errors
    /// When the pull request cannot be read whole. A history that is not known whole is said in the report.
    pub async fn report(
        &self,
        target: &Target,
        number: u64,
        budget: u64,
        persist: bool,
    ) -> Result<(Report, u64), RiskError> {
        let (pull, requests) = self.pull(target, number).await?;
        let history = self.history(target, budget, persist).await?;
        let threshold = self.parts.ctx.settings.get().pr_risk_threshold;
        let report = score::score(pull, &history.commits, history.coverage, threshold);
        Ok((report, requests + history.requests))
    }

    /// Scores a pull request. With `persist`, what was measured and the score are kept; nothing is posted.
    ///
    /// # Errors
    /// As [`report`](Self::report).
    pub async fn score(&self, target: &Target, number: u64, persist: bool) -> Result<Scored, RiskError> {
        let ctx = &self.parts.ctx;
        let (report, requests) = self.report(target, number, SCORE_BUDGET, persist).await?;
        let kept = ctx.store.risk.score(&ctx.scope, &report.pull.repository, number).await?;
        let known: Option<Scored> = kept.and_then(|kept| serde_json::from_value(kept.report).ok());
        // The same report keeps its words: a comment changes when what it says does.
        let text = match known.filter(|known| said_alike(&known.report, &report)) {
            Some(known) => known.text,
            None => self.tell(&report, persist).await?,
        };
        let scored = Scored { report, text, requests };
        if persist {
            let score = RiskScore {
                repository: scored.report.pull.repository.clone(),
                number,
                head_sha: scored.report.pull.head_sha.clone(),
                scored_at: ctx.clock.now(),
                score: scored.report.points.score,
                complete: scored.report.coverage.is_complete(),
                report: json!(scored),
            };
            ctx.store.risk.keep_score(&ctx.scope, score).await?;
        }
        Ok(scored)
    }

    async fn tell(&self, report: &Report, persist: bool) -> Result<Text, RiskError> {
        let ctx = &self.parts.ctx;
        let told = self.parts.narrator.tell(text::brief(report)).await;
        let text = Text {
            assessment: told.part("assessment").to_owned(),
            recommendation: told.part("recommendation").to_owned(),
            narrator: told.narrator,
        };
        if let Some(sent) = told.report.filter(|_| persist) {
            ctx.store.narrations.append(&ctx.scope, sent, ctx.clock.now()).await?;
        }
        Ok(text)
    }

    /// Whether a pull request waits for its score.
    ///
    /// # Errors
    /// Of the store.
    pub async fn has_work(&self) -> Result<bool, StoreError> {
        let ctx = &self.parts.ctx;
        Ok(!ctx.store.risk.due_scores(&ctx.scope, ctx.clock.now(), 1).await?.is_empty())
    }

    /// Scores what waits, and posts it.
    ///
    /// # Errors
    /// Of the store. A pull request that cannot be scored is tried again later.
    pub async fn handle_due(&self) -> Result<Handled, RiskError> {
        let ctx = &self.parts.ctx;
        let mut handled = Handled::default();
        for request in ctx.store.risk.due_scores(&ctx.scope, ctx.clock.now(), AT_ONCE).await? {
            let name = format!("{}#{}", request.repository, request.number);
            match self.handle(&request).await {
                Ok(None) => handled.closed.push(name),
                Ok(Some(scored)) => {
                    let report = &scored.report;
                    handled.scored.push(json!({"pull_request": name, "score": report.points.score,
                        "complete": report.coverage.is_complete(), "requests": scored.requests}));
                    if report.coverage.is_complete() {
                        ctx.store.risk.score_done(&ctx.scope, &request).await?;
                        continue;
                    }
                    // What is missing now may be there later: the comment is brought up to date then.
                    self.put_off(&request, "the history is not known whole").await?;
                    continue;
                }
                Err(RiskError::Store(error)) => return Err(error.into()),
                Err(error) => {
                    self.put_off(&request, &error.to_string()).await?;
                    handled.failed.push(format!("{name}: {error}"));
                    continue;
                }
            }
            ctx.store.risk.score_done(&ctx.scope, &request).await?;
        }
        self.refusals().flush(webhook::NAME, ctx.clock.now()).await?;
        Ok(handled)
    }

    async fn handle(&self, request: &RiskRequest) -> Result<Option<Scored>, RiskError> {
        let target = self.repository()?;
        if target.to_string() != request.repository {
            let repository = request.repository.clone();
            return Err(RiskError::NoPull { repository, number: request.number });
        }
        if request.closed {
            self.settle(&request.repository, request.number).await?;
            return Ok(None);
        }
        let scored = self.score(target, request.number, true).await?;
        self.publish(&scored).await?;
        Ok(Some(scored))
    }

    async fn put_off(&self, request: &RiskRequest, why: &str) -> Result<(), RiskError> {
        let ctx = &self.parts.ctx;
        let doublings = u32::try_from(request.attempts.clamp(0, 16)).unwrap_or_default();
        let wait = (RETRY_FIRST * 2_i32.pow(doublings)).min(RETRY_MOST);
        let at = (request.attempts + 1 < MAX_ATTEMPTS).then(|| ctx.clock.now() + wait);
        if at.is_none() {
            tracing::warn!(repository = %request.repository, number = request.number, why, "a score was given up");
        }
        ctx.store.risk.score_failed(&ctx.scope, request, why, at).await?;
        Ok(())
    }
}

/// Whether two reports say the same: the begin of the history moves on by itself.
fn said_alike(a: &Report, b: &Report) -> bool {
    let mut a = a.clone();
    a.coverage.since = b.coverage.since;
    a == *b
}
