use datafusion::scalar::ScalarValue;
use tripline_engine::ScanErrorKind;

use super::vendor::{Manners, SPEC, toy};
use crate::testing::{Reply, Toy, World, constrain, f64s, i64s, request, texts};

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn world(rows: usize) -> World {
    World::spec(toy(Manners { rows, ..Manners::default() }), SPEC)
}

#[tokio::test]
async fn a_required_key_that_is_missing_is_named_with_an_example_and_nothing_is_sent() {
    let world = world(3);
    let table = world.connectors.source("toy").unwrap().table("keyed").unwrap();
    let shape = table.shape(&constrain(&[]));
    assert_eq!(shape.missing[0].any_of, [["box".to_owned()]]);
    let error = world.run("toy.keyed", world.select("toy.keyed", &["id"])).await.unwrap_err();
    assert_eq!((error.kind, world.toy.count()), (ScanErrorKind::MissingKey, 0));
    assert_eq!(error.hint.as_deref(), Some("SELECT * FROM toy.keyed WHERE box = '…'"));
}

#[tokio::test]
async fn rows_of_different_keys_are_never_mixed_up() {
    let world = world(250);
    let ask = request(world.select("toy.keyed", &["box", "id"]), |r| {
        r.constraints = constrain(&[("box", "in", text("x,y,z"))]);
    });
    let (rows, report) = world.run("toy.keyed", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (750, 9));
    let mut found: Vec<(String, i64)> =
        texts(&rows, "box").into_iter().flatten().zip(i64s(&rows, "id").into_iter().flatten()).collect();
    found.sort();
    let expected: Vec<(String, i64)> =
        ["x", "y", "z"].iter().flat_map(|b| (0..250).map(|n| ((*b).to_owned(), n))).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn with_a_limit_one_key_is_tried_before_the_others() {
    let world = world(250);
    let ask = request(world.select("toy.keyed", &["box", "id"]), |r| {
        r.constraints = constrain(&[("box", "in", text("x,y,z"))]);
        r.limit = Some(10);
    });
    world.run("toy.keyed", ask).await.unwrap();
    assert_eq!(world.toy.count(), 1);
}

#[tokio::test]
async fn a_hostile_key_stays_one_segment_of_the_path() {
    for (key, path) in [
        ("../_stats", "/boxes/..%2F_stats/items"),
        ("a/b?c", "/boxes/a%2Fb%3Fc/items"),
        ("a b#", "/boxes/a%20b%23/items"),
    ] {
        let world = World::spec(Toy::new(|_| Reply::Json(serde_json::json!({"data": [], "meta": {"pages": 0}}))), SPEC);
        let ask =
            request(world.select("toy.keyed", &["id"]), |r| r.constraints = constrain(&[("box", "=", text(key))]));
        world.run("toy.keyed", ask).await.unwrap();
        assert_eq!(world.toy.log()[0].path, path);
    }
    for key in ["..", ".", ""] {
        let world = world(3);
        let ask =
            request(world.select("toy.keyed", &["id"]), |r| r.constraints = constrain(&[("box", "=", text(key))]));
        let error = world.run("toy.keyed", ask).await.unwrap_err();
        assert_eq!((error.kind, world.toy.count()), (ScanErrorKind::BadRequest, 0), "{key}");
    }
}

#[tokio::test]
async fn columns_that_cost_a_request_per_row_are_fetched_only_when_asked_for() {
    let world = world(20);
    let pinned = constrain(&[("box", "=", text("x"))]);
    let cheap = request(world.select("toy.keyed", &["id"]), |r| r.constraints = pinned.clone());
    assert_eq!(world.run("toy.keyed", cheap).await.unwrap().1.requests, 1);

    let costly = request(world.select("toy.keyed", &["id", "weight"]), |r| r.constraints = pinned.clone());
    let (rows, report) = world.run("toy.keyed", costly).await.unwrap();
    assert_eq!(report.requests, 21);
    assert!(f64s(&rows, "weight").iter().all(|w| *w == Some(1.5)));

    let few = request(world.select("toy.keyed", &["id", "weight"]), |r| {
        r.constraints = pinned.clone();
        r.limit = Some(3);
    });
    assert_eq!(world.run("toy.keyed", few).await.unwrap().1.requests, 4);

    let filtered = request(world.select("toy.keyed", &["id", "weight"]), |r| {
        r.constraints = constrain(&[("box", "=", text("x")), ("id", "<", ScalarValue::Int64(Some(5)))]);
    });
    let (rows, report) = world.run("toy.keyed", filtered).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (5, 6), "a cheap predicate is judged first");
}

#[tokio::test]
async fn a_row_that_vanished_before_its_details_were_read_keeps_its_other_columns() {
    let world = World::spec(
        Toy::new(|asked| match asked.path.as_str() {
            "/boxes/x/items" => Reply::Json(serde_json::json!({"data": [{"id": 1}, {"id": 2}], "meta": {"pages": 1}})),
            "/boxes/x/items/1" => Reply::status(404),
            _ => Reply::Json(serde_json::json!({"weight": "2.5"})),
        }),
        SPEC,
    );
    let ask = request(world.select("toy.keyed", &["id", "weight"]), |r| {
        r.constraints = constrain(&[("box", "=", text("x"))])
    });
    let (rows, report) = world.run("toy.keyed", ask).await.unwrap();
    assert_eq!(f64s(&rows, "weight"), [None, Some(2.5)]);
    assert!(report.notes[0].contains("vanished"), "{:?}", report.notes);
}

#[tokio::test]
async fn a_parent_supplies_keys_carries_columns_and_skips_what_surely_has_no_rows() {
    let world = world(10);
    let (rows, report) =
        world.run("toy.children", world.select("toy.children", &["box", "id", "colour"])).await.unwrap();
    assert_eq!(report.requests, 1 + 3, "the list of boxes, and one for each that may have items");
    let mut boxes: Vec<(String, String)> =
        texts(&rows, "box").into_iter().flatten().zip(texts(&rows, "colour").into_iter().flatten()).collect();
    boxes.sort();
    boxes.dedup();
    let expected = [("a", "red"), ("b", "blue"), ("d", "red")].map(|(b, c)| (b.to_owned(), c.to_owned()));
    assert_eq!((rows.num_rows(), boxes.as_slice()), (30, &expected[..]));
    assert_eq!(report.rows, 30, "the parent's rows are not counted as this table's");
}

#[tokio::test]
async fn a_predicate_on_a_carried_column_prunes_the_parents_before_any_child_is_fetched() {
    let world = world(10);
    let ask = request(world.select("toy.children", &["box", "id", "colour"]), |r| {
        r.constraints = constrain(&[("colour", "=", text("blue"))]);
    });
    let (rows, report) = world.run("toy.children", ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (10, 2));
}

#[tokio::test]
async fn a_pinned_key_needs_its_parent_only_for_carried_columns() {
    let world = world(10);
    let pinned = |columns: &[&str], key: &str| {
        request(world.select("toy.children", columns), |r| r.constraints = constrain(&[("box", "=", text(key))]))
    };
    assert_eq!(world.run("toy.children", pinned(&["id"], "a")).await.unwrap().1.requests, 1);
    let (rows, report) = world.run("toy.children", pinned(&["id", "colour"], "a")).await.unwrap();
    assert_eq!((report.requests, texts(&rows, "colour")[0].as_deref()), (2, Some("red")));
    // One that the parent would skip, or does not list, is walked all the same when the query names it.
    for key in ["c", "unlisted"] {
        let (rows, _) = world.run("toy.children", pinned(&["id", "colour"], key)).await.unwrap();
        assert_eq!(rows.num_rows(), 10, "{key}");
    }
}

#[tokio::test]
async fn with_a_limit_children_are_fetched_one_parent_at_a_time_first() {
    let world = world(10);
    let ask = request(world.select("toy.children", &["id"]), |r| r.limit = Some(5));
    world.run("toy.children", ask).await.unwrap();
    assert_eq!(world.toy.count(), 2);
}
