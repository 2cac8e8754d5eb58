//! Starting and stopping a simulator.
//!
//! Must hold: a started simulator serves until it is shut down or its handle is dropped; then its
//! port is free and its connections are closed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::datadog::{self, Datadog};
use crate::dataset::{DataError, Dataset};
use crate::faults::Faults;
use crate::github::{self, Github};
use crate::langfuse::{self, Langfuse};
use crate::linear::{self, Linear};
use crate::llm::Llm;
use crate::log::Log;
use crate::options::{Content, SimulatorOptions};
use crate::pagerduty::{self, Pagerduty};
use crate::scenario::{Scenario, Truth, default_anchor};
use crate::sentry::{self, Sentry};
use crate::server::{self, Shared};
use crate::slack::{self, Slack};
use crate::wire::{CuttableListener, Cutter};

/// How long open requests may take to finish at shutdown.
const FAREWELL: Duration = Duration::from_secs(2);

/// A simulator that could not be started.
#[derive(Debug, Error)]
pub enum SimulatorError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}; hint: choose another port, or 0 for a free one")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The data directory cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The data could not be prepared.
    #[error("the content could not be prepared: {0}")]
    Prepare(String),
}

/// A running simulator. Dropping it stops it.
#[derive(Debug)]
pub struct SimulatorHandle {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: Option<JoinHandle<()>>,
}

/// Starts a simulator: reads or makes its content, binds, and serves in the background.
///
/// # Errors
/// When the content cannot be read or the address cannot be listened on.
pub async fn start(options: SimulatorOptions) -> Result<SimulatorHandle, SimulatorError> {
    let SimulatorOptions {
        listen,
        content,
        anchor,
        seed,
        clock,
        latency,
        faults,
        langfuse: generation,
        auth,
        slack_scopes,
    } = options;
    // Reading and indexing take a while; the caller's other tasks go on meanwhile.
    let prepared = tokio::task::spawn_blocking(move || prepare(content, anchor, seed));
    let (stores, truth) = prepared.await.map_err(|error| SimulatorError::Prepare(error.to_string()))??;
    let listener = TcpListener::bind(listen).await.map_err(|source| SimulatorError::Listen { addr: listen, source })?;
    let addr = listener.local_addr().map_err(|source| SimulatorError::Listen { addr: listen, source })?;

    let shared = Arc::new(Shared {
        clock: Clock::new(clock.map(|now| now.timestamp_micros())),
        log: Log::default(),
        faults: Faults::new(faults),
        auth,
        latency,
        langfuse: Langfuse { generation, store: RwLock::new(stores.langfuse) },
        sentry: Sentry::new(stores.sentry),
        github: Github::new(stores.github),
        slack: Slack { store: RwLock::new(stores.slack), scopes: slack_scopes },
        datadog: Datadog::new(stores.datadog),
        pagerduty: Pagerduty::new(stores.pagerduty),
        linear: Linear::new(stores.linear),
        llm: Llm::default(),
        truth,
        stop: CancellationToken::new(),
    });
    let service = server::router(Arc::clone(&shared)).into_make_service_with_connect_info::<Cutter>();
    let stop = shared.stop.clone();
    let task = tokio::spawn(async move {
        let served =
            axum::serve(CuttableListener(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the simulator stopped serving");
        }
    });
    tracing::info!(%addr, "simulator started");
    Ok(SimulatorHandle { addr, shared, task: Some(task) })
}

struct Stores {
    langfuse: langfuse::Store,
    sentry: sentry::Store,
    github: github::Store,
    slack: slack::Store,
    datadog: datadog::Store,
    pagerduty: pagerduty::Store,
    linear: linear::Store,
}

fn prepare(
    content: Content,
    anchor: Option<DateTime<Utc>>,
    seed: u64,
) -> Result<(Stores, Option<Truth>), SimulatorError> {
    let (mut dataset, truth) = match content {
        Content::Empty => (Dataset::default(), None),
        Content::Accounts => {
            let anchor = anchor.unwrap_or_else(default_anchor);
            let (dataset, _) = Scenario::generate(&[Scenario::Quiet], anchor, seed);
            (dataset.without_history(), None)
        }
        Content::DataDir(dir) => (Dataset::load(&dir)?, None),
        Content::Scenarios(scenarios) => {
            let (dataset, truth) = Scenario::generate(&scenarios, anchor.unwrap_or_else(default_anchor), seed);
            (dataset, Some(truth))
        }
    };
    let stores = Stores {
        langfuse: langfuse::Store::new(&mut dataset),
        sentry: sentry::Store::new(&mut dataset),
        github: github::Store::new(&mut dataset),
        slack: slack::Store::new(&mut dataset),
        datadog: datadog::Store::new(&mut dataset),
        pagerduty: pagerduty::Store::new(&mut dataset),
        linear: linear::Store::new(&mut dataset),
    };
    Ok((stores, truth))
}

impl SimulatorHandle {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://host:port`; a vendor's base URL is this and its name, as in `…/langfuse`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Sets the clock; `None` lets everything be visible again.
    pub fn set_clock(&self, now: Option<DateTime<Utc>>) {
        self.shared.clock.set(now.map(|now| now.timestamp_micros()));
    }

    /// What really happened in the scenarios served; `None` for other content.
    pub fn truth(&self) -> Option<&Truth> {
        self.shared.truth.as_ref()
    }

    /// Stops serving and waits until open requests are done, at most two seconds.
    pub async fn shutdown(mut self) {
        self.shared.stop.cancel();
        if let Some(mut task) = self.task.take()
            && tokio::time::timeout(FAREWELL, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for SimulatorHandle {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
