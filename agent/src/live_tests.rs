//! The whole way over HTTP: simulator, connectors, jobs, incidents; in both generations of Langfuse.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tripline_simulator::{LangfuseGeneration, Scenario, default_anchor};
use tripline_store::{IncidentStatus, JobStatus};

use crate::investigate::Repository;
use crate::testing::{Live, minutes};

/// Walks a history in steps of so many minutes and returns how the runs ended.
async fn walk(live: &Live, from: DateTime<Utc>, until: DateTime<Utc>, step: i64) -> BTreeMap<JobStatus, usize> {
    let jobs = live.scene.jobs(Repository::from_environment(&live.environment));
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

#[tokio::test]
async fn all_incidents_of_one_history_are_found_with_their_culprits() {
    let from = default_anchor() - TimeDelta::hours(11);
    let live = Live::start(&Scenario::ALL, LangfuseGeneration::V4, from).await;
    // The last incident ends a quarter of an hour before the anchor; three clean windows resolve what ended before.
    walk(&live, from, default_anchor(), 15).await;
    assert_truth(&live).await;
    let resolved = live.scene.incidents().await.iter().filter(|i| i.status == IncidentStatus::Resolved).count();
    assert!(resolved >= 3, "{resolved}");
    for incident in live.scene.incidents().await {
        println!("{} {:?} {:?}\n{}\n", incident.kind, incident.cost_usd, incident.status, incident.narrative.unwrap());
    }
}

async fn alone(scenario: Scenario) {
    let from = default_anchor() - TimeDelta::hours(11);
    for generation in [LangfuseGeneration::V3, LangfuseGeneration::V4] {
        let live = Live::start(&[scenario], generation, from).await;
        let truth = &live.truth.incidents[0];
        walk(&live, truth.starts_at - minutes(30), truth.ends_at + minutes(30), 15).await;
        assert_truth(&live).await;
    }
}

#[tokio::test]
async fn a_cost_spike_is_found_alone_in_both_generations() {
    alone(Scenario::CostSpike).await;
}

#[tokio::test]
async fn an_error_cascade_is_found_alone_in_both_generations() {
    alone(Scenario::ErrorCascade).await;
}

#[tokio::test]
async fn prompt_drift_is_found_alone_in_both_generations_whatever_the_message_says() {
    alone(Scenario::PromptDrift).await;
    alone(Scenario::PromptDriftWorded).await;
}

#[tokio::test]
async fn an_agent_loop_is_found_alone_in_both_generations() {
    alone(Scenario::AgentLoop).await;
}

#[tokio::test]
async fn a_silent_tool_failure_is_found_alone_in_both_generations() {
    alone(Scenario::SilentToolFailure).await;
}
