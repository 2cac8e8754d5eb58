//! What a user may rely on about settings.

use std::sync::Arc;
use std::time::Duration;

use tripline_engine::{Environment, Param, SystemClock};

use super::*;

fn refused(text: &str) -> String {
    Settings::from_json(text, "settings.json").unwrap_err().to_string()
}

#[test]
fn the_compiled_in_file_says_what_the_code_says() {
    let file = Settings::from_json(DEFAULT_SETTINGS_JSON, "settings.json").unwrap();
    assert_eq!(file, Settings::default());
    let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(DEFAULT_SETTINGS_JSON).unwrap();
    for rule in Settings::THRESHOLDS {
        assert!(keys.contains_key(rule.key), "settings.json lacks {}", rule.key);
    }
}

#[test]
fn every_default_is_within_its_own_range() {
    for rule in Settings::THRESHOLDS {
        let value = match Settings::default().threshold(rule.key).unwrap() {
            Param::Int(n) => n as f64,
            Param::Float(n) => n,
            other => panic!("{other:?}"),
        };
        assert!(rule.min <= value && value <= rule.max, "{}", rule.key);
    }
}

#[test]
fn every_setting_has_its_line_in_the_documentation() {
    let page = include_str!("../../../docs/settings.md");
    for rule in Settings::THRESHOLDS {
        assert!(page.contains(&format!("| `{}` |", rule.key)), "docs/settings.md lacks {}", rule.key);
    }
}

#[test]
fn a_file_overrides_only_the_keys_it_has() {
    let settings = Settings::from_json(
        r#"{"cost_spike_multiplier": 4, "schedules": {"agent_loop": "*/5 * * * *"}, "narrator": {"max_tokens": 500}}"#,
        "x",
    )
    .unwrap();
    assert_eq!(settings.cost_spike_multiplier, 4.0);
    assert_eq!(settings.error_cascade_threshold, 10.0);
    assert_eq!(settings.schedules.len(), 10);
    assert_eq!(settings.narrator, NarratorSettings { max_tokens: 500, ..NarratorSettings::default() });
}

#[test]
fn the_environment_overrides_the_file() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("settings.json"), r#"{"cost_spike_multiplier": 4, "pr_risk_threshold": 5}"#)
        .unwrap();
    let environment = Environment::of([("COST_SPIKE_MULTIPLIER", "3.5"), ("AGENT_LOOP_GENERATION_THRESHOLD", "8")]);
    let settings = SettingsLoader::new(Some(home.path()), environment).load().unwrap();
    assert_eq!(
        (settings.cost_spike_multiplier, settings.pr_risk_threshold, settings.agent_loop_generation_threshold),
        (3.5, 5, 8)
    );
}

#[test]
fn an_absurd_value_is_refused_with_its_key_and_range() {
    assert_eq!(
        refused(r#"{"cost_spike_multiplier": -1}"#),
        "settings.json: cost_spike_multiplier is -1, but must be a number from 1 to 1000"
    );
    assert_eq!(
        refused(r#"{"agent_loop_generation_threshold": 10.5}"#),
        "settings.json: agent_loop_generation_threshold is 10.5, but must be a whole number from 1 to 100000"
    );
    assert!(refused(r#"{"pr_risk_threshold": "70"}"#).contains("pr_risk_threshold is \"70\""));
    for text in ["NaN", "inf", "-3", "many", "1e999"] {
        let environment = Environment::of([("ERROR_CASCADE_THRESHOLD", text)]);
        let error = SettingsLoader::new(None, environment).load().unwrap_err().to_string();
        assert!(error.contains("ERROR_CASCADE_THRESHOLD") && error.contains(text), "{error}");
    }
}

#[test]
fn where_messages_go_and_where_links_point_come_from_the_environment() {
    let load = |name: &str, value: &str| SettingsLoader::new(None, Environment::of([(name, value)])).load();
    assert_eq!(load("SLACK_INCIDENTS_CHANNEL", "#oncall").unwrap().governance.slack_channel, "#oncall");
    for name in ["TRIPLINE_PUBLIC_URL", "FRONTEND_URL", "DASHBOARD_URL"] {
        let settings = load(name, "https://tripline.example.com/").unwrap();
        assert_eq!(settings.governance.public_base().as_deref(), Some("https://tripline.example.com"), "{name}");
    }
    let error = load("TRIPLINE_PUBLIC_URL", "javascript:alert(1)").unwrap_err().to_string();
    assert!(error.contains("governance.public_url") && error.contains("https://"), "{error}");
}

#[test]
fn governance_that_cannot_be_is_refused_with_its_key() {
    assert!(
        refused(r#"{"governance": {"approval_expires_after_seconds": 0}}"#).contains("approval_expires_after_seconds")
    );
    assert!(refused(r##"{"governance": {"slack_channel": "#two words"}}"##).contains("governance.slack_channel"));
    assert!(refused(r#"{"governance": {"approvers": [" "]}}"#).contains("governance.approvers[0]"));
}

#[test]
fn a_misspelt_key_is_refused_with_a_suggestion() {
    assert!(refused(r#"{"cost_spike_multiplyer": 3}"#).contains("did you mean 'cost_spike_multiplier'?"));
    assert!(refused(r#"{"zzz": 3}"#).contains("docs/settings.md"));
    assert!(refused(r#"{"narrator": {"tokens": 3}}"#).contains("tokens"));
}

#[test]
fn a_schedule_that_is_none_is_refused() {
    assert!(refused(r#"{"schedules": {"agent_loop": "every now and then"}}"#).contains("schedules.agent_loop"));
}

#[test]
fn a_text_that_is_no_json_is_refused_with_its_place() {
    assert!(refused("{\n\"a\": }").contains("line 2"));
    assert!(refused("[]").contains("not an object"));
}

#[tokio::test]
async fn an_edited_file_takes_effect_and_a_broken_one_does_not() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("settings.json");
    let loader = SettingsLoader::new(Some(home.path()), Environment::default());
    let handle = SettingsHandle::new(loader.load().unwrap());
    let mut changes = handle.changes();
    let _watcher = SettingsWatcher::start(loader, handle.clone(), Arc::new(SystemClock)).unwrap().unwrap();
    let next = async |changes: &mut tokio::sync::watch::Receiver<u64>| {
        tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
    };

    std::fs::write(&file, r#"{"cost_spike_multiplier": 4}"#).unwrap();
    next(&mut changes).await;
    assert_eq!(handle.get().cost_spike_multiplier, 4.0);
    assert_eq!(handle.status().error, None);

    // Editors write beside and rename over.
    std::fs::write(home.path().join("new"), r#"{"cost_spike_multiplier": "lots"}"#).unwrap();
    std::fs::rename(home.path().join("new"), &file).unwrap();
    next(&mut changes).await;
    assert_eq!(handle.get().cost_spike_multiplier, 4.0);
    assert!(handle.status().error.unwrap().contains("cost_spike_multiplier"));
}
