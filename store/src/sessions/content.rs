//! What of a payload is kept: no secrets, and no raw content.
//!
//! Must hold: under a key that is known to carry content (a prompt, an output, a diff, what a tool was given and said) only a
//! hash and a length are kept; every other text is kept without secrets. `raw_message` is no payload: it is the one stated
//! exception ("Settled questions, content at rest").

use crate::canonical::{canonical_json, sha256_hex};
use crate::redact::take_secrets;
use serde_json::{Map, Value};

/// Keys that carry content, wherever they stand in a payload.
const CONTENT_KEYS: [&str; 22] = [
    "input",
    "input_text",
    "output",
    "output_text",
    "prompt",
    "system_prompt",
    "completion",
    "response",
    "query",
    "args",
    "arguments",
    "content",
    "contents",
    "text",
    "diff",
    "patch",
    "code",
    "snippet",
    "stdout",
    "stderr",
    "before",
    "after",
];

/// Characters of the hash that are kept, as the Dunetrace SDK does.
const HASH_CHARS: usize = 16;

/// Replaces content by `<key>_hash` (16 hex characters of its SHA-256) and `<key>_length` (characters), and takes out secrets.
/// Numbers and truth values are no content, whatever their key.
pub fn strip(fields: &mut Map<String, Value>) {
    strip_content(fields);
    take_secrets_of(fields);
}

fn strip_content(fields: &mut Map<String, Value>) {
    for key in CONTENT_KEYS {
        let text = match fields.get_mut(key) {
            Some(Value::String(text)) => std::mem::take(text),
            Some(other @ (Value::Array(_) | Value::Object(_))) => canonical_json(other),
            _ => continue,
        };
        fields.remove(key);
        let mut hash = sha256_hex(&text);
        hash.truncate(HASH_CHARS);
        fields.insert(format!("{key}_length"), Value::from(text.chars().count()));
        fields.insert(format!("{key}_hash"), Value::from(hash));
    }
    fields.values_mut().for_each(strip_value);
}

fn strip_value(value: &mut Value) {
    match value {
        Value::Object(fields) => strip_content(fields),
        Value::Array(items) => items.iter_mut().for_each(strip_value),
        _ => {}
    }
}

/// Takes the secrets out of an object that may hold content otherwise (a configuration).
pub fn take_secrets_of(fields: &mut Map<String, Value>) {
    let mut whole = Value::Object(std::mem::take(fields));
    take_secrets(&mut whole);
    if let Value::Object(clean) = whole {
        *fields = clean;
    }
}
