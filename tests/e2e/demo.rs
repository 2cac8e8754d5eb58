//! `tripline demo --once --json`: the whole job, headless.

use std::collections::BTreeSet;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tripline_simulator::{DEFAULT_SEED, Scenario, default_anchor};

use crate::harness::{PATIENCE, binary};

/// Runs the demo with nothing in its environment that it could lean on, and reads its one document.
async fn demo(args: &[&str]) -> Value {
    let nowhere = TempDir::new().unwrap();
    let mut command = Command::new(binary());
    // An environment that points elsewhere must not matter, and a home is not needed.
    command.args(["demo", "--once", "--json"]).args(args).env_clear();
    command.env("LANGFUSE_BASE_URL", "http://127.0.0.1:1").env("GITHUB_TOKEN", "of somebody");
    command.current_dir(nowhere.path()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(nowhere.path().read_dir().unwrap().count(), 0, "the demo wrote where it was called");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

fn assert_documented_shape(document: &Value) {
    assert_eq!(keys(document), BTreeSet::from(["incidents", "approvals", "actions", "requests"]));
    for (list, fields) in [
        (
            "incidents",
            vec!["type", "severity", "window_start", "window_end", "entity", "culprit_sha", "cost_usd", "narrative"],
        ),
        ("approvals", vec!["id", "incident_type", "action_type", "status", "resolved_by"]),
        ("actions", vec!["type", "status", "attempts", "idempotency_key", "result"]),
    ] {
        for item in document[list].as_array().unwrap() {
            assert_eq!(keys(item), fields.iter().copied().collect(), "{list}");
        }
    }
    for (source, counts) in document["requests"].as_object().unwrap() {
        assert!(["langfuse", "sentry", "github", "slack"].contains(&source.as_str()), "{source}");
        for (request, count) in counts.as_object().unwrap() {
            let (method, path) = request.split_once(' ').unwrap();
            assert!(["GET", "POST", "PATCH"].contains(&method) && path.starts_with('/'), "{request}");
            assert!(count.as_u64().unwrap() > 0);
        }
    }
}

/// Incidents are those of the truth, each decided once and acted upon once.
fn assert_told_and_done(document: &Value, scenarios: &[Scenario]) {
    let (_, truth) = Scenario::generate(scenarios, default_anchor(), DEFAULT_SEED);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut expected: Vec<_> = truth
        .incidents
        .iter()
        .map(|incident| {
            let class = serde_json::to_value(incident.class).unwrap();
            (class.as_str().unwrap().to_owned(), incident.entity.clone(), incident.culprit_sha.clone().unwrap())
        })
        .collect();
    expected.sort();
    let incidents = document["incidents"].as_array().unwrap();
    let mut found: Vec<_> =
        incidents.iter().map(|i| (text(i, "type"), text(i, "entity"), text(i, "culprit_sha"))).collect();
    found.sort();
    assert_eq!(found, expected);
    for incident in incidents {
        let narrative = text(incident, "narrative");
        assert!(narrative.contains(&text(incident, "culprit_sha")[..8]), "{narrative}");
        assert!(incident["cost_usd"].is_number(), "{incident}");
        assert!(text(incident, "window_start") < text(incident, "window_end"));
    }

    let approvals = document["approvals"].as_array().unwrap();
    assert_eq!(approvals.len(), expected.len(), "one decision per incident: {approvals:#?}");
    for approval in approvals {
        assert_eq!(approval["status"], "approved", "{approval}");
        let by = text(approval, "resolved_by");
        // A loop of more than 20 generations is stopped without asking.
        assert!(truth.approvers.contains(&by) || (by == "policy" && approval["action_type"] == "kill_loop"), "{by}");
    }
    let actions = document["actions"].as_array().unwrap();
    assert_eq!(actions.len(), expected.len(), "one action per decision: {actions:#?}");
    let distinct: BTreeSet<String> = actions.iter().map(|action| text(action, "idempotency_key")).collect();
    assert_eq!(distinct.len(), actions.len());
    for action in actions {
        assert_eq!((&action["status"], &action["attempts"]), (&"done".into(), &1.into()), "{action}");
    }
    let of_type = |kind: &str| actions.iter().filter(|action| action["type"] == kind).count() as u64;
    let opened = document["requests"]["github"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(request, _)| request.starts_with("POST "))
        .filter_map(|(request, count)| {
            let issues = format!("POST /repos/{}/{}/issues", truth.owner, truth.repo);
            if *request == issues {
                return count.as_u64();
            }
            // When its incident ended: one comment, and the issue is closed.
            assert!(request.starts_with(&issues) && request.ends_with("/comments"), "{request}");
            assert_eq!(*count, 1, "{request}");
            None
        })
        .sum::<u64>();
    assert_eq!(opened, of_type("open_github_issue"), "each approved issue was written once");
    let loops = truth.incidents.iter().filter(|i| i.class == tripline_simulator::FailureClass::AgentLoop).count();
    assert_eq!(of_type("kill_loop"), loops as u64);
}

#[tokio::test]
async fn the_demo_finds_decides_and_acts_on_all_five_incidents_once_each() {
    let document = demo(&[]).await;
    assert_documented_shape(&document);
    assert_told_and_done(&document, &Scenario::ALL);
    for source in ["langfuse", "sentry", "github", "slack"] {
        assert!(document["requests"][source].is_object(), "{source} was never asked");
    }
}

#[tokio::test]
async fn the_demo_does_the_same_on_a_langfuse_that_has_only_the_legacy_listings() {
    let document = demo(&["--scenario", "cost_spike", "--langfuse", "v3"]).await;
    assert_documented_shape(&document);
    assert_told_and_done(&document, &[Scenario::CostSpike]);
    let asked = document["requests"]["langfuse"].as_object().unwrap();
    assert!(asked.contains_key("GET /api/public/observations"), "{asked:#?}");
}

#[tokio::test]
async fn nothing_is_found_asked_or_done_in_a_quiet_week() {
    let document = demo(&["--scenario", "quiet"]).await;
    assert_documented_shape(&document);
    for list in ["incidents", "approvals", "actions"] {
        assert_eq!(document[list], Value::Array(Vec::new()), "{list}");
    }
    // The history of files is measured by the clock; nothing is investigated.
    let asked = document["requests"]["github"].as_object().cloned().unwrap_or_default();
    let of_the_history = |path: &&String| path.starts_with("GET ") && path.contains("/commits");
    let others: Vec<&String> = asked.keys().filter(|path| !of_the_history(path)).collect();
    assert!(others.is_empty(), "nothing to investigate: {others:?}");
}
