//! Injected misbehaviour: what to do wrong, where, and how often.
//!
//! Owns: the fault grammar (`--fault`, `POST /_fault`), matching and counting.
//! Does not own: how a vendor says "too fast" (see each vendor) or how a socket is cut (`wire`).
//! Must hold: a counted fault hits exactly that many requests, also under concurrency.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

/// A vendor the simulator stands in for; also the first part of every path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Langfuse, under `/langfuse`.
    Langfuse,
    /// Sentry, under `/sentry`.
    Sentry,
    /// GitHub, under `/github`.
    Github,
    /// Slack, under `/slack`.
    Slack,
    /// Datadog, under `/datadog`.
    Datadog,
    /// PagerDuty, under `/pagerduty`.
    Pagerduty,
    /// Linear, under `/linear`.
    Linear,
    /// An OpenAI-compatible model, under `/llm`.
    Llm,
}

impl Source {
    /// All sources.
    pub const ALL: [Source; 8] = [
        Source::Langfuse,
        Source::Sentry,
        Source::Github,
        Source::Slack,
        Source::Datadog,
        Source::Pagerduty,
        Source::Linear,
        Source::Llm,
    ];

    /// The name used in paths, logs and faults.
    pub fn name(self) -> &'static str {
        match self {
            Source::Langfuse => "langfuse",
            Source::Sentry => "sentry",
            Source::Github => "github",
            Source::Slack => "slack",
            Source::Datadog => "datadog",
            Source::Pagerduty => "pagerduty",
            Source::Linear => "linear",
            Source::Llm => "llm",
        }
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.name() == name)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Answer with this status and an error in the vendor's shape; the request is not carried out.
    Status(u16),
    /// Close the connection without an answer; the request is not carried out.
    Drop,
    /// Carry the request out, then close the connection without an answer.
    DropAnswer,
    /// Never answer; the request is not carried out.
    Hang,
    /// The vendor's own way of saying "too fast", to be retried after one second. GitHub: the
    /// secondary limit.
    Throttle,
    /// GitHub's primary limit: 403 with `x-ratelimit-remaining: 0` and a reset one second ahead.
    /// The same as [`Fault::Throttle`] elsewhere.
    ThrottlePrimary,
    /// Carry the request out, promise the whole answer, send half of it, close the connection.
    Truncate,
    /// Carry the request out, and answer a part of it in the vendor's own way: Linear with errors beside data, Datadog
    /// with the status "timeout" beside data; both with HTTP 200. The same as [`Fault::Truncate`] elsewhere.
    Partial,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "drop" => Ok(Fault::Drop),
            "drop-answer" => Ok(Fault::DropAnswer),
            "hang" => Ok(Fault::Hang),
            "throttle" => Ok(Fault::Throttle),
            "throttle-primary" => Ok(Fault::ThrottlePrimary),
            "truncate" => Ok(Fault::Truncate),
            "partial" => Ok(Fault::Partial),
            other => other
                .strip_prefix("status:")
                .and_then(|status| status.parse().ok())
                .filter(|status| (200..=599).contains(status))
                .map(Fault::Status)
                .ok_or_else(|| FaultError::new(format!("unknown fault {other:?}"))),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Status(status) => write!(f, "status:{status}"),
            Fault::Drop => f.write_str("drop"),
            Fault::DropAnswer => f.write_str("drop-answer"),
            Fault::Hang => f.write_str("hang"),
            Fault::Throttle => f.write_str("throttle"),
            Fault::ThrottlePrimary => f.write_str("throttle-primary"),
            Fault::Truncate => f.write_str("truncate"),
            Fault::Partial => f.write_str("partial"),
        }
    }
}

/// Where a fault applies and how often.
///
/// As text: `SOURCE[:PATH]=FAULT[*TIMES]`, for example `sentry=status:503`,
/// `github:/commits=throttle*2`, `*=hang*1`. `SOURCE` is a vendor or `*`; `PATH` is any part of the
/// vendor's path (so a prefix too); without `TIMES` the fault stays until it is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultSpec {
    /// The vendor; `None` means all of them.
    pub source: Option<Source>,
    /// A part of the vendor's path; empty means every path.
    pub path: String,
    /// What to do.
    pub fault: Fault,
    /// How many requests it hits; `None` means until it is cleared.
    pub times: Option<u32>,
}

/// A fault that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}; hint: {}", FaultError::HINT)]
pub struct FaultError {
    message: String,
}

impl FaultError {
    const HINT: &str = "write SOURCE[:PATH]=FAULT[*TIMES], SOURCE one of langfuse, sentry, github, slack, datadog, \
        pagerduty, linear, llm, *; \
        FAULT one of status:503, drop, drop-answer, hang, throttle, throttle-primary, truncate, \
        partial";

    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    pub(crate) fn source(name: &str) -> Self {
        Self::new(format!("unknown source {name:?}"))
    }
}

/// Reads a source name; `*` and the empty text mean all.
pub(crate) fn parse_source(name: &str) -> Result<Option<Source>, FaultError> {
    if name.is_empty() || name == "*" {
        return Ok(None);
    }
    Source::from_name(name).map(Some).ok_or_else(|| FaultError::source(name))
}

impl FromStr for FaultSpec {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (place, fault) =
            text.rsplit_once('=').ok_or_else(|| FaultError::new(format!("no `=` in fault {text:?}")))?;
        let (source, path) = place.split_once(':').unwrap_or((place, ""));
        let (fault, times) = match fault.split_once('*') {
            None => (fault, None),
            Some((fault, times)) => {
                let times = times.parse().map_err(|_| FaultError::new(format!("{times:?} is no count")))?;
                (fault, Some(times))
            }
        };
        Ok(Self { source: parse_source(source)?, path: path.to_owned(), fault: fault.parse()?, times })
    }
}

/// The faults in force, in the order they were given; the first that fits hits.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Mutex<Vec<FaultSpec>>,
}

impl Faults {
    pub(crate) fn new(active: Vec<FaultSpec>) -> Self {
        Self { active: Mutex::new(active) }
    }

    /// Adds a fault.
    pub(crate) fn add(&self, spec: FaultSpec) {
        self.lock().push(spec);
    }

    /// Clears the faults of a source and path; `None` and the empty path clear all.
    pub(crate) fn clear(&self, source: Option<Source>, path: &str) {
        self.lock().retain(|spec| {
            let same_source = source.is_none() || spec.source == source;
            let same_path = path.is_empty() || spec.path == path;
            !(same_source && same_path)
        });
    }

    /// The fault that hits this request, counting it.
    pub(crate) fn strike(&self, source: Source, path: &str) -> Option<Fault> {
        let mut active = self.lock();
        let at = active.iter().position(|spec| {
            spec.times != Some(0) && spec.source.is_none_or(|wanted| wanted == source) && path.contains(&spec.path)
        })?;
        let spec = active.get_mut(at)?;
        let fault = spec.fault;
        if let Some(left) = spec.times.as_mut() {
            *left -= 1;
            if *left == 0 {
                active.remove(at);
            }
        }
        Some(fault)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<FaultSpec>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_text_and_a_bad_one_says_how_to_write_it() {
        let spec: FaultSpec = "github:/repos/a/b/commits=status:503*2".parse().unwrap();
        assert_eq!(
            spec,
            FaultSpec {
                source: Some(Source::Github),
                path: "/repos/a/b/commits".into(),
                fault: Fault::Status(503),
                times: Some(2),
            }
        );
        assert_eq!("*=hang".parse::<FaultSpec>().unwrap().source, None);
        for bad in ["", "sentry", "sentri=drop", "sentry=explode", "sentry=drop*many", "sentry=status:42"] {
            let error = bad.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains("SOURCE[:PATH]=FAULT"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_counted_fault_hits_that_often_and_no_more() {
        let faults = Faults::new(vec!["slack:history=drop*2".parse().unwrap()]);
        assert_eq!(faults.strike(Source::Slack, "/users.list"), None);
        assert_eq!(faults.strike(Source::Sentry, "/conversations.history"), None);
        for _ in 0..2 {
            assert_eq!(faults.strike(Source::Slack, "/conversations.history"), Some(Fault::Drop));
        }
        assert_eq!(faults.strike(Source::Slack, "/conversations.history"), None);
    }

    #[test]
    fn clearing_without_a_place_clears_everything() {
        let faults = Faults::new(vec!["slack=drop".parse().unwrap(), "sentry:x=hang".parse().unwrap()]);
        faults.clear(Some(Source::Slack), "");
        assert_eq!(faults.strike(Source::Slack, "/x"), None);
        assert_eq!(faults.strike(Source::Sentry, "/x"), Some(Fault::Hang));
        faults.clear(None, "");
        assert_eq!(faults.strike(Source::Sentry, "/x"), None);
    }
}
