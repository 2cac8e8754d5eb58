//! A file in `sources.d/` adds a source: each way to page, to prove who asks and to ask, from the file to SQL over a
//! real socket.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tripline_engine::{EngineError, ScanErrorKind};

use crate::testing::{Asked, Own, Reply, Toy};

/// Rows there are, and rows of a page.
const ROWS: usize = 25;
const PAGE: usize = 10;

fn row(n: usize) -> Value {
    json!({"id": n, "name": format!("row {n}"), "made": format!("2026-11-20T{:02}:00:00Z", n % 24),
           "owner": {"login": "ann", "since": "2020"}, "tags": ["a", n], "open": n.is_multiple_of(2), "cost": n as f64 / 4.0})
}

/// The rows from `place` on, one page of them.
fn part(place: usize) -> Vec<Value> {
    (place..ROWS.min(place + PAGE)).map(row).collect()
}

fn spec(auth: &str, endpoint: &str) -> String {
    format!(
        r"source: mine
description: A source of my own.
base_url: {{ env: [MINE_URL] }}
{auth}
test: /ping
tables:
  things:
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: {{ type: int, about: Id }}
      name: {{ type: text, about: Name }}
      made: {{ type: timestamp, about: When }}
      owner__login: {{ type: text, about: Who }}
      owner: {{ type: json, about: Whole owner }}
      tags: {{ type: json, about: Tags }}
      open: {{ type: bool, about: Whether }}
      cost: {{ type: float, about: Cost }}
    endpoints:
      - name: things
{endpoint}
"
    )
}

const NO_AUTH: &str = "auth: { type: none }";

fn ids(rows: &[Map<String, Value>]) -> Vec<u64> {
    rows.iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

/// A way to page: how it is written, how many requests all rows are, and what the server does.
struct Paging {
    endpoint: &'static str,
    requests: usize,
    answer: fn(&Asked) -> Reply,
}

fn number(asked: &Asked, name: &str) -> usize {
    asked.number(name).unwrap_or_else(|| panic!("no {name} in {:?}", asked.query))
}

/// Where a page by an opaque cursor begins.
fn after(cursor: Option<&str>) -> usize {
    cursor.map_or(0, |cursor| cursor.strip_prefix("after-").unwrap().parse().unwrap())
}

fn next(place: usize) -> Value {
    if place + PAGE < ROWS { json!(format!("after-{}", place + PAGE)) } else { Value::Null }
}

fn link(asked: &Asked, place: usize, flagged: bool) -> Reply {
    let host = asked.headers["host"].to_str().unwrap();
    let more = place + PAGE < ROWS;
    let target = format!("http://{host}/things?from={}&limit={PAGE}", place + PAGE);
    let links = match flagged {
        true => format!(r#"<{target}>; rel="next"; results="{more}""#),
        false => format!(r#"<{target}>; rel="next""#),
    };
    let headers = if more || flagged { vec![("link", links)] } else { Vec::new() };
    Reply::With(200, headers, Value::from(part(place)).to_string())
}

const PAGINGS: &[(&str, Paging)] = &[
    (
        "none",
        Paging {
            endpoint: "        path: /things",
            requests: 1,
            answer: |_| Reply::Json((0..ROWS).map(row).collect()),
        },
    ),
    (
        "page, pages counted",
        Paging {
            endpoint: "        path: /things
        rows: data.things
        pagination: { type: page, param: p, start: 0, total_pages: data.pages }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| Reply::Json(json!({"data": {"things": part(number(asked, "p") * PAGE), "pages": 3}})),
        },
    ),
    (
        "page, rows counted",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: page, param: page, total: total }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| Reply::Json(json!({"total": ROWS, "items": part((number(asked, "page") - 1) * PAGE)})),
        },
    ),
    (
        "page, a short one is the last",
        Paging {
            endpoint: "        path: /things
        pagination: { type: page, param: page, short_ends: true }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| Reply::Json(part((number(asked, "page") - 1) * PAGE).into()),
        },
    ),
    (
        "page, an empty one is the end",
        Paging {
            endpoint: "        path: /things
        pagination: { type: page, param: page }
        page_size: { param: limit, max: 10 }",
            requests: 4,
            answer: |asked| Reply::Json(part((number(asked, "page") - 1) * PAGE).into()),
        },
    ),
    (
        "offset, an empty page is the end, whatever size the server makes them",
        Paging {
            endpoint: "        path: /things
        pagination: { type: offset, param: skip }
        page_size: { param: limit, max: 20 }",
            requests: 4,
            answer: |asked| Reply::Json(part(asked.number("skip").unwrap_or(0)).into()),
        },
    ),
    (
        "offset, rows counted",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: offset, param: skip, total: total }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| Reply::Json(json!({"total": ROWS, "items": part(asked.number("skip").unwrap_or(0))})),
        },
    ),
    (
        "offset, rows counted, a page in the middle comes back short",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: offset, param: skip, total: total }
        page_size: { param: limit, max: 10 }",
            requests: 4,
            answer: |asked| {
                let place = asked.number("skip").unwrap_or(0);
                let rows: Vec<Value> = part(place).into_iter().take(if place == PAGE { 6 } else { PAGE }).collect();
                Reply::Json(json!({"total": ROWS, "items": rows}))
            },
        },
    ),
    (
        "offset, more or not",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: offset, param: skip, more: more }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| {
                let place = asked.number("skip").unwrap_or(0);
                Reply::Json(json!({"more": place + PAGE < ROWS, "items": part(place)}))
            },
        },
    ),
    (
        "cursor in the query",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: cursor, param: after, next: paging.next }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| {
                let place = after(asked.param("after"));
                Reply::Json(json!({"items": part(place), "paging": {"next": next(place)}}))
            },
        },
    ),
    (
        "cursor in the body",
        Paging {
            endpoint: "        path: /things/search
        method: post
        body: { query: '*', sort: [id] }
        rows: hits
        pagination: { type: cursor, param: /page/after, next: next }
        page_size: { param: /page/size, max: 10 }",
            requests: 3,
            answer: |asked| {
                assert_eq!((&asked.body["query"], &asked.body["page"]["size"]), (&json!("*"), &json!(PAGE)));
                let place = after(asked.body["page"]["after"].as_str());
                Reply::Json(json!({"hits": part(place), "next": next(place)}))
            },
        },
    ),
    (
        "offset in the body",
        Paging {
            endpoint: "        path: /things/search
        method: post
        rows: hits
        pagination: { type: offset, param: /from, total: total }
        page_size: { param: /size, max: 10 }",
            requests: 3,
            answer: |asked| {
                let from = asked.body["from"].as_u64().unwrap_or(0) as usize;
                Reply::Json(json!({"hits": part(from), "total": ROWS}))
            },
        },
    ),
    (
        "Link header",
        Paging {
            endpoint: "        path: /things
        pagination: { type: link }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| link(asked, asked.number("from").unwrap_or(0), false),
        },
    ),
    (
        "Link header that is always there",
        Paging {
            endpoint: "        path: /things
        pagination: { type: link, check_results: true }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| link(asked, asked.number("from").unwrap_or(0), true),
        },
    ),
    (
        "the next page's address, whole",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: next_url, next: links.next }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| {
                let (host, place) = (asked.headers["host"].to_str().unwrap(), asked.number("from").unwrap_or(0));
                let next = (place + PAGE < ROWS).then(|| format!("http://{host}/things?from={}", place + PAGE));
                Reply::Json(json!({"items": part(place), "links": {"next": next}}))
            },
        },
    ),
    (
        "the next page's address, relative",
        Paging {
            endpoint: "        path: /things
        rows: items
        pagination: { type: next_url, next: next }
        page_size: { param: limit, max: 10 }",
            requests: 3,
            answer: |asked| {
                let place = asked.number("from").unwrap_or(0);
                let next = if place + PAGE < ROWS { format!("/things?from={}", place + PAGE) } else { String::new() };
                Reply::Json(json!({"items": part(place), "next": next}))
            },
        },
    ),
    (
        "GraphQL",
        Paging {
            endpoint: "        path: /graphql
        graphql: |
          query ($first: Int!, $after: String) {
            things(first: $first, after: $after) { nodes { {{fields}} } pageInfo { hasNextPage endCursor } }
          }
        rows: data.things.nodes
        pagination: { type: cursor, param: /variables/after, next: data.things.pageInfo.endCursor, more: data.things.pageInfo.hasNextPage }
        page_size: { param: /variables/first, max: 10 }",
            requests: 3,
            answer: |asked| {
                let variables = &asked.body["variables"];
                assert_eq!(variables["first"], PAGE);
                let place = after(variables["after"].as_str());
                // A server whose cursor is always there: only hasNextPage tells.
                let page = json!({"hasNextPage": place + PAGE < ROWS, "endCursor": format!("after-{}", place + PAGE)});
                Reply::Json(json!({"data": {"things": {"nodes": part(place), "pageInfo": page}}}))
            },
        },
    ),
];

#[tokio::test]
async fn every_way_to_page_can_be_declared_and_reads_all_rows() {
    for (name, paging) in PAGINGS {
        let own = Own::new(Toy::new(paging.answer), &spec(NO_AUTH, paging.endpoint), &[]).await;
        let rows = own.sql("SELECT id FROM mine.things").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ids(&rows), (0..ROWS as u64).collect::<Vec<_>>(), "{name}");
        assert_eq!(own.toy.count(), paging.requests, "{name}");
    }
}

#[tokio::test]
async fn a_vendor_that_ignores_a_key_gives_each_row_once() {
    const FANNED: &str = "        path: /things
        pagination: { type: none }
        filters: { id: { equal: n, fan_out: true } }";
    let own = Own::new(Toy::new(|_| Reply::Json(part(0).into())), &spec(NO_AUTH, FANNED), &[]).await;
    let rows = own.sql("SELECT id FROM mine.things WHERE id IN (2, 4, 7)").await.unwrap();
    assert_eq!((ids(&rows), own.toy.count()), (vec![2, 4, 7], 3));
    assert_eq!(own.toy.log()[0].number("n"), Some(2), "`n` is a parameter's name, not a boolean");
}

#[tokio::test]
async fn a_limit_ends_every_way_to_page() {
    for (name, paging) in PAGINGS.iter().filter(|(_, paging)| paging.requests > 1) {
        // A limit makes the page smaller, which some of these servers would not put up with.
        if paging.endpoint.contains("param: /") {
            continue;
        }
        let own = Own::new(Toy::new(paging.answer), &spec(NO_AUTH, paging.endpoint), &[]).await;
        let rows =
            own.sql("SELECT id FROM mine.things LIMIT 3").await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((ids(&rows), own.toy.count()), (vec![0, 1, 2], 1), "{name}");
    }
}

#[tokio::test]
async fn every_type_of_column_comes_through_sql() {
    let own =
        Own::new(Toy::new(|_| Reply::Json(vec![row(5)].into())), &spec(NO_AUTH, "        path: /things"), &[]).await;
    let sql = "SELECT *, tags->>1 AS second, owner->>'since' AS since, made > '2026-11-20' AS late FROM mine.things";
    let rows = own.sql(sql).await.unwrap();
    let expected = json!({
        "id": 5, "name": "row 5", "made": "2026-11-20T05:00:00Z", "owner__login": "ann",
        "owner": r#"{"login":"ann","since":"2020"}"#, "tags": r#"["a",5]"#, "open": false, "cost": 1.25,
        "second": "5", "since": "2020", "late": true,
    });
    assert_eq!(Value::from(rows[0].clone()), expected);
}

/// A server that wants to know who asks.
fn guarded(is_welcome: fn(&Asked) -> bool) -> Arc<Toy> {
    Toy::new(move |asked| match is_welcome(asked) {
        true => Reply::Json(json!([row(1)])),
        false => Reply::With(401, Vec::new(), json!({"message": "who are you?"}).to_string()),
    })
}

#[tokio::test]
async fn every_way_to_prove_who_asks_works_from_variables_and_from_files() {
    type IsWelcome = fn(&Asked) -> bool;
    let cases: &[(&str, IsWelcome)] = &[
        ("auth: { type: bearer, token: secret }", |asked| asked.headers["authorization"] == "Bearer hunter2-a/b+c=&d"),
        ("auth: { type: basic, username: user, password: secret }", |asked| {
            // ann:hunter2-a/b+c=&d
            asked.headers["authorization"] == "Basic YW5uOmh1bnRlcjItYS9iK2M9JmQ="
        }),
        ("auth: { type: header, header: X-Api-Key, value: secret }", |asked| {
            asked.headers["x-api-key"] == "hunter2-a/b+c=&d" && !asked.headers.contains_key("authorization")
        }),
        ("auth: { type: header, header: Authorization, prefix: 'Token token=', value: secret }", |asked| {
            asked.headers["authorization"] == "Token token=hunter2-a/b+c=&d"
        }),
        ("auth: { type: query, param: k, value: secret }", |asked| {
            asked.query == [("k".to_owned(), "hunter2-a/b+c=&d".to_owned())]
        }),
        ("auth: { type: none }", |asked| !asked.headers.contains_key("authorization") && asked.query.is_empty()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "hunter2-a/b+c=&d\n").unwrap();
    let path = file.to_str().unwrap();
    for (auth, is_welcome) in cases {
        for (place, variable) in [
            ("env: [MINE_SECRET]".to_owned(), ("MINE_SECRET", "hunter2-a/b+c=&d")),
            ("env: [MINE_SECRET], file: [MINE_SECRET_FILE]".to_owned(), ("MINE_SECRET_FILE", path)),
            (format!("file: [/nowhere/at/all, '{path}']"), ("UNUSED", "")),
        ] {
            let inputs =
                format!("inputs:\n  user: {{ env: [MINE_USER] }}\n  secret: {{ {place}, required: true }}\n{auth}");
            let spec = spec(&inputs, "        path: /things");
            let own = Own::new(guarded(*is_welcome), &spec, &[variable, ("MINE_USER", "ann")]).await;
            let rows =
                own.sql("SELECT id FROM mine.things").await.unwrap_or_else(|error| panic!("{auth} {place}: {error}"));
            assert_eq!(ids(&rows), [1], "{auth} {place}");
            own.connectors.source("mine").unwrap().test().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_refused_credential_names_its_variable_and_its_file() {
    let inputs = "inputs:\n  secret: { env: [MINE_SECRET], file: [MINE_SECRET_FILE], required: true }\nauth: { type: bearer, token: secret }";
    let own =
        Own::new(guarded(|_| false), &spec(inputs, "        path: /things"), &[("MINE_SECRET", "expired-one")]).await;
    let error = own.sql("SELECT id FROM mine.things").await.unwrap_err();
    assert_eq!(
        error.scan_error().map(|error| (error.kind, error.status)),
        Some((ScanErrorKind::Unauthorized, Some(401)))
    );
    assert!(error.to_string().contains("check MINE_SECRET or MINE_SECRET_FILE"), "{error}");
    assert_eq!(own.toy.count(), 1, "a wrong key is not tried again");
}

const GRAPHQL: &str = "        path: /graphql
        graphql: |
          query ($first: Int!, $after: String, $where: Where) {
            things(first: $first, after: $after, where: $where) { nodes { {{fields}} } pageInfo { endCursor } }
          }
        rows: data.things.nodes
        pagination: { type: cursor, param: /variables/after, next: data.things.pageInfo.endCursor }
        page_size: { param: /variables/first, max: 10 }
        filters:
          name: { equal: /variables/where/name/in, list: repeat }
          made: { lower: /variables/where/made/gte, upper: /variables/where/made/lt, format: iso_s }";

#[tokio::test]
async fn a_graphql_source_is_asked_for_the_selected_fields_with_its_values_as_variables() {
    let own = Own::new(
        Toy::new(|_| {
            Reply::Json(json!({"data": {"things": {"nodes": [{"id": 7, "owner": {"login": "ann"}}], "pageInfo": {}}}}))
        }),
        &spec(NO_AUTH, GRAPHQL),
        &[],
    )
    .await;
    let sql = "SELECT id, owner__login FROM mine.things WHERE made >= TIMESTAMP '2026-11-01T00:00:00Z' LIMIT 5";
    let explain = own.sql(&format!("EXPLAIN {sql}")).await.unwrap();
    assert!(Value::from(explain).to_string().contains("POST /graphql"));
    let _ = own.sql(sql).await.unwrap();
    let hostile = r#"x") { id } } # "#;
    own.sql(&format!("SELECT id FROM mine.things WHERE name = '{hostile}'")).await.unwrap();
    let log = own.toy.log();
    let query = log[0].body["query"].as_str().unwrap();
    let selected: String = query.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in ["id", "made", "owner { login }"] {
        assert!(selected.contains(wanted), "{selected}");
    }
    for unwanted in ["cost", "tags", "name"] {
        assert!(!selected.contains(unwanted), "{selected}");
    }
    assert_eq!(log[0].body["variables"]["where"]["made"], json!({"gte": "2026-11-01T00:00:00Z"}));
    assert_eq!(log[0].headers["content-type"], "application/json");
    let asked = log.last().unwrap();
    assert_eq!(asked.body["variables"]["where"]["name"]["in"], json!([hostile]), "a value is a value");
    assert!(!asked.body["query"].as_str().unwrap().contains('#'));
}

#[tokio::test]
async fn graphql_errors_are_errors_whatever_the_status_and_beside_data() {
    let errors = json!([{"message": "no such thing", "extensions": {"code": "NOPE"}}]);
    let data = json!({"things": {"nodes": [{"id": 1}], "pageInfo": {}}});
    for (status, body) in [
        (200, json!({ "errors": errors })),
        (200, json!({"errors": errors, "data": data})),
        (200, json!({"errors": [{"message": "no such thing"}], "data": null})),
        (400, json!({ "errors": errors })),
    ] {
        let toy = Toy::new(move |_| Reply::With(status, Vec::new(), body.to_string()));
        let own = Own::new(toy, &spec(NO_AUTH, GRAPHQL), &[]).await;
        let error = own.sql("SELECT id FROM mine.things").await.unwrap_err();
        assert!(matches!(error, EngineError::Source(_)), "{error}");
        let shown = error.to_string();
        assert!(shown.contains("no such thing") && shown.contains("mine.things"), "{shown}");
    }
}

#[tokio::test]
async fn keys_in_the_path_fan_out_and_a_table_can_have_a_parent() {
    let children = "  parts:
    description: Parts of a thing.
    guide: Ask.
    primary_key: [thing, id]
    parent: { table: things, key: { thing: name } }
    columns:
      thing: { type: text, from: key, about: Thing }
      id: { type: int, about: Id }
    endpoints:
      - { name: parts, path: '/things/{{thing}}/parts', rows: parts }
";
    let toy = Toy::new(|asked| match asked.path.as_str() {
        "/things" => Reply::Json((0..3).map(row).collect()),
        path => Reply::Json(json!({"parts": [{"id": path.len()}]})),
    });
    let spec = format!("{}{children}", spec(NO_AUTH, "        path: /things"));
    let own = Own::new(toy, &spec, &[]).await;
    let all = own.sql("SELECT thing, id FROM mine.parts ORDER BY thing").await.unwrap();
    let names: Vec<&Value> = all.iter().map(|row| &row["thing"]).collect();
    assert_eq!((names, own.toy.count()), (vec![&json!("row 0"), &json!("row 1"), &json!("row 2")], 4));
    let some = own.sql("SELECT id FROM mine.parts WHERE thing IN ('../x', 'y')").await.unwrap();
    assert_eq!(some.len(), 2);
    let paths: Vec<String> = own.toy.log().iter().skip(4).map(|asked| asked.path.clone()).collect();
    assert!(
        paths.contains(&"/things/..%2Fx/parts".to_owned()) && paths.contains(&"/things/y/parts".to_owned()),
        "{paths:?}"
    );
    let joined = "SELECT t.id, p.id AS part FROM mine.things t JOIN mine.parts p ON p.thing = t.name WHERE t.id = 1";
    assert_eq!(own.sql(joined).await.unwrap().len(), 1);
}
