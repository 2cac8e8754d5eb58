//! What must not leave the machine: secrets and e-mail addresses in vendors' words.
//!
//! Owns: the patterns. Must hold: what looks like a credential is cut out before anything is sent to a model.

use std::sync::LazyLock;

use regex::Regex;

/// Credentials by the forms their issuers give them, private keys, tokens after words that announce one, e-mail addresses.
static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    let patterns = [
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
        (r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", "[e-mail]"),
    ];
    patterns.into_iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, with))).collect()
});

/// A text without secrets and e-mail addresses.
#[must_use]
pub fn redacted(text: &str) -> String {
    PATTERNS.iter().fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!(PATTERNS.len(), 14);
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
    }
}
