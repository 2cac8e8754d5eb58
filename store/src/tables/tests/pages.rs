//! The pages in docs/tables: one per table, with its very columns, and examples that run.

use super::{filled, session};
use crate::conformance::fixtures::scope;
use crate::sqlite::OpenMode;
use crate::sqlite::tests::Home;
use crate::tables::{SqlTable, sql_tables};
use datafusion::arrow::datatypes::DataType;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/tables")
}

/// Every table of the store.
fn tables() -> Vec<SqlTable> {
    sql_tables(&Home::new().open(OpenMode::Serve), &scope())
}

fn page(table: &SqlTable) -> String {
    let path = folder().join(format!("{}.{}.md", table.schema, table.name));
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
    let tables: BTreeSet<_> = tables().iter().map(|table| format!("{}.{}.md", table.schema, table.name)).collect();
    assert_eq!(pages, tables);
}

#[test]
fn a_page_lists_the_columns_that_its_table_has() {
    for table in tables() {
        let page = page(&table);
        let schema = table.provider.schema();
        let declared: Vec<_> = schema
            .fields()
            .iter()
            .map(|field| {
                let kind = match field.data_type() {
                    DataType::Timestamp(..) => "Timestamp(µs, UTC)".to_owned(),
                    other => other.to_string(),
                };
                vec![field.name().clone(), kind, if field.is_nullable() { "yes" } else { "no" }.to_owned()]
            })
            .collect();
        let written: Vec<Vec<String>> =
            cells(&page).into_iter().map(|cells| cells[..3].iter().map(|cell| (*cell).to_owned()).collect()).collect();
        assert_eq!(written, declared, "{}.{}", table.schema, table.name);
        assert!(cells(&page).iter().all(|cells| !cells[3].is_empty()), "{}: a column is not explained", table.name);
    }
}

#[tokio::test]
async fn the_examples_of_each_page_run() {
    let home = Home::new();
    let context = session(&filled(&home).await, &scope());
    for table in tables() {
        let page = page(&table);
        let examples = examples(&page);
        assert!(examples.len() >= 2, "{} has too few examples", table.name);
        for sql in examples {
            assert!(sql.contains(&format!("{}.{}", table.schema, table.name)), "{sql}");
            let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
            frame.collect().await.unwrap_or_else(|error| panic!("{sql}\n{error}"));
        }
    }
}
