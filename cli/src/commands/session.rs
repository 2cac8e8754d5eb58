//! `tripline session`: the adapter that sends a session to a running server and reads what was found of it.
//!
//! Must hold: what was answered is printed, nothing is made up; sending again after a failure doubles nothing, because the server
//! tells repetitions; the key is in no error and no address.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::app::Home;
use crate::args::{SessionCommand, SessionEnd, SessionPart, SessionSend, SessionServer, SessionStart};
use crate::failure::Failure;
use crate::terminal;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a batch is tried while the server is busy or away.
const ATTEMPTS: u32 = 4;
/// Bytes of one batch; the server takes eight million.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Bytes of one event; the server takes a quarter of that.
const MAX_EVENT_BYTES: u64 = 1 << 20;

pub(crate) async fn run(command: SessionCommand, home: &Home) -> Result<(), Failure> {
    match command {
        SessionCommand::Start(args) => start(args, home).await,
        SessionCommand::Send(args) => send(args, home).await,
        SessionCommand::End(args) => end(args, home).await,
        SessionCommand::Show { id, part, server } => show(&id, part, &Server::of(&server, home)?).await,
        SessionCommand::Analyze { id, mode, server } => {
            let server = Server::of(&server, home)?;
            let path = ["api", "v1", "sessions", &id, "analyze"];
            let mode = [("mode", mode.as_str())];
            print(&server.call(Method::POST, &path, &mode, Some(&json!({}))).await?)
        }
    }
}

/// The server that is spoken to.
struct Server {
    base: Url,
    key: Option<SecretString>,
    client: Client,
}

/// Why a request came to nothing.
enum Unanswered {
    /// Worth another try: nobody there, or busy, perhaps for so long.
    Later(Failure, Option<Duration>),
    /// Not worth another try.
    Never(Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Later(failure, _) | Unanswered::Never(failure) => failure,
        }
    }
}

impl Server {
    fn of(args: &SessionServer, home: &Home) -> Result<Self, Failure> {
        let named = args.url.clone().or_else(|| home.environment.get("TRIPLINE_URL").map(str::to_owned));
        let text = named.unwrap_or_else(|| "http://127.0.0.1:8000".to_owned());
        let base = Url::parse(&text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
            .ok_or_else(|| Failure::usage("the address of the server is none", "--url http://127.0.0.1:8000"))?;
        let client = Client::builder().timeout(PATIENCE).build().map_err(Failure::display)?;
        let key = home.environment.get("TRIPLINE_API_KEY").map(SecretString::from);
        Ok(Self { base, key, client })
    }

    /// Sends one request; the answer's JSON where the server took it.
    async fn try_call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Value, Unanswered> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(Unanswered::Never(Failure::new("the address of the server has no path"))),
        }
        let mut request = self.client.request(method, url).query(query);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let answer = request.send().await.map_err(|error| {
            let failure = Failure::new(format!("the server at {} does not answer: {}", self.place(), plain(&error)))
                .hint("is `tripline serve` running there? --url or TRIPLINE_URL says where");
            Unanswered::Later(failure, None)
        })?;
        let status = answer.status();
        let wait = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.text().await.map_err(|error| {
            Unanswered::Later(Failure::new(format!("the answer broke off: {}", plain(&error))), None)
        })?;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let failure = refused(status, &value);
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            return Err(Unanswered::Later(failure, wait.map(Duration::from_secs)));
        }
        // A batch of which nothing could be kept says why, item by item.
        if value["rejected"].is_array() {
            return Ok(value);
        }
        Err(Unanswered::Never(failure))
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        Ok(self.try_call(method, path, query, body.map(Value::to_string)).await?)
    }

    /// The same, tried again while the server is away or busy: for what can be repeated.
    async fn insist(&self, path: &[&str], body: &str) -> Result<Value, Failure> {
        let mut attempt = 1;
        loop {
            match self.try_call(Method::POST, path, &[], Some(body.to_owned())).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Later(_, wait)) if attempt < ATTEMPTS => {
                    let backoff = Duration::from_millis(250 << attempt);
                    tokio::time::sleep(wait.unwrap_or(backoff).min(Duration::from_secs(10))).await;
                    attempt += 1;
                }
                Err(unanswered) => return Err(unanswered.into()),
            }
        }
    }

    /// Host and port, without anything secret.
    fn place(&self) -> String {
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.base.host_str().unwrap_or_default())
    }

    /// All items of a listing.
    async fn list(&self, path: &[&str], filter: &[(&str, &str)]) -> Result<Vec<Value>, Failure> {
        let (mut items, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut query = vec![("limit", "1000")];
            query.extend_from_slice(filter);
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = self.call(Method::GET, path, &query, None).await?;
            if let Value::Array(more) = &page["items"] {
                items.extend(more.iter().cloned());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }
}

/// What a transport says, without the address.
fn plain(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn refused(status: StatusCode, answer: &Value) -> Failure {
    let error = &answer["error"];
    let message = error["message"].as_str().unwrap_or("no reason was given");
    let detail = error["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
    let failure = Failure::new(format!("the server answered {}: {message}{detail}", status.as_u16()));
    match error["hint"].as_str() {
        _ if status == StatusCode::UNAUTHORIZED => {
            failure.hint("set TRIPLINE_API_KEY to a key with the scopes ingest and read (`tripline keys create`)")
        }
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn print(value: &Value) -> Result<(), Failure> {
    terminal::line(&serde_json::to_string_pretty(value).map_err(Failure::display)?);
    Ok(())
}

async fn start(args: SessionStart, home: &Home) -> Result<(), Failure> {
    let server = Server::of(&args.server, home)?;
    let mut body = json!({"user_id": args.user, "workspace_id": args.workspace, "tags": args.tags});
    if let Some(key) = args.key {
        body["external_session_key"] = key.into();
    }
    if let Some(at) = args.at {
        body["start_time"] = at.to_rfc3339().into();
    }
    if let Some(path) = &args.config {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let config: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{}: no JSON object: {error}", path.display())))?;
        body["config_snapshot"] = config.into();
    }
    let session = server.call(Method::POST, &["v1", "sessions", "start"], &[], Some(&body)).await?;
    match session["session_id"].as_str() {
        Some(id) if !args.json => {
            terminal::line(id);
            Ok(())
        }
        _ => print(&session),
    }
}

async fn end(args: SessionEnd, home: &Home) -> Result<(), Failure> {
    let server = Server::of(&args.server, home)?;
    let mut body = named(args.session.id.as_deref(), args.session.key.as_deref());
    if let Some(at) = args.at {
        body["end_time"] = at.to_rfc3339().into();
    }
    print(&server.call(Method::POST, &["v1", "sessions", "end"], &[], Some(&body)).await?)
}

/// The fields that name a session.
fn named(id: Option<&str>, key: Option<&str>) -> Value {
    match (id, key) {
        (Some(id), _) => json!({"session_id": id}),
        (None, Some(key)) => json!({"external_session_key": key}),
        (None, None) => json!({}),
    }
}

/// What became of all batches.
#[derive(Default)]
struct Totals {
    received: u64,
    ingested: u64,
    deduped: u64,
    rejected: Vec<Value>,
}

impl Totals {
    fn add(&mut self, answer: &Value) {
        let first = self.received;
        let count = |key: &str| answer[key].as_u64().unwrap_or(0);
        self.received += count("received");
        self.ingested += count("ingested");
        self.deduped += count("deduped");
        for rejection in answer["rejected"].as_array().into_iter().flatten() {
            let mut rejection = rejection.clone();
            // Counted over the whole input, not over its batch.
            rejection["index"] = (first + rejection["index"].as_u64().unwrap_or(0)).into();
            self.rejected.push(rejection);
        }
    }
}

async fn send(args: SessionSend, home: &Home) -> Result<(), Failure> {
    let server = Server::of(&args.server, home)?;
    let mut totals = Totals::default();
    let mut batch: Vec<Box<RawValue>> = Vec::new();
    let mut bytes = 0;
    let whole = named(args.session.id.as_deref(), args.session.key.as_deref());
    for event in Events::open(args.file.as_deref())? {
        let event = event?;
        let is_full = batch.len() == usize::from(args.batch) || bytes + event.get().len() > MAX_BATCH_BYTES;
        if is_full && !batch.is_empty() {
            flush(&server, &whole, &mut batch, &mut totals).await?;
            bytes = 0;
        }
        bytes += event.get().len();
        batch.push(event);
    }
    if !batch.is_empty() {
        flush(&server, &whole, &mut batch, &mut totals).await?;
    }
    let rejected = totals.rejected.len();
    print(&json!({
        "received": totals.received,
        "ingested": totals.ingested,
        "deduped": totals.deduped,
        "rejected": totals.rejected,
    }))?;
    match rejected {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} of {} events were not kept", totals.received))
            .hint("`rejected` says of each which field is wrong; sending all of them again doubles nothing")),
    }
}

async fn flush(
    server: &Server,
    whole: &Value,
    batch: &mut Vec<Box<RawValue>>,
    totals: &mut Totals,
) -> Result<(), Failure> {
    // Events go as they came: what is wrong with one is for the server to say, about that one.
    let events: Vec<&str> = batch.iter().map(|event| event.get()).collect();
    let named = whole.to_string();
    let fields = named.trim_start_matches('{').trim_end_matches('}');
    let body = format!("{{{fields},\"events\":[{}]}}", events.join(","));
    let told = |failure: Failure| match totals.received {
        0 => failure,
        kept => failure.hint(format!("the first {kept} events were taken; sending all of them again doubles nothing")),
    };
    let answer = server.insist(&["v1", "events", "batch"], &body).await.map_err(told)?;
    totals.add(&answer);
    batch.clear();
    Ok(())
}

/// The events of an input: one JSON array, or one JSON object per line.
enum Events {
    Array(std::vec::IntoIter<Box<RawValue>>),
    Lines { input: Box<dyn BufRead>, number: u64 },
}

impl Events {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let mut input: Box<dyn BufRead> = match path {
            Some(path) if path != Path::new("-") => {
                let file = std::fs::File::open(path).map_err(|error| Failure::file(path, &error))?;
                Box::new(BufReader::new(file))
            }
            _ if std::io::stdin().is_terminal() => {
                return Err(Failure::usage("no events", "tripline session send --session ID events.ndjson"));
            }
            _ => Box::new(BufReader::new(std::io::stdin())),
        };
        let shown = path.unwrap_or(Path::new("standard input"));
        let start = input.fill_buf().map_err(|error| Failure::file(shown, &error))?;
        if start.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
            return Ok(Self::Lines { input, number: 0 });
        }
        let mut text = String::new();
        input.read_to_string(&mut text).map_err(|error| Failure::file(shown, &error))?;
        let events: Vec<Box<RawValue>> = serde_json::from_str(&text)
            .map_err(|error| Failure::new(format!("{}: no JSON array: {error}", shown.display())))?;
        Ok(Self::Array(events.into_iter()))
    }
}

impl Iterator for Events {
    type Item = Result<Box<RawValue>, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let (input, number) = match self {
            Self::Array(events) => return events.next().map(Ok),
            Self::Lines { input, number } => (input, number),
        };
        loop {
            *number += 1;
            let mut line = String::new();
            match input.by_ref().take(MAX_EVENT_BYTES).read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line.len() as u64 == MAX_EVENT_BYTES && !line.ends_with('\n') => {
                    return Some(Err(Failure::new(format!("line {number} is longer than {MAX_EVENT_BYTES} bytes"))));
                }
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => {
                    let read = RawValue::from_string(line.trim().to_owned());
                    return Some(read.map_err(|error| Failure::new(format!("line {number} is no JSON: {error}"))));
                }
                Err(error) => return Some(Err(Failure::new(format!("line {number} cannot be read: {error}")))),
            }
        }
    }
}

async fn show(id: &str, part: SessionPart, server: &Server) -> Result<(), Failure> {
    let session = ["v1", "sessions", id];
    let below = |name: &'static str| ["v1", "sessions", id, name];
    let shown = match part {
        SessionPart::Summary => server.call(Method::GET, &below("summary"), &[], None).await?,
        SessionPart::Session => server.call(Method::GET, &session, &[], None).await?,
        SessionPart::Events => server.list(&below("events"), &[]).await?.into(),
        SessionPart::Errors => server.list(&below("errors"), &[]).await?.into(),
        SessionPart::Correlations => server.list(&below("correlations"), &[]).await?.into(),
        SessionPart::Performance => server.list(&below("agent-performance"), &[]).await?.into(),
        SessionPart::Insights => server.list(&["v1", "insights", "recent"], &[("session_id", id)]).await?.into(),
    };
    print(&shown)
}
