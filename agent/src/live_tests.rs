//! The whole way over HTTP: simulator, connectors, jobs, incidents; in both generations of Langfuse.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tripline_simulator::{LangfuseGeneration, Scenario, default_anchor};
use tripline_store::{IncidentStatus, JobStatus};

use crate::investigate::Repository;
use crate::testing::{Live, minutes};

/// Walks a history with windows every so many minutes and returns how the runs ended.
async fn walk(live: &Live, from: DateTime<Utc>, until: DateTime<Utc>, step: i64) -> BTreeMap<JobStatus, usize> {
    let jobs = live.scene.jobs(Repository::from_environment(&live.environment));
    let cron = if step < 60 { format!("*/{step} * * * *") } else { format!("0 */{} * * *", step / 60) };
    let mut settings = live.scene.ctx.settings.get().as_ref().clone();
    settings.schedules = jobs.list().into_iter().map(|job| (job.name, cron.clone())).collect();
    live.scene.ctx.settings.set(settings);
    let mut ended: BTreeMap<JobStatus, usize> = BTreeMap::new();
    let mut now = from;
    while now <= until {
        live.set_clock(now);
        for run in jobs.run_due(now).await.unwrap() {
            *ended.entry(run.status).or_default() += 1;
            assert_ne!(run.status, JobStatus::Failed, "{run:?}");
        }
        now += minutes(step);
    }
    ended
}

/// Every incident of the truth is there once, with its entity and culprit, and nothing else is.
async fn assert_truth(live: &Live) {
    let mut expected: Vec<_> = live
        .truth
        .incidents
        .iter()
        .map(|truth| (json!(truth.class).as_str().unwrap().to_owned(), truth.entity.clone(), truth.culprit_sha.clone()))
        .collect();
    expected.sort();
    let incidents = live.scene.incidents().await;
    let mut found: Vec<_> =
        incidents.iter().map(|i| (i.kind.clone(), i.entity.clone(), i.culprit_sha.clone())).collect();
    found.sort();
    assert_eq!(found, expected, "{incidents:#?}");
    for incident in &incidents {
        assert_eq!(incident.gaps, [], "{incident:?}");
        let narrative = incident.narrative.as_ref().unwrap();
        let culprit = incident.culprit_sha.as_ref().unwrap().get(..8).unwrap();
        assert!(narrative.contains(culprit) && narrative.contains("is the likely cause"), "{narrative}");
        assert!(incident.cost_usd.is_some());
    }
}

async fn together(generation: LangfuseGeneration) {
    let from = default_anchor() - TimeDelta::hours(11);
    let live = Live::start(&Scenario::ALL, generation, from).await;
    // The last incident ends a quarter of an hour before the anchor; three clean windows resolve what ended before.
    walk(&live, from, default_anchor(), 30).await;
    assert_truth(&live).await;
    let resolved = live.scene.incidents().await.iter().filter(|i| i.status == IncidentStatus::Resolved).count();
    assert!(resolved >= 3, "{resolved}");
}

#[tokio::test]
async fn all_incidents_of_one_history_are_found_with_their_culprits_on_langfuse_v4() {
    together(LangfuseGeneration::V4).await;
}

#[tokio::test]
async fn all_incidents_of_one_history_are_found_with_their_culprits_on_langfuse_v3() {
    together(LangfuseGeneration::V3).await;
}

async fn alone(scenario: Scenario) {
    let from = default_anchor() - TimeDelta::hours(11);
    let live = Live::start(&[scenario], LangfuseGeneration::V4, from).await;
    let truth = &live.truth.incidents[0];
    walk(&live, truth.starts_at, truth.ends_at.max(truth.starts_at + minutes(60)) + minutes(15), 30).await;
    assert_truth(&live).await;
}

#[tokio::test]
async fn a_cost_spike_alone_is_one_incident() {
    alone(Scenario::CostSpike).await;
}

#[tokio::test]
async fn an_error_cascade_alone_is_one_incident() {
    alone(Scenario::ErrorCascade).await;
}

#[tokio::test]
async fn prompt_drift_alone_is_one_incident() {
    alone(Scenario::PromptDrift).await;
}

#[tokio::test]
async fn an_agent_loop_alone_is_one_incident() {
    alone(Scenario::AgentLoop).await;
}

#[tokio::test]
async fn a_silent_tool_failure_alone_is_one_incident() {
    alone(Scenario::SilentToolFailure).await;
}

async fn quiet(hours: i64, step: i64) {
    let from = default_anchor() - TimeDelta::hours(hours);
    let live = Live::start(&[Scenario::Quiet], LangfuseGeneration::V4, from).await;
    let ended = walk(&live, from, default_anchor(), step).await;
    assert_eq!(ended.keys().collect::<Vec<_>>(), [&JobStatus::Ok]);
    assert_eq!(live.scene.incidents().await, []);
}

#[tokio::test]
async fn a_quiet_day_has_no_incident() {
    quiet(24, 240).await;
}

#[tokio::test]
#[ignore = "minutes long; run by hand when a rule changes"]
async fn a_quiet_week_has_no_incident() {
    quiet(7 * 24, 60).await;
}

#[tokio::test]
async fn a_source_that_is_down_leaves_a_gap_and_the_window_is_judged_when_it_is_back() {
    let from = default_anchor() - minutes(15);
    let live = Live::start(&[Scenario::ErrorCascade], LangfuseGeneration::V4, from).await;
    let client = reqwest::Client::new();
    let control = |path: &str| format!("{}{path}", live.simulator.base_url());
    let fault = json!({"source": "sentry", "path": "/", "fault": "status:500", "times": 1000});
    assert!(client.post(control("/_fault")).json(&fault).send().await.unwrap().status().is_success());
    let jobs = live.scene.jobs(Repository::from_environment(&live.environment));
    let judged = async |at: DateTime<Utc>| {
        live.set_clock(at);
        let runs = jobs.run_due_of("error_cascade", at).await.unwrap();
        runs.into_iter().map(|run| (run.window.unwrap().end, run.status)).collect::<Vec<_>>()
    };
    let tick = |m: i64| from + minutes(m) + TimeDelta::seconds(10);
    assert_eq!(judged(tick(0)).await, [(tick(0), JobStatus::Gap)]);
    assert_eq!(live.scene.incidents().await, []);
    let healed = json!({"source": "sentry", "path": "/", "fault": "none"});
    assert!(client.post(control("/_fault")).json(&healed).send().await.unwrap().status().is_success());
    assert_eq!(judged(tick(15)).await, [(tick(0), JobStatus::Ok), (tick(15), JobStatus::Ok)]);
    assert_truth(&live).await;
}
