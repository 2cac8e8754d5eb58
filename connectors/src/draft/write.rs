//! The draft as YAML.

use std::fmt::Write as _;

use super::api::{Api, Auth, Table};

/// A text in single quotes.
fn quoted(text: &str) -> String {
    let line: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", line.replace('\'', "''"))
}

pub(super) fn write(name: &str, api: &Api, decisions: &[String]) -> String {
    let mut out =
        format!("# {}, drafted from its OpenAPI document. What a person must still decide:\n", one_line(&api.title));
    for decision in decisions {
        let _ = writeln!(out, "#  - {}", one_line(decision));
    }
    let upper = name.to_ascii_uppercase();
    let _ = writeln!(out, "source: {name}\ndescription: {}", quoted(&api.title));
    let _ = writeln!(out, "base_url: {{ env: [{upper}_URL], default: {} }}", quoted(&api.base));
    let secret = |input: &str, variable: &str| {
        format!("  {input}: {{ env: [{upper}_{variable}], required: true, secret: true }}\n")
    };
    match &api.auth {
        Auth::None => out.push_str("auth: { type: none }\n"),
        Auth::Bearer => {
            let _ = write!(out, "inputs:\n{}auth: {{ type: bearer, token: token }}\n", secret("token", "TOKEN"));
        }
        Auth::Basic => {
            let _ = write!(
                out,
                "inputs:\n{}{}auth: {{ type: basic, username: username, password: password }}\n",
                secret("username", "USERNAME"),
                secret("password", "PASSWORD")
            );
        }
        Auth::Header(header) => {
            let (inputs, header) = (secret("key", "API_KEY"), quoted(header));
            let _ = write!(out, "inputs:\n{inputs}auth: {{ type: header, header: {header}, value: key }}\n");
        }
        Auth::Query(param) => {
            let (inputs, param) = (secret("key", "API_KEY"), quoted(param));
            let _ = write!(out, "inputs:\n{inputs}auth: {{ type: query, param: {param}, value: key }}\n");
        }
    }
    let test = api.tables.iter().find(|table| table.keys.is_empty()).map_or("/", |table| table.path.as_str());
    let _ = writeln!(out, "test: {}\ntables:", quoted(test));
    for table in &api.tables {
        write_table(&mut out, table);
    }
    out
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect()
}

fn write_table(out: &mut String, table: &Table) {
    let _ = writeln!(out, "  {}:\n    description: {}", table.name, quoted(&format!("{}.", table.about)));
    let guide = match table.keys.as_slice() {
        [] => "Every query reads the whole list unless a filter narrows it.".to_owned(),
        keys => format!("{} must be pinned.", keys.join(", ")),
    };
    let _ = writeln!(out, "    guide: {}\n    primary_key: [{}]", quoted(&guide), table.primary_key.join(", "));
    if !table.keys.is_empty() {
        let _ = writeln!(out, "    required: [{}]", table.keys.join(", "));
    }
    out.push_str("    columns:\n");
    for column in &table.columns {
        let place = match column.is_key {
            true => "from: key".to_owned(),
            false => format!("path: {}", quoted(&column.path)),
        };
        let _ = writeln!(
            out,
            "      {}: {{ type: {}, {place}, about: {} }}",
            column.name,
            column.kind,
            quoted(&column.about)
        );
    }
    let _ = writeln!(out, "    endpoints:\n      - name: {}\n        path: {}", table.name, quoted(&table.path));
    if !table.rows.is_empty() {
        let _ = writeln!(out, "        rows: {}", quoted(&table.rows));
    }
    if !table.paging.fields.is_empty() {
        let fields: Vec<String> =
            table.paging.fields.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
        let _ = writeln!(out, "        pagination: {{ {} }}", fields.join(", "));
    }
    if let Some((param, max)) = &table.paging.size {
        let _ = writeln!(out, "        page_size: {{ param: {}, max: {max} }}", quoted(param));
    }
    if !table.filters.is_empty() {
        out.push_str("        filters:\n");
        for (column, param, list) in &table.filters {
            let list = list.map(|list| format!(", list: {list}")).unwrap_or_default();
            let _ = writeln!(out, "          {column}: {{ equal: {}{list}, exact: false }}", quoted(param));
        }
    }
}
