//! Promises of the event log: what is kept, once, and read back.

use super::fixtures::*;
use crate::ingest::{EventFilter, IngestError, TimeRange, WireEvent};
use crate::model::{ProjectId, Scope, Store};
use chrono::TimeDelta;
use serde_json::json;
use std::collections::BTreeSet;

pub async fn an_event_is_kept_once_by_id_or_by_content(store: Store) {
    let first = accept(&store, vec![event(Some("e1"), "run", 1), event(None, "run", 2)]).await;
    assert_eq!((first.accepted, first.duplicates), (2, 0));
    let changed = json!({"tool_name": "other"}).as_object().cloned().unwrap();
    let same_id = WireEvent { payload: changed, ..event(Some("e1"), "run", 1) };
    let same_content = event(None, "run", 2);
    let other_id = event(Some("e2"), "run", 1);
    let again = accept(&store, vec![same_id, same_content, other_id]).await;
    assert_eq!((again.accepted, again.duplicates), (1, 2));
    let other = other_scope(&store).await;
    let theirs = store.events.accept(&other, arrival(), vec![event(Some("e1"), "run", 1)]).await.unwrap();
    assert_eq!((theirs.accepted, theirs.duplicates), (1, 0));
    assert_eq!(kept(&store, EventFilter::default()).await.len(), 3);
}

pub async fn a_batch_answers_for_each_of_its_events(store: Store) {
    let wrong = WireEvent { step_index: -1, ..event(None, "run", 3) };
    let batch = vec![event(Some("a"), "run", 1), event(Some("a"), "run", 1), wrong.clone(), event(Some("b"), "run", 2)];
    let receipt = accept(&store, batch).await;
    assert_eq!((receipt.accepted, receipt.duplicates), (2, 1));
    assert_eq!((receipt.rejected[0].index, receipt.rejected[0].field.as_str()), (2, "step_index"));
    let nothing = store.events.accept(&scope(), arrival(), vec![wrong]).await;
    assert!(matches!(nothing, Err(IngestError::Nothing { rejected }) if rejected.len() == 1));
    assert_eq!(accept(&store, Vec::new()).await.accepted, 0);
}

pub async fn events_read_back_as_they_came_numbered_in_their_order(store: Store) {
    accept(&store, vec![event(Some("late"), "run", 9), event(Some("early"), "run", 1)]).await;
    accept(&store, vec![event(Some("x"), "else", 5)]).await;
    let mut events = kept(&store, EventFilter::default()).await;
    events.sort_by_key(|event| event.seq);
    let seen: Vec<_> = events.iter().map(|e| (e.seq, e.event_id.as_deref().unwrap(), e.step_index)).collect();
    assert_eq!(seen, [(1, "late", 9), (2, "early", 1), (3, "x", 5)]);
    assert_eq!(events[0].payload, r#"{"tool_name":"t"}"#);
    assert_eq!(events[0].occurred_at, minute(9));
    assert_eq!(events[0].sha256.len(), 64);
    assert_eq!(store.events.newest_seq().await.unwrap(), 3);
}

pub async fn a_filter_wants_what_it_says(store: Store) {
    for step in 0..20 {
        let run = format!("run {}", step % 4);
        let agent_id = format!("agent {}", step % 2);
        accept(&store, vec![WireEvent { agent_id, ..event(Some(&step.to_string()), &run, step) }]).await;
    }
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>());
    let between = |from, until| TimeRange { from: Some(minute(from)), until: Some(minute(until)) };
    for (filter, count) in [
        (EventFilter { run_ids: words(&["run 1"]), ..EventFilter::default() }, 5),
        (EventFilter { run_ids: words(&["run 1", "run 2", "none"]), ..EventFilter::default() }, 10),
        (EventFilter { agent_ids: words(&["agent 1"]), ..EventFilter::default() }, 10),
        (EventFilter { event_types: words(&["run.started"]), ..EventFilter::default() }, 0),
        (EventFilter { run_ids: words(&[]), ..EventFilter::default() }, 0),
        (EventFilter { occurred: between(3, 7), ..EventFilter::default() }, 4),
        (EventFilter { occurred: between(7, 3), ..EventFilter::default() }, 0),
        (EventFilter { received: between(0, 1), ..EventFilter::default() }, 0),
        (EventFilter { seq_after: Some(15), ..EventFilter::default() }, 5),
        (
            EventFilter {
                run_ids: words(&["run 1"]),
                seq_after: Some(10),
                occurred: between(0, 14),
                ..EventFilter::default()
            },
            1,
        ),
    ] {
        assert_eq!(kept(&store, filter.clone()).await.len(), count, "{filter:?}");
    }
}

pub async fn an_event_of_yesterday_is_known_and_one_of_the_day_before_is_new(store: Store) {
    accept(&store, vec![event(Some("e"), "run", 1)]).await;
    let again =
        |hours| store.events.accept(&SCOPE, arrival() + TimeDelta::hours(hours), vec![event(Some("e"), "run", 1)]);
    assert_eq!(again(24).await.unwrap().duplicates, 1);
    assert_eq!(again(26).await.unwrap().accepted, 1);
    assert_eq!(again(27).await.unwrap().duplicates, 1);
}

pub async fn many_senders_at_once_lose_nothing_and_double_nothing(store: Store) {
    let senders = (0..40).map(|sender| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut accepted = 0;
            // Each batch is sent by two senders.
            for batch in 0..10 {
                let id = |n: usize| format!("{} {batch} {n}", sender / 2);
                let events = (0..5).map(|n| event(Some(&id(n)), "run", n as i64)).collect();
                accepted += accept(&store, events).await.accepted;
            }
            accepted
        })
    });
    let accepted = futures::future::join_all(senders).await.into_iter().map(Result::unwrap).sum::<usize>();
    assert_eq!(accepted, 20 * 10 * 5);
    let mut seqs: Vec<_> = kept(&store, EventFilter::default()).await.iter().map(|event| event.seq).collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
}

pub async fn nobody_sees_the_events_of_another_project(store: Store) {
    accept(&store, vec![event(Some("e"), "run", 1)]).await;
    let other = other_scope(&store).await;
    assert!(kept_of(&store, &other, EventFilter::default()).await.is_empty());
    let nobody = Scope::project(ProjectId::new("nobody"));
    assert!(kept_of(&store, &nobody, EventFilter::default()).await.is_empty());
}

static SCOPE: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(scope);
