//! What a spec says of a request's body: a JSON value with placeholders, and a GraphQL query.
//!
//! Owns: [`BodyTemplate`], [`Graphql`], [`JsonKind`] and their readers. Does not own: filling them in (`plan::body`).
//!
//! Must hold: no placeholder stands in the text of a query but the one that the selected fields replace; every other
//! value is a JSON value of its own, so that no value can change what a body means.

use std::collections::BTreeSet;

use graphql_parser::query::{Definition, OperationDefinition, parse_query};
use serde_json::Value as Json;

use super::node::{Node, Problems, Value};
use super::path::{JsonPath, Segment};
use super::source::{Input, Slot, template};
use super::template::Template;

/// A JSON value with placeholders.
#[derive(Debug, Clone, PartialEq)]
pub enum BodyTemplate {
    /// A value as it stands.
    Value(Json),
    /// A text with placeholders. Where it is one column's placeholder alone, the value has that column's type.
    Text(Template<Slot>),
    /// An array.
    List(Vec<BodyTemplate>),
    /// An object.
    Map(Vec<(String, BodyTemplate)>),
}

impl BodyTemplate {
    /// Its placeholders.
    #[must_use]
    pub fn slots(&self) -> Vec<&Slot> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Text(template) => template.slots().collect(),
            Self::List(items) => items.iter().flat_map(Self::slots).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(_, value)| value.slots()).collect(),
        }
    }
}

/// The JSON type of a parameter that goes into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// A string.
    Text,
    /// A number; text that is none stays a string.
    Number,
    /// A boolean; text that is none stays a string.
    Bool,
    /// The text is JSON already (a filter language's conditions).
    Json,
}

/// A GraphQL query whose fields follow from the columns a scan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graphql {
    /// The query up to the fields.
    pub before: String,
    /// The rest of the query.
    pub after: String,
}

/// The placeholder that the selected fields replace.
const FIELDS: &str = "{{fields}}";

/// Reads a body.
pub(crate) fn read_body(node: &Node, inputs: &[Input], keys: &[&str], problems: &mut Problems) -> Option<BodyTemplate> {
    Some(match &node.value {
        Value::Null => BodyTemplate::Value(Json::Null),
        Value::Bool(b) => BodyTemplate::Value(Json::from(*b)),
        Value::Int(n) => BodyTemplate::Value(Json::from(*n)),
        Value::Float(n) => BodyTemplate::Value(Json::from(*n)),
        Value::Text(text) if !text.contains("{{") => BodyTemplate::Value(Json::from(text.clone())),
        Value::Text(_) => BodyTemplate::Text(template(node, "`body`", inputs, keys, problems)?),
        Value::List(items) => BodyTemplate::List(
            items.iter().map(|item| read_body(item, inputs, keys, problems)).collect::<Option<Vec<_>>>()?,
        ),
        Value::Map(entries) => BodyTemplate::Map(
            entries
                .iter()
                .map(|(key, node)| Some((key.name.clone(), read_body(node, inputs, keys, problems)?)))
                .collect::<Option<Vec<_>>>()?,
        ),
    })
}

/// Reads a query. `params` are the parameters the endpoint may send; those below `/variables` must be declared.
pub(crate) fn read_graphql(node: &Node, params: &[String], problems: &mut Problems) -> Option<Graphql> {
    let text = node.text("`graphql`", problems)?;
    let Some((before, after)) = text.split_once(FIELDS).filter(|(_, after)| !after.contains(FIELDS)) else {
        problems.add(node.at, format!("`graphql` needs the placeholder `{FIELDS}` once, where the rows' fields go"));
        return None;
    };
    let declared = match parse_query::<String>(&text.replace(FIELDS, "__typename")) {
        Ok(document) => document.definitions.iter().map(variables).collect::<Vec<_>>(),
        Err(error) => {
            let detail = error.to_string();
            let detail: Vec<&str> = detail.split_whitespace().collect();
            problems.add(node.at, format!("`graphql` is no GraphQL query: {}", detail.join(" ")));
            return None;
        }
    };
    let [Some(declared)] = declared.as_slice() else {
        problems.add(node.at, "`graphql` must be one query (no mutation, subscription or fragment)");
        return None;
    };
    for param in params {
        match param.strip_prefix("/variables/").and_then(|rest| rest.split('/').next()) {
            Some(variable) if declared.contains(variable) => {}
            Some(variable) => {
                problems.add(node.at, format!("`{param}` is sent, but the query declares no `${variable}`"));
            }
            None => problems.add(node.at, format!("`{param}` is no variable of the query; write /variables/NAME…")),
        }
    }
    Some(Graphql { before: before.to_owned(), after: after.to_owned() })
}

/// The variables a query declares; none for what is no query.
fn variables(definition: &Definition<'_, String>) -> Option<BTreeSet<String>> {
    match definition {
        Definition::Operation(OperationDefinition::Query(query)) => {
            Some(query.variable_definitions.iter().map(|variable| variable.name.clone()).collect())
        }
        Definition::Operation(OperationDefinition::SelectionSet(_)) => Some(BTreeSet::new()),
        _ => None,
    }
}

/// Whether a path can be asked for in GraphQL: its keys are field names. Positions and lengths are read from the answer.
pub(crate) fn is_selectable(path: &JsonPath) -> bool {
    let is_name = |key: &str| {
        key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    path.0.iter().all(|segment| !matches!(segment, Segment::Key(key) if !is_name(key)))
}

/// Checks a column's own selection below its path, such as `(first: 50) { nodes { name } }`.
pub(crate) fn read_select(node: &Node, problems: &mut Problems) -> Option<String> {
    let text = node.text("`select`", problems)?;
    if let Err(error) = parse_query::<String>(&format!("{{ field{text} }}")) {
        let detail = error.to_string();
        let detail: Vec<&str> = detail.split_whitespace().collect();
        problems.add(node.at, format!("`select` is no GraphQL selection: {}", detail.join(" ")));
        return None;
    }
    Some(text)
}
