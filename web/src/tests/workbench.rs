//! What the workbench needs: rows as they come, files, saved queries, and a query that becomes a detector.

use reqwest::Method;
use serde_json::{Value, json};

use super::site::Site;

async fn lines(site: &Site, sql: &str) -> Vec<Value> {
    let body = json!({"sql": sql, "format": "stream", "max_rows": 100_000});
    let answer = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.text().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_streamed_answer_has_its_columns_first_and_its_report_last() {
    let site = Site::new().await;
    let lines = lines(&site, "SELECT value AS n FROM generate_series(1, 20000)").await;
    assert_eq!(lines[0]["columns"][0]["name"], "n");
    let rows: usize = lines.iter().filter_map(|line| line["rows"].as_array()).map(Vec::len).sum();
    assert_eq!(rows, 20_000, "more than an answer in one piece may have");
    let report = &lines.last().unwrap()["report"];
    assert_eq!((&report["rows"], &report["complete"]), (&json!(20_000), &json!(true)));
}

#[tokio::test]
async fn what_goes_wrong_after_the_first_rows_is_the_last_line() {
    let site = Site::new().await;
    let lines = lines(&site, "SELECT 1 / (value - 15000) AS n FROM generate_series(1, 20000)").await;
    let last = lines.last().unwrap();
    assert!(last["error"]["message"].is_string() && last.get("report").is_none(), "{last}");
    let wrong = site.post("read", "/api/v1/sql", &json!({"sql": "SELEC 1", "format": "stream"})).await;
    assert_eq!(wrong.0, 400, "what cannot be begun has the status of an error");
}

#[tokio::test]
async fn rows_can_be_had_as_a_parquet_file() {
    let site = Site::new().await;
    let body = json!({"sql": "SELECT 7 AS n, 'x' AS t", "format": "parquet"});
    let answer = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["x-tripline-complete"], "true");
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(answer.bytes().await.unwrap(), 10);
    let batches: Vec<_> = reader.unwrap().map(Result::unwrap).collect();
    assert_eq!((batches[0].num_rows(), batches[0].schema().field(0).name().as_str()), (1, "n"));
}

#[tokio::test]
async fn a_file_has_all_rows_of_a_large_result() {
    let site = Site::new().await;
    let rows = 250_000;
    let ask = async |format: &str| {
        let sql = format!("SELECT value AS n, 'x' AS t FROM generate_series(1, {rows})");
        let body = json!({"sql": sql, "format": format, "max_rows": 10_000_000});
        let answer = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{format}");
        answer.bytes().await.unwrap()
    };
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(lines(&ask("csv").await), rows + 1, "with its header");
    let ndjson = ask("ndjson").await;
    assert_eq!(lines(&ndjson), rows);
    assert!(ndjson.ends_with(b"{\"n\":250000,\"t\":\"x\"}\n"));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(ask("parquet").await, 8192).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), rows);
}

#[tokio::test]
async fn a_large_file_that_is_not_whole_is_broken_off_and_never_merely_shorter() {
    let site = Site::new().await;
    for (sql, max_rows) in [
        ("SELECT 1 / (value - 150000) AS n FROM generate_series(1, 200000)", 10_000_000),
        ("SELECT value AS n FROM generate_series(1, 200000)", 100_000),
    ] {
        for format in ["csv", "ndjson", "parquet"] {
            let body = json!({"sql": sql, "format": format, "max_rows": max_rows});
            let answer = site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.bytes().await.is_err(), "{format} of {sql}");
        }
    }
    let wrong = json!({"sql": "SELEC 1", "format": "csv", "max_rows": 20_000});
    assert_eq!(
        site.post("read", "/api/v1/sql", &wrong).await.0,
        400,
        "what cannot be begun has the status of an error"
    );
    let partial = json!({"sql": "SELECT 1", "format": "csv", "max_rows": 20_000, "partial": true});
    assert_eq!(site.post("read", "/api/v1/sql", &partial).await.0, 422, "a gap could not be told");
    let json = json!({"sql": "SELECT 1", "max_rows": 20_000});
    assert_eq!(site.post("read", "/api/v1/sql", &json).await.0, 422);
}

#[tokio::test]
async fn a_query_is_saved_as_a_file_listed_and_removed_and_a_name_is_no_path() {
    let site = Site::new().await;
    let put = async |name: &str| {
        let path = format!("/api/v1/queries/{name}");
        let sql = json!({"sql": "SELECT 1 -- mine"});
        site.request("operate", Method::PUT, &path).json(&sql).send().await.unwrap().status().as_u16()
    };
    assert_eq!(put("costly_traces").await, 200);
    for bad in ["..%2Fescape", "A", "a.b", "a%20b", "1a"] {
        assert_eq!(put(bad).await, 422, "{bad}");
    }
    let file = site.home().join("queries/saved/costly_traces.sql");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "SELECT 1 -- mine");
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no draft is left behind");
    let listed = site.get("/api/v1/queries").await;
    assert_eq!(
        (&listed["items"][0]["name"], &listed["items"][0]["sql"]),
        (&json!("costly_traces"), &json!("SELECT 1 -- mine"))
    );
    let remove = || site.request("operate", Method::DELETE, "/api/v1/queries/costly_traces").send();
    assert_eq!(remove().await.unwrap().status(), 204);
    assert_eq!(remove().await.unwrap().status(), 404);
    let events = site.get("/api/v1/audit?subject_type=query").await;
    let events: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|row| row["event"].as_str()).collect();
    assert_eq!(events, ["query.removed", "query.saved"]);
}

const DETECTOR: &str = "-- name: many_incidents\n-- title: Many incidents\n-- schedule: 0 0 * * * *\n-- window: 1h\n\
-- sources: agent\n-- severity: medium\n-- entity: thing\n-- description: {thing} was found\n-- action: none\n\n\
SELECT 'x' AS thing WHERE $window_start < $window_end\n";

#[tokio::test]
async fn a_detector_is_tried_over_the_last_days_before_it_is_saved() {
    let site = Site::new().await;
    let draft = json!({"name": "many_incidents", "text": DETECTOR, "days": 1});
    let (status, tried) = site.post("read", "/api/v1/detectors/dry-run", &draft).await;
    assert_eq!(status, 200, "{tried}");
    assert_eq!((&tried["due"], &tried["judged"], &tried["fired"]), (&json!(24), &json!(24), &json!(24)), "{tried}");
    assert_eq!(site.get("/api/v1/anomalies").await["items"], json!([]), "trying writes nothing");

    let put = async |key: &str, name: &str, text: &str| {
        let path = format!("/api/v1/detectors/{name}");
        let answer = site.request(key, Method::PUT, &path).json(&json!({ "text": text })).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(put("operate", "many_incidents", DETECTOR).await.0, 403);
    let (status, saved) = put("admin", "many_incidents", DETECTOR).await;
    assert_eq!((status, &saved["title"]), (200, &json!("Many incidents")), "{saved}");
    assert!(site.home().join("queries/detectors/many_incidents.sql").is_file());
    assert_eq!(put("admin", "cost_spike", &DETECTOR.replace("many_incidents", "cost_spike")).await.0, 409);
    let (status, wrong) = put("admin", "other", &DETECTOR.replace("window: 1h", "window: soon")).await;
    assert_eq!(status, 422);
    assert!(wrong["error"]["detail"].as_str().unwrap().contains("line"), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_of_runs_is_tried_over_the_newest_runs_before_it_is_saved() {
    let site = Site::new().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    let event = |run: &str, kind: &str, step: i64| tripline_store::ingest::WireEvent {
        event_type: kind.to_owned(),
        run_id: run.to_owned(),
        agent_id: "agent".to_owned(),
        agent_version: "v1".to_owned(),
        step_index: step,
        payload: json!({"tool_name": "search"}).as_object().cloned().unwrap(),
        ..Default::default()
    };
    let mut events = Vec::new();
    for (run, calls) in [("few", 1), ("many", 4)] {
        events.push(event(run, "run.started", 0));
        events.extend((1..=calls).map(|step| event(run, "tool.called", step)));
        events.push(event(run, "run.completed", calls));
    }
    site.store.events.accept(&site.scope, now, events).await.unwrap();
    let judged = ["few", "many", "gone"].map(|run| super::runs::judged(run, now, &[]));
    site.store.runs.record_judged(&site.scope, judged.to_vec(), 5, now).await.unwrap();
    let text =
        |query: &str| format!("-- name: busy\n-- severity: high\n-- description: {{tool_calls}} calls\n{query}\n");
    let query = "SELECT run_id, step_count AS at_step, tool_calls FROM ingest.runs WHERE tool_calls >= 2";
    let ask = async |text: &str| {
        let draft = json!({"name": "busy", "text": text, "runs": 10});
        site.post("read", "/api/v1/detectors/dry-run", &draft).await
    };
    for text in [text(query), text("-- when: tool_calls >= 2")] {
        let (status, tried) = ask(&text).await;
        assert_eq!(status, 200, "{tried}");
        let counts = ["due", "judged", "fired", "unknown"].map(|key| tried[key].as_i64().unwrap());
        assert_eq!((&tried["scope"], counts), (&json!("run"), [3, 2, 1, 1]), "{tried}");
        let flagged = &tried["flagged"][0];
        assert_eq!((&flagged["run_id"], &flagged["evidence"]["tool_calls"]), (&json!("many"), &json!(4)));
        assert_eq!((&flagged["failure_type"], &flagged["description"]), (&json!("BUSY"), &json!("4 calls")));
    }
    assert_eq!(site.get("/api/v1/anomalies").await["items"], json!([]), "trying writes nothing");
    let (status, wrong) = ask(&text("SELECT run_id, tol_calls FROM ingest.runs")).await;
    assert_eq!(status, 422, "{wrong}");
    assert_eq!(wrong["error"]["detail"], "runs/busy.sql, line 4", "{wrong}");
    assert!(wrong["error"]["message"].as_str().unwrap().contains("tol_calls"), "{wrong}");

    let put = async |name: &str, text: &str| {
        let path = format!("/api/v1/detectors/{name}");
        let answer = site.request("admin", Method::PUT, &path).json(&json!({ "text": text })).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(put("busy", &text("DELETE FROM ingest.runs")).await.0, 422);
    assert!(!site.home().join("queries/runs/busy.sql").exists());
    let (status, saved) = put("busy", &text(query)).await;
    assert_eq!((status, &saved["scope"], &saved["mode"]), (200, &json!("run"), &json!("shadow")), "{saved}");
    assert!(site.home().join("queries/runs/busy.sql").is_file());
    assert_eq!(put("tool_loop", &text(query).replace("busy", "tool_loop")).await.0, 409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detector_whose_query_cannot_be_run_does_not_go_live() {
    let site = Site::new().await;
    let folder = site.home().join("queries/runs");
    std::fs::create_dir_all(&folder).unwrap();
    let broken = "-- name: broken\n-- severity: high\nSELECT run_id,\n  nothing\nFROM ingest.runs\n";
    std::fs::write(folder.join("broken.sql"), broken).unwrap();
    let promote = async || {
        let body = json!({"runs": {"live": ["broken"]}});
        let answer = site.request("admin", Method::PATCH, "/api/v1/settings").json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, refused) = promote().await;
    assert_eq!((status, &refused["error"]["detail"]), (422, &json!("queries/runs/broken.sql, line 4")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("nothing"), "{refused}");
    assert_eq!(site.get("/api/v1/settings").await["settings"]["runs"]["live"], json!([]));
    std::fs::write(folder.join("broken.sql"), "-- name: broken\n-- severity: high\n-- when: tool_calls > 3\n").unwrap();
    let (status, answer) = promote().await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn a_row_has_every_column_and_every_digit() {
    let site = Site::new().await;
    let sql = "SELECT a.x, b.x, 9007199254740993 AS big, CAST('NaN' AS DOUBLE) AS odd, CAST(NULL AS DOUBLE) AS none, \
               CAST(1.10 AS DECIMAL(4, 2)) AS price, [1] AS list FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b";
    let expected =
        json!({"x": 1, "x_1": 2, "big": "9007199254740993", "odd": "NaN", "none": null, "price": "1.10", "list": [1]});
    let (status, answer) = site.post("read", "/api/v1/sql", &json!({ "sql": sql })).await;
    assert_eq!((status, &answer["rows"][0]), (200, &expected), "{answer}");
    assert_eq!((&answer["columns"][1]["name"], &answer["columns"][2]["type"]), (&json!("x_1"), &json!("Int64")));
    assert_eq!(answer["report"]["complete"], true);
    assert!(answer["report"]["notes"][0].as_str().unwrap().contains("x_1"), "{answer}");
    assert_eq!(lines(&site, sql).await[1]["rows"][0], expected, "as it is streamed");
    let body = json!({"sql": sql, "format": "csv"});
    let file =
        site.request("read", Method::POST, "/api/v1/sql").json(&body).send().await.unwrap().text().await.unwrap();
    assert_eq!(file, "x,x_1,big,odd,none,price,list\n1,2,9007199254740993,NaN,,1.10,[1]\n");
}

#[tokio::test]
async fn a_streamed_answer_that_fails_says_what_had_been_asked_until_then() {
    let site = Site::new().await;
    let lines = lines(&site, "SELECT 1 / (value - 15000) AS n FROM generate_series(1, 20000)").await;
    let so_far = &lines.last().unwrap()["so_far"];
    assert_eq!((&so_far["complete"], &so_far["requests"]), (&json!(false), &json!(0)), "{so_far}");
    assert!(so_far["rows"].as_u64().is_some_and(|rows| rows < 20_000), "{so_far}");
}
