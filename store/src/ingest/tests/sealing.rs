//! Sealing, compaction and retention, when nothing fails.

use super::*;
use crate::ingest::Maintained;
use crate::ingest::events_table;
use crate::sqlite::tests::Home;
use datafusion::prelude::{SessionConfig, SessionContext};
use std::collections::BTreeSet;

/// The files of sealed events of a home.
fn files(home: &Home) -> BTreeSet<String> {
    fn walk(folder: &std::path::Path, found: &mut BTreeSet<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), found),
                false => drop(found.insert(entry.file_name().into_string().unwrap())),
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&home.path().with_file_name("segments"), &mut found);
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_events_are_the_same_events() {
    let home = Home::new();
    let store = home.serve();
    for batch in 0..10 {
        accept(&store.store(), numbered(batch * 100, batch * 100 + 100)).await;
    }
    let before = everything(&store).await;
    let done = store.maintain_events(later(), &at_once(250)).await.unwrap();
    assert_eq!(done, Maintained { sealed: 1_000, ..Maintained::default() });
    assert_eq!(counts(&store).await, [0, 5, 0], "a file holds whole rows of the log, 250 events at most");
    assert_eq!(files(&home).len(), 5);
    assert_eq!(everything(&store).await, before);
    accept(&store.store(), numbered(1_000, 1_100)).await;
    assert_eq!(everything(&store).await.len(), 1_100, "log and files are one table");
    drop(store);
    assert_eq!(everything(&home.serve()).await.len(), 1_100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_sealed_is_still_known_also_after_a_restart() {
    let home = Home::new();
    let store = home.serve();
    accept(&store.store(), numbered(0, 100)).await;
    store.maintain_events(later(), &at_once(1_000)).await.unwrap();
    assert_eq!(accept(&store.store(), numbered(0, 100)).await.duplicates, 100);
    drop(store);
    let store = home.serve();
    let receipt = accept(&store.store(), numbered(50, 150)).await;
    assert_eq!((receipt.accepted, receipt.duplicates), (50, 50));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_appended_is_known() {
    let home = Home::new();
    let server = home.serve();
    let beside = home.open(crate::sqlite::OpenMode::Beside);
    for (store, from, fresh) in [(&server, 0, 10), (&beside, 5, 5), (&server, 10, 5), (&beside, 0, 0)] {
        assert_eq!(accept(&store.store(), numbered(from, from + 10)).await.accepted, fresh);
    }
    assert_eq!(everything(&server).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_until_there_are_enough_or_they_are_old_enough() {
    let home = Home::new();
    let store = home.serve();
    accept(&store.store(), numbered(0, 100)).await;
    let policy = MaintenancePolicy { seal_events: 200, seal_after: Duration::from_secs(60), ..Default::default() };
    let sealed =
        async |seconds| store.maintain_events(arrival() + TimeDelta::seconds(seconds), &policy).await.unwrap().sealed;
    assert_eq!(sealed(59).await, 0);
    assert_eq!(sealed(60).await, 100);
    accept(&store.store(), numbered(100, 350)).await;
    assert_eq!(sealed(1).await, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_and_the_old_ones_go_after_their_grace() {
    let home = Home::new();
    let store = home.serve();
    let policy = MaintenancePolicy { grace: Duration::from_secs(600), ..at_once(50) };
    for file in 0..9 {
        accept(&store.store(), numbered(file * 50, file * 50 + 50)).await;
        store.maintain_events(later(), &policy).await.unwrap();
    }
    let before = everything(&store).await;
    assert_eq!(before.len(), 450);
    assert_eq!(counts(&store).await, [0, 2, 8], "eight became one, and the ninth is there");
    assert_eq!(files(&home).len(), 10);
    let done = store.maintain_events(later() + TimeDelta::seconds(601), &policy).await.unwrap();
    assert_eq!(done.removed, 8);
    assert_eq!((counts(&store).await, files(&home).len()), ([0, 2, 0], 2));
    // When the day is over, what is left of it is made one too.
    let done = store.maintain_events(later() + TimeDelta::days(1), &policy).await.unwrap();
    assert_eq!(done.compacted, 2);
    assert_eq!(everything(&store).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_when_they_were_kept_long_enough() {
    let home = Home::new();
    let store = home.serve();
    let policy = MaintenancePolicy { keep_for: Some(Duration::from_secs(30 * 86_400)), ..at_once(50) };
    accept(&store.store(), numbered(0, 50)).await;
    store.maintain_events(later(), &policy).await.unwrap();
    let new = arrival() + TimeDelta::days(20);
    store.store().events.accept(&scope(), new, numbered(50, 60)).await.unwrap();
    for (days, left) in [(29, 60), (31, 10), (51, 0)] {
        store.maintain_events(arrival() + TimeDelta::days(days), &policy).await.unwrap();
        assert_eq!(everything(&store).await.len(), left, "after {days} days");
    }
    store.maintain_events(arrival() + TimeDelta::days(52), &policy).await.unwrap();
    assert!(files(&home).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_each_event_once_while_they_are_sealed_and_compacted() {
    let home = Home::new();
    let store = home.serve();
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for batch in 0..40 {
                accept(&store.store(), numbered(batch * 25, batch * 25 + 25)).await;
                // Readers have the grace of the real policy.
                let policy = MaintenancePolicy { grace: Duration::from_secs(600), ..at_once(30) };
                store.maintain_events(later(), &policy).await.unwrap();
            }
        })
    };
    let mut seen = 0;
    while !writer.is_finished() {
        let seqs: Vec<_> = everything(&store).await.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>(), "no gap, nothing twice");
        assert!(seqs.len() >= seen, "nothing disappears");
        seen = seqs.len();
    }
    writer.await.unwrap();
    assert_eq!(everything(&store).await.len(), 1_000);
}

async fn rows(context: &SessionContext, sql: &str) -> String {
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_decides_gives_the_same_rows_as_what_the_engine_decides() {
    let home = Home::new();
    let store = home.serve();
    for batch in 0..4 {
        let events = (0..60).map(|n| WireEvent {
            agent_id: format!("agent {}", n % 3),
            event_type: if n % 2 == 0 { "tool.called" } else { "llm.called" }.to_owned(),
            parent_run_id: (n % 4 == 0).then(|| "parent".to_owned()),
            ..event(None, &format!("run {}", n % 7), batch * 60 + n)
        });
        store.store().events.accept(&scope(), arrival() + TimeDelta::minutes(batch), events.collect()).await.unwrap();
        if batch < 3 {
            store.maintain_events(arrival() + TimeDelta::minutes(batch), &at_once(100)).await.unwrap();
        }
    }
    assert_eq!(counts(&store).await, [1, 3, 0]);
    let config = SessionConfig::new().with_target_partitions(2).set_str("datafusion.execution.time_zone", "UTC");
    let context = SessionContext::new_with_config(config);
    context.register_table("events", events_table(&store, &scope())).unwrap();
    let copy = context.sql("SELECT * FROM events").await.unwrap().cache().await.unwrap();
    context.register_table("copy", copy.into_view()).unwrap();
    let from = minute(50).to_rfc3339();
    let mut exact = 0;
    for condition in [
        "run_id = 'run 3'",
        "run_id IN ('run 1', 'run 2', 'run 5', 'run 6', 'none')",
        "run_id = 'run 3' OR run_id = 'run 4'",
        "run_id = 'run 3' AND run_id = 'run 4'",
        "run_id = 'run 3' OR agent_id = 'agent 1'",
        "agent_id = 'agent 1' AND event_type = 'tool.called' AND run_id = 'run 2'",
        "event_type <> 'tool.called'",
        "run_id NOT IN ('run 1', 'run 2', 'run 3', 'run 5')",
        "parent_run_id IS NULL AND run_id = 'run 4'",
        "seq > 100 AND seq >= 120",
        "seq < 100 AND run_id = 'run 0'",
        "seq BETWEEN 50 AND 70",
        &format!("occurred_at >= '{from}'"),
        &format!("occurred_at > '{from}' AND occurred_at <= '{from}'"),
        &format!("occurred_at = '{from}'"),
        &format!("received_at < '{}'", (arrival() + TimeDelta::minutes(2)).to_rfc3339()),
        "payload LIKE '%tool%' AND seq > 200",
    ] {
        let query = |table: &str| {
            format!(
                "SELECT seq, run_id, event_id, step_index, occurred_at, sha256 FROM {table} WHERE {condition} ORDER BY seq"
            )
        };
        assert_eq!(rows(&context, &query("events")).await, rows(&context, &query("copy")).await, "{condition}");
        let count =
            |table| format!("SELECT count(*) AS n, min(seq) AS a, max(payload) AS b FROM {table} WHERE {condition}");
        assert_eq!(rows(&context, &count("events")).await, rows(&context, &count("copy")).await, "{condition}");
        let plan = context.sql(&query("events")).await.unwrap().create_physical_plan().await.unwrap();
        let plan = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
        exact += usize::from(!plan.contains("FilterExec"));
    }
    assert_eq!(exact, 10, "as many conditions are carried out by the log alone");
    let limited = context.sql("SELECT seq FROM events WHERE agent_id = 'agent 1' LIMIT 5").await.unwrap();
    assert_eq!(limited.count().await.unwrap(), 5);
    let twice = "SELECT count(*) FROM events a JOIN events b ON a.seq = b.seq";
    assert!(rows(&context, twice).await.contains("240"));
}
