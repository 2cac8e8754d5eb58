//! Promises about sessions: what is kept, what is told apart, what derived rows may change.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use crate::sessions::Kept;
use crate::sessions::dedupe::DedupeWindow;
use crate::sessions::validate::{self, StartBody};
use crate::sessions::*;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

pub async fn a_session_begun_twice_with_one_key_is_one_session(store: Store) {
    let first = begin(&store, "key-1").await;
    assert!(first.created);
    let again = begin(&store, "key-1").await;
    assert_eq!((again.created, again.session), (false, first.session.clone()));
    let other_user = StartBody { user_id: "bob".to_owned(), ..body("key-1") };
    let refused = store.sessions.start(&SCOPE, validate::start(other_user, start()).unwrap(), start()).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    let by_key = store.sessions.find(&SCOPE, &SessionRef::Key("key-1".to_owned())).await.unwrap();
    assert_eq!(by_key, Some(first.session));
}

pub async fn an_event_is_kept_once_within_the_window_whatever_the_time_says(store: Store) {
    let session = begin(&store, "k").await.session;
    let at = |millis: i64| sent(&session, start() + TimeDelta::milliseconds(millis), json!({}));
    let batch = vec![at(0), at(0), at(2000), at(2001), at(-2000), at(3999), at(4002)];
    let outcomes = append(&store, batch.clone()).await;
    use EventOutcome::{Duplicate, Ingested};
    // Compared with what is kept: 2001 is kept, so 3999 repeats it and 4002 does not.
    assert_eq!(outcomes, [Ingested, Duplicate, Duplicate, Ingested, Duplicate, Duplicate, Ingested]);
    let again = append(&store, batch).await;
    assert!(again.iter().all(|outcome| *outcome == Duplicate), "a batch that is sent again adds nothing: {again:?}");
    assert_eq!(store.sessions.get(&SCOPE, &session.id).await.unwrap().unwrap().event_count, 3);
}

pub async fn a_window_of_nothing_tells_by_the_very_time(store: Store) {
    let session = begin(&store, "k").await.session;
    let window = DedupeWindow::of_millis(0);
    let events = vec![
        sent(&session, start(), json!({})),
        sent(&session, start(), json!({})),
        sent(&session, start() + microsecond(), json!({})),
    ];
    let outcomes = store.sessions.append(&SCOPE, events, window, minute(1)).await.unwrap();
    assert_eq!(outcomes, [EventOutcome::Ingested, EventOutcome::Duplicate, EventOutcome::Ingested]);
}

pub async fn of_many_equal_batches_at_once_each_event_is_kept_once(store: Store) {
    let session = begin(&store, "k").await.session;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (store, session) = (store.clone(), session.clone());
            let events = (0..10).map(move |n| sent(&session, start(), json!({"payload": {"n": n}}))).collect();
            tokio::spawn(async move { append(&store, events).await })
        })
        .collect();
    let mut ingested = 0;
    for task in tasks {
        ingested += task.await.unwrap().iter().filter(|outcome| **outcome == EventOutcome::Ingested).count();
    }
    let page = store.sessions.events(&SCOPE, &session.id, &PageRequest::first(1000)).await.unwrap();
    assert_eq!((ingested, page.items.len()), (10, 10));
    assert_eq!(store.sessions.get(&SCOPE, &session.id).await.unwrap().unwrap().event_count, 10);
}

pub async fn an_id_of_an_event_is_given_once(store: Store) {
    let session = begin(&store, "k").await.session;
    let id = "0199aaaa-0000-7000-8000-000000000001";
    let first = sent(&session, start(), json!({"id": id, "payload": {"n": 1}}));
    let other = sent(&session, start(), json!({"id": id, "payload": {"n": 2}}));
    let outcomes = append(&store, vec![first.clone(), other, first]).await;
    assert_eq!(outcomes[0], EventOutcome::Ingested);
    assert!(matches!(&outcomes[1], EventOutcome::Refused(refusal) if refusal.field == "id"), "{outcomes:?}");
    assert_eq!(outcomes[2], EventOutcome::Duplicate);
}

pub async fn after_the_end_only_events_from_before_it_are_kept(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, minute(1), json!({}))]).await;
    let by_id = SessionRef::Id(session.id.clone());
    let end = minute(5).to_rfc3339();
    let ended = store.sessions.end(&SCOPE, &by_id, Some(&end), minute(6)).await.unwrap();
    assert_eq!((ended.status, ended.end_time), (SessionStatus::Ended, Some(minute(5))));
    let outcomes = append(
        &store,
        vec![
            sent(&session, minute(5), json!({"payload": {"late": true}})),
            sent(&session, minute(5) + microsecond(), json!({"payload": {"too": "late"}})),
            sent(&session, minute(1), json!({})),
        ],
    )
    .await;
    assert_eq!(outcomes[0], EventOutcome::Ingested);
    assert!(matches!(&outcomes[1], EventOutcome::Ended(refusal) if refusal.field == "client_timestamp"));
    assert_eq!(outcomes[2], EventOutcome::Duplicate);
    // The same end again changes nothing; another is refused.
    let again = store.sessions.end(&SCOPE, &by_id, Some(&end), minute(9)).await.unwrap();
    assert_eq!((again.end_time, again.revision), (ended.end_time, ended.revision + 1), "the late event is a revision");
    assert_eq!(store.sessions.end(&SCOPE, &by_id, None, minute(9)).await.unwrap(), again);
    let other = store.sessions.end(&SCOPE, &by_id, Some(&minute(4).to_rfc3339()), minute(9)).await;
    assert!(matches!(other, Err(StoreError::WrongState { .. })));
}

pub async fn a_session_does_not_end_before_it_began(store: Store) {
    let session = begin(&store, "k").await.session;
    let by_id = SessionRef::Id(session.id);
    let early = store.sessions.end(&SCOPE, &by_id, Some(&minute(-1).to_rfc3339()), minute(1)).await;
    assert!(matches!(early, Err(StoreError::Invalid { field: "end_time", .. })), "{early:?}");
    let missing = store.sessions.end(&SCOPE, &SessionRef::Key("none".to_owned()), None, minute(1)).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

pub async fn events_of_a_session_that_is_not_there_are_refused_and_the_others_kept(store: Store) {
    let session = begin(&store, "k").await.session;
    let lost = Session { id: "0199aaaa-0000-7000-8000-00000000dead".parse().unwrap(), ..session.clone() };
    let outcomes = append(&store, vec![sent(&lost, start(), json!({})), sent(&session, start(), json!({}))]).await;
    assert!(matches!(&outcomes[0], EventOutcome::Refused(refusal) if refusal.field == "session_id"));
    assert_eq!(outcomes[1], EventOutcome::Ingested);
}

pub async fn events_are_listed_by_time_and_pages_neither_repeat_nor_skip(store: Store) {
    let session = begin(&store, "k").await.session;
    // Many of one time, and not in the order of time.
    let events = (0..25).map(|n| sent(&session, minute((n * 7) % 5), json!({"payload": {"n": n}}))).collect();
    append(&store, events).await;
    let (mut seen, mut page) = (Vec::new(), PageRequest::first(4));
    loop {
        let found = store.sessions.events(&SCOPE, &session.id, &page).await.unwrap();
        seen.extend(found.items.into_iter().map(|event| (event.client_timestamp, event.id)));
        let Some(next) = found.next else { break };
        page = PageRequest::after(4, next.to_string().parse().unwrap());
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]));
}

pub async fn another_project_sees_no_session_of_ours_and_may_use_its_key(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    let other = other_scope(&store).await;
    assert_eq!(store.sessions.get(&other, &session.id).await.unwrap(), None);
    let page = PageRequest::default();
    assert!(store.sessions.events(&other, &session.id, &page).await.unwrap().items.is_empty());
    assert_eq!(store.sessions.snapshot(&other, &session.id).await.unwrap(), None);
    let theirs = validate::start(StartBody { user_id: "eve".to_owned(), ..body("k") }, start()).unwrap();
    let theirs = store.sessions.start(&other, theirs, start()).await.unwrap();
    assert!(theirs.created && theirs.session.id != session.id);
    let outcome =
        store.sessions.append(&other, vec![sent(&session, minute(1), json!({}))], DedupeWindow::default(), minute(1));
    assert!(matches!(outcome.await.unwrap()[0], EventOutcome::Refused(_)));
}

pub async fn what_is_processed_waits_no_longer_unless_events_came_meanwhile(store: Store) {
    let session = begin(&store, "k").await.session;
    assert!(waiting(&store, Waiting::Processing { rest: REST }, minute(1)).await.is_empty(), "nothing has come yet");
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    assert_eq!(waiting(&store, Waiting::Processing { rest: REST }, minute(1)).await, vec![session.id.clone()]);
    let before = snapshot(&store, &session.id).await;
    append(&store, vec![sent(&session, minute(1), json!({}))]).await;
    assert_eq!(keep(&store, &before, minute(1)).await, Kept::Changed);
    let now = store.sessions.get(&SCOPE, &session.id).await.unwrap().unwrap();
    assert!(now.requires_processing, "the second event is not in what was derived");
    assert_eq!(now.event_count, 2, "the count of the door is the newer one");
    let rested = minute(1) + TimeDelta::seconds(5);
    let soon = rested - microsecond();
    assert!(waiting(&store, Waiting::Processing { rest: REST }, soon).await.is_empty(), "an active one rests");
    assert_eq!(waiting(&store, Waiting::Processing { rest: REST }, rested).await.len(), 1);
    let after = snapshot(&store, &session.id).await;
    assert_eq!(keep(&store, &after, rested).await, Kept::Changed);
    assert_eq!(keep(&store, &before, rested).await, Kept::Outdated, "a slower worker changes nothing");
    assert!(!store.sessions.get(&SCOPE, &session.id).await.unwrap().unwrap().requires_processing);
}

pub async fn an_ended_session_is_processed_at_once_and_then_waits_for_its_deep_analysis(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    keep(&store, &snapshot(&store, &session.id).await, minute(1)).await;
    assert_eq!(waiting(&store, Waiting::Light, minute(1)).await.len(), 1);
    assert!(waiting(&store, Waiting::Deep, minute(1)).await.is_empty());
    store.sessions.end(&SCOPE, &SessionRef::Id(session.id.clone()), None, minute(1)).await.unwrap();
    assert_eq!(waiting(&store, Waiting::Processing { rest: REST }, minute(1)).await.len(), 1);
    assert!(waiting(&store, Waiting::Deep, minute(1)).await.is_empty(), "not before it is processed");
    keep(&store, &snapshot(&store, &session.id).await, minute(1)).await;
    assert!(store.sessions.get(&SCOPE, &session.id).await.unwrap().unwrap().ready_for_deep);
    assert_eq!(waiting(&store, Waiting::Deep, minute(1)).await.len(), 1);
    assert!(waiting(&store, Waiting::Light, minute(1)).await.is_empty());
    let snapshot = snapshot(&store, &session.id).await;
    assert_eq!(evaluate(&store, &snapshot, AnalysisMode::Deep, &["a"]).await, Kept::Changed);
    assert_eq!(evaluate(&store, &snapshot, AnalysisMode::Deep, &["a"]).await, Kept::Unchanged);
    assert!(waiting(&store, Waiting::Deep, minute(1)).await.is_empty());
    // A late event brings it back.
    append(&store, vec![sent(&session, minute(1), json!({"payload": {"late": true}}))]).await;
    assert_eq!(waiting(&store, Waiting::Processing { rest: REST }, minute(1)).await.len(), 1);
}

pub async fn light_insights_stay_until_the_deep_analysis_judges_the_whole(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({}))]).await;
    keep(&store, &snapshot(&store, &session.id).await, minute(1)).await;
    let first = snapshot(&store, &session.id).await;
    assert_eq!(evaluate(&store, &first, AnalysisMode::Light, &["a", "b"]).await, Kept::Changed);
    assert_eq!(evaluate(&store, &first, AnalysisMode::Light, &["b", "c"]).await, Kept::Changed);
    assert_eq!(keys(&store, &session.id).await, ["a", "b", "c"]);
    assert_eq!(evaluate(&store, &first, AnalysisMode::Light, &["b"]).await, Kept::Unchanged);
    assert_eq!(evaluate(&store, &first, AnalysisMode::Deep, &["c", "d"]).await, Kept::Changed);
    assert_eq!(keys(&store, &session.id).await, ["c", "d"]);
    assert_eq!(evaluate(&store, &first, AnalysisMode::Light, &["a"]).await, Kept::Outdated);
    assert_eq!(keys(&store, &session.id).await, ["c", "d"]);
}

pub async fn deriving_again_changes_no_byte_and_no_event(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, (0..5).map(|n| sent(&session, minute(n), json!({"payload": {"n": n}}))).collect()).await;
    let events = store.sessions.events(&SCOPE, &session.id, &PageRequest::first(100)).await.unwrap();
    keep(&store, &snapshot(&store, &session.id).await, minute(9)).await;
    let first = snapshot(&store, &session.id).await;
    evaluate(&store, &first, AnalysisMode::Deep, &["a"]).await;
    let rows = everything(&store, &session.id).await;
    assert_eq!(keep(&store, &snapshot(&store, &session.id).await, minute(60)).await, Kept::Unchanged);
    assert_eq!(evaluate(&store, &first, AnalysisMode::Deep, &["a"]).await, Kept::Unchanged);
    assert_eq!(everything(&store, &session.id).await, rows);
    assert_eq!(store.sessions.events(&SCOPE, &session.id, &PageRequest::first(100)).await.unwrap(), events);
}

pub async fn counts_and_top_clusters_are_of_one_session(store: Store) {
    let session = begin(&store, "k").await.session;
    append(&store, vec![sent(&session, start(), json!({})), sent(&session, minute(1), json!({}))]).await;
    keep(&store, &snapshot(&store, &session.id).await, minute(1)).await;
    evaluate(&store, &snapshot(&store, &session.id).await, AnalysisMode::Light, &["a", "b"]).await;
    let counts = store.sessions.counts(&SCOPE, &session.id).await.unwrap();
    let expected = SessionCounts { clusters: 1, correlations: 1, insights: vec![(InsightSeverity::High, 2)] };
    assert_eq!(counts, expected);
    assert_eq!(store.sessions.top_clusters(&SCOPE, &session.id, 5).await.unwrap().len(), 1);
    let other = begin(&store, "other").await.session;
    assert_eq!(store.sessions.counts(&SCOPE, &other.id).await.unwrap(), SessionCounts::default());
    let all: HashSet<_> = store
        .sessions
        .insights(&SCOPE, None, &PageRequest::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|i| i.insight_key)
        .collect();
    assert_eq!(all.len(), 2);
}

// Builders ---------------------------------------------------------------------------------------------------------

static SCOPE: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(scope);
const REST: Duration = Duration::from_secs(5);

fn body(key: &str) -> StartBody {
    StartBody {
        external_session_key: Some(key.to_owned()),
        user_id: "ann".to_owned(),
        workspace_id: "shop".to_owned(),
        tags: vec!["test".to_owned()],
        ..StartBody::default()
    }
}

/// Begins a session at [`start`].
pub(crate) async fn begin(store: &Store, key: &str) -> StartedSession {
    store.sessions.start(&SCOPE, validate::start(body(key), start()).unwrap(), start()).await.unwrap()
}

/// An error on `src/a.py` at a time, with these fields instead.
pub(crate) fn sent(session: &Session, at: DateTime<Utc>, fields: Value) -> NewSessionEvent {
    let mut event = json!({
        "event_type": "error", "source_type": "system", "file_path": "src/a.py",
        "raw_message": "ValueError: bad", "client_timestamp": at.to_rfc3339(),
    });
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    let raw = serde_json::value::to_raw_value(&event).unwrap();
    validate::event(&raw, Some(&session.id), at).unwrap()
}

/// Sends events.
pub(crate) async fn append(store: &Store, events: Vec<NewSessionEvent>) -> Vec<EventOutcome> {
    store.sessions.append(&SCOPE, events, DedupeWindow::default(), minute(1)).await.unwrap()
}

/// A session with all there is of it.
pub(crate) async fn snapshot(store: &Store, id: &SessionId) -> SessionSnapshot {
    store.sessions.snapshot(&SCOPE, id).await.unwrap().unwrap()
}

async fn waiting(store: &Store, what: Waiting, now: DateTime<Utc>) -> Vec<SessionId> {
    store.sessions.waiting(&SCOPE, what, now, 10).await.unwrap()
}

/// Keeps one cluster of all events, and a correlation of the last with the first where there are two.
pub(crate) async fn keep(store: &Store, snapshot: &SessionSnapshot, now: DateTime<Utc>) -> Kept {
    let (session, events) = (&snapshot.session, &snapshot.events);
    let (mut clusters, mut correlations) = (Vec::new(), Vec::new());
    if let (Some(first), Some(last)) = (events.first(), events.last()) {
        clusters.push(ErrorCluster {
            id: derived_id("error_clusters", &[session.id.as_str(), "x"]),
            session_id: session.id.clone(),
            normalized_error: "x".to_owned(),
            error_type: ErrorType::Runtime,
            representative_event_id: first.id.clone(),
            occurrence_count: events.len() as i64,
            last_seen_at: last.client_timestamp,
            metadata: json!({"share": 0.25}),
            created_at: first.server_timestamp,
            updated_at: last.server_timestamp,
        });
        if first.id != last.id {
            correlations.push(EventCorrelation {
                id: derived_id("event_correlations", &[first.id.as_str(), last.id.as_str()]),
                session_id: session.id.clone(),
                cause_event_id: first.id.clone(),
                effect_event_id: last.id.clone(),
                correlation_type: CorrelationType::AgentActionError,
                confidence: 0.7,
                time_delta_ms: 5,
                file_match: true,
                metadata: json!({}),
                created_at: last.server_timestamp,
            });
        }
    }
    let summary = SessionSummary {
        event_count: events.len() as i64,
        agent_activity_score: 1.0,
        human_activity_score: 0.0,
        error_density: 100.0 / 3.0,
    };
    let analytics = SessionAnalytics { clusters, correlations, summary };
    store.sessions.keep_analytics(&SCOPE, session, analytics, now).await.unwrap()
}

/// Keeps an insight per key and, deep, the figures of one agent.
pub(crate) async fn evaluate(store: &Store, snapshot: &SessionSnapshot, mode: AnalysisMode, keys: &[&str]) -> Kept {
    let session = &snapshot.session;
    let insight = |key: &&str| Insight {
        id: derived_id("insights", &[session.id.as_str(), key]),
        session_id: session.id.clone(),
        agent_id: None,
        severity: InsightSeverity::High,
        category: InsightCategory::BreakFixLoop,
        title: "t".to_owned(),
        message: "m".to_owned(),
        payload: json!({"density": 33.33}),
        insight_key: (*key).to_owned(),
        created_at: start(),
    };
    let is_deep = mode == AnalysisMode::Deep;
    let performance = AgentPerformance {
        id: derived_id("agent_performance", &[session.id.as_str(), "agent"]),
        agent_id: "agent".to_owned(),
        session_id: session.id.clone(),
        total_actions: 3,
        successful_actions: 2,
        induced_error_count: 1,
        override_count: 0,
        success_rate: Some(2.0 / 3.0),
        induced_error_rate: Some(1.0 / 3.0),
        override_rate: Some(0.0),
        metrics_version: "mvp-1".to_owned(),
        regression_flags: Vec::new(),
        created_at: start(),
    };
    let evaluation = SessionEvaluation {
        mode,
        insights: keys.iter().map(insight).collect(),
        performance: if is_deep { vec![performance] } else { Vec::new() },
        report: is_deep.then(|| json!({"events": snapshot.events.len()})),
    };
    store.sessions.keep_evaluation(&SCOPE, session, evaluation, minute(2)).await.unwrap()
}

async fn keys(store: &Store, id: &SessionId) -> Vec<String> {
    let page = store.sessions.insights(&SCOPE, Some(id), &PageRequest::first(100)).await.unwrap();
    let mut keys: Vec<_> = page.items.into_iter().map(|insight| insight.insight_key).collect();
    keys.sort();
    keys
}

/// Every derived row and the session itself, as text.
async fn everything(store: &Store, id: &SessionId) -> String {
    let page = PageRequest::first(1000);
    let sessions = &store.sessions;
    format!(
        "{:?}\n{:?}\n{:?}\n{:?}\n{:?}",
        sessions.get(&SCOPE, id).await.unwrap(),
        sessions.clusters(&SCOPE, id, &page).await.unwrap(),
        sessions.correlations(&SCOPE, id, &page).await.unwrap(),
        sessions.performance(&SCOPE, id, &page).await.unwrap(),
        sessions.insights(&SCOPE, Some(id), &page).await.unwrap(),
    )
}
