//! One text for one JSON value, and its SHA-256.
//!
//! Owns the canonical form that hashes are taken over (payloads, evidence, events). Must hold: equal values
//! give equal text; the text that is stored is the text that was hashed, so that anyone can hash it again.
//!
//! The canonical form: object keys sorted by their UTF-8 bytes, no white space between tokens, strings and
//! numbers as `serde_json` prints them (shortest digits that read back to the same number).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The canonical text of a JSON value.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

/// The SHA-256 of some bytes, in lower-case hex.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes.as_ref()))
}

/// Appends the canonical text of a value.
pub(crate) fn write_canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => write_object(object, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_canonical(item, text);
            }
            text.push(']');
        }
        Value::String(string) => write_string(string, text),
        Value::Number(number) => {
            // Writing to a string does not fail.
            let _ = write!(text, "{number}");
        }
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Null => text.push_str("null"),
    }
}

/// Appends the canonical text of an object.
pub(crate) fn write_object(object: &Map<String, Value>, text: &mut String) {
    let mut write = |entries: &mut dyn Iterator<Item = (&String, &Value)>| {
        text.push('{');
        for (position, (key, item)) in entries.enumerate() {
            if position > 0 {
                text.push(',');
            }
            write_string(key, text);
            text.push(':');
            write_canonical(item, text);
        }
        text.push('}');
    };
    // Not left to the map type: a `preserve_order` feature anywhere in the build would change it.
    if object.keys().is_sorted() {
        return write(&mut object.iter());
    }
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    write(&mut entries.into_iter());
}

/// Appends a string with its quotes, escaped as `serde_json` does.
pub(crate) fn write_string(string: &str, text: &mut String) {
    text.push('"');
    let mut written = 0;
    for (at, byte) in string.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x0c => "\\f",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        text.push_str(&string[written..at]);
        written = at + 1;
        if escape.is_empty() {
            let _ = write!(text, "\\u{byte:04x}");
        } else {
            text.push_str(escape);
        }
    }
    text.push_str(&string[written..]);
    text.push('"');
}

/// JSON whose text is kept exactly as it was hashed.
///
/// What is approved is what runs: an approval and its action carry the same text, byte for byte, and
/// [`sha256`](Self::sha256) is taken over that text. (A number with many digits may lose its last bit when
/// it travels through [`Value`]; the text does not.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExactJson {
    text: String,
}

impl ExactJson {
    /// Takes the canonical text of a value.
    pub fn new(value: &Value) -> Self {
        Self { text: canonical_json(value) }
    }

    /// Takes back a text that this type produced earlier (a database column).
    pub(crate) fn from_stored(text: String) -> Self {
        Self { text }
    }

    /// The exact text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the exact text, lower-case hex.
    pub fn sha256(&self) -> String {
        sha256_hex(&self.text)
    }

    /// The value, for reading fields from it.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`](crate::StoreError::Corrupt) when the stored text is no JSON.
    pub fn value(&self) -> crate::Result<Value> {
        serde_json::from_str(&self.text)
            .map_err(|error| crate::StoreError::Corrupt { what: "payload", reason: error.to_string() })
    }
}

impl From<&Value> for ExactJson {
    fn from(value: &Value) -> Self {
        Self::new(value)
    }
}

impl From<Value> for ExactJson {
    fn from(value: Value) -> Self {
        Self::new(&value)
    }
}

impl Serialize for ExactJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ExactJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&Value::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_change_the_hash() {
        let one: Value = serde_json::from_str(r#"{"b":1,"a":{"y":[1,2],"x":null}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{ "a": {"x":null,"y":[1,2]}, "b":1 }"#).unwrap();
        assert_eq!(canonical_json(&one), r#"{"a":{"x":null,"y":[1,2]},"b":1}"#);
        assert_eq!(ExactJson::new(&one).sha256(), ExactJson::new(&other).sha256());
    }

    #[test]
    fn the_order_of_items_and_the_type_of_a_scalar_do() {
        let texts = [json!([1, 2]), json!([2, 1]), json!(["1", 2]), json!([1.0, 2])].map(|v| canonical_json(&v));
        for (i, a) in texts.iter().enumerate() {
            for b in &texts[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }

    #[test]
    fn serialising_embeds_the_exact_text() {
        let exact = ExactJson::from_stored(r#"{"cost":0.10000000000000001}"#.to_owned());
        assert_eq!(serde_json::to_string(&exact).unwrap(), r#"{"cost":0.10000000000000001}"#);
    }

    #[test]
    fn strings_are_escaped_inside_keys_and_values() {
        assert_eq!(canonical_json(&json!({"a\"\n": "\u{1}"})), "{\"a\\\"\\n\":\"\\u0001\"}");
    }

    proptest::proptest! {
        #[test]
        fn a_string_is_escaped_as_serde_json_does(string in "\\PC*|[\u{0}-\u{80}]*") {
            let mut text = String::new();
            write_string(&string, &mut text);
            proptest::prop_assert_eq!(text, Value::from(string).to_string());
        }
    }
}
