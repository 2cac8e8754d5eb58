//! Promises about findings, incidents and their evidence.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::TimeDelta;
use serde_json::json;
use std::collections::HashSet;

pub async fn the_same_finding_is_kept_once(store: Store) {
    let first = store.anomalies.record(&scope(), finding("a", window(0))).await.unwrap();
    let again = store.anomalies.record(&scope(), finding("a", window(0))).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.anomaly, again.anomaly);
    assert_eq!(first.anomaly.finding, finding("a", window(0)));
    assert!(store.anomalies.record(&scope(), finding("a", window(1))).await.unwrap().created);
    let all = store.anomalies.list(&scope(), &AnomalyFilter::default(), &PageRequest::default()).await.unwrap();
    assert_eq!(all.items.len(), 2);
    assert_eq!(store.anomalies.get(&scope(), &first.anomaly.id).await.unwrap(), Some(first.anomaly));
}

pub async fn the_first_finding_opens_an_incident(store: Store) {
    let IncidentUpsert::Opened(incident) = occur(&store, finding("checkout", window(0))).await else {
        panic!("not opened")
    };
    assert_eq!(incident.status, IncidentStatus::Open);
    assert_eq!((incident.occurrences, incident.reopened_count, incident.clean_windows), (1, 0, 0));
    assert_eq!(incident.window, window(0));
    assert_eq!((incident.opened_at, incident.last_seen_at), (window(0).end, window(0).end));
    assert_eq!(incident.cost_usd, Some(12.5));
    assert_eq!(incident.narrative, None);
    assert_eq!(store.incidents.get(&scope(), &incident.id).await.unwrap(), Some(incident.clone()));
    let filter = AnomalyFilter { incident_id: Some(incident.id), ..AnomalyFilter::default() };
    assert_eq!(store.anomalies.list(&scope(), &filter, &PageRequest::default()).await.unwrap().items.len(), 1);
}

pub async fn a_condition_that_lasts_is_one_incident_with_occurrences(store: Store) {
    let opened = occur(&store, finding("checkout", window(0))).await.incident().clone();
    for index in 1..=8 {
        let mut next = finding("checkout", window(index));
        next.cost_usd = Some(index as f64);
        next.description = format!("window {index}");
        let IncidentUpsert::Occurred(incident) = occur(&store, next).await else { panic!("not one more occurrence") };
        assert_eq!(incident.id, opened.id);
        assert_eq!(incident.occurrences, index + 1);
        assert_eq!(incident.window, Window::new(window(0).start, window(index).end).unwrap());
        assert_eq!(incident.description, format!("window {index}"));
        assert_eq!(incident.last_seen_at, window(index).end);
        assert_eq!(
            incident.cost_usd,
            Some(12.5 + (1..=index).sum::<i64>() as f64),
            "windows that do not overlap add up"
        );
    }
    let other = occur(&store, finding("search", window(1))).await;
    assert!(matches!(other, IncidentUpsert::Opened(_)));
}

pub async fn of_windows_that_overlap_only_what_is_new_in_them_costs(store: Store) {
    let hour_from = |minutes: i64| {
        let start = window(0).start + TimeDelta::minutes(minutes);
        Window::new(start, start + TimeDelta::hours(1)).unwrap()
    };
    let seen = async |minutes: i64, cost: f64, last: Option<i64>| {
        let mut next = finding("checkout", hour_from(minutes));
        next.cost_usd = Some(cost);
        if let Some(last) = last {
            next.evidence = json!({"last_sign": hour_from(last).start.to_rfc3339()});
        }
        occur(&store, next).await.incident().cost_usd.unwrap()
    };
    assert_eq!(seen(0, 4.0, None).await, 4.0);
    assert_eq!(seen(15, 4.0, None).await, 5.0, "a quarter of the hour is new");
    assert_eq!(seen(30, 8.0, None).await, 8.0, "never less than the dearest window");
    assert_eq!(seen(45, 8.0, Some(90)).await, 8.0, "nothing happened behind what was seen before");
    assert_eq!(seen(45 + 60, 2.0, None).await, 10.0, "a window that is all new");
}

pub async fn severity_only_rises(store: Store) {
    for (index, (found, expected)) in [
        (Severity::Medium, Severity::Medium),
        (Severity::Critical, Severity::Critical),
        (Severity::Info, Severity::Critical),
    ]
    .into_iter()
    .enumerate()
    {
        let seen = NewAnomaly { severity: found, ..finding("checkout", window(index as i64)) };
        assert_eq!(occur(&store, seen).await.incident().severity, expected);
    }
}

pub async fn the_same_window_judged_twice_counts_once(store: Store) {
    let first = occur(&store, finding("checkout", window(0))).await.incident().clone();
    let again = occur(&store, finding("checkout", window(0))).await;
    assert_eq!(again, IncidentUpsert::Unchanged(first));
}

pub async fn many_findings_at_once_open_one_incident(store: Store) {
    let tasks: Vec<_> = (0..40)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move { occur(&store, finding("checkout", window(index))).await })
        })
        .collect();
    let (mut opened, mut ids) = (0, HashSet::new());
    for task in tasks {
        let outcome = task.await.unwrap();
        opened += usize::from(matches!(outcome, IncidentUpsert::Opened(_)));
        ids.insert(outcome.incident().id.clone());
    }
    assert_eq!((opened, ids.len()), (1, 1));
    let id = ids.into_iter().next().unwrap();
    assert_eq!(store.incidents.get(&scope(), &id).await.unwrap().unwrap().occurrences, 40);
}

pub async fn three_clean_windows_resolve_an_incident(store: Store) {
    let opened = incident(&store).await;
    let other = occur(&store, finding("search", window(0))).await.incident().clone();
    for index in 1..=2 {
        assert!(clean(&store, index, &[&other.fingerprint]).await.is_empty());
    }
    let resolved = clean(&store, 3, &[&other.fingerprint]).await;
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0].id, opened.id);
    assert_eq!(resolved[0].status, IncidentStatus::Resolved);
    assert_eq!((resolved[0].clean_windows, resolved[0].resolved_at), (3, Some(window(3).end)));
    assert!(clean(&store, 4, &[&other.fingerprint]).await.is_empty(), "resolved once");
    let still = store.incidents.get(&scope(), &other.id).await.unwrap().unwrap();
    assert_eq!((still.status, still.clean_windows), (IncidentStatus::Open, 0));
}

pub async fn a_clean_window_judged_twice_counts_once(store: Store) {
    let opened = incident(&store).await;
    for _ in 0..5 {
        assert!(clean(&store, 1, &[]).await.is_empty());
    }
    assert!(clean(&store, 0, &[]).await.is_empty(), "the window it was seen in says nothing new");
    assert_eq!(store.incidents.get(&scope(), &opened.id).await.unwrap().unwrap().clean_windows, 1);
}

pub async fn being_seen_starts_the_count_of_clean_windows_anew(store: Store) {
    let opened = incident(&store).await;
    clean(&store, 1, &[]).await;
    clean(&store, 2, &[]).await;
    let seen = occur(&store, finding("checkout", window(3))).await;
    assert!(matches!(&seen, IncidentUpsert::Occurred(incident) if incident.clean_windows == 0));
    assert!(clean(&store, 4, &[]).await.is_empty());
    assert!(clean(&store, 5, &[]).await.is_empty());
    assert_eq!(clean(&store, 6, &[]).await[0].id, opened.id);
}

pub async fn clean_windows_of_another_detector_resolve_nothing(store: Store) {
    incident(&store).await;
    for index in 1..=5 {
        let judged = JudgedWindow { detector: "agent_loop".to_owned(), ..judged(index, &[]) };
        let policy = IncidentPolicy::default();
        let resolved = store.incidents.record_clean_window(&scope(), judged, &policy, minute(90)).await.unwrap();
        assert!(resolved.is_empty());
    }
}

pub async fn it_reopens_within_seven_days_and_not_a_microsecond_later(store: Store) {
    let policy = IncidentPolicy::default();
    let opened = incident(&store).await;
    for index in 1..=3 {
        clean(&store, index, &[]).await;
    }
    let last_moment = window(3).end + TimeDelta::days(7);
    let back = finding("checkout", window(700));
    let outcome = store.incidents.upsert_by_fingerprint(&scope(), back, &policy, last_moment).await.unwrap();
    let IncidentUpsert::Reopened(reopened) = outcome else { panic!("not reopened") };
    assert_eq!(reopened.id, opened.id);
    assert_eq!((reopened.status, reopened.resolved_at), (IncidentStatus::Open, None));
    assert_eq!((reopened.occurrences, reopened.reopened_count, reopened.clean_windows), (2, 1, 0));

    for index in 701..=703 {
        clean(&store, index, &[]).await;
    }
    let too_late = window(703).end + TimeDelta::days(7) + microsecond();
    let later = finding("checkout", window(1_500));
    let outcome = store.incidents.upsert_by_fingerprint(&scope(), later, &policy, too_late).await.unwrap();
    assert!(matches!(&outcome, IncidentUpsert::Opened(incident) if incident.id != opened.id));
    let latest = store.incidents.latest_by_fingerprint(&scope(), &opened.fingerprint).await.unwrap().unwrap();
    assert_eq!(latest.id, outcome.incident().id);
}

/// Window 1 had a source missing and is judged after windows 2 to 4 were found clean.
pub async fn an_old_window_judged_late_changes_no_verdict(store: Store) {
    incident(&store).await;
    for index in 2..=3 {
        clean(&store, index, &[]).await;
    }
    let outcome = occur(&store, finding("checkout", window(1))).await;
    assert!(matches!(&outcome, IncidentUpsert::Occurred(incident) if incident.clean_windows == 2));
    assert_eq!(clean(&store, 4, &[]).await.len(), 1);

    let mut older = finding("checkout", window(0));
    older.detector = "another look".to_owned();
    let IncidentUpsert::Occurred(incident) = occur(&store, older).await else { panic!("not an occurrence") };
    assert_eq!(incident.status, IncidentStatus::Resolved);
    assert_eq!(incident.occurrences, 3);
}

pub async fn an_investigation_reads_back_and_keeps_the_message(store: Store) {
    let opened = incident(&store).await;
    let found = Investigation {
        culprit_sha: Some("abc123".to_owned()),
        cost_usd: Some(99.0),
        narrative: "It was <!channel> $12".to_owned(),
        narrative_parts: NarrativeParts { what_happened: "a".to_owned(), ..NarrativeParts::default() },
        narrator: "template".to_owned(),
        suspects: json!([{"sha": "abc123", "score": 0.9}]),
        timeline: json!([{"at": "2025-11-20T00:00:00Z"}]),
        gaps: vec![Gap { source: "sentry".to_owned(), reason: "503".to_owned() }],
        evidence_sha256: "f".repeat(64),
    };
    let scope = scope();
    store.incidents.set_message(&scope, &opened.id, "C123", "17.5", minute(20)).await.unwrap();
    store.incidents.set_investigation(&scope, &opened.id, found.clone(), minute(21)).await.unwrap();
    let url = "https://github.com/acme/shop/issues/1";
    let kept = store.incidents.set_github_issue(&scope, &opened.id, url, minute(22)).await.unwrap();
    assert_eq!(kept.cost_usd, found.cost_usd, "the investigation's figure is preferred");
    assert_eq!((kept.narrative, kept.narrative_parts), (Some(found.narrative), Some(found.narrative_parts)));
    assert_eq!((kept.suspects, kept.timeline, kept.gaps), (found.suspects, found.timeline, found.gaps));
    assert_eq!((kept.slack_channel.as_deref(), kept.slack_ts.as_deref()), (Some("C123"), Some("17.5")));
    assert_eq!((kept.github_issue_url.as_deref(), kept.investigated_at), (Some(url), Some(minute(21))));
    let missing = store.incidents.set_message(&scope, &IncidentId::new("none"), "C", "1", start()).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
}

/// The reference's list filtered after its limit: the newest of a type were missing (seed 003, incidents list, D14).
pub async fn the_filter_applies_before_the_limit(store: Store) {
    occur(&store, NewAnomaly { kind: "rare".to_owned(), ..finding("rare", window(0)) }).await;
    for index in 1..30 {
        occur(&store, finding(&format!("feature {index}"), window(index))).await;
    }
    let filter = IncidentFilter { kind: Some("rare".to_owned()), ..IncidentFilter::default() };
    let page = store.incidents.list(&scope(), &filter, &PageRequest::first(5)).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.next, None);
    let filter = IncidentFilter { since: Some(window(28).end), ..IncidentFilter::default() };
    assert_eq!(store.incidents.list(&scope(), &filter, &PageRequest::first(5)).await.unwrap().items.len(), 2);
    let filter = IncidentFilter { status: Some(IncidentStatus::Resolved), ..IncidentFilter::default() };
    assert!(store.incidents.list(&scope(), &filter, &PageRequest::first(5)).await.unwrap().items.is_empty());
}

pub async fn pages_neither_repeat_nor_skip(store: Store) {
    for index in 0..25 {
        // Five at one instant: ties must not fall between pages.
        let found = NewAnomaly { detected_at: minute(index / 5), ..finding(&format!("f{index}"), window(0)) };
        store.anomalies.record(&scope(), found).await.unwrap();
    }
    let (mut request, mut seen, mut times) = (PageRequest::first(4), HashSet::new(), Vec::new());
    loop {
        let page = store.anomalies.list(&scope(), &AnomalyFilter::default(), &request).await.unwrap();
        for anomaly in &page.items {
            assert!(seen.insert(anomaly.id.clone()), "listed twice");
            times.push(anomaly.finding.detected_at);
        }
        let Some(cursor) = page.next else { break };
        request = PageRequest::after(4, cursor.to_string().parse().unwrap());
    }
    assert_eq!(seen.len(), 25);
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "newest first");
}

pub async fn another_project_sees_nothing(store: Store) {
    let opened = incident(&store).await;
    let other = other_scope(&store).await;
    assert_eq!(store.incidents.get(&other, &opened.id).await.unwrap(), None);
    let all = store.incidents.list(&other, &IncidentFilter::default(), &PageRequest::default()).await.unwrap();
    assert!(all.items.is_empty());
    let touched = store.incidents.set_message(&other, &opened.id, "C", "1", start()).await;
    assert!(matches!(touched, Err(StoreError::NotFound { .. })));
    let asked = store.approvals.request(&other, new_approval(&opened), start()).await;
    assert!(matches!(asked, Err(StoreError::NotFound { .. })));
    let policy = IncidentPolicy::default();
    let own = store.incidents.upsert_by_fingerprint(&other, finding("checkout", window(0)), &policy, start());
    assert!(matches!(own.await.unwrap(), IncidentUpsert::Opened(incident) if incident.id != opened.id));
}

pub async fn evidence_is_replaced_as_a_whole(store: Store) {
    let opened = incident(&store).await;
    let scope = scope();
    let first = store.evidence.replace(&scope, &opened.id, vec![item("a"), item("b")]).await.unwrap();
    let swapped = store.evidence.replace(&scope, &opened.id, vec![item("b"), item("a")]).await.unwrap();
    assert_eq!(first, swapped, "the digest does not depend on the order");
    let second = store.evidence.replace(&scope, &opened.id, vec![item("c")]).await.unwrap();
    assert_ne!(first, second);
    let kept = store.evidence.list(&scope, &opened.id).await.unwrap();
    assert_eq!(kept, [item("c")]);
    assert_eq!(evidence_digest(&kept), second);
    let twice = store.evidence.replace(&scope, &opened.id, vec![item("c"), item("c")]).await;
    assert!(matches!(twice, Err(StoreError::Invalid { .. })));
    let missing = store.evidence.replace(&scope, &IncidentId::new("none"), vec![]).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    assert_eq!(store.evidence.list(&scope, &opened.id).await.unwrap().len(), 1, "a refused set replaces nothing");
}

pub async fn an_unknown_source_stays_unknown(store: Store) {
    let opened = incident(&store).await;
    let unknown = Evidence {
        status: EvidenceStatus::Unknown,
        error: Some("sentry answered 503".to_owned()),
        rows: json!([]),
        row_count: 0,
        ..item("errors")
    };
    let empty = Evidence { status: EvidenceStatus::Empty, error: None, ..unknown.clone() };
    assert_ne!(evidence_digest(std::slice::from_ref(&unknown)), evidence_digest(&[empty]));
    store.evidence.replace(&scope(), &opened.id, vec![unknown.clone()]).await.unwrap();
    assert_eq!(store.evidence.list(&scope(), &opened.id).await.unwrap(), [unknown]);
}

fn item(name: &str) -> Evidence {
    Evidence {
        name: name.to_owned(),
        sources: vec!["github".to_owned()],
        sql: "SELECT sha FROM github.commits WHERE committed_at >= $from".to_owned(),
        params: json!({"from": "2025-11-20T00:00:00Z"}),
        status: EvidenceStatus::Ok,
        error: None,
        rows: json!([{"sha": "abc"}]),
        row_count: 1,
        truncated: true,
        fetched_at: minute(16),
    }
}
