//! Answers as nobody should write them. Each is read exactly, or is an error that names table, page and place.

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use serde_json::json;
use tripline_engine::{ScanError, ScanErrorKind};

use super::vendor::SPEC;
use crate::testing::{Reply, Toy, World, f64s, i64s, texts};

const TABLE: &str = "toy.numbered";

fn world(body: impl Into<Vec<u8>>) -> World {
    let body = body.into();
    World::spec(Toy::new(move |_| Reply::Bytes(body.clone())), SPEC)
}

/// A page of one row.
fn page(row: &str) -> String {
    format!(r#"{{"data":[{{"id":1}},{row}],"meta":{{"pages":1}}}}"#)
}

async fn error(body: impl Into<Vec<u8>>) -> ScanError {
    let world = world(body);
    let asked = world.select(TABLE, &["id", "at", "name", "size", "extra"]);
    world.run(TABLE, asked).await.unwrap_err()
}

#[tokio::test]
async fn a_value_that_its_column_cannot_hold_is_an_error_with_its_place() {
    for (row, says) in [
        (r#"{"id":9223372036854775808}"#, "`9223372036854775808` at $.data[1].id is not a 64-bit integer"),
        (r#"{"id":-1e19}"#, "`-1e19` at $.data[1].id is not a 64-bit integer"),
        (r#"{"id":1.5}"#, "`1.5` at $.data[1].id is not a 64-bit integer"),
        (r#"{"id":9007199254740993.0}"#, "`9007199254740993.0` at $.data[1].id is not a 64-bit integer"),
        (r#"{"id":true}"#, "`true` at $.data[1].id is not an integer"),
        (r#"{"size":1e999}"#, "`1e999` at $.data[1].size is not a number"),
        (r#"{"size":"NaN"}"#, "`\"NaN\"` at $.data[1].size is not a number"),
        (r#"{"size":"Infinity"}"#, "`\"Infinity\"` at $.data[1].size is not a number"),
        (r#"{"size":[1]}"#, "`[1]` at $.data[1].size is not a number"),
        (r#"{"at":"2026-02-30T00:00:00Z"}"#, "`\"2026-02-30T00:00:00Z\"` at $.data[1].at is not a time"),
        (r#"{"at":999999999999999999999}"#, "`999999999999999999999` at $.data[1].at is not a time"),
        (r#"{"at":{}}"#, "`{}` at $.data[1].at is not a time"),
        (r#"{"id":2,"name":"a","id":3}"#, "$.data[1].id stands there twice; which value is meant cannot be told"),
        ("[]", "$.data[1] is not an object, as a row must be"),
        ("null", "$.data[1] is not an object, as a row must be"),
    ] {
        let error = error(page(row)).await;
        assert_eq!((error.kind, error.table.as_str(), error.status), (ScanErrorKind::Malformed, "numbered", Some(200)));
        assert!(error.detail.starts_with(&format!("page 1: {says}")), "{row}: {}", error.detail);
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("toy.yaml")), "{row}: {error}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_page_is_an_error_with_what_it_is_instead() {
    let html = "<!DOCTYPE html><html><body>503 Service Unavailable</body></html>";
    let late = r#"{"data":[{"id":1},{"id":2},{"id":NaN}]}"#;
    let mut not_utf8 = page(r#"{"name":"?"}"#).into_bytes();
    let place = not_utf8.iter().position(|byte| *byte == b'?').unwrap();
    not_utf8[place] = 0xFF;
    for (body, says) in [
        (Vec::new(), "the body is empty".to_owned()),
        (b" \r\n".to_vec(), "the body is empty".to_owned()),
        (html.into(), "the body is not JSON (line 1, column 1); it begins `<!DOCTYPE html><html><body>503".to_owned()),
        (late.into(), "the body is not JSON (line 1, column 34, in $.data[2]); it begins `{\"data\"".to_owned()),
        (not_utf8, format!("the body is not UTF-8 (byte {}, in $.data[1])", place + 1)),
        (b"\x1f\x8b\x08\0".to_vec(), "the body is not UTF-8 (byte 2)".to_owned()),
        (b"{'data': []}".to_vec(), "the body is not JSON (line 1, column 2); it begins `{'data'".to_owned()),
        (b"{\"data\":[]} {\"data\":[]}".to_vec(), "the body is not JSON (line 1, column 13".to_owned()),
        (b"[]".to_vec(), "there is nothing at $.data, where the rows should be".to_owned()),
        (b"7".to_vec(), "there is nothing at $.data, where the rows should be".to_owned()),
        (b"{\"data\":\"none\"}".to_vec(), "there is nothing at $.data, where the rows should be".to_owned()),
        (b"{\"data\":{\"id\":1}}".to_vec(), "$.data is an object, where the list of rows should be".to_owned()),
        (
            b"{\"data\":[],\"data\":[]}".to_vec(),
            "`data`, on the way to the rows at $.data, stands there twice".to_owned(),
        ),
        (
            b"{\"data\":[{\"id\":1}],\"meta\":{\"pages\":1,\"pages\":9}}".to_vec(),
            "$.meta.pages, which tells of further pages, stands there twice".to_owned(),
        ),
    ] {
        let shown = String::from_utf8_lossy(&body).into_owned();
        let error = error(body).await;
        assert_eq!((error.kind, error.table.as_str()), (ScanErrorKind::Malformed, "numbered"), "{shown}");
        assert!(error.detail.starts_with(&format!("page 1: {says}")), "{shown}: {}", error.detail);
        assert!(error.hint.is_some() && error.request.is_some(), "{shown}: {error}");
    }
}

#[tokio::test]
async fn the_page_that_is_wrong_is_named_by_its_number() {
    let toy = Toy::new(|asked| match asked.number("page") {
        Some(3) => Reply::Bytes(br#"{"data":[{"id":"three"}],"meta":{"pages":4}}"#.to_vec()),
        page => Reply::Json(json!({"data": [{"id": page}], "meta": {"pages": 4}})),
    });
    let world = World::spec(toy, SPEC);
    let error = world.run(TABLE, world.select(TABLE, &["id"])).await.unwrap_err();
    assert!(error.detail.starts_with("page 3: `\"three\"` at $.data[0].id"), "{error}");
    assert!(error.request.unwrap().contains("page=3"));
}

#[tokio::test]
async fn what_a_vendor_may_write_is_read_exactly() {
    let world = world(concat!(
        "\u{feff}",
        r#"{"data":[{"id":"9223372036854775807","size":1e-400,"name":12345678901234567890.10,
            "extra":{"n":1.10,"big":123456789012345678901234567890}},
            {"id":-9223372036854775808,"size":"1E3","name":"\ud83d\ude00 \ud800","extra":"plain"},
            {"id":1e3,"name":"","extra":[]}],"meta":{"pages":1}}"#
    ));
    let asked = world.select(TABLE, &["id", "name", "size", "extra"]);
    let (rows, _) = world.run(TABLE, asked).await.unwrap();
    assert_eq!(i64s(&rows, "id"), [Some(i64::MAX), Some(i64::MIN), Some(1000)]);
    assert_eq!(f64s(&rows, "size"), [Some(0.0), Some(1000.0), None]);
    let some = |text: &str| Some(text.to_owned());
    let names = [some("12345678901234567890.10"), some("\u{1F600} \u{FFFD}"), some("")];
    assert_eq!(texts(&rows, "name"), names);
    let extra = [some(r#"{"n":1.10,"big":123456789012345678901234567890}"#), some("plain"), some("[]")];
    assert_eq!(texts(&rows, "extra"), extra);
}

#[tokio::test]
async fn a_value_nested_a_hundred_thousand_deep_costs_nothing_and_overflows_no_stack() {
    const DEEP: usize = 100_000;
    let deep = format!("{}1{}", "[".repeat(DEEP), "]".repeat(DEEP));
    // Once where nobody looks, once in a column.
    let body = format!(r#"{{"noise":{deep},"data":[{{"noise":{deep},"id":1,"extra":{deep}}}],"meta":{{"pages":1}}}}"#);
    let world = world(body);
    let (rows, _) = world.run(TABLE, world.select(TABLE, &["id", "extra"])).await.unwrap();
    assert_eq!((i64s(&rows, "id"), texts(&rows, "extra")[0].as_deref()), (vec![Some(1)], Some(deep.as_str())));
    // SQL functions that cannot go so deep say NULL.
    let result = world.sql("SELECT extra->>'a' AS a, json_length(extra) AS n FROM toy.numbered").await;
    assert!(result.is_ok(), "{:?}", result.err());
}

#[tokio::test]
async fn a_text_of_ten_megabytes_is_a_value_like_any_other() {
    let long = "x".repeat(10 << 20);
    let world = world(page(&format!(r#"{{"id":2,"name":"{long}","extra":{{"text":"{long}"}}}}"#)));
    let (rows, report) = world.run(TABLE, world.select(TABLE, &["name", "extra"])).await.unwrap();
    assert_eq!(texts(&rows, "name")[1].as_ref().map(String::len), Some(10 << 20));
    assert!(report.bytes > 20 << 20);
    // As a number it is an error that shows its beginning only.
    let error = error(page(&format!(r#"{{"id":"{long}"}}"#))).await;
    assert!(error.to_string().len() < 1000 && error.detail.contains("$.data[1].id"), "{}", error.to_string().len());
}

#[tokio::test]
async fn a_content_type_is_not_believed_either_way() {
    let reply = |kind: &str, body: &str| {
        let (kind, body) = (kind.to_owned(), body.to_owned());
        World::spec(Toy::new(move |_| Reply::With(200, vec![("content-type", kind.clone())], body.clone())), SPEC)
    };
    let world = reply("text/plain", &page(r#"{"id":2}"#));
    assert_eq!(world.run(TABLE, world.select(TABLE, &["id"])).await.unwrap().0.num_rows(), 2);
    let world = reply("application/json", "<html>maintenance</html>");
    let error = world.run(TABLE, world.select(TABLE, &["id"])).await.unwrap_err();
    assert!(error.detail.contains("is not JSON") && error.hint.unwrap().contains("TOY_URL"));
}

const ONE: &str = r"source: one
description: Lists without pages.
base_url: { env: [TOY_URL] }
auth: { type: none }
test: /ping
tables:
  things: &table
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
      service: { type: text, path: included.service, about: Service }
      weight: { type: text, path: included.weight, about: Weight as it was written }
    endpoints:
      - { name: things, path: /things, rows: data, included: { path: beside, key: id, by: ref } }
  bare:
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
    endpoints:
      - { name: bare, path: /bare }
";

#[tokio::test]
async fn one_object_is_one_row_of_a_list_without_pages_but_a_message_is_none() {
    let over = |body: &'static str| {
        World::spec(Toy::new(|_| Reply::Bytes(body.into())), &ONE.replace("source: one", "source: toy"))
    };
    let world = over(r#"{"id":7}"#);
    let (rows, _) = world.run("toy.bare", world.select("toy.bare", &["id"])).await.unwrap();
    assert_eq!(i64s(&rows, "id"), [Some(7)]);
    let world = over(r#"{"message":"upgrade your plan"}"#);
    let error = world.run("toy.bare", world.select("toy.bare", &["id"])).await.unwrap_err();
    assert!(error.detail.contains("$ is an object without any of the columns asked for"), "{error}");
}

#[tokio::test]
async fn objects_beside_the_rows_are_read_as_exactly_as_rows_however_deep_they_are() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let body = format!(
        r#"{{"data":[{{"id":1,"ref":"b"}},{{"id":2,"ref":5}},{{"id":3,"ref":"none"}},{{"id":4}}],"noise":{deep},
            "beside":[{{"id":5,"service":"api","weight":1.10}},{{"id":"b","noise":{deep},"service":"web","weight":12345678901234567890}}]}}"#
    );
    let world =
        World::spec(Toy::new(move |_| Reply::Bytes(body.clone().into())), &ONE.replace("source: one", "source: toy"));
    let (rows, _) = world.run("toy.things", world.select("toy.things", &["id", "service", "weight"])).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(texts(&rows, "service"), [some("web"), some("api"), None, None]);
    assert_eq!(texts(&rows, "weight"), [some("12345678901234567890"), some("1.10"), None, None]);
    let ids = rows.column_by_name("id").unwrap().as_primitive::<Int64Type>();
    assert_eq!((ids.null_count(), ids.value(3)), (0, 4));
}
