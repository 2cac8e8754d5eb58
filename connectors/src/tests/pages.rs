//! Every bundled table has a page that says what the spec says, with queries that run.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;

use super::vendor::{Manners, toy};
use crate::testing::World;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/tables")
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
    // The folder has the pages of other schemas too; those are other crates' to check.
    let of_a_source = |file: &String| file.split_once('.').is_some_and(|(s, _)| world.connectors.source(s).is_some());
    let files = std::fs::read_dir(dir()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = files.filter(of_a_source).collect();
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
            let head = source.describe(&table.name).unwrap();
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
