//! How many requests a sender may make in a minute.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::error::ApiError;

const MINUTE: Duration = Duration::from_secs(60);
/// Senders that are counted at one time.
const MOST: usize = 10_000;

/// Requests of the minute that runs, by sender.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    senders: Mutex<HashMap<String, (Instant, u64)>>,
}

impl Rates {
    /// Counts a request; `most` of 0 is no limit.
    ///
    /// # Errors
    /// 429 with the seconds until the sender's minute is over.
    pub(crate) fn count(&self, sender: &str, most: u64) -> Result<(), ApiError> {
        self.count_at(sender, most, Instant::now())
    }

    fn count_at(&self, sender: &str, most: u64, now: Instant) -> Result<(), ApiError> {
        if most == 0 {
            return Ok(());
        }
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= MOST && !senders.contains_key(sender) {
            senders.retain(|_, (began, _)| now.duration_since(*began) < MINUTE);
            if senders.len() >= MOST {
                return Err(too_many(most, MINUTE));
            }
        }
        let (began, count) = senders.entry(sender.to_owned()).or_insert((now, 0));
        if now.duration_since(*began) >= MINUTE {
            (*began, *count) = (now, 0);
        }
        if *count >= most {
            return Err(too_many(most, MINUTE.saturating_sub(now.duration_since(*began))));
        }
        *count += 1;
        Ok(())
    }
}

fn too_many(most: u64, left: Duration) -> ApiError {
    let seconds = u32::try_from(left.as_secs()).unwrap_or(60) + 1;
    // In the words that clients of this wire know.
    let words = format!("Rate limit exceeded. Max {most} requests per minute.");
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", words).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_so_many_a_minute_and_then_waits() {
        let (rates, start) = (Rates::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(rates.count_at("a", 2, at(0)).is_ok());
        assert!(rates.count_at("a", 2, at(10)).is_ok());
        let refused = rates.count_at("a", 2, at(20)).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after_seconds), (429, Some(41)));
        assert!(rates.count_at("b", 2, at(20)).is_ok(), "another sender has its own");
        assert!(rates.count_at("a", 2, at(60)).is_ok());
    }

    #[test]
    fn no_limit_counts_nothing() {
        let rates = Rates::default();
        for _ in 0..1_000 {
            assert!(rates.count("a", 0).is_ok());
        }
        assert!(rates.senders.lock().unwrap().is_empty());
    }
}
