use super::*;

fn of(values: &[(&str, &str)]) -> Destinations {
    Destinations::from_environment(&Environment::of(values.iter().copied()))
}

#[test]
fn issues_go_to_the_target_repository_else_to_the_code_repository() {
    let target = |values: &[(&str, &str)]| of(values).issue_repository().map(ToString::to_string);
    assert_eq!(target(&[("GITHUB_TARGET_REPO", "ops/board")]).as_deref(), Some("ops/board"));
    let named = [("GITHUB_OWNER", "acme"), ("GITHUB_REPO", "shop"), ("GITHUB_TARGET_REPO", "board")];
    assert_eq!(target(&named).as_deref(), Some("acme/board"));
    assert_eq!(target(&named[..2]).as_deref(), Some("acme/shop"));
    assert_eq!(target(&[("GITHUB_REPO", "shop")]), None);
    assert_eq!(target(&[]), None);
}

#[test]
fn a_repository_that_would_change_the_path_is_none() {
    for text in ["a/b/c", "../b", "a/..", "a/.", "a/", "/b", "a b/c", "a/b?x", "a/b#x", "a/%2e"] {
        assert!(text.parse::<Repository>().is_err(), "{text}");
    }
}

#[test]
fn only_slacks_own_response_addresses_are_accepted() {
    let here = of(&[("SLACK_API_URL", "http://127.0.0.1:9000/slack")]);
    for url in [
        "https://hooks.slack.com/actions/T/B/x",
        "https://hooks.slack-gov.com/actions/T",
        "http://127.0.0.1:9000/slack/response/1",
    ] {
        assert!(here.accepts_response_url(url), "{url}");
    }
    for url in [
        "http://hooks.slack.com/actions/T",
        "https://hooks.slack.com:444/x",
        "https://hooks.slack.com.evil.example/x",
        "https://evil.example/hooks.slack.com",
        "https://user@hooks.slack.com/x",
        "https://hooks.slack.com@evil.example/x",
        "http://127.0.0.1:9001/slack/response/1",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "",
    ] {
        assert!(!here.accepts_response_url(url), "{url}");
    }
    assert!(!of(&[]).accepts_response_url("http://127.0.0.1:9000/slack/response/1"));
}

#[test]
fn a_commit_is_linked_to_only_when_it_is_one() {
    let here = of(&[("GITHUB_OWNER", "acme"), ("GITHUB_REPO", "shop")]);
    assert_eq!(here.commit_page("9f2c1ab0").as_deref(), Some("https://github.com/acme/shop/commit/9f2c1ab0"));
    for sha in ["", "main", "9f2c1ab0|x", "../../x", "9f2c"] {
        assert_eq!(here.commit_page(sha), None, "{sha}");
    }
    let enterprise = [("GITHUB_API_URL", "https://git.acme.example/api/v3"), ("GITHUB_REPO", "acme/shop")];
    assert_eq!(
        of(&enterprise).commit_page("9f2c1ab0").as_deref(),
        Some("https://git.acme.example/acme/shop/commit/9f2c1ab0")
    );
}

#[test]
fn checks_name_what_is_missing_and_never_a_secret() {
    let set = of(&[
        ("GITHUB_TOKEN", "ghp_hidden"),
        ("SLACK_BOT_TOKEN", "xoxb-hidden"),
        ("SLACK_SIGNING_SECRET", "hidden"),
        ("SLACK_API_URL", "http://slack.example"),
        ("GITHUB_API_URL", "https://user:hidden@git.example"),
    ]);
    let shown = format!("{:?} {set:?}", set.checks());
    assert!(!shown.contains("hidden"), "{shown}");
    let failed: Vec<&str> = set.checks().iter().filter(|check| !check.ok).map(|check| check.name).collect();
    assert_eq!(failed, ["GitHub API address", "repository for issues", "Slack API address"]);
    assert_eq!(of(&[]).checks().iter().filter(|check| !check.ok).count(), 4);
}
