//! Made-up rows of five vendors' tables: the same ones on every machine, any stretch of time of them without the rest.
//!
//! Owns: what the rows are, and serving them as remote tables ([`Kept`]) and as Parquet files for others to read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tripline_engine::{
    Bound, Capabilities, Constraints, PageStream, RemoteTable, RequestPlan, ScanError, ScanErrorKind, ScanRequest,
    ScanRun, ScanShape, SortKey,
};

use crate::templates::now;

const DAY_US: i64 = 86_400_000_000;
const HISTORY_US: i64 = 90 * DAY_US;
/// Rows of a batch.
const BATCH: u64 = 65_536;

/// A table of made-up rows. Row 0 is the newest.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// The column that copies are kept by.
    pub(crate) time: &'static str,
    pub(crate) rows: u64,
    /// The value of a column in a row.
    cell: fn(&str, i64) -> Cell,
}

/// A value.
enum Cell {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    /// Microseconds since 1970.
    Time(i64),
}

pub(crate) const TABLES: &[Table] = &[
    Table { name: "langfuse.observations", time: "start_time", rows: 10_000_000, cell: observation },
    Table { name: "sentry.issues", time: "last_seen", rows: 2_000, cell: issue },
    Table { name: "github.commits", time: "commit__committer__date", rows: 300, cell: commit },
    Table { name: "github.pulls", time: "merged_at", rows: 1_000, cell: pull },
    Table { name: "slack.messages", time: "ts", rows: 20_000, cell: message },
];

impl Table {
    /// When row `n` happened.
    fn at(&self, n: i64) -> i64 {
        now().timestamp_micros() - (n + 1) * (HISTORY_US / i64::try_from(self.rows).unwrap_or(i64::MAX))
    }

    /// The rows `[first, end)`, some columns.
    fn batch(&self, schema: &SchemaRef, first: u64, end: u64) -> Result<RecordBatch, arrow::error::ArrowError> {
        let numbers = || (first..end).map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let columns: Vec<ArrayRef> = schema
            .fields()
            .iter()
            .map(|field| {
                let cell = |n: i64| {
                    if field.name() == self.time { Cell::Time(self.at(n)) } else { (self.cell)(field.name(), n) }
                };
                column(field.data_type(), numbers().map(cell).collect())
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(usize::try_from(end - first).ok());
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
    }

    /// The numbers of the rows within `[from, until)`, microseconds.
    fn between(&self, from: i64, until: i64) -> (u64, u64) {
        let step = HISTORY_US / i64::try_from(self.rows).unwrap_or(i64::MAX);
        let age = |at: i64| now().timestamp_micros().saturating_sub(at);
        // at(n) < until, at(n) >= from.
        let first = age(until).div_euclid(step).max(0).cast_unsigned();
        let end = age(from).div_euclid(step).max(0).cast_unsigned();
        (first.min(self.rows), end.min(self.rows))
    }

    /// Writes all rows into one file, oldest first, without columns that are always NULL; the file's place.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, Box<dyn std::error::Error>> {
        let path = folder.join(format!("{}.parquet", self.name));
        if path.exists() {
            return Ok(path);
        }
        std::fs::create_dir_all(folder)?;
        let kinds = [
            ("time", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("text", DataType::Utf8),
            ("int", DataType::Int64),
            ("float", DataType::Float64),
        ];
        let kind =
            |word: &str| kinds.iter().find(|(name, _)| *name == word).map_or(DataType::Null, |(_, kind)| kind.clone());
        let fields = self.columns().iter().map(|(name, word)| arrow::datatypes::Field::new(*name, kind(word), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let level = Compression::ZSTD(ZstdLevel::try_new(1)?);
        let properties =
            WriterProperties::builder().set_compression(level).set_max_row_group_row_count(Some(122_880)).build();
        let next = path.with_extension("next");
        let mut writer = ArrowWriter::try_new(std::fs::File::create(&next)?, Arc::clone(&schema), Some(properties))?;
        let mut end = self.rows;
        while end > 0 {
            let first = end.saturating_sub(BATCH);
            let batch = self.batch(&schema, first, end)?;
            let backwards: arrow::array::UInt64Array = (0..end - first).rev().collect();
            writer.write(&arrow::compute::take_record_batch(&batch, &backwards)?)?;
            end = first;
        }
        writer.close()?;
        std::fs::rename(next, &path)?;
        Ok(path)
    }

    /// Columns that hold something, and of what kind.
    fn columns(&self) -> &'static [(&'static str, &'static str)] {
        match self.name {
            "langfuse.observations" => &[
                ("id", "text"),
                ("trace_id", "text"),
                ("type", "text"),
                ("name", "text"),
                ("start_time", "time"),
                ("end_time", "time"),
                ("level", "text"),
                ("model", "text"),
                ("input_tokens", "int"),
                ("output_tokens", "int"),
                ("total_cost", "float"),
                ("user_id", "text"),
                ("session_id", "text"),
                ("environment", "text"),
            ],
            "sentry.issues" => &[
                ("id", "text"),
                ("title", "text"),
                ("level", "text"),
                ("status", "text"),
                ("project", "text"),
                ("count", "int"),
                ("first_seen", "time"),
                ("last_seen", "time"),
            ],
            "github.commits" => &[
                ("owner", "text"),
                ("repo", "text"),
                ("sha", "text"),
                ("commit__message", "text"),
                ("commit__author__name", "text"),
                ("author__login", "text"),
                ("commit__committer__date", "time"),
            ],
            "github.pulls" => &[
                ("owner", "text"),
                ("repo", "text"),
                ("number", "int"),
                ("title", "text"),
                ("state", "text"),
                ("user__login", "text"),
                ("merged_at", "time"),
                ("additions", "int"),
                ("deletions", "int"),
            ],
            _ => &[
                ("channel", "text"),
                ("channel_name", "text"),
                ("ts", "time"),
                ("ts_raw", "text"),
                ("text", "text"),
                ("user", "text"),
                ("username", "text"),
                ("bot_id", "text"),
            ],
        }
    }
}

/// Values as a column; one of another type is NULL.
fn column(kind: &DataType, cells: Vec<Cell>) -> ArrayRef {
    match kind {
        DataType::Utf8 => Arc::new(StringArray::from_iter(cells.into_iter().map(|cell| match cell {
            Cell::Text(text) => Some(text),
            Cell::Int(n) => Some(n.to_string()),
            _ => None,
        }))),
        DataType::Int64 => Arc::new(Int64Array::from_iter(cells.into_iter().map(|cell| match cell {
            Cell::Int(n) => Some(n),
            _ => None,
        }))),
        DataType::Float64 => Arc::new(Float64Array::from_iter(cells.into_iter().map(|cell| match cell {
            Cell::Float(x) => Some(x),
            _ => None,
        }))),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = cells.into_iter().map(|cell| match cell {
                Cell::Time(at) => Some(at),
                _ => None,
            });
            Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone_opt(zone.clone()))
        }
        other => new_null_array(other, cells.len()),
    }
}

/// A number that looks like chance and is not.
fn mixed(n: i64) -> i64 {
    n.wrapping_mul(2_654_435_761).rem_euclid(1_000_003)
}

fn pick(words: &[&str], n: i64) -> Cell {
    let len = i64::try_from(words.len()).unwrap_or(1);
    let place = usize::try_from(n.rem_euclid(len)).unwrap_or(0);
    words.get(place).map_or(Cell::Null, |word| Cell::Text((*word).to_owned()))
}

/// Every second one is a generation; five make a trace, and now and then a loop of a hundred does.
fn observation(column: &str, n: i64) -> Cell {
    let is_generation = n % 2 == 0;
    match column {
        "id" => Cell::Text(format!("o{n:08}")),
        "trace_id" if (n / 100) % 10 == 0 => Cell::Text(format!("loop{:07}", n / 100)),
        "trace_id" => Cell::Text(format!("t{:07}", n / 5)),
        "type" if is_generation => Cell::Text("GENERATION".to_owned()),
        "type" => pick(&["SPAN", "EVENT", "TOOL"], n / 2),
        "name" => Cell::Text(format!("feature-{:02}", mixed(n) % 20)),
        "end_time" => Cell::Time(TABLES[0].at(n) + 1000 * (200 + mixed(n) % 5_000)),
        "level" => pick(&["DEFAULT", "DEFAULT", "DEFAULT", "ERROR"], mixed(n)),
        "model" if is_generation => pick(&["gpt-4o", "gpt-4o-mini", "claude-sonnet"], mixed(n)),
        "input_tokens" if is_generation => Cell::Int(100 + mixed(n) % 4_000),
        "output_tokens" if is_generation => Cell::Int(10 + mixed(n) % 900),
        #[allow(clippy::cast_precision_loss, reason = "below 1000")]
        "total_cost" if is_generation => Cell::Float((1 + mixed(n) % 1_000) as f64 / 100_000.0),
        "user_id" => Cell::Text(format!("u{:04}", mixed(n) % 5_000)),
        "session_id" => Cell::Text(format!("s{:06}", n / 40)),
        "environment" => Cell::Text("production".to_owned()),
        _ => Cell::Null,
    }
}

fn issue(column: &str, n: i64) -> Cell {
    match column {
        "id" => Cell::Text(format!("{}", 1_000 + n)),
        "title" => Cell::Text(format!("TimeoutError: upstream {}", mixed(n) % 97)),
        "level" => Cell::Text("error".to_owned()),
        "status" => Cell::Text("unresolved".to_owned()),
        "project" => Cell::Text("web".to_owned()),
        "count" => Cell::Int(1 + mixed(n) % 500),
        // Up to six hours before it was last seen.
        "first_seen" => Cell::Time(TABLES[1].at(n) - 21_600 * (mixed(n) % 1_000_000)),
        _ => Cell::Null,
    }
}

fn commit(column: &str, n: i64) -> Cell {
    match column {
        "owner" => Cell::Text("acme".to_owned()),
        "repo" => Cell::Text("shop".to_owned()),
        "sha" => Cell::Text(format!("{:040x}", mixed(n) * 1_000 + n)),
        "commit__message" => Cell::Text(format!("Change {n}")),
        "commit__author__name" | "author__login" => pick(&["ann", "bob", "eve"], n),
        _ => Cell::Null,
    }
}

fn pull(column: &str, n: i64) -> Cell {
    match column {
        "owner" => Cell::Text("acme".to_owned()),
        "repo" => Cell::Text("shop".to_owned()),
        "number" => Cell::Int(10_000 - n),
        "title" => Cell::Text(format!("Change {n}")),
        "state" => Cell::Text("closed".to_owned()),
        "user__login" => pick(&["ann", "bob", "eve"], n),
        "additions" => Cell::Int(mixed(n) % 500),
        "deletions" => Cell::Int(mixed(n + 1) % 300),
        _ => Cell::Null,
    }
}

fn message(column: &str, n: i64) -> Cell {
    match column {
        "channel" => Cell::Text(format!("C{}", n % 10)),
        "channel_name" => pick(
            &["incidents", "random", "engineering", "general", "backend", "sales", "alerts", "hr", "design", "lunch"],
            n,
        ),
        "ts_raw" => Cell::Text(format!("{}.000{:03}", TABLES[4].at(n) / 1_000_000, n % 1_000)),
        "text" => Cell::Text(format!("message number {n}")),
        "user" => Cell::Text(format!("U{}", n % 50)),
        _ => Cell::Null,
    }
}

/// A vendor's table whose rows are made up: its columns and keys, nothing that costs a request.
#[derive(Debug)]
pub(crate) struct Kept {
    table: &'static Table,
    real: Arc<dyn RemoteTable>,
    capabilities: Capabilities,
}

impl Kept {
    pub(crate) fn new(table: &'static Table, real: Arc<dyn RemoteTable>) -> Self {
        let capabilities = Capabilities { costly: Vec::new(), per_row: Vec::new(), ..real.capabilities().clone() };
        Self { table, real, capabilities }
    }
}

impl RemoteTable for Kept {
    fn source(&self) -> &str {
        self.real.source()
    }
    fn name(&self) -> &str {
        self.real.name()
    }
    fn schema(&self) -> SchemaRef {
        self.real.schema()
    }
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn shape(&self, constraints: &Constraints) -> ScanShape {
        let order = Some(SortKey { column: self.table.time.to_owned(), descending: true });
        ScanShape { order, sorts: Vec::new(), missing: self.real.shape(constraints).missing }
    }
    fn describe(&self, request: &ScanRequest) -> RequestPlan {
        self.real.describe(request)
    }
    fn scan(self: Arc<Self>, request: ScanRequest, _: ScanRun) -> PageStream {
        let micros = |bound: &Bound| match bound.value {
            ScalarValue::TimestampMicrosecond(at, _) => at,
            _ => None,
        };
        let asked = request.constraints.column(self.table.time);
        let from = asked.and_then(|c| c.lower.as_ref()).and_then(micros).unwrap_or(i64::MIN);
        let until = asked.and_then(|c| c.upper.as_ref()).and_then(micros).unwrap_or(i64::MAX);
        let (first, end) = self.table.between(from, until);
        let failed = {
            let (source, name) = (self.source().to_owned(), self.name().to_owned());
            move |error: arrow::error::ArrowError| {
                ScanError::new(&source, &name, ScanErrorKind::Malformed, error.to_string())
            }
        };
        let schema = match self.schema().project(&request.projection) {
            Ok(schema) => Arc::new(schema),
            Err(error) => return futures::stream::once(std::future::ready(Err(failed(error)))).boxed(),
        };
        let starts = (first..end).step_by(usize::try_from(BATCH).unwrap_or(1));
        let batches =
            starts.map(move |start| self.table.batch(&schema, start, end.min(start + BATCH)).map_err(&failed));
        futures::stream::iter(batches).boxed()
    }
}
