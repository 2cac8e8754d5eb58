//! What of an OpenAPI document becomes a source: its lists, their items, its credentials.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::auth::{self, Credential};
use super::paging::{self, Paging};

/// Deepest nesting that becomes columns of their own; what is below is JSON.
const DEPTH: usize = 3;
/// Columns of a table beyond which less deep nesting is enough.
const MANY: usize = 80;
/// Names of a column that identifies a row, likeliest first.
const IDS: [&str; 9] = ["id", "uuid", "guid", "gid", "sha", "number", "iid", "key", "slug"];
/// Names of the property that holds a list's rows, likeliest first.
const ROWS: [&str; 8] = ["data", "items", "results", "values", "records", "rows", "entries", "list"];

/// Names of lists that stand beside the rows.
const BESIDE: [&str; 6] = ["included", "errors", "warnings", "links", "messages", "facets"];
/// What is kept of nested objects where everything would be too much.
const BRIEF: [&str; 12] =
    ["id", "name", "login", "slug", "key", "sha", "ref", "title", "email", "number", "full_name", "username"];

/// A source to be.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) title: String,
    pub(super) base: String,
    /// The first is how requests are authenticated, the others are sent as headers.
    pub(super) credentials: Vec<Credential>,
    pub(super) tables: Vec<Table>,
}

/// A list that becomes a table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) path: String,
    pub(super) keys: Vec<String>,
    pub(super) columns: Vec<Column>,
    pub(super) primary_key: Vec<String>,
    pub(super) rows: String,
    pub(super) paging: Paging,
    pub(super) filters: Vec<Filter>,
}

/// A predicate that the list understands, by the names of its parameters.
#[derive(Debug)]
pub(super) enum Filter {
    /// Column, parameter, and whether it takes several values (`repeat` or `comma`).
    Equal(String, String, Option<&'static str>),
    /// Column, and the parameters of its lower and upper bound.
    Range(String, Option<String>, Option<String>),
}

impl Filter {
    /// The column it is on.
    pub(super) fn column(&self) -> &str {
        match self {
            Self::Equal(column, ..) | Self::Range(column, ..) => column,
        }
    }
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) path: String,
    pub(super) about: String,
    pub(super) is_key: bool,
}

/// Follows references within a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'d>(pub(super) &'d Value);

impl<'d> Document<'d> {
    pub(super) fn resolve(self, mut value: &'d Value) -> &'d Value {
        // A document may refer in circles.
        for _ in 0..16 {
            let Some(reference) = value["$ref"].as_str() else { return value };
            let Some(found) = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer)) else { break };
            value = found;
        }
        value
    }

    /// The properties of an object schema, those of its parts included.
    pub(super) fn properties(self, schema: &'d Value) -> Map<String, Value> {
        self.gather(schema, 0)
    }

    fn gather(self, schema: &'d Value, depth: usize) -> Map<String, Value> {
        let schema = self.resolve(schema);
        let mut found = Map::new();
        if depth > 4 {
            return found;
        }
        for part in ["allOf", "oneOf", "anyOf"] {
            for inner in schema[part].as_array().into_iter().flatten() {
                for (key, property) in self.gather(inner, depth + 1) {
                    let other =
                        found.get(&key).map(|known| type_of(self.resolve(known)) != type_of(self.resolve(&property)));
                    // One thing here and another there: anything.
                    let property = if other == Some(true) { Value::Object(Map::new()) } else { property };
                    found.insert(key, property);
                }
            }
        }
        found.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        found
    }
}

/// The schema, or the only thing it can be beside null.
fn plain<'d>(document: Document<'d>, schema: &'d Value) -> &'d Value {
    let schema = document.resolve(schema);
    for union in ["anyOf", "oneOf"] {
        let parts = schema[union].as_array().into_iter().flatten().map(|part| document.resolve(part));
        let mut real = parts.filter(|part| part["type"] != "null");
        if let (Some(only), None) = (real.next(), real.next()) {
            return only;
        }
    }
    schema
}

/// The schema's type; in 3.1 it may be one of a list with `null`.
fn type_of(schema: &Value) -> &str {
    match &schema["type"] {
        Value::String(one) => one,
        Value::Array(several) => several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or_default(),
        _ if schema["properties"].is_object() || schema["allOf"].is_array() => "object",
        _ if schema["items"].is_object() => "array",
        _ => "",
    }
}

/// A name as specs have them.
pub(super) fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && lower {
            out.push('_');
        }
        lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    }
    let out = out.trim_matches('_').to_owned();
    if out.starts_with(|c: char| c.is_ascii_lowercase()) { out } else { format!("c_{out}") }
}

/// One key as a step of a JSON path.
pub(super) fn step(key: &str) -> String {
    let escaped = key.replace('\\', "\\\\").replace('.', "\\.");
    if key == "#" || key.bytes().all(|b| b.is_ascii_digit()) { format!("\\{escaped}") } else { escaped }
}

pub(super) fn read(root: &Value, decisions: &mut Vec<String>) -> Result<Api, String> {
    let document = Document(root);
    let mut tables: Vec<Table> = Vec::new();
    let paths = root["paths"].as_object().ok_or("the document has no `paths`")?;
    let mut single = 0;
    for (path, item) in paths {
        let item = document.resolve(item);
        if !item["get"].is_object() {
            continue;
        }
        match table(document, path, item, &tables, decisions) {
            Some(table) => tables.push(table),
            None => single += 1,
        }
    }
    if tables.is_empty() {
        return Err("the document describes no GET whose answer is a list of objects".to_owned());
    }
    if single > 0 {
        decisions
            .push(format!("{single} GETs answer no list of objects and were left out; some may serve as `detail`"));
    }
    Ok(Api {
        title: root["info"]["title"].as_str().unwrap_or("An API").to_owned(),
        base: base(root, decisions),
        credentials: auth::credentials(document, decisions),
        tables,
    })
}

fn base(root: &Value, decisions: &mut Vec<String>) -> String {
    let server = &root["servers"][0];
    let mut url = server["url"].as_str().unwrap_or_default().to_owned();
    for (name, variable) in server["variables"].as_object().into_iter().flatten() {
        let default = variable["default"].as_str().unwrap_or("x");
        url = url.replace(&format!("{{{name}}}"), default);
        let others: Vec<&str> = variable["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let others = if others.is_empty() { String::new() } else { format!(" (of {})", others.join(", ")) };
        decisions.push(format!("the address has a part called {name}, which the draft takes to be {default}{others}"));
    }
    let url = url.trim_end_matches('/').to_owned();
    if spec_address(&url) {
        return url;
    }
    decisions.push("the document names no server; set base_url.default".to_owned());
    "https://api.example.com".to_owned()
}

fn spec_address(url: &str) -> bool {
    !url.contains(['{', '}']) && crate::spec::is_address(url)
}

/// The list that a path answers with, as a table.
fn table(
    document: Document<'_>,
    path: &str,
    item: &Value,
    others: &[Table],
    decisions: &mut Vec<String>,
) -> Option<Table> {
    let get = &item["get"];
    let responses = get["responses"].as_object()?;
    let response = responses.iter().find(|(status, _)| status.starts_with('2')).map(|(_, r)| document.resolve(r))?;
    let content = response["content"].as_object()?;
    let answer = content.iter().find(|(kind, _)| kind.contains("json")).map(|(_, c)| document.resolve(&c["schema"]))?;
    let is_thing = path.trim_end_matches('/').ends_with('}');
    let (rows, item_schema) = rows_of(document, answer, is_thing)?;
    let name = table_name(path, others);
    if get["deprecated"] == true {
        decisions.push(format!("{name}: the vendor says that {path} is deprecated"));
    }
    let mut keys = Vec::new();
    let mut written = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        written.push('/');
        let mut rest = part;
        while let Some((before, after)) = rest.split_once('{') {
            let (key, after) = after.split_once('}')?;
            let key = snake(key);
            written.push_str(&format!("{before}{{{{{key}}}}}"));
            keys.push(key);
            rest = after;
        }
        written.push_str(rest);
    }
    if path.ends_with('/') {
        // To some servers it makes a difference.
        written.push('/');
    }
    if written.is_empty() || keys.iter().collect::<BTreeSet<_>>().len() < keys.len() {
        return None;
    }
    let mut columns: Vec<Column> = keys
        .iter()
        .map(|key| Column {
            name: key.clone(),
            kind: "text",
            path: String::new(),
            about: "Part of the path".to_owned(),
            is_key: true,
        })
        .collect();
    let properties = document.properties(item_schema);
    // What is nested deeply is JSON where it would make too many columns; SQL can look into it.
    for (depth, is_brief) in [(DEPTH, false), (DEPTH - 1, false), (DEPTH - 1, true)] {
        columns.truncate(keys.len());
        add_columns(document, &properties, &[], depth, &mut columns);
        if is_brief {
            columns.retain(|column| {
                let last = column.path.rsplit('.').next().unwrap_or_default();
                column.is_key || !column.name.contains("__") || BRIEF.contains(&last)
            });
        }
        if columns.len() <= MANY {
            break;
        }
    }
    if columns.len() == keys.len() {
        return None;
    }
    let own = IDS.iter().find_map(|id| {
        columns.iter().find(|column| !column.is_key && column.name == *id && matches!(column.kind, "text" | "int"))
    });
    let primary_key: Vec<String> = match own {
        Some(column) => keys.iter().cloned().chain([column.name.clone()]).collect(),
        // A wrong key would drop rows; none only fails to notice rows that come twice.
        None => {
            decisions
                .push(format!("{name}: nothing looks like an id; name the columns that identify a row in primary_key"));
            Vec::new()
        }
    };
    let parameters = paging::parameters(document, item, &name, decisions);
    let paging = paging::guess(document, &name, &parameters, answer, response, decisions);
    let filters = paging::filters(&parameters, &columns, &paging, &name, decisions);
    let about = get["summary"].as_str().or_else(|| get["description"].as_str()).unwrap_or("One row per item");
    Some(Table {
        about: about.lines().next().unwrap_or_default().trim_end_matches('.').to_owned(),
        path: written,
        primary_key,
        keys,
        columns,
        rows,
        paging,
        filters,
        name,
    })
}

/// Where the rows of an answer are, and what they look like.
fn rows_of<'d>(document: Document<'d>, answer: &'d Value, is_thing: bool) -> Option<(String, &'d Value)> {
    let is_object = |items: &Value| type_of(items) == "object" || items["oneOf"].is_array();
    if type_of(answer) == "array" {
        let items = document.resolve(&answer["items"]);
        return is_object(items).then_some((String::new(), items));
    }
    let mut lists: Vec<(usize, &'d str, &'d Value)> = Vec::new();
    let parts = std::iter::once(answer).chain(answer["allOf"].as_array().into_iter().flatten());
    for part in parts.map(|part| document.resolve(part)) {
        for (name, property) in part["properties"].as_object().into_iter().flatten() {
            let property = document.resolve(property);
            let items = document.resolve(&property["items"]);
            if BESIDE.contains(&name.as_str()) {
                continue;
            }
            if type_of(property) == "array" && is_object(items) {
                lists.push((ROWS.iter().position(|known| known == name).unwrap_or(ROWS.len()), name, items));
            }
        }
    }
    lists.sort_by_key(|(rank, ..)| *rank);
    match lists.as_slice() {
        // A list of no known name, beside others or in the answer about one thing: an object that has lists, not a list.
        [(rank, ..), _, ..] if *rank == ROWS.len() => None,
        [(rank, ..)] if *rank == ROWS.len() && is_thing => None,
        [(_, name, items), ..] => Some((step(name), items)),
        [] => None,
    }
}

fn table_name(path: &str, others: &[Table]) -> String {
    let words: Vec<String> =
        path.split('/').filter(|part| !part.is_empty() && !part.contains('{')).map(snake).collect();
    let mut name = words.last().cloned().unwrap_or_else(|| "items".to_owned());
    for word in words.iter().rev().skip(1) {
        if !others.iter().any(|other| other.name == name) {
            break;
        }
        name = format!("{word}_{name}");
    }
    let plain = name.clone();
    let mut number = 2;
    while others.iter().any(|other| other.name == name) {
        name = format!("{plain}_{number}");
        number += 1;
    }
    name
}

fn add_columns(
    document: Document<'_>,
    properties: &Map<String, Value>,
    above: &[String],
    depth: usize,
    columns: &mut Vec<Column>,
) {
    // JSON:API keeps a row's own fields under `attributes`.
    let is_resource = above.is_empty() && properties.contains_key("attributes") && properties.contains_key("id");
    for (key, schema) in properties {
        let schema = plain(document, schema);
        let path: Vec<String> = above.iter().cloned().chain([key.clone()]).collect();
        let inner = document.properties(schema);
        if type_of(schema) == "object" && !inner.is_empty() && path.len() < depth {
            let is_wrapper = is_resource && key == "attributes";
            add_columns(document, &inner, &path, if is_wrapper { depth + 1 } else { depth }, columns);
            continue;
        }
        let words = if path.len() > 1 && path[0] == "attributes" { &path[1..] } else { &path[..] };
        let mut name = words.iter().map(|key| snake(key)).collect::<Vec<_>>().join("__");
        if columns.iter().any(|column| column.name == name) {
            name = path.iter().map(|key| snake(key)).collect::<Vec<_>>().join("__");
        }
        if columns.iter().any(|column| column.name == name) {
            continue;
        }
        let kind = match (type_of(schema), schema["format"].as_str().unwrap_or_default()) {
            ("string", "date-time") => "timestamp",
            ("integer", _) => "int",
            ("number", _) => "float",
            ("boolean", _) => "bool",
            ("string", _) => "text",
            _ => "json",
        };
        let about = schema["description"].as_str().and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
        columns.push(Column {
            about: about.map_or_else(|| path.join("."), |text| text.trim().trim_end_matches('.').to_owned()),
            path: path.iter().map(|key| step(key)).collect::<Vec<_>>().join("."),
            name,
            kind,
            is_key: false,
        });
    }
}
