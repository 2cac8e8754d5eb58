//! What must not be kept or leave the machine: secrets, and e-mail addresses in vendors' words.
//!
//! Owns: the patterns. Must hold: what looks like a credential is cut out before a text is stored (a session's
//! `raw_message`) or sent to a model (narration).

use std::sync::LazyLock;

use regex::{Regex, RegexSet};
use serde_json::Value;

/// Credentials by the forms their issuers give them, private keys, tokens after words that announce one.
const SECRETS: [(&str, &str); 13] = [
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)", "[secret]"),
    (r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}", "[secret]"),
    (r"\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{8,}", "[secret]"),
    (r"\bgithub_pat_[A-Za-z0-9_]{8,}", "[secret]"),
    (r"\bxox[a-z]-[A-Za-z0-9-]{8,}", "[secret]"),
    (r"\bgsk_[A-Za-z0-9]{8,}", "[secret]"),
    (r"\bsntr[a-z]{1,3}_[A-Za-z0-9_=+/-]{8,}", "[secret]"),
    (r"\bAKIA[A-Z0-9]{12,}", "[secret]"),
    (r"\bAIza[A-Za-z0-9_-]{20,}", "[secret]"),
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*", "[secret]"),
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", "$1 [secret]"),
    (r#"(?i)\b((?:api[_-]?key|secret|token|password|passwd|pwd)["']?\s*[:=]\s*["']?)[^\s"',;]{4,}"#, "$1[secret]"),
    (r"([a-z][a-z0-9+.-]*://)[^\s/@:]+:[^\s/@]+@", "$1[secret]@"),
];

const ADDRESSES: [(&str, &str); 1] = [(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", "[e-mail]")];

/// What a key is called whose value is a secret, whatever it looks like.
const SECRET_KEY: &str = r"(?i)(?:^|[_-])(?:api[_-]?key|secret|token|password|passwd|pwd|authorization|credentials?)$";

/// Patterns with what takes the place of their matches. The set tells in one pass which of them are worth running: of an
/// ordinary text none.
struct Rules {
    any: RegexSet,
    each: Vec<(Regex, &'static str)>,
}

impl Rules {
    fn new(patterns: &[(&'static str, &'static str)]) -> Self {
        // The tests show that every pattern is one.
        let each: Vec<(Regex, &'static str)> =
            patterns.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect();
        let any = RegexSet::new(each.iter().map(|(pattern, _)| pattern.as_str())).unwrap_or_default();
        Self { any, each }
    }

    fn apply(&self, text: &str) -> String {
        self.any.matches(text).into_iter().fold(text.to_owned(), |text, index| {
            let (pattern, with) = &self.each[index];
            pattern.replace_all(&text, *with).into_owned()
        })
    }
}

static SECRET_RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&SECRETS));
static ADDRESS_RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&ADDRESSES));
static SECRET_KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SECRET_KEY).ok());

/// A text without secrets and e-mail addresses.
#[must_use]
pub fn redacted(text: &str) -> String {
    ADDRESS_RULES.apply(&SECRET_RULES.apply(text))
}

/// A text without secrets. What looks like an address stays: `package@1.2.3` does too.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    SECRET_RULES.apply(text)
}

/// Takes the secrets out of a JSON value: out of every text in it, and of what stands under a key that announces one.
pub fn take_secrets(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_secrets(text),
        Value::Array(items) => items.iter_mut().for_each(take_secrets),
        Value::Object(fields) => {
            for (key, field) in fields.iter_mut() {
                let announced = SECRET_KEYS.as_ref().is_some_and(|keys| keys.is_match(key));
                if announced && (field.is_string() || field.is_number()) {
                    *field = Value::from("[secret]");
                } else {
                    take_secrets(field);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!((SECRET_RULES.each.len(), SECRET_RULES.any.len()), (SECRETS.len(), SECRETS.len()));
        assert_eq!((ADDRESS_RULES.each.len(), ADDRESS_RULES.any.len()), (1, 1));
        assert!(SECRET_KEYS.is_some());
    }

    #[test]
    fn secrets_and_addresses_are_cut_out() {
        let cases = [
            ("key sk-proj-abcdef123456 leaked", "key [secret] leaked"),
            ("ghp_0123456789abcdef", "[secret]"),
            ("xoxb-1234567890-abc", "[secret]"),
            ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [secret]"),
            ("password=hunter22, more", "password=[secret], more"),
            ("api_key: \"abcd1234\"", "api_key: \"[secret]\""),
            ("postgres://app:s3cr3t@db/x", "postgres://[secret]@db/x"),
            ("ask jane.doe@example.com", "ask [e-mail]"),
            ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- after", "[secret] after"),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(text), expected);
        }
    }

    #[test]
    fn ordinary_words_stay() {
        let text = "Raise max_tokens to 8192 in services/copy.py (9f3c2ab), 3.1 times, shopfront@9f3c2ab1";
        assert_eq!(redacted(text), text);
        let package = "react-dom@18.2.0/index.js:3";
        assert_eq!(without_secrets(package), package);
    }

    #[test]
    fn secrets_are_found_at_any_depth_and_under_keys_that_announce_them() {
        let mut value = json!({
            "OPENAI_API_KEY": "plain", "max_tokens": 8192, "token": 12345,
            "nested": [{"password": "x"}, "bearer abcdefghij", {"password": {"hint": "none"}}],
        });
        take_secrets(&mut value);
        let expected = json!({
            "OPENAI_API_KEY": "[secret]", "max_tokens": 8192, "token": "[secret]",
            "nested": [{"password": "[secret]"}, "bearer [secret]", {"password": {"hint": "none"}}],
        });
        assert_eq!(value, expected);
    }
}
