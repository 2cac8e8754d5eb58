//! Acknowledged is on disk; what cannot be is an error and not silence.

use super::*;
use crate::StoreError;
use crate::ingest::{IngestError, IngestPolicy};
use crate::sqlite::OpenMode;
use crate::sqlite::tests::Home;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_acknowledges_nothing_and_keeps_nothing() {
    let home = Home::new();
    let store = home.serve();
    let fails = Arc::new(AtomicBool::new(false));
    let hook = Arc::clone(&fails);
    let install = move |tx: &mut crate::sqlite::Tx<'_>| {
        Ok(tx.connection.commit_hook(Some(move || hook.load(Ordering::SeqCst)))?)
    };
    store.write("installing a hook", install).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    let refused = store.store().events.accept(&scope(), arrival(), numbered(0, 10)).await;
    assert!(
        matches!(refused, Err(IngestError::Full { retry_after, .. }) if retry_after > Duration::ZERO),
        "{refused:?}"
    );
    assert!(everything(&store).await.is_empty());
    fails.store(false, Ordering::SeqCst);
    let receipt = accept(&store.store(), numbered(0, 10)).await;
    assert_eq!((receipt.accepted, receipt.duplicates), (10, 0), "what was not stored is not known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_that_says_when_to_come_again() {
    let home = Home::new();
    let store = home.serve();
    let limit = async |pages: i64| {
        store
            .write("limiting the file", move |tx| {
                let now: i64 = tx.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
                let most = if pages == 0 { i64::from(u32::MAX - 1) } else { now + pages };
                tx.connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |_| Ok(()))?;
                Ok(())
            })
            .await
            .unwrap();
    };
    accept(&store.store(), numbered(0, 10)).await;
    limit(1).await;
    let refused = store.store().events.accept(&scope(), arrival(), numbered(10, 5_000)).await;
    assert!(matches!(&refused, Err(IngestError::Full { reason, .. }) if reason.contains("full")), "{refused:?}");
    assert_eq!(everything(&store).await.len(), 10, "what was acknowledged is there");
    limit(0).await;
    assert_eq!(accept(&store.store(), numbered(10, 5_000)).await.accepted, 4_990);
    assert_eq!(everything(&store).await.len(), 5_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_may_wait_is_told_to_come_again() {
    let home = Home::new();
    let store = home.serve();
    store.set_ingest_policy(IngestPolicy { most_waiting: 10_000, ..IngestPolicy::default() });
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (started, running) = tokio::sync::oneshot::channel();
    let stalled = {
        let store = store.clone();
        tokio::spawn(async move {
            let stall = move |_: &mut crate::sqlite::Tx<'_>| {
                started.send(()).unwrap();
                released.recv().unwrap();
                Ok(())
            };
            store.write("stalling", stall).await
        })
    };
    running.await.unwrap();
    let senders: Vec<_> = (0..20)
        .map(|sender| {
            let store = store.store();
            let events = numbered(sender * 10, sender * 10 + 10);
            tokio::spawn(async move { store.events.accept(&scope(), arrival(), events).await })
        })
        .collect();
    while senders.iter().filter(|sender| sender.is_finished()).count() < 10 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    stalled.await.unwrap().unwrap();
    let (mut accepted, mut busy) = (0, 0);
    for sender in senders {
        match sender.await.unwrap() {
            Ok(receipt) => accepted += receipt.accepted,
            Err(IngestError::Busy { .. }) => busy += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(busy >= 10 && accepted > 0, "{busy} {accepted}");
    assert_eq!(everything(&store).await.len(), accepted, "what was acknowledged, and nothing else, is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_sealed_any_more_fills_up_and_says_so() {
    let home = Home::new();
    let store = home.serve();
    store.set_ingest_policy(IngestPolicy { most_unsealed: 1_000, ..IngestPolicy::default() });
    accept(&store.store(), numbered(0, 200)).await;
    let refused = store.store().events.accept(&scope(), arrival(), numbered(200, 210)).await;
    assert!(matches!(&refused, Err(IngestError::Full { reason, .. }) if reason.contains("sealed")), "{refused:?}");
    store.maintain_events(later(), &at_once(1_000)).await.unwrap();
    assert_eq!(accept(&store.store(), numbered(200, 210)).await.accepted, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_is_an_error_and_not_a_shorter_answer() {
    let home = Home::new();
    let store = home.serve();
    accept(&store.store(), numbered(0, 100)).await;
    let spoil =
        "DROP TRIGGER ingest_log_no_update; UPDATE ingest_log SET events = substr(events, 1, length(events) - 9)";
    home.raw().execute_batch(spoil).unwrap();
    let stream = store.store().events.scan(&scope(), EventFilter::default()).await.unwrap();
    let read: Result<Vec<_>, _> = futures::TryStreamExt::try_collect(stream).await;
    assert!(read.unwrap_err().to_string().contains("event log"));
    let sealed = store.maintain_events(later(), &at_once(1_000)).await;
    assert!(matches!(sealed, Err(StoreError::Corrupt { .. })), "{sealed:?}");
}

const DATABASE: &str = "TRIPLINE_STORE_TEST_TRACED";

/// Not a test of its own: the process that is traced below.
#[test]
#[ignore = "the child process of the test below"]
fn child_that_acknowledges() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(path, OpenMode::Serve).unwrap().store();
        for batch in 0..30 {
            accept(&store, numbered(batch * 10, batch * 10 + 10)).await;
            std::io::stdout().write_all(format!("acknowledged:{batch}\n").as_bytes()).unwrap();
        }
    });
}

/// The promise of all promises, by the system calls that the process makes: between the last write to the write-ahead
/// log and the acknowledgement, the disk was waited for.
#[test]
fn an_acknowledgement_comes_after_the_disk_was_waited_for() {
    let home = Home::new();
    let trace = home.path().with_file_name("trace");
    std::fs::create_dir_all(home.path().parent().unwrap()).unwrap();
    let module = module_path!().split_once("::").unwrap().1;
    let child = Command::new("strace")
        .args(["-f", "-y", "-s", "64", "-e", "trace=pwrite64,write,fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::child_that_acknowledges"), "--ignored", "--nocapture"])
        .env(DATABASE, home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let Ok(lines) = std::fs::read_to_string(&trace) else {
        println!("skipped: strace is not here ({child:?})");
        return;
    };
    if !lines.contains("acknowledged:0") {
        println!("skipped: strace may not trace here ({child:?})");
        return;
    }
    let (mut written, mut waited, mut acknowledged) = (false, false, 0);
    for line in lines.lines() {
        if line.contains("pwrite64(") && line.contains("-wal>") {
            (written, waited) = (true, false);
        } else if (line.contains("fdatasync") || line.contains("fsync")) && line.trim_end().ends_with("= 0") {
            waited = true;
        } else if line.contains("acknowledged:") && line.contains("write(") {
            assert!(written && waited, "acknowledgement {acknowledged} came too early:\n{line}");
            written = false;
            acknowledged += 1;
        }
    }
    assert_eq!(acknowledged, 30);
}
