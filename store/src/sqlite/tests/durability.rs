//! Promises about a process that is killed: what was acknowledged is there, what was not is whole or absent.

use super::Home;
use crate::conformance::fixtures::*;
use crate::ingest::EventFilter;
use crate::model::*;
use crate::sqlite::{OpenMode, SqliteStore};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// Names the database that the child process writes to.
const DATABASE: &str = "TRIPLINE_STORE_TEST_DATABASE";

/// Not a test of its own: the process that the tests below kill. Writes without end, and says on its standard output
/// what was acknowledged.
#[test]
#[ignore = "the child process of the tests below"]
fn child_that_writes_until_killed() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(path, OpenMode::Serve).unwrap().store();
        for batch in 0.. {
            let tasks: Vec<_> = (0..20)
                .map(|task| {
                    let store = store.clone();
                    tokio::spawn(async move {
                        let id = format!("event {batch} {task}");
                        let events =
                            vec![event(Some(&id), "run", batch), event(Some(&format!("{id} b")), "run", batch)];
                        let receipt = accept(&store, events).await;
                        assert_eq!(receipt.accepted + receipt.duplicates, 2);
                        store.audit.append(&scope(), entry(&id), minute(batch)).await.unwrap();
                        id
                    })
                })
                .collect();
            for task in tasks {
                let id = task.await.unwrap();
                writeln!(std::io::stdout(), "\nacknowledged:{id}").unwrap();
            }
        }
    });
}

/// The child, killed when dropped.
struct Writing {
    child: Child,
}

impl Writing {
    fn start(home: &Home) -> Self {
        let module = module_path!().split_once("::").unwrap().1;
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::child_that_writes_until_killed"), "--ignored", "--nocapture"])
            .env(DATABASE, home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    /// Reads acknowledgements until there are enough, kills the process (SIGKILL), and reads the rest.
    fn kill_after(mut self, count: usize) -> HashSet<String> {
        let output = BufReader::new(self.child.stdout.take().unwrap());
        let mut acknowledged = HashSet::new();
        for line in output.lines() {
            if let Some(id) = line.unwrap().strip_prefix("acknowledged:") {
                acknowledged.insert(id.to_owned());
            }
            if acknowledged.len() == count {
                self.child.kill().unwrap();
            }
        }
        self.child.wait().unwrap();
        assert!(acknowledged.len() >= count, "the child ended by itself after {}", acknowledged.len());
        acknowledged
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is what was wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let home = Home::new();
    for (round, count) in [25, 130, 61].into_iter().enumerate() {
        // A new round on the same file: the killed server's lock is free, its log is recovered.
        let acknowledged = Writing::start(&home).kill_after(count);
        let store = home.store();
        let events = kept(&store, EventFilter::default()).await;
        let kept: HashSet<_> = events.iter().filter_map(|event| event.event_id.clone()).collect();
        assert_eq!(kept.len(), events.len(), "round {round}: an event is there twice");
        for id in &acknowledged {
            assert!(kept.contains(id), "round {round}: {id} was acknowledged and is lost");
        }
        for id in &kept {
            let pair = id.strip_suffix(" b").map_or_else(|| format!("{id} b"), str::to_owned);
            assert!(kept.contains(&pair), "round {round}: a batch was torn apart at {id}");
        }
        let verdict = store.audit.verify(&scope(), None).await.unwrap();
        let AuditVerdict::Intact { rows, .. } = verdict else { panic!("round {round}: {verdict:?}") };
        assert!(rows as usize >= acknowledged.len());
        let raw = home.raw();
        let check: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

#[test]
fn a_server_in_another_process_is_named_by_its_process_id() {
    let home = Home::new();
    let mut writing = Writing::start(&home);
    let mut output = BufReader::new(writing.child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("acknowledged:") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended by itself");
    }
    let Err(error) = SqliteStore::open(home.path(), OpenMode::Serve) else { panic!("two servers") };
    let pid = writing.child.id();
    assert_eq!(error.detail(), Some(format!("process {pid} holds it")));
    // Reading beside it is not refused.
    SqliteStore::open(home.path(), OpenMode::ReadOnly).unwrap();
    drop(writing);
    SqliteStore::open(home.path(), OpenMode::Serve).unwrap();
}
