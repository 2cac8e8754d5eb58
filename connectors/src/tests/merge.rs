//! `ORDER BY … LIMIT` over many listings that are each in order.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use serde_json::{Value, json};
use tripline_engine::{EngineOptions, QueryOptions, QueryResult, json_rows};

use crate::testing::{Asked, Reply, Toy, World, engine_with, environment};

const SPEC: &str = r"
source: post
description: Letters in boxes.
base_url: { env: [TOY_URL] }
auth: { type: none }
limits: { concurrency: 4 }
test: /boxes
tables:
  boxes:
    description: Boxes.
    guide: Ask.
    primary_key: [name]
    columns:
      name: { type: text, about: Name }
    endpoints:
      - { name: boxes, path: /boxes, rows: data }
  letters:
    description: Letters, newest first.
    guide: Ask.
    primary_key: [box, id]
    parent: { table: boxes, key: { box: name } }
    columns:
      box: { type: text, from: key, about: Box }
      id: { type: int, about: Id }
      at: { type: timestamp, about: When }
      note: { type: text, about: Note }
    endpoints:
      - name: letters
        path: '/boxes/{{box}}/letters'
        rows: data
        pagination: { type: page, param: page, start: 1, total_pages: pages }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: desc }
        sorts:
          - { column: id, direction: asc, params: { sort: id } }
          - { column: note, direction: asc, params: { sort: note } }
  drops:
    description: Letters by cursor, newest first.
    guide: Ask.
    primary_key: [box, id]
    parent: { table: boxes, key: { box: name } }
    columns:
      box: { type: text, from: key, about: Box }
      id: { type: int, about: Id }
      at: { type: timestamp, about: When }
      note: { type: text, about: Note }
    endpoints:
      - name: drops
        path: '/boxes/{{box}}/drops'
        rows: data
        pagination: { type: cursor, param: cursor, next: next }
        page_size: { param: limit, max: 100 }
        order: { column: at, direction: desc }
";

const BOXES: i64 = 6;
const LETTERS: i64 = 300;

/// Letter `n` of a box; all boxes together have one a second, in turn.
fn letter(of: i64, n: i64) -> (i64, Value) {
    let second = 1_795_176_000 - n * BOXES - of;
    let at = chrono::DateTime::from_timestamp(second, 0).unwrap().to_rfc3339();
    (second, json!({"id": n * BOXES + of, "at": at, "note": format!("n{}", n % 7)}))
}

fn answer(asked: &Asked) -> Reply {
    let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["boxes"] => {
            Reply::Json(json!({"data": (0..BOXES).map(|b| json!({"name": format!("b{b}")})).collect::<Vec<_>>()}))
        }
        ["boxes", name, _] => {
            let of: i64 = name.trim_start_matches('b').parse().unwrap();
            let mut all: Vec<i64> = (0..LETTERS).collect();
            // What the vendor does not return, it does not have.
            if of == 5 {
                all.clear();
            }
            let limit = asked.number("limit").unwrap_or(30).min(100);
            let from = match asked.number("cursor") {
                Some(from) => from,
                None => limit * (asked.number("page").unwrap_or(1) - 1),
            };
            let data: Vec<Value> = all.iter().skip(from).take(limit).map(|n| letter(of, *n).1).collect();
            let next = (from + limit < all.len()).then(|| (from + limit).to_string());
            Reply::Json(json!({"data": data, "pages": all.len().div_ceil(limit), "next": next}))
        }
        _ => Reply::status(404),
    }
}

fn post() -> World {
    World::with(Toy::slow(Duration::from_millis(50), answer), &[("post.yaml", SPEC)], &environment())
}

fn ids(result: &QueryResult) -> Vec<i64> {
    let all = result.batches.iter();
    all.flat_map(|batch| batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// The ids of the first letters of all boxes but the empty one.
fn newest(count: usize) -> Vec<i64> {
    (0..LETTERS * BOXES).filter(|id| id % BOXES != 5).take(count).collect()
}

#[tokio::test(start_paused = true)]
async fn the_newest_of_many_listings_cost_one_page_of_each() {
    for table in ["letters", "drops"] {
        let world = post();
        let result = world.sql(&format!("SELECT id FROM post.{table} ORDER BY at DESC LIMIT 10")).await.unwrap();
        assert_eq!(ids(&result), newest(10), "{table}");
        assert_eq!(world.toy.count(), 1 + 6, "{table}: the boxes, and one page of each");
        let sizes: Vec<_> = world.toy.log().iter().filter_map(|asked| asked.number("limit")).collect();
        assert_eq!(sizes, [10; 6], "{table}: no page is larger than needed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_asks_for_a_further_page_only_where_its_rows_are_used_up() {
    for table in ["letters", "drops"] {
        let world = post();
        let sql = format!("SELECT id, box FROM post.{table} WHERE box IN ('b0', 'b1') ORDER BY at DESC LIMIT 250");
        let result = world.sql(&sql).await.unwrap();
        let expected: Vec<i64> = (0..LETTERS * BOXES).filter(|id| id % BOXES < 2).take(250).collect();
        assert_eq!(ids(&result), expected, "{table}");
        assert_eq!(world.toy.count(), 4, "{table}: 125 rows of each box are two pages of each");
    }
}

#[tokio::test(start_paused = true)]
async fn a_merge_goes_on_where_the_rows_are_not_the_wanted_ones() {
    for table in ["letters", "drops"] {
        let world = post();
        let sql =
            format!("SELECT id FROM post.{table} WHERE length(note) = 2 AND id % 97 = 0 ORDER BY at DESC LIMIT 5");
        let result = world.sql(&sql).await.unwrap();
        let expected: Vec<i64> = newest(2000).into_iter().filter(|id| id % 97 == 0).take(5).collect();
        assert_eq!(ids(&result), expected, "{table}");
        assert_eq!(world.toy.count(), 1 + 6, "{table}: no exact predicate, so pages are full");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_all_rows_come_in_order_and_listings_are_read_at_once() {
    for table in ["letters", "drops"] {
        let world = post();
        let started = tokio::time::Instant::now();
        let result = world.sql(&format!("SELECT id, at FROM post.{table} ORDER BY at DESC")).await.unwrap();
        assert_eq!(ids(&result), newest(2000), "{table}");
        assert_eq!(world.toy.count(), 1 + 5 * 3 + 1, "{table}");
        // 16 pages at 4 requests at once.
        assert!(started.elapsed() < Duration::from_millis(50 * 8), "{table}: {:?}", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_wait_to_be_merged_count_as_memory_of_the_query() {
    for partial in [false, true] {
        let world = post();
        let options = EngineOptions { memory_per_query: 16 * 1024, ..EngineOptions::default() };
        let engine = engine_with(&world.connectors, options);
        let sql = "SELECT box, id, at, note FROM post.letters ORDER BY at DESC";
        let error = engine.collect(sql, QueryOptions { partial, ..QueryOptions::default() }).await.unwrap_err();
        assert_eq!(error.code(), "memory", "partial: {partial}: {error}");
        assert!(error.to_string().contains("merge of listings"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vendor_sort_is_merged_too_and_a_sort_of_text_is_not_trusted() {
    // Ids grow with age, so that the smallest ids are the newest letters.
    let world = World::with(
        Toy::new(|asked| {
            assert!(matches!(asked.param("sort"), None | Some("id")), "{asked:?}");
            answer(asked)
        }),
        &[("post.yaml", SPEC)],
        &environment(),
    );
    let result = world.sql("SELECT id FROM post.letters ORDER BY id LIMIT 7").await.unwrap();
    assert_eq!((ids(&result), world.toy.count()), (newest(7), 7));
    let result = world.sql("SELECT note, id FROM post.letters ORDER BY note, id LIMIT 3").await.unwrap();
    assert_eq!(ids(&result), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_offset_and_a_second_sort_column_keep_the_order() {
    let world = post();
    let result = world.sql("SELECT id FROM post.letters ORDER BY at DESC LIMIT 5 OFFSET 20").await.unwrap();
    assert_eq!((ids(&result), world.toy.count()), (newest(25)[20..].to_vec(), 7));
    let world = post();
    let result = world.sql("SELECT id FROM post.letters ORDER BY at DESC, id LIMIT 5").await.unwrap();
    assert_eq!(ids(&result), newest(5));
    assert!(world.toy.count() <= 7, "{}", world.toy.count());
}

#[tokio::test(start_paused = true)]
async fn without_an_order_by_nothing_is_merged() {
    let world = post();
    let result = world.sql("SELECT id FROM post.letters LIMIT 10").await.unwrap();
    assert_eq!((ids(&result).len(), world.toy.count()), (10, 2), "the boxes, and one page of one of them");
}

#[tokio::test(start_paused = true)]
async fn explain_says_that_listings_are_merged() {
    let world = post();
    let plan = world.sql("EXPLAIN SELECT id FROM post.letters ORDER BY at DESC LIMIT 10").await.unwrap();
    let plan = format!("{:?}", json_rows(&plan.schema, &plan.batches).unwrap());
    assert!(plan.contains("sort=[at DESC], fetch=10"), "{plan}");
    let says = "1 per page of boxes, then about 1 page of 10 for each of them that may match, merged by at DESC up to the limit";
    assert!(plan.contains(says), "{plan}");
    assert!(!plan.contains("SortExec"), "{plan}");
    assert_eq!(world.toy.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_fails_the_merge() {
    let world = World::with(
        Toy::new(|asked| if asked.path.contains("b3") { Reply::status(400) } else { answer(asked) }),
        &[("post.yaml", SPEC)],
        &environment(),
    );
    let error = world.sql("SELECT id FROM post.letters ORDER BY at DESC LIMIT 10").await.unwrap_err().to_string();
    assert!(error.contains("post.letters") && error.contains("/boxes/b3/letters"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn times_of_merged_rows_never_rise() {
    let world = post();
    let result = world.sql("SELECT at FROM post.drops ORDER BY at DESC LIMIT 333").await.unwrap();
    let times: Vec<i64> = result
        .batches
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec())
        .collect();
    assert_eq!(times.len(), 333);
    assert!(times.windows(2).all(|pair| pair[0] > pair[1]));
}
