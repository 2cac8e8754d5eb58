//! Names of an answer's columns, each of them once.
//!
//! SQL lets two columns of an answer have one name (`SELECT a.id, b.id`, `SELECT *` of a join). A row as a JSON object has room for
//! one of them, and files with two are read differently by each reader. So what follows the first of a name is renamed, in
//! every format alike, as DuckDB does: `id`, `id_1`, `id_2`; and the report says so.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;

/// Columns with names of their own, and what was renamed.
#[derive(Debug)]
pub(crate) struct Renamed {
    pub(crate) schema: SchemaRef,
    /// One sentence for each column that has another name now.
    pub(crate) notes: Vec<String>,
}

/// Gives each column a name of its own; `None` where each has one already.
pub(crate) fn distinct(schema: &SchemaRef) -> Option<Renamed> {
    let given: HashSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    if given.len() == schema.fields().len() {
        return None;
    }
    let mut taken: HashSet<String> = HashSet::new();
    let mut notes = Vec::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for (position, field) in schema.fields().iter().enumerate() {
        if taken.insert(field.name().clone()) {
            fields.push(Arc::clone(field));
            continue;
        }
        // There are more numbers than columns, so one of them is free.
        let free = (1_usize..).map(|number| format!("{}_{number}", field.name()));
        let Some(name) = free.into_iter().find(|name| !given.contains(name.as_str()) && !taken.contains(name)) else {
            continue;
        };
        notes.push(format!(
            "column {} is called {name} here: another one is called {} (name it with AS)",
            position + 1,
            field.name()
        ));
        taken.insert(name.clone());
        fields.push(Arc::new(field.as_ref().clone().with_name(name)));
    }
    Some(Renamed { schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())), notes })
}

/// The same rows under the names of `schema`.
pub(crate) fn renamed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let own = batch.schema();
    let fields: Vec<_> = own
        .fields()
        .iter()
        .zip(schema.fields())
        .map(|(field, named)| Arc::new(field.as_ref().clone().with_name(named.name())))
        .collect();
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, batch.columns().to_vec(), &options)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn names(given: &[&str]) -> Option<Vec<String>> {
        let fields: Vec<Field> = given.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let renamed = distinct(&Arc::new(Schema::new(fields)))?;
        Some(renamed.schema.fields().iter().map(|field| field.name().clone()).collect())
    }

    #[test]
    fn the_first_of_a_name_keeps_it_and_no_new_name_is_one_that_is_there() {
        assert_eq!(names(&["a", "b", "A"]), None);
        assert_eq!(names(&["x", "x", "y", "x"]).unwrap(), ["x", "x_1", "y", "x_2"]);
        assert_eq!(names(&["x", "x", "x_1", "x_1"]).unwrap(), ["x", "x_2", "x_1", "x_1_1"]);
    }
}
