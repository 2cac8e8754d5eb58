use std::sync::Arc;

use chrono::{DateTime, SecondsFormat};
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use tripline_engine::SortKey;

use crate::testing::{Asked, Reply, Toy, World, constrain, f64s, i64s, request, texts};

/// One observation a minute, newest first, ending at noon.
fn observation(n: usize) -> Value {
    let start = DateTime::from_timestamp(1_795_176_000 - 60 * n as i64, 0).unwrap();
    json!({
        "id": format!("o{n}"), "traceId": format!("t{}", n / 4), "type": if n % 4 == 3 { "SPAN" } else { "GENERATION" },
        "parentObservationId": if n % 4 == 3 { Value::Null } else { json!(format!("o{}", n / 4 * 4 + 3)) },
        "isRootObservation": n % 4 == 3,
        "name": format!("step-{}", n % 3), "traceName": "checkout", "sessionId": "", "userId": "u1",
        "startTime": start.to_rfc3339_opts(SecondsFormat::Millis, true),
        "endTime": (start + chrono::TimeDelta::seconds(2)).to_rfc3339_opts(SecondsFormat::Millis, true),
        "model": "gpt-4o", "usageDetails": {"input": 10 + n, "output": 5, "total": 15 + n},
        "costDetails": {"input": 0.001, "total": "0.25"}, "totalCost": 0.25, "output": "{\"a\": 1}",
    })
}

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn time(minutes_before_noon: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some((1_795_176_000 - 60 * minutes_before_noon) * 1_000_000), Some("UTC".into()))
}

fn micros(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// Whether an observation is asked for, by plain parameters or by the JSON filter.
fn matches(row: &Value, asked: &Asked) -> bool {
    let field = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let start = micros(&field("startTime"));
    if let Some(filter) = asked.param("filter") {
        let conditions: Vec<Value> = serde_json::from_str(filter).unwrap();
        return conditions.iter().all(|c| match c["operator"].as_str().unwrap() {
            "any of" => c["value"].as_array().unwrap().contains(&row[c["column"].as_str().unwrap()]),
            ">=" => start >= micros(c["value"].as_str().unwrap()),
            "<" => start < micros(c["value"].as_str().unwrap()),
            "=" => row[c["column"].as_str().unwrap()] == c["value"],
            "none of" => !c["value"].as_array().unwrap().contains(&row[c["column"].as_str().unwrap()]),
            "starts with" => field(c["column"].as_str().unwrap()).starts_with(c["value"].as_str().unwrap()),
            other => panic!("{other}"),
        });
    }
    asked.query.iter().all(|(name, value)| match name.as_str() {
        "fromStartTime" => start >= micros(value),
        "toStartTime" => start < micros(value),
        "isRootObservation" => row[name].as_bool() == value.parse().ok(),
        "traceId" | "type" | "name" | "level" | "userId" => field(name) == *value,
        _ => true,
    })
}

/// Langfuse v4 with `count` observations.
fn v4(count: usize) -> Arc<Toy> {
    Toy::new(move |asked| {
        if !asked.path.ends_with("/api/public/v2/observations") {
            return Reply::status(404);
        }
        let limit = asked.number("limit").unwrap();
        assert!(limit <= 1000);
        let from: usize = asked.param("cursor").map_or(0, |c| c.trim_start_matches('c').parse().unwrap());
        let all: Vec<Value> = (0..count).map(observation).filter(|row| matches(row, asked)).collect();
        let page: Vec<Value> = all.iter().skip(from).take(limit).cloned().collect();
        let mut meta = json!({});
        if from + limit < all.len() {
            meta["cursor"] = json!(format!("c{}", from + limit));
        }
        Reply::Json(json!({"data": page, "meta": meta}))
    })
}

/// A server of before v4 with `count` observations.
fn v3(count: usize) -> Arc<Toy> {
    Toy::new(move |asked| {
        if !asked.path.ends_with("/api/public/observations") {
            return Reply::status(404);
        }
        let (limit, page) = (asked.number("limit").unwrap(), asked.number("page").unwrap());
        let all: Vec<Value> = (0..count).map(observation).filter(|row| matches(row, asked)).collect();
        let data: Vec<Value> = all.iter().skip(limit * (page - 1)).take(limit).cloned().collect();
        let meta =
            json!({"page": page, "limit": limit, "totalItems": all.len(), "totalPages": all.len().div_ceil(limit)});
        Reply::Json(json!({"data": data, "meta": meta}))
    })
}

const OBSERVATIONS: &str = "langfuse.observations";

#[tokio::test]
async fn limit_10_costs_one_request_for_a_page_of_ten() {
    let world = World::bundled(v4(5000));
    let ask = request(world.select(OBSERVATIONS, &["id", "name"]), |r| r.limit = Some(10));
    let (rows, report) = world.run(OBSERVATIONS, ask).await.unwrap();
    assert_eq!(rows.num_rows(), 10);
    assert_eq!((world.toy.count(), report.requests, report.probes), (1, 1, 0));
    assert_eq!(world.toy.log()[0].param("limit"), Some("10"));
    assert!(report.finished);
}

#[tokio::test]
async fn only_the_field_groups_of_the_projected_columns_are_asked_for() {
    let world = World::bundled(v4(10));
    let fields = |columns: &[&str]| {
        let ask = request(world.select(OBSERVATIONS, columns), |r| r.limit = Some(1));
        let world = &world;
        async move {
            world.run(OBSERVATIONS, ask).await.unwrap();
            world.toy.log().last().unwrap().param("fields").unwrap().to_owned()
        }
    };
    assert_eq!(fields(&["id", "trace_id"]).await, "core");
    assert_eq!(fields(&["name", "total_cost"]).await, "core,basic,usage");
    assert_eq!(fields(&["output"]).await, "core,io");
    assert_eq!(fields(&["output_shape"]).await, "core,io");
}

#[tokio::test]
async fn the_shape_of_an_output_is_told_without_the_output() {
    let outputs = [json!("{\"a\": 1}"), json!({"a": "words"}), json!("words"), json!(""), Value::Null];
    let rows: Vec<Value> = outputs
        .iter()
        .enumerate()
        .map(|(n, output)| {
            let mut row = observation(n);
            row["output"] = output.clone();
            row
        })
        .collect();
    let world = World::bundled(Toy::new(move |_| Reply::Json(json!({"data": rows, "meta": {}}))));
    let ask = world.select(OBSERVATIONS, &["id", "output_shape"]);
    let (rows, _) = world.run(OBSERVATIONS, ask).await.unwrap();
    let shapes = texts(&rows, "output_shape");
    let told: Vec<Option<(String, u64)>> = shapes
        .iter()
        .map(|text| {
            let shape = crate::ContentShape::parse(text.as_deref()?).unwrap();
            Some((shape.said.into_owned(), shape.length))
        })
        .collect();
    let shape = |said: &str, length: u64| Some((said.to_owned(), length));
    // An empty output is none, as it is in the column of outputs.
    assert_eq!(told, [shape("object", 8), shape("object", 13), shape("text", 5), None, None]);
    assert!(shapes.iter().flatten().all(|shape| !shape.contains("words")), "{shapes:?}");
}

#[tokio::test]
async fn a_time_window_is_handed_to_the_vendor_and_costs_its_pages_only() {
    let world = World::bundled(v4(5000));
    let ask = request(world.select(OBSERVATIONS, &["id", "start_time"]), |r| {
        r.constraints = constrain(&[("start_time", ">=", time(120)), ("start_time", "<", time(0))]);
    });
    let (rows, report) = world.run(OBSERVATIONS, ask).await.unwrap();
    assert_eq!(rows.num_rows(), 120);
    assert_eq!(report.requests, 1);
    let asked = &world.toy.log()[0];
    assert_eq!(asked.param("fromStartTime"), Some("2026-11-20T10:00:00.000Z"));
    assert_eq!(asked.param("toStartTime"), Some("2026-11-20T12:00:00.000Z"));
}

#[tokio::test]
async fn all_pages_of_a_cursor_listing_are_read_in_order() {
    let world = World::bundled(v4(2500));
    let (rows, report) = world.run(OBSERVATIONS, world.select(OBSERVATIONS, &["id"])).await.unwrap();
    let ids: Vec<String> = texts(&rows, "id").into_iter().flatten().collect();
    assert_eq!(ids, (0..2500).map(|n| format!("o{n}")).collect::<Vec<_>>());
    assert_eq!(report.requests, 3);
    assert!(report.finished && report.gap.is_none());
}

#[tokio::test]
async fn values_are_read_from_wherever_the_generation_has_them() {
    for toy in [v4(2), v3(2)] {
        let world = World::bundled(toy);
        let ask = world.select(OBSERVATIONS, &["model", "input_tokens", "total_cost", "output", "session_id"]);
        let (rows, _) = world.run(OBSERVATIONS, ask).await.unwrap();
        assert_eq!(texts(&rows, "model")[0].as_deref(), Some("gpt-4o"));
        assert_eq!(i64s(&rows, "input_tokens"), [Some(10), Some(11)]);
        assert_eq!(f64s(&rows, "total_cost"), [Some(0.25), Some(0.25)]);
        assert_eq!(texts(&rows, "output")[0].as_deref(), Some("{\"a\": 1}"));
    }
}

#[tokio::test]
async fn an_older_server_is_found_by_the_first_real_request_and_remembered_across_restarts() {
    let mut world = World::bundled(v3(250));
    let ask = |world: &World| request(world.select(OBSERVATIONS, &["id"]), |r| r.limit = Some(10));
    let (rows, report) = world.run(OBSERVATIONS, ask(&world)).await.unwrap();
    assert_eq!(rows.num_rows(), 10);
    assert_eq!((report.requests, report.probes, world.toy.count()), (1, 1, 2));
    assert!(report.notes.iter().any(|n| n.contains("legacy observations")), "{:?}", report.notes);

    world.restart();
    let (_, report) = world.run(OBSERVATIONS, ask(&world)).await.unwrap();
    assert_eq!((report.requests, report.probes, world.toy.count()), (1, 0, 3));
}

#[tokio::test]
async fn a_server_that_was_upgraded_is_found_out() {
    let mut world = World::bundled(v3(250));
    let ask = |world: &World| request(world.select(OBSERVATIONS, &["id"]), |r| r.limit = Some(10));
    world.run(OBSERVATIONS, ask(&world)).await.unwrap();
    world.toy = v4(250);
    world.restart();
    let (_, report) = world.run(OBSERVATIONS, ask(&world)).await.unwrap();
    assert_eq!((report.requests, report.probes), (1, 1));
    let (_, report) = world.run(OBSERVATIONS, ask(&world)).await.unwrap();
    assert_eq!((report.requests, report.probes), (1, 0));
}

#[tokio::test]
async fn the_newest_rows_come_first_in_every_generation_so_order_by_with_a_limit_is_one_request() {
    let world = World::bundled(v4(10));
    let table = world.connectors.source("langfuse").unwrap().table("observations").unwrap();
    let shape = table.shape(&constrain(&[]));
    assert_eq!(shape.order, Some(SortKey { column: "start_time".to_owned(), descending: true }));
    let several = table.shape(&constrain(&[("trace_id", "in", text("t1,t2"))]));
    assert_eq!(several.order, None, "an older server is asked once per trace");
}

#[tokio::test]
async fn many_traces_are_asked_for_in_one_request_where_the_vendor_can() {
    let world = World::bundled(v4(400));
    let ask = request(world.select(OBSERVATIONS, &["id", "trace_id"]), |r| {
        r.constraints = constrain(&[("trace_id", "in", text("t1,t2,t9")), ("start_time", ">=", time(9))]);
    });
    let (rows, report) = world.run(OBSERVATIONS, ask).await.unwrap();
    assert_eq!(report.requests, 1);
    assert_eq!(rows.num_rows(), 6);
    let asked = &world.toy.log()[0];
    assert_eq!(asked.param("fromStartTime"), None, "a JSON filter overrides plain parameters");
}

#[tokio::test]
async fn traces_are_derived_from_root_observations_and_sums_are_fetched_only_when_wanted() {
    let world = World::bundled(v4(400));
    const TRACES: &str = "langfuse.traces";
    let plain = request(world.select(TRACES, &["id", "name", "timestamp"]), |r| r.limit = Some(10));
    let (rows, report) = world.run(TRACES, plain).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (10, 1));
    assert_eq!(texts(&rows, "id")[0].as_deref(), Some("t0"));
    assert_eq!(texts(&rows, "name")[0].as_deref(), Some("checkout"));
    assert!(report.notes.contains(&"derived from observations".to_owned()));

    let costly = request(world.select(TRACES, &["id", "total_cost", "latency", "observation_count"]), |r| {
        r.constraints = constrain(&[("timestamp", ">=", time(200))]);
    });
    let (rows, report) = world.run(TRACES, costly).await.unwrap();
    assert_eq!(rows.num_rows(), 50);
    assert_eq!(report.requests, 2, "one page of roots, one of all observations of their traces");
    assert!(f64s(&rows, "total_cost").iter().all(|cost| *cost == Some(1.0)));
    assert!(f64s(&rows, "latency").iter().all(|seconds| *seconds == Some(182.0)));
    assert!(i64s(&rows, "observation_count").iter().all(|count| *count == Some(4)));
}

#[tokio::test]
async fn a_trace_that_only_its_root_observation_names_is_found_by_that_name() {
    let world = World::bundled(Toy::new(|asked| {
        let filter = asked.param("filter").unwrap_or_default().to_owned();
        let named = |id: &str, trace: &str, root: &str| {
            json!({"id": id, "traceId": id, "traceName": trace, "name": root, "isRootObservation": true,
                   "startTime": "2026-11-20T11:00:00Z"})
        };
        let all = [named("a", "checkout", "handler"), named("b", "", "checkout"), named("c", "", "refund")];
        let data: Vec<Value> =
            all.into_iter().filter(|row| !filter.contains("traceName") || row["traceName"] == "checkout").collect();
        Reply::Json(json!({"data": data, "meta": {}}))
    }));
    for (condition, expected) in [("name = 'checkout'", vec!["a", "b"]), ("name <> 'checkout'", vec!["c"])] {
        let found = world.sql(&format!("SELECT id FROM langfuse.traces WHERE {condition} ORDER BY id")).await.unwrap();
        let rows = tripline_engine::json_rows(&found.schema, &found.batches).unwrap();
        assert_eq!(rows.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), expected, "{condition}");
    }
}

#[tokio::test]
async fn a_server_that_ignores_the_root_filter_costs_time_but_no_wrong_trace() {
    let honest = v4(40);
    let disobedient = Toy::new(move |asked| {
        let mut asked = asked.clone();
        asked.query.retain(|(name, _)| name != "isRootObservation");
        honest.answer(&asked)
    });
    let world = World::bundled(disobedient);
    let ask = world.select("langfuse.traces", &["id", "timestamp"]);
    let (rows, report) = world.run("langfuse.traces", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (10, 1));
}

#[tokio::test]
async fn sessions_are_derived_from_traces_and_ones_without_a_session_are_none() {
    let session = |n: usize| {
        let start = DateTime::from_timestamp(1_795_176_000 - 60 * n as i64, 0).unwrap();
        let id = if n.is_multiple_of(5) { String::new() } else { format!("s{}", n % 5) };
        json!({"id": format!("o{n}"), "traceId": format!("t{n}"), "isRootObservation": true, "sessionId": id,
               "startTime": start.to_rfc3339(), "environment": "production"})
    };
    let toy = Toy::new(move |asked| {
        let all = (0..20).map(session).filter(|row| {
            asked.param("filter").is_none_or(|filter| {
                let conditions: Vec<Value> = serde_json::from_str(filter).unwrap();
                conditions
                    .iter()
                    .all(|c| c["operator"] != "any of" || c["value"].as_array().unwrap().contains(&row["sessionId"]))
            })
        });
        Reply::Json(json!({"data": all.collect::<Vec<_>>(), "meta": {}}))
    });
    let world = World::bundled(toy);
    const SESSIONS: &str = "langfuse.sessions";
    let (rows, report) = world.run(SESSIONS, world.select(SESSIONS, &["id", "environment"])).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (4, 1));
    let (rows, report) =
        world.run(SESSIONS, world.select(SESSIONS, &["id", "created_at", "trace_count"])).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (4, 2));
    assert!(i64s(&rows, "trace_count").iter().all(|count| *count == Some(4)));
    let ask = request(world.select(SESSIONS, &["id"]), |r| r.limit = Some(2));
    assert_eq!(world.run(SESSIONS, ask).await.unwrap().1.requests, 1);
}

#[tokio::test]
async fn a_typed_score_becomes_a_number_or_a_text_in_both_generations() {
    let v3 = json!([
        {"id": "a", "name": "n", "dataType": "NUMERIC", "value": 0.5, "timestamp": "2026-11-20T11:00:00Z",
         "subject": {"kind": "trace", "id": "t1"}, "comment": "good"},
        {"id": "b", "name": "n", "dataType": "BOOLEAN", "value": true, "subject": {"kind": "observation", "id": "o1", "traceId": "t2"},
         "details": {"comment": "fine"}},
        {"id": "c", "name": "n", "dataType": "CATEGORICAL", "value": "5", "subject": {"kind": "session", "id": "s1"}},
    ]);
    let v2 = json!([
        {"id": "a", "name": "n", "dataType": "NUMERIC", "value": 0.5, "timestamp": "2026-11-20T11:00:00Z", "traceId": "t1", "comment": "good"},
        {"id": "b", "name": "n", "dataType": "BOOLEAN", "value": 1, "stringValue": "True", "traceId": "t2", "observationId": "o1", "comment": "fine"},
        {"id": "c", "name": "n", "dataType": "CATEGORICAL", "value": 0, "stringValue": "5", "sessionId": "s1"},
    ]);
    let new = Toy::new(move |asked| match asked.path.ends_with("/api/public/v3/scores") {
        true => Reply::Json(json!({"data": v3, "meta": {"limit": 100}})),
        false => Reply::status(404),
    });
    let old = Toy::new(move |asked| match asked.path.ends_with("/api/public/v2/scores") {
        true => Reply::Json(json!({"data": v2, "meta": {"totalPages": 1}, "_deprecation": {"message": "soon"}})),
        false => Reply::status(410),
    });
    for toy in [new, old] {
        let world = World::bundled(toy);
        let columns = ["id", "value", "string_value", "trace_id", "observation_id", "session_id", "comment"];
        let (rows, _) = world.run("langfuse.scores", world.select("langfuse.scores", &columns)).await.unwrap();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(f64s(&rows, "value"), [Some(0.5), Some(1.0), None]);
        assert_eq!(texts(&rows, "string_value"), [None, None, some("5")]);
        assert_eq!(texts(&rows, "trace_id"), [some("t1"), some("t2"), None]);
        assert_eq!(texts(&rows, "observation_id"), [None, some("o1"), None]);
        assert_eq!(texts(&rows, "session_id"), [None, None, some("s1")]);
        assert_eq!(texts(&rows, "comment"), [some("good"), some("fine"), None]);
    }
}

#[tokio::test]
async fn an_older_server_says_what_its_listing_lacks_and_echoes_a_pinned_user() {
    let world = World::bundled(Toy::new(|asked| {
        if !asked.path.ends_with("/api/public/observations") {
            return Reply::status(404);
        }
        let mut row = observation(1);
        row.as_object_mut().unwrap().remove("userId");
        Reply::Json(json!({"data": [row], "meta": {"totalPages": 1}}))
    }));
    let ask = request(world.select(OBSERVATIONS, &["id", "user_id"]), |r| {
        r.constraints = constrain(&[("user_id", "=", text("u1"))]);
    });
    let (rows, report) = world.run(OBSERVATIONS, ask).await.unwrap();
    assert_eq!(texts(&rows, "user_id"), [Some("u1".to_owned())]);
    assert_eq!(world.toy.log()[1].param("userId"), Some("u1"));
    assert!(report.notes.iter().any(|n| n.contains("user_id only where the query pins it")), "{:?}", report.notes);
}

#[tokio::test]
async fn a_server_that_has_neither_generation_is_an_error_and_nothing_is_remembered() {
    let world = World::bundled(Toy::new(|_| Reply::status(404)));
    for _ in 0..2 {
        let error = world.run(OBSERVATIONS, world.select(OBSERVATIONS, &["id"])).await.unwrap_err();
        assert_eq!(error.kind, tripline_engine::ScanErrorKind::NotFound);
        assert!(error.hint.unwrap().contains("LANGFUSE_BASE_URL"));
        let paths: Vec<String> = world.toy.log().iter().rev().take(2).map(|a| a.path.clone()).collect();
        assert_eq!(paths, ["/langfuse/api/public/observations", "/langfuse/api/public/v2/observations"]);
    }
    assert!(!world.dir.path().join("cache/probes.json").exists());
}

#[tokio::test]
async fn what_is_remembered_of_a_server_holds_no_secret_and_is_forgotten_after_a_day() {
    let world = World::bundled(v3(10));
    world.run(OBSERVATIONS, world.select(OBSERVATIONS, &["id"])).await.unwrap();
    let text = std::fs::read_to_string(world.dir.path().join("cache/probes.json")).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({"http://toy/langfuse": {"/api/public/v2/observations": "2026-11-20T12:00:00Z"}})
    );
    let table = world.connectors.source("langfuse").unwrap().spec().table("observations").unwrap().clone();
    let base = url::Url::parse("http://toy/langfuse").unwrap();
    let remembered = crate::generations::Generations::load(Some(&world.dir.path().join("cache")));
    let hours = |n| crate::testing::noon() + chrono::TimeDelta::hours(n);
    assert_eq!(remembered.first(&base, &table, hours(23)), 1);
    assert_eq!(remembered.first(&base, &table, hours(25)), 0);
}

#[tokio::test]
async fn traces_are_picked_by_a_tag_in_every_generation_and_each_row_says_which() {
    const TRACES: &str = "langfuse.traces";
    let new = Toy::new(|asked| {
        let wanted = asked.param("filter").map(|filter| serde_json::from_str::<Value>(filter).unwrap());
        let tags = |n: usize| if n == 0 { json!(["beta", "eu"]) } else { json!(["beta"]) };
        let all = (0..2).map(|n| {
            json!({"id": format!("o{n}"), "traceId": format!("t{n}"), "isRootObservation": true, "tags": tags(n),
                   "startTime": "2026-11-20T11:00:00Z"})
        });
        let has = |row: &Value, tag: &Value| row["tags"].as_array().unwrap().contains(tag);
        let data: Vec<Value> = all
            .filter(|row| {
                wanted.iter().flat_map(|all| all.as_array().unwrap()).all(|condition| {
                    condition["type"] != "arrayOptions"
                        || condition["value"].as_array().unwrap().iter().any(|tag| has(row, tag))
                })
            })
            .collect();
        Reply::Json(json!({"data": data, "meta": {}}))
    });
    let old = Toy::new(|asked| {
        if !asked.path.ends_with("/api/public/traces") {
            return Reply::status(404);
        }
        let ids: &[&str] = if asked.param("tags") == Some("eu") { &["t0"] } else { &["t0", "t1"] };
        let data: Vec<Value> = ids.iter().map(|id| json!({"id": id, "timestamp": "2026-11-20T11:00:00Z"})).collect();
        Reply::Json(json!({"data": data, "meta": {"totalPages": 1}}))
    });
    for toy in [new, old] {
        let world = World::bundled(toy);
        for (tags, expected) in [("eu", vec!["eu t0"]), ("beta,eu", vec!["beta t0", "beta t1", "eu t0"])] {
            let ask = request(world.select(TRACES, &["id", "tag"]), |r| {
                r.constraints = constrain(&[("tag", "in", text(tags))]);
            });
            let (rows, _) = world.run(TRACES, ask).await.unwrap();
            let pairs = texts(&rows, "tag").into_iter().flatten().zip(texts(&rows, "id").into_iter().flatten());
            let mut found: Vec<String> = pairs.map(|(tag, id)| format!("{tag} {id}")).collect();
            found.sort();
            assert_eq!(found, expected);
        }
        let hostile = r#"x"],"value":["y"#;
        let ask = request(world.select(TRACES, &["id"]), |r| r.constraints = constrain(&[("tag", "=", text(hostile))]));
        world.run(TRACES, ask).await.unwrap();
        let asked = world.toy.log().last().unwrap().clone();
        match asked.param("filter") {
            Some(filter) => {
                let conditions: Value = serde_json::from_str(filter).unwrap();
                let tags = conditions.as_array().unwrap().iter().find(|c| c["type"] == "arrayOptions").unwrap();
                assert_eq!((&tags["column"], &tags["value"]), (&json!("traceTags"), &json!([hostile])));
            }
            None => assert_eq!(asked.param("tags"), Some(hostile)),
        }
    }
}

#[tokio::test]
async fn a_server_with_the_first_listing_of_scores_only_is_read_as_well() {
    let world = World::bundled(Toy::new(|asked| match asked.path.as_str() {
        "/langfuse/api/public/scores" => Reply::Json(json!({"data": [{"id": "a", "name": "n", "dataType": "NUMERIC",
            "value": 0.5, "traceId": "t1", "observationId": "o1"}], "meta": {"totalPages": 1}})),
        _ => Reply::status(404),
    }));
    let ask = world.select("langfuse.scores", &["value", "trace_id"]);
    let (rows, report) = world.run("langfuse.scores", ask.clone()).await.unwrap();
    assert_eq!((f64s(&rows, "value"), texts(&rows, "trace_id")), (vec![Some(0.5)], vec![Some("t1".to_owned())]));
    assert_eq!((report.requests, report.probes), (1, 2));
    assert_eq!(world.run("langfuse.scores", ask).await.unwrap().1.probes, 0, "what it lacks is remembered");
}

#[tokio::test]
async fn exclusions_and_patterns_go_into_the_json_filter_unless_a_parameter_would_be_given_up_for_them() {
    let ask = |world: &World, constraints: &[(&str, &str, ScalarValue)]| {
        request(world.select(OBSERVATIONS, &["id"]), |r| r.constraints = constrain(constraints))
    };
    let world = World::bundled(v4(300));
    let wanted = [("type", "<>", text("SPAN")), ("name", "like", text("step-2%")), ("start_time", ">=", time(120))];
    let (rows, report) = world.run(OBSERVATIONS, ask(&world, &wanted)).await.unwrap();
    // One of three names, three of four types, of 121 minutes.
    assert_eq!((rows.num_rows(), report.rows, report.requests), (30, 30, 1));
    let asked = world.toy.log()[0].clone();
    let filter: Vec<Value> = serde_json::from_str(asked.param("filter").unwrap()).unwrap();
    let said: Vec<String> =
        filter.iter().map(|c| format!("{} {} {}", c["column"], c["operator"], c["value"])).collect();
    for expected in [
        r#""type" "none of" ["SPAN"]"#,
        r#""name" "starts with" "step-2""#,
        r#""startTime" ">=" "2026-11-20T10:00:00.000Z""#,
    ] {
        assert!(said.iter().any(|s| s == expected), "{expected}: {said:?}");
    }
    assert_eq!(asked.param("fromStartTime"), None, "the JSON filter overrides parameters, so it holds everything");

    let world = World::bundled(v4(300));
    let pinned = [("level", "<>", text("DEBUG")), ("parent_observation_id", "=", text("o3"))];
    world.run(OBSERVATIONS, ask(&world, &pinned)).await.unwrap();
    let asked = world.toy.log()[0].clone();
    assert_eq!((asked.param("parentObservationId"), asked.param("filter")), (Some("o3"), None));

    let world = World::bundled(v4(300));
    world.run(OBSERVATIONS, ask(&world, &[("name", "ilike", text("STEP%"))])).await.unwrap();
    assert_eq!(world.toy.log()[0].param("filter"), None, "whether Langfuse minds case is not known");
}
