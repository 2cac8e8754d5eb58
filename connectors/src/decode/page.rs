//! The decoder of one kind of answer.
//!
//! Owns: [`Decoder`], built once per scan, used for every page of it. Does not own: following pages (`scan`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use serde::de::DeserializeSeed;

use super::builder::ColumnBuilder;
use super::included::{Beside, Objects};
use super::trie::{Captured, Pick, Trie};
use super::value;
use super::walk::{Envelope, Sink};
use crate::spec::{Column, ColumnKind, Endpoint, JsonPath, Lookup, Origin, Pagination, TableSpec, TimeFormat};

/// Values of columns that no answer holds: pinned keys, the parent's columns, echoed filters. By column of the table.
pub(crate) type Constants = BTreeMap<usize, ScalarValue>;

/// Why a body could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The body ends in the middle of a value: it was cut short.
    CutShort,
    /// The body is not JSON.
    NotJson(String),
    /// There is nothing at the rows' path, or no list.
    NoRows(String),
    /// A value is not what its column says.
    BadValue(String),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutShort => f.write_str("the body ends in the middle of a value"),
            Self::NotJson(detail) | Self::NoRows(detail) | Self::BadValue(detail) => f.write_str(detail),
        }
    }
}

/// A decoded page.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The wanted columns, in the order asked for.
    pub(crate) batch: RecordBatch,
    /// Rows in the answer, those that do not count included.
    pub(crate) rows: usize,
    /// The values at the wanted paths outside the rows, as text; in the order asked for.
    pub(crate) meta: Vec<Option<String>>,
}

/// Decodes answers of one endpoint (or of a detail request) into wanted columns.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(super) rows: JsonPath,
    pub(super) row: Trie,
    pub(super) slots: usize,
    /// The path of each slot, for messages.
    pub(super) paths: Vec<JsonPath>,
    pub(super) meta: Trie,
    meta_paths: Vec<JsonPath>,
    /// What one object instead of a list is.
    pub(super) single: Single,
    pub(super) columns: Vec<Wanted>,
    /// A row counts only where these slots hold, if anything, one of these texts.
    pub(super) keep: Vec<(usize, Vec<String>)>,
    pub(super) schema: SchemaRef,
    /// Objects beside the rows that rows refer to, where a wanted column is in one.
    pub(super) beside: Option<Beside>,
}

/// What an object is where the rows should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Single {
    /// The answer to a question about one thing.
    Thing,
    /// The only row, if it has anything of what is asked for.
    Row,
    /// Not what a listing with pages answers.
    Never,
}

/// A wanted column: which slots hold its value.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) kind: ColumnKind,
    pub(super) time: TimeFormat,
    pub(super) null_on_error: bool,
    pub(super) empty_is_null: bool,
    pub(super) shape: bool,
    pub(super) source: Source,
}

#[derive(Debug)]
pub(super) enum Source {
    Lookups(Vec<Slot>),
    Exists(usize),
    /// Not in the answer: constant, or filled in later.
    Elsewhere,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) slot: usize,
    pub(super) path: JsonPath,
    pub(super) guards: Vec<(usize, Vec<String>)>,
}

impl Decoder {
    /// A decoder of `endpoint`'s answers into `columns` of `table`, also picking the values at `meta`.
    pub(crate) fn new(table: &TableSpec, endpoint: &Endpoint, columns: &[usize], meta: &[JsonPath]) -> Self {
        let aggregated = |index: usize| {
            endpoint.aggregate.as_ref().is_some_and(|a| a.columns.iter().any(|(column, _)| *column == index))
        };
        let origin = |index: usize, column: &Column| {
            if aggregated(index) {
                return Origin::Key;
            }
            match endpoint.lookups.iter().find(|(i, _)| *i == index) {
                Some((_, lookups)) => Origin::Answer(lookups.clone()),
                None => column.origin.clone(),
            }
        };
        let mut decoder =
            Self::build(table, &endpoint.rows, &endpoint.keep, columns, meta, endpoint.empty_is_null, origin);
        decoder.single = if endpoint.pagination == Pagination::None { Single::Row } else { Single::Never };
        if let Some(included) = &endpoint.included
            && let Some(inside) = decoder.row.take_key("included")
        {
            let by = decoder.slots;
            decoder.row.want(&included.by, by);
            decoder.paths.push(included.by.clone());
            decoder.slots += 1;
            decoder.beside = Some(Beside::new(included.clone(), by, inside));
        }
        decoder
    }

    /// A decoder of the answers to `table`'s detail requests.
    pub(crate) fn detail(table: &TableSpec, columns: &[usize]) -> Self {
        let origin = |_: usize, column: &Column| match &column.origin {
            Origin::Detail(lookups) => Origin::Answer(lookups.clone()),
            _ => Origin::Key,
        };
        Self::build(table, &JsonPath::default(), &[], columns, &[], false, origin)
    }

    fn build(
        table: &TableSpec,
        rows: &JsonPath,
        keep: &[(JsonPath, Vec<String>)],
        columns: &[usize],
        meta: &[JsonPath],
        empty_is_null: bool,
        origin: impl Fn(usize, &Column) -> Origin,
    ) -> Self {
        let mut row = Trie::default();
        let mut paths: Vec<JsonPath> = Vec::new();
        let mut slot = |path: &JsonPath| {
            row.want(path, paths.len());
            paths.push(path.clone());
            paths.len() - 1
        };
        let mut lookup = |lookup: &Lookup| Slot {
            slot: slot(&lookup.path),
            path: lookup.path.clone(),
            guards: lookup.guards.iter().map(|(path, allowed)| (slot(path), allowed.clone())).collect(),
        };
        let mut wanted = Vec::with_capacity(columns.len());
        for &index in columns {
            let column = &table.columns[index];
            let source = match origin(index, column) {
                Origin::Answer(lookups) => Source::Lookups(lookups.iter().map(&mut lookup).collect()),
                Origin::Exists(path) => Source::Exists(lookup(&Lookup { path, guards: Vec::new() }).slot),
                Origin::Key | Origin::Parent(_) | Origin::Detail(_) => Source::Elsewhere,
            };
            wanted.push(Wanted {
                index,
                name: column.name.clone(),
                kind: column.kind,
                time: column.time,
                null_on_error: column.null_on_error,
                empty_is_null: empty_is_null || column.empty_is_null,
                shape: column.shape,
                source,
            });
        }
        let keep = keep.iter().map(|(path, allowed)| (slot(path), allowed.clone())).collect();
        let mut meta_trie = Trie::default();
        for (slot, path) in meta.iter().enumerate() {
            meta_trie.want(path, slot);
        }
        let fields: Vec<_> = columns.iter().map(|&index| table.schema.field(index).clone()).collect();
        Self {
            rows: rows.clone(),
            row,
            slots: paths.len(),
            paths,
            meta: meta_trie,
            meta_paths: meta.to_vec(),
            single: Single::Thing,
            columns: wanted,
            keep,
            schema: Arc::new(Schema::new(fields)),
            beside: None,
        }
    }

    /// The schema of the batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes one body.
    pub(crate) fn decode(&self, body: &[u8], constants: &Constants) -> Result<Decoded, DecodeError> {
        // Some servers begin with a byte order mark.
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        let mut meta = Captured::new(self.meta_paths.len());
        if self.rows.is_root() && !self.meta_paths.is_empty() {
            // Rows and paging values overlap: read the latter in a pass of their own.
            let mut json = serde_json::Deserializer::from_slice(body);
            let pick = Pick { trie: &self.meta, captured: &mut meta };
            pick.deserialize(&mut json).map_err(|e| json_error(&e, body, None))?;
        }
        let objects = match &self.beside {
            Some(beside) => beside.objects(body).map_err(|e| json_error(&e, body, None))?,
            None => Objects::new(),
        };
        let mut sink = Sink {
            decoder: self,
            builders: self.columns.iter().map(|c| ColumnBuilder::new(c.kind, c.time, c.shape)).collect(),
            captured: Captured::new(self.slots),
            objects,
            meta: &mut meta,
            rows: 0,
            kept: 0,
            found: false,
            failure: None,
        };
        let mut json = serde_json::Deserializer::from_slice(body);
        let walk = Envelope { sink: &mut sink, remaining: &self.rows.0, meta: Some(&self.meta) };
        let walked = walk.deserialize(&mut json).and_then(|()| json.end());
        if let Some(failure) = sink.failure.take() {
            return Err(failure);
        }
        let (found, rows, kept) = (sink.found, sink.rows, sink.kept);
        let place = || format!("{}[{rows}]", self.rows);
        walked.map_err(|e| json_error(&e, body, found.then(place)))?;
        if !found {
            return Err(DecodeError::NoRows(format!("there is nothing at {}, where the rows should be", self.rows)));
        }
        let arrays = sink.builders.into_iter().map(ColumnBuilder::finish).collect();
        let batch = self.batch(arrays, kept, constants)?;
        if let Some(path) = meta.twice.and_then(|slot| self.meta_paths.get(slot)) {
            return Err(DecodeError::BadValue(format!("{path}, which tells of further pages, stands there twice")));
        }
        let meta = meta.into_texts().map(|raw| raw.and_then(|raw| value::text(value::json(raw))).map(Into::into));
        Ok(Decoded { batch, rows, meta: meta.collect() })
    }

    fn batch(&self, arrays: Vec<ArrayRef>, rows: usize, constants: &Constants) -> Result<RecordBatch, DecodeError> {
        let filled = self.columns.iter().zip(arrays).map(|(column, array)| match constants.get(&column.index) {
            None if matches!(column.source, Source::Elsewhere) => Ok(new_null_array(&column.kind.data_type(), rows)),
            None => Ok(array),
            Some(constant) => {
                fill(array, constant, &column.kind.data_type(), rows, matches!(column.source, Source::Elsewhere))
            }
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        filled
            .collect::<Result<Vec<_>, _>>()
            .and_then(|arrays| RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options))
            .map_err(|error| DecodeError::BadValue(error.to_string()))
    }
}

/// The constant everywhere, or where the answer has nothing.
fn fill(
    array: ArrayRef,
    constant: &ScalarValue,
    data_type: &DataType,
    rows: usize,
    everywhere: bool,
) -> Result<ArrayRef, arrow::error::ArrowError> {
    let to_arrow = |error: datafusion::error::DataFusionError| arrow::error::ArrowError::CastError(error.to_string());
    let constant = constant.cast_to(data_type).map_err(to_arrow)?;
    if everywhere {
        return constant.to_array_of_size(rows).map_err(to_arrow);
    }
    if array.null_count() == 0 {
        return Ok(array);
    }
    let present = arrow::compute::is_not_null(&array)?;
    let constant = constant.to_scalar().map_err(to_arrow)?;
    arrow::compute::kernels::zip::zip(&present, &array, &constant)
}

/// Why a body cannot be read; `place` is the row that was being read.
fn json_error(error: &serde_json::Error, body: &[u8], place: Option<String>) -> DecodeError {
    if body.trim_ascii().is_empty() {
        return DecodeError::NotJson("the body is empty".to_owned());
    }
    if error.is_eof() {
        return DecodeError::CutShort;
    }
    let place = place.map(|place| format!(", in {place}")).unwrap_or_default();
    if let Err(error) = std::str::from_utf8(body) {
        return DecodeError::NotJson(format!("the body is not UTF-8 (byte {}{place})", error.valid_up_to() + 1));
    }
    let start: String = String::from_utf8_lossy(&body[..body.len().min(120)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(60)
        .collect();
    DecodeError::NotJson(format!(
        "the body is not JSON (line {}, column {}{place}); it begins `{start}`",
        error.line(),
        error.column()
    ))
}

/// Reads the texts at `paths` of a body; all `None` when it is not JSON.
pub(crate) fn pick_texts<const N: usize>(body: &[u8], paths: [&JsonPath; N]) -> [Option<String>; N] {
    let mut trie = Trie::default();
    for (slot, path) in paths.into_iter().enumerate() {
        trie.want(path, slot);
    }
    let mut captured = Captured::new(N);
    let mut json = serde_json::Deserializer::from_slice(body);
    // A body that breaks off later may still have told enough.
    let _ = Pick { trie: &trie, captured: &mut captured }.deserialize(&mut json);
    let mut texts = captured.into_texts().map(|raw| raw.and_then(|raw| value::text(value::json(raw))).map(Into::into));
    std::array::from_fn(|_| texts.next().flatten())
}
