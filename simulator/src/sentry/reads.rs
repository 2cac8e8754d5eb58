//! Sentry's reads: projects, issues, events, releases, deploys, keys.
//!
//! Owns: the filters, sorts and windows of each list.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::page::Page;
use super::search::{self, Query};
use super::store::{Event, Issue, Project, Release, Store};
use super::{bad_request, ingest, not_found};
use crate::http::{Call, Params, Reply};
use crate::item::{self, Item};
use crate::time::{self, Micros};
use crate::timeline::Timed;

/// An answer, or a refusal.
pub(super) type Answer = Result<Reply, Reply>;

/// One request's view of the store.
pub(super) struct View<'a> {
    pub(super) store: &'a Store,
    pub(super) call: &'a Call,
    pub(super) horizon: Option<Micros>,
    pub(super) now: Micros,
}

/// Whether an object of `owner` belongs to an organisation; one without an owner belongs to all.
fn of_org(owner: &str, org: &str) -> bool {
    owner.is_empty() || owner.eq_ignore_ascii_case(org)
}

impl View<'_> {
    fn page(&self, limit_name: &str) -> Result<Page, Reply> {
        Page::parse(&self.call.query, limit_name).map_err(|detail| bad_request(&detail))
    }

    fn answer<'b>(&self, page: &Page, items: impl IntoIterator<Item = Cow<'b, Item>>, total: usize) -> Reply {
        let mut body = String::new();
        item::write_array(&mut body, items);
        page.link(Reply::json(body), self.call, total)
    }

    /// An organisation is known unless items say which ones there are.
    fn known_org(&self, org: &str) -> Result<(), Reply> {
        let store = self.store;
        let mut owners =
            store.projects.iter().map(|p| &*p.org).chain(store.issues.all().iter().map(|i| &*i.org)).peekable();
        if owners.peek().is_none() || owners.any(|owner| of_org(owner, org)) { Ok(()) } else { Err(not_found()) }
    }

    /// The window of `start`/`end` or `statsPeriod`.
    fn window(&self) -> Result<(Option<Micros>, Option<Micros>), Reply> {
        let query = &self.call.query;
        if let Some(period) = query.filled("statsPeriod") {
            let span = search::duration(period)
                .ok_or_else(|| bad_request("Invalid statsPeriod: expected a number followed by s, m, h, d or w"))?;
            return Ok((Some(self.now.saturating_sub(span)), None));
        }
        let bound = |name: &str| -> Result<Option<Micros>, Reply> {
            query
                .filled(name)
                .map(|text| {
                    time::parse(text).ok_or_else(|| {
                        bad_request(&format!("Invalid {name}: {text} is not a valid ISO8601 date query"))
                    })
                })
                .transpose()
        };
        let (start, end) = (bound("start")?, bound("end")?);
        if start.zip(end).is_some_and(|(start, end)| start > end) {
            return Err(bad_request("start must be before end"));
        }
        Ok((start, end))
    }

    /// The projects asked for; empty means all.
    fn wanted_projects(&self) -> Vec<&str> {
        wanted_projects(&self.call.query)
    }

    fn visible_projects(&self, org: &str) -> impl Iterator<Item = &Project> {
        self.store
            .projects
            .iter()
            .filter(move |project| of_org(&project.org, org) && self.horizon.is_none_or(|now| project.created <= now))
    }

    pub(super) fn projects(&self, org: &str) -> Answer {
        self.known_org(org)?;
        let page = self.page("per_page")?;
        let query = self.call.query.filled("query").unwrap_or_default().to_lowercase();
        let found: Vec<&Project> = self
            .visible_projects(org)
            .filter(|p| p.slug.contains(&query) || p.item.key("name").to_lowercase().contains(&query))
            .collect();
        Ok(self.answer(&page, page.slice(&found).iter().map(|p| Cow::Borrowed(&p.item)), found.len()))
    }

    fn project_named(&self, org: &str, slug: &str) -> Result<&Project, Reply> {
        self.visible_projects(org).find(|p| &*p.slug == slug || &*p.id == slug).ok_or_else(not_found)
    }

    pub(super) fn project(&self, org: &str, slug: &str) -> Answer {
        self.project_named(org, slug).map(|p| Reply::json(p.item.json()))
    }

    /// A project in a path must exist, unless no projects are known at all.
    fn check_project(&self, org: &str, slug: &str) -> Result<(), Reply> {
        if self.store.projects.is_empty() {
            return Ok(());
        }
        self.project_named(org, slug).map(|_| ())
    }

    pub(super) fn issues(&self, org: &str, project: Option<&str>) -> Answer {
        self.known_org(org)?;
        let page = self.page("limit")?;
        let query = &self.call.query;
        let text = query.get("query").unwrap_or("is:unresolved");
        let search = Query::parse(text, self.now).map_err(|detail| bad_request(&detail))?;
        let (start, end) = match project {
            // The project listing has no window: `statsPeriod` there only chooses the graph.
            Some(_) => (None, None),
            None => self.window()?,
        };
        let projects = match project {
            Some(slug) => {
                self.check_project(org, slug)?;
                vec![slug]
            }
            None => self.wanted_projects(),
        };
        let environments: Vec<&str> = query.all("environment").filter(|e| !e.is_empty()).collect();
        let mut found: Vec<&Arc<Issue>> = self
            .store
            .issues
            .visible(self.horizon)
            .iter()
            .filter(|issue| {
                of_org(&issue.org, org)
                    && self.store.is_known(issue, self.horizon)
                    && in_projects(&projects, &issue.project, &issue.project_id)
                    && start.is_none_or(|start| self.store.last_seen(issue, self.horizon) >= start)
                    && end.is_none_or(|end| issue.first <= end)
                    && self.in_environments(issue, &environments)
                    && search.accepts(self.store, issue, self.horizon)
            })
            .collect();
        self.sort_issues(&mut found, query.filled("sort").unwrap_or("date"))?;
        let shown = page.slice(&found).iter();
        Ok(self
            .answer(&page, shown.map(|issue| self.store.issue_at(issue, self.horizon)), found.len())
            .header("x-hits", found.len().to_string())
            .header("x-max-hits", "1000"))
    }

    fn in_environments(&self, issue: &Issue, environments: &[&str]) -> bool {
        environments.is_empty()
            || self
                .store
                .here(&issue.id, self.horizon)
                .any(|event| event.tag("environment").is_some_and(|e| environments.contains(&e.as_str())))
    }

    fn sort_issues(&self, issues: &mut [&Arc<Issue>], sort: &str) -> Result<(), Reply> {
        let store = self.store;
        let horizon = self.horizon;
        let newest_first = std::cmp::Reverse::<(u64, Micros)>;
        match sort {
            "date" => issues.sort_by_cached_key(|i| std::cmp::Reverse((store.last_seen(i, horizon), i.first))),
            "new" | "inbox" => issues.sort_by_key(|i| std::cmp::Reverse(i.first)),
            "freq" | "trends" | "recommended" => {
                issues.sort_by_cached_key(|i| newest_first((store.count(i, horizon), i.first)));
            }
            "user" => issues
                .sort_by_cached_key(|i| newest_first((i.item.number("userCount").map_or(0, |n| n as u64), i.first))),
            other => return Err(bad_request(&format!("Invalid sort parameter: {other}"))),
        }
        Ok(())
    }

    fn issue_named(&self, org: Option<&str>, id: &str) -> Result<&Arc<Issue>, Reply> {
        self.store
            .issues
            .visible(self.horizon)
            .iter()
            .find(|issue| {
                (&*issue.id == id || issue.short_id.eq_ignore_ascii_case(id))
                    && org.is_none_or(|org| of_org(&issue.org, org))
                    && self.store.is_known(issue, self.horizon)
            })
            .ok_or_else(not_found)
    }

    pub(super) fn issue(&self, org: Option<&str>, id: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        let mut shown = self.store.issue_at(issue, self.horizon).into_owned();
        let events = self.store.visible_events_of(&issue.id, self.horizon);
        let release = |event: Option<&Arc<Event>>| match event.and_then(|event| event.tag("release")) {
            Some(version) => serde_json::json!({ "version": version }),
            None => serde_json::Value::Null,
        };
        // What only the issue itself has, not its list.
        for (key, value) in [
            ("firstRelease", release(events.first())),
            ("lastRelease", release(events.last())),
            ("participants", serde_json::json!([])),
            ("activity", serde_json::json!([])),
        ] {
            if shown.raw(key).is_none() {
                shown.set_value(key, &value);
            }
        }
        Ok(Reply::json(shown.json()))
    }

    fn events(&self, events: &[Arc<Event>]) -> Answer {
        let page = self.page("per_page")?;
        let (start, end) = self.window()?;
        let environments: Vec<&str> = self.call.query.all("environment").filter(|e| !e.is_empty()).collect();
        let query = self.call.query.filled("query").unwrap_or_default().to_lowercase();
        let fits = |event: &Event| {
            start.is_none_or(|start| event.at >= start)
                && end.is_none_or(|end| event.at <= end)
                && (environments.is_empty()
                    || event.tag("environment").is_some_and(|e| environments.contains(&e.as_str())))
                && query.split_whitespace().all(|term| match term.split_once(':') {
                    Some((key, value)) => event.tag(key).is_some_and(|found| found.to_lowercase() == value),
                    None => event.item.key("title").to_lowercase().contains(term),
                })
        };
        let found: Vec<&Arc<Event>> = events.iter().rev().filter(|event| fits(event)).collect();
        let full = self.call.query.flag("full");
        Ok(self.answer(&page, page.slice(&found).iter().map(|e| e.shown(full)), found.len()))
    }

    pub(super) fn issue_events(&self, org: Option<&str>, id: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        let events = self.store.visible_events_of(&issue.id, self.horizon);
        self.events(&events)
    }

    pub(super) fn issue_event(&self, org: Option<&str>, id: &str, event: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        let events = self.store.visible_events_of(&issue.id, self.horizon);
        let found = match event {
            "latest" | "recommended" => events.last(),
            "oldest" => events.first(),
            id => events.iter().find(|e| &*e.id == id),
        };
        found.map(|event| Reply::json(event.shown(true).json())).ok_or_else(not_found)
    }

    pub(super) fn project_events(&self, org: &str, slug: &str) -> Answer {
        self.check_project(org, slug)?;
        let project = self.store.project(slug);
        let events: Vec<Arc<Event>> = self
            .store
            .events
            .visible(self.horizon)
            .iter()
            .filter(|event| {
                let by_slug = &*event.project == slug;
                let by_id = project.is_some_and(|p| p.id == event.project_id);
                let unowned = event.project.is_empty() && event.project_id.is_empty();
                of_org(&event.org, org) && event.is_here(self.horizon) && (by_slug || by_id || unowned)
            })
            .cloned()
            .collect();
        self.events(&events)
    }

    pub(super) fn releases(&self, org: &str, project: Option<&str>) -> Answer {
        self.known_org(org)?;
        let page = self.page("per_page")?;
        let projects = match project {
            Some(slug) => {
                self.check_project(org, slug)?;
                vec![slug]
            }
            None => self.wanted_projects(),
        };
        let query = self.call.query.filled("query").unwrap_or_default().to_lowercase();
        let found: Vec<&Arc<Release>> = self
            .store
            .releases
            .visible(self.horizon)
            .iter()
            .rev()
            .filter(|release| {
                let in_project = projects.is_empty()
                    || release.projects.is_empty()
                    || release.projects.iter().any(|p| projects.contains(&p.as_str()));
                of_org(&release.org, org) && in_project && release.version.to_lowercase().contains(&query)
            })
            .collect();
        let shown = page.slice(&found).iter();
        Ok(self.answer(&page, shown.map(|r| self.store.release_at(r, self.horizon)), found.len()))
    }

    fn release_named(&self, org: &str, version: &str) -> Result<&Arc<Release>, Reply> {
        self.store
            .releases
            .visible(self.horizon)
            .iter()
            .find(|release| &*release.version == version && of_org(&release.org, org))
            .ok_or_else(not_found)
    }

    pub(super) fn release(&self, org: &str, version: &str) -> Answer {
        let release = self.release_named(org, version)?;
        Ok(Reply::json(self.store.release_at(release, self.horizon).json()))
    }

    pub(super) fn deploys(&self, org: &str, version: &str) -> Answer {
        let known = self.release_named(org, version).is_ok();
        let page = self.page("per_page")?;
        let found: Vec<_> = self
            .store
            .deploys_of(version, self.horizon)
            .into_iter()
            .filter(|deploy| of_org(&deploy.org, org))
            .collect();
        if !known && found.is_empty() {
            return Err(not_found());
        }
        Ok(self.answer(&page, page.slice(&found).iter().map(|d| Cow::Borrowed(&d.item)), found.len()))
    }

    pub(super) fn keys(&self, org: &str, slug: &str) -> Answer {
        let project = self.project_named(org, slug)?;
        let public = ingest::public_key(&project.id);
        let host = self.call.origin.trim_start_matches("http://");
        let key = json!([{
            "id": public, "name": "Default", "label": "Default", "public": public, "isActive": true,
            "projectId": project.id.parse::<u64>().unwrap_or_default(),
            "rateLimit": Value::Null,
            "dsn": {"public": format!("http://{public}@{host}/sentry/{}", project.id)},
        }]);
        let page = self.page("per_page")?;
        Ok(page.link(Reply::value(200, &key), self.call, 1))
    }
}

fn wanted_projects(query: &Params) -> Vec<&str> {
    let wanted: Vec<&str> = query.all("project").filter(|p| !p.is_empty()).collect();
    if wanted.contains(&"-1") { Vec::new() } else { wanted }
}

fn in_projects(wanted: &[&str], slug: &str, id: &str) -> bool {
    let unowned = slug.is_empty() && id.is_empty();
    wanted.is_empty() || unowned || wanted.contains(&slug) || wanted.contains(&id)
}
