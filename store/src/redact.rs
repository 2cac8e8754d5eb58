//! What must not be kept or leave the machine: secrets, and personal data in vendors' words.
//!
//! Owns: the patterns. Must hold: what looks like a credential is cut out before a text is stored (a session's
//! `raw_message`); credentials, e-mail addresses, card and phone numbers, bank accounts and social security numbers are cut
//! out before a text is sent to a model (narration), and how often is counted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Regex, RegexSet};

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

/// Numbers of people by their forms. A card number must also pass its check digit.
const NUMBERS: [(&str, &str); 4] = [
    (r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b", "[account]"),
    (r"\b\d{3}-\d{2}-\d{4}\b", "[id number]"),
    (r"\+\d{1,3}[ .-]?(?:\(\d{1,5}\)[ .-]?)?\d(?:[ .-]?\d){5,11}\b", "[phone]"),
    (r"(?:\(\d{3}\) ?|\b\d{3}[ .-])\d{3}[ .-]\d{4}\b", "[phone]"),
];

const CARD: &str = r"\b\d(?:[ -]?\d){12,18}\b";

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
        self.changed(text).unwrap_or_else(|| text.to_owned())
    }

    /// The text with its matches replaced; `None` where nothing matches.
    fn changed(&self, text: &str) -> Option<String> {
        let found = self.any.matches(text);
        found.matched_any().then(|| {
            found.into_iter().fold(text.to_owned(), |text, index| {
                let (pattern, with) = &self.each[index];
                pattern.replace_all(&text, *with).into_owned()
            })
        })
    }
}

static SECRET_RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&SECRETS));
static ADDRESS_RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&ADDRESSES));
static NUMBER_RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(&NUMBERS));
static CARDS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(CARD).ok());
static SECRET_KEYS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(SECRET_KEY).ok());

/// A text without secrets and e-mail addresses.
#[must_use]
pub fn redacted(text: &str) -> String {
    ADDRESS_RULES.apply(&SECRET_RULES.apply(text))
}

/// How often what was cut out, by kind: `secret`, `e-mail`, `card`, `phone`, `account`, `id number`.
pub type Cut = BTreeMap<String, usize>;

/// A text as it may be sent to a model: without secrets and personal data. What was cut out is added to `cut`.
#[must_use]
pub fn for_sending(text: &str, cut: &mut Cut) -> String {
    let without_cards = match CARDS.as_ref() {
        Some(cards) => cards.replace_all(text, |found: &regex::Captures<'_>| {
            let number = found.get(0).map_or("", |m| m.as_str());
            if is_card(number) { "[card]".to_owned() } else { number.to_owned() }
        }),
        None => Cow::Borrowed(text),
    };
    let shown = NUMBER_RULES.apply(&ADDRESS_RULES.apply(&SECRET_RULES.apply(&without_cards)));
    for kind in ["secret", "e-mail", "card", "phone", "account", "id number"] {
        let mark = format!("[{kind}]");
        let added = shown.matches(&mark).count().saturating_sub(text.matches(&mark).count());
        if added > 0 {
            *cut.entry(kind.to_owned()).or_default() += added;
        }
    }
    shown
}

/// Whether the digits pass the check of card numbers (Luhn) and are not one digit over and over.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| Some(digit) != digits.first())
}

/// A text without secrets. What looks like an address stays: `package@1.2.3` does too.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    SECRET_RULES.apply(text)
}

/// A text without secrets, where it has any.
pub(crate) fn secrets_out(text: &str) -> Option<String> {
    SECRET_RULES.changed(text)
}

/// What takes the place of a secret.
pub(crate) const SECRET: &str = "[secret]";

/// Whether a key announces a secret (`OPENAI_API_KEY`, `password`), whatever its value looks like.
pub(crate) fn announces_secret(key: &str) -> bool {
    SECRET_KEYS.as_ref().is_some_and(|keys| keys.is_match(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!((SECRET_RULES.each.len(), SECRET_RULES.any.len()), (SECRETS.len(), SECRETS.len()));
        assert_eq!((ADDRESS_RULES.each.len(), ADDRESS_RULES.any.len()), (1, 1));
        assert_eq!((NUMBER_RULES.each.len(), NUMBER_RULES.any.len()), (NUMBERS.len(), NUMBERS.len()));
        assert!(CARDS.is_some());
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
    fn personal_data_does_not_leave_and_is_counted() {
        let mut cut = Cut::new();
        for (text, expected) in [
            ("card 4111 1111 1111 1111 declined", "card [card] declined"),
            ("card 4111-1111-1111-1111", "card [card]"),
            ("call +49 30 901820 or (415) 555-2671", "call [phone] or [phone]"),
            ("415-555-2671", "[phone]"),
            ("IBAN DE89 3704 0044 0532 0130 00", "IBAN [account]"),
            ("ssn 078-05-1120", "ssn [id number]"),
            ("jane@example.com used ghp_0123456789abcdef", "[e-mail] used [secret]"),
        ] {
            assert_eq!(for_sending(text, &mut cut), expected);
        }
        let counted: Vec<(&str, usize)> = cut.iter().map(|(kind, n)| (kind.as_str(), *n)).collect();
        assert_eq!(
            counted,
            [("account", 1), ("card", 2), ("e-mail", 1), ("id number", 1), ("phone", 3), ("secret", 1)]
        );
    }

    #[test]
    fn figures_ids_and_times_are_no_personal_data() {
        let mut cut = Cut::new();
        for text in [
            "2026-11-20T10:05:00Z",
            "26d5e6e2a1b2c3d4e5f60718293a4b5c6d7e8f90",
            "1748160000.0001",
            "$1,234.50 in 5134 calls",
            "4111111111111112",
            "0199c1f0-7a2b-7000-8000-0123456789ab",
            "issue 6412345678",
            "9 of 20, 45.0 %",
            "v1.2.3-4",
        ] {
            assert_eq!(for_sending(text, &mut cut), text);
        }
        assert!(cut.is_empty());
    }

    #[test]
    fn ordinary_words_stay() {
        let text = "Raise max_tokens to 8192 in services/copy.py (9f3c2ab), 3.1 times, shopfront@9f3c2ab1";
        assert_eq!(redacted(text), text);
        let package = "react-dom@18.2.0/index.js:3";
        assert_eq!(without_secrets(package), package);
    }
}
