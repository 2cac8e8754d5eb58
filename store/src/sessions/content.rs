//! What of a payload is kept: no secrets, and no raw content.
//!
//! Must hold: under a key that is known to carry content (a prompt, an output, a diff, what a tool was given and said), and of any
//! other text longer than [`LONGEST_PLAIN_TEXT`], only a hash and a length are kept; every other text is kept without secrets;
//! doing it twice changes nothing. The text of an error is no payload: it is kept as `raw_message`, the one stated exception
//! ("Settled questions, content at rest").

use crate::canonical::{canonical_json, sha256_hex};
use crate::content_keys;
use crate::redact::take_secrets;
use serde_json::{Map, Value};

/// A text longer than this (in characters) is taken for content, whatever its key: names and ids are shorter.
pub const LONGEST_PLAIN_TEXT: usize = 256;
/// Characters of the hash that are kept, as the Dunetrace SDK does.
const HASH_CHARS: usize = 16;
/// What a value of a key that ends in `_hash` looks like at most: SHA-512 in hexadecimal digits.
const LONGEST_HASH: usize = 128;

/// The stem of a key that holds content: as in run events, and what edits and terminals bring.
fn stem(key: &str) -> Option<&'static str> {
    content_keys::stem(key).or_else(|| {
        Some(match key.to_ascii_lowercase().as_str() {
            "diff" | "patch" => "diff",
            "code" | "snippet" => "code",
            "stdout" => "stdout",
            "stderr" => "stderr",
            "before" | "old_text" => "before",
            "after" | "new_text" => "after",
            _ => return None,
        })
    })
}

/// Replaces content by `<stem>_hash` (16 hexadecimal digits of its SHA-256) and `<stem>_length` (characters), and takes out
/// secrets. Numbers and truth values are no content, whatever their key.
pub fn strip(fields: &mut Map<String, Value>) {
    strip_content(fields);
    take_secrets_of(fields);
}

fn strip_content(fields: &mut Map<String, Value>) {
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, value) in fields.iter_mut() {
        match (stem(key), &mut *value) {
            (Some(stem), Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                found.push((key.clone(), stem.to_owned()));
            }
            (None, Value::String(text)) if key.ends_with("_hash") => {
                if !is_hash(text) {
                    *text = hash(text);
                }
            }
            (None, Value::String(text)) if is_long(text) => found.push((key.clone(), key.clone())),
            (None, value) => strip_value(value),
            (Some(_), _) => {}
        }
    }
    for (key, stem) in found {
        let text = match fields.remove(&key) {
            Some(Value::String(text)) => text,
            Some(other) => canonical_json(&other),
            None => continue,
        };
        // What the sender says of the length stands: it knows what it cut off.
        let length = format!("{stem}_length");
        if !fields.get(&length).is_some_and(Value::is_number) {
            fields.insert(length, Value::from(text.chars().count()));
        }
        fields.insert(format!("{stem}_hash"), Value::from(hash(&text)));
    }
}

fn strip_value(value: &mut Value) {
    match value {
        Value::Object(fields) => strip_content(fields),
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::String(text) if is_long(text) => *text = hash(text),
                    item => strip_value(item),
                }
            }
        }
        _ => {}
    }
}

fn hash(text: &str) -> String {
    let mut hash = sha256_hex(text);
    hash.truncate(HASH_CHARS);
    hash
}

fn is_long(text: &str) -> bool {
    text.len() > LONGEST_PLAIN_TEXT && text.chars().nth(LONGEST_PLAIN_TEXT).is_some()
}

fn is_hash(text: &str) -> bool {
    text.len() <= LONGEST_HASH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Takes the secrets out of an object that may hold content otherwise (a configuration).
pub fn take_secrets_of(fields: &mut Map<String, Value>) {
    let mut whole = Value::Object(std::mem::take(fields));
    take_secrets(&mut whole);
    if let Value::Object(clean) = whole {
        *fields = clean;
    }
}
