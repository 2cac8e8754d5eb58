//! The weekly digest: what shipped, what broke, what to watch.
//!
//! Owns: which week it is ([`week`]), running the queries of `queries/digest` over it, the figures with where each is from
//! ([`facts`]), the template ([`template`]), how it is shown ([`show`]), keeping it and putting it in the outbox ([`Digester`]). Does
//! not own: when it is due (jobs), a model's text (narrate), nor sending (actions).
//!
//! Must hold: a week is a week: every query has the same bounds; every figure is a field of a query's row, or its count of rows,
//! and the digest keeps both; a source that is missing is said to be unknown, never told as nothing; one post per week.

pub mod facts;
pub mod show;
pub mod template;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Days, TimeDelta, Utc};
use chrono_tz::Tz;
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tripline_engine::{EngineError, Param, Params, QueryOptions, ScanErrorKind, json_rows};
use tripline_store::{Digest, EvidenceStatus, Gap, NarrationKind, Scope, StoreError, Window};

use crate::AgentContext;
use crate::actions::Notices;
use crate::investigate::{NOT_CONFIGURED, Repository};
use crate::messages::Content;
use crate::narrate::{Brief, Exhibits, Narrator};
use crate::queries::{QueryLibrary, TemplateSpec};
use crate::respond::GovernError;
use facts::Facts;

/// Rows of one query that are kept at most.
const KEPT_ROWS: usize = 1_000;

/// Requests that one query may send: errors are counted event by event.
const MAX_REQUESTS: u64 = 3_000;

/// How long the post waits for a source that does not answer; then it is told with what is unknown.
const PATIENCE: TimeDelta = TimeDelta::hours(2);

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum DigestError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be put in the outbox.
    #[error(transparent)]
    Govern(#[from] GovernError),
    /// A query is wrong.
    #[error("{origin}: {message}")]
    Query {
        /// The file.
        origin: String,
        /// What is wrong.
        message: String,
    },
}

/// One query behind a digest, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// What it asks, for people.
    pub title: String,
    /// The sources it reads; empty for Tripline's own tables.
    pub sources: Vec<String>,
    /// The SQL, as it ran.
    pub sql: String,
    /// The bound parameters.
    pub params: Value,
    /// Whether it was answered.
    pub status: EvidenceStatus,
    /// Why it is unknown.
    pub error: Option<String>,
    /// The rows.
    pub rows: Vec<Map<String, Value>>,
    /// How many rows it returned.
    pub row_count: i64,
    /// Whether rows are missing here.
    pub truncated: bool,
}

impl Asked {
    /// Whether its source is not set up at all.
    fn is_not_configured(&self) -> bool {
        self.status == EvidenceStatus::Unknown
            && self.error.as_deref().is_some_and(|why| why.starts_with(NOT_CONFIGURED))
    }
}

/// The week that ends with an instant, by the clocks of a zone: seven days before, at the same time of day.
#[must_use]
pub fn week(end: DateTime<Utc>, zone: Tz) -> (DateTime<Utc>, DateTime<Utc>) {
    let before = |weeks: u64| {
        let local = end.with_timezone(&zone);
        // In the hour that the clocks skip there is no such time: seven times 24 hours then.
        local
            .checked_sub_days(Days::new(7 * weeks))
            .map_or(end - TimeDelta::weeks(i64::try_from(weeks).unwrap_or(1)), |at| at.with_timezone(&Utc))
    };
    (before(1), before(2))
}

/// The second section of the Monday post: how agents fared.
#[async_trait]
pub trait HealthSection: Send + Sync {
    /// The section about a week; `None` when there are no agents to tell of.
    ///
    /// # Errors
    /// Why it cannot be told.
    async fn section(&self, scope: &Scope, week: Window) -> Result<Option<Content>, String>;

    /// Every project with judged runs in the week, for the webhook: the id of the project, and the body without what names the
    /// digest.
    ///
    /// # Errors
    /// Why they cannot be told.
    async fn reports(&self, week: Window) -> Result<Vec<(String, Map<String, Value>)>, String>;
}

/// What came of making a week's digest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Made {
    /// The digest.
    pub digest: Digest,
    /// What became of its post: `posted` (it is in the outbox), `dry run`, or why not.
    pub post: String,
    /// HTTP requests sent.
    pub requests: u64,
    /// Whether a source that is set up is missing and is waited for: the week stays due.
    pub waits: bool,
}

/// What a digester is made of.
pub struct DigesterParts {
    /// Engine, store, clock, settings.
    pub ctx: AgentContext,
    /// The query files.
    pub queries: QueryLibrary,
    /// The repository whose merges are told.
    pub repository: Option<Repository>,
    /// Who writes.
    pub narrator: Arc<dyn Narrator>,
    /// Puts the post in the outbox; `None` where nothing is posted.
    pub notices: Option<Notices>,
    /// Whether messages can be posted to Slack.
    pub has_slack: bool,
    /// Whether a webhook is told how agents fared.
    pub has_webhook: bool,
    /// The second section.
    pub health: Option<Arc<dyn HealthSection>>,
}

/// Makes digests. Cheap to clone.
#[derive(Clone)]
pub struct Digester {
    parts: Arc<DigesterParts>,
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digester").finish_non_exhaustive()
    }
}

impl Digester {
    /// A digester.
    #[must_use]
    pub fn new(parts: DigesterParts) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Makes the digest of the week that ends with `end`. Dry, nothing is kept and nothing posted.
    ///
    /// # Errors
    /// Of the store, or when a query file is wrong. A source that is missing is a gap of the digest.
    pub async fn make(&self, end: DateTime<Utc>, dry_run: bool) -> Result<Made, DigestError> {
        let ctx = &self.parts.ctx;
        let settings = ctx.settings.get();
        let zone: Tz = settings.time_zone.parse().unwrap_or(Tz::UTC);
        let (start, before) = week(end, zone);
        let (asked, requests) = self.ask(start, end, before).await?;
        let gaps = gaps(&asked);
        let waits = asked.iter().any(|one| one.status == EvidenceStatus::Unknown && !one.is_not_configured());
        let facts = Facts::of(&asked);
        let id = format!("weekly-{}", end.with_timezone(&zone).date_naive());
        let brief = Brief {
            kind: NarrationKind::Digest,
            subject_id: id.clone(),
            exhibits: exhibits(&asked, &gaps),
            template: template::parts(&asked, &facts),
        };
        let told = self.parts.narrator.tell(brief).await;
        if let Some(report) = told.report.filter(|_| !dry_run) {
            ctx.store.narrations.append(&ctx.scope, report, ctx.clock.now()).await?;
        }
        let sections: Map<String, Value> =
            told.parts.iter().map(|(key, text)| ((*key).to_owned(), json!(show::bullets(text)))).collect();
        let digest = Digest {
            id,
            week_start: start,
            week_end: end,
            time_zone: zone.name().to_owned(),
            created_at: ctx.clock.now(),
            narrator: told.narrator,
            report: show::markdown(&sections),
            sections: Value::Object(sections),
            figures: serde_json::to_value(&facts.figures).unwrap_or_default(),
            queries: serde_json::to_value(&asked).unwrap_or_default(),
            gaps,
            cost_usd: facts.number("cost_usd"),
        };
        let post = self.keep_and_post(&digest, waits, dry_run).await?;
        Ok(Made { waits: waits && post == WAITING, digest, post, requests })
    }

    async fn keep_and_post(&self, digest: &Digest, waits: bool, dry_run: bool) -> Result<String, DigestError> {
        if dry_run {
            return Ok("dry run".to_owned());
        }
        let (parts, ctx) = (&self.parts, &self.parts.ctx);
        ctx.store.digests.put(&ctx.scope, digest.clone()).await?;
        let now = ctx.clock.now();
        if waits && now < digest.week_end + PATIENCE {
            return Ok(WAITING.to_owned());
        }
        let Some(notices) = &parts.notices else { return Ok("not posted: nothing is posted from here".to_owned()) };
        self.tell_webhook(notices, digest, now).await?;
        if !parts.has_slack {
            return Ok("not posted: SLACK_BOT_TOKEN is not set".to_owned());
        }
        let week = Window { start: digest.week_start, end: digest.week_end };
        let health = match &parts.health {
            Some(health) => {
                health.section(&ctx.scope, week).await.unwrap_or_else(|why| Some(show::unknown_health(&why)))
            }
            None => None,
        };
        let governance = &ctx.settings.get().governance;
        let content = show::message(digest, health.as_ref(), governance.public_base().as_deref());
        notices.digest(&ctx.scope, &digest.id, &governance.slack_channel, content, now).await?;
        Ok("posted".to_owned())
    }

    /// Tells the webhook how the agents of each project fared, once per week.
    async fn tell_webhook(&self, notices: &Notices, digest: &Digest, now: DateTime<Utc>) -> Result<(), DigestError> {
        let (parts, ctx) = (&self.parts, &self.parts.ctx);
        let Some(health) = parts.health.as_ref().filter(|_| parts.has_webhook) else { return Ok(()) };
        let week = Window { start: digest.week_start, end: digest.week_end };
        let reports = match health.reports(week).await {
            Ok(reports) => reports,
            Err(why) => {
                tracing::warn!(%why, "the webhook is not told how agents fared");
                return Ok(());
            }
        };
        let seconds = |at: DateTime<Utc>| at.timestamp_micros() as f64 / 1e6;
        for (project, report) in reports {
            let mut body = json!({
                "schema_version": "1.0", "event": HEALTH_DIGEST, "sent_at": seconds(now), "digest_id": digest.id,
                "project_id": project, "week_start": seconds(week.start), "week_end": seconds(week.end),
            });
            if let Value::Object(body) = &mut body {
                body.extend(report);
            }
            let key = format!("health:{project}:{}", digest.id);
            notices.webhook(&ctx.scope, key, Some(HEALTH_DIGEST), body.to_string(), now).await?;
        }
        Ok(())
    }

    /// Runs every digest query over the week, all at once.
    async fn ask(
        &self,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        before: DateTime<Utc>,
    ) -> Result<(Vec<Asked>, u64), DigestError> {
        let set = self.parts.queries.current();
        let specs: Vec<Arc<TemplateSpec>> =
            set.templates.values().filter(|spec| spec.name.starts_with("digest_")).cloned().collect();
        let mut params = Params::from([
            ("week_start".to_owned(), Param::Timestamp(start)),
            ("week_end".to_owned(), Param::Timestamp(end)),
            ("week_before".to_owned(), Param::Timestamp(before)),
        ]);
        if let Some(repository) = &self.parts.repository {
            params.insert("owner".to_owned(), Param::Text(repository.owner.clone()));
            params.insert("repo".to_owned(), Param::Text(repository.name.clone()));
        }
        let answers = join_all(specs.iter().map(|spec| self.one(spec, &params, end))).await;
        let mut asked = Vec::new();
        let mut requests = 0;
        for answer in answers {
            let (one, sent) = answer?;
            requests += sent;
            asked.push(one);
        }
        Ok((asked, requests))
    }

    async fn one(&self, spec: &TemplateSpec, given: &Params, now: DateTime<Utc>) -> Result<(Asked, u64), DigestError> {
        let ctx = &self.parts.ctx;
        let mut params = spec.bindings.values(&ctx.settings.get());
        params.extend(given.clone());
        params.retain(|name, _| spec.header.placeholders.contains(name));
        let shown: Map<String, Value> = params.iter().map(|(name, value)| (name.clone(), Value::from(value))).collect();
        let mut asked = Asked {
            name: spec.name.clone(),
            title: spec.title.clone(),
            sources: spec.sources.clone(),
            sql: spec.header.sql.clone(),
            params: Value::Object(shown),
            status: EvidenceStatus::Unknown,
            error: None,
            rows: Vec::new(),
            row_count: 0,
            truncated: false,
        };
        if let Some(missing) = spec.header.placeholders.iter().find(|name| !params.contains_key(*name)) {
            if matches!(missing.as_str(), "owner" | "repo") {
                asked.error = Some(format!("{NOT_CONFIGURED}: set GITHUB_OWNER and GITHUB_REPO"));
                return Ok((asked, 0));
            }
            return Err(DigestError::Query {
                origin: spec.header.origin.clone(),
                message: format!(
                    "${missing} is not bound; a digest binds $week_start, $week_end, $week_before, $owner, $repo"
                ),
            });
        }
        let options = QueryOptions { params, now: Some(now), max_requests: MAX_REQUESTS, ..QueryOptions::default() };
        let result = match ctx.engine.collect(&spec.header.sql, options).await {
            Ok(result) => result,
            Err(error) => {
                asked.error = Some(reason(&error, spec)?);
                return Ok((asked, 0));
            }
        };
        let requests = result.report.requests;
        let gaps = crate::detect::gaps_of(&result);
        if !gaps.is_empty() {
            asked.error = Some(gaps.into_iter().map(|gap| gap.reason).collect::<Vec<_>>().join("; "));
            return Ok((asked, requests));
        }
        let mut rows = json_rows(&result.schema, &result.batches)
            .map_err(|error| DigestError::Query { origin: spec.header.origin.clone(), message: error.to_string() })?;
        asked.row_count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        asked.truncated = rows.len() > KEPT_ROWS || result.report.truncated;
        rows.truncate(KEPT_ROWS);
        asked.status = if rows.is_empty() { EvidenceStatus::Empty } else { EvidenceStatus::Ok };
        asked.rows = rows;
        Ok((asked, requests))
    }
}

/// What the webhook calls the health of agents in a week.
const HEALTH_DIGEST: &str = "health_digest";

/// What is said while a source is waited for.
const WAITING: &str = "waits for a source that does not answer";

/// Why a query is unknown; an error of its own is the file's.
fn reason(error: &EngineError, spec: &TemplateSpec) -> Result<String, DigestError> {
    match error {
        EngineError::Source(scan) if scan.kind == ScanErrorKind::NotConfigured => {
            Ok(format!("{NOT_CONFIGURED}: {scan}"))
        }
        EngineError::Source(_) | EngineError::Deadline(_) | EngineError::Cancelled => Ok(error.to_string()),
        other => Err(DigestError::Query { origin: spec.header.origin.clone(), message: other.to_string() }),
    }
}

/// One gap per source.
fn gaps(asked: &[Asked]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for one in asked.iter().filter(|one| one.status == EvidenceStatus::Unknown) {
        for source in &one.sources {
            if !gaps.iter().any(|gap| &gap.source == source) {
                gaps.push(Gap { source: source.clone(), reason: one.error.clone().unwrap_or_default() });
            }
        }
    }
    gaps
}

fn exhibits(asked: &[Asked], gaps: &[Gap]) -> Exhibits {
    let rows: BTreeMap<String, Vec<Map<String, Value>>> = asked
        .iter()
        .map(|one| {
            let short = one.name.trim_start_matches("digest_").to_owned();
            let mut rows = one.rows.clone();
            if one.status != EvidenceStatus::Unknown && rows.first().is_none_or(|row| row.get("scope").is_none()) {
                // The count of rows is a figure too.
                let count = Map::from_iter([("row_count".to_owned(), json!(one.row_count))]);
                rows.insert(0, count);
            }
            (short, rows)
        })
        .collect();
    Exhibits::new(rows, None, gaps.iter().map(|gap| gap.source.clone()).collect())
}
