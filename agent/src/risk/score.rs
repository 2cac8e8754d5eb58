//! The score of a pull request: the seed's formula over the measured history of its files, with its parts.
//!
//! Owns: which commits belong to a file (renames included) and the sum over them. A pure function: the same history and
//! the same files give the same report, however often. Must hold: a commit counts once, however many of the files it touched
//! (D1, D13 of the reference); what got better is no risk and no excuse.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tripline_store::{Gap, MeasuredCommit};

/// Points per new error (seed 003, PR risk).
const ERROR_POINTS: f64 = 4.0;
/// Points per US dollar, up to [`COST_POINTS_MOST`].
const COST_POINTS: f64 = 10.0;
/// Points that cost can add at most.
const COST_POINTS_MOST: f64 = 50.0;
const MOST: f64 = 100.0;
/// Commits listed in a report.
const LISTED_COMMITS: usize = 20;

/// A pull request, as far as its score depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// `owner/name`.
    pub repository: String,
    /// Its number.
    pub number: u64,
    /// Its title, as its author wrote it.
    pub title: String,
    /// Who opened it.
    pub author: Option<String>,
    /// `open` or `closed`.
    pub state: String,
    /// Its last commit.
    pub head_sha: Option<String>,
    /// The commit it was merged as.
    pub merge_sha: Option<String>,
    /// Its page.
    pub url: Option<String>,
    /// The files it changes.
    pub files: Vec<PullFile>,
}

/// A file of a pull request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullFile {
    /// Its path.
    pub path: String,
    /// Its path before, when it is renamed.
    pub previous_path: Option<String>,
    /// `added`, `modified`, `removed`, `renamed`, …
    pub status: String,
}

/// How much of the history is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Begin of the history.
    pub since: DateTime<Utc>,
    /// Commits of that time whose day after is over.
    pub commits: usize,
    /// Those of them that are measured.
    pub measured: usize,
    /// What is unknown, and why.
    pub gaps: Vec<Gap>,
}

impl Coverage {
    /// Whether all of the history is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.gaps.is_empty() && self.measured >= self.commits
    }
}

/// Sums of a history, and the points they make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// New errors more than before, over all commits after which there were more.
    pub errors: f64,
    /// US dollars more than before, over all commits after which it was more.
    pub cost_usd: f64,
    /// `errors × 4`.
    pub error_points: f64,
    /// `cost × 10`, at most 50.
    pub cost_points: f64,
    /// `min(100, error_points + cost_points)`, without its fraction.
    pub score: i64,
}

impl Points {
    fn of<'a>(commits: impl Iterator<Item = &'a MeasuredCommit>) -> Self {
        let (mut errors, mut cost_usd) = (0.0, 0.0);
        for commit in commits {
            errors += commit.error_delta().max(0.0);
            cost_usd += commit.cost_delta_usd().max(0.0);
        }
        // Shares are of thousandths: their sum is too, and not what floating point makes of it.
        let errors = thousandths(errors);
        let error_points = errors * ERROR_POINTS;
        let cost_points = (cost_usd * COST_POINTS).min(COST_POINTS_MOST);
        // What floating-point sums lack of a whole point is not a point less.
        let score = (error_points + cost_points + 1e-6).floor().clamp(0.0, MOST) as i64;
        Self { errors, cost_usd, error_points, cost_points, score }
    }
}

/// To the third digit.
fn thousandths(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// One file's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FilePart {
    /// Its path.
    pub path: String,
    /// Its path before, when the pull request renames it.
    pub previous_path: Option<String>,
    /// What happens to it.
    pub status: String,
    /// Measured commits that changed it, under any of its names.
    pub changes: usize,
    /// The formula over these commits alone.
    #[serde(flatten)]
    pub points: Points,
}

/// One commit's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommitPart {
    /// The commit.
    pub sha: String,
    /// When it landed.
    pub committed_at: DateTime<Utc>,
    /// New errors after minus before.
    pub error_delta: f64,
    /// Dollars after minus before.
    pub cost_delta_usd: f64,
    /// Which of the pull request's files it changed.
    pub files: Vec<String>,
}

/// A score with its parts. Holds no time of its own: the same history gives the same report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The pull request.
    pub pull: Pull,
    /// The sums and the score.
    pub points: Points,
    /// Above this, changes are requested.
    pub threshold: i64,
    /// Its files, the riskiest first.
    pub files: Vec<FilePart>,
    /// The commits behind the score, the worst first; at most 20.
    pub commits: Vec<CommitPart>,
    /// All commits behind the score.
    pub commit_count: usize,
    /// How much of the history is known.
    pub coverage: Coverage,
}

impl Report {
    /// Whether changes are to be requested.
    #[must_use]
    pub fn is_risky(&self) -> bool {
        self.points.score > self.threshold
    }
}

/// Every name that a file had, as far as the history tells.
fn names(file: &PullFile, history: &[MeasuredCommit]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = file.previous_path.iter().cloned().chain([file.path.clone()]).collect();
    loop {
        let renamed = history.iter().flat_map(|commit| &commit.files);
        let older: BTreeSet<String> = renamed
            .filter(|changed| names.contains(&changed.path))
            .filter_map(|changed| changed.previous_path.clone())
            .filter(|path| !names.contains(path))
            .collect();
        if older.is_empty() {
            return names;
        }
        names.extend(older);
    }
}

/// Scores a pull request. Its own commits are no history of it.
#[must_use]
pub fn score(pull: Pull, history: &[MeasuredCommit], coverage: Coverage, threshold: i64) -> Report {
    let is_own = |sha: &str| [&pull.head_sha, &pull.merge_sha].into_iter().flatten().any(|own| own == sha);
    let history: Vec<MeasuredCommit> = history.iter().filter(|commit| !is_own(&commit.sha)).cloned().collect();
    let mut touched: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    let mut files = Vec::new();
    for file in &pull.files {
        let names = names(file, &history);
        let is_named = |path: &String| names.contains(path);
        let of_file: Vec<usize> = history
            .iter()
            .enumerate()
            .filter(|(_, commit)| {
                commit.files.iter().any(|changed| is_named(&changed.path) || changed.previous_path.iter().any(is_named))
            })
            .map(|(index, _)| index)
            .collect();
        for index in &of_file {
            touched.entry(*index).or_default().push(file.path.clone());
        }
        files.push(FilePart {
            path: file.path.clone(),
            previous_path: file.previous_path.clone(),
            status: file.status.clone(),
            changes: of_file.len(),
            points: Points::of(of_file.iter().filter_map(|index| history.get(*index))),
        });
    }
    files.sort_by(|a, b| {
        let key = |file: &FilePart| file.points.error_points + file.points.cost_points;
        key(b).total_cmp(&key(a)).then_with(|| b.changes.cmp(&a.changes)).then_with(|| a.path.cmp(&b.path))
    });
    let points = Points::of(touched.keys().filter_map(|index| history.get(*index)));
    let mut commits: Vec<CommitPart> = touched
        .into_iter()
        .filter_map(|(index, files)| {
            let commit = history.get(index)?;
            Some(CommitPart {
                sha: commit.sha.clone(),
                committed_at: commit.committed_at,
                error_delta: thousandths(commit.error_delta()),
                cost_delta_usd: commit.cost_delta_usd(),
                files,
            })
        })
        .collect();
    commits.sort_by(|a, b| {
        let weight =
            |part: &CommitPart| part.error_delta.max(0.0) * ERROR_POINTS + part.cost_delta_usd.max(0.0) * COST_POINTS;
        weight(b)
            .total_cmp(&weight(a))
            .then_with(|| b.committed_at.cmp(&a.committed_at))
            .then_with(|| a.sha.cmp(&b.sha))
    });
    let commit_count = commits.len();
    commits.truncate(LISTED_COMMITS);
    Report { pull, points, threshold, files, commits, commit_count, coverage }
}
