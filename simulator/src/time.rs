//! Timestamps: reading whatever vendors write, and writing each vendor's own form.
//!
//! Owns: parsing and formatting. Does not own: what "now" is (see `clock`).
//! Must hold: reading never fails loudly; a text that is no time is `None`.

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};

/// Microseconds since the Unix epoch, UTC.
pub(crate) type Micros = i64;

/// One second in microseconds.
pub(crate) const SECOND: Micros = 1_000_000;
/// One minute in microseconds.
pub(crate) const MINUTE: Micros = 60 * SECOND;
/// One hour in microseconds.
pub(crate) const HOUR: Micros = 60 * MINUTE;
/// One day in microseconds.
pub(crate) const DAY: Micros = 24 * HOUR;

/// Years 1 to 9999. Times beyond are no times to any vendor, and arithmetic on those within cannot
/// overflow.
const SANE: std::ops::RangeInclusive<Micros> = -62_135_596_800 * SECOND..=253_402_300_799 * SECOND;

/// Reads an ISO 8601 timestamp; one without an offset is UTC.
pub(crate) fn parse(text: &str) -> Option<Micros> {
    parse_any(text).filter(|at| SANE.contains(at))
}

fn parse_any(text: &str) -> Option<Micros> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    const NAIVE: [&str; 4] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    for format in NAIVE {
        if let Ok(time) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), format) {
            return Some(time.and_utc().timestamp_micros());
        }
    }
    const ZONED: [&str; 2] = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"];
    for format in ZONED {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Some(time.timestamp_micros());
        }
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

/// Reads epoch seconds with an optional fraction, as Slack writes them (`1748160000.000100`),
/// exactly: no floating point on the way.
pub(crate) fn from_epoch_seconds(text: &str) -> Option<Micros> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let micros = if seconds < 0 { -micros } else { micros };
    seconds.checked_mul(SECOND)?.checked_add(micros).filter(|at| SANE.contains(at))
}

/// The time as chrono has it; far out of range becomes the epoch.
pub(crate) fn to_datetime(time: Micros) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(time).unwrap_or_default()
}

/// `2026-11-20T18:00:00.123Z`: Langfuse.
pub(crate) fn millis_z(time: Micros) -> String {
    to_datetime(time).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// `2026-11-20T18:00:00Z`: GitHub.
pub(crate) fn seconds_z(time: Micros) -> String {
    to_datetime(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// `2026-11-20T18:00:00.123456Z`: Sentry.
pub(crate) fn micros_z(time: Micros) -> String {
    to_datetime(time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// `1748160000.000100`: Slack.
pub(crate) fn slack_ts(time: Micros) -> String {
    format!("{}.{:06}", time.div_euclid(SECOND), time.rem_euclid(SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_vendors_write_a_time_is_read() {
        let expected = parse("2026-11-20T18:00:00Z").unwrap();
        for text in [
            "2026-11-20T18:00:00.000Z",
            "2026-11-20T19:00:00+01:00",
            "2026-11-20T19:00:00+0100",
            "2026-11-20 18:00:00",
            "2026-11-20T18:00",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in ["yesterday", "", "+262142-01-01T00:00:00", "-9999-01-01 00:00:00"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn slack_timestamps_survive_the_round_trip() {
        for text in ["1748160000.000100", "1748160000.999999", "0.000001"] {
            assert_eq!(slack_ts(from_epoch_seconds(text).unwrap()), text);
        }
        assert_eq!(from_epoch_seconds("1748160000"), Some(1_748_160_000 * SECOND));
        for text in ["1e9", "", "9223372036854.775807", "-9223372036854775808"] {
            assert_eq!(from_epoch_seconds(text), None, "{text}");
        }
    }
}
