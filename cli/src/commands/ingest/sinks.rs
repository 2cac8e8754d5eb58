//! Where events go: into the store of this home, or to a running server.

use std::time::Duration;

use reqwest::{Client, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use tripline_agent::sessions::SessionRules;
use tripline_store::ingest::{IngestError, Receipt, Rejection, WireEvent};
use tripline_store::{OpenMode, Scope, SqliteStore};

use super::sessions;
use crate::app::{Home, clock};
use crate::failure::Failure;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a batch is tried while the store or the server is busy.
const ATTEMPTS: u32 = 5;
/// The longest pause that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) enum Sink {
    Store(SqliteStore, SessionRules),
    Server { base: Url, key: Option<SecretString>, client: Client },
}

impl Sink {
    pub(super) async fn open(url: Option<&str>, home: &Home) -> Result<Self, Failure> {
        let Some(url) = url else {
            // As a server does: of what is kept within a day, one process at a time knows which events it has.
            let store = home.open_store(OpenMode::Serve).await;
            let rules = SessionRules::of(&home.settings()?);
            return store
                .map(|store| Self::Store(store, rules))
                .map_err(|failure| failure.also_hint("a running server takes them with --url"));
        };
        let base = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| Failure::usage("the address of the server is none", "--url http://127.0.0.1:8000"))?;
        let client = Client::builder().timeout(PATIENCE).build().map_err(Failure::display)?;
        let key = home.environment.get("TRIPLINE_API_KEY").map(SecretString::from);
        Ok(Self::Server { base, key, client })
    }

    /// Keeps a batch.
    pub(super) async fn accept(&self, events: Vec<WireEvent>) -> Result<Receipt, Failure> {
        for attempt in 1.. {
            let outcome = match self {
                Self::Store(store, _) => into_store(store, events.clone()).await?,
                Self::Server { base, key, client } => {
                    let agent_id = events.first().map_or("unknown", |event| event.agent_id.as_str());
                    let body = json!({"agent_id": agent_id, "events": events});
                    to_server(client, base, key.as_ref(), ["v1", "ingest"].as_slice(), &body, events.len()).await?
                }
            };
            match outcome {
                Outcome::Taken(receipt) => return Ok(receipt),
                Outcome::Later { reason, .. } if attempt >= ATTEMPTS => {
                    return Err(Failure::new(reason).hint("run the same command again later: nothing is doubled"));
                }
                Outcome::Later { pause, .. } => tokio::time::sleep(pause.min(LONGEST_PAUSE)).await,
            }
        }
        Ok(Receipt::default())
    }

    /// Keeps a batch of a session.
    pub(super) async fn accept_session(&self, batch: &Map<String, Value>) -> Result<Receipt, Failure> {
        let (base, key, client) = match self {
            Self::Store(store, rules) => return sessions::keep(store, rules, batch, clock(None).now()).await,
            Self::Server { base, key, client } => (base, key, client),
        };
        let mut whole = Receipt::default();
        for (first, body) in sessions::requests(batch) {
            let sent = body["events"].as_array().map_or(0, Vec::len);
            let mut attempt = 1;
            let receipt = loop {
                let path = ["v1", "events", "batch"];
                match to_server(client, base, key.as_ref(), &path, &body, sent).await? {
                    Outcome::Taken(receipt) => break receipt,
                    Outcome::Later { reason, .. } if attempt >= ATTEMPTS => {
                        return Err(Failure::new(reason).hint("run the same command again later: nothing is doubled"));
                    }
                    Outcome::Later { pause, .. } => tokio::time::sleep(pause.min(LONGEST_PAUSE)).await,
                }
                attempt += 1;
            };
            whole.accepted += receipt.accepted;
            whole.duplicates += receipt.duplicates;
            let placed = receipt.rejected.into_iter().map(|one| Rejection { index: first + one.index, ..one });
            whole.rejected.extend(placed);
        }
        Ok(whole)
    }
}

enum Outcome {
    Taken(Receipt),
    Later { reason: String, pause: Duration },
}

async fn into_store(store: &SqliteStore, events: Vec<WireEvent>) -> Result<Outcome, Failure> {
    let accepted = store.store().events.accept(&Scope::default_project(), clock(None).now(), events).await;
    match accepted {
        Ok(receipt) => Ok(Outcome::Taken(receipt)),
        Err(IngestError::Nothing { rejected }) => Ok(Outcome::Taken(Receipt { rejected, ..Receipt::default() })),
        Err(IngestError::Store(error)) => Err(error.into()),
        Err(error) => {
            let reason = error.to_string();
            let (IngestError::Busy { retry_after } | IngestError::Full { retry_after, .. }) = error else {
                return Err(Failure::new(reason));
            };
            Ok(Outcome::Later { reason, pause: retry_after })
        }
    }
}

async fn to_server(
    client: &Client,
    base: &Url,
    key: Option<&SecretString>,
    path: &[&str],
    body: &Value,
    sent: usize,
) -> Result<Outcome, Failure> {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let mut request = client.post(url).json(body);
    if let Some(key) = key {
        request = request.bearer_auth(key.expose_secret());
    }
    let pause = Duration::from_secs(1);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_connect() || error.is_timeout() => {
            let reason = format!("{} does not answer", base.origin().ascii_serialization());
            return Ok(Outcome::Later { reason, pause });
        }
        Err(error) => return Err(Failure::display(error.without_url())),
    };
    let status = response.status();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let body: Value = response.json().await.unwrap_or_default();
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        let pause = retry_after.map_or(pause, Duration::from_secs);
        return Ok(Outcome::Later { reason: format!("the server is busy: {}", said(status, &body)), pause });
    }
    if (status.is_success() || matches!(status, StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT))
        && let Some(receipt) = receipt(status, &body, sent)
    {
        return Ok(Outcome::Taken(receipt));
    }
    if let Some(reason) = body["error"]["message"].as_str().filter(|reason| reason.starts_with("there is no session")) {
        let refused = |index| Rejection { index, field: "session_id".to_owned(), reason: reason.to_owned() };
        return Ok(Outcome::Taken(Receipt { rejected: (0..sent).map(refused).collect(), ..Receipt::default() }));
    }
    let failure = Failure::new(format!("the server refused the events: {}", said(status, &body)));
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failure
            .hint("set TRIPLINE_API_KEY to a key with the scope ingest (`tripline keys create NAME --scope ingest`)"),
        StatusCode::NOT_FOUND => failure.hint("is that the address of a Tripline server?"),
        _ => failure,
    })
}

/// What the door answered: counts, and the refusals by place in the batch.
fn receipt(status: StatusCode, body: &Value, sent: usize) -> Option<Receipt> {
    let rejected = body.get("rejected").or_else(|| body.get("error")?.get("rejected"));
    let rejected: Vec<Rejection> = match rejected {
        Some(list) => serde_json::from_value(list.clone()).ok()?,
        None if status.is_success() => Vec::new(),
        None => return None,
    };
    let count = |name: &str| body.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
    let duplicates = count("duplicates").or_else(|| count("deduped")).unwrap_or(0);
    let kept = sent.saturating_sub(rejected.len() + duplicates);
    Some(Receipt { accepted: if status.is_success() { kept } else { 0 }, duplicates, rejected })
}

/// What an answer says went wrong.
fn said(status: StatusCode, body: &Value) -> String {
    let message = body["error"]["message"].as_str().or_else(|| body["detail"].as_str());
    message.map_or_else(|| status.to_string(), |message| format!("{status}: {message}"))
}
