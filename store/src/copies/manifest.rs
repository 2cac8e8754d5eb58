//! The manifest of a copy: what it is of, what it covers, and which files count.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tripline_engine::copy::{CopyId, CopyShape, CopyState, TimeSpan};

use super::Outcome;

/// The file's name.
pub(super) const FILE: &str = "manifest.json";
const VERSION: u32 = 1;

/// One file of rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Segment {
    /// Hours since 1970 of its first row.
    pub hour: i64,
    /// The last hour it is for, if that is another; no other file has rows of these hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    /// Times of its first and last row, microseconds since 1970.
    pub min: i64,
    pub max: i64,
}

impl Segment {
    /// The hours it is for.
    pub(super) fn hours(&self) -> RangeInclusive<i64> {
        self.hour..=self.until.unwrap_or(self.hour)
    }

    pub(super) fn overlaps(&self, span: TimeSpan) -> bool {
        span.from.timestamp_micros() <= self.max && self.min < span.until.timestamp_micros()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    source: String,
    table: String,
    account: String,
    pinned: Vec<(String, String)>,
    columns: String,
    covered_from: DateTime<Utc>,
    covered_until: DateTime<Utc>,
    pub refreshed_at: Option<DateTime<Utc>>,
    /// By hour, oldest first.
    pub segments: Vec<Segment>,
}

impl Manifest {
    pub(super) fn new(id: &CopyId, shape: &CopyShape, covered: TimeSpan, segments: Vec<Segment>) -> Self {
        Self {
            version: VERSION,
            source: id.source.clone(),
            table: id.table.clone(),
            account: id.account.clone(),
            pinned: id.pinned.clone(),
            columns: columns(shape),
            covered_from: covered.from,
            covered_until: covered.until,
            refreshed_at: None,
            segments,
        }
    }

    /// The manifest of the copy in `place`, if there is one.
    pub(super) fn load(place: &Path) -> Outcome<Option<Self>> {
        let path = place.join(FILE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            // Not the folder of a copy.
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
            text => text?,
        };
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        // What another version of Tripline wrote is fetched again.
        Ok((manifest.version == VERSION).then_some(manifest))
    }

    /// The same, if it is of these columns.
    pub(super) fn of(place: &Path, shape: &CopyShape) -> Outcome<Option<Self>> {
        Ok(Self::load(place)?.filter(|manifest| manifest.columns == columns(shape)))
    }

    pub(super) fn id(&self) -> CopyId {
        CopyId {
            source: self.source.clone(),
            table: self.table.clone(),
            account: self.account.clone(),
            pinned: self.pinned.clone(),
        }
    }

    pub(super) fn state(&self) -> CopyState {
        CopyState {
            covered: Some(TimeSpan { from: self.covered_from, until: self.covered_until }),
            refreshed_at: self.refreshed_at,
            rows: self.segments.iter().map(|segment| segment.rows).sum(),
            bytes: self.segments.iter().map(|segment| segment.bytes).sum(),
        }
    }

    /// Replaces the manifest in `place` in one step.
    pub(super) fn save(&self, place: &Path) -> Outcome<()> {
        let next = place.join(format!("{FILE}.next"));
        let mut file = File::create(&next)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&next, place.join(FILE))?;
        // The rename itself is durable once the folder is.
        File::open(place)?.sync_all()?;
        Ok(())
    }

    /// Removes files that no longer count.
    pub(super) fn sweep(&self, place: &Path) -> Outcome<()> {
        let counted: BTreeSet<&str> = self.segments.iter().map(|segment| segment.file.as_str()).collect();
        for entry in std::fs::read_dir(place)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.ends_with(".parquet") && !counted.contains(name) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A name that stands for the whole identity and is safe as a folder.
pub(super) fn folder_name(id: &CopyId) -> String {
    let mut hash = Sha256::new();
    for part in [&id.source, &id.table, &id.account].into_iter().chain(id.pinned.iter().flat_map(|(c, v)| [c, v])) {
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    let safe = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).take(60).collect()
    };
    let digest = hex::encode(hash.finalize());
    format!("{}.{}-{}", safe(&id.source), safe(&id.table), &digest[..16])
}

fn columns(shape: &CopyShape) -> String {
    let fields = shape.schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type()));
    format!("{} by {} of {:?}", fields.collect::<Vec<_>>().join(","), shape.time, shape.key)
}
