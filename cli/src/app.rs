//! Puts the parts together: environment, home, sources, store, engine.
//!
//! Owns: where state lies and which parts a command needs. Everything below gets what it needs handed in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tripline_agent::AgentContext;
use tripline_agent::queries::QueryLibrary;
use tripline_agent::settings::{Settings, SettingsHandle, SettingsLoader};
use tripline_connectors::{ConnectorOptions, Connectors, Source, SourceStatus};
use tripline_engine::{
    Engine, EngineError, EngineOptions, Environment, LocalTable, OffsetClock, Params, RemoteTable, SharedClock,
    SourceEntry, SystemClock,
};
use tripline_store::{OpenMode, Scope, Shelf, SqliteStore, StoreError, sql_tables};

use crate::closed::{self, Closed};
use crate::copies::Copies;
use crate::failure::Failure;
use crate::terminal;

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
        let (path, shelf) = (self.database(), self.shelf()?);
        let opened = tokio::task::spawn_blocking(move || SqliteStore::open_with_shelf(path, mode, shelf)).await;
        opened.map_err(|error| Failure::new(format!("the store could not be opened: {error}")))?.map_err(Failure::from)
    }

    /// Where sealed events are: `TRIPLINE_EVENTS_URL`, else the folder `segments` beside the database.
    pub(crate) fn shelf(&self) -> Result<Shelf, Failure> {
        let Some(url) = self.environment.get("TRIPLINE_EVENTS_URL") else {
            return Ok(Shelf::local(self.database().with_file_name("segments")));
        };
        let option = |name: &str| self.environment.get(name).map(str::to_owned);
        Ok(Shelf::s3(url, self.path.join("cache").join("segments"), option)?)
    }

    /// Settings in force: defaults, `settings.json`, environment.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        Ok(SettingsLoader::new(Some(&self.path), self.environment.clone()).load()?)
    }

    /// The query files: bundled ones, and those of `queries/` below the home.
    pub(crate) fn queries(&self) -> Result<QueryLibrary, Failure> {
        let library = QueryLibrary::open(Some(&self.path))?;
        for problem in &library.status().errors {
            terminal::error_line(&format!("warning: {problem}"));
        }
        Ok(library)
    }

    /// Where a user's own source files are.
    pub(crate) fn sources_dir(&self) -> std::path::PathBuf {
        self.path.join("sources.d")
    }

    pub(crate) fn connectors(&self, clock: &SharedClock) -> Connectors {
        Connectors::load(&ConnectorOptions {
            environment: &self.environment,
            sources_dir: Some(self.sources_dir()),
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

/// `configured`, or what to set.
pub(crate) fn status_text(source: &Source) -> String {
    match source.status() {
        SourceStatus::Configured => "configured".to_owned(),
        SourceStatus::Missing { variables, .. } => format!("set {}", variables.join(", ")),
    }
}

/// What of the installation's sources an engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sources {
    /// All of them: the installation itself asks.
    Open,
    /// None: a project's key asks. They are read with credentials that see more than is the project's.
    Closed,
}

/// Sources as the engine's catalog shows them.
fn source_entries(connectors: &Connectors, copies: &Copies, sources: Sources) -> Vec<SourceEntry> {
    let entry = |source: &Source| SourceEntry {
        name: source.name().to_owned(),
        description: source.description().to_owned(),
        status: status_text(source),
        base_url: source.base_url(),
        tables: copies.in_front_of(source),
    };
    let closed = |table: Arc<dyn RemoteTable>| -> Arc<dyn RemoteTable> { Arc::new(Closed(table)) };
    let of_project = |entry: SourceEntry| SourceEntry {
        status: closed::STATUS.to_owned(),
        base_url: String::new(),
        tables: entry.tables.into_iter().map(closed).collect(),
        ..entry
    };
    let entries = connectors.sources().iter().map(entry);
    match sources {
        Sources::Open => entries.collect(),
        Sources::Closed => entries.map(of_project).collect(),
    }
}

/// An engine over the sources and, as one project sees them, the store's tables.
pub(crate) fn engine(
    connectors: &Connectors,
    copies: &Copies,
    store: &SqliteStore,
    scope: &Scope,
    sources: Sources,
    clock: &SharedClock,
) -> Result<Engine, EngineError> {
    let mut local: Vec<LocalTable> = sql_tables(store, scope)
        .into_iter()
        .map(|table| LocalTable {
            schema: table.schema.to_owned(),
            name: table.name.to_owned(),
            provider: table.provider,
        })
        .collect();
    if sources == Sources::Open {
        local.push(copies.table()?);
    }
    Engine::new(Arc::clone(clock), EngineOptions::default(), &source_entries(connectors, copies, sources), local)
}

/// What commands that only read work with.
pub(crate) struct Reader {
    pub(crate) context: AgentContext,
    home: Home,
    /// Stands in for the state of a home that has none yet; removed at the end.
    _empty: Option<tempfile::TempDir>,
}

impl Reader {
    /// Opens everything for reading. Without a state database the store's tables are those of an empty one.
    pub(crate) async fn open(home: &Home, now: Option<DateTime<Utc>>) -> Result<Self, Failure> {
        let clock = clock(now);
        let connectors = home.connectors(&clock);
        for problem in connectors.problems() {
            terminal::error_line(&format!("warning: {problem}"));
        }
        let (path, shelf) = (home.database(), home.shelf()?);
        let read_only = move || SqliteStore::open_with_shelf(path, OpenMode::ReadOnly, shelf);
        let opened = tokio::task::spawn_blocking(move || match read_only() {
            Err(StoreError::NoDatabase { .. }) => {
                let folder =
                    tempfile::tempdir().map_err(|error| Failure::file(Path::new("temporary folder"), &error))?;
                let store = SqliteStore::open(folder.path().join("empty.db"), OpenMode::Scratch)?;
                Ok((store, Some(folder)))
            }
            opened => Ok::<_, Failure>((opened?, None)),
        });
        let (store, empty) = opened.await.map_err(|error| Failure::new(error.to_string()))??;
        let scope = Scope::default_project();
        let settings = home.settings()?;
        let copies = Copies::open(home, &connectors, &settings)?;
        let engine = Arc::new(engine(&connectors, &copies, &store, &scope, Sources::Open, &clock)?);
        let context =
            AgentContext { engine, store: store.store(), scope, clock, settings: SettingsHandle::new(settings) };
        Ok(Self { context, home: home.clone(), _empty: empty })
    }

    /// The bundled queries and the user's. Read when they are needed: most questions need none of them.
    pub(crate) fn queries(&self) -> Result<QueryLibrary, Failure> {
        self.home.queries()
    }

    /// A query from a file, or a bundled one by name, with these values and else the defaults of its header.
    pub(crate) fn query_file(
        &self,
        path: &Path,
        given: &BTreeMap<String, String>,
    ) -> Result<(String, Params), Failure> {
        let bundled = path.components().count() == 1 && !path.exists();
        let template = match path.to_str().filter(|_| bundled) {
            Some(name) => (*self.queries()?.find(name.trim_end_matches(".sql"))?).clone(),
            None => QueryLibrary::read_file(path)?,
        };
        let params = template.bind(given, &self.context.settings.get())?;
        Ok((template.header.sql.clone(), params))
    }
}
