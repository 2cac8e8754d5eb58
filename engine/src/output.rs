//! Result surfaces: rows as JSON, NDJSON, CSV or an aligned table.
//!
//! JSON keeps every column of every row (NULL is `null`, never absent), timestamps are RFC 3339 in UTC, and large
//! results are written batch by batch.

use std::io::Write;
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::display::FormatOptions;
use serde_json::{Map, Value};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// An aligned text table (holds all rows in memory).
    Table,
    /// One JSON array of row objects.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180 with a header line.
    Csv,
}

impl FromStr for OutputFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            other => Err(format!("unknown format '{other}': use table, json, ndjson or csv")),
        }
    }
}

const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// Writes batches in one format to one place.
pub struct RowWriter<W: Write> {
    schema: SchemaRef,
    inner: Inner<W>,
}

enum Inner<W: Write> {
    Table { out: W, batches: Vec<RecordBatch> },
    Json(arrow::json::Writer<W, arrow::json::writer::JsonArray>, bool),
    Ndjson(arrow::json::Writer<W, arrow::json::writer::LineDelimited>),
    Csv { writer: Box<arrow::csv::Writer<W>>, wrote: bool },
}

impl<W: Write> RowWriter<W> {
    /// A writer of rows with `schema`.
    pub fn new(out: W, format: OutputFormat, schema: SchemaRef) -> Self {
        let json = || {
            arrow::json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .with_timestamp_format(TIMESTAMP.to_owned())
                .with_timestamp_tz_format(TIMESTAMP.to_owned())
        };
        let inner = match format {
            OutputFormat::Table => Inner::Table { out, batches: Vec::new() },
            OutputFormat::Json => Inner::Json(json().build(out), false),
            OutputFormat::Ndjson => Inner::Ndjson(json().build(out)),
            OutputFormat::Csv => Inner::Csv {
                writer: Box::new(
                    arrow::csv::WriterBuilder::new()
                        .with_header(true)
                        .with_timestamp_format(TIMESTAMP.to_owned())
                        .with_timestamp_tz_format(TIMESTAMP.to_owned())
                        .build(out),
                ),
                wrote: false,
            },
        };
        Self { schema, inner }
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// When the destination cannot be written or a value has no form in this format.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match &mut self.inner {
            Inner::Table { batches, .. } => batches.push(batch.clone()),
            Inner::Json(writer, wrote) => {
                *wrote = true;
                writer.write(batch)?;
            }
            Inner::Ndjson(writer) => writer.write(batch)?,
            Inner::Csv { writer, wrote } => {
                *wrote = true;
                writer.write(batch)?;
            }
        }
        Ok(())
    }

    /// Ends the output; an empty result is an empty array, an empty table with its header, or nothing.
    ///
    /// # Errors
    /// As [`RowWriter::write`].
    pub fn finish(self) -> Result<(), ArrowError> {
        match self.inner {
            Inner::Table { mut out, batches } => {
                let options = FormatOptions::default()
                    .with_null("")
                    .with_timestamp_format(Some(TIMESTAMP))
                    .with_timestamp_tz_format(Some(TIMESTAMP));
                let batches = if batches.is_empty() { vec![RecordBatch::new_empty(self.schema)] } else { batches };
                let text = arrow::util::pretty::pretty_format_batches_with_options(&batches, &options)?;
                writeln!(out, "{text}").map_err(|e| ArrowError::IoError(e.to_string(), e))?;
            }
            Inner::Json(mut writer, wrote) => {
                if !wrote {
                    writer.write(&RecordBatch::new_empty(self.schema))?;
                }
                writer.finish()?;
                let mut out = writer.into_inner();
                writeln!(out).map_err(|e| ArrowError::IoError(e.to_string(), e))?;
            }
            Inner::Ndjson(mut writer) => writer.finish()?,
            Inner::Csv { mut writer, wrote } => {
                if !wrote {
                    writer.write(&RecordBatch::new_empty(self.schema))?;
                }
            }
        }
        Ok(())
    }
}

/// Rows as JSON objects.
///
/// # Errors
/// When a value has no JSON form.
pub fn json_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = RowWriter::new(&mut bytes, OutputFormat::Json, SchemaRef::clone(schema));
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    serde_json::from_slice(&bytes).map_err(|e| ArrowError::JsonError(e.to_string()))
}
