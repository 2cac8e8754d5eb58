//! What the tests of governance and actions share: a store in a temporary folder, clocks set by hand, sample
//! incidents, and stand-ins for GitHub and Slack over real HTTP.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::routing::any;
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tripline_engine::{Engine, EngineOptions, Environment, ManualClock};
use tripline_store::{
    Evidence, EvidenceStatus, Incident, IncidentPolicy, Investigation, NarrativeParts, NewAnomaly, OpenMode, Scope,
    Severity, SqliteStore, Store, Window,
};

use super::{Governance, Governor};
use crate::AgentContext;
use crate::actions::{Destinations, OutboxOptions};
use crate::settings::{Settings, SettingsHandle};

pub(crate) const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(crate) const APPROVER: &str = "U0APPROVER1";
pub(crate) const SHA: &str = "9f2c1ab0d4e5f60718293a4b5c6d7e8f90a1b2c3";

pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 5, 4, 12, 0, 0).unwrap()
}

/// Everything a test needs. The database lives as long as this does.
pub(crate) struct House {
    _home: TempDir,
    pub store: Store,
    pub scope: Scope,
    pub clock: Arc<ManualClock>,
    pub system_clock: Arc<ManualClock>,
    pub context: AgentContext,
    pub vendors: Vendors,
    pub governance: Governance,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    /// A house with a webhook.
    pub(crate) async fn with_webhook() -> Self {
        let house = Self::new().await;
        let governance = house.over_webhook("first");
        Self { governance, ..house }
    }

    /// An executor that tells the webhook, over the same database.
    pub(crate) fn over_webhook(&self, holder: &str) -> Governance {
        let mut variables = self.vendors.environment();
        variables.set("WEBHOOK_URL", self.vendors.hook());
        variables.set("WEBHOOK_SECRET", "a-webhook-secret");
        let options = OutboxOptions { holder: holder.to_owned(), ..Self::options() };
        let destinations = Destinations::from_environment(&variables);
        Governance::new(&self.context, self.system_clock.clone(), destinations, options).unwrap()
    }

    /// A house with other settings or another environment.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings), environment: impl FnOnce(&mut Environment)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(home.path().join("state.db"), OpenMode::Serve).unwrap().store();
        let clock = ManualClock::at(noon());
        let system_clock = ManualClock::at(noon());
        let mut settings = Settings::default();
        settings.governance.approvers = vec![APPROVER.to_owned(), "alice".to_owned()];
        settings.governance.public_url = Some("https://tripline.example.com".to_owned());
        change(&mut settings);
        let settings = SettingsHandle::new(settings);
        let engine = Engine::new(clock.clone(), EngineOptions::default(), &[], Vec::new()).unwrap();
        let scope = Scope::default_project();
        let context = AgentContext {
            engine: Arc::new(engine),
            store: store.clone(),
            scope: scope.clone(),
            clock: clock.clone(),
            settings,
        };
        let vendors = Vendors::start().await;
        let mut variables = vendors.environment();
        environment(&mut variables);
        let destinations = Destinations::from_environment(&variables);
        let options = Self::options();
        let governance = Governance::new(&context, system_clock.clone(), destinations, options).unwrap();
        Self { _home: home, store, scope, clock, system_clock, context, vendors, governance }
    }

    pub(crate) fn options() -> OutboxOptions {
        OutboxOptions { settle_pause: std::time::Duration::ZERO, ..OutboxOptions::default() }
    }

    /// A second executor over the same database: the process after a crash.
    pub(crate) fn restarted(&self) -> Governance {
        let destinations = Destinations::from_environment(&self.vendors.environment());
        let options = OutboxOptions { holder: "after-restart".to_owned(), ..Self::options() };
        Governance::new(&self.context, self.system_clock.clone(), destinations, options).unwrap()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        tripline_engine::Clock::now(&*self.clock)
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.clock.set(self.now() + by);
    }

    /// Opens an incident through the gate, investigated.
    pub(crate) async fn open(&self, finding: NewAnomaly) -> Incident {
        let incident = self.investigated(finding.clone()).await;
        self.governance.gate.incident_opened(&self.scope, &incident, &finding, &evidence()).await.unwrap();
        incident
    }

    /// An investigated incident that governance has not heard of.
    pub(crate) async fn investigated(&self, finding: NewAnomaly) -> Incident {
        let policy = IncidentPolicy::default();
        let upsert =
            self.store.incidents.upsert_by_fingerprint(&self.scope, finding, &policy, self.now()).await.unwrap();
        let id = upsert.incident().id.clone();
        let digest = self.store.evidence.replace(&self.scope, &id, evidence()).await.unwrap();
        self.store.incidents.set_investigation(&self.scope, &id, investigation(digest), self.now()).await.unwrap()
    }

    pub(crate) async fn drain(&self) -> crate::actions::Drained {
        self.governance.outbox.drain(self.now()).await.unwrap()
    }

    /// The actions of a type, oldest first.
    pub(crate) async fn actions(&self, action_type: &str) -> Vec<tripline_store::Action> {
        let filter = tripline_store::ActionFilter { action_type: Some(action_type.to_owned()), ..Default::default() };
        let page = tripline_store::PageRequest::first(1000);
        let mut items = self.store.actions.list(&self.scope, &filter, &page).await.unwrap().items;
        items.reverse();
        items
    }

    /// The approvals, oldest first.
    pub(crate) async fn approvals(&self) -> Vec<tripline_store::Approval> {
        let page = tripline_store::PageRequest::first(1000);
        let mut items = self.store.approvals.list(&self.scope, &Default::default(), &page).await.unwrap().items;
        items.reverse();
        items
    }

    /// The events on the record, oldest first.
    pub(crate) async fn record(&self, event: &str) -> Vec<tripline_store::AuditEntry> {
        let filter = tripline_store::AuditFilter { event: Some(event.to_owned()), ..Default::default() };
        let mut rows = self.store.audit.list(&self.scope, &filter, 1000).await.unwrap();
        rows.reverse();
        rows
    }
}

/// A finding of some type about some entity.
pub(crate) fn finding(kind: &str, entity: &str, severity: Severity, evidence: Value) -> NewAnomaly {
    NewAnomaly {
        detector: kind.to_owned(),
        kind: kind.to_owned(),
        severity,
        entity: entity.to_owned(),
        fingerprint: format!("{kind}:{entity}"),
        window: Window::new(noon() - TimeDelta::hours(1), noon()).unwrap(),
        detected_at: noon(),
        description: format!("{kind} about {entity}"),
        evidence,
        cost_usd: Some(12.5),
        onset: None,
    }
}

pub(crate) fn cost_spike() -> NewAnomaly {
    finding("cost_spike", "summarise_ticket", Severity::High, json!({"ratio": 5.3}))
}

pub(crate) fn agent_loop(generations: i64) -> NewAnomaly {
    let severity = if generations > 20 { Severity::Critical } else { Severity::High };
    finding("agent_loop", "0af7651916cd43dd8448eb211c80319c", severity, json!({"generations": generations}))
}

pub(crate) fn evidence() -> Vec<Evidence> {
    vec![Evidence {
        name: "commits_before".to_owned(),
        sources: vec!["github".to_owned()],
        sql: "SELECT 1".to_owned(),
        params: json!({}),
        status: EvidenceStatus::Ok,
        error: None,
        rows: json!([{"sha": SHA}]),
        row_count: 1,
        truncated: false,
        fetched_at: noon(),
    }]
}

pub(crate) fn investigation(evidence_sha256: String) -> Investigation {
    Investigation {
        culprit_sha: Some(SHA.to_owned()),
        cost_usd: Some(12.5),
        narrative: "Cost rose. A commit raised max_tokens. 12 users. Revert it.".to_owned(),
        narrative_parts: NarrativeParts {
            what_happened: "Cost rose to $12.50 an hour.".to_owned(),
            likely_cause: "Commit 9f2c1ab0 raised max_tokens.".to_owned(),
            impact: "12 users waited.".to_owned(),
            recommended_action: "Revert 9f2c1ab0.".to_owned(),
        },
        narrator: "template".to_owned(),
        suspects: json!([{"sha": SHA, "score": 0.82, "message": "Raise max_tokens"}]),
        timeline: json!([]),
        gaps: Vec::new(),
        evidence_sha256,
    }
}

/// What a stand-in does with the next request that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers this status; carries nothing out.
    Status(u16),
    /// Carries it out, then answers this status.
    DoneBut(u16),
    /// Carries it out and closes the connection without an answer.
    DropAnswer,
    /// Takes the request and never answers.
    Hang,
    /// Closes the connection; carries nothing out.
    Drop,
    /// 429 with `Retry-After: 7`.
    Throttle,
    /// GitHub: 403 that only says in words that it is a rate limit.
    SecondaryLimit,
    /// Slack: `ok: false` with this error.
    SlackError(&'static str),
}

#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
    /// The body as it came.
    pub raw: Vec<u8>,
    pub headers: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Content {
    seen: Vec<Seen>,
    /// Method (any when empty), part of the path, what happens.
    faults: VecDeque<(&'static str, &'static str, Fault)>,
    issues: Vec<Value>,
    messages: Vec<Value>,
    /// Versions of prompts, oldest first.
    prompts: Vec<Value>,
    now: i64,
}

/// GitHub under `/github`, Slack under `/slack`, Langfuse under `/langfuse`, response addresses under `/slack/response/…`.
#[derive(Clone)]
pub(crate) struct Vendors {
    base: String,
    content: Arc<Mutex<Content>>,
}

impl Vendors {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let content = Arc::new(Mutex::new(Content { now: noon().timestamp(), ..Content::default() }));
        let vendors = Self { base, content };
        let router = Router::new().fallback(any(serve)).with_state(vendors.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        vendors
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment::of([
            ("GITHUB_API_URL", format!("{}/github", self.base)),
            ("GITHUB_TOKEN", "ghp_secret_token".to_owned()),
            ("GITHUB_OWNER", "acme".to_owned()),
            ("GITHUB_REPO", "shop".to_owned()),
            ("SLACK_API_URL", format!("{}/slack", self.base)),
            ("SLACK_BOT_TOKEN", "xoxb-secret-token".to_owned()),
            ("SLACK_SIGNING_SECRET", SECRET.to_owned()),
            ("LANGFUSE_BASE_URL", format!("{}/langfuse", self.base)),
            ("LANGFUSE_PUBLIC_KEY", "pk-lf-1".to_owned()),
            ("LANGFUSE_SECRET_KEY", "sk-lf-secret".to_owned()),
        ])
    }

    /// Where a webhook's receiver is.
    pub(crate) fn hook(&self) -> String {
        format!("{}/hook?token=in-the-address", self.base)
    }

    pub(crate) fn response_url(&self) -> String {
        format!("{}/slack/response/T1/B2/secret-part", self.base)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next request whose path contains `path` meets this fault. May be called repeatedly.
    pub(crate) fn fault(&self, path: &'static str, fault: Fault) {
        self.fault_of("", path, fault);
    }

    /// The same, of requests of one method only.
    pub(crate) fn fault_of(&self, method: &'static str, path: &'static str, fault: Fault) {
        self.content().faults.push_back((method, path, fault));
    }

    pub(crate) fn clear_faults(&self) {
        self.content().faults.clear();
    }

    pub(crate) fn issues(&self) -> Vec<Value> {
        self.content().issues.clone()
    }

    /// An issue that somebody else opened, or that an earlier process did.
    pub(crate) fn add_issue(&self, title: &str, body: &str) {
        let mut content = self.content();
        let issue = issue(content.issues.len() + 1, title, body);
        content.issues.push(issue);
    }

    /// The versions of prompts, oldest first.
    pub(crate) fn prompts(&self) -> Vec<Value> {
        self.content().prompts.clone()
    }

    /// A version that somebody published.
    pub(crate) fn add_prompt(&self, version: Value) {
        publish(&mut self.content().prompts, &version);
    }

    pub(crate) fn messages(&self) -> Vec<Value> {
        self.content().messages.clone()
    }

    pub(crate) fn seen(&self, part: &str) -> Vec<Seen> {
        self.content().seen.iter().filter(|seen| seen.path.contains(part)).cloned().collect()
    }
}

fn issue(number: usize, title: &str, body: &str) -> Value {
    json!({
        "number": number, "title": title, "body": body,
        "html_url": format!("https://github.com/acme/shop/issues/{number}"),
    })
}

/// Adds a version; a label belongs to the newest version that took it.
fn publish(prompts: &mut Vec<Value>, body: &Value) -> Value {
    let of = |prompt: &&Value| prompt["name"] == body["name"];
    let number = prompts.iter().filter(of).count() + 1;
    let labels = body["labels"].as_array().cloned().unwrap_or_default();
    for other in prompts.iter_mut().filter(|prompt| prompt["name"] == body["name"]) {
        let kept = other["labels"].as_array().cloned().unwrap_or_default();
        other["labels"] = kept.into_iter().filter(|label| !labels.contains(label)).collect();
    }
    let mut made = body.clone();
    made["version"] = json!(number);
    prompts.push(made.clone());
    made
}

/// Langfuse's prompts, v2.
fn langfuse(content: &mut Content, seen: &Seen) -> (u16, Value) {
    let query: std::collections::BTreeMap<_, _> =
        url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
    let name = seen.path.strip_prefix("/langfuse/api/public/v2/prompts/").map(|name| name.replace("%2F", "/"));
    match (seen.method.as_str(), name) {
        ("POST", None) => (201, publish(&mut content.prompts, &seen.body)),
        ("GET", None) => {
            let of = |prompt: &&Value| Some(prompt["name"].as_str().unwrap()) == query.get("name").map(String::as_str);
            let versions: Vec<&Value> = content.prompts.iter().filter(of).map(|prompt| &prompt["version"]).collect();
            let listed =
                if versions.is_empty() { json!([]) } else { json!([{"name": query["name"], "versions": versions}]) };
            (200, json!({"data": listed, "meta": {"page": 1}}))
        }
        ("GET", Some(name)) => {
            let of: Vec<&Value> = content.prompts.iter().filter(|prompt| prompt["name"] == json!(name)).collect();
            let found = match (query.get("version"), query.get("label")) {
                (Some(version), _) => of.iter().find(|prompt| prompt["version"].as_i64() == version.parse().ok()),
                (None, Some(label)) if label == "latest" => of.last(),
                (None, label) => {
                    let label = json!(label.map_or("production", String::as_str));
                    of.iter().find(|prompt| prompt["labels"].as_array().is_some_and(|labels| labels.contains(&label)))
                }
            };
            let missing = (404, json!({"message": "Prompt not found", "error": "LangfuseNotFoundError"}));
            found.map_or(missing, |found| (200, (*found).clone()))
        }
        _ => (405, json!({"message": "Method not allowed"})),
    }
}

async fn serve(State(vendors): State<Vendors>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 8 << 20).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let seen = Seen {
        method: parts.method.to_string(),
        path: path.clone(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        raw: bytes.to_vec(),
        headers: parts
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
            .collect(),
    };
    let fault = {
        let mut content = vendors.content();
        content.seen.push(seen.clone());
        let fits = |(method, part, _): &(&str, &str, Fault)| {
            // With `$` at its end a part is the end of the path.
            let fits = part.strip_suffix('$').map_or_else(|| path.contains(part), |end| path.ends_with(end));
            fits && (method.is_empty() || seen.method == *method)
        };
        let position = content.faults.iter().position(fits);
        position.and_then(|at| content.faults.remove(at)).map(|(_, _, fault)| fault)
    };
    let authorised = parts.headers.get("authorization").is_some() || path.contains("/response/") || path == "/hook";
    match fault {
        Some(Fault::Status(status)) => return answer(status, &json!({"message": "no"})),
        Some(Fault::Throttle) => {
            let mut response = answer(429, &json!({"ok": false, "error": "ratelimited"}));
            response.headers_mut().insert("retry-after", "7".parse().unwrap());
            return response;
        }
        Some(Fault::SecondaryLimit) => {
            return answer(403, &json!({"message": "You have exceeded a secondary rate limit"}));
        }
        Some(Fault::SlackError(error)) => return answer(200, &json!({"ok": false, "error": error})),
        Some(Fault::Hang) => std::future::pending().await,
        // Ends the connection's task without a message on stderr.
        Some(Fault::Drop) => std::panic::resume_unwind(Box::new("dropped on purpose")),
        _ if !authorised => return answer(401, &json!({"ok": false, "message": "no token"})),
        _ => {}
    }
    let (status, body) = carry_out(&vendors, &seen);
    match fault {
        Some(Fault::DoneBut(status)) => answer(status, &json!({"message": "sorry"})),
        Some(Fault::DropAnswer) => std::panic::resume_unwind(Box::new("dropped on purpose")),
        _ => answer(status, &body),
    }
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn carry_out(vendors: &Vendors, seen: &Seen) -> (u16, Value) {
    let mut content = vendors.content();
    let text = |name: &str| seen.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (seen.method.as_str(), seen.path.as_str()) {
        (_, path) if path.starts_with("/langfuse/api/public/v2/prompts") => langfuse(&mut content, seen),
        ("POST", "/github/repos/acme/shop/issues") => {
            let issue = issue(content.issues.len() + 1, &text("title"), &text("body"));
            content.issues.push(issue.clone());
            (201, issue)
        }
        ("GET", "/github/repos/acme/shop/issues") => {
            let query: std::collections::BTreeMap<_, _> =
                url::form_urlencoded::parse(seen.query.as_bytes()).into_owned().collect();
            let number = |name: &str| query.get(name).and_then(|n| n.parse::<usize>().ok()).unwrap_or(1);
            let (page, size) = (number("page"), number("per_page"));
            let newest_first = content.issues.iter().rev();
            let shown: Vec<Value> = newest_first.skip((page - 1) * size).take(size).cloned().collect();
            (200, Value::Array(shown))
        }
        (method, path) if path.starts_with("/github/repos/acme/shop/issues/") => {
            let mut rest = path.trim_start_matches("/github/repos/acme/shop/issues/").split('/');
            let number: usize = rest.next().and_then(|n| n.parse().ok()).unwrap_or_default();
            let Some(issue) = content.issues.iter_mut().find(|issue| issue["number"] == json!(number)) else {
                return (404, json!({"message": "Not Found"}));
            };
            let comments = issue["comments"].as_array().cloned().unwrap_or_default();
            match (method, rest.next()) {
                ("GET", Some("comments")) => (200, Value::Array(comments)),
                ("POST", Some("comments")) => {
                    let made = json!({"id": comments.len() + 1, "body": seen.body["body"]});
                    issue["comments"] = comments.into_iter().chain([made.clone()]).collect();
                    (201, made)
                }
                ("PATCH", None) => {
                    issue["state"] = seen.body["state"].clone();
                    (200, issue.clone())
                }
                _ => (404, json!({"message": "Not Found"})),
            }
        }
        (_, "/slack/chat.postMessage") => {
            content.now += 1;
            let ts = format!("{}.000100", content.now);
            let mut message = seen.body.clone();
            message["ts"] = json!(ts);
            content.messages.push(message);
            (200, json!({"ok": true, "channel": "C0INCIDENTS", "ts": ts}))
        }
        (_, "/slack/chat.update") => {
            let ts = text("ts");
            let found = content.messages.iter_mut().find(|message| message["ts"] == json!(ts));
            let Some(message) = found.filter(|_| text("channel") == "C0INCIDENTS") else {
                return (200, json!({"ok": false, "error": "message_not_found"}));
            };
            message["text"] = seen.body["text"].clone();
            message["blocks"] = seen.body["blocks"].clone();
            (200, json!({"ok": true, "channel": "C0INCIDENTS", "ts": ts}))
        }
        (_, "/slack/conversations.list") => {
            (200, json!({"ok": true, "channels": [{"id": "C0INCIDENTS", "name": "incidents"}]}))
        }
        (_, "/slack/conversations.history" | "/slack/conversations.replies") => {
            (200, json!({"ok": true, "messages": content.messages, "response_metadata": {"next_cursor": ""}}))
        }
        ("POST", "/hook") => (200, json!({"received": true})),
        ("POST", path) if path.starts_with("/slack/response/") => (200, json!({"ok": true})),
        _ => (404, json!({"ok": false, "error": "unknown_method", "message": "Not Found"})),
    }
}
