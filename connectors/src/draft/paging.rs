//! How a list is paged and filtered, guessed from the names of its parameters.

use serde_json::Value;

use super::api::{Column, Document, snake, step};

const PAGE: [&str; 4] = ["page", "page_number", "page_no", "page[number]"];
const OFFSET: [&str; 4] = ["offset", "skip", "start_at", "page[offset]"];
const CURSOR: [&str; 9] = [
    "cursor",
    "after",
    "page_token",
    "next_token",
    "starting_after",
    "next_cursor",
    "continuation_token",
    "page[cursor]",
    "page[after]",
];
const SIZE: [&str; 10] =
    ["limit", "per_page", "page_size", "size", "first", "max_results", "count", "page[size]", "page[limit]", "pagelen"];
const NEXT: [&str; 8] =
    ["next_cursor", "next_page_token", "next_token", "end_cursor", "cursor", "after", "next_page", "next"];

/// A query parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    name: String,
    schema: Value,
    explode: bool,
    required: bool,
}

/// How a list is paged.
#[derive(Debug, Default)]
pub(super) struct Paging {
    /// The `pagination` mapping's fields; empty for none.
    pub(super) fields: Vec<(&'static str, String)>,
    /// Parameter and largest page.
    pub(super) size: Option<(String, u64)>,
    /// Parameters that page.
    used: Vec<String>,
}

/// The query parameters of an operation, its path's included.
pub(super) fn parameters(document: Document<'_>, item: &Value) -> Vec<Parameter> {
    let own = item["get"]["parameters"].as_array().into_iter().flatten();
    let common = item["parameters"].as_array().into_iter().flatten();
    own.chain(common)
        .map(|parameter| resolve(document, parameter))
        .filter(|parameter| parameter["in"] == "query")
        .filter_map(|parameter| {
            Some(Parameter {
                name: parameter["name"].as_str()?.to_owned(),
                schema: resolve(document, &parameter["schema"]),
                explode: parameter["explode"].as_bool().unwrap_or(true),
                required: parameter["required"].as_bool().unwrap_or(false),
            })
        })
        .collect()
}

fn resolve(document: Document<'_>, value: &Value) -> Value {
    match value["$ref"].as_str().and_then(|r| r.strip_prefix('#')).and_then(|pointer| document.0.pointer(pointer)) {
        Some(found) => document.resolve(found).clone(),
        None => value.clone(),
    }
}

/// Guesses the paging of a list.
pub(super) fn guess(
    document: Document<'_>,
    table: &str,
    parameters: &[Parameter],
    answer: &Value,
    response: &Value,
    decisions: &mut Vec<String>,
) -> Paging {
    let find = |names: &[&str]| {
        parameters
            .iter()
            .find(|p| names.contains(&p.name.to_ascii_lowercase().as_str()) || names.contains(&snake(&p.name).as_str()))
    };
    let mut paging = Paging::default();
    if let Some(size) = find(&SIZE) {
        let max = size.schema["maximum"].as_u64().unwrap_or_else(|| {
            decisions.push(format!("{table}: the largest page is not stated; 100 is a guess (page_size.max)"));
            100
        });
        paging.size = Some((size.name.clone(), max.max(1)));
        paging.used.push(size.name.clone());
    }
    let is_link = response["headers"].as_object().is_some_and(|h| h.keys().any(|k| k.eq_ignore_ascii_case("link")));
    let next = find_path(document, answer, &NEXT, &[], 0);
    let use_parameter = |paging: &mut Paging, kind: &str, parameter: &Parameter| {
        paging.fields = vec![("type", kind.to_owned()), ("param", parameter.name.clone())];
        paging.used.push(parameter.name.clone());
    };
    if let (Some(cursor), Some(next)) = (find(&CURSOR), &next) {
        use_parameter(&mut paging, "cursor", cursor);
        paging.fields.push(("next", next.clone()));
    } else if is_link {
        paging.fields = vec![("type", "link".to_owned())];
        paging.used.extend(find(&PAGE).map(|p| p.name.clone()));
    } else if let Some(page) = find(&PAGE) {
        use_parameter(&mut paging, "page", page);
        let from_zero = page.schema["default"] == 0 || page.schema["minimum"] == 0;
        paging.fields.push(("start", if from_zero { "0" } else { "1" }.to_owned()));
    } else if let Some(offset) = find(&OFFSET) {
        use_parameter(&mut paging, "offset", offset);
    } else if let Some(next) = find_path(document, answer, &["next", "next_url", "next_page_url"], &[], 0) {
        paging.fields = vec![("type", "next_url".to_owned()), ("next", next)];
        decisions.push(format!("{table}: the next page is taken to be a URL in the answer; check `pagination`"));
    } else {
        if let Some(cursor) = find(&CURSOR) {
            paging.used.push(cursor.name.clone());
        }
        decisions
            .push(format!("{table}: nothing tells how to reach the next page; only the first is read (`pagination`)"));
    }
    // A page that cannot be followed may still be asked for at full size.
    if paging.size.is_none() && !paging.fields.is_empty() {
        decisions.push(format!("{table}: no parameter sets the page size; the vendor's own is used"));
    }
    paging
}

/// The path of the first property of such a name outside of the rows.
fn find_path(document: Document<'_>, schema: &Value, names: &[&str], above: &[String], depth: usize) -> Option<String> {
    if depth > 3 {
        return None;
    }
    let schema = resolve(document, schema);
    let mut properties = schema["properties"].as_object().cloned().unwrap_or_default();
    for part in schema["allOf"].as_array().into_iter().flatten() {
        properties.extend(resolve(document, part)["properties"].as_object().cloned().unwrap_or_default());
    }
    let path = |key: &str| above.iter().cloned().chain([step(key)]).collect::<Vec<_>>();
    let is_text = |property: &Value| {
        let property = resolve(document, property);
        property["properties"].is_null() && property["items"].is_null()
    };
    let by_name = |name: &&&str| properties.iter().find(|(key, property)| snake(key) == ***name && is_text(property));
    if let Some((key, _)) = names.iter().find_map(|name| by_name(&name)) {
        return Some(path(key).join("."));
    }
    properties.iter().find_map(|(key, property)| find_path(document, property, names, &path(key), depth + 1))
}

/// Parameters that are filters by equality, by their names.
pub(super) fn filters(
    parameters: &[Parameter],
    columns: &[Column],
    paging: &Paging,
    table: &str,
    decisions: &mut Vec<String>,
) -> Vec<(String, String, Option<&'static str>)> {
    let mut found: Vec<(String, String, Option<&'static str>)> = Vec::new();
    let mut left = Vec::new();
    for parameter in parameters.iter().filter(|p| !paging.used.contains(&p.name)) {
        let name = snake(parameter.name.trim_start_matches("filter[").trim_end_matches(']'));
        let column = columns.iter().find(|c| c.name == name && !c.is_key && matches!(c.kind, "text" | "int" | "bool"));
        match column {
            Some(column) if !found.iter().any(|(known, ..)| *known == column.name) => {
                let several = parameter.schema["type"] == "array" || parameter.schema["items"].is_object();
                let list = several.then_some(if parameter.explode { "repeat" } else { "comma" });
                found.push((column.name.clone(), parameter.name.clone(), list));
            }
            _ if parameter.required => {
                decisions.push(format!(
                    "{table}: the parameter `{}` is required; give it a value in params",
                    parameter.name
                ));
            }
            _ => left.push(parameter.name.as_str()),
        }
    }
    if !found.is_empty() {
        let names: Vec<&str> = found.iter().map(|(column, ..)| column.as_str()).collect();
        decisions.push(format!(
            "{table}: filters on {} are taken to be equalities by their names, and marked inexact",
            names.join(", ")
        ));
    }
    if !left.is_empty() {
        decisions.push(format!("{table}: parameters not used yet: {} (filters, sorts, params)", left.join(", ")));
    }
    found
}
