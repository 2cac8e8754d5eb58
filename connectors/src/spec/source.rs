//! What a spec says of a source as a whole: address, inputs, credentials, limits, error bodies.
//!
//! Owns: [`SourceSpec`] and its reader. Does not own: tables (`table`, `endpoint`), nor how any of it is used (`http`).

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::header::HeaderName;
use url::Url;

use super::body::{BodyTemplate, read_body};
use super::column::read_guards;
use super::filter::TimeStyle;
use super::node::{At, Fields, Node, Problems, Value, nearest, one_of};
use super::path::{JsonPath, Segment};
use super::table::{self, TableSpec};
use super::template::{Part, Template};

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
    /// A cheap request that answers 200 when address and credentials are right.
    pub test: TestRequest,
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
    /// Used when none is set; may hold inputs. An http or https URL once filled in.
    pub default: Option<Template<Slot>>,
}

/// A request that tells whether a source answers.
#[derive(Debug, Clone)]
pub struct TestRequest {
    /// Path below the base URL.
    pub path: Template<Slot>,
    /// With a body it is a POST.
    pub body: Option<BodyTemplate>,
}

/// A file that holds the value of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFile {
    /// The file that this environment variable names.
    Variable(String),
    /// The file itself; absolute.
    Path(PathBuf),
}

/// A setting or secret that comes from the environment.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name in placeholders (`{{input.name}}`).
    pub name: String,
    /// Environment variables that supply it, first set wins.
    pub env: Vec<String>,
    /// Files that supply it where no variable does, first that is there wins; white space around the value is cut off.
    pub files: Vec<SecretFile>,
    /// Whether the source cannot be used without it.
    pub required: bool,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// Used when no variable is set.
    pub default: Option<String>,
}

impl Input {
    /// Where its value can be put: variables, then files.
    #[must_use]
    pub fn places(&self) -> Vec<String> {
        let file = |file: &SecretFile| match file {
            SecretFile::Variable(name) => name.clone(),
            SecretFile::Path(path) => path.display().to_string(),
        };
        self.env.iter().cloned().chain(self.files.iter().map(file)).collect()
    }
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
        /// What stands in front of the value (`Token token=`).
        prefix: String,
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

/// How a source reports errors in the body, whatever the status.
#[derive(Debug, Clone, Default)]
pub struct BodyErrors {
    /// Path of a boolean that is false on errors.
    pub ok: Option<JsonPath>,
    /// Path of a list that has something in it on errors, also beside data.
    pub list: Option<JsonPath>,
    /// Path of the error's code.
    pub code: JsonPath,
    /// Path of words for people.
    pub message: Option<JsonPath>,
    /// The answer is not whole, and worth another try, where one of these paths has one of the texts.
    pub failing_when: Vec<(JsonPath, Vec<String>)>,
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

impl BodyErrors {
    /// Whether the spec says what a code means.
    pub(crate) fn knows(&self, code: &String) -> bool {
        [&self.unauthorized, &self.not_found, &self.throttled, &self.failing, &self.skip]
            .iter()
            .any(|c| c.contains(code))
    }

    /// How GraphQL servers report errors (GraphQL specification, section 7.1): a list beside the data. A vendor's own
    /// codes, if any, are under `extensions`.
    pub(crate) fn graphql() -> Self {
        let key = |name: &str| Segment::Key(name.to_owned());
        let first = [key("errors"), Segment::Index(0)];
        Self {
            list: Some(JsonPath(vec![key("errors")])),
            code: JsonPath(first.iter().cloned().chain([key("extensions"), key("code")]).collect()),
            message: Some(JsonPath(first.into_iter().chain([key("message")]).collect())),
            ..Self::default()
        }
    }
}

/// What a placeholder in a path, parameter or header stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// An input, by position in [`SourceSpec::inputs`].
    Input(usize),
    /// A column of the table, by position.
    Column(usize),
    /// The time of the request; not sent where a predicate sets the same parameter.
    Now(TimeStyle),
}

/// Whether `name` can be a source, table, column or input: lower-case words joined by underscores.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// SQL schemas that are Tripline's own.
const RESERVED: [&str; 7] = ["tripline", "agent", "ingest", "input", "public", "information_schema", "datafusion"];

/// Why `name` cannot be a source's, if it cannot.
pub(crate) fn source_name_problem(name: &str) -> Option<String> {
    if !is_name(name) {
        return Some(format!("`{name}` is no name for a source (a-z, 0-9, _; a letter first)"));
    }
    RESERVED.contains(&name).then(|| format!("`{name}` is a schema of Tripline's own; a source needs another name"))
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

/// Parses the template of a path below the base URL.
pub(crate) fn path_template(
    node: &Node,
    what: &str,
    inputs: &[Input],
    columns: &[&str],
    problems: &mut Problems,
) -> Option<Template<Slot>> {
    let path = template(node, what, inputs, columns, problems)?;
    if !matches!(path.0.first(), Some(Part::Literal(text)) if text.starts_with('/')) {
        problems.add(node.at, format!("{what} must start with `/`"));
    }
    for part in &path.0 {
        let Part::Literal(text) = part else { continue };
        if let Some(rest) = text.split_once('{').map(|(_, rest)| rest) {
            let name = rest.split('}').next().unwrap_or_default();
            problems.add(
                node.at,
                format!("{what} has `{{{name}}}`, which would be sent as it stands; a key's place is `{{{{{name}}}}}`"),
            );
        } else if text.contains(['?', '#']) {
            problems
                .add(node.at, format!("{what} has a `?` or `#`, which would be escaped; parameters go into `params`"));
        }
    }
    Some(path)
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
        None if name.starts_with("now.") => {
            let style = name.strip_prefix("now.").and_then(TimeStyle::from_name);
            style.map(Slot::Now).ok_or_else(|| format!("{what} uses `{name}`; write now.{}", TimeStyle::names("now.")))
        }
        Some(input) => inputs.iter().position(|i| i.name == input).map(Slot::Input).ok_or_else(|| {
            format!("{what} uses the input `{input}`; there is {}", one_of(inputs.iter().map(|i| i.name.as_str())))
        }),
        None => columns.iter().position(|c| *c == name).map(Slot::Column).ok_or_else(|| {
            let hint = match nearest(name, columns.iter().copied().filter(|column| !column.is_empty())) {
                Some(near) => format!("; did you mean `{near}`?"),
                None if inputs.iter().any(|input| input.name == name) => format!("; did you mean `input.{name}`?"),
                None => String::new(),
            };
            format!("{what} uses `{name}`, which nothing supplies: there is no such key and no such `input.…`{hint}")
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

/// Parses the JSON path of one value in an answer, which is never the whole answer.
pub(crate) fn value_path(node: &Node, what: &str, problems: &mut Problems) -> Option<JsonPath> {
    let path = json_path(node, what, problems)?;
    if path.is_root() {
        problems.add(node.at, format!("{what} must not be empty: it is the place of one value"));
    }
    Some(path)
}

/// Parses the JSON path of a list, which is reached through objects only.
pub(crate) fn list_path(node: &Node, what: &str, problems: &mut Problems) -> Option<JsonPath> {
    let path = json_path(node, what, problems)?;
    if path.0.iter().any(|segment| !matches!(segment, Segment::Key(_))) {
        problems.add(node.at, format!("{what} is `{path}`; a list is reached through objects only, by their keys"));
    }
    Some(path)
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

fn is_variable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn env_names(node: &Node, problems: &mut Problems) -> Vec<String> {
    let names = node.texts("`env`", problems);
    if names.is_empty() {
        problems.add(node.at, "`env` must name at least one environment variable");
    }
    for (at, name) in &names {
        if !is_variable(name) {
            problems.add(*at, format!("`{name}` is not a name of an environment variable (A-Z, 0-9, _)"));
        }
    }
    names.into_iter().map(|(_, name)| name).collect()
}

/// Whether a text is the address of an API.
pub(crate) fn is_address(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

fn read_base_url(node: &Node, inputs: &[Input], problems: &mut Problems) -> Option<BaseUrl> {
    let mut fields = node.fields("`base_url`", problems)?;
    let env = fields.required("env", problems).map(|node| env_names(node, problems)).unwrap_or_default();
    let default = fields.take("default").and_then(|node| {
        let address = template(node, "`default`", inputs, &[], problems)?;
        no_time(node.at, "`default`", &address, problems);
        let shown = address.fill(|_| "x".to_owned());
        if !is_address(&shown) {
            problems.add(node.at, format!("`{shown}` is not an http or https URL"));
        }
        Some(address)
    });
    fields.finish(problems);
    Some(BaseUrl { env, default })
}

/// Reports the time in a place that is filled in once and for all.
fn no_time(at: At, what: &str, template: &Template<Slot>, problems: &mut Problems) {
    if template.slots().any(|slot| matches!(slot, Slot::Now(_))) {
        problems.add(at, format!("{what} cannot hold the time"));
    }
}

fn read_files(node: &Node, problems: &mut Problems) -> Vec<SecretFile> {
    let mut files = Vec::new();
    for (at, text) in node.texts("`file`", problems) {
        let path = PathBuf::from(&text);
        if is_variable(&text) {
            files.push(SecretFile::Variable(text));
        } else if path.is_absolute() {
            files.push(SecretFile::Path(path));
        } else {
            problems
                .add(at, format!("`{text}` is neither an absolute path nor a variable that holds one (A-Z, 0-9, _)"));
        }
    }
    files
}

fn read_inputs(node: &Node, problems: &mut Problems) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (key, node) in node.map("`inputs`", problems).unwrap_or_default() {
        if !is_name(&key.name) {
            problems.add(key.at, format!("`{}` is no name for an input (a-z, 0-9, _)", key.name));
        }
        let what = format!("the input `{}`", key.name);
        let Some(mut fields) = node.fields(&what, problems) else { continue };
        let files = fields.take("file").map(|node| read_files(node, problems)).unwrap_or_default();
        let env = if files.is_empty() { fields.required("env", problems) } else { fields.take("env") };
        inputs.push(Input {
            name: key.name.clone(),
            env: env.map(|node| env_names(node, problems)).unwrap_or_default(),
            files,
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
            let prefix = fields.text("prefix", problems).unwrap_or_default();
            header.zip(value).map(|(header, value)| Auth::Header { header, prefix, value })
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
    let mut path = |name: &'static str, problems: &mut Problems| {
        fields.take(name).and_then(|n| value_path(n, &format!("`{name}`"), problems))
    };
    let (ok, list) = (path("ok", problems), path("list", problems));
    let (code, message) = (path("code", problems), path("message", problems));
    let failing_when =
        fields.take("failing_when").map(|n| read_guards(n, "`failing_when`", problems)).unwrap_or_default();
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
    if ok.is_none() && list.is_none() && failing_when.is_empty() {
        problems.add(node.at, "`errors` needs `ok`, `list` or `failing_when`: how an error shows");
    }
    if (ok.is_some() || list.is_some()) && code.is_none() {
        problems.add(node.at, "`errors` needs the field `code`");
    }
    let code = code.unwrap_or_default();
    Some(BodyErrors { ok, list, code, message, failing_when, unauthorized, not_found, throttled, failing, skip })
}

/// A path, or a path with a body.
fn read_test(node: &Node, inputs: &[Input], problems: &mut Problems) -> Option<TestRequest> {
    if !matches!(node.value, Value::Map(_)) {
        return Some(TestRequest { path: path_template(node, "`test`", inputs, &[], problems)?, body: None });
    }
    let mut fields = node.fields("`test`", problems)?;
    let path = fields.required("path", problems).and_then(|n| path_template(n, "`path`", inputs, &[], problems));
    let body = fields.take("body").and_then(|n| read_body(n, inputs, &[], problems));
    fields.finish(problems);
    Some(TestRequest { path: path?, body })
}

/// Reads a whole file into a source. Every problem found is added to `problems`; a spec is returned only when there
/// is none.
pub(crate) fn read(root: &Node, file: &str, problems: &mut Problems) -> Option<SourceSpec> {
    let mut fields = root.fields("a source", problems)?;
    let name = fields.required("source", problems).and_then(|node| {
        let name = node.text("`source`", problems)?;
        if let Some(problem) = source_name_problem(&name) {
            problems.add(node.at, problem);
        }
        Some(name)
    });
    let description = fields.required_text("description", problems);
    let mut inputs = fields.take("inputs").map(|node| read_inputs(node, problems)).unwrap_or_default();
    let auth = fields.required("auth", problems).and_then(|node| read_auth(node, &inputs, problems));
    // What proves who asks is a secret, whether the file says so or not, also in a header that is called so. A user name
    // is none.
    if let Some(Auth::Bearer { token: index } | Auth::Basic { password: index, .. }) = auth {
        inputs[index].secret = true;
    }
    if let Some(Auth::Header { value, .. } | Auth::Query { value, .. }) = &auth {
        inputs[*value].secret = true;
    }
    let mut headers: Vec<(HeaderName, Template<Slot>)> = Vec::new();
    if let Some(node) = fields.take("headers") {
        for (key, node) in node.map("`headers`", problems).unwrap_or_default() {
            let what = format!("the header `{}`", key.name);
            let value = any_template(node, &what, &inputs, &[], problems);
            value.iter().for_each(|value| no_time(node.at, &what, value, problems));
            match HeaderName::from_bytes(key.name.as_bytes()) {
                Ok(header) => headers.extend(value.map(|value| (header, value))),
                Err(_) => problems.add(key.at, format!("`{}` is not a header name", key.name)),
            }
        }
    }
    let carries_secret = |header: &HeaderName| {
        ["token", "secret", "password", "signature", "key", "auth"].iter().any(|word| header.as_str().contains(word))
    };
    for (_, template) in headers.iter().filter(|(header, _)| carries_secret(header)) {
        for slot in template.slots() {
            if let Slot::Input(index) = slot {
                inputs[*index].secret = true;
            }
        }
    }
    let base_url = fields.required("base_url", problems).and_then(|node| read_base_url(node, &inputs, problems));
    let limits = read_limits(fields.take("limits"), problems);
    let errors = fields.take("errors").and_then(|node| read_errors(node, problems));
    let test = fields.required("test", problems).and_then(|node| read_test(node, &inputs, problems));
    let tables = fields
        .required("tables", problems)
        .and_then(|node| table::read_all(node, &inputs, problems))
        .unwrap_or_default();
    fields.finish(problems);
    if !problems.is_empty() {
        return None;
    }
    let asks_in_graphql = tables.iter().flat_map(|table| &table.endpoints).any(|endpoint| endpoint.graphql.is_some());
    let errors = errors.or_else(|| asks_in_graphql.then(BodyErrors::graphql));
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
