//! Reading settings: compiled-in defaults, then the file of this installation, then the environment.
//!
//! Owns: merging by key, range checks, suggestions for misspelt keys. Must hold: what is returned is valid; an error
//! names the key, the value and what is allowed.

use std::path::{Path, PathBuf};

use datafusion::common::utils::datafusion_strsim::levenshtein;
use serde_json::{Map, Value};
use tripline_engine::{Environment, parse_duration};

use super::{IngestSettings, Settings, ThresholdRule};
use crate::govern::settings::SettingError;

/// Settings that were refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
    /// The file is no JSON object.
    #[error("{origin}: {reason}. Hint: the file is one JSON object; docs/settings.md lists its keys")]
    NotJson {
        /// The file.
        origin: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting '{key}'. Hint: {}", suggestion.as_deref().map_or_else(
        || "docs/settings.md lists all of them".to_owned(), |s| format!("did you mean '{s}'?")))]
    UnknownKey {
        /// Where it was found.
        origin: String,
        /// The key.
        key: String,
        /// The closest one there is.
        suggestion: Option<String>,
    },
    /// A value is outside of its range or of another type.
    #[error("{origin}: {key} is {value}, but must be {allowed}")]
    Value {
        /// Where it was found.
        origin: String,
        /// The key, or the environment variable.
        key: String,
        /// The value as it was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A setting of governance that cannot be.
    #[error("{origin}: {at} {problem}{}", hint.as_deref().map_or_else(String::new, |hint| format!(". Hint: {hint}")))]
    Governance {
        /// Where it was found.
        origin: String,
        /// The key.
        at: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        hint: Option<String>,
    },
}

/// Where settings come from.
#[derive(Debug, Clone)]
pub struct SettingsLoader {
    file: Option<PathBuf>,
    environment: Environment,
    /// What the file overrides.
    base: Box<Settings>,
}

impl SettingsLoader {
    /// Settings of the installation whose home is `home` (`None`: defaults and environment only).
    #[must_use]
    pub fn new(home: Option<&Path>, environment: Environment) -> Self {
        Self { file: home.map(|home| home.join("settings.json")), environment, base: Box::default() }
    }

    /// With other defaults: what the file does not say is as there.
    #[must_use]
    pub fn with_base(mut self, base: Settings) -> Self {
        *self.base = base;
        self
    }

    /// The file that is read, whether it exists or not.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads everything anew. A file that does not exist overrides nothing.
    ///
    /// # Errors
    /// [`SettingsError`] for the first thing that is wrong.
    pub fn load(&self) -> Result<Settings, SettingsError> {
        let base = || self.with_environment((*self.base).clone());
        let Some(path) = &self.file else { return base() };
        match std::fs::read_to_string(path) {
            Ok(text) => self.of_text(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => base(),
            Err(error) => Err(SettingsError::File { path: path.clone(), reason: error.to_string() }),
        }
    }

    /// What would be in force if the file held this text. `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError`] for the first thing that is wrong.
    pub fn of_text(&self, text: &str, origin: &str) -> Result<Settings, SettingsError> {
        self.with_environment(Settings::over((*self.base).clone(), text, origin)?)
    }

    fn with_environment(&self, mut settings: Settings) -> Result<Settings, SettingsError> {
        settings.governance.apply_environment(&self.environment);
        let mut overrides = Map::new();
        for rule in Settings::THRESHOLDS {
            let variable = rule.key.to_ascii_uppercase();
            if let Some(text) = self.environment.get(&variable) {
                overrides.insert(rule.key.to_owned(), rule.parse(text, &variable)?);
            }
        }
        merge(settings, overrides, "the environment")
    }
}

impl Settings {
    /// The defaults, overridden by the keys of a JSON object. `origin` names it in errors.
    ///
    /// # Errors
    /// [`SettingsError`] for the first thing that is wrong.
    pub fn from_json(text: &str, origin: &str) -> Result<Self, SettingsError> {
        Self::over(Self::default(), text, origin)
    }

    fn over(base: Self, text: &str, origin: &str) -> Result<Self, SettingsError> {
        let not_json = |reason: String| SettingsError::NotJson { origin: origin.to_owned(), reason };
        let value: Value = serde_json::from_str(text).map_err(|error| not_json(error.to_string()))?;
        let Value::Object(overrides) = value else { return Err(not_json("it is not an object".to_owned())) };
        merge(base, overrides, origin)
    }
}

fn merge(base: Settings, overrides: Map<String, Value>, origin: &str) -> Result<Settings, SettingsError> {
    let mut whole = match serde_json::to_value(base) {
        Ok(Value::Object(whole)) => whole,
        Ok(_) => Map::new(),
        Err(error) => return Err(SettingsError::NotJson { origin: origin.to_owned(), reason: error.to_string() }),
    };
    for (key, value) in overrides {
        let Some(known) = whole.get_mut(&key) else {
            return Err(SettingsError::UnknownKey {
                origin: origin.to_owned(),
                suggestion: closest(&key, whole.keys()),
                key,
            });
        };
        if let Some(rule) = Settings::THRESHOLDS.iter().find(|rule| rule.key == key) {
            rule.check(&value, origin)?;
        }
        merge_value(known, value);
    }
    let settings: Settings = serde_json::from_value(Value::Object(whole))
        .map_err(|error| SettingsError::NotJson { origin: origin.to_owned(), reason: error.to_string() })?;
    settings.check(origin)?;
    Ok(settings)
}

/// Objects are merged by key, anything else replaces what was there.
fn merge_value(known: &mut Value, value: Value) {
    match (known, value) {
        (Value::Object(known), Value::Object(value)) => {
            for (key, value) in value {
                merge_value(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (known, value) => *known = value,
    }
}

fn closest<'a>(key: &str, known: impl Iterator<Item = &'a String>) -> Option<String> {
    known
        .map(|candidate| (levenshtein(candidate, key), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len() / 3)
        .map(|(_, candidate)| candidate.clone())
}

impl ThresholdRule {
    pub(crate) fn allowed(&self) -> String {
        format!("a {} from {} to {}", if self.whole { "whole number" } else { "number" }, self.min, self.max)
    }

    fn refuse(&self, origin: &str, key: &str, value: impl ToString) -> SettingsError {
        SettingsError::Value {
            origin: origin.to_owned(),
            key: key.to_owned(),
            value: value.to_string(),
            allowed: self.allowed(),
        }
    }

    pub(crate) fn check(&self, value: &Value, origin: &str) -> Result<(), SettingsError> {
        let in_range = value.as_f64().is_some_and(|n| n >= self.min && n <= self.max);
        if in_range && (!self.whole || value.is_i64()) { Ok(()) } else { Err(self.refuse(origin, self.key, value)) }
    }

    fn parse(&self, text: &str, variable: &str) -> Result<Value, SettingsError> {
        let value = if self.whole {
            text.parse::<i64>().ok().map(Value::from)
        } else {
            // NaN and infinities have no JSON number and are refused by it.
            text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number)
        };
        let value = value.ok_or_else(|| self.refuse("the environment", variable, text))?;
        self.check(&value, "the environment").map_err(|_| self.refuse("the environment", variable, text))?;
        Ok(value)
    }
}

impl Settings {
    /// What ranges of single thresholds do not say.
    fn check(&self, origin: &str) -> Result<(), SettingsError> {
        let refuse = |key: String, value: String, allowed: &str| SettingsError::Value {
            origin: origin.to_owned(),
            key,
            value,
            allowed: allowed.to_owned(),
        };
        if let Some(SettingError { at, problem, hint }) = self.governance.validate().into_iter().next() {
            return Err(SettingsError::Governance { origin: origin.to_owned(), at, problem, hint });
        }
        for (job, cron) in &self.schedules {
            if let Err(reason) = crate::jobs::Schedule::parse(cron) {
                let allowed = format!("a cron expression of 5 or 6 fields ({reason})");
                return Err(refuse(format!("schedules.{job}"), format!("'{cron}'"), &allowed));
            }
        }
        for (table, sync) in &self.sync {
            if table.split('.').count() != 2 {
                return Err(refuse(format!("sync.{table}"), format!("'{table}'"), "named source.table"));
            }
            for (key, text, least, most) in [
                ("window", &sync.window, "1h", "400d"),
                ("interval", &sync.interval, "10s", "1d"),
                ("overlap", &sync.overlap, "0s", "7d"),
            ] {
                let range = [least, most].map(|edge| parse_duration(edge).unwrap_or_default());
                if !parse_duration(text).is_ok_and(|length| (range[0]..=range[1]).contains(&length)) {
                    let allowed = format!("a length of time from {least} to {most}, such as 90s, 5m, 12h, 7d");
                    return Err(refuse(format!("sync.{table}.{key}"), format!("'{text}'"), &allowed));
                }
            }
        }
        self.ingest.check(&refuse)?;
        super::prices::check(&self.model_prices).map_err(|(key, value, allowed)| refuse(key, value, &allowed))?;
        self.sampling
            .check()
            .map_err(|(key, value, allowed)| refuse(format!("sampling.{key}"), value.to_string(), &allowed))?;
        self.runs.check(origin)?;
        if self.time_zone.parse::<chrono_tz::Tz>().is_err() {
            let value = format!("'{}'", self.time_zone);
            return Err(refuse("time_zone".to_owned(), value, "an IANA name such as UTC or Europe/Berlin"));
        }
        let narrator = &self.narrator;
        for (key, value, least, most) in [
            ("timeout_seconds", narrator.timeout_seconds, 1, 120),
            ("max_tokens", u64::from(narrator.max_tokens), 100, 8_000),
            ("attempts", u64::from(narrator.attempts), 1, 5),
            ("repairs", u64::from(narrator.repairs), 0, 3),
            ("max_requests_per_hour", u64::from(narrator.max_requests_per_hour), 0, 10_000),
            ("max_requests_per_key_per_hour", u64::from(narrator.max_requests_per_key_per_hour), 0, 10_000),
            ("max_tokens_per_day", narrator.max_tokens_per_day, 0, 1_000_000_000),
        ] {
            if !(least..=most).contains(&value) {
                let allowed = format!("from {least} to {most}");
                return Err(refuse(format!("narrator.{key}"), value.to_string(), &allowed));
            }
        }
        Ok(())
    }
}

impl IngestSettings {
    /// `refuse` makes the error of a key, its value and what is allowed.
    fn check(&self, refuse: &impl Fn(String, String, &str) -> SettingsError) -> Result<(), SettingsError> {
        for (key, value, least, most) in [
            ("max_batch_events", self.max_batch_events as u64, 1, 10_000),
            ("max_body_bytes", self.max_body_bytes as u64, 1_024, 256 << 20),
            ("seal_events", self.seal_events, 1_000, 1_000_000),
            ("file_events", self.file_events, 10_000, 4_000_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err(refuse(format!("ingest.{key}"), value.to_string(), &format!("from {least} to {most}")));
            }
        }
        for (key, text, least, most, may_be_empty) in
            [("seal_after", &self.seal_after, "1s", "1d", false), ("keep_for", &self.keep_for, "1d", "4000d", true)]
        {
            let range = [least, most].map(|edge| parse_duration(edge).unwrap_or_default());
            let is_in = parse_duration(text).is_ok_and(|length| (range[0]..=range[1]).contains(&length));
            if !(is_in || may_be_empty && text.is_empty()) {
                let allowed = format!("a length of time from {least} to {most}, such as 90s, 5m, 12h, 7d");
                return Err(refuse(format!("ingest.{key}"), format!("'{text}'"), &allowed));
            }
        }
        Ok(())
    }
}
