//! GitHub's reads of what happens to code: releases, deployments, workflow runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::page::Page;
use super::reads::Read;
use super::store::Record;
use super::{invalid, not_found};
use crate::http::Reply;
use crate::item;
use crate::time::{self, Micros};

/// Filtered workflow runs end here.
const MAX_RUNS: usize = 1000;

/// Whether an optional filter is absent or equal to `found`.
fn fits(wanted: Option<&str>, found: &str) -> bool {
    wanted.is_none_or(|wanted| wanted == found)
}

impl Read<'_> {
    /// Records of this repository, newest first.
    pub(super) fn records(&self, records: &[Arc<Record>], keep: impl Fn(&Record) -> bool) -> Reply {
        let found: Vec<&Arc<Record>> =
            records.iter().rev().filter(|record| record.place.fits(&self.scope.place) && keep(record)).collect();
        self.list(&found, |record| record.seen_at(self.horizon))
    }

    pub(super) fn record(&self, records: &[Arc<Record>], id: &str) -> Reply {
        records
            .iter()
            .find(|record| &*record.id == id && record.place.fits(&self.scope.place))
            .map_or_else(not_found, |record| Reply::json(record.seen_at(self.horizon).json()))
    }

    pub(super) fn latest_release(&self) -> Reply {
        self.store
            .releases
            .visible(self.horizon)
            .iter()
            .rev()
            .find(|r| {
                let hidden = |key| r.item.raw(key) == Some("true");
                r.place.fits(&self.scope.place) && !hidden("draft") && !hidden("prerelease")
            })
            .map_or_else(not_found, |r| Reply::json(r.item.json()))
    }

    pub(super) fn release_by_tag(&self, tag: &str) -> Reply {
        self.store
            .releases
            .visible(self.horizon)
            .iter()
            .find(|r| r.place.fits(&self.scope.place) && &*r.item.key("tag_name") == tag)
            .map_or_else(not_found, |r| Reply::json(r.item.json()))
    }

    pub(super) fn deployments(&self) -> Reply {
        let query = self.query;
        let wanted = |name: &str| query.filled(name).filter(|value| *value != "none");
        let (sha, reference) = (wanted("sha"), wanted("ref"));
        let (task, environment) = (wanted("task"), wanted("environment"));
        self.records(self.store.deployments.visible(self.horizon), |deployment| {
            let item = &deployment.item;
            fits(sha, &item.key("sha"))
                && fits(reference, &item.key("ref"))
                && fits(task, &item.key("task"))
                && fits(environment, &item.key("environment"))
        })
    }

    /// The one status that is known of a deployment: that it succeeded, when it was last updated.
    pub(super) fn deployment_statuses(&self, id: &str) -> Reply {
        let Some(deployment) = self
            .store
            .deployments
            .visible(self.horizon)
            .iter()
            .find(|d| &*d.id == id && d.place.fits(&self.scope.place))
        else {
            return not_found();
        };
        let item = &deployment.item;
        let done = item.time("updated_at").unwrap_or(deployment.at);
        if self.horizon.is_some_and(|now| done > now) {
            return Reply::value(200, &json!([]));
        }
        let stamp = time::seconds_z(done);
        let url = item.value("url");
        let status = json!([{
            "url": format!("{}/statuses/{id}", url.as_str().unwrap_or_default()), "id": deployment.id.parse::<u64>().unwrap_or(1),
            "node_id": format!("DS_{id}"), "state": "success", "creator": item.value("creator"),
            "description": "Deployment finished successfully.", "environment": item.value("environment"),
            "target_url": "", "created_at": stamp, "updated_at": stamp, "deployment_url": url,
            "repository_url": item.value("repository_url"),
        }]);
        Reply::value(200, &status)
    }

    pub(super) fn workflow_runs(&self) -> Reply {
        let query = self.query;
        let created = match query.filled("created").map(created_window) {
            None => (None, None),
            Some(Some(window)) => window,
            Some(None) => return invalid("WorkflowRun", "created", "invalid"),
        };
        let filtered = ["actor", "branch", "event", "status", "created", "head_sha", "check_suite_id"]
            .iter()
            .any(|name| query.filled(name).is_some());
        let actor = query.filled("actor");
        let status = query.filled("status");
        let mut found: Vec<&Arc<Record>> = self
            .store
            .workflow_runs
            .between(created.0, created.1, self.horizon)
            .iter()
            .rev()
            .filter(|run| {
                let item = run.seen_at(self.horizon);
                run.place.fits(&self.scope.place)
                    && fits(query.filled("branch"), &item.key("head_branch"))
                    && fits(query.filled("event"), &item.key("event"))
                    && fits(query.filled("head_sha"), &item.key("head_sha"))
                    && fits(query.filled("check_suite_id"), &item.key("check_suite_id"))
                    && status.is_none_or(|s| *item.key("status") == *s || *item.key("conclusion") == *s)
                    && actor.is_none_or(|actor| item.value("actor").get("login").and_then(Value::as_str) == Some(actor))
            })
            .collect();
        let total = found.len();
        if filtered {
            found.truncate(MAX_RUNS);
        }
        let page = Page::parse(query);
        let bare = query.flag("exclude_pull_requests");
        let mut body = format!(r#"{{"total_count":{total},"workflow_runs":"#);
        item::write_array(
            &mut body,
            page.slice(&found).iter().map(|run| {
                let mut item = run.seen_at(self.horizon);
                if bare {
                    item.to_mut().set_raw("pull_requests", "[]");
                }
                item
            }),
        );
        body.push('}');
        self.link(page, Reply::json(body), found.len())
    }
}

/// GitHub's range syntax: `A..B`, `>=A`, `>A`, `<=B`, `<B`, or one day or moment.
pub(crate) fn created_window(text: &str) -> Option<(Option<Micros>, Option<Micros>)> {
    // A bare date as an upper bound means the whole day.
    let end_of = |text: &str| {
        let at = time::parse(text)?;
        Some(if text.len() == 10 { at + time::DAY } else { at + 1 })
    };
    if let Some((from, to)) = text.split_once("..") {
        let from = if from == "*" { None } else { Some(time::parse(from)?) };
        let to = if to == "*" { None } else { Some(end_of(to)?) };
        return Some((from, to));
    }
    if let Some(rest) = text.strip_prefix(">=") {
        return Some((Some(time::parse(rest)?), None));
    }
    if let Some(rest) = text.strip_prefix("<=") {
        return Some((None, Some(end_of(rest)?)));
    }
    if let Some(rest) = text.strip_prefix('>') {
        return Some((Some(end_of(rest)?), None));
    }
    if let Some(rest) = text.strip_prefix('<') {
        return Some((None, Some(time::parse(rest)?)));
    }
    Some((Some(time::parse(text)?), Some(end_of(text)?)))
}
