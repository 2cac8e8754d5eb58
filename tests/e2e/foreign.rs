//! Data that nobody has seen: other names, traffic and times than the bundled scenarios, through `simulate --data`.

use serde_json::Value;
use tempfile::TempDir;

use chrono::TimeDelta;

use crate::harness::{Site, Vendors, text};
use crate::history::{Class, History, Rollout, Story, Vocabulary, tell};

/// The stories: one company for each class of failure, each unlike the others.
fn story(class: Class) -> Story {
    let story = Story {
        class,
        seed: 0,
        end: "",
        per_hour: 8.0,
        season: 0.0,
        weekend: 1.0,
        lasts: 75,
        cost_usd: 0.03,
        rollout: Rollout::Deployments,
    };
    match class {
        Class::CostSpike => Story { seed: 11, end: "2024-02-29T13:15:00Z", season: 0.7, ..story },
        Class::ErrorCascade => Story {
            seed: 22,
            end: "2027-07-04T22:45:00Z",
            per_hour: 20.0,
            cost_usd: 0.09,
            rollout: Rollout::Commits,
            ..story
        },
        Class::PromptDrift => {
            Story { seed: 33, end: "2025-12-31T23:30:00Z", weekend: 0.3, rollout: Rollout::Pulls, lasts: 110, ..story }
        }
        Class::AgentLoop => Story { seed: 44, end: "2026-03-29T02:00:00Z", per_hour: 3.0, lasts: 40, ..story },
        Class::SilentToolFailure => Story {
            seed: 55,
            end: "2025-06-15T12:00:00Z",
            season: 0.4,
            per_hour: 12.0,
            rollout: Rollout::Releases,
            ..story
        },
    }
}

/// What a server says about a history.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    class: String,
    /// Whether it is about the feature, trace or tool that failed.
    right_entity: bool,
    severity: String,
    culprit: Option<String>,
}

/// Lets `detectors run` and a server judge the end of a history.
async fn judge(history: &History) -> Vec<Verdict> {
    let folder = TempDir::new().unwrap();
    history.write(folder.path());
    let vendors = Vendors::simulate(folder.path(), history.account.clone(), history.end).await;
    let site = Site::over(&vendors);

    let class = history.class.name();
    let found = site.run(&["detectors", "run", class, "--at", &text(history.end), "--json"]).await.json();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0]["type"], class);
    assert_eq!(found[0]["entity"], history.entity.as_str());
    assert!(!site.path("state").exists(), "`detectors run` wrote into the home");

    // A little after the end, so that the schedule's last tick is the end for every detector.
    let serve = site.serve(history.end + TimeDelta::seconds(50)).await;
    for run in serve.judged().await {
        assert_eq!(run["status"], "ok", "{run}");
    }
    let text = |incident: &Value, key: &str| incident[key].as_str().map(str::to_owned);
    let incidents = serve.items("/api/v1/incidents").await;
    let verdict = |incident: &Value| Verdict {
        class: text(incident, "type").unwrap(),
        right_entity: incident["entity"] == history.entity.as_str(),
        severity: text(incident, "severity").unwrap(),
        culprit: text(incident, "culprit_sha"),
    };
    let mut verdicts: Vec<Verdict> = incidents.iter().map(verdict).collect();
    verdicts.sort_by(|a, b| a.class.cmp(&b.class));
    verdicts
}

/// A history is judged rightly, and by any other name the same. What fails many times also costs: that its feature is found to be
/// dear as well counts neither way.
async fn judged_rightly(class: Class) {
    let history = tell(story(class), &Vocabulary::new(3));
    let verdicts = judge(&history).await;
    let found: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| verdict.class == class.name() || !verdict.right_entity).collect();
    let [verdict] = found.as_slice() else { panic!("one incident and no other: {verdicts:#?}") };
    assert_eq!(verdict.class, class.name());
    assert!(verdict.right_entity, "{verdict:?}");
    assert_eq!(verdict.culprit.as_ref(), Some(&history.culprit), "{verdict:?}");

    let renamed = tell(story(class), &Vocabulary::new(4));
    assert!(renamed.account.owner != history.account.owner && renamed.culprit == history.culprit);
    assert_eq!(judge(&renamed).await, verdicts, "renamed");
}

#[tokio::test]
async fn a_foreign_cost_spike_is_judged_rightly_by_any_name() {
    judged_rightly(Class::CostSpike).await;
}

#[tokio::test]
async fn a_foreign_error_cascade_is_judged_rightly_by_any_name() {
    judged_rightly(Class::ErrorCascade).await;
}

#[tokio::test]
async fn a_foreign_prompt_drift_is_judged_rightly_by_any_name() {
    judged_rightly(Class::PromptDrift).await;
}

#[tokio::test]
async fn a_foreign_agent_loop_is_judged_rightly_by_any_name() {
    judged_rightly(Class::AgentLoop).await;
}

#[tokio::test]
async fn a_foreign_silent_tool_failure_is_judged_rightly_by_any_name() {
    judged_rightly(Class::SilentToolFailure).await;
}

#[tokio::test]
async fn what_went_live_after_the_first_failing_output_is_not_blamed_for_it() {
    // No call lies between the onset and a commit a quarter of an hour later, but the first failing output does.
    let late =
        Story { seed: 66, end: "2026-09-10T14:00:00Z", per_hour: 20.0, cost_usd: 0.09, ..story(Class::CostSpike) };
    let late = Story { class: Class::PromptDrift, season: 0.0, rollout: Rollout::Pulls, ..late };
    let history = tell(late, &Vocabulary::new(0));
    let culprits: Vec<Option<String>> = judge(&history).await.into_iter().map(|verdict| verdict.culprit).collect();
    assert_eq!(culprits, [Some(history.culprit)]);
}
