//! The description of the API says what there is, and answers look as it says.

use reqwest::Method;
use serde_json::{Value, json};

use super::site::{Site, agent_loop, cost_spike};
use crate::openapi;

#[test]
fn every_route_has_its_line_in_the_description_and_every_line_its_route() {
    let (lines, routes) = openapi::differences().unwrap();
    assert_eq!(lines, Vec::<String>::new(), "lines of openapi/api.txt whose route is gone");
    assert_eq!(routes, Vec::<String>::new(), "routes without a line in openapi/api.txt");
}

#[test]
fn every_shape_that_is_named_is_described() {
    fn walk(value: &Value, document: &Value) {
        if let Some(name) = value["$ref"].as_str() {
            assert!(document.pointer(&name[1..]).is_some(), "{name} is described nowhere");
        }
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            Value::Object(fields) => fields.values().for_each(|item| walk(item, document)),
            _ => {}
        }
    }
    let document = openapi::value().unwrap();
    walk(document, document);
}

/// What in an answer is not as the schema says, by path.
fn check(schema: &Value, value: &Value, at: &str, document: &Value, problems: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return check(&document.pointer(&name[1..]).unwrap().clone(), value, at, document, problems);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let tried: Vec<Vec<String>> = any
            .iter()
            .map(|schema| {
                let mut problems = Vec::new();
                check(schema, value, at, document, &mut problems);
                problems
            })
            .collect();
        if tried.iter().all(|problems| !problems.is_empty()) {
            problems.extend(tried.into_iter().next().unwrap_or_default());
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        problems.push(format!("{at}: {value} is none of {words:?}"));
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    if !fits {
        problems.push(format!("{at}: {value} is no {}", schema["type"]));
        return;
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{at}[{index}]"), document, problems);
    }
    let Some(fields) = value.as_object().filter(|_| schema["type"] == "object") else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            problems.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, field) in fields {
        match schema["properties"].get(name) {
            Some(schema) => check(schema, field, &format!("{at}.{name}"), document, problems),
            None if schema["additionalProperties"] == json!(false) => {
                problems.push(format!("{at}.{name} is not described"))
            }
            None => check(&schema["additionalProperties"], field, &format!("{at}.{name}"), document, problems),
        }
    }
}

#[tokio::test]
async fn answers_look_as_the_description_says() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    site.drain().await;
    let approval = site.approval().await;
    let document: Value = site.client.get(site.url("/api/openapi.json")).send().await.unwrap().json().await.unwrap();
    let mut problems = Vec::new();
    let mut look = |path: &str, method: &str, answer: &Value| {
        let described = &document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(described.is_object(), "{method} {path} is not described");
        check(described, answer, &format!("{method} {path}"), &document, &mut problems);
    };
    for (path, at) in [
        ("/healthz", "/healthz".to_owned()),
        ("/api/v1/session", "/api/v1/session".to_owned()),
        ("/api/v1/incidents", "/api/v1/incidents?limit=5".to_owned()),
        ("/api/v1/incidents/{id}", format!("/api/v1/incidents/{}", incident.id)),
        ("/api/v1/anomalies", "/api/v1/anomalies".to_owned()),
        ("/api/v1/approvals", "/api/v1/approvals".to_owned()),
        ("/api/v1/approvals/stats", "/api/v1/approvals/stats".to_owned()),
        ("/api/v1/approvals/{id}", format!("/api/v1/approvals/{}", approval.id)),
        ("/api/v1/actions", "/api/v1/actions".to_owned()),
        ("/api/v1/jobs", "/api/v1/jobs".to_owned()),
        ("/api/v1/jobs/{name}/runs", "/api/v1/jobs/cost_spike/runs".to_owned()),
        ("/api/v1/sources", "/api/v1/sources".to_owned()),
        ("/api/v1/detectors", "/api/v1/detectors".to_owned()),
        ("/api/v1/quality/snapshots", "/api/v1/quality/snapshots".to_owned()),
        ("/api/v1/quality/drift", "/api/v1/quality/drift".to_owned()),
        ("/api/v1/quality/precision", "/api/v1/quality/precision".to_owned()),
        ("/api/v1/digest/history", "/api/v1/digest/history".to_owned()),
        ("/api/v1/queries", "/api/v1/queries".to_owned()),
        ("/api/v1/audit", "/api/v1/audit".to_owned()),
        ("/api/v1/audit/verify", "/api/v1/audit/verify".to_owned()),
        ("/api/v1/settings", "/api/v1/settings".to_owned()),
        ("/v1/agents", "/v1/agents".to_owned()),
    ] {
        look(path, "get", &site.get(&at).await);
    }
    let sql = json!({"sql": "SELECT id, opened_at FROM agent.incidents"});
    look("/api/v1/sql", "post", &site.post("read", "/api/v1/sql", &sql).await.1);
    let decided = site.post("operate", &format!("/api/v1/approvals/{}/approve", approval.id), &json!({})).await;
    look("/api/v1/approvals/{id}/approve", "post", &decided.1);
    assert_eq!(problems, Vec::<String>::new());
}

/// Compares answers with what is said of them; a route's answer is described under 200 whatever its status of success is.
async fn compared(site: &Site, answers: Vec<(&str, &str, Value)>) -> Vec<String> {
    let document: Value = site.client.get(site.url("/api/openapi.json")).send().await.unwrap().json().await.unwrap();
    let mut problems = Vec::new();
    for (method, path, answer) in answers {
        let described = &document["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(described.as_object().is_some_and(|schema| !schema.is_empty()), "{method} {path} is not described");
        assert!(!answer["error"].is_object(), "{method} {path}: {answer}");
        check(described, &answer, &format!("{method} {path}"), &document, &mut problems);
    }
    problems
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_runs_look_as_the_description_says() {
    let site = super::runs::site().await;
    let post = async |key: &str, path: &str, body: Value| site.post(key, path, &body).await.1;
    let mut answers = Vec::new();
    answers.push(("get", "/v1/signals/{id}/fix-status", site.get("/v1/signals/1/fix-status").await));
    answers.push(("post", "/v1/signals/{id}/explain", post("read", "/v1/signals/1/explain", json!({})).await));
    let copy = post("operate", "/v1/signals/1/record-copy", json!({"fix_content": "Stop."})).await;
    answers.push(("post", "/v1/signals/{id}/record-copy", copy));
    answers.push(("get", "/v1/signals/{id}/fix-status", site.get("/v1/signals/1/fix-status").await));
    let verdict = post("operate", "/v1/signals/1/feedback", json!({"correct": true})).await;
    answers.push(("post", "/v1/signals/{id}/feedback", verdict));
    for part in ["runs", "signals", "insights", "issues"] {
        let path: &str = match part {
            "runs" => "/v1/agents/{id}/runs",
            "signals" => "/v1/agents/{id}/signals",
            "insights" => "/v1/agents/{id}/insights",
            _ => "/v1/agents/{id}/issues",
        };
        answers.push(("get", path, site.get(&format!("/v1/agents/agent/{part}")).await));
    }
    answers.push(("get", "/v1/runs/{id}", site.get("/v1/runs/r0").await));
    answers.push(("get", "/v1/runs/{id}/events", site.get("/v1/runs/r0/events").await));
    let event = |kind: &str, step: i64| json!({"event_type": kind, "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": step});
    let batch =
        json!({"agent_id": "a", "events": [event("run.started", 0), event("nonsense", -1), event("run.completed", 1)]});
    answers.push(("post", "/v1/ingest", post("ingest", "/v1/ingest", batch).await));
    let deploy = json!({"agent_id": "a", "version": "1"});
    answers.push(("post", "/v1/deploy", post("ingest", "/v1/deploy", deploy).await));
    answers.push(("get", "/v1/policies", site.get("/v1/policies?agent_id=a").await));
    answers.push(("get", "/v1/detector-config", site.get("/v1/detector-config?agent_id=a").await));
    answers.push(("post", "/v1/traces", post("ingest", "/v1/traces", json!({"resourceSpans": []})).await));
    answers.push(("post", "/v1/logs", post("ingest", "/v1/logs", json!({"resourceLogs": []})).await));
    assert_eq!(compared(&site, answers).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_sessions_look_as_the_description_says() {
    use super::sessions::{acceptance, batch, begin};
    let site = Site::new().await;
    let begun = json!({"user_id": "ann", "workspace_id": "shop"});
    let mut answers = vec![("post", "/v1/sessions/start", site.post("ingest", "/v1/sessions/start", &begun).await.1)];
    let id = begin(&site, "k").await;
    answers.push(("post", "/v1/events/batch", batch(&site, &id, &acceptance(&site)).await.1));
    let end = json!({"session_id": id});
    answers.push(("post", "/v1/sessions/end", site.post("ingest", "/v1/sessions/end", &end).await.1));
    for mode in ["deep", "light"] {
        let path = format!("/api/v1/sessions/{id}/analyze?mode={mode}");
        answers.push(("post", "/api/v1/sessions/{id}/analyze", site.post("ingest", &path, &json!({})).await.1));
    }
    for path in [
        "/v1/sessions/{id}",
        "/v1/sessions/{id}/events",
        "/v1/sessions/{id}/errors",
        "/v1/sessions/{id}/correlations",
        "/v1/sessions/{id}/agent-performance",
        "/v1/sessions/{id}/summary",
        "/v1/insights/recent",
    ] {
        answers.push(("get", path, site.get(&path.replace("{id}", &id)).await));
    }
    let empty: Vec<&str> =
        answers.iter().filter(|(_, _, answer)| answer["items"] == json!([])).map(|(_, path, _)| *path).collect();
    assert_eq!(empty, Vec::<&str>::new(), "a list without items says nothing of its shape");
    assert_eq!(compared(&site, answers).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_about_loops_keys_and_thresholds_look_as_the_description_says() {
    let site = Site::new().await;
    site.open(agent_loop(25)).await;
    let incident = site.open(cost_spike()).await;
    site.drain().await;
    let mut answers = Vec::new();
    for path in ["/api/v1/loops/active", "/api/v1/loops/history"] {
        let answer = site.get(path).await;
        assert_eq!(answer["items"].as_array().unwrap().len(), 1, "{answer}");
        answers.push(("get", path, answer));
    }
    let key = json!({"name": "x", "scopes": ["read", "ingest"], "expires_in_days": 3});
    let made = site.post("admin", "/api/v1/keys", &key).await.1;
    let revoke = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    answers.push(("post", "/api/v1/keys", made));
    let revoked = site.request("admin", Method::DELETE, &revoke).send().await.unwrap();
    answers.push(("delete", "/api/v1/keys/{id}", revoked.json().await.unwrap()));
    let listed = site.request("admin", Method::GET, "/api/v1/keys").send().await.unwrap();
    answers.push(("get", "/api/v1/keys", listed.json().await.unwrap()));
    let test = site.post("operate", "/api/v1/sources/langfuse/test", &json!({})).await.1;
    answers.push(("post", "/api/v1/sources/{name}/test", test));
    answers.push((
        "post",
        "/api/v1/settings/preview",
        site.post("read", "/api/v1/settings/preview", &json!({})).await.1,
    ));
    let verdict = json!({"correct": false, "comment": "a deploy"});
    let path = format!("/api/v1/incidents/{}/feedback", incident.id);
    answers.push(("post", "/api/v1/incidents/{id}/feedback", site.post("operate", &path, &verdict).await.1));
    let patch = site.request("admin", Method::PATCH, "/api/v1/settings").json(&json!({"cost_spike_multiplier": 3}));
    answers.push(("patch", "/api/v1/settings", patch.send().await.unwrap().json().await.unwrap()));
    assert_eq!(compared(&site, answers).await, Vec::<String>::new());
}

/// Routes whose answers have no shape, each for a reason.
const SHAPELESS: [&str; 2] = [
    // The document itself: its shape is OpenAPI's.
    "/api/openapi.json",
    // What Slack is answered is Slack's format, and differs by kind of click.
    "/api/slack/actions",
];

#[test]
fn every_answer_in_json_has_a_shape() {
    let document = openapi::value().unwrap();
    let mut without = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let schema = &described["responses"]["200"]["content"]["application/json"]["schema"];
            if schema.as_object().is_some_and(serde_json::Map::is_empty) && !SHAPELESS.contains(&path.as_str()) {
                without.push(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(without, Vec::<String>::new());
}

#[tokio::test]
async fn the_description_can_be_read_by_people_too() {
    let site = Site::new().await;
    let page = site.client.get(site.url("/api/docs")).send().await.unwrap().text().await.unwrap();
    for part in ["GET /api/v1/incidents/{id}", "<h3 id=\"Approval\">", "expires_in_seconds", "read or ingest"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script"));
}

#[test]
fn the_types_of_the_page_are_made_of_this_description() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/ui/openapi.json");
    if std::env::var_os("TRIPLINE_UPDATE_OPENAPI").is_some() {
        let text = serde_json::to_string_pretty(openapi::value().unwrap()).unwrap();
        std::fs::write(file, text + "\n").unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert!(&kept == openapi::value().unwrap(), "web/ui/openapi.json is not what the server says: run `make ui-types`");
}

#[tokio::test]
async fn a_browser_signs_in_with_a_key_or_once_with_a_link_and_out_again() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let sign_in = async |secret: &str| {
        site.client.post(site.url("/api/v1/session")).json(&json!({"secret": secret})).send().await.unwrap()
    };
    assert_eq!(sign_in("tl_nobody").await.status(), 401);
    let answer = sign_in(&site.keys["operate"]).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["tripline_session=tls_", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(&site.keys["operate"]), "the key itself is in no cookie");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let with =
        |method: Method, path: &str| site.client.request(method, site.url(path)).header("cookie", cookie.clone());
    let session: Value = with(Method::GET, "/api/v1/session").send().await.unwrap().json().await.unwrap();
    assert_eq!(session["approver"], json!(true));

    let approve = format!("/api/v1/approvals/{}/approve", site.approval().await.id);
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("origin", "null")] {
        let forged = with(Method::POST, &approve).header(name, value).json(&json!({})).send().await.unwrap();
        assert_eq!(forged.status(), 403, "{name}: {value}");
    }
    let form = with(Method::POST, &approve).header("content-type", "text/plain").body("{}").send().await.unwrap();
    assert_eq!(form.status(), 403);
    assert_eq!(site.approval().await.status, tripline_store::ApprovalStatus::Pending);
    assert_eq!(with(Method::POST, &approve).json(&json!({})).send().await.unwrap().status(), 200);

    assert_eq!(with(Method::DELETE, "/api/v1/session").header("x-tripline", "1").send().await.unwrap().status(), 204);
    assert_eq!(with(Method::GET, "/api/v1/session").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn every_page_has_an_address_and_the_document_is_never_kept() {
    let site = Site::new().await;
    for path in ["/", "/incidents/0199aaaa", "/workbench", "/sign-in"] {
        let answer = site.client.get(site.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/html"));
        let text = answer.text().await.unwrap();
        if !crate::page::is_built() {
            assert!(text.contains("make ui"), "a server without its pages says how to get them");
        }
    }
    assert_eq!(site.client.get(site.url("/assets/nothing.js")).send().await.unwrap().status(), 404);
}
