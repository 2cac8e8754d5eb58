//! Datadog, PagerDuty and Linear: what is sent for a query, and what becomes of the answers.

use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use tripline_engine::ScanErrorKind;

use crate::testing::{Asked, Reply, Toy, World, constrain, i64s, request, texts};

fn time(text: &str) -> ScalarValue {
    let at = chrono::DateTime::parse_from_rfc3339(text).unwrap();
    ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("UTC".into()))
}

fn word(text: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(text.to_owned()))
}

/// A Linear with `issues` issues.
fn linear(issues: usize) -> World {
    World::bundled(Toy::new(move |asked: &Asked| {
        let variables = &asked.body["variables"];
        let first = usize::try_from(variables["first"].as_u64().unwrap()).unwrap();
        let start: usize = variables["after"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
        let end = (start + first).min(issues);
        let nodes: Vec<Value> = (start..end)
            .map(|n| {
                json!({"id": format!("i{n}"), "title": format!("Issue {n}"), "state": {"name": "Todo"},
                            "team": {"key": "ENG"}, "updatedAt": format!("2026-11-20T11:{:02}:00Z", 59 - n % 60)})
            })
            .collect();
        let info = json!({"hasNextPage": end < issues, "endCursor": end.to_string()});
        Reply::Json(json!({"data": {"issues": {"nodes": nodes, "pageInfo": info}}}))
    }))
}

#[tokio::test]
async fn a_graphql_query_asks_for_the_selected_columns_only() {
    let world = linear(3);
    let (rows, _) = world.run("linear.issues", world.select("linear.issues", &["title", "state__name"])).await.unwrap();
    assert_eq!(texts(&rows, "state__name")[0].as_deref(), Some("Todo"));
    let log = world.toy.log();
    assert_eq!(log.len(), 1);
    let query = log[0].body["query"].as_str().unwrap();
    // The key and the order's column are needed to read the listing itself.
    assert!(query.contains("nodes { id state { name } title updatedAt }"), "{query}");
    assert_eq!(log[0].body["variables"]["orderBy"], "updatedAt");
    assert_eq!(log[0].headers["authorization"], "lin-hunter2-secret");
}

#[tokio::test]
async fn predicates_are_bound_as_typed_variables_and_never_part_of_the_query() {
    let world = linear(0);
    let hostile = r#"ENG"]}}) { id } } query Evil { x"#;
    let asked = request(world.select("linear.issues", &["id"]), |request| {
        request.constraints = constrain(&[
            ("team__key", "=", word(hostile)),
            ("priority", "=", ScalarValue::Int64(Some(2))),
            ("updated_at", ">=", time("2026-11-20T08:00:00Z")),
            ("updated_at", "<", time("2026-11-20T09:00:00Z")),
        ]);
    });
    world.run("linear.issues", asked).await.unwrap();
    let body = &world.toy.log()[0].body;
    assert!(!body["query"].as_str().unwrap().contains("Evil"));
    let filter = &body["variables"]["filter"];
    assert_eq!(filter["team"]["key"]["in"], json!([hostile]));
    assert_eq!(filter["priority"]["in"], json!([2]));
    let window = json!({"gte": "2026-11-20T08:00:00.000Z", "lt": "2026-11-20T09:00:00.000Z"});
    assert_eq!(filter["updatedAt"], window);
}

#[tokio::test]
async fn exclusions_and_patterns_are_variables_too() {
    let world = linear(0);
    let asked = request(world.select("linear.issues", &["id"]), |request| {
        request.constraints = constrain(&[
            ("team__key", "<>", word("OPS")),
            ("team__key", "<>", word("WEB")),
            ("title", "like", word("%time%out%")),
            ("description", "ilike", word("Steps%")),
        ]);
    });
    world.run("linear.issues", asked).await.unwrap();
    let filter = &world.toy.log()[0].body["variables"]["filter"];
    assert_eq!(filter["team"]["key"], json!({"nin": ["OPS", "WEB"]}));
    assert_eq!(filter["title"], json!({"contains": "time"}));
    assert_eq!(filter["description"], json!({"startsWithIgnoreCase": "Steps"}));
}

#[tokio::test]
async fn a_pattern_becomes_a_search_word_only_where_it_can_be_nothing_else() {
    for (table, column, pattern, query) in [
        ("sentry.issues", "title", "%time out%", Some(r#"title:"*time out*""#)),
        ("sentry.issues", "title", r#"%a" OR is:resolved%"#, Some("")),
        ("sentry.issues", "title", "%2*3%", Some("")),
        ("sentry.releases", "version", "%1.4.2%", Some("1.4.2")),
        ("datadog.logs", "service", "check-%", Some("service:check-*")),
        ("datadog.logs", "service", "check out (%", None),
    ] {
        let world = World::bundled(Toy::new(|_| Reply::Json(json!([]))));
        let asked = request(world.select(table, &["id"]), |request| {
            request.constraints =
                constrain(&[(column, "like", word(pattern)), ("timestamp", ">=", time("2026-11-20T10:00:00Z"))]);
        });
        let _answer_of_another_shape = world.run(table, asked).await;
        let log = world.toy.log();
        assert_eq!(log[0].param("query").or(log[0].param("filter[query]")), query, "{table} {pattern}");
    }
}

#[tokio::test]
async fn a_cursor_in_the_body_leads_through_all_pages_and_a_limit_asks_for_no_more() {
    let world = linear(250);
    let (rows, report) = world.run("linear.issues", world.select("linear.issues", &["id"])).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (250, 3));
    let world = linear(250);
    let ten = request(world.select("linear.issues", &["id"]), |request| request.limit = Some(10));
    let (rows, report) = world.run("linear.issues", ten).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (10, 1));
    assert_eq!(world.toy.log()[0].body["variables"]["first"], 10);
}

#[tokio::test]
async fn errors_beside_data_are_an_error_and_not_fewer_rows() {
    let answer = json!({"data": {"issues": {"nodes": [{"id": "1"}], "pageInfo": {"hasNextPage": false}}},
                        "errors": [{"message": "cannot resolve state", "extensions": {"code": "INVALID_INPUT"}}]});
    let world = World::bundled(Toy::new(move |_| Reply::Json(answer.clone())));
    let error = world.run("linear.issues", world.select("linear.issues", &["id"])).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains("INVALID_INPUT: cannot resolve state") && shown.contains("linear.issues"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_graphql_throttle_with_status_400_is_waited_for_and_an_expired_key_names_its_variable() {
    let throttled = json!({"errors": [{"message": "slow down", "extensions": {"code": "RATELIMITED"}}]});
    let world = linear(1);
    world.toy.misbehave([Reply::With(400, Vec::new(), throttled.to_string())]);
    let (rows, report) = world.run("linear.issues", world.select("linear.issues", &["id"])).await.unwrap();
    assert_eq!((rows.num_rows(), report.retries), (1, 1));

    let expired = json!({"errors": [{"message": "token expired", "extensions": {"code": "AUTHENTICATION_ERROR"}}]});
    let world = World::bundled(Toy::new(move |_| Reply::With(400, Vec::new(), expired.to_string())));
    let error = world.run("linear.issues", world.select("linear.issues", &["id"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::Unauthorized);
    assert!(error.to_string().contains("LINEAR_API_KEY"), "{error}");
    assert_eq!(world.toy.count(), 1, "a wrong key is not tried again");
}

#[tokio::test]
async fn an_expired_credential_of_any_source_names_every_variable_that_may_be_meant() {
    for (table, variables) in [
        ("datadog.monitors", vec!["DD_API_KEY", "DD_APP_KEY"]),
        ("pagerduty.users", vec!["PAGERDUTY_TOKEN"]),
        ("github.commits", vec!["GITHUB_TOKEN"]),
    ] {
        let world = World::bundled(Toy::new(|_| Reply::status(401)));
        let keys = match table {
            "github.commits" => constrain(&[("owner", "=", word("acme")), ("repo", "=", word("shop"))]),
            _ => tripline_engine::Constraints::none(),
        };
        let asked = tripline_engine::ScanRequest { projection: vec![0], constraints: keys, ..Default::default() };
        let shown = world.run(table, asked).await.unwrap_err().to_string();
        for variable in variables {
            assert!(shown.contains(variable), "{variable}: {shown}");
        }
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn datadog_sends_both_keys_and_a_short_page_is_the_last_although_it_has_a_cursor() {
    let world = World::bundled(Toy::new(|_: &Asked| {
        let row = json!({"id": "e1", "attributes": {"timestamp": "2026-11-20T11:00:00Z", "tags": ["env:prod"],
                         "attributes": {"title": "Deployed", "service": "web"}}});
        Reply::Json(json!({"data": [row], "meta": {"page": {"after": "further"}}}))
    }));
    let asked = request(world.select("datadog.events", &["title", "tags"]), |request| {
        request.constraints =
            constrain(&[("timestamp", ">=", time("2026-11-20T10:00:00Z")), ("service", "=", word(r#"web" OR "x"#))]);
    });
    world.run("datadog.events", asked).await.unwrap();
    let log = world.toy.log();
    assert_eq!(log.len(), 1);
    assert_eq!(
        (log[0].headers["dd-api-key"].to_str().unwrap(), log[0].path.as_str()),
        ("dd-api-hunter2-secret", "/datadog/api/v2/events")
    );
    assert_eq!(log[0].headers["dd-application-key"], "dd-app-hunter2-secret");
    assert_eq!(log[0].param("filter[from]"), Some("1795168799999"), "at most a step earlier than asked");
    assert_eq!(log[0].param("filter[query]"), Some(r#"service:"web\" OR \"x""#), "a value stays one phrase");
}

#[tokio::test]
async fn a_table_that_must_be_bounded_says_so_before_anything_is_sent() {
    let world = World::bundled(Toy::new(|_| Reply::status(500)));
    let error = world.run("datadog.logs", world.select("datadog.logs", &["message"])).await.unwrap_err();
    assert_eq!(error.kind, ScanErrorKind::MissingKey);
    let shown = error.to_string();
    assert!(shown.contains("`timestamp` must be bounded from below") && shown.contains("INTERVAL"), "{shown}");
    assert_eq!(world.toy.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_datadog_gave_up_is_an_error_and_not_its_first_rows() {
    let world = World::bundled(Toy::new(|_| Reply::Json(json!({"data": [], "meta": {"status": "timeout"}}))));
    let asked = request(world.select("datadog.logs", &["id"]), |request| {
        request.constraints = constrain(&[("timestamp", ">=", time("2026-11-20T10:00:00Z"))]);
    });
    let shown = world.run("datadog.logs", asked).await.unwrap_err().to_string();
    assert!(shown.contains("not whole") && shown.contains("timeout"), "{shown}");
}

#[tokio::test]
async fn an_error_tracking_search_is_one_post_whose_rows_get_the_objects_beside_them() {
    let world = World::bundled(Toy::new(|_: &Asked| {
        let row = |id: &str, count: u64| json!({"id": id, "attributes": {"total_count": count}, "relationships": {"issue": {"data": {"id": id}}}});
        let issue = |id: &str, service: &str| json!({"id": id, "type": "issue", "attributes": {"service": service, "state": "OPEN", "last_seen": 1_795_172_400_000_i64}});
        Reply::Json(json!({"data": [row("a", 7), row("b", 3)], "included": [issue("b", "web"), issue("a", "api")]}))
    }));
    let columns = ["id", "total_count", "service", "last_seen"];
    let asked = request(world.select("datadog.error_tracking_issues", &columns), |request| {
        request.constraints =
            constrain(&[("last_seen", ">=", time("2026-11-20T10:00:00Z")), ("state", "=", word("OPEN"))]);
    });
    let (rows, _) = world.run("datadog.error_tracking_issues", asked).await.unwrap();
    assert_eq!(i64s(&rows, "total_count"), [Some(7), Some(3)]);
    assert_eq!(texts(&rows, "service"), [Some("api".to_owned()), Some("web".to_owned())]);
    let log = world.toy.log();
    assert_eq!((log.len(), log[0].param("include")), (1, Some("issue")));
    let noon = 1_795_176_000_000_i64;
    let expected = json!({"data": {"type": "search_request", "attributes": {
        "query": "*", "persona": "ALL", "from": noon - 7_200_001, "to": noon, "states": ["OPEN"]}}});
    assert_eq!(log[0].body, expected);
}

#[tokio::test]
async fn a_hundred_issues_of_error_tracking_may_not_be_all_and_the_report_says_so() {
    for (count, told) in [(99, false), (100, true)] {
        let world = World::bundled(Toy::new(move |_: &Asked| {
            let row = |n: usize| json!({"id": format!("i{n}"), "attributes": {"total_count": 1}});
            Reply::Json(json!({"data": (0..count).map(row).collect::<Vec<Value>>()}))
        }));
        let asked = request(world.select("datadog.error_tracking_issues", &["id"]), |request| {
            request.constraints = constrain(&[("last_seen", ">=", time("2026-11-20T10:00:00Z"))]);
        });
        let (_, report) = world.run("datadog.error_tracking_issues", asked).await.unwrap();
        assert_eq!(report.gap.is_some_and(|gap| gap.contains("at most 100 issues")), told);
    }
}

fn pagerduty(count: usize) -> World {
    World::bundled(Toy::new(move |asked: &Asked| {
        let (offset, limit) = (asked.number("offset").unwrap_or(0), asked.number("limit").unwrap());
        let rows: Vec<Value> = (offset..(offset + limit).min(count))
            .map(|n| json!({"id": format!("P{n}"), "status": "resolved", "created_at": chrono::DateTime::from_timestamp(1_795_175_000 - 600 * n as i64, 0).unwrap().to_rfc3339()}))
            .collect();
        Reply::Json(json!({"incidents": rows, "more": offset + limit < count, "total": count}))
    }))
}

#[tokio::test]
async fn pagerduty_incidents_are_not_cut_to_a_month_and_a_short_window_is_sent() {
    let world = pagerduty(250);
    let (rows, report) = world.run("pagerduty.incidents", world.select("pagerduty.incidents", &["id"])).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (250, 3));
    let log = world.toy.log();
    assert!(log.iter().all(|asked| asked.param("date_range") == Some("all")));
    assert_eq!(log[0].headers["authorization"], "Token token=pd-hunter2-secret");

    let world = pagerduty(0);
    let window = |from: &str| {
        constrain(&[
            ("created_at", ">=", time(from)),
            ("created_at", "<", time("2026-11-20T00:00:00Z")),
            ("status", "in", word("triggered,acknowledged")),
        ])
    };
    let asked = |from: &str| {
        request(world.select("pagerduty.incidents", &["id"]), |request| request.constraints = window(from))
    };
    world.run("pagerduty.incidents", asked("2026-11-01T00:00:00Z")).await.unwrap();
    world.run("pagerduty.incidents", asked("2025-11-01T00:00:00Z")).await.unwrap();
    let log = world.toy.log();
    assert_eq!((log[0].param("since"), log[0].param("date_range")), (Some("2026-10-31T23:59:59Z"), None));
    assert_eq!(
        (log[1].param("since"), log[1].param("date_range")),
        (None, Some("all")),
        "PagerDuty refuses more than six months"
    );
    let statuses: Vec<&str> = log[0].query.iter().filter(|(n, _)| n == "statuses[]").map(|(_, v)| v.as_str()).collect();
    assert_eq!(statuses, ["triggered", "acknowledged"]);
}

#[tokio::test]
async fn a_recent_window_of_incidents_stops_where_the_order_passes_it() {
    let world = pagerduty(2000);
    let asked = request(world.select("pagerduty.incidents", &["id"]), |request| {
        request.constraints = constrain(&[("created_at", ">=", time("2026-11-20T00:00:00Z"))]);
    });
    let (rows, report) = world.run("pagerduty.incidents", asked).await.unwrap();
    assert!(rows.num_rows() > 60 && report.requests == 1, "{} rows, {} requests", rows.num_rows(), report.requests);
}

#[tokio::test]
async fn alerts_need_an_incident() {
    let world = pagerduty(0);
    let error = world.run("pagerduty.alerts", world.select("pagerduty.alerts", &["id"])).await.unwrap_err();
    assert!(error.kind == ScanErrorKind::MissingKey && error.to_string().contains("incident_id"), "{error}");
}

#[tokio::test]
async fn a_column_that_costs_a_request_per_row_is_fetched_only_where_it_is_selected() {
    let sentry = || {
        World::bundled(Toy::new(|asked: &Asked| {
            let row =
                |n: usize| json!({"id": n.to_string(), "title": "Boom", "level": if n < 2 { "error" } else { "info" }});
            match asked.path.trim_end_matches('/').rsplit('/').next() {
                Some("issues") => Reply::Json((0..5).map(row).collect()),
                Some(id) => Reply::Json(json!({"id": id, "firstRelease": {"version": format!("v{id}")}})),
                None => Reply::status(404),
            }
        }))
    };
    let world = sentry();
    let (_, report) = world.run("sentry.issues", world.select("sentry.issues", &["title"])).await.unwrap();
    assert_eq!(report.requests, 1);

    let world = sentry();
    let asked = request(world.select("sentry.issues", &["level", "first_release"]), |request| {
        request.constraints = constrain(&[("level", "=", word("error"))]);
    });
    let (rows, report) = world.run("sentry.issues", asked).await.unwrap();
    assert_eq!(texts(&rows, "first_release"), [Some("v0".to_owned()), Some("v1".to_owned())]);
    assert_eq!(report.requests, 3, "the vendor disobeyed; rows that the predicate drops cost nothing further");
}

const DESK: &str = r"source: desk
description: A desk.
base_url: { env: [DESK_URL], default: 'https://{{input.region}}.desk.example' }
inputs:
  token: { env: [DESK_TOKEN], file: [DESK_TOKEN_FILE], required: true, secret: true }
  region: { env: [DESK_REGION], default: eu }
auth: { type: query, param: api_key, value: token }
test: { path: /search, body: { size: 1 } }
tables:
  tickets:
    description: Tickets.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
      size: { type: int, about: Size, on_error: null }
      open: { type: bool, about: Whether it is open }
    endpoints:
      - name: search
        path: /search
        method: post
        body: { sort: [id], limits: { depth: 2 } }
        params: { verbose: '1' }
        rows: hits
        pagination: { type: offset, param: /page/from, total: total }
        page_size: { param: /page/size, max: 2 }
        filters:
          id: { equal: /filter/ids, list: repeat }
          open: { equal: /filter/open }
";

fn desk(environment: &[(&str, &str)]) -> World {
    let toy = Toy::new(|asked: &Asked| {
        let page = &asked.body["page"];
        let (from, size) = (page["from"].as_u64().unwrap_or(0), page["size"].as_u64().unwrap_or(2));
        let hits: Vec<Value> = (from..(from + size).min(5))
            .map(|n| json!({"id": n, "open": true, "size": if n == 1 { json!("huge") } else { json!(n) }}))
            .collect();
        Reply::Json(json!({"hits": hits, "total": 5}))
    });
    let environment = tripline_engine::Environment::of(environment.iter().map(|(n, v)| (*n, (*v).to_owned())));
    World::with(toy, &[("desk.yaml", DESK)], &environment)
}

#[tokio::test]
async fn a_users_source_can_search_by_post_with_offsets_in_the_body_and_a_secret_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "desk-hunter2-secret\n").unwrap();
    let world = desk(&[("DESK_TOKEN_FILE", file.to_str().unwrap())]);
    let asked = request(world.select("desk.tickets", &["id", "size"]), |request| {
        request.constraints = constrain(&[("open", "=", ScalarValue::Boolean(Some(true)))]);
    });
    let (rows, report) = world.run("desk.tickets", asked).await.unwrap();
    assert_eq!(i64s(&rows, "id"), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(i64s(&rows, "size")[1], None, "on_error: null");
    assert_eq!(report.requests, 3);
    let log = world.toy.log();
    let first = json!({"sort": ["id"], "limits": {"depth": 2}, "page": {"size": 2}, "filter": {"open": true}});
    assert_eq!(log[0].body, first);
    assert_eq!((log[0].param("verbose"), log[0].param("api_key")), (Some("1"), Some("desk-hunter2-secret")));
    assert_eq!(log[1].body["page"], json!({"size": 2, "from": 2}));
    world.connectors.source("desk").unwrap().test().await.unwrap();
    assert_eq!(world.toy.log().last().unwrap().body, json!({"size": 1}));
}

#[tokio::test]
async fn a_secret_file_that_cannot_be_read_and_a_region_that_is_none_are_named_and_not_shown() {
    use crate::SourceStatus;
    let status = |environment: &[(&str, &str)]| desk(environment).connectors.source("desk").unwrap().status();
    let shown = |environment: &[(&str, &str)]| match status(environment) {
        SourceStatus::Missing { variables, detail } => format!("{}: {detail}", variables.join(",")),
        SourceStatus::Configured => "configured".to_owned(),
    };
    assert_eq!(shown(&[("DESK_TOKEN", "x")]), "configured");
    assert!(shown(&[]).starts_with("DESK_TOKEN: "));
    let unreadable = shown(&[("DESK_TOKEN_FILE", "/nowhere/at/all")]);
    assert!(unreadable.starts_with("DESK_TOKEN_FILE: the file"), "{unreadable}");
    let elsewhere = shown(&[("DESK_TOKEN", "x"), ("DESK_REGION", "evil.example/#")]);
    assert!(elsewhere.starts_with("DESK_REGION: ") && !elsewhere.contains("evil"), "{elsewhere}");
}
