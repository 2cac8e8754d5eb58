//! Sending one request and receiving its whole body.
//!
//! Owns: [`Transport`] and its real implementation over reqwest: pool, TLS, redirects, size cap, longest silence.
//! Does not own: when and how often to send (`client`).

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use url::Url;

/// Largest body accepted, after decompression.
pub(crate) const MAX_BODY: usize = 64 * 1024 * 1024;
const MAX_REDIRECTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct RawAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why there is no whole answer. No text in here holds a URL or a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransportError {
    /// No connection, or it broke; worth another try.
    Connection(String),
    /// Nothing came for so long; worth another try.
    TimedOut(Duration),
    /// The body is larger than [`MAX_BODY`].
    TooLarge,
    /// The vendor redirected to another host, or in circles.
    Redirected(String),
}

/// Most that is set aside for a body before it comes.
const EXPECTED_BODY: usize = 4 << 20;

/// Something that can send requests.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Sends one GET; dropping the future aborts it.
    fn get(&self, url: Url, headers: HeaderMap) -> BoxFuture<'static, Result<RawAnswer, TransportError>>;

    /// Posts a JSON body that asks for something; dropping the future aborts it.
    fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> BoxFuture<'static, Result<RawAnswer, TransportError>>;
}

/// The real thing.
#[derive(Debug)]
pub(crate) struct HttpTransport {
    /// Made for the first request: reading the system's certificates takes longer than many a command.
    client: OnceLock<Result<reqwest::Client, String>>,
    concurrency: usize,
    /// Longest silence: a large body may take long as long as it keeps coming.
    silence: Duration,
}

impl HttpTransport {
    /// A client with its own pool, sized for `concurrency` requests at once, that gives up after `silence`.
    pub(crate) fn new(concurrency: usize, silence: Duration) -> Self {
        Self { client: OnceLock::new(), concurrency, silence }
    }

    /// The client; the reason, when TLS cannot be set up.
    fn client(&self) -> Result<&reqwest::Client, String> {
        self.client.get_or_init(|| Self::build(self.concurrency)).as_ref().map_err(Clone::clone)
    }

    fn build(concurrency: usize) -> Result<reqwest::Client, String> {
        // The first caller wins; a provider that is already installed is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = reqwest::redirect::Policy::custom(|attempt| {
            let first = attempt.previous().first().cloned();
            let same_host = first.as_ref().is_some_and(|first| stays(first, attempt.url()));
            if !same_host {
                attempt.error(Refused("to another host"))
            } else if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error(Refused("too often"))
            } else {
                attempt.follow()
            }
        });
        reqwest::Client::builder()
            .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(concurrency)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // A URL may hold a credential; it is nobody's business where a request came from.
            .referer(false)
            .redirect(redirects)
            .build()
            .map_err(|error| describe(&error))
    }
}

/// Same host and port, not from https down to http; http to https on the default ports is fine.
fn stays(from: &Url, to: &Url) -> bool {
    let same_port = from.port_or_known_default() == to.port_or_known_default();
    let upgrade = from.scheme() == "http" && to.scheme() == "https" && from.port().is_none() && to.port().is_none();
    from.host_str() == to.host_str() && (upgrade || (same_port && from.scheme() == to.scheme()))
}

#[derive(Debug)]
struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redirected {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// The innermost reasons of an error, without its URL.
fn describe(error: &reqwest::Error) -> String {
    let mut reasons: Vec<String> = Vec::new();
    let mut current = std::error::Error::source(error);
    while let Some(error) = current {
        reasons.push(error.to_string());
        current = error.source();
    }
    match reasons.len() {
        0 => "the request failed".to_owned(),
        // The last two say what happened: "tcp connect error: Connection refused".
        n => reasons.split_off(n.saturating_sub(2)).join(": "),
    }
}

fn refused(error: &reqwest::Error) -> Option<&'static str> {
    let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = current {
        if let Some(Refused(how)) = error.downcast_ref::<Refused>() {
            return Some(how);
        }
        current = error.source();
    }
    None
}

impl Transport for HttpTransport {
    fn get(&self, url: Url, headers: HeaderMap) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        self.send(self.client().map(|client| client.get(url).headers(headers)))
    }

    fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        let posted = |client: &reqwest::Client| {
            client.post(url).headers(headers).header(CONTENT_TYPE, "application/json").body(body)
        };
        self.send(self.client().map(posted))
    }
}

impl HttpTransport {
    fn send(
        &self,
        request: Result<reqwest::RequestBuilder, String>,
    ) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        let silence = self.silence;
        Box::pin(async move {
            let request = request.map_err(TransportError::Connection)?;
            let quiet = |_| TransportError::TimedOut(silence);
            let sent = tokio::time::timeout(silence, request.send()).await.map_err(quiet)?;
            let mut response = sent.map_err(|error| match refused(&error) {
                Some(how) => TransportError::Redirected(format!("the source redirected {how}")),
                None => TransportError::Connection(describe(&error)),
            })?;
            let status = response.status();
            let headers = response.headers().clone();
            // What the vendor says is only where to begin.
            let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
            let mut body = BytesMut::with_capacity(expected.min(EXPECTED_BODY));
            loop {
                let chunk = tokio::time::timeout(silence, response.chunk()).await.map_err(quiet)?;
                let Some(chunk) = chunk.map_err(|error| TransportError::Connection(describe(&error)))? else { break };
                if body.len() + chunk.len() > MAX_BODY {
                    return Err(TransportError::TooLarge);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(RawAnswer { status, headers, body: body.freeze() })
        })
    }
}
