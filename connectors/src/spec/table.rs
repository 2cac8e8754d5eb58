//! What a spec says of a table: columns, keys, parents, detail requests, facts about its columns.
//!
//! Owns: [`TableSpec`] and its reader. Does not own: columns (`column`), endpoints (`endpoint`), nor planning (`plan`).
//!
//! Must hold: every column number in a [`TableSpec`] is an index into its `columns` (or, where said so, the columns of
//! the table referred to); tables refer to each other without cycles; a path uses only keys that are always pinned.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use super::column::{Column, ColumnKind, Origin, read_columns};
use super::endpoint::{self, Endpoint};
use super::node::{At, Fields, Node, Problems, Value, nearest, one_of};
use super::source::{Input, Slot, is_name, path_template};
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
    /// Times that a query must bound from below: without a bound the vendor would be asked for everything it ever had.
    pub bounded: Vec<usize>,
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
    let columns_node = fields.required("columns", problems);
    let columns = columns_node.map(|node| read_columns(node, parent.as_ref(), problems)).unwrap_or_default();
    let primary_key = fields
        .required("primary_key", problems)
        .map(|node| node.texts("`primary_key`", problems))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(at, name)| {
            let index = find_column(&name, at, "`primary_key`", &names, problems)?;
            if let Some(column) = columns.get(index)
                && matches!(column.kind, ColumnKind::Float | ColumnKind::Bool | ColumnKind::Json)
            {
                let kind = column.kind.name();
                problems
                    .add(at, format!("`{name}` in `primary_key` is of type {kind}; a key is text, int or timestamp"));
            }
            Some(index)
        })
        .collect();
    let required = fields.take("required").map(|node| read_required(node, &names, problems)).unwrap_or_default();
    let bounded: Vec<usize> = fields
        .take("bounded")
        .map(|node| node.texts("`bounded`", problems))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(at, name)| {
            let index = find_column(&name, at, "`bounded`", &names, problems)?;
            if columns.get(index).is_some_and(|c| c.kind != ColumnKind::Timestamp) {
                problems.add(at, format!("`{name}` in `bounded` is not a timestamp"));
            }
            Some(index)
        })
        .collect();
    let at_most = fields.take("at_most").map(|node| read_at_most(node, &names, &columns, problems)).unwrap_or_default();
    let detail = fields.take("detail").and_then(|node| {
        let mut fields = node.fields("`detail`", problems)?;
        // A detail request is made of what is known before it.
        let is_detail = |index: usize| columns.get(index).is_some_and(|c| matches!(c.origin, Origin::Detail(_)));
        let known: Vec<&str> =
            names.iter().enumerate().map(|(index, name)| if is_detail(index) { "" } else { *name }).collect();
        let path = fields.required("path", problems).and_then(|n| path_template(n, "`path`", inputs, &known, problems));
        fields.finish(problems);
        path
    });
    let outlines: Vec<(&str, Vec<&str>)> = outlines.iter().map(|o| (o.name, o.columns.clone())).collect();
    let mut pinned: Vec<usize> = parent.iter().map(|parent| parent.key.0).collect();
    // Of keys with alternatives none is sure to be there.
    let alone = required.iter().filter(|group: &&Vec<Vec<usize>>| group.len() == 1);
    pinned.extend(alone.flatten().flatten());
    let mut endpoints = Vec::new();
    if let Some(node) = fields.required("endpoints", problems) {
        let items = node.list("`endpoints`", problems).unwrap_or_default();
        if items.is_empty() {
            problems.add(node.at, "`endpoints` must have at least one endpoint");
        }
        for item in items {
            let context =
                endpoint::Context { inputs, columns: &columns, names: &names, tables: &outlines, pinned: &pinned };
            endpoints.extend(endpoint::read(item, &context, problems));
        }
    }
    fields.finish(problems);
    let places = columns_node.map(key_places).unwrap_or_default();
    check_origins(&places, &columns, &required, parent.as_ref(), detail.is_some(), &endpoints, problems);
    let schema = Schema::new(columns.iter().map(|c| Field::new(&c.name, c.kind.data_type(), true)).collect::<Vec<_>>());
    Some(TableSpec {
        name: name.to_owned(),
        description: description?,
        guide: guide?,
        columns,
        schema: Arc::new(schema),
        primary_key,
        required,
        bounded,
        parent,
        at_most,
        detail,
        endpoints,
    })
}

/// Where the keys of a mapping stand.
fn key_places(node: &Node) -> Vec<At> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|(key, _)| key.at).collect(),
        _ => Vec::new(),
    }
}

fn check_origins(
    places: &[At],
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
        let at = places.get(index).copied().unwrap_or_default();
        match &column.origin {
            Origin::Key => {
                let filtered = endpoints.iter().any(|e| e.filters.iter().any(|f| f.column == index));
                if !in_required(index) && !from_parent(index) && !filtered {
                    problems.add(
                        at,
                        format!("the column `{}` is `from: key`, but is neither required, nor supplied by the parent, nor filtered on", column.name),
                    );
                }
            }
            Origin::Detail(_) if !has_detail => {
                problems
                    .add(at, format!("the column `{}` is `from: detail`, but the table has no `detail`", column.name));
            }
            _ => {
                if in_required(index) || from_parent(index) {
                    problems.add(at, format!("the key `{}` must be `from: key`", column.name));
                }
            }
        }
    }
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
