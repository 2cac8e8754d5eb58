//! Langfuse's structured filters (`filter=[{type, column, operator, value, key}]`).
//!
//! Owns: reading them into typed conditions and judging values by them; plain query parameters become
//! the same conditions. Does not own: what a column is of an object (`columns`).
//! Must hold: an unknown column or an operator foreign to its type is a 400, never ignored.

use std::borrow::Cow;

use serde_json::Value;

use super::columns::Cell;
use crate::compare::Compare;
use crate::time::{self, Micros};

/// One condition on one column.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(super) column: Cow<'static, str>,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Text(TextOp, String),
    Options { any: bool, values: Vec<String> },
    List(ListOp, Vec<String>),
    Number(Compare, f64),
    Time(Compare, Micros),
    Bool(bool),
    Null(bool),
    Keyed(String, Box<Test>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextOp {
    Equals,
    Contains,
    Lacks,
    Starts,
    Ends,
    Matches,
}

#[derive(Debug, Clone, Copy)]
enum ListOp {
    Any,
    None,
    All,
}

impl TextOp {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => TextOp::Equals,
            "contains" => TextOp::Contains,
            "does not contain" => TextOp::Lacks,
            "starts with" => TextOp::Starts,
            "ends with" => TextOp::Ends,
            "matches" => TextOp::Matches,
            _ => return None,
        })
    }

    fn holds(self, text: &str, value: &str) -> bool {
        match self {
            TextOp::Equals => text == value,
            TextOp::Contains => text.contains(value),
            TextOp::Lacks => !text.contains(value),
            TextOp::Starts => text.starts_with(value),
            TextOp::Ends => text.ends_with(value),
            TextOp::Matches => text.to_lowercase().contains(&value.to_lowercase()),
        }
    }
}

impl Condition {
    /// Whether the value of its column fits.
    pub(crate) fn accepts(&self, cell: &Cell<'_>) -> bool {
        judge(&self.test, cell)
    }

    /// `column = value`.
    pub(crate) fn equals(column: &'static str, value: &str) -> Self {
        Self { column: column.into(), test: Test::Text(TextOp::Equals, value.to_owned()) }
    }

    /// `column` is one of `values`.
    pub(crate) fn any_of(column: &'static str, values: Vec<String>) -> Self {
        Self { column: column.into(), test: Test::Options { any: true, values } }
    }

    /// The list `column` holds all of `values`.
    pub(crate) fn all_of(column: &'static str, values: Vec<String>) -> Self {
        Self { column: column.into(), test: Test::List(ListOp::All, values) }
    }

    /// `column = value` for a boolean column.
    pub(crate) fn boolean(column: &'static str, value: bool) -> Self {
        Self { column: column.into(), test: Test::Bool(value) }
    }

    /// `column >= at` or `column < at`.
    pub(crate) fn time(column: &'static str, operator: &'static str, at: Micros) -> Self {
        let compare = Compare::parse(operator).unwrap_or(Compare::GreaterOrEqual);
        Self { column: column.into(), test: Test::Time(compare, at) }
    }
}

/// A half-open window of time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    pub from: Option<Micros>,
    pub to: Option<Micros>,
}

/// The window that conditions on a time column imply.
pub(crate) fn time_window(conditions: &[Condition], column: &str) -> Window {
    let mut window = Window::default();
    let mut from = |at: Micros| window.from = Some(window.from.map_or(at, |old| old.max(at)));
    let mut to = None;
    for condition in conditions.iter().filter(|c| c.column == column) {
        let Test::Time(compare, at) = condition.test else {
            continue;
        };
        let next = at.saturating_add(1);
        match compare {
            Compare::GreaterOrEqual => from(at),
            Compare::Greater => from(next),
            Compare::Less => to = Some(to.map_or(at, |old: Micros| old.min(at))),
            Compare::LessOrEqual => to = Some(to.map_or(next, |old: Micros| old.min(next))),
            Compare::Equal => {
                from(at);
                to = Some(to.map_or(next, |old: Micros| old.min(next)));
            }
        }
    }
    window.to = to;
    window
}

const OBSERVATION_COLUMNS: [&str; 35] = [
    "id",
    "type",
    "name",
    "traceId",
    "startTime",
    "endTime",
    "environment",
    "level",
    "statusMessage",
    "version",
    "userId",
    "sessionId",
    "isRootObservation",
    "traceName",
    "traceTags",
    "tags",
    "traceEnvironment",
    "latency",
    "timeToFirstToken",
    "tokensPerSecond",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "tokens",
    "inputCost",
    "outputCost",
    "totalCost",
    "model",
    "providedModelName",
    "promptName",
    "promptVersion",
    "input",
    "output",
    "metadata",
    "parentObservationId",
];

const TRACE_COLUMNS: [&str; 26] = [
    "id",
    "name",
    "timestamp",
    "userId",
    "sessionId",
    "environment",
    "version",
    "release",
    "tags",
    "bookmarked",
    "metadata",
    "latency",
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "tokens",
    "inputCost",
    "outputCost",
    "totalCost",
    "level",
    "warningCount",
    "errorCount",
    "defaultCount",
    "debugCount",
    "input",
    "output",
];

/// Reads a filter for observations. `indexed` adds v2's rule that input and output need an indexed
/// condition.
pub(crate) fn parse(text: &str, indexed: bool) -> Result<Vec<Condition>, String> {
    let conditions = parse_with(text, &OBSERVATION_COLUMNS)?;
    let on_io = |c: &&Condition| c.column == "input" || c.column == "output";
    let is_indexed = |c: &Condition| matches!(c.test, Test::Text(TextOp::Equals | TextOp::Matches, _));
    let mut io = conditions.iter().filter(on_io).peekable();
    if indexed && io.peek().is_some() && !io.any(is_indexed) {
        return Err("Filters on input or output must include at least one `=` or `matches` filter".to_owned());
    }
    Ok(conditions)
}

/// Reads a filter for traces.
pub(crate) fn parse_trace(text: &str) -> Result<Vec<Condition>, String> {
    parse_with(text, &TRACE_COLUMNS)
}

fn parse_with(text: &str, columns: &[&str]) -> Result<Vec<Condition>, String> {
    let parsed: Value = serde_json::from_str(text).map_err(|_| "Invalid JSON in filter parameter".to_owned())?;
    let list = parsed.as_array().ok_or("Invalid filter format: expected an array of conditions")?;
    list.iter().map(|entry| condition(entry, columns)).collect()
}

fn condition(entry: &Value, columns: &[&str]) -> Result<Condition, String> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str);
    let kind = field("type").ok_or("Invalid filter: type is required")?;
    let column = field("column").ok_or("Invalid filter: column is required")?;
    let operator = field("operator").ok_or("Invalid filter: operator is required")?;
    if !columns.contains(&column) {
        return Err(format!("Invalid filter column: {column}"));
    }
    let value = entry.get("value").unwrap_or(&Value::Null);
    let wrong = || format!("Invalid filter: operator {operator:?} or value does not fit type {kind:?}");
    let texts = || -> Option<Vec<String>> { value.as_array()?.iter().map(|v| v.as_str().map(str::to_owned)).collect() };
    let text_test = || Some(Test::Text(TextOp::parse(operator)?, value.as_str()?.to_owned()));
    let number_test = || Some(Test::Number(Compare::parse(operator)?, value.as_f64()?));
    let options_test = || {
        let any = match operator {
            "any of" => true,
            "none of" => false,
            _ => return None,
        };
        Some(Test::Options { any, values: texts()? })
    };
    let keyed = |test: Option<Test>| Some(Test::Keyed(field("key")?.to_owned(), Box::new(test?)));
    let test = match kind {
        "string" => text_test(),
        "number" => number_test(),
        "stringOptions" => options_test(),
        "categoryOptions" if entry.get("key").is_some() => keyed(options_test()),
        "categoryOptions" => options_test(),
        "arrayOptions" => (|| {
            let op = match operator {
                "any of" => ListOp::Any,
                "none of" => ListOp::None,
                "all of" => ListOp::All,
                _ => return None,
            };
            Some(Test::List(op, texts()?))
        })(),
        "stringObject" => keyed(text_test()),
        "numberObject" => keyed(number_test()),
        "boolean" => value.as_bool().and_then(|value| match operator {
            "=" => Some(Test::Bool(value)),
            "<>" => Some(Test::Bool(!value)),
            _ => None,
        }),
        "null" => match operator {
            "is null" => Some(Test::Null(true)),
            "is not null" => Some(Test::Null(false)),
            _ => None,
        },
        "datetime" => {
            value.as_str().and_then(time::parse).and_then(|at| Some(Test::Time(Compare::parse(operator)?, at)))
        }
        other => return Err(format!("Invalid filter type: {other}")),
    };
    Ok(Condition { column: column.to_owned().into(), test: test.ok_or_else(wrong)? })
}

fn judge(test: &Test, cell: &Cell<'_>) -> bool {
    match (test, cell) {
        (Test::Text(op, value), Cell::Text(text)) => op.holds(text, value),
        (Test::Options { any, values }, Cell::Text(text)) => values.iter().any(|value| *value == **text) == *any,
        (Test::List(op, values), Cell::List(list)) => {
            let has = |value: &String| list.contains(value);
            match op {
                ListOp::Any => values.iter().any(has),
                ListOp::None => !values.iter().any(has),
                ListOp::All => values.iter().all(has),
            }
        }
        (Test::Options { any, values }, Cell::List(list)) => values.iter().any(|value| list.contains(value)) == *any,
        (Test::Number(compare, value), Cell::Number(Some(number))) => compare.holds(*number, *value),
        (Test::Time(compare, value), Cell::Time(Some(at))) => compare.holds(*at, *value),
        (Test::Bool(value), Cell::Bool(cell)) => value == cell,
        (Test::Null(wanted), cell) => {
            let is_null = match cell {
                Cell::Text(text) => text.is_empty(),
                Cell::Number(number) => number.is_none(),
                Cell::Time(at) => at.is_none(),
                Cell::Bool(_) => false,
                Cell::List(list) => list.is_empty(),
                Cell::Object(value) => value.is_null(),
            };
            is_null == *wanted
        }
        (Test::Keyed(key, test), Cell::Object(object)) => {
            let inner = match object.get(key) {
                None | Some(Value::Null) => {
                    return matches!(**test, Test::Options { any: false, .. });
                }
                Some(Value::String(text)) => Cell::Text(Cow::Borrowed(text)),
                Some(Value::Number(number)) => match **test {
                    Test::Number(..) => Cell::Number(number.as_f64()),
                    _ => Cell::Text(number.to_string().into()),
                },
                Some(other) => Cell::Text(other.to_string().into()),
            };
            judge(test, &inner)
        }
        _ => false,
    }
}
