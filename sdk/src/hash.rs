//! Hashes of content, as the Python SDK makes them, so that both kinds of agent can be told apart and put together.
//!
//! Must hold: nothing here keeps or returns the content it was given.

use std::fmt::Write;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first 16 hex digits of the SHA-256 of a text: for input, arguments, outputs, queries and errors.
#[must_use]
pub fn hash_content(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..8])
}

/// The version of an agent: the first 8 hex digits of the SHA-256 of `<system prompt>:<model>:<sorted tools>`, with the
/// tools as Python shows a list of texts. The same agent has the same version in either language.
#[must_use]
pub fn agent_version(system_prompt: &str, model: &str, tools: &[impl AsRef<str>]) -> String {
    let mut names: Vec<&str> = tools.iter().map(AsRef::as_ref).collect();
    // Bytes of UTF-8 sort as code points do.
    names.sort_unstable();
    let mut text = format!("{system_prompt}:{model}:[");
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            text.push_str(", ");
        }
        push_repr(&mut text, name);
    }
    text.push(']');
    hex(&Sha256::digest(text.as_bytes())[..4])
}

/// The hash of a tool's arguments: of their JSON with sorted keys and no spaces.
///
/// The Python SDK hashes `str(args)`, which no other language writes, so the same arguments have another hash there;
/// `{}` has the same in both. The hash only says whether two calls of one agent were alike.
#[must_use]
pub fn hash_args(args: &Value) -> String {
    let mut text = String::new();
    push_canonical(&mut text, args);
    hash_content(&text)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A text as Python's `repr` shows it.
fn push_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Python's `str.isprintable` and Rust's `escape_debug` leave the same categories of characters as they are; Rust also
/// escapes combining marks, but only where a text begins.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    text.escape_debug().nth(1) == Some(c)
}

fn push_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_canonical(out, item);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                let _ = write!(out, "{}:", Value::from(name.as_str()));
                push_canonical(out, value);
            }
            out.push('}');
        }
        plain => {
            let _ = write!(out, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_arguments_have_the_same_hash_in_whatever_order() {
        let one = hash_args(&json!({"b": [1, {"y": 1, "x": "é"}], "a": null}));
        let parsed: Value = serde_json::from_str(r#"{"a":null,"b":[1,{"x":"é","y":1}]}"#).unwrap();
        assert_eq!(one, hash_args(&parsed));
        assert_eq!(one, hash_content(r#"{"a":null,"b":[1,{"x":"é","y":1}]}"#));
        assert_ne!(one, hash_args(&json!({"b": [1, {"y": 2, "x": "é"}], "a": null})));
        assert_eq!(hash_args(&json!({})), "44136fa355b3678a");
    }

    #[test]
    fn what_python_escapes_is_escaped() {
        let shown = |text: &str| {
            let mut out = String::new();
            push_repr(&mut out, text);
            out
        };
        assert_eq!(shown("a\u{301}"), "'a\u{301}'");
        assert_eq!(shown("\u{7f}\u{a0}\u{ad}\u{200b}\u{e000}"), r"'\x7f\xa0\xad\u200b\ue000'");
        assert_eq!(shown("\u{10ffff}\0"), r"'\U0010ffff\x00'");
        assert_eq!(shown("it's"), "\"it's\"");
        assert_eq!(shown("it's \"so\""), r#"'it\'s "so"'"#);
        assert_eq!(shown("ünï ☕ 😀"), "'ünï ☕ 😀'");
    }
}
