//! Reading: one snapshot of manifest and log, streamed as batches.
//!
//! Must hold: an event is in a snapshot once, whether it is sealed or not; memory is bounded by batches; whoever drops
//! the stream stops the reading.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use datafusion::common::{DataFusionError, Result as SqlResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use rusqlite::params;
use tokio::sync::mpsc::Sender;

use super::EventFilter;
use super::codec::for_each_of_row;
use super::filter::Wanted;
use super::schema::{Column, Rows, events_schema};
use super::segment::{self, Segment};
use super::shelf::Shelf;
use crate::StoreError;
use crate::model::Scope;
use crate::sqlite::{Reader, Readers, SqliteStore, read_error};

/// Batches that may wait for the reader of a stream.
pub(super) const AHEAD: usize = 2;
/// Rows of a batch where nobody says otherwise.
const BATCH_ROWS: usize = 8_192;
/// A batch is handed on once it has this much text.
const BATCH_BYTES: usize = 4 << 20;
const DOING: &str = "reading the event log";

/// What is read, and from where.
#[derive(Clone)]
pub(super) struct Scan {
    pub readers: Readers,
    pub shelf: Shelf,
    pub scope: Scope,
    pub wanted: Arc<Wanted>,
    pub columns: Vec<Column>,
}

/// Manifest and log at one moment, shared by the partitions of a scan.
pub(super) struct Snapshot {
    /// Inside the transaction that saw the manifest. Whoever takes it reads the log.
    log: Mutex<Option<Reader>>,
    segments: Mutex<VecDeque<Segment>>,
}

impl Scan {
    /// Takes a snapshot. Blocks for the reading of the manifest.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let failed = read_error(DOING);
        let reader = self.readers.connection()?;
        let mut segments = VecDeque::new();
        {
            let connection = reader.raw()?;
            connection.execute_batch("BEGIN").map_err(&failed)?;
            let sql = format!(
                "SELECT {} FROM ingest_segments WHERE project_id = ?1 ORDER BY first_seq DESC",
                Segment::COLUMNS
            );
            let mut statement = connection.prepare_cached(&sql).map_err(&failed)?;
            let rows = statement.query_map(params![self.scope.project_id()], Segment::read).map_err(&failed)?;
            for segment in rows {
                let segment = segment.map_err(&failed)?;
                if self.wanted.may_be_in(&segment) {
                    segments.push_back(segment);
                }
            }
        }
        Ok(Snapshot { log: Mutex::new(Some(reader)), segments: Mutex::new(segments) })
    }

    /// Reads from a snapshot until nothing is left of it or nobody listens.
    pub(super) fn read(&self, snapshot: &Snapshot, batch_rows: usize, output: &Output) -> Result<(), StoreError> {
        let log = snapshot.log.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = log
            && !self.read_log(&reader, batch_rows, output)?
        {
            return Ok(());
        }
        loop {
            let segment = snapshot.segments.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(segment) = segment else { return Ok(()) };
            let file = self.shelf.open(&segment.path)?;
            let mut goes_on = true;
            segment::read(file, &segment, &self.wanted, &self.columns, batch_rows, |batch| {
                goes_on = output.send(self.in_order(batch));
                goes_on
            })?;
            if !goes_on || output.is_closed() {
                return Ok(());
            }
        }
    }

    /// A file's columns come in the order of the schema.
    fn in_order(&self, batch: RecordBatch) -> SqlResult<RecordBatch> {
        if self.columns.is_sorted_by_key(|column| column.index()) {
            return Ok(batch);
        }
        let at = |column: &Column| batch.schema_ref().index_of(column.name());
        let indexes: Result<Vec<_>, _> = self.columns.iter().map(at).collect();
        Ok(batch.project(&indexes?)?)
    }

    /// Reads the rows of the log; whether somebody still listens.
    fn read_log(&self, reader: &Reader, batch_rows: usize, output: &Output) -> Result<bool, StoreError> {
        let failed = read_error(DOING);
        let connection = reader.raw()?;
        let sql = "SELECT first_seq, events FROM ingest_log
                   WHERE project_id = ?1 AND last_seq > ?2 AND max_occurred_at >= ?3 AND min_occurred_at < ?4
                     AND received_at >= ?5
                   ORDER BY first_seq";
        let wanted = &self.wanted;
        let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
        let mut rows = statement
            .query(params![
                self.scope.project_id(),
                wanted.seq_after,
                wanted.occurred.from,
                wanted.occurred.until,
                wanted.received.from
            ])
            .map_err(&failed)?;
        let mut batch = Rows::new(&self.columns).map_err(unbuilt)?;
        while let Some(row) = rows.next().map_err(&failed)? {
            let mut seq: i64 = row.get(0).map_err(&failed)?;
            let events = row.get_ref(1).map_err(&failed)?;
            let events = events.as_blob().map_err(|_| StoreError::Corrupt {
                what: "row of the event log",
                reason: "it is no blob".to_owned(),
            })?;
            for_each_of_row(events, |event| {
                if wanted.wants(seq, &event) {
                    batch.push(seq, &event);
                    if (batch.count >= batch_rows || batch.bytes >= BATCH_BYTES) && !output.send(take(&mut batch)) {
                        return Err(Stop::Unheard);
                    }
                }
                seq += 1;
                Ok(())
            })
            .or_else(|stop| match stop {
                Stop::Unheard => Ok(()),
                Stop::Failed(error) => Err(error),
            })?;
            if output.is_closed() {
                return Ok(false);
            }
        }
        Ok(batch.count == 0 || output.send(take(&mut batch)))
    }
}

enum Stop {
    Unheard,
    Failed(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

fn take(rows: &mut Rows) -> SqlResult<RecordBatch> {
    Ok(rows.take()?)
}

fn unbuilt(error: arrow::error::ArrowError) -> StoreError {
    StoreError::Corrupt { what: "event", reason: error.to_string() }
}

/// Where batches go.
pub(super) struct Output(pub Sender<SqlResult<RecordBatch>>);

impl Output {
    /// Whether somebody wanted it.
    fn send(&self, batch: SqlResult<RecordBatch>) -> bool {
        self.0.blocking_send(batch).is_ok()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

pub(super) fn external(error: StoreError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// What [`EventLog::scan`](super::EventLog::scan) does.
pub(super) fn stream(
    store: &SqliteStore,
    scope: &Scope,
    filter: EventFilter,
) -> Result<SendableRecordBatchStream, StoreError> {
    let indexes = filter.columns.clone().unwrap_or_else(|| (0..Column::ALL.len()).collect());
    let columns: Option<Vec<Column>> = indexes.iter().map(|index| Column::ALL.get(*index).copied()).collect();
    let columns = columns.ok_or_else(|| StoreError::invalid("columns", "there is no such column of ingest.events"))?;
    let schema = events_schema().project(&indexes).map_err(unbuilt)?;
    let scan = Scan {
        readers: store.readers().clone(),
        shelf: store.log().shelf.clone(),
        scope: scope.clone(),
        wanted: Arc::new(Wanted::new(&filter)),
        columns,
    };
    let mut builder = RecordBatchReceiverStream::builder(Arc::new(schema), AHEAD);
    if !scan.wanted.is_empty() {
        let output = Output(builder.tx());
        builder.spawn_blocking(move || {
            let snapshot = scan.snapshot().map_err(external)?;
            scan.read(&snapshot, BATCH_ROWS, &output).map_err(external)
        });
    }
    Ok(builder.build())
}
