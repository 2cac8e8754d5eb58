//! What a spec says of a table: columns, keys, parents, detail requests, facts about its columns.
//!
//! Owns: [`TableSpec`] and its reader. Does not own: endpoints (`endpoint`), nor planning (`plan`).
//!
//! Must hold: every column number in a [`TableSpec`] is an index into its `columns` (or, where said so, the columns of
//! the table referred to); tables refer to each other without cycles; a path uses only keys that are always pinned.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::endpoint::{self, Endpoint};
use super::node::{At, Fields, Node, Problems, Value, nearest, one_of};
use super::path::JsonPath;
use super::source::{Input, Slot, is_name, json_path, template};
use super::template::Template;

/// A table, as its spec describes it.
#[derive(Debug)]
pub struct TableSpec {
    /// Its name within the source.
    pub name: String,
    /// What a row is, in a sentence.
    pub description: String,
    /// One line for people and agents: how to ask for it cheaply.
    pub guide: String,
    /// Its columns.
    pub columns: Vec<Column>,
    /// The same as an Arrow schema.
    pub schema: SchemaRef,
    /// Columns that together identify a row within one listing.
    pub primary_key: Vec<usize>,
    /// Keys a query must pin: for each group, alternatives of which one must be complete.
    pub required: Vec<Vec<Vec<usize>>>,
    /// The table whose rows supply keys that a query does not pin.
    pub parent: Option<Parent>,
    /// Pairs `(a, b)` of time columns for which `a <= b` holds in every row.
    pub at_most: Vec<(usize, usize)>,
    /// A request per row that supplies the columns from [`Origin::Detail`].
    pub detail: Option<Template<Slot>>,
    /// Ways to list it: API generations, newest first.
    pub endpoints: Vec<Endpoint>,
}

impl TableSpec {
    /// The position of the column called `name`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether column `index` is among the keys a query must pin.
    #[must_use]
    pub fn is_required(&self, index: usize) -> bool {
        self.required.iter().any(|group| group.iter().any(|set| set.contains(&index)))
    }
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// SQL name.
    pub name: String,
    /// What it holds.
    pub about: String,
    /// Its type.
    pub kind: ColumnKind,
    /// Where its values come from.
    pub origin: Origin,
    /// How the vendor writes times.
    pub time: TimeFormat,
    /// Whether a value that cannot be read becomes NULL instead of an error.
    pub null_on_error: bool,
    /// Whether empty text is NULL.
    pub empty_is_null: bool,
}

/// Column types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// 64-bit integer.
    Int,
    /// 64-bit float.
    Float,
    /// Boolean.
    Bool,
    /// Microseconds, UTC.
    Timestamp,
    /// JSON as text, as the vendor wrote it.
    Json,
}

impl ColumnKind {
    const CHOICES: &[(&'static str, Self)] = &[
        ("text", Self::Text),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("timestamp", Self::Timestamp),
        ("json", Self::Json),
    ];

    /// Its name in specs and documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Its Arrow type.
    #[must_use]
    pub fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// How a vendor writes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeFormat {
    /// ISO 8601 text, or a number whose size says whether it is seconds, milliseconds, micro- or nanoseconds.
    Auto,
    /// ISO 8601 text.
    Iso,
    /// Seconds since 1970, fractions allowed, as number or text.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
}

/// A place in an answer where a value may be, and under what condition it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Where the value is.
    pub path: JsonPath,
    /// It counts only where the value at this path, if any, is one of these texts.
    pub guards: Vec<(JsonPath, Vec<String>)>,
}

/// Where the values of a column come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The row in the answer; the first place with a value wins.
    Answer(Vec<Lookup>),
    /// Whether the row has something other than null at this path.
    Exists(JsonPath),
    /// The value that the query or the parent pinned.
    Key,
    /// A column of the parent's row, by position there.
    Parent(usize),
    /// The answer to the table's detail request.
    Detail(Vec<Lookup>),
}

/// A table whose rows are walked to list this one.
#[derive(Debug, Clone)]
pub struct Parent {
    /// Position of the parent among the source's tables.
    pub table: usize,
    /// The key here that the parent supplies, and its column there.
    pub key: (usize, usize),
    /// `(column here, column there)`.
    pub carry: Vec<(usize, usize)>,
    /// Parents with this text in this column are left out, unless the query constrains the carried column or pins the key.
    pub skip_when: Vec<(usize, String)>,
    /// `(time here, time there)`: a lower bound here holds for the parent's column too, or that is NULL.
    pub bounds: Vec<(usize, usize)>,
}

/// The columns of a table as far as other tables may refer to them.
struct Outline<'a> {
    name: &'a str,
    columns: Vec<&'a str>,
}

/// Reads all tables of a source.
pub(crate) fn read_all(node: &Node, inputs: &[Input], problems: &mut Problems) -> Option<Vec<Arc<TableSpec>>> {
    let entries = node.map("`tables`", problems)?;
    if entries.is_empty() {
        problems.add(node.at, "`tables` must have at least one table");
    }
    let outlines: Vec<Outline<'_>> =
        entries.iter().map(|(key, node)| Outline { name: &key.name, columns: column_names(node) }).collect();
    let mut tables = Vec::new();
    for (key, node) in entries {
        if !is_name(&key.name) {
            problems.add(key.at, format!("`{}` is no name for a table (a-z, 0-9, _; a letter first)", key.name));
        }
        tables.push((key.at, read_table(&key.name, node, inputs, &outlines, problems)));
    }
    report_cycles(&tables, &outlines, problems);
    tables.into_iter().map(|(_, table)| table.map(Arc::new)).collect()
}

fn column_names(table: &Node) -> Vec<&str> {
    let Value::Map(fields) = &table.value else { return Vec::new() };
    fields
        .iter()
        .filter(|(key, _)| key.name == "columns")
        .filter_map(|(_, node)| match &node.value {
            Value::Map(columns) => Some(columns.iter().map(|(key, _)| key.name.as_str())),
            _ => None,
        })
        .flatten()
        .collect()
}

fn report_cycles(tables: &[(At, Option<TableSpec>)], outlines: &[Outline<'_>], problems: &mut Problems) {
    let next = |index: usize| -> Vec<usize> {
        let Some((_, Some(table))) = tables.get(index) else { return Vec::new() };
        let aggregates = table.endpoints.iter().filter_map(|e| e.aggregate.as_ref().map(|a| a.table));
        table.parent.iter().map(|parent| parent.table).chain(aggregates).collect()
    };
    for (start, (at, _)) in tables.iter().enumerate() {
        let mut seen = vec![false; tables.len()];
        let mut stack = next(start);
        while let Some(index) = stack.pop() {
            if index == start {
                problems.add(*at, format!("the table `{}` is, in the end, its own parent", outlines[start].name));
                break;
            }
            if !std::mem::replace(&mut seen[index], true) {
                stack.extend(next(index));
            }
        }
    }
}

/// Finds a column by name; reports it with a suggestion otherwise.
pub(crate) fn find_column(name: &str, at: At, what: &str, columns: &[&str], problems: &mut Problems) -> Option<usize> {
    let found = columns.iter().position(|column| *column == name);
    if found.is_none() {
        let hint = match nearest(name, columns.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there is {}", one_of(columns.iter().copied())),
        };
        problems.add(at, format!("{what} names the column `{name}`, which does not exist; {hint}"));
    }
    found
}

fn read_table(
    name: &str,
    node: &Node,
    inputs: &[Input],
    outlines: &[Outline<'_>],
    problems: &mut Problems,
) -> Option<TableSpec> {
    let what = format!("the table `{name}`");
    let mut fields = node.fields(&what, problems)?;
    let description = fields.required_text("description", problems);
    let guide = fields.required_text("guide", problems);
    let names = column_names(node);
    let parent = fields.take("parent").and_then(|node| read_parent(node, &names, outlines, problems));
    let columns = fields.required("columns", problems).map(|node| read_columns(node, parent.as_ref(), problems));
    let columns = columns.unwrap_or_default();
    let primary_key = fields
        .required("primary_key", problems)
        .map(|node| node.texts("`primary_key`", problems))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(at, column)| find_column(&column, at, "`primary_key`", &names, problems))
        .collect();
    let required = fields.take("required").map(|node| read_required(node, &names, problems)).unwrap_or_default();
    let at_most = fields.take("at_most").map(|node| read_at_most(node, &names, &columns, problems)).unwrap_or_default();
    let detail = fields.take("detail").and_then(|node| {
        let mut fields = node.fields("`detail`", problems)?;
        let path = fields.required("path", problems).and_then(|n| template(n, "`path`", inputs, &names, problems));
        fields.finish(problems);
        path
    });
    let outlines: Vec<(&str, Vec<&str>)> = outlines.iter().map(|o| (o.name, o.columns.clone())).collect();
    let mut endpoints = Vec::new();
    if let Some(node) = fields.required("endpoints", problems) {
        let items = node.list("`endpoints`", problems).unwrap_or_default();
        if items.is_empty() {
            problems.add(node.at, "`endpoints` must have at least one endpoint");
        }
        for item in items {
            let pinned = |index: usize| {
                required.iter().any(|group: &Vec<Vec<usize>>| group.len() == 1 && group[0].contains(&index))
                    || parent.iter().any(|p| p.key.0 == index)
            };
            let context = endpoint::Context { inputs, columns: &columns, names: &names, tables: &outlines };
            let Some(endpoint) = endpoint::read(item, &context, problems) else { continue };
            for slot in endpoint.path.slots() {
                if let Slot::Column(index) = slot
                    && !pinned(*index)
                {
                    problems.add(
                        item.at,
                        format!(
                            "the path uses `{}`, which nothing is sure to supply; put it under `required` or `parent`",
                            names[*index]
                        ),
                    );
                }
            }
            endpoints.push(endpoint);
        }
    }
    fields.finish(problems);
    check_origins(node, &columns, &required, parent.as_ref(), detail.is_some(), &endpoints, problems);
    let schema = Schema::new(columns.iter().map(|c| Field::new(&c.name, c.kind.data_type(), true)).collect::<Vec<_>>());
    Some(TableSpec {
        name: name.to_owned(),
        description: description?,
        guide: guide?,
        columns,
        schema: Arc::new(schema),
        primary_key,
        required,
        parent,
        at_most,
        detail,
        endpoints,
    })
}

fn check_origins(
    node: &Node,
    columns: &[Column],
    required: &[Vec<Vec<usize>>],
    parent: Option<&Parent>,
    has_detail: bool,
    endpoints: &[Endpoint],
    problems: &mut Problems,
) {
    let in_required = |i: usize| required.iter().flatten().any(|set| set.contains(&i));
    let from_parent = |i: usize| parent.is_some_and(|p| p.key.0 == i);
    for (index, column) in columns.iter().enumerate() {
        match &column.origin {
            Origin::Key => {
                let filtered = endpoints.iter().any(|e| e.filters.iter().any(|f| f.column == index));
                if !in_required(index) && !from_parent(index) && !filtered {
                    problems.add(
                        node.at,
                        format!("the column `{}` is `from: key`, but is neither required, nor supplied by the parent, nor filtered on", column.name),
                    );
                }
            }
            Origin::Detail(_) if !has_detail => {
                problems.add(
                    node.at,
                    format!("the column `{}` is `from: detail`, but the table has no `detail`", column.name),
                );
            }
            _ => {
                if in_required(index) || from_parent(index) {
                    problems.add(node.at, format!("the key `{}` must be `from: key`", column.name));
                }
            }
        }
    }
}

fn read_columns(node: &Node, parent: Option<&Parent>, problems: &mut Problems) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    let entries = node.map("`columns`", problems).unwrap_or_default();
    if entries.is_empty() {
        problems.add(node.at, "`columns` must have at least one column");
    }
    for (index, (key, node)) in entries.iter().enumerate() {
        if !is_name(&key.name) {
            problems.add(key.at, format!("`{}` is no name for a column (a-z, 0-9, _; a letter first)", key.name));
        }
        columns.push(read_column(index, &key.name, node, parent, problems));
    }
    columns
}

fn read_column(index: usize, name: &str, node: &Node, parent: Option<&Parent>, problems: &mut Problems) -> Column {
    #[derive(Clone, Copy)]
    enum From {
        Answer,
        Key,
        Parent,
        Detail,
    }
    const FROM: &[(&str, From)] =
        &[("answer", From::Answer), ("key", From::Key), ("parent", From::Parent), ("detail", From::Detail)];
    const TIMES: &[(&str, TimeFormat)] = &[
        ("auto", TimeFormat::Auto),
        ("iso", TimeFormat::Iso),
        ("epoch_s", TimeFormat::EpochS),
        ("epoch_ms", TimeFormat::EpochMs),
        ("slack_ts", TimeFormat::EpochS),
    ];
    // Nested objects are joined by `__`: the default path of `user__login` is `user.login`.
    let default_path = || {
        let segments = name.split("__").map(|s| super::path::Segment::Key(s.to_owned())).collect();
        vec![Lookup { path: JsonPath(segments), guards: Vec::new() }]
    };
    let mut column = Column {
        name: name.to_owned(),
        about: String::new(),
        kind: ColumnKind::Text,
        origin: Origin::Answer(default_path()),
        time: TimeFormat::Auto,
        null_on_error: false,
        empty_is_null: false,
    };
    let what = format!("the column `{name}`");
    let Some(mut fields) = node.fields(&what, problems) else { return column };
    if let Some(kind) = fields.required("type", problems) {
        column.kind = kind.choice("the column `type`", ColumnKind::CHOICES, problems).unwrap_or(ColumnKind::Text);
    }
    column.about = fields.required_text("about", problems).unwrap_or_default();
    let guards = fields.take("when").map(|node| read_guards(node, problems)).unwrap_or_default();
    let mut lookups = match fields.take("path") {
        Some(node) => read_lookups(node, problems),
        None => default_path(),
    };
    for lookup in &mut lookups {
        lookup.guards.extend(guards.iter().cloned());
    }
    let from = fields.take("from").and_then(|n| n.choice("`from`", FROM, problems)).unwrap_or(From::Answer);
    let exists = fields.take("exists").and_then(|n| json_path(n, "`exists`", problems));
    column.origin = match (exists, from) {
        (Some(path), _) => {
            if column.kind != ColumnKind::Bool {
                problems.add(node.at, "`exists` makes a bool column");
            }
            Origin::Exists(path)
        }
        (None, From::Answer) => Origin::Answer(lookups),
        (None, From::Detail) => Origin::Detail(lookups),
        (None, From::Key) => Origin::Key,
        (None, From::Parent) => {
            let carried = parent.and_then(|p| p.carry.iter().find(|(here, _)| *here == index));
            if carried.is_none() {
                problems.add(node.at, format!("the column `{name}` is `from: parent`, but no `parent.carry` names it"));
            }
            Origin::Parent(carried.map_or(0, |(_, there)| *there))
        }
    };
    if let Some(node) = fields.take("format") {
        if column.kind != ColumnKind::Timestamp {
            problems.add(node.at, "`format` is for timestamps only");
        }
        column.time = node.choice("the time `format`", TIMES, problems).unwrap_or(TimeFormat::Auto);
    }
    column.empty_is_null = fields.flag("empty_is_null", false, problems);
    if let Some(node) = fields.take("on_error") {
        // `null` unquoted is YAML's nothing.
        column.null_on_error = matches!(node.value, Value::Null)
            || node.choice("`on_error`", &[("null", true), ("fail", false)], problems).unwrap_or(false);
    }
    fields.finish(problems);
    column
}

fn read_guards(node: &Node, problems: &mut Problems) -> Vec<(JsonPath, Vec<String>)> {
    let mut guards = Vec::new();
    for (key, node) in node.map("`when`", problems).unwrap_or_default() {
        let allowed = node.texts("`when`", problems).into_iter().map(|(_, text)| text).collect();
        match JsonPath::parse(&key.name) {
            Ok(path) => guards.push((path, allowed)),
            Err(error) => problems.add(key.at, error),
        }
    }
    guards
}

/// Reads a path, a guarded path, or a list of either.
pub(crate) fn read_lookups(node: &Node, problems: &mut Problems) -> Vec<Lookup> {
    let one = |node: &Node, problems: &mut Problems| -> Option<Lookup> {
        if matches!(node.value, Value::Map(_)) {
            let mut fields = node.fields("a path", problems)?;
            let path = fields.required("path", problems).and_then(|n| json_path(n, "`path`", problems));
            let guards = fields.take("when").map(|n| read_guards(n, problems)).unwrap_or_default();
            fields.finish(problems);
            Some(Lookup { path: path?, guards })
        } else {
            Some(Lookup { path: json_path(node, "`path`", problems)?, guards: Vec::new() })
        }
    };
    let lookups: Vec<Lookup> = match &node.value {
        Value::List(items) => items.iter().filter_map(|item| one(item, problems)).collect(),
        _ => one(node, problems).into_iter().collect(),
    };
    for lookup in &lookups {
        if lookup.path.is_root() {
            problems.add(node.at, "a column's path must not be empty");
        }
    }
    lookups
}

fn read_required(node: &Node, names: &[&str], problems: &mut Problems) -> Vec<Vec<Vec<usize>>> {
    let mut groups = Vec::new();
    for item in node.list("`required`", problems).unwrap_or_default() {
        if matches!(item.value, Value::Map(_)) {
            let Some(mut fields) = item.fields("a required key", problems) else { continue };
            let alternatives = fields.required("any_of", problems).and_then(|n| n.list("`any_of`", problems));
            let group = alternatives.unwrap_or_default().iter().map(|alternative| {
                let texts = alternative.texts("`any_of`", problems);
                texts.into_iter().filter_map(|(at, c)| find_column(&c, at, "`any_of`", names, problems)).collect()
            });
            groups.push(group.collect());
            fields.finish(problems);
        } else if let Some(text) = item.text("a required key", problems)
            && let Some(index) = find_column(&text, item.at, "`required`", names, problems)
        {
            groups.push(vec![vec![index]]);
        }
    }
    groups
}

fn read_at_most(node: &Node, names: &[&str], columns: &[Column], problems: &mut Problems) -> Vec<(usize, usize)> {
    let mut facts = Vec::new();
    for (at, text) in node.texts("`at_most`", problems) {
        let Some((smaller, larger)) = text.split_once("<=") else {
            problems.add(at, format!("`{text}` is not of the form `column <= column`"));
            continue;
        };
        let smaller = find_column(smaller.trim(), at, "`at_most`", names, problems);
        let larger = find_column(larger.trim(), at, "`at_most`", names, problems);
        if let Some((smaller, larger)) = smaller.zip(larger) {
            for index in [smaller, larger] {
                if columns.get(index).is_some_and(|c| c.kind != ColumnKind::Timestamp) {
                    problems.add(at, format!("`{}` in `at_most` is not a timestamp", names[index]));
                }
            }
            facts.push((smaller, larger));
        }
    }
    facts
}

fn read_pairs(
    fields: &mut Fields<'_>,
    name: &'static str,
    here: &[&str],
    there: &[&str],
    problems: &mut Problems,
) -> Vec<(usize, usize)> {
    let Some(node) = fields.take(name) else { return Vec::new() };
    let what = format!("`{name}`");
    let mut pairs = Vec::new();
    for (key, node) in node.map(&what, problems).unwrap_or_default() {
        let left = find_column(&key.name, key.at, &what, here, problems);
        let right = node.text(&what, problems).and_then(|text| find_column(&text, node.at, &what, there, problems));
        pairs.extend(left.zip(right));
    }
    pairs
}

fn read_parent(node: &Node, names: &[&str], outlines: &[Outline<'_>], problems: &mut Problems) -> Option<Parent> {
    let mut fields = node.fields("`parent`", problems)?;
    let table = fields.required("table", problems).and_then(|node| {
        let name = node.text("`table`", problems)?;
        let found = outlines.iter().position(|outline| outline.name == name);
        if found.is_none() {
            let known = one_of(outlines.iter().map(|o| o.name));
            problems.add(node.at, format!("the parent table `{name}` does not exist; there is {known}"));
        }
        found
    })?;
    let there = outlines[table].columns.as_slice();
    let keys = read_pairs(&mut fields, "key", names, there, problems);
    if keys.len() != 1 {
        problems.add(node.at, "`parent` needs one `key`: which key here is which column there");
    }
    let carry = read_pairs(&mut fields, "carry", names, there, problems);
    let bounds = read_pairs(&mut fields, "bounds", names, there, problems);
    let mut skip_when = Vec::new();
    if let Some(node) = fields.take("skip_when") {
        for (key, node) in node.map("`skip_when`", problems).unwrap_or_default() {
            let column = find_column(&key.name, key.at, "`skip_when`", there, problems);
            skip_when.extend(column.zip(node.text("`skip_when`", problems)));
        }
    }
    fields.finish(problems);
    Some(Parent { table, key: *keys.first()?, carry, skip_when, bounds })
}

/// A map from column name to a value, for readers of other modules.
pub(crate) fn read_by_column<T>(
    node: Option<&Node>,
    what: &str,
    names: &[&str],
    problems: &mut Problems,
    mut read: impl FnMut(&Node, &mut Problems) -> Option<T>,
) -> Vec<(usize, T)> {
    let mut found = BTreeMap::new();
    for (key, node) in node.and_then(|node| node.map(what, problems)).unwrap_or_default() {
        let index = find_column(&key.name, key.at, what, names, problems);
        let value = read(node, problems);
        if let (Some(index), Some(value)) = (index, value) {
            found.insert(index, value);
        }
    }
    found.into_iter().collect()
}
