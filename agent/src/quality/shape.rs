//! A feature's schema as it is kept, and whether an output keeps it.
//!
//! Owns: the rule, which is that of `queries/detectors/prompt_drift.sql` (strategy A): an output fails that is blank, that is not
//! JSON of the feature's kind, that lacks a required key, whose value has a type never seen at that key, or whose text has
//! another format than all healthy texts at that key had. A text feature fails only by being blank, and a feature of mixed
//! outputs never.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use tripline_connectors::ContentShape;

/// Names of keys that are listed of each sort at most.
const LISTED: usize = 8;

/// A kept schema.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Shape {
    /// `object`, `array`, `text` or `mixed`.
    pub kind: String,
    /// The keys of an object.
    #[serde(default)]
    pub keys: BTreeMap<String, Key>,
}

/// A key of an object.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Key {
    /// Whether healthy outputs always have it.
    pub required: bool,
    /// JSON types seen there.
    #[serde(default)]
    pub types: BTreeSet<String>,
    /// The format that all texts there had, where they agreed (`date-time`, `email` …).
    #[serde(default)]
    pub format: Option<String>,
}

impl Shape {
    /// Judges what a call said, by its shape.
    ///
    /// # Errors
    /// What is wrong with it: names of keys and types, never a value.
    pub fn judge(&self, output: &ContentShape) -> Result<(), String> {
        if self.kind == "mixed" {
            return Ok(());
        }
        if output.said == "blank" {
            return Err("blank".to_owned());
        }
        if self.kind == "text" {
            return Ok(());
        }
        if output.said == "text" {
            return Err("not valid JSON".to_owned());
        }
        if output.said != self.kind {
            return Err(format!("structure mismatch: {} instead of {}", output.said, self.kind));
        }
        // Of an array, and of an object with hundreds of keys, they are not known.
        let Some(fields) = &output.keys else { return Ok(()) };
        let is_there = |key: &str| fields.get(key).is_some_and(|kind| kind != "null");
        let missing: Vec<String> = self
            .keys
            .iter()
            .filter(|(name, key)| key.required && !is_there(name))
            .map(|(name, _)| named(name))
            .collect();
        let other_types: Vec<String> = fields
            .iter()
            .filter(|(_, kind)| *kind != "null")
            .filter_map(|(name, found)| {
                let known = self.keys.get(name)?;
                (!known.types.contains(&**found)).then(|| format!("{} is {found}", named(name)))
            })
            .collect();
        // A shape that was made before formats has none: then they are not judged.
        let other_formats: Vec<String> = output
            .formats
            .iter()
            .filter_map(|(name, found)| {
                let format = self.keys.get(name)?.format.as_deref()?;
                (!fits(found, format)).then(|| format!("{} is no {format}", named(name)))
            })
            .collect();
        if missing.is_empty() && other_types.is_empty() && other_formats.is_empty() {
            return Ok(());
        }
        // Keys that are new say where the missing ones went.
        let extra: Vec<String> =
            fields.keys().filter(|name| !self.keys.contains_key(*name)).map(|name| named(name)).collect();
        let mut problems = Vec::new();
        for (what, names) in [
            ("missing keys", missing),
            ("other types", other_types),
            ("other formats", other_formats),
            ("extra keys", extra),
        ] {
            if !names.is_empty() {
                let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
                problems.push(format!("{what}: [{shown}]"));
            }
        }
        Err(problems.join("; "))
    }
}

/// Whether a text of one format may stand where all had another: an integer is a number.
fn fits(found: &str, known: &str) -> bool {
    found == known || (known == "number" && found == "integer")
}

/// A key's name, shortened: a model may write anything there.
fn named(name: &str) -> String {
    let line: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    line
}
