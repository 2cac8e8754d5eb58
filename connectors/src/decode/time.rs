//! Times as vendors write them, to microseconds UTC.
//!
//! Owns: reading ISO 8601 in the shapes vendors use, and epochs of any unit, without losing a microsecond.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::spec::TimeFormat;

/// The first and the last microsecond of years that have four digits: what every way to show a time can show.
const YEARS: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

/// Reads `text` as a time in `format`; `None` when it is none, or lies outside of the years 0 to 9999.
pub(crate) fn parse(text: &str, format: TimeFormat) -> Option<i64> {
    read(text.trim(), format).filter(|micros| YEARS.contains(micros))
}

fn read(text: &str, format: TimeFormat) -> Option<i64> {
    match format {
        TimeFormat::Iso => iso(text),
        TimeFormat::EpochS => epoch(text, 6),
        TimeFormat::EpochMs => epoch(text, 3),
        TimeFormat::Auto => {
            let numeric =
                text.bytes().enumerate().all(|(i, b)| b.is_ascii_digit() || b == b'.' || (b == b'-' && i == 0));
            if numeric { epoch(text, unit_by_size(text)) } else { iso(text) }
        }
    }
}

/// The power of ten that turns the number's unit into microseconds, judged by how many digits it has: seconds have at
/// most 11, milliseconds 14, microseconds 17, else it is nanoseconds.
fn unit_by_size(text: &str) -> i32 {
    let digits = text.trim_start_matches('-').split('.').next().unwrap_or_default().len();
    match digits {
        0..=11 => 6,
        12..=14 => 3,
        15..=17 => 0,
        _ => -3,
    }
}

/// `digits[.digits]` times ten to the `power`, exactly, rounded down to a whole number.
fn epoch(text: &str, power: i32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 20 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let mut value: i128 = whole.parse().ok()?;
    if power >= 0 {
        let power = usize::try_from(power).ok()?;
        let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(power).collect();
        let scale = 10_i128.pow(u32::try_from(power).ok()?);
        value = value * scale + kept.parse::<i128>().unwrap_or(0);
    } else {
        value /= 10_i128.pow(power.unsigned_abs());
    }
    i64::try_from(if negative { -value } else { value }).ok()
}

fn iso(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    // `+0000` without a colon, and a space instead of `T`.
    for pattern in ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"] {
        if let Ok(time) = DateTime::parse_from_str(text, pattern) {
            return Some(time.timestamp_micros());
        }
    }
    // Without a zone it is UTC.
    for pattern in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), pattern) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: i64 = 1_795_176_000_000_000; // 2026-11-20T12:00:00Z

    #[test]
    fn the_shapes_vendors_write_times_in_are_the_same_instant() {
        for text in [
            "2026-11-20T12:00:00Z",
            "2026-11-20T12:00:00.000Z",
            "2026-11-20T12:00:00.000000+00:00",
            "2026-11-20T14:00:00+02:00",
            "2026-11-20T14:00:00+0200",
            "2026-11-20 12:00:00",
            "2026-11-20T12:00:00",
            " 2026-11-20T12:00:00Z ",
            "1795176000",
            "1795176000.000000",
            "1795176000000",
            "1795176000000000",
            "1795176000000000000",
        ] {
            assert_eq!(parse(text, TimeFormat::Auto), Some(NOON), "{text}");
        }
        assert_eq!(parse("2026-11-20", TimeFormat::Auto), Some(NOON - 12 * 3_600_000_000));
    }

    #[test]
    fn slack_times_keep_their_microseconds() {
        assert_eq!(parse("1748160000.000100", TimeFormat::EpochS), Some(1_748_160_000_000_100));
        assert_eq!(parse("1748160000.0001", TimeFormat::EpochS), Some(1_748_160_000_000_100));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "yesterday", "2026-13-01T00:00:00Z", "12:00", "999999999999999999999", "1.2.3", "-", "."] {
            assert_eq!(parse(text, TimeFormat::Auto), None, "{text}");
        }
        // A time of the year 294,247 fits into microseconds and into nothing that shows it.
        for (text, format) in [
            ("9223372036854", TimeFormat::EpochS),
            ("9223372036854775", TimeFormat::EpochMs),
            ("-9223372036854", TimeFormat::EpochS),
            ("+12026-01-01T00:00:00Z", TimeFormat::Iso),
        ] {
            assert_eq!(parse(text, format), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,40}") {
            for format in [TimeFormat::Auto, TimeFormat::Iso, TimeFormat::EpochS, TimeFormat::EpochMs] {
                let _ = parse(&text, format);
            }
        }

        #[test]
        fn what_is_written_in_microseconds_is_read_back(micros in -62_135_596_800_000_000_i64..253_402_300_799_000_000) {
            let text = DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
            prop_assert_eq!(parse(&text, TimeFormat::Auto), Some(micros));
        }
    }
}
