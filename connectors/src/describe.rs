//! A table in words, for people and agents: what `sources describe` prints, and how every page under `docs/tables`
//! begins.

use std::collections::BTreeMap;

use tripline_engine::{Capabilities, FilterCapability};

use crate::spec::{SourceSpec, TableSpec};

/// Describes `table` of `source` in Markdown.
pub(crate) fn describe(source: &SourceSpec, table: &TableSpec, capabilities: &Capabilities) -> String {
    let mut lines = vec![
        format!("# {}.{}", source.name, table.name),
        String::new(),
        format!("{} {}", table.description, table.guide),
        String::new(),
        serving(source, table, capabilities),
        String::new(),
        "## Columns".to_owned(),
        String::new(),
        "| column | type | what it holds |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    for column in &table.columns {
        let about = column.about.replace('|', "\\|");
        lines.push(format!("| `{}` | {} | {about} |", column.name, column.kind.name()));
    }
    let notes = notes(table);
    if !notes.is_empty() {
        lines.extend(["", "## To know", ""].map(str::to_owned));
        lines.extend(notes);
    }
    if !capabilities.filters.is_empty() {
        lines.extend(
            [
                "",
                "## Predicates handed to the vendor",
                "",
                "Every predicate works; these save requests or rows.",
                "",
                "| column | operators | parameter |",
                "|---|---|---|",
            ]
            .map(str::to_owned),
        );
        lines.extend(filters(table, &capabilities.filters));
    }
    lines.push("\n".to_owned());
    lines.join("\n")
}

/// Sentences on what serves the table, what it requires, how it is ordered and what costs more.
pub(crate) fn serving(source: &SourceSpec, table: &TableSpec, capabilities: &Capabilities) -> String {
    let mut sentences = Vec::new();
    let endpoints: Vec<&str> = table.endpoints.iter().map(|e| e.name.as_str()).collect();
    match endpoints.as_slice() {
        [] => {}
        [one] => sentences.push(format!("Served by `{one}`.")),
        [first, rest @ ..] => {
            sentences.push(format!("Served by `{first}`; on servers that lack it by `{}`.", rest.join("`, `")));
        }
    }
    let set = |set: &Vec<String>| format!("`{}`", set.join("` and `"));
    let required: Vec<String> =
        capabilities.required.iter().map(|key| key.any_of.iter().map(set).collect::<Vec<_>>().join(" or ")).collect();
    if !required.is_empty() {
        let required = required.join(", ");
        sentences.push(format!("Required keys, pinned with `=` or `IN` or supplied by a join: {required}."));
    }
    if !table.bounded.is_empty() {
        let names: Vec<&str> = table.bounded.iter().map(|index| table.columns[*index].name.as_str()).collect();
        sentences.push(format!("A query must bound `{}` from below.", names.join("` and `")));
    }
    if let Some(parent) = &table.parent {
        let key = &table.columns[parent.key.0].name;
        let there = &source.tables[parent.table].name;
        sentences.push(format!("Where `{key}` is not pinned, the rows of `{}.{there}` supply it.", source.name));
    }
    if let Some(order) = &capabilities.natural_order {
        let rows = if required.is_empty() && table.parent.is_none() { "Rows" } else { "Rows of one key" };
        sentences.push(format!("{rows} come ordered by `{order}`."));
    }
    if !capabilities.costly.is_empty() {
        sentences.push(format!("Selecting {} costs further requests.", words(&capabilities.costly)));
    }
    for endpoint in &table.endpoints {
        if let Some(from) = &endpoint.derived_from {
            sentences.push(format!("With `{}` the rows are derived from {from}.", endpoint.name));
        }
        if let Some(cap) = &endpoint.cap {
            let of = if cap.only_filtered { " of a filtered listing" } else { "" };
            let hint = cap.hint.trim_end_matches('.');
            let end =
                format!("An answer that reaches {} rows{of} fails, or says that it is not complete: {hint}.", cap.rows);
            sentences.push(end);
        }
    }
    sentences.join(" ")
}

/// `a`, `b` and `c`.
fn words(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => format!("`{}` and `{last}`", first.join("`, `")),
    }
}

/// What a reader of a column should know, where it depends on who serves the table.
fn notes(table: &TableSpec) -> Vec<String> {
    let mut lines = Vec::new();
    for endpoint in &table.endpoints {
        for (column, note) in &endpoint.notes {
            lines.push(format!("- `{}`, with `{}`: {note}.", table.columns[*column].name, endpoint.name));
        }
    }
    lines
}

/// One table line per column and parameter, in the order of the columns.
fn filters(table: &TableSpec, capabilities: &[FilterCapability]) -> Vec<String> {
    let mut rows: BTreeMap<(usize, &str), Vec<String>> = BTreeMap::new();
    for FilterCapability { column, operator, parameter, .. } in capabilities {
        let position = table.column(column).unwrap_or(usize::MAX);
        rows.entry((position, parameter)).or_default().push(format!("`{}`", operator.sql()));
    }
    let line = |((position, parameter), operators): ((usize, &str), Vec<String>)| {
        let column = table.columns.get(position).map_or("", |column| column.name.as_str());
        let parameter = if parameter == "path" { "part of the path".to_owned() } else { format!("`{parameter}`") };
        format!("| `{column}` | {} | {parameter} |", operators.join(" "))
    };
    rows.into_iter().map(line).collect()
}
