//! A whole Tripline in one process: what `serve` and `demo` run.
//!
//! Owns: which parts there are and how they are connected, the start and the end of their tasks. Must hold: every task
//! ends when [`Running::shutdown`] was called; nothing is accepted before everything is in place.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tripline_agent::AgentContext;
use tripline_agent::actions::{Destinations, OutboxOptions};
use tripline_agent::detect::Detectors;
use tripline_agent::digest::{Digester, DigesterParts};
use tripline_agent::govern::Governance;
use tripline_agent::investigate::{Investigator, Repository};
use tripline_agent::jobs::{HandRun, JobError, Jobs, scheduler};
use tripline_agent::narrate;
use tripline_agent::queries::QueryLibrary;
use tripline_agent::queries::catalog::{DetectorEntry, catalog};
use tripline_agent::respond::Responder;
use tripline_agent::risk::{Risk, RiskParts};
use tripline_agent::runs::{AgentHealth, Alerts, Explainer, Judge, Judges};
use tripline_agent::settings::{Settings, SettingsHandle, SettingsLoader, SettingsWatcher};
use tripline_connectors::Connectors;
use tripline_engine::{Engine, EngineError, SharedClock, SystemClock};
use tripline_store::ingest::runs::LogEvents;
use tripline_store::{JobRunFilter, OpenMode, PageRequest, ProjectId, Scope, SqliteStore, Store};
use tripline_web::ports::{
    DetectorCatalog, EngineProvider, JobAnswer, JobControl, JobInfo, PortError, PortErrorKind, SourceLimits,
    SourceStatus, SourceStatuses, SourceTest,
};
use tripline_web::{AuthMode, QueryThreads, WebOptions, WebParts, WebState};

use crate::app::{Home, Sources, engine, status_text};
use crate::copies::Copies;
use crate::events;
use crate::failure::Failure;

/// Everything, assembled, nothing running yet.
pub(crate) struct Server {
    pub(crate) context: AgentContext,
    pub(crate) governance: Governance,
    pub(crate) jobs: Jobs,
    pub(crate) risk: Risk,
    sqlite: SqliteStore,
    copies: Arc<Copies>,
    judges: Judges,
    web: WebState,
    loader: SettingsLoader,
    stop: CancellationToken,
}

impl Server {
    /// Puts a server together on `home`, whose database it opens in `mode`. `adjust` may change the settings that were
    /// read (the demo names its approver).
    pub(crate) async fn assemble(
        home: &Home,
        clock: SharedClock,
        mode: OpenMode,
        adjust: impl FnOnce(&mut Settings),
    ) -> Result<Self, Failure> {
        let auth = match home.environment.get("AUTH_MODE") {
            Some(mode) => mode.parse::<AuthMode>().map_err(Failure::new)?,
            // What the Dunetrace services were told by.
            None if matches!(home.environment.get("ENV"), Some("dev" | "local" | "test")) => AuthMode::Dev,
            None => AuthMode::default(),
        };
        let sqlite = home.open_store(mode).await?;
        let connectors = Arc::new(home.connectors(&clock));
        for problem in connectors.problems() {
            tracing::warn!("{problem}");
        }
        let scope = Scope::default_project();
        let mut base = Settings::default();
        adjust(&mut base);
        let loader = SettingsLoader::new(Some(&home.path), home.environment.clone()).with_base(base);
        let settings = loader.load()?;
        let copies = Arc::new(Copies::open(home, &connectors, &settings)?);
        let engines = Engines {
            own: scope.clone(),
            connectors: Arc::clone(&connectors),
            copies: Arc::clone(&copies),
            store: sqlite.clone(),
            clock: Arc::clone(&clock),
            made: Mutex::default(),
        };
        let context = AgentContext {
            engine: engines.of(&scope, Sources::Open)?,
            store: sqlite.store(),
            scope,
            clock: Arc::clone(&clock),
            settings: SettingsHandle::new(settings).with_loader(loader.clone()),
        };
        let queries = home.queries()?;
        let destinations = Destinations::from_environment(&home.environment);
        let outbox = OutboxOptions { holder: holder(), ..OutboxOptions::default() };
        let governance = Governance::new(&context, Arc::new(SystemClock), destinations, outbox)
            .map_err(|error| Failure::new(error.to_string()))?;
        let ledger = Some(narrate::Ledger::new(&context));
        let narrator = narrate::with_ledger(&context.settings, &home.environment, ledger)
            .map_err(|error| Failure::new(error.to_string()))?;
        let repository = Repository::from_environment(&home.environment);
        let risk = Risk::new(RiskParts {
            ctx: context.clone(),
            queries: queries.clone(),
            narrator: Arc::clone(&narrator),
            governor: Arc::clone(&governance.gate) as _,
            notices: governance.notices.clone(),
            destinations: Arc::clone(&governance.destinations),
            system_clock: Arc::new(SystemClock),
        });
        let digester = Digester::new(DigesterParts {
            ctx: context.clone(),
            queries: queries.clone(),
            repository: repository.clone(),
            narrator: Arc::clone(&narrator),
            notices: Some(governance.notices.clone()),
            has_slack: governance.destinations.has_slack(),
            has_webhook: governance.destinations.has_webhook(),
            health: Some(Arc::new(AgentHealth::new(context.store.clone()))),
        });
        let investigator = Investigator::new(context.clone(), queries.clone(), repository);
        let responder = Responder::new(context.clone(), investigator, narrator, Arc::clone(&governance.gate) as _);
        let jobs = Jobs::new(Detectors::new(context.clone(), queries.clone()), responder, holder())
            .with_digester(digester)
            .with_risk(risk.clone());
        let engines = Arc::new(engines);
        let judge =
            Judge::new(context.clone(), queries.clone(), Arc::new(LogEvents::new(Arc::clone(&context.store.events))));
        let engine_of = Arc::clone(&engines);
        let alerts =
            Alerts::new(governance.notices.clone(), Arc::clone(&governance.destinations), context.scope.clone());
        let judges = Judges::new(judge, Arc::new(move |scope| engine_of.of(scope, Sources::Open)), alerts);
        let stop = CancellationToken::new();
        let web = WebState::new(WebParts {
            context: context.clone(),
            governance: governance.clone(),
            engines,
            jobs: Arc::new(JobPort { jobs: jobs.clone(), store: context.store.clone() }),
            sources: Arc::new(SourcePort { connectors }),
            detectors: Arc::new(DetectorPort { queries: queries.clone(), settings: context.settings.clone() }),
            risk: risk.clone(),
            queries,
            explainer: Explainer::new(&context, home.environment.clone()),
            threads: threads("query")?,
            auth,
            options: WebOptions::default(),
            stop: stop.clone(),
        });
        Ok(Self { context, governance, jobs, risk, sqlite, copies, judges, web, loader, stop })
    }

    /// Starts to serve on `listener`, with these tasks beside it.
    pub(crate) async fn start(self, listener: TcpListener, background: Background) -> Result<Running, Failure> {
        let address = listener.local_addr().map_err(Failure::display)?;
        let web = tokio::spawn(tripline_web::serve(listener, self.web.clone(), self.stop.clone()));
        let mut running = Running {
            address,
            web,
            outbox: None,
            jobs: None,
            judges: None,
            job_threads: None,
            copies: None,
            events: None,
            watcher: None,
            server: self,
        };
        let server = &running.server;
        if background.outbox {
            running.outbox = Some(tokio::spawn(server.governance.outbox.clone().run(server.stop.clone())));
        }
        if background.jobs {
            let (clock, settings) = (&server.context.clock, &server.context.settings);
            running.copies = Some(server.copies.keep(clock, &server.stop));
            running.events = Some(events::keep(&server.sqlite, clock, settings, &server.stop));
            // What is spawned by what runs there runs there too.
            let threads = threads("jobs")?;
            running.judges = threads.run(server.judges.clone().run(server.stop.clone()));
            let starting = threads.run(scheduler::start(server.jobs.clone()));
            let not_started = |why: String| Failure::new(format!("the scheduler did not start: {why}"));
            let jobs = starting.ok_or_else(|| not_started("its threads have ended".to_owned()))?;
            let jobs = jobs.await.map_err(|error| not_started(error.to_string()))?;
            running.jobs = Some(jobs.map_err(|error| not_started(error.to_string()))?);
            running.job_threads = Some(threads);
            let (loader, settings) = (server.loader.clone(), server.context.settings.clone());
            match SettingsWatcher::start(loader, settings, Arc::clone(&server.context.clock)) {
                Ok(watcher) => running.watcher = watcher,
                Err(error) => tracing::warn!(%error, "changes of settings.json need a restart to be seen"),
            }
        }
        Ok(running)
    }
}

/// Which tasks run beside the web server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Background {
    /// Executing actions and sending messages.
    pub(crate) outbox: bool,
    /// Jobs by the wall clock, local copies, sealing of events, and following the settings file.
    pub(crate) jobs: bool,
}

/// Listens on `address`.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::new(format!("cannot listen on {address}: {error}")).hint("choose another --port"))
}

/// A server that accepts requests.
pub(crate) struct Running {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    web: JoinHandle<Result<(), tripline_web::ServeError>>,
    outbox: Option<JoinHandle<()>>,
    jobs: Option<scheduler::JobsHandle>,
    judges: Option<AbortOnDropHandle<()>>,
    /// Where jobs and judges run; there until they have ended.
    job_threads: Option<QueryThreads>,
    copies: Option<JoinSet<()>>,
    events: Option<JoinHandle<()>>,
    watcher: Option<SettingsWatcher>,
}

impl Running {
    /// `http://ADDRESS:PORT`
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Resolves when the web server has ended by itself, which is a failure.
    pub(crate) async fn failed(&mut self) -> Failure {
        match (&mut self.web).await {
            Ok(Ok(())) => Failure::new("the server stopped"),
            Ok(Err(error)) => Failure::new(error.to_string()),
            Err(error) => Failure::new(format!("the server broke off: {error}")),
        }
    }

    /// Finishes what is under way, and ends every task.
    pub(crate) async fn shutdown(self) {
        if let Some(jobs) = self.jobs {
            jobs.shutdown().await;
        } else {
            self.server.jobs.stop();
        }
        self.server.stop.cancel();
        drop(self.watcher);
        if let Some(mut copies) = self.copies {
            while copies.join_next().await.is_some() {}
        }
        if let Some(events) = self.events {
            // A task that panicked has nothing left to finish.
            let _ = events.await;
        }
        if let Some(judges) = self.judges {
            // A task that panicked has nothing left to finish.
            let _ = judges.await;
        }
        drop(self.job_threads);
        if let Some(outbox) = self.outbox {
            // A task that panicked has nothing left to finish.
            let _ = outbox.await;
        }
        self.server.governance.clicks.finish().await;
        if !self.web.is_finished() {
            let _ = self.web.await;
        }
    }
}

fn threads(name: &str) -> Result<QueryThreads, Failure> {
    QueryThreads::start(name).map_err(|error| Failure::new(format!("no threads for {name}: {error}")))
}

/// Names this process in leases.
fn holder() -> String {
    format!("{}-{}", std::process::id(), uuid::Uuid::new_v4().simple())
}

struct Engines {
    /// The installation's own project.
    own: Scope,
    connectors: Arc<Connectors>,
    copies: Arc<Copies>,
    store: SqliteStore,
    clock: SharedClock,
    made: Mutex<HashMap<(ProjectId, Sources), Arc<Engine>>>,
}

impl Engines {
    fn of(&self, scope: &Scope, sources: Sources) -> Result<Arc<Engine>, EngineError> {
        let key = (scope.project_id().clone(), sources);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = made.get(&key) {
            return Ok(Arc::clone(engine));
        }
        let engine = Arc::new(engine(&self.connectors, &self.copies, &self.store, scope, sources, &self.clock)?);
        made.insert(key, Arc::clone(&engine));
        Ok(engine)
    }
}

#[async_trait]
impl EngineProvider for Engines {
    async fn engine(&self, scope: &Scope) -> Result<Arc<Engine>, EngineError> {
        // What a caller asks: a project's key reads none of the installation's sources.
        self.of(scope, if *scope == self.own { Sources::Open } else { Sources::Closed })
    }
}

struct JobPort {
    jobs: Jobs,
    store: Store,
}

fn port_error(error: &JobError) -> PortError {
    let kind = match error {
        JobError::Unknown { .. } => PortErrorKind::NotFound,
        JobError::Busy { .. } => PortErrorKind::Busy,
        _ => PortErrorKind::Failed,
    };
    PortError { kind, message: error.to_string(), hint: None }
}

fn store_error(error: &tripline_store::StoreError) -> PortError {
    PortError { kind: PortErrorKind::Failed, message: error.to_string(), hint: error.hint() }
}

#[async_trait]
impl JobControl for JobPort {
    async fn jobs(&self, scope: &Scope) -> Result<Vec<JobInfo>, PortError> {
        let mut jobs = Vec::new();
        for job in self.jobs.list() {
            let filter = JobRunFilter { job: Some(job.name.clone()), ..JobRunFilter::default() };
            let last = self.store.jobs.list(scope, &filter, &PageRequest::first(1)).await;
            let judged_until = self.store.jobs.watermark(scope, &job.name).await;
            jobs.push(JobInfo {
                description: job.title,
                schedule: Some(job.cron),
                next_due_at: job.next_at,
                judged_until: judged_until.map_err(|error| store_error(&error))?,
                last_run: last.map_err(|error| store_error(&error))?.items.into_iter().next(),
                name: job.name,
            });
        }
        Ok(jobs)
    }

    async fn run(&self, _: &Scope, name: &str, dry_run: bool, by: &str) -> Result<JobAnswer, PortError> {
        tracing::info!(job = name, dry_run, by, "a job is run by hand");
        let done = self.jobs.run_by_hand(name, dry_run).await.map_err(|error| port_error(&error))?;
        let detail = serde_json::to_value(&done).unwrap_or_default();
        let run = match done {
            HandRun::Ran { run } => Some(run),
            HandRun::Dry { .. } => None,
        };
        Ok(JobAnswer { run, dry_run, detail })
    }
}

fn milliseconds(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

struct SourcePort {
    connectors: Arc<Connectors>,
}

#[async_trait]
impl SourceStatuses for SourcePort {
    async fn test(&self, name: &str) -> Result<SourceTest, PortError> {
        let source = self.connectors.source(name).ok_or_else(|| {
            let known: Vec<&str> = self.connectors.sources().iter().map(|source| source.name()).collect();
            PortError {
                kind: PortErrorKind::NotFound,
                message: format!("there is no source '{name}'"),
                hint: Some(format!("known sources: {}", known.join(", "))),
            }
        })?;
        let name = source.name().to_owned();
        Ok(match source.test().await {
            Ok(took) => {
                SourceTest { source: name, ok: true, latency_ms: Some(milliseconds(took)), error: None, hint: None }
            }
            Err(mut error) => {
                let hint = error.hint.take();
                SourceTest { source: name, ok: false, latency_ms: None, error: Some(error.to_string()), hint }
            }
        })
    }

    fn sources(&self) -> Vec<SourceStatus> {
        let sources = self.connectors.sources().iter();
        sources
            .map(|source| {
                let health = source.health();
                let limits = health.remaining.map(|remaining| SourceLimits {
                    limit: None,
                    remaining: Some(remaining),
                    resets_at: health.reset_at,
                });
                SourceStatus {
                    name: source.name().to_owned(),
                    description: source.description().to_owned(),
                    base_url: source.base_url(),
                    status: status_text(source),
                    tables: source.tables().iter().map(|table| table.name().to_owned()).collect(),
                    last_success_at: health.last_success_at,
                    last_failure_at: health.last_failure.as_ref().map(|(at, _)| *at),
                    last_failure: health.last_failure.map(|(_, why)| why),
                    latency_ms: health.latency.map(milliseconds),
                    paused_seconds: health.paused_for.map(|pause| pause.as_secs()).filter(|seconds| *seconds > 0),
                    limits,
                }
            })
            .collect()
    }
}

struct DetectorPort {
    queries: QueryLibrary,
    settings: SettingsHandle,
}

impl DetectorCatalog for DetectorPort {
    fn failure_types(&self) -> Vec<String> {
        self.queries.current().runs.values().map(|detector| detector.kind.clone()).collect()
    }

    fn detectors(&self) -> Vec<DetectorEntry> {
        catalog(&self.queries.current(), &self.settings.get())
    }
}
