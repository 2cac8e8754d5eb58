//! Sentry, under `/sentry`: the web API (`/api/0/…`) and the ingest endpoints of a DSN.
//!
//! Owns: routing, credentials, rate-limit headers, error shapes, the listings.
//! Must hold: every list answers with a Link header; counts are strings; without `query` only
//! unresolved issues are listed (facts: vendors, Sentry).

mod ingest;
mod page;
mod search;
mod store;

pub(crate) use store::Store;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::Utc;
use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Params, Reply};
use crate::item::{self, Item};
use crate::time::{self, Micros};

use page::Page;
use search::Query;
use store::{Event, Issue, Project, Release};

/// Requests per second that the headers speak of. They inform; only a fault throttles.
const LIMIT: u64 = 40;
const CONCURRENT: u64 = 25;

/// The Sentry stand-in.
#[derive(Debug, Default)]
pub(crate) struct Sentry {
    pub store: RwLock<Store>,
    used: AtomicU64,
}

impl Sentry {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store: RwLock::new(store),
            used: AtomicU64::new(0),
        }
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let reply = match (call.method.as_str(), segments.as_slice()) {
            ("POST", ["api", project, kind @ ("store" | "envelope")]) => {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::receive(&mut store, call, project, kind, clock.now());
            }
            (method, ["api", "0", rest @ ..]) => match check(call, auth) {
                Err(reply) => *reply,
                Ok(()) => self.api(method, rest, call, clock),
            },
            _ => not_found(),
        };
        self.with_limits(reply)
    }

    fn api(&self, method: &str, rest: &[&str], call: &Call, clock: &Clock) -> Reply {
        if method == "POST" {
            if let ["organizations", _, "releases", version, "deploys"] = rest {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::deploy(&mut store, call, version, clock.now());
            }
            if let ["organizations", _, "releases"] = rest {
                let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
                return ingest::release(&mut store, call, clock.now());
            }
        }
        if method != "GET" {
            return Reply::value(
                405,
                &json!({"detail": format!("Method \"{method}\" not allowed.")}),
            );
        }
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let view = View {
            store: &store,
            call,
            horizon: clock.horizon(),
            now: clock.now(),
        };
        let answer = match rest {
            ["organizations", org, "projects"] => view.projects(org),
            ["organizations", org, "issues"] => view.issues(org, None),
            ["organizations", org, "issues", id] => view.issue(Some(org), id),
            ["issues", id] => view.issue(None, id),
            ["organizations", org, "issues", id, "events"] => view.issue_events(Some(org), id),
            ["issues", id, "events"] => view.issue_events(None, id),
            ["organizations", org, "issues", id, "events", event] => {
                view.issue_event(Some(org), id, event)
            }
            ["issues", id, "events", event] => view.issue_event(None, id, event),
            ["organizations", org, "releases"] => view.releases(org, None),
            ["organizations", org, "releases", version] => view.release(org, version),
            ["organizations", org, "releases", version, "deploys"] => view.deploys(org, version),
            ["projects", org, slug] => view.project(org, slug),
            ["projects", org, slug, "issues"] => view.issues(org, Some(slug)),
            ["projects", org, slug, "events"] => view.project_events(org, slug),
            ["projects", org, slug, "releases"] => view.releases(org, Some(slug)),
            ["projects", org, slug, "keys"] => view.keys(org, slug),
            _ => Err(not_found()),
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    fn with_limits(&self, reply: Reply) -> Reply {
        let used = self.used.fetch_add(1, Ordering::Relaxed) % (LIMIT / 2);
        reply
            .header("x-sentry-rate-limit-limit", LIMIT.to_string())
            .header(
                "x-sentry-rate-limit-remaining",
                (LIMIT - 1 - used).to_string(),
            )
            .header(
                "x-sentry-rate-limit-reset",
                (Utc::now().timestamp() + 1).to_string(),
            )
            .header(
                "x-sentry-rate-limit-concurrentlimit",
                CONCURRENT.to_string(),
            )
            .header(
                "x-sentry-rate-limit-concurrentremaining",
                (CONCURRENT - 1).to_string(),
            )
    }
}

fn check(call: &Call, auth: &Auth) -> Result<(), Box<Reply>> {
    if auth.is_off() {
        return Ok(());
    }
    let refused = |detail: &str| {
        Box::new(
            Reply::value(401, &json!({ "detail": detail }))
                .header("www-authenticate", r#"Bearer realm="api""#),
        )
    };
    if call.header("authorization").is_none() {
        return Err(refused("Authentication credentials were not provided."));
    }
    match call.credential("bearer") {
        Some(token) if auth.accepts_sentry(token) => Ok(()),
        _ => Err(refused("Invalid token")),
    }
}

fn not_found() -> Reply {
    Reply::value(
        404,
        &json!({"detail": "The requested resource does not exist"}),
    )
}

fn bad_request(detail: &str) -> Reply {
    Reply::value(400, &json!({ "detail": detail }))
}

/// Sentry's 429.
pub(crate) fn throttled() -> Reply {
    let reset = Utc::now().timestamp() + 1;
    Reply::value(
        429,
        &json!({"detail": "You are attempting to use this endpoint too frequently. Limit is 40 requests in 1 seconds"}),
    )
    .header("retry-after", "1")
    .header("x-sentry-rate-limit-limit", LIMIT.to_string())
    .header("x-sentry-rate-limit-remaining", "0")
    .header("x-sentry-rate-limit-reset", reset.to_string())
    .header("x-sentry-rate-limit-concurrentlimit", CONCURRENT.to_string())
    .header("x-sentry-rate-limit-concurrentremaining", CONCURRENT.to_string())
}

/// An error of any status in Sentry's shape.
pub(crate) fn failed(status: u16) -> Reply {
    Reply::value(
        status,
        &json!({"detail": "Internal Error", "errorId": "simulated-fault"}),
    )
}

type Answer = Result<Reply, Reply>;

/// One request's view of the store.
struct View<'a> {
    store: &'a Store,
    call: &'a Call,
    horizon: Option<Micros>,
    now: Micros,
}

/// Whether an object of `owner` belongs to an organisation; one without an owner belongs to all.
fn of_org(owner: &str, org: &str) -> bool {
    owner.is_empty() || owner.eq_ignore_ascii_case(org)
}

impl View<'_> {
    fn page(&self, limit_name: &str) -> Result<Page, Reply> {
        Page::parse(&self.call.query, limit_name).map_err(|detail| bad_request(&detail))
    }

    fn answer<'b>(
        &self,
        page: &Page,
        items: impl IntoIterator<Item = Cow<'b, Item>>,
        total: usize,
    ) -> Reply {
        let mut body = String::new();
        item::write_array(&mut body, items);
        page.link(Reply::json(body), self.call, total)
    }

    /// An organisation is known unless items say which ones there are.
    fn known_org(&self, org: &str) -> Result<(), Reply> {
        let store = self.store;
        let mut owners = store
            .projects
            .iter()
            .map(|p| &*p.org)
            .chain(store.issues.all().iter().map(|i| &*i.org))
            .peekable();
        if owners.peek().is_none() || owners.any(|owner| of_org(owner, org)) {
            Ok(())
        } else {
            Err(not_found())
        }
    }

    /// The window of `start`/`end` or `statsPeriod`.
    fn window(&self) -> Result<(Option<Micros>, Option<Micros>), Reply> {
        let query = &self.call.query;
        if let Some(period) = query.filled("statsPeriod") {
            let span = search::duration(period).ok_or_else(|| {
                bad_request("Invalid statsPeriod: expected a number followed by s, m, h, d or w")
            })?;
            return Ok((Some(self.now - span), None));
        }
        let bound = |name: &str| -> Result<Option<Micros>, Reply> {
            query
                .filled(name)
                .map(|text| {
                    time::parse(text).ok_or_else(|| {
                        bad_request(&format!(
                            "Invalid {name}: {text} is not a valid ISO8601 date query"
                        ))
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
        self.store.projects.iter().filter(move |project| {
            of_org(&project.org, org) && self.horizon.is_none_or(|now| project.created <= now)
        })
    }

    fn projects(&self, org: &str) -> Answer {
        self.known_org(org)?;
        let page = self.page("per_page")?;
        let query = self
            .call
            .query
            .filled("query")
            .unwrap_or_default()
            .to_lowercase();
        let found: Vec<&Project> = self
            .visible_projects(org)
            .filter(|p| {
                p.slug.contains(&query) || p.item.key("name").to_lowercase().contains(&query)
            })
            .collect();
        Ok(self.answer(
            &page,
            page.slice(&found).iter().map(|p| Cow::Borrowed(&p.item)),
            found.len(),
        ))
    }

    fn project_named(&self, org: &str, slug: &str) -> Result<&Project, Reply> {
        self.visible_projects(org)
            .find(|p| &*p.slug == slug || &*p.id == slug)
            .ok_or_else(not_found)
    }

    fn project(&self, org: &str, slug: &str) -> Answer {
        self.project_named(org, slug)
            .map(|p| Reply::json(p.item.json()))
    }

    /// A project in a path must exist, unless no projects are known at all.
    fn check_project(&self, org: &str, slug: &str) -> Result<(), Reply> {
        if self.store.projects.is_empty() {
            return Ok(());
        }
        self.project_named(org, slug).map(|_| ())
    }

    fn issues(&self, org: &str, project: Option<&str>) -> Answer {
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
            .answer(
                &page,
                shown.map(|issue| self.store.issue_at(issue, self.horizon)),
                found.len(),
            )
            .header("x-hits", found.len().to_string())
            .header("x-max-hits", "1000"))
    }

    fn in_environments(&self, issue: &Issue, environments: &[&str]) -> bool {
        environments.is_empty()
            || self.store.events_of(&issue.id).is_some_and(|events| {
                events.visible(self.horizon).iter().any(|event| {
                    event
                        .tag("environment")
                        .is_some_and(|e| environments.contains(&e.as_str()))
                })
            })
    }

    fn sort_issues(&self, issues: &mut [&Arc<Issue>], sort: &str) -> Result<(), Reply> {
        let store = self.store;
        let horizon = self.horizon;
        let newest_first = std::cmp::Reverse::<(u64, Micros)>;
        match sort {
            "date" => issues
                .sort_by_cached_key(|i| std::cmp::Reverse((store.last_seen(i, horizon), i.first))),
            "new" | "inbox" => issues.sort_by_key(|i| std::cmp::Reverse(i.first)),
            "freq" | "trends" | "recommended" => {
                issues.sort_by_cached_key(|i| newest_first((store.count(i, horizon), i.first)));
            }
            "user" => issues.sort_by_cached_key(|i| {
                newest_first((i.item.number("userCount").map_or(0, |n| n as u64), i.first))
            }),
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
            })
            .ok_or_else(not_found)
    }

    fn issue(&self, org: Option<&str>, id: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        Ok(Reply::json(self.store.issue_at(issue, self.horizon).json()))
    }

    fn events(&self, events: &[Arc<Event>]) -> Answer {
        let page = self.page("per_page")?;
        let (start, end) = self.window()?;
        let environments: Vec<&str> = self
            .call
            .query
            .all("environment")
            .filter(|e| !e.is_empty())
            .collect();
        let query = self
            .call
            .query
            .filled("query")
            .unwrap_or_default()
            .to_lowercase();
        let fits = |event: &Event| {
            start.is_none_or(|start| event.at >= start)
                && end.is_none_or(|end| event.at <= end)
                && (environments.is_empty()
                    || event
                        .tag("environment")
                        .is_some_and(|e| environments.contains(&e.as_str())))
                && query
                    .split_whitespace()
                    .all(|term| match term.split_once(':') {
                        Some((key, value)) => event
                            .tag(key)
                            .is_some_and(|found| found.to_lowercase() == value),
                        None => event.item.key("title").to_lowercase().contains(term),
                    })
        };
        let found: Vec<&Arc<Event>> = events.iter().rev().filter(|event| fits(event)).collect();
        let full = self.call.query.flag("full");
        Ok(self.answer(
            &page,
            page.slice(&found).iter().map(|e| e.shown(full)),
            found.len(),
        ))
    }

    fn issue_events(&self, org: Option<&str>, id: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        let events = self
            .store
            .events_of(&issue.id)
            .map_or(&[][..], |events| events.visible(self.horizon));
        self.events(events)
    }

    fn issue_event(&self, org: Option<&str>, id: &str, event: &str) -> Answer {
        let issue = self.issue_named(org, id)?;
        let events = self
            .store
            .events_of(&issue.id)
            .map_or(&[][..], |events| events.visible(self.horizon));
        let found = match event {
            "latest" | "recommended" => events.last(),
            "oldest" => events.first(),
            id => events.iter().find(|e| &*e.id == id),
        };
        found
            .map(|event| Reply::json(event.shown(true).json()))
            .ok_or_else(not_found)
    }

    fn project_events(&self, org: &str, slug: &str) -> Answer {
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
                of_org(&event.org, org) && (by_slug || by_id || unowned)
            })
            .cloned()
            .collect();
        self.events(&events)
    }

    fn releases(&self, org: &str, project: Option<&str>) -> Answer {
        self.known_org(org)?;
        let page = self.page("per_page")?;
        let projects = match project {
            Some(slug) => {
                self.check_project(org, slug)?;
                vec![slug]
            }
            None => self.wanted_projects(),
        };
        let query = self
            .call
            .query
            .filled("query")
            .unwrap_or_default()
            .to_lowercase();
        let found: Vec<&Arc<Release>> = self
            .store
            .releases
            .visible(self.horizon)
            .iter()
            .rev()
            .filter(|release| {
                let in_project = projects.is_empty()
                    || release.projects.is_empty()
                    || release
                        .projects
                        .iter()
                        .any(|p| projects.contains(&p.as_str()));
                of_org(&release.org, org)
                    && in_project
                    && release.version.to_lowercase().contains(&query)
            })
            .collect();
        let shown = page.slice(&found).iter();
        Ok(self.answer(
            &page,
            shown.map(|r| self.store.release_at(r, self.horizon)),
            found.len(),
        ))
    }

    fn release_named(&self, org: &str, version: &str) -> Result<&Arc<Release>, Reply> {
        self.store
            .releases
            .visible(self.horizon)
            .iter()
            .find(|release| &*release.version == version && of_org(&release.org, org))
            .ok_or_else(not_found)
    }

    fn release(&self, org: &str, version: &str) -> Answer {
        let release = self.release_named(org, version)?;
        Ok(Reply::json(
            self.store.release_at(release, self.horizon).json(),
        ))
    }

    fn deploys(&self, org: &str, version: &str) -> Answer {
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
        Ok(self.answer(
            &page,
            page.slice(&found).iter().map(|d| Cow::Borrowed(&d.item)),
            found.len(),
        ))
    }

    fn keys(&self, org: &str, slug: &str) -> Answer {
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
    if wanted.contains(&"-1") {
        Vec::new()
    } else {
        wanted
    }
}

fn in_projects(wanted: &[&str], slug: &str, id: &str) -> bool {
    let unowned = slug.is_empty() && id.is_empty();
    wanted.is_empty() || unowned || wanted.contains(&slug) || wanted.contains(&id)
}
