//! The retry policy: which answers are worth another try, and when.
//!
//! Owns: the verdict on one attempt, as a pure function, and how many tries a source is worth ([`Patience`]). Does not
//! own: waiting, nor the deadline (`client`).
//!
//! Every special case says why. Nothing but questions is ever sent (a POST is a search or a GraphQL query), so
//! repeating is always safe.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use tripline_engine::ScanErrorKind;

use super::quota::Quota;

/// Tries in all.
const TRIES: u32 = 4;
/// For how long after a request used up its tries the others are tried once: a source that is down costs each query one
/// request and no pause, not four requests and a second.
const DOWN_FOR: Duration = Duration::from_secs(60);
const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// GitHub's secondary limits may come with nothing but a message; its documentation then asks for a minute.
const SECONDARY_WAIT: Duration = Duration::from_secs(60);

/// What a status (with its headers and message) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer is the answer.
    Accept,
    /// Worth another try after the usual backoff; else it is this kind of failure.
    Again(ScanErrorKind),
    /// The vendor asks for slower requests; it may have said for how long.
    Throttled(Option<Duration>),
    /// No use.
    Fail(ScanErrorKind),
}

/// Judges one answer.
pub(crate) fn judge(status: u16, quota: &Quota, message: &str) -> Verdict {
    match status {
        200..=299 => Verdict::Accept,
        429 => Verdict::Throttled(quota.wait()),
        // GitHub refuses with 403 both when credentials are wrong and when it throttles. Throttling shows by one of:
        // the primary quota at zero, a Retry-After (secondary limit), or only the words.
        403 if quota.remaining == Some(0) || quota.retry_after.is_some() => Verdict::Throttled(quota.wait()),
        403 if says_rate_limit(message) => Verdict::Throttled(Some(SECONDARY_WAIT)),
        401 | 403 => Verdict::Fail(ScanErrorKind::Unauthorized),
        // 410 is how a vendor says that an endpoint was taken away.
        404 | 410 => Verdict::Fail(ScanErrorKind::NotFound),
        // A server or proxy that gave up waiting for the request or on its own upstream.
        408 | 425 => Verdict::Again(ScanErrorKind::Unavailable),
        // 501 says that it will never work; the other 5xx may pass.
        500 | 502..=504 | 520..=530 => Verdict::Again(ScanErrorKind::Unavailable),
        501 | 505..=599 => Verdict::Fail(ScanErrorKind::Unavailable),
        _ => Verdict::Fail(ScanErrorKind::BadRequest),
    }
}

fn says_rate_limit(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("secondary rate limit")
        || message.contains("rate limit exceeded")
        || message.contains("abuse detection")
}

/// The pause before try number `next` (2, 3 …): exponential, with full jitter so that clients do not return in step.
pub(crate) fn backoff(next: u32, rng: &mut impl Rng) -> Duration {
    let ceiling = FIRST_BACKOFF.saturating_mul(1 << next.saturating_sub(2).min(10)).min(LONGEST_BACKOFF);
    ceiling.mul_f64(rng.random::<f64>())
}

/// How many tries a request is worth: fewer while the source is known to be down.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// When a request last used up its tries, if none succeeded since.
    gave_up: Mutex<Option<Instant>>,
}

impl Patience {
    /// The most tries of a request that failed in this way.
    pub(crate) fn tries(&self, kind: ScanErrorKind) -> u32 {
        let gave_up = *self.gave_up.lock().unwrap_or_else(PoisonError::into_inner);
        match gave_up {
            Some(at) if is_down(kind) && at.elapsed() < DOWN_FOR => 1,
            _ => TRIES,
        }
    }

    /// A request used up its tries.
    pub(crate) fn used_up(&self, kind: ScanErrorKind) {
        if is_down(kind) {
            *self.gave_up.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    /// The source answered.
    pub(crate) fn answered(&self) {
        *self.gave_up.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether such a failure says something about the whole source: it does not answer, or answers nothing but errors.
fn is_down(kind: ScanErrorKind) -> bool {
    matches!(kind, ScanErrorKind::Unavailable | ScanErrorKind::Connection)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn which_statuses_are_tried_again() {
        let mut words: std::collections::BTreeMap<String, Vec<u16>> = std::collections::BTreeMap::new();
        for status in 100..=599 {
            words.entry(format!("{:?}", judge(status, &Quota::default(), ""))).or_default().push(status);
        }
        let shown: Vec<String> =
            words.iter().map(|(verdict, statuses)| format!("{verdict}: {}", ranges(statuses))).collect();
        insta::assert_snapshot!(shown.join("\n"), @"
        Accept: 200-299
        Again(Unavailable): 408 425 500 502-504 520-530
        Fail(BadRequest): 100-199 300-400 402 405-407 409 411-424 426-428 430-499
        Fail(NotFound): 404 410
        Fail(Unauthorized): 401 403
        Fail(Unavailable): 501 505-519 531-599
        Throttled(None): 429
        ");
    }

    fn ranges(statuses: &[u16]) -> String {
        let mut out: Vec<(u16, u16)> = Vec::new();
        for &status in statuses {
            match out.last_mut() {
                Some((_, end)) if *end + 1 == status => *end = status,
                _ => out.push((status, status)),
            }
        }
        let text = out.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
        text.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn githubs_403_is_throttling_when_it_says_so() {
        let with = |remaining, retry_after| Quota { remaining, retry_after, reset_in: Some(Duration::from_secs(9)) };
        let wait = |seconds| Verdict::Throttled(Some(Duration::from_secs(seconds)));
        assert_eq!(judge(403, &with(Some(0), None), ""), wait(9));
        assert_eq!(judge(403, &with(Some(5), Some(Duration::from_secs(3))), ""), wait(3));
        assert_eq!(judge(403, &with(Some(5), None), "You have exceeded a secondary rate limit."), wait(60));
        assert_eq!(
            judge(403, &with(Some(5), None), "Must have admin rights"),
            Verdict::Fail(ScanErrorKind::Unauthorized)
        );
    }

    #[test]
    fn pauses_grow_and_differ_but_are_repeatable_by_seed() {
        let pauses = |seed| {
            let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
            (2..=4).map(|next| backoff(next, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
        for seed in 0..100 {
            for (pause, most) in pauses(seed).into_iter().zip([250, 500, 1000]) {
                assert!(pause <= Duration::from_millis(most));
            }
        }
    }
}
