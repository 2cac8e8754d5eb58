//! One vendor object: its top-level fields in their order, each as the JSON text it came with.
//!
//! Owns: the representation of a served item and its reading and patching.
//! Does not own: what a field means to a vendor.
//! Must hold: every stored text is valid JSON, so that an item can be written out by concatenation.
//! Texts are kept rather than parsed values because items are "served back as they are": a number
//! keeps its digits, and a page of a thousand items costs copies, not serialisation.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::time::{self, Micros};

/// Fields of vendors that look like parent keys: a pull request's links, a Sentry event's notes.
const VENDOR_FIELDS: [&str; 2] = ["_links", "_meta"];

/// A JSON object as an ordered list of `(key, JSON text)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Item {
    fields: Vec<(Box<str>, Box<str>)>,
}

/// A JSON string literal for `text`.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote_into(&mut out, text);
    out
}

/// Appends a JSON string literal for `text`.
pub(crate) fn quote_into(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The text of a JSON string literal, or `None` when `raw` is another kind of value.
pub(crate) fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        serde_json::from_str::<String>(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

impl Item {
    /// An object without fields.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An item from a parsed object; `None` when `value` is no object.
    pub(crate) fn from_value(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        let fields = object.iter().map(|(key, value)| (key.as_str().into(), value.to_string().into())).collect();
        Some(Self { fields })
    }

    /// The item as a parsed value.
    pub(crate) fn to_value(&self) -> Value {
        Value::Object(
            self.fields
                .iter()
                .map(|(key, raw)| (key.to_string(), serde_json::from_str(raw).unwrap_or(Value::Null)))
                .collect(),
        )
    }

    /// The JSON text of a field.
    pub(crate) fn raw(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| &**name == key).map(|(_, raw)| &**raw)
    }

    /// The JSON text of a field, when it is there and not null.
    pub(crate) fn present(&self, key: &str) -> Option<&str> {
        self.raw(key).filter(|raw| *raw != "null")
    }

    /// A string field.
    pub(crate) fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.raw(key).and_then(unquote)
    }

    /// A field as a lookup key: strings as they are, numbers and booleans by their text, else empty.
    pub(crate) fn key(&self, key: &str) -> Box<str> {
        match self.raw(key) {
            None | Some("null") => "".into(),
            Some(raw) => match unquote(raw) {
                Some(text) => text.into(),
                None if raw.starts_with(['{', '[']) => "".into(),
                None => raw.into(),
            },
        }
    }

    /// A numeric field; numeric strings count, since recorded answers have both.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        let raw = self.raw(key)?;
        match unquote(raw) {
            Some(text) => text.parse().ok(),
            None => raw.parse().ok(),
        }
    }

    /// A timestamp field (ISO 8601, or epoch seconds as a number).
    pub(crate) fn time(&self, key: &str) -> Option<Micros> {
        let raw = self.raw(key)?;
        match unquote(raw) {
            Some(text) => time::parse(&text),
            None => time::from_epoch_seconds(raw),
        }
    }

    /// A field as a parsed value; null when absent.
    pub(crate) fn value(&self, key: &str) -> Value {
        self.raw(key).and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or(Value::Null)
    }

    /// The first present field of `keys` as a lookup key.
    pub(crate) fn first_key(&self, keys: &[&str]) -> Option<Box<str>> {
        keys.iter().map(|key| self.key(key)).find(|text| !text.is_empty())
    }

    /// Sets a field to JSON text the caller vouches for.
    pub(crate) fn set_raw(&mut self, key: &str, raw: impl Into<Box<str>>) {
        match self.fields.iter_mut().find(|(name, _)| &**name == key) {
            Some((_, old)) => *old = raw.into(),
            None => self.fields.push((key.into(), raw.into())),
        }
    }

    /// Sets a field to null, when the item has it.
    pub(crate) fn nullify(&mut self, key: &str) {
        if self.raw(key).is_some() {
            self.set_raw(key, "null");
        }
    }

    /// Sets a string field.
    pub(crate) fn set_text(&mut self, key: &str, text: &str) {
        self.set_raw(key, quote(text));
    }

    /// Sets a field to a parsed value.
    pub(crate) fn set_value(&mut self, key: &str, value: &Value) {
        self.set_raw(key, value.to_string());
    }

    /// Sets a field in passing, for building: JSON text.
    pub(crate) fn with_raw(mut self, key: &str, raw: impl Into<Box<str>>) -> Self {
        self.fields.push((key.into(), raw.into()));
        self
    }

    /// Sets a field in passing, for building: text.
    pub(crate) fn with_text(self, key: &str, text: &str) -> Self {
        self.with_raw(key, quote(text))
    }

    /// Sets a field in passing, for building: text or null.
    pub(crate) fn with_opt(self, key: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.with_text(key, text),
            None => self.with_raw(key, "null"),
        }
    }

    /// Sets a field in passing, for building: anything that displays as a JSON number or boolean.
    pub(crate) fn with_num(self, key: &str, number: impl fmt::Display) -> Self {
        self.with_raw(key, number.to_string())
    }

    /// Sets a field in passing, for building: a parsed value.
    pub(crate) fn with(self, key: &str, value: &Value) -> Self {
        self.with_raw(key, value.to_string())
    }

    /// Removes a field and returns its JSON text.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Box<str>> {
        let at = self.fields.iter().position(|(name, _)| &**name == key)?;
        Some(self.fields.remove(at).1)
    }

    /// Splits off the underscored keys: the parents and extensions of the data format, never served.
    /// Vendors' own underscored fields stay.
    pub(crate) fn split_parents(&mut self) -> Item {
        let (parents, served) = std::mem::take(&mut self.fields)
            .into_iter()
            .partition(|(name, _)| name.starts_with('_') && !VENDOR_FIELDS.contains(&&**name));
        self.fields = served;
        Item { fields: parents }
    }

    /// The fields in their order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(key, raw)| (&**key, &**raw))
    }

    /// Appends the item as a JSON object.
    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (index, (key, raw)) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            quote_into(out, key);
            out.push(':');
            out.push_str(raw);
        }
        out.push('}');
    }

    /// The item as JSON text.
    pub(crate) fn json(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(&mut out);
        out
    }
}

/// Writes items as a JSON array.
pub(crate) fn write_array<'a>(out: &mut String, items: impl IntoIterator<Item = Cow<'a, Item>>) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        item.write(out);
    }
    out.push(']');
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Box<str>>()? {
                    let raw = map.next_value::<Box<RawValue>>()?;
                    fields.push((key, raw.get().into()));
                }
                Ok(Item { fields })
            }
        }

        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_written_back_with_the_digits_and_order_it_came_with() {
        let text = r#"{"b":1.10,"a":1e-7,"nested":{"z": [1, 2]},"text":"a\"b\u0007"}"#;
        let item: Item = serde_json::from_str(text).unwrap();
        assert_eq!(item.json(), text);
    }

    #[test]
    fn underscored_keys_are_split_off_and_never_served() {
        let mut item: Item = serde_json::from_str(r#"{"_owner":"o","id":1,"_repo":"r","_links":{}}"#).unwrap();
        let parents = item.split_parents();
        assert_eq!(item.json(), r#"{"id":1,"_links":{}}"#);
        assert_eq!(&*parents.key("_owner"), "o");
    }

    #[test]
    fn every_control_character_survives_quoting() {
        let text: String = (0u8..128).map(char::from).collect();
        assert_eq!(serde_json::from_str::<String>(&quote(&text)).unwrap(), text);
        assert_eq!(unquote(&quote(&text)).unwrap(), text);
    }
}
