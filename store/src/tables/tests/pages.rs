//! The pages in docs/tables: one per table, with its very columns, and examples that run.

use super::{filled, session};
use crate::conformance::fixtures::scope;
use crate::sqlite::tests::Home;
use crate::tables::{ColumnKind, TableSpec, table_specs};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/tables")
}

fn page(spec: &TableSpec) -> String {
    let path = folder().join(format!("{}.{}.md", spec.schema, spec.name));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of the rows of a page's table of columns.
fn cells(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|line| line.trim_matches('|').splitn(4, '|').map(str::trim).collect()).collect()
}

fn examples(page: &str) -> Vec<&str> {
    page.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn each_table_of_the_store_has_a_page_and_each_page_a_table() {
    let pages: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("agent.") || name.starts_with("ingest."))
        .collect();
    let tables: BTreeSet<_> = table_specs().iter().map(|spec| format!("{}.{}.md", spec.schema, spec.name)).collect();
    assert_eq!(pages, tables);
}

#[test]
fn a_page_lists_the_columns_that_its_table_has() {
    for spec in table_specs() {
        let page = page(spec);
        let declared: Vec<_> = spec
            .columns
            .iter()
            .map(|column| {
                let kind = match column.kind {
                    ColumnKind::Text => "Utf8",
                    ColumnKind::Integer => "Int64",
                    ColumnKind::Float => "Float64",
                    ColumnKind::Boolean => "Boolean",
                    ColumnKind::Time => "Timestamp(µs, UTC)",
                };
                vec![column.name, kind, if column.nullable { "yes" } else { "no" }]
            })
            .collect();
        let written: Vec<_> = cells(&page).into_iter().map(|cells| cells[..3].to_vec()).collect();
        assert_eq!(written, declared, "{}.{}", spec.schema, spec.name);
        assert!(cells(&page).iter().all(|cells| !cells[3].is_empty()), "{}: a column is not explained", spec.name);
    }
}

#[tokio::test]
async fn the_examples_of_each_page_run() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    for spec in table_specs() {
        let page = page(spec);
        let examples = examples(&page);
        assert!(examples.len() >= 2, "{} has too few examples", spec.name);
        for sql in examples {
            assert!(sql.contains(&format!("{}.{}", spec.schema, spec.name)), "{sql}");
            let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
            frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        }
    }
}
