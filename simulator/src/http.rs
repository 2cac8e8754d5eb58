//! What a vendor handler gets and gives: a parsed request and an answer, both plain values.
//!
//! Owns: reading query strings, bodies and paths; the shape of an answer.
//! Does not own: sockets, faults, latency (see `server`), or any vendor's rules.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::time::{self, Micros};

/// Query or form parameters in their order; a name may repeat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `a=1&b=2`.
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            url::form_urlencoded::parse(text.as_bytes())
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// Parameters from a JSON object: strings as they are, everything else as its JSON text.
    pub(crate) fn from_object(value: &Value) -> Option<Self> {
        let object = value.as_object()?;
        Some(Self(
            object
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => (key.clone(), text.clone()),
                    other => (key.clone(), other.to_string()),
                })
                .collect(),
        ))
    }

    /// Appends the parameters of `other`; those already here win on `get`.
    pub(crate) fn extend(&mut self, other: Params) {
        self.0.extend(other.0);
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, when it is not empty.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// All values of a repeated parameter; `name[]` counts as well.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name || key.strip_suffix("[]") == Some(name))
            .map(|(_, value)| value.as_str())
    }

    /// A parameter as a timestamp.
    pub(crate) fn time(&self, name: &str) -> Option<Micros> {
        self.filled(name).and_then(time::parse)
    }

    /// Whether a boolean parameter is on.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1" | "True"))
    }

    /// All pairs in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The parameters as a query string, with `replace` set to the values given.
    pub(crate) fn with(&self, replace: &[(&str, &str)]) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for (key, value) in &self.0 {
            if !replace.iter().any(|(name, _)| name == key) {
                query.append_pair(key, value);
            }
        }
        for (name, value) in replace {
            query.append_pair(name, value);
        }
        query.finish()
    }
}

/// A request to a vendor.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// The vendor's path as it was sent, without the `/langfuse`-like prefix.
    pub path: String,
    /// The decoded parts of the path; a trailing slash leaves no part.
    pub segments: Vec<String>,
    /// The query string.
    pub query: Params,
    /// Lower-case header names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// `http://host:port` as the client named this server, for links in answers.
    pub origin: String,
}

impl Call {
    /// Splits and decodes a path.
    pub(crate) fn split(path: &str) -> Vec<String> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect()
    }

    /// A header by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The credential of `Authorization: <scheme> <credential>`, scheme in any case.
    pub(crate) fn credential(&self, scheme: &str) -> Option<&str> {
        let value = self.header("authorization")?.trim();
        let (name, credential) = value.split_once(' ')?;
        name.eq_ignore_ascii_case(scheme).then(|| credential.trim())
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as an object for the log of writes: JSON as it is, forms with their JSON parts parsed.
    pub(crate) fn logged_body(&self) -> Value {
        if let Some(value) = self.json() {
            return value;
        }
        let is_form =
            self.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let text = String::from_utf8_lossy(&self.body);
        if !is_form {
            return Value::String(text.into_owned());
        }
        Params::parse(&text)
            .iter()
            .filter(|(key, _)| *key != "token")
            .map(|(key, value)| {
                let parsed = value.starts_with(['{', '[']).then(|| serde_json::from_str(value).ok()).flatten();
                (key.to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned())))
            })
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// The answer to a [`Call`].
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers beside content type and length.
    pub headers: Vec<(&'static str, String)>,
    /// MIME type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// What to log as a write: set by handlers that changed something.
    pub wrote: Option<Value>,
}

impl Reply {
    /// 200 with JSON text.
    pub(crate) fn json(body: String) -> Self {
        Self { status: 200, headers: Vec::new(), content_type: "application/json; charset=utf-8", body, wrote: None }
    }

    /// A status with a JSON value.
    pub(crate) fn value(status: u16, body: &Value) -> Self {
        Self::json(body.to_string()).with_status(status)
    }

    /// Changes the status.
    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Changes the MIME type.
    pub(crate) fn with_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Marks the answer as that of an accepted write.
    pub(crate) fn wrote(mut self, call: &Call) -> Self {
        self.wrote = Some(call.logged_body());
        self
    }
}
