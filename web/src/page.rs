//! The command centre, served from the binary: one document for every page's address, and its files.
//!
//! Must hold: a binary that was built without it says so in words and with 200, not with an error; the files' names
//! carry a hash of what is in them, so browsers keep them and the document is asked for anew.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// A file of the command centre.
struct File {
    name: &'static str,
    content_type: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
}

mod built {
    use super::File;
    include!(concat!(env!("OUT_DIR"), "/ui.rs"));
}

/// Addresses of pages. What varies is read by the page itself.
pub(crate) const PAGES: &[&str] = &[
    "/",
    "/sign-in",
    "/incidents",
    "/incidents/{id}",
    "/approvals",
    "/approvals/{id}",
    "/workbench",
    "/forensics",
    "/forensics/traces/{id}",
    "/forensics/incidents/{id}",
    "/forensics/compare",
    "/agents",
    "/agents/{id}",
    "/runs/{id}",
    "/sessions",
    "/sessions/{id}",
    "/quality",
    "/risk",
    "/risk/{id}",
    "/digest",
    "/digest/{id}",
    "/detectors",
    "/detectors/{id}",
    "/jobs",
    "/jobs/{id}",
    "/audit",
    "/settings",
];

const MISSING: &str = include_str!("page/missing.html");
const KEEP: &str = "public, max-age=31536000, immutable";

/// Whether the command centre is in this binary.
#[cfg(test)]
pub(crate) fn is_built() -> bool {
    !built::FILES.is_empty()
}

fn answer(file: &File, headers: &HeaderMap, keep: &'static str) -> Response {
    let takes_gzip = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(',').any(|coding| coding.trim().split(';').next().is_some_and(|name| name.trim() == "gzip"))
    });
    let common =
        [(header::CONTENT_TYPE, file.content_type), (header::CACHE_CONTROL, keep), (header::VARY, "accept-encoding")];
    match file.gzip.filter(|_| takes_gzip) {
        Some(bytes) => (common, [(header::CONTENT_ENCODING, "gzip")], bytes).into_response(),
        None => (common, file.plain).into_response(),
    }
}

/// The document of every page.
pub(crate) async fn document(headers: HeaderMap) -> Response {
    match built::FILES.iter().find(|file| file.name == "index.html") {
        Some(file) => answer(file, &headers, "no-cache"),
        None => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], MISSING).into_response(),
    }
}

/// A file that the document needs.
pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match built::FILES.iter().find(|file| file.name == name && name != "index.html") {
        Some(file) => answer(file, &headers, KEEP),
        None => ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is no such file")
            .hint("the server was updated: load the page again")
            .into_response(),
    }
}
