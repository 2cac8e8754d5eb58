//! Vendors' words, made fit to be shown.

use secrecy::{ExposeSecret, SecretString};

/// Longest text of a vendor in an error, characters.
const SHOWN: usize = 300;

/// `text` shortened, on one line, without control characters and without any of `secrets`.
pub(crate) fn clean(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let secret = secret.expose_secret();
        // A very short value would only garble the text, and gives nothing away by standing in it.
        if secret.len() >= 4 {
            text = text.replace(secret, "***");
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
        assert!(clean(&"x".repeat(1000), &secrets).chars().count() <= SHOWN + 1);
    }
}
