//! Sending one request and receiving its whole body.
//!
//! Owns: [`Transport`] and its real implementation over reqwest: pool, TLS, redirects, size cap, longest silence.
//! Does not own: when and how often to send (`client`).

use std::fmt;
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
    client: reqwest::Client,
    /// Longest silence: a large body may take long as long as it keeps coming.
    silence: Duration,
}

impl HttpTransport {
    /// A client with its own pool, sized for `concurrency` requests at once, that gives up after `silence`.
    ///
    /// # Errors
    /// The reason, when TLS cannot be set up.
    pub(crate) fn new(concurrency: usize, silence: Duration) -> Result<Self, String> {
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
        let client = reqwest::Client::builder()
            .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(concurrency)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // A URL may hold a credential; it is nobody's business where a request came from.
            .referer(false)
            .redirect(redirects)
            .build()
            .map_err(|error| describe(&error))?;
        Ok(Self { client, silence })
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
        self.send(self.client.get(url).headers(headers))
    }

    fn post(&self, url: Url, headers: HeaderMap, body: Bytes) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        self.send(self.client.post(url).headers(headers).header(CONTENT_TYPE, "application/json").body(body))
    }
}

impl HttpTransport {
    fn send(&self, request: reqwest::RequestBuilder) -> BoxFuture<'static, Result<RawAnswer, TransportError>> {
        let silence = self.silence;
        Box::pin(async move {
            let quiet = |_| TransportError::TimedOut(silence);
            let sent = tokio::time::timeout(silence, request.send()).await.map_err(quiet)?;
            let mut response = sent.map_err(|error| match refused(&error) {
                Some(how) => TransportError::Redirected(format!("the source redirected {how}")),
                None => TransportError::Connection(describe(&error)),
            })?;
            let status = response.status();
            let headers = response.headers().clone();
            let mut body = BytesMut::new();
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
