//! Linear's filters: nested objects that end in comparators.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::time;

/// Whether `value` passes `filter`.
///
/// # Errors
/// When the filter has a comparator that is not one.
pub(super) fn passes(value: &Value, filter: &Value) -> Result<bool, String> {
    let Value::Object(conditions) = filter else { return Ok(true) };
    for (name, condition) in conditions {
        let holds = match name.as_str() {
            "and" => every(value, condition)?,
            "or" => any(value, condition)?,
            "null" => value.is_null() == (condition == &Value::Bool(true)),
            _ if is_comparator(name) => compares(value, name, condition)?,
            _ => {
                let inner = value.get(name).unwrap_or(&Value::Null);
                // What is not there satisfies nothing but a test for being absent.
                (!inner.is_null() || condition.get("null").is_some()) && passes(inner, condition)?
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn every(value: &Value, conditions: &Value) -> Result<bool, String> {
    for condition in conditions.as_array().into_iter().flatten() {
        if !passes(value, condition)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn any(value: &Value, conditions: &Value) -> Result<bool, String> {
    for condition in conditions.as_array().into_iter().flatten() {
        if passes(value, condition)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_comparator(name: &str) -> bool {
    matches!(
        name,
        "eq" | "neq"
            | "in"
            | "nin"
            | "gt"
            | "gte"
            | "lt"
            | "lte"
            | "contains"
            | "containsIgnoreCase"
            | "startsWith"
            | "startsWithIgnoreCase"
            | "endsWith"
            | "eqIgnoreCase"
    )
}

fn compares(value: &Value, name: &str, with: &Value) -> Result<bool, String> {
    let order = |ordering: fn(Ordering) -> bool| compare(value, with).is_some_and(ordering);
    let text =
        |test: fn(&str, &str) -> bool| value.as_str().zip(with.as_str()).is_some_and(|(value, with)| test(value, with));
    let list = || with.as_array().ok_or_else(|| format!("\"{name}\" needs a list"));
    Ok(match name {
        "eq" => same(value, with),
        "neq" => !same(value, with),
        "in" => list()?.iter().any(|one| same(value, one)),
        "nin" => !list()?.iter().any(|one| same(value, one)),
        "gt" => order(Ordering::is_gt),
        "gte" => order(Ordering::is_ge),
        "lt" => order(Ordering::is_lt),
        "lte" => order(Ordering::is_le),
        "contains" => text(|value, with| value.contains(with)),
        "startsWith" => text(|value, with| value.starts_with(with)),
        "endsWith" => text(|value, with| value.ends_with(with)),
        "containsIgnoreCase" => text(|value, with| value.to_lowercase().contains(&with.to_lowercase())),
        "startsWithIgnoreCase" => text(|value, with| value.to_lowercase().starts_with(&with.to_lowercase())),
        "eqIgnoreCase" => text(|value, with| value.eq_ignore_ascii_case(with)),
        other => return Err(format!("Field \"{other}\" is not defined by the comparator")),
    })
}

fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Times as times, numbers as numbers; nothing else has an order.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(time::parse(a)?.cmp(&time::parse(b)?)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// The variables of `object` with defaults where a variable is not given.
pub(super) fn argument<'v>(arguments: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    arguments.get(name).filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_goes_into_objects_and_ends_in_comparators() {
        let issue =
            json!({"team": {"key": "ENG"}, "priority": 2, "updatedAt": "2026-11-20T10:00:00Z", "assignee": null});
        for (filter, expected) in [
            (json!({"team": {"key": {"in": ["ENG"]}}}), true),
            (json!({"team": {"key": {"eq": "OPS"}}}), false),
            (json!({"priority": {"in": [2.0]}}), true),
            (json!({"updatedAt": {"gte": "2026-11-20T11:00:00+01:00", "lt": "2026-11-20T10:00:01Z"}}), true),
            (json!({"assignee": {"email": {"eq": "x"}}}), false),
            (json!({"assignee": {"null": true}}), true),
            (json!({"team": {"key": {"nin": ["OPS"], "startsWithIgnoreCase": "e", "endsWith": "NG"}}}), true),
            (json!({"team": {"key": {"contains": "ng"}}}), false),
            (json!({"team": {"key": {"containsIgnoreCase": "ng"}}}), true),
            (json!({"or": [{"priority": {"eq": 1}}, {"team": {"key": {"eq": "ENG"}}}]}), true),
            (json!({"and": [{"priority": {"eq": 1}}]}), false),
        ] {
            assert_eq!(passes(&issue, &filter), Ok(expected), "{filter}");
        }
        assert!(passes(&issue, &json!({"priority": {"in": 2}})).is_err());
    }
}
