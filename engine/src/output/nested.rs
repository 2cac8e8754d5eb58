//! Lists, structs and maps in CSV, which has no form for them: their JSON, as text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::make_encoder;

use super::{json_options, numbers::Numbers};

/// Whether CSV has no form for values of this type.
fn is_nested(field: &Field) -> bool {
    match field.data_type() {
        DataType::Dictionary(_, values) => values.is_nested(),
        data_type => data_type.is_nested(),
    }
}

/// The columns as CSV has them.
fn flat_schema(schema: &SchemaRef) -> SchemaRef {
    let flat = |field: &FieldRef| match is_nested(field) {
        true => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8).with_nullable(true)),
        false => Arc::clone(field),
    };
    Arc::new(Schema::new(schema.fields().iter().map(flat).collect::<Vec<_>>()))
}

/// A batch with the JSON of its nested columns in their place; one without such columns as it is.
pub(super) fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| is_nested(field)) {
        return Ok(batch.clone());
    }
    let columns = schema.fields().iter().zip(batch.columns());
    let columns =
        columns.map(|(field, column)| if is_nested(field) { text(field, column) } else { Ok(Arc::clone(column)) });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(flat_schema(&schema), columns.collect::<Result<_, _>>()?, &options)
}

fn text(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = json_options(Numbers::as_they_are());
    let mut encoder = make_encoder(field, column, &options)?;
    let mut texts = StringBuilder::new();
    let mut bytes = Vec::new();
    for row in 0..column.len() {
        if encoder.is_null(row) {
            texts.append_null();
            continue;
        }
        bytes.clear();
        encoder.encode(row, &mut bytes);
        texts.append_value(std::str::from_utf8(&bytes).map_err(|error| ArrowError::CsvError(error.to_string()))?);
    }
    Ok(Arc::new(texts.finish()))
}
