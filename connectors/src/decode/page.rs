//! The decoder of one kind of answer.
//!
//! Owns: [`Decoder`], built once per scan, used for every page of it. Does not own: following pages (`scan`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::builder::ColumnBuilder;
use super::trie::{Captured, FindKey, Pick, Trie};
use super::value::{self, NotA};
use crate::spec::{Column, ColumnKind, Endpoint, JsonPath, Lookup, Origin, Segment, TableSpec, TimeFormat};

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
    /// The values at the wanted paths outside the rows, as text; in the order asked for.
    pub(crate) meta: Vec<Option<String>>,
}

/// Decodes answers of one endpoint (or of a detail request) into wanted columns.
#[derive(Debug)]
pub(crate) struct Decoder {
    rows: JsonPath,
    row: Trie,
    slots: usize,
    meta: Trie,
    meta_slots: usize,
    columns: Vec<Wanted>,
    schema: SchemaRef,
}

/// A wanted column: which slots hold its value.
#[derive(Debug)]
struct Wanted {
    index: usize,
    name: String,
    kind: ColumnKind,
    time: TimeFormat,
    null_on_error: bool,
    empty_is_null: bool,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Lookups(Vec<Slot>),
    Exists(usize),
    /// Not in the answer: constant, or filled in later.
    Elsewhere,
}

#[derive(Debug)]
struct Slot {
    slot: usize,
    path: JsonPath,
    guards: Vec<(usize, Vec<String>)>,
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
        Self::build(table, &endpoint.rows, columns, meta, endpoint.empty_is_null, origin)
    }

    /// A decoder of the answers to `table`'s detail requests.
    pub(crate) fn detail(table: &TableSpec, columns: &[usize]) -> Self {
        let origin = |_: usize, column: &Column| match &column.origin {
            Origin::Detail(lookups) => Origin::Answer(lookups.clone()),
            _ => Origin::Key,
        };
        Self::build(table, &JsonPath::default(), columns, &[], false, origin)
    }

    fn build(
        table: &TableSpec,
        rows: &JsonPath,
        columns: &[usize],
        meta: &[JsonPath],
        empty_is_null: bool,
        origin: impl Fn(usize, &Column) -> Origin,
    ) -> Self {
        let mut row = Trie::default();
        let mut slots = 0;
        let mut slot = |path: &JsonPath| {
            row.want(path, slots);
            slots += 1;
            slots - 1
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
                source,
            });
        }
        let mut meta_trie = Trie::default();
        for (slot, path) in meta.iter().enumerate() {
            meta_trie.want(path, slot);
        }
        let fields: Vec<_> = columns.iter().map(|&index| table.schema.field(index).clone()).collect();
        Self {
            rows: rows.clone(),
            row,
            slots,
            meta: meta_trie,
            meta_slots: meta.len(),
            columns: wanted,
            schema: Arc::new(Schema::new(fields)),
        }
    }

    /// The schema of the batches.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes one body.
    pub(crate) fn decode(&self, body: &[u8], constants: &Constants) -> Result<Decoded, DecodeError> {
        let mut meta: Captured<'_> = vec![None; self.meta_slots];
        if self.rows.is_root() && self.meta_slots > 0 {
            // Rows and paging values overlap: read the latter in a pass of their own.
            let mut json = serde_json::Deserializer::from_slice(body);
            let pick = Pick { trie: &self.meta, captured: &mut meta };
            pick.deserialize(&mut json).map_err(|e| json_error(&e, body))?;
        }
        let mut sink = Sink {
            decoder: self,
            builders: self.columns.iter().map(|c| ColumnBuilder::new(c.kind, c.time)).collect(),
            captured: vec![None; self.slots],
            meta: &mut meta,
            rows: 0,
            found: false,
            failure: None,
        };
        let mut json = serde_json::Deserializer::from_slice(body);
        let walk = Envelope { sink: &mut sink, remaining: &self.rows.0, meta: Some(&self.meta) };
        let walked = walk.deserialize(&mut json).and_then(|()| json.end());
        if let Some(failure) = sink.failure.take() {
            return Err(failure);
        }
        walked.map_err(|e| json_error(&e, body))?;
        if !sink.found {
            return Err(DecodeError::NoRows(format!("there is nothing at {}, where the rows should be", self.rows)));
        }
        let rows = sink.rows;
        let arrays = sink.builders.into_iter().map(ColumnBuilder::finish).collect();
        let batch = self.batch(arrays, rows, constants)?;
        let meta = meta.into_iter().map(|raw| raw.and_then(|raw| value::text(value::json(raw))).map(Into::into));
        Ok(Decoded { batch, meta: meta.collect() })
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

fn json_error(error: &serde_json::Error, body: &[u8]) -> DecodeError {
    if error.is_eof() && !body.is_empty() {
        return DecodeError::CutShort;
    }
    let start: String = String::from_utf8_lossy(&body[..body.len().min(120)])
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(60)
        .collect();
    DecodeError::NotJson(format!(
        "the body is not JSON (line {}, column {}); it begins `{start}`",
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
    let mut captured: Captured<'_> = vec![None; N];
    let mut json = serde_json::Deserializer::from_slice(body);
    // A body that breaks off later may still have told enough.
    let _ = Pick { trie: &trie, captured: &mut captured }.deserialize(&mut json);
    let mut texts = captured.into_iter().map(|raw| raw.and_then(|raw| value::text(value::json(raw))).map(Into::into));
    std::array::from_fn(|_| texts.next().flatten())
}

/// Where rows go while a body is walked.
struct Sink<'d, 'm, 'de> {
    decoder: &'d Decoder,
    builders: Vec<ColumnBuilder>,
    captured: Captured<'de>,
    meta: &'m mut Captured<'de>,
    rows: usize,
    found: bool,
    failure: Option<DecodeError>,
}

impl Sink<'_, '_, '_> {
    /// Appends the captured row to the builders.
    fn row(&mut self) {
        for (column, builder) in self.decoder.columns.iter().zip(&mut self.builders) {
            let appended = match &column.source {
                Source::Elsewhere => Ok(false),
                Source::Exists(slot) => {
                    builder.append_bool(self.captured[*slot].is_some_and(|raw| raw != "null"));
                    Ok(true)
                }
                Source::Lookups(slots) => append_first(slots, &self.captured, column, builder),
            };
            match appended {
                Ok(true) => {}
                Ok(false) => builder.append_null(),
                Err((path, raw, NotA(kind))) => {
                    let raw: String = raw.chars().filter(|c| !c.is_control()).take(60).collect();
                    let place = path.to_string();
                    let inside = place.strip_prefix('$').unwrap_or(&place);
                    self.failure = Some(DecodeError::BadValue(format!(
                        "`{raw}` at {}[{}]{inside} is not {kind}, as the column `{}` needs",
                        self.decoder.rows, self.rows, column.name
                    )));
                    return;
                }
            }
        }
        self.rows += 1;
    }
}

/// Appends the first lookup that has a value. `Ok(false)` when none has.
fn append_first<'s, 'de>(
    slots: &'s [Slot],
    captured: &Captured<'de>,
    column: &Wanted,
    builder: &mut ColumnBuilder,
) -> Result<bool, (&'s JsonPath, &'de str, NotA)> {
    for slot in slots {
        let Some(raw) = captured[slot.slot].filter(|raw| *raw != "null") else { continue };
        let counts = slot.guards.iter().all(|(guard, allowed)| {
            let found = captured[*guard].and_then(|raw| value::text(value::json(raw)));
            // An older server that lacks the guard's field has no reason to be distrusted.
            found.is_none_or(|found| allowed.iter().any(|a| a.as_str() == found))
        });
        if !counts {
            continue;
        }
        let length;
        let json = if slot.path.0.last() == Some(&Segment::Length) {
            match value::length(raw) {
                Some(n) => {
                    length = n.to_string();
                    value::Json::Number(&length)
                }
                None => continue,
            }
        } else {
            value::json(raw)
        };
        match builder.append(json, column.empty_is_null) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(_) if column.null_on_error => {}
            Err(not_a) => return Err((&slot.path, raw, not_a)),
        }
    }
    Ok(false)
}

/// Walks from the root of a body to its rows, picking paging values on the way.
struct Envelope<'w, 'd, 'm, 'de> {
    sink: &'w mut Sink<'d, 'm, 'de>,
    /// What is left of the path to the rows.
    remaining: &'w [Segment],
    /// Paging values below here.
    meta: Option<&'w Trie>,
}

impl<'de> DeserializeSeed<'de> for Envelope<'_, '_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_, '_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [Segment::Key(wanted), rest @ ..] = self.remaining else {
            if self.remaining.is_empty() {
                // One object instead of a list: one row.
                self.sink.found = true;
                return one_row(self.sink, &mut map);
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == wanted.as_str() {
                let meta = self.meta.and_then(|trie| trie.key(&key));
                map.next_value_seed(Envelope { sink: self.sink, remaining: rest, meta })?;
            } else if let Some(trie) = self.meta.and_then(|trie| trie.key(&key)) {
                map.next_value_seed(Pick { trie, captured: self.sink.meta })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if self.sink.failure.is_some() {
                return stop();
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if !self.remaining.is_empty() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        self.sink.found = true;
        loop {
            self.sink.captured.fill(None);
            let row = Row { trie: &self.sink.decoder.row, captured: &mut self.sink.captured };
            match seq.next_element_seed(row)? {
                None => return Ok(()),
                Some(true) => self.sink.row(),
                Some(false) => {
                    let decoder = self.sink.decoder;
                    let place = format!("{}[{}] is not an object, as a row must be", decoder.rows, self.sink.rows);
                    self.sink.failure = Some(DecodeError::NoRows(place));
                }
            }
            if self.sink.failure.is_some() {
                return stop();
            }
        }
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Ends the walk; the reason is in the sink.
fn stop<E: serde::de::Error>() -> Result<(), E> {
    Err(E::custom("stopped"))
}

fn one_row<'de, A: MapAccess<'de>>(sink: &mut Sink<'_, '_, 'de>, map: &mut A) -> Result<(), A::Error> {
    sink.captured.fill(None);
    while let Some(child) = map.next_key_seed(FindKey(&sink.decoder.row))? {
        match child {
            Some(trie) => map.next_value_seed(Pick { trie, captured: &mut sink.captured })?,
            None => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    sink.row();
    if sink.failure.is_some() { stop() } else { Ok(()) }
}

/// One item of the list of rows; `false` when it is no object.
struct Row<'t, 'c, 'de> {
    trie: &'t Trie,
    captured: &'c mut Captured<'de>,
}

impl<'de> DeserializeSeed<'de> for Row<'_, '_, 'de> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_, 'de> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        Pick { trie: self.trie, captured: self.captured }.visit_map(map).map(|()| true)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }
    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}
