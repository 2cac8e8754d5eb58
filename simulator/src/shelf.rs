//! Collections of whole JSON objects with a time, for vendors whose lists are small enough to be gone through.
//!
//! Owns: order, the clock's horizon, and splitting off the keys of the data format.
//! Does not own: what a field means. Must hold: an item without a readable time is always visible.

use serde_json::{Map, Value};

use crate::dataset::{Collection, Dataset};
use crate::time::{self, Micros};

/// A vendor object and the underscored keys it came with.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub value: Value,
    pub keys: Map<String, Value>,
    pub at: Option<Micros>,
}

impl Object {
    /// The text at a JSON pointer; numbers and booleans by their digits.
    pub(crate) fn text(&self, pointer: &str) -> Option<String> {
        text(self.value.pointer(pointer)?)
    }

    /// The time at a JSON pointer.
    pub(crate) fn time(&self, pointer: &str) -> Option<Micros> {
        moment(self.value.pointer(pointer)?)
    }
}

/// A scalar as text.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A time as vendors write it: ISO 8601, or milliseconds since 1970 as a number.
pub(crate) fn moment(value: &Value) -> Option<Micros> {
    match value {
        Value::String(text) => time::parse(text),
        Value::Number(number) => number.as_i64()?.checked_mul(1_000),
        _ => None,
    }
}

/// A collection, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    objects: Vec<Object>,
}

impl Shelf {
    /// Takes a collection out of the data; `at` is the pointer of an object's time.
    pub(crate) fn take(dataset: &mut Dataset, collection: Collection, at: &str) -> Self {
        let mut objects: Vec<Object> = dataset
            .take(collection)
            .into_iter()
            .map(|mut item| {
                let keys = match item.split_parents().to_value() {
                    Value::Object(keys) => keys,
                    _ => Map::new(),
                };
                let value = item.to_value();
                Object { at: value.pointer(at).and_then(moment), value, keys }
            })
            .collect();
        objects.sort_by_key(|object| object.at);
        Self { objects }
    }

    /// What is visible, oldest first.
    pub(crate) fn visible(&self, horizon: Option<Micros>) -> impl DoubleEndedIterator<Item = &Object> {
        self.objects.iter().filter(move |object| horizon.is_none_or(|now| object.at.is_none_or(|at| at <= now)))
    }
}

/// The part of `items` from `offset`, at most `limit`.
pub(crate) fn part<T>(items: &[T], offset: usize, limit: usize) -> &[T] {
    let start = offset.min(items.len());
    items.get(start..start.saturating_add(limit).min(items.len())).unwrap_or_default()
}
