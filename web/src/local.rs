//! Whether a request comes from this very machine, and from no page of somebody else's.
//!
//! Owns the checks behind dev mode. A loopback peer alone proves little: a browser on this machine may be made to send
//! requests by any page it shows (CSRF), a name of an attacker's may resolve to 127.0.0.1 (DNS rebinding), and a tunnel
//! or proxy on this machine connects from loopback for the whole world.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, header, request::Parts};

/// Headers by which proxies and tunnels say that they are one.
const FORWARDED: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// Whether peer, `Host` and `Origin` are all this machine's, and nothing was forwarded.
pub(crate) fn is_local(parts: &Parts) -> bool {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let headers = &parts.headers;
    peer.is_some_and(|ip| ip.is_loopback())
        && host(headers).is_some_and(|host| is_loopback_name(&host))
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
        && is_same_site(headers)
        && headers.get(header::ORIGIN).is_none_or(|origin| origin.as_bytes().starts_with(b"http://"))
}

/// Whether a request that changes something could not have been sent by somebody else's page: a form or an image can
/// send neither JSON nor protobuf nor a header of ours.
pub(crate) fn is_deliberate(parts: &Parts) -> bool {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    is_json(&parts.headers) || is_protobuf(&parts.headers) || parts.headers.contains_key("x-tripline")
}

/// Whether the body is said to be JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(|kind| kind.trim().to_ascii_lowercase());
    kind.is_some_and(|kind| kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")))
}

/// Whether the body is said to be protobuf.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let kind = values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok());
    matches!(kind, Some("application/x-protobuf" | "application/protobuf"))
}

/// No page of another origin is behind it: `Origin`, where there is one, is the address that was asked, and the browser
/// does not say otherwise.
pub(crate) fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?").to_ascii_lowercase());
    let fetched_here = text("sec-fetch-site").is_none_or(|site| matches!(site.as_str(), "same-origin" | "none"));
    let origin_is_host = match (text("origin"), host(headers)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host.as_str())
        }
        (Some(_), None) => false,
    };
    fetched_here && origin_is_host
}

/// The one host that was asked, lower-case, with its port.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::HOST).iter();
    let host = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    Some(host.to_ascii_lowercase())
}

/// `localhost`, `127.0.0.1`, `[::1]`, each with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port(port) => address,
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;

    fn request(peer: &str, method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/api/v1/incidents");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, _) = request.body(Body::empty()).unwrap().into_parts();
        parts.extensions.insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        parts
    }

    #[test]
    fn this_machine_is_local_under_each_of_its_names() {
        for host in ["localhost:8000", "127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"] {
            assert!(is_local(&request("127.0.0.1:5000", "GET", &[("host", host)])), "{host}");
        }
        assert!(is_local(&request("[::1]:5000", "GET", &[("host", "[::1]")])));
    }

    #[test]
    fn a_name_that_was_made_to_resolve_here_is_not_local() {
        for host in ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil", "", "a:b"] {
            assert!(!is_local(&request("127.0.0.1:5000", "GET", &[("host", host)])), "{host}");
        }
        assert!(!is_local(&request("127.0.0.1:5000", "GET", &[])));
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert!(!is_local(&request("127.0.0.1:5000", "GET", &twice)));
    }

    #[test]
    fn another_machine_or_a_tunnel_is_not_local() {
        assert!(!is_local(&request("192.0.2.7:5000", "GET", &[("host", "localhost")])));
        for name in FORWARDED {
            assert!(!is_local(&request("127.0.0.1:5000", "GET", &[("host", "localhost"), (name, "x")])), "{name}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_not_local() {
        let with = |name, value| request("127.0.0.1:5000", "POST", &[("host", "localhost:8000"), (name, value)]);
        assert!(is_local(&with("origin", "http://localhost:8000")));
        assert!(is_local(&with("sec-fetch-site", "same-origin")));
        for origin in ["http://evil.example", "http://localhost:9000", "https://localhost:8000", "null"] {
            assert!(!is_local(&with("origin", origin)), "{origin}");
        }
        for site in ["cross-site", "same-site"] {
            assert!(!is_local(&with("sec-fetch-site", site)), "{site}");
        }
    }

    #[test]
    fn what_a_form_can_send_is_not_deliberate() {
        let with = |method, kind: &str| request("127.0.0.1:5000", method, &[("content-type", kind)]);
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain; application/json"]
        {
            assert!(!is_deliberate(&with("POST", kind)), "{kind}");
        }
        assert!(is_deliberate(&with("POST", "application/json; charset=utf-8")));
        assert!(is_deliberate(&request("127.0.0.1:5000", "POST", &[("x-tripline", "1")])));
        assert!(is_deliberate(&with("POST", "application/x-protobuf")));
        assert!(!is_deliberate(&with("POST", "text/plain; application/x-protobuf")));
        assert!(is_deliberate(&with("GET", "text/plain")));
        assert!(!is_deliberate(&request("127.0.0.1:5000", "DELETE", &[])));
    }
}
