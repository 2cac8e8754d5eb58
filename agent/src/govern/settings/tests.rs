use super::*;

#[test]
fn the_defaults_are_valid_and_let_nobody_approve() {
    let settings = GovernanceSettings::default();
    assert_eq!(settings.validate(), []);
    assert!(!settings.allows(&["U0APPROVER1", "alice", ""]));
    assert_eq!(settings.approval_expires_after_seconds, 14_400);
    assert_eq!(settings.max_auto_actions_per_hour, 3);
}

#[test]
fn what_is_out_of_range_is_refused_with_its_place() {
    let settings = GovernanceSettings {
        policy: vec![PolicyRule { incident_type: Some(" ".to_owned()), ..default_policy().remove(0) }],
        approvers: vec!["alice".to_owned(), String::new()],
        approval_expires_after_seconds: 0,
        max_auto_actions_per_hour: 101,
        slack_channel: "# two words".to_owned(),
        public_url: Some("https://user:secret@example.com".to_owned()),
        ..GovernanceSettings::default()
    };
    let places: Vec<String> = settings.validate().into_iter().map(|error| error.at).collect();
    assert_eq!(
        places,
        [
            "governance.policy[0].type",
            "governance.approvers[1]",
            "governance.approval_expires_after_seconds",
            "governance.max_auto_actions_per_hour",
            "governance.slack_channel",
            "governance.public_url",
        ]
    );
    assert_eq!(settings.public_base(), None);
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut settings = GovernanceSettings { public_url: Some("https://file".to_owned()), ..Default::default() };
    settings.apply_environment(&Environment::of([
        ("SLACK_INCIDENTS_CHANNEL", "C0123456789"),
        ("DASHBOARD_URL", "https://dashboard"),
        ("FRONTEND_URL", "https://frontend/"),
    ]));
    assert_eq!(settings.slack_channel, "C0123456789");
    assert_eq!(settings.public_base().as_deref(), Some("https://frontend"));
}

#[test]
fn a_public_address_that_could_break_out_of_a_link_is_refused() {
    for url in ["https://a/b|c", "https://a/b)c", "javascript:alert(1)", "https://a/?q", "ftp://a"] {
        let settings = GovernanceSettings { public_url: Some(url.to_owned()), ..Default::default() };
        assert_eq!(settings.validate().len(), 1, "{url}");
        assert_eq!(settings.public_base(), None, "{url}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    assert!(serde_json::from_value::<GovernanceSettings>(serde_json::json!({"approver": ["x"]})).is_err());
}
