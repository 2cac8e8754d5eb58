//! Reading evidence for texts.

use serde_json::{Map, Value};

/// The evidence of a signal.
pub(super) struct Evidence<'a>(pub(super) &'a Map<String, Value>);

/// A value as it stands in a text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "unknown".to_owned(),
        other => other.to_string(),
    }
}

impl<'a> Evidence<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    pub(super) fn whole(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    pub(super) fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    pub(super) fn truth(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The texts of a list.
    pub(super) fn list(&self, key: &str) -> Option<Vec<String>> {
        Some(self.get(key)?.as_array()?.iter().map(text).collect())
    }
}

/// A number without digits that say nothing: `3`, `3.5`, `3.06`.
pub(super) fn short(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 { format!("{number:.0}") } else { number.to_string() }
}

/// `1 call`, `3 calls`.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Items joined as in a sentence.
pub(super) fn joined(items: &[String]) -> String {
    match items {
        [] => "none".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
