//! Text from anywhere, made safe inside GitHub Markdown.
//!
//! Owns two forms: [`code`] (an inline code span) and [`prose`] (paragraphs). Must hold: neither can produce a link,
//! an image, HTML, a heading, a list, a table, a mention, or a reference to an issue; neither hides anything.
//!
//! GitHub links mentions (`@name`), references (`#1`, `GH-1`) and bare addresses after Markdown was rendered, so
//! escaping with a backslash does not stop them: a word that could become a link is shown as code, where nothing is
//! linked.

use super::text::{clean, one_line};

/// An inline code span. The fence is longer than any run of backticks inside.
#[must_use]
pub fn code(text: &str) -> String {
    let text = one_line(text);
    if text.is_empty() {
        return "`–`".to_owned();
    }
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    // A blank on both sides is dropped by the renderer; it keeps a backtick at the edge apart from the fence.
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Paragraphs of plain words.
#[must_use]
pub fn prose(text: &str) -> String {
    let lines = clean(text);
    let shown: Vec<String> = lines.split('\n').map(line).collect();
    shown.join("\n").trim().to_owned()
}

fn line(text: &str) -> String {
    // Leading blanks could make a code block, and several inside say nothing.
    let words: Vec<String> = text.split_whitespace().map(word).collect();
    let shown = words.join(" ");
    match shown.chars().next() {
        // What starts a heading, a list, a quote, a rule or an underlined heading at the start of a line.
        Some('#' | '-' | '+' | '=') => format!("\\{shown}"),
        Some(c) if c.is_ascii_digit() => numbered(&shown),
        _ => shown,
    }
}

/// `1.` and `1)` at the start of a line start a list.
fn numbered(line: &str) -> String {
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match line.split_at(digits) {
        (number, rest) if rest.starts_with(['.', ')']) => format!("{number}\\{rest}"),
        _ => line.to_owned(),
    }
}

fn word(text: &str) -> String {
    if could_become_a_link(text) { code(text) } else { escape(text) }
}

/// Mentions, references, addresses and emoji names.
fn could_become_a_link(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let followed_by_digit = |mark: &str| {
        lower.match_indices(mark).any(|(at, _)| {
            lower.get(at + mark.len()..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    lower.contains('@')
        || lower.contains("://")
        || lower.contains("www.")
        || lower.contains("mailto:")
        || lower.contains("xmpp:")
        || followed_by_digit("#")
        || followed_by_digit("gh-")
        || names_an_emoji(&lower)
}

/// `:tada:`.
fn names_an_emoji(word: &str) -> bool {
    let mut parts = word.split(':').skip(1);
    let inner = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    // Between two colons: every part but the last, which has no colon after it.
    let parts: Vec<&str> = parts.by_ref().collect();
    parts.split_last().is_some_and(|(_, between)| between.iter().any(|part| inner(part)))
}

fn escape(word: &str) -> String {
    let chars: Vec<char> = word.chars().collect();
    let mut out = String::new();
    for (index, &c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(index + 1);
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '[' | ']' | '~' | '|' | '$' => out.extend(['\\', c]),
            // An underscore inside a word has no effect.
            '_' if !(before.is_some_and(|c| c.is_alphanumeric()) && after.is_some_and(|c| c.is_alphanumeric())) => {
                out.push_str("\\_");
            }
            c => out.push(c),
        }
    }
    out
}
