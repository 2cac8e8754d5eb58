//! The client of one source.
//!
//! Owns: one request with its retries, what errors say, the source's health. Does not own: address and credentials
//! (`access`), paging (`scan`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tripline_engine::{Environment, ScanError, ScanErrorKind, ScanRun, ScanStats, SharedClock};
use url::Url;

use super::access::{Access, Unconfigured, configure, inputs};
use super::held::Held;
use super::limiter::{Limiter, TooLate};
use super::quota::Quota;
use super::retry::{Patience, Verdict, backoff, judge};
use super::share::{Asking, Found, SHELF_BYTES, Shelf};
use super::text::{clean, message};
use super::transport::{RawAnswer, Transport, TransportError};
use super::url::SafeUrl;
use crate::decode::{DecodeError, pick_texts};
use crate::spec::{Auth, BodyErrors, JsonPath, Slot, SourceSpec};

/// Who asks for a request, and what an answer may mean to them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// The query and its counters.
    pub(crate) run: &'a ScanRun,
    /// Table, for messages.
    pub(crate) table: &'a str,
    /// Statuses that mean the endpoint does not exist here.
    pub(crate) absent: &'a [u16],
    /// Whether such an answer only settles which generation of the API to use.
    pub(crate) probing: bool,
    /// What is posted; without it the request is a GET.
    pub(crate) body: Option<&'a Bytes>,
    /// Told while the request waits to be tried again.
    pub(crate) held: Option<&'a Held>,
}

/// The vendor asked for slower requests.
#[derive(Debug, Clone, Copy)]
struct Throttled {
    /// For how long, if it said.
    wait: Option<Duration>,
    /// Whether it meant everybody: its quota is used up, or it is GitHub's secondary limit (403), where who goes on is
    /// locked out.
    everybody: bool,
}

/// A refusal for longer than this is no passing one: it holds the whole source, whatever else the vendor accepts.
const PASSING: Duration = Duration::from_secs(10);

/// A source that did not answer for so long when the query's time was over is to blame for it.
const HUNG: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The server does not have this endpoint.
    Absent(Box<ScanError>),
    /// The vendor says that this one key cannot be listed; a fan-out goes on without it.
    Skipped(String, Box<ScanError>),
    /// The body is larger than anyone takes; a smaller page may do.
    TooLarge(Box<ScanError>),
    /// Anything else.
    Error(Box<ScanError>),
}

impl Failure {
    /// The error, whatever it may mean to others.
    pub(crate) fn into_error(self) -> ScanError {
        match self {
            Self::Absent(error) | Self::Skipped(_, error) | Self::TooLarge(error) | Self::Error(error) => *error,
        }
    }
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        Self::Error(Box::new(error))
    }
}

/// A read answer.
#[derive(Debug)]
pub(crate) struct Answer<T> {
    /// What the reader made of the body.
    pub(crate) value: T,
    pub(crate) headers: HeaderMap,
}

/// How a source has been doing, for people who watch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// Requests left, as the vendor last said.
    pub remaining: Option<u64>,
    /// When the quota is renewed, as the vendor last said.
    pub reset_at: Option<DateTime<Utc>>,
    /// When a request last succeeded.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a request last failed for good, and why.
    pub last_failure: Option<(DateTime<Utc>, String)>,
    /// How long the last successful request took.
    pub latency: Option<Duration>,
    /// How long no request is sent because the vendor asked for a pause.
    pub paused_for: Option<Duration>,
}

/// One source's client, shared by all queries.
pub(crate) struct SourceClient {
    spec: Arc<SourceSpec>,
    access: Result<Access, Unconfigured>,
    secrets: Vec<SecretString>,
    transport: Arc<dyn Transport>,
    limiter: Limiter,
    patience: Patience,
    shelf: Arc<Shelf>,
    rng: Mutex<StdRng>,
    health: Mutex<Health>,
    clock: SharedClock,
}

impl fmt::Debug for SourceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.access.as_ref().map(|access| SafeUrl::new(access.base.clone()));
        f.debug_struct("SourceClient").field("source", &self.spec.name).field("base", &base).finish_non_exhaustive()
    }
}

/// The request in the words of an error.
fn asked(url: &SafeUrl, ask: Ask<'_>) -> String {
    format!("{} {url}", if ask.body.is_some() { "POST" } else { "GET" })
}

impl SourceClient {
    pub(crate) fn new(
        spec: Arc<SourceSpec>,
        environment: &Environment,
        transport: Arc<dyn Transport>,
        clock: SharedClock,
        seed: u64,
    ) -> Self {
        let found = inputs(&spec, environment);
        let secrets = spec
            .inputs
            .iter()
            .zip(found.iter().flatten())
            .filter(|(input, _)| input.secret)
            .filter_map(|(_, value)| value.clone().map(SecretString::from))
            .collect();
        let access = found.and_then(|found| configure(&spec, environment, found));
        let limiter = Limiter::new(spec.limits.concurrency, spec.limits.requests_per_minute);
        Self {
            access,
            secrets,
            transport,
            limiter,
            patience: Patience::default(),
            shelf: Shelf::new(SHELF_BYTES),
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            health: Mutex::default(),
            clock,
            spec,
        }
    }

    pub(crate) fn spec(&self) -> &Arc<SourceSpec> {
        &self.spec
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// What is missing, if anything.
    pub(crate) fn unconfigured(&self) -> Option<&Unconfigured> {
        self.access.as_ref().err()
    }

    /// The base URL; an error that says what to set when there is none.
    pub(crate) fn base(&self, table: &str) -> Result<&Url, ScanError> {
        self.access(table).map(|access| &access.base)
    }

    /// Stands for address and credentials: another account has another one. No credential can be had from it.
    pub(crate) fn account(&self) -> Option<String> {
        let access = self.access.as_ref().ok()?;
        let mut hash = Sha256::new();
        for part in std::iter::once(access.base.as_str()).chain(access.inputs.iter().map(String::as_str)) {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hex::encode(hash.finalize());
        Some(digest[..16].to_owned())
    }

    fn access(&self, table: &str) -> Result<&Access, ScanError> {
        self.access.as_ref().map_err(|missing| {
            ScanError::new(&self.spec.name, table, ScanErrorKind::NotConfigured, missing.detail.clone())
                .hint(format!("set {}", missing.variables.join(", ")))
        })
    }

    /// An address that the vendor gave, without the credential that may stand in it: it is added to every request, and
    /// what is without it can be shown.
    pub(crate) fn without_credential(&self, url: &Url) -> Url {
        let mut url = url.clone();
        let Some((secret, _)) = self.access.as_ref().ok().and_then(|access| access.query.as_ref()) else { return url };
        let others: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(name, _)| name != secret)
            .map(|(n, v)| (n.into_owned(), v.into_owned()))
            .collect();
        if others.len() < url.query_pairs().count() {
            url.set_query(None);
            if !others.is_empty() {
                url.query_pairs_mut().extend_pairs(others);
            }
        }
        url
    }

    /// The value of an input, for paths and parameters.
    pub(crate) fn input(&self, index: usize) -> &str {
        self.access.as_ref().ok().and_then(|access| access.inputs.get(index)).map_or("", String::as_str)
    }

    pub(crate) fn health(&self) -> Health {
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        health.paused_for = self.limiter.paused_for();
        health
    }

    fn note_health(&self, change: impl FnOnce(&mut Health)) {
        change(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The answer to a request: one that is here already and good enough for the query, one that somebody else is
    /// waiting for, or a new one.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn get<T>(
        &self,
        url: &SafeUrl,
        ask: Ask<'_>,
        read: impl Fn(&Bytes) -> Result<T, DecodeError>,
    ) -> Result<Answer<T>, Failure> {
        let query = &ask.run.query;
        let key = match ask.body {
            None => url.expose().to_string(),
            Some(body) => format!("{}\n{}", url.expose(), String::from_utf8_lossy(body)),
        };
        let asking = match self.shelf.find(&key, query) {
            Found::Ask(asking) => Some(asking),
            Found::Here(answer) => return self.shared(&answer, url, ask, read),
            Found::UnderWay(mut waiting) => {
                let asked = asked(url, ask);
                let came = query.guard(&self.spec.name, ask.table, &asked, waiting.wait_for(Option::is_some)).await?;
                if let Some(answer) = came.ok().and_then(|answer| answer.clone()) {
                    return self.shared(&answer, url, ask, read);
                }
                // The other one failed, for reasons that may be its own (its deadline, its budget): everyone who waited
                // asks alone, at once.
                None
            }
        };
        self.get_anew(url, ask, asking, read).await
    }

    /// Reads an answer that needed no request.
    fn shared<T>(
        &self,
        answer: &RawAnswer,
        url: &SafeUrl,
        ask: Ask<'_>,
        read: impl Fn(&Bytes) -> Result<T, DecodeError>,
    ) -> Result<Answer<T>, Failure> {
        ask.run.stats.add_cache_hit();
        match read(&answer.body) {
            Ok(value) => Ok(Answer { value, headers: answer.headers.clone() }),
            Err(error) => {
                let asked = asked(url, ask);
                Err(self.failed(self.unreadable(&error, ask.table, &asked, answer.status.as_u16())).into())
            }
        }
    }

    /// Sends a request until there is an answer that `read` understands, as often as it is worth ([`Patience`]), never past the deadline.
    /// Without `asking`, nobody else gets the answer.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(crate) async fn get_anew<T>(
        &self,
        url: &SafeUrl,
        ask: Ask<'_>,
        mut asking: Option<Asking>,
        read: impl Fn(&Bytes) -> Result<T, DecodeError>,
    ) -> Result<Answer<T>, Failure> {
        let access = self.access(ask.table)?;
        let asked = asked(url, ask);
        let mut sent = url.expose().clone();
        if let Some((name, secret)) = &access.query {
            sent.query_pairs_mut().append_pair(name, secret.expose_secret());
        }
        let source = self.spec.name.as_str();
        let (query, stats) = (&ask.run.query, &ask.run.stats);
        let mut tries = 0;
        loop {
            tries += 1;
            let waiting = Instant::now();
            let turn = query.guard(source, ask.table, &asked, self.limiter.turn(query.deadline)).await?;
            let turn = turn.map_err(|late| self.failed(self.too_late(late, &asked, ask.table)))?;
            if !waiting.elapsed().is_zero() {
                stats.add_wait(waiting.elapsed());
            }
            query.spend_request(source, ask.table)?;
            let counted = Counted::new(stats);
            let started = Instant::now();
            let mut headers = access.headers.clone();
            if let Some(asking) = &mut asking {
                asking.begin_try();
                headers.extend(asking.conditions().iter().cloned());
            }
            let exchange = match ask.body {
                None => self.transport.get(sent.clone(), headers),
                Some(body) => self.transport.post(sent.clone(), headers, body.clone()),
            };
            let outcome = query.guard(source, ask.table, &asked, exchange).await;
            let outcome = outcome.map_err(|error| self.hung(error, started.elapsed()))?;
            let number = turn.number;
            drop(turn);
            let (kind, status, detail, throttled) = match outcome {
                Err(TransportError::Connection(detail)) => (ScanErrorKind::Connection, None, detail, None),
                Err(TransportError::TimedOut(after)) => {
                    (ScanErrorKind::Connection, None, format!("nothing came for {after:?}"), None)
                }
                Err(TransportError::TooLarge) => {
                    let error = self
                        .error(ask.table, ScanErrorKind::Malformed, &asked, "the body is larger than 64 MiB")
                        .hint("select fewer columns, or add a LIMIT so that pages are smaller");
                    return Err(Failure::TooLarge(Box::new(error)));
                }
                Err(TransportError::Redirected(detail)) => {
                    let hint = format!("check {}", self.base_variables());
                    let error = self.error(ask.table, ScanErrorKind::BadRequest, &asked, &detail).hint(hint);
                    return Err(self.failed(error).into());
                }
                Ok(mut answer) => {
                    stats.add_bytes(answer.body.len());
                    let quota = Quota::read(&answer.headers, &self.spec.limits, self.clock.now());
                    self.adopt(&quota);
                    if answer.status == StatusCode::NOT_MODIFIED
                        && let Some(known) = asking.as_ref().and_then(|asking| asking.still_holds(&answer))
                    {
                        stats.add_revalidated();
                        answer = known;
                    }
                    let status = answer.status.as_u16();
                    if ask.absent.contains(&status) {
                        if ask.probing {
                            counted.as_probe();
                        }
                        let error = self.status_error(ask.table, ScanErrorKind::NotFound, &asked, &answer);
                        return Err(Failure::Absent(Box::new(error)));
                    }
                    match self.judge(&answer, &quota) {
                        (Verdict::Accept, _) => match read(&answer.body) {
                            Ok(value) => {
                                self.limiter.accepted(number);
                                self.patience.answered();
                                let now = self.clock.now();
                                self.note_health(|health| {
                                    health.last_success_at = Some(now);
                                    health.latency = Some(started.elapsed());
                                });
                                if let Some(asking) = asking {
                                    asking.answered(&answer);
                                }
                                return Ok(Answer { value, headers: answer.headers });
                            }
                            // Worth another try: the connection may have been cut where the length was not known.
                            Err(DecodeError::CutShort) => {
                                (ScanErrorKind::Malformed, Some(status), DecodeError::CutShort.to_string(), None)
                            }
                            Err(error) => {
                                let error = self.unreadable(&error, ask.table, &asked, status);
                                return Err(self.failed(error).into());
                            }
                        },
                        (Verdict::Fail(kind), code) => {
                            let error = match &code {
                                Some(code) => self.code_error(ask.table, kind, &asked, code),
                                None => self.status_error(ask.table, kind, &asked, &answer),
                            };
                            let is_skipped = |code: &String| {
                                let rules = self.spec.errors.iter();
                                rules.flat_map(|rules| &rules.skip).any(|skip| code.split(": ").next() == Some(skip))
                            };
                            let skips = code.filter(is_skipped);
                            return Err(match skips {
                                Some(code) => Failure::Skipped(code, Box::new(error)),
                                None => self.failed(error).into(),
                            });
                        }
                        (Verdict::Again(kind), code) => {
                            let detail = code.unwrap_or_else(|| message(&answer.body, &self.secrets));
                            (kind, Some(status), clean(&detail, &self.secrets), None)
                        }
                        (Verdict::Throttled(wait), code) => {
                            let detail = code.unwrap_or_else(|| message(&answer.body, &self.secrets));
                            let everybody = status == 403 || quota.remaining == Some(0);
                            let throttled = Throttled { wait, everybody };
                            (ScanErrorKind::RateLimited, Some(status), clean(&detail, &self.secrets), Some(throttled))
                        }
                    }
                }
            };

            let mut error = self.error(ask.table, kind, &asked, &detail);
            if let Some(status) = status {
                error = error.status(status);
            }
            if tries >= self.patience.tries(kind) {
                self.patience.used_up(kind);
                let why = match tries {
                    1 => "it was tried once, as the source did not answer yet since all tries failed a moment ago"
                        .to_owned(),
                    _ => format!("{tries} tries failed"),
                };
                let error = error.hint(self.hint(kind, &why));
                return Err(self.failed(error).into());
            }
            let pause = self.pause_before(tries + 1, throttled.and_then(|throttled| throttled.wait));
            if Instant::now() + pause >= query.deadline {
                let why = format!("the next try would be in {pause:.0?}, after the query's deadline");
                return Err(self.failed(error.hint(self.hint(kind, &why))).into());
            }
            stats.add_retry();
            tracing::debug!(source, table = ask.table, request = %url, ?pause, tries, detail, "trying again");
            match throttled {
                // Everyone waits, unless the vendor shows that it refused this request alone. One that was refused twice
                // stands for all: going on would only use up its tries.
                Some(throttled) if throttled.everybody || tries > 1 || pause > PASSING => self.limiter.pause(pause),
                Some(_) => self.limiter.refused(number, pause),
                None => {}
            }
            let held = ask.held.map(Held::hold);
            query.guard(source, ask.table, &asked, tokio::time::sleep(pause)).await?;
            drop(held);
            stats.add_wait(pause);
        }
    }

    /// Reads status and body; the vendor's own error code when it came with a successful status.
    fn judge(&self, answer: &RawAnswer, quota: &Quota) -> (Verdict, Option<String>) {
        let status = answer.status.as_u16();
        if let Some(rules) = &self.spec.errors {
            let found = BodyFindings::read(rules, &answer.body);
            if let (Some(why), true) = (found.not_whole, answer.status.is_success()) {
                return (Verdict::Again(ScanErrorKind::Unavailable), Some(format!("the answer is not whole: {why}")));
            }
            let known = found.code.as_ref().is_some_and(|code| rules.knows(code));
            if found.is_error && (answer.status.is_success() || known) {
                let coded = found.code.is_some();
                let code = found.code.unwrap_or_else(|| "no reason given".to_owned());
                let verdict = if rules.throttled.contains(&code) {
                    Verdict::Throttled(quota.wait())
                } else if rules.unauthorized.contains(&code) {
                    Verdict::Fail(ScanErrorKind::Unauthorized)
                } else if rules.not_found.contains(&code) || rules.skip.contains(&code) {
                    Verdict::Fail(ScanErrorKind::NotFound)
                } else if rules.failing.contains(&code) {
                    Verdict::Again(ScanErrorKind::Unavailable)
                } else {
                    Verdict::Fail(ScanErrorKind::BadRequest)
                };
                let words = found.message.map(|message| if coded { format!("{code}: {message}") } else { message });
                return (verdict, Some(clean(&words.unwrap_or(code), &self.secrets)));
            }
        }
        let text = if status == 403 { message(&answer.body, &self.secrets) } else { String::new() };
        (judge(status, quota, &text), None)
    }

    /// Takes over what the vendor says of its quota.
    fn adopt(&self, quota: &Quota) {
        if let (Some(0), Some(wait)) = (quota.remaining, quota.reset_in) {
            self.limiter.pause(wait);
        }
        let now = self.clock.now();
        self.note_health(|health| {
            if quota.remaining.is_some() {
                health.remaining = quota.remaining;
            }
            if let Some(wait) = quota.reset_in {
                health.reset_at = chrono::TimeDelta::from_std(wait).ok().map(|wait| now + wait);
            }
        });
    }

    fn pause_before(&self, next: u32, asked: Option<Duration>) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        let jitter = backoff(next, &mut *rng);
        match asked {
            // A little more than asked for, so that many clients do not return in the same instant.
            Some(wait) => wait + jitter.min(wait / 10),
            None => jitter,
        }
    }

    fn error(&self, table: &str, kind: ScanErrorKind, asked: &str, detail: &str) -> ScanError {
        ScanError::new(&self.spec.name, table, kind, detail).request(asked)
    }

    fn unreadable(&self, error: &DecodeError, table: &str, asked: &str, status: u16) -> ScanError {
        let detail = clean(&error.to_string(), &self.secrets);
        let hint = self.malformed_hint(error);
        self.error(table, ScanErrorKind::Malformed, asked, &detail).status(status).hint(hint)
    }

    fn code_error(&self, table: &str, kind: ScanErrorKind, asked: &str, code: &str) -> ScanError {
        self.error(table, kind, asked, code).status(200).hint(self.hint(kind, ""))
    }

    fn status_error(&self, table: &str, kind: ScanErrorKind, asked: &str, answer: &RawAnswer) -> ScanError {
        let detail = message(&answer.body, &self.secrets);
        self.error(table, kind, asked, &detail).status(answer.status.as_u16()).hint(self.hint(kind, ""))
    }

    fn too_late(&self, late: TooLate, asked: &str, table: &str) -> ScanError {
        let until = chrono::TimeDelta::from_std(late.wait).ok().map(|wait| self.clock.now() + wait);
        let until = until.map(|t| t.format(" (until %H:%M:%SZ)").to_string()).unwrap_or_default();
        let detail = format!("the quota is used up for another {:.0?}{until}, past the query's deadline", late.wait);
        self.error(table, ScanErrorKind::RateLimited, asked, &detail)
            .hint("try again after that, raise the query's deadline, or ask for less")
    }

    /// Remembers the failure for people who watch.
    /// A query that ended while the source kept it waiting: for long, and the source is as good as down.
    fn hung(&self, error: ScanError, waited: Duration) -> ScanError {
        if error.kind != ScanErrorKind::Deadline || waited < HUNG {
            return error;
        }
        self.patience.used_up(ScanErrorKind::Connection);
        self.failed(error)
    }

    fn failed(&self, error: ScanError) -> ScanError {
        let now = self.clock.now();
        self.note_health(|health| health.last_failure = Some((now, error.to_string())));
        error
    }

    fn base_variables(&self) -> String {
        self.spec.base_url.env.join(" or ")
    }

    /// The variables that hold the credentials.
    fn credential_variables(&self) -> String {
        let in_headers = self.spec.headers.iter().flat_map(|(_, template)| template.slots());
        let secret = |slot: &Slot| match slot {
            Slot::Input(index) if self.spec.inputs[*index].secret => Some(*index),
            _ => None,
        };
        let in_auth: Vec<usize> = match &self.spec.auth {
            Auth::None => Vec::new(),
            Auth::Bearer { token } => vec![*token],
            Auth::Basic { username, password } => vec![*username, *password],
            Auth::Header { value, .. } | Auth::Query { value, .. } => vec![*value],
        };
        let indexes = in_auth.into_iter().chain(in_headers.filter_map(secret));
        let names: Vec<String> = indexes.map(|i| self.spec.inputs[i].places().join(" or ")).collect();
        names.join(" and ")
    }

    fn hint(&self, kind: ScanErrorKind, why: &str) -> String {
        let hint = match kind {
            ScanErrorKind::Unauthorized => {
                format!(
                    "check {}: is it valid, and does it have the scopes this table needs?",
                    self.credential_variables()
                )
            }
            ScanErrorKind::NotFound => {
                let mut variables: Vec<String> =
                    self.spec.inputs.iter().filter(|input| !input.secret).map(|input| input.env.join(" or ")).collect();
                variables.push(self.base_variables());
                format!("check the keys in the query, {}, and that the credentials may see it", variables.join(", "))
            }
            ScanErrorKind::Connection => {
                format!("check that the address in {} can be reached from here", self.base_variables())
            }
            ScanErrorKind::RateLimited => "ask for less, or wait until the vendor's quota is renewed".to_owned(),
            ScanErrorKind::Unavailable => format!("check the vendor's status page, and {}", self.base_variables()),
            _ => String::new(),
        };
        match (why, hint.as_str()) {
            ("", _) => hint,
            (_, "") => why.to_owned(),
            _ => format!("{why}; {hint}"),
        }
    }

    fn malformed_hint(&self, error: &DecodeError) -> String {
        match error {
            DecodeError::NotJson(_) => format!("check that {} is the address of the API", self.base_variables()),
            _ => {
                format!("the vendor's answer departs from {}; leave the column out, or adapt the spec", self.spec.file)
            }
        }
    }
}

/// What a body says of its own success.
#[derive(Default)]
struct BodyFindings {
    is_error: bool,
    code: Option<String>,
    message: Option<String>,
    /// Why the answer, although successful, is not all there is.
    not_whole: Option<String>,
}

impl BodyFindings {
    fn read(rules: &BodyErrors, body: &[u8]) -> Self {
        let nowhere = JsonPath::default();
        let or_nowhere = |path: &Option<JsonPath>| path.clone().unwrap_or_else(|| nowhere.clone());
        let (ok, list, message) = (or_nowhere(&rules.ok), or_nowhere(&rules.list), or_nowhere(&rules.message));
        let [ok, list, code, message] = pick_texts(body, [&ok, &list, &rules.code, &message]);
        let says_no = rules.ok.is_some() && ok.as_deref() == Some("false");
        let has_items = |list: &str| list.trim_start_matches('[').trim_start() != "]" && list.starts_with('[');
        let lists_some = rules.list.is_some() && list.as_deref().is_some_and(has_items);
        let not_whole = rules.failing_when.iter().find_map(|(path, texts)| {
            let [found] = pick_texts(body, [path]);
            found.filter(|found| texts.contains(found)).map(|found| format!("{path} is {found}"))
        });
        Self { is_error: says_no || lists_some, code, message: message.filter(|_| rules.message.is_some()), not_whole }
    }
}

/// One request, counted from when it is sent: one that a query no longer waits for was sent as well.
struct Counted<'a> {
    stats: &'a ScanStats,
}

impl<'a> Counted<'a> {
    fn new(stats: &'a ScanStats) -> Self {
        stats.add_request();
        Self { stats }
    }

    /// It turned out to be a probe.
    fn as_probe(&self) {
        self.stats.request_was_probe();
    }
}
