//! Running a scan: from a request to a stream of batches.
//!
//! Owns: choosing the API generation, walking listings page by page, fanning out over keys, filling in columns that
//! cost further requests. Does not own: what to ask (`plan`), sending (`http`), reading (`decode`).
//!
//! Must hold: nothing is sent before the stream is polled; dropping the stream aborts what is under way; a page is
//! fetched only when the rows before it may not be enough; what is missing is an error or a stated gap.

mod enrich;
mod fan_out;
mod job;
mod listing;
mod merge;
mod rows;
mod split;

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_stream::try_stream;
use futures::StreamExt;
use futures::stream::BoxStream;
use tripline_engine::{PageStream, ScanError, ScanErrorKind, ScanRequest, ScanRun};

use self::job::Job;
use crate::filter;
use crate::generations::Generations;
use crate::http::{Failure, SourceClient};
use crate::plan;
use crate::spec::TableSpec;

/// What all scans of a source share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) client: SourceClient,
    pub(crate) generations: Arc<Generations>,
}

/// Batches of a walk, before they are cut to the projection.
type Batches = BoxStream<'static, Result<RecordBatch, Failure>>;

/// Scans `table` for a query.
pub(crate) fn scan(shared: Arc<Shared>, table: Arc<TableSpec>, request: ScanRequest, run: ScanRun) -> PageStream {
    let stats = Arc::clone(&run.stats);
    let (constraints, limit) = (request.constraints.clone(), request.limit);
    let inner = run_scan(shared, table, request, run, true);
    Box::pin(try_stream! {
        let mut matched = 0;
        for await batch in inner {
            let batch = batch?;
            if let Some(limit) = limit {
                // The consumer stops at its limit, without saying so; what it asked for is then delivered.
                let (kept, certain) = filter::keep(&batch, &constraints);
                matched += if certain { kept.true_count() } else { 0 };
                if matched >= limit {
                    stats.finish();
                }
            }
            yield batch;
        }
        stats.finish();
    })
}

/// Scans `table`, for a query or (when not `own`) for another scan of the same source.
fn run_scan(shared: Arc<Shared>, table: Arc<TableSpec>, request: ScanRequest, run: ScanRun, own: bool) -> PageStream {
    Box::pin(try_stream! {
        let source = Arc::clone(shared.client.spec());
        let base = shared.client.base(&table.name)?.clone();
        if request.constraints.is_contradiction() || request.limit == Some(0) {
            return;
        }
        require_keys(&source, &table, &request)?;
        let clock = Arc::clone(shared.client.clock());
        let mut endpoint = shared.generations.first(&base, &table, clock.now());
        // Endpoints that this scan itself found absent.
        let mut found_absent = 0;
        let mut forgot = false;
        loop {
            let plan = plan::plan(&source, &table, &table.endpoints[endpoint], &request);
            if plan.nothing {
                return;
            }
            // An absent endpoint is of use only where there is another one to go to.
            let assumed = endpoint > found_absent;
            let alternatives = endpoint + 1 < table.endpoints.len() || (assumed && !forgot);
            let job = Job::new(&shared, &table, endpoint, plan, &run, alternatives, own);
            let mut batches = job.run();
            let mut first = batches.next().await;
            if let Some(Err(Failure::Absent(error))) = first {
                drop(batches);
                if assumed && !forgot {
                    // What was remembered is out of date.
                    shared.generations.forget(&base, &table);
                    forgot = true;
                    endpoint = 0;
                    found_absent = 0;
                } else if endpoint + 1 < table.endpoints.len() {
                    endpoint += 1;
                    found_absent = endpoint;
                } else {
                    Err(*error)?;
                }
                continue;
            }
            if found_absent > 0 && !matches!(first, Some(Err(_))) {
                shared.generations.learn(&base, &table, found_absent, clock.now());
            }
            job.note();
            while let Some(batch) = first {
                yield job.project(&batch.map_err(Failure::into_error)?, &request.projection)?;
                first = batches.next().await;
            }
            return;
        }
    })
}

/// Fails for keys that the query does not pin, naming them.
fn require_keys(source: &crate::spec::SourceSpec, table: &TableSpec, request: &ScanRequest) -> Result<(), ScanError> {
    if let Some(column) = plan::unbounded(table, &request.constraints) {
        let detail = format!("`{column}` must be bounded from below");
        let hint = format!("as in WHERE {column} >= now() - INTERVAL '1 day'");
        return Err(ScanError::new(&source.name, &table.name, ScanErrorKind::MissingKey, detail).hint(hint));
    }
    let missing = plan::missing_keys(source, table, &request.constraints);
    let Some(key) = missing.first() else { return Ok(()) };
    let alternatives: Vec<String> = key.any_of.iter().map(|set| set.join(" and ")).collect();
    let detail = format!("`{}` must be pinned with = or IN", alternatives.join("` or `"));
    Err(ScanError::new(&source.name, &table.name, ScanErrorKind::MissingKey, detail).hint(key.example.clone()))
}
