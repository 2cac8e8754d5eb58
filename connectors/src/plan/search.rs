//! `<>` and `LIKE` into parameters, words and conditions.
//!
//! Owns: what of a pattern a vendor's search can express. Does not own: `=`, `IN` and ranges (`push`).
//!
//! Must hold: what is sent selects a superset of the rows the query wants. So a case-sensitive search never stands for
//! `ILIKE`, and a value is excluded only under a word that no other value has.

use tripline_engine::{ColumnConstraint, LikePattern};

use super::push::{LIST_MAX, Pushed, PushedFilters, fill_condition, fill_word, text};
use crate::spec::{ColumnKind, Endpoint, Filter, Find, ListStyle, Target, Verb};

/// Pushes what a query excludes and searches for; says whether all of it is answered exactly.
pub(super) fn push(
    endpoint: &Endpoint,
    filter: &Filter,
    (name, kind): (&str, ColumnKind),
    asked: Option<&ColumnConstraint>,
    as_conditions: bool,
    out: &mut PushedFilters,
) -> bool {
    let Some(asked) = asked else { return true };
    if asked.values.is_some() {
        // The excluded values are taken out of the pinned ones already; patterns are judged here.
        return asked.like.is_empty();
    }
    let mut exact = true;
    if !asked.not_equal.is_empty() {
        let sent = match kind {
            ColumnKind::Text | ColumnKind::Int | ColumnKind::Bool => {
                exclude(endpoint, filter, asked, as_conditions, out)
            }
            _ => None,
        };
        exact &= noted(name, "<>", sent, filter, out);
    }
    for pattern in &asked.like {
        let operator = if pattern.case_insensitive { "ILIKE" } else { "LIKE" };
        let sent = if kind == ColumnKind::Text { find(endpoint, filter, pattern, as_conditions, out) } else { None };
        exact &= noted(name, operator, sent, filter, out);
    }
    exact
}

/// Notes what was sent; says whether it was, and is exact.
fn noted(
    name: &str,
    operator: &'static str,
    sent: Option<(String, bool)>,
    filter: &Filter,
    out: &mut PushedFilters,
) -> bool {
    let Some((parameter, exact)) = sent else { return false };
    out.replaced.extend(filter.replaces.iter().cloned());
    let pushed = Pushed { column: name.to_owned(), operator, parameter, exact };
    if !out.pushed.contains(&pushed) {
        out.pushed.push(pushed);
    }
    exact
}

/// Whether `filter` has something to say as a condition of what is asked, and nothing as a parameter.
pub(super) fn needs_conditions(endpoint: &Endpoint, filter: &Filter, asked: Option<&ColumnConstraint>) -> bool {
    let (Some(conditions), Some(asked)) = (&endpoint.conditions, asked) else { return false };
    if asked.values.is_some() {
        return false;
    }
    let excludes = !asked.not_equal.is_empty()
        && filter.not_equal.is_none()
        && conditions.none_of.is_some()
        && filter.has_condition(Verb::NotEqual);
    let finds = || {
        asked.like.iter().filter(|pattern| !pattern.case_insensitive).any(|pattern| {
            candidates(&pattern.pattern).iter().any(|candidate| {
                let verb = Verb::Find(candidate.find);
                filter.has_condition(verb) && conditions.searches.iter().any(|(find, _)| *find == candidate.find)
            })
        })
    };
    excludes || (filter.searches.is_empty() && finds())
}

/// Sends `<>`: the parameter, and whether the vendor leaves out just what the query excludes.
fn exclude(
    endpoint: &Endpoint,
    filter: &Filter,
    asked: &ColumnConstraint,
    as_conditions: bool,
    out: &mut PushedFilters,
) -> Option<(String, bool)> {
    let known = asked.not_equal.iter().filter_map(|value| own_word(filter, &text(value)?));
    let mut words: Vec<String> = known.take(LIST_MAX).collect();
    words.dedup();
    if words.is_empty() {
        return None;
    }
    let all = words.len() == asked.not_equal.len();
    if as_conditions {
        let conditions = endpoint.conditions.as_ref()?;
        let (template, column) = (conditions.none_of.as_ref()?, filter.condition.as_ref()?);
        if !filter.has_condition(Verb::NotEqual) {
            return None;
        }
        let values: Vec<&str> = words.iter().map(String::as_str).collect();
        out.conditions.push(fill_condition(template, column, &values));
        let exact = filter.is_exact(Verb::NotEqual) && !conditions.inexact.contains(&Verb::NotEqual);
        return Some((format!("{}.{column}", conditions.param), all && exact));
    }
    let exact = all && filter.is_exact(Verb::NotEqual);
    match filter.not_equal.as_ref()? {
        Target::Word { param, text } => {
            let filled: Vec<String> = words.iter().filter_map(|word| fill_word(text, word)).collect();
            let sent = filled.len();
            out.words.extend(filled.into_iter().map(|word| (param.clone(), word)));
            (sent > 0).then(|| (param.clone(), exact && sent == words.len()))
        }
        Target::Param(param) => {
            let whole = match filter.list {
                ListStyle::Comma => {
                    let count = words.len();
                    words.retain(|word| !word.contains(','));
                    if words.is_empty() {
                        return None;
                    }
                    out.params.push((param.clone(), words.join(",")));
                    count == words.len()
                }
                ListStyle::Repeat => {
                    out.params.extend(words.iter().map(|word| (param.clone(), word.clone())));
                    true
                }
                ListStyle::No => {
                    out.params.push((param.clone(), words.swap_remove(0)));
                    words.is_empty()
                }
            };
            Some((param.clone(), exact && whole))
        }
    }
}

/// The vendor's word for a value, if it is no other value's too.
fn own_word(filter: &Filter, text: &str) -> Option<String> {
    let word = match &filter.map {
        None => text,
        Some(map) => {
            let (_, word) = map.iter().find(|(from, _)| from == text)?;
            if map.iter().filter(|(_, to)| to == word).count() > 1 {
                return None;
            }
            word
        }
    };
    // An empty parameter often means "no filter".
    (!word.is_empty()).then(|| word.to_owned())
}

/// Sends one pattern: the parameter, and whether the vendor returns just what matches.
fn find(
    endpoint: &Endpoint,
    filter: &Filter,
    pattern: &LikePattern,
    as_conditions: bool,
    out: &mut PushedFilters,
) -> Option<(String, bool)> {
    let candidates = candidates(&pattern.pattern);
    if as_conditions {
        let conditions = endpoint.conditions.as_ref()?;
        let column = filter.condition.as_ref()?;
        if pattern.case_insensitive {
            return None;
        }
        return candidates.into_iter().find_map(|Candidate { find, text, whole }| {
            let verb = Verb::Find(find);
            let (_, template) =
                conditions.searches.iter().find(|(known, _)| *known == find && filter.has_condition(verb))?;
            out.conditions.push(fill_condition(template, column, &[&text]));
            let exact = filter.is_exact(verb) && !conditions.inexact.contains(&verb);
            Some((format!("{}.{column}", conditions.param), whole && exact))
        });
    }
    candidates.into_iter().find_map(|Candidate { find, text, whole }| {
        let fits = |any_case: bool| filter.searches.iter().find(|s| s.find == find && s.any_case == any_case);
        // A search that ignores case finds more than LIKE wants; one that minds it finds less than ILIKE wants.
        let search = if pattern.case_insensitive { fits(true) } else { fits(false).or_else(|| fits(true)) }?;
        let exact = whole && filter.is_exact(Verb::Find(find)) && search.any_case == pattern.case_insensitive;
        match &search.target {
            Target::Word { param, text: word } => {
                out.words.push((param.clone(), fill_word(word, &text)?));
                Some((param.clone(), exact))
            }
            // A parameter takes one text; a second pattern is judged here.
            Target::Param(param) if out.params.iter().any(|(name, _)| name == param) => None,
            Target::Param(param) => {
                out.params.push((param.clone(), text));
                Some((param.clone(), exact))
            }
        }
    })
}

/// A way to ask for what a pattern matches.
#[derive(Debug, PartialEq, Eq)]
struct Candidate {
    find: Find,
    text: String,
    /// Whether that is all the pattern says.
    whole: bool,
}

/// The ways to ask for what `pattern` matches, the narrowest first. None where it is not understood.
fn candidates(pattern: &str) -> Vec<Candidate> {
    let Some((runs, starts, ends, only_percent)) = runs(pattern) else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |find: Find, run: &str, whole: bool| {
        // Vendors may trim what they are asked for; only inside a text is less also more.
        let trimmed = run.trim();
        if !trimmed.is_empty() && (find == Find::Contains || trimmed == run) {
            found.push(Candidate { find, text: trimmed.to_owned(), whole: whole && trimmed == run });
        }
    };
    let alone = runs.len() == 1 && only_percent;
    let longest = runs.iter().max_by_key(|run| run.len()).map_or("", String::as_str);
    if let Some(first) = runs.first().filter(|run| starts && run.len() == longest.len()) {
        add(Find::StartsWith, first, alone && !ends);
    }
    if let Some(last) = runs.last().filter(|run| ends && run.len() == longest.len()) {
        add(Find::EndsWith, last, alone && !starts);
    }
    add(Find::Contains, longest, alone && !starts && !ends);
    if let Some(first) = runs.first().filter(|_| starts) {
        add(Find::StartsWith, first, false);
    }
    if let Some(last) = runs.last().filter(|_| ends) {
        add(Find::EndsWith, last, false);
    }
    found
}

/// The texts between a pattern's wildcards, whether it starts and ends with one of them, and whether its wildcards are
/// all `%`. `None` for an escape that means nothing.
fn runs(pattern: &str) -> Option<(Vec<String>, bool, bool, bool)> {
    let (mut runs, mut run) = (Vec::new(), String::new());
    let (mut starts, mut ends, mut only_percent) = (true, true, true);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' | '_' => {
                only_percent &= c == '%';
                starts &= !(run.is_empty() && runs.is_empty());
                if !run.is_empty() {
                    runs.push(std::mem::take(&mut run));
                }
                ends = false;
            }
            c => {
                let literal = if c == '\\' { chars.next().filter(|c| matches!(c, '%' | '_' | '\\'))? } else { c };
                run.push(literal);
                ends = true;
            }
        }
    }
    if !run.is_empty() {
        runs.push(run);
    }
    Some((runs, starts, ends, only_percent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_asked_for_by_its_narrowest_text() {
        use Find::{Contains, EndsWith, StartsWith};
        let first = |pattern: &str| candidates(pattern).into_iter().next().map(|c| (c.find, c.text, c.whole));
        let expect = |find, text: &str, whole| Some((find, text.to_owned(), whole));
        for (pattern, expected) in [
            ("%boom%", expect(Contains, "boom", true)),
            ("boom%", expect(StartsWith, "boom", true)),
            ("%boom", expect(EndsWith, "boom", true)),
            ("boom", expect(StartsWith, "boom", false)),
            ("%a%boom%", expect(Contains, "boom", false)),
            ("a%boom%", expect(Contains, "boom", false)),
            ("boom_", expect(StartsWith, "boom", false)),
            ("_boom%", expect(Contains, "boom", false)),
            (r"%100\%%", expect(Contains, "100%", true)),
            (r"%a\_b%", expect(Contains, "a_b", true)),
            ("% boom%", expect(Contains, "boom", false)),
            (" boom%", expect(Contains, "boom", false)),
            (r"%a\b%", None),
            (r"%boom\", None),
            ("%", None),
            ("", None),
            ("% %", None),
        ] {
            assert_eq!(first(pattern), expected, "{pattern}");
        }
    }

    /// Every candidate selects at least what the pattern does.
    #[test]
    fn no_candidate_loses_what_the_pattern_matches() {
        use arrow::array::StringArray;
        let texts = ["", "a", "ab", "aab", "a%b", "a b", " ab ", "ba", "abab", "b_a", "aXb", "a\\b"];
        let array = StringArray::from(texts.to_vec());
        let pieces = &["a", "b", "%", "_", " ", r"\%", r"\_", r"\\"];
        let patterns = pieces
            .iter()
            .flat_map(|x| pieces.iter().flat_map(move |y| pieces.iter().map(move |z| format!("{x}{y}{z}"))));
        for pattern in patterns {
            let scalar = StringArray::new_scalar(pattern.as_str());
            let matched = arrow::compute::kernels::comparison::like(&array, &scalar).unwrap();
            for Candidate { find, text, whole } in candidates(&pattern) {
                for (i, value) in texts.iter().enumerate() {
                    let found = match find {
                        Find::Contains => value.contains(&text),
                        Find::StartsWith => value.starts_with(&text),
                        Find::EndsWith => value.ends_with(&text),
                    };
                    assert!(found || !matched.value(i), "{pattern:?} {find:?} {text:?} loses {value:?}");
                    assert!(
                        !whole || found == matched.value(i),
                        "{pattern:?} {find:?} {text:?} is not all of {value:?}"
                    );
                }
            }
        }
    }
}
