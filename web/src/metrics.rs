//! Figures of the server, for `/metrics`.
//!
//! Owns what is counted as it happens (requests, refusals, queries). What can be counted in the store is read there when
//! it is asked for ([`crate::api::metrics`]). Must hold: labels come from small fixed sets (routes, codes, sources),
//! never from what a caller sends.

use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tripline_engine::CompletenessReport;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ScanLabels {
    source: String,
    table: String,
}

/// What is counted as it happens.
#[derive(Debug)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram>,
    denied: Family<CodeLabels, Counter>,
    queries: Family<CodeLabels, Counter>,
    scan_requests: Family<ScanLabels, Counter>,
    scan_rows: Family<ScanLabels, Counter>,
    session_events: Family<CodeLabels, Counter>,
}

const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            denied: Family::default(),
            queries: Family::default(),
            scan_requests: Family::default(),
            scan_rows: Family::default(),
            session_events: Family::default(),
        }
    }
}

/// Methods with a name of their own; everything else is one.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl Metrics {
    pub(crate) fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        let labels = RequestLabels { method: method_name(method), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    pub(crate) fn denied(&self, code: &'static str) {
        self.denied.get_or_create(&CodeLabels { code }).inc();
    }

    /// `code` is `ok` or an engine error's.
    pub(crate) fn queried(&self, code: &'static str) {
        self.queries.get_or_create(&CodeLabels { code }).inc();
    }

    /// How many events of sessions were kept, kept already, and refused.
    pub(crate) fn session_events(&self, ingested: usize, deduped: usize, rejected: usize) {
        for (code, count) in [("ingested", ingested), ("deduped", deduped), ("rejected", rejected)] {
            self.session_events.get_or_create(&CodeLabels { code }).inc_by(count as u64);
        }
    }

    pub(crate) fn scanned(&self, report: &CompletenessReport) {
        for scan in &report.scans {
            let labels = ScanLabels { source: scan.source.clone(), table: scan.table.clone() };
            self.scan_requests.get_or_create(&labels).inc_by(scan.requests);
            self.scan_rows.get_or_create(&labels).inc_by(scan.rows);
        }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.requests.clone());
        registry.register_with_unit("http_request", "Time to answer", Unit::Seconds, self.seconds.clone());
        registry.register("http_denied", "Requests turned away for want of a right", self.denied.clone());
        registry.register("sql_queries", "SQL queries by outcome", self.queries.clone());
        registry.register("scan_requests", "Requests to vendors by queries of the API", self.scan_requests.clone());
        registry.register("scan_rows", "Rows read from vendors by queries of the API", self.scan_rows.clone());
        registry.register("session_events", "Events of sessions by what became of them", self.session_events.clone());
    }
}
