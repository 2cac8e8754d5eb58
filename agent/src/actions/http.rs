//! The HTTP client of the actions: it tells "not sent" from "may have been done".
//!
//! Owns timeouts, redirects, the size of answers, and the reading of transport errors. Does not own what a status means
//! (each vendor's file does).
//!
//! Must hold: no error names an address or a header; a redirect never leaves the host and never turns a POST into a
//! GET; no connection is reused, since a request lost on a connection that was just closed cannot be told from one that
//! was carried out.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, RequestBuilder, StatusCode};
use serde_json::Value;

/// How long one request may take, answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A page of issues with long bodies is some megabytes.
const MAX_ANSWER: usize = 16 << 20;
const MAX_REDIRECTS: usize = 3;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// The request never left: it was not carried out.
    NotSent(String),
    /// The request may have been carried out.
    Unclear {
        why: String,
        /// A status was received before the answer broke off: the vendor is done with it.
        answered: Option<StatusCode>,
    },
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: Client,
}

impl Http {
    /// A client.
    ///
    /// A machine without root certificates can still speak to stand-ins on itself; every https address then fails with
    /// the reason, action by action.
    ///
    /// # Errors
    /// When TLS cannot be set up at all.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        // Another part of the process may have chosen a provider before; either will do.
        let _chosen_before = rustls::crypto::ring::default_provider().install_default();
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "the machine's root certificates cannot be used: actions over https will fail");
            builder().tls_certs_only(std::iter::empty()).build()
        })?;
        Ok(Self { client })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Answer, NoAnswer> {
        let mut response = request.send().await.map_err(|error| no_answer(&error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let broke_off = |why: String| NoAnswer::Unclear { why, answered: Some(status) };
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(Answer { status, headers, body: body.freeze() }),
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => {
                    return Err(broke_off(format!("the answer is larger than {} MiB", MAX_ANSWER >> 20)));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => return Err(broke_off(format!("the answer broke off: {}", describe(&error)))),
            }
        }
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .referer(false)
        .redirect(Policy::custom(same_host))
        .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
}

/// Follows only what keeps method and host.
fn same_host(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_method = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let same_origin = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_method && same_origin && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    let why = describe(error);
    if error.is_connect() || error.is_builder() {
        return NoAnswer::NotSent(why);
    }
    NoAnswer::Unclear { why, answered: None }
}

/// What went wrong, without the address: it may hold what must not be shown (a response address is a credential).
fn describe(error: &reqwest::Error) -> String {
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else if error.is_builder() {
        "the request could not be made"
    } else {
        "the connection was lost"
    };
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner.to_string());
        cause = inner.source();
    }
    match last {
        Some(last) if !last.is_empty() => format!("{kind} ({last})"),
        _ => kind.to_owned(),
    }
}

/// A vendor's own words, shortened, without line breaks or control characters.
pub(crate) fn words(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    clean.trim().to_owned()
}
