//! Rows of the derived tables in the making, as Arrow columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::schema::RunTable;

/// Rows of one batch: what a query takes at a time.
const BATCH_ROWS: usize = 8_192;

enum Column {
    Text(StringBuilder),
    Whole(Int64Builder),
    Float(Float64Builder),
    Truth(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
}

impl Column {
    fn new(kind: &DataType) -> Self {
        match kind {
            DataType::Int64 => Self::Whole(Int64Builder::new()),
            DataType::Float64 => Self::Float(Float64Builder::new()),
            DataType::Boolean => Self::Truth(BooleanBuilder::new()),
            DataType::Timestamp(..) => {
                Self::Time(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Whole(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Truth(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}

/// A value of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    Text(Option<&'a str>),
    Whole(Option<i64>),
    Float(Option<f64>),
    Truth(Option<bool>),
    /// Microseconds since 1970.
    Time(Option<i64>),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Self::Whole(Some(value))
    }
}

impl From<Option<i64>> for Cell<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Whole(value)
    }
}

impl From<Option<f64>> for Cell<'_> {
    fn from(value: Option<f64>) -> Self {
        Self::Float(value)
    }
}

impl From<Option<bool>> for Cell<'_> {
    fn from(value: Option<bool>) -> Self {
        Self::Truth(value)
    }
}

/// The rows of one table.
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    pending: usize,
    batches: Vec<RecordBatch>,
}

impl Rows {
    pub(super) fn new(table: RunTable) -> Self {
        let schema = table.schema();
        let columns = schema.fields().iter().map(|field| Column::new(field.data_type())).collect();
        Self { schema, columns, pending: 0, batches: Vec::new() }
    }

    /// Adds a row; cells come in the order of the table's columns.
    pub(super) fn push<const N: usize>(&mut self, cells: [Cell<'_>; N]) -> Result<(), ArrowError> {
        if N != self.columns.len() {
            return Err(ArrowError::SchemaError(format!("{N} cells for {} columns", self.columns.len())));
        }
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            match (column, cell) {
                (Column::Text(builder), Cell::Text(value)) => builder.append_option(value),
                (Column::Whole(builder), Cell::Whole(value)) => builder.append_option(value),
                (Column::Float(builder), Cell::Float(value)) => builder.append_option(value),
                (Column::Truth(builder), Cell::Truth(value)) => builder.append_option(value),
                (Column::Time(builder), Cell::Time(value)) => builder.append_option(value),
                (_, cell) => return Err(ArrowError::SchemaError(format!("{cell:?} is of another type than its column"))),
            }
        }
        self.pending += 1;
        if self.pending == BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        self.pending = 0;
        self.batches.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        if self.pending > 0 {
            self.flush()?;
        }
        Ok(self.batches)
    }
}
