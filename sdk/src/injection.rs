//! Whether an input looks like a prompt injection: judged here, in the agent's process, because only its hash leaves it.
//!
//! Owns the labelled patterns. Their words are those of the Dunetrace SDKs, so that a server sees the same labels from
//! every SDK. Matching is over folded text (case, `ſ` and the Kelvin sign), unanchored, with white space as Python's
//! `\s`; it takes linear time but for the handful of words a pattern has.

use serde::Serialize;

/// Longer inputs are judged by their first and last this many characters.
const SCANNED: usize = 16_384;
/// Labels that are named; all are counted.
const NAMED: usize = 5;

/// What was found in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InjectionSignal {
    /// How many patterns matched.
    pub matched_pattern_count: usize,
    /// The first five of them.
    pub matched_patterns: Vec<&'static str>,
    /// Characters of the input.
    pub input_length: usize,
}

/// A piece of a pattern.
enum Piece {
    /// These characters.
    Text(&'static str),
    /// One of these.
    One(&'static [&'static str]),
    /// White space, at least one character.
    Space,
    /// White space, or none.
    AnySpace,
    /// This word and white space, or neither.
    Maybe(&'static str),
}

use Piece::{AnySpace, Maybe, One, Space, Text};

const EARLIER: Piece = One(&["previous", "prior", "above"]);

/// The patterns in the order in which they are named.
const PATTERNS: [(&str, &[Piece]); 18] = [
    (
        "ignore_instructions",
        &[
            Text("ignore"),
            Space,
            Maybe("all"),
            One(&["previous", "prior", "above", "earlier"]),
            Space,
            Text("instruction"),
        ],
    ),
    ("disregard_instructions", &[Text("disregard"), Space, Maybe("all"), EARLIER, Space, Text("instruction")]),
    ("forget_instructions", &[Text("forget"), Space, Maybe("all"), EARLIER, Space, Text("instruction")]),
    ("you_are_now", &[Text("you"), Space, Text("are"), Space, Text("now"), Space]),
    (
        "new_role",
        &[
            Text("your"),
            Space,
            Text("new"),
            Space,
            One(&["role", "persona", "identity", "instructions", "instruction"]),
            Space,
            One(&["is", "are"]),
        ],
    ),
    ("act_as", &[Text("act"), Space, Text("as"), Space, Maybe("if you are"), One(&["a", "an", "the"]), Space]),
    ("pretend", &[Text("pretend"), Space, One(&["you are", "to be"]), Space]),
    (
        "do_not_follow",
        &[
            Text("do"),
            Space,
            Text("not"),
            Space,
            Text("follow"),
            Space,
            Maybe("your"),
            One(&["previous", "prior", "original"]),
            Space,
        ],
    ),
    ("system_colon", &[Text("system"), AnySpace, Text(":"), AnySpace, Text("you are")]),
    ("system_tag", &[Text("[system]")]),
    ("im_start", &[Text("<|im_start|>")]),
    ("system_pipe", &[Text("<|system|>")]),
    ("hash_system", &[Text("###"), AnySpace, Text("system")]),
    ("jailbreak", &[Text("jailbreak")]),
    ("dan_mode", &[Text("dan"), Space, Text("mode")]),
    ("developer_mode", &[Text("developer"), Space, Text("mode"), Space, One(&["enabled", "on"])]),
    ("override_safety", &[Text("override"), Space, One(&["safety", "guidelines", "restrictions"])]),
    ("bypass_safety", &[Text("bypass"), Space, One(&["safety", "restrictions", "filters"])]),
];

/// Judges an input.
#[must_use]
pub fn find_injection(input: &str) -> Option<InjectionSignal> {
    let length = input.chars().count();
    let parts: Vec<Vec<char>> = if length <= 2 * SCANNED {
        vec![fold(input.chars())]
    } else {
        vec![fold(input.chars().take(SCANNED)), fold(input.chars().skip(length - SCANNED))]
    };
    let matched: Vec<&'static str> = PATTERNS
        .iter()
        .filter(|(_, pieces)| parts.iter().any(|part| is_in(pieces, part)))
        .map(|(label, _)| *label)
        .collect();
    (!matched.is_empty()).then(|| InjectionSignal {
        matched_pattern_count: matched.len(),
        matched_patterns: matched.into_iter().take(NAMED).collect(),
        input_length: length,
    })
}

/// Letters as Python's IGNORECASE compares them with ASCII ones.
fn fold(text: impl Iterator<Item = char>) -> Vec<char> {
    text.map(|c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    })
    .collect()
}

fn is_in(pieces: &[Piece], text: &[char]) -> bool {
    (0..text.len()).any(|start| matches(pieces, &text[start..]))
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// How many characters of the text the words take, spaces of the words standing for any white space.
fn words_at(words: &str, text: &[char]) -> Option<usize> {
    let mut taken = 0;
    for c in words.chars() {
        if c == ' ' {
            let spaces = spaces_at(&text[taken..]);
            if spaces == 0 {
                return None;
            }
            taken += spaces;
        } else if text.get(taken) == Some(&c) {
            taken += 1;
        } else {
            return None;
        }
    }
    Some(taken)
}

fn spaces_at(text: &[char]) -> usize {
    text.iter().take_while(|c| is_space(**c)).count()
}

/// Whether the text begins with the pieces. No piece begins with white space where another ends with it, so taking all
/// of it never takes too much.
fn matches(pieces: &[Piece], text: &[char]) -> bool {
    let Some((piece, rest)) = pieces.split_first() else { return true };
    match piece {
        Text(words) => words_at(words, text).is_some_and(|taken| matches(rest, &text[taken..])),
        One(choices) => {
            choices.iter().any(|words| words_at(words, text).is_some_and(|taken| matches(rest, &text[taken..])))
        }
        Space => {
            let taken = spaces_at(text);
            taken > 0 && matches(rest, &text[taken..])
        }
        AnySpace => matches(rest, &text[spaces_at(text)..]),
        Maybe(words) => {
            let with = words_at(words, text).is_some_and(|taken| {
                let spaces = spaces_at(&text[taken..]);
                spaces > 0 && matches(rest, &text[taken + spaces..])
            });
            with || matches(rest, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_inputs_are_no_injections() {
        for input in
            ["", "What is the weather in Berlin today?", "please ignore the previous instructions", "act asa x"]
        {
            assert_eq!(find_injection(input), None, "{input}");
        }
    }

    #[test]
    fn the_first_five_are_named_and_all_are_counted() {
        let input = "jailbreak [system] <|im_start|> <|system|> ### system dan mode bypass filters";
        let found = find_injection(input).unwrap();
        assert_eq!(found.matched_pattern_count, 7);
        assert_eq!(found.matched_patterns, ["system_tag", "im_start", "system_pipe", "hash_system", "jailbreak"]);
        assert_eq!(found.input_length, input.chars().count());
    }

    #[test]
    fn a_long_input_is_judged_by_its_ends() {
        let filler = "x".repeat(3 * SCANNED);
        assert!(find_injection(&format!("jailbreak {filler}")).is_some());
        assert!(find_injection(&format!("{filler} jailbreak")).is_some());
        assert!(find_injection(&format!("{filler} jailbreak {filler}")).is_none());
    }
}
