//! What a text looks like: a date, an address, a number.
//!
//! Owns: the names of formats and which one a text has. They are those of JSON Schema where it has the format (`uuid`,
//! `date-time`, `date`, `email`, `uri`), and `integer` and `number` for numbers that are written as texts; zone and seconds
//! of a `date-time` may be left out. Must hold: a format says nothing else of the text; the work is bounded by its length.

use chrono::NaiveDate;

/// The format of a text that has none of the others.
const TEXT: &str = "text";

/// Bytes of the longest text that has a format: what is longer is prose, or an address that nobody wrote.
const LONGEST: usize = 2_048;

/// The format of a JSON string, given as it stands in its document; one that cannot be read is `text`.
pub(super) fn of_json(string: &str) -> &'static str {
    // One byte is written as an escape of six at most.
    if string.len() > 6 * LONGEST + 2 {
        return TEXT;
    }
    serde_json::from_str::<String>(string).map_or(TEXT, |text| of(&text))
}

/// Whether a text has a format.
type Fits = fn(&str) -> bool;

/// The formats, in the order in which they are tried.
const FORMATS: [(&str, Fits); 7] = [
    ("uuid", is_uuid),
    ("date-time", is_date_time),
    ("date", is_date),
    ("email", is_email),
    ("uri", is_uri),
    ("integer", is_integer),
    ("number", is_number),
];

/// The format of a text: the first that fits.
fn of(text: &str) -> &'static str {
    if text.is_empty() || text.len() > LONGEST {
        return TEXT;
    }
    FORMATS.into_iter().find(|(_, fits)| fits(text)).map_or(TEXT, |(name, _)| name)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let number = |part: &str, digits: usize| {
        (part.len() == digits && is_digits(part)).then(|| part.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    i32::try_from(year).is_ok_and(|year| NaiveDate::from_ymd_opt(year, month, day).is_some())
}

fn is_date_time(text: &str) -> bool {
    let Some((date, rest)) = text.split_at_checked(10) else { return false };
    let Some(time) = rest.strip_prefix(['T', 't', ' ']) else { return false };
    let (clock, zone) = time.split_at(time.find(['Z', 'z', '+', '-']).unwrap_or(time.len()));
    is_date(date) && is_clock(clock) && is_zone(zone)
}

fn is_clock(text: &str) -> bool {
    let mut parts = text.split(':');
    let (Some(hour), Some(minute), second, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_second = |text: &str| match text.split_once('.') {
        Some((second, fraction)) => is_below(second, 61) && is_digits(fraction),
        None => is_below(text, 61),
    };
    is_below(hour, 24) && is_below(minute, 60) && second.is_none_or(is_second)
}

fn is_zone(text: &str) -> bool {
    let Some(offset) = text.strip_prefix(['+', '-']) else { return matches!(text, "" | "Z" | "z") };
    match offset.split_once(':') {
        Some((hours, minutes)) => is_below(hours, 24) && is_below(minutes, 60),
        None => offset
            .split_at_checked(2)
            .is_some_and(|(hours, minutes)| is_below(hours, 24) && (minutes.is_empty() || is_below(minutes, 60))),
    }
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else { return false };
    let has_domain = host.rsplit_once('.').is_some_and(|(host, domain)| !host.is_empty() && !domain.is_empty());
    !name.is_empty() && has_domain && !host.contains('@') && is_one_word(text)
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'))
        && !rest.is_empty()
        && is_one_word(rest)
}

fn is_integer(text: &str) -> bool {
    is_digits(text.strip_prefix(['+', '-']).unwrap_or(text))
}

fn is_number(text: &str) -> bool {
    let (mantissa, exponent) =
        text.split_once(['e', 'E']).map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let is_decimal = mantissa.split_once('.').is_some_and(|(whole, fraction)| is_integer(whole) && is_digits(fraction));
    (is_decimal || is_integer(mantissa)) && exponent.is_none_or(is_integer)
}

fn is_one_word(text: &str) -> bool {
    !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a text is two digits that say less than `limit`.
fn is_below(text: &str, limit: u8) -> bool {
    text.len() == 2 && is_digits(text) && text.parse::<u8>().is_ok_and(|number| number < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_format_that_people_would_say() {
        for (text, format) in [
            ("2026-11-20T12:00:00Z", "date-time"),
            ("2026-11-20 12:00:00.125+01:00", "date-time"),
            ("2026-11-20t23:59:60-0130", "date-time"),
            ("2026-11-20T12:00", "date-time"),
            ("2026-11-20", "date"),
            ("2024-02-29", "date"),
            ("ada@example.com", "email"),
            ("https://example.com/a?b=c", "uri"),
            ("git+ssh://host/path", "uri"),
            ("0af76519-16cd-43dd-8448-eb211c80319c", "uuid"),
            ("-17", "integer"),
            ("007", "integer"),
            ("3.50", "number"),
            ("-1e-05", "number"),
            ("2.5E+3", "number"),
        ] {
            assert_eq!(of(text), format, "{text}");
        }
    }

    #[test]
    fn what_only_resembles_a_format_has_none() {
        for text in [
            "",
            " ",
            "20 November",
            "tomorrow",
            "see https://example.com",
            "https://",
            "1://a",
            "2026-13-01",
            "2025-02-29",
            "2026-1-2",
            "+026-11-20",
            "2026-11-20T24:00:00Z",
            "2026-11-20T12",
            "2026-11-20T12:00:00+01:",
            "2026-11-20T12:00:00.Z",
            "2026-11-2üT12:00",
            "a@b",
            "a@b@c.de",
            "a b@c.de",
            "@c.de",
            "a@.de",
            "a@c.",
            "0af7651916cd43dd8448eb211c80319c",
            "0af76519-16cd-43dd-8448-eb211c80319g",
            "+",
            "1.",
            ".5",
            "1e",
            "1.2.3",
            "٣",
        ] {
            assert_eq!(of(text), "text", "{text}");
        }
    }

    #[test]
    fn a_string_is_read_as_json_and_a_long_or_broken_one_is_text() {
        assert_eq!(of_json(r#""https:\/\/example.com""#), "uri");
        assert_eq!(of_json(r#""2026\u002d11-20""#), "date");
        assert_eq!(of_json(r#""a\ud800""#), "text");
        assert_eq!(of_json(&format!("\"{}\"", "1".repeat(LONGEST))), "integer");
        assert_eq!(of_json(&format!("\"{}\"", "1".repeat(LONGEST + 1))), "text");
        assert_eq!(of_json(&format!("\"{}\"", "1".repeat(7 * LONGEST))), "text");
    }
}
