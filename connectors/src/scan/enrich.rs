//! Columns that cost further requests: one per row (detail), or one per batch of rows (aggregates of another table).
//!
//! Must hold: a row that a cheap predicate drops costs no further request; with a limit only as many rows are filled in
//! as may be needed before the consumer asks again.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions,
    TimestampMicrosecondBuilder, new_null_array,
};
use arrow::compute::{concat, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use async_stream::try_stream;
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt, stream};
use tripline_engine::{Constraints, Predicate, ScanErrorKind, ScanRequest};

use super::job::Job;
use super::{Batches, run_scan};
use crate::decode::{Constants, Decoder};
use crate::filter;
use crate::http::{Ask, Failure, Target};
use crate::plan;
use crate::spec::{Aggregate, Function, Part, Slot};

/// Most keys of one aggregate scan.
const KEYS: usize = 100;

/// Fills in the columns of `batches` that need further requests.
pub(crate) fn enrich(job: Arc<Job>, batches: Batches) -> Batches {
    if job.plan.details.is_empty() && job.plan.aggregates.is_empty() {
        return batches;
    }
    Box::pin(try_stream! {
        let cheap = cheap_constraints(&job);
        let detail = Decoder::detail(&job.table, &job.plan.details);
        for await batch in batches {
            let batch = batch?;
            let (mask, _) = filter::keep(&batch, &cheap);
            let batch = filter_record_batch(&batch, &mask).map_err(|e| broken(&job, &e))?;
            let chunk = job.plan.limit.unwrap_or(usize::MAX).clamp(1, batch.num_rows().max(1));
            for start in (0..batch.num_rows()).step_by(chunk) {
                let mut part = batch.slice(start, chunk.min(batch.num_rows() - start));
                if !job.plan.details.is_empty() {
                    part = fill_details(&job, &detail, &part).await?;
                }
                if !job.plan.aggregates.is_empty() {
                    part = fill_aggregates(&job, &part).await?;
                }
                yield part;
            }
        }
    })
}

fn broken(job: &Job, error: &dyn std::fmt::Display) -> Failure {
    job.error(ScanErrorKind::Malformed, format!("filling in columns failed: {error}")).into()
}

/// The query's constraints on columns that are already there.
fn cheap_constraints(job: &Job) -> Constraints {
    let mut cheap = Constraints::none();
    for (name, constraint) in job.plan.constraints.iter() {
        let costly = job
            .table
            .column(name)
            .is_none_or(|index| job.plan.details.contains(&index) || job.plan.aggregates.contains(&index));
        if !costly {
            plan::copy_constraint(constraint, name, &mut cheap);
        }
    }
    cheap
}

/// Replaces `columns` of a batch.
fn replace(job: &Job, batch: &RecordBatch, columns: Vec<(usize, ArrayRef)>) -> Result<RecordBatch, Failure> {
    let mut arrays = batch.columns().to_vec();
    for (column, array) in columns {
        if let Ok(position) = job.plan.columns.binary_search(&column) {
            arrays[position] = array;
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), arrays, &options).map_err(|e| broken(job, &e))
}

/// One request per row.
async fn fill_details(job: &Arc<Job>, decoder: &Decoder, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let rows: Vec<RecordBatch> = stream::iter(0..batch.num_rows())
        .map(|row| detail_of(job, decoder, batch, row))
        .buffered(job.concurrency())
        .try_collect()
        .await?;
    let mut columns = Vec::new();
    for (position, column) in job.plan.details.iter().enumerate() {
        let parts: Vec<&dyn Array> = rows.iter().map(|row| row.column(position).as_ref()).collect();
        columns.push((*column, concat(&parts).map_err(|e| broken(job, &e))?));
    }
    replace(job, batch, columns)
}

/// The detail columns of one row. A row that is gone by now has none.
async fn detail_of(job: &Job, decoder: &Decoder, batch: &RecordBatch, row: usize) -> Result<RecordBatch, Failure> {
    let mut path = String::new();
    for part in job.table.detail.iter().flat_map(|template| &template.0) {
        match part {
            Part::Literal(text) => path.push_str(text),
            // A spec's `detail` cannot hold the time.
            Part::Slot(Slot::Now(_)) => {}
            Part::Slot(Slot::Input(index)) => path.push_str(&job.path_part(job.shared.client.input(*index))?),
            Part::Slot(Slot::Column(index)) => {
                let position = job.plan.columns.binary_search(index).ok();
                let value = position.and_then(|p| ScalarValue::try_from_array(batch.column(p), row).ok());
                let Some(text) = value.as_ref().and_then(plan::text) else { return nothing(job, decoder) };
                path.push_str(&job.path_part(&text)?);
            }
        }
    }
    let url = Target { path, ..Target::default() }.url(job.shared.client.base(&job.table.name)?);
    let ask =
        Ask { run: &job.run, table: &job.table.name, absent: &[404, 410], probing: false, body: None, held: None };
    let answer = job.shared.client.get(&url, ask, |body| decoder.decode(body, &Constants::new())).await;
    match answer {
        Ok(answer) => Ok(answer.value.batch),
        Err(Failure::Absent(_)) => {
            job.run.stats.note("some rows vanished before their details could be read; those are NULL");
            nothing(job, decoder)
        }
        Err(failure) => Err(failure),
    }
}

fn nothing(job: &Job, decoder: &Decoder) -> Result<RecordBatch, Failure> {
    let schema = Arc::clone(decoder.schema());
    let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    RecordBatch::try_new(schema, columns).map_err(|e| broken(job, &e))
}

/// What is known of one key's rows in the other table, per aggregate column.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: i64,
    sum: Option<f64>,
    earliest: Option<i64>,
    latest: Option<i64>,
}

/// One scan of the other table per [`KEYS`] rows.
async fn fill_aggregates(job: &Arc<Job>, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
    let Some(aggregate) = &job.endpoint().aggregate else { return Ok(batch.clone()) };
    let key_position = job.table.primary_key.first().and_then(|key| job.plan.columns.binary_search(key).ok());
    let Some(keys) = key_position.and_then(|p| batch.column(p).as_string_opt::<i32>()) else {
        return Ok(batch.clone());
    };
    let wanted: Vec<(usize, Function)> =
        aggregate.columns.iter().copied().filter(|(column, _)| job.plan.aggregates.contains(column)).collect();
    let mut tallies: HashMap<String, Vec<Tally>> = HashMap::new();
    let all: Vec<&str> = keys.iter().flatten().collect();
    for chunk in all.chunks(KEYS) {
        for key in chunk {
            tallies.insert((*key).to_owned(), vec![Tally::default(); wanted.len()]);
        }
        tally(job, aggregate, &wanted, chunk, &mut tallies).await?;
    }
    let columns = wanted.iter().enumerate().map(|(position, (column, function))| {
        let of = |key: Option<&str>| key.and_then(|key| tallies.get(key)).map(|tallies| tallies[position]);
        (*column, column_of(*function, keys.iter().map(of)))
    });
    replace(job, batch, columns.collect())
}

fn column_of(function: Function, tallies: impl Iterator<Item = Option<Tally>>) -> ArrayRef {
    match function {
        Function::Count(_) => {
            let mut builder = Int64Builder::new();
            tallies.for_each(|t| builder.append_option(t.map(|t| t.count)));
            Arc::new(builder.finish())
        }
        Function::Sum(_) => {
            let mut builder = Float64Builder::new();
            tallies.for_each(|t| builder.append_option(t.and_then(|t| t.sum)));
            Arc::new(builder.finish())
        }
        Function::Span(..) => {
            let mut builder = Float64Builder::new();
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a duration stay well below 2^52")]
            let seconds = |t: Tally| Some(t.latest?.saturating_sub(t.earliest?) as f64 / 1e6);
            tallies.for_each(|t| builder.append_option(t.and_then(seconds)));
            Arc::new(builder.finish())
        }
        Function::Min(_) | Function::Max(_) => {
            let mut builder = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            let pick = |t: Tally| if matches!(function, Function::Min(_)) { t.earliest } else { t.latest };
            tallies.for_each(|t| builder.append_option(t.and_then(pick)));
            Arc::new(builder.finish())
        }
    }
}

/// Reads the rows of `keys` in the other table and adds them up.
async fn tally(
    job: &Arc<Job>,
    aggregate: &Aggregate,
    wanted: &[(usize, Function)],
    keys: &[&str],
    tallies: &mut HashMap<String, Vec<Tally>>,
) -> Result<(), Failure> {
    let source = Arc::clone(job.shared.client.spec());
    let there = Arc::clone(&source.tables[aggregate.table]);
    let mut projection: Vec<usize> = wanted
        .iter()
        .flat_map(|(_, function)| match *function {
            Function::Sum(c) | Function::Count(c) | Function::Min(c) | Function::Max(c) => vec![c],
            Function::Span(from, to) => vec![from, to],
        })
        .chain([aggregate.key])
        .collect();
    projection.sort_unstable();
    projection.dedup();
    let mut constraints = Constraints::none();
    let values = keys.iter().map(|key| ScalarValue::Utf8(Some((*key).to_owned()))).collect();
    constraints.add(&there.columns[aggregate.key].name, Predicate::In(values));
    let request = ScanRequest { projection: projection.clone(), constraints, ..ScanRequest::default() };
    let mut rows = run_scan(Arc::clone(&job.shared), there, request, job.run.clone(), false);
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let column = |index: usize| projection.binary_search(&index).ok().map(|position| batch.column(position));
        let Some(owners) = column(aggregate.key).and_then(|array| array.as_string_opt::<i32>()) else { continue };
        for row in 0..batch.num_rows() {
            // A vendor that ignored the keys sends others' rows too; they are nobody's.
            let Some(tallies) = owners.is_valid(row).then(|| tallies.get_mut(owners.value(row))).flatten() else {
                continue;
            };
            for ((_, function), tally) in wanted.iter().zip(tallies) {
                add(tally, *function, row, &column);
            }
        }
    }
    Ok(())
}

fn add<'b>(tally: &mut Tally, function: Function, row: usize, column: &impl Fn(usize) -> Option<&'b ArrayRef>) {
    let time = |index: usize| {
        let times = column(index)?.as_primitive_opt::<TimestampMicrosecondType>()?;
        times.is_valid(row).then(|| times.value(row))
    };
    let earlier = |known: Option<i64>, time: Option<i64>| known.into_iter().chain(time).min();
    let later = |known: Option<i64>, time: Option<i64>| known.into_iter().chain(time).max();
    match function {
        Function::Count(index) => {
            tally.count += i64::from(column(index).is_some_and(|array| array.is_valid(row)));
        }
        Function::Sum(index) => {
            let number = column(index).filter(|array| *array.data_type() == DataType::Float64 && array.is_valid(row));
            if let Some(number) = number.map(|array| array.as_primitive::<Float64Type>().value(row)) {
                tally.sum = Some(tally.sum.unwrap_or(0.0) + number);
            }
        }
        Function::Min(index) => tally.earliest = earlier(tally.earliest, time(index)),
        Function::Max(index) => tally.latest = later(tally.latest, time(index)),
        Function::Span(from, to) => {
            tally.earliest = earlier(tally.earliest, time(from));
            tally.latest = later(tally.latest, time(to));
        }
    }
}
