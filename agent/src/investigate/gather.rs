//! Gathering: the evidence queries of an investigation, all at once, each with a deadline of its own.
//!
//! Owns: binding the incident's values, running, capping rows, and saying why something is unknown. Must hold: content is
//! digested before anything is kept; one query that fails does not take another down.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use serde_json::{Map, Value};
use tripline_engine::{EngineError, Param, Params, QueryOptions, ScanErrorKind};
use tripline_store::{Evidence, EvidenceStatus, NewAnomaly};

use super::{NOT_CONFIGURED, Repository, content};
use crate::AgentContext;
use crate::queries::EvidenceSpec;
use crate::settings::Settings;

/// The answer of one evidence query: what is kept, and all rows for what is derived from them now.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What is kept.
    pub evidence: Evidence,
    /// All rows, content digested.
    pub rows: Vec<Value>,
    /// How its rows become entries of the timeline.
    pub timeline: Option<crate::queries::TimelineSpec>,
    /// Requests sent.
    pub requests: u64,
    /// Whether an installation may do without its source.
    pub optional: bool,
}

/// What placeholders of evidence queries stand for.
#[derive(Debug, Clone)]
pub struct Scope {
    kind: String,
    entity: String,
    feature: String,
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
    /// When the condition began, as far as it is known.
    pub onset: DateTime<Utc>,
    lookback: TimeDelta,
    /// The candidates' SHAs.
    pub shas: Vec<String>,
    /// The issues whose events are wanted.
    pub issue_ids: Vec<String>,
    /// The channels whose messages are wanted.
    pub channels: Vec<String>,
    /// Lists that could not be made, by placeholder, and why: what asks for them is unknown, not empty.
    pub unknown: BTreeMap<&'static str, String>,
}

impl Scope {
    /// The scope of an anomaly's first queries.
    #[must_use]
    pub fn new(anomaly: &NewAnomaly, onset: DateTime<Utc>, settings: &Settings) -> Self {
        let feature = anomaly.evidence.get("feature").and_then(Value::as_str);
        Self {
            kind: anomaly.kind.clone(),
            entity: anomaly.entity.clone(),
            feature: feature.unwrap_or(&anomaly.entity).to_owned(),
            window_start: anomaly.window.start,
            window_end: anomaly.window.end,
            onset,
            lookback: TimeDelta::hours(settings.suspect_lookback_hours),
            shas: Vec::new(),
            issue_ids: Vec::new(),
            channels: Vec::new(),
            unknown: BTreeMap::new(),
        }
    }

    /// Since when calls and events are looked at: well before the onset as it was reported, since what the data says about
    /// it is looked for there.
    pub(super) fn before(&self) -> DateTime<Utc> {
        self.onset.min(self.window_start) - TimeDelta::hours(6)
    }

    fn params(&self, repository: Option<&Repository>) -> Params {
        let mut params = Params::from([
            ("type".to_owned(), Param::Text(self.kind.clone())),
            ("entity".to_owned(), Param::Text(self.entity.clone())),
            ("feature".to_owned(), Param::Text(self.feature.clone())),
            ("window_start".to_owned(), Param::Timestamp(self.window_start)),
            ("window_end".to_owned(), Param::Timestamp(self.window_end)),
            ("onset".to_owned(), Param::Timestamp(self.onset)),
            ("began".to_owned(), Param::Timestamp(self.onset)),
            ("before".to_owned(), Param::Timestamp(self.before())),
            ("since".to_owned(), Param::Timestamp(self.onset - self.lookback - TimeDelta::hours(6))),
            ("history".to_owned(), Param::Timestamp(self.onset - self.lookback - TimeDelta::days(5))),
            ("until".to_owned(), Param::Timestamp(self.window_end)),
            ("shas".to_owned(), Param::TextList(self.shas.clone())),
            ("issue_ids".to_owned(), Param::TextList(self.issue_ids.clone())),
            ("channels".to_owned(), Param::TextList(self.channels.clone())),
        ]);
        if let Some(repository) = repository {
            params.insert("owner".to_owned(), Param::Text(repository.owner.clone()));
            params.insert("repo".to_owned(), Param::Text(repository.name.clone()));
        }
        params
    }
}

/// Runs evidence queries.
pub struct Gatherer<'a> {
    /// Engine and clock.
    pub ctx: &'a AgentContext,
    /// Settings in force.
    pub settings: &'a Settings,
    /// The repository, if one is configured.
    pub repository: Option<&'a Repository>,
    /// When the investigation runs.
    pub now: DateTime<Utc>,
}

impl Gatherer<'_> {
    /// Runs these queries at once.
    pub async fn run(&self, specs: &[&std::sync::Arc<EvidenceSpec>], scope: &Scope) -> Vec<Gathered> {
        join_all(specs.iter().map(|spec| self.one(spec, scope))).await
    }

    async fn one(&self, spec: &EvidenceSpec, scope: &Scope) -> Gathered {
        let mut params = spec.bindings.values(self.settings);
        params.extend(scope.params(self.repository));
        params.retain(|name, _| spec.header.placeholders.contains(name));
        let shown: Map<String, Value> = params.iter().map(|(name, value)| (name.clone(), Value::from(value))).collect();
        let mut evidence = Evidence {
            name: spec.name.clone(),
            sources: spec.sources.clone(),
            sql: spec.header.sql.clone(),
            params: Value::Object(shown),
            status: EvidenceStatus::Unknown,
            error: None,
            rows: Value::Array(Vec::new()),
            row_count: 0,
            truncated: false,
            fetched_at: self.now,
        };
        let optional = spec.optional;
        let unknown = |mut evidence: Evidence, reason: String, requests: u64| {
            evidence.error = Some(reason);
            Gathered { evidence, rows: Vec::new(), timeline: None, requests, optional }
        };
        let needs_repository = spec.header.placeholders.contains("owner") || spec.header.placeholders.contains("repo");
        if needs_repository && self.repository.is_none() {
            let reason = format!("{NOT_CONFIGURED}: set GITHUB_OWNER and GITHUB_REPO");
            return unknown(evidence, reason, 0);
        }
        let missing = scope.unknown.iter().find(|(list, _)| spec.header.placeholders.contains(**list));
        if let Some((_, reason)) = missing {
            return unknown(evidence, reason.clone(), 0);
        }
        let options = QueryOptions {
            params,
            now: Some(self.now),
            timeout: spec.timeout,
            max_rows: Some(spec.max_rows),
            max_requests: 500,
            ..QueryOptions::default()
        };
        let result = match self.ctx.engine.collect(&spec.header.sql, options).await {
            Ok(result) => result,
            Err(error) => return unknown(evidence, reason(&error), 0),
        };
        let requests = result.report.requests;
        let gaps = crate::detect::gaps_of(&result);
        if !gaps.is_empty() {
            let reason = gaps.into_iter().map(|gap| gap.reason).collect::<Vec<_>>().join("; ");
            return unknown(evidence, reason, requests);
        }
        let rows = match crate::detect::finding::rows(&spec.header.origin, &result) {
            Ok(rows) => rows,
            Err(error) => return unknown(evidence, error.to_string(), requests),
        };
        let rows: Vec<Value> = rows.into_iter().map(|row| digested(row, &spec.content)).collect();
        evidence.status = if rows.is_empty() { EvidenceStatus::Empty } else { EvidenceStatus::Ok };
        evidence.row_count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        evidence.truncated = result.report.truncated;
        // What is kept is for people and for checking figures; what is derived now may use more.
        evidence.truncated |= rows.len() > KEPT_ROWS;
        evidence.rows = Value::Array(rows.iter().take(KEPT_ROWS).cloned().collect());
        Gathered { evidence, rows, timeline: spec.timeline.clone(), requests, optional }
    }
}

/// Rows of one query that are kept at most.
const KEPT_ROWS: usize = 500;

fn digested(mut row: Map<String, Value>, content: &[String]) -> Value {
    for column in content {
        if let Some(value) = row.get_mut(column) {
            *value = content::digest(value);
        }
    }
    Value::Object(row)
}

fn reason(error: &EngineError) -> String {
    match error {
        EngineError::Source(scan) if scan.kind == ScanErrorKind::NotConfigured => format!("{NOT_CONFIGURED}: {scan}"),
        other => other.to_string(),
    }
}
