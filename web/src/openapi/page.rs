//! The description of the API as a page: plain HTML, no script.

use std::fmt::Write as _;

use serde_json::Value;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A type in few words.
fn brief(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(brief).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(escape).collect::<Vec<_>>().join(" | ");
    }
    match schema["type"].as_str() {
        Some("array") => format!("list of {}", brief(&schema["items"])),
        Some("object") => match schema["properties"]["items"].get("items") {
            Some(items) => format!("a page of {}", brief(items)),
            None => format!("map of {}", brief(&schema["additionalProperties"])),
        },
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some(kind) => escape(kind),
        None => "anything".to_owned(),
    }
}

/// The page.
pub(super) fn render(document: &Value) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>Tripline API</title></head><body><main><h1>Tripline API</h1><p>For programs: \
         <a href=\"/api/openapi.json\">openapi.json</a>. Send a key as <code>Authorization: Bearer tl_…</code> or \
         <code>X-API-Key</code>; <code>tripline keys create</code> makes one.</p><h2>Routes</h2><table><thead><tr>\
         <th scope=\"col\">Route</th><th scope=\"col\">Who</th><th scope=\"col\">Parameters</th><th scope=\"col\">Body</th>\
         <th scope=\"col\">Answer</th><th scope=\"col\">What</th></tr></thead><tbody>",
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| parameter["in"] == "query");
            let parameters: Vec<&str> = parameters.filter_map(|parameter| parameter["name"].as_str()).collect();
            let schema = |part: &Value| {
                part["content"].as_object().and_then(|kinds| kinds.values().next()).map(|kind| brief(&kind["schema"]))
            };
            let text = |name: &str| escape(operation[name].as_str().unwrap_or_default());
            // Writing to a string does not fail.
            let _ = write!(
                html,
                "<tr><th scope=\"row\"><code>{} {}</code></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                method.to_ascii_uppercase(),
                escape(path),
                text("x-access"),
                escape(&parameters.join(", ")),
                schema(&operation["requestBody"]).unwrap_or_default(),
                schema(&operation["responses"]["200"]).unwrap_or_default(),
                text("summary"),
            );
        }
    }
    html.push_str("</tbody></table><h2>Shapes</h2>");
    for (name, shape) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(html, "<h3 id=\"{0}\">{0}</h3><dl>", escape(name));
        let required = shape["required"].as_array().cloned().unwrap_or_default();
        for (field, schema) in shape["properties"].as_object().into_iter().flatten() {
            let absent = if required.iter().any(|name| name == field) { "" } else { ", may be absent" };
            let _ = write!(html, "<dt><code>{}</code></dt><dd>{}{absent}</dd>", escape(field), brief(schema));
        }
        html.push_str("</dl>");
    }
    html.push_str("</main></body></html>");
    html
}
