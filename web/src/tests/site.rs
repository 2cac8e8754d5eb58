//! A whole server on a free port: store, governance, vendors, keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tripline_agent::AgentContext;
use tripline_agent::actions::{Destinations, OutboxOptions};
use tripline_agent::govern::{Governance, Governor};
use tripline_agent::narrate::TemplateNarrator;
use tripline_agent::queries::QueryLibrary;
use tripline_agent::risk::{Risk, RiskParts};
use tripline_agent::settings::{Settings, SettingsHandle, SettingsLoader};
use tripline_engine::{Clock, Engine, EngineError, EngineOptions, Environment, LocalTable, ManualClock, SystemClock};
use tripline_simulator::{Content, SimulatorHandle, SimulatorOptions};
use tripline_store::{
    Approval, Incident, IncidentPolicy, Investigation, KeyScope, NarrativeParts, NewAnomaly, NewApiKey, OpenMode,
    PageRequest, ProjectId, Scope, Severity, SqliteStore, Store, Window, sql_tables,
};

use crate::ports::{
    DetectorCatalog, DetectorInfo, EngineProvider, JobAnswer, JobControl, JobInfo, PortError, PortErrorKind,
    SourceStatus, SourceStatuses,
};
use crate::{AuthMode, WebOptions, WebParts, WebState, serve};

pub(crate) const SECRET: &str = "a-signing-secret";
pub(crate) const APPROVER: &str = "U0APPROVER1";

/// Engines over the store's own tables, and whatever else a test adds.
pub(crate) struct Engines {
    pub sqlite: SqliteStore,
    pub clock: Arc<ManualClock>,
    pub more: Vec<LocalTable>,
}

#[async_trait]
impl EngineProvider for Engines {
    async fn engine(&self, scope: &Scope) -> Result<Arc<Engine>, EngineError> {
        let local = sql_tables(&self.sqlite, scope).into_iter().map(|table| LocalTable {
            schema: table.schema.to_owned(),
            name: table.name.to_owned(),
            provider: table.provider,
        });
        let local = local.chain(self.more.iter().cloned()).collect();
        Engine::new(self.clock.clone(), EngineOptions::default(), &[], local).map(Arc::new)
    }
}

struct Jobs;

#[async_trait]
impl JobControl for Jobs {
    async fn jobs(&self, _: &Scope) -> Result<Vec<JobInfo>, PortError> {
        Ok(vec![JobInfo {
            name: "cost_spike".to_owned(),
            description: "judges the last hour".to_owned(),
            schedule: Some("*/15 * * * *".to_owned()),
            next_due_at: None,
            judged_until: None,
            last_run: None,
        }])
    }

    async fn run(&self, _: &Scope, name: &str, dry_run: bool, by: &str) -> Result<JobAnswer, PortError> {
        if name != "cost_spike" {
            return Err(PortError {
                kind: PortErrorKind::NotFound,
                message: format!("there is no job '{name}'"),
                hint: None,
            });
        }
        Ok(JobAnswer { run: None, dry_run, detail: json!({ "by": by }) })
    }
}

struct Catalog;

impl SourceStatuses for Catalog {
    fn sources(&self) -> Vec<SourceStatus> {
        Vec::new()
    }
}

impl DetectorCatalog for Catalog {
    fn detectors(&self) -> Vec<DetectorInfo> {
        Vec::new()
    }
}

/// What a test may change before the server starts.
pub(crate) struct Plan {
    pub auth: AuthMode,
    pub options: WebOptions,
    pub approvers: Vec<&'static str>,
    pub tables: Vec<LocalTable>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            auth: AuthMode::Keys,
            options: WebOptions::default(),
            approvers: vec![APPROVER, "operator"],
            tables: Vec::new(),
        }
    }
}

pub(crate) struct Site {
    _home: TempDir,
    pub sqlite: SqliteStore,
    pub store: Store,
    pub scope: Scope,
    pub clock: Arc<ManualClock>,
    pub governance: Governance,
    pub simulator: SimulatorHandle,
    pub addr: SocketAddr,
    pub client: Client,
    /// Secrets by name: read, ingest, operate, admin, other (of another project).
    pub keys: BTreeMap<&'static str, String>,
    pub stop: CancellationToken,
    pub server: JoinHandle<()>,
    pub state: WebState,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with(Plan::default()).await
    }

    pub(crate) async fn with(plan: Plan) -> Self {
        let home = tempfile::tempdir().unwrap();
        let sqlite = SqliteStore::open(home.path().join("state.db"), OpenMode::Serve).unwrap();
        let store = sqlite.store();
        let clock = ManualClock::at(Utc::now());
        let simulator = vendors(&home).await;
        let mut settings = Settings::default();
        settings.governance.approvers = plan.approvers.iter().map(|name| (*name).to_owned()).collect();
        let engines = Engines { sqlite: sqlite.clone(), clock: clock.clone(), more: plan.tables };
        let scope = Scope::default_project();
        let context = AgentContext {
            engine: engines.engine(&scope).await.unwrap(),
            store: store.clone(),
            scope: scope.clone(),
            clock: clock.clone(),
            settings: SettingsHandle::new(settings.clone())
                .with_loader(SettingsLoader::new(Some(home.path()), Environment::default()).with_base(settings)),
        };
        let destinations = Destinations::from_environment(&environment(&simulator));
        let options = OutboxOptions { settle_pause: std::time::Duration::ZERO, ..OutboxOptions::default() };
        let governance = Governance::new(&context, Arc::new(SystemClock), destinations, options).unwrap();
        let stop = CancellationToken::new();
        let keys = make_keys(&store, clock.now()).await;
        let queries = QueryLibrary::open(Some(home.path())).unwrap();
        let risk = Risk::new(RiskParts {
            ctx: context.clone(),
            queries: queries.clone(),
            narrator: Arc::new(TemplateNarrator),
            governor: Arc::clone(&governance.gate) as _,
            notices: governance.notices.clone(),
            destinations: Arc::clone(&governance.destinations),
            system_clock: Arc::new(SystemClock),
        });
        let state = WebState::new(WebParts {
            context,
            governance: governance.clone(),
            engines: Arc::new(engines),
            jobs: Arc::new(Jobs),
            sources: Arc::new(Catalog),
            detectors: Arc::new(Catalog),
            risk,
            queries,
            threads: crate::QueryThreads::start("query").unwrap(),
            auth: plan.auth,
            options: plan.options,
            stop: stop.child_token(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (served, shutdown) = (state.clone(), stop.clone());
        let server = tokio::spawn(async move { serve(listener, served, shutdown).await.unwrap() });
        let client = Client::new();
        Self {
            _home: home,
            sqlite,
            store,
            scope,
            clock,
            governance,
            simulator,
            addr,
            client,
            keys,
            stop,
            server,
            state,
        }
    }

    /// The folder of everything that is kept.
    pub(crate) fn home(&self) -> &std::path::Path {
        self._home.path()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// A request with one of the keys.
    pub(crate) fn request(&self, key: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(&self.keys[key])
    }

    /// The JSON answer to a GET, which must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let response = self.request("read", Method::GET, path).send().await.unwrap();
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Status and JSON answer of a POST.
    pub(crate) async fn post(&self, key: &str, path: &str, body: &Value) -> (u16, Value) {
        let response = self.request(key, Method::POST, path).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn open(&self, finding: NewAnomaly) -> Incident {
        let (store, scope, now) = (&self.store, &self.scope, self.clock.now());
        let upsert = store
            .incidents
            .upsert_by_fingerprint(scope, finding.clone(), &IncidentPolicy::default(), now)
            .await
            .unwrap();
        let investigated = store.incidents.set_investigation(scope, &upsert.incident().id, investigation(), now).await;
        let incident = investigated.unwrap();
        self.governance.gate.incident_opened(scope, &incident, &finding, &[]).await.unwrap();
        incident
    }

    /// Publishes a version of a prompt, as a person does in Langfuse.
    pub(crate) async fn publish_prompt(&self, body: &Value) {
        let url = format!("{}/langfuse/api/public/v2/prompts", self.simulator.base_url());
        let request = self.client.post(url).basic_auth("pk-lf-tripline-demo", Some("sk-lf-tripline-demo")).json(body);
        assert_eq!(request.send().await.unwrap().status().as_u16(), 201);
    }

    pub(crate) async fn drain(&self) {
        self.governance.outbox.drain(self.clock.now()).await.unwrap();
    }

    pub(crate) async fn approval(&self) -> Approval {
        let page = PageRequest::first(10);
        self.store.approvals.list(&self.scope, &Default::default(), &page).await.unwrap().items.remove(0)
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.clock.set(self.clock.now() + by);
    }

    /// What was written at a vendor, by path.
    pub(crate) async fn writes(&self, part: &str) -> Vec<Value> {
        let url = format!("{}/_writes", self.simulator.base_url());
        let writes: Vec<Value> = self.client.get(url).send().await.unwrap().json().await.unwrap();
        writes.into_iter().filter(|write| write["path"].as_str().unwrap().contains(part)).collect()
    }

    /// Presses a button of the incident's message, through the simulator's Slack. Returns what we answered.
    pub(crate) async fn click(&self, action_id: &str, user: &str) -> u16 {
        let (channel, ts) = self.message().await;
        let press = json!({
            "request_url": self.url("/api/slack/actions"), "signing_secret": SECRET, "user": user,
            "channel": channel, "ts": ts, "action_id": action_id,
        });
        let url = format!("{}/_click", self.simulator.base_url());
        let answer: Value = self.client.post(url).json(&press).send().await.unwrap().json().await.unwrap();
        answer["status"].as_u64().unwrap_or_else(|| panic!("{answer}")) as u16
    }

    async fn message(&self) -> (String, String) {
        let approval = self.approval().await;
        (approval.slack_channel.unwrap(), approval.slack_ts.unwrap())
    }
}

fn environment(simulator: &SimulatorHandle) -> Environment {
    let base = simulator.base_url();
    Environment::of([
        ("GITHUB_API_URL", format!("{base}/github")),
        ("GITHUB_TOKEN", "ghp_token".to_owned()),
        ("GITHUB_OWNER", "acme".to_owned()),
        ("GITHUB_REPO", "shop".to_owned()),
        ("SLACK_API_URL", format!("{base}/slack")),
        ("SLACK_BOT_TOKEN", "xoxb-token".to_owned()),
        ("SLACK_SIGNING_SECRET", SECRET.to_owned()),
        ("LANGFUSE_BASE_URL", format!("{base}/langfuse")),
        ("LANGFUSE_PUBLIC_KEY", "pk-lf-tripline-demo".to_owned()),
        ("LANGFUSE_SECRET_KEY", "sk-lf-tripline-demo".to_owned()),
    ])
}

async fn vendors(home: &TempDir) -> SimulatorHandle {
    let data = home.path().join("data");
    for (path, items) in [
        (
            "slack/channels.json",
            json!([{"id": "C0INCIDENTS", "name": "incidents", "is_member": true, "created": 1577836800}]),
        ),
        (
            "github/commits.json",
            json!([{"_owner": "acme", "_repo": "shop", "sha": "9f2c1ab0d4e5f60718293a4b5c6d7e8f90a1b2c3",
            "commit": {"message": "x", "author": {"date": "2026-01-01T00:00:00Z"}}}]),
        ),
    ] {
        let path = data.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, items.to_string()).unwrap();
    }
    let options = SimulatorOptions { content: Content::DataDir(data), ..SimulatorOptions::default() };
    tripline_simulator::start(options).await.unwrap()
}

async fn make_keys(store: &Store, now: DateTime<Utc>) -> BTreeMap<&'static str, String> {
    let other = ProjectId::new("other");
    store.projects_create(&other, now).await;
    let mut keys = BTreeMap::new();
    for (name, person, scopes, project) in [
        ("read", "reader", vec![KeyScope::Read], None),
        ("ingest", "agent", vec![KeyScope::Ingest], None),
        ("operate", "operator", vec![KeyScope::Read, KeyScope::Operate], None),
        ("stranger", "stranger", vec![KeyScope::Read, KeyScope::Operate], None),
        ("admin", "admin", vec![KeyScope::Admin], None),
        ("other", "operator", vec![KeyScope::Admin], Some(other)),
    ] {
        let new = NewApiKey {
            name: format!("key-{name}"),
            person: person.to_owned(),
            scopes: scopes.into_iter().collect::<BTreeSet<_>>(),
            project,
        };
        let created = store.keys.create(new, now).await.unwrap();
        keys.insert(name, created.secret.expose_secret().to_owned());
    }
    keys
}

/// Making a project, said shortly.
trait ProjectsCreate {
    async fn projects_create(&self, id: &ProjectId, now: DateTime<Utc>);
}

impl ProjectsCreate for Store {
    async fn projects_create(&self, id: &ProjectId, now: DateTime<Utc>) {
        self.projects.create(id, "Other", now).await.unwrap();
    }
}

pub(crate) fn finding(kind: &str, entity: &str, severity: Severity, evidence: Value) -> NewAnomaly {
    let now = Utc::now();
    NewAnomaly {
        detector: kind.to_owned(),
        kind: kind.to_owned(),
        severity,
        entity: entity.to_owned(),
        fingerprint: format!("{kind}:{entity}"),
        window: Window::new(now - TimeDelta::hours(1), now).unwrap(),
        detected_at: now,
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
    let trace = "0af7651916cd43dd8448eb211c80319c";
    finding("agent_loop", trace, Severity::High, json!({"generations": generations}))
}

fn investigation() -> Investigation {
    Investigation {
        culprit_sha: Some("9f2c1ab0d4e5f60718293a4b5c6d7e8f90a1b2c3".to_owned()),
        cost_usd: Some(12.5),
        narrative: "Cost rose.".to_owned(),
        narrative_parts: NarrativeParts {
            what_happened: "Cost rose.".to_owned(),
            likely_cause: "A commit.".to_owned(),
            impact: "12 users.".to_owned(),
            recommended_action: "Revert it.".to_owned(),
        },
        narrator: "template".to_owned(),
        suspects: json!([]),
        timeline: json!([]),
        gaps: Vec::new(),
        evidence_sha256: "e".repeat(64),
    }
}
