//! Which parts of a JSON value are wanted, and the serde seeds that pick them out and skip the rest.
//!
//! Owns: [`Trie`] and walking a value along it. A wanted part is kept as the vendor's raw text, borrowed from the body;
//! everything else is skipped without being built. Does not own: what the text means (`value`).

use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::spec::{JsonPath, Segment};

/// Visitor methods that make every scalar `$value`.
macro_rules! scalars_are {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}
pub(super) use scalars_are;

/// Wanted parts of a value. A slot is a place in the caller's row of captured texts.
#[derive(Debug, Default)]
pub(crate) struct Trie {
    slots: Vec<usize>,
    /// Sorted by [`by_length`] of the key.
    keys: Vec<(String, Trie)>,
    indexes: Vec<(usize, Trie)>,
}

/// The order of keys: most that are not wanted are told apart by their length, without looking at what they say.
fn by_length(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Captured raw JSON texts, by slot.
#[derive(Debug)]
pub(crate) struct Captured<'de> {
    found: Vec<Option<&'de str>>,
    /// A slot that was filled twice: a key stands twice in one object, so nobody knows which value is meant.
    pub(crate) twice: Option<usize>,
}

impl<'de> Captured<'de> {
    pub(crate) fn new(slots: usize) -> Self {
        Self { found: vec![None; slots], twice: None }
    }

    pub(crate) fn clear(&mut self) {
        self.found.fill(None);
        self.twice = None;
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&'de str> {
        self.found.get(slot).copied().flatten()
    }

    /// Whether nothing was found at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.iter().all(Option::is_none)
    }

    pub(crate) fn into_texts(self) -> impl Iterator<Item = Option<&'de str>> {
        self.found.into_iter()
    }

    fn put(&mut self, slot: usize, raw: &'de str) {
        if self.found[slot].replace(raw).is_some() {
            self.twice = Some(slot);
        }
    }
}

impl Trie {
    /// Asks for the value at `path` to be put into `slot`. A length asks for the array.
    pub(crate) fn want(&mut self, path: &JsonPath, slot: usize) {
        self.at(&path.0).slots.push(slot);
    }

    fn at(&mut self, segments: &[Segment]) -> &mut Self {
        match segments {
            [] | [Segment::Length, ..] => self,
            [Segment::Key(key), rest @ ..] => {
                let position = match self.keys.binary_search_by(|(k, _)| by_length(k, key)) {
                    Ok(position) => position,
                    Err(position) => {
                        self.keys.insert(position, (key.clone(), Self::default()));
                        position
                    }
                };
                self.keys[position].1.at(rest)
            }
            [Segment::Index(index), rest @ ..] => {
                let position = self.indexes.iter().position(|(i, _)| i == index).unwrap_or_else(|| {
                    self.indexes.push((*index, Self::default()));
                    self.indexes.len() - 1
                });
                self.indexes[position].1.at(rest)
            }
        }
    }

    pub(crate) fn key(&self, key: &str) -> Option<&Self> {
        self.keys.binary_search_by(|(k, _)| by_length(k, key)).ok().map(|position| &self.keys[position].1)
    }

    /// Takes out what is wanted below a key.
    pub(crate) fn take_key(&mut self, key: &str) -> Option<Self> {
        let position = self.keys.binary_search_by(|(k, _)| by_length(k, key)).ok()?;
        Some(self.keys.remove(position).1)
    }

    fn index(&self, index: usize) -> Option<&Self> {
        self.indexes.iter().find(|(i, _)| *i == index).map(|(_, trie)| trie)
    }

    fn is_leaf(&self) -> bool {
        self.keys.is_empty() && self.indexes.is_empty()
    }
}

/// Picks the wanted parts of one value into `captured`.
pub(crate) struct Pick<'t, 'c, 'de> {
    pub(crate) trie: &'t Trie,
    pub(crate) captured: &'c mut Captured<'de>,
}

impl<'de> DeserializeSeed<'de> for Pick<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.trie.slots.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let raw = <&'de RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        for slot in &self.trie.slots {
            self.captured.put(*slot, raw);
        }
        if !self.trie.is_leaf() {
            // A part of a wanted part is wanted too: read it again, this time for the inside.
            let inside = Pick { trie: self.trie, captured: self.captured };
            serde_json::Deserializer::from_str(raw).deserialize_any(inside).map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Pick<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(child) = map.next_key_seed(FindKey(self.trie))? {
            match child {
                Some(trie) => map.next_value_seed(Pick { trie, captured: self.captured })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut position = 0;
        loop {
            let more = match self.trie.index(position) {
                Some(trie) => seq.next_element_seed(Pick { trie, captured: self.captured })?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                return Ok(());
            }
            position += 1;
        }
    }

    // A scalar where something deeper was wanted: the deeper thing is absent.
    scalars_are!(());
}

/// Finds the child of a trie that a key leads to, without copying the key.
pub(crate) struct FindKey<'t>(pub(crate) &'t Trie);

impl<'de, 't> DeserializeSeed<'de> for FindKey<'t> {
    type Value = Option<&'t Trie>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, 't> Visitor<'de> for FindKey<'t> {
    type Value = Option<&'t Trie>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.key(key))
    }
}
