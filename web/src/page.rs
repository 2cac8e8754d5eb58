//! The first page: incidents and approvals, live. Four files, served from the binary; no build, nothing from elsewhere.

use axum::http::header;
use axum::response::{IntoResponse, Response};

const INDEX: &str = include_str!("../page/index.html");
const SCRIPT: &str = include_str!("../page/app.js");
const VIEW: &str = include_str!("../page/view.js");
const STYLE: &str = include_str!("../page/app.css");

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")], text).into_response()
}

pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", INDEX)
}

pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn view() -> Response {
    file("text/javascript; charset=utf-8", VIEW)
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", STYLE)
}
