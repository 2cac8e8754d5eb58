//! All sources: bundled specs, the user's own, and what the environment makes of them.
//!
//! Owns: [`Connectors`] and [`Source`]. Does not own: the process environment (handed in) nor what is asked.
//!
//! Must hold: a source without credentials is there, says what to set, and fails only when scanned; a broken spec file
//! is reported with file and line and takes no other source down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use include_dir::{Dir, include_dir};
use tripline_engine::{Environment, QueryContext, RemoteTable, ScanError, ScanRun, SharedClock};

use crate::decode::DecodeError;
use crate::describe;
use crate::generations::Generations;
use crate::http::{Ask, Health, HttpTransport, SafeUrl, SourceClient, Target, Transport, path_part};
use crate::plan;
use crate::scan::Shared;
use crate::spec::{self, Part, Slot, SourceSpec, SpecErrors, SpecProblem};
use crate::table::HttpTable;

/// The bundled specs.
static BUNDLED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/sources");

/// How long [`Source::test`] waits for an answer.
const TEST_TIMEOUT: Duration = Duration::from_secs(15);

/// What [`Connectors::load`] works with.
#[derive(Debug, Clone)]
pub struct ConnectorOptions<'a> {
    /// Where addresses and credentials come from.
    pub environment: &'a Environment,
    /// The user's own specs (`*.yaml`), which override bundled ones of the same name. May not exist.
    pub sources_dir: Option<PathBuf>,
    /// Where findings about API generations are kept between processes.
    pub cache_dir: Option<PathBuf>,
    /// What time it is.
    pub clock: SharedClock,
    /// Seed of the pauses between retries.
    pub retry_seed: u64,
}

/// All sources.
#[derive(Debug)]
pub struct Connectors {
    sources: Vec<Source>,
    problems: Vec<SpecErrors>,
}

impl Connectors {
    /// Loads every bundled spec and every spec of the user's. Sends nothing.
    #[must_use]
    pub fn load(options: &ConnectorOptions<'_>) -> Self {
        Self::load_with(options, |spec| {
            let timeout = Duration::from_secs(spec.limits.timeout_s as u64);
            Ok(Arc::new(HttpTransport::new(spec.limits.concurrency, timeout)) as Arc<dyn Transport>)
        })
    }

    pub(crate) fn load_with(
        options: &ConnectorOptions<'_>,
        transport: impl Fn(&SourceSpec) -> Result<Arc<dyn Transport>, String>,
    ) -> Self {
        let mut problems = Vec::new();
        let generations = Arc::new(Generations::load(options.cache_dir.as_deref()));
        let mut sources = Vec::new();
        for (file, text) in texts(options.sources_dir.as_deref(), &mut problems) {
            let spec = match spec::parse(&file, &text) {
                Ok(spec) => Arc::new(spec),
                Err(errors) => {
                    problems.push(errors);
                    continue;
                }
            };
            if sources.iter().any(|source: &Source| source.name() == spec.name) {
                problems.push(problem(&file, format!("another file already describes the source `{}`", spec.name)));
                continue;
            }
            match transport(&spec) {
                Ok(transport) => sources.push(Source::new(spec, options, transport, Arc::clone(&generations))),
                Err(error) => problems.push(problem(&file, error)),
            }
        }
        sources.sort_by(|a, b| a.name().cmp(b.name()));
        Self { sources, problems }
    }

    /// The sources, by name.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The source called `name`.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name() == name)
    }

    /// Spec files that could not be used, with file, line and reason.
    #[must_use]
    pub fn problems(&self) -> &[SpecErrors] {
        &self.problems
    }
}

fn problem(file: &str, message: String) -> SpecErrors {
    SpecErrors { file: file.to_owned(), problems: vec![SpecProblem { at: spec::At::default(), message }] }
}

/// The texts of all specs, by file. A user's file takes the place of the bundled one of the same name, also when it
/// turns out to be broken: running the other one instead would be a surprise.
fn texts(sources_dir: Option<&Path>, problems: &mut Vec<SpecErrors>) -> Vec<(String, String)> {
    let mut found: BTreeMap<String, (String, String)> =
        bundled().map(|(name, text)| (name.to_owned(), (format!("{name}.yaml (bundled)"), text.to_owned()))).collect();
    let Some(dir) = sources_dir.filter(|dir| dir.exists()) else { return found.into_values().collect() };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(problem(&dir.display().to_string(), format!("cannot be read: {error}")));
            return found.into_values().collect();
        }
    };
    let is_spec = |path: &PathBuf| path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_spec).collect();
    paths.sort();
    let mut own: BTreeSet<String> = BTreeSet::new();
    for path in paths {
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
        match std::fs::read_to_string(&path) {
            Ok(_) if own.contains(stem) => {
                let message = format!("there are {stem}.yaml and {stem}.yml; this one is not used");
                problems.push(problem(&path.display().to_string(), message));
            }
            Ok(text) => {
                own.insert(stem.to_owned());
                found.insert(stem.to_owned(), (path.display().to_string(), text));
            }
            Err(error) => {
                found.remove(stem);
                problems.push(problem(&path.display().to_string(), format!("cannot be read: {error}")));
            }
        }
    }
    found.into_values().collect()
}

/// The bundled specs: name and text.
pub fn bundled() -> impl Iterator<Item = (&'static str, &'static str)> {
    BUNDLED.files().filter_map(|file| Some((file.path().file_stem()?.to_str()?, file.contents_utf8()?)))
}

/// Checks a spec file.
///
/// # Errors
/// Everything that is wrong with it, with lines.
pub fn lint(path: &Path) -> Result<SourceSpec, SpecErrors> {
    let file = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| problem(&file, format!("cannot be read: {error}")))?;
    spec::parse(&file, &text)
}

/// Whether a source can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceStatus {
    /// Address and credentials are there (whether they are right shows when it is asked; see [`Source::test`]).
    Configured,
    /// Something must be set first.
    Missing {
        /// Environment variables to set.
        variables: Vec<String>,
        /// What is wrong, in a phrase.
        detail: String,
    },
}

/// A source.
#[derive(Debug, Clone)]
pub struct Source {
    shared: Arc<Shared>,
    tables: Vec<Arc<HttpTable>>,
}

impl Source {
    fn new(
        spec: Arc<SourceSpec>,
        options: &ConnectorOptions<'_>,
        transport: Arc<dyn Transport>,
        generations: Arc<Generations>,
    ) -> Self {
        let clock = Arc::clone(&options.clock);
        let client = SourceClient::new(Arc::clone(&spec), options.environment, transport, clock, options.retry_seed);
        let shared = Arc::new(Shared { client, generations });
        let tables = spec.tables.iter().map(|t| HttpTable::new(Arc::clone(&shared), Arc::clone(t))).collect();
        Self { shared, tables }
    }

    /// Its name: the SQL schema of its tables.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec().name
    }

    /// What it is, in a sentence.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.spec().description
    }

    /// Its spec.
    #[must_use]
    pub fn spec(&self) -> &Arc<SourceSpec> {
        self.shared.client.spec()
    }

    /// Where it is read from, without credentials; empty while it is not configured.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.shared.client.base("").map_or_else(|_| String::new(), |url| SafeUrl::new(url.clone()).to_string())
    }

    /// Stands for address and account, `None` while it is not configured. No credential can be had from it.
    #[must_use]
    pub fn account(&self) -> Option<String> {
        self.shared.client.account()
    }

    /// Whether it can be asked.
    #[must_use]
    pub fn status(&self) -> SourceStatus {
        match self.shared.client.unconfigured() {
            None => SourceStatus::Configured,
            Some(missing) => {
                SourceStatus::Missing { variables: missing.variables.clone(), detail: missing.detail.clone() }
            }
        }
    }

    /// Its tables. Those of an unconfigured source are there too; scanning them says what to set.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<dyn RemoteTable>> {
        self.tables.iter().map(|table| Arc::clone(table) as Arc<dyn RemoteTable>).collect()
    }

    /// The table called `name`.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<Arc<dyn RemoteTable>> {
        self.tables.iter().find(|t| t.name() == name).map(|table| Arc::clone(table) as Arc<dyn RemoteTable>)
    }

    /// The table called `table` in words (Markdown): what it holds, its columns, required keys, and the predicates that
    /// are handed to the vendor.
    #[must_use]
    pub fn describe(&self, table: &str) -> Option<String> {
        let remote = self.tables.iter().find(|t| t.name() == table)?;
        let spec = self.spec().table(table)?;
        Some(describe::describe(self.spec(), spec, remote.capabilities()))
    }

    /// What serves the table called `table`, what it requires, how it is ordered and what costs more, in sentences.
    #[must_use]
    pub fn serving(&self, table: &str) -> Option<String> {
        let remote = self.tables.iter().find(|t| t.name() == table)?;
        Some(describe::serving(self.spec(), self.spec().table(table)?, remote.capabilities()))
    }

    /// How it has been doing since the process started.
    #[must_use]
    pub fn health(&self) -> Health {
        self.shared.client.health()
    }

    /// Sends one cheap request to see whether address and credentials are right; how long it took.
    ///
    /// # Errors
    /// What a scan would fail with.
    pub async fn test(&self) -> Result<Duration, ScanError> {
        const TABLE: &str = "test";
        let client = &self.shared.client;
        let base = client.base(TABLE)?;
        let mut path = String::new();
        for part in &self.spec().test.path.0 {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Slot(Slot::Input(index)) => match path_part(client.input(*index)) {
                    Ok(part) => path.push_str(&part),
                    Err(_) => path.push('-'),
                },
                Part::Slot(Slot::Column(_) | Slot::Now(_)) => {}
            }
        }
        let query = QueryContext::new(client.clock().now(), TEST_TIMEOUT, 8);
        let stats = query.report.scan(self.name(), TABLE);
        let run = ScanRun::alone(query, stats);
        let mut fill = |slot: &Slot| -> Result<String, std::convert::Infallible> {
            Ok(match slot {
                Slot::Input(index) => client.input(*index).to_owned(),
                Slot::Column(_) | Slot::Now(_) => String::new(),
            })
        };
        let body = match self.spec().test.body.as_ref().map(|body| plan::body::value(body, &[], &mut fill)).transpose()
        {
            Ok(body) => body,
            Err(never) => match never {},
        };
        let target = Target { path, body, ..Target::default() };
        let (url, posted) = (target.url(base), target.posted());
        let ask = Ask { run: &run, table: TABLE, absent: &[], probing: false, body: posted.as_ref(), held: None };
        let started = tokio::time::Instant::now();
        // The answer may be anything but a web page, which is what wrong addresses answer with 200.
        let read = |body: &bytes::Bytes| match body.trim_ascii_start().first() {
            Some(b'<') => Err(DecodeError::NotJson("the answer is a web page, and not the API's".to_owned())),
            _ => Ok(()),
        };
        client.get_anew(&url, ask, None, read).await.map_err(crate::http::Failure::into_error)?;
        Ok(started.elapsed())
    }
}
