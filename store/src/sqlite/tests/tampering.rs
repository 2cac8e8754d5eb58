//! Promises about what nobody can change unnoticed: triggers, and the audit chain without them.

use super::Home;
use crate::conformance::fixtures::*;
use crate::model::*;
use rusqlite::Connection;

/// A closed store whose audit log has ten rows.
async fn ten_rows() -> (Home, AuditHead) {
    let home = Home::new();
    let store = home.store();
    for seq in 1..=10 {
        store.audit.append(&scope(), entry(&format!("event {seq}")), minute(seq)).await.unwrap();
    }
    let head = store.audit.head(&scope()).await.unwrap();
    (home, head)
}

/// What is found after somebody with the file, and without our triggers, did this.
async fn verdict_after(sql: &str) -> AuditVerdict {
    let (home, _) = ten_rows().await;
    tamper(&home, sql);
    home.store().audit.verify(&scope(), None).await.unwrap()
}

fn tamper(home: &Home, sql: &str) {
    let raw = home.raw();
    drop_triggers(&raw);
    raw.execute_batch(sql).unwrap();
}

fn drop_triggers(raw: &Connection) {
    for name in ["audit_log_no_update", "audit_log_no_delete", "audit_log_no_replace"] {
        raw.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
}

fn broken_at(verdict: &AuditVerdict) -> Option<(i64, &str)> {
    match verdict {
        AuditVerdict::Broken { seq, reason } => Some((*seq, reason)),
        AuditVerdict::Intact { .. } => None,
    }
}

#[tokio::test]
async fn an_edited_row_is_found_whatever_was_edited() {
    for change in [
        "recorded_at = recorded_at + 1",
        "actor = 'eve'",
        "event = 'approval.approved'",
        "subject_type = 'x'",
        "subject_id = '2'",
        "detail = '{}'",
        "hash = prev_hash",
    ] {
        let verdict = verdict_after(&format!("UPDATE audit_log SET {change} WHERE seq = 4")).await;
        assert_eq!(broken_at(&verdict), Some((4, "the row is not as it was written")), "{change}");
    }
    let verdict = verdict_after("UPDATE audit_log SET prev_hash = hash WHERE seq = 4").await;
    assert_eq!(broken_at(&verdict), Some((4, "the row does not follow from the row before it")));
}

#[tokio::test]
async fn moving_text_from_one_field_to_the_next_is_found() {
    let sql = "UPDATE audit_log SET actor = actor || event, event = '' WHERE seq = 4";
    assert_eq!(broken_at(&verdict_after(sql).await).unwrap().0, 4);
}

#[tokio::test]
async fn a_removed_row_is_found_wherever_it_stood() {
    for seq in [1, 5, 9] {
        let verdict = verdict_after(&format!("DELETE FROM audit_log WHERE seq = {seq}")).await;
        assert_eq!(broken_at(&verdict), Some((seq, "the row is missing")));
    }
    let closed_up = "DELETE FROM audit_log WHERE seq = 5; UPDATE audit_log SET seq = seq - 1 WHERE seq > 5";
    assert_eq!(broken_at(&verdict_after(closed_up).await).unwrap().0, 5);
}

#[tokio::test]
async fn rows_cut_off_the_end_are_missed_by_the_head() {
    let verdict = verdict_after("DELETE FROM audit_log WHERE seq > 7").await;
    assert_eq!(broken_at(&verdict), Some((8, "rows are missing at the end")));
    let verdict = verdict_after("DELETE FROM audit_log").await;
    assert_eq!(broken_at(&verdict), Some((1, "rows are missing at the end")));
}

#[tokio::test]
async fn an_inserted_row_is_found() {
    let copy = "INSERT INTO audit_log SELECT project_id, 11, recorded_at, actor, event, subject_type, subject_id,
                    detail, prev_hash, hash FROM audit_log WHERE seq = 10";
    assert_eq!(broken_at(&verdict_after(copy).await).unwrap().0, 11);
    let between = "UPDATE audit_log SET seq = -seq WHERE seq > 5;
                   UPDATE audit_log SET seq = 1 - seq WHERE seq < 0;
                   INSERT INTO audit_log SELECT project_id, 6, recorded_at, actor, event, subject_type, subject_id,
                       detail, prev_hash, hash FROM audit_log WHERE seq = 5";
    assert_eq!(broken_at(&verdict_after(between).await).unwrap().0, 6);
    let before = "INSERT INTO audit_log SELECT project_id, 0, recorded_at, actor, event, subject_type, subject_id,
                      detail, prev_hash, hash FROM audit_log WHERE seq = 1";
    assert_eq!(broken_at(&verdict_after(before).await).unwrap().0, 0);
}

#[tokio::test]
async fn rows_that_changed_places_are_found() {
    let swap = "UPDATE audit_log SET seq = 100 WHERE seq = 3;
                UPDATE audit_log SET seq = 3 WHERE seq = 4;
                UPDATE audit_log SET seq = 4 WHERE seq = 100";
    assert_eq!(broken_at(&verdict_after(swap).await).unwrap().0, 3);
}

#[tokio::test]
async fn a_row_of_a_well_made_chain_without_its_head_is_found() {
    let (home, head) = ten_rows().await;
    // Somebody who knows the rule appends a row that follows, and forgets the head.
    let forged = entry("forged");
    let hash = audit_hash(scope().project_id(), 11, minute(11), &forged, &head.hash);
    let raw = home.raw();
    raw.execute(
        "INSERT INTO audit_log VALUES ('default', 11, ?1, 'test', 'forged', 'webhook', '1', ?2, ?3, ?4)",
        (minute(11).timestamp_micros(), forged.detail.text(), &head.hash, hash),
    )
    .unwrap();
    drop(raw);
    let verdict = home.store().audit.verify(&scope(), None).await.unwrap();
    assert_eq!(broken_at(&verdict), Some((11, "rows were added without the log's head")));
}

#[tokio::test]
async fn a_log_cut_off_together_with_its_head_is_found_with_an_anchor() {
    let (home, anchor) = ten_rows().await;
    let sql = "DELETE FROM audit_log WHERE seq > 7;
               UPDATE audit_head SET seq = 7, hash = (SELECT hash FROM audit_log WHERE seq = 7)";
    tamper(&home, sql);
    let store = home.store();
    // This is what cannot be told without an anchor; docs/audit.md says so.
    assert_eq!(broken_at(&store.audit.verify(&scope(), None).await.unwrap()), None);
    let verdict = store.audit.verify(&scope(), Some(&anchor)).await.unwrap();
    assert_eq!(broken_at(&verdict).unwrap().0, 8);
}

#[tokio::test]
async fn a_log_written_anew_is_found_with_an_anchor() {
    let (home, anchor) = ten_rows().await;
    tamper(&home, "DELETE FROM audit_log; DELETE FROM audit_head");
    let store = home.store();
    for seq in 1..=12 {
        store.audit.append(&scope(), entry("another history"), minute(seq)).await.unwrap();
    }
    assert_eq!(broken_at(&store.audit.verify(&scope(), None).await.unwrap()), None);
    let verdict = store.audit.verify(&scope(), Some(&anchor)).await.unwrap();
    assert_eq!(broken_at(&verdict).unwrap().0, 10);
}

/// The example of docs/audit.md, so that the page and the code cannot drift apart.
#[test]
fn the_hash_is_the_one_the_page_computes() {
    let entry = NewAuditEntry {
        actor: "U024BE7LH".to_owned(),
        event: "approval.approved".to_owned(),
        subject_type: "approval".to_owned(),
        subject_id: "0199".to_owned(),
        detail: serde_json::json!({"via": "slack", "reason": null}).into(),
    };
    let hash = audit_hash(scope().project_id(), 1, start(), &entry, GENESIS_HASH);
    let page = include_str!("../../../../docs/audit.md");
    assert!(page.contains(&hash), "docs/audit.md should show {hash}");
}

#[tokio::test]
async fn the_script_of_the_page_verifies_a_log_without_tripline() {
    let page = include_str!("../../../../docs/audit.md");
    let script = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let (home, head) = ten_rows().await;
    let verify = || std::process::Command::new("python3").args(["-c", script]).arg(home.path()).arg("default").output();
    let Ok(intact) = verify() else {
        println!("skipped: python3 is not here");
        return;
    };
    let said = String::from_utf8(intact.stdout).unwrap();
    assert_eq!(said.trim(), format!("intact: 10 rows, head {}", head.hash), "{:?}", intact.stderr);
    tamper(&home, "UPDATE audit_log SET actor = 'eve' WHERE seq = 4");
    let broken = verify().unwrap();
    assert_eq!(String::from_utf8(broken.stderr).unwrap().trim(), "broken at row 4");
}

#[tokio::test]
async fn triggers_refuse_to_change_the_record_and_the_events() {
    let home = Home::new();
    let store = home.store();
    store.audit.append(&scope(), entry("e"), start()).await.unwrap();
    accept(&store, vec![event(Some("e1"), "run", 1)]).await;
    let raw = home.raw();
    // As the store's own connections do.
    raw.pragma_update(None, "recursive_triggers", true).unwrap();
    for (sql, words) in [
        ("UPDATE audit_log SET actor = 'eve'", "append-only"),
        ("DELETE FROM audit_log", "append-only"),
        ("INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log", "append-only"),
        ("UPDATE ingest_log SET events = x'01'", "immutable"),
        ("DELETE FROM ingest_log", "immutable"),
        ("INSERT OR REPLACE INTO ingest_log SELECT * FROM ingest_log", "immutable"),
    ] {
        let error = raw.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
}

#[tokio::test]
async fn the_database_itself_refuses_to_undo_a_decision() {
    let home = Home::new();
    let store = home.store();
    let approval = pending(&store).await;
    store.approvals.claim(&scope(), claim_of(&approval, Decision::Approve, "ann"), minute(1)).await.unwrap();
    store.jobs.advance(&scope(), "job", minute(9)).await.unwrap();
    let held = lease(&store, "executor", minute(1)).await.unwrap().unwrap();
    store.actions.complete(&scope(), &held.lease, serde_json::json!({}), minute(1)).await.unwrap();
    let raw = home.raw();
    for (sql, words) in [
        ("UPDATE approvals SET status = 'pending', resolved_at = NULL", "resolved approval"),
        ("UPDATE approvals SET payload = '{}'", "resolved approval"),
        ("UPDATE actions SET payload = '{}'", "payload"),
        ("UPDATE actions SET status = 'pending'", "finished action"),
        ("UPDATE job_watermarks SET watermark = 0", "does not go back"),
    ] {
        let error = raw.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(words), "{sql}: {error}");
    }
}
