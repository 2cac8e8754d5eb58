//! Promises about the audit log.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;

pub async fn a_log_of_any_length_verifies(store: Store) {
    let empty = AuditHead { seq: 0, hash: GENESIS_HASH.to_owned() };
    assert_eq!(store.audit.head(&scope()).await.unwrap(), empty);
    let verdict = store.audit.verify(&scope(), None).await.unwrap();
    assert_eq!(verdict, AuditVerdict::Intact { rows: 0, head: empty });
    let mut previous = GENESIS_HASH.to_owned();
    for seq in 1..=20 {
        let row = store.audit.append(&scope(), entry(&format!("event {seq}")), minute(seq)).await.unwrap();
        assert_eq!((row.seq, row.at, &row.prev_hash), (seq, minute(seq), &previous));
        assert_eq!(row.hash, row.expected_hash(scope().project_id()));
        previous = row.hash;
    }
    let head = AuditHead { seq: 20, hash: previous };
    assert_eq!(store.audit.verify(&scope(), None).await.unwrap(), AuditVerdict::Intact { rows: 20, head });
    let list = NewAuditEntry { detail: serde_json::json!([1]).into(), ..entry("list") };
    assert!(matches!(store.audit.append(&scope(), list, start()).await, Err(StoreError::Invalid { .. })));
}

pub async fn an_anchor_from_the_same_log_fits_and_another_does_not(store: Store) {
    for seq in 1..=5 {
        store.audit.append(&scope(), entry("e"), minute(seq)).await.unwrap();
    }
    let anchor = store.audit.head(&scope()).await.unwrap();
    for seq in 6..=9 {
        store.audit.append(&scope(), entry("e"), minute(seq)).await.unwrap();
    }
    let verdict = store.audit.verify(&scope(), Some(&anchor)).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Intact { rows: 9, .. }));
    let forged = AuditHead { hash: "0".repeat(64), ..anchor.clone() };
    let verdict = store.audit.verify(&scope(), Some(&forged)).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Broken { seq: 5, .. }));
    let beyond = AuditHead { seq: 12, ..anchor };
    let verdict = store.audit.verify(&scope(), Some(&beyond)).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Broken { seq: 10, .. }));
}

pub async fn each_project_has_a_log_of_its_own(store: Store) {
    let other = other_scope(&store).await;
    store.audit.append(&scope(), entry("a"), start()).await.unwrap();
    let theirs = store.audit.append(&other, entry("a"), start()).await.unwrap();
    assert_eq!(theirs.seq, 2, "that it was made is its first row");
    let ours = store.audit.list(&scope(), &AuditFilter::default(), 10).await.unwrap();
    assert_eq!(ours.len(), 1);
    assert_ne!(ours[0].hash, theirs.hash, "the project is part of the hash");
}

pub async fn rows_are_listed_newest_first_by_subject(store: Store) {
    for seq in 1..=6 {
        let subject_id = (seq % 2).to_string();
        let entry = NewAuditEntry { subject_id, ..entry(&format!("event {seq}")) };
        store.audit.append(&scope(), entry, minute(seq)).await.unwrap();
    }
    let filter = AuditFilter { subject_id: Some("1".to_owned()), ..AuditFilter::default() };
    let seqs = |rows: Vec<AuditEntry>| rows.into_iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(seqs(store.audit.list(&scope(), &filter, 2).await.unwrap()), [5, 3]);
    let rest = AuditFilter { before_seq: Some(3), ..filter };
    assert_eq!(seqs(store.audit.list(&scope(), &rest, 2).await.unwrap()), [1]);
    let event = AuditFilter { event: Some("event 4".to_owned()), ..AuditFilter::default() };
    assert_eq!(seqs(store.audit.list(&scope(), &event, 9).await.unwrap()), [4]);
}

pub async fn appends_at_once_form_one_chain(store: Store) {
    let tasks: Vec<_> = (0..50)
        .map(|index| {
            let store = store.clone();
            tokio::spawn(async move { store.audit.append(&scope(), entry("e"), minute(index)).await.unwrap().seq })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(task.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=50).collect::<Vec<_>>());
    let verdict = store.audit.verify(&scope(), None).await.unwrap();
    assert!(matches!(verdict, AuditVerdict::Intact { rows: 50, .. }));
}
