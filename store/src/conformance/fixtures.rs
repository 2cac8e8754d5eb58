//! Values to test with: a fixed clock and small builders.

use crate::ingest::{EventFilter, Receipt, WireEvent};
use crate::model::*;
use crate::{ExactJson, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use serde_json::json;
use std::time::Duration;

/// The instant all promises begin at.
pub fn start() -> DateTime<Utc> {
    DateTime::from_timestamp(1_763_600_000, 0).unwrap()
}

/// Some minutes after [`start`].
pub fn minute(minutes: i64) -> DateTime<Utc> {
    start() + TimeDelta::minutes(minutes)
}

/// The smallest step of time.
pub fn microsecond() -> TimeDelta {
    TimeDelta::microseconds(1)
}

/// The `index`-th window of 15 minutes after [`start`].
pub fn window(index: i64) -> Window {
    Window::new(minute(15 * index), minute(15 * (index + 1))).unwrap()
}

/// The project of a fresh installation.
pub fn scope() -> Scope {
    Scope::default_project()
}

/// A second project.
pub async fn other_scope(store: &Store) -> Scope {
    let id = ProjectId::new("other");
    store.projects.create(&id, "Other", start()).await.unwrap();
    Scope::project(id)
}

/// A finding about an entity in a window.
pub fn finding(entity: &str, window: Window) -> NewAnomaly {
    NewAnomaly {
        detector: "cost_spike".to_owned(),
        kind: "cost_spike".to_owned(),
        severity: Severity::High,
        entity: entity.to_owned(),
        fingerprint: format!("cost_spike:{entity}"),
        window,
        detected_at: window.end,
        description: format!("{entity} costs more"),
        evidence: json!({"feature": entity, "cost_usd": 12.5}),
        cost_usd: Some(12.5),
        onset: Some(window.start),
    }
}

/// Records a finding at the end of its window.
pub async fn occur(store: &Store, finding: NewAnomaly) -> IncidentUpsert {
    let now = finding.window.end;
    store.incidents.upsert_by_fingerprint(&scope(), finding, &IncidentPolicy::default(), now).await.unwrap()
}

/// An open incident.
pub async fn incident(store: &Store) -> Incident {
    occur(store, finding("checkout", window(0))).await.incident().clone()
}

/// A completely judged window in which these fingerprints were seen.
pub fn judged(index: i64, seen: &[&str]) -> JudgedWindow {
    JudgedWindow {
        detector: "cost_spike".to_owned(),
        window: window(index),
        fingerprints_seen: seen.iter().map(|text| (*text).to_owned()).collect(),
    }
}

/// Counts a clean window at its end.
pub async fn clean(store: &Store, index: i64, seen: &[&str]) -> Vec<Incident> {
    let now = window(index).end;
    store.incidents.record_clean_window(&scope(), judged(index, seen), &IncidentPolicy::default(), now).await.unwrap()
}

/// A request for approval that runs out four hours after [`start`].
pub fn new_approval(incident: &Incident) -> NewApproval {
    NewApproval {
        incident_id: incident.id.clone(),
        incident_type: incident.kind.clone(),
        severity: incident.severity,
        action_type: "open_github_issue".to_owned(),
        target: Some("acme/shop".to_owned()),
        payload: ExactJson::new(&json!({"title": "Cost spike", "labels": ["tripline"], "amount": 12.5})),
        evidence_sha256: Some("e".repeat(64)),
        summary: "Open an issue".to_owned(),
        expires_at: minute(240),
        max_attempts: 3,
    }
}

/// A pending approval.
pub async fn pending(store: &Store) -> Approval {
    let incident = incident(store).await;
    store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval
}

/// A claim of an approval as it stands.
pub fn claim_of(approval: &Approval, decision: Decision, by: &str) -> Claim {
    Claim {
        id: approval.id.clone(),
        decision,
        by: by.to_owned(),
        via: Via::Slack,
        reason: None,
        expected_payload_sha256: approval.payload_sha256.clone(),
    }
}

/// An action that depends on nothing.
pub fn new_action(key: &str) -> NewAction {
    NewAction {
        kind: ActionKind::Notification,
        action_type: "slack_post_message".to_owned(),
        target: Some("#incidents".to_owned()),
        incident_id: None,
        approval_id: None,
        payload: ExactJson::new(&json!({"text": key})),
        idempotency_key: key.to_owned(),
        max_attempts: 3,
        not_before: None,
        depends_on: None,
    }
}

/// Puts an action in the outbox.
pub async fn enqueue(store: &Store, new: NewAction) -> Action {
    store.actions.enqueue(&scope(), new, start()).await.unwrap().action
}

/// Leases whatever is next, for a minute.
pub async fn lease(store: &Store, holder: &str, now: DateTime<Utc>) -> Result<Option<LeasedAction>> {
    let request = LeaseRequest {
        holder: holder.to_owned(),
        lease_for: Duration::from_secs(60),
        kinds: Vec::new(),
        types: LeaseTypes::Any,
        in_order: false,
    };
    store.actions.lease_next(&scope(), request, now).await
}

/// A run of a job, due now, with a lease of a minute.
pub fn new_run(job: &str, holder: &str, window: Option<Window>, due_at: DateTime<Utc>) -> NewJobRun {
    NewJobRun { job: job.to_owned(), window, due_at, holder: holder.to_owned(), lease_for: Duration::from_secs(60) }
}

/// A run that ended well.
pub fn ok(advance_to: Option<DateTime<Utc>>) -> JobOutcome {
    JobOutcome { status: JobStatus::Ok, error: None, detail: Some(json!({"anomalies": 0})), advance_to }
}

/// An entry for the audit log.
pub fn entry(event: &str) -> NewAuditEntry {
    NewAuditEntry {
        actor: "test".to_owned(),
        event: event.to_owned(),
        subject_type: "webhook".to_owned(),
        subject_id: "1".to_owned(),
        detail: ExactJson::new(&json!({"why": event})),
    }
}

/// A call of a tool in a run.
pub fn event(id: Option<&str>, run: &str, step: i64) -> WireEvent {
    WireEvent {
        event_type: "tool.called".to_owned(),
        run_id: run.to_owned(),
        agent_id: "agent".to_owned(),
        agent_version: "v1".to_owned(),
        step_index: step,
        timestamp: Some(minute(step).timestamp() as f64),
        payload: [("tool_name".to_owned(), json!("t"))].into_iter().collect(),
        event_id: id.map(str::to_owned),
        ..WireEvent::default()
    }
}

/// When events arrive.
pub fn arrival() -> DateTime<Utc> {
    start() + TimeDelta::days(365)
}

/// Takes a batch.
pub async fn accept(store: &Store, events: Vec<WireEvent>) -> Receipt {
    store.events.accept(&scope(), arrival(), events).await.unwrap()
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptEvent {
    pub seq: i64,
    pub event_id: Option<String>,
    pub run_id: String,
    pub step_index: i64,
    pub occurred_at: DateTime<Utc>,
    pub payload: String,
    pub sha256: String,
}

/// The events that a filter wants.
pub async fn kept(store: &Store, filter: EventFilter) -> Vec<KeptEvent> {
    kept_of(store, &scope(), filter).await
}

/// The same, of any project.
pub async fn kept_of(store: &Store, scope: &Scope, filter: EventFilter) -> Vec<KeptEvent> {
    let batches: Vec<RecordBatch> = store.events.scan(scope, filter).await.unwrap().try_collect().await.unwrap();
    let mut kept = Vec::new();
    for batch in batches {
        let column = |name| batch.column_by_name(name).unwrap();
        let text = |name, row| column(name).as_string::<i32>().value(row).to_owned();
        for row in 0..batch.num_rows() {
            let micros = column("occurred_at").as_primitive::<TimestampMicrosecondType>().value(row);
            kept.push(KeptEvent {
                seq: column("seq").as_primitive::<Int64Type>().value(row),
                event_id: column("event_id").is_valid(row).then(|| text("event_id", row)),
                run_id: text("run_id", row),
                step_index: column("step_index").as_primitive::<Int64Type>().value(row),
                occurred_at: DateTime::from_timestamp_micros(micros).unwrap(),
                payload: text("payload", row),
                sha256: text("sha256", row),
            });
        }
    }
    kept
}

/// The events of the audit log, oldest first.
pub async fn recorded(store: &Store, subject_id: &str) -> Vec<String> {
    let filter = AuditFilter { subject_id: Some(subject_id.to_owned()), ..AuditFilter::default() };
    let mut entries = store.audit.list(&scope(), &filter, MAX_PAGE).await.unwrap();
    entries.reverse();
    entries.into_iter().map(|entry| entry.entry.event).collect()
}
