use super::*;
use crate::govern::testing::{agent_loop, cost_spike, finding};
use serde_json::json;

fn verdict(finding: &NewAnomaly) -> (PolicyDecision, Remediation) {
    let verdict = decide(&default_policy(), finding.severity, finding);
    (verdict.decision, verdict.action)
}

#[test]
fn a_loop_of_more_than_twenty_generations_is_acted_upon_and_any_other_is_asked_about() {
    assert_eq!(verdict(&agent_loop(21)), (PolicyDecision::Act, Remediation::KillLoop));
    assert_eq!(verdict(&agent_loop(20)), (PolicyDecision::Ask, Remediation::KillLoop));
}

#[test]
fn a_loop_whose_count_is_not_known_is_asked_about() {
    let mut unknown = agent_loop(30);
    unknown.evidence = json!({"generations": "thirty"});
    assert_eq!(verdict(&unknown), (PolicyDecision::Ask, Remediation::KillLoop));
}

#[test]
fn nothing_is_killed_without_an_attributed_trace() {
    let mut nowhere = agent_loop(99);
    nowhere.entity = "  ".to_owned();
    assert_eq!(verdict(&nowhere), (PolicyDecision::Ask, Remediation::OpenGithubIssue));
}

#[test]
fn the_other_failure_classes_ask_for_an_issue() {
    for kind in ["cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"] {
        let found = finding(kind, "x", Severity::Medium, json!({}));
        assert_eq!(verdict(&found), (PolicyDecision::Ask, Remediation::OpenGithubIssue), "{kind}");
    }
}

#[test]
fn information_and_unknown_types_are_recorded() {
    assert_eq!(
        verdict(&finding("cost_spike", "x", Severity::Info, json!({}))),
        (PolicyDecision::Record, Remediation::Record)
    );
    assert_eq!(
        verdict(&finding("weekly_digest", "x", Severity::Critical, json!({}))),
        (PolicyDecision::Record, Remediation::Record)
    );
    assert_eq!(
        decide(&[], Severity::Critical, &cost_spike()),
        Verdict { decision: PolicyDecision::Record, action: Remediation::Record, rule: None }
    );
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules: Vec<PolicyRule> = serde_json::from_value(json!([
        {"type": "cost_spike", "when": "ratio >= 10", "action": "open_github_issue", "decision": "act"},
        {"min_severity": "high", "action": "open_github_issue", "decision": "ask"},
        {"action": "record", "decision": "record"},
    ]))
    .unwrap();
    let rule = |ratio: f64, severity| {
        let mut spike = cost_spike();
        spike.evidence = json!({ "ratio": ratio });
        decide(&rules, severity, &spike).rule
    };
    assert_eq!(rule(10.0, Severity::Info), Some(0));
    assert_eq!(rule(9.99, Severity::High), Some(1));
    assert_eq!(rule(9.99, Severity::Medium), Some(2));
}

#[test]
fn conditions_read_back_and_nonsense_is_refused() {
    for text in ["generations > 20", "cost_usd >= 2.5", "ratio < 1", "a <= -3", "x1 = 4"] {
        assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
    }
    for text in ["", "generations", "> 20", "generations > many", "Generations > 1", "a > 1 > 2", "a > NaN", "a b > 1"]
    {
        assert!(text.parse::<Condition>().is_err(), "{text}");
    }
}

#[test]
fn every_comparison_holds_where_it_should() {
    let holds = |text: &str, value: f64| {
        let mut found = cost_spike();
        found.evidence = json!({ "n": value });
        text.parse::<Condition>().unwrap().holds(&found)
    };
    let table = [
        ("n > 2", [false, false, true]),
        ("n >= 2", [false, true, true]),
        ("n < 2", [true, false, false]),
        ("n <= 2", [true, true, false]),
        ("n = 2", [false, true, false]),
    ];
    for (text, expected) in table {
        assert_eq!([1.0, 2.0, 3.0].map(|value| holds(text, value)), expected, "{text}");
    }
    assert!(!holds("missing < 5", 1.0));
}

#[test]
fn a_rule_with_an_unknown_key_is_refused() {
    let rule = json!({"type": "cost_spike", "action": "record", "decision": "record", "severity": "high"});
    assert!(serde_json::from_value::<PolicyRule>(rule).is_err());
}

#[test]
fn the_page_has_the_table_of_a_fresh_installation() {
    let page = include_str!("../../../../docs/governance.md");
    let rows: Vec<&str> = page.lines().skip_while(|line| !line.starts_with("| type | severity |")).skip(2).collect();
    let rows: Vec<&str> = rows.into_iter().take_while(|line| line.starts_with('|')).collect();
    let cells = |rule: &PolicyRule| {
        let kind = rule.incident_type.as_ref().map_or("any".to_owned(), |kind| format!("`{kind}`"));
        let severity = if rule.min_severity == Severity::Info { "any" } else { "medium and above" };
        let when = rule.when.as_ref().map_or(String::new(), |when| format!("`{when}` "));
        let decision = serde_json::to_value(rule.decision).unwrap();
        format!("| {kind} | {severity} | {when}| `{}` | {} |", rule.action, decision.as_str().unwrap())
    };
    let rules: Vec<String> = default_policy().iter().map(cells).collect();
    // What the loop's last rule is for can only be said in words.
    let shown: Vec<String> = rows.iter().map(|row| row.replace("` without a trace |", "` |")).collect();
    assert_eq!(shown, rules);
}
