//! The answers against the vendors' published descriptions, where those files are at hand.
//!
//! Where recorded reality is known to depart from a description, the departure is written down here
//! (`relax`), with the reason.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::support::Sim;
use crate::{Content, LangfuseGeneration, Scenario, SimulatorOptions};

const LANGFUSE: &str = "langfuse/langfuse-4.16.0.openapi.json";
const SENTRY: &str = "sentry/sentry.openapi.json";
const GITHUB: &str = "github/github-rest.openapi.json";
const SLACK: &str = "slack/slack-web-2021.openapi2.json";

/// The folder of descriptions: named by `TRIPLINE_SHARED`, else found beside the workspace or above.
fn descriptions() -> Option<PathBuf> {
    let named = std::env::var_os("TRIPLINE_SHARED").map(PathBuf::from);
    let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared")).collect::<Vec<_>>();
    named.into_iter().chain(above).map(|dir| dir.join("vendors")).find(|dir| dir.is_dir())
}

#[allow(clippy::print_stderr, reason = "a skipped check must be seen")]
fn skipped() {
    eprintln!(
        "SKIPPED: the vendors' descriptions are not at hand; set TRIPLINE_SHARED to the folder that holds vendors/"
    );
}

/// Turns OpenAPI 3.0 and Swagger 2 schemas into JSON Schema.
fn convert(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(convert).collect(),
        Value::Object(fields) => convert_object(fields),
        other => other.clone(),
    }
}

fn convert_object(fields: &Map<String, Value>) -> Value {
    let mut out: Map<String, Value> = fields
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "nullable" | "example" | "discriminator"))
        .map(|(key, value)| (key.clone(), convert(value)))
        .collect();
    // The Slack file writes alternatives as `items: [A, B]` outside of arrays.
    let is_array = fields.get("type").is_some_and(|kind| kind == "array");
    if let (false, Some(Value::Array(alternatives))) = (is_array, out.get("items").cloned()) {
        out.remove("items");
        out.insert("anyOf".to_owned(), Value::Array(alternatives));
    }
    if fields.get("nullable") == Some(&Value::Bool(true)) {
        return json!({"anyOf": [out, {"type": "null"}]});
    }
    Value::Object(out)
}

/// Where reality departs from the descriptions.
fn relax(value: &mut Value, file: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| relax(item, file)),
        Value::Object(fields) => {
            if file == SLACK {
                // The file is of 2021 and archived: Slack has added fields ever since.
                if fields.get("additionalProperties") == Some(&Value::Bool(false)) {
                    fields.remove("additionalProperties");
                }
                // A channel may be empty.
                fields.remove("minItems");
                // Blocks are a list everywhere; chat.update alone is described with an object.
                if let Some(blocks) = fields.get_mut("blocks")
                    && blocks == &json!({"type": "object"})
                {
                    *blocks = json!({});
                }
            }
            if file == SENTRY
                && let Some(Value::Array(required)) = fields.get_mut("required")
            {
                // The description requires what only comes with `expand=…`, or what `collapse=…` and
                // an empty `groupStatsPeriod` leave out: recorded answers do without.
                const ON_REQUEST: [&str; 12] = [
                    "derivedData",
                    "filtered",
                    "inbox",
                    "integrationIssues",
                    "latestEventHasAttachments",
                    "lifetime",
                    "matchingEventEnvironment",
                    "matchingEventId",
                    "owners",
                    "sentryAppIssues",
                    "sessionCount",
                    "stats",
                ];
                required.retain(|name| !ON_REQUEST.iter().any(|one| name == one));
            }
            for inner in fields.values_mut() {
                relax(inner, file);
            }
        }
        _ => {}
    }
}

/// A vendor's description, ready to validate with.
struct Description {
    file: &'static str,
    root: Value,
}

impl Description {
    fn load(dir: &Path, file: &'static str) -> Self {
        let text = std::fs::read_to_string(dir.join(file)).unwrap();
        let original: Value = serde_json::from_str(&text).unwrap();
        let mut root = json!({
            "paths": original["paths"],
            "components": convert(original.get("components").unwrap_or(&json!({}))),
            "definitions": convert(original.get("definitions").unwrap_or(&json!({}))),
        });
        relax(&mut root["components"], file);
        relax(&mut root["definitions"], file);
        Self { file, root }
    }

    /// The validator of a successful answer.
    fn validator(&self, path: &str, method: &str, status: &str) -> Validator {
        let response = &self.root["paths"][path][method]["responses"][status];
        let response = match response["$ref"].as_str() {
            Some(reference) => self.root.pointer(reference.trim_start_matches('#')).unwrap(),
            None => response,
        };
        let content = response["content"].as_object();
        let schema = content.map_or(&response["schema"], |kinds| &kinds.values().next().unwrap()["schema"]);
        assert!(schema.is_object(), "{} has no schema for {method} {path} {status}", self.file);
        let mut schema = convert(schema);
        relax(&mut schema, self.file);
        let whole =
            json!({"allOf": [schema], "components": self.root["components"], "definitions": self.root["definitions"]});
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft7)
            .should_validate_formats(false)
            .build(&whole)
            .unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn check(&self, path: &str, method: &str, status: &str, answer: &Value) {
        let validator = self.validator(path, method, status);
        let errors: Vec<String> = validator
            .iter_errors(answer)
            .take(5)
            .map(|error| {
                let instance: String = error.to_string().chars().take(300).collect();
                format!("at {}: {instance}", error.instance_path())
            })
            .collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:#?}");
    }
}

#[test]
fn the_check_itself_refuses_a_wrong_answer() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    for (file, path, wrong) in [
        (LANGFUSE, "/api/public/v2/observations", json!({"data": [{"id": 7}], "meta": {}})),
        (LANGFUSE, "/api/public/projects", json!({"data": [{"id": null}]})),
        (GITHUB, "/repos/{owner}/{repo}/commits", json!([{"sha": "x"}])),
        (SLACK, "/conversations.list", json!({"ok": true, "channels": [{"id": "nonsense"}]})),
        (SLACK, "/conversations.history", json!({"ok": true, "messages": [{"ts": "soon"}]})),
    ] {
        let validator = Description::load(&dir, file).validator(path, "get", "200");
        assert!(!validator.is_valid(&wrong), "{path}");
    }
}

async fn served(langfuse: LangfuseGeneration) -> Sim {
    Sim::start(SimulatorOptions {
        content: Content::Scenarios(Scenario::ALL.to_vec()),
        langfuse,
        ..SimulatorOptions::default()
    })
    .await
}

#[tokio::test]
async fn langfuse_answers_as_described() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    let description = Description::load(&dir, LANGFUSE);
    let v4 = served(LangfuseGeneration::V4).await;
    let v3 = served(LangfuseGeneration::V3).await;
    let all = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context";
    let base = "/langfuse";
    for (sim, spec, path) in [
        (&v4, "/api/public/health", "/api/public/health".to_owned()),
        (&v4, "/api/public/projects", "/api/public/projects".to_owned()),
        (&v4, "/api/public/v2/observations", format!("/api/public/v2/observations?limit=200&fields={all}")),
        (&v4, "/api/public/v2/observations", "/api/public/v2/observations".to_owned()),
        (&v4, "/api/public/v3/scores", "/api/public/v3/scores?limit=100&fields=details,subject,annotation".to_owned()),
        (&v4, "/api/public/v2/prompts", "/api/public/v2/prompts".to_owned()),
        (&v4, "/api/public/v2/prompts/{promptName}", "/api/public/v2/prompts/support-reply".to_owned()),
        (&v3, "/api/public/traces", "/api/public/traces?limit=100".to_owned()),
        (&v3, "/api/public/observations", "/api/public/observations?limit=100".to_owned()),
        (&v3, "/api/public/observations", "/api/public/observations?limit=100&type=SPAN".to_owned()),
        (&v3, "/api/public/v2/scores", "/api/public/v2/scores?limit=100".to_owned()),
        (&v3, "/api/public/sessions", "/api/public/sessions?limit=100".to_owned()),
    ] {
        description.check(spec, "get", "200", &sim.read(&format!("{base}{path}")).await);
    }
    let traces = v3.read("/langfuse/api/public/traces?limit=1").await;
    let id = traces["data"][0]["id"].as_str().unwrap();
    let trace = v3.read(&format!("/langfuse/api/public/traces/{id}")).await;
    description.check("/api/public/traces/{traceId}", "get", "200", &trace);
    let session = trace["sessionId"].as_str().unwrap();
    let whole = v3.read(&format!("/langfuse/api/public/sessions/{session}")).await;
    description.check("/api/public/sessions/{sessionId}", "get", "200", &whole);
    let observation = v3.read("/langfuse/api/public/observations?limit=1").await["data"][0]["id"].clone();
    let one = v3.read(&format!("/langfuse/api/public/observations/{}", observation.as_str().unwrap())).await;
    description.check("/api/public/observations/{observationId}", "get", "200", &one);

    // While things are still going on, and for what was written.
    v4.set_clock("2026-11-20T17:10:02Z").await;
    v3.set_clock("2026-11-20T17:10:02Z").await;
    let now = v4.read(&format!("{base}/api/public/v2/observations?limit=50&fields={all}")).await;
    description.check("/api/public/v2/observations", "get", "200", &now);
    for path in ["/api/public/observations", "/api/public/traces"] {
        description.check(path, "get", "200", &v3.read(&format!("{base}{path}")).await);
    }
    let written = v3.post("/langfuse/api/public/scores", &json!({"traceId": id, "name": "n", "value": 1})).await;
    description.check("/api/public/scores", "post", "200", &written.json());
    let generation = json!({"batch": [{"id": "e", "type": "generation-create", "timestamp": "2026-11-20T17:00:00Z",
        "body": {"id": "new", "name": "n", "model": "gpt-4o", "usage": {"input": 1, "output": 2}}}]});
    v3.post("/langfuse/api/public/ingestion", &generation).await;
    let new = v3.read("/langfuse/api/public/observations/new").await;
    description.check("/api/public/observations/{observationId}", "get", "200", &new);
    let prompt = json!({"name": "p", "prompt": "text"});
    let created = v4.post("/langfuse/api/public/v2/prompts", &prompt).await;
    // Described with 200, answered with 201.
    assert_eq!(created.status, 201);
    description.check("/api/public/v2/prompts", "post", "200", &created.json());
}

#[tokio::test]
async fn sentry_answers_as_described() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    let description = Description::load(&dir, SENTRY);
    let sim = served(LangfuseGeneration::V4).await;
    let org = "/api/0/organizations/{organization_id_or_slug}";
    let base = "/sentry/api/0/organizations/acme-shop";
    for now in [None, Some("2026-11-20T17:00:00Z")] {
        if let Some(now) = now {
            sim.set_clock(now).await;
        }
        let issues = sim.read(&format!("{base}/issues/?query=")).await;
        description.check(&format!("{org}/issues/"), "get", "200", &issues);
        let id = issues[0]["id"].as_str().unwrap();
        let events = sim.read(&format!("{base}/issues/{id}/events/")).await;
        description.check(&format!("{org}/issues/{{issue_id}}/events/"), "get", "200", &events);
        description.check(&format!("{org}/projects/"), "get", "200", &sim.read(&format!("{base}/projects/")).await);
        let releases = sim.read(&format!("{base}/releases/")).await;
        description.check(&format!("{org}/releases/"), "get", "200", &releases);
        let version = releases[0]["version"].as_str().unwrap().replace('@', "%40");
        let deploys = sim.read(&format!("{base}/releases/{version}/deploys/")).await;
        description.check(&format!("{org}/releases/{{version}}/deploys/"), "get", "200", &deploys);
        let project = "/api/0/projects/{organization_id_or_slug}/{project_id_or_slug}";
        let of_project = sim.read("/sentry/api/0/projects/acme-shop/shopfront-api/issues/?query=").await;
        description.check(&format!("{project}/issues/"), "get", "200", &of_project);
        let events = sim.read("/sentry/api/0/projects/acme-shop/shopfront-api/events/").await;
        description.check(&format!("{project}/events/"), "get", "200", &events);
    }
    let keys = sim.read("/sentry/api/0/projects/acme-shop/shopfront-api/keys/").await;
    let event = json!({"message": "seeded", "timestamp": "2026-11-20T16:00:00Z"});
    let store = format!("/sentry/api/4507001/store/?sentry_key={}", keys[0]["public"].as_str().unwrap());
    assert_eq!(sim.post(&store, &event).await.status, 200);
    let issues = sim.read(&format!("{base}/issues/?query=seeded")).await;
    description.check(&format!("{org}/issues/"), "get", "200", &issues);
}

#[tokio::test]
async fn github_answers_as_described() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    let description = Description::load(&dir, GITHUB);
    let sim = served(LangfuseGeneration::V4).await;
    let spec = "/repos/{owner}/{repo}";
    let base = "/github/repos/acme-shop/shopfront";
    let sha = sim.handle.truth().unwrap().incidents[0].culprit_sha.clone().unwrap();
    for now in [None, Some("2026-11-20T13:05:00Z")] {
        if let Some(now) = now {
            sim.set_clock(now).await;
        }
        let pulls = sim.read(&format!("{base}/pulls?state=all")).await;
        let number = pulls[0]["number"].to_string();
        let deployments = sim.read(&format!("{base}/deployments")).await;
        let deployment = deployments[0]["id"].to_string();
        for (path, read) in [
            ("", String::new()),
            ("/commits", "/commits".to_owned()),
            ("/commits/{ref}", format!("/commits/{sha}")),
            ("/commits/{commit_sha}/pulls", format!("/commits/{sha}/pulls")),
            ("/pulls", "/pulls?state=all".to_owned()),
            ("/pulls/{pull_number}", format!("/pulls/{number}")),
            ("/pulls/{pull_number}/files", format!("/pulls/{number}/files")),
            ("/issues", "/issues?state=all&per_page=100".to_owned()),
            ("/issues/{issue_number}", format!("/issues/{number}")),
            ("/releases", "/releases".to_owned()),
            ("/deployments", "/deployments".to_owned()),
            ("/deployments/{deployment_id}/statuses", format!("/deployments/{deployment}/statuses")),
            ("/actions/runs", "/actions/runs".to_owned()),
        ] {
            let answer = sim.read(&format!("{base}{read}")).await;
            description.check(&format!("{spec}{path}"), "get", "200", &answer);
        }
    }
    let issue = sim
        .post(
            &format!("{base}/issues"),
            &json!({"title": "t", "body": "b", "labels": ["incident"], "assignees": ["x"]}),
        )
        .await
        .json();
    description.check(&format!("{spec}/issues"), "post", "201", &issue);
    let number = issue["number"].to_string();
    let comment = sim.post(&format!("{base}/issues/{number}/comments"), &json!({"body": "c"})).await.json();
    description.check(&format!("{spec}/issues/{{issue_number}}/comments"), "post", "201", &comment);
    let pull = sim.read(&format!("{base}/pulls?state=all")).await[0]["number"].to_string();
    let review =
        sim.post(&format!("{base}/pulls/{pull}/reviews"), &json!({"event": "COMMENT", "body": "c"})).await.json();
    description.check(&format!("{spec}/pulls/{{pull_number}}/reviews"), "post", "200", &review);
    let found = sim.read("/github/search/issues?q=repo:acme-shop/shopfront+is:issue").await;
    description.check("/search/issues", "get", "200", &found);
    description.check("/rate_limit", "get", "200", &sim.read("/github/rate_limit").await);
}

#[tokio::test]
async fn datadog_answers_as_described() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    let v1 = Description::load(&dir, "datadog/datadog-v1.openapi.json");
    let v2 = Description::load(&dir, "datadog/datadog-v2.openapi.json");
    let sim = served(LangfuseGeneration::V4).await;
    let window = "filter[from]=2026-11-11T00:00:00Z&filter[to]=2026-11-20T18:00:00Z&page[limit]=200";
    for (description, spec, path) in [
        (&v1, "/api/v1/validate", "/api/v1/validate".to_owned()),
        (&v1, "/api/v1/monitor", "/api/v1/monitor".to_owned()),
        (&v1, "/api/v1/monitor/{monitor_id}", "/api/v1/monitor/7001".to_owned()),
        (&v2, "/api/v2/events", format!("/api/v2/events?{window}")),
        (&v2, "/api/v2/logs/events", format!("/api/v2/logs/events?{window}")),
        (&v2, "/api/v2/incidents", "/api/v2/incidents".to_owned()),
        (&v2, "/api/v2/metrics", "/api/v2/metrics?page[size]=3".to_owned()),
    ] {
        let answer = sim.read(&format!("/datadog{path}")).await;
        let rows = answer.get("data").unwrap_or(&answer);
        assert!(!rows.as_array().is_some_and(Vec::is_empty), "{path} has rows");
        description.check(spec, "get", "200", &answer);
    }
    let search = json!({"data": {"type": "search_request", "attributes": {
        "query": "*", "from": 0, "to": 4_102_444_800_000_i64, "persona": "ALL"}}});
    let path = "/api/v2/error-tracking/issues/search";
    let found = sim.post(&format!("/datadog{path}?include=issue"), &search).await.json();
    assert_eq!(found["data"].as_array().unwrap().len(), found["included"].as_array().unwrap().len());
    v2.check(path, "post", "200", &found);
}

#[tokio::test]
async fn slack_answers_as_described() {
    let Some(dir) = descriptions() else {
        return skipped();
    };
    let description = Description::load(&dir, SLACK);
    let sim = served(LangfuseGeneration::V4).await;
    for path in [
        "/auth.test",
        "/conversations.list",
        "/conversations.info?channel=C0INCIDENT",
        "/conversations.history?channel=C0INCIDENT&limit=200",
        "/conversations.history?channel=C0ALERTS01&oldest=4000000000",
        "/users.list",
        "/users.info?user=U01MIRAOKA",
    ] {
        let method = path.split('?').next().unwrap();
        description.check(method, "get", "200", &sim.read(&format!("/slack/api{path}")).await);
    }
    let history = sim.read("/slack/api/conversations.history?channel=C0ENGINEER&limit=500").await;
    let threaded = history["messages"].as_array().unwrap().iter().find(|m| m.get("reply_count").is_some()).unwrap();
    let thread = sim
        .read(&format!("/slack/api/conversations.replies?channel=C0ENGINEER&ts={}", threaded["ts"].as_str().unwrap()))
        .await;
    description.check("/conversations.replies", "get", "200", &thread);
    let posted = sim.form("/slack/api/chat.postMessage", &[("channel", "C0INCIDENT"), ("text", "hello")]).await;
    description.check("/chat.postMessage", "post", "200", &posted);
    let fields = [("channel", "C0INCIDENT"), ("ts", posted["ts"].as_str().unwrap()), ("text", "bye")];
    description.check("/chat.update", "post", "200", &sim.form("/slack/api/chat.update", &fields).await);

    // Errors, too, are described.
    let errors: BTreeMap<&str, &str> = [
        ("/conversations.history", "/conversations.history?channel=C9"),
        ("/conversations.replies", "/conversations.replies?channel=C9&ts=1.000000"),
    ]
    .into();
    for (method, path) in errors {
        description.check(method, "get", "default", &sim.read(&format!("/slack/api{path}")).await);
    }
}
