//! Attributes: names and values, looked up by the several names that conventions give the same thing.

use serde_json::{Map, Value};

/// Attributes of a span, an event, a record or a resource.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attributes(Map<String, Value>);

impl Attributes {
    /// Attributes of these names and values.
    #[must_use]
    pub fn of(values: Map<String, Value>) -> Self {
        Self(values)
    }

    pub(super) fn insert(&mut self, name: String, value: Value) {
        if !value.is_null() {
            self.0.insert(name, value);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether there is an attribute whose name begins so.
    pub(super) fn has_prefix(&self, prefixes: &[&str]) -> bool {
        self.0.keys().any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The first of these that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| self.0.get(*name))
    }

    /// The first of these that is a text and not empty.
    pub(super) fn text(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.0.get(*name)?.as_str().filter(|text| !text.is_empty()))
    }

    /// The first of these that is a number, or a text that is one. Not negative: it counts something.
    pub(super) fn count(&self, names: &[&str]) -> Option<u64> {
        names.iter().find_map(|name| as_count(self.0.get(*name)?))
    }

    /// The first of these that is a finite number, or a text that is one.
    pub(super) fn number(&self, names: &[&str]) -> Option<f64> {
        names.iter().find_map(|name| as_number(self.0.get(*name)?))
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The values of flattened lists: of `prefix.0.suffix`, `prefix.1.suffix` … in order.
    pub(super) fn list(&self, prefix: &str, suffix: &str) -> Vec<&Value> {
        let mut found: Vec<(usize, &Value)> = self
            .0
            .iter()
            .filter_map(|(name, value)| {
                let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
                let number = rest.strip_suffix(suffix)?.strip_suffix('.')?;
                Some((number.parse().ok()?, value))
            })
            .collect();
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// How many entries a flattened list has: the distinct numbers after `prefix.`.
    pub(super) fn list_length(&self, prefix: &str) -> usize {
        let numbers = self.0.keys().filter_map(|name| {
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        numbers.collect::<std::collections::BTreeSet<_>>().len()
    }
}

pub(super) fn as_count(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => {
            // A token count may come as 12.0.
            let whole = || number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n)).map(|n| n as u64);
            number.as_u64().or_else(whole)
        }
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}
