//! A secret is in requests and nowhere else, also where it travels as a parameter and the vendor sends it back.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tripline_engine::EngineError;

use crate::testing::{Asked, Own, Reply, Toy};

/// As it is, and as it stands in a URL.
const SECRET: &str = "hunter2-a/b+c=&d-0123456789";
const ESCAPED: &str = "hunter2-a%2Fb%2Bc%3D%26d-0123456789";

/// The parameter has a name that no list of suspicious names has.
const SPEC: &str = r"source: mine
description: A source of my own.
base_url: { env: [MINE_URL] }
inputs:
  secret: { env: [MINE_SECRET], required: true }
  org: { env: [MINE_ORG], default: acme }
auth: { type: query, param: appid, value: secret }
limits: { timeout_s: 1 }
test: /ping
tables:
  things:
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
    endpoints:
      - name: things
        path: /orgs/{{input.org}}/things
        rows: data
        pagination: { type: next_url, next: next }
        page_size: { param: limit, max: 2 }
  linked:
    description: Things.
    guide: Ask.
    primary_key: [id]
    columns:
      id: { type: int, about: Id }
    endpoints:
      - name: linked
        path: /linked
        pagination: { type: link }
";

fn has_secret(text: &str) -> bool {
    // Eight characters would be enough to go on guessing.
    [SECRET, ESCAPED, &SECRET[..12]].iter().any(|form| text.contains(form))
}

/// Everything that is logged while it is in force.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    fn start(&self) -> tracing::subscriber::DefaultGuard {
        let logged = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || logged.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// What a person can get to see of a source and a failed query.
async fn everything_shown(own: &Own, error: &EngineError) -> String {
    let source = own.connectors.source("mine").unwrap();
    let mut shown = format!(
        "{error}\n{error:?}\n{source:?}\n{:?}\n{:?}\n{}\n{:?}\n{:?}\n",
        source.health(),
        own.connectors,
        source.base_url(),
        source.account(),
        source.describe("things"),
    );
    for sql in [
        "SELECT * FROM tripline.sources",
        "SELECT * FROM tripline.tables",
        "SELECT * FROM tripline.columns",
        "SELECT * FROM tripline.filters",
        "EXPLAIN SELECT id FROM mine.things",
        "EXPLAIN VERBOSE SELECT id FROM mine.things WHERE id = 1",
    ] {
        shown += &Value::from(own.sql(sql).await.unwrap()).to_string();
    }
    shown
}

async fn own(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Own {
    Own::new(Toy::new(answer), SPEC, &[("MINE_SECRET", SECRET)]).await
}

#[tokio::test]
async fn nothing_that_is_shown_or_logged_of_a_failure_has_the_secret_parameter() {
    let echo = |status: u16, words: &str| Reply::With(status, Vec::new(), words.to_owned());
    let url = format!("https://api/things?appid={ESCAPED}&page=1");
    let elsewhere = format!("http://127.0.0.1:9/x?appid={ESCAPED}");
    let replies = [
        echo(400, &json!({"message": format!("no such key {SECRET}")}).to_string()),
        echo(401, &json!({"error": format!("bad request to {url}")}).to_string()),
        echo(403, &format!("<html>{url}</html>")),
        echo(404, &format!("nothing at {url}")),
        echo(422, &json!({"errors": [{"detail": url}]}).to_string()),
        echo(501, SECRET),
        echo(200, SECRET),
        // The beginning of a body is shown, and ends in the middle of the secret.
        echo(200, &format!("{}{SECRET}", "x".repeat(45))),
        echo(200, &json!({"data": [{"id": url}]}).to_string()),
        echo(200, &json!({"data": [{"id": format!("{}{SECRET}", "y".repeat(40))}]}).to_string()),
        echo(200, &json!({"data": [{"id": 1}], "next": elsewhere}).to_string()),
        Reply::With(302, vec![("location", elsewhere)], String::new()),
    ];
    for reply in replies {
        let logged = Logged::default();
        let guard = logged.start();
        let shown_reply = format!("{reply:?}");
        let own = own(move |_| reply.clone()).await;
        let error = own.sql("SELECT id FROM mine.things").await.unwrap_err();
        let shown = everything_shown(&own, &error).await;
        drop(guard);
        assert!(!has_secret(&shown), "{shown_reply}:\n{shown}");
        assert!(!has_secret(&logged.text()), "{shown_reply}:\n{}", logged.text());
        assert_eq!(own.toy.log()[0].param("appid"), Some(SECRET), "it does arrive");
    }
}

#[tokio::test]
async fn a_page_address_that_repeats_the_secret_is_followed_with_the_secret_once_and_shown_without() {
    // The vendor writes the whole address, parameters and all, as many do.
    let own = own(|asked| {
        let host = asked.headers["host"].to_str().unwrap();
        let from = asked.number("from").unwrap_or(0);
        if asked.path == "/linked" {
            let link = format!(r#"<http://{host}/linked?appid={ESCAPED}&from={}>; rel="next""#, from + 1);
            return match from {
                2 => Reply::With(500, Vec::new(), String::new()),
                _ => Reply::With(200, vec![("link", link)], json!([{ "id": from }]).to_string()),
            };
        }
        let next = format!("http://{host}/orgs/acme/things?appid={ESCAPED}&from={}", from + 1);
        match from {
            2 => Reply::With(400, Vec::new(), json!({"message": "enough"}).to_string()),
            _ => Reply::Json(json!({"data": [{"id": from}], "next": next})),
        }
    })
    .await;
    for table in ["things", "linked"] {
        let logged = Logged::default();
        let guard = logged.start();
        let error = own.sql(&format!("SELECT id FROM mine.{table}")).await.unwrap_err();
        let shown = everything_shown(&own, &error).await;
        drop(guard);
        assert!(shown.contains("from=2"), "{shown}");
        assert!(!has_secret(&shown) && !has_secret(&logged.text()), "{shown}\n{}", logged.text());
    }
    for asked in own.toy.log() {
        let sent: Vec<&str> = asked.query.iter().filter(|(name, _)| name == "appid").map(|(_, v)| v.as_str()).collect();
        assert_eq!(sent, [SECRET], "{:?}", asked.query);
    }
}

#[tokio::test]
async fn an_address_that_nobody_answers_at_is_shown_without_the_secret() {
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let logged = Logged::default();
    let guard = logged.start();
    let own = Own::at(Toy::new(|_| Reply::status(404)), &base, SPEC, &[("MINE_SECRET", SECRET)]);
    let error = own.sql("SELECT id FROM mine.things").await.unwrap_err();
    let shown = everything_shown(&own, &error).await;
    drop(guard);
    assert!(shown.contains("/orgs/acme/things") && !has_secret(&shown), "{shown}");
    assert!(!has_secret(&logged.text()), "{}", logged.text());
}

#[tokio::test]
async fn explain_analyze_and_the_report_show_requests_without_the_secret() {
    let own = own(|_| Reply::Json(json!({"data": [{"id": 1}], "next": null}))).await;
    let shown = Value::from(own.sql("EXPLAIN ANALYZE SELECT id FROM mine.things").await.unwrap()).to_string();
    assert!(shown.contains("/things") && !has_secret(&shown), "{shown}");
    let result =
        own.engine.collect("SELECT id FROM mine.things", tripline_engine::QueryOptions::default()).await.unwrap();
    let report = serde_json::to_string(&result.report).unwrap();
    assert!(!has_secret(&report) && !has_secret(&format!("{:?}", result.report)), "{report}");
    assert_eq!(own.toy.log().last().unwrap().param("appid"), Some(SECRET));
}
