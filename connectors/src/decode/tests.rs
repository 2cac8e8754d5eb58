use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::scalar::ScalarValue;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::spec::{JsonPath, TableSpec, parse};

fn table(columns: &str, endpoint: &str) -> Arc<TableSpec> {
    let text = format!(
        r"source: toy
description: A toy.
base_url: {{ env: [TOY_URL] }}
auth: {{ type: none }}
test: /ping
tables:
  things:
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: {{ type: text, about: Id }}
{columns}
    endpoints:
      - name: things
        path: /things
        rows: data.items
{endpoint}
"
    );
    match parse("toy.yaml", &text) {
        Ok(spec) => Arc::clone(&spec.tables[0]),
        Err(errors) => panic!("{errors}"),
    }
}

fn decode_all(table: &TableSpec, body: &[u8], constants: &Constants) -> Result<Decoded, DecodeError> {
    let columns: Vec<usize> = (0..table.columns.len()).collect();
    let meta = [JsonPath::parse("meta.next").unwrap(), JsonPath::parse("data.count").unwrap()];
    Decoder::new(table, &table.endpoints[0], &columns, &meta).decode(body, constants)
}

fn decode(table: &TableSpec, items: &Value) -> RecordBatch {
    let body = json!({"meta": {"next": "n"}, "data": {"items": items, "count": 7}}).to_string();
    decode_all(table, body.as_bytes(), &Constants::new()).unwrap().batch
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let array = batch.column_by_name(name).unwrap().as_string::<i32>();
    array.is_valid(row).then(|| array.value(row).to_owned())
}

#[test]
fn paging_values_are_picked_before_and_after_the_rows() {
    let table = table("", "");
    for body in [
        r#"{"meta": {"next": "n"}, "data": {"items": [{"id": 1}], "count": 7}}"#,
        r#"{"data": {"count": 7, "items": [{"id": 1}]}, "meta": {"next": "n", "more": [1, {"next": 2}]}}"#,
    ] {
        let decoded = decode_all(&table, body.as_bytes(), &Constants::new()).unwrap();
        assert_eq!(decoded.meta, [Some("n".to_owned()), Some("7".to_owned())]);
        assert_eq!(decoded.rows, 1);
    }
}

#[test]
fn the_first_place_with_a_value_wins_and_a_missing_one_is_null() {
    let table = table("      cost: { type: float, path: [total, costs.total, usage.cost], about: x }", "");
    let batch = decode(
        &table,
        &json!([{"total": 1}, {"total": null, "costs": {"total": "2.5"}}, {"usage": {"cost": 3}, "costs": 9}, {}]),
    );
    let costs: Vec<Option<f64>> = batch.column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(costs, [Some(1.0), Some(2.5), Some(3.0), None]);
}

#[test]
fn json_keeps_the_vendors_text_and_strings_lose_their_quotes() {
    let table =
        table("      extra: { type: json, about: x }\n      inner: { type: text, path: extra.a, about: x }", "");
    let body = r#"{"data": {"items": [
        {"extra": {"b" : 1.10, "a":"x"}}, {"extra": "{\"already\": \"json\"}"}, {"extra": [1, 2 ]}, {"extra": null}
    ]}}"#;
    let batch = decode_all(&table, body.as_bytes(), &Constants::new()).unwrap().batch;
    let extra: Vec<Option<String>> = (0..4).map(|row| text(&batch, "extra", row)).collect();
    let expected = [Some(r#"{"b" : 1.10, "a":"x"}"#), Some(r#"{"already": "json"}"#), Some("[1, 2 ]"), None];
    assert_eq!(extra, expected.map(|e| e.map(str::to_owned)));
    assert_eq!(text(&batch, "inner", 0).as_deref(), Some("x"), "a part of a wanted part");
}

#[test]
fn a_guard_decides_which_of_two_columns_a_value_is_for() {
    let columns = "      value: { type: float, when: { kind: [NUMERIC] }, about: x }\n      label: { type: text, path: [text, value], when: { kind: [LABEL] }, about: x }";
    let table = table(columns, "");
    let batch = decode(
        &table,
        &json!([{"kind": "NUMERIC", "value": 0.5}, {"value": "5", "kind": "LABEL"}, {"value": 2}, {"kind": "LABEL", "value": 0, "text": "good"}]),
    );
    let values: Vec<Option<f64>> = batch.column(1).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(values, [Some(0.5), None, Some(2.0), None]);
    let labels: Vec<Option<String>> = (0..4).map(|row| text(&batch, "label", row)).collect();
    assert_eq!(labels, [None, Some("5".into()), Some("2".into()), Some("good".into())]);
}

#[test]
fn arrays_can_be_indexed_counted_and_tested_for() {
    let columns = "      first: { type: text, path: tags.0, about: x }\n      tags: { type: int, path: 'tags.#', about: x }\n      has: { type: bool, exists: tags, about: x }";
    let batch = decode(&table(columns, ""), &json!([{"tags": ["a", "b"]}, {"tags": []}, {"tags": null}, {}]));
    assert_eq!(text(&batch, "first", 0).as_deref(), Some("a"));
    let counts: Vec<Option<i64>> = batch.column(2).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(counts, [Some(2), Some(0), None, None]);
    let has: Vec<Option<bool>> = batch.column(3).as_boolean().iter().collect();
    assert_eq!(has, [Some(true), Some(true), Some(false), Some(false)]);
}

#[test]
fn rows_that_a_disobedient_vendor_adds_are_left_out_but_counted() {
    let table = table("", "        keep_when: { root: ['true'] }");
    let body = json!({"data": {"items": [{"id": 1, "root": true}, {"id": 2, "root": false}, {"id": 3}]}}).to_string();
    let decoded = decode_all(&table, body.as_bytes(), &Constants::new()).unwrap();
    assert_eq!((decoded.rows, decoded.batch.num_rows()), (3, 2));
    assert_eq!(text(&decoded.batch, "id", 1).as_deref(), Some("3"));
}

#[test]
fn a_value_that_cannot_be_read_is_null_only_where_the_spec_says_so() {
    let items = json!([{"n": "many"}]);
    let strict = table("      n: { type: int, about: x }", "");
    let body = json!({"data": {"items": items}}).to_string();
    let error = decode_all(&strict, body.as_bytes(), &Constants::new()).unwrap_err();
    assert_eq!(error.to_string(), "`\"many\"` at $.data.items[0].n is not a 64-bit integer, as the column `n` needs");
    let lenient = table("      n: { type: int, on_error: null, about: x }", "");
    assert!(decode(&lenient, &items).column(1).is_null(0));
}

#[test]
fn an_echoed_filter_fills_only_what_the_answer_lacks() {
    let table = table("      user: { type: text, about: x }", "");
    let constants = Constants::from([(1, ScalarValue::Utf8(Some("u1".into())))]);
    let body = json!({"data": {"items": [{"user": "u2"}, {}]}}).to_string();
    let batch = decode_all(&table, body.as_bytes(), &constants).unwrap().batch;
    assert_eq!((text(&batch, "user", 0).as_deref(), text(&batch, "user", 1).as_deref()), (Some("u2"), Some("u1")));
}

#[test]
fn a_body_cut_short_anywhere_is_told_from_one_that_is_no_json() {
    let table = table("", "");
    let body = json!({"data": {"items": [{"id": "a"}, {"id": "b"}]}, "meta": {"next": "x"}}).to_string();
    for end in 1..body.len() {
        let error = decode_all(&table, &body.as_bytes()[..end], &Constants::new()).unwrap_err();
        assert_eq!(error, DecodeError::CutShort, "{}", &body[..end]);
    }
    assert!(matches!(decode_all(&table, b"", &Constants::new()), Err(DecodeError::NotJson(_))));
    let twice = format!("{body}{body}");
    assert!(matches!(decode_all(&table, twice.as_bytes(), &Constants::new()), Err(DecodeError::NotJson(_))));
}

/// A value as a vendor may write it, and what it is to columns of each type.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e15..1e15_f64).prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(n.to_string())),
        "\\PC{0,12}".prop_map(Value::from),
        (0..4_102_444_800_i64)
            .prop_map(|s| { Value::from(chrono::DateTime::from_timestamp(s, 0).unwrap().to_rfc3339()) }),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
        prop::collection::btree_map("[a-z]{1,3}", any::<i16>(), 0..3).prop_map(|m| json!(m)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let table = table("      n: { type: int, about: x }\n      t: { type: timestamp, about: x }", "");
        let _ = decode_all(&table, &bytes, &Constants::new());
    }

    #[test]
    fn no_damage_to_a_body_makes_the_decoder_panic(at in 0..120_usize, byte in any::<u8>()) {
        let table = table("      n: { type: int, about: x }\n      t: { type: timestamp, path: a.b, about: x }", "");
        let mut body = json!({"data": {"items": [{"id": "é\u{1F600}", "n": 1, "a": {"b": "2026-01-01"}}]}, "meta": {"next": "x"}}).to_string().into_bytes();
        let at = at % body.len();
        body[at] = byte;
        let _ = decode_all(&table, &body, &Constants::new());
    }

    /// Against the plainest decoder there can be.
    #[test]
    fn rows_are_what_a_reader_of_the_json_would_say(values in prop::collection::vec(any_value(), 0..20)) {
        let columns = "      s: { type: text, path: v, about: x }\n      j: { type: json, path: v, about: x }\n      i: { type: int, path: v, on_error: null, about: x }\n      f: { type: float, path: v, on_error: null, about: x }\n      b: { type: bool, path: v, on_error: null, about: x }\n      t: { type: timestamp, format: iso, path: v, on_error: null, about: x }";
        let table = table(columns, "");
        let items: Vec<Value> = values.iter().map(|v| json!({"v": v, "noise": {"v": 1}})).collect();
        let batch = decode(&table, &Value::from(items));
        prop_assert_eq!(batch.num_rows(), values.len());
        for (row, value) in values.iter().enumerate() {
            let plain = match value {
                Value::Null => None,
                Value::String(s) => Some(s.clone()),
                other => Some(other.to_string()),
            };
            prop_assert_eq!(text(&batch, "s", row), plain.clone());
            prop_assert_eq!(text(&batch, "j", row), plain);
            let ints = batch.column(3).as_primitive::<Int64Type>();
            if let Some(n) = value.as_i64() {
                prop_assert_eq!((ints.is_valid(row), ints.value(row)), (true, n));
            }
            let floats = batch.column(4).as_primitive::<Float64Type>();
            if let Some(n) = value.as_f64() {
                prop_assert_eq!((floats.is_valid(row), floats.value(row)), (true, n));
            }
            let bools = batch.column(5).as_boolean();
            if let Some(b) = value.as_bool() {
                prop_assert_eq!((bools.is_valid(row), bools.value(row)), (true, b));
            }
            let times = batch.column(6).as_primitive::<TimestampMicrosecondType>();
            let time = value.as_str().and_then(|s| chrono::DateTime::parse_from_rfc3339(s.trim()).ok());
            if let Some(time) = time {
                prop_assert_eq!((times.is_valid(row), times.value(row)), (true, time.timestamp_micros()));
            }
        }
    }
}
