//! One JSON value, as the vendor wrote it, to one typed value.
//!
//! Owns: lossless coercion: a numeric string is a number, a number is text, an integer is a float, empty text is no
//! number and no time. Does not own: where the value was found (`trie`) nor what an error says around it (`page`).

use std::borrow::Cow;

use crate::spec::TimeFormat;

/// A JSON value by its kind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    /// The digits as written.
    Number(&'a str),
    Text(Cow<'a, str>),
    /// An object or array, as written.
    Composite(&'a str),
}

/// Reads the raw text of one valid JSON value.
pub(crate) fn json(raw: &str) -> Json<'_> {
    let raw = raw.trim();
    match raw.as_bytes().first() {
        Some(b'"') => Json::Text(unquote(raw)),
        Some(b't') => Json::Bool(true),
        Some(b'f') => Json::Bool(false),
        Some(b'{' | b'[') => Json::Composite(raw),
        Some(b'-' | b'0'..=b'9') => Json::Number(raw),
        _ => Json::Null,
    }
}

fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str::<String>(raw) {
        Ok(text) => Cow::Owned(text),
        // Half a surrogate pair is valid JSON and no text; it becomes U+FFFD rather than an error.
        Err(_) => Cow::Owned(unescape_lossy(inner)),
    }
}

fn unescape_lossy(inner: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(inner.len());
    let mut characters = inner.chars();
    let mut buffer = [0; 2];
    while let Some(c) = characters.next() {
        let unescaped = match c {
            '\\' => match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('u') => {
                    let code: String = characters.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&code, 16).unwrap_or(0xFFFD));
                    continue;
                }
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(unescaped.encode_utf16(&mut buffer));
    }
    String::from_utf16_lossy(&units)
}

/// As text. Objects and arrays are their JSON.
pub(crate) fn text<'a>(value: Json<'a>) -> Option<Cow<'a, str>> {
    match value {
        Json::Null => None,
        Json::Bool(b) => Some(Cow::Borrowed(if b { "true" } else { "false" })),
        Json::Number(raw) | Json::Composite(raw) => Some(Cow::Borrowed(raw)),
        Json::Text(text) => Some(text),
    }
}

/// What a value cannot be; becomes part of an error message.
pub(crate) struct NotA(pub(crate) &'static str);

/// As a 64-bit integer.
pub(crate) fn int(value: &Json<'_>) -> Result<Option<i64>, NotA> {
    let digits = match value {
        Json::Null => return Ok(None),
        Json::Number(raw) => raw,
        Json::Text(text) if text.trim().is_empty() => return Ok(None),
        Json::Text(text) => text.trim(),
        Json::Bool(_) | Json::Composite(_) => return Err(NotA("an integer")),
    };
    if let Ok(n) = digits.parse::<i64>() {
        return Ok(Some(n));
    }
    // `3.0` and `3e2` are integers too. Below 2^53 a float is the number that was written; 2^53 itself may be another's
    // rounding.
    match float_of(digits) {
        Some(n) if n.fract() == 0.0 && n.abs() < 9_007_199_254_740_992.0 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53")]
            Ok(Some(n as i64))
        }
        _ => Err(NotA("a 64-bit integer")),
    }
}

/// As a float. Booleans are 1 and 0.
pub(crate) fn float(value: &Json<'_>) -> Result<Option<f64>, NotA> {
    match value {
        Json::Null => Ok(None),
        Json::Bool(b) => Ok(Some(f64::from(u8::from(*b)))),
        Json::Number(raw) => float_of(raw).map(Some).ok_or(NotA("a number")),
        Json::Text(text) if text.trim().is_empty() => Ok(None),
        Json::Text(text) => float_of(text.trim()).map(Some).ok_or(NotA("a number")),
        Json::Composite(_) => Err(NotA("a number")),
    }
}

/// A finite decimal number; Rust also reads `inf` and `nan`, which are none.
fn float_of(text: &str) -> Option<f64> {
    let numeric = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse::<f64>().ok().filter(|n| numeric && n.is_finite())
}

/// As a boolean.
pub(crate) fn bool(value: &Json<'_>) -> Result<Option<bool>, NotA> {
    match value {
        Json::Null => Ok(None),
        Json::Bool(b) => Ok(Some(*b)),
        Json::Number("1") => Ok(Some(true)),
        Json::Number("0") => Ok(Some(false)),
        Json::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(NotA("a boolean")),
        },
        Json::Number(_) | Json::Composite(_) => Err(NotA("a boolean")),
    }
}

/// As microseconds since 1970.
pub(crate) fn time(value: &Json<'_>, format: TimeFormat) -> Result<Option<i64>, NotA> {
    let written: &str = match value {
        Json::Null => return Ok(None),
        Json::Number(raw) => raw,
        Json::Text(text) if text.trim().is_empty() => return Ok(None),
        Json::Text(text) => text,
        Json::Bool(_) | Json::Composite(_) => return Err(NotA("a time")),
    };
    super::time::parse(written, format).map(Some).ok_or(NotA("a time"))
}

/// How many items an array has.
pub(crate) fn length(raw: &str) -> Option<usize> {
    serde_json::from_str::<Vec<serde::de::IgnoredAny>>(raw).ok().map(|items| items.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lossless_coercion_is_no_error() {
        assert!(matches!(int(&json("\"42\"")), Ok(Some(42))));
        assert!(matches!(int(&json("42.0")), Ok(Some(42))));
        assert!(matches!(int(&json("\"\"")), Ok(None)));
        assert!(matches!(int(&json("9007199254740993")), Ok(Some(9_007_199_254_740_993))));
        assert!(matches!(float(&json("\"0.25\"")), Ok(Some(n)) if n == 0.25));
        assert!(matches!(float(&json("3")), Ok(Some(n)) if n == 3.0));
        assert!(matches!(float(&json("true")), Ok(Some(n)) if n == 1.0));
        assert!(matches!(bool(&json("\"true\"")), Ok(Some(true))));
        assert_eq!(text(json("12345678901234567890")).as_deref(), Some("12345678901234567890"));
        assert_eq!(text(json(r#"{"a": 1}"#)).as_deref(), Some(r#"{"a": 1}"#));
    }

    #[test]
    fn lossy_coercion_is_refused() {
        assert!(int(&json("1.5")).is_err());
        assert!(int(&json("1e300")).is_err());
        assert!(int(&json("true")).is_err());
        assert!(int(&json("\"12 apples\"")).is_err());
        assert!(float(&json("\"NaN\"")).is_err());
        assert!(float(&json("\"inf\"")).is_err());
        assert!(float(&json("[1]")).is_err());
        assert!(bool(&json("2")).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        assert_eq!(text(json(r#""a\ud800b\n\u00e9""#)).as_deref(), Some("a\u{FFFD}b\né"));
        assert_eq!(text(json(r#""\ud83d\ude00""#)).as_deref(), Some("😀"));
    }
}
