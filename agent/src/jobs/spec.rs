//! The jobs there are: one per detector, those of governance, those of sessions, and the modes by the clock.

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

/// Name of the job that has every detector judged and sums up what they found.
pub(crate) const ON_CALL: &str = "on_call_brain";

/// Name of the job that judges every output against its schema.
pub(crate) const PATROL: &str = "drift_patrol";

/// Name of the job that tells of a week.
pub(crate) const DIGEST: &str = "weekly_digest";

/// Name of the job that scores the pull requests that wait.
pub(crate) const PR_RISK: &str = "pr_risk";

/// Name of the job that measures past commits.
pub(crate) const RISK_HISTORY: &str = "risk_history";

/// Name of the job that tells the traces worth looking at from the others.
pub const SAMPLER: &str = "trace_sampler";

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
    /// Has every detector judge what is due, and sums up what they found.
    OnCall,
    /// Judges every output of a day against its feature's schema, and responds to drift.
    DriftPatrol,
    /// Tells of the week that ends with the tick.
    WeeklyDigest,
    /// Scores the pull requests that wait.
    ScorePulls,
    /// Measures past commits that are not measured yet.
    MeasureCommits,
    /// Judges which traces are worth looking at.
    SampleTraces,
}

/// A job.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Its name.
    pub name: String,
    /// What it does, for people.
    pub title: String,
    /// When it runs.
    pub schedule: Schedule,
    /// Whether an installation that never ran it begins with its next tick instead of its latest one.
    pub begins_with_next: bool,
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
    /// Its cron expression, six fields.
    pub cron: String,
    /// The time zone of the expression.
    pub time_zone: String,
    /// Length of its window in seconds.
    pub window_seconds: Option<i64>,
    /// How long a run may take, in seconds.
    pub timeout_seconds: u64,
    /// When it is due next.
    pub next_at: Option<DateTime<Utc>>,
}

impl JobSpec {
    /// Whether it analyses sessions: such a job is called when a session changes.
    pub(super) fn is_of_sessions(&self) -> bool {
        matches!(self.work, Work::ProcessSessions | Work::MonitorSessions)
    }

    /// Whether somebody waits for it, an approver or the author of a pull request: such a job has a task of its own.
    pub(super) fn is_waited_for(&self) -> bool {
        matches!(self.work, Work::ExpireApprovals | Work::ScorePulls)
    }

    pub(super) fn info(&self, now: DateTime<Utc>) -> JobInfo {
        JobInfo {
            name: self.name.clone(),
            title: self.title.clone(),
            cron: self.schedule.to_string(),
            time_zone: self.schedule.zone().name().to_owned(),
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
            begins_with_next: false,
            window: Some(detector.window),
            timeout: DETECTOR_TIMEOUT,
            work: Work::Detect(Arc::clone(detector)),
        })
        .collect();
    let plain = [
        (EXPIRY, "Expire approvals", 60, Work::ExpireApprovals),
        (SESSION_PROCESSING, "Derive error clusters, correlations and figures of sessions", 300, Work::ProcessSessions),
        (SESSION_MONITORING, "Judge sessions: insights, and agents in figures", 300, Work::MonitorSessions),
        (ON_CALL, "Have every detector judge what is due, and sum up what they found", 900, Work::OnCall),
        (PATROL, "Judge every output of a day against its schema", 900, Work::DriftPatrol),
        (DIGEST, "Tell of the week: what shipped, what broke, what to watch", 900, Work::WeeklyDigest),
        (PR_RISK, "Score the pull requests that wait", 600, Work::ScorePulls),
        (RISK_HISTORY, "Measure what followed past commits", 600, Work::MeasureCommits),
        (SAMPLER, "Tell the traces worth looking at from the others", 300, Work::SampleTraces),
    ];
    // The settings were checked when they were read.
    let zone = settings.time_zone.parse().unwrap_or(chrono_tz::Tz::UTC);
    jobs.extend(plain.into_iter().filter_map(|(name, title, seconds, work)| {
        let schedule = chosen(name)?;
        Some(JobSpec {
            name: name.to_owned(),
            title: title.to_owned(),
            schedule: if name == DIGEST { schedule.in_zone(zone) } else { schedule },
            begins_with_next: matches!(name, ON_CALL | PATROL | DIGEST),
            window: None,
            timeout: Duration::from_secs(seconds),
            work,
        })
    }));
    jobs
}
