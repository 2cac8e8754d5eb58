//! Error texts without what differs from time to time, and what kind of error they are.
//!
//! Must hold: two errors that differ only in paths, lines, numbers, ids and times have one text; the result is one line of at
//! most [`MAX_CHARS`] characters, whatever came in; the time it takes is linear in the length of the text.

use std::sync::LazyLock;

use regex::Regex;
use tripline_store::sessions::{ErrorType, EventFact, SessionEventType};

/// Characters of a normalised text at most.
pub const MAX_CHARS: usize = 500;

/// Bytes of a line that are looked at.
const MAX_LINE: usize = 4096;

struct Step {
    pattern: Regex,
    with: &'static str,
}

fn steps<const N: usize>(patterns: [(&str, &'static str); N]) -> Vec<Step> {
    // The tests show that every pattern is one.
    let step = |(pattern, with)| Some(Step { pattern: Regex::new(pattern).ok()?, with });
    patterns.into_iter().filter_map(step).collect()
}

/// Colours and cursor movements of a terminal.
static ANSI: LazyLock<Vec<Step>> =
    LazyLock::new(|| steps([(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]", "")]));

/// In this order (facts, Achilles, section 6.1), but that times come first: `12:00:01` has the form of line and column too.
static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
    steps([
        (r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>)]+"#, "<url>"),
        (
            r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?Z|\s?[+-]\d{2}:?\d{2})?)?\b|\b\d{2}:\d{2}:\d{2}(?:[.,]\d+)?\b",
            "<ts>",
        ),
        (
            r"(?:[A-Za-z]:)?(?:[\w.@+~-]*[\\/])+[\w.@+~-]+(?:(?::\d+){1,2}|\(\d+(?:,\d+)?\))?|\b[\w+-]+\.(?:py|pyi|rs|ts|tsx|js|jsx|mjs|cjs|go|java|kt|c|h|cc|cpp|hpp|cs|rb|php|swift|scala|sh|sql|json|yaml|yml|toml|html|css|vue|md|txt|lock)\b(?:(?::\d+){1,2}|\(\d+(?:,\d+)?\))?",
            "<path>",
        ),
        (r"(?i)\b(?:lines?|ln|col|column)\s*:?\s*\d+(?:\s*[-:,]\s*\d+)?|:\d+:\d+\b", "<line>"),
        (r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
        (r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", "<uuid>"),
        (r#"'\d+(?:\.\d+)?'|"\d+(?:\.\d+)?"|`\d+(?:\.\d+)?`"#, "<num>"),
        (r"\b\d+(?:\.\d+)*\b", "<num>"),
        (r"\s+", " "),
    ])
});

/// What an exception's text begins with where the exception itself is its last line.
const TRACEBACK: &str = "Traceback (most recent call last)";

/// The text by which errors are told apart.
///
/// The first line that says something; of a Python traceback the last, which is the exception (the first is the same for all of
/// them). Then, in this order: terminal colours out; addresses, times, paths (with line and column), "line N", hexadecimal numbers, UUIDs
/// and numbers replaced by their kind; white space collapsed. Upper and lower case stay.
#[must_use]
pub fn normalised(text: &str) -> String {
    let plain = apply(&ANSI, text.trim().to_owned());
    let mut lines = plain.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let line = if first.starts_with(TRACEBACK) { lines.next_back().unwrap_or(first) } else { first };
    let mut end = line.len().min(MAX_LINE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let line: String = line[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let clean = apply(&STEPS, line);
    clean.trim().chars().take(MAX_CHARS).collect::<String>().trim_end().to_owned()
}

fn apply(steps: &[Step], text: String) -> String {
    steps.iter().fold(text, |text, step| match step.pattern.replace_all(&text, step.with) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(changed) => changed,
    })
}

/// The first that matches says what kind of error it is (facts, Achilles, section 6.1). Two words are matched more narrowly than
/// there, because they are part of ordinary ones: `FAILED ` only in capitals (as test runners print it), `OOM` only as a word.
static KINDS: LazyLock<Vec<(Regex, ErrorType)>> = LazyLock::new(|| {
    let kinds = [
        (r"assertionerror|\btests? failed|expected .*(?:got|received)|(?-i:FAILED )", ErrorType::TestFailure),
        (
            r"syntaxerror|parse error|error\[E\d+\]|error TS\d+|cannot find symbol|undeclared|compil",
            ErrorType::Compiler,
        ),
        (r"typeerror|mismatched types", ErrorType::TypeError),
        (r"modulenotfound|importerror|cannot find module|unresolved import", ErrorType::Import),
        (r"timeout|timed out|connection refused|ECONN", ErrorType::Network),
        (r"permission denied|EACCES", ErrorType::Permission),
        (r"out of memory|\bOOM\b", ErrorType::Memory),
        (r"eslint|flake8|clippy|warning:", ErrorType::Lint),
        (r"build failed|linker|make: \*\*\*", ErrorType::Build),
        (r"exception|traceback|panic|error", ErrorType::Runtime),
    ];
    let kind = |(pattern, kind): (&str, ErrorType)| Some((Regex::new(&format!("(?i){pattern}")).ok()?, kind));
    kinds.into_iter().filter_map(kind).collect()
});

/// What kind of error an event is. A failed test run is a test failure, whatever it says.
#[must_use]
pub fn error_type(event: &EventFact) -> ErrorType {
    if event.event_type == SessionEventType::TestRun {
        return ErrorType::TestFailure;
    }
    kind_of(event.error_text.as_deref().unwrap_or_default())
}

fn kind_of(text: &str) -> ErrorType {
    KINDS.iter().find(|(pattern, _)| pattern.is_match(text)).map_or(ErrorType::Unknown, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_pattern_is_one() {
        assert_eq!((ANSI.len(), STEPS.len(), KINDS.len()), (1, 9, 10));
    }

    #[test]
    fn what_differs_from_time_to_time_is_taken_out() {
        let cases = [
            ("  ValueError: bad value 42 in 'x'\n  more", "ValueError: bad value <num> in 'x'"),
            ("\x1b[31merror\x1b[0m: \x1b[1mno\x1b[0m", "error: no"),
            ("\x1b[0m\n\nboom", "boom"),
            ("src/a.py:10:5: E501 line too long (120 > 79)", "<path>: E501 line too long (<num> > <num>)"),
            (r"C:\work\a.ts(3,4): error TS2304", "<path>: error TS2304"),
            ("GET https://x.example/a?b=1 failed", "GET <url> failed"),
            ("at line 12, column 3 of main.rs", "at <line>, <line> of <path>"),
            ("ptr 0xDEADbeef, id 0199aaaa-0000-7000-8000-000000000001", "ptr <hex>, id <uuid>"),
            ("2026-01-31T12:00:00.123Z boom at 12:00:01", "<ts> boom at <ts>"),
            ("expected '3' got \"4.5\"", "expected <num> got <num>"),
            ("version 1.2.3  is\tnot 2", "version <num> is not <num>"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(normalised(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_python_traceback_is_its_exception() {
        let text = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nKeyError: 'id'\n";
        assert_eq!(normalised(text), "KeyError: 'id'");
    }

    #[test]
    fn kinds_are_told_by_the_first_pattern_that_matches() {
        let cases = [
            ("AssertionError: 1 != 2", ErrorType::TestFailure),
            ("FAILED tests/test_a.py::test_b", ErrorType::TestFailure),
            ("2 tests failed", ErrorType::TestFailure),
            ("expected 3 but got 4", ErrorType::TestFailure),
            ("error[E0382]: use of moved value", ErrorType::Compiler),
            ("SyntaxError: invalid syntax", ErrorType::Compiler),
            ("TypeError: x is not a function", ErrorType::TypeError),
            ("ModuleNotFoundError: No module named 'x'", ErrorType::Import),
            ("connect ECONNREFUSED 127.0.0.1", ErrorType::Network),
            ("open: Permission denied", ErrorType::Permission),
            ("java.lang.OutOfMemory: out of memory", ErrorType::Memory),
            ("no room left in the zoom buffer", ErrorType::Unknown),
            ("warning: unused variable", ErrorType::Lint),
            ("Build failed with 3 problems", ErrorType::Build),
            ("thread 'main' panicked", ErrorType::Runtime),
            ("something odd", ErrorType::Unknown),
        ];
        for (text, expected) in cases {
            assert_eq!(kind_of(text), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

        #[test]
        fn any_text_becomes_one_short_line_and_always_the_same(text in any::<String>()) {
            let once = normalised(&text);
            prop_assert!(once.chars().count() <= MAX_CHARS);
            prop_assert!(!once.chars().any(char::is_control), "{once:?}");
            prop_assert_eq!(&once, once.trim());
            prop_assert_eq!(once, normalised(&text));
        }

        #[test]
        fn paths_lines_numbers_and_ids_do_not_tell_errors_apart(
            folders in prop::collection::vec("[a-z][a-z0-9_]{0,8}", 1..4), file in "[a-z][a-z0-9_]{0,8}",
            line in 1_u32..100_000, column in 1_u32..500, number in any::<u32>(), address in any::<u64>(), id in any::<u128>(),
        ) {
            let path = format!("{}/{file}.py", folders.join("/"));
            let id = uuid::Uuid::from_u128(id);
            let text = format!("{path}:{line}:{column}: KeyError {number} at 0x{address:x} of {id}, line {line}");
            prop_assert_eq!(normalised(&text), "<path>: KeyError <num> at <hex> of <uuid>, <line>");
        }

        #[test]
        fn words_tell_errors_apart(a in "[A-Za-z]{3,12}Error", b in "[A-Za-z]{3,12}Error") {
            prop_assert_eq!(normalised(&format!("{a}: x")) == normalised(&format!("{b}: x")), a == b);
        }
    }
}
