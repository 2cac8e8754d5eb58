use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use tripline_engine::copy::{CopyChange, CopyId, CopyShape, CopyState, CopyStore, TimeSpan};

use super::ParquetCopies;

fn at(minutes: i64) -> DateTime<Utc> {
    "2026-11-20T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::minutes(minutes)
}

fn shape() -> CopyShape {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Schema::new(vec![
        Field::new("text", DataType::Utf8, true),
        Field::new("at", time, true),
        Field::new("id", DataType::Int64, true),
    ]);
    CopyShape { schema: Arc::new(schema), time: 1, key: vec![2] }
}

fn id() -> CopyId {
    CopyId { source: "s".into(), table: "t".into(), account: "a".into(), pinned: vec![("repo".into(), "../x".into())] }
}

/// Rows of `(id, minute, text)`.
fn rows(rows: &[(i64, i64, &str)]) -> RecordBatch {
    let times = rows.iter().map(|row| at(row.1).timestamp_micros());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.2)).collect::<StringArray>()),
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
    ];
    RecordBatch::try_new(shape().schema, columns).unwrap()
}

fn span(from: i64, until: i64) -> TimeSpan {
    TimeSpan { from: at(from), until: at(until) }
}

struct Folder {
    copies: Arc<ParquetCopies>,
    folder: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { copies: ParquetCopies::new(folder.path().join("copies")), folder }
    }

    async fn apply(&self, new: &[(i64, i64, &str)], replaces: Option<TimeSpan>, covered: TimeSpan) -> CopyState {
        let change = CopyChange { rows: vec![rows(new)], replaces, covered, refreshed_at: Some(covered.until) };
        self.copies.apply(&id(), &shape(), change).await.unwrap()
    }

    async fn read(&self, span: TimeSpan, descending: bool) -> Vec<(i64, String)> {
        let rows = self.copies.read(&id(), &shape(), span, vec![2, 0], descending).await.unwrap();
        let rows: Vec<RecordBatch> = rows.try_collect().await.unwrap();
        let mut found = Vec::new();
        for batch in &rows {
            let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            let texts = batch.column(1).as_any().downcast_ref::<StringArray>().unwrap();
            found.extend(ids.iter().zip(texts).map(|(id, text)| (id.unwrap(), text.unwrap().to_owned())));
        }
        found
    }

    async fn ids(&self, span: TimeSpan) -> Vec<i64> {
        self.read(span, true).await.into_iter().map(|row| row.0).collect()
    }
}

#[tokio::test]
async fn rows_come_back_in_the_order_of_time_over_all_hours() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a"), (2, 130, "b"), (3, 65, "c"), (4, 66, "d")], None, span(0, 180)).await;
    assert_eq!(folder.ids(span(0, 180)).await, [2, 4, 3, 1]);
    let ascending: Vec<i64> = folder.read(span(5, 130), false).await.into_iter().map(|row| row.0).collect();
    assert_eq!(ascending, [1, 3, 4]);
}

#[tokio::test]
async fn a_newer_version_replaces_the_older_in_whatever_hour_it_is() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "old"), (2, 70, "two")], None, span(0, 120)).await;
    let state = folder.apply(&[(1, 95, "new"), (3, 100, "three")], None, span(0, 180)).await;
    assert_eq!(state.rows, 3);
    let expected = [(3, "three".to_owned()), (1, "new".to_owned()), (2, "two".to_owned())];
    assert_eq!(folder.read(span(0, 180), true).await, expected);
}

#[tokio::test]
async fn a_file_tells_without_being_read_that_it_has_none_of_the_keys() {
    for key in [vec![2], vec![0], vec![2, 0]] {
        let shape = CopyShape { key, ..shape() };
        let folder = tempfile::tempdir().unwrap();
        let segment = super::segment::write(
            folder.path(),
            "x".into(),
            0..=0,
            &[rows(&[(1, 5, "a"), (2, 6, "b")])],
            &shape,
            at(0),
        );
        let path = folder.path().join(segment.unwrap().unwrap().file);
        let has = |ids: &[(i64, i64, &str)]| {
            let keys = super::segment::keys(&[rows(ids)], &shape).unwrap();
            super::segment::has_any(std::fs::File::open(&path).unwrap(), &shape, &keys).unwrap()
        };
        assert!(has(&[(9, 1, "z"), (2, 50, "b")]), "{:?}", shape.key);
        assert!(!has(&(10..3000).map(|n| (n, 1, "other")).collect::<Vec<_>>()));
        // Rows cut off: what the filter cannot say must be read, and cannot be.
        let whole = std::fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn[4..20].fill(0xff);
        std::fs::write(&path, torn).unwrap();
        assert!(!has(&[(9, 1, "z")]), "the filter stands at the end of the file, and says no");
        std::fs::write(&path, whole).unwrap();
    }
}

#[tokio::test]
async fn what_a_range_no_longer_has_is_gone() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a"), (2, 10, "b"), (3, 15, "c")], None, span(0, 60)).await;
    folder.apply(&[(2, 10, "b")], Some(span(8, 15)), span(0, 60)).await;
    assert_eq!(folder.ids(span(0, 60)).await, [3, 2, 1]);
    folder.apply(&[], Some(span(8, 15)), span(0, 60)).await;
    assert_eq!(folder.ids(span(0, 60)).await, [3, 1]);
}

#[tokio::test]
async fn what_is_older_than_the_copy_covers_is_forgotten_and_its_files_are_removed() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a"), (2, 70, "b")], None, span(0, 120)).await;
    let state = folder.apply(&[(3, 130, "c")], None, span(60, 180)).await;
    assert_eq!((state.rows, folder.ids(span(0, 180)).await), (2, vec![3, 2]));
    let place = folder.copies.place(&id());
    let files = std::fs::read_dir(&place)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".parquet"));
    assert_eq!(files.count(), 1);
    assert!(place.starts_with(folder.folder.path()), "a key value names no folder");
}

/// Names of the files of the copy.
fn files(folder: &Folder) -> std::collections::BTreeSet<String> {
    let entries = std::fs::read_dir(folder.copies.place(&id())).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".parquet")).collect()
}

#[tokio::test]
async fn few_rows_share_a_file_and_many_leave_the_others_as_they_are() {
    let folder = Folder::new();
    // A row an hour, a month long, hour by hour.
    for hour in 0..720 {
        if hour % 40 == 0 {
            let some: Vec<(i64, i64, &str)> = (hour..hour + 40).map(|h| (h, h * 60, "sparse")).collect();
            folder.apply(&some, None, span(0, (hour + 40) * 60)).await;
        }
    }
    assert_eq!(files(&folder).len(), 1);
    assert_eq!(folder.ids(span(600, 720)).await, [11, 10], "a part of a file");

    // Two hours of twenty thousand rows each do not share one; what comes later leaves both alone.
    let dense: Vec<(i64, i64, &str)> = (0..40_000).map(|n| (1_000_000 + n, 720 * 60 + n / 334, "dense")).collect();
    folder.apply(&dense, None, span(0, 722 * 60)).await;
    let before = files(&folder);
    assert!(before.len() > 1, "{before:?}");
    assert_eq!(folder.ids(span(0, 722 * 60)).await.len(), 40_720);
    folder.apply(&[(5_000_000, 724 * 60, "new")], None, span(0, 725 * 60)).await;
    assert!(files(&folder).intersection(&before).count() >= before.len() - 1, "{before:?} {:?}", files(&folder));
    // A row of the middle moves to the end: its file is written anew, nothing is there twice.
    folder.apply(&[(1_000_777, 724 * 60 + 1, "moved")], None, span(0, 725 * 60)).await;
    let ids = folder.ids(span(0, 725 * 60)).await;
    assert_eq!((ids.len(), ids[0], ids[1]), (40_721, 1_000_777, 5_000_000));
}

#[tokio::test]
async fn copies_are_listed_with_what_they_cover() {
    let folder = Folder::new();
    assert_eq!(folder.copies.list().await.unwrap(), []);
    folder.apply(&[(1, 5, "a")], None, span(0, 120)).await;
    let listed = folder.copies.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].0, id());
    assert_eq!(listed[0].1, folder.copies.state(&id(), &shape()).await.unwrap());
    assert_eq!(listed[0].1.covered, Some(span(0, 120)));
}

#[tokio::test]
async fn a_copy_of_other_columns_is_as_good_as_none() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a")], None, span(0, 120)).await;
    let other = CopyShape { key: vec![0], ..shape() };
    assert_eq!(folder.copies.state(&id(), &other).await.unwrap(), CopyState::default());
}

#[tokio::test]
async fn a_copy_that_was_damaged_is_an_error_that_says_where() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a")], None, span(0, 120)).await;
    let place = folder.copies.place(&id());
    std::fs::write(place.join("manifest.json"), "{").unwrap();
    let error = folder.copies.state(&id(), &shape()).await.unwrap_err().to_string();
    assert!(error.contains("s.t repo=../x") && error.contains("manifest.json"), "{error}");
}

#[tokio::test]
async fn a_reader_is_not_disturbed_by_a_change() {
    let folder = Folder::new();
    folder.apply(&[(1, 5, "a"), (2, 70, "b")], None, span(0, 120)).await;
    let reading = folder.copies.read(&id(), &shape(), span(0, 120), vec![2], true).await.unwrap();
    folder.apply(&[], Some(span(0, 120)), span(0, 120)).await;
    let rows: Vec<RecordBatch> = reading.try_collect().await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert_eq!(folder.ids(span(0, 120)).await, [] as [i64; 0]);
}

#[tokio::test]
async fn one_at_a_time_changes_a_copy() {
    let folder = Folder::new();
    let first = folder.copies.lock(&id()).await.unwrap();
    let copies = Arc::clone(&folder.copies);
    let second = tokio::spawn(async move { copies.lock(&id()).await.map(drop) });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    drop(first);
    second.await.unwrap().unwrap();
}
