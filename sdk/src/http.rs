//! Requests: one attempt each, with a limit on time and on what is read.
//!
//! Must hold: nothing of an answer or an address but its status and its pause leaves this file in an error; no failure
//! here is a panic.

use std::time::Duration;

use serde_json::Value;

/// Bytes of an answer that are read.
const READ: u64 = 1 << 20;
/// The longest pause a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// 2xx, and what was answered, where that is JSON.
    Done(Value),
    /// Worth another try, after this pause if the server named one.
    Again(Option<Duration>),
    /// Not worth another try; the status, and what was answered, where that is JSON.
    Refused(u16, Value),
}

/// Sends to one server.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    agent: ureq::Agent,
    base: String,
    headers: Vec<(String, String)>,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(base: String, headers: Vec<(String, String)>, timeout: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .user_agent(concat!("tripline-sdk/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment is for what lies outside.
        let config = if is_loopback(&base) { config.proxy(None) } else { config };
        Self { agent: config.build().into(), base, headers, timeout }
    }

    /// Posts JSON. The request takes no longer than `limit`, nor than the client's own limit.
    pub(crate) fn post(&self, path: &str, body: &[u8], headers: &[(&str, &str)], limit: Option<Duration>) -> Outcome {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("content-type", "application/json");
        for (name, value) in self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        let limit = limit.map_or(self.timeout, |limit| limit.min(self.timeout));
        outcome(request.config().timeout_global(Some(limit)).build().send(body))
    }

    pub(crate) fn get(&self, path: &str) -> Outcome {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        outcome(request.call())
    }
}

fn outcome(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Outcome {
    let mut answer = match answer {
        Ok(answer) => answer,
        // A header or address that is none stays so; everything else is the network.
        Err(ureq::Error::Http(_) | ureq::Error::BadUri(_)) => return Outcome::Refused(0, Value::Null),
        Err(_) => return Outcome::Again(None),
    };
    let status = answer.status();
    let json = |answer: &mut ureq::http::Response<ureq::Body>| {
        let text = answer.body_mut().with_config().limit(READ).read_to_string().unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    };
    if status.is_success() {
        return Outcome::Done(json(&mut answer));
    }
    match status.as_u16() {
        408 | 429 | 500..=599 => {
            let seconds =
                answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Outcome::Again(seconds.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE)))
        }
        other => Outcome::Refused(other, json(&mut answer)),
    }
}

/// The pause before attempt number `attempt` (1 is the second one) when the server named none.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}

fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"].iter().any(|name| host.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u64> = (1..=7).map(|attempt| pause(Duration::from_secs(1), attempt).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(Duration::from_secs(1), u32::MAX), LONGEST_PAUSE);
    }
}
