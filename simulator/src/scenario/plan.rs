//! A history while it is being written: what happens when, before any vendor's form.
//!
//! Owns: the vocabulary of a story (commits, deploys, troubles, messages) and the order of things.
//! Does not own: how a vendor shows them (`emit`).

use crate::dataset::Dataset;
use crate::time::{self, DAY, MINUTE, Micros, SECOND};

use super::company;
use super::effects::Effects;
use super::emit;
use super::{FailureClass, Incident, Truth, random};

/// How long a history is.
pub(crate) const LENGTH: Micros = 9 * DAY;
/// Incidents lie in the last hours of it.
pub(crate) const LAST_HOURS: Micros = 11 * time::HOUR;

/// A file of a commit.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub name: String,
    pub additions: u64,
    pub deletions: u64,
    pub patch: String,
}

impl File {
    /// A changed file with its patch; lines are counted from it.
    pub(crate) fn patched(name: &str, patch: &str) -> Self {
        let count = |sign: char| patch.lines().filter(|line| line.starts_with(sign)).count() as u64;
        Self {
            name: name.to_owned(),
            additions: count('+'),
            deletions: count('-'),
            patch: format!("@@ -1,6 +1,6 @@\n{patch}"),
        }
    }
}

/// A commit on the main branch.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub sha: String,
    /// When it landed.
    pub at: Micros,
    /// When it was written: earlier.
    pub authored_at: Micros,
    pub author: usize,
    pub message: String,
    pub files: Vec<File>,
    /// Whether it came through a pull request.
    pub reviewed: bool,
}

/// A deploy of a commit to production.
#[derive(Debug, Clone)]
pub(crate) struct Deploy {
    pub sha: String,
    pub at: Micros,
    pub by: usize,
}

/// One kind of error in Sentry, with the times it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub kind: String,
    pub value: String,
    /// Index into the company's projects.
    pub project: usize,
    pub level: &'static str,
    pub filename: String,
    pub function: String,
    pub transaction: String,
    /// The commit whose release it came with.
    pub release_sha: Option<String>,
    pub seen: Vec<Micros>,
    /// When it was put away, if it was.
    pub status: &'static str,
}

/// A message in Slack.
#[derive(Debug, Clone)]
pub(crate) struct Say {
    pub at: Micros,
    pub channel: &'static str,
    pub person: usize,
    pub text: String,
    /// Replies, each some minutes after the one before.
    pub replies: Vec<(usize, String)>,
}

/// The history being written.
#[derive(Debug)]
pub(crate) struct Plan {
    pub anchor: Micros,
    pub seed: u64,
    pub effects: Effects,
    pub commits: Vec<Commit>,
    pub deploys: Vec<Deploy>,
    pub troubles: Vec<Trouble>,
    pub says: Vec<Say>,
    pub incidents: Vec<Incident>,
    /// Windows in which ordinary errors stay away, so that an incident's own are all there is.
    pub calm: Vec<(Micros, Micros)>,
    pub dataset: Dataset,
}

impl Plan {
    pub(crate) fn new(anchor: Micros, seed: u64) -> Self {
        Self {
            // Whole seconds, so that every vendor's precision holds every time.
            anchor: anchor - anchor.rem_euclid(SECOND),
            seed,
            effects: Effects::default(),
            commits: Vec::new(),
            deploys: Vec::new(),
            troubles: Vec::new(),
            says: Vec::new(),
            incidents: Vec::new(),
            calm: Vec::new(),
            dataset: Dataset::default(),
        }
    }

    /// When the history begins.
    pub(crate) fn start(&self) -> Micros {
        self.anchor - LENGTH
    }

    /// So many minutes before the end.
    pub(crate) fn ago(&self, minutes: i64) -> Micros {
        self.anchor - minutes * MINUTE
    }

    /// The sha of the commit that is known by a name in the story.
    pub(crate) fn sha(&self, name: &str) -> String {
        random::hex(&mut random::part(self.seed, &format!("sha {name}")), 40)
    }

    /// Lands a commit; it was written some hours before.
    pub(crate) fn commit(&mut self, name: &str, at: Micros, author: usize, message: &str, files: Vec<File>) -> String {
        let sha = self.sha(name);
        let written = 1 + sha.bytes().map(i64::from).sum::<i64>() % 5;
        self.commits.push(Commit {
            sha: sha.clone(),
            at,
            authored_at: at - written * time::HOUR - 7 * MINUTE,
            author,
            message: message.to_owned(),
            files,
            reviewed: true,
        });
        sha
    }

    /// Deploys a commit.
    pub(crate) fn deploy(&mut self, sha: &str, at: Micros, by: usize) {
        self.deploys.push(Deploy { sha: sha.to_owned(), at, by });
    }

    /// Someone says something.
    pub(crate) fn say(&mut self, at: Micros, channel: &'static str, person: usize, text: &str) {
        self.says.push(Say { at, channel, person, text: text.to_owned(), replies: Vec::new() });
    }

    /// Notes what really happened.
    pub(crate) fn incident(
        &mut self,
        class: FailureClass,
        entity: &str,
        window: (Micros, Micros),
        culprit: &str,
        deployed_at: Micros,
    ) {
        self.calm.push((window.0 - 90 * MINUTE, window.1 + 90 * MINUTE));
        self.incidents.push(Incident {
            class,
            entity: entity.to_owned(),
            starts_at: time::to_datetime(window.0),
            ends_at: time::to_datetime(window.1),
            culprit_sha: Some(culprit.to_owned()),
            deployed_at: Some(time::to_datetime(deployed_at)),
        });
    }

    /// Puts everything into the vendors' forms.
    pub(crate) fn finish(mut self) -> (Dataset, Truth) {
        self.commits.sort_by(|a, b| (a.at, &a.sha).cmp(&(b.at, &b.sha)));
        self.deploys.sort_by(|a, b| (a.at, &a.sha).cmp(&(b.at, &b.sha)));
        self.troubles.sort_by(|a, b| (a.seen.first(), &a.kind).cmp(&(b.seen.first(), &b.kind)));
        self.incidents.sort_by_key(|incident| incident.starts_at);
        emit::github(&mut self);
        emit::sentry(&mut self);
        emit::slack(&mut self);
        emit::datadog(&mut self);
        emit::pagerduty(&mut self);
        emit::linear(&mut self);
        let truth = Truth {
            starts_at: time::to_datetime(self.start()),
            anchor: time::to_datetime(self.anchor),
            owner: company::OWNER.to_owned(),
            repo: company::REPO.to_owned(),
            sentry_org: company::ORG.to_owned(),
            sentry_projects: company::PROJECTS.iter().map(|(_, slug, _)| (*slug).to_owned()).collect(),
            slack_channels: company::CHANNELS
                .iter()
                .filter(|(.., of_interest)| *of_interest)
                .map(|(_, name, ..)| (*name).to_owned())
                .collect(),
            approvers: company::PEOPLE.iter().take(2).map(|p| p.slack.to_owned()).collect(),
            incidents: self.incidents,
        };
        (self.dataset, truth)
    }
}
