//! Promises about what is told: digests, narrations, feedback.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::TimeDelta;
use serde_json::json;

fn digest(report: &str) -> Digest {
    Digest {
        id: "weekly-2025-11-24".to_owned(),
        week_start: start() - TimeDelta::days(7),
        week_end: start(),
        time_zone: "Europe/Berlin".to_owned(),
        created_at: start(),
        narrator: "template".to_owned(),
        report: report.to_owned(),
        sections: json!({"what_shipped": ["one"]}),
        figures: json!({"merged": {"value": 1, "query": "merges", "row": null, "field": "row_count"}}),
        queries: json!([{"name": "merges", "sql": "SELECT 1", "rows": []}]),
        gaps: vec![Gap { source: "sentry".to_owned(), reason: "503".to_owned() }],
        cost_usd: Some(1.25),
    }
}

fn narration(subject: &str, tokens: i64) -> NewNarration {
    NewNarration {
        kind: NarrationKind::Incident,
        subject_id: subject.to_owned(),
        provider: "groq".to_owned(),
        model: "m".to_owned(),
        host: "api.groq.com".to_owned(),
        outcome: NarrationOutcome::Repaired,
        reason: Some("'9' is not claimed".to_owned()),
        requests: 2,
        prompt_tokens: tokens,
        completion_tokens: 10,
        sent: "[]".to_owned(),
        sent_sha256: "0".repeat(64),
        redactions: json!({"e-mail": 1}),
        answer: Some("{}".to_owned()),
    }
}

fn verdict(id: &IncidentId, correct: bool, by: &str) -> NewFeedback {
    NewFeedback {
        incident_id: id.clone(),
        correct,
        given_by: by.to_owned(),
        via: FeedbackVia::Api,
        comment: (!correct).then(|| "it was a load test".to_owned()),
    }
}

/// Rows for every table of this module.
pub(crate) async fn tell(store: &Store, id: &IncidentId) {
    store.digests.put(&scope(), digest("text")).await.unwrap();
    store.narrations.append(&scope(), narration(id.as_str(), 100), minute(1)).await.unwrap();
    store.feedback.give(&scope(), verdict(id, true, "ann"), minute(2)).await.unwrap();
}

pub async fn a_week_has_one_digest_however_often_it_is_made(store: Store) {
    store.digests.put(&scope(), digest("first")).await.unwrap();
    store.digests.put(&scope(), digest("second")).await.unwrap();
    let listed = store.digests.list(&scope(), &PageRequest::first(10)).await.unwrap().items;
    assert_eq!(listed, [digest("second")]);
    assert_eq!(store.digests.get(&scope(), "weekly-2025-11-24").await.unwrap(), Some(digest("second")));
    assert_eq!(store.digests.get(&scope(), "weekly-2025-11-17").await.unwrap(), None);
}

fn explanation(by: &str, requests: i64) -> NewExplanation {
    NewExplanation {
        signal_id: 1,
        asked_by: by.to_owned(),
        provider: "groq".to_owned(),
        model: "m".to_owned(),
        host: "api.groq.com".to_owned(),
        outcome: NarrationOutcome::Accepted,
        reason: None,
        requests,
        prompt_tokens: 5,
        completion_tokens: 1,
        sent_sha256: "0".repeat(64),
        redactions: json!({}),
    }
}

pub async fn explanations_are_counted_by_key_and_with_all_that_models_were_asked(store: Store) {
    for (at, by, requests) in [(0, "a", 1), (5, "a", 2), (6, "b", 4)] {
        store.narrations.append_explanation(&scope(), explanation(by, requests), minute(at)).await.unwrap();
    }
    let of_a = store.narrations.explained_since(&scope(), "a", minute(1)).await.unwrap();
    assert_eq!(of_a, ModelUse { requests: 2, tokens: 6 });
    store.narrations.append(&scope(), narration("i", 100), minute(7)).await.unwrap();
    let all = store.narrations.used_since(&scope(), minute(5)).await.unwrap();
    assert_eq!(all, ModelUse { requests: 8, tokens: 122 });
}

pub async fn what_models_were_asked_is_counted_since_a_time(store: Store) {
    for (index, tokens) in [(0, 100), (10, 200), (20, 300)] {
        store.narrations.append(&scope(), narration("i", tokens), minute(index)).await.unwrap();
    }
    let used = store.narrations.used_since(&scope(), minute(10)).await.unwrap();
    assert_eq!(used, ModelUse { requests: 4, tokens: 520 });
    assert_eq!(store.narrations.used_since(&scope(), minute(21)).await.unwrap(), ModelUse::default());
    let filter = NarrationFilter { subject_id: Some("i".to_owned()), ..NarrationFilter::default() };
    let listed = store.narrations.list(&scope(), &filter, &PageRequest::first(2)).await.unwrap();
    assert_eq!((listed.items.len(), listed.items[0].told_at), (2, minute(20)));
    assert_eq!(listed.items[0].narration, narration("i", 300));
}

pub async fn a_person_has_one_verdict_about_an_incident_and_the_newest_of_all_counts(store: Store) {
    let first = incident(&store).await;
    store.feedback.give(&scope(), verdict(&first.id, false, "ann"), minute(1)).await.unwrap();
    store.feedback.give(&scope(), verdict(&first.id, true, "bob"), minute(2)).await.unwrap();
    let precision = store.feedback.precision(&scope()).await.unwrap();
    assert_eq!((precision[0].incidents, precision[0].marked_right, precision[0].marked_wrong), (1, 1, 0));
    assert_eq!(precision[0].precision, Some(1.0));
    store.feedback.give(&scope(), verdict(&first.id, false, "bob"), minute(3)).await.unwrap();
    let precision = store.feedback.precision(&scope()).await.unwrap();
    assert_eq!((precision[0].marked_right, precision[0].precision), (0, Some(0.0)));
    let listed = store.feedback.list(&scope(), &first.id).await.unwrap();
    let people: Vec<_> = listed.iter().map(|f| (f.feedback.given_by.as_str(), f.feedback.correct)).collect();
    assert_eq!(people, [("bob", false), ("ann", false)]);
    let unknown = store.feedback.give(&scope(), verdict(&IncidentId::new("none"), true, "ann"), minute(3)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
    let long = NewFeedback { comment: Some("x".repeat(1_001)), ..verdict(&first.id, true, "ann") };
    assert!(matches!(store.feedback.give(&scope(), long, minute(4)).await, Err(StoreError::Invalid { .. })));
}

pub async fn feedback_is_on_the_record_once(store: Store) {
    let first = incident(&store).await;
    for at in 1..4 {
        let kept = store.feedback.give(&scope(), verdict(&first.id, true, "ann"), minute(at)).await.unwrap();
        assert_eq!(kept.given_at, minute(1), "the same verdict again changes nothing");
    }
    let filter = AuditFilter { event: Some("incident.feedback".to_owned()), ..AuditFilter::default() };
    let rows = store.audit.list(&scope(), &filter, 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].entry.actor.as_str(), rows[0].entry.subject_id.as_str()), ("ann", first.id.as_str()));
}

pub async fn another_project_is_told_nothing(store: Store) {
    let first = incident(&store).await;
    tell(&store, &first.id).await;
    let other = other_scope(&store).await;
    assert!(store.digests.list(&other, &PageRequest::first(9)).await.unwrap().items.is_empty());
    assert!(
        store
            .narrations
            .list(&other, &NarrationFilter::default(), &PageRequest::first(9))
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert_eq!(store.narrations.used_since(&other, start()).await.unwrap(), ModelUse::default());
    assert!(store.feedback.list(&other, &first.id).await.unwrap().is_empty());
    assert!(store.feedback.precision(&other).await.unwrap().is_empty());
    let refused = store.feedback.give(&other, verdict(&first.id, true, "eve"), minute(9)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
}
