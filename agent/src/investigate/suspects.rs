//! Suspects: changes that may be behind an incident, ranked by a score whose parts are shown.
//!
//! Owns: when a commit went live, which commits are candidates, and the score; of changes that are no commits, the ranking
//! alone (`seen`). Must hold: the score is a pure function of
//! what was gathered; it reads no words of messages and no names, only times, ids and file paths (and of a message only
//! git's own line "This reverts commit …"); every part is in the result with its weight and reason; ties are broken
//! by time.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;
use tripline_store::{Evidence, EvidenceStatus, NewAnomaly};

use super::gather::Gathered;
use super::radius::{Likeness, Shown, likeness};
use super::seen::{self, Seen};
use super::{NOT_CONFIGURED, rows, text, time};
use crate::settings::Settings;

#[cfg(test)]
mod tests;

/// A score from which on a suspect is called the likely cause; below it is a lead.
pub const LIKELY: f64 = 0.6;

/// Weights of parts that weigh also where they are unknown.
const EXPOSURE: f64 = 0.2;
const DEPLOYED: f64 = 0.2;
const NAMES: f64 = 0.25;
const SIZE: f64 = 0.05;

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A commit, with its pull request and deployment.
    Commit,
    /// A version of a prompt that calls use.
    Prompt,
    /// A model that calls use.
    Model,
    /// A value of a flag that calls carry.
    Flag,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Prompt => "prompt",
            Self::Model => "model",
            Self::Flag => "flag",
        }
    }
}

/// How a change went live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveBy {
    /// With the first deployment that contains it.
    Deployment,
    /// With the first release that contains it.
    Release,
    /// With the merge of its pull request: no deployments are known.
    Merge,
    /// With its commit: nothing else is known.
    Commit,
    /// Not at all before the onset, though others were deployed.
    NotDeployed,
    /// With the first call that uses it: it is no commit.
    Seen,
}

/// A commit and when it went live.
#[derive(Debug, Clone, PartialEq)]
pub struct Landed {
    /// Its id.
    pub sha: String,
    /// When it went live.
    pub live_at: DateTime<Utc>,
    /// How.
    pub live_by: LiveBy,
    /// Whether it was the head of what went live, and not merely part of it.
    pub is_head: bool,
}

/// One part of a score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What it measures: timing, exposure, deployed, links, names, size, reach, difference.
    pub name: &'static str,
    /// 0 to 1.
    pub value: f64,
    /// Its share of the score, before parts that cannot be told are left out.
    pub weight: f64,
    /// In words.
    pub reason: String,
}

/// A change under suspicion.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// What it is.
    pub kind: Kind,
    /// The commit's id, `prompt:NAME@VERSION`, `model:NAME` or `flag:NAME=VALUE`.
    pub id: String,
    /// The id of a commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// First line of a commit's message, a person's words: data; of other changes what they are.
    pub message: String,
    /// Who wrote it.
    pub author: Option<String>,
    /// When it was committed.
    pub committed_at: Option<DateTime<Utc>>,
    /// When it went live.
    pub live_at: DateTime<Utc>,
    /// How.
    pub live_by: LiveBy,
    /// The score, 0 to 1: the weighted mean of the parts, times the factor.
    pub score: f64,
    /// The parts.
    pub parts: Vec<Part>,
    /// 1, or less for a commit that changes only documents or tests, or merges others.
    pub factor: f64,
    /// The files it changes, if known.
    pub files: Vec<String>,
    /// Its pull request.
    pub pull_request: Option<i64>,
    /// Link.
    pub url: Option<String>,
}

impl Suspect {
    /// Whether it is no rival of a commit but what that commit brought along.
    #[must_use]
    pub fn came_with_a_commit(&self) -> bool {
        self.live_by == LiveBy::Seen && self.factor < 1.0
    }

    /// Its id as it is told: of a commit eight digits.
    #[must_use]
    pub fn short(&self) -> &str {
        self.sha.as_deref().map_or(&self.id, |sha| sha.get(..8).unwrap_or(sha))
    }
}

#[derive(Debug, Clone)]
struct Commit {
    landed: Landed,
    message: String,
    author: Option<String>,
    committed_at: DateTime<Utc>,
    merges: bool,
    files: Option<Vec<(String, i64)>>,
    pull_request: Option<i64>,
    url: Option<String>,
}

/// What the score is computed from.
#[derive(Debug, Clone)]
pub struct Facts {
    onset: DateTime<Utc>,
    /// Whether the onset is a call that failed, rather than an estimate between calls.
    onset_is_exact: bool,
    commits: Vec<Commit>,
    /// Changes that the calls themselves show.
    seen: Vec<Seen>,
    /// Whether it is known what was deployed when.
    has_deployments: bool,
    /// Starts of the entity's calls, if they are known.
    calls: Option<Vec<DateTime<Utc>>>,
    /// Files of stack frames and releases of the issues that began with the incident, if there are any.
    frames: BTreeSet<String>,
    releases: BTreeSet<String>,
    has_errors: bool,
    link_weight: f64,
    /// What broke, by its names.
    names: Vec<String>,
    /// Evidence that is unknown, as its source could not be asked: what it would have said speaks for nobody.
    unknown: BTreeSet<String>,
}

/// Whether the beginning is a call that went wrong; in the other classes it is estimated, from calls minutes apart.
fn onset_is_exact(kind: &str) -> bool {
    !matches!(kind, "cost_spike" | "error_cascade")
}

/// Clocks of vendors differ a little.
fn tolerance(kind: &str) -> TimeDelta {
    TimeDelta::minutes(if onset_is_exact(kind) { 2 } else { 5 })
}

struct Rollout {
    sha: String,
    at: DateTime<Utc>,
    by: LiveBy,
}

/// What went live when: GitHub deployments, else Sentry releases, else GitHub releases.
fn rollouts(gathered: &[Gathered], positions: &BTreeMap<&str, usize>) -> Vec<Rollout> {
    let deployments = rows(gathered, "deployments");
    let to_production = |row: &Value| row.get("production_environment").and_then(Value::as_bool) == Some(true);
    let marked = deployments.iter().any(to_production);
    let mut found: Vec<Rollout> = deployments
        .iter()
        .filter(|row| !marked || to_production(row))
        .filter_map(|row| rollout(text(row, "sha")?, time(row, "created_at")?, LiveBy::Deployment))
        .collect();
    found.retain(|rollout| positions.contains_key(rollout.sha.as_str()));
    if found.is_empty() {
        let releases = rows(gathered, "releases").iter().filter_map(|row| {
            let version = text(row, "version")?;
            let known = |sha: &str| positions.contains_key(sha);
            let named = version.rsplit(['@', '+', '-']).next().unwrap_or(version);
            let sha = text(row, "last_commit").filter(|sha| known(sha)).or(Some(named).filter(|sha| known(sha)))?;
            rollout(sha, time(row, "effective_at")?, LiveBy::Release)
        });
        let tags = rows(gathered, "tags").iter().filter_map(|row| {
            let sha = text(row, "target_commitish").filter(|sha| positions.contains_key(sha))?;
            rollout(sha, time(row, "published_at")?, LiveBy::Release)
        });
        found = releases.chain(tags).collect();
    }
    found.sort_by_key(|rollout| rollout.at);
    found
}

fn rollout(sha: &str, at: DateTime<Utc>, by: LiveBy) -> Option<Rollout> {
    Some(Rollout { sha: sha.to_owned(), at, by })
}

/// Position of each commit on the branch, newest first.
fn positions(gathered: &[Gathered]) -> BTreeMap<&str, usize> {
    rows(gathered, "commits").iter().enumerate().filter_map(|(i, row)| Some((text(row, "sha")?, i))).collect()
}

/// The commits that went live within the lookback before the onset, or were not deployed though they could have been.
#[must_use]
pub fn landed(gathered: &[Gathered], onset: DateTime<Utc>, settings: &Settings) -> Vec<Landed> {
    let lookback = TimeDelta::hours(settings.suspect_lookback_hours);
    landed_within(gathered, onset, lookback, TimeDelta::minutes(5)).0
}

fn landed_within(
    gathered: &[Gathered],
    onset: DateTime<Utc>,
    lookback: TimeDelta,
    tolerance: TimeDelta,
) -> (Vec<Landed>, bool) {
    let positions = positions(gathered);
    let rollouts = rollouts(gathered, &positions);
    let latest = onset + tolerance;
    let commits = rows(gathered, "commits");
    let pulls = rows(gathered, "pulls");
    let reverted = reverted(commits, &positions, &rollouts, onset);
    let mut landed = Vec::new();
    for (position, row) in commits.iter().enumerate() {
        let (Some(sha), Some(committed_at)) = (text(row, "sha"), time(row, "committed_at")) else { continue };
        if reverted.contains(sha) {
            continue;
        }
        let first = rollouts.iter().find(|r| positions.get(r.sha.as_str()).is_some_and(|head| *head <= position));
        let merged_at = pulls
            .iter()
            .find(|pull| text(pull, "merge_commit_sha") == Some(sha) || text(pull, "head_sha") == Some(sha))
            .and_then(|pull| time(pull, "merged_at"));
        let (live_at, live_by, is_head) = match first {
            Some(first) if first.at <= latest => (first.at, first.by, first.sha == sha),
            _ if !rollouts.is_empty() => (committed_at, LiveBy::NotDeployed, false),
            _ => match merged_at {
                Some(merged_at) => (merged_at, LiveBy::Merge, false),
                None => (committed_at, LiveBy::Commit, false),
            },
        };
        if live_at <= latest && live_at >= onset - lookback {
            landed.push(Landed { sha: sha.to_owned(), live_at, live_by, is_head });
        }
    }
    (landed, !rollouts.is_empty())
}

/// Commits that were taken back before the onset, by git's own words.
fn reverted(
    commits: &[Value],
    positions: &BTreeMap<&str, usize>,
    rollouts: &[Rollout],
    onset: DateTime<Utc>,
) -> BTreeSet<String> {
    let live_before_onset = |position: usize, committed_at: DateTime<Utc>| {
        let first = rollouts.iter().find(|r| positions.get(r.sha.as_str()).is_some_and(|head| *head <= position));
        if rollouts.is_empty() { committed_at < onset } else { first.is_some_and(|r| r.at < onset) }
    };
    let mut reverted = BTreeSet::new();
    for (position, row) in commits.iter().enumerate() {
        let (Some(message), Some(committed_at)) = (text(row, "message"), time(row, "committed_at")) else { continue };
        if !live_before_onset(position, committed_at) {
            continue;
        }
        for part in message.split("This reverts commit ").skip(1) {
            let prefix: String = part.chars().take_while(char::is_ascii_hexdigit).collect();
            if prefix.len() >= 7 {
                reverted.extend(positions.keys().filter(|sha| sha.starts_with(&prefix)).map(|sha| (*sha).to_owned()));
            }
        }
    }
    reverted
}

impl Facts {
    /// Reads what was gathered.
    #[must_use]
    pub fn read(anomaly: &NewAnomaly, onset: DateTime<Utc>, gathered: &[Gathered], settings: &Settings) -> Self {
        let lookback = TimeDelta::hours(settings.suspect_lookback_hours);
        let (landed, has_deployments) = landed_within(gathered, onset, lookback, tolerance(&anomaly.kind));
        let mut files: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
        for row in rows(gathered, "commit_files") {
            if let (Some(sha), Some(file)) = (text(row, "sha"), text(row, "filename")) {
                let lines = |column: &str| row.get(column).and_then(Value::as_i64).unwrap_or_default();
                files.entry(sha).or_default().push((file.to_owned(), lines("additions") + lines("deletions")));
            }
        }
        let commits = rows(gathered, "commits");
        let pulls = rows(gathered, "pulls");
        let commits = landed.into_iter().filter_map(|landed| {
            let row = commits.iter().find(|row| text(row, "sha") == Some(&landed.sha))?;
            let pull = pulls
                .iter()
                .find(|p| text(p, "merge_commit_sha") == Some(&landed.sha) || text(p, "head_sha") == Some(&landed.sha));
            Some(Commit {
                message: text(row, "message_line").unwrap_or_default().to_owned(),
                author: text(row, "author").map(str::to_owned),
                committed_at: time(row, "committed_at")?,
                merges: row.get("parents").and_then(Value::as_i64).is_some_and(|parents| parents > 1),
                files: files.get(landed.sha.as_str()).cloned(),
                pull_request: pull.and_then(|p| p.get("number")?.as_i64()),
                url: text(row, "html_url").map(str::to_owned),
                landed,
            })
        });
        let commits = commits.collect();
        let events = rows(gathered, "issue_events");
        Self {
            onset,
            onset_is_exact: onset_is_exact(&anomaly.kind),
            commits,
            seen: seen::read(gathered, onset, lookback, tolerance(&anomaly.kind)),
            has_deployments,
            calls: calls(gathered),
            frames: events.iter().flat_map(frames).collect(),
            releases: events.iter().filter_map(release).collect(),
            has_errors: !events.is_empty(),
            link_weight: match anomaly.kind.as_str() {
                "error_cascade" => 0.25,
                _ if anomaly.evidence.get("sentry_issue_id").is_some_and(|id| !id.is_null()) => 0.2,
                // Errors that merely began at the same time.
                _ => 0.1,
            },
            names: names(anomaly),
            unknown: gathered.iter().map(|g| &g.evidence).filter(|e| is_missing(e)).map(|e| e.name.clone()).collect(),
        }
    }

    fn is_unknown(&self, evidence: &str) -> bool {
        self.unknown.contains(evidence)
    }
}

/// Whether evidence could not be had of a source that is there.
fn is_missing(evidence: &Evidence) -> bool {
    evidence.status == EvidenceStatus::Unknown
        && !evidence.error.as_deref().is_some_and(|why| why.starts_with(NOT_CONFIGURED))
}

/// The feature, prompt or tool that broke; of a trace, what it calls.
fn names(anomaly: &NewAnomaly) -> Vec<String> {
    let of_evidence = |key: &str| anomaly.evidence.get(key).and_then(Value::as_str).map(str::to_owned);
    let entity = (anomaly.kind != "agent_loop").then(|| anomaly.entity.clone());
    let mut names: Vec<String> = entity.into_iter().chain(of_evidence("feature")).collect();
    names.retain(|name| name != "(unnamed)");
    names.dedup();
    names
}

fn calls(gathered: &[Gathered]) -> Option<Vec<DateTime<Utc>>> {
    let asked = gathered.iter().find(|g| g.evidence.name == "calls" || g.evidence.name == "tool_calls")?;
    if asked.evidence.status == EvidenceStatus::Unknown {
        return None;
    }
    Some(asked.rows.iter().filter_map(|row| time(row, "start_time")).collect())
}

fn metadata(row: &Value) -> Option<Value> {
    match row.get("metadata")? {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    }
}

/// Files that an event's stack names.
fn frames(row: &Value) -> Vec<String> {
    let of_metadata = metadata(row).and_then(|m| m.get("filename")?.as_str().map(str::to_owned));
    let of_location = text(row, "location").map(str::to_owned);
    let words = text(row, "culprit").unwrap_or_default().split(|c: char| c.is_whitespace() || c == '(' || c == ')');
    let of_culprit = words.filter(|word| word.contains('/') && word.contains('.')).map(str::to_owned);
    of_metadata.into_iter().chain(of_location).chain(of_culprit).map(|p| normal(&p)).filter(|p| !p.is_empty()).collect()
}

fn normal(path: &str) -> String {
    path.trim().replace('\\', "/").trim_start_matches("./").trim_start_matches('/').to_owned()
}

/// The release an event is tagged with.
fn release(row: &Value) -> Option<String> {
    let tags: Value = match row.get("tags")? {
        Value::String(text) => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    let tag = tags.as_array()?.iter().find(|tag| tag.get("key").and_then(Value::as_str) == Some("release"))?;
    tag.get("value")?.as_str().map(str::to_owned)
}

/// Whether a file of a commit is the file of a stack frame: the same path, or one the end of the other.
fn same_file(file: &str, frame: &str) -> bool {
    let (file, frame) = (normal(file), normal(frame));
    let (long, short) = if file.len() >= frame.len() { (&file, &frame) } else { (&frame, &file) };
    long == short || (short.contains('/') && long.ends_with(&format!("/{short}")))
}

/// The suspects, best first.
#[must_use]
pub fn rank(facts: &Facts) -> Vec<Suspect> {
    let shown: Vec<Shown<'_>> =
        facts.commits.iter().map(|commit| Shown { files: commit.files.as_deref(), message: &commit.message }).collect();
    let alike = likeness(&facts.names, &shown);
    let alike = |index: usize| alike.as_ref().and_then(|alike| alike.get(index));
    let commits = facts.commits.iter().enumerate();
    let mut suspects: Vec<Suspect> = commits.map(|(index, commit)| suspect(facts, commit, alike(index))).collect();
    sort(&mut suspects);
    let mut of_calls = seen::suspects(&facts.seen, facts.onset, &facts.names, &suspects);
    if facts.is_unknown("commits") || facts.is_unknown("commit_files") {
        // A commit that could not be read may have brought it along, or be the cause: it is a lead.
        for suspect in &mut of_calls {
            suspect.score = suspect.score.min(LIKELY - 0.01);
        }
    }
    suspects.extend(of_calls);
    sort(&mut suspects);
    suspects
}

fn sort(suspects: &mut [Suspect]) {
    suspects.sort_by(|a, b| {
        let by_score = ((b.score * 1e6).round() as i64).cmp(&((a.score * 1e6).round() as i64));
        by_score
            .then_with(|| b.live_at.cmp(&a.live_at))
            .then_with(|| b.committed_at.cmp(&a.committed_at))
            .then_with(|| a.id.cmp(&b.id))
    });
}

fn suspect(facts: &Facts, commit: &Commit, alike: Option<&Likeness>) -> Suspect {
    let names =
        |alike: &Likeness| Part { name: "names", value: alike.value, weight: NAMES, reason: alike.reason.clone() };
    // What could not be read weighs all the same: a suspect of whom less is known is no likelier for that.
    let or_unknown = |part: Option<Part>, evidence: &str, name, weight| {
        let unknown = || Part { name, value: 0.0, weight, reason: format!("unknown: {evidence} could not be read") };
        part.or_else(|| facts.is_unknown(evidence).then(unknown))
    };
    let calls = if facts.is_unknown("tool_calls") { "tool_calls" } else { "calls" };
    let mut parts = vec![timing(facts, commit)];
    parts.extend(or_unknown(exposure(facts, commit), calls, "exposure", EXPOSURE));
    parts.extend(or_unknown(deployed(facts, commit), "deployments", "deployed", DEPLOYED));
    parts.extend(or_unknown(links(facts, commit), "issue_events", "links", facts.link_weight));
    parts.extend(or_unknown(alike.map(names), "commit_files", "names", NAMES));
    parts.extend(or_unknown(size(commit), "commit_files", "size", SIZE));
    let weight: f64 = parts.iter().map(|part| part.weight).sum();
    let sum: f64 = parts.iter().map(|part| part.weight * part.value).sum();
    let factor = factor(facts, commit);
    Suspect {
        kind: Kind::Commit,
        id: commit.landed.sha.clone(),
        sha: Some(commit.landed.sha.clone()),
        message: commit.message.clone(),
        author: commit.author.clone(),
        committed_at: Some(commit.committed_at),
        live_at: commit.landed.live_at,
        live_by: commit.landed.live_by,
        score: (sum / weight * factor * 1000.0).round() / 1000.0,
        parts,
        factor,
        files: commit.files.iter().flatten().map(|(file, _)| file.clone()).collect(),
        pull_request: commit.pull_request,
        url: commit.url.clone(),
    }
}

/// How long before the onset it went live. Minutes beat hours; where only the commit's time is known, an hour is little.
fn timing(facts: &Facts, commit: &Commit) -> Part {
    let half = match commit.landed.live_by {
        LiveBy::Deployment | LiveBy::Release => 30.0,
        LiveBy::Merge | LiveBy::Commit | LiveBy::NotDeployed | LiveBy::Seen => 60.0,
    };
    let before = facts.onset - commit.landed.live_at;
    let side = if before < TimeDelta::zero() { "after" } else { "before" };
    let reason = format!("live {} {side} the onset", span(before.abs()));
    Part { name: "timing", value: closeness(before, half), weight: 0.35, reason }
}

/// 1 for no time at all, half after `half` minutes.
pub(super) fn closeness(time: TimeDelta, half: f64) -> f64 {
    rounded(1.0 / (1.0 + time.abs().as_seconds_f64() / 60.0 / half))
}

/// 1 when no call went well, half after three.
pub(super) fn good_calls(count: i64) -> f64 {
    rounded(1.0 / (1.0 + count as f64 / 3.0))
}

pub(super) fn span(time: TimeDelta) -> String {
    let minutes = time.num_minutes();
    match minutes {
        ..=0 => "less than a minute".to_owned(),
        1..=119 => format!("{minutes} min"),
        _ => format!("{:.1} h", minutes as f64 / 60.0),
    }
}

/// How many calls of the entity went well between it and the onset: each speaks against it.
fn exposure(facts: &Facts, commit: &Commit) -> Option<Part> {
    let calls = facts.calls.as_ref()?;
    let between = calls.iter().filter(|at| **at >= commit.landed.live_at && **at < facts.onset).count();
    let value = good_calls(i64::try_from(between).unwrap_or(i64::MAX));
    Some(Part {
        name: "exposure",
        value,
        weight: EXPOSURE,
        reason: format!("{between} calls between it and the onset"),
    })
}

/// Whether it went live by a deployment, by itself or with others. Nothing is said where deployments are not known.
fn deployed(facts: &Facts, commit: &Commit) -> Option<Part> {
    if !facts.has_deployments {
        return None;
    }
    let (value, reason) = match (commit.landed.live_by, commit.landed.is_head) {
        (LiveBy::NotDeployed, _) => (0.0, "not deployed before the onset"),
        (_, true) => (1.0, "deployed as the head"),
        (_, false) => (0.8, "deployed with later commits"),
    };
    Some(Part { name: "deployed", value, weight: DEPLOYED, reason: reason.to_owned() })
}

/// Whether the errors that began with the incident point at it: by file, or by release.
fn links(facts: &Facts, commit: &Commit) -> Option<Part> {
    if !facts.has_errors {
        return None;
    }
    let part = |value, reason: String| Some(Part { name: "links", value, weight: facts.link_weight, reason });
    let hit = commit.files.iter().flatten().find(|(file, _)| facts.frames.iter().any(|frame| same_file(file, frame)));
    if let Some((file, _)) = hit {
        return part(1.0, format!("changes {file}, where errors happen"));
    }
    let is_release = |release: &String| {
        let named = release.rsplit(['@', '+']).next().unwrap_or(release);
        named.len() >= 7 && (commit.landed.sha.starts_with(named) || named.starts_with(&commit.landed.sha))
    };
    match facts.releases.iter().find(|release| is_release(release)) {
        Some(_) => part(0.6, "the errors are of its release".to_owned()),
        None => part(0.0, "no error points at it".to_owned()),
    }
}

/// How much it changes; little weight, since one line can do it.
fn size(commit: &Commit) -> Option<Part> {
    let files = commit.files.as_ref()?;
    let lines: i64 = files.iter().map(|(_, lines)| lines).sum();
    let value = rounded(((1 + lines.max(0)) as f64).ln() / 501_f64.ln()).min(1.0);
    Some(Part { name: "size", value, weight: SIZE, reason: format!("{lines} lines in {} files", files.len()) })
}

/// Less for what rarely breaks a running system, by the kinds of its files alone.
fn factor(facts: &Facts, commit: &Commit) -> f64 {
    let of_deployment: f64 = if commit.landed.live_by == LiveBy::NotDeployed { 0.1 } else { 1.0 };
    let of_merge = if commit.merges { 0.95 } else { 1.0 };
    let of_files = match commit.files.as_deref() {
        Some(files) if !files.is_empty() && files.iter().all(|(file, _)| is_document(file)) => 0.6,
        Some(files) if !files.is_empty() && files.iter().all(|(file, _)| is_test(file) || is_document(file)) => 0.5,
        _ => 1.0,
    };
    // What failed before it was live can be its work only if the vendors' clocks differ.
    let of_order = if facts.onset_is_exact && commit.landed.live_at > facts.onset { 0.5 } else { 1.0 };
    rounded(of_deployment * of_merge * of_files * of_order)
}

fn is_document(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    matches!(
        extension.to_ascii_lowercase().as_str(),
        "md" | "rst" | "adoc" | "txt" | "png" | "jpg" | "jpeg" | "gif" | "svg"
    )
}

fn is_test(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let folders = lower.split('/').any(|part| matches!(part, "test" | "tests" | "spec" | "specs" | "__tests__"));
    let stem = lower.rsplit('/').next().unwrap_or(&lower);
    folders
        || stem.starts_with("test_")
        || stem.contains("_test.")
        || stem.contains(".test.")
        || stem.contains(".spec.")
}

pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
