//! What a spec says of a source as a whole: address, inputs, credentials, limits, error bodies.
//!
//! Owns: [`SourceSpec`] and its reader. Does not own: tables (`table`, `endpoint`), nor how any of it is used (`http`).

use std::sync::Arc;

use reqwest::header::HeaderName;
use url::Url;

use super::node::{Fields, Node, Problems, nearest, one_of};
use super::path::JsonPath;
use super::table::{self, TableSpec};
use super::template::Template;

/// A source, as its spec file describes it; valid by construction.
#[derive(Debug)]
pub struct SourceSpec {
    /// The SQL schema its tables live in.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// The file it was read from.
    pub file: String,
    /// Where its API is.
    pub base_url: BaseUrl,
    /// Settings and secrets it needs.
    pub inputs: Vec<Input>,
    /// How requests prove who sends them.
    pub auth: Auth,
    /// Headers sent with every request.
    pub headers: Vec<(HeaderName, Template<Slot>)>,
    /// How fast it may be asked.
    pub limits: Limits,
    /// How it reports errors in bodies of successful answers.
    pub errors: Option<BodyErrors>,
    /// A cheap path that answers 200 when address and credentials are right.
    pub test: Template<Slot>,
    /// Its tables, in the file's order.
    pub tables: Vec<Arc<TableSpec>>,
}

impl SourceSpec {
    /// The table called `name`.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Arc<TableSpec>> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Address of an API.
#[derive(Debug, Clone)]
pub struct BaseUrl {
    /// Environment variables that override it, first set wins.
    pub env: Vec<String>,
    /// Used when none is set.
    pub default: Option<Url>,
}

/// A setting or secret that comes from the environment.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name in placeholders (`{{input.name}}`).
    pub name: String,
    /// Environment variables that supply it, first set wins.
    pub env: Vec<String>,
    /// Whether the source cannot be used without it.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// Used when no variable is set.
    pub default: Option<String>,
}

/// How requests are authenticated. Numbers index [`SourceSpec::inputs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: usize,
    },
    /// HTTP Basic.
    Basic {
        /// User name.
        username: usize,
        /// Password.
        password: usize,
    },
    /// A header of the vendor's own.
    Header {
        /// Its name.
        header: HeaderName,
        /// Its value.
        value: usize,
    },
    /// A query parameter; hidden wherever a URL is shown.
    Query {
        /// Its name.
        param: String,
        /// Its value.
        value: usize,
    },
}

/// How a vendor writes the moment its quota is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds since 1970.
    EpochS,
    /// Milliseconds since 1970.
    EpochMs,
    /// Seconds from now.
    DeltaS,
    /// What JavaScript's `Date.toString()` prints.
    JsDate,
    /// The date of HTTP headers (RFC 9110).
    HttpDate,
}

/// How fast a source may be asked.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests under way at once, over all queries.
    pub concurrency: usize,
    /// Requests per minute, over all queries; no limit when absent.
    pub requests_per_minute: Option<usize>,
    /// Seconds of silence after which a request is given up (and tried again).
    pub timeout_s: usize,
    /// Header that says how many requests are left.
    pub remaining: Option<HeaderName>,
    /// Header that says when the quota is renewed, and how it says it.
    pub reset: Option<(HeaderName, ResetFormat)>,
}

/// How a source reports errors with status 200.
#[derive(Debug, Clone)]
pub struct BodyErrors {
    /// Path of a boolean that is false on errors.
    pub ok: JsonPath,
    /// Path of the error's code.
    pub code: JsonPath,
    /// Codes that mean the credentials are refused.
    pub unauthorized: Vec<String>,
    /// Codes that mean the resource is unknown.
    pub not_found: Vec<String>,
    /// Codes that mean "slower".
    pub throttled: Vec<String>,
    /// Codes that mean the vendor itself is failing; worth another try.
    pub failing: Vec<String>,
    /// Codes that leave one key of a fan-out out instead of failing the scan.
    pub skip: Vec<String>,
}

/// What a placeholder in a path, parameter or header stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// An input, by position in [`SourceSpec::inputs`].
    Input(usize),
    /// A column of the table, by position.
    Column(usize),
}

/// Whether `name` can be a source, table, column or input: lower-case words joined by underscores.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Parses a template of a URL, whose placeholders are inputs and, where `columns` names some, columns. A secret in it
/// is refused: URLs are shown.
pub(crate) fn template(
    node: &Node,
    what: &str,
    inputs: &[Input],
    columns: &[&str],
    problems: &mut Problems,
) -> Option<Template<Slot>> {
    let template = any_template(node, what, inputs, columns, problems)?;
    for slot in template.slots() {
        if let Slot::Input(index) = slot
            && inputs[*index].secret
        {
            let name = &inputs[*index].name;
            problems
                .add(node.at, format!("{what} uses the secret input `{name}`; secrets go into `auth` or `headers`"));
        }
    }
    Some(template)
}

fn any_template(
    node: &Node,
    what: &str,
    inputs: &[Input],
    columns: &[&str],
    problems: &mut Problems,
) -> Option<Template<Slot>> {
    let text = node.text(what, problems)?;
    let parsed = Template::parse(&text, |name| match name.strip_prefix("input.") {
        Some(input) => inputs.iter().position(|i| i.name == input).map(Slot::Input).ok_or_else(|| {
            format!("{what} uses the input `{input}`; there is {}", one_of(inputs.iter().map(|i| i.name.as_str())))
        }),
        None => columns.iter().position(|c| *c == name).map(Slot::Column).ok_or_else(|| {
            let near = nearest(name, columns.iter().copied());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("{what} uses `{name}`, which is no column here and no `input.…`{hint}")
        }),
    });
    match parsed {
        Ok(template) => Some(template),
        Err(errors) => {
            for error in errors {
                problems.add(node.at, error);
            }
            None
        }
    }
}

/// Parses a JSON path field.
pub(crate) fn json_path(node: &Node, what: &str, problems: &mut Problems) -> Option<JsonPath> {
    let text = node.text(what, problems)?;
    match JsonPath::parse(&text) {
        Ok(path) => Some(path),
        Err(error) => {
            problems.add(node.at, error);
            None
        }
    }
}

fn header_name(node: &Node, what: &str, problems: &mut Problems) -> Option<HeaderName> {
    let text = node.text(what, problems)?;
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        problems.add(node.at, format!("{what} is `{text}`, which is not a header name"));
    }
    name
}

fn env_names(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let Some(node) = fields.required("env", problems) else { return Vec::new() };
    let names = node.texts("`env`", problems);
    if names.is_empty() {
        problems.add(node.at, "`env` must name at least one environment variable");
    }
    for (at, name) in &names {
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_') {
            problems.add(*at, format!("`{name}` is not a name of an environment variable (A-Z, 0-9, _)"));
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

fn read_base_url(node: &Node, problems: &mut Problems) -> Option<BaseUrl> {
    let mut fields = node.fields("`base_url`", problems)?;
    let env = env_names(&mut fields, problems);
    let default = fields.take("default").and_then(|node| {
        let text = node.text("`default`", problems)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Some(url),
            _ => {
                problems.add(node.at, format!("`{text}` is not an http or https URL"));
                None
            }
        }
    });
    fields.finish(problems);
    Some(BaseUrl { env, default })
}

fn read_inputs(node: &Node, problems: &mut Problems) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (key, node) in node.map("`inputs`", problems).unwrap_or_default() {
        if !is_name(&key.name) {
            problems.add(key.at, format!("`{}` is no name for an input (a-z, 0-9, _)", key.name));
        }
        let what = format!("the input `{}`", key.name);
        let Some(mut fields) = node.fields(&what, problems) else { continue };
        inputs.push(Input {
            name: key.name.clone(),
            env: env_names(&mut fields, problems),
            required: fields.flag("required", false, problems),
            secret: fields.flag("secret", false, problems),
            default: fields.text("default", problems),
        });
        fields.finish(problems);
    }
    inputs
}

fn input_ref(fields: &mut Fields<'_>, name: &'static str, inputs: &[Input], problems: &mut Problems) -> Option<usize> {
    let node = fields.required(name, problems)?;
    let text = node.text(&format!("`{name}`"), problems)?;
    let found = inputs.iter().position(|input| input.name == text);
    if found.is_none() {
        let known = one_of(inputs.iter().map(|input| input.name.as_str()));
        problems.add(node.at, format!("`{name}` is `{text}`, which is no input of this source; there is {known}"));
    }
    found
}

fn read_auth(node: &Node, inputs: &[Input], problems: &mut Problems) -> Option<Auth> {
    #[derive(Clone, Copy)]
    enum Kind {
        None,
        Bearer,
        Basic,
        Header,
        Query,
    }
    const KINDS: &[(&str, Kind)] = &[
        ("none", Kind::None),
        ("bearer", Kind::Bearer),
        ("basic", Kind::Basic),
        ("header", Kind::Header),
        ("query", Kind::Query),
    ];
    let mut fields = node.fields("`auth`", problems)?;
    let kind = fields.required("type", problems)?.choice("the auth `type`", KINDS, problems)?;
    let auth = match kind {
        Kind::None => Some(Auth::None),
        Kind::Bearer => input_ref(&mut fields, "token", inputs, problems).map(|token| Auth::Bearer { token }),
        Kind::Basic => {
            let username = input_ref(&mut fields, "username", inputs, problems);
            let password = input_ref(&mut fields, "password", inputs, problems);
            username.zip(password).map(|(username, password)| Auth::Basic { username, password })
        }
        Kind::Header => {
            let header = fields.required("header", problems).and_then(|n| header_name(n, "`header`", problems));
            let value = input_ref(&mut fields, "value", inputs, problems);
            header.zip(value).map(|(header, value)| Auth::Header { header, value })
        }
        Kind::Query => {
            let param = fields.required_text("param", problems);
            let value = input_ref(&mut fields, "value", inputs, problems);
            param.zip(value).map(|(param, value)| Auth::Query { param, value })
        }
    };
    fields.finish(problems);
    auth
}

fn read_limits(node: Option<&Node>, problems: &mut Problems) -> Limits {
    const FORMATS: &[(&str, ResetFormat)] = &[
        ("epoch_s", ResetFormat::EpochS),
        ("epoch_ms", ResetFormat::EpochMs),
        ("delta_s", ResetFormat::DeltaS),
        ("js_date", ResetFormat::JsDate),
        ("http_date", ResetFormat::HttpDate),
    ];
    let mut limits = Limits { concurrency: 8, requests_per_minute: None, timeout_s: 30, remaining: None, reset: None };
    let Some(mut fields) = node.and_then(|node| node.fields("`limits`", problems)) else { return limits };
    if let Some(n) = fields.take("concurrency").and_then(|n| n.positive("`concurrency`", problems)) {
        limits.concurrency = n;
    }
    limits.requests_per_minute =
        fields.take("requests_per_minute").and_then(|n| n.positive("`requests_per_minute`", problems));
    if let Some(n) = fields.take("timeout_s").and_then(|n| n.positive("`timeout_s`", problems)) {
        limits.timeout_s = n;
    }
    limits.remaining = fields.take("remaining").and_then(|n| header_name(n, "`remaining`", problems));
    limits.reset = fields.take("reset").and_then(|node| {
        let mut fields = node.fields("`reset`", problems)?;
        let header = fields.required("header", problems).and_then(|n| header_name(n, "`header`", problems));
        let format =
            fields.required("format", problems).and_then(|n| n.choice("the reset `format`", FORMATS, problems));
        fields.finish(problems);
        header.zip(format)
    });
    fields.finish(problems);
    limits
}

fn read_errors(node: &Node, problems: &mut Problems) -> Option<BodyErrors> {
    let mut fields = node.fields("`errors`", problems)?;
    let ok = fields.required("ok", problems).and_then(|n| json_path(n, "`ok`", problems));
    let code = fields.required("code", problems).and_then(|n| json_path(n, "`code`", problems));
    let mut codes = |name: &'static str, problems: &mut Problems| -> Vec<String> {
        let found = fields.take(name).map(|node| node.texts(&format!("`{name}`"), problems)).unwrap_or_default();
        found.into_iter().map(|(_, code)| code).collect()
    };
    let unauthorized = codes("unauthorized", problems);
    let not_found = codes("not_found", problems);
    let throttled = codes("throttled", problems);
    let failing = codes("failing", problems);
    let skip = codes("skip", problems);
    fields.finish(problems);
    let (ok, code) = ok.zip(code)?;
    Some(BodyErrors { ok, code, unauthorized, not_found, throttled, failing, skip })
}

/// Reads a whole file into a source. Every problem found is added to `problems`; a spec is returned only when there
/// is none.
pub(crate) fn read(root: &Node, file: &str, problems: &mut Problems) -> Option<SourceSpec> {
    let mut fields = root.fields("a source", problems)?;
    let name = fields.required("source", problems).and_then(|node| {
        let name = node.text("`source`", problems)?;
        if !is_name(&name) {
            problems.add(node.at, format!("`{name}` is no name for a source (a-z, 0-9, _; a letter first)"));
        }
        Some(name)
    });
    let description = fields.required_text("description", problems);
    let base_url = fields.required("base_url", problems).and_then(|node| read_base_url(node, problems));
    let inputs = fields.take("inputs").map(|node| read_inputs(node, problems)).unwrap_or_default();
    let auth = fields.required("auth", problems).and_then(|node| read_auth(node, &inputs, problems));
    let mut headers = Vec::new();
    if let Some(node) = fields.take("headers") {
        for (key, node) in node.map("`headers`", problems).unwrap_or_default() {
            let value = any_template(node, &format!("the header `{}`", key.name), &inputs, &[], problems);
            match HeaderName::from_bytes(key.name.as_bytes()) {
                Ok(header) => headers.extend(value.map(|value| (header, value))),
                Err(_) => problems.add(key.at, format!("`{}` is not a header name", key.name)),
            }
        }
    }
    let limits = read_limits(fields.take("limits"), problems);
    let errors = fields.take("errors").and_then(|node| read_errors(node, problems));
    let test = fields.required("test", problems).and_then(|node| template(node, "`test`", &inputs, &[], problems));
    let tables = fields
        .required("tables", problems)
        .and_then(|node| table::read_all(node, &inputs, problems))
        .unwrap_or_default();
    fields.finish(problems);
    if !problems.is_empty() {
        return None;
    }
    Some(SourceSpec {
        name: name?,
        description: description?,
        file: file.to_owned(),
        base_url: base_url?,
        inputs,
        auth: auth?,
        headers,
        limits,
        errors,
        test: test?,
        tables,
    })
}
