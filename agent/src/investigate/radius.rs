//! Blast radius by name: whether what a commit changes is named like what broke.
//!
//! Owns: comparing the name of a feature, prompt or tool with paths and the first lines of messages. Must hold: names are
//! compared as they are, and nothing else is read of them: renaming everything alike changes nothing. A word that many
//! commits share tells nothing about one of them.

use std::collections::{BTreeMap, BTreeSet};

/// Fewer letters than this are no name: they are found anywhere.
const SHORTEST: usize = 4;

/// Words of a name or path, in lower case: parted by everything that is no letter or digit, and where upper case begins.
pub(super) fn words(text: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut word = String::new();
    let mut before = ' ';
    for letter in text.chars().chain([' ']) {
        let begins = before.is_lowercase() && letter.is_uppercase();
        if (begins || !letter.is_alphanumeric()) && !word.is_empty() {
            words.insert(std::mem::take(&mut word));
        }
        if letter.is_alphanumeric() {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words
}

/// Letters and digits alone, in lower case.
fn squashed(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// What a commit shows of itself: its files, and the first line of its message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) files: Option<&'a [(String, i64)]>,
    pub(super) message: &'a str,
}

/// How much a commit is named like what broke.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Likeness {
    /// 0 to 1.
    pub(super) value: f64,
    /// In words.
    pub(super) reason: String,
}

/// Per commit, how much it is named like one of `names`; `None` where no commit is: then names tell nothing.
pub(super) fn likeness(names: &[String], commits: &[Shown<'_>]) -> Option<Vec<Likeness>> {
    let names: Vec<&String> = names.iter().filter(|name| squashed(name).len() >= SHORTEST).collect();
    let paths: Vec<Vec<(&str, BTreeSet<String>)>> = commits
        .iter()
        .map(|commit| commit.files.into_iter().flatten().map(|(path, _)| (path.as_str(), words(path))).collect())
        .collect();
    let shared = shared(&paths);
    let found: Vec<Likeness> = commits
        .iter()
        .zip(&paths)
        .map(|(commit, paths)| {
            let of_files =
                names.iter().flat_map(|name| paths.iter().map(|(path, words)| of_path(name, path, words, &shared)));
            let of_message = names.iter().map(|name| of_message(name, commit.message));
            of_files.chain(of_message).flatten().fold(None, best).unwrap_or_else(nothing)
        })
        .collect();
    found.iter().any(|likeness| likeness.value > 0.0).then_some(found)
}

fn nothing() -> Likeness {
    Likeness { value: 0.0, reason: "nothing in it is named like it".to_owned() }
}

fn best(one: Option<Likeness>, other: Likeness) -> Option<Likeness> {
    match one {
        Some(one) if one.value >= other.value => Some(one),
        _ => Some(other),
    }
}

/// Words that more than a third of the commits have in their paths.
fn shared(paths: &[Vec<(&str, BTreeSet<String>)>]) -> BTreeSet<String> {
    let mut commits: BTreeMap<&String, usize> = BTreeMap::new();
    for paths in paths {
        let of_commit: BTreeSet<&String> = paths.iter().flat_map(|(_, words)| words).collect();
        for word in of_commit {
            *commits.entry(word).or_default() += 1;
        }
    }
    let many = (paths.len() / 3).max(2);
    commits.into_iter().filter(|(_, count)| *count > many).map(|(word, _)| word.clone()).collect()
}

/// A whole name in a path is all of it; else the share of its words that are in the path, if that is half or more.
fn of_path(name: &str, path: &str, in_path: &BTreeSet<String>, shared: &BTreeSet<String>) -> Option<Likeness> {
    let telling: Vec<String> =
        words(name).into_iter().filter(|word| word.len() >= SHORTEST && !shared.contains(word)).collect();
    if telling.is_empty() {
        return None;
    }
    let value = if squashed(path).contains(&squashed(name)) {
        1.0
    } else {
        let hits = telling.iter().filter(|word| in_path.contains(*word)).count();
        hits as f64 / telling.len() as f64
    };
    (value >= 0.5).then(|| Likeness { value, reason: format!("changes {path}, named like {name}") })
}

/// A message that has the whole name says less than a path: people name what they do not touch.
fn of_message(name: &str, message: &str) -> Option<Likeness> {
    let named = squashed(name);
    (named.len() > SHORTEST && squashed(message).contains(&named))
        .then(|| Likeness { value: 0.6, reason: format!("its message names {name}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: &str, commits: &[(&[&str], &str)]) -> Option<Vec<f64>> {
        let files: Vec<Vec<(String, i64)>> =
            commits.iter().map(|(paths, _)| paths.iter().map(|path| ((*path).to_owned(), 1)).collect()).collect();
        let shown: Vec<Shown<'_>> =
            files.iter().zip(commits).map(|(files, (_, message))| Shown { files: Some(files), message }).collect();
        Some(likeness(&[name.to_owned()], &shown)?.into_iter().map(|likeness| likeness.value).collect())
    }

    #[test]
    fn a_path_that_has_the_name_in_any_spelling_is_named_like_it() {
        let commits: &[(&[&str], &str)] =
            &[(&["prompts/product_texts.md"], "tidy"), (&["src/ProductTexts.ts"], "tidy"), (&["src/other.ts"], "tidy")];
        assert_eq!(values("product-texts", commits), Some(vec![1.0, 1.0, 0.0]));
    }

    #[test]
    fn a_word_that_many_commits_share_tells_nothing() {
        let commits: &[(&[&str], &str)] = &[
            (&["agents/one.py"], ""),
            (&["agents/two.py"], ""),
            (&["agents/three.py"], ""),
            (&["agents/billing.py"], ""),
        ];
        assert_eq!(values("billing agents", commits), Some(vec![0.0, 0.0, 0.0, 1.0]));
        assert_eq!(values("agents", &commits[..3]), None);
    }

    #[test]
    fn a_message_that_names_it_is_less_than_a_path_and_short_names_are_found_nowhere() {
        assert_eq!(
            values("summarise", &[(&["a.py"], "Raise limit of summarise"), (&["b.py"], "x")]),
            Some(vec![0.6, 0.0])
        );
        assert_eq!(values("ai", &[(&["ai/a.py"], "ai")]), None);
    }
}
