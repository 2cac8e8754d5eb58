//! GitHub's data: commits, pull requests, issues, releases, deployments, workflow runs.
//!
//! Owns: indexing, which repository an item belongs to, and what an item looks like before its
//! later state happened (a pull request that is merged later is open).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::dataset::{Collection, Dataset};
use crate::item::Item;
use crate::time::{self, Micros};
use crate::timeline::{TIMELESS, Timed, Timeline};

/// The repository an item belongs to; an empty part fits every repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Place {
    owner: Box<str>,
    repo: Box<str>,
}

impl Place {
    pub(crate) fn new(owner: &str, repo: &str) -> Self {
        Self { owner: owner.to_lowercase().into(), repo: repo.to_lowercase().into() }
    }

    fn of(parents: &Item) -> Self {
        Self::new(&parents.key("_owner"), &parents.key("_repo"))
    }

    fn is_anywhere(&self) -> bool {
        self.owner.is_empty() && self.repo.is_empty()
    }

    /// Whether an item of this place is in a repository.
    pub(crate) fn fits(&self, repository: &Place) -> bool {
        (self.owner.is_empty() || self.owner == repository.owner)
            && (self.repo.is_empty() || self.repo == repository.repo)
    }
}

/// A commit; its time is when it landed (committer date).
#[derive(Debug)]
pub(crate) struct Commit {
    pub item: Item,
    pub place: Place,
    pub sha: Box<str>,
    /// Files the item itself brings, served by the detail endpoint.
    pub files: Option<Vec<Value>>,
    pub author: [Box<str>; 3],
    pub committer: [Box<str>; 3],
    pub at: Micros,
}

impl Commit {
    fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let commit = item.value("commit");
        let date = |who: &str| {
            commit.get(who).and_then(|person| person.get("date")).and_then(Value::as_str).and_then(time::parse)
        };
        let person = |who: &str| -> [Box<str>; 3] {
            let account = item.value(who);
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().into();
            let signature = commit.get(who);
            [
                text(account.get("login")),
                text(signature.and_then(|s| s.get("email"))),
                text(signature.and_then(|s| s.get("name"))),
            ]
        };
        let files = [parents.value("_files"), item.value("files")].into_iter().find_map(|files| match files {
            Value::Array(files) => Some(files),
            _ => None,
        });
        Self {
            place: Place::of(&parents),
            sha: item.key("sha"),
            files,
            author: person("author"),
            committer: person("committer"),
            at: date("committer").or_else(|| date("author")).unwrap_or(TIMELESS),
            item,
        }
    }
}

impl Timed for Commit {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.sha, "")
    }
}

/// Something with a number: a pull request or an issue.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub item: Item,
    pub place: Place,
    pub number: u64,
    pub state: Box<str>,
    pub created: Micros,
    pub updated: Micros,
    pub closed: Option<Micros>,
    merged: Option<Micros>,
    number_text: Box<str>,
}

impl Numbered {
    pub(crate) fn new(mut item: Item) -> Self {
        let parents = item.split_parents();
        let place = Place::of(&parents);
        let created = item.time("created_at").unwrap_or(TIMELESS);
        let number = item.number("number").map_or(0, |n| n as u64);
        let state = match &*item.key("state") {
            "" if item.time("closed_at").is_some() => "closed".into(),
            "" => "open".into(),
            state => state.into(),
        };
        Self {
            place,
            number,
            state,
            created,
            updated: item.time("updated_at").unwrap_or(created),
            closed: item.time("closed_at"),
            merged: item
                .time("merged_at")
                .or_else(|| time::parse(item.value("pull_request").get("merged_at")?.as_str()?)),
            number_text: format!("{number:012}").into(),
            item,
        }
    }

    /// When it was last changed, as far as is known at the horizon.
    pub(crate) fn updated_at(&self, horizon: Option<Micros>) -> Micros {
        horizon.map_or(self.updated, |now| self.updated.min(now))
    }

    /// `open` or `closed` at the horizon.
    pub(crate) fn state_at(&self, horizon: Option<Micros>) -> &str {
        let later = |at: Option<Micros>| horizon.zip(at).is_some_and(|(now, at)| at > now);
        if later(self.closed) || later(self.merged) { "open" } else { &self.state }
    }

    /// The object as the API would have it at the horizon.
    pub(crate) fn seen_at(&self, horizon: Option<Micros>) -> Cow<'_, Item> {
        let Some(now) = horizon else {
            return Cow::Borrowed(&self.item);
        };
        let mut item = Cow::Borrowed(&self.item);
        if self.state_at(horizon) != &*self.state {
            let item = item.to_mut();
            item.set_text("state", "open");
            for key in ["closed_at", "closed_by", "state_reason", "merged_at", "merged_by", "merge_commit_sha"] {
                item.nullify(key);
            }
            if item.raw("merged").is_some() {
                item.set_raw("merged", "false");
            }
            if let Value::Object(mut link) = item.value("pull_request") {
                if link.contains_key("merged_at") {
                    link.insert("merged_at".to_owned(), Value::Null);
                }
                item.set_value("pull_request", &Value::Object(link));
            }
        }
        if self.updated > now {
            item.to_mut().set_text("updated_at", &time::seconds_z(now));
        }
        item
    }

    /// The commit it was merged as, once it is.
    pub(crate) fn merged_as(&self, horizon: Option<Micros>) -> Option<Box<str>> {
        let is_merged = self.merged.is_some_and(|at| horizon.is_none_or(|now| at <= now));
        is_merged.then(|| self.item.key("merge_commit_sha")).filter(|sha| !sha.is_empty())
    }
}

impl Timed for Numbered {
    fn order(&self) -> (Micros, &str, &str) {
        (self.created, &self.number_text, "")
    }
}

/// A release, deployment or workflow run.
#[derive(Debug)]
pub(crate) struct Record {
    pub item: Item,
    pub place: Place,
    pub id: Box<str>,
    pub at: Micros,
}

impl Record {
    fn new(mut item: Item, time_keys: &[&str]) -> Self {
        let parents = item.split_parents();
        Self {
            place: Place::of(&parents),
            id: item.key("id"),
            at: time_keys.iter().find_map(|key| item.time(key)).unwrap_or(TIMELESS),
            item,
        }
    }

    /// The object as the API would have it at the horizon.
    pub(crate) fn seen_at(&self, horizon: Option<Micros>) -> Cow<'_, Item> {
        let mut item = Cow::Borrowed(&self.item);
        if let (Some(now), Some(updated)) = (horizon, self.item.time("updated_at"))
            && updated > now
        {
            let item = item.to_mut();
            item.set_text("updated_at", &time::seconds_z(now));
            if item.present("status") == Some(r#""completed""#) {
                item.set_text("status", "in_progress");
                item.nullify("conclusion");
            }
        }
        item
    }
}

impl Timed for Record {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.id, "")
    }
}

/// A file of a pull request.
#[derive(Debug)]
pub(crate) struct PullFile {
    pub item: Item,
    pub place: Place,
    pub number: Option<u64>,
}

/// A comment or review that was written here.
#[derive(Debug)]
pub(crate) struct Remark {
    pub item: Item,
    pub place: Place,
    pub number: u64,
    pub id: u64,
    pub at: Micros,
}

/// Everything GitHub has.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub commits: Timeline<Commit>,
    pub pulls: Timeline<Numbered>,
    pull_files: Vec<PullFile>,
    pub issues: Timeline<Numbered>,
    pub releases: Timeline<Record>,
    pub deployments: Timeline<Record>,
    pub workflow_runs: Timeline<Record>,
    pub comments: Vec<Remark>,
    pub reviews: Vec<Remark>,
    commit_by_sha: HashMap<Box<str>, Arc<Commit>>,
    pull_by_merge: HashMap<Box<str>, Arc<Numbered>>,
    /// Positions of the files of a pull request; those of none are under `None`.
    files_by_pull: HashMap<Option<u64>, Vec<usize>>,
    /// The repositories that items name; `None` when items of no repository fit them all.
    known: Option<Vec<Place>>,
}

impl Store {
    /// Takes the GitHub collections out of a dataset.
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        let mut records = |collection, keys: &[&str]| {
            Timeline::new(dataset.take(collection).into_iter().map(|item| Record::new(item, keys)))
        };
        let releases = records(Collection::GithubReleases, &["published_at", "created_at"]);
        let deployments = records(Collection::GithubDeployments, &["created_at"]);
        let workflow_runs = records(Collection::GithubWorkflowRuns, &["created_at", "run_started_at"]);
        let mut store = Self {
            releases,
            deployments,
            workflow_runs,
            commits: Timeline::new(dataset.take(Collection::GithubCommits).into_iter().map(Commit::new)),
            pulls: Timeline::new(dataset.take(Collection::GithubPulls).into_iter().map(Numbered::new)),
            issues: Timeline::new(dataset.take(Collection::GithubIssues).into_iter().map(Numbered::new)),
            pull_files: dataset
                .take(Collection::GithubPullFiles)
                .into_iter()
                .map(|mut item| {
                    let parents = item.split_parents();
                    PullFile { place: Place::of(&parents), number: parents.number("_number").map(|n| n as u64), item }
                })
                .collect(),
            ..Self::default()
        };
        store.known = store.named_places();
        store.index();
        store
    }

    /// Commits, pull requests and their files are only ever loaded, so this is done once.
    fn index(&mut self) {
        for commit in self.commits.all() {
            self.commit_by_sha.insert(commit.sha.clone(), Arc::clone(commit));
        }
        for pull in self.pulls.all() {
            let sha = pull.item.key("merge_commit_sha");
            if !sha.is_empty() {
                self.pull_by_merge.insert(sha, Arc::clone(pull));
            }
        }
        for (position, file) in self.pull_files.iter().enumerate() {
            self.files_by_pull.entry(file.number).or_default().push(position);
        }
    }

    fn named_places(&self) -> Option<Vec<Place>> {
        let mut known: Vec<Place> = Vec::new();
        let records = [&self.releases, &self.deployments, &self.workflow_runs];
        let places = self
            .commits
            .all()
            .iter()
            .map(|c| &c.place)
            .chain(self.pulls.all().iter().map(|p| &p.place))
            .chain(self.issues.all().iter().map(|i| &i.place))
            .chain(records.into_iter().flat_map(|r| r.all()).map(|r| &r.place));
        for place in places {
            if place.is_anywhere() {
                return None;
            }
            if !known.contains(place) {
                known.push(place.clone());
            }
        }
        Some(known).filter(|known| !known.is_empty())
    }

    /// Whether there is such a repository.
    pub(crate) fn knows(&self, repository: &Place) -> bool {
        self.known.as_ref().is_none_or(|known| known.iter().any(|place| place.fits(repository)))
    }

    /// A visible commit by sha, unique prefix of at least 4 characters, tag, branch or `HEAD`.
    pub(crate) fn commit(&self, repository: &Place, reference: &str, horizon: Option<Micros>) -> Option<&Arc<Commit>> {
        let visible = self.commits.visible(horizon);
        let here = || visible.iter().rev().filter(|c| c.place.fits(repository));
        let wanted = reference.to_lowercase();
        let known = self.commit_by_sha.get(wanted.as_str());
        if let Some(found) = known.filter(|c| c.place.fits(repository) && horizon.is_none_or(|now| c.at <= now)) {
            return Some(found);
        }
        let is_prefix = wanted.len() >= 4 && wanted.bytes().all(|b| b.is_ascii_hexdigit());
        if is_prefix && let Some(found) = here().find(|c| c.sha.starts_with(&wanted)) {
            return Some(found);
        }
        let name = reference.trim_start_matches("refs/").trim_start_matches("heads/").trim_start_matches("tags/");
        if ["HEAD", "main", "master"].contains(&name) {
            return here().next();
        }
        let release = self
            .releases
            .visible(horizon)
            .iter()
            .find(|r| r.place.fits(repository) && &*r.item.key("tag_name") == name)?;
        let target = release.item.key("target_commitish");
        here().find(|c| c.sha == target)
    }

    /// The files of a commit: its own, else those of the pull request it merged, else none.
    pub(crate) fn files_of(&self, commit: &Commit, repository: &Place, horizon: Option<Micros>) -> Vec<Value> {
        if let Some(files) = &commit.files {
            return files.clone();
        }
        let pull = self
            .pull_by_merge
            .get(&commit.sha)
            .filter(|pull| pull.place.fits(repository) && pull.merged_as(horizon).is_some());
        match pull {
            Some(pull) => self.files_of_pull(repository, pull.number).map(|file| file.item.to_value()).collect(),
            None => Vec::new(),
        }
    }

    /// The files of a pull request.
    pub(crate) fn files_of_pull<'a>(
        &'a self,
        repository: &'a Place,
        number: u64,
    ) -> impl Iterator<Item = &'a PullFile> {
        let of = |key: Option<u64>| self.files_by_pull.get(&key).into_iter().flatten();
        of(Some(number))
            .chain(of(None))
            .filter_map(|position| self.pull_files.get(*position))
            .filter(move |file| file.place.fits(repository))
    }

    /// A visible issue by number.
    pub(crate) fn issue(&self, repository: &Place, number: u64, horizon: Option<Micros>) -> Option<&Arc<Numbered>> {
        self.issues.visible(horizon).iter().find(|issue| issue.number == number && issue.place.fits(repository))
    }

    /// A visible pull request by number.
    pub(crate) fn pull(&self, repository: &Place, number: u64, horizon: Option<Micros>) -> Option<&Arc<Numbered>> {
        self.pulls.visible(horizon).iter().find(|pull| pull.number == number && pull.place.fits(repository))
    }

    /// The next free number of a repository; issues and pull requests share one sequence.
    pub(crate) fn next_number(&self, repository: &Place) -> u64 {
        self.issues
            .all()
            .iter()
            .chain(self.pulls.all())
            .filter(|numbered| numbered.place.fits(repository))
            .map(|numbered| numbered.number)
            .max()
            .unwrap_or(0)
            .saturating_add(1)
    }
}
