//! Histories that nobody has seen: vendor-native JSON of invented companies, one failure each.
//!
//! Owns: what happens (the structure, from one seed) and what things are called (the vocabulary, from another), so that
//! the same story can be told in other words. Does not own: what the simulator makes of it. Must hold: ids, times and
//! amounts come from the structure alone; nothing is shared with the bundled scenarios.

mod story;
mod vendors;
mod words;

use std::path::Path;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::harness::Account;

pub(crate) use story::{Class, Rollout, Story, tell};
pub(crate) use words::Vocabulary;

/// The collections of a data directory: `langfuse/observations` and its rows.
pub(crate) type Collections = Vec<(&'static str, Vec<Value>)>;

/// A history and what is true in it.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) class: Class,
    pub(crate) account: Account,
    /// Its end: the end of a quarter of an hour.
    pub(crate) end: DateTime<Utc>,
    /// The feature, trace or tool that the incident is about.
    pub(crate) entity: String,
    pub(crate) culprit: String,
    pub(crate) collections: Collections,
}

impl History {
    /// Writes the data directory.
    pub(crate) fn write(&self, folder: &Path) {
        for (name, rows) in &self.collections {
            let file = folder.join(format!("{name}.json"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, serde_json::to_vec(rows).unwrap()).unwrap();
        }
    }

    /// Rows of a collection.
    pub(crate) fn rows(&self, name: &str) -> &[Value] {
        self.collections.iter().find(|(known, _)| *known == name).map_or(&[], |(_, rows)| rows)
    }
}
