//! The jobs there are: one per detector, those of governance, and those of sessions.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::Schedule;
use crate::queries::DetectorSpec;
use crate::queries::library::QuerySet;
use crate::settings::Settings;

/// How long a run may take, investigations included.
const DETECTOR_TIMEOUT: Duration = Duration::from_secs(300);

/// Name of the job that expires approvals.
const EXPIRY: &str = "approval_expiry";

/// Name of the job that derives clusters, correlations and figures of sessions.
const SESSION_PROCESSING: &str = "session_processing";

/// Name of the job that judges sessions.
const SESSION_MONITORING: &str = "session_monitoring";

/// What a job does.
#[derive(Debug, Clone)]
pub enum Work {
    /// Judges a window and responds to what it finds.
    Detect(Arc<DetectorSpec>),
    /// Expires approvals that nobody decided in time.
    ExpireApprovals,
    /// Derives error clusters, correlations and figures of sessions.
    ProcessSessions,
    /// Judges sessions: lightly while they go on, deeply when they have ended.
    MonitorSessions,
}

/// A job.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Its name.
    pub name: String,
    /// What it does, for people.
    pub title: String,
    /// When it runs, in UTC.
    pub schedule: Schedule,
    /// How long the window is that ends with each tick, for jobs that have one.
    pub window: Option<TimeDelta>,
    /// How long a run may take.
    pub timeout: Duration,
    /// What it does.
    pub work: Work,
}

/// A job as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobInfo {
    /// Its name.
    pub name: String,
    /// What it does.
    pub title: String,
    /// Its cron expression, six fields, in UTC.
    pub cron: String,
    /// Length of its window in seconds.
    pub window_seconds: Option<i64>,
    /// How long a run may take, in seconds.
    pub timeout_seconds: u64,
    /// When it is due next.
    pub next_at: Option<DateTime<Utc>>,
}

impl JobSpec {
    pub(super) fn info(&self, now: DateTime<Utc>) -> JobInfo {
        JobInfo {
            name: self.name.clone(),
            title: self.title.clone(),
            cron: self.schedule.to_string(),
            window_seconds: self.window.map(|window| window.num_seconds()),
            timeout_seconds: self.timeout.as_secs(),
            next_at: self.schedule.next_after(now),
        }
    }
}

/// The jobs of these query files, with the schedules of the settings before those of the files.
#[must_use]
pub fn all(set: &QuerySet, settings: &Settings) -> Vec<JobSpec> {
    // The settings were checked when they were read: what does not parse cannot be there.
    let chosen = |name: &str| settings.schedules.get(name).and_then(|cron| Schedule::parse(cron).ok());
    let mut jobs: Vec<JobSpec> = set
        .detectors
        .values()
        .map(|detector| JobSpec {
            name: detector.name.clone(),
            title: detector.title.clone(),
            schedule: chosen(&detector.name).unwrap_or_else(|| detector.schedule.clone()),
            window: Some(detector.window),
            timeout: DETECTOR_TIMEOUT,
            work: Work::Detect(Arc::clone(detector)),
        })
        .collect();
    let plain = [
        (EXPIRY, "Expire approvals", 60, Work::ExpireApprovals),
        (SESSION_PROCESSING, "Derive error clusters, correlations and figures of sessions", 300, Work::ProcessSessions),
        (SESSION_MONITORING, "Judge sessions: insights, and agents in figures", 300, Work::MonitorSessions),
    ];
    jobs.extend(plain.into_iter().filter_map(|(name, title, seconds, work)| {
        Some(JobSpec {
            name: name.to_owned(),
            title: title.to_owned(),
            schedule: chosen(name)?,
            window: None,
            timeout: Duration::from_secs(seconds),
            work,
        })
    }));
    jobs
}
