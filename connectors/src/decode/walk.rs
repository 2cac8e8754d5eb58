//! Walking a body from its root to its rows.
//!
//! Owns: the serde visitors that find the rows, feed each to the builders, and pick paging values on the way.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::builder::ColumnBuilder;
use super::included::Objects;
use super::page::{DecodeError, Decoder, Single, Slot, Source, Wanted};
use super::trie::{Captured, FindKey, Pick, Trie, scalars_are};
use super::value::{self, NotA};
use crate::spec::{JsonPath, Segment};

/// Where rows go while a body is walked.
pub(super) struct Sink<'d, 'm, 'de> {
    pub(super) decoder: &'d Decoder,
    pub(super) builders: Vec<ColumnBuilder>,
    pub(super) captured: Captured<'de>,
    /// Objects beside the rows, by key.
    pub(super) objects: Objects<'de>,
    pub(super) meta: &'m mut Captured<'de>,
    pub(super) rows: usize,
    pub(super) kept: usize,
    pub(super) found: bool,
    pub(super) failure: Option<DecodeError>,
}

impl Sink<'_, '_, '_> {
    /// Adds to the captured row what the object beside it has.
    fn look_beside(&mut self) -> Result<(), serde_json::Error> {
        let Some(beside) = &self.decoder.beside else { return Ok(()) };
        let key = self.captured.get(beside.by).and_then(|raw| value::text(value::json(raw)));
        let Some(raw) = key.and_then(|key| self.objects.get(key.as_ref()).copied()) else { return Ok(()) };
        let pick = Pick { trie: &beside.inside, captured: &mut self.captured };
        pick.deserialize(&mut serde_json::Deserializer::from_str(raw))
    }

    /// Appends the captured row to the builders.
    fn row(&mut self) {
        if let Err(error) = self.look_beside() {
            let place = format!("what stands beside {}[{}] cannot be read: {error}", self.decoder.rows, self.rows);
            self.failure = Some(DecodeError::BadValue(place));
            return;
        }
        if let Some(slot) = self.captured.twice {
            let inside = self.decoder.paths.get(slot).map(inside).unwrap_or_default();
            let place = format!("{}[{}]{inside} stands there twice", self.decoder.rows, self.rows);
            self.failure = Some(DecodeError::BadValue(format!("{place}; which value is meant cannot be told")));
            return;
        }
        if !self.decoder.keep.iter().all(|(slot, allowed)| holds(self.captured.get(*slot), allowed)) {
            self.rows += 1;
            return;
        }
        for (column, builder) in self.decoder.columns.iter().zip(&mut self.builders) {
            let appended = match &column.source {
                Source::Elsewhere => Ok(false),
                Source::Exists(slot) => {
                    builder.append_bool(self.captured.get(*slot).is_some_and(|raw| raw != "null"));
                    Ok(true)
                }
                Source::Lookups(slots) => append_first(slots, &self.captured, column, builder),
            };
            match appended {
                Ok(true) => {}
                Ok(false) => builder.append_null(),
                Err((path, raw, NotA(kind))) => {
                    let raw: String = raw.chars().filter(|c| !c.is_control()).take(60).collect();
                    self.failure = Some(DecodeError::BadValue(format!(
                        "`{raw}` at {}[{}]{} is not {kind}, as the column `{}` needs",
                        self.decoder.rows,
                        self.rows,
                        inside(path),
                        column.name
                    )));
                    return;
                }
            }
        }
        self.rows += 1;
        self.kept += 1;
    }
}

/// A path below a row.
fn inside(path: &JsonPath) -> String {
    let place = path.to_string();
    place.strip_prefix('$').unwrap_or(&place).to_owned()
}

/// Whether a guard holds. A server that lacks the guard's field has no reason to be distrusted.
fn holds(captured: Option<&str>, allowed: &[String]) -> bool {
    let found = captured.and_then(|raw| value::text(value::json(raw)));
    found.is_none_or(|found| allowed.iter().any(|a| a.as_str() == found))
}

/// Appends the first lookup that has a value. `Ok(false)` when none has.
fn append_first<'s, 'de>(
    slots: &'s [Slot],
    captured: &Captured<'de>,
    column: &Wanted,
    builder: &mut ColumnBuilder,
) -> Result<bool, (&'s JsonPath, &'de str, NotA)> {
    for slot in slots {
        let Some(raw) = captured.get(slot.slot).filter(|raw| *raw != "null") else { continue };
        if !slot.guards.iter().all(|(guard, allowed)| holds(captured.get(*guard), allowed)) {
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
pub(super) struct Envelope<'w, 'd, 'm, 'de> {
    pub(super) sink: &'w mut Sink<'d, 'm, 'de>,
    /// What is left of the path to the rows.
    pub(super) remaining: &'w [Segment],
    /// Paging values below here.
    pub(super) meta: Option<&'w Trie>,
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
                // One object instead of a list: one row, where no list is to be had.
                self.sink.found = true;
                return one_row(self.sink, &mut map);
            }
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let mut entered = false;
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            if key == wanted.as_str() {
                if std::mem::replace(&mut entered, true) {
                    let rows = &self.sink.decoder.rows;
                    let place = format!("`{wanted}`, on the way to the rows at {rows}, stands there twice");
                    self.sink.failure = Some(DecodeError::NoRows(place));
                    return stop();
                }
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
            self.sink.captured.clear();
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

    scalars_are!(());
}

/// Ends the walk; the reason is in the sink.
fn stop<E: serde::de::Error>() -> Result<(), E> {
    Err(E::custom("stopped"))
}

fn one_row<'de, A: MapAccess<'de>>(sink: &mut Sink<'_, '_, 'de>, map: &mut A) -> Result<(), A::Error> {
    let decoder = sink.decoder;
    if decoder.single == Single::Never {
        let place = format!("{} is an object, where the list of rows should be", decoder.rows);
        sink.failure = Some(DecodeError::NoRows(place));
        return stop();
    }
    sink.captured.clear();
    while let Some(child) = map.next_key_seed(FindKey(&sink.decoder.row))? {
        match child {
            Some(trie) => map.next_value_seed(Pick { trie, captured: &mut sink.captured })?,
            None => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    if decoder.single == Single::Row && decoder.slots > 0 && sink.captured.is_empty() {
        let place = format!("{} is an object without any of the columns asked for, and no list of rows", decoder.rows);
        sink.failure = Some(DecodeError::NoRows(place));
        return stop();
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
    scalars_are!(false);
}
