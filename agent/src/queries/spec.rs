//! Typed headers: what each kind of query file may say, read once into values that cannot be wrong.
//!
//! Owns: the keys of each kind and their meaning. docs/detectors/README.md describes them for those who write files.
//! Must hold: an error names file and line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Map, Value};
use tripline_engine::{Param, Params};
use tripline_store::Severity;

use super::header::{Entry, Header, HeaderError};
use super::steps::table_of;
use crate::jobs::Schedule;
use crate::settings::Settings;

/// A value bound from the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// The placeholder.
    pub name: String,
    /// The key of the threshold.
    pub setting: String,
}

/// A table of the file's own, in schema `input`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputUse {
    /// Name of the baseline file, and of the table.
    pub name: String,
    /// Whether the rest is judged when it is missing. The window counts as judged with a gap then.
    pub optional: bool,
}

/// A list placeholder filled with the values of an input's column: `issue_id = ANY($issue_ids)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListParam {
    /// The placeholder.
    pub name: String,
    /// The input table.
    pub input: String,
    /// Its column; text.
    pub column: String,
}

/// Where a finding's severity comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeverityRule {
    /// Always the same.
    Fixed(Severity),
    /// A column of the row.
    Column(String),
}

/// What every kind may have: bindings of its placeholders and tables of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings {
    /// Bound from settings.
    pub params: Vec<ParamSpec>,
    /// Bound from an input.
    pub lists: Vec<ListParam>,
    /// Bound unless the caller says otherwise.
    pub defaults: BTreeMap<String, String>,
    /// Tables of its own.
    pub inputs: Vec<InputUse>,
}

/// A detector: a pure function of a window.
#[derive(Debug, Clone)]
pub struct DetectorSpec {
    /// The file.
    pub header: Arc<Header>,
    /// Its name.
    pub name: String,
    /// The incident type of its findings.
    pub kind: String,
    /// Its name for people.
    pub title: String,
    /// When it is run.
    pub schedule: Schedule,
    /// How long its window is; the window ends when it is due.
    pub window: TimeDelta,
    /// Its bindings.
    pub bindings: Bindings,
    /// Severity of a finding.
    pub severity: SeverityRule,
    /// The column that says what a finding is about.
    pub entity: String,
    /// The columns that make two findings the same condition.
    pub fingerprint: Vec<String>,
    /// The column that says when the condition began.
    pub onset: Option<String>,
    /// The column that says when the condition was last at work.
    pub last_sign: Option<String>,
    /// The column that says what it cost.
    pub cost: Option<String>,
    /// Text columns that hold JSON.
    pub json: Vec<String>,
    /// One sentence about a finding.
    pub description: TextTemplate,
    /// What is suggested to be done.
    pub action: String,
    /// The sources it reads.
    pub sources: Vec<String>,
    /// The materialized part that is looked at first: when it is empty, so is the answer.
    pub stop_when_empty: Option<String>,
}

/// Over which time a baseline is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The window itself.
    Window,
    /// So long before the window.
    Before(TimeDelta),
    /// So long before the window's end.
    Last(TimeDelta),
}

/// How long a baseline may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Taken for each window.
    No,
    /// In memory: a window uses one that was taken for a window which began at most this much earlier.
    Memory(TimeDelta),
    /// In the store, an hour at a time (`agent.cost_baselines`).
    CostHours,
    /// In the store, as versions of schemas.
    Schemas,
}

/// What a detector compares with.
#[derive(Debug, Clone)]
pub struct BaselineSpec {
    /// The file.
    pub header: Arc<Header>,
    /// Its name, and that of its table.
    pub name: String,
    /// Over which time.
    pub span: Span,
    /// How long it may serve.
    pub keep: Keep,
    /// Its bindings.
    pub bindings: Bindings,
    /// The sources it reads.
    pub sources: Vec<String>,
}

/// How rows of evidence become entries of a timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct TimelineSpec {
    /// The column with the time.
    pub at: String,
    /// What an entry is.
    pub kind: String,
    /// Its text.
    pub text: TextTemplate,
    /// The column with the id it refers to.
    pub reference: Option<String>,
}

/// A query of an investigation.
#[derive(Debug, Clone)]
pub struct EvidenceSpec {
    /// The file.
    pub header: Arc<Header>,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The incident types it is for; empty means all.
    pub types: Vec<String>,
    /// The sources it asks.
    pub sources: Vec<String>,
    /// Its bindings. Placeholders of the incident (`entity`, `onset` …) need none.
    pub bindings: Bindings,
    /// Columns whose content is not kept, only its length, kind, keys and hash.
    pub content: Vec<String>,
    /// The timeline entries it gives.
    pub timeline: Option<TimelineSpec>,
    /// Rows kept at most.
    pub max_rows: usize,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether it has a placeholder that the first answers fill (`shas`, `issue_ids`, `channels`, `began`), and runs after them.
    pub runs_second: bool,
    /// Whether an installation without its source lacks nothing: it is told as not configured, and is no gap.
    pub optional: bool,
}

/// A query people run by name.
#[derive(Debug, Clone)]
pub struct TemplateSpec {
    /// The file.
    pub header: Arc<Header>,
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// The sources it asks.
    pub sources: Vec<String>,
    /// Its bindings.
    pub bindings: Bindings,
}

const COMMON: &[&str] = &["name", "title", "sources"];
pub(crate) const BINDINGS: &[&str] = &["param", "default", "input", "list"];

pub(crate) fn keys<'a>(own: &[&'a str]) -> Vec<&'a str> {
    COMMON.iter().chain(own).copied().collect()
}

pub(crate) fn name(header: &Header) -> Result<String, HeaderError> {
    let entry = header.required("name")?;
    if entry.value == header.name {
        return Ok(entry.value.clone());
    }
    let message = format!("the name is '{}', but the file is {}.sql", entry.value, header.name);
    Err(header.error(entry.line, message, Some("name and file name are the same".to_owned())))
}

pub(crate) fn title(header: &Header) -> String {
    header.find("title").map_or_else(|| header.name.replace('_', " "), |entry| entry.value.clone())
}

/// `15m`, `2h`, `7d`.
fn span(header: &Header, entry: &Entry) -> Result<TimeDelta, HeaderError> {
    parse_span(&entry.value).ok_or_else(|| {
        let message = format!("'{}' is no length of time", entry.value);
        header.error(entry.line, message, Some("write a whole number with s, m, h or d, as in 2h".to_owned()))
    })
}

fn parse_span(text: &str) -> Option<TimeDelta> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<i64>().ok().filter(|n| (1..=100_000).contains(n))?;
    match unit {
        "s" => TimeDelta::try_seconds(number),
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => None,
    }
}

fn assignment<'a>(header: &Header, entry: &'a Entry, what: &str) -> Result<(&'a str, &'a str), HeaderError> {
    entry.value.split_once('=').map(|(left, right)| (left.trim(), right.trim())).ok_or_else(|| {
        header.error(entry.line, format!("'{}' is no assignment", entry.value), Some(format!("write {what}")))
    })
}

fn used(header: &Header, entry: &Entry, placeholder: &str) -> Result<(), HeaderError> {
    if header.placeholders.contains(placeholder) {
        return Ok(());
    }
    Err(header.error(entry.line, format!("the query has no placeholder ${placeholder}"), None))
}

pub(crate) fn bindings(header: &Header) -> Result<Bindings, HeaderError> {
    let mut bindings = Bindings::default();
    for entry in header.all("input") {
        let (input, optional) = match entry.value.split_once(char::is_whitespace) {
            None => (entry.value.as_str(), false),
            Some((input, rest)) if rest.trim() == "optional" => (input, true),
            Some((_, rest)) => {
                let hint = Some("write -- input: name, or -- input: name optional".to_owned());
                return Err(header.error(entry.line, format!("'{}' is not understood", rest.trim()), hint));
            }
        };
        bindings.inputs.push(InputUse { name: input.to_owned(), optional });
    }
    for entry in header.all("param") {
        let (placeholder, setting) = assignment(header, entry, "-- param: placeholder = setting")?;
        used(header, entry, placeholder)?;
        if Settings::default().threshold(setting).is_none() {
            let message = format!("there is no threshold '{setting}' in the settings");
            return Err(header.error(entry.line, message, Some("docs/settings.md lists them".to_owned())));
        }
        bindings.params.push(ParamSpec { name: placeholder.to_owned(), setting: setting.to_owned() });
    }
    for entry in header.all("list") {
        let what = "-- list: placeholder = input.column";
        let (placeholder, from) = assignment(header, entry, what)?;
        used(header, entry, placeholder)?;
        let known = |input: &str| bindings.inputs.iter().any(|i| i.name == input);
        let Some((input, column)) = from.split_once('.').filter(|(input, _)| known(input)) else {
            let message = format!("'{from}' is no column of an input declared above");
            return Err(header.error(entry.line, message, Some(format!("write {what}"))));
        };
        bindings.lists.push(ListParam {
            name: placeholder.to_owned(),
            input: input.to_owned(),
            column: column.to_owned(),
        });
    }
    for entry in header.all("default") {
        let (placeholder, value) = assignment(header, entry, "-- default: placeholder = value")?;
        used(header, entry, placeholder)?;
        bindings.defaults.insert(placeholder.to_owned(), value.to_owned());
    }
    Ok(bindings)
}

impl Bindings {
    /// Whether a placeholder is bound by the file itself.
    #[must_use]
    pub fn binds(&self, placeholder: &str) -> bool {
        self.params.iter().any(|p| p.name == placeholder)
            || self.lists.iter().any(|l| l.name == placeholder)
            || self.defaults.contains_key(placeholder)
    }

    /// The values bound from settings and defaults.
    #[must_use]
    pub fn values(&self, settings: &Settings) -> Params {
        let mut params: Params =
            self.defaults.iter().map(|(name, value)| (name.clone(), default_value(value))).collect();
        for param in &self.params {
            // Known to exist since the header was read.
            if let Some(value) = settings.threshold(&param.setting) {
                params.insert(param.name.clone(), value);
            }
        }
        params
    }
}

/// A default as it is bound: numbers as numbers, the rest as text.
fn default_value(text: &str) -> Param {
    if let Ok(whole) = text.parse::<i64>() {
        return Param::Int(whole);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Param::Float(number),
        _ => Param::Text(text.to_owned()),
    }
}

/// Every placeholder must be bound by someone.
pub(crate) fn all_bound(header: &Header, bindings: &Bindings, given: &[&str]) -> Result<(), HeaderError> {
    let unbound = header.placeholders.iter().find(|p| !bindings.binds(p) && !given.contains(&p.as_str()));
    let Some(name) = unbound else { return Ok(()) };
    let line = header.sql.lines().position(|line| line.contains(&format!("${name}"))).map_or(1, |index| index + 1);
    let hint = format!("bind it with `-- param: {name} = a_setting`; given are ${}", given.join(", $"));
    Err(header.error(line, format!("nothing binds ${name}"), Some(hint)))
}

impl DetectorSpec {
    /// Reads the header of a detector.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn new(header: Header) -> Result<Self, HeaderError> {
        let own = [
            "type",
            "schedule",
            "window",
            "severity",
            "entity",
            "fingerprint",
            "onset",
            "last_sign",
            "cost",
            "json",
            "description",
            "action",
            "stop_when_empty",
        ];
        header.only(&keys(&own), BINDINGS)?;
        let bindings = bindings(&header)?;
        all_bound(&header, &bindings, &["window_start", "window_end"])?;
        let schedule = header.required("schedule")?;
        let schedule = Schedule::parse(&schedule.value).map_err(|reason| {
            header.error(schedule.line, format!("'{}' is no cron expression: {reason}", schedule.value), None)
        })?;
        let entity = header.required("entity")?.value.clone();
        let fingerprint = match header.list("fingerprint") {
            columns if columns.is_empty() => vec![entity.clone()],
            columns => columns,
        };
        let severity = header.required("severity")?.value.clone();
        let value = |key: &str| header.find(key).map(|entry| entry.value.clone());
        let description = header.required("description")?;
        let name = name(&header)?;
        let stop = header.find("stop_when_empty");
        if let Some(stop) = stop.filter(|stop| {
            let table = Some(table_of(&stop.value));
            header.steps.iter().all(|step| step.table != table)
        }) {
            let hint = Some(format!("write WITH {} AS MATERIALIZED (…)", stop.value));
            return Err(header.error(stop.line, format!("the query has no materialized part '{}'", stop.value), hint));
        }
        Ok(Self {
            stop_when_empty: stop.map(|entry| entry.value.clone()),
            kind: value("type").unwrap_or_else(|| name.clone()),
            title: title(&header),
            schedule,
            window: span(&header, header.required("window")?)?,
            bindings,
            severity: severity.parse().map_or_else(|_| SeverityRule::Column(severity), SeverityRule::Fixed),
            entity,
            fingerprint,
            onset: value("onset"),
            last_sign: value("last_sign"),
            cost: value("cost"),
            json: header.list("json"),
            description: TextTemplate::parse(&description.value)
                .map_err(|reason| header.error(description.line, reason, None))?,
            action: header.required("action")?.value.clone(),
            sources: header.list("sources"),
            name,
            header: Arc::new(header),
        })
    }

    /// What makes findings with these values of the fingerprint columns one condition.
    #[must_use]
    pub fn fingerprint_of(&self, values: &[Value]) -> String {
        let digest = tripline_store::canonical::sha256_hex(tripline_store::canonical::canonical_json(&Value::Array(
            values.to_vec(),
        )));
        format!("{}:{}", self.name, digest.get(..32).unwrap_or(&digest))
    }
}

impl BaselineSpec {
    /// Reads the header of a baseline.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn new(header: Header) -> Result<Self, HeaderError> {
        header.only(&keys(&["over", "keep"]), BINDINGS)?;
        let bindings = bindings(&header)?;
        all_bound(&header, &bindings, &["start", "end", "skip_newest"])?;
        let over = header.required("over")?;
        let over = match over.value.strip_prefix("last ") {
            Some(length) => Span::Last(span(&header, &Entry { value: length.trim().to_owned(), ..over.clone() })?),
            None if over.value == "window" => Span::Window,
            None => Span::Before(span(&header, over)?),
        };
        let keep = match header.find("keep") {
            None => Keep::No,
            Some(entry) if entry.value == "cost_hours" => Keep::CostHours,
            Some(entry) if entry.value == "schemas" => Keep::Schemas,
            Some(entry) => Keep::Memory(span(&header, entry)?),
        };
        Ok(Self {
            name: name(&header)?,
            span: over,
            keep,
            bindings,
            sources: header.list("sources"),
            header: Arc::new(header),
        })
    }
}

/// What an investigation binds by itself (docs/detectors/README.md, evidence).
pub const INCIDENT_PLACEHOLDERS: &[&str] = &[
    "type",
    "entity",
    "feature",
    "window_start",
    "window_end",
    "onset",
    "before",
    "since",
    "history",
    "until",
    "owner",
    "repo",
    "shas",
    "issue_ids",
    "began",
    "channels",
];

impl EvidenceSpec {
    /// Reads the header of an evidence query.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn new(header: Header) -> Result<Self, HeaderError> {
        let own = ["types", "content", "at", "kind", "text", "ref", "max_rows", "timeout", "optional"];
        header.only(&keys(&own), BINDINGS)?;
        let bindings = bindings(&header)?;
        if let Some(input) = header.find("input") {
            return Err(header.error(input.line, "evidence has no inputs", None));
        }
        all_bound(&header, &bindings, INCIDENT_PLACEHOLDERS)?;
        let timeline = match header.find("at") {
            None => None,
            Some(at) => {
                let text = header.required("text")?;
                Some(TimelineSpec {
                    at: at.value.clone(),
                    kind: header.required("kind")?.value.clone(),
                    text: TextTemplate::parse(&text.value).map_err(|reason| header.error(text.line, reason, None))?,
                    reference: header.find("ref").map(|entry| entry.value.clone()),
                })
            }
        };
        let max_rows = match header.find("max_rows") {
            None => 200,
            Some(entry) => entry.value.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| {
                header.error(entry.line, format!("'{}' is no number from 1 to 10000", entry.value), None)
            })?,
        };
        let timeout = match header.find("timeout") {
            None => Duration::from_secs(30),
            Some(entry) => span(&header, entry)?.to_std().unwrap_or(Duration::from_secs(30)),
        };
        Ok(Self {
            name: name(&header)?,
            title: title(&header),
            types: header.list("types"),
            sources: header.list("sources"),
            bindings,
            content: header.list("content"),
            timeline,
            max_rows,
            timeout,
            optional: match header.find("optional").map(|entry| (entry.line, entry.value.as_str())) {
                None | Some((_, "false")) => false,
                Some((_, "true")) => true,
                Some((line, other)) => {
                    return Err(header.error(line, format!("'{other}' is neither true nor false"), None));
                }
            },
            runs_second: ["shas", "issue_ids", "channels", "began"].iter().any(|p| header.placeholders.contains(*p)),
            header: Arc::new(header),
        })
    }

    /// Whether it is asked for incidents of this type.
    #[must_use]
    pub fn concerns(&self, kind: &str) -> bool {
        self.types.is_empty() || self.types.iter().any(|t| t == kind)
    }
}

impl TemplateSpec {
    /// Reads the header of a template.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn new(header: Header) -> Result<Self, HeaderError> {
        header.only(&keys(&[]), BINDINGS)?;
        let bindings = bindings(&header)?;
        if let Some(input) = header.find("input") {
            return Err(header.error(input.line, "a template has no inputs", None));
        }
        Ok(Self {
            name: name(&header)?,
            title: title(&header),
            sources: header.list("sources"),
            bindings,
            header: Arc::new(header),
        })
    }

    /// Names of the placeholders a caller must give a value for.
    #[must_use]
    pub fn required(&self) -> Vec<&str> {
        self.header.placeholders.iter().filter(|p| !self.bindings.binds(p)).map(String::as_str).collect()
    }

    /// The values to run it with: the caller's, else those from settings and defaults.
    ///
    /// # Errors
    /// When a value is missing, or one is given that the query has no place for.
    pub fn bind(&self, given: &BTreeMap<String, String>, settings: &Settings) -> Result<Params, HeaderError> {
        let mut params = self.bindings.values(settings);
        for (name, value) in given {
            if !self.header.placeholders.contains(name) {
                let all: Vec<_> = self.header.placeholders.iter().map(String::as_str).collect();
                let hint = if all.is_empty() { "it has none".to_owned() } else { format!("it has {}", all.join(", ")) };
                return Err(self.header.error(1, format!("the query has no parameter '{name}'"), Some(hint)));
            }
            let typed = match params.get(name) {
                // A default says by its form what the value is.
                Some(Param::Int(_) | Param::Float(_)) => default_value(value),
                _ => Param::Text(value.clone()),
            };
            params.insert(name.clone(), typed);
        }
        match self.required().into_iter().find(|name| !params.contains_key(*name)) {
            None => Ok(params),
            Some(name) => {
                let hint = Some(format!("pass --param {name}=…"));
                Err(self.header.error(1, format!("the parameter '{name}' has no value"), hint))
            }
        }
    }
}

/// A sentence with places for columns: `{name}`, `{cost:usd}`, `{ratio:1}` (digits), `{share:percent}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column { name: String, format: Format },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Plain,
    Usd,
    Percent,
    Digits(usize),
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// An unclosed brace or an unknown format, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (inside, after) = after.split_once('}').ok_or("a '{' is not closed")?;
            let (name, format) = inside.split_once(':').unwrap_or((inside, ""));
            let format = match format {
                "" => Format::Plain,
                "usd" => Format::Usd,
                "percent" => Format::Percent,
                digits => match digits.parse::<usize>() {
                    Ok(digits) if digits <= 9 => Format::Digits(digits),
                    _ => return Err(format!("'{digits}' is no format: use usd, percent or a number of digits")),
                },
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Column { name: name.trim().to_owned(), format });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts })
    }

    /// The sentence about a row. A column that is not there or NULL is "unknown".
    #[must_use]
    pub fn render(&self, row: &Map<String, Value>) -> String {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Column { name, format } => render(row.get(name).unwrap_or(&Value::Null), *format),
            })
            .collect()
    }
}

fn render(value: &Value, format: Format) -> String {
    match (value, format, value.as_f64()) {
        (Value::Null, ..) => "unknown".to_owned(),
        (_, Format::Usd, Some(usd)) => usd_text(usd),
        (_, Format::Percent, Some(share)) => format!("{:.0} %", share * 100.0),
        (_, Format::Digits(digits), Some(number)) => format!("{number:.digits$}"),
        (Value::String(text), ..) => text.clone(),
        (other, ..) => other.to_string(),
    }
}

/// US dollars: two digits, four below ten cents.
#[must_use]
pub fn usd_text(usd: f64) -> String {
    if usd != 0.0 && usd.abs() < 0.1 { format!("${usd:.4}") } else { format!("${usd:.2}") }
}
