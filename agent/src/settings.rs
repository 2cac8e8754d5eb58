//! Settings: thresholds, schedules, policy. Defaults are compiled in (`settings.json`), `$TRIPLINE_HOME/settings.json`
//! overrides them by key, environment variables override single thresholds.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::govern::settings::GovernanceSettings;

/// Everything that can be tuned. Every field has a default; unknown keys are an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who may approve, what is asked and what is done without asking.
    pub governance: GovernanceSettings,
}

/// The settings in force; cheap to clone, always the newest valid ones.
#[derive(Debug, Clone)]
pub struct SettingsHandle {
    current: Arc<RwLock<Arc<Settings>>>,
}

impl SettingsHandle {
    /// A handle that starts with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(settings))) }
    }

    /// The settings in force now.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces them.
    pub fn set(&self, settings: Settings) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}
