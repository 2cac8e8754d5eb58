//! What may be asked, how values are bound, and what errors say.

use std::sync::Arc;

use super::toy::{Toy, engine, now};
use crate::{
    EngineError, InputTable, OutputFormat, Param, Params, QueryOptions, RowWriter, ScanErrorKind, Settings, json_rows,
};

async fn ask(
    sql: &str,
    params: &[(&str, Param)],
) -> Result<Vec<serde_json::Map<String, serde_json::Value>>, EngineError> {
    let params: Params = params.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    let toy = Arc::new(Toy::new("t", 2).newest_first());
    let result = engine(&[toy]).collect(sql, QueryOptions::with_params(params)).await?;
    Ok(json_rows(&result.schema, &result.batches).unwrap())
}

#[tokio::test]
async fn statements_that_write_are_refused() {
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "DROP TABLE toy.t",
        "INSERT INTO toy.t VALUES (1)",
        "DELETE FROM toy.t",
        "UPDATE toy.t SET id = 1",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE INSERT INTO toy.t VALUES (1)",
        "CREATE VIEW v AS SELECT 1",
        "PREPARE p AS SELECT 1",
        "BEGIN",
    ] {
        let error = ask(sql, &[]).await.unwrap_err();
        assert!(matches!(error, EngineError::ReadOnly(_) | EngineError::Query { .. }), "{sql}: {error:?}");
    }
}

#[tokio::test]
async fn one_statement_at_a_time() {
    assert!(ask("SELECT 1; SELECT 2", &[]).await.is_err());
    assert!(ask("   ", &[]).await.is_err());
}

#[tokio::test]
async fn a_session_sets_shows_and_resets_what_its_queries_may_cost() {
    let engine = engine(&[Arc::new(Toy::new("t", 20))]);
    let mut session = Settings::default();
    let mut run = async |sql: &str| -> Result<Vec<serde_json::Map<String, serde_json::Value>>, EngineError> {
        let result = engine.query_in(&mut session, sql, QueryOptions::default()).await?.collect().await?;
        Ok(json_rows(&result.schema, &result.batches).unwrap())
    };
    assert_eq!(run("SET tripline.max_requests = 5").await.unwrap()[0]["value"], "5");
    let error = run("SELECT count(*) AS n FROM toy.t").await.unwrap_err();
    assert_eq!(error.scan_error().map(|e| e.kind), Some(ScanErrorKind::Budget));
    assert_eq!(run("RESET tripline.max_requests; SELECT count(*) AS n FROM toy.t").await.unwrap()[0]["n"], 2000);
    run("set tripline.freshness = '90s'; SET tripline.timeout = '500ms'").await.unwrap();
    let shown = run("SHOW tripline").await.unwrap();
    let shown: Vec<&str> = shown.iter().map(|row| row["value"].as_str().unwrap()).collect();
    assert_eq!(shown, ["90s", "500ms", "10000"]);
    assert_eq!(run("SHOW tripline.freshness").await.unwrap()[0]["name"], "tripline.freshness");
}

#[tokio::test]
async fn a_setting_that_is_wrong_or_too_much_is_an_error_and_changes_nothing() {
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let mut session = Settings::default();
    for (sql, says) in [
        ("SET tripline.freshnes = '60s'", "tripline.freshness"),
        ("SET tripline.freshness = '60s'; SET tripline.timeout = 'soon'", "'soon'"),
        ("SET tripline.timeout = '3h'", "at most 120s"),
        ("SET tripline.max_requests = 1000000", "at most 10000"),
        ("SET tripline.freshness = '60s'; SELECT 1; SELECT 2", "one query at a time"),
        ("SHOW tripline.color", "tripline.color"),
        ("RESET tripline.color", "tripline.color"),
        ("-- nothing", "empty"),
    ] {
        let error = engine.query_in(&mut session, sql, QueryOptions::default()).await.unwrap_err().to_string();
        assert!(error.contains(says), "{sql}: {error}");
        assert_eq!(session, Settings::default(), "{sql}");
    }
}

#[tokio::test]
async fn named_parameters_are_bound_as_values_of_the_expected_type() {
    let rows = ask("SELECT count(*) AS n FROM toy.t WHERE id = $id", &[("id", "7".into())]).await.unwrap();
    assert_eq!(rows[0]["n"], 1);
    let rows = ask(
        "SELECT count(*) AS n FROM toy.t WHERE at >= $from",
        &[("from", Param::Text("2026-11-20T11:51:00Z".into()))],
    )
    .await
    .unwrap();
    assert_eq!(rows[0]["n"], 10);
    let rows = ask(
        "SELECT count(*) AS n FROM toy.t WHERE at > $from",
        &[("from", Param::Timestamp(now() - chrono::TimeDelta::minutes(5)))],
    )
    .await
    .unwrap();
    assert_eq!(rows[0]["n"], 5);
    let rows = ask(
        "SELECT count(*) AS n FROM toy.t WHERE status = ANY($list)",
        &[("list", Param::TextList(vec!["ok".into(), "x".into()]))],
    )
    .await
    .unwrap();
    assert_eq!(rows[0]["n"], 134);
}

#[tokio::test]
async fn a_hostile_value_stays_a_value() {
    let hostile = "x' OR 1=1 --";
    let rows =
        ask("SELECT count(*) AS n, $v AS v FROM toy.t WHERE status = $v", &[("v", hostile.into())]).await.unwrap();
    assert_eq!((&rows[0]["n"], rows[0]["v"].as_str()), (&serde_json::json!(0), Some(hostile)));
}

#[tokio::test]
async fn missing_surplus_and_unparsable_parameters_are_named() {
    let missing = ask("SELECT $a", &[]).await.unwrap_err().to_string();
    assert!(missing.contains("$a"), "{missing}");
    let surplus = ask("SELECT $a", &[("a", "1".into()), ("b", "2".into())]).await.unwrap_err().to_string();
    assert!(surplus.contains("$b") && surplus.contains("$a"), "{surplus}");
    let wrong =
        ask("SELECT * FROM toy.t WHERE at > $t", &[("t", "yesterday-ish".into())]).await.unwrap_err().to_string();
    assert!(wrong.contains("$t") && wrong.contains("timestamp"), "{wrong}");
}

#[tokio::test]
async fn now_is_the_injected_clock_and_has_a_zone() {
    let rows =
        ask("SELECT now() AS t, count(*) AS n FROM toy.t WHERE at > now() - INTERVAL '10 minutes'", &[]).await.unwrap();
    assert_eq!(rows[0]["t"], "2026-11-20T12:00:00Z");
    assert_eq!(rows[0]["n"], 10);
}

#[tokio::test]
async fn an_unknown_table_is_answered_with_suggestions() {
    let error = ask("SELECT * FROM toy.tt", &[]).await.unwrap_err().to_string();
    assert!(error.contains("toy.tt") && error.contains("did you mean toy.t?"), "{error}");
}

#[tokio::test]
async fn an_unknown_column_names_the_valid_ones() {
    let error = ask("SELECT statsu FROM toy.t", &[]).await.unwrap_err().to_string();
    assert!(error.contains("statsu") && error.contains("status"), "{error}");
}

#[tokio::test]
async fn json_operators_read_nested_text() {
    let rows =
        ask(r#"SELECT '{"a":{"b":"c"}}' -> 'a' ->> 'b' AS v, json_get_str('{}', 'x') AS none"#, &[]).await.unwrap();
    assert_eq!((rows[0]["v"].as_str(), rows[0]["none"].is_null()), (Some("c"), true));
}

#[tokio::test]
async fn every_format_writes_nulls_and_empty_results() {
    let toy = Arc::new(Toy::new("t", 1));
    let engine = engine(&[toy]);
    let write = async |sql: &str, format| {
        let result = engine.collect(sql, QueryOptions::default()).await.unwrap();
        let mut out = Vec::new();
        let mut writer = RowWriter::new(&mut out, format, result.schema.clone());
        for batch in &result.batches {
            writer.write(batch).unwrap();
        }
        writer.finish().unwrap();
        String::from_utf8(out).unwrap()
    };
    let one = "SELECT id, at, CAST(NULL AS VARCHAR) AS none FROM toy.t LIMIT 1";
    let none = "SELECT id FROM toy.t WHERE id < 0";
    assert_eq!(write(one, OutputFormat::Json).await, "[{\"id\":0,\"at\":\"2026-11-20T12:00:00Z\",\"none\":null}]\n");
    assert_eq!(write(none, OutputFormat::Json).await, "[]\n");
    assert_eq!(write(one, OutputFormat::Ndjson).await, "{\"id\":0,\"at\":\"2026-11-20T12:00:00Z\",\"none\":null}\n");
    assert_eq!(write(none, OutputFormat::Ndjson).await, "");
    assert_eq!(write(one, OutputFormat::Csv).await, "id,at,none\n0,2026-11-20T12:00:00Z,\n");
    assert_eq!(write(none, OutputFormat::Csv).await, "id\n");
    assert!(write(none, OutputFormat::Table).await.contains("| id |"));
}

#[tokio::test]
async fn parquet_holds_the_rows_and_says_in_its_footer_whether_they_are_all() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let write = async |sql: &str, max_rows, finished: bool| {
        let options = QueryOptions { max_rows, ..QueryOptions::default() };
        let result = engine.collect(sql, options).await.unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = RowWriter::new(file.reopen().unwrap(), OutputFormat::Parquet, result.schema.clone());
        for batch in &result.batches {
            writer.write(batch).unwrap();
        }
        if finished {
            writer.finish_with(&result.report).unwrap();
        }
        file
    };
    let read = |file: &tempfile::NamedTempFile| {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file.reopen().unwrap())?;
        let said = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
        let said: Vec<(String, String)> = said
            .into_iter()
            .filter(|entry| entry.key.starts_with("tripline."))
            .map(|entry| (entry.key, entry.value.unwrap_or_default()))
            .collect();
        let rows: usize = reader.build()?.map(|batch| batch.unwrap().num_rows()).sum();
        Ok::<_, parquet::errors::ParquetError>((rows, said))
    };
    let one = "SELECT id, at, NULL AS none, j->'a' AS a FROM toy.t, (VALUES ('{\"a\":[1]}')) v(j) ORDER BY id LIMIT 1";
    let whole = vec![("tripline.complete".to_owned(), "true".to_owned())];
    assert_eq!(read(&write(one, None, true).await).unwrap(), (1, whole.clone()));
    assert_eq!(read(&write("SELECT id FROM toy.t WHERE id < 0", None, true).await).unwrap(), (0, whole));
    let (rows, said) = read(&write("SELECT id FROM toy.t", Some(3), true).await).unwrap();
    assert_eq!((rows, said[0].1.as_str()), (3, "false"));
    assert!(said[1].1.contains("first 3 rows"), "{said:?}");
    assert!(read(&write("SELECT id FROM toy.t", None, false).await).is_err(), "without its end it is no file");
}

#[tokio::test]
async fn a_table_says_below_its_rows_what_is_missing() {
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let options = QueryOptions { max_rows: Some(3), ..QueryOptions::default() };
    let result = engine.collect("SELECT id FROM toy.t", options).await.unwrap();
    let mut out = Vec::new();
    let mut writer = RowWriter::new(&mut out, OutputFormat::Table, result.schema.clone());
    for batch in &result.batches {
        writer.write(batch).unwrap();
    }
    writer.finish_with(&result.report).unwrap();
    let text = String::from_utf8(out).unwrap();
    let below = text.split_once("INCOMPLETE\n").unwrap().1;
    assert!(below.starts_with("warning: ") && below.contains("first 3 rows"), "{text}");
}

#[tokio::test]
async fn a_statement_that_writes_is_refused_before_its_rows_are_looked_at() {
    for sql in [
        "INSERT INTO toy.t VALUES (1)",
        "EXPLAIN INSERT INTO toy.t VALUES (1)",
        "UPDATE toy.nothing SET x = 1",
        "DELETE FROM toy.nothing",
    ] {
        let error = ask(sql, &[]).await.unwrap_err();
        assert!(error.to_string().contains("read-only"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn a_query_can_bring_tables_of_its_own_that_no_other_query_sees() {
    let engine = engine(&[Arc::new(Toy::new("t", 2))]);
    let keys = arrow::array::Int64Array::from(vec![3, 5]);
    let batch = arrow::array::RecordBatch::try_from_iter([("id", Arc::new(keys) as arrow::array::ArrayRef)]).unwrap();
    let input = vec![InputTable { name: "keys".into(), schema: batch.schema(), batches: vec![batch] }];
    let options = QueryOptions { input, ..QueryOptions::default() };
    let sql = "SELECT t.id FROM toy.t JOIN input.keys k ON t.id = k.id ORDER BY t.id";
    let result = engine.collect(sql, options).await.unwrap();
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    assert_eq!(rows.iter().map(|r| r["id"].as_i64().unwrap()).collect::<Vec<_>>(), [3, 5]);
    assert!(engine.collect(sql, QueryOptions::default()).await.is_err());
}

#[tokio::test]
async fn json_kind_tells_json_from_text() {
    let rows = ask("SELECT json_kind('{}') AS a, json_kind('oops') AS b, json_kind(status) AS c, json_kind(NULL) AS d FROM toy.t LIMIT 1", &[])
        .await
        .unwrap();
    assert_eq!(
        (rows[0]["a"].as_str(), rows[0]["b"].as_str(), rows[0]["c"].as_str()),
        (Some("object"), Some("text"), Some("text"))
    );
    assert!(rows[0]["d"].is_null());
}

async fn written(sql: &str, format: OutputFormat) -> (String, crate::CompletenessReport) {
    let result = engine(&[]).collect(sql, QueryOptions::default()).await.unwrap();
    let mut out = Vec::new();
    let mut writer = RowWriter::new(&mut out, format, result.schema.clone());
    for batch in &result.batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    (String::from_utf8(out).unwrap(), result.report)
}

#[tokio::test]
async fn no_column_is_lost_because_another_one_has_its_name() {
    let sql = "SELECT * FROM (SELECT 1 AS x) a, (SELECT 2 AS x) b, (SELECT 3 AS x) c";
    assert_eq!(written(sql, OutputFormat::Csv).await.0, "x,x_1,x_2\n1,2,3\n");
    let (json, report) = written(sql, OutputFormat::Ndjson).await;
    assert_eq!(json, "{\"x\":1,\"x_1\":2,\"x_2\":3}\n");
    assert!(report.complete && report.warnings.is_empty(), "the answer is whole: {report:?}");
    assert!(report.notes.len() == 2 && report.notes[0].contains("column 2 is called x_1"), "{report:?}");
    let (json, _) =
        written("SELECT * FROM (SELECT 1 AS id) a JOIN (SELECT 1 AS id) b USING (id)", OutputFormat::Json).await;
    assert_eq!(json, "[{\"id\":1}]\n", "what is one column stays one");
}

#[tokio::test]
async fn lists_and_structs_are_json_text_in_csv() {
    let sql = "SELECT [1, 2] AS arr, named_struct('a', 'x\"y', 'b', NULL) AS s, CAST(NULL AS BIGINT[]) AS none, 7 AS n";
    assert_eq!(
        written(sql, OutputFormat::Csv).await.0,
        "arr,s,none,n\n\"[1,2]\",\"{\"\"a\"\":\"\"x\\\"\"y\"\",\"\"b\"\":null}\",,7\n"
    );
    assert_eq!(written(&format!("{sql} WHERE false"), OutputFormat::Csv).await.0, "arr,s,none,n\n");
}

#[tokio::test]
async fn what_is_no_number_for_json_is_text_and_not_null() {
    let sql = "SELECT CAST('NaN' AS DOUBLE) AS a, CAST('Infinity' AS REAL) AS b, CAST('-Infinity' AS DOUBLE) AS c, \
               CAST(NULL AS DOUBLE) AS d, 1.5 AS e";
    let (json, _) = written(sql, OutputFormat::Ndjson).await;
    assert_eq!(json, "{\"a\":\"NaN\",\"b\":\"Infinity\",\"c\":\"-Infinity\",\"d\":null,\"e\":1.5}\n");
}

#[tokio::test]
async fn a_reader_with_doubles_gets_the_digits_that_it_would_lose_as_text() {
    let sql = "SELECT * FROM (VALUES (9007199254740993, CAST(1.10 AS DECIMAL(10, 2)), 0.1), (7, NULL, CAST('NaN' AS DOUBLE))) t(n, d, f)";
    let result = engine(&[]).collect(sql, QueryOptions::default()).await.unwrap();
    let rows = crate::exact_json_rows(&result.schema, &result.batches).unwrap();
    let expected = serde_json::json!([
        {"n": "9007199254740993", "d": "1.10", "f": 0.1},
        {"n": 7, "d": null, "f": "NaN"},
    ]);
    assert_eq!(serde_json::json!(rows), expected);
    let (file, _) = written("SELECT 9007199254740993 AS n", OutputFormat::Ndjson).await;
    assert_eq!(file, "{\"n\":9007199254740993}\n", "a file has the digits as they are");
}
