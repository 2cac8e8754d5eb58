//! PagerDuty's form of a history: services, users, shifts, and an incident for what Datadog's monitors set off.

use serde_json::{Value, json};

use super::datadog::noticed;
use crate::dataset::Collection;
use crate::item::Item;
use crate::scenario::company::{PEOPLE, Person, person};
use crate::scenario::plan::Plan;
use crate::time::{DAY, MINUTE, Micros, seconds_z};

fn push(plan: &mut Plan, collection: Collection, value: &Value) {
    if let Some(item) = Item::from_value(value) {
        plan.dataset.push(collection, item);
    }
}

fn user(person: &Person) -> Value {
    json!({"id": format!("PU{}", person.id), "type": "user_reference", "summary": person.name})
}

fn service() -> Value {
    json!({"id": "PSSHOP1", "type": "service_reference", "summary": "shopfront"})
}

fn policy() -> Value {
    json!({"id": "PEPSHOP", "type": "escalation_policy_reference", "summary": "Shop"})
}

fn schedule() -> Value {
    json!({"id": "PSCSHOP", "type": "schedule_reference", "summary": "Shop primary"})
}

/// Writes everything PagerDuty has.
pub(crate) fn emit(plan: &mut Plan) {
    let created = seconds_z(plan.start() - 300 * DAY);
    for person in &PEOPLE {
        let value = json!({"id": format!("PU{}", person.id), "type": "user", "summary": person.name, "name": person.name,
            "email": format!("{}@acme.example", person.login), "role": "user", "job_title": null, "time_zone": "Europe/Berlin",
            "description": null, "invitation_sent": false, "teams": [], "contact_methods": [], "html_url": null});
        push(plan, Collection::PagerdutyUsers, &value);
    }
    let last = plan.incidents.iter().filter_map(noticed).map(|(from, _)| from + MINUTE).max();
    push(
        plan,
        Collection::PagerdutyServices,
        &json!({"id": "PSSHOP1", "type": "service", "summary": "shopfront",
        "name": "shopfront", "description": "The shop", "status": "active", "created_at": created,
        "last_incident_timestamp": last.map(seconds_z), "acknowledgement_timeout": 1800, "auto_resolve_timeout": null,
        "alert_creation": "create_alerts_and_incidents", "escalation_policy": policy(), "teams": [], "html_url": null}),
    );
    push(
        plan,
        Collection::PagerdutySchedules,
        &json!({"id": "PSCSHOP", "type": "schedule", "summary": "Shop primary",
        "name": "Shop primary", "description": "Weekdays and weekends", "time_zone": "Europe/Berlin",
        "users": [user(person(0)), user(person(1))], "escalation_policies": [policy()], "teams": [], "html_url": null}),
    );
    // Shifts of a day each, two people in turn, from the beginning to a week ahead.
    let first_day = plan.start() - plan.start().rem_euclid(DAY);
    for day in 0_i64..17 {
        let start = first_day + day * DAY;
        push(
            plan,
            Collection::PagerdutyOncalls,
            &json!({"user": user(person(usize::from(day % 2 == 1))),
            "schedule": schedule(), "escalation_policy": policy(), "escalation_level": 1,
            "start": seconds_z(start), "end": seconds_z(start + DAY)}),
        );
    }
    push(
        plan,
        Collection::PagerdutyOncalls,
        &json!({"user": user(person(2)), "schedule": null,
        "escalation_policy": policy(), "escalation_level": 2, "start": null, "end": null}),
    );
    let noticed: Vec<(Micros, Micros)> = plan.incidents.iter().filter_map(noticed).collect();
    for (index, (from, to)) in noticed.into_iter().enumerate() {
        incident(plan, index, from + MINUTE, to + 2 * MINUTE);
    }
}

fn incident(plan: &mut Plan, index: usize, at: Micros, resolved: Micros) {
    const TITLE: &str = "[Triggered] Checkout error rate";
    let id = format!("Q{:013}", 41 + index);
    let acknowledged = at + 5 * MINUTE;
    let this = json!({"id": id, "type": "incident_reference", "summary": format!("[#{}] {TITLE}", 41 + index)});
    push(
        plan,
        Collection::PagerdutyIncidents,
        &json!({"id": id, "type": "incident", "incident_number": 41 + index,
        "title": TITLE, "description": TITLE, "status": "resolved", "urgency": "high", "priority": null,
        "incident_key": "checkout-errors", "created_at": seconds_z(at), "updated_at": seconds_z(resolved),
        "resolved_at": seconds_z(resolved), "last_status_change_at": seconds_z(resolved),
        "last_status_change_by": service(), "service": service(), "escalation_policy": policy(), "teams": [],
        "assignments": [], "acknowledgements": [], "alert_counts": {"all": 1, "triggered": 0, "resolved": 1},
        "html_url": format!("https://acme-shop.pagerduty.com/incidents/{id}"),
        "_acknowledged_at": seconds_z(acknowledged)}),
    );
    push(
        plan,
        Collection::PagerdutyAlerts,
        &json!({"id": format!("{id}A"), "type": "alert", "summary": TITLE,
        "status": "resolved", "severity": "critical", "suppressed": false, "alert_key": "checkout-errors",
        "created_at": seconds_z(at), "resolved_at": seconds_z(resolved), "incident": this, "service": service(),
        "integration": {"id": "PIDATAD", "type": "integration_reference", "summary": "Datadog"},
        "body": {"type": "alert_body", "details": {"monitor_id": 7001}}, "html_url": null}),
    );
    for (kind, when, agent, summary) in [
        ("trigger_log_entry", at, service(), "Triggered through the Datadog integration"),
        ("notify_log_entry", at + 10_000_000, service(), "Notified the person on call"),
        ("acknowledge_log_entry", acknowledged, user(person(0)), "Acknowledged"),
        ("resolve_log_entry", resolved, service(), "Resolved through the Datadog integration"),
    ] {
        push(
            plan,
            Collection::PagerdutyLogEntries,
            &json!({"id": format!("R{}{index}", kind.get(..6).unwrap_or_default()),
            "type": kind, "summary": summary, "created_at": seconds_z(when), "agent": agent,
            "channel": {"type": "events_api_v2"}, "service": service(), "incident": this, "teams": [], "html_url": null}),
        );
    }
}
