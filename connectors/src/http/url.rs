//! URLs of requests: built so that no value can change where they go, and shown without secrets.
//!
//! Must hold: a value fills one path segment or one parameter, whatever it contains; a [`SafeUrl`]'s `Display` and
//! `Debug` never show user info or secret parameters.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// What is left as it is inside a path segment: unreserved characters of RFC 3986.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A URL that hides its secrets when shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SafeUrl(Url);

impl SafeUrl {
    pub(crate) fn new(url: Url) -> Self {
        Self(url)
    }

    /// The URL itself, for sending.
    pub(crate) fn expose(&self) -> &Url {
        &self.0
    }

    /// Whether `other` is served by the same scheme, host and port, and so may be sent the same credentials.
    pub(crate) fn same_origin(&self, other: &Url) -> bool {
        self.0.scheme() == other.scheme()
            && self.0.host_str() == other.host_str()
            && self.0.port_or_known_default() == other.port_or_known_default()
    }
}

/// Parameters that vendors use for credentials.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["token", "secret", "password", "signature", "api_key", "apikey", "access_key", "auth"]
        .iter()
        .any(|word| name.contains(word))
        || name == "key"
        || name == "sig"
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        if !shown.username().is_empty() || shown.password().is_some() {
            // Neither can fail on a URL that has a host; if one did, the error hides more, not less.
            let _ = shown.set_username("***");
            let _ = shown.set_password(None);
        }
        if shown.query().is_some() {
            let parameters: Vec<(String, String)> = shown
                .query_pairs()
                .map(|(name, value)| {
                    let value = if is_secret(&name) { "***".to_owned() } else { value.into_owned() };
                    (name.into_owned(), value)
                })
                .collect();
            shown.set_query(None);
            let readable: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let text: String = readable.join("&").chars().filter(|c| !c.is_control()).collect();
            return write!(f, "{shown}?{text}");
        }
        write!(f, "{shown}")
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value that cannot be part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotAPathPart(pub(crate) String);

/// The value as a part of a path segment.
///
/// `.` and `..` are resolved by every URL parser even when escaped, and an empty segment changes what the rest means.
pub(crate) fn path_part(value: &str) -> Result<String, NotAPathPart> {
    if matches!(value, "" | "." | "..") {
        return Err(NotAPathPart(value.to_owned()));
    }
    Ok(utf8_percent_encode(value, SEGMENT).to_string())
}

/// Where a request goes, before it is a URL: an escaped path below the base, and parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: String,
    pub(crate) params: Vec<(String, String)>,
    /// What is posted; a GET has none.
    pub(crate) body: Option<serde_json::Value>,
}

impl Target {
    /// What is posted, as bytes.
    pub(crate) fn posted(&self) -> Option<bytes::Bytes> {
        self.body.as_ref().map(|body| bytes::Bytes::from(body.to_string()))
    }

    /// The URL below `base`, whose own path is kept (`https://host/api/v3`).
    pub(crate) fn url(&self, base: &Url) -> SafeUrl {
        let mut url = base.clone();
        let path = format!("{}{}", base.path().trim_end_matches('/'), self.path);
        url.set_path(&path);
        url.set_fragment(None);
        if !self.params.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(&self.params);
        }
        SafeUrl(url)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        for (i, (name, value)) in self.params.iter().enumerate() {
            let value = if is_secret(name) { "***" } else { value };
            write!(f, "{}{name}={value}", if i == 0 { '?' } else { '&' })?;
        }
        if let Some(body) = &self.body {
            write!(f, " {body}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base() -> Url {
        Url::parse("https://api.example.com/v3").unwrap()
    }

    #[test]
    fn user_info_and_secret_parameters_are_not_shown() {
        let url =
            Url::parse("https://user:hunter2@api.example.com/x?api_key=hunter2&access_token=hunter2&page=2").unwrap();
        let safe = SafeUrl::new(url);
        for shown in [safe.to_string(), format!("{safe:?}")] {
            assert!(!shown.contains("hunter2"), "{shown}");
            assert!(shown.contains("page=2") && shown.contains("api.example.com/x"), "{shown}");
        }
    }

    #[test]
    fn a_hostile_key_fills_its_segment_and_nothing_else() {
        for key in ["../_stats", "a/b?c", "a#b", "%2e%2e", "x\\y", "a b", "ü", "\n"] {
            let target = Target {
                path: format!("/repos/{}/commits", path_part(key).unwrap()),
                params: Vec::new(),
                ..Target::default()
            };
            let url = target.url(&base());
            let segments: Vec<&str> = url.expose().path_segments().unwrap().collect();
            assert_eq!(segments.len(), 4, "{key}: {url}");
            assert_eq!((segments[0], segments[1], segments[3]), ("v3", "repos", "commits"), "{key}");
            assert_eq!(url.expose().query(), None);
        }
        for key in ["", ".", ".."] {
            assert!(path_part(key).is_err(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_value_changes_the_shape_of_a_url(key in ".{1,30}", value in ".{0,30}") {
            prop_assume!(key != "." && key != "..");
            let path = format!("/a/{}/b", path_part(&key).unwrap());
            let url = Target { path, params: vec![("q".to_owned(), value.clone())], ..Target::default() }.url(&base());
            let url = url.expose();
            prop_assert_eq!(url.path_segments().unwrap().count(), 4);
            prop_assert_eq!(url.host_str(), Some("api.example.com"));
            let params: Vec<_> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(params, vec![("q".to_owned(), value)]);
            let segment = url.path_segments().unwrap().nth(2).unwrap().to_owned();
            prop_assert_eq!(percent_encoding::percent_decode_str(&segment).decode_utf8().unwrap(), key);
        }
    }
}
