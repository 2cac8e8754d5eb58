//! Patterns of prompt injection, looked for in the input of a run before it is hashed.
//!
//! Owns the labelled patterns (facts/dunetrace.md §3, detector 5) and the signal that goes into `run.started`. Must
//! hold: the same labels in the same order as the SDK for the same text.

use std::sync::LazyLock;

use regex::RegexSet;
use serde_json::{Map, Value, json};

/// Labels that a signal lists at most.
const MOST_LISTED: usize = 5;
/// Of a longer input, this many characters from its start and from its end are looked at.
const LOOKED_AT: usize = 16_384;

/// Label and pattern; `~` stands for one character of white space, as Python sees it.
const PATTERNS: [(&str, &str); 18] = [
    ("ignore_instructions", "ignore~+(all~+)?(previous|prior|above|earlier)~+instructions?"),
    ("disregard_instructions", "disregard~+(all~+)?(previous|prior|above)~+instructions?"),
    ("forget_instructions", "forget~+(all~+)?(previous|prior|above)~+instructions?"),
    ("you_are_now", "you~+are~+now~+"),
    ("new_role", "your~+new~+(role|persona|identity|instructions?)~+(is|are)"),
    ("act_as", "act~+as~+(if~+you~+are~+)?(a|an|the)~+"),
    ("pretend", "pretend~+(you~+are|to~+be)~+"),
    ("do_not_follow", "do~+not~+follow~+(your~+)?(previous|prior|original)~+"),
    ("system_colon", "system~*:~*you~+are"),
    ("system_tag", r"\[system\]"),
    ("im_start", r"<\|im_start\|>"),
    ("system_pipe", r"<\|system\|>"),
    ("hash_system", "###~*system"),
    ("jailbreak", "jailbreak"),
    ("dan_mode", "dan~+mode"),
    ("developer_mode", "developer~+mode~+(enabled|on)"),
    ("override_safety", "override~+(safety|guidelines|restrictions)"),
    ("bypass_safety", "bypass~+(safety|restrictions|filters)"),
];

/// Python's `\s` takes the four separators U+001C to U+001F too.
const WHITE_SPACE: &str = r"[\s\x1c-\x1f]";

static SET: LazyLock<RegexSet> = LazyLock::new(|| {
    let patterns = PATTERNS.iter().map(|(_, pattern)| format!("(?i){}", pattern.replace('~', WHITE_SPACE)));
    #[allow(clippy::expect_used, reason = "the patterns are constants of this file, and its tests build them")]
    RegexSet::new(patterns).expect("the patterns of prompt injection are regular expressions")
});

/// The signal of an input that matches: how many patterns, the labels of the first five, and the length of the input in
/// characters. `None` when nothing matches.
fn signal(input: &str) -> Option<Value> {
    let length = input.chars().count();
    let matched = SET.matches(&ends(input, length));
    let labels: Vec<&str> = matched.iter().filter_map(|index| PATTERNS.get(index).map(|(label, _)| *label)).collect();
    (!labels.is_empty()).then(|| {
        json!({
            "matched_pattern_count": labels.len(),
            "matched_patterns": labels.iter().take(MOST_LISTED).collect::<Vec<_>>(),
            "input_length": length,
        })
    })
}

/// Notes prompt injection in the input of a run, before it is hashed. What the sender found itself stands.
pub(super) fn note(event_type: &str, payload: &mut Map<String, Value>) {
    if event_type == "run.started"
        && !payload.contains_key("injection_signal")
        && let Some(signal) = payload.get("input_text").and_then(Value::as_str).and_then(signal)
    {
        payload.insert("injection_signal".to_owned(), signal);
    }
}

/// The labels of the patterns of prompt injection that a text matches, in the order of the patterns.
#[must_use]
pub fn injection_patterns(text: &str) -> Vec<&'static str> {
    let matched = SET.matches(&ends(text, text.chars().count()));
    matched.iter().filter_map(|index| PATTERNS.get(index).map(|(label, _)| *label)).collect()
}

/// The start and the end of a long input, with a line between them that no pattern crosses.
fn ends(input: &str, length: usize) -> std::borrow::Cow<'_, str> {
    if length <= 2 * LOOKED_AT {
        return input.into();
    }
    let at = |character: usize| input.char_indices().nth(character).map_or(input.len(), |(byte, _)| byte);
    let (head, tail) = (at(LOOKED_AT), at(length - LOOKED_AT));
    format!("{}\n\u{0}\n{}", input.get(..head).unwrap_or_default(), input.get(tail..).unwrap_or_default()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_of_the_sdk_is_found_for_the_same_text() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/dunetrace/injection.jsonl");
        let Ok(lines) = std::fs::read_to_string(path) else {
            println!("skipped: {path} is not here");
            return;
        };
        let mut count = 0;
        for line in lines.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let input = case["input"].as_str().unwrap();
            assert_eq!(signal(input).unwrap_or(Value::Null), case["evidence"], "{input:?}");
            count += 1;
        }
        assert!(count > 100, "{count} cases");
    }

    #[test]
    fn a_long_input_is_looked_at_from_both_ends_only() {
        let filler = "x".repeat(20_000);
        assert!(signal(&format!("jailbreak{filler}{filler}")).is_some());
        assert!(signal(&format!("{filler}{filler}jailbreak")).is_some());
        assert!(signal(&format!("{filler}jailbreak{filler}")).is_none());
        assert_eq!(signal(&format!("jailbreak{filler}{filler}")).unwrap()["input_length"], 40_009);
    }

    #[test]
    fn an_ordinary_question_is_none() {
        assert_eq!(signal("What is the capital of France?"), None);
        assert_eq!(signal(""), None);
    }
}
