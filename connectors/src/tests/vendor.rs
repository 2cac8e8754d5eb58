//! The toy's rows: number `n` is `{id: n, at: n minutes before noon, name: "n0".."n9"}`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::testing::{Asked, Reply, Toy};

pub(crate) const SPEC: &str = include_str!("toy.yaml");

/// How the toy behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Rows there are.
    pub(crate) rows: usize,
    /// Largest page it gives, whatever is asked.
    pub(crate) largest: usize,
    /// Whether it filters.
    pub(crate) filters: bool,
    /// Rows that each page repeats from the one before.
    pub(crate) overlap: usize,
    pub(crate) latency: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self { rows: 1000, largest: 100, filters: true, overlap: 0, latency: Duration::ZERO }
    }
}

pub(crate) fn row(n: usize) -> Value {
    let at = DateTime::from_timestamp(1_795_176_000 - 60 * n as i64, 0).unwrap();
    json!({"id": n, "at": at.to_rfc3339_opts(SecondsFormat::Secs, true), "name": format!("n{}", n % 10),
           "size": n as f64 / 2.0, "extra": {"n": n}})
}

fn wanted(n: usize, asked: &Asked) -> bool {
    if asked.param("name").is_none() && asked.param("since").is_none() {
        return true;
    }
    let row = row(n);
    asked.param("name").is_none_or(|name| row["name"] == name)
        && asked.param("since").is_none_or(|since| {
            let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap();
            at(row["at"].as_str().unwrap()) >= at(since)
        })
}

pub(crate) fn toy(manners: Manners) -> Arc<Toy> {
    Toy::slow(manners.latency, move |asked| answer(manners, asked))
}

pub(crate) fn answer(manners: Manners, asked: &Asked) -> Reply {
    let all: Vec<usize> = (0..manners.rows).filter(|n| !manners.filters || wanted(*n, asked)).collect();
    let limit = asked.number("limit").unwrap_or(manners.largest).min(manners.largest);
    let place = match asked.path.as_str() {
        "/skipped" => asked.number("offset").unwrap_or(0),
        "/cursored" => asked.param("cursor").map_or(0, |c| c.trim_start_matches('c').parse().unwrap()),
        "/followed" => asked.number("from").unwrap_or(0),
        _ => limit * (asked.number("page").unwrap_or(1) - 1),
    };
    let data: Vec<Value> = all
        .iter()
        .skip(place.saturating_sub(manners.overlap))
        .take(limit + place.min(manners.overlap))
        .map(|n| row(*n))
        .collect();
    let next = place + limit;
    let more = next < all.len();
    let pages = all.len().div_ceil(limit);
    match asked.path.as_str() {
        "/numbered" | "/ordered" => Reply::Json(json!({"data": data, "meta": {"pages": pages}})),
        "/uncounted" => Reply::Json(json!({"data": data})),
        "/skipped" => Reply::Json(json!({"data": data, "meta": {"total": all.len()}})),
        "/cursored" => Reply::Json(
            json!({"data": data, "meta": {"cursor": if more { json!(format!("c{next}")) } else { json!("") }}}),
        ),
        "/followed" => {
            let next = if more { json!(format!("/followed?from={next}&limit={limit}")) } else { Value::Null };
            Reply::Json(json!({"data": data, "meta": {"next": next}}))
        }
        "/linked" => {
            let page = asked.number("page").unwrap_or(1);
            let link = |n: usize, rel: &str| format!("<http://toy/linked?page={n}&limit={limit}>; rel=\"{rel}\"");
            let links = format!("{}, {}", link(page + 1, "next"), link(pages, "last"));
            let headers = if more { vec![("link", links)] } else { Vec::new() };
            Reply::With(200, headers, Value::Array(data).to_string())
        }
        "/ping" => Reply::Json(json!({})),
        "/boxes" => Reply::Json(json!({"data": [
            {"id": "a", "colour": "red", "empty": false}, {"id": "b", "colour": "blue"},
            {"id": "c", "colour": "red", "empty": true}, {"id": "d", "colour": "red", "empty": null},
        ]})),
        path => {
            let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            match parts.as_slice() {
                ["boxes", _, "items"] => Reply::Json(json!({"data": data, "meta": {"pages": pages}})),
                ["boxes", _, "items", id] => Reply::Json(json!({"id": id, "weight": 1.5})),
                _ => Reply::status(404),
            }
        }
    }
}
