//! The header of a query file: `-- key: value` lines before the first line of SQL.
//!
//! Owns: splitting a file into header and SQL, and finding the placeholders of the SQL. Does not own: what keys mean
//! ([`super::spec`]). A comment line that is not `-- word: value` (one space, a lower-case word, a colon) is prose.

use std::collections::{BTreeMap, BTreeSet};

use super::steps::{Step, steps};

/// A query file that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {message}{}", hint.as_deref().map(|h| format!(". Hint: {h}")).unwrap_or_default())]
pub struct HeaderError {
    /// The file.
    pub origin: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// One `-- key: value` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value, trimmed.
    pub value: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A file split into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where the file is, for errors and for people.
    pub origin: String,
    /// Name of the file without its ending.
    pub name: String,
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// The whole text; comments are SQL comments, so it runs as it is.
    pub sql: String,
    /// Names of the placeholders in the SQL, without `$`.
    pub placeholders: BTreeSet<String>,
    /// The parts it runs in.
    pub steps: Vec<Step>,
}

impl Header {
    /// Splits a file.
    #[must_use]
    pub fn split(name: &str, origin: &str, text: &str) -> Self {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let trimmed = line.trim();
            if trimmed.is_empty() {
                continue;
            }
            let Some(comment) = trimmed.strip_prefix("--") else { break };
            if let Some((key, value)) = entry(comment) {
                entries.push(Entry { key: key.to_owned(), value: value.to_owned(), line: index + 1 });
            }
        }
        Self {
            origin: origin.to_owned(),
            name: name.to_owned(),
            entries,
            sql: text.to_owned(),
            placeholders: placeholders(text),
            steps: steps(text),
        }
    }

    /// An error at a line of this file.
    #[must_use]
    pub fn error(&self, line: usize, message: impl Into<String>, hint: Option<String>) -> HeaderError {
        HeaderError { origin: self.origin.clone(), line, message: message.into(), hint }
    }

    /// Refuses keys that are not in `known`, and keys given twice that are not in `repeated`.
    ///
    /// # Errors
    /// For the first such line.
    pub fn only(&self, known: &[&str], repeated: &[&str]) -> Result<(), HeaderError> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for entry in &self.entries {
            let key = entry.key.as_str();
            if !known.contains(&key) && !repeated.contains(&key) {
                let all: Vec<&str> = known.iter().chain(repeated).copied().collect();
                let message = format!("there is no header key '{key}'");
                return Err(self.error(entry.line, message, Some(format!("the keys are {}", all.join(", ")))));
            }
            if let Some(first) = seen.insert(key, entry.line)
                && !repeated.contains(&key)
            {
                return Err(self.error(entry.line, format!("'{key}' was given in line {first} already"), None));
            }
        }
        Ok(())
    }

    /// The entry with a key.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry with a key.
    ///
    /// # Errors
    /// When there is none.
    pub fn required(&self, key: &str) -> Result<&Entry, HeaderError> {
        self.find(key).ok_or_else(|| {
            self.error(1, format!("the header lacks '{key}'"), Some(format!("add a line `-- {key}: …` at the top")))
        })
    }

    /// All entries with a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries.iter().filter(move |entry| entry.key == key)
    }

    /// The comma-separated items of an entry; none when it is absent.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        let value = self.find(key).map_or("", |entry| entry.value.as_str());
        value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    }
}

/// `key: value` of a comment's text, if it is an entry.
fn entry(comment: &str) -> Option<(&str, &str)> {
    let (key, value) = comment.strip_prefix(' ')?.split_once(':')?;
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    (is_key && (value.is_empty() || value.starts_with(' '))).then(|| (key, value.trim()))
}

/// Names of `$name` placeholders outside of comments and quotes.
#[must_use]
pub fn placeholders(sql: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = sql;
    while let Some(start) = rest.find(['$', '\'', '"', '-', '/']) {
        let here = rest.get(start..).unwrap_or_default();
        let skip = match here.as_bytes() {
            [b'$', ..] => {
                let name: String =
                    here.chars().skip(1).take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let length = 1 + name.len();
                if !name.is_empty() {
                    found.insert(name);
                }
                length
            }
            [quote @ (b'\'' | b'"'), ..] => {
                1 + here.get(1..).and_then(|t| t.find(char::from(*quote))).map_or(here.len(), |end| end + 1)
            }
            [b'-', b'-', ..] => here.find('\n').unwrap_or(here.len()),
            [b'/', b'*', ..] => here.find("*/").map_or(here.len(), |end| end + 2),
            _ => 1,
        };
        rest = here.get(skip..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_no_entry() {
        let header = Header::split(
            "x",
            "x.sql",
            "-- name: x\n--   note: indented\n-- It is like this: so.\n--\n\n-- window: 1h\nSELECT 1 -- type: y\n",
        );
        let keys: Vec<_> = header.entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(keys, [("name", "x", 1), ("window", "1h", 6)]);
    }

    #[test]
    fn placeholders_in_comments_and_quotes_are_none() {
        let sql = "-- $a\nSELECT '$b', \"$c\", $d /* $e */, $f_1 - $d, 'it''s $g', 4/$h, $ FROM t -- $i";
        assert_eq!(placeholders(sql).into_iter().collect::<Vec<_>>(), ["d", "f_1", "h"]);
    }
}
