//! Text from anywhere, made safe to show: invisible characters out, Slack's control characters escaped, cut to length.
//!
//! Owns cleaning and Slack's escaping. Must hold: the result never holds a bare `<` or `>`, so it can start no link,
//! mention or date; it is never longer than asked for, counted as Slack may count (UTF-16), and never cut inside an
//! escape.

/// Drops what cannot be seen but changes what is: controls, zero-width and bidirectional characters, tags. Line breaks
/// stay, tabs become blanks.
#[must_use]
pub fn clean(text: &str) -> String {
    text.replace("\r\n", "\n")
        .chars()
        .filter_map(|c| match c {
            '\n' => Some('\n'),
            '\r' | '\u{2028}' | '\u{2029}' | '\u{85}' => Some('\n'),
            c if c.is_control() => Some(' '),
            c if is_invisible(c) => None,
            c => Some(c),
        })
        .collect()
}

/// Zero-width characters, direction marks and overrides, variation-free joiners, the byte order mark, tag characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Cleaned, on one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cleaned and cut to at most `max` characters, the last of them "…" when something was cut.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

/// For Slack's `plain_text`: cleaned, `&`, `<`, `>` escaped, at most `max` UTF-16 units.
#[must_use]
pub fn slack_plain(text: &str, max: usize) -> String {
    escape_within(clean(text).trim(), max, false)
}

/// For Slack's mrkdwn, on one line: as [`slack_plain`], and `*`, `_`, `~` and backticks lose their effect. An underscore
/// inside a word has none and stays as it is.
#[must_use]
pub fn slack_inline(text: &str, max: usize) -> String {
    escape_within(&one_line(text), max, true)
}

fn escape_within(text: &str, max: usize, disarm: bool) -> String {
    let mut out = String::new();
    let mut used = 0;
    // Where to cut back to when the whole does not fit: the last place with room for the "…".
    let mut fits = 0;
    let chars: Vec<char> = text.chars().collect();
    for (index, &c) in chars.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|i| chars.get(i));
        let inside_word = c == '_'
            && before.is_some_and(|c| c.is_alphanumeric())
            && chars.get(index + 1).is_some_and(|c| c.is_alphanumeric());
        let mut unit = String::new();
        match c {
            '&' => unit.push_str("&amp;"),
            '<' => unit.push_str("&lt;"),
            '>' => unit.push_str("&gt;"),
            '*' | '_' | '~' | '`' if disarm && !inside_word => unit.extend(['\u{200b}', c, '\u{200b}']),
            c => unit.push(c),
        }
        let units: usize = unit.chars().map(char::len_utf16).sum();
        if used + units > max {
            out.truncate(fits);
            if max > 0 {
                out.push('…');
            }
            return out;
        }
        out.push_str(&unit);
        used += units;
        if used < max {
            fits = out.len();
        }
    }
    out
}

/// A name of ours for people: `cost_spike` is "Cost spike".
#[must_use]
pub fn title(name: &str) -> String {
    let spaced = one_line(&name.replace('_', " "));
    let mut chars = spaced.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

/// US dollars: cents from a dollar on, four digits below.
#[must_use]
pub fn dollars(usd: f64) -> String {
    if usd.abs() >= 1.0 || usd == 0.0 { format!("${usd:.2}") } else { format!("${usd:.4}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn slacks_control_characters_are_escaped() {
        assert_eq!(slack_plain("<!channel> & <http://evil|ok>", 100), "&lt;!channel&gt; &amp; &lt;http://evil|ok&gt;");
    }

    #[test]
    fn formatting_loses_its_effect_but_a_name_stays_readable() {
        assert_eq!(slack_inline("support_bot", 100), "support_bot");
        let bold = slack_inline("*now* `rm` ~x~ _y_", 100);
        assert!(!bold.contains("*now") && !bold.contains("`rm") && !bold.contains("_y"), "{bold}");
    }

    #[test]
    fn a_cut_text_ends_in_an_ellipsis_and_never_inside_an_escape() {
        assert_eq!(slack_plain("ab<cd", 5), "ab…");
        assert_eq!(slack_plain("ab<cd", 8), "ab&lt;cd");
        assert_eq!(slack_plain("abcdef", 4), "abc…");
        assert_eq!(slack_plain("abc", 3), "abc");
        assert_eq!(cut("abcdef", 3), "ab…");
    }

    #[test]
    fn what_cannot_be_seen_is_dropped() {
        assert_eq!(clean("a\u{200b}b\u{202e}c\u{7}d\r\ne\u{feff}"), "abc d\ne");
    }

    #[test]
    fn money_has_cents_and_small_money_four_digits() {
        assert_eq!([dollars(12.3), dollars(0.0123), dollars(0.0)], ["$12.30", "$0.0123", "$0.00"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_survives_as_markup_and_none_is_too_long(text in any::<String>(), max in 1_usize..200) {
            for shown in [slack_plain(&text, max), slack_inline(&text, max)] {
                prop_assert!(!shown.contains('<') && !shown.contains('>'));
                prop_assert!(shown.encode_utf16().count() <= max, "{shown:?}");
                let unescaped = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "");
                prop_assert!(!unescaped.contains('&'), "{shown:?}");
            }
        }
    }
}
