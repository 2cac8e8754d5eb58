//! The search syntax of events and logs, as far as clients use it.
//!
//! Owns: `key:value`, `key:"a phrase"`, words and `*`, joined by "and"; a leading `-` turns a term around.
//! Does not own: OR, parentheses, ranges: they are refused rather than misunderstood.

use serde_json::Value;

use crate::shelf::{Object, text};

/// A term of a query.
#[derive(Debug, PartialEq, Eq)]
struct Term {
    negated: bool,
    key: Option<String>,
    value: String,
    /// `*` at either end stands for anything: not within quotes.
    wild: bool,
}

/// A query.
#[derive(Debug)]
pub(super) struct Query(Vec<Term>);

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for word in words(text) {
            if matches!(word.as_str(), "OR" | "NOT") || word.starts_with('(') {
                return Err(format!("Invalid query near '{word}'"));
            }
            if word == "*" || word == "AND" {
                continue;
            }
            let (negated, word) = match word.strip_prefix('-') {
                Some(rest) => (true, rest.to_owned()),
                None => (false, word),
            };
            let (key, value) = match word.split_once(':') {
                Some((key, value)) if !key.starts_with('"') => (Some(key.to_owned()), value),
                _ => (None, word.as_str()),
            };
            let wild = !value.starts_with('"') && value.len() > 1 && value.contains('*');
            terms.push(Term { negated, key, value: unquote(value), wild });
        }
        Ok(Self(terms))
    }

    pub(super) fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|term| term.matches(object) != term.negated)
    }
}

impl Term {
    fn fits(&self, found: &str) -> bool {
        let (found, text) = (found.to_lowercase(), self.value.to_lowercase());
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(_), Some(_)) => found.contains(text.trim_matches('*')),
            (Some(end), None) => found.ends_with(end),
            (None, Some(start)) => found.starts_with(start),
            (None, None) => found == text,
        }
    }

    fn matches(&self, object: &Object) -> bool {
        let is = |found: &str| {
            if self.wild { self.fits(found) } else { self.value == "*" || found.eq_ignore_ascii_case(&self.value) }
        };
        let attributes = &object.value["attributes"];
        let Some(key) = &self.key else {
            let needle = self.value.to_lowercase();
            let message = text(&attributes["message"]).unwrap_or_default().to_lowercase();
            return message.contains(&needle);
        };
        let name = key.trim_start_matches('@');
        let mut inner: &Value = &attributes["attributes"];
        for step in name.split('.') {
            inner = &inner[step];
        }
        let in_tags = attributes["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let tagged = in_tags.filter_map(|tag| tag.split_once(':')).any(|(k, v)| k == name && is(v));
        tagged || [&attributes[name], inner].into_iter().filter_map(text).any(|found| is(&found))
    }
}

/// Splits at spaces outside of quotes.
fn words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if c == ' ' && !quoted {
            words.push(String::new());
            continue;
        }
        if c == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn unquote(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_in_quotes_is_one_term() {
        let query = Query::parse(r#"service:"check out" -status:ok word *"#).unwrap();
        let shown: Vec<_> = query.0.iter().map(|t| (t.negated, t.key.as_deref(), t.value.as_str())).collect();
        assert_eq!(shown, [(false, Some("service"), "check out"), (true, Some("status"), "ok"), (false, None, "word")]);
        assert!(Query::parse("a OR b").is_err());
    }
}
