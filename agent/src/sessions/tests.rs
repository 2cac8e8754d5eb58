//! What the analyses of sessions promise: the acceptance scenario, each rule at its edge, and that doing it again changes nothing.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use tripline_store::sessions::dedupe::DedupeWindow;
use tripline_store::sessions::validate::{self, StartBody};
use tripline_store::sessions::*;
use tripline_store::{JobRunFilter, JobStatus, PageRequest, ProjectId, Scope};

use super::correlate::correlate_events_for_session;
use super::insights::{Context, detect_insights};
use super::monitor::evaluation_of;
use super::performance::performance_of_session;
use super::summary::compute_session_summary;
use super::worker::analytics_of;
use super::*;
use crate::testing::{Scene, World, at};

fn start() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

fn seconds(n: i64) -> DateTime<Utc> {
    start() + TimeDelta::seconds(n)
}

fn scene() -> Scene {
    World::default().scene(seconds(3600))
}

// Sessions in a store ----------------------------------------------------------------------------------------------

async fn begin(scene: &Scene, scope: &Scope) -> Session {
    let body = StartBody { user_id: "ann".to_owned(), workspace_id: "shop".to_owned(), ..StartBody::default() };
    let new = validate::start(StartBody { start_time: Some(start().to_rfc3339()), ..body }, seconds(3600)).unwrap();
    scene.ctx.store.sessions.start(scope, new, start()).await.unwrap().session
}

/// Sends events as `(second, fields)`.
async fn send(scene: &Scene, scope: &Scope, session: &Session, events: &[(i64, Value)]) {
    let events = events.iter().map(|(second, fields)| {
        let mut event = fields.clone();
        event["client_timestamp"] = seconds(*second).to_rfc3339().into();
        let raw = serde_json::value::to_raw_value(&event).unwrap();
        validate::event(&raw, Some(&session.id), seconds(3600)).unwrap()
    });
    let (events, window) = (events.collect(), DedupeWindow::default());
    let outcomes = scene.ctx.store.sessions.append(scope, events, window, seconds(3600)).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == EventOutcome::Ingested), "{outcomes:?}");
}

fn action(agent: &str, file: &str) -> Value {
    json!({"event_type": "agent_action", "source_type": "agent", "source_name": agent, "file_path": file})
}

fn failed_test(file: &str, message: &str) -> Value {
    json!({"event_type": "test_run", "source_type": "system", "file_path": file, "payload": {"status": "failed"},
        "raw_message": message})
}

fn edit(file: &str) -> Value {
    json!({"event_type": "file_edit", "source_type": "human", "source_name": "ann", "file_path": file})
}

/// An agent refactors, a test fails, a person mends it.
fn acceptance() -> Vec<(i64, Value)> {
    vec![
        (0, action("coder", "src/pay.py")),
        (4, failed_test("src/pay.py", "AssertionError: expected 3 got 4 at src/pay.py:10")),
        (30, edit("src/pay.py")),
        (40, json!({"event_type": "test_run", "source_type": "system", "payload": {"status": "passed"}})),
    ]
}

async fn end(scene: &Scene, scope: &Scope, session: &Session) {
    let by_id = SessionRef::Id(session.id.clone());
    scene.ctx.store.sessions.end(scope, &by_id, Some(&seconds(60).to_rfc3339()), seconds(3600)).await.unwrap();
}

/// Everything derived of a session, and the session itself, as text.
async fn rows(scene: &Scene, scope: &Scope, id: &SessionId) -> String {
    let (store, page) = (&scene.ctx.store.sessions, PageRequest::first(1000));
    let rows = json!([
        store.get(scope, id).await.unwrap(),
        store.clusters(scope, id, &page).await.unwrap(),
        store.correlations(scope, id, &page).await.unwrap(),
        store.performance(scope, id, &page).await.unwrap(),
        store.insights(scope, Some(id), &page).await.unwrap(),
    ]);
    serde_json::to_string_pretty(&rows).unwrap()
}

async fn events(scene: &Scene, scope: &Scope, id: &SessionId) -> Vec<SessionEvent> {
    scene.ctx.store.sessions.events(scope, id, &PageRequest::first(1000)).await.unwrap().items
}

#[tokio::test]
async fn a_refactoring_that_breaks_a_test_is_found_with_its_cause_and_its_agent() {
    let scene = scene();
    let scope = &scene.ctx.scope;
    let session = begin(&scene, scope).await;
    send(&scene, scope, &session, &acceptance()).await;
    end(&scene, scope, &session).await;
    let raw = events(&scene, scope, &session.id).await;

    let worker = ProcessingWorker::new(&scene.ctx);
    assert_eq!(worker.process_due().await.unwrap(), Done { sessions: 1, changed: 1, failures: Vec::new() });
    let agent = MonitoringAgent::new(&scene.ctx);
    assert_eq!(agent.run_due().await.unwrap(), Done { sessions: 1, changed: 1, failures: Vec::new() });

    let found = scene.ctx.store.sessions.snapshot(scope, &session.id).await.unwrap().unwrap();
    let [cluster] = found.clusters.as_slice() else { panic!("{:?}", found.clusters) };
    assert_eq!((cluster.error_type, cluster.occurrence_count), (ErrorType::TestFailure, 1));
    assert_eq!(cluster.normalized_error, "AssertionError: expected <num> got <num> at <path>");
    let [pair] = found.correlations.as_slice() else { panic!("{:?}", found.correlations) };
    assert_eq!((pair.correlation_type, pair.confidence), (CorrelationType::AgentActionError, 0.7));
    assert_eq!((pair.time_delta_ms, pair.file_match), (4000, true));
    assert_eq!((&pair.cause_event_id, &pair.effect_event_id), (&raw[0].id, &raw[1].id));
    let page = PageRequest::default();
    let performance = scene.ctx.store.sessions.performance(scope, &session.id, &page).await.unwrap().items;
    let figures = &performance[0];
    assert_eq!((figures.agent_id.as_str(), figures.total_actions, figures.induced_error_count), ("coder", 1, 1));
    assert_eq!((figures.override_count, figures.success_rate), (1, Some(0.0)));
    assert_eq!(figures.regression_flags, ["low_success_rate"]);
    let insights = scene.ctx.store.sessions.insights(scope, Some(&session.id), &page).await.unwrap().items;
    assert_eq!(insights[0].title, "Agent likely caused recent error");
    assert_eq!((insights[0].severity, insights[0].agent_id.as_deref()), (InsightSeverity::Medium, Some("coder")));
    let session = found.session;
    assert_eq!((session.event_count, session.agent_activity_score, session.human_activity_score), (4, 1.0, 1.0));
    assert_eq!((session.error_density, session.requires_processing, session.ready_for_deep), (25.0, false, false));
    assert_eq!(session.session_report.unwrap()["cluster_count"], 1);
}

#[tokio::test]
async fn a_session_that_ended_is_processed_and_judged_in_one_call_and_what_came_after_it_a_second_later() {
    let scene = scene();
    let scope = &scene.ctx.scope;
    let jobs = scene.jobs(None);
    let names = |runs: Vec<tripline_store::JobRun>| -> Vec<(String, JobStatus)> {
        let of_sessions = runs.into_iter().filter(|run| run.job.starts_with("session_"));
        of_sessions.map(|run| (run.job, run.status)).collect()
    };
    let both = ["session_processing", "session_monitoring"].map(|job| (job.to_owned(), JobStatus::Ok));
    let mut deep = Vec::new();
    for second in 0..3 {
        let changes = scene.ctx.store.sessions.changes();
        let session = begin(&scene, scope).await;
        send(&scene, scope, &session, &acceptance()).await;
        end(&scene, scope, &session).await;
        assert!(changes.has_changed().unwrap(), "whoever waits is woken");
        scene.clock.set(seconds(3600 + second));
        assert_eq!(names(jobs.run_due(seconds(3600 + second)).await.unwrap()), both);
        assert_eq!(names(jobs.run_due(seconds(3600 + second)).await.unwrap()), []);
        deep.push(scene.ctx.store.sessions.get(scope, &session.id).await.unwrap().unwrap());
    }
    assert!(deep.iter().all(|session| session.session_report.is_some() && !session.requires_processing), "{deep:?}");
}

#[tokio::test]
async fn doing_it_again_changes_no_byte_and_no_raw_event() {
    let scene = scene();
    let scope = &scene.ctx.scope;
    let session = begin(&scene, scope).await;
    send(&scene, scope, &session, &acceptance()).await;
    end(&scene, scope, &session).await;
    let raw = events(&scene, scope, &session.id).await;
    let analyst = SessionAnalyst::new(&scene.ctx);
    let first = analyst.analyse(scope, &session.id, AnalysisMode::Deep).await.unwrap();
    assert!(first.changed);
    let kept = rows(&scene, scope, &session.id).await;
    scene.clock.set(seconds(90_000));
    for mode in [AnalysisMode::Deep, AnalysisMode::Light, AnalysisMode::Deep] {
        assert!(!analyst.analyse(scope, &session.id, mode).await.unwrap().changed, "{mode}");
        ProcessingWorker::new(&scene.ctx).process_session(scope, &session.id).await.unwrap();
    }
    assert_eq!(rows(&scene, scope, &session.id).await, kept);
    assert_eq!(events(&scene, scope, &session.id).await, raw);
}

#[tokio::test]
async fn in_whatever_pieces_and_however_often_it_was_looked_at_a_session_ends_with_the_same_rows() {
    let scene = scene();
    // The same ids in two projects, so that the rows can be compared as they are.
    let other = Scope::project(ProjectId::new("other"));
    scene.ctx.store.projects.create(other.project_id(), "Other", start()).await.unwrap();
    let mut sent = acceptance();
    for (n, (_, event)) in sent.iter_mut().enumerate() {
        event["id"] = format!("0199aaaa-0000-7000-8000-00000000000{n}").into();
    }
    let analyst = SessionAnalyst::new(&scene.ctx);
    let mut ends = Vec::new();
    for (scope, in_pieces) in [(&scene.ctx.scope, false), (&other, true)] {
        let body = StartBody {
            session_id: Some("0199aaaa-0000-7000-8000-0000000000aa".to_owned()),
            user_id: "ann".to_owned(),
            workspace_id: "shop".to_owned(),
            start_time: Some(start().to_rfc3339()),
            ..StartBody::default()
        };
        let new = validate::start(body, start()).unwrap();
        let session = scene.ctx.store.sessions.start(scope, new, start()).await.unwrap().session;
        if in_pieces {
            for piece in sent.chunks(1) {
                send(&scene, scope, &session, piece).await;
                analyst.analyse(scope, &session.id, AnalysisMode::Light).await.unwrap();
            }
        } else {
            send(&scene, scope, &session, &sent).await;
        }
        end(&scene, scope, &session).await;
        analyst.analyse(scope, &session.id, AnalysisMode::Deep).await.unwrap();
        ends.push(rows(&scene, scope, &session.id).await);
    }
    assert_eq!(ends[0], ends[1]);
}

#[tokio::test]
async fn the_jobs_analyse_every_project_and_an_idle_server_keeps_no_record_of_them() {
    let scene = scene();
    let other = Scope::project(ProjectId::new("other"));
    scene.ctx.store.projects.create(other.project_id(), "Other", start()).await.unwrap();
    let jobs = scene.jobs(None);
    let now = seconds(3600);
    for job in ["session_processing", "session_monitoring"] {
        assert!(jobs.run_due_of(job, now).await.unwrap().is_empty(), "{job}");
    }
    let (ours, theirs) = (begin(&scene, &scene.ctx.scope).await, begin(&scene, &other).await);
    send(&scene, &scene.ctx.scope, &ours, &acceptance()).await;
    send(&scene, &other, &theirs, &acceptance()).await;
    end(&scene, &other, &theirs).await;
    for (job, sessions) in [("session_processing", 2), ("session_monitoring", 2)] {
        let runs = jobs.run_due_of(job, now).await.unwrap();
        assert_eq!((runs[0].status, &runs[0].detail.as_ref().unwrap()["sessions"]), (JobStatus::Ok, &json!(sessions)));
        // The next tick finds nothing to do.
        let next = now + TimeDelta::seconds(5);
        scene.clock.set(next);
        assert!(jobs.run_due_of(job, next).await.unwrap().is_empty(), "{job}");
        scene.clock.set(now);
    }
    let insights = scene.ctx.store.sessions.insights(&other, None, &PageRequest::default()).await.unwrap().items;
    assert_eq!(insights[0].payload["mode"], "deep");
    let insights =
        scene.ctx.store.sessions.insights(&scene.ctx.scope, None, &PageRequest::default()).await.unwrap().items;
    assert_eq!(insights[0].payload["mode"], "light");
    let filter = JobRunFilter { job: Some("session_processing".to_owned()), ..JobRunFilter::default() };
    let runs = scene.ctx.store.jobs.list(&scene.ctx.scope, &filter, &PageRequest::default()).await.unwrap().items;
    assert_eq!(runs.len(), 1);
}

#[tokio::test]
async fn a_job_of_sessions_that_changes_nothing_leaves_no_run_behind_however_often_it_is_called() {
    let scene = scene();
    let scope = &scene.ctx.scope;
    let jobs = scene.jobs(None);
    let kept = async |job: &str| {
        let filter = JobRunFilter { job: Some(job.to_owned()), ..JobRunFilter::default() };
        scene.ctx.store.jobs.list(scope, &filter, &PageRequest::first(1000)).await.unwrap().items.len()
    };
    let both = async || (kept("session_processing").await, kept("session_monitoring").await);
    let session = begin(&scene, scope).await;
    send(&scene, scope, &session, &acceptance()).await;
    let mut now = seconds(3600);
    let run = async |now| {
        let mut runs = 0;
        for job in ["session_processing", "session_monitoring"] {
            runs += jobs.run_due_of(job, now).await.unwrap().len();
        }
        runs
    };
    assert_eq!((run(now).await, both().await), (2, (1, 1)));
    // More of the same: figures stay as they are, and so does what was found.
    let waits = async |what| !scene.ctx.store.sessions.waiting(scope, what, seconds(9000), 1).await.unwrap().is_empty();
    let processing = Waiting::Processing { rest: std::time::Duration::ZERO };
    for call in 0..30 {
        let renewed =
            json!({"event_type": "test_run", "source_type": "system", "payload": {"status": "passed", "n": call}});
        send(&scene, scope, &session, &[(50 + call, renewed)]).await;
        assert!(waits(processing).await, "there is something to look at");
        now += TimeDelta::seconds(60);
        scene.clock.set(now);
        run(now).await;
        assert!(!waits(processing).await && !waits(Waiting::Light).await, "it was looked at");
    }
    assert_eq!(both().await.1, 1, "no insight is new: no row of the monitoring");
    let processed = both().await.0;
    // And without anything to look at, every second of an hour.
    for _ in 0..3_600 {
        now += TimeDelta::seconds(1);
        scene.clock.set(now);
        assert_eq!(run(now).await, 0);
    }
    assert_eq!(both().await, (processed, 1));
    // What changes something is on record.
    send(&scene, scope, &session, &[(100, failed_test("src/cart.py", "KeyError: 'total'"))]).await;
    now += TimeDelta::seconds(60);
    scene.clock.set(now);
    run(now).await;
    assert_eq!(both().await.0, processed + 1);
}

#[tokio::test]
async fn two_workers_at_once_give_the_same_rows() {
    let scene = Arc::new(scene());
    let scope = scene.ctx.scope.clone();
    let session = begin(&scene, &scope).await;
    send(&scene, &scope, &session, &acceptance()).await;
    let workers = (0..8).map(|_| {
        let (worker, scope, id) = (ProcessingWorker::new(&scene.ctx), scope.clone(), session.id.clone());
        async move { worker.process_session(&scope, &id).await.unwrap() }
    });
    let outcomes = futures::future::join_all(workers).await;
    assert_eq!(outcomes.iter().filter(|kept| **kept == Kept::Changed).count(), 1, "{outcomes:?}");
    assert_eq!(scene.ctx.store.sessions.counts(&scope, &session.id).await.unwrap().clusters, 1);
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_found() {
    let scene = scene();
    let id: SessionId = "0199aaaa-0000-7000-8000-000000000001".parse().unwrap();
    let missing = SessionAnalyst::new(&scene.ctx).analyse(&scene.ctx.scope, &id, AnalysisMode::Light).await;
    assert!(matches!(missing, Err(tripline_store::StoreError::NotFound { .. })));
}

// Rules on events in memory ----------------------------------------------------------------------------------------

fn id() -> SessionId {
    "0199aaaa-0000-7000-8000-000000000001".parse().unwrap()
}

/// An event in memory. `millis` after [`start`].
fn fact(seq: i64, millis: i64, kind: SessionEventType, source: SourceType, name: &str, file: &str) -> EventFact {
    let is_error = matches!(kind, SessionEventType::Error);
    EventFact {
        seq,
        id: format!("0199aaaa-0000-7000-8000-{seq:012}").parse().unwrap(),
        event_type: kind,
        source_type: source,
        source_name: Some(name.to_owned()),
        file_path: Some(file.to_owned()).filter(|file| !file.is_empty()),
        project_root: None,
        status: None,
        error_text: is_error.then(|| "ValueError: x".to_owned()),
        client_timestamp: start() + TimeDelta::milliseconds(millis),
        server_timestamp: start() + TimeDelta::milliseconds(millis + 100),
    }
}

fn acts(seq: i64, millis: i64, file: &str) -> EventFact {
    fact(seq, millis, SessionEventType::AgentAction, SourceType::Agent, "coder", file)
}

fn fails(seq: i64, millis: i64, file: &str) -> EventFact {
    fact(seq, millis, SessionEventType::Error, SourceType::System, "ci", file)
}

fn edits(seq: i64, millis: i64, file: &str) -> EventFact {
    fact(seq, millis, SessionEventType::FileEdit, SourceType::Human, "ann", file)
}

fn pairs(events: &[EventFact]) -> Vec<(i64, i64, f64)> {
    let seq = |id: &SessionEventId| events.iter().find(|event| event.id == *id).unwrap().seq;
    let window = SessionRules::default().correlation_window;
    let mut pairs: Vec<_> = correlate_events_for_session(&id(), events, window)
        .iter()
        .map(|found| (seq(&found.cause_event_id), seq(&found.effect_event_id), found.confidence))
        .collect();
    pairs.sort_by_key(|pair| (pair.1, pair.0));
    pairs
}

#[test]
fn the_window_of_a_correlation_is_ten_seconds_and_no_more() {
    assert_eq!(pairs(&[acts(1, 0, "a"), fails(2, 10_000, "a")]), [(1, 2, 0.7)]);
    assert_eq!(pairs(&[acts(1, 0, "a"), fails(2, 10_001, "a")]), []);
    assert_eq!(pairs(&[acts(1, 0, "a"), fails(2, 0, "a")]), [(1, 2, 0.7)], "the order of arrival decides");
    assert_eq!(pairs(&[fails(1, 0, "a"), acts(2, 0, "a")]), []);
}

#[test]
fn the_nearest_action_on_the_same_file_is_preferred_and_each_error_counts_once() {
    let events = [acts(1, 0, "a"), acts(2, 1000, "a"), acts(3, 2000, "b"), fails(4, 3000, "./a")];
    assert_eq!(pairs(&events), [(2, 4, 0.7)]);
    let events = [acts(1, 0, "a"), acts(2, 2000, "b"), fails(3, 3000, "c")];
    assert_eq!(pairs(&events), [(2, 3, 0.4)]);
    let found = correlate_events_for_session(&id(), &events, SessionRules::default().correlation_window);
    assert_eq!(found[0].metadata["candidates"], 2);
}

#[test]
fn a_person_is_related_to_an_error_only_on_the_same_file() {
    assert_eq!(pairs(&[edits(1, 0, "a"), fails(2, 1000, "b")]), []);
    assert_eq!(pairs(&[edits(1, 0, "a"), acts(2, 500, "a"), fails(3, 1000, "a")]), [(1, 3, 0.5), (2, 3, 0.7)]);
}

#[test]
fn the_file_of_an_error_may_stand_in_its_text() {
    let mut error = fails(2, 1000, "");
    error.project_root = Some("/srv/app".to_owned());
    error.error_text = Some("File \"/srv/app/src/pay.py\", line 3: KeyError".to_owned());
    assert_eq!(pairs(&[acts(1, 0, "src/pay.py"), error]), [(1, 2, 0.7)]);
}

fn insights_of(events: &[EventFact]) -> Vec<Insight> {
    let rules = SessionRules::default();
    let correlations = correlate_events_for_session(&id(), events, rules.correlation_window);
    let session = id();
    detect_insights(&Context {
        session: &session,
        mode: AnalysisMode::Deep,
        events,
        correlations: &correlations,
        rules: &rules,
    })
}

/// So many errors and so many edits, far apart.
fn mixed(errors: i64, edited: i64) -> Vec<EventFact> {
    let errors = (0..errors).map(|n| fails(n, n * 60_000, "a"));
    errors.chain((0..edited).map(|n| edits(1000 + n, 10_000_000 + n * 60_000, "z"))).collect()
}

#[test]
fn errors_are_dense_above_a_quarter_and_only_of_enough_events() {
    let severities = |errors, edited| -> Vec<InsightSeverity> {
        insights_of(&mixed(errors, edited)).iter().map(|insight| insight.severity).collect()
    };
    assert_eq!(severities(3, 9), [], "25 per 100 is not above 25");
    assert_eq!(severities(3, 7), [InsightSeverity::Medium]);
    assert_eq!(severities(5, 4), [], "nine events are too few");
    assert_eq!(severities(5, 5), [InsightSeverity::Medium]);
    assert_eq!(severities(6, 5), [InsightSeverity::High]);
}

#[test]
fn a_cycle_is_three_breaks_on_one_file_or_in_the_session() {
    let cycle = |files: &[&str]| -> Vec<EventFact> {
        let step = |(n, file): (usize, &&str)| {
            let n = n as i64;
            [acts(2 * n, n * 100_000, file), fails(2 * n + 1, n * 100_000 + 50_000, file)]
        };
        let calm = (0..30).map(|n| edits(1000 + n, 90_000_000 + n, "z"));
        files.iter().enumerate().flat_map(step).chain(calm).collect()
    };
    let keys = |files: &[&str]| -> Vec<String> {
        insights_of(&cycle(files)).into_iter().map(|insight| insight.insight_key).collect()
    };
    assert_eq!(keys(&["a", "a"]), [""; 0]);
    assert_eq!(keys(&["a", "a", "a"]), ["break_fix_loop:file:a"]);
    assert_eq!(keys(&["a", "b", "c"]), ["break_fix_loop:session"]);
    // Two failures after one action are one break.
    let events = [acts(1, 0, "a"), fails(2, 100_000, "a"), fails(3, 200_000, "a"), fails(4, 300_000, "a")];
    assert!(insights_of(&events).iter().all(|insight| insight.category != InsightCategory::BreakFixLoop));
}

#[test]
fn figures_of_an_agent_without_actions_have_no_rates() {
    let said = fact(1, 0, SessionEventType::Log, SourceType::Agent, "coder", "");
    let figures = performance_of_session(&id(), &[said], &[], &SessionRules::default());
    assert_eq!((figures[0].total_actions, figures[0].success_rate, figures[0].override_rate), (0, None, None));
    assert!(figures[0].regression_flags.is_empty());
}

#[test]
fn an_edit_within_a_minute_overrides_an_action_once() {
    let events =
        [acts(1, 0, "a"), edits(2, 60_000, "a"), edits(3, 60_000, "a"), acts(4, 70_000, "b"), edits(5, 130_001, "b")];
    let figures = performance_of_session(&id(), &events, &[], &SessionRules::default());
    assert_eq!((figures[0].total_actions, figures[0].override_count, figures[0].override_rate), (2, 1, Some(0.5)));
}

#[test]
fn a_hundred_thousand_events_at_one_moment_are_judged_in_linear_time() {
    let events: Vec<EventFact> =
        (0..100_000).map(|n| if n % 2 == 0 { acts(n, 0, "a") } else { fails(n, 0, "a") }).collect();
    let session = Session { id: id(), ..empty_session() };
    let rules = SessionRules::default();
    let mut snapshot = SessionSnapshot { session, events, clusters: Vec::new(), correlations: Vec::new() };
    let analytics = analytics_of(&snapshot, &rules);
    assert_eq!(analytics.correlations.len(), 50_000);
    assert_eq!(analytics.clusters[0].occurrence_count, 50_000);
    snapshot.correlations = analytics.correlations;
    let evaluation = evaluation_of(&snapshot, AnalysisMode::Deep, &rules);
    assert!(evaluation.insights.iter().all(|insight| insight.payload.to_string().len() < 10_000));
}

fn empty_session() -> Session {
    serde_json::from_value(json!({
        "id": id(), "external_session_key": null, "user_id": "u", "workspace_id": "w", "start_time": start(), "end_time": null,
        "status": "active", "event_count": 0, "agent_activity_score": 0.0, "human_activity_score": 0.0, "error_density": 0.0,
        "milestone_breakdown": {}, "tags": [], "config_snapshot": {}, "requires_processing": false, "last_processed_at": null,
        "ready_for_deep": false, "deep_processed_at": null, "session_report": null, "created_at": start(),
        "updated_at": start(),
    }))
    .unwrap()
}

fn any_fact() -> impl Strategy<Value = (i64, SessionEventType, SourceType, usize, usize)> {
    (
        0_i64..30_000,
        prop::sample::select(SessionEventType::ALL.to_vec()),
        prop::sample::select(SourceType::ALL.to_vec()),
        0_usize..3,
        0_usize..4,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn of_any_session_the_derived_rows_follow_their_rules(sent in prop::collection::vec(any_fact(), 0..60)) {
        let mut events: Vec<EventFact> = sent.iter().enumerate().map(|(seq, (millis, kind, source, name, file))| {
            fact(seq as i64, *millis, *kind, *source, ["coder", "tester", "ann"][*name], ["a", "b", "", "c/d.py"][*file])
        }).collect();
        events.sort_by_key(|event| (event.client_timestamp, event.seq));
        let session = Session { id: id(), ..empty_session() };
        let rules = SessionRules::default();
        let mut snapshot = SessionSnapshot { session, events, clusters: Vec::new(), correlations: Vec::new() };
        let analytics = analytics_of(&snapshot, &rules);
        prop_assert_eq!(&analytics, &analytics_of(&snapshot, &rules));
        let errors = snapshot.events.iter().filter(|event| event.is_error()).count() as i64;
        prop_assert_eq!(analytics.clusters.iter().map(|cluster| cluster.occurrence_count).sum::<i64>(), errors);
        let mut effects = std::collections::HashSet::new();
        for pair in &analytics.correlations {
            let find = |id: &SessionEventId| snapshot.events.iter().position(|event| event.id == *id).unwrap();
            prop_assert!(find(&pair.cause_event_id) < find(&pair.effect_event_id));
            prop_assert!((0..=10_000).contains(&pair.time_delta_ms));
            prop_assert!(effects.insert((pair.effect_event_id.clone(), pair.correlation_type)), "one row per error and rule");
        }
        prop_assert!((0.0..=100.0).contains(&compute_session_summary(&snapshot.events).error_density));
        snapshot.correlations = analytics.correlations;
        let evaluation = evaluation_of(&snapshot, AnalysisMode::Deep, &rules);
        let keys: std::collections::HashSet<_> = evaluation.insights.iter().map(|insight| &insight.insight_key).collect();
        prop_assert_eq!(keys.len(), evaluation.insights.len());
        for agent in &evaluation.performance {
            prop_assert!(agent.success_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
            prop_assert!(agent.override_rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
        }
    }
}
