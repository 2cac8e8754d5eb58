//! Datadog's form of a history: monitors with their states, alert and deploy events, error logs, metrics.
//!
//! Only what machines could notice shows: an error cascade alerts, the silent incidents do not.

use serde_json::{Value, json};

use crate::dataset::Collection;
use crate::item::Item;
use crate::scenario::company::PROJECTS;
use crate::scenario::plan::{Plan, Trouble};
use crate::scenario::random::{hex, part};
use crate::scenario::{FailureClass, Incident};
use crate::time::{DAY, MINUTE, Micros, millis_z, seconds_z};

/// The monitor that an error cascade sets off.
const ERROR_RATE: u64 = 7001;

fn push(plan: &mut Plan, collection: Collection, value: &Value) {
    if let Some(item) = Item::from_value(value) {
        plan.dataset.push(collection, item);
    }
}

/// From when to when machines see an incident, if they do.
pub(crate) fn noticed(incident: &Incident) -> Option<(Micros, Micros)> {
    let from = incident.starts_at.timestamp_micros() + 4 * MINUTE;
    (incident.class == FailureClass::ErrorCascade).then(|| (from, incident.ends_at.timestamp_micros()))
}

/// Writes everything Datadog has.
pub(crate) fn emit(plan: &mut Plan) {
    let alerts: Vec<(Micros, Micros)> = plan.incidents.iter().filter_map(noticed).collect();
    monitors(plan, &alerts);
    for (from, to) in &alerts {
        alert(plan, *from, "error", "Triggered");
        alert(plan, *to, "success", "Recovered");
        incident(plan, *from, *to);
    }
    for (index, deploy) in plan.deploys.clone().iter().enumerate() {
        let text = format!("shopfront@{} went to production", deploy.sha.get(..12).unwrap_or_default());
        let attributes = json!({"title": "Deployed shopfront", "service": "shopfront", "status": "info", "priority": "low",
                                "source_type_name": "deployment", "tags": ["env:production"], "timestamp": deploy.at / 1000});
        event(plan, &format!("deploy {index}"), deploy.at, &text, attributes);
    }
    for trouble in plan.troubles.clone() {
        logs(plan, &trouble);
        issue(plan, &trouble);
    }
    metrics(plan);
}

fn monitors(plan: &mut Plan, alerts: &[(Micros, Micros)]) {
    let created = plan.start() - 200 * DAY;
    for (id, name, query) in [
        (ERROR_RATE, "Checkout error rate", "sum(last_5m):sum:checkout.errors{env:production}.as_count() > 20"),
        (7002, "API latency p95", "avg(last_10m):p95:trace.http.request{service:shopfront-api} > 2"),
        (7003, "Worker queue depth", "avg(last_15m):avg:queue.depth{env:production} > 500"),
        (7004, "Disk space", "min(last_30m):min:system.disk.free{env:production} by {host} < 5"),
    ] {
        let mut states = vec![json!({"at": millis_z(created), "state": "OK"})];
        if id == ERROR_RATE {
            for (from, to) in alerts {
                states.push(json!({"at": millis_z(*from), "state": "Alert"}));
                states.push(json!({"at": millis_z(*to), "state": "OK"}));
            }
        }
        let value = json!({
            "id": id, "name": name, "type": "query alert", "query": query, "message": "@pagerduty-shopfront",
            "overall_state": "OK", "priority": 2, "multi": false, "tags": ["team:shop", "env:production"],
            "created": millis_z(created), "modified": millis_z(created), "deleted": null,
            "creator": {"name": "Mira Okafor", "handle": "mira@acme.example", "email": "mira@acme.example"},
            "options": {"notify_no_data": false, "thresholds": {"critical": 20.0}}, "restricted_roles": null,
            "_states": states,
        });
        push(plan, Collection::DatadogMonitors, &value);
    }
}

fn event(plan: &mut Plan, name: &str, at: Micros, message: &str, attributes: Value) {
    let id = hex(&mut part(plan.seed, &format!("datadog event {name}")), 24);
    let value = json!({"id": id, "type": "event", "attributes": {
        "timestamp": millis_z(at), "message": message, "tags": attributes["tags"], "attributes": attributes}});
    push(plan, Collection::DatadogEvents, &value);
}

fn alert(plan: &mut Plan, at: Micros, status: &str, word: &str) {
    let title = format!("[{word}] Checkout error rate");
    let attributes = json!({
        "title": title, "service": "shopfront-api", "status": status, "priority": "normal", "source_type_name": "alert",
        "monitor_id": ERROR_RATE, "monitor": {"id": ERROR_RATE, "name": "Checkout error rate", "type": "query alert"},
        "tags": ["env:production", "service:shopfront-api"], "timestamp": at / 1000, "aggregation_key": "checkout-errors"});
    event(plan, &format!("{word} {at}"), at, &title, attributes);
}

fn incident(plan: &mut Plan, from: Micros, to: Micros) {
    let id = hex(&mut part(plan.seed, &format!("datadog incident {from}")), 32);
    let value = json!({"id": id, "type": "incidents", "relationships": {}, "attributes": {
        "public_id": 41, "title": "Checkout fails for some customers", "state": "resolved", "severity": "SEV-2",
        "created": millis_z(from + 3 * MINUTE), "modified": millis_z(to), "resolved": millis_z(to),
        "detected": millis_z(from), "customer_impacted": true, "customer_impact_scope": "Checkout",
        "customer_impact_start": millis_z(from), "customer_impact_end": millis_z(to), "fields": {}, "is_test": false}});
    push(plan, Collection::DatadogIncidents, &value);
}

fn service(trouble: &Trouble) -> &'static str {
    PROJECTS.get(trouble.project).map_or("shopfront", |(_, slug, _)| slug)
}

fn logs(plan: &mut Plan, trouble: &Trouble) {
    let mut rng = part(plan.seed, &format!("logs {} {}", trouble.kind, trouble.value));
    for at in &trouble.seen {
        let message = format!("{}: {}", trouble.kind, trouble.value);
        let status = if trouble.level == "error" { "error" } else { "warn" };
        let value = json!({"id": hex(&mut rng, 24), "type": "log", "attributes": {
            "timestamp": millis_z(*at), "message": message, "status": status, "service": service(trouble),
            "host": "web-1", "tags": ["env:production"],
            "attributes": {"error": {"kind": trouble.kind}, "transaction": trouble.transaction}}});
        push(plan, Collection::DatadogLogs, &value);
    }
}

fn issue(plan: &mut Plan, trouble: &Trouble) {
    let (Some(first), Some(last)) = (trouble.seen.first(), trouble.seen.last()) else { return };
    let id = hex(&mut part(plan.seed, &format!("error tracking {} {}", trouble.kind, trouble.value)), 32);
    let state = if trouble.status == "resolved" { "RESOLVED" } else { "OPEN" };
    let value = json!({"id": id, "type": "issue", "relationships": {}, "attributes": {
        "error_type": trouble.kind, "error_message": trouble.value, "file_path": trouble.filename,
        "function_name": trouble.function, "service": service(trouble), "platform": "BACKEND", "languages": ["PYTHON"],
        "is_crash": false, "state": state, "first_seen": first / 1000, "last_seen": last / 1000},
        "_track": "logs", "_total_count": trouble.seen.len(), "_impacted_users": trouble.seen.len().min(31),
        "_impacted_sessions": trouble.seen.len()});
    push(plan, Collection::DatadogErrorTrackingIssues, &value);
}

fn metrics(plan: &mut Plan) {
    let created = seconds_z(plan.start() - 100 * DAY);
    for (name, kind) in [
        ("checkout.errors", "count"),
        ("queue.depth", "gauge"),
        ("system.disk.free", "gauge"),
        ("trace.http.request", "distribution"),
    ] {
        let value = json!({"id": name, "type": "manage_tags", "attributes": {
            "metric_type": kind, "tags": ["env", "service"], "include_percentiles": kind == "distribution",
            "created_at": created, "modified_at": created}});
        push(plan, Collection::DatadogMetrics, &value);
    }
}
