//! Nested objects and arrays are JSON text, and SQL looks into them. What is missing stays NULL.

use serde_json::{Map, Value, json};
use tripline_engine::json_rows;

use super::vendor::SPEC;
use crate::testing::{Reply, Toy, World};

fn world(rows: Value) -> World {
    World::spec(Toy::new(move |_| Reply::Json(json!({"data": rows.clone(), "meta": {"pages": 1}}))), SPEC)
}

async fn rows(world: &World, sql: &str) -> Vec<Map<String, Value>> {
    let result = world.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    json_rows(&result.schema, &result.batches).unwrap()
}

#[tokio::test]
async fn arrows_and_functions_look_into_objects_and_arrays() {
    let world = world(json!([
        {"id": 1, "extra": {"user": {"name": "Ann", "age": 41, "tags": ["a", "b"]}, "ok": true, "cost": 1.5, "none": null}},
        {"id": 2, "extra": {"user": {"name": "Bob"}}},
        {"id": 3, "extra": [{"n": 7}, 8]},
        {"id": 4, "extra": "just text"},
        {"id": 5, "extra": null},
        {"id": 6},
    ]));
    for (expression, expected) in [
        ("extra->'user'->>'name'", json!(["Ann", "Bob", null, null, null, null])),
        ("extra->'user'->'tags'->>0", json!(["a", null, null, null, null, null])),
        ("extra->0->>'n'", json!([null, null, "7", null, null, null])),
        ("extra->>1", json!([null, null, "8", null, null, null])),
        ("json_get_str(extra, 'user', 'name')", json!(["Ann", "Bob", null, null, null, null])),
        ("json_get_int(extra, 'user', 'age')", json!([41, null, null, null, null, null])),
        ("json_get_float(extra, 'cost')", json!([1.5, null, null, null, null, null])),
        ("json_get_bool(extra, 'ok')", json!([true, null, null, null, null, null])),
        ("json_get_json(extra, 'user', 'tags')", json!([r#"["a","b"]"#, null, null, null, null, null])),
        ("json_length(extra)", json!([4, 1, 2, null, null, null])),
        ("json_contains(extra, 'user')", json!([true, true, false, false, false, false])),
        ("extra IS NULL", json!([false, false, false, false, true, true])),
        ("(extra->>'none') IS NULL", json!([true, true, true, true, true, true])),
    ] {
        let found = rows(&world, &format!("SELECT {expression} AS v FROM toy.numbered ORDER BY id")).await;
        let mut found: Vec<Value> = found.into_iter().map(|mut row| row.remove("v").unwrap_or_default()).collect();
        // Spaces between tokens are the vendor's own business.
        for value in &mut found {
            if let Value::String(text) = value {
                *text = text.replace("\", \"", "\",\"");
            }
        }
        assert_eq!(Value::from(found), expected, "{expression}");
    }
}

#[tokio::test]
async fn a_predicate_on_what_is_inside_works_and_costs_no_wrong_row() {
    let world = world(json!([
        {"id": 1, "extra": {"user": {"name": "Ann"}}}, {"id": 2, "extra": {"user": {"name": "Bob"}}}, {"id": 3, "extra": {}},
        {"id": 4, "extra": "{\"user\": {\"name\": \"Ann\"}}"},
    ]));
    let found = rows(&world, "SELECT id FROM toy.numbered WHERE (extra->'user'->>'name') = 'Ann' ORDER BY id").await;
    let ids: Vec<&Value> = found.iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [1, 4], "JSON that came as text is JSON all the same");
    let grouped =
        "SELECT extra->'user'->>'name' AS name, count(*) AS n FROM toy.numbered GROUP BY 1 ORDER BY 1 NULLS LAST";
    let found: Vec<Value> = rows(&world, grouped).await.into_iter().map(Value::Object).collect();
    assert_eq!(found, [json!({"name": "Ann", "n": 2}), json!({"name": "Bob", "n": 1}), json!({"name": null, "n": 1})]);
}

#[tokio::test]
async fn a_field_of_a_bundled_table_is_reached_the_same_way() {
    let toy = Toy::new(|asked| match asked.path.as_str() {
        "/github/repos/acme/shop/pulls" => Reply::Json(json!([
            {"number": 1, "labels": [{"name": "bug"}, {"name": "urgent"}]}, {"number": 2, "labels": []}, {"number": 3}
        ])),
        _ => Reply::status(404),
    });
    let world = World::bundled(toy);
    let sql = "SELECT number, labels->0->>'name' AS first, json_length(labels) AS n FROM github.pulls \
               WHERE owner = 'acme' AND repo = 'shop' ORDER BY number";
    let found: Vec<Value> = rows(&world, sql).await.into_iter().map(Value::Object).collect();
    let expected = [
        json!({"number": 1, "first": "bug", "n": 2}),
        json!({"number": 2, "first": null, "n": 0}),
        json!({"number": 3, "first": null, "n": null}),
    ];
    assert_eq!(found, expected);
}
