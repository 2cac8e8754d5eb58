//! The description of the API: `/api/openapi.json`, and a page to read.
//!
//! Owns making both from `openapi/api.txt` (a line per route, a block per shape) and the table of routes. Must hold: a route
//! without its line is in the document too, and a test names it; what real answers look like is checked by tests.

mod grammar;
mod page;

use std::sync::LazyLock;

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use self::grammar::{Api, Line};
use crate::error::ApiError;
use crate::routes::{Access, RouteInfo, route_table};

const TEXT: &str = include_str!("openapi/api.txt");

/// The text, read once.
static API: LazyLock<Result<Api, String>> = LazyLock::new(|| Api::read(TEXT));
static DOCUMENT: LazyLock<Option<Value>> = LazyLock::new(|| API.as_ref().ok().map(describe));

/// The document, if the text can be read (a test says that it can).
pub(crate) fn value() -> Option<&'static Value> {
    DOCUMENT.as_ref()
}

pub(crate) async fn document() -> Result<Json<&'static Value>, ApiError> {
    value().map(Json).ok_or_else(ApiError::internal)
}

pub(crate) async fn page() -> Result<Response, ApiError> {
    let value = value().ok_or_else(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page::render(value)).into_response())
}

/// Whether a route is one of the API, and not a page.
pub(crate) fn is_described(route: &RouteInfo) -> bool {
    route.access != Access::Page
}

fn describe(api: &Api) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in route_table().iter().filter(|route| is_described(route)) {
        let line = api.lines.iter().find(|line| line.method == route.method.as_str() && line.path == route.path);
        let methods = paths.entry(route.path).or_insert_with(|| json!({}));
        methods[route.method.as_str().to_ascii_lowercase()] = operation(route, line);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tripline", "version": env!("CARGO_PKG_VERSION"),
            "description": "Times are RFC 3339 in UTC, ids are text. An error is {\"error\": {\"code\", \"message\", \"detail\"?, \"hint\"?}}.",
        },
        "paths": paths,
        "components": {
            "schemas": api.shapes.iter().cloned().collect::<Map<String, Value>>(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tripline_session"},
            },
        },
    })
}

fn operation(route: &RouteInfo, line: Option<&Line>) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}});
    let in_query = line.map(|line| line.parameters.as_slice()).unwrap_or_default();
    let parameters: Vec<Value> = in_path
        .map(|name| parameter(name, "path"))
        .chain(in_query.iter().map(|name| parameter(name, "query")))
        .collect();
    let error = json!({
        "description": "What is wrong, and what to do next",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    });
    let mut operation = json!({
        "operationId": operation_id(route),
        "parameters": parameters,
        "security": security(route.access),
        "x-access": access(route.access),
        "responses": {"default": error},
    });
    match line {
        Some(line) => {
            operation["summary"] = json!(line.summary);
            let status = if line.answer.is_some() { "200" } else { "204" };
            let mut answer = json!({"description": line.summary});
            if let Some((kind, schema)) = &line.answer {
                answer["content"] = json!({ *kind: {"schema": schema} });
            }
            operation["responses"][status] = answer;
            if let Some((schema, required)) = &line.body {
                operation["requestBody"] =
                    json!({"required": required, "content": {"application/json": {"schema": schema}}});
            }
        }
        None => operation["responses"]["200"] = json!({"description": "Not described yet"}),
    }
    operation
}

/// `getApiV1IncidentsId`.
fn operation_id(route: &RouteInfo) -> String {
    let words = route.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(route.method.as_str().to_ascii_lowercase(), |mut id, word| {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
        id
    })
}

fn security(access: Access) -> Value {
    match access {
        Access::Public | Access::Page | Access::SignIn | Access::Signed => json!([]),
        _ => json!([{"bearer": []}, {"header": []}, {"session": []}]),
    }
}

/// Who may use it, in words.
fn access(access: Access) -> String {
    let scopes = |scopes: &[tripline_store::KeyScope]| {
        scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" or ")
    };
    match access {
        Access::Public | Access::Page => "everybody".to_owned(),
        Access::SignIn => "whoever has a key or a link".to_owned(),
        Access::Signed => "a signature".to_owned(),
        Access::ReadOrLocal => "read, or this machine".to_owned(),
        Access::Sender(any) => format!("{}, also in the body", scopes(any)),
        Access::Basic(any) => format!("{}, also as basic authorization", scopes(any)),
        Access::AnyOf(any) => scopes(any),
    }
}

/// The lines of routes that there are not, and the routes that have no line.
#[cfg(test)]
pub(crate) fn differences() -> Result<(Vec<String>, Vec<String>), String> {
    let api = API.as_ref().map_err(Clone::clone)?;
    let lines: Vec<String> = api.lines.iter().map(|line| format!("{} {}", line.method, line.path)).collect();
    let table = route_table();
    let routes = table.iter().filter(|route| is_described(route));
    let routes: Vec<String> = routes.map(|route| format!("{} {}", route.method, route.path)).collect();
    let missing = |of: &[String], from: &[String]| of.iter().filter(|name| !from.contains(name)).cloned().collect();
    Ok((missing(&lines, &routes), missing(&routes, &lines)))
}
