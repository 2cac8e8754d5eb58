//! Raw content never rests: what people, models and tools wrote is replaced by its hash and length before anything is stored.
//!
//! Owns the one rule of what is content, for every door (events, sessions, deploys, OpenTelemetry, files), and the hash of
//! content. `keys` says what the name of a field tells. Must hold: after [`strip`] no value and no key is a text that a person
//! or a model wrote, as far as its key or its form tells; what is kept holds no secrets; doing it twice changes nothing.
//!
//! The rule: a value under a name for content goes; a name (`tool_name`) stays if it is one line of at most
//! [`LONGEST_NAME`] characters; any other text stays only if it looks like an identifier: no white space, no quotes and braces,
//! at most [`LONGEST_IDENTIFIER`] characters. An address loses its query, its fragment and its user.

mod keys;

use std::borrow::Cow;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::canonical::canonical_json;
use crate::redact;
use keys::Kind;

/// A name has at most this many characters; so has an address.
pub const LONGEST_NAME: usize = 256;
/// A text under an unknown key is content when it has more characters.
pub const LONGEST_IDENTIFIER: usize = 128;
/// The same for a text that has other letters than ASCII: scripts without white space say much in few characters.
const LONGEST_FOREIGN: usize = 24;
/// What a value of a key that ends in `_hash` has at most: SHA-512 in hexadecimal digits.
const LONGEST_HASH: usize = 128;
/// What may stand before them.
const ALGORITHMS: [&str; 3] = ["sha256:", "sha1:", "md5:"];
/// Characters that the name of a kind of error has at most.
const LONGEST_ERROR_TYPE: usize = 128;
/// Shorter texts are no credentials.
const SHORTEST_SECRET: usize = 8;

/// The hash of a content: the first 16 hexadecimal digits of the SHA-256 of its UTF-8 bytes (facts/dunetrace.md §1.4).
#[must_use]
pub fn hash_content(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    hex::encode(digest.get(..8).unwrap_or_default())
}

/// What becomes of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Hash and length take its place.
    Goes,
    /// It stays beside its hash and length: the project asked for it.
    Stays,
}

/// Replaces content by hash and length (`output` by `output_hash`, `output_length`), at every depth, and takes out secrets.
pub fn strip(object: &mut Map<String, Value>, content: Content) {
    let mut found: Vec<(String, Option<&'static str>)> = Vec::new();
    let mut renamed: Vec<String> = Vec::new();
    for (key, value) in object.iter_mut() {
        if !is_identifier(key) && content == Content::Goes {
            renamed.push(key.clone());
        }
        match fate(key, value, content) {
            Fate::Stays => {}
            Fate::Goes(stem) => found.push((key.clone(), stem)),
        }
    }
    for (key, stem) in found {
        // A text where a figure should be, or under a key of the sender's own, stays where content may stay.
        let value = match (content, stem) {
            (Content::Stays, _) => object.get(&key).cloned(),
            (Content::Goes, _) => object.remove(&key),
        };
        if let Some(value) = value {
            let name = stem.map_or_else(|| if is_identifier(&key) { key } else { hash_content(&key) }, str::to_owned);
            note(object, &name, &value);
        }
    }
    for key in renamed {
        if let Some(value) = object.remove(&key) {
            object.insert(hash_content(&key), value);
        }
    }
}

/// What becomes of one field.
enum Fate {
    Stays,
    /// It is content; its hash and length have this name, or its own.
    Goes(Option<&'static str>),
}

fn fate(key: &str, value: &mut Value, content: Content) -> Fate {
    let goes = |is_content: bool, stem| if is_content { Fate::Goes(stem) } else { Fate::Stays };
    match keys::kind(key) {
        Kind::Content { stem, figures } => match value {
            Value::Null => Fate::Stays,
            Value::Bool(_) | Value::Number(_) => goes(!figures, stem),
            _ => Fate::Goes(stem),
        },
        Kind::ErrorType => goes(!is_error_type(value), Some("error_type")),
        Kind::Hash => {
            match value {
                Value::String(text) if !is_hash(text) => *text = hash_content(text),
                Value::String(_) => {}
                other => inside(other, content, false),
            }
            Fate::Stays
        }
        Kind::Length => match value {
            Value::String(text) => goes(text.parse::<f64>().is_err() && content == Content::Goes, None),
            other => {
                inside(other, content, false);
                Fate::Stays
            }
        },
        Kind::Name => match value {
            Value::String(text) => {
                clean(text);
                goes(!is_name(text) && content == Content::Goes, None)
            }
            other => {
                inside(other, content, true);
                Fate::Stays
            }
        },
        Kind::Other => match value {
            Value::String(_) if redact::announces_secret(key) => {
                *value = Value::from(redact::SECRET);
                Fate::Stays
            }
            Value::Number(_) if redact::announces_secret(key) && !key.ends_with("_token") => {
                *value = Value::from(redact::SECRET);
                Fate::Stays
            }
            Value::String(text) => {
                clean(text);
                goes(!is_plain(text) && content == Content::Goes, None)
            }
            other => {
                inside(other, content, false);
                Fate::Stays
            }
        },
    }
}

/// What lies inside of a list or an object: texts of a list are judged one by one, `names` when they stand under a name for names.
fn inside(value: &mut Value, content: Content, names: bool) {
    match value {
        Value::Object(object) => strip(object, content),
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::String(text) => {
                        clean(text);
                        let stays = if names { is_name(text) } else { is_plain(text) };
                        if !stays && content == Content::Goes {
                            *text = hash_content(text);
                        }
                    }
                    item => inside(item, content, names),
                }
            }
        }
        _ => {}
    }
}

/// Takes secrets out of a text, and out of an address what may be one: the query (signatures), the fragment, the user.
fn clean(text: &mut String) {
    if text.len() < SHORTEST_SECRET {
        return;
    }
    if let Some(address) = without_query(text) {
        *text = address;
    }
    if let Some(shown) = redact::secrets_out(text) {
        *text = shown;
    }
}

/// An address (`https://…`, `/path?…`) without query, fragment and user; `None` if there is nothing to take or it is none.
fn without_query(text: &str) -> Option<String> {
    let is_scheme = |scheme: &str| {
        let mut bytes = scheme.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    };
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (Some(scheme), rest),
        _ if text.starts_with('/') => (None, text),
        _ => return None,
    };
    let shown = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = shown.split_at(shown.find('/').unwrap_or(shown.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let address = match scheme {
        Some(scheme) => format!("{scheme}://{host}{path}"),
        None => shown.to_owned(),
    };
    (address != text).then_some(address)
}

/// Writes hash and length of a content beside it. What the sender says of the length stands: it knows what it cut off.
fn note(object: &mut Map<String, Value>, name: &str, value: &Value) {
    let text = match value {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(canonical_json(other)),
    };
    let hash = format!("{name}_hash");
    if !text.is_empty() {
        object.insert(hash, hash_content(&text).into());
    } else if !object.contains_key(&hash) {
        // As the SDKs that hash by themselves do: nothing has no hash.
        object.insert(hash, "".into());
    }
    let length = format!("{name}_length");
    if !object.get(&length).is_some_and(Value::is_number) {
        object.insert(length, text.chars().count().into());
    }
}

/// Whether a text has more characters than this.
fn is_longer(text: &str, most: usize) -> bool {
    text.len() > most && text.chars().nth(most).is_some()
}

/// One line, and no longer than names are.
fn is_name(text: &str) -> bool {
    !is_longer(text, LONGEST_NAME) && !text.bytes().any(|byte| byte == b'\n' || byte == b'\r')
}

/// Whether a text under a key that tells nothing may stay: an identifier, an address, a time.
fn is_plain(text: &str) -> bool {
    is_identifier(text) || is_address(text) || is_time(text)
}

/// No white space, no quotes and braces (JSON in a text), and short.
fn is_identifier(text: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'"' | b'\'' | b'`');
    if text.is_ascii() {
        return text.len() <= LONGEST_IDENTIFIER && text.bytes().all(may_stand) && !holds_data(text);
    }
    let may_stand = |c: char| if c.is_ascii() { may_stand(c as u8) } else { !c.is_whitespace() && !c.is_control() };
    !is_longer(text, LONGEST_FOREIGN) && text.chars().all(may_stand)
}

/// `data:text/plain,…` is what it says.
fn holds_data(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) && text.contains(',')
}

/// An address may be longer than an identifier.
fn is_address(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text.contains("://")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'{' | b'}' | b'"' | b'\'' | b'`'))
}

/// `2026-11-28 16:00:00+00:00`.
fn is_time(text: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_digit() || b" -:.+TZ".contains(&byte);
    let is_date = |text: &str| {
        text.bytes().enumerate().all(|(at, byte)| matches!((at, byte), (4 | 7, b'-')) || byte.is_ascii_digit())
    };
    text.len() <= 40 && text.get(..10).is_some_and(is_date) && text.bytes().all(may_stand)
}

/// Whether it is what programs call a kind of error (`ValueError`, `botocore.exceptions.ClientError`, `ERR_TIMEOUT`, `503`),
/// and not a sentence that somebody put in its place.
fn is_error_type(value: &Value) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:$-/".contains(&byte);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= LONGEST_ERROR_TYPE && text.bytes().all(may_stand),
        Value::Array(_) | Value::Object(_) => false,
    }
}

/// Anything but hexadecimal digits may be a text that somebody put under the name of a hash.
fn is_hash(text: &str) -> bool {
    let digits = ALGORITHMS.iter().find_map(|name| text.strip_prefix(name)).unwrap_or(text);
    digits.len() <= LONGEST_HASH && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
