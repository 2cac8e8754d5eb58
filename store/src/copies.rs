//! Local copies of remote tables as Parquet files.
//!
//! Owns: the folder of copies. A copy is a folder of its own: files of neighbouring hours, newest row first, each hour in
//! one of them, and a manifest (`manifest`) that says which files count and what they cover. Does not own: when to fetch and what
//! (the engine's `copy`).
//!
//! Must hold: the manifest is replaced in one step after the files it names are on disk, so a copy is always as it was
//! before or after a change; a reader that has opened its files is not disturbed by a change; within a copy a key
//! appears once.

mod manifest;
mod segment;

#[cfg(test)]
mod query_tests;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::fs::File;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::StreamExt;
use tripline_engine::copy::{CopyChange, CopyError, CopyId, CopyRows, CopyShape, CopyState, CopyStore, TimeSpan};

use manifest::{Manifest, Segment};

/// Files that are read at once.
const AHEAD: usize = 3;
/// Neighbouring hours share a file up to so many rows: few files for a sparse table, and little to write anew when a row
/// comes.
const FILE_ROWS: u64 = 32_768;
/// How often a reader looks again when a change removed a file between reading the manifest and opening it.
const LOOKS: usize = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Copies below one folder.
#[derive(Debug, Clone)]
pub struct ParquetCopies {
    folder: PathBuf,
}

impl ParquetCopies {
    /// Copies below `folder`, which is made when the first copy is.
    #[must_use]
    pub fn new(folder: PathBuf) -> Arc<Self> {
        Arc::new(Self { folder })
    }

    fn place(&self, id: &CopyId) -> PathBuf {
        self.folder.join(manifest::folder_name(id))
    }

    async fn blocking<T: Send + 'static>(
        id: &CopyId,
        work: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Result<T, CopyError> {
        let failed = |reason: String| CopyError { copy: id.to_string(), reason };
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome.map_err(|error| failed(error.to_string())),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

#[async_trait]
impl CopyStore for ParquetCopies {
    async fn state(&self, id: &CopyId, shape: &CopyShape) -> Result<CopyState, CopyError> {
        let (place, shape) = (self.place(id), shape.clone());
        Self::blocking(id, move || Ok(Manifest::of(&place, &shape)?.map(|m| m.state()).unwrap_or_default())).await
    }

    async fn lock(&self, id: &CopyId) -> Result<Box<dyn Any + Send>, CopyError> {
        let place = self.place(id);
        Self::blocking(id, move || {
            std::fs::create_dir_all(&place)?;
            let file = File::options().create(true).append(true).open(place.join("lock"))?;
            // Released when the file is closed, also by the end of the process.
            file.lock()?;
            Ok(Box::new(file) as Box<dyn Any + Send>)
        })
        .await
    }

    async fn apply(&self, id: &CopyId, shape: &CopyShape, change: CopyChange) -> Result<CopyState, CopyError> {
        let (place, id2, shape) = (self.place(id), id.clone(), shape.clone());
        Self::blocking(id, move || apply(&place, &id2, &shape, &change)).await
    }

    async fn read(
        &self,
        id: &CopyId,
        shape: &CopyShape,
        span: TimeSpan,
        projection: Vec<usize>,
        descending: bool,
    ) -> Result<CopyRows, CopyError> {
        let (place, shape, name) = (self.place(id), shape.clone(), id.to_string());
        let look = shape.clone();
        let mut files = Self::blocking(id, move || open(&place, &look, span)).await?;
        if !descending {
            files.reverse();
        }
        // When the query is dropped, the files that are being read are the last.
        let rows = futures::stream::iter(files).map(move |file| {
            let (shape, projection, name) = (shape.clone(), projection.clone(), name.clone());
            let read = move || segment::rows(file, &shape, span, &projection, descending);
            async move {
                let failed = |reason: String| CopyError { copy: name, reason };
                match tokio::task::spawn_blocking(read).await {
                    Ok(rows) => rows.map_err(|error| failed(error.to_string())),
                    Err(error) => Err(failed(error.to_string())),
                }
            }
        });
        Ok(rows.buffered(AHEAD).boxed())
    }

    async fn list(&self) -> Result<Vec<(CopyId, CopyState)>, CopyError> {
        let folder = self.folder.clone();
        let all = CopyId {
            source: folder.display().to_string(),
            table: "*".to_owned(),
            account: String::new(),
            pinned: Vec::new(),
        };
        Self::blocking(&all, move || {
            let entries = match std::fs::read_dir(&folder) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut copies = Vec::new();
            for entry in entries {
                if let Some(manifest) = Manifest::load(&entry?.path())? {
                    copies.push((manifest.id(), manifest.state()));
                }
            }
            copies.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(copies)
        })
        .await
    }
}

/// The files with rows of `span`, newest first, opened.
fn open(place: &Path, shape: &CopyShape, span: TimeSpan) -> Outcome<Vec<File>> {
    for _ in 0..LOOKS {
        let Some(manifest) = Manifest::of(place, shape)? else { return Ok(Vec::new()) };
        let wanted = manifest.segments.iter().rev().filter(|segment| segment.overlaps(span));
        let files: Result<Vec<File>, std::io::Error> = wanted.map(|s| File::open(place.join(&s.file))).collect();
        match files {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            files => return Ok(files?),
        }
    }
    Err(format!("files that {} names are missing", place.join(manifest::FILE).display()).into())
}

/// Rows of neighbouring hours, about to be written.
struct Fresh {
    hours: RangeInclusive<i64>,
    batches: Vec<RecordBatch>,
}

impl Fresh {
    fn rows(&self) -> u64 {
        self.batches.iter().map(|batch| batch.num_rows() as u64).sum()
    }
}

/// Files that stay and rows that are to be written.
enum Piece {
    Kept(Segment),
    Fresh(Fresh),
}

impl Piece {
    fn hours(&self) -> RangeInclusive<i64> {
        match self {
            Self::Kept(segment) => segment.hours(),
            Self::Fresh(fresh) => fresh.hours.clone(),
        }
    }

    fn rows(&self) -> u64 {
        match self {
            Self::Kept(segment) => segment.rows,
            Self::Fresh(fresh) => fresh.rows(),
        }
    }
}

fn apply(place: &Path, id: &CopyId, shape: &CopyShape, change: &CopyChange) -> Outcome<CopyState> {
    let before = Manifest::of(place, shape)?;
    std::fs::create_dir_all(place)?;
    let incoming = segment::by_hour(&change.rows, shape)?;
    let keys = segment::keys(&change.rows, shape)?;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut touched: Vec<Fresh> = Vec::new();
    for old in before.iter().flat_map(|manifest| &manifest.segments) {
        if old.max < change.covered.from.timestamp_micros() {
            continue;
        }
        let is_touched =
            incoming.range(old.hours()).next().is_some() || change.replaces.is_some_and(|span| old.overlaps(span));
        // A row that is replaced may lie in any hour.
        if !is_touched && !segment::has_any(File::open(place.join(&old.file))?, shape, &keys)? {
            pieces.push(Piece::Kept(old.clone()));
            continue;
        }
        let rows = segment::all(File::open(place.join(&old.file))?, shape)?;
        let rows = segment::without(&rows, shape, change.replaces, &keys)?;
        touched.push(Fresh { hours: old.hours(), batches: vec![rows] });
    }
    for (hour, batches) in incoming {
        match touched.iter_mut().find(|fresh| fresh.hours.contains(&hour)) {
            Some(fresh) => fresh.batches.extend(batches),
            None => touched.push(Fresh { hours: hour..=hour, batches }),
        }
    }
    pieces.extend(touched.into_iter().filter(|fresh| fresh.rows() > 0).map(Piece::Fresh));
    pieces.sort_by_key(|piece| *piece.hours().start());
    let mut segments = Vec::new();
    let mut together: Vec<Piece> = Vec::new();
    for piece in pieces {
        let rows: u64 = together.iter().map(Piece::rows).sum();
        if rows + piece.rows() > FILE_ROWS {
            segments.extend(write(place, shape, change.covered, std::mem::take(&mut together))?);
        }
        together.push(piece);
    }
    segments.extend(write(place, shape, change.covered, together)?);
    let mut manifest = Manifest::new(id, shape, change.covered, segments);
    manifest.refreshed_at = change.refreshed_at.or_else(|| before.as_ref().and_then(|manifest| manifest.refreshed_at));
    manifest.save(place)?;
    manifest.sweep(place)?;
    Ok(manifest.state())
}

/// Neighbouring pieces as one file; a file that stands alone stays as it is. Rows before `covered` are left out of what is
/// written.
fn write(place: &Path, shape: &CopyShape, covered: TimeSpan, pieces: Vec<Piece>) -> Outcome<Option<Segment>> {
    if let [Piece::Kept(segment)] = pieces.as_slice() {
        return Ok(Some(segment.clone()));
    }
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(None) };
    let hours = *first.hours().start()..=*last.hours().end();
    let mut batches = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Kept(segment) => batches.push(segment::all(File::open(place.join(&segment.file))?, shape)?),
            Piece::Fresh(fresh) => batches.extend(fresh.batches),
        }
    }
    let file = format!("{}-{}.parquet", hours.start(), uuid::Uuid::new_v4().simple());
    segment::write(place, file, hours, &batches, shape, covered.from)
}
