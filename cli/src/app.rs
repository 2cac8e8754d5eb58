//! Puts the parts together: environment, home, sources, store, engine.
//!
//! Owns: where state lies and which parts a command needs. Everything below gets what it needs handed in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tripline_connectors::{ConnectorOptions, Connectors, SourceStatus};
use tripline_engine::{
    Engine, EngineOptions, Environment, LocalTable, OffsetClock, Params, SharedClock, SourceEntry, SystemClock,
};
use tripline_store::{OpenMode, Scope, SqliteStore, StoreError, sql_tables};

use crate::failure::Failure;

/// The environment and the folder that all state lives under.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    pub(crate) environment: Environment,
    pub(crate) path: PathBuf,
}

impl Home {
    /// `TRIPLINE_HOME`, else `~/.tripline`.
    pub(crate) fn of(environment: Environment) -> Result<Self, Failure> {
        let path = match (environment.get("TRIPLINE_HOME"), environment.get("HOME")) {
            (Some(home), _) => PathBuf::from(home),
            (None, Some(user)) => Path::new(user).join(".tripline"),
            (None, None) => {
                return Err(Failure::new("neither TRIPLINE_HOME nor HOME is set")
                    .hint("set TRIPLINE_HOME to the folder that shall hold Tripline's state"));
            }
        };
        Ok(Self { environment, path })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("state").join("tripline.db")
    }

    /// Opens the store; blocking file work happens on a thread for it.
    pub(crate) async fn open_store(&self, mode: OpenMode) -> Result<SqliteStore, Failure> {
        let path = self.database();
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(path, mode)).await;
        opened.map_err(|error| Failure::new(format!("the store could not be opened: {error}")))?.map_err(Failure::from)
    }

    pub(crate) fn connectors(&self, clock: &SharedClock) -> Connectors {
        Connectors::load(&ConnectorOptions {
            environment: &self.environment,
            sources_dir: Some(self.path.join("sources.d")),
            cache_dir: Some(self.path.join("cache")),
            clock: Arc::clone(clock),
            retry_seed: u64::from(std::process::id()),
        })
    }
}

/// The machine's clock, or one that starts at `now`.
pub(crate) fn clock(now: Option<DateTime<Utc>>) -> SharedClock {
    match now {
        Some(start) => Arc::new(OffsetClock::starting_at(start)),
        None => Arc::new(SystemClock),
    }
}

/// Sources as the engine's catalog shows them.
pub(crate) fn source_entries(connectors: &Connectors) -> Vec<SourceEntry> {
    connectors
        .sources()
        .iter()
        .map(|source| SourceEntry {
            name: source.name().to_owned(),
            description: source.description().to_owned(),
            status: match source.status() {
                SourceStatus::Configured => "configured".to_owned(),
                SourceStatus::Missing { variables, .. } => format!("set {}", variables.join(", ")),
            },
            base_url: source.base_url(),
            tables: source.tables(),
        })
        .collect()
}

/// An engine over the sources and, as one project sees them, the store's tables.
pub(crate) fn engine(
    connectors: &Connectors,
    store: Option<&SqliteStore>,
    scope: &Scope,
    clock: &SharedClock,
) -> Result<Engine, Failure> {
    let local = store.map_or_else(Vec::new, |store| {
        sql_tables(store, scope)
            .into_iter()
            .map(|table| LocalTable {
                schema: table.schema.to_owned(),
                name: table.name.to_owned(),
                provider: table.provider,
            })
            .collect()
    });
    Ok(Engine::new(Arc::clone(clock), EngineOptions::default(), &source_entries(connectors), local)?)
}

/// What reading commands work with.
pub(crate) struct Reader {
    pub(crate) home: Home,
    pub(crate) connectors: Connectors,
    pub(crate) engine: Arc<Engine>,
}

impl Reader {
    /// Opens everything for reading. Without a state database the store's tables are those of an empty one.
    pub(crate) async fn open(home: Home, now: Option<DateTime<Utc>>) -> Result<Self, Failure> {
        let clock = clock(now);
        let connectors = home.connectors(&clock);
        for problem in connectors.problems() {
            tracing::warn!("{problem}");
        }
        let path = home.database();
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open(path, OpenMode::ReadOnly)).await;
        let store = match opened.map_err(|error| Failure::new(error.to_string()))? {
            Ok(store) => Some(store),
            Err(StoreError::NoDatabase { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let engine = engine(&connectors, store.as_ref(), &Scope::default_project(), &clock)?;
        Ok(Self { home, connectors, engine: Arc::new(engine) })
    }

    /// The text of a query file and the defaults its header declares.
    pub(crate) fn query_file(&self, path: &Path) -> Result<(String, Params), Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let _ = &self.home;
        Ok((text, Params::new()))
    }
}
