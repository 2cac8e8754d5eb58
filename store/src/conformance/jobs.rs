//! Promises about job runs and watermarks.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::{DateTime, Utc};
use std::time::Duration;

pub async fn one_run_of_a_job_at_a_time(store: Store) {
    let tasks: Vec<_> = (0..40)
        .map(|index| {
            let store = store.clone();
            let new = new_run("cost_spike", &format!("holder {index}"), Some(window(0)), start());
            tokio::spawn(async move { store.jobs.begin(&scope(), new, start()).await.unwrap() })
        })
        .collect();
    let (mut started, mut busy) = (Vec::new(), Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Begun::Started(run) => started.push(run),
            Begun::Busy(run) => busy.push(run),
        }
    }
    assert_eq!((started.len(), busy.len()), (1, 39));
    assert!(busy.iter().all(|run| *run == started[0]));
    let other_job = store.jobs.begin(&scope(), new_run("agent_loop", "h", None, start()), start()).await.unwrap();
    assert!(matches!(other_job, Begun::Started(_)));
    let other = other_scope(&store).await;
    let other_project = store.jobs.begin(&other, new_run("cost_spike", "h", None, start()), start()).await.unwrap();
    assert!(matches!(other_project, Begun::Started(_)));
}

pub async fn a_run_that_stops_without_a_word_is_abandoned_and_the_next_may_begin(store: Store) {
    let first = begin(&store, "one", minute(0)).await.unwrap();
    assert!(begin(&store, "two", minute(1) - microsecond()).await.is_err(), "its lease still lives");
    let second = begin(&store, "two", minute(1)).await.unwrap();
    assert_ne!(first.id, second.id);
    let old = store.jobs.get(&scope(), &first.id).await.unwrap().unwrap();
    assert_eq!((old.status, old.finished_at), (JobStatus::Abandoned, Some(minute(1))));
    assert!(store.jobs.abandon_stale(&scope(), minute(2) - microsecond()).await.unwrap().is_empty());
    let stale = store.jobs.abandon_stale(&scope(), minute(2)).await.unwrap();
    assert_eq!(stale.iter().map(|run| &run.id).collect::<Vec<_>>(), [&second.id]);
}

pub async fn a_heartbeat_keeps_a_run_alive(store: Store) {
    let run = begin(&store, "one", minute(0)).await.unwrap();
    for minutes in 1..=5 {
        let beat = store.jobs.heartbeat(&scope(), &run.id, "one", Duration::from_secs(120), minute(minutes)).await;
        beat.unwrap();
    }
    assert!(begin(&store, "two", minute(6)).await.is_err());
    let beaten = store.jobs.get(&scope(), &run.id).await.unwrap().unwrap();
    assert_eq!((beaten.heartbeat_at, beaten.lease_until), (minute(5), minute(7)));
    let stranger = store.jobs.heartbeat(&scope(), &run.id, "two", Duration::from_secs(60), minute(6)).await;
    assert!(matches!(stranger, Err(StoreError::LeaseLost { .. })));
}

pub async fn finishing_advances_the_watermark_in_one_step(store: Store) {
    assert_eq!(store.jobs.watermark(&scope(), "cost_spike").await.unwrap(), None);
    let run = begin(&store, "one", minute(15)).await.unwrap();
    let finished = store.jobs.finish(&scope(), &run.id, "one", ok(Some(window(0).end)), minute(16)).await.unwrap();
    assert_eq!((finished.status, finished.finished_at), (JobStatus::Ok, Some(minute(16))));
    assert_eq!(finished.detail, ok(None).detail);
    assert_eq!(store.jobs.watermark(&scope(), "cost_spike").await.unwrap(), Some(window(0).end));
    assert!(begin(&store, "two", minute(16)).await.is_ok(), "the next may begin");
}

pub async fn a_window_with_a_gap_advances_nothing(store: Store) {
    store.jobs.advance(&scope(), "cost_spike", window(0).start).await.unwrap();
    for status in [JobStatus::Gap, JobStatus::Failed, JobStatus::TimedOut, JobStatus::Abandoned] {
        let run = begin(&store, "one", minute(15)).await.unwrap();
        let outcome = JobOutcome { status, error: Some("sentry is down".to_owned()), ..ok(Some(window(0).end)) };
        let refused = store.jobs.finish(&scope(), &run.id, "one", outcome.clone(), minute(16)).await;
        assert!(matches!(refused, Err(StoreError::Invalid { field: "advance_to", .. })));
        let honest = JobOutcome { advance_to: None, ..outcome };
        let finished = store.jobs.finish(&scope(), &run.id, "one", honest, minute(16)).await.unwrap();
        assert_eq!((finished.status, finished.error.as_deref()), (status, Some("sentry is down")));
    }
    assert_eq!(store.jobs.watermark(&scope(), "cost_spike").await.unwrap(), Some(window(0).start));
}

pub async fn a_watermark_never_goes_back(store: Store) {
    let advance = |to: DateTime<Utc>| {
        let jobs = store.jobs.clone();
        async move { jobs.advance(&scope(), "job", to).await.unwrap() }
    };
    assert_eq!(advance(minute(30)).await, minute(30));
    assert_eq!(advance(minute(10)).await, minute(30));
    assert_eq!(advance(minute(31)).await, minute(31));
    let run = begin(&store, "one", minute(40)).await.unwrap();
    store.jobs.finish(&scope(), &run.id, "one", ok(Some(minute(20))), minute(41)).await.unwrap();
    assert_eq!(store.jobs.watermark(&scope(), "job").await.unwrap(), Some(minute(31)));
    let other = other_scope(&store).await;
    assert_eq!(store.jobs.watermark(&other, "job").await.unwrap(), None);
}

pub async fn whoever_lost_a_run_cannot_finish_it(store: Store) {
    let lost = begin(&store, "one", minute(0)).await.unwrap();
    begin(&store, "two", minute(1)).await.unwrap();
    let late = store.jobs.finish(&scope(), &lost.id, "one", ok(Some(minute(15))), minute(2)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost { .. })));
    assert_eq!(store.jobs.watermark(&scope(), "cost_spike").await.unwrap(), None, "nor advance anything");
    let still_running = JobOutcome { status: JobStatus::Running, ..ok(None) };
    let senseless = store.jobs.finish(&scope(), &lost.id, "one", still_running, minute(2)).await;
    assert!(matches!(senseless, Err(StoreError::Invalid { .. })));
}

pub async fn attempts_at_one_window_are_counted(store: Store) {
    for attempt in 1..=3 {
        let run = begin(&store, "one", minute(attempt * 10)).await.unwrap();
        assert_eq!(run.attempt, attempt);
        let gap = JobOutcome { status: JobStatus::Gap, ..ok(None) };
        store.jobs.finish(&scope(), &run.id, "one", gap, minute(attempt * 10)).await.unwrap();
    }
    let next = new_run("cost_spike", "one", Some(window(1)), minute(40));
    let Begun::Started(run) = store.jobs.begin(&scope(), next, minute(40)).await.unwrap() else { panic!("busy") };
    assert_eq!((run.attempt, run.window), (1, Some(window(1))));
    let plain = new_run("expiry", "one", None, minute(40));
    let Begun::Started(run) = store.jobs.begin(&scope(), plain, minute(40)).await.unwrap() else { panic!("busy") };
    assert_eq!((run.attempt, run.window), (1, None));
}

pub async fn runs_are_listed_by_job_and_status(store: Store) {
    let first = begin(&store, "one", minute(0)).await.unwrap();
    store.jobs.finish(&scope(), &first.id, "one", ok(None), minute(1)).await.unwrap();
    let second = begin(&store, "one", minute(2)).await.unwrap();
    let list = |filter: JobRunFilter| {
        let jobs = store.jobs.clone();
        async move {
            let page = jobs.list(&scope(), &filter, &PageRequest::default()).await.unwrap();
            page.items.into_iter().map(|run| run.id).collect::<Vec<_>>()
        }
    };
    assert_eq!(list(JobRunFilter::default()).await, [second.id.clone(), first.id.clone()]);
    let running = JobRunFilter { status: Some(JobStatus::Running), ..JobRunFilter::default() };
    assert_eq!(list(running).await, [second.id]);
    let other = JobRunFilter { job: Some("digest".to_owned()), ..JobRunFilter::default() };
    assert!(list(other).await.is_empty());
}

/// Begins a run of `cost_spike` over the first window; `Err` holds the run that is alive.
async fn begin(store: &Store, holder: &str, now: DateTime<Utc>) -> Result<JobRun, JobRun> {
    let new = new_run("cost_spike", holder, Some(window(0)), now);
    match store.jobs.begin(&scope(), new, now).await.unwrap() {
        Begun::Started(run) => Ok(run),
        Begun::Busy(run) => Err(run),
    }
}

pub async fn old_runs_are_let_go_and_the_newest_of_each_job_stays(store: Store) {
    let jobs = &store.jobs;
    for (job, count) in [("a", 5), ("b", 1)] {
        for n in 0..count {
            let Begun::Started(run) = jobs.begin(&scope(), pruned(job, n), minute(n)).await.unwrap() else { panic!() };
            let outcome = JobOutcome { status: JobStatus::Ok, error: None, detail: None, advance_to: None };
            jobs.finish(&scope(), &run.id, "h", outcome, minute(n)).await.unwrap();
        }
    }
    let listed = async |job: &str| {
        let filter = JobRunFilter { job: Some(job.to_owned()), ..JobRunFilter::default() };
        let items = jobs.list(&scope(), &filter, &PageRequest::first(10)).await.unwrap().items;
        items.into_iter().map(|run| run.started_at).collect::<Vec<_>>()
    };
    assert_eq!(jobs.prune(&scope(), minute(2), 100).await.unwrap(), 2);
    assert_eq!(listed("a").await, [minute(4), minute(3), minute(2)]);
    assert_eq!(listed("b").await, [minute(0)], "the only run of a job tells when it ran last");
    assert_eq!(jobs.prune(&scope(), minute(0), 2).await.unwrap(), 1);
    assert_eq!(listed("a").await, [minute(4), minute(3)]);
    let Begun::Started(_) = jobs.begin(&scope(), pruned("a", 9), minute(9)).await.unwrap() else { panic!() };
    assert_eq!(jobs.prune(&scope(), minute(100), 1).await.unwrap(), 2, "one that is alive stays");
    assert_eq!(listed("a").await, [minute(9)]);
}

pub async fn a_run_that_found_nothing_to_do_leaves_no_row(store: Store) {
    let jobs = &store.jobs;
    let Begun::Started(run) = jobs.begin(&scope(), pruned("a", 0), minute(0)).await.unwrap() else { panic!() };
    let stranger = jobs.discard(&scope(), &run.id, "somebody", Some(minute(1))).await;
    assert!(matches!(stranger, Err(StoreError::LeaseLost { .. })));
    jobs.discard(&scope(), &run.id, "h", Some(minute(1))).await.unwrap();
    assert_eq!(jobs.get(&scope(), &run.id).await.unwrap(), None);
    assert_eq!(jobs.watermark(&scope(), "a").await.unwrap(), Some(minute(1)));
    assert!(jobs.discard(&scope(), &run.id, "h", None).await.is_err());
}

fn pruned(job: &str, at: i64) -> NewJobRun {
    NewJobRun {
        job: job.to_owned(),
        window: None,
        due_at: minute(at),
        holder: "h".to_owned(),
        lease_for: std::time::Duration::from_secs(3600),
    }
}
