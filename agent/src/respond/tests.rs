//! What follows from a judged window.

use chrono::{DateTime, TimeDelta, Utc};
use tripline_store::{IncidentStatus, Severity};

use super::*;
use crate::detect::Persist;
use crate::testing::{Scene, World, at, minutes};

fn start() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

/// A loop of 15 generations, and 10 more an hour later.
fn world() -> World {
    let mut world = World::default();
    world.repeat("the-loop", "plan", start() - minutes(20), 15);
    world.repeat("the-loop", "plan", start() + minutes(40), 10);
    world
}

async fn tick(scene: &Scene, at: DateTime<Utc>) -> Response {
    scene.clock.set(at);
    let judgement = scene.detectors.run_once("agent_loop", at, Persist::Baselines).await.unwrap();
    scene.responder(None).respond(&judgement).await.unwrap()
}

#[tokio::test]
async fn a_condition_that_lasts_is_one_incident_from_opening_to_end() {
    let scene = world().scene(start());
    let mut tick_at = start();
    for _ in 0..20 {
        tick(&scene, tick_at).await;
        tick_at += minutes(15);
    }
    let incidents = scene.incidents().await;
    let [incident] = incidents.as_slice() else { panic!("{incidents:#?}") };
    assert_eq!((incident.status, incident.severity), (IncidentStatus::Resolved, Severity::Critical));
    assert!(incident.narrative.as_ref().unwrap().starts_with("What happened: One trace (the-loop)"));
    assert_eq!(incident.narrator.as_deref(), Some("template"));
    let calls = scene.governor.calls();
    assert_eq!(calls.first().map(String::as_str), Some("opened agent_loop the-loop"));
    assert_eq!(calls.last().map(String::as_str), Some("resolved agent_loop the-loop"));
    assert_eq!(calls.iter().filter(|call| call.starts_with("opened")).count(), 1);
    assert_eq!(calls.iter().filter(|call| call.starts_with("resolved")).count(), 1);
}

#[tokio::test]
async fn what_comes_back_is_opened_again_as_the_same_incident() {
    let mut world = world();
    world.repeat("the-loop", "plan", start() + TimeDelta::hours(12), 15);
    let scene = world.scene(start());
    for hour in 0..14 {
        tick(&scene, start() + TimeDelta::hours(hour)).await;
    }
    let incidents = scene.incidents().await;
    assert_eq!(incidents.len(), 1);
    assert_eq!((incidents[0].status, incidents[0].reopened_count), (IncidentStatus::Open, 1));
    assert_eq!(scene.governor.calls().iter().filter(|call| call.starts_with("opened")).count(), 2);
}

#[tokio::test]
async fn a_rising_severity_is_investigated_anew() {
    let scene = world().scene(start());
    tick(&scene, start()).await;
    let before = scene.incidents().await.remove(0);
    tick(&scene, start() + minutes(60)).await;
    let after = scene.incidents().await.remove(0);
    assert_eq!((before.severity, after.severity), (Severity::High, Severity::Critical));
    assert!(after.investigated_at > before.investigated_at);
    assert!(after.narrative.unwrap().contains("25 generations"));
    assert_eq!(after.culprit_sha, None);
}

#[tokio::test]
async fn handling_a_judgement_twice_repeats_nothing_but_what_was_left_undone() {
    let scene = world().scene(start());
    scene.governor.fail(1);
    let judgement = scene.detectors.run_once("agent_loop", start(), Persist::Baselines).await.unwrap();
    let responder = scene.responder(None);
    responder.respond(&judgement).await.unwrap_err();
    assert_eq!(scene.governor.calls(), Vec::<String>::new());
    responder.respond(&judgement).await.unwrap();
    assert_eq!(scene.governor.calls(), ["opened agent_loop the-loop"]);
    let incidents = scene.incidents().await;
    assert_eq!((incidents.len(), incidents[0].occurrences), (1, 1));
}

#[tokio::test]
async fn an_incident_says_which_source_was_missing_and_learns_when_it_is_back() {
    let mut world = world();
    world.message("incidents", "it never ends", start() - minutes(5));
    let scene = world.scene(start());
    let down = scene.over(world.engine(&scene.clock, &["slack"]));
    tick(&down, start()).await;
    let incident = scene.incidents().await.remove(0);
    assert!(incident.gaps.iter().any(|gap| gap.source == "slack" && gap.reason.contains("503")), "{:?}", incident.gaps);
    assert!(incident.narrative.unwrap().contains("Unknown, because they could not be asked: "));

    tick(&scene, start() + minutes(15)).await;
    let incident = scene.incidents().await.remove(0);
    assert!(incident.gaps.iter().all(|gap| gap.source != "slack"), "{:?}", incident.gaps);
    assert!(incident.timeline.to_string().contains("it never ends"));
}

#[tokio::test]
async fn while_a_source_is_down_for_long_the_others_are_not_asked_for_the_same_at_every_window() {
    let mut world = World::default();
    for quarter in 0..24 {
        world.repeat("the-loop", "plan", start() - minutes(20) + minutes(15 * quarter), 15);
    }
    let scene = world.scene(start());
    let down = scene.over(world.engine(&scene.clock, &["slack"]));
    let responder = down.responder(None);
    let (mut tries, mut waited) = (0, Vec::new());
    for quarter in 0..24 {
        let at = start() + minutes(15 * quarter);
        scene.clock.set(at);
        let id = scene.incidents().await.first().map(|incident| incident.id.to_string());
        // After an outage many windows are judged at the same time.
        for _ in 0..2 {
            let may_be_tried = id.as_ref().is_some_and(|id| !responder.waits(id));
            let judgement = down.detectors.run_once("agent_loop", at, Persist::Nothing).await.unwrap();
            responder.respond(&judgement).await.unwrap();
            tries += usize::from(may_be_tried);
            waited.extend(id.as_ref().map(|id| responder.waits(id)));
        }
    }
    assert!(waited.iter().all(|waits| *waits), "each vain try is followed by a wait");
    assert!((5..=8).contains(&tries), "{tries} investigations in six hours");
}

#[tokio::test]
async fn a_window_with_a_gap_ends_no_incident() {
    let world = world();
    let scene = world.scene(start());
    tick(&scene, start()).await;
    let down = scene.over(world.engine(&scene.clock, &["langfuse"]));
    for hour in 4..20 {
        tick(&down, start() + TimeDelta::hours(hour)).await;
    }
    assert_eq!(scene.incidents().await[0].status, IncidentStatus::Open);
}
