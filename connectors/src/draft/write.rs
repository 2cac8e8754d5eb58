//! The draft as YAML.

use std::fmt::Write as _;

use super::api::{Api, Filter, Table, snake};
use super::auth::Carrier;

/// A text in single quotes.
fn quoted(text: &str) -> String {
    let line: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", line.replace('\'', "''"))
}

/// A short text in single quotes, spaces kept.
fn quoted_as_it_is(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
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
    let secret =
        |input: &str, variable: &str| format!("  {input}: {{ env: [{variable}], required: true, secret: true }}\n");
    let mut inputs = String::new();
    let mut headers = String::new();
    let mut auth = "{ type: none }".to_owned();
    for (index, credential) in api.credentials.iter().enumerate() {
        let named = |fallback: &str| credential.variable.clone().unwrap_or_else(|| format!("{upper}_{fallback}"));
        match (&credential.carrier, index) {
            (Carrier::Bearer, _) => {
                inputs.push_str(&secret("token", &named("TOKEN")));
                auth = "{ type: bearer, token: token }".to_owned();
            }
            (Carrier::Basic, _) => {
                inputs.push_str(&secret("username", &format!("{upper}_USERNAME")));
                inputs.push_str(&secret("password", &format!("{upper}_PASSWORD")));
                auth = "{ type: basic, username: username, password: password }".to_owned();
            }
            (Carrier::Header(header, prefix), 0) => {
                inputs.push_str(&secret("key", &named("API_KEY")));
                let prefix =
                    if prefix.is_empty() { String::new() } else { format!(", prefix: {}", quoted_as_it_is(prefix)) };
                auth = format!("{{ type: header, header: {}{prefix}, value: key }}", quoted(header));
            }
            (Carrier::Header(header, prefix), _) => {
                let input = snake(header);
                inputs.push_str(&secret(&input, &named(&input.to_ascii_uppercase())));
                let value = quoted_as_it_is(&format!("{prefix}{{{{input.{input}}}}}"));
                let _ = writeln!(headers, "  {}: {value}", quoted(header));
            }
            (Carrier::Query(param), _) => {
                inputs.push_str(&secret("key", &named("API_KEY")));
                auth = format!("{{ type: query, param: {}, value: key }}", quoted(param));
            }
        }
    }
    if !inputs.is_empty() {
        let _ = write!(out, "inputs:\n{inputs}");
    }
    let _ = writeln!(out, "auth: {auth}");
    if !headers.is_empty() {
        let _ = write!(out, "headers:\n{headers}");
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

/// The value of a field of `pagination`: a flag, or text.
fn field(name: &str, value: &str) -> String {
    if name == "link" { value.to_owned() } else { quoted(value) }
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
            table.paging.fields.iter().map(|(name, value)| format!("{name}: {}", field(name, value))).collect();
        let _ = writeln!(out, "        pagination: {{ {} }}", fields.join(", "));
    }
    if let Some((param, max)) = &table.paging.size {
        let _ = writeln!(out, "        page_size: {{ param: {}, max: {max} }}", quoted(param));
    }
    if !table.filters.is_empty() {
        out.push_str("        filters:\n");
        for filter in &table.filters {
            let _ = match filter {
                Filter::Equal(column, param, list) => {
                    let list = list.map(|list| format!(", list: {list}")).unwrap_or_default();
                    writeln!(out, "          {column}: {{ equal: {}{list}, exact: false }}", quoted(param))
                }
                Filter::Range(column, lower, upper) => {
                    let edge = |name: &str, param: &Option<String>| match param {
                        Some(param) => format!("{name}: {}, ", quoted(param)),
                        None => String::new(),
                    };
                    let (lower, upper) = (edge("lower", lower), edge("upper", upper));
                    // Whether the bounds themselves are in is not known: ask for a step more.
                    let format = "lower_inclusive: false, format: iso_s, exact: false";
                    writeln!(out, "          {column}: {{ {lower}{upper}{format} }}")
                }
            };
        }
    }
}
