//! The bundled specs against the vendors' published API descriptions.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::spec::{
    Endpoint, Filter, JsonPath, Lookup, Origin, Pagination, Part, Segment, Slot, SourceSpec, TableSpec, Template, parse,
};

/// Places that answers have and descriptions lack, with the reason to rely on them.
const UNDESCRIBED: &[(&str, &str)] = &[
    ("langfuse.projects.created_at", "the reference product's manifest reads it; the description dropped it"),
    ("langfuse.sessions.trace_count", "computed from traces on v4; nothing else has it"),
    ("sentry.projects.status", "in answers since long ago"),
];

/// Endpoints that servers have and descriptions lack, with the reason to rely on them.
const UNDESCRIBED_PATHS: &[(&str, &str)] =
    &[("/api/public/scores", "the reference product's manifest reads it on servers of before v2/scores")];

/// Parameters that came after a description was written, with the reason to rely on them.
const UNDESCRIBED_PARAMETERS: &[(&str, &str)] =
    &[("slack.messages include_all_metadata", "the description is of 2021; @slack/web-api has it since 2022")];

pub(crate) fn vendors() -> Option<PathBuf> {
    if let Some(shared) = std::env::var_os("TRIPLINE_SHARED") {
        return Some(Path::new(&shared).join("vendors"));
    }
    let up = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    up.map(|dir| dir.join("shared").join("vendors")).find(|dir| dir.is_dir())
}

/// A document, and another one of the same vendor for paths that it lacks.
struct Description(Value);

impl Description {
    fn load(file: &str) -> Option<Self> {
        let path = vendors()?.join(file);
        let text = std::fs::read(&path).ok()?;
        Some(Self(serde_json::from_slice(&text).unwrap()))
    }

    /// Adds another document of the same vendor. What both have is taken from `other`, whose names are newer.
    fn join(&mut self, other: Self) {
        fn merge(into: &mut Value, from: Value) {
            match (into, from) {
                (Value::Object(into), Value::Object(from)) => {
                    for (key, value) in from {
                        match into.get_mut(&key) {
                            Some(there) if !["schema", "properties", "get", "post"].contains(&key.as_str()) => {
                                merge(there, value);
                            }
                            _ => drop(into.insert(key, value)),
                        }
                    }
                }
                (into, from) => *into = from,
            }
        }
        merge(&mut self.0, other.0);
    }

    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.resolve(self.0.pointer(reference.trim_start_matches('#')).unwrap()),
            None => value,
        }
    }

    /// The operation of a path, whose parameters may have other names.
    fn operation(&self, path: &str, method: &str) -> Option<&Value> {
        let shape = |p: &str| -> Vec<String> {
            p.split('/').map(|s| if s.contains('{') { "{}".to_owned() } else { s.to_owned() }).collect()
        };
        let base = self.0["basePath"].as_str().map(|_| "").unwrap_or_default();
        let found = self.0["paths"].as_object()?.iter().find(|(p, _)| shape(&format!("{base}{p}")) == shape(path));
        found.map(|(_, item)| &item[method]).filter(|operation| operation.is_object())
    }

    fn parameters(&self, item: &Value) -> Vec<String> {
        let own = item["parameters"].as_array().into_iter().flatten();
        own.map(|p| self.resolve(p))
            .filter(|p| p["in"] == "query")
            .map(|p| p["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn answer<'a>(&'a self, item: &'a Value) -> &'a Value {
        let response = self.resolve(&item["responses"]["200"]);
        match response["content"].as_object().and_then(|types| types.values().next()) {
            Some(content) => &content["schema"],
            None => &response["schema"],
        }
    }

    /// Whether a value of this schema can have something at `path`.
    fn has(&self, schema: &Value, path: &[Segment]) -> bool {
        let schema = self.resolve(schema);
        for combination in ["allOf", "oneOf", "anyOf"] {
            if schema[combination].as_array().into_iter().flatten().any(|part| self.has(part, path)) {
                return true;
            }
        }
        match path {
            [] | [Segment::Length] => true,
            [Segment::Index(_), rest @ ..] => self.has(&schema["items"], rest),
            [Segment::Key(key), rest @ ..] => {
                let properties = schema["properties"].as_object();
                let described = properties.and_then(|properties| properties.get(key));
                // A free object may hold anything.
                let free = properties.is_none_or(serde_json::Map::is_empty)
                    && (schema["type"] == "object" || schema["additionalProperties"].is_object());
                described.map_or(free, |property| self.has(property, rest))
            }
            [Segment::Length, ..] => false,
        }
    }
}

fn shown(template: &Template<Slot>) -> String {
    template.0.iter().map(|part| if let Part::Literal(text) = part { text.clone() } else { "{}".to_owned() }).collect()
}

/// Every parameter that an endpoint may send.
fn parameters(endpoint: &Endpoint) -> Vec<String> {
    let orders =
        endpoint.order.iter().chain(&endpoint.sorts).flat_map(|o| o.params.iter().map(|(name, _)| name.clone()));
    let filter = |f: &Filter| -> Vec<String> {
        let equal = f.equal.iter().map(|e| e.target.param().to_owned());
        let edges = f.lower.iter().chain(&f.upper).map(|e| e.target.param().to_owned());
        let others = f.not_equal.iter().chain(f.searches.iter().map(|s| &s.target)).map(|t| t.param().to_owned());
        equal.chain(others).chain(edges).chain(f.with.iter().map(|(name, _)| name.clone())).collect()
    };
    let paging = match &endpoint.pagination {
        Pagination::Page { param, .. } | Pagination::Offset { param, .. } | Pagination::Cursor { param, .. } => {
            Some(param.clone())
        }
        _ => None,
    };
    endpoint
        .params
        .iter()
        .map(|(name, _)| name.clone())
        .chain(orders)
        .chain(endpoint.filters.iter().flat_map(filter))
        .chain(paging)
        .chain(endpoint.page_size.iter().map(|s| s.param.clone()))
        .chain(endpoint.fields.iter().map(|f| f.param.clone()))
        .chain(endpoint.conditions.iter().map(|c| c.param.clone()))
        .collect()
}

fn lookups<'a>(table: &'a TableSpec, endpoint: &'a Endpoint, index: usize) -> Vec<&'a Lookup> {
    match endpoint.lookups.iter().find(|(i, _)| *i == index) {
        Some((_, lookups)) => lookups.iter().collect(),
        None => match &table.columns[index].origin {
            Origin::Answer(lookups) => lookups.iter().collect(),
            _ => Vec::new(),
        },
    }
}

fn below(rows: &JsonPath, array: bool, path: &JsonPath) -> Vec<Segment> {
    let item = if array { vec![Segment::Index(0)] } else { Vec::new() };
    rows.0.iter().cloned().chain(item).chain(path.0.iter().cloned()).collect()
}

/// What is wrong with `spec`, judged by `description`.
fn judge(spec: &SourceSpec, description: &Description, columns_too: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for table in &spec.tables {
        let name = format!("{}.{}", spec.name, table.name);
        let mut described = vec![false; table.columns.len()];
        for endpoint in &table.endpoints {
            let path = shown(&endpoint.path);
            let method = if endpoint.post { "post" } else { "get" };
            if UNDESCRIBED_PATHS.iter().any(|(known, _)| *known == path) {
                if description.operation(&path, method).is_some() {
                    wrong.push(format!("{path}: is described after all; take it off the list"));
                }
                continue;
            }
            let Some(item) = description.operation(&path, method) else {
                wrong.push(format!("{name}: there is no {method} {path}"));
                continue;
            };
            let known = description.parameters(item);
            for param in parameters(endpoint) {
                let body = || {
                    let body = item["requestBody"]["content"].as_object().and_then(|types| types.values().next());
                    let segments: Vec<Segment> = param.split('/').skip(1).map(|s| Segment::Key(s.to_owned())).collect();
                    body.is_some_and(|body| description.has(&body["schema"], &segments))
                };
                let full = format!("{name} {param}");
                let excused = UNDESCRIBED_PARAMETERS.iter().any(|(known, _)| *known == full);
                if excused && known.contains(&param) {
                    wrong.push(format!("{full}: is described after all; take it off the list"));
                }
                if !(excused || known.contains(&param) || (param.starts_with('/') && body())) {
                    wrong.push(format!("{name}: {method} {path} takes no parameter `{param}`"));
                }
            }
            let answer = description.answer(item);
            if columns_too && !description.has(answer, &below(&endpoint.rows, true, &JsonPath::default())) {
                wrong.push(format!("{name}: GET {path} has no rows at {}", endpoint.rows));
            }
            for (index, described) in described.iter_mut().enumerate() {
                let found = |lookup: &&Lookup| match (&endpoint.included, lookup.path.0.split_first()) {
                    (Some(included), Some((Segment::Key(key), rest))) if key == "included" => {
                        description.has(answer, &below(&included.path, true, &JsonPath(rest.to_vec())))
                    }
                    _ => description.has(answer, &below(&endpoint.rows, true, &lookup.path)),
                };
                *described |= lookups(table, endpoint, index).iter().any(found);
            }
        }
        let detail = table.detail.as_ref().and_then(|t| description.operation(&shown(t), "get"));
        for (index, column) in table.columns.iter().enumerate().filter(|_| columns_too) {
            let full = format!("{name}.{}", column.name);
            let ok = match &column.origin {
                Origin::Answer(_) => described[index],
                Origin::Detail(lookups) => detail
                    .is_some_and(|item| lookups.iter().any(|l| description.has(description.answer(item), &l.path.0))),
                Origin::Exists(_) | Origin::Key | Origin::Parent(_) => true,
            };
            let excused = UNDESCRIBED.iter().any(|(column, _)| *column == full);
            if !ok && !excused {
                wrong.push(format!("{full}: no answer is described to have it"));
            }
            if ok && excused {
                wrong.push(format!("{full}: is described after all; take it off the list"));
            }
        }
    }
    wrong
}

#[test]
fn requests_and_columns_are_what_the_vendors_describe() {
    if vendors().is_none() {
        println!("skipped: the vendors' descriptions are not here (set TRIPLINE_SHARED)");
        return;
    }
    let (_, text) = crate::bundled().find(|(n, _)| *n == "datadog").unwrap();
    let spec = parse("datadog", text).unwrap();
    let mut datadog = Description::load("datadog/datadog-v1.openapi.json").unwrap();
    datadog.join(Description::load("datadog/datadog-v2.openapi.json").unwrap());
    let wrong = judge(&spec, &datadog, true);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Slack's description is of 2021 and leaves the fields of its objects out.
    for (name, file, columns_too) in [
        ("langfuse", "langfuse/langfuse-4.16.0.openapi.json", true),
        ("sentry", "sentry/sentry.openapi.json", true),
        ("github", "github/github-rest.openapi.json", true),
        ("slack", "slack/slack-web-2021.openapi2.json", false),
    ] {
        let (_, text) = crate::bundled().find(|(n, _)| *n == name).unwrap();
        let spec = parse(name, text).unwrap();
        let description = Description::load(file).unwrap_or_else(|| panic!("{file} is missing"));
        let wrong = judge(&spec, &description, columns_too);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// The fields, arguments and input fields of a GraphQL schema: type → field → (type, arguments).
type Fields = std::collections::HashMap<String, std::collections::HashMap<String, (String, Vec<String>)>>;

fn graphql_fields(text: &str) -> Fields {
    use graphql_parser::schema::{Definition, Type, TypeDefinition, parse_schema};
    fn base(of: &Type<'_, String>) -> String {
        match of {
            Type::NamedType(name) => name.clone(),
            Type::ListType(inner) | Type::NonNullType(inner) => base(inner),
        }
    }
    let mut fields = Fields::new();
    for definition in parse_schema::<String>(text).unwrap().definitions {
        match definition {
            Definition::TypeDefinition(TypeDefinition::Object(object)) => {
                let of = object.fields.into_iter().map(|field| {
                    let arguments = field.arguments.into_iter().map(|argument| argument.name).collect();
                    (field.name, (base(&field.field_type), arguments))
                });
                fields.insert(object.name, of.collect());
            }
            Definition::TypeDefinition(TypeDefinition::InputObject(object)) => {
                let of = object.fields.into_iter().map(|field| (field.name, (base(&field.value_type), Vec::new())));
                fields.insert(object.name, of.collect());
            }
            _ => {}
        }
    }
    fields
}

/// What is wrong with a selection on `on`.
fn judge_selection(
    fields: &Fields,
    on: &str,
    selection: &graphql_parser::query::SelectionSet<'_, String>,
    wrong: &mut Vec<String>,
) {
    for item in &selection.items {
        let graphql_parser::query::Selection::Field(field) = item else { panic!("a fragment") };
        let Some((of, arguments)) = fields.get(on).and_then(|fields| fields.get(&field.name)) else {
            wrong.push(format!("{on} has no field {}", field.name));
            continue;
        };
        for (name, _) in &field.arguments {
            if !arguments.contains(name) {
                wrong.push(format!("{on}.{} takes no argument {name}", field.name));
            }
        }
        let has_fields = fields.contains_key(of);
        if has_fields == field.selection_set.items.is_empty() {
            wrong.push(format!("{on}.{} is of type {of}: sub-fields {has_fields}", field.name));
        }
        judge_selection(fields, of, &field.selection_set, wrong);
    }
}

#[tokio::test]
async fn linears_queries_with_every_column_and_every_filter_fit_its_schema() {
    let Some(text) = vendors().and_then(|dir| std::fs::read_to_string(dir.join("linear/schema.graphql")).ok()) else {
        println!("skipped: the vendors' descriptions are not here (set TRIPLINE_SHARED)");
        return;
    };
    let fields = graphql_fields(&text);
    let world = crate::testing::World::bundled(crate::testing::Toy::new(|_| crate::testing::Reply::status(404)));
    let mut wrong = Vec::new();
    for table in &world.connectors.source("linear").unwrap().spec().tables {
        let all: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let name = format!("linear.{}", table.name);
        let _refused = world.run(&name, world.select(&name, &all)).await;
        let body = world.toy.log().last().unwrap().body.clone();
        let document = graphql_parser::parse_query::<String>(body["query"].as_str().unwrap()).unwrap();
        let graphql_parser::query::Definition::Operation(graphql_parser::query::OperationDefinition::Query(query)) =
            &document.definitions[0]
        else {
            panic!("no query")
        };
        judge_selection(&fields, "Query", &query.selection_set, &mut wrong);
        let filter = query.variable_definitions.iter().find(|v| v.name == "filter").unwrap();
        let filter = filter.var_type.to_string();
        for param in parameters(&table.endpoints[0]) {
            let Some(rest) = param.strip_prefix("/variables/filter/") else { continue };
            let mut on = filter.clone();
            for step in rest.split('/') {
                match fields.get(&on).and_then(|fields| fields.get(step)) {
                    Some((of, _)) => on.clone_from(of),
                    None => wrong.push(format!("{name}: {on} has no field {step} ({param})")),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
