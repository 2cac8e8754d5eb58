//! GitHub's reads of one repository.
//!
//! Owns: the filters, sorts and limits of each list, and the detail endpoints.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::page::Page;
use super::shapes;
use super::store::{Commit, Numbered, Remark, Store};
use super::{Scope, error, invalid, not_found, number_of};
use crate::http::{Call, Params, Reply};
use crate::item::{self, Item};
use crate::time::Micros;

/// Files of a commit come in pages of up to 300, up to 3000 in all.
const COMMIT_FILES: usize = 300;
const MAX_FILES: usize = 3000;

/// Answers a GET below `/repos/{owner}/{repo}`.
pub(crate) fn answer(store: &Store, scope: &Scope, rest: &[&str], call: &Call) -> Reply {
    let read = Read { store, scope, rest, call, query: &call.query, horizon: scope.horizon };
    match rest {
        [] => read.repository(),
        ["commits"] => read.commits(),
        ["commits", reference @ .., "pulls"] if !reference.is_empty() => read.commit_pulls(&reference.join("/")),
        ["commits", reference @ ..] => read.commit(&reference.join("/")),
        ["pulls"] => read.pulls(),
        ["pulls", number] => read.pull(number),
        ["pulls", number, "files"] => read.pull_files(number),
        ["pulls", number, "reviews"] => read.remarks(&store.reviews, number_of(number)),
        ["issues"] => read.issues(),
        ["issues", "comments"] => read.remarks(&store.comments, None),
        ["issues", "comments", id] => read.comment(id),
        ["issues", number] => read.issue(number),
        ["issues", number, "comments"] => match number_of(number) {
            Some(number) if read.is_issue(number) => read.remarks(&store.comments, Some(number)),
            _ => not_found(),
        },
        ["releases"] => read.records(store.releases.visible(scope.horizon), |_| true),
        ["releases", "latest"] => read.latest_release(),
        ["releases", "tags", tag] => read.release_by_tag(tag),
        ["deployments"] => read.deployments(),
        ["deployments", id] => read.record(store.deployments.visible(scope.horizon), id),
        ["deployments", id, "statuses"] => read.deployment_statuses(id),
        ["actions", "runs"] => read.workflow_runs(),
        ["actions", "runs", id] => read.record(store.workflow_runs.visible(scope.horizon), id),
        _ => not_found(),
    }
}

/// One request's view of the store.
pub(super) struct Read<'a> {
    pub(super) store: &'a Store,
    pub(super) scope: &'a Scope,
    pub(super) rest: &'a [&'a str],
    pub(super) call: &'a Call,
    pub(super) query: &'a Params,
    pub(super) horizon: Option<Micros>,
}

impl Read<'_> {
    pub(super) fn link(&self, page: Page, reply: Reply, total: usize) -> Reply {
        let base = self.scope.link_base(self.call, self.rest);
        page.link(reply, &base, self.query, total)
    }

    /// One page of `items` as an array.
    pub(super) fn list<T>(&self, items: &[T], show: impl Fn(&T) -> Cow<'_, Item>) -> Reply {
        let page = Page::parse(self.query);
        let mut body = String::new();
        item::write_array(&mut body, page.slice(items).iter().map(show));
        self.link(page, Reply::json(body), items.len())
    }

    fn repository(&self) -> Reply {
        let scope = self.scope;
        Reply::value(200, &shapes::repository(&scope.owner, &scope.repo, scope.id))
    }

    fn commits(&self) -> Reply {
        let (since, until) = (self.query.time("since"), self.query.time("until"));
        let to = until.map(|until| until.saturating_add(1));
        let items = self.store.commits.between(since, to, self.horizon);
        // Branches are not modelled: a branch name means the one history there is, a sha its past.
        let start = match self.query.filled("sha") {
            Some(sha) if sha.len() >= 4 && sha.bytes().all(|b| b.is_ascii_hexdigit()) => {
                match self.store.commit(&self.scope.place, sha, self.horizon) {
                    Some(commit) => Some(commit.at),
                    None => return not_found(),
                }
            }
            _ => None,
        };
        let by = |wanted: Option<&str>, person: &[Box<str>; 3]| {
            wanted.is_none_or(|wanted| person.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
        };
        let path = self.query.filled("path").map(|path| path.trim_matches('/'));
        let author = self.query.filled("author");
        let committer = self.query.filled("committer");
        let found: Vec<&Arc<Commit>> = items
            .iter()
            .rev()
            .filter(|commit| {
                commit.place.fits(&self.scope.place)
                    && start.is_none_or(|start| commit.at <= start)
                    && by(author, &commit.author)
                    && by(committer, &commit.committer)
                    && path.is_none_or(|path| self.touches(commit, path))
            })
            .collect();
        self.list(&found, |commit| Cow::Borrowed(&commit.item))
    }

    fn touches(&self, commit: &Commit, path: &str) -> bool {
        self.store
            .files_of(commit, &self.scope.place, self.horizon)
            .iter()
            .filter_map(|file| file.get("filename")?.as_str())
            .any(|name| {
                name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || path.is_empty())
            })
    }

    fn commit(&self, reference: &str) -> Reply {
        let Some(commit) = self.store.commit(&self.scope.place, reference, self.horizon) else {
            return error(422, &format!("No commit found for SHA: {reference}"));
        };
        let mut files = self.store.files_of(commit, &self.scope.place, self.horizon);
        files.truncate(MAX_FILES);
        let page = Page::parse_with(self.query, COMMIT_FILES, COMMIT_FILES);
        let shown = page.slice(&files);
        let mut whole = commit.item.clone();
        if whole.present("stats").is_none() {
            let sum = |key: &str| files.iter().filter_map(|f| f.get(key)?.as_u64()).fold(0_u64, u64::saturating_add);
            let (additions, deletions) = (sum("additions"), sum("deletions"));
            whole.set_value(
                "stats",
                &json!({"total": additions.saturating_add(deletions), "additions": additions, "deletions": deletions}),
            );
        }
        whole.set_value("files", &json!(shown));
        self.link(page, Reply::json(whole.json()), files.len())
    }

    fn commit_pulls(&self, reference: &str) -> Reply {
        let Some(commit) = self.store.commit(&self.scope.place, reference, self.horizon) else {
            return error(422, &format!("No commit found for SHA: {reference}"));
        };
        let found: Vec<&Arc<Numbered>> = self
            .store
            .pulls
            .visible(self.horizon)
            .iter()
            .filter(|pull| {
                pull.place.fits(&self.scope.place) && pull.merged_as(self.horizon).as_deref() == Some(&*commit.sha)
            })
            .collect();
        self.list(&found, |pull| pull.seen_at(self.horizon))
    }

    fn pulls(&self) -> Reply {
        let state = self.query.filled("state").unwrap_or("open");
        if !["open", "closed", "all"].contains(&state) {
            return invalid("PullRequest", "state", "invalid");
        }
        let reference = |pull: &Numbered, side: &str, key: &str| -> String {
            let side = pull.item.value(side);
            side.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let base = self.query.filled("base");
        let head = self.query.filled("head");
        let mut found: Vec<&Arc<Numbered>> = self
            .store
            .pulls
            .visible(self.horizon)
            .iter()
            .filter(|pull| {
                pull.place.fits(&self.scope.place)
                    && (state == "all" || pull.state_at(self.horizon) == state)
                    && base.is_none_or(|base| reference(pull, "base", "ref") == base)
                    && head.is_none_or(|head| {
                        reference(pull, "head", "label") == head || reference(pull, "head", "ref") == head
                    })
            })
            .collect();
        let sort = self.query.filled("sort").unwrap_or("created");
        match sort {
            "created" | "long-running" => {}
            "updated" => found.sort_by_key(|pull| (pull.updated_at(self.horizon), pull.number)),
            "popularity" => found.sort_by_key(|pull| pull.item.number("comments").map_or(0, |n| n as u64)),
            _ => return invalid("PullRequest", "sort", "invalid"),
        }
        let default = if sort == "created" { "desc" } else { "asc" };
        if self.query.filled("direction").unwrap_or(default) == "desc" {
            found.reverse();
        }
        self.list(&found, |pull| pull.seen_at(self.horizon))
    }

    fn pull_named(&self, number: &str) -> Option<&Arc<Numbered>> {
        self.store.pull(&self.scope.place, number_of(number)?, self.horizon)
    }

    fn pull(&self, number: &str) -> Reply {
        let Some(pull) = self.pull_named(number) else {
            return not_found();
        };
        let mut whole = pull.seen_at(self.horizon).into_owned();
        let files: Vec<&Item> =
            self.store.files_of_pull(&self.scope.place, pull.number).map(|file| &file.item).collect();
        let sum = |key: &str| files.iter().filter_map(|f| f.number(key)).sum::<f64>() as u64;
        let merged = whole.present("merged_at").is_some();
        for (key, value) in [
            ("merged", json!(merged)),
            ("mergeable", if merged { Value::Null } else { json!(true) }),
            ("rebaseable", Value::Null),
            ("mergeable_state", json!(if merged { "unknown" } else { "clean" })),
            ("merged_by", if merged { whole.value("user") } else { Value::Null }),
            ("comments", json!(0)),
            ("review_comments", json!(0)),
            ("maintainer_can_modify", json!(false)),
            ("commits", json!(1)),
            ("additions", json!(sum("additions"))),
            ("deletions", json!(sum("deletions"))),
            ("changed_files", json!(files.len())),
        ] {
            if whole.raw(key).is_none() {
                whole.set_value(key, &value);
            }
        }
        Reply::json(whole.json())
    }

    fn pull_files(&self, number: &str) -> Reply {
        let Some(pull) = self.pull_named(number) else {
            return not_found();
        };
        let files: Vec<_> = self.store.files_of_pull(&self.scope.place, pull.number).take(MAX_FILES).collect();
        self.list(&files, |file| Cow::Borrowed(&file.item))
    }

    fn issues(&self) -> Reply {
        let query = self.query;
        let state = query.filled("state").unwrap_or("open");
        if !["open", "closed", "all"].contains(&state) {
            return invalid("Issue", "state", "invalid");
        }
        let labels: Vec<&str> =
            query.filled("labels").map(|labels| labels.split(',').map(str::trim).collect()).unwrap_or_default();
        let since = query.time("since");
        let login = |issue: &Numbered, key: &str| -> String {
            let user = issue.item.value(key);
            user.get("login").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let assignee = query.filled("assignee");
        let creator = query.filled("creator");
        let milestone = query.filled("milestone");
        let mut found: Vec<&Arc<Numbered>> = self
            .store
            .issues
            .visible(self.horizon)
            .iter()
            .filter(|issue| {
                issue.place.fits(&self.scope.place)
                    && (state == "all" || issue.state_at(self.horizon) == state)
                    && since.is_none_or(|since| issue.updated_at(self.horizon) >= since)
                    && (labels.is_empty() || has_labels(issue, &labels))
                    && creator.is_none_or(|wanted| login(issue, "user").eq_ignore_ascii_case(wanted))
                    && match assignee {
                        None => true,
                        Some("*") => issue.item.present("assignee").is_some(),
                        Some("none") => issue.item.present("assignee").is_none(),
                        Some(wanted) => login(issue, "assignee").eq_ignore_ascii_case(wanted),
                    }
                    && match milestone {
                        None => true,
                        Some("*") => issue.item.present("milestone").is_some(),
                        Some("none") => issue.item.present("milestone").is_none(),
                        Some(wanted) => {
                            issue.item.value("milestone").get("number").map(Value::to_string).as_deref() == Some(wanted)
                        }
                    }
            })
            .collect();
        match query.filled("sort").unwrap_or("created") {
            "created" => {}
            "updated" => found.sort_by_key(|issue| (issue.updated_at(self.horizon), issue.number)),
            "comments" => found.sort_by_key(|issue| issue.item.number("comments").map_or(0, |n| n as u64)),
            _ => return invalid("Issue", "sort", "invalid"),
        }
        if query.filled("direction").unwrap_or("desc") == "desc" {
            found.reverse();
        }
        self.list(&found, |issue| issue.seen_at(self.horizon))
    }

    fn is_issue(&self, number: u64) -> bool {
        let place = &self.scope.place;
        self.store.issue(place, number, self.horizon).is_some()
            || self.store.pull(place, number, self.horizon).is_some()
    }

    fn issue(&self, number: &str) -> Reply {
        number_of(number)
            .and_then(|number| self.store.issue(&self.scope.place, number, self.horizon))
            .map_or_else(not_found, |issue| Reply::json(issue.seen_at(self.horizon).json()))
    }

    /// Comments or reviews, oldest first.
    fn remarks(&self, remarks: &[Remark], number: Option<u64>) -> Reply {
        let since = self.query.time("since");
        let found: Vec<&Remark> = remarks
            .iter()
            .filter(|remark| {
                remark.place.fits(&self.scope.place)
                    && number.is_none_or(|number| remark.number == number)
                    && self.horizon.is_none_or(|now| remark.at <= now)
                    && since.is_none_or(|since| remark.at >= since)
            })
            .collect();
        self.list(&found, |remark| Cow::Borrowed(&remark.item))
    }

    fn comment(&self, id: &str) -> Reply {
        let id = number_of(id);
        self.store
            .comments
            .iter()
            .find(|c| Some(c.id) == id && c.place.fits(&self.scope.place) && self.horizon.is_none_or(|now| c.at <= now))
            .map_or_else(not_found, |comment| Reply::json(comment.item.json()))
    }
}

/// Whether an issue carries all labels.
pub(crate) fn has_labels(issue: &Numbered, wanted: &[&str]) -> bool {
    let labels = issue.item.value("labels");
    let names: Vec<&str> = labels
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|label| label.as_str().or_else(|| label.get("name")?.as_str()))
        .collect();
    wanted.iter().all(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
}
