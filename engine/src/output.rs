//! Result surfaces: rows as JSON, NDJSON, CSV, Parquet or an aligned table.
//!
//! JSON keeps every column of every row (NULL is `null`, never absent; what is no number for JSON is text), CSV has the JSON of
//! what it has no form for, timestamps are RFC 3339 in UTC, and large results are written batch by batch.

mod nested;
mod numbers;

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::EncoderOptions;
use arrow::json::writer::{JsonArray, LineDelimited, WriterBuilder};
use arrow::util::display::FormatOptions;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value};

use self::numbers::Numbers;
use crate::report::CompletenessReport;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputFormat {
    /// An aligned text table (holds all rows in memory).
    Table,
    /// One JSON array of row objects.
    Json,
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180 with a header line. Lists, structs and maps are JSON text.
    Csv,
    /// One Parquet file, compressed with Zstandard. Its footer says under `tripline.complete` whether the rows are all.
    Parquet,
}

impl FromStr for OutputFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            other => Err(format!("unknown format '{other}': use table, json, ndjson, csv or parquet")),
        }
    }
}

/// Encoded bytes of a row group that are held before it is written.
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Rows of a row group.
const ROW_GROUP_ROWS: usize = 128 << 10;
const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S%.fZ";

/// How values are written in JSON.
fn json_options(numbers: Numbers) -> EncoderOptions {
    EncoderOptions::default()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIMESTAMP.to_owned())
        .with_timestamp_tz_format(TIMESTAMP.to_owned())
        .with_encoder_factory(Arc::new(numbers))
}

/// A writer of rows as JSON; without `numbers`, what is no number for JSON is `null`.
fn json(numbers: Option<Numbers>) -> WriterBuilder {
    let builder = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_timestamp_format(TIMESTAMP.to_owned())
        .with_timestamp_tz_format(TIMESTAMP.to_owned());
    match numbers {
        Some(numbers) => builder.with_encoder_factory(Arc::new(numbers)),
        None => builder,
    }
}

/// Writes batches in one format to one place.
pub struct RowWriter<W: Write + Send> {
    schema: SchemaRef,
    inner: Inner<W>,
}

enum Inner<W: Write + Send> {
    Table {
        out: W,
        batches: Vec<RecordBatch>,
    },
    Json(arrow::json::Writer<W, JsonArray>, bool),
    Ndjson(arrow::json::Writer<W, LineDelimited>),
    Csv {
        writer: Box<arrow::csv::Writer<W>>,
        wrote: bool,
    },
    /// Opened with the first rows, since a schema may have no form in Parquet.
    Parquet {
        out: Option<W>,
        writer: Option<Box<ArrowWriter<W>>>,
    },
}

impl<W: Write + Send> RowWriter<W> {
    /// A writer of rows with `schema`.
    pub fn new(out: W, format: OutputFormat, schema: SchemaRef) -> Self {
        let inner = match format {
            OutputFormat::Table => Inner::Table { out, batches: Vec::new() },
            OutputFormat::Json => Inner::Json(json(Some(Numbers::as_they_are())).build(out), false),
            OutputFormat::Ndjson => Inner::Ndjson(json(Some(Numbers::as_they_are())).build(out)),
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
            OutputFormat::Parquet => Inner::Parquet { out: Some(out), writer: None },
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
                writer.write(&nested::flat(batch)?)?;
            }
            Inner::Parquet { out, writer } => {
                let writer = opened(out, writer, &self.schema)?;
                writer.write(batch).map_err(of_parquet)?;
                if writer.in_progress_size() > ROW_GROUP_BYTES {
                    writer.flush().map_err(of_parquet)?;
                }
            }
        }
        Ok(())
    }

    /// Ends the output as [`RowWriter::finish`] does, and says within it what `report` says of missing rows, where the
    /// format has a place for that: a table below its rows, Parquet in its footer.
    ///
    /// # Errors
    /// As [`RowWriter::write`].
    pub fn finish_with(mut self, report: &CompletenessReport) -> Result<(), ArrowError> {
        if let Inner::Parquet { out, writer } = &mut self.inner {
            let writer = opened(out, writer, &self.schema)?;
            let entry = |key: &str, value: String| KeyValue::new(format!("tripline.{key}"), value);
            writer.append_key_value_metadata(entry("complete", report.complete.to_string()));
            for warning in &report.warnings {
                writer.append_key_value_metadata(entry("warning", warning.clone()));
            }
        }
        if let Inner::Table { .. } = &self.inner
            && !report.complete
        {
            let Inner::Table { mut out, batches } = self.inner else { return Ok(()) };
            write_table(&mut out, batches, self.schema)?;
            return write_lines(&mut out, &report.warnings);
        }
        self.finish()
    }

    /// Ends the output; an empty result is an empty array, an empty table with its header, or nothing.
    ///
    /// # Errors
    /// As [`RowWriter::write`].
    pub fn finish(self) -> Result<(), ArrowError> {
        match self.inner {
            Inner::Table { mut out, batches } => write_table(&mut out, batches, self.schema)?,
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
                    writer.write(&nested::flat(&RecordBatch::new_empty(self.schema))?)?;
                }
            }
            Inner::Parquet { mut out, mut writer } => {
                opened(&mut out, &mut writer, &self.schema)?;
                if let Some(writer) = writer {
                    let mut out = writer.into_inner().map_err(of_parquet)?;
                    out.flush().map_err(|e| ArrowError::IoError(e.to_string(), e))?;
                }
            }
        }
        Ok(())
    }
}

fn write_table(out: &mut impl Write, batches: Vec<RecordBatch>, schema: SchemaRef) -> Result<(), ArrowError> {
    let options = FormatOptions::default()
        .with_null("")
        .with_timestamp_format(Some(TIMESTAMP))
        .with_timestamp_tz_format(Some(TIMESTAMP));
    let batches = if batches.is_empty() { vec![RecordBatch::new_empty(schema)] } else { batches };
    let text = arrow::util::pretty::pretty_format_batches_with_options(&batches, &options)?;
    writeln!(out, "{text}").map_err(|e| ArrowError::IoError(e.to_string(), e))
}

fn write_lines(out: &mut impl Write, warnings: &[String]) -> Result<(), ArrowError> {
    let mut text = "INCOMPLETE\n".to_owned();
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    out.write_all(text.as_bytes()).map_err(|e| ArrowError::IoError(e.to_string(), e))
}

/// The writer of a Parquet file, which is opened on first use.
fn opened<'w, W: Write + Send>(
    out: &mut Option<W>,
    writer: &'w mut Option<Box<ArrowWriter<W>>>,
    schema: &SchemaRef,
) -> Result<&'w mut ArrowWriter<W>, ArrowError> {
    if let Some(out) = out.take() {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by(concat!("tripline ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let opened = ArrowWriter::try_new(out, SchemaRef::clone(schema), Some(properties)).map_err(of_parquet)?;
        *writer = Some(Box::new(opened));
    }
    let closed = || ArrowError::ParquetError("the file could not be opened".to_owned());
    writer.as_deref_mut().ok_or_else(closed)
}

fn of_parquet(error: ParquetError) -> ArrowError {
    ArrowError::from(error)
}

/// Rows as JSON objects, for reckoning with: what is no number for JSON is `null`, and decimals are doubles.
///
/// # Errors
/// When a value has no JSON form.
pub fn json_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>, ArrowError> {
    rows(schema, batches, json(None))
}

/// Rows as JSON objects, for readers that keep numbers as doubles: whole numbers beyond 2^53, decimals, NaN and infinity are
/// text, which the column's type tells from other text.
///
/// # Errors
/// When a value has no JSON form.
pub fn exact_json_rows(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Map<String, Value>>, ArrowError> {
    rows(schema, batches, json(Some(Numbers::exact())))
}

fn rows(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    builder: WriterBuilder,
) -> Result<Vec<Map<String, Value>>, ArrowError> {
    let mut writer = builder.build::<_, JsonArray>(Vec::new());
    for batch in batches {
        writer.write(batch)?;
    }
    if batches.is_empty() {
        writer.write(&RecordBatch::new_empty(SchemaRef::clone(schema)))?;
    }
    writer.finish()?;
    serde_json::from_slice(&writer.into_inner()).map_err(|e| ArrowError::JsonError(e.to_string()))
}
