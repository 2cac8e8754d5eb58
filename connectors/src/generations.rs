//! Which generation of an API each server has.
//!
//! Owns: remembering, for a day, in memory and in a file, that a server lacks an endpoint. Does not own: finding out;
//! the first real request does that, so that a modern server never costs an extra one.
//!
//! Must hold: an absence is remembered only once another generation has answered (a wrong base URL answers 404 to
//! everything); the file holds no secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::spec::{Endpoint, Part, TableSpec};

/// How long an absence is believed.
const BELIEVED: TimeDelta = TimeDelta::hours(24);

/// Absent endpoints: server → path → since when it is known.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Absences(BTreeMap<String, BTreeMap<String, DateTime<Utc>>>);

/// The memory of all sources.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    file: Option<PathBuf>,
    absences: Mutex<Absences>,
}

impl Generations {
    /// Reads what an earlier process found out; a missing or unreadable file is no memory.
    pub(crate) fn load(cache_dir: Option<&Path>) -> Self {
        let file = cache_dir.map(|dir| dir.join("probes.json"));
        let absences = file
            .as_ref()
            .and_then(|file| std::fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self { file, absences: Mutex::new(absences) }
    }

    /// The first of `table`'s endpoints that the server is not known to lack.
    pub(crate) fn first(&self, base: &Url, table: &TableSpec, now: DateTime<Utc>) -> usize {
        let absences = self.absences.lock().unwrap_or_else(PoisonError::into_inner);
        let known = absences.0.get(&server(base));
        let absent = |endpoint: &Endpoint| {
            known
                .and_then(|paths| paths.get(&path(endpoint)))
                .is_some_and(|since| now - *since < BELIEVED && *since <= now)
        };
        // With every endpoint absent the memory is wrong; start over.
        table.endpoints.iter().position(|endpoint| !absent(endpoint)).unwrap_or(0)
    }

    /// Remembers that the server lacks the first `count` endpoints of `table`, and has the next.
    pub(crate) fn learn(&self, base: &Url, table: &TableSpec, count: usize, now: DateTime<Utc>) {
        self.change(|absences| {
            let paths = absences.0.entry(server(base)).or_default();
            for endpoint in table.endpoints.iter().take(count) {
                paths.insert(path(endpoint), now);
            }
        });
    }

    /// Forgets everything about `table`'s endpoints.
    pub(crate) fn forget(&self, base: &Url, table: &TableSpec) {
        self.change(|absences| {
            if let Some(paths) = absences.0.get_mut(&server(base)) {
                for endpoint in &table.endpoints {
                    paths.remove(&path(endpoint));
                }
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Absences)) {
        let changed = {
            let mut absences = self.absences.lock().unwrap_or_else(PoisonError::into_inner);
            let before = absences.clone();
            change(&mut absences);
            (*absences != before).then(|| absences.clone())
        };
        if let (Some(absences), Some(file)) = (changed, &self.file)
            && let Err(error) = save(file, &absences)
        {
            // Only costs a probe next time.
            tracing::warn!(file = %file.display(), %error, "could not remember which API generation the server has");
        }
    }
}

/// Writes beside the file and renames, so that a reader never sees half of it.
fn save(file: &Path, absences: &Absences) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let beside = file.with_extension(format!("json.{}", std::process::id()));
    std::fs::write(&beside, serde_json::to_vec_pretty(absences)?)?;
    std::fs::rename(&beside, file)
}

/// The server without user info.
fn server(base: &Url) -> String {
    format!("{}{}", base.origin().ascii_serialization(), base.path().trim_end_matches('/'))
}

fn path(endpoint: &Endpoint) -> String {
    let parts = endpoint.path.0.iter().map(|part| match part {
        Part::Literal(text) => text.as_str(),
        Part::Slot(_) => "*",
    });
    parts.collect()
}
