//! Declared rules: a run detector without SQL.
//!
//! ```text
//! -- name: chatty
//! -- severity: medium
//! -- when: tool_calls >= 20
//! -- when: status = completed
//! ```
//! Every `when` compares a column of `ingest.runs` with a value; all of them must hold. The rule stands for a query
//! with its values bound.

use arrow::datatypes::DataType;
use tripline_engine::{Param, Params};
use tripline_store::ingest::runs::RunTable;

use crate::queries::header::{Header, HeaderError};

const OPERATORS: [&str; 6] = [">=", "<=", "<>", "=", ">", "<"];

struct Condition {
    column: String,
    operator: &'static str,
    value: Param,
}

/// What a run must be like.
pub(super) struct Rule {
    conditions: Vec<Condition>,
}

impl Rule {
    /// The rule of a file; `None` when it has none.
    pub(super) fn read(header: &Header) -> Result<Option<Self>, HeaderError> {
        let conditions = header.all("when").map(|entry| condition(header, &entry.value, entry.line));
        let conditions = conditions.collect::<Result<Vec<_>, _>>()?;
        if conditions.is_empty() {
            return Ok(None);
        }
        let has_sql = header.sql.lines().any(|line| !line.trim().is_empty() && !line.trim().starts_with("--"));
        if has_sql {
            let line = header.find("when").map_or(1, |entry| entry.line);
            let message = "a file has either conditions or a query, not both";
            return Err(header.error(line, message, Some("write the condition into the query's WHERE".to_owned())));
        }
        Ok(Some(Self { conditions }))
    }

    /// The file with the query that the rule stands for.
    pub(super) fn into_query(self, header: Header, values: &mut Params) -> Header {
        let columns: Vec<&str> = self.conditions.iter().map(|condition| condition.column.as_str()).collect();
        let mut evidence = columns.clone();
        evidence.sort_unstable();
        evidence.dedup();
        let conditions: Vec<String> = self
            .conditions
            .iter()
            .enumerate()
            .map(|(index, condition)| format!("{} {} $when_{}", condition.column, condition.operator, index + 1))
            .collect();
        for (index, condition) in self.conditions.iter().enumerate() {
            values.insert(format!("when_{}", index + 1), condition.value.clone());
        }
        let query = format!(
            "SELECT run_id, step_count AS at_step, {} FROM ingest.runs WHERE {}",
            evidence.join(", "),
            conditions.join(" AND ")
        );
        Header::split(&header.name, &header.origin, &format!("{}\n{query}\n", header.sql.trim_end()))
    }
}

fn condition(header: &Header, text: &str, line: usize) -> Result<Condition, HeaderError> {
    let wrong = |message: String, hint: String| header.error(line, message, Some(hint));
    let found = text.char_indices().find_map(|(at, _)| {
        let rest = text.get(at..)?;
        OPERATORS.iter().find(|operator| rest.starts_with(**operator)).map(|operator| (at, *operator))
    });
    let Some((at, operator)) = found else {
        return Err(wrong(format!("'{text}' compares nothing"), "write -- when: tool_calls >= 20".to_owned()));
    };
    let column = text.get(..at).unwrap_or_default().trim();
    let value = text.get(at + operator.len()..).unwrap_or_default().trim().trim_matches('\'');
    let schema = RunTable::Runs.schema();
    let Ok(field) = schema.field_with_name(column) else {
        let known: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(wrong(format!("ingest.runs has no column '{column}'"), format!("it has {}", known.join(", "))));
    };
    let value = match field.data_type() {
        DataType::Int64 => value.parse::<i64>().ok().map(Param::Int).or_else(|| {
            value.parse::<f64>().ok().filter(|number| number.is_finite()).map(Param::Float)
        }),
        DataType::Utf8 if !value.is_empty() => Some(Param::Text(value.to_owned())),
        _ => None,
    };
    let Some(value) = value else {
        let message = format!("'{text}': {column} cannot be compared with that");
        let hint = match field.data_type() {
            DataType::Int64 => "give a number",
            DataType::Utf8 => "give a text",
            _ => "compare a number or a text; for times write a query",
        };
        return Err(wrong(message, hint.to_owned()));
    };
    Ok(Condition { column: column.to_owned(), operator, value })
}

#[cfg(test)]
mod tests {
    use super::super::RunDetectorSpec;
    use super::*;

    fn spec(text: &str) -> Result<RunDetectorSpec, String> {
        RunDetectorSpec::new(Header::split("chatty", "chatty.sql", text)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_declared_rule_stands_for_a_query_with_bound_values() {
        let text = "-- name: chatty\n-- severity: medium\n-- confidence: 0.8\n-- when: tool_calls >= 20\n-- when: exit_reason = it's\n";
        let spec = spec(text).unwrap();
        assert!(spec.header.sql.ends_with(
            "SELECT run_id, step_count AS at_step, exit_reason, tool_calls FROM ingest.runs \
             WHERE tool_calls >= $when_1 AND exit_reason = $when_2\n"
        ));
        assert_eq!(spec.values["when_1"], Param::Int(20));
        assert_eq!(spec.values["when_2"], Param::Text("it's".to_owned()));
        assert_eq!((spec.kind.as_str(), spec.confidence, spec.is_own()), ("CHATTY", 0.8, true));
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused_with_its_line() {
        let head = "-- name: chatty\n-- severity: high\n";
        for (when, part) in [
            ("-- when: tool_calls\n", "chatty.sql:3: 'tool_calls' compares nothing"),
            ("-- when: tols > 3\n", "ingest.runs has no column 'tols'"),
            ("-- when: tool_calls > many\n", "give a number"),
            ("-- when: started_at > 2026-01-01\n", "for times write a query"),
            ("-- when: tool_calls > 3\nSELECT 1\n", "either conditions or a query"),
        ] {
            let error = spec(&format!("{head}{when}")).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(spec("-- name: chatty\n-- when: tool_calls > 3\n").unwrap_err().contains("lacks 'severity'"));
    }
}
