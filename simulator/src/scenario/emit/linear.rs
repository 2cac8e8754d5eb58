//! Linear's form of a history: teams and people, ordinary issues of the week, and what was left to do after incidents.

use serde_json::{Value, json};

use crate::dataset::Collection;
use crate::item::Item;
use crate::scenario::FailureClass;
use crate::scenario::company::{PEOPLE, Person, person};
use crate::scenario::plan::Plan;
use crate::time::{DAY, HOUR, MINUTE, Micros, millis_z};

fn push(plan: &mut Plan, collection: Collection, value: &Value) {
    if let Some(item) = Item::from_value(value) {
        plan.dataset.push(collection, item);
    }
}

fn user(person: &Person) -> Value {
    json!({"id": format!("user-{}", person.id), "name": person.name, "displayName": person.login,
           "email": format!("{}@acme.example", person.login)})
}

fn team() -> Value {
    json!({"id": "team-shop", "key": "SHOP", "name": "Shop"})
}

/// Writes everything Linear has.
pub(crate) fn emit(plan: &mut Plan) {
    let created = millis_z(plan.start() - 300 * DAY);
    let times = json!({"createdAt": created, "updatedAt": created, "archivedAt": null});
    let with_times = |mut value: Value| {
        if let (Some(value), Some(times)) = (value.as_object_mut(), times.as_object()) {
            value.extend(times.clone());
        }
        value
    };
    for person in &PEOPLE {
        let mut value = with_times(user(person));
        if let Some(value) = value.as_object_mut() {
            value.extend([
                ("active".to_owned(), json!(true)),
                ("admin".to_owned(), json!(person.id == 1101)),
                ("guest".to_owned(), json!(false)),
                ("title".to_owned(), Value::Null),
                ("lastSeen".to_owned(), Value::Null),
                ("timezone".to_owned(), json!("Europe/Berlin")),
                ("url".to_owned(), json!(format!("https://linear.app/acme-shop/profiles/{}", person.login))),
            ]);
        }
        push(plan, Collection::LinearUsers, &value);
    }
    let shop = with_times(json!({"id": "team-shop", "key": "SHOP", "name": "Shop", "displayName": "Shop",
        "description": null, "timezone": "Europe/Berlin", "cyclesEnabled": true, "cycleDuration": 2, "issueCount": 20, "parent": null}));
    push(plan, Collection::LinearTeams, &shop);
    let project = with_times(json!({"id": "project-checkout", "name": "Faster checkout", "description": "Fewer steps",
        "slugId": "faster-checkout", "startedAt": created, "completedAt": null, "canceledAt": null, "startDate": null,
        "targetDate": null, "status": {"id": "ps", "name": "In Progress", "type": "started"}, "health": "onTrack",
        "progress": 0.4, "scope": 20, "priority": 2, "lead": user(person(0)), "creator": user(person(0)),
        "teams": {"nodes": [team()]}, "url": "https://linear.app/acme-shop/project/faster-checkout"}));
    push(plan, Collection::LinearProjects, &project);
    let (start, anchor) = (plan.start(), plan.anchor);
    let cycle = with_times(json!({"id": "cycle-9", "number": 9, "name": null, "description": null,
        "startsAt": millis_z(start - DAY), "endsAt": millis_z(anchor + 3 * DAY), "completedAt": null, "progress": 0.5,
        "isActive": true, "isPast": false, "isFuture": false, "team": team()}));
    push(plan, Collection::LinearCycles, &cycle);

    let ordinary = [
        "Gift cards in the basket",
        "Sizes in the product list",
        "Slow search for umlauts",
        "Tidy up the colour palette",
    ];
    let mut number = 100;
    for (day, title) in ordinary.iter().cycle().take(8).enumerate() {
        let at = start + i64::try_from(day).unwrap_or_default() * DAY + 9 * HOUR;
        issue(plan, number, title, at, Some(at + 30 * HOUR).filter(|done| *done < anchor), person(day), None);
        number += 1;
    }
    for incident in plan.incidents.clone() {
        let title = match incident.class {
            FailureClass::CostSpike => "Alert on cost per feature before the invoice does",
            FailureClass::ErrorCascade => "Give the checkout retry a limit and a pause",
            FailureClass::PromptDrift => "Test the keys of support answers",
            FailureClass::AgentLoop => "Stop agents that repeat themselves",
            FailureClass::SilentToolFailure => "Notice tools that return nothing",
        };
        // People write down what to do once it is over.
        let at = incident.ends_at.timestamp_micros() + 10 * MINUTE;
        if at <= anchor {
            issue(plan, number, title, at, None, person(number), Some(&incident.entity));
            number += 1;
        }
    }
}

fn issue(
    plan: &mut Plan,
    number: usize,
    title: &str,
    at: Micros,
    done: Option<Micros>,
    who: &Person,
    about: Option<&str>,
) {
    let state = match done {
        Some(_) => json!({"id": "state-done", "name": "Done", "type": "completed"}),
        None => json!({"id": "state-started", "name": "In Progress", "type": "started"}),
    };
    let id = format!("issue-{number}");
    let labels = if about.is_some() { json!([{"id": "label-incident", "name": "incident"}]) } else { json!([]) };
    let description = about.map_or_else(String::new, |entity| format!("Follow-up of today's trouble with `{entity}`."));
    push(
        plan,
        Collection::LinearIssues,
        &json!({"id": id, "identifier": format!("SHOP-{number}"), "number": number,
        "title": title, "description": description, "priority": if about.is_some() { 2 } else { 3 },
        "priorityLabel": if about.is_some() { "High" } else { "Medium" }, "estimate": 2, "createdAt": millis_z(at),
        "updatedAt": millis_z(done.unwrap_or(at)), "archivedAt": null, "startedAt": millis_z(at),
        "completedAt": done.map(millis_z), "canceledAt": null, "dueDate": null, "state": state, "team": team(),
        "assignee": user(who), "creator": user(person(0)), "project": {"id": "project-checkout", "name": "Faster checkout"},
        "cycle": {"id": "cycle-9", "number": 9}, "parent": null, "labels": {"nodes": labels},
        "branchName": format!("shop-{number}"), "url": format!("https://linear.app/acme-shop/issue/SHOP-{number}")}),
    );
    if number.is_multiple_of(2) {
        let at = at + 2 * HOUR;
        push(
            plan,
            Collection::LinearComments,
            &json!({"id": format!("comment-{number}"), "body": "I'll take this one.",
            "createdAt": millis_z(at), "updatedAt": millis_z(at), "archivedAt": null, "editedAt": null, "resolvedAt": null,
            "issue": {"id": id, "identifier": format!("SHOP-{number}")}, "parentId": null, "user": user(who),
            "url": format!("https://linear.app/acme-shop/issue/SHOP-{number}#comment-{number}")}),
        );
    }
}
