//! The completeness report: what a query asked of its sources, and whether the answer is whole.
//!
//! Owns: counters per scan ([`ScanStats`], written by connectors while a query runs) and their snapshot
//! ([`CompletenessReport`], printed, returned over HTTP and stored with evidence). Keeps no plan alive.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

/// Live counters of one scan of one remote table.
#[derive(Debug, Default)]
pub struct ScanStats {
    source: String,
    table: String,
    requests: AtomicU64,
    probes: AtomicU64,
    pages: AtomicU64,
    rows: AtomicU64,
    cache_hits: AtomicU64,
    revalidated: AtomicU64,
    bytes: AtomicU64,
    retries: AtomicU64,
    waited_us: AtomicU64,
    finished: AtomicBool,
    notes: Mutex<Vec<String>>,
    gap: Mutex<Option<String>>,
}

impl ScanStats {
    /// Counters for a scan of `source.table`.
    #[must_use]
    pub fn new(source: &str, table: &str) -> Arc<Self> {
        Arc::new(Self { source: source.to_owned(), table: table.to_owned(), ..Self::default() })
    }

    /// Counts one HTTP request sent (each retry is a request too).
    pub fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
    /// A request that was counted only found out which API generation the vendor serves; its answer is cached.
    pub fn request_was_probe(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
        self.probes.fetch_add(1, Ordering::Relaxed);
    }
    /// Counts a decoded page of `rows` rows.
    pub fn add_page(&self, rows: usize) {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }
    /// Counts an answer that needed no request: it was under way or here already.
    pub fn add_cache_hit(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
    }
    /// Counts a request whose answer was that what is here already still holds (304).
    pub fn add_revalidated(&self) {
        self.revalidated.fetch_add(1, Ordering::Relaxed);
    }
    /// Counts body bytes received.
    pub fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
    /// Counts a retry.
    pub fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
    /// Adds time spent waiting for a rate limiter or between retries.
    pub fn add_wait(&self, waited: Duration) {
        self.waited_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
    /// Notes something a reader of the answer should know (derived table, older API generation …).
    pub fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    /// States that rows are missing from the answer, and why.
    pub fn set_gap(&self, reason: impl Into<String>) {
        *self.gap.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
    }
    /// What is missing from the answer so far, if anything.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        self.gap.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Marks that the scan delivered all it was asked for.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    /// The figures that `EXPLAIN ANALYZE` shows, by name.
    pub(crate) fn figures(&self) -> Vec<(&'static str, u64)> {
        let report = self.snapshot();
        vec![
            ("requests_sent", report.requests),
            ("requests_saved", report.cache_hits),
            ("not_modified", report.revalidated),
            ("retries", report.retries),
            ("waited_ms", report.waited_ms),
            ("pages", report.pages),
            ("rows_fetched", report.rows),
            ("bytes_received", report.bytes),
        ]
    }

    fn snapshot(&self) -> ScanReport {
        ScanReport {
            source: self.source.clone(),
            table: self.table.clone(),
            requests: self.requests.load(Ordering::Relaxed),
            probes: self.probes.load(Ordering::Relaxed),
            pages: self.pages.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
            cache_hits: self.cache_hits.load(Ordering::Relaxed),
            revalidated: self.revalidated.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
            waited_ms: self.waited_us.load(Ordering::Relaxed) / 1000,
            finished: self.finished.load(Ordering::Relaxed),
            notes: self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            gap: self.gap.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// What one scan did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScanReport {
    /// Source, e.g. `langfuse`.
    pub source: String,
    /// Table, e.g. `observations`.
    pub table: String,
    /// HTTP requests sent, retries included, version probes not.
    pub requests: u64,
    /// Version probes sent (their outcome is cached).
    pub probes: u64,
    /// Pages decoded.
    pub pages: u64,
    /// Rows decoded, before the query's own predicates.
    pub rows: u64,
    /// Answers that needed no request: shared with another scan, or still good by the vendor's own word.
    pub cache_hits: u64,
    /// Of `requests`, those answered with "not modified".
    pub revalidated: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Requests repeated after a failure or throttling.
    pub retries: u64,
    /// Milliseconds spent waiting for a rate limiter or before a retry.
    pub waited_ms: u64,
    /// Whether the scan delivered everything it was asked for (a `LIMIT` reached counts as everything).
    pub finished: bool,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// What is missing from the answer, if anything.
    pub gap: Option<String>,
}

/// What a whole query did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompletenessReport {
    /// Whether the rows are the whole answer.
    pub complete: bool,
    /// Rows returned to the caller.
    pub rows: u64,
    /// Whether the caller's row cap cut the answer.
    pub truncated: bool,
    /// Wall time, milliseconds.
    pub elapsed_ms: u64,
    /// HTTP requests over all scans.
    pub requests: u64,
    /// One entry per remote scan, in plan order.
    pub scans: Vec<ScanReport>,
    /// Everything that makes the answer less than whole, one sentence each. Empty when `complete`.
    pub warnings: Vec<String>,
    /// What a reader should know of an answer that may well be whole, such as a column that was renamed.
    pub notes: Vec<String>,
}

/// What is missing from a scan; an error of the scan names its table already.
fn named(scan: &ScanReport, gap: &str) -> String {
    let name = format!("{}.{}: ", scan.source, scan.table);
    if gap.starts_with(&name) { gap.to_owned() } else { format!("{name}{gap}") }
}

/// Collects the scans of one query.
#[derive(Debug, Default)]
pub struct ReportBuilder {
    scans: Mutex<Vec<Arc<ScanStats>>>,
}

impl ReportBuilder {
    /// Adds a scan and returns its counters.
    pub fn scan(&self, source: &str, table: &str) -> Arc<ScanStats> {
        let stats = ScanStats::new(source, table);
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&stats));
        stats
    }

    /// Snapshots of all scans so far.
    #[must_use]
    pub fn scans(&self) -> Vec<ScanReport> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|s| s.snapshot()).collect()
    }

    /// The report of a query that returned `rows` rows in `elapsed`; `truncated` when a row cap cut it.
    #[must_use]
    pub fn finish(&self, rows: u64, truncated: bool, elapsed: Duration) -> CompletenessReport {
        let scans = self.scans();
        let mut warnings: Vec<String> =
            scans.iter().filter_map(|scan| scan.gap.as_deref().map(|gap| named(scan, gap))).collect();
        if truncated {
            warnings.push(format!("the row limit of the caller was reached: only the first {rows} rows are shown"));
        }
        CompletenessReport {
            complete: warnings.is_empty(),
            rows,
            truncated,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            requests: scans.iter().map(|s| s.requests).sum(),
            scans,
            warnings,
            notes: Vec::new(),
        }
    }
}
