//! The simulator's own endpoints: logs, clock, faults, scripts, the truth, and a finger to click with.
//!
//! Owns: `/_requests`, `/_writes`, `/_reset`, `/_clock`, `/_fault`, `/_llm`, `/_truth`, `/_click`.
//! Must hold: a request that cannot be understood changes nothing and is told why.

use serde_json::{Value, json};

use crate::click;
use crate::faults::{Fault, FaultError, FaultSpec, parse_source};
use crate::http::{Call, Reply};
use crate::server::Shared;
use crate::time;

/// Answers a request to the simulator itself.
pub(crate) async fn answer(shared: &Shared, call: &Call) -> Reply {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let body = || call.json().unwrap_or_default();
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["_requests"]) => Reply::value(200, &shared.log.requests()),
        ("GET", ["_writes"]) => Reply::value(200, &shared.log.writes()),
        ("POST", ["_reset"]) => {
            shared.log.reset();
            Reply::value(200, &json!({"ok": true}))
        }
        ("GET", ["_clock"]) => clock(shared),
        ("POST", ["_clock"]) => set_clock(shared, &body()),
        ("POST", ["_fault"]) => match set_fault(shared, &body()) {
            Ok(()) => Reply::value(200, &json!({"ok": true})),
            Err(error) => refused(&error.to_string()),
        },
        ("POST", ["_llm"]) => script(shared, &body()),
        ("GET", ["_truth"]) => Reply::value(200, &json!(shared.truth)),
        ("POST", ["_click"]) => click::click(shared, call).await,
        ("GET", [] | ["_health"]) => Reply::value(200, &json!({"ok": true, "sources": sources(call)})),
        _ => Reply::value(
            404,
            &json!({"error": format!("no such endpoint: {} {}", call.method, call.path),
                    "hint": "vendors are under /langfuse, /sentry, /github, /slack, /datadog, /pagerduty, /linear, /llm"}),
        ),
    }
}

fn sources(call: &Call) -> Value {
    crate::Source::ALL
        .iter()
        .map(|source| (source.name().to_owned(), json!(format!("{}/{source}", call.origin))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn refused(why: &str) -> Reply {
    Reply::value(400, &json!({ "error": why }))
}

fn clock(shared: &Shared) -> Reply {
    let fixed = shared.clock.horizon();
    Reply::value(200, &json!({"now": time::micros_z(shared.clock.now()), "fixed": fixed.is_some()}))
}

fn set_clock(shared: &Shared, body: &Value) -> Reply {
    match body.get("now") {
        Some(Value::Null) => shared.clock.set(None),
        Some(Value::String(text)) => match time::parse(text) {
            Some(now) => shared.clock.set(Some(now)),
            None => return refused(&format!("{text:?} is no ISO 8601 time")),
        },
        _ => return refused(r#"expected {"now": "<ISO 8601 time>"} or {"now": null}"#),
    }
    clock(shared)
}

fn set_fault(shared: &Shared, body: &Value) -> Result<(), FaultError> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let source = parse_source(text("source").unwrap_or_default())?;
    let path = text("path").unwrap_or_default().to_owned();
    let fault = text("fault").ok_or_else(|| FaultError::new("no fault given"))?;
    if fault == "none" {
        shared.faults.clear(source, &path);
        return Ok(());
    }
    let times = match body.get("times") {
        None | Some(Value::Null) => None,
        Some(value) => Some(
            value
                .as_u64()
                .and_then(|times| u32::try_from(times).ok())
                .filter(|times| *times > 0)
                .ok_or_else(|| FaultError::new(format!("times {value} is no positive count")))?,
        ),
    };
    shared.faults.add(FaultSpec { source, path, fault: fault.parse::<Fault>()?, times });
    Ok(())
}

fn script(shared: &Shared, body: &Value) -> Reply {
    if let Some(name) = body.get("behaviour") {
        let Some(behaviour) = name.as_str().and_then(crate::Behaviour::parse) else {
            let known: Vec<&str> = crate::Behaviour::ALL.iter().map(|one| one.name()).collect();
            return refused(&format!("there is no behaviour {name}; there are {}", known.join(", ")));
        };
        let repairs = body.get("repairs").and_then(Value::as_bool).unwrap_or(true);
        shared.llm.behave(Some((behaviour, repairs)));
        return Reply::value(200, &json!({"ok": true}));
    }
    let content = match body.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) => {
            shared.llm.clear();
            return Reply::value(200, &json!({"ok": true}));
        }
        Some(other) => other.to_string(),
        None => {
            return refused(r#"expected {"content": …, "times": N}; "content": null clears the script"#);
        }
    };
    let times = match body.get("times") {
        None | Some(Value::Null) => None,
        Some(value) => match value.as_u64().and_then(|times| u32::try_from(times).ok()).filter(|t| *t > 0) {
            Some(times) => Some(times),
            None => return refused("times must be a positive count"),
        },
    };
    shared.llm.script(content, times);
    Reply::value(200, &json!({"ok": true}))
}
