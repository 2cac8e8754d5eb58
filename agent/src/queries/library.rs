//! Where query files come from: compiled in, overridden by name from the installation's home.
//!
//! Owns: the set of files in force and its renewal when a file changes. Must hold: a file that is wrong never takes the
//! place of one that was right; it is listed in [`QueryStatus`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use include_dir::{Dir, include_dir};
use serde::Serialize;

use super::QueryKind;
use super::header::{Header, HeaderError};
use super::spec::{BaselineSpec, DetectorSpec, EvidenceSpec, TemplateSpec};
use crate::runs::spec::RunDetectorSpec;

static COMPILED_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../queries");

/// What is in force, and what was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QueryStatus {
    /// Files that come from the installation's home.
    pub overridden: Vec<String>,
    /// Files that were refused, and why; their last good version (or the compiled-in one) is in force.
    pub errors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

/// One consistent set of query files.
#[derive(Debug, Clone, Default)]
pub struct QuerySet {
    /// Detectors by name.
    pub detectors: BTreeMap<String, Arc<DetectorSpec>>,
    /// Evidence queries by name.
    pub evidence: BTreeMap<String, Arc<EvidenceSpec>>,
    /// Baselines by name.
    pub baselines: BTreeMap<String, Arc<BaselineSpec>>,
    /// Templates and digests by name.
    pub templates: BTreeMap<String, Arc<TemplateSpec>>,
    /// Detectors of runs by name.
    pub runs: BTreeMap<String, Arc<RunDetectorSpec>>,
}

#[derive(Debug, Default)]
struct State {
    set: Arc<QuerySet>,
    status: QueryStatus,
    stamps: Vec<Stamp>,
}

/// The query files of an installation; cheap to clone, always the newest valid ones.
#[derive(Debug, Clone)]
pub struct QueryLibrary {
    home: Option<PathBuf>,
    state: Arc<Mutex<State>>,
}

impl QueryLibrary {
    /// The library of the installation whose home is `home` (`None`: the compiled-in files only).
    ///
    /// # Errors
    /// When a compiled-in file is wrong. A wrong file of the home is no error here: see [`QueryLibrary::status`].
    pub fn open(home: Option<&Path>) -> Result<Self, HeaderError> {
        let mut set = QuerySet::default();
        for kind in QueryKind::ALL {
            for file in COMPILED_IN.get_dir(kind.folder()).iter().flat_map(|dir| dir.files()) {
                let path = file.path();
                let Some(name) = sql_name(path) else { continue };
                let origin = format!("queries/{}", path.display());
                set.add(kind, Header::split(name, &origin, file.contents_utf8().unwrap_or_default()))?;
            }
        }
        let state = State { set: Arc::new(set), ..State::default() };
        let library = Self { home: home.map(|home| home.join("queries")), state: Arc::new(Mutex::new(state)) };
        library.refresh();
        Ok(library)
    }

    /// The files in force, read anew where they changed.
    #[must_use]
    pub fn current(&self) -> Arc<QuerySet> {
        self.refresh();
        Arc::clone(&self.lock().set)
    }

    /// What is overridden and what was refused.
    #[must_use]
    pub fn status(&self) -> QueryStatus {
        self.refresh();
        self.lock().status.clone()
    }

    /// A detector by name.
    ///
    /// # Errors
    /// When there is none, with the closest name.
    pub fn detector(&self, name: &str) -> Result<Arc<DetectorSpec>, HeaderError> {
        let set = self.current();
        set.detectors.get(name).cloned().ok_or_else(|| unknown("detector", name, set.detectors.keys()))
    }

    /// The folder of the installation's own files; `None` without a home.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Reads the text of a detector that is no file yet.
    ///
    /// # Errors
    /// When its header is wrong, or names another detector.
    pub fn draft_detector(name: &str, text: &str) -> Result<DetectorSpec, HeaderError> {
        let header = Header::split(name, &format!("detectors/{name}.sql"), text);
        DetectorSpec::new(header)
    }

    /// Whether a text that is no file yet is meant to be a detector of runs: its header says nothing that those of windows must say.
    #[must_use]
    pub fn is_run_draft(text: &str) -> bool {
        let header = Header::split("", "", text);
        header.find("when").is_some()
            || !["schedule", "window", "entity", "action"].into_iter().any(|key| header.find(key).is_some())
    }

    /// Reads the text of a detector of runs that is no file yet, or one elsewhere (`origin`).
    ///
    /// # Errors
    /// When its header is wrong, or names another detector.
    pub fn draft_run_detector(name: &str, origin: &str, text: &str) -> Result<RunDetectorSpec, HeaderError> {
        RunDetectorSpec::new(Header::split(name, origin, text))
    }

    /// A template by name, for `tripline sql --file`.
    ///
    /// # Errors
    /// When there is none, with the closest name.
    pub fn find(&self, name: &str) -> Result<Arc<TemplateSpec>, HeaderError> {
        let set = self.current();
        set.templates.get(name).cloned().ok_or_else(|| unknown("template", name, set.templates.keys()))
    }

    /// Reads a query file of any place as a template.
    ///
    /// # Errors
    /// When it cannot be read or its header is wrong. A file without header is one without defaults.
    pub fn read_file(path: &Path) -> Result<TemplateSpec, HeaderError> {
        let origin = path.display().to_string();
        let name = sql_name(path).unwrap_or("query").to_owned();
        let text = std::fs::read_to_string(path).map_err(|error| HeaderError {
            origin: origin.clone(),
            line: 1,
            message: format!("the file cannot be read: {error}"),
            hint: None,
        })?;
        let mut header = Header::split(&name, &origin, &text);
        if header.find("name").is_none() {
            let entry = super::header::Entry { key: "name".to_owned(), value: name, line: 1 };
            header.entries.push(entry);
        }
        TemplateSpec::new(header)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether a file of the home changed, and if so reads all of them.
    fn refresh(&self) {
        let Some(home) = &self.home else { return };
        let stamps = stamps(home);
        let mut state = self.lock();
        if state.stamps == stamps {
            return;
        }
        let previous = Arc::clone(&state.set);
        // Begin with what is compiled in, so that a file that was removed gives way to its default.
        let mut set = match Self::open(None) {
            Ok(library) => library.lock().set.as_ref().clone(),
            Err(_) => QuerySet::default(),
        };
        let mut status = QueryStatus::default();
        for (kind, stamp) in stamps.iter().filter_map(|stamp| Some((kind_of(home, &stamp.path)?, stamp))) {
            let Some(name) = sql_name(&stamp.path) else { continue };
            let origin = stamp.path.display().to_string();
            let read = std::fs::read_to_string(&stamp.path)
                .map_err(|error| HeaderError {
                    origin: origin.clone(),
                    line: 1,
                    message: format!("the file cannot be read: {error}"),
                    hint: None,
                })
                .and_then(|text| set.add(kind, Header::split(name, &origin, &text)));
            match read {
                Ok(()) => status.overridden.push(format!("{}/{name}", kind.folder())),
                Err(error) => {
                    tracing::warn!(%error, "a query file was refused");
                    set.keep(kind, name, &previous);
                    status.errors.push(error.to_string());
                }
            }
        }
        *state = State { set: Arc::new(set), status, stamps };
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> HeaderError {
    let mut known: Vec<(usize, &String)> = known.map(|k| (levenshtein(k, name), k)).collect();
    known.sort();
    let hint = match known.first() {
        Some((distance, closest)) if *distance <= closest.len() / 2 => format!("did you mean '{closest}'?"),
        _ => format!("there are {}", known.iter().map(|(_, k)| k.as_str()).collect::<Vec<_>>().join(", ")),
    };
    HeaderError {
        origin: "queries".to_owned(),
        line: 0,
        message: format!("there is no {what} '{name}'"),
        hint: Some(hint),
    }
}

fn sql_name(path: &Path) -> Option<&str> {
    (path.extension()? == "sql").then(|| path.file_stem()?.to_str()).flatten()
}

fn kind_of(home: &Path, path: &Path) -> Option<QueryKind> {
    let folder = path.parent()?.strip_prefix(home).ok()?.to_str()?;
    QueryKind::ALL.into_iter().find(|kind| kind.folder() == folder)
}

fn stamps(home: &Path) -> Vec<Stamp> {
    let mut stamps: Vec<Stamp> = QueryKind::ALL
        .into_iter()
        .filter_map(|kind| std::fs::read_dir(home.join(kind.folder())).ok())
        .flat_map(|files| files.filter_map(Result::ok))
        .filter(|file| sql_name(&file.path()).is_some())
        .map(|file| {
            let metadata = file.metadata().ok();
            Stamp {
                path: file.path(),
                modified: metadata.as_ref().and_then(|m| m.modified().ok()),
                length: metadata.map_or(0, |m| m.len()),
            }
        })
        .collect();
    stamps.sort();
    stamps
}

impl QuerySet {
    fn add(&mut self, kind: QueryKind, header: Header) -> Result<(), HeaderError> {
        let name = header.name.clone();
        match kind {
            QueryKind::Detector => {
                self.detectors.insert(name, Arc::new(DetectorSpec::new(header)?));
            }
            QueryKind::Evidence => {
                self.evidence.insert(name, Arc::new(EvidenceSpec::new(header)?));
            }
            QueryKind::Baseline => {
                self.baselines.insert(name, Arc::new(BaselineSpec::new(header)?));
            }
            QueryKind::Template | QueryKind::Digest => {
                self.templates.insert(name, Arc::new(TemplateSpec::new(header)?));
            }
            QueryKind::Run => {
                self.runs.insert(name, Arc::new(RunDetectorSpec::new(header)?));
            }
        }
        Ok(())
    }

    /// Keeps the version of a file that was in force before.
    fn keep(&mut self, kind: QueryKind, name: &str, previous: &Self) {
        fn copy<T>(to: &mut BTreeMap<String, Arc<T>>, from: &BTreeMap<String, Arc<T>>, name: &str) {
            if let Some(kept) = from.get(name) {
                to.insert(name.to_owned(), Arc::clone(kept));
            }
        }
        match kind {
            QueryKind::Detector => copy(&mut self.detectors, &previous.detectors, name),
            QueryKind::Evidence => copy(&mut self.evidence, &previous.evidence, name),
            QueryKind::Baseline => copy(&mut self.baselines, &previous.baselines, name),
            QueryKind::Template | QueryKind::Digest => copy(&mut self.templates, &previous.templates, name),
            QueryKind::Run => copy(&mut self.runs, &previous.runs, name),
        }
    }
}
