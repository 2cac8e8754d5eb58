//! What the job runner promises.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use tripline_engine::{Clock, ManualClock};
use tripline_store::{JobStatus, PageRequest};

use super::*;
use crate::testing::{Home, Scene, World, at, minutes};

fn start() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

const ONLY_LOOPS: &str = r#"{"schedules": {"agent_loop": "*/15 * * * *"}}"#;

fn world() -> World {
    let mut world = World::default();
    world.repeat("the-loop", "plan", start() - minutes(20), 15);
    world
}

async fn runs(scene: &Scene, job: &str) -> Vec<JobRun> {
    let filter = JobRunFilter { job: Some(job.to_owned()), ..JobRunFilter::default() };
    let mut runs = scene.ctx.store.jobs.list(&scene.ctx.scope, &filter, &PageRequest::first(1000)).await.unwrap().items;
    runs.reverse();
    runs
}

async fn run_at(scene: &Scene, jobs: &Jobs, at: DateTime<Utc>) -> Vec<(String, JobStatus)> {
    scene.clock.set(at);
    jobs.run_due_of("agent_loop", at)
        .await
        .unwrap()
        .into_iter()
        .map(|r| (r.due_at.format("%H:%M").to_string(), r.status))
        .collect()
}

fn ok(ticks: &[&str]) -> Vec<(String, JobStatus)> {
    ticks.iter().map(|tick| ((*tick).to_owned(), JobStatus::Ok)).collect()
}

#[tokio::test]
async fn there_is_a_job_per_detector_and_its_schedule_can_be_set() {
    let scene = world().scene(start());
    let names: Vec<String> = scene.jobs(None).list().into_iter().map(|job| job.name).collect();
    assert_eq!(
        names,
        [
            "agent_loop",
            "cost_spike",
            "error_cascade",
            "prompt_drift",
            "silent_tool_failure",
            "approval_expiry",
            "session_processing",
            "session_monitoring",
            "on_call_brain",
            "drift_patrol",
            "weekly_digest",
            "pr_risk",
            "risk_history",
            "trace_sampler"
        ]
    );
    scene
        .ctx
        .settings
        .set(crate::settings::Settings::from_json(r#"{"schedules": {"cost_spike": "0 5 * * * *"}}"#, "x").unwrap());
    let jobs = scene.jobs(None).list();
    let spike = jobs.iter().find(|job| job.name == "cost_spike").unwrap();
    assert_eq!((spike.cron.as_str(), spike.next_at), ("0 5 * * * *", Some(start() + minutes(5))));
    assert!(ONLY_LOOPS.contains(&jobs[0].name));
}

#[tokio::test]
async fn a_detector_file_that_is_dropped_in_is_a_job() {
    let home = Home::new();
    let sql = include_str!("../../../queries/detectors/agent_loop.sql")
        .replace("-- name: agent_loop", "-- name: my_loop\n-- type: agent_loop");
    home.write("queries/detectors/my_loop.sql", &sql);
    let scene = world().scene_in(home, start());
    let runs = scene.jobs(None).run_due_of("my_loop", start()).await.unwrap();
    assert_eq!(runs[0].status, JobStatus::Ok);
    assert_eq!(scene.incidents().await[0].detector, "my_loop");
}

#[tokio::test]
async fn windows_are_judged_once_and_in_order_and_missed_ones_are_caught_up() {
    let scene = world().scene(start());
    let jobs = scene.jobs(None);
    // A first start judges the latest tick only.
    assert_eq!(run_at(&scene, &jobs, start() + minutes(3)).await, ok(&["12:00"]));
    assert_eq!(run_at(&scene, &jobs, start() + minutes(14)).await, ok(&[]));
    assert_eq!(run_at(&scene, &jobs, start() + minutes(50)).await, ok(&["12:15", "12:30", "12:45"]));
    let windows: Vec<_> = runs(&scene, "agent_loop").await.into_iter().map(|run| run.window.unwrap().end).collect();
    assert_eq!(windows, [0, 15, 30, 45].map(|m| start() + minutes(m)));
    let detail = runs(&scene, "agent_loop").await[0].detail.clone().unwrap();
    assert_eq!((&detail["findings"], detail["opened"].as_array().unwrap().len()), (&json!(1), 1));
}

#[tokio::test]
async fn windows_older_than_the_catch_up_are_recorded_as_skipped() {
    let home = Home::new();
    let scene = world().scene_in(home, start());
    scene.ctx.settings.set(
        crate::settings::Settings::from_json(
            r#"{"catch_up_days": 1, "schedules": {"agent_loop": "0 */6 * * *"}}"#,
            "x",
        )
        .unwrap(),
    );
    let jobs = scene.jobs(None);
    assert_eq!(run_at(&scene, &jobs, start()).await, ok(&["12:00"]));
    let later = run_at(&scene, &jobs, start() + TimeDelta::days(5)).await;
    let mut expected = vec![("06:00".to_owned(), JobStatus::Skipped)];
    // The present comes first where more than an hour or so was missed.
    expected.extend(ok(&["12:00", "12:00", "18:00", "00:00", "06:00", "12:00"]));
    assert_eq!(later, expected);
    assert_eq!(run_at(&scene, &jobs, start() + TimeDelta::days(5)).await, ok(&[]));
}

/// A clock that goes on by twenty seconds whenever it is looked at.
#[derive(Debug)]
struct Hurried(Arc<ManualClock>);

impl Clock for Hurried {
    fn now(&self) -> DateTime<Utc> {
        let now = self.0.now() + TimeDelta::seconds(20);
        self.0.set(now);
        now
    }
}

#[tokio::test]
async fn a_job_that_is_far_behind_judges_the_present_first_and_what_it_missed_by_turns() {
    let mut scene = world().scene(start());
    run_at(&scene, &scene.jobs(None), start()).await;
    scene.ctx.clock = Arc::new(Hurried(Arc::clone(&scene.clock)));
    scene.detectors = Detectors::new(scene.ctx.clone(), scene.detectors.queries().clone());
    let jobs = scene.jobs(None);
    let mut turns = Vec::new();
    for turn in 0..9 {
        turns.push(run_at(&scene, &jobs, start() + minutes(121) + TimeDelta::seconds(15 * turn)).await);
    }
    assert_eq!(turns[0][0], ok(&["14:00"])[0]);
    assert!(turns[0].len() < 8, "others have their turn: {turns:?}");
    let order: Vec<_> = turns.concat();
    let missed = ["12:15", "12:30", "12:45", "13:00", "13:15", "13:30", "13:45", "14:00"];
    assert_eq!(order[1..], ok(&missed), "the present is judged ahead once");
    assert!(scene.incidents().await.len() == 1 && turns.last().unwrap().is_empty());
}

#[tokio::test]
async fn a_source_that_is_down_for_hours_is_not_asked_all_the_time() {
    let world = world();
    let scene = world.scene(start());
    run_at(&scene, &scene.jobs(None), start()).await;
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let jobs = down.jobs(None);
    let mut tried = 0;
    for seconds in (0..3600).step_by(15) {
        let ran = run_at(&scene, &jobs, start() + minutes(120) + TimeDelta::seconds(seconds)).await;
        tried += usize::from(!ran.is_empty());
    }
    // Every five minutes and at each tick, and a few times at the beginning.
    assert!((12..=24).contains(&tried), "{tried}");
}

#[tokio::test]
async fn a_window_with_a_missing_source_stays_due_until_it_is_back() {
    let world = world();
    let scene = world.scene(start());
    let jobs = scene.jobs(None);
    run_at(&scene, &jobs, start()).await;
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let without = down.jobs(None);
    let gap = |tick: &str| vec![(tick.to_owned(), JobStatus::Gap)];
    assert_eq!(run_at(&scene, &without, start() + minutes(15)).await, gap("12:15"));
    // Not at once again, but soon, and with the next tick.
    assert_eq!(run_at(&scene, &without, start() + minutes(15) + TimeDelta::seconds(10)).await, ok(&[]));
    assert_eq!(run_at(&scene, &without, start() + minutes(16)).await, gap("12:15"));
    assert_eq!(run_at(&scene, &without, start() + minutes(16) + TimeDelta::seconds(20)).await, ok(&[]));
    // Own runs can be looked at all the same: so the present is.
    assert_eq!(run_at(&scene, &without, start() + minutes(30)).await, [gap("12:15"), gap("12:30")].concat());
    let watermark = scene.ctx.store.jobs.watermark(&scene.ctx.scope, "agent_loop").await.unwrap();
    assert_eq!(watermark, Some(start()));
    let third = runs(&scene, "agent_loop").await.into_iter().find(|run| run.attempt == 3).unwrap();
    assert!(third.error.unwrap().contains("503"));

    assert_eq!(run_at(&scene, &jobs, start() + minutes(45)).await, ok(&["12:15", "12:30", "12:45"]));
}

#[tokio::test]
async fn what_other_sources_say_now_does_not_wait_for_the_missing_one() {
    let mut world = World::default();
    for half in 24..336 {
        let trace = world.next_id("trace");
        world.tool(&trace, "search", start() - minutes(30 * half), &json!({"rows": ["a title", "another"]}));
    }
    world.tool_calls("search", start() + minutes(20), 20, &json!("oops"));
    let scene = world.scene(start());
    let sentry_down = scene.over(world.engine(&scene.clock, &["sentry"]));
    let jobs = sentry_down.jobs(None);
    let silent = async |at: DateTime<Utc>| {
        scene.clock.set(at);
        let runs = jobs.run_due_of("silent_tool_failure", at).await.unwrap();
        runs.into_iter().map(|run| (run.due_at, run.status)).collect::<Vec<_>>()
    };
    let tick = |m: i64| start() + TimeDelta::seconds(30 - 15 * 60) + minutes(m);
    assert_eq!(silent(start()).await, [(tick(0), JobStatus::Gap)]);
    // The present is looked at, and the window that is due is tried again.
    let later = silent(start() + minutes(90)).await;
    assert_eq!(later, [(tick(90), JobStatus::Gap), (tick(0), JobStatus::Gap)]);
    assert_eq!(scene.incidents().await.len(), 1, "{later:?}");
}

async fn brain_at(scene: &Scene, jobs: &Jobs, at: DateTime<Utc>) -> Vec<JobRun> {
    scene.clock.set(at);
    jobs.run_due_of("on_call_brain", at).await.unwrap()
}

#[tokio::test]
async fn a_job_without_windows_waits_longer_each_time_while_a_source_is_down() {
    let world = world();
    let scene = world.scene(start());
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let jobs = down.jobs(None);
    assert!(brain_at(&down, &jobs, start()).await.is_empty(), "it begins with its next tick");
    let mut tried = Vec::new();
    // From one tick to the next.
    for seconds in (0..13 * 60).step_by(15) {
        let ran = brain_at(&down, &jobs, start() + minutes(16) + TimeDelta::seconds(seconds)).await;
        tried.extend(ran.into_iter().map(|run| (seconds, run.status)));
    }
    assert!(tried.iter().all(|(_, status)| *status == JobStatus::Gap), "{tried:?}");
    let waits: Vec<i64> = tried.windows(2).map(|two| two[1].0 - two[0].0).collect();
    assert_eq!(waits, [15, 30, 60, 120, 240, 300], "{tried:?}");
}

#[tokio::test]
async fn the_brain_is_not_well_while_a_detector_is_not_done() {
    let scene = world().scene(start());
    let jobs = scene.jobs(None);
    brain_at(&scene, &jobs, start()).await;
    let at = start() + minutes(15);
    let new = NewJobRun {
        job: "agent_loop".to_owned(),
        window: None,
        due_at: at,
        holder: "another".to_owned(),
        lease_for: Duration::from_secs(60),
    };
    scene.ctx.store.jobs.begin(&scene.ctx.scope, new, at).await.unwrap();
    let [run] = &brain_at(&scene, &jobs, at).await[..] else { panic!() };
    assert_eq!((run.status, run.error.as_deref()), (JobStatus::Gap, Some("agent_loop: running")));
    // Its lease runs out: it is judged, and all is known.
    let [run] = &brain_at(&scene, &jobs, at + minutes(2)).await[..] else { panic!() };
    assert_eq!((run.status, run.error.as_deref()), (JobStatus::Ok, None));
}

#[tokio::test]
async fn of_one_job_one_run_is_alive() {
    let scene = world().scene(start());
    let ctx = &scene.ctx;
    let new = NewJobRun {
        job: "agent_loop".to_owned(),
        window: None,
        due_at: start(),
        holder: "another".to_owned(),
        lease_for: Duration::from_secs(60),
    };
    ctx.store.jobs.begin(&ctx.scope, new, start()).await.unwrap();
    let jobs = scene.jobs(None);
    assert_eq!(run_at(&scene, &jobs, start()).await, ok(&[]));
    assert!(matches!(jobs.run_by_hand("agent_loop", false).await, Err(JobError::Busy { .. })));
    // Its lease runs out: the other is taken for dead, and the window is judged.
    assert_eq!(run_at(&scene, &jobs, start() + minutes(2)).await, ok(&["12:00"]));
    assert_eq!(runs(&scene, "agent_loop").await[0].status, JobStatus::Abandoned);
}

#[tokio::test]
async fn by_hand_a_dry_run_writes_nothing_and_a_real_one_is_recorded() {
    let scene = world().scene(start() + minutes(7));
    let jobs = scene.jobs(None);
    let HandRun::Dry { judgement: Some(judgement), .. } = jobs.run_by_hand("agent_loop", true).await.unwrap() else {
        panic!()
    };
    assert_eq!((judgement.findings.len(), judgement.window.end), (1, start() + minutes(7)));
    assert_eq!((scene.incidents().await.len(), runs(&scene, "agent_loop").await.len()), (0, 0));
    let HandRun::Ran { run } = jobs.run_by_hand("agent_loop", false).await.unwrap() else { panic!() };
    assert_eq!((run.status, run.window.unwrap().end), (JobStatus::Ok, start()));
    assert_eq!(scene.incidents().await.len(), 1);
    assert!(jobs.run_by_hand("agentloop", false).await.unwrap_err().to_string().contains("agent_loop, cost_spike"));
}

#[test]
fn a_broken_off_run_is_tried_again_soon_and_then_less_and_less_often() {
    let waits: Vec<i64> = [1, 2, 3, 4, 5, 6, 100, i64::MAX].map(|n| super::retry_after(n).num_seconds()).into();
    assert_eq!(waits, [15, 30, 60, 120, 240, 300, 300, 300]);
}

#[tokio::test]
async fn a_broken_detector_fails_its_own_job_and_no_other() {
    let home = Home::new();
    let sql = include_str!("../../../queries/detectors/agent_loop.sql")
        .replace("-- name: agent_loop", "-- name: broken")
        .replace("sum(calls) AS generations", "sum(colls) AS generations");
    home.write("queries/detectors/broken.sql", &sql);
    let scene = world().scene_in(home, start());
    let runs = scene.jobs(None).run_due(start()).await.unwrap();
    let broken = runs.iter().find(|run| run.job == "broken").unwrap();
    assert_eq!(broken.status, JobStatus::Failed);
    assert!(broken.error.as_ref().unwrap().contains("colls"), "{broken:?}");
    assert!(runs.iter().filter(|run| run.job != "broken").all(|run| run.status == JobStatus::Ok), "{runs:#?}");
}

#[tokio::test]
async fn the_scheduler_runs_what_is_due_and_stops_when_told() {
    let scene = world().scene(start());
    let handle = start_jobs(&scene).await;
    let wanted = JobRunFilter { job: Some("agent_loop".to_owned()), status: Some(JobStatus::Ok), since: None };
    let started = std::time::Instant::now();
    loop {
        let done = scene.ctx.store.jobs.list(&scene.ctx.scope, &wanted, &PageRequest::first(1)).await.unwrap();
        if !done.items.is_empty() {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the job was never run");
        tokio::task::yield_now().await;
    }
    handle.shutdown().await;
    let running = JobRunFilter { status: Some(JobStatus::Running), ..JobRunFilter::default() };
    let left = scene.ctx.store.jobs.list(&scene.ctx.scope, &running, &PageRequest::first(1)).await.unwrap();
    assert_eq!(left.items, []);
}

#[tokio::test]
async fn what_somebody_waits_for_is_run_apart_from_the_windows_that_were_missed() {
    let scene = world().scene(start());
    let jobs = scene.jobs(None);
    let names = |runs: Vec<JobRun>| runs.into_iter().map(|run| run.job).collect::<BTreeSet<String>>();
    let windows = names(jobs.run_windows_due(start()).await.unwrap());
    assert!(windows.contains("cost_spike") && !windows.contains("approval_expiry"), "{windows:?}");
    assert_eq!(names(jobs.run_waited_for_due(start()).await.unwrap()), BTreeSet::from(["approval_expiry".to_owned()]));
    // Together they are all that is due.
    assert!(jobs.run_due(start()).await.unwrap().is_empty());
}

async fn start_jobs(scene: &Scene) -> JobsHandle {
    super::start(scene.jobs(None)).await.unwrap()
}

#[tokio::test]
async fn the_on_call_brain_has_every_detector_judge_and_sums_up_what_they_found() {
    let scene = world().scene(start());
    let jobs = scene.jobs(None);
    // What was before this installation is not told by it.
    assert!(jobs.run_due_of("on_call_brain", start() + TimeDelta::seconds(50)).await.unwrap().is_empty());
    let tick = start() + minutes(15) + TimeDelta::seconds(50);
    scene.clock.set(tick);
    let run = jobs.run_due_of("on_call_brain", tick).await.unwrap().remove(0);
    assert_eq!(run.status, JobStatus::Ok, "{run:?}");
    let detail = run.detail.unwrap();
    assert_eq!(detail["detectors"].as_object().unwrap().len(), 5);
    assert_eq!(detail["detectors"]["agent_loop"]["opened"].as_array().unwrap().len(), 1);
    assert_eq!(detail["findings"], json!(1));
    // The detectors' own runs are in their own history, and are not repeated.
    assert_eq!(runs(&scene, "agent_loop").await.len(), 1);
    assert!(jobs.run_due_of("agent_loop", tick).await.unwrap().is_empty());
    assert!(jobs.run_due_of("on_call_brain", tick).await.unwrap().is_empty());
    assert_eq!(scene.incidents().await.len(), 1);
}

#[tokio::test]
async fn an_on_call_cycle_without_a_source_is_a_gap_and_not_a_clean_one() {
    let world = world();
    let scene = world.scene(start());
    scene.jobs(None).run_due_of("on_call_brain", start() + TimeDelta::seconds(50)).await.unwrap();
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    let tick = start() + minutes(15) + TimeDelta::seconds(50);
    scene.clock.set(tick);
    let run = down.jobs(None).run_due_of("on_call_brain", tick).await.unwrap().remove(0);
    assert_eq!(run.status, JobStatus::Gap);
    assert!(run.error.unwrap().contains("agent_loop: "));
}

#[tokio::test]
async fn the_drift_patrol_judges_every_output_and_its_clean_windows_count_once() {
    let mut world = World::default();
    for n in 0..40 {
        world.generation("support-bot", start() - minutes(300 - n), 0.01, &json!({"response": "a", "confidence": 0.9}));
    }
    for n in 0..12 {
        world.generation("support-bot", start() - minutes(20 - n), 0.01, &json!({"answer": "a"}));
    }
    let scene = world.scene(start());
    let jobs = scene.jobs(None);
    let schema = json!({"kind": "object", "fail_share": 0.0, "keys": {
        "response": {"required": true, "types": ["string"]}, "confidence": {"required": true, "types": ["number"]}}});
    let window = Window::new(start() - TimeDelta::days(8), start() - TimeDelta::days(1)).unwrap();
    let new = tripline_store::NewSchemaSnapshot { feature: "support-bot".to_owned(), schema, sample_count: 40, window };
    scene.ctx.store.schemas.put(&scene.ctx.scope, new, start()).await.unwrap();
    let HandRun::Ran { run } = jobs.run_by_hand("drift_patrol", false).await.unwrap() else { panic!() };
    assert_eq!(run.status, JobStatus::Ok, "{run:?}");
    let detail = run.detail.unwrap();
    assert_eq!(detail["outputs"], json!(52));
    let feature = &detail["features"][0];
    assert_eq!(
        (&feature["feature"], &feature["failed"], &feature["fail_rate"]),
        (&json!("support-bot"), &json!(12), &json!(0.2308))
    );
    let incidents = scene.incidents().await;
    assert_eq!((incidents.len(), incidents[0].entity.as_str(), incidents[0].occurrences), (1, "support-bot", 1));
    jobs.run_by_hand("prompt_drift", false).await.unwrap();
    assert_eq!(
        scene.incidents().await[0].occurrences,
        1,
        "the same window by the detector's own job is the same occurrence"
    );
}

#[tokio::test]
async fn every_job_says_what_it_would_do_and_a_dry_run_leaves_no_trace() {
    let scene = world().scene(start());
    let jobs = scene.jobs(None);
    for job in jobs.list() {
        if job.name == "weekly_digest" {
            assert!(jobs.run_by_hand(&job.name, true).await.is_err(), "nothing makes digests here");
            continue;
        }
        let HandRun::Dry { judgement, would } = jobs.run_by_hand(&job.name, true).await.unwrap() else { panic!() };
        assert!(judgement.is_some() != would.is_some(), "{}", job.name);
        assert!(runs(&scene, &job.name).await.is_empty());
    }
    assert!(scene.incidents().await.is_empty());
    assert!(scene.ctx.store.schemas.list(&scene.ctx.scope, None).await.unwrap().is_empty());
}
