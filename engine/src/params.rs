//! Values for `$name` placeholders.
//!
//! Owns: turning a caller's values (text from a command line, JSON from a request, typed values from the agent) into
//! bound constants of the type the query expects. Values are bound into the plan, never spliced into text.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::{DataType, Field, TimeUnit};
use chrono::{DateTime, Utc};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::LogicalPlan;

use crate::error::EngineError;

/// A value for a placeholder.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    /// Text; parsed as the type the placeholder has in the query (a number, a timestamp …).
    Text(String),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// An instant.
    Timestamp(DateTime<Utc>),
    /// A list of text, for `= ANY($name)`.
    TextList(Vec<String>),
    /// NULL.
    Null,
}

/// Values by placeholder name, without the `$`.
pub type Params = BTreeMap<String, Param>;

impl From<&str> for Param {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Param {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl From<i64> for Param {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl From<f64> for Param {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}
impl From<DateTime<Utc>> for Param {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Timestamp(value)
    }
}

impl TryFrom<&serde_json::Value> for Param {
    type Error = String;

    /// Scalars and arrays of text; objects have no SQL type.
    fn try_from(value: &serde_json::Value) -> Result<Self, String> {
        use serde_json::Value;
        match value {
            Value::Null => Ok(Self::Null),
            Value::Bool(b) => Ok(Self::Bool(*b)),
            Value::String(s) => Ok(Self::Text(s.clone())),
            Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(i), _) => Ok(Self::Int(i)),
                (None, Some(f)) => Ok(Self::Float(f)),
                (None, None) => Err(format!("{n} is out of range")),
            },
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| "a list may hold text only".to_owned()))
                .collect::<Result<Vec<_>, _>>()
                .map(Self::TextList),
            Value::Object(_) => Err("an object cannot be a parameter".to_owned()),
        }
    }
}

impl From<&Param> for serde_json::Value {
    fn from(param: &Param) -> Self {
        match param {
            Param::Text(s) => s.clone().into(),
            Param::Int(i) => (*i).into(),
            Param::Float(f) => serde_json::Number::from_f64(*f).map_or(Self::Null, Self::Number),
            Param::Bool(b) => (*b).into(),
            Param::Timestamp(t) => t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true).into(),
            Param::TextList(items) => items.clone().into(),
            Param::Null => Self::Null,
        }
    }
}

impl Param {
    fn scalar(&self, name: &str, wanted: Option<&DataType>) -> Result<ScalarValue, EngineError> {
        Ok(match self {
            Self::Text(text) => match wanted {
                None | Some(DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null) => {
                    ScalarValue::Utf8(Some(text.clone()))
                }
                Some(DataType::List(_)) => text_list(std::slice::from_ref(text)),
                Some(wanted) => ScalarValue::try_from_string(text.clone(), wanted).map_err(|_| {
                    EngineError::query(
                        format!("parameter ${name}: '{text}' is not a {}", type_name(wanted)),
                        format!("pass a {} value", type_name(wanted)),
                    )
                })?,
            },
            Self::Int(i) => ScalarValue::Int64(Some(*i)),
            Self::Float(f) => ScalarValue::Float64(Some(*f)),
            Self::Bool(b) => ScalarValue::Boolean(Some(*b)),
            Self::Timestamp(t) => ScalarValue::TimestampMicrosecond(Some(t.timestamp_micros()), Some("UTC".into())),
            Self::TextList(items) => text_list(items),
            Self::Null => ScalarValue::Null,
        })
    }
}

fn text_list(items: &[String]) -> ScalarValue {
    let values: Vec<ScalarValue> = items.iter().map(|s| ScalarValue::Utf8(Some(s.clone()))).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Utf8))
}

fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(_, _) => "timestamp (2026-01-31T12:00:00Z)".to_owned(),
        t if t.is_integer() => "whole number".to_owned(),
        t if t.is_floating() => "number".to_owned(),
        DataType::Boolean => "boolean (true or false)".to_owned(),
        other => other.to_string(),
    }
}

/// Binds `params` into `plan`. Every placeholder needs a value and every value a placeholder, so that a misspelt name
/// is noticed on either side.
///
/// # Errors
/// [`EngineError::Query`] naming the placeholder or value that has no counterpart, or whose text does not parse.
pub fn bind(plan: LogicalPlan, params: &Params) -> Result<LogicalPlan, EngineError> {
    let types: HashMap<String, Option<DataType>> = plan.get_parameter_types().map_err(EngineError::from)?;
    if let Some(position) = types.keys().find_map(|key| key.strip_prefix('$').filter(|n| n.parse::<usize>().is_ok())) {
        return Err(EngineError::query(
            format!("positional parameter ${position}"),
            "use named parameters: $start, $owner …",
        ));
    }
    let expected: BTreeMap<&str, Option<&DataType>> =
        types.iter().map(|(key, ty)| (key.trim_start_matches('$'), ty.as_ref())).collect();
    if let Some(missing) = expected.keys().find(|name| !params.contains_key(**name)) {
        return Err(EngineError::query(
            format!("parameter ${missing} has no value"),
            format!("pass it: --param {missing}=…, or \"params\": {{\"{missing}\": …}} over HTTP"),
        ));
    }
    if let Some(surplus) = params.keys().find(|name| !expected.contains_key(name.as_str())) {
        let names: Vec<String> = expected.keys().map(|n| format!("${n}")).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        return Err(EngineError::query(
            format!("the query has no placeholder ${surplus}"),
            format!("its placeholders: {known}"),
        ));
    }
    if expected.is_empty() {
        return Ok(plan);
    }
    let mut values: Vec<(String, ScalarValue)> = Vec::with_capacity(params.len());
    for (name, param) in params {
        let wanted = expected.get(name.as_str()).copied().flatten();
        values.push((name.clone(), param.scalar(name, wanted)?));
    }
    plan.with_param_values(values).map_err(EngineError::from)
}

/// The Arrow type of every timestamp column in Tripline.
#[must_use]
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// A nullable timestamp field.
#[must_use]
pub fn timestamp_field(name: &str) -> Field {
    Field::new(name, timestamp_type(), true)
}

/// A length of time as people write it: a number and `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let millis = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => {
            return Err(format!(
                "'{text}' is no length of time: write a number and a unit, such as 90s, 5m, 12h or 7d"
            ));
        }
    };
    let number: u64 = number.parse().map_err(|_| format!("'{text}' must begin with a number"))?;
    number.checked_mul(millis).map(std::time::Duration::from_millis).ok_or_else(|| format!("'{text}' is too long"))
}

#[cfg(test)]
mod duration_tests {
    use std::time::Duration;

    use super::parse_duration;

    #[test]
    fn lengths_of_time_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("12h", 43_200), ("7d", 604_800), (" 0s ", 0)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "5", "m", "-1s", "1.5h", "1w", "99999999999999999999d", "18446744073709551615d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
