//! One GraphQL query: parsed, costed, answered from lists of JSON objects.
//!
//! Owns: arguments and variables, connections (`nodes`, `edges`, `pageInfo`), field selection, points.
//! Does not own: types. A field that an object does not have is null; a scalar's sub-fields are an error.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use graphql_parser::query::{Definition, Field, OperationDefinition, Selection, Value as Argument, parse_query};
use serde_json::{Map, Value, json};

use super::filter::{argument, passes};

type Gql<'t> = Field<'t, String>;

/// Largest page, and the usual one.
const MAX: usize = 250;
const DEFAULT: usize = 50;

/// A query with its variables.
#[derive(Debug)]
pub(super) struct Query {
    fields: Vec<Gql<'static>>,
    variables: Map<String, Value>,
}

impl Query {
    pub(super) fn parse(text: &str, variables: &Value) -> Result<Self, String> {
        let document = parse_query::<String>(text).map_err(|error| error.to_string())?.into_static();
        let [definition] = document.definitions.as_slice() else { return Err("expected one operation".to_owned()) };
        let (selections, declared) = match definition {
            Definition::Operation(OperationDefinition::Query(query)) => {
                (&query.selection_set, query.variable_definitions.as_slice())
            }
            Definition::Operation(OperationDefinition::SelectionSet(selections)) => (selections, [].as_slice()),
            _ => return Err("only queries are answered".to_owned()),
        };
        let given = variables.as_object().cloned().unwrap_or_default();
        if let Some(unknown) = given.keys().find(|name| !declared.iter().any(|d| d.name == **name)) {
            return Err(format!("Variable \"${unknown}\" is not declared"));
        }
        for variable in declared {
            let required = matches!(variable.var_type, graphql_parser::query::Type::NonNullType(_));
            if required && variable.default_value.is_none() && given.get(&variable.name).is_none_or(Value::is_null) {
                return Err(format!("Variable \"${}\" of required type was not provided", variable.name));
            }
        }
        Ok(Self { fields: fields(&selections.items)?, variables: given })
    }

    /// Points: 0.1 per field, 1 per object, times the size of a list.
    pub(super) fn cost(&self) -> f64 {
        self.fields.iter().map(|field| self.field_cost(field)).sum()
    }

    fn field_cost(&self, field: &Gql<'static>) -> f64 {
        let inner = || fields(&field.selection_set.items).unwrap_or_default();
        if field.selection_set.items.is_empty() {
            return 0.1;
        }
        let inside: f64 = inner().iter().map(|field| self.field_cost(field)).sum();
        let is_list = inner().iter().any(|field| matches!(field.name.as_str(), "nodes" | "edges"));
        if is_list {
            #[allow(clippy::cast_precision_loss, reason = "a page size is small")]
            let first = self.arguments(field).get("first").and_then(Value::as_u64).unwrap_or(DEFAULT as u64) as f64;
            return first * inside;
        }
        1.0 + inside
    }

    /// The data; `list` gives the objects of a root field.
    pub(super) fn run(&self, list: impl Fn(&str) -> Option<Vec<Value>>) -> Result<Value, String> {
        let mut data = Map::new();
        for field in &self.fields {
            let value = match field.name.as_str() {
                "viewer" => {
                    let users = list("users").unwrap_or_default();
                    select(users.first().unwrap_or(&json!({"id": "viewer"})), field)?
                }
                name => {
                    let objects =
                        list(name).ok_or_else(|| format!("Cannot query field \"{name}\" on type \"Query\""))?;
                    self.connection(field, objects)?
                }
            };
            data.insert(field.alias.clone().unwrap_or_else(|| field.name.clone()), value);
        }
        Ok(Value::Object(data))
    }

    fn arguments(&self, field: &Gql<'static>) -> Map<String, Value> {
        field.arguments.iter().map(|(name, value)| (name.clone(), self.resolve(value))).collect()
    }

    fn resolve(&self, value: &Argument<'static, String>) -> Value {
        match value {
            Argument::Variable(name) => self.variables.get(name).cloned().unwrap_or(Value::Null),
            Argument::Int(number) => json!(number.as_i64()),
            Argument::Float(number) => json!(number),
            Argument::String(text) | Argument::Enum(text) => json!(text),
            Argument::Boolean(flag) => json!(flag),
            Argument::Null => Value::Null,
            Argument::List(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Argument::Object(entries) => {
                Value::Object(entries.iter().map(|(name, value)| (name.clone(), self.resolve(value))).collect())
            }
        }
    }

    fn connection(&self, field: &Gql<'static>, objects: Vec<Value>) -> Result<Value, String> {
        let arguments = self.arguments(field);
        let flag = |name: &str| argument(&arguments, name).and_then(Value::as_bool).unwrap_or(false);
        let filter = argument(&arguments, "filter").cloned().unwrap_or_default();
        let mut found = Vec::new();
        for object in objects {
            let hidden = (!object["archivedAt"].is_null() && !flag("includeArchived"))
                || (object["active"] == false && !flag("includeDisabled"));
            if !hidden && passes(&object, &filter)? {
                found.push(object);
            }
        }
        let by = match argument(&arguments, "orderBy").and_then(Value::as_str) {
            None | Some("createdAt") => "createdAt",
            Some("updatedAt") => "updatedAt",
            Some(other) => return Err(format!("Value \"{other}\" does not exist in \"PaginationOrderBy\" enum")),
        };
        let at = |object: &Value| object[by].as_str().and_then(crate::time::parse);
        found.sort_by_key(|object| std::cmp::Reverse(at(object)));
        let first = match argument(&arguments, "first") {
            None => DEFAULT,
            Some(first) => first
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| (1..=MAX).contains(n))
                .ok_or_else(|| format!("Argument \"first\" must be a number from 1 to {MAX}"))?,
        };
        let start = match argument(&arguments, "after").and_then(Value::as_str) {
            None => 0,
            Some(cursor) => offset_of(cursor).ok_or("Invalid cursor")?,
        };
        let page = crate::shelf::part(&found, start, first);
        let end = start.saturating_add(page.len());
        let cursor = |offset: usize| URL_SAFE_NO_PAD.encode(format!("after:{offset}"));
        let edges: Vec<Value> =
            page.iter().enumerate().map(|(i, node)| json!({"node": node, "cursor": cursor(start + i + 1)})).collect();
        let whole = json!({
            "nodes": page, "edges": edges,
            "pageInfo": {"hasNextPage": end < found.len(), "hasPreviousPage": start > 0,
                         "endCursor": if page.is_empty() { Value::Null } else { json!(cursor(end)) },
                         "startCursor": if page.is_empty() { Value::Null } else { json!(cursor(start + 1)) }},
        });
        select(&whole, field)
    }
}

fn offset_of(cursor: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    text.strip_prefix("after:")?.parse().ok()
}

/// The fields of a selection; fragments are refused.
fn fields(items: &[Selection<'static, String>]) -> Result<Vec<Gql<'static>>, String> {
    let one = |item: &Selection<'static, String>| match item {
        Selection::Field(field) => Ok(field.clone()),
        _ => Err("fragments are not supported here".to_owned()),
    };
    items.iter().map(one).collect()
}

/// What a field's selection leaves of a value.
fn select(value: &Value, field: &Gql<'static>) -> Result<Value, String> {
    let inner = fields(&field.selection_set.items)?;
    match value {
        Value::Null => Ok(Value::Null),
        Value::Array(items) => items.iter().map(|item| select(item, field)).collect(),
        Value::Object(object) if !inner.is_empty() => {
            let mut chosen = BTreeMap::new();
            for field in &inner {
                let value = match field.name.as_str() {
                    "__typename" => json!("Object"),
                    name => select(object.get(name).unwrap_or(&Value::Null), field)?,
                };
                chosen.insert(field.alias.clone().unwrap_or_else(|| field.name.clone()), value);
            }
            Ok(Value::Object(chosen.into_iter().collect()))
        }
        Value::Object(_) => Err(format!("Field \"{}\" must have a selection of subfields", field.name)),
        _ if !inner.is_empty() => Err(format!("Field \"{}\" must not have a selection", field.name)),
        scalar => Ok(scalar.clone()),
    }
}
