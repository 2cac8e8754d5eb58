//! Time-window joins give what comparing every pair gives, and are never nested loops.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;

use super::toy::{Toy, engine};
use crate::{Engine, InputTable, QueryOptions, json_rows};

/// (id, key, minutes since the epoch)
type Row = (i64, Option<&'static str>, Option<i64>);

fn table(name: &str, rows: &[Row]) -> InputTable {
    let ids: Int64Array = rows.iter().map(|r| Some(r.0)).collect();
    let keys: StringArray = rows.iter().map(|r| r.1).collect();
    let at: TimestampMicrosecondArray = rows.iter().map(|r| r.2.map(|m| m * 60_000_000)).collect();
    let columns: [(&str, ArrayRef, bool); 3] =
        [("id", Arc::new(ids), true), ("k", Arc::new(keys), true), ("ts", Arc::new(at.with_timezone("UTC")), true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    // Several batches, so that state is carried between them.
    let batches = (0..rows.len()).step_by(7).map(|i| batch.slice(i, 7.min(rows.len() - i))).collect();
    InputTable { name: name.into(), schema: batch.schema(), batches }
}

async fn run(engine: &Engine, sql: &str, a: &[Row], b: &[Row]) -> Vec<Vec<Option<i64>>> {
    let options = QueryOptions { input: vec![table("a", a), table("b", b)], ..QueryOptions::default() };
    let plan = engine.collect(&format!("EXPLAIN {sql}"), options.clone()).await.unwrap();
    let plan = format!("{:?}", json_rows(&plan.schema, &plan.batches).unwrap());
    assert!(plan.contains("IntervalJoinExec") && !plan.contains("NestedLoop"), "{sql}: {plan}");
    let result = engine.collect(sql, options).await.unwrap();
    let rows = json_rows(&result.schema, &result.batches).unwrap();
    let mut rows: Vec<Vec<Option<i64>>> =
        rows.iter().map(|row| row.values().map(serde_json::Value::as_i64).collect()).collect();
    rows.sort();
    rows
}

/// All pairs that satisfy `on`.
fn pairs<'a>(a: &'a [Row], b: &'a [Row], on: impl Fn(&Row, &Row) -> bool + 'a) -> Vec<(&'a Row, &'a Row)> {
    a.iter().flat_map(|x| b.iter().map(move |y| (x, y))).filter(|(x, y)| on(x, y)).collect()
}

fn within(x: &Row, y: &Row, minutes: i64) -> bool {
    matches!((x.2, y.2), (Some(x), Some(y)) if y >= x && y < x + minutes)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let key = prop_oneof![Just(None), Just(Some("p")), Just(Some("q")), Just(Some("r"))];
    let row = (key, proptest::option::weighted(0.9, 0i64..40));
    proptest::collection::vec(row, 0..40)
        .prop_map(|rows| rows.into_iter().enumerate().map(|(i, (k, m))| (i as i64, k, m)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_join_type_gives_what_comparing_every_pair_gives(a in rows(), b in rows()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let engine = engine(&[Arc::new(Toy::new("t", 1))]);
            let ids = |pairs: Vec<(&Row, &Row)>| {
                let mut ids: Vec<Vec<Option<i64>>> = pairs.iter().map(|(x, y)| vec![Some(x.0), Some(y.0)]).collect();
                ids.sort();
                ids
            };
            let window = "b.ts >= a.ts AND b.ts < a.ts + INTERVAL '5 minutes'";

            let sql = format!("SELECT a.id AS x, b.id AS y FROM input.a JOIN input.b ON {window}");
            assert_eq!(run(&engine, &sql, &a, &b).await, ids(pairs(&a, &b, |x, y| within(x, y, 5))));

            let sql = format!("SELECT a.id AS x, b.id AS y FROM input.a JOIN input.b ON a.k = b.k AND {window}");
            assert_eq!(run(&engine, &sql, &a, &b).await, ids(pairs(&a, &b, |x, y| x.1.is_some() && x.1 == y.1 && within(x, y, 5))));

            let sql = "SELECT a.id AS x, b.id AS y FROM input.b JOIN input.a ON b.ts BETWEEN a.ts - INTERVAL '2 minutes' AND a.ts AND b.id <> a.id";
            assert_eq!(run(&engine, sql, &a, &b).await, ids(pairs(&a, &b, |x, y| {
                matches!((x.2, y.2), (Some(x), Some(y)) if y >= x - 2 && y <= x) && x.0 != y.0
            })));

            let sql = format!("SELECT a.id AS x, b.id AS y FROM input.a LEFT JOIN input.b ON a.k = b.k AND {window} AND b.id % 2 = 0");
            let on = |x: &Row, y: &Row| x.1.is_some() && x.1 == y.1 && within(x, y, 5) && y.0 % 2 == 0;
            let mut expected: Vec<Vec<Option<i64>>> = a.iter().flat_map(|x| {
                let matches: Vec<_> = b.iter().filter(|y| on(x, y)).map(|y| vec![Some(x.0), Some(y.0)]).collect();
                if matches.is_empty() { vec![vec![Some(x.0), None]] } else { matches }
            }).collect();
            expected.sort();
            assert_eq!(run(&engine, &sql, &a, &b).await, expected);

            for (not, wanted) in [("", true), ("NOT ", false)] {
                let sql = format!("SELECT a.id AS x FROM input.a WHERE {not}EXISTS (SELECT 1 FROM input.b WHERE {window})");
                let expected: Vec<Vec<Option<i64>>> =
                    a.iter().filter(|x| b.iter().any(|y| within(x, y, 5)) == wanted).map(|x| vec![Some(x.0)]).collect();
                assert_eq!(run(&engine, &sql, &a, &b).await, expected, "{sql}");
                let sql = format!("SELECT a.id AS x FROM input.a WHERE {not}EXISTS (SELECT 1 FROM input.b WHERE {window} AND b.id > a.id)");
                let expected: Vec<Vec<Option<i64>>> = a.iter()
                    .filter(|x| b.iter().any(|y| within(x, y, 5) && y.0 > x.0) == wanted).map(|x| vec![Some(x.0)]).collect();
                assert_eq!(run(&engine, &sql, &a, &b).await, expected, "{sql}");
            }

            let sql = format!("SELECT count(*) AS n FROM input.a, input.b WHERE {window}");
            assert_eq!(run(&engine, &sql, &a, &b).await, [[Some(pairs(&a, &b, |x, y| within(x, y, 5)).len() as i64)]]);
        });
    }
}

#[tokio::test]
async fn a_range_between_two_columns_is_a_window_too() {
    let a: Vec<Row> = vec![(1, None, Some(10)), (2, None, Some(20)), (3, None, Some(30))];
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let sql = "SELECT r.id AS x, a.id AS y FROM (SELECT id, ts AS first, ts + INTERVAL '15 minutes' AS last FROM input.b) r \
               JOIN input.a ON a.ts BETWEEN r.first AND r.last";
    let rows = run(&engine, sql, &a, &[(7, None, Some(8)), (8, None, Some(31))]).await;
    assert_eq!(rows, [[Some(7), Some(1)], [Some(7), Some(2)]]);
}

#[tokio::test]
async fn many_matches_of_one_row_are_split_into_batches_and_none_is_lost() {
    let a: Vec<Row> = vec![(1, Some("p"), Some(0)), (2, Some("p"), Some(1))];
    let b: Vec<Row> = (0..20_000).map(|i| (i, Some("p"), Some(i % 3))).collect();
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let sql = "SELECT a.id AS x, count(b.id) AS y FROM input.a LEFT JOIN input.b ON a.k = b.k AND b.ts >= a.ts AND b.ts < a.ts + INTERVAL '2 minutes' AND b.id >= 0 GROUP BY a.id";
    let rows = run(&engine, sql, &a, &b).await;
    assert_eq!(rows, [[Some(1), Some(13_334)], [Some(2), Some(13_333)]]);
}

#[tokio::test]
async fn months_have_no_fixed_length_and_are_left_to_datafusion() {
    let a: Vec<Row> = vec![(1, None, Some(0))];
    let engine = engine(&[Arc::new(Toy::new("t", 1))]);
    let options = QueryOptions { input: vec![table("a", &a), table("b", &a)], ..QueryOptions::default() };
    let sql = "SELECT count(*) AS n FROM input.a JOIN input.b ON b.ts >= a.ts AND b.ts < a.ts + INTERVAL '1 month'";
    let result = engine.collect(sql, options).await.unwrap();
    assert_eq!(json_rows(&result.schema, &result.batches).unwrap()[0]["n"], 1);
}
