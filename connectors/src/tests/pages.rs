//! Every bundled table has a page that says what the spec says, with queries that run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;
use tripline_engine::{FilterCapability, RemoteTable};

use super::vendor::{Manners, toy};
use crate::Source;
use crate::spec::TableSpec;
use crate::testing::World;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/tables")
}

/// The page down to its examples, as the spec has it.
fn head(source: &Source, table: &TableSpec, remote: &dyn RemoteTable) -> String {
    let capabilities = remote.capabilities();
    let mut page = format!("# {}.{}\n\n{} {}\n", source.name(), table.name, table.description, table.guide);
    let endpoints: Vec<&str> = table.endpoints.iter().map(|e| e.name.as_str()).collect();
    match endpoints.as_slice() {
        [one] => write!(page, "\nServed by `{one}`.").unwrap(),
        [first, rest @ ..] => {
            write!(page, "\nServed by `{first}`; on servers that lack it by `{}`.", rest.join("`, `")).unwrap();
        }
        [] => {}
    }
    let required: Vec<String> = capabilities
        .required
        .iter()
        .map(|key| {
            let sets: Vec<String> = key.any_of.iter().map(|set| format!("`{}`", set.join("` and `"))).collect();
            sets.join(" or ")
        })
        .collect();
    if !required.is_empty() {
        write!(page, " Required keys, pinned with `=` or `IN` or supplied by a join: {}.", required.join(", "))
            .unwrap();
    }
    if let Some(parent) = &table.parent {
        let there = &source.spec().tables[parent.table];
        let key = &table.columns[parent.key.0].name;
        write!(page, " Where `{key}` is not pinned, the rows of `{}.{}` supply it.", source.name(), there.name)
            .unwrap();
    }
    if let Some(order) = &capabilities.natural_order {
        let within = if required.is_empty() && table.parent.is_none() { "Rows come" } else { "Rows of one key come" };
        write!(page, " {within} ordered by `{order}`.").unwrap();
    }
    page.push_str("\n\n## Columns\n\n| column | type | what it holds |\n|---|---|---|\n");
    for column in &table.columns {
        writeln!(page, "| `{}` | {} | {} |", column.name, column.kind.name(), column.about.replace('|', "\\|"))
            .unwrap();
    }
    if !capabilities.filters.is_empty() {
        page.push_str(
            "\n## Predicates handed to the vendor\n\nEvery predicate works; these save requests or rows.\n\n",
        );
        page.push_str("| column | operators | parameter |\n|---|---|---|\n");
        let mut rows: BTreeMap<(usize, String), Vec<String>> = BTreeMap::new();
        for FilterCapability { column, operator, parameter, .. } in &capabilities.filters {
            let position = table.column(column).unwrap();
            rows.entry((position, parameter.clone())).or_default().push(format!("`{}`", operator.sql()));
        }
        for ((position, parameter), operators) in rows {
            writeln!(
                page,
                "| `{}` | {} | {} |",
                table.columns[position].name,
                operators.join(" "),
                parameter_text(&parameter)
            )
            .unwrap();
        }
    }
    page.push('\n');
    page
}

fn parameter_text(parameter: &str) -> String {
    if parameter == "path" { "part of the path".to_owned() } else { format!("`{parameter}`") }
}

/// The SQL of a page's examples.
fn examples(page: &str) -> Vec<String> {
    let blocks = page.split("```sql\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().trim().trim_end_matches(';').to_owned()).collect()
}

fn world() -> World {
    World::bundled(toy(Manners::default()))
}

#[test]
fn every_bundled_table_has_a_page_and_every_page_a_table() {
    let world = world();
    let mut expected: Vec<String> = Vec::new();
    for source in world.connectors.sources() {
        expected.extend(source.tables().iter().map(|t| format!("{}.{}.md", source.name(), t.name())));
    }
    expected.sort();
    let mut found: Vec<String> =
        std::fs::read_dir(dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    assert_eq!(found, expected);
}

/// With `TRIPLINE_WRITE_PAGES=1` the pages are brought up to date instead.
#[test]
fn every_page_says_what_the_spec_says() {
    let world = world();
    for source in world.connectors.sources() {
        for table in &source.spec().tables {
            let path = dir().join(format!("{}.{}.md", source.name(), table.name));
            let page = std::fs::read_to_string(&path).unwrap();
            let head = head(source, table, source.table(&table.name).unwrap().as_ref());
            let (before, after) = page.split_once("## Examples").expect("a page has examples");
            if std::env::var_os("TRIPLINE_WRITE_PAGES").is_some() {
                std::fs::write(&path, format!("{head}## Examples{after}")).unwrap();
            } else {
                assert_eq!(before, head, "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn every_example_on_a_page_is_a_query_that_runs() {
    let world = world();
    let context = SessionContext::new();
    let catalog = context.catalog("datafusion").unwrap();
    for source in world.connectors.sources() {
        let schema = MemorySchemaProvider::new();
        for table in source.tables() {
            schema.register_table(table.name().to_owned(), Arc::new(EmptyTable::new(table.schema()))).unwrap();
        }
        catalog.register_schema(source.name(), Arc::new(schema)).unwrap();
    }
    for source in world.connectors.sources() {
        for table in &source.spec().tables {
            let name = format!("{}.{}", source.name(), table.name);
            let page = std::fs::read_to_string(dir().join(format!("{name}.md"))).unwrap();
            let examples = examples(&page);
            assert!(examples.len() >= 2, "{name} has {} examples", examples.len());
            for sql in examples {
                assert!(sql.contains(&name), "{name}: {sql}");
                let frame = context.sql(&sql).await.unwrap_or_else(|e| panic!("{name}: {e}\n{sql}"));
                frame.collect().await.unwrap_or_else(|e| panic!("{name}: {e}\n{sql}"));
            }
        }
    }
}

#[test]
fn the_small_spec_in_the_description_of_the_format_is_valid() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/connectors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let example = text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let spec = crate::spec::parse("docs/connectors.md", example).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(spec.tables.len(), 2);
}
