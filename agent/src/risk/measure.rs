//! Measuring: what each past commit was followed by, compared with what went before.
//!
//! Owns: which commits are measured, the sums around each, and going on where an earlier run stopped. Must hold: a commit is
//! measured when the 24 hours after it are over and every source answered, and kept once; a source that fails leaves the
//! commit unmeasured, never measured as harmless; cost and errors are summed each by itself (D1 of the reference: joined, they
//! multiply); what counts is the difference to the day before (D2: every commit was charged what ran anyway), and what happened
//! when several commits were younger than a day is divided among them (D2: it was charged to every one of them).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};
use tripline_engine::{Param, Params, QueryOptions};
use tripline_store::{ChangedFile, Gap, MeasuredCommit};

use super::score::Coverage;
use super::{Risk, RiskError, Target};
use crate::detect::finding::{rows, time};

/// How far back history goes (seed 003: 90 days).
pub const HISTORY: TimeDelta = TimeDelta::days(90);
/// What is compared: so long after a commit with so long before it.
const DAY: TimeDelta = TimeDelta::hours(24);
/// Sources show what happened up to a quarter of an hour late.
const SETTLED_AFTER: TimeDelta = TimeDelta::minutes(15);
/// Commits measured in one step at most, and over how long a time: what is fetched for a step is kept in memory.
const STEP_COMMITS: usize = 50;
const STEP_SPAN: TimeDelta = TimeDelta::days(3);
/// Requests of one query at most.
const QUERY_REQUESTS: u64 = 1_000;

/// What is known of a repository's history.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Measured commits, oldest first.
    pub commits: Vec<MeasuredCommit>,
    /// How much of it that is.
    pub coverage: Coverage,
    /// How many were measured now.
    pub new: usize,
    /// HTTP requests sent.
    pub requests: u64,
}

/// A commit as it is listed.
#[derive(Debug, Clone, PartialEq)]
struct Listed {
    sha: String,
    committed_at: DateTime<Utc>,
    parents: Vec<String>,
}

fn text(row: &Map<String, Value>, column: &str) -> Option<String> {
    row.get(column)?.as_str().map(str::to_owned)
}

fn listed(row: &Map<String, Value>) -> Option<Listed> {
    let parents = match row.get("parents") {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        Some(value) => value.clone(),
        None => Value::Null,
    };
    let parents = parents.as_array().into_iter().flatten();
    Some(Listed {
        sha: text(row, "sha")?,
        committed_at: time(row.get("committed_at")?)?,
        parents: parents.filter_map(|parent| Some(parent.get("sha")?.as_str()?.to_owned())).collect(),
    })
}

/// The commits that landed by themselves: without those that came in by a merge, which lands them. A merge's files are the
/// difference to its first parent, so nothing is lost and nothing counts twice.
fn landed(commits: Vec<Listed>) -> Vec<Listed> {
    let by_sha: BTreeMap<&str, &Listed> = commits.iter().map(|commit| (commit.sha.as_str(), commit)).collect();
    let mut mainline = BTreeSet::new();
    let mut next = commits.first();
    while let Some(commit) = next {
        if !mainline.insert(commit.sha.as_str()) {
            break;
        }
        next = commit.parents.first().and_then(|parent| by_sha.get(parent.as_str()).copied());
    }
    let mut merged_in: BTreeSet<String> = BTreeSet::new();
    let merges = commits.iter().filter(|commit| mainline.contains(commit.sha.as_str()));
    let mut stack: Vec<&str> = merges.flat_map(|commit| commit.parents.iter().skip(1)).map(String::as_str).collect();
    while let Some(sha) = stack.pop() {
        if mainline.contains(sha) || merged_in.contains(sha) {
            continue;
        }
        if let Some(commit) = by_sha.get(sha) {
            merged_in.insert(sha.to_owned());
            stack.extend(commit.parents.iter().map(String::as_str));
        }
    }
    commits.into_iter().filter(|commit| !merged_in.contains(&commit.sha)).collect()
}

/// What happened when, in order of time.
struct Events(Vec<(DateTime<Utc>, f64)>);

impl Events {
    fn new(mut values: Vec<(DateTime<Utc>, f64)>) -> Self {
        values.sort_by_key(|(at, _)| *at);
        Self(values)
    }

    /// Those of `[from, to)`, each divided by what `among` says of its time.
    fn shared(&self, from: DateTime<Utc>, to: DateTime<Utc>, among: impl Fn(DateTime<Utc>) -> usize) -> f64 {
        let begin = self.0.partition_point(|(at, _)| *at < from);
        let within = self.0.iter().skip(begin).take_while(|(at, _)| *at < to);
        within.map(|(at, value)| value / among(*at).max(1) as f64).sum()
    }
}

/// What was fetched for a step.
struct Step {
    files: BTreeMap<String, Vec<ChangedFile>>,
    costs: Events,
    errors: Events,
}

/// A commit's share. `landed` is when commits landed, in order: what happens at a time is divided among those that landed in
/// the day before it, and what happened a day earlier likewise, so that traffic which goes on as it was makes no difference.
fn measure(commit: &Listed, step: &Step, landed: &[DateTime<Utc>]) -> MeasuredCommit {
    let (before, at, after) = (commit.committed_at - DAY, commit.committed_at, commit.committed_at + DAY);
    let until = |time: DateTime<Utc>| landed.partition_point(|landed| *landed <= time);
    let younger = |time: DateTime<Utc>| until(time) - until(time - DAY);
    let rounded = |sum: f64, digits: f64| (sum * digits).round() / digits;
    let around = |events: &Events, digits: f64| {
        let before = events.shared(before, at, |time| younger(time + DAY));
        (rounded(before, digits), rounded(events.shared(at, after, younger), digits))
    };
    let (costs, errors) = (around(&step.costs, 1e9), around(&step.errors, 1e3));
    MeasuredCommit {
        sha: commit.sha.clone(),
        committed_at: at,
        cost_before_usd: costs.0,
        cost_after_usd: costs.1,
        errors_before: errors.0,
        errors_after: errors.1,
        files: step.files.get(&commit.sha).cloned().unwrap_or_default(),
    }
}

/// The commits of the next step: the newest that are not measured yet.
fn next_step(todo: &[Listed]) -> usize {
    let Some(newest) = todo.first() else { return 0 };
    todo.iter()
        .take(STEP_COMMITS)
        .take_while(|commit| newest.committed_at - commit.committed_at <= STEP_SPAN)
        .count()
        .max(1)
}

impl Risk {
    /// Rows of a bundled query.
    pub(super) async fn rows(&self, name: &str, params: Params) -> Result<(Vec<Map<String, Value>>, u64), RiskError> {
        let template = self.parts.queries.find(name)?;
        let options = QueryOptions {
            params,
            now: Some(self.parts.ctx.clock.now()),
            max_requests: QUERY_REQUESTS,
            ..QueryOptions::default()
        };
        let result = self.parts.ctx.engine.collect(&template.header.sql, options).await?;
        let gaps = crate::detect::gaps_of(&result);
        if let Some(gap) = gaps.into_iter().next() {
            return Err(RiskError::Source { name: gap.source, message: gap.reason });
        }
        if result.report.truncated {
            let message = "the answer was cut off".to_owned();
            return Err(RiskError::Source { name: name.to_owned(), message });
        }
        let rows = rows(&template.header.origin, &result).map_err(|error| RiskError::Rows(error.to_string()))?;
        Ok((rows, result.report.requests))
    }

    /// What is known of the history of a repository, after measuring what is missing, newest first, with about `budget`
    /// requests at most. What was measured is kept when `persist` says so.
    ///
    /// # Errors
    /// Of the store, and of a query file that is wrong. A source that fails is a gap.
    pub async fn history(&self, target: &Target, budget: u64, persist: bool) -> Result<History, RiskError> {
        let ctx = &self.parts.ctx;
        let now = ctx.clock.now();
        let since = now - HISTORY;
        let repository = target.to_string();
        let mut known = ctx.store.risk.measured(&ctx.scope, &repository, since).await?;
        let mut coverage = Coverage { since, commits: known.len(), measured: known.len(), gaps: Vec::new() };
        let mut params = target.params();
        params.insert("since".to_owned(), Param::Timestamp(since));
        params.insert("until".to_owned(), Param::Timestamp(now));
        let (rows, mut requests) = match self.rows("risk_commits", params).await {
            Ok(found) => found,
            Err(error) => {
                coverage.gaps.push(error.gap("github")?);
                return Ok(History { commits: known, coverage, new: 0, requests: 0 });
            }
        };
        // The newest are not measured yet, but what happens now is divided among them as well.
        let mut commits = landed(rows.iter().filter_map(listed).collect());
        let mut times: Vec<DateTime<Utc>> = commits.iter().map(|commit| commit.committed_at).collect();
        times.sort_unstable();
        commits.retain(|commit| commit.committed_at < now - DAY - SETTLED_AFTER);
        let listed: BTreeSet<&str> = commits.iter().map(|commit| commit.sha.as_str()).collect();
        // What a rewritten branch no longer has is no history of it.
        known.retain(|commit| listed.contains(commit.sha.as_str()));
        let measured: BTreeSet<String> = known.iter().map(|commit| commit.sha.clone()).collect();
        coverage.commits = commits.len();
        let todo: Vec<Listed> = commits.into_iter().filter(|commit| !measured.contains(&commit.sha)).collect();
        let mut left = todo.as_slice();
        let mut new = 0;
        while !left.is_empty() && requests < budget {
            let (step, rest) = left.split_at(next_step(left));
            let fetched = self.fetch(target, step).await;
            requests += fetched.1;
            let data = match fetched.0 {
                Ok(data) => data,
                Err((source, error)) => {
                    coverage.gaps.push(error.gap(source)?);
                    break;
                }
            };
            let commits: Vec<MeasuredCommit> = step.iter().map(|commit| measure(commit, &data, &times)).collect();
            if persist {
                ctx.store.risk.keep_measured(&ctx.scope, &repository, commits.clone(), now).await?;
            }
            new += commits.len();
            known.extend(commits);
            left = rest;
        }
        if !left.is_empty() && coverage.gaps.is_empty() {
            let reason = format!("{} commits are not measured yet; the job risk_history goes on", left.len());
            coverage.gaps.push(Gap { source: "tripline".to_owned(), reason });
        }
        known.sort_by(|a, b| a.committed_at.cmp(&b.committed_at).then_with(|| a.sha.cmp(&b.sha)));
        coverage.measured = known.len();
        Ok(History { commits: known, coverage, new, requests })
    }

    /// What is needed for a step, and the requests that took.
    async fn fetch(&self, target: &Target, step: &[Listed]) -> (Result<Step, (&'static str, RiskError)>, u64) {
        let times = || step.iter().map(|commit| commit.committed_at);
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return (
                Ok(Step { files: BTreeMap::new(), costs: Events::new(Vec::new()), errors: Events::new(Vec::new()) }),
                0,
            );
        };
        let window = Params::from([
            ("since".to_owned(), Param::Timestamp(first - DAY)),
            ("until".to_owned(), Param::Timestamp(last + DAY)),
        ]);
        let mut of_commits = target.params();
        of_commits.insert("shas".to_owned(), Param::TextList(step.iter().map(|commit| commit.sha.clone()).collect()));
        let (costs, errors) = tokio::join!(self.rows("risk_costs", window.clone()), self.rows("risk_errors", window));
        let mut requests = 0;
        let mut take = |source: &'static str, found: Result<(Vec<Map<String, Value>>, u64), RiskError>| match found {
            Ok((rows, sent)) => {
                requests += sent;
                Ok(rows)
            }
            Err(error) => Err((source, error)),
        };
        let (costs, errors) = match (take("langfuse", costs), take("sentry", errors)) {
            (Ok(costs), Ok(errors)) => (costs, errors),
            (Err(missing), _) | (_, Err(missing)) => return (Err(missing), requests),
        };
        // A request per commit: not while the others could not be had.
        let files = take("github", self.rows("risk_commit_files", of_commits).await);
        let step = || {
            let files = files?;
            let mut by_sha: BTreeMap<String, Vec<ChangedFile>> = BTreeMap::new();
            for row in &files {
                if let (Some(sha), Some(path)) = (text(row, "sha"), text(row, "filename")) {
                    let previous_path = text(row, "previous_filename");
                    by_sha.entry(sha).or_default().push(ChangedFile { path, previous_path });
                }
            }
            let cost =
                |row: &Map<String, Value>| Some((time(row.get("second")?)?, row.get("cost_usd")?.as_f64()?.max(0.0)));
            let error = |row: &Map<String, Value>| Some((time(row.get("first_seen")?)?, 1.0));
            Ok(Step {
                files: by_sha,
                costs: Events::new(costs.iter().filter_map(cost).collect()),
                errors: Events::new(errors.iter().filter_map(error).collect()),
            })
        };
        let step = step();
        (step, requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::hours(hour)
    }

    fn commit(sha: &str, hour: i64, parents: &[&str]) -> Listed {
        let parents = parents.iter().map(|sha| (*sha).to_owned()).collect();
        Listed { sha: sha.to_owned(), committed_at: at(hour), parents }
    }

    #[test]
    fn what_a_merge_brings_in_lands_with_the_merge() {
        let commits = vec![
            commit("d", 4, &["merge"]),
            commit("merge", 3, &["b", "side2"]),
            commit("side2", 2, &["side1"]),
            commit("b", 2, &["a"]),
            commit("side1", 1, &["a"]),
            commit("a", 0, &[]),
        ];
        let landed: Vec<String> = landed(commits).into_iter().map(|commit| commit.sha).collect();
        assert_eq!(landed, ["d", "merge", "b", "a"]);
    }

    #[test]
    fn without_parents_every_commit_landed() {
        let commits = vec![commit("b", 1, &[]), commit("a", 0, &[])];
        assert_eq!(landed(commits).len(), 2);
    }

    #[test]
    fn a_day_after_is_compared_with_the_day_before_to_the_second() {
        let second = TimeDelta::seconds(1);
        let costs = vec![
            (at(0) - second, 100.0),
            (at(0), 1.0),
            (at(24) - second, 2.0),
            (at(24), 4.0),
            (at(48) - second, 8.0),
            (at(48), 100.0),
        ];
        let errors = vec![(at(23), 1.0), (at(24), 1.0), (at(30), 1.0), (at(48), 1.0)];
        let step = Step { files: BTreeMap::new(), costs: Events::new(costs), errors: Events::new(errors) };
        let measured = measure(&commit("a", 24, &[]), &step, &[at(24)]);
        assert_eq!((measured.cost_before_usd, measured.cost_after_usd), (3.0, 12.0));
        assert_eq!((measured.errors_before, measured.errors_after), (1.0, 2.0));
    }

    /// Cost by the hour, and errors.
    fn step(cost: impl Fn(i64) -> f64, errors: &[i64]) -> Step {
        let costs = (-48..96).map(|hour| (at(hour) + TimeDelta::minutes(30), cost(hour))).collect();
        let errors = errors.iter().map(|hour| (at(*hour) + TimeDelta::minutes(30), 1.0)).collect();
        Step { files: BTreeMap::new(), costs: Events::new(costs), errors: Events::new(errors) }
    }

    #[test]
    fn what_happens_after_many_commits_is_divided_among_them_and_not_counted_for_each() {
        let times: Vec<DateTime<Utc>> = (0..10).map(at).collect();
        let step = step(|hour| if hour < 10 { 1.0 } else { 3.0 }, &[12, 13, 14, 15, 20]);
        let measured: Vec<MeasuredCommit> =
            (0..10).map(|hour| measure(&commit("c", hour, &[]), &step, &times)).collect();
        let errors: f64 = measured.iter().map(MeasuredCommit::error_delta).sum();
        assert!((errors - 5.0).abs() < 0.01, "{errors}");
        let cost: f64 = measured.iter().map(MeasuredCommit::cost_delta_usd).sum();
        // Two dollars an hour more, from the tenth hour until the last commit is a day old.
        assert!((cost - 2.0 * 23.0).abs() < 1e-6, "{cost}");
    }

    #[test]
    fn traffic_that_goes_on_as_it_was_makes_no_difference_however_busy_the_repository_is() {
        let times: Vec<DateTime<Utc>> = [0, 1, 1, 5, 20, 30].map(at).to_vec();
        let step = step(|hour| (hour.rem_euclid(24)) as f64, &[]);
        for hour in [0, 1, 5, 20, 30] {
            let delta = measure(&commit("c", hour, &[]), &step, &times).cost_delta_usd();
            assert!(delta.abs() < 1e-6, "{hour}: {delta}");
        }
    }
}
