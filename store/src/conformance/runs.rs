//! Promises about verdicts of runs.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

fn seen(run: &str, first_seq: i64, started: bool, at: i64, ended: bool) -> RunActivity {
    RunActivity {
        run_id: run.to_owned(),
        first_seq,
        started,
        last_received_at: minute(at),
        ended_at: ended.then(|| minute(at)),
    }
}

fn ids(due: &[DueRun]) -> Vec<&str> {
    due.iter().map(|run| run.run_id.as_str()).collect()
}

async fn record(store: &Store, runs: Vec<JudgedRun>, at: i64) -> RecordedRuns {
    store.runs.record_judged(&scope(), runs, 5, minute(at)).await.unwrap()
}

async fn due(store: &Store, settled: i64, silent: i64) -> Vec<DueRun> {
    store.runs.due_runs(&scope(), minute(settled), minute(silent), 10).await.unwrap()
}

pub async fn a_run_waits_until_its_end_settled_or_it_fell_silent(store: Store) {
    let runs = &store.runs;
    assert_eq!(runs.run_watermark(&scope()).await.unwrap(), 0);
    let activity =
        vec![seen("b", 7, true, 3, true), seen("a", 3, true, 1, false), seen("never-began", 9, false, 1, false)];
    runs.observe_runs(&scope(), activity, 9).await.unwrap();
    // Later events of a run do not move its end; a mark does not go back.
    runs.observe_runs(&scope(), vec![seen("b", 12, false, 8, true), seen("a", 11, false, 2, false)], 5).await.unwrap();
    assert_eq!(runs.run_watermark(&scope()).await.unwrap(), 9);
    assert_eq!(ids(&due(&store, 2, 1).await), Vec::<&str>::new());
    assert_eq!(due(&store, 3, 1).await, [DueRun { run_id: "b".to_owned(), ended: true, first_seq: 7 }]);
    assert_eq!(ids(&due(&store, 3, 2).await), ["b", "a"]);
    record(&store, vec![judged("b", RunEnd::Completed, &[])], 4).await;
    assert_eq!(ids(&due(&store, 9, 9).await), ["a"]);
    runs.forget_runs(&scope(), vec!["a".to_owned()]).await.unwrap();
    assert_eq!(ids(&due(&store, 20, 20).await), Vec::<&str>::new());
}

pub async fn a_verdict_is_kept_once(store: Store) {
    let first = record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 1).await;
    assert_eq!((first.judged, first.signals, first.opened.len()), (1, 1, 1));
    let again = record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP", "SLOW_STEP"])], 2).await;
    assert_eq!(again, RecordedRuns::default());
    let (signals, total) = store.runs.signals(&scope(), &SignalFilter::default(), 10, 0).await.unwrap();
    assert_eq!((signals.len(), total), (1, 1));
    assert_eq!(store.runs.signal(&scope(), signals[0].id).await.unwrap().as_ref(), Some(&signals[0]));
    assert_eq!(signals[0].incident_id.as_ref(), Some(&first.opened[0].id));
}

pub async fn a_stalled_run_that_ends_gets_only_what_is_new(store: Store) {
    record(&store, vec![judged("r", RunEnd::Stalled, &["GOAL_ABANDONMENT"])], 1).await;
    store.runs.observe_runs(&scope(), vec![seen("r", 50, false, 5, true)], 50).await.unwrap();
    // It is read from its beginning, not from what is seen now.
    assert_eq!(due(&store, 9, 0).await, [DueRun { run_id: "r".to_owned(), ended: true, first_seq: 0 }]);
    let ended = record(&store, vec![judged("r", RunEnd::Completed, &["GOAL_ABANDONMENT", "TOOL_LOOP"])], 6).await;
    assert_eq!((ended.judged, ended.signals), (1, 1));
    let run = store.reports.judged_run(&scope(), "r").await.unwrap().unwrap();
    assert_eq!((run.reason.as_str(), run.signals), ("completed", 2));
    assert_eq!(record(&store, vec![judged("r", RunEnd::Errored, &[])], 7).await.judged, 0);
}

pub async fn a_stalled_run_that_goes_on_and_falls_silent_again_is_judged_with_what_came(store: Store) {
    record(&store, vec![judged("r", RunEnd::Stalled, &[])], 1).await;
    assert_eq!(record(&store, vec![judged("r", RunEnd::Stalled, &["RETRY_STORM"])], 2).await.judged, 0, "nothing came");
    store.runs.observe_runs(&scope(), vec![seen("r", 50, false, 5, false)], 50).await.unwrap();
    assert_eq!(due(&store, 99, 4).await, []);
    assert_eq!(due(&store, 0, 5).await, [DueRun { run_id: "r".to_owned(), ended: false, first_seq: 0 }]);
    let again = record(&store, vec![judged("r", RunEnd::Stalled, &["RETRY_STORM"])], 7).await;
    assert_eq!((again.judged, again.signals, again.opened.len()), (1, 1, 1));
    assert_eq!(due(&store, 99, 99).await, []);
    // And once more when it ends after all.
    store.runs.observe_runs(&scope(), vec![seen("r", 60, false, 8, true)], 60).await.unwrap();
    let ended = record(&store, vec![judged("r", RunEnd::Completed, &["RETRY_STORM"])], 9).await;
    assert_eq!((ended.judged, ended.signals), (1, 0));
    let rate = store.runs.failure_rate(&scope(), "agent", "RETRY_STORM", minute(0)).await.unwrap();
    assert_eq!(rate, FailureRate { total_runs: 1, affected_runs: 1 });
}

pub async fn what_comes_of_a_run_after_its_verdict_is_judged_too_once_it_settled(store: Store) {
    record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 1).await;
    // The end does not come again: another process told it.
    store.runs.observe_runs(&scope(), vec![seen("r", 50, false, 3, false)], 50).await.unwrap();
    assert_eq!(due(&store, 2, 9).await, []);
    assert_eq!(due(&store, 3, 0).await, [DueRun { run_id: "r".to_owned(), ended: true, first_seq: 0 }]);
    let again = record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP", "RETRY_STORM"])], 4).await;
    assert_eq!((again.judged, again.signals, again.opened.len()), (1, 1, 1));
    assert_eq!(due(&store, 99, 99).await, []);
    let run = store.reports.judged_run(&scope(), "r").await.unwrap().unwrap();
    assert_eq!((run.reason.as_str(), run.signals), ("completed", 2));
    let rate = store.runs.failure_rate(&scope(), "agent", "RETRY_STORM", minute(0)).await.unwrap();
    assert_eq!(rate, FailureRate { total_runs: 1, affected_runs: 1 });
    // After a day the rest of it may be gone: half a run is not judged.
    store.runs.observe_runs(&scope(), vec![seen("r", 90, false, 24 * 60 + 5, false)], 90).await.unwrap();
    assert_eq!(due(&store, 9_999, 9_999).await, []);
}

pub async fn five_clean_runs_of_the_same_agent_end_an_incident_and_it_comes_back(store: Store) {
    record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 1).await;
    let clean = |range: std::ops::Range<i32>| {
        range.map(|n| judged(&format!("c{n}"), RunEnd::Completed, &[])).collect::<Vec<_>>()
    };
    assert_eq!(record(&store, clean(0..4), 2).await.resolved, []);
    let mut other = judged("o", RunEnd::Completed, &[]);
    other.facts.agent_id = "other".to_owned();
    assert_eq!(record(&store, vec![other], 3).await.resolved, []);
    // A run in which it is seen starts the count anew.
    record(&store, vec![judged("r2", RunEnd::Completed, &["TOOL_LOOP"])], 4).await;
    assert_eq!(record(&store, clean(4..8), 5).await.resolved, []);
    let ended = record(&store, clean(8..9), 6).await.resolved;
    assert_eq!((ended[0].status, ended[0].occurrences, ended[0].clean_windows), (IncidentStatus::Resolved, 2, 5));
    let back = record(&store, vec![judged("r3", RunEnd::Completed, &["TOOL_LOOP"])], 7).await.opened;
    assert_eq!((&back[0].id, back[0].reopened_count, back[0].status), (&ended[0].id, 1, IncidentStatus::Open));
    let issues = store.reports.issues(&scope(), "agent", None).await.unwrap();
    assert_eq!((issues.len(), issues[0].status, issues[0].affected_runs), (1, IssueStatus::Reopened, 3));
    assert_eq!(store.reports.issues(&scope(), "agent", Some(IssueStatus::Open)).await.unwrap(), []);
}

pub async fn a_signal_in_shadow_opens_nothing_and_is_told_to_nobody(store: Store) {
    let mut run = judged("r", RunEnd::Completed, &["MINE"]);
    run.signals[0].shadow = true;
    let recorded = record(&store, vec![run], 1).await;
    assert_eq!((recorded.signals, recorded.opened.len()), (1, 0));
    assert_eq!(store.runs.unalerted_signals(&scope(), 10).await.unwrap(), []);
    assert_eq!(store.runs.signals(&scope(), &SignalFilter::default(), 10, 0).await.unwrap().1, 0);
    let all = SignalFilter { include_shadow: true, ..SignalFilter::default() };
    assert_eq!(store.runs.signals(&scope(), &all, 10, 0).await.unwrap().1, 1);
}

pub async fn rates_are_of_all_judged_runs(store: Store) {
    let mut runs: Vec<JudgedRun> = (0..15).map(|n| judged(&format!("c{n}"), RunEnd::Completed, &[])).collect();
    runs.extend((0..5).map(|n| judged(&format!("r{n}"), RunEnd::Completed, &["TOOL_LOOP"])));
    record(&store, runs, 1).await;
    let rate = store.runs.failure_rate(&scope(), "agent", "TOOL_LOOP", minute(0)).await.unwrap();
    assert_eq!(rate, FailureRate { total_runs: 20, affected_runs: 5 });
    let later = store.runs.failure_rate(&scope(), "agent", "TOOL_LOOP", minute(2)).await.unwrap();
    assert_eq!(later, FailureRate { total_runs: 0, affected_runs: 0 });
    let insights = store.reports.insights(&scope(), "agent", minute(3)).await.unwrap();
    assert_eq!(insights.runs, 20);
    assert_eq!(insights.week_rates[0].rate, FailureRate { total_runs: 20, affected_runs: 5 });
    assert_eq!(insights.failure_rates[0].rate, FailureRate { total_runs: 20, affected_runs: 5 });
    assert_eq!((insights.versions[0].runs, insights.versions[0].runs_with_signals), (20, 5));
    assert_eq!((insights.hours[0].runs, insights.hours[0].of_them), (20, 5));
    assert_eq!((insights.input_patterns[0].triggered, insights.input_patterns[0].runs), (5, 20));
    let week = |end| Window { start: end - TimeDelta::days(7), end };
    let digest = store.reports.health_digest(&scope(), week(minute(3))).await.unwrap();
    assert_eq!((digest.runs, digest.agents, digest.signals, digest.issues_opened), (20, 1, 5, 1));
    assert_eq!(digest.top_failures[0].rate, FailureRate { total_runs: 20, affected_runs: 5 });
    assert_eq!(digest.top_agents, [("agent".to_owned(), 5, 20, "TOOL_LOOP".to_owned())]);
    let before = store.reports.health_digest(&scope(), week(minute(0))).await.unwrap();
    assert_eq!((before.runs, before.signals, before.issues_opened), (0, 0, 0), "a week that ended before");
    let (agents, total) = store.reports.agents(&scope(), minute(3), 10, 0).await.unwrap();
    assert_eq!((total, agents[0].runs, agents[0].signals, agents[0].high), (1, 20, 5, 5));
    assert_eq!(agents[0].sparkline, [0, 0, 0, 0, 0, 0, 5]);
}

pub async fn a_fix_is_judged_by_the_runs_after_it(store: Store) {
    record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 1).await;
    let id = store.runs.signals(&scope(), &SignalFilter::default(), 1, 0).await.unwrap().0[0].id;
    assert_eq!(store.reports.fix_status(&scope(), id).await.unwrap(), None);
    let fix = NewFix {
        signal_id: id,
        applied_via: AppliedVia::Clipboard,
        prompt_name: None,
        prompt_version: None,
        fix_content: "Do not loop.".to_owned(),
        applied_by: "ann".to_owned(),
    };
    store.reports.record_fix(&scope(), fix.clone(), minute(2)).await.unwrap();
    let missing = store.reports.record_fix(&scope(), NewFix { signal_id: 99, ..fix.clone() }, minute(2)).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    let late = |run: &str, types: &[&str]| {
        let mut run = judged(run, RunEnd::Completed, types);
        run.facts.started_at = minute(-90);
        run.facts.ended_at = minute(-89);
        run
    };
    // By when events arrived, whatever time they say: of the early one none did after the fix.
    let arrived = vec![seen("a", 1, true, 4, true), seen("b", 2, true, 4, true), seen("early", 3, true, 1, true)];
    store.runs.observe_runs(&scope(), arrived, 9).await.unwrap();
    record(&store, vec![late("a", &[]), late("b", &["TOOL_LOOP"]), judged("early", RunEnd::Completed, &[])], 5).await;
    let status = store.reports.fix_status(&scope(), id).await.unwrap().unwrap();
    assert_eq!((status.fix, status.runs_after, status.recurrences), (fix, 2, 1));
}

pub async fn a_failure_found_on_trial_comes_back_on_trial(store: Store) {
    let on_trial = |run: &str| {
        let mut run = judged(run, RunEnd::Completed, &["TOOL_LOOP"]);
        run.signals.iter_mut().for_each(|signal| signal.shadow = true);
        run
    };
    record(&store, vec![on_trial("r")], 1).await;
    let all = SignalFilter { include_shadow: true, ..SignalFilter::default() };
    let id = store.runs.signals(&scope(), &all, 1, 0).await.unwrap().0[0].id;
    let fix = NewFix {
        signal_id: id,
        applied_via: AppliedVia::Clipboard,
        prompt_name: None,
        prompt_version: None,
        fix_content: "Do not loop.".to_owned(),
        applied_by: "ann".to_owned(),
    };
    store.reports.record_fix(&scope(), fix, minute(2)).await.unwrap();
    store.runs.observe_runs(&scope(), vec![seen("again", 1, true, 4, true)], 9).await.unwrap();
    record(&store, vec![on_trial("again")], 5).await;
    assert_eq!(store.reports.fix_status(&scope(), id).await.unwrap().unwrap().recurrences, 1);
}

pub async fn the_newest_signal_of_each_incident_is_found(store: Store) {
    let runs = ["a", "b", "c"].map(|run| judged(run, RunEnd::Completed, &["TOOL_LOOP"]));
    record(&store, runs.into(), 1).await;
    record(&store, vec![judged("d", RunEnd::Completed, &["CONTEXT_BLOAT"])], 2).await;
    let (signals, _) = store.runs.signals(&scope(), &SignalFilter::default(), 10, 0).await.unwrap();
    let incidents: Vec<_> = signals.iter().filter_map(|signal| signal.incident_id.clone()).collect();
    let newest = store.runs.newest_signals(&scope(), incidents).await.unwrap();
    let mut runs: Vec<&str> = newest.values().map(|signal| signal.run_id.as_str()).collect();
    runs.sort_unstable();
    assert_eq!(runs, ["c", "d"]);
    let other = other_scope(&store).await;
    let ids = newest.into_keys().collect();
    assert!(store.runs.newest_signals(&other, ids).await.unwrap().is_empty());
}

pub async fn what_runs_are_compared_with_comes_oldest_first(store: Store) {
    let runs = (0..4).map(|n| {
        let mut run = judged(&format!("r{n}"), if n == 2 { RunEnd::Errored } else { RunEnd::Completed }, &[]);
        run.facts.step_count = n;
        run
    });
    record(&store, runs.collect(), 1).await;
    let of = ("agent".to_owned(), "v1".to_owned());
    let known = store.runs.completed_runs(&scope(), vec![of.clone()], 2).await.unwrap();
    let steps: Vec<i64> = known[&of].iter().map(|run| run.step_count).collect();
    assert_eq!(steps, [1, 3]);
}

pub async fn another_project_sees_no_verdict(store: Store) {
    let other = other_scope(&store).await;
    record(&store, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 1).await;
    let all = SignalFilter { include_shadow: true, ..SignalFilter::default() };
    assert_eq!(store.runs.signals(&other, &all, 10, 0).await.unwrap().1, 0);
    assert_eq!(store.runs.signal(&other, 1).await.unwrap(), None);
    assert_eq!(store.reports.judged_run(&other, "r").await.unwrap(), None);
    assert_eq!(store.reports.agents(&other, minute(9), 10, 0).await.unwrap().1, 0);
    assert_eq!(store.reports.issues(&other, "agent", None).await.unwrap(), []);
    assert!(store.runs.give_feedback(&other, 1, true, "eve", minute(2)).await.is_err());
    // And a run of the same id is another run there.
    let there =
        store.runs.record_judged(&other, vec![judged("r", RunEnd::Completed, &["TOOL_LOOP"])], 5, minute(3)).await;
    assert_eq!(there.unwrap().signals, 1);
}

pub async fn a_run_that_a_failing_detector_did_not_judge_is_not_clean_and_is_judged_when_it_works(store: Store) {
    let runs = &store.runs;
    record(&store, vec![judged("found", RunEnd::Completed, &["BUSY", "TOOL_LOOP"])], 1).await;
    let failed = |live| FailedDetector {
        detector: "busy".to_owned(),
        failure_type: "BUSY".to_owned(),
        error: "divide by zero".to_owned(),
        file_sha256: "one".to_owned(),
        live,
    };
    runs.detector_failed(&scope(), failed(true), minute(2)).await.unwrap();
    runs.detector_failed(&scope(), failed(true), minute(3)).await.unwrap();
    let clean: Vec<_> = (0..5).map(|n| judged(&format!("c{n}"), RunEnd::Completed, &[])).collect();
    let stalled = judged("stalled", RunEnd::Stalled, &[]);
    let resolved = record(&store, [clean, vec![stalled]].concat(), 4).await.resolved;
    let types: Vec<&str> = resolved.iter().map(|incident| incident.kind.as_str()).collect();
    assert_eq!(types, ["TOOL_LOOP"], "nobody looked whether it was busy");
    let known = runs.detector_failures(&scope()).await.unwrap();
    assert_eq!((known.len(), known[0].runs_not_judged, known[0].failing), (1, 6, true));
    assert_eq!((known[0].failed_since, known[0].last_failed_at), (minute(2), minute(3)));
    // From here on it judges; what it did not judge is due once more, and the one that stalled when it ends.
    runs.detector_worked(&scope(), "busy").await.unwrap();
    record(&store, vec![judged("after", RunEnd::Completed, &[])], 5).await;
    assert_eq!(runs.detector_failures(&scope()).await.unwrap()[0].runs_not_judged, 6);
    assert_eq!(runs.end_detector_failure(&scope(), "busy", true, minute(6)).await.unwrap(), 5);
    assert_eq!(ids(&due(&store, 6, 0).await), ["c0", "c1", "c2", "c3", "c4"]);
    let again = record(&store, vec![judged("c0", RunEnd::Completed, &["BUSY"])], 7).await;
    assert_eq!((again.judged, again.signals), (1, 1));
    assert_eq!(runs.detector_failures(&scope()).await.unwrap(), []);
    // One that is on trial takes no run's verdict from it, and after a day the events may be gone.
    runs.detector_failed(&scope(), failed(false), minute(8)).await.unwrap();
    record(&store, vec![judged("trial", RunEnd::Completed, &[])], 9).await;
    assert_eq!(runs.detector_failures(&scope()).await.unwrap()[0].runs_not_judged, 0);
    runs.detector_failed(&scope(), failed(true), minute(10)).await.unwrap();
    record(&store, vec![judged("old", RunEnd::Completed, &[])], 11).await;
    assert_eq!(runs.end_detector_failure(&scope(), "busy", true, minute(24 * 60 + 12)).await.unwrap(), 0);
}

pub async fn a_run_that_is_judged_again_is_read_from_where_it_began(store: Store) {
    store.runs.observe_runs(&scope(), vec![seen("r", 40, true, 1, true)], 45).await.unwrap();
    record(&store, vec![judged("r", RunEnd::Completed, &[])], 2).await;
    store.runs.observe_runs(&scope(), vec![seen("r", 70_000, false, 3, false)], 70_000).await.unwrap();
    assert_eq!(due(&store, 3, 0).await, [DueRun { run_id: "r".to_owned(), ended: true, first_seq: 40 }]);
    record(&store, vec![judged("r", RunEnd::Completed, &[])], 4).await;
    store.runs.observe_runs(&scope(), vec![seen("r", 90_000, false, 5, false)], 90_000).await.unwrap();
    assert_eq!(due(&store, 5, 0).await[0].first_seq, 40, "not where the late event was");
}

/// A judged run of `agent` with live signals of these types.
pub fn judged(run: &str, reason: RunEnd, types: &[&str]) -> JudgedRun {
    let started: DateTime<Utc> = minute(0);
    JudgedRun {
        facts: RunFacts {
            run_id: run.to_owned(),
            agent_id: "agent".to_owned(),
            agent_version: "v1".to_owned(),
            reason,
            exit_reason: (reason == RunEnd::Completed).then(|| "final_answer".to_owned()),
            started_at: started,
            ended_at: started + TimeDelta::seconds(5),
            step_count: 3,
            llm_calls: 2,
            tool_calls: 1,
            first_tool_step: Some(1),
            input_hash: Some("ab".to_owned()),
            token_growth: None,
            tool_gaps_ms: vec![5],
            llm_gaps_ms: Vec::new(),
        },
        signals: types
            .iter()
            .map(|kind| NewSignal {
                detector: kind.to_lowercase(),
                failure_type: (*kind).to_owned(),
                severity: Severity::High,
                fingerprint: format!("run:{kind}:agent"),
                step_index: 2,
                confidence: 0.95,
                co_signals: None,
                shadow: false,
                description: format!("{kind} in a run"),
                evidence: json!({"tool": "search"}),
            })
            .collect(),
    }
}
