//! A source that is down is unknown, never clean; and what was missed is judged when it is back.

use serde_json::Value;

use crate::harness::{Serve, text, until};
use crate::seeded;

/// The runs of a job, as (end of the window, status), oldest first.
async fn runs(serve: &Serve, job: &str) -> Vec<(String, String)> {
    let mut runs = serve.items(&format!("/api/v1/jobs/{job}/runs")).await;
    runs.reverse();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    runs.iter().map(|run| (word(&run["window"]["end"]), word(&run["status"]))).collect()
}

#[tokio::test]
async fn a_detector_whose_source_is_down_reports_a_gap_and_its_window_is_judged_when_it_is_back() {
    let scene = seeded::cascade().await;
    scene.vendors.fault("sentry", "", "status:503").await;

    let by_hand = scene.site.run(&["detectors", "run", "error_cascade", "--at", &text(scene.now)]).await;
    assert_eq!(by_hand.code(), 3, "{by_hand:?}");
    assert!(by_hand.stderr.contains("sentry") && by_hand.stderr.contains("503"), "{by_hand:?}");
    assert!(!by_hand.stdout.contains("nothing found"), "{by_hand:?}");
    let asked = scene.site.run(&["sql", "--format", "json", "SELECT id FROM sentry.issues"]).await;
    assert_ne!(asked.code(), 0, "a failed source is no empty table: {asked:?}");
    assert!(serde_json::from_str::<Value>(&asked.stdout).is_err(), "{asked:?}");

    let serve = scene.site.serve(scene.now).await;
    for run in serve.judged().await {
        let needs_sentry = ["error_cascade", "silent_tool_failure"].contains(&run["job"].as_str().unwrap());
        assert_eq!(run["status"], if needs_sentry { "gap" } else { "ok" }, "{run}");
        assert_eq!(needs_sentry, run["error"].as_str().is_some_and(|why| why.contains("sentry")), "{run}");
    }
    assert_eq!(serve.items("/api/v1/incidents").await, Vec::<Value>::new());
    let missed = runs(&serve, "error_cascade").await;
    assert_eq!(missed.len(), 1, "{missed:?}");
    assert!(serve.terminate().await.success());

    scene.vendors.heal().await;
    let serve = scene.again(6).await;
    let incident = serve.incident("error_cascade").await;
    assert_eq!(incident["gaps"], Value::Array(Vec::new()), "{incident}");
    serve.judged().await;
    let judged = runs(&serve, "error_cascade").await;
    assert_eq!(judged[1..], [(missed[0].0.clone(), "ok".to_owned())], "the same window, once more: {judged:?}");
}

/// Whether a Slack message that was written says that this source is unknown.
async fn told_unknown(scene: &seeded::Scene, source: &str) -> bool {
    let writes = scene.vendors.writes().await;
    let needle = format!("unknown: {source}");
    writes.iter().any(|write| write.source == "slack" && write.body["blocks"].to_string().contains(&needle))
}

#[tokio::test]
async fn an_incident_names_what_is_unknown_about_it_until_the_source_is_back() {
    let scene = seeded::spike().await;
    // Where commits come from, and what people said. Messages can still be posted.
    scene.vendors.fault("github", "", "status:503").await;
    scene.vendors.fault("slack", "/conversations", "status:503").await;
    let serve = scene.site.serve(scene.now).await;
    let incident = serve.incident("cost_spike").await;
    assert_eq!(incident["culprit_sha"], Value::Null, "nobody is blamed without evidence");
    let gaps = incident["gaps"].as_array().unwrap();
    for source in ["github", "slack"] {
        assert!(gaps.iter().any(|gap| gap["source"] == source), "{source}: {gaps:#?}");
        let evidence = incident["evidence"].as_array().unwrap();
        let of_source = |item: &&Value| item["sources"].as_array().is_some_and(|s| s.contains(&source.into()));
        let asked: Vec<&Value> = evidence.iter().filter(of_source).collect();
        assert!(!asked.is_empty() && asked.iter().all(|item| item["status"] == "unknown"), "{source}: {asked:#?}");
        until(&format!("{source} in the message"), async || told_unknown(&scene, source).await.then_some(())).await;
    }
    let narrative = incident["narrative"].as_str().unwrap();
    assert!(narrative.to_lowercase().contains("unknown") && narrative.to_lowercase().contains("github"), "{narrative}");
    assert!(serve.terminate().await.success());

    scene.vendors.heal().await;
    let serve = scene.again(15).await;
    let healed = until("the incident without gaps", async || {
        let incident = serve.incident("cost_spike").await;
        (incident["gaps"] == Value::Array(Vec::new())).then_some(incident)
    })
    .await;
    assert!(healed["culprit_sha"].is_string(), "{healed}");
    assert_eq!(healed["id"], incident["id"], "one incident all along");
}
