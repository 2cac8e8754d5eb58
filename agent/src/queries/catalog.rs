//! The list of detectors: those of windows, and those of runs.
//!
//! Owns: what is told of each, and whether it is live or on trial. Does not own: how often it was right (the store's feedback).

use serde::Serialize;

use super::QuerySet;
use crate::settings::Settings;

/// What a detector judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorScope {
    /// A window of time over the sources.
    Window,
    /// Each run of an agent, once it has ended.
    Run,
}

impl DetectorScope {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Window => "window",
            Self::Run => "run",
        }
    }
}

/// What becomes of what a detector finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectorMode {
    /// It opens incidents and is told.
    Live,
    /// It is kept and told to nobody, until people have said how often it is right.
    Shadow,
}

impl DetectorMode {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Shadow => "shadow",
        }
    }
}

/// A detector, as its file and the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DetectorEntry {
    /// Its name.
    pub name: String,
    /// The type of its findings.
    #[serde(rename = "type")]
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// What it judges.
    pub scope: DetectorScope,
    /// What becomes of its findings.
    pub mode: DetectorMode,
    /// Its cron expression; none of a detector of runs, which judges as runs end.
    pub schedule: Option<String>,
    /// Seconds of the window it judges; 0 of a detector of runs.
    pub window_seconds: i64,
    /// The sources it asks.
    pub sources: Vec<String>,
    /// What it suggests.
    pub action: Option<String>,
    /// The file it comes from.
    pub file: String,
}

/// All detectors: those of windows by name, then those of runs by name.
#[must_use]
pub fn catalog(set: &QuerySet, settings: &Settings) -> Vec<DetectorEntry> {
    let windows = set.detectors.values().map(|detector| DetectorEntry {
        name: detector.name.clone(),
        kind: detector.kind.clone(),
        title: detector.title.clone(),
        scope: DetectorScope::Window,
        mode: DetectorMode::Live,
        schedule: Some(detector.schedule.to_string()),
        window_seconds: detector.window.num_seconds(),
        sources: detector.sources.clone(),
        action: Some(detector.action.clone()),
        file: detector.header.origin.clone(),
    });
    let runs = set.runs.values().map(|detector| DetectorEntry {
        name: detector.name.clone(),
        kind: detector.kind.clone(),
        title: detector.title.clone(),
        scope: DetectorScope::Run,
        mode: match settings.runs.is_shadow(&detector.name, detector.is_own()) {
            true => DetectorMode::Shadow,
            false => DetectorMode::Live,
        },
        schedule: None,
        window_seconds: 0,
        sources: vec!["ingest".to_owned()],
        action: None,
        file: detector.header.origin.clone(),
    });
    windows.chain(runs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::QueryLibrary;

    #[test]
    fn every_detector_is_listed_with_its_scope_and_one_of_one_s_own_is_on_trial_until_it_is_called_live() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("queries").join("runs");
        std::fs::create_dir_all(&folder).unwrap();
        let text = "-- name: mine\n-- title: Mine\n-- severity: low\nSELECT run_id FROM ingest.runs\n";
        std::fs::write(folder.join("mine.sql"), text.replace("low", "medium")).unwrap();
        let library = QueryLibrary::open(Some(home.path())).unwrap();
        assert!(library.status().errors.is_empty(), "{:?}", library.status().errors);
        let mut settings = Settings::default();
        settings.runs.shadow.insert("slow_step".to_owned());
        let listed = catalog(&library.current(), &settings);
        let of = |scope| listed.iter().filter(|one| one.scope == scope).count();
        assert_eq!((of(DetectorScope::Window), of(DetectorScope::Run)), (5, 16));
        let mode = |name: &str| listed.iter().find(|one| one.name == name).unwrap().mode;
        assert_eq!(mode("tool_loop"), DetectorMode::Live);
        assert_eq!([mode("mine"), mode("slow_step")], [DetectorMode::Shadow; 2]);
        settings.runs.live.insert("mine".to_owned());
        let listed = catalog(&library.current(), &settings);
        assert_eq!(listed.iter().find(|one| one.name == "mine").unwrap().mode, DetectorMode::Live);
    }
}
