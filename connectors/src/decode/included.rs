//! Answers whose rows refer to objects that stand beside them (JSON:API's compound documents).
//!
//! Owns: finding those objects by their keys, as the vendor wrote them. Does not own: which row refers to which (`walk`).
//!
//! Must hold: what a row finds there is read as exactly as what it has itself: digits are kept, depth does not matter.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use super::trie::{Captured, Pick, Trie};
use super::value;
use crate::spec::{Included, JsonPath};

/// Objects by key: the raw text of each.
pub(super) type Objects<'de> = HashMap<Cow<'de, str>, &'de str>;

/// What is wanted of the objects beside the rows.
#[derive(Debug)]
pub(super) struct Beside {
    spec: Included,
    /// Where a row names the key.
    pub(super) by: usize,
    /// What is wanted inside of an object.
    pub(super) inside: Trie,
}

impl Beside {
    pub(super) fn new(spec: Included, by: usize, inside: Trie) -> Self {
        Self { spec, by, inside }
    }

    /// The objects of a body; none where it has no list of them.
    pub(super) fn objects<'de>(&self, body: &'de [u8]) -> Result<Objects<'de>, serde_json::Error> {
        let [list] = pick(&mut serde_json::Deserializer::from_slice(body), [&self.spec.path])?;
        let Some(items) = list.and_then(|raw| serde_json::from_str::<Vec<&'de RawValue>>(raw).ok()) else {
            return Ok(Objects::new());
        };
        let mut objects = Objects::new();
        for item in items {
            let raw = item.get();
            let [key] = pick(&mut serde_json::Deserializer::from_str(raw), [&self.spec.key])?;
            if let Some(key) = key.and_then(|key| value::text(value::json(key))) {
                objects.insert(key, raw);
            }
        }
        Ok(objects)
    }
}

/// The raw texts at `paths`.
fn pick<'de, R: serde_json::de::Read<'de>, const N: usize>(
    json: &mut serde_json::Deserializer<R>,
    paths: [&JsonPath; N],
) -> Result<[Option<&'de str>; N], serde_json::Error> {
    let mut trie = Trie::default();
    for (slot, path) in paths.into_iter().enumerate() {
        trie.want(path, slot);
    }
    let mut captured = Captured::new(N);
    Pick { trie: &trie, captured: &mut captured }.deserialize(json)?;
    Ok(std::array::from_fn(|slot| captured.get(slot)))
}
