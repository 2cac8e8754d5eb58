//! `tripline seed`: writes a bundled scenario to the configured vendors through their real write endpoints.
//!
//! Langfuse gets the traces, observations and scores (`POST /api/public/ingestion`), Sentry the error events (through the
//! projects' DSNs), Slack the conversation of the last day (its messages cannot be dated back). GitHub has no write
//! endpoint for commits of the past: the repository's own history is what stays there, and the command says so.
//!
//! Must hold: nothing is written to a host that is not loopback without `--yes`; a refused item is counted and reported,
//! never dropped in silence.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde_json::{Value, json};
use tripline_engine::Environment;
use tripline_simulator::{Collection, DEFAULT_SEED, Dataset, Scenario};

use crate::app::Home;
use crate::args::SeedArgs;
use crate::failure::Failure;
use crate::terminal;

/// Variables that name a vendor's base URL, and where it is without them.
type Place = (&'static [&'static str], &'static str);
const LANGFUSE: Place = (&["LANGFUSE_BASE_URL", "LANGFUSE_HOST"], "https://cloud.langfuse.com");
const SENTRY: Place = (&["SENTRY_BASE_URL"], "https://sentry.io");
const SLACK: Place = (&["SLACK_API_URL"], "https://slack.com/api");
/// Items per ingestion request.
const BATCH: usize = 100;
/// Tries per request while a vendor asks to slow down.
const TRIES: u32 = 6;
/// Messages posted to Slack at most.
const MESSAGES: usize = 40;

pub(crate) async fn run(args: SeedArgs, home: &Home) -> Result<(), Failure> {
    let scenarios = Scenario::set(&args.scenario).map_err(|error| Failure::new(error.to_string()))?;
    let now = Utc::now();
    let (data, truth) = Scenario::generate(&scenarios, now, DEFAULT_SEED);
    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::new(error.to_string()))?;
    let seeder = Seeder { client, environment: &home.environment, yes: args.yes };
    // All of it may be written, or none of it is.
    for (names, default) in [LANGFUSE, SENTRY, SLACK] {
        seeder.base(names, default)?;
    }
    seeder.langfuse(&data).await?;
    seeder.sentry(&data).await?;
    seeder.slack(&data, now).await?;
    terminal::line(
        "github: left alone; commits of the past cannot be written, so suspects come from the repository's own history",
    );
    for incident in &truth.incidents {
        terminal::line(&format!(
            "seeded {:?} of '{}' beginning {}",
            incident.class, incident.entity, incident.starts_at
        ));
    }
    Ok(())
}

struct Seeder<'a> {
    client: Client,
    environment: &'a Environment,
    yes: bool,
}

fn text<'v>(item: &'v Value, key: &str) -> &'v str {
    item.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The listed fields that are there and not null.
fn pick(item: &Value, keys: &[&str]) -> serde_json::Map<String, Value> {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), item.get(*key).filter(|v| !v.is_null())?.clone()))).collect()
}

impl Seeder<'_> {
    fn variable(&self, names: &[&str]) -> Result<&str, Failure> {
        self.environment.first(names).map(|(_, value)| value).ok_or_else(|| {
            Failure::new(format!("{} is not set", names.join(" or "))).hint("seed writes with the credentials of serve")
        })
    }

    fn base(&self, names: &[&str], default: &str) -> Result<Url, Failure> {
        let value = self.environment.first(names).map_or(default, |(_, value)| value);
        let url = Url::parse(value).map_err(|error| Failure::new(format!("{}: {error}", names.join(" or "))))?;
        self.allowed(&url)?;
        Ok(url)
    }

    fn allowed(&self, url: &Url) -> Result<(), Failure> {
        let loopback = match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if loopback || self.yes {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        Err(Failure::new(format!("seeding would write invented data to {host}"))
            .hint("point the base URLs at `tripline simulate`, or repeat with --yes for an account meant for it"))
    }

    /// Sends until it is accepted, waiting where the vendor asks for it.
    async fn send(&self, what: &str, request: RequestBuilder) -> Result<Value, Failure> {
        let failed = |error: reqwest::Error| Failure::new(format!("{what}: {}", error.without_url()));
        for _ in 0..TRIES {
            let Some(attempt) = request.try_clone() else { break };
            let response = attempt.send().await.map_err(failed)?;
            let status = response.status();
            if status == StatusCode::TOO_MANY_REQUESTS {
                let header = response.headers().get(reqwest::header::RETRY_AFTER);
                let seconds = header.and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok()).unwrap_or(2u64);
                tokio::time::sleep(Duration::from_secs(seconds.clamp(1, 60))).await;
                continue;
            }
            let body: Value = response.json().await.unwrap_or(Value::Null);
            if status.is_success() {
                return Ok(body);
            }
            let said: String = body.to_string().chars().take(300).collect();
            return Err(Failure::new(format!("{what}: HTTP {}: {said}", status.as_u16())));
        }
        Err(Failure::new(format!("{what}: the vendor kept asking to slow down")))
    }

    async fn langfuse(&self, data: &Dataset) -> Result<(), Failure> {
        let base = self.base(LANGFUSE.0, LANGFUSE.1)?;
        let (public, secret) = (self.variable(&["LANGFUSE_PUBLIC_KEY"])?, self.variable(&["LANGFUSE_SECRET_KEY"])?);
        let url = format!("{}/api/public/ingestion", base.as_str().trim_end_matches('/'));
        let events: Vec<Value> = data
            .items(Collection::LangfuseTraces)
            .map(|item| trace_event(&item))
            .chain(data.items(Collection::LangfuseObservations).map(|item| observation_event(&item)))
            .chain(data.items(Collection::LangfuseScores).map(|item| score_event(&item)))
            .collect();
        for batch in events.chunks(BATCH) {
            let request = self
                .client
                .post(&url)
                .basic_auth(public, Some(secret))
                // Without it, a v4 server shows the data up to a quarter of an hour late.
                .header("x-langfuse-ingestion-version", "4")
                .json(&json!({ "batch": batch }));
            let answer = self.send("langfuse", request).await?;
            let refused = answer.get("errors").and_then(Value::as_array).map_or(0, Vec::len);
            if refused > 0 {
                let first = answer.pointer("/errors/0").map(Value::to_string).unwrap_or_default();
                return Err(Failure::new(format!("langfuse refused {refused} of {} items: {first}", batch.len())));
            }
        }
        terminal::line(&format!("langfuse: {} traces, observations and scores", events.len()));
        Ok(())
    }

    async fn sentry(&self, data: &Dataset) -> Result<(), Failure> {
        let base = self.base(SENTRY.0, SENTRY.1)?;
        let base = base.as_str().trim_end_matches('/');
        let token = self.variable(&["SENTRY_TOKEN", "SENTRY_AUTH_TOKEN"])?;
        let organisation = self.variable(&["SENTRY_ORG"])?;
        let slugs: Vec<(String, String)> = data
            .items(Collection::SentryProjects)
            .map(|project| (text(&project, "id").to_owned(), text(&project, "slug").to_owned()))
            .collect();
        let events: Vec<Value> = data.items(Collection::SentryIssueEvents).collect();
        let mut sent = 0;
        for (id, slug) in slugs {
            let mine: Vec<&Value> = events.iter().filter(|event| text(event, "projectID") == id).collect();
            if mine.is_empty() {
                continue;
            }
            let part = |text: &str| percent(text);
            let keys = format!("{base}/api/0/projects/{}/{}/keys/", part(organisation), part(&slug));
            let keys = self.send("sentry keys", self.client.get(keys).bearer_auth(token)).await?;
            let dsn = keys.pointer("/0/dsn/public").and_then(Value::as_str).unwrap_or_default();
            let dsn = Url::parse(dsn).map_err(|_| {
                Failure::new(format!("sentry: project {slug} has no client key"))
                    .hint("create the project and a key first")
            })?;
            self.allowed(&dsn)?;
            let (store, key) = store_url(&dsn)?;
            for event in mine {
                let auth = format!("Sentry sentry_version=7, sentry_client=tripline-seed/1, sentry_key={key}");
                let request = self.client.post(store.clone()).header("X-Sentry-Auth", auth).json(&sentry_event(event));
                self.send("sentry", request).await?;
                sent += 1;
            }
        }
        terminal::line(&format!("sentry: {sent} events"));
        Ok(())
    }

    async fn slack(&self, data: &Dataset, now: DateTime<Utc>) -> Result<(), Failure> {
        let base = self.base(SLACK.0, SLACK.1)?;
        let token = self.variable(&["SLACK_BOT_TOKEN"])?;
        let url = format!("{}/chat.postMessage", base.as_str().trim_end_matches('/'));
        let names: Vec<(String, String)> = data
            .items(Collection::SlackChannels)
            .map(|channel| (text(&channel, "id").to_owned(), text(&channel, "name").to_owned()))
            .collect();
        let since = (now - TimeDelta::days(1)).timestamp() as f64;
        let recent: Vec<Value> = data
            .items(Collection::SlackMessages)
            .filter(|message| text(message, "ts").parse::<f64>().is_ok_and(|ts| ts >= since))
            .collect();
        let mut sent = 0;
        for message in recent.iter().rev().take(MESSAGES).rev() {
            let id = text(message, "_channel");
            let channel = names.iter().find(|(known, _)| known == id).map_or(id, |(_, name)| name);
            let body = json!({"channel": format!("#{channel}"), "text": text(message, "text")});
            let answer = self.send("slack", self.client.post(&url).bearer_auth(token).json(&body)).await?;
            if answer.get("ok") != Some(&Value::Bool(true)) {
                return Err(Failure::new(format!("slack: {} in #{channel}", text(&answer, "error")))
                    .hint("create the channel and invite the bot"));
            }
            sent += 1;
        }
        terminal::line(&format!("slack: {sent} messages, dated now"));
        Ok(())
    }
}

fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The `store` endpoint of a DSN and its public key.
fn store_url(dsn: &Url) -> Result<(Url, String), Failure> {
    let (prefix, project) = dsn.path().rsplit_once('/').unwrap_or(("", dsn.path()));
    let mut store = dsn.clone();
    store.set_path(&format!("{prefix}/api/{project}/store/"));
    store.set_username("").map_err(|()| Failure::new("sentry: the DSN has no host"))?;
    Ok((store, dsn.username().to_owned()))
}

fn envelope(kind: &str, id: String, timestamp: &str, body: serde_json::Map<String, Value>) -> Value {
    json!({"id": id, "type": kind, "timestamp": timestamp, "body": body})
}

fn trace_event(item: &Value) -> Value {
    const FIELDS: [&str; 12] = [
        "id",
        "timestamp",
        "name",
        "userId",
        "sessionId",
        "release",
        "version",
        "input",
        "output",
        "metadata",
        "tags",
        "environment",
    ];
    let body = pick(item, &FIELDS);
    envelope("trace-create", format!("seed-trace-{}", text(item, "id")), text(item, "timestamp"), body)
}

fn observation_event(item: &Value) -> Value {
    const FIELDS: [&str; 20] = [
        "id",
        "traceId",
        "type",
        "name",
        "startTime",
        "endTime",
        "completionStartTime",
        "parentObservationId",
        "level",
        "statusMessage",
        "version",
        "environment",
        "input",
        "output",
        "metadata",
        "model",
        "modelParameters",
        "usageDetails",
        "costDetails",
        "promptName",
    ];
    let mut body = pick(item, &FIELDS);
    if let Some(version) = item.get("promptVersion").filter(|v| !v.is_null()) {
        body.insert("promptVersion".to_owned(), version.clone());
    }
    let kind = match text(item, "type") {
        "GENERATION" => "generation-create",
        "SPAN" => "span-create",
        "EVENT" => "event-create",
        _ => "observation-create",
    };
    if kind != "observation-create" {
        body.remove("type");
    }
    envelope(kind, format!("seed-observation-{}", text(item, "id")), text(item, "startTime"), body)
}

fn score_event(item: &Value) -> Value {
    const FIELDS: [&str; 8] = ["id", "traceId", "observationId", "sessionId", "name", "value", "dataType", "comment"];
    let mut body = pick(item, &FIELDS);
    // A boolean score has a text form too, but is written as 0 or 1.
    if let Some(category) =
        item.get("stringValue").filter(|_| text(item, "dataType") != "BOOLEAN").filter(|v| v.is_string())
    {
        body.insert("value".to_owned(), category.clone());
    }
    envelope("score-create", format!("seed-score-{}", text(item, "id")), text(item, "timestamp"), body)
}

/// An event as an SDK would send it.
fn sentry_event(event: &Value) -> Value {
    let tags: serde_json::Map<String, Value> = event
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|tag| text(tag, "key") != "release")
        .map(|tag| (text(tag, "key").to_owned(), Value::from(text(tag, "value"))))
        .collect();
    let exception = event
        .get("entries")
        .or_else(|| event.pointer("/_full/entries"))
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| text(entry, "type") == "exception")
        .and_then(|entry| entry.get("data"))
        .cloned();
    let release = event
        .get("tags")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|tag| text(tag, "key") == "release")
        .map(|tag| text(tag, "value").to_owned());
    let mut body = json!({
        "event_id": text(event, "eventID"),
        "timestamp": text(event, "dateCreated"),
        "platform": text(event, "platform"),
        "level": "error",
        "message": text(event, "message"),
        "tags": tags,
        "culprit": text(event, "culprit"),
    });
    if let Some(body) = body.as_object_mut() {
        body.extend(exception.map(|exception| ("exception".to_owned(), exception)));
        body.extend(release.map(|release| ("release".to_owned(), Value::from(release))));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_its_store_endpoint_and_key() {
        let dsn = Url::parse("http://abc@127.0.0.1:9000/sentry/42").unwrap();
        let (store, key) = store_url(&dsn).unwrap();
        assert_eq!((store.as_str(), key.as_str()), ("http://127.0.0.1:9000/sentry/api/42/store/", "abc"));
    }

    #[test]
    fn hosts_that_are_not_loopback_need_consent() {
        let environment = Environment::default();
        let seeder = |yes| Seeder { client: Client::new(), environment: &environment, yes };
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (url, loopback) in [
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000", true),
            ("http://localhost", true),
            ("https://cloud.langfuse.com", false),
            ("http://localhost.evil.example", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(seeder(false).allowed(&url).is_ok(), loopback, "{url}");
            assert!(seeder(true).allowed(&url).is_ok());
        }
    }
}
