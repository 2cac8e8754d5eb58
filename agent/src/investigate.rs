//! Investigation: what every source knows about an anomaly, when it really began, and which change may be behind it.
//!
//! Owns: running the evidence queries of a type ([`gather`]), keeping content out of the store ([`content`]), the onset
//! ([`onset`]), suspects and their scores ([`suspects`]), the timeline ([`timeline`]). Does not own: how the result is told
//! (narrate) or what is done about it (govern).
//!
//! Must hold: a source that cannot be asked is "unknown" and named, never taken for one that knows nothing; no decision
//! reads the words of messages or names, but whether the name of what broke is among them; a change is called a lead, not a cause, unless its score is high.

pub mod content;
pub mod gather;
pub mod onset;
mod radius;
mod seen;
pub mod suspects;
pub mod timeline;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use tripline_engine::Environment;
use tripline_store::{Evidence, EvidenceStatus, Gap, NewAnomaly};

use crate::AgentContext;
use crate::queries::QueryLibrary;
use gather::{Gathered, Gatherer, Scope};
use suspects::{Facts, Suspect};
use timeline::Entry;

/// A gap begins with this when the source is not set up at all: it will not come back by itself.
pub const NOT_CONFIGURED: &str = "not configured";

/// Commits whose files are fetched at most: one request each.
const MAX_CANDIDATES: usize = 20;

/// Issues whose events are fetched at most: one request each at least.
const MAX_ISSUES: usize = 10;

/// The repository whose commits are suspected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repository {
    /// Owner.
    pub owner: String,
    /// Name.
    pub name: String,
}

impl Repository {
    /// From `GITHUB_OWNER` and `GITHUB_REPO` (which may also be `owner/name`).
    #[must_use]
    pub fn from_environment(environment: &Environment) -> Option<Self> {
        let repo = environment.get("GITHUB_REPO")?;
        let (owner, name) = match repo.split_once('/') {
            Some((owner, name)) => (owner, name),
            None => (environment.get("GITHUB_OWNER")?, repo),
        };
        Some(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

/// What an investigation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Findings {
    /// What was gathered, with the SQL that fetched it.
    pub evidence: Vec<Evidence>,
    /// When the condition began, from the data.
    pub onset: DateTime<Utc>,
    /// Changes that may be behind it, best first.
    pub suspects: Vec<Suspect>,
    /// The first suspect, if its score reaches the minimum.
    pub culprit: Option<Suspect>,
    /// What happened when.
    pub timeline: Vec<Entry>,
    /// Sources that are unknown.
    pub gaps: Vec<Gap>,
    /// HTTP requests sent.
    pub requests: u64,
}

/// Investigates anomalies. Cheap to clone.
#[derive(Clone)]
pub struct Investigator {
    ctx: AgentContext,
    queries: QueryLibrary,
    repository: Option<Repository>,
}

impl std::fmt::Debug for Investigator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Investigator").field("repository", &self.repository).finish_non_exhaustive()
    }
}

impl Investigator {
    /// Investigates with these queries, and suspects commits of this repository.
    #[must_use]
    pub fn new(ctx: AgentContext, queries: QueryLibrary, repository: Option<Repository>) -> Self {
        Self { ctx, queries, repository }
    }

    /// Investigates an anomaly. `judging` are the gaps its own window was judged with. Never fails: what could not be
    /// asked is a gap.
    pub async fn investigate(&self, anomaly: &NewAnomaly, judging: &[Gap]) -> Findings {
        let settings = self.ctx.settings.get();
        let now = self.ctx.clock.now();
        let gatherer = Gatherer { ctx: &self.ctx, settings: &settings, repository: self.repository.as_ref(), now };
        let set = self.queries.current();
        let specs: Vec<_> = set.evidence.values().filter(|spec| spec.concerns(&anomaly.kind)).collect();
        let (second, first): (Vec<_>, Vec<_>) = specs.into_iter().partition(|spec| spec.runs_second);

        let reported = anomaly.onset.unwrap_or(anomaly.window.start);
        let mut scope = Scope::new(anomaly, reported, &settings);
        let mut gathered = gatherer.run(&first, &scope).await;

        let onset = onset::of(anomaly, reported, scope.before(), &gathered);
        scope.onset = onset;
        scope.shas = candidates(&gathered, onset, &settings);
        scope.issue_ids = issues(&gathered, anomaly, onset);
        scope.channels = channels(&gathered, &settings.incident_channels);
        scope.unknown = unknown_lists(&gathered, &scope);
        gathered.extend(gatherer.run(&second, &scope).await);

        let facts = Facts::read(anomaly, onset, &gathered, &settings);
        let suspects = suspects::rank(&facts);
        let culprit = suspects.first().filter(|s| s.score >= settings.suspect_minimum_score).cloned();
        let timeline = timeline::of(anomaly, onset, now, &gathered);
        let gaps = gaps(&gathered, judging);
        let requests = gathered.iter().map(|g| g.requests).sum();
        let evidence = gathered.into_iter().map(|g| g.evidence).collect();
        Findings { evidence, onset, suspects, culprit, timeline, gaps, requests }
    }
}

fn rows<'a>(gathered: &'a [Gathered], name: &str) -> &'a [Value] {
    gathered.iter().find(|g| g.evidence.name == name).map_or(&[], |g| g.rows.as_slice())
}

fn text<'a>(row: &'a Value, column: &str) -> Option<&'a str> {
    row.get(column)?.as_str().filter(|text| !text.is_empty())
}

fn time(row: &Value, column: &str) -> Option<DateTime<Utc>> {
    crate::detect::finding::time(row.get(column)?)
}

/// The commits that are looked at in detail: the latest that were live before the onset.
fn candidates(gathered: &[Gathered], onset: DateTime<Utc>, settings: &crate::settings::Settings) -> Vec<String> {
    let mut landed = suspects::landed(gathered, onset, settings);
    landed.sort_by(|a, b| b.live_at.cmp(&a.live_at).then_with(|| a.sha.cmp(&b.sha)));
    landed.truncate(MAX_CANDIDATES);
    landed.into_iter().map(|commit| commit.sha).collect()
}

/// The issues that began with the incident, and those that the detector names.
fn issues(gathered: &[Gathered], anomaly: &NewAnomaly, onset: DateTime<Utc>) -> Vec<String> {
    let named = |id: &str| {
        let evidence = &anomaly.evidence;
        let listed = evidence.get("issues").and_then(Value::as_array);
        evidence.get("sentry_issue_id").and_then(Value::as_str) == Some(id)
            || listed.is_some_and(|ids| ids.iter().any(|known| known.as_str() == Some(id)))
    };
    let mut found: Vec<(bool, TimeDelta, String)> = rows(gathered, "issues")
        .iter()
        .filter_map(|row| {
            let (id, first_seen) = (text(row, "id")?, time(row, "first_seen")?);
            let is_named = named(id);
            let away = (first_seen - onset).abs();
            (is_named || first_seen >= onset - TimeDelta::minutes(15)).then(|| (!is_named, away, id.to_owned()))
        })
        .collect();
    found.sort();
    found.truncate(MAX_ISSUES);
    found.into_iter().map(|(.., id)| id).collect()
}

/// The channels of the settings that exist; all that can be read when none does.
fn channels(gathered: &[Gathered], wanted: &[String]) -> Vec<String> {
    let readable: Vec<String> = rows(gathered, "channels")
        .iter()
        .filter(|row| row.get("is_member").and_then(Value::as_bool) != Some(false))
        .filter_map(|row| text(row, "name").map(str::to_owned))
        .collect();
    let named: Vec<String> =
        readable.iter().filter(|name| wanted.iter().any(|w| w.trim_start_matches('#') == *name)).cloned().collect();
    if named.is_empty() { readable } else { named }
}

/// The lists that are empty because what they are made of is unknown.
fn unknown_lists(gathered: &[Gathered], scope: &Scope) -> BTreeMap<&'static str, String> {
    let lists = [
        ("shas", "commits", &scope.shas),
        ("issue_ids", "issues", &scope.issue_ids),
        ("channels", "channels", &scope.channels),
    ];
    let failure = |name: &str| {
        let evidence = gathered.iter().map(|g| &g.evidence).find(|evidence| evidence.name == name)?;
        (evidence.status == EvidenceStatus::Unknown).then(|| evidence.error.clone().unwrap_or_default())
    };
    let empty = lists.into_iter().filter(|(.., list)| list.is_empty());
    empty.filter_map(|(list, made_of, _)| Some((list, failure(made_of)?))).collect()
}

/// One gap per source, from the evidence and from judging.
fn gaps(gathered: &[Gathered], judging: &[Gap]) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = judging.to_vec();
    for item in gathered.iter().filter(|g| g.evidence.status == EvidenceStatus::Unknown) {
        let reason = item.evidence.error.clone().unwrap_or_default();
        if item.optional && reason.starts_with(NOT_CONFIGURED) {
            continue;
        }
        for source in &item.evidence.sources {
            if !gaps.iter().any(|gap| &gap.source == source) {
                gaps.push(Gap { source: source.clone(), reason: reason.clone() });
            }
        }
    }
    gaps
}
