//! The rows of neighbouring hours of a copy: one file.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array,
};
use arrow::compute::{SortOptions, concat_batches, filter_record_batch, sort_to_indices, take_record_batch};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use chrono::{DateTime, Utc};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use tripline_engine::copy::{CopyShape, TimeSpan};

use super::Outcome;
use super::manifest::Segment;

const HOUR_US: i64 = 3_600_000_000;
const BATCH: usize = 65_536;
/// Rows of a row group: what a reader of a part of a file leaves out, by their times, comes in such groups.
const GROUP_ROWS: usize = 8_192;

/// How often a file is read for nothing because its filter took a key for one of its own. A change brings thousands of
/// keys and looks for each in every file, so it must be rare: about four bytes a row.
const FALSE_POSITIVES: f64 = 1e-6;

/// The identities of rows.
pub(super) struct Keys {
    rows: HashSet<OwnedRow>,
    /// The values of the key's filtered column; `None` where one of them is NULL, or of a type without a filter.
    filtered: Option<Filtered>,
}

/// Values to look for in the filter that each file has on the last column of its key.
enum Filtered {
    Text(HashSet<String>),
    Int(HashSet<i64>),
}

impl Filtered {
    fn of(batches: &[RecordBatch], shape: &CopyShape) -> Option<Self> {
        let column = *shape.key.last()?;
        match shape.schema.field(column).data_type() {
            DataType::Utf8 => {
                let all = batches.iter().flat_map(|b| b.column(column).as_string::<i32>().iter());
                all.map(|value| value.map(str::to_owned)).collect::<Option<_>>().map(Self::Text)
            }
            DataType::Int64 => {
                let all = batches.iter().flat_map(|b| b.column(column).as_primitive::<Int64Type>().iter());
                all.collect::<Option<_>>().map(Self::Int)
            }
            _ => None,
        }
    }

    /// Whether a filter knows any of them.
    fn any_in(&self, filter: &Sbbf) -> bool {
        match self {
            Self::Text(values) => values.iter().any(|value| filter.check(value.as_str())),
            Self::Int(values) => values.iter().any(|value| filter.check(value)),
        }
    }
}

fn times(batch: &RecordBatch, column: usize) -> Outcome<&TimestampMicrosecondArray> {
    let times = batch.columns().get(column).and_then(|c| c.as_any().downcast_ref::<TimestampMicrosecondArray>());
    times.ok_or_else(|| "the time column is not in microseconds".into())
}

fn take(batch: &RecordBatch, rows: Vec<u32>) -> Outcome<RecordBatch> {
    Ok(take_record_batch(batch, &UInt32Array::from(rows))?)
}

fn converter(shape: &CopyShape) -> Outcome<RowConverter> {
    let fields = shape.key.iter().map(|i| SortField::new(shape.schema.field(*i).data_type().clone()));
    Ok(RowConverter::new(fields.collect())?)
}

/// The rows by hour. Of rows with one key the last counts; rows without a time do not.
pub(super) fn by_hour(batches: &[RecordBatch], shape: &CopyShape) -> Outcome<BTreeMap<i64, Vec<RecordBatch>>> {
    let mut hours: BTreeMap<i64, Vec<RecordBatch>> = BTreeMap::new();
    let converter = converter(shape)?;
    let mut seen = HashSet::new();
    for batch in batches.iter().rev() {
        let columns: Vec<_> = shape.key.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        let keys = converter.convert_columns(&columns)?;
        let times = times(batch, shape.time)?;
        let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
        for row in (0..batch.num_rows()).rev() {
            if times.is_valid(row) && seen.insert(keys.row(row).owned()) {
                rows.entry(times.value(row).div_euclid(HOUR_US)).or_default().push(u32::try_from(row)?);
            }
        }
        for (hour, rows) in rows {
            hours.entry(hour).or_default().push(take(batch, rows)?);
        }
    }
    Ok(hours)
}

/// The keys of all rows.
pub(super) fn keys(batches: &[RecordBatch], shape: &CopyShape) -> Outcome<Keys> {
    let converter = converter(shape)?;
    let mut keys = HashSet::new();
    for batch in batches {
        let columns: Vec<_> = shape.key.iter().map(|i| Arc::clone(batch.column(*i))).collect();
        keys.extend(converter.convert_columns(&columns)?.iter().map(|row| row.owned()));
    }
    Ok(Keys { rows: keys, filtered: Filtered::of(batches, shape) })
}

/// Whether a file has a row with one of these keys.
pub(super) fn has_any(file: File, shape: &CopyShape, keys: &Keys) -> Outcome<bool> {
    if keys.rows.is_empty() {
        return Ok(false);
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    if let (Some(filtered), Some(column)) = (&keys.filtered, shape.key.last()) {
        let mut known = false;
        for group in 0..builder.metadata().num_row_groups() {
            // A file without a filter is read.
            let filter = builder.get_row_group_column_bloom_filter(group, *column)?;
            known |= filter.is_none_or(|filter| filtered.any_in(&filter));
        }
        if !known {
            return Ok(false);
        }
    }
    let converter = converter(shape)?;
    for batch in columns_of(builder, &shape.key)? {
        let batch = batch?;
        let columns = in_order(&batch, &shape.schema, &shape.key)?;
        let rows = converter.convert_columns(columns.columns())?;
        if rows.iter().any(|row| keys.rows.contains(&row.owned())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows that are neither in `replaced` nor have one of these keys.
pub(super) fn without(
    batch: &RecordBatch,
    shape: &CopyShape,
    replaced: Option<TimeSpan>,
    keys: &Keys,
) -> Outcome<RecordBatch> {
    let columns: Vec<_> = shape.key.iter().map(|i| Arc::clone(batch.column(*i))).collect();
    let rows = converter(shape)?.convert_columns(&columns)?;
    let times = times(batch, shape.time)?;
    let gone = |row: usize| {
        let at = times.value(row);
        replaced.is_some_and(|span| span.from.timestamp_micros() <= at && at < span.until.timestamp_micros())
            || keys.rows.contains(&rows.row(row).owned())
    };
    let kept: BooleanArray = (0..batch.num_rows()).map(|row| Some(!gone(row))).collect();
    Ok(filter_record_batch(batch, &kept)?)
}

/// All rows of a file.
pub(super) fn all(file: File, shape: &CopyShape) -> Outcome<RecordBatch> {
    let every: Vec<usize> = (0..shape.schema.fields().len()).collect();
    let batches: Vec<RecordBatch> = reader(file, &every)?.collect::<Result<_, _>>()?;
    Ok(concat_batches(&shape.schema, &batches)?)
}

/// The rows of a file within `span`: some columns, in the order of time.
pub(super) fn rows(
    file: File,
    shape: &CopyShape,
    span: TimeSpan,
    projection: &[usize],
    descending: bool,
) -> Outcome<RecordBatch> {
    let mut wanted = projection.to_vec();
    if !wanted.contains(&shape.time) {
        wanted.push(shape.time);
    }
    let time = wanted.iter().position(|column| *column == shape.time).unwrap_or_default();
    let mut batches = Vec::new();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let groups = (0..builder.metadata().num_row_groups())
        .filter(|group| may_overlap(builder.metadata().row_group(*group).column(shape.time).statistics(), span));
    let groups = groups.collect();
    for batch in columns_of(builder.with_row_groups(groups), &wanted)? {
        batches.push(in_order(&batch?, &shape.schema, &wanted)?);
    }
    let schema = Arc::new(shape.schema.project(&wanted)?);
    let batch = concat_batches(&schema, &batches)?;
    // Files are newest first, so that the rows of a span are neighbours: nothing needs to be copied.
    let at = times(&batch, time)?.values();
    let (from, until) = (span.from.timestamp_micros(), span.until.timestamp_micros());
    let (first, end) = (at.partition_point(|at| until <= *at), at.partition_point(|at| from <= *at));
    let batch = batch.slice(first, end.saturating_sub(first));
    let batch = if descending { batch } else { take(&batch, (0..u32::try_from(batch.num_rows())?).rev().collect())? };
    let columns: Vec<_> = (0..projection.len()).map(|i| Arc::clone(batch.column(i))).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(shape.schema.project(projection)?), columns, &options)?)
}

/// Whether a row group with these statistics of its times may have rows of `span`.
fn may_overlap(statistics: Option<&Statistics>, span: TimeSpan) -> bool {
    let Some(Statistics::Int64(times)) = statistics else { return true };
    let (from, until) = (span.from.timestamp_micros(), span.until.timestamp_micros());
    times.max_opt().is_none_or(|max| from <= *max) && times.min_opt().is_none_or(|min| *min < until)
}

/// Writes rows of these hours from `since` on, newest first, and waits until they are on disk. `None` when there are none.
pub(super) fn write(
    place: &Path,
    file: String,
    hours: RangeInclusive<i64>,
    batches: &[RecordBatch],
    shape: &CopyShape,
    since: DateTime<Utc>,
) -> Outcome<Option<Segment>> {
    let batch = concat_batches(&shape.schema, batches)?;
    let since = since.timestamp_micros();
    let wanted: BooleanArray = times(&batch, shape.time)?.iter().map(|at| at.map(|at| at >= since)).collect();
    let batch = filter_record_batch(&batch, &wanted)?;
    let newest_first = SortOptions { descending: true, nulls_first: false };
    let order = sort_to_indices(batch.column(shape.time), Some(newest_first), None)?;
    let batch = take_record_batch(&batch, &order)?;
    let at = times(&batch, shape.time)?;
    let (Some(max), Some(min)) = (at.iter().flatten().next(), at.iter().flatten().last()) else { return Ok(None) };
    let path = place.join(&file);
    let level = ZstdLevel::try_new(1)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    if let Some(key) = shape.key.last() {
        let column = ColumnPath::from(shape.schema.field(*key).name().as_str());
        properties = properties
            .set_column_bloom_filter_enabled(column.clone(), true)
            .set_column_bloom_filter_fpp(column.clone(), FALSE_POSITIVES)
            .set_column_bloom_filter_max_ndv(column, batch.num_rows().min(GROUP_ROWS) as u64);
    }
    let mut writer = ArrowWriter::try_new(File::create(&path)?, Arc::clone(&shape.schema), Some(properties.build()))?;
    writer.write(&batch)?;
    let out = writer.into_inner()?;
    out.sync_all()?;
    let bytes = out.metadata()?.len();
    let (hour, last) = (*hours.start(), *hours.end());
    let until = (last > hour).then_some(last);
    Ok(Some(Segment { hour, until, file, rows: batch.num_rows() as u64, bytes, min, max }))
}

fn reader(file: File, columns: &[usize]) -> Outcome<ParquetRecordBatchReader> {
    columns_of(ParquetRecordBatchReaderBuilder::try_new(file)?, columns)
}

fn columns_of(builder: ParquetRecordBatchReaderBuilder<File>, columns: &[usize]) -> Outcome<ParquetRecordBatchReader> {
    let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
    Ok(builder.with_projection(mask).with_batch_size(BATCH).build()?)
}

/// The reader gives columns in the order of the file; this gives them in the order that was asked for.
fn in_order(batch: &RecordBatch, schema: &SchemaRef, columns: &[usize]) -> Outcome<RecordBatch> {
    let mut sorted = columns.to_vec();
    sorted.sort_unstable();
    let arrays: Vec<_> =
        columns.iter().filter_map(|c| sorted.binary_search(c).ok()).map(|i| Arc::clone(batch.column(i))).collect();
    Ok(RecordBatch::try_new(Arc::new(schema.project(columns)?), arrays)?)
}
