//! The shape of a content: what may be kept of what people and models wrote, and is enough to judge it by.
//!
//! Owns: [`ContentShape`], made where an answer is decoded (columns with `shape: true`), so that local copies have it and
//! no text. Does not own: what a shape is compared with (agent, `queries/`), nor which format a text has (`format`).
//!
//! Must hold: no value is in a shape, nor a key that looks like one; the same text has the same shape everywhere, since the
//! shape that a feature always had was taken from other rows.

mod format;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tripline_engine::json_kind;

/// Keys of an object that are told at most. An object with more is a table of values by names of its own.
const MOST_KEYS: usize = 256;
/// Characters of a key that is told as it is.
const LONGEST_KEY: usize = 64;
/// Digits in a key that is told as it is: an account, a date, a telephone number has more.
const MOST_DIGITS: usize = 6;

/// What is known of a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContentShape {
    /// What it is as JSON, in the words of the engine's `json_kind`; a JSON string counts as what is in it.
    pub kind: Cow<'static, str>,
    /// Its length in characters, of a JSON string that of what is in it.
    pub length: u64,
    /// The first 16 hexadecimal digits of its SHA-256: what is the same twice has the same.
    pub hash: String,
    /// What was said, as JSON: of a chat message its content, else the same as `kind`.
    pub said: Cow<'static, str>,
    /// If an object was said: its keys with their JSON types. `None` too where there are more than 256 or they cannot be
    /// read: then nothing is known of them. A key that is no name (long, an address, a number) is told by a hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<BTreeMap<String, Cow<'static, str>>>,
    /// Of the keys whose value is a string: its format (`uuid`, `date-time`, `date`, `email`, `uri`, `integer`, `number`),
    /// `text` where it has none of them. A key of a string that is not there was told before formats were: nothing is known
    /// of its format.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub formats: BTreeMap<String, Cow<'static, str>>,
}

/// What is told of the fields of an object: their types by key, and the formats of those that are strings.
type Fields = (BTreeMap<String, Cow<'static, str>>, BTreeMap<String, Cow<'static, str>>);

impl ContentShape {
    /// The shape of a text, which is JSON or not.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let whole = match json_kind(text) {
            "string" => serde_json::from_str::<String>(text).map_or(Cow::Borrowed(text), Cow::Owned),
            _ => Cow::Borrowed(text),
        };
        // Only a message that stands there as an object is unwrapped, not one within a string.
        let said = match &whole {
            Cow::Borrowed(whole) if json_kind(whole) == "object" => content_of(whole).unwrap_or(Cow::Borrowed(*whole)),
            whole => Cow::Borrowed(&**whole),
        };
        let kind = json_kind(&said);
        let (keys, formats) = (kind == "object").then(|| fields_of(&said)).flatten().unzip();
        Self {
            kind: Cow::Borrowed(json_kind(&whole)),
            length: whole.chars().count() as u64,
            hash: digest(&whole),
            said: Cow::Borrowed(kind),
            keys,
            formats: formats.unwrap_or_default(),
        }
    }

    /// The shape of no content at all, which is that of an empty one.
    #[must_use]
    pub fn blank() -> Self {
        Self::of("")
    }

    /// Reads the text of a column that holds shapes.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// As JSON, as columns hold it.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and a number: there is nothing in it that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The content of a chat message; `None` when it is none, or its content no text.
fn content_of(object: &str) -> Option<Cow<'_, str>> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object).ok()?;
    fields.get("role")?;
    serde_json::from_str::<String>(fields.get("content")?.get()).ok().map(Cow::Owned)
}

fn fields_of(object: &str) -> Option<Fields> {
    let fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(object).ok()?;
    if fields.len() > MOST_KEYS {
        return None;
    }
    let (mut keys, mut formats) = Fields::default();
    for (key, value) in fields {
        let (key, kind) = (told(&key), kind_of(value));
        if kind == "string" {
            formats.insert(key.clone(), Cow::Borrowed(format::of_json(value.get())));
        }
        keys.insert(key, Cow::Borrowed(kind));
    }
    Some((keys, formats))
}

/// The JSON type of a value that is known to be JSON.
fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

/// A key as it is told: a name, or what stands for something that is none.
fn told(key: &str) -> String {
    let digits = key.chars().filter(char::is_ascii_digit).count();
    let odd = |c: char| c.is_control() || c == '@';
    let is_name = digits <= MOST_DIGITS && key.chars().count() <= LONGEST_KEY && !key.contains(odd);
    if is_name { key.to_owned() } else { format!("#{}", digest(key)) }
}

fn digest(text: &str) -> String {
    let mut digits = hex::encode(Sha256::digest(text.as_bytes()));
    digits.truncate(16);
    digits
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(text: &str) -> serde_json::Value {
        json!(ContentShape::of(text).keys)
    }

    #[test]
    fn a_shape_has_types_and_keys_and_no_values() {
        let text =
            r#"{"reply": "the secret", "score": -1.5, "ok": true, "tags": ["x"], "more": {"a": 1}, "none": null}"#;
        let shape = ContentShape::of(text);
        assert_eq!((&*shape.kind, &*shape.said, shape.length), ("object", "object", text.len() as u64));
        let known = json!({"reply": "string", "score": "number", "ok": "boolean", "tags": "array", "more": "object",
            "none": "null"});
        assert_eq!(keys(text), known);
        assert!(!shape.to_json().contains("secret"), "{}", shape.to_json());
        assert_eq!(ContentShape::parse(&shape.to_json()).unwrap(), shape);
    }

    #[test]
    fn a_string_is_what_is_in_it_and_a_chat_message_says_its_content() {
        for (text, kind, said, length) in [
            ("", "blank", "blank", 0),
            (" \n", "blank", "blank", 2),
            ("Grüße", "text", "text", 5),
            ("{\"a\": ", "text", "text", 6),
            (r#""{\"a\": 1}""#, "object", "object", 8),
            (r#""plain""#, "text", "text", 5),
            (r#"{"role": "assistant", "content": "[1]"}"#, "object", "array", 39),
            (r#"{"role": "assistant", "content": "hi"}"#, "object", "text", 38),
            (r#"{"role": "assistant", "content": [1]}"#, "object", "object", 37),
            (r#"{"content": "[1]"}"#, "object", "object", 18),
            ("12", "number", "number", 2),
        ] {
            let shape = ContentShape::of(text);
            assert_eq!((&*shape.kind, &*shape.said, shape.length), (kind, said, length), "{text}");
        }
        let message = r#"{"role": "assistant", "content": "{\"a\": 1}"}"#;
        assert_eq!(keys(message), json!({"a": "number"}));
        assert_eq!(ContentShape::blank(), ContentShape::of(""));
    }

    #[test]
    fn the_same_text_has_the_same_hash_and_another_has_another() {
        let hash = |text: &str| ContentShape::of(text).hash;
        assert_eq!((hash("a").len(), hash("a")), (16, hash("\"a\"")));
        assert_ne!(hash("a"), hash("b"));
    }

    #[test]
    fn a_key_that_is_a_value_is_told_by_a_hash() {
        for key in ["jane@example.org", "2026-11-20", "+49 30 1234567", "line\\nbreak", &"x".repeat(65)] {
            let told = keys(&format!("{{\"{key}\": 1}}"));
            let told = told.as_object().unwrap().keys().next().unwrap();
            assert!(told.starts_with('#') && told.len() == 17, "{key}: {told}");
        }
        assert_eq!(keys(r#"{"Größe in cm": 1, "_2": 2}"#), json!({"Größe in cm": "number", "_2": "number"}));
    }

    #[test]
    fn the_formats_of_texts_are_told_by_key_and_their_values_are_not() {
        let text = r#"{"due": "2026-11-20", "to": "jane@example.org", "note": "soon", "n": 5, "none": null, "in": {"at": "x"},
            "+49 30 1234567": "https://example.org"}"#;
        let shape = ContentShape::of(text);
        let telephone = format!("#{}", digest("+49 30 1234567"));
        assert_eq!(json!(shape.formats), json!({"due": "date", "to": "email", "note": "text", telephone: "uri"}));
        let told = shape.to_json();
        assert!(!["2026", "jane", "soon", "example"].iter().any(|value| told.contains(value)), "{told}");
        assert_eq!(ContentShape::parse(&told).unwrap(), shape);
        for without in [r#"{"a": 1}"#, "[\"2026-11-20\"]", "2026-11-20", ""] {
            assert!(!ContentShape::of(without).to_json().contains("formats"), "{without}");
        }
    }

    #[test]
    fn a_shape_that_was_made_before_formats_is_still_read() {
        let old = r#"{"kind":"object","length":8,"hash":"0123456789abcdef","said":"object","keys":{"a":"string"}}"#;
        let shape = ContentShape::parse(old).unwrap();
        assert_eq!((shape.formats.len(), shape.to_json()), (0, old.to_owned()));
    }

    #[test]
    fn of_more_keys_than_a_schema_has_none_is_told() {
        let object =
            |keys: usize| json!((0..keys).map(|n| (format!("k{n}"), n)).collect::<BTreeMap<_, _>>()).to_string();
        assert_eq!(ContentShape::of(&object(256)).keys.map(|keys| keys.len()), Some(256));
        let many = ContentShape::of(&object(257));
        assert_eq!((&*many.said, many.keys), ("object", None));
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_no_panic() {
        // Half a surrogate pair is JSON and no text.
        let half = ContentShape::of(r#"{"a\ud800": 1}"#);
        assert_eq!((&*half.said, half.keys), ("object", None));
        let string = ContentShape::of(r#""a\ud800""#);
        assert_eq!(&*string.kind, "string");
        let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
        assert_eq!(keys(&deep), json!({"a": "object"}));
    }
}
