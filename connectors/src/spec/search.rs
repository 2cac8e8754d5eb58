//! What a spec says of `<>` and `LIKE`: the parameters, words and conditions that exclude a value or look for a text.
//!
//! Owns: [`Search`], [`Find`], [`Verb`] and their readers. Does not own: which of them a query uses (`plan`).

use super::column::ColumnKind;
use super::filter::{Target, Token};
use super::node::{At, Fields, Problems, one_of};
use super::template::{Part, Template};

/// Where a `LIKE` pattern has its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Find {
    /// `%text%`
    Contains,
    /// `text%`
    StartsWith,
    /// `%text`
    EndsWith,
}

/// How the vendor looks for a text.
#[derive(Debug, Clone)]
pub struct Search {
    /// Where in the column's text.
    pub find: Find,
    /// Whether the vendor ignores case: such a search serves `ILIKE`, and `LIKE` inexactly.
    pub any_case: bool,
    /// Where the text goes.
    pub target: Target,
}

/// What a filter is asked to do, as `inexact` and `condition_only` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// `=` and `IN`.
    Equal,
    /// `<>`.
    NotEqual,
    /// `LIKE` or `ILIKE` with the text in that place.
    Find(Find),
}

const VERBS: &[(&str, Verb)] = &[
    ("equal", Verb::Equal),
    ("not_equal", Verb::NotEqual),
    ("contains", Verb::Find(Find::Contains)),
    ("starts_with", Verb::Find(Find::StartsWith)),
    ("ends_with", Verb::Find(Find::EndsWith)),
];

/// The searches of a filter; `target` reads a parameter or a word.
pub(crate) fn read_searches(
    fields: &mut Fields<'_>,
    what: &str,
    kind: Option<ColumnKind>,
    target: &impl Fn(&super::node::Node, &mut Problems) -> Option<Target>,
    problems: &mut Problems,
) -> Vec<Search> {
    const FIELDS: [(&str, Find, bool); 6] = [
        ("contains", Find::Contains, false),
        ("starts_with", Find::StartsWith, false),
        ("ends_with", Find::EndsWith, false),
        ("contains_any_case", Find::Contains, true),
        ("starts_with_any_case", Find::StartsWith, true),
        ("ends_with_any_case", Find::EndsWith, true),
    ];
    let mut searches = Vec::new();
    for (name, find, any_case) in FIELDS {
        let Some(node) = fields.take(name) else { continue };
        if kind.is_some_and(|kind| kind != ColumnKind::Text) {
            problems.add(node.at, format!("{what} has `{name}`, which only text can have"));
        }
        if let Some(target) = target(node, problems) {
            check_word(node.at, what, &target, false, problems);
            searches.push(Search { find, any_case, target });
        }
    }
    searches
}

/// A list of verbs.
pub(crate) fn read_verbs(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Vec<Verb> {
    let texts = fields.take(name).map(|n| n.texts(&format!("`{name}`"), problems)).unwrap_or_default();
    let known = texts.into_iter().filter_map(|(at, text)| {
        let verb = VERBS.iter().find(|(known, _)| *known == text).map(|(_, verb)| *verb);
        if verb.is_none() {
            let all = one_of(VERBS.iter().map(|(known, _)| *known));
            problems.add(at, format!("`{name}` lists `{text}`; it may list {all}"));
        }
        verb
    });
    known.collect()
}

/// No value may change a search expression: it stands in quotes, is of harmless letters only, or comes from a `map`.
pub(crate) fn check_word(at: At, what: &str, target: &Target, mapped: bool, problems: &mut Problems) {
    let Target::Word { text, .. } = target else { return };
    if text.slots().any(|token| *token == Token::Value) && !mapped {
        problems.add(
            at,
            format!(
                "{what} goes into a search expression, so it needs {{{{quoted}}}}, {{{{inside}}}}, {{{{plain}}}}, or a `map` of \
                 allowed values"
            ),
        );
    }
    if text.slots().any(|token| matches!(token, Token::Lower | Token::Upper)) {
        problems.add(at, format!("{what} has {{{{lower}}}} or {{{{upper}}}} where a value goes"));
    }
    if !inside_quotes(text) {
        problems.add(at, format!("{what} has {{{{inside}}}} outside double quotes, where a value could end the word"));
    }
}

fn inside_quotes(text: &Template<Token>) -> bool {
    let mut quoted = false;
    text.0.iter().all(|part| match part {
        Part::Literal(literal) => {
            quoted ^= literal.matches('"').count() % 2 == 1;
            true
        }
        Part::Slot(token) => *token != Token::Inside || quoted,
    })
}
