//! What the handlers share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tripline_agent::AgentContext;
use tripline_agent::govern::Governance;
use tripline_agent::queries::QueryLibrary;
use tripline_agent::risk::Risk;
use tripline_agent::runs::Explainer;

use crate::auth::AuthMode;
use crate::metrics::Metrics;
use crate::ports::{DetectorCatalog, EngineProvider, JobControl, SourceStatuses};
use crate::threads::QueryThreads;

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct WebOptions {
    /// Bytes a body may have.
    pub max_body: usize,
    /// How long a request may take, reading its body included. SQL, jobs and the live stream have limits of their own.
    pub request_timeout: Duration,
    /// How long a client may take over its headers, and a kept connection may idle.
    pub header_timeout: Duration,
    /// Connections at once.
    pub max_connections: usize,
    /// SQL queries at once.
    pub max_queries: usize,
    /// How long a query waits for a place before it is told to come back.
    pub query_patience: Duration,
    /// Live streams at once.
    pub max_streams: usize,
    /// How long a live stream lasts before its page must ask anew, with a key that is still good.
    pub stream_lifetime: Duration,
    /// How often a live stream looks for changes.
    pub stream_poll: Duration,
    /// How long a job that was started by hand is waited for.
    pub job_timeout: Duration,
    /// How long open requests may take to finish at shutdown.
    pub farewell: Duration,
    /// The pauses before a trace that is not there yet is looked for again, for a signal of the last minutes.
    pub trace_pauses: [Duration; 3],
}

impl Default for WebOptions {
    fn default() -> Self {
        Self {
            max_body: 1 << 20,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(15),
            max_connections: 1024,
            max_queries: 4,
            query_patience: Duration::from_secs(2),
            max_streams: 64,
            stream_lifetime: Duration::from_secs(600),
            stream_poll: Duration::from_secs(1),
            job_timeout: Duration::from_secs(600),
            farewell: Duration::from_secs(10),
            trace_pauses: [3, 6, 9].map(Duration::from_secs),
        }
    }
}

/// What the server is made of.
pub struct WebParts {
    /// Store, clock, settings and the project that no key speaks for.
    pub context: AgentContext,
    /// Decisions, clicks, the outbox.
    pub governance: Governance,
    /// Engines per project.
    pub engines: Arc<dyn EngineProvider>,
    /// Jobs.
    pub jobs: Arc<dyn JobControl>,
    /// Sources.
    pub sources: Arc<dyn SourceStatuses>,
    /// Detectors.
    pub detectors: Arc<dyn DetectorCatalog>,
    /// Scores of pull requests.
    pub risk: Risk,
    /// The query files: detectors in force, and the folder of one's own.
    pub queries: QueryLibrary,
    /// Explains signals.
    pub explainer: Explainer,
    /// Where queries from outside run.
    pub threads: QueryThreads,
    /// Whether keys are needed.
    pub auth: AuthMode,
    /// Limits.
    pub options: WebOptions,
    /// Ends live streams.
    pub stop: CancellationToken,
}

/// The state of the server. Cheap to clone.
#[derive(Clone)]
pub struct WebState {
    inner: Arc<Inner>,
}

struct Inner {
    parts: WebParts,
    metrics: Metrics,
    queries: Arc<Semaphore>,
    running: crate::api::together::Together,
    streams: Arc<Semaphore>,
    health: tokio::sync::Mutex<crate::api::health::LastProbe>,
    door: crate::ingest::Door,
}

impl std::fmt::Debug for WebState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebState").field("auth", &self.inner.parts.auth).finish_non_exhaustive()
    }
}

impl WebState {
    /// A state.
    #[must_use]
    pub fn new(parts: WebParts) -> Self {
        let queries = Arc::new(Semaphore::new(parts.options.max_queries));
        let running = crate::api::together::Together::default();
        let streams = Arc::new(Semaphore::new(parts.options.max_streams));
        let health = tokio::sync::Mutex::default();
        let door = crate::ingest::Door::default();
        Self { inner: Arc::new(Inner { parts, metrics: Metrics::default(), queries, running, streams, health, door }) }
    }

    pub(crate) fn parts(&self) -> &WebParts {
        &self.inner.parts
    }

    pub(crate) fn context(&self) -> &AgentContext {
        &self.inner.parts.context
    }

    pub(crate) fn options(&self) -> &WebOptions {
        &self.inner.parts.options
    }

    pub(crate) fn auth_mode(&self) -> AuthMode {
        self.inner.parts.auth
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(crate) fn door(&self) -> &crate::ingest::Door {
        &self.inner.door
    }

    pub(crate) fn queries(&self) -> &Arc<Semaphore> {
        &self.inner.queries
    }

    /// Queries that identical ones may join.
    pub(crate) fn running(&self) -> &crate::api::together::Together {
        &self.inner.running
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.inner.streams
    }

    pub(crate) fn health(&self) -> &tokio::sync::Mutex<crate::api::health::LastProbe> {
        &self.inner.health
    }
}
