//! What an investigation promises.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_store::EvidenceStatus;

use super::*;
use crate::detect::Persist;
use crate::testing::{Healthy, Scene, World, at, minutes};

fn judged_at() -> DateTime<Utc> {
    at("2026-11-20T12:00:00Z")
}

fn onset() -> DateTime<Utc> {
    judged_at() - minutes(30)
}

fn sha(n: u8) -> String {
    format!("{n:02x}").repeat(20)
}

fn repository() -> Repository {
    Repository { owner: "acme".to_owned(), name: "shop".to_owned() }
}

/// A healthy week, then a cascade that begins half an hour before.
fn cascade() -> World {
    let mut healthy = Healthy::new(7, judged_at() - TimeDelta::days(9), judged_at());
    healthy.bursts = false;
    let mut world = healthy.world();
    world.cascade("assist", "RateLimitError", onset(), 30, 0.11);
    for row in world.rows.get_mut("sentry.issue_events").unwrap() {
        if row["title"] == "RateLimitError" {
            row.insert("metadata".to_owned(), json!(json!({"filename": "svc/client.py"}).to_string()));
        }
    }
    world
}

async fn investigated(world: &World, detector: &str) -> Findings {
    let scene = world.scene(judged_at());
    investigated_in(&scene, detector, Some(repository())).await
}

async fn investigated_in(scene: &Scene, detector: &str, repository: Option<Repository>) -> Findings {
    let judged = scene.detectors.run_once(detector, judged_at(), Persist::Nothing).await.unwrap();
    let anomaly = judged.findings[0].to_anomaly(judged_at());
    let investigator = Investigator::new(scene.ctx.clone(), scene.detectors.queries().clone(), repository);
    investigator.investigate(&anomaly, &judged.gaps).await
}

fn shas(findings: &Findings) -> Vec<&str> {
    findings.suspects.iter().map(|s| s.id.get(..2).unwrap()).collect()
}

#[tokio::test]
async fn the_commit_that_was_deployed_just_before_is_the_first_suspect() {
    let mut world = cascade();
    world.commit(
        &sha(1),
        "Rewrite the system prompt template for the model",
        onset() - TimeDelta::hours(20),
        &["web/a.ts"],
    );
    world.deployment(&sha(1), onset() - TimeDelta::hours(19));
    world.commit(&sha(2), "Simplify", onset() - minutes(25), &["svc/client.py"]);
    world.deployment(&sha(2), onset() - minutes(5));
    // Closer still, and not deployed: a prompt-like message helps it nothing.
    world.commit(&sha(3), "Prompt for the LLM", onset() - minutes(3), &["web/b.ts"]);
    // After the onset.
    world.commit(&sha(4), "Fix", onset() + minutes(10), &["svc/client.py"]);
    world.deployment(&sha(4), onset() + minutes(12));

    let found = investigated(&world, "error_cascade").await;
    assert_eq!(found.onset, onset());
    assert_eq!(shas(&found), ["02", "01", "03"], "{:#?}", found.suspects);
    let culprit = found.culprit.unwrap();
    assert!(culprit.score > suspects::LIKELY, "{culprit:#?}");
    assert_eq!(culprit.live_at, onset() - minutes(5));
    assert_eq!(culprit.parts.iter().find(|p| p.name == "links").unwrap().value, 1.0);
    assert!(found.suspects[2].score < 0.1);
}

#[tokio::test]
async fn without_deployments_the_merge_and_else_the_commit_counts() {
    let mut world = cascade();
    world.commit(&sha(1), "a", onset() - TimeDelta::hours(30), &["svc/a.py"]);
    world.push(
        "github.pulls",
        json!({"owner": "acme", "repo": "shop", "number": 7, "title": "a", "state": "closed", "merged_at": onset() - minutes(20),
            "updated_at": onset() - minutes(20), "merge_commit_sha": sha(1)}),
    );
    world.commit(&sha(2), "b", onset() - TimeDelta::hours(5), &["svc/b.py"]);
    let found = investigated(&world, "error_cascade").await;
    assert_eq!(shas(&found), ["01", "02"]);
    assert_eq!((found.suspects[0].live_by, found.suspects[0].pull_request), (suspects::LiveBy::Merge, Some(7)));
    assert!(found.suspects.iter().all(|s| s.parts.iter().all(|p| p.name != "deployed")));
}

#[tokio::test]
async fn what_was_reverted_before_the_onset_is_no_suspect() {
    let mut world = cascade();
    world.commit(&sha(1), "a", onset() - minutes(50), &["svc/a.py"]);
    world.commit(
        &sha(2),
        &format!("Revert \"a\"\n\nThis reverts commit {}.", sha(1)),
        onset() - minutes(40),
        &["svc/a.py"],
    );
    assert_eq!(shas(&investigated(&world, "error_cascade").await), ["02"]);
}

#[tokio::test]
async fn documents_and_tests_weigh_less_whatever_their_message() {
    let mut world = cascade();
    for (n, file) in [(1, "svc/client_pool.py"), (2, "guide/intro.md"), (3, "svc/tests/test_pool.py")] {
        world.commit(&sha(n), "same", onset() - minutes(20), &[file]);
    }
    let found = investigated(&world, "error_cascade").await;
    assert_eq!(shas(&found), ["01", "02", "03"]);
}

#[tokio::test]
async fn an_old_commit_alone_is_no_culprit() {
    let mut world = cascade();
    world.commit(&sha(1), "a", onset() - TimeDelta::hours(40), &["svc/a.py"]);
    let found = investigated(&world, "error_cascade").await;
    assert_eq!((found.suspects.len(), found.culprit), (1, None));
}

#[tokio::test]
async fn a_source_that_is_not_there_is_unknown_and_the_rest_is_gathered() {
    let mut world = cascade();
    world.message("incidents", "Checkout fails", onset() + minutes(5));
    world.message("random", "Lunch?", onset() + minutes(6));
    let found = investigated_in(&world.scene(judged_at()), "error_cascade", None).await;
    let [gap] = found.gaps.as_slice() else { panic!("{:?}", found.gaps) };
    assert_eq!(gap.source, "github");
    assert!(gap.reason.starts_with(NOT_CONFIGURED));
    let of = |name: &str| found.evidence.iter().find(|e| e.name == name).unwrap();
    assert_eq!(of("commits").status, EvidenceStatus::Unknown);
    assert_eq!(of("messages").rows.as_array().unwrap().len(), 1);
    assert_eq!(of("issues").status, EvidenceStatus::Ok);
    assert!(of("issues").sql.contains("FROM sentry.issues"));
    assert_eq!(found.culprit, None);
}

#[tokio::test]
async fn when_no_incident_channel_exists_all_readable_ones_are_read() {
    let mut world = cascade();
    world.message("random", "Checkout fails", onset() + minutes(5));
    let found = investigated(&world, "error_cascade").await;
    let kinds: Vec<&str> = found.timeline.iter().map(|e| e.kind.as_str()).collect();
    assert!(kinds.contains(&"message") && kinds.contains(&"onset"));
    assert!(found.timeline.is_sorted_by_key(|entry| entry.at));
}

#[tokio::test]
async fn content_is_never_kept() {
    let mut world = Healthy::new(7, judged_at() - TimeDelta::days(9), judged_at()).world();
    world.silence("answer", judged_at() - minutes(60));
    world.outputs("answer", judged_at() - minutes(60), 20, &json!({"text": "very-secret-words"}));
    world.repeat("the-loop", "plan", judged_at() - minutes(70), 15);
    for detector in ["prompt_drift", "agent_loop"] {
        let found = investigated(&world, detector).await;
        let kept = serde_json::to_string(&found.evidence).unwrap();
        assert!(!kept.contains("very-secret-words") && !kept.contains("again"));
    }
    let found = investigated(&world, "prompt_drift").await;
    let outputs = found.evidence.iter().find(|e| e.name == "outputs").unwrap();
    assert_eq!(outputs.rows[0]["output"]["keys"], json!(["text"]));
}

#[tokio::test]
async fn many_rows_are_cut_and_that_is_said() {
    let mut world = cascade();
    world.spike("assist", onset() - TimeDelta::hours(5), 180, 15, 0.001);
    let found = investigated(&world, "error_cascade").await;
    let calls = found.evidence.iter().find(|e| e.name == "calls").unwrap();
    assert_eq!(calls.rows.as_array().unwrap().len(), 500);
    assert!(calls.truncated && calls.row_count > 500);
}

#[test]
fn a_repository_is_read_from_the_environment() {
    let of = |vars: &[(&str, &str)]| Repository::from_environment(&Environment::of(vars.iter().copied()));
    let expected = Some(Repository { owner: "acme".to_owned(), name: "shop".to_owned() });
    assert_eq!(of(&[("GITHUB_OWNER", "acme"), ("GITHUB_REPO", "shop")]), expected);
    assert_eq!(of(&[("GITHUB_REPO", "acme/shop")]), expected);
    assert_eq!(of(&[("GITHUB_REPO", "shop")]), None);
    let _: Value = json!(expected);
}

#[tokio::test]
async fn who_is_on_call_is_asked_and_named_with_the_suspects_author() {
    let mut world = cascade();
    world.commit(&sha(1), "Change", onset() - minutes(20), &["svc/client.py"]);
    world.deployment(&sha(1), onset() - minutes(5));
    for (name, level) in [("Ann", 1), ("Bo", 2), ("Cy", 3)] {
        world.push(
            "pagerduty.oncalls",
            json!({"user__summary": name, "escalation_level": level, "escalation_policy__summary": "web"}),
        );
    }
    let findings = investigated(&world, "error_cascade").await;
    let crate::people::Watch::Known(known) = crate::people::watch(&findings.evidence) else { panic!() };
    let named: Vec<_> = known.iter().map(|one| (one.name.as_str(), one.level)).collect();
    assert_eq!(named, [("Ann", 1), ("Bo", 2)]);
    let scene = world.scene(judged_at());
    let anomaly = scene.detectors.run_once("error_cascade", judged_at(), Persist::Nothing).await.unwrap().findings[0]
        .to_anomaly(judged_at());
    let told = crate::narrate::template::parts(crate::narrate::Story { anomaly: &anomaly, findings: &findings });
    assert!(told.recommended_action.ends_with("On call: Ann."), "{told:?}");
    assert!(told.likely_cause.contains(" by dev"), "{told:?}");
}

#[tokio::test]
async fn an_optional_source_that_is_down_is_a_gap_and_one_that_is_not_set_up_is_none() {
    let world = cascade();
    let scene = world.scene(judged_at());
    let down = scene.over(world.engine(&scene.clock, &["pagerduty", "datadog"]));
    let findings = investigated_in(&down, "error_cascade", Some(repository())).await;
    let mut sources: Vec<&str> = findings.gaps.iter().map(|gap| gap.source.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["datadog", "pagerduty"]);
    let evidence = |reason: &str| {
        let mut evidence = findings.evidence.iter().find(|evidence| evidence.name == "oncalls").unwrap().clone();
        evidence.error = Some(reason.to_owned());
        evidence
    };
    let gathered = |reason: &str, optional| Gathered {
        evidence: evidence(reason),
        rows: Vec::new(),
        timeline: None,
        requests: 0,
        optional,
    };
    assert!(gaps(&[gathered("not configured: set PAGERDUTY_TOKEN", true)], &[]).is_empty());
    assert_eq!(gaps(&[gathered("not configured: set SENTRY_TOKEN", false)], &[]).len(), 1);
    assert_eq!(gaps(&[gathered("HTTP 503", true)], &[]).len(), 1);
}

/// Gives the calls of `assist` something to carry, by when they began.
fn carry(world: &mut World, of: impl Fn(DateTime<Utc>) -> Value) {
    carry_of(world, "assist", of);
}

fn carry_of(world: &mut World, name: &str, of: impl Fn(DateTime<Utc>) -> Value) {
    for row in world.rows.get_mut("langfuse.observations").unwrap() {
        if row["name"] == name {
            let start = crate::detect::finding::time(&row["start_time"]).unwrap();
            row.extend(of(start).as_object().unwrap().clone());
        }
    }
}

fn prompt_since(since: DateTime<Utc>) -> impl Fn(DateTime<Utc>) -> Value {
    move |start| json!({"prompt_name": "assist-main", "prompt_version": if start < since { 7 } else { 8 }})
}

#[tokio::test]
async fn a_prompt_version_that_came_into_use_with_the_onset_ranks_before_a_harmless_deploy() {
    let mut world = cascade();
    world.commit(&sha(1), "Unrelated", onset() - minutes(12), &["web/a.ts"]);
    world.deployment(&sha(1), onset() - minutes(4));
    carry(&mut world, prompt_since(onset()));
    let found = investigated(&world, "error_cascade").await;
    let ids: Vec<&str> = found.suspects.iter().map(|suspect| suspect.id.as_str()).collect();
    assert_eq!(ids, ["prompt:assist-main@8", &sha(1)], "{:#?}", found.suspects);
    let first = &found.suspects[0];
    assert_eq!(
        (first.kind, first.live_by, first.sha.as_deref()),
        (suspects::Kind::Prompt, suspects::LiveBy::Seen, None)
    );
    let parts: Vec<&str> = first.parts.iter().map(|part| part.name).collect();
    assert_eq!(parts, ["timing", "exposure", "reach", "names"]);
    assert!(first.score > suspects::LIKELY && found.culprit.as_ref() == Some(first));

    let anomaly = world
        .scene(judged_at())
        .detectors
        .run_once("error_cascade", judged_at(), Persist::Nothing)
        .await
        .unwrap()
        .findings[0]
        .to_anomaly(judged_at());
    let told = crate::narrate::template::parts(crate::narrate::Story { anomaly: &anomaly, findings: &found });
    assert!(told.likely_cause.contains("prompt:assist-main@8, first used at"), "{told:?}");
    assert!(told.likely_cause.contains("is the likely cause"), "{told:?}");
}

#[tokio::test]
async fn a_change_that_a_commit_brought_along_ranks_behind_it() {
    let mut world = cascade();
    world.commit(&sha(1), "New wording", onset() - minutes(12), &["prompts/assist.md.j2"]);
    world.deployment(&sha(1), onset() - minutes(1));
    carry(&mut world, prompt_since(onset()));
    let found = investigated(&world, "error_cascade").await;
    assert_eq!(found.culprit.as_ref().unwrap().sha, Some(sha(1)), "{:#?}", found.suspects);
    assert!(found.suspects[1].message.contains("after 01010101 went live"), "{:#?}", found.suspects[1]);
}

#[tokio::test]
async fn what_came_into_use_hours_before_and_went_well_is_no_more_than_a_lead() {
    let mut world = cascade();
    carry(&mut world, |start| json!({"model": if start < onset() - minutes(240) { "model-a" } else { "model-b" }}));
    let found = investigated(&world, "error_cascade").await;
    let [only] = found.suspects.as_slice() else { panic!("{:#?}", found.suspects) };
    assert_eq!(only.id, "model:model-b");
    assert!(only.score < suspects::LIKELY, "{only:#?}");
}

#[tokio::test]
async fn a_flag_in_the_metadata_of_calls_is_a_suspect_once_it_changes_or_appears() {
    for (before, since) in [(json!({"ranker": "old"}), json!({"ranker": "new"})), (json!({}), json!({"ranker": "new"}))]
    {
        let mut world = cascade();
        carry(&mut world, |start| {
            let flags = if start < onset() { &before } else { &since };
            json!({"metadata": json!({"feature_flags": flags, "request": start}).to_string()})
        });
        let found = investigated(&world, "error_cascade").await;
        assert_eq!(found.suspects[0].id, "flag:ranker=new", "{:#?}", found.suspects);
    }
    // What every call always had is no change, and nor is what differs from call to call.
    let mut world = cascade();
    carry(&mut world, |_| json!({"metadata": json!({"feature_flags": {"ranker": true}}).to_string()}));
    assert!(investigated(&world, "error_cascade").await.suspects.is_empty());
}

/// The difference that a suspect shows, and why.
fn difference<'a>(found: &'a Findings, id: &str) -> Option<(f64, &'a str)> {
    let suspect = found.suspects.iter().find(|suspect| suspect.id == id).unwrap_or_else(|| panic!("{id}: {found:#?}"));
    let part = suspect.parts.iter().find(|part| part.name == "difference")?;
    Some((part.value, part.reason.as_str()))
}

/// Every other minute.
fn is_even(at: DateTime<Utc>) -> bool {
    at.timestamp() / 60 % 2 == 0
}

#[tokio::test]
async fn of_two_changes_at_once_the_one_whose_calls_are_dearer_shows_the_difference() {
    let mut healthy = Healthy::new(7, judged_at() - TimeDelta::days(9), judged_at());
    healthy.bursts = false;
    let mut world = healthy.world();
    world.spike("assist", onset(), 30, 30, 0.11);
    // From the onset on a model in every other minute, and a flag in the others: only calls of the model are dearer.
    carry(&mut world, |start| match (start >= onset(), is_even(start)) {
        (false, _) => json!({"model": "model-a", "total_cost": 0.1}),
        (true, true) => json!({"model": "model-b", "total_cost": 0.9}),
        (true, false) => {
            json!({"model": "model-a", "total_cost": 0.1, "metadata": json!({"flags": {"ranker": "new"}}).to_string()})
        }
    });
    let found = investigated(&world, "cost_spike").await;
    let (with, reason) = difference(&found, "model:model-b").unwrap();
    assert_eq!(with, 1.0, "{found:#?}");
    assert_eq!(reason, "a call with it costs 9.0 times as much as calls before the onset");
    assert_eq!(difference(&found, "flag:ranker=new").unwrap().0, 0.0);
    assert_eq!(found.suspects[0].id, "model:model-b", "{:#?}", found.suspects);
}

#[tokio::test]
async fn where_calls_did_not_become_dearer_the_difference_is_how_often_they_fail() {
    let mut world = cascade();
    carry(&mut world, |start| match (start >= onset(), is_even(start)) {
        (false, _) => json!({"prompt_name": "main", "prompt_version": 7}),
        (true, true) => json!({"prompt_name": "main", "prompt_version": 8, "level": "ERROR"}),
        (true, false) => json!({"prompt_name": "main", "prompt_version": 7, "model": "model-b"}),
    });
    let found = investigated(&world, "error_cascade").await;
    let (with, reason) = difference(&found, "prompt:main@8").unwrap();
    assert_eq!(
        (with, reason),
        (1.0, "100 % of the calls with it fail or look as none did before, of all before the onset 0 %")
    );
    assert_eq!(difference(&found, "model:model-b").unwrap().0, 0.0);
    assert_eq!(found.suspects[0].id, "prompt:main@8", "{:#?}", found.suspects);
    // Where nothing fails more often it is left out: it says nothing.
    let mut world = cascade();
    carry(&mut world, prompt_since(onset()));
    assert_eq!(difference(&investigated(&world, "error_cascade").await, "prompt:assist-main@8"), None);
}

#[tokio::test]
async fn of_outputs_that_drift_the_difference_is_how_many_look_as_none_did_before() {
    let mut world = Healthy::new(7, judged_at() - TimeDelta::days(9), judged_at()).world();
    world.silence("answer", onset());
    for n in 0..30 {
        let start = onset() + minutes(n);
        let good = json!({"reply": "r", "confidence": 0.5, "lang": "en"});
        world.generation("answer", start, 0.01, &if is_even(start) { json!({"text": "t"}) } else { good });
    }
    carry_of(&mut world, "answer", |start| match (start >= onset(), is_even(start)) {
        (true, true) => json!({"prompt_name": "main", "prompt_version": 8}),
        (true, false) => json!({"prompt_name": "main", "prompt_version": 7, "model": "model-b"}),
        (false, _) => json!({"prompt_name": "main", "prompt_version": 7}),
    });
    let found = investigated(&world, "prompt_drift").await;
    assert_eq!(difference(&found, "prompt:main@8").unwrap().0, 1.0);
    assert!(difference(&found, "model:model-b").unwrap().0 < 0.1);
    assert_eq!(found.suspects[0].id, "prompt:main@8", "{:#?}", found.suspects);
}

/// A week of a tool that returns rows, called by an agent; in the last half hour it returns text.
fn failing_tool(of_caller: impl Fn(DateTime<Utc>) -> Value, of_tool: impl Fn(DateTime<Utc>) -> Value) -> World {
    let mut world = World::default();
    let rows = json!({"rows": [{"id": 1, "title": "a title of some length"}, {"id": 2, "title": "another title of some length"}]});
    let times = (0..300).map(|n| onset() - minutes(30 * (300 - n))).chain((0..10).map(|n| onset() + minutes(3 * n)));
    for start in times {
        let trace = world.next_id("trace");
        world.generation_in(&trace, "planner", start - TimeDelta::seconds(5), 0.01, &json!("call the tool"));
        // A call after the tool's is not what asked for it.
        world.generation_in(&trace, "writer", start + TimeDelta::seconds(5), 0.01, &json!("text"));
        world.tool(&trace, "search", start, &if start < onset() { rows.clone() } else { json!("Service unavailable") });
    }
    carry_of(&mut world, "planner", |at| of_caller(at + TimeDelta::seconds(5)));
    carry_of(&mut world, "writer", |_| json!({"model": "model-w"}));
    carry_of(&mut world, "search", of_tool);
    world
}

#[tokio::test]
async fn a_tool_that_fails_suspects_what_its_callers_began_to_use() {
    let nothing = |_| json!({});
    let caller = |start: DateTime<Utc>| json!({"prompt_name": "planner-main", "prompt_version": if start < onset() { 7 } else { 8 }});
    let mut world = failing_tool(caller, nothing);
    world.commit(&sha(1), "Unrelated", onset() - minutes(40), &["web/a.ts"]);
    world.deployment(&sha(1), onset() - minutes(20));
    let found = investigated(&world, "silent_tool_failure").await;
    let first = &found.suspects[0];
    assert_eq!(first.id, "prompt:planner-main@8", "{:#?}", found.suspects);
    let parts: Vec<&str> = first.parts.iter().map(|part| part.name).collect();
    assert_eq!(parts, ["timing", "exposure", "reach", "difference"]);
    assert_eq!(difference(&found, &first.id).unwrap().0, 1.0);
    assert_eq!(found.culprit.as_ref(), Some(first));

    let model = |start: DateTime<Utc>| json!({"model": if start < onset() { "model-a" } else { "model-b" }});
    let found = investigated(&failing_tool(model, nothing), "silent_tool_failure").await;
    let ids: Vec<&str> = found.suspects.iter().map(|suspect| suspect.id.as_str()).collect();
    assert_eq!(ids, ["model:model-b"]);

    // A flag of the tool's own call.
    let flag = |start: DateTime<Utc>| json!({"metadata": json!({"flags": {"index": if start < onset() { 1 } else { 2 }}}).to_string()});
    let found = investigated(&failing_tool(nothing, flag), "silent_tool_failure").await;
    assert_eq!(found.suspects[0].id, "flag:index=2", "{:#?}", found.suspects);
    // Nothing that changed is nothing to suspect.
    assert!(investigated(&failing_tool(nothing, nothing), "silent_tool_failure").await.suspects.is_empty());
}
