//! Sessions on SQLite: raw events cannot be changed, histories of batches against a model, and that a crash is no end.

use super::Home;
use crate::conformance::fixtures::*;
use crate::conformance::sessions::{append, begin, sent};
use crate::sessions::dedupe::DedupeWindow;
use crate::sessions::*;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;

#[tokio::test]
async fn nobody_changes_or_removes_an_event_of_a_session() {
    let home = Home::new();
    let store = home.store();
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    let raw = home.raw();
    raw.pragma_update(None, "recursive_triggers", true).unwrap();
    for statement in [
        "UPDATE session_events SET raw_message = 'other'",
        "DELETE FROM session_events",
        "INSERT OR REPLACE INTO session_events SELECT * FROM session_events",
    ] {
        let refused = raw.execute(statement, []).unwrap_err().to_string();
        assert!(refused.contains("immutable"), "{statement}: {refused}");
    }
}

#[tokio::test]
async fn of_a_session_nothing_is_lost_when_the_store_is_opened_again() {
    let home = Home::new();
    let store = home.store();
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    let before = store.sessions.snapshot(&scope(), &session.id).await.unwrap();
    drop(store);
    let store = home.store();
    assert_eq!(store.sessions.snapshot(&scope(), &session.id).await.unwrap(), before);
    let again = append(&store, vec![sent(&session, start(), json!({}))]).await;
    assert_eq!(again, [EventOutcome::Duplicate]);
}

/// What a sender may do next.
#[derive(Debug, Clone)]
enum Step {
    Send(Vec<(u8, i64)>),
    End,
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((0_u8..3, -6000_i64..6000), 1..8).prop_map(Step::Send),
        1 => Just(Step::End),
        2 => Just(Step::Again),
    ]
}

/// Events that are kept: what they say, and when they happened.
type Model = Vec<(u8, DateTime<Utc>)>;

async fn play(steps: Vec<Step>) {
    let home = Home::new();
    let store = home.store();
    let session = begin(&store, "k").await.session;
    let window = DedupeWindow::default();
    let (mut model, mut ended, mut last) = (Model::new(), None, Vec::new());
    for step in steps {
        let batch = match step {
            Step::End => {
                let end = start() + TimeDelta::seconds(1);
                let by_id = SessionRef::Id(session.id.clone());
                store.sessions.end(&scope(), &by_id, Some(&end.to_rfc3339()), minute(1)).await.unwrap();
                ended = Some(end);
                continue;
            }
            Step::Send(batch) => batch,
            Step::Again => last.clone(),
        };
        let events: Vec<_> = batch
            .iter()
            .map(|(what, millis)| {
                sent(&session, start() + TimeDelta::milliseconds(*millis), json!({"payload": {"n": what}}))
            })
            .collect();
        let outcomes = append(&store, events).await;
        for ((what, millis), outcome) in batch.iter().zip(outcomes) {
            let at = start() + TimeDelta::milliseconds(*millis);
            let is_known = model.iter().any(|(kept, kept_at)| kept == what && window.covers(*kept_at, at));
            match outcome {
                EventOutcome::Duplicate => assert!(is_known),
                EventOutcome::Ended(_) => assert!(!is_known && ended.is_some_and(|end| at > end)),
                EventOutcome::Ingested => {
                    assert!(!is_known && ended.is_none_or(|end| at <= end));
                    model.push((*what, at));
                }
                EventOutcome::Refused(refusal) => panic!("{refusal:?}"),
            }
        }
        last = batch;
    }
    let found = store.sessions.snapshot(&scope(), &session.id).await.unwrap().unwrap();
    assert_eq!((found.events.len(), found.session.event_count), (model.len(), model.len() as i64));
    assert!(
        found
            .events
            .windows(2)
            .all(|pair| { (pair[0].client_timestamp, pair[0].seq) < (pair[1].client_timestamp, pair[1].seq) })
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_sent_in_whatever_order_each_event_is_kept_once(steps in prop::collection::vec(step(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(play(steps));
    }
}
