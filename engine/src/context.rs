//! The context of one query: its clock reading, deadline, cancellation, API-call budget and report.
//!
//! Travels inside DataFusion's session config as an extension, so that scans reach it at execution time.
//!
//! [`Moment`]s order queries and requests: what was asked for after a query began is as fresh as anything the query could
//! ask for itself, so it may share the answer. Clocks cannot say that (two events may have one reading).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{ScanError, ScanErrorKind};
use crate::report::ReportBuilder;

/// A point in the order of this process's queries and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Now: later than every moment taken before.
    #[must_use]
    pub fn now() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// Shared by everything that works for one query.
#[derive(Debug)]
pub struct QueryContext {
    /// When the query began, in the order of queries and requests.
    pub began: Moment,
    /// Whether the caller takes an answer with stated gaps instead of an error.
    pub partial: bool,
    /// What `now()` is in this query.
    pub now: DateTime<Utc>,
    /// The clock when it began: later than `now` where a window of the past is judged.
    pub asked_at: DateTime<Utc>,
    /// When the query must have finished (monotonic).
    pub deadline: Instant,
    /// How long the query was given in all.
    pub timeout: Duration,
    /// Cancelled when the caller drops the result or asks to stop.
    pub cancel: CancellationToken,
    /// What the scans did.
    pub report: Arc<ReportBuilder>,
    /// How old an answer from a local copy may be.
    pub freshness: TimeDelta,
    unordered: AtomicBool,
    requests_left: AtomicU64,
}

impl QueryContext {
    /// A context that ends `timeout` from now and may send at most `max_requests` HTTP requests.
    #[must_use]
    pub fn new(now: DateTime<Utc>, timeout: Duration, max_requests: u64) -> Arc<Self> {
        Arc::new(Self::with_freshness(now, timeout, max_requests, TimeDelta::zero()))
    }

    /// The same, of a query that accepts answers as old as `freshness`.
    #[must_use]
    pub fn with_freshness(now: DateTime<Utc>, timeout: Duration, max_requests: u64, freshness: TimeDelta) -> Self {
        Self {
            began: Moment::now(),
            partial: false,
            now,
            asked_at: now,
            deadline: Instant::now() + timeout,
            timeout,
            cancel: CancellationToken::new(),
            report: Arc::new(ReportBuilder::default()),
            freshness,
            unordered: AtomicBool::new(false),
            requests_left: AtomicU64::new(max_requests),
        }
    }

    /// The same, of a query that began at `clock` and is about another moment.
    #[must_use]
    pub fn asked_at(mut self, clock: DateTime<Utc>) -> Self {
        self.asked_at = clock;
        self
    }

    /// The same, of a caller that takes an answer with stated gaps when `partial`.
    #[must_use]
    pub fn allowing_gaps(mut self, partial: bool) -> Self {
        self.partial = partial;
        self
    }

    /// Says that no order of any rows can change the answer.
    pub fn set_unordered(&self) {
        self.unordered.store(true, Ordering::Relaxed);
    }

    /// Whether the answer may depend on the order in which rows come; unless it is known, it may.
    #[must_use]
    pub fn order_matters(&self) -> bool {
        !self.unordered.load(Ordering::Relaxed)
    }

    /// Takes one request out of the budget of this query.
    ///
    /// # Errors
    /// [`ScanErrorKind::Budget`] when the budget is spent.
    pub fn spend_request(&self, source: &str, table: &str) -> Result<(), ScanError> {
        self.requests_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| {
                ScanError::new(source, table, ScanErrorKind::Budget, "no further request may be sent for this query")
                    .hint("narrow the time window, add a LIMIT, or raise the query's request budget")
            })
    }

    /// Runs `work` until it ends, the deadline passes, or the query is cancelled.
    ///
    /// # Errors
    /// [`ScanErrorKind::Deadline`] or [`ScanErrorKind::Cancelled`], naming `waiting_for`.
    pub async fn guard<T>(
        &self,
        source: &str,
        table: &str,
        waiting_for: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, ScanError> {
        self.guard_until(self.deadline, source, table, waiting_for, work).await
    }

    /// As [`QueryContext::guard`], for work that guards itself: until a moment after the deadline, so that the error is the
    /// one that knows which request was waited for.
    pub(crate) async fn guard_around<T>(
        &self,
        source: &str,
        table: &str,
        waiting_for: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, ScanError> {
        self.guard_until(self.deadline + Duration::from_millis(20), source, table, waiting_for, work).await
    }

    async fn guard_until<T>(
        &self,
        until: Instant,
        source: &str,
        table: &str,
        waiting_for: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, ScanError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                Err(ScanError::new(source, table, ScanErrorKind::Cancelled, "the caller stopped the query"))
            }
            () = tokio::time::sleep_until(until) => {
                Err(ScanError::new(source, table, ScanErrorKind::Deadline,
                    format!("no answer within the query's {:?}", self.timeout))
                    .request(waiting_for)
                    .hint("the source is slow or hanging: narrow the window, raise the deadline, or check the source's status"))
            }
            out = work => Ok(out),
        }
    }
}
