//! What there is to serve: vendor-native collections, from a directory or a scenario.
//!
//! Owns: the `--data` format (one JSON array per collection) and its errors.
//! Does not own: what the fields mean, or serving.
//! Must hold: an item is kept as it is, however odd; only a file that is no JSON array of objects
//! is refused, with its place.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use crate::item::Item;

/// A collection of the data format: one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each variant is the file named by `Collection::path`")]
pub enum Collection {
    LangfuseProjects,
    LangfuseTraces,
    LangfuseObservations,
    LangfuseScores,
    LangfuseSessions,
    LangfusePrompts,
    SentryProjects,
    SentryIssues,
    SentryIssueEvents,
    SentryReleases,
    SentryDeploys,
    GithubCommits,
    GithubPulls,
    GithubPullFiles,
    GithubIssues,
    GithubReleases,
    GithubDeployments,
    GithubWorkflowRuns,
    SlackChannels,
    SlackMessages,
    SlackUsers,
    DatadogMonitors,
    DatadogEvents,
    DatadogLogs,
    DatadogIncidents,
    DatadogMetrics,
    DatadogErrorTrackingIssues,
    PagerdutyIncidents,
    PagerdutyLogEntries,
    PagerdutyAlerts,
    PagerdutyServices,
    PagerdutyOncalls,
    PagerdutyUsers,
    PagerdutySchedules,
    LinearIssues,
    LinearComments,
    LinearTeams,
    LinearProjects,
    LinearUsers,
    LinearCycles,
}

impl Collection {
    /// All collections.
    pub const ALL: [Collection; 40] = [
        Collection::LangfuseProjects,
        Collection::LangfuseTraces,
        Collection::LangfuseObservations,
        Collection::LangfuseScores,
        Collection::LangfuseSessions,
        Collection::LangfusePrompts,
        Collection::SentryProjects,
        Collection::SentryIssues,
        Collection::SentryIssueEvents,
        Collection::SentryReleases,
        Collection::SentryDeploys,
        Collection::GithubCommits,
        Collection::GithubPulls,
        Collection::GithubPullFiles,
        Collection::GithubIssues,
        Collection::GithubReleases,
        Collection::GithubDeployments,
        Collection::GithubWorkflowRuns,
        Collection::SlackChannels,
        Collection::SlackMessages,
        Collection::SlackUsers,
        Collection::DatadogMonitors,
        Collection::DatadogEvents,
        Collection::DatadogLogs,
        Collection::DatadogIncidents,
        Collection::DatadogMetrics,
        Collection::DatadogErrorTrackingIssues,
        Collection::PagerdutyIncidents,
        Collection::PagerdutyLogEntries,
        Collection::PagerdutyAlerts,
        Collection::PagerdutyServices,
        Collection::PagerdutyOncalls,
        Collection::PagerdutyUsers,
        Collection::PagerdutySchedules,
        Collection::LinearIssues,
        Collection::LinearComments,
        Collection::LinearTeams,
        Collection::LinearProjects,
        Collection::LinearUsers,
        Collection::LinearCycles,
    ];

    /// `<vendor>/<collection>`: the file below the data directory, without `.json`.
    pub fn path(self) -> &'static str {
        match self {
            Collection::LangfuseProjects => "langfuse/projects",
            Collection::LangfuseTraces => "langfuse/traces",
            Collection::LangfuseObservations => "langfuse/observations",
            Collection::LangfuseScores => "langfuse/scores",
            Collection::LangfuseSessions => "langfuse/sessions",
            Collection::LangfusePrompts => "langfuse/prompts",
            Collection::SentryProjects => "sentry/projects",
            Collection::SentryIssues => "sentry/issues",
            Collection::SentryIssueEvents => "sentry/issue_events",
            Collection::SentryReleases => "sentry/releases",
            Collection::SentryDeploys => "sentry/deploys",
            Collection::GithubCommits => "github/commits",
            Collection::GithubPulls => "github/pulls",
            Collection::GithubPullFiles => "github/pull_files",
            Collection::GithubIssues => "github/issues",
            Collection::GithubReleases => "github/releases",
            Collection::GithubDeployments => "github/deployments",
            Collection::GithubWorkflowRuns => "github/workflow_runs",
            Collection::SlackChannels => "slack/channels",
            Collection::SlackMessages => "slack/messages",
            Collection::SlackUsers => "slack/users",
            Collection::DatadogMonitors => "datadog/monitors",
            Collection::DatadogEvents => "datadog/events",
            Collection::DatadogLogs => "datadog/logs",
            Collection::DatadogIncidents => "datadog/incidents",
            Collection::DatadogMetrics => "datadog/metrics",
            Collection::DatadogErrorTrackingIssues => "datadog/error_tracking_issues",
            Collection::PagerdutyIncidents => "pagerduty/incidents",
            Collection::PagerdutyLogEntries => "pagerduty/log_entries",
            Collection::PagerdutyAlerts => "pagerduty/alerts",
            Collection::PagerdutyServices => "pagerduty/services",
            Collection::PagerdutyOncalls => "pagerduty/oncalls",
            Collection::PagerdutyUsers => "pagerduty/users",
            Collection::PagerdutySchedules => "pagerduty/schedules",
            Collection::LinearIssues => "linear/issues",
            Collection::LinearComments => "linear/comments",
            Collection::LinearTeams => "linear/teams",
            Collection::LinearProjects => "linear/projects",
            Collection::LinearUsers => "linear/users",
            Collection::LinearCycles => "linear/cycles",
        }
    }
}

/// A data directory that could not be read.
#[derive(Debug, Error)]
pub enum DataError {
    /// The directory is not there.
    #[error("no data directory at {path}; hint: name a directory that holds <vendor>/<collection>.json files", path = path.display())]
    NoDirectory {
        /// The directory asked for.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot access {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not a JSON array of objects.
    #[error("{path}:{line}:{column}: {detail}; hint: the file must be a JSON array of objects", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line of the trouble, from 1.
        line: usize,
        /// Column of the trouble, from 1.
        column: usize,
        /// What is wrong there.
        detail: String,
    },
}

/// Vendor-native items by collection, each with its parents under underscored keys.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    collections: BTreeMap<Collection, Vec<Item>>,
}

impl Dataset {
    /// Reads `DIR/<vendor>/<collection>.json`; a missing file is an empty collection.
    ///
    /// # Errors
    /// When the directory is missing, a file cannot be read, or a file is not a JSON array of objects.
    pub fn load(dir: &Path) -> Result<Self, DataError> {
        if !dir.is_dir() {
            return Err(DataError::NoDirectory { path: dir.into() });
        }
        let mut dataset = Self::default();
        for collection in Collection::ALL {
            let path = dir.join(format!("{}.json", collection.path()));
            let text = match fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(DataError::Io { path, source }),
            };
            let text = text.trim_start_matches('\u{feff}');
            let items = serde_json::from_str(text).map_err(|error| DataError::Malformed {
                path,
                line: error.line(),
                column: error.column(),
                detail: error.to_string(),
            })?;
            dataset.collections.insert(collection, items);
        }
        Ok(dataset)
    }

    /// Writes the files that [`Dataset::load`] reads.
    ///
    /// # Errors
    /// When a directory or file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), DataError> {
        for (collection, items) in &self.collections {
            let path = dir.join(format!("{}.json", collection.path()));
            let mut text = String::from("[\n");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(",\n");
                }
                item.write(&mut text);
            }
            text.push_str("\n]\n");
            path.parent()
                .map_or(Ok(()), fs::create_dir_all)
                .and_then(|()| fs::write(&path, text))
                .map_err(|source| DataError::Io { path, source })?;
        }
        Ok(())
    }

    /// The items of a collection as parsed JSON, underscored parent keys included.
    pub fn items(&self, collection: Collection) -> impl Iterator<Item = Value> + '_ {
        self.raw(collection).iter().map(Item::to_value)
    }

    /// How many items a collection has.
    pub fn count(&self, collection: Collection) -> usize {
        self.raw(collection).len()
    }

    /// What an account holds before anything happens in it.
    pub(crate) fn without_history(mut self) -> Self {
        self.collections.retain(|collection, _| {
            matches!(
                collection,
                Collection::LangfuseProjects
                    | Collection::SentryProjects
                    | Collection::SlackChannels
                    | Collection::SlackUsers
                    | Collection::PagerdutyServices
                    | Collection::PagerdutyUsers
                    | Collection::PagerdutySchedules
                    | Collection::LinearTeams
                    | Collection::LinearUsers
            )
        });
        self
    }

    pub(crate) fn raw(&self, collection: Collection) -> &[Item] {
        self.collections.get(&collection).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn take(&mut self, collection: Collection) -> Vec<Item> {
        self.collections.remove(&collection).unwrap_or_default()
    }

    pub(crate) fn push(&mut self, collection: Collection, item: Item) {
        self.collections.entry(collection).or_default().push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_an_empty_collection() {
        let dir = tempfile::tempdir().unwrap();
        let dataset = Dataset::load(dir.path()).unwrap();
        assert!(Collection::ALL.iter().all(|c| dataset.count(*c) == 0));
    }

    #[test]
    fn a_malformed_file_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("github")).unwrap();
        for (text, line) in [("[\n{\"a\":1},\n{\"a\":}]", 3), ("[\n1]", 2), ("{\"data\":[]}", 1)] {
            fs::write(dir.path().join("github/commits.json"), text).unwrap();
            let error = Dataset::load(dir.path()).unwrap_err();
            let DataError::Malformed { line: found, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, line, "{text}");
            assert!(error.to_string().contains("commits.json"), "{error}");
        }
    }

    #[test]
    fn a_written_dataset_is_read_back_the_same() {
        let mut dataset = Dataset::default();
        let item: Item = serde_json::from_str(r#"{"_owner":"o","cost":0.10}"#).unwrap();
        dataset.push(Collection::GithubCommits, item);
        let dir = tempfile::tempdir().unwrap();
        dataset.write(dir.path()).unwrap();
        let again = Dataset::load(dir.path()).unwrap();
        assert_eq!(again.raw(Collection::GithubCommits), dataset.raw(Collection::GithubCommits));
    }
}
