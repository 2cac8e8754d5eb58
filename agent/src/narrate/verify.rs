//! The check of a model's text: every figure and id in it must be claimed, and equal what the claim points at.
//!
//! Owns: the answer's format, what counts as a figure, and when a value equals a field. Must hold: a text in which two
//! figures or two commit ids are swapped is refused, wherever they are swapped; a claim that points nowhere is refused; the
//! culprit named is the first-ranked suspect.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use tripline_store::{NarrationKind, NarrativeParts};

use super::brief::{Form, form};
use super::prompt::Exhibits;

/// Words in a row that count as copied from a vendor's text.
const COPIED: usize = 6;

/// What no text of ours says, whatever the evidence asks for: it would call off what people are asked to look at.
const CALLED_OFF: [&str; 8] = [
    "false alarm",
    "no action is needed",
    "no action needed",
    "nothing to do",
    "ignore this",
    "safe to ignore",
    "all is well",
    "can be closed",
];

/// A model's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Answer {
    /// The commit it names as culprit.
    #[serde(default)]
    pub culprit: Option<String>,
    /// Its parts, by key.
    #[serde(flatten)]
    pub parts: BTreeMap<String, Part>,
}

/// One part of an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Part {
    /// The text.
    pub text: String,
    /// Where its figures come from, in the order in which they stand in the text.
    #[serde(default)]
    pub claims: Vec<Claim>,
}

/// Where a figure comes from.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Claim {
    /// The figure as the text has it.
    pub value: String,
    /// Name of the evidence.
    pub evidence: String,
    /// The row, from 0.
    pub row: usize,
    /// The field.
    pub field: String,
}

/// Reads an answer about an incident, also one in a fence of backticks, and checks it.
///
/// # Errors
/// Why it is refused, in a phrase.
pub fn verified(content: &str, exhibits: &Exhibits) -> Result<NarrativeParts, String> {
    let mut parts = proven(content, exhibits, form(NarrationKind::Incident))?.into_iter().map(|(_, text)| text);
    let mut next = || parts.next().unwrap_or_default();
    Ok(NarrativeParts { what_happened: next(), likely_cause: next(), impact: next(), recommended_action: next() })
}

/// Reads an answer of any form and checks it; its parts in the order of the form.
///
/// # Errors
/// Why it is refused, in a phrase.
pub fn proven(content: &str, exhibits: &Exhibits, form: &Form) -> Result<Vec<(&'static str, String)>, String> {
    let trimmed = content.trim();
    let unfenced = trimmed.strip_prefix("```json").or_else(|| trimmed.strip_prefix("```")).unwrap_or(trimmed);
    let unfenced = unfenced.strip_suffix("```").unwrap_or(unfenced);
    let mut answer: Answer =
        serde_json::from_str(unfenced).map_err(|error| format!("the answer is not in the agreed form ({error})"))?;
    check_as(&answer, exhibits, form)?;
    let take = |answer: &mut Answer, key: &str| answer.parts.remove(key).map(|part| part.text).unwrap_or_default();
    Ok(form.parts.iter().map(|key| (*key, take(&mut answer, key))).collect())
}

/// Checks an answer about an incident.
///
/// # Errors
/// Why it is refused, in a phrase.
pub fn check(answer: &Answer, exhibits: &Exhibits) -> Result<(), String> {
    check_as(answer, exhibits, form(NarrationKind::Incident))
}

/// Checks an answer of any form.
///
/// # Errors
/// Why it is refused, in a phrase.
pub fn check_as(answer: &Answer, exhibits: &Exhibits, form: &Form) -> Result<(), String> {
    let mut parts: Vec<(&str, &Part)> = Vec::new();
    for key in form.parts {
        parts.push((key, answer.parts.get(*key).ok_or_else(|| format!("the part '{key}' is missing"))?));
    }
    if let Some(other) = answer.parts.keys().find(|key| !form.parts.contains(&key.as_str())) {
        return Err(format!("there is no part '{other}'"));
    }
    let words: usize = parts.iter().map(|(_, part)| part.text.split_whitespace().count()).sum();
    if words > form.max_words {
        return Err(format!("it has {words} words"));
    }
    if parts.iter().any(|(_, part)| part.text.trim().is_empty()) {
        return Err("a part is empty".to_owned());
    }
    if form.cause.is_some() && answer.culprit != exhibits.culprit {
        return Err("the culprit it names is not the first-ranked suspect".to_owned());
    }
    let copied = Copied::of(exhibits);
    for (key, part) in &parts {
        check_part(part, exhibits, &copied)?;
        check_words(part)?;
        if let Some((least, most)) = form.bullets {
            check_bullets(key, &part.text, least, most)?;
        }
        if form.cause == Some(*key) {
            first_commit_is_the_culprit(part, exhibits)?;
        }
    }
    match parts.iter().find(|(key, part)| form.grounded == Some(*key) && part.claims.is_empty()) {
        Some((key, _)) => Err(format!("'{key}' names nothing of the evidence")),
        None => Ok(()),
    }
}

/// Nothing that links, mentions or calls off.
fn check_words(part: &Part) -> Result<(), String> {
    let text = part.text.to_lowercase();
    if text.contains("://")
        || text.contains("www.")
        || text.contains('<')
        || text.contains("@channel")
        || text.contains("@here")
    {
        return Err("it holds an address, a mention or markup".to_owned());
    }
    match CALLED_OFF.iter().find(|phrase| text.contains(**phrase)) {
        Some(phrase) => Err(format!("it says '{phrase}', which is for people to decide")),
        None => Ok(()),
    }
}

fn check_bullets(key: &str, text: &str, least: usize, most: usize) -> Result<(), String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let bullets = lines.iter().filter(|line| line.starts_with("- ")).count();
    if bullets != lines.len() || !(least..=most).contains(&bullets) {
        return Err(format!("'{key}' must be {least} to {most} lines that begin with '- '"));
    }
    Ok(())
}

/// Runs of words in the texts of the evidence: a model that writes what a vendor's text tells it to is known by them.
struct Copied(BTreeSet<Vec<String>>);

impl Copied {
    fn of(exhibits: &Exhibits) -> Self {
        let texts = exhibits.rows.values().flatten().flat_map(|row| row.values()).filter_map(Value::as_str);
        Self(texts.flat_map(runs).collect())
    }

    fn find(&self, text: &str) -> Option<String> {
        runs(text).into_iter().find(|run| self.0.contains(run)).map(|run| run.join(" "))
    }
}

fn runs(text: &str) -> Vec<Vec<String>> {
    let words: Vec<String> = text
        .split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .filter(|word| !word.is_empty())
        .collect();
    words.windows(COPIED).map(<[String]>::to_vec).collect()
}

/// The first commit that the cause names must be the first suspect.
fn first_commit_is_the_culprit(cause: &Part, exhibits: &Exhibits) -> Result<(), String> {
    let first = cause.claims.iter().find(|claim| claim.field.contains("sha"));
    let suspect = exhibits.rows.get("suspects").and_then(|rows| rows.first());
    let is_seen = suspect.and_then(|row| row.get("kind")?.as_str()).is_some_and(|kind| kind != "commit");
    match (first, suspect.and_then(|row| row.get("sha")?.as_str())) {
        (Some(claim), None) if is_seen => {
            Err(format!("the cause names {} before the first-ranked suspect, which is no commit", claim.value))
        }
        (Some(claim), Some(sha)) if !sha.starts_with(&claim.value) => {
            Err(format!("the cause names {} before the first-ranked suspect", claim.value))
        }
        _ => Ok(()),
    }
}

fn check_part(part: &Part, exhibits: &Exhibits, copied: &Copied) -> Result<(), String> {
    let known_shas = known_shas(exhibits);
    let mut rest = part.text.as_str();
    for claim in &part.claims {
        if claim.value.trim().is_empty() {
            return Err("a claim is empty".to_owned());
        }
        let (before, after) = split_at_value(rest, &claim.value)
            .ok_or_else(|| format!("the text has no '{}' where it is claimed", claim.value))?;
        if let Some(figure) = unclaimed(before, &known_shas) {
            return Err(format!("'{figure}' is not claimed"));
        }
        if let Some(run) = copied.find(before) {
            return Err(format!("'{run}' is copied and not claimed as a quotation"));
        }
        let field = exhibits
            .rows
            .get(&claim.evidence)
            .and_then(|rows| rows.get(claim.row))
            .and_then(|row| row.get(&claim.field))
            .ok_or_else(|| format!("there is no {}[{}].{}", claim.evidence, claim.row, claim.field))?;
        if !equals(&claim.value, &claim.field, field) {
            return Err(format!(
                "'{}' is not {}[{}].{} ({field})",
                claim.value, claim.evidence, claim.row, claim.field
            ));
        }
        rest = after;
    }
    if let Some(figure) = unclaimed(rest, &known_shas) {
        return Err(format!("'{figure}' is not claimed"));
    }
    match copied.find(rest) {
        Some(run) => Err(format!("'{run}' is copied and not claimed as a quotation")),
        None => Ok(()),
    }
}

/// The text before and after the first place where `value` stands as a word of its own.
fn split_at_value<'a>(text: &'a str, value: &str) -> Option<(&'a str, &'a str)> {
    let mut from = 0;
    loop {
        let start = from + text.get(from..)?.find(value)?;
        let end = start + value.len();
        let (before, after) = (text.get(..start)?, text.get(end..)?);
        let joins = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let open = before.chars().next_back().is_none_or(|c| !joins(c) && !is_inner(before, c, true));
        let closed = after.chars().next().is_none_or(|c| !joins(c) && c != '%' && !is_inner(after, c, false));
        if open && closed {
            return Some((before, after));
        }
        from = start + value.chars().next().map_or(1, char::len_utf8);
    }
}

/// Whether a point, comma, colon or dash beside a value ties it to more of the same word: `1.5` in `21.5`, not `5.` at an end.
fn is_inner(side: &str, c: char, is_before: bool) -> bool {
    if !matches!(c, '.' | ',' | ':' | '-' | '/') {
        return false;
    }
    let next = if is_before { side.chars().rev().nth(1) } else { side.chars().nth(1) };
    next.is_some_and(char::is_alphanumeric)
}

/// The first figure of a text in which nothing is claimed.
fn unclaimed(text: &str, known_shas: &[String]) -> Option<String> {
    text.split_whitespace().find(|word| is_figure(word, known_shas)).map(str::to_owned)
}

/// A word with a digit, a number in words, or (the beginning of) a commit id that is known.
fn is_figure(word: &str, known_shas: &[String]) -> bool {
    let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let is_sha = bare.len() >= 7
        && bare.bytes().all(|b| b.is_ascii_hexdigit())
        && known_shas.iter().any(|sha| sha.starts_with(&bare));
    // `is_numeric` also knows the digits of other scripts, ½ and Ⅷ.
    word.chars().any(char::is_numeric) || is_sha || bare.split('-').any(is_number_word)
}

fn is_number_word(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
        "thirty",
        "forty",
        "fifty",
        "sixty",
        "seventy",
        "eighty",
        "ninety",
        "hundred",
        "hundreds",
        "thousand",
        "thousands",
        "million",
        "millions",
        "dozen",
        "dozens",
        "twice",
        "thrice",
        "double",
        "doubled",
        "triple",
        "tripled",
        "tenfold",
        "half",
    ];
    WORDS.contains(&word)
}

fn known_shas(exhibits: &Exhibits) -> Vec<String> {
    let rows = exhibits.rows.values().flatten();
    rows.flat_map(|row| row.iter().filter(|(field, _)| field.contains("sha")))
        .filter_map(|(_, value)| value.as_str().map(str::to_lowercase))
        .collect()
}

/// Whether a value as a text has it equals a field.
#[must_use]
pub fn equals(value: &str, name: &str, field: &Value) -> bool {
    match field {
        Value::String(text) => {
            value == text || is_short_sha(value, name, text) || is_time_of(value, text) || is_listed(value, name, text)
        }
        Value::Number(number) => number.as_f64().is_some_and(|number| is_rounded(value, name, number)),
        _ => false,
    }
}

/// The beginning of a commit id, from seven digits on.
fn is_short_sha(value: &str, name: &str, text: &str) -> bool {
    name.contains("sha") && value.len() >= 7 && text.starts_with(value)
}

/// One of the files that a field lists.
fn is_listed(value: &str, name: &str, text: &str) -> bool {
    name == "files" && text.split(", ").any(|file| file == value)
}

/// The time or the date of an instant, in UTC.
fn is_time_of(value: &str, text: &str) -> bool {
    let Ok(at) = DateTime::parse_from_rfc3339(text) else { return false };
    let at = at.with_timezone(&Utc);
    ["%H:%M", "%H:%M:%S", "%Y-%m-%d", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%SZ"]
        .iter()
        .any(|form| at.format(form).to_string() == value)
}

/// A number, rounded to the digits shown. Money has a dollar sign and a field of money, a share its sign and a field of
/// shares: a dollar figure never passes for a count.
fn is_rounded(value: &str, name: &str, number: f64) -> bool {
    let is_money = name.ends_with("_usd") || name.contains("cost");
    let is_share = ["share", "rate", "percent"].iter().any(|word| name.contains(word));
    let (digits, number) = match (value.strip_prefix('$'), value.strip_suffix('%')) {
        (Some(digits), None) if is_money => (digits, number),
        (None, Some(digits)) if is_share => (digits, number * 100.0),
        (None, None) if !is_money => (value.trim_end_matches(['x', '×']), number),
        _ => return false,
    };
    let plain = digits.replace(',', "");
    let is_plain = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let decimals = plain.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let Ok(shown) = plain.parse::<f64>() else { return false };
    let half = 0.5 * 10_f64.powi(-i32::try_from(decimals).unwrap_or(i32::MAX));
    is_plain && (shown - number).abs() <= half * (1.0 + 1e-9)
}
