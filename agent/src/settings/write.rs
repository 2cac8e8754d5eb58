//! Changing settings while they are in force: checked, written to the file, taken over at once.
//!
//! Owns: merging a change into `$TRIPLINE_HOME/settings.json`, what changed from what to what, and doing so one at a time. Does not
//! own who may (web) nor the record of it (the caller's, with [`Changed`]). Must hold: a change that is not valid as a whole
//! changes nothing, neither in the file nor in force; a reader of the file never sees half of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Settings, SettingsError, SettingsHandle};

/// Why settings could not be changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChangeError {
    /// The change, or what it would make of the whole, is not allowed.
    #[error(transparent)]
    Refused(#[from] SettingsError),
    /// There is no file to write to.
    #[error("these settings are not kept in a file. Hint: start Tripline with a home (TRIPLINE_HOME)")]
    NoFile,
    /// The file cannot be written.
    #[error("{} cannot be written: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: String,
    },
}

/// One setting that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its key, with dots: `narrator.max_tokens`.
    pub key: String,
    /// What it was; null when it was not there.
    pub before: Value,
    /// What it is; null when it is not there any more.
    pub after: Value,
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// What is different now.
    pub changes: Vec<Change>,
    /// Keys that were asked to change and that the environment says otherwise about: the file has them, they are not in
    /// force.
    pub overridden_by_environment: Vec<String>,
}

impl SettingsHandle {
    /// Merges a change into the file and takes it over: objects by key, anything else replaces what was there, and null takes a
    /// key out of the file, so that its default is in force again.
    ///
    /// # Errors
    /// [`ChangeError`]; then nothing is changed.
    pub fn change(&self, patch: &Map<String, Value>, now: DateTime<Utc>) -> Result<Changed, ChangeError> {
        let loader = self.loader().ok_or(ChangeError::NoFile)?;
        let path = loader.file().ok_or(ChangeError::NoFile)?.to_path_buf();
        let _one_at_a_time = self.writing().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = read(&path)?;
        for (key, value) in patch {
            merge(&mut file, key, value);
        }
        let text = serde_json::to_string_pretty(&file).unwrap_or_default() + "\n";
        let after = loader.of_text(&text, "the change")?;
        let before = self.get();
        write(&path, &text)?;
        let overridden_by_environment = overridden(patch, &after);
        let changes = differences(&before, &after);
        self.reloaded(Ok(after), now);
        Ok(Changed { changes, overridden_by_environment })
    }
}

impl Settings {
    /// These settings with a change, as [`SettingsHandle::change`] would make of it, without keeping or taking over anything: for
    /// showing what a change would do. `null` gives a key its default.
    ///
    /// # Errors
    /// [`SettingsError`] for the first thing that is wrong.
    pub fn with_change(&self, patch: &Map<String, Value>) -> Result<Settings, SettingsError> {
        let origin = "the change";
        let whole = serde_json::to_value(self)
            .map_err(|error| SettingsError::NotJson { origin: origin.to_owned(), reason: error.to_string() })?;
        let Value::Object(mut whole) = whole else { return Ok(self.clone()) };
        for (key, value) in patch {
            merge(&mut whole, key, value);
        }
        Settings::from_json(&Value::Object(whole).to_string(), origin)
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, ChangeError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(ChangeError::File { path: path.to_path_buf(), reason: error.to_string() }),
    };
    let not_json = |reason: String| SettingsError::NotJson { origin: path.display().to_string(), reason };
    match serde_json::from_str(&text) {
        Ok(Value::Object(file)) => Ok(file),
        Ok(_) => Err(not_json("it is not an object".to_owned()).into()),
        Err(error) => Err(not_json(error.to_string()).into()),
    }
}

fn merge(into: &mut Map<String, Value>, key: &str, value: &Value) {
    match (into.get_mut(key), value) {
        (_, Value::Null) => {
            into.remove(key);
        }
        (Some(Value::Object(known)), Value::Object(fields)) => {
            for (key, value) in fields {
                merge(known, key, value);
            }
        }
        (None, Value::Object(fields)) => {
            let mut made = Map::new();
            for (key, value) in fields {
                merge(&mut made, key, value);
            }
            into.insert(key.to_owned(), Value::Object(made));
        }
        _ => {
            into.insert(key.to_owned(), value.clone());
        }
    }
}

/// Writes beside the file and puts it in its place.
fn write(path: &Path, text: &str) -> Result<(), ChangeError> {
    let failed = |error: std::io::Error| ChangeError::File { path: path.to_path_buf(), reason: error.to_string() };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension(format!("json.{}", std::process::id()));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // Nothing more can be done about a file that cannot be removed either.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

fn leaves(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                leaves(&path, value, into);
            }
        }
        other => into.push((prefix.to_owned(), other.clone())),
    }
}

fn of(settings: &Settings) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    leaves("", &serde_json::to_value(settings).unwrap_or_default(), &mut found);
    found
}

fn differences(before: &Settings, after: &Settings) -> Vec<Change> {
    let (before, after) = (of(before), of(after));
    let find = |list: &[(String, Value)], key: &str| {
        list.iter().find(|(known, _)| known == key).map_or(Value::Null, |(_, value)| value.clone())
    };
    let mut keys: Vec<&String> = before.iter().chain(&after).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| Change { key: key.clone(), before: find(&before, key), after: find(&after, key) })
        .filter(|change| change.before != change.after)
        .collect()
}

/// Keys of a change whose value in force is another one.
fn overridden(patch: &Map<String, Value>, after: &Settings) -> Vec<String> {
    let mut wanted = Vec::new();
    leaves("", &Value::Object(patch.clone()), &mut wanted);
    let in_force = of(after);
    let same = |a: &Value, b: &Value| a == b || a.as_f64().is_some_and(|a| Some(a) == b.as_f64());
    wanted
        .into_iter()
        .filter(|(_, value)| !value.is_null() && !matches!(value, Value::Object(_)))
        .filter(|(key, value)| in_force.iter().any(|(known, found)| known == key && !same(value, found)))
        .map(|(key, _)| key)
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tripline_engine::Environment;

    use super::*;
    use crate::settings::SettingsLoader;
    use crate::testing::{Home, at};

    fn handle(home: &Home, environment: Environment) -> SettingsHandle {
        let loader = SettingsLoader::new(Some(home.path()), environment);
        SettingsHandle::new(loader.load().unwrap()).with_loader(loader)
    }

    fn change(handle: &SettingsHandle, patch: Value) -> Result<Changed, ChangeError> {
        handle.change(patch.as_object().unwrap(), at("2026-11-20T12:00:00Z"))
    }

    #[test]
    fn a_change_is_in_force_at_once_and_in_the_file_and_says_from_what_to_what() {
        let home = Home::new();
        home.write("settings.json", r#"{"pr_risk_threshold": 60, "governance": {"approvers": ["U1"]}}"#);
        let handle = handle(&home, Environment::default());
        let changed = change(&handle, json!({"cost_spike_multiplier": 3.5, "narrator": {"max_tokens": 500}})).unwrap();
        let told: Vec<_> =
            changed.changes.iter().map(|c| (c.key.as_str(), c.before.clone(), c.after.clone())).collect();
        assert_eq!(
            told,
            [("cost_spike_multiplier", json!(2.5), json!(3.5)), ("narrator.max_tokens", json!(1000), json!(500))]
        );
        assert_eq!((handle.get().cost_spike_multiplier, handle.get().pr_risk_threshold), (3.5, 60));
        let again = SettingsLoader::new(Some(home.path()), Environment::default()).load().unwrap();
        assert_eq!(again, *handle.get());
        assert_eq!(again.governance.approvers, ["U1"]);
        // Null gives the default back.
        change(&handle, json!({"cost_spike_multiplier": null, "pr_risk_threshold": null})).unwrap();
        assert_eq!((handle.get().cost_spike_multiplier, handle.get().pr_risk_threshold), (2.5, 70));
        assert!(change(&handle, json!({})).unwrap().changes.is_empty());
    }

    #[test]
    fn what_is_not_allowed_changes_nothing() {
        let home = Home::new();
        let handle = handle(&home, Environment::default());
        for (bad, why) in [
            (json!({"cost_spike_multiplier": -1}), "a number from 1 to 1000"),
            (json!({"cost_spike_multiplier": "NaN"}), "a number from 1 to 1000"),
            (json!({"pr_risk_threshold": 70.5}), "a whole number from 0 to 100"),
            (json!({"cost_spike_multiplier": 3, "pr_risk_threshold": 101}), "pr_risk_threshold"),
            (json!({"cost_spike_multiplyer": 3}), "did you mean 'cost_spike_multiplier'?"),
            (json!({"schedules": {"cost_spike": "now and then"}}), "cron expression"),
            (json!({"governance": {"approval_expires_after_seconds": 0}}), "approval_expires_after_seconds"),
            (json!({"time_zone": "Middle/Earth"}), "IANA name"),
        ] {
            let error = change(&handle, bad.clone()).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert_eq!(*handle.get(), Settings::default());
        assert!(!home.path().join("settings.json").exists());
        let homeless = SettingsHandle::new(Settings::default());
        assert_eq!(change(&homeless, json!({})).unwrap_err(), ChangeError::NoFile);
    }

    #[test]
    fn what_the_environment_says_otherwise_is_told() {
        let home = Home::new();
        let handle = handle(&home, Environment::of([("COST_SPIKE_MULTIPLIER", "4")]));
        let changed = change(&handle, json!({"cost_spike_multiplier": 3, "pr_risk_threshold": 50})).unwrap();
        assert_eq!(changed.overridden_by_environment, ["cost_spike_multiplier"]);
        assert_eq!((handle.get().cost_spike_multiplier, handle.get().pr_risk_threshold), (4.0, 50));
    }

    #[test]
    fn changes_at_once_lose_nothing() {
        let home = Home::new();
        let handle = handle(&home, Environment::default());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let handle = handle.clone();
                scope.spawn(move || change(&handle, json!({"schedules": {format!("job_{n}"): "0 * * * *"}})).unwrap());
            }
        });
        assert!((0..8).all(|n| handle.get().schedules.contains_key(&format!("job_{n}"))));
    }
}
