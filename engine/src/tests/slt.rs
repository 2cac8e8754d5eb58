//! Runs `engine/slt/*.slt`: SQL behaviour and pinned plans over two toy tables.

use std::path::Path;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{DBOutput, DefaultColumnType, Runner};

use super::toy::{Toy, engine};
use crate::{Engine, EngineError, QueryOptions};

struct Session(Arc<Engine>);

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Session {
    type Error = EngineError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, EngineError> {
        let result = self.0.collect(sql, QueryOptions::default()).await?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in &result.batches {
            let columns: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<String>>());
            }
        }
        // A plan is one cell of several lines: one row each, so that files stay readable.
        if sql.trim_start().to_ascii_uppercase().starts_with("EXPLAIN") {
            rows = rows
                .into_iter()
                .filter(|row| row[0] == "physical_plan")
                .flat_map(|row| row[1].lines().map(|l| vec![l.trim().to_owned()]).collect::<Vec<_>>())
                .collect();
        }
        let types = vec![DefaultColumnType::Text; rows.first().map_or(1, Vec::len)];
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test]
async fn sql_behaves_as_the_slt_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let tables = [
            Arc::new(Toy::new("t", 100).newest_first().sortable()),
            Arc::new(Toy::new("u", 10)),
            Arc::new(Toy::new("keyed", 10).requiring("owner")),
        ];
        let engine = Arc::new(engine(&tables));
        let mut runner = Runner::new(|| async { Ok(Session(Arc::clone(&engine))) });
        runner.run_file_async(&file).await.unwrap_or_else(|e| panic!("{}: {}", file.display(), e.display(false)));
    }
}
