//! A file of sealed events: Parquet, sorted by run, step and time.
//!
//! Owns how it is written and read. Must hold: what is read is what was written, as far as a filter wants it; a row group
//! is left out only where its statistics or its bloom filter prove that nothing in it is wanted.

use std::fs::File;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, max, min, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::{
    ArrowPredicate, ArrowPredicateFn, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;

use super::filter::Wanted;
use super::schema::{Column, events_schema};
use crate::StoreError;

/// Rows of a row group.
const GROUP: usize = 131_072;
/// Rows of a page at most: what one run needs is in a page or two.
const PAGE: usize = 8_192;

/// A file, as the manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub path: String,
    pub first_seq: i64,
    pub last_seq: i64,
    pub rows: i64,
    pub bytes: i64,
    pub min_occurred_at: i64,
    pub max_occurred_at: i64,
    pub min_received_at: i64,
    pub max_received_at: i64,
}

impl Segment {
    /// The columns of the manifest, in the order that [`read`](Self::read) wants them.
    pub(super) const COLUMNS: &str = "path, first_seq, last_seq, rows, bytes, min_occurred_at, max_occurred_at, \
                                      min_received_at, max_received_at";

    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            path: row.get(0)?,
            first_seq: row.get(1)?,
            last_seq: row.get(2)?,
            rows: row.get(3)?,
            bytes: row.get(4)?,
            min_occurred_at: row.get(5)?,
            max_occurred_at: row.get(6)?,
            min_received_at: row.get(7)?,
            max_received_at: row.get(8)?,
        })
    }
}

/// The content of a file.
pub(super) struct Written {
    pub bytes: Vec<u8>,
    /// As the manifest will have it, without its path.
    pub segment: Segment,
}

fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: "file of events", reason: error.to_string() }
}

/// Sorts events (batches of the whole schema, at least one row) and writes them as a file.
pub(super) fn write(batches: Vec<RecordBatch>, level: i32) -> Result<Written, StoreError> {
    let sorted = sorted(batches).map_err(corrupt)?;
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, events_schema(), Some(properties(&sorted, level).map_err(corrupt)?))
            .map_err(corrupt)?;
    writer.write(&sorted).map_err(corrupt)?;
    writer.close().map_err(corrupt)?;
    let integers = |column: Column| sorted.column(column.index());
    let seqs = integers(Column::Seq).as_primitive::<Int64Type>();
    let times = |column| integers(column).as_primitive::<TimestampMicrosecondType>();
    let bounds = (
        (min(seqs), max(seqs)),
        (min(times(Column::OccurredAt)), max(times(Column::OccurredAt))),
        (min(times(Column::ReceivedAt)), max(times(Column::ReceivedAt))),
    );
    let (
        (Some(first_seq), Some(last_seq)),
        (Some(min_occurred_at), Some(max_occurred_at)),
        (Some(min_received_at), Some(max_received_at)),
    ) = bounds
    else {
        return Err(corrupt("it would be empty"));
    };
    let segment = Segment {
        path: String::new(),
        first_seq,
        last_seq,
        rows: sorted.num_rows() as i64,
        bytes: bytes.len() as i64,
        min_occurred_at,
        max_occurred_at,
        min_received_at,
        max_received_at,
    };
    Ok(Written { bytes, segment })
}

/// Takes the batches, so that they are gone before the rows are there a third time.
fn sorted(batches: Vec<RecordBatch>) -> Result<RecordBatch, arrow::error::ArrowError> {
    let all = concat_batches(&events_schema(), &batches)?;
    drop(batches);
    let keys = [Column::RunId, Column::StepIndex, Column::OccurredAt, Column::Seq];
    let keys: Vec<SortColumn> =
        keys.iter().map(|key| SortColumn { values: ArrayRef::clone(all.column(key.index())), options: None }).collect();
    let order: UInt32Array = lexsort_to_indices(&keys, None)?;
    take_record_batch(&all, &order)
}

fn properties(rows: &RecordBatch, level: i32) -> Result<WriterProperties, ParquetError> {
    let path = |column: Column| ColumnPath::from(column.name());
    let runs = distinct_sorted(rows.column(Column::RunId.index()));
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level)?))
        .set_max_row_group_row_count(Some(GROUP))
        .set_data_page_row_count_limit(PAGE)
        .set_write_batch_size(PAGE)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: Column::RunId.index() as i32,
            descending: false,
            nulls_first: true,
        }]))
        .set_column_bloom_filter_enabled(path(Column::RunId), true)
        .set_column_bloom_filter_max_ndv(path(Column::RunId), runs.clamp(64, GROUP as u64))
        .set_column_bloom_filter_enabled(path(Column::AgentId), true)
        .set_column_bloom_filter_max_ndv(path(Column::AgentId), 256);
    // Values that hardly repeat, or grow.
    for column in [Column::Seq, Column::OccurredAt, Column::ReceivedAt] {
        properties = properties
            .set_column_dictionary_enabled(path(column), false)
            .set_column_encoding(path(column), Encoding::DELTA_BINARY_PACKED);
    }
    for column in [Column::EventId, Column::Sha256] {
        properties = properties
            .set_column_dictionary_enabled(path(column), false)
            .set_column_statistics_enabled(path(column), EnabledStatistics::None);
    }
    properties = properties.set_column_statistics_enabled(path(Column::Payload), EnabledStatistics::None);
    Ok(properties.build())
}

fn distinct_sorted(column: &ArrayRef) -> u64 {
    let Some(texts) = column.as_string_opt::<i32>() else { return 0 };
    let mut last = None;
    let mut count = 0;
    for text in texts {
        if text != last {
            count += 1;
            last = text;
        }
    }
    count
}

/// Reads the rows of a file that are wanted, batch by batch, with these columns in the order of the schema. `each` says
/// whether it wants more.
pub(super) fn read(
    file: File,
    segment: &Segment,
    wanted: &Wanted,
    columns: &[Column],
    batch_rows: usize,
    mut each: impl FnMut(RecordBatch) -> bool,
) -> Result<(), StoreError> {
    let options = ArrowReaderOptions::new().with_schema(events_schema());
    let looked_at = wanted.columns_for(segment);
    let options =
        if looked_at.is_empty() { options } else { options.with_page_index_policy(PageIndexPolicy::Optional) };
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(corrupt)?;
    let mut groups = Vec::new();
    for index in 0..builder.metadata().num_row_groups() {
        if may_be_in(wanted, builder.metadata().row_group(index)) && blooms(wanted, &builder, index).map_err(corrupt)? {
            groups.push(index);
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let parquet_schema = builder.metadata().file_metadata().schema_descr_ptr();
    let mask = |columns: &[Column]| ProjectionMask::roots(&parquet_schema, columns.iter().map(|column| column.index()));
    let mut builder = builder.with_row_groups(groups).with_batch_size(batch_rows).with_projection(mask(columns));
    if !looked_at.is_empty() {
        // One predicate per column, the most selective first: what it leaves out is not decoded for the next.
        let predicates = looked_at.into_iter().map(|column| {
            let wanted = wanted.clone();
            Box::new(ArrowPredicateFn::new(mask(&[column]), move |batch| wanted.mask(&batch)))
                as Box<dyn ArrowPredicate>
        });
        builder = builder.with_row_filter(RowFilter::new(predicates.collect()));
    }
    for batch in builder.build().map_err(corrupt)? {
        let batch = batch.map_err(corrupt)?;
        if batch.num_rows() > 0 && !each(batch) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the statistics of a row group leave it open that something in it is wanted.
fn may_be_in(wanted: &Wanted, group: &RowGroupMetaData) -> bool {
    let statistics = |column: Column| group.columns().get(column.index()).and_then(|chunk| chunk.statistics());
    let integers = |column| match statistics(column) {
        Some(Statistics::Int64(values)) => values.min_opt().copied().zip(values.max_opt().copied()),
        _ => None,
    };
    let texts = |column| match statistics(column) {
        Some(Statistics::ByteArray(values)) => values.min_bytes_opt().zip(values.max_bytes_opt()),
        _ => None,
    };
    let some_between = |words: &Option<std::collections::HashSet<String>>, column| match (words, texts(column)) {
        (Some(words), Some((min, max))) => words.iter().any(|word| min <= word.as_bytes() && word.as_bytes() <= max),
        _ => true,
    };
    integers(Column::OccurredAt).is_none_or(|(min, max)| wanted.occurred.from <= max && min < wanted.occurred.until)
        && integers(Column::ReceivedAt)
            .is_none_or(|(min, max)| wanted.received.from <= max && min < wanted.received.until)
        && integers(Column::Seq).is_none_or(|(_, max)| max > wanted.seq_after)
        && some_between(&wanted.run_ids, Column::RunId)
        && some_between(&wanted.agent_ids, Column::AgentId)
        && some_between(&wanted.event_types, Column::EventType)
}

/// Whether the bloom filters of a row group leave it open that something in it is wanted.
fn blooms(
    wanted: &Wanted,
    builder: &ParquetRecordBatchReaderBuilder<File>,
    group: usize,
) -> Result<bool, ParquetError> {
    for (words, column) in [(&wanted.run_ids, Column::RunId), (&wanted.agent_ids, Column::AgentId)] {
        let Some(words) = words else { continue };
        if let Some(bloom) = builder.get_row_group_column_bloom_filter(group, column.index())?
            && !words.iter().any(|word| bloom.check(word.as_str()))
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// All rows of a file, with every column.
pub(super) fn read_all(file: File) -> Result<Vec<RecordBatch>, StoreError> {
    let options = ArrowReaderOptions::new().with_schema(events_schema());
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options).map_err(corrupt)?;
    let reader = reader.with_batch_size(GROUP).build().map_err(corrupt)?;
    reader.map(|batch| batch.map_err(corrupt)).collect()
}
