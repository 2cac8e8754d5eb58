//! What a vendor's headers say of its quota.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::spec::{Limits, ResetFormat};

/// Longest wait taken from a header; longer ones are misread units.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What one answer says of the quota.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Requests left until the quota is renewed.
    pub(crate) remaining: Option<u64>,
    /// Time until it is renewed.
    pub(crate) reset_in: Option<Duration>,
    /// Time to wait before the next request, said outright.
    pub(crate) retry_after: Option<Duration>,
}

impl Quota {
    /// Reads an answer's headers. Moments are compared with the vendor's own clock where it tells (`Date`), else with
    /// `now`, so that neither clock needs to be right.
    pub(crate) fn read(headers: &HeaderMap, limits: &Limits, now: DateTime<Utc>) -> Self {
        let text = |name: &reqwest::header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
        let vendor_now =
            text(&DATE).and_then(|date| httpdate::parse_http_date(date).ok()).map_or(now, DateTime::<Utc>::from);
        let until = |moment: DateTime<Utc>| (moment - vendor_now).to_std().unwrap_or(Duration::ZERO).min(LONGEST);
        let retry_after = text(&RETRY_AFTER).and_then(|value| match value.parse::<f64>() {
            Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
                Some(Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
            }
            Ok(_) => None,
            Err(_) => httpdate::parse_http_date(value).ok().map(|moment| until(moment.into())),
        });
        let remaining = limits
            .remaining
            .as_ref()
            .and_then(text)
            // Some vendors write `0.0`.
            .and_then(|value| value.split('.').next().and_then(|whole| whole.parse().ok()));
        let reset_in = limits.reset.as_ref().and_then(|(header, format)| {
            let value = text(header)?;
            if *format == ResetFormat::DeltaS {
                let seconds: f64 = value.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0)?;
                return Some(Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())));
            }
            moment(value, *format).map(until)
        });
        Self { remaining, reset_in, retry_after }
    }

    /// How long to wait when the vendor refused for want of quota.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after.or(if self.remaining == Some(0) { self.reset_in } else { None }).or(self.reset_in)
    }
}

fn moment(value: &str, format: ResetFormat) -> Option<DateTime<Utc>> {
    match format {
        ResetFormat::EpochS => {
            let seconds: f64 = value.parse().ok()?;
            #[expect(clippy::cast_possible_truncation, reason = "range-checked by the constructor")]
            DateTime::from_timestamp_micros((seconds * 1e6) as i64)
        }
        ResetFormat::EpochMs => DateTime::from_timestamp_millis(value.parse().ok()?),
        ResetFormat::DeltaS => None,
        ResetFormat::HttpDate => httpdate::parse_http_date(value).ok().map(Into::into),
        ResetFormat::JsDate => js_date(value),
    }
}

/// `Fri Nov 20 2026 12:00:00 GMT+0000 (Coordinated Universal Time)`; ISO 8601 is understood too.
fn js_date(value: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(value) {
        return Some(time.to_utc());
    }
    let bare = value.split(" (").next().unwrap_or(value).trim();
    if let Ok(time) = DateTime::parse_from_str(bare, "%a %b %d %Y %H:%M:%S GMT%z") {
        return Some(time.to_utc());
    }
    NaiveDateTime::parse_from_str(bare, "%a %b %d %Y %H:%M:%S").ok().map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderName;

    use super::*;

    fn limits(format: ResetFormat) -> Limits {
        Limits {
            concurrency: 8,
            requests_per_minute: None,
            timeout_s: 30,
            remaining: Some(HeaderName::from_static("x-remaining")),
            reset: Some((HeaderName::from_static("x-reset"), format)),
        }
    }

    fn read(format: ResetFormat, pairs: &[(&'static str, &str)]) -> Quota {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let now = DateTime::parse_from_rfc3339("2026-11-20T12:00:00Z").unwrap().to_utc();
        Quota::read(&headers, &limits(format), now)
    }

    #[test]
    fn every_way_to_write_a_reset_is_the_same_wait() {
        for (format, value) in [
            (ResetFormat::EpochS, "1795176030"),
            (ResetFormat::EpochMs, "1795176030000"),
            (ResetFormat::DeltaS, "30"),
            (ResetFormat::JsDate, "Fri Nov 20 2026 12:00:30 GMT+0000 (Coordinated Universal Time)"),
            (ResetFormat::JsDate, "Fri Nov 20 2026 14:00:30 GMT+0200 (CEST)"),
            (ResetFormat::HttpDate, "Fri, 20 Nov 2026 12:00:30 GMT"),
        ] {
            let quota = read(format, &[("x-reset", value), ("x-remaining", "0")]);
            assert_eq!(quota.reset_in, Some(Duration::from_secs(30)), "{value}");
            assert_eq!(quota.remaining, Some(0));
        }
    }

    #[test]
    fn a_reset_is_judged_by_the_vendors_clock_not_ours() {
        let quota = read(ResetFormat::EpochS, &[("x-reset", "1000030"), ("date", "Mon, 12 Jan 1970 13:46:40 GMT")]);
        assert_eq!(quota.reset_in, Some(Duration::from_secs(30)));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read(ResetFormat::EpochS, &[("retry-after", "7")]).retry_after, Some(Duration::from_secs(7)));
        assert_eq!(
            read(ResetFormat::EpochS, &[("retry-after", "Fri, 20 Nov 2026 12:01:00 GMT")]).retry_after,
            Some(Duration::from_secs(60))
        );
        assert_eq!(read(ResetFormat::EpochS, &[("retry-after", "soon")]).retry_after, None);
    }

    #[test]
    fn a_reset_in_the_wrong_unit_does_not_stop_the_clock() {
        let quota = read(ResetFormat::EpochS, &[("x-reset", "99999999999999999")]);
        assert!(quota.reset_in.is_none_or(|wait| wait <= LONGEST));
    }
}
