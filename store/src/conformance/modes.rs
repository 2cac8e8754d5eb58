//! Promises about the modes: the memory of risk, and what the sampler keeps.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use std::collections::BTreeMap;

const REPOSITORY: &str = "acme/shop";

fn commit(sha: &str, at: i64, files: &[&str]) -> MeasuredCommit {
    MeasuredCommit {
        sha: sha.to_owned(),
        committed_at: minute(at),
        cost_before_usd: 1.0,
        cost_after_usd: 3.5,
        errors_before: 1.0,
        errors_after: 3.0,
        files: files.iter().map(|path| ChangedFile { path: (*path).to_owned(), previous_path: None }).collect(),
    }
}

fn score(at: i64, score: i64) -> RiskScore {
    RiskScore {
        repository: REPOSITORY.to_owned(),
        number: 7,
        head_sha: Some("abc".to_owned()),
        scored_at: minute(at),
        score,
        complete: true,
        report: serde_json::json!({"score": score}),
    }
}

fn stats(end: i64, kept: i64, total: i64) -> SamplingStats {
    SamplingStats {
        window_start: start(),
        window_end: minute(end),
        recorded_at: minute(end),
        total_traces: total,
        sampled_traces: kept,
        dropped_traces: total - kept,
        keep_reasons: BTreeMap::from([("has_error".to_owned(), kept)]),
    }
}

fn trace(id: &str, score: i64) -> SampledTrace {
    SampledTrace {
        trace_id: id.to_owned(),
        started_at: minute(1),
        score,
        reasons: vec!["has_error".to_owned()],
        generation_count: 2,
        cost_usd: (score != 60).then_some(0.5),
        feature: Some("answer".to_owned()),
    }
}

fn part(id: &str, at: i64) -> TracePart {
    TracePart {
        trace_id: id.to_owned(),
        part_start: minute(at),
        started_at: minute(at),
        last_at: minute(at + 1),
        generation_count: 2,
        cost_usd: Some(0.25),
        has_error: at == 15,
        schema_failed: false,
        features: BTreeMap::from([("answer".to_owned(), 2)]),
        tools: ["search".to_owned()].into(),
    }
}

fn pattern(text: &str, trace: &str) -> SeenPattern {
    SeenPattern {
        pattern: text.to_owned(),
        trace_id: trace.to_owned(),
        seen_at: minute(1),
        feature: "answer".to_owned(),
        last_seen_at: minute(1),
    }
}

/// A row in every table.
pub(crate) async fn fill(store: &Store) {
    store.risk.keep_measured(&scope(), REPOSITORY, vec![commit("a", 1, &["x"])], minute(9)).await.unwrap();
    store.risk.keep_score(&scope(), score(3, 12)).await.unwrap();
    store
        .sampling
        .keep_sample(&scope(), stats(5, 1, 4), vec![trace("t", 100)], vec![pattern("[]", "t")])
        .await
        .unwrap();
}

pub async fn a_commit_is_measured_once(store: Store) {
    let risk = &store.risk;
    let first = commit("a", 1, &["src/a.rs", "src/b.rs"]);
    assert_eq!(risk.keep_measured(&scope(), REPOSITORY, vec![first.clone()], minute(5)).await.unwrap(), 1);
    let again = MeasuredCommit { cost_after_usd: 99.0, ..commit("a", 1, &["src/c.rs"]) };
    assert_eq!(risk.keep_measured(&scope(), REPOSITORY, vec![again], minute(6)).await.unwrap(), 0);
    assert_eq!(risk.measured(&scope(), REPOSITORY, start()).await.unwrap(), [first]);
    assert!(risk.measured(&scope(), REPOSITORY, minute(2)).await.unwrap().is_empty());
    assert!(risk.measured(&scope(), "acme/other", start()).await.unwrap().is_empty());
    let bad = MeasuredCommit { cost_after_usd: f64::NAN, ..commit("b", 1, &[]) };
    let refused = risk.keep_measured(&scope(), REPOSITORY, vec![bad], minute(6)).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })));
}

pub async fn history_is_a_row_per_file_and_commit_with_its_score(store: Store) {
    let cheap = MeasuredCommit { cost_after_usd: 0.5, errors_after: 0.0, ..commit("b", 2, &["src/a.rs"]) };
    let commits = vec![commit("a", 1, &["src/a.rs", "src/b.rs"]), cheap];
    store.risk.keep_measured(&scope(), REPOSITORY, commits, minute(5)).await.unwrap();
    let rows = store.risk.history(&scope(), Some(REPOSITORY), Some("src/a.rs"), 10).await.unwrap();
    let figures: Vec<_> =
        rows.iter().map(|row| (row.commit_sha.as_str(), row.cost_delta, row.error_delta, row.risk_score)).collect();
    // 2 new errors × 4 + $2.50 × 10; what got better is no risk.
    assert_eq!(figures, [("b", -0.5, -1.0, 0), ("a", 2.5, 2.0, 33)]);
    assert_eq!(store.risk.history(&scope(), None, None, 2).await.unwrap().len(), 2);
    assert_eq!(store.risk.history(&scope(), None, None, 10).await.unwrap().len(), 3);
}

pub async fn a_pull_request_waits_once_and_one_asked_anew_meanwhile_stays(store: Store) {
    let risk = &store.risk;
    for at in [1, 2] {
        risk.request_score(&scope(), REPOSITORY, 7, false, minute(at)).await.unwrap();
    }
    let due = risk.due_scores(&scope(), minute(2), 10).await.unwrap();
    assert_eq!(due.len(), 1);
    risk.request_score(&scope(), REPOSITORY, 7, true, minute(3)).await.unwrap();
    risk.score_done(&scope(), &due[0]).await.unwrap();
    let due = risk.due_scores(&scope(), minute(3), 10).await.unwrap();
    assert_eq!((due.len(), due[0].closed), (1, true));
    risk.score_failed(&scope(), &due[0], "a source is down", Some(minute(9))).await.unwrap();
    assert!(risk.due_scores(&scope(), minute(8), 10).await.unwrap().is_empty());
    let waiting = risk.waiting_scores(&scope()).await.unwrap();
    assert_eq!((waiting[0].attempts, waiting[0].error.as_deref()), (1, Some("a source is down")));
    risk.score_done(&scope(), &waiting[0]).await.unwrap();
    assert!(risk.waiting_scores(&scope()).await.unwrap().is_empty());
}

pub async fn a_pull_request_has_one_newest_score(store: Store) {
    store.risk.keep_score(&scope(), score(1, 10)).await.unwrap();
    store.risk.keep_score(&scope(), score(2, 20)).await.unwrap();
    assert_eq!(store.risk.score(&scope(), REPOSITORY, 7).await.unwrap(), Some(score(2, 20)));
    assert_eq!(store.risk.score(&scope(), REPOSITORY, 8).await.unwrap(), None);
    assert_eq!(store.risk.scores(&scope(), 10).await.unwrap(), [score(2, 20)]);
}

pub async fn a_sample_is_kept_whole_and_a_pattern_with_its_first_trace(store: Store) {
    let sampling = &store.sampling;
    sampling
        .keep_sample(&scope(), stats(5, 2, 9), vec![trace("t1", 60), trace("t2", 100)], vec![pattern("[\"a\"]", "t1")])
        .await
        .unwrap();
    sampling
        .keep_sample(&scope(), stats(5, 1, 9), vec![trace("t1", 80)], vec![pattern("[\"a\"]", "t9")])
        .await
        .unwrap();
    let later = SamplingStats { window_start: minute(2), ..stats(6, 0, 3) };
    sampling.keep_sample(&scope(), later.clone(), Vec::new(), Vec::new()).await.unwrap();
    assert_eq!(sampling.sampling_stats(&scope(), 10).await.unwrap(), [later, stats(5, 1, 9)]);
    let kept = sampling.sampled(&scope(), start(), minute(2), 10).await.unwrap();
    // The second run over the window dropped t2; a run over no window that has t1 leaves it.
    assert_eq!(kept, [trace("t1", 80)]);
    let seen = sampling.patterns(&scope()).await.unwrap();
    assert_eq!(seen, BTreeMap::from([("[\"a\"]".to_owned(), "t1".to_owned())]));
    let wrong = sampling.keep_sample(&scope(), stats(7, 2, 9), Vec::new(), Vec::new()).await;
    assert!(matches!(wrong, Err(StoreError::Invalid { .. })));
}

pub async fn patterns_are_remembered_while_they_are_used_and_so_many_of_a_feature(store: Store) {
    let sampling = &store.sampling;
    let keep = |at: i64, patterns: Vec<SeenPattern>| {
        let sampling = sampling.clone();
        async move { sampling.keep_sample(&scope(), stats(at, 0, 0), Vec::new(), patterns).await.unwrap() }
    };
    let day = 24 * 60;
    let used = |text: &str, at: i64| SeenPattern { last_seen_at: minute(at), ..pattern(text, "t1") };
    keep(2, vec![used("[\"used\"]", 2), used("[\"left\"]", 2)]).await;
    keep(60 * day, vec![used("[\"used\"]", 60 * day)]).await;
    // Ninety days after its last use one is forgotten, and one that was used meanwhile is not.
    keep(91 * day, Vec::new()).await;
    let known = |seen: BTreeMap<String, String>| seen.into_keys().collect::<Vec<_>>();
    assert_eq!(known(sampling.patterns(&scope()).await.unwrap()), ["[\"used\"]"]);
    // An agent that names its tools at random: those that were used last stay, and other features lose nothing.
    let of = |feature: &str, n: u32| SeenPattern {
        feature: feature.to_owned(),
        ..used(&format!("[\"{feature}-{n:04}\"]"), 91 * day + i64::from(n))
    };
    let many = (0..PATTERNS_PER_FEATURE + 7).map(|n| of("random", n)).chain([of("other", 0)]);
    keep(92 * day, many.collect()).await;
    let known = known(sampling.patterns(&scope()).await.unwrap());
    let random: Vec<&String> = known.iter().filter(|pattern| pattern.contains("random")).collect();
    assert_eq!((random.len(), random[0].as_str()), (PATTERNS_PER_FEATURE as usize, "[\"random-0007\"]"));
    assert_eq!(known.len(), random.len() + 2);
}

pub async fn reading_a_time_again_replaces_what_traces_did_in_it(store: Store) {
    let sampling = &store.sampling;
    let keep = |from: i64, to: i64, parts: Vec<TracePart>| {
        let sampling = sampling.clone();
        async move { sampling.keep_parts(&scope(), minute(from), minute(to), parts, minute(0)).await }
    };
    keep(0, 30, vec![part("a", 0), part("a", 15), part("b", 15)]).await.unwrap();
    keep(15, 45, vec![part("a", 15), part("c", 30)]).await.unwrap();
    let known = sampling.parts(&scope(), minute(0), minute(45)).await.unwrap();
    assert_eq!(known, [part("a", 0), part("a", 15), part("c", 30)]);
    assert_eq!(sampling.parts(&scope(), minute(15), minute(30)).await.unwrap(), [part("a", 15)]);
    assert!(matches!(keep(15, 30, vec![part("a", 0)]).await, Err(StoreError::Invalid { .. })));
    sampling.keep_parts(&scope(), minute(45), minute(60), Vec::new(), minute(15)).await.unwrap();
    assert_eq!(sampling.parts(&scope(), minute(0), minute(60)).await.unwrap().len(), 2);
    let other = other_scope(&store).await;
    assert!(sampling.parts(&other, minute(0), minute(60)).await.unwrap().is_empty());
}

pub async fn another_project_has_a_memory_of_its_own(store: Store) {
    fill(&store).await;
    let other = other_scope(&store).await;
    assert!(store.risk.measured(&other, REPOSITORY, start()).await.unwrap().is_empty());
    assert!(store.risk.history(&other, None, None, 10).await.unwrap().is_empty());
    assert!(store.risk.scores(&other, 10).await.unwrap().is_empty());
    assert!(store.sampling.patterns(&other).await.unwrap().is_empty());
    assert!(store.sampling.sampling_stats(&other, 10).await.unwrap().is_empty());
}
