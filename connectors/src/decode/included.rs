//! Answers whose rows refer to objects that stand beside them (JSON:API's compound documents).
//!
//! Owns: putting each row's object into the row, under `included`. Such answers are read as a whole, so this is for
//! vendors whose pages are small.

use std::collections::HashMap;

use serde_json::Value;

use crate::spec::{Included, JsonPath, Segment};

/// The body with each row's object in it; `None` where the body is not JSON or has no rows (reading it says so).
pub(super) fn merge(body: &[u8], rows: &JsonPath, included: &Included) -> Option<Vec<u8>> {
    let mut root: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let objects: HashMap<String, Value> = at(&root, &included.path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|object| Some((text(at(object, &included.key)?)?, object.clone())))
        .collect();
    for row in at_mut(&mut root, rows)?.as_array_mut()? {
        let own = at(row, &included.by).and_then(text).and_then(|key| objects.get(&key).cloned());
        if let (Some(own), Some(row)) = (own, row.as_object_mut()) {
            row.insert("included".to_owned(), own);
        }
    }
    serde_json::to_vec(&root).ok()
}

fn at<'v>(value: &'v Value, path: &JsonPath) -> Option<&'v Value> {
    path.0.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
        Segment::Length => None,
    })
}

fn at_mut<'v>(value: &'v mut Value, path: &JsonPath) -> Option<&'v mut Value> {
    path.0.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Index(index) => value.get_mut(index),
        Segment::Length => None,
    })
}
