//! A vendor that understands much: 100 pages × 100 orders by number, items of a box, parcels by code or by label.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::testing::{Asked, Reply, Toy, World};

pub(crate) const LATENCY: Duration = Duration::from_millis(50);

pub(crate) const SPEC: &str = r"
source: shop
description: A shop.
base_url: { env: [TOY_URL] }
auth: { type: none }
limits: { concurrency: 8 }
test: /ping
tables:
  orders:
    description: Orders.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
      at: { type: timestamp, about: When }
      open: { type: bool, about: Whether it is open }
      kind: { type: text, about: Kind }
      note: { type: text, about: Note }
    endpoints:
      - name: orders
        path: /orders
        rows: data
        pagination: { type: page, param: page, total_pages: pages }
        page_size: { param: limit, max: 100 }
        sorts:
          - { column: at, direction: desc, params: { sort: newest } }
        filters:
          at: { lower: since, upper: until, format: iso_s }
          open: { equal: open }
          kind: { equal: kind, not_equal: kind_not, list: comma }
          note: { contains: note_has, starts_with: note_begins, contains_any_case: search }
  moments:
    description: Twelve orders, far apart.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
      at: { type: timestamp, about: When }
    endpoints:
      - { name: moments, path: /moments, rows: data }
  items:
    description: Items of a box.
    guide: Ask.
    primary_key: [box, id]
    required: [box]
    columns:
      box: { type: text, from: key, about: Box }
      id: { type: int, about: Id }
      weight: { type: float, from: detail, about: Weight }
    detail: { path: '/boxes/{{box}}/items/{{id}}' }
    endpoints:
      - name: items
        path: /boxes/{{box}}/items
        rows: data
        pagination: { type: page, param: page, total_pages: pages }
        page_size: { param: limit, max: 100 }
  parcels:
    description: Parcels, of a code or of a label.
    guide: Ask.
    primary_key: [id]
    required: [{ any_of: [[code], [label]] }]
    columns:
      id: { type: int, about: Id }
      code: { type: text, from: key, about: Code }
      label: { type: text, from: key, about: Label }
    endpoints:
      - name: parcels
        path: /parcels
        rows: data
        filters:
          code: { equal: code }
          label: { equal: label }
";

/// Seconds since 1970 of order `n`: one a minute, newest first.
pub(crate) fn at(n: i64) -> i64 {
    1_795_176_000 - 60 * n
}

pub(crate) fn order(n: i64) -> Value {
    let at = DateTime::from_timestamp(at(n), 0).unwrap().to_rfc3339_opts(SecondsFormat::Secs, true);
    json!({"id": n, "at": at, "open": n % 4 == 0, "kind": format!("k{}", n % 5), "note": format!("note {n}")})
}

/// Pages of `all`; 30 rows where nothing is asked, 100 at most.
fn page(asked: &Asked, all: &[i64], row: impl Fn(i64) -> Value) -> Value {
    let limit = asked.number("limit").unwrap_or(30).min(100);
    let from = limit * (asked.number("page").unwrap_or(1) - 1);
    let data: Vec<Value> = all.iter().skip(from).take(limit).map(|n| row(*n)).collect();
    json!({"data": data, "pages": all.len().div_ceil(limit)})
}

pub(crate) fn answer(asked: &Asked) -> Reply {
    let parts: Vec<&str> = asked.path.trim_start_matches('/').split('/').collect();
    let seconds = |name: &str| asked.param(name).map(|t| DateTime::parse_from_rfc3339(t).unwrap().timestamp());
    match parts.as_slice() {
        ["orders"] => {
            let (since, until) = (seconds("since"), seconds("until"));
            let wanted = |n: &i64| {
                since.is_none_or(|since| at(*n) >= since)
                    && until.is_none_or(|until| at(*n) < until)
                    && asked.param("open").is_none_or(|open| open == (n % 4 == 0).to_string())
                    && asked.param("kind").is_none_or(|kinds| kinds.split(',').any(|k| k == format!("k{}", n % 5)))
                    && asked.param("kind_not").is_none_or(|kinds| kinds.split(',').all(|k| k != format!("k{}", n % 5)))
                    && asked.param("note_has").is_none_or(|text| format!("note {n}").contains(text))
                    && asked.param("note_begins").is_none_or(|text| format!("note {n}").starts_with(text))
                    && asked.param("search").is_none_or(|text| format!("note {n}").contains(&text.to_lowercase()))
            };
            let all: Vec<i64> = (0..10_000).filter(wanted).collect();
            Reply::Json(page(asked, &all, order))
        }
        ["boxes", _, "items"] => {
            let all: Vec<i64> = (0..20).collect();
            Reply::Json(page(asked, &all, |n| json!({ "id": n })))
        }
        ["moments"] => {
            let all: Vec<i64> = (0..12).map(|i| 100 + i * 800).collect();
            Reply::Json(json!({"data": all.into_iter().map(order).collect::<Vec<Value>>()}))
        }
        ["boxes", _, "items", id] => Reply::Json(json!({"id": id, "weight": 1.5})),
        ["parcels"] => {
            let (code, label) = (asked.param("code").unwrap_or("c"), asked.param("label").unwrap_or("l"));
            Reply::Json(json!({"data": [{"id": 1, "code": code, "label": label}]}))
        }
        _ => Reply::status(404),
    }
}

/// The shop.
pub(crate) fn shop() -> World {
    World::with(Toy::slow(LATENCY, answer), &[("shop.yaml", SPEC)], &crate::testing::environment())
}

/// A shop that does not know filters.
pub(crate) fn disobedient() -> World {
    let deaf = |asked: &Asked| {
        let known = ["page", "limit"];
        let query = asked.query.iter().filter(|(name, _)| known.contains(&name.as_str())).cloned().collect();
        answer(&Asked { query, ..asked.clone() })
    };
    World::with(Toy::slow(LATENCY, deaf), &[("shop.yaml", SPEC)], &crate::testing::environment())
}

/// What a toy was asked, without paging, once each.
pub(crate) fn asked_for(toy: &Arc<Toy>) -> Vec<String> {
    let mut shown: Vec<String> = toy
        .log()
        .iter()
        .map(|asked| {
            let words = asked.query.iter().filter(|(name, _)| !["page", "limit"].contains(&name.as_str()));
            let words: Vec<String> = words.map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} {}", asked.path, words.join("&")).trim_end().to_owned()
        })
        .collect();
    shown.sort();
    shown.dedup();
    shown
}
