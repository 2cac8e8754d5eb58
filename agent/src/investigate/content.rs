//! Content that is not kept: what stands in its place.
//!
//! Owns: the digest of a content column (input, output): length, JSON kind, keys, hash ("Settled questions, content at
//! rest"). Must hold: nothing of the content itself is in the digest but the names of an object's keys.

use serde_json::{Value, json};
use tripline_store::canonical::sha256_hex;

/// Names of keys kept at most, and their length: a key may be content itself (a map of names).
const MAX_KEYS: usize = 20;
const MAX_KEY_LENGTH: usize = 40;

/// What is kept of a content: its length in characters, its JSON kind, the keys of an object, and its SHA-256.
#[must_use]
pub fn digest(content: &Value) -> Value {
    let Some(text) = content.as_str() else {
        return if content.is_null() { Value::Null } else { digest(&Value::from(content.to_string())) };
    };
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let kind = match &parsed {
        _ if text.trim().is_empty() => "blank",
        None => "text",
        Some(Value::Object(_)) => "object",
        Some(Value::Array(_)) => "array",
        Some(Value::String(_)) => "string",
        Some(Value::Number(_)) => "number",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Null) => "null",
    };
    let keys: Option<Vec<String>> = parsed
        .as_ref()
        .and_then(Value::as_object)
        .map(|object| object.keys().take(MAX_KEYS).map(|key| key.chars().take(MAX_KEY_LENGTH).collect()).collect());
    json!({"length": text.chars().count(), "kind": kind, "keys": keys, "sha256": sha256_hex(text)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_leaves_its_shape_and_nothing_else() {
        let digest = digest(&json!(r#"{"reply": "the secret words", "score": 3}"#));
        assert_eq!(
            (&digest["kind"], &digest["keys"], &digest["length"]),
            (&json!("object"), &json!(["reply", "score"]), &json!(41))
        );
        assert!(!digest.to_string().contains("secret"));
        assert_eq!(super::digest(&json!("the secret words"))["keys"], Value::Null);
        assert_eq!(super::digest(&Value::Null), Value::Null);
    }

    #[test]
    fn equal_content_has_an_equal_hash() {
        assert_eq!(digest(&json!("a")), digest(&json!("a")));
        assert_ne!(digest(&json!("a")), digest(&json!("b")));
    }
}
