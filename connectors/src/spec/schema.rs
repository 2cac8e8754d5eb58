//! The spec format as a JSON Schema, for editors.
//!
//! Owns: one table of every mapping's fields. A test holds it against what the reader takes, so it cannot fall behind.
//! Does not own: what only the reader can check (references between fields, templates, cycles).

use serde_json::{Map, Value, json};

/// A mapping of the format: its name, and its fields as (name, shape, meaning).
type Mapping = (&'static str, &'static [(&'static str, &'static str, &'static str)]);

/// Shapes: `text`, `bool`, `count`, `texts` (one or several), `value` (anything), `texts by name`, `a|b` (one of these
/// words), `Name` (another mapping), `Name by name`, `Name list`, and `x or y`. A field whose name ends in `!` is required.
const MAPPINGS: &[Mapping] = &[
    (
        "Source",
        &[
            ("source!", "text", "Name of the SQL schema"),
            ("description!", "text", "What it is, in a sentence"),
            ("base_url!", "BaseUrl", "Where the API is"),
            ("inputs", "Input by name", "Settings and secrets, used as {{input.name}}"),
            ("auth!", "Auth", "How requests prove who sends them"),
            ("headers", "texts by name", "Sent with every request"),
            ("limits", "Limits", "How fast it may be asked"),
            ("errors", "Errors", "How errors show in bodies"),
            ("test!", "text or Test", "A cheap request that answers 200 when all is right"),
            ("tables!", "Table by name", "Its tables"),
        ],
    ),
    (
        "BaseUrl",
        &[
            ("env!", "texts", "Variables that override the address, first set wins"),
            ("default", "text", "The address when none is set; may hold {{input.name}}"),
        ],
    ),
    (
        "Input",
        &[
            ("env", "texts", "Variables that supply it, first set wins"),
            ("file", "texts", "Files that supply it: absolute paths, or variables that hold one"),
            ("required", "bool", "Whether the source cannot be used without it"),
            ("secret", "bool", "Whether it must never be shown"),
            ("default", "text", "Used when nothing is set"),
        ],
    ),
    (
        "Auth",
        &[
            ("type!", "none|bearer|basic|header|query", "How the credential travels"),
            ("token", "text", "bearer: the input that is the token"),
            ("username", "text", "basic: an input"),
            ("password", "text", "basic: an input"),
            ("header", "text", "header: its name"),
            ("prefix", "text", "header: what stands in front of the value"),
            ("param", "text", "query: the parameter"),
            ("value", "text", "header, query: the input that is the value"),
        ],
    ),
    (
        "Limits",
        &[
            ("concurrency", "count", "Requests at once (8)"),
            ("requests_per_minute", "count", "No limit when absent"),
            ("timeout_s", "count", "Seconds of silence until a try is given up (30)"),
            ("remaining", "text", "Header with the requests left"),
            ("reset", "Reset", "When the quota is renewed"),
        ],
    ),
    (
        "Reset",
        &[
            ("header!", "text", "The header"),
            ("format!", "epoch_s|epoch_ms|delta_s|js_date|http_date", "How it says when"),
        ],
    ),
    (
        "Errors",
        &[
            ("ok", "text", "Path of a boolean that is false on errors"),
            ("list", "text", "Path of a list that holds something on errors"),
            ("code", "text", "Path of the error's code"),
            ("message", "text", "Path of words for people"),
            ("failing_when", "texts by name", "The answer is not whole where one of these paths has one of the texts"),
            ("unauthorized", "texts", "Codes: credentials are refused"),
            ("not_found", "texts", "Codes: unknown"),
            ("throttled", "texts", "Codes: slower, please"),
            ("failing", "texts", "Codes: worth another try"),
            ("skip", "texts", "Codes: leave one key of a fan-out out"),
        ],
    ),
    ("Test", &[("path!", "text", "Path"), ("body", "value", "Posted; without it the request is a GET")]),
    (
        "Table",
        &[
            ("description!", "text", "What a row is"),
            ("guide!", "text", "How to ask cheaply"),
            ("primary_key!", "texts", "Columns that identify a row in a listing"),
            ("columns!", "Column by name", "Its columns"),
            ("required", "Required list", "Keys a query must pin"),
            ("bounded", "texts", "Times a query must bound from below"),
            ("parent", "Parent", "Where a key comes from that a query does not pin"),
            ("at_most", "texts", "Facts such as created_at <= updated_at"),
            ("detail", "Detail", "A request per row"),
            ("endpoints!", "Endpoint list", "Ways to list it, newest API generation first"),
        ],
    ),
    (
        "Column",
        &[
            ("type!", "text|int|float|bool|timestamp|json", "Its type"),
            ("about!", "text", "What it holds"),
            ("path", "value", "Where it is in a row; several, or guarded, where that differs"),
            ("when", "texts by name", "It counts only where each of these paths, if present, has one of the texts"),
            ("exists", "text", "True where this path holds anything but null"),
            ("from", "answer|key|parent|detail", "Where it comes from"),
            ("format", "auto|iso|epoch_s|epoch_ms|slack_ts", "How a time is written"),
            ("empty_is_null", "bool", "Whether \"\" is NULL"),
            ("content", "bool", "Whether people or models wrote it; local copies leave it out"),
            ("shape", "bool", "Whether it is the JSON type, length, hash and keys of the value, and not the value"),
            ("select", "text", "GraphQL: what is asked for below its path"),
            ("on_error", "value", "null: a value that cannot be read is NULL"),
        ],
    ),
    ("Required", &[("any_of!", "value", "Alternatives: columns, or lists of columns")]),
    (
        "Parent",
        &[
            ("table!", "text", "The table"),
            ("key", "texts by name", "Key here: column there"),
            ("carry", "texts by name", "Columns copied from the parent's row"),
            ("bounds", "texts by name", "A lower bound on the time here holds for the time there"),
            ("skip_when", "texts by name", "Parents that surely have no rows"),
        ],
    ),
    ("Detail", &[("path!", "text", "The path")]),
    (
        "Endpoint",
        &[
            ("name!", "text", "What people call it"),
            ("path!", "text", "Path below the address; {{key}} and {{input.name}} are filled in"),
            ("method", "get|post", "How it is asked (get; post for GraphQL)"),
            ("params", "texts by name", "Sent with every request; a name that starts with / is a place in the body"),
            ("body", "value", "What every request's body holds"),
            ("graphql", "text", "A query; {{fields}} are the selected columns' fields"),
            ("rows", "text", "Path of the rows"),
            ("included", "Included", "Objects beside the rows that rows refer to"),
            ("keep_when", "texts by name", "Rows that count"),
            ("pagination", "Pagination", "How to reach the next page"),
            ("page_size", "PageSize", "How to ask for a page of a size"),
            ("order", "Order", "The order rows come in"),
            ("sorts", "Order list", "Other orders"),
            ("filters", "Filter by name", "Predicates the vendor understands, by column"),
            ("conditions", "Conditions", "A JSON filter language"),
            ("fields", "FieldGroups", "Asking for some columns only"),
            ("paths", "value", "Places of columns where they differ here"),
            ("unique", "bool", "Several rows of the answer may be one row"),
            ("empty_is_null", "bool", "Whether \"\" is NULL in every column"),
            ("derived_from", "text", "Noted in the report"),
            ("aggregate", "Aggregate", "Columns computed from another table"),
            ("cap", "Cap", "The vendor's own end"),
            ("notes", "texts by name", "What a reader of a column should know"),
            ("absent", "texts", "Statuses that mean that the server lacks it"),
        ],
    ),
    (
        "Included",
        &[
            ("path!", "text", "The list of objects"),
            ("key!", "text", "The key of an object"),
            ("by!", "text", "Where a row names the key"),
        ],
    ),
    (
        "Pagination",
        &[
            ("type!", "none|page|offset|cursor|link|next_url", "The kind"),
            ("param", "text", "page, offset, cursor: the parameter, or the place in the body"),
            ("start", "value", "page: number of the first, 0 or 1"),
            ("total_pages", "text", "page: path of the number of pages"),
            ("total", "text", "page, offset: path of the number of rows"),
            ("link", "bool", "page: the Link header names the last page"),
            ("more", "text", "offset, cursor: path that says whether there is more"),
            ("next", "text", "cursor, next_url: path of the next one"),
            ("short_ends", "bool", "page, offset, cursor: a page shorter than asked for is the last"),
            ("check_results", "bool", "link: only results=\"true\" counts"),
        ],
    ),
    ("PageSize", &[("param!", "text", "The parameter"), ("max!", "count", "Largest page")]),
    (
        "Order",
        &[
            ("column!", "text", "Ordered by"),
            ("direction!", "asc|desc", "Which way"),
            ("params", "texts by name", "What asks for it"),
        ],
    ),
    (
        "Filter",
        &[
            ("equal", "text", "Parameter for = and IN"),
            ("not_equal", "text", "Parameter for <>"),
            ("contains", "text", "Parameter for LIKE '%x%' where the vendor minds case"),
            ("starts_with", "text", "Parameter for LIKE 'x%' where the vendor minds case"),
            ("ends_with", "text", "Parameter for LIKE '%x' where the vendor minds case"),
            ("contains_any_case", "text", "Parameter for ILIKE '%x%'"),
            ("starts_with_any_case", "text", "Parameter for ILIKE 'x%'"),
            ("ends_with_any_case", "text", "Parameter for ILIKE '%x'"),
            ("list", "no|comma|repeat", "How several values go into one request"),
            ("fan_out", "bool", "Several values become several requests"),
            ("lower", "text", "Parameter for >= and >"),
            ("upper", "text", "Parameter for <= and <"),
            ("lower_inclusive", "bool", "Whether rows at the bound come (true)"),
            ("upper_inclusive", "bool", "Whether rows at the bound come (false)"),
            ("both", "text", "Word for a bound on both sides"),
            ("together", "bool", "Both bounds or none"),
            ("max_days", "count", "Both bounds, and no further apart than so many days, or none"),
            ("format", "iso_ms|iso_s|epoch_s|epoch_ms|slack_ts", "How times are written"),
            ("into", "text", "A parameter that holds a search expression"),
            ("map", "texts by name", "The only values that can be sent, and what each becomes"),
            ("condition", "text", "The column's name in conditions"),
            ("any_of", "text", "How conditions say that it has one of several values, where that differs"),
            ("condition_only", "texts", "What the condition is good for: equal, not_equal, contains, …"),
            ("exact", "bool", "false: more than asked for may come"),
            ("inexact", "texts", "What more than asked for may come of: equal, not_equal, contains, …"),
            ("needs", "texts", "Sent only with predicates on these columns"),
            ("unless", "texts", "Not sent with predicates on these columns"),
            ("replaces", "texts", "Parameters left out when it is sent"),
            ("with", "texts by name", "Parameters sent along"),
            ("echo", "bool", "The pinned value stands in for the column"),
        ],
    ),
    (
        "Conditions",
        &[
            ("param!", "text", "The parameter"),
            ("any_of!", "text", "A column is one of several values"),
            ("lower!", "text", "A time is at or after a bound"),
            ("upper!", "text", "A time is before a bound"),
            ("none_of", "text", "A column is none of several values"),
            ("contains", "text", "A column's text contains a value"),
            ("starts_with", "text", "A column's text starts with a value"),
            ("ends_with", "text", "A column's text ends with a value"),
            ("inexact", "texts", "What more than asked for may come of: not_equal, contains, …"),
            ("always", "texts", "Conditions that always hold"),
        ],
    ),
    (
        "FieldGroups",
        &[
            ("param!", "text", "The parameter"),
            ("always", "texts", "Groups always asked for"),
            ("groups!", "value", "Group: columns that need it"),
        ],
    ),
    (
        "Aggregate",
        &[
            ("table!", "text", "The other table"),
            ("key!", "text", "Its column that holds this table's key"),
            ("columns!", "value", "Column: sum, count, min, max or span of columns there"),
        ],
    ),
    (
        "Cap",
        &[
            ("rows!", "count", "Rows after which the vendor gives no more"),
            ("when", "always|filtered", "When it applies"),
            ("hint!", "text", "What to tell the reader"),
        ],
    ),
];

/// The schema of a spec file.
#[must_use]
pub fn json_schema() -> Value {
    let definitions: Map<String, Value> =
        MAPPINGS.iter().map(|(name, fields)| ((*name).to_owned(), mapping(fields))).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A Tripline source",
        "allOf": [{"$ref": "#/definitions/Source"}],
        "definitions": definitions,
    })
}

fn mapping(fields: &[(&str, &str, &str)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, shape, about) in fields {
        let plain = name.trim_end_matches('!');
        if plain.len() < name.len() {
            required.push(plain);
        }
        let mut schema = of_shape(shape);
        // Draft 7 ignores what stands beside a reference.
        if schema.get("$ref").is_some() {
            schema = json!({ "allOf": [schema] });
        }
        schema["description"] = json!(about);
        properties.insert(plain.to_owned(), schema);
    }
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

fn of_shape(shape: &str) -> Value {
    // Numbers and booleans are taken by their written value.
    let text = json!({"type": ["string", "number", "boolean"]});
    if let Some((one, other)) = shape.split_once(" or ") {
        return json!({"anyOf": [of_shape(one), of_shape(other)]});
    }
    if let Some(name) = shape.strip_suffix(" by name").filter(|name| *name != "texts") {
        return json!({"type": "object", "additionalProperties": of_shape(name)});
    }
    if let Some(name) = shape.strip_suffix(" list") {
        // Some lists also take a plain name instead of a mapping.
        let item = if name == "Required" { json!({"anyOf": [text, of_shape(name)]}) } else { of_shape(name) };
        return json!({"type": "array", "items": item});
    }
    let texts = json!({"anyOf": [text, {"type": "array", "items": text}]});
    match shape {
        "value" => json!({}),
        "text" => text,
        "bool" => json!({"type": "boolean"}),
        "count" => json!({"type": "integer", "minimum": 1}),
        "texts" => texts,
        "texts by name" => json!({"type": "object", "additionalProperties": texts}),
        words if words.contains('|') => json!({ "enum": words.split('|').collect::<Vec<_>>() }),
        name => json!({"$ref": format!("#/definitions/{name}")}),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A spec with one of every mapping; `@Name@` marks where a field could be added.
    const EVERYTHING: &str = r"source: x
description: x
@Source@: 1
base_url: { env: [X], @BaseUrl@: 1 }
inputs: { a: { env: [A], @Input@: 1 } }
auth: { type: none, @Auth@: 1 }
limits: { reset: { header: x, format: epoch_s, @Reset@: 1 }, @Limits@: 1 }
errors: { ok: ok, code: code, @Errors@: 1 }
test: { path: /x, @Test@: 1 }
tables:
  t:
    description: x
    guide: x
    @Table@: 1
    primary_key: [a]
    required: [{ any_of: [k], @Required@: 1 }]
    parent: { table: t, key: { k: a }, @Parent@: 1 }
    detail: { path: /x, @Detail@: 1 }
    columns:
      a: { type: text, about: x, @Column@: 1 }
      n: { type: float, about: x }
      k: { type: text, about: x, from: key }
    endpoints:
      - name: x
        path: /x
        @Endpoint@: 1
        included: { path: a, key: a, by: a, @Included@: 1 }
        pagination: { type: @Pagination@
        page_size: { param: x, max: 1, @PageSize@: 1 }
        order: { column: a, direction: asc, @Order@: 1 }
        filters: { a: { equal: x, @Filter@: 1 } }
        conditions: { param: x, any_of: '0', lower: '0', upper: '0', @Conditions@: 1 }
        fields: { param: x, groups: {}, @FieldGroups@: 1 }
        aggregate: { table: t, key: a, columns: { n: { sum: n } }, @Aggregate@: 1 }
        cap: { rows: 1, hint: x, @Cap@: 1 }
";

    /// A spec in which one mapping has a field that nobody knows, and so is told what it takes.
    fn takes(name: &str, kind: &str) -> BTreeSet<String> {
        let marker = format!("@{name}@");
        assert!(EVERYTHING.contains(&marker), "no mapping {name}");
        let paging = if name == "Pagination" { format!("{kind}, zqzqzqzq: 1 }}") } else { "none }".to_owned() };
        let auth = if name == "Auth" { format!("type: {kind}, @Auth@") } else { "type: none, @Auth@".to_owned() };
        let mut rest = EVERYTHING.replace("@Pagination@", &paging).replace("type: none, @Auth@", &auth);
        rest = rest.replace(&marker, "zqzqzqzq");
        for (other, _) in MAPPINGS {
            rest = rest.replace(&format!(", @{other}@: 1"), "");
            let alone = format!("@{other}@: 1");
            rest = rest.lines().filter(|line| line.trim() != alone).map(|line| format!("{line}\n")).collect();
        }
        let shown = crate::spec::parse("x.yaml", &rest).unwrap_err().to_string();
        let told = shown
            .lines()
            .find_map(|line| line.split_once("no field `zqzqzqzq`; it takes "))
            .unwrap_or_else(|| panic!("{name}: {shown}\n{rest}"));
        told.1.replace(" or ", ", ").split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_just_the_fields_that_the_reader_takes() {
        for (name, fields) in MAPPINGS {
            let kinds: &[&str] = match *name {
                "Pagination" => &["none", "page", "offset", "cursor", "link", "next_url"],
                "Auth" => &["none", "bearer", "basic", "header", "query"],
                _ => &[""],
            };
            let taken: BTreeSet<String> = kinds.iter().flat_map(|kind| takes(name, kind)).collect();
            let described: BTreeSet<String> =
                fields.iter().map(|(name, ..)| name.trim_end_matches('!').to_owned()).collect();
            assert_eq!(taken, described, "{name}");
        }
    }

    /// What is wrong with `value`, as far as the keywords that [`json_schema`] uses say.
    fn judge(root: &Value, schema: &Value, value: &Value, place: &str, wrong: &mut Vec<String>) {
        if let Some(reference) = schema["$ref"].as_str() {
            return judge(root, root.pointer(reference.trim_start_matches('#')).unwrap(), value, place, wrong);
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            judge(root, part, value, place, wrong);
        }
        if let Some(parts) = schema["anyOf"].as_array() {
            let fits = |part: &Value| {
                let mut wrong = Vec::new();
                judge(root, part, value, place, &mut wrong);
                wrong.is_empty()
            };
            if !parts.iter().any(fits) {
                wrong.push(format!("{place}: {value} fits none of {parts:?}"));
            }
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(n) if n.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let is = |wanted: &Value| wanted == kind || (wanted == "number" && kind == "integer");
        let fits = match &schema["type"] {
            Value::Null => true,
            Value::Array(kinds) => kinds.iter().any(is),
            one => is(one),
        };
        if !fits || schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            wrong.push(format!("{place}: {value} does not fit {schema}"));
        }
        for item in value.as_array().into_iter().flatten().filter(|_| schema["items"].is_object()) {
            judge(root, &schema["items"], item, place, wrong);
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            let place = format!("{place}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Value::Null, Value::Bool(false)) => wrong.push(format!("{place} is unknown")),
                (Value::Null, more) => judge(root, more, inner, &place, wrong),
                (known, _) => judge(root, known, inner, &place, wrong),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                wrong.push(format!("{place} lacks {name}"));
            }
        }
    }

    #[test]
    fn the_bundled_specs_fit_the_schema_and_a_wrong_one_does_not() {
        let schema = json_schema();
        for (name, text) in crate::bundled() {
            let value: Value = serde_saphyr::from_str(text).unwrap();
            let mut wrong = Vec::new();
            judge(&schema, &schema, &value, name, &mut wrong);
            assert!(wrong.is_empty(), "{wrong:#?}");
        }
        let (mut wrong, broken) = (Vec::new(), json!({"source": "x", "auth": {"type": "beerer"}, "tabels": {}}));
        judge(&schema, &schema, &broken, "x", &mut wrong);
        let shown = wrong.join("\n");
        for expected in ["beerer", "x.tabels is unknown", "x lacks tables"] {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
    }

    /// With `TRIPLINE_WRITE_PAGES=1` the file is brought up to date instead.
    #[test]
    fn the_schema_in_the_documents_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/source.schema.json");
        let text = format!("{}\n", serde_json::to_string_pretty(&json_schema()).unwrap());
        if std::env::var_os("TRIPLINE_WRITE_PAGES").is_some() {
            std::fs::write(&path, text).unwrap();
        } else {
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text);
        }
    }
}
