//! Langfuse: both generations, paging, field groups, filters, writes.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::support::{Sim, texts};
use crate::{Auth, Credentials, LangfuseGeneration, SimulatorOptions};

const V2: &str = "/langfuse/api/public/v2/observations";
const SCORES: &str = "/langfuse/api/public/v3/scores";

fn v3() -> SimulatorOptions {
    SimulatorOptions { langfuse: LangfuseGeneration::V3, ..SimulatorOptions::default() }
}

/// `count` observations a minute apart, every third a span, in ten traces of two users.
fn observations(count: usize) -> Value {
    (0..count)
        .map(|n| {
            json!({
                "id": format!("o{n:04}"), "traceId": format!("t{}", n % 10),
                "type": if n % 3 == 0 { "SPAN" } else { "GENERATION" }, "name": format!("step-{}", n % 4),
                "startTime": format!("2026-01-01T{:02}:{:02}:00.000Z", n / 60, n % 60),
                "endTime": format!("2026-01-01T{:02}:{:02}:30.000Z", n / 60, n % 60),
                "level": "DEFAULT", "environment": "default", "projectId": "p", "parentObservationId": null,
                "input": {"n": n}, "output": "text", "model": "gpt-4o", "statusMessage": null,
                "metadata": {"long": "x".repeat(500), "short": "y"},
                "inputPrice": 0.0000025, "modelId": "m1", "calculatedTotalCost": 0.25,
                "usage": {"input": 3, "output": 4, "total": 7, "unit": "TOKENS"},
            })
        })
        .collect()
}

fn traces() -> Value {
    (0..10)
        .map(|n| {
            json!({"id": format!("t{n}"), "timestamp": "2026-01-01T00:00:00.000Z", "name": "chat",
                   "userId": format!("u{}", n % 2), "sessionId": "s1", "tags": ["a", format!("tag{n}")],
                   "release": "r1", "environment": "default"})
        })
        .collect()
}

async fn with_observations(count: usize, options: SimulatorOptions) -> Sim {
    let files = [
        ("langfuse/observations", observations(count)),
        ("langfuse/traces", traces()),
        ("langfuse/projects", json!([{"id": "p", "name": "shop"}])),
    ];
    Sim::data_with(&files, options).await
}

#[tokio::test]
async fn the_cursor_walks_every_observation_once_newest_first() {
    let sim = with_observations(250, SimulatorOptions::default()).await;
    let mut starts = Vec::new();
    let mut ids = BTreeSet::new();
    let mut cursor = String::new();
    let mut pages = 0;
    loop {
        let page = sim.read(&format!("{V2}?limit=50&cursor={cursor}")).await;
        pages += 1;
        for item in page["data"].as_array().unwrap() {
            starts.push(item["startTime"].as_str().unwrap().to_owned());
            assert!(ids.insert(item["id"].as_str().unwrap().to_owned()));
        }
        match page["meta"]["cursor"].as_str() {
            Some(next) => cursor = next.replace('+', "%2B").replace('=', "%3D"),
            None => break,
        }
    }
    assert_eq!((ids.len(), pages), (250, 5));
    assert!(starts.windows(2).all(|pair| pair[0] >= pair[1]));
}

#[tokio::test]
async fn page_numbers_walk_every_observation_once_and_count_them() {
    let sim = with_observations(250, v3()).await;
    let mut ids = BTreeSet::new();
    for page in 1..=3 {
        let answer = sim.read(&format!("/langfuse/api/public/observations?limit=100&page={page}")).await;
        let meta = json!({"page": page, "limit": 100, "totalItems": 250, "totalPages": 3});
        assert_eq!(answer["meta"], meta);
        ids.extend(texts(&answer["data"], "id").iter().map(|id| (*id).to_owned()));
    }
    assert_eq!(ids.len(), 250);
    let beyond = sim.read("/langfuse/api/public/observations?page=9").await;
    assert_eq!(beyond["data"], json!([]));
}

#[tokio::test]
async fn fields_that_were_not_asked_for_are_absent_but_for_the_prices() {
    let sim = with_observations(1, SimulatorOptions::default()).await;
    let keys = |item: &Value| -> BTreeSet<String> { item.as_object().unwrap().keys().cloned().collect() };
    let core = &sim.read(&format!("{V2}?fields=core")).await["data"][0];
    let expected = [
        "id",
        "traceId",
        "startTime",
        "endTime",
        "projectId",
        "parentObservationId",
        "type",
        "modelId",
        "inputPrice",
        "outputPrice",
        "totalPrice",
    ];
    assert_eq!(keys(core), expected.map(str::to_owned).into());
    assert_eq!(core["inputPrice"], Value::Null);

    let default = &sim.read(V2).await["data"][0];
    assert!(default.get("output").is_none() && default.get("level").is_some());

    let full = &sim.read(&format!("{V2}?fields=core,basic,io,model,usage,trace_context,metadata")).await["data"][0];
    assert_eq!(full["inputPrice"], "0.0000025");
    assert_eq!(full["input"], r#"{"n":0}"#, "objects are raw JSON texts");
    assert_eq!(full["output"], "text", "texts are texts");
    assert_eq!(full["statusMessage"], "", "a text that is not set is empty");
    assert_eq!(full["model"], "gpt-4o");
    assert!(full.get("providedModelName").is_none());
    assert_eq!(full["userId"], "u0", "from the trace");
    assert_eq!(full["traceName"], "chat");
    assert_eq!(full["totalCost"], 0.25);
    assert_eq!(full["isRootObservation"], true);
    assert_eq!(full["metadata"]["long"].as_str().unwrap().len(), 200);
    let expanded = &sim.read(&format!("{V2}?fields=metadata&expandMetadata=long")).await["data"][0];
    assert_eq!(expanded["metadata"]["long"].as_str().unwrap().len(), 500);
}

#[tokio::test]
async fn a_filter_overrides_the_plain_parameters() {
    let sim = with_observations(40, SimulatorOptions::default()).await;
    let filter = |conditions: Value| conditions.to_string().replace('"', "%22").replace(' ', "%20");
    let either = filter(
        json!([{"type": "stringOptions", "column": "name", "operator": "any of", "value": ["step-1", "step-2"]}]),
    );
    let found = sim.read(&format!("{V2}?name=step-3&filter={either}")).await;
    let names: BTreeSet<&str> = texts(&found["data"], "name").into_iter().collect();
    assert_eq!(names, ["step-1", "step-2"].into());

    let window = filter(json!([
        {"type": "datetime", "column": "startTime", "operator": ">=", "value": "2026-01-01T00:10:00Z"},
        {"type": "datetime", "column": "startTime", "operator": "<", "value": "2026-01-01T00:12:00Z"},
        {"type": "string", "column": "userId", "operator": "=", "value": "u0"},
    ]));
    let found = sim.read(&format!("{V2}?filter={window}")).await;
    assert_eq!(texts(&found["data"], "id"), ["o0010"]);

    let plain =
        sim.read(&format!("{V2}?type=SPAN&fromStartTime=2026-01-01T00:00:00Z&toStartTime=2026-01-01T00:06:00Z")).await;
    assert_eq!(texts(&plain["data"], "id"), ["o0003", "o0000"]);

    for bad in [
        json!([{"type": "string", "column": "nonsense", "operator": "=", "value": "x"}]),
        json!([{"type": "string", "column": "name", "operator": ">", "value": "x"}]),
        json!([{"type": "string", "column": "output", "operator": "contains", "value": "x"}]),
        json!({"type": "string"}),
    ] {
        let answer = sim.get(&format!("{V2}?filter={}", filter(bad.clone()))).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn limits_beyond_the_maximum_are_refused() {
    let v4 = with_observations(1, SimulatorOptions::default()).await;
    for path in [
        format!("{V2}?limit=1001"),
        format!("{V2}?limit=abc"),
        format!("{V2}?parseIoAsJson=true"),
        format!("{V2}?cursor=nonsense"),
        format!("{SCORES}?limit=101"),
        format!("{SCORES}?fields=nonsense"),
        format!("{SCORES}?traceId=a&sessionId=b"),
        format!("{SCORES}?observationId=a"),
        format!("{SCORES}?value=1"),
    ] {
        assert_eq!(v4.get(&path).await.status, 400, "{path}");
    }
    let legacy = with_observations(1, v3()).await;
    for path in ["observations?limit=101", "traces?page=0", "traces?orderBy=nonsense"] {
        let answer = legacy.get(&format!("/langfuse/api/public/{path}")).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["message"], "Invalid request data");
    }
}

#[tokio::test]
async fn each_generation_lacks_the_others_endpoints() {
    let v4 = with_observations(1, SimulatorOptions::default()).await;
    for path in ["traces", "observations", "observations/x", "sessions", "scores", "v2/scores", "v2/scores/x"] {
        let answer = v4.get(&format!("/langfuse/api/public/{path}")).await;
        assert_eq!(answer.status, 410, "{path}");
        assert_eq!(answer.json()["error"], "LEGACY_API_UNAVAILABLE_FOR_NEW_ORGANIZATION");
    }
    let v3 = with_observations(1, v3()).await;
    for path in [V2, SCORES] {
        assert_eq!(v3.get(path).await.status, 404, "{path}");
    }
    for sim in [v4, v3] {
        assert_eq!(sim.read("/langfuse/api/public/health").await["status"], "OK");
        assert_eq!(sim.read("/langfuse/api/public/projects").await["data"][0]["id"], "p");
    }
}

#[tokio::test]
async fn a_missing_or_wrong_key_is_refused() {
    let options = SimulatorOptions {
        auth: Auth::Exact(Credentials { langfuse: Some(("pk".into(), "sk".into())), ..Credentials::default() }),
        ..SimulatorOptions::default()
    };
    let sim = with_observations(1, options).await;
    let url = format!("{}{V2}", sim.handle.base_url());
    for request in [
        sim.client.get(&url),
        sim.client.get(&url).basic_auth("pk", Some("other")),
        sim.client.get(&url).bearer_auth("pk"),
    ] {
        let answer = sim.send(request).await;
        assert_eq!(answer.status, 401);
        assert!(answer.json()["message"].is_string());
    }
    let answer = sim.send(sim.client.get(&url).basic_auth("pk", Some("sk"))).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn scores_have_one_typed_value_and_groups_on_request() {
    let stamp = "2026-01-01T00:00:00.000Z";
    let scores: Value = [
        json!({"id": "a", "dataType": "NUMERIC", "value": 0.5, "traceId": "t", "name": "n", "timestamp": stamp}),
        json!({"id": "b", "dataType": "BOOLEAN", "value": 1, "stringValue": "True", "traceId": "t", "observationId": "o", "timestamp": stamp}),
        json!({"id": "c", "dataType": "CATEGORICAL", "value": 0, "stringValue": "calm", "sessionId": "s", "timestamp": stamp}),
    ]
    .into_iter()
    .collect();
    let sim = Sim::data(&[("langfuse/scores", scores)]).await;
    let answer = sim.read(&format!("{SCORES}?fields=subject,details")).await;
    let values: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|s| &s["value"]).collect();
    assert_eq!(values, [&json!("calm"), &json!(true), &json!(0.5)]);
    let subjects: Vec<&Value> = answer["data"].as_array().unwrap().iter().map(|s| &s["subject"]["kind"]).collect();
    assert_eq!(subjects, ["session", "observation", "trace"]);
    assert!(answer["data"][0].get("annotation").is_none());
    let first = sim.read(&format!("{SCORES}?limit=2")).await;
    let cursor = first["meta"]["cursor"].as_str().unwrap();
    let rest = sim.read(&format!("{SCORES}?limit=2&cursor={cursor}")).await;
    assert_eq!(texts(&rest["data"], "id"), ["a"]);
    assert!(rest["meta"].get("cursor").is_none());
    let boolean = sim.read(&format!("{SCORES}?dataType=boolean&value=true")).await;
    assert_eq!(texts(&boolean["data"], "id"), ["b"]);
}

#[tokio::test]
async fn a_batch_is_judged_event_by_event_and_what_is_accepted_is_readable() {
    for options in [SimulatorOptions::default(), v3()] {
        let legacy = options.langfuse == LangfuseGeneration::V3;
        let sim = Sim::start(options).await;
        let batch = json!({"batch": [
            {"id": "e1", "type": "trace-create", "timestamp": "2026-01-01T00:00:00Z",
             "body": {"id": "t", "name": "chat", "userId": "u", "sessionId": "s", "timestamp": "2026-01-01T00:00:00Z"}},
            {"id": "e2", "type": "generation-create", "timestamp": "2026-01-01T00:00:01Z",
             "body": {"id": "g", "traceId": "t", "name": "answer", "model": "gpt-4o", "startTime": "2026-01-01T00:00:01Z",
                      "output": {"a": 1}, "usage": {"input": 1000, "output": 100}}},
            {"id": "e3", "type": "generation-update", "timestamp": "2026-01-01T00:00:03Z",
             "body": {"id": "g", "endTime": "2026-01-01T00:00:03Z", "level": "WARNING"}},
            {"id": "e4", "type": "span-create", "timestamp": "soon", "body": {"id": "x"}},
            {"id": "e5", "type": "nonsense", "timestamp": "2026-01-01T00:00:01Z", "body": {}},
            {"id": "e6", "type": "score-create", "timestamp": "2026-01-01T00:00:05Z",
             "body": {"id": "s1", "traceId": "t", "name": "quality", "value": 0.9}},
        ]});
        let answer = sim.post("/langfuse/api/public/ingestion", &batch).await;
        assert_eq!(answer.status, 207);
        assert_eq!(texts(&answer.json()["successes"], "id"), ["e1", "e2", "e3", "e6"]);
        assert_eq!(texts(&answer.json()["errors"], "id"), ["e4", "e5"]);

        if legacy {
            let found = sim.read("/langfuse/api/public/observations?traceId=t").await;
            assert_eq!(found["data"][0]["level"], "WARNING");
            assert_eq!(found["data"][0]["calculatedTotalCost"], 0.0035);
            let trace = sim.read("/langfuse/api/public/traces/t").await;
            assert_eq!(trace["totalCost"], 0.0035);
            assert_eq!(trace["latency"], 3.0);
            assert_eq!(trace["scores"][0]["id"], "s1");
            let sessions = sim.read("/langfuse/api/public/sessions").await;
            assert_eq!(texts(&sessions["data"], "id"), ["s"]);
        } else {
            let found = sim.read(&format!("{V2}?fields=core,basic,io,usage,metrics&userId=u")).await;
            let generation = &found["data"][0];
            assert_eq!(generation["level"], "WARNING");
            assert_eq!(generation["totalCost"], 0.0035);
            assert_eq!(generation["latency"], 2.0);
            assert_eq!(generation["output"], r#"{"a":1}"#);
            let scores = sim.read(SCORES).await;
            assert_eq!(scores["data"][0]["value"], 0.9);
        }
        let writes = sim.read("/_writes").await;
        assert_eq!(writes[0]["path"], "/api/public/ingestion");
        assert_eq!(writes[0]["body"], batch);
    }
}

#[tokio::test]
async fn a_posted_score_is_readable_and_a_bad_one_refused() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    let path = "/langfuse/api/public/scores";
    let good = json!({"traceId": "t", "name": "tone", "value": "calm"});
    let answer = sim.post(path, &good).await;
    assert_eq!(answer.status, 200);
    let id = answer.json()["id"].clone();
    let scores = sim.read(SCORES).await;
    assert_eq!(scores["data"][0]["id"], id);
    assert_eq!(scores["data"][0]["value"], "calm");
    for bad in [
        json!({"traceId": "t", "value": 1}),
        json!({"name": "n", "value": 1}),
        json!({"traceId": "t", "name": "n", "value": 2, "dataType": "BOOLEAN"}),
        json!([]),
    ] {
        assert_eq!(sim.post(path, &bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_prompt_gets_versions_and_labels_move_to_the_newest() {
    let sim = Sim::start(SimulatorOptions::default()).await;
    let path = "/langfuse/api/public/v2/prompts";
    for text in ["one", "two"] {
        let body = json!({"name": "folder/greet", "prompt": text, "labels": ["production"], "tags": ["x"]});
        assert_eq!(sim.post(path, &body).await.status, 201);
    }
    let by_default = sim.read(&format!("{path}/folder%2Fgreet")).await;
    assert_eq!(by_default["prompt"], "two");
    assert_eq!(by_default["labels"], json!(["production", "latest"]));
    let first = sim.read(&format!("{path}/folder%2Fgreet?version=1")).await;
    assert_eq!((&first["prompt"], &first["labels"]), (&json!("one"), &json!([])));
    let list = sim.read(path).await;
    assert_eq!(list["data"][0]["versions"], json!([1, 2]));
    assert_eq!(list["meta"]["totalItems"], 1);
    for missing in ["other", "folder%2Fgreet?label=staging", "folder%2Fgreet?version=7"] {
        assert_eq!(sim.get(&format!("{path}/{missing}")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn a_legacy_list_of_traces_filters_and_sorts() {
    let sim = with_observations(10, v3()).await;
    let path = "/langfuse/api/public/traces";
    let of_user = sim.read(&format!("{path}?userId=u1")).await;
    assert_eq!(of_user["meta"]["totalItems"], 5);
    let tagged = sim.read(&format!("{path}?tags=a&tags=tag3")).await;
    assert_eq!(texts(&tagged["data"], "id"), ["t3"]);
    let sorted = sim.read(&format!("{path}?orderBy=id.asc&limit=2")).await;
    assert_eq!(texts(&sorted["data"], "id"), ["t0", "t1"]);
    let bare = sim.read(&format!("{path}?fields=core&limit=1")).await;
    assert_eq!(bare["data"][0]["totalCost"], -1);
    assert_eq!(bare["data"][0]["observations"], json!([]));
    let whole = sim.read(&format!("{path}/t3")).await;
    assert_eq!(whole["observations"][0]["id"], "o0003");
    assert_eq!(sim.get(&format!("{path}/nobody")).await.status, 404);
}
