use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::scalar::ScalarValue;
use serde_json::{Value, json};
use tripline_engine::ScanErrorKind;

use crate::testing::{Reply, Toy, World, constrain, request, texts};

const NOON: i64 = 1_795_176_000;

fn text(s: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(s.to_owned()))
}

fn micros(micros: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into()))
}

/// Three channels to read, one archived, one of others; each channel has a message every ten minutes.
fn slack() -> Arc<Toy> {
    Toy::new(|asked| match asked.path.as_str() {
        "/slack/conversations.list" => {
            let channel = |id: &str, name: &str, member: Value, archived: bool| json!({"id": id, "name": name, "is_member": member, "is_archived": archived});
            let mut all = vec![
                channel("C1", "incidents", json!(true), false),
                channel("C2", "general", json!(true), false),
                channel("C3", "others", json!(false), false),
                channel("C4", "unsure", Value::Null, false),
            ];
            if asked.param("exclude_archived") != Some("true") {
                all.push(channel("C5", "old", json!(true), true));
            }
            Reply::Json(json!({"ok": true, "channels": all, "response_metadata": {"next_cursor": ""}}))
        }
        "/slack/conversations.history" => {
            let channel = asked.param("channel").unwrap();
            if matches!(channel, "C3" | "C4") {
                return Reply::Json(json!({"ok": false, "error": "not_in_channel"}));
            }
            let seconds = |name: &str| asked.param(name).map(|ts| ts.parse::<f64>().unwrap());
            let inclusive = asked.param("inclusive") == Some("true");
            let limit = asked.number("limit").unwrap().min(15);
            let from: usize = asked.param("cursor").map_or(0, |c| c.parse().unwrap());
            let all: Vec<i64> = (0..40)
                .map(|n| NOON - 600 * n)
                .filter(|s| {
                    let s = *s as f64;
                    let at = |edge: f64| inclusive && (s - edge).abs() < 1e-6;
                    seconds("oldest").is_none_or(|oldest| s > oldest || at(oldest))
                        && seconds("latest").is_none_or(|latest| s < latest || at(latest))
                })
                .collect();
            let messages: Vec<Value> = all
                .iter()
                .skip(from)
                .take(limit)
                .map(|s| json!({"type": "message", "user": "U1", "text": "hi", "ts": format!("{s}.000000")}))
                .collect();
            let next = if from + limit < all.len() { (from + limit).to_string() } else { String::new() };
            Reply::Json(
                json!({"ok": true, "messages": messages, "has_more": !next.is_empty(), "response_metadata": {"next_cursor": next}}),
            )
        }
        "/slack/auth.test" => Reply::Json(json!({"ok": true})),
        _ => Reply::Json(json!({"ok": false, "error": "unknown_method"})),
    })
}

const MESSAGES: &str = "slack.messages";

#[tokio::test]
async fn messages_come_from_every_channel_one_may_read_with_its_name() {
    let world = World::bundled(slack());
    let (rows, report) =
        world.run(MESSAGES, world.select(MESSAGES, &["channel", "channel_name", "ts", "ts_raw"])).await.unwrap();
    assert_eq!(rows.num_rows(), 80);
    assert_eq!(report.requests, 1 + 3 + 3 + 1, "channels; three short pages of two channels; one refusal");
    assert_eq!(world.toy.log()[0].param("exclude_archived"), Some("true"));
    let mut names = texts(&rows, "channel_name");
    names.sort();
    names.dedup();
    assert_eq!(names, [Some("general".to_owned()), Some("incidents".to_owned())]);
    assert!(
        report.notes.iter().any(|n| n.contains("1 listed by the parent were left out: not_in_channel")),
        "{:?}",
        report.notes
    );
    assert!(report.gap.is_none());
}

#[tokio::test]
async fn a_timestamp_is_a_time_beside_its_raw_text() {
    let world = World::bundled(slack());
    let ask = request(world.select(MESSAGES, &["ts", "ts_raw"]), |r| {
        r.constraints = constrain(&[("channel", "=", text("C1"))])
    });
    let (rows, _) = world.run(MESSAGES, ask).await.unwrap();
    let times = rows.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(times.value(0), NOON * 1_000_000);
    assert_eq!(texts(&rows, "ts_raw")[0].as_deref(), Some("1795176000.000000"));
}

#[tokio::test]
async fn a_window_is_sent_with_both_ends_inside_and_keeps_its_edges() {
    let world = World::bundled(slack());
    let ask = |lower: &str, upper: &str| {
        request(world.select(MESSAGES, &["channel", "ts"]), |r| {
            r.constraints = constrain(&[
                ("channel", "=", text("C1")),
                ("ts", lower, micros((NOON - 1200) * 1_000_000)),
                ("ts", upper, micros(NOON * 1_000_000)),
            ]);
        })
    };
    assert_eq!(world.run(MESSAGES, ask(">=", "<=")).await.unwrap().0.num_rows(), 3);
    let asked = world.toy.log()[0].clone();
    assert_eq!(asked.param("include_all_metadata"), Some("true"), "without it Slack leaves metadata out");
    assert_eq!(
        (asked.param("oldest"), asked.param("latest"), asked.param("inclusive")),
        (Some("1795174800.000000"), Some("1795176000.000000"), Some("true"))
    );
    assert_eq!(world.run(MESSAGES, ask(">", "<")).await.unwrap().0.num_rows(), 1);
    let asked = world.toy.log().last().unwrap().clone();
    assert_eq!((asked.param("oldest"), asked.param("latest")), (Some("1795174800.000001"), Some("1795175999.999999")));
}

#[tokio::test]
async fn a_channel_name_prunes_the_channels() {
    let world = World::bundled(slack());
    let ask = request(world.select(MESSAGES, &["channel_name", "text"]), |r| {
        r.constraints = constrain(&[("channel_name", "in", text("incidents,alerts"))]);
    });
    let (rows, report) = world.run(MESSAGES, ask).await.unwrap();
    assert_eq!((rows.num_rows(), report.requests), (40, 1 + 3));
}

#[tokio::test]
async fn archived_channels_are_read_when_asked_for() {
    let world = World::bundled(slack());
    let ask = request(world.select(MESSAGES, &["channel", "channel_is_archived"]), |r| {
        r.constraints = constrain(&[("channel_is_archived", "=", ScalarValue::Boolean(Some(true)))]);
    });
    let (rows, _) = world.run(MESSAGES, ask).await.unwrap();
    assert_eq!(rows.num_rows(), 40);
    assert_eq!(texts(&rows, "channel")[0].as_deref(), Some("C5"));
}

#[tokio::test]
async fn a_channel_that_the_query_names_and_nobody_may_read_is_an_error() {
    let world = World::bundled(slack());
    let ask = request(world.select(MESSAGES, &["ts"]), |r| r.constraints = constrain(&[("channel", "=", text("C3"))]));
    let error = world.run(MESSAGES, ask).await.unwrap_err();
    assert_eq!(
        (error.kind, error.detail.as_str(), error.status),
        (ScanErrorKind::NotFound, "not_in_channel", Some(200))
    );
}

#[tokio::test(start_paused = true)]
async fn an_error_with_status_200_is_an_error_of_the_right_kind() {
    for (code, kind, requests) in [
        ("invalid_auth", ScanErrorKind::Unauthorized, 1),
        ("missing_scope", ScanErrorKind::Unauthorized, 1),
        ("ratelimited", ScanErrorKind::RateLimited, 4),
        ("internal_error", ScanErrorKind::Unavailable, 4),
        ("invalid_cursor", ScanErrorKind::BadRequest, 1),
    ] {
        let world = World::bundled(slack());
        world.toy.misbehave(vec![Reply::Json(json!({"ok": false, "error": code})); 4]);
        let error = world.run("slack.users", world.select("slack.users", &["id"])).await.unwrap_err();
        assert_eq!((error.kind, error.detail.as_str(), world.toy.count()), (kind, code, requests));
    }
    let world = World::bundled(slack());
    world.toy.misbehave([Reply::Json(json!({"ok": false, "error": "invalid_auth"}))]);
    let error = world.connectors.source("slack").unwrap().test().await.unwrap_err();
    assert!(error.hint.unwrap().contains("check SLACK_TOKEN or SLACK_BOT_TOKEN"));
}

#[tokio::test]
async fn the_newest_messages_of_all_channels_cost_one_page_of_each_channel() {
    for (condition, expected) in [("", 5), ("WHERE ts >= '2026-11-20T11:45:00Z'", 4)] {
        let world = World::bundled(slack());
        let sql = format!("SELECT channel_name, ts FROM slack.messages {condition} ORDER BY ts DESC LIMIT 5");
        let result = world.sql(&sql).await.unwrap();
        let times: Vec<i64> = result
            .batches
            .iter()
            .flat_map(|b| b.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec())
            .collect();
        let newest = [0, 0, 600, 600, 1200].map(|ago| (NOON - ago) * 1_000_000);
        assert_eq!(times, newest[..expected]);
        assert_eq!(world.toy.count(), 1 + 2 + 1, "channels; a page of two channels; one refusal");
        let asked = world.toy.log().into_iter().filter(|asked| asked.path.ends_with("history"));
        assert!(asked.into_iter().all(|asked| asked.param("limit") == Some("5")));
        assert!(result.report.complete, "{:?}", result.report);
    }
}
