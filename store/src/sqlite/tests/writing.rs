//! Promises of the writer and the readers: group commit, isolation of jobs, no harm from a bug.

use super::Home;
use crate::conformance::fixtures::*;
use crate::model::*;
use crate::sqlite::connection::DbResult;
use crate::sqlite::values::run;
use crate::sqlite::{OpenMode, SqliteStore, Tx};
use crate::{Result, StoreError};
use futures::future::join_all;
use std::sync::mpsc;
use tokio::task::JoinHandle;

/// Keeps the writer busy until told, so that what is written meanwhile waits together.
struct Stalled {
    release: mpsc::Sender<()>,
    job: JoinHandle<Result<()>>,
}

impl Stalled {
    async fn start(store: &SqliteStore) -> Self {
        let (release, released) = mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let store = store.clone();
        let job = tokio::spawn(async move {
            store
                .write("stalling", move |_| {
                    started.send(()).unwrap();
                    released.recv().unwrap();
                    Ok(())
                })
                .await
        });
        running.await.unwrap();
        Self { release, job }
    }

    async fn release(self) {
        self.release.send(()).unwrap();
        self.job.await.unwrap().unwrap();
    }
}

/// Hands jobs to the writer and waits until all of them are in its queue.
async fn queue<T: Send + 'static>(
    store: &SqliteStore,
    jobs: Vec<impl Future<Output = T> + Send + 'static>,
) -> Vec<JoinHandle<T>> {
    let count = jobs.len() as u64;
    let tasks = jobs.into_iter().map(tokio::spawn).collect();
    while store.writer_stats().unwrap().queued < count {
        tokio::task::yield_now().await;
    }
    tasks
}

fn insert_project(tx: &Tx<'_>, id: &str) -> DbResult<()> {
    run(tx.connection, "INSERT INTO projects (id, name) VALUES (?1, ?1)", [id]).map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_together_is_committed_together() {
    let home = Home::new();
    let store = home.serve();
    let stalled = Stalled::start(&store).await;
    let appends = (0..100)
        .map(|_| {
            let store = store.store();
            async move { store.audit.append(&scope(), entry("e"), start()).await.unwrap().seq }
        })
        .collect();
    let tasks = queue(&store, appends).await;
    let before = store.writer_stats().unwrap();
    stalled.release().await;
    let mut seqs: Vec<_> = join_all(tasks).await.into_iter().map(|task| task.unwrap()).collect();
    let after = store.writer_stats().unwrap();
    // The stalled job's own transaction took them all along.
    assert_eq!((after.commits - before.commits, after.jobs - before.jobs), (1, 101));
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_queue_is_written_in_groups_of_bounded_size() {
    let home = Home::new();
    let store = home.serve();
    let stalled = Stalled::start(&store).await;
    let jobs = (0..600)
        .map(|_| {
            let store = store.clone();
            async move { store.write("nothing", |_| Ok(())).await }
        })
        .collect();
    let tasks = queue(&store, jobs).await;
    let before = store.writer_stats().unwrap().commits;
    stalled.release().await;
    join_all(tasks).await;
    assert_eq!(store.writer_stats().unwrap().commits - before, 3, "601 jobs, at most 256 each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_fails_spoils_no_other_of_its_group() {
    let home = Home::new();
    let store = home.serve();
    let stalled = Stalled::start(&store).await;
    let jobs = (0..30)
        .map(|index| {
            let store = store.clone();
            async move {
                store
                    .write("testing", move |tx| {
                        insert_project(tx, &format!("p{index}"))?;
                        match index % 3 {
                            0 => Ok(()),
                            1 => Err(StoreError::invalid("test", "refused").into()),
                            // A broken constraint in the middle of a job.
                            _ => insert_project(tx, &format!("p{index}")),
                        }
                    })
                    .await
            }
        })
        .collect();
    let tasks = queue(&store, jobs).await;
    let before = store.writer_stats().unwrap().commits;
    stalled.release().await;
    let outcomes: Vec<_> = join_all(tasks).await.into_iter().map(|task| task.unwrap()).collect();
    assert_eq!(store.writer_stats().unwrap().commits - before, 1);
    for (index, outcome) in outcomes.iter().enumerate() {
        match (index % 3, outcome) {
            (0, Ok(())) | (1, Err(StoreError::Invalid { .. })) | (2, Err(StoreError::Database { .. })) => {}
            other => panic!("{index}: {other:?}"),
        }
    }
    let kept: Vec<_> = store.store().projects.list().await.unwrap().into_iter().map(|project| project.id).collect();
    assert_eq!(kept.len(), 11, "ten, and the default one: {kept:?}");
}

#[tokio::test]
async fn a_job_that_panics_is_undone_and_the_writer_lives_on() {
    let home = Home::new();
    let store = home.serve();
    let broken: Result<()> = store
        .write("panicking", |tx| {
            insert_project(tx, "half-done")?;
            panic!("a bug");
        })
        .await;
    assert!(matches!(broken, Err(StoreError::Internal { doing: "panicking" })));
    let store = store.store();
    assert_eq!(store.projects.list().await.unwrap().len(), 1);
    store.audit.append(&scope(), entry("still alive"), start()).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_sqlite_gave_up_is_answered_with_an_error() {
    let home = Home::new();
    let store = home.serve();
    let lost = store
        .write("losing the transaction", |tx| {
            insert_project(tx, "lost")?;
            // What a full disk does.
            tx.connection.execute_batch("ROLLBACK")?;
            Ok(())
        })
        .await;
    assert!(matches!(lost, Err(StoreError::Database { .. })), "{lost:?}");
    let store = store.store();
    assert_eq!(store.projects.list().await.unwrap().len(), 1);
    store.audit.append(&scope(), entry("still alive"), start()).await.unwrap();
}

#[tokio::test]
async fn what_was_handed_over_is_written_before_the_store_is_gone() {
    let home = Home::new();
    let store = home.serve();
    for _ in 0..200 {
        let taken = store.write_later("noting", |tx| {
            tx.audit(&scope(), start(), "test", "noted", ("x", "1"), &serde_json::json!({})).map(drop)
        });
        assert!(taken);
    }
    drop(store);
    assert_eq!(home.store().audit.head(&scope()).await.unwrap().seq, 200);
}

#[tokio::test]
async fn a_reader_sees_what_was_committed_and_cannot_write() {
    let home = Home::new();
    let store = home.serve();
    store.store().projects.create(&ProjectId::new("acme"), "Acme", start()).await.unwrap();
    let seen = store
        .read("testing", |connection| {
            let count: i64 = connection.query_row("SELECT count(*) FROM projects", [], |row| row.get(0))?;
            for sql in ["DELETE FROM projects", "CREATE TABLE x (y)", "PRAGMA user_version = 9"] {
                assert!(connection.execute_batch(sql).is_err(), "{sql}");
            }
            Ok(count)
        })
        .await;
    assert_eq!(seen.unwrap(), 2);
}

#[tokio::test]
async fn a_lookup_sees_one_moment_even_while_others_write() {
    let home = Home::new();
    let store = home.serve();
    let writer = store.store();
    let runtime = tokio::runtime::Handle::current();
    let counts = store.read("testing", move |connection| {
        let count = || connection.query_row("SELECT count(*) FROM projects", [], |row| row.get::<_, i64>(0));
        let before = count()?;
        runtime.block_on(writer.projects.create(&ProjectId::new("acme"), "Acme", start()))?;
        Ok((before, count()?))
    });
    assert_eq!(counts.await.unwrap(), (1, 1));
    assert_eq!(store.store().projects.list().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_reader_that_stays_open_does_not_keep_the_writer_waiting() {
    let home = Home::new();
    let store = home.serve();
    let reader = store.readers().connection().unwrap();
    let connection = reader.raw().unwrap();
    let mut statement = connection.prepare("SELECT * FROM projects").unwrap();
    let mut rows = statement.query([]).unwrap();
    assert!(rows.next().unwrap().is_some());
    for index in 0..50 {
        store.store().audit.append(&scope(), entry("e"), minute(index)).await.unwrap();
    }
    assert!(rows.next().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_claim_one_approval_once() {
    let home = Home::new();
    let (server, beside) = (home.serve().store(), home.open(OpenMode::Beside).store());
    for round in 0..5 {
        let incident = occur(&server, finding(&format!("f{round}"), window(0))).await.incident().clone();
        let approval = server.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval;
        let claims = (0..100).map(|index| {
            let store = if index % 2 == 0 { server.clone() } else { beside.clone() };
            let claim = claim_of(&approval, Decision::Approve, &format!("person {index}"));
            tokio::spawn(async move { store.approvals.claim(&scope(), claim, minute(1)).await.unwrap() })
        });
        let outcomes: Vec<_> = join_all(claims).await.into_iter().map(|task| task.unwrap()).collect();
        let claimed = outcomes.iter().filter(|outcome| matches!(outcome, ClaimOutcome::Claimed { .. })).count();
        assert_eq!(claimed, 1);
    }
    assert_eq!(server.actions.count(&scope(), &ActionFilter::default()).await.unwrap(), 5);
    let verdict = beside.audit.verify(&scope(), None).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Intact { .. }), "{verdict:?}");
}

#[tokio::test]
async fn the_use_of_a_key_is_not_a_write_per_request() {
    let home = Home::new();
    let store = home.serve();
    let keys = store.store().keys;
    let new = NewApiKey {
        name: "ci".to_owned(),
        person: "Ann".to_owned(),
        scopes: [KeyScope::Read].into_iter().collect(),
        project: None,
    };
    let secret = keys.create(new, start()).await.unwrap().secret;
    let secret = secrecy::ExposeSecret::expose_secret(&secret);
    let before = store.writer_stats().unwrap().jobs;
    for minutes in 0..10 {
        for _ in 0..20 {
            keys.verify(secret, minute(minutes)).await.unwrap().unwrap();
        }
    }
    // A write of our own, behind those: when it is answered, they are done.
    store.write("testing", |_| Ok(())).await.unwrap();
    assert_eq!(store.writer_stats().unwrap().jobs - before - 1, 2, "at minutes 0 and 5");
    assert_eq!(keys.list().await.unwrap()[0].last_used_at, Some(minute(5)));
}
