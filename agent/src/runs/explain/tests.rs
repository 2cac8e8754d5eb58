//! Promises of explanations.

use serde_json::json;

use super::*;

/// Evidence of each bundled type, with every optional field.
fn examples() -> Vec<(&'static str, Value)> {
    vec![
        (
            "TOOL_LOOP",
            json!({"tool": "search", "count": 7, "window": 5, "first_step": 1, "last_step": 9, "step_indices": [1, 9],
            "args_hashes": ["a"], "args_identical": false, "args_similar": true, "success_rate": 0.25, "wasted_tokens": 912}),
        ),
        (
            "TOOL_THRASHING",
            json!({"tool_a": "db", "tool_b": "mail", "pattern": ["db", "mail", "db", "mail", "db", "mail"], "count": 6}),
        ),
        ("TOOL_AVOIDANCE", json!({"available_tools": ["fetch", "calc"], "tool_calls_made": 0, "llm_calls": 3})),
        (
            "GOAL_ABANDONMENT",
            json!({"stall_steps": 4, "last_tool_step": 2, "last_tool_used": "mail", "current_step": 8,
            "steps_since_last_tool": 6, "stall_event_sequence": ["llm.called"]}),
        ),
        (
            "PROMPT_INJECTION_SIGNAL",
            json!({"matched_pattern_count": 4, "matched_patterns": ["jailbreak", "act_as", "dan_mode", "im_start"],
            "input_length": 73}),
        ),
        (
            "RAG_EMPTY_RETRIEVAL",
            json!({"index_name": "docs", "result_count": 2, "top_score": 0.21, "bad_retrievals": 3}),
        ),
        (
            "LLM_TRUNCATION_LOOP",
            json!({"truncation_count": 3, "total_llm_calls": 5, "first_truncation_step": 2,
            "last_truncation_step": 9, "token_counts_at_truncation": [200], "models": ["m1", "m2"]}),
        ),
        (
            "CONTEXT_BLOAT",
            json!({"first_tokens": 1167, "last_tokens": 3573, "growth_factor": 3.06, "threshold_factor": 3.0,
            "llm_call_count": 4, "first_call_step": 1, "last_call_step": 6, "baseline_p75": 1.5}),
        ),
        (
            "SLOW_STEP",
            json!({"step_index": 4, "duration_ms": 75000, "threshold_ms": 30000, "event_type": "llm.called",
            "step_label": "LLM call", "ratio": 2.5, "all_slow_steps": {"4": 75000}, "coincident_signals": [{"signal_name": "rate_limit"}]}),
        ),
        (
            "RETRY_STORM",
            json!({"tool": "search", "consecutive_fails": 6, "threshold": 3, "first_fail_step": 2, "step_indices": [2],
            "args_identical": true, "error_hashes": ["e"], "failure_reason_hash": "e", "reason_identical": true}),
        ),
        ("EMPTY_LLM_RESPONSE", json!({"occurrences": 2, "first_step": 5, "finish_reason": "stop"})),
        (
            "STEP_COUNT_INFLATION",
            json!({"current_steps": 18, "baseline_p75": 5.0, "inflation_ratio": 3.6, "threshold_factor": 2.0}),
        ),
        (
            "CASCADING_TOOL_FAILURE",
            json!({"consecutive_failures": 5, "distinct_tools": ["calc", "fetch"], "threshold": 3, "first_fail_step": 1}),
        ),
        ("FIRST_STEP_FAILURE", json!({"trigger": "tool_failure", "failed_step": 1, "tool": "db", "max_step": 2})),
        (
            "REASONING_STALL",
            json!({"llm_calls": 9, "tool_calls": 1, "ratio": 9.0, "threshold": 4.0, "exit_reason": null}),
        ),
    ]
}

fn explained(kind: &str, evidence: &Value) -> Explanation {
    let evidence = evidence.as_object().cloned().unwrap_or_default();
    let subject = Subject {
        failure_type: kind,
        severity: Severity::High,
        run_id: "run-1",
        agent_id: "agent-1",
        agent_version: "v1",
        confidence: 0.29,
        step_index: 3,
        detected_at: 0.0,
        evidence: &evidence,
    };
    explain(&subject, None)
}

fn all_text(e: &Explanation) -> String {
    format!("{}\n{}\n{}\n{}", e.title, e.what, e.why_it_matters, e.evidence_summary)
}

#[test]
fn every_bundled_type_has_its_own_text_in_full() {
    let examples = examples();
    assert_eq!(examples.len(), BUNDLED.len());
    for (kind, evidence) in examples {
        assert!(BUNDLED.contains(&kind));
        let e = explained(kind, &evidence);
        assert!(!e.title.ends_with(" detected"), "{kind} has only the general text");
        assert!(e.title.len() > 10 && e.what.len() > 20 && e.why_it_matters.len() > 20, "{e:?}");
        assert!(e.evidence_summary.ends_with("Confidence 29%"), "{}", e.evidence_summary);
        assert!((1..=3).contains(&e.suggested_fixes.len()), "{kind}");
        for fix in &e.suggested_fixes {
            assert!(fix.description.len() > 5 && fix.code.len() > 5, "{fix:?}");
            assert!(["python", "yaml", "text"].contains(&fix.language));
        }
    }
}

/// The numbers of a text, without those that are part of a word.
fn numbers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut number = String::new();
    let mut before = ' ';
    for c in text.chars().chain([' ']) {
        let continues = !number.is_empty() && c == '.';
        if c.is_ascii_digit() && (!number.is_empty() || !(before.is_alphanumeric() || before == '_' || before == '-'))
            || continues
        {
            number.push(c);
        } else if !number.is_empty() {
            found.push(number.trim_end_matches('.').to_owned());
            number.clear();
        }
        before = c;
    }
    found
}

#[test]
fn every_number_comes_from_the_evidence() {
    // What the texts themselves say: a share of all runs, the window they are of, an extrapolation, a reason to a tool.
    for (kind, evidence) in examples() {
        let e = explained(kind, &evidence);
        let known = format!("{evidence} 29");
        for number in numbers(&all_text(&e)) {
            let seconds = number.parse::<f64>().map(|s| format!("{:.0}", s * 1000.0)).unwrap_or_default();
            let tenth = number.parse::<f64>().map(|s| format!("{:.0}", s * 100.0)).unwrap_or_default();
            let percent = number.parse::<f64>().map(|p| format!("{}", p / 100.0)).unwrap_or_default();
            let allowed = [&number, &seconds, &tenth, &percent]
                .iter()
                .any(|form| !form.is_empty() && known.contains(form.as_str()))
                || (kind == "CASCADING_TOOL_FAILURE" && number == "2");
            assert!(allowed, "{kind}: {number} is in no evidence: {}", all_text(&e));
        }
    }
}

#[test]
fn evidence_that_lacks_a_field_gives_the_general_text_and_no_error() {
    for kind in BUNDLED {
        for evidence in [json!({}), json!({"tool": 5, "count": "many"}), json!([])] {
            let e = explained(kind, &evidence);
            assert!(e.title.ends_with(" detected"), "{kind}: {}", e.title);
            assert!(e.suggested_fixes[0].code.contains("run-1"));
        }
    }
    let e = explained("MY_OWN_RULE", &json!({"tool_calls": 30}));
    assert_eq!(e.title, "My Own Rule detected");
    assert_eq!(e.evidence_summary, "tool_calls = 30. Confidence 29%");
}

#[test]
fn no_optional_field_is_needed() {
    for (kind, evidence) in examples() {
        let optional = [
            "success_rate",
            "wasted_tokens",
            "coincident_signals",
            "baseline_p75",
            "failure_reason_hash",
            "input_length",
            "top_score",
            "models",
            "threshold_factor",
            "exit_reason",
        ];
        let mut evidence = evidence.as_object().cloned().unwrap();
        if kind != "STEP_COUNT_INFLATION" {
            evidence.retain(|key, _| !optional.contains(&key.as_str()));
        }
        let e = explained(kind, &Value::Object(evidence));
        assert!(!e.title.ends_with(" detected"), "{kind}");
    }
}

#[test]
fn a_rate_is_of_all_runs_and_systemic_from_one_in_ten() {
    let rate = RateContext::new(20, 5).unwrap();
    assert_eq!((rate.rate, rate.is_systemic), (0.25, true));
    assert_eq!(rate.line(), "Systemic pattern — 5/20 runs affected (25% of runs in the last 7 days)");
    assert_eq!(RateContext::new(40, 1).unwrap().line(), "First occurrence of this pattern in the last 7 days");
    assert_eq!(RateContext::new(40, 2).unwrap().line(), "2/40 runs affected (5%) in the last 7 days");
    assert!(RateContext::new(10, 1).unwrap().is_systemic);
    assert_eq!(RateContext::new(0, 0), None);
}

#[test]
fn a_percent_is_cut_and_not_rounded() {
    assert_eq!([0.29, 0.57, 0.999, 1.0, 0.0].map(percent), ["29%", "57%", "99%", "100%", "0%"]);
}
