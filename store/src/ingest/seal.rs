//! Sealing, compaction, retention: how the log becomes files, small files become larger ones, and old ones go.
//!
//! Owns the order of the steps. A file goes through these, each a transaction or a change of the shelf:
//! 1. its path is noted in `ingest_garbage` (whatever happens from here on, the file is found and removed);
//! 2. it is put on the shelf, and is on disk;
//! 3. in one transaction the manifest gets it, the garbage loses it, and what it replaces goes: rows of the log, or the
//!    smaller files, which become garbage themselves;
//! 4. garbage is removed once no query reads it any more.
//!
//! Must hold: at every moment each event is in the log or in exactly one file of the manifest.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, params};

use super::append::catch_up;
use super::codec::for_each_of_row;
use super::keys::horizon;
use super::schema::{Column, Rows};
use super::segment::{self, Segment, Written};
use crate::model::ProjectId;
use crate::sqlite::{DbResult, SqliteStore, micros, read_error, run};
use crate::{Result, StoreError};

/// Hard enough for what is written once or twice and read often.
const LEVEL: i32 = 3;
/// Rows of a batch on the way into a file.
const BATCH: usize = 32_768;
/// Small files of a day from which on they are made one, while the day lasts.
const MANY: usize = 8;
/// Rows of keys that are forgotten at once.
const FEW: usize = 200;
/// A file of the garbage that is still being written has this time.
const BEING_WRITTEN: i64 = 0;

/// When what is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenancePolicy {
    /// Events in the log from which on they are sealed; also the most that one file is made of.
    pub seal_events: u64,
    /// How long an event waits in the log at most.
    pub seal_after: Duration,
    /// Events that a file has after compaction, at most.
    pub file_events: u64,
    /// How long events are kept; for ever when not given.
    pub keep_for: Option<Duration>,
    /// How long a file that was replaced stays, for queries that began before.
    pub grace: Duration,
}

impl Default for MaintenancePolicy {
    fn default() -> Self {
        Self {
            seal_events: 131_072,
            seal_after: Duration::from_secs(60),
            file_events: 262_144,
            keep_for: None,
            grace: Duration::from_secs(600),
        }
    }
}

/// What maintenance did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Events that went from the log into files.
    pub sealed: u64,
    /// Files that were made one with others.
    pub compacted: u64,
    /// Files whose events were kept long enough.
    pub expired: u64,
    /// Files that were removed from the shelf.
    pub removed: u64,
}

impl SqliteStore {
    /// Does what is due: removes garbage, seals, compacts, lets old events go. One call at a time; a second waits.
    ///
    /// # Errors
    /// The first failure; what was done before it stands, and the next call goes on.
    pub async fn maintain_events(&self, now: DateTime<Utc>, policy: &MaintenancePolicy) -> Result<Maintained> {
        let _turn = self.log().maintenance.lock().await;
        let mut done = Maintained { removed: self.sweep(now, policy).await?, ..Maintained::default() };
        for project in self.projects_with_events().await? {
            while let Some(sealed) = self.seal(&project, now, policy).await? {
                done.sealed += sealed;
            }
            while let Some(files) = self.compact(&project, now, policy).await? {
                done.compacted += files;
            }
        }
        done.expired = self.expire(now, policy).await?;
        self.forget_keys(now).await?;
        Ok(done)
    }

    /// Takes in the keys of the last day, so that the first batch after a start does not wait for it.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn recall_events(&self, now: DateTime<Utc>) -> Result<()> {
        let log = Arc::clone(self.log());
        self.write("recalling the events of the last day", move |tx| {
            let mut keys = log.keys.lock().unwrap_or_else(PoisonError::into_inner);
            catch_up(tx.connection, &mut keys, micros(now)).map(drop)
        })
        .await
    }

    async fn projects_with_events(&self) -> Result<Vec<ProjectId>> {
        self.read("listing projects with events", |connection| {
            let sql = "SELECT project_id FROM ingest_log UNION SELECT project_id FROM ingest_segments";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(rows.map(|id| id.map(ProjectId::new)).collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Seals the oldest events of a project, if it is time; how many.
    async fn seal(&self, project: &ProjectId, now: DateTime<Utc>, policy: &MaintenancePolicy) -> Result<Option<u64>> {
        let old = micros(before(now, policy.seal_after));
        let (most, of) = (policy.seal_events.max(1), project.clone());
        let due = self.read("looking for events to seal", move |connection| oldest(connection, &of, old, most)).await?;
        let Some((first_seq, last_seq, bytes)) = due else { return Ok(None) };
        let (readers, of) = (self.readers().clone(), project.clone());
        let written = blocking("sealing events", move || {
            let reader = readers.connection()?;
            let batches = rows_of_log(reader.raw()?, &of, first_seq, last_seq)?;
            segment::write(batches, LEVEL)
        })
        .await?;
        let rows = written.segment.rows;
        let of = project.clone();
        self.publish(project, now, written, move |connection, _| {
            let sql = "DELETE FROM ingest_log WHERE project_id = ?1 AND first_seq BETWEEN ?2 AND ?3";
            run(connection, sql, params![of, first_seq, last_seq]).map(drop)
        })
        .await?;
        // Rows that another process appended were never counted here.
        let less = |unsealed: u64| Some(unsealed.saturating_sub(bytes.unsigned_abs()));
        let _ = self.log().unsealed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        Ok(Some(rows as u64))
    }

    /// Makes one file of the first few small neighbours of a project; how many they were.
    async fn compact(
        &self,
        project: &ProjectId,
        now: DateTime<Utc>,
        policy: &MaintenancePolicy,
    ) -> Result<Option<u64>> {
        let of = project.clone();
        let segments = self.read("looking for small files", move |connection| manifest(connection, &of)).await?;
        let Some(small) = neighbours(&segments, now, policy.file_events) else { return Ok(None) };
        let count = small.len() as u64;
        let (shelf, files) = (self.log().shelf.clone(), small.clone());
        let written = blocking("compacting files of events", move || {
            let mut batches = Vec::new();
            for file in &files {
                batches.extend(segment::read_all(shelf.open(&file.path)?)?);
            }
            segment::write(batches, LEVEL)
        })
        .await?;
        if written.segment.rows != small.iter().map(|segment| segment.rows).sum::<i64>() {
            let reason = "its files have other numbers of events than the manifest says".to_owned();
            return Err(StoreError::Corrupt { what: "file of events", reason });
        }
        let of = project.clone();
        self.publish(project, now, written, move |connection, now| {
            small.iter().try_for_each(|segment| retire(connection, &of, &segment.path, now))
        })
        .await?;
        Ok(Some(count))
    }

    /// Takes a file through its steps; `replaces` removes what it stands for.
    async fn publish(
        &self,
        project: &ProjectId,
        now: DateTime<Utc>,
        written: Written,
        replaces: impl FnOnce(&Connection, DateTime<Utc>) -> DbResult<()> + Send + 'static,
    ) -> Result<()> {
        let Written { bytes, mut segment } = written;
        let (of, first, last) = (project.clone(), segment.first_seq, segment.last_seq);
        let path = self
            .write("announcing a file of events", move |tx| {
                let id: String = tx.ids.next(now);
                let path = format!("{of}/{}/{first}-{last}-{id}.parquet", now.format("%Y%m%d"));
                let sql = "INSERT INTO ingest_garbage (project_id, path, retired_at) VALUES (?1, ?2, ?3)";
                run(tx.connection, sql, params![of, path, BEING_WRITTEN])?;
                Ok(path)
            })
            .await?;
        self.log().shelf.put(&path, bytes.into()).await?;
        segment.path = path;
        let of = project.clone();
        self.write("publishing a file of events", move |tx| {
            let sql =
                "INSERT INTO ingest_segments (project_id, path, first_seq, last_seq, rows, bytes, min_occurred_at,
                           max_occurred_at, min_received_at, max_received_at, sealed_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
            let values = params![
                of,
                segment.path,
                segment.first_seq,
                segment.last_seq,
                segment.rows,
                segment.bytes,
                segment.min_occurred_at,
                segment.max_occurred_at,
                segment.min_received_at,
                segment.max_received_at,
                micros(now)
            ];
            run(tx.connection, sql, values)?;
            let sql = "DELETE FROM ingest_garbage WHERE project_id = ?1 AND path = ?2";
            run(tx.connection, sql, params![of, segment.path])?;
            replaces(tx.connection, now)
        })
        .await
    }

    /// Lets go of files whose newest event arrived too long ago.
    async fn expire(&self, now: DateTime<Utc>, policy: &MaintenancePolicy) -> Result<u64> {
        let Some(keep_for) = policy.keep_for else { return Ok(0) };
        let old = micros(before(now, keep_for));
        let sql = "SELECT project_id, path FROM ingest_segments WHERE max_received_at < ?1";
        let expired = self.read("looking for old files", move |connection| pairs(connection, sql, old)).await?;
        if expired.is_empty() {
            return Ok(0);
        }
        self.write("letting old events go", move |tx| {
            expired.iter().try_for_each(|(project, path)| retire(tx.connection, project, path, now))?;
            Ok(expired.len() as u64)
        })
        .await
    }

    /// Removes the garbage that nobody reads any more.
    async fn sweep(&self, now: DateTime<Utc>, policy: &MaintenancePolicy) -> Result<u64> {
        let old = micros(before(now, policy.grace)).max(BEING_WRITTEN);
        let sql = "SELECT project_id, path FROM ingest_garbage WHERE retired_at <= ?1";
        let garbage = self.read("looking for garbage", move |connection| pairs(connection, sql, old)).await?;
        let count = garbage.len() as u64;
        for (project, path) in garbage {
            self.log().shelf.remove(&path).await?;
            self.write("forgetting a removed file", move |tx| {
                let sql = "DELETE FROM ingest_garbage WHERE project_id = ?1 AND path = ?2";
                run(tx.connection, sql, params![project, path])
            })
            .await?;
        }
        Ok(count)
    }

    async fn forget_keys(&self, now: DateTime<Utc>) -> Result<()> {
        let old = horizon(micros(now));
        let sql = "SELECT 1 FROM ingest_keys WHERE received_at < ?1 LIMIT 1";
        let mut some = self
            .read("looking for old keys", move |connection| Ok(connection.prepare_cached(sql)?.exists([old])?))
            .await?;
        let sql = format!(
            "DELETE FROM ingest_keys WHERE rowid IN (SELECT rowid FROM ingest_keys WHERE received_at < ?1 LIMIT {FEW})"
        );
        while some {
            // Events that arrive meanwhile wait for each.
            let sql = sql.clone();
            some = self.write("forgetting old keys", move |tx| Ok(tx.connection.execute(&sql, [old])? == FEW)).await?;
        }
        Ok(())
    }
}

fn before(now: DateTime<Utc>, by: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(by).ok().and_then(|by| now.checked_sub_signed(by)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Internal { doing }))
}

/// First and last number, and bytes, of the oldest rows of the log of a project, at most `most` events of them (one row
/// at least), if there are so many or the oldest arrived before `old`.
fn oldest(connection: &Connection, project: &ProjectId, old: i64, most: u64) -> DbResult<Option<(i64, i64, i64)>> {
    let sql = "SELECT first_seq, last_seq, received_at, bytes FROM ingest_log WHERE project_id = ?1 ORDER BY first_seq";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![project])?;
    let mut found: Option<(i64, i64, i64)> = None;
    let (mut is_due, mut events) = (false, 0);
    while let Some(row) = rows.next()? {
        let (first, last, received_at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let bytes: i64 = row.get(3)?;
        is_due |= received_at <= old;
        events += (last - first + 1).unsigned_abs();
        found = Some(match found {
            Some(_) if events > most => break,
            Some((begin, _, sum)) => (begin, last, sum + bytes),
            None => (first, last, bytes),
        });
    }
    Ok(found.filter(|_| is_due || events >= most))
}

fn rows_of_log(
    connection: &Connection,
    project: &ProjectId,
    first_seq: i64,
    last_seq: i64,
) -> Result<Vec<arrow::array::RecordBatch>> {
    let failed = read_error("reading events to seal");
    let unbuilt = |error: arrow::error::ArrowError| StoreError::Corrupt { what: "event", reason: error.to_string() };
    let sql = "SELECT first_seq, events FROM ingest_log WHERE project_id = ?1 AND first_seq BETWEEN ?2 AND ?3
               ORDER BY first_seq";
    let mut statement = connection.prepare_cached(sql).map_err(&failed)?;
    // All of it before any of it is unpacked: while a statement reads, the write-ahead log only grows, and the writer has
    // all the more to do afterwards.
    let rows = statement.query_map(params![project, first_seq, last_seq], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Vec<(i64, Vec<u8>)> = rows.and_then(Iterator::collect).map_err(&failed)?;
    let mut batch = Rows::new(&Column::ALL).map_err(unbuilt)?;
    let mut batches = Vec::new();
    for (mut seq, events) in rows {
        for_each_of_row(&events, |event| {
            batch.push(seq, &event);
            seq += 1;
            Ok::<_, StoreError>(())
        })?;
        if batch.count >= BATCH {
            batches.push(batch.take().map_err(unbuilt)?);
        }
    }
    if batch.count > 0 {
        batches.push(batch.take().map_err(unbuilt)?);
    }
    Ok(batches)
}

fn manifest(connection: &Connection, project: &ProjectId) -> DbResult<Vec<Segment>> {
    let sql = format!("SELECT {} FROM ingest_segments WHERE project_id = ?1 ORDER BY first_seq", Segment::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![project], Segment::read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The first neighbours that are worth making one: small, of one day (so that retention lets go of a day at a time), and
/// many, or all of a day that is over.
fn neighbours(segments: &[Segment], now: DateTime<Utc>, most: u64) -> Option<Vec<Segment>> {
    const DAY_US: i64 = 86_400_000_000;
    let day = |segment: &Segment| segment.max_received_at.div_euclid(DAY_US);
    let today = micros(now).div_euclid(DAY_US);
    let is_small = |segment: &Segment| segment.rows.unsigned_abs() <= most / 2;
    let mut found: Vec<&Segment> = Vec::new();
    let mut rows = 0;
    let is_worth = |found: &[&Segment]| {
        found.len() >= MANY || (found.len() >= 2 && found.first().is_some_and(|first| day(first) < today))
    };
    for segment in segments {
        let goes_on = found.last().is_none_or(|last| day(last) == day(segment));
        if is_small(segment) && goes_on && rows + segment.rows.unsigned_abs() <= most {
            rows += segment.rows.unsigned_abs();
            found.push(segment);
            continue;
        }
        if is_worth(&found) {
            break;
        }
        found.clear();
        rows = 0;
        if is_small(segment) {
            rows = segment.rows.unsigned_abs();
            found.push(segment);
        }
    }
    is_worth(&found).then(|| found.into_iter().cloned().collect())
}

/// A file leaves the manifest and becomes garbage.
fn retire(connection: &Connection, project: &ProjectId, path: &str, now: DateTime<Utc>) -> DbResult<()> {
    let sql = "DELETE FROM ingest_segments WHERE project_id = ?1 AND path = ?2";
    run(connection, sql, params![project, path])?;
    let sql = "INSERT INTO ingest_garbage (project_id, path, retired_at) VALUES (?1, ?2, ?3)";
    run(connection, sql, params![project, path, micros(now)]).map(drop)
}

fn pairs(connection: &Connection, sql: &str, bound: i64) -> DbResult<Vec<(ProjectId, String)>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([bound], |row| Ok((ProjectId::new(row.get::<_, String>(0)?), row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
