//! When an action that did not work out is tried again.
//!
//! Owns the schedule and its jitter, a pure function of attempt and seed. Must hold: never before the vendor's own
//! `Retry-After`.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// First pause.
const BASE: Duration = Duration::from_secs(2);
/// Longest pause of our own choosing.
const CAP: Duration = Duration::from_secs(600);
/// A vendor that says "at once" is given this long all the same.
const RETRY_AFTER_FLOOR: Duration = Duration::from_secs(1);
/// Longest pause a vendor may ask for; a longer one is tried at this distance.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// The pause after attempt `attempt` (from 1): 2 s, 6 s, 18 s … 10 min, each within ±25 %. A vendor's `Retry-After`
/// wins, up to an hour, and is only ever lengthened (by at most 10 %), so that many waiters do not return at once.
pub(crate) fn pause(attempt: i64, retry_after: Option<Duration>, seed: u64, salt: &str) -> Duration {
    let mut random = StdRng::seed_from_u64(seed ^ fold(salt) ^ attempt.unsigned_abs());
    if let Some(asked) = retry_after {
        return asked.clamp(RETRY_AFTER_FLOOR, RETRY_AFTER_CAP).mul_f64(random.random_range(1.0..1.1));
    }
    let exponent = u32::try_from(attempt.clamp(1, 20) - 1).unwrap_or(0);
    let grown = BASE.saturating_mul(3_u32.saturating_pow(exponent)).min(CAP);
    grown.mul_f64(random.random_range(0.75..1.25))
}

/// A text as a number, the same in every run.
fn fold(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A vendor's `Retry-After`: seconds, or a date to be compared with the vendor's own `Date`.
pub(crate) fn retry_after(value: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let value = value?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e6)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let now = httpdate::parse_http_date(date?).ok()?;
    Some(until.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_ten_minutes_and_scatter() {
        let seconds: Vec<f64> = (1..=10).map(|n| pause(n, None, 7, "a").as_secs_f64()).collect();
        for (n, pause) in seconds.iter().enumerate() {
            let plain = (2.0 * 3_f64.powi(n as i32)).min(600.0);
            assert!((plain * 0.75..=plain * 1.25).contains(pause), "attempt {n}: {pause}");
        }
        assert_ne!(pause(3, None, 7, "a"), pause(3, None, 7, "b"));
        assert_eq!(pause(3, None, 7, "a"), pause(3, None, 7, "a"));
    }

    #[test]
    fn a_vendors_retry_after_is_never_undercut() {
        for seed in 0..50 {
            let pause = pause(1, Some(Duration::from_secs(30)), seed, "x");
            assert!((30.0..=33.0).contains(&pause.as_secs_f64()), "{pause:?}");
        }
        assert!(pause(1, Some(Duration::from_secs(999_999)), 1, "x") <= Duration::from_secs(3960));
        assert!(pause(1, Some(Duration::ZERO), 1, "x") >= Duration::from_secs(1));
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_as_a_date() {
        assert_eq!(retry_after(Some("3"), None), Some(Duration::from_secs(3)));
        let date = |s: u64| httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + s));
        assert_eq!(retry_after(Some(&date(90)), Some(&date(0))), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(Some(&date(0)), Some(&date(90))), Some(Duration::ZERO));
        assert_eq!(retry_after(Some("soon"), None), None);
        assert_eq!(retry_after(Some("-5"), None), None);
        assert_eq!(retry_after(None, None), None);
    }
}
