//! What a client may be told.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the time comes from: unix seconds.
pub type Clock = Arc<dyn Fn() -> f64 + Send + Sync>;

/// An event that the server refused. It is not sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its run.
    pub run_id: String,
    /// Its agent.
    pub agent_id: String,
    /// What kind of event it is, such as `tool.called`.
    pub event_type: &'static str,
    /// Its step.
    pub step_index: u32,
    /// The HTTP status of the answer: 202 when the rest of the batch was taken.
    pub status: u16,
    /// The field that is wrong; empty when the batch was refused as a whole.
    pub field: String,
    /// What is wrong, in the server's words.
    pub reason: String,
}

/// Who is told of refused events. Called on the sending thread, once for each event; it should not take long.
pub type OnRejected = Arc<dyn Fn(&Rejected) + Send + Sync>;

/// How a client works. Every output is optional, and they may be combined.
pub struct Options {
    /// Where Tripline listens, such as `http://127.0.0.1:8000`. None: no events over HTTP and no run control.
    pub endpoint: Option<String>,
    /// An API key with the scope `ingest`. None: none is sent.
    pub api_key: Option<String>,
    /// Where every event is written as a line for Loki, for example standard output.
    pub ndjson: Option<Box<dyn Write + Send>>,
    /// Where spans are sent: the base address of an OTLP/HTTP receiver, to which `/v1/traces` is added.
    pub otel_endpoint: Option<String>,
    /// Headers of the requests with spans, such as an authorization.
    pub otel_headers: Vec<(String, String)>,
    /// `service.name` of the spans.
    pub service_name: String,
    /// Events that wait at most; the oldest make room for new ones.
    pub buffer_size: usize,
    /// How long the sending thread rests when there is nothing to send.
    pub flush_interval: Duration,
    /// How long one request may take.
    pub request_timeout: Duration,
    /// How often a batch is sent again when the server is gone or busy.
    pub retries: u32,
    /// The pause before the second attempt; it doubles from there, up to 30 s. `Retry-After` is honoured.
    pub retry_pause: Duration,
    /// How often runs that [`crate::Run::check`] are looked up at the server.
    pub control_interval: Duration,
    /// How long dropping the client may take to send what is left.
    pub farewell: Duration,
    /// Who is told of events that the server refuses. None: [`crate::Stats::rejected`] alone says how many.
    pub on_rejected: Option<OnRejected>,
    /// The clock.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: Some("http://127.0.0.1:8000".to_owned()),
            api_key: None,
            ndjson: None,
            otel_endpoint: None,
            otel_headers: Vec::new(),
            service_name: "tripline-sdk".to_owned(),
            buffer_size: 10_000,
            flush_interval: Duration::from_millis(200),
            request_timeout: Duration::from_secs(5),
            retries: 5,
            retry_pause: Duration::from_secs(1),
            control_interval: Duration::from_secs(2),
            farewell: Duration::from_secs(5),
            on_rejected: None,
            clock: Arc::new(system_time),
        }
    }
}

impl fmt::Debug for Options {
    /// Without the key and the headers, which may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("endpoint", &self.endpoint)
            .field("otel_endpoint", &self.otel_endpoint)
            .field("buffer_size", &self.buffer_size)
            .finish_non_exhaustive()
    }
}

fn system_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Why a client cannot be made.
#[derive(Debug)]
pub enum StartError {
    /// An address that cannot be sent to.
    Address {
        /// Which option.
        option: &'static str,
        /// What it is.
        address: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The sending thread could not be started.
    Thread(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { option, address, problem } => write!(f, "{option} is '{address}', which {problem}"),
            Self::Thread(error) => write!(f, "no thread to send from: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The base of an address, without the slash at its end.
pub(crate) fn base_url(option: &'static str, address: &str) -> Result<String, StartError> {
    let refused = |problem| Err(StartError::Address { option, address: without_user(address), problem });
    let base = address.trim().trim_end_matches('/');
    let rest = match (base.strip_prefix("http://"), base.strip_prefix("https://")) {
        (Some(rest), _) => rest,
        (None, Some(rest)) if cfg!(feature = "tls") => rest,
        (None, Some(_)) => return refused("needs the feature `tls` of tripline-sdk"),
        (None, None) => return refused("does not begin with http:// or https://"),
    };
    if rest.is_empty() || rest.starts_with('/') {
        return refused("names no host");
    }
    if rest.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '?' | '#' | '@')) {
        return refused("is no plain address: leave out user, query and fragment");
    }
    Ok(base.to_owned())
}

/// An address for a message: what stands before an `@` may be a secret.
fn without_user(address: &str) -> String {
    address.rsplit_once('@').map_or_else(|| address.to_owned(), |(_, host)| format!("…@{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_sent_to_is_refused_at_once_and_keeps_its_secret() {
        assert_eq!(base_url("endpoint", " http://localhost:8000/ ").unwrap(), "http://localhost:8000");
        assert_eq!(base_url("endpoint", "http://h/tripline/").unwrap(), "http://h/tripline");
        for address in ["localhost:8000", "ftp://x", "http://", "http:///v1", "http://a b", "http://h?x=1", ""] {
            let error = base_url("endpoint", address).unwrap_err().to_string();
            assert!(error.contains("endpoint"), "{error}");
        }
        let error = base_url("endpoint", "http://user:secret@host").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        let shown = format!("{:?}", Options { api_key: Some("secret".to_owned()), ..Options::default() });
        assert!(!shown.contains("secret"), "{shown}");
    }
}
