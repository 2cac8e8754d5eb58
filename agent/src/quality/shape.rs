//! A feature's schema as it is kept, and whether an output keeps it.
//!
//! Owns: the rule, which is that of `queries/detectors/prompt_drift.sql` (strategy A): an output fails that is blank, that is not
//! JSON of the feature's kind, that lacks a required key, or whose value has a type never seen at that key. A text feature
//! fails only by being blank, and a feature of mixed outputs never.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

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
}

/// What a call said: a JSON string is what is in it, a chat message is its content, anything else is itself.
#[must_use]
pub fn said(output: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Value>(output) {
        Ok(Value::String(text)) => Cow::Owned(text),
        Ok(Value::Object(message)) if message.contains_key("role") => match message.get("content") {
            Some(Value::String(content)) => Cow::Owned(content.clone()),
            _ => Cow::Borrowed(output),
        },
        _ => Cow::Borrowed(output),
    }
}

impl Shape {
    /// Judges what a call said.
    ///
    /// # Errors
    /// What is wrong with it: names of keys and types, never a value.
    pub fn judge(&self, text: &str) -> Result<(), String> {
        if self.kind == "mixed" {
            return Ok(());
        }
        if text.trim().is_empty() {
            return Err("blank".to_owned());
        }
        if self.kind == "text" {
            return Ok(());
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Err("not valid JSON".to_owned()) };
        let found = kind(&value);
        if found != self.kind {
            return Err(format!("structure mismatch: {found} instead of {}", self.kind));
        }
        let Value::Object(fields) = &value else { return Ok(()) };
        let is_there = |key: &str| fields.get(key).is_some_and(|value| !value.is_null());
        let missing: Vec<String> = self
            .keys
            .iter()
            .filter(|(name, key)| key.required && !is_there(name))
            .map(|(name, _)| named(name))
            .collect();
        let other_types: Vec<String> = fields
            .iter()
            .filter(|(_, value)| !value.is_null())
            .filter_map(|(name, value)| {
                let known = self.keys.get(name)?;
                let found = kind(value);
                (!known.types.contains(found)).then(|| format!("{} is {found}", named(name)))
            })
            .collect();
        if missing.is_empty() && other_types.is_empty() {
            return Ok(());
        }
        // Keys that are new say where the missing ones went.
        let extra: Vec<String> =
            fields.keys().filter(|name| !self.keys.contains_key(*name)).map(|name| named(name)).collect();
        let mut problems = Vec::new();
        for (what, names) in [("missing keys", missing), ("other types", other_types), ("extra keys", extra)] {
            if !names.is_empty() {
                let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
                problems.push(format!("{what}: [{shown}]"));
            }
        }
        Err(problems.join("; "))
    }
}

/// A key's name, shortened: a model may write anything there.
fn named(name: &str) -> String {
    let line: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
    line
}

/// The JSON type, in the words of the engine's `json_kind`.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
