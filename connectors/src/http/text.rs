//! Vendors' words, made fit to be shown.

use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};

use super::url::SEGMENT;

/// Longest text of a vendor in an error, characters.
const SHOWN: usize = 300;

/// Longest beginning of a secret that may be shown, bytes.
const GUESSABLE: usize = 11;

/// `text` without `secret`, and without what is left of it where the text was cut.
fn without(text: &str, secret: &str) -> String {
    let Some((last, _)) = secret.char_indices().find(|(i, c)| i + c.len_utf8() > GUESSABLE) else {
        return text.replace(secret, "***");
    };
    let start = &secret[..last];
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(start) {
        kept.push_str(before);
        kept.push_str("***");
        let same = after.chars().zip(secret[last..].chars()).take_while(|(a, b)| a == b);
        rest = &after[same.map(|(c, _)| c.len_utf8()).sum()..];
    }
    kept.push_str(rest);
    kept
}

/// `text` shortened, on one line, without control characters and without any of `secrets`.
pub(crate) fn clean(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let secret = secret.expose_secret();
        // A very short value would only garble the text, and gives nothing away by standing in it.
        if secret.len() < 4 {
            continue;
        }
        // As it is, and as vendors repeat it: in a URL.
        text = without(&text, secret);
        let escaped = utf8_percent_encode(secret, SEGMENT).to_string();
        if escaped != secret {
            text = without(&text, &escaped);
        }
    }
    let mut shown = String::new();
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            space = !shown.is_empty();
        } else {
            if std::mem::take(&mut space) {
                shown.push(' ');
            }
            shown.push(c);
        }
        if shown.chars().count() >= SHOWN {
            shown.push('…');
            break;
        }
    }
    shown
}

/// The message in an error body: what vendors put under the usual names, else the body's beginning.
pub(crate) fn message(body: &[u8], secrets: &[SecretString]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(64 * 1024)]);
    let found = serde_json::from_str::<serde_json::Value>(&text).ok().and_then(|json| {
        ["message", "detail", "error_description", "error", "errors", "title"].iter().find_map(|name| {
            match json.get(name)? {
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Null => None,
                serde_json::Value::Object(inner) => {
                    inner.get("message").map(|m| m.as_str().map_or_else(|| m.to_string(), str::to_owned))
                }
                other => Some(other.to_string()),
            }
        })
    });
    match found {
        Some(text) => clean(&text, secrets),
        None if text.trim_start().starts_with('<') => "an HTML page instead of JSON".to_owned(),
        None => clean(&text, secrets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_text_is_shown_on_one_line_and_without_secrets() {
        let secrets = [SecretString::from("s3cr3t-token")];
        assert_eq!(clean("bad\r\n\u{1b}[31m token s3cr3t-token!", &secrets), "bad [31m token ***!");
        assert_eq!(message(br#"{"message": "Bad credentials s3cr3t-token"}"#, &secrets), "Bad credentials ***");
        assert_eq!(message(b"<html>", &secrets), "an HTML page instead of JSON");
        let long = [SecretString::from("s3cr3t-token-0123456789")];
        assert_eq!(clean("it begins `s3cr3t-token-01`", &long), "it begins `***`", "what a cut left of it");
        assert_eq!(clean("s3cr3t-tongue, s3cr3t", &long), "s3cr3t-tongue, s3cr3t");
        let odd = [SecretString::from("p/q+r=&s\u{e9}1234")];
        assert_eq!(clean("?k=p%2Fq%2Br%3D%26s%C3%A91234&page=2", &odd), "?k=***&page=2");
        assert!(clean(&"x".repeat(1000), &secrets).chars().count() <= SHOWN + 1);
    }
}
