//! Reading `api.txt`: lines of routes, and shapes as JSON Schema.

use serde_json::{Map, Value, json};

/// Everything that the text says.
pub(super) struct Api {
    pub(super) lines: Vec<Line>,
    /// Shapes by name, in the order of the text.
    pub(super) shapes: Vec<(String, Value)>,
}

/// A route's line.
pub(super) struct Line {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) parameters: Vec<String>,
    /// The schema of the body, and whether it must be there.
    pub(super) body: Option<(Value, bool)>,
    /// Content type and schema; `None` when there is no body.
    pub(super) answer: Option<(&'static str, Value)>,
    pub(super) summary: String,
}

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

impl Api {
    /// Reads the text.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let (mut lines, mut shapes, mut block) = (Vec::new(), Vec::<(String, Value)>::new(), String::new());
        for (number, line) in text.lines().enumerate() {
            let at = |problem: String| format!("api.txt, line {}: {problem}", number + 1);
            if block.is_empty() && (line.trim().is_empty() || line.starts_with('#')) {
                continue;
            }
            if block.is_empty() && METHODS.iter().any(|method| line.starts_with(&format!("{method} "))) {
                lines.push(route(line).map_err(at)?);
                continue;
            }
            block.push_str(line);
            block.push(' ');
            if line == "}" || line.ends_with(" }") {
                let read = shape(&block, &shapes).map_err(at)?;
                if shapes.iter().any(|(name, _)| *name == read.0) {
                    return Err(at(format!("the shape {} is there twice", read.0)));
                }
                shapes.push(read);
                block.clear();
            }
        }
        if block.is_empty() { Ok(Self { lines, shapes }) } else { Err(format!("api.txt: a shape has no end: {block}")) }
    }
}

fn route(line: &str) -> Result<Line, String> {
    let (head, summary) = line.split_once("  # ").ok_or("two spaces and `# what it is for` are missing")?;
    let (request, answer) = head.split_once(" -> ").ok_or("`-> Answer` is missing")?;
    let (request, body) = match request.split_once(" (") {
        Some((request, body)) => (request, Some(body.strip_suffix(')').ok_or("`)` is missing")?)),
        None => (request, None),
    };
    let body = body.map(|body| match body.strip_suffix('?') {
        Some(body) => kind(body).map(|schema| (schema, false)),
        None => kind(body).map(|schema| (schema, true)),
    });
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let parameters: Option<Vec<String>> = words.map(|word| word.strip_prefix('?').map(str::to_owned)).collect();
    Ok(Line {
        method: method.to_owned(),
        path: path.to_owned(),
        parameters: parameters.ok_or("a parameter begins with `?`")?,
        body: body.transpose()?,
        answer: match answer.trim() {
            "nothing" => None,
            "html" => Some(("text/html", json!({"type": "string"}))),
            "csv" => Some(("text/csv", json!({"type": "string"}))),
            "events" => Some(("text/event-stream", json!({"type": "string"}))),
            answer => Some(("application/json", kind(answer)?)),
        },
        summary: summary.trim().to_owned(),
    })
}

/// `Name { field: type, … }`.
fn shape(block: &str, known: &[(String, Value)]) -> Result<(String, Value), String> {
    let (name, fields) = block.split_once('{').ok_or("a shape is `Name { field: type }`")?;
    let fields = fields.trim().strip_suffix('}').ok_or("`}` is missing")?;
    let (mut properties, mut required, mut open) = (Map::new(), Vec::new(), false);
    for field in split(fields, ',').into_iter().map(str::trim).filter(|field| !field.is_empty()) {
        if field == "..." {
            open = true;
        } else if let Some(base) = field.strip_prefix("...") {
            let base = known.iter().find(|(name, _)| name == base);
            let (_, base) = base.ok_or_else(|| format!("'{field}' is not known above"))?;
            properties.extend(base["properties"].as_object().cloned().unwrap_or_default());
            required.extend(base["required"].as_array().cloned().unwrap_or_default());
        } else {
            let (name, of) = field.split_once(':').ok_or_else(|| format!("'{field}' has no type"))?;
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            properties.insert(name.trim().to_owned(), kind(of)?);
            if !optional {
                required.push(json!(name.trim()));
            }
        }
    }
    let schema =
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": open});
    Ok((name.trim().to_owned(), schema))
}

/// Splits where no bracket is open.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (place, c) in text.char_indices() {
        match c {
            '{' | '(' | '<' => depth += 1,
            '}' | ')' | '>' => depth -= 1,
            c if c == at && depth == 0 => {
                parts.push(&text[start..place]);
                start = place + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// The schema of a type.
fn kind(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let alternatives = split(text, '|');
    if alternatives.len() > 1 {
        let schemas = alternatives.into_iter().map(kind).collect::<Result<Vec<_>, _>>()?;
        let words: Option<Vec<Value>> = schemas.iter().map(|schema| schema.get("const").cloned()).collect();
        return Ok(match words {
            Some(words) => json!({"type": "string", "enum": words}),
            None => json!({"anyOf": schemas}),
        });
    }
    if let Some(of) = text.strip_suffix('?') {
        return Ok(json!({"anyOf": [kind(of)?, {"type": "null"}]}));
    }
    if let Some(of) = text.strip_suffix("[]") {
        return Ok(json!({"type": "array", "items": kind(of)?}));
    }
    let inside = |open: &str, close: &str| text.strip_prefix(open).and_then(|text| text.strip_suffix(close));
    if let Some(of) = inside("(", ")") {
        return kind(of);
    }
    if let Some(of) = inside("{", "}") {
        return Ok(json!({"type": "object", "additionalProperties": kind(of)?}));
    }
    if let Some(of) = inside("List<", ">") {
        return Ok(json!({"type": "object", "required": ["items"], "additionalProperties": false, "properties": {
            "items": {"type": "array", "items": kind(of)?}, "next_cursor": {"type": "string"}}}));
    }
    if let Some(of) = inside("Items<", ">") {
        return Ok(json!({"type": "object", "required": ["items"], "additionalProperties": false,
            "properties": {"items": {"type": "array", "items": kind(of)?}}}));
    }
    if let Some(word) = inside("\"", "\"") {
        return Ok(json!({"type": "string", "const": word}));
    }
    Ok(match text {
        "text" => json!({"type": "string"}),
        "int" => json!({"type": "integer"}),
        "number" => json!({"type": "number"}),
        "bool" => json!({"type": "boolean"}),
        "time" => json!({"type": "string", "format": "date-time"}),
        "json" => json!({}),
        name if name.starts_with(|c: char| c.is_ascii_uppercase()) && name.chars().all(char::is_alphanumeric) => {
            json!({"$ref": format!("#/components/schemas/{name}")})
        }
        other => return Err(format!("'{other}' is no type")),
    })
}
