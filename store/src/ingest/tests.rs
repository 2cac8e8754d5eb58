//! Promises of the event log beyond the conformance suite: durability, sealing under failures, content at rest.

mod content;
mod durable;
mod faults;
mod late;
mod sealing;

use crate::conformance::fixtures::*;
use crate::ingest::{EventFilter, MaintenancePolicy, WireEvent};
use crate::sqlite::SqliteStore;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// Seals whatever is there, one file per `events`.
fn at_once(events: u64) -> MaintenancePolicy {
    MaintenancePolicy { seal_events: events, seal_after: Duration::ZERO, grace: Duration::ZERO, ..Default::default() }
}

/// A second after events arrive.
fn later() -> DateTime<Utc> {
    arrival() + TimeDelta::seconds(1)
}

/// Events `from..until`, of ten runs.
fn numbered(from: i64, until: i64) -> Vec<WireEvent> {
    (from..until).map(|n| event(Some(&format!("e{n}")), &format!("run {}", n % 10), n)).collect()
}

/// Everything that is kept, in the order of arrival, without what sealing must not change.
async fn everything(store: &SqliteStore) -> Vec<KeptEvent> {
    let mut kept = kept(&store.store(), EventFilter::default()).await;
    kept.sort_by_key(|event| event.seq);
    kept
}

/// How many rows the tables of log, manifest and garbage have.
async fn counts(store: &SqliteStore) -> [i64; 3] {
    store
        .read("counting", |connection| {
            let count = |table: &str| {
                connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            };
            Ok([count("ingest_log")?, count("ingest_segments")?, count("ingest_garbage")?])
        })
        .await
        .unwrap()
}
