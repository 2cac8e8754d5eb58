//! From parameters to a request: which of them go into the query string and which into the body.
//!
//! Owns: building JSON bodies and GraphQL selections. Does not own: which parameters there are (`plan`), sending.
//!
//! Must hold: a value is one JSON value whatever it contains; a GraphQL query differs between two scans only in the
//! fields that the spec names.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::http::Target;
use crate::spec::{
    BodyTemplate, Column, ColumnKind, Endpoint, Graphql, JsonKind, JsonPath, Lookup, Origin, Part, Segment, Slot,
    TableSpec, Template,
};

/// The target of a request for a page: `params` that name a place in the body are put there. `fill` is the text of a
/// placeholder of the body.
pub(crate) fn target<E>(
    table: &TableSpec,
    endpoint: &Endpoint,
    columns: &[usize],
    path: String,
    params: Vec<(String, String)>,
    fill: &mut impl FnMut(&Slot) -> Result<String, E>,
) -> Result<Target, E> {
    if !endpoint.post {
        return Ok(Target { path, params, body: None });
    }
    let (in_body, params): (Vec<_>, Vec<_>) = params.into_iter().partition(|(name, _)| name.starts_with('/'));
    let mut body = match &endpoint.body {
        Some(template) => value(template, &table.columns, fill)?,
        None => Value::Object(Map::new()),
    };
    if let Some(graphql) = &endpoint.graphql {
        put(&mut body, "/query", Value::from(query(graphql, table, endpoint, columns)), false);
    }
    for (place, text) in in_body {
        let (kind, list) = endpoint.kinds.get(&place).copied().unwrap_or((JsonKind::Text, false));
        put(&mut body, &place, typed(text, kind), list);
    }
    Ok(Target { path, params, body: Some(body) })
}

/// Fills in a body; `columns` are those that its placeholders count in.
pub(crate) fn value<E>(
    template: &BodyTemplate,
    columns: &[Column],
    fill: &mut impl FnMut(&Slot) -> Result<String, E>,
) -> Result<Value, E> {
    Ok(match template {
        BodyTemplate::Value(value) => value.clone(),
        BodyTemplate::Text(text) => filled(text, columns, fill)?,
        BodyTemplate::List(items) => {
            Value::Array(items.iter().map(|item| value(item, columns, fill)).collect::<Result<_, E>>()?)
        }
        BodyTemplate::Map(entries) => {
            let entries = entries.iter().map(|(key, item)| Ok((key.clone(), value(item, columns, fill)?)));
            Value::Object(entries.collect::<Result<_, E>>()?)
        }
    })
}

fn filled<E>(
    template: &Template<Slot>,
    columns: &[Column],
    fill: &mut impl FnMut(&Slot) -> Result<String, E>,
) -> Result<Value, E> {
    if let [Part::Slot(slot)] = template.0.as_slice() {
        let kind = match slot {
            Slot::Column(index) => match columns.get(*index).map(|column| column.kind) {
                Some(ColumnKind::Int | ColumnKind::Float) => JsonKind::Number,
                Some(ColumnKind::Bool) => JsonKind::Bool,
                _ => JsonKind::Text,
            },
            Slot::Now(style) if style.is_number() => JsonKind::Number,
            Slot::Now(_) | Slot::Input(_) => JsonKind::Text,
        };
        return Ok(typed(fill(slot)?, kind));
    }
    let mut text = String::new();
    for part in &template.0 {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Slot(slot) => text.push_str(&fill(slot)?),
        }
    }
    Ok(Value::from(text))
}

/// The text as a JSON value of a type; a string where it cannot be one.
fn typed(text: String, kind: JsonKind) -> Value {
    let parsed = match kind {
        JsonKind::Text => None,
        JsonKind::Number => serde_json::from_str(&text).ok().filter(Value::is_number),
        JsonKind::Bool => text.parse::<bool>().ok().map(Value::from),
        JsonKind::Json => serde_json::from_str(&text).ok(),
    };
    parsed.unwrap_or(Value::String(text))
}

/// Puts a value at a JSON pointer, making the objects on the way. A list gets one more item.
fn put(body: &mut Value, pointer: &str, new: Value, list: bool) {
    let mut place = body;
    for segment in pointer.split('/').skip(1) {
        let key = segment.replace("~1", "/").replace("~0", "~");
        // A spec that puts a value both at a place and below it gets the latter.
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(map) = place else { return };
        place = map.entry(key).or_insert(Value::Null);
    }
    match place {
        Value::Array(items) if list => items.push(new),
        _ if list => *place = Value::Array(vec![new]),
        _ => *place = new,
    }
}

/// Fields to ask for.
#[derive(Debug, Default)]
struct Selection {
    fields: BTreeMap<String, Selection>,
    /// A selection of the spec's own below here.
    own: Option<String>,
}

impl Selection {
    fn want(&mut self, path: &JsonPath, own: Option<&String>) {
        let mut place = self;
        for segment in &path.0 {
            // GraphQL asks for all items of a list or none.
            if let Segment::Key(key) = segment {
                place = place.fields.entry(key.clone()).or_default();
            }
        }
        if let Some(own) = own {
            place.own = Some(own.clone());
        }
    }

    fn write(&self, out: &mut String) {
        for (position, (name, inner)) in self.fields.iter().enumerate() {
            if position > 0 {
                out.push(' ');
            }
            out.push_str(name);
            if let Some(own) = &inner.own {
                out.push_str(own);
            } else if !inner.fields.is_empty() {
                out.push_str(" { ");
                inner.write(out);
                out.push_str(" }");
            }
        }
    }
}

/// The query that asks for what `columns` need and nothing else.
fn query(graphql: &Graphql, table: &TableSpec, endpoint: &Endpoint, columns: &[usize]) -> String {
    let mut selection = Selection::default();
    for (path, _) in &endpoint.keep {
        selection.want(path, None);
    }
    for &index in columns {
        let Some(column) = table.columns.get(index) else { continue };
        let own = endpoint.lookups.iter().find(|(i, _)| *i == index).map(|(_, lookups)| lookups);
        let mut want = |lookups: &[Lookup]| {
            for lookup in lookups {
                selection.want(&lookup.path, column.select.as_ref());
                lookup.guards.iter().for_each(|(guard, _)| selection.want(guard, None));
            }
        };
        match (own, &column.origin) {
            (Some(lookups), _) | (None, Origin::Answer(lookups)) => want(lookups),
            (None, Origin::Exists(path)) => selection.want(path, column.select.as_ref()),
            _ => {}
        }
    }
    let mut fields = String::new();
    selection.write(&mut fields);
    if fields.is_empty() {
        // Rows are counted; GraphQL wants a field all the same.
        fields.push_str("__typename");
    }
    let text = format!("{}{fields}{}", graphql.before, graphql.after);
    // One line, so that it can be shown in one. (A spec's query holds no string with meaningful white space.)
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
